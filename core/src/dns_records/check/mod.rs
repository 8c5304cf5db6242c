//! What is published, held against what should be.

mod clients;
mod host;
mod mail;
mod policies;

use core::net::IpAddr;

use super::facts::{Facts, Stop, ips};
use super::record::shown;
use super::{Advice, Certainty, Finding, Site, State, Topic, plan};
use crate::addr::Domain;
use crate::dns::{Answer, Name};

/// Records of one answer that are shown.
const MAX_SHOWN: usize = 16;
/// Octets of one record that are shown.
const MAX_RECORD: usize = 1024;

/// How all of the advice of [`plan`] stands. Final only when [`Facts::missing`] has nothing after it.
#[must_use]
pub fn check(site: &Site, domains: &[Domain], facts: &mut Facts) -> Vec<Finding> {
    let judge = |advice: Advice| {
        let verdict = match verdict(site, &advice, facts) {
            Ok(verdict) => verdict,
            Err(Stop::Missing) => Verdict {
                state: State::Unknown,
                certainty: Certainty::None,
                ..Verdict::default()
            },
            Err(Stop::Failed(name, error)) => Verdict {
                state: State::Unknown,
                certainty: Certainty::None,
                text: format!("asked for {name}: {error}; try again, or set relay.dns_servers"),
                ..Verdict::default()
            },
        };
        Finding {
            advice,
            state: verdict.state,
            seen: verdict.seen,
            text: verdict.text,
            certainty: verdict.certainty,
        }
    };
    plan(site, domains).into_iter().map(judge).collect()
}

fn verdict(site: &Site, advice: &Advice, facts: &mut Facts) -> Result<Verdict, Stop> {
    let subject = &advice.subject;
    match advice.topic {
        Topic::Address => host::address(site, facts),
        Topic::Ptr => host::reverse(site, facts),
        Topic::SpfHelo => mail::spf_helo(site, facts),
        Topic::Tlsa => host::tlsa(site, facts),
        Topic::Mx => mail::mx(site, subject, facts),
        Topic::Spf => mail::spf(site, subject, facts),
        Topic::Dkim => Ok(Verdict {
            certainty: Certainty::None,
            ..Verdict::note(advice.text.clone())
        }),
        Topic::Dmarc => policies::dmarc(subject, facts),
        Topic::MtaSts => policies::mta_sts(site, subject, facts),
        Topic::MtaStsHost => policies::mta_sts_host(site, subject, facts),
        Topic::MtaStsPolicy => policies::mta_sts_policy(site, subject, facts),
        Topic::TlsRpt => policies::tls_rpt(subject, facts),
        Topic::Srv(service) => clients::service(site, subject, service, facts),
        Topic::Autoconfig => clients::web(site, subject, "autoconfig", facts),
        Topic::Autodiscover => clients::web(site, subject, "autodiscover", facts),
    }
}

/// A finding without its advice.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    state: State,
    seen: Vec<String>,
    text: String,
    certainty: Certainty,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            state: State::Good,
            seen: Vec::new(),
            text: String::new(),
            certainty: Certainty::Seen,
        }
    }
}

impl Verdict {
    fn good() -> Self {
        Self::default()
    }

    fn note(text: impl Into<String>) -> Self {
        Self::of(State::Note, text)
    }

    fn warning(text: impl Into<String>) -> Self {
        Self::of(State::Warning, text)
    }

    fn failure(text: impl Into<String>) -> Self {
        Self::of(State::Failure, text)
    }

    fn of(state: State, text: impl Into<String>) -> Self {
        Self {
            state,
            text: text.into(),
            ..Self::default()
        }
    }

    /// With what was seen.
    fn seen(mut self, answer: &Answer) -> Self {
        let cut = |text: String| match text.char_indices().nth(MAX_RECORD) {
            Some((at, _)) => text.get(..at).unwrap_or_default().to_owned() + "…",
            None => text,
        };
        if let Some(alias) = &answer.alias {
            self.seen.push(format!("CNAME {}.", alias.as_str()));
        }
        self.seen
            .extend(answer.records.iter().take(MAX_SHOWN).map(shown).map(cut));
        if answer.secure && self.certainty == Certainty::Seen {
            self.certainty = Certainty::Validated;
        }
        self
    }

    /// Said of something that is guessed.
    fn guessed(mut self, guessed: bool) -> Self {
        if guessed {
            self.certainty = Certainty::Guessed;
        }
        self
    }

    /// The worse of two, with what both have seen.
    fn and(self, other: Self) -> Self {
        let (mut worse, milder) = if other.state > self.state {
            (other, self)
        } else {
            (self, other)
        };
        let mut seen = milder.seen;
        seen.append(&mut worse.seen);
        seen.dedup();
        worse.seen = seen;
        if worse.text.is_empty() {
            worse.text = milder.text;
        }
        worse.certainty = worse.certainty.max(milder.certainty);
        worse
    }
}

/// The server's addresses: those that are known, else what its name has. Whether that is a guess.
fn own(site: &Site, facts: &mut Facts) -> Result<(Vec<IpAddr>, bool), Stop> {
    if site.addresses.list.is_empty() {
        return Ok((ips(&facts.addresses(&site.hostname)?), true));
    }
    Ok((site.addresses.list.clone(), site.addresses.guessed))
}

/// Whether a host is this server: by its name, or by its addresses.
fn is_here(site: &Site, host: &Name, facts: &mut Facts) -> Result<bool, Stop> {
    if *host == site.hostname {
        return Ok(true);
    }
    let found = ips(&facts.addresses(host)?);
    let own_name = ips(&facts.addresses(&site.hostname)?);
    let here = |ip: &IpAddr| site.addresses.list.contains(ip) || own_name.contains(ip);
    Ok(found.iter().any(here))
}

fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .take(MAX_SHOWN)
        .map(|item| item.to_string())
        .collect();
    items.join(", ")
}
