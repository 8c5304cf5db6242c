//! Telling a client what changed in its mailbox: EXPUNGE, FETCH of flags, EXISTS and RECENT.
//!
//! One walk tells all: before a message is met, all expunges of lower ones are told, so that its number is the count
//! of the messages before it that the client still has (RFC 9051 §7.5.1).

use std::borrow::Cow;
use std::sync::Arc;

use super::enable::Enabled;
use super::expected::Expected;
use super::job::{Job, Output, STEP_ROWS};
use super::recent::Recent;
use super::search::Search;
use super::view::{Telling, View};
use super::walk::{Met, Walk};
use super::{Call, Phase, Session, Then, refusal};
use crate::imap::command::{Command, Tagged};
use crate::imap::response;
use crate::mailbox::{FlagChange, Keywords, ModSeq, Row, Snapshot, Uid, UidSet};
use crate::refusal::Refusal;

/// UIDs of one VANISHED response: clients have bounds on lines.
const MAX_VANISHED: usize = 1_000;

/// How a command ends: with this line.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) tag: String,
    /// Condition and text: `OK NOOP completed`.
    pub(super) text: Cow<'static, str>,
    /// Expunges may be told before the line.
    pub(super) expunges: bool,
    /// The line tells HIGHESTMODSEQ, or one before it does.
    pub(super) modseq: bool,
}

/// What comes once the news is told.
#[derive(Debug)]
pub(super) enum After {
    /// The command's tagged line.
    Finish(Finish),
    /// Idling goes on.
    Idle(String),
    /// The next command: nothing was asked for.
    Ready,
    /// A command that has to know the mailbox as it is.
    Execute(Box<Tagged>),
    /// What has arrived in a context was fetched: that it is in the result comes next.
    Context(Box<Search>),
}

impl After {
    /// Whether expunges may be told now (RFC 9051 §7.5.1).
    pub(super) fn expunges(&self) -> bool {
        match self {
            Self::Finish(finish) => finish.expunges,
            Self::Idle(_) | Self::Ready | Self::Context(_) => true,
            Self::Execute(tagged) => match &tagged.command {
                Command::Fetch { uid, .. } => *uid,
                // Numbers in it are those before the expunges (RFC 3501 §5.5).
                Command::Search(search) => search.uid && !search.may_have_numbers(),
                Command::UidBatches { .. } => true,
                _ => false,
            },
        }
    }
}

/// A change of flags by this client, which the news has to take into account.
#[derive(Debug)]
pub(super) struct OwnStore {
    /// The messages.
    pub(super) uids: UidSet,
    /// FETCH responses carry the UID (RFC 9051 §6.4.9).
    pub(super) uid: bool,
    /// `.SILENT`: the client reckons with this change, and only what differs is told.
    pub(super) silent: Option<FlagChange>,
    /// Messages that were left alone because others had changed them: those are told in full, whatever the client
    /// knows of them (RFC 7162 §3.1.3).
    pub(super) modified: UidSet,
}

/// News being told.
#[derive(Debug)]
pub(super) struct News {
    walk: Walk,
    old_keywords: Arc<Keywords>,
    keywords: Arc<Keywords>,
    recent: Recent,
    /// The highest UID that was told before.
    last: Uid,
    /// Messages before the present one, as the client counts them by now.
    number: u64,
    telling: Telling,
    enabled: Enabled,
    old_floor: ModSeq,
    floor: ModSeq,
    own: Option<OwnStore>,
    silent: Option<Expected>,
    /// For VANISHED: told before the next message number, and in lines of a bounded length.
    vanished: Vec<Uid>,
    gone: bool,
    inserted: bool,
    fresh: bool,
    /// Flags have changed that are not told.
    flags: bool,
}

