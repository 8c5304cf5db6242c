//! `rmail status`: which servers run on the mail_root, and how they are.

use std::path::Path;

use anstream::println;
use serde_json::json;

use super::Failure;
use super::load::load_or_fail;
use crate::control::{Answered, Reply, Request, Status, ask_all};

/// Options of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 a server runs and answers, 1 none does, 2 wrong usage.\n\n\
Examples:\n  rmail status\n  rmail status --json")]
pub(super) struct Options {
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let answers = ask(config, &Request::Status)?;
    let found: Vec<&Status> = answers.iter().filter_map(status).collect();
    if options.json {
        println!("{}", json!(found));
    } else {
        found.iter().for_each(|status| show(status));
    }
    for answer in &answers {
        if let Err(error) = &answer.replies {
            eprintln!("server {}: {error}", answer.server);
        }
    }
    match found.is_empty() {
        true => Err(Failure(
            "no server answers on this mail_root; `rmail serve` starts one".into(),
        )),
        false => Ok(()),
    }
}

/// What every server on the configuration's mail_root answers.
pub(super) fn ask(config: &Path, request: &Request) -> Result<Vec<Answered>, Failure> {
    let loaded = load_or_fail(config)?;
    let root = loaded.path(&loaded.config.mail_root);
    ask_all(&root, request).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "; only the user that the server runs as, and root, may ask it"
            }
            _ => "",
        };
        Failure(format!(
            "cannot ask the servers in {}: {error}{hint}",
            root.join("control").display()
        ))
    })
}

fn status(answer: &Answered) -> Option<&Status> {
    answer
        .replies
        .as_ref()
        .ok()?
        .iter()
        .find_map(|reply| match reply {
            Reply::Status(status) => Some(status),
            _ => None,
        })
}

fn show(status: &Status) {
    let ending = if status.ending { ", ending" } else { "" };
    println!(
        "rmail {} runs as process {}, since {}, with {} session(s){ending}",
        status.version,
        status.pid,
        since(status.uptime),
        status.sessions,
    );
    for listener in &status.listeners {
        let state = if listener.up { "" } else { " (closed)" };
        println!("  {:<12} {}{state}", listener.service, listener.address);
    }
}

/// `3 d 4 h`
fn since(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let told = [5, 61, 3_700, 90_000].map(since);
        assert_eq!(told, ["5 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }
}
