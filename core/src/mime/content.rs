//! The MIME fields of a part: Content-Type and its like (RFC 2045, 2046, 2183, 2231, 2557, 1864, 3282).

use super::header::{self, Fields};
use super::parameter::{MAX_PARAMETERS, Parameter, parameters};
use super::token::{Token, Tokens, unquote, upper, word};

/// Longest boundary that delimits; RFC 2046 §5.1.1 allows 70.
pub const MAX_BOUNDARY: usize = 512;

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

#[cfg(test)]
mod tests {
    use super::*;

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
