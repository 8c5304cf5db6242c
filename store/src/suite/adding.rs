//! APPEND, delivery, and bodies on their way in.

use rmail_core::chunk::Chunk;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Flags, SystemFlags, Uid};
use rmail_core::refusal::Refusal;
use rmail_core::time::DateTime;

use super::Backend;
use super::words::{FREE, NOW, User, check, check_with, entry, flags, name, refusal};
use crate::mailstore::MailStore as _;

/// APPEND keeps octets, flags, keywords and INTERNALDATE with its zone, and knows size and time of saving.
pub fn append_keeps_what_it_is_given<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let dates = [
            DateTime { unix: -5, zone: -90 },
            DateTime { unix: 0, zone: 0 },
            // The first and the last day that IMAP can write.
            DateTime {
                unix: -62_167_219_200,
                zone: 0,
            },
            DateTime {
                unix: 253_402_300_799,
                zone: 0,
            },
            DateTime {
                unix: 1_700_000_000,
                zone: 1_439,
            },
            DateTime {
                unix: 1_700_000_000,
                zone: -1_439,
            },
        ];
        let given = flags(SystemFlags::SEEN.with(SystemFlags::DRAFT), &["b", "$A"]);
        for date in dates {
            let news = vec![(alice.spool("text\r\n").await, given.clone(), Some(date))];
            let appended = alice
                .store
                .append(&alice.account, &name("Sent"), news, &FREE, NOW)
                .await;
            appended.expect("append");
        }
        let messages = alice.messages("Sent").await;
        assert_eq!(messages.len(), dates.len());
        for (message, date) in messages.iter().zip(dates) {
            assert_eq!((message.text.as_str(), message.date), ("text\r\n", date));
            assert_eq!(
                (message.system, &message.keywords),
                (given.system, &vec!["$A".to_owned(), "b".to_owned()])
            );
        }
        let sent = alice.select("Sent").await;
        let snapshot = alice.snapshot(&sent).await;
        assert!(
            snapshot
                .rows
                .iter()
                .all(|row| row.size == 6 && u64::from(row.save_date) == NOW.secs())
        );
    });
}

/// Without a date a message has the time at which it came.
pub fn append_takes_the_time_where_none_is_given<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "one").await;
        alice.deliver(&[], "two").await.expect("deliver");
        for message in alice.messages("INBOX").await {
            assert_eq!(message.date, DateTime::from(NOW));
        }
    });
}

/// APPEND does not make mailboxes (RFC 9051 §6.3.12: TRYCREATE); levels that cannot be selected take none.
pub fn append_needs_a_mailbox<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        alice.delete("a").await.expect("delete");
        for mailbox in ["none", "a", "a/b/c"] {
            let appended = alice.try_append(mailbox, &[("lost", Flags::default())]).await;
            assert_eq!(refusal(appended), Some(Refusal::NoSuchMailbox));
        }
        assert_eq!(alice.usage().await, 0);
    });
}

/// The messages of one APPEND (RFC 3502) get ascending UIDs in their order; if one of them is refused none comes.
pub fn several_messages_come_together_or_not_at_all<B: Backend>(backend: &B) {
    let limits = Limits {
        keywords: 2,
        ..Limits::small()
    };
    check_with(backend, limits, async |alice: User<B::Store>| {
        let none = Flags::default();
        let few = flags(SystemFlags::FLAGGED, &["a", "b"]);
        let many = flags(SystemFlags::FLAGGED, &["a", "b", "c"]);
        let news = [("one", none.clone()), ("two", few), ("three", none.clone())];
        let uids = alice.try_append("INBOX", &news).await.expect("append");
        assert!(uids.is_sorted() && uids.len() == 3);
        assert_eq!(alice.texts("INBOX").await, ["one", "two", "three"]);
        let before = alice.messages("INBOX").await;
        let news = [("four", none.clone()), ("five", many), ("six", none)];
        let refused = alice.try_append("INBOX", &news).await;
        assert_eq!(refusal(refused), Some(Refusal::TooManyKeywords));
        assert_eq!(alice.messages("INBOX").await, before);
        assert_eq!(alice.usage().await, 11);
    });
}

