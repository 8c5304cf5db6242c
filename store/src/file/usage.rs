//! How many octets an account has, asked before each of its messages is taken: one read of `state` for each mailbox that
//! has not changed.

use std::sync::{Arc, Mutex, Weak};

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxName, Usage};
use rmail_core::refusal::Refusal;

use crate::disk::Disk;
use crate::error::Result;

use super::cache::shard_of_name;
use super::io::{During as _, found, read_file};
use super::mailbox::{Mailbox, View, guard};
use super::state::State;
use super::tree::current;
use super::{FileStore, names};

/// The mailboxes of an account.
pub(super) struct Census<D: Disk> {
    /// `account.json` as it was: it changes before a mailbox is made. Mailboxes that are deleted say so themselves.
    key: Vec<u8>,
    mailboxes: Mutex<Vec<(MailboxName, Weak<Mailbox<D>>)>>,
}

impl<D: Disk> FileStore<D> {
    pub(super) async fn usage_of(&self, account: &AccountName) -> Result<Usage> {
        let known = self.registry().census(account);
        if let Some(known) = known
            && Some(&known.key) == self.census_key(account).await?.as_ref()
            && let Some(octets) = self.sum(account, &known).await?
        {
            return Ok(octets);
        }
        let Some(census) = self.take_census(account).await? else {
            return Ok(Usage::default());
        };
        // What was deleted or renamed meanwhile is looked for in the next turn.
        let octets = self.sum(account, &census).await?.unwrap_or_default();
        self.registry().set_census(account, Arc::new(census));
        Ok(octets)
    }

    async fn census_key(&self, account: &AccountName) -> Result<Option<Vec<u8>>> {
        let Some(user) = self.user_dir(account).await? else {
            return Ok(None);
        };
        read_file(self.disk(), &user, "account.json")
            .await
            .during(|| format!("read account.json of {account}"))
    }

    /// Finds all mailboxes; under the account's lock none is half made.
    async fn take_census(&self, account: &AccountName) -> Result<Option<Census<D>>> {
        let held = match self.lock_account(account).await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => return Ok(None),
            held => held?,
        };
        let key = self.census_key(account).await?.unwrap_or_default();
        let levels = self.walk(account).await?;
        drop(held);
        let names = levels.into_iter().filter(|(_, status)| status.is_some());
        Ok(Some(Census {
            key,
            mailboxes: Mutex::new(names.map(|(name, _)| (name, Weak::new())).collect()),
        }))
    }

    /// The octets of all mailboxes. `None`: one is no more, or not where it was.
    async fn sum(&self, account: &AccountName, census: &Census<D>) -> Result<Option<Usage>> {
        let mut mailboxes = guard(&census.mailboxes).clone();
        let mut octets = Usage::default();
        for (name, known) in &mut mailboxes {
            let mailbox = match known.upgrade() {
                Some(mailbox) => mailbox,
                None => match self.resolve(account, name).await {
                    Err(error) if error.refusal == Refusal::NoSuchMailbox => return Ok(None),
                    mailbox => mailbox?,
                },
            };
            *known = Arc::downgrade(&mailbox);
            match self.octets(&mailbox).await {
                Err(error) if error.refusal == Refusal::NoSuchMailbox => return Ok(None),
                one => octets += one?,
            }
        }
        *guard(&census.mailboxes) = mailboxes;
        Ok(Some(octets))
    }

    /// The octets of one mailbox.
    async fn octets(&self, mailbox: &Mailbox<D>) -> Result<Usage> {
        let state = self.read_state(mailbox).await?;
        if let Some((view, _)) = current(mailbox, state) {
            return Ok(self.remember(mailbox, &view));
        }
        let settled = state.filter(|state| !state.gone && state.begun == state.done);
        match (self.registry().size(&mailbox.reference), settled) {
            (Some((modseq, octets)), Some(state)) if modseq == state.done => return Ok(octets),
            (None, Some(state)) if mailbox.is_cold() => {
                if let Some(octets) = self.count(mailbox, state).await? {
                    self.registry().set_size(&mailbox.reference, state.done, octets);
                    return Ok(octets);
                }
            }
            // It changes under others: with its rows in memory only what has changed is read.
            _ => {}
        }
        let (view, _) = self.look(mailbox).await?;
        Ok(self.remember(mailbox, &view))
    }

    /// For when the mailbox has been closed to make room.
    fn remember(&self, mailbox: &Mailbox<D>, view: &View) -> Usage {
        let registry = self.registry();
        registry.set_size(&mailbox.reference, view.snapshot.modseq, usage_of(view));
        usage_of(view)
    }

    /// Counts without the lock, and without keeping the rows. `None`: it changed meanwhile.
    async fn count(&self, mailbox: &Mailbox<D>, state: State) -> Result<Option<Usage>> {
        let disk = self.disk();
        let label = || format!("count {}", mailbox.label());
        let mut octets = Usage::default();
        for entry in disk.list(&mailbox.shards).await.during(label)?.entries {
            if !entry.is_dir || shard_of_name(&entry.name).is_none() {
                continue;
            }
            let opened = disk.open_dir(&mailbox.shards, &entry.name).await;
            let Some(dir) = found(opened).during(label)? else {
                continue;
            };
            let listing = disk.list(&dir).await.during(label)?;
            if !listing.exact {
                return Ok(None);
            }
            let rows = listing
                .entries
                .iter()
                .filter_map(|entry| names::decode(&entry.name));
            octets += rows
                .filter(|(row, _)| row.uid < state.uid_next)
                .map(|(row, _)| Usage::message(row.size.into()))
                .sum::<Usage>();
        }
        Ok((self.read_state(mailbox).await? == Some(state)).then_some(octets))
    }
}

fn usage_of(view: &View) -> Usage {
    Usage {
        octets: view.sums.octets,
        messages: view.snapshot.rows.len() as u64,
    }
}
