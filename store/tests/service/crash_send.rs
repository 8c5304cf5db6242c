//! The server ends at each disk call of a `/send` with an Idempotency-Key: what was answered is in every mailbox, in the
//! queue, among sent mail, and is not sent again under its key; what was not answered can be asked for again, and is whole
//! where it is.

use std::sync::Arc;

use crate::common::{Store, World, account, accounts, mailbox_name, now, open_store};
use futures_lite::future::block_on;
use rmail_core::api::send::{self, Answer, Key, Letter, Message, Options, Sending, Sent, Terms};
use rmail_core::api::{self, Access, Call, Caller};
use rmail_core::peer::Peer;
use rmail_core::time::Unix;
use rmail_store::MailStore as _;
use rmail_store::mem::{End, Fault, MemDisk, Model, Outcome};
use rmail_store::service::{Answer as Served, Serve as _, Service};

const ALICE: &str = "alice@example.com";
const MESSAGE: &str = "To: bob@example.com, dan@elsewhere.net\nSubject: x\n\nbody\n";

/// Sends the message from a process with this seed; what was answered, and whether it was the answer of an earlier time.
fn send(disk: &MemDisk, store: &Arc<Store>, seed: u8) -> Option<(Sent, bool)> {
    let service = Service::new(Arc::clone(store), accounts(disk, seed), crate::common::settings());
    let user = block_on(service.accounts().find(&account(ALICE))).ok()??;
    let sending = Sending {
        message: Message::Letter(Letter::Raw(MESSAGE.as_bytes().to_vec())),
        terms: Terms {
            options: Options::default(),
            max_recipients: 100,
            max_size: 100_000,
            secure: true,
            key: Some(Key {
                text: "key".to_owned(),
                digest: [1; 32],
            }),
        },
    };
    let call = Call {
        caller: Some(Caller {
            account: account(ALICE),
            epoch: user.epoch(),
            tokens: 0,
            expires: Unix::from_secs(u64::MAX),
        }),
        access: Access::User,
        ask: api::Ask::Send(send::Ask::Send(Box::new(sending))),
    };
    let session = service.api_session(Peer::LOCAL);
    let reply = match session.answer(now(), call) {
        Served::Now(reply) => reply,
        Served::Later(_, call) => block_on(session.run(now(), call)),
        Served::Wait(reply) => block_on(reply),
    };
    // What a dead process would say nobody hears.
    match reply {
        Ok(api::Answer::Send(Answer::Sent(sent, again))) if !disk.is_dead() => {
            // As the client is told.
            Some((Sent { note: None, ..*sent }, again))
        }
        Err(failure) if !disk.is_dead() => panic!("{failure:?}"),
        _ => None,
    }
}

/// How many messages there are, each of which must be whole.
fn count(store: &Store, name: &str, folder: &str) -> usize {
    block_on(async {
        let selected = store
            .select(&account(name), &mailbox_name(folder), true)
            .await
            .expect("select");
        for row in selected.snapshot.rows.iter() {
            let blob = store
                .open(&selected.mailbox, row.uid)
                .await
                .expect("open")
                .expect("there");
            let mut octets = vec![0; 1 << 16];
            let read = store.read(&blob, &mut octets, 0).await.expect("read");
            assert!(
                octets[..read].ends_with(b"\r\n\r\nbody\r\n"),
                "{folder} of {name}"
            );
        }
        selected.snapshot.rows.len()
    })
}

/// Runs the request into a crash at a call; whether the crash was reached.
fn run(world: &MemDisk, at: u64, end: End) -> bool {
    let disk = world.fork();
    let store = Arc::new(open_store(&disk));
    disk.fault(disk.calls() + at, Fault::Crash);
    let answered = send(&disk, &store, 2);
    let cut = disk.is_dead();
    assert!(cut || answered.is_some());
    drop(store);
    disk.end(end, at);

    let what = format!("{end:?} at call {at}, answered: {answered:?}");
    let disk = disk.process();
    let store = Arc::new(open_store(&disk));
    let queued = block_on(store.load_outbound()).expect("load the queue").len();
    let (bob, copies) = (
        count(&store, "bob@example.com", "INBOX"),
        count(&store, ALICE, "Sent"),
    );
    if let Some((sent, _)) = &answered {
        assert_eq!((queued, bob, copies), (1, 1, 1), "{what}");
        assert_eq!((sent.sent.len(), sent.queued.len()), (1, 1), "{what}");
    } else {
        // One after the other, as with other mail: nobody was told that all of it is done.
        assert!(
            queued <= 1 && bob <= 1 && copies <= 1,
            "{what}: {queued} {bob} {copies}"
        );
    }
    // The client asks again.
    let (again, known) = send(&disk, &store, 3).expect("answered now");
    match answered {
        Some((first, _)) => assert_eq!((again, known), (first, true), "{what}"),
        // It may have been remembered before it could be answered.
        None => assert!(!known || bob == 1, "{what}"),
    }
    let expected = if known { bob } else { bob + 1 };
    assert_eq!(count(&store, "bob@example.com", "INBOX"), expected, "{what}");
    cut
}

#[test]
fn a_crash_at_any_call_of_a_send_loses_nothing_acknowledged() {
    let world = World::new();
    let mut ends = vec![End::Kill];
    for model in [Model::Adversary, Model::Ordered] {
        ends.push(End::Power(model, Outcome::Lost, 0));
        ends.push(End::Power(model, Outcome::Random, 2));
    }
    for end in ends {
        let cuts = (1..).take_while(|at| run(&world.disk, *at, end)).count();
        assert!(cuts > 20, "{end:?}: only {cuts}");
    }
}
