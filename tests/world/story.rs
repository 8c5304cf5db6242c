//! The record of a world: what was promised to whom, what arrived where, and what was wrong on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rmail_core::relay::entry::Entry;
use rmail_core::relay::queue::Event;

/// What a client wants to get rid of.
#[derive(Clone, Debug)]
pub struct Message {
    /// Names the message in its sender (`alice+t7@here.test`) and its Subject.
    pub token: String,
    pub sender: String,
    pub recipients: Vec<String>,
    /// What the sender wants to be told of each.
    pub wishes: Vec<Wish>,
    /// All that follows the header, as it has to arrive.
    pub body: String,
    /// Recipients for which a server has answered 250 to the final dot.
    pub promised: BTreeSet<String>,
    /// Final dots that were sent, and not answered with a refusal.
    pub dots: usize,
}

/// NOTIFY= (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing is said.
    Usual,
    Never,
    Success,
}

impl Wish {
    /// As it stands behind a recipient.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::Never => " NOTIFY=NEVER",
            Self::Success => " NOTIFY=SUCCESS,FAILURE",
        }
    }
}

/// A copy of a message, or a notice, where it ended.
#[derive(Clone, Debug)]
pub struct Copy {
    pub recipient: String,
    pub text: String,
}

/// What is known of a recipient that waits in the queue of a site.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Duration,
    attempts: u32,
}

#[derive(Clone, Debug, Default)]
struct Marks {
    latest: Option<Mark>,
    /// What the write that is out says, and the last that is done.
    saving: Option<Mark>,
    saved: Option<Mark>,
}

/// Site, entry, recipient.
type Key = (usize, String, String);

/// The record.
#[derive(Debug, Default)]
pub struct Story {
    pub messages: BTreeMap<String, Message>,
    /// What the sinks took.
    pub taken: Vec<Copy>,
    /// By token: connections that were lost between a final dot and its reply.
    pub uncertain: BTreeMap<String, usize>,
    /// Notices of these messages could not be delivered themselves.
    pub notices_lost: BTreeSet<String>,
    /// What was wrong.
    pub faults: Vec<String>,
    pub attempts: usize,
    pub notices: usize,
    marks: BTreeMap<Key, Marks>,
    flying: BTreeSet<Key>,
    /// Attempts that run, by site, and when there were last so many that others had to wait.
    running: BTreeMap<usize, usize>,
    crowded: BTreeMap<usize, Duration>,
    /// When the last attempt for a domain was over, by site.
    ended: BTreeMap<(usize, String), Duration>,
    crashed: BTreeMap<usize, Duration>,
    tokens: BTreeMap<String, (String, bool)>,
    /// Entries that an operator has a hand in: they go by no schedule.
    ordered: BTreeSet<String>,
}

/// So many attempts at once may keep others waiting.
const CROWD: usize = 5;

/// `t7` of `alice+t7@here.test`, wherever it stands first.
pub fn token_in(text: &str) -> Option<String> {
    text.match_indices("+t").find_map(|(at, _)| {
        let digits: String = text[at + 2..].chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then(|| format!("t{digits}"))
    })
}

/// How soon the next message for a destination is tried once the one before it is over.
const TURN: Duration = Duration::from_secs(1);

fn domain_of(recipient: &str) -> &str {
    recipient.rsplit_once('@').map_or(recipient, |(_, domain)| domain)
}

impl Story {
    pub fn fault(&mut self, what: String) {
        // One fault is often many.
        if self.faults.len() < 20 {
            self.faults.push(what);
        }
    }

    pub fn token_of(&self, entry: &str) -> Option<String> {
        self.tokens.get(entry).map(|(token, _)| token.clone())
    }

    /// An entry is known to a queue.
    pub fn learn(&mut self, entry: &Entry) {
        let first = entry.recipients.first().map(|to| to.address.clone());
        let token = token_in(&entry.sender).or_else(|| token_in(&first.unwrap_or_default()));
        let token = token.unwrap_or_default();
        self.tokens.insert(entry.id.clone(), (token, entry.is_notice()));
    }

    /// An entry for an operator.
    pub fn order(&mut self, draw: impl FnOnce(usize) -> usize) -> Option<String> {
        let count = self.tokens.len();
        let entry = self.tokens.keys().nth(draw(count.max(1)))?.clone();
        self.ordered.insert(entry.clone());
        Some(entry)
    }

