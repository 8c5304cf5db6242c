//! SORT and THREAD (RFC 5256): the messages that match are put into order by the service.

use std::sync::Arc;

use super::call::Ranking;
use super::search::{Hit, Search};
use super::search_result::Answer;
use super::view::View;
use super::{Call, Session, Then};
use crate::imap::command::Verb;
use crate::mailbox::{Uid, UidSet};
use crate::refusal::Refusal;
use crate::search::ThreadNode;

impl Session {
    /// The messages that match are known; now their order.
    pub(super) fn rank(&mut self, mut search: Box<Search>) {
        if search.look.found.is_empty() {
            return self.answer_sort(search, &[]);
        }
        let Some(open) = self.selected.as_ref() else {
            return self.internal("SORT without a mailbox");
        };
        let found = core::mem::take(&mut search.look.found);
        let uids = uids_at(&open.view, &found);
        self.ask_rank(search, Arc::new(uids), false);
    }

    /// Asks for the order of these.
    pub(super) fn ask_rank(&mut self, search: Box<Search>, uids: Arc<UidSet>, go_on: bool) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("SORT without a mailbox");
        };
        let mailbox = open.mailbox.clone();
        match &search.verb {
            Verb::Thread(algorithm) => {
                let call = Call::Thread {
                    mailbox,
                    uids: Arc::clone(&uids),
                    algorithm: *algorithm,
                    go_on,
                };
                self.call(call, Then::Threaded(search, uids));
            }
            Verb::Sort(criteria) => {
                let call = Call::Sort {
                    mailbox,
                    uids: Arc::clone(&uids),
                    criteria: criteria.clone(),
                    go_on,
                };
                self.call(call, Then::Sorted(search, uids));
            }
            _ => self.internal("an order for SEARCH"),
        }
    }

    /// The order, or how far it is.
    pub(super) fn sorted(
        &mut self,
        mut search: Box<Search>,
        uids: Arc<UidSet>,
        result: Result<Ranking<Vec<Uid>>, Refusal>,
    ) {
        match result {
            Ok(Ranking::More(done)) => {
                self.tell_progress(&mut search, done, Some(uids.len()));
                self.ask_rank(search, uids, true);
            }
            Ok(Ranking::Done(order)) if search.refresh.is_some() => self.refresh_sorted(search, &order),
            Ok(Ranking::Done(order)) => self.answer_sort(search, &order),
            Err(refused) => self.refuse_search(*search, refused),
        }
    }

    /// The threads, or how far they are.
    pub(super) fn threaded(
        &mut self,
        mut search: Box<Search>,
        uids: Arc<UidSet>,
        result: Result<Ranking<Vec<ThreadNode>>, Refusal>,
    ) {
        match result {
            Ok(Ranking::More(done)) => {
                self.tell_progress(&mut search, done, Some(uids.len()));
                self.ask_rank(search, uids, true);
            }
            Ok(Ranking::Done(threads)) => self.answer_thread(search, &threads),
            Err(refused) => self.refuse_search(*search, refused),
        }
    }

    fn answer_sort(&mut self, search: Box<Search>, order: &[Uid]) {
        if matches!(search.verb, Verb::Thread(_)) {
            return self.answer_thread(search, &[]);
        }
        let Some(open) = self.selected.as_mut() else {
            return self.internal("SORT without a mailbox");
        };
        if search.returns.is_some_and(|returns| returns.save) {
            open.view.save(order.iter().copied().collect());
        }
        let result: Vec<Hit> = order.iter().filter_map(|uid| Hit::of(&open.view, *uid)).collect();
        self.watch_context(&search, &[], Some(order));
        self.answer_with(search, &result);
    }

    fn answer_thread(&mut self, mut search: Box<Search>, threads: &[ThreadNode]) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("THREAD without a mailbox");
        };
        let uid = search.uid;
        let number = |of: Uid| {
            if uid {
                of.0
            } else {
                Hit::of(&open.view, of).map_or(0, |hit| hit.number)
            }
        };
        search.answer = Some(Answer::threads(threads, number));
        self.step_search(search);
    }
}

impl Hit {
    /// A message of the view.
    pub(super) fn of(view: &View, uid: Uid) -> Option<Self> {
        let (rank, _) = view.told().find(uid)?;
        Self::at(view, u32::try_from(rank).ok()?)
    }
}

/// The UIDs of the messages at these positions.
pub(super) fn uids_at(view: &View, ranks: &[u32]) -> UidSet {
    let row = |rank: &u32| view.told().get(usize::try_from(*rank).ok()?);
    ranks.iter().filter_map(row).map(|row| row.uid).collect()
}
