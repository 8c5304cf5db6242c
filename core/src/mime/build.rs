//! Messages of our own: header fields, multiparts (RFC 5322, 2045, 2046, 2047, 6522).
//!
//! What is written is 7-bit, its lines are at most 998 octets long and end with CRLF; only the bodies given to [`part`]
//! are the caller's business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::random::Random;
use crate::text::encoded_word;

/// Octets of a header line without its line end (RFC 5322 §2.1.1).
const LINE: usize = 78;

/// Octets of a line of text that is sent as it is.
const LONGEST: usize = 998;

/// Writes a field, folded at its spaces. A value with anything but printable ASCII, with something that looks like an
/// encoded word, or with a word too long for a line becomes encoded words: so it must be unstructured, or phrases must
/// have gone through [`phrase`] before. Line ends and other controls count as spaces, so nothing can be injected.
pub fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut column = name.len() + 1;
    let clean: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let clean = clean.trim();
    let plain = clean.is_ascii()
        && !clean.contains("=?")
        && clean.split(' ').all(|word| word.len() <= LONGEST - LINE);
    if plain {
        clean.split(' ').for_each(|word| fold(out, &mut column, word));
    } else {
        encoded_word::encode(clean)
            .iter()
            .for_each(|word| fold(out, &mut column, word));
    }
    out.extend_from_slice(b"\r\n");
}

