//! What the service does with the wishes of an envelope: held messages, confirmations of delivery, priorities.

use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::dns::mx::Ourselves;
use rmail_core::machine::Machine as _;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::relay::queue::{Action, Input, Queue};
use rmail_core::relay::{Enhanced, Outcome, bounce};
use rmail_core::smtp::envelope::{Envelope, Notify};
use rmail_core::smtp::server::{Call, Reply};
use rmail_core::time::{Now, Unix};
use rmail_store::MailStore as _;
use rmail_store::disk::Disk as _;
use rmail_store::mem::{Fault, MemDisk, Model, Outcome as Power};
use rmail_store::service::Service;

const MESSAGE: &[u8] = b"Return-Path: <alice@example.com>\r\nSubject: hello\r\n\r\nbody\r\n";

/// Seconds that the messages are held.
const HELD: u64 = 86_400;

const SUCCESS: Notify = Notify {
    success: true,
    failure: true,
    delay: false,
};

fn later(secs: u64) -> Now {
    Now {
        mono: now().mono + Duration::from_secs(secs),
        unix: Unix::from_secs(now().unix.secs() + secs),
    }
}

fn held(to: &[&str]) -> Envelope {
    let mut envelope = envelope(Some("alice@example.com"), "alice@example.com", to);
    envelope.hold_until = Some(later(HELD).unix);
    envelope.relay_offset = 34;
    for recipient in &mut envelope.recipients {
        recipient.dsn.notify = Some(SUCCESS);
    }
    envelope
}

type Shared = Arc<Service<Store, MemDisk>>;

/// Runs the queue at a moment until it wants no more. Who got notices, and of what kind.
fn drive(service: &Shared, entries: Vec<Entry>, now: Now) -> Vec<(bounce::Kind, String)> {
    let mut queue = Queue::new(Default::default(), Ourselves::default(), [1; 32]);
    let mut notices = Vec::new();
    queue.handle_input(now, Input::Loaded(entries));
    while let Some(action) = queue.poll_action() {
        let input = match action {
            Action::Deliver {
                attempt,
                entry,
                accounts,
            } => {
                let outcomes = block_on(service.deliver_queued(&entry, &accounts, now));
                Input::Finished { attempt, outcomes }
            }
            Action::Save(entry) => Input::Saved {
                ok: block_on(service.save_outbound(&entry)).is_ok(),
                entry: entry.id,
            },
            Action::Remove(entry) => Input::Saved {
                ok: block_on(service.remove_outbound(&entry)).is_ok(),
                entry,
            },
            Action::Bounce { bounce, notice, .. } => {
                let message = bounce::build(
                    &notice,
                    b"Subject: x\r\n\r\n",
                    now.unix,
                    &mut Random::from_seed([2; 32]),
                );
                let stored = block_on(service.deliver_bounce("n1", &notice, &message, now)).is_ok();
                if stored {
                    notices.push((notice.kind, notice.sender.clone()));
                }
                Input::Bounced { bounce, stored }
            }
            Action::Attempt { .. } | Action::Event(_) => continue,
        };
        queue.handle_input(now, input);
    }
    notices
}

fn queued(world: &World) -> Vec<Entry> {
    block_on(world.store.load_outbound()).expect("queue")
}

fn count(store: &Store, name: &str) -> usize {
    let selected = block_on(store.select(&account(name), &mailbox_name("INBOX"), true));
    selected.expect("select").snapshot.rows.len()
}

