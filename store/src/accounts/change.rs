//! Making, changing and removing users.

use std::io;
use std::time::Duration;

use rmail_core::addr::AccountName;
use rmail_core::auth::password::{Hash, ScramKeys};
use rmail_core::directory::{User, UserChange, UserHash};
use rmail_core::secret::Secret;
use rmail_core::time::Unix;

use super::{AccountError, Accounts, DOMAINS, USER_FILE, USERS, file, is_missing, lock};
use crate::disk::{Disk, Mode};
use crate::error::Error;
use crate::escape::account_dirs;
use crate::file::{ACCOUNT_LOCK, USAGE};
use crate::mailstore::MailStore;

/// How long a change waits for another process's change.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Beside the directories of the users of a domain, as soon as one of them was made or changed by a program.
pub(crate) const LOCK_FILE: &str = ".lock";
/// In the directory of a user who is being removed.
pub(super) const DELETED: &str = ".deleted";

/// What a new user is made of.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// In clear; only its hash is kept. None: nobody can log in.
    pub password: Option<Secret>,
    /// Rounds of PBKDF2 (`auth.pbkdf2_rounds`).
    pub rounds: u32,
    /// May administer.
    pub admin: bool,
    /// MiB, 0: unlimited.
    pub quota_mb: u64,
}

type Result<T> = core::result::Result<T, AccountError>;

impl<D: Disk> Accounts<D> {
    /// Makes a user: its mail tree first, so that a user who exists has one.
    ///
    /// # Errors
    /// [`AccountError::AlreadyExists`], [`AccountError::BadName`], and what disk and store say.
    pub async fn create<S: MailStore>(
        &self,
        store: &S,
        account: &AccountName,
        new: &NewUser,
        now: Unix,
    ) -> Result<()> {
        let user = User {
            password: new
                .password
                .as_ref()
                .map(|password| self.hash(password, new.rounds)),
            admin: new.admin,
            quota_mb: new.quota_mb,
            ..User::default()
        };
        self.create_as(store, account, &user, now).await
    }

    /// The same for a user whose file is at hand, as from a backup.
    ///
    /// # Errors
    /// As [`Accounts::create`].
    pub async fn create_as<S: MailStore>(
        &self,
        store: &S,
        account: &AccountName,
        user: &User,
        now: Unix,
    ) -> Result<()> {
        let (domain, name) = account_dirs(account).ok_or(AccountError::BadName)?;
        let context = |error| failed("create", account, error);
        let users = self
            .make_path(&[DOMAINS, &domain, USERS])
            .await
            .map_err(context)?;
        let _guard = self.writing.lock().await;
        let _lock = self.lock_users(&users).await.map_err(context)?;
        let user_dir = self.make_dir(&users, &name).await.map_err(context)?;
        match self.disk.stat_at(&user_dir, USER_FILE).await {
            Ok(_) => return Err(AccountError::AlreadyExists),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(context(error)),
        }
        if self.disk.stat_at(&user_dir, DELETED).await.is_ok() {
            // A removal was cut short: nobody inherits the mail of a former user.
            store.delete_account(account).await?;
            self.make_dir(&users, &name).await.map_err(context)?;
        }
        store.create_account(account, now).await?;
        let user_dir = self.disk.open_dir(&users, &name).await.map_err(context)?;
        file::unlink(&*self.disk, &user_dir, DELETED)
            .await
            .map_err(context)?;
        self.write(&user_dir, user).await.map_err(context)
    }

