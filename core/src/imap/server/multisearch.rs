//! ESEARCH: one search over several mailboxes (RFC 7377), one mailbox after the other.

use std::collections::{BTreeSet, VecDeque};

use super::job::Job;
use super::place::Place;
use super::recent::Recent;
use super::search::{Search, open_view};
use super::search_program::{Look, Resolved};
use super::search_result::{Answer, Correlator};
use super::view::View;
use super::{Call, MailboxEntry, Phase, Selected, Session, SharedMailbox, Then, refusal};
use crate::imap::command::{MailboxArg, Returns, Source, Verb};
use crate::imap::response;
use crate::mailbox::others::{self, OTHER_USERS};
use crate::mailbox::{MailboxName, MailboxRef, Rights, UidValidity};
use crate::refusal::Refusal;
use crate::search::Key;

/// Mailboxes of one ESEARCH.
const MAX_MAILBOXES: usize = 10_000;

/// Where an ESEARCH looks.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// As the client wrote it.
    key: Key,
    sources: Vec<Source>,
    /// What is still to be searched; `None` is the selected mailbox.
    todo: VecDeque<Option<Target>>,
    /// What is being searched.
    present: Option<Present>,
}

/// A mailbox to be searched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    place: Place,
    /// As responses name it.
    shown: MailboxName,
}

#[derive(Debug)]
struct Present {
    shown: MailboxName,
    uid_validity: UidValidity,
    /// Opened for this; `None`: it is the selected one.
    open: Option<(MailboxRef, View)>,
}

impl Elsewhere {
    /// The mailbox that is open for this, if the present one is not the selected one.
    pub(super) fn open(&self) -> Option<(&MailboxRef, &View)> {
        let (mailbox, view) = self.present.as_ref()?.open.as_ref()?;
        Some((mailbox, view))
    }
}

impl Session {
    /// ESEARCH.
    pub(super) fn multi_search(&mut self, tag: String, sources: Vec<Source>, returns: Returns, key: Key) {
        let sources = if sources.is_empty() {
            vec![Source::Selected]
        } else {
            sources
        };
        let view = View::empty();
        let program = Resolved::new(&Key::All, &view, self.now.unix);
        let lists = sources.iter().any(|source| {
            matches!(
                source,
                Source::Personal | Source::Subscribed | Source::Subtree(_) | Source::SubtreeOne(_)
            )
        });
        let search = Box::new(Search {
            tag,
            uid: true,
            verb: Verb::MultiSearch(Vec::new()),
            returns: Some(returns),
            update_items: Vec::new(),
            mod_seq: key.has_mod_seq(),
            expunges: !key.has_numbers(),
            look: Look::new(program, &view, None),
            elsewhere: Some(Box::new(Elsewhere {
                key,
                sources,
                todo: VecDeque::new(),
                present: None,
            })),
            refresh: None,
            answer: None,
            told: self.now.mono,
        });
        match self.account_name().filter(|_| lists) {
            Some(account) => self.call(Call::List { account }, Then::MultiListed(search)),
            None => self.find_sources(search, &[]),
        }
    }

    /// The account's mailboxes.
    pub(super) fn multi_listed(&mut self, search: Box<Search>, result: Result<Vec<MailboxEntry>, Refusal>) {
        let entries = match result {
            Ok(entries) => entries,
            Err(refused) => return self.complete(search.tag, refusal::no(refused)),
        };
        let sources = search.elsewhere.iter().flat_map(|elsewhere| &elsewhere.sources);
        let others = sources.into_iter().any(|source| reaches_others(source, &entries));
        match self.account_name().filter(|_| others) {
            Some(account) => self.call(Call::Shared { account }, Then::MultiShared(search, entries)),
            None => self.find_sources(search, &entries),
        }
    }

    /// The mailboxes of others that may be read are among the sources too.
    pub(super) fn multi_shared(
        &mut self,
        search: Box<Search>,
        mut entries: Vec<MailboxEntry>,
        result: Result<Vec<SharedMailbox>, Refusal>,
    ) {
        let shared = match result {
            Ok(shared) => shared,
            Err(refused) => return self.complete(search.tag, refusal::no(refused)),
        };
        let readable = Rights::LOOKUP.with(Rights::READ);
        let mut found: BTreeSet<MailboxName> = shared
            .iter()
            .filter(|mailbox| mailbox.rights.contains(readable))
            .filter_map(|mailbox| others::name_of(&mailbox.owner, &mailbox.name))
            .collect();
        for entry in &mut entries {
            // A subscription to one of them.
            entry.selectable |= found.remove(&entry.name);
        }
        entries.extend(found.into_iter().map(|name| MailboxEntry {
            name,
            selectable: true,
            exists: true,
            special_use: Vec::new(),
            subscribed: false,
            id: None,
        }));
        self.find_sources(search, &entries);
    }

