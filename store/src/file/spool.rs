//! Bodies on their way in and out.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use rmail_core::chunk::Chunk;
use rmail_core::mime::digest::{Digest, FRONT};
use rmail_core::mime::parsed::Parsed;
use rmail_core::refusal::Refusal;

use crate::disk::Disk;
use crate::error::Result;

use super::FileStore;
use super::io::During as _;

/// Octets of memory that finding out a body's structure may take: it is not in the budget of spools. What needs more is
/// found out when it is asked for.
const DIGEST: usize = 64 * 1024;

/// A body on its way in: in memory, and a file without a name once it is large.
pub struct Spool<D: Disk> {
    memory: Vec<u8>,
    /// What `memory` may grow to, taken from the budget of all spools.
    room: Room,
    file: Option<D::File>,
    /// The file has all of it, on disk.
    synced: bool,
    len: u64,
    /// What is found out of it as it comes by, for the parsed cache.
    digest: Option<Box<Digest>>,
}

/// A message that is open for reading.
pub struct Blob<D: Disk> {
    pub(super) file: D::File,
    pub(super) len: u64,
}

/// A message's octets on disk, synced.
pub(super) struct Body<D: Disk> {
    pub(super) file: D::File,
    pub(super) size: u32,
    /// Where it got its first name.
    pub(super) named: Option<(D::Dir, String)>,
    /// What is known of it; taken by who adds it.
    pub(super) parsed: Option<Parsed>,
}

/// Octets of memory that are taken from a budget; given back when dropped.
struct Room {
    budget: Arc<AtomicUsize>,
    octets: usize,
}

impl Room {
    /// Takes more from the budget. False: there is no more.
    fn grow(&mut self, octets: usize, limit: usize) -> bool {
        let take = |used: usize| used.checked_add(octets).filter(|used| *used <= limit);
        let taken = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if taken {
            self.octets += octets;
        }
        taken
    }

