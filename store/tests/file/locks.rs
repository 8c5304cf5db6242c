//! Who waits for a lock, for how long, and what happens when the locked file is another one.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::cell::RefCell;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, MailboxRef, SystemFlags};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Call, Fault, MemDisk};

const SEEN: SystemFlags = SystemFlags::SEEN;

async fn filled(disk: &MemDisk, count: usize) -> Store {
    let store = open(disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("create");
    for n in 0..count {
        append(&store, "INBOX", &n.to_string(), Flags::default())
            .await
            .expect("append");
    }
    store
}

/// Polls so often at most.
fn poll_within<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(value);
        }
    }
    None
}

#[test]
fn a_wait_for_another_thread_of_this_process_ends_too() {
    let disk = MemDisk::new();
    let store = block_on(filled(&disk, 1));
    disk.record();
    let accounts = [alice()];
    let mut stuck = pin!(deliver(&store, &accounts, "stuck"));
    // Up to the moment at which it has the lock.
    let has_lock = || {
        let has = disk.take_records().iter().any(|record| record.call == Call::Lock);
        disk.record();
        has
    };
    while !has_lock() {
        assert!(
            stuck
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    let refused = poll_within(deliver(&store, &[alice()], "waits"), 20_000);
    let refused = refused.expect("it does not wait for ever").expect_err("no lock");
    assert_eq!(refused.refusal, Refusal::Busy);
    poll_within(stuck, 1_000).expect("it ends").expect("deliver");
    block_on(deliver(&store, &[alice()], "again")).expect("deliver");
}

#[test]
fn between_two_holds_the_lock_is_free_for_a_while() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 6).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        let check = |what: &str| {
            let records = disk.take_records();
            let locks = records.iter().enumerate().filter(|(_, r)| r.call == Call::Lock);
            // The naming lock comes first; the cache has one of its own.
            let naming = locks.clone().next().map(|(_, record)| record.on.clone());
            let locks = locks.filter(|(_, record)| Some(&record.on) == naming.as_ref());
            let locks: Vec<usize> = locks.map(|(at, _)| at).collect();
            assert!(locks.len() >= 3, "{what}: two names a hold");
            for pair in locks.windows(2) {
                let mut between = records[pair[0]..pair[1]].iter();
                let gap = between.find(|record| record.call == Call::Pause);
                let gap = gap.unwrap_or_else(|| panic!("{what}: no gap"));
                assert_eq!(gap.on, format!("{:?}", Duration::from_micros(100)), "{what}");
                assert!(between.next().is_none(), "{what}: the gap is last");
            }
        };
        disk.record();
        store
            .store(&mailbox, &all(), &deleted, None)
            .await
            .expect("store");
        check("STORE");
        disk.record();
        store.expunge(&mailbox, None).await.expect("expunge");
        check("EXPUNGE");
    });
}

/// Two processes go on although somebody removes `state` again and again, whoever waits for its lock. (While it is held
/// nothing helps: the holder cannot know.)
fn run_replaced(seed: u8) {
    let disk = MemDisk::new();
    let stores = block_on(async {
        [
            filled(&disk, 1).await,
            open(&disk.process(), Limits::small()).await,
        ]
    });
    let told: RefCell<Vec<(u32, String)>> = RefCell::default();
    let mut random = Random::from_seed([seed; 32]);
    let stranger = disk.process();
    let mut exec = Exec::new(Random::from_seed(random.seed()));
    for number in 0..4 {
        let (store, told) = (&stores[number % 2], &told);
        exec.spawn(async move {
            for n in 0..8 {
                let text = format!("{number} {n}");
                let uids = append(store, "INBOX", &text, Flags::default())
                    .await
                    .expect("append");
                told.borrow_mut().push((uids[0].0, text));
            }
        });
    }
    exec.spawn(async {
        let dir = dir_of(&stranger, "INBOX").await;
        for _ in 0..4 {
            for _ in 0..random.below(60) {
                stranger.pause(Duration::ZERO).await;
            }
            let Ok(state) = stranger.open(&dir, "state", Mode::Write).await else {
                continue;
            };
            let wait = Limits::small().lock_wait;
            let lock = stranger.lock(&state, wait).await.expect("lock");
            // It may be another one by now.
            let named = stranger.stat_at(&dir, "state").await.map(|stat| stat.inode);
            let locked = stranger.stat(&state).await.expect("stat").inode;
            if named.is_ok_and(|named| named == locked) {
                stranger.unlink(&dir, "state").await.expect("unlink");
            }
            drop(lock);
        }
    });
    exec.run().expect("nobody waits for ever");
    drop(exec);
    block_on(async {
        let mut told = told.into_inner();
        told.sort();
        let fresh = open(&disk.process(), Limits::small()).await;
        let found = messages(&fresh, &alice(), "INBOX").await;
        for pair in told.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "seed {seed}: {pair:?}");
        }
        for (uid, text) in told {
            assert_eq!(found[&text][0].0, uid, "seed {seed}");
        }
    });
}

