//! Who may send to whom, and as whom.

use rmail_core::addr::{AccountName, Address, ForwardPath, ReversePath};
use rmail_core::directory::alias::{Expanded, Leaf};
use rmail_core::directory::{Route, Target, owns};
use rmail_core::mailbox::{Quota, Usage};
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::RecipientKind;
use rmail_core::time::Mono;

use super::{Service, Settings, lock, refused};
use crate::disk::Disk;
use crate::error::Error;
use crate::mailstore::MailStore;

/// Where the mail for one recipient goes.
pub(super) struct Resolved {
    /// The address is ours: a stranger may send to it, wherever its mail goes.
    pub(super) ours: bool,
    /// Never empty. Several for aliases.
    pub(super) targets: Vec<Target>,
    /// Targets of its aliases that get nothing, each with why, for the log.
    pub(super) dead: Vec<String>,
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Where the mail for a recipient goes now.
    pub(super) async fn resolve(&self, settings: &Settings, path: &ForwardPath) -> Result<Resolved, Refusal> {
        let (ours, or_postmaster) = match settings.hosting.route(path) {
            Route::External(_) => (false, false),
            Route::Local { or_postmaster, .. } => (true, or_postmaster),
        };
        let expanded = self.expand(settings, path).await?;
        let dead = |(node, failure)| format!("{}: {failure:?}", expanded.trail(node));
        let mut resolved = Resolved {
            ours,
            targets: Vec::new(),
            dead: expanded.failures().map(dead).collect(),
        };
        let leaves = match expanded.leaves() {
            Err(_) if or_postmaster => vec![Leaf::Postmaster],
            Err(Refusal::AliasLoop) => {
                let too_many = expanded.too_many.then(|| "too many addresses".to_owned());
                resolved.dead.extend(too_many);
                if self
                    .told
                    .is_news(self.accounts.told_time(), format!("loop {path}"))
                {
                    log::error!(
                        "aliases of {path} have to be mended: {} (told once an hour)",
                        resolved.dead.join(", ")
                    );
                }
                return Err(Refusal::AliasLoop);
            }
            leaves => leaves?,
        };
        for leaf in leaves {
            match leaf {
                Leaf::Account(account) => resolved.targets.push(Target::Account(account)),
                Leaf::External(address) if ours && !settings.relay_enabled => {
                    resolved.dead.push(format!("{address}: relaying is off"));
                }
                Leaf::External(address) => resolved.targets.push(Target::External(address)),
                Leaf::Postmaster => resolved.targets.extend(self.postmaster(settings).await?),
            }
        }
        if resolved.targets.is_empty() {
            return Err(Refusal::RelayDisabled);
        }
        Ok(resolved)
    }

    /// Who reads what is sent to `<postmaster>`: the configured address, which may be an alias, else the first enabled
    /// administrator. With neither, mail for it has to wait until there is one.
    async fn postmaster(&self, settings: &Settings) -> Result<Vec<Target>, Refusal> {
        if let Some(address) = &settings.hosting.postmaster {
            let path = ForwardPath::Address(address.clone());
            let leaves = self.expand(settings, &path).await?.leaves();
            let target = |leaf| match leaf {
                Leaf::Account(account) => Some(Target::Account(account)),
                Leaf::External(address) => settings.relay_enabled.then_some(Target::External(address)),
                Leaf::Postmaster => None,
            };
            let targets: Vec<Target> = leaves.into_iter().flatten().filter_map(target).collect();
            if !targets.is_empty() {
                return Ok(targets);
            }
            log::warn!("postmaster {address} gets no mail here; it goes to the first enabled administrator");
        }
        let known = lock(&self.admin).clone();
        if let Some(account) = known
            && self
                .find(&account)
                .await?
                .is_some_and(|user| user.admin && user.enabled)
        {
            return Ok(vec![Target::Account(account)]);
        }
        let found = self.accounts.first_admin(&settings.hosting.domains).await;
        let found = found.map_err(|error| refused("look for an administrator", error))?;
        lock(&self.admin).clone_from(&found);
        found
            .map(|account| vec![Target::Account(account)])
            .ok_or_else(|| {
                log::warn!("mail for the postmaster has to wait: there is no enabled administrator");
                Refusal::Unavailable
            })
    }

    async fn expand(&self, settings: &Settings, path: &ForwardPath) -> Result<Expanded, Refusal> {
        let expanded = self.accounts.expand(&settings.hosting, path).await;
        expanded.map_err(|error| refused("look up a recipient", error))
    }

