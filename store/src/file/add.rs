//! New messages: APPEND and delivery.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::imap::server::Appended;
use rmail_core::mailbox::{Flags, KeywordSet, MailboxName, ModSeq, Quota, Row, Uid, UidValidity, Usage};
use rmail_core::mime::parsed::Parsed;
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::time::{DateTime, Unix};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::mailstore::Instead;

use super::hold::Hold;
use super::io::During as _;
use super::mailbox::Mailbox;
use super::quota::Ticket;
use super::spool::{Body, Spool, needs_copy};
use super::sync::Touched;
use super::{FileStore, names};

/// A message that is to be added.
pub(super) struct New<D: Disk> {
    pub(super) body: Body<D>,
    pub(super) flags: Flags,
    pub(super) date: DateTime,
}

impl<D: Disk> New<D> {
    /// What it takes.
    pub(super) fn usage(&self) -> Usage {
        Usage::message(self.body.size.into())
    }
}

/// What was added to a mailbox: visible, but not synced.
pub(super) struct Added<D: Disk> {
    pub(super) uids: Vec<Uid>,
    pub(super) modseq: ModSeq,
    pub(super) uid_validity: UidValidity,
    pub(super) touched: Touched<D>,
}

/// Why a link was not made.
pub(super) enum Linked {
    /// It was.
    Done,
    /// The message with this index needs a copy of its own.
    Copy(usize),
    /// The reservation has to be renewed; nothing was changed.
    Stale,
}

/// Accounts that a message cannot be added to.
pub(super) struct Failed {
    /// Such an account does not keep the message from the others.
    may: bool,
    all: Vec<(AccountName, Error)>,
}

impl Failed {
    /// Every error keeps the message from all.
    pub(super) fn none() -> Self {
        Self {
            may: false,
            all: Vec::new(),
        }
    }

    /// Takes the account out, or gives the error back.
    pub(super) fn note(&mut self, account: &AccountName, error: Error) -> Result<()> {
        if !self.may {
            return Err(error);
        }
        self.all.push((account.clone(), error));
        Ok(())
    }

    fn has(&self, account: &AccountName) -> bool {
        self.all.iter().any(|(failed, _)| failed == account)
    }

    /// The first error, if there is one.
    pub(super) fn first(&mut self) -> Result<()> {
        match self.all.is_empty() {
            true => Ok(()),
            false => Err(self.all.swap_remove(0).1),
        }
    }

    fn into_first(mut self) -> Error {
        match self.first() {
            Err(error) => error,
            Ok(()) => Refusal::Storage.into(),
        }
    }
}

/// How often adding is begun anew, because the messages have to be copied or somebody counts what the account has.
pub(super) const ATTEMPTS: usize = 16;

pub(super) fn seconds(now: Unix) -> u32 {
    u32::try_from(now.secs()).unwrap_or(u32::MAX)
}

/// What is known of each message.
pub(super) fn take_parsed<D: Disk>(news: &mut [New<D>]) -> Vec<Option<Parsed>> {
    news.iter_mut().map(|new| new.body.parsed.take()).collect()
}

/// The same with the rows that they have got; flags do not matter.
pub(super) fn records<'a, D: Disk>(
    uids: &[Uid],
    news: &[New<D>],
    parsed: &'a [Option<Parsed>],
    now: Unix,
) -> Vec<(Row, &'a Parsed)> {
    let all = uids.iter().zip(news).zip(parsed);
    all.filter_map(|((uid, new), parsed)| {
        let row = new.row(*uid, ModSeq(0), now);
        Some((row, parsed.as_ref()?))
    })
    .collect()
}

impl<D: Disk> New<D> {
    fn row(&self, uid: Uid, modseq: ModSeq, now: Unix) -> Row {
        Row {
            date: self.date.unix,
            modseq,
            keywords: KeywordSet(0),
            uid,
            size: self.body.size,
            save_date: seconds(now),
            zone: self.date.zone.clamp(-1_439, 1_439),
            flags: self.flags.system,
        }
    }
}

