//! News: what the [`Hub`](crate::hub::Hub) is told.

use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, MailboxRef, SystemFlags};
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{User, change, check, check_with, flags, refusal};
use crate::mailstore::MailStore;

/// Does a step, and checks that the watchers of this mailbox hear of it before it is over, with the MODSEQ that the mailbox
/// has then.
async fn told<S: MailStore>(alice: &User<S>, mailbox: &MailboxRef, step: impl AsyncFnOnce()) {
    let before = alice.snapshot(mailbox).await;
    let ear = alice.watch(mailbox, before.modseq);
    assert!(!ear.heard(), "nothing has happened");
    step().await;
    let announced = alice.announced(mailbox);
    assert!(ear.heard());
    let after = alice.snapshot(mailbox).await;
    assert!(after.modseq > before.modseq && after.rows != before.rows);
    assert_eq!(announced, after.modseq);
    // Who comes with what was seen before is told at once, and who has seen it is not.
    assert!(alice.watch(mailbox, before.modseq).heard());
    assert!(!alice.watch(mailbox, after.modseq).heard());
}

/// Every change of a mailbox is announced by the time the operation returns, whichever operation it was.
pub fn every_change_is_announced<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let bob = User::of(&alice.store, "bob");
        bob.make().await;
        let (inbox, archive) = (alice.select("INBOX").await, alice.select("Archive").await);
        let bobs = bob.select("INBOX").await;
        told(&alice, &inbox, async || {
            alice.append("INBOX", "one").await;
        })
        .await;
        told(&alice, &inbox, async || {
            told(&bob, &bobs, async || {
                alice.deliver(&[&bob], "two").await.expect("deliver");
            })
            .await;
        })
        .await;
        told(&alice, &inbox, async || {
            let seen = change(FlagOp::Add, SystemFlags::SEEN, &["k"]);
            alice.store_flags(&inbox, &[1, 2], &seen).await;
        })
        .await;
        told(&alice, &archive, async || {
            alice.copy(&inbox, &[1, 2], "Archive").await.expect("copy");
        })
        .await;
        told(&alice, &archive, async || {
            told(&alice, &inbox, async || {
                alice.r#move(&inbox, &[1], "Archive").await.expect("move");
            })
            .await;
        })
        .await;
        alice.mark(&inbox, &[2]).await;
        told(&alice, &inbox, async || {
            alice.store.expunge(&inbox, None).await.expect("expunge");
        })
        .await;
        alice.append("INBOX", "three").await;
        told(&alice, &inbox, async || {
            alice.rename("INBOX", "old").await.expect("rename");
        })
        .await;
    });
}

/// What is announced is there: an announcement is never ahead of what a look shows.
pub fn what_changes_nothing_need_not_be_announced_but_is_never_early<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "one").await;
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        let _ear = alice.watch(&inbox, before.modseq);
        let seen = change(FlagOp::Remove, SystemFlags::SEEN, &["k"]);
        alice.store_flags(&inbox, &[1], &seen).await;
        alice.store.expunge(&inbox, None).await.expect("expunge");
        alice.copy(&inbox, &[7], "INBOX").await.expect("copy");
        alice.store.poll_watched().await;
        alice.store.flush().await.expect("flush");
        assert!(alice.announced(&inbox) <= alice.snapshot(&inbox).await.modseq);
    });
}

/// Who watches a mailbox that is deleted, by itself or with its account, is told, and finds it gone.
pub fn the_end_of_a_mailbox_is_announced<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        let mut gone = Vec::new();
        for mailbox in ["a", "a/b"] {
            alice.append(mailbox, "x").await;
            let reference = alice.select(mailbox).await;
            let ear = alice.watch(&reference, alice.snapshot(&reference).await.modseq);
            gone.push((reference, ear));
            alice.delete(mailbox).await.expect("delete");
        }
        let inbox = alice.select("INBOX").await;
        let ear = alice.watch(&inbox, alice.snapshot(&inbox).await.modseq);
        gone.push((inbox, ear));
        alice
            .store
            .delete_account(&alice.account)
            .await
            .expect("delete the account");
        for (mailbox, ear) in gone {
            assert!(ear.heard());
            let snapshot = alice.store.snapshot(&mailbox).await;
            assert_eq!(refusal(snapshot), Some(Refusal::NoSuchMailbox));
        }
    });
}

