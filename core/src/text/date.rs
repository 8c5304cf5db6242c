//! Dates as mail writes them: IMAP's date-time and date (RFC 9051 §9), and the Date header field (RFC 5322 §3.3, §4.3).
//!
//! Years are 0 to 9999: four digits is what all these forms have.

use crate::time::DateTime;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const DAY: i64 = 86_400;
/// 0000-01-01 and 9999-12-31 as days since 1970.
const FIRST_DAY: i64 = -719_528;
const LAST_DAY: i64 = 2_932_896;

/// Days since 1970-01-01 of a date of the Gregorian calendar; the month is 1 to 12.
#[must_use]
pub fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    // Years begin in March, so that the leap day is the last; 400 years are an era of 146,097 days.
    let month = i64::from(month);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month (1 to 12) and day of a number of days since 1970-01-01, cut to the years 0 to 9999.
#[must_use]
pub fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days.clamp(FIRST_DAY, LAST_DAY) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |n: i64| u8::try_from(n).unwrap_or(1);
    (year, small(month), small(day))
}

/// Days since 1970 of the date that stands in it: zone disregarded, as SEARCH wants (RFC 9051 §6.4.4).
#[must_use]
pub fn local_day(date: DateTime) -> i64 {
    local_seconds(date).div_euclid(DAY)
}

/// Seconds since 1970 of the clock on the wall there, cut to the years 0 to 9999.
fn local_seconds(date: DateTime) -> i64 {
    date.unix
        .saturating_add(i64::from(date.zone) * 60)
        .clamp(FIRST_DAY * DAY, LAST_DAY * DAY + DAY - 1)
}

/// `date-time` without its quotes: `17-Jul-1996 02:44:25 -0700`, the day with a space or 0 before it when it has one
/// digit (RFC 9051 §9). `None` when it is not that, or there is no such day.
#[must_use]
pub fn parse_imap_date_time(octets: &[u8]) -> Option<DateTime> {
    let mut scan = Scan(octets);
    let day = if scan.eat(b' ') {
        scan.digits(1)?
    } else {
        scan.digits(2)?
    };
    let days = scan.rest_of_date(day)?;
    scan.eat(b' ').then_some(())?;
    let (hour, minute, second) = (scan.clock()?, scan.colon_clock()?, scan.colon_clock()?);
    scan.eat(b' ').then_some(())?;
    let zone = scan.numeric_zone()?;
    scan.0.is_empty().then_some(())?;
    assemble(days, (hour, minute, second), zone)
}

/// Appends `date-time` without quotes.
pub fn write_imap_date_time(out: &mut Vec<u8>, date: DateTime) {
    let local = local_seconds(date);
    let (year, month, day) = civil_from_days(local.div_euclid(DAY));
    if day < 10 {
        out.push(b' ');
        two(out, day, 1);
    } else {
        two(out, day, 2);
    }
    out.push(b'-');
    out.extend_from_slice(month_name(month));
    out.push(b'-');
    four(out, year);
    out.push(b' ');
    clock(out, local);
    out.push(b' ');
    zone(out, date.zone);
}

/// `date` without quotes, `1-Feb-1994`: days since 1970.
#[must_use]
pub fn parse_imap_date(octets: &[u8]) -> Option<i64> {
    let mut scan = Scan(octets);
    let day = scan.number(2)?;
    let days = scan.rest_of_date(day)?;
    scan.0.is_empty().then_some(days)
}

/// The body of a Date header field, taken tolerantly: comments and folding anywhere, no or a wrong day of the week, no
/// seconds, two-digit years, and the obsolete zones of RFC 5322 §4.3 (unknown ones count as -0000).
#[must_use]
pub fn parse_header_date(octets: &[u8]) -> Option<DateTime> {
    let (days, time) = read_header_date(octets)?;
    let (clock, zone) = time?;
    assemble(days, clock, zone)
}

/// The sent date (RFC 5256 §2.2): as [`parse_header_date`], but a date without a valid time is its first second in UTC.
#[must_use]
pub fn parse_sent_date(octets: &[u8]) -> Option<DateTime> {
    let (days, time) = read_header_date(octets)?;
    time.and_then(|(clock, zone)| assemble(days, clock, zone))
        .or_else(|| assemble(days, (0, 0, 0), 0))
}

/// Hour, minute and second.
type Clock = (u16, u16, u16);

