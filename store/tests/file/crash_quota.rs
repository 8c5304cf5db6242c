//! Every operation is cut short, or fails, at every one of its disk calls: the usage record is never too low, and right
//! once it was counted.

use crate::common::*;
use crate::crash_common::*;
use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::limits::Limits;
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::mem::{Fault, MemDisk, Model, Outcome};

/// `ENOSPC` and `EIO`.
const ERRORS: [i32; 2] = [28, 5];

/// A disk whose accounts have been counted.
async fn counted() -> MemDisk {
    let disk = MemDisk::new();
    set_up(&disk).await;
    let disk = disk.process();
    let store = open(&disk, Limits::small()).await;
    for account in [alice(), bob()] {
        store.recount(&account).await.expect("recount");
    }
    drop(store);
    disk.kill();
    disk.process()
}

async fn check(disk: &MemDisk, account: &AccountName, exact: bool, what: &str) {
    // Names of a change that was not finished go when somebody opens the mailbox.
    let store = open(disk, Limits::small()).await;
    for entry in store.list(account).await.expect("list") {
        if entry.selectable {
            let selected = store.select(account, &entry.name, true).await;
            selected.unwrap_or_else(|error| panic!("{what}: {} {error}", entry.name));
        }
    }
    let there = on_disk(disk, account).await;
    let record = usage_record(disk, account).await;
    if let Some(record) = record.filter(|record| record.known && record.boot == disk_boot(disk)) {
        let high = record.usage.octets >= there.octets && record.usage.messages >= there.messages;
        assert!(high, "{what}: {record:?}, there is {there:?}");
        assert!(
            !exact || record.usage == there,
            "{what}: {record:?}, there is {there:?}"
        );
    } else {
        assert!(!exact, "{what}: {record:?}");
    }
    let counted = store.recount(account).await.expect("recount");
    assert_eq!(counted, there, "{what}");
    assert_eq!(store.usage(account).await.expect("usage"), there, "{what}");
}

fn disk_boot(disk: &MemDisk) -> u128 {
    use rmail_store::disk::Disk as _;
    disk.boot_id()
}

fn every_call(op: Op) {
    let world = block_on(counted());
    for at in 1.. {
        let disk = world.fork();
        let cut = block_on(async {
            let store = warm(&disk).await;
            disk.fault(disk.calls() + at, Fault::Crash);
            let result = op.run(&store).await;
            let cut = disk.is_dead();
            assert!(cut || result.is_ok(), "{op:?}: {:?}", result.err());
            disk.kill();
            cut
        });
        let power = disk.fork();
        block_on(async {
            let what = format!("{op:?} cut at call {at}");
            for account in [alice(), bob()] {
                check(&disk.process(), &account, !cut, &what).await;
            }
            let mut random = Random::from_seed([at.to_le_bytes()[0]; 32]);
            power.power_cut(Model::Adversary, Outcome::Random, &mut random);
            for account in [alice(), bob()] {
                check(&power.process(), &account, false, &format!("{what}, power")).await;
            }
        });
        if !cut {
            break;
        }
    }
}

fn every_error(op: Op) {
    let world = block_on(counted());
    for error in ERRORS {
        for at in 1.. {
            let disk = world.fork();
            let reached = block_on(async {
                let store = warm(&disk).await;
                let before = disk.calls();
                disk.fault(before + at, Fault::Errno(error));
                let _ = op.run(&store).await;
                let reached = disk.calls() >= before + at;
                disk.clear_faults();
                reached
            });
            block_on(async {
                let what = format!("{op:?}: call {at} fails with {error}");
                for account in [alice(), bob()] {
                    check(&disk.process(), &account, !reached, &what).await;
                }
            });
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn delivery() {
    every_call(Op::Deliver);
    every_error(Op::Deliver);
}

#[test]
fn append() {
    every_call(Op::Append);
    every_error(Op::Append);
    every_call(Op::AppendNumbered);
}

#[test]
fn expunge() {
    every_call(Op::Expunge);
    every_error(Op::Expunge);
}

#[test]
fn copy() {
    every_call(Op::Copy);
    every_error(Op::Copy);
}

#[test]
fn moves() {
    every_call(Op::Move);
    every_error(Op::Move);
}

#[test]
fn deletion_of_mailboxes() {
    for op in [Op::Delete, Op::DeleteParent, Op::Rename] {
        every_call(op);
    }
    every_error(Op::Delete);
}
