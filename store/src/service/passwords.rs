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

/// Remembers neither password nor hash, but a keyed hash of account, epoch and password: a changed `user.json` has
/// another epoch, so its old password is not found.
pub(super) struct Passwords {
    key: [u8; 32],
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    until: BTreeMap<[u8; 32], Mono>,
    /// Oldest first.
    order: VecDeque<[u8; 32]>,
}

impl Passwords {
    /// With an unguessable key.
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            inner: Mutex::default(),
        }
    }

    /// Whether this password was found right for the account at this epoch.
    pub(super) fn knows(&self, now: Mono, account: &AccountName, epoch: u64, password: &Secret) -> bool {
        let tag = self.tag(account, epoch, password);
        lock(&self.inner)
            .until
            .get(&tag)
            .is_some_and(|until| now < *until)
    }

    /// Remembers that it is right.
    pub(super) fn learn(&self, now: Mono, account: &AccountName, epoch: u64, password: &Secret) {
        let tag = self.tag(account, epoch, password);
        let mut inner = lock(&self.inner);
        if inner.until.insert(tag, now + KEPT).is_none() {
            inner.order.push_back(tag);
        }
        while inner.order.len() > MAX {
            if let Some(oldest) = inner.order.pop_front() {
                inner.until.remove(&oldest);
            }
        }
    }

    fn tag(&self, account: &AccountName, epoch: u64, password: &Secret) -> [u8; 32] {
        // Hashed on its own first, so that the octets of name and password cannot be confused.
        let password = hmac(&self.key, password.expose());
        let mut text = Vec::with_capacity(40 + account.as_str().len());
        text.extend_from_slice(&password);
        text.extend_from_slice(&epoch.to_be_bytes());
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
    fn a_password_is_known_for_its_account_epoch_and_time_only() {
        let passwords = Passwords::new([7; 32]);
        let account = |text| Address::parse(text).expect("address").canonical();
        let (alice, bob) = (account("alice@x.y"), account("bob@x.y"));
        let (right, wrong) = (Secret::new("right"), Secret::new("wrong"));
        let now = Mono(Duration::from_secs(1));
        passwords.learn(now, &alice, 1, &right);
        assert!(passwords.knows(now, &alice, 1, &right));
        assert!(!passwords.knows(now, &alice, 1, &wrong));
        assert!(!passwords.knows(now, &alice, 2, &right), "user.json changed");
        assert!(!passwords.knows(now, &bob, 1, &right));
        assert!(!passwords.knows(now + KEPT, &alice, 1, &right), "too long ago");
    }

    #[test]
    fn the_memory_is_bounded() {
        let passwords = Passwords::new([7; 32]);
        let alice = Address::parse("alice@x.y").expect("address").canonical();
        for epoch in 0..=MAX as u64 {
            passwords.learn(Mono::default(), &alice, epoch, &Secret::default());
        }
        let knows = |epoch| passwords.knows(Mono::default(), &alice, epoch, &Secret::default());
        assert!(!knows(0) && knows(1) && knows(MAX as u64));
        assert_eq!(lock(&passwords.inner).until.len(), MAX);
    }
}
