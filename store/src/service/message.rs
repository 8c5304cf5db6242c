//! A stored message as it is read for FETCH and SEARCH: no more of it than is needed, and nothing twice.
//!
//! What is found out of it on the way is offered to the store, which may keep it ([`MailStore::keep_parsed`]): then the
//! message is not opened the next time.

use core::ops::Range;
use std::sync::Arc;

use rmail_core::chunk::Chunk;
use rmail_core::mime::digest::{self, Digest, FRONT};
use rmail_core::mime::field_filter::FieldFilter;
use rmail_core::mime::header::HeaderEnd;
use rmail_core::mime::parsed::{EmailId, Parsed};
use rmail_core::mime::part::Structure;
use rmail_core::mime::preview::preview;
use rmail_core::mime::scanner::Scanner;
use rmail_core::mime::thread_id::{self, ThreadId};
use rmail_core::refusal::Refusal;

use crate::error::{Error, Result};
use crate::mailstore::MailStore;

/// Octets of a read while the header's end is looked for.
const HEADER_PIECE: usize = 8 * 1024;
/// Octets of a read while all is read.
const PIECE: usize = 128 * 1024;
/// Octets of header fields that are answered at most, or searched: headers are read to their end, however long they are,
/// but what is asked for of one is in memory. Beyond that HEADER.FIELDS is cut, without its empty line, and SEARCH finds
/// nothing. (`BODY[HEADER]` is never cut.)
const MAX_FIELDS: usize = 1 << 20;

/// An open message.
pub(super) struct Message<'a, S: MailStore> {
    store: &'a S,
    blob: Arc<S::Blob>,
    len: u64,
    /// The first octets, as far as they were read, at most [`FRONT`].
    front: Vec<u8>,
    known: Known,
}