    /// RCPT TO.
    pub(super) async fn recipient(
        &self,
        settings: &Settings,
        account: Option<&AccountName>,
        path: &ForwardPath,
        size: Option<u64>,
    ) -> Result<RecipientKind, Refusal> {
        let resolved = self.resolve(settings, path).await?;
        if !resolved.ours {
            may_relay(settings, account)?;
        }
        let mut has_room = false;
        for target in &resolved.targets {
            match target {
                // Without SIZE= a message has at least one octet.
                Target::Account(name) => {
                    match self.check_room(name, Usage::message(size.unwrap_or(1))).await {
                        Ok(()) => has_room = true,
                        Err(Refusal::OverQuota) => {
                            if self
                                .told
                                .is_news(self.accounts.told_time(), format!("full {name}"))
                            {
                                log::warn!("delivery to {name} fails: over quota (told once an hour)");
                            }
                        }
                        refused => refused?,
                    }
                }
                Target::External(_) if self.outbound.is_full(settings) => return Err(Refusal::QueueFull),
                Target::External(_) => has_room = true,
            }
        }
        // One full mailbox does not keep mail from the other targets of an alias.
        if !has_room {
            return Err(Refusal::OverQuota);
        }
        Ok(if resolved.ours {
            RecipientKind::Local
        } else {
            RecipientKind::External
        })
    }

    /// MAIL FROM.
    pub(super) async fn sender(
        &self,
        settings: &Settings,
        now: Mono,
        account: Option<&AccountName>,
        path: &ReversePath,
        trusted: bool,
    ) -> Result<(), Refusal> {
        match (account, path.address()) {
            (Some(account), None) => self.check_enabled(account).await?,
            (Some(account), Some(address)) if !self.is_owned(account, address).await? => {
                return Err(Refusal::SenderNotOwned);
            }
            (None, Some(address)) if !trusted && settings.hosting.hosts(&address.domain) => {
                let domain = self.accounts.domain(&address.domain).await;
                if domain
                    .map_err(|error| refused("MAIL FROM", error))?
                    .reject_own_sender
                {
                    return Err(Refusal::SenderNotOwned);
                }
            }
            _ => {}
        }
        self.check_free(settings, Some(now), 0).await
    }

    /// As much of an MT-PRIORITY as the account may have.
    pub(super) async fn priority(&self, account: &AccountName, wanted: i8) -> Result<i8, Refusal> {
        let user = self.find(account).await?.filter(|user| user.enabled);
        user.map(|user| user.priority(wanted))
            .ok_or(Refusal::AccountDisabled)
    }

    /// Whether the account may send as the address: as its own, as one in its `send_as`, and as an exact alias whose only
    /// target it is.
    pub(super) async fn is_owned(&self, account: &AccountName, address: &Address) -> Result<bool, Refusal> {
        let user = self.find(account).await?.filter(|user| user.enabled);
        let user = user.ok_or(Refusal::AccountDisabled)?;
        let exact = address.canonical();
        let settings = self.settings();
        let mut alias = false;
        if exact != *account && settings.hosting.hosts(&address.domain) {
            let aliases = self.accounts.aliases(&address.domain).await;
            let aliases = aliases.map_err(|error| refused("look up a sender", error))?;
            alias = aliases.is_some_and(|file| file.has_exact(exact.parts().0));
        }
        if alias {
            let path = ForwardPath::Address(address.clone());
            if self.expand(&settings, &path).await?.owner() == Some(account) {
                return Ok(true);
            }
        }
        // A name with a tag belongs to the user or alias of exactly that name, if there is one.
        let tagged = exact != *account && exact.parts().1 == account.parts().1;
        let taken = alias || tagged && self.find(&exact).await?.is_some();
        Ok(owns(account, &user, address, |_| taken))
    }

    /// Whether the account may send at all: it may be disabled or removed since its login.
    pub(super) async fn check_enabled(&self, account: &AccountName) -> Result<(), Refusal> {
        let user = self.find(account).await?;
        user.filter(|user| user.enabled)
            .map(drop)
            .ok_or(Refusal::AccountDisabled)
    }

    /// What the account may have. One that is no more has no limit.
    pub(super) async fn quota_of(&self, account: &AccountName) -> Result<Quota, Refusal> {
        let user = self.find(account).await?;
        Ok(user.map_or(Quota::UNLIMITED, |user| user.quota()))
    }

    /// [`Refusal::OverQuota`] if the account may not get so much more.
    pub(super) async fn check_room(&self, account: &AccountName, more: Usage) -> Result<(), Refusal> {
        let quota = self.quota_of(account).await?;
        let room = self.store.has_room(account, &quota, more).await;
        match room.map_err(|error| refused("read the usage", error))? {
            true => Ok(()),
            false => Err(Refusal::OverQuota),
        }
    }

    pub(super) async fn find(
        &self,
        account: &AccountName,
    ) -> Result<Option<std::sync::Arc<rmail_core::directory::User>>, Refusal> {
        self.accounts
            .find_steadily(account)
            .await
            .map_err(|error: Error| refused("look up a user", error))
    }
}

/// Whether the client may send to other domains.
pub(super) fn may_relay(settings: &Settings, account: Option<&AccountName>) -> Result<(), Refusal> {
    match account {
        None => Err(Refusal::RelayDenied),
        Some(_) if !settings.relay_enabled => Err(Refusal::RelayDisabled),
        Some(_) => Ok(()),
    }
}
