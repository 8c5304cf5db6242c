//! Transcripts against a running server, and sessions that it records.

use std::fs;
use std::process::Command;

use rmail_conformance::live::SHIPPED;
use rmail_tests::{Server, free_port, rmail};
use serde_json::json;

/// A server that answers for what transcripts name.
fn server(dir: &std::path::Path) -> Server {
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
