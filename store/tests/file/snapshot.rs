//! The snapshot file of a mailbox: what it saves, and that nothing that is wrong with it is ever seen.

use core::time::Duration;

use crate::common::*;
use futures_lite::future::block_on;
use proptest::prelude::*;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, KeywordSet, Row, Snapshot, SystemFlags, Uid};
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Call, Fault, MemDisk, Model, Outcome};

const FILE: &str = "snapshot";

/// What clients see of a mailbox.
type Seen = (u32, u32, u64, Vec<(Row, Vec<String>)>);

fn seen(snapshot: &Snapshot) -> Seen {
    let rows = snapshot.rows.iter().map(|row| {
        let words = snapshot.keywords.of(row.keywords);
        let words = words.map(|word| word.as_str().to_owned()).collect();
        let keywords = KeywordSet(0);
        (Row { keywords, ..*row }, words)
    });
    (
        snapshot.uid_validity.0,
        snapshot.uid_next.0,
        snapshot.modseq.0,
        rows.collect(),
    )
}

/// A disk with eleven messages in INBOX (three shards), some with more keywords than fit a row, which nobody has changed for a while.
async fn filled() -> MemDisk {
    let disk = MemDisk::new();
    disk.set_tick(Duration::from_micros(700));
    let store = open(&disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("alice");
    for n in 0..11_u32 {
        let words: Vec<String> = (0..n * 10).map(|n| format!("word{n}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let system = match n % 3 {
            0 => SystemFlags::SEEN,
            1 => SystemFlags::DELETED,
            _ => SystemFlags::default(),
        };
        append(&store, "INBOX", &"x".repeat(n as usize), flags(system, &words))
            .await
            .expect("append");
    }
    store.flush().await.expect("flush");
    later(&disk, 100);
    disk
}

/// It is so many seconds after the beginning.
fn later(disk: &MemDisk, secs: u64) {
    disk.set_clock(Duration::from_secs(secs));
}

/// A disk on which a process has left a snapshot file of INBOX.
async fn saved() -> MemDisk {
    let disk = filled().await;
    look(&disk).await;
    assert!(!file(&disk, "INBOX").await.is_empty(), "there is a file");
    disk.process()
}

/// What a new process sees of INBOX, and how many shards it listed.
async fn look_and_count(disk: &MemDisk) -> (Seen, usize) {
    let store = open(&disk.process(), Limits::small()).await;
    disk.record();
    let selected = store.select(&alice(), &inbox(), true).await.expect("select");
    let records = disk.take_records();
    let shard = |on: &str| on.len() == 6 && on.bytes().all(|octet| octet.is_ascii_digit());
    let opened = records.iter().filter(|record| record.call == Call::OpenDir);
    let opened = opened.filter(|record| shard(&record.on)).count();
    store.unselect(&selected.mailbox).await;
    (seen(&selected.snapshot), opened)
}

async fn look(disk: &MemDisk) -> Seen {
    look_and_count(disk).await.0
}

/// The same without the file.
async fn look_without(disk: &MemDisk) -> Seen {
    let disk = disk.fork();
    let dir = dir_of(&disk, "INBOX").await;
    let _ = disk.unlink(&dir, FILE).await;
    look(&disk).await
}

async fn file(disk: &MemDisk, mailbox: &str) -> Vec<u8> {
    octets_of(disk, &dir_of(disk, mailbox).await, FILE).await
}

async fn put_file(disk: &MemDisk, mailbox: &str, bytes: &[u8]) {
    let dir = dir_of(disk, mailbox).await;
    let _ = disk.unlink(&dir, FILE).await;
    let file = disk.open(&dir, FILE, Mode::CreateNew).await.expect("make");
    disk.write_at(&file, bytes, 0).await.expect("write");
}

async fn status_json(disk: &MemDisk) -> String {
    let dir = dir_of(disk, "INBOX").await;
    String::from_utf8(octets_of(disk, &dir, "status.json").await).expect("JSON")
}

#[test]
fn a_new_process_lists_only_what_has_changed() {
    block_on(async {
        let disk = filled().await;
        let (first, listed) = look_and_count(&disk).await;
        assert_eq!(listed, 3);
        assert_eq!(look_and_count(&disk).await, (first.clone(), 0));
        let store = open(&disk.process(), Limits::small()).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &["word99"]);
        let stored = store.store(&mailbox, &set(&[5]), &flagged, None).await;
        let now = seen(&stored.expect("store").snapshot);
        assert_ne!(now, first);
        later(&disk, 200);
        assert_eq!(look_and_count(&disk).await, (now.clone(), 1));
        assert_eq!(look_and_count(&disk).await, (now, 0));
    });
}

#[test]
fn any_flipped_octet_and_any_cut_gives_the_same_rows_as_no_file() {
    block_on(async {
        let disk = saved().await;
        let bytes = file(&disk, "INBOX").await;
        let expected = look_without(&disk).await;
        assert!(expected.3.iter().any(|(_, words)| words.len() > 64));
        let check = async |bytes: &[u8], what: &str| {
            let disk = disk.fork();
            put_file(&disk, "INBOX", bytes).await;
            assert_eq!(look(&disk).await, expected, "{what}");
        };
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= [1, 0x80, 0xff][at % 3];
            check(&torn, &format!("octet {at}")).await;
            check(&bytes[..at], &format!("cut at {at}")).await;
            if at % 8 != 4 {
                continue;
            }
            check(&bytes[at..], &format!("begins at {at}")).await;
            let zeros = [&bytes[..at], &vec![0; bytes.len() - at]].concat();
            check(&zeros, &format!("zeros from {at}")).await;
        }
        check(&[bytes.as_slice(), b"more"].concat(), "longer").await;
        let mut newer = bytes.clone();
        newer[3] += 1;
        let sum = crc32fast::hash(&newer[..60]);
        newer[60..64].copy_from_slice(&sum.to_le_bytes());
        check(&newer, "a newer version").await;
    });
}

