//! What the ports show in their handshakes.

use std::path::PathBuf;

use rmail_core::diagnose::answers::{days_until, is_reserved};
use rmail_core::diagnose::{Id, Service};
use rmail_core::relay::tls::FaultKind;
use rmail_core::text::rfc3339;
use rmail_core::time::Unix;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::ports::Seen;
use super::smtp_client::Smtp;
use super::sum::Sum;
use super::wire::{Place, Shown, Wire};
use super::{Checked, Run, Trouble, ensure};
use crate::clock;
use crate::tls::Facts;

/// Days that a certificate should have left.
const SOON: i64 = 14;

pub(super) fn run(run: &mut Run<'_>, seen: &Seen) {
    let enabled = run.check(Id::TlsEnabled, |run| {
        if run.subject.tls {
            return Ok(());
        }
        let why = "tls.enabled is false: passwords and mail go in clear text";
        let places = run.places.values().flatten();
        let mut addresses = places.map(|place| place.host.parse::<std::net::IpAddr>());
        if addresses.all(|address| address.is_ok_and(|address| address.is_loopback())) {
            return Err(Trouble::chosen(format!("{why}, on this host only")));
        }
        Err(Trouble::broken("TLS", why))
    });
    if enabled.is_none() {
        return;
    }
    let handshake = run.check(Id::TlsHandshake, |run| handshake(run, seen));
    run.check(Id::TlsOldVersion, old_version);
    let Some(all) = handshake else { return };
    let now = clock::unix().secs();
    run.check(Id::TlsExpired, |_| of_each(&all, |shown| expired(shown, now)));
    run.check(Id::TlsExpiresSoon, |_| {
        of_each(&all, |shown| expires_soon(shown, now))
    });
    run.check(Id::TlsName, |run| of_each(&all, |shown| name(run, shown)));
    run.check(Id::TlsTrusted, |run| of_each(&all, |shown| trusted(run, shown)));
    if let Some(local) = run.local() {
        run.check(Id::TlsCurrent, |_| {
            of_each(&all, |shown| current(&local.certificates, shown))
        });
    }
}

/// What was shown, and the first port that showed it.
type Whose = (String, Shown);

/// Looks at each certificate.
fn of_each(all: &[Whose], mut look: impl FnMut(&Shown) -> Checked<()>) -> Checked<()> {
    let mut sum = Sum::default();
    for (whose, shown) in all {
        let whose = match all {
            [_] => "",
            _ => whose,
        };
        sum.add(whose, look(shown));
    }
    sum.result()
}

/// All secure ports agree on TLS, at each address; the certificates that they show, each once.
fn handshake(run: &Run<'_>, seen: &Seen) -> Checked<Vec<Whose>> {
    let mut all: Vec<Whose> = Vec::new();
    for (whose, shown) in &seen.shown {
        let shown = shown
            .as_ref()
            .map_err(|why| Trouble::broken("TLS 1.2 or 1.3", format!("{whose}: {why}")))?;
        if !all.iter().any(|(_, known)| known.chain == shown.chain) {
            all.push((whose.clone(), shown.clone()));
        }
    }
    if all.is_empty() {
        let service = run.first_of(&[Service::Submission, Service::Smtp])?;
        let mut smtp = Smtp::open(run, service)?;
        smtp.hello()?;
        all.push((service.name().to_owned(), smtp.starttls(run)?));
    }
    Ok(all)
}

fn end(shown: &Shown) -> Option<u64> {
    shown.chain.first().and_then(|own| Facts::of(own).expires)
}

fn day(end: u64) -> String {
    rfc3339::print(Unix::from_secs(end))
}

fn expired(shown: &Shown, now: u64) -> Checked<()> {
    let end = end(shown);
    let end = end.ok_or_else(|| Trouble::broken("a certificate with an end", "it cannot be read"))?;
    let came = format!("it expired {}", day(end));
    ensure(end > now, "a certificate that is valid", came)
}

fn expires_soon(shown: &Shown, now: u64) -> Checked<()> {
    let Some(end) = end(shown).filter(|end| *end > now) else {
        return Err(Trouble::skipped("it is not valid even today"));
    };
    let days = days_until(end, now);
    let came = format!("{days} days: {}", day(end));
    ensure(days >= SOON, format!("{SOON} days"), came)
}

