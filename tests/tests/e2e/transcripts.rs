//! Transcripts against a running server, and sessions that it records.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rmail_conformance::live::SHIPPED;
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
    for (number, (name, text)) in SHIPPED.iter().enumerate() {
        let file = dir.path().join("transcript.txt");
        fs::write(&file, text).expect("file");
        let mut command = Command::new(rmail());
        command.args([
            "replay",
            "--to",
            &format!("imap=127.0.0.1:{}", server.port("/imap/imaps_port")),
        ]);
        command.args([
            "--to",
            &format!("http=127.0.0.1:{}", server.port("/exchange_api/secure_port")),
        ]);
        command.args([
            "--to",
            &format!("submission=127.0.0.1:{}", server.port("/smtp/smtps_port")),
        ]);
        command.args([
            "--to",
            &format!("smtp=127.0.0.1:{}/starttls", server.port("/smtp/port")),
        ]);
        // Numbers of messages and changes count from the beginning in an account of its own.
        let user = format!("user{number}@example.com");
        server.rmail(&["user", "add", &user, "--password-stdin"], "secret\n");
        command.args(["--user", &user, "--password-file"]).arg(&password);
        let played = command.arg(&file).output().expect("rmail runs");
        assert!(
            played.status.success(),
            "{name}: {}{}",
            String::from_utf8_lossy(&played.stdout),
            String::from_utf8_lossy(&played.stderr)
        );
    }
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
    send_mail(first.port("/smtp/submission_port"));
    let whole = |word: &str| {
        let texts = transcripts(&to)
            .into_iter()
            .filter_map(|file| fs::read_to_string(file).ok());
        texts.filter(|text| text.contains(word)).count()
    };
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
