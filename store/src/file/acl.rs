//! The file `acl.json` of a mailbox: who else may do what with it (RFC 4314). Without it: nobody.
//!
//! ```json
//! {"version":1,"entries":{"anyone":"lr","fred@example.com":"lrswi","-fred@example.com":"w"}}
//! ```
//!
//! It is replaced whole (temporary file, sync, rename, sync of the directory) under the account's lock, moves with its
//! directory when the mailbox is renamed, and goes with it. One that cannot be read lets nobody in. A new mailbox has that
//! of the mailbox above it, written before its `status.json`.
//!
//! Who shares something with an account is told by the empty files `shared/{identifier}/{owner}` of the mail_root, with
//! names by [`super::escape`]. They say where to look, not what may be done: one is made durable before the first
//! `acl.json` of the owner that names the identifier, so that none is ever missing, and may stay when the last one goes.

use std::collections::{BTreeMap, BTreeSet};

use rmail_core::addr::{AccountName, Address};
use rmail_core::imap::server::SharedMailbox;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{Acl, Identifier, MailboxName, MailboxRef, Rights, RightsChange, Who};
use rmail_core::refusal::Refusal;
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};

use super::FileStore;
use super::account::VERSION;
use super::escape::unescape;
use super::io::{During as _, found, read_file, replace_file, settle_dir};
use super::tree::{Level, dir_name};

/// The file's name.
pub(crate) const ACL: &str = "acl.json";

/// The directory in the mail_root that says who shares something with whom.
pub(crate) const SHARED: &str = "shared";

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    version: u32,
    entries: BTreeMap<String, String>,
}

/// What the file says.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn decode(octets: &[u8]) -> core::result::Result<Acl, String> {
    let form: Form = serde_json::from_slice(octets).map_err(|error| error.to_string())?;
    if form.version != VERSION {
        return Err(format!("version {} is not known", form.version));
    }
    let mut acl = Acl::default();
    for (identifier, letters) in &form.entries {
        let known = Identifier::parse(identifier).ok_or_else(|| format!("{identifier:?} is nobody"))?;
        let rights = Rights::parse(letters).map_err(|letter| format!("{letter:?} is no right"))?;
        if !acl.change(&known, RightsChange::Add(rights)) {
            return Err("it has too many entries".to_owned());
        }
    }
    Ok(acl)
}

/// The file's octets.
fn encode(acl: &Acl) -> Vec<u8> {
    let entries = acl.entries();
    let form = Form {
        version: VERSION,
        entries: entries
            .map(|(identifier, rights)| (identifier.to_string(), rights.letters()))
            .collect(),
    };
    serde_json::to_vec(&form).unwrap_or_default()
}

impl<D: Disk> FileStore<D> {
    /// The list of a level's directory.
    async fn read_acl(&self, dir: &D::Dir) -> Result<Acl> {
        let label = || format!("read {ACL}");
        let Some(octets) = read_file(self.disk(), dir, ACL).await.during(label)? else {
            return Ok(Acl::default());
        };
        decode(&octets).map_err(|why| Error {
            refusal: Refusal::Storage,
            context: format!("{}: {why}", label()),
            source: None,
        })
    }

    async fn write_acl(&self, dir: &D::Dir, acl: &Acl) -> std::io::Result<()> {
        if acl.is_empty() {
            found(self.disk().unlink(dir, ACL).await)?;
            return self.disk().sync_dir(dir).await;
        }
        replace_file(self.disk(), dir, ACL, &encode(acl)).await
    }

    /// The list of a mailbox.
    pub(super) async fn acl_of_name(&self, account: &AccountName, name: &MailboxName) -> Result<Acl> {
        let dir = self.level_dir(account, name).await?;
        self.read_acl(&dir.ok_or(Refusal::NoSuchMailbox)?).await
    }

    /// The same of one that is open.
    pub(super) async fn acl_of_open(&self, mailbox: &MailboxRef) -> Result<Acl> {
        let mailbox = self.by_reference(mailbox)?;
        self.read_acl(&mailbox.dir).await
    }

    pub(super) async fn change_acl(
        &self,
        account: &AccountName,
        name: &MailboxName,
        identifier: &Identifier,
        change: RightsChange,
    ) -> Result<()> {
        let label = || format!("share {name} of {account}");
        let held = self.lock_account(account).await?;
        let level = self.find(account, name).await?.ok_or(Refusal::NoSuchMailbox)?;
        if !matches!(level.level, Level::Mailbox(_)) {
            return Err(Refusal::NoSuchMailbox.into());
        }
        let before = self.read_acl(&level.dir).await?;
        let mut acl = before.clone();
        if !acl.change(identifier, change) {
            return Err(Refusal::MailboxFull.into());
        }
        if acl == before {
            return Ok(());
        }
        if acl.names(&identifier.who) {
            self.enter_shared(account, &identifier.who).await?;
        }
        // What rights allow is part of the list (RFC 8440).
        let write = async { Ok(self.write_acl(&level.dir, &acl).await) };
        let written = self.list_changes(account, &held, write).await?;
        if written.is_err()
            && let Err(second) = self.write_acl(&level.dir, &before).await
        {
            // It may be there, but not for certain.
            log::error!("{}: it could not be taken back: {second}", label());
        }
        written.during(label)?;
        if !acl.names(&identifier.who)
            && let Err(error) = self.leave_shared(account, &identifier.who).await
        {
            log::warn!("{}: {error}", label());
        }
        // Those who were given rights see it in their lists.
        match &identifier.who {
            Who::Account(named) => self.hub.announce_change(&Scope::List(named.clone())),
            Who::Anyone => self.hub.announce_lists(),
        }
        Ok(())
    }

