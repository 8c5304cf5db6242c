//! The IMAP server session (RFC 3501, RFC 9051).
//!
//! Inputs are kept in order and worked through when the host polls: a command is read, executed, and answered before
//! the next one is looked at. What is in progress is the `Phase`; a question to the service is an `Awaiting` whose
//! `Then` says how the reply goes on. Long answers are jobs: each poll takes one step of them.

mod acl;
mod again;
mod append;
mod batches;
mod call;
mod context;
mod copy;
mod enable;
mod execute;
mod expected;
mod expunge;
mod fetch;
mod filters;
mod idle;
mod incoming;
mod input;
mod job;
mod list;
mod list_tree;
mod login;
mod mailbox;
mod metadata;
mod misc;
mod multisearch;
mod news;
mod notify;
mod notify_list;
mod notify_metadata;
mod notify_news;
mod place;
mod quota;
mod recent;
mod refusal;
mod resume;
mod resync;
mod search;
mod search_program;
mod search_result;
mod section;
mod select;
mod sort;
mod status;
mod store;
mod view;
mod walk;

pub use call::{
    Appended, Body, Call, CopyUid, MailboxEntry, MailboxStatus, NewMessage, Ranking, Reply, Selected,
    Settings, SharedMailbox, Stored,
};
pub(crate) use walk::{Met, Walk};

use std::collections::VecDeque;

use self::enable::Enabled;
use self::execute::shown;
use self::incoming::Incoming;
use self::job::{Job, Output};
use self::notify::Notified;
use self::resume::{Awaiting, Then};
use self::select::Open;
use crate::addr::AccountName;
use crate::chunk::Chunk;
use crate::imap::capability::{self, Offer};
use crate::imap::parse::{Event, Parser};
use crate::line::Inbox;
use crate::machine::{Action, Machine as _, Scope, SpoolId, WatchId};
use crate::mailbox::ModSeq;
use crate::note::Note;
use crate::random::Random;
use crate::sasl::{Bindings, Exchange};
use crate::time::{Mono, Now};

/// Commands that were refused as BAD, one after the other, before the session ends.
const MAX_BAD: u32 = 20;

/// Failed logins before the session ends.
const MAX_LOGIN_FAILURES: u32 = 10;

/// Unread octets from which on the host should leave more in the socket.
const ENOUGH_UNREAD: usize = 64 * 1024;

/// A server session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    now: Now,
    parser: Parser,
    inbox: Inbox,
    /// What happened and was not looked at, in order.
    pending: VecDeque<Pending>,
    /// Octets in `pending`.
    pending_octets: usize,
    out: Output,
    phase: Phase,
    awaiting: Option<Box<Awaiting>>,
    reply: Option<Box<Reply>>,
    last_call: u64,
    last_watch: u32,
    last_spool: u32,
    account: Option<Box<Account>>,
    enabled: Enabled,
    selected: Option<Box<Open>>,
    /// What NOTIFY has asked for; none before the first.
    notified: Option<Box<Notified>>,
    /// When the client last did something, or was last answered.
    activity: Mono,
    tls: bool,
    /// COMPRESS is on.
    compressed: bool,
    /// What SCRAM can bind to.
    bindings: Option<Box<Bindings>>,
    random: Random,
    /// The account has changed: does the login still hold?
    recheck: bool,
    /// The server is going down.
    stopping: bool,
    bad: u32,
    failures: u32,
    /// When the client was last alerted of its quota.
    alerted: Option<Mono>,
}

/// Who is logged in.
#[derive(Debug)]
struct Account {
    name: AccountName,
    epoch: u64,
    watch: WatchId,
}

/// What the session is at.
#[derive(Debug)]
enum Phase {
    /// The greeting is to be sent.
    Greeting,
    /// The next command.
    Ready,
    /// A command waits for a reply.
    Waiting,
    /// A long answer.
    Job(Job),
    /// IDLE with this tag.
    Idle(String),
    /// AUTHENTICATE with this tag.
    Sasl(String, Box<Exchange>),
    /// APPEND's messages.
    Append(Box<Incoming>),
    /// TLS is being set up.
    Tls,
    /// What is held is given back, then the stream is closed.
    Ending(Vec<SpoolId>, &'static str),
    /// Nothing more.
    Closed,
}

/// Something that happened.
#[derive(Debug)]
enum Pending {
    Bytes(Chunk),
    Eof,
    Tick,
    Dirty(WatchId),
    Shutdown,
}

impl Session {
    /// A session that begins now. For an implicit-TLS port feed [`TlsStarted`](crate::machine::Input::TlsStarted) before the first poll. The
    /// generator is for nonces.
    #[must_use]
    pub fn new(settings: Settings, random: Random, now: Now) -> Self {
        Self {
            parser: Parser::new(settings.max_message_size),
            settings,
            now,
            inbox: Inbox::default(),
            pending: VecDeque::new(),
            pending_octets: 0,
            out: Output::default(),
            phase: Phase::Greeting,
            awaiting: None,
            reply: None,
            last_call: 0,
            last_watch: 0,
            last_spool: 0,
            account: None,
            enabled: Enabled::default(),
            selected: None,
            notified: None,
            activity: now.mono,
            tls: false,
            compressed: false,
            bindings: None,
            random,
            recheck: false,
            stopping: false,
            bad: 0,
            failures: 0,
            alerted: None,
        }
    }

