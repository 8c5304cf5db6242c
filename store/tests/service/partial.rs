//! A mailbox that cannot be written while others can: its message waits in the queue, and no reply is a lie.

use std::sync::{Arc, Mutex};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::refusal::Refusal;
use rmail_core::relay::Outcome;
use rmail_core::relay::entry::Entry;
use rmail_core::smtp::envelope::{Envelope, Notify};
use rmail_store::MailStore as _;
use rmail_store::disk::Disk as _;
use rmail_store::mem::{Fault, MemDisk, Model, Outcome as Cut};
use rmail_store::service::{Service, Settings};

const LEVELS: &str = "domains/example.com/users/bob/mailboxes";
const TEXT: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

/// A further process on the same disk.
fn process(disk: &MemDisk) -> World {
    let disk = Arc::new(disk.process());
    let store = Arc::new(open_store(&disk));
    let told = Arc::new(Mutex::new(Vec::new()));
    let service = Service::new(Arc::clone(&store), accounts(&disk, 3), settings());
    let heard = Arc::clone(&told);
    service.set_outbound_listener(Arc::new(move |entry| heard.lock().unwrap().push(entry)));
    World {
        disk,
        store,
        service,
        told,
    }
}

/// A world in which bob's INBOX is no directory.
fn broken() -> World {
    let world = World::new();
    world.inbox("bob@example.com");
    world.inbox("carol@example.org");
    let levels = world.dir(LEVELS);
    block_on(world.disk.rename(&levels, "INBOX", &levels, "kept")).expect("rename");
    world.edit(&format!("{LEVELS}/INBOX"), "junk");
    block_on(world.disk.sync_dir(&levels)).expect("sync");
    process(&world.disk)
}

fn mend(world: &World) {
    let levels = world.dir(LEVELS);
    block_on(world.disk.unlink(&levels, "INBOX")).expect("unlink");
    block_on(world.disk.rename(&levels, "kept", &levels, "INBOX")).expect("rename");
}

fn queued(world: &World) -> Vec<Entry> {
    block_on(world.store.load_outbound()).expect("load")
}

fn locals(entry: &Entry) -> Vec<&str> {
    let open = entry.recipients.iter().filter(|to| to.local && to.done.is_none());
    open.map(|to| &*to.address).collect()
}

#[test]
fn who_cannot_be_written_gets_it_from_the_queue() {
    let world = broken();
    let to = ["carol@example.org", "bob@example.com"];
    send(&world.smtp(), TEXT, envelope(None, "x@elsewhere.net", &to)).expect("accepted");
    assert_eq!(world.inbox("carol@example.org").rows.len(), 1);
    let entries = queued(&world);
    assert_eq!(entries.len(), 1);
    assert_eq!(locals(&entries[0]), ["bob@example.com"]);
    assert_eq!(*world.told.lock().unwrap(), entries, "the relay is told");
    let id = &entries[0].id;
    let bob = [address("bob@example.com")];
    let again = block_on(world.service.deliver_queued(id, &bob, now()));
    assert!(matches!(again[..], [Outcome::Temporary(_)]), "{again:?}");
    mend(&world);
    let again = block_on(world.service.deliver_queued(id, &bob, now()));
    assert!(matches!(again[..], [Outcome::Delivered(_)]), "{again:?}");
    assert_eq!(world.inbox("bob@example.com").rows.len(), 1);
    assert_eq!(world.newest("bob@example.com"), world.newest("carol@example.org"));
}

#[test]
fn when_all_fail_nothing_stays() {
    let world = broken();
    for to in [&["bob@example.com"][..], &["bob@example.com", "bob@example.com"]] {
        let sent = send(&world.smtp(), TEXT, envelope(None, "x@elsewhere.net", to));
        assert!(sent.is_err_and(|refusal| refusal.is_temporary()));
    }
    assert_eq!(queued(&world), []);
    assert!(world.told.lock().unwrap().is_empty());
}

#[test]
fn those_elsewhere_get_theirs_and_share_the_entry() {
    let world = broken();
    let to = ["dan@elsewhere.net", "bob@example.com"];
    let from = Some("alice@example.com");
    send(&world.smtp(), TEXT, envelope(from, "alice@example.com", &to)).expect("accepted");
    let entries = queued(&world);
    assert_eq!((entries.len(), locals(&entries[0])), (1, vec!["bob@example.com"]));
    assert_eq!(entries[0].recipients.len(), 2);
}

