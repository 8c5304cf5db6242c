//! IMAP strings in FETCH data (RFC 3501 §9, string, nstring): what every client of either revision reads.

/// Longest string that is quoted; a longer one is a literal, so that lines stay short.
const MAX_QUOTED: usize = 1_000;

/// Writes a string: quoted, or a literal if it holds CR, LF or 8-bit octets (IMAP4rev1 has no other form for them).
/// NUL, which neither form can hold, is left out.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    let plain = |octet: &u8| matches!(octet, 1..=0x7f) && !matches!(octet, b'\r' | b'\n');
    if text.len() <= MAX_QUOTED && text.iter().all(plain) {
        out.push(b'"');
        for octet in text {
            if matches!(octet, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*octet);
        }
        out.push(b'"');
        return;
    }
    let len = text.len() - memchr::memchr_iter(0, text).count();
    out.push(b'{');
    number(out, len as u64);
    out.extend_from_slice(b"}\r\n");
    out.extend(text.iter().filter(|octet| **octet != 0));
}

/// Writes a string, or NIL for none.
pub(crate) fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes a number.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut rest = number;
    let mut len = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        len += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(digits.len() - len));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        string(&mut out, text);
        out
    }

    #[test]
    fn quoted_or_literal() {
        assert_eq!(written(b""), b"\"\"");
        assert_eq!(written(b"a \"b\" \\"), b"\"a \\\"b\\\" \\\\\"");
        assert_eq!(written("ä".as_bytes()), b"{2}\r\n\xc3\xa4");
        assert_eq!(written(b"a\r\nb"), b"{4}\r\na\r\nb");
        assert_eq!(written(b"a\0b"), b"{2}\r\nab");
        assert_eq!(written(&[b'x'; 1_001])[..8], *b"{1001}\r\n");
    }

    #[test]
    fn numbers() {
        for n in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            assert_eq!(out, n.to_string().into_bytes());
        }
    }
}
