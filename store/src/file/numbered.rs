//! New messages under UIDs that the caller gives: import and restore, which must not make clients fetch everything anew.
//!
//! It is APPEND with three differences. The UIDs are the caller's: ascending, none below UIDNEXT. The ceiling of
//! `status.json` is raised to exactly what is used, not by a block, so that after a power cut the caller can go on with
//! as few UIDs lost as possible. And the UIDVALIDITY may be set, if no UID has ever been promised: `uid_ceiling` is then
//! still 1, which only `status.json` itself can say. UIDVALIDITY and ceiling are written with one replacement of the file;
//! the account's counter is raised before, so that no other mailbox gets the same value later.

use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::imap::server::Appended;
use rmail_core::mailbox::{Flags, KeywordSet, MailboxName, ModSeq, Row, Uid, UidValidity};
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};

use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::Numbering;

use super::add::{ATTEMPTS, Added, Linked, New, seconds};
use super::hold::Hold;
use super::io::During as _;
use super::mailbox::Mailbox;
use super::quota::Ticket;
use super::spool::{Spool, needs_copy};
use super::sync::Touched;
use super::{FileStore, names};

impl<D: Disk> FileStore<D> {
    pub(super) async fn append_with_numbers(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        numbering: Numbering,
        messages: Vec<(Uid, Spool<D>, Flags, Option<DateTime>)>,
        now: Unix,
    ) -> Result<Appended> {
        let mailbox = self.resolve(account, mailbox).await?;
        self.may_number(&mailbox, numbering, messages.iter().map(|(uid, ..)| *uid))
            .await?;
        if let Some(wanted) = numbering.uid_validity {
            let held = self.lock_account(account).await?;
            self.reserve_uid_validity(account, &held, wanted, now).await?;
        }
        let mut news = Vec::with_capacity(messages.len());
        for (uid, spool, flags, date) in messages {
            let body = self.settle(spool).await?;
            let date = date.unwrap_or_else(|| DateTime::from(now));
            news.push((uid, New { body, flags, date }));
        }
        // Whoever restores mail is not refused, but what is restored counts.
        let more = news.iter().map(|(_, new)| new.usage()).sum();
        let mut ticket = self.reserve_always(account, more).await?;
        let added = self
            .add_numbered(&mailbox, numbering, &mut news, &mut ticket, now)
            .await;
        if added.is_err() {
            self.give_back(ticket).await;
        }
        let added = added?;
        let (modseq, appended) = (
            added.modseq,
            Appended {
                uid_validity: added.uid_validity,
                uids: added.uids.clone(),
            },
        );
        self.keep(vec![added], &[]).await?;
        self.announce(&mailbox, modseq);
        Ok(appended)
    }

    /// Goes on with MODSEQs above this one.
    pub(super) async fn raise_modseq_of(&self, mailbox: &Arc<Mailbox<D>>, above: ModSeq) -> Result<()> {
        let mut hold = self.hold_fresh(mailbox).await?;
        if hold.state.done > above {
            return Ok(());
        }
        let before = hold.state;
        hold.state.begun = above;
        let modseq = match hold.numbers(0).await {
            Ok(modseq) => modseq,
            Err(error) => {
                hold.state = before;
                return Err(error);
            }
        };
        hold.begin(modseq).await?;
        hold.finish().await?;
        drop(hold);
        self.announce(mailbox, modseq);
        Ok(())
    }

    /// Refuses early what [`Hold::may_number`] will refuse, before anything is written.
    async fn may_number(
        &self,
        mailbox: &Mailbox<D>,
        numbering: Numbering,
        uids: impl Iterator<Item = Uid>,
    ) -> Result<()> {
        self.hold(mailbox).await?.may_number(numbering, uids).map(drop)
    }

