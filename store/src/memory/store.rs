//! [`MailStore`] for [`MemoryStore`]: each operation locks the world, changes it, unlocks it, and announces.

use std::collections::BTreeSet;
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{
    Appended, CopyUid, MailboxEntry, MailboxStatus, Selected, SharedMailbox, Stored,
};
use rmail_core::mailbox::{
    Acl, Annotated, AnnotationChange, Annotations, FlagChange, Flags, Identifier, MailboxName, MailboxRef,
    ModSeq, Quota, RightsChange, Snapshot, SpecialUse, Uid, UidSet, Usage, Vanished, Who,
};
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::time::{DateTime, Unix};

use super::account::Account;
use super::mailbox::{Incoming, Mailbox, TakenIn};
use super::{Blob, MemoryStore, Spool, spool};
use crate::disk::Free;
use crate::error::Result;
use crate::hub::Hub;
use crate::mailstore::{MailStore, Numbering, OutboundHome, Owner, ReadEntry};

/// The one home of the queue.
const HOME: &str = "memory";

impl MailStore for MemoryStore {
    type Spool = Spool;
    type Blob = Blob;

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    async fn create_account(&self, account: &AccountName, now: Unix) -> Result<()> {
        self.world().ensure_account(account, now).map(drop)?;
        self.announce_list(account);
        Ok(())
    }

    async fn delete_account(&self, account: &AccountName) -> Result<()> {
        let mut world = self.world();
        let Some(removed) = world.accounts.remove(account) else {
            return Ok(());
        };
        world
            .validities
            .insert(account.clone(), removed.last_uid_validity());
        drop(world);
        for mailbox in removed.into_mailboxes() {
            self.announce(mailbox.reference().clone(), mailbox.past());
        }
        self.announce_list(account);
        Ok(())
    }

    async fn list(&self, account: &AccountName) -> Result<Vec<MailboxEntry>> {
        let world = self.world();
        Ok(world.accounts.get(account).map(Account::list).unwrap_or_default())
    }

    async fn status(&self, account: &AccountName, mailbox: &MailboxName) -> Result<MailboxStatus> {
        Ok(self.world().named(account, mailbox)?.status())
    }

    async fn select(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        read_only: bool,
    ) -> Result<Selected> {
        Ok(self.world().named(account, mailbox)?.select(read_only))
    }

    fn select_now(&self, account: &AccountName, mailbox: &MailboxName, read_only: bool) -> Option<Selected> {
        let mut world = self.world();
        Some(world.named(account, mailbox).ok()?.select(read_only))
    }

    fn unselect_now(&self, _: &MailboxRef) -> bool {
        true
    }

    async fn claim_recent(&self, mailbox: &MailboxRef) -> Result<(Uid, Uid)> {
        Ok(self.world().referred(mailbox)?.claim_recent())
    }

    async fn snapshot(&self, mailbox: &MailboxRef) -> Result<Snapshot> {
        Ok(self.world().referred(mailbox)?.snapshot())
    }

    fn snapshot_now(&self, mailbox: &MailboxRef) -> Option<Snapshot> {
        self.world().referred(mailbox).ok().map(Mailbox::snapshot)
    }

    async fn vanished(&self, mailbox: &MailboxRef, since: ModSeq, snapshot: &Snapshot) -> Result<Vanished> {
        Ok(self.world().referred(mailbox)?.vanished(since, snapshot.modseq))
    }

    async fn create(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        special_use: &[SpecialUse],
        now: Unix,
    ) -> Result<()> {
        let mut world = self.world();
        world
            .ensure_account(account, now)?
            .create(mailbox, special_use, now)?;
        drop(world);
        self.announce_list(account);
        Ok(())
    }

    async fn delete(&self, account: &AccountName, mailbox: &MailboxName) -> Result<()> {
        if mailbox.is_inbox() {
            return Err(Refusal::NotPossible.into());
        }
        let gone = self.world().account(account)?.delete(mailbox)?;
        self.announce(gone.reference().clone(), gone.past());
        self.announce_list(account);
        Ok(())
    }

    async fn rename(
        &self,
        account: &AccountName,
        from: &MailboxName,
        to: &MailboxName,
        now: Unix,
    ) -> Result<()> {
        if to.is_inbox() {
            return Err(Refusal::MailboxExists.into());
        }
        if to.is_below(from) && !from.is_inbox() {
            return Err(Refusal::NotPossible.into());
        }
        if from.is_inbox() {
            return self.rename_inbox(account, to, now);
        }
        self.world().account(account)?.rename(from, to, now)?;
        self.announce_list(account);
        Ok(())
    }

