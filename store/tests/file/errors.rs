//! One disk call of an operation fails; the operation fails whole (or as its documentation says), and works when it is
//! tried again.

use crate::common::*;
use crate::crash_common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, SystemFlags};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_store::MailStore as _;
use rmail_store::mem::{Call, Fault, MemDisk, Model, Outcome};

const EIO: i32 = 5;
const EXDEV: i32 = 18;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EMLINK: i32 = 31;

async fn world() -> MemDisk {
    let world = MemDisk::new();
    world.set_tick(core::time::Duration::from_micros(700));
    set_up(&world).await;
    world
}

/// Whether the fault was met.
async fn fails_whole(op: Op, at: u64, fault: Fault, world: &MemDisk, expected: &(Tree, Tree)) -> bool {
    let disk = world.fork();
    let store = warm(&disk).await;
    let end = disk.calls() + at;
    disk.fault(end, fault);
    let result = op.run(&store).await;
    let met = disk.calls() >= end;
    disk.clear_faults();
    let what = format!("{op:?} with {fault:?} at call {at}: {:?}", result.as_ref().err());
    let after = tree(&store).await;
    match &result {
        Ok(_) => assert_eq!(after, expected.1, "{what}"),
        Err(_) if op.is_partial() => no_message_is_lost(&after, expected, &what),
        Err(_) => assert_eq!(after, expected.0, "{what}"),
    }
    if let Err(error) = result {
        let want = match fault {
            Fault::Errno(ENOSPC) | Fault::Short(ENOSPC) => Refusal::DiskFull,
            _ => Refusal::Storage,
        };
        assert_eq!(error.refusal, want, "{what}");
        assert!(!error.context.is_empty(), "{what}");
        op.run(&store)
            .await
            .unwrap_or_else(|error| panic!("{what}, and again: {error}"));
        assert_eq!(tree(&store).await, expected.1, "{what}, and again");
    }
    // Another process sees the same.
    let other = open(&disk.process(), Limits::small()).await;
    drop(store);
    disk.kill();
    assert_eq!(tree(&other).await, expected.1, "{what}, for another process");
    met
}

fn no_message_is_lost(after: &Tree, expected: &(Tree, Tree), what: &str) {
    let texts = |tree: &Tree| -> std::collections::BTreeSet<String> {
        tree.values()
            .flat_map(|messages| messages.keys().cloned())
            .collect()
    };
    let after = texts(after);
    for text in texts(&expected.0).intersection(&texts(&expected.1)) {
        assert!(after.contains(text), "{what}: {text}");
    }
}

fn every_call(op: Op) {
    block_on(async {
        let world = world().await;
        let disk = world.fork();
        let store = warm(&disk).await;
        let before = tree(&store).await;
        op.run(&store).await.expect("undisturbed");
        let expected = (before, tree(&store).await);
        let mut at = 1;
        let mut met = true;
        while met {
            for fault in [
                Fault::Errno(ENOSPC),
                Fault::Errno(EIO),
                Fault::Errno(EMFILE),
                Fault::Short(ENOSPC),
            ] {
                met = fails_whole(op, at, fault, &world, &expected).await;
            }
            at += 1;
        }
        assert!(at > 10, "{op:?} makes {at} calls");
    });
}

one_test_an_operation!(every_call);

#[test]
fn a_full_disk_refuses_and_recovers() {
    block_on(async {
        let world = world().await;
        // RENAME needs no room.
        for op in OPS
            .into_iter()
            .filter(|op| !matches!(op, Op::Rename | Op::RenameUnder))
        {
            let disk = world.fork();
            let store = warm(&disk).await;
            let before = tree(&store).await;
            disk.set_full(true);
            let error = op.run(&store).await.expect_err("full");
            assert_eq!(error.refusal, Refusal::DiskFull, "{op:?}: {error}");
            disk.set_full(false);
            assert_eq!(tree(&store).await, before, "{op:?}");
            op.run(&store)
                .await
                .unwrap_or_else(|error| panic!("{op:?}: {error}"));
        }
    });
}

