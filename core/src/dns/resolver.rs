//! The stub resolver as a machine: asks configured recursive servers by UDP, by TCP when truncated, and caches.
//!
//! The host performs the actions:
//!
//! * [`Action::SendUdp`]: open a **new** socket on a random port (the system's choice for port 0), connect it to the
//!   server, send. Every datagram that comes is [`Input::Datagram`]; an error on the socket is [`Input::Failed`].
//! * [`Action::SendTcp`]: connect, send the octets behind their length in two octets (RFC 7766 §8), read one reply of
//!   that form, give it without the length as [`Input::Tcp`]. An error or end of file is [`Input::Failed`].
//! * [`Action::Close`]: close that socket; late replies are ignored anyway.
//! * [`Action::Answer`]: exactly one for every [`Input::Query`].
//!
//! Time-outs are the machine's: feed [`Input::Tick`] at `poll_timeout`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::cache::Cache;
use super::message::{Answer, DnsError, MAX_ALIASES, Query, Question, Reply};
use super::name::Name;
use crate::chunk::Chunk;
use crate::machine::Machine;
use crate::random::Random;
use crate::time::{Mono, Now};

/// Joins a question and its answer. Chosen by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// Names one socket. Chosen by the resolver, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// Bounds of the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Recursive servers, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// The servers validate (DNSSEC), and nobody on the way to them can change what they say: their AD bit counts. That
    /// of a server on loopback always does (RFC 6698 appendix A.3).
    pub trusted: bool,
    /// How long a server may take by UDP before the next one is asked.
    pub udp_timeout: Duration,
    /// How long a server may take by TCP.
    pub tcp_timeout: Duration,
    /// Answers in the cache.
    pub cache: usize,
    /// Questions on their way at the same time; more wait.
    pub in_flight: usize,
    /// Messages on one socket that are not replies to its query before TCP is used: somebody may be guessing ids.
    pub strangers: u32,
}

impl Settings {
    /// The usual bounds with these servers.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            trusted: false,
            udp_timeout: Duration::from_secs(2),
            tcp_timeout: Duration::from_secs(5),
            cache: 4096,
            in_flight: 64,
            strangers: 16,
        }
    }

    /// Tries for one question: every server twice, but at least three and at most eight.
    fn tries(&self) -> usize {
        (self.servers.len() * 2).clamp(3, 8)
    }
}

/// What can happen to the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody wants to know.
    Query {
        /// Comes back with the answer.
        id: QueryId,
        /// The question.
        question: Question,
    },
    /// A datagram on the socket of an attempt.
    Datagram {
        /// The socket.
        attempt: AttemptId,
        /// Who sent it.
        from: SocketAddr,
        /// Its octets.
        bytes: Chunk,
    },
    /// The reply to [`Action::SendTcp`], without its length.
    Tcp {
        /// The connection.
        attempt: AttemptId,
        /// Its octets.
        bytes: Chunk,
    },
    /// The socket has an error: unreachable, refused, closed.
    Failed {
        /// The socket.
        attempt: AttemptId,
    },
    /// The configuration was read again.
    Servers(Vec<SocketAddr>),
    /// With it: [`Settings::trusted`]. What was believed before is forgotten if it no longer is.
    Trusted(bool),
    /// The deadline of `poll_timeout` has passed.
    Tick,
}

/// What the resolver wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a datagram from a new socket.
    SendUdp {
        /// Names the socket.
        attempt: AttemptId,
        /// Where to.
        server: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Ask by TCP.
    SendTcp {
        /// Names the connection.
        attempt: AttemptId,
        /// Where to.
        server: SocketAddr,
        /// The message without its length.
        bytes: Vec<u8>,
    },
    /// Nothing more is expected from this socket.
    Close(AttemptId),
    /// The answer to a query.
    Answer {
        /// As given with the query.
        id: QueryId,
        /// What is known.
        result: Result<Answer, DnsError>,
    },
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    random: Random,
    cache: Cache,
    searches: BTreeMap<u64, Search>,
    by_question: BTreeMap<Question, u64>,
    waiting: VecDeque<u64>,
    in_flight: BTreeMap<AttemptId, u64>,
    next_search: u64,
    next_attempt: u64,
    /// The server that is asked first: the last one that answered.
    preferred: usize,
    out: VecDeque<Action>,
}

/// One question on its way.
#[derive(Debug)]
struct Search {
    question: Question,
    waiters: Vec<QueryId>,
    /// The name asked for now: the end of the aliases followed so far.
    name: Name,
    aliases: usize,
    /// The least TTL of those aliases.
    ttl: Duration,
    /// All of those aliases are secure.
    secure: bool,
    /// Steps from the preferred server at the start.
    first: usize,
    tries: usize,
    /// Servers that answered with a failure are not asked again.
    failed: Vec<SocketAddr>,
    edns: bool,
    sent: Option<Sent>,
    error: DnsError,
}

/// The present try.
#[derive(Debug)]
struct Sent {
    attempt: AttemptId,
    server: SocketAddr,
    query: Query,
    deadline: Mono,
    tcp: bool,
    strangers: u32,
}

