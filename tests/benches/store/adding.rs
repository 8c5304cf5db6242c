//! Deliveries, and moving messages about.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::mailbox::{FlagOp, Quota, SystemFlags};
use rmail_store::MailStore;
use rmail_store::file::Options;

use crate::bare::Bare;
use crate::place::{NOW, Store, account, change, deliver, filled, inbox, name, open, select, set};
use crate::report::{self, Times, rate};

/// Rounds in which ours and the bare loop take turns: syncs are fast in one minute and slow in the next.
const ROUNDS: usize = 6;

pub fn run(root: &Path) {
    alone(root);
    crowd(root);
    to_many(root);
    copies(root);
}

fn new_account(store: &Store, text: &str) -> AccountName {
    let account = account(text);
    block_on(store.create_account(&account, NOW)).expect("an account");
    deliver(store, std::slice::from_ref(&account));
    account
}

fn alone(root: &Path) {
    let store = open(root, Options::default());
    let to = new_account(&store, "alone@here.test");
    let mut bare_dir = Bare::new(root, "bare-alone");
    let (mut ours, mut bare) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        for _ in 0..100 {
            ours.time(|| deliver(&store, std::slice::from_ref(&to)));
        }
        for _ in 0..100 {
            bare.time(|| bare_dir.deliver(0));
        }
    }
    report::times(
        "deliver 1 KiB, durable, alone",
        "1.43 × the bare loop",
        ours,
        Some(bare),
    );
}

fn crowd(root: &Path) {
    const WRITERS: usize = 50;
    const EACH: usize = 20;
    let store = open(root, Options::default());
    let to: Vec<AccountName> = (0..10)
        .map(|n| new_account(&store, &format!("crowd{n}@here.test")))
        .collect();
    let (mut ours, mut bare) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for (writer, account) in (0..WRITERS).zip(to.iter().cycle()) {
                let (store, _) = (&store, writer);
                scope.spawn(move || (0..EACH).for_each(|_| deliver(store, std::slice::from_ref(account))));
            }
        });
        ours += begun.elapsed();
        let mut dirs: Vec<Bare> = (0..WRITERS)
            .map(|writer| Bare::new(root, &format!("bare-crowd{}", writer % 10)))
            .collect();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for (writer, dir) in dirs.iter_mut().enumerate() {
                let tag = (round * WRITERS + writer) as u64;
                scope.spawn(move || (0..EACH).for_each(|_| dir.deliver(tag)));
            }
        });
        bare += begun.elapsed();
    }
    let count = ROUNDS * WRITERS * EACH;
    report::rates(
        "deliver 1 KiB, durable, 50 writers, 10 mailboxes",
        "70 % of the bare loop",
        rate(count, ours),
        Some(rate(count, bare)),
    );
}

fn to_many(root: &Path) {
    let store = open(root, Options::default());
    let to: Vec<AccountName> = (0..50)
        .map(|n| new_account(&store, &format!("many{n}@here.test")))
        .collect();
    let mut first = Bare::new(root, "bare-many");
    let others: Vec<Bare> = (1..50)
        .map(|n| Bare::new(root, &format!("bare-many{n}")))
        .collect();
    let (mut ours, mut bare) = (Times::default(), Times::default());
    for _ in 0..100 {
        ours.time(|| deliver(&store, &to));
        bare.time(|| first.deliver_to(&others));
    }
    report::times("one message to 50 local recipients", "3 ms", ours, Some(bare));
}

fn copies(root: &Path) {
    const COUNT: u32 = 1_000;
    let owner = account("copy@here.test");
    filled(root, &owner, &inbox(), COUNT);
    let store = open(root, Options::default());
    let mailbox = select(&store, &owner, &inbox());
    let (mut copy, mut bare_copy) = (Duration::ZERO, Duration::ZERO);
    let (mut moved, mut bare_move) = (Duration::ZERO, Duration::ZERO);
    let (mut expunge, mut bare_expunge) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let (target, second) = (name(&format!("copy{round}")), name(&format!("move{round}")));
        for fresh in [&target, &second] {
            block_on(store.create(&owner, fresh, &[], NOW)).expect("created");
        }
        let begun = Instant::now();
        block_on(store.copy(&mailbox, &set(1, u32::MAX), &target, &Quota::UNLIMITED, NOW)).expect("copied");
        copy += begun.elapsed();
        let from = select(&store, &owner, &target);
        let begun = Instant::now();
        block_on(store.r#move(&from, &set(1, u32::MAX), &second, NOW)).expect("moved");
        moved += begun.elapsed();
        let from = select(&store, &owner, &second);
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, None);
        block_on(store.store(&from, &set(1, u32::MAX), &deleted, None)).expect("stored");
        block_on(store.flush()).expect("flushed");
        let begun = Instant::now();
        block_on(store.expunge(&from, None)).expect("expunged");
        expunge += begun.elapsed();

        let mut source = Bare::new(root, &format!("bare-source{round}"));
        source.fill(u64::from(COUNT));
        let target = Bare::new(root, &format!("bare-target{round}"));
        let begun = Instant::now();
        source.link_all(&target);
        bare_copy += begun.elapsed();
        let begun = Instant::now();
        source.unlink_all();
        bare_expunge += begun.elapsed();
        bare_move = bare_copy + bare_expunge;
    }
    let count = ROUNDS * COUNT as usize;
    let line = |what: &str, goal: &str, ours, bare| {
        report::rates(what, goal, rate(count, ours), Some(rate(count, bare)));
    };
    line("COPY 1,000", "20,000/s", copy, bare_copy);
    line("MOVE 1,000", "20,000/s", moved, bare_move);
    line("EXPUNGE 1,000", "40,000/s", expunge, bare_expunge);
}
