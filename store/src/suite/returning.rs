//! Clients that come back (RFC 7162, QRESYNC), and mailboxes that do: messages under given UIDs.

use rmail_core::mailbox::{FlagOp, Flags, ModSeq, Snapshot, SystemFlags, Uid, UidSet, UidValidity, Vanished};
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{NOW, User, all, change, check, flags, name, refusal, uids_of};
use crate::error::Result;
use crate::mailstore::{MailStore, Numbering};

/// Checks that what is told of what vanished since a snapshot is right: with it a client that knew that one knows this one.
pub(super) fn brings_up_to_date(before: &Snapshot, vanished: &Vanished, now: &Snapshot) {
    let known: UidSet = before.rows.iter().map(|row| row.uid).collect();
    let present: UidSet = now.rows.iter().map(|row| row.uid).collect();
    let told = vanished.among(&known, now);
    assert!(told.and(&present).is_empty(), "what is there has not vanished");
    let mut rows: Vec<_> = before
        .rows
        .iter()
        .filter(|row| !told.contains(row.uid))
        .copied()
        .collect();
    for row in now.rows.iter().filter(|row| row.modseq > before.modseq) {
        rows.retain(|known| known.uid != row.uid);
        rows.push(*row);
    }
    rows.sort_by_key(|row| row.uid);
    let rows: Vec<_> = rows.iter().map(|row| (row.uid, row.flags)).collect();
    let wanted: Vec<_> = now.rows.iter().map(|row| (row.uid, row.flags)).collect();
    assert_eq!(rows, wanted, "since {:?}: {vanished:?}", before.modseq);
    if let Vanished::These(uids) = vanished {
        let used = UidSet::from_ranges([(1, now.uid_next.0 - 1)]);
        assert_eq!(uids.and(&used), *uids);
        assert!(uids.and(&present).is_empty());
    }
}

/// Whoever comes back with a HIGHESTMODSEQ that was told is brought up to date by what vanished since and by what has a
/// higher MODSEQ, however long ago that was.
pub fn what_vanished_is_told_to_who_comes_back<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let inbox = alice.select("INBOX").await;
        let mut known = vec![alice.snapshot(&inbox).await];
        for round in 0..24_u32 {
            let uid = alice.append("INBOX", "x").await;
            let seen = change(FlagOp::Add, SystemFlags(1 << (round % 5)), &[]);
            alice.store_flags(&inbox, &[uid, uid / 2, uid / 3], &seen).await;
            match round % 4 {
                0 => drop(alice.expunge(&inbox, &[uid / 2, uid]).await),
                1 => drop(alice.r#move(&inbox, &[uid / 3], "Archive").await.expect("move")),
                2 => drop(alice.r#move(&inbox, &[uid], "INBOX").await.expect("move")),
                _ => {}
            }
            known.push(alice.snapshot(&inbox).await);
            let now = known.last().expect("one");
            for before in &known {
                let vanished = alice.store.vanished(&inbox, before.modseq, now).await;
                brings_up_to_date(before, &vanished.expect("vanished"), now);
            }
        }
        alice.rename("INBOX", "old").await.expect("rename");
        let now = alice.snapshot(&inbox).await;
        let vanished = alice.store.vanished(&inbox, known[20].modseq, &now).await;
        brings_up_to_date(&known[20], &vanished.expect("vanished"), &now);
    });
}

/// What vanishes after the snapshot that is asked for is for the next one.
pub fn what_is_told_of_one_snapshot_is_of_that_snapshot<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for _ in 0..4 {
            alice.append("INBOX", "x").await;
        }
        let inbox = alice.select("INBOX").await;
        let first = alice.snapshot(&inbox).await;
        let second = alice.expunge(&inbox, &[1]).await;
        let third = alice.expunge(&inbox, &[3]).await;
        for (since, now) in [
            (&first, &second),
            (&first, &third),
            (&second, &third),
            (&first, &first),
        ] {
            let vanished = alice.store.vanished(&inbox, since.modseq, now).await;
            brings_up_to_date(since, &vanished.expect("vanished"), now);
        }
        alice.create("a").await.expect("create");
        let a = alice.select("a").await;
        alice.delete("a").await.expect("delete");
        let gone = alice.store.vanished(&a, ModSeq(1), &third).await;
        assert_eq!(refusal(gone), Some(Refusal::NoSuchMailbox));
    });
}

/// With HIGHESTMODSEQ itself there is nothing that a client does not know.
pub fn who_missed_nothing_is_told_nothing<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for _ in 0..3 {
            alice.append("INBOX", "x").await;
        }
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[2]).await;
        let now = alice.snapshot(&inbox).await;
        let vanished = alice
            .store
            .vanished(&inbox, now.modseq, &now)
            .await
            .expect("vanished");
        let known: UidSet = now.rows.iter().map(|row| row.uid).collect();
        assert!(vanished.among(&known, &now).is_empty());
    });
}

async fn numbered<S: MailStore>(
    alice: &User<S>,
    mailbox: &str,
    numbering: Numbering,
    uids: &[u32],
) -> Result<UidValidity> {
    let mut news = Vec::new();
    for uid in uids {
        let spool = alice.spool(&format!("number {uid}")).await;
        news.push((Uid(*uid), spool, flags(SystemFlags::SEEN, &["k"]), None));
    }
    let appended = alice
        .store
        .append_numbered(&alice.account, &name(mailbox), numbering, news, NOW)
        .await?;
    assert_eq!(appended.uids, uids.iter().copied().map(Uid).collect::<Vec<_>>());
    Ok(appended.uid_validity)
}

