//! Finding and keeping MTA-STS policies (RFC 8461 §3.3, §5.1), as a machine.
//!
//! The host performs the actions: it reads and writes what is kept on disk, asks the resolver, fetches policies over HTTPS.
//! Exactly one [`Action::Answer`] follows each [`Input::Ask`]. Memory is bounded by [`Policies::new`]'s capacity and by
//! whoever asks.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::policy::{self, Mode, Policy};
use super::{Fault, FaultKind};
use crate::addr::Domain;
use crate::dns::{Answer, DnsError, Kind, Name, Question};
use crate::machine::Machine;
use crate::time::{Mono, Now};

/// After a fetch that failed the next is not tried before this; it doubles with each failure ("five minutes or longer",
/// RFC 8461 §3.3).
const BACK_OFF: Duration = Duration::from_secs(300);
/// But is not longer than this.
const MAX_BACK_OFF: Duration = Duration::from_secs(3600);
/// A policy older than this is fetched again in good time, so that one that goes on does not run out (RFC 8461 §3.3).
const REFRESH: u64 = 86_400;

/// Joins a question and its answer. Chosen by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What is kept of a domain, in memory and on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Id of the record under which it was fetched.
    pub id: String,
    /// When, seconds since 1970.
    pub fetched: u64,
    /// The policy.
    pub policy: Policy,
}

impl Stored {
    /// Whether it still holds. One from the future does not: a clock was wrong.
    fn holds(&self, unix: u64) -> bool {
        let age = unix.checked_sub(self.fetched);
        age.is_some_and(|age| age < self.policy.max_age)
    }
}

/// What holds for a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// There is no policy.
    #[default]
    None,
    /// It is announced, but is not to be had: mail goes as if there were none (RFC 8461 §3.3), and the domain hears of it.
    Failed(Fault),
    /// This one; its mode is not [`Mode::None`].
    Policy(Arc<Policy>),
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody has mail for the domain.
    Ask {
        /// Comes back with the answer.
        ask: AskId,
        /// The domain.
        domain: Domain,
    },
    /// What is kept on disk; none if nothing is, or it cannot be read.
    Loaded(Domain, Option<Box<Stored>>),
    /// What the resolver says to [`Action::Query`].
    Record(Domain, Result<Answer, DnsError>),
    /// The body of the policy, or why there is none.
    Fetched(Domain, Result<Vec<u8>, Fault>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read what is kept on disk: [`Input::Loaded`].
    Load(Domain),
    /// Ask the resolver: [`Input::Record`].
    Query(Domain, Question),
    /// GET `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` within a minute, the certificate verified, no redirection
    /// followed, at most [`policy::MAX_POLICY`] octets of `text/plain`: [`Input::Fetched`].
    Fetch(Domain),
    /// Keep this on disk.
    Save(Domain, Box<Stored>),
    /// The answer.
    Answer {
        /// As given with the question.
        ask: AskId,
        /// What holds.
        verdict: Verdict,
    },
}

/// The machine.
#[derive(Debug)]
pub struct Policies {
    known: BTreeMap<Domain, Known>,
    capacity: usize,
    uses: u64,
    out: VecDeque<Action>,
}

#[derive(Debug, Default)]
struct Known {
    stored: Option<Box<Stored>>,
    loaded: bool,
    step: Step,
    waiters: Vec<AskId>,
    /// Fetches that failed one after another, when the next may be, and why the last failed.
    failures: u32,
    not_before: Mono,
    fault: Option<Fault>,
    used: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Rest,
    Load,
    Query,
    /// Under this id.
    Fetch(String),
}

