//! Which hosts take mail for a domain (RFC 5321 §5.1), as a step machine over resolver answers.
//!
//! Ask every [`Question`] that [`Lookup::poll`] gives, hand each answer to [`Lookup::answer`] in any order, until
//! [`Lookup::result`] is there.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Answer, Data, DnsError, Kind, Question};
use super::name::Name;
use crate::addr::Domain;
use crate::random::Random;

/// MX hosts that are looked at, the best ones.
const MAX_HOSTS: usize = 32;

/// Addresses of one host.
const MAX_ADDRESSES: usize = 16;

/// How we find ourselves in a list of MX hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ourselves {
    /// Our host names.
    pub names: Vec<Name>,
    /// Our addresses, if mail sent to them would come back to us. Empty where a port map makes them say nothing.
    pub addresses: Vec<IpAddr>,
}

/// Where to try, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Hosts; none is without addresses.
    pub hosts: Vec<Host>,
    /// DNSSEC confirms that these are the hosts: the MX records, or that there are none, are secure ([`Answer::secure`]).
    pub secure: bool,
    /// The domain has no MX records: it is its own host.
    pub implicit: bool,
}

/// A host that takes mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, for the certificate and the log; an address as text if it was given so.
    pub name: String,
    /// Its addresses: IPv4, then IPv6, each in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// The addresses are secure ([`Answer::secure`]).
    pub secure: bool,
    /// The name at the end of its aliases, if it is one.
    pub alias: Option<Name>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The domain does not exist, or has neither MX nor address. Permanent.
    NoSuchDomain,
    /// A null MX: the domain takes no mail (RFC 7505). Permanent.
    NullMx,
    /// We are the best host, but the domain is not ours. Permanent.
    OnlyOurselves,
    /// None of the MX hosts has an address. Permanent.
    NoAddresses,
    /// The name servers did not say. Temporary.
    Temporary(DnsError),
}

/// A look-up on its way.
#[derive(Clone, Debug)]
pub struct Lookup {
    ourselves: Ourselves,
    random: Random,
    to_ask: VecDeque<Question>,
    asked: BTreeSet<Question>,
    /// The domain itself, for the implicit MX.
    domain: Option<Name>,
    hosts: Vec<Candidate>,
    /// No MX record says so: the domain's own addresses are used.
    implicit: bool,
    /// The answer about MX records is secure.
    secure: bool,
    trouble: Option<DnsError>,
    result: Option<Result<Plan, Failure>>,
}

#[derive(Clone, Debug)]
struct Candidate {
    preference: u16,
    name: Name,
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    /// An answer with addresses was not secure.
    insecure: bool,
    alias: Option<Name>,
}

impl Candidate {
    fn new(preference: u16, name: Name) -> Self {
        Self {
            preference,
            name,
            v4: Vec::new(),
            v6: Vec::new(),
            insecure: false,
            alias: None,
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().chain(&self.v6).copied().take(MAX_ADDRESSES)
    }
}

impl Lookup {
    /// The MX hosts of a domain; of an address literal, that address. The seed decides the order of equal preferences.
    #[must_use]
    pub fn mx(domain: &Domain, ourselves: Ourselves, seed: [u8; 32]) -> Self {
        let mut lookup = Self::empty(ourselves, seed);
        if let Some(address) = literal(domain.as_str()) {
            let ours = lookup.ourselves.addresses.contains(&address);
            lookup.result = Some(if ours {
                Err(Failure::OnlyOurselves)
            } else {
                Ok(at(domain.as_str(), vec![address]))
            });
        } else if let Some(name) = Name::from_domain(domain) {
            lookup.domain = Some(name.clone());
            lookup.to_ask.push_back(Question { name, kind: Kind::Mx });
        } else {
            lookup.result = Some(Err(Failure::NoSuchDomain));
        }
        lookup
    }

