//! The small language of `q=`: what a person types into a search box, turned into the search program of IMAP.
//!
//! ```text
//! query = term *(SP term)                 all of them must hold
//! term  = ["-"] [name ":"] value          "-": must not hold
//! value = 1*<no white space> / <"> text <">    in quotes \" and \\ stand for themselves
//! name  = in lower case; SP = white space or control characters
//! ```

use super::super::Detail;
use crate::mailbox::{Keyword, SystemFlags};
use crate::search::Key;
use crate::text::rfc3339;

/// Characters of a query.
pub const MAX_LENGTH: usize = 1_000;
/// Terms of a query.
pub const MAX_TERMS: usize = 32;

/// What the parameter is for, for the description of the API.
pub const HELP: &str = "Words that must all stand in the message, or: `from:` `to:` `cc:` `bcc:` `subject:` `body:` (text in \
    that place), `before:` `since:` `on:` (a day of arrival, `2027-01-31`), `is:` `unread` `read` `flagged` `unflagged` \
    `answered` `unanswered` `draft` `deleted`, `has:attachment`, `keyword:` (a keyword), `larger:` `smaller:` (octets, or \
    `10k`, `5M`). A `-` before a term: it must not hold. Quotes hold words together: `subject:\"two words\"`.";

/// The language as a regular expression (ECMA 262), for the description of the API. Days that only leap years have, and
/// keywords in quotes, are understood too.
#[must_use]
pub fn pattern() -> String {
    const SPACE: &str = r"\u0001-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
    let word = format!(r"[^{SPACE}\u0000]");
    let value = format!(r#"(?:"(?:[^"\\\u0000]|\\[^\u0000])+"|(?!"){word}+)"#);
    let day = "(?:19[7-9][0-9]|[2-9][0-9]{3})-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])\
        |(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)";
    let states = STATES.map(|(word, ..)| word).join("|");
    let atom = super::describe::ATOM;
    let term = format!(
        "(?:-|(?!-))(?:(?:from|to|cc|bcc|subject|body):{value}|(?:before|since|on):{day}|is:(?:{states})|has:attachment\
         |keyword:{atom}{{1,255}}|(?:larger|smaller):[0-9]{{1,9}}[kKmMgG]?|(?![A-Za-z]+:){value})"
    );
    let most = MAX_TERMS - 1;
    format!("^[{SPACE}]*(?:{term}(?:[{SPACE}]+{term}){{0,{most}}})?[{SPACE}]*$")
}

/// Reads a query.
///
/// # Errors
/// Each thing that is wrong, with its place.
pub fn parse(query: &str) -> Result<Key, Vec<Detail>> {
    if query.chars().count() > MAX_LENGTH {
        return Err(vec![wrong(
            None,
            &format!("at most {MAX_LENGTH} characters are taken"),
        )]);
    }
    let mut reader = Reader {
        chars: query.chars().collect(),
        at: 0,
    };
    let (mut keys, mut details) = (Vec::new(), Vec::new());
    while let Some(term) = reader.term() {
        match term.and_then(|term| term.key()) {
            Ok(key) => keys.push(key),
            Err(detail) => details.push(detail),
        }
        if keys.len() + details.len() > MAX_TERMS {
            details.push(wrong(
                Some(reader.at),
                &format!("at most {MAX_TERMS} terms are taken"),
            ));
            break;
        }
    }
    match (details.is_empty(), keys.len()) {
        (false, _) => Err(details),
        (true, 0) => Ok(Key::All),
        (true, 1) => Ok(keys.pop().unwrap_or(Key::All)),
        (true, _) => Ok(Key::And(keys)),
    }
}

/// A term as it stands.
struct Term {
    /// Where its name or value begins, counted in characters from 1.
    place: usize,
    not: bool,
    name: Option<String>,
    value: String,
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    /// The next term; `None` at the end.
    fn term(&mut self) -> Option<Result<Term, Detail>> {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        self.peek()?;
        let not = self.take('-');
        let place = self.at + 1;
        let name = self.name();
        Some(self.value(place).map(|value| Term {
            place,
            not,
            name,
            value,
        }))
    }

    /// Letters with a colon behind them.
    fn name(&mut self) -> Option<String> {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let len = rest.iter().take_while(|c| c.is_ascii_alphabetic()).count();
        if len == 0 || rest.get(len) != Some(&':') {
            return None;
        }
        self.at += len + 1;
        Some(rest.iter().take(len).collect())
    }

    fn value(&mut self, place: usize) -> Result<String, Detail> {
        let mut value = String::new();
        if self.take('"') {
            loop {
                let c = self.peek();
                self.at += 1;
                match c {
                    None => return Err(wrong(Some(place), "the quotes are not closed")),
                    Some('"') => break,
                    Some('\\') if matches!(self.peek(), Some('"' | '\\')) => {
                        value.extend(self.peek());
                        self.at += 1;
                    }
                    Some(c) => value.push(c),
                }
            }
            if self.peek().is_some_and(|c| !is_space(c)) {
                let place = self.at + 1;
                self.skip();
                return Err(wrong(Some(place), "a space must follow the quotes"));
            }
        } else {
            while let Some(c) = self.peek().filter(|c| !is_space(*c)) {
                value.push(c);
                self.at += 1;
            }
        }
        if value.is_empty() {
            return Err(wrong(Some(place), "there is nothing to look for"));
        }
        Ok(value)
    }

    fn skip(&mut self) {
        while self.peek().is_some_and(|c| !is_space(c)) {
            self.at += 1;
        }
    }
}

/// What stands between terms.
fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Words for what messages are, the flag, and whether it is set.
const STATES: [(&str, SystemFlags, bool); 8] = [
    ("unread", SystemFlags::SEEN, false),
    ("read", SystemFlags::SEEN, true),
    ("flagged", SystemFlags::FLAGGED, true),
    ("unflagged", SystemFlags::FLAGGED, false),
    ("answered", SystemFlags::ANSWERED, true),
    ("unanswered", SystemFlags::ANSWERED, false),
    ("draft", SystemFlags::DRAFT, true),
    ("deleted", SystemFlags::DELETED, true),
];

impl Term {
    fn key(self) -> Result<Key, Detail> {
        let header = |name: &str| Key::Header(name.to_owned(), self.value.clone());
        let name = self.name.as_deref();
        let key = match name {
            None => Key::Text(self.value.clone()),
            Some("from") => header("From"),
            Some("to") => header("To"),
            Some("cc") => header("Cc"),
            Some("bcc") => header("Bcc"),
            Some("subject") => header("Subject"),
            Some("body") => Key::Body(self.value.clone()),
            Some("before") => Key::Before(self.day()?),
            Some("since") => Key::Since(self.day()?),
            Some("on") => Key::On(self.day()?),
            Some("larger") => Key::Larger(self.size()?),
            Some("smaller") => Key::Smaller(self.size()?),
            Some("is") => self.state()?,
            Some("has") if self.value == "attachment" => Key::HasAttachment,
            Some("has") => return Err(self.wrong("`has:attachment` is the only `has:` there is")),
            Some("keyword") => Keyword::new(&self.value)
                .map(Key::Keyword)
                .ok_or_else(|| self.wrong("no message can have this keyword"))?,
            Some(other) => {
                return Err(self.wrong(&format!(
                    "`{other}:` is not known; put it into quotes to look for it as text"
                )));
            }
        };
        Ok(if self.not { Key::Not(Box::new(key)) } else { key })
    }

    fn state(&self) -> Result<Key, Detail> {
        let found = STATES.iter().find(|(word, ..)| *word == self.value);
        let (_, flag, set) = found.ok_or_else(|| {
            let words = STATES.map(|(word, ..)| word).join(", ");
            self.wrong(&format!("expected one of {words}"))
        })?;
        let key = Key::Flag(*flag);
        Ok(if *set { key } else { Key::Not(Box::new(key)) })
    }

    /// Days since 1970.
    fn day(&self) -> Result<i64, Detail> {
        let day = rfc3339::parse(&self.value).filter(|_| self.value.len() == "2027-01-31".len());
        day.and_then(|day| i64::try_from(day.secs() / 86_400).ok())
            .ok_or_else(|| self.wrong("expected a day: 2027-01-31"))
    }

    fn size(&self) -> Result<u64, Detail> {
        let digits = self.value.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
        let factor: u64 = match self.value.get(digits.len()..).unwrap_or_default() {
            "" => 1,
            "k" | "K" => 1 << 10,
            "m" | "M" => 1 << 20,
            "g" | "G" => 1 << 30,
            _ => 0,
        };
        let plain = digits.len() <= 9 && digits.bytes().all(|octet| octet.is_ascii_digit()) && factor > 0;
        let number: Option<u64> = digits.parse().ok().filter(|_| plain);
        number
            .and_then(|number| number.checked_mul(factor))
            .ok_or_else(|| self.wrong("expected a size: 2000, 10k, 5M"))
    }

    fn wrong(&self, error: &str) -> Detail {
        wrong(Some(self.place), error)
    }
}

fn wrong(place: Option<usize>, error: &str) -> Detail {
    Detail {
        path: "query.q".to_owned(),
        error: place.map_or_else(
            || error.to_owned(),
            |place| format!("at character {place}: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &str, text: &str) -> Key {
        Key::Header(name.to_owned(), text.to_owned())
    }

    fn text(text: &str) -> Key {
        Key::Text(text.to_owned())
    }

    fn not(key: Key) -> Key {
        Key::Not(Box::new(key))
    }

    #[test]
    fn terms_become_keys() {
        for (query, key) in [
            ("", Key::All),
            ("  ", Key::All),
            ("apples", text("apples")),
            ("two words", Key::And(vec![text("two"), text("words")])),
            ("\"two words\"", text("two words")),
            (r#""a \"b\" \\c \d""#, text(r#"a "b" \c \d"#)),
            (
                "from:alice -subject:\"re: x\"",
                Key::And(vec![header("From", "alice"), not(header("Subject", "re: x"))]),
            ),
            ("from:a@b", header("From", "a@b")),
            ("before:1970-01-03", Key::Before(2)),
            ("since:1970-01-03", Key::Since(2)),
            ("on:1970-01-02", Key::On(1)),
            ("is:unread", not(Key::Flag(SystemFlags::SEEN))),
            ("-is:flagged", not(Key::Flag(SystemFlags::FLAGGED))),
            ("has:attachment", Key::HasAttachment),
            ("larger:10k", Key::Larger(10_240)),
            ("smaller:5M", Key::Smaller(5 << 20)),
            ("larger:7", Key::Larger(7)),
            ("\"http://x\"", text("http://x")),
        ] {
            assert_eq!(parse(query).ok(), Some(key), "{query}");
        }
        let keyword = Keyword::new("$Forwarded").map(Key::Keyword);
        assert_eq!(parse("keyword:$Forwarded").ok(), keyword);
    }

    fn errors(query: &str) -> Vec<String> {
        let details = parse(query).expect_err(query);
        assert!(details.iter().all(|detail| detail.path == "query.q"));
        details.into_iter().map(|detail| detail.error).collect()
    }

    #[test]
    fn errors_name_the_place() {
        for (query, error) in [
            ("a -\"b c", "at character 4: the quotes are not closed"),
            ("\"a\"b c", "at character 4: a space must follow the quotes"),
            ("a from:", "at character 3: there is nothing to look for"),
            ("-", "at character 2: there is nothing to look for"),
            (
                "x http://x",
                "at character 3: `http:` is not known; put it into quotes to look for it as text",
            ),
            ("before:yesterday", "at character 1: expected a day: 2027-01-31"),
            ("before:2027-02-30", "at character 1: expected a day: 2027-01-31"),
            (
                "since:2027-01-31T00:00:00Z",
                "at character 1: expected a day: 2027-01-31",
            ),
            ("larger:k", "at character 1: expected a size: 2000, 10k, 5M"),
            ("larger:+5", "at character 1: expected a size: 2000, 10k, 5M"),
            (
                "larger:9999999999",
                "at character 1: expected a size: 2000, 10k, 5M",
            ),
            (
                "has:wings",
                "at character 1: `has:attachment` is the only `has:` there is",
            ),
            (
                "keyword:\\Seen",
                "at character 1: no message can have this keyword",
            ),
        ] {
            assert_eq!(errors(query), [error], "{query}");
        }
        assert_eq!(errors("is:x larger:y ok has:z").len(), 3, "all are told");
        assert_eq!(errors(&"x".repeat(MAX_LENGTH + 1)).len(), 1);
        assert_eq!(errors(&"x ".repeat(MAX_TERMS + 1)).len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_breaks_it_and_quotes_hold_any_text(query in ".{0,80}") {
            let _ = parse(&query);
            let quoted = format!("\"{}\"", query.replace('\\', "\\\\").replace('"', "\\\""));
            if !query.is_empty() {
                prop_assert_eq!(parse(&quoted).ok(), Some(text(&query)));
            }
        }
    }
}
