//! SELECT, STATUS, snapshots, and bodies on their way out.

use rmail_core::mailbox::{FlagOp, SystemFlags, Uid};
use rmail_core::mime::digest::Digest;
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{User, change, check, flags, name, refusal, uids_of};
use crate::mailstore::MailStore as _;

/// A snapshot does not change any more.
pub fn a_snapshot_is_a_moment<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for text in ["one", "two", "three"] {
            alice
                .append_with("INBOX", text, flags(SystemFlags::SEEN, &["a"]))
                .await;
        }
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        let rows: Vec<_> = before.rows.iter().copied().collect();
        let words = before.keywords.names().to_vec();
        let all = change(FlagOp::Replace, SystemFlags::ALL, &["b"]);
        alice.store_flags(&inbox, &[1, 2], &all).await;
        alice.expunge(&inbox, &[1]).await;
        alice.append("INBOX", "four").await;
        alice.delete("Sent").await.expect("delete");
        assert_eq!(before.rows.iter().copied().collect::<Vec<_>>(), rows);
        assert_eq!(before.keywords.names(), words);
        assert_eq!(uids_of(&alice.snapshot(&inbox).await), [2, 3, 4]);
    });
}

/// Without changes all looks show the same.
pub fn snapshots_are_the_same_until_something_changes<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "one").await;
        let inbox = alice.select("INBOX").await;
        let first = alice.snapshot(&inbox).await;
        alice.append("Sent", "elsewhere").await;
        alice.status("INBOX").await;
        assert_eq!(alice.snapshot(&inbox).await, first);
        let selected = alice.store.select(&alice.account, &name("INBOX"), false).await;
        assert_eq!(selected.expect("select").snapshot, first);
    });
}

/// [`snapshot_now`](crate::MailStore::snapshot_now) may give nothing, but nothing old.
pub fn a_snapshot_at_once_is_the_mailbox_now<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let inbox = alice.select("INBOX").await;
        for round in 0..8 {
            let uid = alice.append("INBOX", "x").await;
            if round % 2 == 0 {
                alice.expunge(&inbox, &[uid]).await;
            }
            let at_once = alice.store.snapshot_now(&inbox);
            let now = alice.snapshot(&inbox).await;
            assert!(at_once.is_none_or(|at_once| at_once == now));
        }
    });
}

/// STATUS (RFC 9051 §6.3.11) counts what SELECT shows.
pub fn status_counts_what_the_snapshot_shows<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for (text, bits) in [("1", 0), ("22", 8), ("333", 4), ("4444", 12), ("55555", 31)] {
            alice
                .append_with("INBOX", text, flags(SystemFlags(bits), &[]))
                .await;
        }
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[1]).await;
        let (status, snapshot) = (alice.status("INBOX").await, alice.snapshot(&inbox).await);
        assert_eq!(
            (status.messages, status.unseen, status.deleted, status.size),
            (4, 1, 3, 14)
        );
        assert_eq!(
            (status.uid_next, status.uid_validity, status.modseq),
            (snapshot.uid_next, snapshot.uid_validity, snapshot.modseq)
        );
    });
}

/// A message is `\Recent` in the first session that selects its mailbox, and in no other (RFC 3501 §2.3.2).
pub fn recent_is_told_once<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let select = async || {
            let selected = alice.store.select(&alice.account, &name("INBOX"), false).await;
            let selected = selected.expect("select");
            let recent = selected
                .snapshot
                .rows
                .iter()
                .filter(|row| row.uid >= selected.recent_from);
            recent.count()
        };
        alice.append("INBOX", "one").await;
        alice.deliver(&[], "two").await.expect("deliver");
        assert_eq!(alice.status("INBOX").await.recent, 2);
        assert_eq!(select().await, 2);
        assert_eq!(alice.status("INBOX").await.recent, 0);
        assert_eq!(select().await, 0);
        alice.deliver(&[], "three").await.expect("deliver");
        assert_eq!((select().await, select().await), (1, 0));
    });
}

/// EXAMINE, STATUS and snapshots leave `\Recent` to the next SELECT.
pub fn looking_does_not_claim_recent<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "one").await;
        for _ in 0..2 {
            let selected = alice.store.select(&alice.account, &name("INBOX"), true).await;
            let selected = selected.expect("examine");
            assert!(selected.recent_from <= Uid(1));
            alice.snapshot(&selected.mailbox).await;
            assert_eq!(alice.status("INBOX").await.recent, 1);
        }
    });
}

