//! `rmail migrate`: mailboxes of the earliest layout become those of this one.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use futures_lite::future::block_on;
use rmail_store::file::migrate::{Event, Plan};
use serde_json::json;

use super::Failure;
use super::open::{open, told};
use super::report::Report;
use crate::clock;

const HELP: &str = "\
The earliest layout had, in each mailbox's directory, an index.json and the messages as msg-UID.eml. Wherever such a
directory lies below domains/DOMAIN/users/USER, its messages move into the shards of the mailbox of that name. UIDs,
UIDVALIDITY, UIDNEXT, flags, keywords, dates and octets are kept; index.json stays as index.json.migrated.

There is no way back but a backup: make one first (`cp -a` of the mail_root, with no server running).

index.json is an object with uidvalidity, uidnext and messages: a list, or an object with a message under each UID. A
message has uid, flags (names such as \\Seen or seen, and keywords), date or internaldate (RFC 3339, IMAP date-time, or
seconds since 1970) and size. Everything but the UID may be missing: without a date the file's is taken, without
uidvalidity a new one is given. A list of messages alone is taken too.

What cannot be moved is told and left where it is: entries without a file, files without an entry, a UID that is 0, too
high or given twice, an index that cannot be read (see --rebuild-index). Where a mailbox with messages of its own is there
already, the old messages get new UIDs in it.

It may be stopped at any moment and started again; it works beside a running server, which is kept from an account's
mailboxes while they move.

Exit code 0: all is moved; 1: something was left, and is told; 2: wrong usage.";

/// How to migrate.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Options {
    /// Read and count all, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Where index.json cannot be read, take the files without it: no flags, dates of the files, a new UIDVALIDITY.
    #[arg(long)]
    rebuild_index: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    if !options.dry_run && !options.yes && !confirmed()? {
        return Err(Failure("nothing was changed".into()));
    }
    let opened = open(config)?;
    let mut report = Report::new("migrated");
    let mut current = None;
    let plan = Plan {
        dry_run: options.dry_run,
        rebuild_index: options.rebuild_index,
    };
    let mut tell = |event| match event {
        Event::Mailbox { label, messages } => {
            report.working_on(&label, Some(messages));
            report.folder(&label);
            current = Some(label);
        }
        Event::Message {
            octets,
            hash,
            already,
        } => {
            report.step();
            let folder = report.folder(current.as_deref().unwrap_or_default());
            let tally = if already {
                &mut folder.already
            } else {
                &mut folder.done
            };
            tally.add(octets, &hash);
        }
        Event::Problem { what, why } => report.problem(None, what, why),
        Event::Note(text) => report.note(text),
    };
    let done = block_on(opened.store().migrate(plan, clock::unix(), &mut tell));
    let all = report.finish(json!({"dry_run": options.dry_run}), options.json, false);
    done.map_err(|error| Failure(format!("the migration stopped: {}", told(&error))))?;
    all
}

/// Asks whether there is a backup.
fn confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        super::wrong_usage(
            "there is no terminal to ask whether you have a backup, without which there is no way back; use --yes, or \
             --dry-run to look first",
        );
    }
    anstream::eprint!(
        "The mailboxes of the earliest layout are changed, and there is no way back without a backup.\n\
         Is there one? Type yes: "
    );
    std::io::stderr().flush().map_err(Failure::new)?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(Failure::new)?;
    Ok(line.trim().eq_ignore_ascii_case("yes"))
}