#[test]
fn a_file_of_another_mailbox_or_of_a_restored_tree_is_not_believed() {
    block_on(async {
        let disk = saved().await;
        let bytes = file(&disk, "INBOX").await;
        let store = open(&disk.process(), Limits::small()).await;
        for n in 0..11 {
            append(
                &store,
                "Trash",
                &format!("other {n}"),
                flags(SystemFlags::DRAFT, &[]),
            )
            .await
            .expect("append");
        }
        later(&disk, 200);
        put_file(&disk, "Trash", &bytes).await;
        let other = open(&disk.process(), Limits::small()).await;
        let (_, snapshot) = select(&other, "Trash").await.expect("select");
        assert_eq!(snapshot.rows.len(), 11);
        assert!(snapshot.rows.iter().all(|row| row.flags == SystemFlags::DRAFT));

        // A restored shard is another directory, although its names are of the same day.
        let shards = dir_of_alice(&disk, "mailboxes/INBOX/shards").await;
        let old = disk.open_dir(&shards, "000001").await.expect("a shard");
        let names = names_of(&disk, &old).await;
        let trash = dir_of(&disk, "Trash").await;
        disk.rename(&shards, "000001", &trash, "away")
            .await
            .expect("moved away");
        disk.make_dir(&shards, "000001").await.expect("make");
        let new = disk.open_dir(&shards, "000001").await.expect("open");
        for name in names.iter().filter(|name| name.starts_with("0000000005.")) {
            disk.open(&new, name, Mode::CreateNew).await.expect("restored");
        }
        later(&disk, 300);
        let (now, listed) = look_and_count(&disk).await;
        let uids: Vec<u32> = now.3.iter().map(|(row, _)| row.uid.0).collect();
        assert_eq!((uids, listed), (vec![1, 2, 3, 5, 8, 9, 10, 11], 1));
    });
}

#[test]
fn what_strangers_change_is_seen_although_there_is_a_file() {
    block_on(async {
        let disk = saved().await;
        let shards = dir_of_alice(&disk, "mailboxes/INBOX/shards").await;
        let shard = disk.open_dir(&shards, "000001").await.expect("shard");
        for name in names_of(&disk, &shard).await {
            if name.starts_with("0000000006.") {
                disk.unlink(&shard, &name).await.expect("unlink");
            }
        }
        let (now, listed) = look_and_count(&disk).await;
        assert_eq!((now.3.len(), listed), (10, 1));
        assert_eq!(now, look_without(&disk).await);
    });
}

