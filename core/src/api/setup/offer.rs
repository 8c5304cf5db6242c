//! What clients are offered: hosts, ports, and how each connection is protected.

use crate::addr::Domain;
use crate::relay::tls::policy::Policy;

/// What the documents are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Our name: where all servers are.
    pub hostname: String,
    /// Hosted domains.
    pub domains: Vec<Domain>,
    /// There is a certificate: nothing is offered in clear text then.
    pub tls: bool,
    /// Where what listens.
    pub ports: Ports,
    /// What other servers are told of our MX hosts; none: no policy.
    pub mta_sts: Option<Policy>,
}

/// Ports that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// IMAP.
    pub imap: Option<u16>,
    /// IMAP with TLS from the first octet.
    pub imaps: Option<u16>,
    /// Submission.
    pub submission: Option<u16>,
    /// Submission with TLS from the first octet.
    pub smtps: Option<u16>,
    /// These documents: of the public port, else of the API's.
    pub http: Option<u16>,
    /// The same with TLS.
    pub https: Option<u16>,
}

/// A server that clients can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Where it listens.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first octet, which comes first where there is a choice (RFC 8314 §3).
    Tls,
    /// STARTTLS.
    StartTls,
    /// Not at all: a proxy or a network of one's own does it.
    None,
}

impl Setup {
    /// Where mail is read, best first.
    #[must_use]
    pub fn imap(&self) -> Vec<Offer> {
        self.offers(self.ports.imaps, self.ports.imap)
    }

    /// Where mail is sent, best first.
    #[must_use]
    pub fn submission(&self) -> Vec<Offer> {
        self.offers(self.ports.smtps, self.ports.submission)
    }

    fn offers(&self, implicit: Option<u16>, plain: Option<u16>) -> Vec<Offer> {
        let with = |security| move |port| Offer { port, security };
        let security = if self.tls {
            Security::StartTls
        } else {
            Security::None
        };
        implicit
            .filter(|_| self.tls)
            .map(with(Security::Tls))
            .into_iter()
            .chain(plain.map(with(security)))
            .collect()
    }

    /// Where these documents are: `https://mail.example.com`.
    pub(super) fn base(&self) -> Option<String> {
        let (scheme, port, usual) = match (self.ports.https.filter(|_| self.tls), self.ports.http) {
            (Some(port), _) => ("https", port, 443),
            (None, Some(port)) => ("http", port, 80),
            (None, None) => return None,
        };
        Some(if port == usual {
            format!("{scheme}://{}", self.hostname)
        } else {
            format!("{scheme}://{}:{port}", self.hostname)
        })
    }
}
