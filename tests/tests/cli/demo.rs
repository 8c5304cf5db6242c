//! `rmail demo` is what a newcomer runs first: it is there soon, and leaves nothing behind.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rmail_tests::rmail;
use serde_json::Value;

/// What is promised to newcomers.
const SOON: Duration = Duration::from_secs(60);

fn start(dir: &Path, arguments: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(rmail())
        .args(["demo", "--any-port"])
        .args(arguments)
        .env_clear()
        .env("HOME", dir.join("home"))
        .env("TMPDIR", dir.join("tmp"))
        .current_dir(dir.join("work"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rmail is built beside its tests");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out)
}

fn end(mut child: Child, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    assert!(child.wait().expect("it ends").success(), "{signal}");
}

/// Three directories: where it is started, its home, and that of temporary files.
fn places() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("directory");
    for name in ["home", "tmp", "work"] {
        std::fs::create_dir(dir.path().join(name)).expect("directory");
    }
    dir
}

fn below(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).expect("directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

#[test]
fn it_works_within_a_minute_and_leaves_nothing_behind() {
    let places = places();
    let before = below(places.path());
    let begun = Instant::now();
    let (child, mut out) = start(places.path(), &["--json"]);
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let told: Value = serde_json::from_str(&line).expect("one line of JSON");
    let (address, password) = (&told["users"][0]["address"], &told["users"][0]["password"]);
    let (address, password) = (address.as_str().expect("text"), password.as_str().expect("text"));
    let greeting = login(&told, address, password);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(greeting.contains("HTTP/1.1 200"), "{greeting}");

    let own = PathBuf::from(told["directory"].as_str().expect("text"));
    assert!(
        own.starts_with(places.path().join("tmp")) && own.is_dir(),
        "{own:?}"
    );
    let outside: Vec<_> = below(places.path())
        .into_iter()
        .filter(|path| !before.contains(path) && !path.starts_with(&own))
        .collect();
    assert!(outside.is_empty(), "outside of its directory: {outside:?}");
    end(child, "-INT");
    assert_eq!(below(places.path()), before, "it removes what it made");
}

/// Asks the API, in clear text from loopback, for a token.
fn login(told: &Value, address: &str, password: &str) -> String {
    let port = told["ports"]["api"].as_u64().expect("a port");
    let port = u16::try_from(port).expect("a port");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    let body = serde_json::json!({"username": address, "password": password}).to_string();
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_named_directory_is_kept_and_used_again() {
    let places = places();
    let kept = places.path().join("work/kept");
    let mut users = Vec::new();
    for _ in 0..2 {
        let (child, mut out) = start(places.path(), &["--dir", "kept"]);
        let mut told = String::new();
        while !told.contains("Ctrl-C ends it.") {
            assert_ne!(out.read_line(&mut told).expect("a line"), 0, "{told}");
        }
        assert!(
            told.contains("(kept)") && told.contains("alice@demo.test"),
            "{told}"
        );
        assert!(!told.contains('\x1b'), "no colours in a pipe");
        end(child, "-TERM");
        users.push(below(&kept.join("mailstore/domains")));
    }
    assert!(!users[0].is_empty() && users[0].iter().all(|path| users[1].contains(path)));
    let home: Vec<_> = ["home", "tmp"]
        .iter()
        .flat_map(|name| below(&places.path().join(name)))
        .collect();
    assert!(home.is_empty(), "{home:?}");
}
