//! The text of a header field that is searched.

use super::fold::{fold, fold_into};
use crate::mime::address::{self, Address};
use crate::mime::header::Field;
use crate::text::encoded_word;

/// Between the texts of one field, and the values of several fields of one name; no text has it.
pub(super) const BETWEEN: u8 = 0xff;

/// Fields of addresses, which the envelope shows in another form than they may have in the header.
const ADDRESSES: [&[u8]; 6] = [b"from", b"to", b"cc", b"bcc", b"sender", b"reply-to"];

/// Addresses of a field that are searched in the envelope's form too.
const MAX_ADDRESSES: usize = 1_000;

/// Appends the field's value, decoded and folded. BCC, CC, FROM and TO ask for what stands in the envelope (RFC 9051
/// §6.4.4): where a header has comments, spaces or quotes inside addresses, they follow as the envelope has them.
pub(super) fn searched_into(out: &mut Vec<u8>, field: &Field<'_>) {
    fold_into(out, encoded_word::decode(field.raw).trim());
    if !ADDRESSES.iter().any(|name| field.is(name)) || !is_odd(field.raw) {
        return;
    }
    for address in address::parse(field.raw, MAX_ADDRESSES) {
        if let Address::Mailbox(mailbox) = address
            && !mailbox.local.is_empty()
        {
            out.push(BETWEEN);
            out.extend(fold(&encoded_word::undeclared(&mailbox.local)));
            if !mailbox.domain.is_empty() {
                out.push(b'@');
                out.extend(fold(&encoded_word::undeclared(&mailbox.domain)));
            }
        }
    }
}

/// Whether addresses may stand in it in another form than in the envelope: with comments, or with spaces or quotes beside
/// the `@`.
fn is_odd(raw: &[u8]) -> bool {
    let beside =
        |octet: Option<&u8>| octet.is_some_and(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'"'));
    memchr::memchr(b'(', raw).is_some()
        || memchr::memchr_iter(b'@', raw)
            .any(|at| beside(raw.get(at + 1)) || beside(at.checked_sub(1).and_then(|before| raw.get(before))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::header::Fields;

    fn searched(header: &str) -> String {
        let mut out = Vec::new();
        let field = Fields::new(header.as_bytes()).next().expect("a field");
        searched_into(&mut out, &field);
        out.iter()
            .map(|octet| {
                if *octet == BETWEEN {
                    '|'
                } else {
                    char::from(*octet)
                }
            })
            .collect::<String>()
            .to_lowercase()
    }

    #[test]
    fn addresses_are_searched_in_the_form_of_the_envelope_too() {
        assert_eq!(
            searched("From: Ann <ann@Example.org>\r\n"),
            "ann <ann@example.org>"
        );
        assert_eq!(
            searched("From: <ann (x)@ (y) Example.org>, b@c\r\n"),
            "<ann (x)@ (y) example.org>, b@c|ann@example.org|b@c"
        );
        assert!(searched("Cc: \"ann b\"@x.org\r\n").ends_with("|ann b@x.org"));
        assert_eq!(searched("Subject: a (b) @ c\r\n"), "a (b) @ c");
    }
}
