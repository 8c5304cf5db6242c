//! A whole server: disk, store, service, listeners, relay, and their end.

mod config;
mod end;
mod host;
mod no_service;
mod state;
mod succession;
mod tasks;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;

use async_channel::{Receiver, Sender};
use futures_lite::FutureExt as _;
use futures_lite::future::block_on as wait_here;
use rmail_core::api::setup::Ports;
use rmail_store::accounts::Accounts;
use rmail_store::disk::Disk;
use rmail_store::file::{FileStore, Options};
use rmail_store::mailstore::MailStore;

pub use config::{ApiConfig, ImapConfig, Listen, ServerConfig, SmtpConfig, StoreConfig};
pub(crate) use host::Host;
pub(crate) use no_service::NoService;
pub(crate) use succession::Restarter;

use self::succession::{Event, Succession};
use crate::control;
use crate::disk::RealDisk;
use crate::dns::Hurried;
use crate::engine::{Engine, Io, Signal, Signals, Task, Threads};
use crate::entropy;
use crate::handover::{Handed, Program};
use crate::listen::{self, BindError, Service, SocketFile, Sockets};
use crate::pools::Pools;
use crate::record::{Files, Filter};
use crate::relay::Relay;
use crate::service::notify;
use crate::tls::{ServerTls, TlsError};

/// A running server: SMTP, IMAP and HTTP over one store of mail.
///
/// [`Server::start`] keeps everything in files. [`Server::start_with`] takes any other [`MailStore`]; all services and the
/// relay then speak to that one.
pub struct Server<S: MailStore = FileStore<RealDisk>, D: Disk = RealDisk> {
    host: Arc<Host<S, D>>,
    addresses: Vec<(Service, SocketAddr)>,
    listeners: Vec<Task<()>>,
    /// The sockets of the listeners, for a process that goes on in our place.
    handed: Vec<Handed>,
    /// Names that stay when this process has handed them over.
    local: Option<Arc<SocketFile>>,
    /// If it can be restarted without refusing anybody.
    succession: Option<Succession>,
    tasks: Vec<Task<()>>,
    /// What commands ask; until the end.
    control: Option<Task<()>>,
    /// All sessions are recorded; what is left is written when this is dropped.
    recording: Option<Files>,
    relay: Option<Relay>,
    stop: Stopper,
    stopped: Receiver<()>,
    again: Reloader,
    asked_again: Receiver<()>,
    threads: Threads,
    signals: Signals,
}

/// Ends a server from another thread. Cloning it names the same server.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<()>);

impl Stopper {
    /// [`Server::run`] drains and returns. Saying it twice is harmless.
    pub fn stop(&self) {
        self.0.close();
    }
}

/// Makes a running server reload from another thread, as SIGHUP does. Cloning it names the same server.
#[derive(Clone, Debug)]
pub struct Reloader(Sender<()>);

impl Reloader {
    /// [`Server::run`] calls its `reload` soon. Saying it again before it does so changes nothing.
    pub fn reload(&self) {
        // Full: it will; closed: the server has ended.
        let _ = self.0.try_send(());
    }
}

