//! What SCRAM is told of users, and that nobody can be told from somebody.

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::auth::password::{Hash, ScramKeys};
use rmail_core::directory::Access;
use rmail_core::imap::server as imap;
use rmail_core::refusal::Refusal;
use rmail_core::sasl::ScramUser;
use rmail_core::secret::Secret;
use rmail_core::smtp::server as smtp;

fn start(session: &Imap, login: &str) -> ScramUser {
    let call = imap::Call::ScramStart {
        login: login.to_owned(),
    };
    match ask(session, call) {
        imap::Reply::Scram(Ok(user)) => user,
        other => panic!("{other:?}"),
    }
}

fn done(session: &Imap, name: &str, epoch: u64) -> Result<u64, Refusal> {
    let call = imap::Call::ScramDone {
        account: account(name),
        epoch,
    };
    match ask(session, call) {
        imap::Reply::Authenticated(result) => result.map(|(_, epoch)| epoch),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_of_ours_has_the_keys_of_its_password() {
    let world = World::new();
    let session = world.imap();
    let user = start(&session, "ALICE@example.com");
    let keys = ScramKeys::derive(&Secret::new(PASSWORD), &user.keys.salt, user.keys.rounds);
    assert_eq!(user.keys, keys);
    let (name, epoch) = user.account.expect("an account");
    assert_eq!(name, account("alice@example.com"));
    assert_eq!(done(&session, "alice@example.com", epoch), Ok(epoch));
    // SMTP is told the same.
    let call = smtp::Call::ScramStart {
        login: "alice@example.com".into(),
    };
    let smtp::Reply::Scram(Ok(user)) = ask(&world.smtp(), call) else {
        panic!("no user");
    };
    assert_eq!(user.keys, keys);
}

/// What a client proves that knows the password.
fn is_proved(user: &ScramUser, password: &str) -> Vec<u64> {
    let keys = ScramKeys::derive(&Secret::new(password), &user.keys.salt, user.keys.rounds);
    let main = user
        .account
        .as_ref()
        .map(|(_, epoch)| (user.keys.stored_key, *epoch));
    let others = user.others.iter().map(|other| (other.stored_key, other.epoch));
    main.into_iter()
        .chain(others)
        .filter(|(stored_key, _)| *stored_key == keys.stored_key)
        .map(|(_, epoch)| epoch)
        .collect()
}

#[test]
fn scram_takes_every_secret_that_opens_this() {
    let world = World::new();
    let alice = "alice@example.com";
    add_app(&world, alice, "imap only", "one", &[Access::Imap], None);
    add_app(&world, alice, "all", "two", &Access::ALL, None);
    add_app(&world, alice, "over", "three", &Access::ALL, Some(now().unix));
    let imap = start(&world.imap(), alice);
    let call = smtp::Call::ScramStart { login: alice.into() };
    let smtp::Reply::Scram(Ok(smtp)) = ask(&world.smtp(), call) else {
        panic!("no user");
    };
    for (user, password, count) in [
        (&imap, PASSWORD, 1),
        (&imap, "one", 1),
        (&imap, "two", 1),
        (&imap, "three", 0),
        (&smtp, PASSWORD, 1),
        (&smtp, "one", 0),
        (&smtp, "two", 1),
    ] {
        assert_eq!(is_proved(user, password).len(), count, "{password}");
    }
    let session = world.imap();
    let epoch = is_proved(&imap, "one")[0];
    assert_eq!(done(&session, alice, epoch), Ok(epoch));
    let call = smtp::Call::ScramDone {
        account: account(alice),
        epoch,
    };
    assert_eq!(
        ask(&world.smtp(), call),
        smtp::Reply::Authenticated(Err(Refusal::BadCredentials))
    );
    let name = account(alice);
    let removed = world.service.accounts().remove_app_password(&name, "imap only");
    block_on(removed).expect("removed");
    assert_eq!(done(&session, alice, epoch), Err(Refusal::BadCredentials));
    let text = world.read_file(&user_file(alice));
    assert!(!text.contains("last_used"), "{text}");
    done(&session, alice, is_proved(&imap, "two")[0]).expect("right");
    let text = world.read_file(&user_file(alice));
    assert!(text.contains("\"last_used\": \"2023-11-14T22:13:20Z\""), "{text}");
}

#[test]
fn a_proof_is_worth_nothing_once_the_account_has_changed() {
    let world = World::new();
    let session = world.imap();
    let epoch = start(&session, "alice@example.com")
        .account
        .expect("an account")
        .1;
    world.set_password("alice@example.com", "another");
    assert_eq!(
        done(&session, "alice@example.com", epoch),
        Err(Refusal::BadCredentials)
    );
    let epoch = start(&session, "alice@example.com")
        .account
        .expect("an account")
        .1;
    block_on(
        world
            .service
            .accounts()
            .set_enabled(&account("alice@example.com"), false),
    )
    .expect("a change");
    assert_eq!(
        done(&session, "alice@example.com", epoch),
        Err(Refusal::BadCredentials)
    );
}

#[test]
fn nobody_has_a_salt_of_the_usual_form_that_stays_the_same() {
    let world = World::new();
    let session = world.imap();
    let real = start(&session, "alice@example.com").keys;
    let names = [
        "nobody@example.com",
        "somebody@example.com",
        "x@elsewhere.net",
        "x",
    ];
    let all: Vec<ScramUser> = names.iter().map(|name| start(&session, name)).collect();
    for (name, user) in names.iter().zip(&all) {
        assert_eq!(user.account, None, "{name}");
        assert_eq!(
            (user.keys.salt.len(), user.keys.rounds),
            (real.salt.len(), settings().pbkdf2_rounds)
        );
        assert_eq!(start(&session, &name.to_uppercase()), *user);
    }
    assert_ne!(all[0].keys.salt, all[1].keys.salt);
    assert_ne!(all[2].keys.salt, all[3].keys.salt);
    // Another process on the same mail_root, and one that is started later.
    let other = accounts(&world.disk, 99);
    let other =
        rmail_store::service::Service::new(std::sync::Arc::new(open_store(&world.disk)), other, settings());
    assert_eq!(
        start(&other.imap_session(rmail_core::peer::Peer::LOCAL), names[0]),
        all[0]
    );
    assert_eq!(world.read_file("secrets/salts").len(), 65);
}

#[test]
fn disabled_users_and_hashes_of_another_form_look_like_nobody() {
    let world = World::new();
    let session = world.imap();
    let name = account("alice@example.com");
    let was = start(&session, "alice@example.com");
    block_on(world.service.accounts().set_enabled(&name, false)).expect("a change");
    let disabled = start(&session, "alice@example.com");
    assert_eq!(disabled.account, None);
    assert_ne!(disabled.keys.salt, was.keys.salt);
    assert_eq!(start(&session, "alice@example.com"), disabled);
    block_on(world.service.accounts().set_enabled(&name, true)).expect("a change");
    // A short key of PBKDF2 is good for PLAIN only.
    let hash = |len| {
        Hash::parse(&format!("$pbkdf2-sha256$i=5$c2FsdA${}", "A".repeat(len)))
            .expect("a hash")
            .to_string()
    };
    for (len, can) in [(32, false), (43, true)] {
        let path = user_file("alice@example.com");
        world.edit(&path, &format!("{{\"password\": \"{}\"}}", hash(len)));
        let user = start(&session, "alice@example.com");
        assert_eq!(user.account.is_some(), can, "{len}");
    }
}

/// The rounds were changed after some users were made, and others came from another server: names that do not exist look
/// like each kind, as often as it is there.
#[test]
fn changed_rounds_and_foreign_salts_do_not_tell_who_exists() {
    let world = World::new();
    for n in 0..20_u32 {
        let user = format!("user{n}@example.com");
        let (accounts, store) = (world.service.accounts(), world.service.store());
        let (name, new) = (account(&user), new_user(false));
        block_on(accounts.create(&**store, &name, &new, now().unix)).expect("made");
        let (rounds, salt) = match n % 4 {
            0 => (5, "c2FsdHNhbHQ"),
            1 => (9, "c2FsdHNhbHRzYWx0c2FsdA"),
            _ => continue,
        };
        let hash = format!("$pbkdf2-sha256$i={rounds}${salt}${}", "A".repeat(43));
        world.edit(&user_file(&user), &format!("{{\"password\": \"{hash}\"}}"));
    }
    let session = world.imap();
    let mut seen = std::collections::BTreeMap::new();
    for n in 0..1_000 {
        let name = format!("nobody{n}@example.com");
        let user = start(&session, &name);
        assert_eq!(user.account, None);
        assert_eq!(user, start(&session, &name));
        *seen.entry((user.keys.rounds, user.keys.salt.len())).or_insert(0) += 1;
    }
    // Twelve users have what ours have (alice, bob and ten of these), five each of the others.
    let kinds: Vec<(u32, usize)> = seen.keys().copied().collect();
    assert_eq!(kinds, [(1, 16), (5, 8), (9, 16)]);
    for (kind, expected) in kinds.iter().zip([545, 227, 227]) {
        let off = seen[kind] - expected;
        assert!((-90..90).contains(&off), "{seen:?}");
    }
    // Each domain has its own users: example.org's have only one form.
    for n in 0..50 {
        let keys = start(&session, &format!("nobody{n}@example.org")).keys;
        assert_eq!((keys.rounds, keys.salt.len()), (1, 16));
    }
}
