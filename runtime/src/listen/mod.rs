//! Listeners: sockets that are bound, and loops that accept.

mod gate;
mod local;
mod refuse;
mod sockets;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Io, Timer};
use futures_lite::future::yield_now;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

pub(crate) use self::sockets::Bound;
use self::sockets::Found;
use crate::flood::Flood;
use crate::pools::guarded;

pub use gate::{Gate, GateLimits, Pass, Refused};
pub(crate) use local::bind_local_early;
pub use local::{SocketFile, bind_local, bind_local_with};
pub use refuse::{refuse, tell};
pub use rmail_core::limiter::counted_as;
pub use sockets::Sockets;

/// Connections that the system accepts for us while we are busy: a burst, not a load.
const BACKLOG: i32 = 1024;

/// What speaks on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// 25.
    Smtp,
    /// 587.
    Submission,
    /// 465.
    Smtps,
    /// 143.
    Imap,
    /// 993.
    Imaps,
    /// 9002.
    Api,
    /// 9003.
    ApiTls,
    /// 80: only what clients read to set themselves up.
    Public,
    /// 443: the same.
    PublicTls,
    /// `lmtp.listen`.
    Lmtp,
}

/// Services that share one bound of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// 25, 587, 465.
    Smtp,
    /// 143, 993.
    Imap,
    /// 9002, 9003.
    Api,
    /// 80, 443: whoever comes there takes no places of those who have a token.
    Public,
    /// LMTP.
    Lmtp,
}

impl Service {
    /// All, in the order of the list of ports.
    pub const ALL: [Self; 10] = [
        Self::Smtp,
        Self::Submission,
        Self::Smtps,
        Self::Imap,
        Self::Imaps,
        Self::Api,
        Self::ApiTls,
        Self::Public,
        Self::PublicTls,
        Self::Lmtp,
    ];

    /// The one with this name, as it is displayed.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.to_string() == name)
    }

    /// Whether TLS comes first.
    #[must_use]
    pub fn is_implicit_tls(self) -> bool {
        matches!(self, Self::Smtps | Self::Imaps | Self::ApiTls | Self::PublicTls)
    }

    /// Which bound of connections it shares.
    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Self::Smtp | Self::Submission | Self::Smtps => Group::Smtp,
            Self::Imap | Self::Imaps => Group::Imap,
            Self::Api | Self::ApiTls => Group::Api,
            Self::Public | Self::PublicTls => Group::Public,
            Self::Lmtp => Group::Lmtp,
        }
    }

    /// Target of its log lines.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match self.group() {
            Group::Smtp => "smtp",
            Group::Imap => "imap",
            Group::Api | Group::Public => "http",
            Group::Lmtp => "lmtp",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Smtps => "smtps",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Api => "api",
            Self::ApiTls => "api-tls",
            Self::Public => "public",
            Self::PublicTls => "public-tls",
            Self::Lmtp => "lmtp",
        })
    }
}

/// An address that could not be had, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({service}): {source}{hint}")]
pub struct BindError {
    address: String,
    service: Service,
    source: io::Error,
    hint: &'static str,
}

/// Binds the addresses of a service. `::` takes IPv4 too, unless `0.0.0.0` with the same port is there beside it.
///
/// # Errors
/// The first address that cannot be had.
pub fn bind(service: Service, addresses: &[SocketAddr]) -> Result<Vec<Io<TcpListener>>, BindError> {
    let bound = bind_with(service, addresses, &mut Sockets::default())?;
    let hears = |bound: Bound| {
        let address = bound.socket.local_addr().map(|address| address.to_string());
        let failed = |source| BindError::new(service, address.unwrap_or_default(), source);
        Io::new(bound.socket).map_err(failed)
    };
    bound.into_iter().map(hears).collect()
}

/// The same for sockets of which nobody hears yet; those that are there already are taken.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_with(
    service: Service,
    addresses: &[SocketAddr],
    sockets: &mut Sockets,
) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for address in addresses {
        let v4_beside = addresses.contains(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
        match sockets.find(service, *address) {
            Found::Socket(found) => bound.push(found),
            Found::Covered => {}
            Found::Nothing => {
                let opened = open(*address, v4_beside);
                bound.push(Bound {
                    socket: opened.map_err(|source| BindError::new(service, address.to_string(), source))?,
                    in_any_case: false,
                });
            }
        }
    }
    bound.extend(sockets.rest_of(service));
    Ok(bound)
}

/// Binds the addresses of a service and leaves the sockets among those that are there: for a process that loses the right
/// to bind them.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_early(
    service: Service,
    addresses: &[SocketAddr],
    sockets: &mut Sockets,
) -> Result<(), BindError> {
    for bound in bind_with(service, addresses, sockets)? {
        let added = match bound.in_any_case {
            true => sockets.assign(service, bound.socket),
            false => sockets.add(Some(service), bound.socket),
        };
        added.map_err(|source| BindError::new(service, String::new(), source))?;
    }
    Ok(())
}

