//! Modified UTF-7, in which IMAP4rev1 writes mailbox names (RFC 3501 §5.1.3).
//!
//! There is exactly one right encoding of a text, and [`decode`] takes no other: two spellings of one mailbox would be
//! two mailboxes to a client.

/// The octets are not modified UTF-7, or not the one right form of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not modified UTF-7")]
pub struct NotUtf7;

/// Base64 with `,` for `/` and no padding.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Reads modified UTF-7.
///
/// # Errors
/// Octets outside printable ASCII; a shift that is not ended by `-`; bits left over that are not zero; lone surrogates;
/// printable ASCII within base64; a shift directly after another.
pub fn decode(octets: &[u8]) -> Result<String, NotUtf7> {
    let mut text = String::with_capacity(octets.len());
    let mut rest = octets;
    let mut after_shift = false;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        if octet != b'&' {
            if !(0x20..=0x7e).contains(&octet) {
                return Err(NotUtf7);
            }
            text.push(char::from(octet));
            after_shift = false;
            continue;
        }
        let end = memchr::memchr(b'-', rest).ok_or(NotUtf7)?;
        let (run, tail) = rest.split_at_checked(end).ok_or(NotUtf7)?;
        rest = tail.get(1..).unwrap_or_default();
        if run.is_empty() {
            text.push('&');
            after_shift = false;
        } else if after_shift {
            return Err(NotUtf7);
        } else {
            decode_run(run, &mut text)?;
            after_shift = true;
        }
    }
    Ok(text)
}

/// What stands between `&` and `-`: UTF-16 in base64.
fn decode_run(run: &[u8], text: &mut String) -> Result<(), NotUtf7> {
    let mut bits = 0_u32;
    let mut held = 0_u32;
    let mut units = Vec::with_capacity(run.len() * 6 / 16 + 1);
    for octet in run {
        bits = (bits << 6) | sextet(*octet).ok_or(NotUtf7)?;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push(u16::try_from((bits >> held) & 0xffff).map_err(|_| NotUtf7)?);
            bits &= (1 << held) - 1;
        }
    }
    // A whole sextet of padding is one too many, and padding is zero.
    if held >= 6 || bits != 0 || units.is_empty() {
        return Err(NotUtf7);
    }
    for c in char::decode_utf16(units) {
        let c = c.map_err(|_| NotUtf7)?;
        if (' '..='~').contains(&c) {
            return Err(NotUtf7);
        }
        text.push(c);
    }
    Ok(())
}

fn sextet(octet: u8) -> Option<u32> {
    let value = match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        b',' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// Appends a text as modified UTF-7: printable ASCII only.
pub fn encode_to(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if (' '..='~').contains(&c) {
            out.push(if c.is_ascii() { c as u8 } else { b'?' });
            if c == '&' {
                out.push(b'-');
            }
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let end = rest.find(|c| (' '..='~').contains(&c)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        encode_run(run, out);
        rest = tail;
    }
}

/// A text as modified UTF-7.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 8);
    encode_to(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn encode_run(run: &str, out: &mut Vec<u8>) {
    let sextet = |value: u32| ALPHABET.get((value & 63) as usize).copied().unwrap_or(b'A');
    out.push(b'&');
    let (mut bits, mut held) = (0_u32, 0_u32);
    for unit in run.encode_utf16() {
        bits = (bits << 16) | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            out.push(sextet(bits >> held));
            bits &= (1 << held) - 1;
        }
    }
    if held > 0 {
        out.push(sextet(bits << (6 - held)));
    }
    out.push(b'-');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfc_examples() {
        for (utf7, text) in [
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("&Jjo-!", "☺!"),
            ("R&-D", "R&D"),
            ("&AOQ-&-&APY-", "ä&ö"),
            ("&2D3eAA-", "😀"),
            ("", ""),
        ] {
            assert_eq!(decode(utf7.as_bytes()).as_deref(), Ok(text), "{utf7}");
            assert_eq!(encode(text), utf7);
        }
    }

    #[test]
    fn only_the_one_right_form_is_taken() {
        for bad in [
            "&",
            "R&D",
            "&Jjo",
            "&Jjo!",
            "&U,BTFw-&ZeVnLIqe-",
            "&AGE-",
            "&AGEA5A-",
            "&A-",
            "&AOR-",
            "&AOQA-",
            "&AOQ=-",
            "&2D0-",
            "&3gA-",
            "&AO/k-",
            "ä",
            "a\0b",
            "a\x7fb",
            "a\nb",
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(NotUtf7), "{bad:?}");
        }
        assert_eq!(decode(b"\xff"), Err(NotUtf7));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in "\\PC{0,40}|[ -~\u{80}-\u{10ffff}]{0,20}|[\u{0}-\u{ff}]{0,20}") {
            let utf7 = encode(&text);
            prop_assert!(utf7.bytes().all(|b| (0x20..=0x7e).contains(&b)));
            let decoded = decode(utf7.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Ok(text.as_str()));
        }

        #[test]
        fn what_is_taken_is_the_one_right_form(octets in "[&A-Za-z0-9+,/=~ -]{0,24}") {
            if let Ok(text) = decode(octets.as_bytes()) {
                prop_assert_eq!(encode(&text), octets);
            }
        }
    }
}
