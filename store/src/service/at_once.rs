//! What most messages need up to their DATA, answered on the session's own thread: a thread of a pool that is woken for
//! three cheap looks costs more than these. Whatever may take longer, or is refused, is left to the pools.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use rmail_core::addr::{AccountName, ForwardPath, ReversePath};
use rmail_core::directory::Target;
use rmail_core::mailbox::Usage;
use rmail_core::peer::Peer;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::RecipientKind;
use rmail_core::time::{Mono, Now};

use super::{Service, Settings, lock};
use crate::disk::{Disk, Free};
use crate::file::io::once;
use crate::mailstore::MailStore;

/// For so long nobody looks at the free space again, if there was plenty.
const LOOKED: Duration = Duration::from_secs(1);

/// Plenty: so much more than has to stay free as nobody fills within [`LOOKED`].
const PLENTY: u64 = 2 << 30;
const PLENTY_INODES: u64 = 1 << 18;

/// When the file system was seen to have plenty of room: milliseconds of the monotonic clock, and one. 0: never.
#[derive(Debug, Default)]
pub(super) struct Room(AtomicU64);

impl Room {
    /// The free space was looked at.
    pub(super) fn saw(&self, now: Mono, settings: &Settings, free: Free) {
        let plenty = free.bytes >= settings.min_free.saturating_add(PLENTY) && free.inodes >= PLENTY_INODES;
        self.0
            .store(if plenty { millis(now) + 1 } else { 0 }, Ordering::Relaxed);
    }

    /// There was plenty of it a moment ago.
    pub(super) fn is_plenty(&self, now: Mono) -> bool {
        let seen = self.0.load(Ordering::Relaxed);
        let until = seen.saturating_add(u64::try_from(LOOKED.as_millis()).unwrap_or_default());
        (seen..until).contains(&(millis(now) + 1)) && seen > 0
    }
}

fn millis(now: Mono) -> u64 {
    u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX - 1)
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// MAIL FROM of a stranger under a foreign address, while there is plenty of room.
    pub(super) fn sender_now(
        &self,
        settings: &Settings,
        now: Now,
        peer: Peer,
        account: Option<&AccountName>,
        path: &ReversePath,
    ) -> Option<Result<(), Refusal>> {
        let foreign = path
            .address()
            .is_none_or(|address| !settings.hosting.hosts(&address.domain));
        if account.is_some() || !foreign || !self.room.is_plenty(now.mono) {
            return None;
        }
        if !peer.trusted {
            let mut limiter = lock(&self.limits.limiter);
            let wait = limiter.message_wait(now.mono, &settings.rates, peer.address);
            if wait.is_some() || !limiter.take_message(now.mono, &settings.rates, peer.address) {
                // Whether an operator has lifted it is still to be found out.
                return None;
            }
        }
        Some(Ok(()))
    }

    /// RCPT TO of a stranger to a user of ours who got mail a moment ago and has room.
    pub(super) fn recipient_now(
        &self,
        settings: &Settings,
        account: Option<&AccountName>,
        path: &ForwardPath,
        size: Option<u64>,
    ) -> Option<Result<RecipientKind, Refusal>> {
        let ForwardPath::Address(address) = path else {
            return None;
        };
        let name = address.canonical();
        let ours = settings.hosting.hosts(&address.domain);
        if account.is_some() || !ours || settings.greylist.is_some() || !self.accounts.is_at_hand(&name) {
            return None;
        }
        let resolved = once(self.resolve(settings, path))?.ok()?;
        let [Target::Account(target)] = resolved.targets.as_slice() else {
            return None;
        };
        if *target != name {
            return None;
        }
        // As it was when it was looked for just now.
        let quota = self.accounts.remembered(target)?.quota();
        let more = Usage::message(size.unwrap_or(1));
        self.store
            .has_room_now(target, &quota, more)
            .then_some(Ok(RecipientKind::Local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plenty_of_room_is_believed_for_a_moment() {
        let at = |millis| Mono(Duration::from_millis(millis));
        let settings = Settings::default();
        let free = |bytes, inodes| Free { bytes, inodes };
        let room = Room::default();
        assert!(!room.is_plenty(at(0)), "nobody has looked");
        for seen in [0, 5_000] {
            room.saw(at(seen), &settings, free(1 << 40, u64::MAX));
            assert!(room.is_plenty(at(seen)) && room.is_plenty(at(seen + 999)));
            assert!(!room.is_plenty(at(seen + 1_000)));
        }
        assert!(!room.is_plenty(at(4_999)), "a clock that went back");
        for little in [free(PLENTY, u64::MAX), free(1 << 40, PLENTY_INODES - 1)] {
            room.saw(at(5_000), &settings, little);
            assert!(!room.is_plenty(at(5_000)));
        }
    }
}