/// An operation that was refused shows no message or flag that was not there.
pub fn a_refused_operation_shows_nothing_new<B: Backend>(backend: &B) {
    let limits = Limits {
        keywords: 1,
        ..Limits::small()
    };
    check_with(backend, limits, async |alice: User<B::Store>| {
        alice
            .append_with("INBOX", "one", flags(SystemFlags::SEEN, &["a"]))
            .await;
        alice
            .append_with("Archive", "two", flags(SystemFlags::SEEN, &["b"]))
            .await;
        let (inbox, archive) = (alice.select("INBOX").await, alice.select("Archive").await);
        let before = alice.snapshot(&inbox).await;
        let _ear = alice.watch(&inbox, before.modseq);
        let many = flags(SystemFlags::DRAFT, &["a", "c"]);
        assert!(alice.try_append("INBOX", &[("three", many)]).await.is_err());
        assert!(alice.copy(&archive, &[1], "INBOX").await.is_err());
        assert!(alice.r#move(&archive, &[1], "INBOX").await.is_err());
        let after = alice.snapshot(&inbox).await;
        assert_eq!((after.rows, after.keywords), (before.rows, before.keywords));
        assert!(alice.announced(&inbox) <= after.modseq);
    });
}

/// Whoever is woken and looks sees at least what was announced; with nothing announced there is nothing to see.
pub fn who_hears_looks_and_sees<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let inbox = alice.select("INBOX").await;
        let mut seen = alice.snapshot(&inbox).await;
        let ear = alice.watch(&inbox, seen.modseq);
        for round in 0..12_u32 {
            match round % 4 {
                0 | 1 => drop(alice.append("INBOX", "x").await),
                2 => drop(alice.mark(&inbox, &[round / 2]).await),
                _ => drop(alice.append("Sent", "elsewhere").await),
            }
            let announced = alice.announced(&inbox);
            let now = alice.snapshot(&inbox).await;
            assert!(now.modseq >= announced);
            assert_eq!(ear.heard(), now != seen, "round {round}");
            seen = now;
        }
    });
}

/// Every change of an account's list is announced by the time the operation returns, to the watchers of that account's list
/// only; and what happens to messages is not.
pub fn every_change_of_the_list_is_announced<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let bob = User::of(&alice.store, "bob");
        bob.make().await;
        let (ear, bobs) = (alice.watch_list(), bob.watch_list());
        let mut before = alice.list().await;
        assert!(!ear.heard(), "nothing has happened");
        for round in 0..7 {
            match round {
                0 => alice.create("a/b").await.expect("create"),
                1 => alice.rename("a", "c").await.expect("rename"),
                2 => alice.subscribe("c/b", true).await.expect("subscribe"),
                3 => alice.subscribe("c/b", false).await.expect("unsubscribe"),
                4 => alice.delete("c").await.expect("delete a level"),
                5 => alice.delete("c/b").await.expect("delete"),
                _ => alice.rename("INBOX", "old").await.expect("rename INBOX"),
            }
            assert!(ear.heard(), "round {round}");
            let now = alice.list().await;
            assert_ne!(now, before, "round {round}");
            before = now;
        }
        alice.append("INBOX", "one").await;
        alice.deliver(&[&bob], "two").await.expect("deliver");
        assert!(!ear.heard() && !bobs.heard());
        assert_eq!(refusal(alice.create("old").await), Some(Refusal::MailboxExists));
        assert_eq!(alice.list().await, before);
        let deleted = alice.store.delete_account(&alice.account).await;
        deleted.expect("delete the account");
        assert!(ear.heard() && !bobs.heard());
        assert_eq!(alice.list().await, []);
    });
}
