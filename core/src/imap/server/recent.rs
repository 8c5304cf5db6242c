//! Which messages are `\Recent` here: each is so in one session, the first that is told of it (RFC 3501 §2.3.2).

use super::Session;
use super::news::{After, OwnStore};
use crate::mailbox::{Uid, UidSet};
use crate::refusal::Refusal;

/// The messages that are `\Recent` in this client.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    uids: UidSet,
    /// Messages from this UID on were not claimed by this client, nor left to others. `None`: it claims none.
    next: Option<Uid>,
}

impl Recent {
    /// SELECT has claimed the messages from `first` to before `next`.
    pub(super) fn claimed(first: Uid, next: Uid) -> Self {
        let mut recent = Self {
            uids: UidSet::new(),
            next: Some(next),
        };
        recent.claim(first, next);
        recent
    }

    /// A session that claims none: `\Recent` to it is what was not told to any that does.
    pub(super) fn unclaimed(first: Uid) -> Self {
        Self {
            uids: UidSet::from_ranges([(first.0, u32::MAX)]),
            next: None,
        }
    }

    /// Adds the messages from `first` to before `next`; those before `next` will not be claimed again.
    fn claim(&mut self, first: Uid, next: Uid) {
        self.next = self.next.max(Some(next));
        if first < next {
            let new = (first.0, next.0 - 1);
            let ranges = self.uids.ranges().map(|range| (*range.start(), *range.end()));
            self.uids = UidSet::from_ranges(ranges.chain([new]));
        }
    }

    /// Whether the message is `\Recent`.
    pub(super) fn contains(&self, uid: Uid) -> bool {
        self.uids.contains(uid)
    }

    /// All that are.
    pub(super) fn uids(&self) -> &UidSet {
        &self.uids
    }

    /// Whether a mailbox whose highest UID is this has messages that should be claimed before the client is told.
    pub(super) fn wants(&self, highest: Uid) -> bool {
        self.next.is_some_and(|next| highest >= next)
    }

    /// Messages up to this one were told; they are not claimed any more.
    fn leave(&mut self, highest: Uid) {
        if let Some(next) = &mut self.next {
            *next = Uid(highest.0.saturating_add(1)).max(*next);
        }
    }
}

impl Session {
    /// The messages from the first to before the second UID are claimed, or none is, which is no reason not to tell.
    pub(super) fn claimed(&mut self, news: (After, Option<OwnStore>), result: Result<(Uid, Uid), Refusal>) {
        if let Some(open) = self.selected.as_mut() {
            let highest = open.view.latest().rows.last_uid().unwrap_or_default();
            let recent = open.view.recent_mut();
            if let Ok((first, next)) = result {
                recent.claim(first, next);
            }
            recent.leave(highest);
        }
        let (after, own) = news;
        self.start_news(after, own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_add_up() {
        let mut recent = Recent::claimed(Uid(3), Uid(5));
        assert_eq!(recent.uids().to_string(), "3:4");
        assert!(recent.wants(Uid(5)) && !recent.wants(Uid(4)));
        recent.claim(Uid(7), Uid(9));
        recent.claim(Uid(9), Uid(9));
        assert_eq!(recent.uids().to_string(), "3:4,7:8");
        assert!(!recent.contains(Uid(5)) && !recent.wants(Uid(8)));
        recent.leave(Uid(12));
        assert!(!recent.wants(Uid(12)) && recent.wants(Uid(13)));
        let mut looks = Recent::unclaimed(Uid(4));
        looks.leave(Uid(9));
        assert!(looks.contains(Uid(4)) && looks.contains(Uid(99)) && !looks.wants(Uid(99)));
    }
}