/// Messages that bring UIDs keep them, and UIDNEXT goes on above them, or where it is said.
pub fn messages_keep_their_uids<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let inbox = alice.select("INBOX").await;
        let ear = alice.watch(&inbox, alice.snapshot(&inbox).await.modseq);
        let none = Numbering::default();
        let validity = numbered(&alice, "INBOX", none, &[3, 7, 8]).await.expect("append");
        assert!(ear.heard());
        assert_eq!(validity, alice.status("INBOX").await.uid_validity);
        assert_eq!(alice.append("INBOX", "next").await, 9);
        let next = Numbering {
            uid_next: Some(Uid(50)),
            ..none
        };
        numbered(&alice, "INBOX", next, &[20]).await.expect("append");
        assert_eq!(alice.status("INBOX").await.uid_next, Uid(50));
        let lower = Numbering {
            uid_next: Some(Uid(5)),
            ..none
        };
        numbered(&alice, "INBOX", lower, &[])
            .await
            .expect("nothing to do");
        numbered(&alice, "INBOX", none, &[60]).await.expect("append");
        let messages = alice.messages("INBOX").await;
        let uids: Vec<u32> = messages.iter().map(|message| message.uid).collect();
        assert_eq!(uids, [3, 7, 8, 9, 20, 60]);
        assert_eq!(
            (messages[4].text.as_str(), messages[4].keywords.as_slice()),
            ("number 20", &["k".to_owned()][..])
        );
        let missing = numbered(&alice, "none", none, &[1]).await;
        assert_eq!(refusal(missing), Some(Refusal::NoSuchMailbox));
    });
}

/// UIDs that do not ascend or are taken are refused, and nothing is changed.
pub fn numbers_are_taken_whole_or_not_at_all<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let none = Numbering::default();
        numbered(&alice, "INBOX", none, &[5, 6]).await.expect("append");
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        for uids in [&[6][..], &[3], &[8, 7], &[9, 9], &[0], &[10, 2]] {
            let refused = numbered(&alice, "INBOX", none, uids).await;
            assert_eq!(refusal(refused), Some(Refusal::NotPossible), "{uids:?}");
        }
        let other = Numbering {
            uid_validity: Some(UidValidity(before.uid_validity.0 + 5)),
            ..none
        };
        assert_eq!(
            refusal(numbered(&alice, "INBOX", other, &[20]).await),
            Some(Refusal::NotPossible)
        );
        let last = numbered(&alice, "INBOX", none, &[u32::MAX]).await;
        assert_eq!(refusal(last), Some(Refusal::MailboxFull));
        assert_eq!(alice.snapshot(&inbox).await, before);
        let same = Numbering {
            uid_validity: Some(before.uid_validity),
            ..none
        };
        numbered(&alice, "INBOX", same, &[7])
            .await
            .expect("it has that one");
        assert_eq!(uids_of(&alice.snapshot(&inbox).await), [5, 6, 7]);
    });
}

/// A mailbox that has never had a message takes a UIDVALIDITY from elsewhere; no other mailbox gets that one later.
pub fn a_mailbox_that_comes_back_has_its_uid_validity<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a").await.expect("create");
        let a = alice.select("a").await;
        for value in [3, 1_700_000_100] {
            let numbering = Numbering {
                uid_validity: Some(UidValidity(value)),
                uid_next: None,
            };
            let set = numbered(&alice, "a", numbering, &[]).await.expect("set");
            assert_eq!(set, UidValidity(value));
            assert_eq!(alice.snapshot(&a).await.uid_validity, UidValidity(value));
        }
        let zero = Numbering {
            uid_validity: Some(UidValidity(0)),
            uid_next: None,
        };
        assert_eq!(
            refusal(numbered(&alice, "a", zero, &[]).await),
            Some(Refusal::NotPossible)
        );
        alice.create("b").await.expect("create");
        assert!(alice.status("b").await.uid_validity > UidValidity(1_700_000_100));
        alice.append("a", "one").await;
        let inbox = alice.select("a").await;
        alice.expunge(&inbox, &[1]).await;
        let late = Numbering {
            uid_validity: Some(UidValidity(9)),
            uid_next: None,
        };
        let refused = numbered(&alice, "a", late, &[10]).await;
        assert_eq!(
            refusal(refused),
            Some(Refusal::NotPossible),
            "it has had a message"
        );
    });
}

/// After [`raise_modseq`](crate::MailStore::raise_modseq) every MODSEQ is above the given one; the messages are as they were.
pub fn modseqs_go_on_above_what_was_known<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let news = [("one", Flags::default()), ("two", Flags::default())];
        alice.try_append("INBOX", &news).await.expect("append");
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        let above = ModSeq(before.modseq.0 + 1_000_000);
        for _ in 0..2 {
            alice
                .store
                .raise_modseq(&alice.account, &name("INBOX"), above)
                .await
                .expect("raise");
            let after = alice.snapshot(&inbox).await;
            assert!(after.modseq > above);
            assert_eq!(uids_of(&after), uids_of(&before));
        }
        let raised = alice.snapshot(&inbox).await;
        let lower = alice
            .store
            .raise_modseq(&alice.account, &name("INBOX"), ModSeq(1))
            .await;
        lower.expect("nothing to do");
        assert_eq!(alice.snapshot(&inbox).await, raised);
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        let stored = alice
            .store
            .store(&inbox, &all(), &seen, None)
            .await
            .expect("store");
        assert!(stored.snapshot.rows.iter().all(|row| row.modseq > above));
        let missing = alice
            .store
            .raise_modseq(&alice.account, &name("none"), above)
            .await;
        assert_eq!(refusal(missing), Some(Refusal::NoSuchMailbox));
    });
}
