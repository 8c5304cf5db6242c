//! A stored message as it is read for FETCH and SEARCH: no more of it than is needed, and nothing twice.

use core::ops::Range;
use std::sync::Arc;

use rmail_core::chunk::Chunk;
use rmail_core::mime::header::HeaderEnd;
use rmail_core::mime::part::Structure;
use rmail_core::mime::scanner::{Scanner, scan};
use rmail_core::refusal::Refusal;

use crate::error::{Error, Result};
use crate::mailstore::MailStore;

/// Octets that are kept from the front of a message: most messages are shorter.
const FRONT: usize = 64 * 1024;
/// Octets of a read while the header's end is looked for.
const HEADER_PIECE: usize = 8 * 1024;
/// Octets of a read while all is read.
const PIECE: usize = 128 * 1024;
/// Octets of one header that are taken into memory; fields behind that are not seen.
const MAX_HEADER: u64 = 1 << 20;

/// An open message.
pub(super) struct Message<'a, S: MailStore> {
    store: &'a S,
    blob: Arc<S::Blob>,
    len: u64,
    /// The first octets, as far as they were read.
    front: Vec<u8>,
    known: Known,
}

/// What is known of a message's structure.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Octets of the header with its empty line.
    pub(super) header_end: Option<u64>,
    /// All of its parts.
    pub(super) structure: Option<Arc<Structure>>,
}

impl<'a, S: MailStore> Message<'a, S> {
    pub(super) fn new(store: &'a S, blob: S::Blob, known: Known) -> Self {
        Self {
            store,
            len: store.blob_len(&blob),
            blob: Arc::new(blob),
            front: Vec::new(),
            known,
        }
    }

    pub(super) fn blob(&self) -> &Arc<S::Blob> {
        &self.blob
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// Octets of the header with its empty line; all of them if there is no empty line.
    pub(super) async fn header_end(&mut self) -> Result<u64> {
        if let Some(end) = self.known.header_end {
            return Ok(end);
        }
        let mut search = HeaderEnd::default();
        let mut at = 0;
        let end = loop {
            let piece = self.piece(at, HEADER_PIECE).await?;
            if let Some(end) = search.push(&piece) {
                break end;
            }
            if piece.is_empty() {
                break self.len;
            }
            at += piece.len() as u64;
        };
        self.known.header_end = Some(end);
        Ok(end)
    }

    /// The header with its empty line.
    pub(super) async fn header(&mut self) -> Result<Chunk> {
        let end = self.header_end().await?;
        self.bounded(0..end).await
    }

    /// Some header's octets, of a hostile one the front.
    pub(super) async fn bounded(&mut self, header: Range<u64>) -> Result<Chunk> {
        let end = header.end.min(header.start.saturating_add(MAX_HEADER));
        self.read(header.start..end).await
    }

    /// The structure: of all the message.
    pub(super) async fn structure(&mut self) -> Result<Arc<Structure>> {
        if let Some(structure) = &self.known.structure {
            return Ok(Arc::clone(structure));
        }
        let mut scanner = Scanner::new();
        let mut at = 0;
        loop {
            let piece = self.piece(at, PIECE).await?;
            if piece.is_empty() {
                break;
            }
            scanner.push(&piece);
            at += piece.len() as u64;
        }
        let structure = Arc::new(scanner.finish());
        self.known.header_end = Some(structure.header().end);
        self.known.structure = Some(Arc::clone(&structure));
        Ok(structure)
    }

    /// The envelope as rendered: from the structure, else from the header alone.
    pub(super) async fn envelope(&mut self) -> Result<Vec<u8>> {
        let header;
        let structure = match &self.known.structure {
            Some(structure) => structure,
            None => {
                header = scan(&self.header().await?);
                &header
            }
        };
        Ok(structure
            .root()
            .and_then(|root| root.envelope.clone())
            .unwrap_or_default())
    }

    /// Exactly these octets.
    pub(super) async fn read(&mut self, range: Range<u64>) -> Result<Chunk> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if let Some(octets) = from_front(&self.front, &range) {
            return Ok(Chunk::copy_from(octets));
        }
        let mut buf = vec![0; len];
        self.fill(&mut buf, range.start).await?;
        Ok(Chunk::from(buf))
    }

    /// The next octets from an offset on, at most `max`; empty at the end. What is at the front is read once.
    async fn piece(&mut self, at: u64, max: usize) -> Result<Chunk> {
        let max = max.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let kept = self.front.len() as u64;
        if at < kept {
            let start = usize::try_from(at).unwrap_or(usize::MAX);
            let octets = self.front.get(start..).unwrap_or_default();
            return Ok(Chunk::copy_from(octets.get(..max).unwrap_or(octets)));
        }
        let mut buf = vec![0; max];
        self.fill(&mut buf, at).await?;
        if at == kept && self.front.len() + buf.len() <= FRONT {
            self.front.extend_from_slice(&buf);
        }
        Ok(Chunk::from(buf))
    }

    async fn fill(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let mut at = 0;
        while let Some(rest) = buf.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.store.read(&self.blob, rest, offset + at as u64).await? {
                0 => {
                    return Err(Error {
                        refusal: Refusal::Storage,
                        context: "a message is shorter than it was".to_owned(),
                        source: None,
                    });
                }
                n => at += n,
            }
        }
        Ok(())
    }
}

fn from_front<'a>(front: &'a [u8], range: &Range<u64>) -> Option<&'a [u8]> {
    let start = usize::try_from(range.start).ok()?;
    let end = usize::try_from(range.end).ok()?;
    front.get(start..end)
}
