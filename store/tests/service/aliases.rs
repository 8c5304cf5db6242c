//! Aliases as the service sees them: who gets mail, who may send as whom, what becomes of a file that is edited.

use std::time::Duration;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::directory::alias::{AliasFile, AliasKey, BadAlias};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::envelope::{DsnRequest, Notify};
use rmail_core::smtp::server::RecipientKind;
use rmail_core::time::{Mono, Now, Unix};
use rmail_store::accounts::AccountError;
use rmail_store::disk::Disk as _;
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Fault, MemDisk, Model, Outcome};

const FILE: &str = "domains/example.com/aliases.json";

const ALIASES: &str = r#"{
  "aliases": [
    {"name": "team", "targets": ["alice", "bob", "Eve@elsewhere.net"]},
    {"name": "sales", "targets": ["bob"]},
    {"name": "away", "targets": ["bob@elsewhere.net"]},
    {"name": "loop", "targets": ["pool"]},
    {"name": "pool", "targets": ["loop"]},
    {"name": "half", "targets": ["loop", "bob", "nobody"]},
    {"name": "gone", "targets": ["nobody"]},
    {"name": "bob+boss", "targets": ["alice"]}
  ],
  "patterns": [{"pattern": "to-(.+)", "targets": ["$1@example.org"]}]
}"#;

fn world() -> World {
    let world = World::new();
    world.edit(FILE, ALIASES);
    world
}

fn inbox_count(world: &World, name: &str) -> usize {
    world.inbox(name).rows.len()
}

#[test]
fn strangers_reach_aliases_wherever_they_lead() {
    let world = world();
    let session = world.smtp();
    for (to, result) in [
        ("Team@example.com", Ok(RecipientKind::Local)),
        ("sales+x@example.com", Ok(RecipientKind::Local)),
        ("away@example.com", Ok(RecipientKind::Local)),
        ("bob@elsewhere.net", Err(Refusal::RelayDenied)),
        ("to-Carol@example.com", Ok(RecipientKind::Local)),
        ("to-nobody@example.com", Err(Refusal::NoSuchUser)),
        ("gone@example.com", Err(Refusal::NoSuchUser)),
        ("loop@example.com", Err(Refusal::AliasLoop)),
        ("half@example.com", Ok(RecipientKind::Local)),
        ("team@example.org", Err(Refusal::NoSuchUser)),
    ] {
        assert_eq!(recipient(&session, None, to, None), result, "{to}");
    }
    let to = ["team@example.com", "to-carol@example.com", "alice@example.com"];
    send(&session, b"Subject: x\r\n\r\n", envelope(None, "x@a.net", &to)).expect("sent");
    for name in ["alice@example.com", "bob@example.com", "carol@example.org"] {
        assert_eq!(inbox_count(&world, name), 1, "{name}");
    }
    let told = world.told.lock().unwrap().clone();
    let elsewhere: Vec<&str> = told[0].recipients.iter().map(|to| to.address.as_str()).collect();
    assert_eq!((told.len(), elsewhere), (1, vec!["Eve@elsewhere.net"]));
    assert_eq!(told[0].sender, "x@a.net", "the sender stays");
    // Those that can be reached are.
    send(
        &session,
        b"\r\n",
        envelope(None, "x@a.net", &["half@example.com"]),
    )
    .expect("sent");
    assert_eq!(inbox_count(&world, "bob@example.com"), 2);
}

#[test]
fn without_relaying_nothing_goes_elsewhere() {
    let world = World::with(|settings| settings.relay_enabled = false);
    world.edit(FILE, ALIASES);
    let session = world.smtp();
    let to = |to| recipient(&session, None, to, None);
    assert_eq!(to("away@example.com"), Err(Refusal::RelayDisabled));
    assert_eq!(to("team@example.com"), Ok(RecipientKind::Local));
    send(&session, b"\r\n", envelope(None, "", &["team@example.com"])).expect("sent");
    assert_eq!(inbox_count(&world, "alice@example.com"), 1);
    assert!(world.told.lock().unwrap().is_empty());
}

