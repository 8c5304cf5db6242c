//! What can go wrong when an operator changes accounts.

use rmail_core::directory::alias::BadAlias;

use crate::error::Error;

/// Why an account was not made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The user, or an application password of this name, exists.
    #[error("it exists already")]
    AlreadyExists,
    /// The user does not exist.
    #[error("there is no such user")]
    NoSuchUser,
    /// The account has no application password of this name.
    #[error("there is no application password of this name")]
    NoSuchAppPassword,
    /// The account cannot have more application passwords.
    #[error("the user has as many application passwords as there can be")]
    TooMany,
    /// The text is no account name, or no name of an application password.
    #[error("this is not a name that it can have")]
    BadName,
    /// The domain is not among `domains`.
    #[error("the domain is not hosted here (see `domains` in the configuration)")]
    NotHosted,
    /// The user's file is broken; it is left as it is.
    #[error("{0}")]
    Broken(String),
    /// The aliases cannot be changed so.
    #[error("{0}")]
    Alias(#[from] BadAlias),
    /// Disk or store.
    #[error("{0}")]
    Store(#[from] Error),
}
