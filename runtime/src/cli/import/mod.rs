//! `rmail import`: mail from elsewhere into a user's mailboxes, beside a running server, with constant memory for each
//! message.
//!
//! A message that is in its folder already (same octets) is not taken again, so that an import that was cut short is
//! simply run again. Two equal messages of the source need two in the folder.

mod importer;
mod known;
mod maildir;
mod mbox;
mod tar;

use std::path::{Path, PathBuf};

use serde_json::json;

use self::importer::Importer;
use super::Failure;
use super::open::open;

const HELP: &str = "\
What is kept: octets, folders, dates, flags, keywords, subscriptions, and special uses by the usual names of folders.
Files whose first line ends in LF alone get CRLF everywhere; all others are stored octet for octet. A message with a
NUL octet is refused, as APPEND refuses it.

  --maildir  Maildir and Maildir++ (`.Sub.Folder` in modified UTF-7 or UTF-8), with dovecot-keywords, dovecot-uidlist
             and subscriptions. The date is the file's mtime, as Dovecot has it.
  --mbox     one mbox file, or a directory of them (NAME.mbox, and below NAME.d). Quoting is undone as in mboxrd;
             Status, X-Status and X-Keywords become flags.
  --tar      what `rmail export --tar` writes; `-` is standard input.

It may be stopped and started again: what is in its folder already, with the same octets, is not taken twice.
--keep-uids keeps UIDs and UIDVALIDITY, so that clients need not fetch all again. Its folder must never have had a
message, or be from the same import.

  rmail import --user alice@example.com --maildir /home/alice/Maildir
  rmail import --user alice@example.com --mbox old.mbox --folder Archive/old
  ssh old rmail export --user alice --tar - | rmail import --user alice --tar - --keep-uids

Exit code 0: all is there; 1: something was left, and is told; 2: wrong usage.";

/// What to import, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["maildir", "mbox", "tar"])))]
pub(super) struct Options {
    /// Whose mail it becomes: NAME@DOMAIN, or NAME when one domain is hosted.
    #[arg(long, value_name = "ADDRESS")]
    user: String,
    /// A Maildir.
    #[arg(long, value_name = "DIR")]
    maildir: Option<PathBuf>,
    /// An mbox file, or a directory of them.
    #[arg(long, value_name = "FILE")]
    mbox: Option<PathBuf>,
    /// A tar archive of `rmail export`; - for standard input.
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// Put the source's INBOX (or the one mbox) into this folder, and its other folders below it.
    #[arg(long, value_name = "NAME")]
    folder: Option<String>,
    /// Keep UIDs and UIDVALIDITY.
    #[arg(long)]
    keep_uids: bool,
    /// Go on beyond the user's quota.
    #[arg(long)]
    ignore_quota: bool,
    /// Read and count all, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let folder = options.folder.as_deref().map(|name| {
        rmail_core::mailbox::MailboxName::new(name)
            .unwrap_or_else(|error| super::wrong_usage(format!("--folder {name:?}: {error}")))
    });
    let opened = open(config)?;
    let account = opened.existing(&options.user)?;
    let mut importer = Importer::new(&opened, account, options, folder)?;
    let done = match (&options.maildir, &options.mbox, &options.tar) {
        (Some(dir), ..) => maildir::run(&mut importer, dir),
        (_, Some(path), _) => mbox::run(&mut importer, path),
        (.., Some(path)) => tar::run(&mut importer, path),
        (None, None, None) => Ok(()),
    };
    let done = done.and_then(|()| importer.end());
    let head = json!({"user": options.user, "dry_run": options.dry_run});
    let (account, report) = importer.into_report();
    let told = report.finish(head, options.json, false);
    done.map_err(|error| {
        Failure(format!(
            "the import for {account} stopped: {error}\nwhat is in already stays; run it again when the cause is gone"
        ))
    })?;
    told
}
