//! Accounts: made, removed, apart from each other.

use rmail_core::mailbox::{Flags, SpecialUse};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;

use super::Backend;
use super::words::{NOW, User, check, name, refusal};
use crate::mailstore::{DEFAULT_MAILBOXES, MailStore as _};

/// A new account has the default mailboxes with their uses, empty, subscribed; making it again changes nothing.
pub fn a_new_account_has_the_default_mailboxes<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("Drafts", "kept").await;
        alice.make().await;
        let welcome = alice.store.welcome(&alice.account, NOW).await;
        welcome.expect("it is there");
        let list = alice.list().await;
        let mut wanted: Vec<(&str, &[SpecialUse])> = DEFAULT_MAILBOXES.to_vec();
        wanted.sort();
        let found: Vec<(&str, &[SpecialUse])> = list
            .iter()
            .map(|entry| (entry.name.as_str(), entry.special_use.as_slice()))
            .collect();
        assert_eq!(found, wanted);
        assert!(
            list.iter()
                .all(|entry| entry.subscribed && entry.selectable && entry.exists)
        );
        assert_eq!(alice.texts("Drafts").await, ["kept"]);
        let inbox = alice.status("INBOX").await;
        assert_eq!((inbox.messages, inbox.uid_next.0), (0, 1));
        assert!(inbox.modseq.0 >= 1 && inbox.uid_validity.0 >= 1);
    });
}

/// Of an account that was not made there is nothing to see, and nothing is done to it.
pub fn an_account_that_is_not_there_has_nothing<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let nobody = User::of(&alice.store, "nobody");
        assert_eq!(nobody.list().await, []);
        assert_eq!(nobody.usage().await, 0);
        let missing = Some(Refusal::NoSuchMailbox);
        assert_eq!(refusal(nobody.try_select("INBOX").await), missing);
        let news = [("lost", Flags::default())];
        assert_eq!(refusal(nobody.try_append("INBOX", &news).await), missing);
        assert_eq!(refusal(nobody.delete("Sent").await), missing);
        assert_eq!(refusal(nobody.rename("Sent", "Other").await), missing);
        assert_eq!(refusal(nobody.rename("INBOX", "Other").await), missing);
        let subscribed = alice.store.subscribe(&nobody.account, &name("Sent"), true).await;
        assert_eq!(refusal(subscribed), missing);
        assert_eq!(nobody.list().await, [], "asking has not made it");
    });
}

/// Delivery and CREATE make the account if need be.
pub fn delivery_and_create_make_the_account<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let (bob, carol) = (User::of(&alice.store, "bob"), User::of(&alice.store, "carol"));
        bob.deliver(&[], "welcome").await.expect("deliver");
        assert_eq!(bob.texts("INBOX").await, ["welcome"]);
        carol.create("Work").await.expect("create");
        for user in [bob, carol] {
            let defaults = DEFAULT_MAILBOXES.iter().map(|(name, _)| *name);
            for mailbox in defaults {
                assert!(user.listed(mailbox).await.is_some_and(|entry| entry.selectable));
            }
        }
    });
}

/// With the account its mailboxes, messages and subscriptions are gone, for those too who have one selected. An account
/// that is made later under its name is a new one, whose mailboxes have a higher UIDVALIDITY once the clock has moved on.
pub fn a_deleted_account_leaves_nothing_to_the_next_of_its_name<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("INBOX", "secret").await;
        alice.create("Work").await.expect("create");
        let subscribed = alice.store.subscribe(&alice.account, &name("Work"), true).await;
        subscribed.expect("subscribe");
        let inbox = alice.select("INBOX").await;
        let before = alice.status("INBOX").await;
        alice
            .store
            .delete_account(&alice.account)
            .await
            .expect("delete the account");
        assert_eq!(alice.list().await, []);
        assert_eq!(alice.usage().await, 0);
        let gone = Some(Refusal::NoSuchMailbox);
        assert_eq!(refusal(alice.store.snapshot(&inbox).await), gone);
        let news = [("lost", Flags::default())];
        assert_eq!(refusal(alice.try_append("INBOX", &news).await), gone);
        let later = Unix::from_secs(NOW.secs() + 1_000);
        let made = alice.store.create_account(&alice.account, later).await;
        made.expect("make it again");
        assert!(alice.texts("INBOX").await.is_empty());
        assert!(alice.status("INBOX").await.uid_validity > before.uid_validity);
        assert_eq!(alice.listed("Work").await, None);
        assert_eq!(
            refusal(alice.store.snapshot(&inbox).await),
            gone,
            "it is another INBOX"
        );
    });
}

/// Deleting what is not there is done already.
pub fn deleting_an_account_twice_does_nothing<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        for _ in 0..2 {
            let deleted = alice.store.delete_account(&alice.account).await;
            deleted.expect("delete the account");
        }
        let nobody = User::of(&alice.store, "nobody");
        let deleted = alice.store.delete_account(&nobody.account).await;
        deleted.expect("delete what never was");
    });
}

/// What one account does is nothing to another.
pub fn accounts_do_not_see_each_other<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let bob = User::of(&alice.store, "bob");
        bob.make().await;
        alice.append("INBOX", "for alice").await;
        alice.create("Work").await.expect("create");
        assert!(bob.texts("INBOX").await.is_empty());
        assert_eq!(bob.listed("Work").await, None);
        alice
            .store
            .delete_account(&alice.account)
            .await
            .expect("delete the account");
        assert!(bob.texts("INBOX").await.is_empty());
    });
}

/// Usage is the octets of all messages of all mailboxes: copies count, what was removed does not.
pub fn usage_is_the_octets_of_all_messages<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        assert_eq!(alice.usage().await, 0);
        alice.append("INBOX", "12345").await;
        alice.deliver(&[], "123").await.expect("deliver");
        alice.create("a/b").await.expect("create");
        alice.append("a/b", "1234567").await;
        assert_eq!(alice.usage().await, 15);
        let inbox = alice.select("INBOX").await;
        alice.copy(&inbox, &[1], "a/b").await.expect("copy");
        assert_eq!(alice.usage().await, 20);
        alice.r#move(&inbox, &[2], "a").await.expect("move");
        assert_eq!(alice.usage().await, 20);
        alice.expunge(&inbox, &[1]).await;
        assert_eq!(alice.usage().await, 15);
        alice.rename("a", "z").await.expect("rename");
        assert_eq!(alice.usage().await, 15);
        alice.delete("z/b").await.expect("delete");
        assert_eq!(alice.usage().await, 3);
        alice.delete("z").await.expect("delete");
        assert_eq!(alice.usage().await, 0);
    });
}
