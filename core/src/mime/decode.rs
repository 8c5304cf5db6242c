//! From a part's octets to text, in pieces of bounded size (RFC 2045 §6, charsets as browsers know them).

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, WINDOWS_1252};

use super::content::Mime;
use crate::text::encoded_word::hex;

/// Octets of a decoded piece.
pub const PIECE: usize = 8 * 1024;

/// A transfer encoding that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferEncoding {
    /// 7BIT, 8BIT, BINARY, and whatever is unknown: the octets as they are.
    Identity,
    /// BASE64
    Base64,
    /// QUOTED-PRINTABLE
    QuotedPrintable,
}

impl TransferEncoding {
    /// The encoding of a part.
    #[must_use]
    pub fn of(mime: &Mime) -> Self {
        match mime.encoding.as_str() {
            "BASE64" => Self::Base64,
            "QUOTED-PRINTABLE" => Self::QuotedPrintable,
            _ => Self::Identity,
        }
    }

    /// The encoding of this name, in upper case, if it is one that we know (RFC 2045 §6.1).
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        match name {
            "7BIT" | "8BIT" | "BINARY" => Some(Self::Identity),
            "BASE64" => Some(Self::Base64),
            "QUOTED-PRINTABLE" => Some(Self::QuotedPrintable),
            _ => None,
        }
    }

    /// Decodes a body and hands it out in pieces of at most [`PIECE`] octets. Never fails: what is malformed is passed
    /// over (base64) or left as it is (quoted-printable). Stops when `sink` answers false.
    pub fn decode(self, body: &[u8], sink: impl FnMut(&[u8]) -> bool) {
        match self {
            Self::Identity => {
                let mut sink = sink;
                let _all = body.chunks(PIECE).all(&mut sink);
            }
            Self::Base64 => base64(body, &mut Pieces::new(sink)),
            Self::QuotedPrintable => quoted_printable(body, &mut Pieces::new(sink)),
        }
    }

    /// Decodes a body in memory.
    #[must_use]
    pub fn decoded(self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len());
        self.decode(body, |piece| {
            out.extend_from_slice(piece);
            true
        });
        out
    }
}

/// Hands out a text part's body as text, in pieces. Stops when `sink` answers false.
///
/// Text without a charset, or of one that is unknown, and US-ASCII is read as UTF-8; if it is not, it is handed out
/// once more, read as Windows-1252. `sink` is told the beginning of each reading by an empty piece.
pub fn text(mime: &Mime, body: &[u8], mut sink: impl FnMut(&str) -> bool) {
    let declared = mime.parameter("CHARSET").and_then(charset);
    let encoding = TransferEncoding::of(mime);
    // Most mail is this, and is text as it stands: nothing is copied.
    if encoding == TransferEncoding::Identity
        && declared.is_none_or(Encoding::is_ascii_compatible)
        && body.is_ascii()
        && let Ok(text) = core::str::from_utf8(body)
    {
        let mut rest = text;
        let mut wanted = sink("");
        while wanted && !rest.is_empty() {
            // Each octet is a character.
            let (piece, after) = rest.split_at_checked(PIECE).unwrap_or((rest, ""));
            wanted = sink(piece);
            rest = after;
        }
        return;
    }
    let wrong = read(encoding, declared.unwrap_or(UTF_8), body, &mut sink);
    if wrong && declared.is_none() {
        read(encoding, WINDOWS_1252, body, &mut sink);
    }
}

/// A declared charset that we know; US-ASCII declares nothing beyond 7 bits.
fn charset(label: &[u8]) -> Option<&'static Encoding> {
    if label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii") {
        return None;
    }
    Encoding::for_label_no_replacement(label)
}

