//! What the client of a selected mailbox knows. Sequence numbers exist here and nowhere else.

use core::ops::Range;
use std::sync::Arc;

use super::recent::Recent;
use super::walk::merge;
use crate::imap::sequence::{SeqNumber, SequenceSet};
use crate::mailbox::{Keywords, ModSeq, Rows, Snapshot, Uid, UidSet, UidValidity};

/// The rows last told, and the mailbox as last seen. A sequence number is a position in the rows told, from 1.
#[derive(Debug)]
pub(super) struct View {
    told: Rows,
    /// The keywords that the rows told were made with.
    told_keywords: Arc<Keywords>,
    latest: Snapshot,
    recent: Recent,
    /// The client knows of all changes up to this one: what it may take for HIGHESTMODSEQ.
    told_modseq: ModSeq,
    /// Keywords that a FLAGS response named.
    keywords_named: usize,
    /// The latest snapshot was not compared with what was told.
    behind: bool,
    /// Messages are told that the latest snapshot does not have.
    expunges_untold: bool,
    /// UIDVALIDITY is another by now: nothing that was told means anything any more.
    replaced: bool,
    /// What the last SEARCH saved: `$` (RFC 5182). Of messages that have gone nothing remains, for no UID comes twice.
    saved: UidSet,
    /// Messages are there that were not told, because the client does not want to hear of them now.
    fresh_untold: bool,
    /// The same of flags.
    flags_untold: bool,
}

/// What of the news may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    /// Messages that came.
    pub(super) fresh: bool,
    /// Flags that others changed.
    pub(super) flags: bool,
    /// Messages that went.
    pub(super) gone: bool,
    /// Flags that others changed come with the UID (RFC 5465 §5.1).
    pub(super) uid: bool,
}

impl From<bool> for Telling {
    /// All; expunges as it is said.
    fn from(expunges: bool) -> Self {
        Self {
            fresh: true,
            flags: true,
            gone: expunges,
            uid: false,
        }
    }
}

/// Positions in the rows told: ascending, disjoint.
pub(super) type Ranks = Vec<Range<usize>>;

/// A message number beyond the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BeyondLast;

impl View {
    /// A client that has just been told the whole snapshot.
    pub(super) fn new(snapshot: Snapshot, recent: Recent) -> Self {
        Self {
            told: snapshot.rows.clone(),
            told_keywords: Arc::clone(&snapshot.keywords),
            keywords_named: snapshot.keywords.names().len(),
            told_modseq: snapshot.modseq,
            latest: snapshot,
            recent,
            behind: false,
            expunges_untold: false,
            replaced: false,
            saved: UidSet::new(),
            fresh_untold: false,
            flags_untold: false,
        }
    }

    /// Of no mailbox.
    pub(super) fn empty() -> Self {
        let snapshot = Snapshot {
            uid_validity: UidValidity(0),
            uid_next: Uid(1),
            modseq: ModSeq(0),
            rows: Rows::default(),
            keywords: Arc::default(),
        };
        Self::new(snapshot, Recent::unclaimed(Uid(1)))
    }

    /// The rows that the client knows.
    pub(super) fn told(&self) -> &Rows {
        &self.told
    }

    /// The keywords of the rows told.
    pub(super) fn told_keywords(&self) -> &Arc<Keywords> {
        &self.told_keywords
    }

    /// The mailbox as last seen.
    pub(super) fn latest(&self) -> &Snapshot {
        &self.latest
    }

    /// Up to here the client knows of all changes. Less than HIGHESTMODSEQ as long as expunges have to wait (RFC 7162
    /// §3.2).
    pub(super) fn told_modseq(&self) -> ModSeq {
        self.told_modseq
    }

    /// The messages that are `\Recent`.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The same, to be added to.
    pub(super) fn recent_mut(&mut self) -> &mut Recent {
        &mut self.recent
    }

    /// How many of the messages told are `\Recent`.
    pub(super) fn recent_count(&self) -> usize {
        ranks_of(&self.told, self.recent.uids())
            .map(|range| range.len())
            .sum()
    }

    /// Whether there are messages that should be claimed as `\Recent` before the client is told of them.
    pub(super) fn wants_claim(&self) -> bool {
        (self.behind || self.fresh_untold)
            && self.recent.wants(self.latest.rows.last_uid().unwrap_or_default())
    }

