//! Whether an SPF record lets an address send (RFC 7208), as far as advice needs that: mechanisms that depend on the
//! message (macros) or that nobody should use (`ptr`) leave it open.

use core::net::IpAddr;

use super::facts::{Facts, Stop, ips, texts};
use crate::config::Network;
use crate::dns::{Data, Kind, Name, peer};

/// Terms that ask the DNS, at most (RFC 7208 §4.6.4).
const MAX_LOOKUPS: usize = 10;
/// Look-ups without an answer, at most (RFC 7208 §4.6.4).
const MAX_VOID: usize = 2;
/// MX hosts of one mechanism, at most (RFC 7208 §4.6.4).
const MAX_EXCHANGERS: usize = 10;
/// Terms of one record that are read.
const MAX_TERMS: usize = 256;

/// What the record says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It may send: this mechanism says so.
    Pass(String),
    /// It may not.
    Fail,
    /// Probably not.
    SoftFail,
    /// Nothing is said of it.
    Neutral,
    /// There is no record.
    None,
    /// The record cannot be used: others see no SPF at all, or refuse.
    PermError(String),
    /// It depends on something that is not looked at here.
    Open(String),
}

/// The SPF records of a name.
pub(super) fn records(facts: &mut Facts, name: &Name) -> Result<Vec<String>, Stop> {
    let answer = facts.find(name, Kind::Txt)?;
    Ok(texts(&answer)
        .filter(|text| is_spf(text))
        .map(str::to_owned)
        .collect())
}

/// "v=spf1" followed by a space or the end (RFC 7208 §4.5).
fn is_spf(text: &str) -> bool {
    let (version, rest) = text.split_at_checked(6).unwrap_or_default();
    version.eq_ignore_ascii_case("v=spf1") && (rest.is_empty() || rest.starts_with(' '))
}

/// check_host() of RFC 7208 §4 for mail of this domain from this address.
pub(super) fn evaluate(facts: &mut Facts, name: &Name, ip: IpAddr) -> Result<Outcome, Stop> {
    let ip = ip.to_canonical();
    Evaluation {
        facts,
        ip,
        lookups: 0,
        voids: 0,
    }
    .of(name)
}

struct Evaluation<'a> {
    facts: &'a mut Facts,
    ip: IpAddr,
    lookups: usize,
    voids: usize,
}

/// Whether a mechanism matches, or how the whole ends with it.
enum Match {
    Yes,
    No,
    End(Outcome),
}

impl From<bool> for Match {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A mechanism: `qualifier name ":" domain "/" prefix "//" prefix`.
struct Mechanism<'a> {
    qualifier: Outcome,
    name: String,
    /// Behind the colon, with what follows slashes.
    argument: &'a str,
}

