//! EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9).

use super::{Call, Session, Then, refusal};
use crate::imap::sequence::SequenceSet;
use crate::mailbox::Snapshot;
use crate::refusal::Refusal;

impl Session {
    /// EXPUNGE; UID EXPUNGE if there are UIDs.
    pub(super) fn expunge(&mut self, tag: String, uids: Option<&SequenceSet>) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("EXPUNGE without a mailbox");
        };
        if open.read_only {
            return self.complete(tag, refusal::no(Refusal::ReadOnly));
        }
        let mailbox = open.mailbox.clone();
        let uids = uids.map(|set| {
            // A set of UIDs has no numbers that could be beyond the last message.
            let ranks = open.view.ranks(true, set).unwrap_or_default();
            open.view.uids(&ranks)
        });
        let text = match &uids {
            Some(uids) if uids.is_empty() => return self.complete(tag, "OK UID EXPUNGE completed"),
            Some(_) => "OK UID EXPUNGE completed",
            None => "OK EXPUNGE completed",
        };
        self.call(Call::Expunge { mailbox, uids }, Then::Expunged { tag, text });
    }

    /// The mailbox without the messages.
    pub(super) fn expunged(&mut self, tag: String, text: &'static str, result: Result<Snapshot, Refusal>) {
        match result {
            Ok(snapshot) => {
                if let Some(open) = self.selected.as_mut() {
                    open.view.renew(snapshot);
                }
                self.note_removal();
                self.complete(tag, text);
            }
            Err(refused) => self.complete(tag, refusal::no(refused)),
        }
    }
}
