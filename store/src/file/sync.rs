//! Syncing the directories that got or lost names, before anybody is answered.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeSet;
use std::sync::Arc;

use rmail_core::mailbox::Uid;

use crate::disk::{Disk, Mode};
use crate::error::Result;

use super::FileStore;
use super::cache::shard_name;
use super::io::{During as _, found};
use super::mailbox::Mailbox;
use super::quota::Freed;

/// The shards of a mailbox in which names have changed.
pub(super) struct Touched<D: Disk> {
    pub(super) mailbox: Arc<Mailbox<D>>,
    pub(super) shards: BTreeSet<u32>,
    /// What was removed, to be taken off the account's record.
    pub(super) freed: Freed,
}

impl<D: Disk> Touched<D> {
    pub(super) fn new(mailbox: &Arc<Mailbox<D>>) -> Self {
        Self {
            mailbox: Arc::clone(mailbox),
            shards: BTreeSet::new(),
            freed: Freed::default(),
        }
    }
}

/// An operation that syncs is under way until this is dropped.
pub(super) struct Syncing<'a>(&'a AtomicUsize);

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<D: Disk> FileStore<D> {
    /// To be held by the operations that sync and come often.
    pub(super) fn syncing(&self) -> Syncing<'_> {
        self.syncing.fetch_add(1, Ordering::Relaxed);
        Syncing(&self.syncing)
    }

    /// Whether the file system may be committing its journal for us: a rename, and the write of a `state`, then waits for the
    /// disk as a sync does.
    pub(super) fn is_syncing(&self) -> bool {
        self.syncing.load(Ordering::Relaxed) > 0
    }

    /// Syncs the directories of all of them; above a bound by one syncfs.
    ///
    /// A shard whose own name this process does not know to be on disk takes `shards` with it, and a mailbox its own
    /// directory: another process may have made them and not come to sync them.
    pub(super) async fn sync_touched(&self, all: &[Touched<D>], also: &[D::Dir]) -> Result<()> {
        let mut dirs: Vec<D::Dir> = also.to_vec();
        let mut one_device = true;
        let mut counts = Vec::with_capacity(all.len());
        for touched in all {
            let mailbox = &touched.mailbox;
            one_device &= mailbox.key.0 == self.device;
            let (made, settled, known) = {
                let pending = mailbox.pending();
                let known = touched.shards.is_subset(&pending.durable);
                (pending.made, pending.settled, known)
            };
            counts.push(made);
            if settled < made {
                dirs.push(mailbox.dir.clone());
            }
            if !known {
                dirs.push(mailbox.shards.clone());
            }
            for shard in &touched.shards {
                // A shard that was emptied and removed meanwhile has nothing left to sync.
                dirs.extend(self.changed_shard_dir(mailbox, *shard).await?);
            }
        }
        let label = || {
            all.first()
                .map_or_else(String::new, |first| sync_label(&first.mailbox))
        };
        if one_device && dirs.len() > self.limits().dirs_before_syncfs {
            self.disk().sync_fs(self.disk().root()).await.during(label)?;
        } else {
            for dir in &dirs {
                self.disk().sync_dir(dir).await.during(label)?;
            }
        }
        for (touched, made) in all.iter().zip(counts) {
            let mut pending = touched.mailbox.pending();
            pending.is_settled(made);
            pending.durable.extend(&touched.shards);
        }
        Ok(())
    }

    /// Syncs the expunge log.
    pub(super) async fn sync_log(&self, mailbox: &Mailbox<D>) -> Result<()> {
        let label = || format!("sync the expunge log of {}", mailbox.label());
        let file = self.disk().open(&mailbox.dir, "expunged", Mode::Write).await;
        match found(file).during(label)? {
            Some(file) => {
                let synced = self.disk().sync(&file).await;
                mailbox.pending().log_failed |= synced.is_err();
                synced.during(label)
            }
            None => Ok(()),
        }
    }

    /// Removes the shards of these that are empty and can get no more messages. What fails stays: an empty directory
    /// costs little.
    pub(super) async fn prune(&self, touched: &Touched<D>, uid_next: Uid) {
        let mailbox = &touched.mailbox;
        let mut removed = false;
        for shard in &touched.shards {
            if *shard < self.shard(uid_next) {
                let result = self.disk().remove_dir(&mailbox.shards, &shard_name(*shard)).await;
                if result.is_ok() {
                    self.registry().shards.forget(mailbox.key, *shard);
                    removed = true;
                }
            }
        }
        if removed && self.disk().sync_dir(&mailbox.shards).await.is_err() {
            log::warn!("removed shards of {} are not synced", mailbox.label());
        }
    }
}

fn sync_label<D: Disk>(mailbox: &Mailbox<D>) -> String {
    format!("sync {}", mailbox.label())
}