impl Evaluation<'_> {
    fn of(&mut self, name: &Name) -> Result<Outcome, Stop> {
        let records = records(self.facts, name)?;
        let [record] = records.as_slice() else {
            return Ok(match records.len() {
                0 => Outcome::None,
                many => Outcome::PermError(format!(
                    "{name} has {many} SPF records, and only one may be there"
                )),
            });
        };
        let terms: Vec<&str> = record.split_ascii_whitespace().skip(1).collect();
        if terms.len() > MAX_TERMS {
            return Ok(Outcome::PermError(format!(
                "the record of {name} has too many terms"
            )));
        }
        let mut redirect = None;
        for term in &terms {
            if let Some((modifier, value)) = modifier(term) {
                redirect = redirect.or(modifier.eq_ignore_ascii_case("redirect").then_some(value));
                continue;
            }
            let mechanism = read(term);
            match self.matches(name, &mechanism, term)? {
                Match::No => {}
                Match::End(outcome) => return Ok(outcome),
                Match::Yes => {
                    return Ok(match mechanism.qualifier {
                        Outcome::Pass(_) => Outcome::Pass((*term).to_owned()),
                        other => other,
                    });
                }
            }
        }
        match redirect {
            Some(target) => self.redirected(target),
            None => Ok(Outcome::Neutral),
        }
    }

    fn redirected(&mut self, target: &str) -> Result<Outcome, Stop> {
        let name = match self.look_up(target) {
            Ok(name) => name,
            Err(outcome) => return Ok(outcome),
        };
        Ok(match self.of(&name)? {
            Outcome::None => Outcome::PermError(format!("redirect={target} leads to no record")),
            other => other,
        })
    }

    fn matches(&mut self, domain: &Name, mechanism: &Mechanism<'_>, term: &str) -> Result<Match, Stop> {
        let broken = || {
            Ok(Match::End(Outcome::PermError(format!(
                "\"{term}\" cannot be read"
            ))))
        };
        match (mechanism.name.as_str(), mechanism.argument) {
            ("all", "") => Ok(Match::Yes),
            ("ip4" | "ip6", network) => {
                let six = mechanism.name == "ip6";
                match Network::parse(network).filter(|_| network.contains(':') == six) {
                    Some(network) => Ok(network.contains(self.ip).into()),
                    None => broken(),
                }
            }
            ("include", target) if !target.is_empty() => self.include(target),
            ("a" | "mx", argument) => {
                let Some((target, prefixes)) = target(argument, domain) else {
                    return broken();
                };
                let name = match self.look_up(&target) {
                    Ok(name) => name,
                    Err(outcome) => return Ok(Match::End(outcome)),
                };
                match mechanism.name.as_str() {
                    "a" => self.a(&name, prefixes),
                    _ => self.mx(&name, prefixes),
                }
            }
            ("exists", target) if !target.is_empty() => {
                let name = match self.look_up(target) {
                    Ok(name) => name,
                    Err(outcome) => return Ok(Match::End(outcome)),
                };
                let found = !self.facts.find(&name, Kind::A)?.records.is_empty();
                Ok(self.void(!found).unwrap_or_else(|| found.into()))
            }
            ("ptr", _) => Ok(Match::End(Outcome::Open(
                "it uses ptr, which nobody should (RFC 7208 §5.5)".into(),
            ))),
            _ => broken(),
        }
    }

    fn include(&mut self, target: &str) -> Result<Match, Stop> {
        let name = match self.look_up(target) {
            Ok(name) => name,
            Err(outcome) => return Ok(Match::End(outcome)),
        };
        // RFC 7208 §5.2.
        Ok(match self.of(&name)? {
            Outcome::Pass(_) => Match::Yes,
            Outcome::Fail | Outcome::SoftFail | Outcome::Neutral => Match::No,
            Outcome::None => Match::End(Outcome::PermError(format!("include:{target} leads to no record"))),
            other => Match::End(other),
        })
    }

    fn a(&mut self, name: &Name, prefixes: [u8; 2]) -> Result<Match, Stop> {
        let answer = self.facts.find(name, peer::address_kind(self.ip))?;
        let found = self.has(&ips(&answer), prefixes);
        Ok(self
            .void(answer.records.is_empty())
            .unwrap_or_else(|| found.into()))
    }

    fn mx(&mut self, name: &Name, prefixes: [u8; 2]) -> Result<Match, Stop> {
        let answer = self.facts.find(name, Kind::Mx)?;
        if let Some(end) = self.void(answer.records.is_empty()) {
            return Ok(end);
        }
        if answer.records.len() > MAX_EXCHANGERS {
            let why = format!("{name} has more than {MAX_EXCHANGERS} MX records");
            return Ok(Match::End(Outcome::PermError(why)));
        }
        let hosts: Vec<Name> = answer
            .records
            .into_iter()
            .filter_map(|data| match data {
                Data::Mx { exchange, .. } => exchange.filter(|name| !name.is_root()),
                _ => None,
            })
            .collect();
        let kind = peer::address_kind(self.ip);
        let answers: Vec<_> = hosts.iter().map(|host| self.facts.find(host, kind)).collect();
        let mut found = false;
        for answer in answers {
            found |= self.has(&ips(&answer?), prefixes);
        }
        Ok(found.into())
    }

    fn has(&self, addresses: &[IpAddr], prefixes: [u8; 2]) -> bool {
        let [four, six] = prefixes;
        let prefix = if self.ip.is_ipv4() { four } else { six };
        addresses.iter().any(|address| {
            Network::parse(&format!("{address}/{prefix}")).is_some_and(|network| network.contains(self.ip))
        })
    }

    /// Counts one more look-up, for this name.
    fn look_up(&mut self, target: &str) -> Result<Name, Outcome> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return Err(Outcome::PermError(format!(
                "it needs more than {MAX_LOOKUPS} look-ups"
            )));
        }
        if target.contains('%') {
            return Err(Outcome::Open(format!("\"{target}\" depends on the message")));
        }
        Name::parse(target).ok_or_else(|| Outcome::PermError(format!("\"{target}\" is no name")))
    }

    /// Counts a look-up that found nothing.
    fn void(&mut self, nothing: bool) -> Option<Match> {
        self.voids += usize::from(nothing);
        (self.voids > MAX_VOID).then(|| {
            let why = format!("more than {MAX_VOID} of its look-ups find nothing");
            Match::End(Outcome::PermError(why))
        })
    }
}

/// `name=value` (RFC 7208 §6).
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let other = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(other);
    good.then_some((name, value))
}

fn read(term: &str) -> Mechanism<'_> {
    let (qualifier, rest) = match term.split_at_checked(1) {
        Some(("-", rest)) => (Outcome::Fail, rest),
        Some(("~", rest)) => (Outcome::SoftFail, rest),
        Some(("?", rest)) => (Outcome::Neutral, rest),
        Some(("+", rest)) => (Outcome::Pass(String::new()), rest),
        _ => (Outcome::Pass(String::new()), term),
    };
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, argument) = rest.split_at_checked(end).unwrap_or((rest, ""));
    Mechanism {
        qualifier,
        name: name.to_ascii_lowercase(),
        argument: argument.strip_prefix(':').unwrap_or(argument),
    }
}

/// The name and the prefixes for both families of `a` and `mx` (RFC 7208 §5.6).
fn target(argument: &str, domain: &Name) -> Option<(String, [u8; 2])> {
    let (name, lengths) = match argument.split_once('/') {
        Some((name, lengths)) => (name, Some(lengths)),
        None => (argument, None),
    };
    let (four, six) = match lengths {
        None => ("32", "128"),
        Some(lengths) => match (lengths.strip_prefix('/'), lengths.split_once("//")) {
            (Some(six), _) => ("32", six),
            (None, Some((four, six))) => (four, six),
            (None, None) => (lengths, "128"),
        },
    };
    let number = |text: &str, most: u8| {
        let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit());
        let number: u8 = digits.then(|| text.parse().ok()).flatten()?;
        (number <= most).then_some(number)
    };
    let name = if name.is_empty() { domain.as_str() } else { name };
    Some((name.to_owned(), [number(four, 32)?, number(six, 128)?]))
}