#[test]
fn a_held_message_waits_in_the_queue_for_everybody() {
    let world = World::new();
    let to = ["bob@example.com", "dan@elsewhere.net", "carol@example.org"];
    assert_eq!(send(&world.smtp(), MESSAGE, held(&to)), Ok(()));
    assert_eq!(count(&world.store, "bob@example.com"), 0);
    let entries = queued(&world);
    assert_eq!(*world.told.lock().unwrap(), entries);
    let due = later(HELD).unix.secs();
    let seen: Vec<(&str, bool, u64)> = entries[0]
        .recipients
        .iter()
        .map(|to| (to.address.as_str(), to.local, to.next))
        .collect();
    assert_eq!(
        seen,
        [
            ("dan@elsewhere.net", false, due),
            ("bob@example.com", true, due),
            ("carol@example.org", true, due)
        ]
    );
    assert_eq!(entries[0].hold_until, due);

    assert!(drive(&world.service, entries, later(HELD - 1)).is_empty());
    assert_eq!(count(&world.store, "bob@example.com"), 0, "a second too early");
    let notices = drive(&world.service, queued(&world), later(HELD));
    assert_eq!(
        notices,
        [(bounce::Kind::Delivered, "alice@example.com".to_owned())]
    );
    assert_eq!(world.newest("bob@example.com"), MESSAGE);
    assert_eq!(world.newest("carol@example.org"), MESSAGE);
    let left: Vec<String> = queued(&world)[0]
        .recipients
        .iter()
        .map(|to| to.address.clone())
        .collect();
    assert_eq!(left, ["dan@elsewhere.net"]);
}

#[test]
fn a_time_that_is_over_holds_nothing() {
    let world = World::new();
    let mut envelope = held(&["bob@example.com"]);
    envelope.hold_until = Some(now().unix);
    envelope.recipients[0].dsn.notify = None;
    assert_eq!(send(&world.smtp(), MESSAGE, envelope), Ok(()));
    assert_eq!(world.newest("bob@example.com"), MESSAGE);
    assert!(queued(&world).is_empty());
}

#[test]
fn who_is_gone_when_the_time_comes_does_not_get_it() {
    let world = World::new();
    assert_eq!(
        send(
            &world.smtp(),
            MESSAGE,
            held(&["bob@example.com", "carol@example.org"])
        ),
        Ok(())
    );
    let off = block_on(
        world
            .service
            .accounts()
            .set_enabled(&account("bob@example.com"), false),
    );
    off.expect("disable");
    let id = queued(&world)[0].id.clone();
    let accounts = ["bob@example.com", "gone@example.com", "carol@example.org"].map(address);
    let outcomes = block_on(world.service.deliver_queued(&id, &accounts, later(HELD)));
    let codes: Vec<(bool, Enhanced)> = outcomes
        .iter()
        .map(|outcome| {
            (
                matches!(outcome, Outcome::Delivered(_)),
                outcome.report().enhanced,
            )
        })
        .collect();
    assert_eq!(
        codes,
        [
            (false, Enhanced(5, 2, 1)),
            (false, Enhanced(5, 1, 1)),
            (true, Enhanced(2, 1, 5))
        ]
    );
    // A full mailbox may have room tomorrow.
    world.append("carol@example.org", "Archive", &vec![b'x'; 1 << 20]);
    let full = block_on(world.service.deliver_queued(&id, &accounts[2..], later(HELD)));
    assert!(matches!(&full[0], Outcome::Temporary(report) if report.enhanced == Enhanced(4, 2, 2)));
}

#[test]
fn delivery_here_is_confirmed_to_those_who_asked() {
    let world = World::new();
    let mut wanted = envelope(
        None,
        "dan@elsewhere.net",
        &["bob+x@example.com", "carol@example.org"],
    );
    wanted.recipients[0].dsn.notify = Some(SUCCESS);
    wanted.recipients[0].dsn.original = Some("rfc822;Bob+x@example.com".into());
    assert_eq!(send(&world.smtp(), MESSAGE, wanted), Ok(()));
    assert_eq!(count(&world.store, "bob@example.com"), 1);
    let entries = queued(&world);
    assert_eq!(entries[0].recipients.len(), 1);
    assert_eq!(
        (
            entries[0].recipients[0].address.as_str(),
            entries[0].recipients[0].done.as_deref()
        ),
        ("bob+x@example.com", Some("2.1.5 delivered"))
    );
    let notices = drive(&world.service, entries, now());
    assert_eq!(
        notices,
        [(bounce::Kind::Delivered, "dan@elsewhere.net".to_owned())]
    );
    assert_eq!(count(&world.store, "bob@example.com"), 1, "not delivered again");
    let left = queued(&world);
    assert_eq!(
        (left.len(), left[0].sender.as_str()),
        (1, ""),
        "the notice, to a sender elsewhere"
    );
    assert_eq!(left[0].recipients[0].dsn.notify, Some(Notify::default()));

    let mut nobody = envelope(None, "", &["bob@example.com"]);
    nobody.recipients[0].dsn.notify = Some(SUCCESS);
    nobody.id = "m2".into();
    assert_eq!(send(&world.smtp(), MESSAGE, nobody), Ok(()));
    assert_eq!(queued(&world).len(), 1);
}

