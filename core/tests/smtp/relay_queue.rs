//! The queue: its schedule to the second, what stands on disk when, and whole lives with crashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rmail_core::addr::{Address, ReversePath};
use rmail_core::dns::mx::Ourselves;
use rmail_core::machine::Machine as _;
use rmail_core::random::Random;
use rmail_core::relay::attempt::Order;
use rmail_core::relay::bounce::{Kind, Notice};
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::relay::queue::{Action, AttemptId, BounceId, Command, Event, Input, Queue};
use rmail_core::relay::{Enhanced, Outcome, Report, Route, Settings, Target, TlsPolicy};
use rmail_core::smtp::client;
use rmail_core::smtp::envelope::{DsnRequest, Notify, Ret, Wishes};
use rmail_core::time::{Mono, Now, Unix};

const START: u64 = 1_000_000;
const DELAYS: [u64; 8] = [60, 300, 900, 1800, 3600, 14400, 28800, 86400];

fn entry(id: &str, sender: &str, recipients: &[&str]) -> Entry {
    let recipient = |address: &&str| Recipient {
        address: (*address).into(),
        attempts: 0,
        next: START,
        last: None,
        delay_told: false,
        dsn: DsnRequest::default(),
        local: false,
        done: None,
        failed: false,
        expanded: false,
    };
    Entry {
        id: id.into(),
        sender: sender.into(),
        account: None,
        arrived: START,
        offset: 0,
        size: 10,
        eight_bit: false,
        hold_until: 0,
        held: false,
        wishes: Wishes::default(),
        recipients: recipients.iter().map(recipient).collect(),
    }
}

fn report(text: &str) -> Report {
    Report::parse(text).expect("a report")
}

fn later() -> Outcome {
    Outcome::Temporary(report("450 4.2.0 later"))
}

fn never() -> Outcome {
    Outcome::Permanent(report("550 5.1.1 never"))
}

fn delivered() -> Outcome {
    Outcome::Delivered(report("250 2.0.0 ok"))
}

/// The host of a queue.
struct World {
    queue: Queue,
    settings: Settings,
    mono: Duration,
    unix: Duration,
    /// What is out, oldest first.
    attempts: VecDeque<(AttemptId, String, Order)>,
    deliveries: VecDeque<(AttemptId, String, Vec<Address>)>,
    writes: VecDeque<(String, Option<Entry>)>,
    bounces: VecDeque<(BounceId, String, Notice)>,
    events: Vec<Event>,
    disk: BTreeMap<String, Entry>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self {
            queue: Queue::new(settings.clone(), Ourselves::default(), [3; 32]),
            settings,
            mono: Duration::ZERO,
            unix: Duration::from_secs(START),
            attempts: VecDeque::new(),
            deliveries: VecDeque::new(),
            writes: VecDeque::new(),
            bounces: VecDeque::new(),
            events: Vec::new(),
            disk: BTreeMap::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let now = Now {
            mono: Mono(self.mono),
            unix: Unix(self.unix),
        };
        self.queue.handle_input(now, input);
        while let Some(action) = self.queue.poll_action() {
            match action {
                Action::Attempt {
                    attempt,
                    entry,
                    order,
                } => self.attempts.push_back((attempt, entry, *order)),
                Action::Deliver {
                    attempt,
                    entry,
                    accounts,
                } => self.deliveries.push_back((attempt, entry, accounts)),
                Action::Save(entry) => self.writes.push_back((entry.id.clone(), Some(*entry))),
                Action::Remove(id) => self.writes.push_back((id, None)),
                Action::Bounce {
                    bounce,
                    entry,
                    notice,
                } => self.bounces.push_back((bounce, entry, *notice)),
                Action::Event(event) => self.events.push(event),
            }
        }
        let busy: BTreeSet<&String> = self.writes.iter().map(|(id, _)| id).collect();
        assert_eq!(busy.len(), self.writes.len(), "one write for an entry at a time");
    }

    fn command(&mut self, entry: &str, command: Command) {
        self.feed(Input::Command {
            entry: entry.into(),
            command,
        });
    }

    fn add(&mut self, entry: Entry) {
        self.disk.insert(entry.id.clone(), entry.clone());
        self.feed(Input::Added(entry));
    }

    fn write_one(&mut self) {
        let (id, entry) = self.writes.pop_front().expect("a write");
        match entry {
            Some(entry) => self.disk.insert(id.clone(), entry),
            None => self.disk.remove(&id),
        };
        self.feed(Input::Saved { entry: id, ok: true });
    }

    fn write_all(&mut self) {
        while !self.writes.is_empty() {
            self.write_one();
        }
    }

    /// Ends the oldest attempt with the same outcome for all its recipients; who they were.
    fn finish(&mut self, outcome: &Outcome) -> Vec<String> {
        let (attempt, _, order) = self.attempts.pop_front().expect("an attempt");
        let outcomes = vec![outcome.clone(); order.job.recipients.len()];
        self.feed(Input::Finished { attempt, outcomes });
        names(&order)
    }

    fn bounce(&mut self, stored: bool) -> Notice {
        let (bounce, _, notice) = self.bounces.pop_front().expect("a notice");
        self.feed(Input::Bounced { bounce, stored });
        notice
    }

