//! Octets above 127 in the header of submitted mail whose client has not asked for SMTPUTF8 (RFC 6531 §3.4). Where it is
//! clear what is meant, UTF-8 in free text, in display names and comments, they become encoded words (RFC 2047 §5), so that
//! what goes on is a message of RFC 5322. Addresses and parameters are left as they are.

use core::ops::Range;

use super::super::authors::addresses;
use crate::text::encoded_word;

/// Characters of a line with an encoded word (RFC 2047 §2).
const LINE: usize = 76;

/// Fields that hold addresses.
const ADDRESSES: [&str; 10] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-reply-to",
];

/// A field, with name, colon and line ends, whose text is in encoded words. `None`: it has nothing to encode, or it is not
/// clear how.
pub(super) fn encoded(field: &[u8]) -> Option<Vec<u8>> {
    if field.is_ascii() {
        return None;
    }
    let colon = field.iter().position(|&octet| octet == b':')?;
    let name = core::str::from_utf8(field.get(..colon)?).ok()?;
    let name = name.trim_ascii_end().to_ascii_lowercase();
    let text = core::str::from_utf8(field).ok()?;
    let (start, value) = (colon + 1, text.get(colon + 1..)?);
    if value.contains("=?") {
        return None;
    }
    let is_text = matches!(name.as_str(), "subject" | "comments" | "content-description");
    let spans = if is_text || name.starts_with("x-") {
        free_text(value, start)?
    } else if ADDRESSES.contains(&name.as_str()) {
        names(value, start)?
    } else {
        return None;
    };
    let written = write(text, &spans);
    let same = is_text
        || name.starts_with("x-")
        || addresses(value.as_bytes()).ok() == addresses(written.get(start..)?).ok();
    (written.is_ascii() && same).then_some(written)
}

/// What is to be encoded.
#[derive(Debug)]
struct Span {
    /// Its place in the field.
    at: Range<usize>,
    /// What it says.
    says: String,
    in_comment: bool,
}

/// From the first word that needs it to the last.
fn free_text(value: &str, start: usize) -> Option<Vec<Span>> {
    let is_space = |c: char| c.is_ascii_whitespace();
    let first = value.find(|c: char| !c.is_ascii())?;
    let last = value.rfind(|c: char| !c.is_ascii())?;
    let from = value.get(..first)?.rfind(is_space).map_or(0, |at| at + 1);
    let to = value
        .get(last..)?
        .find(is_space)
        .map_or(value.len(), |at| last + at);
    Some(vec![Span {
        at: start + from..start + to,
        says: unfolded(value.get(from..to)?),
        in_comment: false,
    }])
}

/// Display names and comments (RFC 5322 §3.4) that need it.
fn names(value: &str, start: usize) -> Option<Vec<Span>> {
    let mut spans = Vec::new();
    let mut words: Vec<(Range<usize>, String)> = Vec::new();
    let mut at = 0;
    while let Some(&octet) = value.as_bytes().get(at) {
        let rest = value.get(at..)?;
        let end = at
            + match octet {
                b' ' | b'\t' | b'\r' | b'\n' => 1,
                b'"' => {
                    let len = quoted_len(rest)?;
                    words.push((at..at + len, unquoted(rest.get(1..len - 1)?)));
                    len
                }
                b'(' => {
                    let len = rest.find(')')? + 1;
                    let inside = rest.get(1..len - 1)?;
                    if !inside.is_ascii() {
                        if inside.contains(['(', '\\']) {
                            return None;
                        }
                        spans.push(Span {
                            at: start + at + 1..start + at + len - 1,
                            says: unfolded(inside),
                            in_comment: true,
                        });
                    } else if inside.contains(['(', '\\']) {
                        // Rare; where it ends is not worth a second reading of the grammar.
                        return None;
                    }
                    len
                }
                b'<' => {
                    phrase(&mut words, start, &mut spans);
                    let len = rest.find('>')? + 1;
                    rest.get(..len)?.is_ascii().then_some(len)?
                }
                b':' => {
                    phrase(&mut words, start, &mut spans);
                    1
                }
                b',' | b';' => {
                    no_phrase(&mut words)?;
                    1
                }
                _ => {
                    let is_end = |c: char| c.is_ascii_whitespace() || "\"(<>:,;".contains(c);
                    let len = rest.find(is_end).unwrap_or(rest.len()).max(1);
                    let word = rest.get(..len)?;
                    words.push((at..at + len, word.to_owned()));
                    len
                }
            };
        at = end;
    }
    no_phrase(&mut words)?;
    Some(spans)
}

