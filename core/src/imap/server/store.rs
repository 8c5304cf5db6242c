//! STORE (RFC 9051 §6.4.6), also on the condition that nobody else has changed the message (RFC 7162 §3.1.3).

use std::borrow::Cow;

use super::expected::Expected;
use super::news::{After, Finish, OwnStore};
use super::view::View;
use super::{Call, Session, Stored, Then, refusal};
use crate::imap::response;
use crate::imap::sequence::SequenceSet;
use crate::mailbox::{FlagChange, FlagOp, ModSeq, UidSet};
use crate::refusal::Refusal;

/// Flags being changed.
#[derive(Debug)]
pub(super) struct Storing {
    tag: String,
    uid: bool,
    silent: bool,
    uids: UidSet,
    change: FlagChange,
    /// UNCHANGEDSINCE.
    since: Option<ModSeq>,
    /// Messages that are left alone because of it.
    modified: UidSet,
}

impl Session {
    /// STORE.
    pub(super) fn store(
        &mut self,
        tag: String,
        uid: bool,
        set: &SequenceSet,
        silent: bool,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
    ) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("STORE without a mailbox");
        };
        if open.read_only {
            return self.complete_with(tag, refusal::no(Refusal::ReadOnly), uid);
        }
        let Ok(ranks) = open.view.ranks(uid, set) else {
            return self.refuse_bad(&tag, "No such message");
        };
        let (mailbox, uids) = (open.mailbox.clone(), open.view.uids(&ranks));
        if unchanged_since.is_some() {
            self.enable_condstore();
        }
        if uids.is_empty() {
            return self.complete_with(tag, "OK No messages", uid);
        }
        let storing = Storing {
            tag,
            uid,
            silent,
            uids: uids.clone(),
            change: change.clone(),
            since: unchanged_since,
            modified: UidSet::new(),
        };
        let call = Call::Store {
            mailbox,
            uids,
            change,
            unchanged_since,
        };
        self.call(call, Then::Stored(Box::new(storing)));
    }

    /// The flags are changed, or none is. What others have changed since in other ways than this client wants to is no
    /// reason to refuse (RFC 7162 §3.1.12): it is tried once more, unless it changes again at this very moment.
    pub(super) fn stored(&mut self, mut storing: Storing, result: Result<Stored, Refusal>) {
        let stored = match result {
            Ok(stored) => stored,
            Err(refused) => return self.complete_with(storing.tag, refusal::no(refused), storing.uid),
        };
        let Some(open) = self.selected.as_mut() else {
            return self.internal("STORE without a mailbox");
        };
        let seen = stored.snapshot.modseq;
        open.view.renew(stored.snapshot);
        let again = storing.bearable(&stored.modified, &open.view);
        if again.is_empty() {
            storing.modified = stored.modified;
            return self.tell_stored(storing);
        }
        storing.modified = stored.modified.without(&again);
        let call = Call::Store {
            mailbox: open.mailbox.clone(),
            uids: again,
            change: storing.change.clone(),
            unchanged_since: Some(seen),
        };
        self.call(call, Then::StoredAgain(Box::new(storing)));
    }

    /// The second attempt.
    pub(super) fn stored_again(&mut self, mut storing: Storing, result: Result<Stored, Refusal>) {
        let stored = match result {
            Ok(stored) => stored,
            Err(refused) => return self.complete_with(storing.tag, refusal::no(refused), storing.uid),
        };
        if let Some(open) = self.selected.as_mut() {
            open.view.renew(stored.snapshot);
        }
        let both = storing.modified.ranges().chain(stored.modified.ranges());
        storing.modified = UidSet::from_ranges(both.map(|range| (*range.start(), *range.end())));
        self.tell_stored(storing);
    }

    /// All of the messages are told, whether their flags differ now or not. The tagged line tells
    /// that some were gone (RFC 5530 §3, EXPUNGEISSUED).
    fn tell_stored(&mut self, storing: Storing) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("STORE without a mailbox");
        };
        let gone = !storing.uid && open.view.some_gone(&storing.uids);
        let text = storing.outcome(gone, &open.view);
        let Storing {
            tag,
            uid,
            silent,
            uids,
            change,
            modified,
            ..
        } = storing;
        let own = OwnStore {
            uids,
            uid,
            silent: silent.then_some(change),
            modified,
        };
        let finish = Finish {
            tag,
            text,
            expunges: uid,
            modseq: false,
        };
        self.start_news(After::Finish(finish), Some(own));
    }
}

impl Storing {
    /// Those of the messages that were left alone of which the flags of this STORE are as the client knows them.
    ///
    /// 0 is the mod-sequence of what does not exist: with it a keyword is set or removed where it is not set, and system
    /// flags, which always exist, are never changed (RFC 7162 §3.1.3, example 7).
    fn bearable(&self, modified: &UidSet, view: &View) -> UidSet {
        let Some(since) = self.since.filter(|_| self.change.op != FlagOp::Replace) else {
            return UidSet::new();
        };
        let latest = view.latest();
        let mask = Expected::new(&self.change, &latest.keywords);
        let rows = latest.rows.of(modified);
        let bearable = rows.filter(|row| {
            let now = mask.of(row.flags, latest.keywords.bits(row.keywords));
            if since == ModSeq(0) {
                return mask.is_of_keywords() && now == Default::default();
            }
            view.told().find(row.uid).is_some_and(|(_, old)| {
                let then = mask.of(old.flags, view.told_keywords().bits(old.keywords));
                view.told().modseq(old) <= since && then == now
            })
        });
        bearable.map(|row| row.uid).collect()
    }

    /// The last line.
    fn outcome(&self, gone: bool, view: &View) -> Cow<'static, str> {
        if self.modified.is_empty() {
            return if gone {
                // All that could be done was done, and clients take a NO for a command that did nothing (RFC 2180 §4.2).
                "OK [EXPUNGEISSUED] STORE completed for the messages that still exist".into()
            } else {
                "OK STORE completed".into()
            };
        }
        let mut text = if gone {
            b"NO [MODIFIED ".to_vec()
        } else {
            b"OK [MODIFIED ".to_vec()
        };
        if self.uid {
            response::uid_set(&mut text, &self.modified);
        } else {
            response::uid_set(&mut text, &view.numbers_of(&self.modified));
        }
        text.extend_from_slice(if gone {
            b"] Some of the messages no longer exist"
        } else {
            b"] Conditional STORE failed"
        });
        String::from_utf8_lossy(&text).into_owned().into()
    }
}
