//! Reading a mailbox that this process knows nothing of, without its naming lock: deliveries go on meanwhile.
//!
//! Each shard is stamped, and then listed with one call. Under the lock the stamps are compared: what has changed since,
//! or changed so recently that the stamp does not tell, is read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::mailbox::{KeywordSet, Row};

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::cache::{STEP, scan_dir, shard_of_name, stamp_of, width};
use super::io::{During as _, found, within};
use super::mailbox::Mailbox;

/// A shard that was read without the lock.
pub(super) struct Ahead {
    pub(super) stamp: (u64, i128),
    /// Its rows; their keywords fit into the row.
    pub(super) own: Arc<[Row]>,
    /// Bits that their keywords need.
    pub(super) widest: usize,
}

impl<D: Disk> FileStore<D> {
    /// Reads ahead what [`super::hold::Hold::refresh`] will need, if that is much. What fails here is met again under the
    /// lock.
    pub(super) async fn warm(&self, mailbox: &Mailbox<D>) {
        if !mailbox.is_cold() {
            return;
        }
        // One reads for all.
        let wait = self.limits().lock_wait;
        let Some(_one) = within(self.disk(), wait, mailbox.reading.lock()).await else {
            return;
        };
        if mailbox.is_cold()
            && !mailbox.is_ahead()
            && let Ok(ahead) = self.read_ahead(mailbox).await
        {
            mailbox.set_ahead(ahead);
        }
    }

    async fn read_ahead(&self, mailbox: &Mailbox<D>) -> Result<BTreeMap<u32, Ahead>> {
        let disk = self.disk();
        let label = || format!("read {}", mailbox.label());
        let fence = disk.stat(&mailbox.state().file).await.during(label)?.mtime - STEP;
        let mut ahead = BTreeMap::new();
        for entry in disk.list(&mailbox.shards).await.during(label)?.entries {
            let Some(number) = shard_of_name(&entry.name).filter(|_| entry.is_dir) else {
                continue;
            };
            let Some(dir) = found(disk.open_dir(&mailbox.shards, &entry.name).await).during(label)? else {
                continue;
            };
            let Some(stamp) = stamp_of(&disk.stat_dir(&dir).await.during(label)?, fence) else {
                continue;
            };
            let scan = scan_dir(disk, &dir).await.during(label)?;
            let plain = |(row, bits): &(Row, [u64; 4])| width(*bits) < 64 && self.shard(row.uid) == number;
            if !scan.exact || !scan.doubles.is_empty() || !scan.rows.iter().all(plain) {
                continue;
            }
            let widest = scan.rows.iter().map(|(_, bits)| width(*bits)).max().unwrap_or(0);
            let rows = scan.rows.into_iter().map(|(row, [low, ..])| Row {
                keywords: KeywordSet(low),
                ..row
            });
            let own = rows.collect();
            ahead.insert(number, Ahead { stamp, own, widest });
        }
        Ok(ahead)
    }
}
