//! What single fields hold.

use crate::text::date::parse_header_date;

/// Whether there is nothing in a field but white space.
pub(super) fn is_blank(value: &[u8]) -> bool {
    value.trim_ascii().is_empty()
}

/// Whether a reader can make a date of it (RFC 5322 §3.3, and the obsolete forms).
pub(super) fn is_date(value: &[u8]) -> bool {
    parse_header_date(value.trim_ascii()).is_some()
}

/// `msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]` (RFC 5322 §3.6.4), as tolerantly as it can be found by others.
pub(super) fn is_message_id(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    if value.contains(&b'(') {
        // Comments: rare, and not worth a second reading of the grammar.
        return value.contains(&b'<') && value.contains(&b'>');
    }
    let inner = value
        .strip_prefix(b"<")
        .and_then(|value| value.strip_suffix(b">"))
        .unwrap_or_default();
    let at = inner.iter().rposition(|&octet| octet == b'@');
    at.is_some_and(|at| at > 0 && at + 1 < inner.len())
        && !inner
            .iter()
            .any(|octet| octet.is_ascii_whitespace() || octet.is_ascii_control() || b"<>".contains(octet))
}

/// Whether a Received field was written by the host of this name: `"by" FWS Extended-Domain` (RFC 5321 §4.4). What
/// stands in comments does not count.
pub(super) fn is_received_by(value: &[u8], hostname: &str) -> bool {
    let mut words = Words(value);
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"from") {
            // A client may call itself `by`.
            words.next();
        } else if word.eq_ignore_ascii_case(b"by") {
            let host = words.next().unwrap_or_default();
            let host = host.strip_suffix(b".").unwrap_or(host);
            return host.eq_ignore_ascii_case(hostname.as_bytes());
        }
    }
    false
}

/// Words between white space, comments and `;`.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut depth = 0_usize;
        let mut escaped = false;
        let inside = |octet: u8| !octet.is_ascii_whitespace() && !b"();".contains(&octet);
        while let Some((&octet, rest)) = self.0.split_first() {
            match octet {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                octet if depth == 0 && inside(octet) => {
                    let len = self.0.iter().take_while(|&&octet| inside(octet)).count();
                    let (word, rest) = self.0.split_at(len);
                    self.0 = rest;
                    return Some(word);
                }
                _ => {}
            }
            self.0 = rest;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_what_says_by_us() {
        let ours = |value: &str| is_received_by(value.as_bytes(), "mail.demo.test");
        for value in [
            " from a.b ([192.0.2.1])\r\n by mail.demo.test (rmail) with ESMTP\r\n id x; date",
            " by Mail.Demo.Test with LMTP id x; date",
            " from by (x (y) \\( z) by mail.demo.test.; date",
            " from x by mail.demo.test;date",
        ] {
            assert!(ours(value), "{value}");
        }
        for value in [
            "",
            " from mail.demo.test by other.test",
            " from x (by mail.demo.test) by other.test",
            " from x by mail.demo.test.evil.test",
            " from x by",
            " from by mail.demo.test by other.test (mail.demo.test)",
            " from x ((((by mail.demo.test",
        ] {
            assert!(!ours(value), "{value}");
        }
    }

    #[test]
    fn message_ids_have_two_sides() {
        for good in [
            " <a@b>\r\n",
            "<a.b@c.d>",
            "<a@[1.2.3.4]>",
            "<\"a@b\"@c>",
            " (x) <a@b>",
            "<ü@b>",
        ] {
            assert!(is_message_id(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            " ",
            "a@b",
            "<>",
            "<a>",
            "<@b>",
            "<a@>",
            "<a b@c>",
            "<a@b",
            "<a@b> <c@d>",
            "(x)",
        ] {
            assert!(!is_message_id(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn dates_are_read_as_tolerantly_as_elsewhere() {
        assert!(is_date(b" Thu, 1 Jan 1970 00:00:00 +0000\r\n"));
        assert!(is_date(b" 1 Jan 70 00:00 GMT"));
        for bad in [&b""[..], b" \r\n", b" tomorrow", b" 0000-00-00"] {
            assert!(!is_date(bad), "{}", bad.escape_ascii());
        }
    }
}
