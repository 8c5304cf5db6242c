//! Greylisting on disk: one table, `greylist` below the mail_root, shared by all processes.
//!
//! A look is one read of a bucket under the file's lock; what is new is written and synced before the answer. A table
//! that cannot be used keeps no mail away. It may be deleted at any time: then everybody is new.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use rmail_core::addr::{ForwardPath, ReversePath};
use rmail_core::greylist::{BUCKET, Key, judge};
use rmail_core::peer::Peer;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::is_exempt;
use rmail_core::time::Unix;

use super::{Service, Settings};
use crate::disk::{Disk, Mode};
use crate::mailstore::MailStore;

/// The table's name in the mail_root.
const TABLE: &str = "greylist";

/// How long the table's lock is waited for: it is held for microseconds.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The table, once it was needed.
pub(super) struct Greylist<D: Disk> {
    disk: Arc<D>,
    /// Held around the file lock, which belongs to the open file.
    table: async_lock::Mutex<Option<D::File>>,
    /// That it cannot be used was told.
    told: AtomicBool,
}

impl<D: Disk> Greylist<D> {
    pub(super) fn new(disk: Arc<D>) -> Self {
        Self {
            disk,
            table: async_lock::Mutex::new(None),
            told: AtomicBool::new(false),
        }
    }

    /// Whether the triple passes; it is noted that it was seen.
    async fn passes(
        &self,
        key: Key,
        now: Unix,
        settings: &rmail_core::greylist::Settings,
    ) -> io::Result<bool> {
        let mut table = self.table.lock().await;
        let file = self.open(&mut table).await?;
        let lock = self.disk.lock(&file, LOCK_WAIT).await?;
        let mut bucket = [0; BUCKET];
        let mut have = 0;
        while let Some(rest) = bucket.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.disk.read_at(&file, rest, key.offset() + have as u64).await? {
                0 => break,
                read => have += read,
            }
        }
        let judgement = judge(&bucket, key, now, settings);
        if let Some((at, entry)) = judgement.write {
            self.disk
                .write_at(&file, &entry, key.offset() + at as u64)
                .await?;
        }
        drop(lock);
        drop(table);
        if judgement.sync {
            self.disk.sync(&file).await?;
        }
        Ok(judgement.passes)
    }

    /// The table's file, opened again if it was deleted meanwhile.
    async fn open(&self, table: &mut Option<D::File>) -> io::Result<D::File> {
        let disk = &*self.disk;
        if let Some(file) = table
            && disk.stat(file).await?.links > 0
        {
            return Ok(file.clone());
        }
        *table = None;
        let file = match disk.open(disk.root(), TABLE, Mode::Write).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.open(disk.root(), TABLE, Mode::Create).await?;
                disk.sync_dir(disk.root()).await?;
                file
            }
            opened => opened?,
        };
        *table = Some(file.clone());
        Ok(file)
    }
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// After a recipient was found good: does a stranger have to come back later?
    pub(super) async fn greylisted(
        &self,
        settings: &Settings,
        now: Unix,
        peer: Peer,
        sender: &ReversePath,
        recipient: &ForwardPath,
    ) -> Result<(), Refusal> {
        let Some(times) = &settings.greylist else {
            return Ok(());
        };
        if peer.trusted || is_exempt(recipient) {
            return Ok(());
        }
        let key = Key::of(peer.address, sender, recipient);
        match self.greylist.passes(key, now, times).await {
            Ok(passes) => {
                self.greylist.told.store(false, Ordering::Relaxed);
                passes.then_some(()).ok_or(Refusal::Greylisted)
            }
            Err(error) => {
                if !self.greylist.told.swap(true, Ordering::Relaxed) {
                    log::error!("greylisting cannot use its table, and lets everybody pass: {error}");
                }
                Ok(())
            }
        }
    }
}
