//! A message with binary parts as one that can be stored and fetched by everybody: parts whose transfer encoding is
//! `binary` become base64, and say so (RFC 3516 §4.4, RFC 3030 §3); what holds such parts (multiparts, messages) becomes
//! `8bit` (RFC 2045 §6.4). All else stays as it is, octet for octet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::content::{MAX_BOUNDARY, Mime};
use super::header::Fields;

/// Octets of one header; a message with a longer one is not converted.
const MAX_HEADER: usize = 256 * 1024;
/// Boundaries that are open at a time.
const MAX_DEPTH: usize = 64;
/// Octets of a line that may be a delimiter: two hyphens before and behind, and some white space.
const MAX_DELIMITER: usize = MAX_BOUNDARY + 64;
/// Octets that a line of base64 has.
const LINE: usize = 57;

/// Converts a message that comes in pieces.
#[derive(Debug)]
pub struct Unbinary {
    state: State,
    /// The boundaries around what comes, from the outermost.
    boundaries: Vec<Boundary>,
    /// The header in progress; or the beginning of a line that may be a delimiter.
    held: Vec<u8>,
    /// The line in progress is no delimiter.
    decided: bool,
    /// A binary part's line end that may belong to a delimiter, and octets that fill no line of base64.
    line_end: Vec<u8>,
    rest: Vec<u8>,
    failed: bool,
    breaks_signature: bool,
}

#[derive(Debug)]
struct Boundary {
    text: Vec<u8>,
    digest: bool,
    /// multipart/signed: its first part is to stay as it is (RFC 1847 §2.1).
    signed: bool,
    /// Parts that have begun.
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header { in_digest: bool },
    Text,
    Binary,
}

impl Default for Unbinary {
    fn default() -> Self {
        Self {
            state: State::Header { in_digest: false },
            boundaries: Vec::new(),
            held: Vec::new(),
            decided: false,
            line_end: Vec::new(),
            rest: Vec::new(),
            failed: false,
            breaks_signature: false,
        }
    }
}

