//! Who may log in, and for how long.

use core::future::{Future as _, poll_fn};
use core::pin::pin;
use core::task::Poll;

use rmail_core::addr::AccountName;
use rmail_core::auth::password::{ScramKeys, Verdict};
use rmail_core::directory::{User, UserHash};
use rmail_core::machine::Scope;
use rmail_core::mailbox::ModSeq;
use rmail_core::refusal::Refusal;
use rmail_core::sasl::ScramUser;
use rmail_core::secret::Secret;
use rmail_core::time::Now;

use super::{Pool, Service, Settings, lock, refused};
use crate::accounts::verify;
use crate::disk::{Changes, Disk};
use crate::hub::Ear;
use crate::mailstore::MailStore;

/// The file of the secret from which false salts are made.
const SALTS: &str = "salts";

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Where a login has to be looked at: a password that was right a short time ago costs nothing.
    pub(super) fn login_pool(&self, settings: &Settings, now: Now, login: &str, password: &Secret) -> Pool {
        let known = settings.hosting.login(login).is_some_and(|account| {
            self.remembered_epoch(&account)
                .is_some_and(|epoch| self.passwords.knows(now.mono, &account, epoch, password))
        });
        if known { Pool::Read } else { Pool::Password }
    }

    /// Is this the password? A user that does not exist looks like a wrong password, and takes as long.
    pub(super) async fn authenticate(
        &self,
        settings: &Settings,
        now: Now,
        login: &str,
        password: &Secret,
    ) -> Result<(AccountName, u64), Refusal> {
        let account = settings.hosting.login(login);
        let user = match &account {
            Some(account) => self
                .accounts
                .find(account)
                .await
                .map_err(|error| refused("authenticate", error))?,
            None => None,
        };
        let (Some(account), Some(user)) = (account, user) else {
            let _ = verify(None, password, settings.pbkdf2_rounds);
            return Err(Refusal::BadCredentials);
        };
        let epoch = user.epoch();
        let verdict = if self.passwords.knows(now.mono, &account, epoch, password) {
            Verdict::Right
        } else {
            verify(Some(&user), password, settings.pbkdf2_rounds)
        };
        match verdict {
            Verdict::Wrong => return Err(Refusal::BadCredentials),
            _ if !user.enabled => return Err(Refusal::AccountDisabled),
            Verdict::Right => {
                self.passwords.learn(now.mono, &account, epoch, password);
                self.settle_in(now, &account).await;
                return Ok((account, epoch));
            }
            Verdict::RightButRewrite => {}
        }
        self.settle_in(now, &account).await;
        let rewritten = self.rewrite(settings, &account, &user, password).await;
        let epoch = rewritten.unwrap_or(epoch);
        self.passwords.learn(now.mono, &account, epoch, password);
        Ok((account, epoch))
    }

    /// What SCRAM needs of a user. Who does not exist, is disabled, or has a hash that SCRAM cannot use gets keys that no
    /// password has, the same each time, and made in the same time.
    pub(super) async fn scram_start(&self, settings: &Settings, login: &str) -> Result<ScramUser, Refusal> {
        let account = settings.hosting.login(login);
        let name = match &account {
            Some(account) => account.as_str().to_owned(),
            None => login.to_lowercase(),
        };
        let nobody = ScramKeys::of_nobody(&self.salt_secret().await, &name, settings.pbkdf2_rounds);
        let user = match &account {
            Some(account) => self
                .accounts
                .find(account)
                .await
                .map_err(|error| refused("authenticate", error))?,
            None => None,
        };
        let known = user.filter(|user| user.enabled).and_then(|user| {
            let UserHash(hash) = user.password.as_ref()?;
            Some((hash.scram_keys()?, user.epoch()))
        });
        Ok(match (known, account) {
            (Some((keys, epoch)), Some(account)) => ScramUser {
                keys,
                account: Some((account, epoch)),
            },
            _ => ScramUser {
                keys: nobody,
                account: None,
            },
        })
    }

    /// The secret from which false salts are made. Without a place to keep it, it lasts as long as the process.
    async fn salt_secret(&self) -> [u8; 32] {
        if let Some(secret) = self.salts.get() {
            return *secret;
        }
        let secret = match self.accounts.secret(SALTS).await {
            Ok(secret) => secret,
            Err(error) => {
                log::warn!("secrets/{SALTS}: {error}");
                self.accounts.seed()
            }
        };
        *self.salts.get_or_init(|| secret)
    }

    /// The client has proved that it knows the password.
    pub(super) async fn scram_done(
        &self,
        now: Now,
        account: AccountName,
        epoch: u64,
    ) -> Result<(AccountName, u64), Refusal> {
        let user = self.accounts.find(&account).await;
        let user = user.map_err(|error| refused("authenticate", error))?;
        if !holds(user.as_deref(), epoch) {
            return Err(Refusal::BadCredentials);
        }
        self.settle_in(now, &account).await;
        Ok((account, epoch))
    }

    /// A user whose file was written by hand has no mailboxes yet. That they cannot be made is no reason to refuse the
    /// login: it is tried again with the next, and when mail arrives.
    async fn settle_in(&self, now: Now, account: &AccountName) {
        if let Err(error) = self.store.welcome(account, now.unix).await {
            refused(&format!("make the mailboxes of {account}"), error);
        }
    }

    /// Puts a foreign hash into our own form, and gives the epoch that comes with it. That it fails is no reason to
    /// refuse the login; but if the file has another password by now, the login stands on the old one, and ends.
    async fn rewrite(
        &self,
        settings: &Settings,
        account: &AccountName,
        user: &User,
        password: &Secret,
    ) -> Option<u64> {
        let UserHash(old) = user.password.as_ref()?;
        let rewritten = self
            .accounts
            .rewrite_hash(account, old, password, settings.pbkdf2_rounds)
            .await;
        if let Err(error) = rewritten {
            log::warn!("rewrite the password hash of {account}: {error}");
        }
        let user = self.accounts.find(account).await.ok()??;
        match verify(Some(&user), password, settings.pbkdf2_rounds) {
            Verdict::Wrong => None,
            Verdict::Right | Verdict::RightButRewrite => Some(user.epoch()),
        }
    }

    /// Whether a login still holds. By the file, not by what is remembered: a look-up that began before the change and
    /// ended after it may have put the old copy there.
    pub(super) async fn recheck(&self, account: &AccountName, epoch: u64) -> bool {
        match self.accounts.find(account).await {
            Ok(user) => holds(user.as_deref(), epoch),
            // A file that cannot be read ends no session: nobody said that the login is over.
            Err(error) => {
                refused("recheck", error);
                true
            }
        }
    }

    /// The epoch of the last look-up.
    pub(super) fn remembered_epoch(&self, account: &AccountName) -> Option<u64> {
        self.accounts.remembered(account).map(|user| user.epoch())
    }

    /// Looks at the files of watched accounts, and tells the sessions of those that changed. To be called about every
    /// two seconds; more rarely while there is an [`Ear`] on every watched account.
    pub async fn poll_accounts(&self) {
        let mut watched = accounts_of(self.hub().watched());
        watched.sort();
        lock(&self.epochs).retain(|account, _| watched.binary_search(account).is_ok());
        for account in watched {
            self.hear(&account).await;
            self.look_at_account(account).await;
        }
    }

    /// Waits until other processes may have changed something that is watched. Dropping the future loses nothing.
    pub async fn changes(&self) -> Changes {
        let mut store = pin!(self.store.changes());
        // The store may be of another kind; the files of accounts are on a disk in any case.
        let mut disk = pin!(self.accounts.disk().changes());
        poll_fn(|context| match store.as_mut().poll(context) {
            Poll::Pending => disk.as_mut().poll(context),
            ready => ready,
        })
        .await
    }

    /// Finds out what has changed, and tells the sessions that watch it.
    pub async fn look_at(&self, changes: &Changes) {
        self.store.look_at(changes).await;
        for account in accounts_of(self.hub().changed(changes)) {
            self.hear(&account).await;
            self.look_at_account(account).await;
        }
    }

    /// Puts an ear on the directory of a watched account: its file is replaced by another when it is changed.
    async fn hear(&self, account: &AccountName) {
        let scope = Scope::Account(account.clone());
        let Some((tag, watched)) = self.hub().ear(&scope) else {
            return;
        };
        // A user who was deleted and made again has another directory.
        if let Ok(Some((mark, watch))) = self.accounts.watch(account, watched, tag).await {
            let guard = Box::new(watch);
            self.hub().keep(tag, Ear { mark, guard });
        }
    }

    async fn look_at_account(&self, account: AccountName) {
        let epoch = match self.accounts.find(&account).await {
            Ok(user) => user.map_or(0, |user| user.epoch()),
            // It was logged, and keeps sessions as they are.
            Err(_) => return,
        };
        let before = lock(&self.epochs).insert(account.clone(), epoch);
        if before != Some(epoch) {
            // The first look at an account wakes its sessions in vain: they recheck, and go on.
            self.hub().announce(&Scope::Account(account), ModSeq(epoch));
        }
    }
}

fn accounts_of(scopes: Vec<(Scope, ModSeq)>) -> Vec<AccountName> {
    let account = |(scope, _)| match scope {
        Scope::Account(account) => Some(account),
        Scope::Mailbox(_) | Scope::List(_) => None,
    };
    scopes.into_iter().filter_map(account).collect()
}

fn holds(user: Option<&User>, epoch: u64) -> bool {
    user.is_some_and(|user| user.enabled && user.epoch() == epoch)
}
