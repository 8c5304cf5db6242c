//! What can go wrong when an operator changes accounts.

use crate::error::Error;

/// Why an account was not made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The user exists.
    #[error("the user exists already")]
    AlreadyExists,
    /// The user does not exist.
    #[error("there is no such user")]
    NoSuchUser,
    /// The text is no account name.
    #[error("this is not a user's address")]
    BadName,
    /// The domain is not among `domains`.
    #[error("the domain is not hosted here (see `domains` in the configuration)")]
    NotHosted,
    /// The user's file is broken; it is left as it is.
    #[error("{0}")]
    Broken(String),
    /// Disk or store.
    #[error("{0}")]
    Store(#[from] Error),
}