    fn pass(&mut self, time: Duration) {
        self.mono += time;
        self.unix += time;
        self.feed(Input::Tick);
    }

    /// To the next deadline: nothing happens before it.
    fn wait(&mut self) -> Duration {
        let deadline = self.queue.poll_timeout().expect("a timer").0;
        let wait = deadline.saturating_sub(self.mono);
        if wait > Duration::ZERO {
            let before = (self.attempts.len(), self.bounces.len());
            self.pass(wait - Duration::from_nanos(1));
            assert_eq!((self.attempts.len(), self.bounces.len()), before, "too early");
            self.pass(Duration::from_nanos(1));
        } else {
            self.feed(Input::Tick);
        }
        wait
    }

    /// The process dies and comes again after a while.
    fn restart(&mut self, away: Duration, clock: i64) {
        self.queue = Queue::new(self.settings.clone(), Ourselves::default(), [4; 32]);
        self.attempts.clear();
        self.deliveries.clear();
        self.writes.clear();
        self.bounces.clear();
        self.mono = Duration::from_secs(5);
        self.unix += away;
        self.unix = Duration::from_nanos(
            u64::try_from(i64::try_from(self.unix.as_nanos()).expect("small") + clock * 1_000_000_000)
                .expect("positive"),
        );
        let entries = self.disk.values().cloned().collect();
        self.feed(Input::Loaded(entries));
    }
}

/// Whom an order is for.
fn names(order: &Order) -> Vec<String> {
    let recipients = order.job.recipients.iter();
    recipients
        .map(|recipient| recipient.address.to_string())
        .collect()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The same entry, with what is wanted of its recipients in turn.
fn asking(mut entry: Entry, notify: &[Option<Notify>]) -> Entry {
    for (recipient, notify) in entry.recipients.iter_mut().zip(notify) {
        recipient.dsn.notify = *notify;
    }
    entry
}

const NOTHING: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
};
const SUCCESS: Notify = Notify {
    success: true,
    ..NOTHING
};

fn told(notice: &Notice) -> (Kind, Vec<String>) {
    let recipients = notice.recipients.iter();
    (
        notice.kind,
        recipients.map(|about| about.address.clone()).collect(),
    )
}

#[test]
fn success_is_told_by_us_when_the_next_server_does_not() {
    let mut world = World::new(Settings::default());
    let passed_on = Outcome::Delivered(Report {
        notifies: true,
        ..report("250 2.0.0 ok")
    });
    let ask = [Some(SUCCESS), Some(NOTHING), None];
    for (id, outcome, notices) in [("a", delivered(), 1), ("b", passed_on, 0)] {
        world.add(asking(entry(id, "s@us", &["r@x", "n@x", "u@x"]), &ask));
        world.finish(&outcome);
        assert_eq!(world.bounces.len(), notices, "{id}");
        if notices == 1 {
            world.write_all();
            let left = &world.disk[id].recipients;
            assert_eq!((left.len(), left[0].done.is_some()), (1, true));
            // The program ends before the notice is stored: it is told, and not sent again.
            world.restart(secs(60), 0);
            assert!(world.attempts.is_empty());
            assert_eq!(
                told(&world.bounce(false)),
                (Kind::Relayed, vec!["r@x".to_owned()])
            );
            world.wait();
            assert_eq!(told(&world.bounce(true)), (Kind::Relayed, vec!["r@x".to_owned()]));
        }
        world.write_all();
        assert!(world.disk.is_empty(), "{id}");
    }
}

#[test]
fn never_means_no_notice_of_failure_and_none_of_delay() {
    let mut world = World::new(Settings::default());
    world.add(asking(
        entry("a", "s@us", &["n@x", "f@x"]),
        &[Some(NOTHING), None],
    ));
    world.finish(&never());
    assert_eq!(told(&world.bounce(true)), (Kind::Failed, vec!["f@x".to_owned()]));
    world.write_all();
    assert!(world.disk.is_empty());
    world.add(asking(entry("b", "s@us", &["n@x"]), &[Some(SUCCESS)]));
    for _ in 0..9 {
        world.finish(&later());
        world.write_all();
        if !world.disk.is_empty() {
            world.wait();
            while world.attempts.is_empty() {
                world.wait();
            }
        }
    }
    assert!(world.bounces.is_empty() && world.disk.is_empty());
}

#[test]
fn the_urgent_go_first() {
    let mut world = World::new(Settings {
        max_attempts: 1,
        ..Settings::default()
    });
    let add = |world: &mut World, id: &str, to: &str, priority: i8| {
        let mut entry = entry(id, "s@us", &[to]);
        entry.wishes.priority = priority;
        world.add(entry);
    };
    // The first is under way when the others come.
    add(&mut world, "first", "r@x", -9);
    for (id, to, priority) in [
        ("low", "r@x", -4),
        ("normal1", "r@x", 0),
        ("normal2", "r@x", 0),
        ("other", "r@y", 0),
        ("high", "r@x", 3),
        ("highest", "r@z", 9),
    ] {
        add(&mut world, id, to, priority);
    }
    let mut order = Vec::new();
    while let Some((_, id, sent)) = world.attempts.front() {
        assert_eq!(sent.job.wishes.priority, world.disk[id].wishes.priority);
        order.push(id.clone());
        world.finish(&delivered());
    }
    let (urgent, normal) = order.split_at(3);
    assert_eq!(urgent, ["first", "highest", "high"]);
    assert_eq!(normal, ["other", "normal1", "normal2", "low"]);
}

