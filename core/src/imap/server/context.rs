//! Contexts (RFC 5267 §4): results of searches that are kept up to date while the mailbox is selected.
//!
//! What expunges take out of a result is told before they are; what else changed it is told once the news is told that
//! changed it. Both go by the rows that the client knows, so that numbers and UIDs are always those that it has.

use std::sync::Arc;

use super::fetch::Fetch;
use super::job::Job;
use super::news::After;
use super::search::{Hit, Search};
use super::search_program::{Look, Resolved};
use super::search_result::{Correlator, range, run_of};
use super::view::{Cursor, View};
use super::walk::{Met, Walk};
use super::{Phase, Session};
use crate::imap::command::{FetchItem, Verb};
use crate::imap::response;
use crate::mailbox::{Rows, Uid, UidSet};

/// Contexts of one session that are kept up to date.
const MAX_CONTEXTS: usize = 8;

/// Messages of a sorted result that is kept up to date: every change of it takes a sort.
const MAX_SORTED: usize = 20_000;

/// Ranges of one response.
const MAX_RANGES: usize = 500;

/// The contexts of the selected mailbox.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    all: Vec<Context>,
    /// The rows by which the results are up to date.
    seen: Rows,
}

/// A result that is kept up to date.
#[derive(Debug)]
struct Context {
    tag: String,
    uid: bool,
    program: Resolved,
    members: Members,
    /// What is fetched of messages that arrive in it (RFC 5465 §7).
    items: Vec<FetchItem>,
}

#[derive(Debug)]
enum Members {
    /// In the order of the mailbox.
    Set(UidSet),
    /// In an order of their own.
    Sorted(Verb, Vec<Uid>),
}

/// Contexts being brought up to date.
#[derive(Debug)]
pub(super) struct Refresh {
    /// The context in progress.
    at: usize,
    /// Messages that changed or came.
    changed: Arc<UidSet>,
    /// Messages of the present result that are to leave it, and those that come into it.
    removed: UidSet,
    added: UidSet,
    /// The highest UID before: a message beyond it has arrived, and is not one that only changed.
    last: Uid,
    after: After,
}

impl Contexts {
    /// Whether a command of this tag is kept up to date.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.all.iter().any(|context| context.tag == tag)
    }

    /// Tells which messages leave results because their expunge is told next (RFC 5267 §4.3.4).
    pub(super) fn expunge(&mut self, out: &mut Vec<u8>, view: &View, expunges: bool) {
        if self.all.is_empty() || !expunges {
            return;
        }
        let mut walk = Walk::new(view.told().clone(), view.latest().rows.clone());
        let mut gone = UidSet::new();
        while let Some(met) = walk.next(None) {
            if let Met::Gone(row) = met {
                gone.push(row.uid);
            }
        }
        if gone.is_empty() {
            return;
        }
        for context in &mut self.all {
            context.remove(out, view, &gone);
        }
    }

    /// The messages that changed or came since the last look; from now on they are seen.
    fn changed(&mut self, view: &View) -> UidSet {
        let mut walk = Walk::new(self.seen.clone(), view.told().clone());
        let mut changed = UidSet::new();
        while let Some(met) = walk.next(None) {
            match met {
                Met::Both(old, new) if old != new => changed.push(new.uid),
                Met::Fresh(row) => changed.push(row.uid),
                _ => {}
            }
        }
        self.seen = view.told().clone();
        changed
    }
}

