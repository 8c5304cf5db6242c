//! What a client that comes back has missed: VANISHED (EARLIER), then the messages that have changed since
//! (RFC 7162 §3.2.5, §3.2.6).

use std::borrow::Cow;

use super::enable::Enabled;
use super::fetch::Fetch;
use super::job::{Job, Output, STEP_ROWS};
use super::view::{Cursor, View};
use super::{Call, Phase, Session, Then};
use crate::imap::command::QResync;
use crate::imap::response;
use crate::mailbox::{ModSeq, Rows, UidSet, Vanished};
use crate::refusal::Refusal;

/// Octets of one VANISHED response: clients have bounds on lines.
const MAX_LINE: usize = 8 * 1024;

/// What is being told.
#[derive(Debug)]
pub(super) struct Resync {
    since: ModSeq,
    /// The UIDs that the client asks about.
    known: UidSet,
    /// What vanished of them; before the store was asked, nothing.
    gone: UidSet,
    /// Ranges of `gone` that are told.
    told: usize,
    then: After,
}

/// What comes behind what vanished.
#[derive(Debug)]
enum After {
    /// Messages that have changed, then the end of SELECT: tag and text.
    Select(Cursor, String, Cow<'static, str>),
    /// UID FETCH.
    Fetch(Box<Fetch>),
}

impl Session {
    /// SELECT or EXAMINE of a mailbox that the client knew; then its last line.
    pub(super) fn resync(&mut self, qresync: QResync, tag: String, text: Cow<'static, str>) {
        let Some(open) = &self.selected else {
            return self.internal("QRESYNC without a mailbox");
        };
        let all = || up_to(open.view.latest().uid_next.0.saturating_sub(1));
        let known = qresync.known.unwrap_or_else(all);
        // What the client knows to be there up to some message cannot have vanished below it.
        let spared = qresync.matched.map_or(0, |(numbers, uids)| {
            known_up_to(open.view.told(), &numbers, &uids)
        });
        let cursor = Cursor::new(open.view.uid_ranks(&known));
        let asked = known.without(&up_to(spared));
        self.ask_vanished(qresync.modseq, asked, After::Select(cursor, tag, text));
    }

    /// UID FETCH with VANISHED: tells what vanished of these, then fetches.
    pub(super) fn fetch_vanished(&mut self, since: ModSeq, known: UidSet, fetch: Box<Fetch>) {
        self.ask_vanished(since, known, After::Fetch(fetch));
    }

    fn ask_vanished(&mut self, since: ModSeq, known: UidSet, then: After) {
        let Some(open) = &self.selected else {
            return self.internal("VANISHED without a mailbox");
        };
        let resync = Box::new(Resync {
            since,
            known,
            gone: UidSet::new(),
            told: 0,
            then,
        });
        let snapshot = open.view.latest().clone();
        if since >= snapshot.modseq {
            self.phase = Phase::Job(Job::Resync(resync));
            return;
        }
        let mailbox = open.mailbox.clone();
        let call = Call::Vanished {
            mailbox,
            since,
            snapshot,
        };
        self.call(call, Then::Vanished(resync));
    }

    /// What has gone. If the store could not tell, it is as if it had forgotten: too much is told, never too little.
    pub(super) fn vanished(&mut self, mut resync: Box<Resync>, result: Result<Vanished, Refusal>) {
        let Some(open) = &self.selected else {
            return self.internal("VANISHED without a mailbox");
        };
        let vanished = result.unwrap_or(Vanished::Forgotten);
        let gone = vanished.among(&resync.known, open.view.latest());
        // What the client still counts is told to it without EARLIER, when that is allowed.
        let counted = open.view.told().of(&gone).map(|row| row.uid).collect();
        resync.gone = gone.without(&counted);
        self.phase = Phase::Job(Job::Resync(resync));
    }

