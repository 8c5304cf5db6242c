//! A mailbox's messages as 40 bytes of plain data each, shared chunk by chunk.

use core::fmt;
use core::hash::{Hash as _, Hasher};
use std::sync::Arc;

use super::blocks::{self, Block, Entry, Gather};
use super::flags::{Keywords, SystemFlags};
use super::numbers::{ModSeq, Uid, UidSet, UidValidity};
use crate::time::DateTime;

/// The keywords of one message: a bitmap of the mailbox's first 63 keywords or, with [`Self::WIDE`] set, an index
/// into the side table of [`Keywords`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeywordSet(pub u64);

impl KeywordSet {
    /// Marks an index.
    pub const WIDE: u64 = 1 << 63;

    /// Whether no keyword is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// INTERNALDATE, seconds since 1970.
    pub date: i64,
    /// MODSEQ of its last change. What clients are told is [`Rows::modseq`].
    pub modseq: ModSeq,
    /// Keywords.
    pub keywords: KeywordSet,
    /// UID.
    pub uid: Uid,
    /// RFC822.SIZE in octets.
    pub size: u32,
    /// When it was saved into this mailbox (RFC 8514), seconds since 1970.
    pub save_date: u32,
    /// Zone of INTERNALDATE, minutes east.
    pub zone: i16,
    /// System flags.
    pub flags: SystemFlags,
}

const _: () = assert!(size_of::<Row>() == 40);

impl Row {
    /// INTERNALDATE.
    #[must_use]
    pub fn internal_date(&self) -> DateTime {
        DateTime {
            unix: self.date,
            zone: self.zone,
        }
    }
}

/// The rows of a mailbox in ascending order of UID, in chunks that are shared until one of their rows changes. The
/// chunks lie in [`Block`]s, which are shared likewise: a change costs one chunk and two short lists of pointers, in a
/// mailbox of any size, and what two states have in common is recognised by its address.
///
/// Prints as a summary with a hash.
#[derive(Clone, Default)]
pub struct Rows {
    blocks: Arc<Vec<Entry>>,
    floor: ModSeq,
}

impl Rows {
    /// From chunks in ascending order of UID; empty ones are left out. The store makes one chunk per shard, so
    /// that unchanged shards are recognised by their address.
    #[must_use]
    pub fn from_chunks(chunks: impl IntoIterator<Item = Arc<[Row]>>) -> Self {
        let mut rows = Gather::default();
        chunks.into_iter().for_each(|chunk| rows.chunk(chunk));
        rows.finish()
    }

    pub(super) fn from_blocks(blocks: Vec<Entry>) -> Self {
        Self {
            blocks: Arc::new(blocks),
            floor: ModSeq(0),
        }
    }

    /// The same rows, none of which has a MODSEQ below the floor as far as clients are concerned: after a power cut that
    /// may have undone flag changes all messages count as changed, and they stay 40 octets each.
    #[must_use]
    pub fn with_floor(self, floor: ModSeq) -> Self {
        Self { floor, ..self }
    }

    /// The floor; 0 if there is none.
    #[must_use]
    pub fn floor(&self) -> ModSeq {
        self.floor
    }

    /// The MODSEQ of one of these rows that clients are told (RFC 7162 §3.1).
    #[must_use]
    pub fn modseq(&self, row: &Row) -> ModSeq {
        row.modseq.max(self.floor)
    }

    /// Puts these rows in the place of those with UIDs from `first` to `last`; there may be none of either. They are in
    /// ascending order of UID, and all in that range. Other chunks stay the same ones, unless they reach into the range or beyond it on both sides.
    ///
    /// Costs the pointers of one block and those to the blocks, and nothing but a few numbers if nobody shares them.
    pub fn put(&mut self, first: Uid, last: Uid, rows: Arc<[Row]>) {
        if !blocks::put(Arc::make_mut(&mut self.blocks), first, last, &rows) {
            *self = self.recut(first, last, rows).with_floor(self.floor);
        }
    }

