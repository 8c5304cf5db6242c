//! One question on the wire, and what a reply to it says.
//!
//! A reply is believed only if id and question are ours (RFC 5452 §9.1); the host sees to source address and port.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE, header_buffer};
use thiserror::Error;

use super::name::Name;
use super::tlsa::{self, Tlsa};

/// UDP payload we take: no fragments on usual paths (RFC 6891 §6.2.5).
pub const UDP_PAYLOAD: u16 = 1232;

/// Octets of the header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// Aliases that are followed for one question.
pub(super) const MAX_ALIASES: usize = 8;

/// Records kept of one answer.
const MAX_RECORDS: usize = 128;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Names of addresses.
    Ptr,
    /// Text.
    Txt,
    /// Certificates of TLS servers (RFC 6698 §7.1).
    Tlsa,
    /// Where a service is (RFC 2782).
    Srv,
}

impl Kind {
    fn record_type(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
            Self::Mx => TYPE::MX,
            Self::Ptr => TYPE::PTR,
            Self::Txt => TYPE::TXT,
            Self::Tlsa => TYPE::Unknown(tlsa::TYPE),
            Self::Srv => TYPE::SRV,
        }
    }
}

/// A question; class IN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Name.
    pub name: Name,
    /// Record type.
    pub kind: Kind,
}

/// The data of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Mail exchanger.
    Mx {
        /// Lower is better.
        preference: u16,
        /// Its name; the root in a null MX (RFC 7505); `None`: a name that no host can have.
        exchange: Option<Name>,
    },
    /// A name of an address; none that no host can have.
    Ptr(Name),
    /// The strings of a text record, joined. One that is no UTF-8 is left out.
    Txt(String),
    /// What the certificate of a TLS server must be.
    Tlsa(Tlsa),
    /// Where a service is.
    Srv {
        /// Lower is better.
        priority: u16,
        /// Share of those of one priority.
        weight: u16,
        /// Its port.
        port: u16,
        /// Its host; the root: the service is not offered. `None`: a name that no host can have.
        target: Option<Name>,
    },
}

/// Records of the type asked for, aliases followed. Empty: the name exists, but not with this type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The records.
    pub records: Vec<Data>,
    /// DNSSEC validates it, the aliases on the way to it too: so says a server that is trusted to say so, with the AD bit
    /// (RFC 4035 §3.2.3).
    pub secure: bool,
    /// The name at the end of the aliases, if the name asked for is one.
    pub alias: Option<Name>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DnsError {
    /// NXDOMAIN.
    #[error("no such name")]
    NoSuchName,
    /// Every server refused, failed or sent nonsense; this is the last one's code.
    #[error("name servers failed ({0})")]
    ServerFailure(String),
    /// No server answered in time.
    #[error("name servers do not answer")]
    Timeout,
    /// There is no name server to ask.
    #[error("no name servers are configured")]
    NoServers,
    /// Too many aliases, or a loop of them.
    #[error("too many aliases")]
    Aliases,
}

impl DnsError {
    /// Whether a later try may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        *self != Self::NoSuchName
    }
}

/// A question with its id, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Random, not guessable.
    pub id: u16,
    /// Question.
    pub question: Question,
    /// With an OPT record (RFC 6891); without for servers that choke on it.
    pub edns: bool,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Not a reply to this query: forged or late. Go on waiting.
    NotOurs,
    /// TC is set: ask by TCP.
    Truncated,
    /// The server does not understand OPT.
    NoEdns,
    /// The server cannot or will not answer: its RCODE, or what is wrong with the reply.
    Failed(String),
    /// NXDOMAIN; it holds for so long.
    NoSuchName(Duration),
    /// Records, or none of this type; they hold for so long.
    Answer(Answer, Duration),
    /// The name is an alias for one whose records are not in the reply: ask for it. The last says whether it is secure.
    Alias(Name, Duration, bool),
}