    /// One step of telling.
    pub(super) fn step_resync(&mut self, mut resync: Box<Resync>) {
        let Some(open) = &self.selected else {
            return self.internal("VANISHED without a mailbox");
        };
        if !resync.write_gone(&mut self.out) {
            self.phase = Phase::Job(Job::Resync(resync));
            return;
        }
        let Resync { since, then, .. } = &mut *resync;
        let over = match then {
            After::Select(cursor, ..) => {
                write_changed(&mut self.out, &open.view, cursor, *since, self.enabled)
            }
            After::Fetch(_) => true,
        };
        if !over {
            self.out.pause();
            self.phase = Phase::Job(Job::Resync(resync));
            return;
        }
        match resync.then {
            After::Select(_, tag, text) => self.complete(tag, text),
            After::Fetch(fetch) => self.phase = Phase::Job(Job::Fetch(fetch)),
        }
    }
}

/// All UIDs up to this one.
fn up_to(last: u32) -> UidSet {
    UidSet::from_ranges((last > 0).then_some((1, last)))
}

impl Resync {
    /// Tells some of what vanished. True: all is told.
    fn write_gone(&mut self, out: &mut Output) -> bool {
        while self.told < self.gone.ranges().len() {
            if out.is_full() {
                return false;
            }
            out.text().extend_from_slice(b"* VANISHED (EARLIER) ");
            self.told += write_ranges(out.text(), &self.gone, self.told);
        }
        true
    }
}

/// Some ranges of a set from this one on, as many as go on a line, and its end. Says how many.
pub(super) fn write_ranges(out: &mut Vec<u8>, set: &UidSet, from: usize) -> usize {
    let start = out.len();
    let mut count = 0;
    for range in set.ranges().skip(from) {
        response::uid_range(out, count > 0, *range.start(), *range.end());
        count += 1;
        if out.len() - start >= MAX_LINE {
            break;
        }
    }
    response::end(out);
    count
}

/// Tells of some messages that have changed. True: of all.
fn write_changed(
    out: &mut Output,
    view: &View,
    cursor: &mut Cursor,
    since: ModSeq,
    enabled: Enabled,
) -> bool {
    let mut left = STEP_ROWS;
    while let Some(run) = cursor.run() {
        let mut next = run.start;
        for (rank, row) in run.zip(view.told().iter_from(next)) {
            if left == 0 || out.is_full() {
                break;
            }
            left -= 1;
            next = rank + 1;
            let modseq = view.told().modseq(row);
            if modseq <= since {
                continue;
            }
            let text = out.text();
            enabled.begin_fetch(text, rank as u64 + 1, row.uid);
            if enabled.tells_uids() {
                text.extend_from_slice(b"UID ");
                response::number(text, row.uid.0);
                text.push(b' ');
            }
            text.extend_from_slice(b"FLAGS ");
            response::flags(text, row, view.told_keywords(), view.recent().contains(row.uid));
            text.push(b' ');
            response::modseq(text, modseq);
            text.extend_from_slice(b")\r\n");
        }
        cursor.advance_to(next);
        if left == 0 || out.is_full() {
            return cursor.is_done();
        }
    }
    true
}

/// The highest UID up to which the client knows what there is: that of the last message whose number and UID it has
/// right (RFC 7162 §3.2.5.2). 0 if there is none. The sets are of one size.
///
/// In a mailbox the difference of UID and number never falls from one message to the next, and it is the same for all
/// pairs of two ranges: the last pair that is right is found by halving.
fn known_up_to(rows: &Rows, numbers: &UidSet, uids: &UidSet) -> u32 {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let uid_of = |number: u32| rows.get(number as usize - 1).map_or(u32::MAX, |row| row.uid.0);
    let (mut numbers, mut uids) = (numbers.ranges(), uids.ranges());
    let (mut number, mut uid) = (numbers.next(), uids.next());
    let mut best = 0;
    while let (Some(some), Some(theirs)) = (&number, &uid) {
        let (first, first_uid) = (*some.start(), *theirs.start());
        let len = (some.end() - first).min(theirs.end() - first_uid);
        // In front of `low` UIDs are as the client has them, or lower ones.
        let (mut low, mut high) = (
            0,
            if first > count {
                0
            } else {
                len.min(count - first) + 1
            },
        );
        while low < high {
            let middle = low + (high - low) / 2;
            if uid_of(first + middle) <= first_uid + middle {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low > 0 && uid_of(first + low - 1) == first_uid + low - 1 {
            best = first_uid + low - 1;
        }
        let rest = |range: &core::ops::RangeInclusive<u32>| {
            let next = range.start().checked_add(len).and_then(|at| at.checked_add(1))?;
            (next <= *range.end()).then(|| next..=*range.end())
        };
        (number, uid) = (
            rest(some).or_else(|| numbers.next()),
            rest(theirs).or_else(|| uids.next()),
        );
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{KeywordSet, Row, RowsBuilder, SystemFlags, Uid};

    fn rows(uids: impl IntoIterator<Item = u32>) -> Rows {
        let mut rows = RowsBuilder::default();
        for uid in uids {
            rows.push(Row {
                date: 0,
                modseq: ModSeq(1),
                keywords: KeywordSet(0),
                uid: Uid(uid),
                size: 1,
                save_date: 0,
                zone: 0,
                flags: SystemFlags::default(),
            });
        }
        rows.finish()
    }

    fn set(ranges: &[(u32, u32)]) -> UidSet {
        UidSet::from_ranges(ranges.iter().copied())
    }

    #[test]
    fn what_the_client_knows_is_found() {
        // The example of RFC 7162 §3.2.5.2: the fourth message has UID 8, the twelfth UID 25.
        let mailbox = rows([2, 4, 6, 8, 9, 11, 13, 15, 17, 19, 21, 25]);
        assert_eq!(
            known_up_to(&mailbox, &set(&[(4, 4), (12, 12)]), &set(&[(8, 8), (24, 24)])),
            8
        );
        // Its other one: only UIDs that three divides.
        let thirds = rows((1..=10_003).map(|number| number * 3));
        let numbers = set(&[(5000, 5000), (7500, 7500), (9000, 9000), (9990, 9999)]);
        let uids = UidSet::from_ranges(
            [15_000, 22_500, 27_000]
                .into_iter()
                .chain((9990..=9999).map(|number| number * 3))
                .map(|uid| (uid, uid)),
        );
        assert_eq!(known_up_to(&thirds, &numbers, &uids), 29_997);
    }

    #[test]
    fn what_the_client_knows_is_that_of_a_walk() {
        let mailbox = rows([1, 2, 3, 5, 6, 9, 10, 11, 12, 20]);
        let naive = |numbers: &UidSet, uids: &UidSet| {
            let pairs = numbers.iter().zip(uids.iter());
            let right = pairs.filter(|(number, uid)| {
                mailbox
                    .get(number.0 as usize - 1)
                    .is_some_and(|row| row.uid == *uid)
            });
            right.last().map_or(0, |(_, uid)| uid.0)
        };
        for numbers in [
            set(&[(1, 10)]),
            set(&[(1, 3), (5, 6), (9, 13)]),
            set(&[(2, 2), (4, 4), (6, 6), (20, 26)]),
        ] {
            for shift in 0..12 {
                let uids = UidSet::from_ranges(
                    numbers
                        .ranges()
                        .map(|range| (range.start() + shift, range.end() + shift)),
                );
                assert_eq!(
                    known_up_to(&mailbox, &numbers, &uids),
                    naive(&numbers, &uids),
                    "{numbers:?} {uids:?}"
                );
            }
            let uids = set(&[(5, 6), (9, 9), (11, 11), (20, 40)]);
            let uids: UidSet = uids
                .iter()
                .take(usize::try_from(numbers.len()).expect("few"))
                .collect();
            assert_eq!(
                known_up_to(&mailbox, &numbers, &uids),
                naive(&numbers, &uids),
                "{numbers:?} {uids:?}"
            );
        }
        let huge = set(&[(1, u32::MAX)]);
        assert_eq!(known_up_to(&mailbox, &huge, &huge), 3);
        assert_eq!(known_up_to(&rows([]), &huge, &huge), 0);
    }

    #[test]
    fn lines_of_what_vanished_are_bounded() {
        let gone = UidSet::from_ranges((1..4000).map(|uid| (uid * 2, uid * 2)));
        let mut out = Vec::new();
        let mut told = 0;
        while told < gone.ranges().len() {
            told += write_ranges(&mut out, &gone, told);
        }
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.len() < MAX_LINE + 16));
        assert_eq!(text.replace("\r\n", ",").trim_end_matches(','), gone.to_string());
    }
}
