//! ENVELOPE (RFC 9051 §7.5.2).

use super::address::{self, Address, Mailbox};
use super::header::Fields;
use super::imap_string::{nstring, string};

/// Elements of all address lists of one envelope; what is beyond is left out.
pub const MAX_ADDRESSES: usize = 10_000;

/// What stands for a local part that is missing: NIL would mean the end of a group.
pub const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";

/// What stands for a domain that is missing: NIL would mean the beginning of a group.
pub const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";

/// The fields of an envelope in its order; [`index`] knows their names.
const NAMES: [&[u8]; 10] = [
    b"date",
    b"subject",
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"bcc",
    b"in-reply-to",
    b"message-id",
];
const FROM: usize = 2;
const SENDER: usize = 3;
const REPLY_TO: usize = 4;
const BCC: usize = 7;

/// Renders the envelope of a header: the parenthesised list, without spaces around it.
///
/// Texts are unfolded and encoded words left encoded. Of several fields of one name the first counts, except for
/// addresses: those are joined, as if they stood in one field. Linear in the header's length.
#[must_use]
pub fn envelope(header: &[u8]) -> Vec<u8> {
    let mut texts: [Option<Vec<u8>>; 10] = Default::default();
    let mut lists: [Vec<Address>; 10] = Default::default();
    let mut left = MAX_ADDRESSES;
    for field in Fields::new(header) {
        let Some(index) = index(field.name) else {
            continue;
        };
        if (FROM..=BCC).contains(&index) {
            let list = address::parse(field.raw, left);
            left = left.saturating_sub(list.len());
            if let Some(all) = lists.get_mut(index) {
                all.extend(list);
            }
        } else if let Some(text @ None) = texts.get_mut(index) {
            *text = Some(field.value());
        }
    }
    render(&texts, &lists)
}

/// Whether the field is part of an envelope.
#[must_use]
pub fn is_envelope_field(name: &[u8]) -> bool {
    index(name).is_some()
}

fn index(name: &[u8]) -> Option<usize> {
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))
}

fn render(texts: &[Option<Vec<u8>>; 10], lists: &[Vec<Address>; 10]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(b'(');
    let mut from = 0..0;
    for (index, (text, list)) in texts.iter().zip(lists).enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        let begin = out.len();
        match index {
            // Never left to the client (RFC 9051 §7.5.2).
            SENDER | REPLY_TO if list.is_empty() => out.extend_from_within(from.clone()),
            FROM..=BCC => address_list(&mut out, list),
            _ => nstring(&mut out, text.as_deref()),
        }
        if index == FROM {
            from = begin..out.len();
        }
    }
    out.push(b')');
    out
}

/// `env-from` and its like: NIL for an empty list.
fn address_list(out: &mut Vec<u8>, list: &[Address]) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in list {
        match address {
            Address::Mailbox(mailbox) => write_mailbox(out, mailbox),
            Address::Group(name) => {
                out.extend_from_slice(b"(NIL NIL ");
                string(out, name);
                out.extend_from_slice(b" NIL)");
            }
            Address::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
        }
    }
    out.push(b')');
}

fn write_mailbox(out: &mut Vec<u8>, mailbox: &Mailbox) {
    fn present(text: &[u8]) -> Option<&[u8]> {
        (!text.is_empty()).then_some(text)
    }
    out.push(b'(');
    nstring(out, present(&mailbox.name));
    out.push(b' ');
    nstring(out, present(&mailbox.route));
    out.push(b' ');
    string(out, present(&mailbox.local).unwrap_or(MISSING_MAILBOX));
    out.push(b' ');
    string(out, present(&mailbox.domain).unwrap_or(MISSING_DOMAIN));
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_9051() {
        let header = b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
            From: Terry Gray <gray@cac.washington.edu>\r\n\
            Subject: IMAP4rev2 WG mtg summary and minutes\r\n\
            To: imap@cac.washington.edu\r\n\
            cc: minutes@CNRI.Reston.VA.US,\r\n John Klensin <KLENSIN@MIT.EDU>\r\n\
            Message-Id: <B27397-0100000@cac.washington.edu>\r\n\
            MIME-Version: 1.0\r\n\
            Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n";
        let gray = r#"(("Terry Gray" NIL "gray" "cac.washington.edu"))"#;
        let want = [
            r#"("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" "#,
            gray,
            " ",
            gray,
            " ",
            gray,
            r#" ((NIL NIL "imap" "cac.washington.edu")) "#,
            r#"((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "#,
            r#""<B27397-0100000@cac.washington.edu>")"#,
        ]
        .concat();
        assert_eq!(String::from_utf8_lossy(&envelope(header)), want);
    }

    #[test]
    fn absent_and_empty() {
        assert_eq!(envelope(b""), b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        assert_eq!(
            envelope(b"Date:\r\nSubject: \r\nFrom:\r\nTo: \r\nIn-Reply-To:\r\nMessage-ID:\r\n"),
            b"(\"\" \"\" NIL NIL NIL NIL NIL NIL \"\" \"\")"
        );
    }

    #[test]
    fn first_text_and_joined_addresses() {
        let out = envelope(b"Subject: one\r\nSubject: two\r\nTo: a@b\r\nTo: g:;\r\n");
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"(NIL "one" NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "g" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL)"#
        );
    }

    #[test]
    fn addresses_are_bounded() {
        let header = [
            b"To: ".to_vec(),
            b"a@b,".repeat(MAX_ADDRESSES + 5),
            b"\r\nCc: c@d\r\n".to_vec(),
        ]
        .concat();
        let out = envelope(&header);
        assert_eq!(memchr::memmem::find_iter(&out, b"\"a\"").count(), MAX_ADDRESSES);
        assert!(memchr::memmem::find(&out, b"\"c\"").is_none());
    }
}
