//! The parsed cache: what clients ask of messages again and again ([`Parsed`]), so that lists of messages are made without
//! opening one.
//!
//! It lies beside the shards, not in them, because a shard's ctime says whether its names have changed: the file
//! `parsed/{NNNNNN}` of a mailbox has the records of the messages of shard NNNNNN. It is never synced, and may be deleted
//! at any time, also under running processes.
//!
//! ```text
//! file   = head slots *record            ; all numbers are little-endian
//! head   =  0  4  "rmc1"
//!           4  4  number of the shard
//!           8  4  number of slots: UIDs of a shard
//!          12  4  0
//!          16  8  ctime of this file when it was made, nanoseconds
//!          24  8  inode number of this file
//!          32 16  identity: SHA-256, cut, of all this and of account, mailbox id and UIDVALIDITY
//!          48 12  0
//!          60  4  CRC-32 (IEEE) of octets 0 to 59
//! slots  =  8 octets for each UID of the shard, ascending: offset and length of its record; 0: there is none
//! record =  0  4  "rmp1"
//!           4  4  octets of the record
//!           8 16  identity of the file
//!          24  4  UID
//!          28  4  octets of the message
//!          32  8  INTERNALDATE
//!          40  4  SAVEDATE
//!          44  2  zone of INTERNALDATE
//!          46  2  0
//!          48  8  offset of the record
//!          56     what [`Parsed::octets`] says
//!          -4  4  CRC-32 (IEEE) of all before
//! ```
//!
//! # Why it is never wrong
//!
//! * A record says of itself which message it is of: by UID, size and dates of the row, and by the identity, which holds
//!   account, mailbox and UIDVALIDITY, and the file's own inode and time of birth. So a record of another message, of a
//!   mailbox that was rebuilt, of a file that was copied, restored or linked elsewhere, or from blocks that were a file
//!   before a power cut, is none. Nobody outside knows the identity: a message cannot hold a record.
//! * A slot is a hint. What it points to is a whole record of that message at that place, or counts as nothing.
//! * Records are written behind the end of the file, under its own flock, and never changed; slots come after them. Who dies
//!   in between leaves octets that nothing points to.
//! * Too many of those (expunged messages leave theirs too) are left behind when a file is written anew and takes the old
//!   one's name. Readers of the old file keep it open; writers look, under the lock, whether theirs still has the name.
//! * It is written after the message is published and synced, so there is never a record of a UID that is given again.

pub(crate) mod check;
mod files;
mod read;
mod trim;
mod write;

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::mailbox::{MailboxId, Row, UidValidity};
use rmail_core::mime::parsed::Parsed;
use sha2::{Digest as _, Sha256};

pub(super) use files::Files;

use super::state::take;

/// The directory of a mailbox that holds the files.
pub const DIR: &str = "parsed";

const FILE_MAGIC: [u8; 4] = *b"rmc1";
const RECORD_MAGIC: [u8; 4] = *b"rmp1";
/// Octets of the head.
const HEAD: usize = 64;
/// Octets of a slot.
const SLOT: usize = 8;
/// Octets of a record before and behind what is kept.
const AROUND: usize = 56 + 4;
/// Octets of a record at most.
const MAX_RECORD: usize = Parsed::MAX + AROUND;

/// What a file and its records have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity([u8; 16]);

/// Whose file it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owner {
    account: AccountName,
    id: MailboxId,
    uid_validity: UidValidity,
    shard: u32,
}

/// Which file it is among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Birth {
    ctime: u64,
    inode: u64,
}

/// Where a record is; of length 0: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    offset: u32,
    len: u32,
}

