//! The names that LIST chooses from: mailboxes, subscriptions, and the levels above them.

use std::collections::BTreeMap;

use super::{MailboxEntry, SharedMailbox};
use crate::mailbox::others::{self, Meaning};
use crate::mailbox::{MailboxName, Rights, SpecialUse};

/// A mailbox, or a level above mailboxes.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// It can be selected.
    pub(super) selectable: bool,
    /// There is a mailbox, even if it cannot be selected.
    pub(super) mailbox: bool,
    /// Something is there, not only a subscription.
    pub(super) exists: bool,
    pub(super) subscribed: bool,
    /// Something exists below.
    pub(super) children: bool,
    /// Something is subscribed below.
    pub(super) subscribed_below: bool,
    pub(super) special_use: Vec<SpecialUse>,
    /// What may be done with it, if it is a mailbox.
    pub(super) rights: Rights,
    /// RECURSIVEMATCH: something below is selected.
    pub(super) below: bool,
    /// The same, and is not matched by a pattern: nothing else tells of it.
    pub(super) hidden_below: bool,
}

/// Own mailboxes and subscriptions, and the mailboxes of others, by name, with the levels above them. What somebody has
/// made below the name for others' mailboxes is not reached, and not shown.
pub(super) fn tree(own: Vec<MailboxEntry>, shared: Vec<SharedMailbox>) -> Vec<(MailboxName, Node)> {
    let mut nodes: BTreeMap<MailboxName, Node> = BTreeMap::new();
    for entry in own {
        let hidden = !matches!(others::meaning(&entry.name), Meaning::Own(_));
        let exists = entry.exists && !hidden;
        if !exists && !entry.subscribed {
            continue;
        }
        enter_above(&mut nodes, &entry.name, exists, entry.subscribed);
        let node = nodes.entry(entry.name).or_default();
        node.exists = exists;
        node.selectable = exists && entry.selectable;
        node.mailbox = node.selectable;
        node.subscribed = entry.subscribed;
        if exists {
            node.special_use = entry.special_use;
            node.rights = Rights::ALL;
        }
    }
    for SharedMailbox { owner, name, rights } in shared {
        let Some(name) = others::name_of(&owner, &name).filter(|_| rights.contains(Rights::LOOKUP)) else {
            continue;
        };
        enter_above(&mut nodes, &name, true, false);
        let node = nodes.entry(name).or_default();
        node.exists = true;
        node.mailbox = true;
        node.selectable = rights.contains(Rights::READ);
        node.rights = rights;
    }
    nodes.into_iter().collect()
}

fn enter_above(nodes: &mut BTreeMap<MailboxName, Node>, name: &MailboxName, exists: bool, subscribed: bool) {
    let mut above = name.parent();
    while let Some(name) = above {
        above = name.parent();
        let node = nodes.entry(name).or_default();
        // What is marked here is marked further up too.
        if (node.children || !exists) && (node.subscribed_below || !subscribed) {
            break;
        }
        node.children |= exists;
        node.subscribed_below |= subscribed;
    }
}

impl Node {
    /// `extended`: a level without a mailbox does not exist (RFC 5258 §3); otherwise it is only told as one that cannot be
    /// selected.
    pub(super) fn attributes(&self, extended: bool, tell_subscribed: bool) -> Vec<&'static str> {
        let mut all = Vec::with_capacity(4);
        if !self.mailbox && (extended || !self.exists && !self.children) {
            all.push("\\NonExistent");
        } else if !self.selectable {
            all.push("\\Noselect");
        }
        all.push(if self.children {
            "\\HasChildren"
        } else {
            "\\HasNoChildren"
        });
        all.extend(self.special_use.iter().map(|usage| usage.attribute()));
        if tell_subscribed && self.subscribed {
            all.push("\\Subscribed");
        }
        all
    }
}
