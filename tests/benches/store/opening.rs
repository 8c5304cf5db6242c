//! Opening mailboxes, and what an open one costs in memory.

use std::path::Path;

use futures_lite::future::block_on;
use rmail_store::MailStore;
use rmail_store::file::Options;

use crate::place::{Store, account, filled, inbox, name, open};
use crate::report::{self, Times};

pub fn run(root: &Path) {
    table(root, 100_000, ["8 ms", "0.15 ms"], 30);
    table(root, 1_000_000, ["60 ms", "1 ms"], 10);
}

fn table(root: &Path, count: u32, goals: [&str; 2], rounds: usize) {
    let owner = account(&format!("open{count}@here.test"));
    filled(root, &owner, &inbox(), count);
    let [cold_goal, warm_goal] = goals;
    let selected = |store: &Store| {
        let selected = block_on(store.select(&owner, &inbox(), false)).expect("select");
        assert_eq!(selected.snapshot.rows.len(), count as usize);
        selected.mailbox
    };
    // The stamps of what has just been made do not count yet.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (mut listed, mut cold, mut warm) = (Times::default(), Times::default(), Times::default());
    let store = open(root, Options::default());
    let mailbox = listed.time(|| selected(&store));
    block_on(store.unselect(&mailbox));
    drop(store);
    for _ in 0..rounds {
        let store = open(root, Options::default());
        let mailbox = cold.time(|| selected(&store));
        for _ in 0..20 {
            block_on(store.unselect(&mailbox));
            warm.time(|| selected(&store));
        }
    }
    report::times(&format!("open {count}, without a cache file"), "", listed, None);
    report::times(
        &format!("open {count}, cold process with cache file"),
        cold_goal,
        cold,
        None,
    );
    report::times(&format!("open {count}, warm"), warm_goal, warm, None);
}

/// Octets of memory that an open mailbox of this size costs: asked in a process of its own.
pub fn memory(root: &Path, count: u32) {
    let store = open(root, Options::default());
    let owner = account(&format!("open{count}@here.test"));
    let small = block_on(store.select(&owner, &name("Sent"), true)).expect("select");
    let before = resident();
    let selected = block_on(store.select(&owner, &inbox(), true)).expect("select");
    let after = resident();
    assert_eq!(selected.snapshot.rows.len(), count as usize);
    let each = (after - before) as f64 / f64::from(count);
    report::figure(
        &format!("memory per open message, of {count}"),
        "40 octets",
        &format!("{each:.1} octets ({} MB in all)", after / 1_000_000),
    );
    drop(small);
}

/// Octets of this process in memory.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilo = line.and_then(|line| line.split_whitespace().nth(1));
    kilo.and_then(|kilo| kilo.parse::<u64>().ok()).expect("a number") * 1_024
}
