//! The session itself: inputs, waiting, lines, time. What commands do is in the files beside.

use core::fmt;
use std::borrow::Cow;
use std::collections::VecDeque;

use super::body::{Body, Ending};
use super::check::Checked;
use super::chunks::{Chunked, Unwanted};
use super::lmtp::Lmtp;
use super::outbox::Outbox;
use super::printable::printable;
use super::trace;
use super::transaction::Transaction;
use super::{Call, Reply, Settings};
use crate::addr::{AccountName, Domain};
use crate::chunk::Chunk;
use crate::line::{Inbox, Line};
use crate::machine::{self, Action, CallId, Input, Machine, TlsInfo, WatchId};
use crate::note::Note;
use crate::pace::Pace;
use crate::random::Random;
use crate::sasl::{Exchange, Mechanism};
use crate::smtp::command::{self, MAX_AUTH_LINE};
use crate::smtp::envelope::Recipient;
use crate::smtp::reply;
use crate::time::{Mono, Now};

/// Unread octets above which the host should leave the rest in the socket.
const INBOX_WANTED: usize = 64 * 1024;

/// A receiving SMTP session.
pub struct Session {
    pub(super) settings: Settings,
    pub(super) random: Random,
    pub(super) now: Now,
    /// Inputs that came while the outbox was full: they are looked at in their order once it is not.
    pending: VecDeque<(Now, Input<Reply>)>,
    pending_octets: usize,
    pub(super) inbox: Inbox,
    pub(super) out: Outbox<Call>,
    pub(super) phase: Phase,
    awaiting: Option<Awaiting>,
    next_call: u64,
    next_spool: u32,
    next_watch: u32,
    /// When the client has been silent for too long.
    pub(super) deadline: Mono,
    /// So much waited to be sent or stored that the client was not read: that time is not its own.
    held_up: bool,
    pub(super) tls: Option<TlsInfo>,
    pub(super) helo: Option<Helo>,
    pub(super) login: Option<Login>,
    /// A client that had its AUTH refused may send the rest of the exchange as commands: they are not logged.
    pub(super) auth_seen: bool,
    pub(super) transaction: Option<Box<Transaction>>,
    /// What has come of a message by BDAT, between two chunks.
    pub(super) chunked: Option<Chunked>,
    pub(super) transactions: usize,
    /// The session speaks LMTP.
    pub(super) lmtp: Option<Box<Lmtp>>,
    /// What the checks came to, once they were made.
    pub(super) checked: Option<Box<Checked>>,
    pub(super) errors: usize,
    /// Commands since the last message.
    pub(super) commands: usize,
    /// The account may have changed.
    pub(super) dirty: bool,
    pub(super) eof: bool,
    shutdown: bool,
}

/// What the session does with the octets that come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Command lines.
    Command,
    /// The rest of a line that is too long, and the reply to it.
    Skip(reply::Reply),
    /// Lines of an authentication exchange.
    Auth(Exchange),
    /// A message.
    Body(Box<Body>),
    /// A chunk that is read away.
    Unwanted(Box<Unwanted>),
    /// Nothing, until TLS has started.
    Tls,
    /// Nothing any more.
    Closed,
}

/// The call that is outstanding.
#[derive(Debug)]
struct Awaiting {
    id: CallId,
    then: Then,
}

/// What follows a reply.
#[derive(Debug)]
pub(super) enum Then {
    /// The next challenge of AUTH.
    Scram(Exchange),
    /// Reply to AUTH.
    Authenticate { mechanism: Mechanism, login: String },
    /// On with MAIL.
    Check(Box<command::Mail>),
    /// Reply to MAIL.
    Sender(Box<command::Mail>),
    /// The same, once the priority is known.
    Priority(Box<command::Mail>),
    /// Reply to RCPT.
    Recipient(Box<Recipient>),
    /// 354, or not.
    Open(Box<Body>),
    /// 250, or not.
    Commit(Accepted),
    /// What a message without a commit ends with.
    Discard(Ending),
    /// Go on, or close.
    Recheck,
}

/// What is told of a message once it is safe.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) recipients: usize,
    pub(super) size: u64,
}

impl Accepted {
    /// What the client is told.
    pub(super) fn text(&self) -> String {
        format!("OK: message accepted for delivery {}", self.id)
    }

    pub(super) fn into_note(self) -> Note {
        Note::Accepted {
            id: self.id,
            from: self.from,
            recipients: self.recipients,
            size: self.size,
        }
    }
}

/// What the client called itself.
#[derive(Debug)]
pub(super) struct Helo {
    pub(super) name: Domain,
    /// By EHLO.
    pub(super) extended: bool,
    /// What is wrong with what it called itself.
    pub(super) fault: Option<&'static str>,
}

