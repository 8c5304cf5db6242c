//! What SMTP sessions are told: senders, recipients, and the end of DATA.

use std::collections::BTreeMap;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::machine::SpoolId;
use rmail_core::refusal::Refusal;
use rmail_core::relay::bounce;
use rmail_core::smtp::envelope::Wishes;
use rmail_core::smtp::server::{Call, RecipientKind, Reply};
use rmail_store::MailStore as _;
use rmail_store::disk::{Disk as _, Free};
use rmail_store::mem::MemDir;

const MESSAGE: &[u8] = b"Return-Path: <alice@example.com>\r\nSubject: hello\r\n\r\nbody\r\n";

/// Every file: inode to (octets, names).
fn files(world: &World, dir: &MemDir, found: &mut BTreeMap<u64, (u64, u64)>) {
    for entry in block_on(world.disk.list(dir)).expect("list").entries {
        if entry.is_dir {
            files(
                world,
                &block_on(world.disk.open_dir(dir, &entry.name)).expect("open"),
                found,
            );
        } else {
            let stat = block_on(world.disk.stat_at(dir, &entry.name)).expect("stat");
            found.insert(stat.inode, (stat.size, stat.links));
        }
    }
}

#[test]
fn one_copy_reaches_two_users_and_the_queue() {
    let world = World::new();
    let session = world.smtp();
    let mut envelope = envelope(
        Some("alice@example.com"),
        "alice@example.com",
        &[
            "bob@example.com",
            "alice+x@example.com",
            "dan@elsewhere.net",
            "Bob@EXAMPLE.com",
            "eve@far.net",
        ],
    );
    envelope.relay_offset = 34;
    assert_eq!(send(&session, MESSAGE, envelope), Ok(()));
    assert_eq!(world.newest("bob@example.com"), MESSAGE);
    assert_eq!(world.newest("alice@example.com"), MESSAGE);
    assert_eq!(
        (
            world.inbox("alice@example.com").rows.len(),
            world.inbox("bob@example.com").rows.len()
        ),
        (1, 1)
    );

    let told = world.told.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    let entry = &told[0];
    assert_eq!(
        (entry.sender.as_str(), entry.account.as_deref()),
        ("alice@example.com", Some("alice@example.com"))
    );
    assert_eq!(
        (entry.offset, entry.size, entry.arrived),
        (34, MESSAGE.len() as u64, 1_700_000_000)
    );
    let to: Vec<&str> = entry.recipients.iter().map(|to| to.address.as_str()).collect();
    assert_eq!(to, ["dan@elsewhere.net", "eve@far.net"]);
    assert_eq!(block_on(world.service.load_outbound()).expect("queue"), told);
    let message = block_on(world.service.open_outbound(&entry.id)).expect("open");
    assert_eq!(message.len(), MESSAGE.len() as u64);
    assert_eq!(
        &*block_on(message.read(entry.offset, 1000)).expect("read"),
        &MESSAGE[34..]
    );
    assert_eq!(
        block_on(message.read(message.len(), 1000)).expect("read").len(),
        0
    );

    let mut all = BTreeMap::new();
    files(&world, world.disk.root(), &mut all);
    let copies: Vec<_> = all
        .values()
        .filter(|(size, _)| *size == MESSAGE.len() as u64)
        .collect();
    assert_eq!(copies, [&(MESSAGE.len() as u64, 3)], "one file with three names");
}

#[test]
fn who_may_send_to_whom() {
    let world = World::new();
    let session = world.smtp();
    let alice = Some("alice@example.com");
    let off = block_on(
        world
            .service
            .accounts()
            .set_enabled(&account("bob@example.com"), false),
    );
    off.expect("disable");
    let strict = World::with(|settings| settings.relay_enabled = false);
    let (local, external) = (Ok(RecipientKind::Local), Ok(RecipientKind::External));
    for (by, to, answer) in [
        (None, "alice@example.com", local),
        (None, "ALICE+tag@Example.COM", local),
        (None, "carol@example.org", local),
        (None, "nobody@example.com", Err(Refusal::NoSuchUser)),
        (None, "carol@example.com", Err(Refusal::NoSuchUser)),
        (None, "alice%elsewhere.net@example.com", Err(Refusal::NoSuchUser)),
        (None, "\"../alice\"@example.com", Err(Refusal::NoSuchUser)),
        (None, "bob@example.com", Err(Refusal::AccountDisabled)),
        (None, "dan@elsewhere.net", Err(Refusal::RelayDenied)),
        (None, "alice@[192.0.2.1]", Err(Refusal::RelayDenied)),
        (alice, "dan@elsewhere.net", external),
        (alice, "carol@example.org", local),
        (alice, "nobody@example.com", Err(Refusal::NoSuchUser)),
        (None, "postmaster", local),
        (None, "PostMaster@example.org", local),
        (None, "abuse@example.com", local),
    ] {
        assert_eq!(recipient(&session, by, to, None), answer, "{to} by {by:?}");
    }
    assert_eq!(
        recipient(&strict.smtp(), alice, "dan@elsewhere.net", None),
        Err(Refusal::RelayDisabled)
    );
    assert_eq!(
        recipient(&strict.smtp(), None, "dan@elsewhere.net", None),
        Err(Refusal::RelayDenied),
        "strangers learn nothing of the settings"
    );
}

