//! Looking at a file of the parsed cache without taking part in it: for [`crate::care::fsck`].

use std::io;

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::mailbox::{MailboxId, Row, UidValidity};
use rmail_core::mime::parsed::EmailId;

use crate::disk::{Disk, Mode};
use crate::file::io::found;

use super::{FILE_MAGIC, HEAD, Identity, Owner, Slot, decode_record, decode_slots, start};

/// What a file is.
pub(crate) enum Look<D: Disk> {
    /// There is none, or it is another mailbox's: nobody believes it.
    None,
    /// Its head is not whole.
    Damaged,
    /// It is that of the shard.
    Ours(Records<D>),
}

/// The records of a shard.
pub(crate) struct Records<D: Disk> {
    file: D::File,
    identity: Identity,
    slots: Vec<Slot>,
}

/// Opens the file of a shard, in the directory of the cache.
pub(crate) async fn open<D: Disk>(
    disk: &D,
    dir: &D::Dir,
    name: &str,
    of: (&AccountName, MailboxId, UidValidity),
    shard: (u32, u32),
) -> io::Result<Look<D>> {
    let (account, id, uid_validity) = of;
    let (shard, slots) = shard;
    let Some(file) = found(disk.open(dir, name, Mode::Read).await)? else {
        return Ok(Look::None);
    };
    let inode = disk.stat(&file).await?.inode;
    let mut octets = vec![0; usize::try_from(start(slots)).unwrap_or(0)];
    let count = disk.read_at(&file, &mut octets, 0).await?;
    octets.truncate(count);
    if !is_whole(&octets) {
        return Ok(Look::Damaged);
    }
    let owner = Owner {
        account: account.clone(),
        id,
        uid_validity,
        shard,
    };
    Ok(match owner.recognise(slots, inode, &octets) {
        None => Look::None,
        Some(identity) => Look::Ours(Records {
            file,
            identity,
            slots: decode_slots(octets.get(HEAD..).unwrap_or_default(), slots),
        }),
    })
}

/// Whether the head is what somebody wrote, for whomever.
fn is_whole(octets: &[u8]) -> bool {
    let head = octets.get(..HEAD).and_then(|head| head.split_last_chunk::<4>());
    head.is_some_and(|(body, crc)| {
        body.starts_with(&FILE_MAGIC) && crc32fast::hash(body) == u32::from_le_bytes(*crc)
    })
}

impl<D: Disk> Records<D> {
    /// The EMAILID of a message as it was when it was stored, if that is known.
    pub(crate) async fn email_id(&self, disk: &D, row: &Row) -> io::Result<Option<EmailId>> {
        let slots = u32::try_from(self.slots.len()).unwrap_or(1).max(1);
        let at = usize::try_from(row.uid.0 % slots).unwrap_or(0);
        let slot = self.slots.get(at).filter(|slot| slot.is_plausible(slots));
        let Some(slot) = slot else { return Ok(None) };
        let mut octets = vec![0; usize::try_from(slot.len).unwrap_or(0)];
        let count = disk
            .read_at(&self.file, &mut octets, u64::from(slot.offset))
            .await?;
        octets.truncate(count);
        let parsed = decode_record(&self.identity, row, slot.offset, &Chunk::from(octets));
        Ok(parsed.and_then(|parsed| parsed.email_id()))
    }
}
