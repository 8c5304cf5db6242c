//! What makes a mailbox and a message the same: names, ids, UIDVALIDITY, save dates, keywords.

use std::collections::BTreeSet;

use crate::common::*;
use futures_lite::future::block_on;
use proptest::prelude::*;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    FlagOp, Flags, Keyword, MailboxId, MailboxName, Quota, SystemFlags, Uid, UidValidity,
};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;
use rmail_store::MailStore;
use rmail_store::mem::MemDisk;

async fn world() -> (MemDisk, Store) {
    let disk = MemDisk::new();
    let store = open(&disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("create");
    (disk, store)
}

async fn identity(store: &Store, mailbox: &str) -> (MailboxId, UidValidity, Uid) {
    let status = store.status(&alice(), &name(mailbox)).await.expect("status");
    let (reference, snapshot) = select(store, mailbox).await.expect("select");
    assert_eq!(
        (reference.id, snapshot.uid_validity),
        (status.id, status.uid_validity)
    );
    (status.id, status.uid_validity, status.uid_next)
}

/// RFC 8474 §4: the id goes with the messages.
#[test]
fn ids_survive_rename_and_are_given_once() {
    block_on(async {
        let (disk, store) = world().await;
        let other = open(&disk.process(), Limits::small()).await;
        for mailbox in ["a", "a/b", "a/b/c", "z"] {
            store
                .create(&alice(), &name(mailbox), &[], NOW)
                .await
                .expect("create");
            append(&store, mailbox, mailbox, Flags::default())
                .await
                .expect("append");
        }
        let mut ids = BTreeSet::new();
        for entry in store.list(&alice()).await.expect("list") {
            let (id, ..) = identity(&store, entry.name.as_str()).await;
            assert!(ids.insert(id), "{:?} is given twice", id);
            assert!(id.object_id().bytes().all(|b| b.is_ascii_alphanumeric()));
        }
        let before = [
            identity(&store, "a").await,
            identity(&store, "a/b").await,
            identity(&store, "a/b/c").await,
        ];
        other
            .rename(&alice(), &name("a"), &name("z/new"), NOW)
            .await
            .expect("rename");
        for process in [&store, &other, &open(&disk.process(), Limits::small()).await] {
            for (mailbox, before) in ["z/new", "z/new/b", "z/new/b/c"].iter().zip(&before) {
                assert_eq!(identity(process, mailbox).await, *before, "{mailbox}");
            }
        }
        // The old name with a new mailbox is another one.
        store
            .create(&alice(), &name("a"), &[], NOW)
            .await
            .expect("create");
        let (id, uid_validity, _) = identity(&other, "a").await;
        assert!(ids.insert(id) && uid_validity > before[2].1);
        // Deleted and made again by turns, by two processes.
        let mut last = uid_validity;
        for n in 0..6 {
            let (one, two) = if n % 2 == 0 {
                (&store, &other)
            } else {
                (&other, &store)
            };
            one.delete(&alice(), &name("a")).await.expect("delete");
            two.create(&alice(), &name("a"), &[], NOW).await.expect("create");
            let (id, uid_validity, uid_next) = identity(one, "a").await;
            assert!(ids.insert(id), "{id:?} is used again");
            assert!(uid_validity > last && uid_next == Uid(1));
            last = uid_validity;
        }
    });
}

/// RFC 9051 §6.3.6 and RFC 8474 §4: INBOX stays the one that it was, empty; its messages go to a new mailbox.
#[test]
fn inbox_keeps_its_id_when_it_is_renamed() {
    block_on(async {
        let (_, store) = world().await;
        store
            .create(&alice(), &name("INBOX/sub"), &[], NOW)
            .await
            .expect("create");
        for n in 0..3 {
            append(&store, "INBOX", &n.to_string(), flags(SystemFlags::SEEN, &["w"]))
                .await
                .expect("append");
        }
        let inbox_before = identity(&store, "INBOX").await;
        let sub = identity(&store, "INBOX/sub").await;
        store
            .rename(&alice(), &inbox(), &name("old/mail"), NOW)
            .await
            .expect("rename");
        let after = identity(&store, "INBOX").await;
        assert_eq!(after, inbox_before, "also UIDNEXT: no UID is used again");
        assert_eq!(identity(&store, "INBOX/sub").await, sub);
        let old = identity(&store, "old/mail").await;
        assert!(old.0 != after.0 && old.1 > after.1);
        assert_eq!(messages(&store, &alice(), "INBOX").await.len(), 0);
        let moved = messages(&store, &alice(), "old/mail").await;
        assert_eq!(moved.len(), 3);
        assert!(moved.values().all(|copies| copies[0].2 == ["w"]));
        // Again, to a name that is taken: nothing happens.
        append(&store, "INBOX", "new", Flags::default())
            .await
            .expect("append");
        let taken = store.rename(&alice(), &inbox(), &name("old/mail"), NOW).await;
        assert_eq!(taken.expect_err("it exists").refusal, Refusal::MailboxExists);
        assert_eq!(messages(&store, &alice(), "INBOX").await.len(), 1);
    });
}

/// RFC 8514 §3: it is when the message came into this mailbox, by COPY and MOVE too.
#[test]
fn the_save_date_is_set_by_what_brings_a_message() {
    block_on(async {
        let (disk, store) = world().await;
        append(&store, "INBOX", "m", Flags::default())
            .await
            .expect("append");
        let (mailbox, snapshot) = select(&store, "INBOX").await.expect("select");
        let seconds = |at: Unix| u32::try_from(at.secs()).expect("small");
        let saved = |snapshot: &rmail_core::mailbox::Snapshot| -> Vec<u32> {
            snapshot.rows.iter().map(|row| row.save_date).collect()
        };
        assert_eq!(saved(&snapshot), [seconds(NOW)]);
        let later = Unix::from_secs(NOW.secs() + 1_000);
        let copied = store
            .copy(&mailbox, &all(), &inbox(), &Quota::UNLIMITED, later)
            .await
            .expect("copy");
        assert_eq!(saved(&copied.1), [seconds(NOW), seconds(later)]);
        let last = Unix::from_secs(NOW.secs() + 2_000);
        store
            .r#move(&mailbox, &all(), &name("Trash"), last)
            .await
            .expect("move");
        let (trash, _) = select(&store, "Trash").await.expect("select");
        let seen = change(FlagOp::Add, SystemFlags::SEEN, &[]);
        store.store(&trash, &all(), &seen, None).await.expect("store");
        let fresh = open(&disk.process(), Limits::small()).await;
        let (_, snapshot) = select(&fresh, "Trash").await.expect("select");
        assert_eq!(saved(&snapshot), [seconds(last), seconds(last)]);
        let dates: Vec<i64> = snapshot.rows.iter().map(|row| row.date).collect();
        assert_eq!(dates, [dates[0], dates[0]], "INTERNALDATE goes along");
    });
}

/// 200 of them, with all characters that an atom may have, 200 octets long.
fn odd_keywords() -> Vec<String> {
    let atom = |b: &u8| Keyword::new(&char::from(*b).to_string()).is_some();
    let chars: Vec<u8> = (b'!'..=b'~').filter(atom).collect();
    assert!(b"/:,.#$&'+-;<=>?@^_`|~[".iter().all(|b| chars.contains(b)));
    let odd = |n: usize| {
        let tail: String = (0..190)
            .map(|at| char::from(chars[(n * 7 + at) % chars.len()]))
            .collect();
        format!("{tail}/:,.{n:06}")
    };
    (0..200).map(odd).collect()
}

#[test]
fn keywords_of_any_form_go_wherever_the_message_goes() {
    block_on(async {
        let (disk, store) = world().await;
        let words = odd_keywords();
        assert!(words.iter().all(|word| word.len() == 200));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        append(&store, "INBOX", "all", flags(SystemFlags::SEEN, &words))
            .await
            .expect("append");
        for (n, word) in words.iter().enumerate().step_by(37) {
            append(
                &store,
                "INBOX",
                &format!("one {n}"),
                flags(SystemFlags::default(), &[word]),
            )
            .await
            .expect("append");
        }
        // The target has others already: bits differ.
        append(
            &store,
            "Trash",
            "t",
            flags(SystemFlags::default(), &["x", words[150], "y"]),
        )
        .await
        .expect("append");
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        // In any case it is the same keyword, in the spelling that came first.
        let upper = words[0].to_ascii_uppercase();
        assert_ne!(upper, words[0]);
        let remove = change(FlagOp::Remove, SystemFlags::default(), &[&upper]);
        store
            .store(&mailbox, &set(&[2]), &remove, None)
            .await
            .expect("store");
        let again = change(FlagOp::Add, SystemFlags::default(), &[&upper]);
        store
            .store(&mailbox, &set(&[2]), &again, None)
            .await
            .expect("store");
        store
            .copy(&mailbox, &all(), &name("Trash"), &Quota::UNLIMITED, NOW)
            .await
            .expect("copy");
        store
            .r#move(&mailbox, &all(), &name("Archive"), NOW)
            .await
            .expect("move");
        drop(store);
        let fresh = open(&disk.process(), Limits::small()).await;
        for target in ["Trash", "Archive"] {
            let found = messages(&fresh, &alice(), target).await;
            let sorted = |words: &[String]| words.iter().cloned().collect::<BTreeSet<_>>();
            let wanted: BTreeSet<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(sorted(&found["all"][0].2), wanted, "{target}");
            for (n, word) in words.iter().enumerate().step_by(37) {
                assert_eq!(found[&format!("one {n}")][0].2, [*word], "{target}");
            }
        }
    });
}

#[test]
fn a_mailbox_that_is_full_of_keywords_refuses_new_ones_whole() {
    block_on(async {
        let (disk, store) = world().await;
        let full: Vec<String> = (0..256).map(|n| format!("k{n}")).collect();
        for part in full.chunks(64) {
            let part: Vec<&str> = part.iter().map(String::as_str).collect();
            append(&store, "Trash", "t", flags(SystemFlags::default(), &part))
                .await
                .expect("append");
        }
        append(
            &store,
            "INBOX",
            "known",
            flags(SystemFlags::default(), &["k7", "K200"]),
        )
        .await
        .expect("append");
        append(&store, "INBOX", "new", flags(SystemFlags::default(), &["other"]))
            .await
            .expect("append");
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let (trash, before) = select(&store, "Trash").await.expect("select");
        let target = name("Trash");
        let usage = store.usage(&alice()).await.expect("usage");
        let limit = |refused: rmail_store::error::Error| {
            assert_eq!(refused.refusal, Refusal::TooManyKeywords);
        };
        let copied = store
            .copy(&mailbox, &all(), &target, &Quota::UNLIMITED, NOW)
            .await;
        limit(copied.expect_err("full"));
        limit(
            store
                .r#move(&mailbox, &all(), &target, NOW)
                .await
                .expect_err("full"),
        );
        limit(
            append(&store, "Trash", "m", flags(SystemFlags::default(), &["other"]))
                .await
                .expect_err("full"),
        );
        let add = change(FlagOp::Add, SystemFlags::SEEN, &["k1", "other"]);
        limit(store.store(&trash, &all(), &add, None).await.expect_err("full"));
        // Nothing of it was done, nothing is lost, and what is known goes.
        let now = store.snapshot(&trash).await.expect("snapshot");
        assert_eq!(uids(&now), uids(&before));
        assert!(now.rows.iter().eq(before.rows.iter()));
        assert_eq!(messages(&store, &alice(), "INBOX").await.len(), 2);
        assert_eq!(store.usage(&alice()).await.expect("usage"), usage);
        let moved = store
            .r#move(&mailbox, &set(&[1]), &target, NOW)
            .await
            .expect("move");
        assert_eq!(moved.0.target.len(), 1);
        let fresh = open(&disk.process(), Limits::small()).await;
        let found = messages(&fresh, &alice(), "Trash").await;
        assert_eq!(found["known"][0].2, ["k7", "k200"]);
    });
}

/// Level names that a file system, a shell or another system might stumble over.
fn odd_levels() -> Vec<String> {
    let mut levels: Vec<String> = [
        "CON",
        "nul.txt",
        "aux",
        ".hidden",
        "...",
        ". .",
        "trailing.",
        "trailing ",
        " leading",
        "%",
        "%=",
        "%~a%2F",
        "50% off",
        "a&b",
        "a\\b",
        "a:b",
        "*",
        "?",
        "\"q\"",
        "'",
        "-rf",
        "~",
        "$HOME",
        "`x`",
        "status.json",
        "children",
        "shards",
        "INBOX",
        "inbox",
        "état",
        "日本語",
        "Ελληνικά",
        "עברית",
        "العربية",
        "हिन्दी",
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "e\u{301}x",
        "\u{202e}rtl",
        "\u{feff}bom",
        "ſ",
        "ß",
        "ﬁ",
        "\u{1100}\u{1161}\u{11a8}",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    levels.push("x".repeat(200));
    levels.push(".".repeat(200));
    levels.push("%".repeat(200));
    levels.push("😀".repeat(50));
    levels.push("é".repeat(100));
    levels
}

#[test]
fn names_in_any_script_are_kept_in_both_cases_and_deep_down() {
    block_on(async {
        let (disk, store) = world().await;
        let mut made = BTreeSet::new();
        for level in odd_levels() {
            for text in [format!("top/{level}"), format!("{level}/sub"), level.clone()] {
                let Ok(mailbox) = MailboxName::new(&text) else {
                    panic!("{text:?} is a good name");
                };
                if made.contains(&mailbox) || mailbox.is_inbox() {
                    continue;
                }
                match store.create(&alice(), &mailbox, &[], NOW).await {
                    Ok(()) => {}
                    // Made as a parent.
                    Err(error) => assert_eq!(error.refusal, Refusal::MailboxExists, "{text:?}"),
                }
                append(&store, mailbox.as_str(), mailbox.as_str(), Flags::default())
                    .await
                    .unwrap_or_else(|error| panic!("{text:?}: {error}"));
                made.insert(mailbox);
            }
        }
        // Names that differ in case only are two.
        for text in ["Work", "work", "WORK"] {
            store
                .create(&alice(), &name(text), &[], NOW)
                .await
                .expect("create");
            append(&store, text, text, Flags::default())
                .await
                .expect("append");
            made.insert(name(text));
        }
        // As deep and as long as a name may be.
        let deep = vec!["d".repeat(30); MailboxName::MAX_LEVELS].join("/");
        assert!(deep.len() <= MailboxName::MAX);
        store
            .create(&alice(), &name(&deep), &[], NOW)
            .await
            .expect("create");
        append(&store, &deep, &deep, Flags::default())
            .await
            .expect("append");
        made.insert(name(&deep));
        let fresh = open(&disk.process(), Limits::small()).await;
        let list = fresh.list(&alice()).await.expect("list");
        let listed: BTreeSet<MailboxName> = list.into_iter().map(|entry| entry.name).collect();
        for mailbox in &made {
            assert!(listed.contains(mailbox), "{mailbox:?} is not listed");
            let found = messages(&fresh, &alice(), mailbox.as_str()).await;
            assert_eq!(
                found.keys().collect::<Vec<_>>(),
                [mailbox.as_str()],
                "{mailbox:?}"
            );
        }
        // Renamed there and back, and deleted.
        for mailbox in &made {
            let there = name("elsewhere");
            fresh
                .rename(&alice(), mailbox, &there, NOW)
                .await
                .expect("rename");
            fresh
                .rename(&alice(), &there, mailbox, NOW)
                .await
                .expect("rename back");
        }
        for mailbox in made.iter().rev() {
            fresh
                .delete(&alice(), mailbox)
                .await
                .unwrap_or_else(|error| panic!("delete {mailbox:?}: {error}"));
        }
        let left = store.list(&alice()).await.expect("list");
        assert!(left.iter().all(|entry| !made.contains(&entry.name)), "{left:?}");
    });
}

#[test]
fn names_that_mean_the_same_are_one() {
    block_on(async {
        let (_, store) = world().await;
        store
            .create(&alice(), &name("e\u{301}t\u{e9}"), &[], NOW)
            .await
            .expect("create");
        let again = store.create(&alice(), &name("\u{e9}te\u{301}"), &[], NOW).await;
        assert_eq!(again.expect_err("NFC").refusal, Refusal::MailboxExists);
        for text in ["inbox", "InBoX"] {
            let again = store.create(&alice(), &name(text), &[], NOW).await;
            assert_eq!(again.expect_err("INBOX").refusal, Refusal::MailboxExists);
        }
        for bad in [
            ".",
            "..",
            "a/..",
            "a//b",
            "/a",
            "a/",
            "a\u{7f}",
            "a\0",
            &"x".repeat(201),
            &"😀".repeat(51),
        ] {
            assert!(MailboxName::new(bad).is_err(), "{bad:?}");
        }
        let too_deep = vec!["d"; MailboxName::MAX_LEVELS + 1].join("/");
        assert!(MailboxName::new(&too_deep).is_err());
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any name is refused as a name, or is a mailbox that is found again under that name by others.
    #[test]
    fn any_text_is_no_name_or_comes_back(texts in proptest::collection::vec("(\\PC{0,12}|[.%/~=a]{1,6})(/\\PC{1,8})?", 1..6)) {
        block_on(async {
            let (disk, store) = world().await;
            let mut made = BTreeSet::new();
            for text in &texts {
                let Ok(mailbox) = MailboxName::new(text) else { continue };
                if store.create(&alice(), &mailbox, &[], NOW).await.is_ok() {
                    append(&store, mailbox.as_str(), mailbox.as_str(), Flags::default()).await.expect("append");
                    made.insert(mailbox);
                }
            }
            let fresh = open(&disk.process(), Limits::small()).await;
            let list = fresh.list(&alice()).await.expect("list");
            let listed: BTreeSet<MailboxName> = list.into_iter().map(|entry| entry.name).collect();
            for mailbox in &made {
                assert!(listed.contains(mailbox), "{mailbox:?}");
                let found = messages(&fresh, &alice(), mailbox.as_str()).await;
                assert!(found.contains_key(mailbox.as_str()), "{mailbox:?}");
            }
        });
    }
}
