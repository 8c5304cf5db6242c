//! Reading and writing the [`snapshot`] file of a mailbox.
//!
//! # When it is written
//! When a mailbox is no longer selected, after it was listed for want of a file, by the sweep, and at the end; at most once
//! in [`rmail_core::limits::Limits::snapshot_rest`]; and only if that pays: a row costs 15 times as much to list as to
//! write (0.3 ms and 20 µs for a shard of 1,000). So it is written when the rows that the next process would list, and
//! need not, are at least a fifteenth of all rows. Writing then never costs more than the listing that it saves once, and
//! the next process never lists more than a fifteenth in vain: one flag in a mailbox of 10,000 shards writes nothing, and
//! 666 changed shards cost that process 0.2 s. A small mailbox has no file: [`Limits::snapshot_base`] is what a file costs
//! without its rows. It is also written anew when most of it is of messages that are no more.
//!
//! Shards that were changed in the last 20 ms, or by this process since they were last listed, have no stamp and are left
//! out. What fails is a file less.
//!
//! [`Limits::snapshot_base`]: rmail_core::limits::Limits::snapshot_base

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rmail_core::mailbox::{Keywords, Row};

use crate::disk::{Disk, Mode};

use super::FileStore;
use super::io::{found, put_cache};
use super::mailbox::{Core, Mailbox};
use super::shards::Shard;
use super::snapshot::{ENTRY, Entry, HEADER, Header, Loose, NAME, Stamp, encode_block};

/// Listing a row costs so many times as much as writing it.
const LISTING: u64 = 15;

/// Octets that are written with one call.
const PIECE: usize = 512 * 1024;

/// Of the free octets of the disk a file takes one in so many at most.
const SHARE: u64 = 16;

/// What a snapshot file holds, as far as this process knows.
#[derive(Debug)]
pub(super) struct Known {
    /// Of the file.
    inode: u64,
    /// Stamp and number of rows of each block.
    blocks: BTreeMap<u32, (Stamp, u32)>,
}

/// A snapshot file that is open.
pub(super) struct Saved<D: Disk> {
    file: D::File,
    shard_size: u32,
    blocks: BTreeMap<u32, (Entry, u64)>,
}

/// What is to be written.
struct Job {
    shards: Vec<(u32, Stamp, Arc<[Row]>)>,
    keywords: Arc<Keywords>,
}

impl<D: Disk> Saved<D> {
    /// The rows of a shard, if they are of this stamp and not damaged.
    pub(super) async fn block(
        &self,
        disk: &D,
        shard: u32,
        stamp: Stamp,
        buffer: &mut Vec<u8>,
    ) -> Option<Loose> {
        let (entry, offset) = self
            .blocks
            .get(&shard)
            .filter(|(entry, _)| entry.stamp == stamp)?;
        buffer.resize(entry.len(), 0);
        read_exactly(disk, &self.file, buffer, *offset).await?;
        entry.block(buffer, self.shard_size)
    }
}

impl<D: Disk> FileStore<D> {
    /// The mailbox's snapshot file, if there is one that is of any use.
    pub(super) async fn open_saved(&self, mailbox: &Mailbox<D>) -> Option<Saved<D>> {
        mailbox.set_known(None);
        let disk = self.disk();
        let file = disk.open(&mailbox.dir, NAME, Mode::Read).await.ok()?;
        let stat = disk.stat(&file).await.ok()?;
        let mut bytes = vec![0; HEADER];
        read_exactly(disk, &file, &mut bytes, 0).await?;
        let header = Header::decode(&bytes)?;
        let ours = header.inode == mailbox.key.1
            && header.id == mailbox.reference.id.0
            && header.shard_size == self.limits().shard_size;
        let octets = u64::from(header.entries) * ENTRY as u64;
        if !ours || octets > stat.size || !self.is_settled(header.boot, header.written).await {
            return None;
        }
        bytes.resize(usize::try_from(octets).ok()?, 0);
        read_exactly(disk, &file, &mut bytes, HEADER as u64).await?;
        let entries = Entry::decode_all(&bytes, &header)?;
        let (mut offset, mut blocks) = (HEADER as u64 + octets, BTreeMap::new());
        for entry in entries {
            blocks.insert(entry.shard, (entry, offset));
            offset += entry.len() as u64;
        }
        let known = |(shard, (entry, _)): (&u32, &(Entry, u64))| (*shard, (entry.stamp, entry.rows));
        mailbox.set_known(Some(Known {
            inode: stat.inode,
            blocks: blocks.iter().map(known).collect(),
        }));
        Some(Saved {
            file,
            shard_size: header.shard_size,
            blocks,
        })
    }

