//! FETCH (RFC 9051 §6.4.5): metadata straight from the rows, content in batches.

use core::ops::Range;

use super::enable::Enabled;
use super::job::{Job, Output, STEP_ROWS};
use super::news::After;
use super::section::{Content, Form, content};
use super::select::Open;
use super::view::{Cursor, Ranks, View};
use super::{Awaiting, Body, Call, Phase, Session, Stored, Then, refusal};
use crate::imap::command::{FetchItem, FetchModifiers};
use crate::imap::response;
use crate::imap::sequence::{PartialRange, SequenceSet};
use crate::machine::{Action, BlobId, CallId};
use crate::mailbox::{FlagChange, FlagOp, Flags, ModSeq, Rights, Row, SystemFlags, Uid};
use crate::refusal::Refusal;
use crate::time::DateTime;

/// BINARY parts of one FETCH: each is decoded by itself, and may be held in memory.
const MAX_BINARY: usize = 16;

/// A FETCH being answered.
#[derive(Debug)]
pub(super) struct Fetch {
    tag: String,
    uid: bool,
    enabled: Enabled,
    items: Vec<Item>,
    /// The content items among `items`.
    contents: Vec<Content>,
    /// Fetching sets `\Seen`.
    marks_seen: bool,
    shows_flags: bool,
    shows_uid: bool,
    shows_modseq: bool,
    /// CHANGEDSINCE: messages with a lower mod-sequence are passed over.
    changed_since: ModSeq,
    cursor: Cursor,
    /// Messages whose content was asked for, by their position in the rows told.
    batch: Vec<usize>,
    /// Their content: for each message one body per content item.
    bodies: Vec<Body>,
    /// Messages whose content was asked for, but not answered yet.
    unanswered: Vec<usize>,
    /// Those of the batch that `\Seen` was set for.
    seen: Vec<Uid>,
    /// Bodies that were opened and will not be sent.
    unsent: Vec<BlobId>,
    /// It cannot go on.
    failed: Option<Refusal>,
    /// Some messages are gone.
    gone: bool,
    /// Some parts have an encoding that nobody knows.
    unknown: bool,
    /// Nobody asked for it by a command: it is part of the news, and this comes after it.
    unasked: Option<After>,
}

/// An item of the response.
#[derive(Debug)]
enum Item {
    Uid,
    Flags,
    ModSeq,
    InternalDate,
    Size,
    SaveDate,
    /// The next one of the content items.
    Content,
}

impl Session {
    /// FETCH.
    pub(super) fn fetch(
        &mut self,
        tag: String,
        uid: bool,
        set: &SequenceSet,
        items: Vec<FetchItem>,
        modifiers: FetchModifiers,
    ) {
        if modifiers.vanished && !self.enabled.qresync {
            // RFC 7162 §3.2.6.
            return self.refuse_bad(&tag, "QRESYNC is not enabled");
        }
        let Some(open) = self.selected.as_ref() else {
            return self.internal("FETCH without a mailbox");
        };
        let Ok(ranks) = open.view.ranks(uid, set) else {
            return self.refuse_bad(&tag, "No such message");
        };
        if modifiers.changed_since.is_some() || items.contains(&FetchItem::ModSeq) {
            self.enable_condstore();
        }
        let Some(open) = self.selected.as_ref() else {
            return self.internal("FETCH without a mailbox");
        };
        let ranks = match modifiers.partial {
            Some(range) => page(ranks, range),
            None => ranks,
        };
        let vanished = modifiers.vanished.then(|| {
            let highest = open.view.told().last_uid().unwrap_or_default();
            set.resolve(highest.0.max(1))
        });
        let cursor = Cursor::new(ranks);
        let fetch = Fetch::new(
            tag,
            uid,
            items,
            modifiers.changed_since,
            cursor,
            !open.may(Rights::SEEN),
            self.enabled,
        );
        let binary = fetch
            .contents
            .iter()
            .filter(|content| content.form == Form::Binary);
        if fetch.contents.len() > self.settings.limits.bodies_per_call || binary.count() > MAX_BINARY {
            return self.complete_with(fetch.tag, "NO [LIMIT] Too many items at once", uid);
        }
        if let Some(open) = self.selected.as_mut() {
            open.write_new_keywords(self.out.text());
        }
        if let Some(known) = vanished {
            return self.fetch_vanished(fetch.changed_since, known, Box::new(fetch));
        }
        self.phase = Phase::Job(Job::Fetch(Box::new(fetch)));
    }

