//! Reading shards without the naming lock: deliveries go on meanwhile.
//!
//! Each shard is stamped; then its rows come from the snapshot file, if it has them under that stamp, or it is listed with
//! one call. Under the lock the stamps are compared: what has changed since, or changed so recently that the stamp does
//! not tell, is read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::mailbox::{KeywordSet, Keywords, ModSeq, Row, Uid};

use crate::disk::{Disk, Stat};
use crate::error::Result;

use super::FileStore;
use super::cache::{Named, intern, scan_dir, shard_of_name, width};
use super::io::{During as _, found, within};
use super::mailbox::Mailbox;
use super::snapshot::{Loose, Stamp};
use super::sums::Sums;

/// Clocks of file systems step by up to 10 ms: what was stamped this shortly before can change without a new stamp.
pub(super) const STEP: i128 = 20_000_000;

/// A shard that was read without the lock.
pub(super) struct Ahead {
    pub(super) stamp: Stamp,
    /// Its rows; a wide keyword set is an index into `wide`.
    pub(super) own: Arc<[Row]>,
    pub(super) wide: Vec<[u64; 4]>,
    /// Bits that their keywords need.
    pub(super) widest: usize,
    pub(super) sums: Sums,
    /// The highest MODSEQ of its names.
    pub(super) highest: ModSeq,
}

impl Ahead {
    fn new(stamp: Stamp, loose: Loose) -> Self {
        let Loose { rows: own, wide } = loose;
        let narrow = own.iter().map(|row| row.keywords.0);
        let narrow = narrow.filter(|set| set & KeywordSet::WIDE == 0);
        let all = [narrow.fold(0, |all, set| all | set), 0, 0, 0];
        Self {
            stamp,
            widest: wide.iter().map(|bits| width(*bits)).fold(width(all), usize::max),
            sums: own.iter().collect(),
            highest: own.iter().map(|row| row.modseq).max().unwrap_or_default(),
            own,
            wide,
        }
    }

    /// Whether all its UIDs are below this one.
    pub(super) fn is_below(&self, uid: Uid) -> bool {
        self.own.last().is_none_or(|row| row.uid < uid)
    }
}

/// The bitmap of a row whose wide set is an index into these.
pub(super) fn bits_of(row: &Row, wide: &[[u64; 4]]) -> [u64; 4] {
    let set = row.keywords.0;
    if set & KeywordSet::WIDE == 0 {
        return [set, 0, 0, 0];
    }
    let index = usize::try_from(set & !KeywordSet::WIDE).unwrap_or(usize::MAX);
    wide.get(index).copied().unwrap_or_default()
}

/// These rows with keyword sets of the mailbox.
pub(super) fn with_keywords(rows: Arc<[Row]>, wide: &[[u64; 4]], keywords: &mut Arc<Keywords>) -> Arc<[Row]> {
    if wide.is_empty() {
        return rows;
    }
    let rows = rows.iter().map(|row| Row {
        keywords: intern(keywords, bits_of(row, wide)),
        ..*row
    });
    rows.collect()
}

/// Rows as they were listed.
pub(super) fn loose(rows: Vec<Named>) -> Loose {
    let mut wide = Vec::new();
    let rows = rows.into_iter().map(|(row, bits)| {
        let keywords = match bits {
            [low, 0, 0, 0] if low & KeywordSet::WIDE == 0 => KeywordSet(low),
            _ => {
                wide.push(bits);
                KeywordSet(KeywordSet::WIDE | (wide.len() - 1) as u64)
            }
        };
        Row { keywords, ..row }
    });
    Loose {
        rows: rows.collect(),
        wide,
    }
}

/// What was changed before it by the file system's clock cannot change again under the same stamp. It is read before what
/// it is for.
pub(super) struct Fence {
    at: i128,
    /// It is not read again.
    last: bool,
}

impl Fence {
    /// Takes it as it is.
    pub(super) fn settle(&mut self) {
        self.last = true;
    }
}

impl<D: Disk> FileStore<D> {
    /// A fence at the latest change of the mailbox, which costs nothing but a look.
    pub(super) async fn fence(&self, mailbox: &Mailbox<D>) -> std::io::Result<Fence> {
        let stat = self.disk().stat(&mailbox.state().file).await?;
        Ok(Fence {
            at: stat.mtime - STEP,
            last: false,
        })
    }

    /// Inode and ctime of a directory, which is read afterwards; none if it may change again without a new ctime. The
    /// fence is moved to the present time, once, for a directory that has changed since it was set.
    pub(super) async fn stamp(&self, mailbox: &Mailbox<D>, fence: &mut Fence, stat: &Stat) -> Option<Stamp> {
        if stat.ctime >= fence.at && !fence.last {
            fence.last = true;
            if let Ok(now) = self.clock(&mailbox.dir).await {
                fence.at = now - STEP;
            }
        }
        (stat.ctime < fence.at).then_some((stat.inode, stat.ctime))
    }

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

    pub(super) async fn read_ahead(&self, mailbox: &Mailbox<D>) -> Result<BTreeMap<u32, Ahead>> {
        let disk = self.disk();
        let label = || format!("read {}", mailbox.label());
        let mut fence = self.fence(mailbox).await.during(label)?;
        let saved = self.open_saved(mailbox).await;
        let (mut ahead, mut buffer) = (BTreeMap::new(), Vec::new());
        for entry in disk.list(&mailbox.shards).await.during(label)?.entries {
            let Some(number) = shard_of_name(&entry.name).filter(|_| entry.is_dir) else {
                continue;
            };
            let stat = disk.stat_at(&mailbox.shards, &entry.name).await;
            let Some(stat) = found(stat).during(label)? else {
                continue;
            };
            let Some(stamp) = self.stamp(mailbox, &mut fence, &stat).await else {
                continue;
            };
            if let Some(saved) = &saved
                && let Some(block) = saved.block(disk, number, stamp, &mut buffer).await
            {
                ahead.insert(number, Ahead::new(stamp, block));
                continue;
            }
            if let Some(listed) = self.list_ahead(mailbox, number, &entry.name, stamp).await? {
                ahead.insert(number, listed);
            }
        }
        Ok(ahead)
    }

    /// Lists a shard that had this stamp. `None`: that must be done under the lock.
    pub(super) async fn list_ahead(
        &self,
        mailbox: &Mailbox<D>,
        number: u32,
        name: &str,
        stamp: Stamp,
    ) -> Result<Option<Ahead>> {
        let label = || format!("read shard {number} of {}", mailbox.label());
        let opened = self.disk().open_dir(&mailbox.shards, name).await;
        let Some(dir) = found(opened).during(label)? else {
            return Ok(None);
        };
        let scan = scan_dir(self.disk(), &dir).await.during(label)?;
        let ours = |(row, _): &Named| self.shard(row.uid) == number;
        if !scan.exact || !scan.doubles.is_empty() || !scan.rows.iter().all(ours) {
            return Ok(None);
        }
        Ok(Some(Ahead::new(stamp, loose(scan.rows))))
    }
}
