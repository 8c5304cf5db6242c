//! What a search program means in a session's view and at this moment, and the looking for messages that match it.

use std::sync::Arc;

use super::job::STEP_ROWS;
use super::view::{Cursor, View};
use crate::mailbox::{Uid, UidSet};
use crate::search::{Key, Program};
use crate::time::Unix;

/// Messages of one question to the service.
const CANDIDATES: usize = 256;

/// The same where the service has what is asked in memory, or in few reads.
const LIGHT_CANDIDATES: usize = 4_096;

/// Octets of the messages of one question, but for the last one.
const CANDIDATE_OCTETS: u64 = 8 << 20;

/// Things looked for in content that a call of so many messages may ask for.
const TESTS_OF_A_CALL: usize = 8;

/// What one step may cost, as [`Program::cost`] counts.
const STEP_COST: usize = 1_000_000;

/// A program without anything that only the session knows, for the service and for rows.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) key: Arc<Key>,
    pub(super) rows: Arc<Program>,
}

impl Resolved {
    pub(super) fn new(key: &Key, view: &View, now: Unix) -> Self {
        let key = resolve(key, view, now);
        Self {
            rows: Arc::new(Program::new(&key)),
            key: Arc::new(key),
        }
    }
}

/// Looking for messages of a view that match a program. What rows can answer is answered in steps, and what needs
/// content is asked in batches.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) program: Resolved,
    cursor: Cursor,
    /// Messages that rows do not decide, as positions in the view and UIDs.
    candidates: Vec<(u32, Uid)>,
    /// Octets of them.
    octets: u64,
    /// Positions of those that match.
    pub(super) found: Vec<u32>,
    /// Messages that were looked at, of how many.
    pub(super) done: u64,
    pub(super) all: u64,
}

impl Look {
    /// Among all messages of the view, or these.
    pub(super) fn new(program: Resolved, view: &View, among: Option<&UidSet>) -> Self {
        let span = span(&program.key);
        let span = among.map_or(span.clone(), |among| among.and(&span));
        let ranks = view.uid_ranks(&span);
        Self {
            program,
            all: ranks.iter().map(|range| range.len() as u64).sum(),
            done: 0,
            cursor: Cursor::new(ranks),
            candidates: Vec::new(),
            octets: 0,
            found: Vec::new(),
        }
    }

    /// Looks at some rows.
    pub(super) fn step(&mut self, view: &View) {
        let rows = Arc::clone(&self.program.rows);
        let mut left = (STEP_COST / rows.cost().max(1)).clamp(1, STEP_ROWS);
        while let Some(run) = self.cursor.run() {
            let mut next = run.start;
            for (rank, row) in run.zip(view.told().iter_from(next)) {
                if left == 0 || self.has_enough() {
                    break;
                }
                left -= 1;
                next = rank + 1;
                self.done += 1;
                let rank = u32::try_from(rank).unwrap_or(u32::MAX);
                match rows.eval_row(row, view.told_keywords()) {
                    Some(true) => self.found.push(rank),
                    Some(false) => {}
                    None => {
                        self.candidates.push((rank, row.uid));
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

    /// What the service has to be asked before more rows are looked at.
    pub(super) fn question(&self) -> Option<UidSet> {
        let ask = self.has_enough() || (self.cursor.is_done() && !self.candidates.is_empty());
        ask.then(|| self.candidates.iter().map(|(_, uid)| *uid).collect())
    }

    /// Which of those that were asked for match.
    pub(super) fn answer(&mut self, matching: &UidSet) {
        let matching = self
            .candidates
            .drain(..)
            .filter(|(_, uid)| matching.contains(*uid));
        self.found.extend(matching.map(|(rank, _)| rank));
        self.octets = 0;
    }

    /// Whether there is nothing more to look at; then what is found is in order.
    pub(super) fn is_over(&mut self) -> bool {
        let over = self.cursor.is_done() && self.candidates.is_empty();
        if over {
            self.found.sort_unstable();
        }
        over
    }

    fn has_enough(&self) -> bool {
        // Each thing that is looked for costs something of its own: the more there are, the fewer messages are one call.
        let rows = &self.program.rows;
        let dear = rows.content_tests().div_ceil(TESTS_OF_A_CALL).max(1);
        if rows.asks_gists() {
            self.candidates.len() >= (LIGHT_CANDIDATES / dear).max(1)
        } else {
            self.candidates.len() >= (CANDIDATES / dear).max(1)
                || self.octets.saturating_mul(dear as u64) >= CANDIDATE_OCTETS
        }
    }
}

/// The program with UIDs and times in place of what means something only in this client. The parser bounds the depth.
fn resolve(key: &Key, view: &View, now: Unix) -> Key {
    let before = |interval: u32| {
        let now = i64::try_from(now.secs()).unwrap_or(i64::MAX);
        now.saturating_sub(i64::from(interval))
    };
    match key {
        Key::And(keys) => Key::And(keys.iter().map(|key| resolve(key, view, now)).collect()),
        Key::Or(pair) => Key::Or(Box::new((
            resolve(&pair.0, view, now),
            resolve(&pair.1, view, now),
        ))),
        Key::Not(key) => Key::Not(Box::new(resolve(key, view, now))),
        Key::Sequence(set) => Key::Uids(view.uids(&view.number_ranks(set))),
        Key::UidSequence(set) if set.is_saved() => Key::Uids(view.saved().clone()),
        Key::UidSequence(set) => {
            let highest = view.told().last_uid().unwrap_or_default();
            Key::Uids(set.resolve(highest.0))
        }
        Key::Recent => Key::Uids(view.recent().uids().clone()),
        Key::Older(interval) => Key::ArrivedUntil(before(*interval)),
        Key::Younger(interval) => Key::ArrivedFrom(before(*interval)),
        // No message is told to have a lower one.
        Key::ModSeq(modseq) if *modseq <= view.told().floor() => Key::All,
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
