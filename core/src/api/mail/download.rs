//! Octets of messages and their parts as a browser may have them: mail is written by strangers, and nothing of it may act in
//! the name of the site that it is shown on.

use core::fmt::Write as _;

use crate::http::{Body, Response};
use crate::machine::BlobId;
use crate::mime::content::Mime;

/// Octets that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The open body.
    pub blob: BlobId,
    /// Its octets.
    pub len: u64,
    /// `text/html`, in lower case.
    pub media_type: String,
    /// The charset that it says it is of.
    pub charset: Option<String>,
    /// File name.
    pub name: Option<String>,
    /// To be kept in a file, not to be shown.
    pub attachment: bool,
}

/// Types that a browser may show by itself: they hold no scripts.
const SHOWN: [&str; 9] = [
    "text/plain",
    "text/html",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "audio/mpeg",
    "video/mp4",
];

/// No scripts, no forms, no frames, nothing from elsewhere, and an origin of its own. Of what a page needs to look as it was
/// meant, only what comes with it.
const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

impl Download {
    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response {
        let shown = SHOWN.contains(&self.media_type.as_str()) && !self.attachment;
        let mut media_type = self.media_type.clone();
        if let Some(charset) = self
            .charset
            .as_deref()
            .filter(|_| self.media_type.starts_with("text/"))
        {
            let _ = write!(media_type, "; charset={charset}");
        }
        Response::empty(200)
            .with("Content-Type", media_type)
            .with("Content-Disposition", disposition(shown, self.name.as_deref()))
            .with("Content-Security-Policy", POLICY)
            .with("X-Content-Type-Options", "nosniff")
            .with_body(Body::Blob(self.blob, self.len))
    }
}

/// The type and charset of a part. A type that HTTP cannot say is that of plain octets.
#[must_use]
pub fn type_of(mime: &Mime) -> (String, Option<String>) {
    let token = |text: &str| !text.is_empty() && text.len() <= 127 && text.bytes().all(is_token);
    if !token(&mime.media_type) || !token(&mime.subtype) || mime.is_type("MULTIPART") {
        return ("application/octet-stream".to_owned(), None);
    }
    let charset = mime
        .parameter("CHARSET")
        .and_then(|value| core::str::from_utf8(value).ok());
    let charset = charset
        .filter(|charset| token(charset))
        .map(str::to_ascii_lowercase);
    (
        super::content::media_type(&mime.media_type, &mime.subtype),
        charset,
    )
}

/// RFC 9110 §5.6.2, `tchar`.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// Content-Disposition (RFC 6266 §4): for old programs a name in ASCII, for others the true one (RFC 8187 §3.2).
fn disposition(shown: bool, name: Option<&str>) -> String {
    let mut value = if shown { "inline" } else { "attachment" }.to_owned();
    let Some(name) = name else {
        return value;
    };
    let plain: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    let _ = write!(value, "; filename=\"{plain}\"");
    if plain != name {
        value.push_str("; filename*=UTF-8''");
        for octet in name.bytes() {
            // `attr-char`.
            if octet.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&octet) {
                value.push(char::from(octet));
            } else {
                let _ = write!(value, "%{octet:02X}");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(media_type: &str, attachment: bool, name: Option<&str>) -> Vec<(&'static str, String)> {
        let download = Download {
            blob: BlobId(1),
            len: 3,
            media_type: media_type.to_owned(),
            charset: Some("utf-8".to_owned()),
            name: name.map(str::to_owned),
            attachment,
        };
        let response = download.response();
        assert_eq!(
            (response.status, &response.body),
            (200, &Body::Blob(BlobId(1), 3))
        );
        response.fields
    }

    fn field(fields: &[(&'static str, String)], name: &str) -> String {
        let field = fields.iter().find(|(other, _)| *other == name);
        field.map(|(_, value)| value.clone()).expect(name)
    }

    #[test]
    fn what_can_act_is_never_shown_outside_of_a_sandbox() {
        for (media_type, attachment, want) in [
            ("text/plain", false, "inline"),
            ("text/html", false, "inline"),
            ("text/html", true, "attachment"),
            ("image/png", false, "inline"),
            ("image/svg+xml", false, "attachment"),
            ("application/pdf", false, "attachment"),
            ("text/javascript", false, "attachment"),
            ("message/rfc822", false, "attachment"),
        ] {
            let fields = fields(media_type, attachment, None);
            assert_eq!(field(&fields, "Content-Disposition"), want, "{media_type}");
            assert!(field(&fields, "Content-Security-Policy").starts_with("sandbox; default-src 'none'"));
            assert_eq!(field(&fields, "X-Content-Type-Options"), "nosniff");
        }
        assert_eq!(
            field(&fields("text/html", false, None), "Content-Type"),
            "text/html; charset=utf-8"
        );
        assert_eq!(
            field(&fields("image/png", false, None), "Content-Type"),
            "image/png"
        );
    }

    #[test]
    fn names_of_files_cannot_break_the_field() {
        for (name, want) in [
            ("a b.txt", "attachment; filename=\"a b.txt\""),
            (
                "€ rates",
                "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates",
            ),
            (
                "a\"b\\c%20.txt",
                "attachment; filename=\"a_b_c_20.txt\"; filename*=UTF-8''a%22b%5Cc%2520.txt",
            ),
            (
                "a\r\nX: y",
                "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y",
            ),
        ] {
            assert_eq!(disposition(false, Some(name)), want);
        }
    }

    #[test]
    fn types_are_tokens_or_octets() {
        let of = |header: &str| type_of(&Mime::parse(header.as_bytes(), false));
        let some =
            |media_type: &str, charset: Option<&str>| (media_type.to_owned(), charset.map(str::to_owned));
        for (header, want) in [
            (
                "Content-Type: Text/HTML; charset=ISO-8859-1\r\n",
                some("text/html", Some("iso-8859-1")),
            ),
            (
                "Content-Type: text/html; charset=\"a b\"\r\n",
                some("text/html", None),
            ),
            (
                "Content-Type: multipart/mixed; boundary=b\r\n",
                some("application/octet-stream", None),
            ),
            ("", some("text/plain", None)),
        ] {
            assert_eq!(of(header), want, "{header}");
        }
    }
}
