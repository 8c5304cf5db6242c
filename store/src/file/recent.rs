//! The file `recent` of a mailbox: the latest changes, so that a process that has the rows of a little while ago need not
//! look at every shard. A cache: it may be deleted at any time, and what it does not tell is read from the shards.
//!
//! It is written only while several processes use the mailbox: by one that has met another's changes, for its next
//! [`WRITTEN`] changes. Who had to read the shards because nothing was written takes a MODSEQ for nothing, so that the
//! one who writes meets that.
//!
//! ```text
//! file    = *record            ; one behind the other, and from the start again before [`BOUND`]
//! record  = head *line crc
//! head    = "rmj1" length from to     ; length: octets of the record, 4; MODSEQs before and after the change, 8 each
//! line    = ( "+" name / "-" uid ) LF ; a name that a message has now, see [`super::names`]; a UID that has gone
//! crc     = CRC-32 (IEEE) of boot_id (16), inode number of `state` (8), head and lines
//! ```
//!
//! All numbers are little-endian, but `uid`, which is decimal digits. A record is written under the naming lock, after
//! the write of `state` that ends the change: what is recorded has happened. MODSEQs are never given twice, so at any
//! place a record that goes on from one's own MODSEQ is the right one. Whoever takes the lock follows the records from
//! where its last one ended, or else from the start, and goes on writing behind the last.

use std::collections::BTreeMap;

use rmail_core::mailbox::{ModSeq, Row, Uid};

use crate::disk::{Disk, Mode};

use super::cache::{intern, width};
use super::hold::Hold;
use super::mailbox::guard;
use super::names;
use super::shards::Edits;
use super::state::take;

/// The file.
pub(super) const NAME: &str = "recent";

const MAGIC: [u8; 4] = *b"rmj1";
const HEAD: usize = 24;
const CRC: usize = 4;

/// Octets of the file at most.
const BOUND: usize = 256 * 1024;

/// Octets of a record at most: what changes more is not recorded.
const RECORD: usize = 64 * 1024;

/// Octets read at once: more than a hundred changes of one flag.
const STEP: usize = 16 * 1024;

/// Changes that are recorded after another process's was met.
const WRITTEN: u32 = 1_024;

/// What a process knows of the file, under the naming lock.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The MODSEQ when this process last had the lock. 0: it never had.
    seen: ModSeq,
    /// Behind the record that led there.
    offset: usize,
    /// Changes that are still to be recorded.
    left: u32,
}

impl Recent {
    /// This process has the lock, or has just finished a change under it.
    pub(super) fn saw(&mut self, done: ModSeq) {
        self.seen = done;
    }
}

/// A change as recorded.
#[derive(Debug, PartialEq, Eq)]
struct Record<'a> {
    from: ModSeq,
    to: ModSeq,
    lines: &'a str,
}

/// Whose file it is: what the CRC begins with.
fn owner(boot: u128, inode: u64) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&boot.to_le_bytes());
    crc.update(&inode.to_le_bytes());
    crc
}

impl Record<'_> {
    fn encode(&self, mut crc: crc32fast::Hasher) -> Option<Vec<u8>> {
        let length = HEAD + self.lines.len() + CRC;
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
        out.extend_from_slice(&self.from.0.to_le_bytes());
        out.extend_from_slice(&self.to.0.to_le_bytes());
        out.extend_from_slice(self.lines.as_bytes());
        crc.update(&out);
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        (length <= RECORD).then_some(out)
    }
}

/// The octets of the record that begins here. `None`: none does.
fn length(head: &[u8]) -> Option<usize> {
    let mut rest = head.strip_prefix(&MAGIC)?;
    let length = u32::from_le_bytes(take(&mut rest)?);
    let length = usize::try_from(length).ok()?;
    (HEAD + CRC..=RECORD).contains(&length).then_some(length)
}

/// The record that these octets are.
fn decode(bytes: &[u8], mut crc: crc32fast::Hasher) -> Option<Record<'_>> {
    let (body, sum) = bytes.split_last_chunk::<CRC>()?;
    crc.update(body);
    if crc.finalize() != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = body.get(MAGIC.len() + 4..)?;
    Some(Record {
        from: ModSeq(u64::from_le_bytes(take(&mut rest)?)),
        to: ModSeq(u64::from_le_bytes(take(&mut rest)?)),
        lines: core::str::from_utf8(rest).ok()?,
    })
}

/// A row with the bitmap of its keywords, or none: the message has gone.
type Now = Option<(Row, [u64; 4])>;

