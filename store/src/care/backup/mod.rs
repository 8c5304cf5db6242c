//! `rmail backup`: an exact copy of every mailbox at one moment of that mailbox, while servers go on.
//!
//! ```text
//! {dir}/
//!   .lock                     flock: one backup at a time
//!   2026-11-21T10-00-00Z/     a backup, by the time at which it was begun
//!     manifest.jsonl          see [`manifest`]
//!     domains/…               as in the mail_root: messages under their names, status.json, keywords, expunged,
//!                             acl.json, metadata.json,
//!                             account.json, subscriptions.json, user.json; no `state`, no caches
//!     secrets/ tls/           the files of the mail_root's directories of these names
//!   2026-11-22T10-00-00Z.partial/  one that is being made, or was cut short; the next backup removes the latter
//! ```
//!
//! The tree of a backup is itself a mail_root: copied to an empty place (`cp -a`) a server can run on it. The outbound
//! queue is not in it, since a message that was sent meanwhile would be sent again.
//!
//! Messages are hard links where the file system allows it, else copies. Stored files are never changed in place, so
//! that a link is safe against all that servers do; it is not safe against a failing disk. Of a message that the newest
//! backup beside it has already (the same stored file by device, inode, size and time), the hash is taken over and the
//! copy is linked, so that backups share what has not changed.
//!
//! It is readable by its owner alone, for it has password hashes and keys unless they are left out
//! ([`Options::secrets`]): then user.json comes without passwords, and `secrets/`, `tls/` and what else lies in a
//! domain's directory do not come at all.

mod account;
mod mailbox;
pub mod manifest;
mod previous;
pub(super) mod read;
mod verify;

use core::time::Duration;
use std::io;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::MailboxName;
use rmail_core::text::date::civil_from_days;
use rmail_core::time::Unix;

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};
use crate::file::FileStore;
use crate::file::acl::SHARED;
use crate::file::io::{found, open_or_make_dir, remove_tree};
use crate::file::metadata::METADATA;

use super::image::Rules;
use super::places;
use manifest::{Line, VERSION, Writer};
use previous::Previous;
pub use verify::{Flaw, FlawKind, Verified, sets, verify};

/// The end of the name of a backup that is not complete.
pub const PARTIAL: &str = ".partial";

/// What goes into a backup.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only these accounts, and their domains' files; empty: everything.
    pub users: Vec<AccountName>,
    /// Password hashes and keys too.
    pub secrets: bool,
    /// The name of its directory: see [`is_name`].
    pub name: String,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A mailbox is begun, with so many messages.
    Mailbox(&'a AccountName, &'a MailboxName, u64),
    /// A message is done, with so many octets.
    Message(u64),
    /// Something could not be backed up: where, and why.
    Problem(&'a str, &'a str),
}

/// What was backed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Accounts.
    pub accounts: u64,
    /// Mailboxes.
    pub mailboxes: u64,
    /// Messages.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Messages that are links to the stored files.
    pub linked: u64,
    /// Messages that are links to those of the backup before.
    pub shared: u64,
    /// Messages that were copied.
    pub copied: u64,
    /// What could not be backed up.
    pub problems: u64,
}

/// Whether this is the name of a backup's directory: `2026-11-21T10-00-00Z`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let form = b"dddd-dd-ddTdd-dd-ddZ";
    name.len() == form.len()
        && name.bytes().zip(form).all(|(octet, form)| match form {
            b'd' => octet.is_ascii_digit(),
            form => octet == *form,
        })
}

/// The name of a backup that is begun now.
#[must_use]
pub fn name_of(now: Unix) -> String {
    let (days, second) = (now.secs() / 86_400, now.secs() % 86_400);
    let (year, month, day) = civil_from_days(i64::try_from(days).unwrap_or(i64::MAX));
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}Z")
}

/// Makes a backup below `target`.
///
/// # Errors
/// `Busy` if another one is being made there; what keeps it from being complete. What only keeps a message from being
/// in it is a problem, and told.
pub async fn run<D: Disk>(
    store: &FileStore<D>,
    target: &D::Dir,
    options: &Options,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary> {
    let context = |error| Error::io(format!("make the backup {}", options.name), error);
    if !is_name(&options.name) {
        return Err(context(io::ErrorKind::InvalidInput.into()));
    }
    let made = make(store, target, options, tell).await;
    made.map_err(context)
}

async fn make<D: Disk>(
    store: &FileStore<D>,
    target: &D::Dir,
    options: &Options,
    tell: &mut dyn FnMut(Event<'_>),
) -> io::Result<Summary> {
    let disk = store.disk();
    let file = disk.open(target, ".lock", Mode::Create).await?;
    let _lock = disk.lock(&file, Duration::ZERO).await?;
    let mut before = Vec::new();
    for entry in disk.list(target).await?.entries {
        let partial = entry.name.strip_suffix(PARTIAL);
        if partial.is_some_and(is_name) {
            remove_tree(disk, target, &entry.name).await?;
        } else if is_name(&entry.name) {
            before.push(entry.name);
        }
    }
    if before.contains(&options.name) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    before.sort_unstable();
    let previous = match before.last() {
        Some(name) => Previous::open(disk, target, name).await,
        None => None,
    };
    let partial = format!("{}{PARTIAL}", options.name);
    disk.make_dir(target, &partial).await?;
    let top = disk.open_dir(target, &partial).await?;
    let mut run = Run {
        disk,
        rules: store.rules(),
        manifest: Writer::create(disk, &top).await?,
        top,
        options,
        previous,
        summary: Summary::default(),
        links: true,
        buffer: Vec::new(),
        tell,
    };
    run.everything().await?;
    run.manifest.flush(disk).await?;
    disk.sync_fs(target).await?;
    run.manifest.end(disk).await?;
    disk.sync_dir(&run.top).await?;
    disk.rename(target, &partial, target, &options.name).await?;
    disk.sync_dir(target).await?;
    Ok(run.summary)
}

/// A backup that is being made.
struct Run<'a, D: Disk> {
    disk: &'a D,
    rules: Rules,
    top: D::Dir,
    manifest: Writer<D>,
    options: &'a Options,
    previous: Option<Previous<D>>,
    summary: Summary,
    /// The file system of the backup takes links to stored files.
    links: bool,
    buffer: Vec<u8>,
    tell: &'a mut dyn FnMut(Event<'_>),
}

