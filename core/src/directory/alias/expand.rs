//! From an address to everybody who gets its mail: which files and users have to be looked at, and in which order.
//!
//! For an address in a domain of ours, what comes first counts:
//!
//! 1. the alias of exactly this name, else the user of this name;
//! 2. the same without `+tag`;
//! 3. the first pattern that the name matches, else that it matches without `+tag`;
//! 4. the catch-all of the domain;
//! 5. for postmaster and abuse, who reads their mail.
//!
//! The targets of a rule are looked up in the same way. An address that comes up again among its own targets stands for
//! the user of that name, so that an alias can give a user's mail to somebody else too; where there is no such user, the
//! aliases go in a circle.

use std::sync::Arc;

use super::edit::AliasKey;
use super::file::{AliasFile, Found};
use crate::addr::{AccountName, Address, Domain, ForwardPath};
use crate::directory::lookup::{Hosting, Route};
use crate::refusal::Refusal;

/// Aliases that lead to each other.
pub const MAX_DEPTH: usize = 10;
/// Addresses that are looked at for one recipient.
pub const MAX_ADDRESSES: usize = 2_000;

/// What has to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The aliases of a domain: answered by [`Expansion::aliases`].
    Aliases(Domain),
    /// Whether there is such a user: answered by [`Expansion::user`].
    User(AccountName),
}

/// An address on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it came from, as an index into [`Expanded::nodes`]; none: it is what was asked for.
    pub parent: Option<usize>,
    /// Rules between it and what was asked for.
    pub depth: usize,
    /// The address; what came out of a template and is none stands as its text.
    pub address: Result<Address, String>,
    /// What it is.
    pub outcome: Outcome,
}

/// What an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An alias: its targets follow.
    Alias(Domain, AliasKey),
    /// The end.
    Leaf(Leaf),
    /// Nobody gets its mail.
    Failed(Failure),
}

/// Who gets the mail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// A user that is enabled.
    Account(AccountName),
    /// Somebody elsewhere.
    External(Address),
    /// Whoever reads what is sent to the postmaster.
    Postmaster,
}

/// Why nobody gets the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No user, no alias.
    Unknown,
    /// The user is disabled.
    Disabled,
    /// It comes up among its own targets, and is no user.
    Loop,
    /// It is more than [`MAX_DEPTH`] aliases away.
    TooDeep,
    /// What came out of a template is no address.
    NoAddress,
}

/// A look-up in progress: ask [`Expansion::question`], answer it, and so on until there is none.
#[derive(Debug)]
pub struct Expansion<'a> {
    hosting: &'a Hosting,
    nodes: Vec<Node>,
    /// Nodes that were not looked at, the next one last.
    work: Vec<usize>,
    at: Option<Visit>,
    too_many: bool,
}

/// The address that is looked at.
#[derive(Debug)]
struct Visit {
    node: usize,
    address: Address,
    /// Accounts it may mean, the next one first; all of them in `names`.
    names: Vec<AccountName>,
    next: usize,
    /// Answers to expect.
    wants_aliases: bool,
    wants_user: bool,
    /// It is not among its own targets: aliases count.
    fresh: bool,
    aliases: Option<Arc<AliasFile>>,
    or_postmaster: bool,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// What was asked for first; targets stand behind the alias, in its order.
    pub nodes: Vec<Node>,
    /// There were more than [`MAX_ADDRESSES`]: it counts for nothing.
    pub too_many: bool,
}

impl<'a> Expansion<'a> {
    /// Begins with a recipient.
    #[must_use]
    pub fn new(hosting: &'a Hosting, path: &ForwardPath) -> Self {
        let mut expansion = Self {
            hosting,
            nodes: Vec::new(),
            work: Vec::new(),
            at: None,
            too_many: false,
        };
        match path {
            ForwardPath::Address(address) => expansion.push(None, 0, Ok(address.clone())),
            ForwardPath::Postmaster => expansion.nodes.push(Node {
                parent: None,
                depth: 0,
                address: Err("postmaster".to_owned()),
                outcome: Outcome::Leaf(Leaf::Postmaster),
            }),
        }
        expansion
    }

