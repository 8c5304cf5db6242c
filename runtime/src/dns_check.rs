//! The host of the check of DNS records: finds out what the check has to know, until it knows all.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::Timer;
use futures_lite::FutureExt as _;
use rmail_core::addr::Domain;
use rmail_core::config::Config;
use rmail_core::dns::{Answer, DnsError, Question};
use rmail_core::dns_records::{Addresses, Certificate, Facts, Finding, Site, Wanted, check, is_public};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::clock::Clock;
use crate::dns::{Dns, Servers};
use crate::pools::Pools;
use crate::relay::https::Https;
use crate::tls;

/// Rounds of questions: SPF needs the most, one for each of its look-ups.
const MAX_ROUNDS: usize = 64;
/// For one policy to be read.
const POLICY: Duration = Duration::from_secs(15);
/// Addresses to which nothing is sent: the system only tells from which of its own it would be.
const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

enum Found {
    Dns(Question, Result<Answer, DnsError>),
    Policy(Domain, Result<Vec<u8>, String>),
}

/// How the records stand. Blocks, for at most some minutes if no name server answers. `None`: `stop` was ready before.
pub(crate) fn run(
    servers: Servers,
    site: &Site,
    domains: &[Domain],
    stop: impl Future<Output = ()>,
) -> Option<Vec<Finding>> {
    let executor = Arc::new(Engine::new().ok()?);
    let clock = Clock::start();
    let dns = Dns::start(&executor, clock, servers);
    let https = Https {
        clock,
        pools: Arc::new(Pools::new(1)),
        dns: dns.clone(),
        tls: Arc::default(),
    };
    let mut facts = Facts::default();
    let work = async {
        let mut findings = check(site, domains, &mut facts);
        for _round in 0..MAX_ROUNDS {
            let missing = facts.missing();
            if missing.is_empty() {
                break;
            }
            let ask = |wanted| executor.spawn(find_out(dns.clone(), https.clone(), wanted));
            let tasks: Vec<_> = missing.into_iter().map(ask).collect();
            for task in tasks {
                match task.await {
                    Found::Dns(question, result) => facts.dns(question, result),
                    Found::Policy(domain, result) => facts.policy(domain, result),
                }
            }
            findings = check(site, domains, &mut facts);
        }
        Some(findings)
    };
    let stopped = async {
        stop.await;
        None
    };
    executor.block_on(work.or(stopped))
}

async fn find_out(dns: Dns, https: Https, wanted: Wanted) -> Found {
    match wanted {
        Wanted::Dns(question) => {
            let result = dns.ask(question.clone()).await;
            Found::Dns(question, result)
        }
        Wanted::Policy(domain) => {
            let late = async {
                Timer::after(POLICY).await;
                Err("the policy server does not answer in time".to_owned())
            };
            let fetched = async { https.policy(&domain).await.map_err(|fault| fault.text) };
            let result = fetched.or(late).await;
            Found::Policy(domain, result)
        }
    }
}

/// Addresses by which others reach the server: those that are given, else those it listens on, else what this host would
/// send from, as far as they are public.
pub(crate) fn addresses(config: &Config, given: &[IpAddr]) -> Addresses {
    if !given.is_empty() {
        return Addresses {
            list: given.to_vec(),
            guessed: false,
        };
    }
    let hosts = &config.smtp.host;
    let guessed = hosts.iter().any(IpAddr::is_unspecified);
    let mut list: Vec<IpAddr> = hosts.iter().copied().filter(|ip| !ip.is_unspecified()).collect();
    for outside in OUTSIDE {
        // "::" is dual stack.
        let any = |host: &IpAddr| host.is_unspecified() && (host.is_ipv6() || outside.is_ipv4());
        if hosts.iter().any(any) {
            list.extend(sends_from(outside));
        }
    }
    list.retain(|ip| is_public(*ip));
    Addresses { list, guessed }
}

/// The address that this host would use towards another. Nothing is sent.
fn sends_from(other: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match other {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(SocketAddr::new(other, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The certificates of a PEM file. `None`: it cannot be read, or has none.
pub(crate) fn certificate(path: &Path) -> Option<Certificate> {
    let pem = std::fs::read(path).ok()?;
    let mut chain = CertificateDer::pem_slice_iter(&pem)
        .map_while(Result::ok)
        .filter_map(|der| {
            let spki = tls::spki(&der)?.to_vec();
            Some((der.to_vec(), spki))
        });
    let (der, spki) = chain.next()?;
    Some(Certificate {
        der,
        spki,
        others: chain.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).expect("a configuration").0
    }

    #[test]
    fn addresses_are_taken_from_whoever_knows_best() {
        let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let listens = config(r#"{"smtp": {"host": ["192.0.2.7", "127.0.0.1"]}}"#);
        let known = addresses(&listens, &[]);
        assert_eq!((known.list, known.guessed), (vec![ip("192.0.2.7")], false));
        let given = addresses(&listens, &[ip("10.0.0.1")]);
        assert_eq!((given.list, given.guessed), (vec![ip("10.0.0.1")], false));
        let anywhere = addresses(&config("{}"), &[]);
        assert!(anywhere.guessed && anywhere.list.iter().all(|ip| is_public(*ip)));
    }

    #[test]
    fn a_certificate_is_read_with_its_key() {
        let made = rcgen::generate_simple_self_signed(vec!["mail.here.test".to_owned()]).expect("made");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cert.pem");
        std::fs::write(&path, made.cert.pem()).expect("written");
        let read = certificate(&path).expect("a certificate");
        assert_eq!(read.der, made.cert.der().to_vec());
        let spki = read.spki;
        assert!(read.der.windows(spki.len()).any(|part| part == spki));
        assert_eq!(certificate(dir.path()), None);
    }
}
