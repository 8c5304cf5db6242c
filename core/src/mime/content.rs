//! The MIME fields of a part: Content-Type and its like (RFC 2045, 2046, 2183, 2231, 2557, 1864, 3282).

use super::header::{self, Fields};
use super::token::{Token, Tokens, unquote};

/// Parameters of one field; what is beyond is left out.
pub const MAX_PARAMETERS: usize = 256;

/// Longest boundary that delimits; RFC 2046 §5.1.1 allows 70.
pub const MAX_BOUNDARY: usize = 512;

/// A parameter of Content-Type or Content-Disposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Attribute in upper case; with a final `*` the value is in the extended form of RFC 2231 §4.
    pub name: String,
    /// Value without quotes. May hold 8-bit octets.
    pub value: Vec<u8>,
}

/// What the header of a part says of its content, with RFC 2045's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mime {
    /// Media type in upper case.
    pub media_type: String,
    /// Subtype in upper case.
    pub subtype: String,
    /// Content-Type's parameters.
    pub parameters: Vec<Parameter>,
    /// Content-ID.
    pub id: Option<Vec<u8>>,
    /// Content-Description, unfolded.
    pub description: Option<Vec<u8>>,
    /// Content-Transfer-Encoding in upper case; `7BIT` if there is none.
    pub encoding: String,
    /// Content-MD5.
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition: type in upper case, parameters.
    pub disposition: Option<(String, Vec<Parameter>)>,
    /// Content-Language: tags.
    pub language: Vec<Vec<u8>>,
    /// Content-Location without the white space of folding (RFC 2557 §4.4.2).
    pub location: Option<Vec<u8>>,
}

impl Default for Mime {
    /// Plain text, as RFC 2045 §5.2 has it.
    fn default() -> Self {
        Self {
            media_type: "TEXT".to_owned(),
            subtype: "PLAIN".to_owned(),
            parameters: Vec::new(),
            id: None,
            description: None,
            encoding: "7BIT".to_owned(),
            md5: None,
            disposition: None,
            language: Vec::new(),
            location: None,
        }
    }
}

impl Mime {
    /// Reads a header. The first field of each name counts.
    ///
    /// A Content-Type that is syntactically invalid, a multipart without a boundary included, is taken as plain text
    /// (RFC 2045 §5.2): so its text can be read. `in_digest`: without Content-Type the part is a message (RFC 2046
    /// §5.1.5).
    #[must_use]
    pub fn parse(header: &[u8], in_digest: bool) -> Self {
        let mut mime = Self::default();
        let mut seen = Seen::default();
        for field in Fields::new(header) {
            let Some(kind) = Kind::of(field.name) else {
                continue;
            };
            if seen.first(kind) {
                mime.field(kind, field.raw);
            }
        }
        if in_digest && !seen.has(Kind::Type) {
            "MESSAGE".clone_into(&mut mime.media_type);
            "RFC822".clone_into(&mut mime.subtype);
        }
        mime
    }

    /// Whether a field (by its name) is read by [`Mime::parse`].
    #[must_use]
    pub fn is_mime_field(name: &[u8]) -> bool {
        Kind::of(name).is_some()
    }

    /// Whether it is of this media type, given in upper case.
    #[must_use]
    pub fn is_type(&self, media_type: &str) -> bool {
        self.media_type == media_type
    }

    /// The value of a Content-Type parameter, its name given in upper case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name == name)
            .map(|parameter| parameter.value.as_slice())
    }

    /// The boundary, if it can delimit: not empty and not longer than [`MAX_BOUNDARY`].
    #[must_use]
    pub fn boundary(&self) -> Option<&[u8]> {
        let mut boundary = self.parameter("BOUNDARY")?;
        // A boundary never ends with white space (RFC 2046 §5.1.1), gateways add some.
        while let [rest @ .., b' ' | b'\t'] = boundary {
            boundary = rest;
        }
        (!boundary.is_empty() && boundary.len() <= MAX_BOUNDARY).then_some(boundary)
    }

    fn field(&mut self, kind: Kind, raw: &[u8]) {
        let text = || header::unfold(raw);
        match kind {
            Kind::Type => self.content_type(raw),
            Kind::Encoding => {
                if let Some(token) = first_token(raw) {
                    self.encoding = token;
                }
            }
            Kind::Disposition => {
                self.disposition = first_token(raw).map(|token| (token, parameters(raw)));
            }
            Kind::Language => self.language = tags(raw),
            Kind::Id => self.id = Some(text()),
            Kind::Description => self.description = Some(text()),
            Kind::Md5 => self.md5 = Some(text()),
            Kind::Location => {
                let mut location = text();
                location.retain(|octet| !matches!(octet, b' ' | b'\t'));
                self.location = Some(location);
            }
        }
    }

    fn content_type(&mut self, raw: &[u8]) {
        let mut tokens = Tokens::mime(raw);
        let (media_type, slash, subtype) = (word(&mut tokens), word(&mut tokens), word(&mut tokens));
        let (Some(Token::Atom(media_type)), Some(Token::Special(b'/')), Some(Token::Atom(subtype))) =
            (media_type, slash, subtype)
        else {
            return;
        };
        let (Some(media_type), Some(subtype)) = (upper(media_type), upper(subtype)) else {
            return;
        };
        self.parameters = parameters(raw);
        if media_type == "MULTIPART" && self.boundary().is_none() {
            self.parameters.clear();
            return;
        }
        self.media_type = media_type;
        self.subtype = subtype;
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Type,
    Encoding,
    Disposition,
    Language,
    Id,
    Description,
    Md5,
    Location,
}

