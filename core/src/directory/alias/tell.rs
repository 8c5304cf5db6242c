//! What becomes of mail for an address, told: the command line and the HTTP API say the same.

use serde::Serialize;

use super::edit::AliasKey;
use super::expand::{Expanded, Failure, Leaf, MAX_DEPTH, Node, Outcome};
use crate::refusal::Refusal;
use crate::smtp::reply::{self, Context};

/// What becomes of mail for an address, for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The address.
    pub address: String,
    /// Mail for it is accepted.
    pub accepted: bool,
    /// What other servers are answered if it is not.
    pub reply: Option<String>,
    /// There are more addresses than are looked at.
    pub too_many: bool,
    /// The account that may send as it, because it is its only target.
    pub may_send_as_it: Option<String>,
    /// Every address on the way: what was asked for first, targets behind their alias.
    pub path: Vec<ToldNode>,
}

/// An address on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldNode {
    address: String,
    /// Where it came from, as its place in the list.
    parent: Option<usize>,
    depth: usize,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Told {
    /// Of what was found; `relay`: mail goes to others (`relay.enabled`).
    #[must_use]
    pub fn of(expanded: &Expanded, relay: bool) -> Self {
        let leaves = expanded.leaves().and_then(|leaves| {
            // The relay is what reaches those elsewhere.
            let reached = leaves
                .iter()
                .any(|leaf| relay || !matches!(leaf, Leaf::External(_)));
            reached.then_some(leaves).ok_or(Refusal::RelayDisabled)
        });
        let refused = leaves.as_ref().err();
        let is_alias = expanded.nodes.len() > 1;
        let owner = expanded.owner().filter(|_| is_alias);
        Self {
            address: expanded.nodes.first().map(Node::text).unwrap_or_default(),
            accepted: refused.is_none(),
            reply: refused
                .map(|refusal| reply::refusal(Context::Rcpt { submission: false }, *refusal).line()),
            too_many: expanded.too_many,
            may_send_as_it: owner.map(ToString::to_string),
            path: expanded
                .nodes
                .iter()
                .map(|node| ToldNode::of(node, relay))
                .collect(),
        }
    }
}

impl ToldNode {
    fn of(node: &Node, relay: bool) -> Self {
        let (mut rule, mut user, mut to, mut reason) = (None, None, None, None);
        let what = match &node.outcome {
            Outcome::Alias(domain, key) => {
                rule = Some(key.at(domain));
                "alias"
            }
            Outcome::Leaf(Leaf::Account(account)) => {
                user = Some(account.to_string());
                "mailbox"
            }
            Outcome::Leaf(Leaf::External(address)) => {
                to = Some(address.to_string());
                "elsewhere"
            }
            Outcome::Leaf(Leaf::Postmaster) => {
                reason = Some(node.words(relay));
                "postmaster"
            }
            Outcome::Failed(failure) => {
                reason = Some(failure.words());
                "failed"
            }
        };
        Self {
            address: node.text(),
            parent: node.parent,
            depth: node.depth,
            what,
            rule,
            user,
            to,
            reason,
        }
    }
}

impl Node {
    /// What it is, for people; `relay`: mail goes to others (`relay.enabled`).
    #[must_use]
    pub fn words(&self, relay: bool) -> String {
        match &self.outcome {
            Outcome::Alias(domain, key @ AliasKey::Exact(_))
                if key.at(domain) == self.text().to_lowercase() =>
            {
                "alias".to_owned()
            }
            Outcome::Alias(domain, key) => format!("alias {}", key.at(domain)),
            Outcome::Leaf(Leaf::Account(account)) => format!("mailbox of {account}"),
            Outcome::Leaf(Leaf::External(_)) if relay => "elsewhere".to_owned(),
            Outcome::Leaf(Leaf::External(_)) => "elsewhere, but `relay.enabled` is false".to_owned(),
            Outcome::Leaf(Leaf::Postmaster) => {
                "who reads the postmaster's mail (`postmaster` in the configuration, else \
                                                the first administrator)"
                    .to_owned()
            }
            Outcome::Failed(failure) => failure.words(),
        }
    }
}

impl Failure {
    /// For people.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Unknown => "there is no such user or alias".to_owned(),
            Self::Disabled => "the user is disabled".to_owned(),
            Self::Loop => "aliases lead from it back to it, and there is no such user".to_owned(),
            Self::TooDeep => format!("more than {MAX_DEPTH} aliases lead to it"),
            Self::NoAddress => "what the expression makes is no address".to_owned(),
        }
    }
}

impl AliasKey {
    /// `exact`, `pattern` or `catch_all`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::Pattern(_) => "pattern",
            Self::CatchAll => "catch_all",
        }
    }
}