/// One reading. True if all was handed out and something was not of this charset.
fn read(
    encoding: TransferEncoding,
    charset: &'static Encoding,
    body: &[u8],
    sink: &mut impl FnMut(&str) -> bool,
) -> bool {
    let mut decoder = charset.new_decoder_with_bom_removal();
    let mut buffer = String::with_capacity(PIECE * 2);
    let (mut wrong, mut wanted) = (false, sink(""));
    encoding.decode(body, |piece| {
        wanted = wanted && pour(&mut decoder, piece, false, &mut buffer, &mut wrong, sink);
        wanted
    });
    wanted && pour(&mut decoder, &[], true, &mut buffer, &mut wrong, sink) && wrong
}

fn pour(
    decoder: &mut Decoder,
    piece: &[u8],
    last: bool,
    buffer: &mut String,
    wrong: &mut bool,
    sink: &mut impl FnMut(&str) -> bool,
) -> bool {
    let mut rest = piece;
    loop {
        buffer.clear();
        let (result, read, errors) = decoder.decode_to_string(rest, buffer, last);
        *wrong |= errors;
        rest = rest.get(read..).unwrap_or_default();
        if !buffer.is_empty() && !sink(buffer) {
            return false;
        }
        if result == CoderResult::InputEmpty {
            return true;
        }
    }
}

/// Gathers octets into pieces.
struct Pieces<F> {
    octets: Vec<u8>,
    sink: F,
    wanted: bool,
}

impl<F: FnMut(&[u8]) -> bool> Pieces<F> {
    fn new(sink: F) -> Self {
        Self {
            octets: Vec::with_capacity(PIECE),
            sink,
            wanted: true,
        }
    }

    fn push(&mut self, octet: u8) {
        self.octets.push(octet);
        if self.octets.len() >= PIECE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.wanted && !self.octets.is_empty() {
            self.wanted = (self.sink)(&self.octets);
        }
        self.octets.clear();
    }
}

/// RFC 2045 §6.8; octets outside the alphabet are passed over, padding ends a group, and more may follow it.
fn base64<F: FnMut(&[u8]) -> bool>(body: &[u8], out: &mut Pieces<F>) {
    let (mut group, mut digits) = (0_u32, 0);
    for octet in body {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                end_group(group, digits, out);
                (group, digits) = (0, 0);
                continue;
            }
            _ => continue,
        };
        group = group << 6 | u32::from(value);
        digits += 1;
        if digits == 4 {
            end_group(group, digits, out);
            (group, digits) = (0, 0);
            if !out.wanted {
                return;
            }
        }
    }
    end_group(group, digits, out);
    out.flush();
}

/// The whole octets of a group of base64 digits.
fn end_group<F: FnMut(&[u8]) -> bool>(group: u32, digits: u32, out: &mut Pieces<F>) {
    let [_, octets @ ..] = (group << (6 * (4 - digits))).to_be_bytes();
    let whole = usize::try_from(digits * 6 / 8).unwrap_or_default();
    for octet in octets.into_iter().take(whole) {
        out.push(octet);
    }
}

/// RFC 2045 §6.7: white space before a line end goes, escapes that are malformed stay.
fn quoted_printable<F: FnMut(&[u8]) -> bool>(body: &[u8], out: &mut Pieces<F>) {
    let mut rest = body;
    while let [first, after @ ..] = rest {
        rest = match first {
            b' ' | b'\t' => {
                let len = blanks(rest);
                let (space, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                if !after.is_empty() && line_end(after).is_none() {
                    space.iter().for_each(|octet| out.push(*octet));
                }
                after
            }
            b'=' => escape(after, out),
            _ => {
                out.push(*first);
                after
            }
        };
        if !out.wanted {
            return;
        }
    }
    out.flush();
}

/// What follows `=`.
fn escape<'a, F: FnMut(&[u8]) -> bool>(after: &'a [u8], out: &mut Pieces<F>) -> &'a [u8] {
    if let [high, low, rest @ ..] = after
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        out.push(high << 4 | low);
        return rest;
    }
    let behind = after.get(blanks(after)..).unwrap_or_default();
    if let Some(next) = line_end(behind) {
        return next;
    }
    if !after.is_empty() {
        out.push(b'=');
    }
    after
}

