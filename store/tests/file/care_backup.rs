//! Backups: exact at one moment under load, complete or said not to be, cheap when little has changed; and what comes
//! back from them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, ModSeq, SystemFlags};
use rmail_core::random::Random;
use rmail_core::time::{DateTime, Unix};
use rmail_store::MailStore;
use rmail_store::care::backup::{self, Flaw, FlawKind, Options, Summary, manifest};
use rmail_store::care::restore::{self, Restored};
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Call, Fault, MemDir, MemDisk, Model, Outcome};

const USER: &str = "domains/example.com/users/alice";

/// A message: UID, flags, keywords, INTERNALDATE.
type Message = (u32, u8, BTreeSet<String>, DateTime);

fn day(day: u32) -> String {
    format!("2026-11-{day:02}T10-00-00Z")
}

fn options(day_of: u32) -> Options {
    Options {
        users: Vec::new(),
        secrets: true,
        name: day(day_of),
    }
}

async fn target(disk: &MemDisk) -> MemDir {
    let root = disk.root();
    if disk.open_dir(root, "backup").await.is_err() {
        disk.make_dir(root, "backup").await.expect("make");
        disk.sync_dir(root).await.expect("sync");
    }
    disk.open_dir(root, "backup").await.expect("open")
}

async fn make(store: &Store, disk: &MemDisk, day: u32) -> rmail_store::error::Result<Summary> {
    // Not counted as a call of the process that is to be cut.
    let target = target(&disk.process()).await;
    backup::run(store, &target, &options(day), &mut |_| {}).await
}

async fn set_of(disk: &MemDisk, name: &str) -> MemDir {
    let target = target(disk).await;
    disk.open_dir(&target, name).await.expect("the backup")
}

async fn flaws(disk: &MemDisk, name: &str) -> Vec<Flaw> {
    let set = set_of(disk, name).await;
    let mut flaws = Vec::new();
    let mut tell = |flaw: Flaw| flaws.push(flaw);
    let verified = backup::verify(disk, &set, &mut tell, &mut |_| {}).await;
    assert_eq!(verified.expect("verify").flaws, flaws.len() as u64);
    flaws
}

fn kinds(flaws: &[Flaw]) -> Vec<FlawKind> {
    flaws.iter().map(|flaw| flaw.kind).collect()
}

/// The lines of a backup's manifest.
async fn lines(disk: &MemDisk, name: &str) -> Vec<manifest::Line> {
    let set = set_of(disk, name).await;
    let file = disk.open(&set, manifest::NAME, Mode::Read).await.expect("open");
    let mut bytes = vec![0; 1 << 20];
    let count = disk.read_at(&file, &mut bytes, 0).await.expect("read");
    let text = String::from_utf8(bytes[..count].to_vec()).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect()
}

/// Texts of the messages of INBOX in a backup, with their names.
async fn inbox_in(disk: &MemDisk, name: &str) -> BTreeMap<String, String> {
    let shards = dir_at(disk, &format!("backup/{name}/{USER}/mailboxes/INBOX/shards")).await;
    let mut found = BTreeMap::new();
    for shard in names_of(disk, &shards).await {
        let dir = disk.open_dir(&shards, &shard).await.expect("shard");
        for name in names_of(disk, &dir).await {
            let octets = octets_of(disk, &dir, &name).await;
            found.insert(String::from_utf8(octets).expect("text"), name);
        }
    }
    found
}