#[test]
fn notices_come_after_all_mail_and_nothing_waits_for_ever() {
    let mut world = World::new(Settings {
        max_attempts: 1,
        ..Settings::default()
    });
    world.add(entry("first", "s@us", &["r@x"]));
    world.add(entry("notice", "", &["r@x"]));
    let with_priority = |id: &str, priority: i8| {
        let mut entry = entry(id, "s@us", &["r@x"]);
        entry.wishes.priority = priority;
        entry
    };
    world.add(with_priority("lowest", -9));
    world.pass(secs(8 * 3600));
    world.add(with_priority("early", 0));
    world.pass(secs(3600));
    // An hour is a step of priority; new settings do not take what was gained.
    world.feed(Input::Settings(Box::new(world.settings.clone())));
    world.add(with_priority("late", 0));
    world.pass(secs(2 * 3600));
    world.add(with_priority("latest", 0));
    let mut order = Vec::new();
    while let Some((_, id, _)) = world.attempts.front() {
        order.push(id.clone());
        world.finish(&delivered());
    }
    assert_eq!(order, ["first", "early", "lowest", "late", "notice", "latest"]);
}

#[test]
fn the_account_behind_an_alias_is_not_told() {
    let mut world = World::new(Settings::default());
    let mut held = entry("h", "s@us", &["account@us"]);
    held.recipients[0].local = true;
    held.recipients[0].dsn.original = Some("rfc822;alias@us".into());
    world.add(held);
    let (attempt, ..) = world.deliveries.pop_front().expect("a delivery");
    let outcomes = vec![never()];
    world.feed(Input::Finished { attempt, outcomes });
    assert_eq!(
        told(&world.bounce(true)),
        (Kind::Failed, vec!["alias@us".to_owned()])
    );
}

#[test]
fn mailboxes_of_ours_take_no_place_of_servers() {
    let mut world = World::new(Settings {
        max_attempts: 1,
        max_attempts_per_destination: 2,
        ..Settings::default()
    });
    let here = |id: &str| {
        let mut entry = entry(id, "s@us", &["r@us"]);
        entry.recipients[0].local = true;
        entry
    };
    for id in ["h1", "h2", "h3"] {
        world.add(here(id));
    }
    for id in ["o1", "o2"] {
        world.add(entry(id, "s@us", &["r@x"]));
    }
    assert_eq!((world.deliveries.len(), world.attempts.len()), (2, 1));
    let (attempt, ..) = world.deliveries.pop_front().expect("a delivery");
    let outcomes = vec![delivered()];
    world.feed(Input::Finished { attempt, outcomes });
    assert_eq!(
        (world.deliveries.len(), world.attempts.len()),
        (2, 1),
        "while all are out"
    );
    world.finish(&delivered());
    assert_eq!((world.deliveries.len(), world.attempts.len()), (2, 1));
}

