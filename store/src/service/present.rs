//! Who is connected to this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sessions by protocol.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// SMTP, submission and LMTP.
    pub(super) smtp: Sessions,
    /// IMAP.
    pub(super) imap: Sessions,
    /// The HTTP API.
    pub(super) api: Sessions,
}

/// Sessions of one protocol.
#[derive(Debug, Default)]
pub(super) struct Sessions(Arc<AtomicUsize>);

/// A session that is there; dropping it says that it is over.
#[derive(Debug)]
pub(super) struct Session(Arc<AtomicUsize>);

impl Sessions {
    /// A session begins.
    pub(super) fn enter(&self) -> Session {
        self.0.fetch_add(1, Ordering::Relaxed);
        Session(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
