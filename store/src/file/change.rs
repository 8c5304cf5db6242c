//! STORE and EXPUNGE: names of messages that are there already are changed and removed.

use core::time::Duration;
use std::sync::Arc;

use rmail_core::imap::server::Stored;
use rmail_core::mailbox::{FlagChange, FlagOp, ModSeq, Row, Snapshot, SystemFlags, Uid, UidSet, Usage};
use rmail_core::refusal::Refusal;

use crate::disk::Disk;
use crate::error::{Error, Result};

use super::cache::scan_dir;
use super::hold::Hold;
use super::io::{During as _, found, once};
use super::ledger::Transit;
use super::mailbox::{Mailbox, View};
use super::sync::Touched;
use super::tree::current;
use super::{FileStore, names};

/// How often a name that a stranger changes meanwhile is looked up again.
const TRIES: usize = 3;

/// Messages whose flags are changed without leaving the session's thread: each takes a rename.
const FEW: usize = 4;

/// Rows looked at in one hold of the lock: about 100 µs.
const ROWS_PER_HOLD: usize = 16_384;

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

impl FlagBits {
    /// These flags with what changes between `old` and `new`: somebody else has changed `old` into these meanwhile.
    fn follow(self, old: Self, new: Self) -> Self {
        let without = |a: Self, b: Self| a.changed(FlagOp::Remove, b);
        self.changed(FlagOp::Add, without(new, old))
            .changed(FlagOp::Remove, without(old, new))
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
        let bounds = (unchanged_since, self.limits().lock_wait);
        let mut done = Done::new(mailbox);
        self.store_flags_within(uids, change, bounds, &mut done).await
    }

    /// Changes flags; `wait` is for each lock at most.
    async fn store_flags_within(
        &self,
        uids: &UidSet,
        change: &FlagChange,
        (unchanged_since, wait): (Option<ModSeq>, Duration),
        done: &mut Done<D>,
    ) -> Result<Stored> {
        let mailbox = Arc::clone(&done.touched.mailbox);
        let mut modified = UidSet::new();
        let result = self
            .store_batches(uids, change, (unchanged_since, wait), &mut modified, done)
            .await;
        // What was changed before something failed stays changed: it is synced and told like the rest.
        let settled = self.settle_flags(&mailbox, &done.touched).await;
        done.announce(self);
        let seen = result.and_then(|seen| settled.map(|()| seen))?;
        Ok(Stored {
            snapshot: self.seen_or_look(&mailbox, seen).await?,
            modified,
        })
    }