impl Query {
    /// The message: recursion desired, and told whether the answer is secure (RFC 6840 §5.7).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let name = self.question.name.to_string();
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::AUTHENTIC_DATA);
        packet.questions.push(simple_dns::Question::new(
            simple_dns::Name::new_unchecked(&name),
            QTYPE::TYPE(self.question.kind.record_type()),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        if self.edns {
            *packet.opt_mut() = Some(OPT {
                opt_codes: Vec::new(),
                udp_packet_size: UDP_PAYLOAD,
                version: 0,
            });
        }
        // Writing into a vector does not fail; an empty message would only meet a time-out.
        packet.build_bytes_vec().unwrap_or_default()
    }

    /// Reads a reply.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> Reply {
        if header_buffer::id(bytes) != Ok(self.id)
            || header_buffer::has_flags(bytes, PacketFlag::RESPONSE) != Ok(true)
        {
            return Reply::NotOurs;
        }
        let rcode = header_buffer::rcode(bytes).unwrap_or(RCODE::Reserved);
        let edns_refused = self.edns && matches!(rcode, RCODE::FormatError | RCODE::NotImplemented);
        match header_buffer::questions(bytes) {
            // Servers that do not understand a query may send the header alone.
            Ok(0) if edns_refused => return Reply::NoEdns,
            Ok(1) if self.same_question(bytes) => {}
            _ => return Reply::NotOurs,
        }
        if edns_refused {
            return Reply::NoEdns;
        }
        if header_buffer::has_flags(bytes, PacketFlag::TRUNCATION) == Ok(true) {
            return Reply::Truncated;
        }
        if !counts_fit(bytes) {
            return Reply::Failed("malformed reply".into());
        }
        let known = self.with_known_type(bytes);
        let Ok(packet) = Packet::parse(known.as_deref().unwrap_or(bytes)) else {
            return Reply::Failed("malformed reply".into());
        };
        match packet.rcode() {
            RCODE::NoError => self.answer(&packet),
            RCODE::NameError => Reply::NoSuchName(negative_ttl(&packet).unwrap_or_default()),
            RCODE::BADVERS if self.edns => Reply::NoEdns,
            other => Reply::Failed(rcode_name(other)),
        }
    }

    /// The question behind the header is ours, without regard to case. Names of a question are never compressed: there
    /// is nothing before them. Length octets are below 64, so that case folding leaves them alone.
    fn same_question(&self, bytes: &[u8]) -> bool {
        let mut wire = self.question.name.to_wire();
        wire.extend(u16::from(self.question.kind.record_type()).to_be_bytes());
        wire.extend(1_u16.to_be_bytes());
        bytes
            .get(HEADER..HEADER + wire.len())
            .is_some_and(|theirs| theirs.eq_ignore_ascii_case(&wire))
    }

    /// The parser refuses questions of types that it does not know. Ours has been compared: it reads another one.
    fn with_known_type(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let known = u16::from(TYPE::TXT).to_be_bytes();
        let at = HEADER + self.question.name.to_wire().len();
        let mut bytes = (self.question.kind == Kind::Tlsa).then(|| bytes.to_vec())?;
        bytes.get_mut(at..at + known.len())?.copy_from_slice(&known);
        Some(bytes)
    }

    /// Follows aliases through the answer section and takes the records at their end (RFC 1034 §3.6.2).
    fn answer(&self, packet: &Packet<'_>) -> Reply {
        let secure = packet.has_flags(PacketFlag::AUTHENTIC_DATA);
        let mut owner = self.question.name.clone();
        let mut ttl = u32::MAX;
        for _ in 0..=MAX_ALIASES {
            let here: Vec<&ResourceRecord<'_>> = packet
                .answers
                .iter()
                .filter(|record| record.class == CLASS::IN && is_named(record, &owner))
                .collect();
            let found: Vec<(Data, u32)> = here
                .iter()
                .filter_map(|record| Some((data(&record.rdata, self.question.kind)?, seconds(record.ttl))))
                .take(MAX_RECORDS)
                .collect();
            if !found.is_empty() {
                ttl = found.iter().map(|(_, seconds)| *seconds).fold(ttl, u32::min);
                let records = found.into_iter().map(|(data, _)| data).collect();
                let answer = Answer {
                    records,
                    secure,
                    alias: (owner != self.question.name).then_some(owner),
                };
                return Reply::Answer(answer, Duration::from_secs(ttl.into()));
            }
            let alias = here.iter().find_map(|record| match &record.rdata {
                RData::CNAME(target) => Some((Name::alias_from_wire(target), seconds(record.ttl))),
                _ => None,
            });
            match alias {
                Some((Some(target), seconds)) => {
                    owner = target;
                    ttl = ttl.min(seconds);
                }
                Some((None, _)) => return Reply::Failed("alias of an impossible name".into()),
                None => return self.no_records(packet, owner, ttl),
            }
        }
        Reply::Failed("too many aliases".into())
    }

    /// The chain ends without records: there are none (an SOA says so), or the server left the rest to us.
    fn no_records(&self, packet: &Packet<'_>, owner: Name, ttl: u32) -> Reply {
        match negative_ttl(packet) {
            None if owner != self.question.name => {
                let secure = packet.has_flags(PacketFlag::AUTHENTIC_DATA);
                Reply::Alias(owner, Duration::from_secs(ttl.into()), secure)
            }
            negative => {
                let none = Answer {
                    records: Vec::new(),
                    secure: packet.has_flags(PacketFlag::AUTHENTIC_DATA),
                    alias: (owner != self.question.name).then_some(owner),
                };
                Reply::Answer(none, negative.unwrap_or_default())
            }
        }
    }
}

