//! Handshakes of TLS a second, each over a connection of its own, none resumed.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use crate::processes::Processes;
use crate::{Figures, percentiles};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A port of the server that begins with TLS and then greets (IMAPS, SMTPS).
    #[arg(long)]
    pub(crate) port: u16,
    /// Connections at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) connections: u16,
    /// Handshakes in all.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) handshakes: u32,
    /// Name of the server's processes (`comm`), for their time; may be given several times.
    #[arg(long)]
    pub(crate) process: Vec<String>,
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    let config = Arc::new(config());
    let share = options.handshakes.div_ceil(u32::from(options.connections));
    let processes = Processes(&options.process);
    let (cpu, begun) = (processes.cpu(), Instant::now());
    let times: Vec<f64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..options.connections)
            .map(|_| {
                scope.spawn(|| {
                    (0..share)
                        .map(|_| greeted(host, options.port, &config))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    let (seconds, count) = (begun.elapsed().as_secs_f64(), times.len() as f64);
    let mut figures = vec![("TLS handshakes".to_owned(), count / seconds, "handshakes/s")];
    if let (Some(before), Some(after)) = (cpu, processes.cpu()) {
        let each = after.saturating_sub(before).as_secs_f64() * 1000.0 / count;
        figures.push(("TLS handshakes: CPU of the server for one".to_owned(), each, "ms"));
    }
    figures.extend(percentiles("TLS handshakes: connect to greeting", times));
    figures
}

/// Milliseconds from connecting to the first octet of the greeting.
fn greeted(host: IpAddr, port: u16, config: &Arc<ClientConfig>) -> f64 {
    let begun = Instant::now();
    let stream = TcpStream::connect((host, port)).expect("the server listens");
    stream.set_nodelay(true).expect("nodelay");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("time-out");
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::clone(config), name).expect("a configuration");
    let mut tls = StreamOwned::new(client, stream);
    tls.flush().expect("a handshake");
    let mut first = [0; 1];
    tls.read_exact(&mut first).expect("a greeting");
    begun.elapsed().as_secs_f64() * 1000.0
}

fn config() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// Takes every certificate: self-signed ones are measured; signatures are checked as always.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