impl Resolver {
    /// A resolver; the seed makes ids and must come from the system's entropy.
    #[must_use]
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        Self {
            cache: Cache::new(settings.cache),
            settings,
            random: Random::from_seed(seed),
            searches: BTreeMap::new(),
            by_question: BTreeMap::new(),
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_search: 0,
            next_attempt: 0,
            preferred: 0,
            out: VecDeque::new(),
        }
    }

    fn ask(&mut self, now: Mono, id: QueryId, question: Question) {
        if let Some(known) = self.cache.get(now, &question) {
            let result = known.clone();
            self.out.push_back(Action::Answer { id, result });
            return;
        }
        let same = self.by_question.get(&question);
        if let Some(search) = same.and_then(|search| self.searches.get_mut(search)) {
            search.waiters.push(id);
            return;
        }
        let number = self.next_search;
        self.next_search += 1;
        self.by_question.insert(question.clone(), number);
        self.searches.insert(
            number,
            Search {
                name: question.name.clone(),
                question,
                waiters: vec![id],
                aliases: 0,
                ttl: Duration::MAX,
                secure: true,
                first: self.preferred,
                tries: 0,
                failed: Vec::new(),
                edns: true,
                sent: None,
                error: DnsError::NoServers,
            },
        );
        self.waiting.push_back(number);
        self.start_waiting(now);
    }

    /// Sends what waits, as far as the bound on questions in flight allows.
    fn start_waiting(&mut self, now: Mono) {
        while self.in_flight.len() < self.settings.in_flight {
            let Some(number) = self.waiting.pop_front() else {
                return;
            };
            self.try_next(now, number);
        }
    }

    /// Asks the next server by UDP, or gives up.
    fn try_next(&mut self, now: Mono, number: u64) {
        let Some(search) = self.searches.get_mut(&number) else {
            return;
        };
        let servers = &self.settings.servers;
        let most = self.settings.tries();
        while search.tries < most {
            let at = (search.first + search.tries).checked_rem(servers.len());
            let Some(server) = at.and_then(|at| servers.get(at)).copied() else {
                break;
            };
            search.tries += 1;
            if !search.failed.contains(&server) {
                self.send(now, number, server, false);
                return;
            }
        }
        let error = search.error.clone();
        self.finish(now, number, Err(error), Duration::ZERO);
    }

    fn send(&mut self, now: Mono, number: u64, server: SocketAddr, tcp: bool) {
        let Some(search) = self.searches.get_mut(&number) else {
            return;
        };
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        let query = Query {
            id: u16::try_from(self.random.next_u64() & 0xffff).unwrap_or_default(),
            question: Question {
                name: search.name.clone(),
                kind: search.question.kind,
            },
            edns: search.edns,
        };
        let bytes = query.encode();
        let wait = if tcp {
            self.settings.tcp_timeout
        } else {
            self.settings.udp_timeout
        };
        search.sent = Some(Sent {
            attempt,
            server,
            query,
            deadline: now + wait,
            tcp,
            strangers: 0,
        });
        self.in_flight.insert(attempt, number);
        self.out.push_back(if tcp {
            Action::SendTcp {
                attempt,
                server,
                bytes,
            }
        } else {
            Action::SendUdp {
                attempt,
                server,
                bytes,
            }
        });
    }

    /// Ends the present try.
    fn close(&mut self, number: u64) -> Option<Sent> {
        let sent = self.searches.get_mut(&number)?.sent.take()?;
        self.in_flight.remove(&sent.attempt);
        self.out.push_back(Action::Close(sent.attempt));
        Some(sent)
    }

    fn received(&mut self, now: Mono, attempt: AttemptId, from: Option<SocketAddr>, bytes: &[u8]) {
        let Some((number, search)) = self
            .in_flight
            .get(&attempt)
            .and_then(|number| Some((*number, self.searches.get_mut(number)?)))
        else {
            return;
        };
        let Some(sent) = search.sent.as_mut() else {
            return;
        };
        let stranger =
            from.is_some_and(|from| (from.ip(), from.port()) != (sent.server.ip(), sent.server.port()));
        let reply = if stranger || from.is_none() != sent.tcp {
            Reply::NotOurs
        } else {
            sent.query.read(bytes)
        };
        if reply == Reply::NotOurs && !sent.tcp {
            sent.strangers += 1;
            if sent.strangers < self.settings.strangers {
                return;
            }
            self.again(now, number, true);
            return;
        }
        self.replied(now, number, reply);
    }

    fn replied(&mut self, now: Mono, number: u64, reply: Reply) {
        match reply {
            Reply::Answer(answer, ttl) => {
                let answer = self.judged(number, answer);
                self.good(now, number, Ok(answer), ttl);
            }
            Reply::NoSuchName(ttl) => self.good(now, number, Err(DnsError::NoSuchName), ttl),
            Reply::Alias(name, ttl, secure) => {
                let trusted = self.is_trusted(number);
                if let Some(search) = self.searches.get_mut(&number) {
                    search.secure &= secure && trusted;
                }
                self.follow(now, number, name, ttl);
            }
            Reply::Truncated if !self.is_tcp(number) => self.again(now, number, true),
            Reply::NoEdns => {
                if let Some(search) = self.searches.get_mut(&number) {
                    search.edns = false;
                }
                self.again(now, number, false);
            }
            Reply::Failed(reason) => self.failed(now, number, &reason),
            Reply::Truncated | Reply::NotOurs => self.failed(now, number, "malformed reply"),
        }
    }

    /// Whether the AD bit of the server that is asked counts.
    fn is_trusted(&self, number: u64) -> bool {
        let sent = self.searches.get(&number).and_then(|search| search.sent.as_ref());
        let loopback = sent.is_some_and(|sent| sent.server.ip().to_canonical().is_loopback());
        loopback || self.settings.trusted
    }

    /// The answer at the end of the aliases that were followed.
    fn judged(&self, number: u64, mut answer: Answer) -> Answer {
        answer.secure &= self.is_trusted(number);
        if let Some(search) = self.searches.get(&number) {
            answer.secure &= search.secure;
            if answer.alias.is_none() && search.name != search.question.name {
                answer.alias = Some(search.name.clone());
            }
        }
        answer
    }

    fn is_tcp(&self, number: u64) -> bool {
        let sent = self.searches.get(&number).and_then(|search| search.sent.as_ref());
        sent.is_some_and(|sent| sent.tcp)
    }

    /// When the present try is given up.
    fn deadline(&self, number: u64) -> Option<Mono> {
        Some(self.searches.get(&number)?.sent.as_ref()?.deadline)
    }

    /// Asks the same server once more: by TCP, or without EDNS.
    fn again(&mut self, now: Mono, number: u64, tcp: bool) {
        if let Some(sent) = self.close(number) {
            self.send(now, number, sent.server, tcp);
        }
    }

    fn good(&mut self, now: Mono, number: u64, result: Result<Answer, DnsError>, ttl: Duration) {
        if let Some(sent) = self.close(number) {
            let servers = &self.settings.servers;
            self.preferred = servers
                .iter()
                .position(|server| *server == sent.server)
                .unwrap_or_default();
        }
        self.finish(now, number, result, ttl);
    }

    fn follow(&mut self, now: Mono, number: u64, name: Name, ttl: Duration) {
        let sent = self.close(number);
        let Some(search) = self.searches.get_mut(&number) else {
            return;
        };
        search.aliases += 1;
        search.ttl = search.ttl.min(ttl);
        search.name = name;
        match sent {
            Some(sent) if search.aliases <= MAX_ALIASES => self.send(now, number, sent.server, false),
            _ => self.finish(now, number, Err(DnsError::Aliases), Duration::ZERO),
        }
    }

    /// The server has failed: on to the next.
    fn failed(&mut self, now: Mono, number: u64, reason: &str) {
        let sent = self.close(number);
        if let (Some(search), Some(sent)) = (self.searches.get_mut(&number), sent) {
            search.failed.push(sent.server);
            search.error = DnsError::ServerFailure(reason.to_owned());
        }
        self.try_next(now, number);
    }

    /// The server is silent or out of reach: on to the next; it may be asked again later.
    fn silent(&mut self, now: Mono, number: u64) {
        if self.close(number).is_some() {
            if let Some(search) = self.searches.get_mut(&number) {
                search.error = DnsError::Timeout;
            }
            self.try_next(now, number);
        }
    }

    fn finish(&mut self, now: Mono, number: u64, result: Result<Answer, DnsError>, ttl: Duration) {
        let Some(search) = self.searches.remove(&number) else {
            return;
        };
        self.by_question.remove(&search.question);
        for id in search.waiters {
            let result = result.clone();
            self.out.push_back(Action::Answer { id, result });
        }
        self.cache.put(now, search.question, result, ttl.min(search.ttl));
    }
}

