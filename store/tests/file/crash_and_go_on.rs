//! A process dies, or one of its calls fails; others go on with what it left, and rely on it. Then the power fails.

use crate::common::*;
use crate::crash_common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Snapshot, SystemFlags, Uid};
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::mem::{Call, Fault, MemDisk, Model, Outcome};

const EIO: i32 = 5;
/// With small blocks of numbers each change is promised by a `status.json` of its own; with large ones many changes rely on
/// one that somebody else wrote.
fn blocks() -> [Limits; 2] {
    // All that is expunged here fits into the log.
    let small = Limits {
        expunge_log: 64,
        ..Limits::small()
    };
    let large = Limits {
        uid_block: 8,
        modseq_block: 1 << 20,
        ..small
    };
    [small, large]
}

const MODELS: [Model; 2] = [Model::Adversary, Model::Ordered];
/// Operations that leave numbers, keywords and logs for others.
const LEAVERS: [Op; 6] = [
    Op::Deliver,
    Op::Append,
    Op::Flags,
    Op::Expunge,
    Op::Copy,
    Op::Move,
];

async fn world() -> MemDisk {
    let world = MemDisk::new();
    world.set_tick(core::time::Duration::from_micros(700));
    set_up(&world).await;
    world
}

fn cut(disk: &MemDisk, model: Model) {
    disk.power_cut(model, Outcome::Lost, &mut Random::from_seed([7; 32]));
}

async fn numbers(store: &Store, mailbox: &str) -> Snapshot {
    let selected = store.select(&alice(), &name(mailbox), true).await;
    selected.expect("select").snapshot
}

/// All the kinds of work that rely on what is there. Returns what was told in the end.
async fn go_on(store: &Store) -> [Snapshot; 2] {
    let words = flags(SystemFlags::SEEN, &["fresh", "old"]);
    append(store, "INBOX", "after", words).await.expect("append");
    let deleted = flags(SystemFlags::DELETED, &[]);
    for n in 0..2 {
        append(store, "Trash", &format!("doomed {n}"), deleted.clone())
            .await
            .expect("append");
    }
    let (trash, _) = select(store, "Trash").await.expect("select");
    store.expunge(&trash, None).await.expect("expunge");
    let (inbox, _) = select(store, "INBOX").await.expect("select");
    let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &["fresh"]);
    store
        .store(&inbox, &set(&[1]), &flagged, None)
        .await
        .expect("store");
    deliver(store, &[alice(), bob()], "post").await.expect("deliver");
    store.flush().await.expect("flush");
    let doomed = append(store, "INBOX", "doomed", deleted).await.expect("append");
    store
        .expunge(&inbox, Some(&doomed.into_iter().collect()))
        .await
        .expect("expunge");
    [numbers(store, "INBOX").await, numbers(store, "Trash").await]
}

/// After the power cut: all that was acknowledged in [`go_on`] is there, and no number is given again.
async fn check(disk: &MemDisk, gone: &[Uid], told: &[Snapshot; 2], what: &str) {
    let store = open(disk, Limits::small()).await;
    let found = tree(&store).await;
    let inbox = &found["alice@example.com INBOX"];
    let (flags, words) = &inbox["after"][0];
    assert_eq!(*flags, SystemFlags::SEEN.0, "{what}");
    assert!(words.iter().any(|word| word == "fresh"), "{what}: {words:?}");
    assert!(words.iter().any(|word| word == "old"), "{what}: {words:?}");
    let (flags, words) = &inbox["in 0"][0];
    assert!(SystemFlags(*flags).contains(SystemFlags::FLAGGED), "{what}");
    assert!(words.iter().any(|word| word == "fresh"), "{what}: {words:?}");
    assert!(inbox.contains_key("post"), "{what}");
    assert!(found["bob@example.com INBOX"].contains_key("post"), "{what}");
    let trash = &found["alice@example.com Trash"];
    assert!(!trash.keys().any(|text| text.starts_with("doomed")), "{what}");
    for (mailbox, told) in ["INBOX", "Trash"].into_iter().zip(told) {
        let now = numbers(&store, mailbox).await;
        assert_eq!(now.uid_validity, told.uid_validity, "{what}");
        assert!(now.uid_next >= told.uid_next, "{what}: UIDNEXT goes back");
        assert!(now.modseq >= told.modseq, "{what}: MODSEQ goes back");
        let uid = append(&store, mailbox, "later", Default::default())
            .await
            .expect("append")[0];
        assert!(uid >= told.uid_next, "{what}: {uid:?} is given again");
    }
    let log = logged(disk, "Trash").await;
    let next = told[1].uid_next.0;
    assert!(
        (next - 2..next).all(|uid| log.contains(Uid(uid))),
        "{what}: {next} {log:?}"
    );
    let log = logged(disk, "INBOX").await;
    for uid in gone {
        assert!(log.contains(*uid), "{what}: {uid:?} is not in the log {log:?}");
    }
}

