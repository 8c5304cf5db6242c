//! What a running server does when it is asked.

use std::io;
use std::sync::Arc;

use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;

use super::{Answers, ListenerStatus, Reply, Request, Status};
use crate::server::Host;

/// Answers one request.
pub(crate) async fn answer<S: MailStore, D: Disk>(
    host: Arc<Host<S, D>>,
    request: Request,
    mut answers: Answers,
) -> io::Result<()> {
    let reply = match request {
        Request::Status => Reply::Status(status(&host)),
    };
    answers.say(&reply).await
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
