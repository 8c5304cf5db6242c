//! dovecot/imaptest, where `IMAPTEST` names a binary; `tests/imaptest.md` tells how it is used.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rmail_tests::Server;
use serde_json::json;

/// The binary, or a visible line that there is none.
fn imaptest() -> Option<PathBuf> {
    let named = std::env::var_os("IMAPTEST").map(PathBuf::from);
    if named.is_none() {
        eprintln!("SKIPPED: IMAPTEST names no binary of dovecot/imaptest");
    }
    named
}

/// Runs it against a server of its own: all that it prints.
fn outcome(binary: &Path, arguments: &[String]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), json!({}));
    let output = Command::new(binary)
        .args(["host=127.0.0.1", "user=alice@here.test", "pass=secret"])
        .arg(format!("port={}", server.port("/imap/port")))
        .args(arguments)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn scripted_tests() {
    let Some(binary) = imaptest() else { return };
    let tests = std::env::var_os("IMAPTEST_TESTS").map(PathBuf::from);
    let tests = tests.unwrap_or_else(|| binary.with_file_name("tests"));
    let text = outcome(&binary, &[format!("test={}", tests.display())]);
    let counts = failures(&text);
    assert!(counts.len() >= 2, "no summary:\n{text}");
    println!("{}", text.lines().rev().take(3).collect::<Vec<_>>().join("\n"));
    assert!(counts.iter().all(|failed| *failed == 0), "{text}");
}

#[test]
fn stress_with_twenty_clients() {
    let Some(binary) = imaptest() else { return };
    let seconds = std::env::var("IMAPTEST_SECONDS").unwrap_or_else(|_| "30".to_owned());
    let dir = tempfile::tempdir().expect("a directory");
    let mbox = dir.path().join("mbox");
    std::fs::write(&mbox, messages(60)).expect("file");
    let text = outcome(
        &binary,
        &[
            "clients=20".to_owned(),
            "msgs=30".to_owned(),
            "checkpoint=5".to_owned(),
            format!("secs={seconds}"),
            format!("mbox={}", mbox.display()),
        ],
    );
    let complaints = complaints(&text);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(text.contains("Totals:"), "no summary:\n{text}");
}

/// What the lines of the summary say: failed groups, failed commands of the base protocol, of extensions.
fn failures(text: &str) -> Vec<u32> {
    let number = |text: &str| text.trim().parse().ok();
    text.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(": ")?;
            if line.contains(" test groups: ") {
                number(rest.split_once(" failed")?.0)
            } else {
                let (failed, _) = rest
                    .strip_suffix(" individual commands failed")?
                    .split_once('/')?;
                number(failed)
            }
        })
        .collect()
}

fn complaints(text: &str) -> Vec<&str> {
    let signs = ["Error", "Warning", "Panic", "Fatal"];
    let complains = |line: &&str| signs.iter().any(|sign| line.starts_with(sign));
    text.lines().filter(complains).collect()
}

/// An mbox of messages of many sizes and shapes.
fn messages(count: usize) -> String {
    let mut out = String::new();
    for n in 0..count {
        write!(
            out,
            "From a@x.test Mon Jan  1 00:00:{:02} 2024\nFrom: A {n} <a{n}@x.test>\nTo: b@x.test\nSubject: number {n}\n\
             Message-ID: <{n}@x.test>\nDate: Mon, 1 Jan 2024 00:00:{:02} +0000\n",
            n % 60,
            n % 60
        )
        .expect("a string takes all");
        if n % 3 == 0 {
            out.push_str("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n");
            out.push_str("Content-Type: text/html; charset=utf-8\n\n<p>two\n--b--\n\n");
        } else {
            out.push('\n');
            out.push_str(&"some words of a body\n".repeat(n * 7 % 200));
            out.push('\n');
        }
    }
    out
}

#[test]
fn summaries_and_complaints_are_understood() {
    let good = "71 test groups: 0 failed, 0 skipped due to missing capabilities\n\
                base protocol: 0/457 individual commands failed\nextensions: 0/26 individual commands failed\n";
    assert_eq!(failures(good), [0, 0, 0]);
    assert_eq!(
        failures(&good.replace(": 0 failed", ": 2 failed").replace("0/26", "3/26")),
        [2, 0, 3]
    );
    assert!(failures("Fatal: connect() failed\n").is_empty());
    assert_eq!(
        complaints("Totals:\nError: x\nall Error\nPanic: y\n"),
        ["Error: x", "Panic: y"]
    );
}