    async fn subscribe(&self, account: &AccountName, mailbox: &MailboxName, on: bool) -> Result<()> {
        self.world().account(account)?.subscribe(mailbox, on);
        self.announce_list(account);
        Ok(())
    }

    async fn acl(&self, account: &AccountName, mailbox: &MailboxName) -> Result<Acl> {
        Ok(self.world().named(account, mailbox)?.acl.clone())
    }

    async fn acl_of(&self, mailbox: &MailboxRef) -> Result<Acl> {
        Ok(self.world().referred(mailbox)?.acl.clone())
    }

    async fn set_acl(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        identifier: &Identifier,
        change: RightsChange,
    ) -> Result<()> {
        if !self
            .world()
            .named(account, mailbox)?
            .acl
            .change(identifier, change)
        {
            return Err(Refusal::MailboxFull.into());
        }
        self.announce_list(account);
        match &identifier.who {
            Who::Account(named) => self.announce_list(named),
            Who::Anyone => self.hub.announce_lists(),
        }
        Ok(())
    }

    async fn shared(&self, with: &AccountName) -> Result<Vec<SharedMailbox>> {
        let world = self.world();
        let others = world.accounts.iter().filter(|(name, _)| *name != with);
        Ok(others
            .flat_map(|(_, account)| account.shared_with(with))
            .collect())
    }

    async fn annotations(&self, about: &Annotated) -> Result<Annotations> {
        match self.world().annotations(about) {
            // An account that is not there has noted nothing.
            Err(_) if matches!(about, Annotated::Account(_)) => Ok(Annotations::default()),
            found => Ok(found?.clone()),
        }
    }

    async fn annotate(&self, about: &Annotated, changes: &[AnnotationChange]) -> Result<()> {
        let mut world = self.world();
        let annotations = world.annotations(about)?;
        let before = annotations.clone();
        if !annotations.change(changes) {
            return Err(Refusal::MailboxFull.into());
        }
        if *annotations == before {
            return Ok(());
        }
        let counted = match about {
            Annotated::Mailbox(account, name) => {
                let mailbox = world.named(account, name)?;
                let modseq = mailbox.change();
                Some((mailbox.reference().clone(), modseq))
            }
            _ => None,
        };
        drop(world);
        if let Some((reference, modseq)) = counted {
            self.announce(reference, modseq);
        }
        match about {
            Annotated::Server => self.hub.announce_lists(),
            Annotated::Account(account) | Annotated::Mailbox(account, _) => self.announce_list(account),
        }
        Ok(())
    }

    async fn usage(&self, account: &AccountName) -> Result<Usage> {
        let world = self.world();
        Ok(world
            .accounts
            .get(account)
            .map(Account::usage)
            .unwrap_or_default())
    }

    async fn new_spool(&self) -> Result<Spool> {
        Ok(Spool::new(&self.used))
    }

    fn write_spool_now(&self, spool: &mut Spool, chunk: Chunk) -> core::result::Result<(), Chunk> {
        // What does not fit is offered again to `write_spool`, which can say why it is refused.
        spool.write(&chunk, self.room).map_err(|_| chunk)
    }

    async fn write_spool(&self, spool: &mut Spool, chunk: Chunk) -> Result<()> {
        Ok(spool.write(&chunk, self.room)?)
    }

    fn spool_len(&self, spool: &Spool) -> u64 {
        spool.len()
    }

    async fn append(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        messages: Vec<(Spool, Flags, Option<DateTime>)>,
        quota: &Quota,
        now: Unix,
    ) -> Result<Appended> {
        let mut world = self.world();
        let account = world.account(account)?;
        account.named(mailbox)?;
        let mut news = Vec::with_capacity(messages.len());
        for (spool, flags, date) in messages {
            news.push(Incoming::new(spool.finish()?, flags, date, now)?);
        }
        account.check_quota(quota, &news)?;
        let mailbox = account.named(mailbox)?;
        let uids = mailbox.add(news, &self.limits, now)?;
        let (reference, modseq) = (mailbox.reference().clone(), mailbox.modseq());
        let uid_validity = mailbox.uid_validity();
        drop(world);
        self.announce(reference, modseq);
        Ok(Appended { uid_validity, uids })
    }

