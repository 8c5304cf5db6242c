//! The sending session: one connection, and the messages that go over it one after the other.
//!
//! The host connects, makes a [`Session`] and drives it like any other: it feeds octets, answers
//! [`Call::Read`] with pieces of the stored message, performs TLS. When the session has emitted
//! [`Action::Close`], [`Session::outcome`] has the result.
//!
//! With [`Session::keep_open`] a session whose message is answered for does not end: it asks for a further one with
//! [`Call::Next`], which has the outcome so far. That call may stay open for as long as the host likes. Meanwhile the
//! session listens: a server that hangs up, or speaks, ends it.
//!
//! * [`TlsPolicy::Implicit`]: the host does the handshake before anything else and feeds [`Input::TlsStarted`] first.
//! * [`Action::StartTls`]: the host does the handshake as a client. With [`TlsPolicy::verifies`] it refuses a
//!   certificate that does not verify for [`Settings::server`] (or by [`Settings::trust`]), else it takes any. Then [`Input::TlsStarted`].
//! * A handshake or a connection that fails is [`Input::Eof`], whatever the error.
//!
//! # Invariants
//!
//! * After the final dot nothing but the reply to it decides: a connection lost there may give a duplicate, never a
//!   loss.
//! * A message whose reading fails is never ended by a dot.
//! * Credentials go over verified TLS only, or over any TLS when the policy is [`TlsPolicy::Require`].
//! * What a kept connection that turns out dead does to its next message is no failure of that message
//!   ([`End::Stale`]): nothing of it was taken.

mod auth;
mod body;
mod chunks;
mod extensions;
mod hello;
mod keep;
mod reply;
mod transaction;

use std::collections::VecDeque;
use std::time::Duration;

use self::auth::Auth;
use self::body::BodyEncoder;
use self::chunks::Chunks;
use self::extensions::Extensions;
use self::reply::{ReplyReader, ServerReply};
use self::transaction::Command;
pub(crate) use self::transaction::TOO_MANY;
use crate::addr::{Address, ReversePath};
use crate::chunk::Chunk;
use crate::line::Inbox;
use crate::machine::{self, Action, CallId, Input, Machine};
use crate::note::Note;
use crate::refusal::Refusal;
use crate::relay::tls::{Encryption, Trust};
use crate::relay::{Credentials, Enhanced, Outcome as Verdict, Report, TlsPolicy};
use crate::sasl::Bindings;
use crate::sasl::client::NONCE;
use crate::secret::Secret;
use crate::smtp::envelope::{DsnRequest, Wishes};
use crate::time::{Mono, Now};

/// Waits of RFC 5321 §4.5.3.2.
mod timeout {
    use super::Duration;

    /// §4.5.3.2.1: the greeting; also the handshake of implicit TLS.
    pub(super) const GREETING: Duration = Duration::from_secs(300);
    /// §4.5.3.2.2 and §4.5.3.2.3: MAIL, RCPT, and the commands before them.
    pub(super) const COMMAND: Duration = Duration::from_secs(300);
    /// §4.5.3.2.4: 354 after DATA.
    pub(super) const DATA: Duration = Duration::from_secs(120);
    /// §4.5.3.2.5: a piece of the message is taken.
    pub(super) const BLOCK: Duration = Duration::from_secs(180);
    /// §4.5.3.2.6: the reply to the final dot.
    pub(super) const FINAL: Duration = Duration::from_secs(600);
    /// The reply to QUIT: nothing depends on it.
    pub(super) const QUIT: Duration = Duration::from_secs(10);
}

/// Octets of the message asked for at once.
const PIECE: usize = 64 * 1024;

/// Octets of replies that wait at most before `wants_bytes` says no.
const INBOX: usize = 64 * 1024;

/// What the session is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our FQDN, for EHLO.
    pub hostname: String,
    /// The server's name: for reports, SNI and the certificate.
    pub server: String,
    /// TLS.
    pub tls: TlsPolicy,
    /// For AUTH.
    pub credentials: Option<Credentials>,
    /// For the host: what the certificate is held against.
    pub trust: Trust,
}

/// The message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO.
    pub recipients: Vec<Recipient>,
    /// First octet of the stored message that is sent.
    pub offset: u64,
    /// Octets of the stored message, those before `offset` included.
    pub size: u64,
    /// It holds octets above 127.
    pub eight_bit: bool,
    /// What goes with it: passed on to a server that knows it.
    pub wishes: Wishes,
}

/// One recipient of a [`Job`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Its address.
    pub address: Address,
    /// What the sender wants to be told.
    pub dsn: DsnRequest,
}

