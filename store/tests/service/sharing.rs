//! What sessions may do with mailboxes of other accounts: the service decides, whatever a session asks.

use std::sync::Arc;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::imap::server::{Call, CopyUid, NewMessage, Reply};
use rmail_core::machine::SpoolId;
use rmail_core::mailbox::{
    Annotated, FlagChange, FlagOp, Flags, Identifier, Keyword, MailboxRef, ModSeq, Quota, Rights,
    RightsChange, SystemFlags, Uid, UidSet,
};
use rmail_core::mime::section::{Section, Spec, Text};
use rmail_core::refusal::Refusal;
use rmail_core::search::Key;
use rmail_store::MailStore as _;
use rmail_store::service::Serve as _;

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";
const CAROL: &str = "carol@example.org";

/// Gives bob these rights to a mailbox of alice, and no others.
fn share(world: &World, mailbox: &str, letters: &str) {
    let who = Identifier::parse(BOB).expect("an identifier");
    let rights = Rights::parse(letters).expect("rights");
    let change = RightsChange::Replace(rights);
    let (owner, mailbox) = (account(ALICE), mailbox_name(mailbox));
    let set = world.store.set_acl(&owner, &mailbox, &who, change);
    block_on(set).expect("share");
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().copied().map(Uid).collect()
}

fn change(op: FlagOp, system: SystemFlags) -> FlagChange {
    let keywords = Vec::new();
    FlagChange {
        op,
        flags: Flags { system, keywords },
    }
}

fn system_flags(world: &World, name: &str, mailbox: &str) -> Vec<SystemFlags> {
    let snapshot = world.snapshot(name, mailbox);
    snapshot.rows.iter().map(|row| row.flags).collect()
}

/// Why a call was refused.
fn refusal(reply: &Reply) -> Option<Refusal> {
    match reply {
        Reply::List(Err(refusal))
        | Reply::Shared(Err(refusal))
        | Reply::Acl(Err(refusal))
        | Reply::Rights(Err(refusal))
        | Reply::Annotations(Err(refusal))
        | Reply::Quota(Err(refusal))
        | Reply::Status(Err(refusal))
        | Reply::Selected(Err(refusal))
        | Reply::Changes(Err(refusal))
        | Reply::Done(Err(refusal))
        | Reply::Opened(Err(refusal))
        | Reply::Committed(Err(refusal))
        | Reply::Stored(Err(refusal))
        | Reply::Copied(Err(refusal))
        | Reply::Expunged(Err(refusal))
        | Reply::Bodies(Err(refusal))
        | Reply::Found(Err(refusal)) => Some(*refusal),
        _ => None,
    }
}

/// Every call that concerns a mailbox of alice, with what it needs. `None`: it is for its owner alone.
fn calls(inbox: &MailboxRef) -> Vec<(Call, Option<&'static str>)> {
    let (account, mailbox) = (account(ALICE), mailbox_name("INBOX"));
    let (a, m, r) = (|| account.clone(), || mailbox.clone(), || inbox.clone());
    let whole = Section::Octets {
        spec: Spec {
            part: Vec::new(),
            text: Text::Whole,
        },
        partial: None,
    };
    let seen = change(FlagOp::Add, SystemFlags::SEEN);
    let rights = Rights::READ;
    vec![
        (Call::List { account: a() }, None),
        (Call::Shared { account: a() }, None),
        (
            Call::Subscribe {
                account: a(),
                mailbox: m(),
                on: true,
            },
            None,
        ),
        (
            Call::Quota {
                account: a(),
                mailbox: None,
            },
            None,
        ),
        (
            Call::SetQuota {
                account: a(),
                quota: Quota::UNLIMITED,
            },
            None,
        ),
        (
            Call::Annotations {
                about: Annotated::Account(a()),
            },
            None,
        ),
        (
            Call::Annotate {
                about: Annotated::Account(a()),
                changes: vec![],
            },
            None,
        ),
        (
            Call::Annotate {
                about: Annotated::Server,
                changes: vec![],
            },
            None,
        ),
        (
            Call::Status {
                account: a(),
                mailbox: m(),
            },
            Some("r"),
        ),
        (
            Call::Select {
                account: a(),
                mailbox: m(),
                read_only: true,
            },
            Some("r"),
        ),
        (
            Call::Quota {
                account: a(),
                mailbox: Some(m()),
            },
            Some("r"),
        ),
        (Call::Changes { mailbox: r() }, Some("r")),
        (
            Call::Bodies {
                mailbox: r(),
                parts: vec![(Uid(1), whole)],
            },
            Some("r"),
        ),
        (
            Call::Search {
                mailbox: r(),
                uids: set(&[1]),
                program: Arc::new(Key::All),
            },
            Some("r"),
        ),
        (
            Call::Store {
                mailbox: r(),
                uids: set(&[1]),
                change: seen,
                unchanged_since: None,
            },
            Some("rs"),
        ),
        (
            Call::Open {
                spool: SpoolId(1),
                account: a(),
                mailbox: m(),
                size: 1,
                instead: None,
            },
            Some("i"),
        ),
        (
            Call::Copy {
                mailbox: r(),
                uids: set(&[1]),
                account: a(),
                to: m(),
            },
            Some("ri"),
        ),
        (
            Call::Acl {
                account: a(),
                mailbox: m(),
            },
            Some("a"),
        ),
        (
            Call::SetAcl {
                account: a(),
                mailbox: m(),
                identifier: "anyone".into(),
                change: RightsChange::Remove(rights),
            },
            Some("a"),
        ),
        (
            Call::Rights {
                account: a(),
                mailbox: m(),
            },
            Some("l"),
        ),
        (
            Call::Annotations {
                about: Annotated::Mailbox(a(), m()),
            },
            Some("lr"),
        ),
        (
            Call::Annotate {
                about: Annotated::Mailbox(a(), m()),
                changes: vec![],
            },
            Some("lw"),
        ),
        (
            Call::Create {
                account: a(),
                mailbox: mailbox_name("INBOX/below"),
                special_use: vec![],
            },
            Some("k"),
        ),
        (
            Call::Move {
                mailbox: r(),
                uids: set(&[1]),
                account: a(),
                to: m(),
            },
            Some("rtei"),
        ),
        (
            Call::Expunge {
                mailbox: r(),
                uids: None,
            },
            Some("re"),
        ),
        (
            Call::Create {
                account: a(),
                mailbox: mailbox_name("top"),
                special_use: vec![],
            },
            None,
        ),
    ]
}

