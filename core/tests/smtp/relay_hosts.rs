//! Connections that are kept, counted, and not made to hosts that do not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use rmail_core::addr::{Address, ReversePath};
use rmail_core::machine::Machine as _;
use rmail_core::relay::attempt::{self, Connect};
use rmail_core::relay::hosts::{
    AGE, Action, ConnectionId, Ending, Event, Hosts, IDLE, Input, MESSAGES, RequestId,
};
use rmail_core::relay::tls::Trust;
use rmail_core::relay::{Credentials, Outcome, Report, Settings, TlsPolicy};
use rmail_core::secret::Secret;
use rmail_core::smtp::client::{self, End, Job};
use rmail_core::smtp::envelope::Wishes;
use rmail_core::time::{Mono, Now, Unix};

fn settings() -> Settings {
    Settings {
        max_attempts: 20,
        max_connections_per_host: 3,
        ..Settings::default()
    }
}

fn connect(host: u8) -> Connect {
    Connect {
        address: SocketAddr::from(([192, 0, 2, host], 25)),
        timeout: Duration::from_secs(30),
        settings: client::Settings {
            hostname: "us.example".into(),
            server: format!("mx{host}.example"),
            tls: TlsPolicy::Opportunistic,
            credentials: None,
            trust: Trust::Roots,
        },
        job: Job {
            reverse_path: ReversePath::Null,
            recipients: vec![Address::parse("a@x.example").expect("address").into()],
            offset: 0,
            size: 9,
            eight_bit: false,
            wishes: Wishes::default(),
        },
    }
}

fn outcome(outcome: Outcome, end: End) -> client::Outcome {
    client::Outcome {
        recipients: vec![outcome],
        end,
        tls: None,
    }
}

fn report(text: &str) -> Report {
    Report::parse(text).expect("a report")
}

fn delivered() -> client::Outcome {
    outcome(Outcome::Delivered(report("250 2.0.0 ok")), End::Complete)
}

fn later(text: &str, end: End) -> client::Outcome {
    outcome(Outcome::Temporary(report(text)), end)
}

