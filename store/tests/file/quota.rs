//! What the usage record says, whoever adds and removes messages at the same time, and who is refused.

use core::time::Duration;
use std::cell::{Cell, RefCell};

use crate::common::*;
use futures_lite::future::block_on;
use proptest::prelude::*;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, Quota, SystemFlags, Usage};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::error::Result;
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Call, Fault, MemDisk, Model, Outcome};

async fn world() -> (MemDisk, Store) {
    let disk = MemDisk::new();
    let store = open(&disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("alice");
    store.create_account(&bob(), NOW).await.expect("bob");
    (disk, store)
}

async fn add(store: &Store, mailbox: &str, size: usize, quota: &Quota) -> Result<()> {
    let messages = vec![(spool(store, &"x".repeat(size)).await?, Flags::default(), None)];
    store
        .append(&alice(), &name(mailbox), messages, quota, NOW)
        .await
        .map(drop)
}

fn is_over<T>(result: &Result<T>) -> bool {
    matches!(result, Err(error) if error.refusal == Refusal::OverQuota)
}

async fn usage(store: &Store) -> Usage {
    store.usage(&alice()).await.expect("usage")
}

#[test]
fn every_way_in_is_limited_and_what_goes_makes_room() {
    block_on(async {
        let (disk, store) = world().await;
        let quota = octets(10);
        add(&store, "INBOX", 6, &quota).await.expect("6 of 10");
        assert!(is_over(&add(&store, "INBOX", 5, &quota).await));
        // MULTIAPPEND: together they are too many.
        let mut both = Vec::new();
        for _ in 0..2 {
            both.push((spool(&store, "123").await.expect("spool"), Flags::default(), None));
        }
        let result = store.append(&alice(), &inbox(), both, &quota, NOW).await;
        assert!(is_over(&result));
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let copied = store.copy(&mailbox, &all(), &name("Trash"), &quota, NOW).await;
        assert!(is_over(&copied));
        assert_eq!(usage(&store).await, Usage::message(6));
        // MOVE needs none, nor does what is copied within the limit.
        let moved = store.r#move(&mailbox, &all(), &name("Trash"), NOW).await;
        assert_eq!(moved.expect("move").0.target.len(), 1);
        assert_eq!(usage(&store).await, Usage::message(6));
        add(&store, "INBOX", 2, &quota).await.expect("8 of 10");
        let copied = store.copy(&mailbox, &all(), &name("Sent"), &quota, NOW).await;
        assert_eq!(copied.expect("10 of 10").0.target.len(), 1);
        assert!(
            !store
                .has_room(&alice(), &quota, Usage::message(1))
                .await
                .expect("room")
        );
        assert!(
            store
                .has_room(&alice(), &quota, Usage::message(0))
                .await
                .expect("room")
        );
        assert_eq!(usage(&store).await, on_disk(&disk, &alice()).await);
        // EXPUNGE and DELETE make room.
        let (trash, _) = select(&store, "Trash").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        store.store(&trash, &all(), &deleted, None).await.expect("store");
        assert_eq!(usage(&store).await.octets, 10);
        store.expunge(&trash, None).await.expect("expunge");
        assert_eq!(usage(&store).await.octets, 4);
        store.delete(&alice(), &name("Sent")).await.expect("delete");
        assert_eq!(usage(&store).await, Usage::message(2));
        // RENAME of INBOX moves.
        store
            .rename(&alice(), &inbox(), &name("old"), NOW)
            .await
            .expect("rename");
        assert_eq!(usage(&store).await, Usage::message(2));
        // A level that stays for its children.
        store
            .create(&alice(), &name("old/sub"), &[], NOW)
            .await
            .expect("create");
        add(&store, "old/sub", 5, &quota).await.expect("7 of 10");
        store.delete(&alice(), &name("old")).await.expect("delete");
        assert_eq!(usage(&store).await, Usage::message(5));
        assert_eq!(usage(&store).await, on_disk(&disk, &alice()).await);
        let record = usage_record(&disk, &alice()).await.expect("a record");
        assert!(record.known && !record.unsure);
    });
}

#[test]
fn messages_are_limited_too() {
    block_on(async {
        let (_, store) = world().await;
        let quota = Quota {
            octets: None,
            messages: Some(2),
        };
        add(&store, "INBOX", 0, &quota).await.expect("1 of 2");
        add(&store, "Trash", 9, &quota).await.expect("2 of 2");
        assert!(is_over(&add(&store, "INBOX", 0, &quota).await));
        let text = spool(&store, "x").await.expect("spool");
        assert!(is_over(
            &store.deliver(text, &[(alice(), quota)], None, NOW).await
        ));
    });
}

#[test]
fn a_delivery_is_refused_if_it_is_over_for_all() {
    block_on(async {
        let (disk, store) = world().await;
        let quotas = |a, b| [(alice(), octets(a)), (bob(), octets(b))];
        let deliver = async |a, b| {
            let text = spool(&store, "12345").await.expect("spool");
            store.deliver(text, &quotas(a, b), None, NOW).await
        };
        assert!(is_over(&deliver(4, 4).await));
        assert_eq!(on_disk(&disk, &alice()).await, Usage::default());
        // Over the limit of one only: it goes to both.
        deliver(4, 5).await.expect("delivered");
        deliver(10, 5).await.expect("delivered");
        assert!(is_over(&deliver(10, 10).await));
        for account in [alice(), bob()] {
            let both = Usage {
                octets: 10,
                messages: 2,
            };
            assert_eq!(store.usage(&account).await.expect("usage"), both);
            assert_eq!(on_disk(&disk, &account).await, both);
        }
        // A bounce goes in whatever there is.
        let text = spool(&store, "12345").await.expect("spool");
        let to = [(alice(), Quota::UNLIMITED)];
        store.deliver(text, &to, None, NOW).await.expect("delivered");
        assert_eq!(usage(&store).await.octets, 15);
        // An account that is named twice gets one copy, and pays for it once.
        let text = spool(&store, "1").await.expect("spool");
        let to = [(bob(), octets(11)), (bob(), octets(11))];
        store.deliver(text, &to, None, NOW).await.expect("delivered");
        assert_eq!(store.usage(&bob()).await.expect("usage").octets, 11);
    });
}

/// Tasks of two processes, in an order that the seed chooses.
fn together<'a>(seed: u64, tasks: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>>) {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut exec = Exec::new(Random::from_seed(key));
    for task in tasks {
        exec.spawn(task);
    }
    exec.run().expect("nobody waits for ever");
}

