//! From the earliest layout to this one.
//!
//! The earliest layout had, per mailbox, a directory with `index.json` (see [`crate::transfer::index`]) and the messages
//! flat beside it as `msg-{uid}.eml`. Such directories are looked for everywhere below `domains/{domain}/users/{username}`:
//! what is between that (or the `mailboxes` in it) and the directory is the mailbox's name, level by level, escaped as
//! today or as it stands; a level `children` that is not the first is left out.
//!
//! # How a mailbox is moved
//!
//! All of it happens under the account's lock.
//!
//! 1. `keywords` is written. Each message is linked (copied, where there are no links) as `migrating/{shard}/{name}`: its new
//!    name, in a directory that nobody else reads. A run that was cut short is simply run again, and finds them there.
//! 2. The file system is synced; `status.json.migrating` is written, with UIDVALIDITY and UIDNEXT as ceiling.
//! 3. `migrating` becomes `shards`, then `status.json.migrating` becomes `status.json`: now it is a mailbox. Whoever meets
//!    it between the two finds the status under its other name.
//! 4. The old names are removed, and `index.json` becomes `index.json.migrated`.
//!
//! A mailbox of that name which never had a message (a server made it for a delivery that did not come) is removed first.
//! One that has or had messages keeps its numbers: the old messages are linked into it under new UIDs, and their files get
//! `.merged` at the end of their names until all are in. What was left is tried again, in this way, if
//! `index.json.migrated` is named `index.json` again.
//!
//! Octets are kept as they are: under the same UID there must be the same message (RFC 9051 §2.3.1.1). SAVEDATE is
//! INTERNALDATE; where the index has no date, the file's time of modification is both.

mod build;
mod find;
mod merge;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxName, Row, Uid};
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};
use crate::mailstore::MailStore as _;
use crate::transfer::index::{Entry, Index, uid_of_file};
use crate::transfer::tally::Hasher;

use super::FileStore;
use super::add::seconds;
use super::io::{During as _, found};
use super::tree::Level;
use find::Source;

/// Octets of an index that is read.
const MAX_INDEX: u64 = 1 << 30;

/// The status of a mailbox that is not one yet.
pub(super) const STATUS: &str = "status.json.migrating";

/// How to migrate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Read all, and change nothing.
    pub dry_run: bool,
    /// A mailbox whose `index.json` cannot be read is taken by its files alone: without flags, with the dates of the files
    /// and a new UIDVALIDITY. Otherwise it is left.
    pub rebuild_index: bool,
}

/// What is told on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A mailbox is begun.
    Mailbox {
        /// Whose, and its name: `alice@example.com/INBOX`.
        label: String,
        /// Messages in its index.
        messages: usize,
    },
    /// A message of it is in its new place.
    Message {
        /// Its octets.
        octets: u64,
        /// Their SHA-256.
        hash: [u8; 32],
        /// It was there before this run.
        already: bool,
    },
    /// Something was left where it is, and why.
    Problem {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// Something that should be known.
    Note(String),
}

/// Who hears of it.
type Tell<'a> = &'a mut dyn FnMut(Event);

/// A mailbox that is being moved.
struct Job<'a, D: Disk> {
    account: &'a AccountName,
    name: &'a MailboxName,
    label: String,
    now: Unix,
    source: D::Dir,
    /// Files by UID.
    files: BTreeMap<Uid, String>,
    index: Index,
}

impl<D: Disk> FileStore<D> {
    /// Moves every mailbox of the earliest layout to this one. What cannot be moved is told and left, the rest goes on.
    ///
    /// # Errors
    /// The mail_root cannot be read.
    pub async fn migrate(&self, plan: Plan, now: Unix, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let sources = self.find_old(tell).await?;
        for source in &sources {
            if let Err(error) = self.migrate_one(source, plan, now, tell).await {
                tell(problem(format!("the rest of {}", source.label()), &error));
            }
        }
        let accounts: BTreeSet<&AccountName> = sources.iter().map(|source| &source.account).collect();
        for account in accounts.into_iter().filter(|_| !plan.dry_run) {
            if let Err(error) = self.recount(account).await {
                tell(problem(format!("the count of what {account} has"), &error));
            }
        }
        Ok(())
    }

