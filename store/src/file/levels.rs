//! What LIST has read of the levels of mailbox trees. Each LIST looks at every level with one stat, and reads only those
//! that have changed.
//!
//! `status.json` is replaced whole, so a level's directory has a new ctime whenever it, or `children`, comes, changes or
//! goes. What is found is kept if the file system's clock has gone on since, so that a later change shows.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::io::{During as _, found};
use super::mailbox::guard;
use super::status::Status;
use super::tree::Level;
use super::warm::STEP;

/// Levels that are remembered, of all accounts.
const LEVELS: usize = 65_536;

/// Levels by device and inode number of their directories.
#[derive(Default)]
pub(super) struct Levels(Mutex<HashMap<(u64, u64), Seen>>);

/// A level as it was under this ctime.
#[derive(Clone)]
struct Seen {
    ctime: i128,
    /// None: it is deleted.
    status: Option<Status>,
    children: bool,
}

/// A level that was looked at.
pub(super) struct Looked<D: Disk> {
    /// Of a mailbox.
    pub(super) status: Option<Status>,
    /// Its `children`, if it has them.
    pub(super) children: Option<D::Dir>,
}

/// The clock of the file system, read at the first need.
#[derive(Default)]
pub(super) struct Since(Option<i128>);

impl<D: Disk> FileStore<D> {
    /// What a level is. `None`: it is no more.
    pub(super) async fn look_at_level(
        &self,
        dir: &D::Dir,
        name: &str,
        since: &mut Since,
    ) -> Result<Option<Looked<D>>> {
        let label = || "look at a level".to_owned();
        let Some(stat) = found(self.disk().stat_at(dir, name).await).during(label)? else {
            return Ok(None);
        };
        let key = (stat.device, stat.inode);
        let known = guard(&self.levels.0).get(&key).cloned();
        if let Some(seen) = known.filter(|seen| seen.ctime == stat.ctime) {
            let mut children = None;
            if seen.children
                && let Some(level) = found(self.disk().open_dir(dir, name).await).during(label)?
            {
                children = found(self.disk().open_dir(&level, "children").await).during(label)?;
            }
            return Ok(Some(Looked {
                status: seen.status,
                children,
            }));
        }
        let settled = self.is_past(stat.device, stat.ctime, since).await;
        let Some(level) = found(self.disk().open_dir(dir, name).await).during(label)? else {
            return Ok(None);
        };
        let found_level = self.level(&level).await?;
        let children = found(self.disk().open_dir(&level, "children").await).during(label)?;
        let told_by_status = matches!(found_level, Level::Mailbox(_) | Level::Gone);
        let status = match found_level {
            Level::Mailbox(status) => Some(status),
            // Opening rebuilds it; the account's lock may be ours, so not here.
            Level::Broken(_) => Some(Status::none()),
            Level::Gone | Level::Plain => None,
        };
        if settled && told_by_status {
            let mut levels = guard(&self.levels.0);
            if levels.len() >= LEVELS {
                levels.clear();
            }
            levels.insert(
                key,
                Seen {
                    ctime: stat.ctime,
                    status: status.clone(),
                    children: children.is_some(),
                },
            );
        }
        Ok(Some(Looked { status, children }))
    }

    /// Whether what changed then gets another ctime if it changes again. Hosts that share a mail_root may see old
    /// ctimes for a while.
    async fn is_past(&self, device: u64, ctime: i128, since: &mut Since) -> bool {
        if device != self.device || self.options().shared_by_hosts {
            return false;
        }
        let fence = match since.0 {
            Some(fence) => fence,
            None => match self.clock(self.disk().root()).await {
                Ok(now) => now - STEP,
                Err(_) => i128::MIN,
            },
        };
        since.0 = Some(fence);
        ctime < fence
    }
}
