//! [`MailStore`] for [`FileStore`]: each call finds its mailbox and hands on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{
    Appended, CopyUid, MailboxEntry, MailboxStatus, Selected, SharedMailbox, Stored,
};
use rmail_core::mailbox::{
    Acl, Annotated, AnnotationChange, Annotations, FlagChange, Flags, Identifier, MailboxName, MailboxRef,
    ModSeq, Quota, Rights, RightsChange, Row, Snapshot, SpecialUse, Uid, UidSet, Usage, Vanished,
};
use rmail_core::mime::parsed::Parsed;
use rmail_core::relay::entry::Entry;
use rmail_core::time::{DateTime, Unix};

use crate::disk::{Changes, Disk, Free};
use crate::error::Result;
use crate::hub::Hub;
use crate::mailstore::{Instead, MailStore, Numbering, OutboundHome, ReadEntry};

use super::account::Maker;
use super::io::{During as _, once};
use super::mailbox::Mailbox;
use super::read_only::is_read_only;
use super::tree::current;
use super::{Blob, FileStore, Spool};

impl<D: Disk> MailStore for FileStore<D> {
    type Spool = Spool<D>;
    type Blob = Blob<D>;

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    async fn create_account(&self, account: &AccountName, now: Unix) -> Result<()> {
        self.ensure_account(account, Maker::Owner, now).await
    }

    async fn welcome(&self, account: &AccountName, now: Unix) -> Result<()> {
        self.ensure_account(account, Maker::User, now).await
    }

    async fn delete_account(&self, account: &AccountName) -> Result<()> {
        self.remove_account(account).await
    }

    async fn list(&self, account: &AccountName) -> Result<Vec<MailboxEntry>> {
        self.list_account(account).await
    }

    async fn status(&self, account: &AccountName, mailbox: &MailboxName) -> Result<MailboxStatus> {
        self.mailbox_status(account, mailbox).await
    }

    async fn select(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        read_only: bool,
    ) -> Result<Selected> {
        let mailbox = self.resolve(account, mailbox).await?;
        let (view, state) = self.look(&mailbox).await?;
        let mut read_only = read_only || mailbox.state().read_only;
        // The view may be newer than the state, and show what nobody has claimed yet.
        let (view, recent_from) = if read_only || state.recent_from >= view.snapshot.uid_next {
            (view, state.recent_from)
        } else {
            match self.take_recent(&mailbox).await {
                Err(error) if is_read_only(&error) => {
                    read_only = true;
                    (view, state.recent_from)
                }
                recent => {
                    let ((first, _), seen) = recent?;
                    (seen.unwrap_or(view), first)
                }
            }
        };
        Ok(selected(&mailbox, view.snapshot, recent_from, read_only))
    }

    async fn claim_recent(&self, mailbox: &MailboxRef) -> Result<(Uid, Uid)> {
        let mailbox = self.by_reference(mailbox)?;
        let state = self.read_state(&mailbox).await?;
        let claimed = state.filter(|state| mailbox.state().read_only || state.recent_from >= state.uid_next);
        match claimed {
            Some(state) => Ok((state.uid_next, state.uid_next)),
            None => Ok(self.take_recent(&mailbox).await?.0),
        }
    }

    async fn snapshot(&self, mailbox: &MailboxRef) -> Result<Snapshot> {
        let mailbox = self.by_reference(mailbox)?;
        Ok(self.look(&mailbox).await?.0.snapshot)
    }

    fn snapshot_now(&self, mailbox: &MailboxRef) -> Option<Snapshot> {
        let mailbox = self.registry().by_reference(mailbox)?;
        let state = once(self.read_state(&mailbox))?.ok()?;
        current(&mailbox, state).map(|(view, _)| view.snapshot)
    }

    async fn vanished(&self, mailbox: &MailboxRef, since: ModSeq, snapshot: &Snapshot) -> Result<Vanished> {
        let mailbox = self.by_reference(mailbox)?;
        self.vanished_since(&mailbox, since, snapshot).await
    }

