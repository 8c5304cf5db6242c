//! The file `usage` of an account: 64 octets that say what its messages take, kept under the file's own flock, never
//! synced. That lock is never held together with a naming lock, nor across a sync.
//!
//! All numbers are little-endian.
//!
//! ```text
//!  0  3  "rmu"
//!  3  1  flags: 1 = the sum is known; 2 = it may be too high, or the count that goes on will be
//!  4  4  epoch: odd while somebody counts
//!  8 16  boot_id of the machine's present start
//! 24  8  inode number of this file
//! 32  8  octets
//! 40  8  octets reserved since the count began
//! 48  4  messages
//! 52  4  messages reserved since the count began
//! 56  4  when the last count began: seconds since 1970 by the file system's clock; 0: never
//! 60  4  CRC-32 (IEEE) of octets 0 to 59
//! ```
//!
//! It is believed if the CRC is right, the inode number is the file's own, and the boot_id is the present one (not
//! compared when hosts share the mail_root). Otherwise the messages are counted when somebody wants to know. Removing
//! the file is safe.
//!
//! # How it stays right
//!
//! Who adds messages reserves their octets before they become visible, and gives back what does not; who removes messages
//! takes them off afterwards. Whoever dies in between leaves the sum too high, which the next count mends.
//!
//! A count reads the mailboxes one after the other while others go on. So that nothing is missed or counted twice, the
//! epoch rises when it begins and when it ends, and each writer looks at the epoch once more after it has begun to change
//! a mailbox (`begun` is written, see [`super::state`]): a count that begins later sees that mailbox only when the change
//! is done.
//!
//! * A reservation of an earlier epoch than the one seen then is renewed before anything becomes visible. So a count's
//!   sum, with all that was reserved since it began, is never too low.
//! * What was reserved, or removed, while a count went on may be in its sum or not: the sum is then marked as perhaps too
//!   high, and counting begins again.

use rmail_core::mailbox::Usage;

use super::state::take;

/// Octets of the file.
pub const LEN: usize = 64;

const MAGIC: [u8; 3] = *b"rmu";
const KNOWN: u8 = 1;
const UNSURE: u8 = 2;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The sum is known; otherwise the first count of this start of the machine goes on.
    pub known: bool,
    /// The sum may be too high; in an odd epoch: the one that is being counted will be.
    pub unsure: bool,
    /// Odd while somebody counts.
    pub epoch: u32,
    /// Start of the machine in which this was written.
    pub boot: u128,
    /// The file's own inode number.
    pub inode: u64,
    /// What the messages take, with all reservations. At most 2³² − 1 messages.
    pub usage: Usage,
    /// What was reserved since the present count began.
    pub since: Usage,
    /// When the last count began.
    pub recounted: u32,
}

/// The epoch that a writer has seen after it began to change a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// There was no record: whoever makes one counts afterwards.
    Nothing,
    /// This one.
    Epoch(u32),
    /// It could not be read.
    Unknown,
}

impl Record {
    /// The record of a file for which nothing is known, at the beginning of a count.
    pub(super) fn counting(epoch: u32, boot: u128, inode: u64) -> Self {
        Self {
            known: false,
            unsure: false,
            epoch: epoch | 1,
            boot,
            inode,
            usage: Usage::default(),
            since: Usage::default(),
            recounted: 0,
        }
    }

    /// Whether somebody counts, or has died counting.
    pub(super) fn is_counting(&self) -> bool {
        self.epoch & 1 == 1
    }

    /// Whether the sum is exact, as far as the store's own changes go.
    pub(super) fn is_exact(&self) -> bool {
        self.known && !self.unsure && !self.is_counting()
    }

    /// Reserves so much.
    pub(super) fn reserve(&mut self, more: Usage) {
        self.usage += more;
        if self.is_counting() {
            self.since += more;
        }
    }

    /// Carries a reservation of another epoch over into this one. `None`: it was made when there was no record.
    pub(super) fn renew(&mut self, made: Option<u32>, more: Usage) {
        if made == Some(self.epoch) {
            return;
        }
        if !made.is_some_and(|made| self.contains(made)) {
            self.usage += more;
        }
        if self.is_counting() {
            self.since += more;
        }
    }