#[test]
fn a_full_mailbox_does_not_close_an_alias() {
    let world = world();
    world.append("bob@example.com", "INBOX", &vec![b'x'; 1 << 20]);
    let session = world.smtp();
    assert_eq!(
        recipient(&session, None, "sales@example.com", None),
        Err(Refusal::OverQuota)
    );
    assert_eq!(
        recipient(&session, None, "team@example.com", None),
        Ok(RecipientKind::Local)
    );
    send(&session, b"\r\n", envelope(None, "", &["team@example.com"])).expect("sent");
    assert_eq!(inbox_count(&world, "bob@example.com"), 2);
}

#[test]
fn a_full_mailbox_does_not_keep_an_alias_from_those_elsewhere() {
    let world = world();
    world.append("bob@example.com", "INBOX", &vec![b'x'; 1 << 20]);
    world.edit(
        FILE,
        r#"{"aliases": [{"name": "mixed", "targets": ["bob", "ann@elsewhere.net"]}]}"#,
    );
    let session = world.smtp();
    let to = ["mixed@example.com"];
    assert_eq!(recipient(&session, None, to[0], None), Ok(RecipientKind::Local));
    send(&session, b"\r\n", envelope(None, "", &to)).expect("sent");
    assert_eq!(inbox_count(&world, "bob@example.com"), 2);
    assert_eq!(world.told.lock().unwrap().len(), 1);
    // Named himself he is full, also beside somebody elsewhere.
    let alice = Some("alice@example.com");
    let to = ["bob@example.com", "ann@elsewhere.net"];
    let refused = send(&session, b"\r\n", envelope(alice, "alice@example.com", &to));
    assert_eq!(refused, Err(Refusal::OverQuota));
}

#[test]
fn what_is_asked_of_a_delivery_follows_an_alias() {
    let world = world();
    let session = world.smtp();
    let all = Notify {
        success: true,
        failure: true,
        delay: false,
    };
    let ids = std::cell::Cell::new(0);
    let entry = |to: &[(&str, DsnRequest)]| {
        let paths: Vec<&str> = to.iter().map(|(path, _)| *path).collect();
        let mut envelope = envelope(Some("alice@example.com"), "alice@example.com", &paths);
        ids.set(ids.get() + 1);
        envelope.id = format!("m{}", ids.get());
        for (recipient, (_, dsn)) in envelope.recipients.iter_mut().zip(to) {
            recipient.dsn = dsn.clone();
        }
        send(&session, b"\r\n", envelope).expect("sent");
        let entry = world.told.lock().unwrap().pop().expect("an entry");
        entry.recipients[0].dsn.clone()
    };
    let asked = |original: Option<&str>| DsnRequest {
        notify: Some(all),
        original: original.map(str::to_owned),
    };
    assert_eq!(
        entry(&[("away@example.com", asked(None))]),
        asked(Some("rfc822;away@example.com"))
    );
    assert_eq!(
        entry(&[("away@example.com", asked(Some("rfc822;old@a.net")))]),
        asked(Some("rfc822;old@a.net"))
    );
    // Success is told of an alias with several targets, not of each of them.
    let failure_only = DsnRequest {
        notify: Some(Notify {
            success: false,
            ..all
        }),
        original: Some("rfc822;team@example.com".to_owned()),
    };
    assert_eq!(entry(&[("team@example.com", asked(None))]), failure_only);
    // What was asked for the address itself counts, whatever its place.
    let never = DsnRequest {
        notify: Some(Notify::default()),
        original: None,
    };
    for turn in [false, true] {
        let mut both = [
            ("away@example.com", asked(None)),
            ("bob@elsewhere.net", never.clone()),
        ];
        if turn {
            both.reverse();
        }
        assert_eq!(entry(&both), never);
    }
}

