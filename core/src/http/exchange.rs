//! One request on its way: what is still to be read of its body, and how it is answered.

use super::chunked::{Chunked, Piece};
use super::gzip::Gzip;
use super::request::{Bad, Framing, Request};
use super::wire::End;
use super::{Body, Head, Response, gzip};
use crate::chunk::Chunk;
use crate::line::Inbox;
use crate::machine::SpoolId;
use crate::pace::Pace;
use crate::time::Now;

/// Octets of a body taken from the inbox in one step.
const STEP: usize = 64 * 1024;
/// A body of so many octets that nobody wants is read and dropped; before a longer one the connection is closed.
const DRAINED: u64 = 64 * 1024;
/// Room that is made for a body in memory before it is there.
const EARLY: u64 = 64 * 1024;

/// A request whose head was read.
#[derive(Debug)]
pub(super) struct Exchange {
    /// What is unread of the body.
    unread: Unread,
    /// The client waits for 100 (Continue).
    expects: bool,
    /// HEAD: the response has no body.
    pub(super) head_only: bool,
    /// HTTP/1.0.
    pub(super) old: bool,
    /// The client wants the connection to go on.
    pub(super) persistent: bool,
    /// The client takes gzip.
    gzip: bool,
    /// The body that is being read.
    pub(super) reading: Option<Reading>,
    pub(super) answer: Answer,
}

/// How far the answer is.
#[derive(Debug)]
pub(super) enum Answer {
    /// Not begun.
    Awaited,
    /// A stream: more is pushed.
    Streaming,
    /// A long body is compressed step by step.
    Compressing(Box<Gzip>),
    /// Whole.
    Whole,
}

#[derive(Clone, Copy, Debug)]
enum Unread {
    Nothing,
    Counted(u64),
    Chunked(Chunked),
}

/// A body that is wanted.
#[derive(Debug)]
pub(super) struct Reading {
    max: u64,
    /// Octets of chunks that have begun.
    announced: u64,
    pub(super) spool: Option<SpoolId>,
    octets: Vec<u8>,
    pub(super) pace: Pace,
}

/// What became of reading on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Octets for the spool.
    Spool(SpoolId, Chunk),
    /// Octets went to memory.
    Kept,
    /// More input is needed.
    Partial,
    /// The body is whole: what is in memory of it.
    Whole(Vec<u8>),
    /// It is longer than permitted.
    TooLarge,
}

/// What the API's wish for the body comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// There is no body.
    Nothing,
    /// It is announced as longer than permitted.
    TooLarge,
    /// It is read; the client waits for 100 (Continue).
    Continue,
    /// It is read.
    Reading,
}

impl Exchange {
    pub(super) fn new(request: &Request) -> Self {
        let Head { method, old, .. } = &request.head;
        Self {
            unread: match request.framing {
                Framing::None => Unread::Nothing,
                Framing::Counted(octets) => Unread::Counted(octets),
                Framing::Chunked => Unread::Chunked(Chunked::default()),
            },
            expects: request.expects,
            head_only: method == "HEAD",
            old: *old,
            persistent: request.persistent,
            gzip: !old && gzip::is_taken(&request.head),
            reading: None,
            answer: Answer::Awaited,
        }
    }

    /// The body is wanted.
    pub(super) fn read(&mut self, max: u64, spool: Option<SpoolId>, pace: Pace) -> Begun {
        let announced = match self.unread {
            Unread::Nothing => return Begun::Nothing,
            Unread::Counted(octets) if octets > max => return Begun::TooLarge,
            Unread::Counted(octets) => octets,
            Unread::Chunked(_) => 0,
        };
        let room = if spool.is_none() { announced.min(EARLY) } else { 0 };
        self.reading = Some(Reading {
            max,
            announced: 0,
            spool,
            octets: Vec::with_capacity(usize::try_from(room).unwrap_or(0)),
            pace,
        });
        match core::mem::take(&mut self.expects) {
            true => Begun::Continue,
            false => Begun::Reading,
        }
    }

    /// Reads on in the body that is wanted.
    pub(super) fn read_on(&mut self, now: Now, inbox: &mut Inbox) -> Result<Read, Bad> {
        let Some(reading) = &mut self.reading else {
            return Ok(Read::Partial);
        };
        let data = match &mut self.unread {
            Unread::Nothing | Unread::Counted(0) => return Ok(self.whole()),
            Unread::Counted(left) => {
                let max = usize::try_from(*left).unwrap_or(usize::MAX).min(STEP);
                let Some(data) = inbox.take(max) else {
                    return Ok(Read::Partial);
                };
                *left = left.saturating_sub(data.len() as u64);
                data
            }
            Unread::Chunked(chunked) => match chunked.take(inbox, STEP)? {
                Piece::Partial => return Ok(Read::Partial),
                Piece::End => return Ok(self.whole()),
                Piece::Size(size) => {
                    reading.announced = reading.announced.saturating_add(size);
                    if reading.announced > reading.max {
                        self.reading = None;
                        return Ok(Read::TooLarge);
                    }
                    return Ok(Read::Kept);
                }
                Piece::Data(data) => data,
            },
        };
        reading.pace.earn(now, data.len());
        Ok(match reading.spool {
            Some(spool) => Read::Spool(spool, data),
            None => {
                reading.octets.extend_from_slice(&data);
                Read::Kept
            }
        })
    }

    fn whole(&mut self) -> Read {
        self.unread = Unread::Nothing;
        let reading = self.reading.take();
        Read::Whole(reading.map(|reading| reading.octets).unwrap_or_default())
    }

    /// What must be read and dropped before the next request; `None`: the connection cannot go on.
    pub(super) fn to_drain(&self) -> Option<u64> {
        match self.unread {
            Unread::Nothing => Some(0),
            // Whoever waits for 100 (Continue) may send the body or not: nobody knows (RFC 9110 §10.1.1).
            Unread::Counted(octets) if octets <= DRAINED && !self.expects && self.reading.is_none() => {
                Some(octets)
            }
            Unread::Counted(_) | Unread::Chunked(_) => None,
        }
    }

    /// What the body of a response becomes on the wire, and how its end is told.
    pub(super) fn encode(&self, response: &mut Response) -> (End, Option<Box<Gzip>>) {
        if matches!(response.status, 204 | 304) {
            response.body = Body::Bytes(Vec::new());
            return (End::NoBody, None);
        }
        let unknown = if self.old { End::Closed } else { End::Chunked };
        match &mut response.body {
            Body::Blob(_, octets) => (End::Counted(*octets), None),
            Body::Stream => (unknown, None),
            Body::Bytes(octets) => {
                let named = |name: &str| {
                    let mut fields = response.fields.iter();
                    fields
                        .find(|(other, _)| other.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value)
                };
                let kind = named("Content-Type").map(String::as_str).unwrap_or_default();
                let coded = named("Content-Encoding").is_some();
                if coded || !gzip::is_worth_it(kind, octets.len()) {
                    return (End::Counted(octets.len() as u64), None);
                }
                response.fields.push(("Vary", "Accept-Encoding".to_owned()));
                if !self.gzip {
                    return (End::Counted(octets.len() as u64), None);
                }
                response.fields.push(("Content-Encoding", "gzip".to_owned()));
                let mut gzip = Gzip::new(core::mem::take(octets));
                if !gzip.is_short() {
                    return (End::Chunked, Some(Box::new(gzip)));
                }
                let short = gzip.step().unwrap_or_default();
                let end = End::Counted(short.len() as u64);
                *octets = short;
                (end, None)
            }
        }
    }
}
