//! What holds for every command that there is, also for those that come.

use std::collections::BTreeSet;

use crate::case;
use crate::sandbox::Sandbox;

/// A command: its words, and its help.
struct Found {
    words: Vec<String>,
    help: String,
    /// It is called with one of its own commands.
    leads_on: bool,
}

/// All commands, as their help tells of them.
fn commands(sandbox: &Sandbox) -> Vec<Found> {
    let (mut open, mut found) = (vec![Vec::<String>::new()], Vec::new());
    while let Some(words) = open.pop() {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let said = sandbox.run(&arguments, "");
        case::holds_for_all(&format!("{arguments:?}"), &arguments, &said);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}");
        let below = said.out.lines().skip_while(|line| *line != "Commands:").skip(1);
        let below: Vec<&str> = below
            .take_while(|line| !line.is_empty())
            // Deeper: a description that goes on.
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .collect();
        for name in &below {
            open.push(words.iter().cloned().chain([(*name).to_owned()]).collect());
        }
        found.push(Found {
            leads_on: !below.is_empty(),
            words,
            help: said.out,
        });
    }
    assert!(found.len() > 30, "{} commands were found", found.len());
    found
}

#[test]
fn help_of_every_command_is_as_written() {
    let sandbox = Sandbox::empty();
    let mut known = BTreeSet::new();
    for found in commands(&sandbox) {
        let name = match found.words.as_slice() {
            [] => "rmail".to_owned(),
            words => words.join("-"),
        };
        let file = case::directory("help").join(format!("{name}.txt"));
        case::compare(&found.help, &file);
        known.insert(name);
    }
    let written: BTreeSet<String> = case::names("help").into_iter().collect();
    let left: Vec<_> = written.difference(&known).collect();
    assert!(left.is_empty(), "help of commands that are gone: {left:?}");
    assert_eq!(
        std::fs::read_dir(sandbox.path()).expect("directory").count(),
        0,
        "help makes no files"
    );
}

#[test]
fn every_command_stands_in_a_file_of_cases() {
    /// They run until they are ended, or need a server; other tests start them. So do those of the queue, where there is something to show.
    const ENDLESS: &[&str] = &["demo", "diagnose", "serve"];
    /// They change the service of this host, or need an authority: tests that have one of their own run them.
    const ELSEWHERE: &[&str] = &[
        "acme renew",
        "logs",
        "queue show",
        "reload",
        "restart",
        "start",
        "stop",
        "uninstall",
    ];
    let sandbox = Sandbox::empty();
    let all: String = case::files().iter().map(|name| case::read(name)).collect();
    let mut typed = Vec::new();
    let mut lines = all.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ rmail ") else {
            continue;
        };
        let code = lines
            .clone()
            .find_map(|line| line.strip_prefix("? "))
            .expect("a code");
        let mut words = case::words(command);
        if words[0] == "--config" {
            words.drain(..2);
        }
        typed.push((words, code));
    }
    let mut missing = Vec::new();
    for found in commands(&sandbox)
        .iter()
        .filter(|found| !found.words.is_empty() && !found.leads_on)
    {
        let mut codes = typed
            .iter()
            .filter(|(words, _)| words.starts_with(&found.words))
            .map(|(_, code)| *code);
        let (good, bad) = (
            codes.clone().any(|code| code == "0"),
            codes.any(|code| code != "0"),
        );
        let name = found.words.join(" ");
        if !(good || ELSEWHERE.contains(&name.as_str()) || ENDLESS.contains(&name.as_str())) {
            missing.push(format!("{name}: with good arguments"));
        }
        if !(bad || ENDLESS.contains(&name.as_str()) || accepts_anything(&name)) {
            missing.push(format!("{name}: with bad arguments"));
        }
    }
    assert!(
        missing.is_empty(),
        "add cases to tests/tests/cli/cases: {missing:#?}"
    );
}

/// Commands that have no arguments of their own and read nothing: that unknown ones are refused is tried of all.
fn accepts_anything(name: &str) -> bool {
    name == "config schema"
}

#[test]
fn every_command_refuses_what_it_does_not_know() {
    let sandbox = Sandbox::new();
    let before = std::fs::read_to_string(sandbox.path().join("config.json")).expect("config");
    for found in commands(&sandbox) {
        let words: Vec<&str> = found.words.iter().map(String::as_str).collect();
        for more in [&["--no-such-option"][..], &["--config"]] {
            let arguments = [&words, more].concat();
            let said = sandbox.run(&arguments, "");
            case::holds_for_all(&format!("{arguments:?}"), &arguments, &said);
            assert_eq!(
                (said.code, said.out.as_str()),
                (2, ""),
                "{arguments:?}: {}",
                said.err
            );
            assert!(said.err.starts_with("error: "), "{arguments:?}: {}", said.err);
        }
        // `backup DIR` takes any word.
        if found.leads_on && words != ["backup"] {
            let said = sandbox.run(&[&words[..], &["no-such-command"]].concat(), "");
            assert_eq!(said.code, 2, "{words:?}: {}", said.err);
        }
    }
    let left: Vec<_> = std::fs::read_dir(sandbox.path()).expect("directory").collect();
    assert_eq!(left.len(), 1, "wrong usage makes no files: {left:?}");
    assert_eq!(
        std::fs::read_to_string(sandbox.path().join("config.json")).expect("config"),
        before
    );
}

#[test]
fn the_environment_changes_no_colours_in_pipes_and_config_is_taken_on_either_side() {
    let sandbox = Sandbox::new();
    for arguments in [
        ["--config", "nowhere.json", "config", "check"],
        ["config", "--config", "nowhere.json", "check"],
        ["config", "check", "--config", "nowhere.json"],
    ] {
        let said = sandbox.run(&arguments, "");
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}");
        assert_eq!(
            said.err,
            "rmail: cannot read nowhere.json: No such file or directory (os error 2); `rmail init` writes one, \
             `--config PATH` names another\n"
        );
    }
}
