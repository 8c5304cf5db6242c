//! STORE: flags and keywords.

use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, SystemFlags};
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{User, all, change, check, check_with, flags, keyword, refusal, set};
use crate::mailstore::MailStore as _;

const SEEN: SystemFlags = SystemFlags::SEEN;
const DRAFT: SystemFlags = SystemFlags::DRAFT;

/// `FLAGS`, `+FLAGS` and `-FLAGS` (RFC 9051 §6.4.6): the others of a message, and other messages, stay as they are. The
/// answer shows it.
pub fn flags_are_replaced_added_and_removed<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for text in ["one", "two", "three"] {
            alice.append_with("INBOX", text, flags(SEEN, &["a"])).await;
        }
        let inbox = alice.select("INBOX").await;
        for (op, system, keywords, system_after, keywords_after) in [
            (FlagOp::Add, DRAFT, &["b"][..], SEEN.with(DRAFT), &["a", "b"][..]),
            (FlagOp::Remove, SEEN, &["a", "x"], DRAFT, &["b"]),
            (
                FlagOp::Replace,
                SystemFlags::ALL,
                &["c", "a"],
                SystemFlags::ALL,
                &["a", "c"],
            ),
            (
                FlagOp::Replace,
                SystemFlags::default(),
                &[],
                SystemFlags::default(),
                &[],
            ),
        ] {
            let stored = alice
                .store_flags(&inbox, &[1, 3], &change(op, system, keywords))
                .await;
            assert_eq!(stored.snapshot, alice.snapshot(&inbox).await);
            assert!(stored.modified.is_empty());
            for message in alice.messages("INBOX").await {
                let changed = message.uid != 2;
                let system = if changed { system_after } else { SEEN };
                let keywords = if changed { keywords_after } else { &["a"] };
                assert_eq!(
                    (message.system, message.keywords.as_slice()),
                    (
                        system,
                        &keywords.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
                    )
                );
            }
        }
    });
}

/// Keywords are compared without case, and have the case in which the mailbox saw them first.
pub fn keywords_are_compared_without_case_and_kept_as_first_seen<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice
            .append_with("INBOX", "one", flags(SEEN, &["$MDNSent"]))
            .await;
        alice
            .append_with("INBOX", "two", flags(SEEN, &["$mdnsent"]))
            .await;
        let inbox = alice.select("INBOX").await;
        for message in alice.messages("INBOX").await {
            assert_eq!(message.keywords, ["$MDNSent"]);
        }
        let removed = change(FlagOp::Remove, SystemFlags::default(), &["$MDNSENT"]);
        let stored = alice.store_flags(&inbox, &[1, 2], &removed).await;
        assert!(stored.snapshot.rows.iter().all(|row| row.keywords.is_empty()));
        let added = change(FlagOp::Add, SystemFlags::default(), &["$mdnSENT"]);
        alice.store_flags(&inbox, &[2], &added).await;
        assert_eq!(alice.messages("INBOX").await[1].keywords, ["$MDNSent"]);
    });
}

/// Any atom is a keyword, up to 255 octets of it, and a mailbox has room for 200 of them.
pub fn keywords_of_any_legal_form_are_kept<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let mut words: Vec<String> = (0..190).map(|n| format!("k{n}/x:{n},y")).collect();
        words.extend(["a=b", "..", "/", "\u{7e}tilde", "[open", "!#$&'+,-.;<>?@^_`|}"].map(str::to_owned));
        words.push("l".repeat(255));
        words.push("l".repeat(200));
        for (number, word) in words.iter().enumerate() {
            let uid = alice.append_with("INBOX", "x", flags(SEEN, &[word])).await;
            assert_eq!(uid as usize, number + 1);
        }
        let messages = alice.messages("INBOX").await;
        for (message, word) in messages.iter().zip(&words) {
            assert_eq!(message.keywords, [word.as_str()]);
        }
    });
}

/// One message may have all keywords of its mailbox.
pub fn sixty_four_and_more_keywords_on_one_message<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let words: Vec<String> = (100..300).map(|n| format!("k{n}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        alice.append("INBOX", "one").await;
        alice.append_with("INBOX", "two", flags(SEEN, &words[..64])).await;
        let inbox = alice.select("INBOX").await;
        for (count, word) in words.iter().enumerate() {
            alice
                .store_flags(&inbox, &[1], &change(FlagOp::Add, DRAFT, &[word]))
                .await;
            if [62, 63, 64, 127, 128, 199].contains(&count) {
                assert_eq!(alice.messages("INBOX").await[0].keywords, words[..=count]);
            }
        }
        assert_eq!(alice.messages("INBOX").await[1].keywords, words[..64]);
        let removed = change(FlagOp::Remove, SystemFlags::default(), &words[..199]);
        alice.store_flags(&inbox, &[1, 2], &removed).await;
        assert_eq!(alice.messages("INBOX").await[0].keywords, [words[199]]);
        assert!(alice.messages("INBOX").await[1].keywords.is_empty());
    });
}

