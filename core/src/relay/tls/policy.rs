//! MTA-STS: the record that announces a policy, and the policy itself (RFC 8461 §3).

use serde::{Deserialize, Serialize};

use crate::dns::{Answer, Data};

/// Octets of a policy that are read; RFC 8461 §3.3 suggests 64 KB.
pub const MAX_POLICY: usize = 64 * 1024;

/// `max_age` at most: about a year (RFC 8461 §3.2).
const MAX_AGE: u64 = 31_557_600;

/// Patterns that are kept of one policy.
const MAX_PATTERNS: usize = 256;

/// What a failure to satisfy the policy means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A host that fails must not get the mail.
    Enforce,
    /// It gets it, and the domain hears of the failure.
    Testing,
    /// The domain has no policy any more.
    None,
}

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Mode.
    pub mode: Mode,
    /// Seconds for which it holds.
    pub max_age: u64,
    /// Names of MX hosts in lower case, the first label may be `*`.
    pub mx: Vec<String>,
}

impl Policy {
    /// Reads `text/plain` of a policy server (RFC 8461 §3.2).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let text = core::str::from_utf8(body).map_err(|_| "the policy is no text")?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            if line.trim().is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or("a line of the policy has no colon")?;
            let value = value.trim_matches([' ', '\t']);
            // "If any non-repeated field is duplicated, all entries except for the first MUST be ignored"; keys that are
            // not known are extensions.
            match key.trim_end_matches([' ', '\t']) {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if mx.len() < MAX_PATTERNS => {
                    mx.push(pattern(value).ok_or("an mx of the policy is no name")?)
                }
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("the policy's version is not STSv1");
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err("the policy's mode is none that is known"),
        };
        let max_age = max_age
            .and_then(seconds)
            .ok_or("the policy's max_age is no number of seconds")?;
        if mx.is_empty() && mode != Mode::None {
            return Err("the policy names no mx");
        }
        Ok(Self { mode, max_age, mx })
    }

    /// Whether a host may take mail of the domain (RFC 8461 §4.1): `*` stands for one label.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => *pattern == host,
        })
    }

    /// The policy as TLS reports have it: one string a line (RFC 8460 appendix B).
    #[must_use]
    pub fn strings(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.mx.iter().map(|mx| format!("mx: {mx}")));
        lines.push(format!("max_age: {}", self.max_age));
        lines
    }
}

/// The id of the record at `_mta-sts.DOMAIN`. `None`: there is no policy; also when there is more than one such record
/// (RFC 8461 §3.1).
#[must_use]
pub fn record_id(answer: &Answer) -> Option<String> {
    let mut found = answer.records.iter().filter_map(|data| match data {
        Data::Txt(text) => fields(text, "STSv1"),
        _ => None,
    });
    let (Some(fields), None) = (found.next(), found.next()) else {
        return None;
    };
    let (_, id) = fields.into_iter().find(|(name, _)| *name == "id")?;
    let good = (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    good.then(|| id.to_owned())
}

/// The fields behind `v=VERSION;` of such a record: `name=value` between semicolons. `None`: it is another record.
pub(super) fn fields<'a>(text: &'a str, version: &str) -> Option<Vec<(&'a str, &'a str)>> {
    let rest = text.strip_prefix("v=")?.strip_prefix(version)?;
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix(';')?;
    let parts = rest.split(';').map(|part| part.trim_matches([' ', '\t']));
    Some(
        parts
            .filter(|part| !part.is_empty())
            .filter_map(|part| part.split_once('='))
            .collect(),
    )
}

/// `sts-policy-mx-value`, in lower case.
#[must_use]
pub fn pattern(value: &str) -> Option<String> {
    let value = value.strip_suffix('.').unwrap_or(value).to_ascii_lowercase();
    let name = value.strip_prefix("*.").unwrap_or(&value);
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    (name.len() <= 253 && name.split('.').all(good)).then_some(value)
}

