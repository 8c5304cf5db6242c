//! System flags and keywords (RFC 9051 §2.3.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::KeywordSet;

/// The system flags of a message, one bit each. `\Recent` is no flag of the message but of the session's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemFlags(pub u8);

impl SystemFlags {
    /// `\Answered`
    pub const ANSWERED: Self = Self(1);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(2);
    /// `\Deleted`
    pub const DELETED: Self = Self(4);
    /// `\Seen`
    pub const SEEN: Self = Self(8);
    /// `\Draft`
    pub const DRAFT: Self = Self(16);
    /// All five.
    pub const ALL: Self = Self(31);

    /// Each flag with its IMAP name, in the order in which we print them.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With those of `other` too.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// By its IMAP name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(flag, _)| *flag)
    }
}

/// A keyword: an IMAP atom without a leading backslash. Compared without case, kept as first seen.
#[derive(Clone, Debug, Eq)]
pub struct Keyword(Arc<str>);

impl Keyword {
    /// Longest keyword we take, so that a list of all keywords of a mailbox stays a line.
    pub const MAX: usize = 255;

    /// Checks that it is an atom (RFC 9051 §9, flag-keyword) of at most [`Self::MAX`] octets.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let atom = |b: u8| b > b' ' && b < 0x7f && !b"(){%*\"\\]".contains(&b);
        (!text.is_empty() && text.len() <= Self::MAX && text.bytes().all(atom)).then(|| Self(Arc::from(text)))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// Flags by name, as a client gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// System flags.
    pub system: SystemFlags,
    /// Keywords without duplicates.
    pub keywords: Vec<Keyword>,
}

/// What a STORE does with its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagOp {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// A change of flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagChange {
    /// How.
    pub op: FlagOp,
    /// Which.
    pub flags: Flags,
}

/// The keywords of a mailbox: bit *n* of a row's bitmap means `names[n]`. Append-only.
///
/// Rows hold a bitmap of 63 keywords themselves; a row with a higher one holds an index into `wide`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keywords {
    names: Vec<Keyword>,
    wide: Vec<[u64; 4]>,
    /// Where a bitmap stands in `wide`: there may be as many as messages.
    index: BTreeMap<[u64; 4], usize>,
}

impl Keywords {
    /// Keywords that have a bit: the width of the bitmap in the file name.
    pub const MAX: usize = 256;

    /// The names by bit.
    #[must_use]
    pub fn names(&self) -> &[Keyword] {
        &self.names
    }

    /// The bit of a keyword.
    #[must_use]
    pub fn bit(&self, keyword: &Keyword) -> Option<usize> {
        self.names.iter().position(|known| known == keyword)
    }

    /// Gives a new keyword the next bit. `None`: all bits are taken.
    pub fn push(&mut self, keyword: Keyword) -> Option<usize> {
        (self.names.len() < Self::MAX).then(|| {
            self.names.push(keyword);
            self.names.len() - 1
        })
    }

    /// The row form of a bitmap; bitmaps that need it are entered into the side table.
    pub fn intern(&mut self, bits: [u64; 4]) -> KeywordSet {
        let [low, rest @ ..] = bits;
        if low >> 63 == 0 && rest == [0; 3] {
            return KeywordSet(low);
        }
        let index = *self.index.entry(bits).or_insert_with(|| {
            self.wide.push(bits);
            self.wide.len() - 1
        });
        KeywordSet(KeywordSet::WIDE | index as u64)
    }

    /// The bitmap of a row's set.
    #[must_use]
    pub fn bits(&self, set: KeywordSet) -> [u64; 4] {
        if set.0 & KeywordSet::WIDE == 0 {
            return [set.0, 0, 0, 0];
        }
        let index = usize::try_from(set.0 & !KeywordSet::WIDE).unwrap_or(usize::MAX);
        self.wide.get(index).copied().unwrap_or_default()
    }

    /// Whether a row's set has the bit.
    #[must_use]
    pub fn has(&self, set: KeywordSet, bit: usize) -> bool {
        self.bits(set)
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// The keywords of a row's set.
    pub fn of(&self, set: KeywordSet) -> impl Iterator<Item = &Keyword> + '_ {
        let bits = self.bits(set);
        self.names
            .iter()
            .enumerate()
            .filter(move |(bit, _)| bits.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1))
            .map(|(_, keyword)| keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyword_sets_have_256_bits() {
        let mut keywords = Keywords::default();
        for n in 0..256 {
            assert_eq!(
                keywords.push(Keyword::new(&format!("k{n}")).expect("atom")),
                Some(n)
            );
        }
        assert_eq!(keywords.push(Keyword::new("one-more").expect("atom")), None);
        let narrow = keywords.intern([5, 0, 0, 0]);
        let wide = keywords.intern([1, 0, 0, 1 << 63]);
        assert_eq!(wide, keywords.intern([1, 0, 0, 1 << 63]));
        assert_eq!(
            keywords.of(narrow).map(Keyword::as_str).collect::<Vec<_>>(),
            ["k0", "k2"]
        );
        assert_eq!(
            keywords.of(wide).map(Keyword::as_str).collect::<Vec<_>>(),
            ["k0", "k255"]
        );
        assert!(keywords.has(wide, 255) && !keywords.has(wide, 254) && !keywords.has(narrow, 1));
        assert_eq!(keywords.bit(&Keyword::new("K7").expect("atom")), Some(7));
    }

    #[test]
    fn keywords_are_atoms() {
        for good in ["$Forwarded", "a/b:c,d", "NonJunk"] {
            assert!(Keyword::new(good).is_some(), "{good}");
        }
        for bad in ["", "\\Seen", "a b", "a(", "ä", "a]", "a\"", "a{1}"] {
            assert!(Keyword::new(bad).is_none(), "{bad}");
        }
    }
}
