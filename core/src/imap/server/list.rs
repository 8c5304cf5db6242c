//! LIST and LSUB (RFC 3501 §6.3.8, §6.3.9; RFC 3348; RFC 6154 §5).

use std::collections::BTreeMap;

use super::job::{Job, STEP_ROWS};
use super::{Call, MailboxEntry, Phase, Session, Then, refusal};
use crate::imap::command::List;
use crate::imap::{list_match, response};
use crate::mailbox::{MailboxName, SpecialUse};
use crate::refusal::Refusal;

/// Names after which a step ends even if none was to be told.
const STEP_NAMES: usize = STEP_ROWS / 10;

/// What matching may cost in one step: octets of names times octets of patterns.
const STEP_COST: usize = 1 << 20;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Question {
    tag: String,
    /// Reference and pattern joined.
    patterns: Vec<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    List {
        special_use: bool,
        subscribed: bool,
        tell_subscribed: bool,
    },
    Lsub,
}

/// A mailbox, or a level above mailboxes.
#[derive(Debug, Default)]
struct Node {
    selectable: bool,
    /// Something is there, not only a subscription.
    exists: bool,
    /// No entry of the list: a level that is known from those below it.
    implied: bool,
    subscribed: bool,
    /// Something exists below.
    children: bool,
    /// Something is subscribed below.
    subscribed_below: bool,
    special_use: Vec<SpecialUse>,
}

/// A list being told.
#[derive(Debug)]
pub(super) struct Listing {
    question: Question,
    nodes: std::collections::btree_map::IntoIter<MailboxName, Node>,
}

impl Session {
    /// LIST.
    pub(super) fn list(&mut self, tag: String, list: List) {
        let selects = list.select_special_use || list.select_subscribed;
        if !selects && list.patterns.iter().all(String::is_empty) {
            // RFC 9051 §6.3.9: the hierarchy separator and the root of the reference.
            self.out.line("* LIST (\\Noselect) \"/\" \"\"");
            return self.complete(tag, "OK LIST completed");
        }
        let patterns = list
            .patterns
            .iter()
            .map(|pattern| [&list.reference, pattern.as_str()].concat())
            .collect();
        let kind = Kind::List {
            special_use: list.select_special_use,
            subscribed: list.select_subscribed,
            tell_subscribed: list.return_subscribed || list.select_subscribed,
        };
        self.ask_list(Question { tag, patterns, kind });
    }

    /// LSUB.
    pub(super) fn lsub(&mut self, tag: String, reference: &str, pattern: &str) {
        self.ask_list(Question {
            tag,
            patterns: vec![[reference, pattern].concat()],
            kind: Kind::Lsub,
        });
    }

    fn ask_list(&mut self, question: Question) {
        let Some(account) = self.account_name() else {
            return self.internal("LIST without an account");
        };
        self.call(Call::List { account }, Then::List(Box::new(question)));
    }

    /// All mailboxes and subscriptions.
    pub(super) fn listed(&mut self, question: Question, result: Result<Vec<MailboxEntry>, Refusal>) {
        match result {
            Ok(entries) => {
                let nodes = tree(entries).into_iter();
                self.phase = Phase::Job(Job::Listing(Box::new(Listing { question, nodes })));
            }
            Err(refused) => self.complete(question.tag, refusal::no(refused)),
        }
    }

    /// One step of telling.
    pub(super) fn step_listing(&mut self, mut listing: Box<Listing>) {
        let patterns: usize = listing.question.patterns.iter().map(String::len).sum();
        let utf8 = self.enabled.utf8_names();
        let mut cost = 0;
        for _ in 0..STEP_NAMES {
            let Some((name, node)) = listing.nodes.next() else {
                let text = match listing.question.kind {
                    Kind::List { .. } => "OK LIST completed",
                    Kind::Lsub => "OK LSUB completed",
                };
                return self.complete(listing.question.tag, text);
            };
            listing.question.tell(self.out.text(), &name, &node, utf8);
            cost += patterns * name.as_str().len();
            if cost >= STEP_COST || self.out.is_full() {
                break;
            }
        }
        self.out.pause();
        self.phase = Phase::Job(Job::Listing(listing));
    }
}

/// The attributes of one mailbox of the list, as LIST tells them.
pub(super) fn attributes_of(entries: Vec<MailboxEntry>, name: &MailboxName) -> Vec<&'static str> {
    tree(entries)
        .get(name)
        .map(|node| node.attributes(true))
        .unwrap_or_default()
}

/// The entries by name, with the levels above them.
fn tree(entries: Vec<MailboxEntry>) -> BTreeMap<MailboxName, Node> {
    let mut nodes: BTreeMap<MailboxName, Node> = BTreeMap::new();
    for entry in entries {
        let (exists, subscribed) = (entry.exists, entry.subscribed);
        let mut above = entry.name.parent();
        while let Some(name) = above {
            above = name.parent();
            let node = nodes.entry(name).or_insert_with(|| Node {
                implied: true,
                ..Node::default()
            });
            // What is marked here is marked further up too.
            if (node.children || !exists) && (node.subscribed_below || !subscribed) {
                break;
            }
            node.children |= exists;
            node.subscribed_below |= subscribed;
        }
        let node = nodes.entry(entry.name).or_default();
        node.selectable = entry.selectable;
        node.exists = exists;
        node.implied = false;
        node.subscribed = subscribed;
        node.special_use = entry.special_use;
    }
    nodes
}

impl Question {
    fn matches(&self, name: &MailboxName) -> bool {
        self.patterns
            .iter()
            .any(|pattern| list_match::matches(pattern, name.as_str()))
    }

    /// RFC 9051 §6.3.9: a `%` at the end also finds levels that are no mailboxes.
    fn matches_level(&self, name: &MailboxName) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.ends_with('%') && list_match::matches(pattern, name.as_str()))
    }

    fn tell(&self, out: &mut Vec<u8>, name: &MailboxName, node: &Node, utf8: bool) {
        match self.kind {
            Kind::Lsub if node.subscribed => {
                if self.matches(name) {
                    line(out, "LSUB", &[], name, utf8);
                }
            }
            Kind::Lsub => {
                if node.subscribed_below && self.matches_level(name) {
                    line(out, "LSUB", &["\\Noselect"], name, utf8);
                }
            }
            Kind::List {
                special_use,
                subscribed,
                tell_subscribed,
            } => {
                let wanted = if subscribed {
                    node.subscribed && self.matches(name)
                } else if node.exists {
                    self.matches(name)
                } else {
                    node.children && self.matches_level(name)
                };
                if wanted && (!special_use || !node.special_use.is_empty()) {
                    line(out, "LIST", &node.attributes(tell_subscribed), name, utf8);
                }
            }
        }
    }
}

impl Node {
    fn attributes(&self, tell_subscribed: bool) -> Vec<&'static str> {
        let mut all = Vec::with_capacity(4);
        if !self.exists && !self.children {
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

fn line(out: &mut Vec<u8>, word: &str, attributes: &[&'static str], name: &MailboxName, utf8: bool) {
    out.extend_from_slice(b"* ");
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b" (");
    response::words(out, attributes.iter().copied());
    out.extend_from_slice(b") \"/\" ");
    response::mailbox(out, name, utf8);
    out.extend_from_slice(b"\r\n");
}
