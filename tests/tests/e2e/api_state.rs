//! What the API tells without a token: documents for setting up clients, health, figures.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rmail_tests::{Server, Wire, find, free_port, run_with_input, wait_for};
use serde_json::{Value, json};

/// Status and body of a GET from this host, with more fields.
fn get(port: u16, path: &str, fields: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the API listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// The figures, by series.
fn figures(port: u16) -> BTreeMap<String, f64> {
    let (status, text) = get(port, "/metrics", "");
    assert_eq!(status, 200, "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        (series.to_owned(), value.parse().expect("a number"))
    };
    lines.map(pair).collect()
}

#[test]
fn clients_set_themselves_up() {
    let Some(python) = find("python3") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(
        dir.path(),
        json!({
            "exchange_api": {"host": "127.0.0.1", "port": free_port(), "secure_port": null,
                "public_port": free_port(), "public_secure_port": free_port()},
            "mta_sts": {"mode": "testing", "max_age": 86400},
        }),
    );
    let port = |name: &str| server.port(&format!("/exchange_api/{name}"));
    let input = json!({
        "ports": {"api": port("port"), "public": port("public_port"), "public_secure": port("public_secure_port")},
        "address": "alice@here.test", "password": "secret", "hostname": "mail.here.test",
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/set_up.py");
    run_with_input(Command::new(python).arg(script), input.to_string().as_bytes());
}

/// A server with the API on loopback, whose mail for elsewhere nobody takes.
fn server(dir: &Path) -> (Server, u16) {
    let port = free_port();
    let server = Server::start(
        dir,
        json!({
            "exchange_api": {"host": "127.0.0.1", "port": port},
            "relay": {"routes": {"*": {"host": "127.0.0.1", "port": free_port(), "tls": "none"}}},
        }),
    );
    (server, port)
}

#[test]
fn health_is_told_part_by_part_to_this_host_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_server, port) = server(dir.path());
    let (status, body) = get(port, "/health", "");
    let health: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &health["status"]), (200, &json!("up")), "{body}");
    let listeners = health["listeners"].as_array().expect("listeners");
    let mut services: Vec<&str> = listeners
        .iter()
        .map(|one| one["service"].as_str().expect("a name"))
        .collect();
    services.sort_unstable();
    assert_eq!(services, ["api", "imap", "imaps", "smtp", "smtps", "submission"]);
    assert!(listeners.iter().all(|one| one["up"] == json!(true)));
    assert_eq!(
        (&health["queue"]["up"], &health["store"]["up"]),
        (&json!(true), &json!(true))
    );
    assert!(health["free_octets"].as_u64().is_some_and(|free| free > 0));
    // A proxy on this host asks for others.
    let forwarded = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(
        get(port, "/health", forwarded),
        (200, "{\"status\":\"up\"}".to_owned())
    );
    assert_eq!(get(port, "/metrics", forwarded).0, 401);
}

