//! `fsck`: every damage is found, told as what it is, mended, and nothing else is.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::common::*;
use crate::crash_common::entry;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, MailboxName, SystemFlags};
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::care::fsck::{self, Event, Finding, Options, Outcome, Summary};
use rmail_store::disk::{Disk as _, Mode, STAND_IN};
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Call, Fault, MemDir, MemDisk, Model, Outcome as Cut};

const USER: &str = "domains/example.com/users/alice";

fn options(repair: bool) -> Options {
    Options {
        users: Vec::new(),
        repair,
        deep: true,
        now: NOW,
    }
}

async fn look(disk: &MemDisk, options: &Options) -> (Vec<Finding>, Summary) {
    let store = open(&disk.process(), Limits::small()).await;
    look_with(&store, options).await
}

async fn look_with(store: &Store, options: &Options) -> (Vec<Finding>, Summary) {
    let mut found = Vec::new();
    let mut tell = |event: Event<'_>| {
        if let Event::Finding(finding) = event {
            found.push(finding.clone());
        }
    };
    let summary = fsck::run(store, options, &mut tell).await.expect("fsck");
    (found, summary)
}

/// INBOX has UIDs 1 to 6 in two shards, with keywords; 4 is expunged. `work/sub` has one message, the queue an entry.
async fn world() -> MemDisk {
    let disk = MemDisk::new();
    disk.set_clock(Duration::from_secs(NOW.secs()));
    let store = open(&disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("alice");
    put(&disk, &dir_at(&disk, USER).await, "user.json", b"{}").await;
    for n in 1..=6 {
        let system = if n == 4 {
            SystemFlags::DELETED
        } else {
            SystemFlags::default()
        };
        let words: &[&str] = if n % 2 == 0 { &["one", "two"] } else { &["three"] };
        append(&store, "INBOX", &format!("text {n}"), flags(system, words))
            .await
            .expect("append");
    }
    let (mailbox, _) = select(&store, "INBOX").await.expect("select");
    store.expunge(&mailbox, None).await.expect("expunge");
    // The first shard has rested when the second changes: a snapshot has it.
    disk.set_clock(Duration::from_secs(NOW.secs() + 1));
    for uid in [5, 6] {
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        store
            .store(&mailbox, &set(&[uid]), &seen, None)
            .await
            .expect("flags");
    }
    store
        .create(&alice(), &name("work/sub"), &[], NOW)
        .await
        .expect("create");
    append(&store, "work/sub", "sub", Flags::default())
        .await
        .expect("append");
    append(&store, "work", "work", Flags::default())
        .await
        .expect("append");
    let spool = spool(&store, "queue").await.expect("spool");
    store
        .deliver(spool, &[], Some(&entry()), NOW)
        .await
        .expect("queue");
    for _ in 0..40 {
        store.flush().await.expect("flush");
    }
    disk.set_clock(Duration::from_secs(NOW.secs() + 2));
    store.unselect(&mailbox).await;
    disk.set_clock(Duration::from_secs(NOW.secs() + 3));
    disk.kill();
    disk.process()
}

async fn put(disk: &MemDisk, dir: &MemDir, name: &str, octets: &[u8]) {
    let file = disk.open(dir, name, Mode::Create).await.expect("open");
    let size = disk.stat(&file).await.expect("stat").size;
    if size > octets.len() as u64 {
        drop(file);
        disk.unlink(dir, name).await.expect("unlink");
        let file = disk.open(dir, name, Mode::CreateNew).await.expect("open");
        disk.write_at(&file, octets, 0).await.expect("write");
        disk.sync(&file).await.expect("sync");
    } else {
        disk.write_at(&file, octets, 0).await.expect("write");
        disk.sync(&file).await.expect("sync");
    }
    disk.sync_dir(dir).await.expect("sync");
}

async fn shard(disk: &MemDisk, number: &str) -> MemDir {
    dir_of(disk, &format!("INBOX/shards/{number}")).await
}

async fn name_of(disk: &MemDisk, uid: u32) -> (MemDir, String) {
    let dir = shard(disk, &format!("{:06}", uid / 4)).await;
    let wanted = format!("{uid:010}.");
    let name = names_of(disk, &dir)
        .await
        .into_iter()
        .find(|name| name.starts_with(&wanted));
    (dir, name.expect("the message"))
}

async fn rename(disk: &MemDisk, from: &MemDir, name: &str, to: &MemDir, new: &str) {
    disk.rename(from, name, to, new).await.expect("rename");
    disk.sync_dir(to).await.expect("sync");
    disk.sync_dir(from).await.expect("sync");
}

/// Gives the file of a message other octets of any length.
async fn overwrite(disk: &MemDisk, uid: u32, octets: &[u8]) {
    let (dir, name) = name_of(disk, uid).await;
    disk.unlink(&dir, &name).await.expect("unlink");
    put(disk, &dir, &name, octets).await;
}

async fn edit(disk: &MemDisk, dir: &MemDir, name: &str, from: &str, to: &str) {
    let text = String::from_utf8(octets_of(disk, dir, name).await).expect("text");
    assert!(text.contains(from), "{text}");
    put(disk, dir, name, text.replacen(from, to, 1).as_bytes()).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Nothing,
    Grammar,
    Loose,
    WrongShard,
    Double,
    SameFile,
    Beyond,
    BeyondNext,
    SizeLess,
    SizeMore,
    Empty,
    Zeros,
    Link,
    Directory,
    OddShard,
    ModeFile,
    ModeDir,
    StatusMissing,
    StatusBroken,
    UidCeiling,
    ModseqCeiling,
    Copied,
    Counter,
    Dirty,
    State,
    Gone,
    KeywordsHit,
    KeywordsLost,
    Log,
    LogHead,
    Subscriptions,
    Account,
    LevelName,
    LevelNameBelow,
    Grave,
    StandIn,
    Temporary,
    QueueNoMessage,
    QueueNoEntry,
    QueueEntry,
    SnapshotHit,
    SnapshotLies,
    ParsedHit,
    Changed,
}

use Damage::*;

/// Each damage, the codes that it is found as, and whether all messages stay in their mailboxes.
const TABLE: [(Damage, &[&str]); 43] = [
    (Nothing, &[]),
    (Grammar, &["name-grammar"]),
    (Loose, &["name-grammar"]),
    (WrongShard, &["name-shard"]),
    (Double, &["name-double"]),
    (SameFile, &["name-double"]),
    (Beyond, &["uid-beyond"]),
    (BeyondNext, &["uid-beyond"]),
    (SizeLess, &["file-truncated"]),
    (SizeMore, &["name-size"]),
    (Empty, &["file-empty"]),
    (Zeros, &["file-zeros"]),
    (Link, &["not-a-file"]),
    (Directory, &["not-a-file"]),
    (OddShard, &["shard-name"]),
    (ModeFile, &["mode"]),
    (ModeDir, &["mode"]),
    (StatusMissing, &["status-missing"]),
    (StatusBroken, &["status-broken"]),
    (UidCeiling, &["uid-ceiling"]),
    (ModseqCeiling, &["modseq-ceiling"]),
    (Copied, &["mailbox-twice"]),
    (Counter, &["uidvalidity-counter"]),
    (Dirty, &["dirty-left"]),
    (State, &["state-broken"]),
    (Gone, &["state-gone"]),
    (KeywordsHit, &["keywords-broken"]),
    (KeywordsLost, &["keywords-broken"]),
    (Log, &["expunged-broken"]),
    (LogHead, &["expunged-broken"]),
    (Subscriptions, &["subscriptions-file"]),
    (Account, &["account-file"]),
    (LevelName, &["mailbox-name"]),
    (LevelNameBelow, &["mailbox-name"]),
    (Grave, &["deleted-left"]),
    (StandIn, &["temporary-left"]),
    (Temporary, &["temporary-left"]),
    (QueueNoMessage, &["queue-no-message"]),
    (QueueNoEntry, &["queue-no-entry"]),
    (SnapshotHit, &["cache-broken"]),
    (SnapshotLies, &["cache-broken"]),
    (ParsedHit, &["cache-broken"]),
    (Changed, &["file-changed"]),
    // QueueEntry is in its own test beside the other files that only a person can mend.
];

/// Does it. Texts that may be missing from the mailboxes afterwards.
async fn damage(disk: &MemDisk, what: Damage) -> Vec<&'static str> {
    let inbox = dir_of(disk, "INBOX").await;
    let user = dir_at(disk, USER).await;
    match what {
        Nothing => {}
        Grammar => {
            let (dir, name) = name_of(disk, 2).await;
            rename(disk, &dir, &name, &dir, &name.to_uppercase()).await;
            return vec!["text 2"];
        }
        Loose => {
            let (dir, name) = name_of(disk, 2).await;
            let shards = dir_of(disk, "INBOX/shards").await;
            rename(disk, &dir, &name, &shards, &name).await;
            return vec!["text 2"];
        }
        WrongShard => {
            let (dir, name) = name_of(disk, 2).await;
            rename(disk, &dir, &name, &shard(disk, "000001").await, &name).await;
        }
        Double => {
            let (dir, name) = name_of(disk, 2).await;
            put(disk, &dir, &name.replace("0000000002.", "0000000003."), b"text d").await;
        }
        SameFile => {
            let (dir, name) = name_of(disk, 2).await;
            let (head, tail) = name.rsplit_once('.').expect("a name");
            let (head, _) = head.rsplit_once('.').expect("keywords");
            disk.link(&dir, &name, &dir, &format!("{head}.0.{tail}"))
                .await
                .expect("link");
            disk.sync_dir(&dir).await.expect("sync");
        }
        Beyond | BeyondNext => {
            let uid = if what == Beyond { 90 } else { 7 };
            let shards = dir_of(disk, "INBOX/shards").await;
            let number = format!("{:06}", uid / 4);
            if disk.open_dir(&shards, &number).await.is_err() {
                disk.make_dir(&shards, &number).await.expect("make");
                disk.sync_dir(&shards).await.expect("sync");
            }
            let name = format!("{uid:010}.5+0000.6.5.3.-.0.eml");
            put(disk, &shard(disk, &number).await, &name, b"beyond").await;
        }
        SizeLess => {
            overwrite(disk, 2, b"tex").await;
            return vec!["text 2"];
        }
        SizeMore => {
            overwrite(disk, 2, b"text 2 and more").await;
            return vec!["text 2"];
        }
        Empty => {
            overwrite(disk, 2, b"").await;
            return vec!["text 2"];
        }
        Zeros => {
            overwrite(disk, 2, &[0; 6]).await;
            return vec!["text 2"];
        }
        Link | Directory => {
            let (dir, name) = name_of(disk, 2).await;
            disk.unlink(&dir, &name).await.expect("unlink");
            if what == Link {
                disk.plant_link(&dir, &name).expect("plant");
            } else {
                disk.make_dir(&dir, &name).await.expect("make");
            }
            disk.sync_dir(&dir).await.expect("sync");
            return vec!["text 2"];
        }
        OddShard => {
            let shards = dir_of(disk, "INBOX/shards").await;
            rename(disk, &shards, "000001", &shards, "1").await;
        }
        ModeFile => {
            let (dir, name) = name_of(disk, 2).await;
            disk.set_mode(&dir, &name, 0o644).await.expect("mode");
        }
        ModeDir => disk.set_mode(&inbox, "shards", 0o500).await.expect("mode"),
        StatusMissing => {
            disk.unlink(&inbox, "status.json").await.expect("unlink");
            disk.sync_dir(&inbox).await.expect("sync");
        }
        StatusBroken => put(disk, &inbox, "status.json", b"{\"version\":1}").await,
        UidCeiling => {
            edit(
                disk,
                &inbox,
                "status.json",
                "\"uid_ceiling\":9",
                "\"uid_ceiling\":5",
            )
            .await
        }
        ModseqCeiling => {
            let text = String::from_utf8(octets_of(disk, &inbox, "status.json").await).expect("text");
            let (head, rest) = text.split_once("\"modseq_ceiling\":").expect("a ceiling");
            let (_, rest) = rest.split_once(',').expect("more");
            put(
                disk,
                &inbox,
                "status.json",
                format!("{head}\"modseq_ceiling\":2,{rest}").as_bytes(),
            )
            .await;
            // A log is judged by the ceiling too: this is about the names.
            disk.unlink(&inbox, "expunged").await.expect("unlink");
            disk.sync_dir(&inbox).await.expect("sync");
        }
        Copied => {
            let mailboxes = dir_at(disk, &format!("{USER}/mailboxes")).await;
            disk.make_dir(&mailboxes, "copy").await.expect("make");
            let copy = disk.open_dir(&mailboxes, "copy").await.expect("open");
            for file in ["status.json", "state"] {
                put(disk, &copy, file, &octets_of(disk, &inbox, file).await).await;
            }
            disk.sync_dir(&mailboxes).await.expect("sync");
        }
        Counter => {
            put(
                disk,
                &user,
                "account.json",
                b"{\"version\":1,\"last_uid_validity\":5}",
            )
            .await
        }
        Dirty => {
            edit(disk, &inbox, "status.json", "\"dirty\":false", "\"dirty\":true").await;
            disk.set_clock(Duration::from_secs(NOW.secs()));
        }
        State => put(disk, &inbox, "state", &[7; 64]).await,
        Gone => {
            let octets = octets_of(disk, &inbox, "state").await;
            let state = rmail_store::file::state::State::decode(&octets).expect("a state");
            let gone = rmail_store::file::state::State { gone: true, ..state };
            put(disk, &inbox, "state", &gone.encode()).await;
        }
        KeywordsHit => edit(disk, &inbox, "keywords", "three", "thrEe").await,
        KeywordsLost => {
            let octets = octets_of(disk, &inbox, "keywords").await;
            put(disk, &inbox, "keywords", &octets[..20]).await;
        }
        Log | LogHead => {
            let mut octets = octets_of(disk, &inbox, "expunged").await;
            let copy = octets[20..40].to_vec();
            octets.extend(copy);
            octets[if what == Log { 25 } else { 3 }] ^= 1;
            put(disk, &inbox, "expunged", &octets).await;
        }
        Subscriptions => put(disk, &user, "subscriptions.json", b"{\"version\":1,").await,
        Account => put(disk, &user, "account.json", b"junk").await,
        LevelName => {
            let mailboxes = dir_at(disk, &format!("{USER}/mailboxes")).await;
            rename(disk, &mailboxes, "work", &mailboxes, "%work").await;
        }
        LevelNameBelow => {
            let children = dir_of(disk, "work/children").await;
            rename(disk, &children, "sub", &children, ".sub").await;
        }
        Grave => {
            if disk.open_dir(&user, "deleted").await.is_err() {
                disk.make_dir(&user, "deleted").await.expect("make");
            }
            let deleted = disk.open_dir(&user, "deleted").await.expect("open");
            disk.make_dir(&deleted, "77").await.expect("make");
            disk.sync_dir(&deleted).await.expect("sync");
            disk.sync_dir(&user).await.expect("sync");
        }
        StandIn | Temporary => {
            disk.set_clock(Duration::from_secs(NOW.secs() - 40 * 3_600));
            let name = if what == StandIn {
                format!("{STAND_IN}x")
            } else {
                "status.json.tmp".to_owned()
            };
            put(disk, &inbox, &name, b"x").await;
            disk.set_clock(Duration::from_secs(NOW.secs()));
        }
        SnapshotHit | SnapshotLies => {
            let mut octets = octets_of(disk, &inbox, "snapshot").await;
            assert!(octets.len() > 64 + 40, "there is a file");
            if what == SnapshotHit {
                octets[9] ^= 1;
            } else {
                lie(&mut octets);
            }
            put(disk, &inbox, "snapshot", &octets).await;
        }
        ParsedHit => {
            let parsed = dir_of(disk, "INBOX/parsed").await;
            let mut octets = octets_of(disk, &parsed, "000000").await;
            octets[17] ^= 1;
            put(disk, &parsed, "000000", &octets).await;
        }
        Changed => {
            // In place: the name, and what is remembered of the message, stay.
            let (dir, name) = name_of(disk, 2).await;
            put(disk, &dir, &name, b"teXt 2").await;
            return vec!["text 2"];
        }
        QueueNoMessage | QueueNoEntry | QueueEntry => {
            let queue = dir_at(disk, "queue/0001").await;
            match what {
                QueueNoMessage => disk.unlink(&queue, "Q1.eml").await.expect("unlink"),
                QueueNoEntry => disk.unlink(&queue, "Q1.json").await.expect("unlink"),
                _ => put(disk, &queue, "Q1.json", b"{}").await,
            }
            disk.sync_dir(&queue).await.expect("sync");
        }
    }
    Vec::new()
}