#[test]
fn no_uid_is_given_twice_when_state_is_removed_under_two_processes() {
    for seed in 0..40 {
        run_replaced(seed);
    }
}

#[test]
fn a_mailbox_that_another_process_made_again_is_found() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 1).await;
        let other = open(&disk.process(), Limits::small()).await;
        for mailbox in ["a", "a/b"] {
            store
                .create(&alice(), &name(mailbox), &[], NOW)
                .await
                .expect("create");
        }
        append(&other, "a", "old", Flags::default())
            .await
            .expect("append");
        // It has a child: the directory stays, and is used again.
        store.delete(&alice(), &name("a")).await.expect("delete");
        store
            .create(&alice(), &name("a"), &[], NOW)
            .await
            .expect("create");
        append(&other, "a", "new", Flags::default())
            .await
            .expect("append");
        let found = messages(&store, &alice(), "a").await;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["new"]);
    });
}

#[test]
fn a_flag_change_that_always_comes_too_late_is_no_success() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 3).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let seen = change(FlagOp::Add, SEEN, &[]);
        let begun = disk.calls();
        disk.record();
        store
            .store(&mailbox, &set(&[1]), &seen, None)
            .await
            .expect("store");
        let records = disk.take_records();
        let rename = records.iter().find(|record| record.call == Call::Rename);
        let rename = rename.expect("a rename").number - begun;
        // A stranger gives it another name each time: rename, open, list, rename, ...
        const ENOENT: i32 = 2;
        let at = disk.calls() + rename;
        for retry in 0..8 {
            disk.fault(at + retry * 2, Fault::Errno(ENOENT));
        }
        let result = store.store(&mailbox, &set(&[2]), &seen, None).await;
        disk.clear_faults();
        let snapshot = store.snapshot(&mailbox).await.expect("snapshot");
        let (_, row) = snapshot.rows.find(rmail_core::mailbox::Uid(2)).expect("there");
        assert_eq!(
            result.map(drop).map_err(|error| error.refusal),
            Err(Refusal::Busy)
        );
        assert!(!row.flags.contains(SEEN));
        store
            .store(&mailbox, &set(&[2]), &seen, None)
            .await
            .expect("again");
    });
}

/// INBOX with two messages, ready for flag changes at once.
async fn ready(disk: &MemDisk) -> (Store, MailboxRef) {
    let store = open(disk, Limits::default()).await;
    for text in ["1", "2"] {
        deliver(&store, &[alice()], text).await.expect("deliver");
    }
    let (mailbox, _) = select(&store, "INBOX").await.expect("select");
    let draft = change(FlagOp::Add, SystemFlags::DRAFT, &[]);
    store.store(&mailbox, &all(), &draft, None).await.expect("store");
    disk.set_yields(false);
    (store, mailbox)
}

