//! What a folder held before the import, to tell what need not be taken again.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};

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
    /// Those of a size, once they were read, by their hash: UIDs ascending that stand for no message of the source yet.
    read: HashMap<u32, HashMap<[u8; 32], VecDeque<Uid>>>,
}

impl Known {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut sizes: Vec<(u32, Uid)> = snapshot.rows.iter().map(|row| (row.size, row.uid)).collect();
        sizes.sort_unstable();
        Self {
            sizes,
            read: HashMap::new(),
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
        let by_hash = match self.read.entry(size) {
            Slot::Occupied(read) => read.into_mut(),
            Slot::Vacant(slot) => {
                let mut by_hash: HashMap<[u8; 32], VecDeque<Uid>> = HashMap::new();
                for (_, uid) in same {
                    if let Some(hash) = block_on(hash_of(store, mailbox, *uid))? {
                        by_hash.entry(hash).or_default().push_back(*uid);
                    }
                }
                slot.insert(by_hash)
            }
        };
        let Some(there) = by_hash.get_mut(hash) else {
            return Ok(false);
        };
        let wanted = there.iter().position(|known| Some(*known) == uid).unwrap_or(0);
        Ok(there.remove(wanted).is_some())
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