#[test]
fn notices_that_cannot_be_stored_wait_longer_and_longer_and_are_given_up() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "s@us", &["r@x"]));
    world.finish(&never());
    world.write_all();
    let mut waits = Vec::new();
    while !world.bounces.is_empty() {
        world.bounce(false);
        if world.queue.is_empty() {
            break;
        }
        waits.push(world.wait().as_secs());
        while world.bounces.is_empty() {
            world.wait();
        }
    }
    assert_eq!(waits[..8], [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    let all: u64 = waits.iter().sum();
    let most: u64 = DELAYS.iter().sum();
    assert!((most..most + 3600).contains(&all), "{all}");
    let given_up = Event::Unnoticed {
        entry: "m".into(),
        sender: "s@us".into(),
        kind: Kind::Failed,
    };
    assert_eq!(world.events.last(), Some(&given_up));
    world.write_all();
    assert!(world.disk.is_empty() && world.queue.is_idle());
}

#[test]
fn what_is_held_waits_and_then_goes_to_mailboxes_and_servers() {
    let mut world = World::new(Settings::default());
    let mut held = entry("h", "s@us", &["far@x", "near@us"]);
    held.hold_until = START + 100_000;
    held.wishes.hold = Some("for;100000".into());
    held.recipients[1].local = true;
    held.recipients[1].dsn.notify = Some(SUCCESS);
    for recipient in &mut held.recipients {
        recipient.next = held.hold_until;
    }
    world.add(held);
    assert!(world.attempts.is_empty() && world.deliveries.is_empty());
    world.restart(secs(50_000), 0);
    let mut waited = Duration::ZERO;
    while world.attempts.is_empty() {
        waited += world.wait();
    }
    assert_eq!(waited, secs(50_000));
    assert_eq!(world.finish(&later()), ["far@x"]);
    let (attempt, id, accounts) = world.deliveries.pop_front().expect("a delivery");
    assert_eq!((id.as_str(), accounts[0].to_string().as_str()), ("h", "near@us"));
    let outcomes = vec![Outcome::Delivered(report("2.1.5 delivered"))];
    world.feed(Input::Finished { attempt, outcomes });
    let notice = world.bounce(true);
    assert_eq!(told(&notice), (Kind::Delivered, vec!["near@us".to_owned()]));
    assert_eq!(notice.wishes.hold.as_deref(), Some("for;100000"));
    world.write_all();
    let left: Vec<&str> = world.disk["h"]
        .recipients
        .iter()
        .map(|to| to.address.as_str())
        .collect();
    assert_eq!(left, ["far@x"]);
    // That it was held is no delay: the notice of one comes four hours after the release.
    assert!(world.bounces.is_empty());
}

#[test]
fn what_the_sender_asked_for_goes_with_the_order_and_into_the_notice() {
    let mut world = World::new(Settings::default());
    let mut wanted = entry("w", "s@us", &["r@x"]);
    wanted.wishes = Wishes {
        ret: Some(Ret::Full),
        envid: Some("QQ314159".into()),
        require_tls: true,
        priority: 2,
        ..Wishes::default()
    };
    wanted.recipients[0].dsn.original = Some("rfc822;R@X".into());
    world.add(wanted.clone());
    let order = world.attempts.front().expect("an attempt").2.clone();
    assert_eq!(order.job.wishes, wanted.wishes);
    assert_eq!(order.job.recipients[0].dsn, wanted.recipients[0].dsn);
    let Route::Mx { tls, .. } = order.route else {
        panic!("by MX");
    };
    assert_eq!(tls, TlsPolicy::Verify);
    world.finish(&never());
    let notice = world.bounce(true);
    assert_eq!(notice.recipients[0].original.as_deref(), Some("rfc822;R@X"));
    assert!(
        !notice.wants_all(),
        "REQUIRETLS outranks RET=FULL (RFC 8689 section 5)"
    );
    let own = notice.own_wishes();
    assert_eq!((own.require_tls, own.priority, own.envid), (true, 2, None));
    // A notification is better sent without REQUIRETLS than lost.
    let mut bounce = entry("n", "", &["r@x"]);
    bounce.wishes.require_tls = true;
    world.add(bounce);
    let route = world.attempts.front().expect("an attempt").2.route.clone();
    let open = Route::Mx {
        domain: rmail_core::addr::Domain::parse("x").expect("domain"),
        port: 25,
        tls: TlsPolicy::Opportunistic,
    };
    assert_eq!(route, open);
}

#[test]
fn nine_attempts_at_the_times_of_the_schedule() {
    let mut world = World::new(Settings::default());
    world.pass(Duration::from_millis(300));
    world.add(entry("m", "a@us", &["b@x"]));
    let begin = world.mono;
    let mut times = Vec::new();
    let mut notices = Vec::new();
    loop {
        while !world.attempts.is_empty() {
            times.push((world.mono - begin).as_secs_f64());
            world.finish(&later());
            world.write_all();
        }
        while !world.bounces.is_empty() {
            let notice = world.bounce(true);
            notices.push((notice.kind, (world.mono - begin).as_secs()));
            world.write_all();
        }
        if world.disk.is_empty() {
            break;
        }
        world.wait();
    }
    let mut at = 0.0;
    let mut expected = vec![0.0];
    for delay in DELAYS {
        at += f64::from(u32::try_from(delay).expect("small"));
        expected.push(at);
    }
    assert_eq!(times, expected);
    let told = 4 * 3600 - 1; // arrived is in whole seconds: 0.3 s before the first attempt
    assert_eq!(
        notices,
        [(Kind::Delayed, told), (Kind::Failed, 136_260)],
        "37 h 51 min"
    );
    assert!(world.queue.is_empty() && world.queue.is_idle());
    let Some(Event::Failed {
        expired: true,
        told: true,
        report,
        ..
    }) = world.events.iter().rev().nth(1)
    else {
        panic!("{:?}", world.events);
    };
    assert_eq!(report.to_string(), "450 4.2.0 later");
    assert_eq!(world.events.last(), Some(&Event::Done("m".into())));
}

#[test]
fn a_restart_goes_on_where_the_schedule_stood() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x"]));
    world.finish(&later());
    world.write_all();
    world.wait();
    world.finish(&later());
    world.write_all();
    assert_eq!(world.disk["m"].recipients[0].attempts, 2);
    assert_eq!(
        world.disk["m"].recipients[0].last.as_deref(),
        Some("450 4.2.0 later")
    );
    // 300 s to go.
    world.restart(secs(100), 0);
    assert!(world.attempts.is_empty());
    assert_eq!(world.wait(), secs(200));
    assert_eq!(world.attempts.len(), 1);
    world.restart(secs(1000), 0);
    assert_eq!(world.attempts.len(), 1, "overdue: at once");
    world.finish(&later());
    world.write_all();
    world.restart(secs(0), -100_000);
    assert_eq!(
        world.wait(),
        secs(900),
        "a clock set back does not stretch the delay"
    );
}

#[test]
fn clock_jumps_while_running_change_nothing() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x"]));
    world.finish(&later());
    world.unix += secs(100_000);
    world.feed(Input::Tick);
    assert!(world.attempts.is_empty(), "never earlier");
    world.unix -= secs(500_000);
    assert_eq!(world.wait(), secs(60));
    assert_eq!(world.attempts.len(), 1);
}

