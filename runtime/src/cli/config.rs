//! `rmail config check`.

use std::path::Path;

use rmail_core::config::Problem;
use serde_json::json;

use super::Failure;
use super::load::{LoadError, load};

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Tell everything that is wrong with it; exit code 1 if something is.
    Check(Options),
}

/// Options of `config check`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn check(path: &Path, options: &Options) -> Result<(), Failure> {
    let (errors, warnings) = match load(path) {
        Ok(loaded) => (Vec::new(), loaded.warnings),
        Err(LoadError::Unreadable(text)) => return Err(Failure(text)),
        Err(LoadError::Wrong(problems)) => problems.into_iter().partition(|problem| !problem.warning),
    };
    if options.json {
        let list = |problems: &[Problem]| {
            problems
                .iter()
                .map(|p| json!({"path": p.path, "value": p.value, "expected": p.expected}))
                .collect::<Vec<_>>()
        };
        anstream::println!(
            "{}",
            json!({"errors": list(&errors), "warnings": list(&warnings)})
        );
    } else {
        errors
            .iter()
            .for_each(|problem| anstream::println!("error: {problem}"));
        warnings
            .iter()
            .for_each(|problem| anstream::println!("warning: {problem}"));
        anstream::println!(
            "{}: {} error(s), {} warning(s)",
            path.display(),
            errors.len(),
            warnings.len()
        );
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "{} is not usable as it is; `serve` would refuse it",
        path.display()
    )))
}