fn blanks(octets: &[u8]) -> usize {
    octets
        .iter()
        .take_while(|octet| matches!(octet, b' ' | b'\t'))
        .count()
}

/// What follows the line end at the front, if there is one.
fn line_end(octets: &[u8]) -> Option<&[u8]> {
    octets
        .strip_prefix(b"\r\n")
        .or_else(|| octets.strip_prefix(b"\n"))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_well_formed_and_not() {
        for (body, want) in [
            (&b"YWJj"[..], &b"abc"[..]),
            (b"YWI=", b"ab"),
            (b"YQ==", b"a"),
            (b"YQ", b"a"),
            (b"Y", b""),
            (b"YW\r\nJ!j\n", b"abc"),
            (b"YQ==Yg==", b"ab"),
            (b"====", b""),
            (b"", b""),
        ] {
            assert_eq!(
                TransferEncoding::Base64.decoded(body),
                want,
                "{}",
                body.escape_ascii()
            );
        }
    }

    #[test]
    fn quoted_printable_well_formed_and_not() {
        for (body, want) in [
            (
                &b"Now's the time =\r\nfor all folk to come=\r\n to the aid"[..],
                &b"Now's the time for all folk to come to the aid"[..],
            ),
            (b"a=3Db=c3=A4", b"a=b\xc3\xa4"),
            (b"a  \r\nb\t\nc ", b"a\r\nb\nc"),
            (b"a= \t\r\nb=\nc=", b"abc"),
            (b"a=zz=4", b"a=zz=4"),
            (b"=", b""),
            (b"a b", b"a b"),
        ] {
            assert_eq!(
                TransferEncoding::QuotedPrintable.decoded(body),
                want,
                "{}",
                body.escape_ascii()
            );
        }
    }

    fn readings(header: &str, body: &[u8]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        text(&Mime::parse(header.as_bytes(), false), body, |piece| {
            match all.last_mut() {
                Some(last) if !piece.is_empty() => last.push_str(piece),
                _ => all.push(piece.to_owned()),
            }
            true
        });
        all
    }

    #[test]
    fn charsets() {
        for (header, body, want) in [
            ("", &b"plain"[..], &["plain"][..]),
            ("", "gr\u{fc}n".as_bytes(), &["grün"]),
            ("", b"gr\xfcn", &["gr\u{fffd}n", "grün"]),
            (
                "Content-Type: text/plain; charset=us-ascii",
                b"gr\xfcn",
                &["gr\u{fffd}n", "grün"],
            ),
            ("Content-Type: text/plain; charset=ISO-8859-15", b"\xa4", &["€"]),
            (
                "Content-Type: text/plain; charset=no-such",
                "ä".as_bytes(),
                &["ä"],
            ),
            (
                "Content-Type: text/plain; charset=iso-2022-jp",
                b"\x1b$BF|K\\\x1b(B",
                &["日本"],
            ),
            (
                "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable",
                b"=E2=\r\n=82=AC",
                &["€"],
            ),
            (
                "Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: base64",
                b"8NLJ18XU",
                &["Привет"],
            ),
        ] {
            assert_eq!(readings(header, body), want, "{header}");
        }
    }

    #[test]
    fn stops_when_told() {
        let body = base64::engine::general_purpose::STANDARD.encode(vec![7; 10 * PIECE]);
        let mut pieces = 0;
        TransferEncoding::Base64.decode(body.as_bytes(), |piece| {
            pieces += 1;
            assert!(piece.len() <= PIECE);
            pieces < 3
        });
        assert_eq!(pieces, 3);
    }

    proptest! {
        #[test]
        fn base64_of_anything(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let body = base64::engine::general_purpose::STANDARD.encode(&octets);
            prop_assert_eq!(TransferEncoding::Base64.decoded(body.as_bytes()), octets);
        }
    }
}
