//! Who may log in, and for how long.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::imap::server as imap;
use rmail_core::machine::{Scope, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::secret::Secret;
use rmail_core::smtp::server as smtp;
use rmail_store::hub::Wake;
use rmail_store::mem::exec::Exec;
use rmail_store::service::{Answer, Pool, Serve as _};

fn authenticate(login: &str, password: &str) -> smtp::Call {
    smtp::Call::Authenticate {
        login: login.to_owned(),
        password: Secret::new(password),
    }
}

fn pool(session: &Smtp, name: &str, password: &str) -> Pool {
    match session.answer(now(), authenticate(name, password)) {
        Answer::Later(pool, _) => pool,
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_users_look_like_wrong_passwords() {
    let world = World::new();
    let session = world.smtp();
    let wrong = Err(Refusal::BadCredentials);
    for name in [
        "alice@example.com",
        "nobody@example.com",
        "alice@elsewhere.net",
        "alice",
        "",
        "\0",
        "../alice@example.com",
        "alice@example.com@example.com",
    ] {
        assert_eq!(login(&session, name, "wrong"), wrong, "{name:?}");
        assert_eq!(pool(&session, name, "wrong"), Pool::Password, "{name:?}");
    }
    let (name, epoch) = login(&session, "ALICE@Example.com", PASSWORD).expect("right");
    assert_eq!(
        (
            name,
            login(&world.imap(), "alice@example.com", PASSWORD)
                .expect("right")
                .1
        ),
        (account("alice@example.com"), epoch)
    );
    assert_eq!(
        login(&session, "alice+x@example.com", PASSWORD),
        wrong,
        "a tag is for mail"
    );
}

#[test]
fn a_bare_name_will_do_when_one_domain_is_hosted() {
    let world = World::with(|settings| settings.hosting.domains.truncate(1));
    assert_eq!(
        login(&world.smtp(), "Bob", PASSWORD).expect("right").0,
        account("bob@example.com")
    );
    assert_eq!(
        login(&world.smtp(), "carol@example.org", PASSWORD),
        Err(Refusal::BadCredentials),
        "no longer hosted"
    );
}

#[test]
fn disabled_users_are_told_so_only_with_the_right_password() {
    let world = World::new();
    let session = world.smtp();
    login(&session, "bob@example.com", PASSWORD).expect("right, and remembered");
    block_on(
        world
            .service
            .accounts()
            .set_enabled(&account("bob@example.com"), false),
    )
    .expect("disable");
    assert_eq!(
        login(&session, "bob@example.com", PASSWORD),
        Err(Refusal::AccountDisabled)
    );
    assert_eq!(
        login(&session, "bob@example.com", "wrong"),
        Err(Refusal::BadCredentials)
    );
    world.edit(&user_file("alice@example.com"), "{}");
    assert_eq!(
        login(&session, "alice@example.com", ""),
        Err(Refusal::BadCredentials),
        "no password"
    );
    world.edit(&user_file("carol@example.org"), "{");
    assert_eq!(
        login(&session, "carol@example.org", PASSWORD),
        Err(Refusal::Unavailable)
    );
}

#[test]
fn a_remembered_password_is_forgotten_when_the_file_changes() {
    let world = World::new();
    let session = world.smtp();
    assert_eq!(pool(&session, "bob@example.com", PASSWORD), Pool::Password);
    let (_, first) = login(&session, "bob@example.com", PASSWORD).expect("right");
    assert_eq!(
        pool(&session, "bob@example.com", PASSWORD),
        Pool::Read,
        "remembered"
    );
    assert_eq!(pool(&session, "bob@example.com", "wrong"), Pool::Password);
    world.set_password("bob@example.com", "new");
    assert_eq!(
        login(&session, "bob@example.com", PASSWORD),
        Err(Refusal::BadCredentials)
    );
    let (_, second) = login(&session, "bob@example.com", "new").expect("right");
    assert_ne!(first, second);
    // By hand: the hash of alice's password is put into bob's file.
    let alice: serde_json::Value =
        serde_json::from_str(&world.read_file(&user_file("alice@example.com"))).expect("json");
    world.edit(
        &user_file("bob@example.com"),
        &serde_json::json!({ "password": alice["password"] }).to_string(),
    );
    assert_eq!(
        login(&session, "bob@example.com", "new"),
        Err(Refusal::BadCredentials)
    );
    login(&session, "bob@example.com", PASSWORD).expect("edited by hand");
}

#[test]
fn foreign_hashes_are_rewritten_at_login() {
    let world = World::new();
    let session = world.smtp();
    // hashlib.pbkdf2_hmac("sha256", b"password", b"saltsalt", 1000)
    let phc = "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHQ$E196ZhRPzw+wA84EjzHwJO1cv/MFJdO6C/sxmUeTYqY";
    let text = format!(r#"{{"password": "{phc}", "note": "imported", "quota_mb": 7}}"#);
    world.edit(&user_file("bob@example.com"), &text);
    assert_eq!(
        login(&session, "bob@example.com", "wrong"),
        Err(Refusal::BadCredentials)
    );
    assert!(world.read_file(&user_file("bob@example.com")).contains("pbkdf2"));
    let (_, epoch) = login(&session, "bob@example.com", "password").expect("right");
    let rewritten = world.read_file(&user_file("bob@example.com"));
    assert!(
        rewritten.contains("$scram-sha-256$i=1$") && !rewritten.contains("pbkdf2"),
        "{rewritten}"
    );
    assert!(
        rewritten.contains("imported") && rewritten.contains("\"quota_mb\": 7"),
        "{rewritten}"
    );
    assert_eq!(
        login(&session, "bob@example.com", "password").expect("right").1,
        epoch
    );
}

/// Whatever the order of a login that rewrites the hash and of a change by another process: the password that was
/// taken away is no longer good, however often it was.
#[test]
fn a_password_that_is_changed_during_its_login_is_not_remembered() {
    let phc = "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHQ$E196ZhRPzw+wA84EjzHwJO1cv/MFJdO6C/sxmUeTYqY";
    let mut worked = 0;
    for seed in 0..150 {
        let world = World::new();
        let session = world.smtp();
        let bob = account("bob@example.com");
        world.edit(
            &user_file("bob@example.com"),
            &format!(r#"{{"password": "{phc}"}}"#),
        );
        let other = accounts(&world.disk.process(), 9);
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        let done = Cell::new(false);
        exec.spawn(async {
            let reply = session
                .run(now(), authenticate("bob@example.com", "password"))
                .await;
            done.set(matches!(reply, smtp::Reply::Authenticated(Ok(_))));
        });
        exec.spawn(async {
            other
                .set_password(&bob, &Secret::new("new"), 1)
                .await
                .expect("set")
        });
        exec.run().expect("both end");
        drop(exec);
        worked += usize::from(done.get());
        assert_eq!(
            login(&session, "bob@example.com", "password"),
            Err(Refusal::BadCredentials),
            "seed {seed}"
        );
        login(&session, "bob@example.com", "new").expect("the new one");
    }
    assert!(worked > 0, "some logins were first");
}

/// A look-up that began before a change and ends after it does not keep a session alive.
#[test]
fn a_late_look_up_does_not_hide_a_change() {
    for polls in 0..40 {
        let world = World::new();
        let session = world.smtp();
        let (bob, epoch) = login(&session, "bob@example.com", PASSWORD).expect("right");
        let (watch, wake) = (WatchId(1), Arc::new(|| {}));
        session.watch(watch, Scope::Account(bob.clone()), ModSeq(epoch), wake);
        block_on(world.service.poll_accounts());
        // An edit by hand that changes nothing has the look-up read the file again.
        let text = world.read_file(&user_file("bob@example.com"));
        world.edit(&user_file("bob@example.com"), &format!("{text}\n"));
        let other = accounts(&world.disk.process(), 9);
        let mut look_up = std::pin::pin!(world.service.accounts().find(&bob));
        let poll = |_| block_on(futures_lite::future::poll_once(&mut look_up)).is_some();
        let early = (0..polls).any(poll);
        block_on(other.set_password(&bob, &Secret::new("new"), 1)).expect("set");
        block_on(world.service.poll_accounts());
        if !early {
            block_on(look_up).expect("a user");
        }
        let recheck = smtp::Call::Recheck {
            account: bob.clone(),
            epoch,
        };
        assert_eq!(
            ask(&session, recheck),
            smtp::Reply::Recheck(false),
            "after {polls} polls"
        );
    }
}

#[test]
fn watched_accounts_are_told_of_changes_within_a_poll() {
    let world = World::new();
    let session = world.imap();
    let (name, epoch) = login(&session, "bob@example.com", PASSWORD).expect("right");
    let heard = Arc::new(AtomicUsize::new(0));
    let wake = || {
        let heard = Arc::clone(&heard);
        Arc::new(move || {
            heard.fetch_add(1, Ordering::Relaxed);
        }) as Wake
    };
    let count = || heard.swap(0, Ordering::Relaxed);
    let scope = Scope::Account(name.clone());
    let holds = |session: &Imap, epoch| {
        ask(
            session,
            imap::Call::Recheck {
                account: name.clone(),
                epoch,
            },
        )
    };
    session.watch(WatchId(1), scope.clone(), ModSeq(epoch), wake());
    assert_eq!(count(), 0);
    block_on(world.service.poll_accounts());
    count();
    assert_eq!(holds(&session, epoch), imap::Reply::Recheck(true));
    block_on(world.service.poll_accounts());
    assert_eq!(count(), 0, "nothing changed");
    // Another process changes the password.
    let other = accounts(&world.disk.process(), 9);
    block_on(other.set_password(&name, &Secret::new("new"), 1)).expect("set");
    assert_eq!(count(), 0);
    block_on(world.service.poll_accounts());
    assert_eq!(count(), 1);
    assert_eq!(holds(&session, epoch), imap::Reply::Recheck(false));
    session.watch(WatchId(2), scope.clone(), ModSeq(epoch), wake());
    assert!(count() > 0, "too late for the change: told at once");
    session.unwatch(WatchId(2));
    let (_, epoch) = login(&session, "bob@example.com", "new").expect("right");
    assert_eq!(holds(&session, epoch), imap::Reply::Recheck(true));
    block_on(other.delete(&*world.store, &name)).expect("delete");
    block_on(world.service.poll_accounts());
    assert_eq!(count(), 1);
    assert_eq!(holds(&session, epoch), imap::Reply::Recheck(false));
    drop(session);
    assert_eq!(
        world.service.hub().watched().len(),
        0,
        "watches end with their session"
    );
}

/// What has been heard, if anything, is looked at.
fn hear(world: &World) -> bool {
    let heard = block_on(futures_lite::future::poll_once(world.service.changes()));
    if let Some(changes) = &heard {
        block_on(world.service.look_at(changes));
    }
    heard.is_some()
}

#[test]
fn watched_accounts_are_told_of_changes_without_a_poll() {
    let world = World::new();
    let session = world.imap();
    let (name, epoch) = login(&session, "bob@example.com", PASSWORD).expect("right");
    let heard = Arc::new(AtomicUsize::new(0));
    let count = || heard.swap(0, Ordering::Relaxed);
    let wake = Arc::clone(&heard);
    let wake = Arc::new(move || {
        wake.fetch_add(1, Ordering::Relaxed);
    });
    let scope = Scope::Account(name.clone());
    session.watch(WatchId(1), scope.clone(), ModSeq(epoch), wake);
    assert!(!world.service.hub().hears(|_| true));
    block_on(world.service.poll_accounts());
    assert!(
        world.service.hub().hears(|_| true),
        "the poll has put an ear on it"
    );
    count();
    let other = accounts(&world.disk.process(), 9);
    block_on(other.set_password(&name, &Secret::new("new"), 1)).expect("set");
    assert!(hear(&world));
    assert_eq!(count(), 1);
    // Mail that comes, and other files of the user's, change no login.
    world.append("bob@example.com", "INBOX", b"text");
    hear(&world);
    assert_eq!(count(), 0);
    // Deleted and made again, it is another directory.
    let path = user_file("bob@example.com");
    world.edit(&path, "{\"enabled\":false}");
    assert!(hear(&world));
    assert_eq!(count(), 1);
    block_on(other.delete(&*world.store, &name)).expect("delete");
    assert!(hear(&world));
    assert_eq!(count(), 1);
    block_on(other.create(&*world.store, &name, &new_user(false), now().unix)).expect("create");
    block_on(world.service.poll_accounts());
    count();
    while hear(&world) {}
    block_on(other.set_enabled(&name, false)).expect("set");
    assert!(hear(&world));
    assert_eq!(count(), 1);
    assert_eq!(world.disk.watches(), 1);
    drop(session);
    assert_eq!(world.disk.watches(), 0);
}

#[test]
fn a_broken_file_ends_no_session() {
    let world = World::new();
    let session = world.imap();
    let (name, epoch) = login(&session, "bob@example.com", PASSWORD).expect("right");
    world.edit(&user_file("bob@example.com"), "{");
    block_on(world.service.poll_accounts());
    let recheck = imap::Call::Recheck { account: name, epoch };
    assert_eq!(ask(&session, recheck.clone()), imap::Reply::Recheck(true));
    assert_eq!(block_on(session.run(now(), recheck)), imap::Reply::Recheck(true));
}

#[test]
fn a_user_whose_file_was_written_by_hand_has_mailboxes_after_the_login() {
    use rmail_store::MailStore as _;
    let world = World::new();
    let bob = account("bob@example.com");
    // All but the user's own file.
    block_on(world.store.delete_account(&bob)).expect("delete");
    let list = || block_on(world.store.list(&bob)).expect("list");
    assert_eq!(list(), []);
    login(&world.imap(), "bob@example.com", "wrong").expect_err("wrong");
    assert_eq!(list(), [], "a guess makes nothing");
    login(&world.imap(), "bob@example.com", PASSWORD).expect("right");
    assert_eq!(list().len(), 6);
    // Also when the password is remembered.
    block_on(world.store.delete_account(&bob)).expect("delete");
    login(&world.smtp(), "bob@example.com", PASSWORD).expect("right");
    assert_eq!(list().len(), 6);
    // That they cannot be made is no reason to refuse.
    block_on(world.store.delete_account(&bob)).expect("delete");
    world.disk.set_full(true);
    login(&world.imap(), "bob@example.com", PASSWORD).expect("right");
}
