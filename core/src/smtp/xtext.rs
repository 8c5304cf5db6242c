//! `xtext` (RFC 3461 §4): how a parameter of MAIL or RCPT carries what it could not carry as it is.

/// Reads `xtext`. Characters above 127 stand for themselves (RFC 6531 §3.3); `+XX` must stand for printable ASCII, as
/// ENVID and ORCPT want it (RFC 3461 §4.2, §4.4). `None`: it is no xtext.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let decoded = match c {
            '+' => {
                let octet = hex(chars.next()?)? << 4 | hex(chars.next()?)?;
                char::from(octet)
            }
            '=' => return None,
            c if c.is_ascii_graphic() => {
                plain.push(c);
                continue;
            }
            c if !c.is_ascii() && !c.is_control() => {
                plain.push(c);
                continue;
            }
            _ => return None,
        };
        if !matches!(decoded, ' '..='~') {
            return None;
        }
        plain.push(decoded);
    }
    Some(plain)
}

/// Writes `xtext`: only what must be is encoded. Characters above 127 stay as they are.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && (!c.is_ascii_graphic() || matches!(c, '+' | '=')) {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |value: u32| DIGITS.get(value as usize & 15).map_or('0', |&b| char::from(b));
            out.extend(['+', digit(u32::from(c) >> 4), digit(u32::from(c))]);
        } else {
            out.push(c);
        }
    }
    out
}

/// A digit of `hexchar`: upper case only.
fn hex(c: char) -> Option<u8> {
    match c {
        '0'..='9' | 'A'..='F' => c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_encoded_and_what_is_refused() {
        assert_eq!(decode("QQ314159").as_deref(), Some("QQ314159"));
        assert_eq!(
            decode("e+3Dmc2@example.com").as_deref(),
            Some("e=mc2@example.com")
        );
        assert_eq!(decode("a+20b+2Bc").as_deref(), Some("a b+c"));
        assert_eq!(decode("b\u{f6}b").as_deref(), Some("b\u{f6}b"));
        for bad in [
            "a b", "a=b", "a+", "a+4", "+4g", "+3d", "+0A", "+0d", "+7F", "+C3+B6", "a\0", "\u{85}",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert_eq!(encode("a b+c=d"), "a+20b+2Bc+3Dd");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_again(text in "[ -~\u{e0}-\u{ff}]{0,60}") {
            let wire = encode(&text);
            prop_assert!(wire.bytes().all(|b| b != b' ' && b != b'='));
            prop_assert_eq!(decode(&wire), Some(text));
        }

        #[test]
        fn what_is_read_is_printable(text in "\\PC{0,60}|[+0-9A-F]{0,20}") {
            if let Some(plain) = decode(&text) {
                prop_assert!(!plain.chars().any(char::is_control), "{:?}", plain);
                prop_assert_eq!(decode(&encode(&plain)), Some(plain));
            }
        }
    }
}