/// Days since 1970, and time and zone if there are any.
fn read_header_date(octets: &[u8]) -> Option<(i64, Option<(Clock, i16)>)> {
    let plain = without_comments(octets);
    let mut scan = Scan(&plain);
    scan.blank();
    if scan.0.first().is_some_and(u8::is_ascii_alphabetic) {
        scan.letters();
        scan.blank();
        scan.eat(b',');
        scan.blank();
    }
    let day = scan.number(2)?;
    scan.blank();
    scan.eat(b'-');
    let month = month_number(scan.letters())?;
    scan.blank();
    scan.eat(b'-');
    let before = scan.0.len();
    let year = i64::from(scan.number(4)?);
    let year = match before - scan.0.len() {
        1 | 2 => year + if year < 50 { 2000 } else { 1900 },
        3 => year + 1900,
        _ => year,
    };
    let days = checked_date(year, month, day)?;
    Some((days, scan.time_and_zone()))
}

/// Appends a date as header fields have it: `Wed, 17 Jul 1996 02:44:25 -0700` (RFC 5322 §3.3).
pub fn write_header_date(out: &mut Vec<u8>, date: DateTime) {
    let local = local_seconds(date);
    let days = local.div_euclid(DAY);
    let weekday = usize::try_from(days.rem_euclid(7)).unwrap_or(0);
    out.extend_from_slice(WEEKDAYS.get(weekday).copied().unwrap_or(b"Thu"));
    out.extend_from_slice(b", ");
    let (year, month, day) = civil_from_days(days);
    two(out, day, 1);
    out.push(b' ');
    out.extend_from_slice(month_name(month));
    out.push(b' ');
    four(out, year);
    out.push(b' ');
    clock(out, local);
    out.push(b' ');
    zone(out, date.zone);
}

/// Octets not yet read.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn eat(&mut self, octet: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == octet => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn blank(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn run(&mut self, max: usize, keep: fn(&u8) -> bool) -> &'a [u8] {
        let len = self.0.iter().take(max).take_while(|octet| keep(octet)).count();
        let (run, rest) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        self.0 = rest;
        run
    }

    fn letters(&mut self) -> &'a [u8] {
        self.run(usize::MAX, u8::is_ascii_alphabetic)
    }

    /// One to `max` digits (at most four) that no further digit follows.
    fn number(&mut self, max: usize) -> Option<u16> {
        let run = self.run(max, u8::is_ascii_digit);
        let more = self.0.first().is_some_and(u8::is_ascii_digit);
        (!run.is_empty() && !more).then(|| {
            run.iter().fold(0, |sum: u16, digit| {
                sum.saturating_mul(10) + u16::from(digit - b'0')
            })
        })
    }

    /// Exactly `count` digits, whatever follows.
    fn digits(&mut self, count: usize) -> Option<u16> {
        let run = self.run(count, u8::is_ascii_digit);
        (run.len() == count).then(|| {
            run.iter().fold(0, |sum: u16, digit| {
                sum.saturating_mul(10) + u16::from(digit - b'0')
            })
        })
    }

    /// `-Jul-1996` behind the day: days since 1970.
    fn rest_of_date(&mut self, day: u16) -> Option<i64> {
        self.eat(b'-').then_some(())?;
        let month = month_number(self.run(3, u8::is_ascii_alphabetic))?;
        self.eat(b'-').then_some(())?;
        checked_date(i64::from(self.digits(4)?), month, day)
    }

    fn clock(&mut self) -> Option<u16> {
        self.digits(2)
    }

    fn colon_clock(&mut self) -> Option<u16> {
        self.eat(b':').then_some(())?;
        self.digits(2)
    }

    fn spaced_colon_number(&mut self) -> Option<u16> {
        self.blank();
        self.eat(b':').then_some(())?;
        self.blank();
        self.number(2)
    }

    /// What follows a date in a header field.
    fn time_and_zone(&mut self) -> Option<(Clock, i16)> {
        self.blank();
        let hour = self.number(2)?;
        let minute = self.spaced_colon_number()?;
        let second = self.spaced_colon_number().unwrap_or(0);
        self.blank();
        let zone = match self.0.first() {
            Some(b'+' | b'-') => self.numeric_zone().unwrap_or(0),
            _ => named_zone(self.letters()),
        };
        Some(((hour, minute, second), zone))
    }

    /// `+hhmm`, `-hhmm`: minutes east.
    fn numeric_zone(&mut self) -> Option<i16> {
        let west = self.eat(b'-');
        (west || self.eat(b'+')).then_some(())?;
        let (hours, minutes) = (self.digits(2)?, self.digits(2)?);
        (hours < 24 && minutes < 60).then_some(())?;
        let zone = i16::try_from(hours * 60 + minutes).ok()?;
        Some(if west { -zone } else { zone })
    }
}

