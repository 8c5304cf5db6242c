//! A certificate and its key as files.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use super::PairFiles;

/// What changes when one of two files is replaced or written to: device, inode, size, and time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([(u64, u64, u64, i64, i64); 2]);

impl Stamp {
    /// What the files look like from outside; `None` if one is not there. Blocks for two stat(2).
    #[must_use]
    pub fn of(files: &PairFiles) -> Option<Self> {
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
        Some(Self([one(&files.cert)?, one(&files.key)?]))
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
    own: CertificateDer<'static>,
    others: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The file of the key may be read by everybody.
    exposed: bool,
    /// Of both files, to see changes.
    digest: [u8; 32],
}

impl Pair {
    /// Reads both files.
    ///
    /// # Errors
    /// One cannot be read or holds no such thing.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        /// S_IROTH.
        const EVERYBODY: u32 = 0o004;
        let (cert_pem, _) = read(cert, "certificate")?;
        let (key_pem, mode) = read(key, "private key")?;
        let mut chain = CertificateDer::pem_slice_iter(&cert_pem);
        let broken = |error| TlsError::new(cert, format!("not a certificate in PEM form: {error}"));
        let own = chain.next().transpose().map_err(broken)?;
        let Some(own) = own else {
            return Err(TlsError::new(cert, "holds no certificate (BEGIN CERTIFICATE)"));
        };
        let others = chain.collect::<Result<_, _>>().map_err(broken)?;
        let private = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| TlsError::new(key, format!("not a private key in PEM form: {error}")))?;
        let mut digest = Sha256::new();
        digest.update((cert_pem.len() as u64).to_be_bytes());
        digest.update(&cert_pem);
        digest.update(&key_pem);
        Ok(Self {
            own,
            others,
            key: private,
            exposed: mode & EVERYBODY != 0,
            digest: digest.finalize().into(),
        })
    }

    /// The chain, the server's own certificate first.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        [&self.own].into_iter().chain(&self.others).cloned().collect()
    }

    /// The server's own certificate.
    #[must_use]
    pub fn own(&self) -> &CertificateDer<'static> {
        &self.own
    }

    /// Whether everybody on this machine could read the key.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.exposed == other.exposed
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({} certificates)", 1 + self.others.len())
    }
}

/// The content of a file, and its mode.
fn read(path: &Path, what: &str) -> Result<(Vec<u8>, u32), TlsError> {
    use std::os::unix::fs::MetadataExt as _;

    /// No chain is this long; a path to a device must not fill the memory.
    const MAX: u64 = 1 << 20;
    let error = |error: std::io::Error| TlsError::new(path, format!("the {what} cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(error)?;
    let mode = file.metadata().map_err(error)?.mode();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX), &mut bytes).map_err(error)?;
    Ok((bytes, mode))
}

/// The two paths of a self-signed pair.
pub(super) fn paths(mail_root: &Path) -> [PathBuf; 2] {
    let dir = mail_root.join("tls");
    [dir.join("cert.pem"), dir.join("key.pem")]
}
