//! Mail that goes out: route, MX, refusal, retry, and a queue that survives a kill.

use rmail_tests::{Dns, Server, Sink, Wire, free_port, wait_for};
use serde_json::json;

/// Submits a message as alice.
pub(crate) fn submit(server: &Server, to: &[&str], subject: &str) {
    let (mut wire, greeting) = Wire::connect(server.port("/smtp/submission_port"));
    assert!(
        greeting.starts_with("220 mail.here.test ESMTP rmail"),
        "{greeting}"
    );
    assert!(wire.smtp("EHLO client.test").starts_with("250 "));
    // \0alice@here.test\0secret
    assert!(
        wire.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=")
            .starts_with("235")
    );
    assert!(wire.smtp("MAIL FROM:<alice@here.test>").starts_with("250"));
    for to in to {
        let reply = wire.smtp(&format!("RCPT TO:<{to}>"));
        assert!(reply.starts_with("250"), "{to}: {reply}");
    }
    assert!(wire.smtp("DATA").starts_with("354"));
    let reply = wire.smtp(&format!(
        "From: alice@here.test\r\nSubject: {subject}\r\n\r\n.. dots\r\nbody\r\n."
    ));
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    wire.smtp("QUIT");
}

/// All of a user's INBOX as one text.
pub(crate) fn inbox(server: &Server, user: &str) -> String {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    wire.imap(&format!("LOGIN {user}@here.test secret"));
    wire.imap("EXAMINE INBOX");
    wire.imap("FETCH 1:* (BODY.PEEK[])")
}

pub(crate) fn queue_is_empty(server: &Server) -> bool {
    let mut open = vec![server.dir.join("mailstore/queue")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).expect("the queue").flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "json" || extension == "eml")
            {
                return false;
            }
        }
    }
    true
}

#[test]
fn a_route_takes_the_mail() {
    let dir = tempfile::tempdir().expect("directory");
    let sink = Sink::start(0);
    let routes = json!({"relay": {"routes": {"*": {"host": "127.0.0.1", "port": sink.port, "tls": "none"}}}});
    let server = Server::start(dir.path(), routes);
    submit(&server, &["x@away.test", "bob@here.test"], "both ways");
    wait_for("the relay", || sink.mails().len() == 1);
    let mail = &sink.mails()[0];
    assert!(mail.starts_with("MAIL FROM:<alice@here.test>"), "{mail}");
    assert!(
        mail.contains("RCPT TO:<x@away.test>") && !mail.contains("bob@here.test>"),
        "{mail}"
    );
    assert!(
        mail.contains("\r\n. dots\r\nbody\r\n") && !mail.contains("Return-Path"),
        "{mail}"
    );
    assert!(inbox(&server, "bob").contains("Subject: both ways"));
    wait_for("an empty queue", || queue_is_empty(&server));
}

#[test]
fn an_mx_is_found_by_dns_and_what_it_refuses_comes_back() {
    let dir = tempfile::tempdir().expect("directory");
    let (sink, dns) = (Sink::start(0), Dns::start());
    let relay = json!({"relay": {"dns_servers": [format!("127.0.0.1:{}", dns.port)], "port": sink.port}});
    let server = Server::start(dir.path(), relay);
    submit(
        &server,
        &["x@a.mx.test", "nobody@a.mx.test", "y@missing.test"],
        "by mx",
    );
    wait_for("the relay", || sink.mails().len() == 1);
    wait_for("both reports", || {
        let text = inbox(&server, "alice");
        text.contains("nobody@a.mx.test") && text.contains("y@missing.test")
    });
    let text = inbox(&server, "alice");
    assert!(text.contains("Return-Path: <>"), "{text}");
    assert!(
        text.contains("multipart/report") && text.contains("message/delivery-status"),
        "{text}"
    );
    assert!(
        text.contains("550 5.1.1 no such mailbox here"),
        "the peer's own words: {text}"
    );
    wait_for("an empty queue", || queue_is_empty(&server));
    assert_eq!(sink.mails().len(), 1);
    let log = server.log();
    for word in [
        "event=dns",
        "host.test",
        "event=connected",
        "event=sent",
        "event=failed",
    ] {
        assert!(log.contains(word), "{word} is missing in the log");
    }
    assert!(
        !log.contains("secret") && !log.contains("AGFsaWNl"),
        "no password in the log"
    );
}

#[test]
fn the_queue_survives_a_kill_and_goes_on() {
    let dir = tempfile::tempdir().expect("directory");
    let port = free_port();
    let relay = json!({"relay": {
        "routes": {"*": {"host": "127.0.0.1", "port": port, "tls": "none"}}, "retry_delays": [1, 1, 1, 1, 1, 1, 1, 1],
    }});
    let mut server = Server::start(dir.path(), relay);
    for n in 0..5 {
        submit(
            &server,
            &["x@away.test", "later@away.test"],
            &format!("number {n}"),
        );
    }
    assert!(!queue_is_empty(&server), "nobody listens there yet");
    server.kill();
    assert!(!queue_is_empty(&server), "it is on disk");
    let sink = Sink::start(port);
    server.launch();
    wait_for("all five", || {
        let mails = sink.mails();
        (0..5).all(|n| {
            mails
                .iter()
                .any(|mail| mail.contains(&format!("Subject: number {n}\r\n")))
        })
    });
    wait_for("the reports for the recipient that never took it", || {
        inbox(&server, "alice").matches("Subject: number").count() >= 5
    });
    wait_for("an empty queue", || queue_is_empty(&server));
    assert_eq!(sink.mails().len(), 5, "each was taken once");
}
