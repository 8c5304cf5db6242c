//! The names of FETCH items as responses repeat them (RFC 9051 §7.5.2).

use crate::imap::command::FetchItem;
use crate::imap::response;
use crate::mime::section::{Section, Spec, Text};

/// An item of FETCH whose value comes from the message's content.
#[derive(Debug)]
pub(super) struct Content {
    /// What to ask the service for.
    pub(super) section: Section,
    /// The item's name in the response.
    pub(super) label: Vec<u8>,
    pub(super) form: Form,
    /// Fetching it sets `\Seen`.
    pub(super) marks_seen: bool,
}

/// What the value of an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Rendered already.
    Rendered,
    /// Octets, sent as a literal.
    Literal,
    /// Octets, sent as a `~{}` literal if there is a NUL in them (RFC 3516 §4.3).
    Binary,
}

/// The content that an item asks for; `None` for those that rows answer.
pub(super) fn content(item: FetchItem) -> Option<Content> {
    let rendered = |section, label: &str| {
        Some(Content {
            section,
            label: label.as_bytes().to_vec(),
            form: Form::Rendered,
            marks_seen: false,
        })
    };
    let old = |text, label: &str, marks_seen| {
        let spec = Spec {
            part: Vec::new(),
            text,
        };
        Some(Content {
            section: Section::Octets { spec, partial: None },
            label: label.as_bytes().to_vec(),
            form: Form::Literal,
            marks_seen,
        })
    };
    match item {
        FetchItem::Uid
        | FetchItem::Flags
        | FetchItem::ModSeq
        | FetchItem::InternalDate
        | FetchItem::SaveDate
        | FetchItem::Rfc822Size => None,
        FetchItem::Preview { lazy } => rendered(Section::Preview { lazy }, "PREVIEW"),
        FetchItem::EmailId => rendered(Section::EmailId, "EMAILID"),
        FetchItem::ThreadId => rendered(Section::ThreadId, "THREADID"),
        FetchItem::BinarySize { part } => Some(Content {
            label: binary_label(b"BINARY.SIZE[", &part, None),
            section: Section::BinarySize { part },
            form: Form::Rendered,
            marks_seen: false,
        }),
        FetchItem::Binary { part, partial, peek } => Some(Content {
            label: binary_label(b"BINARY[", &part, partial),
            section: Section::Binary { part, partial },
            form: Form::Binary,
            marks_seen: !peek,
        }),
        FetchItem::Envelope => rendered(Section::Envelope, "ENVELOPE"),
        FetchItem::Body => rendered(Section::Body, "BODY"),
        FetchItem::BodyStructure => rendered(Section::BodyStructure, "BODYSTRUCTURE"),
        FetchItem::Rfc822 => old(Text::Whole, "RFC822", true),
        FetchItem::Rfc822Header => old(Text::Header, "RFC822.HEADER", false),
        FetchItem::Rfc822Text => old(Text::Text, "RFC822.TEXT", true),
        FetchItem::Section { spec, partial, peek } => Some(Content {
            label: label(&spec, partial),
            section: Section::Octets { spec, partial },
            form: Form::Literal,
            marks_seen: !peek,
        }),
    }
}

/// `BODY[1.HEADER.FIELDS (Date)]<0>`: a partial one names its first octet.
fn label(spec: &Spec, partial: Option<(u64, u64)>) -> Vec<u8> {
    let mut out = b"BODY[".to_vec();
    numbers(&mut out, &spec.part);
    if !spec.part.is_empty() && spec.text != Text::Whole {
        out.push(b'.');
    }
    match &spec.text {
        Text::Whole => {}
        Text::Header => out.extend_from_slice(b"HEADER"),
        Text::Text => out.extend_from_slice(b"TEXT"),
        Text::Mime => out.extend_from_slice(b"MIME"),
        Text::HeaderFields(names) => fields(&mut out, b"HEADER.FIELDS (", names),
        Text::HeaderFieldsNot(names) => fields(&mut out, b"HEADER.FIELDS.NOT (", names),
    }
    end(&mut out, partial);
    out
}

/// `BINARY[1.2]<0>`
fn binary_label(word: &[u8], part: &[u32], partial: Option<(u64, u64)>) -> Vec<u8> {
    let mut out = word.to_vec();
    numbers(&mut out, part);
    end(&mut out, partial);
    out
}

fn numbers(out: &mut Vec<u8>, part: &[u32]) {
    for (at, number) in part.iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        response::number(out, *number);
    }
}

fn end(out: &mut Vec<u8>, partial: Option<(u64, u64)>) {
    out.push(b']');
    if let Some((first, _)) = partial {
        out.push(b'<');
        response::number(out, first);
        out.push(b'>');
    }
}

fn fields(out: &mut Vec<u8>, word: &[u8], names: &[String]) {
    out.extend_from_slice(word);
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        response::astring(out, name.as_bytes());
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_repeat_the_request() {
        let show = |part: &[u32], text, partial| {
            let spec = Spec {
                part: part.to_vec(),
                text,
            };
            String::from_utf8(label(&spec, partial)).expect("ASCII")
        };
        assert_eq!(binary_label(b"BINARY[", &[1, 2], Some((3, 4))), b"BINARY[1.2]<3>");
        assert_eq!(binary_label(b"BINARY.SIZE[", &[], None), b"BINARY.SIZE[]");
        assert_eq!(show(&[], Text::Whole, None), "BODY[]");
        assert_eq!(show(&[], Text::Whole, Some((0, 20))), "BODY[]<0>");
        assert_eq!(show(&[1, 2], Text::Whole, None), "BODY[1.2]");
        assert_eq!(show(&[4], Text::Mime, None), "BODY[4.MIME]");
        assert_eq!(show(&[], Text::Text, None), "BODY[TEXT]");
        let names = || vec!["Date".to_owned(), "x y".to_owned()];
        assert_eq!(
            show(&[3], Text::HeaderFields(names()), None),
            "BODY[3.HEADER.FIELDS (Date \"x y\")]"
        );
        assert_eq!(
            show(&[], Text::HeaderFieldsNot(names()), Some((5, 1))),
            "BODY[HEADER.FIELDS.NOT (Date \"x y\")]<5>"
        );
    }
}
