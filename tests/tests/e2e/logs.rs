//! What the log says, where it goes, and how operators change it while servers run.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output};

use rmail_tests::{Server, Sink, Wire, rmail, wait_for};
use serde_json::{Value, json};

fn ask(server: &Server, arguments: &[&str]) -> Output {
    let config = server.dir.join("config.json");
    let mut command = Command::new(rmail());
    command.arg("--config").arg(config).args(arguments);
    command.output().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Submits a message as alice; its id.
fn submit(server: &Server, to: &[&str]) -> String {
    let (mut wire, _) = Wire::connect(server.port("/smtp/submission_port"));
    wire.smtp("EHLO client.test");
    // \0alice@here.test\0secret
    wire.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=");
    wire.smtp("MAIL FROM:<alice@here.test>");
    for to in to {
        assert!(wire.smtp(&format!("RCPT TO:<{to}>")).starts_with("250"), "{to}");
    }
    wire.smtp("DATA");
    let reply = wire.smtp("From: alice@here.test\r\nSubject: hello\r\n\r\nbody\r\n.");
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    wire.smtp("QUIT");
    reply.split_whitespace().last().expect("an id").to_owned()
}

/// A command whose line stands in the log once it is answered.
fn noop(server: &Server) {
    let (mut wire, _) = Wire::connect(server.port("/smtp/port"));
    assert!(wire.smtp("NOOP").starts_with("250"));
}

/// `name=value` in a line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let begin = format!(" {name}=");
    let (_, rest) = line
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{name} in {line}"));
    rest.split(' ').next().expect("a word")
}

#[test]
fn a_message_is_followed_by_its_ids_from_the_connection_to_the_notice() {
    let dir = tempfile::tempdir().expect("directory");
    let sink = Sink::start(0);
    let server = Server::start(
        dir.path(),
        json!({"relay": {"routes": {"*": {"host": "127.0.0.1", "port": sink.port, "tls": "none"}}}}),
    );
    let id = submit(&server, &["bob@here.test", "yes@away.test", "nobody@away.test"]);
    let named = |event: &str, id: &str| {
        let log = server.log();
        let marks = [format!(" event={event} "), format!(" id={id}")];
        let found = log.lines().find(|line| {
            marks
                .iter()
                .all(|mark| format!("{line} ").contains(mark.as_str()))
        });
        found.map(str::to_owned)
    };
    wait_for("the end of the message", || named("done", &id).is_some());
    let line = |event: &str, id: &str| named(event, id).unwrap_or_else(|| panic!("{event} of {id}"));

    // On which connection it came, and all that was said there.
    let conn = field(&line("accepted", &id), "conn").to_owned();
    let log = server.log();
    let same: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(&format!(" smtp conn={conn} ")))
        .collect();
    for event in ["event=connected", "event=login", "event=accepted"] {
        assert!(same.iter().any(|line| line.contains(event)), "{event}: {same:#?}");
    }
    // Where it went.
    assert_eq!(field(&line("delivered", &id), "account"), "bob@here.test");
    assert_eq!(field(&line("queued", &id), "recipients"), "2");
    let attempt = field(&line("connected", &id), "conn").to_owned();
    let said = format!(" relay conn={attempt} ");
    assert!(
        log.lines()
            .any(|line| line.contains(&said) && line.contains("event=response"))
    );
    assert!(line("sent", &id).contains("to=\"yes@away.test\""));
    assert!(line("failed", &id).contains("to=\"nobody@away.test\""));
    // And what its sender heard of it.
    let notice = field(&line("notice", &id), "notice").to_owned();
    assert_eq!(field(&line("delivered", &notice), "account"), "alice@here.test");
}

#[test]
fn a_file_has_lines_of_json_is_opened_anew_on_sighup_and_found_by_trace() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(
        dir.path(),
        json!({"log": {"file": "rmail.log", "format": "json"}, "log_level": "INFO"}),
    );
    let (path, old) = (dir.path().join("rmail.log"), dir.path().join("rmail.log.1"));
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let id = submit(&server, &["bob@here.test"]);
    wait_for("the line", || read(&path).contains("accepted"));
    assert_eq!(server.log(), "", "nothing goes to standard error");
    assert_eq!(
        fs::metadata(&path).expect("there").permissions().mode() & 0o137,
        0,
        "not for everybody"
    );
    let lines = read(&path);
    let mut accepted = None;
    for line in lines.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let level = object["level"].as_str().expect("a level");
        assert!(["INFO", "WARNING", "ERROR"].contains(&level), "{line}");
        assert!(
            object["time"].is_string() && object["target"].is_string(),
            "{line}"
        );
        if object["event"] == "accepted" {
            accepted = Some(object);
        }
    }
    let accepted = accepted.expect("the message");
    assert_eq!(
        (&accepted["id"], &accepted["target"]),
        (&json!(id), &json!("smtp"))
    );
    assert!(
        accepted["conn"].is_u64() && accepted["size"].is_u64(),
        "{accepted}"
    );

    // A broken configuration keeps nobody from rotating the log.
    fs::rename(&path, &old).expect("renamed");
    fs::write(dir.path().join("config.json"), "{").expect("written");
    server.signal("HUP");
    wait_for("a new file", || {
        read(&path).contains("kept the running configuration")
    });
    server.write_config();
    let second = submit(&server, &["bob@here.test"]);
    wait_for("the line", || read(&path).contains(&second));
    assert!(!read(&old).contains(&second));
    for id in [&id, &second] {
        let told = text(&ask(&server, &["trace", id]));
        assert!(
            told.contains("In the log:") && told.contains("event=login"),
            "{told}"
        );
        assert!(told.contains(&format!("event=accepted id={id}")), "{told}");
    }

    // A file that cannot be opened: what there was goes on.
    server.config["log"]["file"] = json!("no/such/directory");
    server.write_config();
    server.signal("HUP");
    wait_for("the reason", || {
        read(&path).contains("the log goes where it went")
    });
    server.kill();
    let failed = ask(&server, &["serve"]);
    let words = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1));
    assert!(words.contains("log.file: cannot open"), "{words}");
}

