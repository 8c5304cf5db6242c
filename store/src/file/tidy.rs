//! Removing what processes that died have left behind. None of it is ever read; it only takes room.
//!
//! * Deleted mailboxes under `deleted/` that were not taken apart to the end. (DELETE removes those of its account too.)
//! * Caches of shards that are no more.
//! * Files that stand in for unnamed ones where the file system has none, once they are older than any use.

use crate::disk::{Disk, STAND_IN};
use crate::error::Result;

use super::escape::unescape;
use super::io::{During as _, found, remove_tree};
use super::{FileStore, parsed};

/// A file that nobody has written to for so long (nanoseconds) belongs to nobody.
const OLD: i128 = 36 * 3_600 * 1_000_000_000;

impl<D: Disk> FileStore<D> {
    pub(super) async fn tidy_all(&self) -> Result<()> {
        let disk = self.disk();
        let label = || "tidy the mail_root".to_owned();
        let now = self.disk_now(disk.root()).await?;
        let limit = i128::from(now.secs()) * 1_000_000_000 - OLD;
        self.tidy_dir(disk.root(), limit).await?;
        let Some(domains) = found(disk.open_dir(disk.root(), "domains").await).during(label)? else {
            return Ok(());
        };
        for domain in disk.list(&domains).await.during(label)?.entries {
            let Some(domain_text) = unescape(&domain.name).filter(|_| domain.is_dir) else {
                continue;
            };
            let Some(dir) = found(disk.open_dir(&domains, &domain.name).await).during(label)? else {
                continue;
            };
            let Some(users) = found(disk.open_dir(&dir, "users").await).during(label)? else {
                continue;
            };
            for user in disk.list(&users).await.during(label)?.entries {
                let Some(local) = unescape(&user.name).filter(|_| user.is_dir) else {
                    continue;
                };
                let Some(dir) = found(disk.open_dir(&users, &user.name).await).during(label)? else {
                    continue;
                };
                if let Err(error) = self.tidy_user(&dir, limit).await {
                    log::warn!("tidy {local}@{domain_text}: {error}");
                }
            }
        }
        Ok(())
    }

    async fn tidy_user(&self, user: &D::Dir, limit: i128) -> Result<()> {
        let disk = self.disk();
        let label = || "remove what is left of deleted mailboxes".to_owned();
        if let Some(deleted) = found(disk.open_dir(user, "deleted").await).during(label)?
            && !disk.list(&deleted).await.during(label)?.entries.is_empty()
        {
            let held = self.lock_user(user.clone()).await?;
            self.clear_deleted(&held.dir).await.during(label)?;
        }
        // Each directory in which files without a name are made: the user's, a mailbox's, and its shards.
        let mut work = vec![(user.clone(), true)];
        while let Some((dir, is_user)) = work.pop() {
            self.tidy_dir(&dir, limit).await?;
            self.tidy_parsed(&dir).await.during(label)?;
            let inside: &[&str] = if is_user {
                &["mailboxes"]
            } else {
                &["shards", parsed::DIR, "children"]
            };
            for name in inside {
                let Some(next) = found(disk.open_dir(&dir, name).await).during(label)? else {
                    continue;
                };
                if !matches!(*name, "mailboxes" | "children") {
                    self.tidy_dir(&next, limit).await?;
                    continue;
                }
                for level in disk.list(&next).await.during(label)?.entries {
                    if level.is_dir {
                        let level = disk.open_dir(&next, &level.name).await;
                        work.extend(found(level).during(label)?.map(|level| (level, false)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes apart what lies in `deleted/`, under the account's lock.
    pub(super) async fn clear_deleted(&self, user: &D::Dir) -> std::io::Result<()> {
        let disk = self.disk();
        let Some(deleted) = found(disk.open_dir(user, "deleted").await)? else {
            return Ok(());
        };
        for grave in disk.list(&deleted).await?.entries {
            if grave.is_dir {
                // `status.json` goes after the shards: who still has the mailbox in hand tells by it that it was not lost.
                if let Some(dir) = found(disk.open_dir(&deleted, &grave.name).await)? {
                    remove_tree(disk, &dir, "shards").await?;
                }
                remove_tree(disk, &deleted, &grave.name).await?;
            }
        }
        Ok(())
    }

    /// Removes old stand-ins from one directory.
    async fn tidy_dir(&self, dir: &D::Dir, limit: i128) -> Result<()> {
        let disk = self.disk();
        let label = || "remove old temporary files".to_owned();
        for entry in disk.list(dir).await.during(label)?.entries {
            if entry.is_dir || !entry.name.starts_with(STAND_IN) {
                continue;
            }
            let stat = found(disk.stat_at(dir, &entry.name).await).during(label)?;
            if stat.is_some_and(|stat| stat.mtime < limit) {
                found(disk.unlink(dir, &entry.name).await).during(label)?;
            }
        }
        Ok(())
    }
}
