//! A held naming lock: numbers are taken, names change, and the change is published.
//!
//! A change goes: [`Hold::numbers`], [`Hold::begin`], names, [`Hold::finish`] or [`Hold::publish_uids`]. The last writes
//! `done` and the new `uidnext` with one write: that is the moment at which new messages become visible. Names at or
//! above `uidnext` do not count, and whoever finds `begun` and `done` different removes those of the dead change, so that
//! several messages appear together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::mailbox::{Keyword, Keywords, ModSeq, Row, Uid, UidSet};
use rmail_core::refusal::Refusal;

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};

use super::cache::{shard_name, shard_of_name};
use super::expunged::{self, Expunged, RECORD};
use super::io::{During as _, found, read_all, read_file, replace_file};
use super::mailbox::{Core, Mailbox};
use super::shards::Edits;
use super::state::State;
use super::status::Status;
use super::tree::Level;
use super::{FileStore, keywords, names};

/// The naming lock of one mailbox. Dropping it unlocks; a change that was begun and not finished is then mended by
/// whoever locks next.
pub(super) struct Hold<'a, D: Disk> {
    pub(super) store: &'a FileStore<D>,
    pub(super) mailbox: &'a Mailbox<D>,
    pub(super) state: State,
    /// Rows that this change gives: none for a UID that goes.
    edits: BTreeMap<u32, Edits>,
    // Fields drop in this order: the flock before the mutex around it.
    _lock: D::Lock,
    pub(super) core: async_lock::MutexGuard<'a, Core>,
}

impl<'a, D: Disk> Hold<'a, D> {
    /// With both locks in hand.
    pub(super) fn new(
        store: &'a FileStore<D>,
        mailbox: &'a Mailbox<D>,
        state: State,
        lock: D::Lock,
        core: async_lock::MutexGuard<'a, Core>,
    ) -> Self {
        Self {
            store,
            mailbox,
            state,
            edits: BTreeMap::new(),
            _lock: lock,
            core,
        }
    }
}

