//! `rmail queue …`: what waits to be sent, and what an operator may do with it.
//!
//! It reads the entries of all processes from the disk, beside servers that run or without any. Changes are requests
//! ([`rmail_store::orders`]): the server that owns an entry carries them out at once, or the next that starts does.

mod change;
mod list;
mod select;
mod show;
mod stats;
mod words;

pub(super) use select::snapshot;
pub(super) use show::story;
pub(super) use words::Escaped;

use std::path::Path;

use super::Failure;
use super::open::{Opened, open};

/// What to do with the queue.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// What waits, the oldest first.
    List(list::Options),
    /// The whole story of one message: what was tried, what was said, what comes next, what can be done.
    Show(show::Options),
    /// Try messages again now, instead of at their time.
    Retry(change::Options),
    /// Keep messages from being sent until they are released.
    Hold(change::Options),
    /// Let messages go that are held, and try them now.
    Release(change::Options),
    /// Give messages up: their senders are told, as of any failure.
    Fail(change::Options),
    /// How much waits, for whom, since when, and why.
    Stats(stats::Options),
}

pub(super) fn run(config: &Path, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(options) => list::run(config, options),
        Command::Show(options) => show::run(config, options),
        Command::Retry(options) => change::run(config, rmail_store::orders::Word::Retry, options),
        Command::Hold(options) => change::run(config, rmail_store::orders::Word::Hold, options),
        Command::Release(options) => change::run(config, rmail_store::orders::Word::Release, options),
        Command::Fail(options) => change::run(config, rmail_store::orders::Word::Fail, options),
        Command::Stats(options) => stats::run(config, options),
    }
}

/// The store of a mail_root that is there.
pub(super) fn existing(config: &Path) -> Result<Opened, Failure> {
    let loaded = super::load::load_or_fail(config)?;
    let root = loaded.path(&loaded.config.mail_root);
    if !root.is_dir() {
        return Err(Failure(format!(
            "there is no mail_root {}; `rmail serve` makes it",
            root.display()
        )));
    }
    open(config)
}