/// The machine and its host; the test says what happens on connections.
struct World {
    hosts: Hosts,
    now: Duration,
    requests: u64,
    /// Connections that were opened, by their names, and the messages they may take.
    opened: Vec<(ConnectionId, SocketAddr, u32)>,
    reused: Vec<ConnectionId>,
    quit: Vec<ConnectionId>,
    results: BTreeMap<u64, attempt::Input>,
    events: Vec<Event>,
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        Self {
            hosts: Hosts::new(&settings, 0),
            now: Duration::from_secs(1),
            requests: 0,
            opened: Vec::new(),
            reused: Vec::new(),
            quit: Vec::new(),
            results: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    fn input(&mut self, input: Input) {
        let now = Now {
            mono: Mono(self.now),
            unix: Unix(Duration::from_secs(1_800_000_000) + self.now),
        };
        self.hosts.handle_input(now, input);
        while let Some(action) = self.hosts.poll_action() {
            match action {
                Action::Open {
                    connection,
                    connect,
                    messages,
                    ..
                } => self.opened.push((connection, connect.address, messages)),
                Action::Reuse { connection, .. } => self.reused.push(connection),
                Action::Quit(connection) => self.quit.push(connection),
                Action::Done { request, result } => {
                    let twice = self.results.insert(request.0, result);
                    assert_eq!(twice, None, "one result each");
                }
                Action::Event(event) => self.events.push(event),
            }
        }
    }

    fn ask(&mut self, connect: Connect) -> u64 {
        let request = self.requests;
        self.requests += 1;
        self.input(Input::Connect {
            request: RequestId(request),
            connect: Box::new(connect),
        });
        request
    }

    /// The connection that was opened last.
    fn last(&self) -> ConnectionId {
        self.opened.last().expect("opened").0
    }

    fn greet(&mut self, connection: ConnectionId) {
        self.input(Input::Greeted(connection));
    }

    fn idle(&mut self, connection: ConnectionId, outcome: client::Outcome) {
        self.input(Input::Idle {
            connection,
            outcome: Box::new(outcome),
        });
    }

    fn end(&mut self, connection: ConnectionId, outcome: client::Outcome) {
        self.input(Input::Ended {
            connection,
            ending: Ending::Outcome(outcome),
        });
    }

    fn refuse(&mut self, connection: ConnectionId, why: &str) {
        self.input(Input::NoConnection {
            connection,
            why: why.into(),
        });
    }

    /// Time passes; the machine is woken when it wants to be.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Mono(due)) = self.hosts.poll_timeout().filter(|due| due.0 <= end) {
            self.now = self.now.max(due);
            self.input(Input::Tick);
        }
        self.now = end;
        self.input(Input::Tick);
    }

    /// A message is sent over a new connection, which is kept.
    fn kept(&mut self, host: u8) -> ConnectionId {
        let before = self.opened.len();
        self.ask(connect(host));
        assert_eq!(self.opened.len(), before + 1);
        let connection = self.last();
        self.greet(connection);
        self.idle(connection, delivered());
        connection
    }

    fn why(&self, request: u64) -> String {
        match &self.results[&request] {
            attempt::Input::NoConnection(why) => why.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_kept_connection_takes_the_next_message() {
    let mut world = World::new();
    let connection = world.kept(1);
    assert_eq!(
        world.results[&0],
        attempt::Input::Session(delivered()),
        "told at once"
    );
    for _ in 0..5 {
        let request = world.ask(connect(1));
        world.idle(connection, delivered());
        assert!(world.results.contains_key(&request));
    }
    assert_eq!((world.opened.len(), world.reused.len()), (1, 5));
    assert_eq!(world.opened[0].2, MESSAGES);
}

#[test]
fn only_what_is_the_same_in_all_is_shared() {
    let mut world = World::new();
    world.kept(1);
    let mut others: Vec<Connect> = Vec::new();
    let mut other = |change: &dyn Fn(&mut Connect)| {
        let mut connect = connect(1);
        change(&mut connect);
        others.push(connect);
    };
    other(&|it| it.address.set_port(26));
    other(&|it| it.address.set_ip([192, 0, 2, 9].into()));
    other(&|it| it.settings.server = "other.example".into());
    other(&|it| it.settings.tls = TlsPolicy::None);
    other(&|it| it.settings.hostname = "we.example".into());
    other(&|it| {
        it.settings.credentials = Some(Credentials {
            username: "u".into(),
            password: Secret::new("p"),
        });
    });
    let count = others.len();
    for connect in others {
        world.ask(connect);
        let connection = world.last();
        world.end(connection, delivered());
    }
    assert_eq!((world.opened.len(), world.reused.len()), (count + 1, 0));
}

#[test]
fn idle_connections_end_in_time_and_the_one_used_last_is_used_next() {
    let mut world = World::new();
    world.ask(connect(1));
    let first = world.last();
    world.ask(connect(1));
    let second = world.last();
    for connection in [first, second] {
        world.greet(connection);
        world.idle(connection, delivered());
        world.pass(IDLE / 4);
    }
    world.ask(connect(1));
    assert_eq!(world.reused, [second]);
    world.pass(IDLE / 4);
    world.idle(second, delivered());
    world.pass(IDLE / 4);
    assert_eq!(world.quit, [first], "2 s after its last message");
    world.pass(IDLE);
    assert_eq!(world.quit, [first, second]);
    assert_eq!(
        (world.hosts.len(), world.hosts.idle(), world.hosts.poll_timeout()),
        (0, 0, None)
    );
    world.ask(connect(1));
    assert_eq!(world.opened.len(), 3, "who was told to go is not asked");
}

#[test]
fn an_old_connection_takes_no_further_message() {
    let mut world = World::new();
    let connection = world.kept(1);
    world.ask(connect(1));
    world.pass(AGE);
    world.idle(connection, delivered());
    assert_eq!(world.quit, [connection]);
}

#[test]
fn a_connection_that_was_dead_costs_the_message_nothing() {
    let deaths: [Ending; 3] = [
        Ending::Idle,
        Ending::Outcome(later("4.4.2 connection lost", End::Stale)),
        Ending::Outcome(later("421 4.7.0 too many messages", End::Stale)),
    ];
    for death in deaths {
        let mut world = World::new();
        let connection = world.kept(1);
        let second = world.ask(connect(1));
        let spare = world.ask(connect(1));
        let other = world.last();
        world.greet(other);
        world.idle(other, delivered());
        assert!(world.results.contains_key(&spare));
        world.input(Input::Ended {
            connection,
            ending: death.clone(),
        });
        assert!(!world.results.contains_key(&second), "{death:?}");
        assert_eq!(
            world.reused,
            [connection],
            "not one more kept connection: those may be as dead"
        );
        let fresh = world.last();
        assert_eq!(world.opened.len(), 3);
        world.end(fresh, delivered());
        assert_eq!(world.results[&second], attempt::Input::Session(delivered()));
    }
}

#[test]
fn a_server_that_tires_is_not_asked_for_so_many_again() {
    let mut world = World::new();
    let connection = world.kept(1);
    world.ask(connect(1));
    world.idle(connection, delivered());
    world.ask(connect(1));
    world.end(connection, later("421 4.7.0 enough", End::Stale));
    assert_eq!(world.opened[1].2, 2);
    let fresh = world.last();
    world.end(fresh, delivered());
    world.pass(Duration::from_secs(3600));
    world.ask(connect(1));
    assert_eq!(world.opened[2].2, MESSAGES, "for a while");
}

#[test]
fn a_session_without_a_result_is_ours_and_is_not_repeated() {
    for (kept, ending) in [
        (false, Ending::Idle),
        (false, Ending::Broken("a fault".into())),
        (true, Ending::Broken("a fault".into())),
    ] {
        let mut world = World::new();
        if kept {
            world.kept(1);
        }
        let request = world.ask(connect(1));
        let connection = world.last();
        world.input(Input::Ended { connection, ending });
        let attempt::Input::Session(outcome) = &world.results[&request] else {
            panic!("a result");
        };
        assert_eq!((outcome.end, outcome.recipients.len()), (End::Ours, 1));
        assert!(outcome.recipients[0].report().severe);
    }
}

#[test]
fn connections_to_a_host_are_bounded_and_the_next_waits() {
    let mut world = World::new();
    let requests: Vec<u64> = (0..5).map(|_| world.ask(connect(1))).collect();
    assert_eq!(world.opened.len(), 3);
    world.ask(connect(2));
    assert_eq!(world.opened.len(), 4, "another host does not wait");
    let first = world.opened[0].0;
    world.greet(first);
    world.idle(first, delivered());
    assert_eq!(world.reused, [first], "the first who waited");
    world.end(first, delivered());
    assert_eq!(world.opened.len(), 5, "one has gone, one may come");
    assert!(
        world.results.contains_key(&requests[3]) && !world.results.contains_key(&requests[4]),
        "in their order"
    );
}

#[test]
fn idle_connections_make_room_for_others() {
    let mut world = World::with(Settings {
        max_attempts: 3,
        max_connections_per_host: 2,
        ..Settings::default()
    });
    let first = world.kept(1);
    world.pass(IDLE / 4);
    let second = world.kept(2);
    world.ask(connect(3));
    assert!(world.quit.is_empty());
    world.ask(connect(4));
    assert_eq!(world.quit, [first], "that which was idle for longest");
    let mut other = connect(2);
    other.settings.tls = TlsPolicy::None;
    world.ask(other.clone());
    assert_eq!(world.quit, [first, second]);
    assert_eq!((world.hosts.len(), world.opened.len()), (3, 5));
    world.ask(other);
    assert_eq!(world.opened.len(), 5, "no more in all");
}

#[test]
fn a_dead_host_costs_one_attempt_and_not_a_thousand() {
    let mut world = World::new();
    let first = world.ask(connect(1));
    let connection = world.last();
    world.refuse(connection, "timed out");
    assert_eq!(world.why(first), "timed out");
    let told: Vec<u64> = (0..1000).map(|_| world.ask(connect(1))).collect();
    assert_eq!(world.opened.len(), 1);
    world.pass(Duration::from_secs(10));
    let last = world.ask(connect(1));
    assert!(told.iter().all(|request| world.results.contains_key(request)));
    assert_eq!(
        world.why(last),
        "left alone, it has taken no connection since 2027-01-15T08:00:01Z (1 try; the last, 10 s ago: timed out)"
    );
    assert_eq!(world.events.len(), 1);
    world.ask(connect(2));
    assert_eq!(world.opened.len(), 2, "others are not concerned");
}

#[test]
fn pauses_grow_and_stay_shorter_than_the_schedule() {
    let mut world = World::new();
    let delays = settings().retry_delays;
    for (n, delay) in delays.iter().chain(&delays).enumerate() {
        world.ask(connect(1));
        assert_eq!(world.opened.len(), n + 1, "each attempt of the schedule is made");
        let connection = world.last();
        world.refuse(connection, "refused");
        let Some(Event::Down { pause, tries, .. }) = world.events.last() else {
            panic!("an event");
        };
        assert_eq!(*tries as usize, n + 1);
        let expected = Duration::from_secs(*delays.get(n).unwrap_or(&86400)) / 2;
        assert_eq!(*pause, expected.min(Duration::from_secs(600)));
        world.pass(Duration::from_secs(*delay));
        world.pass(Duration::from_secs(600));
    }
}

#[test]
fn one_tries_and_the_others_wait_for_what_it_finds() {
    let mut world = World::new();
    let tries: Vec<u64> = (0..3).map(|_| world.ask(connect(1))).collect();
    let opened: Vec<ConnectionId> = world.opened.iter().map(|it| it.0).collect();
    for connection in opened {
        world.refuse(connection, "timed out");
    }
    assert_eq!(world.events.len(), 1, "those at the same time are one try");
    assert_eq!(world.why(tries[2]), "timed out");
    // The pause is over: it is still down.
    world.pass(Duration::from_secs(31));
    let waiting: Vec<u64> = (0..5).map(|_| world.ask(connect(1))).collect();
    assert_eq!(world.opened.len(), 4);
    let connection = world.last();
    world.refuse(connection, "refused");
    assert_eq!(world.why(waiting[0]), "refused");
    assert!(
        world
            .why(waiting[4])
            .contains("2 tries; the last, 0 s ago: refused")
    );
    // And then it is up.
    world.pass(Duration::from_secs(151));
    let waiting: Vec<u64> = (0..5).map(|_| world.ask(connect(1))).collect();
    assert_eq!(world.opened.len(), 5);
    let connection = world.last();
    world.greet(connection);
    assert!(matches!(world.events.last(), Some(Event::Up { away, .. }) if away.as_secs() == 182));
    assert_eq!(world.opened.len(), 7, "as many as the host may have");
    assert!(waiting.iter().all(|request| !world.results.contains_key(request)));
    world.idle(connection, delivered());
    assert_eq!(world.reused, [connection]);
}

#[test]
fn a_host_that_does_not_greet_or_sends_all_away_is_down() {
    for (text, down) in [
        ("4.4.2 no greeting in time", true),
        ("421 4.3.2 not now", true),
        ("554 5.7.1 not you", true),
        ("4.7.5 TLS handshake failed", false),
    ] {
        let mut world = World::new();
        world.ask(connect(1));
        let connection = world.last();
        world.end(connection, later(text, End::NextHost));
        assert!(world.results.contains_key(&0));
        let second = world.ask(connect(1));
        assert_eq!(world.opened.len(), if down { 1 } else { 2 }, "{text}");
        if down {
            assert!(world.why(second).ends_with(&format!("{text})")));
        }
    }
    let mut world = World::new();
    world.ask(connect(1));
    let connection = world.last();
    world.greet(connection);
    world.end(connection, later("4.4.2 connection lost", End::NextHost));
    world.ask(connect(1));
    assert_eq!(world.opened.len(), 2, "it has greeted");
}

#[test]
fn a_crowded_host_gets_fewer_connections_for_a_while() {
    for words in ["421 4.7.0 busy", "450 4.7.1 Too many concurrent connections"] {
        let mut world = World::new();
        let requests: Vec<u64> = (0..3).map(|_| world.ask(connect(1))).collect();
        let ids: Vec<ConnectionId> = world.opened.iter().map(|it| it.0).collect();
        world.greet(ids[0]);
        world.greet(ids[1]);
        world.end(ids[2], later(words, End::NextHost));
        assert!(!world.results.contains_key(&requests[2]), "{words}: it waits");
        assert!(matches!(
            world.events.last(),
            Some(Event::Crowded { most: 2, .. })
        ));
        world.ask(connect(1));
        assert_eq!(world.opened.len(), 3);
        world.idle(ids[0], delivered());
        assert_eq!(world.reused, [ids[0]]);
        // Once is enough: the second time it is told.
        world.end(ids[0], delivered());
        assert_eq!(world.opened.len(), 4);
        world.pass(Duration::from_secs(700));
        world.ask(connect(1));
        assert_eq!(world.opened.len(), 5, "for a while");
    }
}

#[test]
fn who_is_sent_away_twice_is_told() {
    let mut world = World::new();
    world.ask(connect(1));
    let inside = world.last();
    world.greet(inside);
    let request = world.ask(connect(1));
    let busy = || later("421 4.7.0 busy", End::NextHost);
    let connection = world.last();
    world.end(connection, busy());
    assert_eq!(world.opened.len(), 2);
    world.input(Input::Settings(Box::new(settings())));
    world.pass(Duration::from_secs(601));
    let connection = world.last();
    assert_eq!(world.opened.len(), 3, "it may be tried again");
    world.end(connection, busy());
    assert_eq!(world.results[&request], attempt::Input::Session(busy()));
}

#[test]
fn an_operator_need_not_wait() {
    let mut world = World::new();
    world.ask(connect(1));
    let connection = world.last();
    world.refuse(connection, "refused");
    world.input(Input::Impatient);
    world.ask(connect(1));
    assert_eq!(world.opened.len(), 2);
}

#[test]
fn at_the_end_nothing_is_kept() {
    let mut world = World::new();
    let idle = world.kept(1);
    world.ask(connect(2));
    let busy = world.last();
    world.input(Input::Shutdown);
    assert_eq!(world.quit, [idle]);
    world.idle(busy, delivered());
    assert_eq!(world.quit, [idle, busy]);
    world.ask(connect(1));
    assert_eq!(world.opened.last().map(|it| it.2), Some(1));
    assert_eq!(world.hosts.poll_timeout(), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut world = World::new();
    for n in 0..10_500_u32 {
        let mut connect = connect(1);
        connect.address.set_ip(n.to_be_bytes().into());
        world.ask(connect);
        let connection = world.last();
        world.refuse(connection, "refused");
        world.now += Duration::from_millis(1);
    }
    assert_eq!(world.hosts.remembered(), 10_000);
}

proptest! {
    /// Whatever happens in whatever order: each request has one result, bounds hold, and no session gets a message while
    /// it has one.
    #[test]
    fn every_request_has_one_result(steps in proptest::collection::vec((0_u8..9, 0_usize..8, 1_u8..4), 1..120)) {
        let mut world = World::with(Settings { max_attempts: 5, max_connections_per_host: 2, ..Settings::default() });
        let mut alive: BTreeSet<ConnectionId> = BTreeSet::new();
        let mut waits: BTreeSet<ConnectionId> = BTreeSet::new();
        let (mut opened, mut reused, mut quit) = (0, 0, 0);
        let mut steps = steps.into_iter().map(Some).chain((0..400).map(|_| None));
        loop {
            for (id, ..) in &world.opened[opened..] {
                alive.insert(*id);
            }
            for id in &world.reused[reused..] {
                prop_assert!(waits.remove(id), "it waited");
            }
            for id in &world.quit[quit..] {
                prop_assert!(waits.remove(id), "it waited");
                alive.remove(id);
            }
            (opened, reused, quit) = (world.opened.len(), world.reused.len(), world.quit.len());
            prop_assert!(world.hosts.len() <= 5);
            let Some(step) = steps.next() else { break };
            let busy: Vec<ConnectionId> = alive.difference(&waits).copied().collect();
            let Some((what, which, host)) = step else {
                // To the end: all that is under way ends well.
                match busy.first() {
                    Some(id) => {
                        alive.remove(id);
                        world.end(*id, delivered());
                    }
                    None => world.pass(Duration::from_secs(60)),
                }
                continue;
            };
            let id = (!busy.is_empty()).then(|| busy[which % busy.len()]);
            match (what, id) {
                (0 | 1, _) => {
                    world.ask(connect(host));
                }
                (2, Some(id)) => world.greet(id),
                (3, Some(id)) => {
                    waits.insert(id);
                    world.idle(id, delivered());
                }
                (4, Some(id)) => {
                    alive.remove(&id);
                    world.refuse(id, "refused");
                }
                (5, Some(id)) => {
                    alive.remove(&id);
                    world.end(id, later("421 4.3.2 no", End::NextHost));
                }
                (6, Some(id)) => {
                    alive.remove(&id);
                    world.input(Input::Ended { connection: id, ending: Ending::Idle });
                }
                (7, _) => match waits.pop_first() {
                    Some(id) => {
                        alive.remove(&id);
                        world.input(Input::Ended { connection: id, ending: Ending::Idle });
                    }
                    None => world.pass(Duration::from_secs(1)),
                },
                _ => world.pass(Duration::from_secs(u64::from(host) * 20)),
            }
        }
        prop_assert_eq!(world.results.len() as u64, world.requests);
        prop_assert_eq!(world.hosts.len(), 0);
    }
}
