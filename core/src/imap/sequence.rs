//! Sequence sets as clients write them (RFC 9051 §9, sequence-set).

/// A number or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqNumber {
    /// 1 to 2³²−1.
    Number(u32),
    /// `*`: the highest in use.
    Star,
}

/// Ranges in the order in which they were given; a single number is a range of itself. Without a range it is `$`, the
/// messages that the last SEARCH saved (RFC 5182).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSet(pub Vec<(SeqNumber, SeqNumber)>);

impl SequenceSet {
    /// Ranges of one set: a longer command line is refused before.
    pub const MAX_RANGES: usize = 20_000;

    /// `$`
    #[must_use]
    pub const fn saved() -> Self {
        Self(Vec::new())
    }

    /// Whether it is `$`.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.0.is_empty()
    }

    /// With `*` standing for `highest`: ascending, disjoint ranges. Empty if `highest` is 0, and for `$`,
    /// which only a session knows.
    #[must_use]
    pub fn resolve(&self, highest: u32) -> crate::mailbox::UidSet {
        let number = |n| match n {
            SeqNumber::Number(n) => n,
            SeqNumber::Star => highest,
        };
        if highest == 0 {
            return crate::mailbox::UidSet::new();
        }
        crate::mailbox::UidSet::from_ranges(self.0.iter().map(|(a, b)| (number(*a), number(*b))))
    }
}

/// A page of results (RFC 9394 §4, `partial-range`): positions from 1, both ends included, in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialRange {
    /// As it was sent, without its sign; not 0.
    pub first: u32,
    /// As it was sent, without its sign; not 0.
    pub last: u32,
    /// Counted from the last result: `-1` is the last one.
    pub from_end: bool,
}

impl PartialRange {
    /// The indices, from 0, of those of `count` results that are meant.
    #[must_use]
    pub fn of(self, count: usize) -> core::ops::Range<usize> {
        let number = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let (low, high) = (
            number(self.first.min(self.last)),
            number(self.first.max(self.last)),
        );
        let (start, end) = (low.saturating_sub(1).min(count), high.min(count));
        if self.from_end {
            count - end..count - start
        } else {
            start..end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_from_either_end_and_cut() {
        let page = |first, last, from_end| PartialRange {
            first,
            last,
            from_end,
        };
        assert_eq!(page(1, 3, false).of(10), 0..3);
        assert_eq!(page(3, 1, false).of(10), 0..3);
        assert_eq!(page(1, 3, true).of(10), 7..10);
        assert_eq!(page(9, 20, false).of(10), 8..10);
        assert_eq!(page(9, 20, true).of(10), 0..2);
        assert!(page(11, 20, false).of(10).is_empty());
        assert!(page(11, 20, true).of(10).is_empty());
        assert!(page(1, u32::MAX, true).of(0).is_empty());
    }
}
