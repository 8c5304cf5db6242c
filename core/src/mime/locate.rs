//! From a section to octets of the message (RFC 9051 §6.4.5, `section-spec`).

use core::cmp::Ordering;
use core::ops::Range;

use super::header::Fields;
use super::part::{Kind, Places};
use super::section::{Spec, Text};

/// Where a section's octets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located<'a> {
    /// There, as they are.
    Range(Range<u64>),
    /// What [`filter_fields`] leaves of this header.
    Fields {
        /// The header with its empty line.
        header: Range<u64>,
        /// Field names.
        names: &'a [String],
        /// All but these.
        not: bool,
    },
    /// The message has no such part: NIL.
    Nil,
}

/// Finds a section.
///
/// HEADER and TEXT exist of the message and of parts that are messages, MIME of every part, that is of the only part
/// `1` of a message that is no multipart too: it is the message's header. An empty multipart has an empty part `1`,
/// as BODYSTRUCTURE says.
#[must_use]
pub fn locate<'a>(structure: &impl Places, spec: &'a Spec) -> Located<'a> {
    if spec.part.is_empty() {
        return match &spec.text {
            Text::Whole => Located::Range(0..structure.size()),
            Text::Mime => Located::Nil,
            text => of_message(structure, 0, text),
        };
    }
    let Some(found) = find(structure, &spec.part) else {
        return Located::Nil;
    };
    let Target::Part(index) = found else {
        let Target::Empty(at) = found else {
            return Located::Nil;
        };
        return match spec.text {
            Text::Whole | Text::Mime => Located::Range(at..at),
            _ => Located::Nil,
        };
    };
    let Some(part) = structure.place(index) else {
        return Located::Nil;
    };
    match &spec.text {
        Text::Whole => Located::Range(part.body),
        Text::Mime => Located::Range(part.header),
        text if part.kind == Kind::Message => match structure.children_of(index).next() {
            Some(message) => of_message(structure, message, text),
            None => Located::Nil,
        },
        _ => Located::Nil,
    }
}

/// A part as BINARY has it (RFC 3516 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The header that names its transfer encoding; none of what has no encoding: the message itself, multiparts,
    /// embedded messages.
    pub header: Option<Range<u64>>,
    /// Its octets as they are stored.
    pub body: Range<u64>,
}

/// Finds a part by its numbers; without any it is the whole message. `None`: the message has no such part.
#[must_use]
pub fn leaf(structure: &impl Places, numbers: &[u32]) -> Option<Leaf> {
    if numbers.is_empty() {
        return Some(Leaf {
            header: None,
            body: 0..structure.size(),
        });
    }
    match find(structure, numbers)? {
        Target::Empty(at) => Some(Leaf {
            header: None,
            body: at..at,
        }),
        Target::Part(index) => {
            let place = structure.place(index)?;
            Some(Leaf {
                header: (place.kind == Kind::Leaf).then_some(place.header),
                body: place.body,
            })
        }
    }
}

/// Cuts a range as `<offset.length>` says; empty if it begins beyond the end (RFC 9051 §6.4.5).
#[must_use]
pub fn cut(range: Range<u64>, partial: Option<(u64, u64)>) -> Range<u64> {
    let Some((offset, len)) = partial else {
        return range;
    };
    let start = range.start.saturating_add(offset).min(range.end);
    start..start.saturating_add(len).min(range.end)
}

/// HEADER.FIELDS, or HEADER.FIELDS.NOT if `not`: the fields with one of these names, in any case, as they stand, and
/// the empty line if the header has one. Lines that are no field have no name.
#[must_use]
pub fn filter_fields(header: &[u8], names: &[String], not: bool) -> Vec<u8> {
    // Sorted, so that many names and many fields are no product.
    let mut sorted: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    sorted.sort_unstable_by(|a, b| compare_names(a, b));
    let mut out = Vec::new();
    let mut fields = Fields::new(header);
    for field in fields.by_ref() {
        let found = sorted.binary_search_by(|name| compare_names(name, field.name));
        let named = found.is_ok() && !field.name.is_empty();
        if named != not {
            out.extend_from_slice(header.get(field.start..field.end).unwrap_or_default());
        }
    }
    let rest = fields.rest();
    let empty = [&b"\r\n"[..], b"\n"]
        .into_iter()
        .find(|line| rest.starts_with(line));
    out.extend_from_slice(empty.unwrap_or_default());
    out
}

