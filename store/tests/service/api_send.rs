//! `/send`: who gets a message, what is answered, and what is not done twice.

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::api::send::{self, Answer, Draft, Letter, Mailbox, Message, Options, Sending, Sent, Terms};
use rmail_core::api::{self, Access, Call, Caller, Failure};
use rmail_core::machine::SpoolId;
use rmail_core::mailbox::SystemFlags;
use rmail_core::note::Note;
use rmail_core::peer::Peer;
use rmail_core::random::Random;
use rmail_core::time::{Mono, Now, Unix};
use rmail_store::MailStore as _;
use rmail_store::disk::Disk as _;
use rmail_store::mem::{MemDisk, Model, Outcome};
use rmail_store::service::{Answer as Served, ApiService, Serve, Service};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

type Api = ApiService<Store, MemDisk>;

const ALICE: &str = "alice@example.com";

fn caller(world: &World, name: &str) -> Caller {
    let user = block_on(world.service.accounts().find(&account(name)));
    Caller {
        account: account(name),
        epoch: user.expect("read").expect("a user").epoch(),
        tokens: 0,
        expires: Unix::from_secs(u64::MAX),
    }
}

fn ask_at(session: &Api, at: Now, caller: Caller, ask: send::Ask) -> Result<Answer, Failure> {
    let call = Call {
        caller: Some(caller),
        access: Access::User,
        ask: api::Ask::Send(ask),
    };
    let reply = match session.answer(at, call) {
        Served::Now(reply) => reply,
        Served::Later(_, call) => block_on(session.run(at, call)),
        Served::Wait(waiting) => block_on(waiting),
    };
    match reply? {
        api::Answer::Send(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

fn terms() -> Terms {
    Terms {
        options: Options::default(),
        max_recipients: 100,
        max_size: 100_000,
        secure: true,
        key: None,
    }
}

fn key(text: &str, digest: u8) -> Option<send::Key> {
    Some(send::Key {
        text: text.to_owned(),
        digest: [digest; 32],
    })
}

fn sending(letter: Letter, terms: Terms) -> send::Ask {
    send::Ask::Send(Box::new(Sending {
        message: Message::Letter(letter),
        terms,
    }))
}

fn raw(text: &str) -> Letter {
    Letter::Raw(text.as_bytes().to_vec())
}

/// What the client is told. The log is told of a message that somebody gets, once.
fn told(sent: Sent, again: bool) -> Sent {
    let id = match &sent.note {
        Some(Note::Accepted { id, size, .. }) => {
            assert!(*size > 0);
            Some(id)
        }
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    assert_eq!(id, sent.id.as_ref().filter(|_| !again));
    Sent { note: None, ..sent }
}

fn post(world: &World, by: &str, ask: send::Ask) -> Result<(Sent, bool), Failure> {
    let session = world.service.api_session(Peer::LOCAL);
    match ask_at(&session, now(), caller(world, by), ask)? {
        Answer::Sent(sent, again) => Ok((told(*sent, again), again)),
        Answer::Opened => panic!("opened"),
    }
}

fn to(addresses: &[&str]) -> Vec<Mailbox> {
    let mailbox = |text: &&str| Mailbox {
        name: String::new(),
        address: address(text),
    };
    addresses.iter().map(mailbox).collect()
}

fn text_of(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Octets of the newest message of a folder.
fn newest_in(world: &World, name: &str, folder: &str) -> String {
    let uid = world.snapshot(name, folder).rows.last_uid().expect("a message");
    let blob = block_on(world.store.open(&world.mailbox(name, folder), uid)).expect("open");
    let mut octets = vec![0; 1 << 20];
    let read = block_on(world.store.read(&blob.expect("there"), &mut octets, 0)).expect("read");
    text_of(&octets[..read])
}

/// Fills an account up to its quota.
fn fill(world: &World, name: &str) {
    block_on(world.service.accounts().change(&account(name), |user| {
        user.quota_messages = 1;
        true
    }))
    .expect("changed");
    world.append(name, "INBOX", b"Subject: first\r\n\r\n");
}

#[test]
fn everybody_who_can_have_it_gets_it_and_the_others_are_named() {
    let world = World::new();
    fill(&world, "carol@example.org");
    let draft = Draft {
        to: to(&["bob@example.com", "dan@away.test"]),
        cc: to(&["carol@example.org", "nobody@example.com"]),
        bcc: to(&["alice+x@example.com"]),
        subject: Some("Hello".to_owned()),
        text: Some("Text".to_owned()),
        ..Draft::default()
    };
    let (sent, again) = post(&world, ALICE, sending(Letter::Draft(Box::new(draft)), terms())).expect("sent");
    assert!(!again);
    assert_eq!(sent.sent, ["bob@example.com", "alice+x@example.com"]);
    assert_eq!(sent.queued, ["dan@away.test"]);
    let failed: Vec<(&str, &str)> = sent
        .failed
        .iter()
        .map(|one| (one.recipient.as_str(), one.error.as_str()))
        .collect();
    assert_eq!(
        failed,
        [
            ("carol@example.org", "Quota exceeded"),
            ("nobody@example.com", "No such user")
        ]
    );
    let got = text_of(&world.newest("bob@example.com"));
    assert!(
        got.starts_with("Return-Path: <alice@example.com>\r\nReceived: from [127.0.0.1]"),
        "{got}"
    );
    assert!(
        got.contains("From: alice@example.com\r\n") && !got.contains("Bcc"),
        "{got}"
    );
    assert!(got.contains(&format!("Message-ID: {}\r\n", sent.message_id)));
    let told = world.told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(Some(told[0].id.clone()), sent.id);

    let copy = newest_in(&world, ALICE, "Sent");
    assert!(
        copy.starts_with("Bcc: alice+x@example.com\r\n") && !copy.contains("Received:"),
        "{copy}"
    );
    let snapshot = world.snapshot(ALICE, "Sent");
    let row = snapshot.rows.iter().next().expect("a message");
    assert_eq!(row.flags, SystemFlags::SEEN);
    assert!(sent.saved.is_some_and(|id| id.starts_with('F')));
}

#[test]
fn a_full_sender_keeps_no_copy_and_says_nothing_of_it() {
    let world = World::new();
    fill(&world, ALICE);
    let (sent, _) = post(&world, ALICE, sending(raw("To: bob@example.com\n\nx"), terms())).expect("sent");
    assert_eq!((sent.sent.len(), sent.saved), (1, None));
    assert_eq!(world.snapshot(ALICE, "Sent").rows.len(), 0);
    let without = Terms {
        options: Options {
            save_to_sent: false,
            ..Options::default()
        },
        ..terms()
    };
    let (sent, _) = post(
        &world,
        "bob@example.com",
        sending(raw("To: bob@example.com\n\nx"), without),
    )
    .expect("sent");
    assert_eq!(sent.saved, None);
    assert_eq!(world.snapshot("bob@example.com", "Sent").rows.len(), 0);
}

#[test]
fn nobody_sends_as_somebody_else() {
    let world = World::new();
    for message in [
        "From: bob@example.com\nTo: bob@example.com\n\nx",
        "From: alice@example.com, bob@example.com\nTo: bob@example.com\n\nx",
        "Sender: bob@example.com\nTo: bob@example.com\n\nx",
    ] {
        let failure = post(&world, ALICE, sending(raw(message), terms())).expect_err(message);
        assert_eq!(failure.status, 403, "{message}");
    }
    let other = Terms {
        options: Options {
            envelope_from: Some(address("bob@example.com")),
            ..Options::default()
        },
        ..terms()
    };
    let failure =
        post(&world, ALICE, sending(raw("To: bob@example.com\n\nx"), other)).expect_err("not owned");
    assert_eq!(failure.status, 403);
    assert_eq!(world.inbox("bob@example.com").rows.len(), 0);
}

#[test]
fn a_message_for_nobody_goes_nowhere() {
    let world = World::new();
    let failure = post(&world, ALICE, sending(raw("Subject: x\n\nx"), terms())).expect_err("nobody");
    assert_eq!(failure.status, 400);
    let (sent, _) = post(
        &world,
        ALICE,
        sending(raw("To: nobody@example.com\n\nx"), terms()),
    )
    .expect("answered");
    assert_eq!((sent.id, sent.failed.len(), sent.saved), (None, 1, None));
    assert_eq!(world.snapshot(ALICE, "Sent").rows.len(), 0);
    let large = format!("To: bob@example.com\n\n{}", "x\n".repeat(100_000));
    let failure = post(&world, ALICE, sending(raw(&large), terms())).expect_err("too large");
    assert_eq!(failure.status, 413);
}

#[test]
fn a_message_may_come_through_a_spool() {
    let world = World::new();
    let session = world.service.api_session(Peer::LOCAL);
    let send = |spool: SpoolId, message: &[u8], terms: &Terms| {
        let open = send::Ask::Open(spool, Box::new(terms.clone()));
        assert_eq!(
            ask_at(&session, now(), caller(&world, ALICE), open),
            Ok(Answer::Opened)
        );
        feed(&session, spool, message);
        let sending = Sending {
            message: Message::Spool(spool),
            terms: terms.clone(),
        };
        let answer = ask_at(
            &session,
            now(),
            caller(&world, ALICE),
            send::Ask::Send(Box::new(sending)),
        );
        answer.map(|answer| match answer {
            Answer::Sent(sent, again) => (told(*sent, again), again),
            Answer::Opened => panic!("opened"),
        })
    };
    let long = format!(
        "To: bob@example.com\r\nBcc: dan@away.test\r\n\r\n{}",
        "long line\r\n".repeat(5_000)
    );
    let (sent, _) = send(SpoolId(1), long.as_bytes(), &terms()).expect("sent");
    assert_eq!((sent.sent.len(), sent.queued.len()), (1, 1));
    let got = text_of(&world.newest("bob@example.com"));
    assert_eq!(got.matches("long line").count(), 5_000);
    assert!(newest_in(&world, ALICE, "Sent").starts_with("Bcc: dan@away.test\r\nTo: bob@example.com\r\n"));
    // The same connection again, and one that is refused.
    assert!(send(SpoolId(1), b"To: bob@example.com\r\n\r\nx", &terms()).is_ok());
    let failure = send(SpoolId(2), b"To: bob@example.com\r\n\r\na\rb", &terms()).expect_err("bare CR");
    assert_eq!(failure.status, 400);
    assert_eq!(world.inbox("bob@example.com").rows.len(), 2);

    // The key is of the octets too.
    let keyed = Terms {
        key: key("k", 1),
        ..terms()
    };
    let (first, again) = send(SpoolId(3), b"To: bob@example.com\r\n\r\nx", &keyed).expect("sent");
    assert!(!again);
    assert_eq!(
        send(SpoolId(4), b"To: bob@example.com\r\n\r\nx", &keyed),
        Ok((first, true))
    );
    let failure = send(SpoolId(5), b"To: bob@example.com\r\n\r\ny", &keyed).expect_err("another message");
    assert_eq!(failure.status, 422);
}

#[test]
fn what_was_asked_for_under_a_key_is_done_once() {
    let world = World::new();
    let ask = |text: &str, digest| {
        let terms = Terms {
            key: key("k1", digest),
            ..terms()
        };
        sending(raw(text), terms)
    };
    let message = "To: bob@example.com\n\nx";
    let (first, again) = post(&world, ALICE, ask(message, 1)).expect("sent");
    assert!(!again);
    assert_eq!(post(&world, ALICE, ask(message, 1)), Ok((first.clone(), true)));
    assert_eq!(
        post(&world, ALICE, ask(message, 2)).expect_err("another").status,
        422
    );
    assert_eq!(world.inbox("bob@example.com").rows.len(), 1);
    // Another account's keys are its own.
    assert!(post(&world, "bob@example.com", ask(message, 1)).is_ok_and(|(_, again)| !again));
    assert_eq!(world.inbox("bob@example.com").rows.len(), 2);

    // After a power cut, and in another process.
    let mut random = Random::from_seed([1; 32]);
    world.disk.power_cut(Model::Adversary, Outcome::Lost, &mut random);
    let later = restarted(&world);
    assert_eq!(post(&later, ALICE, ask(message, 1)), Ok((first, true)));
    // After a day it is another request.
    let session = later.service.api_session(Peer::LOCAL);
    let tomorrow = Now {
        mono: Mono(Duration::from_secs(90_000)),
        unix: Unix::from_secs(now().unix.secs() + 86_401),
    };
    let answer = ask_at(&session, tomorrow, caller(&later, ALICE), ask(message, 2));
    assert!(matches!(answer, Ok(Answer::Sent(_, false))), "{answer:?}");
}

#[test]
fn a_key_of_what_was_refused_may_be_used_again() {
    let world = World::new();
    let ask = |text: &str, digest| {
        let terms = Terms {
            key: key("k1", digest),
            ..terms()
        };
        sending(raw(text), terms)
    };
    assert!(post(&world, ALICE, ask("Subject: x\n\n", 1)).is_err());
    assert!(
        post(&world, ALICE, ask("To: nobody@example.com\n\n", 2)).is_ok_and(|(sent, _)| sent.id.is_none())
    );
    assert!(
        post(&world, ALICE, ask("To: bob@example.com\n\n", 3))
            .is_ok_and(|(sent, again)| sent.id.is_some() && !again)
    );
}

#[test]
fn limits_of_mail_hold_here_too() {
    let world = World::with(|settings| {
        settings.rates.messages_per_minute = 2;
        settings.rates.recipients_per_hour = 3;
    });
    let from = |last: u8| Peer {
        address: IpAddr::from([192, 0, 2, last]),
        trusted: false,
    };
    let post = |peer: Peer, text: &str| {
        let session = world.service.api_session(peer);
        ask_at(
            &session,
            now(),
            caller(&world, ALICE),
            sending(raw(text), terms()),
        )
    };
    assert!(post(from(1), "To: bob@example.com\n\n").is_ok());
    assert!(post(from(1), "To: bob@example.com\n\n").is_ok());
    let failure = post(from(1), "To: bob@example.com\n\n").expect_err("too many messages");
    assert_eq!(failure.status, 429);
    assert!(
        failure
            .retry_after
            .is_some_and(|wait| wait > Duration::ZERO && wait <= Duration::from_secs(60))
    );
    let failure =
        post(from(2), "To: bob@example.com, carol@example.org\n\n").expect_err("too many recipients");
    assert_eq!(failure.status, 429);
    assert!(
        failure
            .retry_after
            .is_some_and(|wait| wait > Duration::from_secs(60))
    );
    assert_eq!(world.inbox("carol@example.org").rows.len(), 0);
}

#[test]
fn an_answer_belongs_to_its_thread_and_marks_what_it_answers() {
    let world = World::new();
    let original = b"From: Bob <bob@example.com>\r\nMessage-ID: <1@x>\r\nSubject: Lunch\r\n\r\nWhen?\r\n";
    let uid = world.append(ALICE, "INBOX", original);
    let folder = world.mailbox(ALICE, "INBOX").id;
    let id = api::mail::MessageId::parse(&format!("F{}-{uid}", folder.0)).expect("an id");
    let draft = Draft {
        text: Some("Now.".to_owned()),
        reply_to_message: Some(id),
        ..Draft::default()
    };
    let (sent, _) = post(&world, ALICE, sending(Letter::Draft(Box::new(draft)), terms())).expect("sent");
    assert_eq!(sent.sent, ["bob@example.com"]);
    let got = text_of(&world.newest("bob@example.com"));
    for line in [
        "To: Bob <bob@example.com>",
        "Subject: Re: Lunch",
        "In-Reply-To: <1@x>",
        "References: <1@x>",
    ] {
        assert!(got.contains(&format!("{line}\r\n")), "{line}: {got}");
    }
    let flags = |world: &World| {
        let snapshot = world.inbox(ALICE);
        let row = snapshot.rows.iter().next().expect("there");
        row.flags
    };
    assert!(flags(&world).contains(SystemFlags::ANSWERED));

    // Where nobody has the folder open.
    let world = restarted(&world);
    let draft = Draft {
        to: to(&["carol@example.org"]),
        forward_message: Some(id),
        ..Draft::default()
    };
    let (sent, _) = post(&world, ALICE, sending(Letter::Draft(Box::new(draft)), terms())).expect("sent");
    assert_eq!(sent.sent.len(), 1);
    let got = text_of(&world.newest("carol@example.org"));
    assert!(
        got.contains("Subject: Fwd: Lunch\r\n") && got.contains("Content-Type: message/rfc822"),
        "{got}"
    );
    assert!(got.contains(&text_of(original)));
    let row = world.inbox(ALICE).rows.iter().next().copied().expect("there");
    assert!(!row.keywords.is_empty(), "$Forwarded");

    let nobody = Draft {
        reply_to_message: api::mail::MessageId::parse("F7-7"),
        ..Draft::default()
    };
    let failure =
        post(&world, ALICE, sending(Letter::Draft(Box::new(nobody)), terms())).expect_err("no message");
    assert_eq!(
        (failure.status, failure.details[0].path.as_str()),
        (400, "$.reply_to_message")
    );
}

#[test]
fn what_is_remembered_of_requests_is_bounded_and_forgotten() {
    let world = World::new();
    for n in 0..1_005 {
        let terms = Terms {
            key: key(&format!("k{n}"), 1),
            options: Options {
                save_to_sent: false,
                ..Options::default()
            },
            ..terms()
        };
        world.disk.set_clock(Duration::from_secs(1_700_000_000 + n));
        post(&world, ALICE, sending(raw("To: dan@away.test\n\n"), terms)).expect("sent");
    }
    let count = |world: &World| {
        let dir = world.dir("requests/example.com/alice");
        block_on(world.disk.list(&dir)).expect("list").entries.len()
    };
    assert!((995..=1_001).contains(&count(&world)), "{}", count(&world));
    block_on(
        world
            .service
            .tidy_requests(Unix::from_secs(1_700_000_000 + 86_400 + 500)),
    );
    assert!((490..=510).contains(&count(&world)), "{}", count(&world));
}

/// Another process on the same disk, when the first one is dead.
fn restarted(world: &World) -> World {
    world.disk.kill();
    let disk = Arc::new(world.disk.process());
    let store = Arc::new(open_store(&disk));
    World {
        service: Service::new(Arc::clone(&store), accounts(&disk, 9), settings()),
        disk,
        store,
        told: Arc::default(),
    }
}