impl Context {
    fn of(&self) -> Correlator<'_> {
        Correlator {
            tag: &self.tag,
            mailbox: None,
            uid: self.uid,
        }
    }

    /// As the client is told of a message.
    fn number(&self, view: &View, uid: Uid) -> u32 {
        if self.uid {
            uid.0
        } else {
            Hit::of(view, uid).map_or(0, |hit| hit.number)
        }
    }

    /// Takes messages out of the result, and tells so.
    fn remove(&mut self, out: &mut Vec<u8>, view: &View, gone: &UidSet) {
        match &mut self.members {
            Members::Set(members) => {
                let gone = members.and(gone);
                *members = members.without(&gone);
                self.tell_set(out, view, "REMOVEFROM", &gone);
            }
            Members::Sorted(_, members) => {
                // From the end, so that the positions before it hold.
                let positions: Vec<usize> = (0..members.len())
                    .rev()
                    .filter(|at| members.get(*at).is_some_and(|uid| gone.contains(*uid)))
                    .collect();
                let old = core::mem::take(members);
                *members = old.iter().copied().filter(|uid| !gone.contains(*uid)).collect();
                self.tell_positions(out, view, "REMOVEFROM", &old, &positions);
            }
        }
    }

    /// `* ESEARCH (TAG "B01") UID ADDTO (0 32768:32769)`
    fn tell_set(&self, out: &mut Vec<u8>, view: &View, item: &str, uids: &UidSet) {
        let numbers: Vec<u32> = view
            .uid_ranks(uids)
            .into_iter()
            .flatten()
            .filter_map(|rank| Hit::at(view, u32::try_from(rank).ok()?))
            .map(|hit| if self.uid { hit.uid.0 } else { hit.number })
            .collect();
        let mut rest = numbers.as_slice();
        while !rest.is_empty() {
            self.begin(out, item);
            out.extend_from_slice(b"0 ");
            rest = write_set(out, rest, MAX_RANGES);
            out.extend_from_slice(b")\r\n");
        }
    }

    /// `* ESEARCH (TAG "C01") UID ADDTO (1 2731:2733)`: the messages at these positions, from 0, of a result.
    fn tell_positions(
        &self,
        out: &mut Vec<u8>,
        view: &View,
        item: &str,
        result: &[Uid],
        positions: &[usize],
    ) {
        for some in positions.chunks(MAX_RANGES) {
            self.begin(out, item);
            let mut rest = some;
            while let Some(first) = rest.first() {
                if rest.len() < some.len() {
                    out.push(b' ');
                }
                // Neighbours that ascend are one list, at the position of the first.
                let run = rest
                    .iter()
                    .zip(*first..)
                    .take_while(|(at, next)| *at == next)
                    .count();
                let run = run.max(1);
                response::number(out, *first as u64 + 1);
                out.push(b' ');
                let numbers: Vec<u32> = rest
                    .iter()
                    .take(run)
                    .filter_map(|at| result.get(*at))
                    .map(|uid| self.number(view, *uid))
                    .collect();
                write_set(out, &numbers, usize::MAX);
                rest = rest.get(run..).unwrap_or_default();
            }
            out.extend_from_slice(b")\r\n");
        }
    }

    fn begin(&self, out: &mut Vec<u8>, item: &str) {
        self.of().write(out);
        out.push(b' ');
        out.extend_from_slice(item.as_bytes());
        out.extend_from_slice(b" (");
    }
}

/// Numbers in their order as a set of at most so many ranges; gives those that are left.
fn write_set<'a>(out: &mut Vec<u8>, numbers: &'a [u32], most: usize) -> &'a [u32] {
    let mut rest = numbers;
    for count in 0..most {
        let Some(first) = rest.first() else {
            break;
        };
        if count > 0 {
            out.push(b',');
        }
        let run = run_of(rest);
        range(out, *first, run);
        rest = rest.get(run..).unwrap_or_default();
    }
    rest
}

/// How many messages.
fn count(uids: &UidSet) -> usize {
    uids.iter().count()
}

