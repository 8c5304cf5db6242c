//! A store of mail in memory: the shortest complete [`MailStore`].
//!
//! It is three things. An example for authors of other backends, who find in [`Account`] and [`Mailbox`] what the
//! operations mean, without disks and locks around it. The model that other stores are compared with, operation by operation
//! ([`crate::suite`]). And a store for a server that shall forget everything when it ends
//! (`cargo run -p rmail-runtime --example in_memory`).
//!
//! # How it works
//!
//! One mutex holds the whole world. An operation locks it, checks everything that can fail, changes what is to be changed,
//! unlocks, and tells the [`Hub`]: it is atomic because nobody sees the middle, and it does nothing at all when it fails
//! because the checks come first. Nothing waits inside the lock, so every answer is at hand, and what a file store leaves
//! to a later flush or poll does not exist here. Messages are shared: what is delivered to many, or copied, is in memory
//! once.
//!
//! It suits some ten thousand messages a mailbox: the first look after a change lists them all.

mod account;
mod mailbox;
mod spool;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{Appended, CopyUid, MailboxEntry, MailboxStatus, Selected, Stored};
use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{
    FlagChange, Flags, MailboxName, MailboxRef, ModSeq, Snapshot, SpecialUse, Uid, UidSet,
};
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::time::{DateTime, Unix};

use crate::disk::Free;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::mailstore::MailStore;

use account::Account;
use mailbox::{Incoming, Mailbox};
pub use spool::{Blob, Spool};

/// Longest id of a queue entry.
const MAX_ID: usize = 64;

/// A store of mail in memory.
pub struct MemoryStore {
    limits: Limits,
    hub: Arc<Hub>,
    world: Mutex<World>,
    /// Octets that all messages may take, and how many of them are taken.
    room: u64,
    used: Arc<AtomicU64>,
}

/// Everything that is stored.
#[derive(Default)]
struct World {
    accounts: BTreeMap<AccountName, Account>,
    /// The last UIDVALIDITY of each account, also of accounts that were deleted: what is made later under the same name is
    /// nothing that a client has seen.
    validities: BTreeMap<AccountName, u32>,
    queue: BTreeMap<String, (Entry, Blob)>,
}