/// Who has logged in.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) account: AccountName,
    pub(super) epoch: u64,
    pub(super) watch: WatchId,
}

impl Session {
    /// A session that has just been connected to. Its greeting waits to be polled; on a port with implicit TLS
    /// [`Input::TlsStarted`] may be fed before or after that.
    #[must_use]
    pub fn new(settings: Settings, random: Random, now: Now) -> Self {
        let deadline = now.mono + settings.command_timeout;
        let lmtp = Lmtp::of(settings.role);
        let mut session = Self {
            settings,
            random,
            now,
            pending: VecDeque::new(),
            pending_octets: 0,
            inbox: Inbox::default(),
            out: Outbox::default(),
            phase: Phase::Command,
            awaiting: None,
            next_call: 0,
            next_spool: 0,
            next_watch: 0,
            deadline,
            held_up: false,
            tls: None,
            helo: None,
            login: None,
            auth_seen: false,
            transaction: None,
            chunked: None,
            transactions: 0,
            lmtp,
            checked: None,
            errors: 0,
            commands: 0,
            dirty: false,
            eof: false,
            shutdown: false,
        };
        let protocol = if session.lmtp.is_some() { "LMTP" } else { "ESMTP" };
        let greeting = format!("{} {protocol} rmail", session.settings.hostname);
        session.respond(&reply::Reply::plain(220, "").with_text(greeting));
        session
    }

    /// Works through the input in its order until there is nothing to do, or too much to send.
    fn pump(&mut self) {
        loop {
            while !self.out.is_full() && self.step() {}
            if self.out.is_full() {
                self.held_up = true;
                return;
            }
            let Some((now, input)) = self.pending.pop_front() else {
                return;
            };
            if let Input::Bytes(chunk) = &input {
                self.pending_octets -= chunk.len();
            }
            self.apply(now, input);
        }
    }

    fn apply(&mut self, now: Now, input: Input<Reply>) {
        self.now = now;
        match input {
            Input::Bytes(chunk) => self.received(chunk),
            Input::Eof => self.eof = true,
            Input::Tick => self.tick(),
            Input::Reply(id, reply) => self.answered(id, reply),
            Input::TlsStarted(info) => self.tls_started(info),
            Input::Dirty(watch) => {
                self.dirty |= self.login.as_ref().is_some_and(|login| login.watch == watch);
            }
            Input::Shutdown => self.shutdown = true,
        }
    }

    fn received(&mut self, chunk: Chunk) {
        match self.phase {
            // What was sent in clear text behind STARTTLS is not looked at, ever (RFC 3207 §4.2).
            Phase::Tls | Phase::Closed => {}
            _ => self.inbox.push(chunk),
        }
    }

    /// One step; false when the next input is needed.
    fn step(&mut self) -> bool {
        if self.awaiting.is_some() {
            return false;
        }
        match &self.phase {
            Phase::Closed => false,
            Phase::Command | Phase::Body(_) if self.dirty => self.recheck(),
            Phase::Body(_) => self.read_body(),
            Phase::Unwanted(_) => self.read_unwanted(),
            Phase::Tls if self.eof || self.shutdown => self.end("closed before TLS"),
            Phase::Tls => false,
            _ if self.shutdown && !self.is_between_chunks() => {
                let reply = self.closing(421, "4.3.2", "shutting down");
                self.goodbye(&reply, "shutdown")
            }
            Phase::Skip(_) => self.skip_line(),
            Phase::Command | Phase::Auth(_) => self.read_line(),
        }
    }

    fn read_line(&mut self) -> bool {
        let in_auth = matches!(self.phase, Phase::Auth(_));
        match self.inbox.line(MAX_AUTH_LINE) {
            Line::Whole(line) if in_auth => self.auth_line(&line),
            Line::Whole(line) => self.command_line(&line),
            Line::TooLong => {
                self.phase = Phase::Skip(if in_auth {
                    reply::Reply::new(500, "5.5.6", "Authentication exchange line too long")
                } else {
                    line_too_long()
                });
            }
            Line::Partial => return self.at_eof(),
        }
        true
    }

    fn skip_line(&mut self) -> bool {
        if !self.inbox.skip_line() {
            return self.at_eof();
        }
        if let Phase::Skip(reply) = core::mem::replace(&mut self.phase, Phase::Command) {
            self.bad_line(&reply);
        }
        true
    }

    /// Nothing more can be read: is that the end?
    fn at_eof(&mut self) -> bool {
        self.eof && self.end("closed by the client")
    }

