//! Names of mailboxes: CREATE, DELETE, RENAME, LIST, subscriptions.

use rmail_core::mailbox::{MailboxName, SpecialUse};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;

use super::Backend;
use super::words::{NOW, User, check, name, refusal};
use crate::mailstore::MailStore as _;

/// CREATE makes the mailboxes above that are not there; none of them is subscribed.
pub fn create_makes_the_mailboxes_above<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a").await.expect("create");
        let uid_validity = alice.status("a").await.uid_validity;
        alice.create("a/b/c").await.expect("create");
        for mailbox in ["a", "a/b", "a/b/c"] {
            let entry = alice.listed(mailbox).await.expect("it is in the list");
            assert!(entry.selectable && entry.exists && !entry.subscribed);
        }
        assert_eq!(alice.status("a").await.uid_validity, uid_validity, "it was there");
    });
}

/// Names that differ in case are two, but INBOX is one in any case.
pub fn names_differ_by_case_except_inbox<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("Work").await.expect("create");
        alice.create("work").await.expect("create");
        alice.create("inbox/Work").await.expect("create");
        alice.append("Work", "upper").await;
        assert!(alice.texts("work").await.is_empty());
        assert_eq!(refusal(alice.create("iNbOx").await), Some(Refusal::MailboxExists));
        assert_eq!(alice.names().await, ["INBOX", "INBOX/Work", "Work", "work"]);
    });
}

/// A name is kept as it is: any script, any character that a [`MailboxName`] may have, any length of it.
pub fn names_of_any_script_and_length_are_kept<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let mut names: Vec<String> = [
            "Entw\u{fc}rfe",
            "\u{65e5}\u{672c}\u{8a9e}",
            "\u{1f600} smile",
            "with space ",
            " leading",
            "dots.and.dots.",
            ".hidden",
            "~home",
            "%41",
            "a\\b",
            "CON",
            "con",
            "a:b",
            "*?<>|\"",
            "&amp;-",
            "-dash",
            "children",
            "shards",
            "status.json",
        ]
        .map(str::to_owned)
        .into();
        names.push("x".repeat(MailboxName::MAX_LEVEL));
        names.push("\u{65e5}".repeat(MailboxName::MAX_LEVEL / 4));
        for text in &names {
            alice.create(text).await.expect("create");
            alice
                .create(&format!("{text}/below"))
                .await
                .expect("create below");
            alice.append(text, text).await;
        }
        let deep = vec!["d"; MailboxName::MAX_LEVELS].join("/");
        alice.create(&deep).await.expect("create the deepest");
        for text in &names {
            assert_eq!(alice.texts(text).await, [text.as_str()]);
            let below = format!("{text}/below");
            let entry = alice.listed(&below).await.expect("it is in the list");
            assert_eq!(entry.name.as_str(), below);
        }
        assert!(alice.listed(&deep).await.is_some());
    });
}

/// CREATE of what is there is refused, and leaves it alone.
pub fn a_name_that_is_taken_is_refused<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.append("a", "kept").await;
        let before = alice.list().await;
        for taken in ["a", "a/b", "INBOX", "Sent"] {
            assert_eq!(refusal(alice.create(taken).await), Some(Refusal::MailboxExists));
        }
        assert_eq!(alice.list().await, before);
        assert_eq!(alice.texts("a").await, ["kept"]);
    });
}

/// The uses that CREATE is given (RFC 6154 §3) stay with the mailbox when it is renamed.
pub fn special_uses_are_kept<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let uses = [SpecialUse::Flagged, SpecialUse::Junk];
        let created = alice.store.create(&alice.account, &name("a/b"), &uses, NOW).await;
        created.expect("create");
        assert_eq!(alice.listed("a").await.expect("listed").special_use, []);
        alice.rename("a", "z").await.expect("rename");
        assert_eq!(alice.listed("z/b").await.expect("listed").special_use, uses);
    });
}