/// `1*10(DIGIT)`, a year at most.
fn seconds(value: &str) -> Option<u64> {
    let good = (1..=10).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    good.then(|| {
        value
            .bytes()
            .fold(0, |n, octet| n * 10 + u64::from(octet - b'0'))
            .min(MAX_AGE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8461 §3.2.
    const EXAMPLE: &str = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\n\
                           max_age: 604800\n";

    #[test]
    fn the_example_of_rfc_8461_is_read() {
        let policy = Policy::parse(EXAMPLE.as_bytes()).expect("a policy");
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, 604_800));
        assert_eq!(
            policy.mx,
            ["mail.example.com", "*.example.net", "backupmx.example.com"]
        );
        assert_eq!(
            Policy::parse(EXAMPLE.replace('\n', "\r\n").as_bytes()),
            Ok(policy.clone())
        );
        // RFC 8461 §4.1: "*.example.com" matches "mail.example.com" but not "example.com" or "foo.bar.example.com".
        assert!(policy.allows("mail.example.com") && policy.allows("MAIL.Example.COM."));
        assert!(policy.allows("mx1.example.net"));
        for other in [
            "example.net",
            "foo.bar.example.net",
            ".example.net",
            "mail.example.org",
            "xmail.example.com",
        ] {
            assert!(!policy.allows(other), "{other}");
        }
        let again = policy.strings().join("\n");
        assert_eq!(Policy::parse(again.as_bytes()), Ok(policy));
    }

    #[test]
    fn broken_policies_are_no_policies() {
        let change = |from: &str, to: &str| Policy::parse(EXAMPLE.replace(from, to).as_bytes());
        assert!(change("STSv1", "STSv2").is_err());
        assert!(change("mode: enforce\n", "").is_err());
        assert!(change("enforce", "Enforce").is_err());
        assert!(change("604800", "+5").is_err());
        assert!(change("604800", "12345678901").is_err());
        assert!(change("max_age", "max_ages").is_err());
        assert!(change("mx: mail.example.com", "mx: a b").is_err());
        assert!(change("mx:", "xx:").is_err(), "no mx");
        assert!(change("mx:", "xx:").is_err());
        assert!(change("version: STSv1\n", "version: STSv1\nnonsense\n").is_err());
        assert_eq!(
            change("604800", "9999999999").map(|policy| policy.max_age),
            Ok(MAX_AGE)
        );
        let twice = change("mode: enforce", "mode: testing\nmode: enforce\nunknown: x");
        assert_eq!(
            twice.map(|policy| policy.mode),
            Ok(Mode::Testing),
            "the first counts"
        );
        let none = Policy::parse(b"version:STSv1\nmode:none\nmax_age:86400");
        assert_eq!(none.map(|policy| policy.mode), Ok(Mode::None));
        assert!(Policy::parse(b"\xff").is_err() && Policy::parse(b"").is_err());
    }

    #[test]
    fn one_record_announces_a_policy() {
        let id = |texts: &[&str]| {
            record_id(&Answer {
                records: texts.iter().map(|text| Data::Txt((*text).to_owned())).collect(),
                ..Answer::default()
            })
        };
        // RFC 8461 §3.1.
        assert_eq!(
            id(&["v=STSv1; id=20160831085700Z;"]).as_deref(),
            Some("20160831085700Z")
        );
        assert_eq!(id(&["v=STSv1;id=1", "something else"]).as_deref(), Some("1"));
        assert_eq!(id(&["v=STSv1 ; x=y ; id=1"]).as_deref(), Some("1"));
        assert_eq!(id(&["v=STSv1;id=1;", "v=STSv1;id=1;"]), None);
        for bad in [
            "",
            "v=STSv1",
            "v=STSv1;",
            "v=STSv10;id=1",
            "v=STSv2;id=1",
            "id=1;v=STSv1",
            "v=STSv1;id=",
            "v=STSv1;id=a-b",
        ] {
            assert_eq!(id(&[bad]), None, "{bad:?}");
        }
        assert_eq!(id(&[&format!("v=STSv1;id={}", "1".repeat(33))]), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_is_bounded(body in "[a-z:* .\\n0-9]{0,200}") {
            if let Ok(policy) = Policy::parse(format!("version: STSv1\nmode: testing\nmax_age: 9\n{body}").as_bytes()) {
                proptest::prop_assert!(!policy.mx.is_empty() && policy.mx.len() <= MAX_PATTERNS);
            }
        }
    }
}
