//! LIST and LSUB (RFC 3501 §6.3.8, §6.3.9; RFC 3348; RFC 5258; RFC 5819; RFC 6154 §5; RFC 8440; RFC 9590).

use super::job::{Job, STEP_ROWS};
use super::list_tree::{Node, tree};
use super::place::Place;
use super::{Call, MailboxEntry, Phase, Reply, Session, SharedMailbox, Then, refusal};
use crate::imap::command::{List, MetadataEntry, StatusItem};
use crate::imap::{list_match, response};
use crate::mailbox::others::OTHER_USERS;
use crate::mailbox::{Annotated, MailboxName};
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
    List(Wanted),
    Lsub,
}

/// What LIST is to choose and to tell.
#[derive(Debug)]
struct Wanted {
    extended: bool,
    special_use: bool,
    subscribed: bool,
    recursive: bool,
    tell_subscribed: bool,
    rights: bool,
    status: Vec<StatusItem>,
    metadata: Vec<MetadataEntry>,
}

/// A list being told.
#[derive(Debug)]
pub(super) struct Listing {
    question: Question,
    nodes: Vec<(MailboxName, Node)>,
    /// RECURSIVEMATCH: so many were looked at for those above them.
    marked: usize,
    /// So many are told.
    told: usize,
    /// What is still to be told of the last one.
    rest: Option<Rest>,
}

/// What follows a line.
#[derive(Debug)]
struct Rest {
    place: Place,
    status: bool,
    metadata: bool,
    /// The line itself, which has to wait until it is known whether STATUS can be told (RFC 5819 §2).
    line: Option<usize>,
}

