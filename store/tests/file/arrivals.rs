//! Messages that come for one mailbox at the same time: added together, each with an answer of its own.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{ModSeq, Quota};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_store::MailStore;
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Call, End, Fault, MemDisk, Model, Outcome};

/// Every delivery of a run, by its text, and what it was told.
type Told = RefCell<Vec<(String, Result<(), Refusal>)>>;

/// A store with a mailbox that has one message.
fn begun() -> (MemDisk, Store) {
    let disk = MemDisk::new();
    let store = block_on(async {
        let store = open(&disk, Limits::default()).await;
        deliver(&store, &[alice()], "first").await.expect("deliver");
        store
    });
    (disk, store)
}

async fn deliver_one(store: &Store, quota: Quota, text: &str, told: &Told) {
    let body = spool(store, text).await.expect("spool");
    let delivered = store.deliver(body, &[(alice(), quota)], None, NOW).await;
    let result = delivered.map_err(|error| error.refusal);
    told.borrow_mut().push((text.to_owned(), result));
}

/// So many deliveries, in an order drawn from the seed; some of them are given up on the way.
fn run(
    store: &Store,
    seed: u8,
    count: usize,
    quota: Quota,
    given_up: usize,
) -> Vec<(String, Result<(), Refusal>)> {
    let told = Told::default();
    let texts: Vec<String> = (0..count).map(|n| format!("text {n:02}")).collect();
    let mut random = Random::from_seed([seed; 32]);
    let mut exec = Exec::new(Random::from_seed([seed ^ 0xff; 32]));
    let tasks: Vec<_> = texts
        .iter()
        .map(|text| exec.spawn(deliver_one(store, quota, text, &told)))
        .collect();
    for task in tasks.iter().take(given_up) {
        for _ in 0..random.below(150) {
            exec.step();
        }
        exec.cancel(*task);
    }
    exec.run().expect("nobody waits for ever");
    drop(exec);
    told.into_inner()
}

/// The texts of alice's INBOX without the first, and the MODSEQs that they have.
async fn found(store: &Store) -> (Vec<String>, BTreeSet<ModSeq>) {
    let (mailbox, snapshot) = select(store, "INBOX").await.expect("select");
    let mut texts = Vec::new();
    let mut modseqs = BTreeSet::new();
    for row in snapshot.rows.iter().skip(1) {
        texts.push(body(store, &mailbox, row.uid.0).await.expect("a body"));
        modseqs.insert(snapshot.rows.modseq(row));
    }
    texts.sort();
    (texts, modseqs)
}

#[test]
fn messages_that_come_together_are_added_in_few_changes() {
    for seed in 0..20 {
        let (disk, store) = begun();
        disk.record();
        let told = run(&store, seed, 20, Quota::UNLIMITED, 0);
        let syncs = disk.take_records();
        assert!(told.iter().all(|(_, result)| result.is_ok()), "{told:?}");
        let (texts, modseqs) = block_on(found(&store));
        assert_eq!(texts, (0..20).map(|n| format!("text {n:02}")).collect::<Vec<_>>());
        assert!(modseqs.len() <= 10, "seed {seed}: {} changes", modseqs.len());
        let count = |call| syncs.iter().filter(|record| record.call == call).count();
        assert_eq!(count(Call::Sync), 20, "each file is synced");
        assert_eq!(
            count(Call::SyncDir),
            modseqs.len(),
            "and the directory for each change"
        );
    }
}

#[test]
fn room_for_some_of_those_who_come_together_is_given_to_some() {
    for seed in 0..40 {
        let (disk, store) = begun();
        let quota = Quota {
            octets: None,
            messages: Some(4),
        };
        let told = run(&store, seed, 8, quota, 0);
        let taken: Vec<&String> = told
            .iter()
            .filter(|(_, result)| result.is_ok())
            .map(|(text, _)| text)
            .collect();
        assert_eq!(taken.len(), 3, "seed {seed}: {told:?}");
        assert!(
            told.iter()
                .all(|(_, result)| [Ok(()), Err(Refusal::OverQuota)].contains(result))
        );
        block_on(async {
            let mut taken: Vec<String> = taken.into_iter().cloned().collect();
            taken.sort();
            assert_eq!(found(&store).await.0, taken);
            let usage = store.usage(&alice()).await.expect("usage");
            assert_eq!(usage, on_disk(&disk, &alice()).await);
        });
    }
}

