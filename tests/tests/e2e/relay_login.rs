//! One server is the smarthost of another: login, chunks, and a password that is mended.

use rmail_tests::{Server, Sink, Wire, wait_for};
use serde_json::json;

fn submit(server: &Server, subject: &str) {
    let (mut wire, _) = Wire::connect(server.port("/smtp/submission_port"));
    wire.smtp("EHLO client.test");
    // \0alice@here.test\0secret
    let reply = wire.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=");
    assert!(reply.starts_with("235"), "{reply}");
    wire.smtp("MAIL FROM:<alice@here.test>");
    wire.smtp("RCPT TO:<x@away.test>");
    wire.smtp("DATA");
    let text = format!("From: alice@here.test\r\nSubject: {subject}\r\n\r\n.. dots\r\nbody\r\n.");
    let reply = wire.smtp(&text);
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
}

#[test]
fn a_smarthost_is_logged_in_to_and_a_wrong_password_keeps_the_mail() {
    let (here, there) = (
        tempfile::tempdir().expect("directory"),
        tempfile::tempdir().expect("directory"),
    );
    let sink = Sink::start(0);
    let onward = json!({"relay": {"routes": {"*": {"host": "127.0.0.1", "port": sink.port, "tls": "none"}}}});
    let provider = Server::start(there.path(), onward);
    let mut server = Server::start(
        here.path(),
        json!({"relay": {
            "smarthost": "127.0.0.1", "smarthost_port": provider.port("/smtp/submission_port"), "smarthost_tls": "require",
            "smarthost_username": "alice@here.test", "smarthost_password": "not-the-word", "retry_delays": [1, 1, 1, 1, 1, 1, 1, 1],
        }}),
    );
    submit(&server, "through a smarthost");
    wait_for("the alarm", || {
        let log = server.log();
        log.contains("does not let us in as") && log.contains("ERROR")
    });
    assert!(sink.mails().is_empty());

    server.config["relay"]["smarthost_password"] = json!("secret");
    server.config["relay"]["retry_delays"] = json!([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    server.write_config();
    server.signal("HUP");
    wait_for("the mail", || sink.mails().len() == 1);
    let mail = &sink.mails()[0];
    assert!(
        mail.starts_with("MAIL FROM:<alice@here.test>") && mail.contains("\r\n. dots\r\nbody\r\n"),
        "{mail}"
    );
    let log = server.log();
    assert!(log.contains("AUTH SCRAM-SHA-256-PLUS ***"), "bound to TLS 1.3");
    assert!(log.contains(" LAST"), "in chunks");
    assert!(!log.contains("not-the-word"), "no password in the log");
}
