//! SEARCH (RFC 9051 §6.4.4, RFC 4731), and what SORT, THREAD and ESEARCH have in common with it: which messages match, and
//! how a client is told.

use core::time::Duration;

use super::context::Refresh;
use super::job::Job;
use super::multisearch::Elsewhere;
use super::search_program::{Look, Resolved};
use super::search_result::{Answer, Correlator};
use super::view::View;
use super::{Call, Phase, Session, Then, refusal};
use crate::imap::command::{self, FetchItem, Returns, Verb};
use crate::imap::response;
use crate::mailbox::{ModSeq, Uid, UidSet};
use crate::refusal::Refusal;
use crate::time::Mono;

/// A client is told how far a long command is in this time (RFC 9585 §4).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(12);

/// A SEARCH, SORT, THREAD or ESEARCH being answered; or a context being brought up to date.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) tag: String,
    pub(super) uid: bool,
    pub(super) verb: Verb,
    /// What an ESEARCH response holds; `None`: it is answered as before RFC 4731.
    pub(super) returns: Option<Returns>,
    /// What UPDATE is to fetch of messages that arrive.
    pub(super) update_items: Vec<FetchItem>,
    /// MODSEQ is in the program: the result tells one (RFC 7162 §3.1.5).
    pub(super) mod_seq: bool,
    /// Expunges may be told before its end: it speaks of UIDs, and so did its program (RFC 7162 §3.2.10.2).
    pub(super) expunges: bool,
    pub(super) look: Look,
    /// ESEARCH: where it is at, and where else it looks.
    pub(super) elsewhere: Option<Box<Elsewhere>>,
    /// This is no command, but what a command changed.
    pub(super) refresh: Option<Box<Refresh>>,
    /// The response, once everything is known.
    pub(super) answer: Option<Answer>,
    /// When the client was last told something of it.
    pub(super) told: Mono,
}

impl Session {
    /// SEARCH and its like.
    pub(super) fn search(&mut self, tag: String, mut search: command::Search) {
        let returns = self.returns_of(&search);
        if let Some(problem) = self.search_problem(&tag, &search) {
            return self.refuse_bad(&tag, problem);
        }
        if !search.charset_known && search.filters.is_some() {
            // RFC 5466 §3.1: those are in UTF-8.
            return self.refuse_bad(&tag, "[BADCHARSET (US-ASCII UTF-8)] Unknown charset");
        }
        if !search.charset_known {
            self.forget_saved(returns.as_ref());
            let text = "NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset";
            return self.complete_with(tag, text, search.uid && !search.key.has_numbers());
        }
        if let Some(filters) = search.filters.take() {
            return self.look_up_filters(tag, search, filters);
        }
        if search.key.has_mod_seq() {
            self.enable_condstore();
        }
        if let Verb::MultiSearch(sources) = search.verb {
            return self.multi_search(tag, sources, returns.unwrap_or_default(), search.key);
        }
        let Some(open) = self.selected.as_ref() else {
            return self.internal("SEARCH without a mailbox");
        };
        let program = Resolved::new(&search.key, &open.view, self.now.unix);
        let search = Search {
            tag,
            uid: search.uid,
            verb: search.verb,
            returns,
            update_items: search.update_items,
            mod_seq: search.key.has_mod_seq(),
            expunges: search.uid && !search.key.has_numbers(),
            look: Look::new(program, &open.view, None),
            elsewhere: None,
            refresh: None,
            answer: None,
            told: self.now.mono,
        };
        self.phase = Phase::Job(Job::Search(Box::new(search)));
    }

    /// What an ESEARCH response is to hold, if there is to be one: RFC 9051 knows no other.
    fn returns_of(&self, search: &command::Search) -> Option<Returns> {
        let all = Returns {
            all: true,
            ..Returns::default()
        };
        match &search.verb {
            Verb::Search if self.enabled.rev2 => Some(search.returns.unwrap_or(all)),
            Verb::MultiSearch(_) => Some(search.returns.unwrap_or(all)),
            _ => search.returns,
        }
    }

