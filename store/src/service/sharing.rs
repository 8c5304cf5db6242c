//! What is done with mailboxes of other accounts, as far as it differs from what is done with one's own; quota and access
//! control lists.

use rmail_core::addr::AccountName;
use rmail_core::imap::server::{CopyUid, Stored};
use rmail_core::mailbox::{
    Annotated, Annotations, FlagChange, FlagOp, Flags, Identifier, Keyword, MailboxName, MailboxRef, Quota,
    Rights, RightsChange, Row, Snapshot, SystemFlags, UidSet, UidValidity, Usage, Who,
};
use rmail_core::mailbox::{Keywords, ModSeq};
use rmail_core::refusal::Refusal;
use rmail_core::time::Now;

use super::imap::ImapService;
use super::refused;
use crate::accounts::AccountError;
use crate::disk::Disk;
use crate::error::Result as StoreResult;
use crate::mailstore::MailStore;

type Result<T> = core::result::Result<T, Refusal>;

/// Messages that are carried to another account at once: each is an open spool.
const AT_ONCE: usize = 128;

/// Octets read at once.
const BLOCK: usize = 128 * 1024;

impl<S: MailStore, D: Disk> ImapService<S, D> {
    /// SETACL, DELETEACL. Only to users that exist something is given: who comes later under a name that was mistyped must
    /// not find a door open.
    pub(super) async fn set_acl(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        identifier: &str,
        change: RightsChange,
    ) -> Result<()> {
        let identifier = self.identifier(identifier).ok_or(Refusal::NotPossible)?;
        if let Who::Account(named) = &identifier.who {
            let gives = match change {
                RightsChange::Replace(rights) | RightsChange::Add(rights) => !rights.is_empty(),
                RightsChange::Remove(_) => false,
            };
            // Nothing is given to an owner, nor taken away.
            if named == account || (gives && self.service.find(named).await?.is_none()) {
                return Err(Refusal::NotPossible);
            }
        }
        let store = &*self.service.store;
        let set = store.set_acl(account, mailbox, &identifier, change).await;
        set.map_err(|error| refused(&format!("share {account}/{mailbox}"), error))
    }

    /// Whom a client means. Accounts are written as for a login.
    fn identifier(&self, text: &str) -> Option<Identifier> {
        let (name, negative) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let who = if name == Who::ANYONE {
            Who::Anyone
        } else {
            Who::Account(self.settings.hosting.login(name)?)
        };
        Some(Identifier { who, negative })
    }

    /// GETMETADATA: what the account that is logged in sees.
    pub(super) async fn annotations(&self, about: &Annotated) -> Result<Annotations> {
        let me = self.account()?;
        let store = &*self.service.store;
        let failed = |error| refused(&format!("annotations of {about:?}"), error);
        let mut all = store.annotations(about).await.map_err(failed)?;
        if let Annotated::Server = about {
            let noted = store.annotations(&Annotated::Account(me.clone())).await;
            all = all.and(noted.map_err(failed)?);
        }
        Ok(all.seen_by(&me))
    }

    /// GETQUOTA: what an account has, and what it may have.
    pub(super) async fn quota(&self, account: &AccountName) -> Result<(Usage, Quota)> {
        let user = self.service.find(account).await?.ok_or(Refusal::NoSuchUser)?;
        let usage = self.service.store.usage(account).await;
        let usage = usage.map_err(|error| refused(&format!("usage of {account}"), error))?;
        Ok((usage, user.quota()))
    }

    /// SETQUOTA. Octets are rounded up to MiB, as users' files have them (RFC 9208 §3.2).
    pub(super) async fn set_quota(&self, account: &AccountName, quota: Quota) -> Result<(Usage, Quota)> {
        // 0 stands for no limit in the file; the least that can be said there is one.
        let limit = |value: Option<u64>, unit: u64| value.map_or(0, |value| value.div_ceil(unit).max(1));
        let (mb, messages) = (limit(quota.octets, 1 << 20), limit(quota.messages, 1));
        let changed = self.service.accounts.change(account, |user| {
            let before = (user.quota_mb, user.quota_messages);
            (user.quota_mb, user.quota_messages) = (mb, messages);
            before != (mb, messages)
        });
        match changed.await {
            Ok(()) => self.quota(account).await,
            Err(AccountError::NoSuchUser) => Err(Refusal::NoSuchUser),
            Err(error) => {
                log::error!("quota of {account}: {error}");
                Err(Refusal::Unavailable)
            }
        }
    }

