//! What a session does that must be finished before its machine is asked for more.

use std::future::Future as _;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, Bytes};
use rmail_store::service::{Pool, Serve, Waiting};

use super::outbox::Outbox;
use crate::io::Handshake;
use crate::pools::{Panicked, Pending, Pools};

/// Octets of a blob read in one job. Two of them fit below the bound of unwritten output: one is written while the
/// next is read.
const PIECE: u64 = 128 * 1024;

/// At most one of these at a time.
pub(super) enum Work {
    /// Nothing: the machine is polled.
    Idle,
    /// Octets go into a spool, or it is looked what an account holds.
    Spool(Pending<()>),
    /// A stored body goes out.
    Blob(BlobOut),
    /// TLS begins once all is flushed. Nothing is read meanwhile.
    FlushForTls,
    /// Handshake, until the deadline.
    Handshake(Handshake, Instant),
    /// All is flushed, then our side is closed.
    Closing,
    /// Our side is closed; what the peer still sends is read and dropped, so that the system does not reset the
    /// connection and with it our last words.
    Linger(Instant, usize),
}

/// A call that is not answered yet.
pub(super) enum Asked<R> {
    /// A job of a pool.
    Job(Pending<R>),
    /// Others are waited for.
    Waiting(Waiting<R>),
}

impl<R> Asked<R> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, Panicked>> {
        match self {
            Self::Job(pending) => std::pin::Pin::new(pending).poll(cx),
            Self::Waiting(waiting) => std::pin::Pin::new(waiting).poll(cx).map(Ok),
        }
    }
}

/// A range of a blob on its way out.
pub(super) struct BlobOut {
    blob: BlobId,
    next: u64,
    end: u64,
    read: Option<Pending<rmail_store::error::Result<Chunk>>>,
}

/// What a step of sending a blob came to.
pub(super) enum BlobStep {
    /// The range is in the outbox.
    Done,
    /// Octets were queued, or a read was begun.
    Moved,
    /// A read is under way, or the outbox is full enough.
    Waits,
}

impl BlobOut {
    pub(super) fn new(blob: BlobId, range: Range<u64>) -> Self {
        Self {
            blob,
            next: range.start,
            end: range.end.max(range.start),
            read: None,
        }
    }

    /// Queues what was read, reads on while there is room.
    ///
    /// # Errors
    /// The body cannot be read, or ends before what was promised: in words.
    pub(super) fn step<V: Serve>(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        room: usize,
        serve: &Arc<V>,
        pools: &Pools,
    ) -> Result<BlobStep, String> {
        if let Some(read) = &mut self.read {
            let Poll::Ready(result) = std::pin::Pin::new(read).poll(cx) else {
                return Ok(BlobStep::Waits);
            };
            self.read = None;
            let chunk = result
                .map_err(|panicked| panicked.to_string())?
                .map_err(|error| format!("a body cannot be read: {error}"))?;
            if chunk.is_empty() {
                return Err(format!("a body is {} octets short", self.end - self.next));
            }
            self.take(&chunk, out);
            return Ok(BlobStep::Moved);
        }
        if self.next >= self.end {
            close_at_end(self.blob, self.end, serve, pools);
            return Ok(BlobStep::Done);
        }
        if out.len() > room {
            return Ok(BlobStep::Waits);
        }
        let max = usize::try_from((self.end - self.next).min(PIECE)).unwrap_or(usize::MAX);
        // What the system has in memory is copied sooner than a thread is woken for it.
        let at_hand = serve.read_blob_now(self.blob, self.next, max);
        if let Some(chunk) = at_hand.filter(|chunk| !chunk.is_empty()) {
            self.take(&chunk, out);
            return Ok(BlobStep::Moved);
        }
        let (serve, blob, offset) = (Arc::clone(serve), self.blob, self.next);
        self.read = Some(pools.run(Pool::Read, move || {
            futures_lite::future::block_on(serve.read_blob(blob, offset, max))
        }));
        Ok(BlobStep::Moved)
    }
}

impl BlobOut {
    /// Queues octets, as far as they are of the range.
    fn take(&mut self, chunk: &Chunk, out: &mut Outbox) {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let chunk = chunk.slice(0..left);
        self.next += chunk.len() as u64;
        out.push(Bytes::Shared(chunk));
    }
}

/// Closes a blob if the range that was sent ends where it ends.
fn close_at_end<V: Serve>(blob: BlobId, end: u64, serve: &Arc<V>, pools: &Pools) {
    if serve
        .read_blob_now(blob, end, 1)
        .is_some_and(|beyond| !beyond.is_empty())
    {
        return;
    }
    // A file that was removed meanwhile is freed by this, which may take its time.
    let serve = Arc::clone(serve);
    pools.submit(Pool::Read, move || {
        let beyond = futures_lite::future::block_on(serve.read_blob(blob, end, 1));
        if !beyond.is_ok_and(|chunk| !chunk.is_empty()) {
            serve.close_blob(blob);
        }
    });
}
