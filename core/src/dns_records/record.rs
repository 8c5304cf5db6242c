//! Records as they are written in zone files (RFC 1035 §5.1).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dns::{Data, Name, Tlsa};

/// Octets of one string of a TXT record (RFC 1035 §3.3).
const MAX_STRING: usize = 255;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: Name,
    /// What it says.
    pub value: Value,
}

/// Type and data of a record. They print as in a zone file: `MX 10 mail.example.com.`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address.
    Address(IpAddr),
    /// Another name for a host.
    Cname(Name),
    /// A mail exchanger and its preference.
    Mx(u16, Name),
    /// The name of an address.
    Ptr(Name),
    /// The port and host of a service, with priority 0 and weight 1.
    Srv(u16, Name),
    /// What the certificate is.
    Tlsa(Tlsa),
    /// Text.
    Txt(String),
}

impl Record {
    /// A record.
    #[must_use]
    pub fn new(name: Name, value: Value) -> Self {
        Self { name, value }
    }
}

impl Value {
    /// Name of the type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Address(IpAddr::V4(_)) => "A",
            Self::Address(IpAddr::V6(_)) => "AAAA",
            Self::Cname(_) => "CNAME",
            Self::Mx(..) => "MX",
            Self::Ptr(_) => "PTR",
            Self::Srv(..) => "SRV",
            Self::Tlsa(_) => "TLSA",
            Self::Txt(_) => "TXT",
        }
    }

    /// The data, as it stands behind the type.
    #[must_use]
    pub fn data(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Cname(name) | Self::Ptr(name) => Absolute(name).to_string(),
            Self::Mx(preference, exchange) => format!("{preference} {}", Absolute(exchange)),
            Self::Srv(port, target) => format!("0 1 {port} {}", Absolute(target)),
            Self::Tlsa(tlsa) => tlsa.to_string(),
            Self::Txt(text) => quoted(text),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.data())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Absolute(&self.name), self.value)
    }
}

/// A name with its final dot.
pub(super) struct Absolute<'a>(pub(super) &'a Name);

impl fmt::Display for Absolute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.0.as_str())
    }
}

/// What came, written in the same way.
pub(super) fn shown(data: &Data) -> String {
    let name = |name: &Option<Name>| {
        name.as_ref()
            .map_or_else(|| "(no host name)".to_owned(), |name| Absolute(name).to_string())
    };
    match data {
        Data::A(four) => Value::Address(Ipv4Addr::into(*four)).to_string(),
        Data::Aaaa(six) => Value::Address(Ipv6Addr::into(*six)).to_string(),
        Data::Mx { preference, exchange } => format!("MX {preference} {}", name(exchange)),
        Data::Ptr(name) => Value::Ptr(name.clone()).to_string(),
        Data::Txt(text) => Value::Txt(text.clone()).to_string(),
        Data::Tlsa(tlsa) => Value::Tlsa(tlsa.clone()).to_string(),
        Data::Srv {
            priority,
            weight,
            port,
            target,
        } => format!("SRV {priority} {weight} {port} {}", name(target)),
    }
}

/// Strings between quotes. What is not printable ASCII is written as `\DDD`, also so that no answer writes on terminals.
fn quoted(text: &str) -> String {
    let strings: Vec<String> = text.as_bytes().chunks(MAX_STRING).map(escaped).collect();
    match strings.as_slice() {
        [] => "\"\"".to_owned(),
        strings => strings.join(" "),
    }
}

fn escaped(string: &[u8]) -> String {
    let mut out = String::from("\"");
    for octet in string {
        match octet {
            b'"' | b'\\' => out.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => out.push(char::from(*octet)),
            other => out.push_str(&format!("\\{other:03}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_into_strings_and_escaped() {
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a \"b\" \\ \u{1b}ä"), r#""a \"b\" \\ \027\195\164""#);
        let long = quoted(&"x".repeat(256));
        assert_eq!(long, format!("\"{}\" \"x\"", "x".repeat(255)));
    }
}
