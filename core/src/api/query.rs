//! What stands in a request's target: percent-encoding, and the query's names and values, read as [`super::json`] reads
//! bodies.
//!
//! ```ignore
//! let (limit, sought) = query::read(request, |query| {
//!     let limit = query.optional("limit", query::integer(1..=500));
//!     (limit.unwrap_or(50), query.optional("q", query::text(1_000)))
//! })?;
//! ```

use core::ops::RangeInclusive;

use super::json::Parsed;
use super::{Detail, Failure, Request};

/// Names in a query at most.
const MAX_NAMES: usize = 100;

/// Undoes percent-encoding (RFC 3986 §2.1). `None`: `%` without two digits behind it, or no UTF-8, or a NUL.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return (!text.contains('\0')).then(|| text.to_owned());
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok().filter(|text| !text.contains('\0'))
}

/// The names and values of a query, as forms write them: `+` is a space.
pub(super) fn parse(query: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| decode(&text.replace('+', " "));
        let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
            return Err(Failure::field(
                "query",
                "expected percent-encoded UTF-8 without NUL",
            ));
        };
        if pairs.len() >= MAX_NAMES {
            return Err(Failure::field(
                "query",
                format!("expected at most {MAX_NAMES} names"),
            ));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// A query while it is read.
#[derive(Debug)]
pub struct Query<'a> {
    pairs: &'a [(String, String)],
    asked: Vec<&'static str>,
    details: Vec<Detail>,
}

/// Reads the query. A name that the form does not ask for is an error, so that a misspelt one is not passed over, and so is
/// one that comes twice.
///
/// # Errors
/// 400 with all that is wrong.
pub fn read<T>(request: &Request<'_>, form: impl FnOnce(&mut Query<'_>) -> T) -> Result<T, Failure> {
    let mut query = Query {
        pairs: request.query,
        asked: Vec::new(),
        details: Vec::new(),
    };
    let read = form(&mut query);
    let pairs = query.pairs;
    for (at, (name, _)) in pairs.iter().enumerate() {
        if !query.asked.contains(&name.as_str()) {
            let name: String = name.chars().take(64).collect();
            query.wrong(&name, "unknown parameter");
        } else if pairs.iter().take(at).any(|(other, _)| other == name) {
            query.wrong(name, "comes twice");
        }
    }
    if query.details.is_empty() {
        Ok(read)
    } else {
        Err(Failure::invalid(query.details))
    }
}

impl Query<'_> {
    /// The value of a name that must be there.
    pub fn required<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        if !self.pairs.iter().any(|(other, _)| other == name) {
            self.wrong(name, "missing");
        }
        self.optional(name, parse)
    }

    /// The value of a name that may be absent.
    pub fn optional<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        self.asked.push(name);
        let (_, value) = self.pairs.iter().find(|(other, _)| other == name)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(name, error);
                None
            }
        }
    }

    /// Notes that a parameter is wrong, for what the form finds out itself.
    pub fn wrong(&mut self, name: &str, error: impl Into<String>) {
        self.details.push(Detail {
            path: format!("query.{name}"),
            error: error.into(),
        });
    }
}

/// Text of at most so many characters.
pub fn text(max: usize) -> impl Fn(&str) -> Parsed<String> {
    move |value| match value.chars().count() <= max {
        true => Ok(value.to_owned()),
        false => Err(format!("expected at most {max} characters")),
    }
}

/// A whole number within bounds: digits only (no sign, no space).
pub fn integer(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<u64> {
    move |value| {
        let digits = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
        let number = value
            .parse()
            .ok()
            .filter(|number| digits && range.contains(number));
        number.ok_or_else(|| {
            format!(
                "expected a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
    }
}

/// `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn boolean(value: &str) -> Parsed<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// One of these words.
pub fn word(words: &'static [&'static str]) -> impl Fn(&str) -> Parsed<&'static str> {
    move |value| {
        let found = words.iter().find(|word| **word == value);
        found
            .copied()
            .ok_or_else(|| format!("expected one of {}", words.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_strictly() {
        assert_eq!(decode("a%20b%C3%A9+/%2f"), Some("a bé+//".to_owned()));
        assert_eq!(decode("é"), Some("é".to_owned()));
        for bad in ["%", "%2", "%2x", "%+1", "a%C3", "%FF", "%00", "\0", "%é1"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        let pairs = parse("a=1&&b=x+y%26z&c&=d").expect("good");
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x y&z"), ("c", ""), ("", "d")]);
        assert!(parse("a=%zz").is_err());
        assert!(parse(&"a&".repeat(101)).is_err() && parse(&"a&".repeat(100)).is_ok());
    }

    fn wrong(query: &str) -> Vec<String> {
        let pairs = parse(query).expect("decodes");
        let (head, settings) = (crate::http::Head::default(), crate::api::Settings::default());
        let request = Request {
            query: &pairs,
            ..Request::of(&head, &settings)
        };
        let read = read(&request, |query| {
            query.required("limit", integer(1..=500));
            query.optional("q", text(3));
            query.optional("all", boolean);
            query.optional("order", word(&["date", "size"]));
        });
        let details = read.err().map(|failure| failure.details).unwrap_or_default();
        let line = |detail: Detail| format!("{}: {}", detail.path, detail.error);
        details.into_iter().map(line).collect()
    }

    #[test]
    fn every_wrong_parameter_is_told() {
        assert!(wrong("limit=500&q=abc&all=true&order=size").is_empty());
        assert_eq!(
            wrong("limit=%2B5&q=abcd&all=1&order=name&limt=3&q=x"),
            [
                "query.limit: expected a whole number from 1 to 500",
                "query.q: expected at most 3 characters",
                "query.all: expected true or false",
                "query.order: expected one of date, size",
                "query.limt: unknown parameter",
                "query.q: comes twice",
            ]
        );
        assert_eq!(wrong(""), ["query.limit: missing"]);
        assert_eq!(
            wrong("limit=501").len() + wrong("limit=0").len() + wrong("limit=").len(),
            3
        );
        assert_eq!(wrong("limit=99999999999999999999999").len(), 1);
    }
}
