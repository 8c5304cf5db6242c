//! Requests and responses of a session with HTTP, as far as they can be told apart.

use core::time::Duration;

use super::buffer::Buffer;
use super::pieces::number;
use super::{Event, Take};

/// Octets of a line that has not ended, and fields of a head: with more it is none that a server of ours takes.
const MAX_LINE: usize = 64 << 10;
const MAX_FIELDS: usize = 200;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// When its head was whole.
    pub(super) at: Duration,
    /// When all of it was, or nothing more came.
    pub(super) ended: Duration,
    /// Its first line.
    pub(super) first: String,
    pub(super) fields: Vec<(String, String)>,
    /// Its content, without chunks.
    pub(super) body: Vec<u8>,
    /// It came to its end.
    pub(super) whole: bool,
}

impl Message {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// Of a response.
    pub(super) fn status(&self) -> Option<u16> {
        self.first.split(' ').nth(1)?.parse().ok()
    }

    /// Of a request.
    pub(super) fn path(&self) -> &str {
        let target = self.first.split(' ').nth(1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }

    fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }
}

/// What one side said.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) messages: Vec<Message>,
    /// From then on it cannot be told what is what.
    pub(super) doubt: Option<Duration>,
}

/// What the client asked.
pub(super) fn requests(take: &Take) -> Side {
    read(
        take,
        |event| match event {
            Event::Said(octets) => Some(octets),
            _ => None,
        },
        &mut |message| framing(message, None),
    )
}

/// What it was answered.
pub(super) fn responses(take: &Take, asked: &[Message]) -> Side {
    let mut methods = asked.iter().map(Message::method);
    read(
        take,
        |event| match event {
            Event::Sent(octets) => Some(octets),
            _ => None,
        },
        &mut |message| {
            let status = message.status()?;
            let interim = (100..200).contains(&status);
            let method = if interim {
                ""
            } else {
                methods.next().unwrap_or_default()
            };
            match interim || matches!(status, 204 | 304) || method == "HEAD" {
                true => Some(Framing::Octets(0)),
                false => framing(message, Some(Framing::Rest)),
            }
        },
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Octets(usize),
    Chunks,
    /// Up to the end of the connection.
    Rest,
}

/// How the content of a message is framed. `None`: that cannot be told surely.
fn framing(message: &Message, without: Option<Framing>) -> Option<Framing> {
    let all = |name: &str| {
        let found = message
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    match (
        all("transfer-encoding").as_slice(),
        all("content-length").as_slice(),
    ) {
        ([], []) => without.or(Some(Framing::Octets(0))),
        ([], [length]) => number(length.as_bytes()).map(Framing::Octets),
        ([coding], []) => coding.eq_ignore_ascii_case("chunked").then_some(Framing::Chunks),
        _ => None,
    }
}

/// Where in a message the reader is.
enum Within {
    Head,
    Octets(usize),
    /// Before a chunk's line.
    Size,
    /// In a chunk, with its line end.
    Chunk(usize),
    /// Behind the last.
    Trailer,
    Rest,
}

fn read(
    take: &Take,
    side: impl Fn(&Event) -> Option<&Vec<u8>>,
    framing: &mut dyn FnMut(&Message) -> Option<Framing>,
) -> Side {
    let mut done = Side::default();
    let mut buffer = Buffer::default();
    let mut within = Within::Head;
    let mut head: Vec<String> = Vec::new();
    for (at, event) in &take.events {
        let Some(octets) = side(event) else { continue };
        buffer.push(octets);
        if step(*at, &mut buffer, &mut within, &mut head, &mut done, framing).is_none() {
            done.doubt = Some(*at);
            return done;
        }
    }
    if matches!(within, Within::Rest)
        && let Some(last) = done.messages.last_mut()
    {
        last.whole = true;
    }
    if buffer.len() > 0 || !head.is_empty() {
        done.doubt = take.events.last().map(|(at, _)| *at);
    }
    done
}

/// Reads what is there. `None`: it is no HTTP, or none that can be told surely.
fn step(
    at: Duration,
    buffer: &mut Buffer,
    within: &mut Within,
    head: &mut Vec<String>,
    done: &mut Side,
    framing: &mut dyn FnMut(&Message) -> Option<Framing>,
) -> Option<()> {
    loop {
        match within {
            Within::Head | Within::Size | Within::Trailer => {
                let Some(end) = buffer.crlf_line() else {
                    return (buffer.len() <= MAX_LINE).then_some(());
                };
                let mut line = String::from_utf8(buffer.take(end)).ok()?;
                line.truncate(end - 2);
                match within {
                    Within::Head if line.is_empty() && head.is_empty() => {}
                    Within::Head if line.is_empty() => {
                        let message = message(at, core::mem::take(head))?;
                        *within = match framing(&message)? {
                            Framing::Octets(count) => Within::Octets(count),
                            Framing::Chunks => Within::Size,
                            Framing::Rest => Within::Rest,
                        };
                        done.messages.push(message);
                    }
                    Within::Head => {
                        head.push(line);
                        if head.len() > MAX_FIELDS {
                            return None;
                        }
                    }
                    Within::Size => {
                        let digits = line.split(';').next().unwrap_or_default().trim();
                        let plain =
                            !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                        let size = usize::from_str_radix(digits, 16).ok().filter(|_| plain)?;
                        *within = match size {
                            0 => Within::Trailer,
                            size => Within::Chunk(size.checked_add(2)?),
                        };
                    }
                    _ if line.is_empty() => *within = end_of(at, done),
                    _ => {}
                }
            }
            Within::Octets(left) | Within::Chunk(left) if *left > 0 && buffer.len() == 0 => return Some(()),
            Within::Octets(left) => {
                let octets = buffer.take(*left);
                *left -= octets.len();
                let ended = *left == 0;
                let last = done.messages.last_mut()?;
                last.body.extend_from_slice(&octets);
                last.ended = at;
                if ended {
                    *within = end_of(at, done);
                }
            }
            Within::Chunk(left) => {
                let octets = buffer.take(*left);
                let content = (*left).saturating_sub(2).min(octets.len());
                *left -= octets.len();
                let last = done.messages.last_mut()?;
                last.body.extend_from_slice(octets.get(..content)?);
                last.ended = at;
                if *left == 0 {
                    *within = Within::Size;
                }
            }
            Within::Rest => {
                let octets = buffer.take(buffer.len());
                let last = done.messages.last_mut()?;
                last.body.extend_from_slice(&octets);
                last.ended = at;
                return Some(());
            }
        }
    }
}

fn end_of(at: Duration, done: &mut Side) -> Within {
    if let Some(last) = done.messages.last_mut() {
        last.whole = true;
        last.ended = at;
    }
    Within::Head
}

fn message(at: Duration, head: Vec<String>) -> Option<Message> {
    let mut lines = head.into_iter();
    let first = lines.next()?;
    let is_http =
        first.starts_with("HTTP/1.") || first.ends_with(" HTTP/1.1") || first.ends_with(" HTTP/1.0");
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let plain = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
        if !plain {
            return None;
        }
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    is_http.then_some(Message {
        at,
        ended: at,
        first,
        fields,
        body: Vec::new(),
        whole: false,
    })
}