    /// Goes one thing further. False: there is nothing to do until the next input.
    fn advance(&mut self) -> bool {
        if self.awaiting.is_some() {
            return self.take_reply();
        }
        if self.recheck && !matches!(self.phase, Phase::Ending(..) | Phase::Closed) {
            return self.ask_recheck();
        }
        match &self.phase {
            Phase::Greeting => self.greet(),
            Phase::Ready => return self.read_command(),
            Phase::Idle(_) => return self.read_idle(),
            Phase::Sasl(..) => return self.read_sasl(),
            Phase::Append(_) => return self.read_append(),
            Phase::Job(_) => self.step_job(),
            Phase::Ending(..) => self.end_further(),
            Phase::Tls => return self.next_pending(),
            Phase::Closed => return false,
            Phase::Waiting => self.internal("a command waits for nothing"),
        }
        true
    }

    fn greet(&mut self) {
        self.out.text().extend_from_slice(b"* OK [");
        let offer = self.offer();
        capability::write(self.out.text(), offer);
        let rest = format!("] {} rmail ready", self.settings.hostname);
        self.out.line(&rest);
        self.phase = Phase::Ready;
    }

    /// What CAPABILITY says now.
    fn offer(&self) -> Offer {
        Offer {
            authenticated: self.account.is_some(),
            starttls: self.settings.starttls && !self.tls,
            login: self.tls || self.settings.cleartext_auth,
            bindings: self.bindings.is_some(),
            compress: self.settings.compress && !self.compressed,
            append_limit: self.settings.max_message_size,
        }
    }

    fn read_command(&mut self) -> bool {
        if self.stopping {
            self.bye("[UNAVAILABLE] Server is shutting down", "shutdown");
            return true;
        }
        if self.speak() {
            return true;
        }
        match self.parser.poll(&mut self.inbox, self.account.is_some()) {
            Event::NeedBytes => return self.next_pending(),
            Event::Continue => self.out.line("+ Ready for more"),
            Event::Command(tagged) => {
                self.activity = self.now.mono;
                self.out.push(Action::Note(Note::Command(shown(&tagged))));
                self.execute(tagged);
            }
            Event::Append(append) => self.append(append),
            Event::Bad { tag, text } => self.refuse_malformed(tag.as_deref().unwrap_or("*"), &text),
            Event::ValueTooLong { tag } => self.complete(tag, metadata::too_long()),
            Event::TooBig => self.bye("[TOOBIG] Literal or line is too long", "literal too big"),
            Event::Message(_) | Event::Url(_) | Event::Offer(_) | Event::Literal(_) | Event::AppendEnd => {
                self.internal("literal without APPEND");
            }
        }
        true
    }

    /// Looks at the next thing that happened. False: there is none.
    fn next_pending(&mut self) -> bool {
        match self.pending.pop_front() {
            None => {
                self.out.rest();
                self.pending = VecDeque::new();
                return false;
            }
            Some(Pending::Bytes(chunk)) => {
                self.pending_octets -= chunk.len();
                self.inbox.push(chunk);
            }
            Some(Pending::Eof) => self.end("closed by the client"),
            Some(Pending::Tick) => self.tick(),
            Some(Pending::Dirty(watch)) => {
                if let Some(selected) = self.selected.as_mut().filter(|open| open.watch == watch) {
                    selected.dirty = true;
                }
                self.woken(watch);
            }
            Some(Pending::Shutdown) => self.stop(),
        }
        true
    }

    /// The server is going down: at once while nothing is in progress, else after the command.
    fn stop(&mut self) {
        self.stopping = true;
        if matches!(self.phase, Phase::Idle(_) | Phase::Sasl(..) | Phase::Tls) {
            self.bye("[UNAVAILABLE] Server is shutting down", "shutdown");
        }
    }