    /// Writes the snapshot file if that pays; nothing is waited for.
    pub(super) async fn save(&self, mailbox: &Mailbox<D>) {
        if let Err(error) = self.try_save(mailbox).await {
            log::debug!("{} has no new snapshot file: {error}", mailbox.label());
        }
    }

    async fn try_save(&self, mailbox: &Mailbox<D>) -> io::Result<()> {
        let disk = self.disk();
        if self.job(mailbox).is_none() {
            return Ok(());
        }
        let file = disk.create_unnamed(&mailbox.dir).await?;
        let now = disk.stat(&file).await?.mtime;
        if let Some(present) = found(disk.stat_at(&mailbox.dir, NAME).await)? {
            let rest = i128::try_from(self.limits().snapshot_rest.as_nanos()).unwrap_or(i128::MAX);
            // One from the future does not stop us for ever.
            if (present.mtime..present.mtime.saturating_add(rest)).contains(&now) {
                return Ok(());
            }
            if !mailbox.known(|known| known.is_some_and(|known| known.inode == present.inode)) {
                // Another process has written it.
                drop(self.open_saved(mailbox).await);
            }
        }
        let Some(job) = self.job(mailbox) else {
            return Ok(());
        };
        if job.shards.is_empty() {
            mailbox.set_known(None);
            return found(disk.unlink(&mailbox.dir, NAME).await).map(drop);
        }
        let blocks = self.write_blocks(mailbox, &file, job, now).await?;
        put_cache(disk, &mailbox.dir, &file, NAME).await?;
        let inode = disk.stat(&file).await?.inode;
        mailbox.set_known(Some(Known { inode, blocks }));
        Ok(())
    }

    /// Whether [`Self::save`] may have something to do.
    pub(super) fn has_to_save(&self, mailbox: &Mailbox<D>) -> bool {
        let Some(core) = mailbox.naming.try_lock() else {
            return true;
        };
        let base = self.limits().snapshot_base;
        let shards = core.shards.as_ref();
        shards.is_some_and(|shards| mailbox.known(|known| pays(shards, known, base)))
    }

    /// What there is to write, if that pays. `None` also if somebody is at work in the mailbox.
    fn job(&self, mailbox: &Mailbox<D>) -> Option<Job> {
        let core = mailbox.naming.try_lock()?;
        let shards = core.shards.as_ref()?;
        let pays = mailbox.known(|known| pays(shards, known, self.limits().snapshot_base));
        pays.then(|| collect(&core))?
    }

    async fn write_blocks(
        &self,
        mailbox: &Mailbox<D>,
        file: &D::File,
        job: Job,
        now: i128,
    ) -> io::Result<BTreeMap<u32, (Stamp, u32)>> {
        let disk = self.disk();
        let rows: usize = job.shards.iter().map(|(_, _, rows)| rows.len()).sum();
        let head = HEADER + ENTRY * job.shards.len();
        let free = disk.free(&mailbox.dir).await?.bytes / SHARE;
        if (head + ENTRY * rows) as u64 > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (mut offset, mut buffer) = (head as u64, Vec::new());
        let (mut entries, mut known) = (Vec::new(), BTreeMap::new());
        let mut count = 0;
        for (shard, stamp, rows) in job.shards {
            let entry = encode_block(shard, stamp, &rows, &job.keywords, &mut buffer);
            entry.encode(&mut entries);
            known.insert(shard, (stamp, entry.rows));
            count += 1;
            if buffer.len() >= PIECE {
                disk.write_at(file, &buffer, offset).await?;
                offset += buffer.len() as u64;
                buffer.clear();
            }
        }
        disk.write_at(file, &buffer, offset).await?;
        let header = Header {
            entries: count,
            inode: mailbox.key.1,
            id: mailbox.reference.id.0,
            shard_size: self.limits().shard_size,
            boot: disk.boot_id(),
            written: self.time_of_writing(mailbox, now).await,
            crc: crc32fast::hash(&entries),
        };
        let mut front = header.encode();
        front.append(&mut entries);
        disk.write_at(file, &front, 0).await?;
        Ok(known)
    }
}

