//! `rmail tls show`: the certificates of the configuration, and what the ports show.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmail_core::text::rfc3339;
use rmail_core::time::Unix;
use serde_json::{Value, json};

use super::load::{Loaded, load_or_fail};
use super::{Failure, serve};
use crate::clock;
use crate::listen::Service;
use crate::server::Listen;
use crate::tls::{
    Begin, Certificate, CertificateSource, Certificates, PairFiles, Remark, Shown, TlsError, days_left, look,
    remarks, wanted,
};

/// For the answer of a port.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names besides its own that a server is asked for.
const MAX_NAMES: usize = 50;

/// What to do with certificates.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Tell of each certificate what it is good for, how long, and what is wrong with it.
    Show(Options),
}

/// Options of `tls show`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Ask every port of the running server too; exit code 1 if one shows something else.
    #[arg(long)]
    live: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// A pair that the configuration names.
pub(super) struct Configured {
    /// The key that names it.
    pub(super) path: String,
    files: PairFiles,
    /// `None`: it is made at the next start.
    pub(super) read: Option<Result<Arc<Certificate>, TlsError>>,
}

/// Reads every pair that the configuration names.
pub(super) fn configured(loaded: &Loaded, root: &Path) -> Vec<Configured> {
    let main = serve::certificate(loaded, root);
    let files = main.files();
    let exists = matches!(main, CertificateSource::Files { .. }) || files.cert.exists() || files.key.exists();
    let read = |files: &PairFiles| Certificate::read(files.clone()).map(Arc::new);
    let main = Configured {
        path: "tls.cert_file".to_owned(),
        read: exists.then(|| read(&files)),
        files,
    };
    let others = serve::certificates(loaded).into_iter().enumerate();
    let others = others.map(|(index, files)| Configured {
        path: format!("tls.certificates[{index}]"),
        read: Some(read(&files)),
        files,
    });
    [main].into_iter().chain(others).collect()
}

/// Those that can be used, and what is to be said of them; nothing without the main one.
pub(super) fn usable(loaded: &Loaded, pairs: &[Configured]) -> Option<(Certificates, Vec<Remark>)> {
    let good = |pair: &Configured| pair.read.as_ref()?.as_ref().ok().cloned();
    let main = good(pairs.first()?)?;
    let others = pairs.iter().skip(1).filter_map(good).collect();
    let all = Certificates::new(main, others);
    let config = &loaded.config;
    let web = config.exchange_api.public_secure_port.is_some();
    let names = wanted(
        &config.hostname,
        &config.domains,
        web,
        config.mta_sts.mode.is_some(),
    );
    let found = remarks(&all, &names, clock::unix().0.as_secs());
    Some((all, found))
}

pub(super) fn show(path: &Path, options: &Options) -> Result<(), Failure> {
    let loaded = load_or_fail(path)?;
    if !loaded.config.tls.enabled {
        return Err(Failure::new("tls.enabled is false: there is no TLS on any port"));
    }
    let pairs = configured(&loaded, &loaded.path(&loaded.config.mail_root));
    let (all, remarks) = usable(&loaded, &pairs).unzip();
    let remarks = remarks.unwrap_or_default();
    let seen = match options.live {
        true => Some(ask(&loaded, all.as_ref())),
        false => None,
    };
    if options.json {
        anstream::println!("{}", as_json(&pairs, &remarks, seen.as_deref()));
    } else {
        anstream::print!("{}", as_text(&pairs, &remarks, seen.as_deref()));
    }
    let broken = pairs
        .iter()
        .filter(|pair| matches!(pair.read, Some(Err(_))))
        .count();
    let wrong = || seen.iter().flatten().filter(|seen| !seen.is_right());
    let silent = wrong().filter(|seen| seen.shown.is_err()).count();
    let other = wrong().count() - silent;
    match (broken, silent, other) {
        (0, 0, 0) => Ok(()),
        (0, 0, other) => Err(Failure(format!(
            "{other} of the answers are not as configured; `kill -HUP` has the server read its files again"
        ))),
        (0, silent, _) => Err(Failure(format!(
            "{silent} of the questions got no certificate: does the server run (`rmail status`), and with this configuration?"
        ))),
        (broken, ..) => Err(Failure(format!("{broken} of the pairs cannot be used"))),
    }
}

