//! One attempt to deliver a message to the recipients of one next hop, as a machine that decides everything: which host
//! and address is next, whether to try without TLS, what each outcome means. The host of the machine only connects.
//!
//! * [`Action::Query`]: ask the resolver; its answer is [`Input::Answer`]. Several may be out at the same time.
//! * [`Action::Connect`]: connect within [`Connect::timeout`] (with [`TlsPolicy::Implicit`] the handshake included), run
//!   a [`crate::smtp::client::Session`] to its end, feed its outcome as [`Input::Session`]; if there was no connection,
//!   [`Input::NoConnection`] with the error in words. One connection at a time. [`super::hosts::Hosts`] does so over
//!   connections that are kept.
//! * [`Action::Policy`]: ask what MTA-STS policy the domain has; the answer is [`Input::Policy`].
//! * [`Action::Counted`]: something for TLS reports.
//! * [`Action::Done`]: the outcomes, in the order of [`Order::job`]'s recipients. Nothing follows.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::outcome::{Enhanced, Outcome, Report};
use super::route::{Route, TlsPolicy};
use super::tls::guard::{Guard, Step};
use super::tls::report::Event;
use super::tls::sts::Verdict;
use super::tls::{Encryption, Protect, Trust};
use crate::addr::Domain;
use crate::dns::mx::{Failure, Host, Lookup, Ourselves};
use crate::dns::{Answer, DnsError, Question};
use crate::machine::Machine;
use crate::smtp::client::{self, End, TOO_MANY};
use crate::time::{Mono, Now};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections of one attempt.
const MAX_CONNECTIONS: usize = 40;

/// Octets of what is told of the addresses that were tried in vain.
const MAX_TRIED: usize = 400;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which way.
    pub route: Route,
    /// The message, with the recipients that go this way.
    pub job: client::Job,
    /// Our FQDN.
    pub hostname: String,
    /// How to know ourselves among MX hosts.
    pub ourselves: Ourselves,
    /// Decides the order of MX hosts of the same preference.
    pub seed: [u8; 32],
    /// What may ask for more TLS than the route does.
    pub protect: Protect,
}

/// A connection to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Where to.
    pub address: SocketAddr,
    /// How long it may take.
    pub timeout: Duration,
    /// For the session: [`client::Settings::tls`], [`client::Settings::trust`] and [`client::Settings::server`] tell what
    /// TLS must verify.
    pub settings: client::Settings,
    /// For the session: the message and the recipients that are still open.
    pub job: client::Job,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The answer of the resolver.
    Answer {
        /// To this question.
        question: Question,
        /// What it says.
        result: Result<Answer, DnsError>,
    },
    /// There was no connection.
    NoConnection(String),
    /// The session is over.
    Session(client::Outcome),
    /// The answer to [`Action::Policy`].
    Policy(Verdict),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the resolver.
    Query(Question),
    /// Ask what MTA-STS policy holds for the domain.
    Policy(Domain),
    /// Count this for TLS reports.
    Counted(Box<Event>),
    /// Connect and run a session.
    Connect(Box<Connect>),
    /// The end: one outcome for each recipient.
    Done(Vec<Outcome>),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Attempt {
    order: Order,
    lookup: Option<Lookup>,
    /// What TLS each host needs.
    guard: Guard,
    /// Addresses of the host that the guard looks at.
    guarded: VecDeque<SocketAddr>,
    /// Why the handshake of the present connection failed.
    fault: Option<String>,
    /// Hosts that were not tried, best first.
    hosts: VecDeque<Host>,
    /// The host being tried, and its addresses that were not.
    host: String,
    addresses: VecDeque<SocketAddr>,
    /// The address being tried.
    current: Option<SocketAddr>,
    /// What is known of each recipient of the order.
    outcomes: Vec<Option<Outcome>>,
    /// Recipients of the session that runs, by their place in the order.
    asked: Vec<usize>,
    connections: usize,
    /// What was tried in vain before, in words.
    tried: String,
    finished: bool,
    out: VecDeque<Action>,
}

