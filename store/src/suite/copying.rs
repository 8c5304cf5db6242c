//! COPY, MOVE and EXPUNGE.

use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, SystemFlags};
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};

use super::Backend;
use super::words::{
    FREE, NOW, User, all, change, check, check_with, flags, name, pairs, refusal, set, uids_of,
};
use crate::mailstore::MailStore;

const SEEN: SystemFlags = SystemFlags::SEEN;
const DELETED: SystemFlags = SystemFlags::DELETED;

/// Five messages with other flags and dates each.
async fn five<S: MailStore>(alice: &User<S>) {
    for (number, text) in ["one", "two", "three", "four", "five"].iter().enumerate() {
        let system = SystemFlags(1 << number);
        let date = DateTime {
            unix: number as i64 * 1_000,
            zone: number as i16 * 60,
        };
        let news = vec![(
            alice.spool(text).await,
            flags(system, &[&format!("k{number}")]),
            Some(date),
        )];
        let appended = alice
            .store
            .append(&alice.account, &name("INBOX"), news, &FREE, NOW)
            .await;
        appended.expect("append");
    }
}

/// A copy has the octets, flags, keywords and INTERNALDATE of its original (RFC 9051 §6.4.7), was saved now, and is
/// `\Recent`.
pub fn copy_keeps_what_belongs_to_the_message<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        let inbox = alice.select("INBOX").await;
        let later = Unix::from_secs(NOW.secs() + 77);
        let copied = alice
            .store
            .copy(&inbox, &all(), &name("Archive"), &FREE, later)
            .await;
        let (copied, _) = copied.expect("copy");
        assert_eq!(copied.uid_validity, alice.status("Archive").await.uid_validity);
        let (originals, copies) = (alice.messages("INBOX").await, alice.messages("Archive").await);
        assert_eq!(originals, copies, "also the UIDs: both mailboxes were new");
        let archive = alice.select("Archive").await;
        let snapshot = alice.snapshot(&archive).await;
        assert!(
            snapshot
                .rows
                .iter()
                .all(|row| u64::from(row.save_date) == later.secs())
        );
        assert_eq!(alice.status("Archive").await.recent, 5);
    });
}

/// COPY changes nothing in the source.
pub fn copy_leaves_the_source_alone<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        let copied = alice
            .store
            .copy(&inbox, &set(&[2, 4]), &name("Archive"), &FREE, NOW)
            .await;
        assert_eq!(copied.expect("copy").1, before);
        assert_eq!(alice.snapshot(&inbox).await, before);
    });
}

/// COPYUID has pairs in ascending order of both (RFC 4315 §3): the order of the messages stays.
pub fn copied_messages_keep_their_order<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        alice.append("Archive", "first").await;
        let inbox = alice.select("INBOX").await;
        let copied = alice.copy(&inbox, &[5, 1, 3], "Archive").await.expect("copy");
        assert_eq!(copied.iter().map(|pair| pair.0).collect::<Vec<_>>(), [1, 3, 5]);
        assert!(copied.is_sorted_by_key(|pair| pair.1));
        let archive = alice.select("Archive").await;
        for (source, target) in copied {
            assert_eq!(
                alice.text(&inbox, source).await,
                alice.text(&archive, target).await
            );
        }
        let moved = alice.r#move(&inbox, &[2, 4, 5], "Archive").await.expect("move");
        assert_eq!(moved.iter().map(|pair| pair.0).collect::<Vec<_>>(), [2, 4, 5]);
        let texts = alice.texts("Archive").await;
        assert_eq!(texts, ["first", "one", "three", "five", "two", "four", "five"]);
    });
}

/// UIDs without a message are left out; with none left there is nothing to do, which is no error.
pub fn messages_that_are_gone_are_not_copied<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[2]).await;
        let copied = alice.copy(&inbox, &[1, 2, 77], "Archive").await.expect("copy");
        assert_eq!(copied.len(), 1);
        for uids in [&[2, 77][..], &[]] {
            let (copied, snapshot) = alice
                .store
                .copy(&inbox, &set(uids), &name("Archive"), &FREE, NOW)
                .await
                .expect("copy");
            assert!(pairs(&copied).is_empty());
            assert_eq!(copied.uid_validity, alice.status("Archive").await.uid_validity);
            assert_eq!(snapshot, alice.snapshot(&inbox).await);
        }
        assert_eq!(alice.texts("Archive").await, ["one"]);
    });
}