    /// One step of answering.
    pub(super) fn step_fetch(&mut self, mut fetch: Box<Fetch>) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("FETCH without a mailbox");
        };
        if fetch.contents.is_empty() {
            if fetch.write_rows(&mut self.out, &open.view) {
                self.finish_fetch(fetch);
            } else {
                self.out.pause();
                self.phase = Phase::Job(Job::Fetch(fetch));
            }
            return;
        }
        match fetch.ask(open, self.settings.limits.bodies_per_call) {
            Some(call) => self.call(call, Then::Bodies(fetch)),
            None if fetch.cursor.is_done() => self.finish_fetch(fetch),
            None => {
                self.out.pause();
                self.phase = Phase::Job(Job::Fetch(fetch));
            }
        }
    }

    /// The content of a batch.
    pub(super) fn bodies(&mut self, mut fetch: Box<Fetch>, result: Result<Vec<Body>, Refusal>) {
        fetch.bodies = match result {
            Ok(bodies) => bodies,
            Err(refused) => {
                fetch.failed = Some(refused);
                return self.finish_fetch(fetch);
            }
        };
        if !fetch.divide() {
            return self.internal("wrong number of bodies");
        }
        let Some(open) = self.selected.as_ref() else {
            return self.internal("FETCH without a mailbox");
        };
        fetch.seen = fetch.unseen(&open.view);
        if fetch.seen.is_empty() {
            return self.answer_batch(fetch);
        }
        let flags = Flags {
            system: SystemFlags::SEEN,
            keywords: Vec::new(),
        };
        let call = Call::Store {
            mailbox: open.mailbox.clone(),
            uids: fetch.seen.iter().copied().collect(),
            change: FlagChange {
                op: FlagOp::Add,
                flags,
            },
            unchanged_since: None,
        };
        self.call(call, Then::Seen(fetch));
    }

    /// `\Seen` is set; or it is not, which is no reason to keep the mail from the client.
    pub(super) fn seen(&mut self, mut fetch: Box<Fetch>, result: Result<Stored, Refusal>) {
        let Some(open) = self.selected.as_mut() else {
            return self.internal("FETCH without a mailbox");
        };
        match result {
            Ok(stored) => {
                open.view.renew(stored.snapshot);
                open.view.adopt(&fetch.seen);
                open.write_new_keywords(self.out.text());
            }
            Err(_) => fetch.seen.clear(),
        }
        self.answer_batch(fetch);
    }

    fn answer_batch(&mut self, mut fetch: Box<Fetch>) {
        let Some(open) = self.selected.as_ref() else {
            return self.internal("FETCH without a mailbox");
        };
        let batch = core::mem::take(&mut fetch.batch);
        let bodies = core::mem::take(&mut fetch.bodies);
        // The next batch is read while this one is written: two of them are in memory at most. Not while bodies are
        // open that wait to be sent: each costs a descriptor.
        let streams = bodies
            .iter()
            .any(|body| matches!(body, Body::Large(..) | Body::Binary(..)));
        let next = if streams {
            None
        } else {
            fetch.ask(open, self.settings.limits.bodies_per_call)
        };
        let next = next.map(|call| {
            self.last_call += 1;
            let id = CallId(self.last_call);
            self.out.push(Action::Call(id, call));
            id
        });
        fetch.write_batch(&mut self.out, &open.view, batch, &bodies);
        match next {
            Some(call) => {
                let then = Then::Bodies(fetch);
                self.phase = Phase::Waiting;
                self.awaiting = Some(Box::new(Awaiting { call, then }));
            }
            None => self.phase = Phase::Job(Job::Fetch(fetch)),
        }
    }

    /// All is answered: closes what was opened in vain, then ends the command.
    pub(super) fn finish_fetch(&mut self, mut fetch: Box<Fetch>) {
        if let Some(blob) = fetch.unsent.pop() {
            return self.call(Call::CloseBlob { blob }, Then::BlobClosed(fetch));
        }
        let Fetch {
            tag,
            uid,
            failed,
            gone,
            unknown,
            unasked,
            ..
        } = *fetch;
        if let Some(after) = unasked {
            return self.go_on(after);
        }
        if let Some(refused) = failed {
            return self.complete_with(tag, refusal::no(refused), uid);
        }
        let text = if gone {
            // RFC 2180 §4.1.2; the client hears of it as soon as that is allowed.
            if let Some(open) = self.selected.as_mut() {
                open.dirty = true;
            }
            refusal::GONE
        } else if unknown {
            "NO [UNKNOWN-CTE] Some parts have a transfer encoding that cannot be undone"
        } else if uid {
            "OK UID FETCH completed"
        } else {
            "OK FETCH completed"
        };
        self.complete_with(tag, text, uid);
    }
}

