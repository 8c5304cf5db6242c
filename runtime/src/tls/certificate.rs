//! A certificate that is ready for use, and which of several a client gets.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};

use super::files::{Pair, TlsError};
use super::{Facts, VERSIONS, end_point_of, provider};

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairFiles {
    /// Certificate chain, PEM, the server's own first.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// One certificate, ready for use. A connection keeps the one that it began with, so that what channel binding says of
/// it is true whatever is reloaded meanwhile.
pub struct Certificate {
    config: Arc<ServerConfig>,
    /// With the protocol HTTP/1.1.
    web: Arc<ServerConfig>,
    end_point: Option<Vec<u8>>,
    pair: Pair,
    files: PairFiles,
    facts: Facts,
    certified: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads a pair.
    ///
    /// # Errors
    /// It cannot be read or used; says which file and why.
    pub fn read(files: PairFiles) -> Result<Self, TlsError> {
        let pair = Pair::read(&files.cert, &files.key)?;
        let unusable = |error| TlsError::unusable(&files.cert, &error);
        let certified = CertifiedKey::from_der(pair.chain(), pair.key(), &provider()).map_err(unusable)?;
        let certified = Arc::new(certified);
        let resolver = SingleCertAndKey::from(Arc::clone(&certified));
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        let mut web = config.clone();
        web.alpn_protocols = vec![b"http/1.1".to_vec()];
        let own = pair.own();
        Ok(Self {
            config: Arc::new(config),
            web: Arc::new(web),
            end_point: end_point_of(own),
            facts: Facts::of(own),
            pair,
            files,
            certified,
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

    /// `tls-server-end-point` of the certificate (RFC 5929 §4).
    #[must_use]
    pub fn end_point(&self) -> Option<Vec<u8>> {
        self.end_point.clone()
    }

    /// What it says of itself.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where it was read.
    #[must_use]
    pub fn files(&self) -> &PairFiles {
        &self.files
    }

    /// Whether nothing has changed.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.files == other.files && self.pair == other.pair
    }

    /// Certificate and key.
    #[must_use]
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// `ECDSA`, `RSA`, `ED25519`.
    #[must_use]
    pub fn key_kind(&self) -> &'static str {
        match self.certified.key.algorithm() {
            SignatureAlgorithm::RSA => "RSA",
            SignatureAlgorithm::ECDSA => "ECDSA",
            SignatureAlgorithm::ED25519 => "ED25519",
            SignatureAlgorithm::ED448 => "ED448",
            _ => "other",
        }
    }

    /// Whether a client with these signature schemes can verify its signatures.
    fn signs(&self, schemes: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some()
    }
}

/// All certificates of a server at one moment.
pub struct Certificates {
    main: Arc<Certificate>,
    others: Vec<Arc<Certificate>>,
    /// Those that are good for a name, or for `*.` before a name, in the order of the configuration.
    names: HashMap<String, Vec<Arc<Certificate>>>,
}

impl Certificates {
    /// A main certificate, and others for clients that ask for their names.
    #[must_use]
    pub fn new(main: Arc<Certificate>, others: Vec<Arc<Certificate>>) -> Self {
        let mut names: HashMap<String, Vec<Arc<Certificate>>> = HashMap::new();
        for certificate in [&main].into_iter().chain(&others) {
            for name in &certificate.facts.names {
                let good = names.entry(name.clone()).or_default();
                good.push(Arc::clone(certificate));
            }
        }
        Self { main, others, names }
    }

    /// The one for clients that ask for no name, or for one that no certificate has.
    #[must_use]
    pub fn main(&self) -> &Arc<Certificate> {
        &self.main
    }

    /// All, the main one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        [&self.main].into_iter().chain(&self.others)
    }

    /// The certificate for a client.
    #[must_use]
    pub fn choose(&self, hello: &ClientHello<'_>) -> &Arc<Certificate> {
        self.good_for(hello.server_name(), hello.signature_schemes())
    }

    /// The certificate for clients that ask for a name, if they can verify any.
    #[must_use]
    pub fn for_name(&self, name: &str) -> &Arc<Certificate> {
        self.named(name).and_then(<[_]>::first).unwrap_or(&self.main)
    }

    /// The certificate for a name: one that has it, else one with a wildcard in place of its first label (RFC 9525 §6.3),
    /// else the main one. Of several the first whose signatures the client understands.
    fn good_for(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &Arc<Certificate> {
        let good = name.and_then(|name| self.named(name)).unwrap_or_default();
        let usable = good.iter().find(|certificate| certificate.signs(schemes));
        usable.or(good.first()).unwrap_or(&self.main)
    }

    /// Certificates that are good for a name.
    fn named(&self, name: &str) -> Option<&[Arc<Certificate>]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wild = || {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        };
        self.names.get(&name).or_else(wild).map(Vec::as_slice)
    }

    /// Whether a client that asks for a name, and verifies it, is content.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.named(name).is_some()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("files", &self.files)
            .field("names", &self.facts.names)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm as Kind};

    const ALL: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

    fn made(dir: &std::path::Path, file: &str, names: &[&str], kind: &'static Kind) -> Arc<Certificate> {
        let key = KeyPair::generate_for(kind).expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let parameters = rcgen::CertificateParams::new(names).expect("names");
        let made = parameters.self_signed(&key).expect("a certificate");
        let files = PairFiles {
            cert: dir.join(format!("{file}.pem")),
            key: dir.join(format!("{file}.key")),
        };
        std::fs::write(&files.cert, made.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        Arc::new(Certificate::read(files).expect("usable"))
    }

    #[test]
    fn a_name_chooses_exactly_then_by_wildcard_then_the_main_one() {
        let dir = tempfile::tempdir().expect("directory");
        let ecdsa = &PKCS_ECDSA_P256_SHA256;
        let main = made(
            dir.path(),
            "main",
            &["mail.here.test", "shared.there.test"],
            ecdsa,
        );
        let wild = made(dir.path(), "wild", &["*.there.test"], ecdsa);
        let exact = made(dir.path(), "exact", &["mail.there.test", "THERE.test"], ecdsa);
        let all = Certificates::new(main, vec![wild, exact]);
        let title = |name: Option<&str>| {
            let chosen = all.good_for(name, ALL);
            let file = chosen.files.cert.file_stem().expect("a name");
            file.to_string_lossy().into_owned()
        };
        for (name, expected) in [
            ("mail.here.test", "main"),
            ("MAIL.There.test", "exact"),
            ("mail.there.test.", "exact"),
            ("there.test", "exact"),
            ("imap.there.test", "wild"),
            ("shared.there.test", "main"),
            // A wildcard is one label, and only the first.
            ("a.imap.there.test", "main"),
            (".there.test", "wild"),
            ("elsewhere.test", "main"),
            ("", "main"),
        ] {
            assert_eq!(title(Some(name)), expected, "{name}");
        }
        assert_eq!(title(None), "main");
        assert!(all.has("imap.there.test") && !all.has("a.imap.there.test"));
    }

    #[test]
    fn of_two_pairs_for_a_name_the_client_gets_one_that_it_can_verify() {
        let dir = tempfile::tempdir().expect("directory");
        let main = made(dir.path(), "main", &["main.test"], &PKCS_ECDSA_P256_SHA256);
        let new = made(dir.path(), "new", &["both.test"], &PKCS_ED25519);
        let old = made(dir.path(), "old", &["both.test"], &PKCS_ECDSA_P256_SHA256);
        let all = Certificates::new(main, vec![new, old]);
        let kind = |schemes: &[SignatureScheme]| all.good_for(Some("both.test"), schemes).key_kind();
        assert_eq!(kind(ALL), "ED25519");
        assert_eq!(kind(&[SignatureScheme::ECDSA_NISTP256_SHA256]), "ECDSA");
        // Whoever can verify neither is told so by the handshake.
        assert_eq!(kind(&[]), "ED25519");
    }
}
