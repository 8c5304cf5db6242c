//! Looks for the texts of a program in a message.

use core::ops::Range;
use std::collections::BTreeMap;

use super::fold::fold_into;
use super::program::{Days, Needle, Program, Test};
use super::value::{BETWEEN, searched_into};
use crate::mime::attachment::has_attachment;
use crate::mime::decode;
use crate::mime::header::{Field, Fields};
use crate::mime::parsed::{EmailId, Parsed};
use crate::mime::part::{Kind, Part};
use crate::mime::scanner::scan_parts;
use crate::mime::thread_id::ThreadId;
use crate::text::{date, encoded_word};

/// Folded octets that are gathered before they are searched.
const WINDOW: usize = 64 * 1024;

/// A message and what is known of a program's content tests.
pub(super) struct Content<'a> {
    program: &'a Program,
    message: &'a [u8],
    found: Vec<Option<bool>>,
}

impl<'a> Content<'a> {
    pub(super) fn new(program: &'a Program, message: &'a [u8]) -> Self {
        Self {
            program,
            message,
            found: vec![None; program.tests.len()],
        }
    }

    /// The outcome of each test, so far.
    pub(super) fn found(&self) -> &[Option<bool>] {
        &self.found
    }

    /// Settles what the kept part of a message tells besides its header.
    pub(super) fn know(&mut self, parsed: &Parsed) {
        for (test, found) in self.program.tests.iter().zip(&mut self.found) {
            match test {
                Test::EmailId(id) => *found = parsed.email_id().map(|own| own == *id),
                Test::ThreadId(id) => *found = ThreadId::of_kept(parsed).map(|own| own == *id),
                Test::HasAttachment => *found = parsed.parts().and_then(|parts| parts.has_attachment()),
                Test::Body(needle) | Test::Text(needle) if needle.is_empty() => *found = Some(true),
                _ => {}
            }
        }
    }

    /// Settles the wanted tests that the message's header settles, and those that need no look.
    pub(super) fn read_header(&mut self, wanted: &[bool]) {
        let tests = self.program.tests.iter().zip(&mut self.found).zip(wanted);
        let mut dates: Vec<(&Test, &mut Option<bool>)> = Vec::new();
        // By the names of their fields: a field of which nothing is asked costs one look, however much is asked.
        let mut fields: BTreeMap<Vec<u8>, Vec<(&Needle, &mut Option<bool>)>> = BTreeMap::new();
        for ((test, found), _) in tests.filter(|(_, wanted)| **wanted) {
            match test {
                Test::Body(needle) | Test::Text(needle) if needle.is_empty() => *found = Some(true),
                Test::Body(_)
                | Test::Text(_)
                | Test::EmailId(_)
                | Test::ThreadId(_)
                | Test::HasAttachment => {}
                Test::Sent(_) => {
                    *found = Some(false);
                    dates.push((test, found));
                }
                Test::Header(name, needle) => {
                    *found = Some(false);
                    let same = fields.entry(name.to_ascii_lowercase()).or_default();
                    same.push((needle, found));
                }
            }
        }
        if fields.is_empty() && dates.is_empty() {
            return;
        }
        let mut name = Vec::new();
        let mut dated = false;
        for field in Fields::new(self.message) {
            if !dated && field.is(b"date") {
                dated = true;
                let sent = date::parse_header_date(field.raw);
                for (test, found) in &mut dates {
                    let holds = |days: &Days| sent.is_some_and(|sent| days.hold(date::local_day(sent)));
                    **found = Some(matches!(test, Test::Sent(days) if holds(days)));
                }
            }
            if field.name.is_empty() {
                continue;
            }
            name.clear();
            name.extend(field.name.iter().map(u8::to_ascii_lowercase));
            let Some(asked) = fields.get_mut(&name) else {
                continue;
            };
            let text = folded_value(&field);
            asked.retain_mut(|(needle, found)| {
                let holds = needle.0.find(&text).is_some();
                **found = Some(holds);
                !holds
            });
        }
    }