    /// What has to be known next; none: it is done.
    pub fn question(&mut self) -> Option<Question> {
        loop {
            let Some(visit) = &mut self.at else {
                let node = self.work.pop()?;
                self.visit(node);
                continue;
            };
            if visit.wants_aliases {
                return Some(Question::Aliases(visit.address.domain.clone()));
            }
            let Some(name) = visit.names.get(visit.next).cloned() else {
                self.beyond_names();
                continue;
            };
            let exact = visit
                .aliases
                .as_ref()
                .and_then(|file| file.exact(name.parts().0, &visit.address.domain));
            match exact {
                Some(found) => self.follow(found),
                None => {
                    visit.wants_user = true;
                    return Some(Question::User(name));
                }
            }
        }
    }

    /// The answer to [`Question::Aliases`]; none: the domain has no aliases.
    pub fn aliases(&mut self, file: Option<Arc<AliasFile>>) {
        if let Some(visit) = self.at.as_mut().filter(|visit| visit.wants_aliases) {
            visit.wants_aliases = false;
            visit.aliases = file;
        }
    }

    /// The answer to [`Question::User`]: whether the user is enabled; none: there is no such user.
    pub fn user(&mut self, enabled: Option<bool>) {
        let Some(visit) = self.at.as_mut().filter(|visit| visit.wants_user) else {
            return;
        };
        visit.wants_user = false;
        let Some(enabled) = enabled else {
            visit.next += 1;
            return;
        };
        let outcome = match visit.names.get(visit.next) {
            Some(account) if enabled => Outcome::Leaf(Leaf::Account(account.clone())),
            _ if visit.or_postmaster => Outcome::Leaf(Leaf::Postmaster),
            _ => Outcome::Failed(Failure::Disabled),
        };
        self.end(outcome);
    }

    /// What was found, once there is no question.
    #[must_use]
    pub fn finish(self) -> Expanded {
        Expanded {
            nodes: self.nodes,
            too_many: self.too_many,
        }
    }

    fn push(&mut self, parent: Option<usize>, depth: usize, address: Result<Address, String>) {
        if self.nodes.len() >= MAX_ADDRESSES {
            self.too_many = true;
            return;
        }
        let outcome = match &address {
            Err(_) => Outcome::Failed(Failure::NoAddress),
            Ok(_) if depth > MAX_DEPTH => Outcome::Failed(Failure::TooDeep),
            Ok(_) => {
                self.work.push(self.nodes.len());
                // Until it was looked at.
                Outcome::Failed(Failure::Unknown)
            }
        };
        self.nodes.push(Node {
            parent,
            depth,
            address,
            outcome,
        });
    }

    fn visit(&mut self, at: usize) {
        let Some(Ok(address)) = self.nodes.get(at).map(|node| &node.address) else {
            return;
        };
        let address = address.clone();
        let (names, or_postmaster) = match self.hosting.route(&ForwardPath::Address(address.clone())) {
            Route::External(address) => {
                self.set(at, Outcome::Leaf(Leaf::External(address)));
                return;
            }
            Route::Local {
                candidates,
                or_postmaster,
            } => (candidates, or_postmaster),
        };
        let fresh = !self.is_among_its_own(at, &address);
        self.at = Some(Visit {
            node: at,
            address,
            names,
            next: 0,
            wants_aliases: fresh,
            wants_user: false,
            fresh,
            aliases: None,
            or_postmaster,
        });
    }

    /// Whether the address stands above itself.
    fn is_among_its_own(&self, at: usize, address: &Address) -> bool {
        let name = address.canonical();
        let parent = |at: usize| self.nodes.get(at).and_then(|node| node.parent);
        core::iter::successors(parent(at), |above| parent(*above)).any(|above| {
            let above = self.nodes.get(above).and_then(|node| node.address.as_ref().ok());
            above.is_some_and(|above| above.canonical() == name)
        })
    }

