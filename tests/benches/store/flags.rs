//! Flag changes: one, many, and by several processes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::mailbox::{FlagOp, SystemFlags, Uid};
use rmail_store::MailStore;
use rmail_store::file::Options;

use crate::bare::Bare;
use crate::place::{NOW, account, change, deliver, filled, inbox, open, select, set};
use crate::report::{self, Times, rate};

/// Flag changes of each process in the race.
const CHANGES: u32 = 10_000;
const PROCESSES: u32 = 4;
const SHARED: u32 = 1_000;

pub fn run(root: &Path) {
    let owner = account("flags@here.test");
    filled(root, &owner, &inbox(), 100_000);
    one(root, Options::default(), false, 5_000);
    let synced = Options {
        flag_sync_ms: 0,
        ..Options::default()
    };
    one(root, synced, true, 300);
    all(root);
    race(root);
}

fn one(root: &Path, options: Options, sync: bool, count: u32) {
    let owner = account("flags@here.test");
    let store = open(root, options);
    let mailbox = select(&store, &owner, &inbox());
    let tag = if sync { "synced" } else { "lazy" };
    let mut bare_dir = Bare::new(root, &format!("bare-flags-{tag}"));
    bare_dir.fill(1_000);
    let (mut ours, mut bare) = (Times::default(), Times::default());
    // The first marks the mailbox dirty.
    let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, None);
    block_on(store.store(&mailbox, &set(1, 1), &flagged, None)).expect("store");
    for round in 0..count {
        let op = if round % 2 == 0 {
            FlagOp::Add
        } else {
            FlagOp::Remove
        };
        // Pairs of changes to messages all over the mailbox.
        let uid = 1 + (round / 2).wrapping_mul(7_919) % 100_000;
        let seen = change(op, SystemFlags::SEEN, None);
        ours.time(|| block_on(store.store(&mailbox, &set(uid, uid), &seen, None)).expect("store"));
        let (number, turn) = (u64::from(round) % 1_000, u64::from(round) / 1_000);
        bare.time(|| bare_dir.rename(number, turn + 1, turn + 2, sync));
    }
    let (what, goal) = if sync {
        ("one flag change, flag_sync_ms 0", "1.3 × the bare loop")
    } else {
        ("one flag change, in 100,000 messages", "40 µs / 100 µs")
    };
    report::times(what, goal, ours, Some(bare));
    block_on(store.flush()).expect("flushed");
}

fn all(root: &Path) {
    let (owner, other) = (account("flags@here.test"), account("other@here.test"));
    let store = open(root, Options::default());
    let mailbox = select(&store, &owner, &inbox());
    let elsewhere = open(root, Options::default());
    block_on(elsewhere.create_account(&other, NOW)).expect("an account");
    deliver(&elsewhere, std::slice::from_ref(&owner));
    let mut times = Times::default();
    let answered = change(FlagOp::Add, SystemFlags::ANSWERED, None);
    let took = std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let begun = Instant::now();
            block_on(store.store(&mailbox, &set(1, 100_000), &answered, None)).expect("store");
            begun.elapsed()
        });
        while !working.is_finished() {
            times.time(|| deliver(&elsewhere, std::slice::from_ref(&owner)));
            std::thread::sleep(Duration::from_millis(1));
        }
        working.join().expect("stored")
    });
    report::rates("flags on all of 100,000", "50,000/s", rate(100_000, took), None);
    report::times(
        "a delivery into it by another process meanwhile",
        "p99 20 ms",
        times,
        None,
    );
}

/// Several processes flip flags of the same messages.
fn race(root: &Path) {
    let owner = account("race@here.test");
    filled(root, &owner, &inbox(), SHARED);
    let begun = Instant::now();
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe().expect("this program"))
                .arg("--race")
                .arg(root)
                .arg(number.to_string())
                .stdout(Stdio::inherit())
                .spawn()
                .expect("a process")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("ended").success());
    }
    let took = begun.elapsed();
    let store = open(root, Options::default());
    let selected = block_on(store.select(&owner, &inbox(), true)).expect("select");
    for (index, row) in selected.snapshot.rows.iter().enumerate() {
        for process in 0..PROCESSES {
            let mut own = selected.snapshot.keywords.of(row.keywords);
            let expected = flips(process, u32::try_from(index).expect("small") + 1) % 2 == 1;
            let keyword = keyword_of(process);
            let found = own.any(|name| name.as_str() == keyword);
            assert_eq!(
                found, expected,
                "a change of process {process} to UID {} is lost",
                row.uid.0
            );
        }
    }
    let count = (PROCESSES * CHANGES) as usize;
    report::rates(
        "4 processes × 10,000 flag changes on 1,000 messages, none lost",
        "40,000/s",
        rate(count, took),
        None,
    );
}

fn keyword_of(process: u32) -> String {
    format!("process{process}")
}

fn uid_of(process: u32, turn: u32) -> u32 {
    1 + turn.wrapping_mul(7_919).wrapping_add(process * 250) % SHARED
}

/// How often a process changes a message.
fn flips(process: u32, uid: u32) -> usize {
    (0..CHANGES).filter(|turn| uid_of(process, *turn) == uid).count()
}

/// What each of them does.
pub fn racer(root: &Path, process: u32) {
    let owner = account("race@here.test");
    let store = open(root, Options::default());
    let mailbox = select(&store, &owner, &inbox());
    let keyword = keyword_of(process);
    let mut on = vec![false; SHARED as usize + 1];
    for turn in 0..CHANGES {
        let uid = uid_of(process, turn);
        let now = on.get_mut(uid as usize).expect("a message");
        *now = !*now;
        let op = if *now { FlagOp::Add } else { FlagOp::Remove };
        let flip = change(op, SystemFlags::default(), Some(&keyword));
        let stored = block_on(store.store(&mailbox, &set(uid, uid), &flip, None)).expect("store");
        assert!(stored.snapshot.rows.find(Uid(uid)).is_some(), "a false expunge");
    }
    block_on(store.flush()).expect("flushed");
}
