//! A message comes in by DATA, and by BDAT in two chunks, and the server ends at each of its disk calls between the
//! command and 250: what was answered with 250 is there in every mailbox and in the queue, and what was not is there whole
//! or not at all.

use std::sync::Arc;

use crate::common::{Smtp, Store, World, accounts, mailbox_name, now, open_store};
use futures_lite::future::block_on;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, Input, Machine as _};
use rmail_core::peer::Peer;
use rmail_core::random::Random;
use rmail_core::smtp::server::{Role, Session, Settings};
use rmail_store::MailStore as _;
use rmail_store::mem::{End, Fault, MemDisk, Model, Outcome};
use rmail_store::service::{Answer, Serve as _, Service};

/// What the client says up to the body, and how the body comes.
const LOGIN: &str = "EHLO client.example\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUuY29tAGNvcnJlY3QgaG9yc2U=\r\n";
const ENVELOPE: &str = "MAIL FROM:<alice@example.com>\r\nRCPT TO:<alice@example.com>\r\nRCPT TO:<bob@example.com>\r\n\
                        RCPT TO:<dan@elsewhere.net>\r\n";
const BODIES: [&str; 2] = [
    "DATA\r\nFrom: alice@example.com\r\nSubject: x\r\n\r\nbody\r\n.\r\n",
    "BDAT 25\r\nFrom: alice@example.com\r\nBDAT 20 LAST\r\nSubject: x\r\n\r\nbody\r\n",
];

/// One connection.
struct Client {
    session: Session,
    service: Smtp,
    sent: String,
}

impl Client {
    fn new(disk: &MemDisk, store: &Arc<Store>) -> Self {
        let service = Service::new(Arc::clone(store), accounts(disk, 2), crate::common::settings());
        let settings = Settings {
            cleartext_auth: true,
            ..Settings::new("mail.example.com", Role::Submission, Peer::LOCAL.address)
        };
        let mut client = Self {
            session: Session::new(settings, Random::from_seed([5; 32]), now()),
            service: service.smtp_session(Peer::LOCAL),
            sent: String::new(),
        };
        client.say(LOGIN);
        client.say(ENVELOPE);
        let codes: Vec<&str> = client.sent.lines().map(|line| &line[..4]).collect();
        assert_eq!(
            codes[codes.len() - 5..],
            ["235 ", "250 ", "250 ", "250 ", "250 "],
            "{}",
            client.sent
        );
        client
    }

    fn say(&mut self, text: &str) {
        let octets = Chunk::copy_from(text.as_bytes());
        self.session.handle_input(now(), Input::Bytes(octets));
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(octets) => self
                    .sent
                    .push_str(core::str::from_utf8(octets.as_ref()).expect("text")),
                Action::Spool(spool, chunk) => {
                    if let Err(chunk) = self.service.spool_now(spool, chunk) {
                        block_on(self.service.spool(spool, chunk));
                    }
                }
                Action::Call(id, call) => {
                    let reply = match self.service.answer(now(), call) {
                        Answer::Now(reply) => reply,
                        Answer::Later(_, call) => block_on(self.service.run(now(), call)),
                        Answer::Wait(reply) => block_on(reply),
                    };
                    self.session.handle_input(now(), Input::Reply(id, reply));
                }
                _ => {}
            }
        }
    }

    /// Sends the message; whether it was accepted.
    fn send(&mut self, body: &str) -> bool {
        self.sent.clear();
        self.say(body);
        self.sent.contains("message accepted for delivery")
    }
}

fn ends() -> Vec<End> {
    let mut ends = vec![End::Kill];
    for model in [Model::Adversary, Model::Ordered] {
        ends.push(End::Power(model, Outcome::Lost, 0));
        ends.push(End::Power(model, Outcome::Random, 2));
    }
    ends
}

/// The texts of a mailbox.
async fn texts(store: &Store, account: &str) -> Vec<String> {
    let selected = store
        .select(&crate::common::account(account), &mailbox_name("INBOX"), true)
        .await
        .expect("select");
    let mut texts = Vec::new();
    for row in selected.snapshot.rows.iter() {
        let blob = store
            .open(&selected.mailbox, row.uid)
            .await
            .expect("open")
            .expect("there");
        let mut octets = vec![0; 1 << 16];
        let read = store.read(&blob, &mut octets, 0).await.expect("read");
        octets.truncate(read);
        texts.push(String::from_utf8(octets).expect("text"));
    }
    texts
}

/// Runs the message into a crash at a call; whether the crash was reached.
fn run(world: &MemDisk, body: &str, at: u64, end: End) -> bool {
    let disk = world.fork();
    let store = Arc::new(open_store(&disk));
    let mut client = Client::new(&disk, &store);
    disk.fault(disk.calls() + at, Fault::Crash);
    let accepted = client.send(body);
    let cut = disk.is_dead();
    assert!(cut || accepted, "{}", client.sent);
    drop(client);
    drop(store);
    disk.end(end, at);

    let what = format!("{end:?} at call {at}, accepted: {accepted}");
    let disk = disk.process();
    let store = open_store(&disk);
    block_on(async {
        let queue = store.load_outbound().await.expect("load the queue");
        let to: Vec<&str> = queue
            .iter()
            .flat_map(|entry| entry.recipients.iter().map(|to| to.address.as_str()))
            .collect();
        assert!(
            to.is_empty() && !accepted || to == ["dan@elsewhere.net"],
            "{what}: {to:?}"
        );
        for entry in &queue {
            let blob = store.open_outbound(&entry.id).await.expect("its message");
            assert_eq!(store.blob_len(&blob), entry.size, "{what}");
        }
        for account in ["alice@example.com", "bob@example.com"] {
            let found = texts(&store, account).await;
            assert!(
                found.len() <= 1 && (found.len() == 1 || !accepted),
                "{what}: {account}"
            );
            for text in found {
                assert!(
                    text.starts_with("Return-Path: <alice@example.com>\r\nReceived: from client.example")
                        && text.ends_with("\r\n\r\nbody\r\n"),
                    "{what}: {account} {text:?}"
                );
            }
        }
    });
    cut
}

#[test]
fn a_crash_at_any_call_between_data_and_250_loses_nothing_acknowledged() {
    let world = World::new();
    for body in BODIES {
        for end in ends() {
            let cuts = (1..).take_while(|at| run(&world.disk, body, *at, end)).count();
            assert!(cuts > 10, "{end:?} {body:?}: only {cuts}");
        }
    }
}
