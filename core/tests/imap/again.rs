//! UNAUTHENTICATE, COMPRESS and SCRAM: dialogues.

use crate::common::{Client, Done, PASSWORD, USER, World, settings};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmail_core::auth::password::hmac;
use rmail_core::machine::{Input, Machine as _};
use rmail_core::note::Note;
use rmail_core::refusal::Refusal;
use sha2::{Digest as _, Sha256};

/// What `alice` with this password answers to a challenge line.
fn answer(bare: &str, challenge: &str, password: &str) -> String {
    let first = STANDARD
        .decode(challenge.trim_start_matches("+ ").trim_end())
        .unwrap();
    let first = String::from_utf8(first).unwrap();
    let without_proof = format!("c=biws,{}", first.split(',').next().unwrap());
    let messages = format!("{bare},{first},{without_proof}");
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), b"salt", 1, &mut salted);
    let mut proof = hmac(&salted, b"Client Key");
    let stored: [u8; 32] = Sha256::digest(proof).into();
    for (octet, signature) in proof.iter_mut().zip(hmac(&stored, messages.as_bytes())) {
        *octet ^= signature;
    }
    STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)))
}

/// AUTHENTICATE SCRAM-SHA-256 up to the last answer before the tagged line.
fn scram(client: &mut Client, world: &mut World, tag: &str, user: &str, password: &str) -> String {
    let bare = format!("n={user},r=abcdef");
    let first = STANDARD.encode(format!("n,,{bare}"));
    let challenge = client.say(world, &format!("{tag} AUTHENTICATE SCRAM-SHA-256 {first}\r\n"));
    client.say(world, &format!("{}\r\n", answer(&bare, &challenge, password)))
}

#[test]
fn scram_logs_in_and_nothing_secret_is_noted() {
    let world = &mut World::new();
    let mut client = Client::new(settings());
    client.listen(world);
    let failed = "a NO [AUTHENTICATIONFAILED] Authentication failed\r\n";
    assert_eq!(scram(&mut client, world, "a", USER, "wrong"), failed);
    assert_eq!(scram(&mut client, world, "a", "nobody", PASSWORD), failed);
    let last = scram(&mut client, world, "b", USER, PASSWORD);
    assert!(last.starts_with("+ "), "{last}");
    let signature = STANDARD.decode(last.trim_start_matches("+ ").trim_end()).unwrap();
    assert!(signature.starts_with(b"v="));
    assert!(client.say(world, "\r\n").starts_with("b OK [CAPABILITY "));
    assert!(
        client
            .notes
            .iter()
            .any(|note| matches!(note, Note::LoggedIn { mechanism, .. } if *mechanism == "SCRAM-SHA-256"))
    );
    let calls: Vec<&str> = client
        .calls
        .iter()
        .map(|call| call.split(' ').next().unwrap())
        .collect();
    assert_eq!(calls, ["ScramStart", "ScramStart", "ScramStart", "ScramDone"]);
}

#[test]
fn scram_tries_are_counted_and_faults_of_the_service_are_not() {
    let world = &mut World::new();
    let mut client = Client::new(settings());
    client.listen(world);
    for _ in 0..20 {
        world.refuse = Some(("ScramStart", Refusal::Unavailable));
        let first = STANDARD.encode(format!("n,,n={USER},r=abcdef"));
        assert_eq!(
            client.say(world, &format!("a AUTHENTICATE SCRAM-SHA-256 {first}\r\n")),
            "a NO [UNAVAILABLE] Temporarily unavailable; try later\r\n"
        );
    }
    world.refuse = None;
    for _ in 0..9 {
        scram(&mut client, world, "b", USER, "wrong");
    }
    assert!(!client.closed);
    let last = scram(&mut client, world, "c", USER, "wrong");
    assert!(last.contains("* BYE Too many failed logins"), "{last}");
    assert!(client.closed);
}

#[test]
fn a_proof_given_up_logs_nobody_in() {
    let world = &mut World::new();
    let mut client = Client::new(settings());
    client.listen(world);
    scram(&mut client, world, "a", USER, PASSWORD);
    assert_eq!(client.say(world, "*\r\n"), "a BAD Authentication cancelled\r\n");
    scram(&mut client, world, "b", USER, PASSWORD);
    assert_eq!(
        client.say(world, "eA==\r\n"),
        "b BAD Malformed authentication data\r\n"
    );
    assert_eq!(
        client.say(world, "c SELECT INBOX\r\n"),
        "c BAD [CLIENTBUG] Log in first\r\n"
    );
    // The account changes between proof and login.
    scram(&mut client, world, "d", USER, PASSWORD);
    world.epoch += 1;
    assert_eq!(
        client.say(world, "\r\n"),
        "d NO [AUTHENTICATIONFAILED] Authentication failed\r\n"
    );
}