#[test]
fn a_rebuilt_status_json_and_a_name_above_uidnext_are_as_without_a_file() {
    block_on(async {
        let disk = saved().await;
        let before = look(&disk).await;
        let shards = dir_of_alice(&disk, "mailboxes/INBOX/shards").await;
        let shard = disk.open_dir(&shards, "000003").await;
        assert!(shard.is_err(), "UID 12 will lie there");
        disk.make_dir(&shards, "000003").await.expect("make");
        let shard = disk.open_dir(&shards, "000003").await.expect("shard");
        let stranger = "0000000015.0+0000.3.0.1.-.0.eml";
        disk.open(&shard, stranger, Mode::CreateNew).await.expect("make");
        later(&disk, 200);
        let store = open(&disk.process(), Limits::small()).await;
        append(&store, "INBOX", "twelve", flags(SystemFlags::default(), &[]))
            .await
            .expect("append");
        later(&disk, 300);
        let now = look(&disk).await;
        assert_eq!((now.3.len(), now.1), (12, 13));
        assert_eq!(look(&disk).await, now);
        // UIDNEXT passes it without a change of its shard.
        let dir = dir_of(&disk, "INBOX").await;
        disk.unlink(&dir, "state").await.expect("unlink");
        let raised = look_without(&disk).await;
        assert_eq!(raised.3.len(), 13);
        assert_eq!(look(&disk).await, raised);

        disk.unlink(&dir, "status.json").await.expect("unlink");
        let rebuilt = look_without(&disk).await;
        assert_ne!(rebuilt.0, before.0);
        assert_eq!(look(&disk).await, rebuilt);
    });
}

#[test]
fn writing_it_may_end_at_any_call() {
    block_on(async {
        let world = filled().await;
        let expected = look_without(&world).await;
        let store = open(&world.process(), Limits::small()).await;
        let selected = store.select(&alice(), &inbox(), true).await.expect("select");
        let dir = dir_of(&world, "INBOX").await;
        world.unlink(&dir, FILE).await.expect("unlink");
        store.unselect(&selected.mailbox).await;
        drop(store);
        let mut ends = 0;
        for outcome in [
            None,
            Some(Outcome::Lost),
            Some(Outcome::Kept),
            Some(Outcome::Random),
        ] {
            for seed in 0..100_u8 {
                let disk = world.fork();
                let store = open(&disk, Limits::small()).await;
                disk.fault(disk.calls() + 1 + u64::from(seed), Fault::Crash);
                let selected = store.select(&alice(), &inbox(), true).await;
                ends += u32::from(selected.is_ok() && disk.is_dead());
                drop(store);
                disk.kill();
                if let Some(outcome) = outcome {
                    let mut random = Random::from_seed([seed; 32]);
                    disk.power_cut(Model::Adversary, outcome, &mut random);
                }
                let disk = disk.process();
                let now = look(&disk).await;
                assert_eq!(now.3, expected.3, "call {seed}, {outcome:?}");
                later(&disk, 1_000);
                look(&disk).await;
                assert_eq!(look_and_count(&disk).await, (now, 0), "call {seed}, {outcome:?}");
            }
        }
        assert!(ends > 4 * 5, "the file was being written {ends} times");
    });
}

#[test]
fn every_failure_of_writing_it_is_a_file_less_and_no_error() {
    block_on(async {
        const ENOSPC: i32 = 28;
        const EIO: i32 = 5;
        let world = filled().await;
        let expected = look_without(&world).await;
        let mut failures = 0;
        for at in 1..80 {
            for fault in [Fault::Errno(ENOSPC), Fault::Errno(EIO), Fault::Short(ENOSPC)] {
                let disk = world.fork();
                let store = open(&disk, Limits::small()).await;
                let (mailbox, _) = select(&store, "INBOX").await.expect("select");
                let dir = dir_of(&disk, "INBOX").await;
                disk.unlink(&dir, FILE).await.expect("unlink");
                drop(store);
                let store = open(&disk, Limits::small()).await;
                disk.fault(disk.calls() + at, fault);
                let Ok(_) = store.select(&alice(), &inbox(), true).await else {
                    continue;
                };
                disk.clear_faults();
                let left = names_of(&disk, &dir).await;
                failures += u32::from(!left.iter().any(|name| name == FILE));
                store.unselect(&mailbox).await;
                let left = names_of(&disk, &dir).await;
                assert!(!left.iter().any(|name| name.starts_with('.')), "{left:?}");
                assert_eq!(look(&disk).await.3, expected.3);
            }
        }
        assert!(failures > 10, "{failures}");
        let disk = world.fork();
        let dir = dir_of(&disk, "INBOX").await;
        let _ = disk.unlink(&dir, FILE).await;
        disk.set_full(true);
        assert_eq!(look(&disk).await, expected);
        assert!(file(&disk, "INBOX").await.is_empty());
        disk.set_full(false);
        let mut room = disk.free(&dir).await.expect("room");
        room.bytes = 1_000;
        disk.set_free(room);
        assert_eq!(look(&disk).await, expected);
        assert!(file(&disk, "INBOX").await.is_empty(), "the last room is for mail");
    });
}

