//! BDAT (RFC 3030 §2): the command's arguments, and the counting of a message that comes in chunks.

use crate::chunk::Chunk;
use crate::line::Inbox;

/// BDAT and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bdat {
    /// `chunk-size`: octets that follow the command's line. A number beyond 64 bits is the greatest there is; `None`: it
    /// cannot be read, and no octets follow that could be told from commands.
    pub size: Option<u64>,
    /// What follows the number.
    pub mark: Mark,
}

/// `end-marker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// None: more chunks follow.
    More,
    /// `LAST`
    Last,
    /// Something else.
    Unknown,
}

/// `"BDAT" SP chunk-size [ SP end-marker ]`: what follows the verb. A chunk whose command is wrong has octets still,
/// which must be read away; therefore this does not fail.
#[must_use]
pub fn parse(text: &str) -> Bdat {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let size = words.next().and_then(chunk_size);
    let mark = match (words.next(), words.next()) {
        (None, _) => Mark::More,
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Mark::Last,
        _ => Mark::Unknown,
    };
    Bdat { size, mark }
}

/// `chunk-size ::= 1*DIGIT`: no sign, no space, any number of zeros in front.
fn chunk_size(word: &str) -> Option<u64> {
    word.bytes().try_fold(0_u64, |value, octet| {
        octet
            .is_ascii_digit()
            .then(|| value.saturating_mul(10).saturating_add(u64::from(octet - b'0')))
    })
}

/// Counts the octets of a message's chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    size: u64,
    left: u64,
    last: bool,
    total: u64,
}

impl Count {
    /// The first chunk begins.
    #[must_use]
    pub const fn new(size: u64, last: bool) -> Self {
        Self {
            size,
            left: size,
            last,
            total: 0,
        }
    }

    /// The next one.
    pub fn begin(&mut self, size: u64, last: bool) {
        *self = Self {
            total: self.total,
            ..Self::new(size, last)
        };
    }

    /// Takes octets of the chunk, at most `max`; `None` when it is whole, or nothing waits.
    pub fn take(&mut self, inbox: &mut Inbox, max: usize) -> Option<Chunk> {
        let octets = inbox.take(usize::try_from(self.left).unwrap_or(max).min(max))?;
        let len = octets.len() as u64;
        self.left = self.left.saturating_sub(len);
        self.total = self.total.saturating_add(len);
        Some(octets)
    }

    /// The chunk is whole.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// It is the message's last.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.last
    }

    /// Octets that the chunk has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Octets that came so far, of all chunks.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_digits_and_nothing_else() {
        let size = |text: &str| parse(text).size;
        assert_eq!(size("86 LAST"), Some(86));
        assert_eq!(size("0 last"), Some(0));
        assert_eq!(size("000000000000000000000000012"), Some(12));
        assert_eq!(size("18446744073709551616"), Some(u64::MAX));
        for bad in ["", " ", "+5", "-1", "0x10", "5,", "1e3", "LAST", "\u{0665}"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_follows_the_size_is_last_or_wrong() {
        let mark = |text: &str| parse(text).mark;
        assert_eq!(mark("5"), Mark::More);
        assert_eq!(mark("5  LaSt "), Mark::Last);
        for bad in ["5 LASST", "5 LAST LAST", "5 6"] {
            assert_eq!(mark(bad), Mark::Unknown, "{bad}");
        }
    }

    #[test]
    fn no_octet_behind_a_chunk_is_taken() {
        let mut inbox = Inbox::default();
        inbox.push(Chunk::copy_from(b"abcRSET\r\n"));
        let mut count = Count::new(3, false);
        assert_eq!(count.take(&mut inbox, 2), Some(Chunk::copy_from(b"ab")));
        assert!(!count.is_whole());
        assert_eq!(count.take(&mut inbox, 2), Some(Chunk::copy_from(b"c")));
        assert!(count.is_whole());
        assert_eq!((count.take(&mut inbox, 2), inbox.len()), (None, 6));
        count.begin(1, true);
        assert_eq!(count.take(&mut inbox, 2), Some(Chunk::copy_from(b"R")));
        assert_eq!((count.total(), count.size(), count.is_last()), (4, 1, true));
    }
}
