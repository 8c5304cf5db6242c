//! Aliases on disk:
//!
//! ```text
//! domains/{domain}/aliases.json      read and read again as user.json is
//! domains/{domain}/.lock             held while it is written
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmail_core::addr::{Domain, ForwardPath};
use rmail_core::directory::Hosting;
use rmail_core::directory::alias::{AliasFile, BadAlias, Expanded, Expansion, Question};

use super::change::LOCK_WAIT;
use super::{AccountError, Accounts, DOMAINS, LOCK_FILE, cache, file, is_missing, lock};
use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};
use crate::escape::escape;

pub(super) const ALIASES_FILE: &str = "aliases.json";

/// For so many turns a file that is gone counts as it was: some editors take the old one away before the new one is
/// there, and mail that comes between must not be refused for good.
const GRACE: u64 = 2;

/// A file that was there.
#[derive(Debug)]
pub(super) struct Vanished {
    turn: u64,
    good: Arc<AliasFile>,
}

impl<D: Disk> Accounts<D> {
    /// The aliases of a hosted domain as its file has them now, or as they last were if it is broken. `None`: it has
    /// none.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`](rmail_core::refusal::Refusal::Unavailable) if the file cannot be read and never could.
    pub async fn aliases(&self, domain: &Domain) -> Result<Option<Arc<AliasFile>>> {
        let Some(name) = escape(domain.as_str()) else {
            return Ok(None);
        };
        let turn = self.turn.load(Ordering::Relaxed);
        let before = lock(&self.aliases).get(domain).and_then(cache::Cached::good);
        let found = self.look_aliases(&name, domain, turn).await?;
        let mut vanished = lock(&self.vanished);
        if found.is_some() {
            vanished.remove(domain);
            return Ok(found);
        }
        if let Some(good) = before {
            vanished.insert(domain.clone(), Vanished { turn, good });
        }
        match vanished.get(domain) {
            Some(last) if turn.saturating_sub(last.turn) <= GRACE => Ok(Some(Arc::clone(&last.good))),
            _ => {
                vanished.remove(domain);
                Ok(None)
            }
        }
    }

    /// Most domains have no such file: that costs one system call, too.
    async fn look_aliases(&self, name: &str, domain: &Domain, turn: u64) -> Result<Option<Arc<AliasFile>>> {
        let path = format!("{DOMAINS}/{name}/{ALIASES_FILE}");
        let kept = lock(&self.kept).get(path.as_str()).cloned();
        let dir = match kept {
            Some((dir, opened)) if opened == turn => dir,
            _ => match self.open_path(&[DOMAINS, name]).await {
                Ok(dir) => {
                    lock(&self.kept).put(path.clone(), (dir.clone(), turn));
                    dir
                }
                Err(error) => {
                    lock(&self.kept).remove(path.as_str());
                    return self.missing(error, &path, &self.aliases, domain);
                }
            },
        };
        cache::look(&*self.disk, &dir, ALIASES_FILE, &path, &self.aliases, domain).await
    }

    /// Everybody who gets the mail for a recipient, as the files are now.
    ///
    /// # Errors
    /// A file that has to be known cannot be read, and never could.
    pub async fn expand(&self, hosting: &Hosting, path: &ForwardPath) -> Result<Expanded> {
        let mut expansion = Expansion::new(hosting, path);
        while let Some(question) = expansion.question() {
            match question {
                Question::Aliases(domain) => expansion.aliases(self.aliases(&domain).await?),
                Question::User(account) => {
                    expansion.user(self.find_steadily(&account).await?.map(|user| user.enabled));
                }
            }
        }
        Ok(expansion.finish())
    }

    /// Changes the aliases of a domain under its lock. What `change` returns is written and synced, unless it is what was
    /// there.
    ///
    /// # Errors
    /// What `change` says; [`AccountError::Broken`]: the file is not overwritten; and what the disk says.
    pub async fn change_aliases(
        &self,
        domain: &Domain,
        change: impl FnOnce(&AliasFile) -> core::result::Result<AliasFile, BadAlias>,
    ) -> core::result::Result<(), AccountError> {
        let name = escape(domain.as_str()).ok_or(AccountError::BadName)?;
        let path = format!("{DOMAINS}/{name}/{ALIASES_FILE}");
        let context = |error| AccountError::Store(Error::io(format!("change {path}"), error));
        let dir = self.make_path(&[DOMAINS, &name]).await.map_err(context)?;
        let _guard = self.writing.lock().await;
        let lock_file = self
            .disk
            .open(&dir, LOCK_FILE, Mode::Create)
            .await
            .map_err(context)?;
        let _lock = self.disk.lock(&lock_file, LOCK_WAIT).await.map_err(context)?;
        let old = match file::read::<D, AliasFile>(&*self.disk, &dir, ALIASES_FILE).await {
            Ok((_, parsed)) => parsed.map_err(|reason| AccountError::Broken(format!("{path}: {reason}")))?,
            Err(error) if is_missing(&error) => AliasFile::default(),
            Err(error) => return Err(context(error)),
        };
        let new = change(&old)?;
        if new == old {
            return Ok(());
        }
        let json = serde_json::to_vec_pretty(&new).map_err(io::Error::other);
        let mut json = json.map_err(context)?;
        json.push(b'\n');
        if json.len() as u64 > file::MAX {
            let reason = format!("{path} would have more than {} octets", file::MAX);
            return Err(BadAlias::Wrong(reason).into());
        }
        file::replace(&*self.disk, &dir, ALIASES_FILE, &json)
            .await
            .map_err(context)
    }
}
