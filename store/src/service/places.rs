//! Who takes how many places of the outbound queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::relay::entry::Entry;

use super::Settings;

/// The places that are taken.
#[derive(Default)]
pub(super) struct Places {
    all: BTreeMap<Box<str>, Taken>,
    /// How many of them are [`Entry::is_notice`]: strangers may cause any number, so that they have a bound of their own.
    notices: usize,
    /// How many messages each account has that were held (RFC 4865), until it is known that they may go.
    held: BTreeMap<Arc<str>, usize>,
}

struct Taken {
    notice: bool,
    /// Whose message was held.
    held: Option<Arc<str>>,
}

impl Places {
    pub(super) fn insert(&mut self, entry: &Entry) {
        self.remove(&entry.id);
        let notice = entry.is_notice();
        let held = entry.account.as_deref().filter(|_| entry.hold_until != 0);
        let held = held.map(|account| self.count_held(account));
        self.notices += usize::from(notice);
        self.all.insert(entry.id.as_str().into(), Taken { notice, held });
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(taken) = self.all.remove(id) {
            self.notices -= usize::from(taken.notice);
            self.forget_held(taken.held);
        }
    }

    /// The account whose message was held, and not released yet.
    pub(super) fn held_by(&self, id: &str) -> Option<String> {
        let taken = self.all.get(id)?;
        taken.held.as_deref().map(str::to_owned)
    }

    /// The message may go.
    pub(super) fn release(&mut self, id: &str) {
        let held = self.all.get_mut(id).and_then(|taken| taken.held.take());
        self.forget_held(held);
    }

    /// Whether there is no place for mail of users.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        self.all.len() - self.notices >= settings.max_queue_size
    }

    pub(super) fn is_full_of_notices(&self, settings: &Settings) -> bool {
        self.notices >= tenth(settings)
    }

    /// Whether the account holds as many messages as it may.
    pub(super) fn is_full_of_held(&self, settings: &Settings, account: &str) -> bool {
        self.held
            .get(account)
            .is_some_and(|held| *held >= tenth(settings))
    }

    /// Counts one more; the account's name, shared.
    fn count_held(&mut self, account: &str) -> Arc<str> {
        let name = self.held.get_key_value(account).map(|(name, _)| Arc::clone(name));
        let name = name.unwrap_or_else(|| account.into());
        *self.held.entry(Arc::clone(&name)).or_default() += 1;
        name
    }

    fn forget_held(&mut self, account: Option<Arc<str>>) {
        let Some(account) = account else {
            return;
        };
        if let Some(count) = self.held.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&account);
            }
        }
    }
}

/// What notices, and the held messages of one account, may take beside, or of, the places of users.
fn tenth(settings: &Settings) -> usize {
    (settings.max_queue_size / 10).max(1)
}

#[cfg(test)]
mod tests {
    use rmail_core::smtp::envelope::Wishes;

    use super::*;

    fn entry(id: &str, account: &str, hold_until: u64) -> Entry {
        Entry {
            id: id.into(),
            sender: account.into(),
            account: Some(account.into()),
            hold_until,
            arrived: 0,
            offset: 0,
            size: 0,
            eight_bit: false,
            held: false,
            wishes: Wishes::default(),
            recipients: Vec::new(),
        }
    }

    #[test]
    fn what_an_account_holds_is_counted_until_it_goes() {
        let settings = Settings {
            max_queue_size: 20,
            ..Settings::default()
        };
        let mut places = Places::default();
        let is_full = |places: &Places, account: &str| places.is_full_of_held(&settings, account);
        places.insert(&entry("1", "a@x", 5));
        // The same again, and one that is not held.
        places.insert(&entry("1", "a@x", 5));
        places.insert(&entry("2", "a@x", 0));
        assert!(!is_full(&places, "a@x"));
        places.insert(&entry("3", "a@x", 5));
        assert!(is_full(&places, "a@x") && !is_full(&places, "b@x"));
        assert_eq!(places.held_by("3").as_deref(), Some("a@x"));
        places.release("3");
        places.release("3");
        assert!(!is_full(&places, "a@x") && places.held_by("3").is_none());
        places.remove("1");
        places.remove("3");
        assert!(places.held.is_empty() && places.all.len() == 1);
    }
}