impl Fetch {
    fn new(
        tag: String,
        uid: bool,
        items: Vec<FetchItem>,
        changed_since: Option<ModSeq>,
        cursor: Cursor,
        read_only: bool,
        enabled: Enabled,
    ) -> Self {
        let mut plan = Vec::with_capacity(items.len() + 2);
        let mut contents = Vec::new();
        // RFC 9051 §6.4.9: UID FETCH always tells the UID; UIDFETCH has it in front (RFC 9586 §3.3).
        let mut shows_uid = items.contains(&FetchItem::Uid) || enabled.uid_only;
        if uid && !shows_uid {
            shows_uid = true;
            plan.push(Item::Uid);
        }
        let shows_modseq = changed_since.is_some() || items.contains(&FetchItem::ModSeq);
        let adds_modseq = changed_since.is_some() && !items.contains(&FetchItem::ModSeq);
        let shows_flags = items.contains(&FetchItem::Flags);
        for item in items {
            plan.push(match &item {
                FetchItem::Uid => Item::Uid,
                FetchItem::Flags => Item::Flags,
                FetchItem::ModSeq => Item::ModSeq,
                FetchItem::InternalDate => Item::InternalDate,
                FetchItem::Rfc822Size => Item::Size,
                FetchItem::SaveDate => Item::SaveDate,
                _ => Item::Content,
            });
            contents.extend(content(item));
        }
        if adds_modseq {
            plan.push(Item::ModSeq);
        }
        Self {
            tag,
            uid,
            enabled,
            items: plan,
            marks_seen: !read_only && contents.iter().any(|content| content.marks_seen),
            contents,
            shows_flags,
            shows_uid,
            shows_modseq,
            changed_since: changed_since.unwrap_or_default(),
            cursor,
            batch: Vec::new(),
            bodies: Vec::new(),
            unanswered: Vec::new(),
            seen: Vec::new(),
            unsent: Vec::new(),
            failed: None,
            gone: false,
            unknown: false,
            unasked: None,
        }
    }

    /// What a client wants to be told of new messages (RFC 5465 §5.2). It sets no flag.
    pub(super) fn unasked(after: After, items: Vec<FetchItem>, cursor: Cursor, enabled: Enabled) -> Self {
        Self {
            unasked: Some(after),
            ..Self::new(String::new(), false, items, None, cursor, true, enabled)
        }
    }

    /// Answers from the rows until a step is full. True: all are answered.
    fn write_rows(&mut self, out: &mut Output, view: &View) -> bool {
        let mut left = STEP_ROWS;
        while let Some(run) = self.cursor.run() {
            let mut next = run.start;
            for (rank, row) in run.zip(view.told().iter_from(next)) {
                if out.is_full() || left == 0 {
                    break;
                }
                next = rank + 1;
                if self.passes_over(view, row) {
                    left -= 1;
                    continue;
                }
                self.write_start(out.text(), rank, row);
                self.write_items(out, view, row, &[]);
            }
            self.cursor.advance_to(next);
            if out.is_full() || left == 0 {
                return self.cursor.is_done();
            }
        }
        true
    }

