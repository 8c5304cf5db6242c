//! Users and domains on disk:
//!
//! ```text
//! domains/{domain}/domain.json
//! domains/{domain}/aliases.json                 where mail for other addresses of the domain goes
//! domains/{domain}/.lock                         held while aliases.json is written
//! domains/{domain}/users/.lock                   held while a user.json is written
//! domains/{domain}/users/{username}/user.json    and beside it the user's mail
//! domains/{domain}/users/{username}/.deleted     the user is being removed, its mail may be there still
//! ```
//!
//! Directory names are those of [`crate::escape`]. The files may be edited by hand, and other processes change them:
//! every look-up compares (inode, size, times) with what was read, and reads again what differs. A file that cannot be
//! read keeps its last good copy, and is never overwritten.
//!
//! The directories of the files asked for last are kept open, so that a look-up is one system call; every two seconds
//! ([`Accounts::tick`]) they are looked for by their names again, lest one that was moved away goes on counting.

mod aliases;
mod app_password;
mod cache;
mod change;
mod error;
mod file;
mod secret;
mod shapes;

pub use app_password::NewAppPassword;
pub(crate) use change::LOCK_FILE;
pub use change::NewUser;
pub use error::AccountError;

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rmail_core::addr::{AccountName, Address, Domain};
use rmail_core::directory::alias::AliasFile;
use rmail_core::directory::{DomainFile, Hosting, User};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::time::{Now, Unix};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::escape::{account_dirs, account_of, escape};
use crate::recent_map::RecentMap;
use cache::{Cached, Content};

/// The users and domains of a mail_root.
pub struct Accounts<D: Disk> {
    disk: Arc<D>,
    /// For salts.
    random: Mutex<Random>,
    users: Mutex<BTreeMap<AccountName, Cached<User>>>,
    domains: Mutex<BTreeMap<Domain, Cached<DomainFile>>>,
    aliases: Mutex<BTreeMap<Domain, Cached<AliasFile>>>,
    /// Files of aliases that were there, and are not just now.
    vanished: Mutex<BTreeMap<Domain, aliases::Vanished>>,
    /// Directories of files that were asked for, by the path of the file, and the turn in which each was opened.
    kept: Mutex<RecentMap<String, (D::Dir, u64)>>,
    turn: AtomicU64,
    /// Seconds of the wall clock when the time was told last.
    unix: AtomicU64,
    /// `domains/` was there once: if it is missing now, the disk is, and no user is unknown.
    seen: AtomicBool,
    /// Held around the file lock, which belongs to the open file.
    writing: async_lock::Mutex<()>,
}

/// Directories kept open: one descriptor each.
const KEPT: usize = 96;

/// For so long a directory that was opened by its name is used without a look at the name.
const TURN: Duration = Duration::from_secs(2);

const DOMAINS: &str = "domains";
const USERS: &str = "users";
/// In the directory of a user who exists.
pub(crate) const USER_FILE: &str = "user.json";
const DOMAIN_FILE: &str = "domain.json";

impl<D: Disk> Accounts<D> {
    /// The accounts below `disk`'s root; `random` draws the salts of new passwords.
    #[must_use]
    pub fn new(disk: Arc<D>, random: Random) -> Self {
        Self {
            disk,
            random: Mutex::new(random),
            users: Mutex::default(),
            domains: Mutex::default(),
            aliases: Mutex::default(),
            vanished: Mutex::default(),
            kept: Mutex::new(RecentMap::new(KEPT)),
            turn: AtomicU64::new(0),
            unix: AtomicU64::new(0),
            seen: AtomicBool::new(false),
            writing: async_lock::Mutex::new(()),
        }
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<D> {
        &self.disk
    }

    /// A seed for another generator.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        lock(&self.random).seed()
    }

    /// The user as its file has it now, or as it last was if the file is broken. `None`: there is no such user.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if the file cannot be read and never could.
    pub async fn find(&self, account: &AccountName) -> Result<Option<Arc<User>>> {
        let Some((domain, user)) = account_dirs(account) else {
            return Ok(None);
        };
        self.look(&[DOMAINS, &domain, USERS, &user], USER_FILE, &self.users, account)
            .await
    }

