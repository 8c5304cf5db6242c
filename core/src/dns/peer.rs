//! What the DNS says of an address: its name, and whether a list has it (RFC 5782).
//!
//! Only names and readings: whoever asks the questions decides what comes of the answers.

use core::net::{IpAddr, Ipv4Addr};
use std::fmt::Write as _;

use super::message::{Answer, Data, Kind};
use super::name::Name;

/// The name under which an address has its own name: `in-addr.arpa` (RFC 1035 §3.5), `ip6.arpa` (RFC 3596 §2.5).
#[must_use]
pub fn reverse_name(address: IpAddr) -> Option<Name> {
    let zone = match address.to_canonical() {
        IpAddr::V4(_) => "in-addr.arpa",
        IpAddr::V6(_) => "ip6.arpa",
    };
    Name::parse(&(reversed(address) + zone))
}

/// The name under which a list has an address (RFC 5782 §2.1, §2.4). `None`: the list's own name is too long for that.
#[must_use]
pub fn list_name(address: IpAddr, list: &Name) -> Option<Name> {
    Name::parse(&(reversed(address) + list.as_str()))
}

/// What a list says of an address: `Some` if the address is on it.
///
/// Only 127.0.0.0/8 says so (RFC 5782 §2.1): a list that is no more may answer with anything. 127.0.0.1 must not be used
/// (§5), and 127.255.255.0/24 tells of a fault of the question, not of the address.
#[must_use]
pub fn listed(answer: &Answer) -> Option<Ipv4Addr> {
    codes(answer).find(|code| code.is_loopback() && *code != Ipv4Addr::LOCALHOST && !is_error(*code))
}

/// A list's word that it does not answer such questions from here: too many were asked, or by a public resolver.
#[must_use]
pub fn list_error(answer: &Answer) -> Option<Ipv4Addr> {
    codes(answer).find(|code| is_error(*code))
}

fn is_error(code: Ipv4Addr) -> bool {
    matches!(code.octets(), [127, 255, 255, _])
}

fn codes(answer: &Answer) -> impl Iterator<Item = Ipv4Addr> {
    answer.records.iter().filter_map(|record| match record {
        Data::A(code) => Some(*code),
        _ => None,
    })
}

/// The kind of record that holds addresses of this family.
#[must_use]
pub fn address_kind(address: IpAddr) -> Kind {
    match address.to_canonical() {
        IpAddr::V4(_) => Kind::A,
        IpAddr::V6(_) => Kind::Aaaa,
    }
}

/// Whether an address is among those of an answer.
#[must_use]
pub fn has_address(answer: &Answer, address: IpAddr) -> bool {
    let address = address.to_canonical();
    answer.records.iter().any(|record| match record {
        Data::A(four) => address == IpAddr::V4(*four),
        Data::Aaaa(six) => address == IpAddr::V6(*six).to_canonical(),
        _ => false,
    })
}

/// Octets or, for IPv6, half octets from the last to the first, each with a dot behind it.
fn reversed(address: IpAddr) -> String {
    let mut text = String::new();
    match address.to_canonical() {
        IpAddr::V4(four) => {
            for octet in four.octets().iter().rev() {
                // Writing into a string does not fail.
                let _ = write!(text, "{octet}.");
            }
        }
        IpAddr::V6(six) => {
            for octet in six.octets().iter().rev() {
                let _ = write!(text, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn names_of_addresses_are_those_of_the_rfcs() {
        let name = |text| reverse_name(address(text)).expect("a name").to_string();
        assert_eq!(name("10.2.0.52"), "52.0.2.10.in-addr.arpa");
        assert_eq!(name("::ffff:10.2.0.52"), "52.0.2.10.in-addr.arpa");
        // RFC 3596 §2.5
        assert_eq!(
            name("4321:0:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"
        );
        // RFC 5782 §2.1 and §2.4
        let list = Name::parse("bad.example.com").expect("a name");
        let listed_as = |text| list_name(address(text), &list).expect("a name").to_string();
        assert_eq!(listed_as("192.0.2.99"), "99.2.0.192.bad.example.com");
        assert_eq!(
            listed_as("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com"
        );
        let long = Name::parse(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(55))).expect("a name");
        assert_eq!(list_name(address("2001:db8::1"), &long), None);
    }

    #[test]
    fn only_codes_of_a_list_say_that_an_address_is_on_it() {
        let says = |codes: &[&str]| {
            let records = codes
                .iter()
                .map(|code| Data::A(code.parse().expect("an address")))
                .collect();
            let answer = Answer {
                records,
                ..Answer::default()
            };
            (
                listed(&answer).map(|code| code.to_string()),
                list_error(&answer).is_some(),
            )
        };
        assert_eq!(says(&["127.0.0.2"]), (Some("127.0.0.2".into()), false));
        assert_eq!(says(&["127.0.1.4"]).0.as_deref(), Some("127.0.1.4"));
        for nothing in [&[][..], &["127.0.0.1"], &["192.0.2.1"], &["10.0.0.2"]] {
            assert_eq!(says(nothing), (None, false), "{nothing:?}");
        }
        for error in ["127.255.255.252", "127.255.255.254", "127.255.255.255"] {
            assert_eq!(says(&[error]), (None, true), "{error}");
        }
        assert_eq!(
            says(&["127.255.255.254", "127.0.0.4"]).0.as_deref(),
            Some("127.0.0.4")
        );
    }

    #[test]
    fn a_name_is_confirmed_by_its_addresses() {
        let answer = Answer {
            records: vec![
                Data::A(Ipv4Addr::new(192, 0, 2, 1)),
                Data::Aaaa("2001:db8::1".parse().expect("an address")),
            ],
            ..Answer::default()
        };
        for (text, there) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("2001:db8::1", true),
            ("192.0.2.2", false),
            ("2001:db8::2", false),
        ] {
            assert_eq!(has_address(&answer, address(text)), there, "{text}");
        }
        assert_eq!(address_kind(address("::ffff:192.0.2.1")), Kind::A);
        assert_eq!(address_kind(address("2001:db8::1")), Kind::Aaaa);
    }
}
