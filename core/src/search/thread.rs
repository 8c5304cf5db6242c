//! Threading (RFC 5256 §3, THREAD), without recursion: a chain of replies may be as long as the mailbox.

use std::collections::BTreeMap;

use super::gist::{Gist, Text};
use super::sort::Message;
use crate::mailbox::Uid;

/// How messages are put into threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 5256 §3")]
pub enum Algorithm {
    OrderedSubject,
    References,
}

/// A node of a forest in preorder: its children, with all of theirs, follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadNode {
    /// The message; `None`: one that is not there, the parent of several threads.
    pub uid: Option<Uid>,
    /// How many children it has.
    pub children: u32,
}

/// No node.
const NONE: u32 = u32::MAX;

/// Steps up the tree, for each node, that are taken to find loops. Mail of people takes a few; beyond it, references that
/// might make a loop are not followed, so that mail made for it cannot take quadratic time.
const STEPS: usize = 100;

/// The messages, which come in the order of the mailbox, in threads. n log n.
#[must_use]
pub fn thread(messages: &[Message<'_>], algorithm: Algorithm) -> Vec<ThreadNode> {
    let forest = Forest::new(messages);
    match algorithm {
        Algorithm::OrderedSubject => forest.by_subject(),
        Algorithm::References => forest.by_references(),
    }
}

/// Messages, and behind them those that only references name.
struct Forest<'a> {
    messages: &'a [Message<'a>],
    /// Of each node.
    parent: Vec<u32>,
}

/// When a message was sent, and its place in the mailbox.
type Order = (i64, u32);

