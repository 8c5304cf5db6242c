//! An account's own files: its lock, the counter of UIDVALIDITY, subscriptions.

use std::collections::BTreeSet;

use rmail_core::addr::AccountName;
use rmail_core::imap::server::MailboxEntry;
use rmail_core::mailbox::{MailboxName, UidValidity};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;
use serde::{Deserialize, Serialize};

use crate::accounts::{LOCK_FILE, USER_FILE};
use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};
use crate::mailstore::DEFAULT_MAILBOXES;

use super::FileStore;
use super::io::{During as _, found, read_file, remove_tree, replace_file, settle_dir};
use super::ledger::USAGE;
use super::metadata::METADATA;
use super::tree::dir_name;

/// In the user's directory, as long as somebody has asked for the lock once.
pub(crate) const ACCOUNT_LOCK: &str = "account.lock";

/// The account's lock, and the user's directory.
pub(super) struct AccountHold<D: Disk> {
    pub(super) dir: D::Dir,
    /// The lock's file, which counts the changes of the list: see [`super::list_watch`].
    pub(super) file: D::File,
    pub(super) inode: u64,
    _lock: D::Lock,
}

/// Who wants an account's tree to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// Whoever makes the user.
    Owner,
    /// Mail, or a session of the user: not if the user has been removed meanwhile.
    User,
}

/// `account.json`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counter {
    pub(crate) version: u32,
    pub(crate) last_uid_validity: u32,
}

/// `subscriptions.json`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscriptions {
    pub(crate) version: u32,
    pub(crate) mailboxes: Vec<String>,
}

pub(crate) const VERSION: u32 = 1;

/// The highest UIDVALIDITY that a clock gives (in the year 2105): one that was wrong once must not use up the counter.
const LATEST: u32 = u32::MAX - (1 << 24);

/// Seconds from now up to which a UIDVALIDITY from elsewhere moves the counter: it stands for a time (RFC 9051 §2.3.1.1).
pub(crate) const FAR: u64 = 10 * 365 * 86_400;

fn counter_label(account: &AccountName) -> String {
    format!("count UIDVALIDITY of {account}")
}

impl<D: Disk> FileStore<D> {
    /// Takes the account's lock.
    ///
    /// # Errors
    /// `NoSuchMailbox` if the account has no mailboxes, or none any more when it was our turn.
    pub(super) async fn lock_account(&self, account: &AccountName) -> Result<AccountHold<D>> {
        let dir = self.user_dir(account).await?.ok_or(Refusal::NoSuchMailbox)?;
        let held = self.lock_dir(account, dir).await?;
        let tree = found(self.disk().stat_at(&held.dir, "mailboxes").await);
        if tree.during(|| format!("lock account {account}"))?.is_none() {
            self.leave_removed(account, held).await;
            return Err(Refusal::NoSuchMailbox.into());
        }
        Ok(held)
    }

    async fn lock_dir(&self, account: &AccountName, dir: D::Dir) -> Result<AccountHold<D>> {
        let held = self.lock_user(dir).await;
        held.map_err(|error| Error {
            context: format!("{} {account}", error.context),
            ..error
        })
    }

    /// Takes the lock of the account with this directory.
    pub(super) async fn lock_user(&self, dir: D::Dir) -> Result<AccountHold<D>> {
        let label = || "lock account".to_owned();
        loop {
            let file = self.disk().open(&dir, ACCOUNT_LOCK, Mode::Create).await;
            let file = file.during(label)?;
            let wait = self.limits().lock_wait;
            let lock = self.disk().lock(&file, wait).await.during(label)?;
            // Deleting an account removes the file.
            let inode = self.disk().stat(&file).await.during(label)?.inode;
            let named = found(self.disk().stat_at(&dir, ACCOUNT_LOCK).await).during(label)?;
            if named.is_some_and(|named| named.inode == inode) {
                return Ok(AccountHold {
                    dir,
                    file,
                    inode,
                    _lock: lock,
                });
            }
        }
    }