    fn tick(&mut self) {
        if self.poll_timeout().is_none_or(|at| at > self.now.mono) {
            return;
        }
        if matches!(self.phase, Phase::Idle(_)) || (matches!(self.phase, Phase::Ready) && self.listens()) {
            self.keep_alive();
        } else if matches!(self.phase, Phase::Tls) {
            self.end("TLS was not set up in time");
        } else {
            self.bye("Autologout; idle for too long", "idle for too long");
        }
    }

    fn step_job(&mut self) {
        match core::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Job(Job::News(news, after)) => self.step_news(news, after),
            Phase::Job(Job::Fetch(fetch)) => self.step_fetch(fetch),
            Phase::Job(Job::Search(search)) => self.step_search(search),
            Phase::Job(Job::Resync(resync)) => self.step_resync(resync),
            Phase::Job(Job::Listing(listing)) => self.step_listing(listing),
            Phase::Job(Job::Notices(round)) => self.step_notices(round),
            other => self.phase = other,
        }
    }

    /// Begins to hear of changes.
    fn watch(&mut self, scope: Scope, seen: ModSeq) -> WatchId {
        self.last_watch += 1;
        let watch = WatchId(self.last_watch);
        self.out.push(Action::Watch(watch, scope, seen));
        watch
    }

    /// A command's last line.
    fn tagged(&mut self, tag: &str, text: &str) {
        let line = [tag, " ", text].concat();
        let note = line.clone();
        self.answered(&line, note);
        if text.starts_with("OK") {
            self.bad = 0;
        }
    }

    /// A command's last line, and how it is noted.
    fn answered(&mut self, line: &str, note: String) {
        self.activity = self.now.mono;
        self.phase = Phase::Ready;
        self.command_is_over();
        self.out.line(line);
        self.out.push(Action::Note(Note::Response(note)));
    }

    /// A command that is out of place.
    fn refuse_bad(&mut self, tag: &str, text: &str) {
        self.tagged(tag, &format!("BAD {text}"));
        self.count_bad();
    }

    /// Octets that are no command. Before login they may be a password that the client sends although it was not asked
    /// for it, and then the tag and the words are parts of it: they are not noted.
    fn refuse_malformed(&mut self, tag: &str, text: &str) {
        let line = [tag, " BAD ", text].concat();
        let note = match &self.account {
            Some(_) => line.clone(),
            None => "BAD".to_owned(),
        };
        self.answered(&line, note);
        self.count_bad();
    }

    fn count_bad(&mut self) {
        self.bad += 1;
        if self.bad >= MAX_BAD {
            self.bye("Too many bad commands", "too many bad commands");
        }
    }

    /// Says good-bye and ends the session.
    fn bye(&mut self, text: &str, reason: &'static str) {
        self.out.line(&["* BYE ", text].concat());
        self.end(reason);
    }

    /// Ends the session: gives back what it holds, then closes.
    fn end(&mut self, reason: &'static str) {
        let spools = match &self.phase {
            Phase::Append(incoming) => incoming.spools(),
            _ => Vec::new(),
        };
        self.phase = Phase::Ending(spools, reason);
    }

    fn end_further(&mut self) {
        let Phase::Ending(spools, reason) = &mut self.phase else {
            return;
        };
        let (spools, reason) = (core::mem::take(spools), *reason);
        if !spools.is_empty() {
            return self.call(Call::Discard { spools }, Then::End(reason));
        }
        if let Some(mailbox) = self.deselect() {
            return self.call(Call::Unselect { mailbox }, Then::End(reason));
        }
        self.close(reason);
    }

    fn close(&mut self, reason: &'static str) {
        self.out.push(Action::Note(Note::Ended(reason)));
        self.out.push(Action::Close);
        self.phase = Phase::Closed;
        self.awaiting = None;
        self.reply = None;
        self.inbox.clear();
        self.pending = VecDeque::new();
        self.pending_octets = 0;
        self.selected = None;
        self.notified = None;
        self.account = None;
    }

    /// A fault of ours or of the host.
    fn internal(&mut self, what: &str) {
        self.out.push(Action::Note(Note::Internal(what.to_owned())));
        self.out.line("* BYE [SERVERBUG] Internal error");
        self.close("internal error");
    }

    /// Drops what came and was not read, but not what happened.
    fn drop_unread(&mut self) {
        self.inbox.clear();
        self.pending
            .retain(|pending| !matches!(pending, Pending::Bytes(_)));
        self.pending_octets = 0;
    }

    /// Whose mail this is.
    fn account_name(&self) -> Option<AccountName> {
        self.account.as_ref().map(|account| account.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        let bytes = size_of::<Session>();
        assert!(bytes <= 1024, "{bytes}");
    }
}