/// The words so far are a display name.
fn phrase(words: &mut Vec<(Range<usize>, String)>, start: usize, spans: &mut Vec<Span>) {
    let words = core::mem::take(words);
    let needs = |(_, word): &(Range<usize>, String)| !word.is_ascii();
    let (Some(first), Some(last)) = (words.iter().position(needs), words.iter().rposition(needs)) else {
        return;
    };
    let those = words.get(first..=last).unwrap_or_default();
    if let (Some((from, _)), Some((to, _))) = (those.first(), those.last()) {
        let says: Vec<&str> = those.iter().map(|(_, word)| word.as_str()).collect();
        spans.push(Span {
            at: start + from.start..start + to.end,
            says: says.join(" "),
            in_comment: false,
        });
    }
}

/// The words so far are an address: it cannot be encoded.
fn no_phrase(words: &mut Vec<(Range<usize>, String)>) -> Option<()> {
    let fine = words.iter().all(|(_, word)| word.is_ascii());
    words.clear();
    fine.then_some(())
}

/// Octets of the quoted string at the front, with its quotes.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    let mut octets = text.bytes().enumerate().skip(1);
    octets.find_map(|(at, octet)| {
        let ends = octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        ends.then_some(at + 1)
    })
}

/// What a quoted string says.
fn unquoted(inside: &str) -> String {
    let mut says = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' | '\n' => {}
            '\\' => says.extend(chars.next()),
            c => says.push(c),
        }
    }
    says
}

fn unfolded(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect()
}

/// The field with encoded words in these places, folded.
fn write(field: &str, spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * field.len());
    let mut done = 0;
    let between = |from: usize, to: usize| field.as_bytes().get(from..to).unwrap_or_default();
    for span in spans {
        out.extend_from_slice(between(done, span.at.start));
        done = span.at.end;
        let apart = span.in_comment || matches!(out.last(), Some(b' ' | b'\t' | b'\n' | b':'));
        if !apart {
            out.push(b' ');
        }
        for (nth, word) in encoded_word::encode(&span.says).into_iter().enumerate() {
            if nth > 0 {
                out.extend_from_slice(b"\r\n ");
            } else if column(&out) + word.len() > LINE {
                fold(&mut out);
            }
            out.extend_from_slice(word.as_bytes());
        }
        let rest = between(done, field.len());
        let line: &[u8] = rest.split(|&octet| octet == b'\n').next().unwrap_or_default();
        let blank = line.trim_ascii().is_empty();
        match rest.first() {
            Some(b' ' | b'\t') if !blank && column(&out) + line.len() > LINE => {
                out.extend_from_slice(b"\r\n");
            }
            Some(b' ' | b'\t' | b'\r' | b'\n') | None => {}
            Some(_) if span.in_comment => {}
            Some(_) => out.push(b' '),
        }
    }
    out.extend_from_slice(between(done, field.len()));
    out
}

/// Characters of the line under way.
fn column(out: &[u8]) -> usize {
    let start = memchr::memrchr(b'\n', out).map_or(0, |at| at + 1);
    out.len() - start
}