#[test]
fn the_disk_follows_and_the_notice_comes_before_the_removal() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x", "c@x", "d@y"]));
    assert_eq!(world.attempts.len(), 2, "one for each next hop");
    let (attempt, _, order) = world.attempts.pop_front().expect("an attempt");
    assert_eq!(order.job.recipients.len(), 2);
    let outcomes = vec![never(), delivered()];
    world.feed(Input::Finished { attempt, outcomes });
    world.write_all();
    let left = |world: &World| -> Vec<String> {
        let recipients = world.disk["m"].recipients.iter();
        recipients.map(|recipient| recipient.address.clone()).collect()
    };
    assert_eq!(
        left(&world),
        ["b@x", "d@y"],
        "delivered ones go, the failed one waits for its notice"
    );
    assert_eq!(world.bounce(false).recipients[0].address, "b@x");
    world.write_all();
    assert_eq!(left(&world), ["b@x", "d@y"]);
    assert_eq!(
        (world.wait(), world.bounces.len()),
        (secs(60), 1),
        "the notice is tried again"
    );
    let notice = world.bounce(true);
    assert_eq!(
        (notice.kind, notice.sender.as_str(), notice.recipients.len()),
        (Kind::Failed, "a@us", 1)
    );
    world.write_all();
    assert_eq!(left(&world), ["d@y"]);
    world.finish(&delivered());
    world.write_all();
    assert!(world.disk.is_empty() && world.queue.is_empty());
    let failed = world
        .events
        .iter()
        .filter(|event| matches!(event, Event::Failed { .. }))
        .count();
    assert_eq!(failed, 1, "logged once");
}

#[test]
fn failures_of_the_same_moment_share_a_notice() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x", "c@x", "no address"]));
    let notice = world.bounce(true);
    assert_eq!(notice.recipients.len(), 1);
    assert_eq!(notice.recipients[0].report.enhanced, Enhanced(5, 1, 3));
    world.finish(&never());
    let notice = world.bounce(true);
    assert_eq!(notice.recipients.len(), 2);
    world.write_all();
    assert!(world.disk.is_empty());
}

#[test]
fn nobody_is_told_when_there_is_nobody_to_tell() {
    for sender in ["", "mailer-daemon@us", "MAILER-DAEMON@else.where"] {
        let mut world = World::new(Settings::default());
        world.add(entry("m", sender, &["b@x", "c@y"]));
        let path = &world.attempts[0].2.job.reverse_path;
        assert_eq!(*path == ReversePath::Null, sender.is_empty());
        world.finish(&never());
        world.finish(&later());
        world.write_all();
        while !world.disk.is_empty() {
            world.wait();
            while !world.attempts.is_empty() {
                world.finish(&later());
            }
            world.write_all();
        }
        assert!(world.bounces.is_empty());
        let told = world
            .events
            .iter()
            .any(|event| matches!(event, Event::Failed { told: true, .. }));
        assert!(!told);
    }
}

#[test]
fn delay_is_told_once_and_survives_a_restart() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x", "c@y"]));
    while world.mono < secs(4 * 3600) {
        while !world.attempts.is_empty() {
            world.finish(&later());
        }
        world.write_all();
        world.wait();
    }
    assert_eq!(world.mono, secs(4 * 3600));
    let notice = world.bounce(false);
    assert_eq!(
        (notice.kind, notice.recipients.len()),
        (Kind::Delayed, 2),
        "both in one"
    );
    let about = &notice.recipients[0];
    assert_eq!(about.report.to_string(), "450 4.2.0 later");
    assert_eq!(about.until, Some(Unix::from_secs(START + 136_260)));
    world.wait();
    assert_eq!(
        world.bounce(true).recipients.len(),
        2,
        "again, for it was not stored"
    );
    world.write_all();
    assert!(
        world.disk["m"]
            .recipients
            .iter()
            .all(|recipient| recipient.delay_told)
    );
    world.restart(secs(60), 0);
    while world.mono < secs(10 * 3600) {
        while !world.attempts.is_empty() {
            world.finish(&later());
        }
        world.write_all();
        assert!(world.bounces.is_empty());
        world.wait();
    }
}

#[test]
fn used_up_entries_are_told_of_after_a_crash() {
    let mut world = World::new(Settings::default());
    let mut stored = entry("m", "a@us", &["b@x"]);
    stored.recipients[0].attempts = 9;
    stored.recipients[0].last = Some("450 4.2.0 later".into());
    world.disk.insert("m".into(), stored);
    world.restart(secs(0), 0);
    assert!(world.attempts.is_empty());
    let notice = world.bounce(true);
    assert!(notice.recipients[0].expired);
    assert_eq!(notice.recipients[0].report.to_string(), "450 4.2.0 later");
    world.write_all();
    assert!(world.disk.is_empty());
}

#[test]
fn writes_that_fail_are_tried_again() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x"]));
    world.finish(&delivered());
    let (id, write) = world.writes.pop_front().expect("a write");
    assert_eq!(write, None);
    world.feed(Input::Saved { entry: id, ok: false });
    assert!(world.writes.is_empty());
    assert_eq!(world.wait(), secs(60));
    world.write_all();
    assert!(world.disk.is_empty() && world.queue.is_idle());
    assert_eq!(world.events.last(), Some(&Event::Done("m".into())));
    assert_eq!(world.queue.poll_timeout(), None);
}

