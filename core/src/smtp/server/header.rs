//! The pass over a message's header while it is spooled: what is removed, added, counted and collected.
//!
//! Older Return-Path fields go, always (RFC 5321 §4.4). Submitted mail (RFC 6409 §8) also loses Bcc, and gets what is
//! missing, blank or not readable: From, Sender if there are several authors, Date, Message-ID, and the same of the newest
//! block of Resent fields if it has a Resent-From. The authors are collected. Everything else passes unchanged, and
//! the body as slices of what came in.

mod encode;
mod resent;
mod value;

use self::resent::ResentBlock;
use super::authors::{self, Malformed};
use crate::addr::Address;
use crate::chunk::Chunk;

/// Octets of one author field that are kept to be read; a longer one is not read.
const MAX_FIELD: usize = 64 * 1024;

/// Octets of a field name at most: the bound of a line (RFC 5322 §2.1.1).
const MAX_NAME: usize = 998;

/// Addresses of a message's author fields at most.
const MAX_AUTHORS: usize = 1024;

/// With so many Received fields a message is in a loop (RFC 5321 §6.3).
const MAX_RECEIVED: u32 = 100;

/// With so many of our own too.
const MAX_RECEIVED_HERE: u32 = 30;

/// Octets of a field that is held back until it is known whether it stays; a longer one stays.
const MAX_HELD: usize = 16 * 1024;

/// Octets of a Received field that are looked at.
const MAX_TRACE: usize = 4_000;

/// Why a message is refused for its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Too many Received fields.
    Loop,
    /// The author cannot be read.
    BadAuthor,
}

/// What a submitted message gets when it is missing.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    /// The account's own address. `None` when it is none that a header may have: then From must be there.
    pub(super) from: Option<Address>,
    /// `Date`, printed.
    pub(super) date: String,
    /// `Message-ID`, with angle brackets.
    pub(super) message_id: String,
    /// `Resent-Message-ID`, the same.
    pub(super) resent_message_id: String,
    /// The client has asked for SMTPUTF8: text stays as it is. Else it becomes encoded words where that can be.
    pub(super) utf8: bool,
}

/// What was learned from the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Addresses of From and Sender, or of the newest Resent block. Empty for mail that was not submitted.
    pub(super) authors: Vec<Address>,
    /// Why the message is refused.
    pub(super) fault: Option<Fault>,
}

/// The pass.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// Our name, as Received fields of ours have it.
    hostname: String,
    /// `Some`: submission.
    defaults: Option<Box<Defaults>>,
    at: At,
    /// A field has begun, so that a line may continue it.
    in_field: bool,
    kind: Kind,
    /// The name under way.
    name: Vec<u8>,
    /// The value under way, as far as it has to be read.
    value: Vec<u8>,
    /// Octets of the field under way that are held back.
    held: Option<Vec<u8>>,
    seen: Seen,
    received: u32,
    received_here: u32,
    original: Authors,
    resent: Authors,
    resent_block: ResentBlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Name,
    Value,
    Body,
}

/// What the field under way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Keep,
    Drop,
    Received,
    From,
    Sender,
    Date,
    MessageId,
    ResentAuthor,
}

impl Kind {
    /// Octets of its value that are read.
    const fn bound(self) -> usize {
        match self {
            // One more than permitted is kept as the sign that it was too long.
            Self::From | Self::Sender | Self::ResentAuthor => MAX_FIELD + 1,
            Self::Date | Self::MessageId => MAX_HELD,
            Self::Received => MAX_TRACE,
            Self::Keep | Self::Drop => 0,
        }
    }

    /// Whether it stays is known at its end only.
    const fn is_held(self) -> bool {
        matches!(self, Self::From | Self::Sender | Self::Date | Self::MessageId)
    }

    /// It may have to be written otherwise.
    const fn may_be_encoded(self) -> bool {
        !matches!(self, Self::Drop | Self::Received)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    from: bool,
    sender: bool,
    date: bool,
    message_id: bool,
}

#[derive(Clone, Debug, Default)]
struct Authors {
    found: Vec<Address>,
    bad: bool,
}

impl Authors {
    /// Takes the value of an author field; gives the number of its addresses.
    fn read(&mut self, value: &[u8]) -> usize {
        let read = if value.len() > MAX_FIELD {
            Err(Malformed)
        } else {
            authors::addresses(value)
        };
        match read {
            // Many fields of one name are no way around the bound of one field.
            Ok(found) if self.found.len() + found.len() <= MAX_AUTHORS => {
                let count = found.len();
                self.found.extend(found);
                count
            }
            _ => {
                self.bad = true;
                0
            }
        }
    }
}

impl Pass {
    /// A pass on the host of this name; `defaults` are given for submitted mail.
    pub(super) fn new(hostname: &str, defaults: Option<Defaults>) -> Self {
        Self {
            hostname: hostname.to_owned(),
            defaults: defaults.map(Box::new),
            at: At::LineStart,
            in_field: false,
            kind: Kind::Keep,
            name: Vec::new(),
            value: Vec::new(),
            held: None,
            seen: Seen::default(),
            received: 0,
            received_here: 0,
            original: Authors::default(),
            resent: Authors::default(),
            resent_block: ResentBlock::default(),
        }
    }

