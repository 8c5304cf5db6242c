//! `rmail export`: a user's mail as files that other programs read, and from which `rmail import` makes the same mail again.

mod maildir;
mod mbox;
mod place;
mod tar;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::imap::server::MailboxEntry;
use rmail_core::mailbox::{Flags, Keyword, KeywordSet, Keywords, MailboxName, Row, Snapshot, SpecialUse};
use rmail_store::file::FileStore;
use rmail_store::transfer::Meta;
use rmail_store::transfer::tally::Hasher;
use rmail_store::{MailStore as _, Numbering};
use serde_json::json;

use super::Failure;
use super::open::{Opened, open, told};
use super::report::Report;
use crate::disk::RealDisk;

const HELP: &str = "\
Stored octets are written as they are, CRLF included; `rmail import` of the result gives the same folders, octets, flags,
keywords, dates and subscriptions, and with --keep-uids the same UIDs.

  --maildir  Maildir++ as Dovecot reads it: .Sub.Folder in modified UTF-7, dovecot-uidlist, dovecot-keywords,
             subscriptions; dates are the files' mtime.
  --mbox     one file per folder in a directory (NAME.mbox, below it NAME.d); with exactly one --folder, and if PATH is no
             directory and does not end in /, one file. Quoted as mboxrd; flags in Status, X-Status, X-Keywords.
  --tar      pax archive; dates, flags and the like are pax records (RMAIL.*). `-` is standard output.

The result appears when it is whole. What is there already is not touched, except with --force: then a file is replaced,
and a directory is kept beside the new one under NAME.old-1, -2, ...

  rmail export --user alice@example.com --maildir /backup/alice
  rmail export --user alice@example.com --mbox sent.mbox --folder Sent
  rmail export --user alice@example.com --tar - | gzip > alice.tar.gz

Exit code 0: all is written; 1: something was left, and is told; 2: wrong usage.";

/// What to export, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["maildir", "mbox", "tar"])))]
pub(super) struct Options {
    /// Whose mail: NAME@DOMAIN, or NAME when one domain is hosted.
    #[arg(long, value_name = "ADDRESS")]
    user: String,
    /// Write a Maildir.
    #[arg(long, value_name = "DIR")]
    maildir: Option<PathBuf>,
    /// Write mbox files, or one.
    #[arg(long, value_name = "PATH")]
    mbox: Option<PathBuf>,
    /// Write a tar archive; - for standard output.
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// Only this folder; may be given several times.
    #[arg(long, value_name = "NAME")]
    folder: Vec<String>,
    /// Put the result in the place of what is there.
    #[arg(long)]
    force: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// A folder on its way out.
struct Folder<'a> {
    name: &'a MailboxName,
    numbering: Numbering,
    special: &'a [SpecialUse],
    keywords: &'a Keywords,
}

/// A message on its way out.
struct Message {
    meta: Meta,
    /// Its keywords by their bit.
    bits: [u64; 4],
    size: u64,
}

/// A format.
trait Writer {
    /// The messages that come are in this folder.
    fn folder(&mut self, folder: &Folder<'_>) -> io::Result<()>;
    /// A message begins.
    fn begin(&mut self, message: &Message) -> io::Result<()>;
    /// Octets of it.
    fn data(&mut self, octets: &[u8]) -> io::Result<()>;
    /// It ends.
    fn end(&mut self) -> io::Result<()>;
    /// It cannot be read to its end: what was written of it goes.
    fn discard(&mut self) -> io::Result<()>;
    /// All is written; these are subscribed to.
    fn finish(self: Box<Self>, subscribed: &[MailboxName]) -> io::Result<()>;
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let wanted: Vec<MailboxName> = options
        .folder
        .iter()
        .map(|name| {
            MailboxName::new(name)
                .unwrap_or_else(|error| super::wrong_usage(format!("--folder {name:?}: {error}")))
        })
        .collect();
    let opened = open(config)?;
    let account = opened.existing(&options.user)?;
    let entries = block_on(opened.store().list(&account)).map_err(|error| Failure(told(&error)))?;
    for name in &wanted {
        if !entries
            .iter()
            .any(|entry| entry.name == *name && entry.selectable)
        {
            return Err(Failure(format!(
                "{account} has no folder {name}; nothing was written"
            )));
        }
    }
    let chosen = |name: &MailboxName| wanted.is_empty() || wanted.contains(name);
    let entries: Vec<MailboxEntry> = entries.into_iter().filter(|entry| chosen(&entry.name)).collect();
    let (path, writer) = writer(options, wanted.len())?;
    let mut export = Export {
        opened: &opened,
        account,
        writer,
        report: Report::new("exported"),
    };
    let cannot = |error: &dyn Display| Failure(format!("cannot write {}: {error}", path.display()));
    for entry in entries.iter().filter(|entry| entry.selectable) {
        export.folder(entry).map_err(|error| cannot(&error))?;
    }
    let subscribed: Vec<MailboxName> = entries
        .iter()
        .filter(|entry| entry.subscribed)
        .map(|entry| entry.name.clone())
        .collect();
    export
        .writer
        .finish(&subscribed)
        .map_err(|error| cannot(&error))?;
    let head = json!({"user": options.user, "path": path.display().to_string()});
    let aside = options.tar.as_ref().is_some_and(|path| path.as_os_str() == "-");
    export.report.finish(head, options.json, aside)
}

fn writer(options: &Options, folders: usize) -> Result<(&Path, Box<dyn Writer>), Failure> {
    let force = options.force;
    let (path, made): (&Path, io::Result<Box<dyn Writer>>) =
        match (&options.maildir, &options.mbox, &options.tar) {
            (Some(path), ..) => (path, maildir::create(path, force)),
            (_, Some(path), _) => (path, mbox::create(path, force, folders == 1)),
            (.., Some(path)) => (path, tar::create(path, force)),
            (None, None, None) => super::wrong_usage("one of --maildir, --mbox, --tar is needed"),
        };
    let cannot = |error: io::Error| Failure(format!("cannot write {}: {error}", path.display()));
    made.map(|writer| (path, writer)).map_err(cannot)
}

struct Export<'a> {
    opened: &'a Opened,
    account: AccountName,
    writer: Box<dyn Writer>,
    report: Report,
}

