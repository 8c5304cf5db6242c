//! The outbound queue on disk.

use crate::common::*;
use crate::crash_common::entry;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::random::Random;
use rmail_core::relay::entry::Entry;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::{Fault, MemDisk, Model, Outcome};

fn with_id(id: &str) -> Entry {
    Entry {
        id: id.to_owned(),
        ..entry()
    }
}

async fn queue(store: &Store, id: &str, text: &str) {
    let spool = spool(store, text).await.expect("spool");
    store
        .deliver(spool, &[], Some(&with_id(id)), NOW)
        .await
        .expect("deliver");
}

async fn ids(store: &Store) -> Vec<String> {
    let mut ids: Vec<String> = store
        .load_outbound()
        .await
        .expect("load")
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    ids.sort();
    ids
}

async fn message(store: &Store, id: &str) -> String {
    let blob = store.open_outbound(id).await.expect("open");
    let mut bytes = vec![0; usize::try_from(store.blob_len(&blob)).expect("small")];
    store.read(&blob, &mut bytes, 0).await.expect("read");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn entries_are_kept_changed_and_removed() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        assert_eq!(ids(&store).await, [""; 0]);
        queue(&store, "A1", "one").await;
        queue(&store, "B2", "two").await;
        assert_eq!(ids(&store).await, ["A1", "B2"]);
        assert_eq!(message(&store, "B2").await, "two");
        let mut changed = with_id("A1");
        changed.recipients[0].attempts = 3;
        store.save_outbound(&changed).await.expect("save");
        store.remove_outbound("B2").await.expect("remove");
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
        let store = open(&disk.process(), Limits::small()).await;
        assert_eq!(store.load_outbound().await.expect("load"), [changed]);
        assert!(store.open_outbound("B2").await.is_err());
        assert_eq!(message(&store, "A1").await, "one");
    });
}

#[test]
fn one_message_goes_to_mailboxes_and_the_queue_as_one_file() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        let text = spool(&store, "both").await.expect("spool");
        store
            .deliver(text, &unlimited(&[alice(), bob()]), Some(&entry()), NOW)
            .await
            .expect("deliver");
        assert_eq!(message(&store, "Q1").await, "both");
        let root = disk.open_dir(disk.root(), "queue").await.expect("queue");
        let home = disk.open_dir(&root, "0001").await.expect("home");
        let stat = disk.stat_at(&home, "Q1.eml").await.expect("stat");
        assert_eq!((stat.links, stat.size), (3, 4));
        store.remove_outbound("Q1").await.expect("remove");
        assert_eq!(messages(&store, &bob(), "INBOX").await.len(), 1);
    });
}

#[test]
fn a_dead_process_is_inherited_and_a_living_one_is_not() {
    block_on(async {
        let disk = MemDisk::new();
        let (first, second) = (disk.process(), disk.process());
        let one = open(&first, Limits::small()).await;
        let two = open(&second, Limits::small()).await;
        queue(&one, "A1", "one").await;
        queue(&two, "B2", "two").await;
        assert_eq!(
            (ids(&one).await, ids(&two).await),
            (vec!["A1".to_owned()], vec!["B2".to_owned()])
        );
        first.kill();
        assert_eq!(ids(&two).await, ["A1", "B2"]);
        assert_eq!(message(&two, "A1").await, "one");
        queue(&two, "C3", "three").await;
        store_and_remove(&two).await;
        let third = open(&disk.process(), Limits::small()).await;
        assert_eq!(ids(&third).await, [""; 0]);
        queue(&third, "D4", "four").await;
        assert_eq!(ids(&third).await, ["D4"]);
    });
}

async fn store_and_remove(store: &Store) {
    store.save_outbound(&with_id("A1")).await.expect("save");
    store.remove_outbound("A1").await.expect("remove");
    assert_eq!(ids(store).await, ["B2", "C3"]);
}

#[test]
fn leavings_are_cleared_and_what_cannot_be_read_stays() {
    block_on(async {
        let disk = MemDisk::new();
        let first = disk.process();
        let store = open(&first, Limits::small()).await;
        queue(&store, "A1", "one").await;
        let root = first.open_dir(first.root(), "queue").await.expect("queue");
        let home = first.open_dir(&root, "0001").await.expect("home");
        for (name, text) in [
            ("X.eml", "orphan"),
            ("A1.json.tmp", "{"),
            ("Y.json", "{"),
            ("Z.json", "{}"),
        ] {
            let file = first.open(&home, name, Mode::Create).await.expect("open");
            first.append(&file, text.as_bytes()).await.expect("write");
        }
        first.kill();
        let disk = disk.process();
        let store = open(&disk, Limits::small()).await;
        assert_eq!(ids(&store).await, ["A1"]);
        let listing = disk.list(&home).await.expect("list");
        let mut names: Vec<String> = listing.entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        assert_eq!(names, ["A1.eml", "A1.json", "Y.json", "Z.json", "lock"]);
    });
}

#[test]
fn ids_are_harmless_names() {
    block_on(async {
        let store = open(&MemDisk::new(), Limits::small()).await;
        for id in ["", "../x", "a/b", "a.b", &"x".repeat(65)] {
            let text = spool(&store, "m").await.expect("spool");
            let result = store
                .deliver(text, &unlimited(&[alice()]), Some(&with_id(id)), NOW)
                .await;
            assert!(result.is_err(), "{id}");
        }
        assert!(
            messages(&store, &alice(), "INBOX").await.is_empty(),
            "all or nothing"
        );
    });
}

