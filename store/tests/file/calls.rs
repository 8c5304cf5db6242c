//! How many system calls, and which, the frequent operations make.

use core::pin::pin;

use crate::common::*;
use futures_lite::future::{block_on, poll_once};
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagChange, FlagOp, Flags, MailboxRef, Quota, SystemFlags, UidSet};
use rmail_store::MailStore;
use rmail_store::disk::Disk as _;
use rmail_store::file::Options;
use rmail_store::mem::{Call, MemDisk};

fn calls(disk: &MemDisk) -> Vec<Call> {
    disk.take_records().iter().map(|record| record.call).collect()
}

fn count(calls: &[Call], kind: Call) -> usize {
    calls.iter().filter(|call| **call == kind).count()
}

#[test]
fn a_delivery_syncs_the_file_once_and_each_directory_once() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::default()).await;
        deliver(&store, &[alice(), bob()], "first")
            .await
            .expect("deliver");
        store.usage(&alice()).await.expect("usage");
        let text = spool(&store, "second").await.expect("spool");
        let to = [(alice(), octets(1 << 30))];
        disk.record();
        store.deliver(text, &to, None, NOW).await.expect("deliver");
        let one = calls(&disk);
        assert_eq!(
            one,
            [
                // Where INBOX is, and whether it has been deleted.
                Call::StatAt,
                Call::ReadAt,
                Call::CreateUnnamed,
                Call::WriteAt,
                Call::Sync,
                // The quota: reserved.
                Call::Lock,
                Call::ReadAt,
                Call::WriteAt,
                // Whether `state` still has its name, and what it says.
                Call::Lock,
                Call::StatAt,
                Call::ReadAt,
                Call::WriteAt,
                // What was reserved stands.
                Call::ReadAt,
                // Whether the shard that is kept open still has its name.
                Call::StatAt,
                Call::LinkUnnamed,
                Call::WriteAt,
                Call::SyncDir,
                // The parsed cache: the record, then its slot.
                Call::Lock,
                Call::StatAt,
                Call::WriteAt,
                Call::WriteAt,
            ]
        );
        disk.record();
        deliver(&store, &[alice(), bob()], "third")
            .await
            .expect("deliver");
        let two = calls(&disk);
        assert_eq!(count(&two, Call::CreateUnnamed), 1);
        assert_eq!(count(&two, Call::Sync), 1);
        assert_eq!(count(&two, Call::SyncDir), 2);
        assert_eq!((count(&two, Call::LinkUnnamed), count(&two, Call::Link)), (1, 1));
    });
}

#[test]
fn many_recipients_are_synced_by_one_call() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::default()).await;
        let accounts: Vec<_> = (0..9).map(|n| account(&format!("u{n}@x.y"))).collect();
        deliver(&store, &accounts, "first").await.expect("deliver");
        disk.record();
        deliver(&store, &accounts, "second").await.expect("deliver");
        let calls = calls(&disk);
        assert_eq!(
            (count(&calls, Call::SyncFs), count(&calls, Call::SyncDir)),
            (1, 0)
        );
    });
}

#[test]
fn a_flag_change_is_one_rename_and_the_flusher_syncs() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::default()).await;
        for n in 0..3 {
            deliver(&store, &[alice()], &n.to_string())
                .await
                .expect("deliver");
        }
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        flag(&store, &mailbox, 1, &seen).await;
        disk.record();
        flag(&store, &mailbox, 2, &seen).await;
        assert_eq!(
            calls(&disk),
            [
                Call::Lock,
                Call::StatAt,
                Call::ReadAt,
                Call::WriteAt,
                Call::StatAt,
                Call::Rename,
                Call::WriteAt,
            ]
        );
        disk.record();
        store.flush().await.expect("flush");
        store.flush().await.expect("flush");
        assert_eq!(calls(&disk), [Call::SyncDir]);
    });
}

#[test]
fn a_keyword_that_may_not_be_on_disk_is_not_given_at_once() {
    block_on(async {
        let disk = MemDisk::new();
        let before = open(&disk, Limits::default()).await;
        deliver(&before, &[alice()], "m").await.expect("deliver");
        let (mailbox, _) = select(&before, "INBOX").await.expect("select");
        let word = change(FlagOp::Add, SystemFlags(0), &["word"]);
        flag(&before, &mailbox, 1, &word).await;
        // The next start knows the keyword, but not whether it was synced.
        let disk = disk.process();
        let store = open(&disk, Limits::default()).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        flag(&store, &mailbox, 1, &seen).await;
        disk.set_yields(false);
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        assert!(store.store_now(&mailbox, &set(&[1]), &flagged, None).is_some());
        for op in [FlagOp::Remove, FlagOp::Replace] {
            let change = change(op, SystemFlags(0), &["word"]);
            disk.record();
            assert!(store.store_now(&mailbox, &set(&[1]), &change, None).is_none());
            assert_eq!(disk_syncs(&calls(&disk)), 0, "{op:?}");
        }
        let without = change(FlagOp::Remove, SystemFlags(0), &["word"]);
        flag(&store, &mailbox, 1, &without).await;
        disk.record();
        assert!(store.store_now(&mailbox, &set(&[1]), &word, None).is_some());
        assert_eq!(disk_syncs(&calls(&disk)), 0);
    });
}

