//! The outbound queue as a machine: when which recipients of which entry are tried, what is kept on disk, and who is
//! told.
//!
//! The host performs the actions; each has exactly one answer:
//!
//! * [`Action::Attempt`]: run a [`super::attempt::Attempt`] with the order; its `Done` is [`Input::Finished`].
//! * [`Action::Save`], [`Action::Remove`]: replace the entry on disk, or remove it with its message; answer
//!   [`Input::Saved`] when it is durable or has failed. At most one of them is out for an entry.
//! * [`Action::Bounce`]: read the beginning of the entry's message (from its offset, up to
//!   [`super::bounce::MAX_HEADER`]), [`super::bounce::build`] the notice, deliver it to the INBOX of a local sender or
//!   queue it (with sender `<>`); answer [`Input::Bounced`] once it is durable or has failed.
//! * [`Action::Event`]: for the log. No answer.
//!
//! # Invariants
//!
//! * A recipient leaves the entry on disk only after it was delivered, or after the notice of its failure was stored: a
//!   crash may repeat an attempt or a notice, never lose one.
//! * No attempt is earlier than the schedule says. The schedule runs on the monotonic clock; the wall clock only bridges
//!   restarts, and a clock that was set back does not stretch a delay.

mod item;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use self::item::{Item, Next, Rcpt, State};
use super::attempt::Order;
use super::bounce::{Kind, Notice};
use super::entry::Entry;
use super::outcome::{Enhanced, Outcome, Report};
use super::route::Settings;
use crate::dns::mx::Ourselves;
use crate::machine::Machine;
use crate::random::Random;
use crate::smtp::client::Job;
use crate::time::{Mono, Now, Unix};

/// Recipients of one transaction (RFC 5321 §4.5.3.1.8: every server takes so many).
const MAX_RECIPIENTS: usize = 100;

/// When a write or a notice that failed is tried again.
const STORAGE_RETRY: Duration = Duration::from_secs(60);

/// Names an attempt. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// Names a notice. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BounceId(pub u64);

/// What can happen to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Entries found on disk: at the start, or of a queue whose process has died.
    Loaded(Vec<Entry>),
    /// A new entry, durable already.
    Added(Entry),
    /// An attempt is over: the outcomes in the order of its recipients.
    Finished {
        /// Which.
        attempt: AttemptId,
        /// One for each recipient; a recipient without one is tried again.
        outcomes: Vec<Outcome>,
    },
    /// A notice is stored, or could not be.
    Bounced {
        /// Which.
        bounce: BounceId,
        /// It is durable.
        stored: bool,
    },
    /// A [`Action::Save`] or [`Action::Remove`] is durable, or has failed.
    Saved {
        /// The entry's id.
        entry: String,
        /// It is durable.
        ok: bool,
    },
    /// Try all recipients of this entry that wait, now.
    Retry(String),
    /// The configuration was read again.
    Settings(Box<Settings>),
    /// Begin no further attempts. What runs may finish, see [`Queue::is_idle`].
    Shutdown,
    /// The deadline of `poll_timeout` has passed.
    Tick,
}

/// What the queue wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Try to deliver.
    Attempt {
        /// Comes back with the outcomes.
        attempt: AttemptId,
        /// The entry, whose message is to be sent.
        entry: String,
        /// How, what, to whom.
        order: Box<Order>,
    },
    /// Replace the entry on disk.
    Save(Box<Entry>),
    /// Remove the entry and its message.
    Remove(String),
    /// Tell the sender.
    Bounce {
        /// Comes back with the result.
        bounce: BounceId,
        /// The entry, whose header is quoted.
        entry: String,
        /// What to tell.
        notice: Box<Notice>,
    },
    /// Something for the log.
    Event(Event),
}

