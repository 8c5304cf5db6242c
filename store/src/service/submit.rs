//! The end of DATA: a message goes into every mailbox and into the queue, or nowhere.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use rmail_core::addr::{AccountName, Address, Domain, ForwardPath};
use rmail_core::directory::Target;
use rmail_core::mailbox::Quota;
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::smtp::envelope::{DsnRequest, Envelope};
use rmail_core::time::{Now, Unix};

use super::outbound::first_attempt;
use super::recipients::may_relay;
use super::{Service, Settings, refused};
use crate::disk::Disk;
use crate::error::Error;
use crate::mailstore::MailStore;

/// Where a message goes.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) accounts: BTreeMap<AccountName, Asked>,
    pub(super) external: BTreeMap<Address, Asked>,
    /// Recipients that are delivered here and of whose success the sender wants to hear.
    pub(super) confirmed: Vec<Confirmed>,
}

/// What was asked of one recipient.
pub(super) struct Asked {
    dsn: DsnRequest,
    /// By a RCPT of its own name, not of an alias.
    direct: bool,
    /// By an alias that also leads elsewhere: a full mailbox here must not keep the mail from those.
    beyond_quota: bool,
}

impl Asked {
    /// What was asked for the address itself comes before what was asked for an alias; several of a kind are joined.
    fn note<K: Ord>(self, of: &mut BTreeMap<K, Self>, key: K) {
        match of.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(self);
            }
            Slot::Occupied(mut slot) => {
                let known = slot.get_mut();
                if self.direct == known.direct {
                    known.dsn.join(&self.dsn);
                    known.beyond_quota |= self.beyond_quota;
                } else if self.direct {
                    *known = self;
                }
            }
        }
    }
}

/// A recipient of whose success we tell.
pub(super) struct Confirmed {
    address: Address,
    dsn: DsnRequest,
    /// The account that it leads to, if it is a single one.
    account: Option<AccountName>,
    /// It is an alias with several targets.
    expanded: bool,
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Delivers and queues a message. `Ok`: it is on disk everywhere; else nothing of it remains.
    pub(super) async fn submit(
        &self,
        settings: &Settings,
        now: Now,
        body: S::Spool,
        envelope: &Envelope,
    ) -> Result<(), Refusal> {
        self.submit_telling(settings, now, body, envelope).await.map(drop)
    }