impl Machine for Resolver {
    type Input = Input;
    type Action = Action;

    fn handle_input(&mut self, now: Now, input: Input) {
        let now = now.mono;
        match input {
            Input::Query { id, question } => self.ask(now, id, question),
            Input::Datagram { attempt, from, bytes } => self.received(now, attempt, Some(from), &bytes),
            Input::Tcp { attempt, bytes } => self.received(now, attempt, None, &bytes),
            Input::Failed { attempt } => {
                if let Some(number) = self.in_flight.get(&attempt).copied() {
                    self.silent(now, number);
                }
            }
            Input::Servers(servers) => {
                self.settings.servers = servers;
                self.preferred = 0;
            }
            Input::Trusted(trusted) => {
                if self.settings.trusted && !trusted {
                    self.cache = Cache::new(self.settings.cache);
                }
                self.settings.trusted = trusted;
            }
            Input::Tick => {}
        }
        let is_late = |number: &u64| self.deadline(*number).is_some_and(|deadline| deadline <= now);
        let late: Vec<u64> = self.in_flight.values().copied().filter(is_late).collect();
        for number in late {
            self.silent(now, number);
        }
        self.start_waiting(now);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.in_flight
            .values()
            .filter_map(|number| self.deadline(*number))
            .min()
    }
}