    /// Changes a user's file under the lock. `change` says whether there is something to write.
    ///
    /// # Errors
    /// [`AccountError::NoSuchUser`]; [`AccountError::Broken`]: the file is not overwritten; and what the disk says.
    pub async fn change(&self, account: &AccountName, change: impl FnOnce(&mut User) -> bool) -> Result<()> {
        let (domain, name) = account_dirs(account).ok_or(AccountError::NoSuchUser)?;
        let context = |error: io::Error| {
            if is_missing(&error) {
                AccountError::NoSuchUser
            } else {
                failed("change", account, error)
            }
        };
        let users = self
            .open_path(&[DOMAINS, &domain, USERS])
            .await
            .map_err(context)?;
        let _guard = self.writing.lock().await;
        let _lock = self.lock_users(&users).await.map_err(context)?;
        let user_dir = self.disk.open_dir(&users, &name).await.map_err(context)?;
        let (_, parsed) = file::read::<D, User>(&*self.disk, &user_dir, USER_FILE)
            .await
            .map_err(context)?;
        let mut user = parsed.map_err(|reason| {
            AccountError::Broken(format!("{DOMAINS}/{domain}/{USERS}/{name}/{USER_FILE}: {reason}"))
        })?;
        if change(&mut user) {
            self.write(&user_dir, &user).await.map_err(context)?;
        }
        Ok(())
    }

    /// Changes all of this at once.
    ///
    /// # Errors
    /// As [`Accounts::change`].
    pub async fn update(&self, account: &AccountName, change: &UserChange, rounds: u32) -> Result<()> {
        self.change(account, |user| {
            let before = user.clone();
            self.apply(user, change, rounds);
            *user != before
        })
        .await
    }

    /// Makes a user as it would be after this change of one that has nothing.
    ///
    /// # Errors
    /// As [`Accounts::create`].
    pub async fn create_with<S: MailStore>(
        &self,
        store: &S,
        account: &AccountName,
        change: &UserChange,
        rounds: u32,
        now: Unix,
    ) -> Result<()> {
        let mut user = User::default();
        self.apply(&mut user, change, rounds);
        self.create_as(store, account, &user, now).await
    }

    fn apply(&self, user: &mut User, change: &UserChange, rounds: u32) {
        if let Some(password) = &change.password {
            user.password = Some(self.hash_for(user, password, rounds));
        }
        change.apply(user);
    }

    /// Gives a user a new password; sessions that were opened with the old one end. Application passwords stay, and with
    /// them salt and rounds.
    ///
    /// # Errors
    /// As [`Accounts::change`].
    pub async fn set_password(&self, account: &AccountName, password: &Secret, rounds: u32) -> Result<()> {
        self.change(account, |user| {
            user.password = Some(self.hash_for(user, password, rounds));
            true
        })
        .await
    }

    /// Enables or disables a user; its open sessions end.
    ///
    /// # Errors
    /// As [`Accounts::change`].
    pub async fn set_enabled(&self, account: &AccountName, enabled: bool) -> Result<()> {
        self.change(account, |user| {
            core::mem::replace(&mut user.enabled, enabled) != enabled
        })
        .await
    }

    /// Writes the hash of a password that was just found right in our own form, unless the file has another password
    /// by now.
    ///
    /// # Errors
    /// As [`Accounts::change`].
    pub async fn rewrite_hash(
        &self,
        account: &AccountName,
        old: &Hash,
        password: &Secret,
        rounds: u32,
    ) -> Result<()> {
        self.change(account, |user| {
            let same = user.password.as_ref().is_some_and(|UserHash(hash)| hash == old);
            if same {
                user.password = Some(self.hash_for(user, password, rounds));
            }
            same
        })
        .await
    }

