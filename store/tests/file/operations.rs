//! Every operation of the file store, on a disk in memory.

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::imap::server::MailboxEntry;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, ModSeq, Quota, SpecialUse, SystemFlags, Uid};
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};
use rmail_store::MailStore;
use rmail_store::mem::MemDisk;

const SEEN: SystemFlags = SystemFlags::SEEN;
const DELETED: SystemFlags = SystemFlags::DELETED;

fn small() -> Limits {
    Limits::small()
}

#[test]
fn a_new_account_has_the_default_mailboxes() {
    block_on(async {
        let store = open(&MemDisk::new(), small()).await;
        assert_eq!(store.list(&alice()).await.expect("list"), []);
        store.create_account(&alice(), NOW).await.expect("create");
        store.create_account(&alice(), NOW).await.expect("again");
        let list = store.list(&alice()).await.expect("list");
        let names: Vec<&str> = list.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
        assert!(
            list.iter()
                .all(|entry| entry.subscribed && entry.selectable && entry.exists)
        );
        assert_eq!(list[1].special_use, [SpecialUse::Drafts]);
        let mut validities = Vec::new();
        for entry in &list {
            let status = store.status(&alice(), &entry.name).await.expect("status");
            assert_eq!((status.messages, status.uid_next), (0, Uid(1)));
            validities.push(status.uid_validity.0);
        }
        validities.sort_unstable();
        validities.dedup();
        assert_eq!(validities.len(), 6);
        assert!(validities[0] >= 1_700_000_000);
    });
}

#[test]
fn deliver_append_and_read_back() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, small()).await;
        for n in 0..10 {
            deliver(&store, &[alice(), bob(), alice()], &format!("message {n}"))
                .await
                .expect("deliver");
        }
        let date = DateTime { unix: -5, zone: -90 };
        let text = spool(&store, "appended").await.expect("spool");
        let with = flags(SEEN, &["$Forwarded", "b"]);
        let appended = store
            .append(
                &alice(),
                &inbox(),
                vec![(text, with, Some(date))],
                &Quota::UNLIMITED,
                NOW,
            )
            .await
            .expect("append");
        assert_eq!(appended.uids, [Uid(11)]);
        let (mailbox, snapshot) = select(&store, "INBOX").await.expect("select");
        assert_eq!(uids(&snapshot), (1..=11).collect::<Vec<_>>());
        assert_eq!(
            (snapshot.uid_next, snapshot.uid_validity),
            (Uid(12), appended.uid_validity)
        );
        assert_eq!(body(&store, &mailbox, 4).await.as_deref(), Some("message 3"));
        let row = snapshot.rows.get(10).expect("row");
        assert_eq!((row.internal_date(), row.size, row.flags), (date, 8, SEEN));
        let keywords: Vec<&str> = snapshot.keywords.of(row.keywords).map(|k| k.as_str()).collect();
        assert_eq!(keywords, ["$Forwarded", "b"]);
        assert!(snapshot.rows.iter().zip(1..).all(|(row, n)| row.uid == Uid(n)));
        assert_eq!(store.usage(&alice()).await.expect("usage").octets, 10 * 9 + 8);
        assert_eq!(messages(&store, &bob(), "INBOX").await.len(), 10);
        // A new process reads the same.
        let other = open(&disk.process(), small()).await;
        let (_, again) = select(&other, "INBOX").await.expect("select");
        assert_eq!(again, snapshot);
    });
}

#[test]
fn several_messages_come_together_and_a_large_one_by_a_file() {
    block_on(async {
        let limits = Limits {
            spool_memory: 10,
            ..small()
        };
        let store = open(&MemDisk::new(), limits).await;
        store.create_account(&alice(), NOW).await.expect("create");
        let mut messages = Vec::new();
        for text in ["one", "two that is longer than memory", "three"] {
            messages.push((spool(&store, text).await.expect("spool"), Flags::default(), None));
        }
        let appended = store
            .append(&alice(), &name("Sent"), messages, &Quota::UNLIMITED, NOW)
            .await
            .expect("append");
        assert_eq!(appended.uids, [Uid(1), Uid(2), Uid(3)]);
        let (mailbox, snapshot) = select(&store, "Sent").await.expect("select");
        let modseqs: Vec<ModSeq> = snapshot.rows.iter().map(|row| row.modseq).collect();
        assert!(modseqs.iter().all(|modseq| *modseq == snapshot.modseq));
        let long = body(&store, &mailbox, 2).await;
        assert_eq!(long.as_deref(), Some("two that is longer than memory"));
    });
}

