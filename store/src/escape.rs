//! Accounts as directories: `alice@example.com` lives in `domains/example.com/users/alice`.
//!
//! Both parts are written by the one function for directory names, [`crate::file::escape`], from the canonical
//! [`AccountName`] (local part NFC and lower-case, domain as A-label), so that no name reaches the file system as a
//! client wrote it.

use rmail_core::addr::{AccountName, Address, Domain};

pub use crate::file::escape::{escape, unescape};

/// The directory names of an account: that of its domain, and that of its user. `None`: a name too long for a
/// directory, so no such account can exist.
#[must_use]
pub fn account_dirs(account: &AccountName) -> Option<(String, String)> {
    let (local, domain) = account.parts();
    Some((escape(domain)?, escape(local)?))
}

/// The account of two directory names; `None` if they are not those of an account.
#[must_use]
pub fn account_of(domain_dir: &str, user_dir: &str) -> Option<AccountName> {
    let domain = Domain::parse(&unescape(domain_dir)?)?;
    let local = unescape(user_dir)?;
    let account = Address::new(&local, domain)?.canonical();
    let (domain, user) = account_dirs(&account)?;
    (domain == domain_dir && user == user_dir).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account(text: &str) -> AccountName {
        Address::parse(text).expect("address").canonical()
    }

    #[test]
    fn accounts_and_their_directories() {
        for (text, domain, user) in [
            ("Alice@Example.com", "example.com", "alice"),
            ("\"../B b\"@Bücher.example", "xn--bcher-kva.example", "%~..%2Fb b"),
            ("users@example.com", "example.com", "users"),
            ("\"..\"@[192.0.2.1]", "[192.0.2.1]", "%=.."),
        ] {
            let account = account(text);
            assert_eq!(account_dirs(&account), Some((domain.to_owned(), user.to_owned())));
            assert_eq!(account_of(domain, user), Some(account));
        }
    }

    #[test]
    fn other_directories_are_no_accounts() {
        for (domain, user) in [
            ("Example.com", "a"),
            ("example.com", "Alice"),
            ("example.com", ".lock"),
            ("example.com", ""),
            ("..", "a"),
            ("example", "a\u{308}"),
        ] {
            assert_eq!(account_of(domain, user), None, "{domain} {user}");
        }
    }

    proptest! {
        #[test]
        fn every_account_has_its_own_harmless_directory(local in "\\PC{1,16}|[a-zA-Z./%~= ]{1,40}") {
            let address = Domain::parse("x.y").and_then(|domain| Address::new(&local, domain));
            if let Some(account) = address.map(|address| address.canonical())
                && let Some((domain, user)) = account_dirs(&account)
            {
                prop_assert!(!user.contains(['/', '\0']) && !user.starts_with('.'));
                prop_assert_eq!(account_of(&domain, &user), Some(account));
            }
        }
    }
}
