//! The host of the machine of the hosts: one task that opens connections and hands messages to kept ones.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::Timer;
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt as _;
use rmail_core::machine::Machine as _;
use rmail_core::relay::attempt::{self, Connect};
use rmail_core::relay::hosts::{Action, ConnectionId, Ending, Hosts, Input, RequestId};
use rmail_core::relay::{Settings, TlsPolicy};
use rmail_core::smtp::client::{self, Job, Outcome};
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;

use super::message::Reader;
use super::party::{explain, party};
use super::{count, log_event};
use crate::drive::{Context, drive};
use crate::io::Stream;
use crate::note_log::Label;
use crate::pools::panic_text;
use crate::server::Host;
use crate::tls::ClientTls;

/// What the task is told.
#[derive(Debug)]
pub(super) enum Event {
    /// As it is.
    Told(Input),
    /// An attempt wants a message sent.
    Send {
        request: RequestId,
        entry: Arc<str>,
        connect: Box<Connect>,
        result: Sender<attempt::Input>,
    },
    /// A session waits for a message.
    Idle {
        connection: ConnectionId,
        outcome: Box<Outcome>,
        job: Sender<Option<Box<Job>>>,
    },
}

/// What attempts know of the task.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    events: Sender<Event>,
    requests: Arc<AtomicU64>,
}

impl Keeper {
    /// Starts the task. It ends with the last of its keepers.
    pub(super) fn start<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, settings: Settings) -> Self {
        // Unbounded: there is at most one event for each attempt and each connection, which are bounded.
        let (events, heard) = async_channel::unbounded();
        let task = run(Arc::clone(host), settings, events.downgrade(), heard);
        host.executor.spawn(task).detach();
        Self {
            events,
            requests: Arc::default(),
        }
    }

    /// Has the message sent; `None` if the task broke off.
    pub(super) async fn send(&self, entry: &Arc<str>, connect: Box<Connect>) -> Option<attempt::Input> {
        let (result, sent) = async_channel::bounded(1);
        let send = Event::Send {
            request: RequestId(self.requests.fetch_add(1, Ordering::Relaxed)),
            entry: Arc::clone(entry),
            connect,
            result,
        };
        self.events.try_send(send).ok()?;
        sent.recv().await.ok()
    }

    /// Settings, the end, impatience.
    pub(super) fn tell(&self, input: Input) {
        // Fails only when the task has ended.
        let _ = self.events.try_send(Event::Told(input));
    }
}

/// Until nobody is left who could ask. A panic ends what is under way; what comes after it finds nothing kept.
async fn run<S: MailStore, D: Disk>(
    host: Arc<Host<S, D>>,
    mut settings: Settings,
    events: async_channel::WeakSender<Event>,
    heard: Receiver<Event>,
) {
    let tls: Arc<ClientTls> = Arc::default();
    for life in 0.. {
        let running = Running {
            // Sessions of a life before this one end under their own names.
            machine: Hosts::new(&settings, life << 40),
            host: Arc::clone(&host),
            tls: Arc::clone(&tls),
            events: events.clone(),
            requests: HashMap::new(),
            sessions: HashMap::new(),
        };
        match AssertUnwindSafe(running.run(&heard)).catch_unwind().await {
            Ok(()) => return,
            Err(payload) => {
                log::error!(target: "relay", "event=panic part=hosts error={:?}", panic_text(payload.as_ref()));
                settings = host.config().relay.clone();
            }
        }
    }
}

struct Running<S: MailStore, D: Disk> {
    machine: Hosts,
    host: Arc<Host<S, D>>,
    tls: Arc<ClientTls>,
    events: async_channel::WeakSender<Event>,
    requests: HashMap<RequestId, Asked>,
    sessions: HashMap<ConnectionId, Talking<S, D>>,
}

/// What an attempt has asked for.
struct Asked {
    entry: Arc<str>,
    result: Sender<attempt::Input>,
}

/// A session that runs.
struct Talking<S: MailStore, D: Disk> {
    reader: Arc<Reader<S, D>>,
    label: Label,
    /// While it waits for a message.
    next: Option<Sender<Option<Box<Job>>>>,
}