impl News {
    pub(super) fn new(view: &View, enabled: Enabled, telling: Telling, own: Option<OwnStore>) -> Self {
        let latest = view.latest();
        let silent = own
            .as_ref()
            .and_then(|own| own.silent.as_ref())
            .map(|change| Expected::new(change, &latest.keywords));
        Self {
            walk: Walk::new(view.told().clone(), latest.rows.clone()),
            old_keywords: Arc::clone(view.told_keywords()),
            keywords: Arc::clone(&latest.keywords),
            recent: view.recent().clone(),
            last: view.told().last_uid().unwrap_or_default(),
            number: 0,
            telling,
            enabled,
            old_floor: view.told().floor(),
            floor: latest.rows.floor(),
            own,
            silent,
            vanished: Vec::new(),
            gone: false,
            inserted: false,
            fresh: false,
            flags: false,
        }
    }

    /// Tells some. True: all messages were met.
    fn step(&mut self, out: &mut Output) -> bool {
        for _ in 0..STEP_ROWS {
            let closely = self.own.as_ref().map(|own| &own.uids);
            match self.walk.next(closely) {
                None => return true,
                Some(Met::SameBlock(block)) => self.number += block.len() as u64,
                Some(Met::Same(rows)) => self.number += rows.len() as u64,
                Some(Met::Alike(_, range)) if self.floor == self.old_floor => {
                    self.number += range.len() as u64;
                }
                Some(Met::Alike(rows, range)) => {
                    for row in rows.get(range).unwrap_or_default() {
                        self.number += 1;
                        self.tell_flags(out.text(), row, row);
                    }
                }
                Some(Met::Both(old, new)) => {
                    self.number += 1;
                    self.tell_flags(out.text(), &old, &new);
                }
                Some(Met::Gone(row)) => {
                    self.gone = true;
                    self.tell_gone(out.text(), row.uid);
                }
                Some(Met::Fresh(row)) if row.uid > self.last => {
                    self.number += u64::from(self.telling.fresh);
                    self.fresh = true;
                }
                Some(Met::Fresh(_)) => self.inserted = true,
            }
            if out.is_full() {
                return false;
            }
        }
        false
    }

    /// A message that is no longer there.
    fn tell_gone(&mut self, out: &mut Vec<u8>, uid: Uid) {
        if !self.telling.gone {
            self.number += 1;
        } else if self.enabled.vanished() {
            self.vanished.push(uid);
            if self.vanished.len() >= MAX_VANISHED {
                self.tell_vanished(out);
            }
        } else {
            response::untagged_number(out, self.number + 1, "EXPUNGE");
        }
    }

    fn tell_vanished(&mut self, out: &mut Vec<u8>) {
        if !self.vanished.is_empty() {
            out.extend_from_slice(b"* VANISHED ");
            response::uid_list(out, &self.vanished);
            response::end(out);
            self.vanished.clear();
        }
    }

    fn tell_flags(&mut self, out: &mut Vec<u8>, old: &Row, new: &Row) {
        let own = self.own.as_ref().filter(|own| own.uids.contains(new.uid));
        let left_alone = own.is_some_and(|own| own.modified.contains(new.uid));
        let with_uid = own.map_or(self.telling.uid, |own| own.uid) && !self.enabled.uid_only;
        let own = own.is_some() && !left_alone;
        let (old_bits, bits) = (
            self.old_keywords.bits(old.keywords),
            self.keywords.bits(new.keywords),
        );
        let flags_known = match &self.silent {
            Some(change) if own => change.apply(old.flags, old_bits) == (new.flags, bits),
            _ if own || left_alone => false,
            _ => old.flags == new.flags && old_bits == bits,
        };
        let modseq = new.modseq.max(self.floor);
        // Every change of its own is told to a client that reckons with mod-sequences, .SILENT or not.
        let modseq_known = !self.enabled.condstore || (!own && modseq == old.modseq.max(self.old_floor));
        if flags_known && modseq_known {
            return;
        }
        if !self.telling.flags && !own && !left_alone {
            self.flags = true;
            return;
        }
        self.tell_vanished(out);
        self.enabled.begin_fetch(out, self.number, new.uid);
        if with_uid || self.enabled.tells_uids() {
            out.extend_from_slice(b"UID ");
            response::number(out, new.uid.0);
            out.push(b' ');
        }
        let flags = !flags_known || !own;
        if flags {
            out.extend_from_slice(b"FLAGS ");
            response::flags(out, new, &self.keywords, self.recent.contains(new.uid));
        }
        if self.enabled.condstore {
            if flags {
                out.push(b' ');
            }
            response::modseq(out, modseq);
        }
        out.extend_from_slice(b")\r\n");
    }

