//! Who may do what with a mailbox (RFC 4314 §2).

use core::fmt;
use std::collections::BTreeMap;

use super::Rights;
use crate::addr::{AccountName, Address};

/// Whom an entry of an access control list is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// `anyone`: every account of the server.
    Anyone,
    /// One account.
    Account(AccountName),
}

/// What names an entry: whom it is about, and whether its rights are taken away instead of given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier {
    /// Whom.
    pub who: Who,
    /// `-` before the name: the rights are taken from what other entries give (RFC 4314 §2).
    pub negative: bool,
}

/// What SETACL does to the rights of an identifier (RFC 4314 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsChange {
    /// These and no others; none: the entry goes.
    Replace(Rights),
    /// These too.
    Add(Rights),
    /// No longer these.
    Remove(Rights),
}

/// The access control list of a mailbox, without its owner, who has all rights whatever it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(BTreeMap<Identifier, Rights>);

impl Who {
    /// The name of [`Who::Anyone`].
    pub const ANYONE: &str = "anyone";

    /// As it is kept and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Anyone => Self::ANYONE,
            Self::Account(account) => account.as_str(),
        }
    }

    /// From what [`Who::as_str`] gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == Self::ANYONE {
            return Some(Self::Anyone);
        }
        Some(Self::Account(Address::parse(text)?.canonical()))
    }
}

impl Identifier {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, negative) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let who = Who::parse(name)?;
        Some(Self { who, negative })
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.negative { "-" } else { "" })?;
        f.write_str(self.who.as_str())
    }
}

impl Acl {
    /// Entries of one list.
    pub const MAX: usize = 256;

    /// The entries by identifier. None is without rights.
    pub fn entries(&self) -> impl Iterator<Item = (&Identifier, Rights)> + '_ {
        self.0.iter().map(|(identifier, rights)| (identifier, *rights))
    }

    /// Whether it gives nothing to anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has an entry about this one.
    #[must_use]
    pub fn names(&self, who: &Who) -> bool {
        self.0.keys().any(|identifier| identifier.who == *who)
    }

    /// What an account that is not the owner may do: what is given to it or to anyone, without what is taken from either.
    #[must_use]
    pub fn rights_of(&self, account: &AccountName) -> Rights {
        let (mut given, mut taken) = (Rights::NONE, Rights::NONE);
        for (identifier, rights) in &self.0 {
            let about = match &identifier.who {
                Who::Anyone => true,
                Who::Account(named) => named == account,
            };
            match (about, identifier.negative) {
                (true, false) => given = given.with(*rights),
                (true, true) => taken = taken.with(*rights),
                (false, _) => {}
            }
        }
        given.without(taken)
    }

    /// Changes an entry; one that is left without rights goes. False: there is no place for another one.
    #[must_use]
    pub fn change(&mut self, identifier: &Identifier, change: RightsChange) -> bool {
        let before = self.0.get(identifier).copied().unwrap_or_default();
        let rights = match change {
            RightsChange::Replace(rights) => rights,
            RightsChange::Add(rights) => before.with(rights),
            RightsChange::Remove(rights) => before.without(rights),
        };
        if rights.is_empty() {
            self.0.remove(identifier);
            return true;
        }
        if self.0.len() >= Self::MAX && !self.0.contains_key(identifier) {
            return false;
        }
        self.0.insert(identifier.clone(), rights);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> AccountName {
        Address::parse(text).expect("address").canonical()
    }

    fn rights(letters: &str) -> Rights {
        Rights::parse(letters).expect("rights")
    }

    #[test]
    fn identifiers_have_one_form() {
        for (text, form) in [
            ("Fred@Example.com", "fred@example.com"),
            ("-fred@example.com", "-fred@example.com"),
            ("anyone", "anyone"),
            ("-anyone", "-anyone"),
        ] {
            let identifier = Identifier::parse(text).expect(text);
            assert_eq!(identifier.to_string(), form);
            assert_eq!(Identifier::parse(form), Some(identifier));
        }
        assert_eq!(Identifier::parse("fred"), None);
        assert_eq!(Identifier::parse("-"), None);
    }

    #[test]
    fn rights_add_up_and_negative_ones_are_taken_away() {
        let mut acl = Acl::default();
        let mut set = |text: &str, change| {
            let identifier = Identifier::parse(text).expect(text);
            assert!(acl.change(&identifier, change));
            acl.clone()
        };
        set("anyone", RightsChange::Replace(rights("lr")));
        set("-fred@example.com", RightsChange::Replace(rights("r")));
        let acl = set("fred@example.com", RightsChange::Add(rights("sw")));
        assert_eq!(acl.rights_of(&account("fred@example.com")), rights("lsw"));
        assert_eq!(acl.rights_of(&account("chris@example.com")), rights("lr"));
        let mut less = acl.clone();
        let fred = Identifier::parse("fred@example.com").expect("good");
        assert!(less.change(&fred, RightsChange::Remove(rights("lsw"))));
        assert_eq!(less.entries().count(), 2, "an entry without rights goes");
        assert!(less.names(&fred.who), "the negative one is about the same");
    }

    #[test]
    fn a_list_has_an_end() {
        let mut acl = Acl::default();
        let who = |number: usize| Identifier::parse(&format!("u{number}@example.com")).expect("good");
        for number in 0..Acl::MAX {
            assert!(acl.change(&who(number), RightsChange::Add(Rights::READ)));
        }
        assert!(!acl.change(&who(Acl::MAX), RightsChange::Add(Rights::READ)));
        assert!(acl.change(&who(0), RightsChange::Add(Rights::SEEN)));
    }
}