    /// Gives back a reservation of which nothing became visible.
    pub(super) fn release(&mut self, made: Option<u32>, more: Usage) {
        let Some(made) = made else { return };
        if self.contains(made) {
            self.usage = self.usage.without(more);
        }
        if self.is_counting() && made == self.epoch {
            self.since = self.since.without(more);
        }
    }

    /// Takes off what was removed from a mailbox by somebody who saw this epoch before it became visible.
    pub(super) fn free(&mut self, seen: Seen, gone: Usage) {
        let seen = match seen {
            // Counted later than it was removed.
            Seen::Nothing => return,
            Seen::Unknown => {
                self.unsure = true;
                return;
            }
            Seen::Epoch(seen) => seen,
        };
        let later = self.epoch.wrapping_sub(seen);
        if later == 0 || (later == 1 && seen & 1 == 0) {
            self.usage = self.usage.without(gone);
        }
        // A count went on when it was removed: whether it saw the messages is not known.
        self.unsure |= seen & 1 == 1;
    }

    /// A count begins. If another one goes on, or was given up, this one joins it.
    pub(super) fn begin_count(&mut self) {
        if !self.is_counting() {
            self.epoch = self.epoch.wrapping_add(1);
            self.since = Usage::default();
            self.unsure = false;
        }
    }

    /// The count of this epoch has given this sum.
    pub(super) fn end_count(&mut self, sum: Usage, begun: u32) {
        self.usage = sum + self.since;
        self.unsure |= !self.since.is_empty();
        self.since = Usage::default();
        self.known = true;
        self.epoch = self.epoch.wrapping_add(1);
        self.recounted = begun.max(1);
    }

    /// Whether the sum contains a reservation that was made in that epoch: a count that began later replaces it.
    fn contains(&self, made: u32) -> bool {
        let later = self.epoch.wrapping_sub(made);
        later <= 1 + (made & 1)
    }

