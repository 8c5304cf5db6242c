//! SELECT, STATUS, snapshots, and bodies on their way out.

use rmail_core::mailbox::{FlagChange, FlagOp, MailboxRef, ModSeq, SystemFlags, Uid, UidSet};
use rmail_core::mime::digest::Digest;
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{User, change, check, flags, name, refusal, uids_of};
use crate::disk::Changes;
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

/// [`select_now`](crate::MailStore::select_now), [`store_now`](crate::MailStore::store_now) and
/// [`unselect_now`](crate::MailStore::unselect_now) may do nothing, but nothing else than what they stand for.
pub fn what_is_done_at_once_is_what_is_done_later<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let store = &alice.store;
        alice.append("INBOX", "x").await;
        let inbox = alice.select("INBOX").await;
        let one = UidSet::from_ranges([(1, 1)]);
        for round in 0..12_u64 {
            let op = [FlagOp::Add, FlagOp::Remove, FlagOp::Replace][(round % 3) as usize];
            let change = FlagChange {
                op,
                flags: flags(SystemFlags::SEEN, if round > 6 { &["later"] } else { &[] }),
            };
            let before = alice.snapshot(&inbox).await;
            let stale = ModSeq(before.modseq.0.saturating_sub(1));
            let since = (round % 4 == 1).then_some(stale);
            let stored = match store.store_now(&inbox, &one, &change, since) {
                Some(stored) => stored,
                None => store.store(&inbox, &one, &change, since).await,
            };
            let stored = stored.expect("store");
            assert_eq!(stored.snapshot, alice.snapshot(&inbox).await);
            let changed = stored.snapshot.modseq > before.modseq;
            assert!(!changed || stored.modified.is_empty(), "{stored:?}");
        }
        if let Some(selected) = store.select_now(&alice.account, &name("INBOX"), false) {
            assert_eq!(selected.mailbox, inbox);
            assert_eq!(selected.snapshot, alice.snapshot(&inbox).await);
            assert!(!selected.read_only);
            if !store.unselect_now(&inbox) {
                store.unselect(&inbox).await;
            }
        }
        assert!(
            store
                .select_now(&alice.account, &name("nowhere"), false)
                .is_none()
        );
        alice.expunge(&inbox, &[1]).await;
        let change = FlagChange {
            op: FlagOp::Add,
            flags: flags(SystemFlags::SEEN, &[]),
        };
        let stored = store.store_now(&inbox, &one, &change, None);
        assert!(stored.is_none_or(|stored| stored.is_ok_and(|stored| stored.snapshot.rows.is_empty())));
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

/// What comes later is `\Recent` in the one session that claims it first.
pub fn recent_is_claimed_once<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "one").await;
        let selected = alice.store.select(&alice.account, &name("INBOX"), false).await;
        let inbox = selected.expect("select").mailbox;
        let claim = async || alice.store.claim_recent(&inbox).await.expect("claim");
        assert_eq!(claim().await.0, claim().await.1, "SELECT has claimed it");
        let before = alice.snapshot(&inbox).await;
        alice.deliver(&[], "two").await.expect("deliver");
        let (first, next) = claim().await;
        let new = alice.snapshot(&inbox).await.rows.last_uid().expect("a message");
        assert!(first <= new && new < next);
        let (first, next) = claim().await;
        assert_eq!(first, next);
        assert_eq!(alice.status("INBOX").await.recent, 0);
        let modseq = alice.snapshot(&inbox).await.modseq;
        assert!(modseq > before.modseq);
        claim().await;
        assert_eq!(
            alice.snapshot(&inbox).await.modseq,
            modseq,
            "a claim is no change"
        );
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

/// What [`parsed`](crate::MailStore::parsed) has kept is of the very message that is asked for, whatever became of it since
/// it was offered; of what is not there nothing is known.
pub fn what_is_kept_of_messages_is_of_those_messages<B: Backend>(backend: &B) {
    let digest = |text: &str| {
        let mut digest = Digest::new(1 << 20);
        digest.push(text.as_bytes());
        digest.finish(text.as_bytes()).parsed
    };
    check(backend, async |alice: User<B::Store>| {
        for number in 1..=9 {
            let text = format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(number));
            alice.append("INBOX", &text).await;
        }
        let inbox = alice.select("INBOX").await;
        let is_right = async |mailbox: &MailboxRef| {
            let snapshot = alice.snapshot(mailbox).await;
            let mut uids: Vec<Uid> = snapshot.rows.iter().map(|row| row.uid).collect();
            uids.reverse();
            uids.extend([Uid(999), Uid(0)]);
            let kept = alice.store.parsed(mailbox, &uids).await;
            assert_eq!(kept.len(), uids.len());
            for (uid, kept) in uids.iter().zip(kept) {
                let text = alice.text(mailbox, uid.0).await;
                let Some(kept) = kept else { continue };
                let right = digest(&text.expect("nothing is known of what is not there"));
                assert_eq!((kept.size(), kept.email_id()), (right.size(), right.email_id()));
                assert_eq!(kept.envelope(), right.envelope());
            }
        };
        is_right(&inbox).await;
        let mut found = Vec::new();
        for uid in 1..=9 {
            let text = alice.text(&inbox, uid).await.expect("it is there");
            found.push((Uid(uid), digest(&text)));
        }
        alice.expunge(&inbox, &[4]).await;
        alice.store.keep_parsed(&inbox, &found).await;
        is_right(&inbox).await;
        alice.mark(&inbox, &[1]).await;
        alice.copy(&inbox, &[2, 3, 9], "INBOX").await.expect("copy");
        alice.append("Archive", "another first one").await;
        alice.r#move(&inbox, &[5, 6, 1], "Archive").await.expect("move");
        is_right(&inbox).await;
        is_right(&alice.select("Archive").await).await;
        alice.rename("INBOX", "old").await.expect("rename");
        is_right(&alice.select("old").await).await;
        is_right(&inbox).await;
    });
}

/// What is called by the clock changes nothing that is to be seen.
pub fn housekeeping_changes_nothing_to_be_seen<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        for text in ["one", "two", "three"] {
            alice
                .append_with("a/b", text, flags(SystemFlags::SEEN, &["k"]))
                .await;
        }
        let reference = alice.select("a/b").await;
        alice.expunge(&reference, &[2]).await;
        let before = (alice.list().await, alice.snapshot(&reference).await);
        let messages = alice.messages("a/b").await;
        let _ear = alice.watch(&reference, before.1.modseq);
        alice.store.listen(&reference);
        for _ in 0..3 {
            alice.store.poll_watched().await;
            alice.store.sweep_watched().await;
            alice.store.look_at(&Changes::All).await;
            alice.store.tidy().await.expect("tidy");
            if alice.store.is_dirty() {
                alice.store.flush().await.expect("flush");
            }
            let adopted = alice.store.adopt_outbound().await;
            assert_eq!(adopted.expect("adopt"), []);
            alice.store.free().await.expect("room");
        }
        assert_eq!((alice.list().await, alice.snapshot(&reference).await), before);
        assert_eq!(alice.messages("a/b").await, messages);
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
            buffer.fill(0);
            let Some(count) = alice.store.read_now(&blob, &mut buffer, offset) else {
                continue;
            };
            assert!(count == text.len() || (count > 0 && count < text.len()));
            assert!(text.as_bytes().starts_with(&buffer[..count]));
        }
    });
}
