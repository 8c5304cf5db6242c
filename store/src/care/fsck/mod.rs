//! `rmail fsck`: looks for damage in a store that may be in use, and mends it.
//!
//! What is found is looked for again under the account's lock before it is told, so that a mailbox that is just being
//! made, renamed or deleted is no finding; within a mailbox everything is compared as of one moment (see
//! `image`). With [`Options::repair`] each finding is mended at once and the account is then looked through
//! again, until nothing new is found. A repair that was cut short is finished by the next one.
//!
//! `{user}/lost+found/` and `{mail_root}/lost+found/` get what can be neither left in its place nor given a new UID.
//! Names there begin with the mailbox's id (`queue-{n}` for the queue), and end with the name that it had. Nothing in
//! them is ever read or removed.

mod account;
mod beside;
mod caches;
mod files;
mod finding;
mod mailbox;
mod messages;
mod queue;
mod repair;

use std::collections::{BTreeMap, BTreeSet};

use rmail_core::addr::AccountName;
use rmail_core::time::Unix;

use crate::disk::{Disk, STAND_IN, Stat};
use crate::file::FileStore;
use crate::file::io::found;

use super::image::Rules;
use super::places;

pub use finding::{Code, Finding, Outcome, Severity};
use repair::{Draft, Fix};

/// A temporary file that nobody has written to for so long (nanoseconds) belongs to nobody.
const OLD: i128 = 36 * 3_600 * NANOS;

const NANOS: i128 = 1_000_000_000;

/// How often an account is looked through again after repairs.
const ROUNDS: usize = 5;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only these accounts; empty: all, and the queue.
    pub users: Vec<AccountName>,
    /// Mend what is found.
    pub repair: bool,
    /// Read all messages.
    pub deep: bool,
    /// Now.
    pub now: Unix,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An account is begun.
    Account(&'a AccountName),
    /// So many messages more have been looked at.
    Messages(u64),
    /// Something was found.
    Finding(&'a Finding),
}

/// What was looked at, and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Accounts.
    pub accounts: u64,
    /// Mailboxes.
    pub mailboxes: u64,
    /// Messages.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Faults.
    pub faults: u64,
    /// Notes: they do not count.
    pub notes: u64,
    /// Faults that were mended.
    pub repaired: u64,
    /// How often each code was found.
    pub codes: BTreeMap<Code, u64>,
}

impl Summary {
    /// Whether no fault is left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults == self.repaired
    }
}

/// Looks through a store.
///
/// # Errors
/// The mail_root itself cannot be read. All else is a finding.
pub async fn run<D: Disk>(
    store: &FileStore<D>,
    options: &Options,
    tell: &mut dyn FnMut(Event<'_>),
) -> crate::error::Result<Summary> {
    let disk = store.disk();
    let context = |error| crate::Error::io("look through the mail_root", error);
    let root = disk.stat_dir(disk.root()).await.map_err(context)?;
    let mut run = Run {
        store,
        options,
        rules: store.rules(),
        owner: root.owner,
        summary: Summary::default(),
        told: BTreeSet::new(),
        tell,
    };
    for domain in places::domains(disk).await.map_err(context)? {
        let wanted = |account: &Option<AccountName>| match account {
            Some(account) => options.users.is_empty() || options.users.contains(account),
            None => options.users.is_empty(),
        };
        if options.users.is_empty() {
            run.domain(&domain).await;
        }
        for user in places::users(disk, &domain).await.map_err(context)? {
            if wanted(&user.account) {
                run.user(&user).await;
            }
        }
    }
    if options.users.is_empty() {
        run.root().await;
        run.queue().await;
    }
    Ok(run.summary)
}

/// A run.
struct Run<'a, D: Disk> {
    store: &'a FileStore<D>,
    options: &'a Options,
    rules: Rules,
    /// Whose the mail_root is.
    owner: u32,
    summary: Summary,
    /// Keys of what was told already.
    told: BTreeSet<String>,
    tell: &'a mut dyn FnMut(Event<'_>),
}