#[test]
fn who_is_given_up_holds_up_nobody() {
    for seed in 0..250 {
        let (_disk, store) = begun();
        let told = run(&store, seed, 8, Quota::UNLIMITED, 3);
        let (texts, _) = block_on(found(&store));
        for (text, result) in &told {
            // Those added with one that was given up in its midst are told that they failed; the client tries again.
            assert!(
                [Ok(()), Err(Refusal::Storage)].contains(result),
                "seed {seed}: {told:?}"
            );
            assert!(
                result.is_err() || texts.contains(text),
                "seed {seed}: {text} is lost"
            );
        }
        assert!(told.len() >= 5, "seed {seed}: {told:?}");
        let distinct: BTreeSet<&String> = texts.iter().collect();
        assert_eq!(distinct.len(), texts.len(), "seed {seed}: twice there");
        block_on(deliver(&store, &[alice()], "last")).expect("it goes on");
    }
}

#[test]
fn a_directory_that_cannot_be_synced_fails_all_and_keeps_none() {
    for seed in 0..40 {
        let (disk, store) = begun();
        let before = disk.calls();
        run(&store, seed, 6, Quota::UNLIMITED, 0);
        let made = disk.calls() - before;
        // The same again on a fresh disk, with each of the later calls failing.
        for at in [made / 2, made * 3 / 4, made - 2] {
            let (disk, store) = begun();
            disk.fault(disk.calls() + at, Fault::Errno(5));
            let told = run(&store, seed, 6, Quota::UNLIMITED, 0);
            assert_eq!(told.len(), 6);
            let (texts, _) = block_on(found(&store));
            for (text, result) in &told {
                assert_eq!(
                    texts.contains(text),
                    result.is_ok(),
                    "seed {seed} at {at}: {text} {result:?}"
                );
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_synced_fails_its_message_alone() {
    let (world, first) = begun();
    block_on(deliver(&first, &[bob()], "first")).expect("deliver");
    drop(first);
    let texts: Vec<String> = (0..6).map(|n| format!("text {n:02}")).collect();
    let run = |disk: &MemDisk, seed: u8| {
        let store = block_on(open(disk, Limits::default()));
        let told = Told::default();
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        for (n, text) in texts.iter().enumerate() {
            let to = [alice(), bob()][n % 2].clone();
            let (store, told) = (&store, &told);
            exec.spawn(async move {
                let body = spool(store, text).await.expect("spool");
                let delivered = store.deliver(body, &[(to, Quota::UNLIMITED)], None, NOW).await;
                let result = delivered.map_err(|error| error.refusal);
                told.borrow_mut().push((text.clone(), result));
            });
        }
        exec.run().expect("nobody waits for ever");
        drop(exec);
        told.into_inner()
    };
    for seed in 0..40 {
        let disk = world.fork();
        disk.record();
        run(&disk, seed);
        let calls = disk.take_records();
        let is_sync = |(_, record): &(usize, _)| matches!(record, Call::Sync);
        let syncs = calls.iter().map(|record| record.call).enumerate().filter(is_sync);
        for (at, _) in syncs {
            let disk = world.fork();
            disk.fault(disk.calls() + at as u64 + 1, Fault::Errno(5));
            let mut told = run(&disk, seed);
            told.retain(|(_, result)| result.is_err());
            assert!(
                matches!(told.as_slice(), [(_, Err(Refusal::Storage))]),
                "seed {seed}, call {at}: {told:?}"
            );
        }
    }
}

#[test]
fn a_power_cut_loses_nothing_of_those_who_came_together_and_were_told_so() {
    let (world, first) = begun();
    drop(first);
    for seed in 0..12 {
        for at in (1..).step_by(3) {
            let disk = world.fork();
            let store = block_on(open(&disk, Limits::default()));
            disk.fault(disk.calls() + at, Fault::Crash);
            let told = RefCell::new(Vec::new());
            let texts: Vec<String> = (0..5).map(|n| format!("text {n:02}")).collect();
            let mut exec = Exec::new(Random::from_seed([seed; 32]));
            for text in &texts {
                exec.spawn(async {
                    let Ok(body) = spool(&store, text).await else {
                        return;
                    };
                    let quota = Quota::UNLIMITED;
                    if store.deliver(body, &[(alice(), quota)], None, NOW).await.is_ok() {
                        told.borrow_mut().push(text.clone());
                    }
                });
            }
            exec.run().expect("nobody waits for ever");
            drop(exec);
            let cut = disk.is_dead();
            drop(store);
            let model = [Model::Adversary, Model::Ordered][usize::from(seed % 2)];
            disk.end(End::Power(model, Outcome::Random, seed), at);
            let store = block_on(open(&disk.process(), Limits::default()));
            let (found, _) = block_on(found(&store));
            for text in told.into_inner() {
                assert!(found.contains(&text), "seed {seed}, call {at}: {text} is lost");
            }
            assert!(found.iter().all(|text| texts.contains(text)), "{found:?}");
            if !cut {
                break;
            }
        }
    }
}
