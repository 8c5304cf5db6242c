//! What others may do with a mailbox, and what is noted about it: access control lists and annotations.

use rmail_core::addr::AccountName;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    Acl, Annotated, AnnotationChange, Annotations, Entry, Identifier, MailboxName, Rights, RightsChange,
};
use rmail_core::refusal::Refusal;

use super::Backend;
use super::words::{User, alice_of, check, name, refusal};
use crate::error::Result;
use crate::mailstore::MailStore;

fn rights(letters: &str) -> Rights {
    Rights::parse(letters).expect("rights")
}

/// Gives an identifier these rights and no others.
async fn share<S: MailStore>(user: &User<S>, mailbox: &str, who: &str, letters: &str) -> Result<()> {
    let who = Identifier::parse(who).expect("an identifier");
    let change = RightsChange::Replace(rights(letters));
    user.store
        .set_acl(&user.account, &name(mailbox), &who, change)
        .await
}

async fn acl<S: MailStore>(user: &User<S>, mailbox: &str) -> String {
    let acl = user.store.acl(&user.account, &name(mailbox)).await;
    shown(&acl.expect("the list"))
}

fn shown(acl: &Acl) -> String {
    let entries = acl
        .entries()
        .map(|(who, rights)| format!("{who} {}", rights.letters()));
    entries.collect::<Vec<_>>().join(", ")
}

/// What is shared with an account: `alice/INBOX lr`.
async fn shared<S: MailStore>(user: &User<S>) -> Vec<String> {
    let shared = user.store.shared(&user.account).await.expect("what is shared");
    let line = |mailbox: rmail_core::imap::server::SharedMailbox| {
        let owner = mailbox.owner.parts().0;
        format!("{owner}/{} {}", mailbox.name, mailbox.rights.letters())
    };
    shared.into_iter().map(line).collect()
}

fn of<S: MailStore>(user: &User<S>, mailbox: &str) -> Annotated {
    Annotated::Mailbox(user.account.clone(), name(mailbox))
}

fn set(whose: Option<&AccountName>, path: &str, value: Option<&[u8]>) -> AnnotationChange {
    AnnotationChange {
        entry: Entry {
            whose: whose.cloned(),
            path: path.to_owned(),
        },
        value: value.map(<[u8]>::to_vec),
    }
}

async fn annotations<S: MailStore>(user: &User<S>, about: &Annotated) -> Vec<(String, Vec<u8>)> {
    let all = user.store.annotations(about).await.expect("annotations");
    let shown = |(entry, value): (&Entry, &[u8])| {
        let whose = entry.whose.as_ref().map_or("", |whose| whose.parts().0);
        (format!("{whose}{}", entry.path), value.to_vec())
    };
    all.entries().map(shown).collect()
}

/// Entries are replaced, added to and taken from; one without rights goes; who has something shared sees it.
pub fn rights_are_given_and_taken<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let bob = User::of(&alice.store, "bob");
        bob.make().await;
        let who = format!("{}", bob.account);
        assert!(acl(&alice, "INBOX").await.is_empty() && shared(&bob).await.is_empty());
        alice.create("work/sub").await.expect("create");
        share(&alice, "work", &who, "lr").await.expect("share");
        share(&alice, "INBOX", "anyone", "l").await.expect("share");
        let negative = format!("-{who}");
        share(&alice, "INBOX", &negative, "l").await.expect("share");
        assert_eq!(acl(&alice, "INBOX").await, format!("anyone l, {negative} l"));
        assert_eq!(shared(&bob).await, ["alice/work lr"]);
        assert!(
            shared(&alice).await.is_empty(),
            "one's own are not shared with oneself"
        );
        let carol = User::of(&alice.store, "carol");
        carol.make().await;
        assert_eq!(shared(&carol).await, ["alice/INBOX l"]);
        let add = RightsChange::Add(rights("s"));
        let bobs = Identifier::parse(&who).expect("good");
        let changed = alice
            .store
            .set_acl(&alice.account, &name("work"), &bobs, add)
            .await;
        changed.expect("add");
        assert_eq!(shared(&bob).await, ["alice/work lrs"]);
        let inbox = alice.select("work").await;
        let of_open = alice.store.acl_of(&inbox).await.expect("the list");
        assert_eq!(shown(&of_open), format!("{who} lrs"));
        share(&alice, "work", &who, "").await.expect("take away");
        assert!(shared(&bob).await.is_empty() && acl(&alice, "work").await.is_empty());
        assert_eq!(
            refusal(share(&alice, "none", &who, "l").await),
            Some(Refusal::NoSuchMailbox)
        );
    });
}

