//! `rmail log-level`: how much running servers log, target by target, until they end.

use std::path::Path;

use anstream::{eprintln, println};
use rmail_core::config::LogLevel;
use serde_json::json;

use super::Failure;
use super::status::ask;
use crate::control::{Reply, Request};
use crate::logging::levels::{KNOWN, TargetLevel};

/// Options of `log-level`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without arguments the levels that hold are shown. A level counts for a target and all below it (`store` for `store::file`); \
`*` stands for every target without a level of its own. It holds in all servers that run on the mail_root, also through \
reloads, until it is reset or the server ends; `log_level` and `log.targets` of the configuration are for good.\n\n\
Exit codes: 0 done, 1 no server runs or one did not do it, 2 wrong usage.\n\n\
Examples:\n  rmail log-level\n  rmail log-level smtp DEBUG\n  rmail log-level '*' WARNING\n  rmail log-level --reset smtp\n  \
rmail log-level --reset")]
pub(super) struct Options {
    /// What the lines are about, as it stands behind their level: `smtp`, `relay`, `store::file`; `*`: all others.
    #[arg(value_parser = target)]
    target: Option<String>,
    /// DEBUG, INFO, WARNING, ERROR or CRITICAL.
    #[arg(value_parser = level)]
    level: Option<LogLevel>,
    /// Back to what the configuration says: the target, or all.
    #[arg(long, conflicts_with = "level")]
    reset: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

fn level(text: &str) -> Result<LogLevel, String> {
    LogLevel::parse(text).ok_or_else(|| "expected DEBUG, INFO, WARNING, ERROR or CRITICAL".to_owned())
}

fn target(text: &str) -> Result<String, String> {
    let good = text == crate::logging::levels::ALL || rmail_core::config::is_log_target(text);
    let names = || format!("expected a target such as {}, or *", KNOWN.join(", "));
    good.then(|| text.to_owned()).ok_or_else(names)
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let request = Request::LogLevel {
        target: options.target.clone(),
        level: options.level,
        reset: options.reset,
    };
    let mut failed = Vec::new();
    let mut answered = Vec::new();
    for answer in ask(config, &request)? {
        match answer.replies.as_deref() {
            Ok([Reply::LogLevels { levels }]) => answered.push((answer.server, levels.clone())),
            Ok([Reply::Failed { why }]) => failed.push(format!("server {}: {why}", answer.server)),
            Ok(_) => failed.push(format!("server {}: it broke off", answer.server)),
            Err(error) => failed.push(format!("server {}: {error}", answer.server)),
        }
    }
    if options.json {
        let servers = answered
            .iter()
            .map(|(server, levels)| json!({"server": server, "levels": levels}));
        println!("{}", json!(servers.collect::<Vec<_>>()));
    } else {
        show(&answered);
    }
    if let Some(target) = options.target.as_ref().filter(|_| options.level.is_some()) {
        let top = target.split("::").next().unwrap_or_default();
        if top != crate::logging::levels::ALL && !KNOWN.contains(&top) {
            eprintln!(
                "note: no part of rmail logs as {top}; known are {}",
                KNOWN.join(", ")
            );
        }
    }
    match (answered.is_empty(), failed.is_empty()) {
        (_, false) => Err(Failure(failed.join("\n"))),
        (true, true) => Err(Failure(
            "no server runs on this mail_root; `log_level` and `log.targets` of the configuration count for the next".into(),
        )),
        (false, true) => Ok(()),
    }
}

fn show(answered: &[(String, Vec<TargetLevel>)]) {
    for (server, levels) in answered {
        if answered.len() > 1 {
            println!("server {server}:");
        }
        for TargetLevel { target, level, set } in levels {
            let from = if *set { "set at run time" } else { "configuration" };
            println!("{target:<20} {:<8} {from}", level.name());
        }
    }
}
