//! The relay of the stage: the machines of the queue. What they send goes to servers whose side a transcript has
//! (`@session relay`), what they look up comes from `@given dns` and `@given policy`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_lite::future::block_on;
use rmail_core::addr::Domain;
use rmail_core::dns::Name;
use rmail_core::dns::mx::Ourselves;
use rmail_core::machine::Machine as _;
use rmail_core::random::Random;
use rmail_core::relay::attempt::{self, Attempt, Connect};
use rmail_core::relay::bounce::{self, Notice};
use rmail_core::relay::entry::Entry;
use rmail_core::relay::queue::{self, AttemptId, Queue};
use rmail_core::relay::tls::sts::{self, AskId, Policies};
use rmail_core::relay::tls::{Encryption, Fault, FaultKind, Protect, Trust};
use rmail_core::relay::{Settings, Target};
use rmail_core::smtp::client;
use rmail_core::time::{Mono, Now};

use super::connect::Options;
use super::dns::Zone;
use super::{Running, World, outgoing};
use crate::host::{Connection, Event};
use crate::transcript::{Opening, Transcript, unescape};

/// Rounds of the machines before there is nothing to do.
const MAX_ROUNDS: usize = 10_000;

/// Octets of one read of a message.
const READ: usize = 64 * 1024;

/// Domains whose policies are kept.
const POLICIES: usize = 100;

/// What came of connections, for the attempts that wait for it.
type Results = Arc<Mutex<Vec<(AttemptId, attempt::Input)>>>;

/// The relay.
pub(super) struct Relay {
    queue: Queue,
    /// Entries that are new.
    added: Arc<Mutex<Vec<Entry>>>,
    attempts: BTreeMap<AttemptId, Flight>,
    results: Results,
    policies: Policies,
    /// Who waits for a policy.
    asked: BTreeMap<AskId, AttemptId>,
    asks: u64,
    /// What policy servers say.
    served: BTreeMap<Domain, Vec<u8>>,
    zone: Arc<Zone>,
    random: Random,
    enabled: bool,
}

/// An attempt that runs.
struct Flight {
    entry: String,
    machine: Attempt,
    /// Where it wants to connect to.
    connect: Option<Box<Connect>>,
}

/// Who is told what came of a connection.
#[derive(Debug)]
pub(super) struct Over {
    attempt: AttemptId,
    results: Results,
    /// Why the handshake fails, if it does.
    fault: Option<Fault>,
}

impl Over {
    pub(super) fn tell(self, mut outcome: client::Outcome) {
        if let (Some(Encryption::Failed(told)), Some(fault)) = (&mut outcome.tls, self.fault) {
            *told = fault;
        }
        let result = (self.attempt, attempt::Input::Session(outcome));
        self.results
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(result);
    }
}

