//! The certificate from an authority that speaks ACME: who asks, where everything is kept, what the authority is shown.
//!
//! An order is [`rmail_core::acme::Order`]; `order` performs what it wants, on a thread of its own. What a name is shown
//! to be ours with lies in files, so that any process on the mail_root answers the authority, whichever of them asked. The
//! certificate and its key lie in one file, so that both change at once; servers see it change, as they do with any
//! certificate.

mod order;
mod place;
mod show;
mod tend;

use std::net::SocketAddr;
use std::path::PathBuf;

use rmail_core::acme::{Binding, ChallengeKind, Ordered};

pub(crate) use order::{Done, Trouble, order};
pub(crate) use place::Place;
pub(crate) use show::{challenged, document};
pub(crate) use tend::tend;

/// `acme.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The authority's directory.
    pub directory: String,
    /// Where it may write to.
    pub email: Option<String>,
    /// Names of the certificate.
    pub names: Vec<String>,
    /// How they are shown to be ours.
    pub challenge: ChallengeKind,
    /// What a new account is bound to.
    pub binding: Option<Binding>,
    /// What the authority's own server is verified by; none: the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Days before its end at which the certificate is renewed; 0: when a third of its life is left.
    pub renew_days: u64,
    /// Name servers; none: the system's.
    pub dns_servers: Vec<SocketAddr>,
}

impl AcmeConfig {
    /// What is asked of whom.
    #[must_use]
    pub fn wanted(&self) -> Ordered {
        Ordered {
            directory: self.directory.clone(),
            names: self.names.clone(),
        }
    }
}
