//! Every operation is cut short at every one of its disk calls, by a kill and by power cuts with different outcomes;
//! then the store is opened again.

use crate::common::*;
use crate::crash_common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Snapshot, Uid};
use rmail_store::MailStore;
use rmail_store::mem::{End, Fault, MemDisk, Model, Outcome};

fn ends() -> Vec<End> {
    let mut ends = vec![End::Kill];
    for model in [Model::Adversary, Model::Ordered] {
        ends.push(End::Power(model, Outcome::Lost, 0));
        ends.push(End::Power(model, Outcome::Kept, 1));
        ends.extend((2..5).map(|seed| End::Power(model, Outcome::Random, seed)));
    }
    ends
}

/// What INBOX and Trash of alice say of themselves.
async fn numbers(store: &Store, mailbox: &str) -> Snapshot {
    let selected = store.select(&alice(), &name(mailbox), true).await;
    selected.expect("select").snapshot
}

async fn run(op: Op, at: u64, end: End, world: &MemDisk, expected: &(Tree, Tree)) -> bool {
    let disk = world.fork();
    let store = warm(&disk).await;
    let before = [numbers(&store, "INBOX").await, numbers(&store, "Trash").await];
    disk.fault(disk.calls() + at, Fault::Crash);
    let told = op.run(&store).await;
    let cut = disk.is_dead();
    assert!(
        cut || told.is_ok(),
        "{op:?} fails without a fault: {:?}",
        told.err()
    );
    drop(store);
    disk.end(end, at);
    let disk = disk.process();
    let store = open(&disk, Limits::small()).await;
    let what = format!("{op:?} cut at call {at} by {end:?}, told {}", told.is_ok());
    let after = tree(&store).await;
    check_tree(
        op,
        &what,
        told.is_ok(),
        matches!(end, End::Kill),
        &after,
        expected,
    );
    for (mailbox, before) in ["INBOX", "Trash"].into_iter().zip(before) {
        check_numbers(&store, mailbox, &before, &what).await;
    }
    let gone: &[u32] = match op {
        Op::Expunge => &[2, 3, 5],
        Op::Move => &[2, 3, 4, 5],
        Op::Replace => &[2],
        _ => &[],
    };
    if told.is_ok() {
        let log = logged(&disk, "INBOX").await;
        assert!(gone.iter().all(|uid| log.contains(Uid(*uid))), "{what}: {log:?}");
    }
    if let Ok(Some(told)) = &told {
        check_told(&store, told, &what).await;
    }
    cut
}

/// Nothing acknowledged is lost, nothing is half there.
fn check_tree(op: Op, what: &str, acknowledged: bool, kill: bool, after: &Tree, expected: &(Tree, Tree)) {
    let (old, new) = expected;
    if acknowledged && (op != Op::Flags || kill) {
        assert_eq!(after, new, "{what}");
        return;
    }
    // Each part is as it was or as it should be.
    let empty = Default::default();
    let keys = old.keys().chain(new.keys());
    for key in keys {
        let (old, new, after) = (old.get(key), new.get(key), after.get(key));
        let (old_messages, new_messages) = (old.unwrap_or(&empty), new.unwrap_or(&empty));
        let Some(after) = after else {
            assert!(old.is_none() || new.is_none(), "{what}: {key} is missing");
            continue;
        };
        for (text, copies) in after {
            let is =
                |messages: &std::collections::BTreeMap<String, Vec<_>>| messages.get(text) == Some(copies);
            assert!(
                is(old_messages) || is(new_messages),
                "{what}: {key} {text} {copies:?}"
            );
        }
        for text in old_messages
            .keys()
            .filter(|text| new_messages.contains_key(*text))
        {
            assert!(after.contains_key(text), "{what}: {key} {text} is lost");
        }
    }
    if op == Op::Move {
        for text in old["alice@example.com INBOX"].keys() {
            let places = ["alice@example.com INBOX", "alice@example.com Trash"];
            let found = places.iter().any(|place| after[*place].contains_key(text));
            assert!(found, "{what}: {text} is nowhere");
        }
    }
    if op == Op::Replace {
        let old = after["alice@example.com INBOX"].contains_key("in 1");
        let new = after["alice@example.com Trash"].contains_key("r");
        assert!(old || new, "{what}: neither the old nor the new");
    }
    if matches!(op, Op::Rename | Op::RenameUnder) {
        let found = ["work", op.renamed_to()].iter().any(|place| {
            let place = format!("alice@example.com {place}");
            let sub = format!("{place}/sub");
            after.get(&place).is_some_and(|m| m.contains_key("w")) && after[&sub].contains_key("s")
        });
        assert!(found, "{what}: nowhere");
    }
}

/// UIDVALIDITY stays, UIDNEXT and MODSEQ do not go back, and a new UID is really new.
async fn check_numbers(store: &Store, mailbox: &str, before: &Snapshot, what: &str) {
    let after = numbers(store, mailbox).await;
    assert_eq!(after.uid_validity, before.uid_validity, "{what}");
    assert!(
        after.uid_next >= before.uid_next && after.modseq >= before.modseq,
        "{what}"
    );
    let known: Vec<Uid> = after.rows.iter().map(|row| row.uid).collect();
    assert!(known.iter().all(|uid| *uid < after.uid_next), "{what}");
    assert!(
        known.is_sorted() && after.rows.iter().all(|row| row.modseq <= after.modseq),
        "{what}"
    );
    let uid = append(store, mailbox, "later", flags(Default::default(), &["more"])).await;
    let uid = uid.expect("append")[0];
    assert!(uid >= after.uid_next && !known.contains(&uid), "{what}");
    let last = numbers(store, mailbox).await;
    assert!(
        last.modseq > after.modseq && last.modseq > before.modseq,
        "{what}"
    );
}

/// A client that was told this much learns of every difference by its MODSEQ.
async fn check_told(store: &Store, told: &Snapshot, what: &str) {
    let now = numbers(store, "INBOX").await;
    assert!(
        now.uid_next >= told.uid_next && now.modseq >= told.modseq,
        "{what}"
    );
    for row in now.rows.iter() {
        let words = |snapshot: &Snapshot, row: &rmail_core::mailbox::Row| -> Vec<String> {
            let words = snapshot.keywords.of(row.keywords);
            words.map(|word| word.as_str().to_owned()).collect()
        };
        let same = told
            .rows
            .find(row.uid)
            .is_some_and(|(_, old)| old.flags == row.flags && words(told, old) == words(&now, row));
        assert!(
            same || now.rows.modseq(row) > told.modseq,
            "{what}: {row:?} differs unnoticed"
        );
    }
}

async fn expected(op: Op, world: &MemDisk) -> (Tree, Tree) {
    let disk = world.fork();
    let store = warm(&disk).await;
    let before = tree(&store).await;
    op.run(&store).await.expect("undisturbed");
    (before, tree(&store).await)
}

fn every_call(op: Op) {
    block_on(async {
        let world = MemDisk::new();
        world.set_tick(core::time::Duration::from_micros(700));
        set_up(&world).await;
        let expected = expected(op, &world).await;
        assert_ne!(expected.0, expected.1);
        let mut at = 1;
        let mut cut = true;
        while cut {
            for end in ends() {
                cut = run(op, at, end, &world, &expected).await;
            }
            at += 1;
        }
        assert!(at > 10, "{op:?} makes {at} calls");
    });
}

one_test_an_operation!(every_call);

#[test]
fn replace_message() {
    every_call(Op::Replace);
}