    /// What is wrong with the options of a command.
    fn search_problem(&self, tag: &str, search: &command::Search) -> Option<&'static str> {
        let returns = search.returns?;
        let open = self.selected.as_ref();
        if returns.update && open.is_none() {
            return Some("UPDATE needs a selected mailbox");
        }
        if returns.update && open.is_some_and(|open| open.contexts.has(tag)) {
            return Some("Tag reuse");
        }
        // RFC 7377 §2.2.
        match &search.verb {
            Verb::MultiSearch(sources)
                if (returns.save || returns.update)
                    && sources.iter().any(|source| *source != command::Source::Selected) =>
            {
                Some("SAVE and UPDATE are for the selected mailbox alone")
            }
            _ => None,
        }
    }

    /// A SEARCH with SAVE that was refused leaves nothing in `$` (RFC 5182 §2.1).
    pub(super) fn forget_saved(&mut self, returns: Option<&Returns>) {
        if let Some(open) = self
            .selected
            .as_mut()
            .filter(|_| returns.is_some_and(|returns| returns.save))
        {
            open.view.save(UidSet::new());
        }
    }

    /// Ends a search that cannot be done.
    pub(super) fn refuse_search(&mut self, search: Search, refused: Refusal) {
        if let Some(refresh) = search.refresh {
            return self.give_up_refresh(*refresh);
        }
        self.forget_saved(search.returns.as_ref());
        self.complete_with(search.tag, refusal::no(refused), search.expunges);
    }

    /// One step of searching, or of telling.
    pub(super) fn step_search(&mut self, mut search: Box<Search>) {
        if let Some(answer) = search.answer.as_mut() {
            if answer.write(&mut self.out) {
                return self.search_told(search);
            }
            self.out.pause();
            self.phase = Phase::Job(Job::Search(search));
            return;
        }
        let selected = self.selected.as_ref().map(|open| (&open.mailbox, &open.view));
        let other = search.elsewhere.as_ref().and_then(|other| other.open());
        let Some((mailbox, view)) = other.or(selected) else {
            return self.internal("SEARCH without a mailbox");
        };
        search.look.step(view);
        if let Some(uids) = search.look.question() {
            let call = Call::Search {
                mailbox: mailbox.clone(),
                uids,
                program: search.look.program.key.clone(),
            };
            let (done, all) = (search.look.done, search.look.all);
            self.tell_progress(&mut search, done, Some(all));
            return self.call(call, Then::Found(search));
        }
        self.searched(search);
    }

    /// Which of the candidates match.
    pub(super) fn found(&mut self, mut search: Box<Search>, result: Result<UidSet, Refusal>) {
        match result {
            Ok(uids) => {
                search.look.answer(&uids);
                self.searched(search);
            }
            Err(refused) if search.elsewhere.is_some() => self.elsewhere_failed(search, refused),
            Err(refused) => self.refuse_search(*search, refused),
        }
    }

    /// Goes on looking, or on to what is done with the messages.
    fn searched(&mut self, mut search: Box<Search>) {
        if !search.look.is_over() {
            self.out.pause();
            self.phase = Phase::Job(Job::Search(search));
            return;
        }
        if search.refresh.is_some() {
            return self.refresh_found(search);
        }
        match &search.verb {
            Verb::Search => self.answer_search(search),
            Verb::MultiSearch(_) => self.found_elsewhere(search),
            Verb::Sort(_) | Verb::Thread(_) => self.rank(search),
        }
    }

    /// The messages that match are known: in the order of the mailbox.
    fn answer_search(&mut self, mut search: Box<Search>) {
        let Some(open) = self.selected.as_mut() else {
            return self.internal("SEARCH without a mailbox");
        };
        let found = core::mem::take(&mut search.look.found);
        if search.returns.is_some_and(|returns| returns.save) {
            let saved = saved(&open.view, search.returns.as_ref(), &found);
            open.view.save(saved);
        }
        self.watch_context(&search, &found, None);
        let Some(open) = self.selected.as_ref() else {
            return;
        };
        self.answer_with(search, &open_view(&open.view, &found));
    }

    /// Tells the result: messages in its order, each with number, UID, MODSEQ.
    pub(super) fn answer_with(&mut self, mut search: Box<Search>, result: &[Hit]) {
        let numbers = result
            .iter()
            .map(|hit| if search.uid { hit.uid.0 } else { hit.number })
            .collect();
        let word = if matches!(search.verb, Verb::Sort(_)) {
            "SORT"
        } else {
            "SEARCH"
        };
        let modseq = search
            .mod_seq
            .then(|| highest(search.returns.as_ref(), result))
            .flatten();
        let answer = match &search.returns {
            Some(returns) if is_silent(returns) => return self.search_told(search),
            Some(returns) => {
                let of = Correlator {
                    tag: &search.tag,
                    mailbox: None,
                    uid: search.uid,
                };
                Answer::extended(of, returns, numbers, modseq)
            }
            None => Answer::numbers(word, numbers, modseq),
        };
        search.answer = Some(answer);
        self.phase = Phase::Job(Job::Search(search));
    }

    /// All is told.
    fn search_told(&mut self, search: Box<Search>) {
        if search.elsewhere.is_some() {
            return self.next_elsewhere(search);
        }
        let text = match (&search.verb, search.uid) {
            (Verb::Search, false) => "OK SEARCH completed",
            (Verb::Search, true) => "OK UID SEARCH completed",
            (Verb::Sort(_), false) => "OK SORT completed",
            (Verb::Sort(_), true) => "OK UID SORT completed",
            (Verb::Thread(_), false) => "OK THREAD completed",
            (Verb::Thread(_), true) => "OK UID THREAD completed",
            (Verb::MultiSearch(_), _) => "OK ESEARCH completed",
        };
        self.complete_with(search.tag, text, search.expunges);
    }

    /// Tells how far a long command is, now and then (RFC 9585 §4).
    pub(super) fn tell_progress(&mut self, search: &mut Search, done: u64, all: Option<u64>) {
        if self.now.mono - search.told < PROGRESS_INTERVAL || search.refresh.is_some() {
            return;
        }
        if all.is_some_and(|all| done >= all) {
            return;
        }
        search.told = self.now.mono;
        let out = self.out.text();
        out.extend_from_slice(b"* OK [INPROGRESS (");
        if search.tag.contains(']') {
            out.extend_from_slice(b"NIL");
        } else {
            out.push(b'"');
            out.extend_from_slice(search.tag.as_bytes());
            out.push(b'"');
        }
        out.push(b' ');
        response::number(out, done);
        out.push(b' ');
        match all {
            Some(all) => response::number(out, all),
            None => out.extend_from_slice(b"NIL"),
        }
        out.extend_from_slice(b")] Still searching\r\n");
    }
}

