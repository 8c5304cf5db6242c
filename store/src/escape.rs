//! Names of accounts as names of directories: one injective function, so that no name reaches the file system as the
//! client wrote it.
//!
//! An account `alice@example.com` lives in `domains/example.com/users/alice`: both parts are written by [`escape`] from
//! the canonical [`AccountName`] (local part NFC and lower-case, domain as A-label).

use rmail_core::addr::{AccountName, Address, Domain};

/// Octets of a directory name that every file system takes (NAME_MAX).
pub const NAME_MAX: usize = 255;

/// The directory name of a text: lower-case letters, digits and `._+-=@` stand for themselves (a dot not at the
/// front), every other character is `%` and two lower-case hex digits for each octet. Upper-case letters are escaped
/// too, so that names stay different on file systems without case.
///
/// `None` for the empty text, and when the name would be longer than [`NAME_MAX`].
#[must_use]
pub fn escape(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len() + 8);
    let mut buf = [0; 4];
    for (at, c) in text.char_indices() {
        if stands_for_itself(c) && !(at == 0 && c == '.') {
            name.push(c);
            continue;
        }
        for octet in c.encode_utf8(&mut buf).bytes() {
            name.push('%');
            name.push(char::from_digit(u32::from(octet >> 4), 16)?);
            name.push(char::from_digit(u32::from(octet & 15), 16)?);
        }
    }
    (!name.is_empty() && name.len() <= NAME_MAX).then_some(name)
}

/// The text of a directory name; `None` if [`escape`] never writes this name.
#[must_use]
pub fn unescape(name: &str) -> Option<String> {
    let mut text = Vec::with_capacity(name.len());
    let mut octets = name.bytes();
    while let Some(octet) = octets.next() {
        if octet != b'%' {
            text.push(octet);
            continue;
        }
        let digit = |octet: u8| char::from(octet).to_digit(16);
        let value = digit(octets.next()?)? << 4 | digit(octets.next()?)?;
        text.push(u8::try_from(value).ok()?);
    }
    let text = String::from_utf8(text).ok()?;
    (escape(&text).as_deref() == Some(name)).then_some(text)
}

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
    (account_dirs(&account)? == (domain_dir.to_owned(), user_dir.to_owned())).then_some(account)
}

/// Letters and digits (without upper case), and punctuation that is harmless in a file name and in a shell.
fn stands_for_itself(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_lowercase() || c.is_ascii_digit() || "._+-=@".contains(c);
    }
    c.is_alphanumeric() && c.to_lowercase().eq([c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn harmless_names_stay_and_others_are_escaped() {
        for (text, name) in [
            ("alice", "alice"),
            ("a.b+c_d-e=f@g", "a.b+c_d-e=f@g"),
            ("älice", "älice"),
            ("Alice", "%41lice"),
            ("..", "%2e."),
            (".", "%2e"),
            ("../../etc/passwd", "%2e.%2f..%2fetc%2fpasswd"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("a\0b\n", "a%00b%0a"),
            ("[192.0.2.1]", "%5b192.0.2.1%5d"),
            ("\u{202e}x", "%e2%80%aex"),
        ] {
            assert_eq!(escape(text).as_deref(), Some(name), "{text:?}");
            assert_eq!(unescape(name).as_deref(), Some(text), "{name:?}");
        }
        assert_eq!(
            (escape(""), escape(&"x".repeat(256)), escape(&"/".repeat(86))),
            (None, None, None)
        );
        assert_eq!(escape(&"x".repeat(255)).map(|name| name.len()), Some(255));
    }

    #[test]
    fn names_that_are_never_written_are_no_names() {
        for name in [
            "", ".", ".a", "%", "%2", "%2G", "%2F", "%61", "a/b", "A", "%ff", "%+1",
        ] {
            assert_eq!(unescape(name), None, "{name:?}");
        }
    }

    #[test]
    fn accounts_and_their_directories() {
        let account = Address::parse("\"A/b\"@Bücher.example")
            .expect("address")
            .canonical();
        let (domain, user) = account_dirs(&account).expect("short");
        assert_eq!(
            (domain.as_str(), user.as_str()),
            ("xn--bcher-kva.example", "a%2fb")
        );
        assert_eq!(account_of(&domain, &user), Some(account));
        assert_eq!(account_of("Example.com", "a"), None);
        assert_eq!(
            account_of("example.com", "%41"),
            None,
            "upper case is not canonical"
        );
        assert_eq!(
            account_of("example.com", "users"),
            Some(Address::parse("users@example.com").expect("address").canonical())
        );
    }

    proptest! {
        #[test]
        fn every_text_has_its_own_harmless_name(text in "\\PC{1,40}|[a-zA-Z./%\\x00 ]{1,40}") {
            if let Some(name) = escape(&text) {
                prop_assert_eq!(unescape(&name), Some(text));
                prop_assert!(!name.contains('/') && !name.contains('\0') && !name.starts_with('.'));
            }
        }
    }
}
