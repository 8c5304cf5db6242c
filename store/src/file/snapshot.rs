//! The file `snapshot` of a mailbox: its rows as one process last had them, so that the next one need not list every
//! shard. A cache: it may be deleted at any time, and what is wrong with it only costs listings.
//!
//! All numbers are little-endian.
//!
//! ```text
//! file  = header *entry *block         ; a block for each entry, in the same order, without gaps
//!
//! header, 64 octets
//!  0  4  "rmr1"
//!  4  4  n: number of entries
//!  8  8  inode number of the mailbox's directory
//! 16  4  id of the mailbox
//! 20  4  messages of a shard at most (the store's limit)
//! 24 16  boot_id of the start of the machine in which it was written
//! 40 16  when, in nanoseconds since 1970 by the file system's clock, see [`super::settled`]
//! 56  4  CRC-32 (IEEE) of the entries
//! 60  4  CRC-32 of octets 0 to 59
//!
//! entry, 40 octets                     ; ascending by shard
//!  0  4  shard
//!  4  4  rows of the block
//!  8  4  wide keyword sets of the block
//! 12  4  CRC-32 of the block
//! 16  8  inode number of the shard's directory
//! 24 16  its ctime, nanoseconds since 1970
//!
//! block = *row *wide
//!
//! row, 40 octets                       ; ascending by UID
//!  0  8  INTERNALDATE, seconds since 1970
//!  8  8  MODSEQ of the name: no floor is applied
//! 16  8  keywords: the bitmap; with bit 63 set, an index into the block's wide sets
//! 24  4  UID
//! 28  4  size
//! 32  4  SAVEDATE
//! 36  2  zone of INTERNALDATE, minutes east
//! 38  1  system flags
//! 39  1  0
//!
//! wide, 32 octets                      ; a bitmap of 256 bits, lowest word first
//! ```
//!
//! A block counts if the shard's directory has the inode number and the ctime of the entry: then it has the names that it
//! had when it was read, because a stamp is only taken when the file system's clock has gone on, and any change gives a
//! new one. So nothing depends on `state`, on who wrote the file, or on what happened since: a shard that was changed, by
//! whomever, is listed instead. Bits of keywords never change their meaning. A copied tree has other inodes and ctimes.
//!
//! Only a power cut can bring names back that a directory had under a stamp that it had before: two changes in one step
//! of the clock, of which the second is lost. What was written at another start of the machine therefore counts only if
//! the file system was synced afterwards, see [`super::settled`].

use std::sync::Arc;

use rmail_core::mailbox::{KeywordSet, Keywords, ModSeq, Row, SystemFlags, Uid};

use super::names::LAST_MODSEQ;
use super::state::take;

/// The file.
pub(crate) const NAME: &str = "snapshot";

/// Octets of the header.
pub(super) const HEADER: usize = 64;

/// Octets of an entry.
pub(super) const ENTRY: usize = 40;

/// Octets of a row.
const ROW: usize = 40;

/// Octets of a wide set.
const WIDE: usize = 32;

const MAGIC: [u8; 4] = *b"rmr1";

/// Inode number and ctime of a shard's directory.
pub(crate) type Stamp = (u64, i128);

/// What the file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) entries: u32,
    /// The mailbox's directory.
    pub(super) inode: u64,
    pub(super) id: u32,
    pub(super) shard_size: u32,
    pub(super) boot: u128,
    pub(super) written: i128,
    /// CRC of the entries.
    pub(super) crc: u32,
}

/// What a block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) shard: u32,
    pub(super) rows: u32,
    pub(super) wide: u32,
    pub(super) crc: u32,
    pub(super) stamp: Stamp,
}

