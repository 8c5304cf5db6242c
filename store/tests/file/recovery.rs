//! What the store makes of lost, broken and copied files, of strangers' changes, and of power cuts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{FlagOp, Flags, ModSeq, SystemFlags, Uid};
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::file::expunged;
use rmail_store::mem::{Call, Fault, MemDisk, Model, Outcome};

const SEEN: SystemFlags = SystemFlags::SEEN;

fn random() -> Random {
    Random::from_seed([3; 32])
}

async fn filled(disk: &MemDisk) -> Store {
    let store = open(disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("create");
    for n in 0..6 {
        append(&store, "INBOX", &n.to_string(), flags(SEEN, &["k"]))
            .await
            .expect("append");
    }
    store
}

#[test]
fn lost_and_broken_files_cost_what_they_must_and_no_more() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        let (_, before) = select(&store, "INBOX").await.expect("select");
        drop(store);
        let dir = dir_of(&disk, "INBOX").await;
        // `state` lost, or of another file: the numbers go on from the ceilings.
        disk.unlink(&dir, "state").await.expect("unlink");
        let store = open(&disk.process(), Limits::small()).await;
        let (_, after) = select(&store, "INBOX").await.expect("select");
        assert_eq!(
            (after.uid_validity, uids(&after)),
            (before.uid_validity, uids(&before))
        );
        assert!(after.uid_next >= before.uid_next && after.modseq >= before.modseq);
        // The expunge log lost: nothing to be seen.
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        store
            .store(&mailbox, &set(&[2]), &deleted, None)
            .await
            .expect("store");
        store.expunge(&mailbox, None).await.expect("expunge");
        disk.unlink(&dir, "expunged").await.expect("unlink");
        let store = open(&disk.process(), Limits::small()).await;
        let (_, after) = select(&store, "INBOX").await.expect("select");
        assert_eq!(uids(&after), [1, 3, 4, 5, 6]);
        // `status.json` broken, then lost: a new UIDVALIDITY, the same messages.
        let mut validity = after.uid_validity;
        for broken in [true, false] {
            if broken {
                let file = disk.open(&dir, "status.json", Mode::Write).await.expect("open");
                disk.write_at(&file, b"}", 0).await.expect("write");
            } else {
                disk.unlink(&dir, "status.json").await.expect("unlink");
            }
            let store = open(&disk.process(), Limits::small()).await;
            let (_, rebuilt) = select(&store, "INBOX").await.expect("select");
            assert!(rebuilt.uid_validity > validity);
            assert_eq!(uids(&rebuilt), uids(&after));
            validity = rebuilt.uid_validity;
            deliver(&store, &[alice()], "more").await.expect("deliver");
            store.delete_account(&bob()).await.expect("nothing there");
            let found = messages(&store, &alice(), "INBOX").await;
            assert!(found["more"].iter().all(|(uid, ..)| *uid > 6));
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            store
                .store(
                    &mailbox,
                    &all(),
                    &change(FlagOp::Remove, SystemFlags::DELETED, &[]),
                    None,
                )
                .await
                .expect("store");
            let more = uids(&store.snapshot(&mailbox).await.expect("snapshot"));
            store
                .store(&mailbox, &set(&more[5..]), &deleted, None)
                .await
                .expect("store");
            store.expunge(&mailbox, None).await.expect("expunge");
        }
    });
}

#[test]
fn account_files_lost_do_not_repeat_a_uid_validity() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        let mut user = disk.root().clone();
        for level in ["domains", "example.com", "users", "alice"] {
            user = disk.open_dir(&user, level).await.expect("open");
        }
        let highest = async || {
            let mut values = Vec::new();
            for entry in store.list(&alice()).await.expect("list") {
                values.push(
                    store
                        .status(&alice(), &entry.name)
                        .await
                        .expect("status")
                        .uid_validity,
                );
            }
            values.into_iter().max().expect("some")
        };
        let before = highest().await;
        disk.unlink(&user, "account.json").await.expect("unlink");
        // The clock has been set back.
        store
            .create(&alice(), &name("new"), &[], rmail_core::time::Unix::from_secs(5))
            .await
            .expect("create");
        let status = store.status(&alice(), &name("new")).await.expect("status");
        assert!(status.uid_validity > before);
    });
}

