//! Limits, over sockets: who sends or guesses too much is held back by every server that he was a nuisance to, and
//! `rmail unban` lets him go in all of them.

use rmail_tests::{Server, Wire, wait_for};
use serde_json::{Value, json};

fn start(dir: &std::path::Path, limits: Value) -> Server {
    let mut limits = limits;
    limits["trusted_networks"] = json!([]);
    Server::start(dir, json!({ "limits": limits }))
}

fn imap_login(server: &Server, password: &str) -> String {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    wire.imap(&format!("LOGIN alice {password}"))
}

fn list(server: &Server) -> Value {
    serde_json::from_str(&server.rmail(&["unban", "--list", "--json"], "")).expect("JSON")
}

#[test]
fn who_guesses_is_shut_out_until_an_operator_lets_him_go_in_every_process() {
    let (dir, beside) = (
        tempfile::tempdir().expect("directory"),
        tempfile::tempdir().expect("directory"),
    );
    let first = start(dir.path(), json!({"auth_failures_per_10_minutes": 3}));
    let second = first.start_beside(beside.path());
    assert_eq!(first.rmail(&["unban", "--list"], ""), "Nobody is held back.\n");
    for server in [&first, &second] {
        for password in ["a", "a", "b", "c"] {
            assert!(imap_login(server, password).contains("t NO [AUTHENTICATIONFAILED]"));
        }
        assert!(imap_login(server, "secret").contains("t NO [LIMIT]"));
        wait_for("the lock-out in the log", || server.log().contains("logins as"));
    }
    wait_for("both processes in the list", || {
        list(&first).as_array().is_some_and(|all| all.len() == 1) && told(&first) == 2
    });
    let held = &list(&first)[0];
    assert_eq!(
        (&held["account"], &held["address"], &held["limit"]),
        (
            &json!("alice@here.test"),
            &json!("127.0.0.1"),
            &json!("failed logins")
        )
    );

    let said = first.rmail(&["unban", "127.0.0.1"], "");
    assert!(
        said.starts_with("Lifted: alice@here.test from 127.0.0.1: failed logins, for "),
        "{said}"
    );
    for server in [&first, &second] {
        assert!(imap_login(server, "secret").contains("t OK"));
        assert_eq!(list(server), json!([]));
    }
}

/// Processes that tell of somebody.
fn told(server: &Server) -> usize {
    let names = std::fs::read_dir(server.mail_root().join("limits")).expect("limits");
    names
        .filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            name.to_string_lossy().ends_with(".json")
        })
        .count()
}

#[test]
fn an_address_that_sends_too_much_is_refused_when_it_connects() {
    let dir = tempfile::tempdir().expect("directory");
    let server = start(dir.path(), json!({"messages_per_minute": 3}));
    let (mut wire, greeting) = Wire::connect(server.port("/smtp/port"));
    assert!(greeting.starts_with("220"));
    wire.smtp("EHLO client.test");
    for _ in 0..3 {
        assert!(wire.smtp("MAIL FROM:<a@away.test>").starts_with("250"));
        wire.smtp("RSET");
    }
    assert!(wire.smtp("MAIL FROM:<a@away.test>").starts_with("450 4.7.1"));
    let connect = |port| Wire::connect(server.port(port)).1;
    assert!(connect("/smtp/port").starts_with("421 4.7.0 mail.here.test too many messages"));
    assert!(connect("/smtp/submission_port").starts_with("421 4.7.0"));
    assert!(connect("/imap/port").starts_with("* OK"), "it may read");
    wait_for("the reasons in the log", || {
        let log = server.log();
        log.contains("450 4.7.1 Too many messages")
            && log.contains("why=Rate")
            && log.contains("event=connected")
    });
    wait_for("the address in the list", || {
        list(&server).as_array().is_some_and(|all| !all.is_empty())
    });
    server.rmail(&["unban"], "");
    assert!(connect("/smtp/port").starts_with("220"));
}
