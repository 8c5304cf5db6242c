//! STATUS (RFC 9051 §6.3.11; RFC 7889 §4, RFC 8438, RFC 8474 §4.3, RFC 9208 §4.1.4).

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
        self.write_status(&asked.place, &asked.items, &status);
        self.complete(asked.tag, "OK STATUS completed");
    }

    /// `* STATUS name (…)`.
    pub(super) fn write_status(&mut self, place: &Place, items: &[StatusItem], status: &MailboxStatus) {
        self.out.text().extend_from_slice(b"* STATUS ");
        self.write_name(place);
        self.out.text().extend_from_slice(b" (");
        let limit = self.settings.max_message_size;
        for (at, item) in items.iter().enumerate() {
            let out = self.out.text();
            if at > 0 {
                out.push(b' ');
            }
            if *item == StatusItem::MailboxId {
                out.extend_from_slice(b"MAILBOXID (");
                let id = self.mailbox_id(&place.account, status.id);
                let out = self.out.text();
                out.extend_from_slice(id.as_bytes());
                out.push(b')');
                continue;
            }
            let (name, value) = number(*item, status, limit);
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            response::number(out, value);
        }
        self.out.text().extend_from_slice(b")\r\n");
    }
}

fn number(item: StatusItem, status: &MailboxStatus, limit: u64) -> (&'static str, u64) {
    match item {
        StatusItem::Messages => ("MESSAGES", status.messages),
        StatusItem::Recent => ("RECENT", status.recent),
        StatusItem::UidNext => ("UIDNEXT", u64::from(status.uid_next.0)),
        StatusItem::UidValidity => ("UIDVALIDITY", u64::from(status.uid_validity.0)),
        StatusItem::Unseen => ("UNSEEN", status.unseen),
        StatusItem::Deleted => ("DELETED", status.deleted),
        StatusItem::Size => ("SIZE", status.size),
        StatusItem::HighestModSeq => ("HIGHESTMODSEQ", status.modseq.0),
        StatusItem::AppendLimit => ("APPENDLIMIT", limit),
        StatusItem::DeletedStorage => ("DELETED-STORAGE", status.deleted_size.div_ceil(1_024)),
        StatusItem::MailboxId => ("MAILBOXID", u64::from(status.id.0)),
    }
}
