//! What the parts of a running server share, and how a connection becomes a session.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use crate::engine::Engine;
use async_channel::{Receiver, Sender};
use log::Level;
use rmail_core::api::setup::{Ports, Setup};
use rmail_core::auth::token;
use rmail_core::machine::Session;
use rmail_core::peer::Peer;
use rmail_core::{api, http, imap, smtp};
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::metrics::{Family, Metrics};
use rmail_store::service;
use rmail_store::service::Serve;

use super::config::ServerConfig;
use super::state::{HostProbe, State};
use crate::clock::Clock;
use crate::drive::{Context, Signal, drive};
use crate::entropy;
use crate::flood::{Flood, Floods};
use crate::io::Stream;
use crate::listen::{self, Gate, Group, Pass, Refused, Service};
use crate::logging;
use crate::note_log::{self, Label};
use crate::pools::Pools;
use crate::record::{self, Recorder, Reel, Tape};
use crate::tls::{ServerTls, TlsParty};

/// The file of the key in `{mail_root}/secrets`.
const TOKENS: &str = "tokens";

/// What sessions, relay and periodic tasks share.
pub(crate) struct Host<S: MailStore, D: Disk> {
    pub(crate) clock: Clock,
    pub(crate) pools: Arc<Pools>,
    pub(crate) executor: Arc<Engine>,
    pub(crate) service: Arc<service::Service<S, D>>,
    pub(crate) sessions: Sessions,
    /// Who wants sessions recorded.
    pub(crate) recorder: Arc<Recorder>,
    /// What was answered could not be synced.
    pub(crate) sync_failed: AtomicBool,
    /// How the parts are.
    pub(crate) state: State,
    /// Connections of trusted networks that there was no room for.
    refused: Flood,
    /// Lines about those who are not trusted.
    lines: Arc<Floods>,
    config: RwLock<Arc<ServerConfig>>,
    /// Ports that are on.
    ports: Ports,
    setup: RwLock<Arc<Setup>>,
    /// What signs tokens where the configuration has no key: the mail_root's.
    token_key: OnceLock<token::Key>,
    tls: Option<Arc<ServerTls>>,
    gate: Arc<Gate>,
}

impl<S: MailStore, D: Disk> Host<S, D> {
    pub(crate) fn new(
        config: Arc<ServerConfig>,
        pools: Arc<Pools>,
        executor: Arc<Engine>,
        service: Arc<service::Service<S, D>>,
        tls: Option<Arc<ServerTls>>,
        ports: Ports,
    ) -> Arc<Self> {
        let clock = Clock::start();
        Arc::new_cyclic(|host| {
            service.set_probe(Arc::new(HostProbe::new(host, clock)));
            Self {
                clock,
                pools,
                executor,
                service,
                sessions: Sessions::default(),
                recorder: Arc::default(),
                sync_failed: AtomicBool::new(false),
                state: State::default(),
                refused: Flood::default(),
                lines: Arc::default(),
                setup: RwLock::new(Arc::new(config.setup(ports))),
                config: RwLock::new(config),
                ports,
                token_key: OnceLock::new(),
                tls,
                gate: Arc::default(),
            }
        })
    }

    /// Reads the key that signs tokens, or makes it, unless it is there or not needed. Without it nobody can log in to the
    /// API; the rest works.
    pub(crate) async fn read_token_key(&self) {
        if self.config().token_key.is_some() || self.token_key.get().is_some() {
            return;
        }
        match self.service.accounts().secret(TOKENS).await {
            Ok(secret) => {
                let _ = self.token_key.set(token::Key::new(secret));
            }
            Err(error) => {
                log::error!(target: "server", "event=no_token_key secret={TOKENS} error={:?}", error.to_string());
            }
        }
    }