/// A new mailbox has the list of the one above it; a renamed one keeps its own; with the mailbox it goes.
pub fn a_list_belongs_to_its_mailbox<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("work").await.expect("create");
        share(&alice, "work", "anyone", "lr").await.expect("share");
        alice.create("work/new").await.expect("create");
        assert_eq!(acl(&alice, "work/new").await, "anyone lr");
        share(&alice, "work/new", "anyone", "l").await.expect("share");
        alice.rename("work", "play").await.expect("rename");
        assert_eq!(acl(&alice, "play").await, "anyone lr");
        assert_eq!(acl(&alice, "play/new").await, "anyone l");
        alice.delete("play").await.expect("delete");
        let bob = User::of(&alice.store, "bob");
        bob.make().await;
        assert_eq!(shared(&bob).await, ["alice/play/new l"]);
        alice.create("play").await.expect("create");
        assert!(acl(&alice, "play").await.is_empty(), "it is another one");
        alice.delete("play/new").await.expect("delete");
        assert!(shared(&bob).await.is_empty());
        alice.create("play/new").await.expect("create");
        assert!(acl(&alice, "play/new").await.is_empty());
    });
}

/// Annotations are set all together or not at all, each account has its own beside the shared ones, of any octets.
pub fn annotations_are_kept_as_they_are<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let (store, me) = (&alice.store, &alice.account);
        let inbox = of(&alice, "INBOX");
        let changes = [
            set(None, "/comment", Some(b"x")),
            set(Some(me), "/comment", Some(&[0, 0xff, b'\n'])),
            set(Some(me), "/empty", Some(b"")),
        ];
        store.annotate(&inbox, &changes).await.expect("annotate");
        let all = [
            ("/comment".to_owned(), b"x".to_vec()),
            ("alice/comment".to_owned(), vec![0, 0xff, b'\n']),
            ("alice/empty".to_owned(), Vec::new()),
        ];
        assert_eq!(annotations(&alice, &inbox).await, all);
        let changes = [set(None, "/comment", None), set(Some(me), "/none", None)];
        store.annotate(&inbox, &changes).await.expect("annotate");
        assert_eq!(annotations(&alice, &inbox).await, all[1..]);
        // A change has a MODSEQ, what changes nothing has none.
        let name = MailboxName::inbox();
        let modseq = async || store.status(me, &name).await.expect("status").modseq;
        let before = modseq().await;
        store.annotate(&inbox, &changes).await.expect("annotate");
        assert_eq!(modseq().await, before);
        let changes = [
            set(Some(me), "/comment", Some(b"z")),
            set(Some(me), "/empty", None),
        ];
        store.annotate(&inbox, &changes).await.expect("annotate");
        assert!(modseq().await > before);
        let back = [
            set(Some(me), "/comment", Some(&[0, 0xff, b'\n'])),
            set(Some(me), "/empty", Some(b"")),
        ];
        store.annotate(&inbox, &back).await.expect("annotate");
        for about in [Annotated::Server, Annotated::Account(me.clone())] {
            assert!(annotations(&alice, &about).await.is_empty());
            let changes = [set(None, "/comment", Some(b"y"))];
            store.annotate(&about, &changes).await.expect("annotate");
            assert_eq!(annotations(&alice, &about).await.len(), 1);
        }
        let many: Vec<_> = (0..=Annotations::MAX_COUNT)
            .map(|number| set(None, &format!("/{number}"), Some(b"")))
            .collect();
        let refused = store.annotate(&inbox, &many).await;
        assert_eq!(refusal(refused), Some(Refusal::MailboxFull));
        assert_eq!(annotations(&alice, &inbox).await, all[1..], "nothing was set");
        let none = of(&alice, "none");
        let refused = store.annotate(&none, &[set(None, "/a", Some(b""))]).await;
        assert_eq!(refusal(refused), Some(Refusal::NoSuchMailbox));
        let refused = store.annotations(&none).await;
        assert_eq!(refusal(refused), Some(Refusal::NoSuchMailbox));
    });
}