#[test]
fn figures_move_with_what_happens() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, port) = server(dir.path());
    let before = figures(port);
    assert_eq!(before["rmail_up"], 1.0);
    assert!(before["rmail_certificate_days_left"] > 3_000.0, "ten years");
    for series in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
        "rmail_store_free_octets",
    ] {
        assert!(before[series] > 0.0, "{series}");
    }

    let (mut smtp, _) = Wire::connect(server.port("/smtp/submission_port"));
    smtp.smtp("EHLO client.test");
    assert!(
        smtp.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdAB3cm9uZw==")
            .starts_with("535")
    );
    assert!(
        smtp.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=")
            .starts_with("235")
    );
    smtp.smtp("MAIL FROM:<alice@here.test>");
    assert!(smtp.smtp("RCPT TO:<nobody@here.test>").starts_with("550 5.1.1"));
    assert!(smtp.smtp("RCPT TO:<bob@here.test>").starts_with("250"));
    assert!(smtp.smtp("RCPT TO:<someone@elsewhere.test>").starts_with("250"));
    smtp.smtp("DATA");
    assert!(
        smtp.smtp("From: alice@here.test\r\nSubject: hello\r\n\r\nbody\r\n.")
            .starts_with("250")
    );
    let (mut imap, _) = Wire::connect(server.port("/imap/port"));
    assert!(imap.imap("LOGIN bob@here.test secret").contains(" OK"));
    assert!(imap.imap("SELECT INBOX").contains("* 1 EXISTS"));
    assert!(imap.imap("FETCH 1 BODY[]").contains("hello"));
    assert!(imap.imap("STORE 1 +FLAGS (\\Flagged)").contains("\\Flagged"));
    assert!(imap.imap("SEARCH SUBJECT hello").contains("* SEARCH 1"));
    assert!(imap.imap("SELECT Nowhere").contains(" NO "));
    // The connection to the host that takes nothing was tried.
    wait_for("the first attempt", || {
        figures(port)["rmail_relay_recipients_total{outcome=\"deferred\"}"] > 0.0
    });

    let after = figures(port);
    let operation = |name: &str| format!("rmail_store_operation_seconds_count{{operation=\"{name}\"}}");
    for (series, least) in [
        ("rmail_connections{service=\"submission\"}".to_owned(), 1.0),
        ("rmail_connections{service=\"imap\"}".to_owned(), 1.0),
        ("rmail_connections_total{service=\"imap\"}".to_owned(), 1.0),
        ("rmail_smtp_commands_total{command=\"rcpt\"}".to_owned(), 3.0),
        ("rmail_smtp_replies_total{class=\"5xx\"}".to_owned(), 2.0),
        ("rmail_imap_commands_total{command=\"fetch\"}".to_owned(), 1.0),
        ("rmail_imap_replies_total{status=\"no\"}".to_owned(), 1.0),
        ("rmail_http_requests_total{method=\"get\"}".to_owned(), 1.0),
        ("rmail_http_responses_total{class=\"2xx\"}".to_owned(), 1.0),
        (
            "rmail_logins_total{protocol=\"smtp\",result=\"failed\"}".to_owned(),
            1.0,
        ),
        (
            "rmail_logins_total{protocol=\"smtp\",result=\"ok\"}".to_owned(),
            1.0,
        ),
        (
            "rmail_logins_total{protocol=\"imap\",result=\"ok\"}".to_owned(),
            1.0,
        ),
        ("rmail_messages_accepted_total{protocol=\"smtp\"}".to_owned(), 1.0),
        ("rmail_message_octets_total".to_owned(), 50.0),
        ("rmail_recipients_total{to=\"mailbox\"}".to_owned(), 1.0),
        ("rmail_recipients_total{to=\"queue\"}".to_owned(), 1.0),
        ("rmail_rejections_total{reason=\"unknown_user\"}".to_owned(), 1.0),
        ("rmail_queue_entries{age=\"1m\"}".to_owned(), 1.0),
        ("rmail_relay_attempts_total{kind=\"first\"}".to_owned(), 1.0),
        ("rmail_store_answers_total{by=\"thread\"}".to_owned(), 1.0),
        (
            "rmail_cache_requests_total{cache=\"password\",result=\"miss\"}".to_owned(),
            1.0,
        ),
        (
            "rmail_cache_requests_total{cache=\"mailbox\",result=\"miss\"}".to_owned(),
            1.0,
        ),
        (operation("login"), 2.0),
        (operation("deliver"), 1.0),
        (operation("select"), 1.0),
        (operation("read"), 1.0),
        (operation("flags"), 1.0),
        (operation("search"), 1.0),
        (operation("api"), 1.0),
        ("rmail_event_loop_delay_seconds_count".to_owned(), 0.0),
        ("process_cpu_seconds_total".to_owned(), 0.0),
    ] {
        let moved = after[&series] - before[&series];
        assert!(
            moved >= least,
            "{series}: {} after {}",
            after[&series],
            before[&series]
        );
    }
    drop((smtp, imap));
    wait_for("the sessions to end", || {
        let now = figures(port);
        now["rmail_connections{service=\"imap\"}"] == 0.0
            && now["rmail_connections{service=\"submission\"}"] == 0.0
            && now["rmail_sessions_ended_total{why=\"closed\"}"]
                > before["rmail_sessions_ended_total{why=\"closed\"}"]
    });
}
