//! Content of our own messages: transfer encodings, parameters, parts put together (RFC 2045, RFC 2046, RFC 2231).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::build;
use crate::random::Random;

/// Octets of a line of encoded content (RFC 2045 §6.7, §6.8).
const LINE: usize = 76;

/// Octets of a line that is sent as it is (RFC 5322 §2.1.1).
const LONGEST: usize = 998;

/// Octets of one section of a parameter's value (RFC 2231 §3).
const SECTION: usize = 60;

/// A part of a message: its own fields, in their order, and its body as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entity {
    /// Names and values.
    pub fields: Vec<(&'static str, String)>,
    /// What follows the empty line. Ends with CRLF, if there is any of it.
    pub body: Vec<u8>,
}

impl Entity {
    /// Text of this subtype (`plain`, `html`): ASCII in short lines as it is, else UTF-8 in quoted-printable, or in base64
    /// if hardly anything of it is ASCII. Lines may end in any way.
    #[must_use]
    pub fn text(subtype: &str, text: &str) -> Self {
        let lines = lines(text);
        let plain = |octet: u8| matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        if lines.bytes().all(plain) && lines.split("\r\n").all(|line| line.len() <= LONGEST) {
            return Self {
                fields: vec![
                    ("Content-Type", format!("text/{subtype}; charset=us-ascii")),
                    ("Content-Transfer-Encoding", "7bit".to_owned()),
                ],
                body: lines.into_bytes(),
            };
        }
        let escaped = lines.bytes().filter(|octet| !octet.is_ascii()).count();
        let (encoding, body) = if escaped * 4 > lines.len() {
            ("base64", base64_lines(lines.as_bytes()))
        } else {
            ("quoted-printable", quoted_printable(&lines))
        };
        Self {
            fields: vec![
                ("Content-Type", format!("text/{subtype}; charset=utf-8")),
                ("Content-Transfer-Encoding", encoding.to_owned()),
            ],
            body,
        }
    }

    /// Octets in base64. The media type may have parameters; it must be neither `multipart` nor `message`.
    #[must_use]
    pub fn octets(media_type: &str, octets: &[u8]) -> Self {
        Self {
            fields: vec![
                ("Content-Type", media_type.to_owned()),
                ("Content-Transfer-Encoding", "base64".to_owned()),
            ],
            body: base64_lines(octets),
        }
    }