impl Attempt {
    /// Begins.
    #[must_use]
    pub fn new(order: Order) -> Self {
        let lookup = match &order.route {
            Route::Target(target) => Lookup::host(&target.host),
            Route::Mx { domain, .. } => Lookup::mx(domain, order.ourselves.clone(), order.seed),
        };
        let mut attempt = Self {
            outcomes: vec![None; order.job.recipients.len()],
            guard: Guard::new(&order.route, &order.job, order.protect),
            guarded: VecDeque::new(),
            fault: None,
            order,
            lookup: Some(lookup),
            hosts: VecDeque::new(),
            host: String::new(),
            addresses: VecDeque::new(),
            current: None,
            asked: Vec::new(),
            connections: 0,
            tried: String::new(),
            finished: false,
            out: VecDeque::new(),
        };
        attempt.look_up();
        attempt
    }

    /// Asks what is to be asked, or begins with the hosts found.
    fn look_up(&mut self) {
        let Some(lookup) = self.lookup.as_mut() else {
            return;
        };
        while let Some(question) = lookup.poll() {
            self.out.push_back(Action::Query(question));
        }
        let Some(result) = lookup.result().cloned() else {
            return;
        };
        self.lookup = None;
        match result {
            Ok(plan) => {
                self.guard.plan(&plan);
                self.hosts = plan.hosts.into();
                self.next_address();
            }
            Err(failure) => {
                let outcome = self.no_plan(failure);
                self.finish(&outcome);
            }
        }
    }

    /// A named host that is not found is a fault of the configuration: mail waits for it to be mended.
    fn no_plan(&self, failure: Failure) -> Outcome {
        let (enhanced, text) = describe(&failure);
        let permanent = !matches!(failure, Failure::Temporary(_));
        match &self.order.route {
            Route::Target(target) => {
                let text = format!("relay host {}: {text}", target.host);
                let report = Report::ours(enhanced.with_class(4), text);
                Outcome::Temporary(if permanent { report.severe() } else { report })
            }
            Route::Mx { domain, .. } => {
                let report = Report::ours(enhanced, format!("{domain}: {text}"));
                if permanent {
                    Outcome::Permanent(report)
                } else {
                    Outcome::Temporary(report)
                }
            }
        }
    }

    fn port(&self) -> u16 {
        match &self.order.route {
            Route::Target(target) => target.port,
            Route::Mx { port, .. } => *port,
        }
    }

    /// Asks what is to be known of the host before it is connected to. False: an answer is waited for.
    fn pass_guard(&mut self) -> bool {
        let step = self.guard.poll();
        self.tell();
        match step {
            Step::Query(question) => self.out.push_back(Action::Query(question)),
            Step::Policy(domain) => self.out.push_back(Action::Policy(domain)),
            Step::Wait => {}
            Step::Go => {
                self.addresses = core::mem::take(&mut self.guarded);
                return true;
            }
            Step::Refuse(report) => {
                self.guarded.clear();
                for n in 0..self.outcomes.len() {
                    if self.is_open(n) {
                        self.note(n, Outcome::Temporary(report.clone()));
                    }
                }
                return true;
            }
        }
        false
    }

    fn tell(&mut self) {
        let events = self.guard.take_events().into_iter().map(Box::new);
        self.out.extend(events.map(Action::Counted));
    }

    /// After an answer to the guard.
    fn go_on(&mut self) {
        if !self.finished && self.pass_guard() {
            self.next_address();
        }
    }

    fn next_address(&mut self) {
        let port = self.port();
        loop {
            if let Some(address) = self.addresses.pop_front() {
                let tls = self.guard.terms().tls;
                let open = (0..self.outcomes.len()).filter(|n| self.is_open(*n)).collect();
                self.connect(address, tls, open);
                return;
            }
            let Some(host) = self.hosts.pop_front() else {
                break;
            };
            self.guard.begin(&host);
            self.host = host.name;
            let address = |ip| SocketAddr::new(ip, port);
            self.guarded = host.addresses.into_iter().map(address).collect();
            if !self.pass_guard() {
                return;
            }
        }
        self.finish(&Outcome::Temporary(Report::ours(
            Enhanced(4, 4, 1),
            "no host answers",
        )));
    }

