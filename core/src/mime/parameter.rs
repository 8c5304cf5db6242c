//! Parameters of Content-Type and Content-Disposition (RFC 2045 §5.1), with the continuations of RFC 2231.

use super::token::{Token, Tokens, unquote, upper, word};

/// Parameters of one field; what is beyond is left out.
pub const MAX_PARAMETERS: usize = 256;

/// A parameter of Content-Type or Content-Disposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Attribute in upper case; with a final `*` the value is in the extended form of RFC 2231 §4.
    pub name: String,
    /// Value without quotes. May hold 8-bit octets.
    pub value: Vec<u8>,
}

/// The parameters behind the first `;`, continuations joined.
#[must_use]
pub fn parameters(raw: &[u8]) -> Vec<Parameter> {
    let mut tokens = Tokens::mime(raw);
    let mut found = Vec::new();
    while found.len() < MAX_PARAMETERS && tokens.any(|token| token == Token::Special(b';')) {
        let Some(name) = parameter_name(&mut tokens) else {
            continue;
        };
        found.push(Parameter {
            name,
            value: parameter_value(&mut tokens),
        });
    }
    join_continuations(found)
}

/// `attribute =`. Looks ahead, so that a `;` that comes too early is found by the next search.
fn parameter_name(tokens: &mut Tokens<'_>) -> Option<String> {
    let mut ahead = tokens.clone();
    let Some(Token::Atom(name)) = word(&mut ahead) else {
        return None;
    };
    let equals = word(&mut ahead) == Some(Token::Special(b'='));
    let name = upper(name).filter(|_| equals)?;
    *tokens = ahead;
    Some(name)
}

fn parameter_value(tokens: &mut Tokens<'_>) -> Vec<u8> {
    loop {
        let mut ahead = tokens.clone();
        match ahead.next() {
            Some(Token::Comment(_)) => *tokens = ahead,
            Some(Token::Quoted(text)) => {
                *tokens = ahead;
                return unquote(text).into_owned();
            }
            _ => break,
        }
    }
    let value = tokens.loose_value();
    value.iter().copied().filter(|octet| *octet != 0).collect()
}

/// Joins the sections of continued values (RFC 2231 §3), as IMAP servers should (RFC 2231 §6: "SHOULD decode parameter
/// value continuations"). Charset, language and percent escapes are left to the client: the RFC asks for no more, and
/// `body-fld-param` has no place for a charset; Dovecot and Cyrus do the same.
///
/// `name*0=a; name*1=b` becomes `name=ab`. If a section is extended (`name*0*=utf-8''…`), the whole becomes `name*` in
/// the extended form with its charset and percent escapes, which is the form that clients decode. Sections that do not
/// count 0, 1, 2, … stay as they are. Sorting makes it n log n in the number of parameters.
fn join_continuations(parameters: Vec<Parameter>) -> Vec<Parameter> {
    if !parameters
        .iter()
        .any(|parameter| Section::of(&parameter.name).is_some())
    {
        return parameters;
    }
    let mut out: Vec<(usize, Parameter)> = Vec::new();
    let mut sections: Vec<(Section, usize, Parameter)> = Vec::new();
    for (at, parameter) in parameters.into_iter().enumerate() {
        match Section::of(&parameter.name) {
            Some(section) => sections.push((section, at, parameter)),
            None => out.push((at, parameter)),
        }
    }
    sections.sort_by(|(a, at_a, _), (b, at_b, _)| (&a.base, a.number, at_a).cmp(&(&b.base, b.number, at_b)));
    for group in sections.chunk_by(|(a, ..), (b, ..)| a.base == b.base) {
        let in_order = group
            .iter()
            .zip(0..)
            .all(|((section, ..), number)| section.number == number);
        if in_order {
            out.extend(join(group));
        } else {
            out.extend(group.iter().map(|(_, at, parameter)| (*at, parameter.clone())));
        }
    }
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, parameter)| parameter).collect()
}

/// One value of sections that are in order, at the place of the first.
fn join(group: &[(Section, usize, Parameter)]) -> Option<(usize, Parameter)> {
    let (first, at, _) = group.first()?;
    let extended = group.iter().any(|(section, ..)| section.extended);
    let mut value = Vec::new();
    if extended && !first.extended {
        value.extend_from_slice(b"''");
    }
    for (section, _, parameter) in group {
        if extended && !section.extended {
            escape(&mut value, &parameter.value);
        } else {
            value.extend_from_slice(&parameter.value);
        }
    }
    let name = format!("{}{}", first.base, if extended { "*" } else { "" });
    Some((*at, Parameter { name, value }))
}