#[test]
fn success_is_told_of_those_who_have_it_and_of_the_others_later() {
    let world = broken();
    let to = ["carol@example.org", "bob@example.com"];
    let mut asking: Envelope = envelope(None, "x@elsewhere.net", &to);
    for recipient in &mut asking.recipients {
        recipient.dsn.notify = Some(Notify {
            success: true,
            failure: true,
            delay: false,
        });
    }
    send(&world.smtp(), TEXT, asking).expect("accepted");
    let entry = queued(&world).remove(0);
    assert_eq!(locals(&entry), ["bob@example.com"]);
    let done: Vec<&str> = entry
        .recipients
        .iter()
        .filter(|to| to.done.is_some())
        .map(|to| &*to.address)
        .collect();
    assert_eq!(done, ["carol@example.org"]);
    assert!(entry.recipients.iter().all(|to| to.dsn.notify().success));
}

#[test]
fn a_full_queue_makes_it_all_or_nothing_again() {
    let world = broken();
    let full = Settings {
        max_queue_size: 0,
        ..settings()
    };
    world.service.set_settings(full);
    let to = ["carol@example.org", "bob@example.com"];
    let sent = send(&world.smtp(), TEXT, envelope(None, "x@elsewhere.net", &to));
    assert!(sent.is_err_and(|refusal| refusal.is_temporary()));
    assert_eq!(world.inbox("carol@example.org").rows.len(), 0);
}

/// How often a recipient has the message: in the mailbox, and in the queue.
fn copies(world: &World, name: &str, queue: &[Entry]) -> usize {
    let waiting = queue.iter().filter(|entry| locals(entry).contains(&name));
    world.inbox(name).rows.len() + waiting.count()
}

/// Any disk call between DATA and the reply may fail: each recipient has the message once if it was accepted, and none has
/// it otherwise.
#[test]
fn any_call_may_fail() {
    let mut partly = 0;
    let start = World::new();
    for call in 1.. {
        let world = process(&start.disk.fork());
        // Both are open, as they are in a server that runs.
        for name in ["bob@example.com", "carol@example.org"] {
            world.inbox(name);
        }
        let to = ["carol@example.org", "bob@example.com"];
        let at = world.disk.calls() + call;
        world.disk.fault(at, Fault::Errno(5));
        let sent = send(&world.smtp(), TEXT, envelope(None, "x@elsewhere.net", &to));
        let done = world.disk.calls() < at;
        world.disk.clear_faults();
        let queue = queued(&world);
        let wanted = usize::from(sent.is_ok());
        for name in to {
            assert_eq!(
                copies(&world, name, &queue),
                wanted,
                "call {call}, {sent:?}: {name} {queue:?}"
            );
        }
        if let Err(refusal) = &sent {
            assert!(refusal.is_temporary(), "call {call}: {refusal:?}");
        }
        partly += usize::from(sent.is_ok() && !queue.is_empty());
        if done {
            assert!(call > 20 && sent == Ok(()));
            break;
        }
    }
    assert!(partly > 3, "{partly}");
}

/// The same with the end of the process at any call, while one mailbox cannot be written.
#[test]
fn a_crash_loses_nothing_acknowledged() {
    for (model, cut) in [
        (Model::Ordered, Cut::Kept),
        (Model::Adversary, Cut::Lost),
        (Model::Adversary, Cut::Random),
    ] {
        let start = broken();
        for call in 1.. {
            let world = process(&start.disk.fork());
            let to = ["carol@example.org", "bob@example.com"];
            world.disk.fault(world.disk.calls() + call, Fault::Crash);
            let sent = send(&world.smtp(), TEXT, envelope(None, "x@elsewhere.net", &to));
            let dead = world.disk.is_dead();
            world.disk.kill();
            let mut random = rmail_core::random::Random::from_seed([call.to_le_bytes()[0]; 32]);
            world.disk.power_cut(model, cut, &mut random);
            let disk = world.disk.process();
            let store = open_store(&disk);
            let queue = block_on(store.load_outbound()).expect("load");
            let waiting = queue.iter().map(locals).collect::<Vec<_>>().concat();
            assert!(
                waiting == ["bob@example.com"] || (sent.is_err() && waiting.is_empty()),
                "call {call}: {waiting:?} {sent:?}"
            );
            let inbox = block_on(store.select(&account("carol@example.org"), &mailbox_name("INBOX"), true));
            let there = inbox.expect("select").snapshot.rows.len();
            assert!(
                there == 1 || (sent.is_err() && there == 0),
                "call {call}: {there} {sent:?}"
            );
            if !dead {
                assert!(call > 20 && sent != Err(Refusal::Storage));
                break;
            }
        }
    }
}
