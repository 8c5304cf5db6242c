//! Replays every transcript: one named result per file. Speaks the command line of `cargo test` and of nextest as far as
//! it matters: filters, `--exact`, `--skip`, `--list`. With `RMAIL_BLESS=1` in the environment the server's lines of the
//! files are rewritten to what the server says.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmail_conformance::bless::bless;
use rmail_conformance::replay::replay;
use rmail_conformance::transcript::Transcript;
use rmail_conformance::world::World;

fn main() -> ExitCode {
    let arguments = Arguments::read(std::env::args().skip(1));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    find(&here.join("transcripts"), &mut files);
    files.sort();
    let all: Vec<(String, PathBuf)> = files.into_iter().map(|path| (name(here, &path), path)).collect();
    let (chosen, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| arguments.chooses(name));
    if arguments.list {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let results = run_all(&chosen, &here.join("fixtures"));
    let failures: Vec<_> = chosen
        .iter()
        .zip(results)
        .filter_map(|((name, path), result)| Some((name, path, result.err()?)))
        .collect();
    for (name, path, error) in &failures {
        println!("\n---- {name} ----\n{}: {error}", path.display());
    }
    let passed = chosen.len() - failures.len();
    println!(
        "\ntest result: {}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered out\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        failures.len(),
        left.len()
    );
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// All of them on all processors; each is told as it ends, the results come in the order of the files.
fn run_all(chosen: &[(String, PathBuf)], fixtures: &Path) -> Vec<Result<(), String>> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((at, (name, path))) = next_of(&next, chosen) {
            let outcome = catch_unwind(|| run(path, fixtures));
            let result = outcome.unwrap_or_else(|_| Err("it panicked".to_owned()));
            println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
            results.lock().expect("no panic").push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |count| count.get().min(8)) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().expect("no panic");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn next_of<'a, T>(next: &AtomicUsize, all: &'a [T]) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, all.get(at)?))
}

fn run(path: &Path, fixtures: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if std::env::var_os("RMAIL_BLESS").is_some_and(|value| value == "1") {
        let blessed = bless(&text, |transcript, now| World::open(transcript, fixtures, now));
        let blessed = blessed.map_err(|failure| failure.to_string())?;
        if blessed != text {
            std::fs::write(path, &blessed).map_err(|error| error.to_string())?;
        }
        return check(&blessed, fixtures);
    }
    check(&text, fixtures)
}

fn check(text: &str, fixtures: &Path) -> Result<(), String> {
    let transcript = Transcript::parse(text).map_err(|mistake| mistake.to_string())?;
    if transcript.title.is_empty() || (transcript.rfcs.is_empty() && !transcript.recorded) {
        return Err("a transcript begins with a comment that says what it shows, and has an @rfc".to_owned());
    }
    let replayed = replay(&transcript, |transcript, now| {
        World::open(transcript, fixtures, now)
    });
    replayed.map_err(|failure| failure.to_string())
}

/// Transcripts below a directory.
fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
}

/// `imap/rfc2177-idle`
fn name(here: &Path, path: &Path) -> String {
    let path = path.strip_prefix(here.join("transcripts")).unwrap_or(path);
    path.with_extension("").to_string_lossy().replace('\\', "/")
}

#[derive(Default)]
struct Arguments {
    list: bool,
    exact: bool,
    /// nextest asks for ignored tests by themselves: there are none.
    ignored: bool,
    filters: Vec<String>,
    skip: Vec<String>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => arguments.list = true,
                "--exact" => arguments.exact = true,
                "--ignored" => arguments.ignored = true,
                "--skip" => arguments.skip.extend(words.next()),
                "--format" | "--test-threads" | "--color" | "--logfile" => drop(words.next()),
                flag if flag.starts_with('-') => {}
                _ => arguments.filters.push(word),
            }
        }
        arguments
    }

    fn chooses(&self, name: &str) -> bool {
        let meets = |filter: &String| {
            if self.exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        };
        !self.ignored
            && (self.filters.is_empty() || self.filters.iter().any(meets))
            && !self.skip.iter().any(meets)
    }
}
