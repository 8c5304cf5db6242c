//! The file `synced` in the mail_root: until when what was written in each start of the machine is known to be on disk.
//! A cache, for [`super::snapshot`] files that another start of the machine has left.
//!
//! ```text
//! 0  4  "rmy1"
//! 4 32  for each start of the machine: boot_id (16 octets), nanoseconds since 1970 (16 octets), little-endian
//!    4  CRC-32 (IEEE) of what is before it
//! ```
//!
//! The clock is read, then the file system is synced, then the file is written: everything that was changed at an earlier
//! time by that clock is on disk. A clock that is set back could make later changes look earlier; whoever writes a
//! snapshot file therefore looks whether the present time was passed before, see [`FileStore::time_of_writing`].

use std::io;

use crate::disk::Disk;

use super::FileStore;
use super::io::{put_cache, read_file};
use super::mailbox::{Mailbox, guard};
use super::state::take;

const NAME: &str = "synced";

const MAGIC: [u8; 4] = *b"rmy1";

/// Starts of the machine that are remembered.
const STARTS: usize = 64;

/// What was written then and is never taken for synced.
const NEVER: i128 = i128::MAX;

/// A start of the machine, and until when what was written in it is on disk.
type Until = (u128, i128);

impl<D: Disk> FileStore<D> {
    /// The time by the file system's clock.
    pub(super) async fn clock(&self, dir: &D::Dir) -> io::Result<i128> {
        let file = self.disk().create_unnamed(dir).await?;
        Ok(self.disk().stat(&file).await?.mtime)
    }

    /// Syncs the file system of the mail_root, and notes that.
    pub(super) async fn sync_all(&self) -> io::Result<()> {
        let disk = self.disk();
        let now = self.clock(disk.root()).await;
        disk.sync_fs(disk.root()).await?;
        let noted = match now {
            Ok(now) => self.note_synced(now).await,
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            // Mailboxes are then listed after the next start of the machine.
            log::debug!("the sync of the mail_root is not noted: {error}");
        }
        Ok(())
    }

    async fn note_synced(&self, now: i128) -> io::Result<()> {
        let disk = self.disk();
        let boot = disk.boot_id();
        let mut starts = self.read_synced().await;
        let before = starts.iter().find(|(start, _)| *start == boot);
        let until = before.map_or(now, |(_, until)| now.max(*until));
        starts.retain(|(start, _)| *start != boot);
        starts.drain(..starts.len().saturating_sub(STARTS - 1));
        starts.push((boot, until));
        let file = disk.create_unnamed(disk.root()).await?;
        disk.write_at(&file, &encode(&starts), 0).await?;
        put_cache(disk, disk.root(), &file, NAME).await
    }

    async fn read_synced(&self) -> Vec<Until> {
        let read = read_file(self.disk(), self.disk().root(), NAME).await;
        let bytes = read.ok().flatten().unwrap_or_default();
        decode(&bytes).unwrap_or_default()
    }

    /// Whether what was changed before this time of a start of the machine is in the directories now: it is the present
    /// start, or was synced.
    pub(super) async fn is_settled(&self, boot: u128, written: i128) -> bool {
        if boot == self.disk().boot_id() {
            return true;
        }
        let known = guard(&self.synced).clone();
        let starts = match known {
            Some(starts) => starts,
            None => {
                // Earlier starts are over: nothing more is noted of them.
                let starts = self.read_synced().await;
                *guard(&self.synced) = Some(starts.clone());
                starts
            }
        };
        starts
            .iter()
            .any(|(start, until)| *start == boot && written < *until)
    }

    /// The time that a cache file of a mailbox says it was written at, which is `now`; never synced if the clock was set
    /// back behind a sync, or if a sync of the mail_root does not cover the mailbox.
    pub(super) async fn time_of_writing(&self, mailbox: &Mailbox<D>, now: i128) -> i128 {
        if mailbox.key.0 != self.device || self.options().shared_by_hosts {
            return NEVER;
        }
        let boot = self.disk().boot_id();
        let starts = self.read_synced().await;
        let passed = starts
            .iter()
            .any(|(start, until)| *start == boot && now <= *until);
        if passed { NEVER } else { now }
    }
}

fn encode(starts: &[Until]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for (boot, until) in starts {
        out.extend_from_slice(&boot.to_le_bytes());
        out.extend_from_slice(&until.to_le_bytes());
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Until>> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (starts, rest) = body.strip_prefix(&MAGIC)?.as_chunks::<32>();
    let read = |bytes: &[u8; 32]| {
        let mut bytes = bytes.as_slice();
        Some((
            u128::from_le_bytes(take(&mut bytes)?),
            i128::from_le_bytes(take(&mut bytes)?),
        ))
    };
    let starts: Option<Vec<Until>> = starts.iter().map(read).collect();
    starts.filter(|starts| rest.is_empty() && starts.len() <= STARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_come_back_and_what_is_damaged_is_none() {
        let starts = vec![(1, 2), (u128::MAX, -3)];
        let bytes = encode(&starts);
        assert_eq!(decode(&bytes), Some(starts));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 4;
            assert_eq!(decode(&torn), None);
            assert_eq!(decode(&bytes[..at]), None);
        }
        assert_eq!(decode(&encode(&vec![(1, 1); STARTS + 1])), None);
    }
}
