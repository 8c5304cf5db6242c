//! The store of mail in plain files.
//!
//! ```text
//! {mail_root}/
//!   domains/{domain}/users/{username}/      names by [`escape`]
//!     account.lock                          flock: CREATE, DELETE, RENAME, subscriptions, account.json; a count of
//!                                           these, see [`list_watch`]
//!     account.json                          {"version":1,"last_uid_validity":N}
//!     subscriptions.json                    {"version":1,"mailboxes":["INBOX", ...]}
//!     metadata.json                         see [`metadata`]
//!     usage                                 see [`usage`]; its flock is held for itself only
//!     deleted/                              mailboxes on their way out
//!     lost+found/                           what [`crate::care::fsck`] could not leave in its place
//!     mailboxes/{level}/                    one directory per level of a mailbox name, by [`escape`]
//!       status.json                         see [`status`]; without it the level cannot be selected
//!       state                               see [`state`]; its flock is the naming lock
//!       keywords                            see [`keywords`]
//!       acl.json                            see [`acl`]
//!       metadata.json                       see [`metadata`]
//!       expunged                            see [`expunged`]
//!       snapshot                            a cache, see [`snapshot`]
//!       recent                              a cache of the latest changes, while several processes use the mailbox
//!       shards/{NNNNNN}/                    messages with UID / 1000 = N, see [`names`]
//!       parsed/{NNNNNN}                     a cache of what is in these messages, see [`parsed`]
//!       migrating/ status.json.migrating      while a mailbox of the earliest layout becomes one of this: see [`migrate`]
//!       children/{level}/                   the same again
//!   lost+found/                             likewise, of the queue
//!   shared/{identifier}/{account}           empty: the account shares something, see [`acl`]
//!   shared/metadata.json                    see [`metadata`]
//!   queue/{n}/                              the outbound queue of one process
//!     lock                                  flock: held as long as the process lives
//!     {id}.eml {id}.json                    message and [`rmail_core::relay::entry::Entry`], see [`journal`]
//!     {id}.eml.bad {id}.json.bad            an entry that was found damaged
//!   synced                                  a cache, see [`settled`]
//!   .tmp-*                                  here and beside the files above: see [`crate::disk::STAND_IN`]
//! ```
//!
//! # Invariants
//!
//! * What is added is reserved in the account's usage record before it is visible; what is removed is taken off after.
//! * Names, not file contents, change. A message's name is a pure function of its row.
//! * Message names are given, changed and removed under the naming lock only. One operation never holds two naming
//!   locks, so there is no order to keep between them; the account lock is taken before a naming lock.
//! * Messages of one operation become visible together, by the write of `state` that ends the change.
//! * What is answered is synced: octets before the first name, names before the answer. No ceiling is passed before it is
//!   on disk.
//! * What another process wrote, and may have died before syncing, is synced before anything relies on it: `status.json`,
//!   `keywords`, the entry of `expunged`, new shards. What failed to sync is written anew, not synced again.
//! * An operation on many messages goes in holds of at most [`rmail_core::limits::Limits::names_per_hold`] names, with the
//!   lock free for 100 µs between them. Only what must become visible at once (COPY, MULTIAPPEND, the first half of MOVE)
//!   takes one hold, whatever it takes.
//! * Whether a cached row is right is decided by `state` alone: `begun == done == the snapshot's MODSEQ`.

pub(crate) mod account;
pub(crate) mod acl;
pub(crate) use account::ACCOUNT_LOCK;
pub(crate) use ledger::USAGE;
mod add;
mod arrivals;
mod cache;
pub(crate) mod care;
mod change;
mod copy;
mod dirs;
pub mod escape;
pub mod expunged;
mod foreign;
mod hold;
pub(crate) mod io;
pub(crate) mod journal;
pub mod keywords;
mod ledger;
mod levels;
mod list_watch;
mod lock;
mod mailbox;
mod manage;
pub(crate) mod metadata;
pub mod migrate;
pub mod names;
mod numbered;
pub mod parsed;
mod present;
mod queue;
mod queue_list;
mod quota;
mod read_only;
mod recent;
mod recount;
mod saved;
mod settled;
mod shards;
pub(crate) mod snapshot;
pub(crate) mod spool;
pub mod state;
pub mod status;
mod store;
mod sums;
mod sweep;
mod sync;
mod tidy;
mod told;
mod tree;
pub mod usage;
mod vanished;
mod warm;
mod watch;

