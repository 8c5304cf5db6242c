//! What we write at the front of a message: Return-Path, Delivered-To, Received (RFC 5321 §4.4), with its date and id.

use core::net::IpAddr;

use crate::addr::{Domain, ForwardPath, ReversePath};
use crate::machine::TlsInfo;
use crate::random::Random;
use crate::time::Unix;

/// Letters of ids, in ASCII order, so that ids sort by time. No case, no punctuation: an id becomes a file name.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Letters of an id that tell the second: 35 bits, until the year 3058.
const TIME_LETTERS: u32 = 7;

/// Letters of an id that are drawn: 80 bits, not to be guessed.
const RANDOM_LETTERS: usize = 16;

/// How a message came in: what Received tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    /// Our name.
    pub(super) hostname: &'a str,
    /// The peer.
    pub(super) peer: IpAddr,
    /// The name of its address, if it was looked up and has that address.
    pub(super) peer_name: Option<&'a Domain>,
    /// What it called itself.
    pub(super) helo: &'a Domain,
    /// By EHLO, not HELO.
    pub(super) extended: bool,
    /// By LHLO.
    pub(super) lmtp: bool,
    /// Not by SMTP but by HTTP; whether that was encrypted.
    pub(super) http: Option<bool>,
    /// TLS, if any.
    pub(super) tls: Option<&'a TlsInfo>,
    /// The client has logged in.
    pub(super) authenticated: bool,
    /// The message's id.
    pub(super) id: &'a str,
    /// SMTPUTF8 (RFC 6531 §4.3).
    pub(super) utf8: bool,
    /// MT-PRIORITY= as granted (RFC 6710 §4.1); 0 is not told.
    pub(super) priority: i8,
    /// The recipient, if it is the only one: with several, one would learn of another.
    pub(super) only: Option<&'a ForwardPath>,
    /// When.
    pub(super) now: Unix,
}

/// An id for a message: unguessable, of letters and digits.
pub(super) fn message_id(random: &mut Random, now: Unix) -> String {
    let letter = |bits: u64| char::from(LETTERS.get((bits & 31) as usize).copied().unwrap_or(b'0'));
    let mut id = String::with_capacity(TIME_LETTERS as usize + RANDOM_LETTERS);
    for place in (0..TIME_LETTERS).rev() {
        id.push(letter(now.secs() >> (5 * place)));
    }
    let mut drawn = [0; RANDOM_LETTERS];
    random.fill(&mut drawn);
    id.extend(drawn.map(|octet| letter(u64::from(octet))));
    id
}

/// `Return-Path: <…>` (RFC 5321 §4.4).
pub(super) fn return_path(path: &ReversePath) -> String {
    format!("Return-Path: {path}\r\n")
}

/// `Delivered-To: …` (RFC 9228).
pub(super) fn delivered_to(path: &ForwardPath, hostname: &str) -> String {
    match path {
        ForwardPath::Postmaster => format!("Delivered-To: postmaster@{hostname}\r\n"),
        ForwardPath::Address(address) => format!("Delivered-To: {address}\r\n"),
    }
}

/// `Time-stamp-line` (RFC 5321 §4.4), each clause on a line of its own.
pub(super) fn received(arrival: &Arrival<'_>) -> String {
    let mut field = format!(
        "Received: from {} ({}{}{})\r\n by {} (rmail) with {}",
        arrival.helo,
        arrival.peer_name.map_or("", Domain::as_str),
        if arrival.peer_name.is_some() { " " } else { "" },
        Domain::literal(arrival.peer),
        arrival.hostname,
        protocol(arrival)
    );
    if let Some(tls) = arrival.tls {
        let cipher: String = tls
            .cipher
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-')
            .take(64)
            .collect();
        field.push_str("\r\n (");
        field.push_str(version_name(tls.version));
        if !cipher.is_empty() {
            field.push(' ');
            field.push_str(&cipher);
        }
        field.push(')');
    }
    field.push_str("\r\n id ");
    field.push_str(arrival.id);
    match arrival.only {
        Some(ForwardPath::Postmaster) => {
            field.push_str("\r\n for <postmaster@");
            field.push_str(arrival.hostname);
            field.push('>');
        }
        Some(ForwardPath::Address(address)) => {
            field.push_str("\r\n for <");
            field.push_str(&address.to_string());
            field.push('>');
        }
        None => {}
    }
    if arrival.priority != 0 {
        field.push_str("\r\n PRIORITY ");
        field.push_str(&arrival.priority.to_string());
    }
    field.push_str(";\r\n ");
    field.push_str(&date(arrival.now));
    field.push_str("\r\n");
    field
}

/// The name of a TLS version.
pub(super) const fn version_name(version: u16) -> &'static str {
    match version {
        0x0303 => "TLSv1.2",
        0x0304 => "TLSv1.3",
        _ => "TLS",
    }
}

