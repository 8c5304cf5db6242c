//! The rows of a mailbox as read from its shards, and how they are brought up to date.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::mailbox::{KeywordSet, Keywords, ModSeq, Row, Rows, Snapshot, Uid, UidSet};

use crate::disk::Disk;
use crate::error::Result;

use super::hold::Hold;
use super::io::{During as _, found, read_file};
use super::mailbox::View;
use super::shards::{Shard, Shards};
use super::snapshot::Stamp;
use super::warm::{Ahead, with_keywords};
use super::{expunged, names};

/// The directory name of a shard.
pub(super) fn shard_name(shard: u32) -> String {
    format!("{shard:06}")
}

/// The shard of a directory name.
pub(super) fn shard_of_name(name: &str) -> Option<u32> {
    let number = name
        .bytes()
        .try_fold(0_u32, |number, octet| {
            let digit = octet.is_ascii_digit().then(|| u32::from(octet - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
        .filter(|_| !name.is_empty())?;
    (shard_name(number) == name).then_some(number)
}

/// Message names of one shard directory.
pub(super) struct Scan {
    /// Row and bitmap of each, ascending, one per UID.
    pub(super) rows: Vec<Named>,
    /// Names that do not count because of another of the same UID: the one that counts, and the other.
    pub(super) doubles: Vec<(String, String)>,
    /// It was listed at one point in time.
    pub(super) exact: bool,
}

/// What a name says: a row, and its keyword bitmap.
pub(super) type Named = (Row, [u64; 4]);

/// Lists a shard directory. Of two names of one UID the one with the higher MODSEQ counts.
pub(super) async fn scan_dir<D: Disk>(disk: &D, dir: &D::Dir) -> std::io::Result<Scan> {
    let listing = disk.list(dir).await?;
    let names = listing.entries.iter().filter(|entry| !entry.is_dir);
    let mut rows: Vec<Named> = names.filter_map(|entry| names::decode(&entry.name)).collect();
    // The best last. What comes after the MODSEQ only makes the choice the same for everybody.
    rows.sort_unstable_by_key(|(row, bits)| (row.uid, row.modseq, row.flags.0, *bits));
    let mut doubles = Vec::new();
    rows.dedup_by(|next, kept| {
        if next.0.uid != kept.0.uid {
            return false;
        }
        let other = core::mem::replace(kept, *next);
        if other != *kept {
            let name = |(row, bits): &Named| names::encode(row, *bits);
            doubles.push((name(kept), name(&other)));
        }
        true
    });
    Ok(Scan {
        rows,
        doubles,
        exact: listing.exact,
    })
}

/// The row's set for a bitmap; only wide ones touch the side table.
pub(super) fn intern(keywords: &mut Arc<Keywords>, bits: [u64; 4]) -> KeywordSet {
    match bits {
        [low, 0, 0, 0] if low >> 63 == 0 => KeywordSet(low),
        _ => Arc::make_mut(keywords).intern(bits),
    }
}

impl<D: Disk> Hold<'_, D> {
    /// Brings rows, keywords and the shared view up to date. Free if nothing has changed.
    pub(super) async fn refresh(&mut self) -> Result<()> {
        if self.core.shards.is_some() && self.core.modseq == self.state.done {
            if self.mailbox.is_cold() {
                self.publish();
            }
            return Ok(());
        }
        let lost_track = self.core.shards.is_some();
        let shards = self.read_shards().await?;
        if lost_track {
            self.ask_for_records().await;
        }
        self.adopt(shards).await
    }

    /// The shards now: those with the same stamp as before are kept.
    async fn read_shards(&mut self) -> Result<BTreeMap<u32, Shard>> {
        let (store, mailbox) = (self.store, self.mailbox);
        let disk = store.disk();
        let label = || format!("read {}", mailbox.label());
        self.load_keywords(false).await?;
        let mut fence = store.fence(mailbox).await.during(label)?;
        if self.core.shards.is_some() {
            // What was changed just now will be read again by whoever looks next; the sweep stamps it.
            fence.settle();
        }
        let mut ahead = mailbox.take_ahead();
        let listing = disk.list(&mailbox.shards).await.during(label)?;
        let mut shards = BTreeMap::new();
        for entry in listing.entries.iter().filter(|entry| entry.is_dir) {
            let Some(number) = shard_of_name(&entry.name) else {
                continue;
            };
            let Some(stat) = found(disk.stat_at(&mailbox.shards, &entry.name).await).during(label)? else {
                continue;
            };
            let stamp = store.stamp(mailbox, &mut fence, &stat).await;
            let old = self.core.shards.as_ref().and_then(|old| old.get(&number));
            let same = old.filter(|old| stamp.is_some() && old.stamp == stamp);
            let ahead = ahead.remove(&number).filter(|ahead| Some(ahead.stamp) == stamp);
            let shard = match (same, ahead) {
                (Some(same), _) => same.clone(),
                (None, Some(ahead)) if ahead.is_below(self.state.uid_next) => self.take_up(ahead).await?,
                _ => self.read_shard(number, &entry.name, stamp).await?,
            };
            if !shard.own.is_empty() {
                shards.insert(number, shard);
            }
        }
        Ok(shards)
    }

    /// What was read without the lock, with the mailbox's keywords.
    pub(super) async fn take_up(&mut self, ahead: Ahead) -> Result<Shard> {
        if ahead.widest > self.load_keywords(false).await?.names().len() {
            self.load_keywords(true).await?;
        }
        let mut own = ahead.own;
        if let Some((keywords, _)) = &mut self.core.keywords {
            own = with_keywords(own, &ahead.wide, keywords);
        }
        Ok(Shard::with_sums(
            own,
            ahead.sums,
            ahead.highest,
            Some(ahead.stamp),
        ))
    }

    pub(super) async fn read_shard(
        &mut self,
        number: u32,
        name: &str,
        stamp: Option<Stamp>,
    ) -> Result<Shard> {
        let (store, mailbox) = (self.store, self.mailbox);
        let disk = store.disk();
        let label = || format!("read shard {number} of {}", mailbox.label());
        let opened = disk.open_dir(&mailbox.shards, name).await;
        let Some(dir) = found(opened).during(label)? else {
            // It was empty, and somebody has removed it.
            return Ok(Shard::new(Arc::default(), None));
        };
        let scan = scan_dir(disk, &dir).await.during(label)?;
        for (best, other) in &scan.doubles {
            self.remove_double(&dir, best, other).await.during(label)?;
        }
        let uid_next = self.state.uid_next;
        let ours = |row: &Row| row.uid < uid_next && store.shard(row.uid) == number;
        let widest = scan.rows.iter().map(|(_, bits)| width(*bits)).max().unwrap_or(0);
        if widest > self.load_keywords(false).await?.names().len() {
            self.load_keywords(true).await?;
        }
        let Some((keywords, _)) = &mut self.core.keywords else {
            return Ok(Shard::new(Arc::default(), None));
        };
        // A name above uidnext may count one day although the directory stays as it is.
        let stamp = stamp.filter(|_| scan.rows.last().is_none_or(|(row, _)| row.uid < uid_next));
        let rows = scan
            .rows
            .into_iter()
            .filter(|(row, _)| ours(row))
            .map(|(row, bits)| Row {
                keywords: intern(keywords, bits),
                ..row
            })
            .collect();
        Ok(Shard::new(rows, stamp))
    }

    /// Removes the second of two names of one UID if both are the same file: where there is no rename without replacing,
    /// a rename that was cut short leaves both. It would come back when the first is expunged.
    async fn remove_double(&self, dir: &D::Dir, best: &str, other: &str) -> std::io::Result<()> {
        let disk = self.store.disk();
        let best = found(disk.stat_at(dir, best).await)?;
        let same = found(disk.stat_at(dir, other).await)?;
        match (best, same) {
            (Some(best), Some(same)) if best.inode == same.inode => {
                found(disk.unlink(dir, other).await).map(drop)
            }
            (Some(_), Some(_)) => {
                log::error!("{}: {other} is a second message of its UID", self.mailbox.label());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes the shards those of the present MODSEQ, which is raised if a name has a higher one, and logs what vanished
    /// without a record.
    pub(super) async fn adopt(&mut self, shards: BTreeMap<u32, Shard>) -> Result<()> {
        let before = self.core.modseq;
        let lost = self
            .core
            .shards
            .as_ref()
            .map_or_else(Vec::new, |old| vanished(old, &shards));
        let highest = shards.values().map(|shard| shard.highest).max();
        let unlogged = self.unlogged(&lost).await?;
        if highest.is_some_and(|highest| highest > self.state.done) || !unlogged.is_empty() {
            self.state.begun = self.state.begun.max(highest.unwrap_or_default());
            let modseq = self.numbers(0).await?;
            self.begin(modseq).await?;
            self.log_expunged(modseq, &unlogged).await?;
            self.finish().await?;
        }
        self.core.shards = Some(Shards::from(shards));
        self.core.modseq = self.state.done;
        self.publish();
        if before < self.core.modseq && before != ModSeq(0) {
            self.store.announce(self.mailbox, self.core.modseq);
        }
        Ok(())
    }

    /// Those of the UIDs, seen at the MODSEQ of the present rows, that the log has no newer record of.
    async fn unlogged(&self, lost: &[Uid]) -> Result<UidSet> {
        if lost.is_empty() {
            return Ok(UidSet::new());
        }
        let bytes = read_file(self.store.disk(), &self.mailbox.dir, "expunged")
            .await
            .during(|| format!("read the expunge log of {}", self.mailbox.label()))?
            .unwrap_or_default();
        let logged = UidSet::from_ranges(
            expunged::decode(&bytes)
                .iter()
                // An older record is of an expunge that failed: the message was still there.
                .filter(|record| record.first.0 != 0 && record.modseq > self.core.modseq)
                .map(|record| (record.first.0, record.last.0)),
        );
        Ok(lost
            .iter()
            .copied()
            .filter(|uid| !logged.contains(*uid))
            .collect())
    }

    /// Shares the rows with those who read without the lock.
    pub(super) fn publish(&self) {
        let Some(shards) = &self.core.shards else {
            return;
        };
        let view = self.view_of(shards.rows());
        self.mailbox.set_view(view);
    }

    /// The same after a change of the rows that were published at `before`: these shards have these rows now.
    pub(super) fn publish_changed(&self, before: ModSeq, changed: Vec<(u32, Arc<[Row]>)>) {
        let size = self.store.limits().shard_size.max(1);
        let done = self.mailbox.change_view(|mut view| {
            // Taken out and put back, so that they are copied only if a session has them too.
            let mut rows = view.take_rows(before)?;
            for (number, shard) in changed {
                let first = number.saturating_mul(size);
                rows.put(Uid(first), Uid(first.saturating_add(size - 1)), shard);
            }
            self.view_of(rows)
        });
        if !done {
            self.publish();
        }
    }

    fn view_of(&self, rows: Rows) -> Option<View> {
        let (Some(shards), Some((keywords, _))) = (&self.core.shards, &self.core.keywords) else {
            return None;
        };
        Some(View {
            snapshot: Snapshot {
                uid_validity: self.status().uid_validity,
                uid_next: self.state.uid_next,
                modseq: self.core.modseq,
                rows: rows.with_floor(self.status().floor),
                keywords: Arc::clone(keywords),
            },
            sums: shards.sums(),
        })
    }
}

/// UIDs that are in the old rows and not in the new ones.
fn vanished(old: &Shards, new: &BTreeMap<u32, Shard>) -> Vec<Uid> {
    let mut lost = Vec::new();
    for (number, shard) in old.iter() {
        let now = new.get(number).map(|shard| &shard.own);
        if now.is_some_and(|now| Arc::ptr_eq(now, &shard.own)) {
            continue;
        }
        let now: &[Row] = now.map_or(&[], |now| now);
        let is_lost = |row: &&Row| now.binary_search_by_key(&row.uid, |row| row.uid).is_err();
        lost.extend(shard.own.iter().filter(is_lost).map(|row| row.uid));
    }
    lost
}

/// Bits that a bitmap needs.
pub(super) fn width(bits: [u64; 4]) -> usize {
    bits.iter()
        .enumerate()
        .rev()
        .find(|(_, word)| **word != 0)
        .map_or(0, |(at, word)| {
            at * 64 + 64 - usize::try_from(word.leading_zeros()).unwrap_or(0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_have_one_form() {
        for (number, name) in [(0, "000000"), (12, "000012"), (4_294_967, "4294967")] {
            assert_eq!(shard_name(number), name);
            assert_eq!(shard_of_name(name), Some(number));
        }
        for bad in ["", "1", "0000001", "00000a", "+00001", "99999999999"] {
            assert_eq!(shard_of_name(bad), None);
        }
    }

    #[test]
    fn widths_count_bits() {
        assert_eq!(width([0; 4]), 0);
        assert_eq!(width([1, 0, 0, 0]), 1);
        assert_eq!(width([1, 0, 1 << 63, 0]), 192);
    }
}