/// The order of field names, in any case.
pub(super) fn compare_names(a: &[u8], b: &[u8]) -> Ordering {
    a.iter()
        .map(u8::to_ascii_lowercase)
        .cmp(b.iter().map(u8::to_ascii_lowercase))
}

/// A section of a message as a whole.
fn of_message<'a>(structure: &impl Places, message: usize, text: &'a Text) -> Located<'a> {
    let Some(part) = structure.place(message) else {
        return Located::Nil;
    };
    let header = part.header;
    match text {
        Text::Header => Located::Range(header),
        Text::HeaderFields(names) => Located::Fields {
            header,
            names,
            not: false,
        },
        Text::HeaderFieldsNot(names) => Located::Fields {
            header,
            names,
            not: true,
        },
        Text::Text => Located::Range(part.body),
        Text::Whole | Text::Mime => Located::Nil,
    }
}

enum Target {
    Part(usize),
    /// The part `1` of an empty multipart that ends here.
    Empty(u64),
}

/// Follows part numbers. A message's own multipart has no number of its own: 4.1 is the first part of it.
fn find(structure: &impl Places, numbers: &[u32]) -> Option<Target> {
    let mut message = Some(0);
    let mut at = 0;
    let mut rest = numbers.iter();
    while let Some(number) = rest.next() {
        let wanted = usize::try_from(number.checked_sub(1)?).ok()?;
        let multipart = match message {
            Some(root) if structure.place(root)?.kind == Kind::Multipart => Some(root),
            Some(root) if wanted == 0 => {
                at = root;
                None
            }
            None if structure.place(at)?.kind == Kind::Multipart => Some(at),
            _ => return None,
        };
        if let Some(multipart) = multipart {
            let mut children = structure.children_of(multipart).peekable();
            if children.peek().is_none() && wanted == 0 && rest.len() == 0 {
                return Some(Target::Empty(structure.place(multipart)?.body.end));
            }
            at = children.nth(wanted)?;
        }
        let embeds = structure.place(at)?.kind == Kind::Message;
        message = if embeds {
            structure.children_of(at).next()
        } else {
            None
        };
    }
    Some(Target::Part(at))
}

#[cfg(test)]
mod tests {
    use super::super::scanner::scan;
    use super::*;

    /// The message of RFC 9051 §6.4.5: "Here is an example of a complex message with some of its part specifiers".
    fn complex() -> String {
        let text = |name: &str| format!("Content-Type: text/plain\r\n\r\n{name}\r\n");
        let image = |name: &str| format!("Content-Type: image/gif\r\n\r\n{name}\r\n");
        let octets = |name: &str| format!("Content-Type: application/octet-stream\r\n\r\n{name}\r\n");
        let multi = |kind: &str, b: &str, parts: &[String]| {
            let body: String = parts.iter().map(|part| format!("--{b}\r\n{part}")).collect();
            format!("Content-Type: multipart/{kind}; boundary={b}\r\n\r\n{body}--{b}--\r\n")
        };
        let message = |subject: &str, body: &str| {
            format!("Content-Type: message/rfc822\r\n\r\nSubject: {subject}\r\n{body}")
        };
        let three = message("three", &multi("mixed", "b3", &[text("3.1"), octets("3.2")]));
        let alternative = multi("alternative", "b422", &[text("4.2.2.1"), text("4.2.2.2")]);
        let four_two = message("four-two", &multi("mixed", "b42", &[text("4.2.1"), alternative]));
        let four = multi("mixed", "b4", &[image("4.1"), four_two]);
        multi("mixed", "b0", &[text("1"), octets("2"), three, four])
    }

    fn octets(message: &str, part: &[u32], text: Text) -> Option<String> {
        let spec = Spec {
            part: part.to_vec(),
            text,
        };
        let slice = |range: Range<u64>| message[range.start as usize..range.end as usize].to_owned();
        match locate(&scan(message.as_bytes()), &spec) {
            Located::Range(range) => Some(slice(range)),
            Located::Fields { header, names, not } => {
                let fields = filter_fields(slice(header).as_bytes(), names, not);
                Some(String::from_utf8(fields).expect("ASCII"))
            }
            Located::Nil => None,
        }
    }

