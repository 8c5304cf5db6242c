//! The server itself: its addresses, their names, its certificate.

use core::net::IpAddr;

use super::{Verdict, listed, own};
use crate::dns::{Data, Kind, peer};
use crate::dns_records::facts::{Facts, Stop, ips};
use crate::dns_records::plan::under;
use crate::dns_records::site::is_public;
use crate::dns_records::{Site, State};
use crate::relay::tls::dane::{self, Anchors};

/// Addresses that are looked at.
const MAX_ADDRESSES: usize = 8;

pub(super) fn address(site: &Site, facts: &mut Facts) -> Result<Verdict, Stop> {
    let host = &site.hostname;
    let answer = facts.addresses(host)?;
    let found = ips(&answer);
    let known = &site.addresses;
    let strange: Vec<_> = found.iter().filter(|ip| !known.list.contains(ip)).collect();
    let missing: Vec<_> = known.list.iter().filter(|ip| !found.contains(ip)).collect();
    let private: Vec<_> = found.iter().filter(|ip| !is_public(**ip)).collect();
    let six = found.iter().any(IpAddr::is_ipv6);
    let verdict = if found.is_empty() {
        Verdict::failure(format!("{host} has no address: nobody finds the server"))
    } else if let Some(alias) = &answer.alias {
        Verdict::failure(format!(
            "{host} is another name for {alias}; the name in an MX record must have addresses of its own (RFC 2181 §10.3)"
        ))
    } else if !known.list.is_empty() && strange.len() == found.len() {
        let text = format!("leads to {}, which is not this server", listed(strange));
        Verdict::of(
            if known.guessed {
                State::Warning
            } else {
                State::Failure
            },
            text,
        )
    } else if !known.list.is_empty() && !strange.is_empty() {
        Verdict::warning(format!(
            "leads to {} too, which is not this server as far as is known",
            listed(strange)
        ))
    } else if !private.is_empty() {
        Verdict::warning(format!("nobody outside reaches {}", listed(private)))
    } else if six && !site.ports.six {
        Verdict::warning(
            "there is an AAAA record, but no listener takes IPv6: add \"::\" to smtp.host, or take the record away",
        )
    } else if !missing.is_empty() {
        Verdict::note(format!("{} is not published", listed(missing)))
    } else if known.list.is_empty() {
        Verdict::note(
            "whether that is this server cannot be found out here; `--address IP` tells its public address",
        )
    } else {
        Verdict::good()
    };
    let guessed = known.guessed || known.list.is_empty();
    Ok(verdict.guessed(guessed && !found.is_empty()).seen(&answer))
}

pub(super) fn reverse(site: &Site, facts: &mut Facts) -> Result<Verdict, Stop> {
    let (addresses, guessed) = own(site, facts)?;
    let public: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|ip| is_public(*ip))
        .take(MAX_ADDRESSES)
        .collect();
    if public.is_empty() {
        return Ok(
            Verdict::note("no public address of this server is known; `--address IP` tells one")
                .guessed(true),
        );
    }
    let verdicts: Vec<_> = public.iter().map(|ip| name_of(site, *ip, facts)).collect();
    let mut all = Verdict::good();
    for verdict in verdicts {
        all = all.and(verdict?);
    }
    Ok(all.guessed(guessed))
}

fn name_of(site: &Site, ip: IpAddr, facts: &mut Facts) -> Result<Verdict, Stop> {
    let Some(name) = peer::reverse_name(ip) else {
        return Ok(Verdict::good());
    };
    let answer = facts.find(&name, Kind::Ptr)?;
    let names = || {
        answer.records.iter().filter_map(|data| match data {
            Data::Ptr(name) => Some(name),
            _ => None,
        })
    };
    let verdict = if names().any(|name| *name == site.hostname) {
        Verdict::good()
    } else if let Some(other) = names().next() {
        match ips(&facts.addresses(other)?).contains(&ip) {
            true => Verdict::note(format!("{ip} is called {other}; {} would be best", site.hostname)),
            false => Verdict::warning(format!(
                "{ip} is called {other}, which does not have that address: many servers refuse such mail"
            )),
        }
    } else {
        Verdict::failure(format!(
            "{ip} has no name: large mail services refuse mail from it; ask whoever gives you the address"
        ))
    };
    Ok(verdict.seen(&answer))
}

pub(super) fn tlsa(site: &Site, facts: &mut Facts) -> Result<Verdict, Stop> {
    let Some(name) = under("_25._tcp", &site.hostname) else {
        return Ok(Verdict::good());
    };
    let answer = facts.find(&name, Kind::Tlsa)?;
    let records: Vec<_> = answer
        .records
        .iter()
        .filter_map(|data| match data {
            Data::Tlsa(tlsa) => Some(tlsa.clone()),
            _ => None,
        })
        .collect();
    let verdict = match (&site.certificate, Anchors::usable(&records, Vec::new())) {
        _ if records.is_empty() => Verdict::note("none: other servers do not use DANE with this one"),
        (_, None) => Verdict::warning("none of the records is one that mail uses (RFC 7672 §3.1)"),
        (None, _) => Verdict::note("there is no certificate to hold against it"),
        (Some(certificate), Some(anchors)) => {
            let own = anchors.is_end_entity(pair(&certificate.der, &certificate.spki));
            let above = |(der, spki): &(Vec<u8>, Vec<u8>)| anchors.is_anchor(pair(der, spki));
            match own || certificate.others.iter().any(above) {
                true if answer.secure => Verdict::good(),
                true => Verdict::note(
                    "it matches, but the answer is not validated by DNSSEC: others ignore it, unless only your name server does not validate",
                ),
                false => Verdict::failure(
                    "no record matches the certificate that is in use: servers that look at DANE bring no mail",
                ),
            }
        }
    };
    Ok(verdict.seen(&answer))
}

fn pair<'a>(der: &'a [u8], spki: &'a [u8]) -> dane::Certificate<'a> {
    dane::Certificate { der, spki }
}
