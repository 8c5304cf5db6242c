//! What a session of the API is told at its start.

use core::time::Duration;
use std::sync::Arc;

use super::Origins;
use super::setup::Setup;
use crate::auth::token::Key;

/// Settings of the API. One for all connections of a listener, until a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Octets of a message at most.
    pub max_message_size: u64,
    /// Recipients of a message at most (`smtp.max_recipients`).
    pub max_recipients: usize,
    /// A request's head must be here so long after the first octet, and a body must go on within it.
    pub request_timeout: Duration,
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// What the documents for setting up clients are made of.
    pub setup: Arc<Setup>,
    /// Only these documents are answered: the connection came to a public port.
    pub public: bool,
    /// What signs tokens. None: it could not be read, and nobody can log in.
    pub tokens: Option<Key>,
    /// Passwords and tokens are taken without TLS from this peer (loopback is, always): TLS is off, or the peer is in
    /// `auth.cleartext_networks`.
    pub cleartext_auth: bool,
    /// Pages that browsers may show answers to.
    pub origins: Origins,
}

impl Settings {
    /// Octets of JSON around a message: base64 makes four of three, and there are lines of text beside it.
    #[must_use]
    pub fn max_json_message(&self) -> u64 {
        self.max_message_size.saturating_mul(3) / 2 + 64 * 1024
    }
}

impl Default for Settings {
    /// 50 MiB; 100 recipients; 10 s, as a head is a few hundred octets; 75 s, as other servers do; no tokens; credentials over TLS only;
    /// all origins; nothing to set up.
    fn default() -> Self {
        Self {
            max_message_size: 52_428_800,
            max_recipients: 100,
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            setup: Arc::default(),
            public: false,
            tokens: None,
            cleartext_auth: false,
            origins: Origins::Any,
        }
    }
}
