//! TLS: the server's certificate and its reload, what the relay trusts, and what sessions are told of a connection.

mod binding;
mod certificate;
mod client;
mod dane;
mod der;
mod facts;
mod fault;
mod files;
mod look;
mod remarks;
mod self_signed;
#[cfg(test)]
mod trust_tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::ClientHello;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

pub use binding::{EXPORTER_LABEL, end_point_of, exporter, info_of};
pub use certificate::{Certificate, Certificates, PairFiles};
pub use client::{ClientTls, Watch};
pub(crate) use dane::spki;
pub use facts::Facts;
pub(crate) use fault::fault_of_io;
pub use files::{Pair, Stamp, TlsError};
pub use look::{Begin, Shown, look};
pub use remarks::{Memory, Remark, days_left, remarks, wanted};

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
    /// What an authority gave: a file that holds key and chain. Until it is there, the self-signed pair.
    Acme {
        /// The file.
        file: PathBuf,
        /// The mail_root, and names as for a self-signed pair.
        mail_root: PathBuf,
        /// See there.
        names: Vec<String>,
    },
}

impl CertificateSource {
    /// Where its files are, or will be.
    #[must_use]
    pub fn files(&self) -> PairFiles {
        let [cert, key] = match self {
            Self::SelfSigned { mail_root, .. } => files::paths(mail_root),
            Self::Files { cert, key } => [cert.clone(), key.clone()],
            Self::Acme { file, .. } if file.exists() => [file.clone(), file.clone()],
            Self::Acme { mail_root, .. } => files::paths(mail_root),
        };
        PairFiles { cert, key }
    }
}

/// The server's side of TLS: a main pair, and others for clients that ask for their names. New connections get what the
/// last reload that worked has read, old ones live on.
pub struct ServerTls {
    current: RwLock<Arc<Certificates>>,
    /// The mail_root whose proofs an authority is shown, if the main pair comes from one.
    proofs: RwLock<Option<PathBuf>>,
}

/// What came of a reload.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// Pairs that are used now and were not before, and pairs that are not used any more.
    pub changed: usize,
    /// Why pairs could not be used. Each is as it was before: a new one is left out.
    pub kept: Vec<TlsError>,
}

impl ServerTls {
    /// Loads the main pair (makes it first, if it is self-signed and not there), and the others.
    ///
    /// # Errors
    /// One cannot be read, made or used; says which file and why.
    pub fn load(source: &CertificateSource, others: &[PairFiles]) -> Result<Self, TlsError> {
        let main = Certificate::read(ensured(source)?)?;
        let others = others
            .iter()
            .map(|files| Certificate::read(files.clone()).map(Arc::new));
        let others = others.collect::<Result<_, _>>()?;
        Ok(Self {
            proofs: RwLock::new(proofs_of(source)),
            current: RwLock::new(Arc::new(Certificates::new(Arc::new(main), others))),
        })
    }

    /// Loads them again. A pair that cannot be used now stays what it was, and the others go on.
    pub fn reload(&self, main: &CertificateSource, others: &[PairFiles]) -> Reloaded {
        *self.proofs.write().unwrap_or_else(PoisonError::into_inner) = proofs_of(main);
        let old = self.current();
        let mut out = Reloaded::default();
        let main = out.take(ensured(main), Some(old.main()));
        let main = main.unwrap_or_else(|| Arc::clone(old.main()));
        let mut next = Vec::with_capacity(others.len());
        for files in others {
            let before = old.all().skip(1).find(|before| before.files() == files);
            next.extend(out.take(Ok(files.clone()), before));
        }
        let gone = |before: &&Arc<Certificate>| !others.contains(before.files());
        out.changed += old.all().skip(1).filter(gone).count();
        let next = Arc::new(Certificates::new(main, next));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        out
    }

    /// What answers a handshake in which an authority looks whether a name is ours (RFC 8737). `None`: it is no such
    /// handshake, or nothing is to be shown. Reads a small file, of those handshakes only.
    pub(crate) fn challenged(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        #[cfg(feature = "acme")]
        {
            let proofs = self.proofs.read().unwrap_or_else(PoisonError::into_inner).clone();
            crate::acme::challenged(&proofs?, hello, &provider())
        }
        #[cfg(not(feature = "acme"))]
        {
            let _ = hello;
            None
        }
    }

    /// What a connection that begins now uses.
    #[must_use]
    pub fn current(&self) -> Arc<Certificates> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reloaded {
    /// The certificate that is used from now on: the one in the files, or the one before.
    fn take(
        &mut self,
        files: Result<PairFiles, TlsError>,
        before: Option<&Arc<Certificate>>,
    ) -> Option<Arc<Certificate>> {
        match files.and_then(Certificate::read) {
            Ok(new) if before.is_some_and(|before| before.is_same(&new)) => before.cloned(),
            Ok(new) => {
                self.changed += 1;
                Some(Arc::new(new))
            }
            Err(error) => {
                self.kept.push(error);
                before.cloned()
            }
        }
    }
}

fn proofs_of(source: &CertificateSource) -> Option<PathBuf> {
    match source {
        CertificateSource::Acme { mail_root, .. } => Some(mail_root.clone()),
        CertificateSource::SelfSigned { .. } | CertificateSource::Files { .. } => None,
    }
}

/// The files of a source, which are made if they are self-signed and not there.
fn ensured(source: &CertificateSource) -> Result<PairFiles, TlsError> {
    match source {
        CertificateSource::Files { .. } => Ok(source.files()),
        CertificateSource::Acme { file, .. } if file.exists() => Ok(source.files()),
        CertificateSource::SelfSigned { mail_root, names }
        | CertificateSource::Acme { mail_root, names, .. } => {
            let [cert, key] = self_signed::ensure(mail_root, names)?;
            Ok(PairFiles { cert, key })
        }
    }
}

/// ring, named for each configuration: nothing depends on a process-wide default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}