impl From<Address> for Recipient {
    /// Without parameters.
    fn from(address: Address) -> Self {
        Self {
            address,
            dsn: DsnRequest::default(),
        }
    }
}

/// A question to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Read octets of the stored message.
    Read {
        /// First octet.
        offset: u64,
        /// How many at most; not 0.
        max: usize,
    },
    /// Draw octets of chance, for SCRAM.
    Nonce,
    /// Salt a password with [`crate::auth::password::salted`], for SCRAM. It may take seconds.
    Salt {
        /// Password.
        password: Secret,
        /// Salt.
        salt: Vec<u8>,
        /// Iterations.
        rounds: u32,
    },
    /// The server has greeted: it is alive and takes mail. Asked once, of kept sessions only.
    Greeted,
    /// The message is answered for, and the connection could take another; only of kept sessions.
    Next {
        /// What became of the message.
        outcome: Box<Outcome>,
    },
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The octets: at least one, at most `max`. Empty: the file is shorter than [`Job::size`] says, which is a fault.
    Read(Result<Chunk, Refusal>),
    /// They have never been given to anybody.
    Nonce([u8; NONCE]),
    /// What came of it.
    Salted(Secret),
    /// To [`Call::Greeted`]: heard.
    Noted,
    /// To [`Call::Next`]: the next message, or none, which ends the session with QUIT.
    Next(Option<Box<Job>>),
}

/// The result of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One for each of [`Job::recipients`], in their order.
    pub recipients: Vec<Verdict>,
    /// What it means for the recipients that are not final.
    pub end: End,
    /// What came of TLS on this connection: with the first outcome on it, if it came to that. Why a handshake failed is
    /// for the host to put in.
    pub tls: Option<Encryption>,
}

/// How a session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server has answered for every recipient.
    Complete,
    /// The connection or the server failed before the message was over: another address may do better.
    NextHost,
    /// TLS failed and the policy allows clear text: connect to the same address again with [`TlsPolicy::None`].
    RetryWithoutTls,
    /// The connection was lost between the final dot and the reply: the message may have been taken. Not now again.
    Uncertain,
    /// We failed (reading, credentials, shutdown): another address will not do better.
    Ours,
    /// A kept connection was found dead, or its server tired of it, before MAIL was answered: the message was not tried.
    /// At once again on a connection of its own. Never of a session's first message.
    Stale,
}

/// The sending session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    job: Job,
    now: Now,
    state: State,
    inbox: Inbox,
    replies: ReplyReader,
    extensions: Extensions,
    tls: bool,
    /// What TLS that is, for reports.
    tls_words: Option<String>,
    /// What came of TLS, until it is told.
    encryption: Option<Encryption>,
    /// AUTH has succeeded.
    logged_in: bool,
    /// The login under way.
    auth: Option<Box<Auth>>,
    /// Of the TLS connection.
    bindings: Option<Bindings>,
    to_send: VecDeque<Command>,
    expected: VecDeque<Command>,
    /// How many of them are left when more is sent.
    refill: usize,
    verdicts: Vec<Option<Verdict>>,
    accepted: Vec<bool>,
    encoder: BodyEncoder,
    chunks: Chunks,
    /// Next octet of the stored message to read.
    position: u64,
    awaiting: Option<CallId>,
    calls: u64,
    deadline: Option<Mono>,
    outcome: Option<Outcome>,
    out: VecDeque<Action<Call>>,
    /// Messages that the session may take over its connection.
    most: u32,
    /// Messages that were answered for.
    done: u32,
    /// MAIL of this message was answered.
    mail_answered: bool,
    /// The server may think that a transaction is open: RSET comes before the next.
    unfinished: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// TLS of an implicit-TLS port.
    ImplicitTls,
    Greeting,
    Ehlo,
    Helo,
    /// 220 after STARTTLS.
    StartTls,
    /// The handshake after it.
    Handshake,
    /// Replies to AUTH and to what follows it, or our own answer.
    Auth,
    /// Replies to MAIL, RCPT, DATA.
    Transaction,
    /// Pieces of the message.
    Body,
    /// Pieces of the message, and replies to chunks.
    Chunks,
    /// The reply to the final dot.
    Final,
    /// The reply to a dot after DATA without recipients (RFC 2920 §3.1).
    LoneDot,
    /// The next message, from the host.
    Idle,
    /// The reply to QUIT.
    Quit,
    Closed,
}

