//! `rmail diagnose`: a live server is asked, over real connections, for all that it promises.
//!
//! What is looked at and what it means is in [`rmail_core::diagnose`]; here are the clients that ask, one file for each
//! phase, and the temporary user, which goes whatever happens: after a failure, Ctrl-C, SIGTERM or a panic of ours the last
//! phase runs all the same, and the next diagnosis removes what a kill has left.

mod api;
mod certificates;
mod cleanup;
mod configuration;
mod delivery;
mod disk;
mod http_client;
mod imap;
mod imap_client;
mod leavings;
mod mailboxes;
mod mark;
mod ports;
mod smtp;
mod smtp_client;
mod smtp_rules;
mod store;
mod submission;
mod sum;
mod transcripts;
mod users;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rmail_core::addr::AccountName;
use rmail_core::auth::token;
use rmail_core::config::Config;
use rmail_core::diagnose::{Asked, Check, Finding, Id, Outcome, Phase, Report, Service, Step, plan};
use rmail_core::directory::Hosting;
use rmail_store::accounts::Accounts;
use rmail_store::file::FileStore;

pub(crate) use wire::{Place, Stop};

use crate::clock;
use crate::disk::RealDisk;
use crate::tls::ClientTls;
use sum::Sum;
use wire::Wire;

/// How long the server may take to see what another process has changed.
const SEEN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// What subjects of our messages begin with; the mark follows.
const SUBJECT: &str = "rmail diagnose";
/// Where nobody is (RFC 6761 §6.4).
const NOWHERE: &str = "diagnose.invalid";

/// What is diagnosed.
pub(crate) struct Subject<'a> {
    /// The host's name, as its certificate should have it.
    pub(crate) name: String,
    /// Where its services are, at each of their addresses; those that are missing are switched off.
    pub(crate) places: BTreeMap<Service, Vec<Place>>,
    /// TLS is to be had.
    pub(crate) tls: bool,
    /// Only these phases; none named: all.
    pub(crate) phases: Vec<Phase>,
    /// An account of a remote server.
    pub(crate) login: Option<Login>,
    /// What there is of the server beside its ports.
    pub(crate) local: Option<Local<'a>>,
}

/// An account and its password.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) address: String,
    pub(crate) password: String,
}

/// What is known of a server of this host.
pub(crate) struct Local<'a> {
    pub(crate) config: &'a Config,
    /// What is doubtful in the configuration.
    pub(crate) warnings: Vec<String>,
    pub(crate) mail_root: PathBuf,
    /// It makes its certificate itself.
    pub(crate) self_signed: bool,
    /// Files whose first certificate a port may show.
    pub(crate) certificates: Vec<PathBuf>,
    /// Their keys.
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) token_key: Option<token::Key>,
    pub(crate) hosting: Hosting,
    /// The store, or why it could not be opened.
    pub(crate) files: Result<Files<'a>, String>,
    /// How the published records stand, if somebody wants to know; asks the name servers.
    pub(crate) records: Option<&'a Records<'a>>,
}

/// Finds out how the published records stand.
pub(crate) type Records<'a> = dyn Fn() -> Result<Vec<rmail_core::dns_records::Finding>, String> + 'a;

/// The store and the accounts of a server of this host.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(crate) accounts: &'a Accounts<RealDisk>,
    pub(crate) store: &'a FileStore<RealDisk>,
    /// Rounds of new hashes.
    pub(crate) rounds: u32,
}