#[test]
fn destinations_share_the_bound_fairly() {
    let mut world = World::new(Settings {
        max_attempts: 4,
        max_attempts_per_destination: 2,
        ..Settings::default()
    });
    for n in 0..10 {
        world.add(entry(&format!("big{n}"), "a@us", &["b@big"]));
    }
    assert_eq!(world.attempts.len(), 2);
    world.add(entry("s1", "a@us", &["b@small"]));
    world.add(entry("s2", "a@us", &["b@tiny"]));
    assert_eq!((world.attempts.len(), world.queue.running()), (4, 4));
    let mut most = 0;
    while !world.attempts.is_empty() {
        let big = world
            .attempts
            .iter()
            .filter(|(_, id, _)| id.starts_with("big"))
            .count();
        most = most.max(big);
        assert!(world.attempts.len() <= 4);
        world.finish(&delivered());
        world.write_all();
    }
    assert_eq!((most, world.disk.len()), (2, 0));
}

fn silent() -> Outcome {
    Outcome::Temporary(Report::ours(Enhanced(4, 4, 1), "mx.dead: connection timed out"))
}

#[test]
fn ten_thousand_messages_for_a_dead_destination_delay_nobody() {
    let mut world = World::new(Settings::default());
    for n in 0..10_000 {
        world.add(entry(&format!("d{n}"), "", &["b@dead"]));
    }
    let dead = |world: &World| {
        let ids = world.attempts.iter().map(|(_, id, _)| id);
        ids.filter(|id| id.starts_with('d')).count()
    };
    assert_eq!(dead(&world), 5, "as many as any may have");
    for _ in 0..5 {
        world.finish(&silent());
    }
    assert_eq!(dead(&world), 1, "until it is known that nobody is there");
    for n in 0..40 {
        world.add(entry(&format!("m{n}"), "", &[&format!("b@living{n}")]));
    }
    assert_eq!((world.attempts.len(), dead(&world)), (20, 1));
    // Its attempt takes as long as it wants.
    let slow = world.attempts.pop_front().expect("an attempt");
    let mut done = 0;
    while let Some((attempt, id, _)) = world.attempts.pop_front() {
        assert!(id.starts_with('m'), "{id}");
        let outcomes = vec![delivered()];
        world.feed(Input::Finished { attempt, outcomes });
        done += 1;
    }
    assert_eq!(done, 40);
    // Somebody is there again: it gets what any may have.
    let outcomes = vec![delivered()];
    world.feed(Input::Finished {
        attempt: slow.0,
        outcomes,
    });
    assert_eq!(dead(&world), 5);
}

#[test]
fn many_dead_destinations_leave_half_of_the_attempts_to_the_living() {
    let mut world = World::new(Settings::default());
    for n in 0..50 {
        for copy in 0..2 {
            world.add(entry(&format!("d{n}c{copy}"), "", &[&format!("b@dead{n}")]));
        }
    }
    // Time goes by and nobody answers.
    for _ in 0..100 {
        world.finish(&silent());
    }
    world.pass(secs(60));
    assert_eq!(world.attempts.len(), 10, "half of 20");
    for n in 0..10 {
        world.add(entry(&format!("m{n}"), "", &[&format!("b@living{n}")]));
    }
    assert_eq!(world.attempts.len(), 20);
    assert!(
        world
            .attempts
            .iter()
            .skip(10)
            .all(|(_, id, _)| id.starts_with('m'))
    );
}

#[test]
fn large_entries_go_in_parts() {
    let addresses: Vec<String> = (0..250).map(|n| format!("r{n}@x")).collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &all));
    let sizes: Vec<usize> = world
        .attempts
        .iter()
        .map(|(.., order)| order.job.recipients.len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn routes_decide_what_goes_together() {
    let mut world = World::new(Settings::default());
    let target = |port| Target {
        host: "smart".into(),
        port,
        credentials: None,
        tls: TlsPolicy::None,
    };
    let mut settings = Settings::default();
    settings.routes.insert("*".into(), target(1));
    settings.routes.insert("z".into(), target(2));
    world.feed(Input::Settings(Box::new(settings.clone())));
    world.add(entry("m", "a@us", &["b@x", "c@y", "d@z"]));
    let mut ways: Vec<(usize, Route)> = world
        .attempts
        .iter()
        .map(|(.., order)| (order.job.recipients.len(), order.route.clone()))
        .collect();
    ways.sort_by_key(|(n, _)| *n);
    assert_eq!(
        ways,
        [(1, Route::Target(target(2))), (2, Route::Target(target(1)))]
    );
    settings.max_attempts = 0;
    world.feed(Input::Settings(Box::new(settings.clone())));
    world.add(entry("n", "a@us", &["b@x", "c@z"]));
    assert_eq!(world.attempts.len(), 2, "no room");
    settings.max_attempts = 20;
    settings.routes.remove("z");
    world.feed(Input::Settings(Box::new(settings)));
    let (.., order) = world.attempts.back().expect("an attempt");
    assert_eq!(
        (world.attempts.len(), order.job.recipients.len()),
        (3, 2),
        "a new way for what waits"
    );
}

#[test]
fn an_operator_may_retry_at_once() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x"]));
    world.finish(&later());
    world.command("other", Command::Retry);
    assert!(world.attempts.is_empty());
    world.command("m", Command::Retry);
    assert_eq!(world.attempts.len(), 1);
    world.finish(&later());
    assert_eq!(world.wait(), secs(300), "one timer, of the second delay");
}

