//! Logins: who gets a token, and when all of them end.

use rmail_core::addr::AccountName;
use rmail_core::api::{Failure, Reply, session};
use rmail_core::directory;
use rmail_core::refusal::Refusal;
use rmail_core::secret::Secret;
use rmail_core::time::Now;

use super::{ApiService, Who};
use crate::accounts::AccountError;
use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::service::{Pool, refused};

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Where a call is to run.
    pub(super) fn session_pool(&self, now: Now, ask: &session::Ask) -> core::result::Result<Pool, Failure> {
        let session::Ask::Login { login, password } = ask else {
            return Ok(match ask {
                session::Ask::Logout => Pool::Sync,
                _ => Pool::Read,
            });
        };
        let (service, settings) = (&self.service, &self.settings);
        if service.holds_back(settings, now, &self.tries, login) {
            return Ok(Pool::Read);
        }
        let pool = service.login_pool(settings, now, &self.desk, login, password);
        pool.map_err(Failure::from)
    }

    /// Answers a call.
    pub(super) async fn session(&self, now: Now, who: &Who, ask: session::Ask) -> Reply {
        let answer = match ask {
            session::Ask::Login { login, password } => self.login(now, &login, &password).await?,
            session::Ask::Refresh => self.refresh(now, who)?,
            session::Ask::Logout => self.logout(who.account()?).await?,
        };
        Ok(rmail_core::api::Answer::Session(answer))
    }

    async fn login(
        &self,
        now: Now,
        login: &str,
        password: &Secret,
    ) -> core::result::Result<session::Answer, Failure> {
        let _place = self.desk.take_place();
        let (service, settings) = (&*self.service, &*self.settings);
        let checked = service.authenticate(settings, now, directory::Access::Api, login, password);
        let within = service.login_within(settings, now, &self.tries, (login, password), checked);
        let (account, epoch) = within.await.map_err(|refusal| {
            let mut failure = Failure::from(refusal);
            if refusal == Refusal::TooManyAttempts {
                failure.retry_after = service.login_wait(now, self.peer, login).or(failure.retry_after);
            }
            failure
        })?;
        let tokens = self.token_epoch(&account).await?;
        Ok(session::Answer::Granted {
            account,
            epoch,
            tokens,
        })
    }

    async fn token_epoch(&self, account: &AccountName) -> core::result::Result<u64, Failure> {
        let user = self.service.accounts.find_steadily(account).await;
        let user = user.map_err(|error| Failure::from(refused("give a token", error)))?;
        let user = user.ok_or_else(|| Failure::from(Refusal::BadCredentials))?;
        Ok(user.token_epoch)
    }

    fn refresh(&self, _now: Now, who: &Who) -> core::result::Result<session::Answer, Failure> {
        let (Some(caller), Some(user)) = (&who.caller, &who.user) else {
            return Err(Failure::new(401, "A token is needed"));
        };
        Ok(session::Answer::Granted {
            account: caller.account.clone(),
            epoch: caller.epoch,
            tokens: user.token_epoch,
        })
    }

    async fn logout(&self, account: &AccountName) -> core::result::Result<session::Answer, Failure> {
        let changed = self.service.accounts.change(account, |user| {
            user.token_epoch = user.token_epoch.wrapping_add(1);
            true
        });
        match changed.await {
            Ok(()) => Ok(session::Answer::LoggedOut),
            // Whose account is gone has no token any more.
            Err(AccountError::NoSuchUser) => Ok(session::Answer::LoggedOut),
            Err(error) => {
                log::error!("end the tokens of {account}: {error}");
                Err(Failure::from(Refusal::Storage))
            }
        }
    }
}
