//! One byte stream, plain or TLS. Nothing outside this module knows which TLS adapter is used.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::engine::Io;
use futures_lite::{AsyncRead, AsyncWrite, ready};
use futures_rustls::{LazyConfigAcceptor, TlsConnector, client, server};
use rmail_core::chunk::Chunk;
use rmail_core::machine::TlsInfo;
use rustls::server::Acceptor;

use crate::tls::{self, TlsParty};

/// What one read takes at most.
const SCRATCH: usize = 64 * 1024;

/// A handshake under way.
pub type Handshake = Pin<Box<dyn Future<Output = io::Result<(Stream, TlsInfo)>> + Send>>;

/// A connection.
pub struct Stream(Inner);

enum Inner {
    Plain(Io<TcpStream>),
    /// Of the file system: never TLS.
    Local(Io<UnixStream>),
    Server(Box<server::TlsStream<Io<TcpStream>>>),
    Client(Box<client::TlsStream<Io<TcpStream>>>),
}

impl Stream {
    /// Takes a connected socket: it becomes non-blocking, and small writes go out at once.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self(Inner::Plain(Io::new(socket)?)))
    }

    /// Takes a connected socket of the file system.
    ///
    /// # Errors
    /// The system refuses.
    pub fn local(socket: UnixStream) -> io::Result<Self> {
        Ok(Self(Inner::Local(Io::new(socket)?)))
    }

    /// Connects. There is no time-out but the system's: race it.
    ///
    /// # Errors
    /// Nobody answers there, or no way leads there.
    pub async fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = Io::<TcpStream>::connect(to).await?;
        stream.get_ref().set_nodelay(true)?;
        Ok(Self(Inner::Plain(stream)))
    }

    fn shut_down(&self) -> io::Result<()> {
        match &self.0 {
            Inner::Plain(tcp) => tcp.get_ref().shutdown(Shutdown::Write),
            Inner::Local(socket) => socket.get_ref().shutdown(Shutdown::Write),
            Inner::Server(tls) => tls.get_ref().0.get_ref().shutdown(Shutdown::Write),
            Inner::Client(tls) => tls.get_ref().0.get_ref().shutdown(Shutdown::Write),
        }
    }

    /// Reads what is there into an exact chunk; `None` at the end. While it waits, no buffer is held: octets go
    /// through a scratch of the thread.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let read = match &mut self.0 {
                Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
                Inner::Local(socket) => Pin::new(socket).poll_read(cx, buffer),
                Inner::Server(tls) => Pin::new(tls).poll_read(cx, buffer),
                Inner::Client(tls) => Pin::new(tls).poll_read(cx, buffer),
            };
            read.map_ok(|n| (n > 0).then(|| Chunk::copy_from(buffer.get(..n).unwrap_or_default())))
        })
    }

    /// Writes some of the octets; how many.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bytes),
            Inner::Local(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
            Inner::Server(tls) => Pin::new(tls).poll_write_vectored(cx, bytes),
            Inner::Client(tls) => Pin::new(tls).poll_write_vectored(cx, bytes),
        }
    }

    /// Whether what was written may still be in a buffer of ours.
    #[must_use]
    pub fn buffers(&self) -> bool {
        !matches!(self.0, Inner::Plain(_) | Inner::Local(_))
    }

    /// Hands all that was written to the system.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(_) | Inner::Local(_) => Poll::Ready(Ok(())),
            Inner::Server(tls) => Pin::new(tls).poll_flush(cx),
            Inner::Client(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Ends our direction: close_notify (TLS), then FIN. Reading goes on.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // `Async` has no close of its own: what is below TLS is shut down here.
        let closed = match &mut self.0 {
            Inner::Plain(_) | Inner::Local(_) => Poll::Ready(Ok(())),
            Inner::Server(tls) => Pin::new(tls).poll_close(cx),
            Inner::Client(tls) => Pin::new(tls).poll_close(cx),
        };
        ready!(closed)?;
        Poll::Ready(match self.shut_down() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        })
    }

    /// Begins TLS on a plain stream. Octets that the peer sent before must have been read and dropped.
    #[must_use]
    pub fn start_tls(self, party: &TlsParty) -> Handshake {
        let Inner::Plain(tcp) = self.0 else {
            return Box::pin(async { Err(io::Error::other("TLS where there can be none")) });
        };
        match party {
            TlsParty::Server(tls) | TlsParty::WebServer(tls) => {
                let (tls, web) = (Arc::clone(tls), matches!(party, TlsParty::WebServer(_)));
                Box::pin(async move {
                    let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
                    let certificate = Arc::clone(tls.current().choose(&hello.client_hello()));
                    let config = match web {
                        true => tls
                            .challenged(&hello.client_hello())
                            .unwrap_or_else(|| certificate.web_config()),
                        false => certificate.config(),
                    };
                    let stream = hello.into_stream(config).await?;
                    let connection = stream.get_ref().1;
                    let mut info = tls::info_of(connection);
                    info.sni = connection.server_name().map(str::to_owned);
                    info.exporter = tls::exporter(info.version, |out| {
                        connection.export_keying_material(out, tls::EXPORTER_LABEL, None)
                    });
                    info.end_point = certificate.end_point();
                    Ok((Self(Inner::Server(Box::new(stream))), info))
                })
            }
            TlsParty::Client { config, name, watch } => {
                let watch = Arc::clone(watch);
                let connect = TlsConnector::from(config.clone()).connect(name.clone(), tcp);
                Box::pin(async move {
                    let stream = connect.await?;
                    let connection = stream.get_ref().1;
                    let mut info = tls::info_of(connection);
                    info.exporter = tls::exporter(info.version, |out| {
                        connection.export_keying_material(out, tls::EXPORTER_LABEL, None)
                    });
                    info.end_point = connection
                        .peer_certificates()
                        .and_then(|chain| tls::end_point_of(chain.first()?));
                    info.fault = watch.get().cloned();
                    Ok((Self(Inner::Client(Box::new(stream))), info))
                })
            }
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Plain(tcp) => write!(f, "Stream(plain, {:?})", tcp.get_ref()),
            Inner::Local(socket) => write!(f, "Stream(local, {:?})", socket.get_ref()),
            Inner::Server(tls) => write!(f, "Stream(TLS server, {:?})", tls.get_ref().0.get_ref()),
            Inner::Client(tls) => write!(f, "Stream(TLS client, {:?})", tls.get_ref().0.get_ref()),
        }
    }
}
