//! The server's side of one connection (RFC 9112 §9): requests one after the other, and what becomes of each.
//!
//! A request is read, given to the [`Application`], and answered before the next one is looked at: what a client sends ahead waits
//! unread, most of it in its own socket. There is no bound of requests: a connection that goes on costs no more than a new one.

mod answer;
mod time;

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use super::exchange::{Answer, Exchange, Read};
use super::request::{Bad, Request, Unread};
use super::{Application, wire};
use crate::api::{Api, Call, Reply, Settings};
use crate::line::Inbox;
use crate::machine::{Action, CallId, Input, Machine, Session, TlsInfo};
use crate::note::Note;
use crate::peer::Peer;
use crate::time::{Mono, Now};

/// Unread octets above which the host should leave the rest in the socket.
const INBOX_WANTED: usize = 64 * 1024;
/// Octets of output that wait to be polled, above which nothing more is made.
const OUTBOX_FULL: usize = 64 * 1024;
/// Actions for which a connection at rest keeps room.
const ACTIONS_KEPT: usize = 4;

/// The server's side of one connection.
#[derive(Debug)]
pub struct HttpSession<A = Api> {
    api: A,
    patience: Patience,
    now: Now,
    inbox: Inbox,
    phase: Phase,
    /// When the client has been silent, or slow, for too long.
    deadline: Option<Mono>,
    /// So much waited to be polled that the client was not read, or could not know that it is its turn: that time is not
    /// its own.
    held_up: bool,
    calls: u64,
    /// The call that is outstanding.
    awaiting: Option<CallId>,
    actions: VecDeque<Action<Call>>,
    /// Octets in `actions`.
    queued: usize,
    eof: bool,
    /// The server is going down: the request in work is the last.
    stopping: bool,
}

/// How long a client may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From a request's first octet to the end of its head; and without an octet of its body.
    pub request: Duration,
    /// Without a request.
    pub idle: Duration,
}

/// What the session does with the octets that come.
#[derive(Debug)]
enum Phase {
    /// The head of the next request.
    Head {
        unread: Unread,
        /// Its time runs.
        timed: bool,
    },
    /// A request is in work.
    Work(Box<Exchange>),
    /// So many octets of a body that nobody wants.
    Drain(u64),
    /// Nothing any more.
    Closed,
}

impl Phase {
    fn next() -> Self {
        Self::Head {
            unread: Unread::default(),
            timed: false,
        }
    }
}

impl HttpSession {
    /// A session of the API that waits for its first request from `now` on.
    #[must_use]
    pub fn new(settings: Arc<Settings>, peer: Peer, now: Now) -> Self {
        let patience = Patience {
            request: settings.request_timeout,
            idle: settings.idle_timeout,
        };
        Self::over(Api::new(settings, peer), patience, now)
    }
}

impl<A: Application> HttpSession<A> {
    /// The same for anything that answers requests.
    #[must_use]
    pub fn over(api: A, patience: Patience, now: Now) -> Self {
        Self {
            api,
            patience,
            now,
            inbox: Inbox::default(),
            phase: Phase::next(),
            deadline: Some(now.mono + patience.idle),
            held_up: false,
            calls: 0,
            awaiting: None,
            actions: VecDeque::new(),
            queued: 0,
            eof: false,
            stopping: false,
        }
    }

    fn push(&mut self, action: Action<Call>) {
        self.queued += size(&action);
        self.actions.push_back(action);
    }

    fn send(&mut self, octets: Vec<u8>) {
        if !octets.is_empty() {
            self.push(Action::Send(octets.into()));
        }
    }

    /// Works on until there is nothing to do, or too much waits to be polled.
    fn pump(&mut self) {
        loop {
            if self.queued >= OUTBOX_FULL {
                self.held_up = true;
                return;
            }
            if !self.step() {
                return;
            }
        }
    }

    /// One step; false when the next input is needed.
    fn step(&mut self) -> bool {
        match &self.phase {
            Phase::Closed => false,
            Phase::Head { .. } if self.stopping => self.leave(),
            Phase::Head { .. } => self.read_head(),
            Phase::Drain(_) => self.drain(),
            Phase::Work(_) => self.work(),
        }
    }

    /// The server is going down, and no request is in work.
    fn leave(&mut self) -> bool {
        if self.is_at_rest() {
            self.close();
        } else {
            self.refuse(503, "The server is going down");
        }
        true
    }

    /// Nothing has come of a request.
    fn is_at_rest(&self) -> bool {
        matches!(&self.phase, Phase::Head { unread, .. } if !unread.has_begun()) && self.inbox.is_empty()
    }

    fn read_head(&mut self) -> bool {
        let Phase::Head { unread, timed } = &mut self.phase else {
            return false;
        };
        match unread.take(&mut self.inbox) {
            Ok(Some(request)) => self.begin(request),
            Ok(None) if self.eof => self.close(),
            Ok(None) => {
                if !*timed && (unread.has_begun() || !self.inbox.is_empty()) {
                    *timed = true;
                    self.deadline = Some(self.now.mono + self.patience.request);
                }
                return false;
            }
            Err(bad) => self.bad(bad),
        }
        true
    }

    fn begin(&mut self, mut request: Request) {
        let exchange = Exchange::new(&request);
        if exchange.head_only {
            // What GET is answered with, without the body (RFC 9110 §9.3.2).
            "GET".clone_into(&mut request.head.method);
        }
        self.deadline = None;
        self.phase = Phase::Work(Box::new(exchange));
        self.api.request(self.now, request.head);
    }

