//! Quotas (RFC 9208).

use rmail_core::mailbox::{Flags, Quota, Usage};
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{FREE, NOW, User, all, check, entry, name, refusal};
use crate::error::Result;
use crate::mailstore::MailStore;

const OVER: Option<Refusal> = Some(Refusal::OverQuota);

fn octets(limit: u64) -> Quota {
    Quota {
        octets: Some(limit),
        messages: None,
    }
}

fn messages(limit: u64) -> Quota {
    Quota {
        octets: None,
        messages: Some(limit),
    }
}

async fn append<S: MailStore>(alice: &User<S>, texts: &[&str], quota: &Quota) -> Result<()> {
    let mut news = Vec::new();
    for text in texts {
        news.push((alice.spool(text).await, Flags::default(), None));
    }
    let appended = alice
        .store
        .append(&alice.account, &name("INBOX"), news, quota, NOW)
        .await;
    appended.map(drop)
}

async fn deliver<S: MailStore>(alice: &User<S>, to: &[(&User<S>, Quota)], text: &str) -> Result<()> {
    let spool = alice.spool(text).await;
    let accounts: Vec<_> = to
        .iter()
        .map(|(user, quota)| (user.account.clone(), *quota))
        .collect();
    let entry = entry("q1", "x@elsewhere.test", text.len());
    alice.store.deliver(spool, &accounts, Some(&entry), NOW).await
}

/// APPEND goes up to the limit of octets and of messages; what is over it is refused whole.
pub fn append_keeps_to_the_quota<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("Sent", "12345").await;
        append(&alice, &["123", "12"], &octets(10))
            .await
            .expect("just enough");
        assert_eq!(refusal(append(&alice, &["1"], &octets(10)).await), OVER);
        append(&alice, &["1"], &octets(11)).await.expect("a higher limit");
        assert_eq!(
            refusal(append(&alice, &["1", "2"], &octets(12)).await),
            OVER,
            "together they do not fit"
        );
        assert_eq!(refusal(append(&alice, &["1"], &messages(4)).await), OVER);
        append(&alice, &["1"], &messages(5))
            .await
            .expect("one more message");
        append(&alice, &["x"], &FREE).await.expect("no limit");
        let usage = alice.store.usage(&alice.account).await.expect("usage");
        assert_eq!(
            usage,
            Usage {
                octets: 13,
                messages: 6
            }
        );
        let lost = vec![(alice.spool("x").await, Flags::default(), None)];
        let lost = alice
            .store
            .append(&alice.account, &name("none"), lost, &octets(1), NOW)
            .await;
        assert_eq!(
            refusal(lost),
            Some(Refusal::NoSuchMailbox),
            "TRYCREATE comes first"
        );
    });
}

/// COPY needs room for its copies; MOVE and RENAME of INBOX need none, whatever the account has.
pub fn copy_keeps_to_the_quota_and_move_needs_none<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for text in ["12345", "123"] {
            alice.append("INBOX", text).await;
        }
        let inbox = alice.select("INBOX").await;
        let copy = async |quota: Quota| {
            let copied = alice
                .store
                .copy(&inbox, &all(), &name("Archive"), &quota, NOW)
                .await;
            copied.map(drop)
        };
        assert_eq!(refusal(copy(octets(15)).await), OVER);
        assert_eq!(refusal(copy(messages(3)).await), OVER);
        assert!(alice.texts("Archive").await.is_empty());
        copy(octets(16)).await.expect("just enough");
        copy(messages(6)).await.expect("just enough");
        assert_eq!(alice.texts("Archive").await.len(), 4);
        alice.r#move(&inbox, &[1], "Junk").await.expect("move");
        alice.rename("INBOX", "old").await.expect("rename");
        assert_eq!(alice.usage().await, 24);
    });
}

/// A delivery is refused, whole, when it is over the quotas of all its recipients; over those of some only, it reaches all.
pub fn a_delivery_is_refused_when_nobody_has_room<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let bob = User::of(&alice.store, "bob");
        bob.make().await;
        alice.append("Sent", "12345").await;
        let nobody = deliver(&alice, &[(&alice, octets(5)), (&bob, octets(0))], "1").await;
        assert_eq!(refusal(nobody), OVER);
        let nobody = deliver(&alice, &[(&alice, messages(1))], "1").await;
        assert_eq!(refusal(nobody), OVER);
        assert!(alice.texts("INBOX").await.is_empty() && bob.texts("INBOX").await.is_empty());
        assert_eq!(alice.store.load_outbound().await.expect("load"), []);
        deliver(&alice, &[(&alice, octets(5)), (&bob, octets(1))], "1")
            .await
            .expect("bob has room");
        assert_eq!(
            (alice.texts("INBOX").await.len(), bob.texts("INBOX").await.len()),
            (1, 1)
        );
        assert_eq!(alice.store.load_outbound().await.expect("load").len(), 1);
        alice.store.remove_outbound("q1").await.expect("remove");
        deliver(&alice, &[(&alice, FREE)], "bounce")
            .await
            .expect("it must go in");
        alice.store.remove_outbound("q1").await.expect("remove");
        deliver(&alice, &[], "for others")
            .await
            .expect("no account is asked");
    });
}