impl Unbinary {
    /// Takes octets and appends what they become.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut rest = octets;
        while !rest.is_empty() && !self.failed {
            let lf = memchr::memchr(b'\n', rest);
            let (piece, after) = rest.split_at(lf.map_or(rest.len(), |lf| lf + 1));
            rest = after;
            self.piece(piece, lf.is_some(), out);
        }
    }

    /// The message is whole. False: it could not be converted, and what came out is not to be used.
    pub fn finish(mut self, out: &mut Vec<u8>) -> bool {
        let held = core::mem::take(&mut self.held);
        match self.state {
            State::Header { .. } => out.extend_from_slice(&held),
            State::Text | State::Binary => self.content(&held, out),
        }
        if self.state == State::Binary {
            let line_end = core::mem::take(&mut self.line_end);
            self.encode(&line_end, out);
            self.end_part(out);
        }
        !self.failed
    }

    /// Whether something within the signed part of a multipart/signed was changed so far, so that its signature does not
    /// hold any more.
    #[must_use]
    pub fn breaks_signature(&self) -> bool {
        self.breaks_signature
    }

    /// A line, or a part of one that does not end with it.
    fn piece(&mut self, piece: &[u8], ends: bool, out: &mut Vec<u8>) {
        if let State::Header { in_digest } = self.state {
            return self.header(piece, ends, in_digest, out);
        }
        if !self.decided {
            self.held.extend_from_slice(piece);
            let may_delimit = self.held.len() <= MAX_DELIMITER
                && b"--".starts_with(self.held.get(..2).unwrap_or(&self.held));
            if may_delimit && !ends && !self.boundaries.is_empty() {
                return;
            }
            let line = core::mem::take(&mut self.held);
            match self.delimiter(&line).filter(|_| may_delimit) {
                Some((depth, closes)) => self.delimit(&line, depth, closes, out),
                None => {
                    self.decided = !ends;
                    self.content(&line, out);
                }
            }
            return;
        }
        self.decided = !ends;
        self.content(piece, out);
    }

    fn header(&mut self, piece: &[u8], ends: bool, in_digest: bool, out: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        if self.held.len() > MAX_HEADER {
            self.failed = true;
            return;
        }
        if !ends {
            return;
        }
        let before = self.held.len() - 1;
        let before = self.held.get(..before).unwrap_or_default();
        let start = memchr::memrchr(b'\n', before).map_or(0, |lf| lf + 1);
        let line = self.held.get(start..).unwrap_or_default();
        // A part may end within its header.
        if let Some((depth, closes)) = self.delimiter(line) {
            let line = line.to_vec();
            let header = core::mem::take(&mut self.held);
            out.extend_from_slice(header.get(..start).unwrap_or_default());
            return self.delimit(&line, depth, closes, out);
        }
        if matches!(line, b"\r\n" | b"\n") {
            self.end_header(in_digest, out);
        }
    }

    /// The header is whole: what follows it?
    fn end_header(&mut self, in_digest: bool, out: &mut Vec<u8>) {
        let header = core::mem::take(&mut self.held);
        let mime = Mime::parse(&header, in_digest);
        self.decided = false;
        self.state = State::Text;
        let binary = mime.encoding == "BINARY";
        let signed_around = |boundary: &Boundary| boundary.signed && boundary.parts == 1;
        self.breaks_signature |= binary && self.boundaries.iter().any(signed_around);
        // No part of a composite type, and none that must stay legible, is base64 (RFC 2045 §6.4).
        let composite = mime.is_type("MULTIPART") || mime.is_type("MESSAGE");
        if mime.is_type("MULTIPART") {
            if let Some(boundary) = mime.boundary().filter(|_| self.boundaries.len() < MAX_DEPTH) {
                self.boundaries.push(Boundary {
                    text: boundary.to_vec(),
                    digest: mime.subtype == "DIGEST",
                    signed: mime.subtype == "SIGNED",
                    parts: 0,
                });
            }
        } else if mime.is_type("MESSAGE") && mime.subtype == "RFC822" {
            self.state = State::Header { in_digest: false };
        } else if binary && !composite {
            self.state = State::Binary;
        }
        match (binary, composite) {
            (true, true) => relabel(&header, "8bit", out),
            (true, false) => relabel(&header, "base64", out),
            (false, _) => out.extend_from_slice(&header),
        }
    }

    /// Octets of a body.
    fn content(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if self.state == State::Text {
            return out.extend_from_slice(octets);
        }
        let mut joined = core::mem::take(&mut self.line_end);
        joined.extend_from_slice(octets);
        let text = joined.strip_suffix(b"\n").unwrap_or(&joined);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        self.encode(text, out);
        self.line_end = joined.get(text.len()..).unwrap_or_default().to_vec();
    }

    fn encode(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        self.rest.extend_from_slice(octets);
        let whole = self.rest.len() / LINE * LINE;
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        lines.chunks(LINE).for_each(|line| write_line(line, out));
    }

    /// A binary part ends. The line end before a delimiter is that of the last line of base64.
    fn end_part(&mut self, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            write_line(&core::mem::take(&mut self.rest), out);
        }
    }

    /// Which boundary a line is a delimiter of, and whether it closes.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--")?.trim_ascii_end();
        self.boundaries
            .iter()
            .enumerate()
            .rev()
            .find_map(
                |(depth, boundary)| match line.strip_prefix(boundary.text.as_slice())? {
                    b"" => Some((depth, false)),
                    b"--" => Some((depth, true)),
                    _ => None,
                },
            )
    }

    fn delimit(&mut self, line: &[u8], depth: usize, closes: bool, out: &mut Vec<u8>) {
        if self.state == State::Binary {
            self.line_end.clear();
            self.end_part(out);
        }
        out.extend_from_slice(line);
        self.decided = false;
        self.boundaries.truncate(depth + 1);
        let mut in_digest = false;
        if let Some(boundary) = self.boundaries.last_mut() {
            boundary.parts += 1;
            in_digest = boundary.digest;
        }
        self.state = State::Header { in_digest };
        if closes {
            self.boundaries.pop();
            self.state = State::Text;
        }
    }
}

/// The header of a binary part, with another encoding.
fn relabel(header: &[u8], encoding: &str, out: &mut Vec<u8>) {
    let mut at = 0;
    let mut done = false;
    for field in Fields::new(header).filter(|field| field.is(b"Content-Transfer-Encoding")) {
        out.extend_from_slice(header.get(at..field.start).unwrap_or_default());
        if !done {
            out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n").as_bytes());
        }
        done = true;
        at = field.end;
    }
    out.extend_from_slice(header.get(at..).unwrap_or_default());
}