#[test]
fn what_is_asked_of_a_mailbox_follows_an_alias_while_the_message_is_held() {
    let world = world();
    let session = world.smtp();
    let ids = std::cell::Cell::new(0);
    let asked = |to: &[(&str, Notify)]| {
        let paths: Vec<&str> = to.iter().map(|(path, _)| *path).collect();
        let mut envelope = envelope(Some("alice@example.com"), "", &paths);
        ids.set(ids.get() + 1);
        envelope.id = format!("m{}", ids.get());
        envelope.hold_until = Some(rmail_core::time::Unix::from_secs(now().unix.secs() + 60));
        for (recipient, (_, notify)) in envelope.recipients.iter_mut().zip(to) {
            recipient.dsn.notify = Some(*notify);
        }
        send(&session, b"\r\n", envelope).expect("sent");
        let entry = world.told.lock().unwrap().pop().expect("an entry");
        assert_eq!((entry.recipients.len(), entry.recipients[0].local), (1, true));
        assert_eq!(entry.recipients[0].address, "bob@example.com");
        entry.recipients[0].dsn.clone()
    };
    let never = Notify::default();
    let success = Notify {
        success: true,
        ..never
    };
    let delay = Notify { delay: true, ..never };
    // The account behind an alias is not named: the sender knows the alias.
    let by_alias = asked(&[("sales@example.com", success)]);
    assert_eq!(by_alias.notify, Some(success));
    assert_eq!(by_alias.original.as_deref(), Some("rfc822;sales@example.com"));
    // What was asked for the account itself counts, whatever its place.
    for turn in [false, true] {
        let mut both = [("sales@example.com", success), ("bob@example.com", never)];
        if turn {
            both.reverse();
        }
        let direct = asked(&both);
        assert_eq!((direct.notify, direct.original), (Some(never), None));
    }
    let joined = asked(&[("bob+a@example.com", success), ("bob+b@example.com", delay)]);
    let both = Notify {
        success: true,
        ..delay
    };
    assert_eq!(joined.notify, Some(both));
}

#[test]
fn an_alias_gives_its_name_to_its_only_target() {
    let world = world();
    let session = world.smtp();
    let may = |by, from| sender(&session, Some(by), from, false);
    for (by, from, result) in [
        ("bob@example.com", "Sales@example.com", Ok(())),
        (
            "bob@example.com",
            "sales+x@example.com",
            Err(Refusal::SenderNotOwned),
        ),
        (
            "alice@example.com",
            "sales@example.com",
            Err(Refusal::SenderNotOwned),
        ),
        (
            "bob@example.com",
            "team@example.com",
            Err(Refusal::SenderNotOwned),
        ),
        (
            "carol@example.org",
            "to-carol@example.com",
            Err(Refusal::SenderNotOwned),
        ),
        // A name with a tag that is an alias is the alias's.
        (
            "bob@example.com",
            "bob+boss@example.com",
            Err(Refusal::SenderNotOwned),
        ),
        ("alice@example.com", "bob+boss@example.com", Ok(())),
        ("bob@example.com", "bob+else@example.com", Ok(())),
    ] {
        assert_eq!(may(by, from), result, "{by} {from}");
    }
    let mut message = envelope(Some("bob@example.com"), "bob@example.com", &["alice@example.com"]);
    message.authors = vec![address("sales@example.com")];
    send(&session, b"\r\n", message.clone()).expect("it is his");
    world.edit(FILE, "{}");
    assert_eq!(send(&session, b"\r\n", message), Err(Refusal::AuthorNotOwned));
}

#[test]
fn the_postmaster_may_be_an_alias_and_is_always_accepted() {
    let world = World::with(|settings| settings.hosting.postmaster = Some(address("admins@example.com")));
    world.edit(
        FILE,
        r#"{"aliases": [
          {"name": "admins", "targets": ["bob", "carol@example.org", "postmaster"]},
          {"name": "abuse", "targets": ["nobody"]}
        ]}"#,
    );
    let session = world.smtp();
    let all = ["postmaster", "postmaster@example.org", "abuse@example.com"];
    for (at, to) in all.into_iter().enumerate() {
        assert_eq!(
            recipient(&session, None, to, None),
            Ok(RecipientKind::Local),
            "{to}"
        );
        send(&session, b"\r\n", envelope(None, "", &[to])).expect(to);
        for name in ["bob@example.com", "carol@example.org"] {
            assert_eq!(inbox_count(&world, name), at + 1, "{to}");
        }
    }
    // Its aliases lead nowhere: the first administrator gets it.
    world.edit(
        FILE,
        r#"{"aliases": [{"name": "admins", "targets": ["admins"]}]}"#,
    );
    send(&session, b"\r\n", envelope(None, "", &["abuse@example.com"])).expect("sent");
    assert_eq!(inbox_count(&world, "alice@example.com"), 1);
}

