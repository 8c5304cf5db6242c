//! Why a store operation failed: the policy word that the protocol needs, and what the log needs.

use core::fmt;
use std::io;

use rmail_core::refusal::Refusal;

/// A failed operation. It failed whole, and the next attempt works once the cause is gone.
#[derive(Debug)]
pub struct Error {
    /// What the protocol says.
    pub refusal: Refusal,
    /// What was being done, for the log; empty for plain refusals.
    pub context: String,
    /// The system's error, if it was one.
    pub source: Option<io::Error>,
}

/// A store operation's result.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// A failed system call, with what was being done: `"sync shard 12 of alice@example.com/INBOX"`.
    #[must_use]
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self {
            refusal: refusal_of(&source),
            context: context.into(),
            source: Some(source),
        }
    }
}

/// ENOSPC and EDQUOT are a full disk, a lock not to be had is busy, all else is a storage fault.
fn refusal_of(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::DiskFull,
        io::ErrorKind::WouldBlock => Refusal::Busy,
        _ => Refusal::Storage,
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            context: String::new(),
            source: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.refusal)?;
        if !self.context.is_empty() {
            write!(f, ": {}", self.context)?;
        }
        self.source
            .as_ref()
            .map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