fn write_line(octets: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(octets).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode::TransferEncoding;
    use super::super::scanner::scan;
    use super::*;

    fn convert(message: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut converter = Unbinary::default();
        let mut out = Vec::new();
        message
            .chunks(size)
            .for_each(|piece| converter.push(piece, &mut out));
        converter.finish(&mut out).then_some(out)
    }

    fn text(message: &[u8]) -> String {
        String::from_utf8(convert(message, 1_000).expect("converted")).expect("text")
    }

    #[test]
    fn a_binary_message_becomes_base64() {
        assert_eq!(
            text(b"From: a@b\r\nContent-Transfer-Encoding: binary\r\nSubject: x\r\n\r\n\0\n\xff\r\n"),
            "From: a@b\r\nContent-Transfer-Encoding: base64\r\nSubject: x\r\n\r\nAAr/DQo=\r\n"
        );
        let plain = "Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{e4}\r\n";
        assert_eq!(text(plain.as_bytes()), plain);
    }

    #[test]
    fn binary_parts_become_base64_and_others_stay() {
        let part = |encoding: &str, body: &str| {
            format!("--b\r\nContent-Type: x/y\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n")
        };
        let message = |first: &str, second: &str| {
            format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n{}{}{}--b--\r\n--b\r\nepilogue\r\n",
                part(first, second),
                part("7bit", "--bb\r\n--b x\r\nplain"),
                part("Quoted-Printable", "=00")
            )
        };
        assert_eq!(
            text(message("BINARY", "a\0\n--b x\r\n\r\n").as_bytes()),
            message("base64", "YQAKLS1iIHgNCg0K")
        );
        assert_eq!(
            text(message("binary", "").as_bytes()).matches("base64").count(),
            1
        );
    }

    #[test]
    fn parts_of_embedded_messages_too() {
        let message = |encoding: &str, body: &str| {
            format!(
                "Content-Type: multipart/digest; boundary=o\r\n\r\n--o\r\n\r\nSubject: inner\r\n\
                 Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n\
                 {body}\r\n--o--\r\n"
            )
        };
        assert_eq!(
            text(message("binary", "\0").as_bytes()),
            message("base64", "AA==")
        );
    }

    #[test]
    fn what_holds_binary_parts_becomes_8bit() {
        let message = |container: &str, leaf: &str, body: &str| {
            format!(
                "Content-Transfer-Encoding: {container}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
                 Content-Type: message/rfc822\r\nContent-Transfer-Encoding: {container}\r\n\r\n\
                 Content-Transfer-Encoding: {leaf}\r\n\r\n{body}\r\n--b--\r\n"
            )
        };
        assert_eq!(
            text(message("binary", "binary", "\0").as_bytes()),
            message("8bit", "base64", "AA==")
        );
    }

    #[test]
    fn a_signature_holds_unless_its_part_was_changed() {
        let broken = |signed: &str, signature: &str, kind: &str| {
            let message = format!(
                "Content-Type: multipart/{kind}; boundary=s\r\nContent-Transfer-Encoding: binary\r\n\r\n--s\r\n\
                 Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Transfer-Encoding: {signed}\r\n\
                 \r\nx\r\n--i--\r\n--s\r\nContent-Transfer-Encoding: {signature}\r\n\r\nsig\r\n--s--\r\n"
            );
            let mut converter = Unbinary::default();
            converter.push(message.as_bytes(), &mut Vec::new());
            converter.breaks_signature()
        };
        assert!(broken("binary", "7bit", "signed"));
        assert!(!broken("8bit", "binary", "signed"));
        assert!(!broken("binary", "binary", "mixed"));
    }

    #[test]
    fn long_headers_are_not_converted() {
        let header = format!("Subject: {}\r\n\r\n", "x".repeat(MAX_HEADER));
        assert_eq!(convert(header.as_bytes(), 5_000), None);
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_and_decode_to_what_it_was(
            body in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..300),
            size in 1_usize..9,
        ) {
            let head = b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Transfer-Encoding: binary\r\n\r\n";
            let message = [&head[..], &body, b"\r\n--bb--\r\n"].concat();
            let whole = convert(&message, message.len()).expect("converted");
            prop_assert_eq!(&convert(&message, size).expect("converted"), &whole);
            let delimited = body.windows(4).any(|octets| octets == b"--bb");
            let found = scan(&whole);
            if let (false, Some(part)) = (delimited, found.parts.get(1)) {
                let coded = &whole[part.body.start as usize..part.body.end as usize];
                prop_assert_eq!(TransferEncoding::Base64.decoded(coded), body);
            }
        }
    }
}
