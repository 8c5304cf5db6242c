//! A connection of the diagnosis: blocking, bounded in time and octets, ended early by Ctrl-C.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rmail_core::relay::tls::Fault;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};

use super::Trouble;
use crate::tls::{ClientTls, Watch};

/// How long any answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it takes at most until Ctrl-C is seen.
const SLICE: Duration = Duration::from_millis(100);
/// Octets of a line. rmail's longest, CAPABILITY, has under a thousand.
const MAX_LINE: usize = 64 * 1024;
/// Octets of anything else.
pub(super) const MAX: usize = 8 << 20;
/// Addresses of one name that are looked at: more are not for mail.
const MAX_ADDRESSES: usize = 8;

/// Says when it is time to stop. Cloning it asks the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ready when it is time.
    pub(crate) async fn wait(&self) {
        while !self.is_set() {
            crate::engine::Timer::after(SLICE).await;
        }
    }
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    /// It is an address of this host, which servers may trust more than others.
    pub(super) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Lost {
    text: String,
    no_way: bool,
}

impl Lost {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            no_way: false,
        }
    }

    /// This host has no way to the address, such as one without IPv6 to one of IPv6: that says nothing of the server.
    pub(super) fn no_way(&self) -> bool {
        self.no_way
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        match lost.no_way {
            true => Self::skipped(format!("this host has no way there: {}", lost.text)),
            false => Self::broken("an answer", lost.text),
        }
    }
}

/// Does what blocks on a thread of its own, so that Ctrl-C is seen meanwhile; the thread is left to itself then.
fn aside<T: Send + 'static>(stop: &Stop, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    let (answer, answered) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("diagnose".to_owned());
    thread
        .spawn(move || {
            // After Ctrl-C nobody waits for it.
            let _ = answer.send(work());
        })
        .map_err(|error| Lost::new(format!("no thread: {error}")))?;
    loop {
        match answered.recv_timeout(SLICE) {
            Ok(value) => return Ok(value),
            Err(mpsc::RecvTimeoutError::Timeout) if !stop.is_set() => {}
            Err(_) => return Err(Lost::new("stopped")),
        }
    }
}

/// The addresses of a service; the place as it is, if the name leads nowhere: whoever connects is told why.
pub(super) fn resolved(place: &Place, stop: &Stop) -> Vec<Place> {
    if place.host.parse::<IpAddr>().is_ok() {
        return vec![place.clone()];
    }
    let Ok(addresses) = addresses(place, stop) else {
        return vec![place.clone()];
    };
    let mut places: Vec<Place> = Vec::new();
    for address in addresses {
        let host = address.ip().to_canonical().to_string();
        let port = address.port();
        if !places.iter().any(|known| known.host == host) && places.len() < MAX_ADDRESSES {
            places.push(Place { host, port });
        }
    }
    places
}

fn addresses(place: &Place, stop: &Stop) -> Result<Vec<SocketAddr>, Lost> {
    let (host, port) = (place.host.clone(), place.port);
    let found = aside(stop, move || (host.as_str(), port).to_socket_addrs())?;
    let found = found.map_err(|error| Lost::new(format!("{place}: {error}")))?;
    let found: Vec<SocketAddr> = found.collect();
    match found.is_empty() {
        true => Err(Lost::new(format!("{place}: the name has no address"))),
        false => Ok(found),
    }
}

