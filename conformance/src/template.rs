//! Lines with wildcards: filled in for the client, matched against what the server sent.

use std::collections::BTreeMap;

/// What the wildcards of a transcript stand for, by name.
pub type Bindings = BTreeMap<String, Vec<u8>>;

/// A line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// `${*}`
    Any,
    /// `${name}`
    Word(String),
    /// `${name:number}`
    Number(String),
    /// `{*}`, or `{*+}` with a plus
    Count(bool),
    /// `{#}`: the same without braces
    Length,
}

/// A line that matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Names that were bound by it.
    pub bound: Bindings,
    /// What `{*}` stood for.
    pub count: Option<usize>,
}

impl Template {
    /// Reads the text of a line.
    ///
    /// # Errors
    /// A wildcard that is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((piece, tail)) = wildcard(rest)? {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(core::mem::take(&mut plain).into_bytes()));
                }
                pieces.push(piece);
                rest = tail;
            } else {
                let mut chars = rest.chars();
                plain.extend(chars.next());
                rest = chars.as_str();
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into_bytes()));
        }
        Ok(Self { pieces })
    }

    /// Octets as they are.
    #[must_use]
    pub fn literal(octets: Vec<u8>) -> Self {
        Self {
            pieces: vec![Piece::Text(octets)],
        }
    }

    /// As it stands in a transcript, wildcards by their names.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(&String::from_utf8_lossy(text)),
                Piece::Any => out.push_str("${*}"),
                Piece::Word(name) => out.push_str(&format!("${{{name}}}")),
                Piece::Number(name) => out.push_str(&format!("${{{name}:number}}")),
                Piece::Count(plus) => out.push_str(if *plus { "{*+}" } else { "{*}" }),
                Piece::Length => out.push_str("{#}"),
            }
        }
        out
    }

    /// Whether the octets of a literal are counted in it.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Count(_) | Piece::Length))
    }

    /// Whether the octets counted are those of a body that begins further below.
    #[must_use]
    pub fn counts_body(&self) -> bool {
        self.pieces.contains(&Piece::Length)
    }

    /// The octets that a client sends: names are replaced by what they are bound to, `{*}` by the count.
    ///
    /// # Errors
    /// A name that is not bound, `${*}`, or a count of nothing; in words.
    pub fn fill(&self, bindings: &Bindings, count: Option<usize>) -> Result<Vec<u8>, String> {
        let mut octets = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => octets.extend_from_slice(text),
                Piece::Any => return Err("${*} says nothing that could be sent".to_owned()),
                Piece::Word(name) | Piece::Number(name) => match bindings.get(name) {
                    Some(value) => octets.extend_from_slice(value),
                    None => return Err(format!("${{{name}}} is not bound yet")),
                },
                Piece::Length => {
                    let count = count.ok_or("{#} without a body behind it")?;
                    octets.extend_from_slice(count.to_string().as_bytes());
                }
                Piece::Count(plus) => {
                    let count = count.ok_or("{*} without C| lines behind it")?;
                    let plus = if *plus { "+" } else { "" };
                    octets.extend_from_slice(format!("{{{count}{plus}}}").as_bytes());
                }
            }
        }
        Ok(octets)
    }

    /// Matches a whole line, without its line end.
    #[must_use]
    pub fn matches(&self, line: &[u8], bindings: &Bindings) -> Option<Matched> {
        let mut matched = Matched::default();
        matches_from(&self.pieces, line, bindings, &mut matched).then_some(matched)
    }
}

/// A wildcard at the front of the text.
fn wildcard(text: &str) -> Result<Option<(Piece, &str)>, String> {
    for (form, piece) in [
        ("{*}", Piece::Count(false)),
        ("{*+}", Piece::Count(true)),
        ("{#}", Piece::Length),
        ("${*}", Piece::Any),
    ] {
        if let Some(rest) = text.strip_prefix(form) {
            return Ok(Some((piece, rest)));
        }
    }
    let Some(rest) = text.strip_prefix("${") else {
        return Ok(None);
    };
    let Some((inner, rest)) = rest.split_once('}') else {
        return Err("${ without }".to_owned());
    };
    let (name, kind) = inner.split_once(':').unwrap_or((inner, ""));
    let good = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (good, kind) {
        (true, "number") => Ok(Some((Piece::Number(name.to_owned()), rest))),
        (true, "") if !inner.contains(':') => Ok(Some((Piece::Word(name.to_owned()), rest))),
        _ => Err(format!("${{{inner}}} is no wildcard")),
    }
}

