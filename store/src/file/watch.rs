//! What runs by the clock: finding the changes of other processes, and syncing flag changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use rmail_core::machine::Scope;
use rmail_core::mailbox::ModSeq;

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::io::{During as _, found};
use super::mailbox::Mailbox;
use super::state::State;
use super::sync::Touched;
use super::tree::current;

/// After so many flushes without a flag change a mailbox is marked clean on disk.
const IDLE_FLUSHES: u32 = 30;

impl<D: Disk> FileStore<D> {
    pub(super) async fn poll(&self) {
        for (scope, told) in self.hub.watched() {
            let reference = match &scope {
                Scope::Mailbox(reference) => reference,
                Scope::List(account) => {
                    self.poll_list(account).await;
                    continue;
                }
                Scope::Account(_) => continue,
            };
            // It may have failed before, and `state` may be another file by now.
            self.hear(reference);
            let Some(mailbox) = self.registry().by_reference(reference) else {
                self.poll_far(&scope);
                continue;
            };
            if let Err(error) = self.poll_one(&mailbox, told).await {
                log::warn!("poll {}: {error}", mailbox.label());
            }
        }
    }

    async fn poll_one(&self, mailbox: &Mailbox<D>, told: ModSeq) -> Result<()> {
        let state = self.read_state(mailbox).await?;
        if let Some(state) = state.filter(|state| state.gone) {
            self.tell_gone(mailbox, state);
            return Ok(());
        }
        if mailbox.state().read_only {
            return Ok(());
        }
        let named = found(self.disk().stat_at(&mailbox.dir, "state").await);
        let named = named.during(|| format!("look at {}", mailbox.label()))?;
        let replaced = named.is_none_or(|named| named.inode != mailbox.state().inode);
        if current(mailbox, state).is_some() && !replaced {
            return Ok(());
        }
        let done = match state.filter(|state| state.begun == state.done && !replaced) {
            Some(state) => state.done,
            // Somebody is at it, or died at it, or the machine is new, or the file is.
            None => {
                let mut hold = self.hold(mailbox).await?;
                let before = hold.core.modseq;
                hold.refresh().await?;
                if before > ModSeq(0) && before < hold.state.done {
                    // That was announced.
                    return Ok(());
                }
                hold.state.done
            }
        };
        if done > told {
            self.announce(mailbox, done);
        }
        Ok(())
    }

    /// Somebody has deleted the mailbox: whoever has it selected looks again, and finds it gone.
    pub(super) fn tell_gone(&self, mailbox: &Mailbox<D>, state: State) {
        self.registry().forget(mailbox);
        self.announce(mailbox, ModSeq(state.done.0 + 1));
    }

    /// Whether [`FileStore::flush_flags`] would sync a mailbox, or count how long it has been idle.
    pub(super) fn has_unsynced_flags(&self) -> bool {
        self.registry().all().iter().any(|mailbox| {
            let pending = mailbox.pending();
            !pending.unsynced.is_empty() || (pending.marked && !pending.failed)
        })
    }

    pub(super) async fn flush_flags(&self) -> Result<()> {
        let mailboxes = self.registry().all();
        let mut touched: Vec<Touched<D>> = Vec::new();
        let mut idle = Vec::new();
        for mailbox in mailboxes {
            let mut pending = mailbox.pending();
            if !pending.unsynced.is_empty() {
                touched.push(Touched {
                    shards: core::mem::take(&mut pending.unsynced),
                    ..Touched::new(&mailbox)
                });
            } else if pending.marked && !pending.failed {
                pending.idle += 1;
                if pending.idle >= IDLE_FLUSHES {
                    idle.push(Arc::clone(&mailbox));
                }
            }
        }
        if !touched.is_empty()
            && let Err(error) = self.sync_touched(&touched, &[]).await
        {
            // A sync that failed is not believed when it works later: the mark stays, so that after a power cut clients
            // look again.
            for touched in &touched {
                let mut pending = touched.mailbox.pending();
                pending.failed = true;
                pending.unsynced.extend(&touched.shards);
            }
            return Err(error);
        }
        self.mark_clean(&idle).await
    }

    /// The end: what is dirty because of us is marked clean, and what the next process can use is written.
    pub(super) async fn end(&self) -> Result<()> {
        self.flush_flags().await?;
        let mailboxes = self.registry().all();
        for mailbox in &mailboxes {
            self.save(mailbox).await;
        }
        let marked = |mailbox: &&Arc<Mailbox<D>>| {
            let pending = mailbox.pending();
            pending.marked && !pending.failed
        };
        let marked: Vec<Arc<Mailbox<D>>> = mailboxes.iter().filter(marked).cloned().collect();
        self.mark_clean(&marked).await?;
        if !mailboxes.is_empty() && !marked.iter().any(|mailbox| mailbox.key.0 == self.device) {
            let label = || "sync the file system".to_owned();
            self.sync_all().await.during(label)?;
        }
        Ok(())
    }

    /// Marks mailboxes clean that have had no flag change for a while: all that anybody changed is synced in between.
    async fn mark_clean(&self, mailboxes: &[Arc<Mailbox<D>>]) -> Result<()> {
        let mut seen = Vec::with_capacity(mailboxes.len());
        let mut devices = BTreeSet::new();
        for mailbox in mailboxes {
            let hold = self.hold(mailbox).await?;
            seen.push((mailbox, hold.state.done));
            devices.insert(mailbox.key.0);
        }
        for device in devices {
            let label = || "sync the file system".to_owned();
            if device == self.device {
                self.sync_all().await.during(label)?;
            } else if let Some(mailbox) = mailboxes.iter().find(|mailbox| mailbox.key.0 == device) {
                self.disk().sync_fs(&mailbox.dir).await.during(label)?;
            }
        }
        for (mailbox, done) in seen {
            let mut hold = self.hold(mailbox).await?;
            if hold.state.done == done {
                let mut status = hold.status().clone();
                status.dirty = false;
                hold.write_status(status).await?;
                mailbox.pending().marked = false;
            }
            mailbox.pending().idle = 0;
        }
        Ok(())
    }
}