    /// STORE as far as rights go (RFC 4314 §4).
    pub(super) async fn store_flags(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Stored> {
        let store = &*self.service.store;
        let failed = |error| refused(&format!("flags in {} {}", mailbox.account, mailbox.id.0), error);
        let rights = self.rights_of(mailbox).await?;
        if rights.contains(Rights::FLAGS) {
            let stored = store.store(mailbox, uids, change, unchanged_since).await;
            return stored.map_err(failed);
        }
        if !rights.permit_some(change) {
            return Err(Refusal::NotPermitted);
        }
        let flags = rights.permitted(change.flags.clone());
        let replaces = change.op == FlagOp::Replace;
        let op = if replaces { FlagOp::Add } else { change.op };
        let first = FlagChange { op, flags };
        let stored = store.store(mailbox, uids, &first, unchanged_since).await;
        let stored = stored.map_err(failed)?;
        if !replaces {
            return Ok(stored);
        }
        // The flags that may be changed and were not given go; the others stay.
        let gone = FlagChange {
            op: FlagOp::Remove,
            flags: others(rights, &first.flags, &stored.snapshot.keywords),
        };
        let rest: UidSet = stored
            .snapshot
            .rows
            .of(uids)
            .map(|row| row.uid)
            .filter(|uid| !stored.modified.contains(*uid))
            .collect();
        let since = Some(stored.snapshot.modseq);
        let second = store.store(mailbox, &rest, &gone, since).await.map_err(failed)?;
        Ok(Stored {
            modified: stored.modified.iter().chain(second.modified.iter()).collect(),
            snapshot: second.snapshot,
        })
    }

    /// COPY: within an account as the store does it; to another one, or where not all flags may be given, message by
    /// message.
    pub(super) async fn copy(
        &self,
        now: Now,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: (&AccountName, &MailboxName),
    ) -> Result<(CopyUid, Snapshot)> {
        let (account, name) = to;
        let rights = self.rights(account, name).await?;
        if mailbox.account == *account && rights.contains(Rights::FLAGS) {
            let quota = self.service.quota_of(account).await?;
            let copied = self
                .service
                .store
                .copy(mailbox, uids, name, &quota, now.unix)
                .await;
            let (copied, snapshot) =
                copied.map_err(|error| refused(&format!("copy to {account}/{name}"), error))?;
            return Ok((disclosed(copied, rights), snapshot));
        }
        match self.carry(now, mailbox, uids, to, rights).await {
            Ok((copied, snapshot)) => Ok((disclosed(copied, rights), snapshot)),
            Err(error) => Err(refused(&format!("copy to {account}/{name}"), error)),
        }
    }

    /// MOVE: within an account as the store does it; otherwise the messages are copied, and then expunged from where they
    /// were. After an error they may be in both places, never in none.
    pub(super) async fn move_messages(
        &self,
        now: Now,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: (&AccountName, &MailboxName),
    ) -> Result<(CopyUid, Snapshot)> {
        let (account, name) = to;
        let rights = self.rights(account, name).await?;
        let store = &*self.service.store;
        let failed = |error| refused(&format!("move to {account}/{name}"), error);
        if mailbox.account == *account && rights.contains(Rights::FLAGS) {
            let (moved, snapshot) = store
                .r#move(mailbox, uids, name, now.unix)
                .await
                .map_err(failed)?;
            return Ok((disclosed(moved, rights), snapshot));
        }
        let (copied, _) = self.carry(now, mailbox, uids, to, rights).await.map_err(failed)?;
        let gone: UidSet = copied.source.iter().copied().collect();
        let snapshot = self.remove(mailbox, &gone).await.map_err(failed)?;
        Ok((disclosed(copied, rights), snapshot))
    }

    /// Puts copies of messages into a mailbox of any account, all of them or none. They have new save dates, and the flags
    /// that may be given there. Many are put there in steps; if one fails, what was put there before it is taken away.
    async fn carry(
        &self,
        now: Now,
        mailbox: &MailboxRef,
        uids: &UidSet,
        (account, to): (&AccountName, &MailboxName),
        rights: Rights,
    ) -> StoreResult<(CopyUid, Snapshot)> {
        let store = &*self.service.store;
        let snapshot = store.snapshot(mailbox).await?;
        let rows: Vec<Row> = snapshot.rows.of(uids).copied().collect();
        let mut copied = CopyUid {
            uid_validity: UidValidity(0),
            source: Vec::with_capacity(rows.len()),
            target: Vec::with_capacity(rows.len()),
        };
        for some in rows.chunks(AT_ONCE) {
            let step = self.carry_some(now, mailbox, &snapshot, some, (account, to), rights);
            match step.await {
                Ok(step) if step.source.is_empty() => {}
                Ok(step) => {
                    copied.uid_validity = step.uid_validity;
                    copied.source.extend(step.source);
                    copied.target.extend(step.target);
                }
                Err(error) => {
                    self.take_back((account, to), &copied).await;
                    return Err(error);
                }
            }
        }
        if copied.source.is_empty() {
            copied.uid_validity = store.status(account, to).await?.uid_validity;
        }
        Ok((copied, store.snapshot(mailbox).await?))
    }

    async fn carry_some(
        &self,
        now: Now,
        mailbox: &MailboxRef,
        snapshot: &Snapshot,
        rows: &[Row],
        (account, to): (&AccountName, &MailboxName),
        rights: Rights,
    ) -> StoreResult<CopyUid> {
        let store = &*self.service.store;
        let (mut source, mut messages) = (Vec::new(), Vec::new());
        for row in rows {
            let Some(blob) = store.open(mailbox, row.uid).await? else {
                continue;
            };
            let mut spool = store.new_spool().await?;
            let len = store.blob_len(&blob);
            let mut buf = vec![0; BLOCK];
            let mut at = 0;
            while at < len {
                let count = store.read(&blob, &mut buf, at).await?;
                let octets = buf.get(..count).filter(|octets| !octets.is_empty());
                let octets = octets.ok_or(Refusal::Storage)?;
                let chunk = rmail_core::chunk::Chunk::copy_from(octets);
                if let Err(chunk) = store.write_spool_now(&mut spool, chunk) {
                    store.write_spool(&mut spool, chunk).await?;
                }
                at += count as u64;
            }
            let flags = Flags {
                system: row.flags,
                keywords: snapshot.keywords.of(row.keywords).cloned().collect(),
            };
            source.push(row.uid);
            messages.push((spool, rights.permitted(flags), Some(row.internal_date())));
        }
        let mut copied = CopyUid {
            uid_validity: UidValidity(0),
            source,
            target: Vec::new(),
        };
        if !messages.is_empty() {
            let quota = self.service.quota_of(account).await?;
            let appended = store.append(account, to, messages, &quota, now.unix).await?;
            copied.uid_validity = appended.uid_validity;
            copied.target = appended.uids;
        }
        Ok(copied)
    }

    /// Takes copies away that are no longer wanted. What fails here leaves them.
    async fn take_back(&self, (account, to): (&AccountName, &MailboxName), copied: &CopyUid) {
        if copied.target.is_empty() {
            return;
        }
        let store = &*self.service.store;
        let gone: UidSet = copied.target.iter().copied().collect();
        let taken = async {
            let target = store.select(account, to, true).await?.mailbox;
            let taken = self.remove(&target, &gone).await;
            store.unselect(&target).await;
            taken
        };
        if let Err(error) = taken.await {
            refused(&format!("take back what was copied to {account}/{to}"), error);
        }
    }

    /// Expunges messages, whether they have `\Deleted` or not.
    async fn remove(&self, mailbox: &MailboxRef, uids: &UidSet) -> StoreResult<Snapshot> {
        let store = &*self.service.store;
        let deleted = FlagChange {
            op: FlagOp::Add,
            flags: Flags {
                system: SystemFlags::DELETED,
                keywords: Vec::new(),
            },
        };
        store.store(mailbox, uids, &deleted, None).await?;
        store.expunge(mailbox, Some(uids)).await
    }
}

/// UIDs are told to who may open the mailbox (RFC 4315 §3).
fn disclosed(copied: CopyUid, rights: Rights) -> CopyUid {
    match rights.contains(Rights::READ) {
        true => copied,
        false => CopyUid {
            target: Vec::new(),
            ..copied
        },
    }
}

/// The flags that may be changed, without these.
fn others(rights: Rights, given: &Flags, known: &Keywords) -> Flags {
    let keyword = |keyword: &&Keyword| !given.keywords.contains(keyword);
    rights.permitted(Flags {
        system: SystemFlags::ALL.without(given.system),
        keywords: known.names().iter().filter(keyword).cloned().collect(),
    })
}