    /// Removes a user and its mail, the user first: nobody logs in, and no mail comes, while the mail goes.
    ///
    /// # Errors
    /// [`AccountError::NoSuchUser`], and what disk and store say. A removal that failed half-way can be tried again.
    pub async fn delete<S: MailStore>(&self, store: &S, account: &AccountName) -> Result<()> {
        let (domain, name) = account_dirs(account).ok_or(AccountError::NoSuchUser)?;
        let context = |error: io::Error| {
            if is_missing(&error) {
                AccountError::NoSuchUser
            } else {
                failed("delete", account, error)
            }
        };
        let users = self
            .open_path(&[DOMAINS, &domain, USERS])
            .await
            .map_err(context)?;
        let _guard = self.writing.lock().await;
        let _lock = self.lock_users(&users).await.map_err(context)?;
        let user_dir = self.disk.open_dir(&users, &name).await.map_err(context)?;
        if self.disk.stat_at(&user_dir, DELETED).await.is_err() {
            self.disk.stat_at(&user_dir, USER_FILE).await.map_err(context)?;
            self.disk
                .open(&user_dir, DELETED, Mode::Create)
                .await
                .map_err(context)?;
            self.disk.sync_dir(&user_dir).await.map_err(context)?;
        }
        file::unlink(&*self.disk, &user_dir, USER_FILE)
            .await
            .map_err(context)?;
        self.disk.sync_dir(&user_dir).await.map_err(context)?;
        lock(&self.users).remove(account);
        store.delete_account(account).await?;
        let gone = async {
            file::unlink(&*self.disk, &user_dir, DELETED).await?;
            if self.disk.remove_dir(&users, &name).await.is_err() {
                // A session that still was open may have asked for the lock, or for what the account has.
                for file in [ACCOUNT_LOCK, USAGE] {
                    file::unlink(&*self.disk, &user_dir, file).await?;
                }
                if let Err(error) = self.disk.remove_dir(&users, &name).await {
                    self.mark_remains(&user_dir).await?;
                    return Err(error);
                }
            }
            self.disk.sync_dir(&users).await
        };
        match gone.await {
            Err(error) if !is_missing(&error) => {
                // What a hand left in the directory stays; without a user.json it is no user.
                log::warn!("remove {DOMAINS}/{domain}/{USERS}/{name}: {error}");
            }
            _ => {}
        }
        Ok(())
    }

    /// What a hand left in the directory of a former user is not what a user has whose file is away for a moment.
    async fn mark_remains(&self, user_dir: &D::Dir) -> io::Result<()> {
        let listing = self.disk.list(user_dir).await?;
        if listing.entries.iter().all(|entry| is_trifle(&entry.name)) {
            return Ok(());
        }
        self.disk.open(user_dir, DELETED, Mode::Create).await?;
        self.disk.sync_dir(user_dir).await
    }

    /// A further secret's hash: under the salt of the application passwords if there are any, else under a new one.
    fn hash_for(&self, user: &User, password: &Secret, rounds: u32) -> UserHash {
        match user.salt().filter(|_| !user.app_passwords.is_empty()) {
            Some((salt, rounds)) => UserHash(Hash::Scram(ScramKeys::derive(password, salt, rounds))),
            None => self.hash(password, rounds),
        }
    }

    /// A password's hash in our own form, with a new salt.
    #[must_use]
    pub(super) fn hash(&self, password: &Secret, rounds: u32) -> UserHash {
        let mut random = rmail_core::random::Random::from_seed(self.seed());
        UserHash(Hash::create(password, rounds, &mut random))
    }

    async fn write(&self, dir: &D::Dir, user: &User) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(user).map_err(io::Error::other)?;
        json.push(b'\n');
        file::replace(&*self.disk, dir, USER_FILE, &json).await
    }

    /// Keeps other processes from writing users of this domain. The caller holds `self.writing`, and keeps the file:
    /// the lock ends with it.
    async fn lock_users(&self, users: &D::Dir) -> io::Result<(D::Lock, D::File)> {
        let file = self.disk.open(users, LOCK_FILE, Mode::Create).await?;
        Ok((self.disk.lock(&file, LOCK_WAIT).await?, file))
    }

    pub(super) async fn make_path(&self, levels: &[&str]) -> io::Result<D::Dir> {
        let mut dir = self.disk.root().clone();
        for level in levels {
            dir = self.make_dir(&dir, level).await?;
        }
        Ok(dir)
    }

    /// Opens a directory, and makes it durably first if it is not there.
    async fn make_dir(&self, at: &D::Dir, name: &str) -> io::Result<D::Dir> {
        match self.disk.open_dir(at, name).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.disk.make_dir(at, name).await {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => self.disk.sync_dir(at).await?,
                }
                self.disk.open_dir(at, name).await
            }
            opened => opened,
        }
    }
}

/// What a session that still is open may make in the directory of a former user.
pub(super) fn is_trifle(name: &str) -> bool {
    [ACCOUNT_LOCK, USAGE].contains(&name)
}

pub(super) fn failed(what: &str, account: &AccountName, error: io::Error) -> AccountError {
    AccountError::Store(Error::io(format!("{what} user {account}"), error))
}
