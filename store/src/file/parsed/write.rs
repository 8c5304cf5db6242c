//! Adding records. Nothing here fails an operation: what cannot be written is made again when it is asked for.

use core::time::Duration;
use std::io;
use std::sync::Arc;

use rmail_core::mailbox::{Row, Uid, UidValidity};
use rmail_core::mime::parsed::Parsed;

use crate::disk::Disk;

use super::super::FileStore;
use super::super::io::within;
use super::super::mailbox::Mailbox;
use super::files::ShardFile;
use super::{AROUND, HEAD, SLOT, Slot, encode_record, start};

/// How long a writer waits for another one, who writes the file anew at worst.
const WAIT: Duration = Duration::from_millis(5);

/// How often a file that has lost its name is looked up again.
const TRIES: usize = 3;

/// Octets of a file for each of its UIDs, at most: beyond it no records are added until it is written anew.
const MAX_PER_SLOT: u64 = 128 * 1024;

/// A record to be written.
pub(super) type New<'a> = (Row, &'a Parsed);

impl<D: Disk> FileStore<D> {
    /// Keeps what is known of messages that this process has just added: nobody else can have.
    pub(in super::super) async fn keep_new(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        records: &[New<'_>],
    ) {
        self.keep_records(mailbox, uid_validity, records, false).await;
    }

    /// Keeps what was found out of messages that are there, unless as much of them is known already.
    pub(in super::super) async fn keep_found(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        records: &[New<'_>],
    ) {
        self.keep_records(mailbox, uid_validity, records, true).await;
    }

    /// Gives copies of messages, made at `now` under new UIDs, the records of the messages.
    pub(in super::super) async fn copy_parsed(
        &self,
        from: (&Mailbox<D>, UidValidity),
        to: (&Mailbox<D>, UidValidity),
        pairs: &[(Row, Uid)],
        save_date: u32,
    ) {
        // So many that a batch takes some reads and writes, and little memory.
        const BATCH: usize = 256;
        if !self.options().parsed_cache {
            return;
        }
        for batch in pairs.chunks(BATCH) {
            let rows: Vec<Option<Row>> = batch.iter().map(|(row, _)| Some(*row)).collect();
            let known = self.parsed_rows(from.0, from.1, &rows).await;
            let records: Vec<New<'_>> = batch
                .iter()
                .zip(&known)
                .filter_map(|((row, uid), parsed)| {
                    let row = Row {
                        uid: *uid,
                        save_date,
                        ..*row
                    };
                    Some((row, parsed.as_ref()?))
                })
                .collect();
            self.keep_new(to.0, to.1, &records).await;
        }
    }

    async fn keep_records(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        records: &[New<'_>],
        again: bool,
    ) {
        if !self.options().parsed_cache {
            return;
        }
        let mut records: Vec<New<'_>> = records.to_vec();
        records.sort_by_key(|(row, _)| row.uid);
        for group in records.chunk_by(|(a, _), (b, _)| self.shard(a.uid) == self.shard(b.uid)) {
            let Some((first, _)) = group.first() else {
                continue;
            };
            let shard = self.shard(first.uid);
            let written = self.keep_group(mailbox, uid_validity, shard, group, again).await;
            if let Err(error) = written {
                log::debug!("parsed cache of shard {shard} of {}: {error}", mailbox.label());
            }
        }
    }

    async fn keep_group(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        shard: u32,
        group: &[New<'_>],
        again: bool,
    ) -> io::Result<()> {
        for _ in 0..TRIES {
            let Some(file) = self.shard_file(mailbox, uid_validity, shard, true).await? else {
                continue;
            };
            let Some(_one) = within(self.disk(), WAIT, file.writing.lock()).await else {
                return Ok(());
            };
            let written = self.write_group(&file, group, again).await;
            if !matches!(written, Ok(true)) {
                self.parsed.forget(&file);
            }
            if written? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes records into one file, under its lock. False: the file has lost its name.
    async fn write_group(
        &self,
        file: &Arc<ShardFile<D>>,
        group: &[New<'_>],
        again: bool,
    ) -> io::Result<bool> {
        let disk = self.disk();
        let _lock = match disk.lock(&file.file, WAIT).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            lock => lock?,
        };
        let size = match disk.stat_at(&file.dir, &file.name()).await {
            Ok(stat) if stat.inode == file.inode => stat.size,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let group = if again {
            self.missing(file, group).await?
        } else {
            group.to_vec()
        };
        self.add_records(file, size, &group).await?;
        Ok(true)
    }

    /// Those of the records that tell more than what is there, in the file that is locked.
    async fn missing<'a>(&self, file: &Arc<ShardFile<D>>, group: &[New<'a>]) -> io::Result<Vec<New<'a>>> {
        file.reload(self.disk(), self.slots()).await?;
        let rows: Vec<(usize, &Row)> = group.iter().map(|(row, _)| row).enumerate().collect();
        let mut known = vec![None; group.len()];
        self.read_known(file, &rows, &mut known).await?;
        let new = group.iter().zip(&known).filter(|((_, parsed), known)| {
            let known: Option<&Parsed> = known.as_ref();
            known.is_none_or(|known| parsed.is_complete() && !known.is_complete())
        });
        Ok(new.map(|(record, _)| *record).collect())
    }

    /// Writes records behind the end, and then their slots. The records are in the order of their UIDs.
    pub(super) async fn add_records(
        &self,
        file: &ShardFile<D>,
        size: u64,
        group: &[New<'_>],
    ) -> io::Result<u64> {
        let (disk, slots) = (self.disk(), self.slots());
        let begin = size.max(start(slots));
        let mut octets = Vec::new();
        let mut places = Vec::with_capacity(group.len());
        let most = u64::from(u32::MAX).min(MAX_PER_SLOT * u64::from(slots));
        for (row, parsed) in group {
            let at = begin + octets.len() as u64;
            let len = (parsed.octets().len() + AROUND) as u64;
            let (Ok(offset), Ok(len)) = (u32::try_from(at), u32::try_from(len)) else {
                break;
            };
            if at + u64::from(len) > most {
                break;
            }
            octets.extend(encode_record(&file.identity, row, offset, parsed));
            places.push((self.slot_of(row), Slot { offset, len }));
        }
        if places.is_empty() {
            return Ok(begin);
        }
        disk.write_at(&file.file, &octets, begin).await?;
        for run in places.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
            let Some((first, _)) = run.first() else {
                continue;
            };
            let octets: Vec<u8> = run.iter().flat_map(|(_, slot)| slot.encode()).collect();
            let offset = HEAD + first * SLOT;
            disk.write_at(&file.file, &octets, offset as u64).await?;
            run.iter().for_each(|(index, slot)| file.set_slot(*index, *slot));
        }
        Ok(begin + octets.len() as u64)
    }
}