    /// Makes the user's directory and all above it, durably, and takes the account's lock. Those of a user are there, and
    /// perhaps not durable, because they were made by hand.
    async fn make_user_dir(&self, account: &AccountName, is_user: bool) -> Result<AccountHold<D>> {
        let (local, domain) = account.parts();
        let label = || format!("make the directory of {account}");
        let mut dir = self.disk().root().clone();
        for name in ["domains", &dir_name(domain)?, "users", &dir_name(local)?] {
            dir = if is_user {
                let next = found(self.disk().open_dir(&dir, name).await).during(label)?;
                self.disk().sync_dir(&dir).await.during(label)?;
                next.ok_or(Refusal::NoSuchUser)?
            } else {
                settle_dir(self.disk(), &dir, name).await.during(label)?
            };
        }
        let held = self.lock_dir(account, dir).await;
        held.map_err(|error| {
            let removed = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
            match &error.source {
                Some(source) if is_user && removed(source) => Refusal::NoSuchUser.into(),
                _ => error,
            }
        })
    }

    /// Refuses an account without a user, where users are made by programs: one who is removed has lost its file already.
    /// False: they are not.
    async fn must_be_user(&self, account: &AccountName) -> Result<bool> {
        let label = || format!("look for the user {account}");
        let local = account.parts().0;
        let Some(dir) = self.users_dir(account).await.during(label)? else {
            return Ok(false);
        };
        if found(self.disk().stat_at(&dir, LOCK_FILE).await)
            .during(label)?
            .is_none()
        {
            return Ok(false);
        }
        let user = self.disk().open_dir(&dir, &dir_name(local)?).await;
        let file = match found(user).during(label)? {
            Some(user) => found(self.disk().stat_at(&user, USER_FILE).await).during(label)?,
            None => None,
        };
        file.map(|_| true).ok_or_else(|| Refusal::NoSuchUser.into())
    }