/// INBOX with UIDs 1 to 6 (4 is expunged), flags, keywords and dates; `work/sub`, `Sent`; a user with a password.
async fn world() -> (MemDisk, Store) {
    let disk = MemDisk::new();
    disk.set_clock(Duration::from_secs(NOW.secs()));
    let store = open(&disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("alice");
    let user = dir_at(&disk, USER).await;
    put(&disk, &user, "user.json", br#"{"password":"$x","quota_mb":7}"#).await;
    put(
        &disk,
        &dir_at(&disk, "domains/example.com").await,
        "dkim.key",
        b"secret",
    )
    .await;
    for n in 1..=6_i64 {
        let system = SystemFlags(u8::try_from(n).expect("small") * 3 % 32).without(SystemFlags::DELETED);
        let words: &[&str] = if n % 2 == 0 { &["one", "$Two"] } else { &["three"] };
        let spool = spool(&store, &format!("text {n}")).await.expect("spool");
        let date = DateTime {
            unix: 1_000 * n,
            zone: -90,
        };
        let message = vec![(spool, flags(system, words), Some(date))];
        let appended = store
            .append(
                &alice(),
                &inbox(),
                message,
                &rmail_core::mailbox::Quota::UNLIMITED,
                NOW,
            )
            .await;
        appended.expect("append");
    }
    let (mailbox, _) = select(&store, "INBOX").await.expect("select");
    let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
    store
        .store(&mailbox, &set(&[4]), &deleted, None)
        .await
        .expect("store");
    store.expunge(&mailbox, None).await.expect("expunge");
    store
        .create(&alice(), &name("work/sub"), &[], NOW)
        .await
        .expect("create");
    store
        .subscribe(&alice(), &name("work/sub"), true)
        .await
        .expect("subscribe");
    append(&store, "work/sub", "sub", Flags::default())
        .await
        .expect("append");
    append(&store, "Sent", "sent", Flags::default())
        .await
        .expect("append");
    store.flush().await.expect("flush");
    (disk, store)
}

async fn put(disk: &MemDisk, dir: &MemDir, name: &str, octets: &[u8]) {
    let file = disk.open(dir, name, Mode::Create).await.expect("open");
    disk.write_at(&file, octets, 0).await.expect("write");
    disk.sync(&file).await.expect("sync");
    disk.sync_dir(dir).await.expect("sync");
}

/// All mailboxes of alice: UIDVALIDITY, and the messages by text.
async fn mail(store: &Store) -> BTreeMap<String, (u32, BTreeMap<String, Vec<Message>>)> {
    let mut all = BTreeMap::new();
    for entry in store.list(&alice()).await.expect("list") {
        if !entry.selectable {
            continue;
        }
        let selected = store.select(&alice(), &entry.name, true).await.expect("select");
        let mut texts: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for row in selected.snapshot.rows.iter() {
            let text = body(store, &selected.mailbox, row.uid.0)
                .await
                .expect("a message");
            let words = selected.snapshot.keywords.of(row.keywords);
            let words = words.map(|word| word.as_str().to_owned()).collect();
            let message = (row.uid.0, row.flags.0, words, row.internal_date());
            texts.entry(text).or_default().push(message);
        }
        store.unselect(&selected.mailbox).await;
        all.insert(entry.name.to_string(), (selected.snapshot.uid_validity.0, texts));
    }
    all
}

#[test]
fn a_backup_is_the_store_itself_and_can_be_served() {
    block_on(async {
        let (disk, store) = world().await;
        let before = mail(&store).await;
        let summary = make(&store, &disk, 1).await.expect("backup");
        assert_eq!((summary.messages, summary.linked, summary.problems), (7, 7, 0));
        assert_eq!(flaws(&disk, &day(1)).await, []);
        assert_eq!(mail(&store).await, before);
        // As the mail_root of another server.
        let moved = disk.fork();
        let set = set_of(&moved, &day(1)).await;
        moved.unlink(&set, manifest::NAME).await.expect("unlink");
        let domains = moved.open_dir(moved.root(), "domains").await.expect("open");
        drop(domains);
        moved
            .rename(moved.root(), "domains", moved.root(), "old")
            .await
            .expect("rename");
        moved
            .rename(&set, "domains", moved.root(), "domains")
            .await
            .expect("rename");
        let served = open(&moved.process(), Limits::small()).await;
        assert_eq!(mail(&served).await, before);
        let lines = lines(&disk, &day(1)).await;
        let found = lines.iter().find_map(|line| match line {
            manifest::Line::Mailbox(line) if line.name == "INBOX" => Some(line.clone()),
            _ => None,
        });
        let found = found.expect("INBOX");
        assert_eq!((found.messages, found.octets, found.uid_next), (5, 30, 7));
        assert_eq!(found.keywords, ["three", "one", "$Two"]);
        assert_eq!(found.uid_validity, before["INBOX"].0);
        assert!(
            matches!(lines.last(), Some(manifest::Line::End { lines: count, .. }) if *count + 1 == lines.len() as u64)
        );
    });
}

#[test]
fn what_has_not_changed_is_neither_read_nor_copied_again() {
    block_on(async {
        let (disk, store) = world().await;
        for links in [true, false] {
            let disk = disk.fork();
            let store_of_fork = open(&disk, Limits::small()).await;
            let refuse = async |day| {
                if !links {
                    let trial = disk.fork();
                    trial.record();
                    let store = open(&trial, Limits::small()).await;
                    let before = trial.calls();
                    make(&store, &trial, day).await.expect("backup");
                    let records = trial.take_records();
                    let first = records
                        .iter()
                        .find(|record| record.call == Call::Link)
                        .expect("a link");
                    let at = disk.calls() + first.number - before;
                    // Another file system.
                    disk.fault(at, Fault::Errno(18));
                }
            };
            // As many calls as in the trial before.
            refuse(1).await;
            let first = make(&store_of_fork, &disk, 1).await.expect("backup");
            assert_eq!((first.linked, first.copied), if links { (7, 0) } else { (0, 7) });
            let (mailbox, _) = select(&store_of_fork, "INBOX").await.expect("select");
            let seen = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
            store_of_fork
                .store(&mailbox, &set(&[1, 2]), &seen, None)
                .await
                .expect("store");
            append(&store_of_fork, "INBOX", "new", Flags::default())
                .await
                .expect("append");
            if links {
                disk.record();
                let second = make(&store_of_fork, &disk, 2).await.expect("backup");
                assert_eq!((second.linked, second.shared, second.copied), (8, 0, 0));
                // The manifest of the first, the small files, and one message.
                let reads = disk.take_records();
                let reads = reads.iter().filter(|record| record.call == Call::ReadAt).count();
                let again = make(&store_of_fork, &disk, 3).await.expect("backup");
                assert_eq!(again.linked, 8);
                assert!(reads < 120, "{reads}");
            } else {
                refuse(2).await;
                let second = make(&store_of_fork, &disk, 2).await.expect("backup");
                assert_eq!((second.linked, second.shared, second.copied), (0, 7, 1));
            }
            assert_eq!(flaws(&disk, &day(1)).await, []);
            assert_eq!(flaws(&disk, &day(2)).await, []);
            assert_eq!(inbox_in(&disk, &day(2)).await.len(), 6);
        }
        drop(store);
    });
}

#[test]
fn secrets_are_left_out_on_demand() {
    block_on(async {
        let (disk, store) = world().await;
        let target = target(&disk).await;
        let without = Options {
            secrets: false,
            ..options(1)
        };
        backup::run(&store, &target, &without, &mut |_| {})
            .await
            .expect("backup");
        make(&store, &disk, 2).await.expect("backup");
        for (day_of, keys, password) in [(1, false, false), (2, true, true)] {
            let domain = dir_at(&disk, &format!("backup/{}/domains/example.com", day(day_of))).await;
            assert_eq!(
                names_of(&disk, &domain).await.contains(&"dkim.key".to_owned()),
                keys
            );
            let user = dir_at(&disk, &format!("backup/{}/{USER}", day(day_of))).await;
            let text = String::from_utf8(octets_of(&disk, &user, "user.json").await).expect("text");
            assert_eq!(text.contains("$x"), password);
            assert!(text.contains("quota_mb"));
            assert_eq!(flaws(&disk, &day(day_of)).await, []);
        }
    });
}

#[test]
fn one_user_alone() {
    block_on(async {
        let (disk, store) = world().await;
        store.create_account(&bob(), NOW).await.expect("bob");
        let target = target(&disk).await;
        let only = Options {
            users: vec![bob()],
            ..options(1)
        };
        let summary = backup::run(&store, &target, &only, &mut |_| {})
            .await
            .expect("backup");
        assert_eq!((summary.accounts, summary.messages), (1, 0));
        let users = dir_at(&disk, &format!("backup/{}/domains/example.com/users", day(1))).await;
        assert_eq!(names_of(&disk, &users).await, ["bob"]);
    });
}

/// At any moment INBOX has all messages of a window of five or six: one is delivered, then the oldest is expunged. The
/// flag of each message is set before the next one comes.
#[test]
fn each_mailbox_is_of_one_moment_while_it_changes() {
    let mut ends = BTreeSet::new();
    for seed in 0..80_u8 {
        let disk = MemDisk::new();
        disk.set_clock(Duration::from_secs(NOW.secs()));
        disk.set_tick(Duration::from_micros(if seed % 2 == 0 { 200 } else { 8_000 }));
        disk.set_exact(seed % 3 != 0);
        let store = block_on(async {
            let store = open(&disk, Limits::small()).await;
            store.create_account(&alice(), NOW).await.expect("alice");
            for n in 1..=5 {
                append(&store, "INBOX", &n.to_string(), flags(SystemFlags::SEEN, &[]))
                    .await
                    .expect("append");
            }
            target(&disk).await;
            store
        });
        let other_disk = disk.process();
        let other = block_on(open(&other_disk, Limits::small()));
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        exec.spawn(async {
            make(&other, &other_disk, 1).await.expect("backup");
        });
        exec.spawn(async {
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            for n in 6..=14_u32 {
                append(&store, "INBOX", &n.to_string(), Flags::default())
                    .await
                    .expect("append");
                let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
                store
                    .store(&mailbox, &set(&[n]), &seen, None)
                    .await
                    .expect("store");
                let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
                store
                    .store(&mailbox, &set(&[n - 5]), &deleted, None)
                    .await
                    .expect("store");
                store.expunge(&mailbox, None).await.expect("expunge");
            }
        });
        exec.run().expect("nobody waits for ever");
        block_on(async {
            let flawed = flaws(&disk, &day(1)).await;
            assert!(flawed.is_empty(), "seed {seed}: {flawed:?}");
            let found = inbox_in(&disk, &day(1)).await;
            let mut numbers: Vec<u32> = found.keys().map(|text| text.parse().expect("a number")).collect();
            numbers.sort_unstable();
            let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
            let whole = numbers.len() as u32 == last - first + 1;
            assert!(
                whole && matches!(numbers.len(), 5 | 6),
                "seed {seed}: {numbers:?}"
            );
            for number in &numbers {
                let (row, _) = rmail_store::file::names::decode(&found[&number.to_string()]).expect("a name");
                let is_last = *number == last && numbers.len() == 6;
                assert!(
                    is_last || row.flags.contains(SystemFlags::SEEN),
                    "seed {seed}: {row:?}"
                );
                let dying = row.flags.contains(SystemFlags::DELETED);
                assert!(
                    !dying || (*number == first && numbers.len() == 6),
                    "seed {seed}: {row:?}"
                );
            }
            ends.insert(last);
        });
    }
    assert!(ends.len() > 3, "backups of different moments: {ends:?}");
}

#[test]
fn mailboxes_that_come_go_and_move_meanwhile_are_in_it_once() {
    for seed in 0..60_u8 {
        let disk = MemDisk::new();
        disk.set_clock(Duration::from_secs(NOW.secs()));
        disk.set_tick(Duration::from_millis(5));
        let store = block_on(async {
            let store = open(&disk, Limits::small()).await;
            store.create_account(&alice(), NOW).await.expect("alice");
            for at in ["b", "m", "x"] {
                store.create(&alice(), &name(at), &[], NOW).await.expect("create");
                append(&store, at, &format!("in {at}"), Flags::default())
                    .await
                    .expect("append");
            }
            target(&disk).await;
            store
        });
        let other_disk = disk.process();
        let other = block_on(open(&other_disk, Limits::small()));
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        exec.spawn(async {
            make(&other, &other_disk, 1).await.expect("backup");
        });
        exec.spawn(async {
            store
                .rename(&alice(), &name("x"), &name("a"), NOW)
                .await
                .expect("rename");
            store.delete(&alice(), &name("m")).await.expect("delete");
            store
                .create(&alice(), &name("c"), &[], NOW)
                .await
                .expect("create");
            store
                .rename(&alice(), &name("b"), &name("y/z"), NOW)
                .await
                .expect("rename");
        });
        exec.run().expect("nobody waits for ever");
        block_on(async {
            assert_eq!(flaws(&disk, &day(1)).await, [], "seed {seed}");
            let mut ids: BTreeMap<u32, Vec<String>> = BTreeMap::new();
            for line in lines(&disk, &day(1)).await {
                if let manifest::Line::Mailbox(line) = line {
                    ids.entry(line.id).or_default().push(line.name);
                }
            }
            assert!(ids.values().all(|names| names.len() == 1), "seed {seed}: {ids:?}");
            let names: BTreeSet<&str> = ids.values().flatten().map(String::as_str).collect();
            assert!(
                names.contains("x") || names.contains("a"),
                "seed {seed}: {names:?}"
            );
            assert!(
                names.contains("b") || names.contains("y/z"),
                "seed {seed}: {names:?}"
            );
        });
    }
}

/// The numbers of the recorded calls that change something, and of the one after the last; cut at another one an operation
/// leaves the same as cut at the next of these.
fn changes(disk: &MemDisk, before: u64) -> Vec<u64> {
    let records = disk.take_records();
    let only_look = [
        Call::OpenDir,
        Call::List,
        Call::ReadAt,
        Call::Stat,
        Call::StatDir,
        Call::StatAt,
        Call::StatLink,
        Call::Lock,
        Call::Pause,
        Call::Open,
    ];
    let changing = records.iter().filter(|record| !only_look.contains(&record.call));
    changing.map(|record| record.number - before).collect()
}

#[test]
fn a_backup_that_is_cut_at_any_call_is_said_to_be_incomplete_and_made_again() {
    let (world, calls) = block_on(async {
        let (disk, store) = world().await;
        make(&store, &disk, 1).await.expect("backup");
        append(&store, "INBOX", "new", Flags::default())
            .await
            .expect("append");
        disk.sync_fs(disk.root()).await.expect("sync");
        drop(store);
        let trial = disk.fork();
        let store = open(&trial, Limits::small()).await;
        let before = trial.calls();
        trial.record();
        make(&store, &trial, 2).await.expect("backup");
        let calls = changes(&trial, before);
        (disk, calls)
    });
    for end in 0..3 {
        for at in &calls {
            let at = *at;
            let disk = world.fork();
            block_on(async {
                let what = format!("cut at {at}, {end}");
                let store = open(&disk, Limits::small()).await;
                let before = disk.calls();
                disk.fault(before + at, Fault::Crash);
                let told = make(&store, &disk, 2).await;
                assert_eq!(told.is_ok(), !disk.is_dead(), "{what}");
                drop(store);
                disk.kill();
                let mut random = Random::from_seed([at.to_le_bytes()[0]; 32]);
                match end {
                    0 => {}
                    1 => disk.power_cut(Model::Adversary, Outcome::Lost, &mut random),
                    _ => disk.power_cut(Model::Adversary, Outcome::Random, &mut random),
                }
                let disk = disk.process();
                let target = target(&disk).await;
                let sets = backup::sets(&disk, &target).await.expect("sets");
                let second = sets.iter().find(|(name, _)| name.starts_with(&day(2)));
                assert_eq!(flaws(&disk, &day(1)).await, [], "{what}: the one before is whole");
                match second {
                    // What has its name is complete, whenever the power failed.
                    Some((name, true)) => assert_eq!(flaws(&disk, name).await, [], "{what}"),
                    Some((name, false)) => {
                        let whole = flaws(&disk, name).await.is_empty();
                        assert!(told.is_err(), "{what}: {whole}");
                    }
                    None => assert!(told.is_err(), "{what}"),
                }
                let store = open(&disk, Limits::small()).await;
                let summary = make(&store, &disk, 3).await.expect("another one");
                assert_eq!((summary.messages, summary.problems), (8, 0), "{what}");
                assert_eq!(flaws(&disk, &day(3)).await, [], "{what}");
                let names = names_of(&disk, &target).await;
                assert!(
                    !names.iter().any(|name| name.ends_with(".partial")),
                    "{what}: {names:?}"
                );
                assert_eq!(mail(&store).await["INBOX"].1.len(), 6, "{what}");
            });
        }
    }
}

#[test]
fn whatever_call_fails_a_backup_says_what_it_lacks() {
    let world = block_on(world()).0;
    for errno in [5, 28, 24] {
        for at in (u64::try_from(errno % 3).expect("small") + 1..).step_by(3) {
            let disk = world.fork();
            let ended = block_on(async {
                let store = open(&disk, Limits::small()).await;
                let before = disk.calls();
                disk.fault(before + at, Fault::Errno(errno));
                let told = make(&store, &disk, 1).await;
                let ended = disk.calls() < before + at;
                disk.clear_faults();
                let what = format!("errno {errno} at {at}");
                let Ok(summary) = told else { return false };
                let found = flaws(&disk, &day(1)).await;
                assert!(
                    found.iter().all(|flaw| flaw.kind == FlawKind::Incomplete),
                    "{what}: {found:?}"
                );
                assert_eq!(found.len() as u64, summary.problems, "{what}");
                if summary.problems == 0 {
                    assert_eq!(summary.messages, 7, "{what}");
                }
                ended
            });
            if ended {
                break;
            }
        }
    }
}

#[test]
fn flaws_are_found() {
    block_on(async {
        let (disk, store) = world().await;
        make(&store, &disk, 1).await.expect("backup");
        let shard = format!("backup/{}/{USER}/mailboxes/INBOX/shards/000000", day(1));
        for what in 0..5 {
            let disk = disk.fork();
            let dir = dir_at(&disk, &shard).await;
            let name = names_of(&disk, &dir).await.into_iter().min().expect("a message");
            let wanted = match what {
                0 => {
                    disk.unlink(&dir, &name).await.expect("unlink");
                    FlawKind::Missing
                }
                1 => {
                    put(&disk, &dir, &name, b"texT").await;
                    FlawKind::Changed
                }
                2 => {
                    put(&disk, &dir, &name, b"text 1 and more").await;
                    FlawKind::Changed
                }
                3 => {
                    put(&disk, &dir, "other", b"").await;
                    FlawKind::Extra
                }
                _ => {
                    let set = set_of(&disk, &day(1)).await;
                    disk.unlink(&set, manifest::NAME).await.expect("unlink");
                    FlawKind::Manifest
                }
            };
            let found = flaws(&disk, &day(1)).await;
            assert_eq!(kinds(&found), [wanted], "{found:?}");
        }
    });
}

#[test]
fn a_manifest_that_is_cut_or_hit_anywhere_is_none() {
    block_on(async {
        let (disk, store) = world().await;
        make(&store, &disk, 1).await.expect("backup");
        let set = set_of(&disk, &day(1)).await;
        let octets = octets_of(&disk, &set, manifest::NAME).await;
        for at in (0..octets.len()).step_by(37).chain([octets.len() - 1]) {
            for cut in [true, false] {
                let mut hit = octets.clone();
                if cut {
                    hit.truncate(at);
                } else {
                    hit[at] ^= 1;
                }
                disk.unlink(&set, manifest::NAME).await.expect("unlink");
                put(&disk, &set, manifest::NAME, &hit).await;
                let found = flaws(&disk, &day(1)).await;
                assert_eq!(kinds(&found), [FlawKind::Manifest], "{at} {cut}");
            }
        }
    });
}

#[test]
fn two_backups_into_one_place_do_not_meet() {
    block_on(async {
        let (disk, store) = world().await;
        let target = target(&disk).await;
        let file = disk.open(&target, ".lock", Mode::Create).await.expect("open");
        let held = disk.lock(&file, Duration::ZERO).await.expect("lock");
        let error = make(&store, &disk, 1).await.expect_err("another one runs");
        assert_eq!(error.refusal, rmail_core::refusal::Refusal::Busy);
        drop(held);
        make(&store, &disk, 1).await.expect("backup");
        make(&store, &disk, 1)
            .await
            .expect_err("there is one of that name");
        assert_eq!(flaws(&disk, &day(1)).await, []);
    });
}

async fn bring(
    store: &Store,
    disk: &MemDisk,
    mailboxes: &[&str],
    rename: Option<&str>,
) -> Result<(Vec<Restored>, Vec<String>), restore::Failed> {
    let set = set_of(&disk.process(), &day(1)).await;
    let options = restore::Options {
        account: alice(),
        mailboxes: mailboxes.iter().map(|text| name(text)).collect(),
        rename: rename.map(name),
        dry_run: false,
        now: Unix::from_secs(NOW.secs() + 50),
    };
    let mut problems = Vec::new();
    let mut tell = |event: restore::Event<'_>| {
        if let restore::Event::Problem(path, why) = event {
            problems.push(format!("{path}: {why}"));
        }
    };
    let restored = restore::run(store, disk, &set, &options, &mut tell).await?;
    Ok((restored, problems))
}

#[test]
fn a_mailbox_that_was_deleted_becomes_what_it_was() {
    block_on(async {
        let (disk, store) = world().await;
        store
            .rename(&alice(), &inbox(), &name("kept"), NOW)
            .await
            .expect("rename");
        let before = mail(&store).await["kept"].clone();
        assert_eq!(before.1.len(), 5);
        let (_, snapshot) = select(&store, "kept").await.expect("select");
        make(&store, &disk, 1).await.expect("backup");
        append(&store, "kept", "later", Flags::default())
            .await
            .expect("append");
        store.delete(&alice(), &name("kept")).await.expect("delete");
        let (restored, problems) = bring(&store, &disk, &["kept"], None).await.expect("restore");
        assert!(problems.is_empty() && restored[0].made && restored[0].same_uids);
        assert_eq!((restored[0].restored, restored[0].present), (5, 0));
        assert_eq!(mail(&store).await["kept"], before);
        let (_, now) = select(&store, "kept").await.expect("select");
        // Whoever saw what came after the backup meets nothing else under those numbers.
        assert!(now.uid_next.0 >= snapshot.uid_next.0 + restore::UID_GAP);
        assert!(now.modseq > ModSeq(snapshot.modseq.0 + restore::MODSEQ_GAP));
        // Once more: nothing to do.
        let (restored, _) = bring(&store, &disk, &["kept"], None).await.expect("restore");
        assert_eq!((restored[0].restored, restored[0].present), (0, 5));
        // Under another name, beside it: another mailbox of the same messages.
        let (restored, _) = bring(&store, &disk, &["kept"], Some("copy"))
            .await
            .expect("restore");
        assert!(restored[0].made && restored[0].same_uids);
        let all = mail(&store).await;
        assert_eq!(all["copy"], all["kept"]);
        let (copy, _) = select(&store, "copy").await.expect("select");
        let (kept, _) = select(&store, "kept").await.expect("select");
        assert_ne!(copy.id, kept.id);
    });
}

#[test]
fn only_what_is_missing_is_put_back() {
    block_on(async {
        let (disk, store) = world().await;
        append(&store, "INBOX", "twice", Flags::default())
            .await
            .expect("append");
        append(&store, "INBOX", "twice", Flags::default())
            .await
            .expect("append");
        make(&store, &disk, 1).await.expect("backup");
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        store
            .store(&mailbox, &set(&[2, 7]), &deleted, None)
            .await
            .expect("store");
        store.expunge(&mailbox, None).await.expect("expunge");
        let flagged = change(FlagOp::Replace, SystemFlags::FLAGGED, &[]);
        store
            .store(&mailbox, &set(&[1]), &flagged, None)
            .await
            .expect("store");
        append(&store, "INBOX", "later", Flags::default())
            .await
            .expect("append");
        let before = mail(&store).await["INBOX"].clone();
        let (restored, problems) = bring(&store, &disk, &["INBOX"], None).await.expect("restore");
        assert!(problems.is_empty() && !restored[0].made && !restored[0].same_uids);
        assert_eq!((restored[0].restored, restored[0].present), (2, 5));
        let after = mail(&store).await["INBOX"].clone();
        assert_eq!(after.0, before.0);
        for (text, copies) in &before.1 {
            assert!(
                copies.iter().all(|copy| after.1[text].contains(copy)),
                "{text} is as it was"
            );
        }
        let words: BTreeSet<String> = ["one", "$Two"].map(str::to_owned).into();
        let date = DateTime {
            unix: 2_000,
            zone: -90,
        };
        let old_flags = SystemFlags(6).without(SystemFlags::DELETED).0;
        assert_eq!(after.1["text 2"], [(10, old_flags, words, date)]);
        assert_eq!(after.1["twice"].len(), 2);
    });
}

#[test]
fn a_whole_account_comes_back() {
    block_on(async {
        let (disk, store) = world().await;
        let before = mail(&store).await;
        make(&store, &disk, 1).await.expect("backup");
        store.delete_account(&alice()).await.expect("delete");
        let set = set_of(&disk, &day(1)).await;
        let user = restore::user_file(&disk, &set, &alice())
            .await
            .expect("the backup");
        assert_eq!(user.as_deref(), Some(&br#"{"password":"$x","quota_mb":7}"#[..]));
        let (restored, problems) = bring(&store, &disk, &[], None).await.expect("restore");
        assert!(problems.is_empty() && restored.iter().all(|restored| restored.same_uids));
        assert_eq!(mail(&store).await, before);
        let listed = store.list(&alice()).await.expect("list");
        let sub = listed
            .iter()
            .find(|entry| entry.name == name("work/sub"))
            .expect("it");
        assert!(sub.subscribed);
        let drafts = listed
            .iter()
            .find(|entry| entry.name == name("Drafts"))
            .expect("it");
        assert_eq!(drafts.special_use.len(), 1);
    });
}

#[test]
fn what_is_not_as_it_was_backed_up_is_left_out() {
    block_on(async {
        let (disk, store) = world().await;
        make(&store, &disk, 1).await.expect("backup");
        let shard = format!("backup/{}/{USER}/mailboxes/INBOX/shards", day(1));
        for (number, at) in [("000000", 1), ("000001", 0)] {
            let dir = dir_at(&disk, &format!("{shard}/{number}")).await;
            let mut names = names_of(&disk, &dir).await;
            names.sort();
            if at == 0 {
                disk.unlink(&dir, &names[at]).await.expect("unlink");
            } else {
                // Not in place: the stored file is another one.
                disk.unlink(&dir, &names[at]).await.expect("unlink");
                put(&disk, &dir, &names[at], b"text X").await;
            }
        }
        let (restored, problems) = bring(&store, &disk, &["INBOX"], Some("new"))
            .await
            .expect("restore");
        assert_eq!((restored[0].restored, restored[0].problems), (3, 2));
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("not what was backed up") && problems[1].contains("missing"));
        let texts: Vec<String> = mail(&store).await["new"].1.keys().cloned().collect();
        assert_eq!(texts, ["text 1", "text 3", "text 6"]);
    });
}

#[test]
fn nothing_comes_from_a_backup_that_is_not_complete() {
    block_on(async {
        let (disk, store) = world().await;
        make(&store, &disk, 1).await.expect("backup");
        let set = set_of(&disk, &day(1)).await;
        let octets = octets_of(&disk, &set, manifest::NAME).await;
        disk.unlink(&set, manifest::NAME).await.expect("unlink");
        put(&disk, &set, manifest::NAME, &octets[..octets.len() - 20]).await;
        let before = mail(&store).await;
        let failed = bring(&store, &disk, &["INBOX"], Some("new"))
            .await
            .expect_err("no end");
        assert!(
            matches!(failed, restore::Failed::Broken(manifest::Broken::Incomplete)),
            "{failed}"
        );
        assert_eq!(mail(&store).await, before);
        put(&disk, &set, manifest::NAME, &octets).await;
        let failed = bring(&store, &disk, &["nowhere"], None)
            .await
            .expect_err("no such mailbox");
        assert!(matches!(failed, restore::Failed::NoMailbox(_)));
    });
}

#[test]
fn a_restore_that_is_cut_at_any_call_is_ended_by_the_next() {
    let (world, calls) = block_on(async {
        let (disk, store) = world().await;
        make(&store, &disk, 1).await.expect("backup");
        store.delete(&alice(), &name("work/sub")).await.expect("delete");
        store
            .rename(&alice(), &inbox(), &name("away"), NOW)
            .await
            .expect("rename");
        store.delete(&alice(), &name("away")).await.expect("delete");
        append(&store, "INBOX", "later", Flags::default())
            .await
            .expect("append");
        disk.sync_fs(disk.root()).await.expect("sync");
        drop(store);
        let trial = disk.fork();
        let store = open(&trial, Limits::small()).await;
        let before = trial.calls();
        trial.record();
        bring(&store, &trial, &[], None).await.expect("restore");
        let calls = changes(&trial, before);
        (disk, calls)
    });
    for end in 0..3_u8 {
        for at in calls.iter().copied().step_by(if end == 0 { 1 } else { 5 }) {
            let disk = world.fork();
            block_on(async {
                let what = format!("cut at {at}, {end}");
                let store = open(&disk, Limits::small()).await;
                disk.fault(disk.calls() + at, Fault::Crash);
                bring(&store, &disk, &[], None).await.expect_err("cut");
                drop(store);
                disk.kill();
                let mut random = Random::from_seed([at.to_le_bytes()[0]; 32]);
                match end {
                    0 => {}
                    1 => disk.power_cut(Model::Adversary, Outcome::Lost, &mut random),
                    _ => disk.power_cut(Model::Ordered, Outcome::Random, &mut random),
                }
                let disk = disk.process();
                let store = open(&disk, Limits::small()).await;
                let (_, problems) = bring(&store, &disk, &[], None).await.expect("restore");
                assert!(problems.is_empty(), "{what}: {problems:?}");
                let all = mail(&store).await;
                let count = |mailbox: &str| all[mailbox].1.values().map(Vec::len).collect::<Vec<_>>();
                assert_eq!(count("INBOX"), [1; 6], "{what}: {all:?}");
                assert_eq!((count("work/sub"), count("Sent")), (vec![1], vec![1]), "{what}");
                assert!(all["INBOX"].1.contains_key("later"), "{what}");
            });
        }
    }
}

#[test]
fn a_restore_beside_deliveries_loses_neither() {
    for seed in 0..40_u8 {
        let (disk, store) = block_on(async {
            let (disk, store) = world().await;
            make(&store, &disk, 1).await.expect("backup");
            store.delete(&alice(), &name("work/sub")).await.expect("delete");
            store
                .rename(&alice(), &inbox(), &name("away"), NOW)
                .await
                .expect("rename");
            store.delete(&alice(), &name("away")).await.expect("delete");
            (disk, store)
        });
        let other_disk = disk.process();
        let other = block_on(open(&other_disk, Limits::small()));
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        exec.spawn(async {
            let (_, problems) = bring(&other, &other_disk, &[], None).await.expect("restore");
            assert!(problems.is_empty());
        });
        exec.spawn(async {
            for n in 0..5 {
                deliver(&store, &[alice()], &format!("new {n}"))
                    .await
                    .expect("deliver");
                append(&store, "Sent", &format!("new {n}"), Flags::default())
                    .await
                    .expect("append");
            }
        });
        exec.run().expect("nobody waits for ever");
        block_on(async {
            let all = mail(&store).await;
            assert_eq!(all["INBOX"].1.len(), 10, "seed {seed}: {all:?}");
            assert_eq!(all["Sent"].1.len(), 6, "seed {seed}");
            assert!(
                all.values()
                    .flat_map(|(_, texts)| texts.values())
                    .all(|copies| copies.len() == 1)
            );
        });
    }
}

#[test]
fn an_account_that_is_made_again_at_once_is_not_taken_for_a_copy() {
    block_on(async {
        let (disk, store) = world().await;
        make(&store, &disk, 1).await.expect("backup");
        // A server that has the old mailboxes open, and another process that deletes and restores.
        let before = mail(&store).await;
        let other_disk = disk.process();
        let other = open(&other_disk, Limits::small()).await;
        other.delete_account(&alice()).await.expect("delete");
        bring(&other, &other_disk, &[], None).await.expect("restore");
        assert_eq!(mail(&store).await, before);
    });
}