#[test]
fn two_processes_may_write_it_at_the_same_time() {
    for seed in 0..100_u8 {
        let disk = block_on(filled());
        let expected = block_on(look_without(&disk));
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        for _ in 0..3 {
            let disk = disk.process();
            exec.spawn(async move {
                look(&disk).await;
            });
        }
        exec.run().expect("no dead lock");
        assert_eq!(block_on(look(&disk)), expected, "seed {seed}");
        assert_eq!(block_on(look_and_count(&disk)).1, 0);
        let left = block_on(async { names_of(&disk, &dir_of(&disk, "INBOX").await).await });
        assert!(!left.iter().any(|name| name.starts_with('.')), "{left:?}");
    }
}

#[test]
fn a_file_of_an_earlier_start_counts_if_the_file_system_was_synced_since() {
    block_on(async {
        let world = filled().await;
        for closed in [false, true] {
            let disk = world.fork();
            let process = disk.process();
            let store = open(&process, Limits::small()).await;
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            store.unselect(&mailbox).await;
            let before = look_without(&disk).await;
            if closed {
                store.close().await.expect("close");
            }
            disk.power_cut(Model::Ordered, Outcome::Kept, &mut Random::from_seed([1; 32]));
            later(&disk, 500);
            let disk = disk.process();
            let (now, listed) = look_and_count(&disk).await;
            assert_eq!(now.3, before.3);
            // One is opened for its highest UID: `state` is of the earlier start.
            assert_eq!(listed, if closed { 1 } else { 4 });
        }
    });
}

#[test]
fn it_is_not_written_again_within_a_minute_and_goes_with_the_messages() {
    block_on(async {
        let disk = filled().await;
        let limits = Limits {
            snapshot_rest: Duration::from_secs(60),
            ..Limits::small()
        };
        let store = open(&disk.process(), limits).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let first = file(&disk, "INBOX").await;
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        for (at, written) in [(130, false), (150, false), (165, true)] {
            store
                .store(&mailbox, &all(), &flagged, None)
                .await
                .expect("store");
            later(&disk, at);
            let (mailbox, snapshot) = select(&store, "INBOX").await.expect("select");
            let _watch = store.hub().watch(
                rmail_core::machine::Scope::Mailbox(mailbox.clone()),
                snapshot.modseq,
                std::sync::Arc::new(|| ()),
            );
            store.sweep_watched().await;
            assert_eq!(file(&disk, "INBOX").await != first, written, "at {at}");
        }
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        store
            .store(&mailbox, &all(), &deleted, None)
            .await
            .expect("store");
        store.expunge(&mailbox, None).await.expect("expunge");
        later(&disk, 1_000);
        store.unselect(&mailbox).await;
        store.unselect(&mailbox).await;
        store.unselect(&mailbox).await;
        store.unselect(&mailbox).await;
        assert!(file(&disk, "INBOX").await.is_empty());
    });
}

#[test]
fn a_sweep_takes_no_lock_unless_a_stranger_was_there() {
    block_on(async {
        let disk = filled().await;
        let store = open(&disk.process(), Limits::small()).await;
        let (mailbox, before) = select(&store, "INBOX").await.expect("select");
        let scope = rmail_core::machine::Scope::Mailbox(mailbox.clone());
        let _watch = store
            .hub()
            .watch(scope, before.modseq, std::sync::Arc::new(|| ()));
        let sweep = async || {
            disk.record();
            store.sweep_watched().await;
            let records = disk.take_records();
            let count = |call| records.iter().filter(|record| record.call == call).count();
            (count(Call::Lock), count(Call::List))
        };
        assert_eq!(sweep().await, (0, 1));
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        let stored = store.store(&mailbox, &set(&[1, 5]), &flagged, None).await;
        let stored = stored.expect("store").snapshot;
        later(&disk, 200);
        assert_eq!(sweep().await, (0, 3), "its own changes get a stamp");
        assert_eq!(sweep().await, (0, 1));
        let after = store.snapshot(&mailbox).await.expect("snapshot");
        assert!(after.rows.same(&stored.rows), "nothing is new");
        let shards = dir_of_alice(&disk, "mailboxes/INBOX/shards").await;
        let shard = disk.open_dir(&shards, "000000").await.expect("shard");
        let name = names_of(&disk, &shard).await.remove(0);
        disk.unlink(&shard, &name).await.expect("unlink");
        later(&disk, 300);
        assert_eq!(sweep().await, (1, 2));
        assert_eq!(sweep().await, (0, 1));
        let after = store.snapshot(&mailbox).await.expect("snapshot");
        assert_eq!(after.rows.len(), 10);
        assert!(after.modseq > stored.modseq);
        disk.unlink(&shards, "x").await.expect_err("not there");
        for name in names_of(&disk, &shard).await {
            disk.unlink(&shard, &name).await.expect("unlink");
        }
        disk.remove_dir(&shards, "000000").await.expect("remove");
        assert_eq!(sweep().await.0, 1);
        let after = store.snapshot(&mailbox).await.expect("snapshot");
        assert_eq!(uids(&after), [4, 5, 6, 7, 8, 9, 10, 11]);
        assert!(logged(&disk, "INBOX").await.contains(Uid(2)));
    });
}

