//! The host of the resolver machine: sockets for its actions, answers for whoever asks.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, Task};
use crate::engine::{Io, Timer};
use async_channel::{Receiver, Sender};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use rmail_core::chunk::Chunk;
use rmail_core::dns::resolver::{Action, AttemptId, Input, QueryId, Resolver, Settings};
use rmail_core::dns::{Answer, DnsError, Question};
use rmail_core::machine::Machine as _;
use rmail_store::service::{Asking, Lookup};

use crate::clock::Clock;
use crate::entropy;
use crate::pools::panic_text;

/// Questions that wait for the machine, and events of its sockets.
const QUEUE: usize = 256;
/// Where name servers are written down.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Asked when nobody else is known.
const FALLBACK: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// Port of name servers.
const PORT: u16 = 53;

/// Asks the resolver of the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Dns {
    events: Sender<Event>,
}

/// Asks for those who check strangers: in a few seconds, or never mind.
#[derive(Clone, Debug)]
pub(crate) struct Hurried(pub(crate) Dns);

impl Lookup for Hurried {
    fn ask(&self, question: Question) -> Asking {
        /// A client of SMTP waits for minutes, but a connection that waits is a connection less.
        const PATIENCE: Duration = Duration::from_secs(5);
        let dns = self.0.clone();
        Box::pin(async move {
            let late = async {
                Timer::after(PATIENCE).await;
                Err(DnsError::Timeout)
            };
            dns.ask(question).or(late).await
        })
    }
}

type Result_ = Result<Answer, DnsError>;

enum Event {
    Ask(Question, Sender<Result_>),
    Servers(Servers),
    Input(Input),
    #[cfg(test)]
    Panic,
}

impl Dns {
    /// Starts the resolver on an executor; it ends when nobody can ask any more.
    #[must_use]
    pub fn start(executor: &Arc<Engine>, clock: Clock, servers: impl Into<Servers>) -> Self {
        let servers = servers.into();
        let (events, queue) = async_channel::bounded(QUEUE);
        executor
            .spawn(supervise(Arc::clone(executor), clock, queue, servers))
            .detach();
        Self { events }
    }

    /// The answer to a question. It comes in any case: the machine has a time-out.
    pub async fn ask(&self, question: Question) -> Result_ {
        let (answer, answered) = async_channel::bounded(1);
        if self.events.send(Event::Ask(question, answer)).await.is_err() {
            return Err(DnsError::NoServers);
        }
        answered.recv().await.unwrap_or(Err(DnsError::NoServers))
    }

    /// After a reload: other servers.
    pub async fn set_servers(&self, servers: impl Into<Servers>) {
        let _ = self.events.send(Event::Servers(servers.into())).await;
    }
}

/// Whom to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// Their addresses, in the order in which they are asked.
    pub addresses: Vec<SocketAddr>,
    /// Their word on DNSSEC counts; that of a server on loopback always does.
    pub trusted: bool,
}

impl From<Vec<SocketAddr>> for Servers {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            trusted: false,
        }
    }
}

/// The configured servers, else those of resolv.conf, else a public one, which is never `trusted`.
#[must_use]
pub fn servers(configured: &[SocketAddr], trusted: bool) -> Servers {
    if !configured.is_empty() {
        return Servers {
            addresses: configured.to_vec(),
            trusted,
        };
    }
    let found = std::fs::read_to_string(RESOLV_CONF)
        .map_or_else(|_| Servers::default(), |text| parse_resolv_conf(&text));
    if found.addresses.is_empty() {
        return vec![SocketAddr::new(FALLBACK.into(), PORT)].into();
    }
    Servers {
        trusted: found.trusted || trusted,
        ..found
    }
}

/// `nameserver` lines of resolv.conf(5), and whether `options` has `trust-ad`; addresses with a zone are left out.
fn parse_resolv_conf(text: &str) -> Servers {
    let mut words = text.lines().map(str::split_ascii_whitespace);
    let trusted =
        words.any(|mut words| words.next() == Some("options") && words.any(|word| word == "trust-ad"));
    let addresses = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = words
                .next()
                .filter(|word| *word == "nameserver")
                .and(words.next())?;
            Some(SocketAddr::new(address.parse().ok()?, PORT))
        })
        .collect();
    Servers { addresses, trusted }
}

/// Runs the resolver. Should it panic, it begins anew: who waits for an answer is told that there is none, which to the
/// relay is a reason to try again later.
async fn supervise(executor: Arc<Engine>, clock: Clock, queue: Receiver<Event>, mut servers: Servers) {
    /// Between a panic and the next beginning: a panic at every question must not keep the processor busy.
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let host = Host::new(&executor, clock, servers.clone());
        let run = AssertUnwindSafe(host.run(&queue, &mut servers)).catch_unwind();
        let Err(payload) = run.await else {
            return;
        };
        log::error!(target: "dns", "event=panic error={:?}", panic_text(payload.as_ref()));
        Timer::after(PAUSE).await;
    }
}

