//! Connections to other servers as a machine: which are kept for the next message, how many there are, and which hosts
//! are left alone because they do not answer.
//!
//! It stands between [`super::attempt::Attempt`], which asks for one connection at a time and hears one result for each
//! (`Connect`, [`Action::Done`]), and the host program, which connects and runs sessions ([`Action::Open`],
//! [`Action::Reuse`], [`Action::Quit`]).
//!
//! * A session that has sent its message is kept for [`IDLE`] for the next message with the same address and the same
//!   [`client::Settings`]: port, server's name, TLS and credentials.
//! * A host gets at most [`Settings::max_connections_per_host`] connections at the same time, fewer for a while when it
//!   says that they are too many. What finds none free waits for one.
//! * A host that takes no connection is left alone for a while, longer each time; who wants to go there meanwhile is told
//!   so at once. Then one tries, and all others wait for what it finds. A greeting ends it.
//!
//! # Invariants
//!
//! * Each request has one result.
//! * A message is given to a session only if nothing was said of it on another, or if that was [`client::End::Stale`]:
//!   nobody gets it twice because of a kept connection.
//! * No pause is longer than half of what the schedule waits after as many failures: a message that is alone with its host
//!   finds it tried at each of its attempts, not only remembered.

mod contract;
mod health;

pub use contract::{Action, ConnectionId, Ending, Event, Input, RequestId};

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use self::health::Memory;
use super::attempt::{self, Connect};
use super::outcome::{Enhanced, Outcome, Report};
use super::route::Settings;
use crate::machine::Machine;
use crate::smtp::client::{self, End};
use crate::time::{Mono, Now};

/// How long a connection is kept without a message. As long as Postfix keeps one: the queue comes with the next message
/// within milliseconds if it has one, and a server that is short of processes hangs up after 10 s at the earliest.
pub const IDLE: Duration = Duration::from_secs(2);

/// How old a connection may become before it takes no further message: what DNS and certificates say is looked at anew.
pub const AGE: Duration = Duration::from_secs(300);

/// Messages of one connection. Servers have bounds of their own; one that names it (MAILMAX) or has shown it is heeded.
pub const MESSAGES: u32 = 100;

/// The longest pause for a host that does not answer.
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// The machine.
#[derive(Debug)]
pub struct Hosts {
    limits: Limits,
    connections: BTreeMap<ConnectionId, Connection>,
    /// First come, first served, unless the host of the first has no room.
    waiting: VecDeque<Request>,
    memory: Memory,
    opened: u64,
    shutdown: bool,
    now: Now,
    out: VecDeque<Action>,
}

/// From the settings.
#[derive(Debug)]
struct Limits {
    /// Connections in all, idle ones among them.
    total: usize,
    per_host: usize,
    /// Pauses after the first, second, … failure; the last holds for all that follow.
    pauses: Vec<Duration>,
}

/// What an attempt wants.
#[derive(Debug)]
struct Request {
    id: RequestId,
    connect: Box<Connect>,
    /// A kept connection has failed it: it gets one of its own.
    fresh: bool,
    /// It was turned away at the door once, and waited.
    turned_away: bool,
}

/// A connection.
#[derive(Debug)]
struct Connection {
    address: SocketAddr,
    settings: client::Settings,
    state: State,
    /// Whose message it carries.
    request: Option<Request>,
    /// Messages that it has carried.
    carried: u32,
    began: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server has not greeted.
    Opening,
    Busy,
    /// Until then.
    Idle(Mono),
    /// It was told to go, and is no longer counted.
    Leaving,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        let half = |secs: &u64| (Duration::from_secs(*secs) / 2).min(MAX_PAUSE);
        Self {
            total: settings.max_attempts.max(1),
            per_host: settings.max_connections_per_host.max(1),
            pauses: settings.retry_delays.iter().map(half).collect(),
        }
    }
}

