//! UIDs, UIDVALIDITY, MODSEQ, and sets of UIDs.

use core::fmt;
use core::ops::RangeInclusive;

use crate::addr::AccountName;

/// Unique identifier of a message in its mailbox (RFC 9051 §2.3.1.1). Never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub u32);

/// Unique identifier validity value (RFC 9051 §2.3.1.1). Never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UidValidity(pub u32);

/// Modification sequence (RFC 7162 §3.1): 63 bits, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModSeq(pub u64);

/// Identity of a mailbox within its account (RFC 8474): survives RENAME, is never reused. It is the UIDVALIDITY
/// that the mailbox was created with, which the account's counter never gives out twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(pub u32);

impl MailboxId {
    /// As an `objectid` (RFC 8474 §7): MAILBOXID.
    #[must_use]
    pub fn object_id(self) -> String {
        format!("F{}", self.0)
    }
}

/// A mailbox of an account, whatever its present name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxRef {
    /// Whose.
    pub account: AccountName,
    /// Which.
    pub id: MailboxId,
}

/// A set of UIDs: ascending ranges that neither touch nor overlap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UidSet {
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// From ranges in any order; `a:b` with a > b means `b:a` (RFC 9051 §9, seq-range). UID 0 is left out.
    #[must_use]
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut all: Vec<(u32, u32)> = ranges
            .into_iter()
            .map(|(a, b)| (a.min(b).max(1), a.max(b)))
            .filter(|(a, b)| a <= b)
            .collect();
        all.sort_unstable();
        let mut set = Self::new();
        for (first, last) in all {
            set.push_range(first, last);
        }
        set
    }

    /// Appends a range that does not begin before the last one.
    fn push_range(&mut self, first: u32, last: u32) {
        match self.ranges.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => self.ranges.push((first, last)),
        }
    }

    /// Adds a UID above all that are in it (lower ones are ignored unless they are in it already).
    pub fn push(&mut self, uid: Uid) {
        if uid.0 != 0 && self.ranges.last().is_none_or(|(_, end)| uid.0 > *end) {
            self.push_range(uid.0, uid.0);
        }
    }

    /// Whether it holds the UID.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.ranges.partition_point(|(_, end)| *end < uid.0);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= uid.0)
    }

    /// Whether it holds any UID of `first..=last`.
    #[must_use]
    pub fn meets(&self, first: Uid, last: Uid) -> bool {
        let at = self.ranges.partition_point(|(_, end)| *end < first.0);
        self.ranges.get(at).is_some_and(|(begin, _)| *begin <= last.0)
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut both = Self::new();
        while let (Some((from, to)), Some((first, last))) = (a.peek(), b.peek()) {
            let (begin, end) = (*from.max(first), *to.min(last));
            if begin <= end {
                both.push_range(begin, end);
            }
            if to < last {
                a.next();
            } else {
                b.next();
            }
        }
        both
    }

    /// Those that are not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut holes = Vec::with_capacity(other.ranges.len() + 1);
        let mut free = 1;
        for (first, last) in &other.ranges {
            if free < *first {
                holes.push((free, first - 1));
            }
            free = last.saturating_add(1);
        }
        if other.ranges.last().is_none_or(|(_, last)| *last < u32::MAX) {
            holes.push((free, u32::MAX));
        }
        self.and(&Self { ranges: holes })
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many UIDs it holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| u64::from(last - first) + 1)
            .sum()
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u32>> + '_ {
        self.ranges.iter().map(|(first, last)| *first..=*last)
    }

    /// Each UID, ascending. Bound the set before you walk it: it can hold 2³² of them.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges().flatten().map(Uid)
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let mut sorted = true;
        for Uid(uid) in uids {
            match ranges.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(uid) => *end = uid,
                last => {
                    sorted &= last.is_none_or(|(_, end)| *end < uid);
                    ranges.push((uid, uid));
                }
            }
        }
        if sorted && ranges.first().is_none_or(|(first, _)| *first != 0) {
            Self { ranges }
        } else {
            Self::from_ranges(ranges)
        }
    }
}

impl fmt::Display for UidSet {
    /// As IMAP's `uid-set`: `1:3,7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            if first == last {
                write!(f, "{first}")?
            } else {
                write!(f, "{first}:{last}")?
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_sets_are_normal() {
        assert_eq!(
            UidSet::from_ranges([(5, 3), (1, 1), (4, 8), (9, 9), (0, 0)]).to_string(),
            "1,3:9"
        );
        let set: UidSet = [7, 8, 2, 3, 3].into_iter().map(Uid).collect();
        assert_eq!(set.to_string(), "2:3,7:8");
        assert_eq!(set.len(), 4);
        assert!(set.contains(Uid(7)) && !set.contains(Uid(4)) && !set.contains(Uid(9)));
        assert_eq!(set.iter().map(|uid| uid.0).collect::<Vec<_>>(), [2, 3, 7, 8]);
        assert!(UidSet::from_ranges([(1, u32::MAX)]).contains(Uid(u32::MAX)));
        let other = UidSet::from_ranges([(3, 7), (9, 20)]);
        assert_eq!(set.and(&other).to_string(), "3,7");
        assert_eq!(set.without(&other).to_string(), "2,8");
        assert_eq!(other.without(&set).to_string(), "4:6,9:20");
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        assert_eq!(all.without(&set).to_string(), "1,4:6,9:4294967295");
        assert!(set.without(&all).is_empty() && UidSet::new().without(&set).is_empty());
        assert_eq!(all.without(&UidSet::new()), all);
        assert_eq!((all.and(&set), set.and(&all)), (set.clone(), set.clone()));
        assert!(set.meets(Uid(3), Uid(6)) && set.meets(Uid(1), Uid(9)) && set.meets(Uid(8), Uid(8)));
        assert!(!set.meets(Uid(4), Uid(6)) && !set.meets(Uid(9), Uid(99)) && !set.meets(Uid(1), Uid(1)));
    }
}