#[test]
fn flags_change_by_rename() {
    block_on(async {
        let store = open(&MemDisk::new(), small()).await;
        for n in 0..6 {
            deliver(&store, &[alice()], &n.to_string())
                .await
                .expect("deliver");
        }
        let (mailbox, before) = select(&store, "INBOX").await.expect("select");
        let add = change(FlagOp::Add, SEEN, &["x"]);
        let stored = store
            .store(&mailbox, &set(&[1, 3, 5, 9]), &add, None)
            .await
            .expect("store");
        assert!(stored.modified.is_empty() && stored.snapshot.modseq > before.modseq);
        let of = |snapshot: &rmail_core::mailbox::Snapshot| -> Vec<(u8, usize)> {
            let rows = snapshot.rows.iter();
            rows.map(|row| (row.flags.0, snapshot.keywords.of(row.keywords).count()))
                .collect()
        };
        assert_eq!(
            of(&stored.snapshot),
            [(8, 1), (0, 0), (8, 1), (0, 0), (8, 1), (0, 0)]
        );
        let same = store
            .store(&mailbox, &set(&[1, 3]), &add, None)
            .await
            .expect("store");
        assert_eq!(same.snapshot.modseq, stored.snapshot.modseq, "nothing changed");
        let remove = change(FlagOp::Remove, SEEN, &["x", "never-seen"]);
        let since = Some(before.modseq);
        let stored = store
            .store(&mailbox, &all(), &remove, since)
            .await
            .expect("store");
        assert_eq!(stored.modified, set(&[1, 3, 5]));
        let replace = change(FlagOp::Replace, DELETED, &["y"]);
        let stored = store
            .store(&mailbox, &set(&[1]), &replace, None)
            .await
            .expect("store");
        assert_eq!(stored.snapshot.rows.get(0).expect("row").flags, DELETED);
        assert_eq!(
            stored.snapshot.keywords.names().len(),
            2,
            "an unknown one is not made to be removed"
        );
        assert_eq!(body(&store, &mailbox, 1).await.as_deref(), Some("0"));
    });
}

#[test]
fn keywords_are_bounded_and_wide_sets_survive() {
    block_on(async {
        let disk = MemDisk::new();
        let limits = Limits {
            keywords: 100,
            ..small()
        };
        let store = open(&disk, limits).await;
        let names: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        store.create_account(&alice(), NOW).await.expect("create");
        append(&store, "INBOX", "m", flags(SEEN, &names))
            .await
            .expect("append");
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let more = change(FlagOp::Add, SEEN, &["one-more"]);
        let refused = store
            .store(&mailbox, &set(&[1]), &more, None)
            .await
            .expect_err("full");
        assert_eq!(refused.refusal, Refusal::TooManyKeywords);
        let known = change(FlagOp::Remove, SEEN, &["K99"]);
        store
            .store(&mailbox, &set(&[1]), &known, None)
            .await
            .expect("store");
        let other = open(&disk.process(), limits).await;
        let found = messages(&other, &alice(), "INBOX").await;
        assert_eq!(found["m"][0].2, names[..99]);
    });
}

#[test]
fn expunge_removes_what_is_deleted() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, small()).await;
        for n in 0..9 {
            deliver(&store, &[alice()], &n.to_string())
                .await
                .expect("deliver");
        }
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let deleted = change(FlagOp::Add, DELETED, &[]);
        store
            .store(&mailbox, &set(&[1, 2, 3, 5, 6]), &deleted, None)
            .await
            .expect("store");
        let open_blob = store.open(&mailbox, Uid(5)).await.expect("open").expect("there");
        let snapshot = store
            .expunge(&mailbox, Some(&set(&[5, 7])))
            .await
            .expect("expunge");
        assert_eq!(uids(&snapshot), [1, 2, 3, 4, 6, 7, 8, 9]);
        let snapshot = store.expunge(&mailbox, None).await.expect("expunge");
        assert_eq!(uids(&snapshot), [4, 7, 8, 9]);
        assert!(body(&store, &mailbox, 6).await.is_none());
        let mut octet = [0; 4];
        let read = store
            .read(&open_blob, &mut octet, 0)
            .await
            .expect("still readable");
        assert_eq!((read, octet[0]), (1, b'4'));
        deliver(&store, &[alice()], "new").await.expect("deliver");
        let other = open(&disk.process(), small()).await;
        let (_, again) = select(&other, "INBOX").await.expect("select");
        assert_eq!(uids(&again), [4, 7, 8, 9, 10]);
    });
}