#[test]
fn a_copied_tree_works_on_its_own() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        let (_, before) = select(&store, "INBOX").await.expect("select");
        let from = dir_of(&disk, "INBOX").await;
        let to = dir_of(&disk, "Archive").await;
        for file in ["status.json", "state", "keywords"] {
            let original = disk.open(&from, file, Mode::Read).await.expect("open");
            let mut bytes = vec![0; 4_096];
            let count = disk.read_at(&original, &mut bytes, 0).await.expect("read");
            let _ = disk.unlink(&to, file).await;
            let copy = disk.open(&to, file, Mode::Create).await.expect("open");
            disk.append(&copy, &bytes[..count]).await.expect("write");
        }
        let from = disk.open_dir(&from, "shards").await.expect("shards");
        let to = disk.open_dir(&to, "shards").await.expect("shards");
        for shard in names_of(&disk, &from).await {
            disk.make_dir(&to, &shard).await.expect("mkdir");
            let source = disk.open_dir(&from, &shard).await.expect("shard");
            let target = disk.open_dir(&to, &shard).await.expect("shard");
            for message in names_of(&disk, &source).await {
                disk.link(&source, &message, &target, &message)
                    .await
                    .expect("link");
            }
        }
        let store = open(&disk.process(), Limits::small()).await;
        let (_, copied) = select(&store, "Archive").await.expect("select");
        assert_eq!(uids(&copied), uids(&before));
        let (_, original) = select(&store, "INBOX").await.expect("select");
        assert_ne!(
            original.uid_validity, copied.uid_validity,
            "two mailboxes have two identities"
        );
        append(&store, "Archive", "more", Flags::default())
            .await
            .expect("append");
        assert_eq!(messages(&store, &alice(), "Archive").await.len(), 7);
        assert_eq!(messages(&store, &alice(), "INBOX").await.len(), 6);
    });
}

#[test]
fn a_power_cut_of_a_dirty_mailbox_makes_condstore_clients_look_again() {
    block_on(async {
        for flushed in [false, true] {
            let disk = MemDisk::new();
            let store = filled(&disk).await;
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            let add = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
            let told = store
                .store(&mailbox, &set(&[1, 5]), &add, None)
                .await
                .expect("store");
            if flushed {
                store.flush().await.expect("flush");
            }
            disk.power_cut(Model::Ordered, Outcome::Lost, &mut random());
            let disk = disk.process();
            let store = open(&disk, Limits::small()).await;
            let (mailbox, now) = select(&store, "INBOX").await.expect("select");
            let flagged = now
                .rows
                .iter()
                .filter(|row| row.flags.contains(SystemFlags::FLAGGED));
            assert_eq!(flagged.count(), if flushed { 2 } else { 0 });
            assert!(
                now.rows
                    .iter()
                    .all(|row| now.rows.modseq(row) > told.snapshot.modseq)
            );
            // Under a floor flags change as ever, and names are found.
            let stored = store
                .store(&mailbox, &set(&[2]), &add, Some(now.modseq))
                .await
                .expect("store");
            assert!(stored.modified.is_empty() && stored.snapshot.modseq > now.modseq);
            let old = Some(ModSeq(now.modseq.0 - 1));
            let refused = store.store(&mailbox, &set(&[3]), &add, old).await.expect("store");
            assert_eq!(refused.modified, set(&[3]));
            assert_eq!(body(&store, &mailbox, 3).await.as_deref(), Some("2"));
            let (moved, _) = store
                .r#move(&mailbox, &set(&[3]), &name("Trash"), NOW)
                .await
                .expect("move");
            assert_eq!(moved.target, [Uid(1)]);
        }
    });
}

#[test]
fn a_mailbox_without_flag_changes_for_a_while_is_clean_again() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let add = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        let told = store
            .store(&mailbox, &set(&[1]), &add, None)
            .await
            .expect("store")
            .snapshot;
        for _ in 0..40 {
            store.flush().await.expect("flush");
        }
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut random());
        let store = open(&disk.process(), Limits::small()).await;
        let (_, now) = select(&store, "INBOX").await.expect("select");
        assert_eq!(now.rows, told.rows, "nothing was lost, and no MODSEQ raised");
    });
}