impl Relay {
    pub(super) fn new(
        transcript: &Transcript,
        hostname: &str,
        zone: Arc<Zone>,
        service: &Running,
    ) -> Result<Self, String> {
        let given = |word: &'static str| {
            let is = move |given: &&_| is_about(given, word);
            transcript.givens.iter().filter(is)
        };
        let mut served = BTreeMap::new();
        for given in given("policy") {
            let [_, domain, text] = given.words.as_slice() else {
                return Err(format!("line {}: whose policy?", given.line));
            };
            let domain = Domain::parse(domain).ok_or_else(|| format!("no domain: {domain}"))?;
            served.insert(domain, unescape(text)?);
        }
        let mut settings = Settings {
            hostname: hostname.to_owned(),
            ..Settings::default()
        };
        let first = given("relay").next();
        if let Some(given) = first {
            let has = |mark: &str| given.words.iter().any(|word| word == mark);
            settings.protect = Protect {
                dane: has("dane"),
                sts: has("mta-sts"),
            };
            let tls = given.options.get("tls").map(|word| outgoing::tls_policy(word));
            settings.tls = tls.transpose()?.unwrap_or(settings.tls);
            settings.smarthost = given.options.get("smarthost").map(|host| Target {
                host: host.clone(),
                port: 587,
                credentials: None,
                tls: settings.tls,
            });
        }
        let ourselves = Ourselves {
            names: Name::parse(hostname).into_iter().collect(),
            addresses: Vec::new(),
        };
        let added: Arc<Mutex<Vec<Entry>>> = Arc::default();
        if first.is_some() {
            let added = Arc::clone(&added);
            service.set_outbound_listener(Arc::new(move |entry| {
                added.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            }));
        }
        Ok(Self {
            queue: Queue::new(settings, ourselves, [2; 32]),
            added,
            attempts: BTreeMap::new(),
            results: Results::default(),
            policies: Policies::new(POLICIES),
            asked: BTreeMap::new(),
            asks: 0,
            served,
            zone,
            random: Random::from_seed([3; 32]),
            enabled: first.is_some(),
        })
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.queue.poll_timeout()
    }

    /// Lets the machines do what they can.
    pub(super) fn run(&mut self, service: &Running, now: Now) -> Result<(), String> {
        if !self.enabled {
            return Ok(());
        }
        for _ in 0..MAX_ROUNDS {
            let added = core::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
            let results = core::mem::take(&mut *self.results.lock().unwrap_or_else(PoisonError::into_inner));
            let late = self.queue.poll_timeout().is_some_and(|due| due <= now.mono);
            for entry in added {
                self.queue.handle_input(now, queue::Input::Added(entry));
            }
            for (attempt, input) in results {
                if let Some(flight) = self.attempts.get_mut(&attempt) {
                    flight.machine.handle_input(now, input);
                }
            }
            if late {
                self.queue.handle_input(now, queue::Input::Tick);
            }
            let mut moved = false;
            while let Some(action) = self.queue.poll_action() {
                moved = true;
                self.act(service, action, now);
            }
            moved |= self.fly(now) | self.find_policies(now);
            if !moved {
                return Ok(());
            }
        }
        Err("the relay wants something without end".to_owned())
    }

    fn act(&mut self, service: &Running, action: queue::Action, now: Now) {
        let answer = match action {
            queue::Action::Attempt {
                attempt,
                entry,
                order,
            } => match block_on(service.check_release(&entry)) {
                None => {
                    let flight = Flight {
                        entry,
                        machine: Attempt::new(*order),
                        connect: None,
                    };
                    self.attempts.insert(attempt, flight);
                    return;
                }
                Some(outcome) => queue::Input::Finished {
                    attempt,
                    outcomes: vec![outcome; order.job.recipients.len()],
                },
            },
            queue::Action::Deliver {
                attempt,
                entry,
                accounts,
            } => queue::Input::Finished {
                attempt,
                outcomes: block_on(service.deliver_queued(&entry, &accounts, now)),
            },
            queue::Action::Save(entry) => queue::Input::Saved {
                ok: block_on(service.save_outbound(&entry)).is_ok(),
                entry: entry.id,
            },
            queue::Action::Remove(entry) => queue::Input::Saved {
                ok: block_on(service.remove_outbound(&entry)).is_ok(),
                entry,
            },
            queue::Action::Bounce {
                bounce,
                entry,
                notice,
            } => queue::Input::Bounced {
                bounce,
                stored: self.notify(service, &entry, &notice, now).is_ok(),
            },
            queue::Action::Event(_) => return,
        };
        self.queue.handle_input(now, answer);
    }

    /// Stores a notice.
    fn notify(&mut self, service: &Running, entry: &str, notice: &Notice, now: Now) -> Result<(), String> {
        let id = format!("{:016x}", self.random.next_u64());
        let may = block_on(service.may_deliver_bounce(&id, notice, now));
        if !may.map_err(|error| error.to_string())? {
            return Ok(());
        }
        let offset = self.queue.offset(entry).unwrap_or_default();
        let mut original = message(service, entry)?.split_off(usize::try_from(offset).unwrap_or_default());
        original.truncate(notice.wanted());
        let message = bounce::build(notice, &original, now.unix, &mut self.random);
        block_on(service.deliver_bounce(&id, notice, &message, now)).map_err(|error| error.to_string())
    }

    /// Moves all attempts on; whether something has changed.
    fn fly(&mut self, now: Now) -> bool {
        let mut over = Vec::new();
        let mut moved = false;
        for (attempt, flight) in &mut self.attempts {
            while let Some(action) = flight.machine.poll_action() {
                moved = true;
                match action {
                    attempt::Action::Query(question) => {
                        let result = self.zone.find(&question);
                        let answer = attempt::Input::Answer { question, result };
                        flight.machine.handle_input(now, answer);
                    }
                    attempt::Action::Policy(domain) => {
                        let ask = AskId(self.asks);
                        self.asks += 1;
                        self.asked.insert(ask, *attempt);
                        self.policies.handle_input(now, sts::Input::Ask { ask, domain });
                    }
                    attempt::Action::Connect(connect) => flight.connect = Some(connect),
                    attempt::Action::Counted(_) => {}
                    attempt::Action::Done(outcomes) => over.push((*attempt, outcomes)),
                }
            }
        }
        for (attempt, outcomes) in over {
            self.attempts.remove(&attempt);
            let finished = queue::Input::Finished { attempt, outcomes };
            self.queue.handle_input(now, finished);
        }
        moved
    }

    /// Does what the machine of policies wants; whether something has changed.
    fn find_policies(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some(action) = self.policies.poll_action() {
            moved = true;
            let input = match action {
                sts::Action::Load(domain) => sts::Input::Loaded(domain, None),
                sts::Action::Query(domain, question) => {
                    let answer = self.zone.find(&question);
                    sts::Input::Record(domain, answer)
                }
                sts::Action::Fetch(domain) => {
                    let none = || Fault::new(FaultKind::StsPolicyFetchError, "404 Not Found");
                    let text = self.served.get(&domain).cloned().ok_or_else(none);
                    sts::Input::Fetched(domain, text)
                }
                sts::Action::Save(..) => continue,
                sts::Action::Answer { ask, verdict } => {
                    let flight = self
                        .asked
                        .remove(&ask)
                        .and_then(|attempt| self.attempts.get_mut(&attempt));
                    if let Some(flight) = flight {
                        flight.machine.handle_input(now, attempt::Input::Policy(verdict));
                    }
                    continue;
                }
            };
            self.policies.handle_input(now, input);
        }
        moved
    }

    /// The connection that waits, to this host if one is named.
    fn waiting(&mut self, host: Option<&str>) -> Result<(AttemptId, String, Box<Connect>), String> {
        let mut others = Vec::new();
        for (attempt, flight) in &mut self.attempts {
            let wanted = |connect: &mut Box<Connect>| host.is_none_or(|host| host == connect.settings.server);
            if let Some(connect) = flight.connect.take_if(wanted) {
                return Ok((*attempt, flight.entry.clone(), connect));
            }
            let other = flight.connect.as_ref();
            others.extend(other.map(|connect| connect.settings.server.clone()));
        }
        let wanted = host.unwrap_or("anybody");
        Err(format!(
            "the relay does not connect to {wanted}, only to {others:?}"
        ))
    }

    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// What the policy server of a domain says from now on, in Rust's escapes.
    pub(super) fn serve(&mut self, domain: &str, text: &str) -> Result<(), String> {
        let domain = Domain::parse(domain).ok_or_else(|| format!("no domain: {domain}"))?;
        self.served.insert(domain, unescape(text)?);
        Ok(())
    }

    /// `!: idle`: nobody is connected to.
    pub(super) fn idle(&self) -> Result<(), String> {
        match self.attempts.values().find_map(|flight| flight.connect.as_ref()) {
            None => Ok(()),
            Some(connect) => Err(format!("the relay wants this: {}", shown(connect))),
        }
    }

    /// `!: unreachable`: there is no connection to the host.
    pub(super) fn unreachable(&mut self, host: Option<&str>, now: Now) -> Result<(), String> {
        let (attempt, ..) = self.waiting(host)?;
        if let Some(flight) = self.attempts.get_mut(&attempt) {
            let none = attempt::Input::NoConnection("connection refused".to_owned());
            flight.machine.handle_input(now, none);
        }
        Ok(())
    }
}