/// What a line says of a UID.
fn change(line: &str) -> Option<(Uid, Now)> {
    if let Some(name) = line.strip_prefix('+') {
        let (row, bits) = names::decode(name)?;
        return Some((row.uid, Some((row, bits))));
    }
    let uid: u32 = line.strip_prefix('-')?.parse().ok()?;
    Some((Uid(uid), None))
}

/// Octets that were read, and where they begin.
#[derive(Default)]
struct Window {
    start: usize,
    bytes: Vec<u8>,
}

impl Window {
    fn from(&self, offset: usize) -> &[u8] {
        let at = offset.checked_sub(self.start);
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }

    /// The record that begins here, if all of it was read.
    fn record(&self, offset: usize) -> Option<&[u8]> {
        let bytes = self.from(offset);
        bytes.get(..length(bytes)?)
    }

    /// Reads on from here.
    async fn read<D: Disk>(&mut self, disk: &D, file: &D::File, offset: usize) -> Option<()> {
        let wanted = length(self.from(offset)).unwrap_or_default().max(STEP);
        let (mut bytes, mut have) = (vec![0; wanted], 0);
        while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match disk.read_at(file, rest, (offset + have) as u64).await.ok()? {
                0 => break,
                count => have += count,
            }
        }
        bytes.truncate(have);
        (self.start, self.bytes) = (offset, bytes);
        Some(())
    }
}

