//! Mail to and from a domain.

use core::net::IpAddr;

use super::{Verdict, is_here, listed, own};
use crate::dns::{Data, Kind, Name};
use crate::dns_records::facts::{Facts, Stop, ips};
use crate::dns_records::site::is_public;
use crate::dns_records::spf::{self, Outcome};
use crate::dns_records::{Site, State};

/// MX hosts that are looked at.
const MAX_EXCHANGERS: usize = 16;
/// Addresses that are tried with SPF.
const MAX_SENDERS: usize = 4;

pub(super) fn mx(site: &Site, domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let answer = facts.find(domain, Kind::Mx)?;
    if answer.records.is_empty() {
        let verdict = match is_here(site, domain, facts)? {
            true => Verdict::warning(
                "there is no MX record; mail comes because the domain itself leads here, but publish one",
            ),
            false => Verdict::failure("there is no MX record: mail for the domain does not come here"),
        };
        return Ok(verdict.seen(&answer));
    }
    let mut hosts: Vec<(u16, Option<Name>)> = answer
        .records
        .iter()
        .filter_map(|data| match data {
            Data::Mx { preference, exchange } => Some((*preference, exchange.clone())),
            _ => None,
        })
        .take(MAX_EXCHANGERS)
        .collect();
    hosts.sort();
    let null = |(_, name): &(u16, Option<Name>)| name.as_ref().is_some_and(Name::is_root);
    if hosts.iter().all(null) {
        let text = "the domain says that it takes no mail (null MX, RFC 7505)";
        return Ok(Verdict::failure(text).seen(&answer));
    }
    let (mut here, mut others, mut wrong) = (Vec::new(), Vec::new(), 0);
    let looked: Vec<_> = hosts
        .iter()
        .map(|(preference, name)| {
            let name = name.as_ref().filter(|name| !name.is_root());
            (preference, name, name.map(|name| is_here(site, name, facts)))
        })
        .collect();
    for (preference, name, found) in looked {
        match (name, found.transpose()?) {
            (Some(name), Some(true)) => here.push((*preference, name)),
            (Some(name), _) => others.push((*preference, name)),
            (None, _) => wrong += 1,
        }
    }
    let names = || listed(others.iter().map(|(_, name)| name));
    let verdict = match (here.first(), others.first()) {
        (None, _) => Verdict::failure(format!("mail for the domain goes to {}, and not here", names())),
        _ if wrong > 0 => Verdict::warning("one of the records names no host"),
        (Some((ours, _)), Some((theirs, _))) if theirs <= ours => Verdict::warning(format!(
            "{} takes mail of the domain before or beside this server: it has to hand it on",
            names()
        )),
        (_, Some(_)) => Verdict::note(format!(
            "{} takes mail too when this server is down: it has to hand it on",
            names()
        )),
        (Some((_, name)), None) if **name != site.hostname => Verdict::note(format!(
            "{name} is this server too; its certificate has to be good for that name"
        )),
        _ => Verdict::good(),
    };
    Ok(verdict.seen(&answer))
}

pub(super) fn spf(site: &Site, domain: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let verdict = judged(site, domain, facts)?;
    let Some(other) = &site.smarthost else {
        return Ok(verdict);
    };
    // Which addresses another server sends from is not to be found out: what passes is the best sign.
    if verdict.state != State::Warning && verdict.state != State::Failure {
        return Ok(verdict);
    }
    let found = !spf::records(facts, domain)?.is_empty();
    let mut passes = false;
    if found {
        for ip in addresses_of(other, facts)?.into_iter().take(MAX_SENDERS) {
            passes |= matches!(spf::evaluate(facts, domain, ip)?, Outcome::Pass(_));
        }
    }
    Ok(match (found, passes) {
        (false, _) => verdict,
        (true, true) => Verdict {
            state: State::Good,
            text: String::new(),
            ..verdict
        },
        (true, false) => Verdict {
            state: State::Note,
            text: format!(
                "mail goes out by {other}: ask its operator whether the record lets its servers send"
            ),
            ..verdict.guessed(true)
        },
    })
}

/// Of a host that is given by name or as an address.
fn addresses_of(host: &str, facts: &mut Facts) -> Result<Vec<IpAddr>, Stop> {
    match (host.parse(), Name::parse(host)) {
        (Ok(address), _) => Ok(vec![address]),
        (_, Some(name)) => Ok(ips(&facts.addresses(&name)?)),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn spf_helo(site: &Site, facts: &mut Facts) -> Result<Verdict, Stop> {
    if spf::records(facts, &site.hostname)?.is_empty() {
        let text = "none: some servers look at it for notices, which have no other sender";
        let answer = facts.find(&site.hostname, Kind::Txt)?;
        return Ok(Verdict::note(text).seen(&answer));
    }
    judged(site, &site.hostname, facts)
}

/// Whether the record of a name lets this server send.
fn judged(site: &Site, name: &Name, facts: &mut Facts) -> Result<Verdict, Stop> {
    let records = spf::records(facts, name)?;
    let secure = facts.find(name, Kind::Txt)?.secure;
    let answer = crate::dns::Answer {
        records: records.iter().cloned().map(Data::Txt).collect(),
        secure,
        alias: None,
    };
    match records.as_slice() {
        [] => {
            let text = "none: large mail services refuse mail that neither SPF nor DKIM confirms";
            return Ok(Verdict::failure(text).seen(&answer));
        }
        [record] if everybody(record) => {
            let text = "it lets everybody send in the name of the domain";
            return Ok(Verdict::warning(text).seen(&answer));
        }
        [_] => {}
        _ => {
            let text = "there are several records, so none counts (RFC 7208 §4.5): make one of them";
            return Ok(Verdict::failure(text).seen(&answer));
        }
    }
    let (addresses, guessed) = own(site, facts)?;
    let senders: Vec<_> = addresses
        .into_iter()
        .filter(|ip| is_public(*ip))
        .take(MAX_SENDERS)
        .collect();
    if senders.is_empty() {
        let text = "whether it lets this server send cannot be found out: no public address is known; `--address IP` tells one";
        return Ok(Verdict::note(text).guessed(true).seen(&answer));
    }
    let outcomes: Vec<_> = senders
        .iter()
        .map(|ip| (ip, spf::evaluate(facts, name, *ip)))
        .collect();
    let mut all = Verdict::good();
    for (ip, outcome) in outcomes {
        all = all.and(match outcome? {
            Outcome::Pass(_) => Verdict::good(),
            Outcome::Fail => Verdict::failure(format!("it forbids {ip}, which this server sends from")),
            Outcome::SoftFail => {
                Verdict::warning(format!("it calls {ip} suspect, which this server sends from"))
            }
            Outcome::Neutral => {
                Verdict::warning(format!("it says nothing of {ip}, which this server sends from"))
            }
            Outcome::None => Verdict::failure("there is no record"),
            Outcome::PermError(why) => Verdict::failure(format!("it cannot be used: {why}")),
            Outcome::Open(why) => {
                Verdict::note(format!("whether it lets {ip} send is open: {why}")).guessed(true)
            }
        });
    }
    Ok(all.guessed(guessed).seen(&answer))
}

/// `all` with a plus, or without a sign.
fn everybody(record: &str) -> bool {
    let all = |term: &str| term.eq_ignore_ascii_case("all") || term.eq_ignore_ascii_case("+all");
    record.split_ascii_whitespace().any(all)
}