    fn give_back(&mut self) {
        self.budget
            .fetch_sub(core::mem::take(&mut self.octets), Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<D: Disk> Spool<D> {
    /// Octets written so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// These octets were taken.
    fn passed(&mut self, octets: &[u8]) {
        self.len += octets.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.push(octets);
        }
    }
}

impl<D: Disk> FileStore<D> {
    /// An empty spool.
    pub(super) fn empty_spool(&self) -> Spool<D> {
        Spool {
            memory: Vec::new(),
            room: Room {
                budget: Arc::clone(&self.spooled),
                octets: 0,
            },
            file: None,
            synced: false,
            len: 0,
            digest: self.options().parsed_cache.then(|| Box::new(Digest::new(DIGEST))),
        }
    }

    /// Takes a chunk if it fits into memory.
    pub(super) fn spool_now(&self, spool: &mut Spool<D>, chunk: Chunk) -> core::result::Result<(), Chunk> {
        let limits = self.limits();
        let wanted = spool.memory.len().saturating_add(chunk.len());
        if spool.file.is_some() || wanted > limits.spool_memory {
            return Err(chunk);
        }
        if wanted > spool.room.octets {
            // Doubled, as the vector would do: many small chunks cost few copies, and what is counted is what is used.
            let room = wanted.max(spool.room.octets * 2).min(limits.spool_memory);
            if !spool.room.grow(room - spool.room.octets, limits.spool_budget) {
                return Err(chunk);
            }
            spool.memory.reserve_exact(room - spool.memory.len());
        }
        spool.memory.extend_from_slice(&chunk);
        spool.passed(&chunk);
        Ok(())
    }

    /// Appends a chunk, to a file if need be.
    pub(super) async fn spool(&self, spool: &mut Spool<D>, chunk: Chunk) -> Result<()> {
        let Err(chunk) = self.spool_now(spool, chunk) else {
            return Ok(());
        };
        let label = || "write a spool".to_owned();
        spool.synced = false;
        let file = match &spool.file {
            Some(file) => file.clone(),
            None => {
                let file = self
                    .disk()
                    .create_unnamed(self.disk().root())
                    .await
                    .during(label)?;
                self.disk()
                    .write_at(&file, &spool.memory, 0)
                    .await
                    .during(label)?;
                spool.memory = Vec::new();
                spool.room.give_back();
                spool.file.insert(file).clone()
            }
        };
        self.disk()
            .write_at(&file, &chunk, spool.len)
            .await
            .during(label)?;
        spool.passed(&chunk);
        Ok(())
    }

    /// Writes and syncs a body, once for all the names that it will get.
    pub(super) async fn settle(&self, spool: Spool<D>) -> Result<Body<D>> {
        let (body, synced) = self.write_down(spool).await?;
        if !synced {
            self.disk()
                .sync(&body.file)
                .await
                .during(|| "write a message".to_owned())?;
        }
        Ok(body)
    }

    /// Writes a body as [`FileStore::settle`] does, and leaves it to the caller to sync it; whether that is done already.
    pub(super) async fn write_down(&self, mut spool: Spool<D>) -> Result<(Body<D>, bool)> {
        let size = u32::try_from(spool.len).map_err(|_| Refusal::TooLarge)?;
        let parsed = self.end_digest(&mut spool).await;
        let file = self.write_file(&mut spool).await?;
        let body = Body {
            file,
            size,
            named: None,
            parsed,
        };
        Ok((body, spool.synced))
    }

    /// What was found out of it.
    async fn end_digest(&self, spool: &mut Spool<D>) -> Option<Parsed> {
        let digest = spool.digest.take()?;
        let Some(file) = &spool.file else {
            return Some(digest.finish(&spool.memory).parsed);
        };
        let mut front = vec![0; FRONT.min(usize::try_from(spool.len).unwrap_or(FRONT))];
        let read = self.disk().read_at(file, &mut front, 0).await;
        (read.ok() == Some(front.len())).then(|| digest.finish(&front).parsed)
    }

    /// The spool as a file.
    async fn write_file(&self, spool: &mut Spool<D>) -> Result<D::File> {
        let label = || "write a message".to_owned();
        match spool.file.take() {
            Some(file) => Ok(file),
            // Its file was dropped because it failed.
            None if spool.memory.len() as u64 != spool.len => Err(Refusal::Storage.into()),
            None => {
                let file = self
                    .disk()
                    .create_unnamed(self.disk().root())
                    .await
                    .during(label)?;
                self.disk()
                    .write_at(&file, &spool.memory, 0)
                    .await
                    .during(label)?;
                Ok(file)
            }
        }
    }

    /// The spool as a file that is on disk.
    pub(super) async fn settle_file(&self, spool: &mut Spool<D>) -> Result<D::File> {
        let file = self.write_file(spool).await?;
        if !spool.synced {
            self.disk()
                .sync(&file)
                .await
                .during(|| "write a message".to_owned())?;
        }
        Ok(file)
    }

    /// Does early what [`FileStore::settle`] will need. After an error the spool is empty of use: its file is dropped.
    pub(super) async fn settle_early(&self, spool: &mut Spool<D>) -> Result<()> {
        let file = self.settle_file(spool).await?;
        spool.memory = Vec::new();
        spool.room.give_back();
        spool.file = Some(file);
        spool.synced = true;
        Ok(())
    }

    /// A body of its own with the octets of an open file, on the file system of `dir`.
    pub(super) async fn duplicate(&self, from: &D::File, size: u32, dir: &D::Dir) -> Result<Body<D>> {
        let label = || "copy a message".to_owned();
        let file = self.disk().create_unnamed(dir).await.during(label)?;
        let mut buffer = vec![0; 256 * 1024];
        let mut offset = 0;
        loop {
            let count = self
                .disk()
                .read_at(from, &mut buffer, offset)
                .await
                .during(label)?;
            let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
                break;
            };
            self.disk().write_at(&file, part, offset).await.during(label)?;
            offset += count as u64;
        }
        if offset != u64::from(size) {
            return Err(crate::Error {
                refusal: Refusal::Storage,
                context: format!("copy a message: it has {offset} octets, its name says {size}"),
                source: None,
            });
        }
        self.disk().sync(&file).await.during(label)?;
        Ok(Body {
            file,
            size,
            named: None,
            parsed: None,
        })
    }

    /// Gives a body a name: its first, or a further one.
    pub(super) async fn place(&self, body: &mut Body<D>, dir: &D::Dir, name: &str) -> std::io::Result<()> {
        match &body.named {
            Some((from, first)) => self.disk().link(from, first, dir, name).await,
            None => {
                self.disk().link_unnamed(&body.file, dir, name).await?;
                body.named = Some((dir.clone(), name.to_owned()));
                Ok(())
            }
        }
    }
}

/// Whether naming a body failed in a way that naming a copy does not: it lies on another file system, or the name that was
/// to be linked has too many links, must not be linked, or has changed meanwhile.
pub(super) fn needs_copy<D: Disk>(body: &Body<D>, error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::CrossesDevices || (body.named.is_some() && link_fails(error))
}

/// Whether a file cannot be linked although it can be copied.
pub(crate) fn link_fails(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{CrossesDevices, NotFound, PermissionDenied, TooManyLinks};
    matches!(
        error.kind(),
        CrossesDevices | TooManyLinks | PermissionDenied | NotFound
    )
}

impl<D: Disk> fmt::Debug for Spool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({} octets)", self.len)
    }
}

impl<D: Disk> fmt::Debug for Blob<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} octets)", self.len)
    }
}
