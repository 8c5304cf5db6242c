//! The example of a server on another backend: mail goes in by SMTP and out by IMAP, and nothing is on disk.

#[path = "../../../runtime/examples/in_memory.rs"]
#[allow(dead_code, reason = "the example is a program of its own, with a main")]
pub(crate) mod example;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rmail_runtime::listen::Service;
use rmail_runtime::server::Listen;
use rmail_tests::Wire;

#[test]
fn the_example_serves_smtp_imap_and_http_from_memory() {
    let any = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let server = example::start(Listen {
        smtp: any(),
        submission: any(),
        imap: any(),
        api: any(),
        ..Listen::default()
    })
    .expect("the server starts");
    let port = |wanted: Service| {
        let mut all = server.addresses().iter();
        let found = all.find(|(service, _)| *service == wanted);
        found.expect("it listens").1.port()
    };
    let (smtp, submission) = (port(Service::Smtp), port(Service::Submission));
    let (imap, api) = (port(Service::Imap), port(Service::Api));
    let stopper = server.stopper();
    let running = std::thread::spawn(move || server.run(|| None));

    // Somebody waits for mail.
    let (mut idle, _) = Wire::connect(imap);
    assert!(idle.imap("LOGIN bob@memory.test secret").contains("t OK"));
    assert!(idle.imap("SELECT INBOX").contains("* 0 EXISTS"));
    idle.send("i IDLE\r\n");
    assert!(idle.line().starts_with('+'));

    // From elsewhere, to two users at once.
    let (mut wire, greeting) = Wire::connect(smtp);
    assert!(greeting.starts_with("220 mail.memory.test "), "{greeting}");
    for (command, code) in [
        ("EHLO client.example", "250"),
        ("MAIL FROM:<someone@elsewhere.example>", "250"),
        ("RCPT TO:<alice@memory.test>", "250"),
        ("RCPT TO:<bob@memory.test>", "250"),
        ("RCPT TO:<nobody@memory.test>", "550"),
        ("DATA", "354"),
        ("Subject: hello\r\n\r\nIt works.\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        let reply = wire.smtp(command);
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
    assert_eq!(idle.line() + &idle.line(), "* 1 EXISTS\r\n* 1 RECENT\r\n");

    // From a user.
    let (mut wire, _) = Wire::connect(submission);
    for (command, code) in [
        ("EHLO client.example", "250"),
        ("AUTH PLAIN AGFsaWNlQG1lbW9yeS50ZXN0AHNlY3JldA==", "235"),
        ("MAIL FROM:<alice@memory.test>", "250"),
        ("RCPT TO:<bob@memory.test>", "250"),
        ("DATA", "354"),
        (
            "From: alice@memory.test\r\nSubject: again\r\n\r\nTwice.\r\n.",
            "250",
        ),
    ] {
        let reply = wire.smtp(command);
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
    assert_eq!(idle.line() + &idle.line(), "* 2 EXISTS\r\n* 2 RECENT\r\n");

    // It is read, kept, moved, and removed.
    let (mut wire, _) = Wire::connect(imap);
    assert!(wire.imap("LOGIN alice@memory.test secret").contains("t OK"));
    assert!(wire.imap("SELECT INBOX").contains("* 1 EXISTS"));
    assert!(wire.imap("FETCH 1 BODY[TEXT]").contains("It works.\r\n"));
    assert!(wire.imap("MOVE 1 Archive").contains("t OK"));
    assert!(wire.imap("STATUS Archive (MESSAGES)").contains("(MESSAGES 1)"));
    assert!(wire.imap("SELECT Archive").contains("* 1 EXISTS"));
    assert!(wire.imap("STORE 1 +FLAGS (\\Deleted $Read)").contains("$Read"));
    assert!(wire.imap("EXPUNGE").contains("* 1 EXPUNGE"));

    // The third server answers too.
    let mut http = TcpStream::connect((Ipv4Addr::LOCALHOST, api)).expect("the API listens");
    http.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    http.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    stopper.stop();
    let ended = running.join().expect("no panic");
    ended.expect("it ends well");
    assert!(!std::path::Path::new("mailstore").exists(), "nothing is on disk");
}
