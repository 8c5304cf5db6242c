//! How the folders are, for those who listen to events.

use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::api::mail::{FolderId, Look, Looked, Missed, Point, Seen};
use rmail_core::mailbox::{MailboxRef, Row, Snapshot, Uid, Vanished};
use rmail_core::refusal::Refusal;

use super::super::ApiService;
use super::folders::List;
use super::place::reference;
use super::{Told, failed};
use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::MailStore;

/// Folders that are looked at without waiting at most.
const AT_ONCE: usize = 16;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// The answer, if all of it is at hand: what most listeners ask, of one folder that has changed.
    pub(super) fn look_now(&self, account: &AccountName, look: &Look) -> Option<Looked> {
        let easy = |(_, point): &(FolderId, Option<Point>)| point.is_none();
        if look.list || look.folders.len() > AT_ONCE || !look.folders.iter().all(easy) {
            return None;
        }
        let seen = |(folder, _): &(FolderId, Option<Point>)| {
            let snapshot = self.service.store.snapshot_now(&reference(account, *folder))?;
            Some(Seen {
                folder: *folder,
                snapshot: Some(snapshot),
                missed: None,
            })
        };
        let folders: Option<Vec<Seen>> = look.folders.iter().map(seen).collect();
        Some(Looked {
            list: None,
            folders: folders?,
        })
    }

    pub(super) async fn look(&self, account: &AccountName, look: Look) -> Told<Looked> {
        let mut looked = Looked::default();
        if look.list {
            let list = self.list(account, true).await;
            let list = list.map_err(|error| failed("list the folders", account, error))?;
            looked.list = Some(names(&list));
        }
        for (folder, point) in look.folders {
            let seen = self.see(account, folder, point).await;
            let seen = seen.map_err(|error| failed("look at a folder", account, error))?;
            looked.folders.push(seen);
        }
        Ok(looked)
    }

    async fn see(&self, account: &AccountName, folder: FolderId, point: Option<Point>) -> Result<Seen> {
        let mut seen = Seen {
            folder,
            snapshot: None,
            missed: None,
        };
        let (mailbox, snapshot) = match self.snapshot(account, folder).await {
            Err(error) if error.refusal == Refusal::NoSuchMailbox => return Ok(seen),
            found => found?,
        };
        // The watch may have come before the mailbox was open.
        self.service.store.listen(&mailbox);
        if let Some(point) = point {
            seen.missed = Some(self.missed(&mailbox, point, &snapshot).await?);
        }
        seen.snapshot = Some(snapshot);
        Ok(seen)
    }

    /// What has happened since a point.
    async fn missed(&self, mailbox: &MailboxRef, point: Point, snapshot: &Snapshot) -> Result<Missed> {
        // Numbers that were never given: the mailbox comes from a backup.
        if point.modseq > snapshot.modseq || point.uid_next > snapshot.uid_next {
            return Ok(Missed::Much);
        }
        let rows = &snapshot.rows;
        let changed = |row: &&Row| rows.modseq(row) > point.modseq || row.uid >= point.uid_next;
        let changed = rows.iter().filter(changed).map(|row| row.uid);
        let here: Vec<Uid> = changed.take(Missed::MAX + 1).collect();
        let mut gone: Vec<Uid> = Vec::new();
        if point.uid_next > Uid(1) && point.modseq < snapshot.modseq {
            let store = &*self.service.store;
            match store.vanished(mailbox, point.modseq, snapshot).await? {
                Vanished::Forgotten => return Ok(Missed::Much),
                Vanished::These(uids) => {
                    let known = uids.iter().take_while(|uid| *uid < point.uid_next);
                    gone.extend(known.take(Missed::MAX + 1));
                }
            }
        }
        Ok(if here.len() + gone.len() > Missed::MAX {
            Missed::Much
        } else {
            Missed::These { here, gone }
        })
    }
}

fn names(list: &List) -> Vec<(FolderId, Arc<str>)> {
    let name = |entry: &super::folders::Entry| (entry.id, Arc::from(entry.name.as_str()));
    list.iter().map(name).collect()
}