impl Session {
    /// LIST.
    pub(super) fn list(&mut self, tag: String, list: List) {
        if !list.extended && list.patterns.iter().all(String::is_empty) {
            // RFC 9051 §6.3.9: the hierarchy separator and the root of the reference.
            self.out.line("* LIST (\\Noselect) \"/\" \"\"");
            return self.complete(tag, "OK LIST completed");
        }
        // RFC 5258 §3: in an extended command an empty one matches nothing.
        let named = list.patterns.iter().filter(|pattern| !pattern.is_empty());
        let patterns = named
            .map(|pattern| [&list.reference, pattern.as_str()].concat())
            .collect();
        let kind = Kind::List(Wanted {
            extended: list.extended,
            special_use: list.select_special_use,
            subscribed: list.select_subscribed,
            recursive: list.select_recursive,
            tell_subscribed: list.return_subscribed || list.select_subscribed,
            rights: list.return_rights,
            status: list.return_status,
            metadata: list.return_metadata,
        });
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

    /// All mailboxes and subscriptions. Where the patterns reach there, those of others come next.
    pub(super) fn listed(&mut self, question: Question, result: Result<Vec<MailboxEntry>, Refusal>) {
        let own = match result {
            Ok(entries) => entries,
            Err(refused) => return self.complete(question.tag, refusal::no(refused)),
        };
        match self.account_name().filter(|_| question.reaches_others()) {
            Some(account) => self.call(Call::Shared { account }, Then::Shared(Box::new(question), own)),
            None => self.begin_listing(question, own, Vec::new()),
        }
    }

    /// The mailboxes of others.
    pub(super) fn shared_listed(
        &mut self,
        question: Question,
        own: Vec<MailboxEntry>,
        result: Result<Vec<SharedMailbox>, Refusal>,
    ) {
        match result {
            Ok(shared) => self.begin_listing(question, own, shared),
            Err(refused) => self.complete(question.tag, refusal::no(refused)),
        }
    }

    fn begin_listing(&mut self, question: Question, own: Vec<MailboxEntry>, shared: Vec<SharedMailbox>) {
        let listing = Listing {
            question,
            nodes: tree(own, shared),
            marked: 0,
            told: 0,
            rest: None,
        };
        self.phase = Phase::Job(Job::Listing(Box::new(listing)));
    }

    /// One step of telling.
    pub(super) fn step_listing(&mut self, mut listing: Box<Listing>) {
        if listing.mark() {
            self.out.pause();
            self.phase = Phase::Job(Job::Listing(listing));
            return;
        }
        let patterns: usize = listing.question.patterns.iter().map(String::len).sum();
        let mut cost = 0;
        for _ in 0..STEP_NAMES {
            if let Some(rest) = &listing.rest {
                let call = rest.next_call();
                match call {
                    Some(call) => return self.call(call, Then::Listing(listing)),
                    None => listing.rest = None,
                }
            }
            let Some((name, _)) = listing.nodes.get(listing.told) else {
                let text = match listing.question.kind {
                    Kind::List(_) => "OK LIST completed",
                    Kind::Lsub => "OK LSUB completed",
                };
                return self.complete(listing.question.tag, text);
            };
            cost += patterns * name.as_str().len();
            self.tell_name(&mut listing);
            if cost >= STEP_COST || self.out.is_full() {
                break;
            }
        }
        self.out.pause();
        self.phase = Phase::Job(Job::Listing(listing));
    }

    /// The next name, if it is to be told.
    fn tell_name(&mut self, listing: &mut Listing) {
        let at = listing.told;
        listing.told += 1;
        let Some((name, node)) = listing.nodes.get(at) else {
            return;
        };
        let (question, utf8) = (&listing.question, self.enabled.utf8_names());
        let wanted = match &question.kind {
            Kind::List(wanted) => wanted,
            Kind::Lsub => return question.tell_subscribed(self.out.text(), name, node, utf8),
        };
        let Some(selected) = question.told(wanted, name, node) else {
            return;
        };
        // RFC 5819 §2, RFC 8440 §3, RFC 9590 §3: of mailboxes that are there and selected themselves.
        let place = if selected && node.mailbox {
            self.place_of(name.clone())
        } else {
            None
        };
        let status = !wanted.status.is_empty() && node.selectable;
        if let Some(place) = place.clone().filter(|_| status) {
            let metadata = !wanted.metadata.is_empty();
            listing.rest = Some(Rest {
                place,
                status,
                metadata,
                line: Some(at),
            });
            return;
        }
        question.write(self.out.text(), wanted, name, node, utf8, node.selectable);
        let Some(place) = place else {
            return;
        };
        if wanted.rights {
            let rights = node.rights;
            self.write_my_rights(&place, rights);
        }
        if !wanted.metadata.is_empty() {
            listing.rest = Some(Rest {
                place,
                status: false,
                metadata: true,
                line: None,
            });
        }
    }

    /// What LIST returns of a mailbox beside its line. What cannot be had is left out.
    pub(super) fn listing_told(&mut self, mut listing: Box<Listing>, reply: Reply) {
        let utf8 = self.enabled.utf8_names();
        if let (Some(mut rest), Kind::List(wanted)) = (listing.rest.take(), &listing.question.kind) {
            let line = rest.line.take().and_then(|at| listing.nodes.get(at));
            match reply {
                Reply::Status(result) => {
                    if let Some((name, node)) = line {
                        // RFC 5819 §2: what has no status cannot be selected.
                        let selectable = !matches!(
                            result,
                            Err(Refusal::NoSuchMailbox | Refusal::NotPermitted | Refusal::NotPossible)
                        );
                        let out = self.out.text();
                        listing.question.write(out, wanted, name, node, utf8, selectable);
                        if wanted.rights {
                            self.write_my_rights(&rest.place, node.rights);
                        }
                    }
                    if let Ok(status) = result {
                        self.write_status(&rest.place, &wanted.status, &status);
                    }
                    rest.status = false;
                    listing.rest = Some(rest);
                }
                Reply::Annotations(result) => {
                    if let Ok(all) = result {
                        self.write_list_metadata(&rest.place, &wanted.metadata, &all);
                    }
                }
                _ => return self.internal("wrong kind of reply for LIST"),
            }
        }
        self.phase = Phase::Job(Job::Listing(listing));
    }
}

/// The attributes of one mailbox of the list, as LIST tells them.
pub(super) fn attributes_of(entries: Vec<MailboxEntry>, name: &MailboxName) -> Vec<&'static str> {
    let nodes = tree(entries, Vec::new());
    let found = nodes.iter().find(|(other, _)| other == name);
    found
        .map(|(_, node)| node.attributes(true, true))
        .unwrap_or_default()
}

impl Rest {
    fn next_call(&self) -> Option<Call> {
        let Place { account, mailbox } = self.place.clone();
        if self.status {
            return Some(Call::Status { account, mailbox });
        }
        self.metadata.then(|| Call::Annotations {
            about: Annotated::Mailbox(account, mailbox),
        })
    }
}