    /// The configuration for what begins now.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// New sessions get this one.
    pub(crate) fn set_config(&self, config: Arc<ServerConfig>) {
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.setup(self.ports));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The certificate, if TLS is on.
    pub(crate) fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }

    /// Tells how many lines were left out.
    pub(crate) fn tell_left_out(&self) {
        logging::tell_left_out();
        self.lines.tell(Instant::now());
        if let Some(count) = self.refused.left_out(Instant::now()) {
            log::warn!(target: "server", "event=refused_more left_out={count}");
        }
    }

    /// A connection was accepted: it becomes a session, or is told that there is no room.
    pub(crate) fn accepted(self: &Arc<Self>, service: Service, socket: TcpStream, peer: SocketAddr) {
        let config = self.config();
        let label = Label {
            protocol: service.protocol(),
            connection: self.sessions.number(),
            peer: peer.ip(),
        };
        let limits = config.gate_limits(service, peer.ip());
        let from = Peer {
            address: peer.ip(),
            trusted: service == Service::Lmtp || config.is_trusted(peer.ip()),
        };
        let entered = if service.group() == Group::Smtp && !self.service.admits(self.clock.now(), from) {
            Err(Refused::Rate)
        } else {
            self.gate.enter(service, peer.ip(), limits)
        };
        let pass = match entered {
            Ok(pass) => pass,
            Err(why) => {
                self.tell_left_out();
                let admitted = match from.trusted {
                    true => self.refused.admits(Instant::now()),
                    false => note_log::admits(&label, Some(&self.lines)),
                };
                if admitted {
                    note_log::line_of(
                        &label,
                        Level::Warn,
                        format_args!("event=refused service={service} why={why:?}"),
                    );
                }
                let reason = why as usize;
                self.service
                    .metrics()
                    .add(Family::ConnectionsRefused, &[service as usize, reason], 1);
                listen::refuse(service, &config.hostname, why, socket);
                return;
            }
        };
        listen::keep_alive(&socket);
        match Stream::new(socket) {
            Ok(stream) => self.begin(service, &config, from, stream, label, pass),
            Err(error) => {
                note_log::line_of(
                    &label,
                    Level::Error,
                    format_args!("event=no_session error={:?}", error.to_string()),
                );
            }
        }
    }

    /// The same for a socket of the file system: whoever may open it is trusted.
    pub(crate) fn accepted_local(self: &Arc<Self>, service: Service, mut socket: UnixStream) {
        let config = self.config();
        let peer = Peer::LOCAL;
        let label = Label {
            protocol: service.protocol(),
            connection: self.sessions.number(),
            peer: peer.address,
        };
        let limits = config.gate_limits(service, peer.address);
        let begun = match self.gate.enter(service, peer.address, limits) {
            Ok(pass) => {
                Stream::local(socket).map(|stream| self.begin(service, &config, peer, stream, label, pass))
            }
            Err(why) => {
                self.tell_left_out();
                if self.refused.admits(Instant::now()) {
                    let why = format_args!("event=refused service={service} why={why:?}");
                    note_log::line_of(&label, Level::Warn, why);
                }
                listen::tell(service, &config.hostname, why, &mut socket)
            }
        };
        if let Err(error) = begun {
            note_log::line_of(
                &label,
                Level::Error,
                format_args!("event=no_session error={:?}", error.to_string()),
            );
        }
    }

    fn begin(
        self: &Arc<Self>,
        service: Service,
        config: &ServerConfig,
        peer: Peer,
        stream: Stream,
        label: Label,
        pass: Pass,
    ) {
        let lines = (!peer.trusted).then(|| Arc::clone(&self.lines));
        if note_log::admits(&label, lines.as_deref()) {
            note_log::line_of(
                &label,
                Level::Info,
                format_args!("event=connected service={service}"),
            );
        }
        let party = match service.group() {
            Group::Api | Group::Public => TlsParty::WebServer,
            Group::Smtp | Group::Lmtp | Group::Imap => TlsParty::Server,
        };
        let now = self.clock.now();
        let mut context = Context {
            clock: self.clock,
            pools: Arc::clone(&self.pools),
            signal: Arc::default(),
            tls: self.tls.clone().map(party),
            implicit_tls: service.is_implicit_tls(),
            limits: config.drive,
            label,
            lines,
            metrics: Some(Arc::clone(self.service.metrics())),
            tape: None,
        };
        let pass = Counted::new(Arc::clone(self.service.metrics()), service, pass);
        match service.group() {
            Group::Smtp | Group::Lmtp => {
                let settings = config.smtp_session(service, label.peer);
                let options = || record::smtp_options(&settings, service.is_implicit_tls());
                let reel = self.tape(&mut context, config, "smtp", options);
                let machine = smtp::server::Session::new(settings, entropy::random(), now);
                self.spawn(
                    machine,
                    stream,
                    self.service.smtp_session(peer),
                    context,
                    (pass, reel),
                );
            }
            Group::Imap => {
                let settings = config.imap_session(service, label.peer);
                let options = || record::imap_options(&settings, service.is_implicit_tls());
                let reel = self.tape(&mut context, config, "imap", options);
                let machine = imap::server::Session::new(settings, entropy::random(), now);
                self.spawn(
                    machine,
                    stream,
                    self.service.imap_session(peer),
                    context,
                    (pass, reel),
                );
            }
            Group::Api | Group::Public => {
                let settings = api::Settings {
                    setup: self.setup(),
                    ..config.api_session(service, label.peer, self.token_key.get())
                };
                let options = || record::http_options(&settings, service.is_implicit_tls(), label.peer);
                let reel = match service.group() {
                    // What is public has no user.
                    Group::Public => None,
                    _ => self.tape(&mut context, config, "http", options),
                };
                let machine = http::HttpSession::new(Arc::new(settings), peer, now);
                self.spawn(
                    machine,
                    stream,
                    self.service.api_session(peer),
                    context,
                    (pass, reel),
                );
            }
        }
    }

    /// The session is recorded, if somebody wants it.
    fn tape(
        &self,
        context: &mut Context,
        config: &ServerConfig,
        kind: &'static str,
        options: impl FnOnce() -> BTreeMap<String, String>,
    ) -> Option<Reel> {
        let peer = context.label.peer;
        let domains = || config.service.hosting.domains.iter().map(ToString::to_string);
        let make = || {
            let domains = domains().collect();
            let tape = Tape::new(kind, options(), config.hostname.clone(), domains, peer);
            match kind {
                "imap" => tape.looking(self.look()),
                _ => tape,
            }
        };
        let reel = self.recorder.session(context.label.connection, peer, make);
        context.tape = reel.as_ref().map(Reel::tape);
        reel
    }

    /// What the account of a recorded session holds.
    fn look(&self) -> record::Look {
        let store = Arc::clone(self.service.store());
        Box::new(move |account| futures_lite::future::block_on(record::before(&*store, account)))
    }

    fn spawn<M, V>(
        self: &Arc<Self>,
        machine: M,
        stream: Stream,
        serve: V,
        context: Context,
        (pass, reel): (Counted, Option<Reel>),
    ) where
        M: Session<Call = V::Call, Reply = V::Reply> + Send + 'static,
        V: Serve,
    {
        let present = self.sessions.enter(context.label.connection, &context.signal);
        let session = drive(machine, stream, Arc::new(serve), context);
        let run = async move {
            let ended = session.await;
            pass.metrics.count(Family::Sessions, ended.end.word());
            drop((pass, present, reel));
        };
        self.executor.spawn(run).detach();
    }
}