#[test]
fn of_two_that_fit_one_by_one_only_one_is_taken() {
    for seed in 0..60 {
        let (disk, store) = block_on(world());
        let other = block_on(open(&disk.process(), Limits::small()));
        let taken = Cell::new(0);
        let append = async |store: &Store, mailbox: &'static str| {
            let result = add(store, mailbox, 6, &octets(10)).await;
            assert!(result.is_ok() || is_over(&result), "seed {seed}: {result:?}");
            taken.set(taken.get() + u64::from(result.is_ok()));
        };
        let deliver = async |store: &Store| {
            let text = spool(store, "123456").await.expect("spool");
            let result = store.deliver(text, &[(alice(), octets(10))], None, NOW).await;
            assert!(result.is_ok() || is_over(&result), "seed {seed}: {result:?}");
            taken.set(taken.get() + u64::from(result.is_ok()));
        };
        together(
            seed,
            vec![
                Box::pin(append(&store, "INBOX")),
                Box::pin(append(&other, "INBOX")),
                Box::pin(append(&other, "Trash")),
                Box::pin(deliver(&store)),
            ],
        );
        let there = block_on(on_disk(&disk, &alice()));
        assert!(taken.get() <= 1, "seed {seed}");
        assert_eq!(there.messages, taken.get(), "seed {seed}");
        assert_eq!(block_on(usage(&store)), there, "seed {seed}");
    }
}

#[test]
fn a_move_takes_no_room_from_others_of_its_process() {
    for seed in 0..40 {
        let (_, store) = block_on(world());
        let mailbox = block_on(async {
            for _ in 0..5 {
                add(&store, "INBOX", 10, &Quota::UNLIMITED).await.expect("append");
            }
            assert_eq!(usage(&store).await.octets, 50);
            select(&store, "INBOX").await.expect("select").0
        });
        together(
            seed,
            vec![
                Box::pin(async {
                    let moved = store.r#move(&mailbox, &all(), &name("Trash"), NOW).await;
                    assert_eq!(moved.expect("move").0.target.len(), 5);
                }),
                Box::pin(async {
                    add(&store, "Sent", 10, &octets(60)).await.expect("there is room");
                }),
            ],
        );
        assert_eq!(block_on(usage(&store)).octets, 60);
    }
}