    /// A new mailbox has the list of the one above it. Its `status.json` is not there yet.
    pub(super) async fn inherit_acl(
        &self,
        account: &AccountName,
        name: &MailboxName,
        dir: &D::Dir,
    ) -> Result<()> {
        let Some(parent) = name.parent() else {
            return Ok(());
        };
        let acl = match self.find(account, &parent).await? {
            Some(found) if matches!(found.level, Level::Mailbox(_)) => self.read_acl(&found.dir).await?,
            _ => Acl::default(),
        };
        let label = || format!("make {name} of {account}");
        if acl.is_empty() {
            // Of one that was not made to the end.
            return found(self.disk().unlink(dir, ACL).await).during(label).map(drop);
        }
        self.write_acl(dir, &acl).await.during(label)
    }

    /// Notes, durably, that an account shares something. For one who has the account's lock.
    pub(crate) async fn enter_shared(&self, owner: &AccountName, who: &Who) -> Result<()> {
        let label = || format!("note what {owner} shares");
        let (who, owner) = (dir_name(who.as_str())?, dir_name(owner.as_str())?);
        let disk = self.disk();
        let top = settle_dir(disk, disk.root(), SHARED).await.during(label)?;
        let dir = settle_dir(disk, &top, &who).await.during(label)?;
        disk.open(&dir, &owner, Mode::Create).await.during(label)?;
        disk.sync_dir(&dir).await.during(label)
    }

    /// Takes the note back if no other mailbox of the account is shared with this one.
    async fn leave_shared(&self, owner: &AccountName, who: &Who) -> Result<()> {
        for (name, _) in self.walk(owner).await? {
            if self.acl_of_name(owner, &name).await?.names(who) {
                return Ok(());
            }
        }
        if let Some(dir) = self.shared_dir(who).await? {
            let gone = self.disk().unlink(&dir, &dir_name(owner.as_str())?).await;
            found(gone).during(|| format!("note what {owner} shares"))?;
        }
        Ok(())
    }

    async fn shared_dir(&self, who: &Who) -> Result<Option<D::Dir>> {
        let label = || "look who shares something".to_owned();
        let root = self.disk().root();
        let Some(top) = found(self.disk().open_dir(root, SHARED).await).during(label)? else {
            return Ok(None);
        };
        let dir = self.disk().open_dir(&top, &dir_name(who.as_str())?).await;
        found(dir).during(label)
    }

    /// Whether it is noted that an account shares something with this one.
    pub(crate) async fn is_shared(&self, owner: &AccountName, who: &Who) -> Result<bool> {
        let Some(dir) = self.shared_dir(who).await? else {
            return Ok(false);
        };
        let name = dir_name(owner.as_str())?;
        let noted = found(self.disk().stat_at(&dir, &name).await);
        Ok(noted.during(|| format!("note what {owner} shares"))?.is_some())
    }

    /// The mailboxes of others that an account has rights to.
    pub(super) async fn shared_mailboxes(&self, with: &AccountName) -> Result<Vec<SharedMailbox>> {
        let mut owners: BTreeSet<AccountName> = BTreeSet::new();
        for who in [Who::Anyone, Who::Account(with.clone())] {
            let Some(dir) = self.shared_dir(&who).await? else {
                continue;
            };
            let listing = self.disk().list(&dir).await;
            let listing = listing.during(|| "look who shares something".to_owned())?;
            let names = listing.entries.into_iter();
            owners.extend(names.filter_map(|entry| {
                let text = unescape(&entry.name)?;
                Some(Address::parse(&text)?.canonical())
            }));
        }
        owners.remove(with);
        let mut shared = Vec::new();
        for owner in owners {
            for (name, status) in self.walk(&owner).await? {
                if status.is_none() {
                    continue;
                }
                let rights = match self.acl_of_name(&owner, &name).await {
                    Ok(acl) => acl.rights_of(with),
                    // It is gone meanwhile.
                    Err(error) if error.refusal == Refusal::NoSuchMailbox => continue,
                    Err(error) => {
                        log::error!("{owner}/{name}: {error}");
                        continue;
                    }
                };
                if !rights.is_empty() {
                    let owner = owner.clone();
                    shared.push(SharedMailbox { owner, name, rights });
                }
            }
        }
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_and_a_broken_one_does_not() {
        let mut acl = Acl::default();
        for (who, letters) in [("anyone", "lr"), ("-fred@example.com", "w"), ("a b@x.y", "")] {
            if let Some(who) = Identifier::parse(who) {
                assert!(acl.change(&who, RightsChange::Add(Rights::parse(letters).expect("rights"))));
            }
        }
        assert_eq!(decode(&encode(&acl)), Ok(acl));
        for broken in [
            "",
            "{}",
            r#"{"version":2,"entries":{}}"#,
            r#"{"version":1,"entries":{"fred":"l"}}"#,
            r#"{"version":1,"entries":{"anyone":"q"}}"#,
            r#"{"version":1,"entries":{},"more":1}"#,
        ] {
            assert!(decode(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