    /// The same; tells which accounts here wait for the message in the queue, because their mailboxes cannot be written now.
    pub(super) async fn submit_telling(
        &self,
        settings: &Settings,
        now: Now,
        body: S::Spool,
        envelope: &Envelope,
    ) -> Result<Vec<String>, Refusal> {
        if let Some(account) = &envelope.account {
            self.check_enabled(account).await?;
            for author in &envelope.authors {
                if !self.is_owned(account, author).await? {
                    return Err(Refusal::AuthorNotOwned);
                }
            }
        }
        let size = self.store.spool_len(&body);
        let targets = self.targets(settings, envelope).await?;
        let entry = entry_of(envelope, size, &targets, &[], now)?;
        let mut place = entry
            .as_ref()
            .map(|entry| self.outbound.reserve(settings, entry, now.unix))
            .transpose()?;
        let mut accounts = Vec::with_capacity(targets.accounts.len());
        let here = targets
            .accounts
            .iter()
            .filter(|_| held_until(envelope, now).is_none());
        for (account, asked) in here {
            let quota = match asked.beyond_quota {
                true => Quota::UNLIMITED,
                // The targets were looked up a moment ago.
                false => match self.accounts.remembered(account) {
                    Some(user) => user.quota(),
                    None => self.quota_of(account).await?,
                },
            };
            accounts.push((account.clone(), quota));
        }
        let mut instead = |failed: &[(AccountName, Error)]| {
            for (account, error) in failed {
                log::error!(
                    "message {} cannot be delivered to {account}: {error}",
                    envelope.id
                );
            }
            if failed.len() == accounts.len() && targets.external.is_empty() {
                return None;
            }
            let failed: Vec<&AccountName> = failed.iter().map(|(account, _)| account).collect();
            let entry = entry_of(envelope, size, &targets, &failed, now).ok().flatten()?;
            if place.is_none() {
                place = self.outbound.reserve(settings, &entry, now.unix).ok();
            }
            place.is_some().then_some(entry)
        };
        let delivered = self
            .store
            .deliver_some(body, &accounts, entry.as_ref(), &mut instead, now.unix)
            .await;
        let several = accounts.len() > 1 || entry.is_some();
        let queued = delivered.map_err(|mut error| {
            if several && error.refusal == Refusal::NoSuchUser {
                // One reply for all, as below.
                error.refusal = Refusal::Unavailable;
            }
            if error.refusal == Refusal::OverQuota {
                log::warn!(
                    "delivery of message {} fails: every local recipient is over quota",
                    envelope.id
                );
            }
            refused(&format!("deliver message {}", envelope.id), error)
        })?;
        let instead = queued.as_ref();
        let is_local = |to: &&Recipient| to.local && to.done.is_none();
        let waiting = instead
            .into_iter()
            .flat_map(|entry| entry.recipients.iter().filter(is_local));
        let waiting: Vec<String> = waiting.map(|to| to.address.clone()).collect();
        if !waiting.is_empty() {
            log::warn!(
                "message {} waits in the queue for {}",
                envelope.id,
                waiting.join(", ")
            );
        }
        let here = accounts.iter().map(|(account, _)| account.as_str());
        let here = here.filter(|account| !waiting.iter().any(|other| other == account));
        let sender = envelope.reverse_path.address().map(Address::to_string);
        let from = (sender.as_deref().unwrap_or_default(), envelope.account.as_ref());
        self.note_accepted(
            now.unix,
            &envelope.id,
            from,
            size,
            here,
            instead.or(entry.as_ref()),
        );
        if let (Some(place), Some(entry)) = (place, queued.or(entry)) {
            place.keep();
            self.outbound.tell(entry);
        }
        Ok(waiting)
    }

    /// Resolves the recipients again: users come and go between RCPT and the final dot.
    pub(super) async fn targets(&self, settings: &Settings, envelope: &Envelope) -> Result<Targets, Refusal> {
        let mut targets = Targets::default();
        let mut lost = None;
        for recipient in &envelope.recipients {
            let resolved = match self.resolve(settings, &recipient.path).await {
                Ok(resolved) => resolved,
                Err(refusal) => {
                    lost = Some(refusal);
                    continue;
                }
            };
            if !resolved.ours {
                may_relay(settings, envelope.account.as_ref())?;
            }
            for dead in &resolved.dead {
                log::warn!(
                    "message {} does not reach all of {}: {dead}",
                    envelope.id,
                    recipient.path
                );
            }
            let several = resolved.targets.len() > 1;
            let elsewhere = |target: &Target| matches!(target, Target::External(_));
            let leads_elsewhere = several && resolved.targets.iter().any(elsewhere);
            let mut here = None;
            let named = match &recipient.path {
                ForwardPath::Address(address) => Some(address.canonical()),
                ForwardPath::Postmaster => None,
            };
            let asked = |direct| Asked {
                dsn: match direct {
                    true => recipient.dsn.clone(),
                    false => recipient.dsn.of_alias(&recipient.path, several),
                },
                direct,
                beyond_quota: leads_elsewhere,
            };
            for target in resolved.targets {
                match target {
                    Target::Account(account) => {
                        let direct = !several && named.as_ref() == Some(&account);
                        asked(direct).note(&mut targets.accounts, account.clone());
                        here = Some(account);
                    }
                    Target::External(address) => {
                        asked(!resolved.ours).note(&mut targets.external, address);
                    }
                }
            }
            // An alias with several targets is itself what the message was delivered to (RFC 3461 §5.2.7.3).
            if (here.is_some() || several) && recipient.dsn.notify().success {
                let address = match &recipient.path {
                    ForwardPath::Address(address) => Some(address.clone()),
                    ForwardPath::Postmaster => {
                        Domain::parse(&settings.hostname).and_then(|host| Address::new("postmaster", host))
                    }
                };
                targets.confirmed.extend(address.map(|address| Confirmed {
                    address,
                    dsn: recipient.dsn.clone(),
                    account: here.filter(|_| !several),
                    expanded: several,
                }));
            }
        }
        match lost {
            None if targets.accounts.is_empty() && targets.external.is_empty() => Err(Refusal::NoSuchUser),
            None => Ok(targets),
            // One reply for all: the client tries all again, and RCPT tells it who is lost.
            Some(_) if envelope.recipients.len() > 1 => Err(Refusal::Unavailable),
            Some(refusal) => Err(refusal),
        }
    }
}

