//! What should be published, made of the configuration alone.

use core::net::IpAddr;

use super::record::{Record, Value};
use super::{Advice, Need, Service, Site, Topic};
use crate::addr::Domain;
use crate::dns::{Name, peer};

/// The records of the server itself, and of these domains.
#[must_use]
pub fn plan(site: &Site, domains: &[Domain]) -> Vec<Advice> {
    let names: Vec<Name> = domains.iter().filter_map(Name::from_domain).collect();
    let mut advice = host(site, &names);
    names.iter().for_each(|name| advice.extend(domain(site, name)));
    advice
}

fn host(site: &Site, domains: &[Name]) -> Vec<Advice> {
    let host = &site.hostname;
    let mut advice = Advices::of(host);
    let list = &site.addresses.list;
    let record = |ip| Record::new(host.clone(), Value::Address(ip));
    let text = match (list.is_empty(), site.addresses.guessed) {
        (true, _) => {
            "an A record (and AAAA, if it has one) with the public address of this server, which is not known here: `--address IP` tells it"
        }
        (_, true) => "found on this host; if others reach it by another address, `--address IP` tells which",
        _ => "the addresses by which others reach this server",
    };
    advice.push(
        Topic::Address,
        Need::Required,
        list.iter().copied().map(record),
        text,
    );
    let reverse = |ip: &IpAddr| Some(Record::new(peer::reverse_name(*ip)?, Value::Ptr(host.clone())));
    let text = "set by whoever gives you the address (provider, data centre); many servers refuse mail from addresses without a name";
    advice.push(Topic::Ptr, Need::Required, list.iter().filter_map(reverse), text);
    if !domains.contains(host) {
        let record = Record::new(host.clone(), Value::Txt("v=spf1 a -all".to_owned()));
        let text = "for EHLO, and for notices, which have no other sender";
        advice.push(Topic::SpfHelo, Need::Recommended, [record], text);
    }
    let records = under("_25._tcp", host)
        .zip(site.certificate.as_ref())
        .map(|(name, certificate)| Record::new(name, Value::Tlsa(certificate.tlsa())));
    let text = match &site.certificate {
        Some(_) => {
            "only in a zone that is signed with DNSSEC; whenever the key of the certificate changes, publish the new record first and wait for the TTL: a record that does not match keeps mail away"
        }
        None => "there is no certificate to make it of",
    };
    advice.push(Topic::Tlsa, Need::Optional, records, text);
    advice.list
}

fn domain(site: &Site, domain: &Name) -> Vec<Advice> {
    let host = &site.hostname;
    let mut advice = Advices::of(domain);
    let text = match site.ports.smtp {
        Some(25) => "where mail for the domain goes",
        Some(_) => "where mail for the domain goes; others come to port 25, which has to lead to smtp.port",
        None => "where mail for the domain goes; smtp.port is off, so nobody can bring it",
    };
    let mx = Record::new(domain.clone(), Value::Mx(10, host.clone()));
    advice.push(Topic::Mx, Need::Required, [mx], text);
    let (policy, text) = match &site.smarthost {
        None => (
            "v=spf1 mx ~all".to_owned(),
            "mail of the domain comes from its MX hosts; rmail does not sign, so this alone confirms it"
                .to_owned(),
        ),
        Some(other) => {
            let term = match other.parse() {
                Ok(IpAddr::V4(four)) => format!("ip4:{four}"),
                Ok(IpAddr::V6(six)) => format!("ip6:{six}"),
                Err(_) => format!("a:{other}"),
            };
            let text = format!(
                "mail goes out by {other}, whose operator tells what to write in the place of `{term}` (often an include:)"
            );
            (format!("v=spf1 mx {term} ~all"), text)
        }
    };
    let spf = Record::new(domain.clone(), Value::Txt(policy));
    advice.push(Topic::Spf, Need::Required, [spf], &text);
    let text = "nothing to publish: rmail does not sign yet";
    advice.push(Topic::Dkim, Need::NotYet, [], text);
    let reports = format!("rua=mailto:postmaster@{domain}");
    let text =
        "p=none only asks for reports: without signatures stricter policies lose mail that is forwarded";
    advice.text_at(
        "_dmarc",
        Topic::Dmarc,
        Need::Recommended,
        format!("v=DMARC1; p=none; {reports}"),
        text,
    );
    mta_sts(site, domain, &mut advice);
    let text = "other servers tell the postmaster when TLS with this one fails";
    advice.text_at(
        "_smtp._tls",
        Topic::TlsRpt,
        Need::Optional,
        format!("v=TLSRPTv1; {reports}"),
        text,
    );
    for service in Service::ALL {
        let Some((port, name)) = site
            .port(service)
            .zip(under(&format!("_{}._tcp", service.label()), domain))
        else {
            continue;
        };
        let record = Record::new(name, Value::Srv(port, host.clone()));
        advice.push(
            Topic::Srv(service),
            Need::Recommended,
            [record],
            "clients find the server by it",
        );
    }
    let found = site.ports.web.or(site.ports.secure_web).is_some();
    for (label, topic) in [
        ("autoconfig", Topic::Autoconfig),
        ("autodiscover", Topic::Autodiscover),
    ] {
        let (need, text) = match found {
            true => (Need::Recommended, "clients set themselves up by it"),
            false => (
                Need::Optional,
                "of use once exchange_api.public_port and public_secure_port (80, 443) are on, or a proxy leads there",
            ),
        };
        advice.push(topic, need, alias(label, domain, host), text);
    }
    advice.list
}