#[test]
fn who_may_send_as_whom() {
    let world = World::new();
    let session = world.smtp();
    let bob = Some("bob@example.com");
    block_on(
        world
            .service
            .accounts()
            .change(&account("bob@example.com"), |user| {
                user.send_as = vec![rmail_core::directory::SendAs(address("team@elsewhere.net"))];
                true
            }),
    )
    .expect("change");
    let no = Err(Refusal::SenderNotOwned);
    for (by, from, trusted, answer) in [
        (bob, "bob@example.com", false, Ok(())),
        (bob, "BOB+lists@EXAMPLE.com", false, Ok(())),
        (bob, "", false, Ok(())),
        (bob, "Team@elsewhere.net", false, Ok(())),
        (bob, "alice@example.com", false, no),
        (bob, "bob@example.org", false, no),
        (bob, "alice@example.com", true, no),
        (Some("alice@example.com"), "bob@example.com", false, no),
        (
            Some("ghost@example.com"),
            "ghost@example.com",
            false,
            Err(Refusal::AccountDisabled),
        ),
        (None, "someone@elsewhere.net", false, Ok(())),
        (None, "", false, Ok(())),
        (None, "alice@example.com", false, no),
        (None, "nobody@example.org", false, no),
        (None, "alice@example.com", true, Ok(())),
    ] {
        assert_eq!(sender(&session, by, from, trusted), answer, "{from} by {by:?}");
    }
    world.edit(
        "domains/example.org/domain.json",
        r#"{"reject_own_sender": false}"#,
    );
    assert_eq!(sender(&session, None, "nobody@example.org", false), Ok(()));
    assert_eq!(sender(&session, None, "alice@example.com", false), no);
    world.edit("domains/example.org/domain.json", r#"{"reject_own_sender": "#);
    assert_eq!(
        sender(&session, None, "nobody@example.org", false),
        Ok(()),
        "the last good copy"
    );
    world.edit("domains/example.com/domain.json", "nonsense");
    assert_eq!(
        sender(&session, None, "alice@example.com", false),
        Err(Refusal::Unavailable)
    );
}

#[test]
fn authors_must_be_owned_and_nothing_remains_of_what_was_refused() {
    let world = World::new();
    let session = world.smtp();
    let mut envelope = envelope(
        Some("bob@example.com"),
        "bob@example.com",
        &["alice@example.com", "dan@elsewhere.net"],
    );
    envelope.authors = vec![address("bob+x@example.com"), address("alice@example.com")];
    assert_eq!(
        send(&session, MESSAGE, envelope.clone()),
        Err(Refusal::AuthorNotOwned)
    );
    assert_eq!(world.inbox("alice@example.com").rows.len(), 0);
    assert_eq!(block_on(world.service.load_outbound()).expect("queue"), []);
    envelope.authors.pop();
    let bob = account("bob@example.com");
    block_on(world.service.accounts().set_enabled(&bob, false)).expect("disable");
    assert_eq!(
        send(&session, MESSAGE, envelope.clone()),
        Err(Refusal::AccountDisabled)
    );
    block_on(world.service.accounts().set_enabled(&bob, true)).expect("enable");
    assert_eq!(send(&session, MESSAGE, envelope), Ok(()));
    assert_eq!(world.inbox("alice@example.com").rows.len(), 1);
    assert_eq!(world.told.lock().unwrap().len(), 1);
}

#[test]
fn quota_refuses_when_it_is_over_for_all() {
    let world = World::new();
    let session = world.smtp();
    let mib = 1 << 20;
    assert_eq!(
        recipient(&session, None, "bob@example.com", Some(mib)),
        Ok(RecipientKind::Local)
    );
    assert_eq!(
        recipient(&session, None, "bob@example.com", Some(mib + 1)),
        Err(Refusal::OverQuota)
    );
    world.append("bob@example.com", "Archive", &vec![b'x'; mib as usize]);
    assert_eq!(
        recipient(&session, None, "bob@example.com", None),
        Err(Refusal::OverQuota)
    );
    assert_eq!(
        send(&session, MESSAGE, envelope(None, "x@y.net", &["bob@example.com"])),
        Err(Refusal::OverQuota)
    );
    assert_eq!(world.inbox("bob@example.com").rows.len(), 0);
    let both = envelope(None, "x@y.net", &["bob@example.com", "alice@example.com"]);
    assert_eq!(send(&session, MESSAGE, both), Ok(()));
    assert_eq!(
        world.inbox("bob@example.com").rows.len(),
        1,
        "over for some: delivered to all"
    );
    block_on(
        world
            .service
            .accounts()
            .change(&account("bob@example.com"), |user| {
                user.quota_mb = 0;
                true
            }),
    )
    .expect("change");
    assert_eq!(
        recipient(&session, None, "bob@example.com", Some(u64::MAX)),
        Ok(RecipientKind::Local)
    );
}

#[test]
fn a_full_queue_is_refused_until_there_is_room() {
    let world = World::with(|settings| settings.max_queue_size = 1);
    let session = world.smtp();
    let alice = Some("alice@example.com");
    let out = || envelope(alice, "alice@example.com", &["dan@elsewhere.net"]);
    assert_eq!(send(&session, MESSAGE, out()), Ok(()));
    assert_eq!(
        recipient(&session, alice, "dan@elsewhere.net", None),
        Err(Refusal::QueueFull)
    );
    assert_eq!(send(&session, MESSAGE, out()), Err(Refusal::QueueFull));
    block_on(world.service.remove_outbound("m1")).expect("remove");
    assert_eq!(send(&session, MESSAGE, out()), Ok(()));
    assert_eq!(world.told.lock().unwrap().len(), 2);
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let world = World::new();
    let session = world.smtp();
    let to_bob = || envelope(None, "x@y.net", &["bob@example.com"]);
    let room = block_on(world.disk.free(world.disk.root())).expect("free");
    world.disk.set_free(Free {
        bytes: 1000,
        inodes: 1000,
    });
    assert_eq!(sender(&session, None, "x@y.net", false), Err(Refusal::DiskFull));
    assert_eq!(send(&session, MESSAGE, to_bob()), Err(Refusal::DiskFull));
    world.disk.set_free(room);
    world.disk.set_full(true);
    assert_eq!(send(&session, MESSAGE, to_bob()), Err(Refusal::DiskFull));
    let large = vec![b'x'; 300_000];
    assert_eq!(
        send(&session, &large, to_bob()),
        Err(Refusal::DiskFull),
        "already the spool"
    );
    world.disk.set_full(false);
    assert_eq!(send(&session, MESSAGE, to_bob()), Ok(()));
    assert_eq!(world.inbox("bob@example.com").rows.len(), 1);
}

#[test]
fn the_postmaster_is_configured_or_the_first_enabled_admin() {
    let world = World::new();
    let to = |session: &Smtp, to: &str| send(session, MESSAGE, envelope(None, "", &[to]));
    let count = |name| world.inbox(name).rows.len();
    assert_eq!(to(&world.smtp(), "postmaster"), Ok(()));
    assert_eq!(count("alice@example.com"), 1);
    let mut settings = settings();
    settings.hosting.postmaster = Some(address("carol+pm@example.org"));
    world.service.set_settings(settings.clone());
    assert_eq!(to(&world.smtp(), "abuse@example.com"), Ok(()));
    assert_eq!(count("carol@example.org"), 1);
    settings.hosting.postmaster = Some(address("chief@elsewhere.net"));
    world.service.set_settings(settings.clone());
    assert_eq!(
        to(&world.smtp(), "postmaster@example.org"),
        Ok(()),
        "strangers reach it wherever it is"
    );
    assert_eq!(
        world.told.lock().unwrap()[0].recipients[0].address,
        "chief@elsewhere.net"
    );
    settings.hosting.postmaster = Some(address("nobody@example.org"));
    world.service.set_settings(settings);
    assert_eq!(to(&world.smtp(), "postmaster"), Ok(()));
    assert_eq!(
        count("alice@example.com"),
        2,
        "nobody is there: the administrator"
    );
    block_on(
        world
            .service
            .accounts()
            .set_enabled(&account("alice@example.com"), false),
    )
    .expect("disable");
    assert_eq!(
        recipient(&world.smtp(), None, "postmaster", None),
        Err(Refusal::Unavailable)
    );
    let (abuse, user) = (account("abuse@example.com"), new_user(false));
    let create = world
        .service
        .accounts()
        .create(&*world.store, &abuse, &user, now().unix);
    block_on(create).expect("create");
    assert_eq!(
        to(&world.smtp(), "abuse@example.com"),
        Ok(()),
        "a user of that name"
    );
    assert_eq!(count("abuse@example.com"), 1);
}

#[test]
fn users_who_vanish_before_the_end_of_data_lose_nothing() {
    let world = World::new();
    let session = world.smtp();
    let accounts = world.service.accounts();
    block_on(accounts.delete(&*world.store, &account("bob@example.com"))).expect("delete");
    let both = envelope(None, "x@y.net", &["bob@example.com", "alice@example.com"]);
    assert_eq!(
        send(&session, MESSAGE, both),
        Err(Refusal::Unavailable),
        "the client tries all again"
    );
    assert_eq!(world.inbox("alice@example.com").rows.len(), 0);
    let one = envelope(None, "x@y.net", &["bob@example.com"]);
    assert_eq!(send(&session, MESSAGE, one), Err(Refusal::NoSuchUser));
}

#[test]
fn broken_user_files_are_temporary() {
    let world = World::new();
    let session = world.smtp();
    world.edit(&user_file("bob@example.com"), "{\"quota_mb\": ");
    assert_eq!(
        recipient(&session, None, "bob@example.com", None),
        Err(Refusal::Unavailable),
        "never read before"
    );
    assert_eq!(
        recipient(&session, None, "alice@example.com", None),
        Ok(RecipientKind::Local)
    );
    world.edit(&user_file("alice@example.com"), "{}x");
    assert_eq!(
        recipient(&session, None, "alice@example.com", None),
        Ok(RecipientKind::Local),
        "the last good copy"
    );
    world.edit(&user_file("bob@example.com"), "{}");
    assert_eq!(
        recipient(&session, None, "bob@example.com", None),
        Ok(RecipientKind::Local)
    );
}

#[test]
fn spools_that_are_not_there_fail_their_commit() {
    let world = World::new();
    let session = world.smtp();
    let spool = SpoolId(3);
    let commit = || Call::Commit {
        spool,
        envelope: envelope(None, "x@y.net", &["bob@example.com"]),
    };
    feed(&session, spool, b"lost");
    assert_eq!(ask(&session, commit()), Reply::Committed(Err(Refusal::Storage)));
    assert_eq!(ask(&session, Call::Open { spool }), Reply::Opened(Ok(())));
    assert_eq!(ask(&session, Call::Discard { spool }), Reply::Discarded);
    assert_eq!(ask(&session, commit()), Reply::Committed(Err(Refusal::Storage)));
    assert_eq!(world.inbox("bob@example.com").rows.len(), 0);
}

#[test]
fn notifications_reach_local_senders_whatever_their_quota() {
    let world = World::new();
    world.append("bob@example.com", "Archive", &vec![b'x'; 1 << 20]);
    let notice = b"Return-Path: <>\r\nSubject: failed\r\n\r\n";
    let message = bounce::Message {
        bytes: notice.to_vec(),
        offset: 17,
        eight_bit: false,
    };
    let tell = |sender: &str| {
        let about = bounce::Notice {
            kind: bounce::Kind::Failed,
            hostname: "mail.example.com".into(),
            sender: sender.into(),
            authenticated: false,
            entry: "e1".into(),
            arrived: now().unix,
            recipients: Vec::new(),
            wishes: Wishes {
                require_tls: true,
                envid: Some("x".into()),
                ..Wishes::default()
            },
        };
        block_on(world.service.deliver_bounce("b1", &about, &message, now()))
    };
    tell("bob+lists@example.com").expect("local");
    assert_eq!(world.newest("bob@example.com"), notice);
    for nobody in ["", "gone@example.com"] {
        tell(nobody).expect("dropped");
    }
    assert_eq!(world.told.lock().unwrap().len(), 0);
    tell("dan@elsewhere.net").expect("remote");
    let told = world.told.lock().unwrap().clone();
    assert_eq!((told[0].sender.as_str(), told[0].offset, told.len()), ("", 17, 1));
    // RFC 8689 section 5: protected as the message was; the rest was for the message alone.
    assert_eq!(
        (told[0].wishes.require_tls, told[0].wishes.envid.as_deref()),
        (true, None)
    );
    let message = block_on(world.service.open_outbound("b1")).expect("open");
    assert_eq!(
        &*block_on(message.read(17, 100)).expect("read"),
        b"Subject: failed\r\n\r\n"
    );
    assert_eq!(block_on(world.store.load_outbound()).expect("queue"), told);
}
