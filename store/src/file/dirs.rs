//! Shard directories that are kept open: opening one costs several times what a look at its name does.
//!
//! A kept directory is used only while the mailbox has it under its name: a shard may be removed and made again, also by
//! programs that know nothing of us, and a link into the old one would be a lost message. Its inode number cannot be
//! given to another one meanwhile, for it is open.

use std::io;
use std::sync::Mutex;

use crate::disk::Disk;
use crate::error::Result;
use crate::recent_map::RecentMap;

use super::FileStore;
use super::cache::shard_name;
use super::io::{During as _, found, open_or_make_dir};
use super::mailbox::{Mailbox, guard};

/// How many are kept, of all mailboxes: one descriptor each.
const MOST: usize = 128;

/// Device and inode of the mailbox's directory, and the number of the shard.
type Key = ((u64, u64), u32);

/// A directory, and its device and inode.
type Kept<D> = (<D as Disk>::Dir, (u64, u64));

/// The shard directories that this process keeps open.
pub(super) struct ShardDirs<D: Disk> {
    kept: Mutex<RecentMap<Key, Kept<D>>>,
}

impl<D: Disk> Default for ShardDirs<D> {
    fn default() -> Self {
        Self {
            kept: Mutex::new(RecentMap::new(MOST)),
        }
    }
}

impl<D: Disk> ShardDirs<D> {
    fn get(&self, key: Key) -> Option<Kept<D>> {
        guard(&self.kept).get(&key).cloned()
    }

    fn keep(&self, key: Key, dir: &D::Dir, id: (u64, u64)) {
        guard(&self.kept).put(key, (dir.clone(), id));
    }

    /// Closes a shard that is no more.
    pub(super) fn forget(&self, mailbox: (u64, u64), shard: u32) {
        guard(&self.kept).remove(&(mailbox, shard));
    }

    /// Closes all shards of a mailbox.
    pub(super) fn forget_all(&self, mailbox: (u64, u64)) {
        guard(&self.kept).retain(|(of, _)| *of != mailbox);
    }
}

impl<D: Disk> FileStore<D> {
    /// The directory of a shard; `None` if there is none.
    pub(super) async fn shard_dir(&self, mailbox: &Mailbox<D>, shard: u32) -> Result<Option<D::Dir>> {
        let dir = self.find_shard(mailbox, shard).await;
        dir.during(|| shard_label(mailbox, shard))
    }

    /// The directory of a shard if it is open, even if it may no longer be in its place: only to read.
    pub(super) fn kept_shard(&self, mailbox: &Mailbox<D>, shard: u32) -> Option<D::Dir> {
        let kept = self.registry().shards.get((mailbox.key, shard));
        kept.map(|(dir, _)| dir)
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