impl<D: Disk> Hold<'_, D> {
    /// Looks whether others have changed something since this process had the lock, and enters it if the file tells all
    /// of it. To be called once the lock is taken and `state` is right.
    pub(super) async fn catch_up(&mut self) {
        let (seen, done) = (self.core.recent.seen, self.state.done);
        self.core.recent.seen = done;
        if seen == done || seen == ModSeq(0) || self.store.options().shared_by_hosts {
            return;
        }
        self.core.recent.left = WRITTEN;
        match self.follow_records(seen).await {
            Some((offset, edits)) => {
                self.core.recent.offset = offset;
                if self.core.shards.is_some() && self.core.modseq == seen {
                    self.enter(&edits);
                    self.store.announce(self.mailbox, done);
                }
            }
            None => {
                // Perhaps the file was removed, and others write to a new one.
                self.core.recent.offset = 0;
                *guard(&self.mailbox.recent) = None;
            }
        }
    }

    /// The shards had to be read although this process had them a little while ago: takes a MODSEQ for nothing, so that
    /// the others record their next changes. What fails here costs time only.
    pub(super) async fn ask_for_records(&mut self) -> Option<()> {
        if self.store.options().shared_by_hosts {
            return None;
        }
        self.core.recent.left = WRITTEN;
        let from = self.state.done;
        let modseq = ModSeq(from.0 + 1);
        if modseq >= self.status().modseq_ceiling {
            return None;
        }
        self.begin(modseq).await.ok()?;
        self.finish().await.ok()?;
        self.record(from, &BTreeMap::new()).await;
        Some(())
    }

    /// Records a change that was just finished, if others may want it. What fails here costs them a look at the shards.
    pub(super) async fn record(&mut self, from: ModSeq, edits: &BTreeMap<u32, Edits>) {
        let Some(left) = self.core.recent.left.checked_sub(1) else {
            return;
        };
        self.core.recent.left = left;
        let mut lines = String::new();
        for (uid, row) in edits.values().flatten() {
            match row {
                Some(row) => {
                    lines.push('+');
                    lines.push_str(&self.name(row));
                }
                None => lines.push_str(&format!("-{}", uid.0)),
            }
            lines.push('\n');
            if lines.len() > RECORD {
                return;
            }
        }
        let (to, lines) = (self.state.done, lines.as_str());
        let Some(record) = (Record { from, to, lines }).encode(self.owner()) else {
            return;
        };
        let Some(file) = self.recent_file().await else {
            return;
        };
        let offset = self.core.recent.offset;
        let offset = if offset + record.len() > BOUND { 0 } else { offset };
        let written = self.store.disk().write_at(&file, &record, offset as u64).await;
        if written.is_ok() {
            self.core.recent.offset = offset + record.len();
        }
    }

    /// What changed since this MODSEQ, by shard, and where the last record ends. `None`: the file does not tell.
    async fn follow_records(&mut self, since: ModSeq) -> Option<(usize, BTreeMap<u32, Edits>)> {
        let file = self.recent_file().await?;
        let mut window = Window::default();
        let mut edits: BTreeMap<u32, Edits> = BTreeMap::new();
        let (mut modseq, mut offset) = (since, self.core.recent.offset);
        let mut from_start = offset == 0;
        while modseq < self.state.done {
            if window.record(offset).is_none() {
                window.read(self.store.disk(), &file, offset).await?;
            }
            let bytes = window.record(offset);
            let record = bytes.and_then(|bytes| decode(bytes, self.owner()));
            let goes_on = |record: &Record<'_>| record.from == modseq && record.to > modseq;
            let Some(record) = record.filter(goes_on) else {
                if from_start {
                    return None;
                }
                // The next one did not fit behind the last, or another process began anew.
                (offset, from_start) = (0, true);
                continue;
            };
            for line in record.lines.lines() {
                let (uid, row) = change(line)?;
                let row = match row {
                    Some((row, bits)) => Some(self.interned(row, bits).await?),
                    None => None,
                };
                edits.entry(self.store.shard(uid)).or_default().insert(uid, row);
            }
            modseq = record.to;
            offset += bytes.map_or(0, <[u8]>::len);
        }
        (modseq == self.state.done).then_some((offset, edits))
    }

    /// A row with the keywords of a bitmap, which are read first if they are new.
    async fn interned(&mut self, row: Row, bits: [u64; 4]) -> Option<Row> {
        if width(bits) > self.load_keywords(false).await.ok()?.names().len() {
            self.load_keywords(true).await.ok()?;
        }
        let (keywords, _) = self.core.keywords.as_mut()?;
        let keywords = intern(keywords, bits);
        Some(Row { keywords, ..row })
    }

    async fn recent_file(&self) -> Option<D::File> {
        if let Some(file) = guard(&self.mailbox.recent).clone() {
            return Some(file);
        }
        let opened = self.store.disk().open(&self.mailbox.dir, NAME, Mode::Create);
        let file = opened.await.ok()?;
        *guard(&self.mailbox.recent) = Some(file.clone());
        Some(file)
    }

    fn owner(&self) -> crc32fast::Hasher {
        owner(self.store.disk().boot_id(), self.mailbox.state().inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back_and_nothing_else_does(
            from in any::<u64>(),
            more in 1_u64..9,
            lines in "([+-][0-9a-z.+-]{1,40}\n){0,9}",
            boot in any::<u128>(),
            inode in any::<u64>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let record = Record { from: ModSeq(from), to: ModSeq(from.wrapping_add(more)), lines: &lines };
            let bytes = record.encode(owner(boot, inode)).expect("small");
            prop_assert_eq!(length(&bytes), Some(bytes.len()));
            let with_more = [bytes.as_slice(), b"rmj1"].concat();
            prop_assert_eq!(length(&with_more), Some(bytes.len()));
            prop_assert_eq!(decode(&bytes, owner(boot, inode)), Some(record));
            prop_assert_eq!(decode(&bytes, owner(boot ^ 1, inode)), None);
            prop_assert_eq!(decode(&bytes, owner(boot, inode ^ 1)), None);
            let mut torn = bytes.clone();
            let bit = flip.index(bytes.len() * 8);
            torn[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(length(&torn) != Some(bytes.len()) || decode(&torn, owner(boot, inode)).is_none());
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..cut], owner(boot, inode)), None);
            }
        }
    }

    #[test]
    fn lines_are_names_and_uids() {
        let name = "0000000042.1700000000+0060.10.11.77.s.2.eml";
        let (row, bits) = names::decode(name).expect("a name");
        assert_eq!(change(&format!("+{name}")), Some((Uid(42), Some((row, bits)))));
        assert_eq!(change("-7"), Some((Uid(7), None)));
        for bad in ["", "+", "-", "7", "-x", "-4294967296", "+0000000042"] {
            assert_eq!(change(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_record_has_no_length() {
        let record = Record {
            from: ModSeq(1),
            to: ModSeq(2),
            lines: "",
        };
        let bytes = record.encode(owner(1, 2)).expect("small");
        assert_eq!(length(&[0; STEP]), None);
        assert_eq!(length(&bytes[..7]), None);
        let mut large = bytes.clone();
        large[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(length(&large), None);
        let lines = "-1\n".repeat(RECORD / 3);
        let (from, to, lines) = (ModSeq(1), ModSeq(2), lines.as_str());
        assert_eq!(Record { from, to, lines }.encode(owner(1, 2)), None);
    }
}
