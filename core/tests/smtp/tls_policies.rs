//! How MTA-STS policies are found, kept and let go (RFC 8461 §3.3, §5.1).

use std::collections::BTreeMap;
use std::time::Duration;

use rmail_core::addr::Domain;
use rmail_core::dns::{Answer, Data, DnsError};
use rmail_core::machine::Machine as _;
use rmail_core::relay::tls::sts::{Action, AskId, Input, Policies, Stored, Verdict};
use rmail_core::relay::tls::{Fault, FaultKind};
use rmail_core::time::{Mono, Now, Unix};

/// A domain whose record and policy server can be changed, and the disk.
struct World {
    machine: Policies,
    seconds: u64,
    record: Result<Answer, DnsError>,
    server: Result<Vec<u8>, Fault>,
    /// The fetch is not answered yet.
    slow: bool,
    disk: BTreeMap<Domain, Stored>,
    answers: BTreeMap<u64, Verdict>,
    fetches: usize,
    asked: u64,
}

fn record(id: &str) -> Result<Answer, DnsError> {
    Ok(Answer {
        records: vec![Data::Txt(format!("v=STSv1; id={id};"))],
        ..Answer::default()
    })
}

fn body(mode: &str, max_age: u64) -> Result<Vec<u8>, Fault> {
    Ok(format!("version: STSv1\nmode: {mode}\nmx: mx.d.example\nmax_age: {max_age}\n").into_bytes())
}

fn broken() -> Result<Vec<u8>, Fault> {
    Err(Fault::new(FaultKind::StsPolicyFetchError, "no answer"))
}

fn domain(n: u64) -> Domain {
    Domain::parse(&format!("d{n}.example")).expect("a domain")
}

impl World {
    fn new() -> Self {
        Self {
            machine: Policies::new(3),
            seconds: 1_000_000,
            record: record("1"),
            server: body("enforce", 604_800),
            slow: false,
            disk: BTreeMap::new(),
            answers: BTreeMap::new(),
            fetches: 0,
            asked: 0,
        }
    }

    fn feed(&mut self, input: Input) {
        let now = Now {
            mono: Mono(Duration::from_secs(self.seconds)),
            unix: Unix::from_secs(self.seconds),
        };
        self.machine.handle_input(now, input);
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Load(domain) => {
                    let stored = self.disk.get(&domain).cloned().map(Box::new);
                    self.feed(Input::Loaded(domain, stored));
                }
                Action::Query(domain, question) => {
                    assert_eq!(question.name.to_string(), format!("_mta-sts.{domain}"));
                    self.feed(Input::Record(domain, self.record.clone()));
                }
                Action::Fetch(domain) => {
                    self.fetches += 1;
                    if !self.slow {
                        self.feed(Input::Fetched(domain, self.server.clone()));
                    }
                }
                Action::Save(domain, stored) => drop(self.disk.insert(domain, *stored)),
                Action::Answer { ask, verdict } => {
                    assert_eq!(self.answers.insert(ask.0, verdict), None, "answered twice");
                }
            }
        }
    }

    /// Begins to ask; the answer, if it is there.
    fn ask_of(&mut self, domain: Domain) -> Option<Verdict> {
        self.asked += 1;
        let ask = AskId(self.asked);
        self.feed(Input::Ask { ask, domain });
        self.answers.get(&self.asked).cloned()
    }

    fn ask(&mut self) -> Verdict {
        self.ask_of(domain(0)).expect("an answer")
    }

    fn has_policy(&mut self) -> bool {
        matches!(self.ask(), Verdict::Policy(policy) if policy.mx == ["mx.d.example"])
    }
}

#[test]
fn a_policy_is_fetched_once_and_kept() {
    let mut world = World::new();
    assert!(world.has_policy() && world.has_policy());
    assert_eq!(world.fetches, 1);
    // A new process has the disk.
    world.machine = Policies::new(3);
    assert!(world.has_policy());
    assert_eq!(world.fetches, 1);
    // Another id means another policy.
    world.record = record("2");
    world.server = body("none", 86_400);
    assert_eq!(world.ask(), Verdict::None);
    assert_eq!(world.fetches, 2);
    assert_eq!(world.disk[&domain(0)].id, "2");
}

#[test]
fn what_is_kept_holds_when_nothing_newer_is_to_be_had() {
    let mut world = World::new();
    assert!(world.has_policy());
    for record in [
        Err(DnsError::Timeout),
        Err(DnsError::NoSuchName),
        Ok(Answer::default()),
    ] {
        world.record = record;
        assert!(world.has_policy(), "RFC 8461 section 3.3");
    }
    world.record = record("2");
    world.server = broken();
    assert!(world.has_policy());
    world.server = Ok(b"nonsense".to_vec());
    world.seconds += 4000;
    assert!(world.has_policy());
    assert_eq!(world.fetches, 3);
    // Until it is too old.
    world.seconds += 604_800;
    assert!(matches!(world.ask(), Verdict::Failed(fault) if fault.kind == FaultKind::StsPolicyInvalid));
    world.record = Ok(Answer::default());
    assert_eq!(world.ask(), Verdict::None);
}

#[test]
fn a_fetch_that_fails_is_not_tried_again_at_once() {
    let mut world = World::new();
    world.server = broken();
    for _ in 0..10 {
        assert!(matches!(world.ask(), Verdict::Failed(_)));
    }
    assert_eq!(world.fetches, 1);
    let mut waits = Vec::new();
    let mut last = world.seconds;
    while waits.len() < 6 {
        world.seconds += 60;
        let before = world.fetches;
        let _ = world.ask();
        if world.fetches > before {
            waits.push(world.seconds - last);
            last = world.seconds;
        }
    }
    assert_eq!(waits, [300, 600, 1200, 2400, 3600, 3600]);
    world.server = body("enforce", 86_400);
    world.seconds += 3600;
    assert!(world.has_policy());
}

#[test]
fn who_waits_for_one_fetch_shares_it_and_a_refresh_keeps_nobody_waiting() {
    let mut world = World::new();
    world.slow = true;
    assert_eq!((world.ask_of(domain(0)), world.ask_of(domain(0))), (None, None));
    assert_eq!(world.fetches, 1);
    world.feed(Input::Fetched(domain(0), world.server.clone()));
    assert_eq!(world.answers.len(), 2);
    world.seconds += 86_400;
    assert!(world.has_policy() && world.has_policy());
    assert_eq!(world.fetches, 2, "a day later it is fetched again, in time");
    world.seconds += 100;
    world.feed(Input::Fetched(domain(0), world.server.clone()));
    assert_eq!(world.disk[&domain(0)].fetched, world.seconds);
}

#[test]
fn memory_is_bounded_and_the_disk_remembers() {
    let mut world = World::new();
    for n in 0..10 {
        assert!(matches!(world.ask_of(domain(n)), Some(Verdict::Policy(_))));
    }
    assert_eq!(world.fetches, 10);
    assert!(matches!(world.ask_of(domain(0)), Some(Verdict::Policy(_))));
    assert_eq!(world.fetches, 10);
    let literal = Domain::parse("[192.0.2.1]").expect("a literal");
    assert_eq!(world.ask_of(literal), Some(Verdict::None));
}

#[test]
fn a_policy_from_the_future_does_not_hold() {
    let mut world = World::new();
    assert!(world.has_policy());
    world.seconds -= 10;
    world.machine = Policies::new(3);
    world.server = broken();
    assert!(matches!(world.ask(), Verdict::Failed(_)));
}