struct Host {
    machine: Resolver,
    executor: Arc<Engine>,
    clock: Clock,
    /// For its own sockets; after a panic nobody mistakes their events for those of others.
    events: Sender<Event>,
    heard: Receiver<Event>,
    /// Dropping the task closes the socket.
    sockets: HashMap<AttemptId, Task<()>>,
    asked: HashMap<QueryId, Sender<Result_>>,
    next: u64,
}

impl Host {
    fn new(executor: &Arc<Engine>, clock: Clock, servers: Servers) -> Self {
        let (events, heard) = async_channel::bounded(QUEUE);
        let settings = Settings {
            trusted: servers.trusted,
            ..Settings::new(servers.addresses)
        };
        Self {
            machine: Resolver::new(settings, entropy::seed()),
            executor: Arc::clone(executor),
            clock,
            events,
            heard,
            sockets: HashMap::new(),
            asked: HashMap::new(),
            next: 0,
        }
    }

    async fn run(mut self, queue: &Receiver<Event>, servers: &mut Servers) {
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.act(action);
            }
            let deadline = self.machine.poll_timeout().map(|mono| self.clock.instant(mono));
            let tick = async {
                deadline.map_or_else(Timer::never, Timer::at).await;
                Ok(Event::Input(Input::Tick))
            };
            let Ok(event) = self.heard.recv().or(queue.recv()).or(tick).await else {
                return;
            };
            let input = match event {
                Event::Input(input) => input,
                Event::Servers(new) => {
                    servers.clone_from(&new);
                    let trusted = Input::Trusted(new.trusted);
                    self.machine.handle_input(self.clock.now(), trusted);
                    Input::Servers(new.addresses)
                }
                #[cfg(test)]
                Event::Panic => panic!("told to"),
                Event::Ask(question, answer) => {
                    let id = QueryId(self.next);
                    self.next += 1;
                    self.asked.insert(id, answer);
                    Input::Query { id, question }
                }
            };
            self.machine.handle_input(self.clock.now(), input);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::SendUdp {
                attempt,
                server,
                bytes,
            } => self.open(attempt, udp(self.events.clone(), attempt, server, bytes)),
            Action::SendTcp {
                attempt,
                server,
                bytes,
            } => self.open(attempt, tcp(self.events.clone(), attempt, server, bytes)),
            Action::Close(attempt) => drop(self.sockets.remove(&attempt)),
            Action::Answer { id, result } => {
                if let Some(asked) = self.asked.remove(&id) {
                    // Nobody may be waiting any more.
                    let _ = asked.try_send(result);
                }
            }
        }
    }

    fn open(&mut self, attempt: AttemptId, socket: impl Future<Output = io::Result<()>> + Send + 'static) {
        let events = self.events.clone();
        let task = self.executor.spawn(async move {
            if let Err(error) = socket.await {
                log::debug!(target: "dns", "event=socket_failed error={:?}", error.to_string());
                tell(&events, Input::Failed { attempt }).await;
            }
        });
        self.sockets.insert(attempt, task);
    }
}

async fn tell(events: &Sender<Event>, input: Input) {
    // Fails when the host is gone, and with it everybody who asked.
    let _ = events.send(Event::Input(input)).await;
}

/// Sends from a socket of its own, whose random port makes forged replies hard (RFC 5452 §9.2), and hands on what comes.
async fn udp(
    events: Sender<Event>,
    attempt: AttemptId,
    server: SocketAddr,
    bytes: Vec<u8>,
) -> io::Result<()> {
    /// Longer than any reply that we ask for.
    const MAX: usize = 4096;
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = Io::new(UdpSocket::bind(any)?)?;
    socket.get_ref().connect(server)?;
    socket.write_with(|socket| socket.send(&bytes)).await?;
    loop {
        let mut buffer = vec![0; MAX];
        let (len, from) = socket.read_with(|socket| socket.recv_from(&mut buffer)).await?;
        let bytes = Chunk::copy_from(buffer.get(..len).unwrap_or_default());
        tell(&events, Input::Datagram { attempt, from, bytes }).await;
    }
}