    /// Asks for these recipients, by their place in the order.
    fn connect(&mut self, address: SocketAddr, tls: TlsPolicy, recipients: Vec<usize>) {
        self.asked = recipients;
        if self.asked.is_empty() || self.connections >= MAX_CONNECTIONS {
            let text = "too many connections for one attempt";
            self.finish(&Outcome::Temporary(Report::ours(Enhanced(4, 4, 1), text)));
            return;
        }
        self.connections += 1;
        self.current = Some(address);
        self.fault = None;
        let all = &self.order.job.recipients;
        let job = client::Job {
            recipients: self.asked.iter().filter_map(|n| all.get(*n).cloned()).collect(),
            ..self.order.job.clone()
        };
        let credentials = match &self.order.route {
            Route::Target(target) => target.credentials.clone(),
            Route::Mx { .. } => None,
        };
        let settings = client::Settings {
            hostname: self.order.hostname.clone(),
            server: self.host.clone(),
            tls,
            credentials,
            trust: if tls == TlsPolicy::None {
                Trust::Roots
            } else {
                self.guard.terms().trust.clone()
            },
        };
        self.out.push_back(Action::Connect(Box::new(Connect {
            address,
            timeout: CONNECT_TIMEOUT,
            settings,
            job,
        })));
    }

    fn is_open(&self, n: usize) -> bool {
        self.outcomes
            .get(n)
            .is_some_and(|known| known.as_ref().is_none_or(|known| !known.is_final()))
    }

    fn no_connection(&mut self, why: &str) {
        let Some(address) = self.current.take() else {
            return;
        };
        let text = format!("connect to {} ({address}): {why}{}", self.host, self.before());
        let report = Report::ours(Enhanced(4, 4, 1), text).at(&self.host);
        self.remember(address, why);
        for n in core::mem::take(&mut self.asked) {
            self.note(n, Outcome::Temporary(report.clone()));
        }
        self.next_address();
    }

    /// What was tried before this, for a report that would else tell of one address alone.
    fn before(&self) -> String {
        if self.tried.is_empty() {
            return String::new();
        }
        format!("; before that: {}", self.tried)
    }

    fn remember(&mut self, address: SocketAddr, why: &str) {
        const MORE: &str = ", and more";
        if self.tried.ends_with(MORE) {
            return;
        }
        let next = format!("{} ({address}): {why}", self.host);
        if self.tried.len() + next.len() > MAX_TRIED {
            self.tried.push_str(MORE);
            return;
        }
        if !self.tried.is_empty() {
            self.tried.push_str(", ");
        }
        self.tried.push_str(&next);
    }

    /// A session that broke off without a word of the server about the recipient.
    fn with_before(&self, end: End, mut outcome: Outcome) -> Outcome {
        if let Outcome::Temporary(report) = &mut outcome
            && end == End::NextHost
            && report.code.is_none()
            && report.enhanced.0 == 4
        {
            report.text.push_str(&self.before());
        }
        outcome
    }

    fn session_over(&mut self, outcome: client::Outcome) {
        let Some(address) = self.current.take() else {
            return;
        };
        let asked = core::mem::take(&mut self.asked);
        let client::Outcome { recipients, end, tls } = outcome;
        self.on_tls(tls.as_ref(), address);
        let delivered = recipients
            .iter()
            .any(|result| matches!(result, Outcome::Delivered(_)));
        // RFC 5321 §4.5.3.1.10, RFC 9422 §4.1: the rest goes in a further transaction, without those who were answered.
        // Each takes somebody along: one who was delivered to, or at least one who was asked for and had been left out.
        let asked_for = asked.len();
        let left_out: Vec<usize> = asked
            .iter()
            .zip(&recipients)
            .filter(|(_, result)| is_unasked(result) || (delivered && is_too_many(result)))
            .map(|(n, _)| *n)
            .collect();
        let why = recipients.iter().find(|result| !result.is_final());
        let why = why.map(|result| result.report().to_string());
        for (n, result) in asked.iter().zip(recipients) {
            self.note(*n, self.with_before(end, self.explained(result)));
        }
        if let (End::NextHost, Some(why)) = (end, why) {
            self.remember(address, &why);
        }
        let open = (0..self.outcomes.len()).any(|n| self.is_open(n));
        let tls = self.guard.terms().tls;
        match end {
            _ if !open => self.finish_now(),
            End::Complete if !left_out.is_empty() && left_out.len() < asked_for => {
                self.connect(address, tls, left_out);
            }
            End::RetryWithoutTls => {
                let open = asked.into_iter().filter(|n| self.is_open(*n)).collect();
                self.connect(address, TlsPolicy::None, open);
            }
            End::Complete => {
                // The server itself has spoken: its other addresses would say the same.
                self.addresses.clear();
                self.next_address();
            }
            End::NextHost => self.next_address(),
            // The message was not tried yet.
            End::Stale => {
                let open = asked.into_iter().filter(|n| self.is_open(*n)).collect();
                self.connect(address, tls, open);
            }
            End::Uncertain | End::Ours => self.finish_now(),
        }
    }

