//! What a running server does when it is asked.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Timer;
use futures_lite::FutureExt as _;
use rmail_conformance::record::played;
use rmail_core::config::LogLevel;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;

use super::{Answers, ListenerStatus, Reply, Request, Status};
use crate::logging::levels::{self, TargetLevel};
use crate::record::{Filter, Kept, Recorded};
use crate::server::Host;

/// Seconds that are recorded at most.
const LONGEST: u64 = 24 * 3_600;
/// How often it is said that a recording goes on.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Octets of a transcript in one line: JSON may double them.
const PIECE: usize = 16 * 1024;

/// Answers one request.
pub(crate) async fn answer<S: MailStore, D: Disk>(
    host: Arc<Host<S, D>>,
    request: Request,
    mut answers: Answers,
) -> io::Result<()> {
    let reply = match request {
        Request::Status => Reply::Status(status(&host)),
        Request::LogLevel { target, level, reset } => log_level(target.as_deref(), level, reset),
        Request::Record {
            user,
            address,
            seconds,
        } => {
            let filter = match (user, address) {
                (Some(user), _) => Filter::User(user),
                (None, Some(address)) => Filter::Address(address),
                (None, None) => Filter::All,
            };
            return record(&host, filter, seconds, &mut answers).await;
        }
        Request::Restart => return restart(&host, answers).await,
        Request::Stop => {
            // The answer first: soon nobody is there to give it.
            answers.say(&Reply::Told).await?;
            host.state.stop();
            return Ok(());
        }
        Request::Reload => match host.state.reload() {
            true => Reply::Told,
            false => Reply::Failed {
                why: "it keeps the configuration that it was started with".to_owned(),
            },
        },
    };
    answers.say(&reply).await
}

/// Held until the answer is said: the server waits for that.
async fn restart<S: MailStore, D: Disk>(host: &Host<S, D>, mut answers: Answers) -> io::Result<()> {
    let failed = |why: &str| Reply::Failed { why: why.to_owned() };
    let Some(restarter) = host.state.restarter() else {
        return answers.say(&failed("this server is not to be restarted")).await;
    };
    let outcome = restarter.restart();
    let reply = match outcome.recv().await {
        Ok(Ok(pid)) => Reply::Restarted { pid },
        Ok(Err(why)) => failed(&why),
        Err(_) => failed("it is ending"),
    };
    answers.say(&reply).await
}

fn log_level(target: Option<&str>, level: Option<LogLevel>, reset: bool) -> Reply {
    match (target, level) {
        (target, None) if reset => levels::reset(target),
        (Some(target), Some(level)) if levels::set(target, level) => {
            log::info!(target: "server", "event=log_level of={target} is={}", level.name());
        }
        (_, None) => {}
        (_, Some(_)) => {
            let why = "this is no target, or too many have a level".to_owned();
            return Reply::Failed { why };
        }
    }
    let wanted = |one: &TargetLevel| target.is_none_or(|target| target == one.target);
    let mut levels: Vec<TargetLevel> = levels::list().into_iter().filter(wanted).collect();
    if let (Some(target), true) = (target, levels.is_empty()) {
        levels.push(levels::of(target));
    }
    Reply::LogLevels { levels }
}

/// Tells what is recorded until the time is over, or nobody listens.
async fn record<S: MailStore, D: Disk>(
    host: &Host<S, D>,
    filter: Filter,
    seconds: u64,
    answers: &mut Answers,
) -> io::Result<()> {
    let Some(wanted) = host.recorder.begin(filter) else {
        let why = "as much is recorded already as can be".to_owned();
        return answers.say(&Reply::Failed { why }).await;
    };
    let end = Instant::now() + Duration::from_secs(seconds.min(LONGEST));
    loop {
        answers.say(&Reply::Recording).await?;
        let wait = end.min(Instant::now() + HEARTBEAT);
        let late = async {
            Timer::at(wait).await;
            None
        };
        let next = async { wanted.from.recv().await.ok() };
        match next.or(late).await {
            Some(group) => tell(host, group, answers).await?,
            None if Instant::now() >= end || host.sessions.are_ending() => break,
            None => {}
        }
    }
    for group in wanted.end() {
        tell(host, group, answers).await?;
    }
    Ok(())
}

/// Sends a transcript in pieces.
async fn tell<S: MailStore, D: Disk>(
    host: &Host<S, D>,
    group: Recorded,
    answers: &mut Answers,
) -> io::Result<()> {
    let Some(first) = group.first().map(Kept::take) else {
        return Ok(());
    };
    let stem = format!("{}-{}", first.began.0.as_secs(), first.kind);
    let mut written = host.pools.run(Pool::Cpu, move || played(&group));
    let text = loop {
        let made = async { Some((&mut written).await) };
        let late = async {
            Timer::after(HEARTBEAT).await;
            None
        };
        match made.or(late).await {
            Some(text) => break text.map_err(|panicked| io::Error::other(panicked.to_string()))?,
            None => answers.say(&Reply::Recording).await?,
        }
    };
    let mut rest = text.as_str();
    loop {
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, tail) = rest.split_at(end);
        let last = tail.is_empty();
        let (stem, piece) = (stem.clone(), piece.to_owned());
        answers.say(&Reply::Recorded { stem, piece, last }).await?;
        if last {
            return Ok(());
        }
        rest = tail;
    }
}

fn status<S: MailStore, D: Disk>(host: &Host<S, D>) -> Status {
    let listeners = host.state.listeners().into_iter();
    Status {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: host.clock.now().mono.0.as_secs(),
        sessions: host.sessions.count(),
        ending: host.sessions.are_ending() || host.state.is_replaced(),
        listeners: listeners
            .map(|listener| ListenerStatus {
                service: listener.service,
                address: listener.address,
                up: listener.up,
            })
            .collect(),
    }
}
