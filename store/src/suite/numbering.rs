//! UIDs, UIDVALIDITY and MODSEQ.

use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, ModSeq, Snapshot, SystemFlags};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;

use super::Backend;
use super::words::{FREE, NOW, User, all, change, check, check_with, entry, name, refusal, uids_of};
use crate::mailstore::MailStore as _;

/// UIDs ascend in the order in which messages come, and one that was used is never used again, whatever became of its
/// message (RFC 9051 §2.3.1.1).
pub fn uids_ascend_and_are_not_used_again<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let inbox = alice.select("INBOX").await;
        let mut last = 0;
        for round in 0..6 {
            let uid = alice.append("INBOX", "one").await;
            assert!(uid > last);
            alice.deliver(&[], "two").await.expect("deliver");
            let copied = alice.copy(&inbox, &[uid], "INBOX").await.expect("copy");
            let moved = alice.r#move(&inbox, &[uid], "INBOX").await.expect("move");
            let (copied, moved) = (copied[0].1, moved[0].1);
            assert!(uid < copied && copied < moved);
            last = moved;
            // The highest goes, or all go.
            let snapshot = alice.snapshot(&inbox).await;
            let gone = if round % 2 == 0 {
                vec![moved]
            } else {
                uids_of(&snapshot)
            };
            alice.expunge(&inbox, &gone).await;
        }
    });
}

/// UIDNEXT is above all UIDs, and no message that comes later has one below it.
pub fn uid_next_is_what_comes_next_at_the_earliest<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let inbox = alice.select("INBOX").await;
        let mut told = alice.snapshot(&inbox).await.uid_next.0;
        for _ in 0..10 {
            let uid = alice.append("INBOX", "one").await;
            assert!(uid >= told, "{uid} came after UIDNEXT {told} was told");
            alice.expunge(&inbox, &[uid]).await;
            told = alice.snapshot(&inbox).await.uid_next.0;
            assert!(told > uid);
            assert_eq!(alice.status("INBOX").await.uid_next.0, told);
        }
    });
}

/// Every mailbox of an account has a UIDVALIDITY and identity of its own, and one that is made later has higher ones.
pub fn uid_validity_is_the_mailboxs_own_and_ascends<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let mut last = (0, 0);
        for _ in 0..5 {
            alice.create("a/b").await.expect("create");
            for mailbox in ["a", "a/b"] {
                let reference = alice.select(mailbox).await;
                let snapshot = alice.snapshot(&reference).await;
                let now = (snapshot.uid_validity.0, reference.id.0);
                assert!(now.0 > last.0 && now.1 > last.1, "{now:?} after {last:?}");
                let news = vec![(alice.spool("x").await, Flags::default(), None)];
                let appended = alice
                    .store
                    .append(&alice.account, &name(mailbox), news, &FREE, NOW)
                    .await;
                assert_eq!(appended.expect("append").uid_validity, snapshot.uid_validity);
                last = now;
            }
            alice.delete("a/b").await.expect("delete");
            alice.delete("a").await.expect("delete");
        }
    });
}

/// A clock that goes back brings no UIDVALIDITY back.
pub fn the_clock_may_go_back<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let mut last = 0;
        for secs in [NOW.secs() + 50, NOW.secs() - 1_000, 5, 0] {
            let now = Unix::from_secs(secs);
            alice
                .store
                .create(&alice.account, &name("a"), &[], now)
                .await
                .expect("create");
            let uid_validity = alice.status("a").await.uid_validity.0;
            assert!(uid_validity > last);
            last = uid_validity;
            alice.delete("a").await.expect("delete");
        }
    });
}

fn rows_are_below_the_highest(snapshot: &Snapshot) {
    let mut rows = snapshot.rows.iter();
    assert!(rows.all(|row| row.modseq <= snapshot.modseq && row.modseq > ModSeq(0)));
}

/// Every operation that changes a mailbox raises HIGHESTMODSEQ above all that were told before, and gives what it changed
/// a MODSEQ above them (RFC 7162 §3.1).
pub fn every_change_has_a_higher_modseq<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let inbox = alice.select("INBOX").await;
        let mut told = alice.snapshot(&inbox).await.modseq;
        for step in 0..7 {
            let changed = match step {
                0 => alice.append("INBOX", "one").await,
                1 => {
                    alice.deliver(&[], "two").await.expect("deliver");
                    2
                }
                2 => alice.copy(&inbox, &[1], "INBOX").await.expect("copy")[0].1,
                3 => {
                    let seen = change(FlagOp::Add, SystemFlags::SEEN, &["k"]);
                    alice.store_flags(&inbox, &[2], &seen).await;
                    2
                }
                4 => {
                    alice.expunge(&inbox, &[1]).await;
                    0
                }
                5 => {
                    alice.r#move(&inbox, &[2], "Archive").await.expect("move");
                    0
                }
                _ => {
                    alice.rename("INBOX", "old").await.expect("rename");
                    0
                }
            };
            let snapshot = alice.snapshot(&inbox).await;
            assert!(snapshot.modseq > told, "step {step}");
            rows_are_below_the_highest(&snapshot);
            if let Some((_, row)) = snapshot.rows.find(rmail_core::mailbox::Uid(changed)) {
                assert!(row.modseq > told, "step {step}");
            }
            assert_eq!(alice.status("INBOX").await.modseq, snapshot.modseq);
            told = snapshot.modseq;
        }
    });
}