#[test]
fn unauthenticate_leaves_nothing_of_a_login() {
    let world = &mut World::with_messages(3);
    let mut client = Client::selected(world);
    client.say(world, "a ENABLE IMAP4rev2 CONDSTORE UTF8=ACCEPT\r\n");
    client.trace.clear();
    assert_eq!(
        client.say(world, "b UNAUTHENTICATE\r\n"),
        "b OK UNAUTHENTICATE completed\r\n"
    );
    let ended = |client: &Client| {
        let unwatched = |done: &&Done| matches!(done, Done::Other(text) if text.starts_with("unwatch"));
        client.trace.iter().filter(unwatched).count()
    };
    assert_eq!(ended(&client), 2, "mailbox and account");
    assert!(client.calls.last().unwrap().starts_with("Unselect"));
    // As after the greeting, but for what names calls and watches.
    client.trace.clear();
    assert_eq!(
        client.say(world, "c SELECT INBOX\r\n"),
        "c BAD [CLIENTBUG] Log in first\r\n"
    );
    let mut fresh = Client::new(settings());
    fresh.listen(world);
    assert_eq!(
        client.say(world, "d CAPABILITY\r\n"),
        fresh.say(world, "d CAPABILITY\r\n")
    );
    let shown = |client: &Client| {
        let text = format!("{:?}", client.session);
        let from = text.find("account:").unwrap();
        let to = text.find("activity:").unwrap();
        text[from..to].to_owned()
    };
    assert_eq!(shown(&client), shown(&fresh));
    // Pipelined behind it, in one read.
    client.say(world, &format!("e LOGIN {USER} {PASSWORD}\r\n"));
    let both = client.say(
        world,
        &format!("f UNAUTHENTICATE\r\ng LOGIN {USER} {PASSWORD}\r\nh NOOP\r\n"),
    );
    assert!(
        both.starts_with("f OK UNAUTHENTICATE completed\r\ng OK [CAPABILITY ")
            && both.ends_with("h OK NOOP completed\r\n"),
        "{both}"
    );
    // The login that holds now is the new one.
    world.epoch += 1;
    assert_eq!(client.listen(world), "* BYE Your login is no longer valid\r\n");
}

#[test]
fn guesses_are_counted_over_all_logins_of_a_connection() {
    let world = &mut World::new();
    let mut client = Client::new(settings());
    client.listen(world);
    for round in 0..9 {
        client.say(world, "a LOGIN x y\r\n");
        client.say(
            world,
            &format!("b LOGIN {USER} {PASSWORD}\r\nc UNAUTHENTICATE\r\n"),
        );
        assert!(!client.closed, "{round}");
    }
    assert!(
        client
            .say(world, "a LOGIN x y\r\n")
            .contains("* BYE Too many failed logins")
    );
}

#[test]
fn compression_begins_behind_its_ok_and_ends_behind_that_of_unauthenticate() {
    let world = &mut World::new();
    let mut client = Client::logged_in(world);
    client.trace.clear();
    client.say(world, "a COMPRESS DEFLATE\r\n");
    assert!(client.deflated);
    client.say(world, "b UNAUTHENTICATE\r\n");
    assert!(!client.deflated);
    let order: Vec<String> = client
        .trace
        .iter()
        .filter_map(|done| match done {
            Done::Sent(octets) => Some(String::from_utf8_lossy(octets).into_owned()),
            Done::Other(text) if text.ends_with("deflate") => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        order,
        [
            "a OK DEFLATE active\r\n",
            "startdeflate",
            "b OK UNAUTHENTICATE completed\r\n",
            "stopdeflate"
        ]
    );
    // Not for a host that cannot.
    let mut plain = settings();
    plain.compress = false;
    let mut client = Client::new(plain);
    let greeting = client.say(world, &format!("in LOGIN {USER} {PASSWORD}\r\n"));
    assert!(greeting.contains("UNAUTHENTICATE") && !greeting.contains("COMPRESS"));
    assert_eq!(
        client.say(world, "a COMPRESS DEFLATE\r\n"),
        "a BAD COMPRESS is not offered\r\n"
    );
    client.input(Input::Shutdown);
    assert!(client.listen(world).starts_with("* BYE [UNAVAILABLE]"));
    assert!(client.session.poll_timeout().is_none());
}
