//! The end of a server as a part of the system: what it tells the service manager, and who goes on after it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::Task;
use crate::engine::Timer;
use async_channel::{Receiver, Sender};
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;

use super::Server;
use super::host::Host;
use crate::handover::{HandoverError, Program, Successor};
use crate::service::notify;

/// Between two words to the service manager, if it asks for none in a shorter time.
const WORD: Duration = Duration::from_secs(10);

/// What a server has to know to be restarted without refusing anybody.
#[derive(Debug)]
pub(super) struct Succession {
    program: Program,
    /// One at a time: there is something in it while a successor starts.
    outcome: Option<Receiver<Result<Successor, HandoverError>>>,
    /// Those who asked for a successor.
    asked: (Sender<Answer>, Receiver<Answer>),
    waiting: Vec<Answer>,
    /// Tells the service manager that we are alive.
    _words: Option<Task<()>>,
}

/// Who is told what became of a restart: the process id of the successor, or why there is none.
pub(crate) type Answer = Sender<Result<u32, String>>;

/// Asks a running server for a successor.
#[derive(Clone, Debug)]
pub(crate) struct Restarter(Sender<Answer>);

impl Restarter {
    /// Has a successor started: its process id once it serves, or why the old one goes on. As long as the receiver is there
    /// the old one stays, for a moment, so that the answer can be handed on.
    pub(crate) fn restart(&self) -> Receiver<Result<u32, String>> {
        let (answer, answered) = async_channel::bounded(1);
        // Full, or gone: the other end of the answer is dropped, which says that there is none.
        let _ = self.0.try_send(answer);
        answered
    }
}

/// What ends the wait for signals.
pub(super) enum Event {
    /// Somebody asked for a restart.
    Asked(Answer),
    /// What became of it.
    Outcome(Result<Successor, HandoverError>),
}

impl Succession {
    pub(super) fn new<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, program: Program) -> Self {
        let asked = async_channel::bounded(16);
        host.state.set_restarter(Restarter(asked.0.clone()));
        Self {
            program,
            outcome: None,
            asked,
            waiting: Vec::new(),
            _words: notify::is_wanted().then(|| host.executor.spawn(words(Arc::clone(host)))),
        }
    }

    /// Until there is something to do.
    pub(super) async fn event(&self) -> Event {
        use futures_lite::FutureExt as _;
        let asked = async {
            match self.asked.1.recv().await {
                Ok(answer) => Event::Asked(answer),
                Err(_) => std::future::pending().await,
            }
        };
        let outcome = async {
            match &self.outcome {
                Some(outcome) => Event::Outcome(outcome.recv().await.unwrap_or_else(|_| {
                    let why = "the thread that started it ended".to_owned();
                    Err(HandoverError::Failed(why))
                })),
                None => std::future::pending().await,
            }
        };
        asked.or(outcome).await
    }
}

impl<S: MailStore, D: Disk> Server<S, D> {
    /// Begins to start a successor; if one is starting already, its outcome is the answer.
    pub(super) fn begin_succession(&mut self, answer: Option<Answer>) {
        let sockets = self.handed.clone();
        let Some(succession) = &mut self.succession else {
            return;
        };
        succession.waiting.extend(answer);
        if succession.outcome.is_some() {
            return;
        }
        log::info!(target: "server", "event=restarting");
        notify::reloading("starting a successor");
        let (done, outcome) = async_channel::bounded(1);
        succession.outcome = Some(outcome);
        let program = succession.program.clone();
        let started = thread::Builder::new().name("successor".to_owned()).spawn(move || {
            let result = match std::process::id() {
                1 => Err(HandoverError::Failed(
                    "this is the first process of its container, which ends with it: restart the container".to_owned(),
                )),
                process if is_watched_alone(process) => Err(HandoverError::Failed(
                    "its unit of systemd is not one of Type=notify, and ends with this process: use `systemctl restart`"
                        .to_owned(),
                )),
                _ => program.succeed(&sockets),
            };
            // Nobody hears it when the server ends.
            let _ = done.send_blocking(result);
        });
        if let Err(error) = started {
            // The other end of the channel is gone: that is the outcome.
            log::error!(target: "server", "event=no_thread error={:?}", error.to_string());
        }
    }

    /// The successor, if it is the server from now on.
    pub(super) fn end_succession(&mut self, outcome: Result<Successor, HandoverError>) -> Option<Successor> {
        let status = self.host.status();
        let succession = self.succession.as_mut()?;
        succession.outcome = None;
        let handed = outcome.and_then(|successor| {
            successor.go()?;
            // Not before: who is not the main process is not heard, and could not take it back. For the same reason the
            // service manager hears from this process that the other is ready.
            notify::main_process(successor.process(), &status);
            Ok(successor)
        });
        let told = match &handed {
            Ok(successor) => {
                // Who hears the answer and asks again asks the other.
                self.host.state.replace();
                Ok(successor.process())
            }
            Err(error) => Err(error.to_string()),
        };
        let waiting = std::mem::take(&mut succession.waiting);
        for answer in &waiting {
            // It may not want to know any more.
            let _ = answer.try_send(told.clone());
        }
        match handed {
            Ok(successor) => {
                log::info!(target: "server", "event=handed_over process={}", successor.process());
                wait_heard(&waiting);
                Some(successor)
            }
            Err(error) => {
                log::error!(target: "server", "event=restart_failed error={:?} now=\"this process goes on\"",
                    error.to_string());
                notify::ready(&status);
                None
            }
        }
    }
}

/// The answers are handed on, unless that takes long.
fn wait_heard(answers: &[Answer]) {
    const LONGEST: Duration = Duration::from_secs(5);
    const LOOK: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    while answers.iter().any(|answer| !answer.is_closed()) && begun.elapsed() < LONGEST {
        thread::sleep(LOOK);
    }
}

/// Says from within the executor that it works, and how we are. Should it stand still, nobody says so, and the service
/// manager starts us anew.
async fn words<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    let watchdog = notify::watchdog();
    let every = watchdog.map_or(WORD, |limit| (limit / 3).min(WORD));
    let mut told = String::new();
    loop {
        Timer::after(every).await;
        if watchdog.is_some() {
            notify::alive();
        }
        let status = host.status();
        if status != told {
            notify::status(&status);
            told = status;
        }
    }
}

impl<S: MailStore, D: Disk> Host<S, D> {
    /// How we are, in a line.
    pub(super) fn status(&self) -> String {
        match self.sessions.count() {
            1 => "serving 1 session".to_owned(),
            count => format!("serving {count} sessions"),
        }
    }
}

/// Whether systemd has started this process and hears from nobody who goes on after it.
fn is_watched_alone(process: u32) -> bool {
    let started = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|by| by == process.to_string());
    started && std::env::var_os("NOTIFY_SOCKET").is_none()
}