    /// `$` means these messages from now on.
    pub(super) fn save(&mut self, uids: UidSet) {
        self.saved = uids;
    }

    /// The messages that `$` means.
    pub(super) fn saved(&self) -> &UidSet {
        &self.saved
    }

    /// Takes a newer state of the mailbox; nothing of it is told yet. Older ones are ignored.
    pub(super) fn renew(&mut self, snapshot: Snapshot) {
        self.replaced |= snapshot.uid_validity != self.latest.uid_validity;
        if self.replaced || snapshot.modseq < self.latest.modseq {
            return;
        }
        self.behind |= !self.latest.rows.same(&snapshot.rows);
        self.latest = snapshot;
        self.catch_up();
    }

    /// Whether the mailbox has got another UIDVALIDITY: the session must let go of it.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// Whether there is something to tell, given what may be told.
    pub(super) fn has_news(&self, telling: impl Into<Telling>) -> bool {
        let telling = telling.into();
        self.behind
            || (telling.gone && self.expunges_untold)
            || (telling.fresh && self.fresh_untold)
            || (telling.flags && self.flags_untold)
    }

    /// Whether the client counts messages of which it is known that they are gone.
    pub(super) fn has_untold_expunges(&self) -> bool {
        self.expunges_untold
    }

    /// These are there and may not be told: what follows settles it.
    pub(super) fn withhold(&mut self, fresh: bool, flags: bool) {
        (self.fresh_untold, self.flags_untold) = (fresh, flags);
    }

    /// The client was told all of the latest snapshot that may be told.
    pub(super) fn settle(&mut self, telling: impl Into<Telling>, gone: bool, inserted: bool) {
        let telling = telling.into();
        self.expunges_untold = gone && !telling.gone;
        self.told = if inserted || self.expunges_untold || self.fresh_untold || self.flags_untold {
            merge(&self.told, &self.latest.rows, telling)
        } else {
            self.latest.rows.clone()
        };
        self.told_keywords = Arc::clone(&self.latest.keywords);
        self.behind = false;
        self.catch_up();
    }

    fn catch_up(&mut self) {
        let untold = self.expunges_untold || self.fresh_untold || self.flags_untold;
        if !self.behind && !untold {
            self.told_modseq = self.latest.modseq;
        }
    }

    /// Whether there are keywords that no FLAGS response named yet; from now on they count as named.
    pub(super) fn name_keywords(&mut self) -> bool {
        let known = self.latest.keywords.names().len();
        let new = known > self.keywords_named;
        self.keywords_named = known;
        new
    }

    /// The client is being told the present flags of these messages (ascending): the rows told become the latest ones.
    pub(super) fn adopt(&mut self, uids: &[Uid]) {
        let mut uids = uids.iter().copied().peekable();
        while let Some(wanted) = uids.peek().copied() {
            let Some(chunk) = self.told.chunk_of(wanted).map(Arc::clone) else {
                break;
            };
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else {
                break;
            };
            let (first, last) = (first.uid, last.uid);
            let mut rows = chunk.to_vec();
            while let Some(uid) = uids.next_if(|uid| *uid <= last) {
                let told = rows
                    .binary_search_by_key(&uid, |row| row.uid)
                    .ok()
                    .and_then(|index| rows.get_mut(index));
                if let (Some(told), Some((_, row))) = (told, self.latest.rows.find(uid)) {
                    *told = *row;
                }
            }
            let shared = self.latest.rows.chunk_of(first).filter(|chunk| chunk[..] == rows);
            let chunk = shared.map_or_else(|| rows.into(), Arc::clone);
            self.told.put(first, last, chunk);
        }
        self.told_keywords = Arc::clone(&self.latest.keywords);
    }