    fn tick(&mut self) {
        if self.awaiting.is_some() || self.now.mono < self.deadline {
            return;
        }
        if core::mem::take(&mut self.held_up) {
            return self.restart_clock();
        }
        let reply = self.closing(421, "4.4.2", "timeout, closing connection");
        match core::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Closed => self.phase = Phase::Closed,
            Phase::Tls => {
                self.end("timeout");
            }
            Phase::Body(body) => self.discard(&body, Ending::Close(Some(reply), "timeout")),
            Phase::Command | Phase::Skip(_) | Phase::Auth(_) | Phase::Unwanted(_) => {
                self.goodbye(&reply, "timeout");
            }
        }
    }

    /// The client was not read: its time begins anew.
    fn restart_clock(&mut self) {
        let pace = Pace::new(self.now, self.settings.data_timeout);
        match &mut self.phase {
            Phase::Body(body) => {
                body.pace = pace;
                self.deadline = pace.deadline(self.now);
            }
            _ => {
                if let Some(Chunked::Open(body)) = &mut self.chunked {
                    body.pace = pace;
                }
                self.await_command();
            }
        }
    }

    /// The client's time for the next command begins; between two chunks of a message, that for the message goes on.
    fn await_command(&mut self) {
        self.deadline = self.now.mono + self.settings.command_timeout;
        if let Some(Chunked::Open(body)) = &self.chunked {
            self.deadline = self.deadline.min(body.pace.until());
        }
    }

    fn tls_started(&mut self, info: TlsInfo) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if matches!(self.phase, Phase::Tls) {
            self.phase = Phase::Command;
        }
        self.deadline = self.now.mono + self.settings.command_timeout;
        self.out.note(Note::Tls {
            version: trace::version_name(info.version),
            cipher: info.cipher.clone(),
        });
        self.tls = Some(info);
    }

    /// Asks the service; nothing is consumed until it has answered.
    pub(super) fn ask(&mut self, call: Call, then: Then) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.awaiting = Some(Awaiting { id, then });
        self.out.push(Action::Call(id, call));
    }

    fn answered(&mut self, id: CallId, reply: Reply) {
        let Some(awaiting) = self.awaiting.take_if(|awaiting| awaiting.id == id) else {
            self.out.note(Note::Internal(format!("reply to no call: {id:?}")));
            return;
        };
        match (awaiting.then, reply) {
            (Then::Authenticate { mechanism, login }, Reply::Authenticated(result)) => {
                self.authenticated(mechanism, &login, result);
            }
            (Then::Scram(exchange), Reply::Scram(result)) => self.scram_found(exchange, result),
            (Then::Check(mail), Reply::Checked(checked)) => self.checked(mail, checked),
            (Then::Sender(mail), Reply::Sender(result)) => self.sender_checked(mail, result),
            (Then::Priority(mail), Reply::Priority(result)) => self.priority_known(mail, result),
            (Then::Recipient(recipient), Reply::Recipient(result)) => {
                self.recipient_checked(*recipient, result);
            }
            (Then::Open(body), Reply::Opened(result)) => self.opened(body, result),
            (Then::Commit(accepted), Reply::Committed(result)) => self.committed(accepted, result),
            (Then::Commit(accepted), Reply::CommittedEach(outcomes)) => {
                self.committed_each(accepted, &outcomes);
            }
            (Then::Discard(ending), Reply::Discarded) => self.discarded(ending),
            (Then::Recheck, Reply::Recheck(true)) => {}
            (Then::Recheck, Reply::Recheck(false)) => {
                self.withdrawn();
            }
            (then, reply) => {
                let what = format!("reply {reply:?} does not belong to {then:?}");
                self.out.note(Note::Internal(what));
                let reply = self.closing(421, "4.3.0", "internal error, closing connection");
                self.goodbye(&reply, "internal error");
            }
        }
    }

    /// The login was withdrawn: what is on its way is not delivered any more.
    fn withdrawn(&mut self) {
        let reply = self.closing(421, "4.7.0", "login no longer valid, closing connection");
        match core::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Body(body) => self.discard(&body, Ending::Close(Some(reply), "account changed")),
            phase => {
                self.phase = phase;
                self.goodbye(&reply, "account changed");
            }
        }
    }

    /// The login may have been withdrawn meanwhile.
    fn recheck(&mut self) -> bool {
        self.dirty = false;
        if let Some(login) = &self.login {
            let call = Call::Recheck {
                account: login.account.clone(),
                epoch: login.epoch,
            };
            self.ask(call, Then::Recheck);
        }
        true
    }

    pub(super) fn new_spool(&mut self) -> machine::SpoolId {
        let spool = machine::SpoolId(self.next_spool);
        self.next_spool = self.next_spool.wrapping_add(1);
        spool
    }

    pub(super) fn new_watch(&mut self) -> WatchId {
        let watch = WatchId(self.next_watch);
        self.next_watch = self.next_watch.wrapping_add(1);
        watch
    }

    /// Sends a reply; the client's time for the next command begins.
    pub(super) fn respond(&mut self, reply: &reply::Reply) {
        self.out.send(reply.wire());
        self.out.note(Note::Response(reply.line()));
        self.await_command();
    }

    /// The same for a reply of several lines.
    pub(super) fn respond_lines(&mut self, code: u16, lines: &[Cow<'_, str>]) {
        self.out.send(reply::multiline(code, lines));
        self.out
            .note(Note::Response(format!("{code} {}", lines.join(" / "))));
        self.await_command();
    }

    /// Sends a reply that says no. After too many of the permanent kind the session ends.
    pub(super) fn fail(&mut self, reply: &reply::Reply) {
        self.respond(reply);
        self.count_error(reply);
    }

    /// A reply was sent that says no.
    pub(super) fn count_error(&mut self, reply: &reply::Reply) {
        if reply.is_permanent() {
            self.errors += 1;
            if self.errors >= self.settings.max_errors {
                let reply = self.closing(421, "4.7.0", "too many errors, closing connection");
                self.goodbye(&reply, "too many errors");
            }
        }
    }

    /// The same for what policy refused, which is worth a line in the log.
    pub(super) fn refuse(&mut self, what: &str, reply: &reply::Reply) {
        self.note_refused(what, reply);
        self.fail(reply);
    }

    pub(super) fn note_refused(&mut self, what: &str, reply: &reply::Reply) {
        self.out.note(Note::Refused {
            what: printable(what.as_bytes()),
            reply: reply.line(),
        });
    }

    /// `221 2.0.0 {hostname} closing connection` and its like.
    pub(super) fn closing(&self, code: u16, enhanced: &'static str, why: &str) -> reply::Reply {
        reply::Reply::new(code, enhanced, "").with_text(format!("{} {why}", self.settings.hostname))
    }

    /// A last reply, and the end. What has come of a message is dropped before.
    pub(super) fn goodbye(&mut self, reply: &reply::Reply, reason: &'static str) -> bool {
        if let Some(Chunked::Open(body)) = self.chunked.take() {
            self.discard(&body, Ending::Close(Some(reply.clone()), reason));
            return true;
        }
        self.respond(reply);
        self.end(reason)
    }

    /// The end. Always true: something was done.
    pub(super) fn end(&mut self, reason: &'static str) -> bool {
        if self.awaiting.is_none()
            && let Some(Chunked::Open(body)) = self.chunked.take()
        {
            self.discard(&body, Ending::Close(None, reason));
            return true;
        }
        self.out.note(Note::Ended(reason));
        self.out.push(Action::Close);
        self.phase = Phase::Closed;
        self.awaiting = None;
        self.inbox.clear();
        self.pending.clear();
        self.pending_octets = 0;
        true
    }
}

