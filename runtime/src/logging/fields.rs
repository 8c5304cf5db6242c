//! `key=value` in messages: written, and read again for lines of JSON.

use std::fmt::Write as _;

/// Appends ` key=value`; a value that is no plain word is quoted.
pub(super) fn push(text: &mut String, key: &str, value: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(key);
    text.push('=');
    let plain = |c: char| !c.is_control() && !matches!(c, ' ' | '"' | '=');
    if value.is_empty() || !value.chars().all(plain) {
        // Writing to a String never fails.
        let _ = write!(text, "{value:?}");
    } else {
        text.push_str(value);
    }
}

/// A message as fields. Words that belong to none are text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    /// In the order of the message; a key stands once, with its first value.
    pub(super) fields: Vec<(&'a str, String)>,
    /// What is left.
    pub(super) text: String,
}

/// Reads the message of an event. Anything else is text, whatever it looks like: it may have come from a peer.
pub(super) fn read(message: &str) -> Fields<'_> {
    let mut found = Fields::default();
    if !message.starts_with("event=") && !message.starts_with("conn=") {
        message.clone_into(&mut found.text);
        return found;
    }
    let mut rest = message;
    while !rest.is_empty() {
        rest = rest.trim_start_matches(' ');
        let Some((key, after)) = key(rest) else {
            let end = rest.find(' ').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if !found.text.is_empty() {
                found.text.push(' ');
            }
            found.text.push_str(word);
            rest = after;
            continue;
        };
        let (value, after) = value(after);
        if !found.fields.iter().any(|(known, _)| *known == key) {
            found.fields.push((key, value));
        }
        rest = after;
    }
    found
}

/// `key=` at the beginning.
fn key(text: &str) -> Option<(&str, &str)> {
    let (key, rest) = text.split_once('=')?;
    let good = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
    (!key.is_empty() && key.bytes().all(good)).then_some((key, rest))
}

/// A word, or what Rust's `{:?}` prints of a text; and what follows.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = end_of_word(text);
        let (word, rest) = text.split_at(end);
        return (word.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return (value, chars.as_str()),
            '\\' => value.extend(escaped(&mut chars)),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// A word goes to the next space outside of brackets: `Some("a b")`, `[1, 2]`.
fn end_of_word(text: &str) -> usize {
    let (mut depth, mut quoted, mut skip) = (0_u32, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if skip => skip = false,
            '\\' if quoted => skip = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    match chars.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '0' => Some('\0'),
        'u' => {
            let (digits, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
            *chars = rest.chars();
            c
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut text = String::from("conn=7 peer=192.0.2.1 event=refused");
        let values = ["a b", "", "plain", "q\"uo\\te=", "two\r\nlines\u{1}é", "[1, 2]"];
        for (key, value) in ["a", "b", "c", "d", "e", "f"].iter().zip(values) {
            push(&mut text, key, value);
        }
        assert_eq!(text.lines().count(), 1);
        let read = read(&text);
        assert_eq!(read.text, "");
        let found: Vec<&str> = read.fields.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(found[..3], ["7", "192.0.2.1", "refused"]);
        assert_eq!(found[3..], values);
    }

    #[test]
    fn words_of_an_event_that_are_no_fields_are_text_and_what_is_no_event_is_text_only() {
        let read_of = |text| {
            let Fields { fields, text } = read(text);
            (
                fields.into_iter().map(|(_, value)| value).collect::<Vec<_>>(),
                text,
            )
        };
        assert_eq!(
            read_of("event=a why=Some(\"x y\") and more event=b"),
            (
                vec!["a".to_owned(), "Some(\"x y\")".to_owned()],
                "and more".to_owned()
            )
        );
        let text = "mail from x says event=sent id=1";
        assert_eq!(read_of(text), (vec![], text.to_owned()));
        assert_eq!(read_of("event=\"cut"), (vec!["cut".to_owned()], String::new()));
        assert_eq!(read_of("event=\"\\u{zz}\\"), (vec![String::new()], String::new()));
    }
}
