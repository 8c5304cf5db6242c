//! The host of the machine that finds MTA-STS policies: disk, resolver and HTTPS for its actions.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Timer;
use async_channel::{Receiver, Sender, WeakSender};
use futures_lite::FutureExt as _;
use futures_lite::future::block_on;
use rmail_core::addr::Domain;
use rmail_core::machine::Machine as _;
use rmail_core::relay::tls::sts::{Action, AskId, Input, Policies as Machine, Verdict};
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;

use super::https::Https;
use crate::pools::panic_text;
use crate::server::Host;

/// Domains in memory: more are on disk.
const KNOWN: usize = 4096;

/// Asks the policies of the process. Cloning shares them; they end with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    events: Sender<Event>,
}

enum Event {
    Ask(Domain, Sender<Verdict>),
    Input(Input),
}

impl Policies {
    /// Starts the machine.
    pub(super) fn start<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, https: Https) -> Self {
        // Unbounded: there is at most one event for each attempt and each domain that is asked for, which are bounded.
        let (events, heard) = async_channel::unbounded();
        host.executor
            .spawn(run(Arc::clone(host), https, events.downgrade(), heard))
            .detach();
        Self { events }
    }

    /// What holds for a domain. The answer comes in a minute or two in the worst case.
    pub(super) async fn ask(&self, domain: Domain) -> Verdict {
        let (answer, answered) = async_channel::bounded(1);
        let _ = self.events.try_send(Event::Ask(domain, answer));
        answered.recv().await.unwrap_or_default()
    }
}

/// Should the machine panic, it begins anew with what is on disk; who waits is told that there is no policy.
async fn run<S: MailStore, D: Disk>(
    host: Arc<Host<S, D>>,
    https: Https,
    events: WeakSender<Event>,
    heard: Receiver<Event>,
) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let running = Running {
            machine: Machine::new(KNOWN),
            host: Arc::clone(&host),
            https: https.clone(),
            events: events.clone(),
            asked: HashMap::new(),
            next: 0,
        };
        let Err(payload) = AssertUnwindSafe(running.run(&heard)).catch_unwind().await else {
            return;
        };
        log::error!(target: "relay", "event=panic part=policies error={:?}", panic_text(payload.as_ref()));
        Timer::after(PAUSE).await;
    }
}

struct Running<S: MailStore, D: Disk> {
    machine: Machine,
    host: Arc<Host<S, D>>,
    https: Https,
    events: WeakSender<Event>,
    asked: HashMap<AskId, Sender<Verdict>>,
    next: u64,
}

impl<S: MailStore, D: Disk> Running<S, D> {
    async fn run(mut self, heard: &Receiver<Event>) {
        while let Ok(event) = heard.recv().await {
            let input = match event {
                Event::Input(input) => input,
                Event::Ask(domain, answer) => {
                    let ask = AskId(self.next);
                    self.next += 1;
                    self.asked.insert(ask, answer);
                    Input::Ask { ask, domain }
                }
            };
            self.machine.handle_input(self.host.clock.now(), input);
            while let Some(action) = self.machine.poll_action() {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        let service = Arc::clone(&self.host.service);
        match action {
            Action::Load(domain) => {
                let of = domain.clone();
                let load = move || block_on(service.load_sts(&of)).map(Box::new);
                let loaded = self.host.pools.run(Pool::Read, load);
                self.spawn(async move { Input::Loaded(domain, loaded.await.ok().flatten()) });
            }
            Action::Query(domain, question) => {
                let dns = self.https.dns.clone();
                self.spawn(async move { Input::Record(domain, dns.ask(question).await) });
            }
            Action::Fetch(domain) => {
                let https = self.https.clone();
                self.spawn(async move {
                    let fetched = https.policy(&domain).await;
                    match &fetched {
                        Ok(_) => log::info!(target: "relay", "event=sts_fetched domain={domain}"),
                        Err(fault) => {
                            log::info!(target: "relay", "event=sts_failed domain={domain} why={:?}", fault.text);
                        }
                    }
                    Input::Fetched(domain, fetched)
                });
            }
            Action::Save(domain, stored) => {
                let saved = self.host.pools.run(Pool::Sync, move || {
                    if let Err(error) = block_on(service.save_sts(&domain, &stored)) {
                        log::warn!(target: "relay", "event=sts_unsaved domain={domain} error={:?}", error.to_string());
                    }
                });
                self.host.executor.spawn(async { drop(saved.await) }).detach();
            }
            Action::Answer { ask, verdict } => {
                if let Some(asked) = self.asked.remove(&ask) {
                    let _ = asked.try_send(verdict);
                }
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = Input> + Send + 'static) {
        let events = self.events.clone();
        let task = async move {
            let input = task.await;
            if let Some(events) = events.upgrade() {
                let _ = events.try_send(Event::Input(input));
            }
        };
        self.host.executor.spawn(task).detach();
    }
}