/// COPY and MOVE make no mailbox (RFC 9051 §6.4.7: TRYCREATE).
pub fn copy_needs_a_target<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        alice.create("a/b").await.expect("create");
        alice.delete("a").await.expect("delete");
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        for target in ["none", "a"] {
            for uids in [&[1][..], &[77]] {
                let missing = Some(Refusal::NoSuchMailbox);
                assert_eq!(refusal(alice.copy(&inbox, uids, target).await), missing);
                assert_eq!(refusal(alice.r#move(&inbox, uids, target).await), missing);
            }
        }
        assert_eq!(alice.snapshot(&inbox).await, before);
    });
}

/// COPY into the mailbox itself makes a second message of each.
pub fn copy_into_the_same_mailbox_makes_second_ones<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        let inbox = alice.select("INBOX").await;
        let copied = alice
            .store
            .copy(&inbox, &set(&[1, 5]), &name("INBOX"), &FREE, NOW)
            .await;
        let (copied, snapshot) = copied.expect("copy");
        assert_eq!(
            pairs(&copied).iter().map(|pair| pair.0).collect::<Vec<_>>(),
            [1, 5]
        );
        assert_eq!(snapshot, alice.snapshot(&inbox).await);
        assert_eq!(
            alice.texts("INBOX").await,
            ["one", "two", "three", "four", "five", "one", "five"]
        );
        let copy = copied.target[0].0;
        alice
            .store_flags(&inbox, &[copy], &change(FlagOp::Replace, SEEN, &[]))
            .await;
        let messages = alice.messages("INBOX").await;
        assert_eq!(
            (messages[0].system, messages[5].system),
            (SystemFlags(1), SEEN),
            "they are two"
        );
    });
}

/// Keywords are those of the same name in the target, in its writing.
pub fn keywords_find_their_place_in_the_target<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice
            .append_with("Archive", "x", flags(SEEN, &["zzz", "B"]))
            .await;
        alice.append_with("INBOX", "one", flags(SEEN, &["a", "b"])).await;
        alice
            .append_with("INBOX", "two", flags(SEEN, &["c", "zzz"]))
            .await;
        let inbox = alice.select("INBOX").await;
        alice.copy(&inbox, &[2], "Archive").await.expect("copy");
        alice.r#move(&inbox, &[1], "Archive").await.expect("move");
        let messages = alice.messages("Archive").await;
        let keywords: Vec<String> = messages
            .iter()
            .map(|message| message.keywords.join(" "))
            .collect();
        assert_eq!(keywords, ["B zzz", "c zzz", "B a"]);
    });
}

fn few_keywords() -> Limits {
    Limits {
        keywords: 2,
        ..Limits::small()
    }
}

/// A COPY of which one message is refused copies none.
pub fn copy_is_all_or_nothing<B: Backend>(backend: &B) {
    check_with(backend, few_keywords(), async |alice: User<B::Store>| {
        alice.append_with("Archive", "x", flags(SEEN, &["a", "b"])).await;
        alice.append("INBOX", "one").await;
        alice.append_with("INBOX", "two", flags(SEEN, &["c"])).await;
        alice.append("INBOX", "three").await;
        let inbox = alice.select("INBOX").await;
        let before = alice.snapshot(&inbox).await;
        let copied = alice.copy(&inbox, &[1, 2, 3], "Archive").await;
        assert_eq!(refusal(copied), Some(Refusal::TooManyKeywords));
        assert_eq!(alice.texts("Archive").await, ["x"]);
        assert_eq!(alice.snapshot(&inbox).await, before);
        alice
            .copy(&inbox, &[1, 3], "Archive")
            .await
            .expect("the others can be copied");
        assert_eq!(alice.texts("Archive").await, ["x", "one", "three"]);
    });
}

