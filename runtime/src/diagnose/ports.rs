//! Every port answers at each of its addresses, and as the program that it should be.

use rmail_core::diagnose::{Id, Service};

use super::wire::{Place, Shown, Wire};
use super::{Checked, Run, Trouble, ensure};

/// What was seen of the ports.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What each secure port showed in its handshake, or why there was none.
    pub(super) shown: Vec<(String, Result<Shown, String>)>,
    greetings: Vec<(String, String)>,
}

pub(super) fn run(run: &mut Run<'_>) -> Seen {
    let mut seen = Seen::default();
    for service in Service::ALL {
        let id = match service {
            Service::Smtp => Id::PortSmtp,
            Service::Submission => Id::PortSubmission,
            Service::Smtps => Id::PortSmtps,
            Service::Imap => Id::PortImap,
            Service::Imaps => Id::PortImaps,
            Service::Api => Id::PortApi,
            Service::ApiSecure => Id::PortApiSecure,
        };
        run.check(id, |run| each(run, service, &mut seen));
    }
    if run.local().is_some() {
        run.check(Id::PortHostname, |run| {
            let name = &run.subject.name;
            let other = seen
                .greetings
                .iter()
                .find(|(_, greeting)| !greeting.contains(name.as_str()));
            match other {
                Some((whose, greeting)) => Err(Trouble::broken(name, format!("{whose}: {greeting}"))),
                None => Ok(()),
            }
        });
    }
    seen
}

/// Each address that the service has. That this host has no way to one of them says nothing of the server, as long as there
/// is another.
fn each(run: &Run<'_>, service: Service, seen: &mut Seen) -> Checked<()> {
    if service.is_secure() && !run.subject.tls {
        return Err(Trouble::skipped("tls.enabled is false"));
    }
    let mut no_way: Vec<String> = Vec::new();
    let mut count = 0;
    run.at_each(service, |place| {
        count += 1;
        match Wire::connect(place, &run.stop) {
            Ok(wire) => one(run, service, place, wire, seen),
            Err(lost) => {
                if lost.no_way() {
                    no_way.push(lost.to_string());
                }
                Err(lost.into())
            }
        }
    })
    .map_err(|trouble| match count > 0 && no_way.len() == count {
        true => Trouble::broken("an answer", no_way.join("\n")),
        false => trouble,
    })?;
    match no_way.is_empty() {
        true => Ok(()),
        false => Err(Trouble::chosen(format!(
            "this host has no way to one of its addresses, which was not tried: {}",
            no_way.join("\n")
        ))),
    }
}

fn one(run: &Run<'_>, service: Service, place: &Place, mut wire: Wire, seen: &mut Seen) -> Checked<()> {
    let whose = format!("{} at {place}", service.name());
    if service.is_secure() {
        let shown = wire
            .encrypt(&run.tls, &run.subject.name)
            .map_err(|lost| lost.to_string());
        let failed = shown.is_err();
        seen.shown.push((whose.clone(), shown));
        if failed {
            // It answers; what is wrong with TLS has a check of its own.
            return Ok(());
        }
    }
    let start = match service {
        Service::Smtp | Service::Submission | Service::Smtps => "220",
        Service::Imap | Service::Imaps => "* OK",
        Service::Api | Service::ApiSecure => return http(&mut wire),
    };
    let greeting = wire.line()?;
    seen.greetings.push((whose, greeting.clone()));
    ensure(
        greeting.starts_with(start),
        format!("a greeting with {start}"),
        greeting,
    )
}

fn http(wire: &mut Wire) -> Checked<()> {
    wire.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let line = wire.line()?;
    ensure(line.starts_with("HTTP/1.1 "), "HTTP/1.1", line)
}
