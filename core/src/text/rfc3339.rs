//! Moments as JSON files have them: `2027-01-31T12:00:00Z` (RFC 3339 §5.6), or the day alone.

use super::date::{civil_from_days, days_from_civil};
use crate::time::Unix;

const DAY: u64 = 86_400;
/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Reads `date-time` of RFC 3339 §5.6 from 1970 on, or `full-date`, which is the first moment of that day in UTC. A
/// fraction of a second is dropped, a leap second is the second before.
#[must_use]
pub fn parse(text: &str) -> Option<Unix> {
    let octets = text.as_bytes();
    let (date, time) = octets.split_at_checked(10)?;
    let day = full_date(date)?;
    let seconds = match time.split_first() {
        None => 0,
        Some((b'T' | b't' | b' ', time)) => full_time(time)?,
        Some(_) => return None,
    };
    let total = day.checked_mul(86_400)?.checked_add(seconds)?;
    u64::try_from(total)
        .ok()
        .filter(|secs| *secs <= LAST)
        .map(Unix::from_secs)
}

/// `date-time` in UTC, to the second. After the year 9999 its last second.
#[must_use]
pub fn print(unix: Unix) -> String {
    let secs = unix.secs().min(LAST);
    let (year, month, day) = civil_from_days(i64::try_from(secs / DAY).unwrap_or_default());
    let second = secs % DAY;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// `YYYY-MM-DD` as days since 1970.
fn full_date(octets: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = octets else {
        return None;
    };
    let year = number(&[y1, y2, y3, y4])?;
    let month = u8::try_from(number(&[m1, m2])?).ok()?;
    let day = u8::try_from(number(&[d1, d2])?).ok()?;
    let days = days_from_civil(year, month, day);
    // There is such a day if it comes out again.
    ((1..=12).contains(&month) && civil_from_days(days) == (year, month, day)).then_some(days)
}

/// `partial-time time-offset` as seconds since the day began in UTC.
fn full_time(octets: &[u8]) -> Option<i64> {
    let (&[h1, h2, b':', m1, m2, b':', s1, s2], rest) = octets.split_first_chunk::<8>()? else {
        return None;
    };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|octet| octet.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| digits > 0)?
        }
    };
    let east = match zone {
        b"Z" | b"z" => 0,
        &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[h1, h2])?, number(&[m1, m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    Some(hour * 3600 + minute * 60 + second.min(59) - east)
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, secs) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01Z", 1),
            ("2000-02-29t23:59:59.123z", 951_868_799),
            // RFC 3339 §5.8
            ("1985-04-12T23:20:50.52Z", 482_196_050),
            ("1996-12-19T16:39:57-08:00", 851_042_397),
            ("1990-12-31T23:59:60Z", 662_687_999),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            assert_eq!(parse(text), Some(Unix::from_secs(secs)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "1970",
            "1970-01-01T",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:00",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00+01:00",
            "1970-1-01",
            "1970-00-01",
            "1970-13-01",
            "2001-02-29",
            "+970-01-01",
            "1969-12-31",
            "1970-01-01x",
            "9999-12-31T23:59:59-00:01",
            "ü970-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read() {
        assert_eq!(print(Unix::from_secs(482_196_050)), "1985-04-12T23:20:50Z");
        for secs in [0, 59, 86_399, 951_782_400, 4_107_542_400, LAST] {
            let moment = Unix::from_secs(secs);
            assert_eq!(parse(&print(moment)), Some(moment));
        }
        assert_eq!(print(Unix::from_secs(u64::MAX)), "9999-12-31T23:59:59Z");
    }
}
