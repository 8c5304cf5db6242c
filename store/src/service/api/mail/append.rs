//! A message that is put into a folder.

use rmail_core::addr::{AccountName, Address};
use rmail_core::api::Failure;
use rmail_core::api::mail::{FolderId, MessageId, NewMessage, Source};
use rmail_core::api::send::{Draft, Mailbox, compose};
use rmail_core::chunk::Chunk;
use rmail_core::machine::SpoolId;
use rmail_core::mailbox::Usage;
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Now};

use super::super::ApiService;
use super::{Told, failed};
use crate::disk::Disk;
use crate::mailstore::MailStore;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// The message is about to come: there has to be a folder for it, and room.
    pub(super) async fn open_upload(
        &self,
        account: &AccountName,
        spool: SpoolId,
        folder: FolderId,
        size: u64,
    ) -> Told<()> {
        // One of before may not have come to its end.
        self.forget(spool);
        if size > self.settings.max_message_size {
            return Err(Refusal::TooLarge.into());
        }
        self.name_of(account, folder).await?;
        self.service.check_room(account, Usage::message(size)).await?;
        self.service.check_free(&self.settings, None, size).await?;
        Ok(self.desk.open_spool(spool, size).await?)
    }

    /// The message is whole: it is there, on disk, before the answer.
    pub(super) async fn append(
        &self,
        now: Now,
        account: &AccountName,
        message: NewMessage,
    ) -> Told<MessageId> {
        let body = match message.source {
            Source::Spool(spool) => self.desk.take_spool(spool)?,
            Source::Draft(draft, max) => self.written(now, account, *draft, max).await?,
        };
        let store = &*self.service.store;
        let size = store.spool_len(&body);
        if size == 0 {
            return Err(Failure::new(400, "The message is empty"));
        }
        if size > self.settings.max_message_size {
            return Err(Refusal::TooLarge.into());
        }
        let name = self.name_of(account, message.folder).await?;
        let quota = self.service.quota_of(account).await?;
        let messages = vec![(body, message.flags, message.date)];
        let appended = store.append(account, &name, messages, &quota, now.unix).await;
        let appended = appended.map_err(|error| failed("put a message into a folder", account, error))?;
        let uid = appended.uids.first().copied().ok_or(Refusal::Storage)?;
        Ok(MessageId {
            folder: message.folder,
            uid,
        })
    }

    /// Writes a message that is described. What submission would give it, it gets here: an unsent draft is a message, too.
    async fn written(&self, now: Now, account: &AccountName, mut draft: Draft, max: u64) -> Told<S::Spool> {
        let original = self
            .with_others(account, &mut draft, max, &mut Vec::new())
            .await?;
        let mut random = self.random();
        let own = Address::parse(account.as_str());
        if draft.from.is_empty() {
            let mailbox = |address| Mailbox {
                name: String::new(),
                address,
            };
            draft.from.extend(own.map(mailbox));
        }
        draft.date.get_or_insert(DateTime::from(now.unix));
        let (_, domain) = account.parts();
        let id = format!("<{:016x}{:016x}@{domain}>", random.next_u64(), random.next_u64());
        draft.headers.push(("Message-ID".to_owned(), id));
        let octets = compose(&draft, original.as_deref(), &mut random);
        let store = &*self.service.store;
        let write = async {
            let mut spool = store.new_spool().await?;
            store.write_spool(&mut spool, Chunk::from(octets)).await?;
            Ok(spool)
        };
        write
            .await
            .map_err(|error| failed("write a message", account, error))
    }
}