    /// Takes octets of the message and hands on what is to be stored.
    pub(super) fn push(&mut self, piece: Chunk, mut store: impl FnMut(Chunk)) {
        if self.at == At::Body {
            store(piece);
            return;
        }
        let (mut kept, mut at) = (Vec::new(), 0);
        while self.at != At::Body
            && let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty())
        {
            at += self.step(rest, &mut kept);
        }
        if !kept.is_empty() {
            store(Chunk::from(kept));
        }
        let body = piece.slice(at..piece.len());
        if !body.is_empty() {
            store(body);
        }
    }

    /// The message is over; hands on what was kept back.
    pub(super) fn finish(&mut self, mut store: impl FnMut(Chunk)) -> Summary {
        let mut kept = Vec::new();
        match self.at {
            At::Name => self.no_field(&mut kept),
            At::Value if self.defaults.is_some() && self.kind != Kind::Drop => {
                // The last chunk need not end with a line: what is added begins one.
                self.keep(b"\r\n", &mut kept);
                self.end_header(&mut kept);
            }
            At::LineStart | At::Value => self.end_header(&mut kept),
            At::Body => {}
        }
        if !kept.is_empty() {
            store(Chunk::from(kept));
        }
        let authors = if self.resent_block.has_from() {
            &self.resent
        } else {
            &self.original
        };
        let fault = if self.received >= MAX_RECEIVED || self.received_here >= MAX_RECEIVED_HERE {
            Some(Fault::Loop)
        } else {
            authors.bad.then_some(Fault::BadAuthor)
        };
        Summary {
            authors: authors.found.clone(),
            fault,
        }
    }

    /// Goes on by at least one octet, or changes the state; gives the number of octets used.
    fn step(&mut self, rest: &[u8], kept: &mut Vec<u8>) -> usize {
        match (self.at, rest.first()) {
            (At::LineStart, Some(b' ' | b'\t')) if self.in_field => {
                self.at = At::Value;
                0
            }
            (At::LineStart, Some(b'\r' | b'\n')) => {
                self.end_header(kept);
                0
            }
            (At::LineStart, _) => {
                self.end_field(kept);
                self.name.clear();
                self.at = At::Name;
                0
            }
            (At::Name, _) => self.step_name(rest, kept),
            (At::Value, _) => self.step_value(rest, kept),
            (At::Body, _) => rest.len(),
        }
    }

    /// `field-name ":"` (RFC 5322 §3.6.8), with the white space before the colon of §4.5.
    fn step_name(&mut self, rest: &[u8], kept: &mut Vec<u8>) -> usize {
        for (at, &octet) in rest.iter().enumerate() {
            let after_space = matches!(self.name.last(), Some(b' ' | b'\t'));
            let good = match octet {
                b':' if !self.name.is_empty() => {
                    self.begin_field(kept);
                    return at + 1;
                }
                b' ' | b'\t' => !self.name.is_empty(),
                b':' => false,
                33..=126 => !after_space,
                _ => false,
            };
            if !good || self.name.len() >= MAX_NAME {
                self.no_field(kept);
                return at;
            }
            self.name.push(octet);
        }
        rest.len()
    }

    fn step_value(&mut self, rest: &[u8], kept: &mut Vec<u8>) -> usize {
        let (end, next) = match memchr::memchr(b'\n', rest) {
            Some(lf) => (lf + 1, At::LineStart),
            None => (rest.len(), At::Value),
        };
        let part = rest.get(..end).unwrap_or_default();
        if self.kind != Kind::Drop {
            self.keep(part, kept);
        }
        let room = self.kind.bound().saturating_sub(self.value.len());
        self.value
            .extend_from_slice(part.get(..room.min(end)).unwrap_or_default());
        self.at = next;
        end
    }

    /// Octets of the field under way: handed on, or held back.
    fn keep(&mut self, part: &[u8], kept: &mut Vec<u8>) {
        match &mut self.held {
            Some(held) if held.len() + part.len() <= MAX_HELD => held.extend_from_slice(part),
            _ => {
                kept.append(&mut self.held.take().unwrap_or_default());
                kept.extend_from_slice(part);
            }
        }
    }