#[test]
fn watchers_hear_of_changes_by_this_and_other_processes_and_of_the_end() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        let other = open(&disk.process(), Limits::small()).await;
        store
            .create(&alice(), &name("box"), &[], NOW)
            .await
            .expect("create");
        let (mailbox, snapshot) = select(&store, "box").await.expect("select");
        let heard = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&heard);
        let wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let scope = Scope::Mailbox(mailbox.clone());
        let _watch = store.hub().watch(scope, snapshot.modseq, wake);
        let told = || heard.swap(0, Ordering::Relaxed);
        store.poll_watched().await;
        assert_eq!(told(), 0, "nothing happened");
        append(&store, "box", "mine", Flags::default())
            .await
            .expect("append");
        assert!(told() > 0);
        store.snapshot(&mailbox).await.expect("snapshot");
        store.poll_watched().await;
        assert_eq!(told(), 0, "told already");
        append(&other, "box", "theirs", Flags::default())
            .await
            .expect("append");
        assert_eq!(told(), 0);
        store.poll_watched().await;
        assert!(told() > 0);
        assert_eq!(store.snapshot(&mailbox).await.expect("snapshot").rows.len(), 2);
        other.delete(&alice(), &name("box")).await.expect("delete");
        store.poll_watched().await;
        assert!(told() > 0);
        assert!(store.snapshot(&mailbox).await.is_err());
    });
}

#[test]
fn strangers_changes_are_found_by_the_sweep() {
    block_on(async {
        let disk = MemDisk::new();
        disk.set_tick(core::time::Duration::from_millis(5));
        let store = filled(&disk).await;
        let (mailbox, before) = select(&store, "INBOX").await.expect("select");
        let _watch = store
            .hub()
            .watch(Scope::Mailbox(mailbox.clone()), before.modseq, Arc::new(|| ()));
        let shards = disk
            .open_dir(&dir_of(&disk, "INBOX").await, "shards")
            .await
            .expect("shards");
        let shard = disk.open_dir(&shards, "000000").await.expect("shard");
        for message in names_of(&disk, &shard).await {
            if message.starts_with("0000000002.") {
                disk.unlink(&shard, &message).await.expect("unlink");
            }
            if message.starts_with("0000000003.") {
                let changed = message.replace(".s.", ".fs.");
                disk.rename(&shard, &message, &shard, &changed)
                    .await
                    .expect("rename");
            }
        }
        store.sweep_watched().await;
        let after = store.snapshot(&mailbox).await.expect("snapshot");
        assert_eq!(uids(&after), [1, 3, 4, 5, 6]);
        assert!(after.modseq > before.modseq);
        let (_, row) = after.rows.find(Uid(3)).expect("there");
        assert!(row.flags.contains(SystemFlags::FLAGGED));
        let dir = dir_of(&disk, "INBOX").await;
        let file = disk.open(&dir, "expunged", Mode::Read).await.expect("a log");
        let mut bytes = vec![0; 1_000];
        let count = disk.read_at(&file, &mut bytes, 0).await.expect("read");
        let log = expunged::decode(&bytes[..count]);
        let last = log.last().expect("a record");
        assert_eq!((last.first, last.last), (Uid(2), Uid(2)));
        assert!(last.modseq > before.modseq);
    });
}

#[test]
fn the_expunge_log_is_bounded() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        let deleted = flags(SystemFlags::DELETED, &[]);
        for n in 0..30 {
            append(&store, "INBOX", &n.to_string(), deleted.clone())
                .await
                .expect("append");
            append(&store, "INBOX", "stays", Flags::default())
                .await
                .expect("append");
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            store.expunge(&mailbox, None).await.expect("expunge");
        }
        let dir = dir_of(&disk, "INBOX").await;
        let file = disk.open(&dir, "expunged", Mode::Read).await.expect("a log");
        let mut bytes = vec![0; 4_096];
        let count = disk.read_at(&file, &mut bytes, 0).await.expect("read");
        let log = expunged::decode(&bytes[..count]);
        let bound = Limits::small().expunge_log;
        assert!(log.len() > bound / 2 && log.len() <= bound + 1, "{}", log.len());
        let (head, rest) = log.split_first().expect("a head");
        assert_eq!(head.first, Uid(0));
        assert!(head.modseq > ModSeq(1) && rest.iter().all(|record| record.modseq > head.modseq));
        assert_eq!(rest.last().map(|record| record.last), Some(Uid(59)));
        let shards = disk.open_dir(&dir, "shards").await.expect("shards");
        assert_eq!(names_of(&disk, &shards).await.len(), 16);
    });
}

