//! The head of a response on the wire (RFC 9112 §4, §5).

use super::response::{Response, reason};
use crate::text::date::civil_from_days;
use crate::time::Unix;

/// How the client knows where the body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There can be none: 204, 304.
    NoBody,
    /// After so many octets.
    Counted(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    Closed,
}

/// Everything up to the empty line.
pub(super) fn head(response: &Response, end: End, connection: Option<&str>, date: Option<Unix>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    number(&mut out, u64::from(response.status));
    out.push(b' ');
    out.extend_from_slice(reason(response.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(date) = date {
        out.extend_from_slice(b"Date: ");
        write_date(&mut out, date);
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in &response.fields {
        field(&mut out, name, value);
    }
    match end {
        End::NoBody | End::Closed => {}
        End::Counted(octets) => {
            out.extend_from_slice(b"Content-Length: ");
            number(&mut out, octets);
            out.extend_from_slice(b"\r\n");
        }
        End::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if let Some(connection) = connection {
        field(&mut out, "Connection", connection);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// A field line. What would end it early becomes a space (RFC 9112 §11.1): whoever makes the value is to see to it, but
/// nobody is to depend on that.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    if value.bytes().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
        out.extend(value.bytes().map(|octet| match octet {
            b'\r' | b'\n' | 0 => b' ',
            octet => octet,
        }));
    } else {
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// A chunk (RFC 9112 §7.1): none for no octets, for that would be the last.
pub(super) fn chunk(octets: &[u8]) -> Vec<u8> {
    if octets.is_empty() {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(octets.len() + 20);
    out.extend_from_slice(format!("{:x}\r\n", octets.len()).as_bytes());
    out.extend_from_slice(octets);
    out.extend_from_slice(b"\r\n");
    out
}

/// The last chunk, and no trailer.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn write_date(out: &mut Vec<u8>, unix: Unix) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, second) = (unix.secs() / 86_400, unix.secs() % 86_400);
    let (year, month, day) = civil_from_days(i64::try_from(days).unwrap_or(i64::MAX));
    let name = |names: &'static [&'static str], at: u64| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        names.get(at).copied().unwrap_or_default().as_bytes()
    };
    out.extend_from_slice(name(&DAYS, days % 7));
    out.extend_from_slice(b", ");
    two(out, u64::from(day));
    out.push(b' ');
    out.extend_from_slice(name(&MONTHS, u64::from(month).saturating_sub(1)));
    out.push(b' ');
    let year = u64::try_from(year).unwrap_or(0);
    two(out, year / 100);
    two(out, year % 100);
    out.push(b' ');
    two(out, second / 3600);
    out.push(b':');
    two(out, second / 60 % 60);
    out.push(b':');
    two(out, second % 60);
    out.extend_from_slice(b" GMT");
}

fn two(out: &mut Vec<u8>, number: u64) {
    let digit = |digit: u64| b'0' + u8::try_from(digit % 10).unwrap_or(0);
    out.extend([digit(number / 10), digit(number)]);
}

fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut left, mut count) = (number, 0);
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        count += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_fixed_in_form() {
        for (secs, date) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            let mut out = Vec::new();
            write_date(&mut out, Unix::from_secs(secs));
            assert_eq!(String::from_utf8(out).as_deref(), Ok(date));
        }
    }

    #[test]
    fn no_value_ends_its_field() {
        let response = Response::empty(200).with("X", "a\r\nSet-Cookie: b\0");
        let head = head(&response, End::Counted(0), Some("close"), None);
        let expected =
            "HTTP/1.1 200 OK\r\nX: a  Set-Cookie: b \r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), expected);
    }

    #[test]
    fn numbers_are_written_whole() {
        for n in [0, 7, 10, 1234, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            assert_eq!(String::from_utf8(out), Ok(n.to_string()));
        }
        assert_eq!(chunk(b"0123456789"), b"a\r\n0123456789\r\n");
        assert!(chunk(b"").is_empty());
    }
}