    /// As [`FileStore::add`], with these UIDs.
    async fn add_numbered(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        numbering: Numbering,
        news: &mut [(Uid, New<D>)],
        ticket: &mut Ticket<D>,
        now: Unix,
    ) -> Result<Added<D>> {
        for _ in 0..ATTEMPTS {
            let mut hold = self.hold(mailbox).await?;
            let mut touched = Touched::new(mailbox);
            let modseq = match hold
                .add_numbered(numbering, news, ticket, now, &mut touched)
                .await
            {
                Ok((Linked::Done, modseq)) => modseq,
                Ok((Linked::Stale, _)) => {
                    drop(hold);
                    self.renew(ticket).await?;
                    continue;
                }
                Ok((Linked::Copy(index), _)) => {
                    hold.mend().await?;
                    drop(hold);
                    for (_, new) in news.iter_mut().take(index + 1) {
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
            return Ok(Added {
                uids: news.iter().map(|(uid, _)| *uid).collect(),
                modseq,
                uid_validity: hold.status().uid_validity,
                touched,
            });
        }
        Err(Refusal::Busy.into())
    }
}

impl<D: Disk> Hold<'_, D> {
    /// UIDNEXT after these UIDs.
    ///
    /// # Errors
    /// `NotPossible` if one of them is not above all before it, or the UIDVALIDITY cannot be set any more; `MailboxFull`
    /// above the last UID.
    fn may_number(&self, numbering: Numbering, uids: impl Iterator<Item = Uid>) -> Result<Uid> {
        let status = self.status();
        let other = |wanted: &UidValidity| *wanted != status.uid_validity;
        let sets = numbering.uid_validity.filter(other);
        if sets.is_some_and(|wanted| wanted.0 == 0 || status.uid_ceiling != 1) {
            return Err(Refusal::NotPossible.into());
        }
        let mut next = self.state.uid_next;
        for uid in uids {
            if uid < next {
                return Err(Refusal::NotPossible.into());
            }
            next = Uid(uid.0.checked_add(1).ok_or(Refusal::MailboxFull)?);
        }
        let next = next.max(numbering.uid_next.unwrap_or_default());
        if next.0 > self.store.limits().last_uid && next > self.state.uid_next {
            return Err(Refusal::MailboxFull.into());
        }
        Ok(next)
    }

    async fn add_numbered(
        &mut self,
        numbering: Numbering,
        news: &mut [(Uid, New<D>)],
        ticket: &Ticket<D>,
        now: Unix,
        touched: &mut Touched<D>,
    ) -> Result<(Linked, ModSeq)> {
        let next = self.may_number(numbering, news.iter().map(|(uid, _)| *uid))?;
        let mut bits = Vec::with_capacity(news.len());
        for (_, new) in news.iter() {
            bits.push(self.keyword_bits(&new.flags.keywords).await?);
        }
        let modseq = self.promise(numbering, next).await?;
        self.begin(modseq).await?;
        if !self.store.stands(ticket).await? {
            self.finish().await?;
            return Ok((Linked::Stale, modseq));
        }
        let mut shard: Option<(u32, D::Dir)> = None;
        for (index, ((uid, new), bits)) in news.iter_mut().zip(bits).enumerate() {
            let row = Row {
                date: new.date.unix,
                modseq,
                keywords: KeywordSet(0),
                uid: *uid,
                size: new.body.size,
                save_date: seconds(now),
                zone: new.date.zone.clamp(-1_439, 1_439),
                flags: new.flags.system,
            };
            let dir = self.shard_dir(*uid, &mut shard).await?;
            let name = names::encode(&row, bits);
            match self.store.place(&mut new.body, &dir, &name).await {
                Err(error) if needs_copy(&new.body, &error) => return Ok((Linked::Copy(index), modseq)),
                other => other.during(|| format!("link UID {} of {}", uid.0, self.mailbox.label()))?,
            }
            self.put_with(row, bits);
        }
        touched.shards.extend(self.touched());
        self.publish_uids(next).await?;
        Ok((Linked::Done, modseq))
    }

    /// A new MODSEQ, with UIDVALIDITY and the ceiling of UIDs on disk.
    async fn promise(&mut self, numbering: Numbering, next: Uid) -> Result<ModSeq> {
        let modseq = self.numbers(0).await?;
        let mut status = self.status().clone();
        status.uid_validity = numbering.uid_validity.unwrap_or(status.uid_validity);
        status.uid_ceiling = status.uid_ceiling.max(next.0);
        if status != *self.status() {
            self.write_status(status).await?;
        }
        Ok(modseq)
    }
}
