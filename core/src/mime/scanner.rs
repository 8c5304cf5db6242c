//! Finds the structure of a message in octets that come in any pieces (RFC 2045, 2046, 5322).
//!
//! A line is a delimiter if it begins with `--` and an open boundary; of several that fit the longest, then the
//! innermost one counts (RFC 2046 §5.1.1: "it is sufficient that the boundary appear in its entirety following the
//! CRLF"). A boundary that is never closed ends with what is around it. Delimiters of a closed multipart are text.
//!
//! What is kept is bounded: of each header the fields that are needed, up to [`MAX_HEADER`] octets (fields of MIME 64 KiB
//! more), of all headers together up to [`MAX_HEADERS`]; of each line that may be a delimiter its beginning. The work is linear: every octet
//! is looked at once, and a line that begins with `--` is compared with at most [`Structure::MAX_DEPTH`] boundaries.

use super::content::{MAX_BOUNDARY, Mime};
use super::envelope::{envelope, is_envelope_field};
use super::header::name_of;
use super::part::{Kind, Marks, Part, Structure};

/// Octets of one header that are kept for parsing; fields that nobody needs do not count.
pub const MAX_HEADER: usize = 256 * 1024;

/// Octets beyond [`MAX_HEADER`] for the fields of MIME alone: they are found also behind a thousand recipients.
const MAX_MIME_FIELDS: usize = 64 * 1024;

/// Octets of all headers of a message that are kept for parsing; parts beyond have the defaults of MIME.
pub const MAX_HEADERS: usize = 16 * 1024 * 1024;

/// Octets of a line that are needed to tell a delimiter: both pairs of hyphens and the boundary.
const MAX_PREFIX: usize = MAX_BOUNDARY + 4;

/// The structure of a message that lies in memory.
#[must_use]
pub fn scan(message: &[u8]) -> Structure {
    let mut scanner = Scanner::new();
    scanner.push(message);
    scanner.finish()
}

/// Where the parts of a message lie, and what they are: of envelopes there is only whether there is one, and nothing is
/// counted or marked. A body that has no parts is not looked at.
#[must_use]
pub fn scan_parts(message: &[u8]) -> Structure {
    let mut scanner = Scanner::new();
    scanner.header.parts_only = true;
    scanner.push(message);
    scanner.finish()
}

/// A message being read. The pieces' sizes do not matter to the result.
#[derive(Debug)]
pub struct Scanner {
    parts: Vec<Part>,
    /// From the message down to the innermost part that is not ended.
    open: Vec<Open>,
    /// How many of them have a boundary.
    boundaries: usize,
    truncated: bool,
    offset: u64,
    counts: Counts,
    line: LineState,
    in_header: bool,
    header: Header,
    comparisons: u64,
}

#[derive(Debug)]
struct Open {
    part: usize,
    boundary: Option<Box<[u8]>>,
    /// Its close-delimiter was seen.
    closed: bool,
    /// At the start of the header, then of the body.
    start: Counts,
}

/// Running totals; differences tell what is in a range.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    lf: u64,
    cr: u64,
    crlf: u64,
    nul: u64,
    /// Pieces with octets above 0x7f: only whether the number grows means something.
    eight_bit: u64,
}

impl Counts {
    fn marks_since(&self, start: &Self) -> Marks {
        Marks {
            eight_bit: self.eight_bit > start.eight_bit,
            nul: self.nul > start.nul,
            bare_cr: self.cr - start.cr > self.crlf - start.crlf,
            bare_lf: self.lf - start.lf > self.crlf - start.crlf,
        }
    }
}

/// The line being read.
#[derive(Debug, Default)]
struct LineState {
    /// Offset of its first octet.
    start: u64,
    /// The totals there, if it may be a delimiter.
    at_start: Counts,
    len: u64,
    /// Its beginning, if it may be a delimiter.
    prefix: Vec<u8>,
    /// Octets of the line end before it.
    previous_end: u64,
    /// Its last octet but for the LF.
    last: u8,
    /// Its LF was seen.
    ended: bool,
}