/// A delivery reaches the INBOX of every account once, however often the account is named, without flags.
pub fn delivery_reaches_each_account_once<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let (bob, carol) = (User::of(&alice.store, "bob"), User::of(&alice.store, "carol"));
        bob.make().await;
        bob.append("INBOX", "first").await;
        let delivered = alice.deliver(&[&bob, &alice, &carol, &bob], "hello").await;
        delivered.expect("deliver");
        for user in [&alice, &bob, &carol] {
            let last = user.messages("INBOX").await.pop().expect("a message");
            assert_eq!(
                (last.text.as_str(), last.system),
                ("hello", SystemFlags::default())
            );
            assert!(last.keywords.is_empty());
        }
        let counts = [&alice, &bob, &carol].map(|user| user.usage());
        let [first, second, third] = counts;
        assert_eq!((first.await, second.await, third.await), (5, 10, 5));
    });
}

/// A delivery may have no local recipient.
pub fn delivery_may_be_to_the_queue_alone<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let entry = entry("q1", "x@elsewhere.test", 5);
        let spool = alice.spool("hello").await;
        let delivered = alice.store.deliver(spool, &[], Some(&entry), NOW).await;
        delivered.expect("deliver");
        assert_eq!(alice.store.load_outbound().await.expect("load"), [entry]);
        assert_eq!(alice.usage().await, 0);
    });
}

/// Octets of any value and number come back, in whatever pieces they were written, at once or not.
pub fn bodies_of_any_size_and_octets_come_back<B: Backend>(backend: &B) {
    let limits = Limits {
        spool_memory: 1_000,
        spool_budget: 1_500,
        ..Limits::small()
    };
    check_with(backend, limits, async |alice: User<B::Store>| {
        let octets: Vec<u8> = (0..40_000_u32).map(|n| (n * 7 + n / 256) as u8).collect();
        let inbox = alice.select("INBOX").await;
        // Several are open at a time.
        let mut spools = Vec::new();
        for (len, piece) in [(0, 1), (1, 1), (999, 10), (1_001, 1_001), (40_000, 3_333)] {
            let mut spool = alice.store.new_spool().await.expect("a spool");
            for (number, piece) in octets[..len].chunks(piece).enumerate() {
                let mut chunk = Chunk::copy_from(piece);
                if number % 3 != 2 {
                    match alice.store.write_spool_now(&mut spool, chunk) {
                        Ok(()) => continue,
                        Err(back) => chunk = back,
                    }
                    assert_eq!(chunk.as_slice(), piece, "what is given back is whole");
                }
                let written = alice.store.write_spool(&mut spool, chunk).await;
                written.expect("write to a spool");
            }
            assert_eq!(alice.store.spool_len(&spool), len as u64);
            spools.push((spool, len));
        }
        for (spool, len) in spools {
            let news = vec![(spool, Flags::default(), None)];
            let appended = alice
                .store
                .append(&alice.account, &name("INBOX"), news, &FREE, NOW)
                .await;
            let uid = appended.expect("append").uids[0];
            let blob = alice
                .store
                .open(&inbox, uid)
                .await
                .expect("open")
                .expect("it is there");
            assert_eq!(alice.store.blob_len(&blob), len as u64);
            assert!(
                alice.read_all(&blob).await == octets[..len],
                "{len} octets come back"
            );
        }
    });
}

/// A body that is not used is gone with its spool.
pub fn a_body_that_is_dropped_leaves_nothing<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for _ in 0..50 {
            drop(alice.spool(&"x".repeat(300_000)).await);
        }
        assert_eq!(alice.usage().await, 0);
        let inbox = alice.select("INBOX").await;
        assert!(alice.snapshot(&inbox).await.rows.is_empty());
        assert!(alice.store.open(&inbox, Uid(1)).await.expect("open").is_none());
        assert_eq!(alice.append("INBOX", "one").await, 1);
    });
}