/// Why a server did not start, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The mail_root.
    #[error("cannot open mail_root {path}: {source}")]
    MailRoot {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The store in it.
    #[error("cannot open the store in {path}: {source}")]
    Store {
        /// The mail_root.
        path: String,
        /// Why.
        source: rmail_store::Error,
    },
    /// The queue in it.
    #[error("cannot load the outbound queue: {0}")]
    Queue(rmail_store::Error),
    /// The certificate.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] TlsError),
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Signals.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// The directory of recorded sessions.
    #[error("cannot record into {path}: {source}")]
    Record {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A thread or another resource of the system.
    #[error("the system gives no {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Why a server ended otherwise than it was told.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Signals cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// Flag changes could not be synced at the end.
    #[error("flags could not be synced: {0}")]
    Flush(rmail_store::Error),
}

impl Server {
    /// Opens the files in `config.mail_root`, makes it if it is not there, and serves from then on.
    ///
    /// # Errors
    /// What is in the way; nothing keeps running then.
    pub fn start(config: Arc<ServerConfig>) -> Result<Self, StartError> {
        Self::start_on(config, Sockets::default(), None)
    }

    /// The same on sockets that listen already, as far as the configuration has services for them. With the program that it
    /// is, this server is the whole process: it tells the service manager how it is, and SIGUSR2 starts a process that goes
    /// on in its place, on the same sockets.
    ///
    /// # Errors
    /// What is in the way; nothing keeps running then.
    pub(crate) fn start_on(
        config: Arc<ServerConfig>,
        sockets: Sockets,
        program: Option<Program>,
    ) -> Result<Self, StartError> {
        let root = || config.mail_root.display().to_string();
        let disk = RealDisk::open(&config.mail_root)
            .map_err(|source| StartError::MailRoot { path: root(), source })?;
        if config.store.shared_by_hosts {
            disk.share_with_hosts();
        }
        let disk = Arc::new(disk);
        let options = Options {
            flag_sync_ms: u64::try_from(config.store.flag_sync.as_millis()).unwrap_or(u64::MAX),
            shared_by_hosts: config.store.shared_by_hosts,
            ..Options::default()
        };
        let opened = FileStore::open(Arc::clone(&disk), config.store.limits, options);
        let store = wait_here(opened).map_err(|source| StartError::Store { path: root(), source })?;
        let accounts = Accounts::new(disk, entropy::random());
        Self::start_with_on(config, Arc::new(store), accounts, sockets, program)
    }
}

impl<S: MailStore, D: Disk> Server<S, D> {
    /// Binds every listener, loads the queue, and serves from then on: mail lies in `store`, users and domains in
    /// `accounts`. They need not lie in the same place; of `config.mail_root` only a self-signed certificate and the
    /// socket that commands speak to ([`crate::control`]) are still kept there.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use rmail_runtime::{disk::RealDisk, entropy, server::{Server, ServerConfig}};
    /// # use rmail_store::{MailStore, accounts::Accounts};
    /// fn serve(config: ServerConfig, store: impl MailStore) -> Result<(), Box<dyn std::error::Error>> {
    ///     let users = Accounts::new(Arc::new(RealDisk::open(&config.mail_root)?), entropy::random());
    ///     Server::start_with(Arc::new(config), Arc::new(store), users)?.run(|| None)?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// What is in the way; nothing keeps running then.
    pub fn start_with(
        config: Arc<ServerConfig>,
        store: Arc<S>,
        accounts: Accounts<D>,
    ) -> Result<Self, StartError> {
        Self::start_with_on(config, store, accounts, Sockets::default(), None)
    }

    fn start_with_on(
        config: Arc<ServerConfig>,
        store: Arc<S>,
        accounts: Accounts<D>,
        mut sockets: Sockets,
        program: Option<Program>,
    ) -> Result<Self, StartError> {
        let no = |what| move |source| StartError::System { what, source };
        let executor = Arc::new(Engine::new().map_err(no("descriptor"))?);
        let _here = executor.enter();
        // First: a signal that comes from now on is heard by `run` and ends nothing half-way.
        let signals = Signals::new(&[Signal::Term, Signal::Int, Signal::Hup, Signal::Usr2])
            .map_err(StartError::Signals)?;
        let tls = config
            .tls
            .as_ref()
            .map(|main| ServerTls::load(main, &config.certificates))
            .transpose()?
            .map(Arc::new);
        let mut bound = Vec::new();
        for service in Service::ALL {
            if service.is_implicit_tls() && tls.is_none() {
                continue;
            }
            for listener in listen::bind_with(service, config.listen.of(service), &mut sockets)? {
                let in_any_case = listener.in_any_case;
                let listener = Io::new(listener.socket).map_err(no("news of a listener"))?;
                bound.push((service, listener, in_any_case));
            }
        }
        let local = config.listen.lmtp_socket.as_deref();
        let local = local
            .map(|path| listen::bind_local_with(Service::Lmtp, path, &mut sockets))
            .transpose()?;
        sockets.close_rest();
        let service = rmail_store::service::Service::new(store, accounts, config.service.clone());
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = Threads::start(cores, "rmail", &executor).map_err(no("thread"))?;
        let pools = Arc::new(Pools::new(cores.get()));
        let host = Host::new(config, pools, executor, service, tls, ports_of(&bound));
        wait_here(host.read_token_key());
        let recording = record_all(&host)?;
        // One scrape at a time, and the next.
        let (ask, asked) = async_channel::bounded(2);
        host.state.set_queue(ask);
        let relay = Relay::start(&host, asked).map_err(StartError::Queue)?;
        let lookup = Hurried(relay.dns().clone());
        host.service.set_lookup(Arc::new(lookup));
        let (stop, stopped) = async_channel::bounded(1);
        let (again, asked_again) = async_channel::bounded(1);
        let mut server = Self {
            addresses: Vec::new(),
            listeners: Vec::new(),
            handed: Vec::new(),
            local: None,
            succession: None,
            tasks: tasks::start(&host),
            control: None,
            recording,
            relay: Some(relay),
            stop: Stopper(stop),
            stopped,
            again: Reloader(again),
            asked_again,
            threads,
            signals,
            host,
        };
        server
            .host
            .state
            .set_ends(server.stop.clone(), server.again.clone());
        server.succession = program.map(|program| Succession::new(&server.host, program));
        // Who finds a port open can ask for all else.
        server.hear_commands();
        for (service, listener, in_any_case) in bound {
            server.listen(service, listener, in_any_case)?;
        }
        if let Some((listener, file)) = local {
            server.listen_locally(Service::Lmtp, listener, file);
        }
        Ok(server)
    }

    /// Without the socket all else works.
    fn hear_commands(&mut self) {
        let (host, config) = (Arc::clone(&self.host), self.host.config());
        let executor = Arc::clone(&self.host.executor);
        let answer = move |request, answers| control::answer(Arc::clone(&host), request, answers);
        let serving = control::Place::make(&config.mail_root, config.store.shared_by_hosts)
            .and_then(|place| control::serve(&place, executor, answer));
        match serving {
            Ok(serving) => self.control = Some(self.host.executor.spawn(serving)),
            Err(error) => {
                log::warn!(target: "server", "event=no_control_socket error={:?}", error.to_string())
            }
        }
    }

    fn listen(
        &mut self,
        service: Service,
        listener: Io<std::net::TcpListener>,
        in_any_case: bool,
    ) -> Result<(), StartError> {
        let address = listener
            .get_ref()
            .local_addr()
            .map_err(|source| StartError::System {
                what: "address of a listener",
                source,
            })?;
        log::info!(target: "server", "event=listening service={service} address={address}");
        self.addresses.push((service, address));
        let accepting = self.host.state.listens(service, address.to_string());
        let host = Arc::clone(&self.host);
        let listener = Arc::new(listener);
        self.handed.push(Handed::Tcp {
            service,
            in_any_case,
            socket: Arc::clone(&listener),
        });
        let accept = listen::accept(service, listener, move |socket, peer| {
            host.accepted(service, socket, peer);
        });
        self.listeners.push(self.host.executor.spawn(async move {
            accept.await;
            drop(accepting);
        }));
        Ok(())
    }

    fn listen_locally(&mut self, service: Service, listener: Io<UnixListener>, file: SocketFile) {
        log::info!(target: "server", "event=listening service={service} path={:?}", file.path());
        let path = file.path().display().to_string();
        let accepting = self.host.state.listens(service, path);
        let host = Arc::clone(&self.host);
        let (listener, file) = (Arc::new(listener), Arc::new(file));
        self.handed.push(Handed::Local(service, Arc::clone(&listener)));
        self.local = Some(Arc::clone(&file));
        let accept = listen::accept_local(service, listener, move |socket| {
            host.accepted_local(service, socket);
        });
        self.listeners.push(self.host.executor.spawn(async move {
            accept.await;
            drop((file, accepting));
        }));
    }

    /// Addresses that are bound, in the order of [`Service::ALL`].
    #[must_use]
    pub fn addresses(&self) -> &[(Service, SocketAddr)] {
        &self.addresses
    }

    /// Ends the server from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Makes the server reload from another thread.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.again.clone()
    }

    /// Looks for the queues of processes that have died at once, from another thread.
    pub(crate) fn adopter(&self) -> Option<Sender<()>> {
        self.relay.as_ref().map(Relay::adopter)
    }

    /// Runs until SIGTERM, SIGINT or [`Stopper::stop`], then drains: nobody new is taken, sessions say goodbye once no
    /// transaction is cut in half, what is unsynced is synced. A second signal, or the end of the grace time, cuts
    /// what is left. SIGHUP and [`Reloader::reload`] call `reload`: the new configuration, or `None` to keep the old one; the certificate is
    /// read again in either case.
    ///
    /// # Errors
    /// Signals cannot be heard, or the last sync failed.
    pub fn run(
        self,
        mut reload: impl FnMut() -> Option<Arc<ServerConfig>> + Send + 'static,
    ) -> Result<(), RunError> {
        self.serve(Some(&mut reload))
    }

    /// As [`Server::run`], for a server that belongs to a terminal: SIGHUP, which says that the terminal was closed, ends
    /// it too.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn run_in_terminal(self) -> Result<(), RunError> {
        self.serve(None)
    }

    fn serve(
        mut self,
        mut reload: Option<&mut dyn FnMut() -> Option<Arc<ServerConfig>>>,
    ) -> Result<(), RunError> {
        if reload.is_none() {
            self.host.state.fix();
        }
        self.tell(notify::ready, &self.host.status());
        let executor = Arc::clone(&self.host.executor);
        let _here = executor.enter();
        let successor = wait_here(async {
            loop {
                let stopped = async {
                    let _ = self.stopped.recv().await;
                    Ok(Ok(Signal::Term))
                };
                let event = async {
                    match &self.succession {
                        Some(succession) => Err(succession.event().await),
                        None => std::future::pending().await,
                    }
                };
                let again = async {
                    match self.asked_again.recv().await {
                        Ok(()) => Ok(Ok(Signal::Hup)),
                        Err(_) => std::future::pending().await,
                    }
                };
                let signal = async { Ok(self.signals.next().await) };
                match (signal.or(again).or(stopped).or(event).await, &mut reload) {
                    (Ok(Ok(Signal::Hup)), Some(reload)) => {
                        self.tell(notify::reloading, "reading the configuration");
                        self.reload(reload()).await;
                        self.tell(notify::ready, &self.host.status());
                    }
                    (Ok(Ok(Signal::Usr2)), _) => self.begin_succession(None),
                    (Ok(Err(error)), _) => return Err(RunError::Signals(error)),
                    (Ok(Ok(_)), _) => return Ok(None),
                    (Err(Event::Asked(answer)), _) => self.begin_succession(Some(answer)),
                    (Err(Event::Outcome(outcome)), _) => {
                        if let Some(successor) = self.end_succession(outcome) {
                            return Ok(Some(successor));
                        }
                    }
                }
            }
        })?;
        if successor.is_none() {
            self.tell(notify::stopping, "ending sessions");
        }
        self.drain(successor)
    }

    /// Tells the service manager, if this process is a service.
    fn tell(&self, what: fn(&str), status: &str) {
        if self.succession.is_some() {
            what(status);
        }
    }

    async fn reload(&self, config: Option<Arc<ServerConfig>>) {
        if let Some(config) = config {
            let old = self.host.config();
            let config = Arc::new(config.after(&old));
            self.host.service.set_settings(config.service.clone());
            if let Some(relay) = &self.relay {
                relay.set_settings(&config.relay).await;
            }
            self.host.set_config(config);
            self.host.read_token_key().await;
            log::info!(target: "server", "event=reloaded");
        }
        tasks::reload_certificates(&self.host, &[]).await;
    }
}