impl Owner {
    /// The head of its file, and the identity in it.
    fn head(&self, slots: u32, birth: Birth) -> ([u8; HEAD], Identity) {
        let mut out = Vec::with_capacity(HEAD);
        out.extend(FILE_MAGIC);
        out.extend(self.shard.to_le_bytes());
        out.extend(slots.to_le_bytes());
        out.extend([0; 4]);
        out.extend(birth.ctime.to_le_bytes());
        out.extend(birth.inode.to_le_bytes());
        let hash: [u8; 32] = Sha256::new()
            .chain_update(&out)
            .chain_update(self.id.0.to_le_bytes())
            .chain_update(self.uid_validity.0.to_le_bytes())
            .chain_update(self.account.to_string())
            .finalize()
            .into();
        let identity = Identity(hash.first_chunk().copied().unwrap_or_default());
        out.extend(identity.0);
        out.resize(HEAD - 4, 0);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        let mut head = [0; HEAD];
        head.iter_mut().zip(out).for_each(|(to, from)| *to = from);
        (head, identity)
    }

    /// The identity of a file with this inode number that begins with these octets; `None`: it is not ours.
    fn recognise(&self, slots: u32, inode: u64, octets: &[u8]) -> Option<Identity> {
        let head = octets.get(..HEAD)?;
        let mut rest = head.get(16..)?;
        let ctime = u64::from_le_bytes(take(&mut rest)?);
        let (wanted, identity) = self.head(slots, Birth { ctime, inode });
        (head == wanted).then_some(identity)
    }
}

/// Where the records begin.
fn start(slots: u32) -> u64 {
    HEAD as u64 + SLOT as u64 * u64::from(slots)
}

fn decode_slots(octets: &[u8], slots: u32) -> Vec<Slot> {
    let mut all: Vec<Slot> = octets
        .chunks_exact(SLOT)
        .map(|mut octets| Slot {
            offset: take(&mut octets).map_or(0, u32::from_le_bytes),
            len: take(&mut octets).map_or(0, u32::from_le_bytes),
        })
        .collect();
    all.resize(usize::try_from(slots).unwrap_or(0), Slot::default());
    all
}

impl Slot {
    fn encode(self) -> [u8; SLOT] {
        (u64::from(self.offset) | u64::from(self.len) << 32).to_le_bytes()
    }

    /// Whether a record can be there at all.
    fn is_plausible(self, slots: u32) -> bool {
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        (AROUND..=MAX_RECORD).contains(&len) && u64::from(self.offset) >= start(slots)
    }

    fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

/// A record up to what is kept.
fn record_head(identity: &Identity, row: &Row, offset: u32, len: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_RECORD.min(usize::try_from(len).unwrap_or(0)));
    out.extend(RECORD_MAGIC);
    out.extend(len.to_le_bytes());
    out.extend(identity.0);
    out.extend(row.uid.0.to_le_bytes());
    out.extend(row.size.to_le_bytes());
    out.extend(row.date.to_le_bytes());
    out.extend(row.save_date.to_le_bytes());
    out.extend(row.zone.to_le_bytes());
    out.extend([0; 2]);
    out.extend(u64::from(offset).to_le_bytes());
    out
}

/// The record of a message, for this place.
fn encode_record(identity: &Identity, row: &Row, offset: u32, parsed: &Parsed) -> Vec<u8> {
    let len = u32::try_from(parsed.octets().len() + AROUND).unwrap_or(u32::MAX);
    let mut out = record_head(identity, row, offset, len);
    out.extend_from_slice(parsed.octets());
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out
}