/// Something for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A recipient has it.
    Delivered {
        /// The entry's id.
        entry: String,
        /// Address.
        recipient: String,
        /// The reply.
        report: Report,
    },
    /// A recipient is tried again later. [`Report::severe`] asks for ERROR.
    Deferred {
        /// The entry's id.
        entry: String,
        /// Address.
        recipient: String,
        /// Why.
        report: Report,
        /// Attempts so far.
        attempts: u32,
        /// When again.
        next: Unix,
    },
    /// A recipient will not get it.
    Failed {
        /// The entry's id.
        entry: String,
        /// Address.
        recipient: String,
        /// Why.
        report: Report,
        /// The last of all attempts has failed.
        expired: bool,
        /// The sender is told; otherwise there is none to tell.
        told: bool,
    },
    /// All recipients of an entry have come to their end.
    Done(String),
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    ourselves: Ourselves,
    random: Random,
    items: BTreeMap<Arc<str>, Item>,
    timers: BTreeSet<(Mono, Arc<str>, Timer)>,
    /// Entries with recipients that are due, by the key of their route.
    ready: BTreeMap<Arc<str>, VecDeque<Arc<str>>>,
    /// The key that was served last, so that each gets its turn.
    served: Option<Arc<str>>,
    flights: BTreeMap<AttemptId, Flight>,
    per_key: BTreeMap<Arc<str>, usize>,
    bounces: BTreeMap<BounceId, Pending>,
    attempts: u64,
    notices: u64,
    shutdown: bool,
    now: Now,
    out: VecDeque<Action>,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A recipient is due.
    Recipient(u32),
    /// The sender is to be told of the delay.
    Delay,
    /// A notice of failure is tried again.
    Bounce,
    /// A write is tried again.
    Save,
}

/// An attempt that runs.
#[derive(Debug)]
struct Flight {
    entry: Arc<str>,
    key: Arc<str>,
    recipients: Vec<u32>,
}

/// A notice that is being stored.
#[derive(Debug)]
struct Pending {
    entry: Arc<str>,
    kind: Kind,
    recipients: Vec<u32>,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(settings: Settings, ourselves: Ourselves, seed: [u8; 32]) -> Self {
        Self {
            settings,
            ourselves,
            random: Random::from_seed(seed),
            items: BTreeMap::new(),
            timers: BTreeSet::new(),
            ready: BTreeMap::new(),
            served: None,
            flights: BTreeMap::new(),
            per_key: BTreeMap::new(),
            bounces: BTreeMap::new(),
            attempts: 0,
            notices: 0,
            shutdown: false,
            now: Now::default(),
            out: VecDeque::new(),
        }
    }

