//! Which parts of a message are attachments, and what their files are called.

use encoding_rs::Encoding;

use super::content::Mime;
use super::parameter::Parameter;
use super::part::{Kind, Part, Structure};
use crate::text::encoded_word;

/// Characters of a file name.
const MAX_NAME: usize = 200;

/// Subtypes of `application` that say something of other parts, and are no files.
const SIGNATURES: [&str; 3] = ["PGP-SIGNATURE", "PKCS7-SIGNATURE", "X-PKCS7-SIGNATURE"];

/// Whether people would call the part an attachment: it says so (RFC 2183 §2.2), or it has a file name, or it is neither
/// text nor something that another part shows (a picture with a Content-ID). Signatures are none.
#[must_use]
pub fn is_attachment(part: &Part) -> bool {
    let mime = &part.mime;
    if part.kind == Kind::Multipart || SIGNATURES.contains(&mime.subtype.as_str()) {
        return false;
    }
    let inline = match &mime.disposition {
        Some((kind, _)) if kind == "INLINE" => true,
        // RFC 2183 §2.8: what is not known is an attachment.
        Some(_) => return true,
        None => false,
    };
    let shown = mime.id.is_some() && !mime.is_type("TEXT") && part.kind == Kind::Leaf;
    if shown && (inline || mime.is_type("IMAGE")) {
        return false;
    }
    !mime.is_type("TEXT") || file_name(mime).is_some()
}

/// Whether a message has an attachment.
#[must_use]
pub fn has_attachment(structure: &Structure) -> bool {
    structure.parts.iter().any(is_attachment)
}

/// The file name that a part gives itself: of its disposition, or else of its type. Encoded in the way of RFC 2231, or in
/// the way of RFC 2047 as many programs do. It holds no control characters and no separators of paths, and has at most 200
/// characters.
#[must_use]
pub fn file_name(mime: &Mime) -> Option<String> {
    let disposition = mime.disposition.as_ref();
    let named = disposition.and_then(|(_, parameters)| value(parameters, "FILENAME"));
    let name = named.or_else(|| value(&mime.parameters, "NAME"))?;
    let clean: String = name
        .chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}'))
        .map(|c| if matches!(c, '/' | '\\') { '_' } else { c })
        .take(MAX_NAME)
        .collect();
    let clean = clean.trim().trim_start_matches('.');
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// A parameter as text; the extended form counts before the plain one.
fn value(parameters: &[Parameter], name: &str) -> Option<String> {
    let extended = |parameter: &&Parameter| parameter.name.strip_suffix('*') == Some(name);
    if let Some(parameter) = parameters.iter().find(extended) {
        return Some(decode_extended(&parameter.value));
    }
    let plain = parameters.iter().find(|parameter| parameter.name == name)?;
    Some(encoded_word::decode(&plain.value))
}

/// `charset'language'text` with percent escapes (RFC 2231 §4). Without the marks all of it is text; a charset that nobody
/// knows is UTF-8, or else Windows-1252.
fn decode_extended(value: &[u8]) -> String {
    let mut marks = value.splitn(3, |octet| *octet == b'\'');
    let (charset, text) = match (marks.next(), marks.next(), marks.next()) {
        (Some(charset), Some(_), Some(text)) => (charset, text),
        _ => (&b""[..], value),
    };
    let octets = unescape(text);
    match Encoding::for_label_no_replacement(charset) {
        Some(charset) => charset.decode_without_bom_handling(&octets).0.into_owned(),
        None => encoded_word::undeclared(&octets).into_owned(),
    }
}

/// Percent escapes undone; what is none stays.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        if let ([high, low, after @ ..], b'%') = (after, first)
            && let (Some(high), Some(low)) = (encoded_word::hex(*high), encoded_word::hex(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*first);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::scanner::scan;
    use super::*;

    fn name(header: &str) -> Option<String> {
        file_name(&Mime::parse(header.as_bytes(), false))
    }

    #[test]
    fn file_names_are_decoded_and_harmless() {
        for (header, want) in [
            (
                "Content-Disposition: attachment; filename=\"a b.txt\"\r\n",
                Some("a b.txt"),
            ),
            ("Content-Type: image/png; name=x.png\r\n", Some("x.png")),
            (
                "Content-Type: image/png; name=x.png\r\nContent-Disposition: inline; filename=y.png\r\n",
                Some("y.png"),
            ),
            (
                "Content-Disposition: attachment; filename*=UTF-8''%e2%82%ac%20rates.txt; filename=\"EURO\"\r\n",
                Some("€ rates.txt"),
            ),
            (
                "Content-Disposition: attachment; filename*0*=iso-8859-1'en'%A3; filename*1=\" rates\"\r\n",
                Some("£ rates"),
            ),
            (
                "Content-Disposition: attachment; filename=\"=?utf-8?q?J=C3=BCrgen?=.pdf\"\r\n",
                Some("Jürgen.pdf"),
            ),
            (
                "Content-Disposition: attachment; filename*=no-such''%C3%A4%zz\r\n",
                Some("ä%zz"),
            ),
            (
                "Content-Disposition: attachment; filename=\"../../etc/passwd\"\r\n",
                Some("_.._etc_passwd"),
            ),
            (
                "Content-Disposition: attachment; filename*=utf-8''a%0d%0ab%e2%80%aec\r\n",
                Some("abc"),
            ),
            ("Content-Disposition: attachment; filename=\"..\"\r\n", None),
            ("Content-Disposition: attachment\r\n", None),
        ] {
            assert_eq!(name(header).as_deref(), want, "{header}");
        }
        let long = format!(
            "Content-Disposition: attachment; filename={}\r\n",
            "x".repeat(500)
        );
        assert_eq!(name(&long).map(|name| name.len()), Some(MAX_NAME));
    }

    fn has(part: &str) -> bool {
        let message = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n\
             --b\r\n{part}\r\n\r\nx\r\n--b--\r\n"
        );
        has_attachment(&scan(message.as_bytes()))
    }

    #[test]
    fn attachments_are_what_people_call_so() {
        for yes in [
            "Content-Type: application/pdf",
            "Content-Type: text/plain; name=x.txt",
            "Content-Type: text/plain\r\nContent-Disposition: attachment",
            "Content-Type: image/png\r\nContent-Disposition: inline; filename=x.png",
            "Content-Type: message/rfc822",
            "Content-Type: text/calendar\r\nContent-Disposition: strange",
        ] {
            assert!(has(yes), "{yes}");
        }
        for no in [
            "Content-Type: text/html",
            "Content-Type: image/png; name=x.png\r\nContent-ID: <a@b>",
            "Content-Type: application/pdf\r\nContent-ID: <a@b>\r\nContent-Disposition: inline",
            "Content-Type: application/pgp-signature; name=signature.asc",
        ] {
            assert!(!has(no), "{no}");
        }
        assert!(has_attachment(&scan(b"Content-Type: application/pdf\r\n\r\nx")));
        assert!(!has_attachment(&scan(b"Subject: x\r\n\r\nx")));
    }
}
