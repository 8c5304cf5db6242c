//! How the host is, and what it tells of the process.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::engine::Timer;
use async_channel::Sender;
use futures_lite::FutureExt as _;
use futures_lite::future::block_on;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::metrics::{CertificateDays, Family, Metrics};
use rmail_store::service::{Listener, Probe, Seen};

use super::host::Host;
use super::{Reloader, Restarter, Stopper};
use crate::clock::{self, Clock};
use crate::listen::Service;
use crate::relay::Asked;
use crate::tls::{Certificates, days_left};

/// How long the relay may take to tell of its queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the parts of a host are.
#[derive(Debug, Default)]
pub(crate) struct State {
    listeners: Mutex<Vec<Known>>,
    relay: AtomicBool,
    /// Who tells of the queue.
    queue: OnceLock<Sender<Asked>>,
    /// Who starts a successor.
    restarter: OnceLock<Restarter>,
    /// Who ends the server, and has it read its configuration again.
    ends: OnceLock<(Stopper, Reloader)>,
    /// It does not read it again.
    is_fixed: AtomicBool,
    /// Another process is the server by now.
    replaced: AtomicBool,
}

/// A listener that was begun.
#[derive(Debug)]
struct Known {
    service: Service,
    address: String,
    up: Arc<AtomicBool>,
}

/// Held by a listener as long as it accepts.
#[derive(Debug)]
pub(crate) struct Accepting(Arc<AtomicBool>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl State {
    /// A listener begins.
    pub(crate) fn listens(&self, service: Service, address: String) -> Accepting {
        let up = Arc::new(AtomicBool::new(true));
        let known = Known {
            service,
            address,
            up: Arc::clone(&up),
        };
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(known);
        Accepting(up)
    }

    /// Whether somebody works on the queue.
    pub(crate) fn relay_works(&self, works: bool) {
        self.relay.store(works, Ordering::Relaxed);
    }

    /// Who starts a successor from now on.
    pub(crate) fn set_restarter(&self, restarter: Restarter) {
        let _ = self.restarter.set(restarter);
    }

    /// Who starts a successor, if this server can have one.
    pub(crate) fn restarter(&self) -> Option<&Restarter> {
        self.restarter.get().filter(|_| !self.is_replaced())
    }

    /// What ends the server from now on, and has it reload.
    pub(super) fn set_ends(&self, stopper: Stopper, reloader: Reloader) {
        let _ = self.ends.set((stopper, reloader));
    }

    /// It keeps the configuration that it has.
    pub(super) fn fix(&self) {
        self.is_fixed.store(true, Ordering::Relaxed);
    }

    /// Ends the server.
    pub(crate) fn stop(&self) {
        if let Some((stopper, _)) = self.ends.get() {
            stopper.stop();
        }
    }

    /// Has the server read its configuration again; `false`: it never does.
    pub(crate) fn reload(&self) -> bool {
        let reloader = self.ends.get().filter(|_| !self.is_fixed.load(Ordering::Relaxed));
        if let Some((_, reloader)) = reloader {
            reloader.reload();
        }
        reloader.is_some()
    }

    /// Another process is the server from now on.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Whether another process is the server.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Who tells of the queue from now on.
    pub(crate) fn set_queue(&self, queue: Sender<Asked>) {
        let _ = self.queue.set(queue);
    }

    /// Every listener that was begun.
    pub(crate) fn listeners(&self) -> Vec<Listener> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let all = listeners.iter();
        all.map(|known| Listener {
            service: known.service.to_string(),
            address: known.address.clone(),
            up: known.up.load(Ordering::Relaxed),
        })
        .collect()
    }

    /// Has the queue's figures set. Blocks, for a second at most.
    fn ask_queue(&self) {
        let Some(queue) = self.queue.get() else { return };
        let (answer, answered) = async_channel::bounded(1);
        if queue.try_send(Asked(answer)).is_err() {
            return;
        }
        let late = async {
            Timer::after(PATIENCE).await;
            Err(async_channel::RecvError)
        };
        if block_on(answered.recv().or(late)).is_err() {
            log::warn!(target: "server", "event=queue_silent");
        }
    }
}

