//! STORE and EXPUNGE: names of messages that are there already are changed and removed.

use std::sync::Arc;

use rmail_core::imap::server::Stored;
use rmail_core::mailbox::{FlagChange, FlagOp, ModSeq, Row, Snapshot, SystemFlags, Uid, UidSet};
use rmail_core::refusal::Refusal;

use crate::disk::Disk;
use crate::error::{Error, Result};

use super::cache::{scan_dir, shard_name};
use super::hold::Hold;
use super::io::{During as _, Gap, found};
use super::mailbox::Mailbox;
use super::sync::Touched;
use super::{FileStore, names};

/// How often a name that a stranger changes meanwhile is looked up again.
const TRIES: usize = 3;

/// System flags and keyword bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlagBits {
    pub(super) system: SystemFlags,
    pub(super) keywords: [u64; 4],
}

impl FlagBits {
    /// The flags after a change by these.
    pub(super) fn changed(self, op: FlagOp, by: Self) -> Self {
        let mix = |a: [u64; 4], b: [u64; 4], how: fn(u64, u64) -> u64| {
            let mut mixed = a;
            mixed.iter_mut().zip(b).for_each(|(a, b)| *a = how(*a, b));
            mixed
        };
        match op {
            FlagOp::Replace => by,
            FlagOp::Add => Self {
                system: self.system.with(by.system),
                keywords: mix(self.keywords, by.keywords, |a, b| a | b),
            },
            FlagOp::Remove => Self {
                system: self.system.without(by.system),
                keywords: mix(self.keywords, by.keywords, |a, b| a & !b),
            },
        }
    }
}

impl<D: Disk> FileStore<D> {
    pub(super) async fn store_flags(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Stored> {
        let mut modified = UidSet::new();
        let mut touched = Touched::new(mailbox);
        let mut after = Uid(0);
        let mut announce = ModSeq(0);
        loop {
            let mut hold = self.hold(mailbox).await?;
            hold.refresh().await?;
            let bits = hold.change_bits(change).await?;
            let batch = hold.batch(uids, after, |row, flags, told| {
                let stale = unchanged_since.is_some_and(|since| told > since);
                if stale {
                    modified.push(row.uid);
                }
                let new = flags.changed(change.op, bits);
                (!stale && new != flags).then_some(new)
            });
            let Batch { changes, last } = batch;
            if let Err(error) = hold.rename(&changes, &mut touched).await {
                hold.give_up(&touched).await;
                return Err(error);
            }
            if !changes.is_empty() {
                announce = hold.state.done;
            }
            drop(hold);
            match last {
                Some(last) => after = last,
                None => break,
            }
            Gap::default().await;
        }
        if announce > ModSeq(0) {
            self.settle_flags(mailbox, &touched).await?;
            self.announce(mailbox, announce);
        }
        Ok(Stored {
            snapshot: self.look_after(mailbox).await?,
            modified,
        })
    }

    /// Syncs flag changes now, or leaves them to the flusher.
    pub(super) async fn settle_flags(&self, mailbox: &Arc<Mailbox<D>>, touched: &Touched<D>) -> Result<()> {
        if self.flags_at_once() {
            return self.sync_touched(core::slice::from_ref(touched), &[]).await;
        }
        let mut pending = mailbox.pending();
        pending.unsynced.extend(&touched.shards);
        pending.idle = 0;
        Ok(())
    }

    pub(super) async fn expunge_deleted(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        uids: Option<&UidSet>,
    ) -> Result<Snapshot> {
        let mut touched = Touched::new(mailbox);
        let mut after = Uid(0);
        let mut announce = ModSeq(0);
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        loop {
            let mut hold = self.hold(mailbox).await?;
            hold.refresh().await?;
            let batch = hold.batch(uids.unwrap_or(&all), after, |row, flags, _| {
                row.flags.contains(SystemFlags::DELETED).then_some(flags)
            });
            let Batch { changes, last } = batch;
            let gone: Vec<Uid> = changes.iter().map(|(row, _)| row.uid).collect();
            if let Err(error) = hold.remove(&gone, &mut touched).await {
                hold.give_up(&touched).await;
                return Err(error);
            }
            if !gone.is_empty() {
                announce = hold.state.done;
            }
            drop(hold);
            match last {
                Some(last) => after = last,
                None => break,
            }
            Gap::default().await;
        }
        if announce > ModSeq(0) {
            self.sync_log(mailbox).await?;
            self.sync_touched(core::slice::from_ref(&touched), &[]).await?;
            self.announce(mailbox, announce);
        }
        let snapshot = self.look_after(mailbox).await?;
        self.prune(&touched, snapshot.uid_next).await;
        Ok(snapshot)
    }
}

/// What is changed in one hold of the lock.
pub(super) struct Batch {
    pub(super) changes: Vec<(Row, FlagBits)>,
    /// Where the next one goes on; none: this was all.
    pub(super) last: Option<Uid>,
}

impl<D: Disk> Hold<'_, D> {
    /// The bits of a change's flags. Keywords that are only to be removed need none.
    async fn change_bits(&mut self, change: &FlagChange) -> Result<FlagBits> {
        let mut keywords = change.flags.keywords.clone();
        if change.op == FlagOp::Remove {
            let known = self.load_keywords(false).await?;
            keywords.retain(|keyword| known.bit(keyword).is_some());
        }
        Ok(FlagBits {
            system: change.flags.system,
            keywords: self.keyword_bits(&keywords).await?,
        })
    }

