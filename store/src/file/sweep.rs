//! The sweep: changes by programs that do not take the naming lock.
//!
//! Shards whose stamp is not the one under which they were read are listed again, without the lock. Most are as they should
//! be: this process changed them itself, and they only get a stamp. The lock is taken only for what differs.

use std::collections::{BTreeMap, BTreeSet};

use rmail_core::machine::Scope;
use rmail_core::mailbox::Row;

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::cache::{shard_name, shard_of_name};
use super::hold::Hold;
use super::io::{During as _, found, within};
use super::mailbox::Mailbox;
use super::snapshot::Stamp;
use super::tree::current;
use super::warm::{Ahead, Fence, bits_of};

/// Shards that are listed before they are compared: their rows are in memory twice.
const BATCH: usize = 64;

impl<D: Disk> FileStore<D> {
    /// Sweeps all watched mailboxes.
    pub(super) async fn sweep_all(&self) {
        for (scope, _) in self.hub.watched() {
            let Scope::Mailbox(reference) = &scope else {
                continue;
            };
            let Some(mailbox) = self.registry().by_reference(reference) else {
                continue;
            };
            match self.sweep(&mailbox).await {
                Ok(()) => self.save(&mailbox).await,
                Err(error) => log::warn!("{error}"),
            }
        }
    }

    /// Looks for changes by programs that take no lock. Free of the lock if there are none.
    pub(super) async fn sweep(&self, mailbox: &Mailbox<D>) -> Result<()> {
        if current(mailbox, self.read_state(mailbox).await?).is_none() {
            // Whoever looks at what others have changed compares all shards.
            return Ok(());
        }
        let Some(known) = self.known_stamps(mailbox).await else {
            return Ok(());
        };
        let label = || format!("sweep {}", mailbox.label());
        let disk = self.disk();
        let mut fence = self.fence(mailbox).await.during(label)?;
        let mut gone: BTreeSet<u32> = known.keys().copied().collect();
        let mut changed = Vec::new();
        for entry in disk.list(&mailbox.shards).await.during(label)?.entries {
            let Some(number) = shard_of_name(&entry.name).filter(|_| entry.is_dir) else {
                continue;
            };
            let stat = disk.stat_at(&mailbox.shards, &entry.name).await;
            let Some(stat) = found(stat).during(label)? else {
                continue;
            };
            gone.remove(&number);
            let before = known.get(&number).copied().flatten();
            if before != Some((stat.inode, stat.ctime)) {
                changed.push(number);
            }
        }
        changed.extend(gone);
        for batch in changed.chunks(BATCH) {
            self.sweep_batch(mailbox, &mut fence, batch).await?;
        }
        Ok(())
    }

    /// The stamps under which shards were read. `None`: nothing is known of the mailbox, or somebody is busy in it.
    async fn known_stamps(&self, mailbox: &Mailbox<D>) -> Option<BTreeMap<u32, Option<Stamp>>> {
        let core = within(self.disk(), self.limits().lock_wait, mailbox.naming.lock()).await?;
        let shards = core.shards.as_ref()?.iter();
        Some(shards.map(|(number, shard)| (*number, shard.stamp)).collect())
    }

    async fn sweep_batch(&self, mailbox: &Mailbox<D>, fence: &mut Fence, batch: &[u32]) -> Result<()> {
        let label = || format!("sweep {}", mailbox.label());
        let mut listed = BTreeMap::new();
        for number in batch {
            let name = shard_name(*number);
            let stat = found(self.disk().stat_at(&mailbox.shards, &name).await).during(label)?;
            let mut ahead = None;
            if let Some(stat) = stat
                && let Some(stamp) = self.stamp(mailbox, fence, &stat).await
            {
                ahead = self.list_ahead(mailbox, *number, &name, stamp).await?;
            }
            listed.insert(*number, ahead);
        }
        self.restamp(mailbox, &mut listed).await;
        if listed.is_empty() {
            return Ok(());
        }
        self.hold(mailbox).await?.sweep(listed).await
    }

    /// Shards that are as they are known get their stamp; they need not be looked at again.
    async fn restamp(&self, mailbox: &Mailbox<D>, listed: &mut BTreeMap<u32, Option<Ahead>>) {
        let wait = self.limits().lock_wait;
        let Some(mut core) = within(self.disk(), wait, mailbox.naming.lock()).await else {
            return;
        };
        let core = &mut *core;
        let (Some(shards), Some((keywords, _))) = (&mut core.shards, &core.keywords) else {
            return;
        };
        listed.retain(|number, ahead| {
            let (Some(ahead), Some(shard)) = (ahead, shards.get(number)) else {
                return true;
            };
            let mut rows = ahead.own.iter().zip(shard.own.iter());
            let same = ahead.own.len() == shard.own.len()
                && rows.all(|(row, known)| {
                    let bits = keywords.bits(known.keywords);
                    bits_of(row, &ahead.wide) == bits
                        && Row {
                            keywords: known.keywords,
                            ..*row
                        } == *known
                });
            if same {
                shards.set_stamp(*number, Some(ahead.stamp));
            }
            !same
        });
    }
}

impl<D: Disk> Hold<'_, D> {
    /// Takes up shards that differ from what is known; those that could not be read without the lock are read now.
    async fn sweep(&mut self, listed: BTreeMap<u32, Option<Ahead>>) -> Result<()> {
        if self.core.shards.is_none() || self.core.modseq != self.state.done {
            // Others have changed the mailbox too.
            return self.refresh().await;
        }
        let (store, mailbox) = (self.store, self.mailbox);
        let label = || format!("sweep {}", mailbox.label());
        let mut fence = store.fence(mailbox).await.during(label)?;
        let mut changed = BTreeMap::new();
        for (number, ahead) in listed {
            let name = shard_name(number);
            let stat = found(store.disk().stat_at(&mailbox.shards, &name).await).during(label)?;
            let stamp = match stat {
                Some(stat) => store.stamp(mailbox, &mut fence, &stat).await,
                None => None,
            };
            let ahead = ahead.filter(|ahead| Some(ahead.stamp) == stamp);
            let new = match ahead.filter(|ahead| ahead.is_below(self.state.uid_next)) {
                Some(ahead) => self.take_up(ahead).await?,
                None => self.read_shard(number, &name, stamp).await?,
            };
            let Some(shards) = &mut self.core.shards else {
                continue;
            };
            let old = shards.get(&number).map_or(&[][..], |old| &old.own);
            if *old == *new.own {
                // They stay the same in memory.
                shards.set_stamp(number, new.stamp);
            } else {
                changed.insert(number, new);
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let shards = self.core.shards.as_deref();
        let mut shards = shards.cloned().unwrap_or_default();
        shards.extend(changed);
        shards.retain(|_, shard| !shard.own.is_empty());
        // The strangers gave no MODSEQ: this one says that there is something new.
        let modseq = self.numbers(0).await?;
        self.begin(modseq).await?;
        self.finish().await?;
        self.adopt(shards).await
    }
}
