//! The order of messages, for SORT and THREAD.

use std::sync::{Arc, Mutex};

use rmail_core::imap::server::Ranking;
use rmail_core::mailbox::{KeywordSet, MailboxRef, ModSeq, Row, Snapshot, SystemFlags, Uid, UidSet};
use rmail_core::refusal::Refusal;
use rmail_core::search::{Algorithm, Criterion, Gists, Message, ThreadNode, needs_gists, sort, thread};

use super::gists::{GistCache, chunk_of};
use super::{lock, refused};
use crate::error::Result;
use crate::mailstore::MailStore;

/// Messages that are looked up in the store before others get their turn.
const COLD: usize = 2_048;

/// The messages that one session wants in order, between two of its calls.
#[derive(Debug, Default)]
pub(super) struct Ranker(Mutex<Option<Work>>);

/// Messages whose gists are being gathered.
#[derive(Debug)]
struct Work {
    mailbox: MailboxRef,
    uids: Arc<UidSet>,
    /// In the order of the mailbox.
    rows: Vec<Row>,
    /// The gists of the rows so far: of a chunk, the rows from one on.
    chunks: Vec<(usize, Arc<Gists>)>,
    done: usize,
}

impl Ranker {
    /// Answers [`rmail_core::imap::server::Call::Sort`].
    pub(super) async fn sort<S: MailStore>(
        &self,
        store: &S,
        gists: &GistCache,
        (mailbox, uids, go_on): (&MailboxRef, Arc<UidSet>, bool),
        criteria: &[Criterion],
    ) -> core::result::Result<Ranking<Vec<Uid>>, Refusal> {
        let gathered = self.gather(store, gists, (mailbox, uids, go_on), needs_gists(criteria));
        let work = match named(mailbox, gathered.await)? {
            Ranking::More(done) => return Ok(Ranking::More(done)),
            Ranking::Done(work) => work,
        };
        let order = sort(&work.messages(), criteria);
        let uid = |at: u32| work.rows.get(usize::try_from(at).ok()?).map(|row| row.uid);
        Ok(Ranking::Done(order.into_iter().filter_map(uid).collect()))
    }

    /// Answers [`rmail_core::imap::server::Call::Thread`].
    pub(super) async fn thread<S: MailStore>(
        &self,
        store: &S,
        gists: &GistCache,
        (mailbox, uids, go_on): (&MailboxRef, Arc<UidSet>, bool),
        algorithm: Algorithm,
    ) -> core::result::Result<Ranking<Vec<ThreadNode>>, Refusal> {
        let gathered = self.gather(store, gists, (mailbox, uids, go_on), true);
        Ok(match named(mailbox, gathered.await)? {
            Ranking::More(done) => Ranking::More(done),
            Ranking::Done(work) => Ranking::Done(thread(&work.messages(), algorithm)),
        })
    }

    /// Forgets what was begun.
    pub(super) fn clear(&self) {
        *lock(&self.0) = None;
    }

    /// Gathers the gists of the messages, or some more of them.
    async fn gather<S: MailStore>(
        &self,
        store: &S,
        gists: &GistCache,
        (mailbox, uids, go_on): (&MailboxRef, Arc<UidSet>, bool),
        needed: bool,
    ) -> Result<Ranking<Work>> {
        let begun = lock(&self.0).take().filter(|_| go_on);
        let begun = begun.filter(|work| work.mailbox == *mailbox && work.uids == uids);
        let mut work = match begun {
            Some(work) => work,
            None => {
                let snapshot = match store.snapshot_now(mailbox) {
                    Some(snapshot) => snapshot,
                    None => store.snapshot(mailbox).await?,
                };
                Work::new(mailbox.clone(), uids, &snapshot)
            }
        };
        let mut cold = 0;
        while needed && let Some(first) = work.rows.get(work.done) {
            if cold >= COLD {
                let done = work.done as u64;
                *lock(&self.0) = Some(work);
                return Ok(Ranking::More(done));
            }
            let chunk = chunk_of(first.uid);
            let rest = work.rows.get(work.done..).unwrap_or_default();
            let rows = rest.iter().take_while(|row| chunk_of(row.uid) == chunk);
            let found = gists.of(store, mailbox, rows.clone()).await?;
            cold += found.cold;
            let count = rows.count();
            work.chunks.push((work.done, found.gists));
            work.done += count;
        }
        Ok(Ranking::Done(work))
    }
}

impl Work {
    fn new(mailbox: MailboxRef, uids: Arc<UidSet>, snapshot: &Snapshot) -> Self {
        let mut rows = Vec::new();
        let mut there = snapshot.rows.of(&uids).peekable();
        for uid in uids.iter() {
            let row = there.next_if(|row| row.uid == uid).copied();
            rows.push(row.unwrap_or_else(|| gone(uid)));
        }
        Self {
            mailbox,
            uids: Arc::clone(&uids),
            rows,
            chunks: Vec::new(),
            done: 0,
        }
    }

    fn messages(&self) -> Vec<Message<'_>> {
        let mut messages = Vec::with_capacity(self.rows.len());
        let mut chunks = self.chunks.iter().peekable();
        let mut gists: Option<&Gists> = None;
        for (at, row) in self.rows.iter().enumerate() {
            if let Some((_, next)) = chunks.next_if(|(from, _)| *from == at) {
                gists = Some(next);
            }
            let gist = gists.and_then(|gists| gists.get(row.uid));
            messages.push(Message { row, gist });
        }
        messages
    }
}

/// A message that the session knows, but that is not there any more.
fn gone(uid: Uid) -> Row {
    Row {
        date: 0,
        modseq: ModSeq(0),
        keywords: KeywordSet::default(),
        uid,
        size: 0,
        save_date: 0,
        zone: 0,
        flags: SystemFlags::default(),
    }
}

fn named<T>(mailbox: &MailboxRef, result: Result<T>) -> core::result::Result<T, Refusal> {
    result.map_err(|error| refused(&format!("sort {} {}", mailbox.account, mailbox.id.0), error))
}