#[test]
fn what_a_dead_process_reserved_is_found_before_somebody_is_refused_but_not_each_time() {
    block_on(async {
        let (disk, store) = world().await;
        let start = Duration::from_secs(1_700_000_000);
        disk.set_clock(start);
        add(&store, "INBOX", 10, &octets(100)).await.expect("append");
        // It dies between the reservation and the link.
        let dying = disk.process();
        let second = open(&dying, Limits::small()).await;
        second.usage(&alice()).await.expect("usage");
        select(&second, "INBOX").await.expect("select");
        let trial = disk.fork();
        let trial_store = open(&trial, Limits::small()).await;
        trial_store.usage(&alice()).await.expect("usage");
        select(&trial_store, "INBOX").await.expect("select");
        let before = trial.calls();
        trial.record();
        add(&trial_store, "INBOX", 80, &octets(100))
            .await
            .expect("append");
        let link = trial.take_records();
        let link = link.iter().find(|record| record.call == Call::LinkUnnamed);
        dying.fault(
            dying.calls() + link.expect("a link").number - before,
            Fault::Crash,
        );
        assert!(add(&second, "INBOX", 80, &octets(100)).await.is_err());
        assert!(dying.is_dead());
        assert_eq!(usage(&store).await.octets, 90, "too high");
        // Soon after the last count that is believed; an hour later it is counted.
        assert!(is_over(&add(&store, "INBOX", 20, &octets(100)).await));
        disk.set_clock(start + Duration::from_secs(3_700));
        add(&store, "INBOX", 20, &octets(100))
            .await
            .expect("there is room");
        assert_eq!(usage(&store).await.octets, 30);
        // A clock that is set back makes no count eternal.
        disk.set_clock(start);
        let record = usage_record(&disk, &alice()).await.expect("a record");
        assert!(record.recounted > 1_700_000_000 + 3_600);
        disk.record();
        assert!(is_over(&add(&store, "INBOX", 80, &octets(100)).await));
        let listed = disk.take_records();
        assert!(listed.iter().any(|record| record.call == Call::List));
        disk.record();
        assert!(is_over(&add(&store, "INBOX", 80, &octets(100)).await));
        let listed = disk.take_records();
        assert!(!listed.iter().any(|record| record.call == Call::List));
    });
}

#[test]
fn a_count_finds_what_strangers_did() {
    block_on(async {
        for warm in [true, false] {
            let (disk, store) = world().await;
            for size in [10, 20, 30] {
                add(&store, "INBOX", size, &octets(1_000)).await.expect("append");
            }
            let store = if warm {
                select(&store, "INBOX").await.expect("select");
                store
            } else {
                open(&disk.process(), Limits::small()).await
            };
            assert_eq!(usage(&store).await.octets, 60);
            let shard = dir_of(&disk, "INBOX/shards/000000").await;
            let names = names_of(&disk, &shard).await;
            let largest = names.iter().find(|name| name.contains(".30.")).expect("its name");
            disk.unlink(&shard, largest).await.expect("rm");
            assert_eq!(usage(&store).await.octets, 60, "nobody has looked");
            assert_eq!(store.recount(&alice()).await.expect("recount").octets, 30);
            assert_eq!(usage(&store).await, on_disk(&disk, &alice()).await);
            // A stranger puts one in, and takes the record away.
            let other = names.iter().find(|name| name.contains(".20.")).expect("its name");
            let trash = dir_of(&disk, "Trash/shards").await;
            add(&store, "Trash", 5, &octets(1_000)).await.expect("append");
            let into = disk.open_dir(&trash, "000000").await.expect("a shard");
            let name = names_of(&disk, &into).await.remove(0);
            disk.unlink(&into, &name).await.expect("rm");
            let new = other.replacen(&other[..10], &name[..10], 1);
            disk.link(&shard, other, &into, &new).await.expect("cp");
            assert_eq!(store.recount(&alice()).await.expect("recount").octets, 50);
            disk.unlink(&dir_of_alice(&disk, "").await, "usage")
                .await
                .expect("rm");
            let fresh = open(&disk.process(), Limits::small()).await;
            assert_eq!(usage(&fresh).await.octets, 50);
            // Who had it open notices after a while; until then the new one misses what it adds.
            for _ in 0..70 {
                add(&store, "INBOX", 1, &octets(1_000)).await.expect("append");
            }
            assert_eq!(usage(&fresh).await, on_disk(&disk, &alice()).await);
        }
    });
}

