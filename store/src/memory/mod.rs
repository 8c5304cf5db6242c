//! A store of mail in memory: the shortest complete [`MailStore`](crate::MailStore).
//!
//! It is three things. An example for authors of other backends, who find in `account.rs` and `mailbox.rs` what the
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
mod store;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmail_core::addr::AccountName;
use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{Annotated, Annotations, MailboxName, MailboxRef, ModSeq};
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::time::Unix;

use crate::error::{Error, Result};
use crate::hub::Hub;

use account::Account;
use mailbox::Mailbox;
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
    /// Of the server.
    annotations: Annotations,
}

impl MemoryStore {
    /// An empty store. Of the limits it keeps those of UIDs, of keywords, and of the record of what was expunged.
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

    /// Tells the watchers of an account's list of mailboxes, likewise.
    fn announce_list(&self, account: &AccountName) {
        self.hub.announce_change(&Scope::List(account.clone()));
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

    /// The annotations of what they are about.
    fn annotations(&mut self, about: &Annotated) -> Result<&mut Annotations> {
        match about {
            Annotated::Server => Ok(&mut self.annotations),
            Annotated::Account(account) => Ok(&mut self.account(account)?.annotations),
            Annotated::Mailbox(account, name) => Ok(&mut self.named(account, name)?.annotations),
        }
    }

    /// An id for a new queue entry: letters and digits, and nobody else's.
    fn check_new_id(&self, id: &str) -> Result<()> {
        let word = id.bytes().all(|octet| octet.is_ascii_alphanumeric());
        if word && (1..=MAX_ID).contains(&id.len()) && !self.queue.contains_key(id) {
            return Ok(());
        }
        Err(fault(format!("{id:?} is no id for a new queue entry")))
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

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("MemoryStore")
            .field("accounts", &world.accounts.len())
            .field("queue", &world.queue.len())
            .finish_non_exhaustive()
    }
}
