//! Counting what an account's messages take. See [`super::usage`] for how a count goes beside changes.

use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxId, MailboxName, Usage};
use rmail_core::refusal::Refusal;

use crate::disk::Disk;
use crate::error::{Error, Result};

use super::FileStore;
use super::cache::{scan_dir, shard_of_name};
use super::io::{During as _, found, within};
use super::ledger::Ledger;
use super::mailbox::{Mailbox, View};
use super::state::State;
use super::usage::Record;

/// How often messages are counted again because some came or went meanwhile.
const ROUNDS: usize = 4;

/// How often mailboxes that come and go are looked for anew.
const WALKS: usize = 8;

impl<D: Disk> FileStore<D> {
    pub(super) async fn usage_of(&self, account: &AccountName) -> Result<Usage> {
        let Some(ledger) = self.ledger_of(account).await? else {
            return Ok(Usage::default());
        };
        match self.peek(&ledger).await?.filter(Record::is_exact) {
            Some(record) => Ok(record.usage),
            None => self.count_unless(&ledger, Record::is_exact).await,
        }
    }

    /// [`crate::MailStore::recount`].
    pub(super) async fn recount_account(&self, account: &AccountName) -> Result<Usage> {
        match self.ledger_of(account).await? {
            Some(ledger) => self.count_unless(&ledger, |_| false).await,
            None => Ok(Usage::default()),
        }
    }

    async fn ledger_of(&self, account: &AccountName) -> Result<Option<Arc<Ledger<D>>>> {
        match self.ledger(account).await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => Ok(None),
            ledger => ledger.map(Some),
        }
    }

    /// Counts, unless somebody else has done so in the meantime. Returns what the record says then.
    pub(super) async fn count_unless(
        &self,
        ledger: &Ledger<D>,
        is_done: impl Fn(&Record) -> bool,
    ) -> Result<Usage> {
        let wait = self.limits().lock_wait;
        let one = within(self.disk(), wait, ledger.counting.lock()).await;
        let _one = one.ok_or_else(|| Error {
            refusal: Refusal::Busy,
            context: format!("count the messages of {}", ledger.account),
            source: None,
        })?;
        if let Some(record) = self.peek(ledger).await?.filter(&is_done) {
            return Ok(record.usage);
        }
        let mut sum = Usage::default();
        for _ in 0..ROUNDS {
            let (epoch, now) = self.begin_count(ledger).await?;
            sum = self.count_mailboxes(&ledger.account).await?;
            if self.end_count(ledger, epoch, now, sum).await? {
                return Ok(sum);
            }
        }
        // Messages come and go all the time: it is a little too high.
        let record = self.peek(ledger).await?.filter(|record| record.known);
        Ok(record.map_or(sum, |record| record.usage))
    }

    /// Returns the epoch, and the time.
    async fn begin_count(&self, ledger: &Ledger<D>) -> Result<(u32, u32)> {
        let mut locked = self.lock_ledger(ledger).await?;
        let mut record = match locked.record {
            Some(record) => record,
            None => locked.first_record().await?,
        };
        record.begin_count();
        let now = locked.write_and_tell_time(record).await?;
        Ok((record.epoch, now))
    }

    /// Enters a sum. Whether that makes the record exact.
    async fn end_count(&self, ledger: &Ledger<D>, epoch: u32, now: u32, sum: Usage) -> Result<bool> {
        let mut locked = self.lock_ledger(ledger).await?;
        let Some(mut record) = locked.record.filter(|record| record.epoch == epoch) else {
            // Another process was first; it began earlier.
            return Ok(false);
        };
        record.end_count(sum, now);
        locked.write(record).await?;
        Ok(record.is_exact())
    }

    /// What all mailboxes hold.
    async fn count_mailboxes(&self, account: &AccountName) -> Result<Usage> {
        for _ in 0..WALKS {
            let mut sum = Some(Usage::default());
            for (name, id) in self.mailboxes_of(account).await? {
                let one = self.count_named(account, &name, id).await?;
                sum = sum.zip(one).map(|(sum, one)| sum + one);
                if sum.is_none() {
                    break;
                }
            }
            if let Some(sum) = sum {
                return Ok(sum);
            }
        }
        Err(Error {
            refusal: Refusal::Busy,
            context: format!("count the messages of {account}: its mailboxes come and go"),
            source: None,
        })
    }

    /// The account's mailboxes; under its lock none is half made.
    async fn mailboxes_of(&self, account: &AccountName) -> Result<Vec<(MailboxName, MailboxId)>> {
        let held = match self.lock_account(account).await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => return Ok(Vec::new()),
            held => held?,
        };
        let levels = self.walk(account).await?;
        drop(held);
        let mailboxes = levels.into_iter();
        Ok(mailboxes
            .filter_map(|(name, status)| status.map(|status| (name, status.id)))
            .collect())
    }

    /// What one mailbox holds. `None`: it is not there any more, or another has its name.
    async fn count_named(
        &self,
        account: &AccountName,
        name: &MailboxName,
        id: MailboxId,
    ) -> Result<Option<Usage>> {
        let counted = async {
            let mailbox = self.resolve(account, name).await?;
            if mailbox.reference.id != id {
                return Ok(None);
            }
            self.count_mailbox(&mailbox).await.map(Some)
        };
        match counted.await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => Ok(None),
            counted => counted,
        }
    }

    /// What a mailbox holds, also if strangers have added or removed names.
    async fn count_mailbox(&self, mailbox: &Mailbox<D>) -> Result<Usage> {
        if mailbox.is_cold() {
            for _ in 0..ROUNDS {
                let state = self.read_state(mailbox).await?;
                match state.filter(|state| !state.gone && state.begun == state.done) {
                    Some(state) => {
                        if let Some(sum) = self.count_names(mailbox, state).await? {
                            return Ok(sum);
                        }
                    }
                    // Somebody is at it, or died at it, or the machine is new.
                    None => drop(self.hold(mailbox).await?),
                }
            }
        }
        self.look(mailbox).await?;
        self.sweep(mailbox).await?;
        Ok(usage_of(&self.look(mailbox).await?.0))
    }

    /// Counts without the lock, and without keeping the rows. `None`: it changed meanwhile.
    async fn count_names(&self, mailbox: &Mailbox<D>, state: State) -> Result<Option<Usage>> {
        let disk = self.disk();
        let label = || format!("count {}", mailbox.label());
        let mut sum = Usage::default();
        for entry in disk.list(&mailbox.shards).await.during(label)?.entries {
            let Some(number) = shard_of_name(&entry.name).filter(|_| entry.is_dir) else {
                continue;
            };
            let opened = disk.open_dir(&mailbox.shards, &entry.name).await;
            let Some(dir) = found(opened).during(label)? else {
                continue;
            };
            let scan = scan_dir(disk, &dir).await.during(label)?;
            if !scan.exact {
                return Ok(None);
            }
            let rows = scan.rows.iter().map(|(row, _)| row);
            sum += rows
                .filter(|row| row.uid < state.uid_next && self.shard(row.uid) == number)
                .map(|row| Usage::message(row.size.into()))
                .sum();
        }
        Ok((self.read_state(mailbox).await? == Some(state)).then_some(sum))
    }
}

/// What the messages of a mailbox take.
pub(super) fn usage_of(view: &View) -> Usage {
    Usage {
        octets: view.sums.octets,
        messages: view.snapshot.rows.len() as u64,
    }
}