#[test]
fn copy_and_move_translate_keywords() {
    block_on(async {
        let store = open(&MemDisk::new(), small()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        append(&store, "Trash", "t", flags(SEEN, &["z", "y"]))
            .await
            .expect("append");
        for (text, words) in [
            ("a", &["x"][..]),
            ("b", &["y"]),
            ("c", &[]),
            ("d", &["x", "y"]),
            ("e", &[]),
        ] {
            append(&store, "INBOX", text, flags(SEEN, words))
                .await
                .expect("append");
        }
        let (source, before) = select(&store, "INBOX").await.expect("select");
        let later = Unix::from_secs(NOW.secs() + 60);
        let (copied, snapshot) = store
            .copy(
                &source,
                &set(&[2, 4, 77]),
                &name("Trash"),
                &Quota::UNLIMITED,
                later,
            )
            .await
            .expect("copy");
        assert_eq!(
            (copied.source, copied.target),
            (vec![Uid(2), Uid(4)], vec![Uid(2), Uid(3)])
        );
        assert_eq!(snapshot, before);
        let (moved, snapshot) = store
            .r#move(&source, &set(&[1, 3, 4]), &name("Trash"), later)
            .await
            .expect("move");
        assert_eq!(moved.target, [Uid(4), Uid(5), Uid(6)]);
        assert_eq!(uids(&snapshot), [2, 5]);
        let trash = messages(&store, &alice(), "Trash").await;
        let texts: Vec<&str> = trash.keys().map(String::as_str).collect();
        assert_eq!(texts, ["a", "b", "c", "d", "t"]);
        assert_eq!(trash["d"].len(), 2);
        assert_eq!(trash["a"][0].2, ["x"]);
        assert_eq!(trash["d"][0].2, ["y", "x"]);
        let status = store.status(&alice(), &name("Trash")).await.expect("status");
        assert_eq!((status.messages, status.unseen, status.size), (6, 0, 6));
        let missing = store
            .copy(&source, &all(), &name("Nowhere"), &Quota::UNLIMITED, NOW)
            .await;
        assert_eq!(missing.expect_err("none").refusal, Refusal::NoSuchMailbox);
        // Within one mailbox messages get new UIDs.
        let (moved, snapshot) = store
            .r#move(&source, &set(&[2]), &inbox(), NOW)
            .await
            .expect("move");
        assert_eq!((moved.target, uids(&snapshot)), (vec![Uid(6)], vec![5, 6]));
    });
}

fn shown(list: &[MailboxEntry]) -> Vec<String> {
    list.iter()
        .filter(|entry| {
            !["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"].contains(&entry.name.as_str())
        })
        .map(|entry| {
            let mark = |on, c| if on { c } else { "" };
            format!(
                "{}{}{}{}",
                entry.name,
                mark(!entry.selectable, "-"),
                mark(!entry.exists, "?"),
                mark(entry.subscribed, "+")
            )
        })
        .collect()
}

#[test]
fn mailboxes_are_made_renamed_and_deleted() {
    block_on(async {
        let store = open(&MemDisk::new(), small()).await;
        let alice = alice();
        let list = async || shown(&store.list(&alice).await.expect("list"));
        let create = async |text: &str| store.create(&alice, &name(text), &[], NOW).await;
        create("a/b/c").await.expect("create");
        create("..x/%").await.expect("create");
        create("a b").await.expect("create");
        assert_eq!(
            create("a/b").await.expect_err("there").refusal,
            Refusal::MailboxExists
        );
        assert_eq!(list().await, ["..x", "..x/%", "a", "a b", "a/b", "a/b/c"]);
        append(&store, "a/b", "kept", Flags::default())
            .await
            .expect("append");
        append(&store, "a/b/c", "also", Flags::default())
            .await
            .expect("append");
        store.delete(&alice, &name("a")).await.expect("delete");
        assert_eq!(list().await, ["..x", "..x/%", "a-", "a b", "a/b", "a/b/c"]);
        let again = store.delete(&alice, &name("a")).await.expect_err("a level");
        assert_eq!(again.refusal, Refusal::NotPossible);
        assert_eq!(
            select(&store, "a").await.expect_err("a level").refusal,
            Refusal::NoSuchMailbox
        );
        store
            .subscribe(&alice, &name("a/b"), true)
            .await
            .expect("subscribe");
        store
            .rename(&alice, &name("a/b"), &name("new/place"), NOW)
            .await
            .expect("rename");
        assert_eq!(
            list().await,
            ["..x", "..x/%", "a b", "a/b-?+", "new", "new/place", "new/place/c"]
        );
        assert!(messages(&store, &alice, "new/place").await.contains_key("kept"));
        assert!(messages(&store, &alice, "new/place/c").await.contains_key("also"));
        for (from, to, refusal) in [
            ("new", "new/place/x", Refusal::NotPossible),
            ("new", "a b", Refusal::MailboxExists),
            ("nothing", "x", Refusal::NoSuchMailbox),
            ("new", "INBOX", Refusal::MailboxExists),
        ] {
            let error = store
                .rename(&alice, &name(from), &name(to), NOW)
                .await
                .expect_err("refused");
            assert_eq!(error.refusal, refusal, "{from} {to}");
        }
        let inbox_gone = store.delete(&alice, &inbox()).await.expect_err("INBOX");
        assert_eq!(inbox_gone.refusal, Refusal::NotPossible);
        create("a").await.expect("made again");
        assert!(messages(&store, &alice, "a").await.is_empty());
        store.delete(&alice, &name("new/place/c")).await.expect("delete");
        store.delete(&alice, &name("new/place")).await.expect("delete");
        store
            .subscribe(&alice, &name("a/b"), false)
            .await
            .expect("unsubscribe");
        assert_eq!(list().await, ["..x", "..x/%", "a", "a b", "new"]);
        create("new/place").await.expect("made again");
        assert!(messages(&store, &alice, "new/place").await.is_empty());
    });
}

#[test]
fn a_deleted_mailbox_is_gone_for_those_who_have_it_selected() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, small()).await;
        let other = open(&disk.process(), small()).await;
        for (text, child) in [("a", false), ("b", true)] {
            store
                .create(&alice(), &name(text), &[], NOW)
                .await
                .expect("create");
            if child {
                store
                    .create(&alice(), &name("b/c"), &[], NOW)
                    .await
                    .expect("create");
            }
            append(&store, text, "m", Flags::default()).await.expect("append");
            let (mine, first) = select(&store, text).await.expect("select");
            let (theirs, _) = select(&other, text).await.expect("select");
            store.delete(&alice(), &name(text)).await.expect("delete");
            store
                .create(&alice(), &name(text), &[], NOW)
                .await
                .expect("create");
            for (store, mailbox) in [(&store, &mine), (&other, &theirs)] {
                let gone = store.snapshot(mailbox).await.expect_err("gone");
                assert_eq!(gone.refusal, Refusal::NoSuchMailbox);
            }
            let (new, second) = select(&other, text).await.expect("select");
            assert!(new != theirs && second.uid_validity > first.uid_validity && second.rows.is_empty());
        }
    });
}

