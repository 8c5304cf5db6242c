//! What an operator does with aliases while a server runs.

use std::fs;

use rmail_tests::{Server, Wire};
use serde_json::{Value, json};

fn rcpt(server: &Server, to: &str) -> String {
    let (mut wire, _) = Wire::connect(server.port("/smtp/port"));
    wire.smtp("EHLO client.test");
    wire.smtp("MAIL FROM:<a@away.test>");
    wire.smtp(&format!("RCPT TO:<{to}>"))
}

/// Runs `rmail alias` and gives what it printed, on both streams, and its exit code.
fn alias(server: &Server, arguments: &[&str]) -> (String, Option<i32>) {
    let output = std::process::Command::new(rmail_tests::rmail())
        .arg("--config")
        .arg(server.dir.join("config.json"))
        .arg("alias")
        .args(arguments)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

#[test]
fn aliases_change_while_the_server_runs() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let refused = "550 5.1.1 User unknown";
    assert!(rcpt(&server, "sales@here.test").starts_with(refused));

    let (text, code) = alias(
        &server,
        &["add", "Sales@here.test", "alice", "bob", "--comment", "who sells"],
    );
    assert_eq!((text.as_str(), code), ("sales@here.test → alice, bob\n", Some(0)));
    assert!(rcpt(&server, "sales+x@here.test").starts_with("250"));
    let (text, code) = alias(&server, &["add", "/to-(.+)/", "$1@away.test", "sales"]);
    assert_eq!(
        (text.as_str(), code),
        ("/to-(.+)/@here.test → $1@away.test, sales\n", Some(0))
    );
    assert!(rcpt(&server, "to-someone@here.test").starts_with("250"));

    let (text, code) = alias(&server, &["test", "to-Eve+1"]);
    let path = "\
to-Eve+1@here.test: alias /to-(.+)/@here.test
  Eve+1@away.test: elsewhere
  sales@here.test: alias
    alice@here.test: mailbox of alice@here.test
    bob@here.test: mailbox of bob@here.test
";
    assert_eq!((text.as_str(), code), (path, Some(0)));
    let (text, code) = alias(&server, &["test", "nobody", "--json"]);
    assert_eq!(code, Some(1));
    let first = text.lines().next().expect("a line");
    let told: Value = serde_json::from_str(first).expect("JSON");
    assert_eq!(
        (&told["accepted"], &told["reply"]),
        (&json!(false), &json!(refused))
    );

    // A circle is told when it is made; mail waits.
    let (text, _) = alias(&server, &["add", "one", "two"]);
    assert!(
        text.contains("one@here.test does not reach two: two@here.test: there is no such user or alias"),
        "{text}"
    );
    let (text, _) = alias(&server, &["add", "two", "one"]);
    assert!(text.contains("lead from it back to it"), "{text}");
    assert!(rcpt(&server, "one@here.test").starts_with("451 4.4.6"));
    let (text, code) = alias(&server, &["test", "one"]);
    assert!(
        text.contains("    one@here.test: aliases lead from it back to it") && code == Some(1),
        "{text}"
    );
    let check = server.rmail(&["config", "check"], "");
    assert!(
        check.contains("domains/here.test/aliases.json") && check.contains("does not reach"),
        "{check}"
    );

    let list: Value = serde_json::from_str(&server.rmail(&["alias", "list", "--json"], "")).expect("JSON");
    assert_eq!(
        list[1],
        json!({"alias": "sales@here.test", "domain": "here.test", "kind": "exact", "targets": ["alice", "bob"], "comment": "who sells"})
    );
    assert_eq!(list[3]["kind"], "pattern");

    assert_eq!(
        alias(&server, &["remove", "sales", "ALICE@here.test"]).0,
        "sales@here.test → bob\n"
    );
    let (text, _) = alias(&server, &["test", "sales@here.test"]);
    assert!(
        text.contains("bob@here.test may send as sales@here.test."),
        "{text}"
    );
    assert_eq!(
        alias(&server, &["remove", "sales"]).0,
        "Removed sales@here.test.\n"
    );
    assert!(rcpt(&server, "sales@here.test").starts_with(refused));

    for (arguments, code, words) in [
        (&["remove", "sales"][..], 1, "there is no such alias"),
        (&["remove", "one", "three"], 1, "three is no target of this alias"),
        (
            &["add", "x@away.test", "alice"],
            1,
            "away.test is not hosted here",
        ),
        (&["add", "x", "a b"], 1, "expected an address"),
        (&["add", "/(/", "alice"], 1, "unclosed group"),
        (&["add", "x"], 2, "required"),
        (
            &["add", "x", "alice", "--position", "1"],
            2,
            "--position goes with",
        ),
    ] {
        let (text, exit) = alias(&server, arguments);
        assert!(
            text.contains(words) && exit == Some(code),
            "{arguments:?}: {text}"
        );
    }

    // A backup has them, and gives back what is missing.
    let backup = server.dir.join("backup");
    fs::create_dir(&backup).expect("directory");
    let backup = backup.to_str().expect("UTF-8");
    server.rmail(&["backup", backup], "");
    server.rmail(&["alias", "remove", "one"], "");
    server.rmail(&["alias", "add", "two", "bob", "--replace"], "");
    let text = server.rmail(&["restore", backup, "--aliases", "here.test", "--dry-run"], "");
    assert!(
        text.contains("here.test: 1 alias(es) would be put back, 2 there already"),
        "{text}"
    );
    assert!(rcpt(&server, "one@here.test").starts_with(refused));
    let text = server.rmail(&["restore", backup, "--aliases", "here.test"], "");
    assert!(
        text.contains("one@here.test\n") && text.contains(" put back"),
        "{text}"
    );
    assert!(
        rcpt(&server, "one@here.test").starts_with("250"),
        "by way of two to bob"
    );
    let (text, _) = alias(&server, &["list", "here.test"]);
    assert!(text.contains("two@here.test        → bob\n"), "{text}");

    // A broken file keeps the last good copy in the server, and is not overwritten.
    let file = server.dir.join("mailstore/domains/here.test/aliases.json");
    fs::write(&file, "{").expect("written");
    assert!(rcpt(&server, "to-someone@here.test").starts_with("250"));
    let (text, code) = alias(&server, &["add", "x", "alice"]);
    assert!(
        text.contains("aliases.json: EOF while parsing") && code == Some(1),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&file).expect("there"), "{");
}
