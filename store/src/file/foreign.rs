//! Being told what other processes change: an ear on the `state` of each watched mailbox.
//!
//! Every change writes `state` twice, with `begun` and with `done`. Our own do too: such a look finds the rows that are
//! known already, and costs one read. What is not told (the system's bounds, an overflow, another host, a writer that died
//! half way) is found by the poll.

use core::time::Duration;
use std::sync::atomic::Ordering;

use rmail_core::machine::Scope;
use rmail_core::mailbox::{MailboxRef, ModSeq};

use crate::disk::{Changes, Disk};
use crate::error::Result;
use crate::hub::Ear;

use super::FileStore;
use super::mailbox::Mailbox;
use super::tree::current;

/// How often a change that is under way is looked at again; then its end, or the poll, tells.
const LOOKS: usize = 4;

/// Between these looks. A change of one message takes some 50 µs.
const BETWEEN: Duration = Duration::from_micros(100);

impl<D: Disk> FileStore<D> {
    /// Puts an ear on a mailbox that is watched, unless there is one on its present `state`.
    pub(super) fn hear(&self, reference: &MailboxRef) {
        if self.options().shared_by_hosts {
            return;
        }
        let scope = Scope::Mailbox(reference.clone());
        let Some((tag, mark)) = self.hub.ear(&scope) else {
            return;
        };
        let Some(mailbox) = self.registry().by_reference(reference) else {
            return;
        };
        let state = mailbox.state();
        if mark == Some(state.inode) {
            return;
        }
        match self.disk().watch(&state.file, tag) {
            Ok(watch) => {
                let guard = Box::new(watch);
                self.hub.keep(
                    tag,
                    Ear {
                        mark: state.inode,
                        guard,
                    },
                );
            }
            Err(error) => {
                if !self.deaf.swap(true, Ordering::Relaxed) {
                    log::warn!("changes by other processes are found by looking for them only: {error}");
                }
            }
        }
    }

    /// Announces what other processes have changed in those mailboxes.
    pub(super) async fn look_at_changed(&self, changes: &Changes) {
        for (scope, told) in self.hub.changed(changes) {
            let reference = match &scope {
                Scope::Mailbox(reference) => reference,
                Scope::List(account) => {
                    self.look_at_list(account).await;
                    continue;
                }
                Scope::Account(_) => continue,
            };
            let Some(mailbox) = self.registry().by_reference(reference) else {
                self.hub.announce_change(&scope);
                continue;
            };
            if let Err(error) = self.look_at_one(&mailbox, told).await {
                log::warn!("look at {}: {error}", mailbox.label());
            }
        }
        if matches!(changes, Changes::All) {
            // News were lost, and nobody knows which.
            self.sweep_all().await;
        }
    }

    async fn look_at_one(&self, mailbox: &Mailbox<D>, told: ModSeq) -> Result<()> {
        for _ in 0..LOOKS {
            let state = self.read_state(mailbox).await?;
            if let Some(state) = state.filter(|state| state.gone) {
                self.tell_gone(mailbox, state);
                return Ok(());
            }
            if current(mailbox, state).is_some() {
                return Ok(());
            }
            if let Some(state) = state.filter(|state| state.begun == state.done) {
                if state.done > told {
                    self.announce(mailbox, state.done);
                }
                return Ok(());
            }
            self.disk().pause(BETWEEN).await;
        }
        Ok(())
    }
}
