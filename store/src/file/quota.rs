//! Who adds messages reserves their room first; who removes messages gives it back. See [`super::usage`].

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{Quota, Usage};
use rmail_core::refusal::Refusal;

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::add::Failed;
use super::hold::Hold;
use super::io::once;
use super::ledger::{Ledger, Locked, Transit};
use super::mailbox::Mailbox;
use super::recount::usage_of;
use super::usage::{Record, Seen};

/// Before somebody is refused, a count that is older than so many seconds is made anew.
const OLD: u32 = 3_600;

/// Room that is reserved in an account for messages that are not visible yet. It has to be [given
/// back](FileStore::give_back) if they do not become visible.
pub(super) struct Ticket<D: Disk> {
    ledger: Arc<Ledger<D>>,
    more: Usage,
    /// The epoch of the record in which it stands. `None`: there is no record.
    epoch: Option<u32>,
}

/// What was removed from an account and is to be taken off its record.
#[derive(Debug, Default)]
pub(super) struct Freed(Vec<(Seen, Usage)>);

impl Freed {
    /// So much has gone since this epoch was seen.
    pub(super) fn push(&mut self, seen: Seen, gone: Usage) {
        match self.0.last_mut().filter(|(last, _)| *last == seen) {
            Some((_, sum)) => *sum += gone,
            None => self.0.push((seen, gone)),
        }
    }
}

impl<D: Disk> Ticket<D> {
    /// What is reserved.
    pub(super) fn more(&self) -> Usage {
        self.more
    }
}

impl<D: Disk> FileStore<D> {
    /// [`crate::MailStore::has_room`].
    pub(super) async fn may_add(&self, account: &AccountName, quota: &Quota, more: Usage) -> Result<bool> {
        if quota.is_unlimited() {
            return Ok(true);
        }
        let ledger = match self.ledger(account).await {
            // Its tree is made when something comes for it.
            Err(error) if error.refusal == Refusal::NoSuchMailbox => {
                return Ok(quota.admits(Usage::default(), more));
            }
            ledger => ledger?,
        };
        if let Some(record) = self.peek(&ledger).await?
            && admits(&ledger, &record, quota, more)
        {
            return Ok(true);
        }
        let taken = self.reserve_in(&ledger, quota, more, false).await?;
        Ok(taken.is_some())
    }

    /// [`crate::MailStore::has_room_now`].
    pub(super) fn may_add_now(&self, account: &AccountName, quota: &Quota, more: Usage) -> bool {
        let known = || {
            let ledger = self.registry().ledger(account)?;
            let record = once(self.peek(&ledger))?.ok()??;
            Some(admits(&ledger, &record, quota, more))
        };
        quota.is_unlimited() || known().unwrap_or(false)
    }

    /// Reserves room. `None`: it would be over the quota.
    pub(super) async fn reserve(
        &self,
        account: &AccountName,
        quota: &Quota,
        more: Usage,
    ) -> Result<Option<Ticket<D>>> {
        let ledger = self.ledger(account).await?;
        self.reserve_in(&ledger, quota, more, true).await
    }

    /// Reserves room, whatever the account has.
    pub(super) async fn reserve_always(&self, account: &AccountName, more: Usage) -> Result<Ticket<D>> {
        let taken = self.reserve(account, &Quota::UNLIMITED, more).await?;
        taken.ok_or_else(|| Refusal::OverQuota.into())
    }

    /// Reserves room in every account, for a message that is refused only if it is over the quotas of all of them.
    pub(super) async fn reserve_all(
        &self,
        accounts: &BTreeMap<&AccountName, &Quota>,
        more: Usage,
        failed: &mut Failed,
    ) -> Result<BTreeMap<AccountName, Ticket<D>>> {
        let mut tickets = BTreeMap::new();
        let reserved = self.reserve_some(accounts, more, &mut tickets, failed).await;
        if let Err(error) = reserved {
            for ticket in tickets.into_values() {
                self.give_back(ticket).await;
            }
            return Err(error);
        }
        Ok(tickets)
    }

    async fn reserve_some(
        &self,
        accounts: &BTreeMap<&AccountName, &Quota>,
        more: Usage,
        tickets: &mut BTreeMap<AccountName, Ticket<D>>,
        failed: &mut Failed,
    ) -> Result<()> {
        let mut over = Vec::new();
        for (account, quota) in accounts {
            match self.reserve(account, quota, more).await {
                Ok(Some(ticket)) => drop(tickets.insert((*account).clone(), ticket)),
                Ok(None) => over.push(*account),
                Err(error) => failed.note(account, error)?,
            }
        }
        if tickets.is_empty() && !over.is_empty() {
            failed.first()?;
            return Err(Refusal::OverQuota.into());
        }
        for account in over {
            log::warn!("{account} is over quota and gets a message that goes to others too");
            match self.reserve_always(account, more).await {
                Ok(ticket) => drop(tickets.insert(account.clone(), ticket)),
                Err(error) => failed.note(account, error)?,
            }
        }
        Ok(())
    }

    async fn reserve_in(
        &self,
        ledger: &Arc<Ledger<D>>,
        quota: &Quota,
        more: Usage,
        take: bool,
    ) -> Result<Option<Ticket<D>>> {
        let ticket = |epoch| Ticket {
            ledger: Arc::clone(ledger),
            more,
            epoch,
        };
        if quota.is_unlimited() && self.peek(ledger).await?.is_none() {
            // Whoever counts first will count these.
            return Ok(Some(ticket(None)));
        }
        for counted in [false, true] {
            let mut locked = self.lock_ledger(ledger).await?;
            let known = match locked.record {
                None if quota.is_unlimited() => return Ok(Some(ticket(None))),
                known => known,
            };
            if let Some(mut record) = known
                && (quota.is_unlimited() || admits(ledger, &record, quota, more))
            {
                if take {
                    record.reserve(more);
                    locked.write(record).await?;
                }
                return Ok(Some(ticket(Some(record.epoch))));
            }
            if counted || !is_old(&mut locked).await? {
                break;
            }
            drop(locked);
            let before = known.map(|record| record.epoch);
            self.count_unless(ledger, |record| record.is_exact() && before != Some(record.epoch))
                .await?;
        }
        Ok(None)
    }

