//! Messages that keep their UIDs.

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Flags, Snapshot, SystemFlags, Uid, UidValidity};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::time::DateTime;
use rmail_store::error::Result;
use rmail_store::mem::{Fault, MemDisk, Model, Outcome};
use rmail_store::{MailStore, Numbering};

const OLD: UidValidity = UidValidity(1_234_567);

const DATE: DateTime = DateTime {
    unix: 837_596_665,
    zone: -420,
};

fn from_elsewhere() -> Numbering {
    Numbering {
        uid_validity: Some(OLD),
        uid_next: Some(Uid(50)),
    }
}

async fn put(store: &Store, mailbox: &str, numbering: Numbering, uids: &[u32]) -> Result<Snapshot> {
    let mut messages = Vec::new();
    for uid in uids {
        let with = flags(SystemFlags::FLAGGED, &["old"]);
        let body = spool(store, &format!("message {uid}")).await?;
        messages.push((Uid(*uid), body, with, Some(DATE)));
    }
    let appended = store
        .append_numbered(&alice(), &name(mailbox), numbering, messages, NOW)
        .await?;
    assert_eq!(appended.uids, uids.iter().copied().map(Uid).collect::<Vec<_>>());
    let selected = store.select(&alice(), &name(mailbox), true).await?;
    assert_eq!(appended.uid_validity, selected.snapshot.uid_validity);
    Ok(selected.snapshot)
}

#[test]
fn uids_uidvalidity_and_uidnext_are_kept() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("account");
        let before = select(&store, "INBOX").await.expect("select").1;
        let snapshot = put(&store, "INBOX", from_elsewhere(), &[3, 4, 17])
            .await
            .expect("append");
        assert_eq!(uids(&snapshot), [3, 4, 17]);
        assert_eq!((snapshot.uid_validity, snapshot.uid_next), (OLD, Uid(50)));
        assert!(snapshot.modseq > before.modseq);
        let row = snapshot.rows.get(2).expect("a row");
        assert_eq!(row.internal_date(), DATE);
        let mailbox = select(&store, "INBOX").await.expect("select").0;
        assert_eq!(body(&store, &mailbox, 17).await.as_deref(), Some("message 17"));

        // More of them, then ordinary ones; also for another process, and after a restart of the machine.
        let again = put(&store, "INBOX", from_elsewhere(), &[50, 60]).await;
        assert_eq!(uids(&again.expect("append")), [3, 4, 17, 50, 60]);
        let other = open(&disk.process(), Limits::small()).await;
        let new = append(&other, "INBOX", "new", Flags::default()).await;
        assert_eq!(new.expect("append"), [Uid(61)]);
        disk.kill();
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
        let store = open(&disk.process(), Limits::small()).await;
        let snapshot = select(&store, "INBOX").await.expect("select").1;
        assert_eq!(uids(&snapshot), [3, 4, 17, 50, 60, 61]);
        assert_eq!(snapshot.uid_validity, OLD);
    });
}

#[test]
fn what_would_break_a_promise_is_refused_and_changes_nothing() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("account");
        append(&store, "Sent", "x", Flags::default())
            .await
            .expect("append");
        let only_uids = Numbering::default();
        let none = Numbering {
            uid_validity: Some(UidValidity(0)),
            uid_next: None,
        };
        let last = Limits::small().last_uid;
        for (mailbox, numbering, uids, refusal) in [
            ("INBOX", only_uids, &[0][..], Refusal::NotPossible),
            ("INBOX", only_uids, &[5, 5], Refusal::NotPossible),
            ("INBOX", only_uids, &[5, 4], Refusal::NotPossible),
            ("INBOX", only_uids, &[last], Refusal::MailboxFull),
            ("INBOX", only_uids, &[u32::MAX], Refusal::MailboxFull),
            ("INBOX", none, &[1], Refusal::NotPossible),
            ("Sent", only_uids, &[1], Refusal::NotPossible),
            ("Sent", from_elsewhere(), &[60], Refusal::NotPossible),
            ("Nothing", only_uids, &[1], Refusal::NoSuchMailbox),
        ] {
            let before = messages(&store, &alice(), "Sent").await;
            let told = put(&store, mailbox, numbering, uids).await;
            assert_eq!(
                told.map_err(|error| error.refusal).err(),
                Some(refusal),
                "{mailbox} {uids:?}"
            );
            assert_eq!(messages(&store, &alice(), "Sent").await, before);
            let inbox = select(&store, "INBOX").await.expect("select").1;
            assert_eq!((inbox.rows.len(), inbox.uid_next), (0, Uid(1)));
            assert_ne!(inbox.uid_validity, OLD);
        }
        // A message that was expunged was there.
        let sent = select(&store, "Sent").await.expect("select").0;
        let delete = change(rmail_core::mailbox::FlagOp::Add, SystemFlags::DELETED, &[]);
        store.store(&sent, &all(), &delete, None).await.expect("store");
        store.expunge(&sent, None).await.expect("expunge");
        let told = put(&store, "Sent", from_elsewhere(), &[60]).await;
        assert_eq!(
            told.map_err(|error| error.refusal).err(),
            Some(Refusal::NotPossible)
        );
    });
}