    /// The same where chunks have to be cut.
    fn recut(&self, first: Uid, last: Uid, rows: Arc<[Row]>) -> Self {
        let mut cut = Gather::default();
        let mut new = Some(rows);
        for chunk in self.chunks() {
            let (Some(low), Some(high)) = (chunk.first(), chunk.last()) else {
                continue;
            };
            if high.uid < first {
                cut.chunk(Arc::clone(chunk));
                continue;
            }
            let before = chunk.partition_point(|row| row.uid < first);
            cut.chunk(chunk.get(..before).unwrap_or_default().into());
            new.take().into_iter().for_each(|rows| cut.chunk(rows));
            if low.uid > last {
                cut.chunk(Arc::clone(chunk));
                continue;
            }
            let after = chunk.partition_point(|row| row.uid <= last);
            cut.chunk(chunk.get(after..).unwrap_or_default().into());
        }
        new.into_iter().for_each(|rows| cut.chunk(rows));
        cut.finish()
    }

    /// The block at a position counted from 0.
    #[must_use]
    pub fn block(&self, index: usize) -> Option<&Arc<Block>> {
        self.blocks.get(index).map(|entry| &entry.block)
    }

    /// The chunks.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = &Arc<[Row]>> + '_ {
        self.blocks.iter().flat_map(|entry| entry.block.chunks())
    }

    /// The first chunk whose last UID is at least this one: the UID lies in it, or in none.
    #[must_use]
    pub fn chunk_of(&self, uid: Uid) -> Option<&Arc<[Row]>> {
        let at = self.blocks.partition_point(|entry| entry.last < uid);
        let block = &self.blocks.get(at)?.block;
        block.chunk(block.position(uid))
    }

    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks
            .last()
            .map_or(0, |entry| entry.before + entry.block.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The row at a position counted from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Row> {
        let at = self
            .blocks
            .partition_point(|entry| entry.before <= index)
            .checked_sub(1)?;
        let entry = self.blocks.get(at)?;
        entry.block.get(index - entry.before)
    }

    /// How many rows have a UID below this one.
    #[must_use]
    pub fn rank(&self, uid: Uid) -> usize {
        let at = self.blocks.partition_point(|entry| entry.last < uid);
        self.blocks
            .get(at)
            .map_or(self.len(), |entry| entry.before + entry.block.rank(uid))
    }

    /// The position (from 0) and row of a UID.
    #[must_use]
    pub fn find(&self, uid: Uid) -> Option<(usize, &Row)> {
        let index = self.rank(uid);
        self.get(index)
            .filter(|row| row.uid == uid)
            .map(|row| (index, row))
    }

    /// The highest UID.
    #[must_use]
    pub fn last_uid(&self) -> Option<Uid> {
        self.blocks.last().map(|entry| entry.last)
    }

    /// The position (from 0) of the first message that is not `\Seen`. What was found for a chunk is kept with it.
    #[must_use]
    pub fn first_unseen(&self) -> Option<usize> {
        self.blocks
            .iter()
            .find_map(|entry| Some(entry.before + entry.block.first_unseen()?))
    }

    /// All rows, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Row> + '_ {
        self.chunks().flat_map(|rows| rows.iter())
    }

    /// The rows from a position (from 0) on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = &Row> + '_ {
        let at = self
            .blocks
            .partition_point(|entry| entry.before <= index)
            .saturating_sub(1);
        let (entry, others) = self
            .blocks
            .get(at..)
            .and_then(<[Entry]>::split_first)
            .map_or((None, [].as_slice()), |(entry, others)| (Some(entry), others));
        entry
            .into_iter()
            .flat_map(move |entry| entry.block.iter_from(index.saturating_sub(entry.before)))
            .chain(
                others
                    .iter()
                    .flat_map(|entry| entry.block.chunks().flat_map(|rows| rows.iter())),
            )
    }

    /// The rows that have one of these UIDs, ascending; others are not looked at.
    pub fn of<'a>(&'a self, uids: &'a UidSet) -> impl Iterator<Item = &'a Row> + 'a {
        uids.ranges()
            .flat_map(|range| self.range(Uid(*range.start()), Uid(*range.end())))
    }

    /// The rows whose UIDs are in `first..=last`, ascending.
    pub fn range(&self, first: Uid, last: Uid) -> impl Iterator<Item = &Row> + '_ {
        self.iter_from(self.rank(first))
            .take_while(move |row| row.uid <= last)
    }

    /// Whether both are the same rows in memory: nothing can have changed.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.floor == other.floor && Arc::ptr_eq(&self.blocks, &other.blocks)
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
            || (self.floor == other.floor && self.len() == other.len() && self.iter().eq(other.iter()))
    }
}