/// Gives the first row of a snapshot file other flags, with checksums that are right.
fn lie(octets: &mut [u8]) {
    let entries = u32::from_le_bytes(octets[4..8].try_into().expect("four")) as usize;
    let rows = u32::from_le_bytes(octets[68..72].try_into().expect("four")) as usize;
    let block = 64 + entries * 40;
    octets[block + 38] ^= 1;
    let crc = crc32fast::hash(&octets[block..block + rows * 40]);
    octets[64 + 12..64 + 16].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&octets[64..block]);
    octets[56..60].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&octets[..60]);
    octets[60..64].copy_from_slice(&crc.to_le_bytes());
}

/// How often each text is in the account's mailboxes, and in `lost+found`.
async fn texts(disk: &MemDisk) -> (BTreeMap<String, usize>, usize) {
    let store = open(&disk.process(), Limits::small()).await;
    let mut texts = BTreeMap::new();
    for entry in store.list(&alice()).await.expect("list") {
        if entry.selectable {
            for (text, copies) in messages(&store, &alice(), entry.name.as_str()).await {
                *texts.entry(text).or_default() += copies.len();
            }
        }
    }
    let mut aside = 0;
    for place in ["", USER] {
        let dir = dir_at(disk, place).await;
        if let Ok(lost) = disk.open_dir(&dir, "lost+found").await {
            aside += names_of(disk, &lost).await.len();
        }
    }
    (texts, aside)
}