#[test]
fn an_address_elsewhere_is_not_flooded_with_notices() {
    let world = World::new();
    let tell = |n: u64, kind, at| tell(&world, n, &notice(kind, "victim@elsewhere.net"), at);
    for n in 0..60 {
        tell(n, bounce::Kind::Relayed, now()).expect("told");
    }
    tell(60, bounce::Kind::Relayed, now()).expect("dropped");
    assert_eq!(queued(&world).len(), 60);
    let failed = tell(61, bounce::Kind::Failed, now()).expect_err("has to wait");
    assert_eq!(failed.refusal, Refusal::TooManyAttempts);
    // Who has logged in has not made up the address: its confirmations wait.
    let mut own = notice(bounce::Kind::Relayed, "victim@elsewhere.net");
    let may = |notice: &bounce::Notice| block_on(world.service.may_deliver_bounce("n63", notice, now()));
    assert!(!may(&own).expect("not even built"));
    own.authenticated = true;
    let waits = Refusal::TooManyAttempts;
    assert_eq!(may(&own).expect_err("has to wait").refusal, waits);
    let failed = self::tell(&world, 63, &own, now()).expect_err("has to wait");
    assert_eq!(failed.refusal, waits);
    tell(62, bounce::Kind::Failed, later(3600)).expect("told");
    assert_eq!(queued(&world).len(), 61);
}

fn notice(kind: bounce::Kind, sender: &str) -> bounce::Notice {
    bounce::Notice {
        kind,
        hostname: "mail.example.com".into(),
        sender: sender.into(),
        authenticated: false,
        entry: "e1".into(),
        arrived: now().unix,
        recipients: Vec::new(),
        wishes: Default::default(),
    }
}

fn tell(world: &World, n: u64, notice: &bounce::Notice, at: Now) -> rmail_store::error::Result<()> {
    let message = bounce::Message {
        bytes: b"Return-Path: <>\r\n\r\n".to_vec(),
        offset: 17,
        eight_bit: false,
    };
    let id = format!("n{n}");
    block_on(world.service.deliver_bounce(&id, notice, &message, at))
}

#[test]
fn notices_take_no_places_of_users() {
    let world = World::with(|settings| settings.max_queue_size = 10);
    let session = world.smtp();
    let out = |id: &str| {
        let mut envelope = envelope(
            Some("alice@example.com"),
            "alice@example.com",
            &["dan@elsewhere.net"],
        );
        envelope.id = id.into();
        send(&session, MESSAGE, envelope)
    };
    for n in 1..10 {
        assert_eq!(out(&format!("m{n}")), Ok(()));
    }
    let relayed = |n: u64| notice(bounce::Kind::Relayed, &format!("v{n}@elsewhere.net"));
    tell(&world, 0, &relayed(0), now()).expect("told");
    assert_eq!(queued(&world).len(), 10);
    // A tenth of the queue is for notices; of success to strangers are none beyond it.
    tell(&world, 1, &relayed(1), now()).expect("dropped");
    assert_eq!(queued(&world).len(), 10);
    let full = Refusal::QueueFull;
    let mut own = relayed(2);
    own.authenticated = true;
    let failed = notice(bounce::Kind::Failed, "v3@elsewhere.net");
    for waiting in [&own, &failed] {
        let error = tell(&world, 2, waiting, now()).expect_err("has to wait");
        assert_eq!(error.refusal, full);
        let error = block_on(world.service.may_deliver_bounce("n2", waiting, now()));
        assert_eq!(error.expect_err("has to wait").refusal, full);
    }
    let alice = Some("alice@example.com");
    assert!(recipient(&session, alice, "dan@elsewhere.net", None).is_ok());
    assert_eq!(out("m10"), Ok(()));
    assert_eq!(out("m11"), Err(full));
    block_on(world.service.remove_outbound("n0")).expect("remove");
    tell(&world, 3, &failed, now()).expect("told, though the queue is full of mail");
    // What is read at the start is told apart too.
    let service = Service::new(Arc::clone(&world.store), accounts(&world.disk, 7), {
        let mut settings = settings();
        settings.max_queue_size = 11;
        settings
    });
    assert_eq!(block_on(service.load_outbound()).expect("queue").len(), 11);
    assert!(
        recipient(
            &service.smtp_session(rmail_core::peer::Peer::LOCAL),
            alice,
            "dan@elsewhere.net",
            None
        )
        .is_ok()
    );
}