#[test]
fn a_broken_file_keeps_the_last_good_copy() {
    let fresh = World::new();
    fresh.edit(FILE, "{\"aliases\": [}");
    let session = fresh.smtp();
    for to in ["sales@example.com", "bob@example.com", "postmaster@example.com"] {
        assert_eq!(
            recipient(&session, None, to, None),
            Err(Refusal::Unavailable),
            "{to}"
        );
    }
    let other = recipient(&session, None, "carol@example.org", None);
    assert_eq!(other, Ok(RecipientKind::Local), "another domain");

    let world = world();
    let session = world.smtp();
    let sales = || recipient(&session, None, "sales@example.com", None);
    assert_eq!(sales(), Ok(RecipientKind::Local));
    world.edit(FILE, "{");
    assert_eq!(sales(), Ok(RecipientKind::Local));
    world.edit(FILE, "{}");
    assert_eq!(sales(), Err(Refusal::NoSuchUser));
    world.edit(FILE, ALIASES);
    assert_eq!(sales(), Ok(RecipientKind::Local));
}

#[test]
fn a_file_that_is_gone_for_a_moment_goes_on_counting() {
    let world = world();
    let accounts = world.service.accounts();
    let at = |seconds| {
        accounts.tick(Now {
            mono: Mono(Duration::from_secs(seconds)),
            ..now()
        });
        let found = block_on(accounts.aliases(&domain("example.com"))).expect("read");
        found.is_some_and(|file| file.has_exact("sales"))
    };
    assert!(at(10));
    block_on(
        world
            .disk
            .unlink(&world.dir("domains/example.com"), "aliases.json"),
    )
    .expect("unlinked");
    assert!(at(10) && at(12) && at(14));
    assert!(!at(16) && !at(17));
    world.edit(FILE, ALIASES);
    assert!(at(17), "and it is seen at once when it is back");
    // A file that never was is looked for each time.
    let none = || {
        block_on(accounts.aliases(&domain("example.org")))
            .expect("read")
            .is_none()
    };
    assert!(none());
    world.edit("domains/example.org/aliases.json", "{}");
    assert!(!none());
}

fn add(file: &AliasFile, name: &str, target: &str) -> Result<AliasFile, BadAlias> {
    let key = AliasKey::Exact(name.to_owned());
    file.with_targets(&key, &[target.to_owned()], None, None, &domain("example.com"))
}

#[test]
fn changes_of_two_processes_are_both_there_and_seen_by_a_third() {
    for seed in 0..50 {
        let world = world();
        let session = world.smtp();
        let second = world.disk.process();
        let (one, two) = (accounts(&world.disk, 4), accounts(&second, 5));
        let own = domain("example.com");
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        for (accounts, name) in [(&one, "first"), (&one, "second"), (&two, "third")] {
            let own = &own;
            exec.spawn(async move {
                accounts
                    .change_aliases(own, |file| add(file, name, "bob"))
                    .await
                    .expect(name);
            });
        }
        exec.run().expect("all end");
        drop(exec);
        for name in ["first", "second", "third", "sales"] {
            let to = format!("{name}@example.com");
            assert_eq!(
                recipient(&session, None, &to, None),
                Ok(RecipientKind::Local),
                "{to}"
            );
        }
    }
}

