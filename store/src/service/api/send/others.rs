//! The message that a new one answers or hands on.

use rmail_core::addr::AccountName;
use rmail_core::api::Failure;
use rmail_core::api::mail::MessageId;
use rmail_core::api::send::{ANSWERED_FIELDS, Draft};
use rmail_core::mailbox::{FlagChange, FlagOp, Flags, Keyword, SystemFlags, UidSet};

use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::service::api::ApiService;
use crate::service::message::{Known, Message};
use crate::service::refused;

/// Octets of one read.
const PIECE: usize = 256 * 1024;

/// A message that is to be marked once the new one is out.
pub(in crate::service::api) struct Mark {
    id: MessageId,
    flags: Flags,
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Gives a draft what it takes from other messages; the one that it hands on.
    pub(in crate::service::api) async fn with_others(
        &self,
        account: &AccountName,
        draft: &mut Draft,
        max: u64,
        marks: &mut Vec<Mark>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(id) = draft.reply_to_message {
            let mut message = self.other(account, id, "$.reply_to_message").await?;
            draft.answer(&fields(&mut message).await?);
            let flags = Flags {
                system: SystemFlags::ANSWERED,
                keywords: Vec::new(),
            };
            marks.push(Mark { id, flags });
        }
        let Some(id) = draft.forward_message else {
            return Ok(None);
        };
        let mut message = self.other(account, id, "$.forward_message").await?;
        if message.len() > max {
            return Err(Failure::new(413, "The message that is handed on is too large"));
        }
        draft.hand_on(&fields(&mut message).await?);
        let octets = self.octets(&message).await;
        let flags = Flags {
            system: SystemFlags::default(),
            keywords: Keyword::new("$Forwarded").into_iter().collect(),
        };
        marks.push(Mark { id, flags });
        octets
            .map(Some)
            .map_err(|error| refused("read a message", error).into())
    }

    async fn other(
        &self,
        account: &AccountName,
        id: MessageId,
        path: &str,
    ) -> Result<Message<'_, S>, Failure> {
        let store = &*self.service.store;
        let opened = self
            .within(account, id.folder, async |mailbox| {
                store.open(mailbox, id.uid).await
            })
            .await;
        let none = || Failure::field(path, "there is no such message");
        match opened {
            Ok(Some(blob)) => Ok(Message::new(store, blob, Known::default())),
            Ok(None) => Err(none()),
            Err(error) if error.refusal == rmail_core::refusal::Refusal::NoSuchMailbox => Err(none()),
            Err(error) => Err(refused("open a message", error).into()),
        }
    }

    async fn octets(&self, message: &Message<'_, S>) -> crate::error::Result<Vec<u8>> {
        let mut octets = Vec::with_capacity(usize::try_from(message.len()).unwrap_or_default());
        let mut buffer = vec![0; PIECE];
        loop {
            let read = self
                .service
                .store
                .read(message.blob(), &mut buffer, octets.len() as u64)
                .await?;
            match buffer.get(..read) {
                Some(piece) if !piece.is_empty() => octets.extend_from_slice(piece),
                _ => return Ok(octets),
            }
        }
    }

    /// The messages that were answered or handed on say so. If that fails it is logged: the new one is out.
    pub(super) async fn mark(&self, account: &AccountName, marks: &[Mark]) {
        for mark in marks {
            let uids = UidSet::from_ranges([(mark.id.uid.0, mark.id.uid.0)]);
            let change = FlagChange {
                op: FlagOp::Add,
                flags: mark.flags.clone(),
            };
            let store = &*self.service.store;
            let done = self
                .within(account, mark.id.folder, async |mailbox| {
                    store.store(mailbox, &uids, &change, None).await
                })
                .await;
            if let Err(error) = done {
                refused(&format!("mark a message of {account}"), error);
            }
        }
    }
}

async fn fields<S: MailStore>(message: &mut Message<'_, S>) -> Result<Vec<u8>, Failure> {
    let names: Vec<String> = ANSWERED_FIELDS.iter().map(|name| (*name).to_owned()).collect();
    let fields = message.header_fields(&names).await;
    fields.map_err(|error| refused("read a message", error).into())
}