impl Session {
    /// A session for a connection that is just made.
    #[must_use]
    pub fn new(now: Now, settings: Settings, job: Job) -> Self {
        let implicit = settings.tls == TlsPolicy::Implicit;
        Self {
            state: if implicit {
                State::ImplicitTls
            } else {
                State::Greeting
            },
            now,
            inbox: Inbox::default(),
            replies: ReplyReader::default(),
            extensions: Extensions::default(),
            tls: false,
            tls_words: None,
            encryption: None,
            logged_in: false,
            auth: None,
            bindings: None,
            to_send: VecDeque::new(),
            expected: VecDeque::new(),
            refill: 0,
            verdicts: vec![None; job.recipients.len()],
            accepted: vec![false; job.recipients.len()],
            encoder: BodyEncoder::new(),
            chunks: Chunks::default(),
            position: job.offset,
            awaiting: None,
            calls: 0,
            deadline: Some(now.mono + timeout::GREETING),
            outcome: None,
            out: VecDeque::new(),
            most: 1,
            done: 0,
            mail_answered: false,
            unfinished: false,
            settings,
            job,
        }
    }

    /// The result of the last message, unless [`Call::Next`] told it; there is one after [`Action::Close`], and as soon
    /// as it is known.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls
    }

    fn process(&mut self) {
        while self.reads_replies() {
            if self.state == State::Idle {
                // Nothing was asked: a server that speaks now goes, or is out of step.
                if !self.is_in_step() {
                    self.close();
                }
                return;
            }
            match self.replies.next(&mut self.inbox) {
                Ok(Some(reply)) => self.on_reply(&reply),
                Ok(None) => {
                    if self.inbox.len() > Inbox::HARD_CAP {
                        self.broken();
                    }
                    return;
                }
                Err(_) => {
                    self.broken();
                    return;
                }
            }
        }
    }

    fn reads_replies(&self) -> bool {
        let busy = self.state == State::Auth && self.awaiting.is_some();
        !busy
            && !matches!(
                self.state,
                State::ImplicitTls | State::Handshake | State::Body | State::Closed
            )
    }

    fn on_reply(&mut self, reply: &ServerReply) {
        self.out
            .push_back(Action::Note(Note::Response(reply.to_string())));
        if reply.code == 421 && self.is_busy() {
            let report = reply.report(&self.settings.server);
            self.give_up(End::NextHost, report);
            return;
        }
        match self.state {
            State::Greeting => self.on_greeting(reply),
            State::Ehlo => self.on_ehlo(reply),
            State::Helo => self.on_helo(reply),
            State::StartTls => self.on_starttls(reply),
            State::Auth => self.on_auth(reply),
            State::Transaction => self.on_transaction(reply),
            State::Chunks => self.on_chunk(reply),
            State::Final => self.on_final(reply),
            State::LoneDot => self.complete(),
            State::Quit => self.close(),
            State::ImplicitTls | State::Handshake | State::Body | State::Idle | State::Closed => {}
        }
    }

    /// Something came that is no SMTP.
    fn broken(&mut self) {
        let end = if self.state == State::Final || (self.state == State::Chunks && self.chunks.is_over()) {
            End::Uncertain
        } else {
            End::NextHost
        };
        let report = Report::ours(Enhanced(4, 5, 0), "the server does not speak SMTP");
        self.give_up(end, report.at(&self.settings.server.clone()));
    }

    fn on_eof(&mut self) {
        match self.state {
            State::Handshake | State::ImplicitTls => self.tls_failed("TLS handshake failed"),
            State::Body => self.lost_in_body("connection lost in the middle of the message"),
            State::Chunks => self.lost_in_chunks("connection lost in the middle of the message"),
            State::Final => self.give_up(
                End::Uncertain,
                self.lost("connection lost after the end of the message"),
            ),
            State::Idle | State::Quit | State::Closed => self.close(),
            _ => self.give_up(End::NextHost, self.lost("connection lost")),
        }
    }

    fn on_timeout(&mut self) {
        let Some(deadline) = self.deadline else {
            return;
        };
        if self.now.mono < deadline {
            return;
        }
        match self.state {
            State::Handshake | State::ImplicitTls => self.tls_failed("TLS handshake timed out"),
            State::Final => self.give_up(
                End::Uncertain,
                self.lost("no reply after the end of the message in time"),
            ),
            State::Chunks => self.lost_in_chunks("the message was not taken in time"),
            State::Quit | State::Closed => self.close(),
            state => {
                let waited = match state {
                    State::Greeting => "no greeting in time",
                    State::Body => "the message was not taken in time",
                    _ => "no reply in time",
                };
                self.give_up(End::NextHost, self.lost(waited));
            }
        }
    }

    /// RFC 3463 §3.5: 4.4.2, the connection was there and is no longer.
    fn lost(&self, text: &str) -> Report {
        Report::ours(Enhanced(4, 4, 2), text).at(&self.settings.server)
    }

    fn on_shutdown(&mut self) {
        match self.state {
            // Octets of the message are on their way, or all is decided: go on to the end.
            State::Body | State::Chunks | State::Final | State::LoneDot | State::Quit | State::Closed => {}
            State::Idle => self.quit(),
            _ => self.give_up(End::Ours, Report::ours(Enhanced(4, 3, 2), "shutting down")),
        }
    }

    /// Every recipient that is not decided stays for later; the connection is dropped.
    fn give_up(&mut self, end: End, report: Report) {
        let end = match end {
            End::NextHost if self.is_untried() => End::Stale,
            end => end,
        };
        self.decide(end, &report);
        self.close();
    }

    fn decide(&mut self, end: End, rest: &Report) {
        if self.is_busy() {
            let mut recipients: Vec<Verdict> = core::mem::take(&mut self.verdicts)
                .into_iter()
                .map(|verdict| verdict.unwrap_or_else(|| Verdict::Temporary(rest.clone())))
                .collect();
            for recipient in &mut recipients {
                recipient.report_mut().tls.clone_from(&self.tls_words);
            }
            let tls = self.encryption.take();
            self.outcome = Some(Outcome { recipients, end, tls });
        }
    }

    /// All is answered.
    fn complete(&mut self) {
        let rest = Report::ours(Enhanced(4, 5, 0), "the server did not answer for this recipient");
        let rest = rest.at(&self.settings.server);
        self.done = self.done.saturating_add(1);
        if self.may_go_on() {
            self.ask_for_next(&rest);
        } else {
            self.leave(End::Complete, &rest);
        }
    }

    /// As [`Session::give_up`], but the connection is in order: QUIT first (RFC 5321 §4.1.1.10).
    fn leave(&mut self, end: End, rest: &Report) {
        self.decide(end, rest);
        self.quit();
    }

    fn quit(&mut self) {
        self.command("QUIT");
        self.wait(State::Quit, timeout::QUIT);
    }

    fn close(&mut self) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.deadline = None;
            self.inbox.clear();
            self.out.push_back(Action::Close);
        }
    }

    fn wait(&mut self, state: State, at_most: Duration) {
        self.state = state;
        self.deadline = Some(self.now.mono + at_most);
    }

    /// Asks the host; nothing else is asked before it answers.
    fn ask(&mut self, call: Call) {
        let id = CallId(self.calls);
        self.calls += 1;
        self.awaiting = Some(id);
        self.out.push_back(Action::Call(id, call));
    }

    /// Sends one line.
    fn command(&mut self, line: &str) {
        self.out.push_back(Action::Note(Note::Command(line.to_owned())));
        self.send(format!("{line}\r\n").into_bytes());
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.out.push_back(Action::Send(bytes.into()));
    }
}

