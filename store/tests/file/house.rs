//! Room and rubbish: memory of spools, usage, what dead processes leave, and mailboxes that are read for the first time.

use core::time::Duration;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::chunk::Chunk;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, Quota, SystemFlags, Uid};
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode, STAND_IN};
use rmail_store::mem::{Call, Fault, MemDisk};

fn calls(disk: &MemDisk) -> Vec<Call> {
    disk.take_records().iter().map(|record| record.call).collect()
}

fn count(calls: &[Call], kind: Call) -> usize {
    calls.iter().filter(|call| **call == kind).count()
}

#[test]
fn all_spools_share_a_budget_and_give_it_back() {
    block_on(async {
        let limits = Limits {
            spool_memory: 100,
            spool_budget: 250,
            ..Limits::default()
        };
        let disk = MemDisk::new();
        let store = open(&disk, limits).await;
        let chunk = |len: usize| Chunk::copy_from(&vec![b'x'; len]);
        let mut spools = Vec::new();
        for _ in 0..2 {
            let mut spool = store.new_spool().await.expect("spool");
            for _ in 0..10 {
                store.write_spool_now(&mut spool, chunk(10)).expect("fits");
            }
            store
                .write_spool_now(&mut spool, chunk(1))
                .expect_err("its own limit");
            spools.push(spool);
        }
        let mut third = store.new_spool().await.expect("spool");
        store.write_spool_now(&mut third, chunk(50)).expect("fits");
        let back = store
            .write_spool_now(&mut third, chunk(1))
            .expect_err("the budget");
        store.write_spool(&mut third, back).await.expect("a file");
        assert_eq!(store.spool_len(&third), 51);
        // The third gave its 50 back when it became a file.
        let mut fourth = store.new_spool().await.expect("spool");
        store.write_spool_now(&mut fourth, chunk(50)).expect("fits");
        drop(spools);
        store.write_spool_now(&mut fourth, chunk(50)).expect("fits");
        let messages = vec![(third, Flags::default(), None), (fourth, Flags::default(), None)];
        store.create_account(&alice(), NOW).await.expect("create");
        store
            .append(&alice(), &inbox(), messages, &Quota::UNLIMITED, NOW)
            .await
            .expect("append");
        let mut last = Vec::new();
        for _ in 0..2 {
            let mut spool = store.new_spool().await.expect("spool");
            store
                .write_spool_now(&mut spool, chunk(100))
                .expect("all is free again");
            last.push(spool);
        }
        assert_eq!(store.usage(&alice()).await.expect("usage").octets, 151);
    });
}

async fn usage(store: &Store) -> u64 {
    store.usage(&alice()).await.expect("usage").octets
}

#[test]
fn usage_costs_one_read_and_is_right() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::default()).await;
        assert_eq!(usage(&store).await, 0, "no such account");
        store.create_account(&alice(), NOW).await.expect("create");
        for n in 0..20 {
            store
                .create(&alice(), &name(&format!("m{n}")), &[], NOW)
                .await
                .expect("create");
            append(&store, &format!("m{n}"), "12345", Flags::default())
                .await
                .expect("append");
        }
        assert_eq!(usage(&store).await, 100);
        disk.record();
        assert_eq!(usage(&store).await, 100);
        assert_eq!(calls(&disk), [Call::ReadAt]);
        // Deliveries are added up, not counted again.
        deliver(&store, &[alice()], "1234567").await.expect("deliver");
        disk.record();
        assert_eq!(usage(&store).await, 107);
        assert_eq!(count(&calls(&disk), Call::List), 0);
        // What another process does is seen.
        let other = open(&disk.process(), Limits::default()).await;
        deliver(&other, &[alice()], "123").await.expect("deliver");
        assert_eq!(usage(&store).await, 110);
        other
            .create(&alice(), &name("new"), &[], NOW)
            .await
            .expect("create");
        append(&other, "new", "1", Flags::default())
            .await
            .expect("append");
        assert_eq!(usage(&store).await, 111);
        other
            .rename(&alice(), &name("m1"), &name("x1"), NOW)
            .await
            .expect("rename");
        other.delete(&alice(), &name("m0")).await.expect("delete");
        assert_eq!(usage(&store).await, 106);
        let (mailbox, _) = select(&other, "x1").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        other
            .store(&mailbox, &all(), &deleted, None)
            .await
            .expect("store");
        assert_eq!(usage(&store).await, 106);
        other.expunge(&mailbox, None).await.expect("expunge");
        assert_eq!(usage(&store).await, 101);
        let fresh = open(&disk.process(), Limits::default()).await;
        assert_eq!(usage(&fresh).await, 101);
    });
}

