//! What the service does with the wishes of an envelope: held messages, confirmations of delivery, priorities.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod service_common;

use std::sync::Arc;
use std::time::Duration;

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
use rmail_store::mem::{Fault, MemDisk, Model, Outcome as Power};
use rmail_store::service::Service;
use service_common::*;

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
    let notice = |kind| bounce::Notice {
        kind,
        hostname: "mail.example.com".into(),
        sender: "victim@elsewhere.net".into(),
        entry: "e1".into(),
        arrived: now().unix,
        recipients: Vec::new(),
        wishes: Default::default(),
    };
    let message = bounce::Message {
        bytes: b"Return-Path: <>\r\n\r\n".to_vec(),
        offset: 17,
        eight_bit: false,
    };
    let tell = |n: u64, kind, at| {
        block_on(
            world
                .service
                .deliver_bounce(&format!("n{n}"), &notice(kind), &message, at),
        )
    };
    for n in 0..60 {
        tell(n, bounce::Kind::Relayed, now()).expect("told");
    }
    tell(60, bounce::Kind::Relayed, now()).expect("dropped");
    assert_eq!(queued(&world).len(), 60);
    let failed = tell(61, bounce::Kind::Failed, now()).expect_err("has to wait");
    assert_eq!(failed.refusal, Refusal::TooManyAttempts);
    tell(62, bounce::Kind::Failed, later(3600)).expect("told");
    assert_eq!(queued(&world).len(), 61);
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