#[test]
fn the_end_leaves_mailboxes_clean() {
    block_on(async {
        let disk = filled().await;
        let store = open(&disk.process(), Limits::small()).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        store
            .store(&mailbox, &set(&[1]), &flagged, None)
            .await
            .expect("store");
        assert!(status_json(&disk).await.contains("\"dirty\":true"));
        store.close().await.expect("close");
        assert!(status_json(&disk).await.contains("\"dirty\":false"));
        let before = look(&disk).await;
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
        let now = look(&disk.process()).await;
        assert_eq!(now.3, before.3, "no floor, and no flag lost");
    });
}

/// What happens to the mailbox between two looks.
#[derive(Clone, Debug)]
enum Step {
    Flag(u32, bool),
    Append,
    Expunge(u32),
    Close,
    Kill,
    Cut(Outcome, u8),
    Wait,
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![Just(Outcome::Lost), Just(Outcome::Kept), Just(Outcome::Random)];
    let step = prop_oneof![
        4 => (1..14_u32, any::<bool>()).prop_map(|(uid, on)| Step::Flag(uid, on)),
        2 => Just(Step::Append),
        1 => (1..14_u32).prop_map(Step::Expunge),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => (outcome, any::<u8>()).prop_map(|(outcome, seed)| Step::Cut(outcome, seed)),
        3 => Just(Step::Wait),
        1 => Just(Step::Sweep),
    ];
    proptest::collection::vec(step, 1..25)
}

