//! What a folder held before the import, to tell what need not be taken again.

use std::collections::{HashMap, HashSet};

use futures_lite::future::block_on;
use rmail_core::mailbox::{MailboxRef, Snapshot, Uid};
use rmail_store::MailStore as _;
use rmail_store::file::FileStore;
use rmail_store::transfer::tally::Hasher;

use crate::disk::RealDisk;

/// The messages of a folder by their size; only those of a size that comes are read.
#[derive(Debug, Default)]
pub(super) struct Known {
    sizes: Vec<(u32, Uid)>,
    hashes: HashMap<Uid, [u8; 32]>,
    /// Those that stand for a message of the source already.
    used: HashSet<Uid>,
}

impl Known {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut sizes: Vec<(u32, Uid)> = snapshot.rows.iter().map(|row| (row.size, row.uid)).collect();
        sizes.sort_unstable();
        Self {
            sizes,
            ..Self::default()
        }
    }

    /// A message with these octets, if there is one that was not taken yet; rather the one with this UID.
    pub(super) fn take(
        &mut self,
        store: &FileStore<RealDisk>,
        mailbox: &MailboxRef,
        size: u32,
        hash: &[u8; 32],
        uid: Option<Uid>,
    ) -> rmail_store::error::Result<bool> {
        let first = self.sizes.partition_point(|(known, _)| *known < size);
        let same = self
            .sizes
            .iter()
            .skip(first)
            .take_while(|(known, _)| *known == size);
        let mut candidates: Vec<Uid> = same
            .map(|(_, uid)| *uid)
            .filter(|known| !self.used.contains(known))
            .collect();
        candidates.sort_unstable_by_key(|known| Some(*known) != uid);
        for candidate in candidates {
            let known = match self.hashes.get(&candidate) {
                Some(known) => *known,
                None => {
                    let Some(known) = block_on(hash_of(store, mailbox, candidate))? else {
                        continue;
                    };
                    self.hashes.insert(candidate, known);
                    known
                }
            };
            if known == *hash {
                self.used.insert(candidate);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The hash of a stored message; none if it is gone meanwhile.
async fn hash_of(
    store: &FileStore<RealDisk>,
    mailbox: &MailboxRef,
    uid: Uid,
) -> rmail_store::error::Result<Option<[u8; 32]>> {
    let Some(blob) = store.open(mailbox, uid).await? else {
        return Ok(None);
    };
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    loop {
        let count = store.read(&blob, &mut buffer, offset).await?;
        if count == 0 {
            return Ok(Some(hasher.finish()));
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
}