    /// Whether a reservation still stands in the record. It is asked after a change of the mailbox was begun, and before
    /// anything of it is visible; if not, it has to be [renewed](FileStore::renew), and the change begun anew.
    pub(super) async fn stands(&self, ticket: &Ticket<D>) -> Result<bool> {
        let record = self.peek(&ticket.ledger).await?;
        Ok(record.map(|record| record.epoch) == ticket.epoch)
    }

    /// Carries a reservation over into the record's present epoch.
    pub(super) async fn renew(&self, ticket: &mut Ticket<D>) -> Result<()> {
        let mut locked = self.lock_ledger(&ticket.ledger).await?;
        let Some(mut record) = locked.record else {
            ticket.epoch = None;
            return Ok(());
        };
        record.renew(ticket.epoch, ticket.more);
        locked.write(record).await?;
        ticket.epoch = Some(record.epoch);
        Ok(())
    }

    /// Nothing became visible of what this was reserved for.
    pub(super) async fn give_back(&self, ticket: Ticket<D>) {
        let more = ticket.more;
        self.give_some_back(&ticket, more).await;
    }

    /// So much of it did not become visible.
    pub(super) async fn give_some_back(&self, ticket: &Ticket<D>, some: Usage) {
        if some.is_empty() || ticket.epoch.is_none() {
            return;
        }
        let given = self.change_record(&ticket.ledger, |record| record.release(ticket.epoch, some));
        if let Err(error) = given.await {
            log::warn!("usage of {} stays too high: {error}", ticket.ledger.account);
        }
    }

    /// Takes off what was removed, and with it what a MOVE had twice.
    pub(super) async fn take_off(&self, account: &AccountName, freed: &Freed, moved: Option<Transit<D>>) {
        if freed.0.iter().all(|(seen, _)| *seen == Seen::Nothing) {
            return;
        }
        let taken = async {
            let ledger = self.ledger(account).await?;
            let change = |record: &mut Record| {
                for (seen, gone) in &freed.0 {
                    record.free(*seen, *gone);
                }
                drop(moved);
            };
            self.change_record(&ledger, change).await
        };
        match taken.await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => {}
            Err(error) => log::warn!("usage of {account} stays too high: {error}"),
            Ok(()) => {}
        }
    }

    async fn change_record(&self, ledger: &Ledger<D>, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut locked = self.lock_ledger(ledger).await?;
        match locked.record {
            Some(mut record) => {
                change(&mut record);
                locked.write(record).await
            }
            None => Ok(()),
        }
    }

    /// Says that a MOVE has what was reserved in two mailboxes at present.
    pub(super) fn in_transit(&self, ticket: &Ticket<D>) -> Transit<D> {
        ticket.ledger.begin_transit(ticket.more)
    }
}

/// What goes with a mailbox that is about to be deleted, if that could be found out, and the epoch seen before.
pub(super) struct Leaving {
    usage: Option<Usage>,
    before: Seen,
}

impl<D: Disk> Hold<'_, D> {
    /// What the mailbox has, for [`FileStore::has_left`]. The deletion does not wait for what cannot be read.
    pub(super) async fn leaving(&mut self) -> Leaving {
        let fresh = self.refresh().await;
        if let Err(error) = &fresh {
            log::warn!(
                "{} is deleted, but not all of it could be read: {error}",
                self.mailbox.label()
            );
        }
        let view = self.mailbox.view().filter(|_| fresh.is_ok());
        Leaving {
            usage: view.as_ref().map(usage_of),
            before: self.store.seen(&self.mailbox.reference.account).await,
        }
    }
}

impl<D: Disk> FileStore<D> {
    /// A mailbox is deleted: takes off what it had.
    pub(super) async fn has_left(&self, mailbox: &Mailbox<D>, leaving: Leaving) {
        let account = &mailbox.reference.account;
        let mut freed = Freed::default();
        // The moment at which it went is not one that a count waits for: only without a count in between is it certain.
        let after = self.seen(account).await;
        let quiet = match leaving.before {
            Seen::Epoch(epoch) => epoch & 1 == 0 && after == leaving.before,
            Seen::Nothing => after == Seen::Nothing,
            Seen::Unknown => false,
        };
        match leaving.usage.filter(|_| quiet) {
            Some(usage) => freed.push(after, usage),
            None => freed.push(Seen::Unknown, Usage::default()),
        }
        self.take_off(account, &freed, None).await;
    }
}

fn admits<D: Disk>(ledger: &Ledger<D>, record: &Record, quota: &Quota, more: Usage) -> bool {
    record.known && quota.admits(record.usage.without(ledger.transit()), more)
}

/// Whether a count may show that there is room after all.
async fn is_old<D: Disk>(locked: &mut Locked<'_, D>) -> Result<bool> {
    let Some(record) = locked.record.filter(Record::is_exact) else {
        return Ok(true);
    };
    let now = locked.write_and_tell_time(record).await?;
    // A clock that was set back makes the count look as if it were to come.
    Ok(now < record.recounted || now - record.recounted > OLD)
}