/// `With` of RFC 3848 and RFC 6531 §4.3.
const fn protocol(arrival: &Arrival<'_>) -> &'static str {
    match arrival.http {
        Some(true) => return "HTTPS",
        Some(false) => return "HTTP",
        None => {}
    }
    if arrival.lmtp {
        // There is no AUTH.
        return match (arrival.utf8, arrival.tls.is_some()) {
            (false, false) => "LMTP",
            (false, true) => "LMTPS",
            (true, false) => "UTF8LMTP",
            (true, true) => "UTF8LMTPS",
        };
    }
    match (arrival.extended, arrival.tls.is_some(), arrival.authenticated) {
        (_, false, false) if arrival.utf8 => "UTF8SMTP",
        (_, true, false) if arrival.utf8 => "UTF8SMTPS",
        (_, false, true) if arrival.utf8 => "UTF8SMTPA",
        (_, true, true) if arrival.utf8 => "UTF8SMTPSA",
        (false, ..) => "SMTP",
        (true, false, false) => "ESMTP",
        (true, true, false) => "ESMTPS",
        (true, false, true) => "ESMTPA",
        (true, true, true) => "ESMTPSA",
    }
}

/// `date-time` (RFC 5322 §3.3) in UTC. Years stay below 10000, as the syntax wants it.
pub(super) fn date(unix: Unix) -> String {
    const LAST: u64 = 253_402_300_799;
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let secs = unix.secs().min(LAST);
    let (days, second) = (secs / 86_400, secs % 86_400);
    let weekday = DAYS.get((days % 7) as usize).copied().unwrap_or_default();
    let (year, month, day) = civil(days);
    let month = MONTHS.get(month).copied().unwrap_or_default();
    format!(
        "{weekday}, {day} {month} {year:04} {:02}:{:02}:{:02} +0000",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month from 0, and day from 1 of a day counted from 1970-01-01, in years that begin in March, where the leap
/// day is the last.
const fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = year_of_era + era * 400 + if month < 2 { 1 } else { 0 };
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 +0000"),
            (951_868_800, "Wed, 1 Mar 2000 00:00:00 +0000"),
            (1_000_000_000, "Sun, 9 Sep 2001 01:46:40 +0000"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 +0000"),
        ] {
            assert_eq!(date(Unix::from_secs(secs)), text);
        }
    }

    #[test]
    fn ids_are_names_that_sort_by_time() {
        let mut random = Random::from_seed([7; 32]);
        let early = message_id(&mut random, Unix::from_secs(1_700_000_000));
        let other = message_id(&mut random, Unix::from_secs(1_700_000_000));
        let late = message_id(&mut random, Unix::from_secs(1_700_000_001));
        assert_eq!(early.len(), 23);
        assert!(
            early
                .bytes()
                .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        );
        assert_ne!(early, other);
        assert!(early < late && other < late);
    }

    #[test]
    fn received_tells_how_it_came() {
        let helo = Domain::parse("client.example").expect("good");
        let to = ForwardPath::Address(Address::parse("bob@demo.test").expect("good"));
        let tls = TlsInfo {
            version: 0x0304,
            cipher: "TLS13_AES_256_GCM_SHA384".into(),
            ..TlsInfo::default()
        };
        let mut arrival = Arrival {
            hostname: "mail.demo.test",
            peer: IpAddr::from([192, 0, 2, 1]),
            peer_name: None,
            helo: &helo,
            extended: true,
            lmtp: false,
            http: None,
            tls: Some(&tls),
            authenticated: true,
            id: "0abc",
            utf8: false,
            priority: 0,
            only: Some(&to),
            now: Unix::from_secs(0),
        };
        assert_eq!(
            received(&arrival),
            "Received: from client.example ([192.0.2.1])\r\n by mail.demo.test (rmail) with ESMTPSA\r\n \
             (TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n id 0abc\r\n for <bob@demo.test>;\r\n \
             Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        arrival.tls = None;
        arrival.authenticated = false;
        arrival.only = None;
        arrival.peer = "::ffff:192.0.2.9".parse().expect("good");
        assert_eq!(
            received(&arrival),
            "Received: from client.example ([192.0.2.9])\r\n by mail.demo.test (rmail) with ESMTP\r\n id \
             0abc;\r\n Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        (arrival.utf8, arrival.priority) = (true, -3);
        assert!(received(&arrival).contains(" with UTF8SMTP\r\n id 0abc\r\n PRIORITY -3;\r\n"));
        (arrival.utf8, arrival.priority) = (false, 0);
        arrival.extended = false;
        arrival.peer = "2001:db8::1".parse().expect("good");
        assert!(received(&arrival).starts_with("Received: from client.example ([IPv6:2001:db8::1])"));
        assert!(received(&arrival).contains(" with SMTP\r\n"));
        let name = Domain::parse("mx.example.net").expect("good");
        arrival.peer_name = Some(&name);
        assert!(
            received(&arrival)
                .starts_with("Received: from client.example (mx.example.net [IPv6:2001:db8::1])")
        );
        arrival.lmtp = true;
        assert!(received(&arrival).contains(" with LMTP\r\n"));
        assert_eq!(
            delivered_to(&ForwardPath::Postmaster, "h.x"),
            "Delivered-To: postmaster@h.x\r\n"
        );
        assert_eq!(return_path(&ReversePath::Null), "Return-Path: <>\r\n");
    }
}