/// A message of a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) number: u32,
    pub(super) uid: Uid,
    modseq: ModSeq,
}

impl Hit {
    /// The message at a position of the view.
    pub(super) fn at(view: &View, rank: u32) -> Option<Self> {
        let row = view.told().get(usize::try_from(rank).ok()?)?;
        Some(Self {
            number: rank + 1,
            uid: row.uid,
            modseq: view.told().modseq(row),
        })
    }
}

/// The messages at these positions.
pub(super) fn open_view(view: &View, ranks: &[u32]) -> Vec<Hit> {
    ranks.iter().filter_map(|rank| Hit::at(view, *rank)).collect()
}

/// Whether no response is sent: SAVE alone (RFC 5182 §1).
pub(super) fn is_silent(returns: &Returns) -> bool {
    let shows = returns.min || returns.max || returns.all || returns.count || returns.partial.is_some();
    returns.save && !shows
}

/// What SAVE saves (RFC 5182 §2.4, RFC 9394 §3.2).
fn saved(view: &View, returns: Option<&Returns>, found: &[u32]) -> UidSet {
    let hits = open_view(view, found);
    told_of(returns, &hits).into_iter().map(|hit| hit.uid).collect()
}

/// The highest MODSEQ of the messages that are told (RFC 4731 §3.2); none if no message is.
pub(super) fn highest(returns: Option<&Returns>, result: &[Hit]) -> Option<ModSeq> {
    told_of(returns, result).into_iter().map(|hit| hit.modseq).max()
}

/// The messages that MIN, MAX and PARTIAL show if nothing else is asked for; else all.
pub(super) fn told_of(returns: Option<&Returns>, result: &[Hit]) -> Vec<Hit> {
    let Some(returns) = returns.filter(|returns| {
        let some = returns.min || returns.max || returns.partial.is_some();
        some && !returns.all && !returns.count
    }) else {
        return result.to_vec();
    };
    let part = returns
        .partial
        .and_then(|range| result.get(range.of(result.len())))
        .unwrap_or_default();
    let first = result.first().filter(|_| returns.min);
    let last = result.last().filter(|_| returns.max);
    part.iter().chain(first).chain(last).copied().collect()
}
