//! Regular expressions over local parts, and targets that use what they captured.

use core::fmt;

use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::addr::{Address, Domain};

/// Octets of an expression.
const MAX_PATTERN: usize = 500;
/// Octets of a compiled expression: those that are larger are refused.
const MAX_COMPILED: usize = 512 << 10;
/// Nesting of an expression.
const MAX_NESTING: u32 = 50;

/// A regular expression that a whole local part has to match, without case. Matching takes time linear in the local
/// part, which has at most 64 octets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, in words: its syntax, or its size.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an expression must not be empty".to_owned());
        }
        if text.len() > MAX_PATTERN {
            return Err(format!("an expression has at most {MAX_PATTERN} octets"));
        }
        // Alone first: `a)|(b` would be good in parentheses, and mean something else.
        compile(text)?;
        let regex = compile(&format!(r"\A(?:{text})\z"))?;
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it captures of a local part, if all of that matches.
    pub(super) fn captures<'t>(&self, local: &'t str) -> Option<Captures<'t>> {
        self.regex.captures(local)
    }

    /// Whether there is such a group.
    fn has(&self, group: &Group) -> bool {
        match group {
            Group::Number(number) => *number < self.regex.captures_len(),
            Group::Name(name) => self
                .regex
                .capture_names()
                .flatten()
                .any(|known| known == name.as_str()),
        }
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .case_insensitive(true)
        .size_limit(MAX_COMPILED)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| {
            // The reason is the last line, below a picture of the place.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            format!(
                "no regular expression: {}",
                last.strip_prefix("error: ").unwrap_or(last)
            )
        })
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

/// The target of a pattern: an address, or a local part in the domain of the alias, in whose local part `$1`, `${1}` and
/// `${name}` stand for what the groups captured, and `$$` for `$`. The domain is fixed: what a sender writes never
/// chooses the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    local: Vec<Piece>,
    /// None: that of the alias.
    domain: Option<Domain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(Group),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    Number(usize),
    Name(String),
}

impl Template {
    /// Reads a target.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (local, domain) = match text.rsplit_once('@') {
            None => (text, None),
            Some((_, domain)) if domain.contains('$') => {
                return Err("`$` may stand before the @ only".to_owned());
            }
            Some((local, domain)) => {
                let domain = Domain::parse(domain).ok_or_else(|| format!("{domain} is no domain"))?;
                (local, Some(domain))
            }
        };
        if local.is_empty() || local.contains('"') || local.chars().any(char::is_control) {
            return Err(format!("{text} is no address"));
        }
        let local = pieces(local).ok_or("`$` stands before a number, a {name}, or another `$`")?;
        Ok(Self {
            text: text.to_owned(),
            local,
            domain,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first group that the expression has not.
    pub(super) fn missing_in(&self, pattern: &Pattern) -> Option<String> {
        self.local.iter().find_map(|piece| match piece {
            Piece::Group(group) if !pattern.has(group) => Some(match group {
                Group::Number(number) => format!("${number}"),
                Group::Name(name) => format!("${{{name}}}"),
            }),
            _ => None,
        })
    }

    /// The address, with what was captured. `None`: what comes out is none, being empty or too long.
    pub(super) fn fill(&self, captures: &Captures<'_>, own: &Domain) -> Option<Address> {
        let mut local = String::new();
        for piece in &self.local {
            local.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Group(Group::Number(number)) => captures
                    .get(*number)
                    .map(|group| group.as_str())
                    .unwrap_or_default(),
                Piece::Group(Group::Name(name)) => captures
                    .name(name)
                    .map(|group| group.as_str())
                    .unwrap_or_default(),
            });
        }
        Address::new(&local, self.domain.clone().unwrap_or_else(|| own.clone()))
    }
}

