//! The end of a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Signal, Timer};
use futures_lite::FutureExt as _;
use futures_lite::future::block_on as wait_here;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;

use super::{RunError, Server};
use crate::handover::Successor;

/// Tasks that are polled once more at the end: more than can be left, and an end should one wake itself.
const LAST_POLLS: usize = 10_000;

/// How long jobs may take to end after the sessions.
const LAST_JOBS: Duration = Duration::from_secs(5);

impl<S: MailStore, D: Disk> Server<S, D> {
    /// Ends sessions at a point where nothing is cut. A successor serves meanwhile, and takes the queue over as soon as this
    /// process is gone.
    pub(super) fn drain(mut self, successor: Option<Successor>) -> Result<(), RunError> {
        let grace = self.host.config().grace;
        log::info!(target: "server", "event=draining sessions={} grace_s={}",
            self.host.sessions.count(), grace.as_secs());
        // Dropping a task ends it at its next wait; the sockets close with it.
        self.listeners.clear();
        self.handed.clear();
        if successor.is_none() {
            // One that is about to take over hears of the end at once, and takes nobody.
            self.succession = None;
        }
        if let (Some(_), Some(file)) = (&successor, self.local.take()) {
            file.leave();
        }
        self.tasks.clear();
        let mut relay = self.relay.take();
        // Before its sessions hear of it: what they break off counts for nothing then.
        if let Some(relay) = &relay {
            relay.shut_down();
        }
        self.host.sessions.shut_down();
        let executor = Arc::clone(&self.host.executor);
        let _here = executor.enter();
        let clean = wait_here(async {
            let gone = async {
                self.host.sessions.wait_gone().await;
                if let Some(relay) = &mut relay {
                    relay.wait_idle().await;
                }
                true
            };
            let late = async {
                Timer::after(grace).await;
                false
            };
            let again = async {
                while let Ok(Signal::Hup | Signal::Usr2) = self.signals.next().await {}
                false
            };
            gone.or(late).or(again).await
        });
        drop(relay);
        if !clean {
            log::warn!(target: "server", "event=cut sessions={}", self.host.sessions.count());
        }
        self.control = None;
        self.threads.stop();
        if !self.host.pools.rest(Instant::now() + LAST_JOBS) {
            log::warn!(target: "server", "event=jobs_left");
        }
        // Tasks that end because what they serve is gone have the host, and with it the locks of the queue, until they
        // are polled once more. Who starts another server in this process must find the queue free.
        for _ in 0..LAST_POLLS {
            if !self.host.executor.try_tick() {
                break;
            }
        }
        drop(self.recording.take());
        wait_here(self.host.service.flush_history());
        let flushed = wait_here(self.host.service.store().close()).map_err(RunError::Flush);
        log::info!(target: "server", "event=stopped");
        flushed
    }
}
