//! What STATUS has said of mailboxes, also of those that are not open: clients ask for all of them every minute, and more
//! than are kept open may belong to one.
//!
//! An answer counts as long as `state` says what it said: nothing was changed under the lock since. Changes by programs
//! that take no lock are not seen then, as in any mailbox that nobody has selected.

use std::collections::HashMap;
use std::sync::Mutex;

use rmail_core::addr::AccountName;
use rmail_core::imap::server::MailboxStatus;
use rmail_core::mailbox::{MailboxName, MailboxRef};
use rmail_core::refusal::Refusal;

use crate::disk::{Disk, Mode};
use crate::error::Result;

use super::FileStore;
use super::io::During as _;
use super::mailbox::{StateFile, guard};
use super::state::{self, State};

/// Answers that are remembered.
const ANSWERS: usize = 65_536;

/// Answers by device and inode number of the mailboxes' directories.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<(u64, u64), (State, MailboxStatus)>>);

impl<D: Disk> FileStore<D> {
    pub(super) async fn mailbox_status(
        &self,
        account: &AccountName,
        name: &MailboxName,
    ) -> Result<MailboxStatus> {
        let mailbox = match self.opened(account, name).await? {
            Some(mailbox) => {
                self.hear(&mailbox.reference);
                mailbox
            }
            None => {
                let dir = self.level_dir(account, name).await?;
                let dir = dir.ok_or(Refusal::NoSuchMailbox)?;
                if let Some(status) = self.told_status(account, &dir).await? {
                    return Ok(status);
                }
                let mailbox = self.resolve_in(account, name, &dir).await?;
                self.hear(&mailbox.reference);
                mailbox
            }
        };
        let (view, state) = self.look(&mailbox).await?;
        let snapshot = view.snapshot;
        let rows = &snapshot.rows;
        let status = MailboxStatus {
            id: mailbox.reference.id,
            messages: rows.len() as u64,
            recent: (rows.len() - rows.rank(state.recent_from)) as u64,
            unseen: view.sums.unseen,
            deleted: view.sums.deleted,
            deleted_size: view.sums.deleted_octets,
            size: view.sums.octets,
            uid_next: snapshot.uid_next,
            uid_validity: snapshot.uid_validity,
            modseq: snapshot.modseq,
        };
        // Only what `state` says of these very rows; it is also the state of the view.
        if state.done == snapshot.modseq && state.begun == state.done && !mailbox.state().read_only {
            let mut told = guard(&self.told.0);
            if told.len() >= ANSWERS {
                told.clear();
            }
            told.insert(mailbox.key, (state, status));
        }
        Ok(status)
    }

    /// The answer of before, if the mailbox is not open and has not changed since.
    async fn told_status(&self, account: &AccountName, dir: &D::Dir) -> Result<Option<MailboxStatus>> {
        let label = || "look at a mailbox".to_owned();
        let stat = self.disk().stat_dir(dir).await.during(label)?;
        let key = (stat.device, stat.inode);
        let told = guard(&self.told.0).get(&key).copied();
        let told = told.filter(|_| self.registry().by_key(key).is_none());
        let Some((before, status)) = told else {
            return Ok(None);
        };
        // What is in the way is met again by opening the mailbox.
        let Ok(file) = self.disk().open(dir, "state", Mode::Read).await else {
            return Ok(None);
        };
        let inode = self.disk().stat(&file).await.during(label)?.inode;
        let reference = MailboxRef {
            account: account.clone(),
            id: status.id,
        };
        self.hear_far(reference, &file, inode);
        let mut bytes = [0; state::LEN];
        let count = self.disk().read_at(&file, &mut bytes, 0).await.during(label)?;
        let open = StateFile {
            file,
            inode,
            read_only: true,
        };
        let now = self.believe(&open, bytes.get(..count).unwrap_or_default());
        Ok((now == Some(before)).then_some(status))
    }
}