/// Begins a new line at the white space that was written last, if there is something in front of it.
fn fold(out: &mut Vec<u8>) {
    let Some(&space @ (b' ' | b'\t')) = out.last() else {
        return;
    };
    let start = memchr::memrchr(b'\n', out).map_or(0, |at| at + 1);
    if out.get(start..).is_some_and(|line| line.trim_ascii().is_empty()) {
        return;
    }
    out.pop();
    out.extend_from_slice(b"\r\n");
    out.push(space);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(field: &str) -> Option<String> {
        encoded(field.as_bytes()).map(|octets| String::from_utf8(octets).expect("ASCII"))
    }

    #[test]
    fn free_text_is_encoded_from_the_first_word_that_needs_it_to_the_last() {
        for (before, wanted) in [
            ("Subject: Köln\r\n", "Subject: =?UTF-8?Q?K=C3=B6ln?=\r\n"),
            (
                "Subject: Many Grüße from Köln today\r\n",
                "Subject: Many =?UTF-8?Q?Gr=C3=BC=C3=9Fe_from_K=C3=B6ln?= today\r\n",
            ),
            ("Subject:\r\n Köln\r\n", "Subject:\r\n =?UTF-8?Q?K=C3=B6ln?=\r\n"),
            ("X-Town: Köln", "X-Town: =?UTF-8?Q?K=C3=B6ln?="),
            ("Comments:Köln\r\n", "Comments:=?UTF-8?Q?K=C3=B6ln?=\r\n"),
            ("subject : Köln\r\n", "subject : =?UTF-8?Q?K=C3=B6ln?=\r\n"),
        ] {
            assert_eq!(after(before).as_deref(), Some(wanted), "{before:?}");
        }
    }

    #[test]
    fn names_and_comments_are_encoded() {
        for (before, wanted) in [
            (
                "From: Jürgen Müller <j@d.e>\r\n",
                "From: =?UTF-8?Q?J=C3=BCrgen_M=C3=BCller?= <j@d.e>\r\n",
            ),
            (
                "To: \"Müller, \\\"J\\\"\"<j@d.e>, a@b.c\r\n",
                "To: =?UTF-8?Q?M=C3=BCller=2C_=22J=22?= <j@d.e>, a@b.c\r\n",
            ),
            (
                "Cc: Dr. Jürgen Lee <j@d.e>,Köln <k@d.e>\r\n",
                "Cc: Dr. =?UTF-8?Q?J=C3=BCrgen?= Lee <j@d.e>, =?UTF-8?Q?K=C3=B6ln?= <k@d.e>\r\n",
            ),
            (
                "To: Köln: a@b.c, \"d\" <d@e.f>;\r\n",
                "To: =?UTF-8?Q?K=C3=B6ln?= : a@b.c, \"d\" <d@e.f>;\r\n",
            ),
            (
                "Sender: a@b.c (Jürgen)\r\n",
                "Sender: a@b.c (=?UTF-8?Q?J=C3=BCrgen?=)\r\n",
            ),
        ] {
            assert_eq!(after(before).as_deref(), Some(wanted), "{before:?}");
        }
    }

    #[test]
    fn what_is_not_clear_stays_as_it_is() {
        for field in [
            "Subject: plain\r\n",
            "Subject: =?UTF-8?Q?x?= Köln\r\n",
            "To: müller@d.e\r\n",
            "To: M <müller@d.e>\r\n",
            "To: \"müller\"@d.e\r\n",
            "To: müller @ d.e, J <j@d.e>\r\n",
            "To: Köln\r\n",
            "To: \"Köln <a@b.c>\r\n",
            "To: a@b.c (ü (x) \r\n",
            "To: a@b.c (x \\) ü)\r\n",
            "To: Köln <a@b.c\r\n",
            "Content-Disposition: attachment; filename=Köln\r\n",
            "Message-ID: <ö@b>\r\n",
        ] {
            assert_eq!(after(field), None, "{field:?}");
        }
        assert_eq!(encoded(b"Subject: K\xf6ln\r\n"), None, "not UTF-8");
    }

    #[test]
    fn lines_with_encoded_words_have_76_characters() {
        let long = "ü and many more words ".repeat(20);
        for field in [
            format!("Subject: {long}\r\n"),
            format!("Subject: {} Köln {}\r\n", "x".repeat(60), "y".repeat(60)),
            format!(
                "To: {} <a@b.c>, \"{long}\" <d@e.f>\r\n",
                "Köln ".repeat(30).trim()
            ),
        ] {
            let written = after(&field).expect("clear");
            let lines: Vec<&str> = written.trim_end().split("\r\n").collect();
            for line in &lines {
                assert!(line.len() <= LINE || !line.contains("=?"), "{line}");
            }
            assert!(
                lines.iter().skip(1).all(|line| line.starts_with(' ')),
                "{lines:?}"
            );
            let value = |text: &str| {
                let (_, value) = text.split_once(':').expect("a field");
                let words = encoded_word::decode(value.replace("\r\n", "").as_bytes());
                words
                    .replace('"', "")
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            assert_eq!(value(&written), value(&field));
        }
    }
}