impl Session {
    /// A search whose result is known asked for UPDATE: from now on changes of it are told. `order`: of SORT.
    pub(super) fn watch_context(&mut self, search: &Search, found: &[u32], order: Option<&[Uid]>) {
        let Some(open) = self
            .selected
            .as_mut()
            .filter(|_| search.returns.is_some_and(|returns| returns.update))
        else {
            return;
        };
        let contexts = &mut open.contexts;
        let many = order.is_some_and(|order| order.len() > MAX_SORTED);
        if many || contexts.all.len() >= MAX_CONTEXTS {
            // RFC 5267 §4.3.1.
            let why = if many {
                "The result is too long"
            } else {
                "Too many contexts"
            };
            let line = format!("* NO [NOUPDATE \"{}\"] {why}", search.tag);
            return self.out.line(&line);
        }
        if contexts.all.is_empty() {
            contexts.seen = open.view.told().clone();
        }
        let members = match order {
            Some(order) => Members::Sorted(search.verb.clone(), order.to_vec()),
            None => Members::Set(super::sort::uids_at(&open.view, found)),
        };
        contexts.all.push(Context {
            tag: search.tag.clone(),
            uid: search.uid,
            program: search.look.program.clone(),
            members,
            items: search.update_items.clone(),
        });
    }

    /// CANCELUPDATE (RFC 5267 §4.3.5). Nothing more is told of tags that are not known either.
    pub(super) fn cancel_update(&mut self, tag: String, tags: &[String]) {
        if let Some(open) = self.selected.as_mut() {
            open.contexts.all.retain(|context| !tags.contains(&context.tag));
        }
        self.complete(tag, "OK CANCELUPDATE completed");
    }

    /// Brings contexts up to date, if the client was told anything since; `None`: it is under way, and goes on by itself.
    pub(super) fn update_contexts(&mut self, after: After) -> Option<After> {
        let Some(open) = self.selected.as_mut() else {
            return Some(after);
        };
        if open.contexts.all.is_empty() || open.contexts.seen.same(open.view.told()) {
            return Some(after);
        }
        let last = open.contexts.seen.last_uid().unwrap_or(Uid(0));
        let changed = open.contexts.changed(&open.view);
        if changed.is_empty() {
            return Some(after);
        }
        self.refresh(Refresh {
            at: 0,
            changed: Arc::new(changed),
            removed: UidSet::new(),
            added: UidSet::new(),
            last,
            after,
        });
        None
    }

    /// Looks which of the changed messages match the program of the context in progress.
    fn refresh(&mut self, refresh: Refresh) {
        let context = self
            .selected
            .as_ref()
            .and_then(|open| Some((open, open.contexts.all.get(refresh.at)?)));
        let Some((open, context)) = context else {
            return self.go_on(refresh.after);
        };
        let verb = match &context.members {
            Members::Set(_) => Verb::Search,
            Members::Sorted(verb, _) => verb.clone(),
        };
        let look = Look::new(context.program.clone(), &open.view, Some(&refresh.changed));
        let search = Search {
            tag: String::new(),
            uid: true,
            verb,
            returns: None,
            update_items: Vec::new(),
            mod_seq: false,
            expunges: true,
            look,
            elsewhere: None,
            refresh: Some(Box::new(refresh)),
            answer: None,
            told: self.now.mono,
        };
        self.phase = Phase::Job(Job::Search(Box::new(search)));
    }

    /// It cannot be known now what a change means for the results: those that are not up to date end (RFC 5267 §4.3.1).
    pub(super) fn give_up_refresh(&mut self, refresh: Refresh) {
        if let Some(open) = self.selected.as_mut() {
            let kept = refresh.at.min(open.contexts.all.len());
            for context in open.contexts.all.drain(kept..) {
                let line = format!(
                    "* NO [NOUPDATE \"{}\"] The mailbox cannot be searched now",
                    context.tag
                );
                self.out.line(&line);
            }
        }
        self.go_on(refresh.after);
    }

