//! CREATE, DELETE and RENAME.
//!
//! All of them run under the account's lock. DELETE first sets `gone` in `state`, under the naming lock: who comes later
//! with that mailbox in hand notices, and looks the name up again. Then the directory moves to `deleted/`, which is what
//! counts, and is taken apart. A mailbox with children cannot move; there `gone` in `status.json` is what counts.

use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxName, ModSeq, SpecialUse, UidSet, UidValidity};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;

use crate::disk::Disk;
use crate::error::Result;

use super::account::{AccountHold, Maker};
use super::acl::ACL;
use super::io::{During as _, found, open_or_make_dir, or_exists, remove_tree, replace_file, settle_dir};
use super::mailbox::Mailbox;
use super::metadata::METADATA;
use super::status::Status;
use super::tree::{Level, dir_name};
use super::{FileStore, parsed};

/// Where a level lies: the directory that holds it, and its name there.
struct Place<D: Disk> {
    parent: D::Dir,
    name: String,
}

impl<D: Disk> FileStore<D> {
    /// The account's INBOX; the account's tree is made if it is not there.
    pub(super) async fn inbox(&self, account: &AccountName, now: Unix) -> Result<Arc<Mailbox<D>>> {
        let inbox = MailboxName::inbox();
        match self.resolve(account, &inbox).await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => {}
            found => return found,
        }
        self.make_account(account, Maker::User, now).await?;
        self.resolve(account, &inbox).await
    }

    /// Whether there is a mailbox (not only a level) of this name.
    pub(super) async fn has_mailbox(&self, account: &AccountName, name: &MailboxName) -> Result<bool> {
        let found = self.find(account, name).await?;
        let level = found.map(|found| found.level);
        Ok(matches!(level, Some(Level::Mailbox(_) | Level::Broken(_))))
    }

    pub(super) async fn create_mailbox(
        &self,
        account: &AccountName,
        name: &MailboxName,
        special_use: &[SpecialUse],
        now: Unix,
    ) -> Result<()> {
        self.ensure_account(account, Maker::User, now).await?;
        let held = self.lock_account(account).await?;
        if self.has_mailbox(account, name).await? {
            return Err(Refusal::MailboxExists.into());
        }
        self.list_changes(account, &held, async {
            self.make_parents(account, &held, name, now).await?;
            self.make_mailbox(account, &held, name, special_use, now).await
        })
        .await
    }

    /// Makes the mailboxes above a name that are not there.
    async fn make_parents(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        name: &MailboxName,
        now: Unix,
    ) -> Result<()> {
        let mut missing = Vec::new();
        let mut parent = name.parent();
        while let Some(name) = parent {
            parent = name.parent();
            match self.find(account, &name).await?.map(|found| found.level) {
                Some(Level::Mailbox(_) | Level::Broken(_)) => {}
                // Without a mailbox below it is only what a deleted one has left.
                Some(Level::Gone | Level::Plain) if self.has_mailbox_below(account, &name).await? => {}
                _ => missing.push(name),
            }
        }
        for name in missing.iter().rev() {
            self.make_mailbox(account, held, name, &[], now).await?;
        }
        Ok(())
    }

    async fn has_mailbox_below(&self, account: &AccountName, name: &MailboxName) -> Result<bool> {
        let levels = self.walk(account).await?;
        let mut below = levels.iter().filter(|(level, _)| level.is_below(name));
        Ok(below.any(|(_, status)| status.is_some()))
    }

    /// Makes one mailbox, durably; the level above is there.
    pub(super) async fn make_mailbox(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        name: &MailboxName,
        special_use: &[SpecialUse],
        now: Unix,
    ) -> Result<()> {
        let label = || format!("make {name} of {account}");
        let place = self.place_of(account, held, name).await?;
        let uid_validity = self.take_uid_validity(account, held, 1, now).await?;
        let dir = settle_dir(self.disk(), &place.parent, &place.name)
            .await
            .during(label)?;
        if let Level::Gone = self.level(&dir).await? {
            self.clear(&dir).await.during(label)?;
        }
        open_or_make_dir(self.disk(), &dir, "shards")
            .await
            .during(label)?;
        self.inherit_acl(account, name, &dir).await?;
        let status = Status::new(UidValidity(uid_validity), special_use.to_vec());
        // The directory is synced after `shards` and before the answer; what is found without `status.json` is no mailbox.
        let made = replace_file(self.disk(), &dir, "status.json", &status.encode()).await;
        if made.is_err() {
            // It may be there, but not for certain.
            if let Err(second) = found(self.disk().unlink(&dir, "status.json").await) {
                log::error!("{}: it could not be taken back: {second}", label());
            }
        }
        made.during(label)
    }

    /// Where a level lies; its parent is there.
    async fn place_of(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        name: &MailboxName,
    ) -> Result<Place<D>> {
        let label = || format!("open the level above {name} of {account}");
        let parent = match name.parent() {
            None => open_or_make_dir(self.disk(), &held.dir, "mailboxes")
                .await
                .during(label)?,
            Some(parent) => {
                let parent = self.level_dir(account, &parent).await?;
                let parent = parent.ok_or(Refusal::NoSuchMailbox)?;
                settle_dir(self.disk(), &parent, "children").await.during(label)?
            }
        };
        let level = name.levels().last().ok_or(Refusal::BadMailboxName)?;
        let name = dir_name(level)?;
        Ok(Place { parent, name })
    }

    /// Removes what is left of a deleted mailbox from its level; the children stay. `status.json` goes last.
    pub(super) async fn clear(&self, dir: &D::Dir) -> std::io::Result<()> {
        remove_tree(self.disk(), dir, "shards").await?;
        remove_tree(self.disk(), dir, parsed::DIR).await?;
        for name in [
            "snapshot",
            "keywords",
            "expunged",
            ACL,
            METADATA,
            "state",
            "status.json",
        ] {
            found(self.disk().unlink(dir, name).await)?;
        }
        Ok(())
    }

    /// Sets `gone`.
    pub(super) async fn set_gone(&self, mailbox: &Mailbox<D>) -> Result<()> {
        let mut hold = self.hold(mailbox).await?;
        hold.state.gone = true;
        hold.finish().await
    }

    pub(super) async fn delete_mailbox(&self, account: &AccountName, name: &MailboxName) -> Result<()> {
        if name.is_inbox() {
            return Err(Refusal::NotPossible.into());
        }
        let held = self.lock_account(account).await?;
        let found = self.find(account, name).await?.ok_or(Refusal::NoSuchMailbox)?;
        let has_children = self.has_mailbox_below(account, name).await?;
        if let Level::Gone | Level::Plain = found.level {
            let refusal = if has_children {
                Refusal::NotPossible
            } else {
                Refusal::NoSuchMailbox
            };
            return Err(refusal.into());
        }
        let mailbox = self.open_mailbox(account, &found.dir, &held).await?;
        self.list_changes(account, &held, async {
            if has_children {
                self.delete_here(&mailbox).await?;
            } else {
                let place = self.place_of(account, &held, name).await?;
                self.delete_whole(&held, &mailbox, &place).await?;
            }
            self.forget_gone(&mailbox);
            Ok(())
        })
        .await
    }

    /// A mailbox has been deleted: whoever has it selected looks again, and finds it gone.
    pub(super) fn forget_gone(&self, mailbox: &Mailbox<D>) {
        self.registry().forget(mailbox);
        let seen = mailbox.view().map(|view| view.snapshot.modseq);
        self.announce(mailbox, ModSeq(seen.unwrap_or_default().0 + 1));
    }

    /// Deletes a mailbox whose level stays for its children.
    pub(super) async fn delete_here(&self, mailbox: &Mailbox<D>) -> Result<()> {
        self.warm(mailbox).await;
        let mut hold = self.hold(mailbox).await?;
        let leaving = hold.leaving().await;
        let before = hold.status().clone();
        let mut status = before.clone();
        status.gone = true;
        if let Err(error) = hold.write_status(status).await {
            if let Err(second) = hold.write_status(before).await {
                log::error!("{} could not be brought back: {second}", mailbox.label());
            }
            return Err(error);
        }
        hold.state.gone = true;
        if let Err(error) = hold.finish().await {
            log::warn!(
                "{} is deleted, but its state does not say so: {error}",
                mailbox.label()
            );
        }
        drop(hold);
        self.has_left(mailbox, leaving).await;
        if let Err(error) = self.clear(&mailbox.dir).await {
            log::warn!(
                "{} is deleted, but not all of it is removed: {error}",
                mailbox.label()
            );
        }
        Ok(())
    }

    /// Deletes a mailbox with its directory.
    async fn delete_whole(
        &self,
        held: &AccountHold<D>,
        mailbox: &Mailbox<D>,
        place: &Place<D>,
    ) -> Result<()> {
        let label = || format!("delete {}", mailbox.label());
        let deleted = settle_dir(self.disk(), &held.dir, "deleted")
            .await
            .during(label)?;
        let grave = mailbox.reference.id.0.to_string();
        remove_tree(self.disk(), &deleted, &grave).await.during(label)?;
        self.warm(mailbox).await;
        let mut hold = self.hold(mailbox).await?;
        let leaving = hold.leaving().await;
        hold.state.gone = true;
        hold.finish().await?;
        let moved = self
            .disk()
            .rename(&place.parent, &place.name, &deleted, &grave)
            .await;
        let result = match moved {
            Ok(()) => match self.disk().sync_dir(&place.parent).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    let back = self
                        .disk()
                        .rename(&deleted, &grave, &place.parent, &place.name)
                        .await;
                    if let Err(second) = back {
                        log::error!("{}: it could not be moved back: {second}", label());
                    }
                    Err(error)
                }
            },
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            hold.state.gone = false;
            hold.finish().await?;
            return Err(error).during(label);
        }
        drop(hold);
        self.has_left(mailbox, leaving).await;
        // First: who still opens the mailbox by its directory sees that it is none any more, whatever else is left.
        if let Err(error) = found(self.disk().unlink(&mailbox.dir, "status.json").await) {
            log::warn!("{}: status.json is not removed: {error}", label());
        }
        // With those of deletions that were cut short.
        if let Err(error) = self.clear_deleted(&held.dir).await {
            log::warn!("{}: not all of it is removed: {error}", label());
        }
        Ok(())
    }

    pub(super) async fn rename_mailbox(
        &self,
        account: &AccountName,
        from: &MailboxName,
        to: &MailboxName,
        now: Unix,
    ) -> Result<()> {
        if to.is_inbox() {
            return Err(Refusal::MailboxExists.into());
        }
        if from.is_inbox() {
            return self.rename_inbox(account, to, now).await;
        }
        if to.is_below(from) {
            return Err(Refusal::NotPossible.into());
        }
        let held = self.lock_account(account).await?;
        let levels = self.walk(account).await?;
        let exists = |name: &MailboxName| {
            levels
                .iter()
                .any(|(level, status)| status.is_some() && (level == name || level.is_below(name)))
        };
        if !exists(from) {
            return Err(Refusal::NoSuchMailbox.into());
        }
        if exists(to) {
            return Err(Refusal::MailboxExists.into());
        }
        // What would get a name that is none could not be found any more.
        for (level, _) in levels.iter().filter(|(_, status)| status.is_some()) {
            if let Some(below) = level.as_str().strip_prefix(from.as_str())
                && level.is_below(from)
            {
                MailboxName::new(&format!("{to}{below}")).map_err(|_| Refusal::BadMailboxName)?;
            }
        }
        let moved = async {
            self.make_parents(account, &held, to, now).await?;
            self.move_level(account, &held, from, to).await
        };
        self.list_changes(account, &held, moved).await
    }

    /// Gives a level with all that is below it another name; the level above the new one is there.
    async fn move_level(
        &self,
        account: &AccountName,
        held: &AccountHold<D>,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        let old = self.place_of(account, held, from).await?;
        let new = self.place_of(account, held, to).await?;
        let label = || format!("rename {from} of {account} to {to}");
        let disk = self.disk();
        // The shell of a mailbox that is no more.
        remove_tree(disk, &new.parent, &new.name).await.during(label)?;
        disk.rename(&old.parent, &old.name, &new.parent, &new.name)
            .await
            .during(label)?;
        let synced = match disk.sync_dir(&new.parent).await {
            Ok(()) => disk.sync_dir(&old.parent).await,
            Err(error) => Err(error),
        };
        if synced.is_err() {
            let back = disk.rename(&new.parent, &new.name, &old.parent, &old.name).await;
            if let Err(second) = or_exists(back) {
                log::error!("{}: it could not be moved back: {second}", label());
            }
        }
        synced.during(label)
    }

    /// RENAME of INBOX (RFC 9051 §6.3.6): its messages move to a new mailbox, INBOX and what is below it stay.
    async fn rename_inbox(&self, account: &AccountName, to: &MailboxName, now: Unix) -> Result<()> {
        let source = self.resolve(account, &MailboxName::inbox()).await?;
        self.create_mailbox(account, to, &[], now).await?;
        self.copy_annotations(account, &MailboxName::inbox(), to).await?;
        let target = self.resolve(account, to).await?;
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        self.move_to(&source, &all, &target, now).await.map(drop)
    }
}