/// `@session relay`
pub(super) fn connect(world: &mut World, opening: &Opening, now: Now) -> Result<Box<dyn Connection>, String> {
    let mut options = Options(opening.options.clone());
    let host = options.0.remove("host");
    let fault = options.0.remove("fault").map(|word| fault(&word)).transpose()?;
    let handshake = outgoing::handshake(&mut options)?;
    options.none_left()?;
    if fault.is_some() && handshake != Event::Eof {
        return Err("only a handshake that fails has a fault".to_owned());
    }
    let (attempt, entry, connect) = world.relay.waiting(host.as_deref())?;
    let shown = shown(&connect);
    let over = Over {
        attempt,
        results: Arc::clone(&world.relay.results),
        fault,
    };
    let octets = message(&world.service, &entry)?;
    let mut connection = outgoing::relayed((connect.settings, connect.job), octets, handshake, over, now)?;
    connection.state().actions.insert(0, shown);
    Ok(connection)
}

/// `Connect 192.0.2.25:25 mx.example.net Opportunistic Roots`
fn shown(connect: &Connect) -> String {
    let Connect {
        address, settings, ..
    } = connect;
    let trust = match &settings.trust {
        Trust::Roots => "Roots".to_owned(),
        Trust::Watched => "Watched".to_owned(),
        Trust::Dane(anchors) => format!("DANE {}", anchors.strings().join(", ")),
    };
    format!("Connect {address} {} {:?} {trust}", settings.server, settings.tls)
}

/// The stored message of an entry.
fn message(service: &Running, entry: &str) -> Result<Vec<u8>, String> {
    let read = async {
        let message = service.open_outbound(entry).await?;
        let mut octets = Vec::new();
        while (octets.len() as u64) < message.len() {
            let chunk = message.read(octets.len() as u64, READ).await?;
            if chunk.is_empty() {
                break;
            }
            octets.extend_from_slice(&chunk);
        }
        rmail_store::error::Result::Ok(octets)
    };
    block_on(read).map_err(|error| error.to_string())
}

fn fault(word: &str) -> Result<Fault, String> {
    let kind = match word {
        "certificate-host-mismatch" => FaultKind::CertificateHostMismatch,
        "certificate-expired" => FaultKind::CertificateExpired,
        "certificate-not-trusted" => FaultKind::CertificateNotTrusted,
        "validation-failure" => FaultKind::ValidationFailure,
        other => return Err(format!("no fault of a handshake: {other}")),
    };
    Ok(Fault::new(kind, word.replace('-', " ")))
}

fn is_about(given: &crate::transcript::Given, word: &str) -> bool {
    given.words.first().is_some_and(|first| first == word)
}
