//! Taking the naming lock of a mailbox: the mutex of this process, the flock, and a look at what the last holder left.

use core::time::Duration;

use rmail_core::mailbox::{ModSeq, Uid};
use rmail_core::refusal::Refusal;

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};

use super::FileStore;
use super::hold::Hold;
use super::io::{During as _, found, within};
use super::mailbox::{Core, Mailbox, StateFile};
use super::read_only::says_read_only;
use super::state::{self, State};

/// How long a lock is left free between two holds of one operation. (Without a gap a waiter starved for 11 s.)
const GAP: Duration = Duration::from_micros(100);

/// How often a `state` that is replaced again and again is opened anew.
const TRIES: usize = 4;

impl<D: Disk> FileStore<D> {
    /// Takes the naming lock.
    ///
    /// # Errors
    /// `Busy` after [`rmail_core::limits::Limits::lock_wait`]; `NoSuchMailbox` if the mailbox has been deleted.
    pub(super) async fn hold<'a>(&'a self, mailbox: &'a Mailbox<D>) -> Result<Hold<'a, D>> {
        self.hold_within(mailbox, self.limits().lock_wait).await
    }

    /// The same, but each lock is waited for no longer than this.
    async fn hold_within<'a>(&'a self, mailbox: &'a Mailbox<D>, wait: Duration) -> Result<Hold<'a, D>> {
        let (core, lock) = self.lock_naming(mailbox, wait).await?;
        let state = self.read_state(mailbox).await?;
        let known = state.unwrap_or(State {
            gone: false,
            boot: self.disk().boot_id(),
            inode: mailbox.state().inode,
            uid_next: Uid(1),
            recent_from: Uid(1),
            begun: ModSeq(0),
            done: ModSeq(0),
            status: 0,
        });
        let mut hold = Hold::new(self, mailbox, known, lock, core);
        if hold.state.gone {
            self.registry().forget(mailbox);
            return Err(Refusal::NoSuchMailbox.into());
        }
        hold.load_status().await?;
        if hold.status().gone {
            self.registry().forget(mailbox);
            return Err(Refusal::NoSuchMailbox.into());
        }
        if state.is_none() {
            hold.recover().await?;
        } else if hold.state.begun != hold.state.done {
            hold.mend().await?;
        }
        hold.catch_up().await;
        Ok(hold)
    }

    /// Takes the naming lock, with fresh rows.
    pub(super) async fn hold_fresh<'a>(&'a self, mailbox: &'a Mailbox<D>) -> Result<Hold<'a, D>> {
        self.hold_fresh_within(mailbox, self.limits().lock_wait).await
    }

    /// The same, but each lock is waited for no longer than this.
    pub(super) async fn hold_fresh_within<'a>(
        &'a self,
        mailbox: &'a Mailbox<D>,
        wait: Duration,
    ) -> Result<Hold<'a, D>> {
        self.warm(mailbox).await;
        let mut hold = self.hold_within(mailbox, wait).await?;
        hold.refresh().await?;
        Ok(hold)
    }

    /// Takes `gone` back.
    pub(super) async fn revive(&self, mailbox: &Mailbox<D>) -> Result<()> {
        let label = || format!("bring back {}", mailbox.label());
        let (core, lock) = self.lock_naming(mailbox, self.limits().lock_wait).await?;
        if let Some(state) = self.read_state(mailbox).await? {
            let state = State { gone: false, ..state };
            let bytes = state.encode();
            self.disk()
                .write_at(&mailbox.state().file, &bytes, 0)
                .await
                .during(label)?;
        }
        drop(lock);
        drop(core);
        Ok(())
    }

    /// The mutex of this process and the flock, each waited for no longer than this.
    async fn lock_naming<'a>(
        &self,
        mailbox: &'a Mailbox<D>,
        wait: Duration,
    ) -> Result<(async_lock::MutexGuard<'a, Core>, D::Lock)> {
        let label = || format!("lock {}", mailbox.label());
        let core = within(self.disk(), wait, mailbox.naming.lock()).await;
        let core = core.ok_or_else(|| Error {
            refusal: Refusal::Busy,
            context: label(),
            source: None,
        })?;
        for _ in 0..TRIES {
            let state = mailbox.state();
            let lock = self.disk().lock(&state.file, wait).await.during(label)?;
            let named = found(self.disk().stat_at(&mailbox.dir, "state").await).during(label)?;
            let same = named.is_some_and(|named| named.inode == state.inode);
            if same || self.read_state(mailbox).await?.is_some_and(|state| state.gone) {
                return Ok((core, lock));
            }
            // Somebody has removed or replaced it: whoever opens the mailbox now locks another file.
            log::warn!("{}: its state was removed or replaced", mailbox.label());
            mailbox.set_state(self.open_state(&mailbox.dir).await.during(label)?);
        }
        Err(Error {
            refusal: Refusal::Busy,
            context: label(),
            source: None,
        })
    }

    /// Opens `state`; it is made if it is not there. Only to read it, where nothing can be written.
    pub(super) async fn open_state(&self, dir: &D::Dir) -> std::io::Result<StateFile<D>> {
        let file = match self.disk().open(dir, "state", Mode::Create).await {
            Err(error) if says_read_only(&error) => return self.open_state_to_read(dir).await,
            file => file?,
        };
        let inode = self.disk().stat(&file).await?.inode;
        Ok(StateFile {
            file,
            inode,
            read_only: false,
        })
    }

    /// Leaves the naming lock free for a while between two holds, so that nobody else waits for the whole operation.
    pub(super) async fn gap(&self) {
        self.disk().pause(GAP).await;
    }

    /// What `state` says, if it is to be believed.
    pub(super) async fn read_state(&self, mailbox: &Mailbox<D>) -> Result<Option<State>> {
        let mut bytes = [0; state::LEN];
        let file = mailbox.state();
        let count = self
            .disk()
            .read_at(&file.file, &mut bytes, 0)
            .await
            .during(|| format!("read the state of {}", mailbox.label()))?;
        Ok(self.believe(&file, bytes.get(..count).unwrap_or_default()))
    }

    /// The state in these octets, if it is of this file and of this start of the machine.
    pub(super) fn believe(&self, file: &StateFile<D>, bytes: &[u8]) -> Option<State> {
        State::decode(bytes).filter(|state| {
            let boot = self.options().shared_by_hosts || state.boot == self.disk().boot_id();
            boot && state.inode == file.inode
        })
    }
}