    fn work(&mut self) -> bool {
        let Phase::Work(exchange) = &mut self.phase else {
            return false;
        };
        match &mut exchange.answer {
            Answer::Streaming if self.eof || self.stopping => {
                self.end_stream();
                return true;
            }
            Answer::Compressing(gzip) => {
                let octets = match gzip.step() {
                    Some(octets) => wire::chunk(&octets),
                    None => {
                        exchange.answer = Answer::Whole;
                        wire::LAST_CHUNK.to_vec()
                    }
                };
                self.send(octets);
                return true;
            }
            _ => {}
        }
        if self.awaiting.is_some() {
            return false;
        }
        if let Some(step) = self.api.poll_step() {
            self.perform(step);
            return true;
        }
        match &mut self.phase {
            Phase::Work(exchange) if exchange.reading.is_some() => self.read_body(),
            Phase::Work(exchange) if matches!(exchange.answer, Answer::Whole) => {
                self.finish();
                true
            }
            _ => false,
        }
    }

    fn read_body(&mut self) -> bool {
        let Phase::Work(exchange) = &mut self.phase else {
            return false;
        };
        let read = exchange.read_on(self.now, &mut self.inbox);
        let pace = exchange.reading.as_ref().map(|reading| reading.pace);
        match read {
            Ok(Read::Partial) if self.eof => {
                self.abandon();
                self.close();
                return true;
            }
            Ok(Read::Partial) => return false,
            Ok(Read::Kept) => {}
            Ok(Read::Spool(spool, octets)) => self.push(Action::Spool(spool, octets)),
            Ok(Read::Whole(octets)) => self.api.body(self.now, octets),
            Ok(Read::TooLarge) => self.api.no_body(self.now, true),
            Err(bad) => {
                self.bad(bad);
                return true;
            }
        }
        self.deadline = pace.map(|pace| pace.deadline(self.now));
        true
    }

    fn drain(&mut self) -> bool {
        let Phase::Drain(left) = &mut self.phase else {
            return false;
        };
        match self.inbox.take(usize::try_from(*left).unwrap_or(usize::MAX)) {
            Some(octets) => {
                *left = left.saturating_sub(octets.len() as u64);
                if *left == 0 {
                    self.await_request();
                }
                true
            }
            None if self.eof || self.stopping => {
                self.close();
                true
            }
            None => false,
        }
    }

    /// The request is answered, and nothing of it is left.
    fn await_request(&mut self) {
        self.phase = Phase::next();
        self.deadline = Some(self.now.mono + self.patience.idle);
    }

    fn answered(&mut self, id: CallId, reply: Reply) {
        if self.awaiting.take_if(|awaiting| *awaiting == id).is_none() {
            self.push(Action::Note(Note::Internal(format!("reply to no call: {id:?}"))));
            return;
        }
        if matches!(self.phase, Phase::Work(_)) {
            self.api.reply(self.now, reply);
        }
    }

    fn tls_started(&mut self, info: TlsInfo) {
        let version = match info.version {
            0x0304 => "TLSv1.3",
            0x0303 => "TLSv1.2",
            _ => "TLS",
        };
        let cipher = info.cipher;
        self.push(Action::Note(Note::Tls { version, cipher }));
        self.api.encrypted();
    }

    /// A request that cannot be read: behind it nothing can.
    fn bad(&mut self, bad: Bad) {
        self.refuse(bad.status, bad.text);
    }

    /// Nothing follows.
    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.deadline = None;
        self.inbox.clear();
        self.push(Action::Close);
    }
}

/// What an action counts for in the bound of output.
fn size(action: &Action<Call>) -> usize {
    match action {
        Action::Send(octets) => octets.as_ref().len(),
        Action::Spool(_, octets) => octets.len(),
        _ => 0,
    }
}

impl<A: Application> Machine for HttpSession<A> {
    type Input = Input<Reply>;
    type Action = Action<Call>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.now = now;
        match input {
            Input::Bytes(chunk) => {
                self.inbox.push(chunk);
                if self.inbox.len() > Inbox::HARD_CAP {
                    self.push(Action::Note(Note::Ended(
                        "more unread input than a session keeps",
                    )));
                    self.abandon();
                    self.close();
                }
            }
            Input::Eof => self.eof = true,
            Input::Tick => self.tick(),
            Input::Reply(id, reply) => self.answered(id, reply),
            Input::TlsStarted(info) => self.tls_started(info),
            Input::Dirty(watch) => self.api.dirty(now, watch),
            Input::Shutdown => self.stopping = true,
        }
        self.pump();
    }

    fn poll_action(&mut self) -> Option<Self::Action> {
        if self.actions.is_empty() {
            self.pump();
        }
        let action = self.actions.pop_front();
        self.queued -= action.as_ref().map_or(0, size);
        if self.actions.is_empty() && self.actions.capacity() > ACTIONS_KEPT {
            self.actions = VecDeque::new();
        }
        action
    }

    fn poll_timeout(&self) -> Option<Mono> {
        let api = matches!(self.phase, Phase::Work(_)).then(|| self.api.poll_timeout());
        [self.deadline, api.flatten()].into_iter().flatten().min()
    }
}

impl<A: Application> Session for HttpSession<A> {
    type Call = Call;
    type Reply = Reply;

    fn wants_bytes(&self) -> bool {
        match &self.phase {
            Phase::Closed => false,
            Phase::Work(exchange) if exchange.reading.is_none() => self.inbox.is_empty(),
            _ => self.inbox.len() < INBOX_WANTED,
        }
    }
}

#[cfg(test)]
mod tests;
