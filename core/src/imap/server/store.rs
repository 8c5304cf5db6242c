//! STORE (RFC 9051 §6.4.6).

use super::news::{After, Finish, OwnStore};
use super::{Call, Session, Stored, Then, refusal};
use crate::imap::sequence::SequenceSet;
use crate::mailbox::{FlagChange, UidSet};
use crate::refusal::Refusal;

/// Flags being changed.
#[derive(Debug)]
pub(super) struct Storing {
    tag: String,
    uid: bool,
    uids: UidSet,
    /// `.SILENT`: what the client reckons with.
    silent: Option<FlagChange>,
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
        if ranks.is_empty() {
            return self.complete_with(tag, "OK No messages", uid);
        }
        let (mailbox, uids) = (open.mailbox.clone(), open.view.uids(&ranks));
        let storing = Storing {
            tag,
            uid,
            uids: uids.clone(),
            silent: silent.then(|| change.clone()),
        };
        let call = Call::Store {
            mailbox,
            uids,
            change,
            unchanged_since: None,
        };
        self.call(call, Then::Stored(Box::new(storing)));
    }

    /// The flags are changed, or none is. All of the messages are told, whether their flags differ now or not. The
    /// tagged line tells that some were gone (RFC 5530 §3, EXPUNGEISSUED). It is OK: all that could be done was done, and clients
    /// take a NO for a command that did nothing (RFC 2180 §4.2 leaves the choice where some are there).
    pub(super) fn stored(&mut self, storing: Storing, result: Result<Stored, Refusal>) {
        let Storing {
            tag,
            uid,
            uids,
            silent,
        } = storing;
        let stored = match result {
            Ok(stored) => stored,
            Err(refused) => return self.complete_with(tag, refusal::no(refused), uid),
        };
        let mut gone = false;
        if let Some(open) = self.selected.as_mut() {
            open.view.renew(stored.snapshot);
            gone = !uid && open.view.some_gone(&uids);
        }
        let text = if gone {
            "OK [EXPUNGEISSUED] STORE completed for the messages that still exist"
        } else {
            "OK STORE completed"
        };
        let own = OwnStore { uids, uid, silent };
        let finish = Finish {
            tag,
            text: text.into(),
            expunges: uid,
        };
        self.start_news(After::Finish(finish), Some(own));
    }
}