impl<D: Disk> FileStore<D> {
    pub(super) async fn append_all(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        messages: Vec<(Spool<D>, Flags, Option<DateTime>)>,
        quota: &Quota,
        now: Unix,
    ) -> Result<Appended> {
        let mailbox = self.resolve(account, mailbox).await?;
        let mut news = Vec::with_capacity(messages.len());
        for (spool, flags, date) in messages {
            news.push(New {
                body: self.settle(spool).await?,
                flags,
                date: date.unwrap_or_else(|| DateTime::from(now)),
            });
        }
        let parsed = take_parsed(&mut news);
        let more = news.iter().map(New::usage).sum();
        let ticket = self.reserve(account, quota, more).await?;
        let ticket = ticket.ok_or(Refusal::OverQuota)?;
        let added = self.add(&mailbox, &mut news, ticket, now).await?;
        let (modseq, appended) = (
            added.modseq,
            Appended {
                uid_validity: added.uid_validity,
                uids: added.uids.clone(),
            },
        );
        self.keep(vec![added], &[]).await?;
        let records = records(&appended.uids, &news, &parsed, now);
        self.keep_new(&mailbox, appended.uid_validity, &records).await;
        self.announce(&mailbox, modseq);
        Ok(appended)
    }

    pub(super) async fn deliver_all(
        &self,
        spool: Spool<D>,
        accounts: &[(AccountName, Quota)],
        outbound: Option<&Entry>,
        instead: Option<Instead<'_>>,
        now: Unix,
    ) -> Result<Option<Entry>> {
        if let ([one], None) = (accounts, outbound) {
            return self.deliver_one(spool, one, now).await.map(|()| None);
        }
        let mut accounts: BTreeMap<&AccountName, &Quota> =
            accounts.iter().map(|(account, quota)| (account, quota)).collect();
        let mut failed = Failed {
            may: instead.is_some() && (accounts.len() > 1 || outbound.is_some()),
            all: Vec::new(),
        };
        let mut mailboxes = Vec::with_capacity(accounts.len());
        for account in accounts.keys() {
            match self.inbox(account, now).await {
                Ok(inbox) => mailboxes.push((*account, inbox)),
                Err(error) => failed.note(account, error)?,
            }
        }
        accounts.retain(|account, _| !failed.has(account));
        let mut news = [New {
            body: self.settle(spool).await?,
            flags: Flags::default(),
            date: DateTime::from(now),
        }];
        let parsed = take_parsed(&mut news);
        let mut tickets = self
            .reserve_all(&accounts, news.iter().map(New::usage).sum(), &mut failed)
            .await?;
        let mut done: Vec<Added<D>> = Vec::new();
        for (account, mailbox) in &mailboxes {
            let Some(ticket) = tickets.remove(*account) else {
                continue;
            };
            match self.add_again(account, mailbox, &mut news, ticket, now).await {
                Ok(added) => done.push(added),
                Err(error) => {
                    let Err(error) = failed.note(account, error) else {
                        continue;
                    };
                    for ticket in tickets.into_values() {
                        self.give_back(ticket).await;
                    }
                    return self.undo(done, error).await;
                }
            }
        }
        let instead = match (instead, failed.all.is_empty()) {
            (Some(instead), false) => match instead(&failed.all) {
                Some(entry) => Some(entry),
                None => return self.undo(done, failed.into_first()).await,
            },
            _ => None,
        };
        let outbound = instead.as_ref().or(outbound);
        let queued = match (outbound, &mut news) {
            (Some(entry), [new]) => self.enqueue(entry, &mut new.body).await,
            _ => Ok(None),
        };
        let queue = match queued {
            Ok(queue) => queue,
            Err(error) => return self.undo(done, error).await,
        };
        let told: Vec<_> = done
            .iter()
            .map(|added| {
                let mailbox = Arc::clone(&added.touched.mailbox);
                (mailbox, added.modseq, added.uid_validity, added.uids.clone())
            })
            .collect();
        if let Err(error) = self.keep(done, queue.as_slice()).await {
            if let Some(entry) = outbound {
                self.dequeue(&entry.id).await;
            }
            return Err(error);
        }
        for (mailbox, modseq, uid_validity, uids) in told {
            let records = records(&uids, &news, &parsed, now);
            self.keep_new(&mailbox, uid_validity, &records).await;
            self.announce(&mailbox, modseq);
        }
        Ok(instead)
    }

