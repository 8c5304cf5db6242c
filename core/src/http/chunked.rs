//! The chunked transfer coding, on its way in (RFC 9112 §7.1).

use super::head::is_token;
use super::request::{Bad, ended, split_field};
use crate::chunk::Chunk;
use crate::line::{Inbox, Line};

/// Octets of a line before a chunk, or of one trailer field.
const MAX_LINE: usize = 1024;
/// Octets of extensions and trailer fields of a whole body.
const MAX_EXTRA: usize = 16 * 1024;
/// Hexadecimal digits of a size.
const MAX_DIGITS: usize = 15;

/// A body in chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunked {
    step: Step,
    /// Octets of extensions and trailer fields.
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// `chunk-size [ chunk-ext ] CRLF`
    #[default]
    Size,
    /// So many octets of the chunk are missing.
    Data(u64),
    /// CRLF behind a chunk.
    DataEnd,
    /// `*( field-line CRLF ) CRLF`
    Trailer,
    Over,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A chunk of so many octets begins.
    Size(u64),
    /// Octets of the content.
    Data(Chunk),
    /// More input is needed.
    Partial,
    /// The body is whole.
    End,
}

impl Chunked {
    /// Reads on, at most so many octets of content.
    pub(super) fn take(&mut self, inbox: &mut Inbox, max: usize) -> Result<Piece, Bad> {
        loop {
            match self.step {
                Step::Size => {
                    let Some(line) = line(inbox, MAX_LINE)? else {
                        return Ok(Piece::Partial);
                    };
                    let (size, extension) = size(ended(&line)?)?;
                    self.count(extension)?;
                    if size > 0 {
                        self.step = Step::Data(size);
                        return Ok(Piece::Size(size));
                    }
                    self.step = Step::Trailer;
                }
                Step::Data(left) => {
                    let max = usize::try_from(left).unwrap_or(usize::MAX).min(max);
                    let Some(data) = inbox.take(max) else {
                        return Ok(Piece::Partial);
                    };
                    let left = left.saturating_sub(data.len() as u64);
                    self.step = if left == 0 {
                        Step::DataEnd
                    } else {
                        Step::Data(left)
                    };
                    return Ok(Piece::Data(data));
                }
                Step::DataEnd => {
                    let Some(line) = line(inbox, b"\r\n".len())? else {
                        return Ok(Piece::Partial);
                    };
                    if line.as_slice() != b"\r\n" {
                        return Err(BAD_END);
                    }
                    self.step = Step::Size;
                }
                Step::Trailer => {
                    let Some(line) = line(inbox, MAX_LINE)? else {
                        return Ok(Piece::Partial);
                    };
                    self.count(line.len())?;
                    let line = ended(&line)?;
                    if line.is_empty() {
                        self.step = Step::Over;
                    } else {
                        // Nobody looks at them (RFC 9110 §6.5.1).
                        split_field(line)?;
                    }
                }
                Step::Over => return Ok(Piece::End),
            }
        }
    }

    fn count(&mut self, octets: usize) -> Result<(), Bad> {
        self.extra += octets;
        if self.extra > MAX_EXTRA {
            return Err(Bad {
                status: 431,
                text: "Too much beside the body's chunks",
            });
        }
        Ok(())
    }
}

const BAD_END: Bad = Bad::syntax("A chunk does not end where it should");
const BAD_SIZE: Bad = Bad::syntax("A chunk has no proper size");

fn line(inbox: &mut Inbox, limit: usize) -> Result<Option<Chunk>, Bad> {
    match inbox.line(limit) {
        Line::Whole(line) => Ok(Some(line)),
        Line::Partial => Ok(None),
        Line::TooLong if limit == MAX_LINE => Err(Bad::syntax("A line of the body's chunks is too long")),
        Line::TooLong => Err(BAD_END),
    }
}

/// The size, and the octets of the extensions behind it.
fn size(line: &[u8]) -> Result<(u64, usize), Bad> {
    let digits = line.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).ok_or(BAD_SIZE)?;
    if !(1..=MAX_DIGITS).contains(&digits.len()) {
        return Err(BAD_SIZE);
    }
    let mut size = 0_u64;
    for digit in digits {
        let value = char::from(*digit).to_digit(16).ok_or(BAD_SIZE)?;
        size = size << 4 | u64::from(value);
    }
    if !is_extensions(rest) {
        return Err(BAD_SIZE);
    }
    Ok((size, rest.len()))
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
fn is_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(next) = blank(rest).strip_prefix(b";").and_then(|rest| token(blank(rest))) else {
            return false;
        };
        rest = next;
        if let Some(value) = blank(rest).strip_prefix(b"=") {
            let value = blank(value);
            let next = match value.strip_prefix(b"\"") {
                Some(quoted) => quoted_end(quoted),
                None => token(value),
            };
            let Some(next) = next else { return false };
            rest = next;
        }
    }
    true
}