    /// Which mailboxes the sources mean, each once.
    fn find_sources(&mut self, mut search: Box<Search>, entries: &[MailboxEntry]) {
        let Some(elsewhere) = search.elsewhere.as_mut() else {
            return self.internal("ESEARCH without sources");
        };
        let mut selected = false;
        let mut names: Vec<MailboxName> = Vec::new();
        let mut seen = BTreeSet::new();
        for source in core::mem::take(&mut elsewhere.sources) {
            selected |= source == Source::Selected;
            let mut more = Vec::new();
            names_of(source, entries, &mut more);
            names.extend(more.into_iter().filter(|name| seen.insert(name.clone())));
            if names.len() > MAX_MAILBOXES {
                return self.complete(search.tag, "NO [LIMIT] Too many mailboxes");
            }
        }
        let mut todo: VecDeque<Option<Target>> = selected.then_some(None).into_iter().collect();
        for shown in names {
            let Some(place) = self.place_of(shown.clone()) else {
                continue;
            };
            // The selected mailbox is searched as the client sees it.
            let again = self.selected.as_ref().is_some_and(|open| open.is_at(&place));
            if !(selected && again) {
                todo.push_back(Some(Target { place, shown }));
            }
        }
        if let Some(elsewhere) = search.elsewhere.as_mut() {
            elsewhere.todo = todo;
        }
        self.next_elsewhere(search);
    }

    /// Leaves the present mailbox and goes on to the next one.
    pub(super) fn next_elsewhere(&mut self, mut search: Box<Search>) {
        search.answer = None;
        let Some(elsewhere) = search.elsewhere.as_mut() else {
            return self.internal("ESEARCH without sources");
        };
        if let Some((mailbox, _)) = elsewhere.present.take().and_then(|present| present.open) {
            return self.call(Call::Unselect { mailbox }, Then::MultiClosed(search));
        }
        match elsewhere.todo.front() {
            None => {
                let text = "OK ESEARCH completed";
                let expunges = !elsewhere.key.has_numbers();
                self.complete_with(search.tag, text, expunges);
            }
            Some(Some(target)) => {
                let Place { account, mailbox } = target.place.clone();
                let call = Call::Select {
                    account,
                    mailbox,
                    read_only: true,
                };
                self.call(call, Then::MultiOpened(search));
            }
            Some(None) => {
                elsewhere.todo.pop_front();
                let Some(open) = self.selected.as_ref() else {
                    return self.next_elsewhere(search);
                };
                elsewhere.present = Some(Present {
                    shown: self.name_of(&Place {
                        account: open.mailbox.account.clone(),
                        mailbox: open.name.clone(),
                    }),
                    uid_validity: open.view.latest().uid_validity,
                    open: None,
                });
                let program = Resolved::new(&elsewhere.key, &open.view, self.now.unix);
                search.look = Look::new(program, &open.view, None);
                self.phase = Phase::Job(Job::Search(search));
            }
        }
    }

    /// A mailbox to be searched. What is not there, or not for us, is passed over (RFC 7377 §2.2).
    pub(super) fn multi_opened(&mut self, mut search: Box<Search>, result: Result<Selected, Refusal>) {
        let now = self.now.unix;
        let Some((elsewhere, target)) = search.elsewhere.as_mut().and_then(|elsewhere| {
            let target = elsewhere.todo.pop_front().flatten()?;
            Some((elsewhere, target))
        }) else {
            return self.internal("ESEARCH without a mailbox");
        };
        let selected = match result {
            Ok(selected) => selected,
            // Without a mailbox there is nothing to leave.
            Err(Refusal::Busy | Refusal::Unavailable | Refusal::Storage | Refusal::DiskFull) => {
                let text = "NO [UNAVAILABLE] Not all of the mailboxes can be searched now; try later";
                return self.complete(search.tag, text);
            }
            Err(_) => return self.next_elsewhere(search),
        };
        let uid_validity = selected.snapshot.uid_validity;
        let view = View::new(selected.snapshot, Recent::unclaimed(selected.recent_from));
        let program = Resolved::new(&elsewhere.key, &view, now);
        search.look = Look::new(program, &view, None);
        elsewhere.present = Some(Present {
            shown: target.shown,
            uid_validity,
            open: Some((selected.mailbox, view)),
        });
        self.phase = Phase::Job(Job::Search(search));
    }

