//! What the relay trusts of another server's certificate.

use std::sync::{Arc, OnceLock};

use rmail_core::relay::tls::Fault;
use rmail_core::relay::tls::dane::Anchors;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::dane;
use super::fault::fault_of;
use super::{VERSIONS, provider};

/// The client configurations of a process, each made when it is first needed.
#[derive(Debug, Default)]
pub struct ClientTls {
    roots: OnceLock<Arc<RootCertStore>>,
    verified: OnceLock<Arc<ClientConfig>>,
    opportunistic: OnceLock<Arc<ClientConfig>>,
}

/// What would have been wrong with a certificate that did not matter.
pub type Watch = Arc<OnceLock<Fault>>;

impl ClientTls {
    /// With other roots than the system's.
    #[must_use]
    pub fn with_roots(roots: RootCertStore) -> Self {
        Self {
            roots: OnceLock::from(Arc::new(roots)),
            ..Self::default()
        }
    }

    /// The system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured). Reads files at the first call: not on an
    /// executor thread.
    fn roots(&self) -> Arc<RootCertStore> {
        let load = || {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                log::warn!(target: "tls", "event=roots error={:?}", error.to_string());
            }
            let mut roots = RootCertStore::empty();
            let (good, bad) = roots.add_parsable_certificates(found.certs);
            log::debug!(target: "tls", "event=roots good={good} unusable={bad}");
            Arc::new(roots)
        };
        Arc::clone(self.roots.get_or_init(load))
    }

    /// The certificate must be good for the name, by the system's roots. Reads files at the first call: not on an
    /// executor thread.
    pub fn verified(&self) -> Arc<ClientConfig> {
        let make = || {
            let roots = self.roots();
            finish(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        };
        Arc::clone(self.verified.get_or_init(make))
    }

    /// Any certificate will do: encryption against those who only listen (RFC 7435). The handshake's signatures are
    /// checked nevertheless.
    pub fn opportunistic(&self) -> Arc<ClientConfig> {
        let make = || verified_by(|_| Ok(()));
        Arc::clone(self.opportunistic.get_or_init(make))
    }

    /// Any certificate will do, and what [`ClientTls::verified`] would have said of it is told. Reads files at the first
    /// call: not on an executor thread.
    pub fn watched(&self, watch: &Watch) -> Arc<ClientConfig> {
        let (verifier, watch) = (web_pki(self.roots()), Arc::clone(watch));
        verified_by(move |shown| {
            let verified = match &verifier {
                Some(verifier) => shown.by(verifier, shown.name),
                None => Err(rustls::Error::General("there are no trust roots".to_owned())),
            };
            if let Err(error) = verified {
                let _ = watch.set(fault_of(&error));
            }
            Ok(())
        })
    }

    /// The certificate must be what TLSA records say (RFC 7672 §3.1).
    #[must_use]
    pub fn dane(anchors: &Arc<Anchors>) -> Arc<ClientConfig> {
        let anchors = Arc::clone(anchors);
        verified_by(move |shown| dane::verify(&anchors, shown))
    }
}

/// The verifier of the web, over these roots; there is none without roots.
pub(super) fn web_pki(roots: Arc<RootCertStore>) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .ok()
}

/// What a server shows of itself.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) own: &'a CertificateDer<'a>,
    pub(super) others: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    now: UnixTime,
}

impl Shown<'_> {
    /// What a verifier says of it for a name.
    pub(super) fn by(
        &self,
        verifier: &WebPkiServerVerifier,
        name: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        verifier
            .verify_server_cert(self.own, self.others, name, &[], self.now)
            .map(drop)
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn finish(rest: impl FnOnce(Builder) -> ClientConfig) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("ring has cipher suites for TLS 1.2 and 1.3");
    Arc::new(rest(builder))
}

/// A configuration that asks `check` about certificates.
fn verified_by(
    check: impl Fn(&Shown<'_>) -> Result<(), rustls::Error> + Send + Sync + 'static,
) -> Arc<ClientConfig> {
    let verifier = Arc::new(Checked {
        check,
        provider: provider(),
    });
    finish(|builder| {
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth()
    })
}

/// Accepts what its check accepts of those who hold the key of the certificate that they show.
struct Checked<F> {
    check: F,
    provider: Arc<CryptoProvider>,
}

impl<F> std::fmt::Debug for Checked<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checked")
    }
}

impl<F: Fn(&Shown<'_>) -> Result<(), rustls::Error> + Send + Sync> ServerCertVerifier for Checked<F> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Shown {
            own: end_entity,
            others: intermediates,
            name: server_name,
            now,
        };
        (self.check)(&shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
