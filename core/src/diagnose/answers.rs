//! Judging what servers say: each function gives what is wrong in words, or `None`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What every submission client relies on.
const EHLO_NEEDS: &[&str] = &["PIPELINING", "8BITMIME", "SIZE"];

/// What is missing of the keywords of an EHLO reply (RFC 5321 §4.1.1.1), one line each, without the code.
#[must_use]
pub fn ehlo_lacks(lines: &[String]) -> Option<String> {
    let missing: Vec<&str> = EHLO_NEEDS
        .iter()
        .copied()
        .filter(|keyword| ehlo_parameters(lines, keyword).is_none())
        .collect();
    (!missing.is_empty()).then(|| format!("{} missing", missing.join(", ")))
}

/// The parameters of a keyword of an EHLO reply; none if it is not there.
#[must_use]
pub fn ehlo_parameters<'a>(lines: &'a [String], keyword: &str) -> Option<&'a str> {
    // The first line is the greeting.
    lines.iter().skip(1).find_map(|line| {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        word.eq_ignore_ascii_case(keyword).then_some(rest)
    })
}

/// The mechanisms that an EHLO reply offers. `AUTH=LOGIN` is of clients of 1998, and an offer all the same.
#[must_use]
pub fn ehlo_mechanisms(lines: &[String]) -> Option<String> {
    let old = lines.iter().find_map(|line| {
        line.get(..5)
            .filter(|head| head.eq_ignore_ascii_case("AUTH="))
            .and(line.get(5..))
    });
    ehlo_parameters(lines, "AUTH").or(old).map(str::to_owned)
}

/// The initial response of AUTH PLAIN (RFC 4616 §2) as SMTP and IMAP carry it.
#[must_use]
pub fn sasl_plain(name: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{name}\0{password}"))
}

/// Whether an IMAP capability is among those that were named.
#[must_use]
pub fn has_capability(capabilities: &[String], wanted: &str) -> bool {
    capabilities.iter().any(|have| have.eq_ignore_ascii_case(wanted))
}

/// How a client could log in without TLS, if it could (RFC 9051 §6.2.3, §11.1).
#[must_use]
pub fn cleartext_login(capabilities: &[String]) -> Option<String> {
    let mut ways: Vec<&str> = capabilities
        .iter()
        .filter(|have| {
            have.get(..5)
                .is_some_and(|head| head.eq_ignore_ascii_case("AUTH="))
        })
        .map(String::as_str)
        .collect();
    if !has_capability(capabilities, "LOGINDISABLED") {
        ways.insert(0, "LOGIN (no LOGINDISABLED)");
    }
    (!ways.is_empty()).then(|| ways.join(", "))
}

/// Days from now to a moment; negative if it is past.
#[must_use]
pub fn days_until(moment: u64, now: u64) -> i64 {
    const DAY: i64 = 86_400;
    let seconds = i64::try_from(moment).unwrap_or(i64::MAX) - i64::try_from(now).unwrap_or(i64::MAX);
    seconds.div_euclid(DAY)
}

/// Names that lead nowhere by agreement (RFC 6761): whoever uses them plays.
#[must_use]
pub fn is_reserved(domain: &str) -> bool {
    let last = domain.rsplit('.').next().unwrap_or_default();
    ["test", "example", "invalid", "localhost", "local"]
        .iter()
        .any(|name| last.eq_ignore_ascii_case(name))
}

/// The body of a message without the fields before it.
#[must_use]
pub fn body_of(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn ehlo_is_read_without_its_greeting() {
        let good = lines("mail.test SIZE|PIPELINING|size 1000|8BITMIME|AUTH PLAIN LOGIN");
        assert_eq!(ehlo_lacks(&good), None);
        assert_eq!(ehlo_parameters(&good, "SIZE"), Some("1000"));
        assert_eq!(ehlo_mechanisms(&good).as_deref(), Some("PLAIN LOGIN"));
        let bad = lines("mail.test|SIZE");
        assert_eq!(ehlo_lacks(&bad).as_deref(), Some("PIPELINING, 8BITMIME missing"));
        assert_eq!(ehlo_mechanisms(&bad), None);
        assert_eq!(ehlo_mechanisms(&lines("x|AUTH=LOGIN")).as_deref(), Some("LOGIN"));
    }

    #[test]
    fn logins_in_clear_text_are_seen() {
        assert_eq!(cleartext_login(&lines("IMAP4rev1|LOGINDISABLED|STARTTLS")), None);
        assert_eq!(
            cleartext_login(&lines("IMAP4rev1|AUTH=PLAIN")).as_deref(),
            Some("LOGIN (no LOGINDISABLED), AUTH=PLAIN")
        );
        assert_eq!(
            cleartext_login(&lines("logindisabled|auth=plain")).as_deref(),
            Some("auth=plain")
        );
    }

    #[test]
    fn plain_is_base64() {
        assert_eq!(
            sasl_plain("tim", "tanstaaftanstaaf"),
            "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"
        );
    }

    #[test]
    fn days_are_whole_ones() {
        assert_eq!(days_until(86_400 * 10, 0), 10);
        assert_eq!(days_until(86_399, 0), 0);
        assert_eq!(days_until(0, 1), -1);
    }

    #[test]
    fn reserved_names_are_known() {
        assert!(is_reserved("demo.test") && is_reserved("x.INVALID"));
        assert!(!is_reserved("test.com") && !is_reserved("example.com"));
    }

    #[test]
    fn the_body_is_behind_the_empty_line() {
        assert_eq!(body_of("A: b\r\n\r\nhi\r\n\r\nho"), "hi\r\n\r\nho");
        assert_eq!(body_of("A: b"), "");
    }
}