/// Behind white space.
fn blank(octets: &[u8]) -> &[u8] {
    let white = octets.iter().take_while(|octet| matches!(octet, b' ' | b'\t'));
    octets.get(white.count()..).unwrap_or_default()
}

/// Behind a token.
fn token(octets: &[u8]) -> Option<&[u8]> {
    let len = octets.iter().take_while(|octet| is_token(**octet)).count();
    (len > 0).then(|| octets.get(len..)).flatten()
}

/// Behind the rest of a quoted-string (RFC 9110 §5.6.4).
fn quoted_end(mut octets: &[u8]) -> Option<&[u8]> {
    loop {
        match octets {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', escaped, rest @ ..] if is_text(*escaped) => octets = rest,
            [b'\\', ..] => return None,
            [octet, rest @ ..] if is_text(*octet) => octets = rest,
            _ => return None,
        }
    }
}

fn is_text(octet: u8) -> bool {
    octet == b'\t' || !octet.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, and how many octets are left behind the body; or the status of the answer.
    fn decode(octets: &[u8], step: usize) -> Result<(Vec<u8>, bool, usize), u16> {
        let (mut inbox, mut chunked, mut content) = (Inbox::default(), Chunked::default(), Vec::new());
        let mut pieces = octets.chunks(step);
        loop {
            match chunked.take(&mut inbox, 7).map_err(|bad| bad.status)? {
                Piece::Size(_) => {}
                Piece::Data(data) => content.extend_from_slice(&data),
                Piece::End => {
                    let left: usize = pieces.map(<[u8]>::len).sum();
                    return Ok((content, true, left + inbox.len()));
                }
                Piece::Partial => match pieces.next() {
                    Some(piece) => inbox.push(Chunk::copy_from(piece)),
                    None => return Ok((content, false, inbox.len())),
                },
            }
        }
    }

    fn all_ways(octets: &[u8]) -> Result<(Vec<u8>, bool, usize), u16> {
        let whole = decode(octets, octets.len().max(1));
        for step in 1..octets.len() {
            assert_eq!(decode(octets, step), whole, "{}", octets.escape_ascii());
        }
        whole
    }

    #[test]
    fn chunks_become_the_content() {
        for (octets, content) in [
            (&b"0\r\n\r\n"[..], &b""[..]),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"5\r\nhello\r\n00000006\r\n world\r\n000\r\n\r\n", b"hello world"),
            (
                b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
                b"01234567890123456789",
            ),
            (b"2;a\r\n\r\n\r\n0;x=y;z=\"q \\\" q\"\r\n\r\n", b"\r\n"),
            (b"1 ; a = b \t; c\r\nx\r\n0\r\n\r\n", b"x"),
            (b"1\r\nx\r\n0\r\nDigest: abc\r\nX:\r\n\r\n", b"x"),
        ] {
            assert_eq!(all_ways(octets), Ok((content.to_vec(), true, 0)));
            let more = [octets, b"GET /"].concat();
            assert_eq!(all_ways(&more), Ok((content.to_vec(), true, 5)));
        }
        assert_eq!(all_ways(b"5\r\nhel"), Ok((b"hel".to_vec(), false, 0)));
        assert_eq!(all_ways(b"5\r\nhello\r"), Ok((b"hello".to_vec(), false, 1)));
    }

    #[test]
    fn odd_chunks_are_refused() {
        for octets in [
            "\r\n",
            "x\r\n",
            "+5\r\nhello",
            "-5\r\n",
            "0x5\r\nhello",
            "5h\r\nhello",
            " 5\r\nhello",
            "5 \r\nhello",
            "5\nhello",
            "5\r\r\nhello",
            "5;\r\nhello",
            "5;a=\r\nhello",
            "5;a=\"b\r\nhello",
            "5 a\r\nhello",
            "5;a\rb\r\nhello",
            "5;a=\"\0\"\r\nhello",
            "5,5\r\nhello",
            "5.0\r\nhello",
            "5_0\r\nhello",
            "ffffffffffffffff\r\n",
            "10000000000000005\r\nhello",
            "0000000000000005\r\nhello",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\rx0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "0\r\nX y\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\n\n",
            "0\n\n",
        ] {
            assert_eq!(all_ways(octets.as_bytes()), Err(400), "{octets:?}");
        }
    }

    #[test]
    fn what_stands_beside_the_content_is_bounded() {
        let long = format!("5;a={}\r\n", "b".repeat(MAX_LINE));
        assert_eq!(decode(long.as_bytes(), 100), Err(400));
        let many = format!("1;a={}\r\nx\r\n", "b".repeat(900)).repeat(20);
        assert_eq!(decode(many.as_bytes(), 4096), Err(431));
        let trailer = format!("0\r\n{}\r\n", "A: b\r\n".repeat(10_000));
        assert_eq!(decode(trailer.as_bytes(), 4096), Err(431));
    }
}