async fn take(steps: &[Step]) {
    let disk = filled().await;
    let mut process = disk.process();
    let mut store = open(&process, Limits::small()).await;
    let mut clock = 1_000;
    for (n, step) in steps.iter().enumerate() {
        let (mailbox, snapshot) = select(&store, "INBOX").await.expect("select");
        match step {
            Step::Flag(uid, on) => {
                let op = if *on { FlagOp::Add } else { FlagOp::Remove };
                let flagged = change(op, SystemFlags::FLAGGED, &["word3"]);
                let stored = store.store(&mailbox, &set(&[*uid]), &flagged, None).await;
                stored.expect("store");
            }
            Step::Append => {
                append(
                    &store,
                    "INBOX",
                    "more",
                    flags(SystemFlags::default(), &["word100"]),
                )
                .await
                .expect("append");
            }
            Step::Expunge(uid) => {
                let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
                let stored = store.store(&mailbox, &set(&[*uid]), &deleted, None).await;
                stored.expect("store");
                store
                    .expunge(&mailbox, Some(&set(&[*uid])))
                    .await
                    .expect("expunge");
            }
            Step::Close => store.close().await.expect("close"),
            Step::Wait => {
                clock += 1;
                disk.set_clock(Duration::from_secs(clock));
            }
            Step::Sweep => {
                let scope = rmail_core::machine::Scope::Mailbox(mailbox.clone());
                let wake = std::sync::Arc::new(|| ());
                let _watch = store.hub().watch(scope, snapshot.modseq, wake);
                store.sweep_watched().await;
            }
            Step::Kill | Step::Cut(..) => {}
        }
        store.unselect(&mailbox).await;
        if let Step::Kill | Step::Cut(..) | Step::Close = step {
            process.kill();
            if let Step::Cut(outcome, seed) = step {
                let mut random = Random::from_seed([*seed; 32]);
                disk.power_cut(Model::Adversary, *outcome, &mut random);
            }
            process = disk.process();
            store = open(&process, Limits::small()).await;
        }
        // Both look at what lies there now, each at a disk of its own.
        let (with, without) = (look(&disk.fork()).await, look_without(&disk).await);
        assert_eq!(with, without, "after step {n}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn with_the_file_a_new_process_sees_what_it_sees_without(steps in steps()) {
        block_on(take(&steps));
    }
}

#[test]
fn status_counts_what_a_walk_over_the_rows_counts() {
    block_on(async {
        let disk = filled().await;
        let store = open(&disk.process(), Limits::small()).await;
        let recount = async || {
            let status = store.status(&alice(), &inbox()).await.expect("status");
            let selected = store.select(&alice(), &inbox(), true).await.expect("select");
            let rows = &selected.snapshot.rows;
            let count = |test: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| test(row)).count() as u64;
            assert_eq!(status.messages, count(&|_| true));
            assert_eq!(
                status.unseen,
                count(&|row| !row.flags.contains(SystemFlags::SEEN))
            );
            assert_eq!(
                status.deleted,
                count(&|row| row.flags.contains(SystemFlags::DELETED))
            );
            assert_eq!(status.recent, count(&|row| row.uid >= selected.recent_from));
            assert_eq!(
                status.size,
                rows.iter().map(|row| u64::from(row.size)).sum::<u64>()
            );
            status
        };
        let first = recount().await;
        assert_eq!((first.recent, first.unseen, first.deleted), (11, 7, 4));
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        append(&store, "INBOX", "new", flags(SystemFlags::SEEN, &[]))
            .await
            .expect("append");
        assert_eq!(recount().await.recent, 1);
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        store
            .store(&mailbox, &set(&[1, 2, 9]), &deleted, None)
            .await
            .expect("store");
        recount().await;
        store
            .expunge(&mailbox, Some(&set(&[1, 9])))
            .await
            .expect("expunge");
        assert_eq!(recount().await.messages, 10);
    });
}

#[test]
fn mail_on_a_disk_that_can_only_be_read_is_read() {
    block_on(async {
        let world = filled().await;
        look(&world).await;
        // As it was left, after a new start of the machine, without `state`, and without the snapshot file.
        for case in 0..4 {
            let disk = world.fork();
            if case == 1 {
                let mut random = Random::from_seed([1; 32]);
                disk.power_cut(Model::Ordered, Outcome::Kept, &mut random);
            }
            let disk = disk.process();
            let dir = dir_of(&disk, "INBOX").await;
            if case > 1 {
                let name = if case == 2 { "state" } else { FILE };
                disk.unlink(&dir, name).await.expect("unlink");
            }
            let expected = look(&disk.fork()).await;
            disk.set_read_only(true);
            let store = open(&disk.process(), Limits::small()).await;
            for examine in [true, false, false] {
                let selected = store.select(&alice(), &inbox(), examine).await;
                let selected = selected.unwrap_or_else(|error| panic!("case {case}: {error}"));
                assert!(selected.read_only, "case {case}");
                assert_eq!(seen(&selected.snapshot).3, expected.3, "case {case}");
                assert_eq!(selected.snapshot.uid_next.0, expected.1);
                let text = body(&store, &selected.mailbox, 3).await;
                assert_eq!(text.as_deref(), Some("xx"));
                let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
                let stored = store.store(&selected.mailbox, &set(&[2]), &seen, None).await;
                assert!(stored.is_err());
                let again = store.snapshot(&selected.mailbox).await.expect("snapshot");
                assert_eq!(again.rows, selected.snapshot.rows);
                store.poll_watched().await;
                store.sweep_watched().await;
                store.unselect(&selected.mailbox).await;
            }
            assert_eq!(store.list(&alice()).await.expect("list").len(), 6);
            assert_eq!(
                store.status(&alice(), &inbox()).await.expect("status").messages,
                11
            );
            assert!(
                append(&store, "INBOX", "no", flags(SystemFlags::SEEN, &[]))
                    .await
                    .is_err()
            );
            disk.set_read_only(false);
            let (mailbox, snapshot) = select(&store, "INBOX").await.expect("select");
            assert_eq!(seen(&snapshot).3, expected.3);
            append(&store, "INBOX", "yes", flags(SystemFlags::SEEN, &[]))
                .await
                .expect("append");
            let after = store.snapshot(&mailbox).await.expect("snapshot");
            assert_eq!(after.rows.len(), 12);
        }
    });
}