impl<D: Disk> Hold<'_, D> {
    pub(super) fn status(&self) -> &Status {
        // Loaded when the lock was taken; the fallback cannot be seen.
        const NONE: &Status = &Status::none();
        self.core.status.as_ref().map_or(NONE, |(status, _)| status)
    }

    async fn write_state(&self) -> Result<()> {
        self.store
            .disk()
            .write_at(&self.mailbox.state().file, &self.state.encode(), 0)
            .await
            .during(|| format!("write the state of {}", self.mailbox.label()))
    }

    /// Reads `status.json` if it is not the one that is known.
    pub(super) async fn load_status(&mut self) -> Result<()> {
        let known = self.core.status.as_ref().map(|(_, crc)| *crc);
        if known.is_some() && known == Some(self.state.status) {
            return Ok(());
        }
        let label = || format!("read status.json of {}", self.mailbox.label());
        let bytes = read_file(self.store.disk(), &self.mailbox.dir, "status.json")
            .await
            .during(label)?
            .unwrap_or_default();
        match Status::decode(&bytes) {
            Ok(status) => {
                let crc = crc32fast::hash(&bytes);
                self.core.status = Some((status, crc));
                self.core.status_synced = false;
                self.state.status = crc;
                Ok(())
            }
            Err(why) => {
                // The next to look the mailbox up rebuilds it.
                self.store.registry().forget(self.mailbox);
                if bytes.is_empty() && !matches!(self.store.level(&self.mailbox.dir).await?, Level::Broken(_))
                {
                    // It was deleted; who makes it anew in the same directory has not come to write the file.
                    return Err(Refusal::NoSuchMailbox.into());
                }
                Err(Error {
                    refusal: Refusal::Storage,
                    context: format!("{}: {why}", label()),
                    source: None,
                })
            }
        }
    }

    /// Replaces `status.json`, durably. `state` tells the other processes first, so that none goes on with an old one.
    pub(super) async fn write_status(&mut self, status: Status) -> Result<()> {
        let bytes = status.encode();
        let crc = crc32fast::hash(&bytes);
        self.core.status = None;
        self.state.status = crc;
        self.write_state().await?;
        let made = self.mailbox.pending().made;
        self.core.status_failed = true;
        let result = replace_file(self.store.disk(), &self.mailbox.dir, "status.json", &bytes).await;
        result.during(|| format!("write status.json of {}", self.mailbox.label()))?;
        self.core.status_failed = false;
        self.core.status = Some((status, crc));
        self.core.status_synced = true;
        self.mailbox.pending().is_settled(made);
        Ok(())
    }

    /// Sees to it that what `status.json` promises is on disk, before something relies on it: another process may have
    /// replaced the file and died before it came to sync the directory.
    async fn settle_status(&mut self) -> Result<()> {
        if self.core.status_synced {
            return Ok(());
        }
        if self.core.status_failed {
            // A sync that failed is not believed when it works later.
            let status = self.status().clone();
            return self.write_status(status).await;
        }
        let made = self.mailbox.pending().made;
        let synced = self.store.disk().sync_dir(&self.mailbox.dir).await;
        self.core.status_failed = synced.is_err();
        synced.during(|| format!("sync status.json of {}", self.mailbox.label()))?;
        self.core.status_synced = true;
        self.mailbox.pending().is_settled(made);
        Ok(())
    }

    /// Says on disk, once, that flag changes may be unsynced.
    pub(super) async fn mark_dirty(&mut self) -> Result<()> {
        if self.status().dirty {
            self.settle_status().await?;
        } else {
            let mut status = self.status().clone();
            status.dirty = true;
            self.write_status(status).await?;
        }
        let mut pending = self.mailbox.pending();
        pending.marked = true;
        pending.idle = 0;
        Ok(())
    }

    /// Begins anew at the ceilings: `state` is missing, broken, of another start of the machine, or copied.
    pub(super) async fn recover(&mut self) -> Result<()> {
        let label = || format!("recover {}", self.mailbox.label());
        let disk = self.store.disk();
        let mut shards: Vec<u32> = disk
            .list(&self.mailbox.shards)
            .await
            .during(label)?
            .entries
            .iter()
            .filter_map(|entry| shard_of_name(&entry.name))
            .collect();
        shards.sort_unstable();
        let mut highest = Uid(0);
        while let Some(shard) = shards.pop().filter(|_| highest == Uid(0)) {
            let name = shard_name(shard);
            let opened = disk.open_dir(&self.mailbox.shards, &name).await;
            let Some(dir) = found(opened).during(label)? else {
                continue;
            };
            let listing = disk.list(&dir).await.during(label)?;
            let uids = listing
                .entries
                .iter()
                .filter_map(|entry| names::uid_of(&entry.name));
            highest = uids.max().unwrap_or_default();
        }
        let mut status = self.status().clone();
        let uid_next = status.uid_ceiling.max(highest.0.saturating_add(1));
        if uid_next > status.uid_ceiling || status.dirty {
            if status.dirty {
                // If it was not the machine that ended, there may be changes that are still to be synced.
                disk.sync_fs(&self.mailbox.dir).await.during(label)?;
                status.floor = status.modseq_ceiling;
                status.dirty = false;
            }
            status.uid_ceiling = uid_next;
            self.core.shards = None;
            self.write_status(status).await?;
        }
        // Above all that were used, so that whoever was told one of them looks again.
        let modseq = self.status().modseq_ceiling;
        self.forget_expunged(modseq).await?;
        self.state = State {
            gone: false,
            boot: disk.boot_id(),
            inode: self.mailbox.state().inode,
            uid_next: Uid(uid_next),
            recent_from: Uid(uid_next),
            begun: modseq,
            done: modseq,
            status: self.core.status.as_ref().map_or(0, |(_, crc)| *crc),
        };
        self.write_state().await
    }

    /// Ends the change of a writer that died or failed: what it published stays, names that it had not published go.
    pub(super) async fn mend(&mut self) -> Result<()> {
        let label = || format!("mend {}", self.mailbox.label());
        let disk = self.store.disk();
        self.edits.clear();
        let first = self.store.shard(self.state.uid_next);
        let mut next = self.state.uid_next.0;
        for entry in disk.list(&self.mailbox.shards).await.during(label)?.entries {
            if shard_of_name(&entry.name).is_none_or(|shard| shard < first) {
                continue;
            }
            let opened = disk.open_dir(&self.mailbox.shards, &entry.name).await;
            let Some(dir) = found(opened).during(label)? else {
                continue;
            };
            for file in disk.list(&dir).await.during(label)?.entries {
                let dead =
                    |(row, _): &(Row, _)| row.uid >= self.state.uid_next && row.modseq == self.state.begun;
                if let Some((row, _)) = names::decode(&file.name).filter(dead) {
                    found(disk.unlink(&dir, &file.name).await).during(label)?;
                    next = next.max(row.uid.0.saturating_add(1));
                }
            }
        }
        if self.store.options().shared_by_hosts {
            // Another host may have seen them before they were taken back: their UIDs are used up.
            self.state.uid_next = Uid(next);
        }
        self.finish().await?;
        self.store.announce(self.mailbox, self.state.done);
        Ok(())
    }

    /// A new MODSEQ, and room for so many UIDs: what the ceilings promise is on disk afterwards.
    ///
    /// # Errors
    /// `MailboxFull` when UIDs are used up.
    pub(super) async fn numbers(&mut self, uids: usize) -> Result<ModSeq> {
        let limits = *self.store.limits();
        let modseq = ModSeq(self.state.begun.0.max(self.state.done.0) + 1);
        if modseq.0 >= names::LAST_MODSEQ {
            return Err(Refusal::MailboxFull.into());
        }
        let uid_end = u32::try_from(uids)
            .ok()
            .and_then(|uids| self.state.uid_next.0.checked_add(uids))
            .filter(|end| uids == 0 || *end <= limits.last_uid)
            .ok_or(Refusal::MailboxFull)?;
        let status = self.status();
        if uid_end <= status.uid_ceiling && modseq < status.modseq_ceiling {
            self.settle_status().await?;
            return Ok(modseq);
        }
        let mut status = status.clone();
        if uid_end > status.uid_ceiling {
            status.uid_ceiling = uid_end.saturating_add(limits.uid_block.saturating_sub(1));
        }
        if modseq >= status.modseq_ceiling {
            status.modseq_ceiling = ModSeq((modseq.0 + limits.modseq_block.max(1)).min(names::LAST_MODSEQ));
        }
        self.write_status(status).await?;
        Ok(modseq)
    }

    /// Says in `state` that names are about to change.
    pub(super) async fn begin(&mut self, modseq: ModSeq) -> Result<()> {
        self.state.begun = modseq;
        self.write_state().await
    }

    /// All messages have been told to somebody: they are `\Recent` to nobody else.
    pub(super) async fn claim_recent(&mut self) -> Result<()> {
        self.state.recent_from = self.state.uid_next;
        self.write_state().await
    }

    /// The row that a UID has from now on, with the MODSEQ of its name.
    pub(super) fn put(&mut self, row: Row) {
        let shard = self.store.shard(row.uid);
        self.edits.entry(shard).or_default().insert(row.uid, Some(row));
    }

    /// The UID has gone.
    pub(super) fn drop_uid(&mut self, uid: Uid) {
        let shard = self.store.shard(uid);
        self.edits.entry(shard).or_default().insert(uid, None);
    }

    /// Whether this change has removed the UID.
    pub(super) fn is_dropped(&self, uid: Uid) -> bool {
        let shard = self.edits.get(&self.store.shard(uid));
        shard.is_some_and(|edits| edits.get(&uid) == Some(&None))
    }

    /// Shards in which this change has given or removed names.
    pub(super) fn touched(&self) -> impl Iterator<Item = u32> + '_ {
        self.edits.keys().copied()
    }

    /// Publishes the new messages below `uid_next`, and finishes the change.
    pub(super) async fn publish_uids(&mut self, uid_next: Uid) -> Result<()> {
        let before = self.state.uid_next;
        self.state.uid_next = uid_next;
        let published = self.finish().await;
        if published.is_err() {
            // So that mending takes the messages back.
            self.state.uid_next = before;
        }
        published
    }

    /// Finishes the change.
    pub(super) async fn finish(&mut self) -> Result<()> {
        let from = self.state.done;
        let current = self.core.shards.is_some() && self.core.modseq == from;
        self.state.done = self.state.begun;
        self.write_state().await?;
        if self.store.options().shared_by_hosts {
            let label = || format!("sync the state of {}", self.mailbox.label());
            self.store
                .disk()
                .sync(&self.mailbox.state().file)
                .await
                .during(label)?;
        }
        self.core.recent.saw(self.state.done);
        let edits = core::mem::take(&mut self.edits);
        if edits.is_empty() {
            return Ok(());
        }
        if current {
            self.enter(&edits);
        }
        self.record(from, &edits).await;
        Ok(())
    }

    /// Enters changes into the rows, which are those of the present MODSEQ then.
    pub(super) fn enter(&mut self, edits: &BTreeMap<u32, Edits>) {
        let before = self.core.modseq;
        self.core.modseq = self.state.done;
        let changed = self.core.shards.as_mut().map(|shards| {
            let changed = edits
                .iter()
                .map(|(number, edits)| (*number, shards.change(*number, edits)));
            changed.collect()
        });
        self.publish_changed(before, changed.unwrap_or_default());
    }

    /// The row of a UID with the MODSEQ of its name. The rows must be fresh.
    pub(super) fn own(&self, uid: Uid) -> Option<Row> {
        let shard = self.core.shards.as_ref()?.get(&self.store.shard(uid))?;
        shard.find(uid).copied()
    }

    /// The keywords; read from their file at first, or `again`.
    pub(super) async fn load_keywords(&mut self, again: bool) -> Result<Arc<Keywords>> {
        if let Some((known, _)) = self.core.keywords.as_ref().filter(|_| !again) {
            return Ok(Arc::clone(known));
        }
        let bytes = read_file(self.store.disk(), &self.mailbox.dir, "keywords")
            .await
            .during(|| format!("read the keywords of {}", self.mailbox.label()))?
            .unwrap_or_default();
        let (names, used) = keywords::decode(&bytes);
        let (known, octets) = self.core.keywords.get_or_insert_default();
        // The side table of wide sets stays: rows hold indexes into it.
        for name in names.into_iter().skip(known.names().len()) {
            Arc::make_mut(known).push(name);
        }
        *octets = used;
        Ok(Arc::clone(known))
    }

    /// The bitmap of these keywords. New ones get a bit, on disk before this returns.
    ///
    /// # Errors
    /// `TooManyKeywords`.
    pub(super) async fn keyword_bits(&mut self, wanted: &[Keyword]) -> Result<[u64; 4]> {
        let known = self.load_keywords(false).await?;
        if wanted.iter().any(|keyword| known.bit(keyword).is_none()) {
            self.load_keywords(true).await?;
            self.add_keywords(wanted).await?;
        }
        let known = self.load_keywords(false).await?;
        let mut bits = [0_u64; 4];
        for bit in wanted.iter().filter_map(|keyword| known.bit(keyword)) {
            if bit >= self.core.keywords_synced {
                self.settle_keywords(&known).await?;
            }
            if let Some(word) = bits.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        Ok(bits)
    }

    /// Sees to it that the keywords are on disk before a name uses a bit that it may be the first to use: who wrote
    /// them may have died, or failed, before they were synced. The same octets are written again, because a sync that
    /// failed is not believed when it works later.
    async fn settle_keywords(&mut self, known: &Keywords) -> Result<()> {
        let label = || format!("sync the keywords of {}", self.mailbox.label());
        let (disk, dir) = (self.store.disk(), &self.mailbox.dir);
        let lines: Vec<u8> = known.names().iter().flat_map(keywords::encode).collect();
        let file = disk.open(dir, "keywords", Mode::Create).await.during(label)?;
        disk.write_at(&file, &lines, 0).await.during(label)?;
        disk.sync(&file).await.during(label)?;
        disk.sync_dir(dir).await.during(label)?;
        self.core.keywords_synced = known.names().len();
        Ok(())
    }

    async fn add_keywords(&mut self, wanted: &[Keyword]) -> Result<()> {
        let Some((known, octets)) = self.core.keywords.clone() else {
            return Ok(());
        };
        let mut grown = Arc::clone(&known);
        let mut lines = Vec::new();
        for keyword in wanted {
            if grown.bit(keyword).is_none() {
                if grown.names().len() >= self.store.limits().keywords {
                    return Err(Refusal::TooManyKeywords.into());
                }
                let added = Arc::make_mut(&mut grown).push(keyword.clone());
                added.ok_or(Refusal::TooManyKeywords)?;
                lines.extend(keywords::encode(keyword));
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        if self.core.keywords_synced < known.names().len() {
            self.settle_keywords(&known).await?;
        }
        let label = || format!("write the keywords of {}", self.mailbox.label());
        let disk = self.store.disk();
        let dir = &self.mailbox.dir;
        let file = disk.open(dir, "keywords", Mode::Create).await.during(label)?;
        disk.write_at(&file, &lines, octets as u64).await.during(label)?;
        disk.sync(&file).await.during(label)?;
        if self.core.keywords_synced == 0 {
            disk.sync_dir(dir).await.during(label)?;
        }
        self.core.keywords_synced = grown.names().len();
        self.core.keywords = Some((grown, octets + lines.len()));
        Ok(())
    }

    /// Adds records to the expunge log; they are synced by [`FileStore::sync_log`].
    pub(super) async fn log_expunged(&mut self, modseq: ModSeq, uids: &UidSet) -> Result<()> {
        if uids.is_empty() {
            return Ok(());
        }
        let label = || format!("write the expunge log of {}", self.mailbox.label());
        let (disk, dir) = (self.store.disk(), &self.mailbox.dir);
        let file = disk.open(dir, "expunged", Mode::Create).await.during(label)?;
        let size = usize::try_from(disk.stat(&file).await.during(label)?.size).unwrap_or(usize::MAX);
        {
            // Whoever made the file may have died before it came to sync the directory.
            let mut pending = self.mailbox.pending();
            if size == 0 || !pending.logged {
                pending.logged = true;
                pending.made += 1;
            }
        }
        let mut records = expunged::records(modseq, uids);
        let bound = self.store.limits().expunge_log;
        let failed = self.mailbox.pending().log_failed;
        if failed || size / RECORD + records.len() > bound {
            let mut all = expunged::decode(&read_all(disk, &file).await.during(label)?);
            all.append(&mut records);
            let (floor, newer) = if all.len() > bound {
                let newer = all.split_off(all.len().saturating_sub(bound / 2));
                // The head's is above those of records from before the machine's last start.
                let floor = all.iter().map(|record| record.modseq).max();
                (floor.unwrap_or(modseq), newer)
            } else {
                let head = all.first().filter(|record| record.first == Uid(0));
                let floor = head.map_or(ModSeq(modseq.0.saturating_sub(1)), |head| head.modseq);
                all.retain(|record| record.first != Uid(0));
                (floor, all)
            };
            replace_file(disk, dir, "expunged", &log_octets(floor, &newer))
                .await
                .during(label)?;
            self.mailbox.pending().log_failed = false;
            return Ok(());
        }
        let (bytes, offset) = if size < RECORD {
            (log_octets(ModSeq(modseq.0.saturating_sub(1)), &records), 0)
        } else {
            let bytes = records.iter().flat_map(Expunged::encode).collect();
            (bytes, size / RECORD * RECORD)
        };
        disk.write_at(&file, &bytes, offset as u64).await.during(label)
    }
}

fn log_octets(floor: ModSeq, records: &[Expunged]) -> Vec<u8> {
    core::iter::once(&Expunged::head(floor))
        .chain(records)
        .flat_map(Expunged::encode)
        .collect()
}
