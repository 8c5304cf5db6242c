//! Which TLS an MX host needs: DANE (RFC 7672), MTA-STS (RFC 8461), the operator's policy, the message's own wish.
//!
//! [`guard::Guard`] decides for each host of an attempt; [`dane`] says what a TLSA RRset wants of a certificate; [`sts`]
//! finds and keeps the policies of domains; [`report`] counts what came of it all for TLS reports (RFC 8460).

pub mod dane;
pub mod guard;
pub mod policy;
pub mod report;
pub mod sts;

use std::sync::Arc;

/// What the certificate of a server is held against. Goes with a [`super::TlsPolicy`], which says whether it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The system's roots and the server's name, where the policy verifies; else nothing.
    #[default]
    Roots,
    /// The same, but nothing depends on it: the result is only told ([`Encryption::Done`]).
    Watched,
    /// The TLSA records of the server, in the place of roots and name.
    Dane(Arc<dane::Anchors>),
}

/// What may raise the policy towards MX hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protect {
    /// TLSA records are looked for where DNSSEC confirms the host.
    pub dane: bool,
    /// The domain's MTA-STS policy is asked for.
    pub sts: bool,
}

/// What came of TLS on a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// The server does not offer STARTTLS, or refused it.
    NotOffered,
    /// The handshake failed.
    Failed(Fault),
    /// There is TLS. With [`Trust::Watched`]: what would have been wrong with the certificate.
    Done(Option<Fault>),
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In the words of RFC 8460 §4.3.
    pub kind: FaultKind,
    /// In words of ours: one line, for log and report.
    pub text: String,
}

/// `result-type` of RFC 8460 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "RFC 8460 §4.3 has the meanings under the same names")]
pub enum FaultKind {
    StarttlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    TlsaInvalid,
    DnssecInvalid,
    StsPolicyFetchError,
    StsPolicyInvalid,
    StsWebpkiInvalid,
}

impl Fault {
    /// A fault.
    #[must_use]
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}