/// The fields of the header being read that are needed later.
#[derive(Debug, Default)]
struct Header {
    octets: Vec<u8>,
    /// Where the present line begins in `octets`.
    line: usize,
    /// The present field is kept.
    keep: bool,
    /// The present field is one of the envelope.
    of_envelope: bool,
    /// Fields of the envelope are needed too.
    envelope: bool,
    /// What they say is not, nor what is counted.
    parts_only: bool,
    /// Octets that may still be kept, over all headers.
    left: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// At the start of a message.
    #[must_use]
    pub fn new() -> Self {
        let mut scanner = Self {
            parts: Vec::new(),
            open: Vec::new(),
            boundaries: 0,
            truncated: false,
            offset: 0,
            counts: Counts::default(),
            line: LineState::default(),
            in_header: true,
            header: Header {
                left: MAX_HEADERS,
                ..Header::default()
            },
            comparisons: 0,
        };
        scanner.begin_part(0, Counts::default());
        scanner
    }

    /// Boundaries compared with lines so far: a measure of the work.
    #[must_use]
    pub fn comparisons(&self) -> u64 {
        self.comparisons
    }

    /// About how many octets what was found so far keeps in memory: for hosts that read many messages at a time.
    #[must_use]
    pub fn weight(&self) -> usize {
        let headers = MAX_HEADERS.saturating_sub(self.header.left) + self.header.octets.len();
        self.parts.len() * size_of::<Part>() + headers
    }