    /// The same for who must not take a moment for an end: programs that write a file anew may first put the old one
    /// away. Where there is no user.json, but there is more in the user's directory, and nobody is removing the user, the
    /// user cannot be read at present.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if the file cannot be read and never could, or is missing.
    pub async fn find_steadily(&self, account: &AccountName) -> Result<Option<Arc<User>>> {
        let found = self.find(account).await?;
        if found.is_some() {
            return Ok(found);
        }
        let Some((domain, user)) = account_dirs(account) else {
            return Ok(None);
        };
        let levels = [DOMAINS, &domain, USERS, &user];
        let Ok(dir) = self.open_path(&levels).await else {
            // It would have been found as unreadable above.
            return Ok(None);
        };
        let context = || format!("{}/{USER_FILE}", levels.join("/"));
        let listing = self.disk.list(&dir).await;
        let listing = listing.map_err(|error| Error::io(context(), error))?;
        let names = || listing.entries.iter().map(|entry| entry.name.as_str());
        if names().all(change::is_trifle) || names().any(|name| name == change::DELETED) {
            return Ok(None);
        }
        // It may be back by now.
        if let Some(user) = self.find(account).await? {
            return Ok(Some(user));
        }
        Err(Error {
            refusal: Refusal::Unavailable,
            context: format!(
                "{} is missing beside what the user has; `rmail user delete` removes a user",
                context()
            ),
            source: None,
        })
    }

