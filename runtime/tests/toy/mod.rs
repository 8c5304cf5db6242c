//! A machine that does what its lines say, a service for it, and a thread that drives both.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rmail_core::addr::Address;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, BlobId, CallId, Input, Machine, Scope, Session, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::time::{Mono, Now};
use rmail_runtime::clock::Clock;
use rmail_runtime::drive::{Context, DriveLimits, End, Signal, drive};
use rmail_runtime::io::Stream;
use rmail_runtime::note_log::Label;
use rmail_runtime::pools::Pools;
use rmail_runtime::tls::{ServerTls, TlsParty};
use rmail_store::error::Result;
use rmail_store::hub::{Hub, Wake, Watch};
use rmail_store::service::{Answer, Pool, Serve};

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

pub(crate) fn scope() -> Scope {
    Scope::Account(Address::parse("toy@example.com").unwrap().canonical())
}

/// What the machine asks.
#[derive(Debug)]
pub(crate) enum Ask {
    Now(String),
    Later(String),
    Panic,
    AnswerPanic,
    SpoolLen,
}

#[derive(Debug, Default)]
pub(crate) struct Toy {
    inbox: Vec<u8>,
    actions: VecDeque<Action<Ask>>,
    calls: u64,
    waiting: bool,
    eof: bool,
    closed: bool,
    flood: usize,
    /// Works without a word.
    grinds: bool,
    deadline: Option<Mono>,
    /// It has passed; what follows from it is made when the machine is polled.
    passed: bool,
    ticks: Arc<AtomicUsize>,
    produced: Arc<AtomicUsize>,
}

impl Toy {
    fn say(&mut self, text: &str) {
        self.actions
            .push_back(Action::Send(format!("{text}\n").into_bytes().into()));
    }

    fn ask(&mut self, ask: Ask) {
        self.calls += 1;
        self.waiting = true;
        self.actions.push_back(Action::Call(CallId(self.calls), ask));
    }

    fn work(&mut self, now: Now) {
        while !self.waiting && !self.closed && self.flood == 0 {
            let Some(end) = self.inbox.iter().position(|octet| *octet == b'\n') else {
                if self.eof {
                    self.eof = false;
                    self.say("eof");
                    self.close();
                }
                return;
            };
            let line: Vec<u8> = self.inbox.drain(..=end).collect();
            let line = String::from_utf8(line).unwrap();
            self.line(now, line.trim_end());
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.actions.push_back(Action::Close);
    }

    fn line(&mut self, now: Now, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["echo", text] => self.say(text),
            ["now", text] => self.ask(Ask::Now(text.to_owned())),
            ["later", text] => self.ask(Ask::Later(text.to_owned())),
            ["callpanic"] => self.ask(Ask::Panic),
            ["answerpanic"] => self.ask(Ask::AnswerPanic),
            ["panic"] => panic!("told to"),
            ["spool", count] => {
                let mut left: usize = count.parse().unwrap();
                while left > 0 {
                    let n = left.min(50_000);
                    left -= n;
                    self.actions
                        .push_back(Action::Spool(SpoolId(1), vec![b's'; n].into()));
                }
                self.ask(Ask::SpoolLen);
            }
            ["grind"] => self.grinds = true,
            ["flood", count] => self.flood = count.parse().unwrap(),
            ["blob", from, to] => {
                let range = from.parse().unwrap()..to.parse().unwrap();
                self.actions.push_back(Action::SendBlob(BlobId(1), range));
            }
            ["watch"] => {
                self.actions
                    .push_back(Action::Watch(WatchId(3), scope(), ModSeq(1)));
                self.say("watching");
            }
            ["wait", millis] => {
                self.deadline = Some(now.mono + Duration::from_millis(millis.parse().unwrap()));
            }
            ["tls"] => {
                self.inbox.clear();
                self.say("go");
                self.actions.push_back(Action::StartTls);
                self.waiting = true;
            }
            ["stay"] => {
                self.closed = true; // and never says so
            }
            ["quit"] => {
                self.say("bye");
                self.close();
            }
            _ => self.say("what?"),
        }
    }
}

impl Machine for Toy {
    type Input = Input<String>;
    type Action = Action<Ask>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        match input {
            Input::Bytes(chunk) => self.inbox.extend_from_slice(&chunk),
            Input::Eof => self.eof = true,
            Input::Reply(id, text) => {
                assert_eq!(id, CallId(self.calls));
                self.waiting = false;
                self.say(&text);
            }
            Input::TlsStarted(info) => {
                self.waiting = false;
                self.say(&format!(
                    "tls {:x} {} {} {} {}",
                    info.version,
                    info.cipher,
                    info.sni.unwrap(),
                    hex(&info.exporter.unwrap()),
                    hex(&info.end_point.unwrap())
                ));
            }
            Input::Tick => {
                self.ticks.fetch_add(1, Ordering::SeqCst);
                self.passed = self.deadline.is_some_and(|deadline| deadline <= now.mono);
            }
            Input::Dirty(id) => {
                assert_eq!(id, WatchId(3));
                self.say("dirty");
            }
            Input::Shutdown => {
                self.grinds = false;
                self.say("down");
                self.close();
            }
        }
        self.work(now);
    }

    fn poll_action(&mut self) -> Option<Self::Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if std::mem::take(&mut self.passed) {
            self.deadline = None;
            self.say("tick");
            return self.poll_action();
        }
        if self.grinds {
            return Some(Action::Send(Vec::new().into()));
        }
        let n = self.flood.min(20_000);
        if n == 0 {
            return None;
        }
        self.flood -= n;
        self.produced.fetch_add(n, Ordering::SeqCst);
        if self.flood == 0 {
            self.work(Now::default());
        }
        Some(Action::Send(vec![b'f'; n].into()))
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.deadline
    }
}