impl Hosts {
    /// Knows nobody yet. `first` is the name of the first connection; the others follow.
    #[must_use]
    pub fn new(settings: &Settings, first: u64) -> Self {
        Self {
            limits: Limits::from(settings),
            connections: BTreeMap::new(),
            waiting: VecDeque::new(),
            memory: Memory::default(),
            opened: first,
            shutdown: false,
            now: Now::default(),
            out: VecDeque::new(),
        }
    }

    /// Connections, idle ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        let counted = |connection: &&Connection| connection.state != State::Leaving;
        self.connections.values().filter(counted).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections that wait for a message.
    #[must_use]
    pub fn idle(&self) -> usize {
        let idle = |connection: &&Connection| matches!(connection.state, State::Idle(_));
        self.connections.values().filter(idle).count()
    }

    /// Hosts of which something is remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.memory.len()
    }

    /// Gives those who wait what can be had.
    fn dispatch(&mut self) {
        let mut still = VecDeque::new();
        while let Some(request) = self.waiting.pop_front() {
            if let Some(request) = self.place(request) {
                still.push_back(request);
            }
        }
        self.waiting = still;
    }

    /// The request again, if it must wait.
    fn place(&mut self, request: Request) -> Option<Request> {
        let address = request.connect.address;
        if !request.fresh
            && let Some(connection) = self.kept_for(&request.connect)
        {
            self.reuse(connection, request);
            return None;
        }
        if let Some(down) = self.memory.down(&address) {
            if self.now.mono < down.until {
                let why = down.describe(self.now.mono);
                self.done(request.id, attempt::Input::NoConnection(why));
                return None;
            }
            if self.count(|it| it.address == address && it.state == State::Opening) > 0 {
                return Some(request);
            }
        }
        if !self.has_room(&address) {
            return Some(request);
        }
        self.open(request);
        None
    }

    /// The kept connection that was used last: those in excess come to their end.
    fn kept_for(&self, connect: &Connect) -> Option<ConnectionId> {
        let fits = |it: &Connection| {
            matches!(it.state, State::Idle(until) if self.now.mono < until)
                && it.address == connect.address
                && it.settings == connect.settings
        };
        let until = |it: &Connection| match it.state {
            State::Idle(until) => until,
            _ => Mono::default(),
        };
        let fitting = self.connections.iter().filter(|(_, it)| fits(it));
        fitting.max_by_key(|(_, it)| until(it)).map(|(id, _)| *id)
    }

    fn reuse(&mut self, connection: ConnectionId, request: Request) {
        if let Some(it) = self.connections.get_mut(&connection) {
            it.state = State::Busy;
            self.out.push_back(Action::Reuse {
                connection,
                request: request.id,
                job: Box::new(request.connect.job.clone()),
            });
            it.request = Some(request);
        }
    }

    /// Whether one more connection may be opened there; idle ones make room.
    fn has_room(&mut self, address: &SocketAddr) -> bool {
        let lowered = self.memory.most(address, self.now.mono).map(|(most, _)| most);
        let most = lowered.map_or(self.limits.per_host, |most| most.min(self.limits.per_host));
        let here = |it: &Connection| it.address == *address;
        if self.count(|it| here(it) && it.state != State::Leaving) >= most && !self.quit_oldest(here) {
            return false;
        }
        self.len() < self.limits.total || self.quit_oldest(|_| true)
    }

    fn count(&self, which: impl Fn(&Connection) -> bool) -> usize {
        self.connections.values().filter(|it| which(it)).count()
    }

    /// Ends the connection that has been idle for the longest time; false if none is.
    fn quit_oldest(&mut self, which: impl Fn(&Connection) -> bool) -> bool {
        let idle = |(id, it): (&ConnectionId, &Connection)| match it.state {
            State::Idle(until) if which(it) => Some((until, *id)),
            _ => None,
        };
        let oldest = self.connections.iter().filter_map(idle).min();
        if let Some((_, id)) = oldest {
            self.quit(id);
        }
        oldest.is_some()
    }

    fn quit(&mut self, id: ConnectionId) {
        if let Some(it) = self.connections.get_mut(&id) {
            it.state = State::Leaving;
            self.out.push_back(Action::Quit(id));
        }
    }

    fn open(&mut self, request: Request) {
        let connection = ConnectionId(self.opened);
        self.opened += 1;
        let address = request.connect.address;
        let known = self.memory.messages(&address, self.now.mono).unwrap_or(MESSAGES);
        self.out.push_back(Action::Open {
            connection,
            request: request.id,
            connect: request.connect.clone(),
            messages: if self.shutdown { 1 } else { known.min(MESSAGES) },
        });
        let opened = Connection {
            address,
            settings: request.connect.settings.clone(),
            state: State::Opening,
            request: Some(request),
            carried: 0,
            began: self.now.mono,
        };
        self.connections.insert(connection, opened);
    }

    fn done(&mut self, request: RequestId, result: attempt::Input) {
        self.out.push_back(Action::Done { request, result });
    }

    fn no_connection(&mut self, connection: ConnectionId, why: String) {
        let Some(it) = self.connections.remove(&connection) else {
            return;
        };
        self.failed(&it, &why);
        if let Some(request) = it.request {
            self.done(request.id, attempt::Input::NoConnection(why));
        }
    }

    /// A host has not taken a connection.
    fn failed(&mut self, it: &Connection, why: &str) {
        let news = self
            .memory
            .failed(it.address, it.began, why, self.now, &self.limits.pauses);
        if let Some(down) = self.memory.down(&it.address).filter(|_| news) {
            self.out.push_back(Action::Event(Event::Down {
                address: it.address,
                server: it.settings.server.clone(),
                since: down.since,
                tries: down.tries,
                pause: down.until - self.now.mono,
                last: down.last.clone(),
            }));
        }
    }

    fn greeted(&mut self, connection: ConnectionId) {
        let Some(it) = self.connections.get_mut(&connection) else {
            return;
        };
        if it.state == State::Opening {
            it.state = State::Busy;
        }
        let (address, server) = (it.address, it.settings.server.clone());
        if let Some(away) = self.memory.answered(&address, self.now.mono) {
            self.out.push_back(Action::Event(Event::Up {
                address,
                server,
                away,
            }));
        }
    }

    fn became_idle(&mut self, connection: ConnectionId, outcome: client::Outcome) {
        let until = self.now.mono + IDLE;
        let Some(it) = self.connections.get_mut(&connection) else {
            return;
        };
        it.carried = it.carried.saturating_add(1);
        it.state = State::Idle(until);
        let old = self.now.mono - it.began >= AGE;
        if let Some(request) = it.request.take() {
            self.done(request.id, attempt::Input::Session(outcome));
        }
        if old || self.shutdown {
            self.quit(connection);
        }
    }

    fn ended(&mut self, connection: ConnectionId, ending: Ending) {
        let Some(mut it) = self.connections.remove(&connection) else {
            return;
        };
        let Some(request) = it.request.take() else {
            return;
        };
        match ending {
            // It ended while the message was on its way to it.
            Ending::Idle if it.carried > 0 => self.again(request),
            Ending::Outcome(outcome) if outcome.end == End::Stale => {
                if first_code(&outcome) == Some(421) {
                    self.memory.tired(it.address, it.carried, self.now.mono);
                }
                self.again(request);
            }
            Ending::Outcome(outcome) => self.session_over(&it, request, outcome),
            Ending::Idle => self.broken(&request, "the session ended without a result"),
            Ending::Broken(why) => self.broken(&request, &why),
        }
    }

    /// The message was not tried: once more over a connection of its own, before all others.
    fn again(&mut self, request: Request) {
        self.waiting.push_front(Request {
            fresh: true,
            ..request
        });
    }

    fn broken(&mut self, request: &Request, why: &str) {
        let failed = Outcome::Temporary(Report::ours(Enhanced(4, 3, 0), why).severe());
        let outcome = client::Outcome {
            recipients: vec![failed; request.connect.job.recipients.len()],
            end: End::Ours,
            tls: None,
        };
        self.done(request.id, attempt::Input::Session(outcome));
    }

    fn session_over(&mut self, it: &Connection, request: Request, outcome: client::Outcome) {
        let others = self.count(|other| {
            other.address == it.address && matches!(other.state, State::Busy | State::Idle(_))
        });
        let turned_away = it.state == State::Opening && outcome.end == End::NextHost;
        let report = outcome.recipients.first().map(Outcome::report);
        let last = report.map(ToString::to_string).unwrap_or_default();
        if others > 0 && report.is_some_and(is_too_many) {
            self.crowded(it, others, last);
            if turned_away && !request.turned_away {
                // The message was not tried, and those who are inside will be done some time.
                self.waiting.push_front(Request {
                    turned_away: true,
                    ..request
                });
                return;
            }
        } else if turned_away && others == 0 && report.is_some_and(is_no_tls_trouble) {
            self.failed(it, &last);
        }
        self.done(request.id, attempt::Input::Session(outcome));
    }

    fn crowded(&mut self, it: &Connection, most: usize, last: String) {
        if self.memory.crowded(it.address, most, self.now.mono) {
            self.out.push_back(Action::Event(Event::Crowded {
                address: it.address,
                server: it.settings.server.clone(),
                most,
                last,
            }));
        }
    }

    /// Ends what was kept long enough.
    fn expire(&mut self) {
        let over = |it: &Connection| matches!(it.state, State::Idle(until) if until <= self.now.mono);
        let over: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, it)| self.shutdown && matches!(it.state, State::Idle(_)) || over(it))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.quit(id);
        }
    }
}