    async fn unselect(&self, mailbox: &MailboxRef) {
        if let Some(mailbox) = self.registry().by_reference(mailbox) {
            let less = |count: usize| count.checked_sub(1);
            let before = mailbox
                .selected
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            if before == Ok(1) {
                self.save(&mailbox).await;
            }
        }
    }

    fn select_now(&self, account: &AccountName, mailbox: &MailboxName, read_only: bool) -> Option<Selected> {
        let mailbox = once(self.opened(account, mailbox))?.ok()??;
        let file = mailbox.state();
        if file.read_only {
            return None;
        }
        let state = once(self.read_state(&mailbox))?.ok()?;
        let (view, state) = current(&mailbox, state)?;
        if !read_only && state.recent_from < view.snapshot.uid_next {
            return None;
        }
        Some(selected(&mailbox, view.snapshot, state.recent_from, read_only))
    }

    fn unselect_now(&self, mailbox: &MailboxRef) -> bool {
        let Some(mailbox) = self.registry().by_reference(mailbox) else {
            return true;
        };
        // The last one may have something to save.
        let less = |count: usize| {
            let free = count > 1 || !self.has_to_save(&mailbox);
            count.checked_sub(1).filter(|_| free)
        };
        let before = mailbox
            .selected
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        before.is_ok()
    }