    /// Neither an exact alias nor a user.
    fn beyond_names(&mut self) {
        let Some(visit) = &self.at else {
            return;
        };
        let own = &visit.address.domain;
        let found = visit.aliases.as_ref().and_then(|file| {
            names(&visit.address.local)
                .iter()
                .find_map(|local| file.matching(local, own))
                .or_else(|| file.catch_all(own))
        });
        match found {
            Some(found) => self.follow(found),
            None => self.end(if visit.or_postmaster {
                Outcome::Leaf(Leaf::Postmaster)
            } else if visit.fresh {
                Outcome::Failed(Failure::Unknown)
            } else {
                Outcome::Failed(Failure::Loop)
            }),
        }
    }

    fn follow(&mut self, found: Found) {
        let Some(visit) = self.at.take() else {
            return;
        };
        self.set(visit.node, Outcome::Alias(visit.address.domain, found.key));
        let depth = self.nodes.get(visit.node).map_or(0, |node| node.depth) + 1;
        let before = self.work.len();
        for target in found.targets {
            self.push(Some(visit.node), depth, target);
        }
        // The first is looked at first.
        if let Some(new) = self.work.get_mut(before..) {
            new.reverse();
        }
        if self.too_many {
            self.work.clear();
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(visit) = self.at.take() {
            self.set(visit.node, outcome);
        }
    }

    fn set(&mut self, at: usize, outcome: Outcome) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.outcome = outcome;
        }
    }
}

/// A local part, NFC, and the same without `+tag`.
fn names(local: &str) -> Vec<String> {
    use unicode_normalization::UnicodeNormalization as _;
    let whole: String = local.nfc().collect();
    let cut = whole.split_once('+').map(|(name, _)| name.to_owned());
    let cut = cut.filter(|name| !name.is_empty());
    core::iter::once(whole).chain(cut).collect()
}

impl Expanded {
    /// Everybody who gets the mail, each once.
    ///
    /// # Errors
    /// Nobody does. One that an operator has to mend is temporary: [`Refusal::AliasLoop`].
    pub fn leaves(&self) -> Result<Vec<Leaf>, Refusal> {
        if self.too_many {
            return Err(Refusal::AliasLoop);
        }
        let leaf = |node: &Node| match &node.outcome {
            Outcome::Leaf(leaf) => Some(leaf.clone()),
            _ => None,
        };
        let mut leaves: Vec<Leaf> = self.nodes.iter().filter_map(leaf).collect();
        leaves.sort();
        leaves.dedup();
        if !leaves.is_empty() {
            return Ok(leaves);
        }
        let any = |wanted: &[Failure]| self.failures().any(|(_, failure)| wanted.contains(&failure));
        Err(if any(&[Failure::Loop, Failure::TooDeep]) {
            Refusal::AliasLoop
        } else if any(&[Failure::Unknown, Failure::NoAddress]) {
            Refusal::NoSuchUser
        } else {
            Refusal::AccountDisabled
        })
    }

    /// Addresses whose mail nobody gets.
    pub fn failures(&self) -> impl Iterator<Item = (&Node, Failure)> {
        self.nodes.iter().filter_map(|node| match node.outcome {
            Outcome::Failed(failure) => Some((node, failure)),
            _ => None,
        })
    }

    /// The address and what it went through, `a → b → c`, for logs.
    #[must_use]
    pub fn trail(&self, node: &Node) -> String {
        let parent = |node: &&Node| node.parent.and_then(|at| self.nodes.get(at));
        let mut trail: Vec<&str> = Vec::new();
        let texts: Vec<String> = core::iter::successors(Some(node), parent)
            .map(Node::text)
            .collect();
        trail.extend(texts.iter().rev().map(String::as_str));
        trail.join(" → ")
    }

    /// The account that may send as this address because it is the only target: every rule on the way is exact and has
    /// no other target.
    #[must_use]
    pub fn owner(&self) -> Option<&AccountName> {
        let (last, way) = self.nodes.split_last()?;
        let exact = |node: &Node| matches!(node.outcome, Outcome::Alias(_, AliasKey::Exact(_)));
        match &last.outcome {
            Outcome::Leaf(Leaf::Account(account)) if !self.too_many && way.iter().all(exact) => Some(account),
            _ => None,
        }
    }
}

impl Node {
    /// The address as text.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.address {
            Ok(address) => address.to_string(),
            Err(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
