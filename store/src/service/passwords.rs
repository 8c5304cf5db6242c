//! Passwords that were found right a short time ago, so that a client with five connections pays for one comparison.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use rmail_core::addr::AccountName;
use rmail_core::auth::password::hmac;
use rmail_core::secret::Secret;
use rmail_core::time::Mono;

use super::lock;

/// How long a comparison is remembered.
const KEPT: Duration = Duration::from_secs(300);
/// How many are.
const MAX: usize = 4_096;

/// Remembers neither password nor hash, but a keyed hash of account and password, and the epoch of the secret that it
/// is: a secret that was changed in `user.json`, or removed, has no such epoch any more, so its password is not found.
pub(super) struct Passwords {
    key: [u8; 32],
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: BTreeMap<[u8; 32], Known>,
    /// Oldest first.
    order: VecDeque<[u8; 32]>,
}

#[derive(Clone, Copy)]
struct Known {
    epoch: u64,
    until: Mono,
}

impl Passwords {
    /// With an unguessable key.
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            inner: Mutex::default(),
        }
    }

    /// The epoch of the account's secret that this password was found to be.
    pub(super) fn recall(&self, now: Mono, account: &AccountName, password: &Secret) -> Option<u64> {
        let tag = self.tag(account, password);
        let known = lock(&self.inner).known.get(&tag).copied()?;
        (now < known.until).then_some(known.epoch)
    }

    /// Remembers that it is right.
    pub(super) fn learn(&self, now: Mono, account: &AccountName, epoch: u64, password: &Secret) {
        let tag = self.tag(account, password);
        let until = now + KEPT;
        let mut inner = lock(&self.inner);
        if inner.known.insert(tag, Known { epoch, until }).is_none() {
            inner.order.push_back(tag);
        }
        while inner.order.len() > MAX {
            if let Some(oldest) = inner.order.pop_front() {
                inner.known.remove(&oldest);
            }
        }
    }

    fn tag(&self, account: &AccountName, password: &Secret) -> [u8; 32] {
        // Hashed on its own first, so that the octets of name and password cannot be confused.
        let password = hmac(&self.key, password.expose());
        let mut text = Vec::with_capacity(32 + account.as_str().len());
        text.extend_from_slice(&password);
        text.extend_from_slice(account.as_str().as_bytes());
        hmac(&self.key, &text)
    }
}

impl core::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Passwords({})", lock(&self.inner).order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::addr::Address;

    #[test]
    fn a_password_is_known_for_its_account_and_time_only() {
        let passwords = Passwords::new([7; 32]);
        let account = |text| Address::parse(text).expect("address").canonical();
        let (alice, bob) = (account("alice@x.y"), account("bob@x.y"));
        let (right, wrong) = (Secret::new("right"), Secret::new("wrong"));
        let now = Mono(Duration::from_secs(1));
        passwords.learn(now, &alice, 1, &right);
        assert_eq!(passwords.recall(now, &alice, &right), Some(1));
        assert_eq!(passwords.recall(now, &alice, &wrong), None);
        assert_eq!(passwords.recall(now, &bob, &right), None);
        assert_eq!(passwords.recall(now + KEPT, &alice, &right), None, "too long ago");
        passwords.learn(now + KEPT, &alice, 2, &right);
        assert_eq!(passwords.recall(now + KEPT, &alice, &right), Some(2));
    }

    #[test]
    fn the_memory_is_bounded() {
        let passwords = Passwords::new([7; 32]);
        let alice = Address::parse("alice@x.y").expect("address").canonical();
        let password = |n: usize| Secret::new(n.to_string());
        for n in 0..=MAX {
            passwords.learn(Mono::default(), &alice, 1, &password(n));
        }
        let knows = |n| passwords.recall(Mono::default(), &alice, &password(n)).is_some();
        assert!(!knows(0) && knows(1) && knows(MAX));
        assert_eq!(lock(&passwords.inner).known.len(), MAX);
    }
}
