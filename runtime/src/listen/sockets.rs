//! Sockets that listen before the server starts: a service manager has bound them, or the process that ran before, or we
//! ourselves while we still had the right to.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::SockRef;

use super::Service;

/// Sockets that are there, until the server takes them. What it does not take is closed.
#[derive(Debug, Default)]
pub struct Sockets {
    tcp: Vec<Tcp>,
    local: Vec<(PathBuf, Option<UnixListener>)>,
}

struct Tcp {
    /// For which service it was bound, if that is known.
    service: Option<Service>,
    /// It serves that one, whatever the configuration says.
    in_any_case: bool,
    address: SocketAddr,
    /// Bound to `::`, and takes IPv4 too.
    dual: bool,
    /// Until it is taken.
    socket: Option<TcpListener>,
}

/// A socket that listens for a service.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: TcpListener,
    /// It serves this whatever the configuration says.
    pub(crate) in_any_case: bool,
}

impl Tcp {
    fn take(&mut self) -> Option<Bound> {
        Some(Bound {
            socket: self.socket.take()?,
            in_any_case: self.in_any_case,
        })
    }
}

/// What there is for an address of the configuration.
#[derive(Debug)]
pub(super) enum Found {
    Socket(Bound),
    /// Another socket that was found takes what comes there.
    Covered,
    Nothing,
}

impl Sockets {
    /// Adds a listening socket that was bound for a service, if this is known. It is used where the configuration has its
    /// address (or the service on a port 0 of it).
    ///
    /// # Errors
    /// It is bound to nothing.
    pub fn add(&mut self, service: Option<Service>, socket: TcpListener) -> io::Result<()> {
        self.insert(service, false, socket)
    }

    /// The same; the service is on it in any case.
    ///
    /// # Errors
    /// It is bound to nothing.
    pub fn assign(&mut self, service: Service, socket: TcpListener) -> io::Result<()> {
        self.insert(Some(service), true, socket)
    }

    /// Adds a listening socket of the file system.
    ///
    /// # Errors
    /// It has no name.
    pub fn add_local(&mut self, socket: UnixListener) -> io::Result<()> {
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
        self.local.push((path.to_path_buf(), Some(socket)));
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tcp.len() + self.local.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&mut self, service: Option<Service>, in_any_case: bool, socket: TcpListener) -> io::Result<()> {
        let address = socket.local_addr()?;
        let dual = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !SockRef::from(&socket).only_v6()?;
        self.tcp.push(Tcp {
            service,
            in_any_case,
            address,
            dual,
            socket: Some(socket),
        });
        Ok(())
    }

    /// What there is for an address that the configuration has for a service.
    pub(super) fn find(&mut self, service: Service, wanted: SocketAddr) -> Found {
        let same = |tcp: &Tcp| tcp.address == wanted && (!tcp.in_any_case || tcp.service == Some(service));
        let free_port =
            |tcp: &Tcp| wanted.port() == 0 && tcp.service == Some(service) && tcp.address.ip() == wanted.ip();
        let covers = |tcp: &Tcp| {
            tcp.dual
                && wanted.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                && wanted.port() == tcp.address.port()
                && tcp.service.is_none_or(|bound_for| bound_for == service)
        };
        for fits in [&same as &dyn Fn(&Tcp) -> bool, &free_port, &covers] {
            let mut fitting = self.tcp.iter_mut().filter(|tcp| fits(tcp));
            if let Some(socket) = fitting.find_map(Tcp::take) {
                return Found::Socket(socket);
            }
        }
        match self.tcp.iter().any(covers) {
            true => Found::Covered,
            false => Found::Nothing,
        }
    }

    /// What is left of the sockets that serve this in any case.
    pub(super) fn rest_of(&mut self, service: Service) -> Vec<Bound> {
        let assigned = self.tcp.iter_mut();
        let assigned = assigned.filter(|tcp| tcp.in_any_case && tcp.service == Some(service));
        assigned.filter_map(Tcp::take).collect()
    }

    /// The socket of the file system with this name.
    pub(super) fn find_local(&mut self, wanted: &Path) -> Option<UnixListener> {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        let same = |path: &Path| path == wanted || (real(path).is_some() && real(path) == real(wanted));
        let mut fitting = self.local.iter_mut().filter(|(path, _)| same(path));
        fitting.find_map(|(_, socket)| socket.take())
    }

    /// Closes what nobody has taken, and says so.
    pub(crate) fn close_rest(self) {
        for tcp in self.tcp.iter().filter(|tcp| tcp.socket.is_some()) {
            log::warn!(target: "server",
                "event=socket_unused address={} why=\"the configuration has no service there\"", tcp.address);
        }
        for (path, _) in self.local.iter().filter(|(_, socket)| socket.is_some()) {
            log::warn!(target: "server",
                "event=socket_unused path={path:?} why=\"the configuration has no service there\"");
        }
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.service, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    }

    fn is(found: &Found, address: SocketAddr) -> bool {
        matches!(found, Found::Socket(bound) if bound.socket.local_addr().is_ok_and(|bound| bound == address))
    }

    #[test]
    fn a_socket_serves_what_the_configuration_has_at_its_address_once() {
        let (socket, address) = socket();
        let mut sockets = Sockets::default();
        sockets.add(None, socket).expect("bound");
        assert!(is(&sockets.find(Service::Imap, address), address));
        assert!(matches!(sockets.find(Service::Imap, address), Found::Nothing));
    }

    #[test]
    fn a_free_port_is_that_of_the_same_service() {
        let ((smtp, smtp_at), (imap, imap_at)) = (socket(), socket());
        let mut sockets = Sockets::default();
        sockets.add(Some(Service::Smtp), smtp).expect("bound");
        sockets.add(Some(Service::Imap), imap).expect("bound");
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        assert!(is(&sockets.find(Service::Imap, any), imap_at));
        assert!(matches!(sockets.find(Service::Imap, any), Found::Nothing));
        // Ports that changed their service in the configuration: the address decides.
        assert!(is(&sockets.find(Service::Submission, smtp_at), smtp_at));
    }

    #[test]
    fn a_socket_of_both_families_takes_what_comes_by_ipv4() {
        let Ok(socket) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
            eprintln!("SKIPPED: no IPv6 here");
            return;
        };
        let bound = socket.local_addr().expect("an address");
        let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), bound.port());
        let mut sockets = Sockets::default();
        sockets.add(None, socket).expect("bound");
        assert!(is(&sockets.find(Service::Smtp, v4), bound));
        assert!(matches!(sockets.find(Service::Smtp, v4), Found::Covered));
    }

    #[test]
    fn an_assigned_socket_serves_its_service_and_no_other() {
        let (socket, address) = socket();
        let mut sockets = Sockets::default();
        sockets.assign(Service::Imaps, socket).expect("bound");
        assert!(matches!(sockets.find(Service::Smtp, address), Found::Nothing));
        assert!(sockets.rest_of(Service::Smtp).is_empty());
        assert_eq!(sockets.rest_of(Service::Imaps).len(), 1);
        assert!(sockets.rest_of(Service::Imaps).is_empty());
    }
}
