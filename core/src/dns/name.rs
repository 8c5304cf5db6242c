//! Names of hosts and domains.

use core::fmt;
use std::sync::Arc;

use crate::addr::Domain;

/// A domain name in its canonical form: lower case, without trailing dot. The root is empty.
///
/// Only names that a host or mail domain can have: letters, digits, hyphens and underscores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Longest name as text: 255 octets on the wire (RFC 1035 §2.3.4) are 253 characters.
    pub const MAX: usize = 253;

    /// Reads a name, with or without trailing dot; `.` is the root.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "." {
            return Some(Self(Arc::from("")));
        }
        Self::of(text, |octet| matches!(octet, b'-' | b'_'))
    }

    /// Of labels of letters, digits and what else is good.
    fn of(text: &str, other: fn(u8) -> bool) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let good = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || other(b))
        };
        (text.len() <= Self::MAX && text.split('.').all(good))
            .then(|| Self(Arc::from(text.to_ascii_lowercase())))
    }

    /// A mail domain as a name; `None` for address literals.
    #[must_use]
    pub fn from_domain(domain: &Domain) -> Option<Self> {
        Self::parse(domain.as_str())
    }

    /// From the labels of a message; `None` when a label holds octets that no host name has.
    pub(super) fn from_wire(name: &simple_dns::Name<'_>) -> Option<Self> {
        Self::parse(&text_of(name)?)
    }

    /// The same for a name that is only on the way to another: aliases of reverse zones have slashes (RFC 2317 §4).
    pub(super) fn alias_from_wire(name: &simple_dns::Name<'_>) -> Option<Self> {
        match text_of(name)?.as_str() {
            "." => Self::parse("."),
            text => Self::of(text, |octet| matches!(octet, b'-' | b'_' | b'/')),
        }
    }

    /// Canonical text; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Length and octets of each label and the final zero (RFC 1035 §3.1).
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.').filter(|label| !label.is_empty()) {
            // A label has at most 63 octets.
            wire.push(u8::try_from(label.len()).unwrap_or_default());
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }
}

/// Labels as text, with a dot behind each; the root is a dot.
fn text_of(name: &simple_dns::Name<'_>) -> Option<String> {
    let mut text = String::new();
    for label in name.as_bytes() {
        let label = core::str::from_utf8(label).ok();
        text.push_str(label.filter(|label| !label.contains('.'))?);
        text.push('.');
    }
    if text.is_empty() {
        text.push('.');
    }
    Some(text)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let show = |text| Name::parse(text).map(|name| name.to_string());
        assert_eq!(show("MX.Example.").as_deref(), Some("mx.example"));
        assert_eq!(show("_dmarc.a-b").as_deref(), Some("_dmarc.a-b"));
        assert_eq!(show(".").as_deref(), Some("."));
        for bad in [
            "",
            "..",
            "a..b",
            ".a",
            "a b",
            "a\0",
            "ä",
            &"a".repeat(64),
            &"a.".repeat(128),
        ] {
            assert_eq!(show(bad), None, "{bad:?}");
        }
        assert_eq!(Name::parse("ab.c").expect("name").to_wire(), b"\x02ab\x01c\0");
        assert_eq!(Name::parse(".").expect("root").to_wire(), b"\0");
    }
}