impl Kind {
    const NAMES: [(&'static [u8], Self); 8] = [
        (b"content-type", Self::Type),
        (b"content-transfer-encoding", Self::Encoding),
        (b"content-disposition", Self::Disposition),
        (b"content-language", Self::Language),
        (b"content-id", Self::Id),
        (b"content-description", Self::Description),
        (b"content-md5", Self::Md5),
        (b"content-location", Self::Location),
    ];

    fn of(name: &[u8]) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, kind)| *kind)
    }
}

#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn has(&self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    fn first(&mut self, kind: Kind) -> bool {
        let first = !self.has(kind);
        self.0 |= 1 << kind as u8;
        first
    }
}

/// The next token that is no comment.
fn word<'a>(tokens: &mut Tokens<'a>) -> Option<Token<'a>> {
    tokens.find(|token| !matches!(token, Token::Comment(_)))
}

/// In upper case, if it is a token (RFC 2045 §5.1): printable ASCII.
fn upper(token: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(token).ok()?;
    text.bytes()
        .all(|octet| octet.is_ascii_graphic())
        .then(|| text.to_ascii_uppercase())
}

/// The token that begins a value, in upper case.
fn first_token(raw: &[u8]) -> Option<String> {
    match word(&mut Tokens::mime(raw))? {
        Token::Atom(token) => upper(token),
        Token::Quoted(token) => upper(token).filter(|token| !token.is_empty()),
        _ => None,
    }
}

/// Tags separated by commas (RFC 3282 §2).
fn tags(raw: &[u8]) -> Vec<Vec<u8>> {
    Tokens::mime(raw)
        .filter_map(|token| match token {
            Token::Atom(tag) => Some(tag.to_vec()),
            Token::Quoted(tag) => Some(unquote(tag).into_owned()),
            _ => None,
        })
        .take(MAX_PARAMETERS)
        .collect()
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

/// Joins the sections of continued values (RFC 2231 §3).
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

    #[test]
    fn content_types() {
        let media = |raw: &str, digest| {
            let mime = Mime::parse(format!("Content-Type:{raw}\r\n").as_bytes(), digest);
            format!("{}/{}", mime.media_type, mime.subtype)
        };
        for (raw, want) in [
            (" text/html", "TEXT/HTML"),
            ("(c)image (d) / (e) png;x=y", "IMAGE/PNG"),
            (" text", "TEXT/PLAIN"),
            (" image/", "TEXT/PLAIN"),
            (" /png", "TEXT/PLAIN"),
            (" multipart/mixed", "TEXT/PLAIN"),
            (" multipart/mixed; boundary=\"\"", "TEXT/PLAIN"),
            (" multipart/mixed; boundary=\" \"", "TEXT/PLAIN"),
            (" multipart/mixed; boundary=\"b \"", "MULTIPART/MIXED"),
            (" multipart/mixed; boundary*0=a; boundary*1=b", "MULTIPART/MIXED"),
            (" \u{e4}/b", "TEXT/PLAIN"),
        ] {
            assert_eq!(media(raw, false), want, "{raw}");
            assert_eq!(media(raw, true), want, "{raw}");
        }
        assert_eq!(Mime::parse(b"Subject: x\r\n", true).subtype, "RFC822");
        assert_eq!(Mime::parse(b"Subject: x\r\n", false), Mime::default());
    }

    #[test]
    fn other_fields() {
        let mime = Mime::parse(
            b"Content-Transfer-Encoding: base64 (really)\r\nContent-Id: <a@b>\r\nContent-ID: <c@d>\r\n\
              Content-Disposition: attachment;\r\n filename=\"a b\"\r\nContent-Language: de, en-GB\r\n\
              Content-Location: http://a/\r\n b\r\nContent-MD5: Q2hl==\r\nContent-Description: a\r\n  b \r\n",
            false,
        );
        assert_eq!(mime.encoding, "BASE64");
        assert_eq!(mime.id.as_deref(), Some(&b"<a@b>"[..]));
        let (kind, parameters) = mime.disposition.expect("disposition");
        assert_eq!(
            (kind.as_str(), parameters[0].value.as_slice()),
            ("ATTACHMENT", &b"a b"[..])
        );
        assert_eq!(mime.language, [b"de".to_vec(), b"en-GB".to_vec()]);
        assert_eq!(mime.location.as_deref(), Some(&b"http://a/b"[..]));
        assert_eq!(mime.md5.as_deref(), Some(&b"Q2hl=="[..]));
        assert_eq!(mime.description.as_deref(), Some(&b"a  b"[..]));
    }
}