    /// The same at once, of a few messages: where nobody holds the locks, the rows are known, nothing has to be synced, no new
    /// keyword or number has to be written down first, and nobody syncs. `None`: nothing was done. An error: it may have been
    /// done to some of them.
    pub(super) fn store_flags_now(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Option<Result<Stored>> {
        if self.flags_at_once() || self.is_syncing() || mailbox.state().read_only {
            return None;
        }
        let (view, state) = current(mailbox, once(self.read_state(mailbox))?.ok()?)?;
        // All in one hold of the lock.
        let few = FEW.min(self.limits().names_per_hold.saturating_sub(1));
        if view.snapshot.rows.of(uids).take(few + 1).count() > few {
            return None;
        }
        let wanted = &change.flags.keywords;
        if !mailbox.naming.try_lock()?.is_ready_for_flags(&state, wanted) {
            return None;
        }
        let mut done = Done::new(mailbox);
        let bounds = (unchanged_since, Duration::ZERO);
        let stored = once(self.store_flags_within(uids, change, bounds, &mut done));
        let stored = stored.unwrap_or_else(|| Err(Refusal::Busy.into()));
        // Where nothing was touched, somebody holds a lock, or it fails again and is told then. What was touched is not tried
        // again: with UNCHANGEDSINCE messages that this very command has changed would be those that others have changed.
        let begun = !done.touched.shards.is_empty();
        (stored.is_ok() || begun).then_some(stored)
    }

    /// What the last hold of the lock saw is what there is.
    async fn seen_or_look(&self, mailbox: &Mailbox<D>, seen: Option<View>) -> Result<Snapshot> {
        match seen {
            Some(view) => Ok(view.snapshot),
            None => self.look_after(mailbox).await,
        }
    }

    async fn store_batches(
        &self,
        uids: &UidSet,
        change: &FlagChange,
        (unchanged_since, wait): (Option<ModSeq>, Duration),
        modified: &mut UidSet,
        done: &mut Done<D>,
    ) -> Result<Option<View>> {
        let mailbox = Arc::clone(&done.touched.mailbox);
        let mut after = Uid(0);
        loop {
            let mut hold = self.hold_fresh_within(&mailbox, wait).await?;
            let bits = hold.change_bits(change).await?;
            let Batch { changes, last } = hold.batch(uids, after, |row, flags, told| {
                let stale = unchanged_since.is_some_and(|since| told > since);
                if stale {
                    modified.push(row.uid);
                }
                let new = flags.changed(change.op, bits);
                (!stale && new != flags).then_some(new)
            });
            let renamed = hold.rename(&changes, &mut done.touched).await;
            if renamed.is_err() {
                hold.give_up().await;
            }
            if !changes.is_empty() {
                done.modseq = hold.state.done;
            }
            renamed?;
            match last {
                Some(last) => after = last,
                None => return Ok(mailbox.view()),
            }
            drop(hold);
            self.gap().await;
        }
    }

    /// Syncs flag changes now, or leaves them to the flusher.
    pub(super) async fn settle_flags(&self, mailbox: &Arc<Mailbox<D>>, touched: &Touched<D>) -> Result<()> {
        if touched.shards.is_empty() {
            return Ok(());
        }
        if self.flags_at_once() {
            let synced = self.sync_touched(core::slice::from_ref(touched), &[]).await;
            mailbox.pending().failed |= synced.is_err();
            return synced;
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
        let mut done = Done::new(mailbox);
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        let result = self.expunge_batches(uids.unwrap_or(&all), &mut done).await;
        let settled = self.settle_removed(&done, None).await;
        let seen = result.and_then(|seen| settled.map(|()| seen))?;
        let snapshot = self.seen_or_look(mailbox, seen).await?;
        self.prune(&done.touched, snapshot.uid_next).await;
        self.trim_parsed(&done.touched).await;
        Ok(snapshot)
    }

    async fn expunge_batches(&self, uids: &UidSet, done: &mut Done<D>) -> Result<Option<View>> {
        let mailbox = Arc::clone(&done.touched.mailbox);
        let mut after = Uid(0);
        loop {
            let mut hold = self.hold_fresh(&mailbox).await?;
            let Batch { changes, last } = hold.batch(uids, after, |row, flags, _| {
                row.flags.contains(SystemFlags::DELETED).then_some(flags)
            });
            let gone: Vec<Uid> = changes.iter().map(|(row, _)| row.uid).collect();
            let removed = hold.remove(&gone, &mut done.touched).await;
            if removed.is_err() {
                hold.give_up().await;
            }
            if !gone.is_empty() {
                done.modseq = hold.state.done;
            }
            removed?;
            match last {
                Some(last) => after = last,
                None => return Ok(mailbox.view()),
            }
            drop(hold);
            self.gap().await;
        }
    }

    /// Syncs and tells what was removed, also if the operation failed afterwards: clients see that it is gone, so it must
    /// not come back.
    pub(super) async fn settle_removed(&self, done: &Done<D>, moved: Option<Transit<D>>) -> Result<()> {
        let touched = &done.touched;
        let account = &touched.mailbox.reference.account;
        self.take_off(account, &touched.freed, moved).await;
        if touched.shards.is_empty() {
            return Ok(());
        }
        let logged = self.sync_log(&touched.mailbox).await;
        let synced = self.sync_touched(core::slice::from_ref(touched), &[]).await;
        if synced.is_err() {
            touched.mailbox.pending().unsynced.extend(&touched.shards);
        }
        done.announce(self);
        logged.and(synced)
    }
}

/// What an operation has done so far.
pub(super) struct Done<D: Disk> {
    pub(super) touched: Touched<D>,
    /// Of its last change; 0: none.
    pub(super) modseq: ModSeq,
}

impl<D: Disk> Done<D> {
    pub(super) fn new(mailbox: &Arc<Mailbox<D>>) -> Self {
        Self {
            touched: Touched::new(mailbox),
            modseq: ModSeq(0),
        }
    }

    fn announce(&self, store: &FileStore<D>) {
        if self.modseq > ModSeq(0) {
            store.announce(&self.touched.mailbox, self.modseq);
        }
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
        let names = self.store.limits().names_per_hold.max(1);
        let next = after.0.saturating_add(1);
        let ranges = uids.ranges().filter(|range| *range.end() >= next);
        let ranges = ranges.map(|range| (Uid(*range.start().max(&next)), Uid(*range.end())));
        let rows = ranges.flat_map(|(first, last)| {
            let shards = shards.range(self.store.shard(first)..=self.store.shard(last));
            shards.flat_map(move |(_, shard)| shard.range(first, last))
        });
        for (seen, row) in (1_usize..).zip(rows) {
            let flags = self.flag_bits(row);
            changes.extend(pick(row, flags, row.modseq.max(floor)).map(|new| (*row, new)));
            if changes.len() >= names || seen >= ROWS_PER_HOLD {
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

    /// Ends an operation that has failed after some of its changes: those stay.
    pub(super) async fn give_up(&mut self) {
        // At the latest whoever locks next does it.
        let _ = self.mend().await;
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
            let dir = self.shard_dir(row.uid, &mut shard).await?;
            let old = self.flag_bits(row);
            let mut present = Some((*row, old));
            let mut tries = 0;
            while let Some((from, flags)) = present {
                let label = || format!("rename UID {} of {}", row.uid.0, self.mailbox.label());
                let new = flags.follow(old, *new);
                let to = Row {
                    modseq,
                    flags: new.system,
                    ..from
                };
                let name = names::encode(&from, flags.keywords);
                let new_name = names::encode(&to, new.keywords);
                let renamed = self.store.disk().rename(&dir, &name, &dir, &new_name).await;
                if found(renamed).during(label)?.is_some() {
                    self.put_with(to, new.keywords);
                    break;
                }
                tries += 1;
                if tries == TRIES {
                    return Err(Error {
                        refusal: Refusal::Busy,
                        context: label(),
                        source: None,
                    });
                }
                present = self.present(&dir, row.uid).await?;
            }
            if present.is_none() {
                self.drop_uid(row.uid);
            }
        }
        self.finish().await
    }

    /// Row and flags by the name that a UID has now in its shard, if a program that takes no lock has changed it.
    async fn present(&self, dir: &D::Dir, uid: Uid) -> Result<Option<(Row, FlagBits)>> {
        let scan = scan_dir(self.store.disk(), dir)
            .await
            .during(|| format!("look for UID {} of {}", uid.0, self.mailbox.label()))?;
        let mut rows = scan.rows.into_iter();
        let found = rows.find(|(row, _)| row.uid == uid);
        Ok(found.map(|(row, keywords)| {
            let system = row.flags;
            (row, FlagBits { system, keywords })
        }))
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
        // Others see at once that they have gone; if the machine ends now they may come back.
        self.mark_dirty().await?;
        let modseq = self.numbers(0).await?;
        self.begin(modseq).await?;
        let seen = self.store.seen(&self.mailbox.reference.account).await;
        let gone: UidSet = rows.iter().map(|row| row.uid).collect();
        self.log_expunged(modseq, &gone).await?;
        let mut shard: Option<(u32, D::Dir)> = None;
        for row in &rows {
            let number = self.store.shard(row.uid);
            let label = || format!("unlink UID {} of {}", row.uid.0, self.mailbox.label());
            if shard.as_ref().is_none_or(|(open, _)| *open != number) {
                let opened = self.store.shard_dir(self.mailbox, number).await?;
                shard = opened.map(|dir| (number, dir));
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
                    touched.freed.push(seen, Usage::message(row.size.into()));
                    name = None;
                    break;
                }
                let present = self.present(dir, row.uid).await?;
                name = present.map(|(row, flags)| names::encode(&row, flags.keywords));
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
