//! Hearing of changes that are not of one open mailbox: of an account's list of mailboxes, and of mailboxes that are watched
//! but not open here.
//!
//! # The list
//!
//! CREATE, DELETE, RENAME, SUBSCRIBE and whatever else `Call::List` and its like tell of change directories and files all
//! over the account's tree, and there is no one name that all of them touch. But all of them hold the account's lock. So
//! its file `account.lock` counts them: eight octets, little-endian, odd while a change is under way, even behind it. An ear
//! on that file (inotify's IN_MODIFY) hears all; the poll reads the count, and where it finds it odd it takes the lock, so
//! that a writer that died half way is found out. The count is never synced and a change goes on if it cannot be written:
//! after a power cut nobody watches, and on a full disk a mailbox can still be deleted. A restored tree has another file,
//! and with it another count.
//!
//! # Mailboxes that are not open
//!
//! A session may watch more mailboxes than are kept open. For one that is not, the ear is on its `state` all the same, put
//! there by the STATUS that every watcher begins with; what it hears is announced without a look, and the watcher's own
//! look finds out for one read whether anything is new. Where nothing can be heard each poll announces them.

use core::future::Future;
use std::sync::atomic::Ordering;

use rmail_core::addr::AccountName;
use rmail_core::machine::Scope;
use rmail_core::mailbox::MailboxRef;

use crate::disk::{Disk, Mode};
use crate::error::Result;
use crate::hub::Ear;

use super::FileStore;
use super::account::{ACCOUNT_LOCK, AccountHold};
use super::mailbox::guard;

/// What `account.lock` said when its watchers were told last: its inode number and the count.
pub(super) type Counted = (u64, u64);

impl<D: Disk> FileStore<D> {
    /// Makes a change of the account's list: counts it, and tells the watchers once it is made.
    pub(super) async fn list_changes<T>(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        change: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let before = self.count(&held.file).await;
        self.set_count(account, held, before | 1).await;
        let result = change.await;
        let after = (before | 1).wrapping_add(1);
        self.set_count(account, held, after).await;
        let scope = Scope::List(account.clone());
        if self.hub.watches(&scope) {
            guard(&self.lists).insert(account.clone(), (held.inode, after));
            self.hub.announce_change(&scope);
        }
        result
    }

    async fn count(&self, file: &D::File) -> u64 {
        let mut octets = [0; 8];
        match self.disk().read_at(file, &mut octets, 0).await {
            Ok(8) => u64::from_le_bytes(octets),
            _ => 0,
        }
    }

    async fn set_count(&self, account: &AccountName, held: &AccountHold<D>, count: u64) {
        if let Err(error) = self.disk().write_at(&held.file, &count.to_le_bytes(), 0).await {
            log::debug!("other processes may not hear of a change of {account}'s mailboxes: {error}");
        }
    }

    /// Tells the watchers of a list, unless they were told of this count.
    fn tell_list(&self, account: &AccountName, counted: Counted) {
        let scope = Scope::List(account.clone());
        if !self.hub.watches(&scope) {
            guard(&self.lists).remove(account);
            return;
        }
        let before = guard(&self.lists).insert(account.clone(), counted);
        if before != Some(counted) {
            self.hub.announce_change(&scope);
        }
    }

    /// Before a look at the list: what comes from now on is told, if anybody wants to know.
    pub(super) async fn hear_list(&self, account: &AccountName, user: &D::Dir) {
        let scope = Scope::List(account.clone());
        let Some((tag, mark)) = self.hub.ear(&scope) else {
            return;
        };
        let Some((file, counted)) = self.read_count(user).await else {
            return;
        };
        if mark != Some(counted.0) {
            self.put_ear(&file, tag, counted.0);
        }
        let before = guard(&self.lists).insert(account.clone(), counted);
        if before.is_some_and(|before| before != counted) {
            // Others watch too, and are told of this only now.
            self.hub.announce_change(&scope);
        }
    }

    /// `account.lock`, and what it says.
    async fn read_count(&self, user: &D::Dir) -> Option<(D::File, Counted)> {
        let file = self.disk().open(user, ACCOUNT_LOCK, Mode::Read).await.ok()?;
        let inode = self.disk().stat(&file).await.ok()?.inode;
        let count = self.count(&file).await;
        Some((file, (inode, count)))
    }

    fn put_ear(&self, file: &D::File, tag: u64, mark: u64) {
        if self.options().shared_by_hosts {
            return;
        }
        match self.disk().watch(file, tag) {
            Ok(watch) => {
                let guard = Box::new(watch);
                self.hub.keep(tag, Ear { mark, guard });
            }
            Err(error) => {
                if !self.deaf.swap(true, Ordering::Relaxed) {
                    log::warn!("changes by other processes are found by looking for them only: {error}");
                }
            }
        }
    }

    /// Something was written to `account.lock`. The end of a change tells; its beginning does not.
    pub(super) async fn look_at_list(&self, account: &AccountName) {
        if let Ok(Some(user)) = self.user_dir(account).await
            && let Some((_, counted)) = self.read_count(&user).await
            && counted.1 % 2 == 0
        {
            self.tell_list(account, counted);
        }
    }

    /// Looks whether the list has changed, and puts an ear on it if there is none.
    pub(super) async fn poll_list(&self, account: &AccountName) {
        let Ok(Some(user)) = self.user_dir(account).await else {
            return;
        };
        let Some((file, mut counted)) = self.read_count(&user).await else {
            return;
        };
        if let Some((tag, mark)) = self.hub.ear(&Scope::List(account.clone()))
            && mark != Some(counted.0)
        {
            self.put_ear(&file, tag, counted.0);
        }
        if counted.1 % 2 == 1
            && let Ok(held) = self.lock_account(account).await
        {
            // Somebody was at it, and is not any more; or died at it, and then nobody has told.
            let count = self.count(&held.file).await;
            let even = count.wrapping_add(count % 2);
            if even != count {
                self.set_count(account, &held, even).await;
            }
            counted.1 = even;
        }
        self.tell_list(account, counted);
    }

    /// Puts an ear on the open `state` of a mailbox that is watched, but not open here.
    pub(super) fn hear_far(&self, reference: MailboxRef, file: &D::File, inode: u64) {
        if let Some((tag, mark)) = self.hub.ear(&Scope::Mailbox(reference))
            && mark != Some(inode)
        {
            self.put_ear(file, tag, inode);
        }
    }

    /// A mailbox is watched, but not open here: where it is not heard its watchers look for themselves.
    pub(super) fn poll_far(&self, scope: &Scope) {
        if self.hub.ear(scope).is_some_and(|(_, mark)| mark.is_none()) {
            self.hub.announce_change(scope);
        }
    }
}