/// A question to a port.
struct Seen {
    service: Service,
    address: SocketAddr,
    name: String,
    shown: Result<Shown, String>,
    /// It is the certificate that the configuration has for this name; none: there is no such.
    expected: Option<[u8; 32]>,
}

impl Seen {
    fn is_right(&self) -> bool {
        let shown = self.shown.as_ref().ok();
        shown.is_some_and(|shown| {
            self.expected
                .is_none_or(|expected| expected == shown.facts.fingerprint)
        })
    }
}

/// Asks every port for our own name, and the first that answers for the other names too.
fn ask(loaded: &Loaded, all: Option<&Certificates>) -> Vec<Seen> {
    let listen = serve::listen(loaded);
    let own = loaded.config.hostname.to_ascii_lowercase();
    let ask = |service, address, begin, name: &str| Seen {
        service,
        address,
        name: name.to_owned(),
        shown: look(address, begin, name, PATIENCE).map_err(|error| error.to_string()),
        expected: all.map(|all| all.for_name(name).facts().fingerprint),
    };
    let mut seen = Vec::new();
    let mut others = names(all, &own);
    for (service, address, begin) in ports(&listen) {
        let first = ask(service, address, begin, &own);
        if first.shown.is_ok() {
            let names = std::mem::take(&mut others);
            seen.extend(names.iter().map(|name| ask(service, address, begin, name)));
        }
        seen.push(first);
    }
    seen
}

/// One name of each further certificate. A wildcard is asked for with a label in its place.
fn names(all: Option<&Certificates>, own: &str) -> BTreeSet<String> {
    let certificates = all.into_iter().flat_map(|all| all.all().skip(1));
    let names = certificates.filter_map(|certificate| certificate.facts().names.first());
    let names = names.map(|name| name.replace('*', "rmail-tls-show"));
    names.filter(|name| name != own).take(MAX_NAMES).collect()
}

/// Ports that speak TLS, as they are reached from here.
fn ports(listen: &Listen) -> Vec<(Service, SocketAddr, Begin)> {
    let begin = |service: Service| match service {
        Service::Smtp | Service::Submission => Some(Begin::Smtp),
        Service::Imap => Some(Begin::Imap),
        service => service.is_implicit_tls().then_some(Begin::Implicit),
    };
    let speaking = Service::ALL
        .into_iter()
        .filter_map(|service| Some((service, begin(service)?)));
    let on = |(service, begin)| {
        let addresses = listen.of(service).iter();
        addresses.map(move |address| (service, reachable(*address), begin))
    };
    speaking.flat_map(on).collect()
}

/// All addresses of the machine are reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn as_text(pairs: &[Configured], remarks: &[Remark], seen: Option<&[Seen]>) -> String {
    let mut out = String::new();
    let now = clock::unix().0.as_secs();
    for pair in pairs {
        let _ = writeln!(out, "{}: {}", pair.path, pair.files.cert.display());
        match &pair.read {
            None => out.push_str("  made, self-signed, when the server starts for the first time\n"),
            Some(Err(error)) => _ = writeln!(out, "  cannot be used: {error}"),
            Some(Ok(certificate)) => describe(&mut out, certificate, now),
        }
    }
    for remark in remarks {
        let word = if remark.urgent { "error" } else { "warning" };
        let _ = writeln!(out, "{word}: {}: {remark}", remark.path);
    }
    for seen in seen.into_iter().flatten() {
        let Seen {
            service,
            address,
            name,
            ..
        } = seen;
        let _ = write!(out, "{service} {address} ({name}): ");
        let _ = match &seen.shown {
            Err(error) => writeln!(out, "no TLS: {error}"),
            Ok(shown) if seen.is_right() => writeln!(out, "{}, as configured", shown.version),
            Ok(shown) => writeln!(
                out,
                "{}, shows another certificate: {}, sha256 {}",
                shown.version,
                shown.facts.title(),
                hex(&shown.facts.fingerprint)
            ),
        };
    }
    out
}

