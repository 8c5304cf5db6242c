//! The host of the outbound queue machine: attempts, writes and notices for its actions, log lines for its events.

mod attempt;
mod count;
mod hosts;
pub(crate) mod https;
mod log_event;
mod message;
mod party;
mod policies;
mod reports;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Task;
use crate::engine::Timer;
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt as _;
use futures_lite::future::block_on;
use rmail_core::dns::Name;
use rmail_core::dns::mx::Ourselves;
use rmail_core::machine::Machine as _;
use rmail_core::relay::bounce;
use rmail_core::relay::history::Record;
use rmail_core::relay::hosts::Input as HostsInput;
use rmail_core::relay::queue::{Action, Command, Input, Queue};
use rmail_core::relay::{Settings, attempt::Order};
use rmail_store::disk::Disk;
use rmail_store::error::Result as StoreResult;
use rmail_store::mailstore::MailStore;
use rmail_store::metrics::Family;
use rmail_store::service::Pool;

use self::hosts::Keeper;
use self::https::Https;
use self::policies::Policies;
use self::reports::Reports;
use crate::dns::{self, Dns};
use crate::entropy;
use crate::pools::{Panicked, guarded, panic_text};
use crate::server::{Host, ServerConfig};

/// Somebody wants the queue's figures to be as it is now, and to hear when they are.
#[derive(Debug)]
pub(crate) struct Asked(pub(crate) Sender<()>);

/// Between two looks for queues whose process has died.
const ADOPT: Duration = Duration::from_secs(30);

/// The relay of a running server.
#[derive(Debug)]
pub(crate) struct Relay {
    events: Sender<Input>,
    /// A queue of another process is free.
    free: Sender<()>,
    dns: Dns,
    task: Task<()>,
    /// Dropping it ends it.
    _reporting: Task<()>,
}

/// What is known of TLS on the way to other domains, and what is told of it.
#[derive(Clone, Debug)]
struct Ways {
    policies: Policies,
    reports: Reports,
}

impl Relay {
    /// Starts with the entries found on disk; new ones come from the service. How the queue is told by `asked`.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub(crate) fn start<S: MailStore, D: Disk>(
        host: &Arc<Host<S, D>>,
        asked: Receiver<Asked>,
    ) -> StoreResult<Self> {
        let config = host.config();
        // Each part goes into the machine, which keeps it in little room, before the next is read.
        let loaded = guarded(|| {
            let mut machine = machine(&config);
            let mut feed = |part| machine.handle_input(host.clock.now(), Input::Loading(part));
            let read = block_on(host.service.load_outbound_in_parts(&mut feed));
            read.map(|()| machine)
        });
        let machine = logged(loaded).transpose()?;
        let dns = Dns::start(
            &host.executor,
            host.clock,
            dns::servers(&config.relay.dns_servers, config.relay.dns_trusted),
        );
        let https = Https {
            clock: host.clock,
            pools: Arc::clone(&host.pools),
            dns: dns.clone(),
            tls: Arc::default(),
        };
        let ways = Ways {
            policies: Policies::start(host, https.clone()),
            reports: Reports::default(),
        };
        let reporting = ways.reports.clone().run(Arc::clone(host), https);
        // Unbounded: the listener must not wait, and the number of entries is bounded by the queue's size.
        let (events, queue) = async_channel::unbounded();
        let listener = events.clone();
        host.service.set_outbound_listener(Arc::new(move |entry| {
            // Fails only when the server is ending; the entry is on disk.
            let _ = listener.try_send(Input::Added(entry));
        }));
        let commands = events.clone();
        let listener = Arc::new(move |entry, command| {
            let _ = commands.try_send(Input::Command { entry, command });
        });
        block_on(host.service.set_command_listener(listener));
        // Who says it again while it was not heard says nothing new.
        let (free, freed) = async_channel::bounded(1);
        // Not only once it has its first turn: a server that has started is ready.
        host.state.relay_works(machine.is_some());
        let task = host.executor.spawn(supervise(
            Arc::clone(host),
            dns.clone(),
            ways,
            Heard { queue, asked, freed },
            machine,
        ));
        Ok(Self {
            events,
            free,
            dns,
            task,
            _reporting: host.executor.spawn(reporting),
        })
    }

    /// The resolver that it asks.
    pub(crate) fn dns(&self) -> &Dns {
        &self.dns
    }

    /// After a reload.
    pub(crate) async fn set_settings(&self, settings: &Settings) {
        let servers = dns::servers(&settings.dns_servers, settings.dns_trusted);
        self.dns.set_servers(servers).await;
        let _ = self.events.try_send(Input::Settings(Box::new(settings.clone())));
    }

    /// Where it is told that a process has died whose queue is to be taken over now.
    pub(crate) fn adopter(&self) -> Sender<()> {
        self.free.clone()
    }

    /// Begins no further attempts.
    pub(crate) fn shut_down(&self) {
        let _ = self.events.try_send(Input::Shutdown);
    }

    /// After [`Relay::shut_down`]: until all that was begun is written down.
    pub(crate) async fn wait_idle(&mut self) {
        (&mut self.task).await;
    }
}

