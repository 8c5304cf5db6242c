//! Parameters of MAIL and RCPT: `esmtp-param` (RFC 5321 §4.1.2), one function for each value.

use super::command::{Hold, Mail};
use super::envelope::{DsnRequest, Notify, Ret};
use super::xtext;
use crate::text::rfc3339;
use crate::time::Unix;

/// Most digits of SIZE= (RFC 1870 §3).
const MAX_SIZE_DIGITS: usize = 20;

/// Most digits of HOLDFOR= (RFC 4865 §3).
const MAX_HOLD_DIGITS: usize = 9;

/// Longest ENVID=, as it stands in the command (RFC 3461 §4.4).
const MAX_ENVID: usize = 100;

/// Longest ORCPT=, likewise (RFC 3461 §4.2).
const MAX_ORCPT: usize = 500;

/// What is wrong with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not known.
    Unknown,
    /// It is given twice, contradicts another, or its value is bad.
    Bad,
}

/// Keywords that were there already: each may be given once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen(u32);

impl Seen {
    /// The place of a keyword in its list, the first time.
    fn first(&mut self, keywords: &[&str], keyword: &str) -> Result<usize, Wrong> {
        let place = keywords
            .iter()
            .position(|known| known.eq_ignore_ascii_case(keyword))
            .ok_or(Wrong::Unknown)?;
        let bit = 1 << place;
        if self.0 & bit != 0 {
            return Err(Wrong::Bad);
        }
        self.0 |= bit;
        Ok(place)
    }
}

/// Takes a parameter of MAIL.
pub(super) fn mail(
    mail: &mut Mail,
    seen: &mut Seen,
    keyword: &str,
    value: Option<&str>,
) -> Result<(), Wrong> {
    const KEYWORDS: [&str; 10] = [
        "SIZE",
        "BODY",
        "AUTH",
        "RET",
        "ENVID",
        "SMTPUTF8",
        "REQUIRETLS",
        "MT-PRIORITY",
        "HOLDFOR",
        "HOLDUNTIL",
    ];
    let place = seen.first(&KEYWORDS, keyword)?;
    let text = value.unwrap_or_default();
    let good = match place {
        0 => size(text).map(|size| mail.size = Some(size)),
        1 => body(mail, text),
        2 => submitter(text),
        3 => ret(text).map(|ret| mail.wishes.ret = Some(ret)),
        4 => envid(text).map(|envid| mail.wishes.envid = Some(envid)),
        5 => value.is_none().then(|| mail.wishes.utf8 = true),
        6 => value.is_none().then(|| mail.wishes.require_tls = true),
        7 => priority(text).map(|priority| mail.priority = Some(priority)),
        // One of the two (RFC 4865 §4.2).
        _ if mail.hold.is_some() => None,
        8 => hold_for(text).map(|hold| mail.hold = Some(hold)),
        _ => hold_until(text).map(|hold| mail.hold = Some(hold)),
    };
    good.ok_or(Wrong::Bad)
}

/// Takes a parameter of RCPT.
pub(super) fn rcpt(
    dsn: &mut DsnRequest,
    seen: &mut Seen,
    keyword: &str,
    value: Option<&str>,
) -> Result<(), Wrong> {
    let place = seen.first(&["NOTIFY", "ORCPT"], keyword)?;
    let text = value.unwrap_or_default();
    let good = match place {
        0 => notify(text).map(|notify| dsn.notify = Some(notify)),
        _ => original(text).map(|original| dsn.original = Some(original)),
    };
    good.ok_or(Wrong::Bad)
}

/// `size-value = 1*20DIGIT` (RFC 1870 §4). A number beyond 64 bits is the greatest there is.
fn size(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > MAX_SIZE_DIGITS {
        return None;
    }
    text.bytes().try_fold(0_u64, |value, octet| {
        octet
            .is_ascii_digit()
            .then(|| value.saturating_mul(10).saturating_add(u64::from(octet - b'0')))
    })
}

/// `"7BIT" / "8BITMIME" / "BINARYMIME"` (RFC 6152 §2, RFC 3030 §3).
fn body(mail: &mut Mail, text: &str) -> Option<()> {
    mail.eight_bit = text.eq_ignore_ascii_case("8BITMIME");
    mail.binary = text.eq_ignore_ascii_case("BINARYMIME");
    (mail.eight_bit || mail.binary || text.eq_ignore_ascii_case("7BIT")).then_some(())
}

/// Who submitted the message first (RFC 4954 §5). Read and let go: nobody is trusted so far that it would matter, and
/// then a server behaves as if it were `AUTH=<>`, which is what the relay passes on.
fn submitter(text: &str) -> Option<()> {
    xtext::decode(text).filter(|plain| !plain.is_empty()).map(drop)
}

/// `"FULL" / "HDRS"` (RFC 3461 §4.3).
fn ret(text: &str) -> Option<Ret> {
    if text.eq_ignore_ascii_case("FULL") {
        Some(Ret::Full)
    } else {
        text.eq_ignore_ascii_case("HDRS").then_some(Ret::Headers)
    }
}

/// `xtext` of printable ASCII (RFC 3461 §4.4).
fn envid(text: &str) -> Option<String> {
    let good = (1..=MAX_ENVID).contains(&text.len()) && text.is_ascii();
    good.then(|| xtext::decode(text)).flatten()
}

/// `"NEVER" / 1#notify-list-element` (RFC 3461 §4.1).
fn notify(text: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    if text.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for word in text.split(',') {
        let flag = [
            ("SUCCESS", &mut notify.success),
            ("FAILURE", &mut notify.failure),
            ("DELAY", &mut notify.delay),
        ]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name));
        *flag?.1 = true;
    }
    Some(notify)
}