    /// What came of TLS on a new connection.
    fn on_tls(&mut self, tls: Option<&Encryption>, address: SocketAddr) {
        if let Some(tls) = tls {
            self.guard.seen(tls, address);
            self.tell();
        }
        if let Some(Encryption::Failed(fault)) = tls {
            self.fault = Some(fault.text.clone());
        }
    }

    /// With the reason why the handshake failed, which the session does not know.
    fn explained(&self, outcome: Outcome) -> Outcome {
        match (outcome, &self.fault) {
            (Outcome::Temporary(mut report), Some(why))
                if report.code.is_none() && !report.text.contains(why) =>
            {
                report.text = format!("{}: {why}", report.text);
                Outcome::Temporary(report)
            }
            (outcome, _) => outcome,
        }
    }

    /// Keeps what a server said; that there was no connection does not replace it.
    fn note(&mut self, n: usize, outcome: Outcome) {
        if let Some(known) = self.outcomes.get_mut(n) {
            let said = |outcome: &Outcome| outcome.report().code.is_some();
            let keep = known.as_ref().is_some_and(said) && !outcome.is_final() && !said(&outcome);
            if !keep {
                *known = Some(outcome);
            }
        }
    }

    fn finish_now(&mut self) {
        self.finish(&Outcome::Temporary(Report::ours(Enhanced(4, 4, 0), "not tried")));
    }

    /// Done; `rest` for recipients of whom nothing is known.
    fn finish(&mut self, rest: &Outcome) {
        if !self.finished {
            self.finished = true;
            let outcomes = core::mem::take(&mut self.outcomes);
            let known = |outcome: Option<Outcome>| no_host_does(outcome.unwrap_or_else(|| rest.clone()));
            self.out
                .push_back(Action::Done(outcomes.into_iter().map(known).collect()));
        }
    }
}

impl Machine for Attempt {
    type Input = Input;
    type Action = Action;

    fn handle_input(&mut self, _now: Now, input: Input) {
        match input {
            Input::Answer { question, result } => {
                if let Some(lookup) = self.lookup.as_mut() {
                    lookup.answer(&question, result);
                    self.look_up();
                } else if self.guard.answer(&question, &result) {
                    self.go_on();
                }
            }
            Input::NoConnection(why) => self.no_connection(&why),
            Input::Session(outcome) => self.session_over(outcome),
            Input::Policy(verdict) => {
                if self.guard.policy(verdict) {
                    self.go_on();
                }
            }
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    /// None: resolver and session have the timers.
    fn poll_timeout(&self) -> Option<Mono> {
        None
    }
}

/// What one host could not, another might have; now none is left (RFC 8689 §4.2.1).
fn no_host_does(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Temporary(report) if report.code.is_none() && report.enhanced.0 == 5 => {
            Outcome::Permanent(report)
        }
        other => other,
    }
}

/// 452 to RCPT (or 552, which is taken for it): the transaction is full.
fn is_too_many(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Temporary(report)
        if matches!(report.code, Some(452 | 552)) && report.enhanced.1 != 2 && report.enhanced.1 != 3)
}

/// The recipient was not asked for: the transaction was full by the LIMITS of the server.
fn is_unasked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Temporary(report) if report.code.is_none() && report.enhanced == TOO_MANY)
}

fn describe(failure: &Failure) -> (Enhanced, String) {
    match failure {
        Failure::NoSuchDomain => (Enhanced(5, 1, 2), "no such domain, or it takes no mail".into()),
        // RFC 7505 §4.
        Failure::NullMx => (Enhanced(5, 1, 10), "the domain takes no mail (null MX)".into()),
        Failure::OnlyOurselves => (
            Enhanced(5, 4, 6),
            "its mail comes back to this server, which does not host it".into(),
        ),
        Failure::NoAddresses => (Enhanced(5, 4, 4), "none of its mail hosts has an address".into()),
        Failure::Temporary(error) => (Enhanced(4, 4, 3), error.to_string()),
    }
}