/// UIDs of INBOX that have gone.
async fn gone_since(before: &Snapshot, store: &Store) -> Vec<Uid> {
    let now = numbers(store, "INBOX").await;
    let rows = before.rows.iter().map(|row| row.uid);
    rows.filter(|uid| now.rows.find(*uid).is_none()).collect()
}

/// A process that has worked a while: it has synced the directories once, and does not do so again without a reason.
async fn busy(disk: &MemDisk, limits: Limits) -> Store {
    let store = warm_with(disk, limits).await;
    for mailbox in ["INBOX", "Trash"] {
        append(&store, mailbox, "earlier", flags(SystemFlags::SEEN, &["old"]))
            .await
            .expect("append");
    }
    append(&store, "Trash", "earlier still", flags(SystemFlags::DELETED, &[]))
        .await
        .expect("append");
    let (trash, _) = select(&store, "Trash").await.expect("select");
    store.expunge(&trash, None).await.expect("expunge");
    let (inbox, _) = select(&store, "INBOX").await.expect("select");
    let answered = change(FlagOp::Add, SystemFlags::ANSWERED, &["old"]);
    store
        .store(&inbox, &set(&[6]), &answered, None)
        .await
        .expect("store");
    store
}

async fn killed(op: Op, at: u64, is_warm: bool, limits: Limits, model: Model, world: &MemDisk) -> bool {
    let disk = world.fork();
    let first = warm_with(&disk, limits).await;
    let second = disk.process();
    let other = if is_warm {
        busy(&second, limits).await
    } else {
        open(&second, limits).await
    };
    disk.fault(disk.calls() + at, Fault::Crash);
    let _ = op.run(&first).await;
    let was_cut = disk.is_dead();
    drop(first);
    disk.kill();
    let told = go_on(&other).await;
    // The last of INBOX was expunged.
    let gone = [Uid(told[0].uid_next.0 - 1)];
    drop(other);
    cut(&second, model);
    let what = format!(
        "{op:?} killed at call {at}, warm {is_warm}, UIDs by {}, {model:?}",
        limits.uid_block
    );
    check(&second.process(), &gone, &told, &what).await;
    was_cut
}

#[test]
fn others_rely_only_on_what_is_on_disk() {
    block_on(async {
        let world = world().await;
        for op in LEAVERS {
            let (mut at, mut more) = (1, true);
            while more {
                for (model, limits) in pairs() {
                    let both = [true, false];
                    let all = if model == Model::Adversary {
                        &both[..]
                    } else {
                        &both[..1]
                    };
                    for is_warm in all.iter().copied() {
                        more = killed(op, at, is_warm, limits, model, &world).await;
                    }
                }
                at += 1;
            }
        }
    });
}

