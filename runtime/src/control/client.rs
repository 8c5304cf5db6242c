//! The side of a command.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{MAX_LINE, PATIENCE, Place, Reply, Request};

/// Lines of an answer that [`ask_all`] keeps.
const MAX_REPLIES: usize = 100_000;

/// A server that has a socket; it may be dead.
#[derive(Clone, Debug)]
pub struct Running {
    place: Place,
    name: String,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answered {
    /// Its process id, with a number where several have the same.
    pub server: String,
    /// Its lines, or why there are none.
    pub replies: io::Result<Vec<Reply>>,
}

/// The servers of this host on a mail_root; some may be dead.
///
/// # Errors
/// The directory of sockets cannot be read: it belongs to another user, say.
pub fn servers(mail_root: &Path) -> io::Result<Vec<Running>> {
    let mut found = Vec::new();
    for place in Place::all(mail_root)? {
        for name in place.names()? {
            found.push(Running {
                place: place.clone(),
                name,
            });
        }
    }
    Ok(found)
}

/// Asks every live server of this host on a mail_root, one after the other; nothing if there is none.
///
/// # Errors
/// The directory of sockets cannot be read. What goes wrong with a single server stands in its [`Answered`].
pub fn ask_all(mail_root: &Path, request: &Request) -> io::Result<Vec<Answered>> {
    let mut answers = Vec::new();
    for server in servers(mail_root)? {
        let replies = server
            .ask(request, PATIENCE)
            .and_then(|replies| replies.take(MAX_REPLIES).collect());
        let dead = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            )
        };
        if replies.as_ref().is_err_and(dead) {
            continue;
        }
        answers.push(Answered {
            server: server.id().to_owned(),
            replies,
        });
    }
    Ok(answers)
}

impl Running {
    /// Its process id, with a number where several have the same.
    #[must_use]
    pub fn id(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// Whether it is this process: the system says so, whatever its socket is called. `false` if it is dead, or in
    /// another container.
    #[must_use]
    pub fn is_process(&self, process: u32) -> bool {
        let process = process.try_into().ok().and_then(rustix::process::Pid::from_raw);
        let socket = self.place.connect(&self.name).ok();
        let peer = socket.and_then(|socket| rustix::net::sockopt::socket_peercred(socket).ok());
        peer.is_some_and(|peer| Some(peer.pid) == process)
    }

    /// Sends a request; each line of the answer may take as long as `patience`.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] and [`io::ErrorKind::NotFound`] say that it is dead. It may also be too busy to be
    /// asked.
    pub fn ask(
        &self,
        request: &Request,
        patience: Duration,
    ) -> io::Result<impl Iterator<Item = io::Result<Reply>> + use<>> {
        let mut socket = self.place.connect(&self.name)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        socket.write_all(&line)?;
        let mut lines = BufReader::new(socket);
        let mut over = false;
        Ok(std::iter::from_fn(move || {
            if over {
                return None;
            }
            let reply = next(&mut lines).transpose();
            over = !matches!(reply, Some(Ok(_)));
            reply
        }))
    }
}

fn next(lines: &mut BufReader<UnixStream>) -> io::Result<Option<Reply>> {
    let mut line = Vec::new();
    lines
        .by_ref()
        .take(MAX_LINE as u64)
        .read_until(b'\n', &mut line)
        .map_err(in_words)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The system says EAGAIN for a time-out, which tells nobody anything.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time"),
        _ => error,
    }
}