    /// The next messages of the set, after this UID, for which `pick` gives something: as many as fit one hold. It gets the
    /// row, its flags, and the MODSEQ that clients were told.
    pub(super) fn batch(
        &self,
        uids: &UidSet,
        after: Uid,
        mut pick: impl FnMut(&Row, FlagBits, ModSeq) -> Option<FlagBits>,
    ) -> Batch {
        let mut changes = Vec::new();
        let floor = self.status().floor;
        let Some(shards) = &self.core.shards else {
            return Batch { changes, last: None };
        };
        let first = self.store.shard(after);
        for row in shards.range(first..).flat_map(|(_, shard)| shard.own.iter()) {
            if row.uid <= after || !uids.contains(row.uid) {
                continue;
            }
            let flags = self.flag_bits(row);
            let Some(new) = pick(row, flags, row.modseq.max(floor)) else {
                continue;
            };
            changes.push((*row, new));
            if changes.len() >= self.store.limits().names_per_hold.max(1) {
                let last = Some(row.uid);
                return Batch { changes, last };
            }
        }
        Batch { changes, last: None }
    }

    pub(super) fn flag_bits(&self, row: &Row) -> FlagBits {
        let keywords = self.core.keywords.as_ref();
        FlagBits {
            system: row.flags,
            keywords: keywords.map_or([0; 4], |(known, _)| known.bits(row.keywords)),
        }
    }

    /// The file name of a row.
    pub(super) fn name(&self, row: &Row) -> String {
        names::encode(row, self.flag_bits(row).keywords)
    }

    /// Ends an operation that has failed after some of its changes: those stay, and the flusher syncs them.
    pub(super) async fn give_up(&mut self, touched: &Touched<D>) {
        // At the latest whoever locks next does it.
        let _ = self.mend().await;
        self.mailbox.pending().unsynced.extend(&touched.shards);
    }

    /// Gives messages new flags in one change. Those that have gone are left out.
    pub(super) async fn rename(
        &mut self,
        changes: &[(Row, FlagBits)],
        touched: &mut Touched<D>,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let shards = changes.iter().map(|(row, _)| self.store.shard(row.uid));
        touched.shards.extend(shards);
        self.mark_dirty().await?;
        let modseq = self.numbers(0).await?;
        self.begin(modseq).await?;
        let mut shard = None;
        for (row, new) in changes {
            let to = Row {
                modseq,
                flags: new.system,
                ..*row
            };
            let dir = self.shard_dir(row.uid, &mut shard).await?;
            let mut from = Some(self.name(row));
            for _ in 0..TRIES {
                let Some(name) = &from else { break };
                let new_name = names::encode(&to, new.keywords);
                let renamed = self.store.disk().rename(&dir, name, &dir, &new_name).await;
                if found(renamed)
                    .during(|| format!("rename UID {} of {}", row.uid.0, self.mailbox.label()))?
                    .is_some()
                {
                    self.put_with(to, new.keywords);
                    break;
                }
                from = self.current_name(&dir, row.uid).await?;
            }
            if from.is_none() {
                self.drop_uid(row.uid);
            }
        }
        self.finish().await
    }

    /// The name that a UID has now in its shard, if a program that takes no lock has changed it.
    async fn current_name(&self, dir: &D::Dir, uid: Uid) -> Result<Option<String>> {
        let scan = scan_dir(self.store.disk(), dir)
            .await
            .during(|| format!("look for UID {} of {}", uid.0, self.mailbox.label()))?;
        let mut rows = scan.rows.iter();
        let found = rows.find(|(row, _)| row.uid == uid);
        Ok(found.map(|(row, bits)| names::encode(row, *bits)))
    }

    /// Says on disk, once, that flag changes may be unsynced.
    async fn mark_dirty(&mut self) -> Result<()> {
        if !self.status().dirty {
            let mut status = self.status().clone();
            status.dirty = true;
            self.write_status(status).await?;
        }
        let mut pending = self.mailbox.pending();
        pending.marked = true;
        pending.idle = 0;
        Ok(())
    }

    /// Expunges messages in one change: the log first, then the names. Those that have gone are left out.
    pub(super) async fn remove(&mut self, uids: &[Uid], touched: &mut Touched<D>) -> Result<()> {
        let rows: Vec<Row> = uids.iter().filter_map(|uid| self.own(*uid)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        touched
            .shards
            .extend(rows.iter().map(|row| self.store.shard(row.uid)));
        let modseq = self.numbers(0).await?;
        self.begin(modseq).await?;
        let gone: UidSet = rows.iter().map(|row| row.uid).collect();
        self.log_expunged(modseq, &gone).await?;
        let mut shard: Option<(u32, D::Dir)> = None;
        for row in &rows {
            let number = self.store.shard(row.uid);
            let label = || format!("unlink UID {} of {}", row.uid.0, self.mailbox.label());
            if shard.as_ref().is_none_or(|(open, _)| *open != number) {
                let name = shard_name(number);
                let opened = self.store.disk().open_dir(&self.mailbox.shards, &name).await;
                shard = found(opened).during(label)?.map(|dir| (number, dir));
            }
            let Some((_, dir)) = &shard else {
                // A stranger has removed the whole shard.
                self.drop_uid(row.uid);
                continue;
            };
            let mut name = Some(self.name(row));
            for _ in 0..TRIES {
                let Some(present) = &name else { break };
                let unlinked = self.store.disk().unlink(dir, present).await;
                if found(unlinked).during(label)?.is_some() {
                    name = None;
                    break;
                }
                name = self.current_name(dir, row.uid).await?;
            }
            if name.is_some() {
                return Err(Error {
                    refusal: Refusal::Busy,
                    context: label(),
                    source: None,
                });
            }
            self.drop_uid(row.uid);
        }
        self.finish().await
    }
}