/// What goes on.
pub(crate) enum Event<'e> {
    /// A phase begins.
    Phase(Phase),
    /// A phase is left out, and why.
    Skipped(Phase, &'e str),
    /// This is being looked at.
    Looking(&'static Check),
    /// This was found.
    Found(&'e Finding),
}

/// Why a check did not hold.
#[derive(Debug)]
struct Trouble(Outcome);

type Checked<T> = Result<T, Trouble>;

impl Trouble {
    fn broken(expected: impl Display, came: impl Display) -> Self {
        Self(Outcome::Broken {
            expected: expected.to_string(),
            came: came.to_string(),
        })
    }

    fn chosen(what: impl Display) -> Self {
        Self(Outcome::Chosen(what.to_string()))
    }

    fn skipped(why: impl Display) -> Self {
        Self(Outcome::Skipped(why.to_string()))
    }
}

impl From<rmail_store::Error> for Trouble {
    fn from(error: rmail_store::Error) -> Self {
        Self::broken("no error of the store", error)
    }
}

impl From<rmail_store::accounts::AccountError> for Trouble {
    fn from(error: rmail_store::accounts::AccountError) -> Self {
        Self::broken("no error of the accounts", error)
    }
}

/// It holds, or these two differ.
fn ensure(holds: bool, expected: impl Display, came: impl Display) -> Checked<()> {
    if holds {
        return Ok(());
    }
    Err(Trouble::broken(expected, came))
}

/// A message that was sent.
#[derive(Clone, Debug)]
struct Letter {
    /// Of its subject: nobody else has it.
    mark: String,
    /// On which way.
    way: &'static str,
}

/// A diagnosis on its way.
struct Run<'a> {
    subject: &'a Subject<'a>,
    /// As the subject has them, by their addresses.
    places: BTreeMap<Service, Vec<Place>>,
    tls: ClientTls,
    stop: Stop,
    report: Report,
    tell: &'a mut dyn FnMut(Event<'_>),
    /// Who logs in: the temporary user, or the account that was given.
    login: Option<Login>,
    /// The temporary user.
    temporary: Option<AccountName>,
    /// Users of transcripts that are there still.
    players: Vec<AccountName>,
    /// What nobody else has in names.
    mark: String,
    letters: Vec<Letter>,
    /// Something may have been made in the account that logs in.
    touched: bool,
    /// Ids of messages that were put into the queue.
    queued: Vec<String>,
    /// A message was put there, or not: its id was not heard.
    unheard: bool,
    /// Names of aliases that were made, or may have been.
    aliases: Vec<String>,
    /// The temporary user was locked out.
    locked_out: bool,
}