/// `addr-type ";" xtext` (RFC 3461 §4.2). Only the type `utf-8` may have characters above 127 (RFC 6533 §3).
fn original(text: &str) -> Option<String> {
    if text.len() > MAX_ORCPT {
        return None;
    }
    let (kind, address) = text.split_once(';')?;
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*-/?^_`{|}~".contains(&b);
    if kind.is_empty() || !kind.bytes().all(atom) {
        return None;
    }
    let address = xtext::decode(address).filter(|address| !address.is_empty())?;
    let good = address.is_ascii() || kind.eq_ignore_ascii_case("utf-8");
    good.then(|| format!("{kind};{address}"))
}

/// `priority-value`: -9 to 9 without leading zeros (RFC 6710 §7).
fn priority(text: &str) -> Option<i8> {
    match (text.strip_prefix('-'), text.as_bytes()) {
        (Some(digit), _) if matches!(digit.as_bytes(), [b'1'..=b'9']) => digit.parse::<i8>().ok().map(|n| -n),
        (None, [b'0'..=b'9']) => text.parse().ok(),
        _ => None,
    }
}

/// `future-release-integer = %x31-39 *8DIGIT` (RFC 4865 §3).
fn hold_for(text: &str) -> Option<Hold> {
    let good = (1..=MAX_HOLD_DIGITS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && !text.starts_with('0');
    good.then(|| text.parse().ok().map(Hold::For)).flatten()
}

/// `Internet-style-date-time-UTC` (RFC 4865 §3): a date and a time in UTC. A fraction is rounded up: nothing is released
/// too early.
fn hold_until(text: &str) -> Option<Hold> {
    let utc = text.ends_with(['Z', 'z']) && text.contains(['T', 't']);
    let when = rfc3339::parse(text).filter(|_| utc)?;
    let up = u64::from(text.contains('.'));
    Some(Hold::Until(Unix::from_secs(when.secs().saturating_add(up))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_is_never_or_a_list() {
        let show = |text| notify(text).map(|n| (n.success, n.failure, n.delay));
        assert_eq!(show("NEVER"), Some((false, false, false)));
        assert_eq!(show("success,Failure,DELAY"), Some((true, true, true)));
        assert_eq!(show("SUCCESS,SUCCESS"), Some((true, false, false)));
        for bad in [
            "",
            "NEVER,SUCCESS",
            "SUCCESS,",
            ",DELAY",
            "ALWAYS",
            "SUCCESS DELAY",
        ] {
            assert_eq!(show(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn original_recipients_have_a_type() {
        let show = |text: &str| original(text);
        assert_eq!(
            show("rfc822;Bob@Example.COM").as_deref(),
            Some("rfc822;Bob@Example.COM")
        );
        assert_eq!(show("rfc822;a+2Bb@x.y").as_deref(), Some("rfc822;a+b@x.y"));
        assert_eq!(show("utf-8;b\u{f6}b@x.y").as_deref(), Some("utf-8;b\u{f6}b@x.y"));
        assert_eq!(
            show("utf-8;b\\x{F6}b@x.y").as_deref(),
            Some("utf-8;b\\x{F6}b@x.y")
        );
        for bad in [
            "",
            "rfc822",
            ";a@b",
            "rfc822;",
            "rfc 822;a@b",
            "rfc822;a+0D+0Ab",
            "rfc822;b\u{f6}b@x.y",
            "rfc822;a=b",
        ] {
            assert_eq!(show(bad), None, "{bad:?}");
        }
        let longest = format!("rfc822;{}", "x".repeat(493));
        assert!(show(&longest).is_some() && show(&(longest + "x")).is_none());
    }

    #[test]
    fn envelope_ids_are_printable_and_bounded() {
        assert_eq!(envid("QQ+20314159").as_deref(), Some("QQ 314159"));
        for bad in ["", "a b", "+0A", "\u{f6}"] {
            assert_eq!(envid(bad), None, "{bad:?}");
        }
        assert!(envid(&"x".repeat(100)).is_some() && envid(&"x".repeat(101)).is_none());
    }

    #[test]
    fn priorities_are_one_digit() {
        for n in -9..=9_i8 {
            assert_eq!(priority(&n.to_string()), Some(n));
        }
        for bad in ["", "10", "-10", "+1", "-0", "00", "-", "x", "--1"] {
            assert_eq!(priority(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn holds_are_seconds_or_a_moment() {
        assert_eq!(hold_for("1"), Some(Hold::For(1)));
        assert_eq!(hold_for("999999999"), Some(Hold::For(999_999_999)));
        for bad in ["", "0", "01", "1000000000", "-1", "1s", "+5"] {
            assert_eq!(hold_for(bad), None, "{bad:?}");
        }
        let until = |text| match hold_until(text) {
            Some(Hold::Until(when)) => Some(when.secs()),
            _ => None,
        };
        assert_eq!(until("1970-01-02T00:00:00Z"), Some(86_400));
        assert_eq!(until("1970-01-02T00:00:00.5z"), Some(86_401));
        for bad in [
            "",
            "1970-01-02",
            "1970-01-02 00:00:00Z",
            "1970-01-02T00:00:00+00:00",
            "1970-02-30T00:00:00Z",
        ] {
            assert_eq!(until(bad), None, "{bad:?}");
        }
        let mut parsed = Mail::new(crate::addr::ReversePath::Null);
        let mut seen = Seen::default();
        let when = Some("1970-01-01T00:01:00Z");
        assert_eq!(mail(&mut parsed, &mut seen, "holduntil", when), Ok(()));
        assert_eq!(parsed.hold, Some(Hold::Until(Unix::from_secs(60))));
        assert_eq!(
            mail(&mut parsed, &mut seen, "HOLDFOR", Some("5")),
            Err(Wrong::Bad)
        );
    }
}