#[test]
fn every_call_needs_its_rights() {
    let world = World::new();
    world.append(ALICE, "INBOX", b"Subject: x\r\n\r\ny\r\n");
    let inbox = world.mailbox(ALICE, "INBOX");
    let nobody = world.imap();
    let bob = world.imap_of(BOB);
    for (call, needed) in calls(&inbox) {
        let ask_with = |session: &Imap| refusal(&ask(session, call.clone()));
        assert_eq!(
            ask_with(&nobody),
            Some(Refusal::NotPermitted),
            "{call:?} by nobody"
        );
        share(&world, "INBOX", "");
        assert!(ask_with(&bob).is_some(), "{call:?} without rights");
        let Some(needed) = needed else {
            share(&world, "INBOX", "lrswipkxtea");
            assert_eq!(
                ask_with(&bob),
                Some(Refusal::NotPermitted),
                "{call:?} with all rights"
            );
            continue;
        };
        for missing in needed.chars() {
            // All but this one.
            let rest: String = "lrswipkxtea"
                .chars()
                .filter(|letter| *letter != missing)
                .collect();
            let matters = !matches!((needed, missing), ("l", _) | ("lr" | "lw", 'r' | 'w'));
            share(&world, "INBOX", &rest);
            assert_eq!(ask_with(&bob).is_some(), matters, "{call:?} with {rest}");
        }
        share(&world, "INBOX", needed);
        assert_eq!(ask_with(&bob), None, "{call:?} with {needed}");
    }
}

#[test]
fn what_cannot_be_seen_looks_as_if_it_were_not_there() {
    let world = World::new();
    let bob = world.imap_of(BOB);
    let status = |mailbox: &str| Call::Status {
        account: account(ALICE),
        mailbox: mailbox_name(mailbox),
    };
    let hidden = ask(&bob, status("INBOX"));
    assert_eq!(hidden, ask(&bob, status("nothing")));
    assert_eq!(refusal(&hidden), Some(Refusal::NoSuchMailbox));
    let nobody = Call::Status {
        account: account("nobody@example.com"),
        mailbox: mailbox_name("INBOX"),
    };
    assert_eq!(hidden, ask(&bob, nobody));
    share(&world, "INBOX", "l");
    assert_eq!(refusal(&ask(&bob, status("INBOX"))), Some(Refusal::NotPermitted));
}