#[test]
fn levels_change_while_the_server_runs() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(
        dir.path(),
        json!({"log_level": "WARNING", "log": {"targets": {"imap": "ERROR"}}}),
    );
    let level = |arguments: &[&str]| {
        let output = ask(&server, &[&["log-level"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output)
    };
    let commands = || server.log().matches("event=command").count();
    noop(&server);
    assert_eq!(commands(), 0);
    let told = level(&[]);
    assert!(
        told.contains("WARNING") && told.contains("imap") && told.contains("configuration"),
        "{told}"
    );
    level(&["smtp", "debug"]);
    noop(&server);
    wait_for("a line", || commands() > 0);
    assert!(server.log().contains("DEBUG smtp conn="));
    assert!(!server.log().contains("DEBUG imap"), "{}", server.log());
    // It holds through a reload, and is shown as what it is.
    server.signal("HUP");
    level(&["server", "INFO"]);
    server.signal("HUP");
    wait_for("the reload", || server.log().contains("event=reloaded"));
    let shown: Value = serde_json::from_str(&level(&["smtp", "--json"])).expect("JSON");
    assert_eq!(
        shown[0]["levels"],
        json!([{"target": "smtp", "level": "DEBUG", "set": true}])
    );
    level(&["--reset"]);
    let before = commands();
    noop(&server);
    assert_eq!(commands(), before);
    let below: Value = serde_json::from_str(&level(&["imap::x", "--json"])).expect("JSON");
    assert_eq!(
        below[0]["levels"][0]["level"], "ERROR",
        "that of what is above it"
    );
    for (wrong, code) in [
        (&["smtp", "LOUD"][..], 2),
        (&["a b", "INFO"], 2),
        (&["smtp", "INFO", "--reset"], 2),
    ] {
        let output = ask(&server, &[&["log-level"], wrong].concat());
        assert_eq!(output.status.code(), Some(code), "{wrong:?}");
    }
    server.kill();
    assert_eq!(
        ask(&server, &["log-level"]).status.code(),
        Some(1),
        "nobody is there"
    );
}

#[test]
fn status_tells_of_the_servers_that_live() {
    let (one, two) = (
        tempfile::tempdir().expect("directory"),
        tempfile::tempdir().expect("directory"),
    );
    let mut server = Server::start(one.path(), json!({}));
    let mut beside = server.start_beside(two.path());
    let status = |server: &Server| -> Vec<Value> {
        let output = ask(server, &["status", "--json"]);
        serde_json::from_str(&text(&output)).expect("JSON")
    };
    let pids = |server: &Server| -> Vec<u64> {
        let mut pids: Vec<u64> = status(server)
            .iter()
            .filter_map(|one| one["pid"].as_u64())
            .collect();
        pids.sort_unstable();
        pids
    };
    let mut both = [server.process(), beside.process()].map(u64::from);
    both.sort_unstable();
    // Its ports are there a moment before it can be asked.
    wait_for("both", || pids(&server) == both);
    let listeners = status(&server)[0]["listeners"]
        .as_array()
        .expect("listeners")
        .clone();
    assert!(
        listeners
            .iter()
            .any(|one| one["service"] == "imaps" && one["up"] == true),
        "{listeners:?}"
    );
    let control = server.mail_root().join("control");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&control), 0o700);

    // One that was killed is not asked any more, and the next that starts removes what it left.
    let left = control.join(format!("{}.sock", beside.process()));
    assert_eq!(mode(&left), 0o600);
    beside.kill();
    assert!(left.exists());
    assert_eq!(pids(&server), [u64::from(server.process())]);
    beside.launch();
    wait_for("what was left to be gone", || !left.exists());
    beside.signal("TERM");
    assert!(beside.wait());
    assert_eq!(
        fs::read_dir(&control).expect("there").count(),
        1,
        "it took its own away"
    );
    server.kill();
    let output = ask(&server, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no server answers"));
}

#[test]
fn lines_for_the_journal_have_priorities() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({"log_level": "INFO"}));
    noop(&server);
    wait_for("a line", || server.log().contains("event=connected"));
    assert!(!server.log().contains("<6>"), "no journal, no priorities");
    server.kill();
    // The stream is named by the file that standard error is.
    let log = fs::metadata(dir.path().join("log")).expect("a log");
    let stream = format!("{}:{}", log.dev(), log.ino());
    let mut child = server
        .command()
        .env("JOURNAL_STREAM", stream)
        .spawn()
        .expect("it runs");
    wait_for("a line", || {
        server.log().lines().any(|line| line.starts_with("<6>20"))
    });
    child.kill().expect("killed");
    child.wait().expect("ended");
}