    /// The name is whole: what is to become of the field?
    fn begin_field(&mut self, kept: &mut Vec<u8>) {
        let name = String::from_utf8_lossy(self.name.trim_ascii_end()).to_ascii_lowercase();
        let submission = self.defaults.is_some();
        let goes = name == "return-path" || (submission && matches!(name.as_str(), "bcc" | "resent-bcc"));
        // Who reads the message does not see what goes.
        if submission && !goes && self.resent_block.field(&name) {
            self.end_resent(kept);
        }
        self.kind = match name.as_str() {
            _ if goes => Kind::Drop,
            "received" => Kind::Received,
            "from" if submission => Kind::From,
            "sender" if submission => Kind::Sender,
            "date" if submission => Kind::Date,
            "message-id" if submission => Kind::MessageId,
            "resent-from" | "resent-sender" if submission && !self.resent_block.is_done() => {
                Kind::ResentAuthor
            }
            _ => Kind::Keep,
        };
        let held = self.kind.is_held() || (self.encodes() && self.kind.may_be_encoded());
        self.held = held.then(Vec::new);
        if self.kind != Kind::Drop {
            let mut start = core::mem::take(&mut self.name);
            start.push(b':');
            self.keep(&start, kept);
        }
        self.in_field = true;
        self.value.clear();
        self.at = At::Value;
    }

    /// The field under way, if any, is whole.
    fn end_field(&mut self, kept: &mut Vec<u8>) {
        let value = core::mem::take(&mut self.value);
        // What was too long to be held back is there, whatever it holds.
        let is_out = self.held.is_none();
        let stays = match core::mem::replace(&mut self.kind, Kind::Keep) {
            Kind::Keep | Kind::Drop => true,
            Kind::Received => {
                self.received = self.received.saturating_add(1);
                let here = value::is_received_by(&value, &self.hostname);
                self.received_here = self.received_here.saturating_add(u32::from(here));
                true
            }
            Kind::ResentAuthor => {
                self.resent.read(&value);
                true
            }
            Kind::From | Kind::Sender if !is_out && value::is_blank(&value) => false,
            Kind::From => {
                self.seen.from = true;
                self.original.read(&value);
                true
            }
            Kind::Sender => {
                self.seen.sender = true;
                self.original.read(&value);
                true
            }
            Kind::Date => {
                let good = is_out || value::is_date(&value);
                self.seen.date |= good;
                good
            }
            Kind::MessageId => {
                let good = is_out || value::is_message_id(&value);
                self.seen.message_id |= good;
                good
            }
        };
        let held = self.held.take().unwrap_or_default();
        if stays {
            let encoded = self.encodes().then(|| encode::encoded(&held)).flatten();
            kept.append(&mut encoded.unwrap_or(held));
        }
    }

    /// Text that is not ASCII becomes encoded words.
    fn encodes(&self) -> bool {
        self.defaults.as_ref().is_some_and(|defaults| !defaults.utf8)
    }

    /// The newest block of Resent fields ends here: with a Resent-From it has to have some others (RFC 5322 §3.6.6).
    fn end_resent(&mut self, kept: &mut Vec<u8>) {
        let Some(defaults) = self.defaults.as_deref() else {
            return;
        };
        let block = self.resent_block;
        if !block.has_from() {
            return;
        }
        if !block.has_sender()
            && self.resent.found.len() > 1
            && let Some(from) = &defaults.from
        {
            add(kept, "Resent-Sender", from);
            self.resent.found.push(from.clone());
        }
        if !block.has_date() {
            add(kept, "Resent-Date", &defaults.date);
        }
        if !block.has_message_id() {
            add(kept, "Resent-Message-ID", &defaults.resent_message_id);
        }
    }

    /// The header ends with an empty line, or with the message.
    fn end_header(&mut self, kept: &mut Vec<u8>) {
        self.end_field(kept);
        if self.resent_block.end() {
            self.end_resent(kept);
        }
        self.at = At::Body;
        let Some(defaults) = self.defaults.as_deref() else {
            return;
        };
        if !self.seen.from {
            match &defaults.from {
                Some(from) => {
                    add(kept, "From", from);
                    self.original.found.push(from.clone());
                }
                None => self.original.bad = true,
            }
        }
        // RFC 5322 §3.6.2: with several authors it has to be said who sent it.
        if let Some(from) = &defaults.from
            && !self.seen.sender
            && self.original.found.len() > 1
        {
            add(kept, "Sender", from);
            self.original.found.push(from.clone());
        }
        if !self.seen.date {
            add(kept, "Date", &defaults.date);
        }
        if !self.seen.message_id {
            add(kept, "Message-ID", &defaults.message_id);
        }
    }

    /// A line that is no field: the body begins without an empty line, which submitted mail gets, so that every reader
    /// sees the header end here.
    fn no_field(&mut self, kept: &mut Vec<u8>) {
        self.end_header(kept);
        if self.defaults.is_some() {
            kept.extend_from_slice(b"\r\n");
        }
        kept.append(&mut self.name);
    }
}

fn add(kept: &mut Vec<u8>, name: &str, value: impl core::fmt::Display) {
    kept.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
}

#[cfg(test)]
mod tests;