#[test]
fn a_flag_change_at_once_that_fails_half_way_is_told_and_not_done_again() {
    block_on(async {
        let disk = MemDisk::new();
        let (store, mailbox) = ready(&disk).await;
        let both = set(&[1, 2]);
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        let begun = disk.calls();
        disk.record();
        let stored = store.store_now(&mailbox, &both, &flagged, None);
        let before = stored.expect("at once").expect("stored").snapshot;
        let records = disk.take_records();
        let second = records.iter().rfind(|record| record.call == Call::Rename);
        let second = second.expect("two renames").number - begun;
        store.flush().await.expect("flush");
        const EIO: i32 = 5;
        disk.fault(disk.calls() + second, Fault::Errno(EIO));
        let seen = change(FlagOp::Add, SEEN, &[]);
        let stored = store.store_now(&mailbox, &both, &seen, Some(before.modseq));
        disk.clear_faults();
        stored.expect("begun").expect_err("the second rename");
        let snapshot = store.snapshot(&mailbox).await.expect("snapshot");
        let seen = snapshot.rows.iter().map(|row| row.flags.contains(SEEN));
        assert_eq!(seen.collect::<Vec<_>>(), [true, false]);
        assert!(snapshot.modseq > before.modseq);
        // What was changed is synced like the rest.
        disk.record();
        store.flush().await.expect("flush");
        let synced = disk.take_records();
        assert!(synced.iter().any(|record| record.call == Call::SyncDir));
    });
}

#[test]
fn a_flag_change_at_once_waits_for_nobody() {
    block_on(async {
        let disk = MemDisk::new();
        let (store, mailbox) = ready(&disk).await;
        let seen = change(FlagOp::Add, SEEN, &[]);
        let stranger = disk.process();
        let dir = dir_of(&stranger, "INBOX").await;
        let state = stranger.open(&dir, "state", Mode::Write).await.expect("state");
        let lock = stranger.lock(&state, Duration::ZERO).await.expect("lock");
        assert!(store.store_now(&mailbox, &all(), &seen, None).is_none());
        drop(lock);
        let stored = store.store_now(&mailbox, &all(), &seen, None);
        let snapshot = stored.expect("at once").expect("stored").snapshot;
        assert!(snapshot.rows.iter().all(|row| row.flags.contains(SEEN)));
    });
}

#[test]
fn a_flag_that_a_stranger_gave_meanwhile_stays() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 3).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let shard = dir_of_alice(&disk, "mailboxes/INBOX/shards/000000").await;
        let names = names_of(&disk, &shard).await;
        let old = names.iter().find(|name| name.starts_with("0000000002."));
        let old = old.expect("there");
        disk.rename(&shard, old, &shard, &old.replace(".-.", ".f."))
            .await
            .expect("rename");
        let seen = change(FlagOp::Add, SEEN, &[]);
        let stored = store.store(&mailbox, &set(&[2]), &seen, None).await;
        let snapshot = stored.expect("store").snapshot;
        let (_, row) = snapshot.rows.find(rmail_core::mailbox::Uid(2)).expect("there");
        assert_eq!(row.flags, SEEN.with(SystemFlags::FLAGGED));
    });
}

#[test]
fn a_conditional_store_sees_what_another_process_has_just_changed() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 3).await;
        let other = open(&disk.process(), Limits::small()).await;
        let (mailbox, seen) = select(&store, "INBOX").await.expect("select");
        let (theirs, _) = select(&other, "INBOX").await.expect("select");
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        other
            .store(&theirs, &set(&[2]), &flagged, None)
            .await
            .expect("store");
        let answered = change(FlagOp::Add, SystemFlags::ANSWERED, &[]);
        let stored = store
            .store(&mailbox, &all(), &answered, Some(seen.modseq))
            .await
            .expect("store");
        assert_eq!(stored.modified, set(&[2]));
        let (_, row) = stored
            .snapshot
            .rows
            .find(rmail_core::mailbox::Uid(2))
            .expect("there");
        assert_eq!(row.flags, SystemFlags::FLAGGED);
    });
}
