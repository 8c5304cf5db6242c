//! Octets that have come but were not consumed, and how they are taken: as lines or as counted octets.
//!
//! A line inside one chunk is handed out without a copy; one that straddles chunks is copied into a buffer that the
//! protocol's line limit bounds.

use std::collections::VecDeque;

use crate::chunk::Chunk;

/// The unread input of a session.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// Octets at the front that are known to hold no LF, so that they are not searched again.
    searched: usize,
}

/// What [`Inbox::line`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line up to LF, the LF included (and the CR before it, if any).
    Whole(Chunk),
    /// No LF yet.
    Partial,
    /// No LF within the limit. Take the octets away with [`Inbox::skip_line`].
    TooLong,
}

impl Inbox {
    /// Octets that a session keeps at most; a host that sends more in spite of `wants_bytes` is cut off.
    pub const HARD_CAP: usize = 4 * 1024 * 1024;

    /// Up to so many octets small chunks are joined.
    const JOINED: usize = 256;

    /// Adds what came. Small chunks are joined: a peer that sends octet by octet would else cost a chunk for each, and
    /// a walk over all of them at each further one.
    pub fn push(&mut self, chunk: Chunk) {
        if chunk.is_empty() {
            return;
        }
        self.len += chunk.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + chunk.len() <= Self::JOINED => {
                *last = Chunk::from([last.as_slice(), chunk.as_slice()].concat());
            }
            _ => self.chunks.push_back(chunk),
        }
    }

    /// Octets waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops everything (STARTTLS, RFC 3207 §4.2).
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
        self.searched = 0;
    }

    /// Takes the next line if it is whole and has at most `limit` octets, its line end included.
    pub fn line(&mut self, limit: usize) -> Line {
        let Some(lf) = self.find_lf(limit) else {
            return if self.len >= limit {
                Line::TooLong
            } else {
                Line::Partial
            };
        };
        Line::Whole(self.take_exact(lf + 1))
    }

    /// Drops octets up to and including the next LF. True once the LF was found; call again with more input if not.
    pub fn skip_line(&mut self) -> bool {
        self.searched = 0;
        while let Some(front) = self.chunks.front_mut() {
            if let Some(at) = memchr::memchr(b'\n', front) {
                front.advance(at + 1);
                self.len -= at + 1;
                if front.is_empty() {
                    self.chunks.pop_front();
                }
                return true;
            }
            self.len -= front.len();
            self.chunks.pop_front();
        }
        false
    }

    /// Takes up to `max` octets that lie together, without a copy. `None` when nothing waits or `max` is 0.
    pub fn take(&mut self, max: usize) -> Option<Chunk> {
        if max == 0 {
            return None;
        }
        let front = self.chunks.front_mut()?;
        let taken = front.split_to(max);
        if front.is_empty() {
            self.chunks.pop_front();
        }
        self.len -= taken.len();
        self.searched = 0;
        Some(taken)
    }

    /// Puts octets back to the front.
    pub fn unread(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_front(chunk);
            self.searched = 0;
        }
    }

    /// Position of the first LF among the first `limit` octets.
    fn find_lf(&mut self, limit: usize) -> Option<usize> {
        let mut base = 0;
        for chunk in &self.chunks {
            let end = base + chunk.len();
            if end > self.searched {
                let from = self.searched.saturating_sub(base);
                let hit = chunk.get(from..).and_then(|rest| memchr::memchr(b'\n', rest));
                if let Some(at) = hit.map(|at| base + from + at) {
                    self.searched = at;
                    return (at < limit).then_some(at);
                }
                self.searched = end;
            }
            base = end;
        }
        None
    }

    /// Takes exactly `n` octets, of which that many must be waiting.
    fn take_exact(&mut self, n: usize) -> Chunk {
        let Some(first) = self.take(n) else {
            return Chunk::default();
        };
        if first.len() == n {
            return first;
        }
        let mut copy = Vec::with_capacity(n);
        copy.extend_from_slice(&first);
        while copy.len() < n {
            let Some(next) = self.take(n - copy.len()) else {
                break;
            };
            copy.extend_from_slice(&next);
        }
        Chunk::from(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]], limit: usize) -> Vec<String> {
        let mut inbox = Inbox::default();
        let mut out = Vec::new();
        for part in parts {
            inbox.push(Chunk::copy_from(part));
            loop {
                match inbox.line(limit) {
                    Line::Whole(line) => out.push(String::from_utf8_lossy(&line).into_owned()),
                    Line::Partial => break,
                    Line::TooLong => {
                        out.push("!".into());
                        if !inbox.skip_line() {
                            break;
                        }
                    }
                }
            }
        }
        out
    }

    #[test]
    fn lines_do_not_depend_on_the_split() {
        let text = b"one\r\ntwo\r\n\r\nfour\n";
        let whole = lines(&[text], 100);
        assert_eq!(whole, ["one\r\n", "two\r\n", "\r\n", "four\n"]);
        let octets: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines(&octets, 100), whole);
        for at in 0..text.len() {
            assert_eq!(lines(&[&text[..at], &text[at..]], 100), whole);
        }
    }

    #[test]
    fn long_lines_are_refused_and_skipped() {
        assert_eq!(lines(&[b"12345\nab\n"], 4), ["!", "ab\n"]);
        assert_eq!(lines(&[b"123\nab\n"], 4), ["123\n", "ab\n"]);
        let mut inbox = Inbox::default();
        inbox.push(Chunk::copy_from(b"12345"));
        assert_eq!(inbox.line(4), Line::TooLong);
        assert!(!inbox.skip_line() && inbox.is_empty());
        inbox.push(Chunk::copy_from(b"67\nab\n"));
        assert!(inbox.skip_line());
        assert_eq!(inbox.line(4), Line::Whole(Chunk::copy_from(b"ab\n")));
    }

    #[test]
    fn counted_octets_and_lines_mix() {
        let mut inbox = Inbox::default();
        inbox.push(Chunk::copy_from(b"abc"));
        inbox.push(Chunk::copy_from(b"def\r\n"));
        assert_eq!(inbox.take(2), Some(Chunk::copy_from(b"ab")));
        assert_eq!(inbox.line(10), Line::Whole(Chunk::copy_from(b"cdef\r\n")));
        assert_eq!(inbox.take(1), None);
        inbox.unread(Chunk::copy_from(b"x\n"));
        assert_eq!(
            (inbox.len(), inbox.line(10)),
            (2, Line::Whole(Chunk::copy_from(b"x\n")))
        );
    }
}