/// Days since 1970, if there is such a day.
fn checked_date(year: i64, month: u8, day: u16) -> Option<i64> {
    let day = u8::try_from(day).ok()?;
    let days = days_from_civil(year, month, day);
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

/// With a clock (a leap second counts as the first of the next minute) and a zone.
fn assemble(days: i64, (hour, minute, second): Clock, zone: i16) -> Option<DateTime> {
    (hour < 24 && minute < 60 && second <= 60).then(|| DateTime {
        unix: days * DAY + i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second)
            - i64::from(zone) * 60,
        zone,
    })
}

fn month_number(name: &[u8]) -> Option<u8> {
    // "June" and "Sept" are seen in the wild.
    let name = name.get(..3)?;
    let at = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    u8::try_from(at + 1).ok()
}

fn month_name(month: u8) -> &'static [u8] {
    MONTHS
        .get(usize::from(month).saturating_sub(1))
        .map_or(b"Jan", |name| name.as_slice())
}

/// `obs-zone` (RFC 5322 §4.3).
fn named_zone(name: &[u8]) -> i16 {
    const ZONES: [(&[u8], i16); 8] = [
        (b"EST", -300),
        (b"EDT", -240),
        (b"CST", -360),
        (b"CDT", -300),
        (b"MST", -420),
        (b"MDT", -360),
        (b"PST", -480),
        (b"PDT", -420),
    ];
    ZONES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map_or(0, |(_, zone)| *zone)
}

/// Comments become spaces; they nest and have quoted pairs (RFC 5322 §3.2.2). One that is not closed goes to the end.
fn without_comments(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut depth = 0_usize;
    let mut octets = octets.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'(' => depth += 1,
            b')' if depth > 0 => {
                depth -= 1;
                out.push(b' ');
            }
            b'\\' if depth > 0 => {
                octets.next();
            }
            _ if depth > 0 => {}
            octet => out.push(*octet),
        }
    }
    out
}

/// A number below 100 with at least `width` digits.
fn two(out: &mut Vec<u8>, number: u8, width: usize) {
    if width > 1 || number > 9 {
        out.push(b'0' + number / 10 % 10);
    }
    out.push(b'0' + number % 10);
}

fn four(out: &mut Vec<u8>, year: i64) {
    let half = |n: i64| u8::try_from(n.rem_euclid(100)).unwrap_or(0);
    two(out, half(year / 100), 2);
    two(out, half(year), 2);
}

fn clock(out: &mut Vec<u8>, local: i64) {
    let second = local.rem_euclid(DAY);
    let part = |n: i64| u8::try_from(n).unwrap_or(0);
    two(out, part(second / 3_600), 2);
    out.push(b':');
    two(out, part(second / 60 % 60), 2);
    out.push(b':');
    two(out, part(second % 60), 2);
}