    /// The directory of the domain's users.
    async fn users_dir(&self, account: &AccountName) -> std::io::Result<Option<D::Dir>> {
        let mut dir = self.disk().root().clone();
        let domain = dir_name(account.parts().1).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        for name in ["domains", &domain, "users"] {
            match found(self.disk().open_dir(&dir, name).await)? {
                Some(next) => dir = next,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// Gives the lock of a removed user back, and takes away what taking it has left: who removed the user may have found
    /// the directory not empty for it. What fails here leaves an empty directory.
    async fn leave_removed(&self, account: &AccountName, held: AccountHold<D>) {
        let _ = self.disk().unlink(&held.dir, ACCOUNT_LOCK).await;
        drop(held);
        if let (Ok(Some(users)), Ok(local)) = (self.users_dir(account).await, dir_name(account.parts().0)) {
            let _ = self.disk().remove_dir(&users, &local).await;
        }
    }

    /// Makes the account's tree unless it is there.
    pub(super) async fn ensure_account(&self, account: &AccountName, maker: Maker, now: Unix) -> Result<()> {
        match self.resolve(account, &MailboxName::inbox()).await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => {
                self.make_account(account, maker, now).await
            }
            other => other.map(drop),
        }
    }

    /// The same if it is known not to be there, or not to be whole.
    pub(super) async fn make_account(&self, account: &AccountName, maker: Maker, now: Unix) -> Result<()> {
        let inbox = MailboxName::inbox();
        let is_user = maker == Maker::User && self.must_be_user(account).await?;
        let held = self.make_user_dir(account, is_user).await?;
        if is_user && let Err(error) = self.must_be_user(account).await {
            // Whoever removes a user takes the file first, and then this lock: the tree is not made again behind its back.
            self.leave_removed(account, held).await;
            return Err(error);
        }
        settle_dir(self.disk(), &held.dir, "mailboxes")
            .await
            .during(|| format!("make the mailboxes of {account}"))?;
        self.registry().set_account(account, None);
        if self.has_mailbox(account, &inbox).await? {
            return Ok(());
        }
        self.list_changes(account, &held, self.make_defaults(account, &held, now))
            .await
    }

    async fn make_defaults(&self, account: &AccountName, held: &AccountHold<D>, now: Unix) -> Result<()> {
        let inbox = MailboxName::inbox();
        let mut subscribed = self.subscriptions(&held.dir).await?.unwrap_or_default();
        subscribed.insert(inbox.clone());
        for (name, special) in DEFAULT_MAILBOXES {
            let name = MailboxName::new(name).map_err(|_| Refusal::BadMailboxName)?;
            if name.is_inbox() {
                // Last: with it the account is there.
                continue;
            }
            if !self.has_mailbox(account, &name).await? {
                self.make_mailbox(account, held, &name, special, now).await?;
            }
            subscribed.insert(name);
        }
        self.save_subscriptions(held, &subscribed).await?;
        self.make_mailbox(account, held, &inbox, &[], now).await
    }

    /// Removes all mail of an account; what else lies in the user's directory stays.
    pub(super) async fn remove_account(&self, account: &AccountName) -> Result<()> {
        let Some(dir) = self.user_dir(account).await? else {
            return Ok(());
        };
        let held = self.lock_dir(account, dir).await?;
        self.list_changes(account, &held, self.remove_mail(account, &held))
            .await
    }

    async fn remove_mail(&self, account: &AccountName, held: &AccountHold<D>) -> Result<()> {
        let label = || format!("remove the mail of {account}");
        for (name, status) in self.walk(account).await? {
            if status.is_some() {
                let level = self.level_dir(account, &name).await?;
                if let Some(level) = level {
                    let mailbox = self.open_mailbox(account, &level, held).await?;
                    // Already gone: a removal was cut short.
                    match self.set_gone(&mailbox).await {
                        Err(error) if error.refusal != Refusal::NoSuchMailbox => return Err(error),
                        _ => {}
                    }
                    self.forget_gone(&mailbox);
                }
            }
        }
        self.registry().set_account(account, None);
        for name in ["mailboxes", "deleted"] {
            remove_tree(self.disk(), &held.dir, name).await.during(label)?;
        }
        // Other processes may have the record open: they must not go on with it.
        let ledger = self.ledger(account).await?;
        self.lock_ledger(&ledger).await?.void().await?;
        self.registry().forget_ledger(account);
        for name in [
            USAGE,
            "account.json",
            "subscriptions.json",
            METADATA,
            ACCOUNT_LOCK,
        ] {
            found(self.disk().unlink(&held.dir, name).await).during(label)?;
        }
        self.disk().sync_dir(&held.dir).await.during(label)
    }

    /// Takes so many successive values of UIDVALIDITY, durably, and returns the first.
    pub(super) async fn take_uid_validity(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        count: u32,
        now: Unix,
    ) -> Result<u32> {
        let last = self.last_uid_validity(account, held).await?;
        let now = u32::try_from(now.secs()).map_or(LATEST, |now| now.min(LATEST));
        let first = last.checked_add(1).ok_or(Refusal::MailboxFull)?.max(now);
        let last = first.checked_add(count - 1).ok_or(Refusal::MailboxFull)?;
        self.save_uid_validity(account, held, last).await?;
        Ok(first)
    }

    /// Sees to it that a UIDVALIDITY which came from elsewhere is not given out again. One far in the future is left
    /// alone: it would use up the counter.
    pub(super) async fn reserve_uid_validity(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        value: UidValidity,
        now: Unix,
    ) -> Result<()> {
        let last = self.last_uid_validity(account, held).await?;
        let far = now.secs().saturating_add(FAR);
        if value.0 > last && u64::from(value.0) < far {
            self.save_uid_validity(account, held, value.0).await?;
        }
        Ok(())
    }

    /// The highest UIDVALIDITY that was given out.
    async fn last_uid_validity(&self, account: &AccountName, held: &AccountHold<D>) -> Result<u32> {
        let bytes = read_file(self.disk(), &held.dir, "account.json")
            .await
            .during(|| counter_label(account))?;
        let counter = bytes.and_then(|bytes| serde_json::from_slice::<Counter>(&bytes).ok());
        Ok(match counter {
            Some(counter) => counter.last_uid_validity,
            None => {
                // Lost, or a new account: above all that exist.
                let levels = self.walk(account).await?;
                let values = levels.values().flatten().map(|status| status.uid_validity.0);
                values.max().unwrap_or(0)
            }
        })
    }

    async fn save_uid_validity(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        last_uid_validity: u32,
    ) -> Result<()> {
        let counter = Counter {
            version: VERSION,
            last_uid_validity,
        };
        let bytes = serde_json::to_vec(&counter).unwrap_or_default();
        replace_file(self.disk(), &held.dir, "account.json", &bytes)
            .await
            .during(|| counter_label(account))
    }

    /// What the account is subscribed to; `None` if there is no file.
    pub(super) async fn subscriptions(&self, user: &D::Dir) -> Result<Option<BTreeSet<MailboxName>>> {
        let label = || "read subscriptions.json".to_owned();
        let Some(bytes) = read_file(self.disk(), user, "subscriptions.json")
            .await
            .during(label)?
        else {
            return Ok(None);
        };
        let file: Subscriptions = serde_json::from_slice(&bytes).map_err(|error| Error {
            refusal: Refusal::Storage,
            context: format!("{}: {error}", label()),
            source: None,
        })?;
        let names = file.mailboxes.iter();
        Ok(Some(
            names.filter_map(|name| MailboxName::new(name).ok()).collect(),
        ))
    }

    pub(super) async fn save_subscriptions(
        &self,
        held: &AccountHold<D>,
        names: &BTreeSet<MailboxName>,
    ) -> Result<()> {
        let file = Subscriptions {
            version: VERSION,
            mailboxes: names.iter().map(|name| name.as_str().to_owned()).collect(),
        };
        let bytes = serde_json::to_vec(&file).unwrap_or_default();
        replace_file(self.disk(), &held.dir, "subscriptions.json", &bytes)
            .await
            .during(|| "write subscriptions.json".to_owned())
    }

    pub(super) async fn set_subscribed(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        on: bool,
    ) -> Result<()> {
        let held = self.lock_account(account).await?;
        // The user's directory may be there without mail: before the first, and after the account was deleted.
        self.mailboxes_dir(account).await?.ok_or(Refusal::NoSuchMailbox)?;
        let mut names = self.subscriptions(&held.dir).await?.unwrap_or_default();
        let changed = if on {
            names.insert(mailbox.clone())
        } else {
            names.remove(mailbox)
        };
        if changed {
            self.list_changes(account, &held, self.save_subscriptions(&held, &names))
                .await?;
        }
        Ok(())
    }

    pub(super) async fn list_account(&self, account: &AccountName) -> Result<Vec<MailboxEntry>> {
        let Some(user) = self.user_dir(account).await? else {
            return Ok(Vec::new());
        };
        self.hear_list(account, &user).await;
        let levels = self.walk(account).await?;
        let mut subscribed = self.subscriptions(&user).await?.unwrap_or_default();
        let mut entries: Vec<MailboxEntry> = Vec::with_capacity(levels.len());
        let mut parents: BTreeSet<MailboxName> = BTreeSet::new();
        for (name, _) in levels.iter().filter(|(_, status)| status.is_some()) {
            let mut parent = name.parent();
            while let Some(name) = parent {
                parent = name.parent();
                parents.insert(name);
            }
        }
        for (name, status) in levels {
            if status.is_none() && !parents.contains(&name) {
                // The shell of a mailbox that was not made to the end, or was deleted.
                continue;
            }
            entries.push(MailboxEntry {
                selectable: status.is_some(),
                exists: true,
                id: status.as_ref().map(|status| status.id),
                special_use: status.map(|status| status.special_use).unwrap_or_default(),
                subscribed: subscribed.remove(&name),
                name,
            });
        }
        entries.extend(subscribed.into_iter().map(|name| MailboxEntry {
            name,
            selectable: false,
            exists: false,
            special_use: Vec::new(),
            subscribed: true,
            id: None,
        }));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}
