//! What the server offers in its answer to EHLO (RFC 5321 §4.1.1.1).

use std::collections::BTreeSet;

use crate::sasl::Mechanism;

/// Offered extensions, as far as we use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) starttls: bool,
    pub(super) pipelining: bool,
    pub(super) eight_bit_mime: bool,
    pub(super) smtp_utf8: bool,
    /// RFC 3461.
    pub(super) dsn: bool,
    /// RFC 8689.
    pub(super) require_tls: bool,
    /// RFC 6710.
    pub(super) mt_priority: bool,
    /// LIMITS: messages of one connection (RFC 9422 §4).
    pub(super) max_mails: Option<u64>,
    /// LIMITS: recipients of one message, and their domains (RFC 9422 §4).
    pub(super) max_recipients: Option<u64>,
    pub(super) max_domains: Option<u64>,
    /// SIZE: offered, and the largest message if it is told (RFC 1870 §4).
    pub(super) size: Option<Option<u64>>,
    /// CHUNKING (RFC 3030 §2).
    pub(super) chunking: bool,
    /// AUTH: mechanisms that we know.
    pub(super) auth: BTreeSet<Mechanism>,
}

impl Extensions {
    /// From the lines of the reply; the first is the greeting.
    pub(super) fn parse(lines: &[String]) -> Self {
        let mut found = Self::default();
        for line in lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "STARTTLS" => found.starttls = true,
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtp_utf8 = true,
                "DSN" => found.dsn = true,
                "CHUNKING" => found.chunking = true,
                "REQUIRETLS" => found.require_tls = true,
                "MT-PRIORITY" => found.mt_priority = true,
                "LIMITS" => words.for_each(|word| found.limit(word)),
                "SIZE" => found.size = Some(words.next().and_then(number).filter(|size| *size > 0)),
                "AUTH" => words.for_each(|word| found.mechanism(word)),
                _ => {
                    // The form of servers before RFC 2554.
                    if let Some(first) = keyword.strip_prefix("AUTH=") {
                        found.mechanism(first);
                        words.for_each(|word| found.mechanism(word));
                    }
                }
            }
        }
        found
    }

    /// `limit-name "=" limit-value`; a limit of none would mean that nothing can be sent.
    fn limit(&mut self, word: &str) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let value = number(value).filter(|value| *value > 0);
        if name.eq_ignore_ascii_case("RCPTMAX") {
            self.max_recipients = value;
        } else if name.eq_ignore_ascii_case("RCPTDOMAINMAX") {
            self.max_domains = value;
        } else if name.eq_ignore_ascii_case("MAILMAX") {
            self.max_mails = value;
        }
    }

    fn mechanism(&mut self, name: &str) {
        self.auth.extend(Mechanism::parse(name));
    }
}

/// `size-value`: up to 20 digits.
fn number(text: &str) -> Option<u64> {
    let good = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !good {
        return None;
    }
    text.bytes()
        .try_fold(0_u64, |n, b| n.checked_mul(10)?.checked_add(u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_parameters() {
        let lines = [
            "mx greets",
            "pipelining",
            "SIZE 1000",
            "AUTH CRAM-MD5 plain",
            "auth=LOGIN",
            "STARTTLS",
            "X",
        ];
        let found = Extensions::parse(&lines.map(String::from));
        let expected = Extensions {
            starttls: true,
            pipelining: true,
            size: Some(Some(1000)),
            auth: BTreeSet::from([Mechanism::Plain, Mechanism::Login]),
            ..Extensions::default()
        };
        assert_eq!(found, expected);
        let limits = |line: &str| {
            let found = Extensions::parse(&["x".into(), line.into()]);
            (found.max_mails, found.max_recipients, found.max_domains)
        };
        assert_eq!(
            limits("LIMITS MAILMAX=5 rcptmax=20 RCPTDOMAINMAX=1"),
            (Some(5), Some(20), Some(1))
        );
        assert_eq!(
            limits("LIMITS MAILMAX=0 RCPTMAX=0 RCPTDOMAINMAX=+1"),
            (None, None, None)
        );
        let size = |line: &str| Extensions::parse(&["x".into(), line.into()]).size;
        assert_eq!(size("SIZE"), Some(None));
        assert_eq!(size("SIZE 0"), Some(None));
        assert_eq!(size("SIZE +5"), Some(None));
        assert_eq!(size("SIZE 99999999999999999999"), Some(None));
        assert_eq!(size("SIZES 5"), None);
        assert_eq!(
            Extensions::parse(&["STARTTLS".into()]),
            Extensions::default(),
            "the first line is a greeting"
        );
    }
}
