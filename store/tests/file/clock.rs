//! Clocks that jump, back and far ahead: those of the callers, and that of the file system.

use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{FlagOp, Flags, Quota, SystemFlags};
use rmail_core::time::Unix;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::mem::MemDisk;

/// Now, a day ago, the beginning of time, beyond 2106, and now.
const TIMES: [Unix; 6] = [
    NOW,
    Unix::from_secs(1_699_913_600),
    Unix::from_secs(0),
    Unix::from_secs(u64::MAX / 2),
    Unix::from_secs(5),
    NOW,
];

async fn validity(store: &Store, mailbox: &str) -> u32 {
    let selected = store
        .select(&alice(), &name(mailbox), true)
        .await
        .expect("select");
    store.unselect(&selected.mailbox).await;
    selected.snapshot.uid_validity.0
}

#[test]
fn a_mailbox_that_is_made_again_gets_a_higher_uidvalidity_whatever_the_clock_says() {
    for lost in [false, true] {
        block_on(async {
            let disk = MemDisk::new();
            let store = open(&disk, Limits::small()).await;
            store.create_account(&alice(), TIMES[0]).await.expect("alice");
            let mut last = 0;
            for now in TIMES {
                if lost {
                    let dir = dir_of_alice(&disk, "").await;
                    disk.unlink(&dir, "account.json").await.expect("the counter");
                }
                store
                    .create(&alice(), &name("again"), &[], now)
                    .await
                    .expect("create");
                let now = validity(&store, "again").await;
                assert!(now > last, "{now} after {last}");
                last = now;
                if !lost {
                    // With the counter lost, only mailboxes that are there can tell.
                    store.delete(&alice(), &name("again")).await.expect("delete");
                } else {
                    let kept = format!("kept {now}");
                    store
                        .rename(&alice(), &name("again"), &name(&kept), NOW)
                        .await
                        .expect("rename");
                }
            }
        });
    }
}

#[test]
fn a_mailbox_that_is_rebuilt_by_a_slow_clock_gets_a_higher_uidvalidity() {
    block_on(async {
        let disk = MemDisk::new();
        disk.set_clock(Duration::from_secs(NOW.secs()));
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("alice");
        append(&store, "INBOX", "one", Flags::default())
            .await
            .expect("append");
        let before = validity(&store, "INBOX").await;
        drop(store);
        disk.set_clock(Duration::from_secs(1));
        let dir = dir_of(&disk, "INBOX").await;
        let file = disk.open(&dir, "status.json", Mode::Write).await.expect("open");
        disk.write_at(&file, b"broken", 0).await.expect("write");
        let store = open(&disk.process(), Limits::small()).await;
        assert!(validity(&store, "INBOX").await > before);
        assert!(messages(&store, &alice(), "INBOX").await.contains_key("one"));
    });
}

#[test]
fn uids_and_modseqs_ascend_whatever_the_clock_says() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("alice");
        let (mailbox, first) = select(&store, "INBOX").await.expect("select");
        let (mut modseq, mut expected) = (first.modseq, Vec::new());
        for (n, now) in (1..).zip(TIMES) {
            disk.set_clock(Duration::from_secs(now.secs().min(1 << 40)));
            let text = spool(&store, &format!("message {n}")).await.expect("spool");
            store
                .append(
                    &alice(),
                    &inbox(),
                    vec![(text, Flags::default(), None)],
                    &Quota::UNLIMITED,
                    now,
                )
                .await
                .expect("append");
            expected.push(n);
            let snapshot = store.snapshot(&mailbox).await.expect("snapshot");
            assert_eq!(uids(&snapshot), expected);
            assert!(snapshot.modseq > modseq);
            modseq = snapshot.modseq;
            store.tidy().await.expect("tidy");
        }
        let texts = messages(&store, &alice(), "INBOX").await;
        assert_eq!(
            texts.len(),
            TIMES.len(),
            "each can be opened, and tidying took none"
        );
    });
}

/// Which shards have changed is told by time stamps: after a jump back, those of before lie in the future.
#[test]
fn what_others_change_is_seen_after_the_file_systems_clock_was_set_back() {
    block_on(async {
        let disk = MemDisk::new();
        disk.set_tick(Duration::from_micros(50));
        disk.set_clock(Duration::from_secs(NOW.secs()));
        let ours = open(&disk, Limits::small()).await;
        ours.create_account(&alice(), NOW).await.expect("alice");
        for n in 0..10 {
            append(&ours, "INBOX", &format!("{n}"), Flags::default())
                .await
                .expect("append");
        }
        let theirs = open(&disk.process(), Limits::small()).await;
        let (mailbox, _) = select(&ours, "INBOX").await.expect("select");
        let (their, _) = select(&theirs, "INBOX").await.expect("select");
        for (round, back) in (0..).zip([0, 3_600, 1, 86_400, 40 * 86_400]) {
            disk.set_clock(Duration::from_secs(NOW.secs() - back));
            let word = format!("word{round}");
            let add = change(FlagOp::Add, SystemFlags::default(), &[&word]);
            for uid in [1, 5, 9] {
                theirs
                    .store(&their, &set(&[uid]), &add, None)
                    .await
                    .expect("store");
            }
            let snapshot = ours.snapshot(&mailbox).await.expect("snapshot");
            let has = |row: &&rmail_core::mailbox::Row| {
                let mut words = snapshot.keywords.of(row.keywords);
                words.any(|keyword| keyword.as_str() == word)
            };
            let have: Vec<u32> = snapshot.rows.iter().filter(has).map(|row| row.uid.0).collect();
            assert_eq!(have, [1, 5, 9], "round {round}");
            // Somebody without a lock removes a message; the sweep finds that too.
            let gone = 2 + round;
            let shard = dir_of(&disk, "INBOX/shards/000000").await;
            let names = names_of(&disk, &shard).await;
            let file = names.iter().find(|name| name.starts_with(&format!("{gone:010}")));
            let Some(file) = file else {
                continue;
            };
            disk.unlink(&shard, file).await.expect("unlink");
            let scope = Scope::Mailbox(mailbox.clone());
            let watch = ours.hub().watch(scope, snapshot.modseq, Arc::new(|| {}));
            ours.sweep_watched().await;
            drop(watch);
            let now = ours.snapshot(&mailbox).await.expect("snapshot");
            assert!(!uids(&now).contains(&gone), "round {round}");
        }
    });
}
