//! STATUS (RFC 9051 §6.3.11).

use super::place::Place;
use super::{Call, MailboxStatus, Session, Then, refusal};
use crate::imap::command::{MailboxArg, StatusItem};
use crate::imap::response;
use crate::refusal::Refusal;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    tag: String,
    place: Place,
    items: Vec<StatusItem>,
}

impl Session {
    /// STATUS.
    pub(super) fn status(&mut self, tag: String, mailbox: MailboxArg, items: Vec<StatusItem>) {
        let Some(place) = self.place(&tag, mailbox) else {
            return;
        };
        if items.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore();
        }
        let Place { account, mailbox } = place.clone();
        let call = Call::Status { account, mailbox };
        let asked = Asked { tag, place, items };
        self.call(call, Then::Status(Box::new(asked)));
    }

    /// The numbers.
    pub(super) fn counted(&mut self, asked: Asked, result: Result<MailboxStatus, Refusal>) {
        let status = match result {
            Ok(status) => status,
            Err(refused) => return self.complete(asked.tag, refusal::no(refused)),
        };
        let utf8 = self.enabled.utf8_names();
        let out = self.out.text();
        out.extend_from_slice(b"* STATUS ");
        response::mailbox(out, &asked.place.mailbox, utf8);
        out.extend_from_slice(b" (");
        for (at, item) in asked.items.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            if *item == StatusItem::MailboxId {
                out.extend_from_slice(b"MAILBOXID (");
                out.extend_from_slice(status.id.object_id().as_bytes());
                out.push(b')');
                continue;
            }
            let (name, value) = number(*item, &status, self.settings.max_message_size);
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            response::number(out, value);
        }
        out.extend_from_slice(b")\r\n");
        self.complete(asked.tag, "OK STATUS completed");
    }
}

fn number(item: StatusItem, status: &MailboxStatus, append_limit: u64) -> (&'static str, u64) {
    match item {
        StatusItem::Messages => ("MESSAGES", status.messages),
        StatusItem::Recent => ("RECENT", status.recent),
        StatusItem::UidNext => ("UIDNEXT", u64::from(status.uid_next.0)),
        StatusItem::UidValidity => ("UIDVALIDITY", u64::from(status.uid_validity.0)),
        StatusItem::Unseen => ("UNSEEN", status.unseen),
        StatusItem::Deleted => ("DELETED", status.deleted),
        StatusItem::Size => ("SIZE", status.size),
        StatusItem::HighestModSeq => ("HIGHESTMODSEQ", status.modseq.0),
        StatusItem::MailboxId => ("MAILBOXID", status.id.0.into()),
        StatusItem::AppendLimit => ("APPENDLIMIT", append_limit),
    }
}