    async fn append_numbered(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        numbering: Numbering,
        messages: Vec<(Uid, Spool, Flags, Option<DateTime>)>,
        now: Unix,
    ) -> Result<Appended> {
        let (mut uids, mut news) = (Vec::new(), Vec::new());
        for (uid, spool, flags, date) in messages {
            uids.push(uid);
            news.push(Incoming::new(spool.finish()?, flags, date, now)?);
        }
        let mut world = self.world();
        let account = world.account(account)?;
        let mailbox = account.named(mailbox)?;
        mailbox.add_numbered(numbering, &uids, news, &self.limits, now)?;
        let (reference, modseq) = (mailbox.reference().clone(), mailbox.modseq());
        let uid_validity = mailbox.uid_validity();
        account.reserve_uid_validity(numbering, now);
        drop(world);
        self.announce(reference, modseq);
        Ok(Appended { uid_validity, uids })
    }

    async fn raise_modseq(&self, account: &AccountName, mailbox: &MailboxName, above: ModSeq) -> Result<()> {
        let mut world = self.world();
        let mailbox = world.named(account, mailbox)?;
        let before = mailbox.modseq();
        mailbox.raise_modseq(above);
        let (reference, modseq) = (mailbox.reference().clone(), mailbox.modseq());
        drop(world);
        if modseq > before {
            self.announce(reference, modseq);
        }
        Ok(())
    }

    async fn deliver(
        &self,
        spool: Spool,
        accounts: &[(AccountName, Quota)],
        outbound: Option<&Entry>,
        now: Unix,
    ) -> Result<()> {
        let message = Incoming::new(spool.finish()?, Flags::default(), None, now)?;
        let mut world = self.world();
        if let Some(entry) = outbound {
            world.check_new_id(&entry.id)?;
        }
        let has_room = |(account, quota): &(AccountName, Quota)| {
            let usage = world.accounts.get(account).map(Account::usage);
            quota.admits(usage.unwrap_or_default(), message.usage())
        };
        if !accounts.is_empty() && !accounts.iter().any(has_room) {
            return Err(Refusal::OverQuota.into());
        }
        for (account, _) in accounts {
            let inbox = world.ensure_account(account, now)?.named(&MailboxName::inbox())?;
            inbox.check_room(1, &self.limits)?;
        }
        // An account may be named twice, by two addresses of one user.
        let accounts: BTreeSet<&AccountName> = accounts.iter().map(|(account, _)| account).collect();
        let mut told = Vec::with_capacity(accounts.len());
        for account in accounts {
            let inbox = world.named(account, &MailboxName::inbox())?;
            inbox.add(vec![message.clone()], &self.limits, now)?;
            told.push((inbox.reference().clone(), inbox.modseq()));
        }
        if let Some(entry) = outbound {
            let queued = (entry.clone(), message.body);
            world.queue.insert(entry.id.clone(), queued);
        }
        drop(world);
        for (mailbox, modseq) in told {
            self.announce(mailbox, modseq);
        }
        Ok(())
    }

    async fn store(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Stored> {
        let mut world = self.world();
        let found = world.referred(mailbox)?;
        let before = found.modseq();
        let modified = found.store(uids, change, unchanged_since, &self.limits)?;
        let snapshot = found.snapshot();
        drop(world);
        if snapshot.modseq > before {
            self.announce(mailbox.clone(), snapshot.modseq);
        }
        Ok(Stored { snapshot, modified })
    }

    async fn copy(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        quota: &Quota,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)> {
        let mut world = self.world();
        let account = world.account(&mailbox.account)?;
        let (source, news) = account.referred(mailbox)?.choose(uids);
        account.named(to)?;
        account.check_quota(quota, &news)?;
        let copied = account.named(to)?.take_in(source, news, &self.limits, now)?;
        let snapshot = account.referred(mailbox)?.snapshot();
        drop(world);
        copied.announce(self);
        Ok((copied.uids, snapshot))
    }

    async fn r#move(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)> {
        let mut world = self.world();
        let account = world.account(&mailbox.account)?;
        let (source, news) = account.referred(mailbox)?.choose(uids);
        let moved = account.named(to)?.take_in(source, news, &self.limits, now)?;
        let found = account.referred(mailbox)?;
        found.remove(&moved.uids.source, &self.limits);
        let snapshot = found.snapshot();
        drop(world);
        if !moved.uids.source.is_empty() {
            moved.announce(self);
            self.announce(mailbox.clone(), snapshot.modseq);
        }
        Ok((moved.uids, snapshot))
    }