#[test]
fn renaming_inbox_moves_its_messages() {
    block_on(async {
        let store = open(&MemDisk::new(), small()).await;
        for n in 0..5 {
            deliver(&store, &[alice()], &n.to_string())
                .await
                .expect("deliver");
        }
        store
            .rename(&alice(), &inbox(), &name("old/mail"), NOW)
            .await
            .expect("rename");
        assert_eq!(messages(&store, &alice(), "old/mail").await.len(), 5);
        assert!(messages(&store, &alice(), "INBOX").await.is_empty());
    });
}

#[test]
fn recent_is_claimed_once() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, small()).await;
        deliver(&store, &[alice()], "1").await.expect("deliver");
        let examined = store.select(&alice(), &inbox(), true).await.expect("examine");
        assert_eq!(examined.recent_from, Uid(1));
        let other = open(&disk.process(), small()).await;
        assert_eq!(other.status(&alice(), &inbox()).await.expect("status").recent, 1);
        let first = store.select(&alice(), &inbox(), false).await.expect("select");
        let second = other.select(&alice(), &inbox(), false).await.expect("select");
        assert_eq!((first.recent_from, second.recent_from), (Uid(1), Uid(2)));
        assert_eq!(other.status(&alice(), &inbox()).await.expect("status").recent, 0);
    });
}

#[test]
fn an_account_is_removed_with_its_mail() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, small()).await;
        let other = open(&disk.process(), small()).await;
        deliver(&store, &[alice(), bob()], "m").await.expect("deliver");
        let (theirs, before) = select(&other, "INBOX").await.expect("select");
        store.delete_account(&alice()).await.expect("delete");
        store.delete_account(&alice()).await.expect("again");
        assert_eq!(store.list(&alice()).await.expect("list"), []);
        assert_eq!(
            other.snapshot(&theirs).await.expect_err("gone").refusal,
            Refusal::NoSuchMailbox
        );
        assert_eq!(messages(&store, &bob(), "INBOX").await.len(), 1);
        let later = Unix::from_secs(NOW.secs() + 100);
        other.create_account(&alice(), later).await.expect("create");
        let (_, after) = select(&other, "INBOX").await.expect("select");
        assert!(after.rows.is_empty() && after.uid_validity > before.uid_validity);
    });
}
