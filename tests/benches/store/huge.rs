//! Ten million messages in one mailbox.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::mailbox::{FlagOp, SystemFlags};
use rmail_store::MailStore;
use rmail_store::file::Options;

use crate::opening::resident;
use crate::place::{account, change, deliver, filled, inbox, open, select, set};
use crate::report::{self, Times};

/// Makes it, and the cache file.
pub fn make(root: &Path, count: u32) {
    let owner = account("huge@here.test");
    let begun = Instant::now();
    filled(root, &owner, &inbox(), count);
    println!("{count} messages made in {:.0?}", begun.elapsed());
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    let store = open(root, Options::default());
    let mailbox = select(&store, &owner, &inbox());
    println!("listed in {:.1?}", begun.elapsed());
    let begun = Instant::now();
    block_on(store.unselect(&mailbox));
    println!("cache file written in {:.1?}", begun.elapsed());
}

/// Uses it, in a process that did not make it.
pub fn run(root: &Path, count: u32) {
    let owner = account("huge@here.test");
    let store = open(root, Options::default());
    let begun = Instant::now();
    let selected = block_on(store.select(&owner, &inbox(), false)).expect("select");
    let cold = begun.elapsed();
    assert!(selected.snapshot.rows.len() >= count as usize);
    let what = |text: &str| format!("{count} messages: {text}");
    report::figure(&what("open, cold with cache file"), "1 s", &format!("{cold:.0?}"));
    let mailbox = selected.mailbox;
    let mut delivered = Times::default();
    for _ in 0..500 {
        delivered.time(|| deliver(&store, std::slice::from_ref(&owner)));
    }
    report::times(&what("deliver"), "as a small one", delivered, None);
    let mut flags = Times::default();
    for round in 0..5_000_u32 {
        let op = if round % 2 == 0 {
            FlagOp::Add
        } else {
            FlagOp::Remove
        };
        let uid = 1 + (round / 2).wrapping_mul(7_919) % count;
        let seen = change(op, SystemFlags::SEEN, None);
        flags.time(|| block_on(store.store(&mailbox, &set(uid, uid), &seen, None)).expect("store"));
    }
    report::times(&what("one flag change"), "as in a small one", flags, None);
    let memory = format!("{} MB", resident() / 1_000_000);
    report::figure(&what("memory of the process"), "450 MB", &memory);
}
