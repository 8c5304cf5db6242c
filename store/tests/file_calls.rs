//! How many system calls, and which, the frequent operations make.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

mod file_common;

use file_common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, SystemFlags};
use rmail_store::MailStore;
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
        disk.record();
        deliver(&store, &[alice()], "second").await.expect("deliver");
        let one = calls(&disk);
        assert_eq!(
            one,
            [
                Call::OpenDir,
                Call::StatDir,
                Call::ReadAt,
                Call::OpenDir,
                Call::StatDir,
                Call::ReadAt,
                Call::CreateUnnamed,
                Call::WriteAt,
                Call::Sync,
                Call::Lock,
                Call::StatAt,
                Call::ReadAt,
                Call::WriteAt,
                Call::OpenDir,
                Call::LinkUnnamed,
                Call::WriteAt,
                Call::OpenDir,
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
        store
            .store(&mailbox, &set(&[1]), &seen, None)
            .await
            .expect("store");
        disk.record();
        store
            .store(&mailbox, &set(&[2]), &seen, None)
            .await
            .expect("store");
        assert_eq!(
            calls(&disk),
            [
                Call::Lock,
                Call::StatAt,
                Call::ReadAt,
                Call::WriteAt,
                Call::OpenDir,
                Call::Rename,
                Call::WriteAt,
                Call::ReadAt,
            ]
        );
        disk.record();
        store.flush().await.expect("flush");
        store.flush().await.expect("flush");
        assert_eq!(calls(&disk), [Call::OpenDir, Call::SyncDir]);
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
            store
                .store(&mailbox, &set(&[1]), &seen, None)
                .await
                .expect("store");
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
        let found = [Call::OpenDir, Call::StatDir, Call::ReadAt, Call::ReadAt];
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
