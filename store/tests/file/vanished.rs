//! What a client that comes back is told (CONDSTORE and QRESYNC, RFC 7162): with what has vanished and what has changed
//! since any MODSEQ that it could have been told, its picture becomes the present one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::common::*;
use futures_lite::future::block_on;
use proptest::prelude::*;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    FlagOp, Flags, MailboxRef, ModSeq, Quota, Snapshot, SystemFlags, Uid, UidSet, Vanished,
};
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::file::expunged::{self, Expunged};
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{MemDisk, Model, Outcome};

/// A client's picture of a mailbox: flags and keywords by UID.
type Picture = BTreeMap<u32, (u8, BTreeSet<String>)>;

fn picture(snapshot: &Snapshot) -> Picture {
    let of = |row: &rmail_core::mailbox::Row| {
        let words = snapshot.keywords.of(row.keywords);
        let words = words.map(|word| word.as_str().to_owned()).collect();
        (row.uid.0, (row.flags.0, words))
    };
    snapshot.rows.iter().map(of).collect()
}

/// What clients were told, and when.
#[derive(Default)]
struct Clients {
    told: RefCell<Vec<(ModSeq, Picture)>>,
}

impl Clients {
    fn tell(&self, snapshot: &Snapshot) {
        self.told.borrow_mut().push((snapshot.modseq, picture(snapshot)));
    }

    /// Every one of them comes back.
    async fn check(&self, store: &Store, mailbox: &MailboxRef, what: &str) -> usize {
        let snapshot = store.snapshot(mailbox).await.expect("snapshot");
        let present = picture(&snapshot);
        let mut exact = 0;
        let told = self.told.borrow().clone();
        for (since, old) in &told {
            assert!(*since <= snapshot.modseq, "{what}: HIGHESTMODSEQ goes back");
            let vanished = store
                .vanished(mailbox, *since, &snapshot)
                .await
                .expect("vanished");
            exact += usize::from(matches!(vanished, Vanished::These(_)));
            let known: UidSet = old.keys().copied().map(Uid).collect();
            for known in [known, all()] {
                let gone = vanished.among(&known, &snapshot);
                let mut now = old.clone();
                now.retain(|uid, _| !gone.contains(Uid(*uid)));
                for row in snapshot.rows.iter() {
                    assert!(
                        !gone.contains(row.uid),
                        "{what}: {:?} exists, {vanished:?}",
                        row.uid
                    );
                    if snapshot.rows.modseq(row) > *since {
                        now.insert(row.uid.0, present[&row.uid.0].clone());
                    }
                }
                assert_eq!(now, present, "{what}: since {since:?}, {vanished:?}");
            }
        }
        exact
    }
}

async fn deleted(store: &Store, mailbox: &MailboxRef, uids: &[u32]) {
    let add = change(FlagOp::Add, SystemFlags::DELETED, &[]);
    store.store(mailbox, &set(uids), &add, None).await.expect("store");
}

async fn expunge(store: &Store, mailbox: &MailboxRef, uids: &[u32]) -> Snapshot {
    deleted(store, mailbox, uids).await;
    store.expunge(mailbox, Some(&set(uids))).await.expect("expunge")
}

async fn filled(limits: Limits, count: usize) -> (MemDisk, Store, MailboxRef) {
    let disk = MemDisk::new();
    let store = open(&disk, limits).await;
    store.create_account(&alice(), NOW).await.expect("create");
    for n in 0..count {
        append(&store, "INBOX", &n.to_string(), Flags::default())
            .await
            .expect("append");
    }
    let (mailbox, _) = select(&store, "INBOX").await.expect("select");
    (disk, store, mailbox)
}