    /// A message within a message, as it is, for no other encoding is permitted (RFC 2046 §5.2.1). One that cannot stand
    /// so, because of its lines or a NUL, becomes octets of a file.
    #[must_use]
    pub fn message(message: &[u8]) -> Self {
        let whole = message.split(|octet| *octet == b'\n').all(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            line.len() <= LONGEST && !line.iter().any(|octet| matches!(octet, 0 | b'\r'))
        });
        if !whole {
            return Self::octets("application/octet-stream", message);
        }
        let mut body = Vec::with_capacity(message.len() + 2);
        let mut rest = message;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, more) = rest.split_at_checked(end + 1).unwrap_or((rest, &[]));
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            body.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            body.extend_from_slice(b"\r\n");
            rest = more;
        }
        if !rest.is_empty() {
            body.extend_from_slice(rest);
            body.extend_from_slice(b"\r\n");
        }
        let encoding = if body.is_ascii() { "7bit" } else { "8bit" };
        Self {
            fields: vec![
                ("Content-Type", "message/rfc822".to_owned()),
                ("Content-Transfer-Encoding", encoding.to_owned()),
            ],
            body,
        }
    }

    /// A multipart of this kind: `mixed`, `alternative`, `related; type="text/html"`. A single part is itself.
    #[must_use]
    pub fn multipart(kind: &str, mut parts: Vec<Self>, random: &mut Random) -> Self {
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only;
        }
        let boundary = build::boundary(random);
        let mut body = Vec::with_capacity(parts.iter().map(|part| part.body.len() + 200).sum());
        for (at, part) in parts.iter().enumerate() {
            // The line end in front of a delimiter is its own (RFC 2046 §5.1.1).
            if at > 0 {
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            part.write(&mut body);
        }
        build::close(&mut body, &boundary);
        let eight_bit = parts.iter().any(|part| !part.body.is_ascii());
        let encoding = if eight_bit { "8bit" } else { "7bit" };
        Self {
            fields: vec![
                (
                    "Content-Type",
                    format!("multipart/{kind}; boundary=\"{boundary}\""),
                ),
                ("Content-Transfer-Encoding", encoding.to_owned()),
            ],
            body,
        }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Header, empty line, body.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.fields {
            build::header(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
    }
}

/// `; name=value` for Content-Type and Content-Disposition: quoted if it is short and plain, else as RFC 2231 has it.
#[must_use]
pub fn parameter(name: &str, value: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b" !#$&+-.^_{}~()@,".contains(&octet);
    if value.len() <= SECTION && value.bytes().all(plain) && value.trim() == value {
        return format!("; {name}=\"{value}\"");
    }
    let mut sections = vec!["UTF-8''".to_owned()];
    for c in value.chars() {
        let mut buffer = [0; 4];
        let octets = c.encode_utf8(&mut buffer).bytes();
        // `attribute-char` of RFC 2231 §7, and a little less.
        let safe = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
        let text: String = octets
            .map(|octet| match safe(octet) {
                true => char::from(octet).to_string(),
                false => format!("%{octet:02X}"),
            })
            .collect();
        match sections.last_mut() {
            Some(last) if last.len() + text.len() <= SECTION => last.push_str(&text),
            _ => sections.push(text),
        }
    }
    match sections.as_slice() {
        [only] => format!("; {name}*={only}"),
        _ => sections
            .iter()
            .enumerate()
            .map(|(at, section)| format!("; {name}*{at}*={section}"))
            .collect(),
    }
}

/// With CRLF at the end of every line.
fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32 + 2);
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\n']) {
        let (line, more) = rest.split_at(at);
        out.push_str(line);
        out.push_str("\r\n");
        rest = more
            .strip_prefix("\r\n")
            .or_else(|| more.get(1..))
            .unwrap_or_default();
    }
    if !rest.is_empty() {
        out.push_str(rest);
        out.push_str("\r\n");
    }
    out
}

fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(octets.len() / 54 * 78 + 80);
    for piece in octets.chunks(LINE / 4 * 3) {
        body.extend_from_slice(STANDARD.encode(piece).as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    body
}

/// RFC 2045 §6.7, of lines that end with CRLF.
fn quoted_printable(lines: &str) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(lines.len() + lines.len() / 8);
    for line in lines.split_inclusive("\r\n") {
        let line = line.strip_suffix("\r\n").unwrap_or(line).as_bytes();
        let mut column = 0;
        for (at, &octet) in line.iter().enumerate() {
            let last = at + 1 == line.len();
            let safe = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !last);
            let width = if safe { 1 } else { 3 };
            // One column stays for the `=` of a soft line break.
            if column + width > LINE - 1 {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            if safe {
                out.push(octet);
            } else {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'=', digit(octet >> 4), digit(octet & 15)]);
            }
            column += width;
        }
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::content::Mime;
    use super::super::decode::{TransferEncoding, text};
    use super::super::scanner::scan;
    use super::*;

    fn read(entity: &Entity) -> (Mime, String) {
        let mut out = Vec::new();
        entity.write(&mut out);
        let structure = scan(&out);
        let part = structure.root().expect("a part");
        let body = &out[part.body.start as usize..part.body.end as usize];
        let mut shown = String::new();
        text(&part.mime, body, |piece| {
            shown.push_str(piece);
            true
        });
        assert!(
            entity
                .body
                .split(|octet| *octet == b'\n')
                .all(|line| line.len() <= LONGEST + 1)
        );
        (part.mime.clone(), shown)
    }

    #[test]
    fn text_is_sent_in_the_simplest_form_that_holds_it() {
        let of = |text: &str| read(&Entity::text("plain", text)).0.encoding;
        assert_eq!(of("a\nb"), "7BIT");
        assert_eq!(of("Grüße aus der schönen Stadt\n"), "QUOTED-PRINTABLE");
        assert_eq!(of("Привет, мир"), "BASE64");
        assert_eq!(of(&"x".repeat(2_000)), "QUOTED-PRINTABLE");
    }

    #[test]
    fn parameters_read_back() {
        for value in [
            "a b.txt",
            "Größe (neu).pdf",
            "a\"b\\c",
            "=?x",
            &"ü".repeat(200),
            "a; b=c",
            " x",
            "%41",
            "'",
        ] {
            let field = format!(
                "Content-Disposition: attachment{}\r\n",
                parameter("filename", value)
            );
            let mime = Mime::parse(field.as_bytes(), false);
            let (_, parameters) = mime.disposition.expect("disposition");
            let [one] = parameters.as_slice() else {
                panic!("{parameters:?}")
            };
            let read = String::from_utf8(one.value.clone()).expect("text");
            if one.name == "FILENAME*" {
                let escaped = read.strip_prefix("UTF-8''").expect("a charset");
                let mut octets = Vec::new();
                let mut rest = escaped.bytes();
                while let Some(octet) = rest.next() {
                    octets.push(match octet {
                        b'%' => {
                            let pair = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                            u8::from_str_radix(std::str::from_utf8(&pair).expect("ASCII"), 16).expect("hex")
                        }
                        octet => octet,
                    });
                }
                assert_eq!(String::from_utf8(octets).expect("text"), value);
            } else {
                assert_eq!((one.name.as_str(), read.as_str()), ("FILENAME", value));
            }
        }
    }

    #[test]
    fn a_message_stays_as_it_is_if_it_can() {
        let good = Entity::message(b"Subject: x\n\nb\xfc");
        assert_eq!(good.body, b"Subject: x\r\n\r\nb\xfc\r\n");
        assert!(
            good.fields
                .contains(&("Content-Transfer-Encoding", "8bit".to_owned()))
        );
        for bad in [&b"a\rb"[..], b"a\0b", &[b'x'; 999]] {
            let entity = Entity::message(bad);
            assert_eq!(entity.fields[0].1, "application/octet-stream");
        }
    }

    #[test]
    fn parts_are_nested_and_one_part_is_itself() {
        let mut random = Random::from_seed([1; 32]);
        let text = |text: &str| Entity::text("plain", text);
        let one = Entity::multipart("mixed", vec![text("a")], &mut random);
        assert_eq!(one, text("a"));
        let inner = Entity::multipart("alternative", vec![text("a"), text("")], &mut random);
        let outer = Entity::multipart(
            "mixed",
            vec![inner, Entity::octets("image/png", b"\0\xff")],
            &mut random,
        );
        let mut out = Vec::new();
        outer.write(&mut out);
        let structure = scan(&out);
        let kinds: Vec<&str> = structure
            .parts
            .iter()
            .map(|part| part.mime.subtype.as_str())
            .collect();
        assert_eq!(kinds, ["MIXED", "ALTERNATIVE", "PLAIN", "PLAIN", "PNG"]);
        let last = structure.parts.last().expect("a part");
        let body = &out[last.body.start as usize..last.body.end as usize];
        assert_eq!(TransferEncoding::of(&last.mime).decoded(body), b"\0\xff");
    }

    proptest! {
        #[test]
        fn any_text_reads_back(value in "(?s).{0,400}") {
            // At the very beginning it is a mark of the encoding, and no text.
            let value = value.trim_start_matches('\u{feff}').to_owned();
            let entity = Entity::text("html", &value);
            prop_assert!(entity.body.is_ascii());
            let (_, shown) = read(&entity);
            prop_assert_eq!(shown, lines(&value));
        }
    }
}
