//! A mailbox that this process has open, and the registry of all of them.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{Keyword, Keywords, MailboxRef, ModSeq, Rows, Snapshot};

use crate::disk::Disk;

use super::arrivals::Line;
use super::dirs::ShardDirs;
use super::ledger::Ledger;
use super::recent::Recent;
use super::saved::Known;
use super::shards::Shards;
use super::state::State;
use super::status::Status;
use super::sums::Sums;
use super::warm::Ahead;

/// Mailboxes kept open although nobody has them selected: three descriptors each.
const IDLE_MAILBOXES: usize = 128;

/// Messages that those may have in all: 40 octets each.
const IDLE_ROWS: usize = 4_000_000;

/// Account directories kept open: one descriptor each.
const ACCOUNTS: usize = 128;

/// Usage records kept open: one descriptor each.
const LEDGERS: usize = 256;

/// A mailbox, by its directory; it stays the same when it is renamed.
pub(super) struct Mailbox<D: Disk> {
    pub(super) reference: MailboxRef,
    /// Device and inode of the directory.
    pub(super) key: (u64, u64),
    pub(super) dir: D::Dir,
    pub(super) shards: D::Dir,
    /// The one descriptor of `state`: flock belongs to it.
    state: Mutex<StateFile<D>>,
    /// Held around the flock.
    pub(super) naming: async_lock::Mutex<Core>,
    /// Held while the shards are read without the naming lock.
    pub(super) reading: async_lock::Mutex<()>,
    ahead: Mutex<Option<BTreeMap<u32, Ahead>>>,
    view: Mutex<Option<View>>,
    /// What the snapshot file holds.
    known: Mutex<Option<Known>>,
    /// The file `recent`, once it is needed.
    pub(super) recent: Mutex<Option<D::File>>,
    pending: Mutex<Pending>,
    /// Messages that are about to be added.
    pub(super) arrivals: Line<D>,
    pub(super) selected: AtomicUsize,
    used: AtomicU64,
}

/// The open `state`.
pub(super) struct StateFile<D: Disk> {
    pub(super) file: D::File,
    pub(super) inode: u64,
    /// It could only be opened to be read.
    pub(super) read_only: bool,
}

/// What is known of a mailbox under its naming lock.
#[derive(Default)]
pub(super) struct Core {
    /// `status.json` and the CRC of its octets.
    pub(super) status: Option<(Status, u32)>,
    /// Whether that is known to be on disk: who wrote it may have died before the last sync.
    pub(super) status_synced: bool,
    /// A sync of `status.json` has failed: it is written anew before it is relied on.
    pub(super) status_failed: bool,
    /// Keywords and the octets that they take in their file.
    pub(super) keywords: Option<(Arc<Keywords>, usize)>,
    /// So many of them are known to be on disk.
    pub(super) keywords_synced: usize,
    /// The shards as of `modseq`.
    pub(super) shards: Option<Shards>,
    pub(super) modseq: ModSeq,
    /// Where this process stands in the file `recent`.
    pub(super) recent: Recent,
}

impl Core {
    /// Whether these keywords and any system flags can be given or taken next without a sync: what `status.json` says
    /// covers it, and is on disk, as the keywords are.
    ///
    /// Another process may have marked the mailbox clean: that is no change, only `state` tells it.
    pub(super) fn is_ready_for_flags(&self, state: &State, wanted: &[Keyword]) -> bool {
        let covers = |(status, crc): &(Status, u32)| {
            *crc == state.status && status.dirty && state.done.0 + 1 < status.modseq_ceiling.0
        };
        let known = self.keywords.as_ref().map(|(known, _)| known);
        let synced = |keyword| {
            let bit = known.and_then(|known| known.bit(keyword));
            bit.is_some_and(|bit| bit < self.keywords_synced)
        };
        self.status_synced
            && self.shards.is_some()
            && self.status.as_ref().is_some_and(covers)
            && wanted.iter().all(synced)
    }
}

/// The messages of a mailbox at one MODSEQ.
#[derive(Clone)]
pub(super) struct View {
    /// As clients see it.
    pub(super) snapshot: Snapshot,
    /// Over all messages.
    pub(super) sums: Sums,
}

impl View {
    /// The rows, if they are those of this MODSEQ.
    pub(super) fn take_rows(&mut self, modseq: ModSeq) -> Option<Rows> {
        (self.snapshot.modseq == modseq).then(|| core::mem::take(&mut self.snapshot.rows))
    }
}

