//! What it costs to open a mailbox with and without its snapshot file, to sweep it, and to answer LIST and STATUS for many:
//! wall time, and the time that this thread was on a processor.
//!
//! `cargo bench -p rmail-tests --bench open_mailbox [-- [--dir DIR] [MESSAGES]]`; the mail_root is made below DIR, else
//! below the build directory.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address};
use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{KeywordSet, MailboxName, ModSeq, Row, SystemFlags, Uid};
use rmail_core::time::Unix;
use rmail_runtime::disk::RealDisk;
use rmail_store::MailStore;
use rmail_store::file::{FileStore, Options, names};

type Store = FileStore<RealDisk>;

const NOW: Unix = Unix::from_secs(1_700_000_000);

fn open(root: &Path) -> Store {
    let disk = Arc::new(RealDisk::open(root).expect("a mail_root"));
    block_on(FileStore::open(disk, Limits::default(), Options::default())).expect("a store")
}

fn account(text: &str) -> AccountName {
    Address::parse(text).expect("an address").canonical()
}

/// Nanoseconds that this thread was on a processor.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Resident memory in megabytes.
fn megabytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let kilo = line.and_then(|line| line.split_whitespace().nth(1));
    kilo.and_then(|kilo| kilo.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

/// The best and the middle one of some runs, wall time and on the processor.
fn timed<T>(what: &str, rounds: usize, mut before: impl FnMut() -> T, mut run: impl FnMut(&T)) {
    let (mut wall, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let ready = before();
        let (begun, worked) = (Instant::now(), on_processor());
        run(&ready);
        busy.push(on_processor().saturating_sub(worked));
        wall.push(begun.elapsed());
    }
    wall.sort_unstable();
    busy.sort_unstable();
    let middle = |times: &[Duration]| times.get(times.len() / 2).copied().unwrap_or_default();
    println!(
        "{what}: {:.1?} best, {:.1?} median; on the processor {:.1?}",
        wall.first().copied().unwrap_or_default(),
        middle(&wall),
        middle(&busy)
    );
}

/// Puts messages into INBOX as links of a few files: making each by APPEND would take minutes.
fn fill(inbox: &Path, count: u32) {
    let mut first = PathBuf::new();
    for uid in 1..=count {
        let shard = inbox.join(format!("shards/{:06}", uid / 1_000));
        if uid % 1_000 == 0 || uid == 1 {
            std::fs::create_dir_all(&shard).expect("a shard");
        }
        let row = Row {
            date: 1_700_000_000 + i64::from(uid),
            modseq: ModSeq(u64::from(uid)),
            keywords: KeywordSet(0),
            uid: Uid(uid),
            size: 1_024,
            save_date: 1_700_000_000,
            zone: 0,
            flags: SystemFlags::default(),
        };
        let path = shard.join(names::encode(&row, [0; 4]));
        // A file has at most 65,000 names on ext4.
        if uid % 50_000 == 1 {
            std::fs::write(&path, [b'x'; 1_024]).expect("a message");
            first = path;
        } else {
            std::fs::hard_link(&first, &path).expect("a link");
        }
    }
    let path = inbox.join("status.json");
    let text = std::fs::read(&path).expect("status.json");
    let mut status: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    status["uid_ceiling"] = (count + 1).into();
    status["modseq_ceiling"] = (count + 1).into();
    std::fs::write(&path, status.to_string()).expect("status.json");
    // Whoever opens it takes up the numbers from the names.
    drop(std::fs::remove_file(inbox.join("state")));
}

fn one_mailbox(root: &Path, count: u32) {
    let alice = account("alice@here.test");
    block_on(open(root).create_account(&alice, NOW)).expect("alice");
    let dir = root.join("domains/here.test/users/alice/mailboxes/INBOX");
    fill(&dir, count);
    let inbox = MailboxName::inbox();
    let file = dir.join("snapshot");
    let select = |store: &Store| {
        let selected = block_on(store.select(&alice, &inbox, false)).expect("select");
        assert!(selected.snapshot.rows.len() >= count as usize);
        selected
    };
    drop(select(&open(root)));
    std::thread::sleep(Duration::from_millis(50));
    let rounds = if count > 1_000_000 { 3 } else { 15 };
    let without = || {
        drop(std::fs::remove_file(&file));
        open(root)
    };
    timed(
        &format!("{count} messages, cold, listed (and the file written)"),
        rounds.min(5),
        without,
        |store| {
            select(store);
        },
    );
    timed(
        &format!("{count} messages, cold, from the file"),
        rounds,
        || open(root),
        |store| {
            select(store);
        },
    );
    let store = open(root);
    let selected = select(&store);
    println!("memory with it open: {} MB", megabytes());
    timed(
        &format!("{count} messages, warm"),
        200,
        || (),
        |()| {
            select(&store);
        },
    );
    let wake = Arc::new(|| ());
    let scope = Scope::Mailbox(selected.mailbox);
    let _watch = store.hub().watch(scope, selected.snapshot.modseq, wake);
    timed(
        &format!("sweep of {} shards", count / 1_000),
        20,
        || (),
        |()| block_on(store.sweep_watched()),
    );
}

fn many_mailboxes(root: &Path, count: u32) {
    let bob = account("bob@here.test");
    let store = open(root);
    let all: Vec<MailboxName> = (0..count)
        .map(|n| MailboxName::new(&format!("m{n}")).expect("a name"))
        .collect();
    block_on(store.create_account(&bob, NOW)).expect("bob");
    for name in &all {
        block_on(store.create(&bob, name, &[], NOW)).expect("create");
    }
    drop(store);
    std::thread::sleep(Duration::from_millis(50));
    let list = |store: &Store| {
        let entries = block_on(store.list(&bob)).expect("list");
        assert!(entries.len() >= all.len());
    };
    let status = |store: &Store, names: &[MailboxName]| {
        for name in names {
            block_on(store.status(&bob, name)).expect("status");
        }
    };
    timed(&format!("LIST of {count}, cold"), 5, || open(root), list);
    let store = open(root);
    list(&store);
    timed(&format!("LIST of {count}, warm"), 30, || (), |()| list(&store));
    let hundred = all.get(..100).unwrap_or(&all);
    timed(
        "STATUS of 100, cold",
        5,
        || open(root),
        |store| status(store, hundred),
    );
    status(&store, hundred);
    timed("STATUS of 100, warm", 30, || (), |()| status(&store, hundred));
    status(&store, &all);
    timed(
        &format!("STATUS of {count}, of which few are open"),
        10,
        || (),
        |()| status(&store, &all),
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments.iter().position(|argument| argument == "--dir");
    let parent = at
        .and_then(|at| arguments.get(at + 1))
        .map_or(env!("CARGO_TARGET_TMPDIR"), String::as_str);
    let count = arguments.iter().find_map(|argument| argument.parse().ok());
    let root = Path::new(parent).join(format!("open-mailbox-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("a directory");
    many_mailboxes(&root, 1_000);
    one_mailbox(&root, count.unwrap_or(100_000));
    std::fs::remove_dir_all(&root).expect("removed");
}
