//! Who takes how many places of the outbound queue.

use std::collections::BTreeMap;

use rmail_core::relay::entry::Entry;
use rmail_core::time::Unix;

use super::Settings;

/// The places that are taken.
#[derive(Default)]
pub(super) struct Places {
    all: BTreeMap<Box<str>, Taken>,
    /// How many of them are [`Entry::is_notice`]: strangers may cause any number, so that they have a bound of their own.
    notices: usize,
}

struct Taken {
    notice: bool,
    held: Option<Box<Held>>,
}

/// A message that was held (RFC 4865), until it is known that it may go.
struct Held {
    account: String,
    until: u64,
}

impl Places {
    pub(super) fn insert(&mut self, entry: &Entry) {
        self.remove(&entry.id);
        let notice = entry.is_notice();
        let held = entry.account.clone().filter(|_| entry.hold_until != 0);
        let held = held.map(|account| {
            let until = entry.hold_until;
            Box::new(Held { account, until })
        });
        self.notices += usize::from(notice);
        self.all.insert(entry.id.as_str().into(), Taken { notice, held });
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(taken) = self.all.remove(id) {
            self.notices -= usize::from(taken.notice);
        }
    }

    /// The account whose message was held, and not released yet.
    pub(super) fn held_by(&self, id: &str) -> Option<String> {
        let taken = self.all.get(id)?;
        taken.held.as_ref().map(|held| held.account.clone())
    }

    /// The message may go.
    pub(super) fn release(&mut self, id: &str) {
        if let Some(taken) = self.all.get_mut(id) {
            taken.held = None;
        }
    }

    /// Whether there is no place for mail of users.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        self.all.len() - self.notices >= settings.max_queue_size
    }

    pub(super) fn is_full_of_notices(&self, settings: &Settings) -> bool {
        self.notices >= tenth(settings)
    }

    /// Whether the account holds as many messages as it may.
    pub(super) fn is_full_of_held(&self, settings: &Settings, account: &str, now: Unix) -> bool {
        let held = self.all.values().filter_map(|taken| taken.held.as_ref());
        let theirs = held.filter(|held| held.until > now.secs() && held.account == account);
        theirs.count() >= tenth(settings)
    }
}

/// What notices, and the held messages of one account, may take beside, or of, the places of users.
fn tenth(settings: &Settings) -> usize {
    (settings.max_queue_size / 10).max(1)
}