#[test]
fn what_dead_processes_left_is_removed() {
    block_on(async {
        let disk = MemDisk::new();
        let start = Duration::from_secs(1_700_000_000);
        disk.set_clock(start);
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        for mailbox in ["x", "y"] {
            store
                .create(&alice(), &name(mailbox), &[], NOW)
                .await
                .expect("create");
            append(&store, mailbox, "m", Flags::default())
                .await
                .expect("append");
        }
        // A DELETE dies after the directory has moved.
        let dying = disk.process();
        let second = open(&dying, Limits::small()).await;
        let trial = disk.fork();
        let trial_store = open(&trial, Limits::small()).await;
        trial.record();
        trial_store.delete(&alice(), &name("x")).await.expect("delete");
        let records = trial.take_records();
        let moved = records.iter().position(|record| record.call == Call::Rename);
        let after = records[moved.expect("a rename") + 2].number;
        dying.fault(dying.calls() + after - records[0].number + 1, Fault::Crash);
        // It has happened: what is left to do is only cleaning.
        second.delete(&alice(), &name("x")).await.expect("delete");
        assert!(dying.is_dead());
        let deleted = dir_of_alice(&disk, "deleted").await;
        assert_eq!(names_of(&disk, &deleted).await.len(), 1);
        // Stand-ins for unnamed files, in all places where they are made.
        let old = format!("{STAND_IN}old");
        let mut places = vec![disk.root().clone()];
        for place in ["", "mailboxes/y", "mailboxes/y/shards"] {
            places.push(dir_of_alice(&disk, place).await);
        }
        for place in &places {
            disk.open(place, &old, Mode::Create).await.expect("make");
        }
        disk.set_clock(start + Duration::from_secs(40 * 3_600));
        let new = format!("{STAND_IN}new");
        for place in &places {
            disk.open(place, &new, Mode::Create).await.expect("make");
        }
        store.tidy().await.expect("tidy");
        assert_eq!(names_of(&disk, &deleted).await, [] as [&str; 0]);
        for place in &places {
            let names = names_of(&disk, place).await;
            assert!(!names.contains(&old) && names.contains(&new), "{names:?}");
        }
        assert_eq!(messages(&store, &alice(), "y").await.len(), 1);
        // The next DELETE of the account would have done it too.
        disk.make_dir(&deleted, "77").await.expect("make");
        store.delete(&alice(), &name("y")).await.expect("delete");
        assert_eq!(names_of(&disk, &deleted).await, [] as [&str; 0]);
    });
}

#[test]
fn a_mailbox_is_read_for_the_first_time_without_the_lock() {
    block_on(async {
        let disk = MemDisk::new();
        disk.set_tick(Duration::from_millis(3));
        let store = open(&disk, Limits::small()).await;
        for n in 0..40 {
            deliver(&store, &[alice()], &n.to_string())
                .await
                .expect("deliver");
        }
        let cold = disk.process();
        let other = open(&cold, Limits::small()).await;
        disk.record();
        let (mailbox, snapshot) = select(&other, "INBOX").await.expect("select");
        let records = disk.take_records();
        let lock = records.iter().position(|record| record.call == Call::Lock);
        let (before, after) = records.split_at(lock.expect("a lock"));
        let lists = |records: &[rmail_store::mem::Record]| {
            records.iter().filter(|record| record.call == Call::List).count()
        };
        // Ten shards and the list of them; under the lock the list, and the shards that have just changed.
        assert!(lists(before) >= 9, "{}", lists(before));
        assert!(lists(after) <= 4, "{}", lists(after));
        assert_eq!(uids(&snapshot), (1..=40).collect::<Vec<_>>());
        assert_eq!(body(&other, &mailbox, 17).await.as_deref(), Some("16"));
    });
}