#[test]
fn what_an_operator_holds_is_not_tried_until_it_is_released() {
    let mut settings = Settings {
        max_attempts: 0,
        ..Settings::default()
    };
    let mut world = World::new(settings.clone());
    world.add(entry("m", "a@us", &["b@x", "c@y"]));
    world.command("m", Command::Hold);
    world.write_all();
    assert!(world.disk["m"].held);
    settings.max_attempts = 20;
    world.settings = settings.clone();
    world.feed(Input::Settings(Box::new(settings)));
    world.command("m", Command::Retry);
    world.pass(secs(5 * 24 * 3600));
    assert!(world.attempts.is_empty());
    world.restart(secs(10), 0);
    world.pass(secs(24 * 3600));
    assert!(world.attempts.is_empty(), "nor after a restart");
    world.command("m", Command::Release);
    world.write_all();
    assert_eq!(world.attempts.len(), 2);
    assert!(!world.disk["m"].held);
    world.command("m", Command::Release);
    assert!(world.attempts.len() == 2 && world.writes.is_empty());
}

#[test]
fn nothing_is_begun_before_all_is_loaded_and_known() {
    let mut world = World::new(Settings {
        max_attempts: 1,
        ..Settings::default()
    });
    let mut urgent = entry("c", "a@us", &["b@x"]);
    urgent.wishes.priority = 5;
    let parts = [
        vec![
            entry("a", "a@us", &["b@x"]),
            entry("b", "a@us", &["b@x"]),
            entry("d", "a@us", &["b@x"]),
        ],
        vec![urgent],
    ];
    for part in parts {
        for entry in &part {
            world.disk.insert(entry.id.clone(), entry.clone());
        }
        world.feed(Input::Loading(part));
        world.pass(secs(1));
    }
    world.command("a", Command::Hold);
    world.command("d", Command::Fail);
    assert!(world.attempts.is_empty());
    world.feed(Input::Loaded(Vec::new()));
    let mut tried = Vec::new();
    while let Some((_, id, _)) = world.attempts.front() {
        tried.push(id.clone());
        world.finish(&delivered());
    }
    assert_eq!(tried, ["c", "b"]);
}

#[test]
fn what_runs_when_an_entry_is_held_may_finish() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x", "c@y"]));
    world.command("m", Command::Hold);
    world.finish(&later());
    world.finish(&delivered());
    world.write_all();
    world.pass(secs(3600));
    assert!(world.attempts.is_empty());
    assert_eq!(world.disk["m"].recipients.len(), 1);
    world.command("m", Command::Release);
    assert_eq!(world.attempts.len(), 1);
}

#[test]
fn release_ends_the_senders_hold_too_and_retry_does_not() {
    let mut world = World::new(Settings::default());
    let mut held = entry("m", "a@us", &["b@x"]);
    held.hold_until = START + 7 * 86_400;
    held.recipients[0].next = START + 7 * 86_400;
    world.add(held);
    world.command("m", Command::Retry);
    assert!(world.attempts.is_empty());
    world.pass(secs(600));
    world.command("m", Command::Release);
    world.write_all();
    assert_eq!(world.attempts.len(), 1);
    assert_eq!(world.disk["m"].hold_until, START + 600, "delay counts from here");
    world.finish(&later());
    world.pass(secs(4 * 3600 - 1));
    assert!(world.bounces.is_empty());
    world.finish(&later());
    world.pass(secs(2));
    assert_eq!(
        world.bounces.len(),
        1,
        "and not from the end of the sender's hold"
    );
}

#[test]
fn an_operator_may_end_an_entry_and_its_sender_is_told() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x", "c@y", "d@z"]));
    world.finish(&later());
    world.command("m", Command::Fail);
    let notice = world.bounces[0].2.clone();
    assert_eq!(told(&notice), (Kind::Failed, vec!["b@x".to_owned()]));
    assert_eq!(
        notice.recipients[0].report.to_string(),
        "5.0.0 removed by an operator"
    );
    world.finish(&delivered());
    world.finish(&later());
    assert_eq!(told(&world.bounces[1].2), (Kind::Failed, vec!["d@z".to_owned()]));
    world.write_all();
    assert!(world.disk["m"].recipients.iter().all(|rcpt| rcpt.failed));
    world.restart(secs(1), 0);
    assert!(world.attempts.is_empty(), "the end is on disk before the notice");
    assert_eq!(
        told(&world.bounce(true)),
        (Kind::Failed, vec!["b@x".to_owned(), "d@z".to_owned()])
    );
    world.write_all();
    assert!(world.disk.is_empty());
}

#[test]
fn shutdown_begins_nothing_new_and_waits_for_what_runs() {
    let mut world = World::new(Settings::default());
    world.add(entry("m", "a@us", &["b@x"]));
    world.feed(Input::Shutdown);
    world.add(entry("n", "a@us", &["b@y"]));
    assert_eq!(world.attempts.len(), 1);
    assert!(!world.queue.is_idle());
    world.finish(&never());
    assert!(!world.queue.is_idle());
    world.write_all();
    world.bounce(true);
    assert!(!world.queue.is_idle());
    world.write_all();
    assert!(world.queue.is_idle());
    assert_eq!(world.disk.keys().collect::<Vec<_>>(), ["n"]);
}