    /// Which messages a client means.
    ///
    /// UIDs of no message that was told are left out (RFC 9051 §6.4.9). A range of message numbers that begins behind
    /// the last message is an error; one that only ends there is cut.
    ///
    /// # Errors
    /// A message number without a message.
    pub(super) fn ranks(&self, uid: bool, set: &SequenceSet) -> Result<Ranks, BeyondLast> {
        if set.is_saved() {
            return Ok(self.uid_ranks(&self.saved));
        }
        if uid {
            let highest = self.told.last_uid().unwrap_or_default();
            return Ok(self.uid_ranks(&set.resolve(highest.0)));
        }
        let count = u32::try_from(self.told.len()).unwrap_or(u32::MAX);
        let number = |n| match n {
            SeqNumber::Number(n) => n,
            SeqNumber::Star => count,
        };
        let beyond = |a, b| number(a).min(number(b)) > count;
        if count == 0 || set.0.iter().any(|(a, b)| beyond(*a, *b)) {
            return Err(BeyondLast);
        }
        Ok(self.number_ranks(set))
    }

    /// The messages that have one of these numbers; numbers without a message are left out.
    pub(super) fn number_ranks(&self, set: &SequenceSet) -> Ranks {
        if set.is_saved() {
            return self.uid_ranks(&self.saved);
        }
        let count = self.told.len();
        set.resolve(u32::try_from(count).unwrap_or(u32::MAX))
            .ranges()
            .map(|range| *range.start() as usize - 1..(*range.end() as usize).min(count))
            .filter(|range| range.start < range.end)
            .collect()
    }

    /// The messages told that have one of these UIDs.
    pub(super) fn uid_ranks(&self, uids: &UidSet) -> Ranks {
        ranks_of(&self.told, uids).collect()
    }

    /// The numbers of those of these messages that were told.
    pub(super) fn numbers_of(&self, uids: &UidSet) -> UidSet {
        let number = |rank: usize| u32::try_from(rank).unwrap_or(u32::MAX);
        let ranks = ranks_of(&self.told, uids);
        UidSet::from_ranges(ranks.map(|range| (number(range.start + 1), number(range.end))))
    }

    /// Whether some of these messages, which were told, are not there any more as far as is known.
    pub(super) fn some_gone(&self, uids: &UidSet) -> bool {
        let count = |rows| ranks_of(rows, uids).map(|range| range.len()).sum::<usize>();
        count(&self.latest.rows) < count(&self.told)
    }

    /// The messages as UIDs for a call. Between two neighbours of the rows told there is no other message that was
    /// told, so a range of positions becomes one range of UIDs.
    pub(super) fn uids(&self, ranks: &Ranks) -> UidSet {
        let uid = |rank: usize| self.told.get(rank).map(|row| row.uid.0);
        UidSet::from_ranges(
            ranks
                .iter()
                .filter_map(|range| Some((uid(range.start)?, uid(range.end.checked_sub(1)?)?))),
        )
    }
}

/// Where the messages with one of these UIDs stand.
fn ranks_of(rows: &Rows, uids: &UidSet) -> impl Iterator<Item = Range<usize>> {
    let end = |last: u32| {
        last.checked_add(1)
            .map_or(rows.len(), |next| rows.rank(Uid(next)))
    };
    uids.ranges()
        .map(move |range| rows.rank(Uid(*range.start()))..end(*range.end()))
        .filter(|range| range.start < range.end)
}

/// A walk over positions, that stops and goes on.
#[derive(Debug)]
pub(super) struct Cursor {
    ranks: Ranks,
    /// The range in progress.
    at: usize,
}

impl Cursor {
    /// At the first position. The ranges are not empty.
    pub(super) fn new(ranks: Ranks) -> Self {
        Self { ranks, at: 0 }
    }

    /// The positions that come next and lie together; `None` at the end.
    pub(super) fn run(&self) -> Option<Range<usize>> {
        self.ranks.get(self.at).cloned()
    }

    /// Goes on at this position of the present run, or behind it.
    pub(super) fn advance_to(&mut self, next: usize) {
        if let Some(range) = self.ranks.get_mut(self.at) {
            range.start = next.min(range.end);
            if range.start >= range.end {
                self.at += 1;
            }
        }
    }

    /// Whether the end is reached.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.ranks.len()
    }

    /// Takes the next positions, `max` at most.
    pub(super) fn take(&mut self, max: usize) -> Vec<usize> {
        let mut taken = Vec::with_capacity(max);
        while let Some(run) = self.run() {
            let end = run.end.min(run.start + (max - taken.len()));
            taken.extend(run.start..end);
            self.advance_to(end);
            if taken.len() == max {
                break;
            }
        }
        taken
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
