//! Looking records up: few and large reads for many messages.

use std::io;
use std::sync::Arc;

use rmail_core::chunk::Chunk;
use rmail_core::mailbox::{Row, Uid, UidValidity};
use rmail_core::mime::parsed::Parsed;

use crate::disk::Disk;

use super::super::FileStore;
use super::super::mailbox::{Mailbox, View};
use super::files::ShardFile;
use super::{Slot, decode_record};

/// Octets of one read.
const RUN: u64 = 256 * 1024;
/// Octets between two records that are read rather than skipped.
const GAP: u64 = 16 * 1024;

/// A record to be read: the position of its message among those asked for, its row, and where it is.
type Wanted<'a> = (usize, &'a Row, Slot);

impl<D: Disk> FileStore<D> {
    /// What is known of messages, in their order. What cannot be read is not known.
    pub(in super::super) async fn parsed_of(
        &self,
        mailbox: &Mailbox<D>,
        view: &View,
        uids: &[Uid],
    ) -> Vec<Option<Parsed>> {
        let rows: Vec<Option<Row>> = uids
            .iter()
            .map(|uid| view.snapshot.rows.find(*uid).map(|(_, row)| *row))
            .collect();
        self.parsed_rows(mailbox, view.snapshot.uid_validity, &rows).await
    }

    /// The same for rows.
    pub(super) async fn parsed_rows(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        rows: &[Option<Row>],
    ) -> Vec<Option<Parsed>> {
        let mut all = vec![None; rows.len()];
        let mut wanted: Vec<(usize, &Row)> = rows
            .iter()
            .enumerate()
            .filter_map(|(at, row)| Some((at, row.as_ref()?)))
            .collect();
        wanted.sort_by_key(|(_, row)| row.uid);
        for group in wanted.chunk_by(|(_, a), (_, b)| self.shard(a.uid) == self.shard(b.uid)) {
            let Some((_, first)) = group.first() else {
                continue;
            };
            let shard = self.shard(first.uid);
            let read = self
                .read_group(mailbox, uid_validity, shard, group, &mut all)
                .await;
            if let Err(error) = read {
                log::debug!("parsed cache of shard {shard} of {}: {error}", mailbox.label());
            }
        }
        all
    }

    async fn read_group(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        shard: u32,
        group: &[(usize, &Row)],
        all: &mut [Option<Parsed>],
    ) -> io::Result<()> {
        let Some(file) = self.shard_file(mailbox, uid_validity, shard, false).await? else {
            return Ok(());
        };
        let found = self.read_known(&file, group, all).await?;
        if found == group.len() {
            return Ok(());
        }
        // Others may have added records, or written the file anew.
        let (disk, slots) = (self.disk(), self.slots());
        let named = disk.stat_at(&file.dir, &file.name()).await;
        let file = if named.is_ok_and(|stat| stat.inode == file.inode) {
            let before: Vec<Slot> = group
                .iter()
                .map(|(_, row)| file.slot(self.slot_of(row)))
                .collect();
            file.reload(disk, slots).await?;
            let same = |((_, row), before): (&(usize, &Row), &Slot)| file.slot(self.slot_of(row)) == *before;
            if group.iter().zip(&before).all(same) {
                return Ok(());
            }
            file
        } else {
            self.parsed.forget(&file);
            match self.shard_file(mailbox, uid_validity, shard, false).await? {
                Some(file) => file,
                None => return Ok(()),
            }
        };
        self.read_known(&file, group, all).await.map(drop)
    }

    /// Reads the records that the slots known here point to. How many of the group are known afterwards.
    pub(super) async fn read_known(
        &self,
        file: &Arc<ShardFile<D>>,
        group: &[(usize, &Row)],
        all: &mut [Option<Parsed>],
    ) -> io::Result<usize> {
        let mut wanted: Vec<Wanted<'_>> = Vec::with_capacity(group.len());
        for (at, row) in group {
            let slot = file.slot(self.slot_of(row));
            if slot.is_plausible(self.slots()) && all.get(*at) == Some(&None) {
                wanted.push((*at, row, slot));
            }
        }
        wanted.sort_by_key(|(_, _, slot)| slot.offset);
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let (run, more) = rest.split_at_checked(run_len(rest)).unwrap_or((rest, &[]));
            self.read_run(file, run, all).await?;
            rest = more;
        }
        Ok(group
            .iter()
            .filter(|(at, _)| all.get(*at).is_some_and(Option::is_some))
            .count())
    }

    /// Reads neighbours with one call.
    async fn read_run(
        &self,
        file: &Arc<ShardFile<D>>,
        run: &[Wanted<'_>],
        all: &mut [Option<Parsed>],
    ) -> io::Result<()> {
        let Some((_, _, first)) = run.first() else {
            return Ok(());
        };
        let start = u64::from(first.offset);
        let end = run.iter().map(|(_, _, slot)| slot.end()).max().unwrap_or(start);
        let mut octets = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let count = self.disk().read_at(&file.file, &mut octets, start).await?;
        octets.truncate(count);
        let octets = Chunk::from(octets);
        for (at, row, slot) in run {
            let from = usize::try_from(slot.offset - first.offset).unwrap_or(usize::MAX);
            let len = usize::try_from(slot.len).unwrap_or(usize::MAX);
            let record = octets.slice(from..from.saturating_add(len));
            if let Some(known) = all.get_mut(*at) {
                *known = decode_record(&file.identity, row, slot.offset, &record);
            }
        }
        Ok(())
    }

    /// The slot of a message in the file of its shard.
    pub(super) fn slot_of(&self, row: &Row) -> usize {
        usize::try_from(row.uid.0 % self.slots()).unwrap_or(0)
    }
}

/// How many of the records, ordered by their place, are read with one call.
fn run_len(wanted: &[Wanted<'_>]) -> usize {
    let start = wanted.first().map_or(0, |(_, _, slot)| u64::from(slot.offset));
    let mut end = start;
    let fits = wanted.iter().take_while(|(_, _, slot)| {
        let near = u64::from(slot.offset) <= end.saturating_add(GAP) && slot.end() - start <= RUN;
        let fits = end == start || near;
        end = if fits { end.max(slot.end()) } else { end };
        fits
    });
    fits.count().max(1)
}