    async fn expunge(&self, mailbox: &MailboxRef, uids: Option<&UidSet>) -> Result<Snapshot> {
        let mut world = self.world();
        let found = world.referred(mailbox)?;
        let before = found.modseq();
        let gone = found.deleted(uids);
        found.remove(&gone, &self.limits);
        let snapshot = found.snapshot();
        drop(world);
        if snapshot.modseq > before {
            self.announce(mailbox.clone(), snapshot.modseq);
        }
        Ok(snapshot)
    }

    async fn open(&self, mailbox: &MailboxRef, uid: Uid) -> Result<Option<Blob>> {
        Ok(self.world().referred(mailbox)?.body(uid))
    }

    fn blob_len(&self, blob: &Blob) -> u64 {
        blob.len()
    }

    async fn read(&self, blob: &Blob, buf: &mut [u8], offset: u64) -> Result<usize> {
        Ok(blob.read(buf, offset))
    }

    fn read_now(&self, blob: &Blob, buf: &mut [u8], offset: u64) -> Option<usize> {
        Some(blob.read(buf, offset))
    }

    async fn load_outbound(&self) -> Result<Vec<Entry>> {
        let world = self.world();
        Ok(world.queue.values().map(|(entry, _)| entry.clone()).collect())
    }

    async fn save_outbound(&self, entry: &Entry) -> Result<()> {
        self.world().entry(&entry.id)?.0 = entry.clone();
        Ok(())
    }

    async fn remove_outbound(&self, id: &str) -> Result<()> {
        let mut world = self.world();
        world.entry(id)?;
        world.queue.remove(id);
        Ok(())
    }

    async fn open_outbound(&self, id: &str) -> Result<Blob> {
        Ok(self.world().entry(id)?.1.clone())
    }

    async fn outbound_homes(&self) -> Result<Vec<OutboundHome>> {
        let ids = self.world().queue.keys().cloned().collect();
        Ok(vec![OutboundHome {
            name: HOME.to_owned(),
            owner: Owner::Us,
            ids,
            damaged: Vec::new(),
        }])
    }

    async fn read_outbound(&self, home: &str, ids: &[String]) -> Result<Vec<ReadEntry>> {
        let world = self.world();
        let entry = |id: &String| {
            let (entry, _) = world.queue.get(id)?;
            Some(ReadEntry {
                id: id.clone(),
                entry: Ok(entry.clone()),
            })
        };
        Ok(ids.iter().filter(|_| home == HOME).filter_map(entry).collect())
    }

    fn owns_outbound(&self, home: &str) -> bool {
        home == HOME
    }

    async fn free(&self) -> Result<Option<Free>> {
        Ok(Some(Free {
            bytes: spool::free(&self.used, self.room),
            inodes: u64::MAX,
        }))
    }
}

impl MemoryStore {
    /// RENAME of INBOX (RFC 9051 §6.3.6): its messages move into a new mailbox, itself and what is below it stay.
    fn rename_inbox(&self, account: &AccountName, to: &MailboxName, now: Unix) -> Result<()> {
        let mut world = self.world();
        let owner = world.account(account)?;
        owner.create(to, &[], now)?;
        let annotations = owner.named(&MailboxName::inbox())?.annotations.clone();
        owner.named(to)?.annotations = annotations;
        let inbox = owner.named(&MailboxName::inbox())?;
        let (source, news) = inbox.choose(&UidSet::from_ranges([(1, u32::MAX)]));
        let moved = owner.named(to)?.take_in(source, news, &self.limits, now)?;
        let inbox = owner.named(&MailboxName::inbox())?;
        inbox.remove(&moved.uids.source, &self.limits);
        let (reference, modseq) = (inbox.reference().clone(), inbox.modseq());
        drop(world);
        self.announce(reference, modseq);
        self.announce_list(account);
        Ok(())
    }
}

impl TakenIn {
    fn announce(&self, store: &MemoryStore) {
        if !self.uids.target.is_empty() {
            store.announce(self.target.clone(), self.modseq);
        }
    }
}
