//! The outbound queue as a machine: when which recipients of which entry are tried, what is kept on disk, and who is
//! told.
//!
//! The host performs the actions; each has exactly one answer:
//!
//! * [`Action::Attempt`]: run a [`super::attempt::Attempt`] with the order; its `Done` is [`Input::Finished`].
//! * [`Action::Deliver`]: put the message into mailboxes of ours; the outcomes are [`Input::Finished`] too.
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
//!   crash may repeat an attempt or a notice, never lose one. Only a notice that cannot be stored for as long as a message
//!   is tried is given up ([`Event::Unnoticed`]).
//! * No attempt is earlier than the schedule says. The schedule runs on the monotonic clock; the wall clock only bridges
//!   restarts, and a clock that was set back does not stretch a delay.

mod command;
mod contract;
mod item;
mod kept;
mod notices;

pub use contract::{Action, AttemptId, BounceId, Command, Event, Input};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use self::item::{Item, Next, Rcpt, State};
use self::kept::Texts;
use super::attempt::Order;
use super::bounce::Kind;
use super::entry::Entry;
use super::outcome::{Enhanced, Outcome, Report};
use super::route::Settings;
use crate::dns::mx::Ourselves;
use crate::machine::Machine;
use crate::random::Random;
use crate::smtp::client::{self, Job};
use crate::time::{Mono, Now, Unix};

/// Recipients of one transaction (RFC 5321 §4.5.3.1.8: every server takes so many).
const MAX_RECIPIENTS: usize = 100;

/// When a write or a notice that failed is tried again; a notice later and later.
const STORAGE_RETRY: Duration = Duration::from_secs(60);

/// The longest time between two tries of a notice.
const MAX_NOTICE_RETRY: Duration = Duration::from_secs(3600);

/// Destinations of which it is remembered that nobody answers for them.
const MAX_DEAD: usize = 10_000;

/// The queue.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    ourselves: Ourselves,
    random: Random,
    items: BTreeMap<Arc<str>, Box<Item>>,
    texts: Texts,
    timers: BTreeSet<(Mono, Arc<str>, Timer)>,
    /// Entries with recipients that are due, by urgency and the key of their route.
    ready: BTreeMap<(Urgency, Arc<str>), VecDeque<Arc<str>>>,
    /// The key that was served last, so that each gets its turn.
    served: Option<Arc<str>>,
    flights: BTreeMap<AttemptId, Flight>,
    per_key: BTreeMap<Arc<str>, usize>,
    /// Destinations that no connection was made to when they were tried last.
    dead: BTreeSet<Arc<str>>,
    bounces: BTreeMap<BounceId, Pending>,
    attempts: u64,
    notices: u64,
    shutdown: bool,
    /// Between [`Input::Loading`] and [`Input::Loaded`].
    loading: bool,
    now: Now,
    out: VecDeque<Action>,
}

/// MT-PRIORITY turned round, and the hour in which the recipients were due: the most urgent is the least (RFC 6710 §5.1).
/// That a place is the earlier the longer it waits, one step of priority an hour, lets nothing wait for ever.
type Urgency = i64;

