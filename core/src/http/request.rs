//! The head of a request, line by line (RFC 9112 §2 to §6), and how its body is framed.
//!
//! Stricter than the RFC asks, for whoever stands before us may read leniently what we read strictly, and then two do not
//! agree where a request ends (RFC 9112 §11.2): only CRLF ends a line, and whatever could be read in two ways is refused.

use super::head::{Head, is_token};
use super::target::{Target, is_host};
use crate::line::{Inbox, Line};

/// Octets of the request line.
const MAX_REQUEST_LINE: usize = 8 * 1024;
/// Octets of request line and header fields together.
const MAX_HEAD: usize = 16 * 1024;
/// Header fields.
const MAX_FIELDS: usize = 100;
/// Methods that are recognised (RFC 9110 §9.1, RFC 5789, and QUERY, the latest): which of them a resource has is its own
/// matter.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
];
/// Empty lines before a request (RFC 9112 §2.2: at least one).
const MAX_EMPTY: usize = 2;

/// A head on its way in.
#[derive(Debug, Default)]
pub(super) struct Unread {
    empty: usize,
    octets: usize,
    head: Head,
    /// 1 for HTTP/1.1; none before the request line.
    minor: Option<u8>,
    /// What the target names: it counts in the place of what Host says (RFC 9112 §3.2.2).
    authority: Option<String>,
}

/// A request whose head is here.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) framing: Framing,
    /// The connection may go on behind the answer (RFC 9112 §9.3).
    pub(super) persistent: bool,
    /// The client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub(super) expects: bool,
}

/// Where the body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After so many octets, at least one.
    Counted(u64),
    /// After the last chunk.
    Chunked,
}

/// Why it is no request. Behind the answer the connection is closed, for nobody knows where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) status: u16,
    pub(super) text: &'static str,
}

impl Bad {
    /// 400.
    pub(super) const fn syntax(text: &'static str) -> Self {
        Self { status: 400, text }
    }
}

impl Unread {
    /// Whether something of a request has come.
    pub(super) fn has_begun(&self) -> bool {
        self.octets > 0 || self.empty > 0
    }

    /// Reads on; the request once its head is whole.
    pub(super) fn take(&mut self, inbox: &mut Inbox) -> Result<Option<Request>, Bad> {
        loop {
            let limit = match self.minor {
                None => MAX_REQUEST_LINE,
                Some(_) => MAX_HEAD.saturating_sub(self.octets),
            };
            let line = match inbox.line(limit) {
                Line::Whole(line) => line,
                Line::Partial => return Ok(None),
                Line::TooLong if self.minor.is_none() => {
                    return Err(Bad {
                        status: 414,
                        text: "Request target too long",
                    });
                }
                Line::TooLong => return Err(TOO_LARGE),
            };
            self.octets += line.len();
            let line = ended(&line)?;
            match self.minor {
                None if line.is_empty() && self.empty < MAX_EMPTY => {
                    self.empty += 1;
                    self.octets = 0;
                }
                None => self.request_line(line)?,
                Some(_) if line.is_empty() => return self.finish().map(Some),
                Some(_) => self.field(line)?,
            }
        }
    }

    /// `method SP request-target SP HTTP-version`
    fn request_line(&mut self, line: &[u8]) -> Result<(), Bad> {
        const NO_LINE: Bad = Bad::syntax("This is no request line");
        let mut words = line.split(|octet| *octet == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NO_LINE);
        };
        let [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            major @ b'0'..=b'9',
            b'.',
            minor @ b'0'..=b'9',
        ] = version
        else {
            return Err(NO_LINE);
        };
        if method.is_empty() || !method.iter().all(|octet| is_token(*octet)) {
            return Err(NO_LINE);
        }
        if *major != b'1' {
            return Err(Bad {
                status: 505,
                text: "Only HTTP/1.1 and HTTP/1.0 are spoken here",
            });
        }
        let (Ok(method), Ok(target)) = (core::str::from_utf8(method), core::str::from_utf8(target)) else {
            return Err(NO_LINE);
        };
        // RFC 9110 §15.6.2: what nobody here knows, and a tunnel (§9.3.6), which is for proxies.
        if !METHODS.contains(&method) {
            return Err(Bad {
                status: 501,
                text: "No such method",
            });
        }
        let target = Target::parse(method, target).ok_or(Bad::syntax("This is no request target"))?;
        method.clone_into(&mut self.head.method);
        target.path.clone_into(&mut self.head.path);
        target.query.clone_into(&mut self.head.query);
        self.authority = target.authority.map(str::to_owned);
        // RFC 9110 §2.5: a later 1.x is read as the latest that we know.
        self.minor = Some((minor - b'0').min(1));
        Ok(())
    }

    /// `field-name ":" OWS field-value OWS`
    fn field(&mut self, line: &[u8]) -> Result<(), Bad> {
        if self.head.fields.len() >= MAX_FIELDS {
            return Err(TOO_LARGE);
        }
        let (name, value) = split_field(line)?;
        self.head.fields.push((name, value.to_vec()));
        Ok(())
    }

    fn finish(&mut self) -> Result<Request, Bad> {
        let unread = core::mem::take(self);
        let mut head = unread.head;
        head.old = unread.minor == Some(0);
        check_host(&head)?;
        if let (Some(authority), Some((_, host))) = (
            unread.authority,
            head.fields.iter_mut().find(|(name, _)| name == "host"),
        ) {
            *host = authority.into_bytes();
        }
        let framing = framing(&head)?;
        let expects = expects(&head)? && framing != Framing::None;
        let persistent = match (head.lists("connection", "close"), head.old) {
            (true, _) => false,
            (false, true) => head.lists("connection", "keep-alive"),
            (false, false) => true,
        };
        Ok(Request {
            head,
            framing,
            persistent,
            expects,
        })
    }
}