/// Annotations stay with a mailbox that is renamed, and go with it; RENAME of INBOX copies its.
pub fn annotations_belong_to_their_mailbox<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        alice.create("work/sub").await.expect("create");
        for mailbox in ["INBOX", "work", "work/sub"] {
            let changes = [set(None, "/comment", Some(mailbox.as_bytes()))];
            let set = alice.store.annotate(&of(&alice, mailbox), &changes).await;
            set.expect("annotate");
        }
        let comment = async |mailbox: &str| {
            let all = annotations(&alice, &of(&alice, mailbox)).await;
            all.into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
                .concat()
        };
        alice.rename("work", "play").await.expect("rename");
        assert_eq!(comment("play").await, b"work");
        assert_eq!(comment("play/sub").await, b"work/sub");
        alice.delete("play").await.expect("delete");
        alice.create("play").await.expect("create");
        assert_eq!(comment("play").await, b"");
        assert_eq!(comment("play/sub").await, b"work/sub");
        alice.delete("play/sub").await.expect("delete");
        alice.create("play/sub").await.expect("create");
        assert_eq!(comment("play/sub").await, b"");
        alice.rename("INBOX", "old").await.expect("rename");
        assert_eq!(comment("old").await, b"INBOX");
        assert_eq!(comment("INBOX").await, b"INBOX");
    });
}

/// An account that is deleted leaves neither.
pub fn lists_and_annotations_go_with_their_account<B: Backend>(backend: &B) {
    check(backend, async |alice: User<B::Store>| {
        let bob = User::of(&alice.store, "bob");
        bob.make().await;
        let noted = Annotated::Account(alice.account.clone());
        let changes = [set(None, "/comment", Some(b"x"))];
        for about in [&noted, &of(&alice, "INBOX")] {
            alice.store.annotate(about, &changes).await.expect("annotate");
        }
        share(&alice, "INBOX", "anyone", "lr").await.expect("share");
        assert_eq!(shared(&bob).await, ["alice/INBOX lr"]);
        alice.store.delete_account(&alice.account).await.expect("delete");
        assert!(shared(&bob).await.is_empty());
        alice.make().await;
        assert!(shared(&bob).await.is_empty() && annotations(&alice, &noted).await.is_empty());
        assert!(annotations(&alice, &of(&alice, "INBOX")).await.is_empty());
    });
}

/// Lists, what is known of who shares, and annotations are there again after a kill.
pub fn they_survive_a_kill<B: Backend>(backend: &B) {
    let limits = Limits::small();
    let alice = alice_of(backend, &backend.open(limits));
    backend.block_on(async {
        share(&alice, "INBOX", "anyone", "lr").await.expect("share");
        let changes = [set(None, "/comment", Some(b"x"))];
        let about = of(&alice, "INBOX");
        alice.store.annotate(&about, &changes).await.expect("annotate");
    });
    let User { store, .. } = alice;
    if let Some(store) = backend.restart(store, limits) {
        let alice = User::of(&store, "alice");
        backend.block_on(async {
            assert_eq!(acl(&alice, "INBOX").await, "anyone lr");
            let about = of(&alice, "INBOX");
            assert_eq!(
                annotations(&alice, &about).await,
                [("/comment".to_owned(), b"x".to_vec())]
            );
            let bob = User::of(&store, "bob");
            bob.make().await;
            assert_eq!(shared(&bob).await, ["alice/INBOX lr"]);
        });
    }
}