/// Lives of a queue: random outcomes, slow and failing writes, and (or not) crashes at any point.
fn live(seed: u8, crashes: bool) {
    let mut random = Random::from_seed([seed; 32]);
    let mut world = World::new(Settings {
        max_attempts: 3,
        max_attempts_per_destination: 2,
        ..Settings::default()
    });
    let mut delivered_to: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut told_of: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut earliest: BTreeMap<(String, String), (usize, Duration)> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for step in 0..6_000_u32 {
        if step < 200 && random.below(20) == 0 {
            let id = format!("e{step}");
            let count = 1 + random.below(4);
            let addresses: Vec<String> = (0..count).map(|n| format!("r{n}@d{}", random.below(3))).collect();
            let recipients: Vec<&str> = addresses.iter().map(String::as_str).collect();
            all.extend(addresses.iter().map(|address| (id.clone(), address.clone())));
            let mut new = entry(&id, "a@us", &recipients);
            new.arrived = world.unix.as_secs();
            world.add(new);
        }
        match random.below(8) {
            0 | 1 if !world.attempts.is_empty() => {
                let (attempt, id, order) = world.attempts.pop_front().expect("an attempt");
                let mut outcomes = Vec::new();
                for client::Recipient {
                    address: recipient, ..
                } in &order.job.recipients
                {
                    let key = (id.clone(), recipient.to_string());
                    if let Some((n, finished)) = earliest.get(&key)
                        && !crashes
                    {
                        let since = world.mono.saturating_sub(*finished);
                        assert!(since >= secs(DELAYS[n - 1]), "attempt {n} too early");
                    }
                    let tried = earliest.get(&key).map_or(0, |(n, _)| *n);
                    earliest.insert(key.clone(), (tried + 1, world.mono));
                    outcomes.push(match random.below(6) {
                        0 => never(),
                        1 => {
                            *delivered_to.entry(key).or_default() += 1;
                            delivered()
                        }
                        _ => later(),
                    });
                }
                // The server has it, but we may die before we know.
                if !(crashes && random.below(30) == 0) {
                    world.feed(Input::Finished { attempt, outcomes });
                }
            }
            2 | 3 if !world.writes.is_empty() => {
                if random.below(5) == 0 {
                    let (id, _) = world.writes.pop_front().expect("a write");
                    world.feed(Input::Saved { entry: id, ok: false });
                } else {
                    world.write_one();
                }
            }
            4 if !world.bounces.is_empty() => {
                let stored = random.below(4) > 0;
                let (bounce, id, notice) = world.bounces.pop_front().expect("a notice");
                if stored && notice.kind == Kind::Failed {
                    for about in &notice.recipients {
                        *told_of.entry((id.clone(), about.address.clone())).or_default() += 1;
                    }
                }
                if !(crashes && random.below(10) == 0) {
                    world.feed(Input::Bounced { bounce, stored });
                }
            }
            5 if crashes && random.below(40) == 0 => world.restart(secs(random.below(1000)), 0),
            6 if world.attempts.is_empty() && world.writes.is_empty() && world.bounces.is_empty() => {
                if world.queue.poll_timeout().is_some() {
                    world.wait();
                }
            }
            _ => world.pass(Duration::from_millis(random.below(100))),
        }
        if crashes && step % 1500 == 1499 {
            world.restart(secs(1), 0);
        }
    }
    if !world.disk.is_empty() {
        // What is left is in order; let it end without further accidents.
        world.restart(secs(0), 0);
        while !world.disk.is_empty() {
            while !world.attempts.is_empty() {
                let (_, id, order) = world.attempts.front().expect("an attempt");
                for client::Recipient {
                    address: recipient, ..
                } in &order.job.recipients
                {
                    *delivered_to
                        .entry((id.clone(), recipient.to_string()))
                        .or_default() += 1;
                }
                world.finish(&delivered());
            }
            while let Some((bounce, id, notice)) = world.bounces.pop_front() {
                if notice.kind == Kind::Failed {
                    for about in &notice.recipients {
                        *told_of.entry((id.clone(), about.address.clone())).or_default() += 1;
                    }
                }
                world.feed(Input::Bounced { bounce, stored: true });
            }
            world.write_all();
            if !world.disk.is_empty() && world.attempts.is_empty() && world.bounces.is_empty() {
                world.wait();
            }
        }
    }
    for key in &all {
        let (got, told) = (delivered_to.get(key).copied(), told_of.get(key).copied());
        let ends = got.unwrap_or_default() + told.unwrap_or_default();
        assert!(ends >= 1, "seed {seed}: {key:?} is lost");
        if !crashes {
            assert_eq!(ends, 1, "seed {seed}: {key:?} delivered {got:?}, told {told:?}");
        }
    }
}

#[test]
fn every_recipient_is_delivered_or_told_of_exactly_once() {
    for seed in 0..60 {
        live(seed, false);
    }
}

#[test]
fn crashes_repeat_but_never_lose() {
    for seed in 0..60 {
        live(seed, true);
    }
}
