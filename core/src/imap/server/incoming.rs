//! The messages of one APPEND on their way in.

use super::NewMessage;
use super::place::Place;
use crate::chunk::Chunk;
use crate::imap::command::{Literal, Message};
use crate::imap::url::MessageUrl;
use crate::machine::SpoolId;
use crate::mailbox::Uid;
use crate::mime::unbinary::Unbinary;

/// An APPEND or REPLACE in progress.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) tag: String,
    pub(super) place: Place,
    /// The name as the client wrote it, if the mailbox has another.
    pub(super) denormal: Option<String>,
    /// REPLACE: the message that goes.
    pub(super) replaced: Option<Old>,
    /// Messages that are whole.
    whole: Vec<NewMessage>,
    /// The message in progress.
    present: Option<Present>,
    /// Spools that are not needed after all.
    spare: Vec<SpoolId>,
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
    /// The message as it can be stored if its octets cannot.
    converted: Option<Converted>,
}

/// A message whose binary parts become base64, in a spool of its own.
#[derive(Debug)]
struct Converted {
    spool: SpoolId,
    opened: bool,
    unbinary: Box<Unbinary>,
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
    pub(super) fn new(tag: String, place: Place, denormal: Option<String>, replaced: Option<Old>) -> Self {
        Self {
            tag,
            place,
            denormal,
            replaced,
            whole: Vec::new(),
            present: None,
            spare: Vec::new(),
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
            converted: None,
        });
    }

    /// The message in progress is whole: octets that its spool still gets.
    ///
    /// # Errors
    /// It is none: the text of the answer.
    pub(super) fn end_message(&mut self) -> Result<Option<(SpoolId, Chunk)>, String> {
        let Some(present) = &mut self.present else {
            return Ok(None);
        };
        if present.nul {
            return Err("BAD NUL is not allowed in a literal".to_owned());
        }
        if present.octets == 0 {
            return Err("NO [CANNOT] A message cannot be empty".to_owned());
        }
        let mut tail = None;
        if present.check.is_broken() {
            let octets = present.converted.as_mut().and_then(Converted::finish);
            let (Some(octets), Some(converted)) = (octets, &present.converted) else {
                return Err(
                    "NO [UNKNOWN-CTE] A message with NUL, or CR or LF by itself, cannot be stored".to_owned(),
                );
            };
            tail = Some((converted.spool, octets));
            self.spare.push(present.message.spool);
            present.message.spool = converted.spool;
        } else {
            self.spare
                .extend(present.converted.as_ref().map(|converted| converted.spool));
        }
        let message = self.present.take().map(|present| present.message);
        self.whole.extend(message);
        Ok(tail)
    }

    /// The spools that are not needed.
    pub(super) fn take_spare(&mut self) -> Vec<SpoolId> {
        core::mem::take(&mut self.spare)
    }

    /// Counts a part: how many there are.
    pub(super) fn add_part(&mut self) -> usize {
        self.parts += 1;
        self.parts
    }

    /// A spool that has to be opened for this part, and whether it is the first of the message.
    pub(super) fn unopened(&mut self, wanted: &Wanted, last_spool: &mut u32) -> Option<(SpoolId, bool)> {
        let present = self.present.as_mut()?;
        if !present.opened {
            return Some((present.message.spool, true));
        }
        let binary = matches!(wanted, Wanted::Literal(literal) if literal.binary);
        if !binary || present.catenate {
            return None;
        }
        let converted = present.converted.get_or_insert_with(|| {
            *last_spool += 1;
            Converted {
                spool: SpoolId(*last_spool),
                opened: false,
                unbinary: Box::default(),
                check: LineEnds::default(),
            }
        });
        (!converted.opened).then_some((converted.spool, false))
    }

    /// The spool is open.
    pub(super) fn opened(&mut self) {
        match &mut self.present {
            Some(Present {
                opened: true,
                converted: Some(converted),
                ..
            }) => converted.opened = true,
            Some(present) => present.opened = true,
            None => {}
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
    pub(super) fn take(&mut self, chunk: Chunk) -> Vec<(SpoolId, Chunk)> {
        let Some(present) = self.present.as_mut() else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        if present.binary {
            present.check.look_at(&chunk);
        } else {
            present.nul |= memchr::memchr(0, &chunk).is_some();
        }
        present.octets += chunk.len() as u64;
        self.total += chunk.len() as u64;
        if let Some(converted) = &mut present.converted {
            let octets = converted.take(&chunk);
            taken.extend((!octets.is_empty()).then_some((converted.spool, octets)));
        }
        if !present.nul && !present.check.broken {
            taken.push((present.message.spool, chunk));
        }
        taken
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
        let converted = present
            .clone()
            .filter_map(|present| present.converted.as_ref().filter(|converted| converted.opened));
        let whole = self.whole.iter().map(|message| message.spool);
        whole
            .chain(present.map(|present| present.message.spool))
            .chain(converted.map(|converted| converted.spool))
            .chain(self.spare.iter().copied())
            .collect()
    }

    /// All messages, in order.
    pub(super) fn finish(&mut self) -> Vec<NewMessage> {
        core::mem::take(&mut self.whole)
    }
}

impl Converted {
    fn take(&mut self, octets: &[u8]) -> Chunk {
        let mut out = Vec::new();
        self.unbinary.push(octets, &mut out);
        self.check.look_at(&out);
        Chunk::from(out)
    }

    /// The end of it; `None`: it cannot be stored either.
    fn finish(&mut self) -> Option<Chunk> {
        let mut out = Vec::new();
        let done = core::mem::take(&mut *self.unbinary).finish(&mut out);
        self.check.look_at(&out);
        (done && !self.check.is_broken()).then(|| Chunk::from(out))
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
