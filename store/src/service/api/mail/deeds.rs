//! What is done with messages: of each folder together, and each message has its own outcome.

use std::collections::{BTreeMap, BTreeSet};

use rmail_core::addr::AccountName;
use rmail_core::api::Failure;
use rmail_core::api::mail::summary::flags;
use rmail_core::api::mail::{
    Change, Changed, Deed, FolderId, MessageId, Outcome, no_such_folder, no_such_message,
};
use rmail_core::imap::server::CopyUid;
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, MailboxName, Snapshot, SpecialUse, SystemFlags, Uid, UidSet,
};
use rmail_core::time::Now;

use super::super::ApiService;
use super::{Told, failed};
use crate::disk::Disk;
use crate::mailstore::MailStore;

/// What became of the messages of one folder.
type Outcomes = BTreeMap<Uid, Told<Changed>>;

/// What is done, with names in the place of ids.
enum Work<'a> {
    Change(&'a Change, Option<(FolderId, MailboxName)>),
    Copy(FolderId, MailboxName),
    /// Where the trash is; none: for good.
    Delete(Option<(FolderId, MailboxName)>),
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Does it, and tells what became of each message in the order in which they were named.
    pub(super) async fn perform_deed(
        &self,
        now: Now,
        account: &AccountName,
        ids: &[MessageId],
        deed: &Deed,
    ) -> Told<Vec<Outcome>> {
        let work = self.work(account, deed).await?;
        let mut folders: BTreeMap<FolderId, BTreeSet<Uid>> = BTreeMap::new();
        for id in ids {
            folders.entry(id.folder).or_default().insert(id.uid);
        }
        let mut outcomes: BTreeMap<FolderId, Outcomes> = BTreeMap::new();
        for (folder, uids) in folders {
            let done = match self.in_folder(now, account, folder, &uids, &work).await {
                Ok(done) => done,
                Err(failure) => uids.iter().map(|uid| (*uid, Err(failure.clone()))).collect(),
            };
            outcomes.insert(folder, done);
        }
        let outcome = |id: &MessageId| Outcome {
            id: *id,
            result: outcomes
                .get(&id.folder)
                .and_then(|folder| folder.get(&id.uid).cloned())
                .unwrap_or_else(|| Err(no_such_message())),
        };
        Ok(ids.iter().map(outcome).collect())
    }

    /// Looks where the messages are to go.
    async fn work<'a>(&self, account: &AccountName, deed: &'a Deed) -> Told<Work<'a>> {
        Ok(match deed {
            Deed::Change(change) => {
                let to = match change.to {
                    Some(to) => Some((to, self.name_of(account, to).await?)),
                    None => None,
                };
                Work::Change(change, to)
            }
            Deed::Copy(to) => Work::Copy(*to, self.name_of(account, *to).await?),
            Deed::Delete { permanent: true } => Work::Delete(None),
            Deed::Delete { permanent: false } => {
                let list = self.list(account, true).await;
                let list = list.map_err(|error| failed("look for the trash", account, error))?;
                let named = || {
                    list.iter()
                        .find(|entry| entry.name.as_str().eq_ignore_ascii_case("trash"))
                };
                let trash = list.by_use(SpecialUse::Trash).or_else(named).ok_or_else(|| {
                    Failure::new(
                        409,
                        "There is no folder with the role trash: make one, or delete for good with permanent=true",
                    )
                })?;
                Work::Delete(Some((trash.id, trash.name.clone())))
            }
        })
    }

    async fn in_folder(
        &self,
        now: Now,
        account: &AccountName,
        folder: FolderId,
        uids: &BTreeSet<Uid>,
        work: &Work<'_>,
    ) -> Told<Outcomes> {
        let found = self.snapshot(account, folder).await;
        let (_, snapshot) = match found.map_err(|error| failed("find messages", account, error)) {
            Err(failure) if failure == no_such_folder() => return Ok(Outcomes::new()),
            found => found?,
        };
        let here: UidSet = uids
            .iter()
            .copied()
            .filter(|uid| snapshot.rows.find(*uid).is_some())
            .collect();
        if here.is_empty() {
            return Ok(Outcomes::new());
        }
        match work {
            Work::Change(change, to) => {
                let snapshot = self.flag(account, folder, &here, change, snapshot).await?;
                match to.as_ref().filter(|(to, _)| *to != folder) {
                    Some(to) => {
                        self.carry_away(now, account, (folder, &snapshot), &here, to)
                            .await
                    }
                    None => Ok(stayed(folder, &here, &snapshot)),
                }
            }
            Work::Copy(to, name) => {
                let quota = self.service.quota_of(account).await?;
                let store = &*self.service.store;
                let copied = self.within(account, folder, async |mailbox| {
                    store.copy(mailbox, &here, name, &quota, now.unix).await
                });
                let (copied, _) = copied
                    .await
                    .map_err(|error| failed("copy messages", account, error))?;
                Ok(went(*to, &copied, &snapshot))
            }
            Work::Delete(Some(trash)) if trash.0 != folder => {
                self.carry_away(now, account, (folder, &snapshot), &here, trash)
                    .await
            }
            Work::Delete(_) => self.remove(account, folder, &here).await,
        }
    }

    /// Changes flags, and gives the folder after it.
    async fn flag(
        &self,
        account: &AccountName,
        folder: FolderId,
        uids: &UidSet,
        change: &Change,
        mut snapshot: Snapshot,
    ) -> Told<Snapshot> {
        let store = &*self.service.store;
        for (op, flags) in [(FlagOp::Add, &change.add), (FlagOp::Remove, &change.remove)] {
            if *flags == Flags::default() {
                continue;
            }
            let flags = flags.clone();
            let change = FlagChange { op, flags };
            let stored = self.within(account, folder, async |mailbox| {
                if let Some(stored) = store.store_now(mailbox, uids, &change, None) {
                    return stored;
                }
                store.store(mailbox, uids, &change, None).await
            });
            let stored = stored
                .await
                .map_err(|error| failed("change flags", account, error))?;
            snapshot = stored.snapshot;
        }
        Ok(snapshot)
    }

    /// Moves messages.
    async fn carry_away(
        &self,
        now: Now,
        account: &AccountName,
        (folder, snapshot): (FolderId, &Snapshot),
        uids: &UidSet,
        (to, name): &(FolderId, MailboxName),
    ) -> Told<Outcomes> {
        let store = &*self.service.store;
        let moved = self.within(account, folder, async |mailbox| {
            store.r#move(mailbox, uids, name, now.unix).await
        });
        let (moved, _) = moved
            .await
            .map_err(|error| failed("move messages", account, error))?;
        Ok(went(*to, &moved, snapshot))
    }

    /// Removes messages for good.
    async fn remove(&self, account: &AccountName, folder: FolderId, uids: &UidSet) -> Told<Outcomes> {
        let store = &*self.service.store;
        let deleted = FlagChange {
            op: FlagOp::Add,
            flags: Flags {
                system: SystemFlags::DELETED,
                keywords: Vec::new(),
            },
        };
        let removed = self.within(account, folder, async |mailbox| {
            store.store(mailbox, uids, &deleted, None).await?;
            store.expunge(mailbox, Some(uids)).await
        });
        removed
            .await
            .map_err(|error| failed("delete messages", account, error))?;
        let gone = |uid| {
            let changed = Changed {
                id: None,
                flags: Vec::new(),
            };
            (uid, Ok(changed))
        };
        Ok(uids.iter().map(gone).collect())
    }
}

/// Messages where they were.
fn stayed(folder: FolderId, uids: &UidSet, snapshot: &Snapshot) -> Outcomes {
    let changed = |uid| {
        let (_, row) = snapshot.rows.find(uid)?;
        let changed = Changed {
            id: Some(MessageId { folder, uid }),
            flags: flags(row, &snapshot.keywords),
        };
        Some((uid, Ok(changed)))
    };
    uids.iter().filter_map(changed).collect()
}

/// Messages that are somewhere else now, too or alone.
fn went(to: FolderId, copied: &CopyUid, snapshot: &Snapshot) -> Outcomes {
    let pairs = copied.source.iter().zip(&copied.target);
    let changed = |(source, target): (&Uid, &Uid)| {
        let row = snapshot.rows.find(*source);
        let changed = Changed {
            id: Some(MessageId {
                folder: to,
                uid: *target,
            }),
            flags: row.map_or_else(Vec::new, |(_, row)| flags(row, &snapshot.keywords)),
        };
        (*source, Ok(changed))
    };
    pairs.map(changed).collect()
}
