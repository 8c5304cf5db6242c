//! How much waits, for whom, since when, and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Found, State, is_alarm};
use crate::addr::Address;

/// What waits in all. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Messages.
    pub messages: usize,
    /// Recipients.
    pub recipients: u64,
    /// Octets of the messages.
    pub octets: u64,
    /// Messages that operators hold.
    pub held: u64,
    /// Recipients that wait for an operator.
    pub alarms: u64,
    /// Recipients whose time has come.
    pub due: u64,
    /// Recipients whose next attempt has its time.
    pub waiting: u64,
    /// Recipients whose message the sender holds.
    pub held_by_sender: u64,
    /// Recipients that have failed; the sender is being told.
    pub failed: u64,
    /// Recipients that have it; the sender is being told.
    pub delivered: u64,
    /// When the oldest message came.
    pub oldest: Option<u64>,
    /// When the next attempt is due.
    pub next: Option<u64>,
    /// Domains of recipients that have not come to their end, the largest first.
    pub destinations: Vec<Destination>,
    /// Recipients by what they wait for.
    #[serde(skip)]
    pub states: BTreeMap<State, u64>,
}

/// What waits for one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// The domain; empty for recipients that are no addresses.
    pub domain: String,
    /// Recipients.
    pub recipients: u64,
    /// When the first attempt was due that was not made yet, or is made next.
    pub next: Option<u64>,
    /// What most of the recipients have heard last; none: they were not tried yet.
    pub last: Option<String>,
}

#[derive(Default)]
struct Counted {
    recipients: u64,
    next: Option<u64>,
    reasons: BTreeMap<String, u64>,
}

impl Sum {
    /// Of these entries, with these `relay.retry_delays`, now (seconds since 1970).
    #[must_use]
    pub fn of(found: &[Found], delays: &[u64], now: u64) -> Self {
        let mut sum = Self {
            messages: found.len(),
            ..Self::default()
        };
        let mut destinations: BTreeMap<String, Counted> = BTreeMap::new();
        for one in found {
            let entry = &one.entry;
            sum.octets += entry.size;
            sum.held += u64::from(entry.held);
            sum.oldest = earliest(sum.oldest, entry.arrived);
            for recipient in &entry.recipients {
                let state = State::of(entry, recipient, delays, now);
                *sum.states.entry(state).or_default() += 1;
                sum.recipients += 1;
                if !state.is_open() {
                    continue;
                }
                let domain = Address::parse(&recipient.address).map(|address| address.domain.to_string());
                let of = destinations.entry(domain.unwrap_or_default()).or_default();
                of.recipients += 1;
                if matches!(state, State::Due | State::Waiting) {
                    of.next = earliest(of.next, recipient.next);
                    sum.next = earliest(sum.next, recipient.next);
                }
                if let Some(last) = &recipient.last {
                    sum.alarms += u64::from(is_alarm(last));
                    *of.reasons.entry(last.clone()).or_default() += 1;
                }
            }
        }
        sum.finish(destinations)
    }

    fn finish(mut self, destinations: BTreeMap<String, Counted>) -> Self {
        let of = |state| self.states.get(&state).copied().unwrap_or_default();
        (self.due, self.waiting) = (of(State::Due), of(State::Waiting));
        self.held_by_sender = of(State::Asleep);
        (self.failed, self.delivered) = (of(State::Failed), of(State::Done));
        let destination = |(domain, one): (String, Counted)| {
            let most = one.reasons.into_iter().max_by_key(|(_, count)| *count);
            Destination {
                domain,
                recipients: one.recipients,
                next: one.next,
                last: most.map(|(text, _)| text),
            }
        };
        self.destinations = destinations.into_iter().map(destination).collect();
        self.destinations
            .sort_by_key(|one| core::cmp::Reverse(one.recipients));
        self
    }
}

fn earliest(known: Option<u64>, new: u64) -> Option<u64> {
    Some(known.map_or(new, |known| known.min(new)))
}