async fn adopted(store: &Store) -> Vec<String> {
    let entries = store.adopt_outbound().await.expect("adopt");
    let mut ids: Vec<String> = entries.into_iter().map(|entry| entry.id).collect();
    ids.sort();
    ids
}

/// The directories of the queue that somebody owns, by trying to lock them.
async fn owned(disk: &MemDisk) -> Vec<String> {
    let disk = disk.process();
    let root = disk.open_dir(disk.root(), "queue").await.expect("queue");
    let mut owned = Vec::new();
    for home in names_of(&disk, &root).await {
        let dir = disk.open_dir(&root, &home).await.expect("home");
        let file = disk.open(&dir, "lock", Mode::Create).await.expect("lock");
        if disk.lock(&file, core::time::Duration::ZERO).await.is_err() {
            owned.push(home);
        }
    }
    owned.sort();
    owned
}

#[test]
fn a_process_that_dies_while_others_run_is_inherited_once() {
    block_on(async {
        let disk = MemDisk::new();
        let (dies, lives) = (disk.process(), disk.process());
        let (one, two, three) = (
            open(&dies, Limits::small()).await,
            open(&lives, Limits::small()).await,
            open(&disk.process(), Limits::small()).await,
        );
        let mut changed = with_id("A1");
        changed.recipients[0].attempts = 2;
        changed.recipients[0].next = 99;
        queue(&one, "A1", "one").await;
        queue(&one, "A2", "more").await;
        one.save_outbound(&changed).await.expect("save");
        queue(&two, "B1", "two").await;
        assert_eq!(adopted(&two).await, [""; 0], "its owner lives");
        dies.kill();
        let entries = two.adopt_outbound().await.expect("adopt");
        assert_eq!(entries.len(), 2, "what is ours already is left out");
        assert!(entries.contains(&changed), "it goes on where it stood");
        assert_eq!(adopted(&three).await, [""; 0], "it has a new owner");
        assert_eq!(adopted(&two).await, [""; 0], "told once");
        assert_eq!(message(&two, "A1").await, "one");
        assert_eq!(owned(&disk).await, ["0001", "0002"]);
        // Once it is empty the next process may have it.
        two.remove_outbound("A1").await.expect("remove");
        two.save_outbound(&with_id("A2")).await.expect("save");
        two.remove_outbound("A2").await.expect("remove");
        assert_eq!(owned(&disk).await, ["0002"]);
        queue(&three, "C1", "three").await;
        assert_eq!(owned(&disk).await, ["0001", "0002"]);
        assert_eq!(ids(&two).await, ["B1"]);
        assert_eq!(ids(&three).await, ["C1"]);
    });
}

#[test]
fn processes_that_come_and_go_leave_no_row_of_directories() {
    block_on(async {
        let disk = MemDisk::new();
        let lives = open(&disk.process(), Limits::small()).await;
        queue(&lives, "B1", "stays").await;
        for round in 0..20 {
            let process = disk.process();
            let store = open(&process, Limits::small()).await;
            assert_eq!(ids(&store).await, [""; 0]);
            let id = format!("A{round}");
            queue(&store, &id, "one").await;
            process.kill();
            assert!(adopted(&lives).await.iter().eq([&id]));
            lives.remove_outbound(&id).await.expect("remove");
        }
        let root = disk.open_dir(disk.root(), "queue").await.expect("queue");
        let mut homes = names_of(&disk, &root).await;
        homes.sort();
        assert_eq!(homes, ["0001", "0002"]);
        assert_eq!(owned(&disk).await, ["0001"]);
    });
}

/// Whoever adopts may die or fail at any call: the next to look adopts what is left, all of it.
#[test]
fn adoption_may_be_cut_short_anywhere() {
    for fault in [Fault::Crash, Fault::Errno(5), Fault::Errno(24), Fault::Errno(28)] {
        for call in 1.. {
            let done = block_on(async {
                let disk = MemDisk::new();
                let (dies, heir) = (disk.process(), disk.process());
                let one = open(&dies, Limits::small()).await;
                queue(&one, "A1", "one").await;
                queue(&one, "A2", "two").await;
                let two = open(&heir, Limits::small()).await;
                queue(&two, "B1", "own").await;
                dies.kill();
                let at = heir.calls() + call;
                heir.fault(at, fault);
                let first = two.adopt_outbound().await;
                let done = heir.calls() < at;
                let mut found: Vec<String> = match first {
                    Ok(entries) => entries.into_iter().map(|entry| entry.id).collect(),
                    Err(_) => Vec::new(),
                };
                if heir.is_dead() {
                    // What it had already is on disk with its own.
                    let three = open(&disk.process(), Limits::small()).await;
                    assert_eq!(adopted(&three).await, ["A1", "A2", "B1"], "call {call}");
                    assert_eq!(message(&three, "A2").await, "two");
                } else {
                    heir.clear_faults();
                    found.extend(adopted(&two).await);
                    found.sort();
                    assert_eq!(found, ["A1", "A2"], "call {call}: {fault:?}");
                    assert_eq!(message(&two, "A2").await, "two");
                    assert_eq!(ids(&two).await, ["A1", "A2", "B1"]);
                }
                done
            });
            if done {
                assert!(call > 10, "{call} calls");
                break;
            }
        }
    }
}