/// What is known of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// What the store has kept of it, or what was found out: of the header at least.
    pub(super) parsed: Option<Parsed>,
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

    /// What is known when at least the header was read.
    pub(super) async fn parsed(&mut self) -> Result<&Parsed> {
        let known = self
            .known
            .parsed
            .take()
            .filter(|parsed| parsed.header_end().is_some());
        let parsed = match known {
            Some(known) => known,
            None => self.read_header().await?,
        };
        Ok(self.known.parsed.insert(parsed))
    }

    /// Octets of the header with its empty line; all of the message if there is no empty line.
    pub(super) async fn header_end(&mut self) -> Result<u64> {
        let end = self.parsed().await?.header_end();
        Ok(end.unwrap_or(self.len))
    }

    /// Reads no more than the header.
    async fn read_header(&mut self) -> Result<Parsed> {
        let mut search = HeaderEnd::default();
        let mut scanner = Scanner::new();
        let mut at = 0;
        let end = loop {
            let piece = self.piece(at, HEADER_PIECE).await?;
            let end = search.push(&piece);
            let ours = end.map_or(u64::MAX, |end| end - at);
            let ours = usize::try_from(ours).unwrap_or(usize::MAX);
            scanner.push(piece.get(..ours).unwrap_or(&piece));
            at += piece.len() as u64;
            match end {
                Some(end) => break end,
                None if piece.is_empty() => break self.len,
                None => {}
            }
        };
        let structure = scanner.finish();
        let envelope = structure.root().and_then(|root| root.envelope.as_deref());
        let header = usize::try_from(end).ok().and_then(|end| self.front.get(..end));
        Ok(digest::of_header(envelope, end, header, self.len))
    }

    /// HEADER.FIELDS, or HEADER.FIELDS.NOT, of some header in it.
    pub(super) async fn fields(
        &mut self,
        header: Range<u64>,
        names: &[String],
        not: bool,
    ) -> Result<Vec<u8>> {
        let mut filter = FieldFilter::new(names, not, MAX_FIELDS);
        let mut at = header.start;
        while at < header.end {
            let left = usize::try_from(header.end - at).unwrap_or(usize::MAX);
            let piece = self.piece(at, left.min(PIECE)).await?;
            at += piece.len() as u64;
            if piece.is_empty() || filter.push(&piece) {
                break;
            }
        }
        Ok(filter.finish())
    }

    /// HEADER.FIELDS of the message itself.
    pub(super) async fn header_fields(&mut self, names: &[String]) -> Result<Vec<u8>> {
        if let Some(fields) = self.parsed().await?.header_fields(names) {
            return Ok(fields);
        }
        let end = self.header_end().await?;
        self.fields(0..end, names, false).await
    }

    /// The structure: of all the message.
    pub(super) async fn structure(&mut self) -> Result<Arc<Structure>> {
        if let Some(structure) = &self.known.structure {
            return Ok(Arc::clone(structure));
        }
        let is_kept = self.known.parsed.as_ref().is_some_and(Parsed::is_complete);
        let structure = if is_kept {
            // Too large to be kept.
            let mut scanner = Scanner::new();
            self.all(|piece| scanner.push(piece)).await?;
            scanner.finish()
        } else {
            let mut digest = Digest::new(usize::MAX);
            self.all(|piece| digest.push(piece)).await?;
            let found = digest.finish(&self.front);
            self.known.parsed = Some(found.parsed);
            found.structure.ok_or_else(|| Error::from(Refusal::Storage))?
        };
        let structure = Arc::new(structure);
        self.known.structure = Some(Arc::clone(&structure));
        Ok(structure)
    }

    /// Reads the message from its beginning to its end.
    async fn all(&mut self, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let mut at = 0;
        loop {
            let piece = self.piece(at, PIECE).await?;
            if piece.is_empty() {
                return Ok(());
            }
            sink(&piece);
            at += piece.len() as u64;
        }
    }

    /// The envelope as rendered, from the header alone.
    pub(super) async fn envelope(&mut self) -> Result<Chunk> {
        if let Some(envelope) = self.parsed().await?.envelope() {
            return Ok(envelope);
        }
        // It is too long to be kept.
        let structure = self.structure().await?;
        let envelope = structure.root().and_then(|root| root.envelope.clone());
        Ok(Chunk::from(envelope.unwrap_or_default()))
    }

    /// PREVIEW's text.
    pub(super) async fn preview(&mut self) -> Result<String> {
        let structure = self.structure().await?;
        if let Some(text) = self.known.parsed.as_ref().and_then(Parsed::preview) {
            return Ok(text.to_owned());
        }
        let front = usize::try_from(self.len).map_or(FRONT, |len| len.min(FRONT));
        while self.front.len() < front {
            let at = self.front.len() as u64;
            self.piece(at, PIECE).await?;
        }
        Ok(preview(&structure, &self.front))
    }

    /// EMAILID.
    pub(super) async fn email_id(&mut self) -> Result<EmailId> {
        self.structure().await?;
        if let Some(id) = self.known.parsed.as_ref().and_then(Parsed::email_id) {
            return Ok(id);
        }
        let mut digest = Digest::new(usize::MAX);
        self.all(|piece| digest.push(piece)).await?;
        let parsed = digest.finish(&self.front).parsed;
        parsed.email_id().ok_or_else(|| Error::from(Refusal::Storage))
    }

    /// THREADID.
    pub(super) async fn thread_id(&mut self) -> Result<ThreadId> {
        if let Some(id) = ThreadId::of_kept(self.parsed().await?) {
            return Ok(id);
        }
        let names = thread_id::FIELDS.map(str::to_owned);
        let header = self.header_fields(&names).await?;
        if let Some(id) = ThreadId::of(&header, || None) {
            return Ok(id);
        }
        let own = self.email_id().await?;
        ThreadId::of(&header, || Some(own)).ok_or_else(|| Error::from(Refusal::Storage))
    }

    /// Exactly these octets.
    pub(super) async fn read(&mut self, range: Range<u64>) -> Result<Chunk> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if let Some(octets) = from_front(&self.front, &range) {
            return Ok(Chunk::copy_from(octets));
        }
        let mut octets = Chunk::zeroed(len);
        self.fill(octets.get_mut().unwrap_or_default(), range.start)
            .await?;
        Ok(octets)
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
        if at == kept {
            let room = FRONT.saturating_sub(self.front.len());
            self.front.extend_from_slice(buf.get(..room).unwrap_or(&buf));
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