#[test]
fn flags_are_changed_as_far_as_rights_go() {
    let world = World::new();
    world.append(ALICE, "INBOX", b"x");
    let mailbox = world.mailbox(ALICE, "INBOX");
    let alice = world.imap_of(ALICE);
    let bob = world.imap_of(BOB);
    let store = |session: &Imap, change, unchanged_since| {
        let call = Call::Store {
            mailbox: mailbox.clone(),
            uids: set(&[1]),
            change,
            unchanged_since,
        };
        match ask(session, call) {
            Reply::Stored(stored) => stored,
            other => panic!("{other:?}"),
        }
    };
    let before = SystemFlags::DELETED.with(SystemFlags::FLAGGED);
    store(&alice, change(FlagOp::Replace, before), None).expect("the owner may");
    share(&world, "INBOX", "lrs");
    store(&bob, change(FlagOp::Replace, SystemFlags::SEEN), None).expect("some of it");
    assert_eq!(
        system_flags(&world, ALICE, "INBOX"),
        [before.with(SystemFlags::SEEN)]
    );
    store(&bob, change(FlagOp::Replace, SystemFlags::default()), None).expect("some of it");
    assert_eq!(system_flags(&world, ALICE, "INBOX"), [before]);
    let refused = store(&bob, change(FlagOp::Remove, SystemFlags::DELETED), None);
    assert_eq!(refused.err(), Some(Refusal::NotPermitted));
    share(&world, "INBOX", "lrw");
    let mut replace = change(FlagOp::Replace, SystemFlags::ANSWERED);
    replace.flags.keywords.push(Keyword::new("$Mine").expect("atom"));
    let stored = store(&bob, replace.clone(), Some(ModSeq(1))).expect("nothing was done");
    assert_eq!(stored.modified, set(&[1]), "it has changed since");
    assert_eq!(system_flags(&world, ALICE, "INBOX"), [before]);
    store(&bob, replace, None).expect("some of it");
    let now = SystemFlags::DELETED.with(SystemFlags::ANSWERED);
    assert_eq!(system_flags(&world, ALICE, "INBOX"), [now]);
}

