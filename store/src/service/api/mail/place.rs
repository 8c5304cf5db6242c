//! From a folder's id to its mailbox: the store opens mailboxes by their names, and has them by their ids as long as they
//! are open.

use rmail_core::addr::AccountName;
use rmail_core::api::mail::FolderId;
use rmail_core::mailbox::{MailboxRef, Snapshot};
use rmail_core::refusal::Refusal;

use super::super::ApiService;
use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::MailStore;

/// The mailbox with this id.
pub(super) fn reference(account: &AccountName, folder: FolderId) -> MailboxRef {
    MailboxRef {
        account: account.clone(),
        id: folder.0,
    }
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// A folder as it is now.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    pub(super) async fn snapshot(
        &self,
        account: &AccountName,
        folder: FolderId,
    ) -> Result<(MailboxRef, Snapshot)> {
        let mailbox = reference(account, folder);
        if let Some(snapshot) = self.service.store.snapshot_now(&mailbox) {
            return Ok((mailbox, snapshot));
        }
        let store = &*self.service.store;
        let snapshot = self
            .within(account, folder, async |mailbox| store.snapshot(mailbox).await)
            .await?;
        Ok((mailbox, snapshot))
    }

    /// Does something with a mailbox: as it is, if it is open, else while it is opened for this.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    pub(in crate::service::api) async fn within<T>(
        &self,
        account: &AccountName,
        folder: FolderId,
        what: impl AsyncFn(&MailboxRef) -> Result<T>,
    ) -> Result<T> {
        let mailbox = reference(account, folder);
        match what(&mailbox).await {
            // It may only not be open.
            Err(error) if error.refusal == Refusal::NoSuchMailbox => {}
            done => return done,
        }
        let store = &*self.service.store;
        // It may have been renamed by somebody of whom nothing was heard yet.
        for fresh in [false, true] {
            let list = self.list(account, fresh).await?;
            let Some(entry) = list.by_id(folder) else {
                continue;
            };
            let selected = match store.select(account, &entry.name, true).await {
                Err(error) if error.refusal == Refusal::NoSuchMailbox => continue,
                selected => selected?,
            };
            let done = if selected.mailbox.id == folder.0 {
                Some(what(&mailbox).await)
            } else {
                None
            };
            if !store.unselect_now(&selected.mailbox) {
                store.unselect(&selected.mailbox).await;
            }
            if let Some(done) = done {
                return done;
            }
        }
        Err(Refusal::NoSuchMailbox.into())
    }
}
