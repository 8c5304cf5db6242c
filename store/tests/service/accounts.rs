//! Users on disk: what operators do, and what is left of it after a crash.

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::secret::Secret;
use rmail_store::MailStore as _;
use rmail_store::accounts::{AccountError, account_name};
use rmail_store::disk::Disk as _;
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{MemDisk, Model, Outcome};

#[test]
fn users_are_made_listed_changed_and_removed() {
    let world = World::new();
    let accounts = world.service.accounts();
    let list = || block_on(accounts.list(&domain("example.com"))).expect("list");
    assert_eq!(list(), [account("alice@example.com"), account("bob@example.com")]);
    assert!(matches!(
        block_on(accounts.create(
            &*world.store,
            &account("BOB@example.com"),
            &new_user(false),
            now().unix
        )),
        Err(AccountError::AlreadyExists)
    ));
    let odd = account("\"../B b\"@example.com");
    block_on(accounts.create(&*world.store, &odd, &new_user(false), now().unix)).expect("create");
    assert!(
        world
            .read_file("domains/example.com/users/%~..%2Fb b/user.json")
            .contains("scram")
    );
    assert_eq!(list().len(), 3);
    let mailboxes = block_on(world.store.list(&odd)).expect("list");
    assert!(
        mailboxes
            .iter()
            .any(|entry| entry.name.is_inbox() && entry.subscribed)
    );
    block_on(accounts.change(&odd, |user| {
        user.quota_mb = 9;
        user.admin = true;
        true
    }))
    .expect("change");
    let user = block_on(accounts.find(&odd)).expect("find").expect("there");
    assert_eq!((user.quota_mb, user.admin, user.enabled), (9, true, true));
    block_on(accounts.delete(&*world.store, &odd)).expect("delete");
    assert_eq!(list().len(), 2);
    assert!(block_on(accounts.find(&odd)).expect("find").is_none());
    assert!(matches!(
        block_on(accounts.delete(&*world.store, &odd)),
        Err(AccountError::NoSuchUser)
    ));
    for name in ["nobody@example.com", "nobody@nowhere.net"] {
        let change = block_on(accounts.set_enabled(&account(name), false));
        assert!(matches!(change, Err(AccountError::NoSuchUser)), "{name}");
    }
}

#[test]
fn names_that_operators_mistype() {
    let hosting = settings().hosting;
    assert_eq!(
        account_name("Alice@Example.com", &hosting).expect("good"),
        account("alice@example.com")
    );
    for bad in [
        "alice",
        "",
        "@example.com",
        "a b@example.com",
        "alice@",
        "alice@exa mple.com",
    ] {
        assert!(
            matches!(account_name(bad, &hosting), Err(AccountError::BadName)),
            "{bad:?}"
        );
    }
    assert!(matches!(
        account_name("alice@elsewhere.net", &hosting),
        Err(AccountError::NotHosted)
    ));
}

#[test]
fn broken_files_are_not_overwritten() {
    let world = World::new();
    let accounts = world.service.accounts();
    let bob = account("bob@example.com");
    world.edit(&user_file("bob@example.com"), "{\n  \"enabled\": 1\n}");
    let error = block_on(accounts.set_password(&bob, &Secret::new("x"), 1)).expect_err("broken");
    let text = error.to_string();
    assert!(
        text.contains("domains/example.com/users/bob/user.json: enabled: ") && text.contains("line 2 column"),
        "{text}"
    );
    assert_eq!(
        world.read_file(&user_file("bob@example.com")),
        "{\n  \"enabled\": 1\n}"
    );
    block_on(accounts.delete(&*world.store, &bob)).expect("a broken user can be removed");
}