fn mta_sts(site: &Site, domain: &Name, advice: &mut Advices<'_>) {
    let Some(policy) = &site.mta_sts else {
        let text = "nothing to publish while mta_sts.mode is null; \"testing\" is a good beginning";
        advice.push(Topic::MtaSts, Need::Optional, [], text);
        return;
    };
    let id = Site::policy_id(policy);
    let text = "tells others of the policy; the id is made of it and changes with it";
    advice.text_at(
        "_mta-sts",
        Topic::MtaSts,
        Need::Recommended,
        format!("v=STSv1; id={id}"),
        text,
    );
    let text = "the policy is read there";
    advice.push(
        Topic::MtaStsHost,
        Need::Recommended,
        alias("mta-sts", domain, &site.hostname),
        text,
    );
    let text = match site.ports.secure_web {
        Some(_) => "others have to read it by https on port 443, with a certificate that they trust",
        None => {
            "others have to read it by https on port 443: exchange_api.public_secure_port is off, so a proxy has to lead to /.well-known/mta-sts.txt"
        }
    };
    advice.push(Topic::MtaStsPolicy, Need::Recommended, [], text);
}

/// An alias below the domain for the host; none if the host has that name itself.
fn alias(label: &str, domain: &Name, host: &Name) -> Option<Record> {
    let name = under(label, domain).filter(|name| name != host)?;
    Some(Record::new(name, Value::Cname(host.clone())))
}

/// A name below another. `None`: it is too long.
pub(super) fn under(label: &str, name: &Name) -> Option<Name> {
    Name::parse(&format!("{label}.{}", name.as_str()))
}

/// Advice about one subject.
struct Advices<'a> {
    subject: &'a Name,
    list: Vec<Advice>,
}

impl<'a> Advices<'a> {
    fn of(subject: &'a Name) -> Self {
        Self {
            subject,
            list: Vec::new(),
        }
    }

    fn push(&mut self, topic: Topic, need: Need, records: impl IntoIterator<Item = Record>, text: &str) {
        self.list.push(Advice {
            topic,
            subject: self.subject.clone(),
            records: records.into_iter().collect(),
            need,
            text: text.to_owned(),
        });
    }

    /// A text record below the subject.
    fn text_at(&mut self, label: &str, topic: Topic, need: Need, value: String, text: &str) {
        let record = under(label, self.subject).map(|name| Record::new(name, Value::Txt(value)));
        self.push(topic, need, record, text);
    }
}
