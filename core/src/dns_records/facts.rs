//! What the DNS says, as far as it is known yet.

use std::collections::BTreeMap;

use crate::addr::Domain;
use crate::dns::{Answer, Data, DnsError, Kind, Name, Question};

/// Something to find out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Ask the name servers.
    Dns(Question),
    /// Fetch the MTA-STS policy of a domain (RFC 8461 §3.3).
    Policy(Domain),
}

/// What was found out.
#[derive(Debug, Default)]
pub struct Facts {
    known: BTreeMap<Question, Result<Answer, DnsError>>,
    policies: BTreeMap<Domain, Result<Vec<u8>, String>>,
    missing: Vec<Wanted>,
}

/// Why a judgement ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Something has to be found out first.
    Missing,
    /// The name servers do not tell.
    Failed(Name, DnsError),
}

impl Facts {
    /// Takes an answer.
    pub fn dns(&mut self, question: Question, result: Result<Answer, DnsError>) {
        self.known.insert(question, result);
    }

    /// Takes a policy, or why there is none.
    pub fn policy(&mut self, domain: Domain, result: Result<Vec<u8>, String>) {
        self.policies.insert(domain, result);
    }

    /// What was missing since the last call, each once.
    pub fn missing(&mut self) -> Vec<Wanted> {
        let mut missing = std::mem::take(&mut self.missing);
        missing.sort();
        missing.dedup();
        missing
    }

    /// Records of a name; none also where there is no such name.
    pub(super) fn find(&mut self, name: &Name, kind: Kind) -> Result<Answer, Stop> {
        let question = Question {
            name: name.clone(),
            kind,
        };
        match self.known.get(&question) {
            Some(Ok(answer)) => Ok(answer.clone()),
            Some(Err(DnsError::NoSuchName)) => Ok(Answer::default()),
            Some(Err(error)) => Err(Stop::Failed(name.clone(), error.clone())),
            None => {
                self.missing.push(Wanted::Dns(question));
                Err(Stop::Missing)
            }
        }
    }

    /// Addresses of both families. Both questions are asked at once.
    pub(super) fn addresses(&mut self, name: &Name) -> Result<Answer, Stop> {
        let (four, six) = (self.find(name, Kind::A), self.find(name, Kind::Aaaa));
        if [&four, &six].iter().any(|result| **result == Err(Stop::Missing)) {
            return Err(Stop::Missing);
        }
        let (mut four, six) = (four?, six?);
        four.secure &= six.secure;
        four.alias = four.alias.or(six.alias);
        four.records.extend(six.records);
        Ok(four)
    }

    pub(super) fn policy_of(&mut self, domain: &Domain) -> Result<Result<Vec<u8>, String>, Stop> {
        if let Some(known) = self.policies.get(domain) {
            return Ok(known.clone());
        }
        self.missing.push(Wanted::Policy(domain.clone()));
        Err(Stop::Missing)
    }
}

/// The addresses of an answer.
pub(super) fn ips(answer: &Answer) -> Vec<core::net::IpAddr> {
    let address = |data: &Data| match data {
        Data::A(four) => Some((*four).into()),
        Data::Aaaa(six) => Some((*six).into()),
        _ => None,
    };
    answer.records.iter().filter_map(address).collect()
}

/// The texts of an answer.
pub(super) fn texts(answer: &Answer) -> impl Iterator<Item = &str> {
    answer.records.iter().filter_map(|data| match data {
        Data::Txt(text) => Some(text.as_str()),
        _ => None,
    })
}
