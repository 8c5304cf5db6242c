//! TLS: the server's certificate and its reload, what the relay trusts, and what sessions are told of a connection.

mod client;
mod dane;
mod expiry;
mod fault;
mod files;
mod self_signed;
#[cfg(test)]
mod trust_tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rmail_core::machine::TlsInfo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

pub use client::{ClientTls, Watch};
pub(crate) use dane::spki;
pub use expiry::expires;
pub(crate) use fault::fault_of_io;
pub use files::{Pair, Stamp, TlsError};

/// The label of `tls-exporter` channel bindings (RFC 9266 §2).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// TLS 1.2 and 1.3; older ones are forbidden (RFC 8996).
static VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Which side of a handshake we are.
#[derive(Clone, Debug)]
pub enum TlsParty {
    /// We have the certificate.
    Server(Arc<ServerTls>),
    /// The same, for HTTP/1.1: clients choose it by ALPN (RFC 9112 §9.7, RFC 7301).
    WebServer(Arc<ServerTls>),
    /// We look at theirs.
    Client {
        /// What we trust.
        config: Arc<ClientConfig>,
        /// Whom we mean to reach.
        name: ServerName<'static>,
        /// Where [`ClientTls::watched`] tells what is wrong with a certificate.
        watch: Watch,
    },
}

/// Where the server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// `{mail_root}/tls/cert.pem` and `key.pem`, made at the first start: ECDSA P-256, ten years.
    SelfSigned {
        /// The mail_root.
        mail_root: PathBuf,
        /// Host names that it is good for; the first is its subject.
        names: Vec<String>,
    },
    /// Files of the operator's.
    Files {
        /// Certificate chain, PEM, the server's own first.
        cert: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
}

impl CertificateSource {
    /// What the files look like from outside; `None` if one is not there. Blocks for two stat(2).
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::SelfSigned { mail_root, .. } => {
                let [cert, key] = files::paths(mail_root);
                Stamp::of(&cert, &key)
            }
            Self::Files { cert, key } => Stamp::of(cert, key),
        }
    }
}

/// The server's side of TLS. New connections get the certificate of the last reload that worked, old ones live on.
pub struct ServerTls {
    current: RwLock<Arc<Material>>,
}

/// One certificate, ready for use. A connection keeps the one that it began with, so that what channel binding says of
/// it is true whatever is reloaded meanwhile.
pub struct Material {
    config: Arc<ServerConfig>,
    /// With the protocol HTTP/1.1.
    web: Arc<ServerConfig>,
    end_point: Option<Vec<u8>>,
    pair: Pair,
}

impl ServerTls {
    /// Loads the certificate (makes it first, if it is self-signed and not there).
    ///
    /// # Errors
    /// It cannot be read, made or used; says which file and why.
    pub fn load(source: &CertificateSource) -> Result<Self, TlsError> {
        let (pair, path) = read(source)?;
        Ok(Self {
            current: RwLock::new(Arc::new(Material::of(pair, &path)?)),
        })
    }

    /// Loads it again. `false`: the files are the same as before.
    ///
    /// # Errors
    /// The new pair cannot be used; the old one stays.
    pub fn reload(&self, source: &CertificateSource) -> Result<bool, TlsError> {
        let (pair, path) = read(source)?;
        if pair == self.current().pair {
            return Ok(false);
        }
        let new = Arc::new(Material::of(pair, &path)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// What a connection that begins now uses.
    #[must_use]
    pub fn current(&self) -> Arc<Material> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Material {
    fn of(pair: Pair, path: &Path) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(pair.chain(), pair.key())
            })
            .map_err(|error| TlsError::unusable(path, &error))?;
        let mut web = config.clone();
        web.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            web: Arc::new(web),
            end_point: pair.chain().first().and_then(end_point_of),
            pair,
        })
    }

    /// For rustls.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The same for connections of the HTTP API.
    #[must_use]
    pub fn web_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.web)
    }

    /// When the certificate expires, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        self.pair.chain().first().and_then(expires)
    }

    /// `tls-server-end-point` of the certificate (RFC 5929 §4).
    #[must_use]
    pub fn end_point(&self) -> Option<Vec<u8>> {
        self.end_point.clone()
    }
}

/// The pair of a source, and the certificate's path.
fn read(source: &CertificateSource) -> Result<(Pair, PathBuf), TlsError> {
    let [cert, key] = match source {
        CertificateSource::Files { cert, key } => [cert.clone(), key.clone()],
        CertificateSource::SelfSigned { mail_root, names } => self_signed::ensure(mail_root, names)?,
    };
    Ok((Pair::read(&cert, &key)?, cert))
}

/// ring, named for each configuration: nothing depends on a process-wide default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Version and cipher of a finished handshake.
#[must_use]
pub fn info_of(connection: &CommonState) -> TlsInfo {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => 0x0304,
        _ => 0x0303,
    };
    let name = connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or("unknown");
    let cipher = name
        .strip_prefix("TLS13_")
        .map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"));
    TlsInfo {
        version,
        cipher,
        ..TlsInfo::default()
    }
}

/// `tls-exporter` (RFC 9266). In TLS 1.2 it is unique only with the extended master secret: left out there.
pub fn exporter<E>(version: u16, export: impl FnOnce([u8; 32]) -> Result<[u8; 32], E>) -> Option<Vec<u8>> {
    (version == 0x0304)
        .then(|| export([0; 32]).ok().map(|octets| octets.to_vec()))
        .flatten()
}

/// `tls-server-end-point` (RFC 5929 §4.1): the certificate's hash by the hash of its own signature; MD5 and SHA-1 count
/// as SHA-256. `None` where the signature names no single hash.
#[must_use]
pub fn end_point_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let der = certificate.as_ref();
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, … }, signature } (RFC 5280 §4.1)
    let (outer, _) = der_value(der)?;
    let (_, rest) = der_value(outer)?;
    let (algorithm, _) = der_value(rest)?;
    let (oid, _) = der_value(algorithm)?;
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA2: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let hash = if let Some(rest) = oid.strip_prefix(&RSA) {
        match rest {
            [4 | 5 | 11] => 256, // md5, sha1, sha256
            [12] => 384,
            [13] => 512,
            _ => return None,
        }
    } else {
        match oid.strip_prefix(&ECDSA_SHA2)? {
            [2] => 256,
            [3] => 384,
            [4] => 512,
            _ => return None,
        }
    };
    Some(match hash {
        256 => Sha256::digest(der).to_vec(),
        384 => Sha384::digest(der).to_vec(),
        _ => Sha512::digest(der).to_vec(),
    })
}

/// The content of the first DER element, and what follows it.
fn der_value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_tag, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        let len = digits
            .iter()
            .fold(0, |len, digit| (len << 8) | usize::from(*digit));
        (len, rest)
    };
    rest.split_at_checked(len)
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_lengths_are_checked() {
        assert_eq!(der_value(&[0x30, 2, 1, 2, 9]), Some((&[1, 2][..], &[9][..])));
        assert_eq!(der_value(&[0x30, 0x81, 1, 7]), Some((&[7][..], &[][..])));
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 2, 1],
            &[0x30, 0x82, 1],
            &[0x30, 0x85, 0, 0, 0, 0, 1, 7],
        ] {
            assert_eq!(der_value(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_ecdsa_certificate_is_bound_by_its_sha256() {
        let made = rcgen::generate_simple_self_signed(vec!["mail.example.com".to_owned()])
            .expect("a certificate can be made");
        let der = made.cert.der();
        assert_eq!(end_point_of(der), Some(Sha256::digest(der.as_ref()).to_vec()));
        assert_eq!(end_point_of(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