    /// Settles the wanted tests that need the body.
    pub(super) fn read_body(&mut self, wanted: &[bool]) {
        let program = self.program;
        let tests = program.tests.iter().zip(wanted).enumerate();
        let open = tests.filter(|(at, (_, wanted))| **wanted && self.found.get(*at) == Some(&None));
        let (mut text, mut body, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (test, _)) in open {
            match test {
                Test::Text(needle) => text.push((at, needle)),
                Test::Body(needle) => body.push((at, needle)),
                Test::EmailId(id) => ids.push((at, EmailId::of(self.message) == *id)),
                Test::ThreadId(id) => {
                    ids.push((at, ThreadId::of_message(self.message) == Some(*id)));
                }
                Test::HasAttachment => ids.push((at, has_attachment(&scan_parts(self.message)))),
                Test::Sent(_) | Test::Header(..) => {}
            }
        }
        for (at, is) in ids {
            if let Some(slot) = self.found.get_mut(at) {
                *slot = Some(is);
            }
        }
        let mut haystack = Haystack::new(text);
        if haystack.wants() {
            haystack.header(self.message);
        }
        haystack.add(body);
        if haystack.wants() {
            self.search_parts(&mut haystack);
        }
        for (at, found) in haystack.outcome() {
            if let Some(slot) = self.found.get_mut(at) {
                *slot = Some(found);
            }
        }
    }

    /// The text parts, and the headers of embedded messages.
    fn search_parts(&self, haystack: &mut Haystack<'_>) {
        let structure = scan_parts(self.message);
        for (index, part) in structure.parts.iter().enumerate() {
            if !haystack.wants() {
                return;
            }
            if index > 0 && part.envelope.is_some() {
                haystack.header(self.slice(&part.header));
            }
            if is_text(part) {
                decode::text(&part.mime, self.slice(&part.body), |piece| haystack.piece(piece));
                haystack.end();
            }
        }
    }

    fn slice(&self, range: &Range<u64>) -> &'a [u8] {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        self.message
            .get(at(range.start)..at(range.end))
            .unwrap_or_default()
    }
}

/// Text, and what is text although it is called a message: delivery reports and their like.
fn is_text(part: &Part) -> bool {
    part.kind == Kind::Leaf && (part.mime.is_type("TEXT") || part.mime.is_type("MESSAGE"))
}

/// A field's value decoded and folded.
fn folded_value(field: &Field<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    searched_into(&mut out, field);
    out
}

/// Text that streams by while needles are looked for in it. Every octet is searched once, but for the overlap of two
/// windows, which is shorter than half of one.
struct Haystack<'p> {
    missing: Vec<(usize, &'p Needle)>,
    present: Vec<usize>,
    window: Vec<u8>,
    /// Octets that the next window needs of this one: one less than the longest needle has.
    overlap: usize,
}

impl<'p> Haystack<'p> {
    fn new(needles: Vec<(usize, &'p Needle)>) -> Self {
        let mut haystack = Self {
            missing: Vec::new(),
            present: Vec::new(),
            window: Vec::new(),
            overlap: 0,
        };
        haystack.add(needles);
        haystack
    }

    fn add(&mut self, needles: Vec<(usize, &'p Needle)>) {
        for (at, needle) in needles {
            self.overlap = self.overlap.max(needle.0.needle().len().saturating_sub(1));
            self.missing.push((at, needle));
        }
    }

    /// Whether something is still to be found.
    fn wants(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether each needle was found.
    fn outcome(self) -> impl Iterator<Item = (usize, bool)> {
        let missing = self.missing.into_iter().map(|(at, _)| (at, false));
        missing.chain(self.present.into_iter().map(|at| (at, true)))
    }

    /// The decoded fields of a header, each for itself.
    fn header(&mut self, header: &[u8]) {
        for field in Fields::new(header) {
            self.piece(&encoded_word::undeclared(field.name));
            self.window.extend_from_slice(b": ");
            self.piece(encoded_word::decode(field.raw).trim());
            // Fields are searched together: a header may have a million of them.
            self.window.push(BETWEEN);
        }
        self.end();
    }

    /// The next piece of a text; an empty one begins it anew. False: nothing is missing any more.
    fn piece(&mut self, piece: &str) -> bool {
        if piece.is_empty() {
            self.end();
        }
        fold_into(&mut self.window, piece);
        if self.window.len() >= WINDOW.max(self.overlap * 2) {
            self.search();
            let keep = self.window.len().saturating_sub(self.overlap);
            self.window.drain(..keep);
        }
        self.wants()
    }

    /// The text ends here.
    fn end(&mut self) {
        self.search();
        self.window.clear();
    }

    fn search(&mut self) {
        let Self {
            missing,
            present,
            window,
            ..
        } = self;
        missing.retain(|(at, needle)| {
            let found = needle.0.find(window).is_some();
            if found {
                present.push(*at);
            }
            !found
        });
    }
}

#[cfg(test)]
mod tests;
