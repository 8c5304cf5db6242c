//! The outbound queue.

use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;

use super::Backend;
use super::words::{FREE, NOW, User, check, entry, refusal};
use crate::mailstore::{MailStore, Owner};

const TEXT: &str = "Subject: hello\r\n\r\nText\r\n";

/// Delivers to nobody but the queue.
async fn enqueue<S: MailStore>(alice: &User<S>, id: &str) {
    let entry = entry(id, "x@elsewhere.test", TEXT.len());
    let spool = alice.spool(TEXT).await;
    let delivered = alice.store.deliver(spool, &[], Some(&entry), NOW).await;
    delivered.expect("deliver");
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    entries
}

/// The ids of all entries.
async fn ids<S: MailStore>(alice: &User<S>) -> Vec<String> {
    let entries = alice.store.load_outbound().await.expect("load");
    let mut ids: Vec<String> = entries.into_iter().map(|entry| entry.id).collect();
    ids.sort();
    ids
}

/// An entry is there with its message from the delivery on until it is removed; both are gone then.
pub fn an_entry_lives_until_it_is_removed<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        assert_eq!(ids(&alice).await, [""; 0]);
        for id in ["b2", "a1", "c3"] {
            enqueue(&alice, id).await;
        }
        assert_eq!(ids(&alice).await, ["a1", "b2", "c3"]);
        assert_eq!(
            ids(&alice).await,
            ["a1", "b2", "c3"],
            "loading takes nothing away"
        );
        let mut parts = Vec::new();
        let mut take = |part: Vec<Entry>| parts.extend(part);
        let read = alice.store.load_outbound_in_parts(&mut take).await;
        read.expect("load");
        let whole = alice.store.load_outbound().await.expect("load");
        assert_eq!(sorted(parts), sorted(whole), "the parts are the whole");
        let adopted = alice.store.adopt_outbound().await.expect("adopt");
        assert_eq!(adopted, [], "they are ours already");
        let blob = alice.store.open_outbound("b2").await.expect("open");
        assert_eq!(alice.read_all(&blob).await, TEXT.as_bytes());
        alice.store.remove_outbound("b2").await.expect("remove");
        assert_eq!(ids(&alice).await, ["a1", "c3"]);
        assert_eq!(alice.read_all(&blob).await, TEXT.as_bytes(), "it was open");
        assert!(alice.store.open_outbound("b2").await.is_err());
        enqueue(&alice, "b2").await;
        assert_eq!(ids(&alice).await, ["a1", "b2", "c3"]);
    });
}

/// Saving replaces all of an entry, and nothing of its message.
pub fn an_entry_is_replaced_whole<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        enqueue(&alice, "a1").await;
        enqueue(&alice, "b2").await;
        let mut changed = entry("a1", "y@elsewhere.test", TEXT.len());
        changed.recipients[0].attempts = 3;
        changed.recipients[0].last = Some("450 later \u{e4}".to_owned());
        changed.sender = String::new();
        alice.store.save_outbound(&changed).await.expect("save");
        let mut entries = alice.store.load_outbound().await.expect("load");
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(entries, [changed, entry("b2", "x@elsewhere.test", TEXT.len())]);
        let blob = alice.store.open_outbound("a1").await.expect("open");
        assert_eq!(alice.read_all(&blob).await, TEXT.as_bytes());
    });
}

/// One delivery to mailboxes and queue: each has the message, and keeps it when it is gone from the other.
pub fn delivery_and_queue_share_one_message<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for id in ["a1", "b2"] {
            let entry = entry(id, "x@elsewhere.test", TEXT.len());
            let spool = alice.spool(TEXT).await;
            let accounts = [(alice.account.clone(), FREE)];
            let delivered = alice.store.deliver(spool, &accounts, Some(&entry), NOW).await;
            delivered.expect("deliver");
        }
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[1]).await;
        alice.store.remove_outbound("b2").await.expect("remove");
        let blob = alice.store.open_outbound("a1").await.expect("open");
        assert_eq!(alice.read_all(&blob).await, TEXT.as_bytes());
        assert_eq!(alice.texts("INBOX").await, [TEXT]);
    });
}

