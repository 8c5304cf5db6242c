//! The DNS of a transcript: what `@given dns` says, and nothing else.

use std::collections::BTreeMap;

use rmail_core::dns::{Answer, Data, DnsError, Kind, Name, Question};
use rmail_core::smtp::server::CheckPolicy;
use rmail_store::service::{Asking, CheckSettings, Lookup, Settings};

use crate::transcript::{Given, Transcript};

/// Names and what they have; a name that fails has no answer at all.
#[derive(Debug, Default)]
pub(super) struct Zone {
    names: BTreeMap<Name, Vec<(Kind, Data)>>,
    fails: Vec<Name>,
}

impl Lookup for Zone {
    fn ask(&self, question: Question) -> Asking {
        let answer = match self.names.get(&question.name) {
            _ if self.fails.contains(&question.name) => Err(DnsError::Timeout),
            None => Err(DnsError::NoSuchName),
            Some(known) => Ok(Answer {
                records: known
                    .iter()
                    .filter(|(kind, _)| *kind == question.kind)
                    .map(|(_, data)| data.clone())
                    .collect(),
                ..Answer::default()
            }),
        };
        Box::pin(async { answer })
    }
}

/// What a transcript says of the DNS.
pub(super) fn zone(transcript: &Transcript) -> Result<Zone, String> {
    let mut zone = Zone::default();
    for given in &transcript.givens {
        let words: Vec<&str> = given.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["dns", name, "fails"] => zone.fails.push(parse(name)?),
            ["dns", name, kind, value] => {
                let wrong = || format!("line {}: no {kind}: {value}", given.line);
                let record = match *kind {
                    "A" => (Kind::A, Data::A(value.parse().map_err(|_| wrong())?)),
                    "AAAA" => (Kind::Aaaa, Data::Aaaa(value.parse().map_err(|_| wrong())?)),
                    "PTR" => (Kind::Ptr, Data::Ptr(parse(value)?)),
                    "TXT" => (Kind::Txt, Data::Txt((*value).to_owned())),
                    _ => return Err(wrong()),
                };
                zone.names.entry(parse(name)?).or_default().push(record);
            }
            _ => {}
        }
    }
    Ok(zone)
}

fn parse(name: &str) -> Result<Name, String> {
    Name::parse(name).ok_or_else(|| format!("no name: {name}"))
}

/// Reads `@given checks …` into the settings; what comes of a bad EHLO is for the session.
pub(super) fn checks(transcript: &Transcript, settings: &mut Settings) -> Result<CheckPolicy, String> {
    let is_checks = |given: &&Given| given.words.first().is_some_and(|word| word == "checks");
    let Some(given) = transcript.givens.iter().find(is_checks) else {
        return Ok(CheckPolicy::Off);
    };
    let mut options = given.options.clone();
    let mut policy = |key: &str, default| match options.remove(key).as_deref() {
        None => Ok(default),
        Some("off") => Ok(CheckPolicy::Off),
        Some("log") => Ok(CheckPolicy::Log),
        Some("refuse") => Ok(CheckPolicy::Refuse),
        Some(other) => Err(format!("{key} is off, log or refuse, not {other}")),
    };
    let helo = policy("helo", CheckPolicy::Off)?;
    settings.checks = CheckSettings {
        dnsbl_policy: policy("dnsbl_action", CheckPolicy::Refuse)?,
        reverse_dns: policy("reverse_dns", CheckPolicy::Off)?,
        dnsbl: Vec::new(),
    };
    for list in options.remove("dnsbl").iter().flat_map(|lists| lists.split(',')) {
        settings.checks.dnsbl.push(parse(list)?);
    }
    if let Some(word) = options.remove("greylist") {
        settings.greylist = (word == "on").then(Default::default);
    }
    match options.keys().next() {
        None => Ok(helo),
        Some(key) => Err(format!("no such check: {key}")),
    }
}