    /// Takes the next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        // What the totals do not have yet: from `run` to `rest`.
        let mut run = octets;
        while let Some(first) = rest.first() {
            if self.header.parts_only && !self.in_header && self.boundaries == 0 && self.line.len == 0 {
                // Nothing can end this body but the end of the message.
                self.offset += rest.len() as u64;
                return;
            }
            if self.line.len == 0 {
                self.line.start = self.offset;
                if *first == b'-' && self.boundaries > 0 {
                    self.count(&mut run, rest);
                    self.line.at_start = self.counts;
                }
            }
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let (line, more) = rest
                .split_at_checked(end.unwrap_or(rest.len()))
                .unwrap_or((rest, &[]));
            self.take(line);
            rest = more;
            if end.is_some() {
                if self.in_header || !self.line.prefix.is_empty() {
                    self.count(&mut run, rest);
                }
                self.end_line();
            }
        }
        self.count(&mut run, rest);
    }

    /// The message is whole.
    #[must_use]
    pub fn finish(mut self) -> Structure {
        if self.line.len > 0 {
            self.end_line();
        }
        while self.in_header {
            self.end_header(self.offset, self.counts);
        }
        self.close_to(0, self.offset, self.offset, self.counts);
        Structure {
            parts: self.parts,
            size: self.offset,
            truncated: self.truncated,
        }
    }

    /// Adds to the totals what lies before `rest`.
    fn count<'a>(&mut self, run: &mut &'a [u8], rest: &'a [u8]) {
        if self.header.parts_only {
            return;
        }
        let new = run
            .get(..run.len().saturating_sub(rest.len()))
            .unwrap_or_default();
        self.counts.eight_bit += u64::from(!new.is_ascii());
        self.counts.nul += memchr::memchr_iter(0, new).count() as u64;
        self.counts.cr += memchr::memchr_iter(b'\r', new).count() as u64;
        *run = rest;
    }

    /// Takes a piece of a line, up to its LF at most.
    fn take(&mut self, piece: &[u8]) {
        let line = &mut self.line;
        let starts = line.len == 0 && piece.first() == Some(&b'-') && self.boundaries > 0;
        if starts || !line.prefix.is_empty() {
            let room = MAX_PREFIX.saturating_sub(line.prefix.len());
            line.prefix.extend(piece.iter().take(room));
        }
        if self.in_header {
            self.header.take(piece);
        }
        if let [.., last, b'\n'] = piece {
            line.last = *last;
        }
        line.ended = piece.last() == Some(&b'\n');
        if line.ended {
            self.counts.lf += 1;
            self.counts.crlf += u64::from(line.last == b'\r');
        } else {
            line.last = piece.last().copied().unwrap_or_default();
        }
        line.len += piece.len() as u64;
        self.offset += piece.len() as u64;
    }

    /// The line is whole, with its LF unless the message ends here.
    fn end_line(&mut self) {
        let line = &self.line;
        let empty = line.ended && (line.len == 1 || (line.len == 2 && line.last == b'\r'));
        match self.delimiter() {
            Some((level, closing)) => self.delimit(level, closing),
            None if self.in_header && empty => self.end_header(self.offset, self.counts),
            None if self.in_header => self.header.end_line(),
            None => {}
        }
        let line = &mut self.line;
        line.previous_end = 1 + u64::from(line.last == b'\r');
        line.len = 0;
        line.last = 0;
        line.prefix.clear();
    }

    /// Which open multipart (as a position in `open`) the line delimits, and whether it closes it.
    fn delimiter(&mut self) -> Option<(usize, bool)> {
        let text = self.line.prefix.strip_prefix(b"--")?;
        let mut best: Option<(usize, &Open, &[u8])> = None;
        for (level, open) in self.open.iter().enumerate().rev() {
            let Some(boundary) = open.boundary.as_deref() else {
                continue;
            };
            self.comparisons += 1;
            let better = best.is_none_or(|(_, other, longest)| {
                boundary.len() > longest.len() || (boundary == longest && other.closed && !open.closed)
            });
            if better && text.starts_with(boundary) {
                best = Some((level, open, boundary));
            }
        }
        let (level, open, boundary) = best?;
        let closing = text.strip_prefix(boundary)?.starts_with(b"--");
        (!open.closed).then_some((level, closing))
    }

    /// The line is a delimiter of the multipart at `level`.
    fn delimit(&mut self, level: usize, closing: bool) {
        let (at, counts) = (self.line.start, self.line.at_start);
        while self.in_header {
            self.end_header(at, counts);
        }
        self.close_to(level + 1, at.saturating_sub(self.line.previous_end), at, counts);
        let full = self.parts.len() >= Structure::MAX_PARTS;
        self.truncated |= full && !closing;
        if closing || full {
            if let Some(open) = self.open.last_mut() {
                open.closed = true;
            }
        } else {
            self.begin_part(self.offset, self.counts);
        }
    }

    fn begin_part(&mut self, at: u64, counts: Counts) {
        let parent = self.open.last().map(|open| open.part);
        let around = parent.and_then(|parent| self.parts.get(parent));
        self.header.envelope = around.is_none_or(|part| part.kind == Kind::Message);
        self.open.push(Open {
            part: self.parts.len(),
            boundary: None,
            closed: false,
            start: counts,
        });
        self.parts.push(Part {
            parent,
            subtree_end: 0,
            kind: Kind::Leaf,
            header: at..at,
            body: at..at,
            lines: 0,
            header_marks: Marks::default(),
            body_marks: Marks::default(),
            mime: Mime::default(),
            envelope: None,
        });
        self.in_header = true;
    }

    /// The innermost part's header ends at `at`; if the part is a message, the message's header begins there.
    fn end_header(&mut self, at: u64, counts: Counts) {
        self.in_header = false;
        let octets = self.header.finish();
        let room = self.open.len() < Structure::MAX_DEPTH;
        let message_room = room && self.parts.len() < Structure::MAX_PARTS;
        let in_digest = self.in_digest();
        let Some(open) = self.open.last_mut() else {
            return;
        };
        let Some(part) = self.parts.get_mut(open.part) else {
            return;
        };
        part.mime = Mime::parse(&octets, in_digest);
        part.envelope = self.header.envelope.then(|| match self.header.parts_only {
            true => Vec::new(),
            false => envelope(&octets),
        });
        part.header.end = at;
        part.body = at..at;
        if !self.header.parts_only {
            part.header_marks = counts.marks_since(&open.start);
        }
        open.start = counts;
        part.kind = match part.mime.media_type.as_str() {
            "MULTIPART" if room => Kind::Multipart,
            "MULTIPART" => Kind::Opaque,
            "MESSAGE" if is_message(&part.mime) && message_room => Kind::Message,
            "MESSAGE" if is_message(&part.mime) => Kind::Opaque,
            _ => Kind::Leaf,
        };
        match part.kind {
            Kind::Multipart => {
                open.boundary = part.mime.boundary().map(Box::from);
                self.boundaries += usize::from(open.boundary.is_some());
            }
            Kind::Message => self.begin_part(at, counts),
            Kind::Leaf | Kind::Opaque => {}
        }
    }

    /// Whether the innermost part stands in a multipart/digest.
    fn in_digest(&self) -> bool {
        let around = self.open.iter().rev().nth(1);
        let part = around.and_then(|open| self.parts.get(open.part));
        part.is_some_and(|part| part.kind == Kind::Multipart && part.mime.subtype == "DIGEST")
    }

    /// Ends all parts from `level` on at `end`, which is the end of a line before a delimiter at `at`.
    fn close_to(&mut self, level: usize, end: u64, at: u64, counts: Counts) {
        let mut end = end;
        while self.open.len() > level {
            let Some(open) = self.open.pop() else {
                return;
            };
            self.boundaries -= usize::from(open.boundary.is_some());
            let subtree_end = self.parts.len();
            let Some(part) = self.parts.get_mut(open.part) else {
                return;
            };
            // An empty body begins behind the line end that the delimiter would take.
            end = end.max(part.body.start);
            part.body.end = end;
            part.subtree_end = subtree_end;
            if !self.header.parts_only {
                part.lines = (counts.lf - u64::from(end < at)).saturating_sub(open.start.lf);
                part.body_marks = counts.marks_since(&open.start);
            }
        }
    }
}