use core::fmt;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use rmail_core::addr::AccountName;
use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{ModSeq, Uid};

use crate::disk::Disk;
use crate::error::Result;
use crate::hub::Hub;

use io::During as _;
use mailbox::{Mailbox, Registry};
pub use spool::{Blob, Spool};

/// What an operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `store.flag_sync_ms`: how long a flag change that was answered may be unsynced; 0: it is synced before the
    /// answer. The host calls [`crate::MailStore::flush`] that often.
    pub flag_sync_ms: u64,
    /// `store.shared_by_hosts`: several hosts write to the mail_root, over a network file system.
    pub shared_by_hosts: bool,
    /// What clients ask of messages again and again is kept beside them (see [`parsed`]). Without it each is read anew.
    pub parsed_cache: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flag_sync_ms: 1_000,
            shared_by_hosts: false,
            parsed_cache: true,
        }
    }
}

/// A store of mail in files. One per process and mail_root.
pub struct FileStore<D: Disk> {
    disk: Arc<D>,
    limits: Limits,
    options: Options,
    hub: Arc<Hub>,
    registry: Registry<D>,
    queue: queue::Queue<D>,
    /// The device of the mail_root: what is on it is covered by one syncfs.
    device: u64,
    /// It was said that changes by others cannot be heard.
    deaf: AtomicBool,
    /// What LIST has seen.
    levels: levels::Levels,
    /// What STATUS has said.
    told: told::Told,
    /// What the watchers of lists of mailboxes were told last.
    lists: Mutex<HashMap<AccountName, list_watch::Counted>>,
    /// What earlier starts of the machine have synced.
    synced: Mutex<Option<Vec<(u128, i128)>>>,
    /// Octets of memory that spools have.
    spooled: Arc<AtomicUsize>,
    /// Operations under way that sync.
    syncing: AtomicUsize,
    /// Messages that wait for the sync of their files.
    arrivals: arrivals::Line<D>,
    parsed: parsed::Files<D>,
}

impl<D: Disk> FileStore<D> {
    /// Opens the store. Nothing is made or repaired yet: that happens where it is met.
    ///
    /// # Errors
    /// The mail_root cannot be read.
    pub async fn open(disk: Arc<D>, limits: Limits, options: Options) -> Result<Self> {
        let root = disk.stat_dir(disk.root()).await;
        let device = root.during(|| "open the mail_root".to_owned())?.device;
        Ok(Self {
            disk,
            limits,
            options,
            hub: Arc::default(),
            registry: Registry::default(),
            queue: queue::Queue::default(),
            device,
            deaf: AtomicBool::new(false),
            levels: levels::Levels::default(),
            told: told::Told::default(),
            lists: Mutex::default(),
            synced: Mutex::default(),
            spooled: Arc::default(),
            syncing: AtomicUsize::new(0),
            arrivals: arrivals::Line::to_sync(),
            parsed: parsed::Files::default(),
        })
    }

    /// The disk it lies on.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn registry(&self) -> &Registry<D> {
        &self.registry
    }

    /// The shard that a UID lies in.
    fn shard(&self, uid: Uid) -> u32 {
        uid.0 / self.limits.shard_size.max(1)
    }

    /// Whether flag changes are synced before they are answered.
    fn flags_at_once(&self) -> bool {
        self.options.flag_sync_ms == 0 || self.options.shared_by_hosts
    }

    /// Tells the watchers of a mailbox that it has changed.
    fn announce(&self, mailbox: &Mailbox<D>, modseq: ModSeq) {
        self.hub
            .announce(&Scope::Mailbox(mailbox.reference.clone()), modseq);
    }
}

impl<D: Disk> fmt::Debug for FileStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("limits", &self.limits)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