#[test]
fn what_another_process_marked_clean_is_not_marked_dirty_at_once() {
    block_on(async {
        let disk = MemDisk::new();
        let (store, mailbox) = filled(&disk, 2).await;
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        flag(&store, &mailbox, 1, &seen).await;
        let other = open(&disk.process(), Limits::default()).await;
        let (theirs, _) = select(&other, "INBOX").await.expect("select");
        flag(&other, &theirs, 2, &seen).await;
        store.snapshot(&mailbox).await.expect("snapshot");
        other.close().await.expect("close");
        disk.set_yields(false);
        assert!(store.snapshot_now(&mailbox).is_some(), "nothing has changed");
        let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        disk.record();
        assert!(store.store_now(&mailbox, &set(&[1]), &flagged, None).is_none());
        assert_eq!(disk_syncs(&calls(&disk)), 0);
        flag(&store, &mailbox, 1, &flagged).await;
        disk.record();
        assert!(store.store_now(&mailbox, &set(&[2]), &flagged, None).is_some());
        assert_eq!(disk_syncs(&calls(&disk)), 0);
    });
}

#[test]
fn no_flag_is_changed_at_once_while_a_delivery_syncs() {
    block_on(async {
        let disk = MemDisk::new();
        let (store, mailbox) = filled(&disk, 2).await;
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        flag(&store, &mailbox, 1, &seen).await;
        // To another account: it holds no lock that this one needs.
        let accounts = [bob()];
        let mut delivery = pin!(deliver(&store, &accounts, "n"));
        let mut made = Vec::new();
        while !made.contains(&Call::Sync) {
            disk.record();
            assert!(poll_once(delivery.as_mut()).await.is_none(), "it ends by a sync");
            made.extend(calls(&disk));
        }
        disk.set_yields(false);
        assert!(store.store_now(&mailbox, &set(&[2]), &seen, None).is_none());
        delivery.await.expect("deliver");
        assert!(store.store_now(&mailbox, &set(&[2]), &seen, None).is_some());
    });
}

#[test]
fn a_flag_change_is_synced_at_once_if_told_so() {
    block_on(async {
        for options in [
            Options {
                flag_sync_ms: 0,
                ..Options::default()
            },
            Options {
                shared_by_hosts: true,
                ..Options::default()
            },
        ] {
            let disk = MemDisk::new();
            let store = open_with(&disk, Limits::default(), options).await;
            deliver(&store, &[alice()], "m").await.expect("deliver");
            let (mailbox, _) = select(&store, "INBOX").await.expect("select");
            let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
            disk.record();
            flag(&store, &mailbox, 1, &seen).await;
            let shards = calls(&disk);
            let after_rename = shards.iter().skip_while(|call| **call != Call::Rename);
            assert!(
                after_rename.clone().any(|call| *call == Call::SyncDir),
                "{options:?}"
            );
            let state = after_rename.filter(|call| **call == Call::Sync).count();
            assert_eq!(state, usize::from(options.shared_by_hosts));
        }
    });
}

#[test]
fn what_is_warm_costs_one_read() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::default()).await;
        deliver(&store, &[alice()], "m").await.expect("deliver");
        let (mailbox, snapshot) = select(&store, "INBOX").await.expect("select");
        disk.record();
        store.snapshot(&mailbox).await.expect("snapshot");
        assert_eq!(calls(&disk), [Call::ReadAt]);
        disk.record();
        store.status(&alice(), &inbox()).await.expect("status");
        // Once to see that it is not deleted, once for what it holds.
        let found = [Call::StatAt, Call::ReadAt, Call::ReadAt];
        assert_eq!(calls(&disk), found);
        assert_eq!(store.snapshot_now(&mailbox), None, "this disk yields");
        disk.set_yields(false);
        disk.record();
        assert_eq!(store.snapshot_now(&mailbox), Some(snapshot));
        assert_eq!(calls(&disk), [Call::ReadAt]);
        // Another process changes something: what is cached is not valid any more.
        let other = open(&disk.process(), Limits::default()).await;
        deliver(&other, &[alice()], "n").await.expect("deliver");
        assert_eq!(store.snapshot_now(&mailbox), None);
        assert_eq!(uids(&store.snapshot(&mailbox).await.expect("snapshot")), [1, 2]);
    });
}

/// Changes the flags of one message.
async fn flag(store: &Store, mailbox: &MailboxRef, uid: u32, change: &FlagChange) {
    let stored = store.store(mailbox, &set(&[uid]), change, None).await;
    stored.expect("store");
}

/// A store on a fresh disk with so many messages in alice's INBOX, selected.
async fn filled(disk: &MemDisk, count: usize) -> (Store, MailboxRef) {
    let store = open(disk, Limits::default()).await;
    store.create_account(&alice(), NOW).await.expect("create");
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push((spool(&store, "m").await.expect("spool"), Flags::default(), None));
    }
    let appended = store
        .append(&alice(), &inbox(), messages, &Quota::UNLIMITED, NOW)
        .await
        .expect("append");
    assert_eq!(appended.uids.len(), count);
    let (mailbox, _) = select(&store, "INBOX").await.expect("select");
    (store, mailbox)
}

