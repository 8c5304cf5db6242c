//! DMARC, MTA-STS, TLS reports.

use super::{Verdict, is_here, listed};
use crate::addr::Domain;
use crate::dns::{Answer, Data, Kind, Name};
use crate::dns_records::facts::{Facts, Stop, texts};
use crate::dns_records::plan::under;
use crate::dns_records::{Certainty, Site};
use crate::relay::tls::policy::{Mode, Policy, record_id};

pub(super) fn dmarc(domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let Some(name) = under("_dmarc", domain) else {
        return Ok(Verdict::good());
    };
    let answer = tagged(&facts.find(&name, Kind::Txt)?, "v=DMARC1");
    let found: Vec<&str> = texts(&answer).collect();
    let verdict = match found.as_slice() {
        [] => match above(domain, facts)? {
            Some(parent) => return Ok(parent),
            None => Verdict::warning("none: large mail services want one of everybody who sends much mail"),
        },
        [record] => match tag(record, "p").map(str::to_ascii_lowercase).as_deref() {
            Some("none") => Verdict::good(),
            Some(policy @ ("quarantine" | "reject")) => Verdict::note(format!(
                "p={policy} without DKIM: mail that is forwarded, as by mailing lists, is lost, because SPF alone does not survive that"
            )),
            _ => Verdict::failure("its p= is none of none, quarantine, reject: the record does not count"),
        },
        _ => Verdict::failure("there are several records, so none counts (RFC 7489 §6.6.3)"),
    };
    Ok(verdict.seen(&answer))
}

/// A record of a domain above counts for this one too; which one that is only a list of all registries tells, so every
/// domain of two labels or more is looked at (RFC 7489 §6.6.3).
fn above(domain: &Name, facts: &mut Facts) -> Result<Option<Verdict>, Stop> {
    /// Labels that are taken away.
    const MAX_STEPS: usize = 4;
    let mut rest = domain.as_str();
    for _ in 0..MAX_STEPS {
        let Some((_, parent)) = rest.split_once('.').filter(|(_, parent)| parent.contains('.')) else {
            break;
        };
        rest = parent;
        let Some(name) = Name::parse(&format!("_dmarc.{parent}")) else {
            break;
        };
        let answer = tagged(&facts.find(&name, Kind::Txt)?, "v=DMARC1");
        if !answer.records.is_empty() {
            return Ok(Some(
                Verdict::note(format!("that of {parent} holds")).seen(&answer),
            ));
        }
    }
    Ok(None)
}

pub(super) fn mta_sts(site: &Site, domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let Some(name) = under("_mta-sts", domain) else {
        return Ok(Verdict::good());
    };
    let answer = tagged(&facts.find(&name, Kind::Txt)?, "v=STSv1");
    let verdict = match (record_id(&answer), &site.mta_sts) {
        (None, _) if !answer.records.is_empty() => {
            Verdict::failure("it does not count: there must be one record with a good id (RFC 8461 §3.1)")
        }
        (None, None) => Verdict::note("none: other servers take any certificate, and clear text"),
        (None, Some(_)) => Verdict::warning("none: nobody looks for the policy"),
        (Some(id), Some(policy)) if id == Site::policy_id(policy) => Verdict::good(),
        (Some(_), Some(_)) => Verdict::note(
            "its id is not the one that rmail makes of the policy; it has to change whenever the policy changes",
        ),
        (Some(_), None) => return Ok(served(site, domain, facts)?.seen(&answer)),
    };
    Ok(verdict.seen(&answer))
}

/// The policy as it can be read, where this server has none of its own.
fn served(site: &Site, domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    Ok(match policy(domain, facts)? {
        Ok(policy) if policy.mode == Mode::None || policy.allows(site.hostname.as_str()) => {
            Verdict::note("mta_sts.mode is null, and another server has the policy")
        }
        Ok(_) => Verdict::failure(format!(
            "another server has the policy, and it does not name {}: mail does not come",
            site.hostname
        )),
        Err(why) => Verdict::warning(format!("mta_sts.mode is null, and there is no policy: {why}")),
    })
}

pub(super) fn mta_sts_host(site: &Site, domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let Some(name) = under("mta-sts", domain) else {
        return Ok(Verdict::good());
    };
    let answer = facts.addresses(&name)?;
    let verdict = if answer.records.is_empty() {
        Verdict::warning(format!("{name} has no address: nobody can read the policy"))
    } else if is_here(site, &name, facts)? {
        Verdict::good()
    } else {
        Verdict::note(format!("{name} is another server, which has to serve the policy"))
    };
    Ok(verdict.seen(&answer))
}

pub(super) fn mta_sts_policy(site: &Site, domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let seen = match policy(domain, facts)? {
        Ok(policy) => policy,
        Err(why) => return Ok(Verdict::warning(format!("it cannot be read: {why}"))),
    };
    let answer = facts.find(domain, Kind::Mx)?;
    let strangers: Vec<String> = answer
        .records
        .iter()
        .filter_map(|data| match data {
            Data::Mx { exchange, .. } => exchange.as_ref().map(ToString::to_string),
            _ => None,
        })
        .filter(|host| !seen.allows(host))
        .collect();
    let verdict = if seen.mode != Mode::None && !strangers.is_empty() {
        let text = format!(
            "the policy does not name {}: add it to mta_sts.mx",
            listed(strangers)
        );
        match seen.mode {
            Mode::Enforce => Verdict::failure(text + "; mail does not come by it"),
            _ => Verdict::warning(text),
        }
    } else if site.mta_sts.as_ref() != Some(&seen) {
        Verdict::warning("what is served is not the policy of the configuration")
    } else {
        Verdict::good()
    };
    Ok(Verdict {
        seen: vec![seen.strings().join("; ")],
        certainty: Certainty::Seen,
        ..verdict
    })
}

fn policy(domain: &Name, facts: &mut Facts) -> Result<Result<Policy, String>, Stop> {
    let Some(domain) = Domain::parse(domain.as_str()) else {
        return Ok(Err("the domain has no policy".to_owned()));
    };
    let body = facts.policy_of(&domain)?;
    Ok(body.and_then(|body| Policy::parse(&body).map_err(str::to_owned)))
}

pub(super) fn tls_rpt(domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let Some(name) = under("_smtp._tls", domain) else {
        return Ok(Verdict::good());
    };
    let answer = tagged(&facts.find(&name, Kind::Txt)?, "v=TLSRPTv1");
    let found: Vec<&str> = texts(&answer).collect();
    let verdict = match found.as_slice() {
        [] => Verdict::note("none: other servers do not tell when TLS with this one fails"),
        [record] if tag(record, "rua").is_some_and(|rua| !rua.is_empty()) => Verdict::good(),
        [_] => Verdict::warning("it names nobody (rua=) whom to tell"),
        _ => Verdict::warning("there are several records, so none counts (RFC 8460 §3)"),
    };
    Ok(verdict.seen(&answer))
}

/// Of an answer the texts that begin with this version.
fn tagged(answer: &Answer, version: &str) -> Answer {
    let ours = |data: &&Data| match data {
        Data::Txt(text) => {
            let (head, rest) = text.split_at_checked(version.len()).unwrap_or_default();
            head == version && rest.trim_start().starts_with(';') || text.as_str() == version
        }
        _ => false,
    };
    Answer {
        records: answer.records.iter().filter(ours).cloned().collect(),
        ..answer.clone()
    }
}

/// The value of a tag of such a record.
fn tag<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record
        .split(';')
        .filter_map(|part| part.split_once('='))
        .find(|(tag, _)| tag.trim() == name)
        .map(|(_, value)| value.trim())
}
