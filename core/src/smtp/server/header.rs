//! The pass over a message's header while it is spooled: what is removed, added, counted and collected.
//!
//! Older Return-Path fields go, always (RFC 5321 §4.4). Submitted mail (RFC 6409 §8) also loses Bcc and gets From,
//! Date and Message-ID when they are missing; the authors are collected. Everything else passes unchanged, and the
//! body as slices of what came in.

use super::authors::{self, Malformed};
use crate::addr::Address;
use crate::chunk::Chunk;

/// Octets of one author field that are kept to be read; a longer one is not read.
const MAX_FIELD: usize = 64 * 1024;

/// Octets of a field name at most: the bound of a line (RFC 5322 §2.1.1).
const MAX_NAME: usize = 998;

/// Addresses of a message's author fields at most.
const MAX_AUTHORS: usize = 1024;

/// Received fields at most (RFC 5321 §6.3).
const MAX_RECEIVED: u32 = 100;

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
    /// `Some`: submission.
    defaults: Option<Defaults>,
    at: At,
    /// A field has begun, so that a line may continue it.
    in_field: bool,
    kind: Kind,
    /// The name under way.
    name: Vec<u8>,
    /// The value of an author field under way.
    value: Vec<u8>,
    seen: Seen,
    received: u32,
    original: Authors,
    resent: Authors,
    resent_fields: ResentBlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Name,
    Value,
    Body,
}

/// What happens to the field under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Keep,
    Drop,
    Author,
    ResentAuthor,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    from: bool,
    date: bool,
    message_id: bool,
}

#[derive(Clone, Debug, Default)]
struct Authors {
    found: Vec<Address>,
    bad: bool,
}

/// The topmost block of Resent fields (RFC 5322 §3.6.6: each resending puts its fields before the others).
#[derive(Clone, Copy, Debug, Default)]
struct ResentBlock {
    /// One bit per field name that it has.
    fields: u8,
    /// It has ended.
    done: bool,
}

impl ResentBlock {
    const FROM: u8 = 1;
    const NAMES: [&'static str; 8] = [
        "resent-from",
        "resent-sender",
        "resent-date",
        "resent-to",
        "resent-cc",
        "resent-bcc",
        "resent-message-id",
        "resent-reply-to",
    ];

    /// A field begins. The block ends where a name comes again, or behind its Resent-From where others follow.
    fn field(&mut self, name: &str) {
        let place = Self::NAMES.iter().position(|known| *known == name);
        let bit = place.map_or(0, |place| 1_u8 << place);
        self.done |= if bit == 0 {
            self.fields & Self::FROM != 0
        } else {
            self.fields & bit != 0
        };
        if !self.done {
            self.fields |= bit;
        }
    }

    fn has_from(self) -> bool {
        self.fields & Self::FROM != 0
    }
}

impl Pass {
    /// A pass; `defaults` are given for submitted mail.
    pub(super) fn new(defaults: Option<Defaults>) -> Self {
        Self {
            defaults,
            at: At::LineStart,
            in_field: false,
            kind: Kind::Keep,
            name: Vec::new(),
            value: Vec::new(),
            seen: Seen::default(),
            received: 0,
            original: Authors::default(),
            resent: Authors::default(),
            resent_fields: ResentBlock::default(),
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
            At::LineStart | At::Value => self.end_header(&mut kept),
            At::Body => {}
        }
        if !kept.is_empty() {
            store(Chunk::from(kept));
        }
        let authors = if self.resent_fields.has_from() {
            &self.resent
        } else {
            &self.original
        };
        let fault = if self.received > MAX_RECEIVED {
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
                self.end_field();
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
            kept.extend_from_slice(part);
        }
        if matches!(self.kind, Kind::Author | Kind::ResentAuthor) {
            // One octet more than permitted is kept as the sign that it was too long.
            let room = (MAX_FIELD + 1).saturating_sub(self.value.len());
            self.value
                .extend_from_slice(part.get(..room.min(end)).unwrap_or_default());
        }
        self.at = next;
        end
    }

