//! Dates as files have them.

use rmail_core::text::date::{civil_from_days, days_from_civil, parse_imap_date_time};
use rmail_core::time::DateTime;

use super::number;

const DAY: i64 = 86_400;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Our own form, which loses nothing: seconds since 1970 and minutes east, `837596665-420`.
#[must_use]
pub fn encode(date: DateTime) -> String {
    format!("{}{:+}", date.unix, date.zone)
}

/// Reads [`encode`]'s form.
#[must_use]
pub fn decode(text: &str) -> Option<DateTime> {
    let at = text.rfind(['+', '-'])?;
    let (unix, zone) = text.split_at_checked(at)?;
    let digits = number(zone.get(1..)?)?;
    let minutes = i16::try_from(digits).ok().filter(|minutes| *minutes < 1_440)?;
    let date = DateTime {
        unix: unix.parse().ok()?,
        zone: if zone.starts_with('-') { -minutes } else { minutes },
    };
    (encode(date) == text).then_some(date)
}

/// The date of an mbox's From_ line (asctime(3), UTC): `Thu Jul 17 09:44:25 1996`. Years are 0 to 9999.
#[must_use]
pub fn asctime(unix: i64) -> String {
    let days = unix.div_euclid(DAY);
    let (year, month, day) = civil_from_days(days);
    let second = unix.rem_euclid(DAY);
    let weekday = usize::try_from(days.rem_euclid(7)).unwrap_or(0);
    let name = |names: &[&'static str], at: usize| names.get(at).copied().unwrap_or("Jan");
    format!(
        "{} {} {day:2} {:02}:{:02}:{:02} {year:04}",
        name(&WEEKDAYS, weekday),
        name(&MONTHS, usize::from(month).saturating_sub(1)),
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

/// The date in a From_ line, wherever it begins: month, day, time, then the year, and a zone before or after it. UTC
/// where none is given. `None`: there is none, so the line is none either.
#[must_use]
pub fn from_line(line: &str) -> Option<DateTime> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let at = words.iter().rposition(|word| clock(word).is_some())?;
    let time = clock(words.get(at)?)?;
    let month = month(words.get(at.checked_sub(2)?)?)?;
    let day = number(words.get(at.checked_sub(1)?)?)?;
    let after = words.get(at + 1..)?;
    let year = after
        .iter()
        .find_map(|word| number(word).filter(|_| word.len() == 4))?;
    let zone = after.iter().find_map(|word| zone(word)).unwrap_or(0);
    assemble((year, month, day), time, zone)
}

/// RFC 3339 §5.6 (also with a space for the `T`, without seconds, without a zone, which is then UTC), IMAP's date-time, or
/// seconds since 1970 with or without a fraction.
#[must_use]
pub fn of_any_form(text: &str) -> Option<DateTime> {
    let text = text.trim();
    parse_imap_date_time(text.as_bytes())
        .or_else(|| parse_imap_date_time(format!(" {text}").as_bytes()))
        .or_else(|| rfc3339(text))
        .or_else(|| {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let unix = whole.parse().ok()?;
            number(fraction).map(|_| DateTime { unix, zone: 0 })
        })
}

fn rfc3339(text: &str) -> Option<DateTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let mut part = |width: usize| parts.next().filter(|part| part.len() == width).and_then(number);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let rest = rest.strip_prefix(['T', 't', ' ', '_'])?;
    let at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, offset) = rest.split_at_checked(at)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    number(fraction)?;
    let zone = match offset {
        "" | "Z" | "z" => 0,
        offset => zone(&offset.replace(':', ""))?,
    };
    assemble((year, u8::try_from(month).ok()?, day), clock(time)?, zone)
}

