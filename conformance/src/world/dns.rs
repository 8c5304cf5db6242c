//! The DNS of a transcript: what `@given dns` says, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rmail_core::dns::{Answer, Data, DnsError, Kind, Name, Question, Tlsa};
use rmail_core::smtp::server::CheckPolicy;
use rmail_store::service::{Asking, CheckSettings, Lookup, Settings};

use crate::transcript::{Given, Transcript};

/// Names and what they have; a name that fails has no answer at all.
#[derive(Debug, Default)]
pub(super) struct Zone(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    names: BTreeMap<Name, Vec<(Kind, Data)>>,
    aliases: BTreeMap<Name, Name>,
    fails: Vec<Name>,
    secure: Vec<Name>,
}

/// Aliases that are followed.
const MAX_ALIASES: usize = 8;

impl Zone {
    /// The answer to a question, as a resolver gives it.
    pub(super) fn find(&self, question: &Question) -> Result<Answer, DnsError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .find(question)
    }

    /// Adds what `@given dns …` or `!: dns …` says, without the first word; `gone` takes all of a name away.
    pub(super) fn add(&self, words: &[&str]) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(words)
    }
}

impl Names {
    fn find(&self, question: &Question) -> Result<Answer, DnsError> {
        let mut name = &question.name;
        let mut secure = self.secure.contains(name);
        let mut alias = None;
        for _ in 0..MAX_ALIASES {
            if self.fails.contains(name) {
                return Err(DnsError::Timeout);
            }
            if let Some(target) = self.aliases.get(name) {
                name = target;
                secure &= self.secure.contains(name);
                alias = Some(name.clone());
                continue;
            }
            let known = self.names.get(name).ok_or(DnsError::NoSuchName)?;
            let records = known.iter().filter(|(kind, _)| *kind == question.kind);
            return Ok(Answer {
                records: records.map(|(_, data)| data.clone()).collect(),
                secure,
                alias,
            });
        }
        Err(DnsError::Aliases)
    }

    fn add(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [name, "fails"] => self.fails.push(parse(name)?),
            [name, "secure"] => self.secure.push(parse(name)?),
            [name, "gone"] => {
                let name = parse(name)?;
                self.names.remove(&name);
                self.fails.retain(|other| *other != name);
            }
            [name, "CNAME", target] => {
                self.aliases.insert(parse(name)?, parse(target)?);
            }
            [name, kind, value] => {
                let wrong = || format!("no {kind}: {value}");
                let record = match *kind {
                    "A" => (Kind::A, Data::A(value.parse().map_err(|_| wrong())?)),
                    "AAAA" => (Kind::Aaaa, Data::Aaaa(value.parse().map_err(|_| wrong())?)),
                    "PTR" => (Kind::Ptr, Data::Ptr(parse(value)?)),
                    "TXT" => (Kind::Txt, Data::Txt((*value).to_owned())),
                    "MX" => (Kind::Mx, exchange(value).ok_or_else(wrong)?),
                    "TLSA" => (Kind::Tlsa, certificate(value).ok_or_else(wrong)?),
                    _ => return Err(wrong()),
                };
                self.names.entry(parse(name)?).or_default().push(record);
            }
            _ => return Err("what does the DNS have?".to_owned()),
        }
        Ok(())
    }
}

impl Lookup for Zone {
    fn ask(&self, question: Question) -> Asking {
        let answer = self.find(&question);
        Box::pin(async { answer })
    }
}

/// What a transcript says of the DNS.
pub(super) fn zone(transcript: &Transcript) -> Result<Zone, String> {
    let zone = Zone::default();
    for given in &transcript.givens {
        let words: Vec<&str> = given.words.iter().map(String::as_str).collect();
        if let ["dns", rest @ ..] = words.as_slice() {
            zone.add(rest)
                .map_err(|text| format!("line {}: {text}", given.line))?;
        }
    }
    Ok(zone)
}

/// `10 mx.example.net`
fn exchange(value: &str) -> Option<Data> {
    let (preference, name) = value.split_once(' ')?;
    Some(Data::Mx {
        preference: preference.parse().ok()?,
        exchange: Name::parse(name),
    })
}

/// `3 1 1 0c72ac70`
fn certificate(value: &str) -> Option<Data> {
    let mut words = value.split(' ');
    let mut number = || words.next()?.parse().ok();
    let (usage, selector, matching) = (number()?, number()?, number()?);
    let digits = words.next()?;
    let octets = (0..digits.len()).step_by(2);
    Some(Data::Tlsa(Tlsa {
        usage,
        selector,
        matching,
        data: octets
            .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
            .collect::<Option<_>>()?,
    }))
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