impl Listing {
    /// RECURSIVEMATCH: marks what is above names that are selected, one step. False: there is nothing more to be marked.
    fn mark(&mut self) -> bool {
        let Kind::List(wanted) = &self.question.kind else {
            return false;
        };
        if !wanted.recursive || self.marked == self.nodes.len() {
            return false;
        }
        let patterns: usize = self.question.patterns.iter().map(String::len).sum();
        let mut cost = 0;
        for _ in 0..STEP_NAMES {
            let Some((name, node)) = self.nodes.get(self.marked) else {
                break;
            };
            self.marked += 1;
            if !wanted.selects(node) {
                continue;
            }
            let hidden = !self.question.matches(name);
            let mut above = name.parent();
            cost += patterns * name.as_str().len();
            while let Some(name) = above {
                above = name.parent();
                let at = self.nodes.binary_search_by(|(other, _)| other.cmp(&name));
                if let Some((_, node)) = at.ok().and_then(|at| self.nodes.get_mut(at)) {
                    node.below = true;
                    node.hidden_below |= hidden;
                }
            }
            if cost >= STEP_COST {
                break;
            }
        }
        true
    }
}

impl Wanted {
    /// Whether a name is selected, were it matched.
    fn selects(&self, node: &Node) -> bool {
        let there = if self.subscribed {
            node.subscribed
        } else {
            node.mailbox
        };
        there && (!self.special_use || !node.special_use.is_empty())
    }
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

    /// Whether a pattern may match names of other accounts' mailboxes.
    fn reaches_others(&self) -> bool {
        if let Kind::Lsub = self.kind {
            return false;
        }
        self.patterns.iter().any(|pattern| {
            let fixed = pattern.split(['%', '*']).next().unwrap_or_default();
            let len = fixed.len().min(OTHER_USERS.len());
            fixed
                .get(..len)
                .is_some_and(|front| OTHER_USERS.starts_with(front))
        })
    }

    /// Whether a name is told, and then whether it is selected itself, not only for what is below.
    fn told(&self, wanted: &Wanted, name: &MailboxName, node: &Node) -> Option<bool> {
        if wanted.selects(node) {
            return self.matches(name).then_some(true);
        }
        // RFC 5258 §3.3: something below is selected, and no line tells of it.
        let for_below = wanted.recursive && node.hidden_below && self.matches(name);
        // A level without a mailbox is told where it is all that is seen of those below; to clients of old also elsewhere.
        let seen = node.children && self.matches_level(name);
        let level = seen || (!wanted.extended && node.exists && self.matches(name));
        let unfiltered = !wanted.subscribed && !wanted.special_use;
        (for_below || (unfiltered && level)).then_some(false)
    }

    /// `* LIST (attributes) "/" name [("CHILDINFO" (criteria))]`.
    fn write(
        &self,
        out: &mut Vec<u8>,
        wanted: &Wanted,
        name: &MailboxName,
        node: &Node,
        utf8: bool,
        selectable: bool,
    ) {
        let mut attributes = node.attributes(wanted.extended, wanted.tell_subscribed);
        if !selectable && node.selectable {
            attributes.insert(0, "\\Noselect");
        }
        line(out, "LIST", &attributes, name, utf8);
        if wanted.recursive && node.below {
            out.extend_from_slice(b" (\"CHILDINFO\" (");
            let criteria = [
                (wanted.subscribed, "\"SUBSCRIBED\""),
                (wanted.special_use, "\"SPECIAL-USE\""),
            ];
            response::words(out, criteria.iter().filter(|(on, _)| *on).map(|(_, word)| *word));
            out.extend_from_slice(b"))");
        }
        response::end(out);
    }

    fn tell_subscribed(&self, out: &mut Vec<u8>, name: &MailboxName, node: &Node, utf8: bool) {
        if node.subscribed {
            if self.matches(name) {
                line(out, "LSUB", &[], name, utf8);
                response::end(out);
            }
        } else if node.subscribed_below && self.matches_level(name) {
            line(out, "LSUB", &["\\Noselect"], name, utf8);
            response::end(out);
        }
    }
}

/// A line without its end.
fn line(out: &mut Vec<u8>, word: &str, attributes: &[&'static str], name: &MailboxName, utf8: bool) {
    out.extend_from_slice(b"* ");
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b" (");
    response::words(out, attributes.iter().copied());
    out.extend_from_slice(b") \"/\" ");
    response::mailbox(out, name, utf8);
}
