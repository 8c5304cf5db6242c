//! Answers `/send`: the message is written or taken as it came, goes through what submitted mail goes through, and is on
//! disk for every recipient that can have it before the client is told.

mod deliver;
mod keys;
mod others;

use std::collections::BTreeMap;
use std::sync::Mutex;

use rmail_core::addr::AccountName;
use rmail_core::api::Failure;
use rmail_core::api::send::{Answer, Ask, Letter as Given, Message, Sending, Sent, Terms, compose};
use rmail_core::chunk::Chunk;
use rmail_core::machine::SpoolId;
use rmail_core::random::Random;
use rmail_core::smtp::server::{Letter, Posted, Posting, Written};
use rmail_core::time::Now;

use super::ApiService;
use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::service::{lock, refused};
use keys::Claim;

/// Octets that are worked on at once.
const PIECE: usize = 64 * 1024;

/// Octets of a line (`smtp.max_text_line` bounds what comes from other servers).
const MAX_LINE: usize = 1 << 20;

/// Messages that are on their way in through spools of one connection.
#[derive(Debug, Default)]
pub(super) struct Letters(Mutex<BTreeMap<SpoolId, Letter>>);

impl Letters {
    /// Whether what comes into the spool is a message that is sent.
    pub(super) fn has(&self, spool: SpoolId) -> bool {
        lock(&self.0).contains_key(&spool)
    }

    fn take(&self, spool: SpoolId) -> Option<Letter> {
        lock(&self.0).remove(&spool)
    }

    fn put(&self, spool: SpoolId, letter: Letter) {
        lock(&self.0).insert(spool, letter);
    }
}

/// Where the sender's own copy of a message comes together.
const fn copy_of(spool: SpoolId) -> SpoolId {
    SpoolId(!spool.0)
}

