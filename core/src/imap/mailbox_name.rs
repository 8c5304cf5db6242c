//! Mailbox names between the wire and [`MailboxName`] (RFC 3501 §5.1.3, RFC 9051 §5.1).

use crate::imap::command::MailboxArg;
use crate::mailbox::{BadName, MailboxName};
use crate::text::utf7;

/// Reads a mailbox argument. Printable ASCII is modified UTF-7; octets above 127 make it UTF-8, as IMAP4rev2 clients
/// write it, in which `&` stands for itself. `utf8`: the client has enabled UTF-8, and all of its names are.
///
/// # Errors
/// [`BadName::NotUtf7`] if it is neither, else what [`MailboxName::new`] says of the text.
pub fn decode(octets: &[u8], utf8: bool) -> MailboxArg {
    decode_text(octets, utf8)
        .ok_or(BadName::NotUtf7)
        .and_then(|text| MailboxName::new(&text))
}

/// The text of a mailbox name or of a part of one, such as a LIST reference.
pub(crate) fn decode_text(octets: &[u8], utf8: bool) -> Option<String> {
    if octets.is_ascii() && !utf8 {
        utf7::decode(octets).ok()
    } else {
        core::str::from_utf8(octets).ok().map(str::to_owned)
    }
}

/// The text of a LIST pattern. What is not modified UTF-7 is taken as it stands: it matches nothing that was made
/// through such a name, and a pattern is no error.
pub(crate) fn decode_pattern(octets: &[u8], utf8: bool) -> Option<String> {
    decode_text(octets, utf8).or_else(|| core::str::from_utf8(octets).ok().map(str::to_owned))
}

/// The name in modified UTF-7: printable ASCII, not quoted. [`super::response::mailbox`] writes it quoted.
#[must_use]
pub fn encode(name: &MailboxName) -> String {
    utf7::encode(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_name_the_same_mailbox() {
        let name = |octets: &[u8]| decode(octets, false).map(|name| name.to_string());
        assert_eq!(name(b"inbox").as_deref(), Ok("INBOX"));
        assert_eq!(name(b"Entw&APw-rfe").as_deref(), Ok("Entwürfe"));
        assert_eq!(name("Entwürfe".as_bytes()).as_deref(), Ok("Entwürfe"));
        assert_eq!(name("ä & b".as_bytes()).as_deref(), Ok("ä & b"));
        assert_eq!(name(b"R&-D").as_deref(), Ok("R&D"));
        assert_eq!(name(b"R&D"), Err(BadName::NotUtf7));
        assert_eq!(name(b"\xff"), Err(BadName::NotUtf7));
        assert_eq!(name(b"../x"), Err(BadName::Forbidden));
        assert_eq!(name(b"&AAA-"), Err(BadName::Forbidden));
        assert_eq!(name(b""), Err(BadName::Empty));
        assert_eq!(decode_pattern(b"R&D*", false).as_deref(), Some("R&D*"));
        assert_eq!(decode_pattern(b"&AOQ-%", false).as_deref(), Some("ä%"));
        let utf8 = |octets: &[u8]| decode(octets, true).map(|name| name.to_string());
        assert_eq!(utf8(b"R&D").as_deref(), Ok("R&D"));
        assert_eq!(utf8(b"&AOQ-").as_deref(), Ok("&AOQ-"));
        assert_eq!(utf8("ä".as_bytes()).as_deref(), Ok("ä"));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in "[a-z&/ ä-ü日本😀]{1,12}") {
            if let Ok(name) = MailboxName::new(&text) {
                prop_assert_eq!(decode(encode(&name).as_bytes(), false), Ok(name.clone()));
                prop_assert_eq!(decode(name.as_str().as_bytes(), true), Ok(name.clone()));
                if !text.is_ascii() {
                    prop_assert_eq!(decode(name.as_str().as_bytes(), false), Ok(name));
                }
            }
        }
    }
}