    /// Entries that have open recipients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items
            .values()
            .filter(|item| !item.recipients.is_empty())
            .count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries as they are now, by id.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.items
            .values()
            .filter(|item| !item.recipients.is_empty())
            .map(Item::entry)
    }

    /// Attempts that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.flights.len()
    }

    /// Nothing is out that will be answered: the host may stop.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.bounces.is_empty() && !self.items.values().any(|item| item.writing)
    }

    fn add(&mut self, entry: Entry) {
        let id: Arc<str> = Arc::from(entry.id.as_str());
        if self.items.contains_key(&id) {
            return;
        }
        let item = Item::new(entry, self.now, &self.settings.retry_delays);
        for rcpt in &item.recipients {
            if let State::Waiting(due) = rcpt.state {
                self.timers
                    .insert((due, Arc::clone(&id), Timer::Recipient(rcpt.number)));
            }
        }
        if item.wants_notices() {
            self.timers
                .insert((item.delay_due, Arc::clone(&id), Timer::Delay));
        }
        self.items.insert(Arc::clone(&id), item);
        if self.settle(&id) {
            self.write(&id);
        }
    }

    /// A timer has run out.
    fn fire(&mut self, id: &Arc<str>, timer: Timer) {
        match timer {
            Timer::Recipient(number) => self.make_ready(id, number),
            Timer::Delay => self.tell_delay(id),
            Timer::Bounce => self.tell_failures(id),
            Timer::Save => self.write(id),
        }
    }

    /// A recipient is due: its entry waits for its turn at the next hop.
    fn make_ready(&mut self, id: &Arc<str>, number: u32) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let waiting = item
            .find(number)
            .filter(|rcpt| matches!(rcpt.state, State::Waiting(_)));
        let key = waiting.and_then(|rcpt| {
            let route = self.settings.route(&rcpt.address.as_ref()?.domain);
            Some(Arc::<str>::from(route.key()))
        });
        let Some(key) = key else {
            return;
        };
        let queued = item.is_ready(&key);
        if let Some(rcpt) = item.find_mut(number) {
            rcpt.state = State::Ready(Arc::clone(&key));
        }
        if !queued {
            self.ready.entry(key).or_default().push_back(Arc::clone(id));
        }
    }

    /// Begins attempts as far as the bounds allow.
    fn dispatch(&mut self) {
        while !self.shutdown && self.flights.len() < self.settings.max_attempts {
            let Some(key) = self.next_key() else {
                return;
            };
            self.served = Some(Arc::clone(&key));
            let Some(queue) = self.ready.get_mut(&key) else {
                return;
            };
            let id = queue.pop_front();
            if queue.is_empty() {
                self.ready.remove(&key);
            }
            if let Some(id) = id {
                self.launch(&id, &key);
            }
        }
    }

    /// The next destination in turn that may have one more attempt.
    fn next_key(&self) -> Option<Arc<str>> {
        let most = self.settings.max_attempts_per_destination;
        let free = |key: &&Arc<str>| self.per_key.get(*key).copied().unwrap_or_default() < most;
        let after = match &self.served {
            Some(served) => Bound::Excluded(Arc::clone(served)),
            None => Bound::Unbounded,
        };
        let later = self.ready.range((after, Bound::Unbounded)).map(|(key, _)| key);
        later.chain(self.ready.keys()).find(free).cloned()
    }

    fn launch(&mut self, id: &Arc<str>, key: &Arc<str>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let mut numbers = Vec::new();
        let mut addresses = Vec::new();
        let ready = |rcpt: &&mut Rcpt| matches!(&rcpt.state, State::Ready(ready) if ready == key);
        for rcpt in item.recipients.iter_mut().filter(ready).take(MAX_RECIPIENTS) {
            if let Some(address) = &rcpt.address {
                numbers.push(rcpt.number);
                addresses.push(address.clone());
            }
            rcpt.state = State::Flying;
        }
        if item.is_ready(key) {
            self.ready
                .entry(Arc::clone(key))
                .or_default()
                .push_back(Arc::clone(id));
        }
        let Some(first) = addresses.first() else {
            return;
        };
        let order = Order {
            route: self.settings.route(&first.domain),
            job: Job {
                reverse_path: item.reverse_path(),
                recipients: addresses,
                offset: item.head.offset,
                size: item.head.size,
                eight_bit: item.head.eight_bit,
            },
            hostname: self.settings.hostname.clone(),
            ourselves: self.ourselves.clone(),
            seed: self.random.seed(),
        };
        let attempt = AttemptId(self.attempts);
        self.attempts += 1;
        *self.per_key.entry(Arc::clone(key)).or_default() += 1;
        let flight = Flight {
            entry: Arc::clone(id),
            key: Arc::clone(key),
            recipients: numbers,
        };
        self.flights.insert(attempt, flight);
        self.out.push_back(Action::Attempt {
            attempt,
            entry: id.to_string(),
            order: Box::new(order),
        });
    }

    fn finished(&mut self, attempt: AttemptId, outcomes: Vec<Outcome>) {
        let Some(flight) = self.flights.remove(&attempt) else {
            return;
        };
        if let Some(count) = self.per_key.get_mut(&flight.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_key.remove(&flight.key);
            }
        }
        let id = flight.entry;
        let mut outcomes = outcomes.into_iter();
        for number in flight.recipients {
            let outcome = outcomes.next().unwrap_or_else(|| {
                Outcome::Temporary(Report::ours(Enhanced(4, 3, 0), "the attempt was broken off"))
            });
            self.apply(&id, number, outcome);
        }
        self.settle(&id);
        self.tell_delay(&id);
        self.write(&id);
    }

    fn apply(&mut self, id: &Arc<str>, number: u32, outcome: Outcome) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let Some(rcpt) = item.find_mut(number) else {
            return;
        };
        let next = rcpt.outcome(outcome.clone(), self.now, &self.settings.retry_delays);
        let (entry, recipient) = (id.to_string(), rcpt.stored.address.clone());
        let report = outcome.report().clone();
        let event = match next {
            Next::Delivered => {
                item.remove(number);
                Event::Delivered {
                    entry,
                    recipient,
                    report,
                }
            }
            Next::Again(due) => {
                let (attempts, next) = (rcpt.stored.attempts, Unix::from_secs(rcpt.stored.next));
                self.timers
                    .insert((due, Arc::clone(id), Timer::Recipient(number)));
                Event::Deferred {
                    entry,
                    recipient,
                    report,
                    attempts,
                    next,
                }
            }
            // Told of by `settle`, together with all others that failed now.
            Next::Failed => return,
        };
        self.out.push_back(Action::Event(event));
    }

    /// Deals with recipients that have failed: tells the sender, or forgets them if there is none to tell. Whether the
    /// entry has fewer recipients now, or none at all.
    fn settle(&mut self, id: &Arc<str>) -> bool {
        let Some(item) = self.items.get_mut(id) else {
            return false;
        };
        let told = item.wants_notices();
        let mut some = false;
        for rcpt in &mut item.recipients {
            if let State::Failed(failure) = &mut rcpt.state
                && !core::mem::replace(&mut failure.logged, true)
            {
                some = true;
                self.out.push_back(Action::Event(Event::Failed {
                    entry: id.to_string(),
                    recipient: rcpt.stored.address.clone(),
                    report: failure.report.clone(),
                    expired: failure.expired,
                    told,
                }));
            }
        }
        if some && told {
            self.tell_failures(id);
            return false;
        }
        item.recipients
            .retain(|rcpt| told || !matches!(rcpt.state, State::Failed(_)));
        some || item.recipients.is_empty()
    }

    /// One notice for all recipients that have failed and are in no notice yet.
    fn tell_failures(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let mut about = Vec::new();
        let mut numbers = Vec::new();
        for rcpt in &mut item.recipients {
            if let Some(told) = rcpt.tell_failure() {
                about.push(told);
                numbers.push(rcpt.number);
            }
        }
        self.bounce(id, Kind::Failed, numbers, about);
    }

    /// After [`item::DELAY_NOTICE`] the sender is told of recipients that were tried in vain, each once.
    fn tell_delay(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        if !item.wants_notices() || self.now.mono < item.delay_due {
            return;
        }
        let mut about = Vec::new();
        let mut numbers = Vec::new();
        for rcpt in &mut item.recipients {
            if let Some(told) = rcpt.tell_delay(&self.settings.retry_delays) {
                about.push(told);
                numbers.push(rcpt.number);
            }
        }
        self.bounce(id, Kind::Delayed, numbers, about);
    }

    fn bounce(&mut self, id: &Arc<str>, kind: Kind, numbers: Vec<u32>, about: Vec<super::bounce::About>) {
        let Some(item) = self.items.get(id).filter(|_| !about.is_empty()) else {
            return;
        };
        let notice = Notice {
            kind,
            hostname: self.settings.hostname.clone(),
            sender: item.head.sender.clone(),
            entry: id.to_string(),
            arrived: Unix::from_secs(item.head.arrived),
            recipients: about,
        };
        let bounce = BounceId(self.notices);
        self.notices += 1;
        let pending = Pending {
            entry: Arc::clone(id),
            kind,
            recipients: numbers,
        };
        self.bounces.insert(bounce, pending);
        self.out.push_back(Action::Bounce {
            bounce,
            entry: id.to_string(),
            notice: Box::new(notice),
        });
    }

    fn bounced(&mut self, bounce: BounceId, stored: bool) {
        let Some(pending) = self.bounces.remove(&bounce) else {
            return;
        };
        let id = pending.entry;
        let Some(item) = self.items.get_mut(&id) else {
            return;
        };
        for number in pending.recipients {
            match pending.kind {
                Kind::Failed if stored => item.remove(number),
                kind => {
                    if let Some(rcpt) = item.find_mut(number) {
                        rcpt.notice_over(kind, stored);
                    }
                }
            }
        }
        if stored {
            self.write(&id);
        } else {
            let timer = match pending.kind {
                Kind::Failed => Timer::Bounce,
                Kind::Delayed => Timer::Delay,
            };
            self.timers.insert((self.now.mono + STORAGE_RETRY, id, timer));
        }
    }

    /// Brings the entry to disk as it is now, after the write that is out, if one is.
    fn write(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        if item.writing {
            item.changed = true;
            return;
        }
        item.writing = true;
        item.changed = false;
        item.removing = item.recipients.is_empty();
        self.out.push_back(if item.removing {
            Action::Remove(id.to_string())
        } else {
            Action::Save(Box::new(item.entry()))
        });
    }

    fn saved(&mut self, entry: &str, ok: bool) {
        let id: Arc<str> = Arc::from(entry);
        let Some(item) = self.items.get_mut(&id).filter(|item| item.writing) else {
            return;
        };
        item.writing = false;
        let (removing, changed) = (item.removing, item.changed);
        if !ok {
            self.timers
                .insert((self.now.mono + STORAGE_RETRY, id, Timer::Save));
        } else if removing {
            let due = item.delay_due;
            self.items.remove(&id);
            self.timers.remove(&(due, id, Timer::Delay));
            self.out.push_back(Action::Event(Event::Done(entry.to_owned())));
        } else if changed {
            self.write(&id);
        }
    }

    fn retry(&mut self, entry: &str) {
        let id: Arc<str> = Arc::from(entry);
        let Some(item) = self.items.get(&id) else {
            return;
        };
        let waiting: Vec<(Mono, u32)> = item
            .recipients
            .iter()
            .filter_map(|rcpt| match rcpt.state {
                State::Waiting(due) => Some((due, rcpt.number)),
                _ => None,
            })
            .collect();
        for (due, number) in waiting {
            self.timers
                .remove(&(due, Arc::clone(&id), Timer::Recipient(number)));
            self.make_ready(&id, number);
        }
    }

    /// New settings may send waiting recipients another way.
    fn reload(&mut self, settings: Settings) {
        self.settings = settings;
        self.ready.clear();
        let ready: Vec<(Arc<str>, u32)> = self
            .items
            .iter_mut()
            .flat_map(|(id, item)| item.unready().into_iter().map(|number| (Arc::clone(id), number)))
            .collect();
        for (id, number) in ready {
            self.make_ready(&id, number);
        }
    }
}

impl Machine for Queue {
    type Input = Input;
    type Action = Action;

    fn handle_input(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Loaded(entries) => entries.into_iter().for_each(|entry| self.add(entry)),
            Input::Added(entry) => self.add(entry),
            Input::Finished { attempt, outcomes } => self.finished(attempt, outcomes),
            Input::Bounced { bounce, stored } => self.bounced(bounce, stored),
            Input::Saved { entry, ok } => self.saved(&entry, ok),
            Input::Retry(entry) => self.retry(&entry),
            Input::Settings(settings) => self.reload(*settings),
            Input::Shutdown => self.shutdown = true,
            Input::Tick => {}
        }
        while self.timers.first().is_some_and(|(due, ..)| *due <= now.mono) {
            if let Some((_, id, timer)) = self.timers.pop_first() {
                self.fire(&id, timer);
            }
        }
        self.dispatch();
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.timers.first().map(|(due, ..)| *due)
    }
}
