//! Making, removing and using application passwords.

use rmail_core::addr::AccountName;
use rmail_core::auth::password::{Hash, ScramKeys};
use rmail_core::directory::{Access, AppPassword, MAX_APP_PASSWORDS, Moment, UserHash, is_app_password_name};
use rmail_core::secret::Secret;
use rmail_core::time::Unix;

use super::{AccountError, Accounts};
use crate::disk::Disk;

/// What a new application password is made of.
#[derive(Clone, Debug)]
pub struct NewAppPassword {
    /// What it is for; no other of the account has this name.
    pub name: String,
    /// In clear; only its hash is kept.
    pub password: Secret,
    /// What it opens.
    pub scope: Vec<Access>,
    /// From then on it opens nothing; none: never.
    pub expires: Option<Unix>,
    /// Rounds of PBKDF2, if the account has no secret yet: all its secrets share salt and rounds.
    pub rounds: u32,
}

impl<D: Disk> Accounts<D> {
    /// Gives an account an application password.
    ///
    /// # Errors
    /// [`AccountError::AlreadyExists`]: the account has one of this name. [`AccountError::BadName`]: it cannot be a
    /// name. [`AccountError::TooMany`]. And as [`Accounts::change`].
    pub async fn add_app_password(
        &self,
        account: &AccountName,
        new: &NewAppPassword,
        now: Unix,
    ) -> Result<(), AccountError> {
        if !is_app_password_name(&new.name) {
            return Err(AccountError::BadName);
        }
        let mut refused = None;
        self.change(account, |user| {
            if user.app_passwords.iter().any(|app| app.name == new.name) {
                refused = Some(AccountError::AlreadyExists);
            } else if user.app_passwords.len() >= MAX_APP_PASSWORDS {
                refused = Some(AccountError::TooMany);
            } else {
                let password = match user.salt() {
                    Some((salt, rounds)) => {
                        UserHash(Hash::Scram(ScramKeys::derive(&new.password, salt, rounds)))
                    }
                    None => self.hash(&new.password, new.rounds),
                };
                user.app_passwords.push(AppPassword {
                    name: new.name.clone(),
                    password,
                    scope: new.scope.clone(),
                    created: Some(Moment(Unix::from_secs(now.secs()))),
                    expires: new.expires.map(Moment),
                    last_used: None,
                    other: serde_json::Map::new(),
                });
            }
            refused.is_none()
        })
        .await?;
        refused.map_or(Ok(()), Err)
    }

    /// Takes an application password away; sessions that were opened with it end.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAppPassword`], and as [`Accounts::change`].
    pub async fn remove_app_password(&self, account: &AccountName, name: &str) -> Result<(), AccountError> {
        let mut found = false;
        self.change(account, |user| {
            let before = user.app_passwords.len();
            user.app_passwords.retain(|app| app.name != name);
            found = user.app_passwords.len() != before;
            found
        })
        .await?;
        if found {
            Ok(())
        } else {
            Err(AccountError::NoSuchAppPassword)
        }
    }

    /// Writes down that somebody logged in with the application password of this epoch, unless that was written a short
    /// time ago.
    ///
    /// # Errors
    /// As [`Accounts::change`].
    pub(crate) async fn used_app_password(
        &self,
        account: &AccountName,
        epoch: u64,
        now: Unix,
    ) -> Result<(), AccountError> {
        self.change(account, |user| {
            let used = user.secrets().find(|secret| secret.epoch == epoch);
            let hash = used.and_then(|secret| secret.app).map(|app| app.password.clone());
            let app = user
                .app_passwords
                .iter_mut()
                .find(|app| hash.as_ref() == Some(&app.password));
            let Some(app) = app.filter(|app| app.is_use_news(now)) else {
                return false;
            };
            app.last_used = Some(Moment(Unix::from_secs(now.secs())));
            true
        })
        .await
    }
}