/// What an editor does that puts the old file away before the new one is there.
#[test]
fn a_user_whose_file_is_away_for_a_moment_is_not_unknown() {
    let world = World::new();
    let bob = "bob@example.com";
    let dir = world.dir("domains/example.com/users/bob");
    let move_file = |from: &str, to: &str| {
        let text = world.read_file(&format!("domains/example.com/users/bob/{from}"));
        world.edit(&format!("domains/example.com/users/bob/{to}"), &text);
        block_on(world.disk.unlink(&dir, from)).expect("unlink");
    };
    for known in [true, false] {
        // A process that never saw the file, and one that did.
        let service = rmail_store::service::Service::new(
            std::sync::Arc::clone(&world.store),
            accounts(&world.disk, 7),
            settings(),
        );
        let session = service.smtp_session(rmail_core::peer::Peer::LOCAL);
        if known {
            recipient(&session, None, bob, None).expect("known");
        }
        let epoch = login(&session, bob, PASSWORD).expect("right").1;
        move_file("user.json", "user.json~");
        assert_eq!(
            recipient(&session, None, bob, None),
            Err(Refusal::Unavailable),
            "{known}"
        );
        assert_eq!(login(&session, bob, PASSWORD), Err(Refusal::Unavailable));
        let call = rmail_core::smtp::server::Call::Recheck {
            account: account(bob),
            epoch,
        };
        let holds = rmail_core::smtp::server::Reply::Recheck(true);
        assert_eq!(ask(&session, call), holds, "nobody said that the login is over");
        move_file("user.json~", "user.json");
        recipient(&session, None, bob, None).expect("it is back");
    }
    // What a hand left behind of a user who was removed is no user.
    world.edit("domains/example.com/users/bob/notes.txt", "x");
    block_on(world.service.accounts().delete(&*world.store, &account(bob))).expect("delete");
    let session = world.smtp();
    assert_eq!(recipient(&session, None, bob, None), Err(Refusal::NoSuchUser));
    assert_eq!(world.read_file("domains/example.com/users/bob/notes.txt"), "x");
    assert_eq!(
        recipient(&session, None, "nobody@example.com", None),
        Err(Refusal::NoSuchUser)
    );
}

#[test]
fn nobody_inherits_the_mail_of_a_removal_that_was_cut_short() {
    let world = World::new();
    let bob = account("bob@example.com");
    world.append("bob@example.com", "INBOX", b"Subject: private\r\n\r\n");
    let calls = world.disk.calls();
    // Whatever call the removal gets to: the user who comes after has no mail.
    let mut ends = 0;
    for at in 1.. {
        let world = World::new();
        world.append("bob@example.com", "INBOX", b"Subject: private\r\n\r\n");
        let before = world.disk.calls();
        assert_eq!(before, calls);
        world.disk.fault(before + at, rmail_store::mem::Fault::Crash);
        if block_on(world.service.accounts().delete(&*world.store, &bob)).is_ok() {
            ends = at;
            break;
        }
        let disk = world.disk.process();
        let (store, accounts) = (open_store(&disk), accounts(&disk, 3));
        if block_on(accounts.find(&bob)).expect("find").is_some() {
            continue;
        }
        block_on(accounts.create(&store, &bob, &new_user(false), now().unix)).expect("create");
        let status = block_on(store.status(&bob, &mailbox_name("INBOX"))).expect("status");
        assert_eq!(status.messages, 0, "cut at call {at}");
    }
    assert!(ends > 5, "{ends}");
}

#[test]
fn a_user_is_whole_or_not_there_after_a_power_cut() {
    for outcome in [Outcome::Lost, Outcome::Kept, Outcome::Random] {
        for at in 1..200 {
            let disk = MemDisk::new();
            let (store, users) = (open_store(&disk), accounts(&disk, 1));
            let dan = account("dan@example.com");
            disk.fault(disk.calls() + at, rmail_store::mem::Fault::Crash);
            let created = block_on(users.create(&store, &dan, &new_user(true), now().unix));
            let done = created.is_ok();
            drop((store, users));
            disk.power_cut(Model::Adversary, outcome, &mut Random::from_seed([at as u8; 32]));
            let after = disk.process();
            let (store, users) = (open_store(&after), accounts(&after, 2));
            let found = block_on(users.find(&dan)).expect("never broken");
            assert!(found.is_some() || !done, "lost at call {at}");
            if let Some(user) = found {
                assert!(user.admin && user.password.is_some());
                block_on(store.status(&dan, &mailbox_name("INBOX"))).expect("a user has a mail tree");
            } else {
                block_on(users.create(&store, &dan, &new_user(true), now().unix)).expect("again");
            }
            if done {
                break;
            }
        }
    }
}