impl Policies {
    /// Nothing is known yet. `capacity`: domains that are kept in memory.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            capacity,
            uses: 0,
            out: VecDeque::new(),
        }
    }

    fn ask(&mut self, now: Now, ask: AskId, domain: Domain) {
        let Some(question) = question(&domain) else {
            let verdict = Verdict::None;
            self.out.push_back(Action::Answer { ask, verdict });
            return;
        };
        self.make_room(&domain);
        self.uses += 1;
        let known = self.known.entry(domain.clone()).or_default();
        known.used = self.uses;
        match &known.step {
            // What holds needs not wait for what may come after it.
            Step::Fetch(_)
                if known.waiters.is_empty()
                    && known.stored.as_ref().is_some_and(|s| s.holds(now.unix.secs())) =>
            {
                let verdict = known.verdict(now);
                self.out.push_back(Action::Answer { ask, verdict });
            }
            Step::Rest if known.loaded => {
                known.waiters.push(ask);
                known.step = Step::Query;
                self.out.push_back(Action::Query(domain, question));
            }
            Step::Rest => {
                known.waiters.push(ask);
                known.step = Step::Load;
                self.out.push_back(Action::Load(domain));
            }
            _ => known.waiters.push(ask),
        }
    }

    /// Forgets the domain that was not asked for longest; what holds of it is on disk.
    fn make_room(&mut self, domain: &Domain) {
        if self.known.len() < self.capacity || self.known.contains_key(domain) {
            return;
        }
        let resting = self.known.iter().filter(|(_, known)| known.step == Step::Rest);
        if let Some((oldest, _)) = resting.min_by_key(|(_, known)| known.used) {
            let oldest = oldest.clone();
            self.known.remove(&oldest);
        }
    }

    fn loaded(&mut self, domain: Domain, stored: Option<Box<Stored>>) {
        let Some(known) = self
            .known
            .get_mut(&domain)
            .filter(|known| known.step == Step::Load)
        else {
            return;
        };
        known.loaded = true;
        known.stored = stored;
        known.step = Step::Query;
        if let Some(question) = question(&domain) {
            self.out.push_back(Action::Query(domain, question));
        }
    }

    fn record(&mut self, now: Now, domain: Domain, result: &Result<Answer, DnsError>) {
        let Some(known) = self
            .known
            .get_mut(&domain)
            .filter(|known| known.step == Step::Query)
        else {
            return;
        };
        known.step = Step::Rest;
        let unix = now.unix.secs();
        let id = result.as_ref().ok().and_then(policy::record_id);
        let holds = known.stored.as_ref().is_some_and(|stored| stored.holds(unix));
        let current = known.stored.as_ref().filter(|_| holds);
        let Some(id) = id else {
            // Without a record a policy that was kept holds on (RFC 8461 §3.3), and there is nothing to fetch.
            known.fault = None;
            self.answer(now, &domain);
            return;
        };
        let same = current.is_some_and(|stored| stored.id == id);
        let fresh = current.is_some_and(|stored| unix.saturating_sub(stored.fetched) < REFRESH);
        if !(same && fresh) && now.mono >= known.not_before {
            known.step = Step::Fetch(id);
            self.out.push_back(Action::Fetch(domain.clone()));
            if !same {
                return;
            }
        }
        self.answer(now, &domain);
    }

    fn fetched(&mut self, now: Now, domain: Domain, result: Result<Vec<u8>, Fault>) {
        let Some(known) = self.known.get_mut(&domain) else {
            return;
        };
        let Step::Fetch(id) = core::mem::take(&mut known.step) else {
            return;
        };
        let invalid = |why: &str| Fault::new(FaultKind::StsPolicyInvalid, why);
        match result.and_then(|body| Policy::parse(&body).map_err(invalid)) {
            Ok(policy) => {
                let fetched = now.unix.secs();
                let stored = Box::new(Stored { id, fetched, policy });
                known.stored = Some(stored.clone());
                (known.failures, known.fault, known.not_before) = (0, None, Mono::default());
                self.out.push_back(Action::Save(domain.clone(), stored));
            }
            Err(fault) => {
                let wait = BACK_OFF * 2_u32.saturating_pow(known.failures.min(8));
                known.not_before = now.mono + wait.min(MAX_BACK_OFF);
                known.failures += 1;
                known.fault = Some(fault);
            }
        }
        self.answer(now, &domain);
    }

    fn answer(&mut self, now: Now, domain: &Domain) {
        let Some(known) = self.known.get_mut(domain) else {
            return;
        };
        let verdict = known.verdict(now);
        for ask in core::mem::take(&mut known.waiters) {
            let verdict = verdict.clone();
            self.out.push_back(Action::Answer { ask, verdict });
        }
    }
}

impl Known {
    fn verdict(&self, now: Now) -> Verdict {
        match &self.stored {
            Some(stored) if stored.holds(now.unix.secs()) => match stored.policy.mode {
                Mode::None => Verdict::None,
                _ => Verdict::Policy(Arc::new(stored.policy.clone())),
            },
            _ => self.fault.clone().map_or(Verdict::None, Verdict::Failed),
        }
    }
}

fn question(domain: &Domain) -> Option<Question> {
    let name = Name::parse(&format!("_mta-sts.{}", Name::from_domain(domain)?))?;
    Some(Question {
        name,
        kind: Kind::Txt,
    })
}

impl Machine for Policies {
    type Input = Input;
    type Action = Action;

    fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Ask { ask, domain } => self.ask(now, ask, domain),
            Input::Loaded(domain, stored) => self.loaded(domain, stored),
            Input::Record(domain, result) => self.record(now, domain, &result),
            Input::Fetched(domain, result) => self.fetched(now, domain, result),
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    /// None: resolver and fetch have the timers.
    fn poll_timeout(&self) -> Option<Mono> {
        None
    }
}
