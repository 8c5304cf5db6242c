//! What a session keeps here: bodies on their way in and out, and watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, LOOKS_LATER, Scope, SpoolId, WatchId};
use rmail_core::mailbox::{ModSeq, Usage};
use rmail_core::refusal::Refusal;

use super::binary::Decoding;
use super::hashing::Place;
use super::{Service, lock, refused};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::hub::{Wake, Watch};
use crate::mailstore::MailStore;

/// Buffers of pieces that are kept while bodies are open: one is sent while the next is read.
const MAX_PIECES: usize = 4;

/// Octets of one read of an open message, whatever the host asks for.
const MAX_READ: usize = 1 << 20;

/// Spools, blobs and watches of one session.
pub(super) struct Desk<S: MailStore> {
    store: Arc<S>,
    spools: Mutex<BTreeMap<SpoolId, Spool<S>>>,
    blobs: Mutex<Blobs<S>>,
    watches: Mutex<BTreeMap<WatchId, Watch>>,
    /// Its place in the queue of passwords to be hashed, until that has begun.
    place: Mutex<Option<Place>>,
}

/// A body on its way in.
struct Spool<S: MailStore> {
    /// Away while it is written to.
    body: Option<S::Spool>,
    /// Why the commit will fail.
    failed: Option<Refusal>,
    /// Octets announced, for the quota.
    announced: u64,
}

struct Blobs<S: MailStore> {
    next: u64,
    open: BTreeMap<BlobId, Source<S>>,
    /// Pieces that were given: once one is sent, and nobody else holds it, the next is read into its room.
    given: Vec<Chunk>,
}

impl<S: MailStore> Blobs<S> {
    /// Room for a piece of so many octets, which is ours alone.
    fn room(&mut self, len: usize) -> Chunk {
        let sent = |piece: &mut Chunk| piece.len() >= len && piece.get_mut().is_some();
        match self.given.iter_mut().position(sent) {
            Some(at) => self.given.swap_remove(at),
            None => Chunk::zeroed(len),
        }
    }

    /// The first octets of a piece; its room is used again.
    fn give(&mut self, piece: Chunk, len: usize) -> Chunk {
        let front = piece.slice(0..len);
        if self.given.len() < MAX_PIECES && !self.open.is_empty() {
            self.given.push(piece);
        }
        front
    }
}

/// Where the octets of a body on its way out are.
pub(super) enum Source<S: MailStore> {
    /// From this offset of a stored message on, that many.
    Stored(Arc<S::Blob>, u64, u64),
    /// The same, but a NUL stays a NUL (BINARY).
    Raw(Arc<S::Blob>, u64, u64),
    /// A part whose encoding is undone on the way.
    Decoded(Arc<Decoding<S::Blob>>),
    /// Made by us.
    Memory(Chunk),
}

impl<S: MailStore> Clone for Source<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Stored(blob, offset, len) => Self::Stored(Arc::clone(blob), *offset, *len),
            Self::Raw(blob, offset, len) => Self::Raw(Arc::clone(blob), *offset, *len),
            Self::Decoded(decoding) => Self::Decoded(Arc::clone(decoding)),
            Self::Memory(chunk) => Self::Memory(chunk.clone()),
        }
    }
}

impl<S: MailStore> Desk<S> {
    pub(super) fn new(store: Arc<S>) -> Self {
        Self {
            store,
            spools: Mutex::default(),
            blobs: Mutex::new(Blobs {
                next: 0,
                open: BTreeMap::new(),
                given: Vec::new(),
            }),
            watches: Mutex::default(),
            place: Mutex::default(),
        }
    }

    /// Keeps a place among the passwords to be hashed, until it is taken or the session ends.
    pub(super) fn keep_place(&self, place: Place) {
        *lock(&self.place) = Some(place);
    }

    /// The place that was kept, if there is one.
    pub(super) fn take_place(&self) -> Option<Place> {
        lock(&self.place).take()
    }