/// One question and one reply by TCP, each behind its length (RFC 7766 §8).
async fn tcp(
    events: Sender<Event>,
    attempt: AttemptId,
    server: SocketAddr,
    bytes: Vec<u8>,
) -> io::Result<()> {
    let mut stream = Io::<TcpStream>::connect(server).await?;
    let len = u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut message = len.to_be_bytes().to_vec();
    message.extend_from_slice(&bytes);
    stream.write_all(&message).await?;
    let mut len = [0; 2];
    stream.read_exact(&mut len).await?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).await?;
    let bytes = Chunk::from(reply);
    tell(&events, Input::Tcp { attempt, bytes }).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_gives_its_servers_in_order() {
        let text = "# nameserver 1.1.1.1\nsearch example.com\nnameserver 192.0.2.53\n\
                    nameserver\t2001:db8::53 # second\nnameserver fe80::1%eth0\nnameserverx 9.9.9.9\n";
        let read = parse_resolv_conf(text);
        assert!(!read.trusted);
        let found: Vec<String> = read.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53:53", "[2001:db8::53]:53"]);
        let own = ["127.0.0.1:5353".parse().expect("an address")];
        for trusted in [false, true] {
            let addresses = own.to_vec();
            assert_eq!(servers(&own, trusted), Servers { addresses, trusted });
        }
        let trusted = |text| parse_resolv_conf(text).trusted;
        assert!(trusted("nameserver 192.0.2.53\noptions edns0 trust-ad\n"));
        assert!(!trusted("# options trust-ad\noptions edns0\nsearch trust-ad\n"));
    }

    /// A reply to a question: its header with these flags, the question, and these records.
    fn reply(question: &[u8], flags: u16, records: &[u8], count: u16) -> Vec<u8> {
        let name = question
            .iter()
            .skip(12)
            .position(|octet| *octet == 0)
            .expect("a name");
        let mut reply = question[..2].to_vec();
        reply.extend(flags.to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(count.to_be_bytes());
        reply.extend([0; 4]);
        reply.extend(&question[12..12 + name + 5]);
        reply.extend(records);
        reply
    }

    #[test]
    fn a_dead_server_is_passed_over_and_a_truncated_reply_is_asked_again_by_tcp() {
        use rmail_core::dns::{Data, Kind, Name};
        use std::io::{Read as _, Write as _};

        let local = (Ipv4Addr::LOCALHOST, 0);
        let tcp = std::net::TcpListener::bind(local).expect("a port");
        let server = tcp.local_addr().expect("an address");
        let udp = UdpSocket::bind(server).expect("the same port");
        let dead = {
            let socket = UdpSocket::bind(local).expect("a port");
            socket.local_addr().expect("an address")
        };
        let name_server = std::thread::spawn(move || {
            let mut question = [0; 512];
            let (len, from) = udp.recv_from(&mut question).expect("a question");
            let truncated = reply(&question[..len], 0x8380, &[], 0);
            udp.send_to(&truncated, from).expect("sent");
            let (mut stream, _) = tcp.accept().expect("a connection");
            let mut len = [0; 2];
            stream.read_exact(&mut len).expect("a length");
            let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut question).expect("a question");
            let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 192, 0, 2, 7];
            let answer = reply(&question, 0x8180, &record, 1);
            let len = u16::try_from(answer.len()).expect("short").to_be_bytes();
            stream.write_all(&[&len[..], &answer].concat()).expect("sent");
        });

        let executor = Arc::new(Engine::new().expect("an engine"));
        let dns = Dns::start(&executor, Clock::start(), vec![dead, server]);
        let question = Question {
            name: Name::parse("mx.example.com").expect("a name"),
            kind: Kind::A,
        };
        let ask = async {
            // The second answer comes from the cache: the name server is gone by then.
            (dns.ask(question.clone()).await, dns.ask(question.clone()).await)
        };
        let (first, second) = executor.block_on(ask);
        let expected = Answer {
            records: vec![Data::A(Ipv4Addr::new(192, 0, 2, 7))],
            ..Answer::default()
        };
        assert_eq!((first, second), (Ok(expected.clone()), Ok(expected)));
        name_server.join().expect("it ends");
    }

    #[test]
    fn a_resolver_that_panics_begins_anew_with_the_servers_of_the_last_reload() {
        use rmail_core::dns::{Data, Kind, Name};

        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let server = udp.local_addr().expect("an address");
        let name_server = std::thread::spawn(move || {
            for _ in 0..2 {
                let mut question = [0; 512];
                let (len, from) = udp.recv_from(&mut question).expect("a question");
                let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 192, 0, 2, 7];
                let answer = reply(&question[..len], 0x8180, &record, 1);
                udp.send_to(&answer, from).expect("sent");
            }
        });
        let executor = Arc::new(Engine::new().expect("an engine"));
        let dns = Dns::start(&executor, Clock::start(), Vec::new());
        let question = Question {
            name: Name::parse("mx.example.com").expect("a name"),
            kind: Kind::A,
        };
        let ask = async {
            dns.set_servers(vec![server]).await;
            let before = dns.ask(question.clone()).await;
            assert!(dns.events.send(Event::Panic).await.is_ok());
            (before, dns.ask(question).await)
        };
        let (before, after) = executor.block_on(ask);
        let expected = Answer {
            records: vec![Data::A(Ipv4Addr::new(192, 0, 2, 7))],
            ..Answer::default()
        };
        assert_eq!((before, after), (Ok(expected.clone()), Ok(expected)));
        name_server.join().expect("it ends");
    }
}