#[test]
fn what_changes_while_it_is_read_without_the_lock_is_read_again() {
    use rmail_core::random::Random;
    use rmail_store::mem::exec::Exec;
    for seed in 0..60 {
        let disk = MemDisk::new();
        disk.set_tick(Duration::from_micros(if seed % 2 == 0 { 150 } else { 9_000 }));
        let store = block_on(async {
            let store = open(&disk, Limits::small()).await;
            for n in 0..12 {
                deliver(&store, &[alice()], &n.to_string())
                    .await
                    .expect("deliver");
            }
            store
        });
        let other = block_on(open(&disk.process(), Limits::small()));
        let mut random = Random::from_seed([seed; 32]);
        let seen = std::cell::RefCell::new(None);
        let mut exec = Exec::new(Random::from_seed(random.seed()));
        exec.spawn(async {
            *seen.borrow_mut() = Some(select(&other, "INBOX").await.expect("select"));
        });
        exec.spawn(async {
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            for uid in [2, 5, 9, 11] {
                let word = format!("k{uid}");
                let add = change(FlagOp::Add, SystemFlags::DELETED, &[&word]);
                store
                    .store(&mailbox, &set(&[uid]), &add, None)
                    .await
                    .expect("store");
            }
            store.expunge(&mailbox, Some(&set(&[5]))).await.expect("expunge");
            deliver(&store, &[alice()], "last").await.expect("deliver");
        });
        exec.run().expect("nobody waits for ever");
        drop(exec);
        let (mailbox, first) = seen.into_inner().expect("selected");
        block_on(async {
            let now = other.snapshot(&mailbox).await.expect("snapshot");
            let truth = messages(&store, &alice(), "INBOX").await;
            let found = messages(&other, &alice(), "INBOX").await;
            assert_eq!(found, truth, "seed {seed}");
            for row in now.rows.iter() {
                let same = first.rows.find(row.uid).is_some_and(|(_, old)| old == row);
                assert!(same || row.modseq > first.modseq, "seed {seed}: {row:?}");
            }
            for row in first.rows.iter().filter(|row| row.uid != Uid(5)) {
                assert!(now.rows.find(row.uid).is_some(), "seed {seed}: {row:?} is lost");
            }
        });
    }
}

#[test]
fn a_name_above_uidnext_is_not_shown_however_it_is_read() {
    block_on(async {
        let disk = MemDisk::new();
        disk.set_tick(Duration::from_millis(30));
        let store = open(&disk, Limits::small()).await;
        deliver(&store, &[alice()], "one").await.expect("deliver");
        let shards = dir_of_alice(&disk, "mailboxes/INBOX/shards").await;
        disk.make_dir(&shards, "000024").await.expect("make");
        let shard = disk.open_dir(&shards, "000024").await.expect("shard");
        let name = "0000000099.0+0000.3.0.1.-.0.eml";
        disk.open(&shard, name, Mode::Create).await.expect("make");
        deliver(&store, &[alice()], "two").await.expect("deliver");
        let other = open(&disk.process(), Limits::small()).await;
        for store in [&store, &other] {
            let (_, snapshot) = select(store, "INBOX").await.expect("select");
            assert_eq!(uids(&snapshot), [1, 2]);
            assert!(snapshot.uid_next < Uid(99));
        }
    });
}

#[test]
fn a_mailbox_is_marked_clean_only_when_what_others_changed_is_synced() {
    use rmail_core::random::Random;
    use rmail_store::mem::{Model, Outcome};
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        for n in 0..6 {
            deliver(&store, &[alice()], &n.to_string())
                .await
                .expect("deliver");
        }
        let dead = disk.process();
        let other = open(&dead, Limits::small()).await;
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        for (store, uid) in [(&store, 1), (&other, 5)] {
            let (mailbox, _) = select(store, "INBOX").await.expect("select");
            store
                .store(&mailbox, &set(&[uid]), &flagged, None)
                .await
                .expect("store");
        }
        // It dies before it comes to sync.
        drop(other);
        dead.kill();
        for _ in 0..40 {
            store.flush().await.expect("flush");
        }
        let (_, told) = select(&store, "INBOX").await.expect("select");
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
        let store = open(&disk.process(), Limits::small()).await;
        let (_, now) = select(&store, "INBOX").await.expect("select");
        assert_eq!(now.rows, told.rows);
    });
}
