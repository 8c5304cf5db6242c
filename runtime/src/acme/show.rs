//! What authorities are shown that look whether a name is ours.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rmail_core::acme::{ALPN, alpn_digest};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::Place;

/// The document of `http-01` for a token. Reads a file.
pub(crate) fn document(mail_root: &Path, token: &str) -> Option<String> {
    Place::of(mail_root).by_token(token)
}

/// For a handshake in which an authority looks for a `tls-alpn-01` proof: with what to answer. `None`: it is no such
/// handshake, or nothing is shown for the name. Reads a file, of those handshakes only.
pub(crate) fn challenged(
    mail_root: &Path,
    hello: &ClientHello<'_>,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<ServerConfig>> {
    // "An ALPN extension containing the single protocol name" (RFC 8737 §3).
    let mut protocols = hello.alpn()?;
    if (protocols.next(), protocols.next()) != (Some(ALPN), None) {
        return None;
    }
    let name = hello.server_name()?;
    let shown = Place::of(mail_root).by_name(name)?;
    match config(name, &shown, provider) {
        Ok(config) => {
            log::info!(target: "acme", "event=proof_shown kind=tls-alpn-01 name={name:?}");
            Some(Arc::new(config))
        }
        Err(error) => {
            log::error!(target: "acme", "event=no_proof name={name:?} error={error:?}");
            None
        }
    }
}

/// A certificate for the name alone, which holds the proof (RFC 8737 §3).
fn config(
    name: &str,
    key_authorization: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, String> {
    let text = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(text)?;
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).map_err(text)?;
    parameters.distinguished_name = DistinguishedName::new();
    let digest = alpn_digest(key_authorization);
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let certificate = parameters.self_signed(&key).map_err(text)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
    let signing = provider.key_provider.load_private_key(private);
    let signing = signing.map_err(|error| error.to_string())?;
    // Not by `with_single_cert`: that reads the certificate, and does not know its critical extension.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], signing);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