impl<D: Disk> Run<'_, D> {
    async fn line(&mut self, line: &Line) -> io::Result<()> {
        self.manifest.line(self.disk, line).await
    }

    async fn problem(&mut self, path: &str, error: &str) -> io::Result<()> {
        self.summary.problems += 1;
        (self.tell)(Event::Problem(path, error));
        let line = Line::Problem {
            path: path.to_owned(),
            error: error.to_owned(),
        };
        self.line(&line).await
    }

    async fn everything(&mut self) -> io::Result<()> {
        let users = &self.options.users;
        self.line(&Line::Backup {
            version: VERSION,
            name: self.options.name.clone(),
            users: users.iter().map(|user| user.as_str().to_owned()).collect(),
            secrets: self.options.secrets,
        })
        .await?;
        let wanted = |account: &AccountName| users.is_empty() || users.contains(account);
        for domain in places::domains(self.disk).await? {
            let all = places::users(self.disk, &domain).await?;
            let accounts = all.iter().filter_map(|user| user.account.as_ref());
            if users.is_empty() || accounts.into_iter().any(wanted) {
                self.domain_files(&domain).await?;
            }
            for user in &all {
                if let Some(account) = user.account.as_ref().filter(|account| wanted(account)) {
                    self.account(account, user).await?;
                }
            }
        }
        let root = self.disk.root().clone();
        if users.is_empty()
            && let Some(dir) = found(self.disk.open_dir(&root, SHARED).await)?
        {
            // Of the server. Who shares what is told by the mailboxes.
            self.files(&dir, SHARED, |name| name == METADATA).await?;
        }
        if users.is_empty() && self.options.secrets {
            for name in ["secrets", "tls"] {
                let root = self.disk.root().clone();
                if let Some(dir) = found(self.disk.open_dir(&root, name).await)? {
                    self.files(&dir, name, |_| true).await?;
                }
            }
        }
        Ok(())
    }

    /// A directory of the backup, by its path; made if it is not there.
    async fn dir(&self, path: &str) -> io::Result<D::Dir> {
        let mut dir = self.top.clone();
        for level in path.split('/') {
            dir = open_or_make_dir(self.disk, &dir, level).await?;
        }
        Ok(dir)
    }

    /// Copies the plain files of a directory that are wanted.
    async fn files(&mut self, dir: &D::Dir, path: &str, wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut names: Vec<String> = self
            .disk
            .list(dir)
            .await?
            .entries
            .into_iter()
            .filter(|entry| !entry.is_dir && !entry.name.starts_with('.') && wanted(&entry.name))
            .map(|entry| entry.name)
            .collect();
        names.sort_unstable();
        for name in names {
            let octets = match crate::file::io::read_file(self.disk, dir, &name).await {
                Ok(Some(octets)) => octets,
                Ok(None) => continue,
                Err(error) => {
                    let path = format!("{path}/{name}");
                    self.problem(&path, &error.to_string()).await?;
                    continue;
                }
            };
            self.file(path, &name, &octets).await?;
        }
        Ok(())
    }

    /// Writes a file that is no message.
    async fn file(&mut self, path: &str, name: &str, octets: &[u8]) -> io::Result<()> {
        let dir = self.dir(path).await?;
        let sha256 = read::write(self.disk, &dir, name, octets).await?;
        self.line(&Line::File {
            path: format!("{path}/{name}"),
            size: octets.len() as u64,
            sha256,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::{Unix, is_name, name_of};

    #[test]
    fn backups_are_named_by_their_time() {
        assert_eq!(name_of(Unix::from_secs(1_795_255_201)), "2026-11-21T10-00-01Z");
        assert!(is_name(&name_of(Unix::from_secs(0))));
        assert!(is_name("2026-11-21T10-00-00Z"));
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21T10:00:00Z",
            "x026-11-21T10-00-00Z",
            "2026-11-21T10-00-00Z.partial",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
