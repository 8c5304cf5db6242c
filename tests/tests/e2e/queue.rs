//! `rmail queue` and `rmail trace`, beside running servers and without any.

use std::process::Command;

use rmail_tests::{Server, Sink, Wire, free_port, rmail, wait_for};
use serde_json::{Value, json};

/// Submits a message as alice; its id.
fn submit(server: &Server, to: &[&str]) -> String {
    let (mut wire, _) = Wire::connect(server.port("/smtp/submission_port"));
    wire.smtp("EHLO client.test");
    // \0alice@here.test\0secret
    wire.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=");
    wire.smtp("MAIL FROM:<alice@here.test>");
    for to in to {
        let reply = wire.smtp(&format!("RCPT TO:<{to}>"));
        assert!(reply.starts_with("250"), "{to}: {reply}");
    }
    wire.smtp("DATA");
    let reply = wire.smtp("From: alice@here.test\r\nSubject: hello\r\n\r\nbody\r\n.");
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    wire.smtp("QUIT");
    reply.split_whitespace().last().expect("an id").to_owned()
}

/// A server whose mail for elsewhere goes to a port of loopback.
fn server(dir: &std::path::Path, port: u16) -> Server {
    let relay = json!({"relay": {"routes": {"*": {"host": "127.0.0.1", "port": port, "tls": "none"}}}});
    Server::start(dir, relay)
}

/// Exit code and standard output.
fn ask(server: &Server, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(rmail());
    command
        .arg("--config")
        .arg(server.dir.join("config.json"))
        .args(arguments);
    let output = command.output().expect("rmail runs");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code().expect("an exit code"), text)
}

