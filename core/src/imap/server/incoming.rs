//! The messages of one APPEND on their way in.

use super::NewMessage;
use super::place::Place;
use crate::chunk::Chunk;
use crate::imap::command::{Literal, Message};
use crate::imap::url::MessageUrl;
use crate::machine::SpoolId;
use crate::mailbox::Uid;

/// An APPEND or REPLACE in progress.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) tag: String,
    pub(super) place: Place,
    /// REPLACE: the message that goes.
    pub(super) replaced: Option<Old>,
    /// Messages that are whole.
    whole: Vec<NewMessage>,
    /// The message in progress.
    present: Option<Present>,
    /// Parts so far, and octets.
    parts: usize,
    total: u64,
}

/// The message that REPLACE takes away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old {
    pub(super) uid: Uid,
    /// Octets that the account of the new one gets back.
    pub(super) frees: Option<u64>,
}

/// The message in progress.
#[derive(Debug)]
struct Present {
    message: NewMessage,
    catenate: bool,
    opened: bool,
    octets: u64,
    /// The literal in progress is `~{n}`.
    binary: bool,
    /// There is a NUL in a literal that may have none (RFC 9051 §4.3): the rest is only taken away.
    nul: bool,
    check: LineEnds,
}

/// Whether octets that may be anything are those of a message: no NUL, no CR or LF by itself.
#[derive(Clone, Copy, Debug, Default)]
struct LineEnds {
    broken: bool,
    cr: bool,
}

/// A part of a message that is to be taken.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A literal, of the client.
    Literal(Literal),
    /// What a URL names, and the URL.
    Part(Box<MessageUrl>, Vec<u8>),
}

impl Incoming {
    pub(super) fn new(tag: String, place: Place, replaced: Option<Old>) -> Self {
        Self {
            tag,
            place,
            replaced,
            whole: Vec::new(),
            present: None,
            parts: 0,
            total: 0,
        }
    }

    /// Messages that are whole.
    pub(super) fn messages(&self) -> usize {
        self.whole.len()
    }

    /// Octets of all messages so far.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Octets that the message in progress may still get.
    pub(super) fn room(&self, max: u64) -> u64 {
        let has = self.present.as_ref().map_or(0, |present| present.octets);
        max.saturating_sub(has)
    }

    /// A message of no octets cancels the command (RFC 3502 §6.3.11); a part may be empty.
    pub(super) fn is_cancelled_by(&self, literal: Literal) -> bool {
        literal.size == 0 && self.present.as_ref().is_none_or(|present| !present.catenate)
    }

    pub(super) fn begin_message(&mut self, message: Message, last_spool: &mut u32) {
        let Message {
            flags,
            date,
            catenate,
        } = message;
        *last_spool += 1;
        let spool = SpoolId(*last_spool);
        self.present = Some(Present {
            message: NewMessage { spool, flags, date },
            catenate,
            opened: false,
            octets: 0,
            binary: false,
            nul: false,
            check: LineEnds::default(),
        });
    }

    /// The message in progress is whole.
    ///
    /// # Errors
    /// It is none: the text of the answer.
    pub(super) fn end_message(&mut self) -> Result<(), String> {
        let Some(present) = &self.present else {
            return Ok(());
        };
        if present.nul {
            return Err("BAD NUL is not allowed in a literal".to_owned());
        }
        if present.check.is_broken() {
            return Err(
                "NO [UNKNOWN-CTE] A message with NUL, or CR or LF by itself, cannot be stored".to_owned(),
            );
        }
        if present.octets == 0 {
            return Err("NO [CANNOT] A message cannot be empty".to_owned());
        }
        let message = self.present.take().map(|present| present.message);
        self.whole.extend(message);
        Ok(())
    }

    /// Counts a part: how many there are.
    pub(super) fn add_part(&mut self) -> usize {
        self.parts += 1;
        self.parts
    }

    /// A spool that has to be opened.
    pub(super) fn unopened(&self) -> Option<SpoolId> {
        let present = self.present.as_ref().filter(|present| !present.opened)?;
        Some(present.message.spool)
    }

    /// The spool is open.
    pub(super) fn opened(&mut self) {
        if let Some(present) = &mut self.present {
            present.opened = true;
        }
    }

    /// The spool of the message in progress.
    pub(super) fn spool(&self) -> Option<SpoolId> {
        self.present.as_ref().map(|present| present.message.spool)
    }

    pub(super) fn begin_literal(&mut self, literal: Literal) {
        if let Some(present) = &mut self.present {
            present.binary = literal.binary;
        }
    }

    /// Octets of the literal: what is to be written where.
    pub(super) fn take(&mut self, chunk: Chunk) -> Option<(SpoolId, Chunk)> {
        let present = self.present.as_mut()?;
        if present.binary {
            present.check.look_at(&chunk);
        } else {
            present.nul |= memchr::memchr(0, &chunk).is_some();
        }
        present.octets += chunk.len() as u64;
        self.total += chunk.len() as u64;
        let wanted = !present.nul && !present.check.broken;
        wanted.then_some((present.message.spool, chunk))
    }

    /// So many octets came from the store.
    pub(super) fn took(&mut self, octets: u64) {
        if let Some(present) = &mut self.present {
            present.octets += octets;
        }
        self.total += octets;
    }

    /// The spools that are open.
    pub(super) fn spools(&self) -> Vec<SpoolId> {
        let present = self.present.iter().filter(|present| present.opened);
        let present = present.map(|present| present.message.spool);
        self.whole
            .iter()
            .map(|message| message.spool)
            .chain(present)
            .collect()
    }

    /// All messages, in order.
    pub(super) fn finish(&mut self) -> Vec<NewMessage> {
        core::mem::take(&mut self.whole)
    }
}

impl LineEnds {
    fn look_at(&mut self, octets: &[u8]) {
        for octet in octets {
            self.broken |= *octet == 0 || (*octet == b'\n') != self.cr;
            self.cr = *octet == b'\r';
        }
    }

    fn is_broken(self) -> bool {
        self.broken || self.cr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_both() {
        let broken = |pieces: &[&[u8]]| {
            let mut check = LineEnds::default();
            pieces.iter().for_each(|piece| check.look_at(piece));
            check.is_broken()
        };
        for good in [&[&b""[..]][..], &[b"a\r\nb"], &[b"a\r", b"\n"], &[b"\r\n\r\n"]] {
            assert!(!broken(good), "{good:?}");
        }
        for bad in [
            &[&b"\0"[..]][..],
            &[b"a\nb"],
            &[b"a\rb"],
            &[b"\r"],
            &[b"\r\r\n"],
            &[b"\n"],
        ] {
            assert!(broken(bad), "{bad:?}");
        }
    }
}