/// A display name as a phrase: as it is, quoted, or as encoded words (RFC 5322 §3.2.5, RFC 2047 §5 (3)).
#[must_use]
pub fn phrase(name: &str) -> String {
    let atext = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~ ".contains(&octet);
    let clean: String = name
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let clean = clean.trim();
    if !clean.is_ascii() || clean.contains("=?") {
        return encoded_word::encode(clean).join(" ");
    }
    // White space between the words of a phrase means one space: two in a row want quotes.
    if !clean.is_empty() && clean.bytes().all(atext) && !clean.contains("  ") {
        return clean.to_owned();
    }
    let mut quoted = String::with_capacity(clean.len() + 2);
    quoted.push('"');
    for c in clean.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// A boundary that is in no text by chance: 128 random bits, and `=_`, which neither quoted-printable nor base64 makes
/// (RFC 2045 §6.7).
#[must_use]
pub fn boundary(random: &mut Random) -> String {
    format!("=_{:016x}{:016x}", random.next_u64(), random.next_u64())
}

/// Ends a header with the fields of a multipart and the empty line: `kind` is `mixed`, or `report;
/// report-type=delivery-status` (RFC 6522 §3).
pub fn multipart(out: &mut Vec<u8>, kind: &str, boundary: &str) {
    header(out, "MIME-Version", "1.0");
    header(
        out,
        "Content-Type",
        &format!("multipart/{kind}; boundary=\"{boundary}\""),
    );
    out.extend_from_slice(b"\r\n");
}

/// A part of a multipart with its delimiter: `fields` are its header's, the body is written as it is.
pub fn part(out: &mut Vec<u8>, boundary: &str, fields: &[(&str, &str)], body: &[u8]) {
    delimiter(out, boundary);
    for (name, value) in fields {
        header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// A part of plain text: US-ASCII as it is, else UTF-8 in base64. Lines may end with LF or CRLF.
pub fn text_part(out: &mut Vec<u8>, boundary: &str, text: &str) {
    let lines: String = text.lines().flat_map(|line| [line, "\r\n"]).collect();
    let plain = |octet: u8| matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    let sendable = lines.bytes().all(plain)
        && lines
            .split("\r\n")
            .all(|line| line.len() <= LONGEST && !line.contains('\r'));
    if sendable {
        let fields = [("Content-Type", "text/plain; charset=us-ascii")];
        part(out, boundary, &fields, lines.as_bytes());
        return;
    }
    let fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "base64"),
    ];
    let mut body = Vec::with_capacity(lines.len() * 3 / 2);
    for piece in lines.as_bytes().chunks(57) {
        body.extend_from_slice(STANDARD.encode(piece).as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    part(out, boundary, &fields, &body);
}

/// Ends a multipart.
pub fn close(out: &mut Vec<u8>, boundary: &str) {
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary.as_bytes());
    out.extend_from_slice(b"--\r\n");
}

fn delimiter(out: &mut Vec<u8>, boundary: &str) {
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a word behind a space, on a new line if it does not fit.
fn fold(out: &mut Vec<u8>, column: &mut usize, word: &str) {
    if word.is_empty() {
        // Two spaces in a row stay; a line of spaces alone must not come about, so there is no fold here.
        out.push(b' ');
        *column += 1;
        return;
    }
    let first = out.last() == Some(&b':');
    if !first && *column + 1 + word.len() > LINE {
        out.extend_from_slice(b"\r\n");
        *column = 0;
    }
    out.push(b' ');
    out.extend_from_slice(word.as_bytes());
    *column += 1 + word.len();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode::TransferEncoding;
    use super::super::header::{Fields, find};
    use super::super::scanner::scan;
    use super::*;

    fn field(value: &str) -> String {
        let mut out = Vec::new();
        header(&mut out, "Subject", value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn fields_fold_at_spaces() {
        assert_eq!(field("short"), "Subject: short\r\n");
        assert_eq!(field(""), "Subject: \r\n");
        let long = field(&"word ".repeat(40));
        assert!(
            long.trim_end().split("\r\n").all(|line| line.len() <= LINE),
            "{long}"
        );
        assert_eq!(
            find(long.as_bytes(), b"subject").map(|f| f.value()),
            Some("word ".repeat(40).trim().into())
        );
    }

    #[test]
    fn nothing_is_injected() {
        let injected = field("x\r\nBcc: y@z\r\n\r\nbody");
        assert_eq!(Fields::new(injected.as_bytes()).count(), 1);
        assert!(injected.ends_with("\r\n") && !injected.contains("\r\nBcc"));
    }

    #[test]
    fn phrases() {
        assert_eq!(phrase("Joe Doe"), "Joe Doe");
        assert_eq!(phrase("Joe Q. \"P\" Doe"), "\"Joe Q. \\\"P\\\" Doe\"");
        assert_eq!(phrase("Jörg"), "=?UTF-8?Q?J=C3=B6rg?=");
        assert_eq!(phrase("a\r\nb <c>"), "\"a  b <c>\"");
        assert_eq!(phrase("a  b"), "\"a  b\"");
        assert_eq!(phrase(""), "\"\"");
    }

    #[test]
    fn a_report_reads_back() {
        let boundary = boundary(&mut Random::from_seed([1; 32]));
        let mut out = Vec::new();
        header(&mut out, "From", "MAILER-DAEMON@example.org");
        multipart(&mut out, "report; report-type=delivery-status", &boundary);
        text_part(&mut out, &boundary, "Sorry.\nIt did not work.\n");
        text_part(&mut out, &boundary, "Größe\n");
        part(
            &mut out,
            &boundary,
            &[("Content-Type", "message/delivery-status")],
            b"Reporting-MTA: dns; x\r\n",
        );
        close(&mut out, &boundary);
        let structure = scan(&out);
        assert_eq!(
            structure.parts[0].mime.parameter("REPORT-TYPE"),
            Some(&b"delivery-status"[..])
        );
        let bodies: Vec<Vec<u8>> = structure.parts[1..]
            .iter()
            .map(|part| {
                let body = &out[part.body.start as usize..part.body.end as usize];
                TransferEncoding::of(&part.mime).decoded(body)
            })
            .collect();
        assert_eq!(
            bodies,
            [
                b"Sorry.\r\nIt did not work.\r\n".to_vec(),
                "Größe\r\n".as_bytes().to_vec(),
                b"Reporting-MTA: dns; x\r\n".to_vec()
            ]
        );
        let marks = structure.parts[0].body_marks;
        assert!(!marks.eight_bit && !marks.bare_lf && !marks.bare_cr);
    }

    proptest! {
        #[test]
        fn any_value_is_one_field(value in ".{0,300}") {
            let out = field(&value);
            prop_assert_eq!(Fields::new(out.as_bytes()).count(), 1);
            prop_assert!(out.is_ascii() && out.split("\r\n").all(|line| line.len() <= LONGEST));
            let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let read = find(out.as_bytes(), b"Subject").expect("there").value();
            prop_assert_eq!(encoded_word::decode(&read), clean.trim());
        }
    }
}
