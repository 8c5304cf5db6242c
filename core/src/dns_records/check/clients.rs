//! What clients look for.

use super::{Verdict, is_here};
use crate::dns::{Data, Kind, Name};
use crate::dns_records::facts::{Facts, Stop};
use crate::dns_records::plan::under;
use crate::dns_records::{Service, Site};

/// Records that are looked at.
const MAX_RECORDS: usize = 8;

pub(super) fn service(
    site: &Site,
    domain: &Name,
    service: Service,
    facts: &mut Facts,
) -> Result<Verdict, Stop> {
    let Some(name) = under(&format!("_{}._tcp", service.label()), domain) else {
        return Ok(Verdict::good());
    };
    let answer = facts.find(&name, Kind::Srv)?;
    let ours = site.port(service);
    let mut good = false;
    let mut off = false;
    let mut port_of_ours = None;
    for data in answer.records.iter().take(MAX_RECORDS) {
        let Data::Srv { port, target, .. } = data else {
            continue;
        };
        match target {
            Some(target) if target.is_root() => off = true,
            Some(target) if is_here(site, target, facts)? => {
                good |= ours == Some(*port);
                port_of_ours = Some(*port);
            }
            _ => {}
        }
    }
    let verdict = match (answer.records.is_empty(), good, port_of_ours) {
        (true, ..) => Verdict::note("none: some clients ask for host and port instead"),
        (_, true, _) => Verdict::good(),
        (_, false, Some(port)) => Verdict::warning(format!(
            "it names port {port} of this server, which is not the one of the configuration"
        )),
        (_, false, None) if off => Verdict::warning("it says that there is no such service"),
        (_, false, None) => Verdict::warning("it sends clients to another server"),
    };
    Ok(verdict.seen(&answer))
}

/// The host of documents for clients.
pub(super) fn web(site: &Site, domain: &Name, label: &str, facts: &mut Facts) -> Result<Verdict, Stop> {
    let Some(name) = under(label, domain) else {
        return Ok(Verdict::good());
    };
    let answer = facts.addresses(&name)?;
    let listens = site.ports.web.or(site.ports.secure_web).is_some();
    let verdict = match (answer.records.is_empty(), listens) {
        (true, true) => Verdict::note("none: some clients ask for host and port instead"),
        (true, false) => Verdict::note("none, and exchange_api.public_port is off"),
        (false, _) if !is_here(site, &name, facts)? => {
            Verdict::note(format!("{name} is another server, which has to answer clients"))
        }
        (false, true) => Verdict::good(),
        (false, false) => Verdict::note(format!(
            "{name} leads here, but exchange_api.public_port and public_secure_port are off: nobody answers unless a proxy does"
        )),
    };
    Ok(verdict.seen(&answer))
}
