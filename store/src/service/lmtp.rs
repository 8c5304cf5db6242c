//! The end of DATA in LMTP: every recipient has an outcome of its own.

use rmail_core::addr::AccountName;
use rmail_core::mailbox::Usage;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::envelope::{Envelope, Recipient};
use rmail_core::time::Now;

use super::{Service, Settings};
use crate::disk::Disk;
use crate::mailstore::MailStore;

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Delivers and queues a message for those recipients that can have it: stored once, all of them or none. What
    /// happens to each, in the envelope's order.
    ///
    /// Who cannot have it is found out before: nobody else waits for a user who is gone or over quota.
    pub(super) async fn submit_each(
        &self,
        settings: &Settings,
        now: Now,
        body: S::Spool,
        envelope: &Envelope,
    ) -> Vec<Result<(), Refusal>> {
        let size = self.store.spool_len(&body);
        let mut outcomes = Vec::with_capacity(envelope.recipients.len());
        for recipient in &envelope.recipients {
            outcomes.push(self.can_have(settings, envelope, recipient, size).await);
        }
        let reached = envelope.recipients.iter().zip(&outcomes);
        let reached: Vec<Recipient> = reached
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(recipient, _)| recipient.clone())
            .collect();
        if reached.is_empty() {
            return outcomes;
        }
        let envelope = Envelope {
            recipients: reached,
            ..envelope.clone()
        };
        if let Err(refusal) = self.submit(settings, now, body, &envelope).await {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(refusal);
            }
        }
        outcomes
    }

    /// Whether a recipient is there and has room for so many octets. Of an alias, somebody has to.
    async fn can_have(
        &self,
        settings: &Settings,
        envelope: &Envelope,
        recipient: &Recipient,
        size: u64,
    ) -> Result<(), Refusal> {
        let alone = Envelope {
            recipients: vec![recipient.clone()],
            ..envelope.clone()
        };
        let targets = self.targets(settings, &alone).await?;
        if !targets.external.is_empty() || targets.accounts.is_empty() {
            return Ok(());
        }
        let mut full = Ok(());
        for account in targets.accounts.keys() {
            match self.check_room(account, Usage::message(size)).await {
                Ok(()) => return Ok(()),
                Err(refusal) => full = Err(Self::note_full(account, envelope, refusal)),
            }
        }
        full
    }

    fn note_full(account: &AccountName, envelope: &Envelope, refusal: Refusal) -> Refusal {
        if refusal == Refusal::OverQuota {
            log::warn!(
                "delivery of message {} to {account} fails: over quota",
                envelope.id
            );
        }
        refusal
    }
}