    /// Which of the changed messages match: the context's result is changed, and the client told.
    pub(super) fn refresh_found(&mut self, mut search: Box<Search>) {
        let (Some(mut refresh), Some(open)) = (search.refresh.take(), self.selected.as_mut()) else {
            return self.internal("a context without a mailbox");
        };
        let matching = super::sort::uids_at(&open.view, &search.look.found);
        let Some(context) = open.contexts.all.get_mut(refresh.at) else {
            return self.go_on(refresh.after);
        };
        let members = match &context.members {
            Members::Set(members) => members.clone(),
            Members::Sorted(_, members) => members.iter().copied().collect(),
        };
        refresh.removed = refresh.changed.and(&members).without(&matching);
        refresh.added = matching.without(&members);
        if !refresh.removed.is_empty() {
            context.remove(self.out.text(), &open.view, &refresh.removed);
        }
        if refresh.added.is_empty() {
            return self.refresh_next(*refresh);
        }
        // What arrived is told before that it is in the result; of what only changed nothing is (RFC 5465 §7).
        let arrived = |uid: &Uid| *uid > refresh.last;
        let ranks: Vec<_> = if context.items.is_empty() {
            Vec::new()
        } else {
            let told = open.view.told();
            let found = refresh
                .added
                .iter()
                .filter(arrived)
                .filter_map(|uid| told.find(uid));
            found.map(|(rank, _)| rank..rank + 1).collect()
        };
        if ranks.is_empty() {
            return self.refresh_added(refresh, search);
        }
        let items = context.items.clone();
        search.refresh = Some(refresh);
        let fetch = Fetch::unasked(After::Context(search), items, Cursor::new(ranks), self.enabled);
        self.phase = Phase::Job(Job::Fetch(Box::new(fetch)));
    }

    /// What came into a result is told, and is part of it.
    pub(super) fn refresh_fetched(&mut self, mut search: Box<Search>) {
        match search.refresh.take() {
            Some(refresh) => self.refresh_added(refresh, search),
            None => self.internal("a context without a mailbox"),
        }
    }

    fn refresh_added(&mut self, refresh: Box<Refresh>, mut search: Box<Search>) {
        let Some(open) = self.selected.as_mut() else {
            return self.internal("a context without a mailbox");
        };
        let Some(context) = open.contexts.all.get_mut(refresh.at) else {
            return self.go_on(refresh.after);
        };
        match &mut context.members {
            Members::Set(members) => {
                let both = members.ranges().chain(refresh.added.ranges());
                *members = UidSet::from_ranges(both.map(core::ops::RangeInclusive::into_inner));
                context.tell_set(self.out.text(), &open.view, "ADDTO", &refresh.added);
                self.refresh_next(*refresh);
            }
            Members::Sorted(_, members) if members.len() + count(&refresh.added) > MAX_SORTED => {
                // RFC 5267 §4.3.1: it has become too long, as one that is so from the start. The next one is at its place.
                let ended = open.contexts.all.remove(refresh.at);
                let line = format!("* NO [NOUPDATE \"{}\"] The result is too long", ended.tag);
                self.out.line(&line);
                self.refresh(*refresh);
            }
            Members::Sorted(_, members) => {
                let all = members.iter().copied().chain(refresh.added.iter());
                let all: UidSet = all.collect();
                search.refresh = Some(refresh);
                self.ask_rank(search, Arc::new(all), false);
            }
        }
    }

    /// The order of a result with the messages that came into it.
    pub(super) fn refresh_sorted(&mut self, search: Box<Search>, order: &[Uid]) {
        let (Some(refresh), Some(open)) = (search.refresh, self.selected.as_mut()) else {
            return self.internal("a context without a mailbox");
        };
        if let Some(context) = open.contexts.all.get_mut(refresh.at) {
            let added = |at: &usize| order.get(*at).is_some_and(|uid| refresh.added.contains(*uid));
            let positions: Vec<usize> = (0..order.len()).filter(added).collect();
            context.tell_positions(self.out.text(), &open.view, "ADDTO", order, &positions);
            if let Members::Sorted(_, members) = &mut context.members {
                *members = order.to_vec();
            }
        }
        self.refresh_next(*refresh);
    }

    fn refresh_next(&mut self, mut refresh: Refresh) {
        refresh.at += 1;
        self.refresh(refresh);
    }
}