/// Whether the record counts of the header are possible for so many octets: a record has at least 11, so that a short
/// message cannot make the parser reserve room for 65,535.
fn counts_fit(bytes: &[u8]) -> bool {
    let counts = [
        header_buffer::answers(bytes),
        header_buffer::name_servers(bytes),
        header_buffer::additional_records(bytes),
    ];
    let records: usize = counts
        .into_iter()
        .map(|count| count.map_or(usize::MAX / 4, usize::from))
        .sum();
    records <= bytes.len() / 11
}

fn is_named(record: &ResourceRecord<'_>, name: &Name) -> bool {
    Name::alias_from_wire(&record.name).is_some_and(|owner| owner == *name)
}

fn data(rdata: &RData<'_>, kind: Kind) -> Option<Data> {
    match (rdata, kind) {
        (RData::A(a), Kind::A) => Some(Data::A(Ipv4Addr::from(a.address))),
        (RData::AAAA(aaaa), Kind::Aaaa) => Some(Data::Aaaa(Ipv6Addr::from(aaaa.address))),
        (RData::MX(mx), Kind::Mx) => Some(Data::Mx {
            preference: mx.preference,
            exchange: Name::from_wire(&mx.exchange),
        }),
        (RData::PTR(ptr), Kind::Ptr) => Name::from_wire(&ptr.0).map(Data::Ptr),
        (RData::TXT(txt), Kind::Txt) => String::try_from(txt.clone()).ok().map(Data::Txt),
        (RData::SRV(srv), Kind::Srv) => Some(Data::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: Name::from_wire(&srv.target),
        }),
        (RData::NULL(tlsa::TYPE, octets), Kind::Tlsa) => Tlsa::parse(octets.get_data()).map(Data::Tlsa),
        _ => None,
    }
}

/// A TTL with its highest bit set is zero (RFC 2181 §8).
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }
}

/// How long "there is none" holds: the SOA's TTL or its minimum, whichever is less (RFC 2308 §5).
fn negative_ttl(packet: &Packet<'_>) -> Option<Duration> {
    packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(Duration::from_secs(
            seconds(record.ttl).min(seconds(soa.minimum)).into(),
        )),
        _ => None,
    })
}