/// Percent-escapes what is no attribute-char (RFC 2231 §7).
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for octet in text {
        if octet.is_ascii_graphic() && !b"*'%()<>@,;:\\\"/[]?=".contains(octet) {
            out.push(*octet);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend([b'%', digit(octet >> 4), digit(octet & 15)]);
        }
    }
}

/// The name of a section: `base*number` or `base*number*`.
struct Section {
    base: String,
    number: u32,
    extended: bool,
}

impl Section {
    fn of(name: &str) -> Option<Self> {
        let (rest, extended) = name.strip_suffix('*').map_or((name, false), |rest| (rest, true));
        let (base, digits) = rest.rsplit_once('*')?;
        let plain = digits == "0" || !digits.starts_with('0');
        let number =
            (1..=4).contains(&digits.len()) && plain && digits.bytes().all(|octet| octet.is_ascii_digit());
        (number && !base.is_empty()).then(|| Self {
            base: base.to_owned(),
            number: digits
                .bytes()
                .fold(0, |number, digit| number * 10 + u32::from(digit - b'0')),
            extended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &str) -> Vec<(String, String)> {
        parameters(raw.as_bytes())
            .into_iter()
            .map(|p| (p.name, String::from_utf8_lossy(&p.value).into_owned()))
            .collect()
    }

    fn pairs(want: &[(&str, &str)]) -> Vec<(String, String)> {
        want.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn parameters_well_formed_and_not() {
        for (raw, want) in [
            (
                " text/plain; charset=us-ascii (Plain text)",
                &[("CHARSET", "us-ascii")][..],
            ),
            (" text/plain; charset=\"us-ascii\"", &[("CHARSET", "us-ascii")]),
            (
                "a/b;\r\n c = d ; E=\"x \\\" ; y\"",
                &[("C", "d"), ("E", "x \" ; y")],
            ),
            ("a/b; boundary=----=_a?b/c:d", &[("BOUNDARY", "----=_a?b/c:d")]),
            ("a/b; name=one two.txt; x=y", &[("NAME", "one"), ("X", "y")]),
            ("a/b;; ;c=d;", &[("C", "d")]),
            ("a/b; c; d=e", &[("D", "e")]),
            ("a/b; c=; d=e", &[("C", ""), ("D", "e")]),
            ("a/b c=d; e=f", &[("E", "f")]),
            ("a/b; (x) c (y) = (z) d; e=(f)\"g\"", &[("C", "d"), ("E", "g")]),
            ("a/b; c=\"never closed; d=e", &[("C", "never closed; d=e")]),
            ("a/b; c=d (; e=f) ; g=h", &[("C", "d"), ("G", "h")]),
            ("", &[]),
        ] {
            assert_eq!(shown(raw), pairs(want), "{raw}");
        }
    }

    #[test]
    fn continuations() {
        for (raw, want) in [
            // RFC 2231 §3, §4, §4.1
            (
                "message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"",
                &[
                    ("ACCESS-TYPE", "URL"),
                    ("URL", "ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"),
                ][..],
            ),
            (
                "a/b; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
                &[("TITLE*", "us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A")],
            ),
            (
                "a/b; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
                &[(
                    "TITLE*",
                    "us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!",
                )],
            ),
            ("a/b; x*1=b; y=c; x*0=a", &[("Y", "c"), ("X", "ab")]),
            ("a/b; x*0=a; x*2=c", &[("X*0", "a"), ("X*2", "c")]),
            ("a/b; x*0=a; x*0=b", &[("X*0", "a"), ("X*0", "b")]),
            (
                "a/b; x*1=a; x*01=b; x**0=c",
                &[("X*1", "a"), ("X*01", "b"), ("X*", "c")],
            ),
            ("a/b; x*0=a; x*1*=%62", &[("X*", "''a%62")]),
            ("a/b; x*99999999999=a", &[("X*99999999999", "a")]),
        ] {
            assert_eq!(shown(raw), pairs(want), "{raw}");
        }
    }

    #[test]
    fn parameters_are_bounded() {
        let raw = ["a/b".to_owned(), "; x*1=y".repeat(100_000)].concat();
        assert_eq!(parameters(raw.as_bytes()).len(), MAX_PARAMETERS);
    }
}
