//! One exchange over HTTPS with a server of another domain: its MTA-STS policy, or a TLS report for it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Timer;
use futures_lite::FutureExt as _;
use rmail_core::addr::Domain;
use rmail_core::dns::mx::Lookup;
use rmail_core::http::client::{HttpClient, Request, Response};
use rmail_core::relay::tls::policy::MAX_POLICY;
use rmail_core::relay::tls::report::Url;
use rmail_core::relay::tls::{Fault, FaultKind};
use rustls::pki_types::ServerName;

use crate::clock::Clock;
use crate::dns::Dns;
use crate::drive::{Context, DriveLimits, End, drive};
use crate::io::Stream;
use crate::note_log::Label;
use crate::pools::Pools;
use crate::server::NoService;
use crate::tls::{ClientTls, TlsParty, Watch, fault_of_io};

/// For the whole: "one minute" (RFC 8461 §3.3).
const TIMEOUT: Duration = Duration::from_secs(60);
/// For one connection to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of one server that are tried.
const ADDRESSES: usize = 4;
/// The port of `https:`.
const PORT: u16 = 443;

/// What an exchange needs of its host.
#[derive(Clone, Debug)]
pub(crate) struct Https {
    pub(crate) clock: Clock,
    pub(crate) pools: Arc<Pools>,
    pub(crate) dns: Dns,
    pub(crate) tls: Arc<ClientTls>,
}

/// Why there was no response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// TLS, or the certificate.
    Tls(Fault),
    /// Anything else, in words.
    Other(String),
}

impl Https {
    /// The policy of a domain, as its server has it (RFC 8461 §3.3).
    pub(crate) async fn policy(&self, domain: &Domain) -> Result<Vec<u8>, Fault> {
        self.policy_at(domain, PORT).await
    }

    async fn policy_at(&self, domain: &Domain, port: u16) -> Result<Vec<u8>, Fault> {
        let fetch = |text: String| Fault::new(FaultKind::StsPolicyFetchError, text);
        let Some(host) = Domain::parse(&format!("mta-sts.{domain}")) else {
            return Err(fetch("the name of the policy server is too long".to_owned()));
        };
        let url = Url {
            host,
            port,
            target: "/.well-known/mta-sts.txt".to_owned(),
        };
        let response = match self.exchange(&url, None, MAX_POLICY, &[]).await {
            Ok(response) => response,
            Err(Trouble::Tls(fault)) => return Err(Fault::new(FaultKind::StsWebpkiInvalid, fault.text)),
            Err(Trouble::Other(text)) => return Err(fetch(text)),
        };
        // "HTTP 3xx redirects MUST NOT be followed"; "MUST validate the media type".
        if response.status != 200 {
            return Err(fetch(format!(
                "the policy server answers with {}",
                response.status
            )));
        }
        if response.content_type != "text/plain" {
            return Err(fetch("what the policy server sends is not text/plain".to_owned()));
        }
        Ok(response.body)
    }

    /// Sends a report; whether it was taken, or why not.
    pub(super) async fn post(&self, url: &Url, kind: &'static str, body: Vec<u8>) -> Result<(), String> {
        /// What a server says of the report is not read.
        const MAX_ANSWER: usize = 64 * 1024;
        match self.exchange(url, Some((kind, body)), MAX_ANSWER, &[]).await {
            Ok(response) if (200..300).contains(&response.status) => Ok(()),
            Ok(response) => Err(format!("the server answers with {}", response.status)),
            Err(Trouble::Tls(fault)) => Err(fault.text),
            Err(Trouble::Other(text)) => Err(text),
        }
    }

    /// One request (with a body: POST) and its response, with these fields of its head.
    pub(crate) async fn exchange(
        &self,
        url: &Url,
        body: Option<(&'static str, Vec<u8>)>,
        max_body: usize,
        wanted: &'static [&'static str],
    ) -> Result<Response, Trouble> {
        let late = async {
            Timer::after(TIMEOUT).await;
            Err(Trouble::Other("it took too long".to_owned()))
        };
        let exchange = async {
            let (stream, peer) = self.connect(url).await?;
            let host = match url.port {
                PORT => url.host.to_string(),
                port => format!("{}:{port}", url.host),
            };
            let request = Request {
                host,
                target: url.target.clone(),
                body,
                wanted,
                max_body,
                timeout: TIMEOUT,
            };
            self.talk(url, request, stream, peer).await
        };
        exchange.or(late).await
    }

    async fn connect(&self, url: &Url) -> Result<(Stream, IpAddr), Trouble> {
        let mut lookup = Lookup::host(url.host.as_str());
        while let Some(question) = lookup.poll() {
            let answer = self.dns.ask(question.clone()).await;
            lookup.answer(&question, answer);
        }
        let Some(Ok(plan)) = lookup.result() else {
            return Err(Trouble::Other(format!("{} has no address", url.host)));
        };
        let mut last = format!("{} has no address", url.host);
        for ip in plan.hosts.iter().flat_map(|host| &host.addresses).take(ADDRESSES) {
            let address = SocketAddr::new(*ip, url.port);
            match timely(Stream::connect(address)).await {
                Ok(stream) => return Ok((stream, *ip)),
                Err(error) => last = format!("connect to {address}: {error}"),
            }
        }
        Err(Trouble::Other(last))
    }