/// What the relay hears from outside.
struct Heard {
    queue: Receiver<Input>,
    asked: Receiver<Asked>,
    /// A process has died.
    freed: Receiver<()>,
}

/// Runs the queue. Should it panic, it begins anew with what is on disk: nothing there is lost, and what was under way
/// may be sent twice.
async fn supervise<S: MailStore, D: Disk>(
    host: Arc<Host<S, D>>,
    dns: Dns,
    ways: Ways,
    heard: Heard,
    mut machine: Option<Queue>,
) {
    /// Between a panic and the next beginning.
    const PAUSE: Duration = Duration::from_secs(60);
    loop {
        if let Some(machine) = machine.take() {
            let running = Running::new(&host, &dns, &ways, machine);
            host.state.relay_works(true);
            let run = AssertUnwindSafe(running.run(&heard)).catch_unwind();
            let Err(payload) = run.await else {
                return;
            };
            host.state.relay_works(false);
            logged::<()>(Err(Panicked(panic_text(payload.as_ref()))));
        }
        // What is added meanwhile is on disk, and the settings are the host's: only the end matters.
        let ended = async {
            while let Ok(input) = heard.queue.recv().await {
                if matches!(input, Input::Shutdown) {
                    break;
                }
            }
            true
        };
        let paused = async {
            Timer::after(PAUSE).await;
            false
        };
        if ended.or(paused).await {
            return;
        }
        let service = Arc::clone(&host.service);
        let load = host
            .pools
            .run(Pool::Read, move || block_on(service.load_outbound()));
        match load.await {
            Ok(Ok(entries)) => {
                machine = logged(guarded(|| {
                    let mut anew = self::machine(&host.config());
                    anew.handle_input(host.clock.now(), Input::Loading(entries));
                    anew
                }));
            }
            Ok(Err(error)) => log::error!(target: "relay", "event=load_failed error={:?}", error.to_string()),
            Err(panicked) => log::error!(target: "relay", "event=load_failed error={:?}", panicked.0),
        }
    }
}

/// What came of it, unless it panicked.
fn logged<T>(result: Result<T, Panicked>) -> Option<T> {
    let told = |panicked: &Panicked| log::error!(target: "relay", "event=panic error={:?}", panicked.0);
    result.inspect_err(told).ok()
}

/// A queue without entries.
fn machine(config: &ServerConfig) -> Queue {
    Queue::new(config.relay.clone(), ourselves(config), entropy::seed())
}

/// How we know ourselves in a list of MX hosts: by name, and by address if mail to the relay's port comes back to us.
fn ourselves(config: &ServerConfig) -> Ourselves {
    let listens = |address: &&SocketAddr| address.port() == config.relay.port;
    let addresses = config.listen.smtp.iter().filter(listens).flat_map(|address| {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        if address.ip().is_unspecified() {
            loopback.to_vec()
        } else {
            vec![address.ip()]
        }
    });
    Ourselves {
        names: Name::parse(&config.hostname).into_iter().collect(),
        addresses: addresses.collect(),
    }
}

struct Running<S: MailStore, D: Disk> {
    machine: Queue,
    host: Arc<Host<S, D>>,
    dns: Dns,
    keeper: Keeper,
    ways: Ways,
    /// For the answers to its own actions; after a panic nobody mistakes them for answers to others.
    answers: Sender<Input>,
    answered: Receiver<Input>,
    ending: bool,
}

impl<S: MailStore, D: Disk> Running<S, D> {
    fn new(host: &Arc<Host<S, D>>, dns: &Dns, ways: &Ways, machine: Queue) -> Self {
        let config = host.config();
        let (answers, answered) = async_channel::unbounded();
        Self {
            machine,
            host: Arc::clone(host),
            dns: dns.clone(),
            keeper: Keeper::start(host, config.relay.clone()),
            ways: ways.clone(),
            answers,
            answered,
            ending: false,
        }
    }