    #[test]
    fn part_numbers_of_rfc_9051() {
        let message = complex();
        let get = |part: &[u32], text| octets(&message, part, text);
        let some = |text: &str| Some(text.to_owned());
        for (part, body) in [
            (&[1][..], "1"),
            (&[2], "2"),
            (&[3, 1], "3.1"),
            (&[3, 2], "3.2"),
            (&[4, 1], "4.1"),
            (&[4, 2, 1], "4.2.1"),
            (&[4, 2, 2, 1], "4.2.2.1"),
            (&[4, 2, 2, 2], "4.2.2.2"),
        ] {
            assert_eq!(get(part, Text::Whole), some(body), "{part:?}");
        }
        assert_eq!(get(&[4, 1], Text::Mime), some("Content-Type: image/gif\r\n\r\n"));
        assert_eq!(
            get(&[3], Text::Header),
            some("Subject: three\r\nContent-Type: multipart/mixed; boundary=b3\r\n\r\n")
        );
        assert!(
            get(&[3], Text::Text)
                .is_some_and(|text| text.starts_with("--b3\r\n") && text.ends_with("--b3--"))
        );
        assert_eq!(
            get(&[3], Text::Mime),
            some("Content-Type: message/rfc822\r\n\r\n")
        );
        assert_eq!(
            get(&[4, 2], Text::HeaderFields(vec!["SUBJECT".to_owned()])),
            some("Subject: four-two\r\n\r\n")
        );
        assert_eq!(
            get(&[4, 2], Text::HeaderFieldsNot(vec!["Subject".to_owned()])),
            some("Content-Type: multipart/mixed; boundary=b42\r\n\r\n")
        );
        assert!(get(&[4, 2, 2], Text::Whole).is_some_and(|text| text.starts_with("--b422\r\n")));
        for (part, text) in [
            (&[5][..], Text::Whole),
            (&[0], Text::Whole),
            (&[1, 1], Text::Whole),
            (&[3, 3], Text::Whole),
            (&[3, 1, 1], Text::Whole),
            (&[1], Text::Header),
            (&[4], Text::Text),
            (&[u32::MAX], Text::Mime),
            (&[], Text::Mime),
        ] {
            assert_eq!(get(part, text.clone()), None, "{part:?} {text:?}");
        }
    }

    #[test]
    fn a_message_without_parts_has_part_one() {
        let message = "Subject: x\r\nFrom: a\r\n\r\nbody";
        let get = |part: &[u32], text| octets(message, part, text);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(get(&[], Text::Whole), some(message));
        assert_eq!(get(&[], Text::Header), some("Subject: x\r\nFrom: a\r\n\r\n"));
        assert_eq!(get(&[], Text::Text), some("body"));
        assert_eq!(get(&[1], Text::Whole), some("body"));
        assert_eq!(get(&[1], Text::Mime), some("Subject: x\r\nFrom: a\r\n\r\n"));
        assert_eq!(get(&[1, 1], Text::Whole), None);
        assert_eq!(get(&[2], Text::Whole), None);
        assert_eq!(get(&[1], Text::Header), None);
    }

    #[test]
    fn a_message_in_a_message() {
        let message = "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntext";
        let get = |part: &[u32], text| octets(message, part, text);
        assert_eq!(get(&[1], Text::Header).as_deref(), Some("Subject: in\r\n\r\n"));
        assert_eq!(get(&[1, 1], Text::Whole).as_deref(), Some("text"));
        assert_eq!(get(&[1, 1, 1], Text::Whole), None);
    }

    #[test]
    fn an_empty_multipart_has_an_empty_part() {
        let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(octets(message, &[1], Text::Whole).as_deref(), Some(""));
        assert_eq!(octets(message, &[1], Text::Header), None);
        assert_eq!(octets(message, &[2], Text::Whole), None);
        assert_eq!(octets(message, &[1, 1], Text::Whole), None);
    }

    #[test]
    fn a_header_without_empty_line_gets_none() {
        let names = ["a".to_owned()];
        assert_eq!(
            filter_fields(b"A: 1\r\n 2\r\nB: 3\r\n", &names, false),
            b"A: 1\r\n 2\r\n"
        );
        assert_eq!(filter_fields(b"A: 1\r\n\r\n", &[], false), b"\r\n");
        assert_eq!(filter_fields(b"A: 1\r\n\r\nbody", &names, false), b"A: 1\r\n\r\n");
        assert_eq!(
            filter_fields(b"A: 1\nno field\n\n", &names, true),
            b"no field\n\n"
        );
    }

    #[test]
    fn partial_never_overflows() {
        assert_eq!(cut(10..20, None), 10..20);
        assert_eq!(cut(10..20, Some((0, 5))), 10..15);
        assert_eq!(cut(10..20, Some((5, 100))), 15..20);
        assert_eq!(cut(10..20, Some((10, 1))), 20..20);
        assert_eq!(cut(10..20, Some((u64::MAX, u64::MAX))), 20..20);
    }
}