/// LIST gives every name once, in the order of [`MailboxName`].
pub fn the_list_is_in_the_order_of_names<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for mailbox in ["b/a", "a b", "a/z", "a-", "\u{e4}", "Z", "b"] {
            // One of them is there by then.
            drop(alice.create(mailbox).await);
        }
        let subscribed = alice
            .store
            .subscribe(&alice.account, &name("aa/none"), true)
            .await;
        subscribed.expect("subscribe");
        let list = alice.list().await;
        assert!(
            list.windows(2).all(|pair| pair[0].name < pair[1].name),
            "{list:?}"
        );
        assert_eq!(list.len(), 6 + 9);
    });
}

/// A mailbox that was deleted is gone for those too who have it selected, and one that is made later under its name is
/// another one.
pub fn a_deleted_mailbox_is_gone_for_everybody<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a").await.expect("create");
        alice.append("a", "lost").await;
        let old = alice.select("a").await;
        let before = alice.snapshot(&old).await;
        alice.delete("a").await.expect("delete");
        let gone = Some(Refusal::NoSuchMailbox);
        assert_eq!(refusal(alice.try_select("a").await), gone);
        assert_eq!(refusal(alice.delete("a").await), gone);
        assert_eq!(alice.listed("a").await, None);
        for again in [false, true] {
            if again {
                alice.create("a").await.expect("create again");
            }
            assert_eq!(refusal(alice.store.snapshot(&old).await), gone);
            assert!(alice.store.snapshot_now(&old).is_none());
            assert_eq!(refusal(alice.copy(&old, &[1], "INBOX").await), gone);
            assert_eq!(refusal(alice.r#move(&old, &[1], "INBOX").await), gone);
            assert_eq!(refusal(alice.store.expunge(&old, None).await), gone);
            assert_eq!(
                refusal(alice.store.open(&old, rmail_core::mailbox::Uid(1)).await),
                gone
            );
        }
        let new = alice.select("a").await;
        let after = alice.snapshot(&new).await;
        assert!(new.id > old.id && after.uid_validity > before.uid_validity);
        assert!(after.rows.is_empty());
    });
}

/// DELETE of a mailbox with children leaves a level that cannot be selected, appended to or deleted (RFC 9051 §6.3.5).
pub fn a_deleted_mailbox_stays_as_a_level_above_its_children<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b/c").await.expect("create");
        alice.append("a", "lost").await;
        alice.append("a/b/c", "kept").await;
        alice.delete("a").await.expect("delete");
        alice.delete("a/b").await.expect("delete");
        for level in ["a", "a/b"] {
            let entry = alice.listed(level).await.expect("it is in the list");
            assert!(entry.exists && !entry.selectable && entry.special_use.is_empty());
            assert_eq!(
                refusal(alice.try_select(level).await),
                Some(Refusal::NoSuchMailbox)
            );
            let status = alice.store.status(&alice.account, &name(level)).await;
            assert_eq!(refusal(status), Some(Refusal::NoSuchMailbox));
            assert_eq!(refusal(alice.delete(level).await), Some(Refusal::NotPossible));
        }
        assert_eq!(alice.texts("a/b/c").await, ["kept"]);
        assert_eq!(alice.usage().await, 4);
    });
}

/// A level that cannot be selected is gone with the last mailbox below it, and makes room for a new one then.
pub fn a_level_goes_with_its_last_child<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b/c").await.expect("create");
        alice.delete("a/b").await.expect("delete");
        alice.delete("a").await.expect("delete");
        alice.delete("a/b/c").await.expect("delete");
        assert_eq!(alice.names().await, ["INBOX"]);
        assert_eq!(refusal(alice.delete("a").await), Some(Refusal::NoSuchMailbox));
        assert_eq!(
            refusal(alice.rename("a", "z").await),
            Some(Refusal::NoSuchMailbox)
        );
        alice.create("a/b/d").await.expect("create");
        for mailbox in ["a", "a/b", "a/b/d"] {
            assert!(
                alice.listed(mailbox).await.is_some_and(|entry| entry.selectable),
                "{mailbox}"
            );
        }
    });
}

