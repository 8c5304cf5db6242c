//! From names to open mailboxes: account directories, levels, and what lies in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxName, MailboxRef, ModSeq, Snapshot, Uid, UidValidity};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::account::AccountHold;
use super::cache::scan_dir;
use super::escape::{escape, unescape};
use super::hold::Hold;
use super::io::{During as _, found, open_or_make_dir, read_file, replace_file};
use super::levels::Since;
use super::mailbox::{Mailbox, Parts, View};
use super::read_only::is_read_only;
use super::state::State;
use super::status::Status;

/// What a level's directory says of itself.
pub(super) enum Level {
    /// A mailbox.
    Mailbox(Status),
    /// A mailbox whose `status.json` is lost or broken, and why.
    Broken(String),
    /// Deleted; its leavings may go.
    Gone,
    /// It only has children, or nothing.
    Plain,
}

/// A level of the tree.
pub(super) struct Found<D: Disk> {
    pub(super) dir: D::Dir,
    pub(super) level: Level,
}

/// The directory name of a level, or of a part of an account's name.
pub(super) fn dir_name(text: &str) -> Result<String> {
    escape(text).ok_or_else(|| Refusal::BadMailboxName.into())
}

impl<D: Disk> FileStore<D> {
    /// The account's `mailboxes`.
    pub(super) async fn mailboxes_dir(&self, account: &AccountName) -> Result<Option<D::Dir>> {
        if let Some(dir) = self.registry().account(account) {
            return Ok(Some(dir));
        }
        let Some(user) = self.user_dir(account).await? else {
            return Ok(None);
        };
        let label = || format!("open the mailboxes of {account}");
        let dir = found(self.disk().open_dir(&user, "mailboxes").await).during(label)?;
        if let Some(dir) = &dir {
            self.registry().set_account(account, Some(dir.clone()));
        }
        Ok(dir)
    }