    /// Until the machine is idle after [`Input::Shutdown`].
    async fn run(mut self, heard: &Heard) {
        self.begin(&heard.queue).await;
        let mut adopt_at = Instant::now() + ADOPT;
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.act(action);
            }
            if self.ending && self.machine.is_idle() {
                let (reports, host) = (self.ways.reports.clone(), Arc::clone(&self.host));
                let _ = self
                    .host
                    .pools
                    .run(Pool::Sync, move || reports.flush(&host))
                    .await;
                return;
            }
            let deadline = self
                .machine
                .poll_timeout()
                .map(|mono| self.host.clock.instant(mono));
            if adopt_at <= Instant::now() {
                adopt_at = Instant::now() + ADOPT;
                if !self.ending {
                    self.adopt();
                }
            }
            let tick = async {
                Timer::at(deadline.map_or(adopt_at, |deadline| deadline.min(adopt_at))).await;
                Ok(Input::Tick)
            };
            let inputs = async {
                // The news of our end comes before what it brings about.
                let input = heard.queue.recv().or(self.answered.recv()).or(tick).await;
                Ok(input.map(Some))
            };
            let freed = async {
                match heard.freed.recv().await {
                    // The next turn looks.
                    Ok(()) => Ok(Ok(None)),
                    Err(_) => std::future::pending().await,
                }
            };
            let question = async {
                match heard.asked.recv().await {
                    Ok(asked) => Err(asked),
                    // Nobody will ask.
                    Err(_) => std::future::pending().await,
                }
            };
            let input = match inputs.or(question).or(freed).await {
                Ok(Ok(Some(input))) => input,
                Ok(Ok(None)) => {
                    adopt_at = Instant::now();
                    continue;
                }
                Ok(Err(_)) => return,
                Err(Asked(answer)) => {
                    let now = self.host.clock.now().unix.secs();
                    self.host.service.metrics().set_queue(now, self.machine.ages());
                    let _ = answer.try_send(());
                    continue;
                }
            };
            let adopted = matches!(&input, Input::Loading(_));
            self.feed(input);
            if adopted {
                self.begin(&heard.queue).await;
            }
        }
    }

    fn feed(&mut self, input: Input) {
        self.learn(&input);
        self.machine.handle_input(self.host.clock.now(), input);
    }

    fn learn(&mut self, input: &Input) {
        match input {
            // What an operator wants tried is not answered from memory.
            Input::Command {
                command: Command::Retry | Command::Release,
                ..
            } => self.keeper.tell(HostsInput::Impatient),
            Input::Settings(settings) => self.keeper.tell(HostsInput::Settings(settings.clone())),
            Input::Shutdown => {
                self.ending = true;
                self.keeper.tell(HostsInput::Shutdown);
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        let service = Arc::clone(&self.host.service);
        match action {
            Action::Attempt {
                attempt,
                entry,
                order,
            } => {
                let retry = usize::from(self.machine.was_tried(&entry));
                service.metrics().add(Family::Attempts, &[retry], 1);
                let record = Record::of_attempt(self.host.clock.now().unix, &entry, &order);
                service.write_history(&record);
                let outcomes = self.attempt(entry, *order);
                self.spawn(async move {
                    // No outcome after a panic: the recipients are tried again.
                    let outcomes = AssertUnwindSafe(outcomes)
                        .catch_unwind()
                        .await
                        .unwrap_or_default();
                    Input::Finished { attempt, outcomes }
                });
            }
            Action::Deliver {
                attempt,
                entry,
                accounts,
            } => {
                let clock = self.host.clock;
                let delivered = self.host.pools.run(Pool::Sync, move || {
                    block_on(service.deliver_queued(&entry, &accounts, clock.now()))
                });
                self.spawn(async move {
                    let outcomes = delivered.await.unwrap_or_default();
                    Input::Finished { attempt, outcomes }
                });
            }
            Action::Save(entry) => {
                let id = entry.id.clone();
                self.write(id, move || block_on(service.save_outbound(&entry)));
            }
            Action::Remove(id) => {
                let entry = id.clone();
                self.write(id, move || block_on(service.remove_outbound(&entry)));
            }
            Action::Bounce {
                bounce,
                entry,
                notice,
            } => {
                let offset = self.machine.offset(&entry).unwrap_or_default();
                let clock = self.host.clock;
                let stored = self.host.pools.run(Pool::Sync, move || {
                    block_on(async {
                        let now = clock.now();
                        let mut random = entropy::random();
                        let id = format!("{:016x}", random.next_u64());
                        match service.may_deliver_bounce(&id, &notice, now).await {
                            Ok(true) => {}
                            other => return succeeded("bounce", &entry, other.map(drop)),
                        }
                        let original = original(&service, &entry, offset, notice.wanted()).await;
                        let message = bounce::build(&notice, &original, now.unix, &mut random);
                        let done = service.deliver_bounce(&id, &notice, &message, now).await;
                        if done.is_ok() {
                            let kind = notice.kind as usize;
                            service.metrics().add(Family::Notices, &[kind], 1);
                            service.write_history(&Record::of_notice(now.unix, &notice, &id));
                        }
                        succeeded("bounce", &entry, done)
                    })
                });
                self.spawn(async move {
                    let stored = stored.await.unwrap_or(false);
                    Input::Bounced { bounce, stored }
                });
            }
            Action::Event(event) => {
                log_event::write(&event);
                count::event(service.metrics(), &event);
                let record = Record::of_event(self.host.clock.now().unix, &event);
                if let Some(record) = record {
                    service.write_history(&record);
                }
            }
        }
    }

    /// Goes on with the entries of processes that have died. They come as the answer to this beginning of the queue: one
    /// after a panic loads all that is ours, and must not be told of these when they are done.
    fn adopt(&self) {
        let service = Arc::clone(&self.host.service);
        let adopted = self
            .host
            .pools
            .run(Pool::Read, move || block_on(service.adopt_outbound()));
        self.spawn(async move {
            let entries = match adopted.await {
                Ok(Ok(entries)) => entries,
                Ok(Err(error)) => {
                    log::warn!(target: "relay", "event=adopt_failed error={:?}", error.to_string());
                    Vec::new()
                }
                Err(panicked) => {
                    log::error!(target: "relay", "event=adopt_failed error={:?}", panicked.0);
                    Vec::new()
                }
            };
            if !entries.is_empty() {
                log::info!(target: "relay", "event=adopted entries={}", entries.len());
            }
            match entries.is_empty() {
                true => Input::Tick,
                false => Input::Loading(entries),
            }
        });
    }

    /// Begins with the entries that were loaded, once it is known what operators have asked of them meanwhile.
    async fn begin(&mut self, queue: &Receiver<Input>) {
        self.hear_requests().await;
        while let Ok(input) = queue.try_recv() {
            self.feed(input);
        }
        self.feed(Input::Loaded(Vec::new()));
    }

    /// Has the service read what operators ask; it comes as [`Input::Command`].
    async fn hear_requests(&self) {
        let (service, clock) = (Arc::clone(&self.host.service), self.host.clock);
        let hear = self.host.pools.run(Pool::Sync, move || {
            block_on(service.hear_requests(clock.now().unix))
        });
        if let Err(panicked) = hear.await {
            log::error!(target: "relay", "event=panic task=requests error={:?}", panicked.0);
        }
    }

    fn attempt(
        &self,
        entry: String,
        order: Order,
    ) -> impl Future<Output = Vec<rmail_core::relay::Outcome>> + Send + use<S, D> {
        let (host, dns, keeper) = (Arc::clone(&self.host), self.dns.clone(), self.keeper.clone());
        let ways = self.ways.clone();
        async move { attempt::run(&host, &dns, &keeper, &ways, &entry, order).await }
    }

    fn write(&self, entry: String, job: impl FnOnce() -> StoreResult<()> + Send + 'static) {
        let id = entry.clone();
        let written = self
            .host
            .pools
            .run(Pool::Sync, move || succeeded("write", &id, job()));
        self.spawn(async move {
            let ok = written.await.unwrap_or(false);
            Input::Saved { entry, ok }
        });
    }

    fn spawn(&self, task: impl Future<Output = Input> + Send + 'static) {
        let answers = self.answers.clone();
        let task = async move {
            let _ = answers.try_send(task.await);
        };
        self.host.executor.spawn(task).detach();
    }
}

fn succeeded(what: &str, entry: &str, result: StoreResult<()>) -> bool {
    if let Err(error) = &result {
        log::error!(target: "relay", "event={what}_failed id={entry} error={:?}", error.to_string());
    }
    result.is_ok()
}

/// The beginning of an entry's message; what cannot be read is left out of the notice.
async fn original<S: MailStore, D: Disk>(
    service: &rmail_store::service::Service<S, D>,
    entry: &str,
    offset: u64,
    wanted: usize,
) -> Vec<u8> {
    let mut octets = Vec::new();
    let read = async {
        let message = service.open_outbound(entry).await?;
        while octets.len() < wanted {
            let at = offset.saturating_add(octets.len() as u64);
            let chunk = message.read(at, wanted - octets.len()).await?;
            if chunk.is_empty() {
                break;
            }
            octets.extend_from_slice(&chunk);
        }
        Ok::<(), rmail_store::error::Error>(())
    };
    if let Err(error) = read.await {
        log::warn!(target: "relay", "event=message_unread id={entry} error={:?}", error.to_string());
        // Half a message is no message.
        octets.clear();
    }
    octets
}

impl<S: MailStore, D: Disk> fmt::Debug for Running<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
