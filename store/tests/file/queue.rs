//! The outbound queue on disk.

use crate::common::*;
use crate::crash_common::entry;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::random::Random;
use rmail_core::relay::entry::Entry;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::{Call, Fault, MemDisk, Model, Outcome};

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
fn leavings_are_cleared_and_what_is_damaged_is_set_aside() {
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
            ("Y.eml", "kept"),
            ("Z.json", "{}"),
        ] {
            let file = first.open(&home, name, Mode::Create).await.expect("open");
            first.append(&file, text.as_bytes()).await.expect("write");
        }
        first.kill();
        let disk = disk.process();
        let store = open(&disk, Limits::small()).await;
        assert_eq!(ids(&store).await, ["A1"]);
        let wanted = [
            "A1.eml",
            "A1.json",
            "Y.eml.bad",
            "Y.json.bad",
            "Z.json.bad",
            "lock",
        ];
        for _ in 0..2 {
            let mut names = names_of(&disk, &home).await;
            names.sort();
            assert_eq!(names, wanted);
            assert_eq!(ids(&store).await, ["A1"]);
        }
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
                let (dies, also, heir) = (disk.process(), disk.process(), disk.process());
                let one = open(&dies, Limits::small()).await;
                queue(&one, "A1", "one").await;
                queue(&one, "A2", "two").await;
                let other = open(&also, Limits::small()).await;
                queue(&other, "C1", "of another").await;
                let two = open(&heir, Limits::small()).await;
                queue(&two, "B1", "own").await;
                dies.kill();
                also.kill();
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
                    assert_eq!(adopted(&three).await, ["A1", "A2", "B1", "C1"], "call {call}");
                    assert_eq!(message(&three, "A2").await, "two");
                } else {
                    heir.clear_faults();
                    found.extend(adopted(&two).await);
                    found.sort();
                    assert_eq!(found, ["A1", "A2", "C1"], "call {call}: {fault:?}");
                    assert_eq!(message(&two, "A2").await, "two");
                    assert_eq!(ids(&two).await, ["A1", "A2", "B1", "C1"]);
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

fn at_attempt(id: &str, attempts: u32) -> Entry {
    let mut entry = with_id(id);
    entry.recipients[0].attempts = attempts;
    entry
}

async fn file_of(disk: &MemDisk, name: &str) -> Option<Vec<u8>> {
    let root = disk.open_dir(disk.root(), "queue").await.expect("queue");
    let home = disk.open_dir(&root, "0001").await.expect("home");
    let file = disk.open(&home, name, Mode::Read).await.ok()?;
    let mut octets = vec![0; 100_000];
    let count = disk.read_at(&file, &mut octets, 0).await.expect("read");
    octets.truncate(count);
    Some(octets)
}

#[test]
fn a_change_is_one_append_and_one_sync() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        queue(&store, "A1", "one").await;
        let mut before = file_of(&disk, "A1.json").await.expect("there");
        for attempts in 1..5 {
            disk.record();
            store
                .save_outbound(&at_attempt("A1", attempts))
                .await
                .expect("save");
            let calls = disk.take_records();
            let writes = |name| calls.iter().filter(|call| call.call == name).count();
            assert_eq!((writes(Call::Append), writes(Call::Sync)), (1, 1), "{calls:?}");
            assert!(calls.len() <= 6, "{calls:?}");
            let after = file_of(&disk, "A1.json").await.expect("there");
            assert!(after.starts_with(&before) && after.len() > before.len());
            before = after;
        }
    });
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Power(Model, Outcome, u8),
}

fn ends() -> Vec<End> {
    let mut ends = vec![End::Kill];
    for model in [Model::Adversary, Model::Ordered] {
        ends.push(End::Power(model, Outcome::Lost, 0));
        ends.push(End::Power(model, Outcome::Kept, 1));
        ends.extend((2..6).map(|seed| End::Power(model, Outcome::Random, seed)));
    }
    ends
}

/// Entries as they are found by the next process, with their messages.
async fn found_later(disk: &MemDisk) -> Vec<(Entry, String)> {
    let store = open(&disk.process(), Limits::small()).await;
    let mut entries = store.load_outbound().await.expect("load");
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let mut found = Vec::new();
    for entry in entries {
        let text = message(&store, &entry.id).await;
        found.push((entry, text));
    }
    found
}

