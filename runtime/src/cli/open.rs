//! The store and the accounts, opened beside a server that may be running.

use std::path::Path;
use std::sync::Arc;

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, ForwardPath};
use rmail_core::directory::alias::Leaf;
use rmail_core::directory::{Hosting, User, UserChange};
use rmail_core::limits::Limits;
use rmail_core::random::Random;
use rmail_core::secret::Secret;
use rmail_store::Error;
use rmail_store::accounts::{AccountError, Accounts, NewUser, account_name};
use rmail_store::file::{FileStore, Options};

use super::Failure;
use super::load::load_or_fail;
use crate::disk::RealDisk;
use crate::{clock, entropy};

/// What commands work on.
#[derive(Debug)]
pub(super) struct Opened {
    accounts: Accounts<RealDisk>,
    store: FileStore<RealDisk>,
    hosting: Hosting,
    rounds: u32,
}

/// A user, or why its file cannot be read.
pub(super) type Listed = (AccountName, Result<Arc<User>, String>);

/// Opens the mail_root of a configuration, making it if it is not there.
pub(super) fn open(config: &Path) -> Result<Opened, Failure> {
    let loaded = load_or_fail(config)?;
    let root = loaded.path(&loaded.config.mail_root);
    let hosting = super::serve::hosting(&loaded.config)?;
    let options = Options {
        flag_sync_ms: loaded.config.store.flag_sync_ms,
        shared_by_hosts: loaded.config.store.shared_by_hosts,
        ..Options::default()
    };
    open_with(&root, hosting, loaded.config.auth.pbkdf2_rounds, options)
}

pub(super) fn open_root(root: &Path, hosting: Hosting, rounds: u32) -> Result<Opened, Failure> {
    open_with(root, hosting, rounds, Options::default())
}

fn open_with(root: &Path, hosting: Hosting, rounds: u32, options: Options) -> Result<Opened, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure(format!("cannot open mail_root {}: {error}", root.display()));
    let disk = RealDisk::open(root)
        .map(Arc::new)
        .map_err(|error| failed(&error))?;
    let store = block_on(FileStore::open(Arc::clone(&disk), Limits::default(), options))
        .map_err(|error| failed(&error))?;
    let accounts = Accounts::new(disk, Random::from_seed(entropy::seed()));
    Ok(Opened {
        accounts,
        store,
        hosting,
        rounds,
    })
}

impl Opened {
    /// The mail.
    pub(super) fn store(&self) -> &FileStore<RealDisk> {
        &self.store
    }

    /// The accounts.
    pub(super) fn accounts(&self) -> &Accounts<RealDisk> {
        &self.accounts
    }

    /// Rounds of new hashes.
    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    /// The account of a user that exists.
    pub(super) fn existing(&self, text: &str) -> Result<AccountName, Failure> {
        let account = self.account(text)?;
        match self.user(&account)? {
            Some(_) => Ok(account),
            None => Err(Failure(format!(
                "there is no user {account}; `rmail user list` shows all"
            ))),
        }
    }

    /// The account that a text means.
    pub(super) fn account(&self, text: &str) -> Result<AccountName, Failure> {
        account_name(text, &self.hosting).map_err(|error| match error {
            AccountError::NotHosted => {
                let hosted: Vec<&str> = self
                    .hosting
                    .domains
                    .iter()
                    .map(|domain| domain.as_str())
                    .collect();
                Failure(format!("{text}: {error}; hosted are {}", hosted.join(", ")))
            }
            _ => Failure(format!("{text}: {error}; expected NAME@DOMAIN")),
        })
    }

    pub(super) fn user(&self, account: &AccountName) -> Result<Option<Arc<User>>, Failure> {
        block_on(self.accounts.find(account)).map_err(|error| Failure(told(&error)))
    }

    /// All users of the hosted domains; a broken file gives its reason.
    pub(super) fn users(&self) -> Result<Vec<Listed>, Failure> {
        let mut found = Vec::new();
        for domain in &self.hosting.domains {
            for account in block_on(self.accounts.list(domain)).map_err(|error| Failure(told(&error)))? {
                match block_on(self.accounts.find(&account)) {
                    Ok(Some(user)) => found.push((account, Ok(user))),
                    Ok(None) => {}
                    Err(error) => found.push((account, Err(told(&error)))),
                }
            }
        }
        Ok(found)
    }

    /// Domains and postmaster.
    pub(super) fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    /// Whether somebody reads what is sent to the postmaster: an enabled administrator, or whom the configured address
    /// leads to.
    pub(super) fn has_admin(&self) -> Result<bool, Failure> {
        if let Some(address) = &self.hosting.postmaster {
            let path = ForwardPath::Address(address.clone());
            let expanded = block_on(self.accounts.expand(&self.hosting, &path));
            let leaves = expanded.map_err(|error| Failure(told(&error)))?.leaves();
            if leaves
                .into_iter()
                .flatten()
                .any(|leaf| matches!(leaf, Leaf::Account(_)))
            {
                return Ok(true);
            }
        }
        let admin = block_on(self.accounts.first_admin(&self.hosting.domains));
        Ok(admin.map_err(|error| Failure(told(&error)))?.is_some())
    }

    pub(super) fn create(
        &self,
        account: &AccountName,
        password: Secret,
        admin: bool,
        quota_mb: u64,
    ) -> Result<(), Failure> {
        let new = NewUser {
            password: Some(password),
            rounds: self.rounds,
            admin,
            quota_mb,
        };
        block_on(self.accounts.create(&self.store, account, &new, clock::unix())).map_err(failed)
    }

    /// Makes a user again whose file is at hand.
    pub(super) fn create_as(&self, account: &AccountName, user: &User) -> Result<(), Failure> {
        block_on(self.accounts.create_as(&self.store, account, user, clock::unix())).map_err(failed)
    }

    pub(super) fn set_password(&self, account: &AccountName, password: &Secret) -> Result<(), Failure> {
        block_on(self.accounts.set_password(account, password, self.rounds)).map_err(failed)
    }

    pub(super) fn update(&self, account: &AccountName, change: &UserChange) -> Result<(), Failure> {
        block_on(self.accounts.update(account, change, self.rounds)).map_err(failed)
    }

    pub(super) fn set_enabled(&self, account: &AccountName, on: bool) -> Result<(), Failure> {
        block_on(self.accounts.set_enabled(account, on)).map_err(failed)
    }

    pub(super) fn delete(&self, account: &AccountName) -> Result<(), Failure> {
        block_on(self.accounts.delete(&self.store, account)).map_err(failed)
    }
}

pub(super) fn failed(error: AccountError) -> Failure {
    match error {
        AccountError::Store(error) => Failure(told(&error)),
        error => Failure::new(error),
    }
}

/// Where and why, without the word for protocols.
pub(super) fn told(error: &Error) -> String {
    match (&error.source, error.context.as_str()) {
        (_, "") => error.to_string(),
        (Some(source), context) => format!("{context}: {source}"),
        (None, context) => context.to_owned(),
    }
}