#[test]
fn changes_that_cannot_be_leave_the_file() {
    let world = world();
    let accounts = world.service.accounts();
    let own = domain("example.com");
    let change = |target: &str| block_on(accounts.change_aliases(&own, |file| add(file, "new", target)));
    let before = world.read_file(FILE);
    assert!(matches!(change("a b"), Err(AccountError::Alias(_))));
    assert_eq!(world.read_file(FILE), before);
    block_on(accounts.change_aliases(&own, |file| Ok(file.clone()))).expect("nothing to do");
    assert_eq!(world.read_file(FILE), before);
    world.edit(FILE, "{\n \"aliases\": 1}");
    let error = change("bob").expect_err("broken").to_string();
    assert!(
        error.contains("domains/example.com/aliases.json: aliases: invalid type"),
        "{error}"
    );
    assert_eq!(world.read_file(FILE), "{\n \"aliases\": 1}");
    // A domain without a directory gets one.
    let new = domain("new.example");
    block_on(accounts.change_aliases(&new, |file| add(file, "new", "bob"))).expect("made");
    let found = block_on(accounts.aliases(&new)).expect("read").expect("there");
    assert!(found.has_exact("new"));
}

/// Whatever disk call it gets to, with a crash or a failing disk: the file is the old one or the new one.
#[test]
fn a_change_is_whole_or_not_there() {
    let own = domain("example.com");
    let change = |accounts: &rmail_store::accounts::Accounts<MemDisk>, name: &str| {
        block_on(accounts.change_aliases(&own, |file| add(file, name, "bob"))).is_ok()
    };
    for fault in [Fault::Crash, Fault::Errno(28), Fault::Short(28), Fault::Errno(5)] {
        let mut failed = 0;
        for at in 1..60 {
            let world = World::new();
            let here = world.service.accounts();
            assert!(change(here, "old"));
            world.disk.fault(world.disk.calls() + at, fault);
            let done = change(here, "new");
            let seed = [u8::try_from(at).unwrap(); 32];
            world
                .disk
                .power_cut(Model::Adversary, Outcome::Random, &mut Random::from_seed(seed));
            let accounts = accounts(&world.disk.process(), 9);
            let found = block_on(accounts.aliases(&own))
                .expect("never broken")
                .expect("never gone");
            assert!(found.has_exact("old"), "{fault:?} at call {at}");
            assert!(found.has_exact("new") || !done, "{fault:?}: lost at call {at}");
            assert!(change(&accounts, "again"), "{fault:?}: locked at call {at}");
            if done && at > 30 {
                break;
            }
            failed += usize::from(!done);
        }
        let least = if matches!(fault, Fault::Short(_)) { 1 } else { 6 };
        assert!(failed >= least, "{fault:?} at {failed} calls");
    }
}

/// RFC 3461 §5.2.7.3 (c): the sender hears of the alias, and not of each of its targets.
#[test]
fn success_of_an_alias_with_several_targets_is_told_once() {
    let success = Some(Notify {
        success: true,
        ..Notify::default()
    });
    for (hold, to, told) in [
        (
            None,
            "team@example.com",
            vec![("Eve@elsewhere.net", false), ("team@example.com", true)],
        ),
        (
            Some(60),
            "team@example.com",
            vec![
                ("Eve@elsewhere.net", false),
                ("alice@example.com", false),
                ("bob@example.com", false),
                ("team@example.com", true),
            ],
        ),
        (None, "away@example.com", vec![("bob@elsewhere.net", false)]),
    ] {
        let world = world();
        let mut envelope = envelope(Some("alice@example.com"), "alice@example.com", &[to]);
        envelope.recipients[0].dsn.notify = success;
        envelope.hold_until = hold.map(|seconds| Unix::from_secs(now().unix.secs() + seconds));
        send(&world.smtp(), b"\r\n", envelope).expect("sent");
        let entry = world.told.lock().unwrap().pop().expect("an entry");
        let seen: Vec<(&str, bool)> = entry
            .recipients
            .iter()
            .map(|to| (to.address.as_str(), to.expanded))
            .collect();
        assert_eq!(seen, told);
        let single = to == "away@example.com";
        for recipient in entry.recipients {
            assert_eq!(recipient.done.is_some(), recipient.expanded);
            let asked = recipient.dsn.notify.expect("it was asked for").success;
            assert_eq!(asked, recipient.expanded || single, "{}", recipient.address);
        }
    }
}