#[test]
fn an_account_holds_a_tenth_of_the_queue() {
    let world = World::with(|settings| settings.max_queue_size = 10);
    let session = world.smtp();
    let hold = |id: &str, by: &str| {
        let mut envelope = held(&["carol@example.org"]);
        envelope.id = id.into();
        envelope.account = Some(account(by));
        envelope.reverse_path = reverse_path(by);
        send(&session, MESSAGE, envelope)
    };
    assert_eq!(hold("m1", "alice@example.com"), Ok(()));
    assert_eq!(hold("m2", "alice@example.com"), Err(Refusal::QueueFull));
    assert_eq!(hold("m3", "bob@example.com"), Ok(()));
    let mut at_once = held(&["dan@elsewhere.net"]);
    at_once.id = "m4".into();
    at_once.hold_until = None;
    assert_eq!(send(&session, MESSAGE, at_once), Ok(()));
    assert_eq!(queued(&world).len(), 3);
}

#[test]
fn what_is_held_goes_only_if_its_account_may_send_still() {
    let world = World::new();
    assert_eq!(send(&world.smtp(), MESSAGE, held(&["bob@example.com"])), Ok(()));
    let id = queued(&world)[0].id.clone();
    let to = [address("bob@example.com")];
    let enable = |on| {
        let accounts = world.service.accounts();
        block_on(accounts.set_enabled(&account("alice@example.com"), on)).expect("changed");
    };
    let broken = Service::new(Arc::clone(&world.store), accounts(&world.disk, 8), settings());
    enable(false);
    let refused = block_on(world.service.deliver_queued(&id, &to, later(HELD)));
    assert!(matches!(&refused[0], Outcome::Permanent(report) if report.enhanced == Enhanced(5, 7, 1)));
    assert_eq!(
        block_on(world.service.check_release(&id)).as_ref(),
        Some(&refused[0])
    );
    assert_eq!(count(&world.store, "bob@example.com"), 0);
    // After another start too; a file that cannot be read makes it wait.
    let file = world.read_file(&user_file("alice@example.com"));
    world.edit(&user_file("alice@example.com"), "{\"enabled\": ");
    block_on(broken.load_outbound()).expect("queue");
    let waits = block_on(broken.deliver_queued(&id, &to, later(HELD)));
    assert!(matches!(&waits[0], Outcome::Temporary(_)), "{waits:?}");
    world.edit(&user_file("alice@example.com"), &file);
    enable(true);
    let goes = block_on(world.service.deliver_queued(&id, &to, later(HELD)));
    assert!(matches!(&goes[0], Outcome::Delivered(_)), "{goes:?}");
    // What has been released goes on.
    enable(false);
    assert_eq!(block_on(world.service.check_release(&id)), None);
}