#[test]
fn a_uid_that_was_expunged_is_not_used_again_after_a_power_cut() {
    block_on(async {
        for (uid_block, modseq_block) in [(4, 1 << 20), (1_000, 4), (1, 1)] {
            let limits = Limits {
                uid_block,
                modseq_block,
                ..Limits::small()
            };
            let disk = MemDisk::new();
            let store = open(&disk, limits).await;
            store.create_account(&alice(), NOW).await.expect("create");
            for n in 0..7 {
                let text = n.to_string();
                append(&store, "INBOX", &text, flags(SystemFlags::DELETED, &[]))
                    .await
                    .expect("append");
            }
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            let told = store.expunge(&mailbox, None).await.expect("expunge");
            disk.power_cut(Model::Adversary, Outcome::Lost, &mut random());
            let store = open(&disk.process(), limits).await;
            let (_, now) = select(&store, "INBOX").await.expect("select");
            assert!(now.uid_next >= told.uid_next && now.modseq >= told.modseq);
            let new = append(&store, "INBOX", "new", Flags::default())
                .await
                .expect("append");
            assert!(new[0] >= told.uid_next);
        }
    });
}

#[test]
fn a_lock_that_is_not_to_be_had_is_busy() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        let other = disk.process();
        let dir = dir_of(&other, "INBOX").await;
        let state = other.open(&dir, "state", Mode::Write).await.expect("open");
        let held = other
            .lock(&state, core::time::Duration::ZERO)
            .await
            .expect("lock");
        let refused = deliver(&store, &[alice()], "m").await.expect_err("locked");
        assert_eq!(refused.refusal, rmail_core::refusal::Refusal::Busy);
        drop(held);
        deliver(&store, &[alice()], "m").await.expect("deliver");
    });
}

#[test]
fn uids_end_before_they_repeat() {
    block_on(async {
        let limits = Limits {
            last_uid: 8,
            ..Limits::small()
        };
        let store = open(&MemDisk::new(), limits).await;
        let mut count = 0;
        let refused = loop {
            match deliver(&store, &[alice()], "m").await {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(
            (count, refused.refusal),
            (7, rmail_core::refusal::Refusal::MailboxFull)
        );
    });
}

#[test]
fn uids_go_on_above_all_that_exist_when_an_older_status_comes_back() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        let dir = dir_of(&disk, "INBOX").await;
        let old = octets_of(&disk, &dir, "status.json").await;
        for n in 0..9 {
            append(&store, "INBOX", &n.to_string(), Flags::default())
                .await
                .expect("append");
        }
        drop(store);
        // A restored copy of the small files, and no `state`.
        for name in ["status.json", "state"] {
            disk.unlink(&dir, name).await.expect("unlink");
        }
        let file = disk.open(&dir, "status.json", Mode::Create).await.expect("open");
        disk.write_at(&file, &old, 0).await.expect("write");
        let store = open(&disk.process(), Limits::small()).await;
        let new = append(&store, "INBOX", "new", Flags::default())
            .await
            .expect("append");
        assert!(new[0] >= Uid(10), "{new:?}");
        assert_eq!(messages(&store, &alice(), "INBOX").await.len(), 10);
        let (_, snapshot) = select(&store, "INBOX").await.expect("select");
        assert!(snapshot.rows.iter().all(|row| row.modseq <= snapshot.modseq));
    });
}

#[test]
fn the_second_name_of_a_rename_that_was_cut_short_does_not_come_back() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        let shard = dir_of_alice(&disk, "mailboxes/INBOX/shards/000000").await;
        let before = names_of(&disk, &shard).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        store
            .store(&mailbox, &set(&[2]), &deleted, None)
            .await
            .expect("store");
        drop(store);
        // Where names are changed by link and unlink, a kill leaves both.
        let old = before.iter().find(|name| name.starts_with("0000000002."));
        let now = names_of(&disk, &shard).await;
        let new = now.iter().find(|name| name.starts_with("0000000002."));
        let (old, new) = (old.expect("there"), new.expect("there"));
        disk.link(&shard, new, &shard, old).await.expect("link");
        let store = open(&disk.process(), Limits::small()).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        store.expunge(&mailbox, None).await.expect("expunge");
        let store = open(&disk.process(), Limits::small()).await;
        let (_, after) = select(&store, "INBOX").await.expect("select");
        assert_eq!(uids(&after), [1, 3, 4, 5, 6]);
    });
}