    /// The name is whole: what is to become of the field?
    fn begin_field(&mut self, kept: &mut Vec<u8>) {
        let name = String::from_utf8_lossy(self.name.trim_ascii_end()).to_ascii_lowercase();
        let submission = self.defaults.is_some();
        if submission {
            self.resent_fields.field(&name);
        }
        self.kind = match name.as_str() {
            "return-path" => Kind::Drop,
            "received" => {
                self.received = self.received.saturating_add(1);
                Kind::Keep
            }
            "bcc" | "resent-bcc" if submission => Kind::Drop,
            "from" | "sender" if submission => {
                self.seen.from |= name == "from";
                Kind::Author
            }
            "resent-from" | "resent-sender" if submission && !self.resent_fields.done => Kind::ResentAuthor,
            "date" => {
                self.seen.date = true;
                Kind::Keep
            }
            "message-id" => {
                self.seen.message_id = true;
                Kind::Keep
            }
            _ => Kind::Keep,
        };
        if self.kind != Kind::Drop {
            kept.extend_from_slice(&self.name);
            kept.push(b':');
        }
        self.in_field = true;
        self.value.clear();
        self.at = At::Value;
    }

    /// The field under way, if any, is whole.
    fn end_field(&mut self) {
        let authors = match self.kind {
            Kind::Author => &mut self.original,
            Kind::ResentAuthor => &mut self.resent,
            Kind::Keep | Kind::Drop => return,
        };
        self.kind = Kind::Keep;
        let read = if self.value.len() > MAX_FIELD {
            Err(Malformed)
        } else {
            authors::addresses(&self.value)
        };
        match read {
            // Many fields of one name are no way around the bound of one field.
            Ok(found) if authors.found.len() + found.len() <= MAX_AUTHORS => authors.found.extend(found),
            _ => authors.bad = true,
        }
        self.value = Vec::new();
    }

