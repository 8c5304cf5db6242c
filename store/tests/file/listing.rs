//! LIST and STATUS of many mailboxes: what they need not read again, and that they see every change.

use core::time::Duration;

use crate::common::*;
use futures_lite::future::block_on;
use proptest::prelude::*;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, SpecialUse, SystemFlags};
use rmail_store::MailStore;
use rmail_store::mem::{Call, MemDisk};

async fn ticking() -> MemDisk {
    let disk = MemDisk::new();
    disk.set_tick(Duration::from_micros(700));
    disk
}

#[test]
fn a_second_list_looks_at_each_level_once_and_reads_what_has_changed() {
    block_on(async {
        let disk = ticking().await;
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        store
            .create(&alice(), &name("a/b"), &[], NOW)
            .await
            .expect("create");
        disk.set_clock(Duration::from_secs(100));
        let other = open(&disk.process(), Limits::small()).await;
        let first = other.list(&alice()).await.expect("list");
        assert_eq!(first.len(), 8);
        let list = async || {
            disk.record();
            let entries = other.list(&alice()).await.expect("list");
            let records = disk.take_records();
            let opened = records.iter().filter(|record| record.on == "status.json");
            let opened = opened.filter(|record| record.call == Call::Open).count();
            let looks = records
                .iter()
                .filter(|record| record.call == Call::StatAt)
                .count();
            (entries, opened, looks)
        };
        assert_eq!(list().await, (first.clone(), 0, 8));
        store
            .create(&alice(), &name("a/c"), &[SpecialUse::Flagged], NOW)
            .await
            .expect("create");
        disk.set_clock(Duration::from_secs(200));
        let (second, opened, _) = list().await;
        assert_eq!((second.len(), opened), (9, 1));
        let new = second.iter().find(|entry| entry.name == name("a/c"));
        assert_eq!(new.expect("there").special_use, [SpecialUse::Flagged]);
        // What has just been made may change without a sign.
        disk.set_tick(Duration::ZERO);
        store
            .create(&alice(), &name("d"), &[], NOW)
            .await
            .expect("create");
        assert_eq!(list().await.1, 1);
        assert_eq!(list().await.1, 1);
        disk.set_clock(Duration::from_secs(300));
        assert_eq!((list().await.1, list().await.1), (1, 0));
    });
}

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Delete(usize),
    Rename(usize, usize),
    Wait,
}

const NAMES: [&str; 6] = ["a", "a/b", "a/b/c", "d", "d/e", "Archive"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..NAMES.len()).prop_map(Step::Create),
        2 => (0..NAMES.len()).prop_map(Step::Delete),
        1 => (0..NAMES.len(), 0..NAMES.len()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => Just(Step::Wait),
    ];
    proptest::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn who_lists_again_and_again_sees_what_a_new_process_sees(steps in steps()) {
        block_on(async {
            let disk = ticking().await;
            let store = open(&disk, Limits::small()).await;
            store.create_account(&alice(), NOW).await.expect("create");
            let long = open(&disk.process(), Limits::small()).await;
            let mut clock = 100;
            for step in steps {
                // Refusals are part of it.
                match step {
                    Step::Create(n) => drop(store.create(&alice(), &name(NAMES[n]), &[], NOW).await),
                    Step::Delete(n) => drop(store.delete(&alice(), &name(NAMES[n])).await),
                    Step::Rename(from, to) => {
                        drop(store.rename(&alice(), &name(NAMES[from]), &name(NAMES[to]), NOW).await);
                    }
                    Step::Wait => {
                        clock += 1;
                        disk.set_clock(Duration::from_secs(clock));
                    }
                }
                let new = open(&disk.process(), Limits::small()).await;
                let expected = new.list(&alice()).await.expect("list");
                assert_eq!(long.list(&alice()).await.expect("list"), expected);
            }
        });
    }
}

#[test]
fn status_of_more_mailboxes_than_are_kept_open_lists_none_again() {
    block_on(async {
        let disk = ticking().await;
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        let names: Vec<String> = (0..150).map(|n| format!("m{n}")).collect();
        for text in &names {
            store
                .create(&alice(), &name(text), &[], NOW)
                .await
                .expect("create");
            append(&store, text, "x", Flags::default()).await.expect("append");
        }
        drop(store);
        let ours = open(&disk.process(), Limits::small()).await;
        let poll = async || {
            disk.record();
            let mut all = Vec::new();
            for text in &names {
                all.push(ours.status(&alice(), &name(text)).await.expect("status"));
            }
            let records = disk.take_records();
            let count = |call| records.iter().filter(|record| record.call == call).count();
            (all, count(Call::List), count(Call::Lock))
        };
        let (first, lists, _) = poll().await;
        assert!(lists >= names.len());
        assert!(
            first
                .iter()
                .all(|status| (status.messages, status.unseen) == (1, 1))
        );
        assert_eq!(poll().await, (first.clone(), 0, 0));
        let theirs = open(&disk.process(), Limits::small()).await;
        append(&theirs, "m0", "y", Flags::default())
            .await
            .expect("append");
        let (mailbox, _) = select(&theirs, "m149").await.expect("select");
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        theirs.store(&mailbox, &all(), &seen, None).await.expect("store");
        theirs.delete(&alice(), &name("m3")).await.expect("delete");
        theirs
            .create(&alice(), &name("m3"), &[], NOW)
            .await
            .expect("create");
        let (second, ..) = poll().await;
        for (n, (before, now)) in first.iter().zip(&second).enumerate() {
            match n {
                0 => assert_eq!((now.messages, now.recent), (2, 2)),
                3 => assert_eq!(now.messages, 0),
                149 => assert_eq!((now.unseen, now.recent), (0, 0)),
                _ => assert_eq!(before, now),
            }
        }
    });
}
