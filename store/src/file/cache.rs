//! The rows of a mailbox as read from its shards, and how they are brought up to date.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::mailbox::{KeywordSet, Keywords, ModSeq, Row, Rows, Snapshot, Uid, UidSet};

use crate::disk::{Disk, Stat};
use crate::error::Result;

use super::hold::Hold;
use super::io::{During as _, found, read_file};
use super::mailbox::View;
use super::shards::{Shard, Shards};
use super::{expunged, names};

/// Clocks of file systems step by up to 10 ms: what was stamped this shortly before can change without a new stamp.
pub(super) const STEP: i128 = 20_000_000;

/// Inode and ctime of a directory; none if it changed after the fence, and may change again without a new ctime.
pub(super) fn stamp_of(stat: &Stat, fence: i128) -> Option<(u64, i128)> {
    (stat.ctime < fence).then_some((stat.inode, stat.ctime))
}

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
    pub(super) rows: Vec<(Row, [u64; 4])>,
    /// Names that do not count because of another of the same UID: the one that counts, and the other.
    pub(super) doubles: Vec<(String, String)>,
    /// It was listed at one point in time.
    pub(super) exact: bool,
}

/// Lists a shard directory. Of two names of one UID the one with the higher MODSEQ counts.
pub(super) async fn scan_dir<D: Disk>(disk: &D, dir: &D::Dir) -> std::io::Result<Scan> {
    let mut rows: BTreeMap<Uid, (Row, [u64; 4])> = BTreeMap::new();
    let mut doubles = Vec::new();
    let listing = disk.list(dir).await?;
    for entry in listing.entries {
        let Some(new) = names::decode(&entry.name).filter(|_| !entry.is_dir) else {
            continue;
        };
        let Some(old) = rows.get_mut(&new.0.uid) else {
            rows.insert(new.0.uid, new);
            continue;
        };
        // The rest of the comparison only makes the choice the same for everybody.
        let rank = |(row, bits): (Row, [u64; 4])| (row.modseq, row.flags.0, bits);
        let (best, other) = if rank(*old) < rank(new) {
            (new, *old)
        } else {
            (*old, new)
        };
        *old = best;
        let name = |(row, bits): (Row, [u64; 4])| names::encode(&row, bits);
        if best != other {
            doubles.push((name(best), name(other)));
        }
    }
    Ok(Scan {
        rows: rows.into_values().collect(),
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
            return Ok(());
        }
        let shards = self.read_shards().await?;
        self.adopt(shards).await
    }

    /// Looks for changes by programs that do not take the lock: shards whose stamp differs are read again.
    pub(super) async fn sweep(&mut self) -> Result<()> {
        if self.core.shards.is_none() {
            return Ok(());
        }
        let shards = self.read_shards().await?;
        let changed = self.core.shards.as_ref().is_none_or(|old| {
            old.len() != shards.len() || !old.values().zip(shards.values()).all(|(a, b)| a.own == b.own)
        });
        if changed && self.core.modseq == self.state.done {
            // The strangers gave no MODSEQ: this one says that there is something new.
            let modseq = self.numbers(0).await?;
            self.begin(modseq).await?;
            self.finish().await?;
        }
        self.adopt(shards).await
    }

    /// The shards now: those with the same stamp as before are kept.
    async fn read_shards(&mut self) -> Result<BTreeMap<u32, Shard>> {
        let (disk, mailbox) = (self.store.disk(), self.mailbox);
        let label = || format!("read {}", mailbox.label());
        self.load_keywords(false).await?;
        let fence = disk.stat(&mailbox.state().file).await.during(label)?.mtime - STEP;
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
            let stamp = stamp_of(&stat, fence);
            let old = self.core.shards.as_ref().and_then(|old| old.get(&number));
            let same = old.filter(|old| stamp.is_some() && old.stamp == stamp);
            let ahead = ahead.remove(&number).filter(|ahead| Some(ahead.stamp) == stamp);
            let shard = match (same, ahead) {
                (Some(same), _) => same.clone(),
                (None, Some(ahead)) if ahead.own.iter().all(|row| row.uid < self.state.uid_next) => {
                    if ahead.widest > self.load_keywords(false).await?.names().len() {
                        self.load_keywords(true).await?;
                    }
                    Shard::new(ahead.own, stamp)
                }
                _ => self.read_shard(number, &entry.name, stamp).await?,
            };
            if !shard.own.is_empty() {
                shards.insert(number, shard);
            }
        }
        Ok(shards)
    }

    async fn read_shard(&mut self, number: u32, name: &str, stamp: Option<(u64, i128)>) -> Result<Shard> {
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
    async fn adopt(&mut self, shards: BTreeMap<u32, Shard>) -> Result<()> {
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
            octets: shards.octets(),
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
