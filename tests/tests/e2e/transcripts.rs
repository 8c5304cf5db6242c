//! Transcripts against a running server, and sessions that it records.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rmail_conformance::live::{SHIPPED, accounts};
use rmail_conformance::transcript::Transcript;
use rmail_tests::{Server, Wire, free_port, rmail, wait_for};
use serde_json::json;

/// A server that answers for what transcripts name.
fn server(dir: &Path) -> Server {
    let extra = json!({
        "hostname": "mail.example.com", "domains": ["example.com"], "log_level": "INFO",
        "exchange_api": {"host": "127.0.0.1", "secure_port": free_port()},
    });
    Server::start_with_users(dir, extra, &[])
}

#[test]
fn all_that_are_marked_live_run_against_a_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = server(dir.path());
    let password = dir.path().join("password");
    fs::write(&password, "secret\n").expect("file");
    // Numbers of messages and changes count from the beginning in accounts of its own.
    let parsed = SHIPPED
        .iter()
        .map(|(name, text)| Transcript::parse(text).expect(name));
    let needed: usize = parsed.map(|transcript| accounts(&transcript)).sum();
    for number in 1..=needed {
        let user = format!("user{number}@example.com");
        server.rmail(&["user", "add", &user, "--password-stdin"], "secret\n");
    }
    let mut command = Command::new(rmail());
    command.arg("replay");
    for (service, key, how) in [
        ("imap", "/imap/imaps_port", ""),
        ("http", "/exchange_api/secure_port", ""),
        ("submission", "/smtp/smtps_port", ""),
        ("smtp", "/smtp/port", "/starttls"),
    ] {
        command.args(["--to", &format!("{service}=127.0.0.1:{}{how}", server.port(key))]);
    }
    command
        .args(["--user", "user{}@example.com", "--password-file"])
        .arg(&password);
    let played = command.arg("--shipped").output().expect("rmail runs");
    let told = String::from_utf8_lossy(&played.stdout).into_owned();
    assert!(
        played.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&played.stderr)
    );
    assert_eq!(
        told.lines().filter(|line| line.starts_with("ok ")).count(),
        SHIPPED.len(),
        "{told}"
    );
}

/// What `rmail replay` tells of one of those that are shipped.
fn told(dir: &Path, to: &str, user: &str) -> String {
    let (_, text) = SHIPPED
        .iter()
        .find(|(name, _)| *name == "imap/rfc3501-expunge")
        .expect("one");
    fs::write(dir.join("transcript.txt"), text).expect("file");
    let mut command = Command::new(rmail());
    command
        .args(["replay", "--to", to, "--user", user, "--password-file"])
        .arg(dir.join("password"));
    let played = command
        .arg(dir.join("transcript.txt"))
        .output()
        .expect("rmail runs");
    String::from_utf8_lossy(&played.stdout).into_owned()
}

#[test]
fn what_goes_wrong_on_the_way_to_a_server_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), json!({"log_level": "INFO"}));
    fs::write(dir.path().join("password"), "secret\n").expect("file");
    let clear = format!("127.0.0.1:{}", server.port("/imap/port"));
    let secure = format!("127.0.0.1:{}", server.port("/imap/imaps_port"));
    let said = told(dir.path(), &clear, "bob@here.test");
    assert!(said.contains("put /starttls or /none behind it"), "{said}");
    let said = told(dir.path(), &format!("{secure}/none"), "bob@here.test");
    assert!(said.contains("put /implicit behind it"), "{said}");
    let said = told(dir.path(), &secure, "bob@here.test");
    assert!(said.starts_with("ok "), "{said}");
    let said = told(dir.path(), &secure, "bob@here.test");
    assert!(said.contains("had mail before"), "{said}");
}

