//! Getting rid of records that nothing points to any more: the file is written anew.

use std::io;
use std::sync::Arc;

use rmail_core::mailbox::{Row, Uid, UidValidity};

use crate::disk::Disk;

use super::super::FileStore;
use super::super::cache::{shard_name, shard_of_name};
use super::super::io::found;
use super::super::mailbox::Mailbox;
use super::super::sync::Touched;
use super::files::ShardFile;
use super::write::New;
use super::{DIR, start};

/// Dead octets that are not worth the work.
const LITTLE: u64 = 16 * 1024;

/// Records that are in memory at a time.
const BATCH: usize = 64;

impl<D: Disk> FileStore<D> {
    /// After messages were expunged from these shards: files without a living record go, those that are more than half
    /// dead are written anew.
    pub(in super::super) async fn trim_parsed(&self, touched: &Touched<D>) {
        let mailbox = &touched.mailbox;
        let Some(view) = mailbox.view().filter(|_| self.options().parsed_cache) else {
            return;
        };
        for shard in &touched.shards {
            let first = shard.saturating_mul(self.slots());
            let at = view.snapshot.rows.rank(Uid(first));
            let rows = view.snapshot.rows.iter_from(at);
            let rows: Vec<Row> = rows
                .take_while(|row| self.shard(row.uid) == *shard)
                .copied()
                .collect();
            let trimmed = self
                .trim_shard(mailbox, view.snapshot.uid_validity, *shard, &rows)
                .await;
            if let Err(error) = trimmed {
                log::debug!(
                    "trim the parsed cache of shard {shard} of {}: {error}",
                    mailbox.label()
                );
            }
        }
    }

    async fn trim_shard(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        shard: u32,
        rows: &[Row],
    ) -> io::Result<()> {
        let disk = self.disk();
        let Some(file) = self.shard_file(mailbox, uid_validity, shard, false).await? else {
            return Ok(());
        };
        let size = disk.stat(&file.file).await?.size;
        let used = size.saturating_sub(start(self.slots()));
        if used <= LITTLE && !rows.is_empty() {
            return Ok(());
        }
        // Whoever writes now is not waited for: the next expunge comes by here again.
        let Some(_one) = file.writing.try_lock() else {
            return Ok(());
        };
        let Ok(_lock) = disk.lock(&file.file, core::time::Duration::ZERO).await else {
            return Ok(());
        };
        let named = found(disk.stat_at(&file.dir, &file.name()).await)?;
        if named.is_none_or(|stat| stat.inode != file.inode) {
            self.parsed.forget(&file);
            return Ok(());
        }
        file.reload(disk, self.slots()).await?;
        let alive = rows.iter().map(|row| file.slot(self.slot_of(row)));
        let alive: u64 = alive.map(|slot| u64::from(slot.len)).sum();
        if alive == 0 {
            // A message that came meanwhile, and whose record goes too, is read again.
            self.parsed.forget(&file);
            return disk.unlink(&file.dir, &file.name()).await;
        }
        if used.saturating_sub(alive) > alive.max(LITTLE) {
            self.parsed.forget(&file);
            self.write_anew(&file, rows).await?;
        }
        Ok(())
    }

    /// Writes the living records into a new file, in the place of the old one, whose lock is held.
    async fn write_anew(&self, old: &Arc<ShardFile<D>>, rows: &[Row]) -> io::Result<()> {
        let new = self.make_shard_file(old.owner.clone(), old.dir.clone()).await?;
        let mut size = 0;
        for batch in rows.chunks(BATCH) {
            let wanted: Vec<(usize, &Row)> = batch.iter().enumerate().collect();
            let mut known = vec![None; batch.len()];
            self.read_known(old, &wanted, &mut known).await?;
            let records = batch.iter().zip(&known);
            let records: Vec<New<'_>> = records
                .filter_map(|(row, parsed)| Some((*row, parsed.as_ref()?)))
                .collect();
            size = self.add_records(&new, size, &records).await?;
        }
        self.name_shard_file(&new, true).await
    }

    /// Removes the files of shards that are no more, and what nobody gave its name. For a mailbox in this directory.
    pub(in super::super) async fn tidy_parsed(&self, mailbox: &D::Dir) -> io::Result<()> {
        let disk = self.disk();
        let Some(dir) = found(disk.open_dir(mailbox, DIR).await)? else {
            return Ok(());
        };
        let Some(shards) = found(disk.open_dir(mailbox, "shards").await)? else {
            return Ok(());
        };
        for entry in disk.list(&dir).await?.entries {
            let name = entry.name.strip_suffix(".new").unwrap_or(&entry.name);
            let Some(shard) = shard_of_name(name).filter(|_| !entry.is_dir) else {
                continue;
            };
            let alive = found(disk.stat_at(&shards, &shard_name(shard)).await)?.is_some();
            if !alive || name != entry.name {
                found(disk.unlink(&dir, &entry.name).await)?;
            }
        }
        Ok(())
    }
}