    async fn migrate_one(&self, source: &Source<D>, plan: Plan, now: Unix, tell: Tell<'_>) -> Result<()> {
        let Source { account, name, dir } = source;
        let label = source.label();
        let held = match plan.dry_run {
            true => None,
            false => Some(self.lock_account(account).await?),
        };
        let files = self.old_files(dir, &label, tell).await?;
        let octets = self.read_index(dir, &label).await?;
        let index = match Index::decode(&octets) {
            Ok(index) => index,
            Err(why) if plan.rebuild_index => {
                tell(Event::Note(format!(
                    "{label}: index.json cannot be read ({why}); the files are taken without it"
                )));
                by_files(&files)
            }
            Err(why) => {
                let why = format!(
                    "index.json cannot be read: {why}; mend it, or use --rebuild-index to take the files without flags"
                );
                tell(problem(label, &why));
                return Ok(());
            }
        };
        tell(Event::Mailbox {
            label: label.clone(),
            messages: index.entries.len(),
        });
        let job = Job {
            account,
            name,
            label,
            now,
            source: dir.clone(),
            files,
            index,
        };
        self.tell_oddities(&job, tell);
        match &held {
            None => self.dry_run(&job, tell).await,
            Some(held) => {
                let target = self.target_dir(held, name).await?;
                let whole = match self.clear_for(&job, held, &target).await? {
                    true => self.build(&job, held, &target, tell).await?,
                    false => self.merge(&job, held, &target, tell).await?,
                };
                if whole {
                    self.put_index_aside(&job).await?;
                }
                Ok(())
            }
        }
    }

    /// Removes from a mailbox's place what is only the shell of one. False: there is a mailbox with messages, or one that
    /// had some.
    async fn clear_for(
        &self,
        job: &Job<'_, D>,
        held: &super::account::AccountHold<D>,
        target: &D::Dir,
    ) -> Result<bool> {
        let label = || format!("read {}", job.label);
        let switched = found(self.disk().stat_at(target, STATUS).await)
            .during(label)?
            .is_some();
        let built = found(self.disk().stat_at(target, "migrating").await).during(label)?;
        if switched && built.is_none() {
            // A run was cut between the two renames of the switch.
            self.give_status(target, &job.label).await?;
        }
        match self.level(target).await? {
            Level::Plain => Ok(true),
            Level::Gone => {
                let cleared = self.clear(target).await;
                cleared.during(|| format!("clear {}", job.label))?;
                Ok(true)
            }
            Level::Broken(_) => Ok(false),
            Level::Mailbox(status) => {
                if status.uid_ceiling != 1 {
                    return Ok(false);
                }
                let mailbox = self.open_mailbox(job.account, target, held).await?;
                let hold = self.hold_fresh(&mailbox).await?;
                // It may have got one while we looked.
                let used = hold.status().uid_ceiling != 1
                    || !mailbox.view().is_some_and(|view| view.snapshot.rows.is_empty());
                drop(hold);
                if used {
                    return Ok(false);
                }
                self.delete_here(&mailbox).await?;
                self.registry().forget(&mailbox);
                Ok(!matches!(self.level(target).await?, Level::Mailbox(_)))
            }
        }
    }

    /// Says what is odd in the index; it leaves nothing out.
    fn tell_oddities(&self, job: &Job<'_, D>, tell: Tell<'_>) {
        for (what, why) in &job.index.problems {
            tell(problem(format!("{what} of {}", job.label), why));
        }
        for uid in job.files.keys() {
            if job
                .index
                .entries
                .binary_search_by_key(uid, |entry| entry.uid)
                .is_err()
            {
                let what = format!("msg-{}.eml of {}", uid.0, job.label);
                tell(problem(what, &"it has no entry in index.json"));
            }
        }
        let count =
            |odd: &dyn Fn(&Entry) -> bool| job.index.entries.iter().filter(|entry| odd(entry)).count();
        let flags = count(&|entry| entry.odd_flags > 0);
        let dates = count(&|entry| entry.odd_date);
        if flags > 0 {
            let text = format!(
                "{}: {flags} messages have flags that can be none; they lose those",
                job.label
            );
            tell(Event::Note(text));
        }
        if dates > 0 {
            let text = format!(
                "{}: {dates} messages have dates that cannot be read; they get those of their files",
                job.label
            );
            tell(Event::Note(text));
        }
    }

    async fn dry_run(&self, job: &Job<'_, D>, tell: Tell<'_>) -> Result<()> {
        for entry in &job.index.entries {
            if let Some(file) = self.old_file(job, entry, tell).await? {
                let (octets, hash) = (file.size, file.hash);
                tell(Event::Message {
                    octets,
                    hash,
                    already: false,
                });
            }
        }
        Ok(())
    }