/// Rows of one shard whose keywords are not those of the mailbox yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loose {
    /// A wide set is an index into `wide`.
    pub(super) rows: Arc<[Row]>,
    pub(super) wide: Vec<[u64; 4]>,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.shard_size.to_le_bytes());
        out.extend_from_slice(&self.boot.to_le_bytes());
        out.extend_from_slice(&self.written.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None`: cut, torn, or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if bytes.len() != HEADER || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(&MAGIC)?;
        Some(Self {
            entries: u32::from_le_bytes(take(&mut rest)?),
            inode: u64::from_le_bytes(take(&mut rest)?),
            id: u32::from_le_bytes(take(&mut rest)?),
            shard_size: u32::from_le_bytes(take(&mut rest)?),
            boot: u128::from_le_bytes(take(&mut rest)?),
            written: i128::from_le_bytes(take(&mut rest)?),
            crc: u32::from_le_bytes(take(&mut rest)?),
        })
    }
}

impl Entry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.shard, self.rows, self.wide, self.crc] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.stamp.0.to_le_bytes());
        out.extend_from_slice(&self.stamp.1.to_le_bytes());
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        Some(Self {
            shard: u32::from_le_bytes(take(&mut bytes)?),
            rows: u32::from_le_bytes(take(&mut bytes)?),
            wide: u32::from_le_bytes(take(&mut bytes)?),
            crc: u32::from_le_bytes(take(&mut bytes)?),
            stamp: (
                u64::from_le_bytes(take(&mut bytes)?),
                i128::from_le_bytes(take(&mut bytes)?),
            ),
        })
    }

    /// All entries of a file. `None`: they are not those of the header, or claim more than a shard can have.
    pub(super) fn decode_all(bytes: &[u8], header: &Header) -> Option<Vec<Self>> {
        if crc32fast::hash(bytes) != header.crc {
            return None;
        }
        let (entries, rest) = bytes.as_chunks::<ENTRY>();
        let fits = |entry: &Self| entry.rows <= header.shard_size && entry.wide <= entry.rows;
        let entries: Option<Vec<Self>> = entries
            .iter()
            .map(|bytes| Self::decode(bytes).filter(fits))
            .collect();
        entries.filter(|entries| rest.is_empty() && entries.is_sorted_by(|a, b| a.shard < b.shard))
    }

    /// Octets of its block.
    pub(super) fn len(&self) -> usize {
        // Both are bounded by the messages of a shard.
        let octets =
            |count: u32, size: usize| usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size);
        octets(self.rows, ROW).saturating_add(octets(self.wide, WIDE))
    }

    /// Reads the octets of its block. `None`: they are not what was written, or no messages of the shard.
    pub(super) fn block(&self, bytes: &[u8], shard_size: u32) -> Option<Loose> {
        if bytes.len() != self.len() || crc32fast::hash(bytes) != self.crc {
            return None;
        }
        let (rows, wide) = bytes.split_at_checked(bytes.len() - WIDE * usize::try_from(self.wide).ok()?)?;
        let (rows, _) = rows.as_chunks::<ROW>();
        // The iterator knows its length, so that the rows are written where they stay.
        let rows: Arc<[Row]> = rows.iter().map(decode_row).collect();
        let (wide, _) = wide.as_chunks::<WIDE>();
        let wide: Vec<[u64; 4]> = wide.iter().map(decode_wide).collect();
        let mut last = 0;
        let good = rows.iter().all(|row| {
            let ascends = core::mem::replace(&mut last, row.uid.0) < row.uid.0;
            let index = row.keywords.0 & !KeywordSet::WIDE;
            ascends
                && row.uid.0 / shard_size.max(1) == self.shard
                && (1..LAST_MODSEQ).contains(&row.modseq.0)
                && row.zone.unsigned_abs() < 1_440
                && SystemFlags::ALL.contains(row.flags)
                && (row.keywords.0 == index || index < wide.len() as u64)
        });
        good.then_some(Loose { rows, wide })
    }
}

/// Appends the block of these rows, whose keywords are those of the mailbox, and says what it is of.
pub(super) fn encode_block(
    shard: u32,
    stamp: Stamp,
    rows: &[Row],
    keywords: &Keywords,
    out: &mut Vec<u8>,
) -> Entry {
    let begun = out.len();
    let mut wide: Vec<[u64; 4]> = Vec::new();
    out.reserve(rows.len() * ROW);
    for row in rows {
        let mut set = row.keywords.0;
        if set & KeywordSet::WIDE != 0 {
            set = KeywordSet::WIDE | wide.len() as u64;
            wide.push(keywords.bits(row.keywords));
        }
        encode_row(row, set, out);
    }
    for word in wide.iter().flatten() {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Entry {
        shard,
        rows: count(rows.len()),
        wide: count(wide.len()),
        crc: crc32fast::hash(out.get(begun..).unwrap_or_default()),
        stamp,
    }
}

fn encode_row(row: &Row, keywords: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&row.date.to_le_bytes());
    out.extend_from_slice(&row.modseq.0.to_le_bytes());
    out.extend_from_slice(&keywords.to_le_bytes());
    out.extend_from_slice(&row.uid.0.to_le_bytes());
    out.extend_from_slice(&row.size.to_le_bytes());
    out.extend_from_slice(&row.save_date.to_le_bytes());
    out.extend_from_slice(&row.zone.to_le_bytes());
    out.extend_from_slice(&[row.flags.0, 0]);
}

fn decode_row(bytes: &[u8; ROW]) -> Row {
    let mut rest = bytes.as_slice();
    Row {
        date: i64::from_le_bytes(front(&mut rest)),
        modseq: ModSeq(u64::from_le_bytes(front(&mut rest))),
        keywords: KeywordSet(u64::from_le_bytes(front(&mut rest))),
        uid: Uid(u32::from_le_bytes(front(&mut rest))),
        size: u32::from_le_bytes(front(&mut rest)),
        save_date: u32::from_le_bytes(front(&mut rest)),
        zone: i16::from_le_bytes(front(&mut rest)),
        flags: SystemFlags(u8::from_le_bytes(front(&mut rest))),
    }
}

fn decode_wide(bytes: &[u8; WIDE]) -> [u64; 4] {
    let mut rest = bytes.as_slice();
    [(); 4].map(|()| u64::from_le_bytes(front(&mut rest)))
}

/// What is wrong with a file, for [`crate::care::fsck`]. `shard` gives the stamp of a shard's directory, if it is certain,
/// and the names in it with their bitmaps, ascending. A file of another directory is believed by nobody, and is not wrong.
pub(crate) fn flaw(
    octets: &[u8],
    inode: u64,
    shard: impl Fn(u32) -> Option<(Stamp, Vec<(Row, [u64; 4])>)>,
) -> Option<String> {
    let Some(header) = octets.get(..HEADER).and_then(Header::decode) else {
        return Some("its head cannot be read".to_owned());
    };
    if header.inode != inode {
        return None;
    }
    let entries = usize::try_from(header.entries)
        .unwrap_or(usize::MAX)
        .saturating_mul(ENTRY);
    let begin = HEADER.saturating_add(entries);
    let entries = octets
        .get(HEADER..begin)
        .and_then(|octets| Entry::decode_all(octets, &header));
    let Some(entries) = entries else {
        return Some("its list of shards cannot be read".to_owned());
    };
    let mut at = begin;
    for entry in entries {
        let end = at.saturating_add(entry.len());
        let block = octets
            .get(at..end)
            .and_then(|block| entry.block(block, header.shard_size));
        let Some(block) = block else {
            return Some(format!("its rows of shard {} cannot be read", entry.shard));
        };
        at = end;
        let bits = |row: &Row| match row.keywords.0 {
            set if set & KeywordSet::WIDE == 0 => [set, 0, 0, 0],
            set => usize::try_from(set & !KeywordSet::WIDE)
                .ok()
                .and_then(|index| block.wide.get(index).copied())
                .unwrap_or_default(),
        };
        let plain = |row: &Row| Row {
            keywords: KeywordSet(0),
            ..*row
        };
        // Another stamp: the shard has changed since, and is listed.
        let Some((_, names)) = shard(entry.shard).filter(|(stamp, _)| *stamp == entry.stamp) else {
            continue;
        };
        let cached = block.rows.iter().map(|row| (plain(row), bits(row)));
        if !cached.eq(names.iter().map(|(row, bits)| (plain(row), *bits))) {
            return Some(format!(
                "its rows of shard {} are not the names that lie in it",
                entry.shard
            ));
        }
    }
    None
}

/// Takes octets off the front of what has enough of them.
fn front<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    take(bytes).unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: Header = Header {
        entries: 3,
        inode: 1 << 40,
        id: 17,
        shard_size: 1_000,
        boot: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        written: -5,
        crc: 9,
    };

    #[test]
    fn headers_come_back_and_any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = HEAD.encode();
        assert_eq!((bytes.len(), Header::decode(&bytes)), (HEADER, Some(HEAD)));
        for at in 0..HEADER * 8 {
            let mut torn = bytes.clone();
            torn[at / 8] ^= 1 << (at % 8);
            assert_eq!(Header::decode(&torn), None, "bit {at}");
        }
        for len in 0..HEADER {
            assert_eq!(Header::decode(&bytes[..len]), None);
        }
        assert_eq!(Header::decode(&[bytes.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn entries_come_back_if_they_ascend_and_fit() {
        let entry = |shard, rows, wide| Entry {
            shard,
            rows,
            wide,
            crc: 7,
            stamp: (u64::MAX, -1),
        };
        let read = |entries: &[Entry]| {
            let mut bytes = Vec::new();
            entries.iter().for_each(|entry| entry.encode(&mut bytes));
            let crc = crc32fast::hash(&bytes);
            Entry::decode_all(&bytes, &Header { crc, ..HEAD })
        };
        let good = [entry(0, 1_000, 0), entry(1, 1, 1), entry(9, 0, 0)];
        assert_eq!(read(&good), Some(good.to_vec()));
        for bad in [
            [entry(1, 1, 0), entry(1, 1, 0)],
            [entry(2, 1, 0), entry(1, 1, 0)],
            [entry(0, 1_001, 0), entry(1, 1, 0)],
            [entry(0, 3, 4), entry(1, 1, 0)],
        ] {
            assert_eq!(read(&bad), None);
        }
        assert_eq!(Entry::decode_all(&[], &HEAD), None);
    }

    fn any_rows() -> impl Strategy<Value = (Vec<Row>, Keywords)> {
        let numbers = (any::<i64>(), -1_439_i16..1_440, any::<u32>(), any::<u32>());
        let rest = (1_u64..LAST_MODSEQ, 0_u8..32, any::<[u64; 4]>(), any::<bool>());
        let rows = proptest::collection::btree_map(5_000_u32..6_000, (numbers, rest), 0..20);
        rows.prop_map(|rows| {
            let mut keywords = Keywords::default();
            let rows = rows.into_iter().map(|(uid, (numbers, rest))| {
                let ((date, zone, size, save_date), (modseq, flags, bits, narrow)) = (numbers, rest);
                let bits = if narrow { [bits[0] >> 1, 0, 0, 0] } else { bits };
                Row {
                    date,
                    modseq: ModSeq(modseq),
                    keywords: keywords.intern(bits),
                    uid: Uid(uid),
                    size,
                    save_date,
                    zone,
                    flags: SystemFlags(flags),
                }
            });
            (rows.collect(), keywords)
        })
    }

    proptest! {
        #[test]
        fn blocks_come_back((rows, keywords) in any_rows()) {
            let mut bytes = Vec::new();
            let entry = encode_block(5, (1, 2), &rows, &keywords, &mut bytes);
            let block = entry.block(&bytes, 1_000);
            prop_assert!(block.is_some());
            let block = block.expect("a block");
            prop_assert_eq!(block.rows.len(), rows.len());
            for (back, row) in block.rows.iter().zip(&rows) {
                let bits = match back.keywords.0 {
                    set if set & KeywordSet::WIDE == 0 => [set, 0, 0, 0],
                    set => block.wide[usize::try_from(set & !KeywordSet::WIDE).expect("an index")],
                };
                prop_assert_eq!(bits, keywords.bits(row.keywords));
                prop_assert_eq!(Row { keywords: row.keywords, ..*back }, *row);
            }
        }

        #[test]
        fn a_block_with_one_wrong_octet_is_none(
            (rows, keywords) in any_rows(), at in any::<prop::sample::Index>(), by in 1_u8.., cut in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            let entry = encode_block(5, (1, 2), &rows, &keywords, &mut bytes);
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= by;
            }
            prop_assert_eq!(entry.block(&bytes, 1_000), None);
        }

        #[test]
        fn octets_that_are_no_rows_are_none_although_their_sum_is_right(bytes in any::<[u8; 80]>()) {
            let entry = Entry { shard: 5, rows: 2, wide: 0, crc: crc32fast::hash(&bytes), stamp: (1, 2) };
            if let Some(block) = entry.block(&bytes, 1_000) {
                prop_assert!(block.rows.iter().all(|row| (5_000..6_000).contains(&row.uid.0)));
                prop_assert!(block.rows.iter().all(|row| row.keywords.0 & KeywordSet::WIDE == 0));
            }
        }
    }
}
