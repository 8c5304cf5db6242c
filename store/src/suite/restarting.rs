//! What outlives the process. Of a store that does not ([`Backend::restart`] gives `None`) nothing is asked here.

use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, SystemFlags};

use super::Backend;
use super::words::{NOW, User, alice_of, change, entry, flags, name};
use crate::mailstore::MailStore as _;

/// Does something, kills the process, and looks at what a new one finds.
fn survive<B: Backend, T>(
    backend: &B,
    before: impl AsyncFnOnce(&User<B::Store>) -> T,
    after: impl AsyncFnOnce(&User<B::Store>, T),
) {
    let limits = Limits::small();
    let alice = alice_of(backend, &backend.open(limits));
    let told = backend.block_on(before(&alice));
    let User { store, account } = alice;
    if let Some(store) = backend.restart(store, limits) {
        backend.block_on(after(&User { store, account }, told));
    }
}

/// Messages, flags, names, levels, subscriptions and special uses are there again as they were answered.
pub fn what_was_answered_survives_a_kill<B: Backend>(backend: &B) {
    answers_survive(backend, false);
}

/// The same after [`close`](crate::MailStore::close).
pub fn what_was_answered_survives_an_orderly_end<B: Backend>(backend: &B) {
    answers_survive(backend, true);
}

fn answers_survive<B: Backend>(backend: &B, orderly: bool) {
    const MAILBOXES: [&str; 5] = ["INBOX", "Archive", "z/b/c", "old", "\u{65e5}\u{672c}"];
    survive(
        backend,
        async |alice| {
            for text in ["one", "two", "three", "four", "five", "six", "seven"] {
                alice
                    .append_with("INBOX", text, flags(SystemFlags::SEEN, &["a", "$B"]))
                    .await;
            }
            let inbox = alice.select("INBOX").await;
            for mailbox in ["a/b/c", "\u{65e5}\u{672c}"] {
                alice.create(mailbox).await.expect("create");
            }
            alice.copy(&inbox, &[1, 2, 3], "Archive").await.expect("copy");
            alice.r#move(&inbox, &[3, 4], "a/b/c").await.expect("move");
            alice.expunge(&inbox, &[5]).await;
            alice.deliver(&[], "eight").await.expect("deliver");
            alice.rename("a", "z").await.expect("rename");
            alice.delete("z/b").await.expect("delete");
            alice.rename("INBOX", "old").await.expect("rename");
            alice.deliver(&[], "nine").await.expect("deliver");
            let old = alice.select("old").await;
            let draft = change(FlagOp::Replace, SystemFlags::DRAFT, &["new"]);
            alice.store_flags(&old, &[1], &draft).await;
            let subscribed = alice.store.subscribe(&alice.account, &name("none"), true).await;
            subscribed.expect("subscribe");
            alice.store.flush().await.expect("flush");
            let mut seen = Vec::new();
            for mailbox in MAILBOXES {
                seen.push((alice.messages(mailbox).await, alice.select(mailbox).await));
            }
            let list = alice.list().await;
            if orderly {
                alice.store.close().await.expect("close");
            }
            (list, seen)
        },
        async |alice, (list, seen)| {
            assert_eq!(alice.list().await, list);
            for (mailbox, before) in MAILBOXES.into_iter().zip(seen) {
                let now = (alice.messages(mailbox).await, alice.select(mailbox).await);
                assert_eq!(now, before, "{mailbox}");
            }
        },
    );
}

/// UIDs, UIDVALIDITY and MODSEQ go on above all that were used or told.
pub fn numbers_go_on_after_a_kill<B: Backend>(backend: &B) {
    survive(
        backend,
        async |alice| {
            for _ in 0..6 {
                alice.append("INBOX", "x").await;
            }
            let inbox = alice.select("INBOX").await;
            alice.expunge(&inbox, &[5, 6]).await;
            alice.create("a").await.expect("create");
            let a = alice.select("a").await;
            alice.delete("a").await.expect("delete");
            (alice.snapshot(&inbox).await, a)
        },
        async |alice, (before, a)| {
            let inbox = alice.select("INBOX").await;
            let after = alice.snapshot(&inbox).await;
            assert_eq!(after.uid_validity, before.uid_validity);
            assert!(after.uid_next >= before.uid_next && after.modseq >= before.modseq);
            let uid = alice.append("INBOX", "y").await;
            assert!(uid >= before.uid_next.0);
            assert!(alice.snapshot(&inbox).await.modseq > before.modseq);
            alice.create("a").await.expect("create");
            assert!(alice.select("a").await.id > a.id);
        },
    );
}

/// Entries of the queue are loaded as they were last saved, with their messages; those that were removed are not.
pub fn the_queue_survives_a_kill<B: Backend>(backend: &B) {
    survive(
        backend,
        async |alice| {
            for id in ["a1", "b2", "c3"] {
                let entry = entry(id, "x@elsewhere.test", 5);
                let spool = alice.spool("hello").await;
                let delivered = alice.store.deliver(spool, &[], Some(&entry), NOW).await;
                delivered.expect("deliver");
            }
            let mut changed = entry("b2", "y@elsewhere.test", 5);
            changed.recipients[0].attempts = 2;
            alice.store.save_outbound(&changed).await.expect("save");
            alice.store.remove_outbound("a1").await.expect("remove");
            vec![changed, entry("c3", "x@elsewhere.test", 5)]
        },
        async |alice, wanted| {
            let mut entries = alice.store.load_outbound().await.expect("load");
            entries.sort_by(|a, b| a.id.cmp(&b.id));
            assert_eq!(entries, wanted);
            let blob = alice.store.open_outbound("b2").await.expect("open");
            assert_eq!(alice.read_all(&blob).await, b"hello");
            alice.store.remove_outbound("b2").await.expect("remove");
            alice.store.save_outbound(&wanted[1]).await.expect("save");
        },
    );
}
