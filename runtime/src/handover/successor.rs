//! The side of the running process: starting the next one.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Io;

use super::VARIABLE;
use super::link::{Link, Word};
use crate::listen::Service;

/// How long a successor may take to start: it reads the whole queue.
const PATIENCE: Duration = Duration::from_secs(120);

/// Variables that tell of the process that they were made for, and would be wrong in another.
const OURS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// How this process was started, so that the next is started in the same way.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// As it was called: the file may have been replaced meanwhile, or the link may show elsewhere.
    name: OsString,
    arguments: Vec<OsString>,
}

/// A socket that is handed over.
#[derive(Clone, Debug)]
pub(crate) enum Handed {
    Tcp {
        service: Service,
        /// It serves that whatever the configuration says.
        in_any_case: bool,
        socket: Arc<Io<TcpListener>>,
    },
    Local(Service, Arc<Io<UnixListener>>),
}

/// Why there is no successor; the running server goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandoverError {
    #[error("cannot start {program}: {source}")]
    Spawn { program: String, source: io::Error },
    #[error("the new process did not start: {0}")]
    Failed(String),
    #[error("the new process ended before it was ready ({0}); its log lines say why")]
    Ended(String),
    #[error("the new process was not ready within {} s", PATIENCE.as_secs())]
    Late,
    #[error("cannot speak with the new process: {0}")]
    Link(#[from] io::Error),
}

/// A process that is ready to go on in our place.
#[derive(Debug)]
pub(crate) struct Successor {
    process: u32,
    link: Link,
}

impl Program {
    /// This one.
    pub(crate) fn this() -> Self {
        let mut arguments = std::env::args_os();
        Self {
            name: arguments.next().unwrap_or_else(|| OsString::from("rmail")),
            arguments: arguments.collect(),
        }
    }

    fn spawn(&self, name: &OsString, input: Stdio) -> io::Result<Child> {
        let mut command = Command::new(name);
        command.args(&self.arguments).env(VARIABLE, "1").stdin(input);
        OURS.iter().for_each(|variable| {
            command.env_remove(variable);
        });
        command.spawn()
    }

    /// Starts it, under the name by which it was called or, if nothing has that name any more, from its own file.
    fn start(&self) -> Result<(Child, Link), HandoverError> {
        let (link, theirs) = Link::pair()?;
        let started = match self.spawn(&self.name, theirs.try_clone()?.into()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match std::env::current_exe() {
                Ok(own) => self.spawn(&own.into_os_string(), theirs.into()),
                Err(_) => Err(error),
            },
            other => other,
        };
        let child = started.map_err(|source| HandoverError::Spawn {
            program: self.name.to_string_lossy().into_owned(),
            source,
        })?;
        Ok((child, link))
    }

    /// Starts the next process with these sockets, and waits until it serves. Blocks.
    ///
    /// # Errors
    /// Nothing of it is left, and nothing has changed.
    pub(crate) fn succeed(&self, sockets: &[Handed]) -> Result<Successor, HandoverError> {
        let (mut child, link) = self.start()?;
        let process = child.id();
        match prepare(&link, sockets) {
            Ok(()) => Ok(Successor { process, link }),
            Err(error) => {
                // It may have ended by itself.
                if matches!(error, HandoverError::Late | HandoverError::Link(_)) {
                    let _ = child.kill();
                }
                drop(link);
                let status = child.wait();
                Err(match error {
                    HandoverError::Ended(_) => HandoverError::Ended(
                        status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                    ),
                    other => other,
                })
            }
        }
    }
}

/// Hands the sockets over, and waits.
fn prepare(link: &Link, sockets: &[Handed]) -> Result<(), HandoverError> {
    link.set_patience(Some(PATIENCE))?;
    let give = || -> io::Result<()> {
        for socket in sockets {
            let (service, local, in_any_case, descriptor) = match socket {
                Handed::Tcp {
                    service,
                    in_any_case,
                    socket,
                } => (service, false, *in_any_case, socket.as_fd()),
                Handed::Local(service, socket) => (service, true, false, socket.as_fd()),
            };
            let word = Word::Socket {
                service: service.to_string(),
                local,
                in_any_case,
            };
            link.send(&word, Some(descriptor))?;
        }
        link.send(&Word::End, None)
    };
    // One that is gone already may have said why.
    let given = give();
    match link.receive() {
        Ok(Some((Word::Ready, _))) => Ok(given?),
        Ok(Some((Word::Failed { why }, _))) => Err(HandoverError::Failed(why)),
        Ok(Some((word, _))) => Err(io::Error::other(format!("it said {word:?}")).into()),
        Ok(None) => Err(HandoverError::Ended(String::new())),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(HandoverError::Late),
        Err(error) => Err(error.into()),
    }
}

impl Successor {
    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// It is the server from now on. It hears of our end when this is dropped.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn go(&self) -> io::Result<()> {
        self.link.send(&Word::Go, None)
    }
}