    /// The addresses of a host that was named: no MX. A name, an address, or an address literal.
    #[must_use]
    pub fn host(host: &str) -> Self {
        let mut lookup = Self::empty(Ourselves::default(), [0; 32]);
        let address = literal(host).or_else(|| host.parse().ok());
        if let Some(address) = address {
            lookup.result = Some(Ok(at(host, vec![address])));
        } else if is_localhost(host) {
            let both = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            lookup.result = Some(Ok(at(host, both)));
        } else if let Some(name) = Domain::parse(host).as_ref().and_then(Name::from_domain) {
            lookup.implicit = true;
            lookup.ask_addresses(vec![Candidate::new(0, name)]);
        } else {
            lookup.result = Some(Err(Failure::NoSuchDomain));
        }
        lookup
    }

    fn empty(ourselves: Ourselves, seed: [u8; 32]) -> Self {
        Self {
            ourselves,
            random: Random::from_seed(seed),
            to_ask: VecDeque::new(),
            asked: BTreeSet::new(),
            domain: None,
            hosts: Vec::new(),
            implicit: false,
            secure: false,
            trouble: None,
            result: None,
        }
    }

    /// The next question to ask.
    #[must_use]
    pub fn poll(&mut self) -> Option<Question> {
        let question = self.to_ask.pop_front()?;
        self.asked.insert(question.clone());
        Some(question)
    }

    /// What the resolver says. Answers to questions that were not asked are ignored.
    pub fn answer(&mut self, question: &Question, answer: Result<Answer, DnsError>) {
        if !self.asked.remove(question) {
            return;
        }
        if question.kind == Kind::Mx {
            self.exchangers(answer);
        } else {
            self.addresses(question, answer);
        }
        if self.result.is_none() && self.to_ask.is_empty() && self.asked.is_empty() {
            self.result = Some(self.plan());
        }
    }

    /// The end, once it is known.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Plan, Failure>> {
        self.result.as_ref()
    }

    fn exchangers(&mut self, answer: Result<Answer, DnsError>) {
        let records = match answer {
            Ok(answer) => {
                self.secure = answer.secure;
                answer.records
            }
            Err(error) => {
                self.result = Some(Err(failure(error)));
                return;
            }
        };
        let mut exchangers: Vec<(u16, Option<Name>)> = records
            .into_iter()
            .filter_map(|data| match data {
                Data::Mx { preference, exchange } => Some((preference, exchange)),
                _ => None,
            })
            .collect();
        if exchangers.is_empty() {
            self.implicit = true;
            let own = self.domain.clone();
            self.ask_addresses(own.into_iter().map(|name| Candidate::new(0, name)).collect());
            return;
        }
        if exchangers
            .iter()
            .all(|(_, name)| name.as_ref().is_some_and(Name::is_root))
        {
            self.result = Some(Err(Failure::NullMx));
            return;
        }
        self.shuffle(&mut exchangers);
        let mut seen = BTreeSet::new();
        let candidates: Vec<Candidate> = exchangers
            .into_iter()
            .filter_map(|(preference, name)| {
                Some(Candidate::new(preference, name.filter(|name| !name.is_root())?))
            })
            .filter(|candidate| seen.insert(candidate.name.clone()))
            .collect();
        let some = !candidates.is_empty();
        let ourselves = &self.ourselves;
        let mut left = without_ourselves(candidates, |host| ourselves.names.contains(&host.name));
        left.truncate(MAX_HOSTS);
        if left.is_empty() {
            let none = if some {
                Failure::OnlyOurselves
            } else {
                Failure::NoAddresses
            };
            self.result = Some(Err(none));
            return;
        }
        self.ask_addresses(left);
    }

    /// Best first; equal ones in random order (RFC 5321 §5.1).
    fn shuffle(&mut self, exchangers: &mut Vec<(u16, Option<Name>)>) {
        // Records come in an order that the server chose: begin with one that depends on nothing.
        exchangers.sort();
        let mut drawn: Vec<(u16, u64, Option<Name>)> = exchangers
            .drain(..)
            .map(|(preference, name)| (preference, self.random.next_u64(), name))
            .collect();
        drawn.sort();
        exchangers.extend(drawn.into_iter().map(|(preference, _, name)| (preference, name)));
    }

