//! Users.

use rmail_core::addr::{AccountName, Domain};
use rmail_core::api::Failure;
use rmail_core::api::admin::users::{Answer, Ask, List, NewApp, Shown, ShownApp};
use rmail_core::directory::{UserChange, make_password};
use rmail_core::random::Random;
use rmail_core::time::Now;

use super::failed;
use crate::accounts::{NewAppPassword, account_name};
use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::service::api::ApiService;
use crate::service::refused;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Answers a call of `/users…`.
    pub(super) async fn users(&self, now: Now, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::List { domain, after, limit } => {
                let list = self.user_list(domain.as_deref(), after.as_deref(), limit).await;
                list.map(Answer::List)
            }
            Ask::Show(name) => {
                let account = self.user_named(&name, None)?;
                self.shown(&account).await.map(|user| Answer::One(Box::new(user)))
            }
            Ask::Create(name, change) => {
                let account = self.user_named(&name, Some("$.address"))?;
                self.create_user(now, &account, &change).await?;
                self.shown(&account).await.map(|user| Answer::One(Box::new(user)))
            }
            Ask::Change(name, change) => {
                let account = self.user_named(&name, None)?;
                self.change_user(&account, &change).await?;
                self.shown(&account).await.map(|user| Answer::One(Box::new(user)))
            }
            Ask::Remove(name) => {
                let account = self.user_named(&name, None)?;
                self.remove_user(&account).await.map(|()| Answer::Done)
            }
            Ask::AddApp(name, app) => {
                let account = self.user_named(&name, None)?;
                self.add_app(now, &account, *app).await
            }
            Ask::RemoveApp(name, app) => {
                let account = self.user_named(&name, None)?;
                let removed = self.service.accounts.remove_app_password(&account, &app).await;
                removed
                    .map(|()| Answer::Done)
                    .map_err(|error| failed(error, None))
            }
        }
    }

    fn user_named(&self, name: &str, field: Option<&str>) -> Result<AccountName, Failure> {
        account_name(name, &self.settings.hosting).map_err(|error| failed(error, field))
    }

    async fn user_list(
        &self,
        domain: Option<&str>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<List, Failure> {
        let accounts = self.all_users(domain).await?;
        let from = match after {
            Some(after) => accounts.partition_point(|account| account.as_str() <= after),
            None => 0,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page: Vec<&AccountName> = accounts.iter().skip(from).take(limit).collect();
        let mut list = List {
            total: accounts.len(),
            ..List::default()
        };
        for account in &page {
            // One who has gone meanwhile is not in the list.
            if let Ok(user) = self.shown(account).await {
                list.users.push(user);
            }
        }
        let last = page.last().filter(|_| from + page.len() < accounts.len());
        list.next = last.map(|account| account.to_string());
        Ok(list)
    }

    /// All users of the hosted domains, or of one of them, by name.
    pub(super) async fn all_users(&self, domain: Option<&str>) -> Result<Vec<AccountName>, Failure> {
        let hosting = &self.settings.hosting;
        let domains: Vec<&Domain> = match domain {
            None => hosting.domains.iter().collect(),
            Some(text) => {
                let domain = Domain::parse(text).filter(|domain| hosting.hosts(domain));
                let found = domain.and_then(|domain| hosting.domains.iter().find(|other| **other == domain));
                vec![found.ok_or_else(|| Failure::field("query.domain", "this domain is not hosted here"))?]
            }
        };
        let mut accounts = Vec::new();
        for domain in domains {
            let list = self.service.accounts.list(domain).await;
            accounts.extend(list.map_err(|error| Failure::from(refused("list users", error)))?);
        }
        accounts.sort();
        Ok(accounts)
    }

    async fn shown(&self, account: &AccountName) -> Result<Shown, Failure> {
        match self.service.accounts.find(account).await {
            Ok(Some(user)) => {
                let used = self.service.store.usage(account).await.ok();
                Ok(Shown::of(account.as_str(), &user, used))
            }
            Ok(None) => Err(Failure::new(404, "There is no such user")),
            Err(error) => Ok(Shown::broken(account.as_str(), Some(error.to_string()))),
        }
    }

    async fn create_user(&self, now: Now, account: &AccountName, change: &UserChange) -> Result<(), Failure> {
        let (accounts, rounds) = (&self.service.accounts, self.settings.pbkdf2_rounds);
        let created = accounts.create_with(&*self.service.store, account, change, rounds, now.unix);
        created.await.map_err(|error| failed(error, Some("$.address")))?;
        log::info!("user {account} is made by an administrator");
        Ok(())
    }

    async fn change_user(&self, account: &AccountName, change: &UserChange) -> Result<(), Failure> {
        // Two of the last administrators must not take each other away at the same moment.
        let _guard = self.service.admins.lock().await;
        if change.takes_admin_away() {
            self.keep_an_admin(account).await?;
        }
        let updated = self
            .service
            .accounts
            .update(account, change, self.settings.pbkdf2_rounds);
        updated.await.map_err(|error| failed(error, None))?;
        log::info!("user {account} is changed by an administrator");
        Ok(())
    }

    async fn remove_user(&self, account: &AccountName) -> Result<(), Failure> {
        let _guard = self.service.admins.lock().await;
        self.keep_an_admin(account).await?;
        let removed = self.service.accounts.delete(&*self.service.store, account).await;
        removed.map_err(|error| failed(error, None))?;
        log::info!("user {account} is removed by an administrator");
        Ok(())
    }

    /// Somebody has to be left who may administer.
    async fn keep_an_admin(&self, account: &AccountName) -> Result<(), Failure> {
        let accounts = &self.service.accounts;
        let found = accounts.find(account).await;
        // One whose file cannot be read is no administrator now.
        if !found
            .ok()
            .flatten()
            .is_some_and(|user| user.admin && user.enabled)
        {
            return Ok(());
        }
        for other in self.all_users(None).await? {
            let user = accounts.find(&other).await.ok().flatten();
            if other != *account && user.is_some_and(|user| user.admin && user.enabled) {
                return Ok(());
            }
        }
        Err(Failure::new(409, "This is the last enabled administrator"))
    }

    async fn add_app(&self, now: Now, account: &AccountName, app: NewApp) -> Result<Answer, Failure> {
        let accounts = &self.service.accounts;
        let (password, made) = match app.password {
            Some(password) => (password, None),
            None => {
                let made = make_password(&mut Random::from_seed(accounts.seed()));
                let text = String::from_utf8_lossy(made.expose()).into_owned();
                (made, Some(text))
            }
        };
        let mut scope = app.scope;
        scope.sort();
        scope.dedup();
        let new = NewAppPassword {
            name: app.name,
            password,
            scope,
            expires: app.expires,
            rounds: self.settings.pbkdf2_rounds,
        };
        let added = accounts.add_app_password(account, &new, now.unix).await;
        added.map_err(|error| failed(error, Some("$.name")))?;
        let user = accounts.find(account).await.ok().flatten();
        let stored = user.and_then(|user| {
            user.app_passwords
                .iter()
                .find(|app| app.name == new.name)
                .map(ShownApp::of)
        });
        Ok(Answer::App(Box::new(stored.unwrap_or_default()), made))
    }
}