impl Machine for Session {
    type Input = Input<Reply>;
    type Action = Action<Call>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if let Input::Bytes(chunk) = &input {
            self.pending_octets += chunk.len();
        }
        self.pending.push_back((now, input));
        self.pump();
        if self.inbox.len() + self.pending_octets > Inbox::HARD_CAP {
            self.end("too much unread input");
        }
    }

    fn poll_action(&mut self) -> Option<Self::Action> {
        self.pump();
        self.out.pop()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        let waits_for_client =
            self.awaiting.is_none() && !self.out.is_full() && !matches!(self.phase, Phase::Closed);
        waits_for_client.then_some(self.deadline)
    }
}

impl machine::Session for Session {
    type Call = Call;
    type Reply = Reply;

    fn wants_bytes(&self) -> bool {
        self.awaiting.is_none()
            && !matches!(self.phase, Phase::Tls | Phase::Closed)
            && !self.eof
            && !self.out.is_full()
            && self.inbox.len() + self.pending_octets <= INBOX_WANTED
    }
}

impl fmt::Debug for Session {
    /// Without the unread input, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("awaiting", &self.awaiting)
            .field("login", &self.login)
            .field("transaction", &self.transaction)
            .field("unread", &self.inbox.len())
            .finish_non_exhaustive()
    }
}

/// The reply to a command line beyond the limit.
pub(super) const fn line_too_long() -> reply::Reply {
    reply::Reply::new(500, "5.5.2", "Line too long")
}
