//! What operators ask of the queue, and what is written down for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rmail_core::addr::AccountName;
use rmail_core::relay::entry::Entry;
use rmail_core::relay::history::{List, Record, What};
use rmail_core::relay::queue::Command;
use rmail_core::time::Unix;

use super::{Service, lock};
use crate::disk::{Changes, Disk};
use crate::history::{self, Wake};
use crate::mailstore::MailStore;
use crate::metrics::Family;
use crate::orders::{self, Word};

/// Changes of the directory of requests are told under this tag; the hub's count up from 1.
const TAG: u64 = u64::MAX;

/// Is told of each request: the entry's id, and what is wanted.
type Listener = Arc<dyn Fn(String, Command) + Send + Sync>;

/// Who carries out requests, and how they are heard.
pub(super) struct Operator<D: Disk> {
    listener: Mutex<Option<Listener>>,
    /// Held while requests are read: each is carried out once.
    reading: async_lock::Mutex<()>,
    watch: Mutex<Option<D::Watch>>,
}

impl<D: Disk> Default for Operator<D> {
    fn default() -> Self {
        Self {
            listener: Mutex::default(),
            reading: async_lock::Mutex::default(),
            watch: Mutex::default(),
        }
    }
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Who carries out what operators ask of entries of this process: the relay. The listener must not block. From now
    /// on changes of the directory of requests are heard, where the system tells of them ([`Service::hears_requests`]).
    pub async fn set_command_listener(&self, listener: Arc<dyn Fn(String, Command) + Send + Sync>) {
        *lock(&self.operator.listener) = Some(listener);
        match orders::watch(&**self.accounts.disk(), TAG).await {
            Ok(watch) => *lock(&self.operator.watch) = Some(watch),
            Err(error) => log::debug!("orders: {error}; they are looked for by the clock"),
        }
    }

    /// Whether [`Service::changes`] tells of requests; else [`Service::hear_requests`] is to be called every few seconds.
    #[must_use]
    pub fn hears_requests(&self) -> bool {
        lock(&self.operator.watch).is_some()
    }

    /// Whether there may be something for [`Service::hear_requests`] among what has changed.
    #[must_use]
    pub fn are_requests_among(&self, changes: &Changes) -> bool {
        match changes {
            Changes::All => true,
            Changes::Of(tags) => tags.contains(&TAG),
        }
    }

    /// Hands what operators have asked of entries of this process to the listener. To be called after queues were loaded
    /// or adopted, and when there may be something new. Requests that nobody has carried out for weeks are removed.
    pub async fn hear_requests(&self, now: Unix) {
        let Some(listener) = lock(&self.operator.listener).clone() else {
            return;
        };
        let _reading = self.operator.reading.lock().await;
        let disk = &**self.accounts.disk();
        let waiting = match orders::waiting(disk).await {
            Ok(waiting) => waiting,
            Err(error) => {
                log::error!("orders: {error}; what operators ask of the queue is not heard");
                return;
            }
        };
        for order in waiting {
            if !self.store.owns_outbound(&order.queue) {
                continue;
            }
            let word = order.request.command;
            log::info!(
                "an operator asks to {} {} message(s)",
                word.as_str(),
                order.request.ids.len()
            );
            for id in order.request.ids {
                let command = word.as_str().to_owned();
                self.write_history(&Record::new(now, &id, What::Command { command }));
                listener(id, word.command());
            }
            if let Err(error) = orders::remove(disk, &order.name).await {
                log::error!("orders/{}: {error}", order.name);
            }
        }
        if let Err(error) = orders::remove_old(disk, now).await {
            log::warn!("orders: {error}");
        }
    }

    /// What operators want of entries, but for being tried at once.
    pub(super) async fn asked(&self) -> HashMap<String, Word> {
        let mut wanted: HashMap<String, Word> = HashMap::new();
        let waiting = match orders::waiting(&**self.accounts.disk()).await {
            Ok(waiting) => waiting,
            Err(error) => {
                log::error!("orders: {error}; what operators ask of the queue is not heard");
                return wanted;
            }
        };
        for order in waiting {
            let word = order.request.command;
            if word != Word::Retry {
                wanted.extend(order.request.ids.into_iter().map(|id| (id, word)));
            }
        }
        wanted
    }

    /// What operators want held is held before anything is tried.
    pub(super) async fn hold_as_asked(&self, wanted: &HashMap<String, Word>, entries: &mut [Entry]) {
        for entry in entries {
            let held = match wanted.get(&entry.id) {
                // What is to be given up is not tried before, and is held no longer than that takes.
                Some(Word::Fail) => {
                    entry.held = true;
                    continue;
                }
                Some(word) => *word == Word::Hold,
                None => continue,
            };
            // The queue sees no change when it hears of the request: it stands on disk before.
            if core::mem::replace(&mut entry.held, held) != held
                && let Err(error) = self.store.save_outbound(entry).await
            {
                log::error!(
                    "queue entry {}: {error}; what an operator asks for holds until the next start",
                    entry.id
                );
            }
        }
    }

    /// Writes down what became of a message, if that is wanted. Looks at memory only.
    pub fn write_history(&self, record: &Record) {
        if self.settings().history_days > 0 {
            self.history.push(record);
        }
    }

    /// Who is woken when there is something to be written down by [`Service::flush_history`]; it must only wake somebody.
    pub fn set_history_wake(&self, wake: Wake) {
        self.history.set_wake(wake);
    }

    /// Writes down what waits.
    pub async fn flush_history(&self) {
        self.history.flush().await;
    }

    /// Forgets what became of messages too long ago. To be called about once a day.
    pub async fn tidy_history(&self, now: Unix) {
        let days = self.settings().history_days;
        if let Err(error) = history::remove_older(&**self.accounts.disk(), days, now).await {
            log::warn!("history: {error}");
        }
    }

    /// A message is on disk everywhere.
    pub(super) fn note_accepted<'a>(
        &self,
        now: Unix,
        id: &str,
        (sender, account): (&str, Option<&AccountName>),
        size: u64,
        here: impl Iterator<Item = &'a str>,
        entry: Option<&Entry>,
    ) {
        let here: Vec<&str> = here.collect();
        let waiting = |entry: &&Entry| entry.recipients.iter().filter(|to| to.done.is_none()).count();
        let counts = [here.len(), entry.as_ref().map_or(0, waiting)];
        for (index, count) in counts.into_iter().enumerate() {
            self.metrics.add(Family::Recipients, &[index], count as u64);
        }
        for account in &here {
            log::info!(target: "delivery", "event=delivered id={id} account={account}");
        }
        if let Some(entry) = entry {
            log::info!(target: "delivery", "event=queued id={id} recipients={}", counts[1]);
            if entry.hold_until > 0 {
                log::debug!(target: "delivery", "event=held id={id} until={}", entry.hold_until);
            }
        }
        if self.settings().history_days == 0 {
            return;
        }
        let queued = entry.iter().flat_map(|entry| &entry.recipients);
        let queued = queued.filter(|recipient| recipient.done.is_none());
        let what = What::Accepted {
            sender: sender.chars().take(320).collect(),
            account: account.map(AccountName::to_string),
            size,
            here: List::new(here),
            queued: List::new(queued.map(|recipient| recipient.address.as_str())),
            hold_until: entry.map(|entry| entry.hold_until).filter(|until| *until > 0),
        };
        self.history.push(&Record::new(now, id, what));
    }
}

impl<D: Disk> core::fmt::Debug for Operator<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Operator(heard: {})", lock(&self.watch).is_some())
    }
}