#[test]
fn what_keeps_one_mailbox_from_it_is_not_the_outcome_of_the_others() {
    let world = World::new();
    let to = ["bob@example.com", "carol@example.org"];
    assert_eq!(send(&world.smtp(), MESSAGE, held(&to)), Ok(()));
    let id = queued(&world)[0].id.clone();
    let to = to.map(address);
    // Without a quota nothing but the delivery itself finds out that his mailboxes are broken.
    world.edit(&user_file("bob@example.com"), "{}");
    let bob = world.dir("domains/example.com/users/bob/mailboxes");
    block_on(
        world
            .disk
            .rename(&bob, "INBOX", &world.dir("domains/example.com/users/bob"), "away"),
    )
    .expect("renamed");
    world.edit("domains/example.com/users/bob/mailboxes/INBOX", "no directory");
    world.disk.kill();
    let disk = world.disk.process();
    let store = Arc::new(open_store(&disk));
    let service = Service::new(Arc::clone(&store), accounts(&disk, 9), settings());
    block_on(service.load_outbound()).expect("queue");
    let outcomes = block_on(service.deliver_queued(&id, &to, later(HELD)));
    assert!(matches!(&outcomes[1], Outcome::Delivered(_)), "{outcomes:?}");
    assert!(matches!(&outcomes[0], Outcome::Temporary(_)), "{outcomes:?}");
    assert_eq!(count(&store, "carol@example.org"), 1);
}

#[test]
fn a_raised_priority_is_for_those_who_may() {
    let world = World::new();
    let session = world.smtp();
    let ask = |name: &str, wanted| {
        let account = account(name);
        ask(&session, Call::Priority { account, wanted })
    };
    assert_eq!(ask("bob@example.com", 5), Reply::Priority(Ok(0)));
    assert_eq!(ask("alice@example.com", 5), Reply::Priority(Ok(5)));
    assert_eq!(
        ask("nobody@example.com", 5),
        Reply::Priority(Err(Refusal::AccountDisabled))
    );
    world.edit(&user_file("bob@example.com"), r#"{"max_priority": 3}"#);
    world.service.accounts().tick(later(4_000));
    assert_eq!(ask("bob@example.com", 5), Reply::Priority(Ok(3)));
}

/// Whatever the instant of a crash: who was waiting gets the message, at worst twice, and its sender is told.
#[test]
fn a_crash_while_a_held_message_is_delivered_loses_nothing() {
    let world = World::new();
    assert_eq!(send(&world.smtp(), MESSAGE, held(&["bob@example.com"])), Ok(()));
    drop(world.service);
    let mut crashed = 0;
    for at in 1_u64.. {
        let ends = [None, Some(Model::Adversary), Some(Model::Ordered)];
        let mut cut = false;
        for end in ends {
            let disk = world.disk.fork();
            {
                let store = Arc::new(open_store(&disk));
                let service = Service::new(Arc::clone(&store), accounts(&disk, 5), settings());
                let entries = block_on(service.load_outbound()).expect("queue");
                disk.fault(disk.calls() + at, Fault::Crash);
                drive(&service, entries, later(HELD));
                cut |= disk.is_dead();
            }
            disk.kill();
            if let Some(model) = end {
                disk.power_cut(
                    model,
                    Power::Lost,
                    &mut Random::from_seed([at.to_le_bytes()[0]; 32]),
                );
            }
            let disk = disk.process();
            let store = Arc::new(open_store(&disk));
            let service = Service::new(Arc::clone(&store), accounts(&disk, 6), settings());
            let entries = block_on(service.load_outbound()).expect("queue");
            drive(&service, entries, later(HELD));
            let what = format!("cut at call {at} by {end:?}");
            let copies = count(&store, "bob@example.com");
            assert!((1..=2).contains(&copies), "{what}: {copies} copies");
            let told = count(&store, "alice@example.com");
            assert!((1..=2).contains(&told), "{what}: told {told} times");
            let left = block_on(store.load_outbound()).expect("queue");
            assert!(left.is_empty(), "{what}: {left:?}");
            crashed += u64::from(copies == 2);
        }
        if !cut {
            break;
        }
    }
    assert!(crashed > 0, "no crash ever fell between delivery and the entry");
}
