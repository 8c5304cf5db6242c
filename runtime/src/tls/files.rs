//! A certificate and its key as files.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// What changes when one of two files is replaced or written to: device, inode, size, and time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([(u64, u64, u64, i64, i64); 2]);

impl Stamp {
    pub(super) fn of(cert: &Path, key: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let one = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((
                found.dev(),
                found.ino(),
                found.len(),
                found.ctime(),
                found.ctime_nsec(),
            ))
        };
        Some(Self([one(cert)?, one(key)?]))
    }
}

/// Why a certificate cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct TlsError {
    path: String,
    why: String,
}

impl TlsError {
    pub(super) fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }

    pub(super) fn unusable(path: &Path, error: &rustls::Error) -> Self {
        let why = match error {
            rustls::Error::InconsistentKeys(_) => {
                "the private key does not belong to this certificate; give the pair that belongs together"
                    .to_owned()
            }
            other => format!("this certificate cannot be used with its key: {other}"),
        };
        Self::new(path, why)
    }
}

/// A certificate chain and its private key.
pub struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Of both files, to see changes.
    digest: [u8; 32],
}

impl Pair {
    /// Reads both files.
    ///
    /// # Errors
    /// One cannot be read or holds no such thing.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let cert_pem = read(cert, "certificate")?;
        let key_pem = read(key, "private key")?;
        let chain = CertificateDer::pem_slice_iter(&cert_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::new(cert, format!("not a certificate in PEM form: {error}")))?;
        if chain.is_empty() {
            return Err(TlsError::new(cert, "holds no certificate (BEGIN CERTIFICATE)"));
        }
        let private = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| TlsError::new(key, format!("not a private key in PEM form: {error}")))?;
        let mut digest = Sha256::new();
        digest.update((cert_pem.len() as u64).to_be_bytes());
        digest.update(&cert_pem);
        digest.update(&key_pem);
        Ok(Self {
            chain,
            key: private,
            digest: digest.finalize().into(),
        })
    }

    /// The chain, the server's own certificate first.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({} certificates)", self.chain.len())
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, TlsError> {
    /// No chain is this long; a path to a device must not fill the memory.
    const MAX: u64 = 1 << 20;
    let error = |error: std::io::Error| TlsError::new(path, format!("the {what} cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(error)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX), &mut bytes).map_err(error)?;
    Ok(bytes)
}

/// The two paths of a self-signed pair.
pub(super) fn paths(mail_root: &Path) -> [PathBuf; 2] {
    let dir = mail_root.join("tls");
    [dir.join("cert.pem"), dir.join("key.pem")]
}