    /// The header ends with an empty line, or with the message.
    fn end_header(&mut self, kept: &mut Vec<u8>) {
        self.end_field();
        if let Some(defaults) = &self.defaults {
            if !self.seen.from {
                match &defaults.from {
                    Some(from) => {
                        kept.extend_from_slice(format!("From: {from}\r\n").as_bytes());
                        self.original.found.push(from.clone());
                    }
                    None => self.original.bad = true,
                }
            }
            if !self.seen.date {
                kept.extend_from_slice(format!("Date: {}\r\n", defaults.date).as_bytes());
            }
            if !self.seen.message_id {
                kept.extend_from_slice(format!("Message-ID: {}\r\n", defaults.message_id).as_bytes());
            }
        }
        self.at = At::Body;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            from: Address::parse("me@x.y"),
            date: "DATE".into(),
            message_id: "<id@x.y>".into(),
        }
    }

    fn run(defaults: Option<&Defaults>, parts: &[&[u8]]) -> (Vec<u8>, Summary) {
        let mut pass = Pass::new(defaults.cloned());
        let mut stored = Vec::new();
        for part in parts {
            pass.push(Chunk::copy_from(part), |chunk| stored.extend_from_slice(&chunk));
        }
        let summary = pass.finish(|chunk| stored.extend_from_slice(&chunk));
        (stored, summary)
    }

    /// The same whole, octet by octet, and in every split in two.
    fn all_splits(defaults: Option<&Defaults>, message: &str) -> (String, Summary) {
        let input = message.as_bytes();
        let whole = run(defaults, &[input]);
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(run(defaults, &octets), whole);
        for at in 0..input.len() {
            assert_eq!(run(defaults, &[&input[..at], &input[at..]]), whole, "at {at}");
        }
        (String::from_utf8(whole.0).expect("text"), whole.1)
    }

    fn submitted(message: &str) -> (String, Summary) {
        all_splits(Some(&defaults()), message)
    }

    fn authors(message: &str) -> Option<Vec<String>> {
        let (_, summary) = submitted(message);
        match summary.fault {
            None => Some(summary.authors.iter().map(ToString::to_string).collect()),
            Some(fault) => {
                assert_eq!(fault, Fault::BadAuthor);
                None
            }
        }
    }

    #[test]
    fn relayed_mail_loses_its_return_path_only() {
        let message = "Return-Path: <a@b.c>\r\nBcc: x\r\nFrom: broken <\r\nRETURN-path :\r\n folded\r\nX: y\r\n\r\n\
                       Return-Path: body\r\n";
        let (stored, summary) = all_splits(None, message);
        assert_eq!(
            stored,
            "Bcc: x\r\nFrom: broken <\r\nX: y\r\n\r\nReturn-Path: body\r\n"
        );
        assert_eq!((summary.authors, summary.fault), (vec![], None));
        for odd in [
            "",
            "\r\n",
            "no header\r\n",
            " folded\r\n",
            ": x\r\n",
            "A: b\r\n",
            "A b: c\r\n",
        ] {
            assert_eq!(all_splits(None, odd).0, odd);
        }
    }

    #[test]
    fn submitted_mail_gets_what_is_missing() {
        let added = "From: me@x.y\r\nDate: DATE\r\nMessage-ID: <id@x.y>\r\n";
        assert_eq!(submitted("").0, added);
        assert_eq!(submitted("\r\nbody\r\n").0, format!("{added}\r\nbody\r\n"));
        assert_eq!(submitted("A: b\r\n").0, format!("A: b\r\n{added}"));
        assert_eq!(submitted("hello\r\n").0, format!("{added}\r\nhello\r\n"));
        assert_eq!(
            submitted("Subject: x\r\nFrom b\r\n").0,
            format!("Subject: x\r\n{added}\r\nFrom b\r\n")
        );
        assert_eq!(authors("\r\nbody\r\n"), Some(vec!["me@x.y".into()]));
        let whole = "from: a@b.c\r\nDATE: x\r\nmessage-Id: y\r\n\r\nbody\r\n";
        assert_eq!(submitted(whole).0, whole);
    }

    #[test]
    fn submitted_mail_loses_bcc() {
        let head = "From: a@b.c\r\nDate: x\r\nMessage-ID: y\r\n";
        let message =
            format!("{head}Bcc: p@q.r,\r\n s@t.u\r\nTo: v@w.x\r\nResent-Bcc:z\r\n\r\nBcc: body\r\n");
        assert_eq!(
            submitted(&message).0,
            format!("{head}To: v@w.x\r\n\r\nBcc: body\r\n")
        );
    }

    #[test]
    fn authors_are_those_of_every_from_and_sender() {
        let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            authors("From: a@b.c,\r\n d@e.f\r\nSender : g@h.i\r\nFrom: j@k.l\r\n\r\nFrom: no@no.no\r\n"),
            list(&["a@b.c", "d@e.f", "g@h.i", "j@k.l"])
        );
        assert_eq!(authors("From: broken\r\n\r\n"), None);
        assert_eq!(authors("From: a@b.c\r\nSender:\r\n\r\n"), None);
        let long = format!("From: a@b.c, {}\r\n\r\n", "(x)".repeat(MAX_FIELD / 3));
        let (_, summary) = run(Some(&defaults()), &[long.as_bytes()]);
        assert_eq!(summary.fault, Some(Fault::BadAuthor));
        let many = "From: a@b.c\r\n".repeat(MAX_AUTHORS + 1);
        let (_, summary) = run(Some(&defaults()), &[many.as_bytes()]);
        assert_eq!(summary.fault, Some(Fault::BadAuthor));
    }

    #[test]
    fn the_newest_resent_block_stands_for_the_authors() {
        let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let old = "Received: x\r\nResent-From: old@x.y\r\nResent-Sender: older@x.y\r\nFrom: a@b.c\r\n\r\n";
        let new = "Resent-Date: x\r\nResent-From: new@x.y\r\nResent-Sender: s@x.y\r\n";
        assert_eq!(authors(&format!("{new}{old}")), list(&["new@x.y", "s@x.y"]));
        // Two blocks without anything between.
        assert_eq!(
            authors("Resent-From: n@x.y\r\nResent-Date: 1\r\nResent-Date: 0\r\nResent-Sender: o@x.y\r\n\r\n"),
            list(&["n@x.y"])
        );
        // Without Resent-From the block does not count.
        assert_eq!(
            authors("Resent-To: n@x.y\r\nFrom: a@b.c\r\n\r\n"),
            list(&["a@b.c"])
        );
        assert_eq!(authors("Resent-From: ?\r\nFrom: a@b.c\r\n\r\n"), None);
    }

    #[test]
    fn loops_are_counted() {
        let hops = |n: usize| format!("{}\r\n", "Received: x\r\n".repeat(n));
        assert_eq!(run(None, &[hops(100).as_bytes()]).1.fault, None);
        assert_eq!(run(None, &[hops(101).as_bytes()]).1.fault, Some(Fault::Loop));
    }

    #[test]
    fn an_endless_name_is_no_field() {
        let line = "x".repeat(5 * MAX_NAME);
        assert_eq!(run(None, &[line.as_bytes()]).0, line.as_bytes());
        let field = format!("{}: y\r\n", "x".repeat(MAX_NAME));
        assert_eq!(run(None, &[field.as_bytes()]).0, field.as_bytes());
    }

    #[test]
    fn the_body_passes_as_slices() {
        let mut pass = Pass::new(None);
        let mut pieces = Vec::new();
        pass.push(Chunk::copy_from(b"A: b\r\n\r\nbody\r\n"), |chunk| {
            pieces.push(chunk)
        });
        assert_eq!(
            pieces,
            [Chunk::copy_from(b"A: b\r\n"), Chunk::copy_from(b"\r\nbody\r\n")]
        );
    }
}