fn zone(out: &mut Vec<u8>, zone: i16) {
    out.push(if zone < 0 { b'-' } else { b'+' });
    let minutes = zone.unsigned_abs().min(1_439);
    let part = |n: u16| u8::try_from(n).unwrap_or(0);
    two(out, part(minutes / 60), 2);
    two(out, part(minutes % 60), 2);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn imap(date: DateTime) -> String {
        let mut out = Vec::new();
        write_imap_date_time(&mut out, date);
        String::from_utf8(out).expect("ASCII")
    }

    fn header(date: DateTime) -> String {
        let mut out = Vec::new();
        write_header_date(&mut out, date);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn imap_date_times() {
        let date = DateTime {
            unix: 837_596_665,
            zone: -420,
        };
        assert_eq!(parse_imap_date_time(b"17-Jul-1996 02:44:25 -0700"), Some(date));
        assert_eq!(imap(date), "17-Jul-1996 02:44:25 -0700");
        assert_eq!(header(date), "Wed, 17 Jul 1996 02:44:25 -0700");
        let early = DateTime {
            unix: 5 * DAY - DAY,
            zone: 0,
        };
        assert_eq!(imap(early), " 5-Jan-1970 00:00:00 +0000");
        for text in [" 5-Jan-1970 00:00:00 +0000", "05-jan-1970 00:00:00 -0000"] {
            assert_eq!(parse_imap_date_time(text.as_bytes()), Some(early), "{text}");
        }
        for bad in [
            "",
            "5-Jan-1970 00:00:00 +0000",
            "31-Feb-1996 00:00:00 +0000",
            "29-Feb-1900 00:00:00 +0000",
            "00-Jan-1996 00:00:00 +0000",
            "17-Jul-96 02:44:25 -0700",
            "17-Jul-1996 24:00:00 +0000",
            "17-Jul-1996 00:60:00 +0000",
            "17-Jul-1996 00:00:61 +0000",
            "17-Jul-1996 00:00:00 +2400",
            "17-Jul-1996 00:00:00 +0060",
            "17-Jul-1996 00:00:00 0000",
            "17-Jul-1996 00:00:00 +0000 ",
            "17-Jul-1996 +0:00:00 +0000",
            "17-Foo-1996 00:00:00 +0000",
        ] {
            assert_eq!(parse_imap_date_time(bad.as_bytes()), None, "{bad:?}");
        }
        assert!(parse_imap_date_time(b"29-Feb-2000 23:59:60 +2359").is_some());
    }

    #[test]
    fn imap_dates() {
        assert_eq!(parse_imap_date(b"1-Jan-1970"), Some(0));
        assert_eq!(parse_imap_date(b"01-Feb-1994"), Some(8_797));
        assert_eq!(parse_imap_date(b"1-feb-1994"), Some(8_797));
        for bad in [
            "",
            "1-Feb-94",
            "001-Feb-1994",
            " 1-Feb-1994",
            "1 Feb 1994",
            "1-Feb-1994 ",
            "32-Jan-1994",
        ] {
            assert_eq!(parse_imap_date(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn header_dates_are_taken_tolerantly() {
        let date = |text: &str| parse_header_date(text.as_bytes()).map(imap);
        for (text, want) in [
            ("Fri, 21 Nov 1997 09:55:06 -0600", "21-Nov-1997 09:55:06 -0600"),
            (
                "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)",
                "13-Feb-1969 23:32:00 -0330",
            ),
            ("21 Nov 97 09:55:06 GMT", "21-Nov-1997 09:55:06 +0000"),
            (
                "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600",
                "21-Nov-1997 09:55:06 -0600",
            ),
            ("1 Jan 100 0:0:0 EST", " 1-Jan-2000 00:00:00 -0500"),
            ("1 Jan 49 00:00 pdt", " 1-Jan-2049 00:00:00 -0700"),
            ("Mon 1 January 2024 10:11:12 Z", " 1-Jan-2024 10:11:12 +0000"),
            ("1-Jan-2024 10:11:12 +0100", " 1-Jan-2024 10:11:12 +0100"),
            ("Tue, 1 Jan 2019 10:11:12", " 1-Jan-2019 10:11:12 +0000"),
            (
                "(a (nested \\) comment)) 1 Jan 2019 10:11:12 +0000",
                " 1-Jan-2019 10:11:12 +0000",
            ),
        ] {
            assert_eq!(date(text).as_deref(), Some(want), "{text:?}");
        }
        for bad in [
            "",
            "yesterday",
            "1 Foo 2000 00:00 +0000",
            "32 Jan 2000 00:00 +0000",
            "1 Jan 2000",
            "1 Jan 20000 00:00 +0000",
        ] {
            assert_eq!(date(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_ends_of_time_print() {
        for unix in [i64::MIN, i64::MAX] {
            assert_eq!(imap(DateTime { unix, zone: 1_439 }).len(), 26);
            assert!(header(DateTime { unix, zone: -1_439 }).len() >= 30);
        }
        assert_eq!(civil_from_days(FIRST_DAY), (0, 1, 1));
        assert_eq!(civil_from_days(LAST_DAY), (9999, 12, 31));
        assert_eq!(days_from_civil(0, 1, 1), FIRST_DAY);
        assert_eq!(days_from_civil(9999, 12, 31), LAST_DAY);
    }

    proptest! {
        #[test]
        fn reading_undoes_printing(unix in (FIRST_DAY + 1) * DAY..LAST_DAY * DAY, zone in -1_439_i16..=1_439) {
            let date = DateTime { unix, zone };
            prop_assert_eq!(parse_imap_date_time(imap(date).as_bytes()), Some(date));
            prop_assert_eq!(parse_header_date(header(date).as_bytes()), Some(date));
        }

        #[test]
        fn days_and_dates_are_one_to_one(days in FIRST_DAY..=LAST_DAY) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
        }

        #[test]
        fn no_octets_are_too_strange(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (parse_header_date(&octets), parse_imap_date(&octets), parse_imap_date_time(&octets));
        }
    }
}
