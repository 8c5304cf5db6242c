//! Application passwords: what they open, how long, and what is left when one is taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::directory::{Access, MAX_APP_PASSWORDS};
use rmail_core::imap::server as imap;
use rmail_core::machine::{Scope, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::refusal::Refusal;
use rmail_core::secret::Secret;
use rmail_core::smtp::server as smtp;
use rmail_core::time::{Now, Unix};
use rmail_store::accounts::{AccountError, NewAppPassword};
use rmail_store::service::{Answer, Pool, Serve as _};

const ALICE: &str = "alice@example.com";

fn remove(world: &World, name: &str) -> Result<(), AccountError> {
    block_on(
        world
            .service
            .accounts()
            .remove_app_password(&account(ALICE), name),
    )
}

fn holds(session: &Imap, epoch: u64) -> bool {
    let call = imap::Call::Recheck {
        account: account(ALICE),
        epoch,
    };
    ask(session, call) == imap::Reply::Recheck(true)
}

#[test]
fn an_app_password_opens_what_it_is_for_until_its_end() {
    let world = World::new();
    let (smtp, imap) = (world.smtp(), world.imap());
    let wrong = Err(Refusal::BadCredentials);
    add_app(
        &world,
        ALICE,
        "mail program",
        "one",
        &[Access::Smtp, Access::Imap],
        None,
    );
    add_app(&world, ALICE, "reader", "two", &[Access::Imap], None);
    add_app(&world, ALICE, "old", "three", &Access::ALL, Some(now().unix));
    let later = Unix::from_secs(now().unix.secs() + 1);
    add_app(&world, ALICE, "new", "four", &Access::ALL, Some(later));
    for (password, by_smtp, by_imap) in [
        (PASSWORD, true, true),
        ("one", true, true),
        ("two", false, true),
        ("three", false, false),
        ("four", true, true),
        ("five", false, false),
    ] {
        // Twice: hashed, and remembered.
        for _ in 0..2 {
            for (right, result) in [
                (by_smtp, login(&smtp, ALICE, password)),
                (by_imap, login(&imap, ALICE, password)),
            ] {
                if right {
                    result.expect(password);
                } else {
                    assert_eq!(result, wrong, "{password}");
                }
            }
        }
    }
}

#[test]
fn sessions_end_with_the_secret_that_opened_them() {
    let world = World::new();
    let session = world.imap();
    add_app(&world, ALICE, "one", "one", &Access::ALL, None);
    add_app(&world, ALICE, "two", "two", &Access::ALL, None);
    let epoch = |password| login(&session, ALICE, password).expect("right").1;
    let (main, one, two) = (epoch(PASSWORD), epoch("one"), epoch("two"));
    assert!(holds(&session, main) && holds(&session, one) && holds(&session, two));
    remove(&world, "one").expect("removed");
    assert!(holds(&session, main) && !holds(&session, one) && holds(&session, two));
    assert_eq!(
        login(&session, ALICE, "one"),
        Err(Refusal::BadCredentials),
        "it is not remembered either"
    );
    world.set_password(ALICE, "another");
    assert!(!holds(&session, main) && holds(&session, two));
    login(&session, ALICE, "another").expect("the new one");
    assert_eq!(epoch("two"), two, "it shares the salt of the new one");
    block_on(world.service.accounts().set_enabled(&account(ALICE), false)).expect("disabled");
    assert!(!holds(&session, two));
    assert_eq!(login(&session, ALICE, "two"), Err(Refusal::AccountDisabled));
}

#[test]
fn a_session_hears_that_its_secret_has_expired() {
    let world = World::new();
    let session = world.imap();
    let end = Unix::from_secs(now().unix.secs() + 60);
    add_app(&world, ALICE, "one", "one", &Access::ALL, Some(end));
    let (name, epoch) = login(&session, ALICE, "one").expect("right");
    let woken = Arc::new(AtomicUsize::new(0));
    let wakes = Arc::clone(&woken);
    let wake = Arc::new(move || {
        wakes.fetch_add(1, Ordering::SeqCst);
    });
    session.watch(WatchId(1), Scope::Account(name), ModSeq(epoch), wake);
    block_on(world.service.poll_accounts());
    let before = woken.load(Ordering::SeqCst);
    block_on(world.service.poll_accounts());
    assert_eq!(woken.load(Ordering::SeqCst), before, "nothing has changed");
    let later = Now { unix: end, ..now() };
    world.service.accounts().tick(later);
    block_on(world.service.poll_accounts());
    assert_eq!(woken.load(Ordering::SeqCst), before + 1);
    let call = imap::Call::Recheck {
        account: account(ALICE),
        epoch,
    };
    let reply = block_on(session.run(later, call));
    assert_eq!(reply, imap::Reply::Recheck(false));
}

#[test]
fn a_use_is_written_down_once_an_hour() {
    let world = World::new();
    let session = world.smtp();
    add_app(&world, ALICE, "phone", "one", &Access::ALL, None);
    let file = || world.read_file(&user_file(ALICE));
    login(&session, ALICE, PASSWORD).expect("right");
    assert!(!file().contains("last_used"), "{}", file());
    login(&session, ALICE, "one").expect("right");
    assert!(
        file().contains("\"last_used\": \"2023-11-14T22:13:20Z\""),
        "{}",
        file()
    );
    let edited = file().replace("22:13:20Z\"\n", "22:13:19Z\"\n");
    assert_ne!(edited, file());
    world.edit(&user_file(ALICE), &edited);
    login(&session, ALICE, "one").expect("right");
    assert_eq!(file(), edited, "a second ago");
}

#[test]
fn a_user_without_a_password_can_have_app_passwords() {
    let world = World::new();
    world.edit(&user_file(ALICE), "{}");
    add_app(&world, ALICE, "phone", "one", &[Access::Imap], None);
    add_app(&world, ALICE, "tablet", "two", &[Access::Imap], None);
    login(&world.imap(), ALICE, "two").expect("right");
    let call = smtp::Call::Authenticate {
        login: ALICE.to_owned(),
        password: Secret::new("two"),
    };
    assert_eq!(
        ask(&world.smtp(), call),
        smtp::Reply::Authenticated(Err(Refusal::BadCredentials))
    );
}

#[test]
fn a_foreign_hash_is_rewritten_under_the_salt_of_the_app_passwords() {
    let world = World::new();
    let phc = "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHQ$E196ZhRPzw+wA84EjzHwJO1cv/MFJdO6C/sxmUeTYqY";
    world.edit(&user_file(ALICE), &format!(r#"{{"password": "{phc}"}}"#));
    add_app(&world, ALICE, "phone", "one", &Access::ALL, None);
    let session = world.imap();
    login(&session, ALICE, "one").expect("right");
    let (_, epoch) = login(&session, ALICE, "password").expect("right");
    let file = world.read_file(&user_file(ALICE));
    assert!(
        file.contains("\"$scram-sha-256$i=1000$c2FsdHNhbHQ$") && !file.contains("pbkdf2"),
        "{file}"
    );
    login(&session, ALICE, "one").expect("still right");
    assert_eq!(login(&session, ALICE, "password").expect("right").1, epoch);
}

#[test]
fn names_are_good_and_each_is_there_once() {
    let world = World::new();
    let accounts = world.service.accounts();
    let add = |name: &str, user: &str| {
        let new = NewAppPassword {
            name: name.to_owned(),
            password: Secret::new("x"),
            scope: vec![Access::Imap],
            expires: None,
            rounds: 1,
        };
        block_on(accounts.add_app_password(&account(user), &new, now().unix))
    };
    add("phone", ALICE).expect("added");
    assert!(matches!(add("phone", ALICE), Err(AccountError::AlreadyExists)));
    assert!(matches!(add("", ALICE), Err(AccountError::BadName)));
    assert!(matches!(
        add("x", "nobody@example.com"),
        Err(AccountError::NoSuchUser)
    ));
    assert!(matches!(
        remove(&world, "Phone"),
        Err(AccountError::NoSuchAppPassword)
    ));
    for n in 1..MAX_APP_PASSWORDS {
        add(&n.to_string(), ALICE).expect("added");
    }
    assert!(matches!(add("more", ALICE), Err(AccountError::TooMany)));
    login(&world.imap(), ALICE, "x").expect("any of them");
}

#[test]
fn who_comes_when_too_many_wait_to_be_hashed_is_told_to_come_again() {
    let world = World::new();
    let call = |password: &str| smtp::Call::Authenticate {
        login: ALICE.to_owned(),
        password: Secret::new(password),
    };
    let known = world.smtp();
    login(&known, ALICE, PASSWORD).expect("right, and remembered");
    let mut waiting: Vec<Smtp> = Vec::new();
    let busy = smtp::Reply::Authenticated(Err(Refusal::Busy));
    loop {
        let session = world.smtp();
        match session.answer(now(), call("wrong")) {
            Answer::Later(Pool::Password, _) => waiting.push(session),
            other => {
                assert_eq!(other, Answer::Now(busy.clone()));
                break;
            }
        }
        assert!(waiting.len() < 10_000, "there is no bound");
    }
    let imap = imap::Call::Authenticate {
        login: ALICE.to_owned(),
        password: Secret::new("wrong"),
    };
    let busy_too = imap::Reply::Authenticated(Err(Refusal::Busy));
    assert_eq!(
        ask(&world.imap(), imap),
        busy_too,
        "both protocols wait in one line"
    );
    login(&known, ALICE, PASSWORD).expect("what is remembered waits for nobody");
    // One is hashed, one is closed.
    let hashed = waiting.pop().expect("many");
    let reply = block_on(hashed.run(now(), call("wrong")));
    assert_eq!(reply, smtp::Reply::Authenticated(Err(Refusal::BadCredentials)));
    drop(waiting.pop());
    let (one, two, three) = (world.smtp(), world.smtp(), world.smtp());
    for session in [&one, &two] {
        assert!(matches!(session.answer(now(), call("wrong")), Answer::Later(..)));
    }
    assert_eq!(three.answer(now(), call("wrong")), Answer::Now(busy));
}
