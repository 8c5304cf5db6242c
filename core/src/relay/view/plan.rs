//! What operators ask of entries, and of which it can be asked.

use std::collections::BTreeSet;

use super::filter::is_in;
use super::{Filter, Found, State};
use crate::relay::entry::Entry;
use crate::relay::queue::Command;

/// Which entries an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Those with these ids.
    Ids(Vec<String>),
    /// Those that the filter takes, without saying which: what the command cannot be for is passed over.
    Where(Filter),
}

/// What is to be done, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// With these it is done.
    pub chosen: Vec<Found>,
    /// With these it is not, with the reason.
    pub left_out: Vec<(String, &'static str)>,
}

impl Plan {
    /// Said of an id that no entry has.
    pub const UNKNOWN: &'static str = "there is no such message in the queue";

    /// Of all entries that there are, with these `relay.retry_delays`, now (seconds since 1970).
    #[must_use]
    pub fn new(found: Vec<Found>, command: Command, choice: &Choice, delays: &[u64], now: u64) -> Self {
        let mut plan = Self::default();
        let named: BTreeSet<&String> = match choice {
            Choice::Ids(ids) => ids.iter().collect(),
            Choice::Where(_) => BTreeSet::new(),
        };
        let mut unknown = named.clone();
        for one in found {
            unknown.remove(&one.entry.id);
            let meant = match choice {
                Choice::Ids(_) => named.contains(&one.entry.id),
                Choice::Where(filter) => filter.takes(&one, now),
            };
            if meant {
                plan.take(one, command, choice, (delays, now));
            }
        }
        let unknown = unknown.into_iter().map(|id| (id.clone(), Self::UNKNOWN));
        plan.left_out.extend(unknown);
        plan
    }

    fn take(&mut self, one: Found, command: Command, choice: &Choice, (delays, now): (&[u64], u64)) {
        let entry = &one.entry;
        let asleep = entry.held || entry.hold_until > now;
        let domain = match choice {
            Choice::Where(filter) => filter.domain.as_ref(),
            Choice::Ids(_) => None,
        };
        let elsewhere = |domain| {
            let open = |recipient: &&_| State::of(entry, recipient, delays, now).is_open();
            let mut recipients = entry.recipients.iter().filter(open);
            !recipients.all(|recipient| is_in(recipient, domain))
        };
        let why = match command {
            Command::Fail if domain.is_some_and(elsewhere) => {
                let why = "it has recipients in other domains too; name its id to give all of them up";
                self.left_out.push((entry.id.clone(), why));
                return;
            }
            Command::Retry if asleep => "it is held; release it instead",
            Command::Release if !asleep => "it is not held",
            _ => return self.chosen.push(one),
        };
        // Of many it goes without saying.
        if let Choice::Ids(_) = choice {
            self.left_out.push((entry.id.clone(), why));
        }
    }
}

/// Whether an entry that is there is as it was asked for, now (seconds since 1970).
#[must_use]
pub fn is_done(command: Command, entry: &Entry, now: u64) -> bool {
    match command {
        Command::Retry => true,
        Command::Hold => entry.held,
        Command::Release => !entry.held && entry.hold_until <= now,
        Command::Fail => {
            let mut recipients = entry.recipients.iter();
            recipients.all(|one| one.failed || one.done.is_some())
        }
    }
}