/// A message that is whole.
struct Outgoing<S: MailStore> {
    posted: Posted,
    body: S::Spool,
    /// For the folder of sent mail.
    copy: Option<S::Spool>,
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Answers a call of `/send`.
    pub(super) async fn send(&self, now: Now, account: &AccountName, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::Open(spool, terms) => {
                let free = self.service.check_free(&self.settings, Some(now.mono), 0);
                free.await?;
                self.desk.open_spool(spool, 0).await?;
                self.desk.discard(copy_of(spool));
                if terms.options.save_to_sent {
                    self.desk.open_spool(copy_of(spool), 0).await?;
                }
                self.letters.put(spool, self.letter(now, account, &terms));
                Ok(Answer::Opened)
            }
            Ask::Send(sending) => {
                let Sending { message, terms } = *sending;
                let sent = match message {
                    Message::Letter(letter) => self.send_letter(now, account, letter, &terms).await,
                    Message::Spool(spool) => {
                        let sent = self.send_spool(now, account, spool, &terms).await;
                        // Whatever is left of it.
                        self.forget(spool);
                        sent
                    }
                };
                sent.map(|(sent, again)| Answer::Sent(Box::new(sent), again))
            }
        }
    }

    /// Octets of a message that is sent, from the host.
    pub(super) async fn spool_letter(&self, spool: SpoolId, chunk: Chunk) {
        let Some(mut letter) = self.letters.take(spool) else {
            return;
        };
        let mut written = Vec::new();
        letter.push(&chunk, &mut |piece| written.push(piece));
        self.letters.put(spool, letter);
        self.spool_written(spool, written).await;
    }

    async fn spool_written(&self, spool: SpoolId, written: Vec<Written>) {
        for piece in written {
            match piece {
                Written::Front(chunk) => self.desk.spool(spool, chunk).await,
                Written::Own(chunk) => self.desk.spool(copy_of(spool), chunk).await,
                Written::Text(chunk) => {
                    self.desk.spool(spool, chunk.clone()).await;
                    // Where no copy is wanted there is no such spool, and nothing is done.
                    self.desk.spool(copy_of(spool), chunk).await;
                }
            }
        }
    }

    /// Nothing is left of an upload that was begun.
    pub(in crate::service::api) fn forget(&self, spool: SpoolId) {
        drop(self.letters.take(spool));
        self.desk.discard(spool);
        self.desk.discard(copy_of(spool));
    }

    async fn send_spool(
        &self,
        now: Now,
        account: &AccountName,
        spool: SpoolId,
        terms: &Terms,
    ) -> Result<(Sent, bool), Failure> {
        let letter = self.letters.take(spool);
        let letter = letter.ok_or_else(|| Failure::new(500, "The message was lost; send it again"))?;
        let mut written = Vec::new();
        let posted = letter.finish(&mut |piece| written.push(piece))?;
        self.spool_written(spool, written).await;
        let outgoing = Outgoing {
            body: self.desk.take_spool(spool)?,
            copy: match terms.options.save_to_sent {
                true => Some(self.desk.take_spool(copy_of(spool))?),
                false => None,
            },
            posted,
        };
        let digest = terms.key.as_ref().map(|key| {
            let both = [key.digest, outgoing.posted.digest].concat();
            keys::digest(&both)
        });
        let claim = self.claim(now, account, terms, digest).await?;
        self.once(now, account, claim, async {
            self.deliver(now, account, outgoing).await
        })
        .await
    }

    async fn send_letter(
        &self,
        now: Now,
        account: &AccountName,
        letter: Given,
        terms: &Terms,
    ) -> Result<(Sent, bool), Failure> {
        let digest = terms.key.as_ref().map(|key| key.digest);
        let claim = self.claim(now, account, terms, digest).await?;
        let deliver = async {
            let mut marks = Vec::new();
            let octets = match letter {
                Given::Raw(octets) => octets,
                Given::Draft(mut draft) => {
                    let original = self
                        .with_others(account, &mut draft, terms.max_size, &mut marks)
                        .await?;
                    compose(&draft, original.as_deref(), &mut self.random())
                }
            };
            let outgoing = self.write(now, account, octets, terms).await?;
            let sent = self.deliver(now, account, outgoing).await?;
            if sent.id.is_some() {
                self.mark(account, &marks).await;
            }
            Ok(sent)
        };
        self.once(now, account, claim, deliver).await
    }

    /// The key is ours, or there is none: does the work, and remembers its answer. Else the answer of the first time.
    async fn once(
        &self,
        now: Now,
        account: &AccountName,
        claim: Option<Claim<D>>,
        work: impl Future<Output = Result<Sent, Failure>>,
    ) -> Result<(Sent, bool), Failure> {
        match claim {
            None => work.await.map(|sent| (sent, false)),
            Some(Claim::Done(sent)) => Ok((*sent, true)),
            Some(Claim::Ours(held)) => {
                let result = work.await;
                match &result {
                    // The message is out: that its answer could not be remembered is no reason to say otherwise.
                    Ok(sent) if sent.id.is_some() => held.keep(sent, now.unix, account).await,
                    _ => held.release(account).await,
                }
                result.map(|sent| (sent, false))
            }
        }
    }

    /// Octets become a message.
    async fn write(
        &self,
        now: Now,
        account: &AccountName,
        octets: Vec<u8>,
        terms: &Terms,
    ) -> Result<Outgoing<S>, Failure> {
        let store = &self.service.store;
        let failed = |error| Failure::from(refused("write a message that is sent", error));
        let mut body = store.new_spool().await.map_err(failed)?;
        let mut copy = match terms.options.save_to_sent {
            true => Some(store.new_spool().await.map_err(failed)?),
            false => None,
        };
        let mut letter = self.letter(now, account, terms);
        let mut rest = Chunk::from(octets);
        let mut written = Vec::new();
        while !rest.is_empty() {
            letter.push(&rest.split_to(PIECE), &mut |piece| written.push(piece));
            for piece in written.drain(..) {
                put(&**store, &mut body, copy.as_mut(), piece)
                    .await
                    .map_err(failed)?;
            }
        }
        let posted = letter.finish(&mut |piece| written.push(piece))?;
        for piece in written {
            put(&**store, &mut body, copy.as_mut(), piece)
                .await
                .map_err(failed)?;
        }
        Ok(Outgoing { posted, body, copy })
    }

    fn letter(&self, now: Now, account: &AccountName, terms: &Terms) -> Letter {
        let posting = Posting {
            hostname: self.settings.hostname.clone(),
            account: account.clone(),
            peer: self.peer.address,
            secure: terms.secure,
            sender: terms.options.envelope_from.clone(),
            recipients: terms.options.envelope_to.clone(),
            max_recipients: terms.max_recipients,
            max_size: terms.max_size,
            max_line: MAX_LINE,
            now: now.unix,
        };
        Letter::new(posting, &mut self.random())
    }

    pub(super) fn random(&self) -> Random {
        Random::from_seed(self.service.accounts.seed())
    }
}

async fn put<S: MailStore>(
    store: &S,
    body: &mut S::Spool,
    copy: Option<&mut S::Spool>,
    piece: Written,
) -> crate::error::Result<()> {
    match (piece, copy) {
        (Written::Front(chunk), _) | (Written::Text(chunk), None) => store.write_spool(body, chunk).await,
        (Written::Own(chunk), Some(copy)) => store.write_spool(copy, chunk).await,
        (Written::Own(_), None) => Ok(()),
        (Written::Text(chunk), Some(copy)) => {
            store.write_spool(body, chunk.clone()).await?;
            store.write_spool(copy, chunk).await
        }
    }
}