/// Shortest first, with a way back.
fn matches_from(pieces: &[Piece], line: &[u8], bindings: &Bindings, matched: &mut Matched) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else {
        return line.is_empty();
    };
    match piece {
        Piece::Text(text) => line
            .strip_prefix(text.as_slice())
            .is_some_and(|rest| matches_from(pieces, rest, bindings, matched)),
        // What a server says of its own body is written out.
        Piece::Length => false,
        Piece::Any => (0..=line.len()).any(|at| matches_from(pieces, &line[at..], bindings, matched)),
        Piece::Word(name) => named(name, |octet| octet != b' ', pieces, line, bindings, matched),
        Piece::Number(name) => named(
            name,
            |octet| octet.is_ascii_digit(),
            pieces,
            line,
            bindings,
            matched,
        ),
        Piece::Count(plus) => {
            let end: &[u8] = if *plus { b"+}" } else { b"}" };
            let Some(rest) = line.strip_prefix(b"{") else {
                return false;
            };
            let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
            let (number, rest) = rest.split_at(digits);
            let number = core::str::from_utf8(number)
                .ok()
                .and_then(|digits| digits.parse().ok());
            match (number, rest.strip_prefix(end)) {
                (Some(number), Some(rest)) => {
                    matched.count = Some(number);
                    matches_from(pieces, rest, bindings, matched)
                }
                _ => false,
            }
        }
    }
}

fn named(
    name: &str,
    keep: fn(u8) -> bool,
    pieces: &[Piece],
    line: &[u8],
    bindings: &Bindings,
    matched: &mut Matched,
) -> bool {
    if let Some(value) = matched.bound.get(name).or_else(|| bindings.get(name)).cloned() {
        return line
            .strip_prefix(value.as_slice())
            .is_some_and(|rest| matches_from(pieces, rest, bindings, matched));
    }
    let longest = line.iter().take_while(|octet| keep(**octet)).count();
    for at in 1..=longest {
        let (value, rest) = line.split_at(at);
        matched.bound.insert(name.to_owned(), value.to_vec());
        if matches_from(pieces, rest, bindings, matched) {
            return true;
        }
        matched.bound.remove(name);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).expect("template")
    }

    #[test]
    fn text_matches_itself_only() {
        assert!(template("a.b*c").matches(b"a.b*c", &Bindings::new()).is_some());
        for other in ["a.b*cc", "axb*c", "a.b", ""] {
            assert!(
                template("a.b*c")
                    .matches(other.as_bytes(), &Bindings::new())
                    .is_none()
            );
        }
        assert!(template("").matches(b"", &Bindings::new()).is_some());
    }

    #[test]
    fn wildcards_match_and_bind() {
        let none = Bindings::new();
        assert!(template("A1 OK ${*}").matches(b"A1 OK ", &none).is_some());
        assert!(template("${*}b${*}").matches(b"aXbc", &none).is_some());
        assert!(template("${*}b").matches(b"abc", &none).is_none());
        let matched = template("* OK [UIDVALIDITY ${v:number}] ${*}${w}.")
            .matches(b"* OK [UIDVALIDITY 385] the end.", &none)
            .expect("match");
        assert_eq!(matched.bound.get("v").map(Vec::as_slice), Some(&b"385"[..]));
        assert!(template("[${v:number}]").matches(b"[x]", &none).is_none());
        assert!(template("<${v}>").matches(b"<a b>", &none).is_none());
        assert!(template("<${v}>").matches(b"<>", &none).is_none());
        let again = template("${v:number} ${v:number}");
        assert!(again.matches(b"12 12", &none).is_some());
        assert!(again.matches(b"12 13", &none).is_none());
        assert!(
            again
                .matches(b"12 12", &Bindings::from([("v".into(), b"7".to_vec())]))
                .is_none()
        );
        assert_eq!(
            again.fill(&Bindings::from([("v".into(), b"7".to_vec())]), None),
            Ok(b"7 7".to_vec())
        );
    }

    #[test]
    fn counts_are_told_and_filled() {
        let none = Bindings::new();
        let line = template("* 1 FETCH (BODY[] {*}");
        assert_eq!(
            line.matches(b"* 1 FETCH (BODY[] {12}", &none)
                .and_then(|m| m.count),
            Some(12)
        );
        assert_eq!(line.matches(b"* 1 FETCH (BODY[] {}", &none), None);
        assert_eq!(template("a {*+}").fill(&none, Some(3)), Ok(b"a {3+}".to_vec()));
        assert!(template("a {*}").fill(&none, None).is_err());
        assert!(template("${x}").fill(&none, None).is_err());
        assert!(template("${*}").fill(&none, None).is_err());
    }

    #[test]
    fn a_template_prints_as_it_was() {
        for text in ["a ${*}b${x}", "${n:number} {*}", "{*+}", "Length: {#}", ""] {
            assert_eq!(template(text).text(), text);
        }
    }

    #[test]
    fn what_is_no_wildcard() {
        for bad in ["${", "${}", "${a b}", "${a:word}", "${a:}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(
            template("$ {x} $x {3}")
                .matches(b"$ {x} $x {3}", &Bindings::new())
                .is_some()
        );
    }
}
