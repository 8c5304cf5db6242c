//! Octets cut into lines, with what is known of each.

use core::time::Duration;

use super::buffer::Buffer;
use super::{Event, Take};

/// Something that stands in a transcript, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) at: Duration,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Octets of the client: a line with its end, or what there is. `within` a body, a literal, or a command that was begun.
    Client {
        octets: Vec<u8>,
        within: bool,
    },
    /// A line of the client that was replaced.
    Masked(String),
    /// A line of the server without its end, and the literal behind it.
    Server {
        line: Vec<u8>,
        body: Option<Vec<u8>>,
    },
    /// Octets of the server that are no line.
    Rest(Vec<u8>),
    /// Lines as they stand in a transcript, behind the letter and the number of the connection.
    Ready {
        letter: char,
        lines: Vec<String>,
    },
    Eof,
    Shutdown,
    Closed,
}

impl Piece {
    /// Whether a message is told that somebody has received on its way.
    pub(super) fn tells_received(&self) -> bool {
        match &self.what {
            What::Server { body: Some(body), .. } => {
                body.starts_with(b"Received:") || contains(body, b"\nReceived:")
            }
            _ => false,
        }
    }
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

/// The pieces of a session, as far as its first so many events.
pub(super) fn cut(take: &Take, events: usize) -> Vec<Piece> {
    let mut cutter = Cutter {
        imap: take.kind == "imap",
        pieces: Vec::new(),
        client: Buffer::default(),
        server: Buffer::default(),
        body: Body::None,
        goes_on: false,
    };
    let mut last = Duration::ZERO;
    for (at, event) in take.events.iter().take(events) {
        last = *at;
        match event {
            Event::Said(octets) => cutter.said(*at, octets),
            Event::Sent(octets) => cutter.sent(*at, octets),
            Event::Eof => cutter.mark(*at, What::Eof),
            Event::Shutdown => cutter.mark(*at, What::Shutdown),
            Event::Closed => {
                cutter.flush_server(*at);
                cutter.mark(*at, What::Closed);
            }
        }
    }
    cutter.flush_server(last);
    cutter.pieces
}

/// What of the client is no line of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    None,
    /// So many octets; of a literal that the server may refuse, the tag.
    Octets(usize, Option<Vec<u8>>),
    /// Up to a line with a dot.
    Dot,
}

struct Cutter {
    imap: bool,
    pieces: Vec<Piece>,
    client: Buffer,
    server: Buffer,
    body: Body,
    /// The last command is not at its end: a literal was.
    goes_on: bool,
}

impl Cutter {
    fn mark(&mut self, at: Duration, what: What) {
        self.pieces.push(Piece { at, what });
    }

    fn said(&mut self, at: Duration, octets: &[u8]) {
        self.client.push(octets);
        loop {
            let end = self.client.line();
            match &mut self.body {
                Body::Octets(left, _) => {
                    // Lines of the body, and what is there of its end.
                    let have = self.client.len().min(*left);
                    let used = match end.filter(|end| *end <= have) {
                        Some(end) => end,
                        None if have == *left => have,
                        None => return,
                    };
                    *left -= used;
                    if *left == 0 {
                        self.body = Body::None;
                    }
                    let octets = self.client.take(used);
                    if !octets.is_empty() {
                        self.mark(at, What::Client { octets, within: true });
                    }
                }
                Body::Dot => {
                    let Some(end) = end else { return };
                    let octets = self.client.take(end);
                    if octets == b".\r\n" {
                        self.body = Body::None;
                    }
                    self.mark(at, What::Client { octets, within: true });
                }
                Body::None => {
                    let Some(end) = end else { return };
                    let octets = self.client.take(end);
                    let within = core::mem::take(&mut self.goes_on);
                    self.begin_body(&octets);
                    self.mark(at, What::Client { octets, within });
                }
            }
        }
    }

    /// A literal or a chunk may follow the line.
    fn begin_body(&mut self, line: &[u8]) {
        let text = line.trim_ascii_end();
        if self.imap {
            let Some((count, waits)) = literal(text) else {
                return;
            };
            self.goes_on = true;
            let tag = text
                .split(|octet| *octet == b' ')
                .next()
                .unwrap_or_default()
                .to_vec();
            if count > 0 {
                self.body = Body::Octets(count, waits.then_some(tag));
            }
            return;
        }
        let mut words = text.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
        if words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case(b"BDAT"))
            && let Some(count) = words.next().and_then(number)
            && count > 0
        {
            self.body = Body::Octets(count, None);
        }
    }

    fn sent(&mut self, at: Duration, octets: &[u8]) {
        self.server.push(octets);
        while let Some(used) = self.server.crlf_line() {
            let line = self.server.rest().get(..used - 2).unwrap_or_default();
            let count = match self.imap {
                true => literal(line).map(|(count, _)| count),
                false => None,
            };
            if count.is_some_and(|count| self.server.len() < used.saturating_add(count)) {
                return;
            }
            let mut line = self.server.take(used);
            line.truncate(used - 2);
            let body = count.map(|count| self.server.take(count));
            self.answered(&line);
            self.mark(at, What::Server { line, body });
        }
    }

    /// What the answer says of what comes from the client.
    fn answered(&mut self, line: &[u8]) {
        if !self.imap {
            if line.starts_with(b"354") {
                self.body = Body::Dot;
            }
            return;
        }
        if let Body::Octets(_, Some(tag)) = &self.body
            && line.starts_with(&[tag.as_slice(), b" "].concat())
        {
            // The literal was refused.
            self.body = Body::None;
            self.goes_on = false;
        }
    }

    fn flush_server(&mut self, at: Duration) {
        if self.server.len() > 0 {
            let rest = self.server.take(usize::MAX / 2);
            self.mark(at, What::Rest(rest));
        }
    }
}

/// The literal that a line announces at its end: its octets, and whether the client waits for leave.
fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let open = line.iter().rposition(|octet| *octet == b'{')?;
    let inner = line.get(open + 1..)?.strip_suffix(b"}")?;
    match inner.strip_suffix(b"+") {
        Some(digits) => Some((number(digits)?, false)),
        None => Some((number(inner)?, true)),
    }
}

pub(super) fn number(digits: &[u8]) -> Option<usize> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}
