//! Annotations of a mailbox, of an account, or of the server (RFC 5464).

use std::collections::BTreeMap;

use super::MailboxName;
use crate::addr::AccountName;

/// What annotations are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotated {
    /// The server: what is shared by all accounts.
    Server,
    /// An account: what it has noted for itself about the server.
    Account(AccountName),
    /// A mailbox.
    Mailbox(AccountName, MailboxName),
}

/// The name of an annotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// `/private`: whose it is; `None`: `/shared`.
    pub whose: Option<AccountName>,
    /// What follows `/shared` or `/private`, from the slash on, in lower case.
    pub path: String,
}

/// What becomes of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationChange {
    /// Which.
    pub entry: Entry,
    /// Its value; `None`: it goes.
    pub value: Option<Vec<u8>>,
}

/// All annotations of one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(BTreeMap<Entry, Vec<u8>>);

impl Annotations {
    /// Octets of a value.
    pub const MAX_VALUE: usize = 32 * 1024;
    /// Annotations that are shared, and likewise those of each account.
    pub const MAX_COUNT: usize = 100;
    /// Octets of their names and values.
    pub const MAX_OCTETS: usize = 256 * 1024;
    /// Octets of all of them together, whosever they are.
    pub const MAX_ALL: usize = 4 * 1024 * 1024;
    /// Octets of a name.
    pub const MAX_PATH: usize = 256;

    /// Names and values, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&Entry, &[u8])> + '_ {
        self.0.iter().map(|(entry, value)| (entry, value.as_slice()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of an annotation.
    #[must_use]
    pub fn get(&self, entry: &Entry) -> Option<&[u8]> {
        self.0.get(entry).map(Vec::as_slice)
    }

    /// Those that this account may see: shared ones and its own.
    #[must_use]
    pub fn seen_by(self, account: &AccountName) -> Self {
        let sees = |entry: &Entry| entry.whose.as_ref().is_none_or(|whose| whose == account);
        let entries = self.0.into_iter();
        Self(entries.filter(|(entry, _)| sees(entry)).collect())
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, entry: Entry, value: Vec<u8>) -> Self {
        self.0.insert(entry, value);
        self
    }

    /// These and those of another place.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The changes that make all of them where there is none.
    #[must_use]
    pub fn as_changes(&self) -> Vec<AnnotationChange> {
        let change = |(entry, value): (&Entry, &Vec<u8>)| AnnotationChange {
            entry: entry.clone(),
            value: Some(value.clone()),
        };
        self.0.iter().map(change).collect()
    }

    /// Does all of the changes. False: there would be too many, and nothing is changed.
    #[must_use]
    pub fn change(&mut self, changes: &[AnnotationChange]) -> bool {
        let mut new = self.0.clone();
        for AnnotationChange { entry, value } in changes {
            match value {
                Some(value) => {
                    new.insert(entry.clone(), value.clone());
                }
                None => {
                    new.remove(entry);
                }
            }
        }
        let octets = |entry: &Entry, value: &[u8]| entry.path.len() + value.len();
        let all: usize = new.iter().map(|(entry, value)| octets(entry, value)).sum();
        let fits = changes.iter().all(|change| {
            let of_one = new.iter().filter(|(entry, _)| entry.whose == change.entry.whose);
            let sizes: Vec<usize> = of_one.map(|(entry, value)| octets(entry, value)).collect();
            let few = sizes.len() <= Self::MAX_COUNT && sizes.iter().sum::<usize>() <= Self::MAX_OCTETS;
            // What takes something away is always good.
            change.value.is_none() || (few && all <= Self::MAX_ALL)
        });
        if fits {
            self.0 = new;
        }
        fits
    }
}

impl FromIterator<(Entry, Vec<u8>)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (Entry, Vec<u8>)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;

    fn set(whose: Option<&str>, path: &str, value: Option<&[u8]>) -> AnnotationChange {
        let whose = whose.map(|whose| Address::parse(whose).expect("address").canonical());
        let path = path.to_owned();
        AnnotationChange {
            entry: Entry { whose, path },
            value: value.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn all_changes_are_done_or_none() {
        let mut all = Annotations::default();
        assert!(all.change(&[
            set(None, "/comment", Some(b"x")),
            set(Some("a@x.y"), "/comment", Some(b"mine")),
        ]));
        let before = all.clone();
        let many: Vec<_> = (0..Annotations::MAX_COUNT)
            .map(|number| set(None, &format!("/{number}"), Some(b"")))
            .collect();
        assert!(!all.change(&many), "with /comment it is one too many");
        assert_eq!(all, before);
        let with_room: Vec<_> = many.into_iter().chain([set(None, "/comment", None)]).collect();
        assert!(all.change(&with_room));
        assert!(
            all.change(&[set(Some("a@x.y"), "/other", Some(b"x"))]),
            "each account counts for itself"
        );
        let large = vec![0; Annotations::MAX_OCTETS];
        assert!(!all.change(&[set(Some("b@x.y"), "/l", Some(&large))]));
    }

    #[test]
    fn private_ones_are_seen_by_their_account() {
        let mut all = Annotations::default();
        assert!(all.change(&[
            set(None, "/comment", Some(b"x")),
            set(Some("a@x.y"), "/comment", Some(b"mine")),
        ]));
        let who = |text| Address::parse(text).expect("address").canonical();
        assert_eq!(all.clone().seen_by(&who("a@x.y")), all);
        assert_eq!(all.seen_by(&who("b@x.y")).entries().count(), 1);
    }
}