/// The numbers are promised for long: no write of `status.json` happens to sync what others have made beside it.
#[test]
fn the_log_that_a_dead_process_made_is_on_disk_before_others_rely_on_it() {
    block_on(async {
        let limits = Limits {
            uid_block: 100,
            modseq_block: 1 << 20,
            ..Limits::small()
        };
        let world = MemDisk::new();
        set_up_with(&world, limits).await;
        let (mut at, mut more) = (1, true);
        while more {
            more = killed(Op::Expunge, at, true, limits, Model::Adversary, &world).await;
            at += 1;
        }
    });
}

fn pairs() -> impl Iterator<Item = (Model, Limits)> {
    MODELS
        .into_iter()
        .flat_map(|model| blocks().into_iter().map(move |limits| (model, limits)))
}

async fn failed(op: Op, at: u64, limits: Limits, model: Model, world: &MemDisk) -> bool {
    let disk = world.fork();
    let store = busy(&disk, limits).await;
    let before = numbers(&store, "INBOX").await;
    let end = disk.calls() + at;
    disk.fault(end, Fault::Errno(EIO));
    let _ = op.run(&store).await;
    let met = disk.calls() >= end;
    disk.clear_faults();
    // Also that of an expunge whose sync has failed: the next one makes up for it.
    let gone = gone_since(&before, &store).await;
    let told = go_on(&store).await;
    drop(store);
    cut(&disk, model);
    let what = format!(
        "{op:?} failed at call {at}, UIDs by {}, {model:?}",
        limits.uid_block
    );
    check(&disk.process(), &gone, &told, &what).await;
    met
}

#[test]
fn a_sync_that_failed_is_not_believed_later() {
    block_on(async {
        let world = world().await;
        for op in LEAVERS {
            let (mut at, mut more) = (1, true);
            while more {
                for (model, limits) in pairs() {
                    more = failed(op, at, limits, model, &world).await;
                }
                at += 1;
            }
        }
    });
}

/// What clients saw go stays gone, also if the operation failed afterwards, and the log says so.
#[test]
fn what_was_expunged_before_an_error_stays_gone() {
    block_on(async {
        let world = world().await;
        let mut partial = 0;
        for op in [Op::Expunge, Op::Move] {
            let disk = world.fork();
            let store = warm(&disk).await;
            let begun = disk.calls();
            disk.record();
            op.run(&store).await.expect("undisturbed");
            let calls = disk.take_records();
            for record in calls {
                // Whoever cannot sync, or find what to sync, cannot promise either.
                let counts = matches!(
                    record.call,
                    Call::Unlink | Call::Lock | Call::WriteAt | Call::ReadAt | Call::StatAt
                );
                if !counts {
                    continue;
                }
                let disk = world.fork();
                let store = warm(&disk).await;
                let before = numbers(&store, "INBOX").await;
                disk.fault(disk.calls() + record.number - begun, Fault::Errno(EIO));
                let failed = op.run(&store).await.is_err();
                let seen = numbers(&store, "INBOX").await;
                drop(store);
                cut(&disk, Model::Adversary);
                let disk = disk.process();
                let store = open(&disk, Limits::small()).await;
                let after = numbers(&store, "INBOX").await;
                let what = format!("{op:?} with EIO at {record:?}");
                assert_eq!(uids(&after), uids(&seen), "{what}");
                let log = logged(&disk, "INBOX").await;
                for row in before.rows.iter().filter(|row| seen.rows.find(row.uid).is_none()) {
                    assert!(log.contains(row.uid), "{what}: {:?} is not in the log", row.uid);
                    partial += usize::from(failed);
                }
            }
        }
        assert!(partial > 0, "no operation failed after a part of it");
    });
}

