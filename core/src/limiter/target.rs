//! Whom a limit holds back, as operators write it.

use core::fmt;
use core::net::IpAddr;

use super::counted_as;

/// Whose counts are forgotten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Everybody's.
    All,
    /// Those of an address; of IPv6, those of its /64.
    Address(IpAddr),
    /// Those of an account, or of a login name that nobody has.
    Account(String),
}

impl Target {
    /// Reads `*`, an address (`192.0.2.1`, `2001:db8::1`, `2001:db8::/64`), or a login name. `None`: it is none of
    /// them, or a network of another size than is counted.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let width = if address.to_canonical().is_ipv4() {
                "32"
            } else {
                "64"
            };
            return prefix
                .is_none_or(|prefix| prefix == width)
                .then(|| Self::Address(counted_as(address)));
        }
        let is_name = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        is_name.then(|| Self::Account(text.to_lowercase()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Address(address) => write!(f, "{}", Shown(*address)),
            Self::Account(name) => f.write_str(name),
        }
    }
}

/// An address as it is counted: IPv6 with `/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown(pub IpAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match counted_as(self.0) {
            IpAddr::V6(six) => write!(f, "{six}/64"),
            IpAddr::V4(four) => write!(f, "{four}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_written_as_they_are_read() {
        for (text, shown) in [
            ("*", "*"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("Ann@Example.com", "ann@example.com"),
            ("ann", "ann"),
            ("a/b@example.com", "a/b@example.com"),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!(target.to_string(), shown);
            assert_eq!(Target::parse(shown), Some(target), "{shown}");
        }
        for bad in ["", "192.0.2.0/24", "2001:db8::/32", "a b", "a\nb", "\0"] {
            assert_eq!(Target::parse(bad), None, "{bad:?}");
        }
    }
}
