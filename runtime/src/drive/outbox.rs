//! Octets that wait to be written.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rmail_core::deflate::Compressor;
use rmail_core::machine::Bytes;

use crate::record::Tape;

/// Slices of one vectored write.
const BATCH: usize = 32;
/// Small sends are joined up to this size: one TLS record.
const JOIN: usize = 16 * 1024;
/// A compressor that was not needed for so long is dropped…
const COMPRESSOR_KEPT: Duration = Duration::from_secs(1);
/// …and at once if so many others are kept: what a thousand sessions say at the same moment must not cost 300 MiB.
const KEPT_AT_MOST: usize = 16;

/// Flushed compressors of all sessions that are kept for what may come.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A queue of buffers, written from the front.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    /// Octets of the first buffer that are written.
    head: usize,
    len: usize,
    /// What is added is compressed.
    deflate: Option<Deflate>,
    /// What is added is recorded.
    tape: Option<Arc<Tape>>,
}

/// The compressor, while there is something to do for it, and when it was last flushed.
#[derive(Debug)]
struct Deflate {
    compressor: Option<Compressor>,
    flushed: Instant,
    /// While it is kept and has nothing to do.
    kept: Option<Kept>,
}

/// One of [`KEPT`].
#[derive(Debug)]
struct Kept;

impl Kept {
    fn new() -> Option<Self> {
        if KEPT.fetch_add(1, Ordering::Relaxed) < KEPT_AT_MOST {
            return Some(Self);
        }
        KEPT.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outbox {
    /// One that is recorded, if there is a tape.
    pub(super) fn with_tape(tape: Option<Arc<Tape>>) -> Self {
        Self {
            tape,
            ..Self::default()
        }
    }

    /// Octets unwritten.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds octets at the end.
    pub(super) fn push(&mut self, bytes: Bytes) {
        let new = bytes.as_ref();
        if new.is_empty() {
            return;
        }
        if let Some(tape) = &self.tape {
            tape.sent(new);
        }
        if let Some(deflate) = &mut self.deflate {
            let mut out = Vec::new();
            deflate.kept = None;
            deflate
                .compressor
                .get_or_insert_with(Compressor::new)
                .write(new, &mut out);
            return self.push_plain(out.into());
        }
        self.push_plain(bytes);
    }

    fn push_plain(&mut self, bytes: Bytes) {
        let new = bytes.as_ref();
        if new.is_empty() {
            return;
        }
        self.len += new.len();
        if let Some(Bytes::Owned(last)) = self.queue.back_mut()
            && last.len() + new.len() <= JOIN
        {
            last.extend_from_slice(new);
            return;
        }
        self.queue.push_back(bytes);
    }

    /// From here on what is added is compressed.
    pub(super) fn start_deflate(&mut self) {
        self.deflate = Some(Deflate {
            compressor: None,
            flushed: Instant::now(),
            kept: None,
        });
    }

    /// From here on it is plain again.
    pub(super) fn stop_deflate(&mut self) {
        if let Some(deflate) = self.deflate.take() {
            let mut out = Vec::new();
            deflate.compressor.unwrap_or_default().finish(&mut out);
            self.push_plain(out.into());
        }
    }

    /// Nothing more is added for now: all that was can be read by the peer once it is written.
    pub(super) fn settle(&mut self) {
        if let Some(deflate) = &mut self.deflate
            && let Some(compressor) = deflate.compressor.as_mut().filter(|it| !it.is_flushed())
        {
            let mut out = Vec::new();
            compressor.flush(&mut out);
            deflate.flushed = Instant::now();
            deflate.kept = Kept::new();
            if deflate.kept.is_none() {
                deflate.compressor = None;
            }
            self.push_plain(out.into());
        }
    }

    /// When to call [`Outbox::rest`].
    pub(super) fn rest_at(&self) -> Option<Instant> {
        let deflate = self.deflate.as_ref()?;
        let compressor = deflate.compressor.as_ref()?;
        compressor.is_flushed().then(|| deflate.flushed + COMPRESSOR_KEPT)
    }

    /// Drops a compressor that is not needed: it is large, and the next one goes on where it ended.
    pub(super) fn rest(&mut self, now: Instant) {
        if self.rest_at().is_some_and(|at| at <= now)
            && let Some(deflate) = &mut self.deflate
        {
            deflate.compressor = None;
            deflate.kept = None;
        }
    }

    /// Calls `write` with the first buffers.
    pub(super) fn with_front<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        let mut slices = [IoSlice::new(&[]); BATCH];
        let mut count = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.queue) {
            let skip = if count == 0 { self.head } else { 0 };
            *slot = IoSlice::new(bytes.as_ref().get(skip..).unwrap_or_default());
            count += 1;
        }
        write(slices.get(..count).unwrap_or_default())
    }