impl<D: Disk> Run<'_, D> {
    fn disk(&self) -> &D {
        self.store.disk()
    }

    /// Mends drafts if that is wanted, and tells them. How many were mended.
    async fn settle(&mut self, drafts: Vec<Draft<D>>) -> usize {
        let mut mended = 0;
        for draft in drafts {
            if self.told.contains(&draft.key()) {
                continue;
            }
            let mut finding = draft.finding.clone();
            if self.options.repair {
                finding.outcome = repair::mend(self.store, &draft).await;
            }
            self.told.insert(draft.key());
            *self.summary.codes.entry(finding.code).or_default() += 1;
            match finding.code.severity() {
                Severity::Note => self.summary.notes += 1,
                Severity::Fault => self.summary.faults += 1,
            }
            if let Outcome::Repaired(_) = finding.outcome {
                mended += 1;
                // Should it come back, it is told again.
                self.told.remove(&draft.key());
                if finding.code.severity() == Severity::Fault {
                    self.summary.repaired += 1;
                }
            }
            (self.tell)(Event::Finding(&finding));
        }
        mended
    }

    /// Temporary files of dead processes in a directory.
    async fn temporary(&self, dir: &D::Dir, path: &str, drafts: &mut Vec<Draft<D>>) {
        let disk = self.disk();
        let listing = match disk.list(dir).await {
            Ok(listing) => listing,
            Err(error) => {
                drafts.push(Draft::unreadable(path, &error));
                return;
            }
        };
        let limit = i128::from(self.options.now.secs()) * NANOS - OLD;
        for entry in listing.entries {
            let temporary = entry.name.starts_with(STAND_IN) || entry.name.ends_with(".tmp");
            if entry.is_dir || !temporary {
                continue;
            }
            let stat = found(disk.stat_link(dir, &entry.name).await);
            if let Ok(Some(stat)) = stat
                && stat.mtime.max(stat.ctime) < limit
            {
                let detail = format!("{} octets, untouched for more than 36 hours", stat.size);
                let fix = Fix::Unlink {
                    dir: dir.clone(),
                    name: entry.name.clone(),
                };
                let path = join(path, &entry.name);
                drafts.push(Draft::new(Code::TemporaryLeft, path, detail, fix));
            }
        }
    }

    /// Mode and owner of a name.
    fn access(&self, stat: &Stat, dir: &D::Dir, name: &str, path: &str, drafts: &mut Vec<Draft<D>>) {
        let (wanted, others) = if stat.is_dir {
            (0o700, 0o027)
        } else {
            (0o600, 0o026)
        };
        // The group may read: that is an operator's choice.
        if stat.mode & wanted != wanted || stat.mode & others != 0 {
            let detail = format!("its mode is {:04o}, not {wanted:04o}", stat.mode);
            let fix = Fix::Mode {
                dir: dir.clone(),
                name: name.to_owned(),
                mode: wanted,
            };
            drafts.push(Draft::new(Code::Mode, path.to_owned(), detail, fix));
        }
        if stat.owner != self.owner {
            let detail = format!(
                "it belongs to user {}, the mail_root to user {}; `chown -R` mends it",
                stat.owner, self.owner
            );
            drafts.push(Draft::new(Code::Owner, path.to_owned(), detail, Fix::None));
        }
    }

    /// The same of a name that may not be there.
    async fn access_at(&self, dir: &D::Dir, name: &str, path: &str, drafts: &mut Vec<Draft<D>>) {
        match found(self.disk().stat_link(dir, name).await) {
            Ok(Some(stat)) => self.access(&stat, dir, name, path, drafts),
            Ok(None) => {}
            Err(error) => drafts.push(Draft::unreadable(path, &error)),
        }
    }

    /// The mail_root's own directory.
    async fn root(&mut self) {
        let mut drafts = Vec::new();
        let root = self.disk().root().clone();
        self.temporary(&root, "", &mut drafts).await;
        self.settle(drafts).await;
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}
