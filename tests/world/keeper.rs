//! The host of the machine of the hosts: connections of one process, and the messages that go over them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use futures_lite::FutureExt as _;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, Machine as _, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::relay::Settings;
use rmail_core::relay::attempt::{self, Connect};
use rmail_core::relay::hosts::{Action, ConnectionId, Ending, Hosts, Input, RequestId};
use rmail_core::smtp::client::{self, Call, Job, Outcome, Reply};
use rmail_core::time::Now;
use rmail_store::error::Result as StoreResult;
use rmail_store::hub::Wake;
use rmail_store::service::{Answer, OutboundMessage, Pool, Serve, Waiting};

use crate::channel::Channel;
use crate::drive::drive;
use crate::planted::wires;
use crate::site::{Process, Store};

type Message = Arc<OutboundMessage<Store>>;

/// Has messages sent.
#[derive(Clone)]
pub struct Keeper {
    events: Channel<Event>,
    requests: Rc<Cell<u64>>,
}

enum Event {
    Told(Input),
    Send(RequestId, Asked, Box<Connect>),
    Idle(ConnectionId, Box<Outcome>, Channel<Option<Box<Job>>>),
}

/// What an attempt has asked for.
struct Asked {
    entry: String,
    message: Message,
    result: Channel<attempt::Input>,
}

/// A session that runs.
struct Talking {
    current: Current,
    next: Option<Channel<Option<Box<Job>>>>,
}

/// The message that a session reads.
type Current = Arc<Mutex<Option<Message>>>;

impl Keeper {
    pub fn start(process: &Rc<Process>, settings: &Settings) -> Self {
        let events = Channel::default();
        let keeper = Self {
            events: events.clone(),
            requests: Rc::default(),
        };
        let running = Running {
            machine: Hosts::new(settings, 0),
            process: Rc::clone(process),
            events,
            requests: BTreeMap::new(),
            sessions: BTreeMap::new(),
        };
        process.spawn(running.run());
        keeper
    }

    pub async fn send(&self, entry: &str, message: &Message, connect: Box<Connect>) -> attempt::Input {
        let result = Channel::default();
        let request = RequestId(self.requests.get());
        self.requests.set(request.0 + 1);
        let asked = Asked {
            entry: entry.to_owned(),
            message: Arc::clone(message),
            result: result.clone(),
        };
        self.events.push(Event::Send(request, asked, connect));
        result.next().await
    }
}

struct Running {
    machine: Hosts,
    process: Rc<Process>,
    events: Channel<Event>,
    requests: BTreeMap<RequestId, Asked>,
    sessions: BTreeMap<ConnectionId, Talking>,
}