/// Says hello in the words of TLS 1.1, of which nothing good may come.
fn old_version(run: &mut Run<'_>) -> Checked<()> {
    let run: &Run<'_> = run;
    let service = run.first_of(&[Service::Imaps, Service::Smtps, Service::ApiSecure])?;
    run.at_each(service, |place| agrees_on_old(run, service, place))
}

fn agrees_on_old(run: &Run<'_>, service: Service, place: &Place) -> Checked<()> {
    let mut wire = Wire::connect(place, &run.stop)?;
    wire.send(&client_hello())?;
    // A server that just leaves has refused as well.
    let Ok(answer) = wire.exactly(6) else {
        return Ok(());
    };
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    let agreed = answer.first() == Some(&HANDSHAKE) && answer.get(5) == Some(&SERVER_HELLO);
    ensure(
        !agreed,
        "an alert",
        format!("{} agrees on TLS 1.1", service.name()),
    )
}

/// A ClientHello of TLS 1.1 with ciphers that every server of its time had.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend_from_slice(&crate::entropy::seed());
    hello.push(0);
    hello.extend_from_slice(&[0, 8, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f, 0x00, 0x35]);
    hello.extend_from_slice(&[1, 0]);
    // Groups: P-256; point formats: uncompressed.
    hello.extend_from_slice(&[0, 14, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    let len = hello.len() as u8;
    let mut record = vec![22, 3, 1, 0, len + 4, 1, 0, 0, len];
    record.extend_from_slice(&hello);
    record
}

fn name(run: &Run<'_>, shown: &Shown) -> Checked<()> {
    let wanted = &run.subject.name;
    let bad = |came: String| Trouble::broken(format!("a certificate for {wanted}"), came);
    let own = shown.chain.first().ok_or_else(|| bad("none".to_owned()))?;
    let parsed = ParsedCertificate::try_from(own).map_err(|error| bad(error.to_string()))?;
    let name = ServerName::try_from(wanted.as_str()).map_err(|error| bad(error.to_string()))?;
    rustls::client::verify_server_name(&parsed, &name).map_err(|error| bad(error.to_string()))
}

fn trusted(run: &Run<'_>, shown: &Shown) -> Checked<()> {
    let Some(fault) = &shown.fault else {
        return Ok(());
    };
    if fault.kind != FaultKind::CertificateNotTrusted {
        return Err(Trouble::skipped("something else is wrong with it"));
    }
    let own = shown.chain.first();
    let self_signed = own.is_some_and(|own| Facts::of(own).is_self_signed());
    let own_work = run.local().is_some_and(|local| local.self_signed);
    if self_signed && (own_work || is_reserved(&run.subject.name)) {
        let text = "it is self-signed: other servers do not mind, programs for mail ask their users";
        return Err(Trouble::chosen(text));
    }
    let came = if self_signed {
        "it is self-signed".to_owned()
    } else {
        fault.text.clone()
    };
    Err(Trouble::broken(
        "a chain that leads to an authority this host trusts",
        came,
    ))
}

/// Whether one of the files has it.
fn current(paths: &[PathBuf], shown: &Shown) -> Checked<()> {
    let mut looked_at = Vec::new();
    for path in paths {
        let first = CertificateDer::pem_file_iter(path).map(|mut all| all.next());
        match first {
            Ok(Some(Ok(found))) if shown.chain.first() == Some(&found) => return Ok(()),
            Ok(Some(Ok(_))) => looked_at.push(format!("{} has another", path.display())),
            Ok(Some(Err(error))) | Err(error) => looked_at.push(format!("{}: {error}", path.display())),
            Ok(None) => looked_at.push(format!("{} has none", path.display())),
        }
    }
    Err(Trouble::broken(
        "the certificate that is shown",
        looked_at.join("\n"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_the_old_hello_are_right() {
        let hello = client_hello();
        assert_eq!(usize::from(hello[4]) + 5, hello.len());
        assert_eq!(usize::from(hello[8]) + 9, hello.len());
    }
}