/// What this process still has to sync.
pub(super) struct Pending {
    /// Shards with flag changes that are not synced.
    pub(super) unsynced: BTreeSet<u32>,
    /// Shards whose own name this process knows to be on disk.
    pub(super) durable: BTreeSet<u32>,
    /// Counts the times that this process made, or first met, an entry in the mailbox's own directory. At first: all
    /// that are there.
    pub(super) made: u64,
    /// All entries up to this count are known to be on disk.
    pub(super) settled: u64,
    /// The entry of the expunge log is counted.
    pub(super) logged: bool,
    /// A sync of the expunge log has failed: it is written anew, for what was in it may not be on disk.
    pub(super) log_failed: bool,
    /// `status.json` says dirty because of us.
    pub(super) marked: bool,
    /// Flushes since the last flag change.
    pub(super) idle: u32,
    /// A sync of flag changes has failed: whether they are on disk is not known any more.
    pub(super) failed: bool,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            unsynced: BTreeSet::new(),
            durable: BTreeSet::new(),
            made: 1,
            settled: 0,
            logged: false,
            log_failed: false,
            marked: false,
            idle: 0,
            failed: false,
        }
    }
}

impl Pending {
    /// The mailbox's directory was synced after the count was `made`.
    pub(super) fn is_settled(&mut self, made: u64) {
        self.settled = self.settled.max(made);
    }
}

/// What is needed to open one.
pub(super) struct Parts<D: Disk> {
    pub(super) reference: MailboxRef,
    pub(super) key: (u64, u64),
    pub(super) dir: D::Dir,
    pub(super) shards: D::Dir,
    pub(super) state: StateFile<D>,
}

impl<D: Disk> Mailbox<D> {
    fn new(parts: Parts<D>) -> Self {
        Self {
            reference: parts.reference,
            key: parts.key,
            dir: parts.dir,
            shards: parts.shards,
            state: Mutex::new(parts.state),
            naming: async_lock::Mutex::new(Core::default()),
            reading: async_lock::Mutex::new(()),
            ahead: Mutex::default(),
            view: Mutex::default(),
            known: Mutex::default(),
            recent: Mutex::new(None),
            pending: Mutex::default(),
            arrivals: Line::to_add(),
            selected: AtomicUsize::new(0),
            used: AtomicU64::new(0),
        }
    }

    /// The open `state`.
    pub(super) fn state(&self) -> StateFile<D> {
        let state = guard(&self.state);
        StateFile {
            file: state.file.clone(),
            inode: state.inode,
            read_only: state.read_only,
        }
    }

    /// Somebody has put another file in its place.
    pub(super) fn set_state(&self, state: StateFile<D>) {
        *guard(&self.state) = state;
    }

    /// What was last seen of it.
    pub(super) fn view(&self) -> Option<View> {
        guard(&self.view).clone()
    }

    pub(super) fn set_view(&self, view: Option<View>) {
        *guard(&self.view) = view;
    }

    /// Makes another view of the one that is there. False: there was none, or nothing came of it; now there is none.
    pub(super) fn change_view(&self, change: impl FnOnce(View) -> Option<View>) -> bool {
        let mut view = guard(&self.view);
        *view = view.take().and_then(change);
        view.is_some()
    }

    /// Messages that are in memory.
    fn rows_in_memory(&self) -> usize {
        guard(&self.view)
            .as_ref()
            .map_or(0, |view| view.snapshot.rows.len())
    }

    /// Nothing is known of its messages.
    pub(super) fn is_cold(&self) -> bool {
        guard(&self.view).is_none()
    }

    /// Shards were read without the lock and not used yet.
    pub(super) fn is_ahead(&self) -> bool {
        guard(&self.ahead).is_some()
    }

    pub(super) fn set_ahead(&self, ahead: BTreeMap<u32, Ahead>) {
        *guard(&self.ahead) = Some(ahead);
    }

    pub(super) fn take_ahead(&self) -> BTreeMap<u32, Ahead> {
        guard(&self.ahead).take().unwrap_or_default()
    }

    pub(super) fn set_known(&self, known: Option<Known>) {
        *guard(&self.known) = known;
    }

    /// Asks of the snapshot file, if there is one.
    pub(super) fn known<T>(&self, ask: impl FnOnce(Option<&Known>) -> T) -> T {
        ask(guard(&self.known).as_ref())
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        guard(&self.pending)
    }

    /// For error messages.
    pub(super) fn label(&self) -> String {
        format!("mailbox {} of {}", self.reference.id.0, self.reference.account)
    }
}

pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The open mailboxes of this process.
pub(super) struct Registry<D: Disk> {
    inner: Mutex<Inner<D>>,
    /// Open shards of the mailboxes.
    pub(super) shards: ShardDirs<D>,
}

struct Inner<D: Disk> {
    clock: u64,
    by_key: HashMap<(u64, u64), Arc<Mailbox<D>>>,
    by_reference: HashMap<MailboxRef, Arc<Mailbox<D>>>,
    accounts: HashMap<AccountName, D::Dir>,
    ledgers: HashMap<AccountName, Arc<Ledger<D>>>,
}

impl<D: Disk> Default for Registry<D> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                clock: 0,
                by_key: HashMap::new(),
                by_reference: HashMap::new(),
                accounts: HashMap::new(),
                ledgers: HashMap::new(),
            }),
            shards: ShardDirs::default(),
        }
    }
}