fn codes(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn each_damage_is_found_explained_and_mended_and_nothing_else() {
    for (what, wanted) in TABLE {
        block_on(async {
            let disk = world().await;
            if what == Dirty {
                disk.set_clock(Duration::from_secs(NOW.secs() + 7_200));
            }
            let mut options = options(false);
            if what == Dirty {
                options.now = rmail_core::time::Unix::from_secs(NOW.secs() + 7_200);
            }
            let before = texts(&disk).await.0;
            let may_miss = damage(&disk, what).await;
            let (found, summary) = look(&disk, &options).await;
            assert_eq!(codes(&found), wanted, "{what:?}: {found:#?}");
            assert_eq!(summary.is_clean(), wanted.is_empty(), "{what:?}");
            for finding in &found {
                let (_, meaning, repair) = finding.code.texts();
                assert!(!meaning.is_empty() && !repair.is_empty() && !finding.detail.is_empty());
                assert_eq!(finding.outcome, Outcome::Told);
            }
            let (again, _) = look(&disk, &options).await;
            assert_eq!(codes(&again), wanted, "{what:?}: looking changes nothing");
            options.repair = true;
            let (mended, summary) = look(&disk, &options).await;
            assert_eq!(codes(&mended), wanted, "{what:?}: {mended:#?}");
            assert!(summary.is_clean(), "{what:?}: {mended:#?}");
            let (left, summary) = look(&disk, &options).await;
            assert!(left.is_empty() && summary.is_clean(), "{what:?}: {left:#?}");
            check_texts(&disk, &before, &may_miss, &format!("{what:?}")).await;
            let aside = [
                Grammar,
                Loose,
                Empty,
                Zeros,
                Link,
                Directory,
                Subscriptions,
                QueueNoMessage,
                QueueNoEntry,
            ];
            assert_eq!(texts(&disk).await.1 > 0, aside.contains(&what), "{what:?}");
        });
    }
}

/// No message is lost, and none doubled, but those that the damage itself has hit; they are in `lost+found`, or their
/// rest is in the mailbox.
async fn check_texts(disk: &MemDisk, before: &BTreeMap<String, usize>, may_miss: &[&str], what: &str) {
    let (after, _) = texts(disk).await;
    for (text, count) in before {
        if !may_miss.contains(&text.as_str()) {
            assert_eq!(after.get(text), Some(count), "{what}: {text} of {after:?}");
        }
    }
}

#[test]
fn what_only_a_person_can_mend_is_told_with_its_place() {
    block_on(async {
        for (path, name, text, code, place) in [
            (
                USER,
                "user.json",
                "{\n \"quota_mb\": \"5\"}",
                "user-file",
                "quota_mb: invalid type: string \"5\", expected u64 at line 2 column 16",
            ),
            (
                "domains/example.com",
                "domain.json",
                "{\"reject_own_sender\":3}",
                "domain-file",
                "line 1 column",
            ),
            (
                "domains/example.com",
                "aliases.json",
                "{,",
                "aliases-file",
                "line 1 column 2",
            ),
        ] {
            let disk = world().await;
            put(&disk, &dir_at(&disk, path).await, name, text.as_bytes()).await;
            for repair in [false, true] {
                let (found, summary) = look(&disk, &options(repair)).await;
                assert_eq!(codes(&found), [code]);
                assert!(found[0].detail.contains(place), "{}", found[0].detail);
                assert_eq!(found[0].path, format!("{path}/{name}"));
                assert!(!summary.is_clean());
            }
        }
    });
}

#[test]
fn an_entry_that_cannot_be_read_goes_aside_with_its_message() {
    block_on(async {
        let disk = world().await;
        damage(&disk, QueueEntry).await;
        let (found, summary) = look(&disk, &options(true)).await;
        assert_eq!(codes(&found), ["queue-entry"]);
        assert!(summary.is_clean());
        let lost = dir_at(&disk, "lost+found").await;
        let mut names = names_of(&disk, &lost).await;
        names.sort();
        assert_eq!(names, ["queue-0001-Q1.eml", "queue-0001-Q1.json"]);
        assert_eq!(octets_of(&disk, &lost, "queue-0001-Q1.eml").await, b"queue");
    });
}

#[test]
fn what_is_left_of_a_message_keeps_its_flags_under_a_new_uid() {
    block_on(async {
        let disk = world().await;
        damage(&disk, SizeLess).await;
        look(&disk, &options(true)).await;
        let store = open(&disk.process(), Limits::small()).await;
        let found = messages(&store, &alice(), "INBOX").await;
        let words = vec!["one".to_owned(), "two".to_owned()];
        assert_eq!(found["tex"], [(7, SystemFlags::default(), words)]);
        assert!(logged(&disk, "INBOX").await.contains(rmail_core::mailbox::Uid(2)));
    });
}

#[test]
fn what_the_disk_does_not_give_is_told_and_left() {
    block_on(async {
        let disk = world().await;
        let reader = disk.process();
        let store = open(&reader, Limits::small()).await;
        // The reads of the message's own octets: every one in turn.
        let mut unreadable = 0;
        let calls = {
            let trial = disk.fork();
            let trial_store = open(&trial, Limits::small()).await;
            let before = trial.calls();
            look_with(&trial_store, &options(false)).await;
            trial.calls() - before
        };
        for at in 1..=calls {
            reader.record();
            reader.fault(reader.calls() + at, Fault::Errno(5));
            let number = reader.calls() + at;
            let mut found = Vec::new();
            let mut tell = |event: Event<'_>| {
                if let Event::Finding(finding) = event {
                    found.push(finding.clone());
                }
            };
            let result = fsck::run(&store, &options(true), &mut tell).await;
            let records = reader.take_records();
            let hit = records.iter().find(|record| record.number == number);
            reader.clear_faults();
            // An error that does not come back is no damage: nothing else is made of it.
            for finding in &found {
                assert_eq!(finding.code.as_str(), "file-unreadable", "{hit:?} {finding:?}");
                unreadable += 1;
            }
            assert!(result.is_ok() || found.is_empty());
        }
        let (texts, aside) = texts(&disk).await;
        assert_eq!((texts.len(), aside), (7, 0));
        assert!(unreadable > 0);
    });
}