impl<'a> Forest<'a> {
    fn new(messages: &'a [Message<'a>]) -> Self {
        Self {
            messages,
            parent: vec![NONE; messages.len()],
        }
    }

    fn count(&self) -> u32 {
        number(self.messages.len())
    }

    fn is_dummy(&self, node: u32) -> bool {
        node >= self.count()
    }

    fn message(&self, node: u32) -> Option<&Message<'a>> {
        self.messages.get(index(node))
    }

    fn gist(&self, node: u32) -> Option<Gist<'a>> {
        self.message(node)?.gist
    }

    fn order(&self, node: u32) -> Order {
        (self.message(node).map_or(0, Message::sent), node)
    }

    fn base(&self, node: u32) -> &'a [u8] {
        self.gist(node).map_or(&[], |gist| gist.text(Text::Base))
    }

    fn dummy(&mut self) -> u32 {
        let node = number(self.parent.len());
        self.parent.push(NONE);
        node
    }

    fn by_subject(mut self) -> Vec<ThreadNode> {
        let mut all: Vec<u32> = (0..self.count()).collect();
        all.sort_unstable_by(|a, b| {
            let order = || self.order(*a).cmp(&self.order(*b));
            self.base(*a).cmp(self.base(*b)).then_with(order)
        });
        let mut first = NONE;
        for node in all {
            if first != NONE && self.base(first) == self.base(node) {
                self.put(node, first);
            } else {
                first = node;
            }
        }
        self.flat()
    }

    fn by_references(mut self) -> Vec<ThreadNode> {
        self.link();
        self.prune();
        self.merge_subjects();
        self.flat()
    }

    fn up(&self, node: u32) -> u32 {
        self.parent.get(index(node)).copied().unwrap_or(NONE)
    }

    fn put(&mut self, node: u32, parent: u32) {
        if let Some(slot) = self.parent.get_mut(index(node)) {
            *slot = parent;
        }
    }

    /// Step 1: parents by references.
    fn link(&mut self) {
        let (nodes, starts) = self.resolve();
        let mut children = vec![0_u32; self.parent.len()];
        let mut steps = self.parent.len().saturating_mul(STEPS);
        for (node, bounds) in (0..self.count()).zip(starts.windows(2)) {
            let (start, end) = (bounds.first().copied(), bounds.last().copied());
            let references = start.zip(end).and_then(|(start, end)| nodes.get(start..end));
            let references = references.unwrap_or_default();
            for pair in references.windows(2) {
                if let [parent, child] = *pair
                    && self.up(child) == NONE
                {
                    self.adopt(child, parent, &mut children, &mut steps);
                }
            }
            let old = self.up(node);
            if let Some(count) = children.get_mut(index(old)) {
                *count -= 1;
            }
            self.put(node, NONE);
            if let Some(parent) = references.last() {
                self.adopt(node, *parent, &mut children, &mut steps);
            }
        }
    }

    /// Links a child that has no parent, unless that would make a loop.
    fn adopt(&mut self, child: u32, parent: u32, children: &mut [u32], steps: &mut usize) {
        if child == parent {
            return;
        }
        // What has no children is nobody's ancestor.
        if children.get(index(child)).is_some_and(|count| *count > 0) {
            let mut at = self.up(parent);
            while at != NONE {
                if at == child || *steps == 0 {
                    return;
                }
                *steps -= 1;
                at = self.up(at);
            }
        }
        self.put(child, parent);
        if let Some(count) = children.get_mut(index(parent)) {
            *count += 1;
        }
    }

    /// The references of all messages as nodes, and where those of each begin. Makes the nodes that no message is.
    fn resolve(&mut self) -> (Vec<u32>, Vec<usize>) {
        let references = |message: &Message<'a>| message.gist.map_or(&[][..], Gist::references);
        let mut starts = Vec::with_capacity(self.messages.len() + 1);
        let mut total = 0;
        let mut own: Vec<(u64, u32)> = Vec::new();
        let mut wanted: Vec<(u64, u32)> = Vec::new();
        for (node, message) in (0_u32..).zip(self.messages) {
            starts.push(total);
            let id = message.gist.and_then(Gist::message_id);
            own.extend(id.map(|id| (id, node)));
            for id in references(message) {
                wanted.push((*id, number(total)));
                total += 1;
            }
        }
        starts.push(total);
        // Of several messages with one ID the first has it.
        own.sort_unstable();
        own.dedup_by_key(|(id, _)| *id);
        wanted.sort_unstable();
        let mut nodes = vec![NONE; total];
        let mut own = own.into_iter().peekable();
        let mut last: Option<(u64, u32)> = None;
        for (id, at) in wanted {
            let node = match last {
                Some((same, node)) if same == id => node,
                _ => {
                    while own.next_if(|(other, _)| *other < id).is_some() {}
                    let found = own
                        .peek()
                        .filter(|(other, _)| *other == id)
                        .map(|(_, node)| *node);
                    found.unwrap_or_else(|| self.dummy())
                }
            };
            last = Some((id, node));
            if let Some(slot) = nodes.get_mut(index(at)) {
                *slot = node;
            }
        }
        (nodes, starts)
    }

    /// Steps 2 and 3: parents are messages, or dummies without a parent that have several children.
    fn prune(&mut self) {
        let mut path = Vec::new();
        for node in 0..self.count() {
            // The nearest ancestor that is a message, or the last one.
            let mut to = self.up(node);
            while self.is_dummy(to) && to != NONE && self.up(to) != NONE {
                path.push(to);
                to = self.up(to);
            }
            self.put(node, to);
            // Dummies on the way have the same: nobody walks it twice.
            for dummy in path.drain(..) {
                self.put(dummy, to);
            }
        }
        let mut children = vec![0_u32; self.parent.len()];
        for node in 0..self.count() {
            let parent = self.up(node);
            if let Some(count) = children.get_mut(index(parent)) {
                *count += 1;
            }
        }
        for node in 0..self.count() {
            let parent = self.up(node);
            if self.is_dummy(parent) && children.get(index(parent)) == Some(&1) {
                self.put(node, NONE);
            }
        }
        // What is left of dummies below dummies is nobody's parent.
        for dummy in self.parent.iter_mut().skip(self.messages.len()) {
            *dummy = NONE;
        }
    }

    /// Top-level nodes in the order of their dates, each with the child that stands for it if it is a dummy.
    fn roots(&self) -> Vec<(Order, u32)> {
        let mut first: Vec<Option<Order>> = vec![None; self.parent.len()];
        for node in 0..self.count() {
            let parent = self.up(node);
            let key = self.order(node);
            let top = if parent == NONE { node } else { parent };
            if (parent == NONE || self.is_dummy(parent))
                && let Some(slot) = first.get_mut(index(top))
            {
                *slot = Some(slot.map_or(key, |old| old.min(key)));
            }
        }
        let all = (0_u32..).zip(first);
        let mut roots: Vec<(Order, u32)> = all
            .filter(|(node, _)| self.up(*node) == NONE)
            .filter_map(|(node, order)| Some((order?, node)))
            .collect();
        roots.sort_unstable();
        roots
    }

    /// Steps 4 and 5: threads with one subject become one.
    fn merge_subjects(&mut self) {
        let roots = self.roots();
        let mut table: BTreeMap<&'a [u8], u32> = BTreeMap::new();
        let reply = |forest: &Self, node| forest.gist(node).is_some_and(Gist::is_reply);
        for ((_, first), node) in &roots {
            let subject = self.base(*first);
            if subject.is_empty() {
                continue;
            }
            let known = table.entry(subject).or_insert(*node);
            let better = self.is_dummy(*node) || (reply(self, *known) && !reply(self, *node));
            if !self.is_dummy(*known) && better {
                *known = *node;
            }
        }
        // Dummies that are merged into others.
        let mut merged: BTreeMap<u32, u32> = BTreeMap::new();
        for ((_, first), node) in roots {
            let subject = self.base(first);
            let Some(known) = table.get(subject).copied().filter(|known| *known != node) else {
                continue;
            };
            if self.up(node) != NONE {
                continue;
            }
            match (self.is_dummy(known), self.is_dummy(node)) {
                (true, true) => {
                    merged.insert(node, known);
                }
                (true, false) => self.put(node, known),
                (false, _) if reply(self, node) && !reply(self, known) => self.put(node, known),
                (false, _) => {
                    let both = self.dummy();
                    self.put(node, both);
                    self.put(known, both);
                    table.insert(subject, both);
                }
            }
        }
        for node in 0..self.count() {
            if let Some(known) = merged.get(&self.up(node)) {
                self.put(node, *known);
            }
        }
    }

    /// Step 6, and the forest in preorder.
    fn flat(&self) -> Vec<ThreadNode> {
        let mut edges: Vec<(u32, Order)> = (0..self.count())
            .map(|node| (self.up(node), self.order(node)))
            .filter(|(parent, _)| *parent != NONE)
            .collect();
        edges.sort_unstable();
        let mut starts = vec![0_u32; self.parent.len() + 1];
        for (parent, _) in &edges {
            if let Some(slot) = starts.get_mut(index(*parent) + 1) {
                *slot += 1;
            }
        }
        let mut sum = 0;
        for slot in &mut starts {
            sum += *slot;
            *slot = sum;
        }
        let children = |node: u32| {
            let at = |node: usize| starts.get(node).copied().map_or(0, index);
            edges
                .get(at(index(node))..at(index(node) + 1))
                .unwrap_or_default()
        };
        let mut out = Vec::with_capacity(self.parent.len());
        let mut open: Vec<u32> = Vec::new();
        for (_, root) in self.roots() {
            open.push(root);
            while let Some(node) = open.pop() {
                let children = children(node);
                out.push(ThreadNode {
                    uid: self.message(node).map(|message| message.row.uid),
                    children: number(children.len()),
                });
                open.extend(children.iter().rev().map(|(_, (_, child))| *child));
            }
        }
        out
    }
}

fn index(node: u32) -> usize {
    usize::try_from(node).unwrap_or(usize::MAX)
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NONE)
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