/// What SELECT gives names the mailbox as long as somebody has it selected, by whatever name it goes; several may have.
pub fn a_selected_mailbox_keeps_its_identity<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a").await.expect("create");
        let (first, second) = (alice.select("a").await, alice.select("a").await);
        assert_eq!(first, second);
        assert_eq!(first.account, alice.account);
        alice.store.unselect(&first).await;
        alice.rename("a", "b").await.expect("rename");
        alice.append("b", "one").await;
        assert_eq!(alice.text(&second, 1).await.as_deref(), Some("one"));
        alice.store.unselect(&second).await;
        // Once too often does no harm.
        alice.store.unselect(&second).await;
        assert_eq!(alice.select("b").await, first);
        assert_ne!(alice.select("INBOX").await, first);
    });
}

/// A message that is not there is no error; a mailbox that is not there is one.
pub fn what_is_not_there_is_not_opened<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "one").await;
        let inbox = alice.select("INBOX").await;
        for uid in [2, u32::MAX, 0] {
            assert!(alice.store.open(&inbox, Uid(uid)).await.expect("open").is_none());
        }
        alice.expunge(&inbox, &[1]).await;
        assert!(alice.store.open(&inbox, Uid(1)).await.expect("open").is_none());
        alice.create("a").await.expect("create");
        let a = alice.select("a").await;
        alice.delete("a").await.expect("delete");
        assert_eq!(
            refusal(alice.store.open(&a, Uid(1)).await),
            Some(Refusal::NoSuchMailbox)
        );
    });
}

/// An open message can be read to its end, whatever becomes of it.
pub fn an_open_message_outlives_its_mailbox<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a").await.expect("create");
        for text in ["one", "two", "three", "four"] {
            alice.append("a", text).await;
        }
        let a = alice.select("a").await;
        let mut blobs = Vec::new();
        for uid in 1..=4 {
            let blob = alice.store.open(&a, Uid(uid)).await.expect("open");
            blobs.push(blob.expect("it is there"));
        }
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        alice.store_flags(&a, &[1], &seen).await;
        alice.expunge(&a, &[2]).await;
        alice.r#move(&a, &[3], "INBOX").await.expect("move");
        alice.delete("a").await.expect("delete");
        alice
            .store
            .delete_account(&alice.account)
            .await
            .expect("delete the account");
        alice.store.tidy().await.expect("tidy");
        for (blob, text) in blobs.iter().zip(["one", "two", "three", "four"]) {
            assert_eq!(alice.read_all(blob).await, text.as_bytes());
        }
    });
}

/// Reads may begin anywhere; behind the end there is nothing.
pub fn reads_may_begin_and_end_anywhere<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "0123456789").await;
        let inbox = alice.select("INBOX").await;
        let blob = alice
            .store
            .open(&inbox, Uid(1))
            .await
            .expect("open")
            .expect("it is there");
        for (offset, wanted, text) in [
            (0, 4, "0123"),
            (6, 99, "6789"),
            (9, 1, "9"),
            (10, 5, ""),
            (1 << 40, 5, ""),
        ] {
            let mut buffer = vec![0; wanted];
            let count = alice.store.read(&blob, &mut buffer, offset).await.expect("read");
            assert!(count == text.len() || (count > 0 && count < text.len()));
            assert!(text.as_bytes().starts_with(&buffer[..count]));
        }
    });
}

/// A store may keep what is known of messages ([`parsed`](crate::MailStore::parsed)), or not: never that of another one, and
/// nothing of a message that is not there.
pub fn what_is_kept_of_a_message_is_that_of_its_octets<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let mail = |n: u32| format!("Subject: {n}\r\nTo: a@b\r\n\r\ntext {n}\r\n");
        for n in 0..6 {
            alice.append("INBOX", &mail(n)).await;
        }
        let inbox = alice.select("INBOX").await;
        alice.copy(&inbox, &[2, 4, 5], "Archive").await.expect("copy");
        alice.r#move(&inbox, &[1, 6], "Archive").await.expect("move");
        alice.expunge(&inbox, &[3]).await;
        alice.append("INBOX", &mail(9)).await;
        for (mailbox, also) in [("INBOX", [1, 3, 99]), ("Archive", [6, 7, 99])] {
            let mailbox = alice.select(mailbox).await;
            let mut uids: Vec<Uid> = also.map(Uid).to_vec();
            uids.extend(alice.snapshot(&mailbox).await.rows.iter().map(|row| row.uid));
            let mut found = Vec::new();
            for round in 0..2 {
                let kept = alice.store.parsed(&mailbox, &uids).await;
                assert_eq!(kept.len(), uids.len());
                for (uid, kept) in uids.iter().zip(kept) {
                    let text = alice.text(&mailbox, uid.0).await;
                    let made = text.map(|text| {
                        let mut digest = Digest::new(usize::MAX);
                        digest.push(text.as_bytes());
                        digest.finish(text.as_bytes()).parsed
                    });
                    assert!(kept.is_none() || kept == made, "UID {} in round {round}", uid.0);
                    found.extend(made.map(|made| (*uid, made)));
                }
                alice.store.keep_parsed(&mailbox, &found).await;
            }
        }
    });
}