/// Diagnoses. `tell` hears of each step when it is done.
///
/// # Panics
/// If one of our checks does, after all is cleaned up.
pub(crate) fn run(subject: &Subject<'_>, stop: &Stop, tell: &mut dyn FnMut(Event<'_>)) -> Report {
    let mut run = Run {
        subject,
        places: places(subject, stop),
        tls: ClientTls::default(),
        stop: stop.clone(),
        report: Report::default(),
        tell,
        login: subject.login.clone(),
        temporary: None,
        players: Vec::new(),
        mark: mark::new(clock::unix()),
        letters: Vec::new(),
        touched: false,
        queued: Vec::new(),
        unheard: false,
        aliases: Vec::new(),
        locked_out: false,
    };
    let local = subject.local.as_ref().is_some_and(|local| local.files.is_ok());
    let steps = plan(&Asked {
        phases: subject.phases.clone(),
        local,
        login: local || subject.login.is_some(),
    });
    let worked = catch_unwind(AssertUnwindSafe(|| {
        for (phase, step) in steps {
            if phase != Phase::Cleanup && !run.stop.is_set() {
                run.phase(phase, step);
            }
        }
    }));
    // Whoever wants it to end wants it clean all the same.
    run.stop = Stop::default();
    (run.tell)(Event::Phase(Phase::Cleanup));
    cleanup::run(&mut run);
    match worked {
        Ok(()) => {
            if !stop.is_set() {
                run.report.note_empty(&subject.phases);
            }
            run.report
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// Where the services are, by address. Names are asked for once each.
fn places(subject: &Subject<'_>, stop: &Stop) -> BTreeMap<Service, Vec<Place>> {
    let mut known: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (service, given) in &subject.places {
        let all: &mut Vec<Place> = places.entry(*service).or_default();
        for place in given {
            let found = known.entry(&place.host);
            let found = found.or_insert_with(|| wire::resolved(place, stop));
            all.extend(found.iter().map(|one| Place {
                host: one.host.clone(),
                port: place.port,
            }));
        }
    }
    places
}

/// A report about a configuration that cannot be used.
pub(crate) fn unusable(came: &str, tell: &mut dyn FnMut(Event<'_>)) -> Report {
    let outcome = Outcome::Broken {
        expected: "a configuration without mistakes".to_owned(),
        came: came.to_owned(),
    };
    let finding = Finding::new(Id::ConfigLoads, outcome, Duration::ZERO);
    tell(Event::Phase(Phase::Configuration));
    tell(Event::Found(&finding));
    let mut report = Report::default();
    report.findings.push(finding);
    for phase in Phase::ALL.into_iter().skip(1) {
        const WHY: &str = "it needs a configuration that can be used";
        tell(Event::Skipped(phase, WHY));
        report.skip(phase, false, WHY);
    }
    report
}

impl<'a> Run<'a> {
    fn phase(&mut self, phase: Phase, step: Step) {
        match step {
            Step::Not => return,
            Step::Skip(why) => return self.skip(phase, why),
            Step::Run => {}
        }
        let make = phase != Phase::Configuration && self.files().is_some() && self.temporary.is_none();
        if make {
            (self.tell)(Event::Phase(Phase::Users));
            users::make(self);
        }
        if self.login.is_none()
            && matches!(phase, Phase::Users | Phase::Store | Phase::Delivery | Phase::Imap)
        {
            return self.skip(phase, "there is no account to do it with");
        }
        if !(make && phase == Phase::Users) {
            (self.tell)(Event::Phase(phase));
        }
        self.touched |= self.login.is_some() && phase != Phase::Configuration;
        match phase {
            Phase::Configuration => configuration::run(self),
            Phase::Users => users::run(self),
            Phase::Store => store::run(self),
            Phase::Smtp => smtp::run(self),
            Phase::Delivery => delivery::run(self),
            Phase::Imap => imap::run(self),
            Phase::Api => api::run(self),
            Phase::Cleanup => {}
        }
    }

    fn skip(&mut self, phase: Phase, why: &str) {
        (self.tell)(Event::Skipped(phase, why));
        self.report.skip(phase, self.subject.phases.contains(&phase), why);
    }

    /// Does one check, and notes what came of it; what it gave, if it held. After Ctrl-C nothing is begun any more.
    fn check<T>(&mut self, id: Id, work: impl FnOnce(&mut Self) -> Checked<T>) -> Option<T> {
        if self.stop.is_set() {
            return None;
        }
        (self.tell)(Event::Looking(id.check()));
        let begun = Instant::now();
        let (outcome, value) = match work(self) {
            Ok(value) => (Outcome::Holds, Some(value)),
            Err(Trouble(outcome)) => (outcome, None),
        };
        if self.stop.is_set() {
            return None;
        }
        let finding = Finding::new(id, outcome, begun.elapsed());
        (self.tell)(Event::Found(&finding));
        self.report.findings.push(finding);
        value
    }

    fn local(&self) -> Option<&'a Local<'a>> {
        self.subject.local.as_ref()
    }

    fn files(&self) -> Option<Files<'a>> {
        self.local().and_then(|local| local.files.as_ref().ok()).copied()
    }

    /// A connection to the first of its addresses that takes one.
    fn connect(&self, service: Service) -> Checked<Wire> {
        let mut first = None;
        for place in self.places(service)? {
            match Wire::connect(place, &self.stop) {
                Ok(wire) => return Ok(wire),
                Err(lost) => {
                    first.get_or_insert(lost);
                }
            }
        }
        let none = || Trouble::skipped(format!("{} has no address", service.name()));
        Err(first.map_or_else(none, Trouble::from))
    }

    /// The addresses of a service.
    fn places(&self, service: Service) -> Checked<&[Place]> {
        let places = self.places.get(&service).filter(|places| !places.is_empty());
        places
            .map(Vec::as_slice)
            .ok_or_else(|| Trouble::skipped(format!("{} is switched off", service.name())))
    }

    /// Does the same at each address of a service: they may lead to different programs, or hosts.
    fn at_each(&self, service: Service, mut work: impl FnMut(&Place) -> Checked<()>) -> Checked<()> {
        let places = self.places(service)?;
        let mut sum = Sum::default();
        for place in places {
            let whose = match places {
                [_] => String::new(),
                _ => place.to_string(),
            };
            sum.add(&whose, work(place));
        }
        sum.result()
    }

    /// The first of these that is switched on.
    fn first_of(&self, services: &[Service]) -> Checked<Service> {
        let found = services.iter().find(|service| self.places(**service).is_ok());
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = services.iter().map(|service| service.name()).collect();
            Trouble::skipped(format!("{} are switched off", names.join(" and ")))
        })
    }

    fn imap_service(&self) -> Checked<Service> {
        self.first_of(&[Service::Imaps, Service::Imap])
    }

    fn api_service(&self) -> Checked<Service> {
        self.first_of(&[Service::ApiSecure, Service::Api])
    }

    fn login(&self) -> Checked<Login> {
        self.login
            .clone()
            .ok_or_else(|| Trouble::skipped("there is no account to do it with"))
    }

    /// The domain of who logs in; without one, of the server.
    fn domain(&self) -> String {
        let login = self
            .login
            .as_ref()
            .and_then(|login| login.address.rsplit_once('@'));
        let hosted = || {
            let local = self.local()?;
            Some(local.config.domains.first()?.to_string())
        };
        login
            .map(|(_, domain)| domain.to_owned())
            .or_else(hosted)
            .unwrap_or_else(|| self.subject.name.clone())
    }

    /// Whether the server lets whoever comes from here do what strangers may not.
    fn is_trusted(&self) -> bool {
        let networks = self.local().map(|local| &local.config.limits.trusted_networks);
        networks.is_some_and(|networks| networks.iter().any(|network| self.comes_from(network)))
    }

    /// Whether it is meant that passwords are taken in clear text from here.
    fn may_send_cleartext(&self) -> bool {
        let networks = self.local().map(|local| &local.config.auth.cleartext_networks);
        networks.is_some_and(|networks| networks.iter().any(|network| self.comes_from(network)))
    }

    /// We speak to a server of this host from the address that it has.
    fn comes_from(&self, network: &rmail_core::config::Network) -> bool {
        let hosts = self.places.values().flatten();
        let mut addresses = hosts.filter_map(|place| place.host.parse().ok());
        addresses.any(|address| network.contains(address))
    }

    /// Looks again and again until it holds, as long as a server may take to see a change.
    fn until(&self, mut work: impl FnMut() -> Checked<()>) -> Checked<()> {
        let begun = Instant::now();
        loop {
            match work() {
                Err(Trouble(Outcome::Broken { .. })) if begun.elapsed() < SEEN && !self.stop.is_set() => {
                    std::thread::sleep(LOOK);
                }
                done => return done,
            }
        }
    }

    /// A text message to who logs in, which no other is like.
    fn letter(&self, from: &str, to: &str, way: &'static str) -> (Letter, String) {
        let letter = Letter {
            mark: format!("{}-{}", self.mark, mark::random(12)),
            way,
        };
        let text = message(from, to, &letter.mark, &letter_body(&letter.mark));
        (letter, text)
    }
}

/// Its text, of which nothing may be lost: a line that begins with a dot would be stuffed, and has no business here.
fn letter_body(mark: &str) -> String {
    format!("This message was made by `rmail diagnose` and goes by itself.\r\n\r\n  {mark}\r\n")
}

fn message(from: &str, to: &str, subject: &str, body: &str) -> String {
    let now = i64::try_from(clock::unix().secs()).unwrap_or_default();
    let mut stamp = Vec::new();
    rmail_core::text::date::write_header_date(&mut stamp, rmail_core::time::DateTime { unix: now, zone: 0 });
    let stamp = String::from_utf8_lossy(&stamp).into_owned();
    format!(
        "From: {from}\r\nTo: {to}\r\nDate: {stamp}\r\nMessage-ID: <{subject}@{NOWHERE}>\r\nSubject: {SUBJECT} {subject}\r\n\r\n{body}"
    )
}
