//! Sequence sets as clients write them (RFC 9051 §9, sequence-set).

/// A number or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqNumber {
    /// 1 to 2³²−1.
    Number(u32),
    /// `*`: the highest in use.
    Star,
}

/// Ranges in the order in which they were given; a single number is a range of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSet(pub Vec<(SeqNumber, SeqNumber)>);

impl SequenceSet {
    /// Ranges of one set: a longer command line is refused before.
    pub const MAX_RANGES: usize = 20_000;

    /// With `*` standing for `highest`: ascending, disjoint ranges. Empty if `highest` is 0.
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