#[test]
fn a_repair_that_is_cut_at_any_call_is_finished_by_the_next_and_loses_nothing() {
    for (what, _) in TABLE {
        if matches!(what, Nothing | ModeFile | ModeDir | SnapshotHit | ParsedHit) {
            continue;
        }
        let (disk, before, may_miss) = block_on(async {
            let disk = world().await;
            let before = texts(&disk).await.0;
            let may_miss = damage(&disk, what).await;
            disk.sync_fs(disk.root()).await.expect("sync");
            (disk, before, may_miss)
        });
        let steps = block_on(steps(&disk, what));
        assert!(!steps.is_empty(), "{what:?}");
        for end in 0..4_u8 {
            for at in &steps {
                block_on(cut_at(&disk, what, *at, end, &before, &may_miss));
            }
        }
    }
}

fn repairing(what: Damage) -> Options {
    let mut options = options(true);
    options.deep = matches!(what, Zeros | Changed);
    if what == Dirty {
        options.now = rmail_core::time::Unix::from_secs(NOW.secs() + 7_200);
    }
    options
}

/// The calls of a repair that change something; cut at another one it leaves the same as cut at the next of these.
async fn steps(world: &MemDisk, what: Damage) -> Vec<u64> {
    let disk = world.fork();
    let store = open(&disk, Limits::small()).await;
    let before = disk.calls();
    disk.record();
    look_with(&store, &repairing(what)).await;
    let changes = [
        Call::Link,
        Call::LinkUnnamed,
        Call::Rename,
        Call::Replace,
        Call::Unlink,
        Call::WriteAt,
        Call::Append,
        Call::MakeDir,
        Call::RemoveDir,
        Call::Sync,
        Call::SyncDir,
        Call::SyncFs,
    ];
    let records = disk.take_records();
    let first = records
        .iter()
        .position(|record| changes[..9].contains(&record.call));
    let after = records.iter().skip(first.expect("it changes something"));
    after
        .filter(|record| changes.contains(&record.call))
        .map(|record| record.number - before)
        .collect()
}