fn open(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(SLICE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    Ok((stream, local))
}

/// Whether it is this host that has no way to an address.
fn is_no_way(error: &io::Error) -> bool {
    let unknown = Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    matches!(
        error.kind(),
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == unknown
}

/// What a server showed of itself in a handshake.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// What a careful client would say of the certificate.
    pub(super) fault: Option<Fault>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection.
pub(super) struct Wire {
    stream: Option<Stream>,
    buffer: Vec<u8>,
    stop: Stop,
    local: SocketAddr,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    pub(super) fn connect(place: &Place, stop: &Stop) -> Result<Self, Lost> {
        let mut last = Lost::new(format!("{place}: the name has no address"));
        for address in addresses(place, stop)?.into_iter().take(MAX_ADDRESSES) {
            match aside(stop, move || open(address))? {
                Ok((stream, local)) => {
                    return Ok(Self {
                        stream: Some(Stream::Plain(stream)),
                        buffer: Vec::new(),
                        stop: stop.clone(),
                        local,
                    });
                }
                Err(error) => {
                    last = Lost {
                        text: format!("{place}: {error}"),
                        no_way: is_no_way(&error),
                    }
                }
            }
        }
        Err(last)
    }

    /// Our own end.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Does the handshake of TLS. What was read before does not count any more.
    pub(super) fn encrypt(&mut self, tls: &ClientTls, name: &str) -> Result<Shown, Lost> {
        let Some(Stream::Plain(mut stream)) = self.stream.take() else {
            return Err(Lost::new("it is encrypted already".to_owned()));
        };
        self.buffer.clear();
        let watch = Watch::default();
        let failed = |error: &dyn std::fmt::Display| Lost::new(format!("TLS: {error}"));
        let server_name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
        let mut connection =
            ClientConnection::new(tls.watched(&watch), server_name).map_err(|error| failed(&error))?;
        let late = Instant::now() + PATIENCE;
        while connection.is_handshaking() {
            match connection.complete_io(&mut stream) {
                Ok(_) => {}
                Err(error) if is_slice(error.kind()) => self.wait(late)?,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(Lost::new(
                        "TLS: the connection was closed in the handshake".to_owned(),
                    ));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        let shown = Shown {
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            fault: watch.get().cloned(),
        };
        self.stream = Some(Stream::Tls(Box::new(StreamOwned::new(connection, stream))));
        Ok(shown)
    }

    pub(super) fn send(&mut self, octets: &[u8]) -> Result<(), Lost> {
        let sent = match &mut self.stream {
            Some(Stream::Plain(stream)) => stream.write_all(octets).and_then(|()| stream.flush()),
            Some(Stream::Tls(stream)) => stream.write_all(octets).and_then(|()| stream.flush()),
            None => return Err(closed()),
        };
        sent.map_err(|error| Lost::new(format!("cannot send: {error}")))
    }

    /// A line without its end.
    pub(super) fn line(&mut self) -> Result<String, Lost> {
        self.line_within(PATIENCE)?
            .ok_or_else(|| Lost::new(format!("no answer within {} seconds", PATIENCE.as_secs())))
    }

    /// The same; none if it does not come in time.
    pub(super) fn line_within(&mut self, time: Duration) -> Result<Option<String>, Lost> {
        let late = Instant::now() + time;
        loop {
            if let Some(at) = self.buffer.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Lost::new(format!("a line of more than {MAX_LINE} octets")));
            }
            if Instant::now() >= late {
                return Ok(None);
            }
            if self.fill()? == Some(0) {
                return Err(closed());
            }
        }
    }

    /// So many octets.
    pub(super) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Lost> {
        if count > MAX {
            return Err(Lost::new(format!("{count} octets at once")));
        }
        let late = Instant::now() + PATIENCE;
        while self.buffer.len() < count {
            if self.fill()? == Some(0) {
                return Err(closed());
            }
            self.wait(late)?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// All that comes until the end.
    pub(super) fn rest(&mut self) -> Result<Vec<u8>, Lost> {
        let late = Instant::now() + PATIENCE;
        while self.fill()? != Some(0) {
            if self.buffer.len() > MAX {
                return Err(Lost::new(format!("more than {MAX} octets")));
            }
            self.wait(late)?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads what is there: how much; none if nothing came for a moment. 0: the end.
    fn fill(&mut self) -> Result<Option<usize>, Lost> {
        if self.stop.is_set() {
            return Err(Lost::new("stopped".to_owned()));
        }
        let mut piece = [0; 16 * 1024];
        let read = match &mut self.stream {
            Some(Stream::Plain(stream)) => stream.read(&mut piece),
            Some(Stream::Tls(stream)) => stream.read(&mut piece),
            None => return Err(closed()),
        };
        match read {
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(Some(count))
            }
            Err(error) if is_slice(error.kind()) => Ok(None),
            // TLS without its last word: an end all the same.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(Lost::new(format!("the connection broke: {error}"))),
        }
    }

    fn wait(&self, late: Instant) -> Result<(), Lost> {
        if self.stop.is_set() {
            return Err(Lost::new("stopped".to_owned()));
        }
        if Instant::now() >= late {
            return Err(Lost::new(format!(
                "no answer within {} seconds",
                PATIENCE.as_secs()
            )));
        }
        Ok(())
    }
}

fn is_slice(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn closed() -> Lost {
    Lost::new("the connection was closed".to_owned())
}
