//! How the mailboxes of other accounts are called: `Other users/fred@example.com/INBOX` (RFC 2342 §5, Other Users'
//! Namespace).

use super::MailboxName;
use crate::addr::{AccountName, Address};

/// The first level of the names of other accounts' mailboxes.
pub const OTHER_USERS: &str = "Other users";

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A mailbox of one's own.
    Own(MailboxName),
    /// A mailbox of another account.
    Other(AccountName, MailboxName),
    /// A level above other accounts' mailboxes, or below it something that is no account.
    Level,
}

/// What a name means.
#[must_use]
pub fn meaning(name: &MailboxName) -> Meaning {
    let mut levels = name.as_str().splitn(3, '/');
    if levels.next() != Some(OTHER_USERS) {
        return Meaning::Own(name.clone());
    }
    let account = levels.next().and_then(account_of);
    let mailbox = levels.next().and_then(|rest| MailboxName::new(rest).ok());
    match (account, mailbox) {
        (Some(account), Some(mailbox)) => Meaning::Other(account, mailbox),
        _ => Meaning::Level,
    }
}

/// Whether a name is of another account's mailbox, or of a level above such.
#[must_use]
pub fn is_theirs(name: &MailboxName) -> bool {
    name.as_str().split('/').next() == Some(OTHER_USERS)
}

/// The name of another account's mailbox. `None`: it would be too long.
#[must_use]
pub fn name_of(account: &AccountName, mailbox: &MailboxName) -> Option<MailboxName> {
    let account = account.as_str().replace('%', "%25").replace('/', "%2F");
    MailboxName::new(&format!("{OTHER_USERS}/{account}/{mailbox}")).ok()
}

/// The account of a level. `/` and `%` are written as `%2F` and `%25`: both may stand in an address.
fn account_of(level: &str) -> Option<AccountName> {
    let text = level.replace("%2F", "/").replace("%25", "%");
    let account = Address::parse(&text)?.canonical();
    (account.as_str() == text).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text).expect("name")
    }

    #[test]
    fn names_and_their_meanings() {
        for (account, mailbox, text) in [
            ("fred@example.com", "INBOX", "Other users/fred@example.com/INBOX"),
            ("a/b@example.com", "x/y", "Other users/a%2Fb@example.com/x/y"),
            ("a%2fb@example.com", "x", "Other users/a%252fb@example.com/x"),
        ] {
            let account = Address::parse(account).expect(account).canonical();
            assert_eq!(name_of(&account, &name(mailbox)), Some(name(text)));
            assert_eq!(meaning(&name(text)), Meaning::Other(account, name(mailbox)));
        }
        assert_eq!(meaning(&name("Other users")), Meaning::Level);
        assert_eq!(meaning(&name("Other users/fred@example.com")), Meaning::Level);
        assert_eq!(meaning(&name("Other users/fred/x")), Meaning::Level);
        assert_eq!(
            meaning(&name("Other users/Fred@example.com/x")),
            Meaning::Level,
            "one name for each"
        );
        let inbox = meaning(&name("Other users/fred@example.com/inbox"));
        assert!(matches!(inbox, Meaning::Other(_, mailbox) if mailbox.is_inbox()));
        assert_eq!(meaning(&name("Other")), Meaning::Own(name("Other")));
        let long = name(&["x"; 32].join("/"));
        let fred = Address::parse("fred@example.com").expect("good").canonical();
        assert_eq!(name_of(&fred, &long), None);
    }
}
