//! The open `usage` files of this process, and the locks around what is done with one.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rmail_core::addr::AccountName;
use rmail_core::mailbox::Usage;
use rmail_core::refusal::Refusal;

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};

use super::FileStore;
use super::io::{During as _, found, within};
use super::mailbox::guard;
use super::usage::{self, Record, Seen};

/// The record's name in the user's directory.
pub(crate) const USAGE: &str = "usage";

/// Whether the file still has its name is looked at every so often: somebody may have removed it.
const TRUSTED_USES: u32 = 64;

/// How often a file that is replaced again and again is opened anew.
const TRIES: usize = 4;

/// What this process has of an account's record.
pub(super) struct Ledger<D: Disk> {
    pub(super) account: AccountName,
    /// The one descriptor of `usage`: flock belongs to it.
    file: Mutex<Open<D>>,
    /// Held around the flock.
    turn: async_lock::Mutex<()>,
    /// Held while the account's messages are counted: one counts for all.
    pub(super) counting: async_lock::Mutex<()>,
    uses: AtomicU32,
    /// What MOVE of this process has in two mailboxes at present. It counts once.
    transit: Mutex<Usage>,
}

struct Open<D: Disk> {
    file: D::File,
    inode: u64,
}

impl<D: Disk> Open<D> {
    fn share(&self) -> Self {
        Self {
            file: self.file.clone(),
            inode: self.inode,
        }
    }
}

/// A record under its lock.
pub(super) struct Locked<'a, D: Disk> {
    store: &'a FileStore<D>,
    open: Open<D>,
    /// `None`: nothing is known.
    pub(super) record: Option<Record>,
    /// Octets that were read, believed or not.
    bytes: Vec<u8>,
    // Fields drop in this order: the flock before the mutex around it.
    _lock: D::Lock,
    _turn: async_lock::MutexGuard<'a, ()>,
}

/// What a MOVE has in two mailboxes, as long as this lives.
pub(super) struct Transit<D: Disk> {
    ledger: Arc<Ledger<D>>,
    usage: Usage,
}

impl<D: Disk> Ledger<D> {
    /// Says that so much is in two mailboxes at present.
    pub(super) fn begin_transit(self: &Arc<Self>, usage: Usage) -> Transit<D> {
        *guard(&self.transit) += usage;
        Transit {
            ledger: Arc::clone(self),
            usage,
        }
    }

    /// What is in two mailboxes at present.
    pub(super) fn transit(&self) -> Usage {
        *guard(&self.transit)
    }

    fn label(&self) -> String {
        label(&self.account)
    }
}

impl<D: Disk> Transit<D> {
    /// So much of it is not in two mailboxes after all.
    pub(super) fn reduce(&mut self, spare: Usage) {
        let mut transit = guard(&self.ledger.transit);
        *transit = transit.without(spare);
        self.usage = self.usage.without(spare);
    }
}

impl<D: Disk> Drop for Transit<D> {
    fn drop(&mut self) {
        let mut transit = guard(&self.ledger.transit);
        *transit = transit.without(self.usage);
    }
}

fn label(account: &AccountName) -> String {
    format!("use the usage record of {account}")
}

impl<D: Disk> FileStore<D> {
    /// The account's record.
    ///
    /// # Errors
    /// `NoSuchMailbox`: the account has no directory.
    pub(super) async fn ledger(&self, account: &AccountName) -> Result<Arc<Ledger<D>>> {
        if let Some(ledger) = self.registry().ledger(account) {
            return Ok(ledger);
        }
        let ledger = Arc::new(Ledger {
            account: account.clone(),
            file: Mutex::new(self.open_usage(account).await?),
            turn: async_lock::Mutex::new(()),
            counting: async_lock::Mutex::new(()),
            uses: AtomicU32::new(0),
            transit: Mutex::default(),
        });
        Ok(self.registry().enter_ledger(ledger))
    }

    async fn open_usage(&self, account: &AccountName) -> Result<Open<D>> {
        let label = || label(account);
        let dir = self.user_dir(account).await?.ok_or(Refusal::NoSuchMailbox)?;
        let file = self.disk().open(&dir, USAGE, Mode::Create).await.during(label)?;
        let inode = self.disk().stat(&file).await.during(label)?.inode;
        Ok(Open { file, inode })
    }

