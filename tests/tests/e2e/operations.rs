//! What an operator does to a running server.

use std::fs;
use std::path::Path;
use std::process::Command;

use rmail_tests::{PATIENCE, Server, Wire, rmail, wait_for};
use serde_json::{Value, json};

fn login(server: &Server, user: &str, password: &str) -> (Wire, String) {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    let answer = wire.imap(&format!("LOGIN {user} {password}"));
    (wire, answer)
}

fn deliver(server: &Server, to: &str) -> String {
    let (mut wire, _) = Wire::connect(server.port("/smtp/port"));
    wire.smtp("EHLO client.test");
    wire.smtp("MAIL FROM:<a@away.test>");
    let reply = wire.smtp(&format!("RCPT TO:<{to}>"));
    if !reply.starts_with("250") {
        return reply;
    }
    wire.smtp("DATA");
    wire.smtp("Subject: x\r\n\r\nbody\r\n.")
}

#[test]
fn users_change_while_the_server_runs() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    assert!(deliver(&server, "carol@here.test").starts_with("550 5.1.1"));
    server.rmail(
        &[
            "user",
            "add",
            "Carol@here.test",
            "--password-stdin",
            "--quota-mb",
            "7",
        ],
        "one\n",
    );
    assert!(deliver(&server, "carol@here.test").starts_with("250"));
    assert!(login(&server, "carol", "one").1.contains("t OK"));
    let users: Value = serde_json::from_str(&server.rmail(&["user", "list", "--json"], "")).expect("JSON");
    assert_eq!(users[2]["user"], "carol@here.test");
    assert_eq!(
        (&users[2]["quota_mb"], &users[0]["admin"]),
        (&json!(7), &json!(true))
    );

    let (mut open, _) = login(&server, "carol", "one");
    open.imap("SELECT INBOX");
    open.send("i IDLE\r\n");
    assert!(open.line().starts_with('+'));
    server.rmail(&["user", "passwd", "carol", "--password-stdin"], "two\n");
    assert!(open.rest().contains("* BYE"), "an open session ends");
    assert!(login(&server, "carol", "one").1.contains("t NO"));
    assert!(login(&server, "carol", "two").1.contains("t OK"));

    let made = server.rmail(
        &[
            "user",
            "app-password",
            "add",
            "carol",
            "phone",
            "--scope",
            "imap",
            "--days",
            "9",
            "--json",
        ],
        "",
    );
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let phone = made["password"].as_str().expect("shown once");
    let (mut open, reply) = login(&server, "carol", phone);
    assert!(reply.contains("t OK"), "{reply}");
    open.imap("SELECT INBOX");
    open.send("i IDLE\r\n");
    assert!(open.line().starts_with('+'));
    let list = server.rmail(&["user", "app-password", "list", "carol", "--json"], "");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(
        (&list[0]["name"], &list[0]["scope"]),
        (&json!("phone"), &json!(["imap"]))
    );
    assert!(
        list[0]["last_used"].is_string() && list[0]["expires"].is_string(),
        "{list}"
    );
    server.rmail(&["user", "app-password", "remove", "carol", "phone"], "");
    assert!(open.rest().contains("* BYE"), "its session ends");
    assert!(login(&server, "carol", phone).1.contains("t NO"));
    assert!(login(&server, "carol", "two").1.contains("t OK"));

    server.rmail(&["user", "disable", "carol"], "");
    assert!(deliver(&server, "carol@here.test").starts_with("550 5.2.1"));
    assert!(login(&server, "carol", "two").1.contains("t NO"));
    server.rmail(&["user", "enable", "carol"], "");
    server.rmail(
        &[
            "user",
            "set",
            "carol",
            "--admin",
            "true",
            "--send-as",
            "team@here.test",
        ],
        "",
    );
    assert!(deliver(&server, "carol@here.test").starts_with("250"));
    server.rmail(&["user", "delete", "carol", "--yes"], "");
    assert!(deliver(&server, "carol@here.test").starts_with("550 5.1.1"));
    let left = fs::read_dir(server.dir.join("mailstore/domains/here.test/users"))
        .expect("users")
        .flatten();
    assert!(
        left.map(|entry| entry.file_name()).all(|name| name != "carol"),
        "her mail is gone"
    );
}