impl BindError {
    fn new(service: Service, address: String, source: io::Error) -> Self {
        Self {
            address,
            service,
            hint: hint(&source),
            source,
        }
    }
}

fn open(address: SocketAddr, v4_beside: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(v4_beside || !address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities)"
        }
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it, or give another port in the configuration"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// Accepts for ever. Errors of a connection are passed over; when descriptors or memory are used up it waits, longer
/// each time up to a second, and goes on by itself.
pub async fn accept(
    service: Service,
    listener: Arc<Io<TcpListener>>,
    mut on: impl FnMut(TcpStream, SocketAddr) + Send,
) {
    accept_by(service, listener, TcpListener::accept, move |(socket, peer)| {
        on(socket, canonical(peer));
    })
    .await;
}

/// The same for a socket of the file system.
pub async fn accept_local(
    service: Service,
    listener: Arc<Io<UnixListener>>,
    mut on: impl FnMut(UnixStream) + Send,
) {
    accept_by(service, listener, UnixListener::accept, move |(socket, _)| {
        on(socket)
    })
    .await;
}

async fn accept_by<L: AsFd, C>(
    service: Service,
    listener: Arc<Io<L>>,
    take: fn(&L) -> io::Result<C>,
    mut on: impl FnMut(C) + Send,
) {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);
    /// Others get their turn after so many.
    const BURST: usize = 32;
    let (mut pause, mut burst) = (FIRST, 0_usize);
    let pauses = Flood::default();
    loop {
        match listener.read_with(take).await {
            Ok(taken) => {
                pause = FIRST;
                // A panic costs this connection, not the listener.
                if let Err(panicked) = guarded(|| on(taken)) {
                    log::error!(target: service.protocol(), "event=panic service={service} error={:?}", panicked.0);
                }
            }
            Err(error) if is_exhausted(&error) => {
                if pause == FIRST && pauses.admits(Instant::now()) {
                    log::error!(target: service.protocol(), "event=accept_paused service={service} error={:?}",
                        error.to_string());
                }
                Timer::after(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
            // The connection was gone before it was accepted.
            Err(error) => log::debug!(target: service.protocol(), "event=accept_failed error={:?}",
                error.to_string()),
        }
        burst = (burst + 1) % BURST;
        if burst == 0 {
            yield_now().await;
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// An IPv4 peer of a dual-stack socket is an IPv4 peer.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Finds out in a quarter of an hour that a peer is gone without a word (a session in IDLE may be silent for ever), also
/// when something that was sent to it is still under way.
pub fn keep_alive(socket: &TcpStream) {
    const IDLE: Duration = Duration::from_secs(600);
    const INTERVAL: Duration = Duration::from_secs(60);
    const RETRIES: u32 = 5;
    let keepalive = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(INTERVAL)
        .with_retries(RETRIES);
    let socket = SockRef::from(socket);
    let done = socket
        .set_tcp_keepalive(&keepalive)
        .and_then(|()| socket.set_tcp_user_timeout(Some(IDLE + INTERVAL * RETRIES)));
    if let Err(error) = done {
        log::debug!(target: "listen", "event=no_keepalive error={:?}", error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn accepted_sockets_are_kept_alive() {
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let listener = TcpListener::bind(any).expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        keep_alive(&socket);
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_keepalive_time().ok(), Some(Duration::from_secs(600)));
        assert_eq!(
            socket.tcp_user_timeout().expect("an option"),
            Some(Duration::from_secs(900))
        );
    }

    #[test]
    fn an_address_in_use_is_told_with_what_to_do() {
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let first = bind(Service::Smtp, &[any]).expect("a free port");
        let taken = first[0].get_ref().local_addr().expect("an address");
        let error = bind(Service::Imap, &[taken]).expect_err("taken").to_string();
        assert!(
            error.contains(&taken.to_string()) && error.contains("(imap)"),
            "{error}"
        );
        assert!(error.contains("another program"), "{error}");
    }

    #[test]
    fn both_families_can_be_listed_on_one_port() {
        let four = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let port = {
            let bound = bind(Service::Smtp, &[four]).expect("a free port");
            bound[0].get_ref().local_addr().expect("an address").port()
        };
        let both = [
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
        ];
        match bind(Service::Smtp, &both) {
            Ok(bound) => assert_eq!(bound.len(), 2),
            // A machine without IPv6 says so; the port is not what it complains of.
            Err(error) => assert_ne!(error.source.kind(), io::ErrorKind::AddrInUse),
        }
    }
}
