//! REPLACE.

use rmail_core::mailbox::{Flags, Quota, SystemFlags, Uid};
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{FREE, NOW, User, check, flags, name, refusal, uids_of};
use crate::error::Result;
use crate::mailstore::MailStore;

async fn replace<S: MailStore>(
    alice: &User<S>,
    (from, uid): (&str, u32),
    to: &str,
    (text, flags): (&str, Flags),
    quota: &Quota,
) -> Result<Option<Vec<u32>>> {
    let mailbox = alice.select(from).await;
    let message = (alice.spool(text).await, flags, None);
    let to = name(to);
    let replaced = alice
        .store
        .replace(&mailbox, Uid(uid), (&alice.account, &to), message, quota, NOW)
        .await?;
    Ok(replaced.map(|(appended, snapshot)| {
        assert!(!uids_of(&snapshot).contains(&uid), "the snapshot is of after it");
        appended.uids.iter().map(|uid| uid.0).collect()
    }))
}

/// The new message is there with its own flags, the old one is not, whatever the mailbox; others stay, flagged as deleted or
/// not.
pub fn replace_puts_one_message_in_the_place_of_another<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("Drafts", "a").await;
        alice
            .append_with("Drafts", "b", flags(SystemFlags::DELETED, &[]))
            .await;
        alice.append("Drafts", "c").await;
        let seen = || flags(SystemFlags::SEEN, &["$k"]);
        let uids = replace(&alice, ("Drafts", 1), "Drafts", ("new", seen()), &FREE).await;
        assert_eq!(uids.expect("replaced"), Some(vec![4]));
        assert_eq!(alice.texts("Drafts").await, ["b", "c", "new"]);
        let drafts = alice.messages("Drafts").await;
        assert_eq!(drafts[1].system, SystemFlags::default());
        assert_eq!(drafts[2].system, SystemFlags::SEEN);
        assert_eq!(drafts[2].keywords, ["$k"]);
        let uids = replace(&alice, ("Drafts", 4), "Sent", ("sent", seen()), &FREE).await;
        assert_eq!(uids.expect("replaced"), Some(vec![1]));
        assert_eq!(alice.texts("Drafts").await, ["b", "c"]);
        assert_eq!(alice.texts("Sent").await, ["sent"]);
    });
}

/// Without an old message, or without a place for the new one, nothing changes.
pub fn replace_changes_nothing_where_it_cannot_be<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("Drafts", "a").await;
        let gone = replace(&alice, ("Drafts", 7), "Drafts", ("new", Flags::default()), &FREE).await;
        assert_eq!(gone.expect("no fault"), None);
        let none = replace(&alice, ("Drafts", 1), "none", ("new", Flags::default()), &FREE).await;
        assert_eq!(refusal(none), Some(Refusal::NoSuchMailbox));
        let messages = alice.messages("Drafts").await;
        assert_eq!((messages.len(), messages[0].text.as_str()), (1, "a"));
        assert_eq!(messages[0].system, SystemFlags::default());
    });
}

/// Of the quota only what the account gets more counts.
pub fn replace_needs_room_for_what_is_more<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.append("Drafts", "12345").await;
        let quota = Quota {
            octets: Some(6),
            messages: Some(1),
        };
        let new = |text| (text, Flags::default());
        let over = replace(&alice, ("Drafts", 1), "Drafts", new("1234567"), &quota).await;
        assert_eq!(refusal(over), Some(Refusal::OverQuota));
        assert_eq!(alice.texts("Drafts").await, ["12345"]);
        let fits = replace(&alice, ("Drafts", 1), "Drafts", new("123456"), &quota).await;
        assert_eq!(fits.expect("it fits"), Some(vec![2]));
        let tight = Quota {
            octets: Some(1),
            messages: Some(0),
        };
        let less = replace(&alice, ("Drafts", 2), "Sent", new("1234"), &tight).await;
        assert_eq!(less.expect("it is less"), Some(vec![1]));
        assert_eq!(alice.usage().await, 4);
    });
}