/// Flags that a STORE gave before it failed are as durable as those that were answered.
#[test]
fn flags_that_were_given_before_an_error_stay() {
    block_on(async {
        let world = world().await;
        let trial = world.fork();
        let store = warm(&trial).await;
        let begun = trial.calls();
        trial.record();
        Op::Flags.run(&store).await.expect("undisturbed");
        let mut partial = 0;
        for record in trial.take_records() {
            let disk = world.fork();
            let store = warm(&disk).await;
            let before = numbers(&store, "INBOX").await;
            disk.fault(disk.calls() + record.number - begun, Fault::Errno(EIO));
            let failed = Op::Flags.run(&store).await.is_err();
            store.flush().await.expect("flush");
            let seen = numbers(&store, "INBOX").await;
            drop(store);
            cut(&disk, Model::Adversary);
            let store = open(&disk.process(), Limits::small()).await;
            let after = numbers(&store, "INBOX").await;
            let flags_of = |snapshot: &Snapshot| -> Vec<(Uid, SystemFlags)> {
                snapshot.rows.iter().map(|row| (row.uid, row.flags)).collect()
            };
            assert_eq!(flags_of(&after), flags_of(&seen), "EIO at {record:?}");
            partial += usize::from(failed && flags_of(&before) != flags_of(&seen));
        }
        assert!(partial > 0, "no operation failed after a part of it");
    });
}

/// Whoever watches hears of all that was changed, also by an operation that failed afterwards.
#[test]
fn all_that_was_changed_is_announced() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rmail_core::machine::Scope;
    block_on(async {
        let world = world().await;
        for op in [Op::Flags, Op::Expunge, Op::Move] {
            let trial = world.fork();
            let store = warm(&trial).await;
            let begun = trial.calls();
            trial.record();
            op.run(&store).await.expect("undisturbed");
            let records = trial.take_records().len() as u64;
            // The last one is met by no call: nothing fails.
            for at in 1..=records + 1 {
                let disk = world.fork();
                let store = warm(&disk).await;
                assert_eq!(disk.calls(), begun);
                let (mailbox, before) = select(&store, "INBOX").await.expect("select");
                let heard = Arc::new(AtomicU64::new(0));
                let counter = Arc::clone(&heard);
                let wake = Arc::new(move || {
                    counter.fetch_add(1, Ordering::Relaxed);
                });
                let scope = Scope::Mailbox(mailbox.clone());
                let _watch = store.hub().watch(scope, before.modseq, wake);
                disk.fault(disk.calls() + at, Fault::Errno(EIO));
                let _ = op.run(&store).await;
                disk.clear_faults();
                let heard = heard.load(Ordering::Relaxed);
                let now = store.snapshot(&mailbox).await.expect("snapshot");
                let told = store.hub().watched();
                assert!(
                    now.rows == before.rows || heard > 0,
                    "{op:?} with EIO at call {at}"
                );
                assert!(
                    told.iter()
                        .all(|(_, told)| now.rows == before.rows || *told == now.modseq)
                );
            }
        }
    });
}

/// A process that has a mailbox open while another dies in deleting it: what it is told is stored is there afterwards.
#[test]
fn nothing_is_stored_in_a_mailbox_that_is_half_deleted() {
    block_on(async {
        let world = world().await;
        for (op, mailbox) in [(Op::Delete, "work/sub"), (Op::DeleteParent, "work")] {
            let (mut at, mut more, mut refused) = (1, true, 0);
            while more {
                let disk = world.fork();
                let first = warm(&disk).await;
                let other = warm(&disk.process()).await;
                disk.fault(disk.calls() + at, Fault::Crash);
                let _ = op.run(&first).await;
                more = disk.is_dead();
                drop(first);
                disk.kill();
                let stored = append(&other, mailbox, "late", Default::default()).await;
                let fresh = open(&disk.process(), Limits::small()).await;
                let found = tree(&fresh).await;
                let found = found.get(&format!("alice@example.com {mailbox}"));
                match stored {
                    Ok(_) => assert!(
                        found.is_some_and(|found| found.contains_key("late")),
                        "{op:?} killed at call {at}"
                    ),
                    Err(error) => {
                        assert_eq!(error.refusal, rmail_core::refusal::Refusal::NoSuchMailbox);
                        assert!(found.is_none(), "{op:?} killed at call {at}");
                        refused += 1;
                    }
                }
                at += 1;
            }
            assert!(refused > 1, "{op:?}");
        }
    });
}
