//! Shard directories that are kept open: opening one costs several times what a look at its name does.
//!
//! A kept directory is used only while the mailbox has it under its name: a shard may be removed and made again, also by
//! programs that know nothing of us, and a link into the old one would be a lost message. Its inode number cannot be
//! given to another one meanwhile, for it is open.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::cache::shard_name;
use super::io::{During as _, found, open_or_make_dir};
use super::mailbox::{Mailbox, guard};

/// How many are kept, of all mailboxes: one descriptor each.
const MOST: usize = 128;

/// Device and inode of the mailbox's directory, and the number of the shard.
type Key = ((u64, u64), u32);

/// The shard directories that this process keeps open.
pub(super) struct ShardDirs<D: Disk> {
    inner: Mutex<Inner<D>>,
}

struct Inner<D: Disk> {
    clock: u64,
    kept: HashMap<Key, Kept<D>>,
}

struct Kept<D: Disk> {
    dir: D::Dir,
    /// Its device and inode.
    id: (u64, u64),
    used: u64,
}

impl<D: Disk> Default for ShardDirs<D> {
    fn default() -> Self {
        let inner = Inner {
            clock: 0,
            kept: HashMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
        }
    }
}

impl<D: Disk> ShardDirs<D> {
    fn get(&self, key: Key) -> Option<(D::Dir, (u64, u64))> {
        let mut inner = guard(&self.inner);
        inner.clock += 1;
        let clock = inner.clock;
        let kept = inner.kept.get_mut(&key)?;
        kept.used = clock;
        Some((kept.dir.clone(), kept.id))
    }

    fn keep(&self, key: Key, dir: &D::Dir, id: (u64, u64)) {
        let mut inner = guard(&self.inner);
        inner.clock += 1;
        let (used, dir) = (inner.clock, dir.clone());
        if inner.kept.len() >= MOST && !inner.kept.contains_key(&key) {
            let oldest = inner.kept.iter().min_by_key(|(_, kept)| kept.used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                inner.kept.remove(&oldest);
            }
        }
        inner.kept.insert(key, Kept { dir, id, used });
    }

    /// Closes a shard that is no more.
    pub(super) fn forget(&self, mailbox: (u64, u64), shard: u32) {
        guard(&self.inner).kept.remove(&(mailbox, shard));
    }

    /// Closes all shards of a mailbox.
    pub(super) fn forget_all(&self, mailbox: (u64, u64)) {
        guard(&self.inner).kept.retain(|(of, _), _| *of != mailbox);
    }
}

impl<D: Disk> FileStore<D> {
    /// The directory of a shard; `None` if there is none.
    pub(super) async fn shard_dir(&self, mailbox: &Mailbox<D>, shard: u32) -> Result<Option<D::Dir>> {
        let dir = self.find_shard(mailbox, shard).await;
        dir.during(|| shard_label(mailbox, shard))
    }

    /// The directory of a shard, which is made if it is not there.
    pub(super) async fn make_shard_dir(&self, mailbox: &Mailbox<D>, shard: u32) -> Result<D::Dir> {
        let label = || shard_label(mailbox, shard);
        if let Some(dir) = self.find_shard(mailbox, shard).await.during(label)? {
            return Ok(dir);
        }
        let made = open_or_make_dir(self.disk(), &mailbox.shards, &shard_name(shard)).await;
        let dir = made.during(label)?;
        self.keep_shard(mailbox, shard, &dir).await.during(label)?;
        Ok(dir)
    }

    /// The directory of a shard whose names this process has just changed, to sync it.
    pub(super) async fn changed_shard_dir(&self, mailbox: &Mailbox<D>, shard: u32) -> Result<Option<D::Dir>> {
        match self.registry().shards.get((mailbox.key, shard)) {
            Some((dir, _)) => Ok(Some(dir)),
            None => self.shard_dir(mailbox, shard).await,
        }
    }

    async fn find_shard(&self, mailbox: &Mailbox<D>, shard: u32) -> io::Result<Option<D::Dir>> {
        let name = shard_name(shard);
        if let Some((dir, id)) = self.registry().shards.get((mailbox.key, shard)) {
            let named = found(self.disk().stat_at(&mailbox.shards, &name).await)?;
            if named.is_some_and(|named| (named.device, named.inode) == id) {
                return Ok(Some(dir));
            }
            self.registry().shards.forget(mailbox.key, shard);
        }
        let dir = found(self.disk().open_dir(&mailbox.shards, &name).await)?;
        if let Some(dir) = &dir {
            self.keep_shard(mailbox, shard, dir).await?;
        }
        Ok(dir)
    }

    async fn keep_shard(&self, mailbox: &Mailbox<D>, shard: u32, dir: &D::Dir) -> io::Result<()> {
        let stat = self.disk().stat_dir(dir).await?;
        let id = (stat.device, stat.inode);
        self.registry().shards.keep((mailbox.key, shard), dir, id);
        Ok(())
    }
}

fn shard_label<D: Disk>(mailbox: &Mailbox<D>, shard: u32) -> String {
    format!("open shard {shard} of {}", mailbox.label())
}