#[test]
fn a_record_of_an_expunge_that_failed_does_not_count_for_a_later_one() {
    block_on(async {
        let disk = MemDisk::new();
        disk.set_tick(core::time::Duration::from_millis(5));
        let store = filled(&disk).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        let doom = async |uid: u32| {
            let stored = store.store(&mailbox, &set(&[uid]), &deleted, None).await;
            stored.expect("store");
        };
        doom(3).await;
        let begun = disk.calls();
        disk.record();
        store.expunge(&mailbox, None).await.expect("expunge");
        let records = disk.take_records();
        let unlink = records.iter().find(|record| record.call == Call::Unlink);
        let unlink = unlink.expect("an unlink").number - begun;
        doom(2).await;
        disk.fault(disk.calls() + unlink, Fault::Errno(5));
        assert!(store.expunge(&mailbox, None).await.is_err());
        disk.clear_faults();
        let keep = change(FlagOp::Remove, SystemFlags::DELETED, &[]);
        let told = store
            .store(&mailbox, &set(&[2]), &keep, None)
            .await
            .expect("store")
            .snapshot;
        assert_eq!(uids(&told), [1, 2, 4, 5, 6]);
        // A stranger removes it, without a word.
        let shard = dir_of_alice(&disk, "mailboxes/INBOX/shards/000000").await;
        for message in names_of(&disk, &shard).await {
            if message.starts_with("0000000002.") {
                disk.unlink(&shard, &message).await.expect("unlink");
            }
        }
        let _watch = store
            .hub()
            .watch(Scope::Mailbox(mailbox.clone()), told.modseq, Arc::new(|| ()));
        store.sweep_watched().await;
        let dir = dir_of(&disk, "INBOX").await;
        let log = expunged::decode(&octets_of(&disk, &dir, "expunged").await);
        let newest = log.iter().rfind(|record| record.first == Uid(2));
        assert!(newest.expect("a record").modseq > told.modseq, "{log:?}");
    });
}

#[test]
fn a_copied_state_is_not_believed() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk).await;
        store.create_account(&bob(), NOW).await.expect("create");
        drop(store);
        // A copy of alice's INBOX for bob, made file by file while mail arrives.
        let from = dir_of(&disk, "INBOX").await;
        let to = dir_at(&disk, "domains/example.com/users/bob/mailboxes/INBOX").await;
        let state = octets_of(&disk, &from, "state").await;
        let store = open(&disk, Limits::small()).await;
        append(&store, "INBOX", "late", Flags::default())
            .await
            .expect("append");
        drop(store);
        for file in ["status.json", "state", "keywords"] {
            let bytes = match file {
                "state" => state.clone(),
                other => octets_of(&disk, &from, other).await,
            };
            let _ = disk.unlink(&to, file).await;
            let copy = disk.open(&to, file, Mode::Create).await.expect("open");
            disk.append(&copy, &bytes).await.expect("write");
        }
        let from = disk.open_dir(&from, "shards").await.expect("shards");
        let to = disk.open_dir(&to, "shards").await.expect("shards");
        for shard in names_of(&disk, &from).await {
            disk.make_dir(&to, &shard).await.expect("mkdir");
            let source = disk.open_dir(&from, &shard).await.expect("shard");
            let target = disk.open_dir(&to, &shard).await.expect("shard");
            for message in names_of(&disk, &source).await {
                let link = disk.link(&source, &message, &target, &message).await;
                link.expect("link");
            }
        }
        let store = open(&disk.process(), Limits::small()).await;
        assert_eq!(messages(&store, &bob(), "INBOX").await.len(), 7);
        deliver(&store, &[bob()], "new").await.expect("deliver");
        let found = messages(&store, &bob(), "INBOX").await;
        assert!(found["new"][0].0 > 7, "{found:?}");
    });
}