    /// The user's directory.
    pub(super) async fn user_dir(&self, account: &AccountName) -> Result<Option<D::Dir>> {
        let (local, domain) = account.parts();
        let mut dir = self.disk().root().clone();
        for name in ["domains", &dir_name(domain)?, "users", &dir_name(local)?] {
            let next = self.disk().open_dir(&dir, name).await;
            match found(next).during(|| format!("open the directory of {account}"))? {
                Some(next) => dir = next,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// The directory of a mailbox's level; `None` if there is none.
    pub(super) async fn level_dir(
        &self,
        account: &AccountName,
        name: &MailboxName,
    ) -> Result<Option<D::Dir>> {
        // A directory that was kept open may be of an account that has been deleted and made again.
        for _ in 0..2 {
            let cached = self.registry().account(account).is_some();
            let Some(mut dir) = self.mailboxes_dir(account).await? else {
                return Ok(None);
            };
            let mut missing = false;
            for (depth, level) in name.levels().enumerate() {
                let label = || format!("open {name} of {account}");
                let level = dir_name(level)?;
                let parent = match depth {
                    0 => Some(dir.clone()),
                    _ => found(self.disk().open_dir(&dir, "children").await).during(label)?,
                };
                let next = match &parent {
                    Some(parent) => found(self.disk().open_dir(parent, &level).await).during(label)?,
                    None => None,
                };
                match next {
                    Some(next) => dir = next,
                    None => {
                        missing = true;
                        break;
                    }
                }
            }
            if !missing {
                return Ok(Some(dir));
            }
            if !cached {
                return Ok(None);
            }
            self.registry().set_account(account, None);
        }
        Ok(None)
    }

    /// The directory of a level and what it is.
    pub(super) async fn find(&self, account: &AccountName, name: &MailboxName) -> Result<Option<Found<D>>> {
        match self.level_dir(account, name).await? {
            Some(dir) => {
                let level = self.level(&dir).await?;
                Ok(Some(Found { dir, level }))
            }
            None => Ok(None),
        }
    }

    /// What a level's directory is.
    pub(super) async fn level(&self, dir: &D::Dir) -> Result<Level> {
        let label = || "read status.json".to_owned();
        if let Some(bytes) = read_file(self.disk(), dir, "status.json").await.during(label)? {
            return Ok(match Status::decode(&bytes) {
                Ok(status) if status.gone => Level::Gone,
                Ok(status) => Level::Mailbox(status),
                Err(why) => Level::Broken(why),
            });
        }
        let Some(shards) = found(self.disk().open_dir(dir, "shards").await).during(label)? else {
            return Ok(Level::Plain);
        };
        Ok(
            if self.disk().list(&shards).await.during(label)?.entries.is_empty() {
                Level::Plain
            } else {
                Level::Broken("it is missing".to_owned())
            },
        )
    }

    /// Opens a mailbox by name.
    ///
    /// # Errors
    /// `NoSuchMailbox`, also for a level that cannot be selected.
    pub(super) async fn resolve(&self, account: &AccountName, name: &MailboxName) -> Result<Arc<Mailbox<D>>> {
        if let Some(mailbox) = self.opened(account, name).await? {
            return Ok(mailbox);
        }
        let dir = self.level_dir(account, name).await?;
        self.resolve_in(account, name, &dir.ok_or(Refusal::NoSuchMailbox)?)
            .await
    }

    /// The same for a level that was found in this directory.
    pub(super) async fn resolve_in(
        &self,
        account: &AccountName,
        name: &MailboxName,
        dir: &D::Dir,
    ) -> Result<Arc<Mailbox<D>>> {
        if let Some(mailbox) = self.try_open(account, dir, None).await? {
            return Ok(mailbox);
        }
        // It needs mending, under the account's lock; by then it may be another one.
        let held = self.lock_account(account).await?;
        let dir = self.level_dir(account, name).await?;
        let dir = dir.ok_or(Refusal::NoSuchMailbox)?;
        self.open_mailbox(account, &dir, &held).await
    }

    /// A mailbox of the uppermost level that is open already: one look at its name and one at its `state`.
    pub(super) async fn opened(
        &self,
        account: &AccountName,
        name: &MailboxName,
    ) -> Result<Option<Arc<Mailbox<D>>>> {
        let mut levels = name.levels();
        let (Some(level), None) = (levels.next(), levels.next()) else {
            return Ok(None);
        };
        let Some(dir) = self.registry().account(account) else {
            return Ok(None);
        };
        let named = self.disk().stat_at(&dir, &dir_name(level)?).await;
        let named = found(named).during(|| format!("look for {name} of {account}"))?;
        let Some(mailbox) = named.and_then(|stat| self.registry().by_key((stat.device, stat.inode))) else {
            return Ok(None);
        };
        let gone = self.read_state(&mailbox).await?.is_some_and(|state| state.gone);
        Ok((!gone).then_some(mailbox))
    }

    /// Opens the mailbox in a directory that is in its place, for one who has the account's lock.
    pub(super) async fn open_mailbox(
        &self,
        account: &AccountName,
        dir: &D::Dir,
        held: &AccountHold<D>,
    ) -> Result<Arc<Mailbox<D>>> {
        let opened = self.try_open(account, dir, Some(held)).await?;
        opened.ok_or_else(|| Refusal::NoSuchMailbox.into())
    }

    /// Opens the mailbox in a directory. `None`: that takes the account's lock.
    async fn try_open(
        &self,
        account: &AccountName,
        dir: &D::Dir,
        held: Option<&AccountHold<D>>,
    ) -> Result<Option<Arc<Mailbox<D>>>> {
        let label = || format!("open a mailbox of {account}");
        let stat = self.disk().stat_dir(dir).await.during(label)?;
        let key = (stat.device, stat.inode);
        if let Some(mailbox) = self.registry().by_key(key) {
            // Deleted, and perhaps made again in the same directory, by another process.
            let gone = self.read_state(&mailbox).await?.is_some_and(|state| state.gone);
            if !gone {
                return Ok(Some(mailbox));
            }
            self.registry().forget(&mailbox);
        }
        let level = match self.level(dir).await? {
            Level::Mailbox(status) if self.is_copy(account, &status, key).await? => {
                Level::Broken("it is a copy of another mailbox's".to_owned())
            }
            level => level,
        };
        let status = match (level, held) {
            (Level::Mailbox(status), _) => status,
            (Level::Gone | Level::Plain, _) => return Err(Refusal::NoSuchMailbox.into()),
            (Level::Broken(_), None) => return Ok(None),
            (Level::Broken(why), Some(held)) => {
                log::error!("status.json of a mailbox of {account} is rebuilt: {why}");
                self.rebuild(account, dir, held).await?
            }
        };
        let shards = open_or_make_dir(self.disk(), dir, "shards").await.during(label)?;
        let state = self.open_state(dir).await.during(label)?;
        let reference = MailboxRef {
            account: account.clone(),
            id: status.id,
        };
        let mailbox = self.registry().enter(Parts {
            reference,
            key,
            dir: dir.clone(),
            shards,
            state,
        });
        let state = self.read_state(&mailbox).await?;
        if state.is_some_and(|state| state.gone) {
            if held.is_none() {
                self.registry().forget(&mailbox);
                return Ok(None);
            }
            // Whoever deletes has the account's lock: this one died before the directory moved.
            self.revive(&mailbox).await?;
        }
        if state.is_none() && held.is_none() && !matches!(self.level(dir).await?, Level::Mailbox(_)) {
            // It was deleted since it was found, so that `state` is a new one that knows nothing of it.
            self.registry().forget(&mailbox);
            return Ok(None);
        }
        Ok(Some(mailbox))
    }

    /// Whether another directory is open under the identity in this `status.json`: somebody has copied one of them.
    async fn is_copy(&self, account: &AccountName, status: &Status, key: (u64, u64)) -> Result<bool> {
        let reference = MailboxRef {
            account: account.clone(),
            id: status.id,
        };
        let other = self.registry().by_reference(&reference);
        let Some(other) = other.filter(|other| other.key != key) else {
            return Ok(false);
        };
        // The account was deleted and made again, with a new count of ids: that one is no more.
        let gone = self.read_state(&other).await?.is_some_and(|state| state.gone);
        if gone {
            self.registry().forget(&other);
        }
        Ok(!gone)
    }

    /// Makes `status.json` anew from the names, with a new UIDVALIDITY.
    async fn rebuild(&self, account: &AccountName, dir: &D::Dir, held: &AccountHold<D>) -> Result<Status> {
        if let Level::Mailbox(status) = self.level(dir).await? {
            let stat = self.disk().stat_dir(dir).await;
            let stat = stat.during(|| format!("open a mailbox of {account}"))?;
            let key = (stat.device, stat.inode);
            if !self.is_copy(account, &status, key).await? {
                // Somebody else was first.
                return Ok(status);
            }
        }
        let label = || format!("rebuild a mailbox of {account}");
        if self
            .finish_switch(dir, &format!("a mailbox of {account}"))
            .await?
            && let Level::Mailbox(status) = self.level(dir).await?
        {
            return Ok(status);
        }
        let shards = open_or_make_dir(self.disk(), dir, "shards").await.during(label)?;
        let (mut uid, mut modseq) = (Uid(0), ModSeq(1));
        for entry in self.disk().list(&shards).await.during(label)?.entries {
            if entry.is_dir {
                let shard = self.disk().open_dir(&shards, &entry.name).await.during(label)?;
                for (row, _) in scan_dir(self.disk(), &shard).await.during(label)?.rows {
                    uid = uid.max(row.uid);
                    modseq = modseq.max(row.modseq);
                }
            }
        }
        let now = self.disk_now(dir).await?;
        let first = self.take_uid_validity(account, held, 1, now).await?;
        let status = Status {
            uid_ceiling: uid.0.saturating_add(1),
            modseq_ceiling: ModSeq(modseq.0 + 1),
            ..Status::new(UidValidity(first), Vec::new())
        };
        replace_file(self.disk(), dir, "status.json", &status.encode())
            .await
            .during(label)?;
        Ok(status)
    }

    /// The time by the file system's clock, where no caller has told it.
    pub(super) async fn disk_now(&self, dir: &D::Dir) -> Result<Unix> {
        let label = || "read the clock of the file system".to_owned();
        let file = self.disk().create_unnamed(dir).await.during(label)?;
        self.disk().write_at(&file, b"t", 0).await.during(label)?;
        let stamp = self.disk().stat(&file).await.during(label)?.mtime;
        Ok(Unix::from_secs(u64::try_from(stamp / 1_000_000_000).unwrap_or(0)))
    }

    /// A mailbox that this process has open.
    pub(super) fn by_reference(&self, reference: &MailboxRef) -> Result<Arc<Mailbox<D>>> {
        self.registry()
            .by_reference(reference)
            .ok_or_else(|| Refusal::NoSuchMailbox.into())
    }

    /// What a mailbox holds now: one read of `state` if nothing has changed.
    pub(super) async fn look(&self, mailbox: &Mailbox<D>) -> Result<(View, State)> {
        if mailbox.state().read_only && self.is_still_read_only(mailbox).await {
            return self.look_read_only(mailbox).await;
        }
        let state = self.read_state(mailbox).await?;
        if let Some((view, state)) = current(mailbox, state) {
            return Ok((view, state));
        }
        let cold = mailbox.is_cold();
        let hold: Hold<'_, D> = match self.hold_fresh(mailbox).await {
            Err(error) if is_read_only(&error) => return self.look_read_only(mailbox).await,
            hold => hold?,
        };
        let state = hold.state;
        drop(hold);
        if cold {
            self.save(mailbox).await;
        }
        match mailbox.view() {
            Some(view) => Ok((view, state)),
            None => Err(Refusal::Storage.into()),
        }
    }

    /// What a mailbox holds after something was done to it: a failure to look does not undo that.
    pub(super) async fn look_after(&self, mailbox: &Mailbox<D>) -> Result<Snapshot> {
        match self.look(mailbox).await {
            Ok((view, _)) => Ok(view.snapshot),
            Err(error) => mailbox.view().map(|view| view.snapshot).ok_or(error),
        }
    }

    /// All levels of an account's tree, in the order of their names, with the status of mailboxes.
    pub(super) async fn walk(&self, account: &AccountName) -> Result<BTreeMap<MailboxName, Option<Status>>> {
        let cached = self.registry().account(account).is_some();
        let levels = self.walk_once(account).await?;
        if levels.is_empty() && cached {
            // A directory that was kept open may be of an account that has been deleted and made again.
            self.registry().set_account(account, None);
            return self.walk_once(account).await;
        }
        Ok(levels)
    }

    async fn walk_once(&self, account: &AccountName) -> Result<BTreeMap<MailboxName, Option<Status>>> {
        let mut found_levels: BTreeMap<MailboxName, Option<Status>> = BTreeMap::new();
        let Some(top) = self.mailboxes_dir(account).await? else {
            return Ok(found_levels);
        };
        let label = || format!("list the mailboxes of {account}");
        let mut since = Since::default();
        let mut work = vec![(top, String::new())];
        while let Some((dir, prefix)) = work.pop() {
            for entry in self.disk().list(&dir).await.during(label)?.entries {
                let Some(level) = unescape(&entry.name).filter(|_| entry.is_dir) else {
                    continue;
                };
                let text = format!("{prefix}{level}");
                // What is no name of ours (not NFC, too deep) was not made by us.
                let Some(name) = MailboxName::new(&text).ok().filter(|name| name.as_str() == text) else {
                    log::warn!("{text:?} of {account} is no mailbox name");
                    continue;
                };
                let Some(level) = self.look_at_level(&dir, &entry.name, &mut since).await? else {
                    continue;
                };
                found_levels.insert(name, level.status);
                if let Some(children) = level.children {
                    work.push((children, format!("{text}/")));
                }
            }
        }
        Ok(found_levels)
    }
}

/// The view, if it is what `state` says.
pub(super) fn current<D: Disk>(mailbox: &Mailbox<D>, state: Option<State>) -> Option<(View, State)> {
    let state = state.filter(|state| !state.gone && state.begun == state.done)?;
    let view = mailbox.view()?;
    (view.snapshot.modseq == state.done).then_some((view, state))
}