async fn cut_at(
    world: &MemDisk,
    what: Damage,
    at: u64,
    end: u8,
    before: &BTreeMap<String, usize>,
    may_miss: &[&str],
) {
    let disk = world.fork();
    let store = open(&disk, Limits::small()).await;
    disk.fault(disk.calls() + at, Fault::Crash);
    let options = repairing(what);
    let _ = fsck::run(&store, &options, &mut |_| {}).await;
    assert!(disk.is_dead());
    drop(store);
    disk.kill();
    let mut random = Random::from_seed([end ^ at.to_le_bytes()[0]; 32]);
    match end {
        0 => {}
        1 => disk.power_cut(Model::Adversary, Cut::Lost, &mut random),
        2 => disk.power_cut(Model::Adversary, Cut::Random, &mut random),
        _ => disk.power_cut(Model::Ordered, Cut::Random, &mut random),
    }
    let disk = disk.process();
    let (found, summary) = look(&disk, &options).await;
    let text = format!("{what:?} cut at {at} by {end}");
    assert!(summary.is_clean(), "{text}: {found:?}");
    let (left, _) = look(&disk, &options).await;
    assert!(left.is_empty(), "{text}: {left:#?}");
    check_texts(&disk, before, may_miss, &text).await;
    if let Grammar | Loose | Empty | Zeros | Link | Directory = what {
        assert!(texts(&disk).await.1 > 0, "{text}: nothing is in lost+found");
    }
}