#[test]
fn the_log_is_exact_until_its_older_half_is_dropped() {
    block_on(async {
        let (_, store, mailbox) = filled(Limits::small(), 40).await;
        // The log begins with the first expunge: what went before it would not be in it.
        let first = expunge(&store, &mailbox, &[1]).await;
        let mut told = vec![first];
        for n in 1..20 {
            told.push(expunge(&store, &mailbox, &[2 * n + 1]).await);
        }
        let now = told.last().expect("the last").clone();
        let mut exact = Vec::new();
        for (at, then) in told.iter().enumerate() {
            match store
                .vanished(&mailbox, then.modseq, &now)
                .await
                .expect("vanished")
            {
                Vanished::These(uids) => {
                    let since: UidSet = (at + 1..20).map(|n| Uid(2 * n as u32 + 1)).collect();
                    assert_eq!(uids, since);
                    exact.push(at);
                }
                Vanished::Forgotten => assert!(exact.is_empty(), "it remembers what is older"),
            }
        }
        assert!(exact.len() >= 4 && exact.len() < 20, "{exact:?}");
        // As of an older snapshot: what came later is not told yet.
        let before = store.vanished(&mailbox, told[17].modseq, &told[18]).await;
        assert_eq!(before.expect("vanished"), Vanished::These(set(&[37])));
        // Nothing is missing: there is nothing to forget.
        let (_, store, mailbox) = filled(Limits::small(), 3).await;
        let now = store.snapshot(&mailbox).await.expect("snapshot");
        let none = store.vanished(&mailbox, ModSeq(1), &now).await;
        assert_eq!(none.expect("vanished"), Vanished::These(UidSet::new()));
    });
}

#[test]
fn a_log_that_is_lost_or_broken_forgets() {
    block_on(async {
        for broken in [false, true] {
            let (disk, store, mailbox) = filled(Limits::default(), 5).await;
            let before = expunge(&store, &mailbox, &[1]).await;
            let now = expunge(&store, &mailbox, &[3]).await;
            let these = store.vanished(&mailbox, before.modseq, &now).await;
            assert_eq!(these.expect("vanished"), Vanished::These(set(&[3])));
            let dir = dir_of(&disk, "INBOX").await;
            if broken {
                let file = disk.open(&dir, "expunged", Mode::Write).await.expect("open");
                disk.write_at(&file, b"x", 0).await.expect("write");
            } else {
                disk.unlink(&dir, "expunged").await.expect("rm");
            }
            let forgotten = store
                .vanished(&mailbox, before.modseq, &now)
                .await
                .expect("vanished");
            assert_eq!(forgotten, Vanished::Forgotten);
            assert_eq!(forgotten.among(&all(), &now), set(&[1, 3]));
            // From the next one on it is exact again.
            let told = expunge(&store, &mailbox, &[4]).await;
            let now = expunge(&store, &mailbox, &[5]).await;
            let these = store.vanished(&mailbox, told.modseq, &now).await;
            if !broken {
                assert_eq!(these.expect("vanished"), Vanished::These(set(&[5])));
            }
        }
    });
}

#[test]
fn what_a_stranger_removes_is_told_and_what_comes_back_is_not() {
    block_on(async {
        let (disk, store, mailbox) = filled(Limits::default(), 3).await;
        let before = expunge(&store, &mailbox, &[1]).await;
        let shard = dir_of(&disk, "INBOX/shards/000000").await;
        let names = names_of(&disk, &shard).await;
        let second = names
            .iter()
            .find(|name| name.starts_with("0000000002"))
            .expect("its name");
        disk.unlink(&shard, second).await.expect("rm");
        // Another process notices.
        let other = open(&disk.process(), Limits::default()).await;
        append(&other, "INBOX", "new", Flags::default())
            .await
            .expect("append");
        let now = store.snapshot(&mailbox).await.expect("snapshot");
        assert_eq!(uids(&now), [3, 4]);
        let these = store.vanished(&mailbox, before.modseq, &now).await;
        assert_eq!(these.expect("vanished"), Vanished::These(set(&[2])));
        // A record of a UID that exists (its unlink did not come to the disk) does not count.
        let dir = dir_of(&disk, "INBOX").await;
        let file = disk.open(&dir, "expunged", Mode::Write).await.expect("open");
        for record in expunged::records(now.modseq, &set(&[3])) {
            disk.append(&file, &Expunged::encode(&record))
                .await
                .expect("write");
        }
        let these = store.vanished(&mailbox, before.modseq, &now).await;
        assert_eq!(these.expect("vanished"), Vanished::These(set(&[2])));
    });
}

