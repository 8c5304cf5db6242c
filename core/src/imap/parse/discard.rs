//! Taking a refused command away.

use super::Event;
use super::literal::{self, Head};
use crate::line::Inbox;

/// Octets of lines that are skipped in one command: who sends more does not speak IMAP.
const MAX_SKIPPED: u64 = 1024 * 1024;

/// A command on its way out.
#[derive(Debug)]
pub(super) struct Discard {
    /// Octets of the present literal that are missing; then comes a line.
    missing: u64,
    /// The end of the present line, so far: enough to find a literal's head.
    tail: Vec<u8>,
    /// Octets of literals and of lines that may still come.
    literals_left: u64,
    lines_left: u64,
    /// What is said at the end.
    pub(super) event: Option<Event>,
}

/// How far it is.
pub(super) enum Swallowed {
    /// More must come.
    Partly,
    /// The command is gone.
    Whole,
    /// More is on its way than is swallowed.
    TooMuch,
}

impl Discard {
    /// In a line, with so many octets of literals to come at most.
    pub(super) fn new(literals_left: u64, event: Option<Event>) -> Self {
        Self {
            missing: 0,
            tail: Vec::new(),
            literals_left,
            lines_left: MAX_SKIPPED,
            event,
        }
    }

    /// Begins with a non-synchronising literal. False: it is more than is swallowed.
    pub(super) fn begin_literal(&mut self, head: Head) -> bool {
        let size = head.size.filter(|size| *size <= self.literals_left);
        self.missing = size.unwrap_or(0);
        self.literals_left -= self.missing;
        size.is_some()
    }

    /// Swallows what has come.
    pub(super) fn go_on(&mut self, inbox: &mut Inbox) -> Swallowed {
        loop {
            if self.missing > 0 {
                let max = usize::try_from(self.missing).unwrap_or(usize::MAX);
                let Some(octets) = inbox.take(max) else {
                    return Swallowed::Partly;
                };
                self.missing -= octets.len() as u64;
                continue;
            }
            let Some(mut octets) = inbox.take(usize::MAX) else {
                return Swallowed::Partly;
            };
            let end = memchr::memchr(b'\n', &octets).map(|lf| lf + 1);
            let piece = octets.split_to(end.unwrap_or(octets.len()));
            inbox.unread(octets);
            let Some(left) = self.lines_left.checked_sub(piece.len() as u64) else {
                return Swallowed::TooMuch;
            };
            self.lines_left = left;
            self.keep_tail(&piece);
            if end.is_none() {
                continue;
            }
            let head = literal::at_end(&self.tail).filter(|head| !head.synchronising);
            self.tail.clear();
            match head {
                None => return Swallowed::Whole,
                Some(head) if !self.begin_literal(head) => return Swallowed::TooMuch,
                Some(_) => {}
            }
        }
    }

    fn keep_tail(&mut self, piece: &[u8]) {
        let from = piece.len().saturating_sub(literal::MAX_HEAD);
        self.tail.extend_from_slice(piece.get(from..).unwrap_or_default());
        let spare = self.tail.len().saturating_sub(literal::MAX_HEAD);
        self.tail.drain(..spare);
    }
}