    async fn talk(
        &self,
        url: &Url,
        request: Request,
        stream: Stream,
        peer: IpAddr,
    ) -> Result<Response, Trouble> {
        let other = |text: &str| Trouble::Other(text.to_owned());
        let name = ServerName::try_from(url.host.to_string())
            .map_err(|_| other("no certificate can be good for it"))?;
        let tls = Arc::clone(&self.tls);
        let roots = self
            .pools
            .run(rmail_store::service::Pool::Read, move || tls.verified());
        let config = roots
            .await
            .map_err(|panicked| Trouble::Other(panicked.to_string()))?;
        let watch = Watch::default();
        let context = Context {
            clock: self.clock,
            pools: Arc::clone(&self.pools),
            signal: Arc::default(),
            tls: Some(TlsParty::Client { config, name, watch }),
            implicit_tls: true,
            limits: DriveLimits {
                handshake: CONNECT,
                write_stall: TIMEOUT,
                linger: Duration::ZERO,
            },
            label: Label {
                protocol: "https",
                connection: 0,
                peer,
            },
            lines: None,
            metrics: None,
            tape: None,
        };
        let machine = HttpClient::new(self.clock.now(), request);
        let ended = drive(machine, stream, Arc::new(NoService), context).await;
        if let End::Handshake(error) = &ended.end {
            return Err(Trouble::Tls(fault_of_io(error)));
        }
        match ended.machine.as_ref().and_then(HttpClient::result) {
            Some(Ok(response)) => Ok(response.clone()),
            Some(Err(why)) => Err(other(why)),
            None => Err(Trouble::Other(ended.end.to_string())),
        }
    }
}

/// Before [`CONNECT`] has passed.
async fn timely<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = async {
        Timer::after(CONNECT).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    work.or(late).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    /// A server that answers each request, over TLS with a certificate for this name, with the next of these answers. Its
    /// port, and roots that trust it.
    fn server(
        name: &str,
        answers: Vec<&'static str>,
    ) -> (u16, RootCertStore, std::thread::JoinHandle<Vec<String>>) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a pair");
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let thread = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (socket, _) = listener.accept().expect("a connection");
                let connection = ServerConnection::new(Arc::clone(&config)).expect("a server");
                let mut stream = StreamOwned::new(connection, socket);
                let mut request = Vec::new();
                let mut octets = [0; 4096];
                while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"report") {
                    match stream.read(&mut octets) {
                        Ok(read) if read > 0 => request.extend_from_slice(&octets[..read]),
                        _ => break,
                    }
                }
                requests.push(String::from_utf8_lossy(&request).into_owned());
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
            requests
        });
        (port, roots, thread)
    }

    fn run<T>(roots: RootCertStore, work: impl AsyncFnOnce(Https) -> T) -> T {
        let executor = Arc::new(Engine::new().expect("an engine"));
        let clock = Clock::start();
        let https = Https {
            clock,
            pools: Arc::new(Pools::new(1)),
            dns: Dns::start(&executor, clock, Vec::new()),
            tls: Arc::new(ClientTls::with_roots(roots)),
        };
        executor.block_on(work(https))
    }

    fn localhost() -> Domain {
        Domain::parse("localhost").expect("a domain")
    }

    #[test]
    fn a_policy_is_fetched_as_plain_text_and_without_redirections() {
        let (port, roots, server) = server(
            "mta-sts.localhost",
            vec![
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nversion: STSv1",
                "HTTP/1.1 301 Moved\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\ncut",
            ],
        );
        let results = run(roots, async |https| {
            let mut results = Vec::new();
            for _ in 0..4 {
                results.push(https.policy_at(&localhost(), port).await);
            }
            results
        });
        assert_eq!(results[0].as_deref(), Ok(&b"version: STSv1"[..]));
        for (result, word) in results[1..].iter().zip(["301", "text/plain", "lost"]) {
            let fault = result.as_ref().expect_err("no policy");
            assert_eq!(fault.kind, FaultKind::StsPolicyFetchError);
            assert!(fault.text.contains(word), "{}", fault.text);
        }
        let requests = server.join().expect("it ends");
        assert!(
            requests[0].starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"),
            "{}",
            requests[0]
        );
        assert!(requests[0].contains(&format!("\r\nHost: mta-sts.localhost:{port}\r\n")));
    }

    #[test]
    fn a_policy_server_must_have_a_good_certificate() {
        let (port, roots, bad) = server("localhost", vec!["HTTP/1.1 204 No\r\n\r\n"]);
        let result = run(roots, async |https| https.policy_at(&localhost(), port).await);
        assert_eq!(
            result.expect_err("the name is another").kind,
            FaultKind::StsWebpkiInvalid
        );
        assert_eq!(bad.join().expect("it ends"), [""], "nothing was asked of it");
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = nobody.local_addr().expect("an address").port();
        drop(nobody);
        let result = run(RootCertStore::empty(), async |https| {
            https.policy_at(&localhost(), port).await
        });
        assert_eq!(
            result.expect_err("nobody is there").kind,
            FaultKind::StsPolicyFetchError
        );
    }

    #[test]
    fn a_report_is_posted() {
        let (port, roots, server) = server(
            "localhost",
            vec![
                "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 503 Later\r\n\r\n",
            ],
        );
        let url = Url {
            host: localhost(),
            port,
            target: "/v1/tlsrpt".to_owned(),
        };
        let results = run(roots, async |https| {
            let kind = "application/tlsrpt+gzip";
            let first = https.post(&url, kind, b"report".to_vec()).await;
            (first, https.post(&url, kind, b"report".to_vec()).await)
        });
        assert_eq!(results.0, Ok(()));
        assert!(results.1.is_err_and(|why| why.contains("503")));
        let requests = server.join().expect("it ends");
        assert!(
            requests[0].starts_with("POST /v1/tlsrpt HTTP/1.1\r\n")
                && requests[0].ends_with("\r\n\r\nreport")
        );
    }
}