#[test]
fn what_move_takes_out_and_takes_back_is_told() {
    block_on(async {
        let (_, store, mailbox) = filled(Limits::default(), 4).await;
        let before = expunge(&store, &mailbox, &[1]).await;
        let (_, now) = store
            .r#move(&mailbox, &set(&[2, 4]), &name("Trash"), NOW)
            .await
            .expect("move");
        let these = store.vanished(&mailbox, before.modseq, &now).await;
        assert_eq!(these.expect("vanished"), Vanished::These(set(&[2, 4])));
    });
}

/// MOVE out of a mailbox that has had no flag change: another session sees it before it is synced, and then it is undone.
#[test]
fn a_removal_that_others_saw_and_a_power_cut_undid_is_told() {
    let (world, _, _) = block_on(filled(Limits::small(), 6));
    let (mut seed, mut stop) = (1, 200);
    while seed < 4 {
        let disk = world.fork();
        let clients = Clients::default();
        let mover = block_on(open(&disk.process(), Limits::small()));
        let looker = block_on(open(&disk.process(), Limits::small()));
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        let done = std::cell::Cell::new(false);
        exec.spawn(async {
            take(&mover, &Step::MoveOut(vec![1, 3])).await;
            done.set(true);
        });
        exec.spawn(async {
            let (mailbox, _) = select(&looker, "INBOX").await.expect("select");
            while !done.get() {
                clients.tell(&looker.snapshot(&mailbox).await.expect("snapshot"));
            }
        });
        for _ in 0..stop {
            exec.step();
        }
        drop(exec);
        mover.disk().kill();
        looker.disk().kill();
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
        let disk = disk.process();
        block_on(async {
            let store = open(&disk, Limits::small()).await;
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            clients.check(&store, &mailbox, &format!("cut at {stop}")).await;
        });
        stop += 1;
        if done.get() {
            (seed, stop) = (seed + 1, 200);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Flag(Vec<u32>, usize),
    Expunge(Vec<u32>),
    MoveOut(Vec<u32>),
    MoveIn,
    Copy(Vec<u32>),
    Look,
    Flush,
    Kill,
    Power(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let some = proptest::collection::vec(1..30_u32, 1..4);
    prop_oneof![
        3 => (1..4_usize).prop_map(Step::Append),
        3 => (some.clone(), 0..4_usize).prop_map(|(uids, word)| Step::Flag(uids, word)),
        4 => some.clone().prop_map(Step::Expunge),
        2 => some.clone().prop_map(Step::MoveOut),
        1 => Just(Step::MoveIn),
        1 => some.prop_map(Step::Copy),
        3 => Just(Step::Look),
        1 => Just(Step::Flush),
        1 => Just(Step::Kill),
        1 => any::<u8>().prop_map(Step::Power),
    ]
}

/// UIDs of the mailbox, not so many that most do not exist.
fn among(snapshot: &Snapshot, picks: &[u32]) -> Vec<u32> {
    let there = uids(snapshot);
    let mut some: Vec<u32> = picks
        .iter()
        .filter_map(|pick| there.get(*pick as usize % there.len().max(1)).copied())
        .collect();
    some.sort_unstable();
    some.dedup();
    some
}

async fn take(store: &Store, step: &Step) {
    let Ok((mailbox, snapshot)) = select(store, "INBOX").await else {
        return;
    };
    match step {
        Step::Append(count) => {
            for n in 0..*count {
                let _ = append(store, "INBOX", &n.to_string(), Flags::default()).await;
            }
        }
        Step::Flag(picks, word) => {
            let op = if word % 2 == 0 {
                FlagOp::Add
            } else {
                FlagOp::Replace
            };
            let change = change(op, SystemFlags::SEEN, &[&format!("k{word}")]);
            let _ = store
                .store(&mailbox, &set(&among(&snapshot, picks)), &change, None)
                .await;
        }
        Step::Expunge(picks) => {
            let chosen = set(&among(&snapshot, picks));
            let add = change(FlagOp::Add, SystemFlags::DELETED, &[]);
            let _ = store.store(&mailbox, &chosen, &add, None).await;
            let _ = store.expunge(&mailbox, Some(&chosen)).await;
        }
        Step::MoveOut(picks) => {
            let chosen = set(&among(&snapshot, picks));
            let _ = store.r#move(&mailbox, &chosen, &name("Trash"), NOW).await;
        }
        Step::MoveIn => {
            if let Ok((trash, _)) = select(store, "Trash").await {
                let _ = store.r#move(&trash, &all(), &inbox(), NOW).await;
            }
        }
        Step::Copy(picks) => {
            let chosen = set(&among(&snapshot, picks));
            let _ = store
                .copy(&mailbox, &chosen, &inbox(), &Quota::UNLIMITED, NOW)
                .await;
        }
        Step::Flush => {
            let _ = store.flush().await;
        }
        Step::Look | Step::Kill | Step::Power(_) => {}
    }
}

fn cut(disk: &MemDisk, seed: u8) {
    let model = if seed & 1 == 0 {
        Model::Adversary
    } else {
        Model::Ordered
    };
    let outcome = match seed / 2 % 4 {
        0 => Outcome::Lost,
        1 => Outcome::Kept,
        _ => Outcome::Random,
    };
    disk.power_cut(model, outcome, &mut Random::from_seed([seed; 32]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two processes in turn, killed and cut off in between.
    #[test]
    fn any_client_that_comes_back_gets_the_present_picture(steps in proptest::collection::vec((any::<bool>(), step()), 1..40)) {
        let (mut disk, _, _) = block_on(filled(Limits::small(), 6));
        let clients = Clients::default();
        block_on(async {
            let mut stores = [open(&disk, Limits::small()).await, open(&disk.process(), Limits::small()).await];
            for (at, (which, step)) in steps.iter().enumerate() {
                let store = &stores[usize::from(*which)];
                match step {
                    Step::Kill => stores[usize::from(*which)] = open(&disk.process(), Limits::small()).await,
                    Step::Power(seed) => {
                        cut(&disk, *seed);
                        disk = disk.process();
                        stores = [open(&disk, Limits::small()).await, open(&disk.process(), Limits::small()).await];
                    }
                    _ => take(store, step).await,
                }
                let store = &stores[usize::from(*which)];
                let (mailbox, snapshot) = select(store, "INBOX").await.expect("select");
                clients.tell(&snapshot);
                clients.check(store, &mailbox, &format!("step {at} {step:?}")).await;
            }
        });
    }

    /// Two processes at the same time, and a third that looks whenever it can; then one is killed, or all is cut off.
    #[test]
    fn also_after_a_cut_in_the_middle_of_it(
        seed in any::<u64>(),
        work in proptest::collection::vec(proptest::collection::vec(step(), 1..6), 2),
        stop in 20..1_500_usize,
        end in proptest::option::of(any::<u8>()),
    ) {
        let (disk, _, _) = block_on(filled(Limits::small(), 6));
        let clients = Clients::default();
        let stores = block_on(async {
            [open(&disk.process(), Limits::small()).await, open(&disk.process(), Limits::small()).await]
        });
        let looker = block_on(open(&disk.process(), Limits::small()));
        let mut key = [3; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut exec = Exec::new(Random::from_seed(key));
        for (store, steps) in stores.iter().zip(&work) {
            exec.spawn(async move {
                for step in steps {
                    take(store, step).await;
                }
            });
        }
        exec.spawn(async {
            for _ in 0..200 {
                if let Ok((_, snapshot)) = select(&looker, "INBOX").await {
                    clients.tell(&snapshot);
                }
            }
        });
        for _ in 0..stop {
            if !exec.step() {
                break;
            }
        }
        drop(exec);
        for store in &stores {
            store.disk().kill();
        }
        looker.disk().kill();
        if let Some(seed) = end {
            cut(&disk, seed);
        }
        let disk = disk.process();
        block_on(async {
            let store = open(&disk, Limits::small()).await;
            let (mailbox, snapshot) = select(&store, "INBOX").await.expect("select");
            clients.check(&store, &mailbox, "after the cut").await;
            clients.tell(&snapshot);
            // And once more, when life has gone on.
            take(&store, &Step::Expunge(vec![1, 2])).await;
            take(&store, &Step::Append(2)).await;
            clients.check(&store, &mailbox, "later").await;
        });
    }
}
