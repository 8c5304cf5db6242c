//! BODY and BODYSTRUCTURE (RFC 9051 §7.5.2, §9 `body`).
//!
//! * Type names, attributes and encodings are in upper case; values are as they stand in the message, continuations
//!   joined ([`super::parameter::parameters`]).
//! * A text part without a charset has `"CHARSET" "US-ASCII"`, the default of RFC 2046 §4.1.2.
//! * A multipart without parts has one empty text part, as the grammar wants one.
//! * A multipart or message that is nested too deep to be looked into is application/octet-stream.

use super::content::Mime;
use super::imap_string::{nstring, number, string};
use super::parameter::Parameter;
use super::part::{Kind, Part, Structure};

/// An empty multipart's part, without and with extension data.
const EMPTY: &[u8] = br#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0"#;

/// Renders the structure: BODYSTRUCTURE if `extended`, else BODY. Nothing else is needed: the envelopes of embedded
/// messages were made by the scanner.
#[must_use]
pub fn body_structure(structure: &Structure, extended: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 * structure.parts.len());
    let mut open = vec![Step::Enter(0)];
    while let Some(step) = open.pop() {
        let (Step::Enter(index) | Step::Leave(index)) = step;
        let Some(part) = structure.parts.get(index) else {
            continue;
        };
        match step {
            Step::Leave(_) => leave(&mut out, part, extended),
            Step::Enter(_) => {
                enter(&mut out, structure, index, part, extended);
                if matches!(part.kind, Kind::Multipart | Kind::Message) {
                    open.push(Step::Leave(index));
                    let first = open.len();
                    open.extend(structure.children(index).map(Step::Enter));
                    open.get_mut(first..).unwrap_or_default().reverse();
                }
            }
        }
    }
    out
}

#[derive(Clone, Copy)]
enum Step {
    Enter(usize),
    Leave(usize),
}

/// What comes before the children; all of it for a part without.
fn enter(out: &mut Vec<u8>, structure: &Structure, index: usize, part: &Part, extended: bool) {
    out.push(b'(');
    match part.kind {
        Kind::Multipart => {
            if structure.children(index).next().is_none() {
                out.extend_from_slice(EMPTY);
                out.extend_from_slice(if extended { b" NIL NIL NIL NIL)" } else { b")" });
            }
        }
        Kind::Message => {
            basic(out, part);
            out.push(b' ');
            let message = structure.children(index).next();
            let envelope = message.and_then(|message| structure.parts.get(message)?.envelope.as_deref());
            out.extend_from_slice(envelope.unwrap_or(b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"));
            out.push(b' ');
        }
        Kind::Leaf | Kind::Opaque => {
            basic(out, part);
            if part.kind == Kind::Leaf && part.mime.is_type("TEXT") {
                out.push(b' ');
                number(out, part.lines);
            }
            finish(out, part, extended);
        }
    }
}

/// What comes behind the children.
fn leave(out: &mut Vec<u8>, part: &Part, extended: bool) {
    out.push(b' ');
    if part.kind == Kind::Message {
        number(out, part.lines);
        finish(out, part, extended);
        return;
    }
    string(out, part.mime.subtype.as_bytes());
    if extended {
        out.push(b' ');
        parameters(out, &part.mime.parameters, false);
        common_extension(out, &part.mime);
    }
    out.push(b')');
}

/// Type, `body-fields`.
fn basic(out: &mut Vec<u8>, part: &Part) {
    let mime = &part.mime;
    let (media_type, subtype) = if part.kind == Kind::Opaque {
        ("APPLICATION", "OCTET-STREAM")
    } else {
        (mime.media_type.as_str(), mime.subtype.as_str())
    };
    string(out, media_type.as_bytes());
    out.push(b' ');
    string(out, subtype.as_bytes());
    out.push(b' ');
    let text = part.kind == Kind::Leaf && mime.is_type("TEXT");
    let charset = mime.parameter("CHARSET").or_else(|| mime.parameter("CHARSET*"));
    parameters(out, &mime.parameters, text && charset.is_none());
    out.push(b' ');
    nstring(out, mime.id.as_deref());
    out.push(b' ');
    nstring(out, mime.description.as_deref());
    out.push(b' ');
    string(out, mime.encoding.as_bytes());
    out.push(b' ');
    number(out, part.body_len());
}

/// `body-ext-1part` and the closing parenthesis.
fn finish(out: &mut Vec<u8>, part: &Part, extended: bool) {
    if extended {
        out.push(b' ');
        nstring(out, part.mime.md5.as_deref());
        common_extension(out, &part.mime);
    }
    out.push(b')');
}

/// Disposition, language and location, a space before each.
fn common_extension(out: &mut Vec<u8>, mime: &Mime) {
    out.push(b' ');
    match &mime.disposition {
        Some((kind, values)) => {
            out.push(b'(');
            string(out, kind.as_bytes());
            out.push(b' ');
            parameters(out, values, false);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    match mime.language.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        [tag] => string(out, tag),
        tags => {
            out.push(b'(');
            spaced(out, tags, |out, tag| string(out, tag));
            out.push(b')');
        }
    }
    out.push(b' ');
    nstring(out, mime.location.as_deref());
}

/// `body-fld-param`; `default_charset` adds the charset that is meant without one.
fn parameters(out: &mut Vec<u8>, parameters: &[Parameter], default_charset: bool) {
    if parameters.is_empty() && !default_charset {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    if default_charset {
        out.extend_from_slice(br#""CHARSET" "US-ASCII""#);
        if !parameters.is_empty() {
            out.push(b' ');
        }
    }
    spaced(out, parameters, |out, parameter| {
        string(out, parameter.name.as_bytes());
        out.push(b' ');
        string(out, &parameter.value);
    });
    out.push(b')');
}

fn spaced<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        write(out, item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::scanner::scan;
    use super::*;

    fn rendered(message: &str, extended: bool) -> String {
        String::from_utf8_lossy(&body_structure(&scan(message.as_bytes()), extended)).into_owned()
    }

    #[test]
    fn examples_of_rfc_9051() {
        let body = "x\r\n".repeat(47) + &"y".repeat(2279 - 47 * 3 - 2) + "\r\n";
        assert_eq!(
            rendered(
                &format!("Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n{body}"),
                false
            ),
            r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 2279 48)"#
        );
        let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
            Content-Type: text/plain; charset=us-ascii\r\n\r\nab\r\ncd\r\n--b\r\n\
            Content-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=cc.diff\r\n\
            Content-ID: <960723163407.20117h@cac.washington.edu>\r\n\
            Content-Description: Compiler diff\r\n\
            Content-Transfer-Encoding: BASE64\r\n\r\nYWI=\r\n\r\n--b--\r\n";
        assert_eq!(
            rendered(message, false),
            concat!(
                r#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 6 1)"#,
                r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") "#,
                r#""<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 6 1) "MIXED")"#
            )
        );
    }

    #[test]
    fn empty_multiparts_keep_the_grammar() {
        let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\nno parts\r\n";
        assert_eq!(
            rendered(message, false),
            r#"(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0) "MIXED")"#
        );
        assert_eq!(
            rendered(message, true),
            concat!(
                r#"(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0 NIL NIL NIL NIL) "MIXED" "#,
                r#"("BOUNDARY" "b") NIL NIL NIL)"#
            )
        );
    }

    #[test]
    fn a_message_has_envelope_body_and_lines() {
        let message = "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\none\r\ntwo\r\n";
        assert_eq!(
            rendered(message, false),
            concat!(
                r#"("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 25 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) "#,
                r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 10 2) 4)"#
            )
        );
    }
}
