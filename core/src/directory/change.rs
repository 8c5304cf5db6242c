//! What is to be another about a user.

use super::{SendAs, User};
use crate::addr::Address;
use crate::secret::Secret;

/// Octets of a password: SASL PLAIN bounds it too (RFC 4616 §2).
pub const MAX_PASSWORD: usize = 255;

/// A new password, if it can be one: 1 to [`MAX_PASSWORD`] octets, no NUL.
#[must_use]
pub fn new_password(text: &str) -> Option<Secret> {
    let good = !text.is_empty() && text.len() <= MAX_PASSWORD && !text.contains('\0');
    good.then(|| Secret::new(text.as_bytes()))
}

/// What is to be another about a user; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// In clear; only its hash is kept. Sessions that were opened with the old one end.
    pub password: Option<Secret>,
    /// MiB; 0: unlimited.
    pub quota_mb: Option<u64>,
    /// Messages; 0: unlimited.
    pub quota_messages: Option<u64>,
    /// May administer.
    pub admin: Option<bool>,
    /// May log in and gets mail.
    pub enabled: Option<bool>,
    /// All the addresses that it may send as beside its own.
    pub send_as: Option<Vec<Address>>,
    /// The highest priority of its mail; `Some(None)`: that of its kind.
    pub max_priority: Option<Option<i8>>,
}

impl UserChange {
    /// Makes all of it so, but the password, whose hash is the store's business.
    pub fn apply(&self, user: &mut User) {
        user.quota_mb = self.quota_mb.unwrap_or(user.quota_mb);
        user.quota_messages = self.quota_messages.unwrap_or(user.quota_messages);
        user.admin = self.admin.unwrap_or(user.admin);
        user.enabled = self.enabled.unwrap_or(user.enabled);
        user.max_priority = self.max_priority.unwrap_or(user.max_priority);
        if let Some(send_as) = &self.send_as {
            user.send_as = send_as.iter().cloned().map(SendAs).collect();
        }
    }

    /// Whether the user could be an enabled administrator before, and is none after it.
    #[must_use]
    pub fn takes_admin_away(&self) -> bool {
        self.admin == Some(false) || self.enabled == Some(false)
    }
}
