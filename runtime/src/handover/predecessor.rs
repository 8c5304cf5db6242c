//! The side of the new process: taking over from the one that runs.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::VARIABLE;
use super::link::{Link, Word};
use crate::listen::{Service, Sockets};

/// How long the other may take for a word.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest reason that is told, in characters.
const MAX_REASON: usize = 2_000;

/// The process that has started us and serves still.
#[derive(Debug)]
pub(crate) struct Predecessor(Link);

/// The process that served before, while it drains.
#[derive(Debug)]
pub(crate) struct Leaving(Link);

impl Predecessor {
    /// The process that this one is to take over from, if it was started for that, and its sockets.
    ///
    /// # Errors
    /// They cannot be had.
    pub(crate) fn find() -> io::Result<Option<(Self, Sockets)>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let link = Link::from_stdin()?;
        link.set_patience(Some(PATIENCE))?;
        let mut sockets = Sockets::default();
        loop {
            match link.receive()? {
                Some((Word::Socket { local: true, .. }, Some(socket))) => {
                    sockets.add_local(UnixListener::from(socket))?;
                }
                Some((
                    Word::Socket {
                        service, in_any_case, ..
                    },
                    Some(socket),
                )) => match (Service::named(&service), in_any_case) {
                    (Some(service), true) => sockets.assign(service, TcpListener::from(socket))?,
                    (service, _) => sockets.add(service, TcpListener::from(socket))?,
                },
                Some((Word::End, _)) => return Ok(Some((Self(link), sockets))),
                Some((word, _)) => {
                    return Err(io::Error::other(format!("the running process said {word:?}")));
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Says why this process ends.
    pub(crate) fn fail(self, why: &str) {
        let why = why.chars().take(MAX_REASON).collect();
        // It may be gone, which is no worse.
        let _ = self.0.send(&Word::Failed { why }, None);
    }

    /// This process serves: the other is told, and stops to.
    ///
    /// # Errors
    /// It does not want that any more, or is gone. This process has to end.
    pub(crate) fn take_over(&self) -> io::Result<Leaving> {
        self.0.send(&Word::Ready, None)?;
        match self.0.receive()? {
            Some((Word::Go, _)) => {
                self.0.set_patience(None)?;
                Ok(Leaving(Link::from_stdin()?))
            }
            Some((word, _)) => Err(io::Error::other(format!("the running process said {word:?}"))),
            None => Err(io::Error::other(
                "the running process ended before it had handed over",
            )),
        }
    }
}

impl Leaving {
    /// Blocks until it is gone.
    pub(crate) fn wait(&self) {
        while let Ok(Some(_)) = self.0.receive() {}
    }
}