impl<D: Disk> Registry<D> {
    pub(super) fn by_key(&self, key: (u64, u64)) -> Option<Arc<Mailbox<D>>> {
        let mut inner = guard(&self.inner);
        inner.clock += 1;
        let mailbox = inner.by_key.get(&key)?;
        mailbox.used.store(inner.clock, Ordering::Relaxed);
        Some(Arc::clone(mailbox))
    }

    pub(super) fn by_reference(&self, reference: &MailboxRef) -> Option<Arc<Mailbox<D>>> {
        let mut inner = guard(&self.inner);
        inner.clock += 1;
        let mailbox = inner.by_reference.get(reference)?;
        mailbox.used.store(inner.clock, Ordering::Relaxed);
        Some(Arc::clone(mailbox))
    }

    /// Enters a mailbox, unless somebody else has opened the same meanwhile.
    pub(super) fn enter(&self, parts: Parts<D>) -> Arc<Mailbox<D>> {
        let mut inner = guard(&self.inner);
        if let Some(mailbox) = inner.by_key.get(&parts.key) {
            return Arc::clone(mailbox);
        }
        for closed in inner.make_room() {
            self.shards.forget_all(closed);
        }
        inner.clock += 1;
        let mailbox = Arc::new(Mailbox::new(parts));
        mailbox.used.store(inner.clock, Ordering::Relaxed);
        inner.by_key.insert(mailbox.key, Arc::clone(&mailbox));
        inner
            .by_reference
            .insert(mailbox.reference.clone(), Arc::clone(&mailbox));
        mailbox
    }

    /// Forgets a mailbox that is gone.
    pub(super) fn forget(&self, mailbox: &Mailbox<D>) {
        guard(&self.inner).remove(mailbox);
        self.shards.forget_all(mailbox.key);
    }

    pub(super) fn all(&self) -> Vec<Arc<Mailbox<D>>> {
        guard(&self.inner).by_key.values().cloned().collect()
    }

    pub(super) fn account(&self, account: &AccountName) -> Option<D::Dir> {
        guard(&self.inner).accounts.get(account).cloned()
    }

    pub(super) fn ledger(&self, account: &AccountName) -> Option<Arc<Ledger<D>>> {
        guard(&self.inner).ledgers.get(account).cloned()
    }

    /// Enters a record, unless somebody else has opened the same meanwhile.
    pub(super) fn enter_ledger(&self, ledger: Arc<Ledger<D>>) -> Arc<Ledger<D>> {
        let mut inner = guard(&self.inner);
        if inner.ledgers.len() >= LEDGERS {
            // Those that somebody uses stay: what is in transit is known there.
            inner.ledgers.retain(|_, ledger| Arc::strong_count(ledger) > 1);
        }
        let entered = inner.ledgers.entry(ledger.account.clone());
        Arc::clone(entered.or_insert(ledger))
    }

    pub(super) fn forget_ledger(&self, account: &AccountName) {
        guard(&self.inner).ledgers.remove(account);
    }

    pub(super) fn set_account(&self, account: &AccountName, dir: Option<D::Dir>) {
        let mut inner = guard(&self.inner);
        if inner.accounts.len() >= ACCOUNTS {
            inner.accounts.clear();
        }
        match dir {
            Some(dir) => inner.accounts.insert(account.clone(), dir),
            None => inner.accounts.remove(account),
        };
    }
}

impl<D: Disk> Inner<D> {
    fn remove(&mut self, mailbox: &Mailbox<D>) {
        let same = |other: &Arc<Mailbox<D>>| core::ptr::eq(Arc::as_ptr(other), mailbox);
        if self.by_key.get(&mailbox.key).is_some_and(same) {
            self.by_key.remove(&mailbox.key);
        }
        if self.by_reference.get(&mailbox.reference).is_some_and(same) {
            self.by_reference.remove(&mailbox.reference);
        }
    }

    /// Closes mailboxes that nobody uses, those that have not been used for longest first, until there is room for one more
    /// and those that stay have not too many rows. The keys of those.
    fn make_room(&mut self) -> Vec<(u64, u64)> {
        let mut closed = Vec::new();
        let idle = |mailbox: &&Arc<Mailbox<D>>| {
            // Both maps hold one each.
            let alone = Arc::strong_count(mailbox) <= 2 && mailbox.selected.load(Ordering::Relaxed) == 0;
            let pending = mailbox.pending();
            // Nobody else would mark it clean.
            alone && pending.unsynced.is_empty() && (!pending.marked || pending.failed)
        };
        let idle = self.by_key.values().filter(idle);
        let mut idle: Vec<Arc<Mailbox<D>>> = idle.cloned().collect();
        idle.sort_unstable_by_key(|mailbox| mailbox.used.load(Ordering::Relaxed));
        let mut rows: usize = idle.iter().map(|mailbox| mailbox.rows_in_memory()).sum();
        for mailbox in idle {
            if self.by_key.len() < IDLE_MAILBOXES && rows <= IDLE_ROWS {
                break;
            }
            rows -= mailbox.rows_in_memory().min(rows);
            self.remove(&mailbox);
            closed.push(mailbox.key);
        }
        closed
    }
}