impl MemoryStore {
    /// An empty store. Of the limits it keeps those of UIDs and keywords.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_room(limits, u64::MAX)
    }

    /// An empty store that takes so many octets of messages (bodies on their way in and out included), and then is full.
    #[must_use]
    pub fn with_room(limits: Limits, room: u64) -> Self {
        Self {
            limits,
            hub: Arc::default(),
            world: Mutex::default(),
            room,
            used: Arc::default(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the watchers of a mailbox. The world is unlocked by then: a watcher may look at once.
    fn announce(&self, mailbox: MailboxRef, modseq: ModSeq) {
        self.hub.announce(&Scope::Mailbox(mailbox), modseq);
    }
}

impl World {
    fn account(&mut self, account: &AccountName) -> Result<&mut Account> {
        let found = self.accounts.get_mut(account);
        found.ok_or_else(|| Refusal::NoSuchMailbox.into())
    }

    /// The account; made if it is not there.
    fn ensure_account(&mut self, account: &AccountName, now: Unix) -> Result<&mut Account> {
        if !self.accounts.contains_key(account) {
            let last = self.validities.get(account).copied().unwrap_or_default();
            self.accounts
                .insert(account.clone(), Account::new(account, last, now)?);
        }
        self.account(account)
    }

    fn named(&mut self, account: &AccountName, name: &MailboxName) -> Result<&mut Mailbox> {
        self.account(account)?.named(name)
    }

    fn referred(&mut self, mailbox: &MailboxRef) -> Result<&mut Mailbox> {
        self.account(&mailbox.account)?.referred(mailbox)
    }

    fn entry(&mut self, id: &str) -> Result<&mut (Entry, Blob)> {
        self.queue
            .get_mut(id)
            .ok_or_else(|| fault(format!("there is no queue entry {id:?}")))
    }
}

/// Something that does not happen as long as callers keep to the contract.
fn fault(context: String) -> Error {
    Error {
        refusal: Refusal::Storage,
        context,
        source: None,
    }
}

impl MailStore for MemoryStore {
    type Spool = Spool;
    type Blob = Blob;

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    async fn create_account(&self, account: &AccountName, now: Unix) -> Result<()> {
        self.world().ensure_account(account, now).map(drop)
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

    async fn snapshot(&self, mailbox: &MailboxRef) -> Result<Snapshot> {
        Ok(self.world().referred(mailbox)?.snapshot())
    }

    fn snapshot_now(&self, mailbox: &MailboxRef) -> Option<Snapshot> {
        self.world().referred(mailbox).ok().map(Mailbox::snapshot)
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
            .create(mailbox, special_use, now)
    }

    async fn delete(&self, account: &AccountName, mailbox: &MailboxName) -> Result<()> {
        let gone = self.world().account(account)?.delete(mailbox)?;
        self.announce(gone.reference().clone(), gone.past());
        Ok(())
    }

    async fn rename(
        &self,
        account: &AccountName,
        from: &MailboxName,
        to: &MailboxName,
        now: Unix,
    ) -> Result<()> {
        if from.is_inbox() && !to.is_inbox() {
            return self.rename_inbox(account, to, now);
        }
        self.world().account(account)?.rename(from, to, now)
    }

    async fn subscribe(&self, account: &AccountName, mailbox: &MailboxName, on: bool) -> Result<()> {
        self.world().account(account)?.subscribe(mailbox, on);
        Ok(())
    }

    async fn usage(&self, account: &AccountName) -> Result<u64> {
        let world = self.world();
        Ok(world
            .accounts
            .get(account)
            .map(Account::octets)
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
        now: Unix,
    ) -> Result<Appended> {
        let mut world = self.world();
        let mailbox = world.named(account, mailbox)?;
        let mut news = Vec::with_capacity(messages.len());
        for (spool, flags, date) in messages {
            let date = date.unwrap_or_else(|| DateTime::from(now));
            news.push(Incoming::new(spool.finish()?, flags, date)?);
        }
        let uids = mailbox.add(news, &self.limits, now)?;
        let (reference, modseq) = (mailbox.reference().clone(), mailbox.modseq());
        let uid_validity = mailbox.uid_validity();
        drop(world);
        self.announce(reference, modseq);
        Ok(Appended { uid_validity, uids })
    }

    async fn deliver(
        &self,
        spool: Spool,
        accounts: &[AccountName],
        outbound: Option<&Entry>,
        now: Unix,
    ) -> Result<()> {
        let message = Incoming::new(spool.finish()?, Flags::default(), DateTime::from(now))?;
        let mut world = self.world();
        if let Some(entry) = outbound {
            let word = entry.id.bytes().all(|octet| octet.is_ascii_alphanumeric());
            if !word || entry.id.is_empty() || entry.id.len() > MAX_ID || world.queue.contains_key(&entry.id)
            {
                return Err(fault(format!("{:?} is no id for a queue entry", entry.id)));
            }
        }
        // An account may be named twice, by two addresses of one user.
        let mut accounts: Vec<&AccountName> = accounts.iter().collect();
        accounts.sort_unstable();
        accounts.dedup();
        for account in &accounts {
            let inbox = world.ensure_account(account, now)?.named(&MailboxName::inbox())?;
            inbox.check_room(1, &self.limits)?;
        }
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
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)> {
        let mut world = self.world();
        let account = world.account(&mailbox.account)?;
        let (source, news) = account.referred(mailbox)?.choose(uids);
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
        found.remove(&moved.uids.source);
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
        found.remove(&gone);
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
        let account = world.ensure_account(account, now)?;
        account.create(to, &[], now)?;
        let inbox = account.named(&MailboxName::inbox())?;
        let (source, news) = inbox.choose(&UidSet::from_ranges([(1, u32::MAX)]));
        let moved = account.named(to)?.take_in(source, news, &self.limits, now)?;
        let inbox = account.named(&MailboxName::inbox())?;
        inbox.remove(&moved.uids.source);
        let (reference, modseq) = (inbox.reference().clone(), inbox.modseq());
        drop(world);
        self.announce(reference, modseq);
        Ok(())
    }
}

impl mailbox::TakenIn {
    fn announce(&self, store: &MemoryStore) {
        if !self.uids.target.is_empty() {
            store.announce(self.target.clone(), self.modseq);
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("MemoryStore")
            .field("accounts", &world.accounts.len())
            .field("queue", &world.queue.len())
            .finish_non_exhaustive()
    }
}