    /// Tells the time, in any place where it is at hand: directories that were opened some seconds ago are looked for by
    /// their names again, and what has expired has no effect any more.
    pub fn tick(&self, now: Now) {
        let turn = now.mono.0.as_millis() / TURN.as_millis();
        self.turn
            .store(u64::try_from(turn).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.unix.store(now.unix.secs(), Ordering::Relaxed);
    }

    /// The time as it was told last.
    pub(crate) fn told_time(&self) -> Unix {
        Unix::from_secs(self.unix.load(Ordering::Relaxed))
    }

    /// The file in the directory at these levels below the root.
    async fn look<K: Ord + Clone, T: Content>(
        &self,
        levels: &[&str],
        name: &str,
        cache: &Mutex<BTreeMap<K, Cached<T>>>,
        key: &K,
    ) -> Result<Option<Arc<T>>> {
        let path = format!("{}/{name}", levels.join("/"));
        let turn = self.turn.load(Ordering::Relaxed);
        let kept = lock(&self.kept).get(path.as_str()).cloned();
        if let Some((dir, _)) = kept.filter(|(_, opened)| *opened == turn) {
            match cache::look(&*self.disk, &dir, name, &path, cache, key).await {
                // The directory may have been removed and made again.
                Ok(None) => {}
                found => return found,
            }
        }
        let dir = match self.open_path(levels).await {
            Ok(dir) => dir,
            Err(error) => {
                lock(&self.kept).remove(path.as_str());
                return self.missing(error, &path, cache, key);
            }
        };
        let found = cache::look(&*self.disk, &dir, name, &path, cache, key).await;
        if let Ok(Some(_)) = &found {
            lock(&self.kept).put(path, (dir, turn));
        } else {
            lock(&self.kept).remove(path.as_str());
        }
        found
    }

    /// Whether the user was looked up within the last seconds, and is named in no alias that was read by then: another
    /// look-up of that address is two cheap system calls.
    pub(crate) fn is_at_hand(&self, account: &AccountName) -> bool {
        let Some((domain, user)) = account_dirs(account) else {
            return false;
        };
        let turn = self.turn.load(Ordering::Relaxed);
        let is_kept = |path: String| {
            let mut kept = lock(&self.kept);
            kept.get(path.as_str()).is_some_and(|(_, opened)| *opened == turn)
        };
        let (local, name) = account.parts();
        let Some(name) = Domain::parse(name) else {
            return false;
        };
        let aliases = lock(&self.aliases).get(&name).and_then(Cached::good);
        aliases.is_none_or(|aliases| !aliases.has_exact(local))
            && is_kept(format!("{DOMAINS}/{domain}/{USERS}/{user}/{USER_FILE}"))
            && is_kept(format!("{DOMAINS}/{domain}/{}", aliases::ALIASES_FILE))
    }

    /// Whether the user was looked up within the last seconds: another look-up is one cheap system call.
    pub(crate) fn is_kept(&self, account: &AccountName) -> bool {
        let Some((domain, user)) = account_dirs(account) else {
            return false;
        };
        let turn = self.turn.load(Ordering::Relaxed);
        let path = format!("{DOMAINS}/{domain}/{USERS}/{user}/{USER_FILE}");
        let mut kept = lock(&self.kept);
        kept.get(path.as_str()).is_some_and(|(_, opened)| *opened == turn)
    }

    /// What the last look-up found, without looking again.
    #[must_use]
    pub fn remembered(&self, account: &AccountName) -> Option<Arc<User>> {
        lock(&self.users).get(account).and_then(Cached::good)
    }

    /// Changes of the user's files are told under this tag from now on, see [`Disk::watch_dir`]. Given the inode number of
    /// the directory that is watched already: nothing, if it is still the user's.
    ///
    /// # Errors
    /// There is no such directory, or changes cannot be heard.
    pub async fn watch(
        &self,
        account: &AccountName,
        watched: Option<u64>,
        tag: u64,
    ) -> io::Result<Option<(u64, D::Watch)>> {
        let (domain, user) = account_dirs(account).ok_or(io::ErrorKind::NotFound)?;
        let dir = self.open_path(&[DOMAINS, &domain, USERS, &user]).await?;
        let inode = self.disk.stat_dir(&dir).await?.inode;
        if watched == Some(inode) {
            return Ok(None);
        }
        Ok(Some((inode, self.disk.watch_dir(&dir, tag)?)))
    }

    /// The settings of a hosted domain; the defaults if it has no file.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if the file cannot be read and never could.
    pub async fn domain(&self, domain: &Domain) -> Result<Arc<DomainFile>> {
        let Some(name) = escape(domain.as_str()) else {
            return Ok(Arc::default());
        };
        let found = self
            .look(&[DOMAINS, &name], DOMAIN_FILE, &self.domains, domain)
            .await;
        found.map(Option::unwrap_or_default)
    }

    /// The users of a domain by name; those with a broken file too.
    ///
    /// # Errors
    /// A directory could not be read.
    pub async fn list(&self, domain: &Domain) -> Result<Vec<AccountName>> {
        let Some(name) = escape(domain.as_str()) else {
            return Ok(Vec::new());
        };
        let context = || format!("list {DOMAINS}/{name}/{USERS}");
        let users = match self.open_path(&[DOMAINS, &name, USERS]).await {
            Ok(users) => users,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(context(), error)),
        };
        let listing = self
            .disk
            .list(&users)
            .await
            .map_err(|error| Error::io(context(), error))?;
        let mut found = Vec::new();
        for entry in listing.entries {
            let Some(account) = account_of(&name, &entry.name) else {
                continue;
            };
            let there = match self.disk.open_dir(&users, &entry.name).await {
                Ok(dir) => self.disk.stat_at(&dir, USER_FILE).await.map(drop),
                Err(error) => Err(error),
            };
            match there {
                Ok(()) => found.push(account),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(Error::io(context(), error)),
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The first enabled administrator, by the order of the domains and of the names. Users with broken files are
    /// passed over.
    ///
    /// # Errors
    /// A directory could not be read.
    pub async fn first_admin(&self, domains: &[Domain]) -> Result<Option<AccountName>> {
        for domain in domains {
            for account in self.list(domain).await? {
                match self.find(&account).await {
                    Ok(Some(user)) if user.admin && user.enabled => return Ok(Some(account)),
                    Ok(_) => {}
                    Err(error) if error.refusal == Refusal::Unavailable => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// Opens a directory by its levels below the root.
    async fn open_path(&self, levels: &[&str]) -> io::Result<D::Dir> {
        let mut dir = self.disk.root().clone();
        for (depth, level) in levels.iter().enumerate() {
            dir = match self.disk.open_dir(&dir, level).await {
                Ok(dir) => dir,
                Err(error) if depth == 0 && is_missing(&error) && self.seen.load(Ordering::Relaxed) => {
                    return Err(io::Error::other("it was there, and is gone"));
                }
                Err(error) => return Err(error),
            };
            self.seen.store(true, Ordering::Relaxed);
        }
        Ok(dir)
    }

    /// A file whose directory could not be opened: it does not exist, or the last good copy holds.
    fn missing<K: Ord + Clone, T>(
        &self,
        error: io::Error,
        path: &str,
        cache: &Mutex<BTreeMap<K, Cached<T>>>,
        key: &K,
    ) -> Result<Option<Arc<T>>> {
        let mut cache = lock(cache);
        if is_missing(&error) {
            cache.remove(key);
            return Ok(None);
        }
        log::error!("{path}: {error}");
        let good = cache.get(key).and_then(Cached::good);
        good.map(Some).ok_or(Error {
            refusal: Refusal::Unavailable,
            context: path.to_owned(),
            source: Some(error),
        })
    }
}

/// The account that an operator means: an address in a hosted domain, or a bare name when one domain is hosted.
///
/// # Errors
/// [`AccountError::BadName`], [`AccountError::NotHosted`].
pub fn account_name(text: &str, hosting: &Hosting) -> core::result::Result<AccountName, AccountError> {
    if let Some(account) = hosting.login(text) {
        return account_dirs(&account)
            .map(|_| account)
            .ok_or(AccountError::BadName);
    }
    match Address::parse(text) {
        Some(address) if !hosting.hosts(&address.domain) => Err(AccountError::NotHosted),
        _ => Err(AccountError::BadName),
    }
}

/// The name is not there, or what should be a directory above it is none.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> core::fmt::Debug for Accounts<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Accounts")
            .field("remembered", &lock(&self.users).len())
            .finish_non_exhaustive()
    }
}