fn rcode_name(rcode: RCODE) -> String {
    match rcode {
        RCODE::FormatError => "FORMERR".into(),
        RCODE::ServerFailure => "SERVFAIL".into(),
        RCODE::NotImplemented => "NOTIMP".into(),
        RCODE::Refused => "REFUSED".into(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: Kind) -> Query {
        Query {
            id: 0x1234,
            question: Question {
                name: Name::parse(name).expect("name"),
                kind,
            },
            edns: true,
        }
    }

    #[test]
    fn a_query_on_the_wire() {
        let wire = query("ab.example", Kind::Mx).encode();
        let mut expected = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01".to_vec();
        expected.extend_from_slice(b"\x02ab\x07example\0\0\x0f\0\x01");
        expected.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        assert_eq!(wire, expected);
    }

    /// A reply by hand: header, question, answer records, authority records.
    fn reply(query: &Query, flags: u16, answers: &[&[u8]], authority: &[&[u8]]) -> Vec<u8> {
        let mut out = query.id.to_be_bytes().to_vec();
        out.extend(flags.to_be_bytes());
        out.extend(1_u16.to_be_bytes());
        out.extend(u16::try_from(answers.len()).expect("few").to_be_bytes());
        out.extend(u16::try_from(authority.len()).expect("few").to_be_bytes());
        out.extend(0_u16.to_be_bytes());
        out.extend(query.question.name.to_wire());
        out.extend(u16::from(query.question.kind.record_type()).to_be_bytes());
        out.extend(1_u16.to_be_bytes());
        for record in answers.iter().chain(authority) {
            out.extend_from_slice(record);
        }
        out
    }

    const MX: &[u8] = b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x0a\x02mx\xc0\x0c";
    const SOA: &[u8] =
        b"\xc0\x0c\0\x06\0\x01\0\0\x0e\x10\0\x18\xc0\x0c\xc0\x0c\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\x00\x78";

    #[test]
    fn answers_and_negative_answers() {
        let query = query("Example.COM", Kind::Mx);
        let answer = query.read(&reply(&query, 0x8180, &[MX], &[]));
        let exchange = Name::parse("mx.example.com");
        assert_eq!(
            answer,
            Reply::Answer(
                Answer {
                    records: vec![Data::Mx {
                        preference: 10,
                        exchange
                    }],
                    ..Answer::default()
                },
                Duration::from_secs(60)
            )
        );
        let minimum = Duration::from_secs(120);
        assert_eq!(
            query.read(&reply(&query, 0x8180, &[], &[SOA])),
            Reply::Answer(Answer::default(), minimum)
        );
        assert_eq!(
            query.read(&reply(&query, 0x8183, &[], &[SOA])),
            Reply::NoSuchName(minimum)
        );
        assert_eq!(
            query.read(&reply(&query, 0x8182, &[], &[])),
            Reply::Failed("SERVFAIL".into())
        );
        assert_eq!(query.read(&reply(&query, 0x8380, &[MX], &[])), Reply::Truncated);
        assert_eq!(query.read(&reply(&query, 0x8181, &[], &[])), Reply::NoEdns);
    }

    #[test]
    fn replies_to_others_are_not_ours() {
        let query = query("example.com", Kind::Mx);
        let good = reply(&query, 0x8180, &[MX], &[]);
        let other = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            query.read(&bytes)
        };
        assert_eq!(other(&|b| b[0] ^= 1), Reply::NotOurs, "id");
        assert_eq!(other(&|b| b[2] &= 0x7f), Reply::NotOurs, "a query");
        assert_eq!(other(&|b| b[13] = b'f'), Reply::NotOurs, "name");
        assert_eq!(other(&|b| b[5] = 0), Reply::NotOurs, "no question");
        assert_eq!(other(&|b| b.truncate(20)), Reply::NotOurs, "cut");
        let at = HEADER + 13;
        assert_eq!(other(&|b| b[at + 1] = 1), Reply::NotOurs, "type");
        assert_eq!(other(&|b| b[at + 3] = 3), Reply::NotOurs, "class");
        assert!(
            matches!(other(&|b| b[13] = b'E'), Reply::Answer(..)),
            "case is no matter"
        );
        assert!(
            matches!(other(&|b| b.truncate(40)), Reply::Failed(_)),
            "cut in a record"
        );
        assert!(
            matches!(other(&|b| b[6] = 0xff), Reply::Failed(_)),
            "65,000 records in 50 octets"
        );
    }

    #[test]
    fn aliases_are_followed_within_bounds() {
        let query = query("w", Kind::A);
        let cname = |from: &str, to: &str| {
            let mut out = Name::parse(from).expect("name").to_wire();
            out.extend_from_slice(b"\0\x05\0\x01\0\0\0\x1e");
            let target = Name::parse(to).expect("name").to_wire();
            out.extend(u16::try_from(target.len()).expect("short").to_be_bytes());
            out.extend(target);
            out
        };
        let a: &[u8] = b"\x01x\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
        let address = Answer {
            records: vec![Data::A(Ipv4Addr::new(192, 0, 2, 1))],
            secure: false,
            alias: Name::parse("x"),
        };
        let half_minute = Duration::from_secs(30);
        assert_eq!(
            query.read(&reply(&query, 0x8180, &[a, &cname("w", "X")], &[])),
            Reply::Answer(address, half_minute),
            "in any order, without regard to case, with the least TTL"
        );
        assert_eq!(
            query.read(&reply(&query, 0x8180, &[&cname("w", "v")], &[])),
            Reply::Alias(Name::parse("v").expect("name"), half_minute, false)
        );
        assert_eq!(
            query.read(&reply(&query, 0x8180, &[&cname("w", "v"), &cname("v", "w")], &[])),
            Reply::Failed("too many aliases".into())
        );
        let unrelated: &[u8] = b"\x01q\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
        assert_eq!(
            query.read(&reply(&query, 0x8180, &[unrelated], &[])),
            Reply::Answer(Answer::default(), Duration::ZERO),
            "records of other names are not believed"
        );
    }

    #[test]
    fn tlsa_records_and_the_ad_bit() {
        let query = query("_25._tcp.mx", Kind::Tlsa);
        let record: &[u8] = b"\xc0\x0c\0\x34\0\x01\0\0\0\x3c\0\x05\x03\x01\x01\xab\xcd";
        let short: &[u8] = b"\xc0\x0c\0\x34\0\x01\0\0\0\x3c\0\x02\x03\x01";
        let read = |flags| match query.read(&reply(&query, flags, &[record, short], &[])) {
            Reply::Answer(answer, _) => answer,
            other => panic!("{other:?}"),
        };
        let [Data::Tlsa(tlsa)] = &read(0x8180).records[..] else {
            panic!("one record");
        };
        assert_eq!(tlsa.to_string(), "3 1 1 abcd");
        assert!(!read(0x8180).secure);
        assert!(read(0x81a0).secure);
        let nothing = query.read(&reply(&query, 0x81a0, &[], &[SOA]));
        assert!(matches!(nothing, Reply::Answer(answer, _) if answer.secure && answer.records.is_empty()));
    }

    #[test]
    fn null_mx_and_impossible_names() {
        let query = query("e", Kind::Mx);
        let null: &[u8] = b"\xc0\x0c\0\x0f\0\x01\x80\0\0\x3c\0\x03\0\0\0";
        let odd: &[u8] = b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x05\x03a b\0";
        let Reply::Answer(answer, ttl) = query.read(&reply(&query, 0x8180, &[null, odd], &[])) else {
            panic!("an answer");
        };
        assert_eq!(ttl, Duration::ZERO, "a TTL with the highest bit is zero");
        let root = Name::parse(".");
        assert_eq!(
            answer.records,
            [
                Data::Mx {
                    preference: 0,
                    exchange: root
                },
                Data::Mx {
                    preference: 5,
                    exchange: None
                }
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_reply_makes_it_panic(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), counts in proptest::array::uniform6(0_u8..4)) {
            let query = query("example.com", Kind::Mx);
            let mut bytes = reply(&query, 0x8180, &[MX], &[SOA]);
            bytes[6..12].copy_from_slice(&counts);
            let _ = query.read(&tail);
            bytes.extend_from_slice(&tail);
            let _ = query.read(&bytes);
            let at = HEADER + 17;
            bytes.truncate(at);
            bytes.extend_from_slice(&tail);
            let _ = query.read(&bytes);
        }
    }
}