impl Header {
    fn take(&mut self, piece: &[u8]) {
        let most = (MAX_HEADER + MAX_MIME_FIELDS).min(self.left);
        let room = most.saturating_sub(self.octets.len());
        self.octets.extend(piece.iter().take(room));
    }

    /// The present line is whole: is it wanted?
    fn end_line(&mut self) {
        let line = self.octets.get(self.line..).unwrap_or_default();
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = name_of(line);
            self.of_envelope = self.envelope && !self.parts_only && name.is_some_and(is_envelope_field);
            self.keep = self.of_envelope || name.is_some_and(Mime::is_mime_field);
        }
        if !self.keep {
            self.octets.truncate(self.line);
        } else if self.octets.len() > MAX_HEADER && self.of_envelope {
            self.cut();
        }
        self.line = self.octets.len();
    }

    /// Leaves of the present line what fits into [`MAX_HEADER`], and ends it, so that the next field is one of its own.
    fn cut(&mut self) {
        const END: &[u8] = b"\r\n";
        let most = MAX_HEADER - END.len();
        if self.line < most {
            self.octets.truncate(most);
            self.octets.extend_from_slice(END);
        } else {
            self.octets.truncate(self.line);
        }
    }

    /// What was kept. A last line that was not ended by `end_line` is the empty line or a delimiter.
    fn finish(&mut self) -> Vec<u8> {
        self.octets.truncate(self.line);
        self.left = self.left.saturating_sub(self.octets.len());
        self.line = 0;
        self.keep = false;
        core::mem::take(&mut self.octets)
    }
}

/// Whether a message is embedded: message/rfc822, and message/global (RFC 9051 §7.5.2) unless it is encoded, which
/// RFC 6532 §3.7 allows for it alone.
fn is_message(mime: &Mime) -> bool {
    match mime.subtype.as_str() {
        "RFC822" => true,
        "GLOBAL" => matches!(mime.encoding.as_str(), "7BIT" | "8BIT" | "BINARY"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