    /// Drops octets that were written.
    pub(super) fn advance(&mut self, mut written: usize) {
        self.len = self.len.saturating_sub(written);
        while let Some(first) = self.queue.front() {
            let left = first.as_ref().len() - self.head;
            if written < left {
                self.head += written;
                return;
            }
            written -= left;
            self.head = 0;
            self.queue.pop_front();
        }
        // What a burst needed is not kept by an idle session.
        self.queue.shrink_to(4);
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::with_tape(self.tape.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::chunk::Chunk;

    fn front(outbox: &Outbox) -> Vec<u8> {
        outbox.with_front(|slices| slices.iter().flat_map(|slice| slice.to_vec()).collect())
    }

    #[test]
    fn what_is_added_between_start_and_stop_is_compressed() {
        let mut outbox = Outbox::default();
        let push = |outbox: &mut Outbox, text: &str| outbox.push(text.as_bytes().to_vec().into());
        push(&mut outbox, "plain ");
        outbox.start_deflate();
        assert_eq!(outbox.rest_at(), None, "there is no compressor yet");
        push(&mut outbox, "one ");
        assert_eq!(front(&outbox), b"plain ", "not flushed yet");
        outbox.settle();
        outbox.settle();
        let first = front(&outbox).len();
        // It may be gone already, if other tests keep theirs.
        if let Some(at) = outbox.rest_at() {
            outbox.rest(at);
        }
        assert_eq!(outbox.rest_at(), None);
        push(&mut outbox, "two ");
        outbox.stop_deflate();
        push(&mut outbox, "plain");
        let octets = front(&outbox);
        assert!(octets.starts_with(b"plain ") && octets.len() > first && outbox.len() == octets.len());
        let mut heard = rmail_core::deflate::Decompressor::new();
        heard.push(Chunk::copy_from(&octets[6..]));
        let mut text = Vec::new();
        while let Some(piece) = heard.piece().expect("DEFLATE") {
            text.extend_from_slice(&piece);
            if text.ends_with(b"two ") {
                heard.stop();
            }
        }
        assert_eq!(text, b"one two plain");
    }

    #[test]
    fn few_compressors_are_kept() {
        let mut all: Vec<Outbox> = (0..2 * KEPT_AT_MOST).map(|_| Outbox::default()).collect();
        for outbox in &mut all {
            outbox.start_deflate();
            outbox.push(b"text".to_vec().into());
            outbox.settle();
            assert!(!outbox.is_empty());
        }
        let kept = all.iter().filter(|outbox| outbox.rest_at().is_some()).count();
        assert!(kept <= KEPT_AT_MOST, "{kept}");
    }

    #[test]
    fn any_partial_write_leaves_the_rest() {
        let parts: [Bytes; 4] = [
            b"one ".to_vec().into(),
            Chunk::copy_from(b"two ").into(),
            b"three ".to_vec().into(),
            b"four".to_vec().into(),
        ];
        let whole = b"one two three four";
        for step in 1..=whole.len() {
            let mut outbox = Outbox::default();
            parts.iter().cloned().for_each(|part| outbox.push(part));
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let now = front(&outbox);
                let n = step.min(now.len());
                written.extend_from_slice(&now[..n]);
                outbox.advance(n);
                assert_eq!(outbox.len(), whole.len() - written.len());
            }
            assert_eq!(written, whole);
        }
    }

    #[test]
    fn a_long_queue_is_written_in_batches() {
        let mut outbox = Outbox::default();
        for _ in 0..3 * BATCH {
            outbox.push(Chunk::copy_from(b"ab").into());
        }
        assert_eq!(front(&outbox).len(), 2 * BATCH);
        outbox.advance(2 * BATCH);
        outbox.advance(1);
        assert_eq!(outbox.len(), 4 * BATCH - 1);
        outbox.clear();
        assert!(outbox.is_empty() && front(&outbox).is_empty());
    }
}
