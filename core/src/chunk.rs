//! A shared, immutable slice of octets.

use core::fmt;
use core::ops::{Deref, Range};
use std::sync::Arc;

/// Octets that many may hold: an `Arc<[u8]>` and a range of it. Cloning and splitting copy no octets.
///
/// What outlives the current call is copied with [`Chunk::detach`]: nobody keeps a slice of a read buffer.
#[derive(Clone, Default)]
pub struct Chunk {
    bytes: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// A chunk with a copy of `bytes`.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self {
            start: 0,
            end: bytes.len(),
            bytes: Arc::from(bytes),
        }
    }

    /// A chunk of so many NULs, to be written over: see [`Chunk::get_mut`].
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        // One copy of what the processor has at hand: an iterator is several times as slow, and so is a vector in between.
        static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
        match ZEROS.get(..len) {
            Some(zeros) => Self::copy_from(zeros),
            None => Self::from(vec![0; len]),
        }
    }

    /// The octets, to be written over, while nobody else holds any of them.
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        let range = self.start..self.end;
        Arc::get_mut(&mut self.bytes)?.get_mut(range)
    }

    /// The octets.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// How many octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes the first `n` octets (all, if there are fewer) off the front.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> Self {
        let at = self.start + n.min(self.len());
        let front = Self {
            bytes: Arc::clone(&self.bytes),
            start: self.start,
            end: at,
        };
        self.start = at;
        front
    }

    /// Drops the first `n` octets (all, if there are fewer).
    pub fn advance(&mut self, n: usize) {
        self.start += n.min(self.len());
    }

    /// A part of this chunk; the range is cut to what exists.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let start = self.start + range.start.min(self.len());
        let end = (self.start + range.end.min(self.len())).max(start);
        Self {
            bytes: Arc::clone(&self.bytes),
            start,
            end,
        }
    }

    /// A chunk of its own that holds nothing but these octets.
    #[must_use]
    pub fn detach(&self) -> Self {
        if self.start == 0 && self.end == self.bytes.len() {
            self.clone()
        } else {
            Self::copy_from(self.as_slice())
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            start: 0,
            end: bytes.len(),
            bytes: Arc::from(bytes),
        }
    }
}

impl From<&[u8]> for Chunk {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_from(bytes)
    }
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Chunk {}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_slices_without_leaving_the_range() {
        let mut chunk = Chunk::copy_from(b"hello world");
        let front = chunk.split_to(5);
        assert_eq!(
            (front.as_slice(), chunk.as_slice()),
            (&b"hello"[..], &b" world"[..])
        );
        assert_eq!(chunk.slice(1..99).as_slice(), b"world");
        assert_eq!(chunk.slice(50..60).as_slice(), b"");
        assert_eq!(front.slice(1..3).detach().as_slice(), b"el");
        assert_eq!(chunk.split_to(100).as_slice(), b" world");
        assert!(chunk.is_empty());
    }

    #[test]
    fn only_who_holds_it_alone_writes_over_it() {
        let mut chunk = Chunk::zeroed(4);
        chunk.get_mut().expect("ours alone").copy_from_slice(b"abcd");
        let part = chunk.slice(1..3);
        assert!(chunk.get_mut().is_none());
        assert_eq!(part.as_slice(), b"bc");
        drop(part);
        let _ = chunk.split_to(1);
        chunk.get_mut().expect("ours again").fill(b'x');
        assert_eq!(chunk.as_slice(), b"xxx");
    }
}
