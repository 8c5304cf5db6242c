//! A message that is put into a folder.

use rmail_core::addr::AccountName;
use rmail_core::api::Failure;
use rmail_core::api::mail::{FolderId, MessageId, NewMessage};
use rmail_core::machine::SpoolId;
use rmail_core::mailbox::Usage;
use rmail_core::refusal::Refusal;
use rmail_core::time::Now;

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
        let body = self.desk.take_spool(message.spool)?;
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
}
