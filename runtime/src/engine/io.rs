//! A socket, or another descriptor that epoll knows, that tasks wait for.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};

use super::Inner;
use super::poller::{READ, Source, WRITE};

/// A descriptor whose calls do not block. It belongs to the engine of the thread that made it.
pub struct Io<T: AsFd> {
    inner: T,
    source: Arc<Source>,
    engine: Arc<Inner>,
}

impl<T: AsFd> Io<T> {
    /// Takes a descriptor, which becomes one that does not block.
    ///
    /// # Errors
    /// It is none that epoll knows, or the system has no memory left.
    pub fn new(inner: T) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&inner, true)?;
        let engine = Inner::here()?;
        let source = engine.poller.add(inner.as_fd())?;
        Ok(Self {
            inner,
            source,
            engine,
        })
    }

    /// What it is about.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Calls until the call does not say that it would block. `spent`: whether what it gave was all there is.
    fn poll_with<R>(
        &self,
        task: &Context<'_>,
        what: u8,
        mut call: impl FnMut(&T) -> io::Result<R>,
        spent: impl Fn(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        // What is told while the call is made is not forgotten: it was taken before.
        while self.source.take(what, task) {
            match call(&self.inner) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => match what {
                    WRITE => self
                        .engine
                        .poller
                        .tell_of_room(self.inner.as_fd(), &self.source)?,
                    _ => self.source.goes_on(),
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => self.source.put(what),
                done => {
                    if !done.as_ref().is_ok_and(&spent) {
                        self.source.put(what);
                    }
                    return Poll::Ready(done);
                }
            }
        }
        Poll::Pending
    }

    /// Calls again and again until something comes of it that can be read.
    ///
    /// # Errors
    /// The call's.
    pub async fn read_with<R>(&self, mut call: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|task| self.poll_with(task, READ, &mut call, |_| false)).await
    }

    /// Calls again and again until it has been written.
    ///
    /// # Errors
    /// The call's.
    pub async fn write_with<R>(&self, mut call: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|task| self.poll_with(task, WRITE, &mut call, |_| false)).await
    }
}

impl<T: AsFd> AsFd for Io<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: AsFd> Drop for Io<T> {
    fn drop(&mut self) {
        self.engine.poller.remove(self.inner.as_fd(), &self.source);
    }
}

impl Io<UnixListener> {
    /// The next connection.
    ///
    /// # Errors
    /// As accept(2).
    pub async fn accept(&self) -> io::Result<Io<UnixStream>> {
        Io::new(self.read_with(UnixListener::accept).await?.0)
    }
}

impl Io<TcpStream> {
    /// Connects. There is no time-out but the system's.
    ///
    /// # Errors
    /// Nobody answers there, or no way leads there.
    pub async fn connect(to: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(to),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let io = Self::new(socket.into())?;
        io.write_with(|socket| match socket.take_error()? {
            Some(error) => Err(error),
            // Under way as long as there is nobody on the other side.
            None => match socket.peer_addr() {
                Err(error) if error.kind() == ErrorKind::NotConnected => Err(ErrorKind::WouldBlock.into()),
                found => found.map(drop),
            },
        })
        .await?;
        Ok(io)
    }
}

impl<T: AsFd> AsyncRead for Io<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = buf.len();
        // Less than there is room for is all there was (epoll(7)). What comes later is told, and so is the end.
        let spent = |n: &usize| (1..room).contains(n);
        self.poll_with(task, READ, |mut inner| inner.read(buf), spent)
    }
}

impl<T: AsFd> AsyncWrite for Io<T>
where
    for<'a> &'a T: Write,
{
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(task, WRITE, |mut inner| inner.write(bytes), |_| false)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(task, WRITE, |mut inner| inner.write_vectored(bytes), |_| false)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing: whoever owns the socket shuts it down.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Io<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Io").field(&self.inner).finish()
    }
}
