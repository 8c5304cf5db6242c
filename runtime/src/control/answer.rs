//! What a running server does when it is asked.

use std::io;
use std::sync::Arc;

use rmail_core::config::LogLevel;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;

use super::{Answers, ListenerStatus, Reply, Request, Status};
use crate::logging::levels::{self, TargetLevel};
use crate::server::Host;

/// Answers one request.
pub(crate) async fn answer<S: MailStore, D: Disk>(
    host: Arc<Host<S, D>>,
    request: Request,
    mut answers: Answers,
) -> io::Result<()> {
    let reply = match request {
        Request::Status => Reply::Status(status(&host)),
        Request::LogLevel { target, level, reset } => log_level(target.as_deref(), level, reset),
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

fn status<S: MailStore, D: Disk>(host: &Host<S, D>) -> Status {
    let listeners = host.state.listeners().into_iter();
    Status {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: host.clock.now().mono.0.as_secs(),
        sessions: host.sessions.count(),
        ending: host.sessions.are_ending(),
        listeners: listeners
            .map(|listener| ListenerStatus {
                service: listener.service,
                address: listener.address,
                up: listener.up,
            })
            .collect(),
    }
}
