//! Who may log in, and for how long.

use core::future::{Future as _, poll_fn};
use core::pin::pin;
use core::task::Poll;
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::auth::password::{Hash, Verdict};
use rmail_core::directory::{Access, LoginSecret, User, UserHash};
use rmail_core::machine::Scope;
use rmail_core::mailbox::ModSeq;
use rmail_core::refusal::Refusal;
use rmail_core::sasl::{OtherKeys, ScramUser};
use rmail_core::secret::Secret;
use rmail_core::time::Now;

use super::session::Desk;
use super::{Pool, Service, Settings, lock, refused};
use crate::disk::{Changes, Disk};
use crate::hub::Ear;
use crate::mailstore::MailStore;
use crate::metrics::Cache;

/// The file of the secret from which false salts are made, and by which is chosen whom a name resembles.
const SALTS: &str = "salts";

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Where a login has to be looked at: a password that was right a short time ago costs nothing. With too many that
    /// wait to be hashed it is refused, whoever it is.
    pub(super) fn login_pool(
        &self,
        settings: &Settings,
        now: Now,
        desk: &Desk<S>,
        login: &str,
        password: &Secret,
    ) -> Result<Pool, Refusal> {
        let known = settings.hosting.login(login).is_some_and(|account| {
            let user = self.accounts.remembered(&account);
            user.is_some_and(|user| self.known_epoch(now, &account, &user, password).is_some())
        });
        if known {
            return Ok(Pool::Read);
        }
        let place = self.hashing.place().ok_or(Refusal::Busy)?;
        desk.keep_place(place);
        Ok(Pool::Password)
    }

    /// Is this the password? A user that does not exist looks like a wrong password, and takes as long.
    pub(super) async fn authenticate(
        &self,
        settings: &Settings,
        now: Now,
        access: Access,
        login: &str,
        password: &Secret,
    ) -> Result<(AccountName, u64), Refusal> {
        let account = settings.hosting.login(login);
        // Found out for those who exist too: it may take a moment.
        let nobody = self.cost_of_nobody(settings, now, account.as_ref(), login).await;
        let user = match &account {
            Some(account) => self.find_to_log_in(account).await?,
            None => None,
        };
        let (Some(account), Some(user)) = (account, user) else {
            hash_for_nobody(password, nobody);
            return Err(Refusal::BadCredentials);
        };
        let known = self.known_epoch(now, &account, &user, password);
        let (secret, rewrite) =
            match known.and_then(|epoch| user.secrets().find(|secret| secret.epoch == epoch)) {
                Some(secret) => (secret, false),
                None => {
                    if user.secrets().next().is_none() {
                        hash_for_nobody(password, nobody);
                    }
                    let proof = user.check(password).ok_or(Refusal::BadCredentials)?;
                    (proof.secret, proof.rewrite)
                }
            };
        if !secret.opens(access, now.unix) {
            let name = secret.app.map_or("", |app| app.name.as_str());
            log::info!(
                "{account}: the application password {name:?} has expired, or is not for {}",
                access.name()
            );
            return Err(Refusal::BadCredentials);
        }
        if !user.enabled {
            return Err(Refusal::AccountDisabled);
        }
        let mut epoch = secret.epoch;
        self.let_in(now, &account, &secret).await;
        if rewrite {
            let rewritten = self.rewrite(settings, &account, &user, password).await;
            epoch = rewritten.unwrap_or(epoch);
        }
        self.passwords.learn(now.mono, &account, epoch, password);
        Ok((account, epoch))
    }

    /// The epoch of the secret that the password was found to be a short time ago, if the user has that secret still.
    fn known_epoch(&self, now: Now, account: &AccountName, user: &User, password: &Secret) -> Option<u64> {
        let recalled = self.passwords.recall(now.mono, account, password);
        let epoch = recalled.filter(|epoch| user.secrets().any(|secret| secret.epoch == *epoch));
        self.metrics.cache(Cache::Password, epoch.is_some());
        epoch
    }

    /// What SCRAM needs of a user. Who does not exist, is disabled, or has no secret that SCRAM can use here gets keys
    /// that no password has, the same each time, and made in the same time.
    pub(super) async fn scram_start(
        &self,
        settings: &Settings,
        now: Now,
        access: Access,
        login: &str,
    ) -> Result<ScramUser, Refusal> {
        let account = settings.hosting.login(login);
        let secret = self.salt_secret().await;
        let all = self.lookalikes(now, &secret, account.as_ref()).await;
        let nobody = all.scram_keys(&secret, &name_of(account.as_ref(), login), settings.pbkdf2_rounds);
        let user = match &account {
            Some(account) => self.find_to_log_in(account).await?,
            None => None,
        };
        let user = user.filter(|user| user.enabled);
        let mut keys = user.iter().flat_map(|user| {
            let open = user.secrets().filter(|secret| secret.opens(access, now.unix));
            open.filter_map(|secret| Some((secret.hash.scram_keys()?, secret.epoch)))
        });
        Ok(match (keys.next(), account) {
            (Some((first, epoch)), Some(account)) => ScramUser {
                keys: first,
                account: Some((account, epoch)),
                others: keys
                    .map(|(keys, epoch)| OtherKeys {
                        stored_key: keys.stored_key,
                        server_key: keys.server_key,
                        epoch,
                    })
                    .collect(),
            },
            _ => ScramUser {
                keys: nobody,
                account: None,
                others: Vec::new(),
            },
        })
    }

    /// Rounds that a comparison costs for this name if it does not exist.
    async fn cost_of_nobody(
        &self,
        settings: &Settings,
        now: Now,
        account: Option<&AccountName>,
        login: &str,
    ) -> u32 {
        let secret = self.salt_secret().await;
        let all = self.lookalikes(now, &secret, account).await;
        all.cost(&secret, &name_of(account, login))
            .unwrap_or(settings.pbkdf2_rounds)
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

    /// The client has proved that it knows the secret of this epoch.
    pub(super) async fn scram_done(
        &self,
        now: Now,
        access: Access,
        account: AccountName,
        epoch: u64,
    ) -> Result<(AccountName, u64), Refusal> {
        let user = self.find_to_log_in(&account).await?.filter(|user| user.enabled);
        let user = user.ok_or(Refusal::BadCredentials)?;
        let secret = user.secret_of(epoch, access, now.unix);
        let secret = secret.ok_or(Refusal::BadCredentials)?;
        self.let_in(now, &account, &secret).await;
        Ok((account, epoch))
    }

    /// The user who wants to come in.
    async fn find_to_log_in(&self, account: &AccountName) -> Result<Option<Arc<User>>, Refusal> {
        let user = self.accounts.find_steadily(account).await;
        user.map_err(|error| refused("authenticate", error))
    }

    /// Somebody comes in with this secret. That a use cannot be written down is no reason to refuse the login.
    async fn let_in(&self, now: Now, account: &AccountName, secret: &LoginSecret<'_>) {
        if let Some(app) = secret.app.filter(|app| app.is_use_news(now.unix)) {
            let used = self.accounts.used_app_password(account, secret.epoch, now.unix);
            if let Err(error) = used.await {
                log::warn!(
                    "{account}: the use of the application password {:?}: {error}",
                    app.name
                );
            }
        }
        self.settle_in(now, account).await;
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
        Some(user.check(password)?.secret.epoch)
    }

    /// Whether a login still holds. By the file, not by what is remembered: a look-up that began before the change and
    /// ended after it may have put the old copy there.
    pub(super) async fn recheck(&self, now: Now, access: Access, account: &AccountName, epoch: u64) -> bool {
        match self.accounts.find_steadily(account).await {
            Ok(user) => {
                user.is_some_and(|user| user.enabled && user.secret_of(epoch, access, now.unix).is_some())
            }
            // A file that cannot be read ends no session: nobody said that the login is over.
            Err(error) => {
                refused("recheck", error);
                true
            }
        }
    }

    /// Whether the last look-up of the account found a secret of this epoch.
    pub(super) fn remembers_epoch(&self, account: &AccountName, epoch: u64) -> bool {
        let user = self.accounts.remembered(account);
        user.is_some_and(|user| user.secrets().any(|secret| secret.epoch == epoch))
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
            Ok(user) => user.map_or(0, |user| user.generation(self.accounts.told_time())),
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

/// How a name is written, whether it exists or not.
fn name_of(account: Option<&AccountName>, login: &str) -> String {
    match account {
        Some(account) => account.as_str().to_owned(),
        None => login.to_lowercase(),
    }
}

/// Takes as long for nobody as a comparison does for somebody.
fn hash_for_nobody(password: &Secret, rounds: u32) {
    let verdict = Hash::of_nobody(rounds).verify(password);
    debug_assert_eq!(verdict, Verdict::Wrong);
}