    /// Adds messages to an INBOX, which may have been removed with its account, and the account made again, meanwhile.
    pub(super) async fn add_again(
        &self,
        account: &AccountName,
        inbox: &Arc<Mailbox<D>>,
        news: &mut [New<D>],
        ticket: Ticket<D>,
        now: Unix,
    ) -> Result<Added<D>> {
        match self.add(inbox, news, ticket, now).await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => {
                let inbox = self.inbox(account, now).await?;
                let more = news.iter().map(New::usage).sum();
                let ticket = self.reserve_always(account, more).await?;
                self.add(&inbox, news, ticket, now).await
            }
            added => added,
        }
    }

    /// Adds messages to a mailbox, all in one change. The room that was reserved for them is given back if they do not
    /// become visible.
    pub(super) async fn add(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        news: &mut [New<D>],
        mut ticket: Ticket<D>,
        now: Unix,
    ) -> Result<Added<D>> {
        let added = self.add_reserved(mailbox, news, &mut ticket, now).await;
        if added.is_err() {
            self.give_back(ticket).await;
        }
        added
    }

    async fn add_reserved(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        news: &mut [New<D>],
        ticket: &mut Ticket<D>,
        now: Unix,
    ) -> Result<Added<D>> {
        // Copies are made outside of the lock. Somebody may rename what is to be linked again and again, but not for ever.
        for _ in 0..ATTEMPTS {
            let mut hold = self.hold(mailbox).await?;
            let mut touched = Touched::new(mailbox);
            let before = hold.state.uid_next;
            let modseq = match hold.add(news, ticket, now, &mut touched).await {
                Ok((Linked::Done, modseq)) => modseq,
                Ok((Linked::Stale, _)) => {
                    drop(hold);
                    self.renew(ticket).await?;
                    continue;
                }
                Ok((Linked::Copy(index), _)) => {
                    hold.mend().await?;
                    drop(hold);
                    // Those before it have lost the names that this change gave them.
                    for new in news.iter_mut().take(index + 1) {
                        let (file, size) = (new.body.file.clone(), new.body.size);
                        new.body = self.duplicate(&file, size, &mailbox.shards).await?;
                    }
                    continue;
                }
                Err(error) => {
                    // At the latest whoever locks next does it.
                    let _ = hold.mend().await;
                    return Err(error);
                }
            };
            let uids = (before.0..hold.state.uid_next.0).map(Uid).collect();
            return Ok(Added {
                uids,
                modseq,
                uid_validity: hold.status().uid_validity,
                touched,
            });
        }
        Err(Refusal::Busy.into())
    }

    /// Syncs what was added, or takes it back.
    pub(super) async fn keep(&self, added: Vec<Added<D>>, also: &[D::Dir]) -> Result<()> {
        let (touched, uids): (Vec<_>, Vec<_>) =
            added.into_iter().map(|added| (added.touched, added.uids)).unzip();
        match self.sync_touched(&touched, also).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let added = touched.iter().map(|touched| &touched.mailbox).zip(&uids);
                self.undo_all(added, error).await
            }
        }
    }

    /// Takes back what was added, because of this error.
    async fn undo<T>(&self, added: Vec<Added<D>>, error: Error) -> Result<T> {
        let added = added.iter().map(|added| (&added.touched.mailbox, &added.uids));
        self.undo_all(added, error).await
    }

    async fn undo_all<'m, T>(
        &self,
        added: impl Iterator<Item = (&'m Arc<Mailbox<D>>, &'m Vec<Uid>)>,
        error: Error,
    ) -> Result<T> {
        for (mailbox, uids) in added {
            if let Err(second) = self.take_back(mailbox, uids).await {
                log::error!("a message that was refused could not be taken back: {second}");
            }
        }
        Err(error)
    }

    /// Expunges messages that this operation has added.
    pub(super) async fn take_back(&self, mailbox: &Arc<Mailbox<D>>, uids: &[Uid]) -> Result<()> {
        let hold = self.hold_fresh(mailbox).await?;
        self.take_back_held(hold, mailbox, uids).await
    }

    /// The same with the lock in hand, and the rows fresh.
    pub(super) async fn take_back_held(
        &self,
        mut hold: Hold<'_, D>,
        mailbox: &Arc<Mailbox<D>>,
        uids: &[Uid],
    ) -> Result<()> {
        let mut touched = Touched::new(mailbox);
        let removed = hold.remove(uids, &mut touched).await;
        let modseq = hold.state.done;
        drop(hold);
        let account = &mailbox.reference.account;
        self.take_off(account, &touched.freed, None).await;
        removed?;
        self.announce(mailbox, modseq);
        self.sync_log(mailbox).await?;
        self.sync_touched(&[touched], &[]).await
    }
}