    /// Whether messages came that are told.
    fn tells_fresh(&self) -> bool {
        self.fresh && self.telling.fresh
    }

    /// The walk is over: what is left to tell, and the view knows it all.
    fn finish(&mut self, out: &mut Vec<u8>, view: &mut View) {
        self.tell_vanished(out);
        view.withhold(self.fresh && !self.telling.fresh, self.flags);
        view.settle(self.telling, self.gone, self.inserted);
        if let Some(own) = self.own.as_ref().filter(|_| self.flags) {
            // Those were told.
            let ranks = view.uid_ranks(&own.uids).into_iter().flatten();
            let told: Vec<Uid> = ranks
                .filter_map(|rank| Some(view.told().get(rank)?.uid))
                .collect();
            view.adopt(&told);
        }
        if !self.tells_fresh() {
            return;
        }
        response::untagged_number(out, view.told().len() as u64, "EXISTS");
        if self.enabled.tells_recent() {
            response::untagged_number(out, view.recent_count() as u64, "RECENT");
        }
    }
}

impl Session {
    /// Ends a command; expunges may be told before its line.
    pub(super) fn complete(&mut self, tag: String, text: impl Into<Cow<'static, str>>) {
        self.complete_with(tag, text, true);
    }

    /// Ends a command. `expunges`: not while a FETCH, STORE or SEARCH with message numbers is answered.
    pub(super) fn complete_with(&mut self, tag: String, text: impl Into<Cow<'static, str>>, expunges: bool) {
        self.tell(After::Finish(Finish {
            tag,
            text: text.into(),
            expunges,
            modseq: false,
        }));
    }

    /// NOOP and CHECK: looks at the mailbox in any case, so that nobody has to wait for the word of a change.
    pub(super) fn look(&mut self, tag: String, text: &'static str) {
        if let Some(selected) = self.selected.as_mut() {
            selected.dirty = true;
        }
        self.complete(tag, text);
    }

    /// Tells what is new, then goes on.
    pub(super) fn tell(&mut self, after: After) {
        let telling = self.telling(&after);
        let Some(selected) = self.selected.as_mut() else {
            return self.go_on(after);
        };
        // An idle session that could not look does not try again and again: the next line of ours is soon enough.
        let again = selected.missed && !matches!(after, After::Idle(_) | After::Ready);
        if selected.dirty || again {
            selected.dirty = false;
            selected.missed = false;
            let mailbox = selected.mailbox.clone();
            return self.call(Call::Changes { mailbox }, Then::Changes(after));
        }
        self.tell_news(after, telling);
    }

    /// Tells what is new, if there is something, then goes on.
    fn tell_news(&mut self, after: After, telling: Telling) {
        let view = self.selected.as_ref().map(|open| &open.view);
        if view.is_some_and(|view| view.is_replaced() || view.has_news(telling)) {
            self.start_news(after, None);
        } else {
            self.go_on(after);
        }
    }

    /// The mailbox as it is now.
    pub(super) fn changes(&mut self, after: After, reply: Result<Snapshot, Refusal>) {
        let telling = self.telling(&after);
        let Some(selected) = self.selected.as_mut() else {
            return self.go_on(after);
        };
        match reply {
            Ok(snapshot) => {
                selected.view.renew(snapshot);
                self.tell_news(after, telling);
            }
            Err(Refusal::NoSuchMailbox | Refusal::NotPossible) => {
                self.mailbox_lost(after, "The selected mailbox is gone");
            }
            Err(_) => {
                // Nothing is lost: the look is repeated with the next command, or the next line of an idle session.
                selected.missed = true;
                self.tell_news(after, telling);
            }
        }
    }