/// `None`: a `$` that means nothing.
fn pieces(local: &str) -> Option<Vec<Piece>> {
    let mut found = Vec::new();
    let mut rest = local;
    while let Some((before, after)) = rest.split_once('$') {
        found.push(Piece::Text(before.to_owned()));
        if let Some(after) = after.strip_prefix('$') {
            found.push(Piece::Text("$".to_owned()));
            rest = after;
            continue;
        }
        let (name, after) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => {
                let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                after.split_at_checked(digits)?
            }
        };
        let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let group = match (digits, name) {
            (true, _) => Group::Number(name.parse().ok()?),
            (false, "") => return None,
            (false, _) => Group::Name(name.to_owned()),
        };
        found.push(Piece::Group(group));
        rest = after;
    }
    found.push(Piece::Text(rest.to_owned()));
    found.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Some(found)
}

impl TryFrom<String> for Template {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pattern: &str, target: &str, local: &str) -> Option<String> {
        let pattern = Pattern::parse(pattern).expect(pattern);
        let template = Template::parse(target).expect(target);
        assert_eq!(template.missing_in(&pattern), None, "{target}");
        let captures = pattern.captures(local)?;
        let own = Domain::parse("example.com").expect("a domain");
        let address = template.fill(&captures, &own);
        Some(address.map_or_else(|| "no address".to_owned(), |address| address.to_string()))
    }

    #[test]
    fn a_pattern_matches_the_whole_local_part_without_case() {
        for (pattern, target, local, address) in [
            (
                r"support-(\d+)",
                "help+$1",
                "Support-12",
                Some("help+12@example.com"),
            ),
            (r"support-(\d+)", "help+$1", "support-12x", None),
            (r"support-(\d+)", "help+$1", "xsupport-12", None),
            ("a|ab", "x", "ab", Some("x@example.com")),
            ("(.*)", "$1@other.org", "Any.Thing", Some("Any.Thing@other.org")),
            (
                "(?<who>[a-z]+)-(.)?",
                "${who}.${2}x$$",
                "BOB-",
                Some("BOB.x$@example.com"),
            ),
            ("(.*)", "$0", "a b", Some("\"a b\"@example.com")),
            ("(x?).*", "$1", "a", Some("no address")),
            (
                "(.*)",
                "$1$1",
                "0123456789012345678901234567890123456789",
                Some("no address"),
            ),
            ("é+", "e", "ÉÉ", Some("e@example.com")),
            ("a\nb", "x", "a", None),
        ] {
            assert_eq!(
                fill(pattern, target, local).as_deref(),
                address,
                "{pattern} {local}"
            );
        }
    }

    #[test]
    fn bad_expressions_are_refused_in_words() {
        for (text, words) in [
            ("", "empty"),
            ("(", "unclosed group"),
            ("a)|(b", "unopened group"),
            ("[a", "unclosed character class"),
            (r"\w{1000}{1000}", "size limit"),
            (r"(a)\1", "backreferences are not supported"),
            (&"a".repeat(501), "500 octets"),
            (&format!("{}a{}", "(".repeat(200), ")".repeat(200)), "nest"),
        ] {
            let error = Pattern::parse(text).expect_err(text);
            assert!(error.contains(words), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn bad_targets_are_refused_in_words() {
        for (text, words) in [
            ("", "no address"),
            ("@x.y", "no address"),
            ("a@x.y.", "no domain"),
            ("a@$1", "before the @"),
            ("a$", "stands before"),
            ("a$x", "stands before"),
            ("a${}", "stands before"),
            ("a${x", "stands before"),
            ("$99999999999999999999999", "stands before"),
            ("a\nb", "no address"),
            ("\"a b\"@x.y", "no address"),
        ] {
            let error = Template::parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        let pattern = Pattern::parse("(a)(?<b>b)").expect("good");
        for (target, missing) in [("$3", Some("$3")), ("${c}", Some("${c}")), ("$2${b}", None)] {
            let template = Template::parse(target).expect(target);
            assert_eq!(template.missing_in(&pattern).as_deref(), missing);
        }
    }

    /// The worst that such expressions do elsewhere: here each takes its time once per octet.
    #[test]
    fn nothing_takes_long() {
        for text in ["(a*)*b", "(a|a)*b", "(a|aa)+$", "(.*)*x", r"(\w+\s?)*!"] {
            let pattern = Pattern::parse(text).expect(text);
            assert!(pattern.captures(&format!("{}!x", "a".repeat(60))).is_none() || text == "(.*)*x");
        }
    }
}