/// MOVE (RFC 6851): afterwards every message is in the target and not in the source.
pub fn move_leaves_one_of_each<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        let inbox = alice.select("INBOX").await;
        let before = alice.messages("INBOX").await;
        let moved = alice
            .store
            .r#move(&inbox, &set(&[1, 2, 3, 5]), &name("Archive"), NOW)
            .await;
        let (moved, snapshot) = moved.expect("move");
        assert_eq!(moved.uid_validity, alice.status("Archive").await.uid_validity);
        assert_eq!(
            pairs(&moved).iter().map(|pair| pair.0).collect::<Vec<_>>(),
            [1, 2, 3, 5]
        );
        assert_eq!(uids_of(&snapshot), [4]);
        assert_eq!(snapshot, alice.snapshot(&inbox).await);
        let after = alice.messages("Archive").await;
        let moved_ones = before.iter().filter(|message| message.uid != 4);
        for (old, new) in moved_ones.zip(&after) {
            assert_eq!(
                (&old.text, old.system, &old.keywords),
                (&new.text, new.system, &new.keywords)
            );
            assert_eq!(old.date, new.date);
        }
        assert_eq!(after.len(), 4);
        assert!(
            alice
                .store
                .open(&inbox, rmail_core::mailbox::Uid(1))
                .await
                .expect("open")
                .is_none()
        );
    });
}

/// MOVE into the mailbox itself gives the messages new UIDs.
pub fn move_within_a_mailbox_gives_new_uids<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        let inbox = alice.select("INBOX").await;
        let moved = alice.r#move(&inbox, &[1, 3], "INBOX").await.expect("move");
        assert!(moved.iter().all(|pair| pair.1 > 5));
        assert_eq!(
            alice.texts("INBOX").await,
            ["two", "four", "five", "one", "three"]
        );
    });
}

/// A MOVE that is refused leaves both mailboxes as they were.
pub fn move_that_is_refused_moves_nothing<B: Backend>(backend: &B) {
    check_with(backend, few_keywords(), async |alice: User<B::Store>| {
        alice.append_with("Archive", "x", flags(SEEN, &["a", "b"])).await;
        alice.append("INBOX", "one").await;
        alice.append_with("INBOX", "two", flags(SEEN, &["c"])).await;
        let inbox = alice.select("INBOX").await;
        let before = alice.messages("INBOX").await;
        let moved = alice.r#move(&inbox, &[1, 2], "Archive").await;
        assert_eq!(refusal(moved), Some(Refusal::TooManyKeywords));
        assert_eq!(alice.messages("INBOX").await, before);
        assert_eq!(alice.texts("Archive").await, ["x"]);
    });
}

/// What is gone is left out of MOVE.
pub fn move_of_what_is_gone_moves_the_rest<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        five(&alice).await;
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[1, 4]).await;
        let moved = alice.store.r#move(&inbox, &all(), &name("Archive"), NOW).await;
        let (moved, snapshot) = moved.expect("move");
        assert_eq!(pairs(&moved).len(), 3);
        assert!(snapshot.rows.is_empty());
        assert_eq!(alice.texts("Archive").await, ["two", "three", "five"]);
        assert_eq!(alice.r#move(&inbox, &[2, 3], "Archive").await.expect("move"), []);
    });
}

/// EXPUNGE removes the messages with `\Deleted`, and only those.
pub fn expunge_removes_what_is_deleted<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for system in [DELETED, SEEN, DELETED.with(SEEN), SystemFlags::default(), DELETED] {
            alice.append_with("INBOX", "x", flags(system, &["k"])).await;
        }
        let inbox = alice.select("INBOX").await;
        let snapshot = alice.store.expunge(&inbox, None).await.expect("expunge");
        assert_eq!(uids_of(&snapshot), [2, 4]);
        assert_eq!(snapshot, alice.snapshot(&inbox).await);
        assert_eq!(alice.usage().await, 2);
        alice.mark(&inbox, &[2, 4]).await;
        let snapshot = alice.store.expunge(&inbox, None).await.expect("expunge");
        assert!(snapshot.rows.is_empty());
        assert_eq!(
            alice
                .try_append("INBOX", &[("y", Flags::default())])
                .await
                .expect("append"),
            [6]
        );
    });
}

/// UID EXPUNGE (RFC 4315 §2.1) removes of these messages those that have `\Deleted`.
pub fn expunge_of_some_leaves_the_others<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for system in [DELETED, SEEN, DELETED, DELETED] {
            alice.append_with("INBOX", "x", flags(system, &[])).await;
        }
        let inbox = alice.select("INBOX").await;
        let expunged = alice.store.expunge(&inbox, Some(&set(&[2, 3, 9]))).await;
        assert_eq!(uids_of(&expunged.expect("expunge")), [1, 2, 4]);
        let expunged = alice.store.expunge(&inbox, Some(&set(&[]))).await;
        assert_eq!(uids_of(&expunged.expect("expunge")), [1, 2, 4]);
    });
}