    /// Begins a body. One of the same name is dropped.
    pub(super) async fn open_spool(&self, id: SpoolId, announced: u64) -> core::result::Result<(), Refusal> {
        let body = self
            .store
            .new_spool()
            .await
            .map_err(|error| refused("open a spool", error))?;
        let spool = Spool {
            body: Some(body),
            failed: None,
            announced,
        };
        let old = lock(&self.spools).insert(id, spool);
        drop(old);
        Ok(())
    }

    /// What was announced for the bodies that are open.
    pub(super) fn announced(&self) -> Usage {
        let spools = lock(&self.spools);
        spools.values().map(|spool| Usage::message(spool.announced)).sum()
    }

    /// Takes a whole body, or says why there is none.
    pub(super) fn take_spool(&self, id: SpoolId) -> core::result::Result<S::Spool, Refusal> {
        let spool = remove(&mut lock(&self.spools), id).ok_or(Refusal::Storage)?;
        match (spool.failed, spool.body) {
            (None, Some(body)) => Ok(body),
            (failed, _) => Err(failed.unwrap_or(Refusal::Storage)),
        }
    }

    /// Drops a body.
    pub(super) fn discard(&self, id: SpoolId) {
        let spool = remove(&mut lock(&self.spools), id);
        drop(spool);
    }

    pub(super) fn spool_now(&self, id: SpoolId, chunk: Chunk) -> core::result::Result<(), Chunk> {
        let mut spools = lock(&self.spools);
        match spools.get_mut(&id).and_then(|spool| spool.body.as_mut()) {
            Some(body) => self.store.write_spool_now(body, chunk),
            None => Ok(()),
        }
    }

    pub(super) async fn spool(&self, id: SpoolId, chunk: Chunk) {
        let body = lock(&self.spools)
            .get_mut(&id)
            .and_then(|spool| spool.body.take());
        let Some(mut body) = body else {
            return;
        };
        let written = self.store.write_spool(&mut body, chunk).await;
        let written = written.map_err(|error| refused("write to a spool", error));
        let mut spools = lock(&self.spools);
        if let Some(spool) = spools.get_mut(&id) {
            // A body that failed is dropped at once: its room is needed.
            match written {
                Ok(()) => spool.body = Some(body),
                Err(refusal) => spool.failed = Some(refusal),
            }
        }
    }

    /// Keeps a body open for the host to read.
    pub(super) fn open_blob(&self, source: Source<S>) -> BlobId {
        let mut blobs = lock(&self.blobs);
        blobs.next += 1;
        let id = BlobId(blobs.next);
        blobs.open.insert(id, source);
        id
    }

