//! Files of cases: what is typed, and what comes of it.
//!
//! ```text
//! # a comment
//! $ file mail/note.txt
//! < a line of the file
//! $ server
//! $ rmail user add carol@here.test --password-stdin
//! < geheim
//! ? 0
//! > a line on standard output
//! ! a line on standard error
//! ```
//!
//! All commands of a file run in one directory, one after the other; `file` writes a file there, `server` starts a server.
//! `[..]` stands for anything within a line, `...` for any lines; `[DIR]`, `[TIME]`, `[DATE]`, `[VERSION]` for what differs
//! between runs, in what comes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::Regex;
use snapbox::{Assert, Data};

use crate::sandbox::{Said, Sandbox};

pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name)
}

/// Names of all files of cases.
pub fn files() -> Vec<String> {
    names("cases")
}

/// Names of the text files in a directory beside this file, in order.
pub fn names(of: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory(of))
        .expect("directory")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .map(|name| name.strip_suffix(".txt").expect("a text file").to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// The text of a file of cases.
pub fn read(name: &str) -> String {
    let path = directory("cases").join(format!("{name}.txt"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs what a file says and compares.
pub fn play(name: &str) {
    let mut sandbox = Sandbox::new();
    let mut played = String::new();
    let text = read(name);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(typed) = line.strip_prefix("$ ") else {
            if line.is_empty() || line.starts_with('#') {
                writeln!(played, "{line}").expect("String");
            }
            continue;
        };
        writeln!(played, "{line}").expect("String");
        let mut input = String::new();
        while let Some(given) = lines.next_if(|line| line.starts_with('<')) {
            writeln!(played, "{given}").expect("String");
            writeln!(input, "{}", given[1..].strip_prefix(' ').unwrap_or_default()).expect("String");
        }
        let words = words(typed);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["file", path] => sandbox.write(path, &input),
            ["server"] => sandbox.serve(),
            ["rmail", arguments @ ..] => {
                let said = sandbox.run(arguments, &input);
                holds_for_all(typed, arguments, &said);
                tell(&mut played, &said, sandbox.path());
            }
            _ => panic!("{name}: no such command: {typed}"),
        }
    }
    compare(&played, &directory("cases").join(format!("{name}.txt")));
}

/// Compares a text with a file, or writes it there.
pub fn compare(text: &str, file: &Path) {
    Assert::new()
        .action_env("SNAPSHOTS")
        .normalize_paths(false)
        .eq(Data::text(text), Data::read_from(file, None));
}

/// Without what differs between runs.
pub fn constant(text: &str, dir: &Path) -> String {
    let mut text = text
        .replace(&dir.display().to_string(), "[DIR]")
        .replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
    for (pattern, name) in [
        (r"\d{4}-\d\d-\d\dT\d\d[:-]\d\d[:-]\d\d(\.\d+)?Z", "[TIME]"),
        (r"\d{4}-\d\d-\d\d", "[DATE]"),
    ] {
        let pattern = Regex::new(pattern).expect("a pattern");
        text = pattern.replace_all(&text, name).into_owned();
    }
    text
}

fn tell(played: &mut String, said: &Said, dir: &Path) {
    writeln!(played, "? {}", said.code).expect("String");
    for (mark, text) in [('>', &said.out), ('!', &said.err)] {
        for line in constant(text, dir).lines() {
            let blank = if line.is_empty() { "" } else { " " };
            writeln!(played, "{mark}{blank}{line}").expect("String");
        }
    }
}

/// What is promised of every command, whatever it does.
pub fn holds_for_all(typed: &str, arguments: &[&str], said: &Said) {
    let Said { code, out, err } = said;
    assert!((0..=2).contains(code), "{typed}: exit code {code}\n{err}");
    assert!(
        !out.contains('\x1b') && !err.contains('\x1b'),
        "{typed}: colours in a pipe\n{out}{err}"
    );
    assert!(
        *code == 0 || !err.is_empty(),
        "{typed}: it did not work, and does not say why"
    );
    assert!(!err.contains("panicked"), "{typed}: {err}");
    if arguments.contains(&"--json") && *code < 2 && !arguments.contains(&"--help") {
        let values = serde_json::Deserializer::from_str(out).into_iter::<serde_json::Value>();
        for value in values {
            value.unwrap_or_else(|error| panic!("{typed}: no JSON ({error}): {out}"));
        }
        assert!(*code != 0 || !out.trim().is_empty(), "{typed}: no JSON at all");
    }
}

/// Words as a shell would make them; quotes `'` and `"` without escapes.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut begun) = (Vec::<String>::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => {
                if !begun {
                    words.push(String::new());
                    begun = true;
                }
                quote = Some(c);
            }
            (None, ' ') => begun = false,
            (_, c) => {
                if !begun {
                    words.push(String::new());
                    begun = true;
                }
                words.last_mut().expect("begun").push(c);
            }
        }
    }
    words
}

#[test]
fn words_are_those_of_a_shell() {
    assert_eq!(
        words("rmail a 'b c' \"d'e\" f''g ''"),
        ["rmail", "a", "b c", "d'e", "fg", ""]
    );
}
