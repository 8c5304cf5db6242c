//! Search programs that name others which are kept on the server (RFC 5466).
//!
//! What a filter says is put in place of its name, octet by octet, and then the whole is read again: so `NOT FILTER x` with
//! `SEEN DRAFT` as `x` is `NOT SEEN DRAFT`, and all bounds of a search program hold for what comes of it.

use super::Utf8;
use super::search_key::Program;
use super::token::{Cursor, Parse, Stop, is_atom_char};
use crate::imap::command::Filters;
use crate::mailbox::Annotations;
use crate::search::Key;

/// Octets of a program with what its filters say in it: no more than a command may have.
const MAX_PROGRAM: usize = 128 * 1024;

/// Why a program cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfilled {
    /// There is no filter of this name.
    Undefined(String),
    /// The one of this name is no search program by itself, or what comes of it is none: what is wrong, in words.
    Wrong(String, String),
    /// It becomes too long.
    TooLong,
}

/// Puts what filters say in place of their names, once: those that stand in them are still to be filled in.
///
/// # Errors
/// One is not there, or cannot be put there.
pub fn fill<'a>(
    filters: &Filters,
    mut value: impl FnMut(&str) -> Option<&'a [u8]>,
) -> Result<(Key, Option<Box<Filters>>), Unfilled> {
    let mut text = Vec::with_capacity(filters.text.len());
    let mut from = 0;
    for (place, name) in &filters.places {
        let says = value(name).ok_or_else(|| Unfilled::Undefined(name.clone()))?;
        text.extend_from_slice(filters.text.get(from..place.start).unwrap_or_default());
        from = place.end;
        if text.len() + says.len() > MAX_PROGRAM {
            return Err(Unfilled::TooLong);
        }
        check(says).map_err(|why| Unfilled::Wrong(name.clone(), why))?;
        text.extend_from_slice(says);
    }
    text.extend_from_slice(filters.text.get(from..).unwrap_or_default());
    if text.len() > MAX_PROGRAM {
        return Err(Unfilled::TooLong);
    }
    program(&text).map_err(|why| {
        let name = filters.places.first().map(|(_, name)| name.clone());
        Unfilled::Wrong(name.unwrap_or_default(), why)
    })
}

/// Whether a value is `search-criteria` (RFC 5466 §4).
///
/// # Errors
/// It is not: what is wrong, in words.
pub fn check(value: &[u8]) -> Result<(), String> {
    program(value).map(drop)
}

/// `filter-name`: 1*⟨any ATOM-CHAR except "/"⟩
#[must_use]
pub fn is_name(name: &str) -> bool {
    let longest = Annotations::MAX_PATH;
    (1..=longest).contains(&name.len()) && name.bytes().all(|octet| is_atom_char(octet) && octet != b'/')
}

fn program(text: &[u8]) -> Result<(Key, Option<Box<Filters>>), String> {
    // As at the end of a command: a literal has something behind it.
    let line = [text, b"\r\n"].concat();
    let strings = Utf8 {
        names: true,
        accept: true,
    };
    let mut c = Cursor::new(&line, true).with_utf8(strings);
    let read = whole(&mut c, text.len());
    read.map_err(|stop| match stop {
        Stop::Literal => "a literal without its octets".to_owned(),
        Stop::Syntax(syntax) => syntax.text(),
    })
}

fn whole(c: &mut Cursor<'_>, octets: usize) -> Parse<(Key, Option<Box<Filters>>)> {
    let mut program = Program::new(c);
    let read = program.all()?;
    if c.position() > octets {
        return Err(c.wrong("a literal without all of its octets"));
    }
    c.end()?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::SystemFlags;

    fn filters(text: &str) -> Filters {
        let (_, filters) = program(text.as_bytes()).expect("a program");
        *filters.expect("a filter in it")
    }

    fn filled(text: &str, value: &'static str) -> Key {
        let (key, left) = fill(&filters(text), |_| Some(value.as_bytes())).expect("a program");
        assert_eq!(left, None);
        key
    }

    #[test]
    fn what_a_filter_says_stands_there_as_it_is() {
        let not = |key| Key::Not(Box::new(key));
        let (seen, draft) = (Key::Flag(SystemFlags::SEEN), Key::Flag(SystemFlags::DRAFT));
        assert_eq!(
            filled("NOT FILTER x", "SEEN DRAFT"),
            Key::And(vec![not(seen.clone()), draft.clone()])
        );
        assert_eq!(
            filled("NOT FILTER x", "(SEEN DRAFT)"),
            not(Key::And(vec![seen.clone(), draft.clone()]))
        );
        assert_eq!(
            filled("(filter x) TEXT {4}\r\na\"\\b", "SUBJECT {2}\r\nc) SEEN"),
            Key::And(vec![
                Key::And(vec![Key::Header("SUBJECT".into(), "c)".into()), seen]),
                Key::Text("a\"\\b".into())
            ])
        );
    }

    #[test]
    fn filters_in_filters_are_left() {
        let (_, left) =
            fill(&filters("UNSEEN FILTER a"), |_| Some(b"OR FILTER b FILTER c")).expect("a program");
        let names: Vec<String> = left
            .expect("filters")
            .places
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn what_cannot_be_filled_in() {
        let one = |value: Option<&'static [u8]>| fill(&filters("ALL FILTER x"), |_| value);
        assert_eq!(one(None), Err(Unfilled::Undefined("x".into())));
        for wrong in [
            "",
            " ",
            "OR SMALLER 5000",
            "SEEN ",
            "SEEN)",
            "(SEEN",
            "SUBJECT {2}",
            "SUBJECT {2}\r\na",
            "SEEN\r\na1 LOGOUT",
            "NOSUCH",
            "FILTER a/b",
            "FILTER",
            "SUBJECT \"\u{fc}",
        ] {
            let said = one(Some(wrong.as_bytes()));
            assert!(matches!(said, Err(Unfilled::Wrong(..))), "{wrong:?}: {said:?}");
        }
        assert!(matches!(one(Some(b"SUBJECT \"\xfc\"")), Err(Unfilled::Wrong(..))));
        let deep = format!("{}ALL", "NOT ".repeat(32));
        check(deep.as_bytes()).expect("as deep as may be");
        let deeper = filters("NOT FILTER x");
        assert!(matches!(
            fill(&deeper, |_| Some(deep.as_bytes())),
            Err(Unfilled::Wrong(..))
        ));
        let long = format!("TEXT {}", "x".repeat(MAX_PROGRAM / 2));
        let twice = filters("FILTER x FILTER x");
        assert_eq!(fill(&twice, |_| Some(long.as_bytes())), Err(Unfilled::TooLong));
    }

    #[test]
    fn names() {
        assert!(is_name("on-the-road") && is_name("a.b!"));
        for bad in ["", "a/b", "a b", "a]", "\u{e4}", "a\"", &"x".repeat(257)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