#[test]
fn a_record_that_is_not_ours_is_not_believed() {
    block_on(async {
        let (disk, store) = world().await;
        add(&store, "INBOX", 10, &octets(100)).await.expect("append");
        let dir = dir_of_alice(&disk, "").await;
        let good = octets_of(&disk, &dir, "usage").await;
        for bytes in [vec![0; 64], vec![b'x'; 64], good[..63].to_vec(), Vec::new()] {
            disk.unlink(&dir, "usage").await.expect("rm");
            let file = disk.open(&dir, "usage", Mode::Create).await.expect("open");
            disk.write_at(&file, &bytes, 0).await.expect("write");
            let fresh = open(&disk.process(), Limits::small()).await;
            assert_eq!(usage(&fresh).await.octets, 10);
        }
        // A copy has another inode.
        disk.unlink(&dir, "usage").await.expect("rm");
        let file = disk.open(&dir, "usage", Mode::Create).await.expect("open");
        disk.write_at(&file, &good, 0).await.expect("write");
        let mut second = good.clone();
        second[32] = 77;
        let fresh = open(&disk.process(), Limits::small()).await;
        assert_eq!(usage(&fresh).await.octets, 10);
        // One of before the machine was started anew.
        add(&fresh, "INBOX", 5, &octets(100)).await.expect("append");
        disk.power_cut(Model::Ordered, Outcome::Kept, &mut Random::from_seed([1; 32]));
        let disk = disk.process();
        let fresh = open(&disk, Limits::small()).await;
        assert!(
            usage_record(&disk, &alice())
                .await
                .is_some_and(|record| record.boot != disk.boot_id())
        );
        assert_eq!(usage(&fresh).await, on_disk(&disk, &alice()).await);
    });
}

#[test]
fn an_account_that_is_deleted_and_made_anew_begins_at_nothing_for_all_processes() {
    block_on(async {
        let (disk, store) = world().await;
        let other = open(&disk.process(), Limits::small()).await;
        add(&store, "INBOX", 10, &octets(100)).await.expect("append");
        add(&other, "INBOX", 10, &octets(100)).await.expect("append");
        store.delete_account(&alice()).await.expect("delete");
        assert_eq!(usage(&store).await, Usage::default());
        store.create_account(&alice(), NOW).await.expect("create");
        assert_eq!(usage(&store).await, Usage::default());
        add(&other, "INBOX", 7, &octets(100)).await.expect("append");
        assert_eq!(usage(&store).await, Usage::message(7));
        assert_eq!(usage(&other).await, Usage::message(7));
    });
}

#[test]
fn an_account_without_a_limit_is_not_counted_until_somebody_asks() {
    block_on(async {
        let (disk, store) = world().await;
        deliver(&store, &[alice()], "12345").await.expect("deliver");
        assert_eq!(usage_record(&disk, &alice()).await, None);
        assert_eq!(usage(&store).await, Usage::message(5));
        deliver(&store, &[alice()], "123").await.expect("deliver");
        assert_eq!(
            usage_record(&disk, &alice())
                .await
                .expect("a record")
                .usage
                .octets,
            8
        );
    });
}

const BOXES: [&str; 4] = ["INBOX", "Trash", "Sent", "Archive"];

/// One step of a client.
#[derive(Clone, Debug)]
enum Step {
    Append(usize, Vec<usize>),
    Deliver(usize),
    Copy(usize, usize),
    Move(usize, usize),
    Expunge(usize, u32),
    Remake(usize),
    RenameInbox(usize),
    Recount,
}

fn step() -> impl Strategy<Value = Step> {
    let mailbox = 0..BOXES.len();
    prop_oneof![
        4 => (mailbox.clone(), proptest::collection::vec(0..40_usize, 1..4)).prop_map(|(to, sizes)| Step::Append(to, sizes)),
        3 => (0..40_usize).prop_map(Step::Deliver),
        2 => (mailbox.clone(), mailbox.clone()).prop_map(|(from, to)| Step::Copy(from, to)),
        3 => (mailbox.clone(), mailbox.clone()).prop_map(|(from, to)| Step::Move(from, to)),
        2 => (mailbox.clone(), 1..9_u32).prop_map(|(from, upto)| Step::Expunge(from, upto)),
        1 => (1..BOXES.len()).prop_map(Step::Remake),
        1 => (0..100_usize).prop_map(Step::RenameInbox),
        1 => Just(Step::Recount),
    ]
}