#[test]
fn a_uidvalidity_from_elsewhere_is_not_given_to_another_mailbox() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("account");
        let ahead = UidValidity(u32::try_from(NOW.secs()).expect("small") + 1_000);
        let numbering = Numbering {
            uid_validity: Some(ahead),
            uid_next: None,
        };
        put(&store, "INBOX", numbering, &[]).await.expect("set");
        let inbox = select(&store, "INBOX").await.expect("select").1;
        assert_eq!((inbox.uid_validity, inbox.uid_next), (ahead, Uid(1)));
        store
            .create(&alice(), &name("later"), &[], NOW)
            .await
            .expect("create");
        let later = select(&store, "later").await.expect("select").1;
        assert!(later.uid_validity > ahead);
        // The end of the counter is not given away.
        let end = Numbering {
            uid_validity: Some(UidValidity(u32::MAX)),
            uid_next: None,
        };
        put(&store, "later", end, &[]).await.expect("set");
        store
            .create(&alice(), &name("last"), &[], NOW)
            .await
            .expect("create");
    });
}

/// Filling a mailbox is cut at every call; then it is done again with what is missing.
#[test]
fn after_a_kill_the_same_uids_can_be_given_again() {
    block_on(async {
        let world = MemDisk::new();
        let store = open(&world, Limits::small()).await;
        store.create_account(&alice(), NOW).await.expect("account");
        drop(store);
        world.kill();
        let mut at = 1;
        loop {
            let disk = world.fork();
            let store = open(&disk, Limits::small()).await;
            disk.fault(disk.calls() + at, Fault::Crash);
            let mut told = put(&store, "INBOX", from_elsewhere(), &[3, 4, 9]).await.map(drop);
            if told.is_ok() {
                told = put(&store, "INBOX", from_elsewhere(), &[60, 61]).await.map(drop);
            }
            let cut = disk.is_dead();
            assert!(cut || told.is_ok(), "{told:?}");
            drop(store);
            disk.kill();
            let store = open(&disk.process(), Limits::small()).await;
            let there = uids(&select(&store, "INBOX").await.expect("select").1);
            for part in [&[3, 4, 9][..], &[60, 61]] {
                let missing: Vec<u32> = part.iter().copied().filter(|uid| !there.contains(uid)).collect();
                assert!(
                    missing.is_empty() || missing == part,
                    "call {at}: half of it: {there:?}"
                );
                if !missing.is_empty() {
                    let again = put(&store, "INBOX", from_elsewhere(), &missing).await;
                    assert!(again.is_ok(), "call {at}: {:?}", again.err());
                }
            }
            let snapshot = select(&store, "INBOX").await.expect("select").1;
            assert_eq!(uids(&snapshot), [3, 4, 9, 60, 61], "call {at}");
            assert_eq!((snapshot.uid_validity, snapshot.uid_next), (OLD, Uid(62)));
            if !cut {
                break;
            }
            at += 1;
        }
        assert!(at > 20, "{at} calls");
    });
}
