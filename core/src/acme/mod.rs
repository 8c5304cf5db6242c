//! Certificates from an authority that speaks ACME (RFC 8555).
//!
//! [`Order`] is one order from the authority's directory to the certificate: a machine whose inputs are responses and
//! whose actions are requests, and proofs that the names are ours (`http-01`, RFC 8555 §8.3; `tls-alpn-01`, RFC 8737).
//! Requests are signed by the host: [`Unsigned`] is what it signs, and [`Unsigned::signed`] puts both together.
//! [`State`] is what is remembered from one order to the next, and when the next is due.
//!
//! # Invariants
//!
//! * An order ends: requests that fail, nonces that are refused, looks at what is not ready yet, and the time of the whole
//!   are bounded.
//! * What an authority sends is data: URLs are `https:`, lists and texts are bounded, words in problems are printable.
//! * After a failure nothing is asked again before [`State::due`] says so: authorities count, and refuse for a week.

mod jws;
mod objects;
mod order;
mod problem;
mod schedule;

pub use jws::{BINDING_EXPECTED, Binding, PublicKey, Unsigned, alpn_digest};
pub use order::{Action, Failure, Input, MAX_BODY, Order, Outcome, Proof, Response, Settings};
pub use problem::Problem;
pub use schedule::{Ordered, State};

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::relay::tls::report::Url;
use crate::text::date::parse_header_date;
use crate::time::Unix;

/// The path below which an authority looks for proofs (RFC 8555 §8.3); the token is the last segment.
pub const HTTP_PATH: &str = "/.well-known/acme-challenge/";

/// The protocol of `tls-alpn-01` (RFC 8737 §3).
pub const ALPN: &[u8] = b"acme-tls/1";

/// The directory of Let's Encrypt, and that of its servers for trials, whose certificates nobody trusts and whose limits
/// are wide.
const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// How it is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// A document, over HTTP at port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate, in a handshake at port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl ChallengeKind {
    /// As the authority writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// A URL of an authority: `https:`, a host name, perhaps a port.
#[must_use]
pub fn url(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once(':')?;
    scheme
        .eq_ignore_ascii_case("https")
        .then(|| Url::parse(rest))
        .flatten()
}

/// Where a trial is made: beside the limits that count, if the authority has such servers.
#[must_use]
pub fn trial_directory(directory: &str) -> &str {
    match directory {
        PRODUCTION => STAGING,
        other => other,
    }
}

/// Whether a text can be the token of a challenge (RFC 8555 §8.3: base64url); so it can be a file's name too.
#[must_use]
pub fn is_token(text: &str) -> bool {
    const MAX: usize = 128;
    let good = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    (1..=MAX).contains(&text.len()) && text.bytes().all(good)
}

/// `Retry-After`, as a time from now: seconds or a date (RFC 9110 §10.2.3).
#[must_use]
pub fn retry_after(text: &str, now: Unix) -> Option<Duration> {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if digits {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date = parse_header_date(text.as_bytes())?;
    let then = u64::try_from(date.unix).ok()?;
    Some(Duration::from_secs(then.saturating_sub(now.secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_seconds_or_dates() {
        let now = Unix::from_secs(784_111_777);
        for (text, expected) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("", None),
            ("+1", None),
            ("9999999999", None),
            ("soon", None),
        ] {
            assert_eq!(
                retry_after(text, now),
                expected.map(Duration::from_secs),
                "{text:?}"
            );
        }
    }

    #[test]
    fn urls_of_authorities_are_https() {
        assert!(url(PRODUCTION).is_some() && url(STAGING).is_some());
        assert_eq!(url("HTTPS://ca.test:14000/dir").map(|url| url.port), Some(14_000));
        for bad in [
            "",
            "http://ca.test/dir",
            "https://user@ca.test/",
            "https:ca.test",
            "https://ca.test/a b",
        ] {
            assert_eq!(url(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn trials_are_made_beside_the_limits() {
        assert_eq!(trial_directory(PRODUCTION), STAGING);
        assert_eq!(trial_directory("https://ca.test/dir"), "https://ca.test/dir");
    }

    #[test]
    fn tokens_are_file_names() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA_"));
        for bad in ["", ".", "..", "a/b", "a.b", "a=", "é", &"a".repeat(129)] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