#[test]
fn a_store_in_use_has_no_findings() {
    for seed in 0..60 {
        let disk = MemDisk::new();
        disk.set_clock(Duration::from_secs(NOW.secs()));
        disk.set_tick(Duration::from_micros(if seed % 2 == 0 { 150 } else { 3_000 }));
        disk.set_exact(seed % 3 != 0);
        let store = block_on(async {
            let store = open(&disk, Limits::small()).await;
            store.create_account(&alice(), NOW).await.expect("alice");
            put(&disk, &dir_at(&disk, USER).await, "user.json", b"{}").await;
            for n in 0..9 {
                deliver(&store, &[alice()], &n.to_string())
                    .await
                    .expect("deliver");
            }
            store
        });
        let other = block_on(open(&disk.process(), Limits::small()));
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        exec.spawn(async {
            // Clocks that run faster than the calls make old what is new.
            let mut options = options(seed % 4 == 0);
            options.deep = seed % 5 == 0;
            for _ in 0..2 {
                let (found, summary) = look_with(&other, &options).await;
                assert!(found.is_empty(), "seed {seed}: {found:#?}");
                assert!(summary.messages > 0);
            }
        });
        exec.spawn(busy(&store));
        exec.spawn(async {
            for n in 0..6 {
                deliver(&store, &[alice()], &format!("new {n}"))
                    .await
                    .expect("deliver");
                store.flush().await.expect("flush");
            }
            let spool = spool(&store, "queue").await.expect("spool");
            store
                .deliver(spool, &unlimited(&[alice()]), Some(&entry()), NOW)
                .await
                .expect("queue");
            store.remove_outbound("Q1").await.expect("remove");
        });
        exec.run().expect("nobody waits for ever");
    }
}