impl<S: MailStore, D: Disk> fmt::Debug for Host<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

/// A session's place, counted while it is taken.
struct Counted {
    metrics: Arc<Metrics>,
    service: Service,
    _pass: Pass,
}

impl Counted {
    fn new(metrics: Arc<Metrics>, service: Service, pass: Pass) -> Self {
        metrics.add(Family::Connections, &[service as usize], 1);
        metrics.add(Family::ConnectionsTotal, &[service as usize], 1);
        Self {
            metrics,
            service,
            _pass: pass,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.leave(Family::Connections, &[self.service as usize]);
    }
}

/// The sessions that are there, so that they can be told of the end.
pub(crate) struct Sessions {
    next: AtomicU64,
    present: Arc<Mutex<HashMap<u64, Arc<Signal>>>>,
    /// Everybody present holds a clone; when the last is gone, nobody is.
    alive: Mutex<Option<Sender<Infallible>>>,
    gone: Receiver<Infallible>,
    /// Holds one token after somebody came.
    arrivals: (Sender<()>, Receiver<()>),
}

/// A session that is there; dropping it says that it is over.
pub(crate) struct Present {
    connection: u64,
    present: Arc<Mutex<HashMap<u64, Arc<Signal>>>>,
    _alive: Option<Sender<Infallible>>,
}

impl Default for Sessions {
    fn default() -> Self {
        let (alive, gone) = async_channel::bounded(1);
        Self {
            next: AtomicU64::new(1),
            present: Arc::default(),
            alive: Mutex::new(Some(alive)),
            gone,
            arrivals: async_channel::bounded(1),
        }
    }
}

impl Sessions {
    /// The number of the next connection.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A session begins; during the end it is told at once.
    pub(crate) fn enter(&self, connection: u64, signal: &Arc<Signal>) -> Present {
        lock(&self.present).insert(connection, Arc::clone(signal));
        // Full: there is a token already.
        let _ = self.arrivals.0.try_send(());
        let alive = lock(&self.alive).clone();
        if alive.is_none() {
            signal.set(Signal::SHUTDOWN);
        }
        Present {
            connection,
            present: Arc::clone(&self.present),
            _alive: alive,
        }
    }

    /// Tells all sessions that the server is going down.
    pub(crate) fn shut_down(&self) {
        *lock(&self.alive) = None;
        for signal in lock(&self.present).values() {
            signal.set(Signal::SHUTDOWN);
        }
    }

    /// After [`Sessions::shut_down`]: until the last session is over.
    pub(crate) async fn wait_gone(&self) {
        // Nothing is ever sent: it ends when the last sender is dropped.
        let _ = self.gone.recv().await;
    }

    /// Whether [`Sessions::shut_down`] was called.
    pub(crate) fn are_ending(&self) -> bool {
        lock(&self.alive).is_none()
    }

    /// Begins to wait for [`Sessions::arrival`]: whoever came before is seen in [`Sessions::count`].
    pub(crate) fn forget_arrivals(&self) {
        let _ = self.arrivals.1.try_recv();
    }

    /// Until a session begins, unless one has since [`Sessions::forget_arrivals`].
    pub(crate) async fn arrival(&self) {
        // The other end is held beside this one.
        let _ = self.arrivals.1.recv().await;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.present).len()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        lock(&self.present).remove(&self.connection);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
