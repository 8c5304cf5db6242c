//! Aliases.

use rmail_core::addr::{Address, Domain, ForwardPath};
use rmail_core::api::Failure;
use rmail_core::api::admin::aliases::{Answer, Ask, Change, List, Shown};
use rmail_core::directory::alias::{AliasFile, AliasKey, BadAlias, Rule, Told, target_address};

use super::failed;
use crate::accounts::AccountError;
use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::service::api::ApiService;
use crate::service::refused;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Answers a call of `/aliases…`.
    pub(super) async fn aliases(&self, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::List { domain, after, limit } => {
                let list = self.alias_list(domain.as_deref(), after.as_deref(), limit).await;
                list.map(Answer::List)
            }
            Ask::Show(text) => {
                let (domain, key) = self.alias_named(&text, None)?;
                self.alias(&domain, &key).await.map(Answer::One)
            }
            Ask::Create(text, change) => {
                let (domain, key) = self.alias_named(&text, Some("$.alias"))?;
                self.create_alias(&domain, &key, *change).await?;
                self.alias(&domain, &key).await.map(Answer::One)
            }
            Ask::Change(text, change) => {
                let (domain, key) = self.alias_named(&text, None)?;
                self.change_alias(&domain, &key, *change).await?;
                match self.alias(&domain, &key).await {
                    // Its last target was taken away.
                    Err(failure) if failure.status == 404 => Ok(Answer::Done),
                    shown => shown.map(Answer::One),
                }
            }
            Ask::Remove(text) => {
                let (domain, key) = self.alias_named(&text, None)?;
                self.change_aliases(&domain, None, |file| file.without(&key))
                    .await?;
                Ok(Answer::Done)
            }
            Ask::Test(text) => self.test(&text).await.map(|told| Answer::Test(Box::new(told))),
        }
    }

    fn alias_named(&self, text: &str, field: Option<&str>) -> Result<(Domain, AliasKey), Failure> {
        let named = AliasKey::parse(text, &self.settings.hosting);
        named.map_err(|error| failed(AccountError::Alias(error), field))
    }

    async fn alias_file(&self, domain: &Domain) -> Result<AliasFile, Failure> {
        let file = self.service.accounts.aliases(domain).await;
        let file = file.map_err(|error| Failure::from(refused("read aliases", error)))?;
        Ok(file.map(|file| AliasFile::clone(&file)).unwrap_or_default())
    }

    async fn alias(&self, domain: &Domain, key: &AliasKey) -> Result<Shown, Failure> {
        let rule = self.alias_file(domain).await?.rule(key);
        let rule = rule.ok_or_else(|| Failure::new(404, "There is no such alias"))?;
        Ok(Shown::of(&rule, domain))
    }

    async fn alias_list(
        &self,
        domain: Option<&str>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<List, Failure> {
        let hosting = &self.settings.hosting;
        let wanted = domain.map(|text| {
            let domain = Domain::parse(text).filter(|domain| hosting.hosts(domain));
            domain.ok_or_else(|| Failure::field("query.domain", "this domain is not hosted here"))
        });
        let wanted = wanted.transpose()?;
        let mut all = Vec::new();
        for domain in &hosting.domains {
            if wanted.as_ref().is_none_or(|wanted| wanted == domain) {
                let rules = self.alias_file(domain).await?.rules();
                all.extend(rules.iter().map(|rule| Shown::of(rule, domain)));
            }
        }
        let from = match after {
            // One that has gone meanwhile: the list begins again.
            Some(after) => all
                .iter()
                .position(|one| one.alias == after)
                .map_or(0, |at| at + 1),
            None => 0,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let total = all.len();
        let aliases: Vec<Shown> = all.into_iter().skip(from).take(limit).collect();
        let last = aliases.last().filter(|_| from + aliases.len() < total);
        Ok(List {
            next: last.map(|one| one.alias.clone()),
            aliases,
            total,
        })
    }

    async fn create_alias(&self, domain: &Domain, key: &AliasKey, change: Change) -> Result<(), Failure> {
        let rule = Rule {
            key: key.clone(),
            targets: change.targets.unwrap_or_default(),
            comment: change.comment.flatten(),
        };
        let place = place(key, change.position)?;
        let mut taken = false;
        let made = self.change_aliases(domain, Some("$.alias"), |file| {
            taken = file.rule(key).is_some();
            if taken {
                Ok(file.clone())
            } else {
                file.with(&rule, place)
            }
        });
        made.await?;
        if taken {
            return Err(Failure::new(409, "There is such an alias"));
        }
        Ok(())
    }

    async fn change_alias(&self, domain: &Domain, key: &AliasKey, change: Change) -> Result<(), Failure> {
        let place = place(key, change.position)?;
        let changed = self.change_aliases(domain, None, |file| {
            let mut rule = file.rule(key).ok_or(BadAlias::NoSuchAlias)?;
            if let Some(targets) = change.targets {
                rule.targets = targets;
            }
            if let Some(comment) = change.comment {
                rule.comment = comment;
            }
            let mut file = file.with(&rule, place)?;
            if !change.add.is_empty() {
                file = file.with_targets(key, &change.add, None, None, domain)?;
            }
            if !change.remove.is_empty() {
                file = file.without_targets(key, &change.remove, domain)?;
            }
            Ok(file)
        });
        changed.await
    }

    async fn change_aliases(
        &self,
        domain: &Domain,
        field: Option<&str>,
        change: impl FnOnce(&AliasFile) -> Result<AliasFile, BadAlias>,
    ) -> Result<(), Failure> {
        let changed = self.service.accounts.change_aliases(domain, change).await;
        changed.map_err(|error| failed(error, field))
    }

    async fn test(&self, text: &str) -> Result<Told, Failure> {
        let hosting = &self.settings.hosting;
        let address = match hosting.domains.as_slice() {
            [only] => target_address(text, only),
            _ => Address::parse(text),
        };
        let path = match address {
            Some(address) => ForwardPath::Address(address),
            None if text.eq_ignore_ascii_case("<postmaster>") => ForwardPath::Postmaster,
            None => return Err(Failure::field("$.address", "expected an address")),
        };
        let expanded = self.service.accounts.expand(hosting, &path).await;
        let expanded = expanded.map_err(|error| Failure::from(refused("test an alias", error)))?;
        Ok(Told::of(&expanded, self.settings.relay_enabled))
    }
}

/// The place among the expressions, from 0.
fn place(key: &AliasKey, position: Option<usize>) -> Result<Option<usize>, Failure> {
    match (position, key) {
        (None, _) => Ok(None),
        (Some(position), AliasKey::Pattern(_)) => Ok(Some(position.saturating_sub(1))),
        (Some(_), _) => Err(Failure::field("$.position", "only expressions have a place")),
    }
}
