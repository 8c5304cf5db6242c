//! Who an address is. The rules only say which accounts to look for, and in which order; the store knows which exist.

use crate::addr::{AccountName, Address, Domain, ForwardPath};

use super::User;

/// What is hosted here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosting {
    /// The domains in the configured order.
    pub domains: Vec<Domain>,
    /// Where `<postmaster>`, `postmaster@` and `abuse@` go when no user has that name; none: the first enabled admin.
    pub postmaster: Option<Address>,
}

/// Where the look-up of a recipient goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// In a domain of ours: the first of these accounts that exists.
    Local {
        /// The exact name, then without `+tag`.
        candidates: Vec<AccountName>,
        /// When none exists: the postmaster (RFC 5321 §4.5.1, RFC 2142 §2 and §4).
        or_postmaster: bool,
    },
    /// Elsewhere.
    External(Address),
}

/// Where a recipient's mail goes. An address may have several (aliases).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The INBOX of an account that exists and is enabled.
    Account(AccountName),
    /// Elsewhere, by the outbound queue.
    External(Address),
}

/// Names that are always accepted.
const ALWAYS: [&str; 2] = ["postmaster", "abuse"];

impl Hosting {
    /// Whether the domain is hosted here.
    #[must_use]
    pub fn hosts(&self, domain: &Domain) -> bool {
        self.domains.contains(domain)
    }

    /// Where to look for a recipient.
    #[must_use]
    pub fn route(&self, path: &ForwardPath) -> Route {
        let address = match path {
            ForwardPath::Postmaster => {
                return Route::Local {
                    candidates: Vec::new(),
                    or_postmaster: true,
                };
            }
            ForwardPath::Address(address) => address,
        };
        if !self.hosts(&address.domain) {
            return Route::External(address.clone());
        }
        let candidates = candidates(address);
        let or_postmaster = candidates
            .first()
            .is_some_and(|exact| ALWAYS.contains(&exact.parts().0));
        Route::Local {
            candidates,
            or_postmaster,
        }
    }

    /// The account that a login name means: a whole address in a hosted domain, or a bare name when exactly one domain
    /// is hosted. `None`: there can be no such account.
    #[must_use]
    pub fn login(&self, name: &str) -> Option<AccountName> {
        let address = match (Address::parse(name), self.domains.as_slice()) {
            (Some(address), _) => address,
            (None, [only]) if !name.contains('@') => Address::new(name, only.clone())?,
            _ => return None,
        };
        self.hosts(&address.domain).then(|| address.canonical())
    }
}

/// The accounts that an address in a hosted domain may mean: its exact name first, then without `+tag`.
#[must_use]
pub(crate) fn candidates(address: &Address) -> Vec<AccountName> {
    let exact = address.canonical();
    let cut = exact
        .parts()
        .0
        .split_once('+')
        .and_then(|(name, _)| Address::new(name, address.domain.clone()))
        .map(|address| address.canonical());
    core::iter::once(exact).chain(cut).collect()
}

/// Whether an account may use the address as its sender: its own with any `+tag`, or one of `send_as`.
///
/// `exists` says whether an account of that name exists: `alice+x@` belongs to the user `alice+x` if there is one.
/// Being an administrator gives nothing.
pub fn owns(
    account: &AccountName,
    user: &User,
    address: &Address,
    exists: impl FnMut(&AccountName) -> bool,
) -> bool {
    let names = candidates(address);
    let own = names.contains(account)
        && names.into_iter().find(exists_or(account, exists)).as_ref() == Some(account);
    own || user
        .send_as
        .iter()
        .any(|other| other.0.canonical() == address.canonical())
}

/// The account itself exists: nobody has to look.
fn exists_or(
    account: &AccountName,
    mut exists: impl FnMut(&AccountName) -> bool,
) -> impl FnMut(&AccountName) -> bool {
    move |name| name == account || exists(name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::directory::SendAs;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("address")
    }

    /// These domains, and no postmaster.
    pub(in crate::directory) fn hosting(domains: &[&str]) -> Hosting {
        Hosting {
            domains: domains
                .iter()
                .map(|text| Domain::parse(text).expect("domain"))
                .collect(),
            postmaster: None,
        }
    }

    #[test]
    fn recipients_are_found_by_exact_name_then_without_tag() {
        let hosting = hosting(&["example.com", "bücher.example"]);
        let route = |text| match hosting.route(&ForwardPath::Address(address(text))) {
            Route::Local {
                candidates,
                or_postmaster,
            } => {
                let names: Vec<&str> = candidates.iter().map(AccountName::as_str).collect();
                format!("{} {or_postmaster}", names.join(" "))
            }
            Route::External(address) => format!("external {address}"),
        };
        assert_eq!(route("Alice@EXAMPLE.com"), "alice@example.com false");
        assert_eq!(
            route("a\u{308}+News+x@xn--bcher-kva.example"),
            "ä+news+x@xn--bcher-kva.example ä@xn--bcher-kva.example false"
        );
        assert_eq!(route("+tag@example.com"), "+tag@example.com false");
        assert_eq!(route("PostMaster@example.com"), "postmaster@example.com true");
        assert_eq!(route("abuse@example.com"), "abuse@example.com true");
        assert_eq!(route("postmaster@other.org"), "external postmaster@other.org");
        assert_eq!(route("a%other.org@example.com"), "a%other.org@example.com false");
        assert_eq!(route("a@[192.0.2.1]"), "external a@[192.0.2.1]");
        assert_eq!(route("a@sub.example.com"), "external a@sub.example.com");
        assert_eq!(
            hosting.route(&ForwardPath::Postmaster),
            Route::Local {
                candidates: Vec::new(),
                or_postmaster: true
            }
        );
    }

    #[test]
    fn login_names_are_whole_or_bare_when_there_is_no_doubt() {
        let (one, two) = (hosting(&["example.com"]), hosting(&["example.com", "x.y"]));
        let login = |hosting: &Hosting, name| hosting.login(name).map(|name| name.to_string());
        assert_eq!(login(&one, "Alice").as_deref(), Some("alice@example.com"));
        assert_eq!(
            login(&one, "alice@EXAMPLE.com").as_deref(),
            Some("alice@example.com")
        );
        assert_eq!(login(&two, "alice@x.y").as_deref(), Some("alice@x.y"));
        for (hosting, name) in [
            (&two, "alice"),
            (&one, "alice@x.y"),
            (&one, ""),
            (&one, "@"),
            (&one, "a@b@"),
            (&one, "a\0b"),
            (&one, "@example.com"),
        ] {
            assert_eq!(hosting.login(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_sender_owns_its_name_its_tags_and_what_was_granted() {
        let account = address("alice@example.com").canonical();
        let user = User {
            send_as: vec![SendAs(address("Team@example.com"))],
            admin: true,
            ..User::default()
        };
        let exists = |name: &AccountName| name.as_str() == "alice+boss@example.com";
        let owns = |text| owns(&account, &user, &address(text), exists);
        for own in [
            "alice@example.com",
            "ALICE@Example.Com",
            "alice+x@example.com",
            "team@example.com",
        ] {
            assert!(owns(own), "{own}");
        }
        for foreign in [
            "bob@example.com",
            "alice+boss@example.com",
            "team+x@example.com",
            "alice@example.org",
            "postmaster@example.com",
            "alic@example.com",
            "+alice@example.com",
        ] {
            assert!(!owns(foreign), "{foreign}");
        }
    }
}
