//! The file `state` of a mailbox: 64 octets that writers keep under the naming lock, never synced (except when several
//! hosts share the mail_root). The naming lock is an exclusive flock on this file.
//!
//! All numbers are little-endian.
//!
//! ```text
//!  0  4  "rms1"
//!  4  4  gone: 1 if the mailbox has been deleted, else 0
//!  8 16  boot_id of the machine's present start
//! 24  8  inode number of this file
//! 32  4  uidnext: the next UID; names at or above it are not published
//! 36  4  recent_from: messages from this UID on are \Recent for the next SELECT
//! 40  8  begun: MODSEQ of the latest change that was begun
//! 48  8  done: MODSEQ of the latest change that was finished
//! 56  4  status: CRC-32 of the present `status.json`, so that a process notices that it has an old one
//! 60  4  CRC-32 (IEEE) of octets 0 to 59
//! ```
//!
//! It is believed if the CRC is right, the inode number is the file's own, and the boot_id is the present one (not
//! compared when hosts share). Whoever takes the lock looks whether the file still has its name: it may be removed, or
//! replaced by a restored copy, under running processes (at the moment of a hold that is not safe). Otherwise the numbers begin anew at the ceilings of `status.json`.

use rmail_core::mailbox::{ModSeq, Uid};

/// Octets of the file.
pub const LEN: usize = 64;

const MAGIC: [u8; 4] = *b"rms1";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The mailbox has been deleted.
    pub gone: bool,
    /// Start of the machine in which this was written.
    pub boot: u128,
    /// The file's own inode number.
    pub inode: u64,
    /// The next UID.
    pub uid_next: Uid,
    /// Messages from here on have not been claimed as `\Recent`.
    pub recent_from: Uid,
    /// Latest change that was begun.
    pub begun: ModSeq,
    /// Latest change that was finished. A snapshot of this MODSEQ is valid if it is also `begun`.
    pub done: ModSeq,
    /// CRC-32 of `status.json`.
    pub status: u32,
}

impl State {
    /// The file's octets.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&u32::from(self.gone).to_le_bytes());
        out.extend_from_slice(&self.boot.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.extend_from_slice(&self.uid_next.0.to_le_bytes());
        out.extend_from_slice(&self.recent_from.0.to_le_bytes());
        out.extend_from_slice(&self.begun.0.to_le_bytes());
        out.extend_from_slice(&self.done.0.to_le_bytes());
        out.extend_from_slice(&self.status.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut bytes = [0; LEN];
        bytes.iter_mut().zip(out).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads the file's octets. `None`: cut, torn, or not ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if bytes.len() != LEN || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(&MAGIC)?;
        let gone = match u32::from_le_bytes(take(&mut rest)?) {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self {
            gone,
            boot: u128::from_le_bytes(take(&mut rest)?),
            inode: u64::from_le_bytes(take(&mut rest)?),
            uid_next: Uid(u32::from_le_bytes(take(&mut rest)?)),
            recent_from: Uid(u32::from_le_bytes(take(&mut rest)?)),
            begun: ModSeq(u64::from_le_bytes(take(&mut rest)?)),
            done: ModSeq(u64::from_le_bytes(take(&mut rest)?)),
            status: u32::from_le_bytes(take(&mut rest)?),
        })
    }
}

/// Takes so many octets off the front.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: State = State {
        gone: false,
        boot: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        inode: 77,
        uid_next: Uid(5),
        recent_from: Uid(3),
        begun: ModSeq(1 << 40),
        done: ModSeq(12),
        status: 9,
    };

    #[test]
    fn state_comes_back() {
        for state in [STATE, State { gone: true, ..STATE }] {
            assert_eq!(State::decode(&state.encode()), Some(state));
        }
        let bytes = STATE.encode();
        assert_eq!(bytes.get(..8), Some(&b"rms1\0\0\0\0"[..]));
        assert_eq!(bytes.get(24), Some(&77));
        assert_eq!(bytes.get(32..40), Some(&[5, 0, 0, 0, 3, 0, 0, 0][..]));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = STATE.encode();
        for at in 0..LEN * 8 {
            let mut torn = bytes;
            torn[at / 8] ^= 1 << (at % 8);
            assert_eq!(State::decode(&torn), None, "bit {at}");
        }
        for len in 0..LEN {
            assert_eq!(State::decode(&bytes[..len]), None);
        }
        assert_eq!(State::decode(&[0; LEN]), None);
        assert_eq!(State::decode(&[bytes.as_slice(), &[0]].concat()), None);
    }
}