/// Nothing is done to an entry that is not there.
pub fn entries_that_are_not_there_are_errors<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        enqueue(&alice, "a1").await;
        alice.store.remove_outbound("a1").await.expect("remove");
        for id in ["a1", "none", "../a1", ""] {
            let storage = Some(Refusal::Storage);
            assert_eq!(refusal(alice.store.remove_outbound(id).await), storage);
            assert_eq!(refusal(alice.store.open_outbound(id).await), storage);
            let saved = alice.store.save_outbound(&entry(id, "x@elsewhere.test", 1)).await;
            assert_eq!(refusal(saved), storage);
        }
        assert_eq!(ids(&alice).await, [""; 0]);
    });
}

/// An id is taken once; a delivery that fails for it reaches nobody, and leaves the first entry as it is.
pub fn a_delivery_that_fails_queues_nothing<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        enqueue(&alice, "a1").await;
        let other = entry("a1", "y@elsewhere.test", 5);
        let spool = alice.spool("other").await;
        let accounts = [(alice.account.clone(), FREE)];
        let delivered = alice.store.deliver(spool, &accounts, Some(&other), NOW).await;
        assert_eq!(refusal(delivered), Some(Refusal::Storage));
        assert!(alice.texts("INBOX").await.is_empty());
        let first = entry("a1", "x@elsewhere.test", TEXT.len());
        assert_eq!(alice.store.load_outbound().await.expect("load"), [first]);
        let blob = alice.store.open_outbound("a1").await.expect("open");
        assert_eq!(alice.read_all(&blob).await, TEXT.as_bytes());
    });
}

/// Ids are 1 to 64 letters and digits; with another nothing is delivered.
pub fn ids_are_letters_and_digits<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let longest = "Z9".repeat(32);
        enqueue(&alice, &longest).await;
        let (too_long, accounts) = ("a".repeat(65), [(alice.account.clone(), FREE)]);
        for id in ["", "a/b", "..", "a b", "\u{e4}", &too_long] {
            let spool = alice.spool(TEXT).await;
            let entry = entry(id, "x@elsewhere.test", TEXT.len());
            let delivered = alice.store.deliver(spool, &accounts, Some(&entry), NOW).await;
            assert_eq!(refusal(delivered), Some(Refusal::Storage));
        }
        assert!(alice.texts("INBOX").await.is_empty());
        assert_eq!(ids(&alice).await, [longest]);
    });
}

/// An operator's look at the queue shows every entry as it stands, and changes nothing.
pub fn who_looks_finds_all_entries_and_takes_none<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for id in ["b2", "a1"] {
            enqueue(&alice, id).await;
        }
        let mut changed = entry("a1", "x@elsewhere.test", TEXT.len());
        changed.recipients[0].attempts = 2;
        alice.store.save_outbound(&changed).await.expect("save");
        let homes = alice.store.outbound_homes().await.expect("homes");
        let mut found = Vec::new();
        for home in &homes {
            assert_eq!(home.owner, Owner::Us);
            assert!(alice.store.owns_outbound(&home.name));
            assert!(home.ids.is_sorted() && home.damaged.is_empty());
            let mut ids = home.ids.clone();
            ids.push("gone".to_owned());
            let read = alice.store.read_outbound(&home.name, &ids).await.expect("read");
            found.extend(read.into_iter().filter_map(|one| one.entry.ok()));
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(found, [changed, entry("b2", "x@elsewhere.test", TEXT.len())]);
        let none = ["a1".to_owned()];
        assert_eq!(
            alice.store.read_outbound("nowhere", &none).await.expect("read"),
            []
        );
        assert!(!alice.store.owns_outbound("nowhere"));
        assert_eq!(ids(&alice).await, ["a1", "b2"]);
    });
}