impl<D: Disk> Hold<'_, D> {
    /// Links messages under new UIDs and publishes them.
    async fn add(
        &mut self,
        news: &mut [New<D>],
        ticket: &Ticket<D>,
        now: Unix,
        touched: &mut Touched<D>,
    ) -> Result<(Linked, ModSeq)> {
        let mut bits = Vec::with_capacity(news.len());
        for new in news.iter() {
            bits.push(self.keyword_bits(&new.flags.keywords).await?);
        }
        let modseq = self.numbers(news.len()).await?;
        self.begin(modseq).await?;
        if !self.store.stands(ticket).await? {
            self.finish().await?;
            return Ok((Linked::Stale, modseq));
        }
        let mut uid = self.state.uid_next;
        let mut shard: Option<(u32, D::Dir)> = None;
        for (index, (new, bits)) in news.iter_mut().zip(bits).enumerate() {
            let row = new.row(uid, modseq, now);
            let dir = self.shard_dir(uid, &mut shard).await?;
            let placed = self
                .store
                .place(&mut new.body, &dir, &names::encode(&row, bits))
                .await;
            match placed {
                Err(error) if needs_copy(&new.body, &error) => return Ok((Linked::Copy(index), modseq)),
                other => other.during(|| format!("link UID {} of {}", uid.0, self.mailbox.label()))?,
            }
            self.put_with(row, bits);
            uid.0 += 1;
        }
        touched.shards.extend(self.touched());
        self.publish_uids(uid).await?;
        Ok((Linked::Done, modseq))
    }

    /// The shard directory of a UID; made if it is not there. The last one is kept open.
    pub(super) async fn shard_dir(&self, uid: Uid, last: &mut Option<(u32, D::Dir)>) -> Result<D::Dir> {
        let shard = self.store.shard(uid);
        if let Some((_, dir)) = last.as_ref().filter(|(number, _)| *number == shard) {
            return Ok(dir.clone());
        }
        let dir = self.store.make_shard_dir(self.mailbox, shard).await?;
        *last = Some((shard, dir.clone()));
        Ok(dir)
    }

    /// Enters a row with this bitmap.
    pub(super) fn put_with(&mut self, row: Row, bits: [u64; 4]) {
        let keywords = match &mut self.core.keywords {
            Some((keywords, _)) => super::cache::intern(keywords, bits),
            None => KeywordSet(0),
        };
        self.put(Row { keywords, ..row });
    }
}