    /// Nothing that the client knows of its mailbox holds any more (RFC 2180 §3).
    fn mailbox_lost(&mut self, after: After, reason: &'static str) {
        match after {
            After::Finish(finish) => self.tagged(&finish.tag, &finish.text),
            After::Execute(tagged) => self.tagged(&tagged.tag, &refusal::no(Refusal::NoSuchMailbox)),
            After::Idle(_) | After::Ready | After::Context(_) => {}
        }
        self.bye(reason, reason);
    }

    /// Tells the difference between what was told and what is.
    pub(super) fn start_news(&mut self, after: After, own: Option<OwnStore>) {
        let telling = self.telling(&after);
        let Some(selected) = self.selected.as_mut() else {
            return self.go_on(after);
        };
        if selected.view.is_replaced() {
            return self.mailbox_lost(after, "UIDVALIDITY of the selected mailbox has changed");
        }
        if telling.fresh && selected.view.wants_claim() {
            let mailbox = selected.mailbox.clone();
            return self.call(
                Call::ClaimRecent { mailbox },
                Then::Claimed(Box::new((after, own))),
            );
        }
        selected.write_new_keywords(self.out.text());
        selected
            .contexts
            .expunge(self.out.text(), &selected.view, telling.gone);
        let news = News::new(&selected.view, self.enabled, telling, own);
        self.phase = Phase::Job(Job::News(Box::new(news), after));
    }

    /// One step of telling.
    pub(super) fn step_news(&mut self, mut news: Box<News>, mut after: After) {
        if !news.step(&mut self.out) {
            self.out.pause();
            self.phase = Phase::Job(Job::News(news, after));
            return;
        }
        if let Some(selected) = self.selected.as_mut() {
            news.finish(self.out.text(), &mut selected.view);
        }
        if let After::Finish(finish) = &mut after {
            // RFC 7162 §3.2.7; and where expunges had to wait, the client now knows of them.
            finish.modseq |= news.gone && news.telling.gone && self.enabled.condstore;
        }
        if !news.tells_fresh() {
            return self.go_on(after);
        }
        if let Some(after) = self.fetch_new(after, news.last) {
            self.go_on(after);
        }
    }

    /// What comes once the news is told.
    pub(super) fn go_on(&mut self, after: After) {
        let Some(after) = self.update_contexts(after) else {
            return;
        };
        match after {
            After::Ready => {
                self.activity = self.now.mono;
                self.phase = Phase::Ready;
            }
            After::Finish(finish) => self.finish(&finish),
            After::Idle(tag) => {
                self.activity = self.now.mono;
                self.phase = Phase::Idle(tag);
            }
            After::Execute(tagged) => self.run(*tagged),
            After::Context(search) => self.refresh_fetched(search),
        }
    }

    /// The last line, and HIGHESTMODSEQ where it is due: with expunges that were told, and as long as some have to wait,
    /// because the client may have seen higher mod-sequences meanwhile (RFC 7162 §3.2, §6).
    fn finish(&mut self, finish: &Finish) {
        let Some(view) = self.selected.as_ref().map(|open| &open.view) else {
            return self.tagged(&finish.tag, &finish.text);
        };
        let told = view.told_modseq();
        let waits = self.enabled.condstore && told < view.latest().modseq;
        let free = finish
            .text
            .strip_prefix("OK ")
            .filter(|text| !text.starts_with('['));
        if waits {
            response::ok_number(
                self.out.text(),
                "HIGHESTMODSEQ",
                told.0,
                "Expunges are to be told",
            );
        }
        match free {
            Some(text) if finish.modseq && !waits => {
                let text = format!("OK [HIGHESTMODSEQ {}] {text}", told.0);
                return self.tagged(&finish.tag, &text);
            }
            Some(text) if view.has_untold_expunges() && self.wants_expunges() => {
                // RFC 5530 §3.
                return self.tagged(&finish.tag, &["OK [EXPUNGEISSUED] ", text].concat());
            }
            _ if finish.modseq && !waits => {
                response::ok_number(self.out.text(), "HIGHESTMODSEQ", told.0, "Highest mod-sequence");
            }
            _ => {}
        }
        self.tagged(&finish.tag, &finish.text);
    }
}