impl Machine for Session {
    type Input = Input<Reply>;
    type Action = Action<Call>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        self.now = now;
        match input {
            Input::Bytes(chunk) => {
                // Before TLS is up there is nobody to believe (RFC 3207 §4.2).
                if !matches!(self.state, State::ImplicitTls | State::Handshake | State::Closed) {
                    self.inbox.push(chunk);
                    self.process();
                }
            }
            Input::Eof => self.on_eof(),
            Input::Tick => self.on_timeout(),
            Input::Reply(id, reply) => {
                if self.awaiting == Some(id) {
                    self.awaiting = None;
                    match reply {
                        Reply::Read(result) => self.on_piece(result),
                        Reply::Nonce(nonce) => self.on_nonce(nonce),
                        Reply::Salted(salted) => self.on_salted(&salted),
                        Reply::Noted => {}
                        Reply::Next(job) => self.on_next(job),
                    }
                    self.process();
                }
            }
            Input::TlsStarted(info) => self.on_tls(info),
            Input::Shutdown => self.on_shutdown(),
            Input::Dirty(_) => {}
        }
    }

    fn poll_action(&mut self) -> Option<Self::Action> {
        if let Some(action) = self.out.pop_front() {
            return Some(action);
        }
        self.next_piece()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.deadline
    }
}

impl machine::Session for Session {
    type Call = Call;
    type Reply = Reply;

    fn wants_bytes(&self) -> bool {
        self.state != State::Closed && self.inbox.len() < INBOX
    }
}