/// A session of IMAP that changes a mailbox.
fn read_mail(port: u16, user: &str) {
    let mut imap = Wire::connect(port).0;
    imap.imap(&format!("LOGIN {user} secret"));
    imap.imap("CREATE Work");
    imap.send("t APPEND Work (\\Seen) {20}\r\n");
    assert!(imap.line().starts_with('+'));
    imap.send("Subject: it's\r\n\r\nx\r\n\r\n");
    assert!(imap.line().contains("APPENDUID"));
    imap.imap("SELECT Work (CONDSTORE)");
    assert!(
        imap.imap("UID FETCH 1 (BODY.PEEK[] INTERNALDATE MODSEQ)")
            .contains("it's")
    );
    imap.imap("STORE 1 +FLAGS (\\Deleted)");
    imap.imap("CLOSE");
    imap.imap("DELETE Work");
    imap.imap("LOGOUT");
    assert_eq!(imap.rest(), "");
}

/// A session of submission.
fn send_mail(port: u16) {
    let mut smtp = Wire::connect(port).0;
    smtp.smtp("EHLO client.test");
    // NUL alice@here.test NUL secret
    assert!(
        smtp.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=")
            .starts_with("235")
    );
    smtp.smtp("MAIL FROM:<alice@here.test>");
    smtp.smtp("RCPT TO:<bob@here.test>");
    assert!(smtp.smtp("DATA").starts_with("354"));
    assert!(
        smtp.smtp("Subject: x\r\n\r\nC: text ${x}\r\n.")
            .starts_with("250")
    );
    assert!(smtp.smtp("QUIT").starts_with("221"));
    assert_eq!(smtp.rest(), "");
}

fn transcripts(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// How many of the transcripts have this in them.
fn holding(dir: &Path, word: &str) -> usize {
    let texts = transcripts(dir)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    texts.filter(|text| text.contains(word)).count()
}

/// Transcripts that tell no password, and go as they stand there.
fn replays(files: &[PathBuf]) {
    for file in files {
        let text = fs::read_to_string(file).expect("a transcript");
        assert!(!text.contains("secret") && !text.contains("c2VjcmV0"), "{text}");
        let played = Command::new(rmail())
            .arg("replay")
            .arg(file)
            .output()
            .expect("rmail runs");
        assert!(
            played.status.success(),
            "{}{}\n{text}",
            String::from_utf8_lossy(&played.stdout),
            String::from_utf8_lossy(&played.stderr)
        );
    }
}

#[test]
fn a_server_records_all_sessions_and_they_can_be_played() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = Server::start(dir.path(), json!({"log_level": "INFO"}));
    first.signal("TERM");
    assert!(first.wait());
    let to = dir.path().join("sessions");
    let mut child = first
        .command()
        .arg("--record")
        .arg(&to)
        .spawn()
        .expect("rmail runs");
    wait_for("the server to answer", || {
        TcpStream::connect(("127.0.0.1", first.port("/imap/port"))).is_ok()
    });
    read_mail(first.port("/imap/port"), "alice@here.test");
    let whole = |word: &str| holding(&to, word);
    // Sessions of one user that overlap are one transcript: each is to be over before the next begins.
    wait_for("the first session to be written", || whole("LOGOUT") == 1);
    send_mail(first.port("/smtp/submission_port"));
    wait_for("both sessions to be written", || {
        whole("LOGOUT") == 1 && whole("QUIT") == 1
    });
    // One that is open at the end is written as far as it is.
    let mut open = Wire::connect(first.port("/imap/port")).0;
    open.imap("LOGIN bob@here.test secret");
    let ended = Command::new("kill").arg(child.id().to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()));
    assert!(child.wait().expect("it ends").success());
    // The user whose session it is comes last; that of alice's mail to him is one of submission.
    let bobs = |text: &String| text.contains("@session imap") && text.contains("@given user bob@here.test\n");
    let texts = transcripts(&to);
    let texts = texts.iter().filter_map(|file| fs::read_to_string(file).ok());
    assert_eq!(texts.filter(bobs).count(), 1);
    replays(&transcripts(&to));
}

