//! Programs of others: found, run, and their absence made visible.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program of others may take. Far above what any of them needs, also on a busy machine: one that hangs is to
/// fail its test instead of stopping all of them.
const LONGEST: Duration = Duration::from_secs(180);

/// A program on PATH. Where it is not installed the test is skipped with a visible line; with
/// `RMAIL_REQUIRE_CLIENTS=1`, as in CI, its absence is a failure.
///
/// # Panics
/// If it is required and missing.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let found = on_path(name);
    if found.is_none() {
        let required = std::env::var("RMAIL_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(!required, "{name} is required here but not installed");
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}

/// What `.ci/run` has put under `target/clients` from other registries: a Python environment in `venv`, modules of Node in
/// `node`. `RMAIL_CLIENTS` names another directory.
fn clients() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
    std::env::var_os("RMAIL_CLIENTS").map_or_else(own, PathBuf::from)
}

/// A Python that has this module. Where there is none the test is skipped with a visible line: not every host reaches the
/// registry.
#[must_use]
pub fn python_with(module: &str) -> Option<PathBuf> {
    let has = |python: &PathBuf| {
        let tried = Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output();
        tried.is_ok_and(|output| output.status.success())
    };
    let own = clients().join("venv/bin/python3");
    let found = [own, PathBuf::from("python3")].into_iter().find(has);
    if found.is_none() {
        eprintln!("SKIPPED: Python's {module} is not installed");
    }
    found
}

/// A command that runs Node with this module at hand. Where it is missing the test is skipped with a visible line.
#[must_use]
pub fn node_with(module: &str) -> Option<Command> {
    let modules = clients().join("node/node_modules");
    if !modules.join(module).is_dir() {
        eprintln!("SKIPPED: Node's {module} is not installed");
        return None;
    }
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules);
    Some(command)
}

/// A program that is used if it is there, also where `RMAIL_REQUIRE_CLIENTS` is set.
#[must_use]
pub fn find_optional(name: &str) -> Option<PathBuf> {
    let found = on_path(name);
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Runs a command to its end and returns its standard output.
///
/// # Panics
/// If it fails, or has not ended after three minutes (it is killed then, with what it started); the message holds all that it printed.
pub fn run(command: &mut Command) -> String {
    run_with_input(command, b"")
}

/// As [`run`], with standard input.
///
/// # Panics
/// If it fails; the message holds all that it printed.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> String {
    outcome(command, input).unwrap_or_else(|said| panic!("{said}"))
}

/// As [`run`], for a test that has something to do before it fails.
///
/// # Errors
/// All that it printed, if it fails or has not ended after three minutes.
pub fn try_run(command: &mut Command) -> Result<String, String> {
    outcome(command, b"")
}

fn outcome(command: &mut Command, input: &[u8]) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (ended, end) = mpsc::channel::<()>();
    let group = format!("-{}", child.id());
    let watch = std::thread::spawn(move || {
        let late = end.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        }
        late
    });
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A program that ends early closes its input: its exit code tells more than our write error.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    drop(writer.join());
    drop(ended);
    let late = match watch.join() {
        Ok(true) => " (killed: it had not ended after three minutes)",
        _ => "",
    };
    let (out, err) = texts(&output);
    if output.status.success() {
        return Ok(out);
    }
    let status = output.status;
    Err(format!(
        "{command:?}: {status}{late}\n--- stdout\n{out}\n--- stderr\n{err}"
    ))
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
