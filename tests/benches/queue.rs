//! The outbound queue on a real file system: how long a start with many entries takes, what they weigh, and how fast
//! messages come and go. `cargo bench -p rmail-tests --bench queue [-- ENTRIES]`; the mail_root is made below the build
//! directory, which should not be a tmpfs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::chunk::Chunk;
use rmail_core::dns::mx::Ourselves;
use rmail_core::limits::Limits;
use rmail_core::machine::Machine as _;
use rmail_core::random::Random;
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::relay::queue::{Input, Queue};
use rmail_core::smtp::envelope::{DsnRequest, Wishes};
use rmail_core::time::{Mono, Now, Unix};
use rmail_runtime::disk::RealDisk;
use rmail_store::MailStore;
use rmail_store::accounts::Accounts;
use rmail_store::file::{FileStore, Options};
use rmail_store::service::{Service, Settings};

type Store = FileStore<RealDisk>;

const NOW: u64 = 1_700_000_000;

fn now() -> Now {
    Now {
        mono: Mono(Duration::from_secs(1)),
        unix: Unix::from_secs(NOW),
    }
}

fn open(root: &Path) -> (Arc<RealDisk>, Arc<Store>) {
    let disk = Arc::new(RealDisk::open(root).expect("a mail_root"));
    let store = FileStore::open(Arc::clone(&disk), Limits::default(), Options::default());
    (disk, Arc::new(block_on(store).expect("a store")))
}

fn entry(id: String, number: usize) -> Entry {
    let domain = number % 1_000;
    Entry {
        id,
        sender: "somebody.of.ours@example.com".to_owned(),
        account: Some("somebody.of.ours@example.com".to_owned()),
        arrived: NOW - 600,
        offset: 0,
        size: 10_240,
        eight_bit: false,
        hold_until: 0,
        held: false,
        wishes: Wishes::default(),
        recipients: vec![Recipient {
            address: format!("recipient.{number}@destination{domain}.example.net"),
            attempts: 2,
            next: NOW + 300,
            last: Some(format!(
                "4.4.1 mx1.destination{domain}.example.net [192.0.2.1]:25: connection timed out after 30 s"
            )),
            delay_told: false,
            dsn: DsnRequest::default(),
            local: false,
            done: None,
            failed: false,
            expanded: false,
        }],
    }
}

/// Puts entries into a queue whose process has died. Making each by a delivery would take minutes.
fn fill(root: &Path, count: usize) {
    let dir = root.join("queue/0001");
    std::fs::create_dir_all(&dir).expect("a queue");
    let mut first = dir.join("none");
    for number in 0..count {
        let entry = entry(format!("{number:016x}"), number);
        let json = serde_json::to_vec(&entry).expect("octets");
        std::fs::write(dir.join(format!("{}.json", entry.id)), json).expect("an entry");
        let message = dir.join(format!("{}.eml", entry.id));
        // A file has at most 65,000 names on ext4.
        if number % 50_000 == 0 {
            std::fs::write(&message, [b'x'; 10_240]).expect("a message");
            first = message;
        } else {
            std::fs::hard_link(&first, &message).expect("a message");
        }
    }
}

/// Octets of memory that are in use.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse::<usize>().ok())
        .expect("a number")
        * 1024
}

fn start(root: &Path, count: usize) {
    let (disk, store) = open(root);
    let accounts = Accounts::new(disk, Random::from_seed([1; 32]));
    let service = Service::new(store, accounts, Settings::default());
    let before = memory();
    let begin = Instant::now();
    let mut queue = Queue::new(
        rmail_core::relay::Settings::default(),
        Ourselves::default(),
        [1; 32],
    );
    let mut feed = |part| queue.handle_input(now(), Input::Loading(part));
    block_on(service.load_outbound_in_parts(&mut feed)).expect("loaded");
    queue.handle_input(now(), Input::Loaded(Vec::new()));
    assert_eq!(queue.len(), count);
    while queue.poll_action().is_some() {}
    println!("start with {count} entries: {:?}", begin.elapsed());
    println!("memory: {} octets an entry", (memory() - before) / count.max(1));
    let begin = Instant::now();
    assert_eq!(queue.entries().count(), count);
    println!("list: {:?}", begin.elapsed());
}

/// Messages that come into the queue, are read and leave it, by as many threads as there are connections.
fn flow(root: &Path, threads: usize) {
    const EACH: usize = 200;
    let (_disk, store) = open(root);
    block_on(store.load_outbound()).expect("loaded");
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let store = &store;
            scope.spawn(move || {
                for number in 0..EACH {
                    block_on(one(store, entry(format!("f{thread}x{number}"), number)));
                }
            });
        }
    });
    let took = begin.elapsed();
    let rate = (threads * EACH) as f64 / took.as_secs_f64();
    println!("{threads} threads: {rate:.0} messages of 10 KiB a second in and out");
}

async fn one(store: &Store, entry: Entry) {
    let mut random = Random::from_seed([7; 32]);
    let mut octets = vec![b'x'; 10_240];
    random.fill(octets.get_mut(..64).expect("long"));
    let mut spool = store.new_spool().await.expect("a spool");
    store
        .write_spool(&mut spool, Chunk::from(octets.clone()))
        .await
        .expect("written");
    let delivered = store.deliver(spool, &[], Some(&entry), Unix::from_secs(NOW));
    delivered.await.expect("queued");
    let blob = store.open_outbound(&entry.id).await.expect("opened");
    store.read(&blob, &mut octets, 0).await.expect("read");
    store.remove_outbound(&entry.id).await.expect("removed");
}

fn main() {
    let count = std::env::args().filter_map(|word| word.parse().ok()).next();
    let count = count.unwrap_or(100_000);
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    fill(root.path(), count);
    start(root.path(), count);
    for threads in [1, 4, 16] {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        flow(root.path(), threads);
    }
}