impl Session for Toy {
    type Call = Ask;
    type Reply = String;

    fn wants_bytes(&self) -> bool {
        !self.waiting && self.flood == 0
    }
}

#[derive(Default)]
pub(crate) struct Service {
    hub: Arc<Hub>,
    watch: Mutex<Option<Watch>>,
    spooled: AtomicUsize,
    body: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicUsize>,
}

impl Serve for Service {
    type Call = Ask;
    type Reply = String;

    fn answer(&self, _: Now, call: Ask) -> Answer<Ask, String> {
        match call {
            Ask::Now(text) => Answer::Now(text),
            Ask::AnswerPanic => panic!("told to"),
            Ask::Panic => Answer::Later(Pool::Cpu, call),
            Ask::Later(_) | Ask::SpoolLen => Answer::Later(Pool::Sync, call),
        }
    }

    async fn run(&self, _: Now, call: Ask) -> String {
        match call {
            Ask::Later(text) => text,
            Ask::SpoolLen => self.spooled.load(Ordering::SeqCst).to_string(),
            _ => panic!("told to"),
        }
    }

    /// The first 100,000 octets fit into memory.
    fn spool_now(&self, _: SpoolId, chunk: Chunk) -> std::result::Result<(), Chunk> {
        if self.spooled.load(Ordering::SeqCst) + chunk.len() > 100_000 {
            return Err(chunk);
        }
        self.spooled.fetch_add(chunk.len(), Ordering::SeqCst);
        Ok(())
    }

    async fn spool(&self, _: SpoolId, chunk: Chunk) {
        self.spooled.fetch_add(chunk.len(), Ordering::SeqCst);
    }

    async fn read_blob(&self, _: BlobId, offset: u64, max: usize) -> Result<Chunk> {
        let body = self.body.lock().unwrap();
        let offset = usize::try_from(offset).unwrap().min(body.len());
        let end = (offset + max.min(70_001)).min(body.len());
        Ok(Chunk::copy_from(&body[offset..end]))
    }

    fn close_blob(&self, _: BlobId) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }

    fn watch(&self, _: WatchId, scope: Scope, seen: ModSeq, wake: Wake) {
        *self.watch.lock().unwrap() = Some(self.hub.watch(scope, seen, wake));
    }

    fn unwatch(&self, _: WatchId) {
        *self.watch.lock().unwrap() = None;
    }
}

#[derive(Default)]
pub(crate) struct Host {
    pub(crate) limits: DriveLimits,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) implicit: bool,
    pub(crate) small_buffers: bool,
    pub(crate) toy: Toy,
    pub(crate) service: Service,
}

pub(crate) struct Running {
    thread: JoinHandle<End>,
    signal: Arc<Signal>,
}

impl Host {
    pub(crate) fn produced(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.toy.produced)
    }

    pub(crate) fn ticks(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.toy.ticks)
    }

    pub(crate) fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.service.hub)
    }

    pub(crate) fn closed(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.service.closed)
    }

    pub(crate) fn set_body(&self, len: usize) -> Vec<u8> {
        let body: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        self.service.body.lock().unwrap().clone_from(&body);
        body
    }

    /// A connected client, and the session at the other end.
    pub(crate) fn start(self) -> (TcpStream, Running) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if self.small_buffers {
            // Inherited by the accepted socket.
            socket2::SockRef::from(&listener)
                .set_send_buffer_size(8_192)
                .unwrap();
        }
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        if self.small_buffers {
            client.set_recv_buffer_size(8_192).unwrap();
        }
        client.connect(&listener.local_addr().unwrap().into()).unwrap();
        let client = TcpStream::from(client);
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        let signal = Arc::new(Signal::default());
        let context = Context {
            clock: Clock::start(),
            pools: Arc::new(Pools::new(2)),
            signal: Arc::clone(&signal),
            tls: self.tls.map(TlsParty::Server),
            implicit_tls: self.implicit,
            limits: self.limits,
            lines: None,
            metrics: None,
            tape: None,
            label: Label {
                protocol: "toy",
                connection: 1,
                peer: peer.ip(),
            },
        };
        let (toy, service) = (self.toy, Arc::new(self.service));
        let thread = std::thread::spawn(move || {
            let stream = Stream::new(socket).unwrap();
            futures_lite::future::block_on(drive(toy, stream, service, context)).end
        });
        (client, Running { thread, signal })
    }
}

impl Running {
    pub(crate) fn signal(&self) -> &Signal {
        &self.signal
    }

    pub(crate) fn end(self) -> End {
        self.thread.join().unwrap()
    }
}