#[test]
fn changes_of_two_processes_do_not_undo_each_other() {
    for seed in 0..50 {
        let world = World::new();
        let bob = account("bob@example.com");
        let second = world.disk.process();
        let (one, two) = (accounts(&world.disk, 4), accounts(&second, 5));
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        exec.spawn(async {
            one.set_enabled(&bob, false).await.expect("disable");
        });
        exec.spawn(async {
            one.change(&bob, |user| {
                user.admin = true;
                true
            })
            .await
            .expect("admin");
        });
        exec.spawn(async {
            two.set_password(&bob, &Secret::new("new"), 1)
                .await
                .expect("password");
        });
        exec.run().expect("all end");
        drop(exec);
        let user = block_on(world.service.accounts().find(&bob))
            .expect("find")
            .expect("there");
        assert!(!user.enabled && user.admin, "seed {seed}");
        assert!(
            login(&world.smtp(), "bob@example.com", "new")
                .is_err_and(|refusal| { refusal == rmail_core::refusal::Refusal::AccountDisabled })
        );
    }
}

/// Removes a user while mail comes for it and its sessions make mailboxes: whoever is first, in the end there is either
/// a user or nothing.
#[test]
fn nothing_brings_back_the_tree_of_a_user_who_is_removed() {
    let mut left = [0, 0];
    for seed in 0..300_u16 {
        let world = World::new();
        let bob = account("bob@example.com");
        let (accounts, store) = (world.service.accounts(), &*world.store);
        // Half of the time bob has no mailboxes yet.
        if seed % 2 == 0 {
            block_on(store.delete_account(&bob)).expect("no mailboxes");
        }
        let spool = block_on(async {
            let mut spool = store.new_spool().await.expect("spool");
            let chunk = rmail_core::chunk::Chunk::copy_from(b"text");
            store.write_spool(&mut spool, chunk).await.expect("written");
            spool
        });
        let mut seed_octets = [0; 32];
        seed_octets[..2].copy_from_slice(&seed.to_le_bytes());
        let mut exec = Exec::new(Random::from_seed(seed_octets));
        let delivered = std::cell::Cell::new(false);
        exec.spawn(async {
            accounts.delete(store, &bob).await.expect("delete");
        });
        exec.spawn(async {
            let to = [(bob.clone(), rmail_core::mailbox::Quota::UNLIMITED)];
            let result = store.deliver(spool, &to, None, now().unix).await;
            delivered.set(result.is_ok());
        });
        exec.spawn(async {
            let name = rmail_core::mailbox::MailboxName::new("New").expect("a name");
            let _ = store.create(&bob, &name, &[], now().unix).await;
            let _ = store.welcome(&bob, now().unix).await;
        });
        exec.run().expect("nobody waits for ever");
        drop(exec);
        assert_eq!(block_on(accounts.find(&bob)).expect("find"), None, "seed {seed}");
        assert!(
            block_on(store.list(&bob)).expect("list").is_empty(),
            "seed {seed}"
        );
        let users = world.dir("domains/example.com/users");
        let listing = block_on(world.disk.list(&users)).expect("list");
        let names: Vec<String> = listing.entries.into_iter().map(|entry| entry.name).collect();
        assert!(!names.contains(&"bob".to_owned()), "seed {seed}: {names:?}");
        left[usize::from(delivered.get())] += 1;
        // The name is free again.
        block_on(accounts.create(store, &bob, &new_user(false), now().unix)).expect("create");
        assert_eq!(block_on(store.list(&bob)).expect("list").len(), 6, "seed {seed}");
    }
    assert!(left.iter().all(|count| *count > 0), "both happen: {left:?}");
}