/// Requests on a connection of their own, of which the last says that it is.
fn http(port: u16, requests: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.write_all(requests.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn what_was_there_before_is_recorded_and_so_are_sessions_with_http() {
    let dir = tempfile::tempdir().expect("a directory");
    let extra = json!({"log_level": "INFO", "exchange_api": {"host": "127.0.0.1", "port": free_port()}});
    let mut first = Server::start(dir.path(), extra);
    // Before it is recorded there is mail already, of which some is gone.
    let mut imap = Wire::connect(first.port("/imap/port")).0;
    imap.imap("LOGIN alice@here.test secret");
    imap.imap("CREATE \"Old mail\"");
    for flags in ["\\Seen", "", "\\Flagged $Label1"] {
        imap.send(&format!(
            "t APPEND \"Old mail\" ({flags}) {{22+}}\r\nSubject: \"x\"\r\n\r\ntext\r\n\r\n"
        ));
        assert!(imap.line().contains("APPENDUID"));
    }
    imap.imap("SELECT \"Old mail\"");
    imap.imap("STORE 1 +FLAGS.SILENT (\\Deleted)");
    imap.imap("CLOSE");
    imap.imap("LOGOUT");
    first.signal("TERM");
    assert!(first.wait());
    let to = dir.path().join("sessions");
    let mut child = first
        .command()
        .arg("--record")
        .arg(&to)
        .spawn()
        .expect("rmail runs");
    wait_for("the server to answer", || {
        TcpStream::connect(("127.0.0.1", first.port("/exchange_api/port"))).is_ok()
    });
    let mut imap = Wire::connect(first.port("/imap/port")).0;
    imap.imap("LOGIN alice@here.test secret");
    imap.imap("SELECT \"Old mail\"");
    assert!(
        imap.imap("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")
            .contains("$Label1")
    );
    imap.imap("LOGOUT");
    let whole = |word: &str| holding(&to, word);
    // Sessions of one user that overlap are one transcript: each is to be over before the next begins.
    wait_for("the first session to be written", || whole("@session imap") == 1);
    let port = first.port("/exchange_api/port");
    let body = "{\"username\": \"alice@here.test\", \"password\": \"secret\"}";
    let answer = http(
        port,
        &format!(
            "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        ),
    );
    let token = answer
        .split_once("\"token\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let (token, _) = token.expect("a token");
    wait_for("the login to be written", || whole("/auth/login") == 1);
    let answer = http(
        port,
        &format!(
            "GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n\
             POST /auth/refresh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        ),
    );
    assert!(answer.matches("HTTP/1.1 200").count() == 2, "{answer}");
    wait_for("all to be written", || {
        whole("@session imap") == 1 && whole("/auth/login") == 1 && whole("/auth/refresh") == 1
    });
    let ended = Command::new("kill").arg(child.id().to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()));
    assert!(child.wait().expect("it ends").success());
    assert_eq!((whole("@unplayable"), whole(token)), (0, 0));
    assert_eq!(whole("@given \"Old mail\" message uid=3 "), 1);
    let files: Vec<PathBuf> = transcripts(&to)
        .into_iter()
        .filter(|file| fs::read_to_string(file).is_ok_and(|text| text.contains("@given user alice")))
        .collect();
    assert_eq!(files.len(), 3);
    replays(&files);
}

#[test]
fn sessions_of_one_user_are_recorded_on_a_running_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), json!({"log_level": "INFO"}));
    let to = dir.path().join("sessions");
    let mut child = Command::new(rmail())
        .arg("--config")
        .arg(server.dir.join("config.json"))
        .args(["record", "alice@here.test", "--for", "1h", "--to"])
        .arg(&to)
        .stdout(Stdio::null())
        .spawn()
        .expect("rmail runs");
    wait_for("a session to be recorded", || {
        read_mail(server.port("/imap/port"), "bob@here.test");
        let mut alice = Wire::connect(server.port("/imap/port")).0;
        alice.imap("LOGIN alice@here.test secret");
        alice.imap("LOGOUT");
        !transcripts(&to).is_empty()
    });
    child.kill().expect("killed");
    child.wait().expect("ended");
    let files = transcripts(&to);
    for file in &files {
        let text = fs::read_to_string(file).expect("a transcript");
        assert!(
            text.contains("@given user alice@here.test\n") && !text.contains("bob"),
            "{text}"
        );
    }
    replays(&files);
}