#[test]
fn a_thousand_messages_are_copied_by_a_link_each_and_one_sync_per_shard() {
    block_on(async {
        let disk = MemDisk::new();
        let (store, mailbox) = filled(&disk, 1_500).await;
        let first = UidSet::from_ranges([(1, 10)]);
        let quota = Quota::UNLIMITED;
        let archive = name("Archive");
        let copied = store.copy(&mailbox, &first, &archive, &quota, NOW).await;
        assert_eq!(copied.expect("copy").0.target.len(), 10);
        disk.record();
        let thousand = UidSet::from_ranges([(501, 1_500)]);
        let copied = store.copy(&mailbox, &thousand, &archive, &quota, NOW).await;
        assert_eq!(copied.expect("copy").0.target.len(), 1_000);
        let calls = calls(&disk);
        // UIDs 11 to 1,010 of the target lie in two shards, of which the second is new.
        assert_eq!(count(&calls, Call::Link), 1_000);
        // The naming lock, and that of the parsed cache for each 256 records, which lie in two shards.
        assert_eq!(count(&calls, Call::Lock), 1 + 5);
        assert_eq!(count(&calls, Call::MakeDir), 1);
        let syncs = disk_syncs(&calls);
        assert_eq!(
            syncs,
            2 + 1 + 2,
            "two shards, the directory that got one, and the ceiling: {calls:?}"
        );
        let others = calls.len() - 1_000;
        assert!(others < 45 + 20, "{others} calls besides the links");
    });
}

/// Calls that wait for the disk.
fn disk_syncs(calls: &[Call]) -> usize {
    count(calls, Call::Sync) + count(calls, Call::SyncDir) + count(calls, Call::SyncFs)
}

#[test]
fn a_thousand_messages_are_expunged_by_an_unlink_each_and_one_sync_per_shard() {
    block_on(async {
        let disk = MemDisk::new();
        let (store, mailbox) = filled(&disk, 1_500).await;
        let thousand = UidSet::from_ranges([(401, 1_400)]);
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        disk.record();
        store
            .store(&mailbox, &thousand, &deleted, None)
            .await
            .expect("store");
        let flagged = calls(&disk);
        let holds = 1_000_usize.div_ceil(Limits::default().names_per_hold);
        assert_eq!(
            (count(&flagged, Call::Rename), count(&flagged, Call::Lock)),
            (1_000, holds)
        );
        disk.record();
        let left = store.expunge(&mailbox, Some(&thousand)).await.expect("expunge");
        assert_eq!(left.rows.len(), 500);
        let calls = calls(&disk);
        assert_eq!(count(&calls, Call::Unlink), 1_000);
        // The two files of the parsed cache are more than half dead now.
        assert_eq!(count(&calls, Call::Lock), holds + 2);
        // The log, the entry of the log, and two shards.
        assert_eq!(disk_syncs(&calls), 4, "{calls:?}");
        let others = calls.len() - 1_000;
        assert!(
            others <= 12 * holds + 10 + 30,
            "{others} calls besides the unlinks in {holds} holds"
        );
    });
}

#[test]
fn a_shard_that_was_made_again_gets_the_next_message() {
    block_on(async {
        let disk = MemDisk::new();
        let (store, mailbox) = filled(&disk, 1).await;
        deliver(&store, &[alice()], "before").await.expect("deliver");
        // Somebody puts a copy of the shard in its place.
        let shards = dir_of(&disk, "INBOX/shards").await;
        let old = disk.open_dir(&shards, "000000").await.expect("the shard");
        disk.rename(&shards, "000000", &shards, "away")
            .await
            .expect("moved");
        disk.make_dir(&shards, "000000").await.expect("made");
        let new = disk.open_dir(&shards, "000000").await.expect("the new shard");
        for entry in names_of(&disk, &old).await {
            disk.link(&old, &entry, &new, &entry).await.expect("linked");
        }
        deliver(&store, &[alice()], "after").await.expect("deliver");
        assert_eq!(names_of(&disk, &new).await.len(), 3);
        assert_eq!(names_of(&disk, &old).await.len(), 2);
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        flag(&store, &mailbox, 2, &seen).await;
        let flagged = names_of(&disk, &new)
            .await
            .into_iter()
            .filter(|name| name.contains(".s."));
        assert_eq!(flagged.count(), 1);
        // And by another process, which removes it as well.
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        store
            .store(&mailbox, &all(), &deleted, None)
            .await
            .expect("store");
        store.expunge(&mailbox, None).await.expect("expunge");
        disk.remove_dir(&shards, "000000").await.expect("removed");
        disk.make_dir(&shards, "000000").await.expect("made");
        deliver(&store, &[alice()], "last").await.expect("deliver");
        assert_eq!(messages(&store, &alice(), "INBOX").await.len(), 1);
    });
}