/// Until when the sender wants the message to be held (RFC 4865).
fn held_until(envelope: &Envelope, now: Now) -> Option<Unix> {
    envelope.hold_until.filter(|until| *until > now.unix)
}

/// The queue's entry: for recipients elsewhere; for those here while the message is held, and those whose mailbox could not
/// be written; and for the notice of success to a sender who wants it, which is so as durable as the message.
fn entry_of(
    envelope: &Envelope,
    size: u64,
    targets: &Targets,
    failed: &[&AccountName],
    now: Now,
) -> Result<Option<Entry>, Refusal> {
    let due = held_until(envelope, now);
    let waits = |account: &AccountName| due.is_some() || failed.contains(&account);
    let start = due.unwrap_or(now.unix);
    let mut recipients: Vec<Recipient> = targets
        .external
        .iter()
        .map(|(address, asked)| first_attempt(address, asked.dsn.clone(), start))
        .collect();
    for (account, asked) in targets.accounts.iter().filter(|(account, _)| waits(account)) {
        recipients.push(Recipient {
            local: true,
            ..first_attempt(&address_of(account.as_str())?, asked.dsn.clone(), start)
        });
    }
    if envelope.reverse_path.address().is_some() {
        // Of what waits, only the aliases are done with now.
        let waits = |recipient: &&Confirmed| recipient.account.as_ref().is_some_and(waits);
        let confirmed = targets.confirmed.iter().filter(|recipient| !waits(recipient));
        recipients.extend(confirmed.map(|recipient| Recipient {
            local: true,
            done: Some("2.1.5 delivered".to_owned()),
            expanded: recipient.expanded,
            ..first_attempt(&recipient.address, recipient.dsn.clone(), start)
        }));
    }
    if recipients.is_empty() {
        return Ok(None);
    }
    Ok(Some(Entry {
        id: envelope.id.clone(),
        sender: envelope
            .reverse_path
            .address()
            .map(Address::to_string)
            .unwrap_or_default(),
        account: envelope.account.as_ref().map(AccountName::to_string),
        arrived: now.unix.secs(),
        offset: envelope.relay_offset,
        size,
        eight_bit: envelope.eight_bit,
        hold_until: due.map_or(0, Unix::secs),
        held: false,
        wishes: envelope.wishes.clone(),
        recipients,
    }))
}

/// The address of an account by its name.
pub(super) fn address_of(account: &str) -> Result<Address, Refusal> {
    let parts = account.rsplit_once('@');
    let address = parts.and_then(|(local, domain)| Address::new(local, Domain::parse(domain)?));
    address.ok_or_else(|| {
        log::error!("account {account:?} has no address");
        Refusal::Storage
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_without_an_address_is_an_error_and_not_left_out() {
        assert_eq!(
            address_of("bob@example.com").map(|address| address.to_string()),
            Ok("bob@example.com".to_owned())
        );
        for bad in ["bob", "bob@-", "\n@example.com"] {
            assert_eq!(address_of(bad), Err(Refusal::Storage), "{bad:?}");
        }
    }
}