    pub(super) async fn read_blob(&self, id: BlobId, offset: u64, max: usize) -> Result<Chunk> {
        let source = lock(&self.blobs).open.get(&id).cloned().ok_or_else(|| Error {
            refusal: Refusal::Storage,
            context: "a body that is not open".to_owned(),
            source: None,
        })?;
        let max = max.min(MAX_READ);
        match source {
            Source::Memory(chunk) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                Ok(chunk.slice(start..start.saturating_add(max)))
            }
            Source::Stored(blob, start, len) => {
                let piece = self.read_piece(&blob, start, len, (offset, max)).await?;
                Ok(without_nul(piece))
            }
            Source::Raw(blob, start, len) => self.read_piece(&blob, start, len, (offset, max)).await,
            Source::Decoded(decoding) => decoding.read(&*self.store, offset, max).await,
        }
    }

    async fn read_piece(
        &self,
        blob: &S::Blob,
        start: u64,
        len: u64,
        (offset, max): (u64, usize),
    ) -> Result<Chunk> {
        let max = max.min(left(len, offset));
        let mut piece = lock(&self.blobs).room(max);
        let read = match piece.get_mut().and_then(|room| room.get_mut(..max)) {
            None | Some([]) => 0,
            Some(room) => self.store.read(blob, room, start.saturating_add(offset)).await?,
        };
        Ok(lock(&self.blobs).give(piece, read))
    }

    /// What [`Desk::read_blob`] would give, if it is at hand.
    pub(super) fn read_blob_now(&self, id: BlobId, offset: u64, max: usize) -> Option<Chunk> {
        let mut blobs = lock(&self.blobs);
        let (blob, start, len, shows_nul) = match blobs.open.get(&id)? {
            Source::Stored(blob, start, len) => (Arc::clone(blob), *start, *len, false),
            Source::Raw(blob, start, len) => (Arc::clone(blob), *start, *len, true),
            Source::Decoded(_) | Source::Memory(_) => return None,
        };
        let max = max.min(MAX_READ).min(left(len, offset));
        if max == 0 {
            return Some(Chunk::default());
        }
        let mut piece = blobs.room(max);
        drop(blobs);
        let room = piece.get_mut().and_then(|room| room.get_mut(..max))?;
        let read = self.store.read_now(&blob, room, start.saturating_add(offset));
        let piece = lock(&self.blobs).give(piece, read.unwrap_or_default());
        // That a message is shorter than it was is for those to tell who can.
        read.filter(|read| *read > 0)?;
        Some(if shows_nul { piece } else { without_nul(piece) })
    }

    pub(super) fn close_blob(&self, id: BlobId) {
        let mut blobs = lock(&self.blobs);
        let source = remove(&mut blobs.open, id);
        if blobs.open.is_empty() {
            blobs.given = Vec::new();
        }
        drop(blobs);
        drop(source);
    }

    pub(super) fn watch<D: Disk>(
        &self,
        service: &Service<S, D>,
        id: WatchId,
        scope: Scope,
        seen: ModSeq,
        wake: Wake,
    ) {
        let watch = self.store.hub().watch(scope.clone(), seen, Arc::clone(&wake));
        let old = lock(&self.watches).insert(id, watch);
        drop(old);
        if let Scope::Mailbox(mailbox) = &scope {
            self.store.listen(mailbox);
        }
        // What came between the session's look and the watch was announced to nobody.
        let late = match &scope {
            _ if seen == LOOKS_LATER => false,
            Scope::List(_) => true,
            Scope::Mailbox(mailbox) => self
                .store
                .snapshot_now(mailbox)
                .is_none_or(|snapshot| snapshot.modseq > seen),
            Scope::Account(account) => !service.remembers_epoch(account, seen.0),
        };
        if late {
            wake();
        }
    }

    pub(super) fn unwatch(&self, id: WatchId) {
        let watch = remove(&mut lock(&self.watches), id);
        drop(watch);
    }
}

/// Octets behind an offset.
fn left(len: u64, offset: u64) -> usize {
    usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX)
}

/// Octets for a literal, which can hold no NUL (RFC 9051 §4.3): 0x80 stands for each, so that lengths stay.
pub(super) fn without_nul(octets: Chunk) -> Chunk {
    if memchr::memchr(0, &octets).is_none() {
        return octets;
    }
    let shown: Vec<u8> = octets
        .iter()
        .map(|octet| if *octet == 0 { 0x80 } else { *octet })
        .collect();
    Chunk::from(shown)
}

/// Takes something away. A map that is empty keeps the room for its last entries, some hundred octets to some thousand:
/// a session at rest does not need it.
fn remove<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K) -> Option<V> {
    let value = map.remove(&key);
    if map.is_empty() {
        *map = BTreeMap::new();
    }
    value
}

impl<S: MailStore> core::fmt::Debug for Desk<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Desk")
            .field("spools", &lock(&self.spools).len())
            .field("blobs", &lock(&self.blobs).open.len())
            .field("watches", &lock(&self.watches).len())
            .finish_non_exhaustive()
    }
}