/// An entry is added, changed three times and removed, and the process ends at a call. Whether it came so far.
async fn life_cut_at(call: u64, end: End) -> bool {
    let disk = MemDisk::new();
    let store = open(&disk, Limits::small()).await;
    queue(&store, "B2", "stays").await;
    disk.fault(disk.calls() + call, Fault::Crash);
    // What was acknowledged last, and what is under way: none is an entry that is not there.
    let (mut sure, mut maybe) = (None, Some(0));
    let text = spool(&store, "one").await;
    let mut done = match text {
        Ok(text) => store.deliver(text, &[], Some(&with_id("A1")), NOW).await,
        Err(error) => Err(error),
    };
    for attempts in 1..4 {
        if done.is_ok() {
            (sure, maybe) = (Some(attempts - 1), Some(attempts));
            done = store.save_outbound(&at_attempt("A1", attempts)).await;
        }
    }
    if done.is_ok() {
        (sure, maybe) = (Some(3), None);
        done = store.remove_outbound("A1").await;
    }
    if done.is_ok() {
        sure = None;
    }
    let cut = disk.is_dead();
    drop(store);
    disk.kill();
    if let End::Power(model, outcome, seed) = end {
        let seed = [seed ^ call.to_le_bytes()[0]; 32];
        disk.power_cut(model, outcome, &mut Random::from_seed(seed));
    }
    let what = format!("call {call}, {end:?}");
    for _ in 0..2 {
        let mut found = found_later(&disk).await;
        assert_eq!(found.pop(), Some((with_id("B2"), "stays".to_owned())), "{what}");
        let attempts = found.pop().map(|(entry, text)| {
            let attempts = entry.recipients[0].attempts;
            assert_eq!((entry, &*text), (at_attempt("A1", attempts), "one"), "{what}");
            attempts
        });
        assert!(found.is_empty(), "{what}: {found:?}");
        assert!(
            attempts == sure || attempts == maybe,
            "{what}: {attempts:?}, not {sure:?} or {maybe:?}"
        );
    }
    cut
}

#[test]
fn a_crash_at_any_call_of_an_entrys_life_loses_nothing_acknowledged() {
    for end in ends() {
        let cut = (1..).take_while(|call| block_on(life_cut_at(*call, end))).count();
        assert!(cut > 25, "{end:?}: only {cut}");
    }
}

#[test]
fn a_write_that_fails_leaves_the_old_or_the_new_and_the_next_one_works() {
    for fault in [Fault::Errno(5), Fault::Short(28)] {
        for call in 1.. {
            let disk = MemDisk::new();
            let done = block_on(async {
                let store = open(&disk, Limits::small()).await;
                queue(&store, "A1", "one").await;
                store.save_outbound(&at_attempt("A1", 1)).await.expect("save");
                let at = disk.calls() + call;
                disk.fault(at, fault);
                let saved = store.save_outbound(&at_attempt("A1", 2)).await;
                let done = disk.calls() < at;
                assert!(saved.is_ok() || !done, "call {call}");
                disk.clear_faults();
                let found = found_with(&disk, &store).await;
                let good = found == 2 || (found == 1 && saved.is_err());
                assert!(good, "call {call}: {found}");
                store.save_outbound(&at_attempt("A1", 3)).await.expect("save");
                disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
                assert_eq!(found_later(&disk).await[0].0, at_attempt("A1", 3), "call {call}");
                done
            });
            if done {
                assert!(call > 4, "{call}");
                break;
            }
        }
    }
}

/// The attempts that the file tells of now.
async fn found_with(disk: &MemDisk, store: &Store) -> u32 {
    assert!(file_of(disk, "A1.json").await.is_some());
    let entries = store.load_outbound().await.expect("load");
    entries[0].recipients[0].attempts
}

#[test]
fn a_file_of_an_earlier_version_goes_on() {
    block_on(async {
        let disk = MemDisk::new();
        let first = disk.process();
        let store = open(&first, Limits::small()).await;
        queue(&store, "A1", "one").await;
        let root = first.open_dir(first.root(), "queue").await.expect("queue");
        let home = first.open_dir(&root, "0001").await.expect("home");
        first.unlink(&home, "A1.json").await.expect("unlink");
        let file = first.open(&home, "A1.json", Mode::CreateNew).await.expect("open");
        let old = serde_json::to_vec(&at_attempt("A1", 1)).expect("octets");
        first.append(&file, &old).await.expect("write");
        first.kill();
        let store = open(&disk.process(), Limits::small()).await;
        assert_eq!(store.load_outbound().await.expect("load"), [at_attempt("A1", 1)]);
        for attempts in 2..4 {
            store
                .save_outbound(&at_attempt("A1", attempts))
                .await
                .expect("save");
        }
        assert_eq!(store.load_outbound().await.expect("load"), [at_attempt("A1", 3)]);
    });
}

#[test]
fn what_is_taken_by_another_entry_is_refused() {
    block_on(async {
        let store = open(&MemDisk::new(), Limits::small()).await;
        queue(&store, "A1", "one").await;
        let text = spool(&store, "two").await.expect("spool");
        assert!(store.deliver(text, &[], Some(&with_id("A1")), NOW).await.is_err());
        assert_eq!(message(&store, "A1").await, "one");
        store.remove_outbound("A1").await.expect("remove");
        assert!(
            store.save_outbound(&with_id("A1")).await.is_err(),
            "there is none"
        );
        queue(&store, "A1", "three").await;
        assert_eq!(message(&store, "A1").await, "three");
    });
}