/// Room comes back with EXPUNGE, DELETE, and a deleted account.
pub fn what_is_removed_makes_room<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let quota = octets(6);
        alice.create("a").await.expect("create");
        alice.append("a", "123").await;
        append(&alice, &["123"], &quota).await.expect("append");
        assert_eq!(refusal(append(&alice, &["1"], &quota).await), OVER);
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[1]).await;
        append(&alice, &["123"], &quota)
            .await
            .expect("what was expunged makes room");
        assert_eq!(refusal(append(&alice, &["1"], &quota).await), OVER);
        alice.delete("a").await.expect("delete");
        append(&alice, &["123"], &quota)
            .await
            .expect("what was deleted makes room");
        alice
            .store
            .delete_account(&alice.account)
            .await
            .expect("delete the account");
        alice.make().await;
        append(&alice, &["123456"], &quota)
            .await
            .expect("a new account has nothing");
        // Operations that were refused have taken nothing.
        for _ in 0..5 {
            assert_eq!(refusal(append(&alice, &["1"], &quota).await), OVER);
        }
        assert_eq!(alice.usage().await, 6);
    });
}

/// An account over its quota loses nothing but what needs more room.
pub fn a_full_account_takes_what_needs_no_room<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "12345").await;
        append(&alice, &[""], &octets(3))
            .await
            .expect("no octets are asked for");
        append(&alice, &["123"], &messages(3))
            .await
            .expect("octets are not limited");
        assert_eq!(refusal(append(&alice, &[""], &messages(3)).await), OVER);
        let inbox = alice.select("INBOX").await;
        let nothing = alice
            .store
            .copy(&inbox, &super::words::set(&[99]), &name("Sent"), &octets(1), NOW)
            .await;
        nothing.expect("nothing is copied");
    });
}

/// [`has_room`](crate::MailStore::has_room) foretells what APPEND will say, and takes nothing.
pub fn has_room_says_what_append_will<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "12345").await;
        for (quota, more, wanted) in [
            (octets(8), Usage::message(3), true),
            (octets(8), Usage::message(4), false),
            (messages(1), Usage::message(0), false),
            (messages(2), Usage::message(9), true),
            (messages(1), Usage::default(), true),
            (FREE, Usage::message(u64::MAX), true),
        ] {
            for _ in 0..3 {
                let room = alice.store.has_room(&alice.account, &quota, more).await;
                assert_eq!(room.expect("it is known"), wanted, "{quota:?} {more:?}");
                let at_once = alice.store.has_room_now(&alice.account, &quota, more);
                assert!(wanted || !at_once, "{quota:?} {more:?}");
            }
        }
        let nobody = User::of(&alice.store, "nobody");
        let room = alice
            .store
            .has_room(&nobody.account, &octets(3), Usage::message(3))
            .await;
        assert!(room.expect("it is known"), "who has no account yet has nothing");
    });
}

/// [`recount`](crate::MailStore::recount) gives what usage gives, as long as nobody else writes to the store.
pub fn counting_anew_gives_the_same<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("a/b").await.expect("create");
        for (mailbox, text) in [("a/b", "12345"), ("INBOX", "123"), ("INBOX", ""), ("Sent", "1")] {
            alice.append(mailbox, text).await;
        }
        let inbox = alice.select("INBOX").await;
        alice.expunge(&inbox, &[1]).await;
        alice.rename("a", "z").await.expect("rename");
        let wanted = Usage {
            octets: 6,
            messages: 3,
        };
        assert_eq!(
            alice.store.recount(&alice.account).await.expect("recount"),
            wanted
        );
        assert_eq!(alice.store.usage(&alice.account).await.expect("usage"), wanted);
        let nobody = User::of(&alice.store, "nobody");
        let nothing = alice.store.recount(&nobody.account).await;
        assert_eq!(nothing.expect("recount"), Usage::default());
    });
}