    /// All that were for one.
    pub fn ordered(&self) -> Vec<String> {
        self.ordered.iter().cloned().collect()
    }

    /// An attempt begins at a site.
    pub fn begins(&mut self, site: usize, entry: &str, to: &[String], now: Duration, delays: &[u64]) {
        self.attempts += 1;
        let running = self.running.entry(site).or_default();
        *running += 1;
        if *running >= CROWD {
            self.crowded.insert(site, now);
        }
        let distinct: BTreeSet<&String> = to.iter().collect();
        if distinct.len() != to.len() {
            self.fault(format!("{entry}: a recipient twice in one transaction: {to:?}"));
        }
        for recipient in to {
            let key = (site, entry.to_owned(), recipient.clone());
            if !self.flying.insert(key.clone()) {
                self.fault(format!("{entry}: two attempts at once for {recipient}"));
            }
            let mark = self.marks.get(&key).and_then(|marks| marks.latest);
            let Some(mark) = mark.filter(|_| !self.ordered.contains(entry)) else {
                continue;
            };
            let delay = mark
                .attempts
                .checked_sub(1)
                .and_then(|at| delays.get(at as usize));
            let Some(delay) = delay.copied().map(Duration::from_secs) else {
                self.fault(format!("{entry}: attempt {} for {recipient}", mark.attempts + 1));
                continue;
            };
            let due = mark.at + delay;
            if now < due {
                self.fault(format!(
                    "{entry}: {recipient} is tried at {now:?}, due at {due:?}"
                ));
            }
            let excuse = |when: Option<&Duration>| when.is_some_and(|when| *when >= mark.at);
            // Where nobody answers one message at a time is tried: the others follow it at once.
            let before = self.ended.get(&(site, domain_of(recipient).to_owned()));
            let in_turn = before.is_some_and(|ended| *ended >= due && now <= *ended + TURN);
            let excused = in_turn || excuse(self.crowded.get(&site)) || excuse(self.crashed.get(&site));
            if now > due + delay / 10 && !excused {
                self.fault(format!(
                    "{entry}: {recipient} is tried at {now:?}, was due at {due:?}"
                ));
            }
        }
    }

    pub fn ends(&mut self, site: usize, entry: &str, to: &[String], now: Duration) {
        let running = self.running.entry(site).or_default();
        if *running >= CROWD {
            self.crowded.insert(site, now);
        }
        *running = running.saturating_sub(1);
        for recipient in to {
            self.ended.insert((site, domain_of(recipient).to_owned()), now);
            self.flying.remove(&(site, entry.to_owned(), recipient.clone()));
        }
    }

    pub fn event(&mut self, site: usize, event: &Event, now: Duration) {
        match event {
            Event::Deferred {
                entry,
                recipient,
                attempts,
                ..
            } => {
                let mark = Mark {
                    at: now,
                    attempts: *attempts,
                };
                let key = (site, entry.clone(), recipient.clone());
                self.marks.entry(key).or_default().latest = Some(mark);
            }
            Event::Failed { entry, .. } => {
                if let Some((token, true)) = self.tokens.get(entry) {
                    self.notices_lost.insert(token.clone());
                }
            }
            Event::Unnoticed { entry, .. } => self.fault(format!("{entry}: the sender is not told")),
            _ => {}
        }
    }

    pub fn saving(&mut self, site: usize, entry: &str) {
        for (_, marks) in self.of(site, entry) {
            marks.saving = marks.latest;
        }
    }

    pub fn saved(&mut self, site: usize, entry: &str, ok: bool) {
        for (_, marks) in self.of(site, entry) {
            if ok {
                marks.saved = marks.saving;
            }
        }
    }

    fn of<'a>(
        &'a mut self,
        site: usize,
        entry: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a mut Marks)> + 'a {
        self.marks
            .iter_mut()
            .filter(move |((of, id, _), _)| *of == site && id == entry)
    }

    /// A process of a site ends: what is not on disk may be forgotten.
    pub fn crash(&mut self, site: usize, now: Duration) {
        self.crashed.insert(site, now);
        self.running.insert(site, 0);
        self.flying.retain(|(of, ..)| *of != site);
        for ((of, ..), marks) in &mut self.marks {
            if *of == site {
                marks.latest = marks.saved;
            }
        }
    }
}