    /// The file's octets.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let count = |messages: u64| u32::try_from(messages).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&MAGIC);
        out.push((u8::from(self.known) * KNOWN) | (u8::from(self.unsure) * UNSURE));
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.boot.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.extend_from_slice(&self.usage.octets.to_le_bytes());
        out.extend_from_slice(&self.since.octets.to_le_bytes());
        out.extend_from_slice(&count(self.usage.messages).to_le_bytes());
        out.extend_from_slice(&count(self.since.messages).to_le_bytes());
        out.extend_from_slice(&self.recounted.to_le_bytes());
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
        let [flags] = take(&mut rest)?;
        if flags & !(KNOWN | UNSURE) != 0 {
            return None;
        }
        let epoch = u32::from_le_bytes(take(&mut rest)?);
        let boot = u128::from_le_bytes(take(&mut rest)?);
        let inode = u64::from_le_bytes(take(&mut rest)?);
        let (mut usage, mut since) = (Usage::default(), Usage::default());
        usage.octets = u64::from_le_bytes(take(&mut rest)?);
        since.octets = u64::from_le_bytes(take(&mut rest)?);
        usage.messages = u32::from_le_bytes(take(&mut rest)?).into();
        since.messages = u32::from_le_bytes(take(&mut rest)?).into();
        Some(Self {
            known: flags & KNOWN != 0,
            unsure: flags & UNSURE != 0,
            epoch,
            boot,
            inode,
            usage,
            since,
            recounted: u32::from_le_bytes(take(&mut rest)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        known: true,
        unsure: false,
        epoch: 6,
        boot: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        inode: 77,
        usage: Usage {
            octets: 1 << 40,
            messages: 300,
        },
        since: Usage {
            octets: 0,
            messages: 0,
        },
        recounted: 9,
    };

    #[test]
    fn the_record_comes_back() {
        let counting = Record {
            epoch: 7,
            unsure: true,
            known: false,
            since: Usage::message(5),
            ..RECORD
        };
        for record in [RECORD, counting] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        let bytes = RECORD.encode();
        assert_eq!(bytes.get(..8), Some(&b"rmu\x01\x06\0\0\0"[..]));
        assert_eq!(bytes.get(32..40), Some(&[0, 0, 0, 0, 0, 1, 0, 0][..]));
        assert_eq!(
            bytes.get(48..60),
            Some(&[44, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0][..])
        );
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = RECORD.encode();
        for at in 0..LEN * 8 {
            let mut torn = bytes;
            torn[at / 8] ^= 1 << (at % 8);
            assert_eq!(Record::decode(&torn), None, "bit {at}");
        }
        for len in 0..LEN {
            assert_eq!(Record::decode(&bytes[..len]), None);
        }
        assert_eq!(Record::decode(&[0; LEN]), None);
    }

    /// Every order of the steps of a count, a message that comes and one that goes: the sum is never below what is
    /// there, and exact unless it says that it may not be.
    #[test]
    fn a_count_beside_changes_is_exact_or_says_that_it_is_not() {
        // Writer: reserve, begin and look, publish. Remover: begin and look, remove, free. Counter: begin, look, end.
        let mut orders = vec![Vec::new()];
        for _ in 0..9 {
            orders = orders
                .into_iter()
                .flat_map(|order: Vec<usize>| {
                    (0..3).filter_map(move |who| {
                        let mut next = order.clone();
                        next.push(who);
                        (order.iter().filter(|step| **step == who).count() < 3).then_some(next)
                    })
                })
                .collect();
        }
        assert_eq!(orders.len(), 1_680);
        let (mut exact, mut total) = (0, 0);
        for order in orders {
            // Both change the same mailbox under its lock: looking and making visible is one step there for the counter.
            let Some(record) = play(&order) else { continue };
            let there = Usage::message(100);
            assert!(record.usage.octets >= there.octets, "{order:?}: {record:?}");
            assert!(record.unsure || record.usage == there, "{order:?}: {record:?}");
            exact += usize::from(!record.unsure);
            total += 1;
        }
        assert!(exact * 6 > total, "{exact} of {total} are exact");
    }

    /// `None`: this order is not possible, because somebody holds the mailbox's lock.
    fn play(order: &[usize]) -> Option<Record> {
        let old = Usage::message(7);
        let new = Usage::message(100);
        let mut record = Record { usage: old, ..RECORD };
        let mut there = old;
        let (mut made, mut seen, mut sum, mut lock) = (0, 0, Usage::default(), None);
        let mut steps = [0; 3];
        for who in order {
            let step = steps[*who];
            steps[*who] += 1;
            match (*who, step) {
                (0, 0) => {
                    record.reserve(new);
                    made = record.epoch;
                }
                (0, 1) => {
                    if lock.replace(0).is_some() {
                        return None;
                    }
                    record.renew(Some(made), new);
                }
                (0, _) => {
                    there += new;
                    lock = None;
                }
                (1, 0) => {
                    if lock.replace(1).is_some() {
                        return None;
                    }
                    seen = record.epoch;
                }
                (1, 1) => {
                    there = there.without(old);
                    lock = None;
                }
                (1, _) => record.free(Seen::Epoch(seen), old),
                (2, 0) => record.begin_count(),
                (2, 1) if lock.is_some() => return None,
                (2, 1) => sum = there,
                _ => record.end_count(sum, 1),
            }
        }
        assert_eq!(there, new);
        Some(record)
    }

    #[test]
    fn what_is_given_back_is_taken_off_once_whatever_was_counted_meanwhile() {
        let more = Usage::message(5);
        for counts in 0..5 {
            for reserved_at in 0..=counts * 2 {
                let mut record = RECORD;
                let mut made = None;
                for step in 0..=counts * 2 {
                    if step == reserved_at {
                        record.reserve(more);
                        made = Some(record.epoch);
                    }
                    if step == counts * 2 {
                        break;
                    }
                    if step % 2 == 0 {
                        record.begin_count();
                    } else {
                        record.end_count(RECORD.usage, 1);
                    }
                }
                record.release(made, more);
                assert_eq!(record.usage, RECORD.usage, "{counts} {reserved_at}");
                record.begin_count();
                record.end_count(RECORD.usage, 1);
                assert!(record.is_exact());
            }
        }
    }
}
