//! Bodies on their way in and out, and the room that they take.

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rmail_core::refusal::Refusal;

/// A body on its way in.
pub struct Spool(Body);

/// A stored message. Whoever holds one can read it, whatever becomes of the mailboxes it lies in.
#[derive(Clone)]
pub struct Blob(Arc<Body>);

/// Octets, and the room that they take of the store's; given back when dropped.
struct Body {
    octets: Vec<u8>,
    used: Arc<AtomicU64>,
}

/// Octets that are free of this room.
pub(super) fn free(used: &AtomicU64, room: u64) -> u64 {
    room.saturating_sub(used.load(Ordering::Relaxed))
}

impl Drop for Body {
    fn drop(&mut self) {
        self.used.fetch_sub(self.octets.len() as u64, Ordering::Relaxed);
    }
}

impl Spool {
    /// An empty body that takes its room from this count.
    pub(super) fn new(used: &Arc<AtomicU64>) -> Self {
        Self(Body {
            octets: Vec::new(),
            used: Arc::clone(used),
        })
    }

    /// Appends octets.
    ///
    /// # Errors
    /// `DiskFull`: there is no room for them.
    pub(super) fn write(&mut self, octets: &[u8], room: u64) -> Result<(), Refusal> {
        let more = octets.len() as u64;
        let take = |used: u64| used.checked_add(more).filter(|used| *used <= room);
        let taken = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| Refusal::DiskFull)?;
        self.0.octets.extend_from_slice(octets);
        Ok(())
    }

    pub(super) fn len(&self) -> u64 {
        self.0.octets.len() as u64
    }

    /// The whole body. Its size has to fit a row.
    pub(super) fn finish(self) -> Result<Blob, Refusal> {
        u32::try_from(self.len()).map_err(|_| Refusal::TooLarge)?;
        Ok(Blob(Arc::new(self.0)))
    }
}

impl Blob {
    pub(super) fn len(&self) -> u64 {
        self.0.octets.len() as u64
    }

    /// Copies octets from this offset on; how many. 0 at the end.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.octets.get(start..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        count
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({} octets)", self.len())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} octets)", self.len())
    }
}