fn ask_json(server: &Server, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let (_, text) = ask(server, &arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

fn ids(server: &Server, arguments: &[&str]) -> Vec<String> {
    let list = ask_json(server, &[&["queue", "list"], arguments].concat());
    let entries = list["entries"].as_array().expect("entries");
    let mut ids: Vec<String> = entries
        .iter()
        .map(|one| one["id"].as_str().expect("id").to_owned())
        .collect();
    ids.sort();
    ids
}

/// In the order of [`ids`]: of what came in the same second nobody knows the order.
fn sorted(ids: &[&String]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
    ids.sort();
    ids
}

/// Until each recipient was tried once.
fn wait_tried(server: &Server) {
    wait_for("the first attempts", || {
        let list = ask_json(server, &["queue", "list"]);
        let entries = list["entries"].as_array().expect("entries").clone();
        let mut recipients = entries
            .iter()
            .flat_map(|one| one["recipients"].as_array().expect("recipients"));
        recipients.all(|one| one["attempts"] == 1)
    });
}

#[test]
fn an_operator_sees_the_queue_and_changes_it_while_the_server_runs() {
    let dir = tempfile::tempdir().expect("directory");
    let port = free_port();
    let server = server(dir.path(), port);
    let first = submit(&server, &["x@away.test", "bob@here.test"]);
    let both = submit(&server, &["y@away.test", "y@other.test"]);
    let last = submit(&server, &["z@other.test"]);
    wait_tried(&server);
    assert_eq!(ids(&server, &[]), sorted(&[&first, &both, &last]));
    assert_eq!(ids(&server, &["--domain", "AWAY.test"]), sorted(&[&first, &both]));
    assert_eq!(ids(&server, &["--limit", "1"]).len(), 1);
    assert_eq!(ids(&server, &["--sender", "bob@here.test"]), [""; 0]);
    assert_eq!(ids(&server, &["--reason", "refused"]).len(), 3);
    let stats = ask_json(&server, &["queue", "stats"]);
    assert_eq!(
        (&stats["messages"], &stats["waiting"], &stats["servers"]),
        (&json!(3), &json!(4), &json!(1))
    );

    // The history is written behind the mail.
    wait_for("the history of the first", || {
        ask(&server, &["queue", "show", &first])
            .1
            .contains("bob@here.test")
    });
    let (code, text) = ask(&server, &["queue", "show", &first]);
    assert_eq!(code, 0);
    for words in [
        "from     alice@here.test",
        "x@away.test: waiting",
        "1 of 9 times",
        "refused",
        "bob@here.test",
        "rmail queue hold",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");

    assert_eq!(ask(&server, &["queue", "hold", &first]).0, 0);
    assert_eq!(ids(&server, &["--held"]), [first.as_str()]);
    let sink = Sink::start(port);
    let retried = ask_json(&server, &["queue", "retry", "--domain", "other.test"]);
    assert_eq!(retried["done"].as_array().map(Vec::len), Some(2));
    wait_for("what is not held", || sink.mails().len() == 2);
    wait_for("an end", || ids(&server, &[]) == [first.as_str()]);
    let (code, text) = ask(&server, &["queue", "retry", &first]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("release"), "{text}");
    assert_eq!(ask(&server, &["queue", "release", "--all"]).0, 0);
    wait_for("what was held", || sink.mails().len() == 3);
    wait_for("an empty queue", || ids(&server, &[]).is_empty());

    wait_for("the history", || {
        ask(&server, &["trace", &first]).1.contains("done")
    });
    let log = server.dir.join("log");
    let (code, text) = ask(
        &server,
        &["trace", &first, "--log", log.to_str().expect("a path")],
    );
    assert_eq!(code, 0);
    for words in [
        "delivered here to bob@here.test",
        "asked to hold",
        "delivered to x@away.test",
        "250 2.0.0 taken",
        "event=sent",
        "event=login",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(ask(&server, &["trace", "nobodyknows"]).0, 1);
    assert_eq!(ask(&server, &["queue", "hold"]).0, 2, "which?");
}

#[test]
fn what_is_failed_comes_back_to_its_sender() {
    let dir = tempfile::tempdir().expect("directory");
    let server = server(dir.path(), free_port());
    let here = submit(&server, &["x@away.test"]);
    let both = submit(&server, &["y@away.test", "y@other.test"]);
    wait_tried(&server);
    let by_domain = ["queue", "fail", "--domain", "away.test"];
    assert_eq!(ask(&server, &by_domain).0, 1, "nobody there to say yes");
    assert_eq!(ids(&server, &[]).len(), 2);
    let failed = ask_json(&server, &[&by_domain[..], &["--yes"]].concat());
    assert_eq!(failed["done"], json!([here]));
    assert_eq!(failed["left_out"][0]["id"], json!(both));
    // What tells the sender passes through the queue too.
    wait_for("the notice to be delivered", || {
        ids(&server, &[]) == [both.as_str()]
    });
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    wire.imap("LOGIN alice@here.test secret");
    wire.imap("EXAMINE INBOX");
    let text = wire.imap("FETCH 1:* (BODY.PEEK[])");
    assert!(text.contains("x@away.test") && text.contains("5.0.0"), "{text}");
    assert!(!text.contains("y@other.test"), "{text}");
}

#[test]
fn without_a_server_a_request_waits_for_the_next() {
    let dir = tempfile::tempdir().expect("directory");
    let port = free_port();
    let mut server = server(dir.path(), port);
    let (kept, sent) = (
        submit(&server, &["x@away.test"]),
        submit(&server, &["y@away.test"]),
    );
    wait_tried(&server);
    server.kill();
    let held = ask_json(&server, &["queue", "hold", &kept]);
    assert_eq!(
        (&held["done"], &held["at_next_start"]),
        (&json!([]), &json!([kept]))
    );
    ask_json(&server, &["queue", "retry", &sent]);
    let (code, text) = ask(&server, &["queue", "list"]);
    assert_eq!(code, 0);
    assert!(
        text.contains("hold asked for") && text.contains("no server runs"),
        "{text}"
    );
    let sink = Sink::start(port);
    server.launch();
    wait_for("the one that is not held", || sink.mails().len() == 1);
    assert!(sink.mails()[0].contains("y@away.test"), "{:?}", sink.mails());
    wait_for("the hold", || ids(&server, &["--held"]) == [kept.as_str()]);
    assert_eq!(ids(&server, &[]), [kept.as_str()]);
    assert_eq!(sink.mails().len(), 1);
}