fn describe(out: &mut String, certificate: &Certificate, now: u64) {
    let facts = certificate.facts();
    let issuer = match facts.is_self_signed() {
        true => "itself (self-signed)",
        false => &facts.issuer,
    };
    let date = |unix: Option<u64>| unix.map_or("?".to_owned(), |unix| rfc3339::print(Unix::from_secs(unix)));
    let left = facts.expires.map_or(-1, |expires| days_left(expires, now));
    let _ = write!(
        out,
        "  names   {}\n  issuer  {issuer}\n  good    {} to {} ({left} days left)\n  key     {} in {}\n  sha256  {}\n",
        facts.names.join(", "),
        date(facts.begins),
        date(facts.expires),
        certificate.key_kind(),
        certificate.files().key.display(),
        hex(&facts.fingerprint)
    );
}

fn as_json(pairs: &[Configured], remarks: &[Remark], seen: Option<&[Seen]>) -> Value {
    let now = clock::unix().0.as_secs();
    let date = |unix: Option<u64>| unix.map(|unix| rfc3339::print(Unix::from_secs(unix)));
    let pairs = pairs.iter().map(|pair| {
        let mut json = json!({
            "path": pair.path, "cert_file": pair.files.cert, "key_file": pair.files.key,
            "state": match &pair.read { None => "not_made_yet", Some(Ok(_)) => "usable", Some(Err(_)) => "broken" },
        });
        match &pair.read {
            None => {}
            Some(Err(error)) => json["error"] = json!(error.to_string()),
            Some(Ok(certificate)) => {
                let facts = certificate.facts();
                json["names"] = json!(facts.names);
                json["subject"] = json!(facts.subject);
                json["issuer"] = json!(facts.issuer);
                json["self_signed"] = json!(facts.is_self_signed());
                json["begins"] = json!(date(facts.begins));
                json["expires"] = json!(date(facts.expires));
                json["days_left"] = json!(facts.expires.map(|expires| days_left(expires, now)));
                json["key"] = json!(certificate.key_kind());
                json["sha256"] = json!(hex(&facts.fingerprint));
            }
        }
        json
    });
    let mut out = json!({ "certificates": pairs.collect::<Vec<_>>() });
    let remarks = remarks.iter().map(|remark| {
        json!({"path": remark.path, "event": remark.event, "urgent": remark.urgent, "text": remark.text})
    });
    out["remarks"] = remarks.collect();
    if let Some(seen) = seen {
        out["live"] = seen.iter().map(seen_as_json).collect();
    }
    out
}

fn seen_as_json(seen: &Seen) -> Value {
    let mut json = json!({
        "service": seen.service.to_string(), "address": seen.address.to_string(), "name": seen.name,
        "as_configured": seen.is_right(),
    });
    match &seen.shown {
        Err(error) => json["error"] = json!(error),
        Ok(shown) => {
            json["version"] = json!(shown.version);
            json["chain"] = json!(shown.chain);
            json["names"] = json!(shown.facts.names);
            json["sha256"] = json!(hex(&shown.facts.fingerprint));
        }
    }
    json
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut out, octet| {
        let _ = write!(out, "{octet:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_with_tls_is_reached_on_an_address_of_this_machine() {
        let listen = Listen {
            smtp: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 25))],
            imaps: vec![
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, 993)),
                SocketAddr::from(([192, 0, 2, 1], 993)),
            ],
            api: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9002))],
            lmtp: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 24))],
            ..Listen::default()
        };
        let found: Vec<_> = ports(&listen)
            .iter()
            .map(|(service, address, begin)| format!("{service} {address} {begin:?}"))
            .collect();
        assert_eq!(
            found,
            [
                "smtp 127.0.0.1:25 Smtp",
                "imaps [::1]:993 Implicit",
                "imaps 192.0.2.1:993 Implicit"
            ]
        );
    }
}
