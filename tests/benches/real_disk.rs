//! The file store on a real file system: what one operation makes others wait. `cargo bench -p rmail-tests --bench
//! real_disk [-- MESSAGES]`; the mail_root is made below the build directory, which should not be a tmpfs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address};
use rmail_core::chunk::Chunk;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, KeywordSet, MailboxName, ModSeq, Quota, Row, SystemFlags, Uid, UidSet,
};
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

fn deliver(store: &Store, to: &AccountName) {
    block_on(async {
        let mut spool = store.new_spool().await.expect("a spool");
        let chunk = Chunk::copy_from(&[b'x'; 1_024]);
        store.write_spool(&mut spool, chunk).await.expect("written");
        store
            .deliver(spool, &[(to.clone(), Quota::UNLIMITED)], None, NOW)
            .await
            .expect("delivered");
    });
}

/// Puts messages into INBOX as links of a few files: making each by APPEND would take minutes.
fn fill(root: &Path, account: &AccountName, count: u32) {
    let (local, domain) = account.parts();
    let inbox = root.join(format!("domains/{domain}/users/{local}/mailboxes/INBOX"));
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
    let mut status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("status.json")).expect("JSON");
    status["uid_ceiling"] = (count + 1).into();
    status["modseq_ceiling"] = (count + 1).into();
    std::fs::write(&path, status.to_string()).expect("status.json");
    // Whoever opens it takes up the numbers from the names.
    drop(std::fs::remove_file(inbox.join("state")));
}

/// The longest that `probe` takes while `work` runs, and how long `work` takes.
fn beside<P: FnMut() + Send>(mut probe: P, work: impl FnOnce()) -> (Duration, usize, Duration) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probing = scope.spawn(|| {
            let (mut longest, mut count) = (Duration::ZERO, 0);
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                probe();
                longest = longest.max(begun.elapsed());
                count += 1;
                std::thread::sleep(Duration::from_micros(500));
            }
            (longest, count)
        });
        std::thread::sleep(Duration::from_millis(20));
        let begun = Instant::now();
        work();
        let took = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        let (longest, count) = probing.join().expect("the probe");
        (longest, count, took)
    })
}

fn change(op: FlagOp, system: SystemFlags) -> FlagChange {
    FlagChange {
        op,
        flags: Flags {
            system,
            keywords: Vec::new(),
        },
    }
}

fn large_mailbox(root: &Path, count: u32) {
    let alice = account("alice@here.test");
    let store = open(root);
    block_on(store.create_account(&alice, NOW)).expect("alice");
    drop(store);
    fill(root, &alice, count);
    let inbox = MailboxName::inbox();
    let select = |store: &Store| {
        block_on(store.select(&alice, &inbox, false))
            .expect("select")
            .mailbox
    };
    // The first process gets `state` going.
    deliver(&open(root), &alice);

    let (probe, cold) = (open(root), open(root));
    deliver(&probe, &alice);
    let (longest, n, took) = beside(|| deliver(&probe, &alice), || drop(select(&cold)));
    println!(
        "cold SELECT of {count}: {took:?}; longest of {n} deliveries by another process meanwhile {longest:?}"
    );
    let cold = open(root);
    let begun = Instant::now();
    let octets = block_on(cold.usage(&alice)).expect("usage");
    println!("cold usage: {:?} ({} octets)", begun.elapsed(), octets.octets);
    let begun = Instant::now();
    deliver(&cold, &alice);
    block_on(cold.usage(&alice)).expect("usage");
    println!("delivery and usage after it: {:?}", begun.elapsed());

    let store = open(root);
    let mailbox = select(&store);
    let all = UidSet::from_ranges([(1, u32::MAX)]);
    let other = open(root);
    let their = select(&other);
    let first = UidSet::from_ranges([(1, 1)]);
    let mut on = false;
    let mut flip = |store: &Store, mailbox| {
        on = !on;
        let op = if on { FlagOp::Add } else { FlagOp::Remove };
        let flip = change(op, SystemFlags::FLAGGED);
        block_on(store.store(mailbox, &first, &flip, None)).expect("store");
    };
    let seen = change(FlagOp::Add, SystemFlags::SEEN);
    let (longest, n, took) = beside(
        || flip(&other, &their),
        || drop(block_on(store.store(&mailbox, &all, &seen, None)).expect("store")),
    );
    println!("STORE 1:*: {took:?}; longest of {n} flag changes by another process meanwhile {longest:?}");
    let unseen = change(FlagOp::Remove, SystemFlags::SEEN);
    let (longest, n, took) = beside(
        || flip(&store, &mailbox),
        || drop(block_on(store.store(&mailbox, &all, &unseen, None)).expect("store")),
    );
    println!("STORE 1:*: {took:?}; longest of {n} flag changes by another thread meanwhile {longest:?}");
}

fn many_mailboxes(root: &Path) {
    let bob = account("bob@here.test");
    let store = open(root);
    for n in 0..100 {
        let name = MailboxName::new(&format!("m{n}")).expect("a name");
        block_on(store.create(&bob, &name, &[], NOW)).expect("create");
    }
    deliver(&store, &bob);
    let store = open(root);
    let timed = |what: &str, rounds: u32, work: &dyn Fn()| {
        let begun = Instant::now();
        (0..rounds).for_each(|_| work());
        println!("106 mailboxes: {what} {:?}", begun.elapsed() / rounds);
    };
    let usage = || assert_ne!(block_on(store.usage(&bob)).expect("usage").octets, 0);
    timed("usage, cold", 1, &usage);
    timed("usage, warm", 200, &usage);
    for _ in 0..2 {
        timed("delivery", 200, &|| deliver(&store, &bob));
        timed("usage and delivery", 200, &|| {
            usage();
            deliver(&store, &bob);
        });
    }
}

fn main() {
    // Cargo passes `--bench`.
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("real_disk-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    many_mailboxes(&dir);
    large_mailbox(&dir, count.unwrap_or(100_000));
    std::fs::remove_dir_all(&dir).expect("removed");
}