impl Machine for Hosts {
    type Input = Input;
    type Action = Action;

    fn handle_input(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Connect { request, connect } => self.waiting.push_back(Request {
                id: request,
                connect,
                fresh: false,
                turned_away: false,
            }),
            Input::NoConnection { connection, why } => self.no_connection(connection, why),
            Input::Greeted(connection) => self.greeted(connection),
            Input::Idle { connection, outcome } => self.became_idle(connection, *outcome),
            Input::Ended { connection, ending } => self.ended(connection, ending),
            Input::Impatient => self.memory.end_pauses(),
            Input::Settings(settings) => self.limits = Limits::from(&*settings),
            Input::Shutdown => self.shutdown = true,
            Input::Tick => {}
        }
        self.dispatch();
        self.expire();
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    /// When a kept connection has been kept long enough, or one who waits may find room.
    fn poll_timeout(&self) -> Option<Mono> {
        let idle = self.connections.values().filter_map(|it| match it.state {
            State::Idle(until) => Some(until),
            _ => None,
        });
        let room = self.waiting.iter().filter_map(|request| {
            let (_, until) = self.memory.most(&request.connect.address, self.now.mono)?;
            Some(until)
        });
        idle.chain(room).min()
    }
}

/// What the server said to the first recipient, if it said something.
fn first_code(outcome: &client::Outcome) -> Option<u16> {
    outcome.recipients.first()?.report().code
}

/// Whether a server has enough of us: 421 (RFC 5321 §3.8), or in words.
fn is_too_many(report: &Report) -> bool {
    let words = || {
        let text = report.text.to_ascii_lowercase();
        text.contains("too many") && (text.contains("connection") || text.contains("session"))
    };
    report
        .code
        .is_some_and(|code| code == 421 || (400..500).contains(&code) && words())
}

/// A handshake that fails says nothing of the next, which may be without TLS.
fn is_no_tls_trouble(report: &Report) -> bool {
    report.code.is_some() || report.enhanced.1 != 7
}