    fn store_now(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Option<Result<Stored>> {
        let mailbox = self.registry().by_reference(mailbox)?;
        self.store_flags_now(&mailbox, uids, change, unchanged_since)
    }

    async fn create(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        special_use: &[SpecialUse],
        now: Unix,
    ) -> Result<()> {
        self.create_mailbox(account, mailbox, special_use, now).await
    }

    async fn delete(&self, account: &AccountName, mailbox: &MailboxName) -> Result<()> {
        self.delete_mailbox(account, mailbox).await
    }

    async fn rename(
        &self,
        account: &AccountName,
        from: &MailboxName,
        to: &MailboxName,
        now: Unix,
    ) -> Result<()> {
        self.rename_mailbox(account, from, to, now).await
    }

    async fn subscribe(&self, account: &AccountName, mailbox: &MailboxName, on: bool) -> Result<()> {
        self.set_subscribed(account, mailbox, on).await
    }

    async fn acl(&self, account: &AccountName, mailbox: &MailboxName) -> Result<Acl> {
        self.acl_of_name(account, mailbox).await
    }

    async fn acl_of(&self, mailbox: &MailboxRef) -> Result<Acl> {
        self.acl_of_open(mailbox).await
    }

    async fn set_acl(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        identifier: &Identifier,
        change: RightsChange,
    ) -> Result<()> {
        self.change_acl(account, mailbox, identifier, change).await
    }

    async fn shared(&self, with: &AccountName) -> Result<Vec<SharedMailbox>> {
        self.shared_mailboxes(with).await
    }

    async fn annotations(&self, about: &Annotated) -> Result<Annotations> {
        self.annotations_of(about).await
    }

    async fn annotate(&self, about: &Annotated, changes: &[AnnotationChange]) -> Result<()> {
        self.change_annotations(about, changes).await
    }

    async fn usage(&self, account: &AccountName) -> Result<Usage> {
        self.usage_of(account).await
    }

    async fn recount(&self, account: &AccountName) -> Result<Usage> {
        self.recount_account(account).await
    }

    async fn has_room(&self, account: &AccountName, quota: &Quota, more: Usage) -> Result<bool> {
        self.may_add(account, quota, more).await
    }

    fn has_room_now(&self, account: &AccountName, quota: &Quota, more: Usage) -> bool {
        self.may_add_now(account, quota, more)
    }

    async fn new_spool(&self) -> Result<Spool<D>> {
        Ok(self.empty_spool())
    }

    fn write_spool_now(&self, spool: &mut Spool<D>, chunk: Chunk) -> core::result::Result<(), Chunk> {
        self.spool_now(spool, chunk)
    }

    async fn write_spool(&self, spool: &mut Spool<D>, chunk: Chunk) -> Result<()> {
        self.spool(spool, chunk).await
    }

    async fn sync_spool(&self, spool: &mut Spool<D>) -> Result<()> {
        let _syncing = self.syncing();
        self.settle_early(spool).await
    }

    fn spool_len(&self, spool: &Spool<D>) -> u64 {
        spool.len()
    }

    async fn append(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        messages: Vec<(Spool<D>, Flags, Option<DateTime>)>,
        quota: &Quota,
        now: Unix,
    ) -> Result<Appended> {
        let _syncing = self.syncing();
        self.append_all(account, mailbox, messages, quota, now).await
    }

    async fn append_numbered(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        numbering: Numbering,
        messages: Vec<(Uid, Spool<D>, Flags, Option<DateTime>)>,
        now: Unix,
    ) -> Result<Appended> {
        let _syncing = self.syncing();
        self.append_with_numbers(account, mailbox, numbering, messages, now)
            .await
    }

    async fn raise_modseq(&self, account: &AccountName, mailbox: &MailboxName, above: ModSeq) -> Result<()> {
        let mailbox = self.resolve(account, mailbox).await?;
        self.raise_modseq_of(&mailbox, above).await
    }

    async fn deliver(
        &self,
        spool: Spool<D>,
        accounts: &[(AccountName, Quota)],
        outbound: Option<&Entry>,
        now: Unix,
    ) -> Result<()> {
        let _syncing = self.syncing();
        self.deliver_all(spool, accounts, outbound, None, now)
            .await
            .map(drop)
    }

    async fn deliver_some(
        &self,
        spool: Spool<D>,
        accounts: &[(AccountName, Quota)],
        outbound: Option<&Entry>,
        instead: Instead<'_>,
        now: Unix,
    ) -> Result<Option<Entry>> {
        let _syncing = self.syncing();
        self.deliver_all(spool, accounts, outbound, Some(instead), now)
            .await
    }

    async fn store(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Stored> {
        let mailbox = self.by_reference(mailbox)?;
        self.store_flags(&mailbox, uids, change, unchanged_since).await
    }

    async fn copy(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        quota: &Quota,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)> {
        let source = self.by_reference(mailbox)?;
        let target = self.resolve(&mailbox.account, to).await?;
        let _syncing = self.syncing();
        self.copy_to(&source, uids, &target, quota, now).await
    }

    async fn r#move(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)> {
        let source = self.by_reference(mailbox)?;
        let target = self.resolve(&mailbox.account, to).await?;
        let _syncing = self.syncing();
        self.move_to(&source, uids, &target, now).await
    }

    async fn expunge(&self, mailbox: &MailboxRef, uids: Option<&UidSet>) -> Result<Snapshot> {
        let mailbox = self.by_reference(mailbox)?;
        let _syncing = self.syncing();
        self.expunge_deleted(&mailbox, uids).await
    }

    async fn open(&self, mailbox: &MailboxRef, uid: Uid) -> Result<Option<Blob<D>>> {
        let mailbox = self.by_reference(mailbox)?;
        let view = match mailbox.view() {
            Some(view) => view,
            None => self.look(&mailbox).await?.0,
        };
        if let Some(blob) = self.open_blob(&mailbox, &view, uid).await? {
            return Ok(Some(blob));
        }
        // Not under any name that was seen: under the lock names stand still.
        let mut hold = self.hold(&mailbox).await?;
        hold.refresh().await?;
        match mailbox.view() {
            Some(view) => self.open_blob(&mailbox, &view, uid).await,
            None => Ok(None),
        }
    }

    fn blob_len(&self, blob: &Blob<D>) -> u64 {
        blob.len
    }

    async fn read(&self, blob: &Blob<D>, buf: &mut [u8], offset: u64) -> Result<usize> {
        let read = self.disk().read_at(&blob.file, buf, offset).await;
        read.during(|| "read a message".to_owned())
    }

    fn read_now(&self, blob: &Blob<D>, buf: &mut [u8], offset: u64) -> Option<usize> {
        self.disk().read_now(&blob.file, buf, offset)
    }

    async fn parsed(&self, mailbox: &MailboxRef, uids: &[Uid]) -> Vec<Option<Parsed>> {
        let mailbox = self
            .by_reference(mailbox)
            .ok()
            .filter(|_| self.options().parsed_cache);
        let view = mailbox.as_ref().and_then(|mailbox| mailbox.view());
        match (mailbox, view) {
            (Some(mailbox), Some(view)) => self.parsed_of(&mailbox, &view, uids).await,
            _ => vec![None; uids.len()],
        }
    }

    async fn keep_parsed(&self, mailbox: &MailboxRef, found: &[(Uid, Parsed)]) {
        let Ok(mailbox) = self.by_reference(mailbox) else {
            return;
        };
        let Some(view) = mailbox.view() else {
            return;
        };
        let row = |uid: &Uid| view.snapshot.rows.find(*uid).map(|(_, row)| *row);
        let records: Vec<(Row, &Parsed)> = found
            .iter()
            .filter_map(|(uid, parsed)| Some((row(uid)?, parsed)))
            .collect();
        self.keep_found(&mailbox, view.snapshot.uid_validity, &records)
            .await;
    }

    async fn load_outbound(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.load_queue(&mut |part| entries.extend(part)).await?;
        Ok(entries)
    }

    async fn load_outbound_in_parts(&self, part: &mut dyn FnMut(Vec<Entry>)) -> Result<()> {
        self.load_queue(part).await
    }

    async fn adopt_outbound(&self) -> Result<Vec<Entry>> {
        self.adopt_queues().await
    }

    async fn save_outbound(&self, entry: &Entry) -> Result<()> {
        let _syncing = self.syncing();
        self.save_entry(entry).await
    }

    async fn remove_outbound(&self, id: &str) -> Result<()> {
        let _syncing = self.syncing();
        self.remove_entry(id).await
    }

    async fn open_outbound(&self, id: &str) -> Result<Blob<D>> {
        self.open_entry(id).await
    }

    async fn outbound_homes(&self) -> Result<Vec<OutboundHome>> {
        self.queue_homes().await
    }

    async fn read_outbound(&self, home: &str, ids: &[String]) -> Result<Vec<ReadEntry>> {
        self.read_entries(home, ids).await
    }

    fn owns_outbound(&self, home: &str) -> bool {
        self.owns_queue(home)
    }

    async fn poll_watched(&self) {
        self.poll().await;
    }

    fn listen(&self, mailbox: &MailboxRef) {
        self.hear(mailbox);
    }

    fn changes(&self) -> impl Future<Output = Changes> + Send {
        self.disk().changes()
    }

    async fn look_at(&self, changes: &Changes) {
        self.look_at_changed(changes).await;
    }

    async fn sweep_watched(&self) {
        self.sweep_all().await;
    }

    fn is_dirty(&self) -> bool {
        self.has_unsynced_flags()
    }

    async fn free(&self) -> Result<Option<Free>> {
        let free = self.disk().free(self.disk().root()).await;
        free.map(Some)
            .during(|| "ask the mail_root for its room".to_owned())
    }

    async fn tidy(&self) -> Result<()> {
        self.tidy_all().await
    }

    async fn flush(&self) -> Result<()> {
        let _syncing = self.syncing();
        self.flush_flags().await
    }

    async fn close(&self) -> Result<()> {
        self.end().await
    }
}

/// A session has selected it.
fn selected<D: Disk>(
    mailbox: &Mailbox<D>,
    snapshot: Snapshot,
    recent_from: Uid,
    read_only: bool,
) -> Selected {
    mailbox.selected.fetch_add(1, Ordering::Relaxed);
    Selected {
        mailbox: mailbox.reference.clone(),
        snapshot,
        recent_from,
        read_only,
        rights: Rights::ALL,
    }
}