const TOO_LARGE: Bad = Bad {
    status: 431,
    text: "Request header too large",
};

/// A line without its CRLF, which must be the only CR and the only LF (RFC 9112 §2.2).
pub(super) fn ended(line: &[u8]) -> Result<&[u8], Bad> {
    match line {
        [line @ .., b'\r', b'\n'] if memchr::memchr(b'\r', line).is_none() => Ok(line),
        _ => Err(Bad::syntax("A line does not end with CRLF")),
    }
}

/// The name in lower case, and the value.
pub(super) fn split_field(line: &[u8]) -> Result<(String, &[u8]), Bad> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        // RFC 9112 §2.2, §5.2
        return Err(Bad::syntax("A header field is folded"));
    }
    let at = memchr::memchr(b':', line).ok_or(Bad::syntax("A header field has no colon"))?;
    let (name, value) = (line.get(..at), line.get(at + 1..));
    let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
    // RFC 9112 §5.1: also no white space before the colon.
    if name.is_empty() || !name.iter().all(|octet| is_token(*octet)) {
        return Err(Bad::syntax("A header field has no proper name"));
    }
    if !value
        .iter()
        .all(|octet| *octet == b'\t' || !octet.is_ascii_control())
    {
        return Err(Bad::syntax("A header field holds control characters"));
    }
    let name = name.iter().map(|octet| char::from(octet.to_ascii_lowercase()));
    Ok((name.collect(), value.trim_ascii()))
}

fn values<'a>(head: &'a Head, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let named = head.fields.iter().filter(move |(other, _)| other == name);
    named.map(|(_, value)| value.as_slice())
}

/// RFC 9112 §3.2: exactly one Host in HTTP/1.1.
fn check_host(head: &Head) -> Result<(), Bad> {
    let count = values(head, "host").count();
    if count > 1 || (count == 0 && !head.old) {
        return Err(Bad::syntax("Exactly one Host is wanted"));
    }
    if !values(head, "host").all(is_host) {
        return Err(Bad::syntax("Host names no host"));
    }
    Ok(())
}

/// RFC 9112 §6.3: no doubt about where the body ends, or the request is refused.
fn framing(head: &Head) -> Result<Framing, Bad> {
    let mut lengths = values(head, "content-length");
    let mut codings = values(head, "transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(Bad::syntax("Both Content-Length and Transfer-Encoding")),
        (Some(length), None) => {
            // Not a list either, though its members may be the same.
            let digits = (1..=19).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
            if !digits || lengths.next().is_some() {
                return Err(Bad::syntax("Content-Length is no number"));
            }
            let length = length
                .iter()
                .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            Ok(if length == 0 {
                Framing::None
            } else {
                Framing::Counted(length)
            })
        }
        // RFC 9112 §6.1
        (None, Some(_)) if head.old => Err(Bad::syntax("HTTP/1.0 has no Transfer-Encoding")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() => {
            Ok(Framing::Chunked)
        }
        (None, Some(_)) => Err(unknown_coding(head)),
    }
}

/// RFC 9112 §6.1, §6.3: 501 for codings that are not known if `chunked` is the last of them, else 400.
fn unknown_coding(head: &Head) -> Bad {
    let codings: Vec<&str> = head.list("transfer-encoding").collect();
    let chunked = codings
        .iter()
        .filter(|coding| coding.eq_ignore_ascii_case("chunked"));
    let last = codings
        .last()
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let text = values(head, "transfer-encoding").all(|value| {
        value
            .iter()
            .all(|octet| is_token(*octet) || matches!(octet, b',' | b' '))
    });
    if last && text && chunked.count() == 1 {
        return Bad {
            status: 501,
            text: "No transfer coding but chunked is understood here",
        };
    }
    Bad::syntax("Transfer-Encoding is not chunked")
}

/// RFC 9110 §10.1.1. In HTTP/1.0 it means nothing.
fn expects(head: &Head) -> Result<bool, Bad> {
    let mut expectations = head.list("expect").peekable();
    if head.old || expectations.peek().is_none() {
        return Ok(false);
    }
    if expectations.all(|expectation| expectation.eq_ignore_ascii_case("100-continue")) {
        return Ok(true);
    }
    Err(Bad {
        status: 417,
        text: "Only 100-continue can be expected here",
    })
}