/// CREATE of a level that cannot be selected makes an empty mailbox of it, with a new UIDVALIDITY; its children stay.
pub fn a_level_becomes_a_mailbox_again<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.append("a", "lost").await;
        alice.append("a/b", "kept").await;
        let before = alice.status("a").await.uid_validity;
        alice.delete("a").await.expect("delete");
        // What is made below it does not bring it back.
        alice.create("a/c").await.expect("create");
        assert!(!alice.listed("a").await.expect("listed").selectable);
        alice.create("a").await.expect("create");
        let status = alice.status("a").await;
        assert!(status.uid_validity > before && status.messages == 0);
        assert_eq!(alice.texts("a/b").await, ["kept"]);
        assert!(alice.listed("a").await.expect("listed").selectable);
    });
}

/// INBOX is not deleted, with or without children.
pub fn inbox_is_not_deleted<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "kept").await;
        assert_eq!(refusal(alice.delete("INBOX").await), Some(Refusal::NotPossible));
        alice.create("INBOX/sub").await.expect("create");
        assert_eq!(refusal(alice.delete("INBOX").await), Some(Refusal::NotPossible));
        alice.delete("INBOX/sub").await.expect("delete");
        assert_eq!(alice.texts("INBOX").await, ["kept"]);
    });
}

/// RENAME takes along what is below, and changes nothing but names: identity, UIDVALIDITY, UIDs, flags and who has them
/// selected stay.
pub fn rename_takes_the_tree_along<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.create("ab").await.expect("create");
        alice.append("a", "one").await;
        alice.append("a/b", "two").await;
        let (a, b) = (alice.select("a").await, alice.select("a/b").await);
        let before = (alice.snapshot(&a).await, alice.snapshot(&b).await);
        alice.rename("a", "z").await.expect("rename");
        assert_eq!(alice.names().await, ["INBOX", "ab", "z", "z/b"]);
        assert_eq!((alice.snapshot(&a).await, alice.snapshot(&b).await), before);
        assert_eq!(
            (alice.select("z").await, alice.select("z/b").await),
            (a.clone(), b)
        );
        assert_eq!(refusal(alice.try_select("a").await), Some(Refusal::NoSuchMailbox));
        alice.mark(&a, &[1]).await;
        assert_eq!(alice.append("z", "three").await, 2);
        // Its old name is free, and means another mailbox.
        alice.create("a").await.expect("create");
        assert_ne!(alice.select("a").await, a);
        assert_eq!(alice.texts("z").await, ["one", "three"]);
    });
}

/// RENAME makes the mailboxes above the new name that are not there (RFC 9051 §6.3.6), and leaves those above the old one.
pub fn rename_makes_the_mailboxes_above<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.append("a/b", "one").await;
        alice.rename("a/b", "x/y/z").await.expect("rename");
        assert_eq!(alice.names().await, ["INBOX", "a", "x", "x/y", "x/y/z"]);
        assert!(alice.listed("x").await.expect("listed").selectable);
        assert_eq!(alice.texts("x/y/z").await, ["one"]);
        alice.rename("x/y/z", "a/b/c").await.expect("rename back below");
        assert_eq!(alice.names().await, ["INBOX", "a", "a/b", "a/b/c", "x", "x/y"]);
    });
}

/// A level that cannot be selected is renamed like a mailbox.
pub fn rename_of_a_level_takes_its_children_along<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.append("a/b", "one").await;
        alice.delete("a").await.expect("delete");
        alice.rename("a", "z").await.expect("rename");
        assert_eq!(alice.names().await, ["INBOX", "z", "z/b"]);
        assert!(!alice.listed("z").await.expect("listed").selectable);
        assert_eq!(alice.texts("z/b").await, ["one"]);
    });
}

