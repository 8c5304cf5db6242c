//! LOGIN: name, then password, each asked for.

use super::{Credentials, Failure, checked_name, checked_password};

/// The first challenge. Clients do not read it, but some compare it.
pub(super) const USERNAME: &str = "Username:";

/// The second challenge.
pub(super) const PASSWORD: &str = "Password:";

/// The first response.
pub(super) fn name(response: &[u8]) -> Result<String, Failure> {
    checked_name(response)
}

/// The second response.
pub(super) fn credentials(login: String, response: &[u8]) -> Result<Credentials, Failure> {
    checked_password(response).map(|password| Credentials { login, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_are_refused() {
        assert_eq!(name(b""), Err(Failure::Malformed));
        assert_eq!(credentials("a".into(), b""), Err(Failure::Malformed));
        assert!(credentials("a".into(), b"b").is_ok());
    }
}
