//! Who may send to whom, and as whom.

use rmail_core::addr::{AccountName, Address, ForwardPath, ReversePath};
use rmail_core::directory::{Route, Target, owns};
use rmail_core::mailbox::{Quota, Usage};
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::RecipientKind;

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
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Where the mail for a recipient goes now.
    pub(super) async fn resolve(&self, settings: &Settings, path: &ForwardPath) -> Result<Resolved, Refusal> {
        let (candidates, or_postmaster) = match settings.hosting.route(path) {
            Route::External(address) => {
                return Ok(Resolved {
                    ours: false,
                    targets: vec![Target::External(address)],
                });
            }
            Route::Local {
                candidates,
                or_postmaster,
            } => (candidates, or_postmaster),
        };
        let mut answer = Err(Refusal::NoSuchUser);
        for account in candidates {
            if let Some(user) = self.find(&account).await? {
                answer = user.enabled.then_some(account).ok_or(Refusal::AccountDisabled);
                break;
            }
        }
        let target = match answer {
            Ok(account) => Target::Account(account),
            Err(_) if or_postmaster => self.postmaster(settings).await?,
            Err(refusal) => return Err(refusal),
        };
        Ok(Resolved {
            ours: true,
            targets: vec![target],
        })
    }

    /// Who reads what is sent to `<postmaster>`: the configured address, else the first enabled administrator. With
    /// neither, mail for it has to wait until there is one.
    async fn postmaster(&self, settings: &Settings) -> Result<Target, Refusal> {
        if let Some(address) = &settings.hosting.postmaster {
            match settings.hosting.route(&ForwardPath::Address(address.clone())) {
                Route::External(address) if settings.relay_enabled => return Ok(Target::External(address)),
                Route::External(_) => {}
                Route::Local { candidates, .. } => {
                    for account in candidates {
                        if self.find(&account).await?.is_some_and(|user| user.enabled) {
                            return Ok(Target::Account(account));
                        }
                    }
                }
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
            return Ok(Target::Account(account));
        }
        let found = self.accounts.first_admin(&settings.hosting.domains).await;
        let found = found.map_err(|error| refused("look for an administrator", error))?;
        lock(&self.admin).clone_from(&found);
        found.map(Target::Account).ok_or_else(|| {
            log::warn!("mail for the postmaster has to wait: there is no enabled administrator");
            Refusal::Unavailable
        })
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
        for target in &resolved.targets {
            match target {
                // Without SIZE= a message has at least one octet.
                Target::Account(name) => {
                    let room = self.check_room(name, Usage::message(size.unwrap_or(1))).await;
                    if room == Err(Refusal::OverQuota) {
                        log::warn!("delivery to {name} fails: over quota");
                    }
                    room?;
                }
                Target::External(_) if self.outbound.is_full(settings) => return Err(Refusal::QueueFull),
                _ => {}
            }
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
        self.check_free(settings, 0).await
    }

    /// Whether the account may send as the address.
    pub(super) async fn is_owned(&self, account: &AccountName, address: &Address) -> Result<bool, Refusal> {
        let user = self.find(account).await?.filter(|user| user.enabled);
        let user = user.ok_or(Refusal::AccountDisabled)?;
        // A name with a tag belongs to the user of exactly that name, if there is one.
        let exact = address.canonical();
        let tagged = exact != *account && exact.parts().1 == account.parts().1;
        let taken = tagged && self.find(&exact).await?.is_some();
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