    /// Whether CHANGEDSINCE leaves this message out.
    fn passes_over(&self, view: &View, row: &Row) -> bool {
        self.changed_since > ModSeq(0) && view.told().modseq(row) <= self.changed_since
    }

    /// Leaves out of the batch what CHANGEDSINCE leaves out.
    fn pass_over(&mut self, view: &View) {
        let mut batch = core::mem::take(&mut self.batch);
        batch.retain(|rank| {
            let row = view.told().get(*rank);
            row.is_some_and(|row| !self.passes_over(view, row))
        });
        self.batch = batch;
    }

    /// Keeps what the bodies do not answer for the next question. False: they answer no whole messages of the batch.
    fn divide(&mut self) -> bool {
        let items = self.contents.len().max(1);
        let answered = self.bodies.len() / items;
        let whole = answered > 0 && answered <= self.batch.len() && self.bodies.len() == answered * items;
        if whole {
            self.unanswered = self.batch.split_off(answered);
        }
        whole
    }

    fn write_start(&self, out: &mut Vec<u8>, rank: usize, row: &Row) {
        self.enabled.begin_fetch(out, rank as u64 + 1, row.uid);
    }

    /// The messages of the batch that are there and whose fetching sets `\Seen`.
    fn unseen(&self, view: &View) -> Vec<Uid> {
        if !self.marks_seen {
            return Vec::new();
        }
        self.batch
            .iter()
            .zip(self.bodies.chunks(self.contents.len().max(1)))
            .filter(|(_, bodies)| bodies.iter().all(Body::is_answer))
            .filter_map(|(rank, _)| view.told().get(*rank))
            .filter(|row| !row.flags.contains(SystemFlags::SEEN))
            .map(|row| row.uid)
            .collect()
    }

    /// Takes the next batch: the question to the service. `None`: there is nothing to ask for in this step.
    fn ask(&mut self, open: &Open, bodies_per_call: usize) -> Option<Call> {
        self.batch = core::mem::take(&mut self.unanswered);
        if self.batch.is_empty() {
            let messages = bodies_per_call / self.contents.len().max(1);
            self.batch = self.cursor.take(messages.max(1));
            self.pass_over(&open.view);
        }
        if self.batch.is_empty() {
            return None;
        }
        let rows = self.batch.iter().filter_map(|rank| open.view.told().get(*rank));
        let parts = rows.flat_map(|row| {
            let sections = self.contents.iter().map(|content| &content.section);
            sections.map(|section| (row.uid, section.clone()))
        });
        Some(Call::Bodies {
            mailbox: open.mailbox.clone(),
            parts: parts.collect(),
        })
    }

    fn write_batch(&mut self, out: &mut Output, view: &View, batch: Vec<usize>, bodies: &[Body]) {
        for (rank, bodies) in batch.into_iter().zip(bodies.chunks(self.contents.len().max(1))) {
            let Some(row) = view.told().get(rank) else {
                continue;
            };
            if !bodies.iter().all(Body::is_answer) {
                self.gone |= bodies.contains(&Body::Gone);
                self.unknown |= bodies.contains(&Body::UnknownEncoding);
                self.unsent.extend(bodies.iter().filter_map(|body| match body {
                    Body::Large(blob, _) | Body::Binary(blob, _) => Some(*blob),
                    _ => None,
                }));
                continue;
            }
            self.write_start(out.text(), rank, row);
            self.write_items(out, view, row, bodies);
        }
        self.seen.clear();
    }