    /// The present mailbox cannot be searched any more. One that has gone meanwhile is passed over.
    pub(super) fn elsewhere_failed(&mut self, mut search: Box<Search>, refused: Refusal) {
        let elsewhere = search.elsewhere.as_mut();
        let other = elsewhere
            .as_ref()
            .is_some_and(|elsewhere| elsewhere.open().is_some());
        if other && refused == Refusal::NoSuchMailbox {
            return self.next_elsewhere(search);
        }
        self.forget_saved(search.returns.as_ref());
        let present = elsewhere.and_then(|elsewhere| elsewhere.present.take());
        let text = refusal::no(refused);
        match present.and_then(|present| present.open) {
            Some((mailbox, _)) => {
                self.call(
                    Call::Unselect { mailbox },
                    Then::Unselected(search.tag, text.into()),
                );
            }
            None => self.complete(search.tag, text),
        }
    }

    /// The messages of the present mailbox that match: told if there are any.
    pub(super) fn found_elsewhere(&mut self, mut search: Box<Search>) {
        let found = core::mem::take(&mut search.look.found);
        let returns = search.returns.unwrap_or_default();
        let Some(present) = search
            .elsewhere
            .as_ref()
            .and_then(|elsewhere| elsewhere.present.as_ref())
        else {
            return self.internal("ESEARCH without a mailbox");
        };
        let hits = match (&present.open, self.selected.as_mut()) {
            (Some((_, view)), _) => open_view(view, &found),
            (None, Some(open)) => {
                let hits = open_view(&open.view, &found);
                if returns.save {
                    open.view.save(
                        super::search::told_of(Some(&returns), &hits)
                            .iter()
                            .map(|hit| hit.uid)
                            .collect(),
                    );
                }
                hits
            }
            (None, None) => return self.internal("ESEARCH without a mailbox"),
        };
        if present.open.is_none() {
            self.watch_context(&search, &found, None);
        }
        if hits.is_empty() || super::search::is_silent(&returns) {
            return self.next_elsewhere(search);
        }
        let mut name = Vec::new();
        response::mailbox(&mut name, &present.shown, self.enabled.utf8_names());
        let of = Correlator {
            tag: &search.tag,
            mailbox: Some((&name, present.uid_validity)),
            uid: true,
        };
        let numbers = hits.iter().map(|hit| hit.uid.0).collect();
        let modseq = search
            .mod_seq
            .then(|| super::search::highest(Some(&returns), &hits))
            .flatten();
        let answer = Answer::extended(of, &returns, numbers, modseq);
        search.answer = Some(answer);
        self.phase = Phase::Job(Job::Search(search));
    }
}

/// Whether a source can mean mailboxes of others that it does not name.
fn reaches_others(source: &Source, entries: &[MailboxEntry]) -> bool {
    match source {
        Source::Subtree(tops) | Source::SubtreeOne(tops) => tops.iter().flatten().any(is_of_others),
        Source::Subscribed => entries
            .iter()
            .any(|entry| entry.subscribed && is_of_others(&entry.name)),
        _ => false,
    }
}

/// Whether a name is that of the level above others' mailboxes, or below it.
fn is_of_others(name: &MailboxName) -> bool {
    core::iter::successors(Some(name.clone()), MailboxName::parent).any(|name| name.as_str() == OTHER_USERS)
}

/// Adds the mailboxes that a source means.
fn names_of(source: Source, entries: &[MailboxEntry], names: &mut Vec<MailboxName>) {
    let selectable = || entries.iter().filter(|entry| entry.selectable);
    // A name that no mailbox can have means none.
    let known = |args: Vec<MailboxArg>| args.into_iter().filter_map(Result::ok);
    match source {
        Source::Selected => {}
        // Mail is delivered nowhere else.
        Source::Inboxes => names.extend(MailboxName::new("INBOX")),
        Source::Personal => {
            let own = selectable().filter(|entry| !is_of_others(&entry.name));
            names.extend(own.map(|entry| entry.name.clone()));
        }
        Source::Subscribed => {
            let subscribed = selectable().filter(|entry| entry.subscribed);
            names.extend(subscribed.map(|entry| entry.name.clone()));
        }
        Source::Mailboxes(args) => names.extend(known(args)),
        Source::Subtree(args) => {
            let tops: BTreeSet<MailboxName> = known(args).collect();
            let below = selectable().filter(|entry| is_below(&entry.name, &tops, MailboxName::MAX_LEVELS));
            names.extend(below.map(|entry| entry.name.clone()));
        }
        Source::SubtreeOne(args) => {
            let tops: BTreeSet<MailboxName> = known(args).collect();
            let below = selectable().filter(|entry| is_below(&entry.name, &tops, 2));
            names.extend(below.map(|entry| entry.name.clone()));
        }
    }
}

/// Whether a name, or one less than so many levels above it, is one of these.
fn is_below(name: &MailboxName, tops: &BTreeSet<MailboxName>, levels: usize) -> bool {
    core::iter::successors(Some(name.clone()), MailboxName::parent)
        .take(levels)
        .any(|name| tops.contains(&name))
}