/// Flags, expunges, moves, and mailboxes that come and go.
async fn busy(store: &Store) {
    let (mailbox, _) = select(store, "INBOX").await.expect("select");
    for uid in 1..=6 {
        let word = format!("word{uid}");
        let add = change(FlagOp::Add, SystemFlags::DELETED, &[&word]);
        store
            .store(&mailbox, &set(&[uid]), &add, None)
            .await
            .expect("store");
        if uid % 3 == 0 {
            store.expunge(&mailbox, None).await.expect("expunge");
        }
        let own = name(&format!("m{uid}/sub"));
        store.create(&alice(), &own, &[], NOW).await.expect("create");
        store
            .copy(
                &mailbox,
                &set(&[7, 8]),
                &own,
                &rmail_core::mailbox::Quota::UNLIMITED,
                NOW,
            )
            .await
            .expect("copy");
        match uid % 3 {
            0 => store.delete(&alice(), &own).await.expect("delete"),
            1 => {
                let new = name(&format!("r{uid}"));
                store.rename(&alice(), &own, &new, NOW).await.expect("rename");
                store.delete(&alice(), &new).await.expect("delete");
            }
            _ => {
                let parent: MailboxName = own.parent().expect("a parent");
                store.delete(&alice(), &parent).await.expect("delete");
            }
        }
    }
    let trash = name("Trash");
    store
        .r#move(&mailbox, &set(&[7, 8]), &trash, NOW)
        .await
        .expect("move");
}