    fn ask_addresses(&mut self, hosts: Vec<Candidate>) {
        for host in &hosts {
            for kind in [Kind::A, Kind::Aaaa] {
                let name = host.name.clone();
                self.to_ask.push_back(Question { name, kind });
            }
        }
        self.hosts = hosts;
    }

    fn addresses(&mut self, question: &Question, answer: Result<Answer, DnsError>) {
        let Answer {
            records,
            secure,
            alias,
        } = match answer {
            Ok(answer) => answer,
            Err(DnsError::NoSuchName) => return,
            Err(error) => {
                self.trouble = Some(error);
                return;
            }
        };
        let host = self.hosts.iter_mut().find(|host| host.name == question.name);
        let Some(host) = host else {
            return;
        };
        host.insecure |= !secure && !records.is_empty();
        if alias.is_some() {
            host.alias = alias;
        }
        for data in records {
            match data {
                Data::A(address) => host.v4.push(address.into()),
                Data::Aaaa(address) => host.v6.push(address.into()),
                Data::Mx { .. } | Data::Ptr(_) | Data::Txt(_) | Data::Tlsa(_) | Data::Srv { .. } => {}
            }
        }
    }

    fn plan(&mut self) -> Result<Plan, Failure> {
        let ours = &self.ourselves.addresses;
        let hosts = core::mem::take(&mut self.hosts);
        let reachable: Vec<Candidate> = hosts
            .into_iter()
            .filter(|host| host.addresses().next().is_some())
            .collect();
        let some = !reachable.is_empty();
        let left = without_ourselves(reachable, |host| {
            host.addresses().any(|address| ours.contains(&address))
        });
        if !left.is_empty() {
            let hosts = left
                .iter()
                .map(|host| Host {
                    name: host.name.to_string(),
                    addresses: host.addresses().collect(),
                    secure: !host.insecure,
                    alias: host.alias.clone(),
                })
                .collect();
            return Ok(Plan {
                hosts,
                secure: self.secure,
                implicit: self.implicit,
            });
        }
        Err(match self.trouble.take() {
            Some(error) => Failure::Temporary(error),
            None if some => Failure::OnlyOurselves,
            None if self.implicit => Failure::NoSuchDomain,
            None => Failure::NoAddresses,
        })
    }
}

/// The hosts that are better than we are: our preference and all worse ones are dropped (RFC 5321 §5.1).
fn without_ourselves(hosts: Vec<Candidate>, is_us: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
    let ours = hosts
        .iter()
        .filter(|host| is_us(host))
        .map(|host| host.preference)
        .min();
    hosts
        .into_iter()
        .filter(|host| ours.is_none_or(|ours| host.preference < ours))
        .collect()
}

fn failure(error: DnsError) -> Failure {
    match error {
        DnsError::NoSuchName => Failure::NoSuchDomain,
        other => Failure::Temporary(other),
    }
}

fn at(name: &str, addresses: Vec<IpAddr>) -> Plan {
    Plan {
        hosts: vec![Host {
            name: name.to_owned(),
            addresses,
            secure: false,
            alias: None,
        }],
        secure: false,
        implicit: false,
    }
}

/// The address of `[192.0.2.1]` or `[IPv6:2001:db8::1]`; for hosts in a configuration also `[2001:db8::1]`.
fn literal(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inner.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse().ok(),
    }
}