impl Running {
    async fn run(mut self) {
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.act(action);
            }
            let deadline = self.machine.poll_timeout();
            let tick = async {
                self.process.clock.deadline(deadline).await;
                Event::Told(Input::Tick)
            };
            let event = self.events.next().or(tick).await;
            let input = match event {
                Event::Told(input) => {
                    if let Input::NoConnection { connection, .. } | Input::Ended { connection, .. } = &input {
                        self.sessions.remove(connection);
                    }
                    input
                }
                Event::Send(request, asked, connect) => {
                    self.requests.insert(request, asked);
                    Input::Connect { request, connect }
                }
                Event::Idle(connection, outcome, next) => {
                    if let Some(session) = self.sessions.get_mut(&connection) {
                        session.next = Some(next);
                    }
                    Input::Idle { connection, outcome }
                }
            };
            self.machine.handle_input(self.process.clock.now(), input);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open {
                connection,
                request,
                connect,
                messages,
            } => {
                let asked = self.requests.get(&request).expect("it was asked for");
                let current = Arc::new(Mutex::new(Some(Arc::clone(&asked.message))));
                let session = Talking {
                    current: Arc::clone(&current),
                    next: None,
                };
                self.sessions.insert(connection, session);
                let reader = Reader {
                    connection,
                    current,
                    events: self.events.clone(),
                };
                let (process, events) = (Rc::clone(&self.process), self.events.clone());
                self.process.spawn(async move {
                    let input = talk(&process, reader, *connect, messages).await;
                    events.push(Event::Told(input));
                });
            }
            Action::Reuse {
                connection,
                request,
                job,
            } => {
                self.process.scene.reused.set(self.process.scene.reused.get() + 1);
                let asked = self.requests.get(&request).expect("it was asked for");
                // A session that is gone tells so by its end.
                if let Some(session) = self.sessions.get_mut(&connection) {
                    *session.current.lock().expect("no panic") = Some(Arc::clone(&asked.message));
                    session.next.take().expect("it waits").push(Some(job));
                }
            }
            Action::Quit(connection) => {
                let session = self.sessions.get_mut(&connection);
                if let Some(next) = session.and_then(|session| session.next.take()) {
                    next.push(None);
                }
            }
            Action::Done { request, mut result } => {
                let asked = self.requests.remove(&request).expect("once");
                if let attempt::Input::Session(outcome) = &result
                    && outcome.end == client::End::Uncertain
                {
                    let mut story = self.process.scene.story.borrow_mut();
                    let token = story.token_of(&asked.entry).unwrap_or_default();
                    *story.uncertain.entry(token).or_default() += 1;
                }
                if let attempt::Input::Session(outcome) = &mut result {
                    wires::ended(self.process.scene.plan.bug, outcome);
                }
                asked.result.push(result);
            }
            Action::Event(event) => self.process.scene.trace(|| format!("{event:?}")),
        }
    }
}

/// Makes a connection and runs a session on it to its end.
async fn talk(process: &Rc<Process>, reader: Reader, connect: Connect, messages: u32) -> Input {
    let connection = reader.connection;
    let Connect {
        address,
        timeout,
        settings,
        job,
    } = connect;
    let stream = match process.scene.connect(address, timeout).await {
        Ok(stream) => stream,
        Err(why) => return Input::NoConnection { connection, why },
    };
    let machine = client::Session::new(process.clock.now(), settings, job).keep_open(messages);
    let ended = drive(&process.clock, machine, stream, &reader, true).await;
    let ending = match ended.outcome() {
        Some(outcome) => Ending::Outcome(outcome.clone()),
        None if ended.is_idle() => Ending::Idle,
        None => panic!("a session without an end"),
    };
    Input::Ended { connection, ending }
}

/// The service of a sending session.
struct Reader {
    connection: ConnectionId,
    current: Current,
    events: Channel<Event>,
}

impl Serve for Reader {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, _: Now, call: Call) -> Answer<Call, Reply> {
        match call {
            Call::Greeted => {
                self.events.push(Event::Told(Input::Greeted(self.connection)));
                Answer::Now(Reply::Noted)
            }
            Call::Next { outcome } => {
                *self.current.lock().expect("no panic") = None;
                let next = Channel::default();
                self.events
                    .push(Event::Idle(self.connection, outcome, next.clone()));
                Answer::Wait(Waiting::new(async move { Reply::Next(next.next().await) }))
            }
            other => Answer::Later(Pool::Read, other),
        }
    }

    async fn run(&self, _: Now, call: Call) -> Reply {
        let Call::Read { offset, max } = call else {
            panic!("nobody logs in elsewhere");
        };
        let message = self.current.lock().expect("no panic").clone();
        let message = message.expect("it has a message");
        Reply::Read(message.read(offset, max).await.map_err(|error| error.refusal))
    }

    fn spool_now(&self, _: SpoolId, _: Chunk) -> Result<(), Chunk> {
        Ok(())
    }

    async fn spool(&self, _: SpoolId, _: Chunk) {}

    async fn read_blob(&self, _: BlobId, _: u64, _: usize) -> StoreResult<Chunk> {
        Ok(Chunk::default())
    }

    fn close_blob(&self, _: BlobId) {}

    fn watch(&self, _: WatchId, _: Scope, _: ModSeq, _: Wake) {}

    fn unwatch(&self, _: WatchId) {}
}