/// Asks a host, while there is one: it has the service, and the service has this.
pub(super) struct HostProbe<S: MailStore, D: Disk> {
    host: Weak<Host<S, D>>,
    /// Seconds since 1970 when the process began, as its clock had it then.
    started: u64,
}

impl<S: MailStore, D: Disk> HostProbe<S, D> {
    /// For a host whose time `clock` tells.
    pub(super) fn new(host: &Weak<Host<S, D>>, clock: Clock) -> Self {
        let now = clock.now();
        Self {
            host: Weak::clone(host),
            started: now.unix.0.saturating_sub(now.mono.0).as_secs(),
        }
    }
}

impl<S: MailStore, D: Disk> Probe for HostProbe<S, D> {
    fn see(&self) -> Seen {
        let Some(host) = self.host.upgrade() else {
            return Seen {
                ending: true,
                ..Seen::default()
            };
        };
        Seen {
            listeners: host.state.listeners(),
            queue: host.state.relay.load(Ordering::Relaxed),
            synced: !host.sync_failed.load(Ordering::Relaxed),
            ending: host.sessions.are_ending(),
            uptime: host.clock.now().mono.0.as_secs(),
        }
    }

    #[cfg(feature = "acme")]
    fn proof(&self, token: &str) -> Option<String> {
        let config = self.host.upgrade()?.config();
        config.acme.as_ref()?;
        crate::acme::document(&config.mail_root, token)
    }

    fn measure(&self, metrics: &Metrics) {
        let Some(host) = self.host.upgrade() else { return };
        host.state.ask_queue();
        let now = clock::unix().0.as_secs();
        let failing = host.sync_failed.load(Ordering::Relaxed);
        metrics.set(Family::SyncFailing, &[], i64::from(failing));
        metrics.set(Family::Started, &[], signed(self.started));
        if let Some(tls) = host.tls() {
            certificates(metrics, &tls.current(), now);
        }
        process(metrics);
    }
}

/// How long each certificate is good, and the first that ends.
fn certificates(metrics: &Metrics, all: &Certificates, now: u64) {
    let days = all.all().filter_map(|certificate| {
        let facts = certificate.facts();
        Some(CertificateDays {
            name: facts.title().to_owned(),
            file: certificate.files().cert.display().to_string(),
            days: days_left(facts.expires?, now),
        })
    });
    let days: Vec<_> = days.collect();
    if let Some(first) = days.iter().map(|one| one.days).min() {
        metrics.set(Family::CertificateDays, &[], first);
    }
    metrics.set_certificates(days);
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the system tells of this process, where it has a /proc of Linux.
fn process(metrics: &Metrics) {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok()) {
        let octets = pages.saturating_mul(rustix::param::page_size() as u64);
        metrics.set(Family::Resident, &[], signed(octets));
    }
    if let Some(ticks) = ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default()) {
        let millis = ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1);
        metrics.set(Family::Processor, &[], signed(millis));
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        metrics.set(Family::Descriptors, &[], signed(descriptors.count() as u64));
    }
}

/// User and system time in /proc/self/stat: the 14th and 15th field. The second, in parentheses, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("12 (a) S 1"), None);
    }

    #[test]
    fn a_listener_is_up_until_it_ends() {
        let state = State::default();
        let one = state.listens(Service::Imap, "127.0.0.1:143".to_owned());
        assert!(state.listeners().iter().all(|listener| listener.up));
        drop(one);
        assert_eq!(
            state
                .listeners()
                .iter()
                .map(|listener| listener.up)
                .collect::<Vec<_>>(),
            [false]
        );
    }

    #[test]
    fn this_process_has_memory() {
        let metrics = Metrics::default();
        process(&metrics);
        assert!(metrics.value(Family::Resident, &[]) > 0 && metrics.value(Family::Descriptors, &[]) > 0);
    }
}