/// Keywords beyond [`Limits::keywords`] are refused; the messages stay as they are, and keywords that are known can still
/// be given.
pub fn too_many_keywords_change_nothing<B: Backend>(backend: &B) {
    let limits = Limits {
        keywords: 3,
        ..Limits::small()
    };
    check_with(backend, limits, async |alice: User<B::Store>| {
        alice.append_with("INBOX", "one", flags(SEEN, &["a"])).await;
        alice.append("INBOX", "two").await;
        let inbox = alice.select("INBOX").await;
        let before = alice.messages("INBOX").await;
        let refused = Some(Refusal::TooManyKeywords);
        for op in [FlagOp::Add, FlagOp::Replace] {
            let many = change(op, DRAFT, &["b", "c", "d"]);
            let stored = alice.store.store(&inbox, &all(), &many, None).await;
            assert_eq!(refusal(stored), refused);
            assert_eq!(alice.messages("INBOX").await, before);
        }
        let many = flags(SEEN, &["a", "x", "y", "z"]);
        assert_eq!(
            refusal(alice.try_append("INBOX", &[("three", many)]).await),
            refused
        );
        assert_eq!(alice.messages("INBOX").await, before);
        let few = change(FlagOp::Add, DRAFT, &["c", "B", "A"]);
        alice.store_flags(&inbox, &[1, 2], &few).await;
        assert_eq!(alice.messages("INBOX").await[1].keywords, ["B", "a", "c"]);
        // Another mailbox has room of its own.
        alice
            .append_with("Sent", "other", flags(SEEN, &["x", "y", "z"]))
            .await;
    });
}

/// `-FLAGS` with a keyword that the mailbox has never seen does nothing, and takes no room.
pub fn removing_a_keyword_needs_no_room_for_it<B: Backend>(backend: &B) {
    let limits = Limits {
        keywords: 1,
        ..Limits::small()
    };
    check_with(backend, limits, async |alice: User<B::Store>| {
        alice.append_with("INBOX", "one", flags(SEEN, &["a"])).await;
        let inbox = alice.select("INBOX").await;
        let removed = change(FlagOp::Remove, SEEN, &["x", "a", "y"]);
        let stored = alice.store_flags(&inbox, &[1], &removed).await;
        assert_eq!(stored.snapshot.keywords.bit(&keyword("x")), None);
        let message = alice.messages("INBOX").await.remove(0);
        assert!(message.keywords.is_empty() && message.system == SystemFlags::default());
    });
}

/// UIDs without a message are left out silently (RFC 9051 §6.4.9).
pub fn messages_that_are_gone_are_left_out<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for text in ["one", "two", "three"] {
            alice.append("INBOX", text).await;
        }
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[2]).await;
        let stored = alice
            .store_flags(&inbox, &[2, 3, 99], &change(FlagOp::Add, SEEN, &[]))
            .await;
        let seen: Vec<(u32, bool)> = stored
            .snapshot
            .rows
            .iter()
            .map(|row| (row.uid.0, row.flags == SEEN))
            .collect();
        assert_eq!(seen, [(1, false), (3, true)]);
        assert!(stored.modified.is_empty());
        let nothing = alice
            .store
            .store(&inbox, &set(&[]), &change(FlagOp::Add, SEEN, &[]), None)
            .await;
        assert_eq!(nothing.expect("store").snapshot, stored.snapshot);
    });
}

/// Messages that have changed since `unchanged_since` are left alone and told, even where the change would do nothing; the
/// others are changed (RFC 7162 §3.1.3).
pub fn unchanged_since_protects_what_changed_later<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for text in ["one", "two", "three", "four"] {
            alice.append("INBOX", text).await;
        }
        let inbox = alice.select("INBOX").await;
        let since = alice.snapshot(&inbox).await.modseq;
        alice
            .store_flags(&inbox, &[1, 3], &change(FlagOp::Add, SEEN, &[]))
            .await;
        let seen = change(FlagOp::Add, SEEN, &["k"]);
        let stored = alice
            .store
            .store(&inbox, &set(&[1, 2, 3, 99]), &seen, Some(since))
            .await;
        let stored = stored.expect("store");
        assert_eq!(stored.modified, set(&[1, 3]));
        let flags: Vec<SystemFlags> = stored.snapshot.rows.iter().map(|row| row.flags).collect();
        assert_eq!(flags, [SEEN, SEEN, SEEN, SystemFlags::default()]);
        assert_eq!(alice.messages("INBOX").await[0].keywords, [""; 0]);
        // What it changed itself has changed since, too.
        let again = alice.store.store(&inbox, &set(&[2, 4]), &seen, Some(since)).await;
        assert_eq!(again.expect("store").modified, set(&[2]));
        let now = alice.snapshot(&inbox).await.modseq;
        let again = alice
            .store
            .store(&inbox, &all(), &change(FlagOp::Add, DRAFT, &[]), Some(now))
            .await;
        assert!(again.expect("store").modified.is_empty());
    });
}

/// Only changes of the message itself count, not those of others.
pub fn unchanged_since_counts_expunges_of_others_for_nothing<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "one").await;
        alice.append("INBOX", "two").await;
        let inbox = alice.select("INBOX").await;
        let since = alice.snapshot(&inbox).await.modseq;
        alice.append("INBOX", "three").await;
        alice.expunge(&inbox, &[2]).await;
        let stored = alice
            .store
            .store(&inbox, &all(), &change(FlagOp::Add, SEEN, &[]), Some(since))
            .await;
        let stored = stored.expect("store");
        assert_eq!(stored.modified, set(&[3]));
        assert_eq!(stored.snapshot.rows.get(0).map(|row| row.flags), Some(SEEN));
    });
}

/// STORE in a mailbox that was deleted meanwhile is refused.
pub fn a_mailbox_that_is_gone_takes_no_flags<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice
            .try_append("a", &[("one", Flags::default())])
            .await
            .expect("append");
        let a = alice.select("a").await;
        alice.delete("a").await.expect("delete");
        let stored = alice
            .store
            .store(&a, &all(), &change(FlagOp::Add, SEEN, &[]), None)
            .await;
        assert_eq!(refusal(stored), Some(Refusal::NoSuchMailbox));
    });
}