/// RENAME of what is not there, to what is there, below itself or to INBOX is refused and changes nothing.
pub fn rename_is_refused_where_it_cannot_be<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.create("c/d").await.expect("create");
        alice.delete("c").await.expect("delete");
        let before = alice.list().await;
        for (from, to, wanted) in [
            ("none", "new/er", Refusal::NoSuchMailbox),
            ("a", "a", Refusal::MailboxExists),
            ("a", "c/d", Refusal::MailboxExists),
            ("a", "c", Refusal::MailboxExists),
            ("a/b", "a", Refusal::MailboxExists),
            ("a", "a/b/c", Refusal::NotPossible),
            ("a", "INBOX", Refusal::MailboxExists),
            ("INBOX", "INBOX", Refusal::MailboxExists),
            ("INBOX", "a", Refusal::MailboxExists),
        ] {
            assert_eq!(
                refusal(alice.rename(from, to).await),
                Some(wanted),
                "{from} to {to}"
            );
        }
        assert_eq!(alice.list().await, before);
    });
}

/// RENAME is refused where a mailbox below would get a name that is none (too long, too deep).
pub fn rename_to_names_that_are_none_changes_nothing<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.append("a/b", "kept").await;
        let before = alice.list().await;
        let long = vec!["l".repeat(199); 5].join("/");
        let deep = vec!["d"; MailboxName::MAX_LEVELS].join("/");
        for to in [long, deep] {
            assert_eq!(
                refusal(alice.rename("a", &to).await),
                Some(Refusal::BadMailboxName)
            );
            assert_eq!(alice.list().await, before);
        }
        assert_eq!(alice.texts("a/b").await, ["kept"]);
    });
}

/// RENAME of INBOX moves its messages into a new mailbox; itself and what is below it stay (RFC 9051 §6.3.6).
pub fn rename_of_inbox_moves_its_messages_only<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for text in ["one", "two", "three", "four", "five"] {
            alice.append("INBOX", text).await;
        }
        alice.create("INBOX/sub").await.expect("create");
        alice.append("INBOX/sub", "below").await;
        let inbox = alice.select("INBOX").await;
        let before = alice.messages("INBOX").await;
        alice.rename("INBOX", "old/mail").await.expect("rename");
        assert_eq!(alice.names().await, ["INBOX", "INBOX/sub", "old", "old/mail"]);
        assert_eq!(alice.messages("old/mail").await, before);
        assert!(alice.snapshot(&inbox).await.rows.is_empty());
        assert_ne!(alice.select("old/mail").await, inbox);
        assert_eq!(alice.texts("INBOX/sub").await, ["below"]);
        assert!(alice.append("INBOX", "new").await > 5, "UIDs are not used again");
    });
}

/// A subscription is to a name: it needs no mailbox, and stays when the mailbox of that name is deleted or renamed
/// (RFC 9051 §6.3.7).
pub fn subscriptions_are_names<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let subscribe = async |mailbox: &str, on: bool| {
            let done = alice.store.subscribe(&alice.account, &name(mailbox), on).await;
            done.expect("subscribe");
        };
        subscribe("none/at all", true).await;
        let entry = alice.listed("none/at all").await.expect("it is in the list");
        assert!(entry.subscribed && !entry.exists && !entry.selectable);
        assert_eq!(alice.listed("none").await, None);
        let later = Unix::from_secs(NOW.secs() + 1);
        alice
            .store
            .create(&alice.account, &name("a"), &[], later)
            .await
            .expect("create");
        assert!(!alice.listed("a").await.expect("listed").subscribed);
        subscribe("a", true).await;
        subscribe("a", true).await;
        alice.rename("a", "b").await.expect("rename");
        assert!(!alice.listed("b").await.expect("listed").subscribed);
        let entry = alice.listed("a").await.expect("it is in the list");
        assert!(entry.subscribed && !entry.exists);
        alice.create("a").await.expect("create");
        assert!(alice.listed("a").await.expect("listed").subscribed);
        alice.delete("a").await.expect("delete");
        subscribe("a", false).await;
        subscribe("a", false).await;
        assert_eq!(alice.listed("a").await, None);
        subscribe("INBOX", false).await;
        assert!(!alice.listed("INBOX").await.expect("listed").subscribed);
    });
}