    /// Takes the record's lock.
    ///
    /// # Errors
    /// `Busy` after [`rmail_core::limits::Limits::lock_wait`]; `NoSuchMailbox` if the account has gone.
    pub(super) async fn lock_ledger<'a>(&'a self, ledger: &'a Ledger<D>) -> Result<Locked<'a, D>> {
        let label = || ledger.label();
        let wait = self.limits().lock_wait;
        let turn = within(self.disk(), wait, ledger.turn.lock()).await;
        let turn = turn.ok_or_else(|| Error {
            refusal: Refusal::Busy,
            context: label(),
            source: None,
        })?;
        for _ in 0..TRIES {
            let open = guard(&ledger.file).share();
            let lock = self.disk().lock(&open.file, wait).await.during(label)?;
            let bytes = self.read_usage(&open).await.during(label)?;
            let record = self.believe_usage(&open, &bytes);
            // An empty one is new, one of an older start of the machine is ours: only a void or broken one may be dead.
            let sound = bytes.is_empty() || Record::decode(&bytes).is_some();
            let due = ledger.uses.fetch_add(1, Ordering::Relaxed) % TRUSTED_USES == TRUSTED_USES - 1;
            if (sound && !due) || self.is_named(&ledger.account, &open).await? {
                return Ok(Locked {
                    store: self,
                    open,
                    record,
                    bytes,
                    _lock: lock,
                    _turn: turn,
                });
            }
            // It was removed or replaced: the others use another one. What we wrote meanwhile is missing there.
            drop(lock);
            let open = self.open_usage(&ledger.account).await?;
            *guard(&ledger.file) = open.share();
            let lock = self.disk().lock(&open.file, wait).await.during(label)?;
            let bytes = self.read_usage(&open).await.during(label)?;
            if let Some(record) = self.believe_usage(&open, &bytes) {
                let unsure = Record {
                    unsure: true,
                    ..record
                };
                let written = self.disk().write_at(&open.file, &unsure.encode(), 0).await;
                written.during(label)?;
            }
            drop(lock);
        }
        Err(Error {
            refusal: Refusal::Busy,
            context: label(),
            source: None,
        })
    }

    async fn is_named(&self, account: &AccountName, open: &Open<D>) -> Result<bool> {
        let dir = self.user_dir(account).await?.ok_or(Refusal::NoSuchMailbox)?;
        let named = self.disk().stat_at(&dir, USAGE).await;
        let named = found(named).during(|| label(account))?;
        Ok(named.is_some_and(|named| named.inode == open.inode))
    }

    async fn read_usage(&self, open: &Open<D>) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; usage::LEN];
        let count = self.disk().read_at(&open.file, &mut bytes, 0).await?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// The record in these octets, if it is of this file and of this start of the machine.
    fn believe_usage(&self, open: &Open<D>, bytes: &[u8]) -> Option<Record> {
        Record::decode(bytes).filter(|record| {
            let boot = self.options().shared_by_hosts || record.boot == self.disk().boot_id();
            boot && record.inode == open.inode
        })
    }

    /// The record without its lock.
    pub(super) async fn peek(&self, ledger: &Ledger<D>) -> Result<Option<Record>> {
        let open = guard(&ledger.file).share();
        let bytes = self.read_usage(&open).await.during(|| ledger.label())?;
        Ok(self.believe_usage(&open, &bytes))
    }

    /// The epoch of an account's record, for who is about to remove messages and has begun to change the mailbox.
    pub(super) async fn seen(&self, account: &AccountName) -> Seen {
        let Ok(ledger) = self.ledger(account).await else {
            return Seen::Unknown;
        };
        let open = guard(&ledger.file).share();
        for _ in 0..TRIES {
            let Ok(bytes) = self.read_usage(&open).await else {
                return Seen::Unknown;
            };
            if let Some(record) = self.believe_usage(&open, &bytes) {
                return Seen::Epoch(record.epoch);
            }
            if bytes.is_empty() || Record::decode(&bytes).is_some() {
                return Seen::Nothing;
            }
            // Torn by a writer, or broken.
        }
        Seen::Unknown
    }
}

impl<D: Disk> Locked<'_, D> {
    /// Writes the record, if it is another than was read.
    pub(super) async fn write(&mut self, record: Record) -> Result<()> {
        if self.record != Some(record) {
            self.write_always(record).await?;
        }
        Ok(())
    }

    /// Writes the record, and tells the time by the file system's clock: seconds since 1970.
    pub(super) async fn write_and_tell_time(&mut self, record: Record) -> Result<u32> {
        self.write_always(record).await?;
        let stat = self.store.disk().stat(&self.open.file).await;
        let stat = stat.during(|| "read the clock of the file system".to_owned())?;
        Ok(u32::try_from(stat.mtime / 1_000_000_000).unwrap_or(0))
    }

    async fn write_always(&mut self, record: Record) -> Result<()> {
        let written = self
            .store
            .disk()
            .write_at(&self.open.file, &record.encode(), 0)
            .await;
        written.during(|| "write a usage record".to_owned())?;
        self.record = Some(record);
        Ok(())
    }

    /// A record for a file that has none to be believed, at the beginning of a count. Its epoch is none that anybody
    /// remembers.
    pub(super) async fn first_record(&self) -> Result<Record> {
        let disk = self.store.disk();
        let epoch = match Record::decode(&self.bytes) {
            Some(old) => old.epoch.wrapping_add(4),
            None => {
                let stat = disk.stat(&self.open.file).await;
                let changed = stat.during(|| "look at a usage record".to_owned())?.ctime / 1_000_000;
                // The low bits of the time in milliseconds.
                u32::try_from(changed.rem_euclid(1 << 32)).unwrap_or(0)
            }
        };
        Ok(Record::counting(epoch, disk.boot_id(), self.open.inode))
    }

    /// The account is about to go: nobody believes the record any more, not even who has the file open.
    pub(super) async fn void(&mut self) -> Result<()> {
        let written = self
            .store
            .disk()
            .write_at(&self.open.file, &[0; usage::LEN], 0)
            .await;
        written.during(|| "void a usage record".to_owned())?;
        self.record = None;
        Ok(())
    }
}
