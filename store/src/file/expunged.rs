//! The file `expunged` of a mailbox: which UIDs vanished when, for QRESYNC (RFC 7162 §3.2.5.2).
//!
//! Records of 20 octets, numbers little-endian:
//!
//! ```text
//! 0  8  modseq
//! 8  4  first UID
//! 12 4  last UID
//! 16 4  CRC-32 (IEEE) of octets 0 to 15
//! ```
//!
//! The first record is the head: its MODSEQ is the floor (what vanished up to it need not be recorded), its UIDs are 0.
//! It rises when the older half of the log is dropped, and at every start of the machine, see `vanished`.
//! Records are added under the naming lock, before the names are removed, and synced with the shards. A record that is
//! torn, or whose UID exists, does not count.

use rmail_core::mailbox::{ModSeq, Uid, UidSet};

use super::state::take;

/// Octets of a record.
pub const RECORD: usize = 20;

/// UIDs that vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expunged {
    /// When.
    pub modseq: ModSeq,
    /// First UID of the range; 0 in the head.
    pub first: Uid,
    /// Last UID of the range.
    pub last: Uid,
}

impl Expunged {
    /// The head of a log with this floor.
    #[must_use]
    pub fn head(floor: ModSeq) -> Self {
        Self {
            modseq: floor,
            first: Uid(0),
            last: Uid(0),
        }
    }

    /// The record's octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD);
        out.extend_from_slice(&self.modseq.0.to_le_bytes());
        out.extend_from_slice(&self.first.0.to_le_bytes());
        out.extend_from_slice(&self.last.0.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = body;
        Some(Self {
            modseq: ModSeq(u64::from_le_bytes(take(&mut rest)?)),
            first: Uid(u32::from_le_bytes(take(&mut rest)?)),
            last: Uid(u32::from_le_bytes(take(&mut rest)?)),
        })
    }
}

/// The records for these UIDs.
#[must_use]
pub fn records(modseq: ModSeq, uids: &UidSet) -> Vec<Expunged> {
    uids.ranges()
        .map(|range| Expunged {
            modseq,
            first: Uid(*range.start()),
            last: Uid(*range.end()),
        })
        .collect()
}

/// The whole records of a log; torn ones are left out. The head, if it is whole, is the first.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<Expunged> {
    bytes.chunks_exact(RECORD).filter_map(Expunged::decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_records_come_back() {
        let uids = UidSet::from_ranges([(3, 5), (9, 9)]);
        let mut all = vec![Expunged::head(ModSeq(2))];
        all.extend(records(ModSeq(8), &uids));
        assert_eq!(all.len(), 3);
        let bytes: Vec<u8> = all.iter().flat_map(Expunged::encode).collect();
        assert_eq!(bytes.len(), 3 * RECORD);
        assert_eq!(decode(&bytes), all);
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 4;
            let mut left = all.clone();
            left.remove(at / RECORD);
            assert_eq!(decode(&torn), left);
            assert_eq!(decode(&bytes[..at]), all[..at / RECORD]);
        }
    }
}