impl<S: MailStore, D: Disk> fmt::Debug for Server<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("addresses", &self.addresses)
            .field("relay", &self.relay)
            .finish_non_exhaustive()
    }
}

/// Begins to record all sessions, if that is wanted.
fn record_all<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>) -> Result<Option<Files>, StartError> {
    let config = host.config();
    let Some(dir) = &config.record else {
        return Ok(None);
    };
    let started = match host.recorder.begin(Filter::All) {
        Some(wanted) => Files::start(dir, wanted),
        None => Err(io::Error::other("too much is recorded already")),
    };
    let path = dir.display().to_string();
    started
        .map(Some)
        .map_err(|source| StartError::Record { path, source })
}

/// The ports on which there is something for clients: the first of each service.
fn ports_of(bound: &[(Service, Io<std::net::TcpListener>, bool)]) -> Ports {
    let port = |wanted: Service| {
        let found = bound.iter().find(|(service, ..)| *service == wanted);
        let address = found.and_then(|(_, listener, _)| listener.get_ref().local_addr().ok());
        address.map(|address| address.port())
    };
    Ports {
        imap: port(Service::Imap),
        imaps: port(Service::Imaps),
        submission: port(Service::Submission),
        smtps: port(Service::Smtps),
        http: port(Service::Public).or_else(|| port(Service::Api)),
        https: port(Service::PublicTls).or_else(|| port(Service::ApiTls)),
    }
}