#[test]
fn wrong_arguments_say_what_would_be_right() {
    let dir = tempfile::tempdir().expect("directory");
    let config = dir.path().join("config.json");
    let fails = |arguments: &[&str], code: i32, words: &str| {
        let output = Command::new(rmail())
            .arg("--config")
            .arg(&config)
            .args(arguments)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(
            text.contains(words),
            "{arguments:?}: {words:?} is missing in {text}"
        );
    };
    fails(&["serve"], 1, "rmail init");
    fails(&["config", "check"], 1, "rmail init");
    fails(&["fly"], 2, "unrecognized subcommand");
    fs::write(
        &config,
        r#"{"domains": ["here.test"], "smtp": {"prot": 25}, "imap": {"port": "x"}}"#,
    )
    .expect("file");
    fails(&["serve"], 1, "did you mean `smtp.port`");
    fails(&["serve"], 1, "imap.port");
    fs::write(&config, r#"{"domains": ["here.test"]}"#).expect("file");
    fails(
        &["user", "add", "x@elsewhere.test", "--password-stdin"],
        1,
        "hosted are here.test",
    );
    fails(
        &["user", "passwd", "nobody", "--password-stdin"],
        1,
        "there is no user nobody@here.test",
    );
    fails(&["user", "set", "x"], 2, "required");
    fails(&["init"], 1, "exists already");
}

#[test]
fn init_writes_what_check_accepts() {
    let dir = tempfile::tempdir().expect("directory");
    let config = dir.path().join("new.json");
    let run = |arguments: &[&str]| {
        let output = Command::new(rmail())
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run(&["init"]).contains("user add"));
    // Nobody reads the postmaster's mail yet, which is all there is to say, and saying it makes no mail_root.
    let check = run(&["config", "check"]);
    assert!(
        check.contains("0 error(s), 1 warning(s)") && check.contains("user add"),
        "{check}"
    );
    assert!(!dir.path().join("mailstore").exists());
    let json: Value = serde_json::from_str(&run(&["config", "check", "--json"])).expect("JSON");
    assert_eq!(
        (&json["errors"], &json["warnings"][0]["path"]),
        (&json!([]), &json!("postmaster"))
    );
}

#[test]
fn a_demo_ends_with_its_terminal_and_leaves_nothing() {
    use std::io::BufRead as _;
    let mut demo = Command::new(rmail())
        .args(["demo", "--json", "--any-port"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    std::io::BufReader::new(demo.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    let json: Value = serde_json::from_str(&line).expect("JSON");
    let dir = Path::new(json["directory"].as_str().expect("a path"));
    assert!(dir.is_dir());
    let sent = Command::new("kill")
        .args(["-HUP", &demo.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    assert!(demo.wait().expect("it ends").success());
    assert!(!dir.exists());
}

#[test]
fn check_looks_at_what_the_configuration_names() {
    let dir = tempfile::tempdir().expect("directory");
    let config = dir.path().join("config.json");
    let text = json!({
        "tls": {"cert_file": "cert.pem", "key_file": "key.pem"},
        "relay": {
            "smarthost": "smart.test", "smarthost_username": "u", "smarthost_password": {"file": "secret"},
            "routes": {"a.test": {"host": "b.test", "username": "u", "password": {"env": "RMAIL_NOT_SET"}}},
        },
    });
    fs::write(&config, text.to_string()).expect("file");
    let output = Command::new(rmail())
        .args(["config", "check", "--json", "--config"])
        .arg(&config)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let paths: Vec<_> = json["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| &error["path"])
        .collect();
    assert_eq!(
        paths,
        [
            "relay.routes.a.test.password",
            "relay.smarthost_password",
            "tls.cert_file"
        ]
    );
}

#[test]
fn a_reload_applies_what_is_right_and_keeps_what_was() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    let (mut old, _) = login(&server, "bob", "secret");
    server.config["hostname"] = json!("new.here.test");
    server.write_config();
    server.signal("HUP");
    wait_for("the new name in the greeting", || {
        Wire::connect(server.port("/smtp/port"))
            .1
            .contains("220 new.here.test ")
    });
    assert!(old.imap("NOOP").contains("t OK"), "old sessions live on");

    fs::write(server.dir.join("config.json"), r#"{"hostname": 3}"#).expect("file");
    fs::write(server.dir.join("mailstore/tls/cert.pem"), "no certificate").expect("file");
    server.signal("HUP");
    wait_for("the reason in the log", || server.log().contains("hostname: 3"));
    assert!(
        Wire::connect(server.port("/smtp/port"))
            .1
            .contains("220 new.here.test ")
    );
    let tls = Command::new("curl")
        .args(["-sS", "--insecure", "--max-time", "30", "--user", "bob:secret"])
        .arg(format!("imaps://127.0.0.1:{}/", server.port("/imap/imaps_port")))
        .output();
    if let Ok(output) = tls {
        assert!(
            output.status.success(),
            "TLS goes on: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    server.signal("TERM");
    assert!(server.wait(), "it ends well");
}

#[test]
fn the_end_is_graceful() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    let (mut idle, _) = login(&server, "bob", "secret");
    idle.imap("SELECT INBOX");
    let (mut quiet, _) = Wire::connect(server.port("/smtp/port"));
    quiet.smtp("EHLO client.test");
    let (mut busy, _) = Wire::connect(server.port("/smtp/port"));
    busy.smtp("EHLO client.test");
    busy.smtp("MAIL FROM:<a@away.test>");
    busy.smtp("RCPT TO:<bob@here.test>");
    busy.smtp("DATA");
    busy.send("Subject: in the middle\r\n\r\n");
    server.signal("TERM");
    assert!(idle.rest().contains("* BYE"));
    assert!(quiet.rest().starts_with("421 4.3.2"));
    busy.send("body\r\n.\r\n");
    assert!(
        busy.line().starts_with("250 2.0.0"),
        "a message in flight is finished"
    );
    assert!(busy.rest().starts_with("421"));
    assert!(server.wait());
    server.launch();
    let (mut wire, _) = login(&server, "bob", "secret");
    assert!(wire.imap("SELECT INBOX").contains("* 1 EXISTS"));
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    let mut acknowledged = 0;
    for round in 0..3 {
        let ports = (server.port("/smtp/port"), 4);
        let counts: Vec<_> = (0..ports.1)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut taken = 0;
                    // Ends when the server is killed.
                    while let Ok(reply) = std::panic::catch_unwind(|| send_one(ports.0)) {
                        if !reply.starts_with("250") {
                            break;
                        }
                        taken += 1;
                    }
                    taken
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(300 + 100 * round));
        server.kill();
        acknowledged += counts
            .into_iter()
            .map(|count| count.join().expect("a sender"))
            .sum::<usize>();
        server.launch();
    }
    let (mut wire, _) = login(&server, "bob", "secret");
    let answer = wire.imap("SELECT INBOX");
    let exists = answer
        .lines()
        .find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok());
    let stored: usize = exists.expect("EXISTS");
    assert!(
        acknowledged > 0 && stored >= acknowledged,
        "{stored} stored, {acknowledged} acknowledged"
    );
    let whole = wire.imap("SEARCH TEXT whole-message-end");
    let found = whole
        .lines()
        .next()
        .expect("an answer")
        .split_whitespace()
        .skip(2)
        .count();
    assert_eq!(found, stored, "what is there is whole");
}

fn send_one(port: u16) -> String {
    let stream = std::net::TcpStream::connect(("127.0.0.1", port));
    let Ok(stream) = stream else { return String::new() };
    drop(stream.set_read_timeout(Some(PATIENCE)));
    drop(stream);
    let (mut wire, _) = Wire::connect(port);
    for command in [
        "EHLO c.test",
        "MAIL FROM:<a@away.test>",
        "RCPT TO:<bob@here.test>",
        "DATA",
    ] {
        wire.smtp(command);
    }
    wire.smtp(&format!(
        "Subject: x\r\n\r\n{}\r\nwhole-message-end\r\n.",
        "y".repeat(2000)
    ))
}
