//! Programs of others: found, run, and their absence made visible.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A program on PATH. Where it is not installed the test is skipped with a visible line; with
/// `RMAIL_REQUIRE_CLIENTS=1`, as in CI, its absence is a failure.
///
/// # Panics
/// If it is required and missing.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("RMAIL_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(!required, "{name} is required here but not installed");
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}

/// Runs a command to its end and returns its standard output.
///
/// # Panics
/// If it fails; the message holds all that it printed.
pub fn run(command: &mut Command) -> String {
    run_with_input(command, b"")
}

/// As [`run`], with standard input.
///
/// # Panics
/// If it fails; the message holds all that it printed.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A program that ends early closes its input: its exit code tells more than our write error.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    drop(writer.join());
    let (out, err) = texts(&output);
    assert!(
        output.status.success(),
        "{command:?}: {}\n--- stdout\n{out}\n--- stderr\n{err}",
        output.status
    );
    out
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The `rmail` program that was built with the tests.
///
/// # Panics
/// If the test's own path is unknown.
#[must_use]
pub fn rmail() -> PathBuf {
    beside_us("rmail")
}

/// A program that was built with the tests.
pub(crate) fn beside_us(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("the test's own path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join(name)
}
