//! Addresses of mail: domains, mailboxes, paths (RFC 5321 §4.1.2), and account names.
//!
//! Parsing of SMTP paths is in `smtp::command`, of header addresses in `mime`; here are the values.

use core::fmt;
use std::sync::Arc;

/// A domain in its canonical form: lower-case A-label without trailing dot, or an address literal with brackets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Longest domain name (RFC 5321 §4.5.3.1.2).
    pub const MAX: usize = 255;

    /// Reads a domain given as U-label, A-label or address literal. `None` when it is no domain: empty or overlong
    /// labels, characters outside letters, digits, hyphen (and underscore), a trailing dot.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > Self::MAX {
            return None;
        }
        if text.starts_with('[') {
            return parse_literal(text).map(|canonical| Self(Arc::from(canonical)));
        }
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii_strict(text).ok()?
        };
        let good = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        (ascii.len() <= Self::MAX && ascii.split('.').all(good)).then(|| Self(Arc::from(ascii)))
    }

    /// The address literal of an address (RFC 5321 §4.1.3).
    #[must_use]
    pub fn literal(address: core::net::IpAddr) -> Self {
        Self(Arc::from(match address.to_canonical() {
            core::net::IpAddr::V4(four) => format!("[{four}]"),
            core::net::IpAddr::V6(six) => format!("[IPv6:{six}]"),
        }))
    }

    /// Canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an address literal such as `[192.0.2.1]`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
fn parse_literal(text: &str) -> Option<String> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if let Some(six) = inner
        .get(..5)
        .filter(|tag| tag.eq_ignore_ascii_case("IPv6:"))
        .and(inner.get(5..))
    {
        let address: core::net::Ipv6Addr = six.parse().ok()?;
        return Some(format!("[IPv6:{address}]"));
    }
    let address: core::net::Ipv4Addr = inner.parse().ok()?;
    Some(format!("[{address}]"))
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `local-part@domain`. The local part is kept as given, unquoted; it is compared by [`Address::canonical`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The local part without quotes: `a b` for `"a b"@example.com`.
    pub local: Arc<str>,
    /// The domain.
    pub domain: Domain,
}

impl Address {
    /// Longest local part (RFC 5321 §4.5.3.1.1).
    pub const MAX_LOCAL: usize = 64;

    /// Joins the two parts; the local part must be unquoted already. `None`: empty, overlong or with controls.
    #[must_use]
    pub fn new(local: &str, domain: Domain) -> Option<Self> {
        let good =
            !local.is_empty() && local.len() <= Self::MAX_LOCAL && !local.chars().any(char::is_control);
        good.then(|| Self {
            local: Arc::from(local),
            domain,
        })
    }

    /// Reads `local@domain` with a dot-atom or quoted local part, without angle brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@')?;
        let domain = Domain::parse(domain)?;
        if let Some(quoted) = local.strip_prefix('"') {
            let quoted = quoted.strip_suffix('"')?;
            let mut plain = String::with_capacity(quoted.len());
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => plain.push(chars.next()?),
                    '"' => return None,
                    c => plain.push(c),
                }
            }
            return Self::new(&plain, domain);
        }
        is_dot_string(local).then(|| Self::new(local, domain)).flatten()
    }

    /// The form under which accounts and aliases are found: NFC, lower case.
    #[must_use]
    pub fn canonical(&self) -> AccountName {
        let local = canonical_local(&self.local);
        AccountName(Arc::from(format!("{local}@{}", self.domain)))
    }
}

/// The form of an unquoted local part under which accounts and aliases are found: NFC, lower case.
#[must_use]
pub fn canonical_local(local: &str) -> String {
    use unicode_normalization::UnicodeNormalization as _;
    local.nfc().collect::<String>().to_lowercase()
}

/// `Dot-string` (RFC 5321 §4.1.2), with the non-ASCII characters of RFC 6531 §3.3.
#[must_use]
pub fn is_dot_string(text: &str) -> bool {
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    !text.is_empty()
        && text
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(atext))
}

impl fmt::Display for Address {
    /// As it stands between angle brackets, quoted where needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `Reverse-path` of MAIL FROM (RFC 5321 §4.1.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReversePath {
    /// `<>`: notifications.
    Null,
    /// An address.
    Address(Address),
}

impl ReversePath {
    /// The address, unless it is `<>`.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl fmt::Display for ReversePath {
    /// With angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(address) => write!(f, "<{address}>"),
        }
    }
}

/// `Forward-path` of RCPT TO (RFC 5321 §4.1.1.3). Source routes are dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain.
    Postmaster,
    /// An address.
    Address(Address),
}

impl fmt::Display for ForwardPath {
    /// With angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("<Postmaster>"),
            Self::Address(address) => write!(f, "<{address}>"),
        }
    }
}

/// An account: the canonical address of its user, `alice@example.com`. Made by [`Address::canonical`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// The whole canonical address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Canonical local part and domain.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        self.0.rsplit_once('@').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_one_form() {
        let parse = |text| Domain::parse(text).map(|domain| domain.to_string());
        assert_eq!(parse("Example.COM").as_deref(), Some("example.com"));
        assert_eq!(parse("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(parse("[192.0.2.1]").as_deref(), Some("[192.0.2.1]"));
        assert_eq!(parse("[ipv6:2001:DB8::1]").as_deref(), Some("[IPv6:2001:db8::1]"));
        for bad in [
            "",
            ".",
            "a..b",
            "example.com.",
            "-a.b",
            "a b",
            "a/b",
            "[1.2.3]",
            "[1.2.3.4",
            "a\0b",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn addresses_quote_what_needs_it() {
        let show = |text| Address::parse(text).map(|address| address.to_string());
        assert_eq!(show("a.b+c@Example.com").as_deref(), Some("a.b+c@example.com"));
        assert_eq!(show("\"a b\"@x.y").as_deref(), Some("\"a b\"@x.y"));
        assert_eq!(show("\"a\\\"b\"@x.y").as_deref(), Some("\"a\\\"b\"@x.y"));
        assert_eq!(show("\"plain\"@x.y").as_deref(), Some("plain@x.y"));
        for bad in ["a", "@x.y", "a.@x.y", "a b@x.y", "\"a@x.y", "a@x.y.", "\"\"@x.y"] {
            assert_eq!(show(bad), None, "{bad:?}");
        }
        let account = Address::parse("ÄLICE@X.Y").expect("good").canonical();
        assert_eq!(account.parts(), ("älice", "x.y"));
    }
}
