//! Octets that wait to be written.

use std::collections::VecDeque;
use std::io::IoSlice;

use rmail_core::machine::Bytes;

/// Slices of one vectored write.
const BATCH: usize = 32;
/// Small sends are joined up to this size: one TLS record.
const JOIN: usize = 16 * 1024;

/// A queue of buffers, written from the front.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    /// Octets of the first buffer that are written.
    head: usize,
    len: usize,
}

impl Outbox {
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
        self.len += new.len();
        if let Some(Bytes::Owned(last)) = self.queue.back_mut()
            && last.len() + new.len() <= JOIN
        {
            last.extend_from_slice(new);
            return;
        }
        self.queue.push_back(bytes);
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
        *self = Self::default();
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