/// `hh:mm` or `hh:mm:ss`.
fn clock(word: &str) -> Option<i64> {
    let mut parts = word.split(':');
    let mut part = |max: u64| {
        let part = parts.next()?;
        number(part).filter(|value| part.len() <= 2 && *value <= max)
    };
    let (hour, minute) = (part(23)?, part(59)?);
    let second = match word.matches(':').count() {
        1 => 0,
        2 => part(60)?,
        _ => return None,
    };
    i64::try_from(hour * 3_600 + minute * 60 + second).ok()
}

fn month(word: &str) -> Option<u8> {
    let at = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(word))?;
    u8::try_from(at + 1).ok()
}

/// `+hhmm`, `-hhmm`.
fn zone(word: &str) -> Option<i16> {
    let digits = word.strip_prefix(['+', '-']).filter(|digits| digits.len() == 4)?;
    let value = number(digits)?;
    let minutes = i16::try_from(value / 100 * 60 + value % 100).ok()?;
    let valid = minutes < 1_440 && value % 100 < 60;
    valid.then_some(if word.starts_with('-') { -minutes } else { minutes })
}

fn assemble((year, month, day): (u64, u8, u64), time: i64, zone: i16) -> Option<DateTime> {
    let (year, day) = (i64::try_from(year).ok()?, u8::try_from(day).ok()?);
    let days = days_from_civil(year, month, day);
    let valid = (1..=12).contains(&month) && civil_from_days(days) == (year, month, day);
    valid.then(|| DateTime {
        unix: days * DAY + time - i64::from(zone) * 60,
        zone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATE: i64 = 837_596_665;

    #[test]
    fn from_lines_of_many_kinds() {
        assert_eq!(asctime(DATE), "Wed Jul 17 09:44:25 1996");
        for (line, unix, zone) in [
            ("MAILER-DAEMON Wed Jul 17 09:44:25 1996", DATE, 0),
            ("a@b.c  Wed Jul 17 02:44:25 1996 -0700", DATE, -420),
            ("a@b.c Wed Jul 17 02:44:25 -0700 1996", DATE, -420),
            ("a@b.c Wed Jul 17 09:44 GMT 1996", DATE - 25, 0),
            ("\"x y\"@b.c Thu Jan  1 00:00:00 1970", 0, 0),
        ] {
            assert_eq!(from_line(line), Some(DateTime { unix, zone }), "{line}");
        }
        for other in [
            "",
            "here to there",
            "now on at 12:30",
            "Jul 41 09:44:25 1996",
            "Jul 17 09:44:25 96",
        ] {
            assert_eq!(from_line(other), None, "{other}");
        }
    }

    #[test]
    fn dates_of_index_files() {
        for (text, unix, zone) in [
            ("1996-07-17T02:44:25-07:00", DATE, -420),
            ("1996-07-17T09:44:25.123456+00:00", DATE, 0),
            ("1996-07-17 09:44:25", DATE, 0),
            ("1996-07-17T09:44Z", DATE - 25, 0),
            ("17-Jul-1996 02:44:25 -0700", DATE, -420),
            ("7-Jul-1996 02:44:25 +0000", 836_707_465, 0),
            ("837596665", DATE, 0),
            ("837596665.75", DATE, 0),
            ("-1", -1, 0),
        ] {
            assert_eq!(of_any_form(text), Some(DateTime { unix, zone }), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "1996-07-17",
            "1996-13-17T00:00:00Z",
            "1996-07-17T00:00:00+2400",
            "1.x",
        ] {
            assert_eq!(of_any_form(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn our_own_form_comes_back(unix in any::<i64>(), zone in -1_439_i16..1_440) {
            let date = DateTime { unix, zone };
            prop_assert_eq!(decode(&encode(date)), Some(date));
        }

        #[test]
        fn asctime_comes_back(unix in -60_000_000_000_i64..250_000_000_000) {
            prop_assert_eq!(from_line(&asctime(unix)), Some(DateTime { unix, zone: 0 }));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,40}|[-+0-9:T. JanFeb]{0,40}") {
            let _ = (from_line(&text), of_any_form(&text), decode(&text));
        }
    }
}