impl<S: MailStore, D: Disk> Running<S, D> {
    async fn run(mut self, heard: &Receiver<Event>) {
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.act(action);
            }
            let deadline = self.machine.poll_timeout();
            let deadline = deadline.map(|mono| self.host.clock.instant(mono));
            let tick = async {
                match deadline {
                    Some(deadline) => Timer::at(deadline).await,
                    None => futures_lite::future::pending().await,
                };
                Ok(Event::Told(Input::Tick))
            };
            let Ok(event) = heard.recv().or(tick).await else {
                return;
            };
            self.hear(event);
        }
    }

    fn hear(&mut self, event: Event) {
        let input = match event {
            Event::Told(input) => {
                if let Input::NoConnection { connection, .. } | Input::Ended { connection, .. } = &input {
                    self.sessions.remove(connection);
                }
                input
            }
            Event::Send {
                request,
                entry,
                connect,
                result,
            } => {
                self.requests.insert(request, Asked { entry, result });
                Input::Connect { request, connect }
            }
            Event::Idle {
                connection,
                outcome,
                job,
            } => {
                if let Some(session) = self.sessions.get_mut(&connection) {
                    session.next = Some(job);
                }
                Input::Idle { connection, outcome }
            }
        };
        self.machine.handle_input(self.host.clock.now(), input);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open {
                connection,
                request,
                connect,
                messages,
            } => self.open(connection, request, *connect, messages),
            Action::Reuse {
                connection,
                request,
                job,
            } => {
                let (Some(session), Some(asked)) =
                    (self.sessions.get_mut(&connection), self.requests.get(&request))
                else {
                    return;
                };
                session.reader.set(Arc::clone(&asked.entry));
                log::debug!(target: "relay", "{} event=reused id={}", session.label, asked.entry);
                if let Some(next) = session.next.take() {
                    // A session that is gone tells so by its end.
                    let _ = next.try_send(Some(job));
                }
            }
            Action::Quit(connection) => {
                let next = self.sessions.get_mut(&connection).and_then(|it| it.next.take());
                if let Some(next) = next {
                    let _ = next.try_send(None);
                }
            }
            Action::Done { request, result } => {
                if let Some(asked) = self.requests.remove(&request) {
                    let _ = asked.result.try_send(result);
                }
            }
            Action::Event(event) => {
                log_event::write_host(&event);
                count::host(self.host.service.metrics(), &event);
            }
        }
    }

    fn open(&mut self, connection: ConnectionId, request: RequestId, connect: Connect, messages: u32) {
        let (Some(asked), Some(events)) = (self.requests.get(&request), self.events.upgrade()) else {
            return;
        };
        let reader = Arc::new(Reader::new(
            connection,
            Arc::clone(&self.host.service),
            Arc::clone(&asked.entry),
            events.clone(),
        ));
        let label = Label {
            protocol: "relay",
            connection: self.host.sessions.number(),
            peer: connect.address.ip(),
        };
        let session = Talking {
            reader: Arc::clone(&reader),
            label,
            next: None,
        };
        self.sessions.insert(connection, session);
        let (host, tls, entry) = (
            Arc::clone(&self.host),
            Arc::clone(&self.tls),
            Arc::clone(&asked.entry),
        );
        let talk = async move {
            let talked = talk(&host, &tls, &reader, (&entry, label), connect, messages);
            let input = match AssertUnwindSafe(talked).catch_unwind().await {
                Ok(Ok(ending)) => Input::Ended { connection, ending },
                Ok(Err(why)) => Input::NoConnection { connection, why },
                Err(payload) => Input::Ended {
                    connection,
                    ending: Ending::Broken(panic_text(payload.as_ref())),
                },
            };
            let _ = events.try_send(Event::Told(input));
        };
        self.host.executor.spawn(talk).detach();
    }
}

/// Makes a connection and runs a session on it to its end.
///
/// # Errors
/// There is no connection; in words.
async fn talk<S: MailStore, D: Disk>(
    host: &Arc<Host<S, D>>,
    tls: &Arc<ClientTls>,
    reader: &Arc<Reader<S, D>>,
    (entry, label): (&str, Label),
    connect: Connect,
    messages: u32,
) -> Result<Ending, String> {
    let Connect {
        address,
        timeout,
        settings,
        job,
    } = connect;
    let deadline = host.clock.now().mono + timeout;
    let party = party(host, tls, &settings, address).await?;
    let late = async {
        Timer::after(timeout).await;
        Err(io::Error::from(io::ErrorKind::TimedOut))
    };
    let stream = Stream::connect(address).or(late).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let mut limits = host.config().drive;
    let implicit_tls = settings.tls == TlsPolicy::Implicit;
    if implicit_tls {
        limits.handshake = (deadline - host.clock.now().mono).max(Duration::from_secs(1));
    }
    let context = Context {
        clock: host.clock,
        pools: Arc::clone(&host.pools),
        signal: Arc::default(),
        tls: party,
        implicit_tls,
        limits,
        label,
        lines: None,
        metrics: None,
        tape: None,
    };
    log::debug!(target: "relay", "{} event=connected id={entry} address={address}", context.label);
    let present = host.sessions.enter(context.label.connection, &context.signal);
    let machine = client::Session::new(host.clock.now(), settings, job).keep_open(messages);
    let ended = drive(machine, stream, Arc::clone(reader), context).await;
    drop(present);
    let end = ended.end.to_string();
    Ok(ended
        .machine
        .map_or(Ending::Broken(end.clone()), |machine| match machine.outcome() {
            Some(outcome) => {
                let mut outcome = outcome.clone();
                explain(&mut outcome, &ended.end);
                Ending::Outcome(outcome)
            }
            None if machine.is_idle() => Ending::Idle,
            None => Ending::Broken(end),
        }))
}

impl<S: MailStore, D: Disk> fmt::Debug for Running<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