impl Eq for Rows {}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[derive(Default)]
        struct Fnv(u64);
        impl Hasher for Fnv {
            fn finish(&self) -> u64 {
                self.0
            }
            fn write(&mut self, bytes: &[u8]) {
                for byte in bytes {
                    self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        self.iter().for_each(|row| {
            let modseq = self.modseq(row);
            Row { modseq, ..*row }.hash(&mut hash);
        });
        write!(
            f,
            "Rows({} rows, last uid {}, #{:016x})",
            self.len(),
            self.last_uid().unwrap_or_default().0,
            hash.0
        )
    }
}

/// Gathers rows into chunks of a bounded size, for those that have no shards (tests, other backends).
#[derive(Clone, Debug, Default)]
pub struct RowsBuilder {
    done: Gather,
    open: Vec<Row>,
}

impl RowsBuilder {
    const CHUNK: usize = 1_000;

    /// Adds a row; its UID must be above all others.
    pub fn push(&mut self, row: Row) {
        self.open.push(row);
        if self.open.len() >= Self::CHUNK {
            self.done.chunk(Arc::from(core::mem::take(&mut self.open)));
        }
    }

    /// The rows.
    #[must_use]
    pub fn finish(mut self) -> Rows {
        self.done.chunk(Arc::from(self.open));
        self.done.finish()
    }
}

/// A mailbox at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDNEXT: no message that comes later has a UID below it. Durable before it is handed out.
    pub uid_next: Uid,
    /// HIGHESTMODSEQ.
    pub modseq: ModSeq,
    /// The messages.
    pub rows: Rows,
    /// The keywords of the rows.
    pub keywords: Arc<Keywords>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(uid: u32) -> Row {
        Row {
            date: 0,
            modseq: ModSeq(1),
            keywords: KeywordSet(0),
            uid: Uid(uid),
            size: 10,
            save_date: 0,
            zone: 0,
            flags: SystemFlags::default(),
        }
    }

    #[test]
    fn positions_and_uids_find_each_other() {
        let chunk = |uids: &[u32]| uids.iter().map(|uid| row(*uid)).collect::<Arc<[Row]>>();
        let rows = Rows::from_chunks([chunk(&[2, 3]), chunk(&[]), chunk(&[7]), chunk(&[10, 11, 12])]);
        assert_eq!(rows.len(), 6);
        for (index, uid) in [2, 3, 7, 10, 11, 12].into_iter().enumerate() {
            assert_eq!(rows.get(index).map(|row| row.uid.0), Some(uid));
            assert_eq!(rows.find(Uid(uid)).map(|(index, _)| index), Some(index));
            assert_eq!(rows.iter_from(index).next().map(|row| row.uid.0), Some(uid));
        }
        assert_eq!(
            (rows.rank(Uid(1)), rows.rank(Uid(5)), rows.rank(Uid(99))),
            (0, 2, 6)
        );
        assert!(rows.get(6).is_none() && rows.find(Uid(4)).is_none());
        assert_eq!(rows.iter_from(6).count(), 0);
        let mut builder = RowsBuilder::default();
        rows.iter().for_each(|row| builder.push(*row));
        assert_eq!(builder.finish(), rows);
    }
}