/// The numbers of the calls of one kind that an operation makes.
async fn calls_of(op: Op, kind: Call, world: &MemDisk) -> Vec<u64> {
    let disk = world.fork();
    let store = warm(&disk).await;
    let before = disk.calls();
    disk.record();
    op.run(&store).await.expect("undisturbed");
    let records = disk.take_records();
    let calls = records.iter().filter(|record| record.call == kind);
    calls.map(|record| record.number - before).collect()
}

#[test]
fn what_cannot_be_linked_is_copied() {
    block_on(async {
        let world = world().await;
        for op in [Op::Deliver, Op::Copy, Op::Move] {
            let links = calls_of(op, Call::Link, &world).await;
            assert!(links.len() >= 2, "{op:?}");
            let disk = world.fork();
            let store = warm(&disk).await;
            op.run(&store).await.expect("undisturbed");
            let expected = tree(&store).await;
            for at in links {
                for number in [EXDEV, EMLINK, 1, 2] {
                    let disk = world.fork();
                    let store = warm(&disk).await;
                    disk.fault(disk.calls() + at, Fault::Errno(number));
                    op.run(&store)
                        .await
                        .unwrap_or_else(|error| panic!("{op:?} {at} {number}: {error}"));
                    assert_eq!(tree(&store).await, expected, "{op:?} {at} {number}");
                    store.flush().await.expect("flush");
                    drop(store);
                    disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
                    let store = open(&disk.process(), Limits::small()).await;
                    assert_eq!(
                        tree(&store).await,
                        expected,
                        "{op:?} {at} {number}, and a power cut"
                    );
                }
            }
        }
    });
}

#[test]
fn a_uid_that_another_host_may_have_seen_is_not_given_again() {
    block_on(async {
        let options = rmail_store::file::Options {
            shared_by_hosts: true,
            ..Default::default()
        };
        let disk = MemDisk::new();
        let store = open_with(&disk, Limits::small(), options).await;
        store.create_account(&alice(), NOW).await.expect("create");
        let first = append(&store, "INBOX", "one", Flags::default()).await;
        let first = first.expect("append")[0];
        let begun = disk.calls();
        disk.record();
        append(&store, "INBOX", "two", Flags::default())
            .await
            .expect("append");
        let records = disk.take_records();
        let link = records.iter().position(|record| record.call == Call::LinkUnnamed);
        let mut after = records[link.expect("a link")..].iter();
        let sync = after.find(|record| record.call == Call::Sync);
        let sync = sync.expect("a sync of state").number - begun;
        disk.fault(disk.calls() + sync, Fault::Errno(5));
        // It was visible for a moment.
        append(&store, "INBOX", "three", Flags::default())
            .await
            .expect_err("EIO");
        disk.clear_faults();
        let next = append(&store, "INBOX", "four", Flags::default()).await;
        assert!(next.expect("append")[0].0 > first.0 + 2);
        let found = messages(&store, &alice(), "INBOX").await;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["four", "one", "two"]);
    });
}

#[test]
fn flags_whose_sync_failed_are_synced_by_the_next() {
    block_on(async {
        let disk = MemDisk::new();
        set_up(&disk).await;
        let disk = disk.process();
        let store = open(&disk, Limits::small()).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let add = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        store
            .store(&mailbox, &set(&[1, 5]), &add, None)
            .await
            .expect("store");
        // Open, sync of one shard.
        disk.fault(disk.calls() + 3, Fault::Errno(5));
        store.flush().await.expect_err("EIO");
        disk.clear_faults();
        store.flush().await.expect("flush");
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
        let store = open(&disk.process(), Limits::small()).await;
        let (_, now) = select(&store, "INBOX").await.expect("select");
        let flagged = now.rows.iter();
        let flagged = flagged.filter(|row| row.flags.contains(SystemFlags::FLAGGED));
        assert_eq!(flagged.count(), 2);
    });
}