/// Names that are this machine without asking anybody (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect("domain")
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("name")
    }

    fn mx(list: &[(u16, &str)]) -> Result<Answer, DnsError> {
        let record = |(preference, text): &(u16, &str)| Data::Mx {
            preference: *preference,
            exchange: Name::parse(text),
        };
        Ok(Answer {
            records: list.iter().map(record).collect(),
            ..Answer::default()
        })
    }

    /// Runs a look-up against a table; what is not in it does not exist.
    fn run(mut lookup: Lookup, zone: &[(&str, Kind, Result<Answer, DnsError>)]) -> Result<Plan, Failure> {
        while let Some(question) = lookup.poll() {
            let known = zone
                .iter()
                .find(|(host, kind, _)| name(host) == question.name && *kind == question.kind);
            let answer = known.map_or(Err(DnsError::NoSuchName), |(.., answer)| answer.clone());
            lookup.answer(&question, answer);
        }
        lookup.result().cloned().expect("an end")
    }

    fn a(last: u8) -> Result<Answer, DnsError> {
        Ok(Answer {
            records: vec![Data::A(Ipv4Addr::new(192, 0, 2, last))],
            ..Answer::default()
        })
    }

    fn none() -> Result<Answer, DnsError> {
        Ok(Answer::default())
    }

    fn us(names: &[&str], addresses: &[[u8; 4]]) -> Ourselves {
        Ourselves {
            names: names.iter().map(|text| name(text)).collect(),
            addresses: addresses.iter().map(|octets| IpAddr::from(*octets)).collect(),
        }
    }

    fn names(plan: Result<Plan, Failure>) -> Result<Vec<String>, Failure> {
        plan.map(|plan| plan.hosts.into_iter().map(|host| host.name).collect())
    }

    #[test]
    fn best_first_with_all_addresses() {
        let six = Answer {
            records: vec![Data::Aaaa(Ipv6Addr::LOCALHOST)],
            ..Answer::default()
        };
        let zone = [
            (
                "d",
                Kind::Mx,
                mx(&[(20, "b"), (10, "a"), (20, "c"), (30, "gone"), (10, "A.")]),
            ),
            ("a", Kind::A, a(1)),
            ("a", Kind::Aaaa, Ok(six)),
            ("b", Kind::A, a(2)),
            ("c", Kind::A, a(3)),
        ];
        let mut orders = BTreeSet::new();
        for seed in 0..20 {
            let plan =
                run(Lookup::mx(&domain("d"), Ourselves::default(), [seed; 32]), &zone).expect("a plan");
            let first = plan.hosts.first().expect("a host");
            assert_eq!(first.name, "a");
            assert_eq!(
                first.addresses,
                [IpAddr::from([192, 0, 2, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            );
            orders.insert(names(Ok(plan)).expect("names"));
        }
        let expected = [["a", "b", "c"], ["a", "c", "b"]].map(|order| order.map(String::from).to_vec());
        assert_eq!(
            orders,
            BTreeSet::from(expected),
            "equal preferences are shuffled, and only they"
        );
    }

    #[test]
    fn the_domain_itself_only_without_mx() {
        let ask = |answer, address| {
            let zone = [("d", Kind::Mx, answer), ("d", Kind::A, address)];
            names(run(
                Lookup::mx(&domain("d"), Ourselves::default(), [0; 32]),
                &zone,
            ))
        };
        assert_eq!(ask(none(), a(1)), Ok(vec!["d".into()]));
        assert_eq!(ask(none(), none()), Err(Failure::NoSuchDomain));
        assert_eq!(
            ask(none(), Err(DnsError::Timeout)),
            Err(Failure::Temporary(DnsError::Timeout))
        );
        assert_eq!(ask(Err(DnsError::NoSuchName), a(1)), Err(Failure::NoSuchDomain));
        assert_eq!(ask(mx(&[(0, ".")]), a(1)), Err(Failure::NullMx));
        assert_eq!(ask(mx(&[(0, "."), (5, "d")]), a(1)), Ok(vec!["d".into()]));
        assert_eq!(ask(mx(&[(0, "not there")]), a(1)), Err(Failure::NoAddresses));
        assert_eq!(ask(mx(&[(0, "nohost")]), a(1)), Err(Failure::NoAddresses));
        let servfail = DnsError::ServerFailure("SERVFAIL".into());
        assert_eq!(
            ask(Err(servfail.clone()), a(1)),
            Err(Failure::Temporary(servfail))
        );
    }

    #[test]
    fn ourselves_and_all_worse_are_dropped() {
        let zone = [
            ("d", Kind::Mx, mx(&[(10, "a"), (20, "me"), (20, "b"), (30, "c")])),
            ("a", Kind::A, a(1)),
            ("b", Kind::A, a(2)),
            ("c", Kind::A, a(3)),
            ("me", Kind::A, a(9)),
        ];
        let ask = |us| names(run(Lookup::mx(&domain("d"), us, [0; 32]), &zone));
        assert_eq!(ask(us(&["me"], &[])), Ok(vec!["a".into()]));
        assert_eq!(ask(us(&["x"], &[[192, 0, 2, 9]])), Ok(vec!["a".into()]));
        assert_eq!(ask(us(&["a"], &[])), Err(Failure::OnlyOurselves));
        assert_eq!(ask(us(&[], &[[192, 0, 2, 1]])), Err(Failure::OnlyOurselves));
        assert_eq!(ask(us(&["c"], &[])).map(|names| names.len()), Ok(3));
        assert_eq!(
            names(run(
                Lookup::mx(&domain("d"), us(&["me"], &[]), [0; 32]),
                &zone[..1]
            )),
            Err(Failure::NoAddresses)
        );
    }

    #[test]
    fn half_a_failure_is_none() {
        let zone = [
            ("d", Kind::Mx, mx(&[(10, "a"), (20, "b")])),
            ("a", Kind::A, Err(DnsError::Timeout)),
            ("a", Kind::Aaaa, Err(DnsError::Timeout)),
            ("b", Kind::A, a(2)),
        ];
        let ask = |zone: &[_]| names(run(Lookup::mx(&domain("d"), Ourselves::default(), [0; 32]), zone));
        assert_eq!(ask(&zone), Ok(vec!["b".into()]));
        assert_eq!(ask(&zone[..3]), Err(Failure::Temporary(DnsError::Timeout)));
    }

    #[test]
    fn literals_and_named_hosts() {
        let nobody = Ourselves::default;
        let direct = |text| run(Lookup::mx(&domain(text), nobody(), [0; 32]), &[]);
        let v4 = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(direct("[192.0.2.1]"), Ok(at("[192.0.2.1]", vec![v4])));
        let v6 = IpAddr::V6("2001:db8::1".parse().expect("address"));
        assert_eq!(
            direct("[IPv6:2001:db8::1]"),
            Ok(at("[IPv6:2001:db8::1]", vec![v6]))
        );
        let own = Lookup::mx(&domain("[192.0.2.1]"), us(&[], &[[192, 0, 2, 1]]), [0; 32]);
        assert_eq!(run(own, &[]), Err(Failure::OnlyOurselves));
        assert_eq!(run(Lookup::host("192.0.2.1"), &[]), Ok(at("192.0.2.1", vec![v4])));
        assert_eq!(
            run(Lookup::host("[2001:db8::1]"), &[]),
            Ok(at("[2001:db8::1]", vec![v6]))
        );
        assert_eq!(
            run(Lookup::host("localhost"), &[]).map(|plan| plan.hosts[0].addresses.len()),
            Ok(2)
        );
        let zone = [("smart", Kind::A, a(7)), ("smart", Kind::Mx, mx(&[(1, "x")]))];
        assert_eq!(names(run(Lookup::host("Smart"), &zone)), Ok(vec!["smart".into()]));
        assert_eq!(run(Lookup::host("absent"), &zone), Err(Failure::NoSuchDomain));
        assert_eq!(run(Lookup::host("no host"), &zone), Err(Failure::NoSuchDomain));
    }
}
