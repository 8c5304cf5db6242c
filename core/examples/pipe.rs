//! Two IMAP clients and the server machine, glued together in memory: no socket, no thread, no clock.
//!
//! One client waits in IDLE while the other one appends, flags and moves mail. The service behind the machine is the
//! small store of the tests. Run it with `cargo run -p rmail-core --example pipe`.

#[path = "../tests/imap/common.rs"]
mod service;

use std::time::Duration;

use service::{Client, PASSWORD, USER, World, settings};

/// A step of the script: who speaks, and what is said. Nothing said: the client listens.
struct Step(usize, &'static str);

const SCRIPT: [Step; 15] = [
    Step(1, "a1 SELECT INBOX\r\n"),
    Step(2, "b1 SELECT INBOX\r\n"),
    Step(1, "a2 IDLE\r\n"),
    Step(
        2,
        "b2 APPEND INBOX (\\Flagged) {31+}\r\nSubject: hello\r\n\r\nGood morning\r\n",
    ),
    Step(1, ""),
    Step(2, "b3 FETCH 3 (UID ENVELOPE BODY[TEXT])\r\n"),
    Step(1, ""),
    Step(2, "b4 UID MOVE 1 Sent\r\n"),
    Step(1, ""),
    Step(1, "DONE\r\n"),
    Step(1, "a3 SEARCH FLAGGED SUBJECT hello\r\n"),
    Step(1, "a4 STORE 2 +FLAGS (\\Answered $Later)\r\n"),
    Step(2, "b5 NOOP\r\n"),
    Step(1, "a5 LOGOUT\r\n"),
    Step(2, "b6 LOGOUT\r\n"),
];

fn main() {
    let mut world = World::with_messages(2);
    let mut clients = [Client::new(settings()), Client::new(settings())];
    for (at, client) in clients.iter_mut().enumerate() {
        show(at + 1, 'S', &client.listen(&mut world));
        let login = format!("x LOGIN {USER} {PASSWORD}\r\n");
        show(at + 1, 'C', "x LOGIN … …\r\n");
        show(at + 1, 'S', &client.say(&mut world, &login));
    }
    for Step(who, line) in SCRIPT {
        let Some(client) = clients.get_mut(who - 1) else {
            continue;
        };
        client.now.mono = client.now.mono + Duration::from_secs(1);
        show(who, 'C', line);
        let answer = if line.is_empty() {
            client.listen(&mut world)
        } else {
            client.say(&mut world, line)
        };
        show(who, 'S', &answer);
    }
}

fn show(who: usize, side: char, text: &str) {
    for line in text.lines() {
        println!("{side}{who}: {line}");
    }
}