    /// The items, and the flags if they changed by this.
    fn write_items(&self, out: &mut Output, view: &View, row: &Row, bodies: &[Body]) {
        let mut contents = self.contents.iter().zip(bodies);
        for (at, item) in self.items.iter().enumerate() {
            if at > 0 {
                out.text().push(b' ');
            }
            match item {
                Item::Uid => {
                    out.text().extend_from_slice(b"UID ");
                    response::number(out.text(), row.uid.0);
                }
                Item::Flags => write_flags(out.text(), view, row),
                Item::ModSeq => response::modseq(out.text(), view.told().modseq(row)),
                Item::InternalDate => {
                    out.text().extend_from_slice(b"INTERNALDATE ");
                    response::internal_date(out.text(), row.internal_date());
                }
                Item::Size => {
                    out.text().extend_from_slice(b"RFC822.SIZE ");
                    response::number(out.text(), row.size);
                }
                Item::SaveDate => {
                    out.text().extend_from_slice(b"SAVEDATE ");
                    let date = DateTime {
                        unix: i64::from(row.save_date),
                        zone: 0,
                    };
                    response::internal_date(out.text(), date);
                }
                Item::Content => {
                    if let Some((content, body)) = contents.next() {
                        write_body(out, content, body);
                    }
                }
            }
        }
        if self.seen.binary_search(&row.uid).is_ok() {
            self.write_change(out.text(), view, row);
        }
        out.text().extend_from_slice(b")\r\n");
    }
}

/// Those of the messages meant that are on this page (RFC 9394 §3.3).
fn page(ranks: Ranks, range: PartialRange) -> Ranks {
    let count = ranks.iter().map(Range::len).sum();
    let wanted = range.of(count);
    let mut before = 0;
    ranks
        .into_iter()
        .map(|run| {
            let cut = |at: usize| run.start + at.saturating_sub(before).min(run.len());
            let part = cut(wanted.start)..cut(wanted.end);
            before += run.len();
            part
        })
        .filter(|run| !run.is_empty())
        .collect()
}

impl Fetch {
    /// What `\Seen` has changed, unless it is told already (RFC 7162 §3.2.4).
    fn write_change(&self, out: &mut Vec<u8>, view: &View, row: &Row) {
        if !self.shows_uid && self.enabled.tells_uids() {
            out.extend_from_slice(b" UID ");
            response::number(out, row.uid.0);
        }
        if !self.shows_flags {
            out.push(b' ');
            write_flags(out, view, row);
        }
        if !self.shows_modseq && self.enabled.condstore {
            out.push(b' ');
            response::modseq(out, view.told().modseq(row));
        }
    }
}

fn write_flags(out: &mut Vec<u8>, view: &View, row: &Row) {
    out.extend_from_slice(b"FLAGS ");
    response::flags(out, row, view.told_keywords(), view.recent().contains(row.uid));
}

fn write_body(out: &mut Output, content: &Content, body: &Body) {
    out.text().extend_from_slice(&content.label);
    out.text().push(b' ');
    let octets = content.form != Form::Rendered;
    match body {
        Body::Small(chunk) => {
            if content.form == Form::Binary && memchr::memchr(0, chunk).is_some() {
                out.text().push(b'~');
            }
            if octets {
                response::literal_head(out.text(), chunk.len() as u64);
            }
            out.chunk(chunk);
        }
        Body::Large(blob, len) | Body::Binary(blob, len) => {
            if matches!(body, Body::Binary(..)) {
                out.text().push(b'~');
            }
            if octets {
                response::literal_head(out.text(), *len);
            }
            out.push(Action::SendBlob(*blob, 0..*len));
        }
        Body::Nil | Body::Gone | Body::UnknownEncoding => out.text().extend_from_slice(b"NIL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_out_of_the_runs() {
        let ranks = || vec![2..5, 7..8, 10..14];
        let cut = |first, last, from_end| {
            page(
                ranks(),
                PartialRange {
                    first,
                    last,
                    from_end,
                },
            )
        };
        assert_eq!(cut(1, 8, false), ranks());
        assert_eq!(cut(2, 4, false), [3..5, 7..8]);
        assert_eq!(cut(1, 3, true), vec![11..14]);
        assert_eq!(cut(5, 4, true), [7..8, 10..11]);
        assert!(cut(9, 20, false).is_empty());
    }
}