async fn take(store: &Store, step: &Step, quota: &Quota) {
    // Whatever is refused, or meets a mailbox that somebody has just deleted, leaves the sum right.
    match step {
        Step::Append(to, sizes) => {
            let mut messages = Vec::new();
            for size in sizes {
                let text = spool(store, &"x".repeat(*size)).await.expect("spool");
                messages.push((text, Flags::default(), None));
            }
            let _ = store
                .append(&alice(), &name(BOXES[*to]), messages, quota, NOW)
                .await;
        }
        Step::Deliver(size) => {
            let text = spool(store, &"x".repeat(*size)).await.expect("spool");
            let to = [(alice(), *quota), (bob(), octets(100))];
            let _ = store.deliver(text, &to, None, NOW).await;
        }
        Step::Copy(from, to) | Step::Move(from, to) => {
            let Ok((mailbox, _)) = select(store, BOXES[*from]).await else {
                return;
            };
            let to = name(BOXES[*to]);
            if let Step::Copy(..) = step {
                let _ = store.copy(&mailbox, &all(), &to, quota, NOW).await;
            } else if let Err(error) = store.r#move(&mailbox, &all(), &to, NOW).await {
                assert_ne!(error.refusal, Refusal::OverQuota);
            }
        }
        Step::Expunge(from, upto) => {
            let Ok((mailbox, _)) = select(store, BOXES[*from]).await else {
                return;
            };
            let some = (1..=*upto).collect::<Vec<_>>();
            let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
            let _ = store.store(&mailbox, &set(&some), &deleted, None).await;
            let _ = store.expunge(&mailbox, None).await;
        }
        Step::Remake(which) => {
            let _ = store.delete(&alice(), &name(BOXES[*which])).await;
            let _ = store.create(&alice(), &name(BOXES[*which]), &[], NOW).await;
        }
        Step::RenameInbox(n) => {
            let _ = store
                .rename(&alice(), &inbox(), &name(&format!("old{n}")), NOW)
                .await;
        }
        Step::Recount => drop(store.recount(&alice()).await.expect("recount")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// One after the other, by two processes: the record is the sum after each step.
    #[test]
    fn the_record_is_the_sum_after_any_operations(steps in proptest::collection::vec((any::<bool>(), step()), 1..24)) {
        let (disk, store) = block_on(world());
        let other = block_on(open(&disk.process(), Limits::small()));
        block_on(async {
            store.recount(&alice()).await.expect("recount");
            store.recount(&bob()).await.expect("recount");
            for (which, step) in &steps {
                take(if *which { &store } else { &other }, step, &octets(300)).await;
                let record = usage_record(&disk, &alice()).await.expect("a record");
                assert!(record.known && !record.unsure && record.epoch % 2 == 0, "{step:?}: {record:?}");
                assert_eq!(record.usage, on_disk(&disk, &alice()).await, "{step:?}");
            }
            let record = usage_record(&disk, &bob()).await.expect("a record");
            assert_eq!(record.usage, on_disk(&disk, &bob()).await);
        });
    }

    /// All at the same time, with counts in between: never below the sum, and the sum in the end.
    #[test]
    fn whatever_goes_on_at_the_same_time_the_record_is_the_sum_in_the_end(
        seed in any::<u64>(),
        work in proptest::collection::vec(proptest::collection::vec(step(), 1..7), 4),
        counts in 0..6_usize,
    ) {
        let (disk, store) = block_on(world());
        let other = block_on(open(&disk.process(), Limits::small()));
        let finished = RefCell::new(0);
        let client = async |store: &Store, steps: &[Step]| {
            for step in steps {
                take(store, step, &octets(500)).await;
            }
            *finished.borrow_mut() += 1;
        };
        let count = async || {
            for _ in 0..counts {
                other.recount(&alice()).await.expect("recount");
            }
        };
        together(seed, vec![
            Box::pin(client(&store, &work[0])),
            Box::pin(client(&other, &work[1])),
            Box::pin(client(&store, &work[2])),
            Box::pin(client(&other, &work[3])),
            Box::pin(count()),
        ]);
        assert_eq!(*finished.borrow(), 4);
        block_on(async {
            for account in [alice(), bob()] {
                let there = on_disk(&disk, &account).await;
                if let Some(record) = usage_record(&disk, &account).await {
                    let exact = record.usage == there;
                    let high = record.usage.octets >= there.octets && record.usage.messages >= there.messages;
                    assert!(exact || (record.unsure && high) || !record.known, "{record:?} {there:?}");
                }
                assert_eq!(store.usage(&account).await.expect("usage"), there);
                let record = usage_record(&disk, &account).await.expect("a record");
                assert_eq!((record.usage, record.unsure, record.epoch % 2), (there, false, 0));
            }
        });
    }
}
