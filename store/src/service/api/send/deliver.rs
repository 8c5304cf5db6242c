//! A message that is whole, to everybody who can have it.

use rmail_core::addr::{AccountName, ForwardPath};
use rmail_core::api::Failure;
use rmail_core::api::mail::{FolderId, MessageId};
use rmail_core::api::send::{Failed, Sent};
use rmail_core::directory::Target;
use rmail_core::mailbox::{Flags, MailboxName, SpecialUse, SystemFlags};
use rmail_core::note::Note;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::envelope::{Envelope, Recipient};
use rmail_core::time::Now;

use super::Outgoing;
use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::MailStore;
use crate::service::api::ApiService;
use crate::service::{lock, refused};

/// A recipient who can have it, and where its mail goes.
type Reached = (Recipient, Vec<Target>);

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Delivers, queues, keeps a copy.
    pub(super) async fn deliver(
        &self,
        now: Now,
        account: &AccountName,
        outgoing: Outgoing<S>,
    ) -> core::result::Result<Sent, Failure> {
        let (service, settings) = (&*self.service, &*self.settings);
        let Outgoing { posted, body, copy } = outgoing;
        let envelope = posted.envelope;
        let trusted = self.peer.trusted;
        let checked = service.sender(settings, now.mono, Some(account), &envelope.reverse_path, trusted);
        let within = service.message_within(settings, now, self.peer, checked);
        within
            .await
            .map_err(|refusal| self.too_many(now, account, refusal))?;
        for author in &envelope.authors {
            if !service.is_owned(account, author).await? {
                return Err(Refusal::AuthorNotOwned.into());
            }
        }
        if envelope.recipients.is_empty() {
            return Err(Failure::new(400, "The message has no recipients"));
        }
        let mut sent = Sent {
            message_id: posted.message_id,
            ..Sent::default()
        };
        let size = service.store.spool_len(&body);
        let reached = self
            .reached(now, account, &envelope, size, &mut sent.failed)
            .await?;
        if reached.is_empty() {
            return Ok(sent);
        }
        let envelope = Envelope {
            recipients: reached.iter().map(|(recipient, _)| recipient.clone()).collect(),
            ..envelope
        };
        let waiting = service.submit_telling(settings, now, body, &envelope).await?;
        for (recipient, targets) in &reached {
            let here = |target: &Target| match target {
                Target::Account(account) => !waiting.iter().any(|name| name == account.as_str()),
                Target::External(_) => false,
            };
            let list = match targets.iter().any(here) {
                true => &mut sent.sent,
                false => &mut sent.queued,
            };
            list.push(name_of(recipient));
        }
        sent.note = Some(Note::Accepted {
            id: envelope.id.clone(),
            from: envelope.reverse_path.to_string(),
            recipients: envelope.recipients.len(),
            size,
        });
        sent.id = Some(envelope.id);
        if let Some(copy) = copy {
            sent.saved = self.keep_copy(now, account, copy).await;
        }
        Ok(sent)
    }

    /// Who can have it; who cannot is noted with the reason.
    async fn reached(
        &self,
        now: Now,
        account: &AccountName,
        envelope: &Envelope,
        size: u64,
        failed: &mut Vec<Failed>,
    ) -> core::result::Result<Vec<Reached>, Failure> {
        let (service, settings) = (&*self.service, &*self.settings);
        let mut reached = Vec::with_capacity(envelope.recipients.len());
        for recipient in &envelope.recipients {
            let checked = async {
                service
                    .recipient(settings, Some(account), &recipient.path, Some(size))
                    .await?;
                service.resolve(settings, &recipient.path).await
            };
            let within = service.recipient_within(settings, now, self.peer, Some(account), checked);
            match within.await {
                Ok(resolved) => reached.push((recipient.clone(), resolved.targets)),
                Err(refusal @ Refusal::TooManyAttempts) => return Err(self.too_many(now, account, refusal)),
                Err(refusal) => failed.push(Failed {
                    recipient: name_of(recipient),
                    error: Failure::from(refusal).error,
                }),
            }
        }
        Ok(reached)
    }

    /// A refusal; one for a limit says how long it holds.
    fn too_many(&self, now: Now, account: &AccountName, refusal: Refusal) -> Failure {
        let failure = Failure::from(refusal);
        if refusal != Refusal::TooManyAttempts {
            return failure;
        }
        let rates = &self.settings.rates;
        let limiter = lock(&self.service.limits.limiter);
        let message = limiter.message_wait(now.mono, rates, self.peer.address);
        let wait = message.or_else(|| limiter.recipient_wait(now.mono, rates, account));
        Failure {
            error: "Too much mail was sent; try again later".to_owned(),
            retry_after: wait.or(failure.retry_after),
            ..failure
        }
    }

    /// The copy among sent mail; its id. That there is none, because the account is full say, is no failure: the message is
    /// out.
    async fn keep_copy(&self, now: Now, account: &AccountName, copy: S::Spool) -> Option<String> {
        match self.append_copy(now, account, copy).await {
            Ok(id) => Some(id.to_string()),
            Err(error) if error.refusal == Refusal::OverQuota => None,
            Err(error) => {
                refused(&format!("keep a copy of what {account} sends"), error);
                None
            }
        }
    }

    async fn append_copy(&self, now: Now, account: &AccountName, copy: S::Spool) -> Result<MessageId> {
        let store = &self.service.store;
        let quota = self.service.quota_of(account).await?;
        let folder = self.sent_folder(now, account).await?;
        let flags = Flags {
            system: SystemFlags::SEEN,
            keywords: Vec::new(),
        };
        let appended = store
            .append(account, &folder, vec![(copy, flags, None)], &quota, now.unix)
            .await?;
        let id = store.status(account, &folder).await?.id;
        let uid = appended.uids.first().copied().unwrap_or_default();
        Ok(MessageId {
            folder: FolderId(id),
            uid,
        })
    }

    /// The folder for sent mail: the one that is there for it (RFC 6154 §2), else the one of that name, which is made.
    async fn sent_folder(&self, now: Now, account: &AccountName) -> Result<MailboxName> {
        let store = &self.service.store;
        let mut list = store.list(account).await?;
        list.retain(|entry| entry.selectable);
        let special = list
            .iter()
            .find(|entry| entry.special_use.contains(&SpecialUse::Sent));
        let found = special.or_else(|| list.iter().find(|entry| entry.name.as_str() == "Sent"));
        if let Some(found) = found {
            return Ok(found.name.clone());
        }
        let name = MailboxName::new("Sent").map_err(|_| Refusal::BadMailboxName)?;
        store
            .create(account, &name, &[SpecialUse::Sent], now.unix)
            .await?;
        Ok(name)
    }
}

/// As the client is told of it.
fn name_of(recipient: &Recipient) -> String {
    match &recipient.path {
        ForwardPath::Address(address) => address.to_string(),
        ForwardPath::Postmaster => "postmaster".to_owned(),
    }
}