/// Whether writing costs less than the listings that it saves, or frees more than it writes.
fn pays(shards: &BTreeMap<u32, Shard>, known: Option<&Known>, base: u64) -> bool {
    let (mut all, mut gain, mut kept) = (0, 0, 0);
    for (number, shard) in shards {
        let Some(stamp) = shard.stamp else { continue };
        let rows = shard.own.len() as u64;
        all += rows;
        let saved = known.and_then(|known| known.blocks.get(number));
        match saved {
            Some((saved, _)) if *saved == stamp => kept += rows,
            _ => gain += rows,
        }
    }
    let held: u64 = known.map_or(0, |known| {
        known.blocks.values().map(|(_, rows)| u64::from(*rows)).sum()
    });
    let dead = held.saturating_sub(kept);
    let saves = gain > 0 && gain.saturating_mul(LISTING) >= all.saturating_add(base);
    // Shards without a stamp may become alive again.
    let settled = shards.values().all(|shard| shard.stamp.is_some());
    saves || (settled && dead > all.saturating_add(base))
}

fn collect(core: &Core) -> Option<Job> {
    let (keywords, _) = core.keywords.as_ref()?;
    let shards = core.shards.as_ref()?.iter();
    Some(Job {
        shards: shards
            .filter_map(|(number, shard)| Some((*number, shard.stamp?, Arc::clone(&shard.own))))
            .collect(),
        keywords: Arc::clone(keywords),
    })
}

async fn read_exactly<D: Disk>(disk: &D, file: &D::File, buffer: &mut [u8], offset: u64) -> Option<()> {
    let mut at = 0;
    while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match disk.read_at(file, rest, offset.saturating_add(at as u64)).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => at += count,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::mailbox::{KeywordSet, ModSeq, SystemFlags, Uid};

    fn shards(count: u32, rows: u32) -> BTreeMap<u32, Shard> {
        let row = |uid| Row {
            date: 0,
            modseq: ModSeq(1),
            keywords: KeywordSet(0),
            uid: Uid(uid),
            size: 1,
            save_date: 0,
            zone: 0,
            flags: SystemFlags::default(),
        };
        let shard = |n| {
            let rows: Arc<[Row]> = (0..rows).map(|at| row(n * 1_000 + at + 1)).collect();
            (n, Shard::new(rows, Some((u64::from(n), 7))))
        };
        (0..count).map(shard).collect()
    }

    fn known(shards: &BTreeMap<u32, Shard>) -> Known {
        let block = |(n, shard): (&u32, &Shard)| {
            let stamp = shard.stamp.expect("a stamp");
            (*n, (stamp, u32::try_from(shard.own.len()).expect("few")))
        };
        Known {
            inode: 1,
            blocks: shards.iter().map(block).collect(),
        }
    }

    #[test]
    fn a_file_is_written_when_that_costs_less_than_the_listings_it_saves() {
        let base = 5_000;
        assert!(!pays(&shards(1, 300), None, base), "small");
        assert!(pays(&shards(1, 400), None, base));
        assert!(pays(&shards(100, 100), None, base));
        let mut large = shards(100, 100);
        let file = known(&large);
        assert!(!pays(&large, Some(&file), base), "all is in it");
        for changed in 0..100_u32 {
            let expected = u64::from(changed) * 100 * LISTING >= 15_000;
            assert_eq!(
                pays(&large, Some(&file), base),
                expected && changed > 0,
                "{changed}"
            );
            large.get_mut(&changed).expect("a shard").stamp = Some((9, 9));
        }
        let mut unsettled = shards(100, 100);
        unsettled.values_mut().for_each(|shard| shard.stamp = None);
        assert!(!pays(&unsettled, None, base), "nothing could be written");
        assert!(!pays(&unsettled, Some(&file), base));
        assert!(!pays(&BTreeMap::new(), None, base));
        assert!(pays(&BTreeMap::new(), Some(&file), base), "all of it is dead");
        assert!(
            !pays(&shards(60, 100), Some(&file), base),
            "less than half is dead"
        );
    }
}