/// A message keeps its MODSEQ while others change.
pub fn what_is_not_changed_keeps_its_modseq<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for text in ["one", "two", "three"] {
            alice.append("INBOX", text).await;
        }
        let inbox = alice.select("INBOX").await;
        let kept = |snapshot: &Snapshot| snapshot.rows.iter().find(|row| row.uid.0 == 2).copied();
        let before = kept(&alice.snapshot(&inbox).await);
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &["k"]);
        alice.store_flags(&inbox, &[1, 3], &seen).await;
        alice.copy(&inbox, &[2], "Archive").await.expect("copy");
        alice.append("INBOX", "four").await;
        alice.expunge(&inbox, &[1]).await;
        assert_eq!(kept(&alice.snapshot(&inbox).await), before);
    });
}

/// What changes nothing leaves the mailbox as it is, its MODSEQ included.
pub fn what_changes_nothing_has_no_modseq<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice
            .append_with("INBOX", "one", super::words::flags(SystemFlags::SEEN, &["k"]))
            .await;
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        for nothing in [
            change(FlagOp::Add, SystemFlags::SEEN, &["K"]),
            change(FlagOp::Remove, SystemFlags::DRAFT, &["other"]),
            change(FlagOp::Replace, SystemFlags::SEEN, &["k"]),
        ] {
            let stored = alice.store_flags(&inbox, &[1, 7], &nothing).await;
            assert_eq!((&stored.snapshot, stored.modified.is_empty()), (&before, true));
        }
        assert_eq!(alice.store.expunge(&inbox, None).await.expect("expunge"), before);
        assert_eq!(alice.copy(&inbox, &[9], "INBOX").await.expect("copy"), []);
        assert_eq!(alice.r#move(&inbox, &[9], "INBOX").await.expect("move"), []);
        alice.select("INBOX").await;
        assert_eq!(alice.snapshot(&inbox).await, before);
    });
}

/// The messages of one APPEND, COPY or MOVE have one MODSEQ: they came together.
pub fn messages_of_an_append_share_a_modseq<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let news: Vec<(&str, Flags)> = ["a", "b", "c", "d", "e"]
            .map(|text| (text, Flags::default()))
            .into();
        alice.try_append("INBOX", &news).await.expect("append");
        let inbox = alice.select("INBOX").await;
        alice
            .copy(&inbox, &[1, 2, 3, 4, 5], "Archive")
            .await
            .expect("copy");
        alice.r#move(&inbox, &[1, 2, 3, 4], "Junk").await.expect("move");
        for mailbox in ["INBOX", "Archive", "Junk"] {
            let reference = alice.select(mailbox).await;
            let snapshot = alice.snapshot(&reference).await;
            let mut modseqs: Vec<u64> = snapshot.rows.iter().map(|row| row.modseq.0).collect();
            modseqs.dedup();
            assert_eq!(modseqs.len(), 1, "{mailbox}");
        }
    });
}

fn few_uids() -> Limits {
    Limits {
        last_uid: 6,
        ..Limits::small()
    }
}

/// When the UIDs of a mailbox are used up, nothing is added any more, and all else goes on.
pub fn uids_run_out<B: Backend>(backend: &B) {
    check_with(backend, few_uids(), async |alice: User<B::Store>| {
        let full = Some(Refusal::MailboxFull);
        let mut count = 0;
        let refused = loop {
            match alice.try_append("INBOX", &[("x", Flags::default())]).await {
                Ok(uids) => count += uids.len(),
                Err(error) => break error.refusal,
            }
            assert!(count <= 6);
        };
        assert!(refused == Refusal::MailboxFull && count > 0);
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await.rows;
        alice.append("Archive", "y").await;
        let archive = alice.select("Archive").await;
        assert_eq!(refusal(alice.copy(&archive, &[1], "INBOX").await), full);
        assert_eq!(refusal(alice.r#move(&archive, &[1], "INBOX").await), full);
        assert_eq!(refusal(alice.copy(&inbox, &[1], "INBOX").await), full);
        assert_eq!(alice.texts("Archive").await, ["y"]);
        assert_eq!(alice.snapshot(&inbox).await.rows, before);
        // As many as there are cannot come together where one is there.
        let moved = alice.store.r#move(&inbox, &all(), &name("Archive"), NOW).await;
        assert_eq!(refusal(moved), full);
        alice.mark(&inbox, &[1]).await;
        alice.expunge(&inbox, &[1]).await;
        assert_eq!(alice.snapshot(&inbox).await.rows.len(), count - 1);
        assert_eq!(
            refusal(alice.try_append("INBOX", &[("x", Flags::default())]).await),
            full
        );
    });
}

/// A delivery to several that one of them cannot take reaches nobody, and queues nothing.
pub fn a_delivery_to_a_full_mailbox_reaches_nobody<B: Backend>(backend: &B) {
    check_with(backend, few_uids(), async |alice: User<B::Store>| {
        let (bob, carol) = (User::of(&alice.store, "bob"), User::of(&alice.store, "carol"));
        while bob.deliver(&[], "x").await.is_ok() {}
        let before = bob.texts("INBOX").await;
        let spool = alice.spool("y").await;
        let accounts = [&alice, &bob, &carol].map(|user| (user.account.clone(), FREE));
        let entry = entry("a1", "x@elsewhere.test", 1);
        let delivered = alice.store.deliver(spool, &accounts, Some(&entry), NOW).await;
        assert_eq!(refusal(delivered), Some(Refusal::MailboxFull));
        assert!(alice.texts("INBOX").await.is_empty());
        assert_eq!(bob.texts("INBOX").await, before);
        assert_eq!(carol.usage().await, 0);
        assert_eq!(alice.store.load_outbound().await.expect("load"), []);
        alice.deliver(&[&carol], "z").await.expect("the others go on");
    });
}
