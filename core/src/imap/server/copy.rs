//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8; RFC 4315 §3; RFC 6851).

use super::news::{After, Finish};
use super::place::Place;
use super::{Call, CopyUid, Session, Then, refusal};
use crate::imap::command::MailboxArg;
use crate::imap::response;
use crate::imap::sequence::SequenceSet;
use crate::mailbox::Snapshot;
use crate::refusal::Refusal;

/// Messages being copied or moved.
#[derive(Debug)]
pub(super) struct Copying {
    tag: String,
    to: Place,
    moves: bool,
    uid: bool,
}

impl Session {
    /// COPY or MOVE.
    pub(super) fn copy(
        &mut self,
        tag: String,
        uid: bool,
        set: &SequenceSet,
        mailbox: MailboxArg,
        moves: bool,
    ) {
        let Some(to) = self.place(&tag, mailbox) else {
            return;
        };
        let Some(open) = self.selected.as_ref() else {
            return self.internal("COPY without a mailbox");
        };
        if moves && open.read_only {
            return self.refuse_target(tag, Refusal::ReadOnly, true);
        }
        let Ok(ranks) = open.view.ranks(uid, set) else {
            return self.refuse_bad(&tag, "No such message");
        };
        if ranks.is_empty() {
            return self.complete(tag, "OK No messages");
        }
        let (mailbox, uids) = (open.mailbox.clone(), open.view.uids(&ranks));
        // RFC 2180 §4.4.1: all or nothing. With UIDs what is not there is not meant (RFC 3501 §6.4.8).
        if !uid && !moves && open.view.some_gone(&uids) {
            return self.complete(tag, refusal::GONE);
        }
        let copying = Copying {
            tag,
            to: to.clone(),
            moves,
            uid,
        };
        let Place { account, mailbox: to } = to;
        let call = if moves {
            Call::Move {
                mailbox,
                uids,
                account,
                to,
            }
        } else {
            Call::Copy {
                mailbox,
                uids,
                account,
                to,
            }
        };
        self.call(call, Then::Copied(Box::new(copying)));
    }

    /// Done, or nothing was.
    pub(super) fn copied(&mut self, copying: Copying, result: Result<(CopyUid, Snapshot), Refusal>) {
        let Copying { tag, to, moves, uid } = copying;
        let (copied, snapshot) = match result {
            Ok(done) => done,
            Err(refused) => return self.refuse_target(tag, refused, true),
        };
        if self.selected.as_ref().is_some_and(|open| open.is_at(&to)) {
            self.note_mine(&copied.target);
        }
        if let Some(open) = self.selected.as_mut() {
            open.dirty |= open.is_at(&to);
            open.view.renew(snapshot);
        }
        if moves {
            self.note_removal();
        }
        let none = copied.source.is_empty();
        let code = copy_uid(&copied);
        if !uid && none {
            return self.complete(tag, refusal::GONE);
        }
        if !moves {
            return self.complete(tag, format!("OK {code}COPY completed"));
        }
        // RFC 6851 §4.3: the client learns the new UIDs before it hears that the old ones are gone.
        if !code.is_empty() {
            self.out.line(&format!("* OK {code}Moved"));
        }
        // RFC 6851 §4.4: with the new HIGHESTMODSEQ.
        self.tell(After::Finish(Finish {
            tag,
            text: "OK MOVE completed".into(),
            expunges: true,
            modseq: !none,
        }));
    }
}

/// `[COPYUID …] `; nothing if no message was there to copy, or UIDs are not to be told.
fn copy_uid(copied: &CopyUid) -> String {
    if copied.target.is_empty() {
        return String::new();
    }
    let mut code = b"[COPYUID ".to_vec();
    response::number(&mut code, copied.uid_validity.0);
    code.push(b' ');
    response::uid_list(&mut code, &copied.source);
    code.push(b' ');
    response::uid_list(&mut code, &copied.target);
    code.extend_from_slice(b"] ");
    String::from_utf8_lossy(&code).into_owned()
}