/// Why an export cannot go on.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Target(#[from] io::Error),
    #[error("{}", told(.0))]
    Store(#[from] rmail_store::Error),
}

impl<'a> Export<'a> {
    fn store(&self) -> &'a FileStore<RealDisk> {
        self.opened.store()
    }

    fn folder(&mut self, entry: &MailboxEntry) -> Result<(), Stop> {
        let store = self.store();
        let selected = block_on(store.select(&self.account, &entry.name, true))?;
        let snapshot = &selected.snapshot;
        self.report.folder(entry.name.as_str());
        self.report
            .working_on(entry.name.as_str(), Some(snapshot.rows.len()));
        self.writer.folder(&Folder {
            name: &entry.name,
            numbering: Numbering {
                uid_validity: Some(snapshot.uid_validity),
                uid_next: Some(snapshot.uid_next),
            },
            special: &entry.special_use,
            keywords: &snapshot.keywords,
        })?;
        for row in snapshot.rows.iter() {
            let blob = match block_on(store.open(&selected.mailbox, row.uid)) {
                // Expunged meanwhile.
                Ok(None) => continue,
                Ok(Some(blob)) => blob,
                Err(error) => {
                    self.left(entry, row, told(&error));
                    continue;
                }
            };
            let message = message(row, snapshot, store.blob_len(&blob));
            if message.size != u64::from(row.size) {
                let why = format!("its file has {} octets, its name says {}", message.size, row.size);
                self.left(entry, row, why);
                continue;
            }
            self.writer.begin(&message)?;
            match self.copy(&blob, message.size)? {
                Ok(hash) => {
                    self.writer.end()?;
                    let folder = self.report.folder(entry.name.as_str());
                    folder.done.add(message.size, &hash);
                }
                Err(why) => {
                    self.writer.discard()?;
                    self.left(entry, row, why);
                }
            }
            self.report.step();
        }
        block_on(store.unselect(&selected.mailbox));
        Ok(())
    }

    /// Writes a message's octets. The inner error is one of reading.
    fn copy(
        &mut self,
        blob: &rmail_store::file::Blob<RealDisk>,
        size: u64,
    ) -> Result<Result<[u8; 32], String>, Stop> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < size {
            let count = match block_on(self.store().read(blob, &mut buffer, offset)) {
                Ok(0) => return Ok(Err("its file was cut short while it was read".to_owned())),
                Ok(count) => count,
                Err(error) => return Ok(Err(told(&error))),
            };
            let octets = buffer.get(..count).unwrap_or_default();
            hasher.update(octets);
            self.writer.data(octets)?;
            offset += count as u64;
        }
        Ok(Ok(hasher.finish()))
    }

    fn left(&mut self, entry: &MailboxEntry, row: &Row, why: String) {
        let what = format!("UID {} of {}", row.uid.0, entry.name);
        self.report.problem(Some(entry.name.as_str()), what, why);
    }
}

fn message(row: &Row, snapshot: &Snapshot, size: u64) -> Message {
    let words = |set: KeywordSet| -> Vec<Keyword> { snapshot.keywords.of(set).cloned().collect() };
    Message {
        meta: Meta {
            uid: Some(row.uid),
            flags: Flags {
                system: row.flags,
                keywords: words(row.keywords),
            },
            date: Some(row.internal_date()),
        },
        bits: snapshot.keywords.bits(row.keywords),
        size,
    }
}
