//! SEARCH (RFC 9051 §6.4.4): what rows can answer is answered here, in steps; what needs content is asked in batches.

use std::sync::Arc;

use super::job::{Job, Output, STEP_ROWS};
use super::view::{Cursor, View};
use super::{Call, Phase, Session, Then, refusal};
use crate::imap::command;
use crate::imap::response;
use crate::mailbox::{Uid, UidSet};
use crate::refusal::Refusal;
use crate::search::{Key, Program};

/// Messages of one question to the service.
const CANDIDATES: usize = 256;

/// Octets of the messages of one question, but for the last one.
const CANDIDATE_OCTETS: u64 = 8 << 20;

/// What one step may cost, as [`Program::cost`] counts.
const STEP_COST: usize = 1_000_000;

/// A SEARCH being answered.
#[derive(Debug)]
pub(super) struct Search {
    tag: String,
    uid: bool,
    /// The program, without sequence numbers.
    program: Arc<Key>,
    /// The same for rows.
    compiled: Program,
    cursor: Cursor,
    /// Messages that rows do not decide: the number to tell, and the UID.
    candidates: Vec<(u32, Uid)>,
    /// Octets of them.
    octets: u64,
    /// Numbers to tell.
    found: Vec<u32>,
    /// How many of them are told; none before the search is over.
    told: Option<usize>,
}

impl Session {
    /// SEARCH.
    pub(super) fn search(&mut self, tag: String, search: &command::Search) {
        if !search.charset_known {
            let text = "NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset";
            return self.complete_with(tag, text, search.uid);
        }
        let Some(open) = self.selected.as_ref() else {
            return self.internal("SEARCH without a mailbox");
        };
        let program = resolve(&search.key, &open.view);
        let search = Search {
            tag,
            uid: search.uid,
            cursor: Cursor::new(open.view.uid_ranks(&span(&program))),
            compiled: Program::new(&program),
            program: Arc::new(program),
            candidates: Vec::new(),
            octets: 0,
            found: Vec::new(),
            told: None,
        };
        self.phase = Phase::Job(Job::Search(Box::new(search)));
    }

    /// One step of searching, or of telling.
    pub(super) fn step_search(&mut self, mut search: Box<Search>) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("SEARCH without a mailbox");
        };
        if search.told.is_some() {
            if search.write(&mut self.out) {
                let text = if search.uid {
                    "OK UID SEARCH completed"
                } else {
                    "OK SEARCH completed"
                };
                return self.complete_with(search.tag, text, search.uid);
            }
        } else {
            search.look(&open.view);
            if search.must_ask() {
                let call = Call::Search {
                    mailbox: open.mailbox.clone(),
                    uids: search.candidates.iter().map(|(_, uid)| *uid).collect(),
                    program: Arc::clone(&search.program),
                };
                return self.call(call, Then::Found(search));
            }
            search.end_if_over();
        }
        self.out.pause();
        self.phase = Phase::Job(Job::Search(search));
    }

    /// Which of the candidates match.
    pub(super) fn found(&mut self, mut search: Box<Search>, result: Result<UidSet, Refusal>) {
        let uids = match result {
            Ok(uids) => uids,
            Err(refused) => {
                let (tag, uid) = (search.tag, search.uid);
                return self.complete_with(tag, refusal::no(refused), uid);
            }
        };
        let candidates = core::mem::take(&mut search.candidates);
        search.octets = 0;
        let matching = candidates.into_iter().filter(|(_, uid)| uids.contains(*uid));
        search.found.extend(matching.map(|(number, _)| number));
        search.end_if_over();
        self.phase = Phase::Job(Job::Search(search));
    }
}

impl Search {
    /// Looks at some rows.
    fn look(&mut self, view: &View) {
        let mut left = (STEP_COST / self.compiled.cost().max(1)).clamp(1, STEP_ROWS);
        while let Some(run) = self.cursor.run() {
            let mut next = run.start;
            for (rank, row) in run.zip(view.told().iter_from(next)) {
                if left == 0 || self.has_enough() {
                    break;
                }
                left -= 1;
                next = rank + 1;
                let number = if self.uid {
                    row.uid.0
                } else {
                    u32::try_from(rank + 1).unwrap_or(u32::MAX)
                };
                match self.compiled.eval_row(row, view.told_keywords()) {
                    Some(true) => self.found.push(number),
                    Some(false) => {}
                    None => {
                        self.candidates.push((number, row.uid));
                        self.octets += u64::from(row.size);
                    }
                }
            }
            self.cursor.advance_to(next);
            if left == 0 || self.has_enough() {
                return;
            }
        }
    }

    /// Whether there are candidates for one question.
    fn has_enough(&self) -> bool {
        self.candidates.len() >= CANDIDATES || self.octets >= CANDIDATE_OCTETS
    }

    /// Whether the service has to be asked before more rows are looked at.
    fn must_ask(&self) -> bool {
        self.has_enough() || (self.cursor.is_done() && !self.candidates.is_empty())
    }

    /// Telling begins when there is nothing more to look at.
    fn end_if_over(&mut self) {
        if self.cursor.is_done() && self.candidates.is_empty() {
            self.found.sort_unstable();
            self.told = Some(0);
        }
    }

    /// Tells some. True: all is told.
    fn write(&mut self, out: &mut Output) -> bool {
        let told = self.told.unwrap_or(0);
        if told == 0 {
            out.text().extend_from_slice(b"* SEARCH");
        }
        let mut now = told;
        for number in self.found.iter().skip(told) {
            out.text().push(b' ');
            response::number(out.text(), *number);
            now += 1;
            if out.is_full() {
                break;
            }
        }
        self.told = Some(now);
        let all = now == self.found.len();
        if all {
            out.text().extend_from_slice(b"\r\n");
        }
        all
    }
}

/// The program with UIDs in place of what means something only in this session. The parser bounds the depth.
fn resolve(key: &Key, view: &View) -> Key {
    match key {
        Key::And(keys) => Key::And(keys.iter().map(|key| resolve(key, view)).collect()),
        Key::Or(pair) => Key::Or(Box::new((resolve(&pair.0, view), resolve(&pair.1, view)))),
        Key::Not(key) => Key::Not(Box::new(resolve(key, view))),
        Key::Sequence(set) => Key::Uids(view.uids(&view.number_ranks(set))),
        Key::UidSequence(set) => {
            let highest = view.told().last_uid().unwrap_or_default();
            Key::Uids(set.resolve(highest.0))
        }
        Key::Recent => Key::Uids(view.recent().uids().clone()),
        other => other.clone(),
    }
}

/// Messages outside of it cannot match.
fn span(program: &Key) -> UidSet {
    let uids = match program {
        Key::Uids(uids) => Some(uids),
        Key::And(keys) => keys
            .iter()
            .filter_map(|key| match key {
                Key::Uids(uids) => Some(uids),
                _ => None,
            })
            .min_by_key(|uids| uids.len()),
        _ => None,
    };
    uids.cloned()
        .unwrap_or_else(|| UidSet::from_ranges([(1, u32::MAX)]))
}
