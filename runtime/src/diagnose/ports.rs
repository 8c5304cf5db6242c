//! Every port answers, and as the program that it should be.

use rmail_core::diagnose::{Id, Service};

use super::wire::{Shown, Wire};
use super::{Checked, Run, Trouble, ensure};

/// What was seen of the ports.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What each secure port showed in its handshake, or why there was none.
    pub(super) shown: Vec<(Service, Result<Shown, String>)>,
    greetings: Vec<(Service, String)>,
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
        run.check(id, |run| one(run, service, &mut seen));
    }
    if run.local().is_some() {
        run.check(Id::PortHostname, |run| {
            let name = &run.subject.name;
            let other = seen
                .greetings
                .iter()
                .find(|(_, greeting)| !greeting.contains(name.as_str()));
            match other {
                Some((service, greeting)) => {
                    Err(Trouble::broken(name, format!("{}: {greeting}", service.name())))
                }
                None => Ok(()),
            }
        });
    }
    seen
}

fn one(run: &mut Run<'_>, service: Service, seen: &mut Seen) -> Checked<()> {
    if service.is_secure() && !run.subject.tls {
        return Err(Trouble::skipped("tls.enabled is false"));
    }
    let mut wire = run.connect(service)?;
    if service.is_secure() {
        let shown = wire
            .encrypt(&run.tls, &run.subject.name)
            .map_err(|lost| lost.to_string());
        let failed = shown.is_err();
        seen.shown.push((service, shown));
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
    seen.greetings.push((service, greeting.clone()));
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