fn copied(reply: Reply) -> Result<CopyUid, Refusal> {
    match reply {
        Reply::Copied(result) => result.map(|(copied, _)| copied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_are_carried_between_accounts() {
    let world = World::new();
    for _ in 0..300 {
        world.append(BOB, "INBOX", b"Subject: x\r\n\r\ny\r\n");
    }
    let (bob, mailbox) = (world.imap_of(BOB), world.mailbox(BOB, "INBOX"));
    let everything = SystemFlags::SEEN
        .with(SystemFlags::DELETED)
        .with(SystemFlags::DRAFT);
    let all: UidSet = UidSet::from_ranges([(1, 300)]);
    let add = change(FlagOp::Add, everything);
    let stored = world.store.store(&mailbox, &all, &add, None);
    block_on(stored).expect("flags");
    share(&world, "Archive", "lrwis");
    let copy = |uids: UidSet| Call::Copy {
        mailbox: mailbox.clone(),
        uids,
        account: account(ALICE),
        to: mailbox_name("Archive"),
    };
    let done = copied(ask(&bob, copy(all))).expect("copied");
    assert_eq!((done.source.len(), done.target.len()), (300, 300));
    assert!(done.source.is_sorted() && done.target.is_sorted());
    let dates = |name, mailbox| -> Vec<_> {
        let snapshot = world.snapshot(name, mailbox);
        snapshot
            .rows
            .iter()
            .map(|row| (row.internal_date(), row.size))
            .collect()
    };
    assert_eq!(dates(ALICE, "Archive"), dates(BOB, "INBOX"));
    let kept = SystemFlags::SEEN.with(SystemFlags::DRAFT);
    assert!(
        system_flags(&world, ALICE, "Archive")
            .iter()
            .all(|flags| *flags == kept)
    );
    let none = copied(ask(&bob, copy(set(&[999])))).expect("nothing to copy");
    assert!(none.source.is_empty());
    assert_eq!(none.uid_validity, world.snapshot(ALICE, "Archive").uid_validity);
    // Back: they leave where they were only with the rights to it.
    let archive = world.mailbox(ALICE, "Archive");
    let take = || Call::Move {
        mailbox: archive.clone(),
        uids: set(&[1, 2]),
        account: account(BOB),
        to: mailbox_name("Trash"),
    };
    assert_eq!(copied(ask(&bob, take())), Err(Refusal::NotPermitted));
    share(&world, "Archive", "lrte");
    let done = copied(ask(&bob, take())).expect("moved");
    assert_eq!(done.source, [Uid(1), Uid(2)]);
    assert_eq!(world.snapshot(ALICE, "Archive").rows.len(), 298);
    assert_eq!(system_flags(&world, BOB, "Trash"), [kept, kept]);
}

#[test]
fn a_copy_that_does_not_fit_leaves_nothing() {
    let world = World::new();
    // alice may have 1 MiB: of 200 messages of 6,000 octets some fit, but not all.
    for _ in 0..200 {
        world.append(BOB, "INBOX", &[b'x'; 6_000]);
    }
    share(&world, "INBOX", "lrswit");
    let bob = world.imap_of(BOB);
    let call = Call::Copy {
        mailbox: world.mailbox(BOB, "INBOX"),
        uids: UidSet::from_ranges([(1, 200)]),
        account: account(ALICE),
        to: mailbox_name("INBOX"),
    };
    assert_eq!(copied(ask(&bob, call)), Err(Refusal::OverQuota));
    assert_eq!(world.inbox(ALICE).rows.len(), 0);
    let usage = block_on(world.store.usage(&account(ALICE))).expect("usage");
    assert!(usage.is_empty(), "{usage:?}");
}

#[test]
fn appended_flags_are_those_that_may_be_given() {
    let world = World::new();
    share(&world, "INBOX", "lis");
    let bob = world.imap_of(BOB);
    let (owner, inbox) = (account(ALICE), mailbox_name("INBOX"));
    let open = Call::Open {
        spool: SpoolId(1),
        account: owner.clone(),
        mailbox: inbox.clone(),
        size: 1,
        instead: None,
    };
    assert_eq!(ask(&bob, open), Reply::Opened(Ok(())));
    feed(&bob, SpoolId(1), b"x");
    let commit = Call::Commit {
        account: owner,
        mailbox: inbox,
        messages: vec![NewMessage {
            spool: SpoolId(1),
            flags: Flags {
                system: SystemFlags::ALL,
                keywords: vec![Keyword::new("$Mine").expect("atom")],
            },
            date: None,
        }],
    };
    assert!(matches!(ask(&bob, commit), Reply::Committed(Ok(_))));
    assert_eq!(system_flags(&world, ALICE, "INBOX"), [SystemFlags::SEEN]);
    assert!(world.inbox(ALICE).keywords.names().is_empty());
}

#[test]
fn what_is_selected_tells_its_rights() {
    let world = World::new();
    let bob = world.imap_of(BOB);
    let select = || {
        let call = Call::Select {
            account: account(ALICE),
            mailbox: mailbox_name("INBOX"),
            read_only: false,
        };
        match ask(&bob, call) {
            Reply::Selected(Ok(selected)) => (selected.read_only, selected.rights.letters()),
            other => panic!("{other:?}"),
        }
    };
    share(&world, "INBOX", "lrpkxa");
    assert_eq!(select(), (true, "lrpkxa".to_owned()));
    for letter in ["i", "e", "s", "w", "t"] {
        share(&world, "INBOX", &format!("r{letter}"));
        assert!(!select().0, "{letter}");
    }
}

#[test]
fn a_session_that_logs_in_again_is_somebody_else() {
    let world = World::new();
    let session = world.imap();
    let list = |name: &str| {
        let account = account(name);
        refusal(&ask(&session, Call::List { account }))
    };
    login(&session, BOB, PASSWORD).expect("bob");
    assert_eq!((list(BOB), list(CAROL)), (None, Some(Refusal::NotPermitted)));
    login(&session, CAROL, "wrong").expect_err("wrong");
    assert_eq!((list(BOB), list(CAROL)), (None, Some(Refusal::NotPermitted)));
    login(&session, CAROL, PASSWORD).expect("carol");
    assert_eq!((list(CAROL), list(BOB)), (None, Some(Refusal::NotPermitted)));
    block_on(async {
        let name = account(CAROL);
        let changed = world.service.accounts().set_enabled(&name, false).await;
        changed.expect("disable");
        let now = now();
        let reply = session
            .run(
                now,
                Call::Quota {
                    account: name,
                    mailbox: None,
                },
            )
            .await;
        assert!(
            matches!(reply, Reply::Quota(Ok(_))),
            "it is told by Recheck, not here"
        );
    });
}

#[test]
fn administrators_set_quotas_in_mib() {
    let world = World::new();
    let (alice, bob) = (world.imap_of(ALICE), world.imap_of(BOB));
    let set = |session: &Imap, octets, messages| {
        let quota = Quota { octets, messages };
        let call = Call::SetQuota {
            account: account(BOB),
            quota,
        };
        match ask(session, call) {
            Reply::Quota(result) => result.map(|(_, quota)| quota),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(set(&bob, Some(1), None), Err(Refusal::NotPermitted));
    let quota = |octets: Option<u64>, messages| Ok(Quota { octets, messages });
    assert_eq!(
        set(&alice, Some((1 << 20) + 1), Some(7)),
        quota(Some(2 << 20), Some(7))
    );
    assert_eq!(
        set(&alice, Some(0), None),
        quota(Some(1 << 20), None),
        "0 is no limit in the file"
    );
    assert_eq!(set(&alice, None, None), Ok(Quota::UNLIMITED));
}