    /// The file of an entry, read once. None: it is not there, or cannot be read; that was told.
    async fn old_file(&self, job: &Job<'_, D>, entry: &Entry, tell: Tell<'_>) -> Result<Option<OldFile<D>>> {
        let what = || format!("UID {} of {}", entry.uid.0, job.label);
        let Some(name) = job.files.get(&entry.uid) else {
            tell(problem(
                what(),
                &format!("there is no file msg-{}.eml", entry.uid.0),
            ));
            return Ok(None);
        };
        if entry.uid.0 > self.limits().last_uid {
            tell(problem(what(), &"no UID can be so high here"));
            return Ok(None);
        }
        match self.read_old(&job.source, name).await {
            Ok(file) if u32::try_from(file.size).is_err() => {
                tell(problem(what(), &"it has 4 GiB or more"));
                Ok(None)
            }
            Ok(file) => {
                if let Some(size) = entry.size.filter(|size| *size != file.size) {
                    tell(Event::Note(format!(
                        "{}: the index says {size} octets, its file has {}",
                        what(),
                        file.size
                    )));
                }
                Ok(Some(file))
            }
            Err(error) => {
                tell(problem(what(), &error));
                Ok(None)
            }
        }
    }

    async fn read_old(&self, dir: &D::Dir, name: &str) -> std::io::Result<OldFile<D>> {
        let file = self.disk().open(dir, name, Mode::Read).await?;
        let stat = self.disk().stat(&file).await?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            let count = self.disk().read_at(&file, &mut buffer, size).await?;
            let Some(octets) = buffer.get(..count).filter(|octets| !octets.is_empty()) else {
                break;
            };
            hasher.update(octets);
            size += count as u64;
        }
        Ok(OldFile {
            file,
            size,
            hash: hasher.finish(),
            mtime: i64::try_from(stat.mtime.div_euclid(1_000_000_000)).unwrap_or(0),
            links: stat.links,
            inode: stat.inode,
        })
    }

    async fn read_index(&self, dir: &D::Dir, label: &str) -> Result<Vec<u8>> {
        let what = || format!("read index.json of {label}");
        let file = self
            .disk()
            .open(dir, "index.json", Mode::Read)
            .await
            .during(what)?;
        let mut octets = Vec::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let at = octets.len() as u64;
            let count = self.disk().read_at(&file, &mut buffer, at).await.during(what)?;
            match buffer.get(..count).filter(|read| !read.is_empty()) {
                Some(read) if at < MAX_INDEX => octets.extend_from_slice(read),
                Some(_) => {
                    return Err(Error {
                        refusal: Refusal::TooLarge,
                        context: format!("{}: it is far too large", what()),
                        source: None,
                    });
                }
                None => return Ok(octets),
            }
        }
    }

    /// `msg-{uid}.eml` by UID.
    async fn old_files(&self, dir: &D::Dir, label: &str, tell: Tell<'_>) -> Result<BTreeMap<Uid, String>> {
        let listing = self.disk().list(dir).await;
        let mut names: Vec<String> = listing
            .during(|| format!("list {label}"))?
            .entries
            .into_iter()
            .filter(|entry| !entry.is_dir)
            .map(|entry| entry.name)
            .collect();
        names.sort_unstable();
        let mut files = BTreeMap::new();
        for name in names {
            if let Some(uid) = uid_of_file(&name)
                && let Some(other) = files.insert(uid, name)
            {
                let why = format!("another file has UID {} too", uid.0);
                tell(problem(format!("{other} of {label}"), &why));
            }
        }
        Ok(files)
    }

    async fn put_index_aside(&self, job: &Job<'_, D>) -> Result<()> {
        let label = || format!("put index.json of {} aside", job.label);
        let disk = self.disk();
        disk.replace(&job.source, "index.json", "index.json.migrated")
            .await
            .during(label)?;
        disk.sync_dir(&job.source).await.during(label)
    }
}

/// A file of the earliest layout.
struct OldFile<D: Disk> {
    file: D::File,
    size: u64,
    hash: [u8; 32],
    mtime: i64,
    links: u64,
    inode: u64,
}

/// The row of a message under its old UID.
fn row(entry: &Entry, size: u64, mtime: i64) -> Row {
    let date = entry.date.unwrap_or(DateTime { unix: mtime, zone: 0 });
    Row {
        date: date.unix,
        modseq: rmail_core::mailbox::ModSeq(1),
        keywords: rmail_core::mailbox::KeywordSet(0),
        uid: entry.uid,
        size: u32::try_from(size).unwrap_or(u32::MAX),
        save_date: seconds(Unix::from_secs(u64::try_from(date.unix).unwrap_or(0))),
        zone: date.zone,
        flags: entry.flags.system,
    }
}

/// An index of what there is.
fn by_files(files: &BTreeMap<Uid, String>) -> Index {
    let entry = |uid: &Uid| Entry {
        uid: *uid,
        flags: rmail_core::mailbox::Flags::default(),
        odd_flags: 0,
        date: None,
        odd_date: false,
        size: None,
    };
    Index {
        entries: files.keys().map(entry).collect(),
        ..Index::default()
    }
}

fn problem(what: String, why: &impl fmt::Display) -> Event {
    Event::Problem {
        what,
        why: why.to_string(),
    }
}
