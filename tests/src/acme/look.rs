//! How an authority looks at names, and how anybody looks at a server's certificate.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// What has to be found.
pub(super) struct Proof {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) token: String,
    pub(super) key_authorization: String,
    pub(super) port: u16,
    /// Of the authorization.
    pub(super) path: String,
}

/// Looks whether it is there.
pub(super) fn prove(proof: &Proof) -> Result<(), String> {
    match proof.kind.as_str() {
        "http-01" => web(proof),
        "tls-alpn-01" => handshake(proof),
        other => Err(format!("{other} is not looked at")),
    }
}

fn connect(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let timeout = Some(Duration::from_secs(10));
    stream
        .set_read_timeout(timeout)
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// RFC 8555 §8.3.
fn web(proof: &Proof) -> Result<(), String> {
    let mut stream = connect(proof.port)?;
    let request = format!(
        "GET /.well-known/acme-challenge/{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        proof.token, proof.name
    );
    stream
        .write_all(request.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let good = head.starts_with("HTTP/1.1 200 ") && body.trim_end() == proof.key_authorization;
    good.then_some(())
        .ok_or_else(|| format!("found {head:?} {body:?}"))
}

/// RFC 8737 §3.
fn handshake(proof: &Proof) -> Result<(), String> {
    let stream = connect(proof.port)?;
    let taken = Arc::new(Taken::default());
    let mut config = config(Arc::clone(&taken) as Arc<dyn ServerCertVerifier>);
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let connection = shake(config, &proof.name, stream)?;
    if connection.alpn_protocol() != Some(b"acme-tls/1") {
        return Err("it does not speak acme-tls/1".to_owned());
    }
    let shown = taken.shown.lock().map_err(|error| error.to_string())?.clone();
    let digest = Sha256::digest(&proof.key_authorization);
    // id-pe-acmeIdentifier, critical, OCTET STRING { OCTET STRING of 32 }
    let extension = [
        &[
            0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f, 0x01, 0x01, 0xff, 0x04, 0x22, 0x04,
            0x20,
        ][..],
        &digest,
    ]
    .concat();
    let name = [
        &[0x82, u8::try_from(proof.name.len()).unwrap_or(0)][..],
        proof.name.as_bytes(),
    ]
    .concat();
    for (what, octets) in [("acmeIdentifier", extension), ("the name", name)] {
        if !shown.windows(octets.len()).any(|window| window == octets) {
            return Err(format!("the certificate does not hold {what}"));
        }
    }
    Ok(())
}

/// The certificate that a server on loopback shows for a name, by TLS from the first octet.
///
/// # Errors
/// It is not good for the name by this root (PEM), or there is none.
pub fn shown(port: u16, name: &str, root: &str) -> Result<Vec<u8>, String> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| error.to_string())?;
    roots.add(root).map_err(|error| error.to_string())?;
    let config = builder().with_root_certificates(roots).with_no_client_auth();
    let connection = shake(config, name, connect(port)?)?;
    let chain = connection.peer_certificates().unwrap_or_default();
    chain
        .first()
        .map(|own| own.to_vec())
        .ok_or_else(|| "no certificate".to_owned())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has suites")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn config(verifier: Arc<dyn ServerCertVerifier>) -> ClientConfig {
    builder()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth()
}

fn shake(config: ClientConfig, name: &str, mut stream: TcpStream) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    while connection.is_handshaking() {
        connection
            .complete_io(&mut stream)
            .map_err(|error| error.to_string())?;
    }
    Ok(connection)
}

/// Takes any certificate, and remembers it.
#[derive(Debug, Default)]
struct Taken {
    shown: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Taken {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut shown) = self.shown.lock() {
            *shown = end_entity.to_vec();
        }
        Ok(ServerCertVerified::assertion())
    }

    // Who shows the proof has the key or not: it is the proof that counts, and its critical extension is none that a
    // verifier of the web would read.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