/// Stands for the way into a mailbox of ours among the keys of routes: no domain has a space.
const LOCAL: &str = " local";

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
            texts: Texts::default(),
            timers: BTreeSet::new(),
            ready: BTreeMap::new(),
            served: None,
            flights: BTreeMap::new(),
            per_key: BTreeMap::new(),
            dead: BTreeSet::new(),
            bounces: BTreeMap::new(),
            attempts: 0,
            notices: 0,
            shutdown: false,
            loading: false,
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
            .iter()
            .filter(|(_, item)| !item.recipients.is_empty())
            .map(|(id, item)| item.entry(id))
    }

    /// When each entry arrived, in seconds since 1970, and whether an operator holds it.
    pub fn ages(&self) -> impl Iterator<Item = (u64, bool)> {
        let open = self.items.values().filter(|item| !item.recipients.is_empty());
        open.map(|item| (item.head.arrived, item.head.held))
    }

    /// Whether one of an entry's recipients was tried before.
    #[must_use]
    pub fn was_tried(&self, entry: &str) -> bool {
        let item = self.items.get(entry);
        item.is_some_and(|item| item.recipients.iter().any(|rcpt| rcpt.stored.attempts > 0))
    }

    /// Octets of an entry's stored message that are not sent, while the entry is here.
    #[must_use]
    pub fn offset(&self, entry: &str) -> Option<u64> {
        self.items.get(entry).map(|item| item.head.offset)
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
        let item = Item::new(entry, self.now, &self.settings.retry_delays, &mut self.texts);
        for rcpt in &item.recipients {
            if let State::Waiting(due) = rcpt.state {
                self.timers
                    .insert((due, Arc::clone(&id), Timer::Recipient(rcpt.number)));
            }
        }
        // One that is late already is told of at the first look at the timers.
        if item.is_late_without_attempt() {
            self.timers
                .insert((item.delay_due, Arc::clone(&id), Timer::Delay));
        }
        self.items.insert(Arc::clone(&id), Box::new(item));
        if self.settle(&id) {
            self.write(&id);
        }
        self.tell_successes(&id);
    }

    /// A timer has run out.
    fn fire(&mut self, id: &Arc<str>, timer: Timer) {
        match timer {
            Timer::Recipient(number) => self.make_ready(id, number, None),
            Timer::Delay => self.tell_delay(id),
            Timer::Bounce => {
                self.tell_failures(id);
                self.tell_successes(id);
            }
            Timer::Save => self.write(id),
        }
    }

    /// A recipient is due: its entry waits for its turn at the next hop. `urgency`: if it has waited already.
    fn make_ready(&mut self, id: &Arc<str>, number: u32, urgency: Option<Urgency>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let waiting = item
            .find(number)
            .filter(|rcpt| matches!(rcpt.state, State::Waiting(_)) && !item.head.held);
        let key = waiting.and_then(|rcpt| {
            if rcpt.stored.local {
                return Some(Arc::from(LOCAL));
            }
            let sender = item.reverse_path();
            let domain = &rcpt.stored.parsed()?.domain;
            let route = self.settings.route_from(sender.address(), domain);
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
            let place = (urgency.unwrap_or_else(|| item.urgency(self.now.mono)), key);
            self.ready.entry(place).or_default().push_back(Arc::clone(id));
        }
        self.watch_delay(id);
    }

    /// Begins attempts as far as the bounds allow.
    fn load(&mut self, entries: Vec<Entry>, more: bool) {
        self.loading = more;
        entries.into_iter().for_each(|entry| self.add(entry));
    }

    fn dispatch(&mut self) {
        while !self.shutdown && !self.loading {
            let Some(place) = self.next_place() else {
                return;
            };
            let key = Arc::clone(&place.1);
            self.served = Some(Arc::clone(&key));
            let Some(queue) = self.ready.get_mut(&place) else {
                return;
            };
            let id = queue.pop_front();
            if queue.is_empty() {
                self.ready.remove(&place);
            }
            if let Some(id) = id {
                self.launch(&id, place);
            }
        }
    }

    /// The most urgent destination that may have one more attempt; among the equally urgent, the next in turn. Mailboxes
    /// of ours need no connection: they are not among the attempts that all servers share. A destination that nobody
    /// answers for, and whose attempts therefore take long, has one at a time, and all of them together have half of what
    /// there is: the others never wait for them.
    fn next_place(&self) -> Option<(Urgency, Arc<str>)> {
        let most = self.settings.max_attempts_per_destination;
        let here: Arc<str> = Arc::from(LOCAL);
        let running = |key: &Arc<str>| self.per_key.get(key).copied().unwrap_or_default();
        let all_out = self.flights.len() - running(&here) >= self.settings.max_attempts;
        if all_out && running(&here) >= most {
            return None;
        }
        let is_dead = |key: &&Arc<str>| self.dead.contains(*key);
        let waste: usize = self.per_key.keys().filter(is_dead).map(running).sum();
        let may_waste = waste < (self.settings.max_attempts / 2).max(1);
        let free = |place: &&(Urgency, Arc<str>)| match self.dead.contains(&place.1) {
            true => may_waste && running(&place.1) == 0 && most > 0,
            false => running(&place.1) < most,
        };
        let least: Arc<str> = Arc::from("");
        let mut from = Bound::Unbounded;
        // As many rounds as there are priorities, and hours in which the oldest has waited.
        while let Some((&(urgency, _), _)) = self.ready.range((from, Bound::Unbounded)).next() {
            let begin = Bound::Included((urgency, Arc::clone(&least)));
            let end = Bound::Excluded((urgency + 1, Arc::clone(&least)));
            if all_out {
                let place = (urgency, Arc::clone(&here));
                if self.ready.contains_key(&place) {
                    return Some(place);
                }
                from = Bound::Included((urgency + 1, Arc::clone(&least)));
                continue;
            }
            let after = match &self.served {
                Some(served) => Bound::Excluded((urgency, Arc::clone(served))),
                None => begin.clone(),
            };
            let later = self.ready.range((after, end.clone())).map(|(place, _)| place);
            let all = self.ready.range((begin, end)).map(|(place, _)| place);
            if let Some(place) = later.chain(all).find(free) {
                return Some(place.clone());
            }
            from = Bound::Included((urgency + 1, Arc::clone(&least)));
        }
        None
    }

    fn launch(&mut self, id: &Arc<str>, place: (Urgency, Arc<str>)) {
        let key = &Arc::clone(&place.1);
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let mut numbers = Vec::new();
        let mut recipients = Vec::new();
        let ready = |rcpt: &&mut Rcpt| matches!(&rcpt.state, State::Ready(ready) if ready == key);
        for rcpt in item.recipients.iter_mut().filter(ready).take(MAX_RECIPIENTS) {
            if let Some(address) = rcpt.stored.parsed() {
                numbers.push(rcpt.number);
                recipients.push(client::Recipient {
                    address,
                    dsn: rcpt.stored.dsn().clone(),
                });
            }
            rcpt.state = State::Flying;
        }
        if item.is_ready(key) {
            self.ready.entry(place).or_default().push_back(Arc::clone(id));
        }
        let Some(first) = recipients.first() else {
            return;
        };
        let wishes = item.head.wishes();
        let order = Order {
            route: self
                .settings
                .route_from(item.reverse_path().address(), &first.address.domain)
                .for_message(&wishes, item.reverse_path().address().is_some()),
            job: Job {
                reverse_path: item.reverse_path(),
                recipients,
                offset: item.head.offset,
                size: item.head.size,
                eight_bit: item.head.eight_bit,
                wishes,
            },
            hostname: self.settings.hostname.clone(),
            ourselves: self.ourselves.clone(),
            seed: self.random.seed(),
            protect: self.settings.protect,
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
        let entry = id.to_string();
        self.out.push_back(if &**key == LOCAL {
            let recipients = order.job.recipients.into_iter();
            Action::Deliver {
                attempt,
                entry,
                accounts: recipients.map(|recipient| recipient.address).collect(),
            }
        } else {
            Action::Attempt {
                attempt,
                entry,
                order: Box::new(order),
            }
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
        self.learn(&flight.key, &outcomes);
        let id = flight.entry;
        let mut outcomes = outcomes.into_iter();
        for number in flight.recipients {
            let outcome = outcomes.next().unwrap_or_else(|| {
                Outcome::Temporary(Report::ours(Enhanced(4, 3, 0), "the attempt was broken off"))
            });
            // What our own end has cut off was not tried: who goes on with the queue tries it at once.
            if !(self.shutdown && outcome.is_ours()) {
                self.apply(&id, number, outcome);
            }
        }
        self.settle(&id);
        self.tell_successes(&id);
        self.tell_delay(&id);
        self.watch_delay(&id);
        self.write(&id);
    }

    /// Whether somebody answers for a destination.
    fn learn(&mut self, key: &Arc<str>, outcomes: &[Outcome]) {
        let is_silent = |outcome: &Outcome| match outcome {
            Outcome::Temporary(report) => report.code.is_none() && report.enhanced.1 == 4,
            Outcome::Delivered(_) | Outcome::Permanent(_) => false,
        };
        if outcomes.is_empty() || !outcomes.iter().all(is_silent) {
            self.dead.remove(key);
        } else if self.dead.len() < MAX_DEAD {
            self.dead.insert(Arc::clone(key));
        }
    }

    fn apply(&mut self, id: &Arc<str>, number: u32, outcome: Outcome) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let has_sender = item.wants_notices();
        let outcome = match outcome {
            Outcome::Temporary(_) if item.doomed => Outcome::Permanent(command::removed()),
            outcome => outcome,
        };
        let Some(rcpt) = item.find_mut(number) else {
            return;
        };
        let delays = &self.settings.retry_delays;
        let next = rcpt.outcome(outcome.clone(), self.now, delays, &mut self.texts);
        let (entry, recipient) = (id.to_string(), rcpt.stored.address.to_string());
        let report = outcome.report().clone();
        let event = match next {
            Next::Delivered => {
                if has_sender && rcpt.stored.dsn().notify().success && !report.notifies {
                    rcpt.keep_success(&report);
                } else {
                    item.remove(number);
                }
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
            Action::Save(Box::new(item.entry(id)))
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

    /// New settings may send waiting recipients another way.
    fn reload(&mut self, settings: Settings) {
        self.settings = settings;
        let mut waited: BTreeMap<Arc<str>, Urgency> = BTreeMap::new();
        for ((urgency, _), ids) in core::mem::take(&mut self.ready) {
            for id in ids {
                // In their order: the first is the least.
                waited.entry(id).or_insert(urgency);
            }
        }
        let ready: Vec<(Arc<str>, u32)> = self
            .items
            .iter_mut()
            .flat_map(|(id, item)| item.unready().into_iter().map(|number| (Arc::clone(id), number)))
            .collect();
        for (id, number) in ready {
            self.make_ready(&id, number, waited.get(&id).copied());
        }
    }
}

impl Machine for Queue {
    type Input = Input;
    type Action = Action;

    fn handle_input(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Loading(entries) => self.load(entries, true),
            Input::Loaded(entries) => self.load(entries, false),
            Input::Added(entry) => self.add(entry),
            Input::Finished { attempt, outcomes } => self.finished(attempt, outcomes),
            Input::Bounced { bounce, stored } => self.bounced(bounce, stored),
            Input::Saved { entry, ok } => self.saved(&entry, ok),
            Input::Command { entry, command } => self.command(&entry, command),
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
