//! The end of DATA: a message goes into every mailbox and into the queue, or nowhere.

use std::collections::{BTreeMap, BTreeSet};

use rmail_core::addr::{AccountName, Address};
use rmail_core::directory::Target;
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::smtp::envelope::{DsnRequest, Envelope};
use rmail_core::time::Now;

use super::outbound::first_attempt;
use super::recipients::may_relay;
use super::{Service, Settings, refused};
use crate::disk::Disk;
use crate::mailstore::MailStore;

/// Where a message goes.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) accounts: BTreeSet<AccountName>,
    pub(super) external: BTreeMap<Address, DsnRequest>,
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
        let entry = (!targets.external.is_empty()).then(|| entry_of(envelope, size, &targets.external, now));
        let place = entry
            .as_ref()
            .map(|entry| self.outbound.reserve(settings, &entry.id))
            .transpose()?;
        let mut accounts = Vec::with_capacity(targets.accounts.len());
        for account in targets.accounts {
            let quota = self.quota_of(&account).await?;
            accounts.push((account, quota));
        }
        let delivered = self
            .store
            .deliver(body, &accounts, entry.as_ref(), now.unix)
            .await;
        let several = accounts.len() > 1 || entry.is_some();
        delivered.map_err(|mut error| {
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
        if let (Some(place), Some(entry)) = (place, entry) {
            place.keep();
            self.outbound.tell(entry);
        }
        Ok(())
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
            for target in resolved.targets {
                match target {
                    Target::Account(account) => drop(targets.accounts.insert(account)),
                    // What was asked for the address itself comes before what was asked for an alias.
                    Target::External(address) if !resolved.ours => {
                        targets.external.insert(address, recipient.dsn.clone());
                    }
                    Target::External(address) => {
                        let dsn = || recipient.dsn.of_alias(&recipient.path, several);
                        targets.external.entry(address).or_insert_with(dsn);
                    }
                }
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

/// The queue's entry for the recipients elsewhere.
fn entry_of(envelope: &Envelope, size: u64, recipients: &BTreeMap<Address, DsnRequest>, now: Now) -> Entry {
    Entry {
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
        wishes: envelope.wishes.clone(),
        recipients: recipients
            .iter()
            .map(|(address, report)| first_attempt(address, report.clone(), now))
            .collect(),
    }
}