/// What is kept of a message, if that is its record, and whole.
fn decode_record(identity: &Identity, row: &Row, offset: u32, record: &Chunk) -> Option<Parsed> {
    let len = u32::try_from(record.len()).ok()?;
    let head = record_head(identity, row, offset, len);
    let (body, crc) = record.split_last_chunk::<4>()?;
    if !body.starts_with(&head) || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let parsed = Parsed::decode(record.slice(head.len()..body.len()))?;
    (parsed.size() == u64::from(row.size)).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use rmail_core::addr::Address;
    use rmail_core::mailbox::{KeywordSet, ModSeq, SystemFlags, Uid};
    use rmail_core::mime::digest::Digest;

    use super::*;

    const BIRTH: Birth = Birth { ctime: 5, inode: 7 };

    fn owner(name: &str) -> Owner {
        Owner {
            account: Address::parse(name).expect("an address").canonical(),
            id: MailboxId(1),
            uid_validity: UidValidity(2),
            shard: 3,
        }
    }

    fn row() -> Row {
        Row {
            date: -1,
            modseq: ModSeq(77),
            keywords: KeywordSet(0),
            uid: Uid(3_042),
            size: 14,
            save_date: 9,
            zone: -90,
            flags: SystemFlags::SEEN,
        }
    }

    fn parsed() -> Parsed {
        let message = b"Subject: s\r\n\r\n";
        let mut digest = Digest::new(usize::MAX);
        digest.push(message);
        digest.finish(message).parsed
    }

    #[test]
    fn a_file_is_known_by_its_owner_and_its_birth() {
        let owner_a = owner("a@x.y");
        let (head, identity) = owner_a.head(10, BIRTH);
        assert_eq!(owner_a.recognise(10, 7, &head), Some(identity));
        assert_eq!(owner_a.recognise(10, 8, &head), None, "a copy");
        assert_eq!(owner_a.recognise(11, 7, &head), None);
        for other in [
            owner("b@x.y"),
            Owner {
                id: MailboxId(3),
                ..owner_a.clone()
            },
            Owner {
                uid_validity: UidValidity(3),
                ..owner_a.clone()
            },
            Owner {
                shard: 4,
                ..owner_a.clone()
            },
        ] {
            assert_eq!(other.recognise(10, 7, &head), None);
            assert_ne!(other.head(10, BIRTH).1, identity);
        }
        assert_ne!(owner_a.head(10, Birth { ctime: 6, ..BIRTH }).1, identity);
        for at in 0..HEAD * 8 {
            let mut torn = head;
            torn[at / 8] ^= 1 << (at % 8);
            assert_eq!(owner_a.recognise(10, 7, &torn), None, "bit {at}");
        }
        (0..HEAD).for_each(|len| assert_eq!(owner_a.recognise(10, 7, &head[..len]), None));
    }

    #[test]
    fn a_record_is_known_by_its_message_and_its_place() {
        let (_, identity) = owner("a@x.y").head(10, BIRTH);
        let octets = encode_record(&identity, &row(), 500, &parsed());
        let chunk = Chunk::from(octets.clone());
        assert_eq!(decode_record(&identity, &row(), 500, &chunk), Some(parsed()));
        let (_, other) = owner("b@x.y").head(10, BIRTH);
        assert_eq!(decode_record(&other, &row(), 500, &chunk), None);
        assert_eq!(decode_record(&identity, &row(), 501, &chunk), None);
        for other in [
            Row {
                uid: Uid(3_043),
                ..row()
            },
            Row { size: 15, ..row() },
            Row { date: 1, ..row() },
            Row {
                save_date: 10,
                ..row()
            },
            Row { zone: 90, ..row() },
        ] {
            assert_eq!(decode_record(&identity, &other, 500, &chunk), None);
        }
        let flagged = Row {
            modseq: ModSeq(78),
            flags: SystemFlags::FLAGGED,
            ..row()
        };
        assert_eq!(decode_record(&identity, &flagged, 500, &chunk), Some(parsed()));
        for at in 0..octets.len() * 8 {
            let mut torn = octets.clone();
            torn[at / 8] ^= 1 << (at % 8);
            assert_eq!(
                decode_record(&identity, &row(), 500, &Chunk::from(torn)),
                None,
                "bit {at}"
            );
        }
        for len in 0..octets.len() {
            let cut = Chunk::copy_from(&octets[..len]);
            assert_eq!(decode_record(&identity, &row(), 500, &cut), None);
        }
    }

    #[test]
    fn slots_come_back_and_missing_ones_are_empty() {
        let slot = Slot { offset: 80, len: 70 };
        let octets = [slot.encode(), [0; SLOT]].concat();
        assert_eq!(
            decode_slots(&octets[..12], 3),
            [slot, Slot::default(), Slot::default()]
        );
        assert!(slot.is_plausible(2) && !slot.is_plausible(3));
        assert!(
            !Slot {
                len: u32::MAX,
                ..slot
            }
            .is_plausible(2)
                && !Slot::default().is_plausible(0)
        );
    }
}
