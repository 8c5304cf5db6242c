//! What the relay trusts of another server's certificate.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{VERSIONS, provider};

/// The two client configurations of a process, each made when it is first needed.
#[derive(Debug, Default)]
pub struct ClientTls {
    verified: OnceLock<Arc<ClientConfig>>,
    opportunistic: OnceLock<Arc<ClientConfig>>,
}

impl ClientTls {
    /// The certificate must be good for the name, by the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are
    /// honoured). Reads files at the first call: not on an executor thread.
    pub fn verified(&self) -> Arc<ClientConfig> {
        let make = || {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                log::warn!(target: "tls", "event=roots error={:?}", error.to_string());
            }
            let mut roots = RootCertStore::empty();
            let (good, bad) = roots.add_parsable_certificates(found.certs);
            log::debug!(target: "tls", "event=roots good={good} unusable={bad}");
            finish(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        };
        Arc::clone(self.verified.get_or_init(make))
    }

    /// Any certificate will do: encryption against those who only listen (RFC 7435). The handshake's signatures are
    /// checked nevertheless.
    pub fn opportunistic(&self) -> Arc<ClientConfig> {
        let make = || {
            finish(|builder| {
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
                    .with_no_client_auth()
            })
        };
        Arc::clone(self.opportunistic.get_or_init(make))
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn finish(rest: impl FnOnce(Builder) -> ClientConfig) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("ring has cipher suites for TLS 1.2 and 1.3");
    Arc::new(rest(builder))
}

/// Accepts whoever holds the key of the certificate that it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
