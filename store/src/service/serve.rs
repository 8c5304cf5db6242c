//! The contract between a session's host and the service.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::note::Note;
use rmail_core::time::Now;

use crate::error::Result;
use crate::hub::Wake;
use crate::metrics::Operation;

/// What the service says of a call at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<C, R> {
    /// Answered from memory, or by one cheap system call.
    Now(R),
    /// Needs more: run [`Serve::run`] with the call on this pool.
    Later(Pool, C),
    /// Other hosts are asked, which may take seconds of waiting and no work: no thread may wait for it.
    Wait(Waiting<R>),
}

/// A reply on its way.
pub struct Waiting<R>(Pin<Box<dyn Future<Output = R> + Send>>);

impl<R> Waiting<R> {
    /// What this comes to.
    #[must_use]
    pub fn new(reply: impl Future<Output = R> + Send + 'static) -> Self {
        Self(Box::pin(reply))
    }
}

impl<R> Future for Waiting<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        self.0.as_mut().poll(cx)
    }
}

/// Nobody knows what two of them come to: each is equal to itself.
impl<R> PartialEq for Waiting<R> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl<R> Eq for Waiting<R> {}

impl<R> fmt::Debug for Waiting<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

/// Where work runs, so that one kind cannot hold up another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Waits for the disk to sync.
    Sync,
    /// Reads.
    Read,
    /// Computes (searches).
    Cpu,
    /// Hashes a password: apart from other computing, so that searches cannot keep logins waiting.
    Password,
}

/// The service as one session sees it: it keeps the session's spools, blobs and watches, and drops them with itself.
#[expect(
    async_fn_in_trait,
    reason = "a call is run on one thread: futures need not be Send"
)]
pub trait Serve: Send + Sync + 'static {
    /// The session's calls.
    type Call: Send + 'static;
    /// Their replies.
    type Reply: Send + 'static;

    /// Answers at once, or says where it has to run. Never blocks.
    fn answer(&self, now: Now, call: Self::Call) -> Answer<Self::Call, Self::Reply>;

    /// Answers a call, however long it takes.
    async fn run(&self, now: Now, call: Self::Call) -> Self::Reply;

    /// Takes octets into a spool's memory, or gives them back because [`Serve::spool`] is needed. A spool that does not
    /// exist swallows them (its commit fails).
    fn spool_now(&self, spool: SpoolId, chunk: Chunk) -> core::result::Result<(), Chunk>;

    /// Appends octets to a spool. A failure is remembered and answers the commit.
    async fn spool(&self, spool: SpoolId, chunk: Chunk);

    /// Reads up to `max` octets of an open blob; empty at its end.
    ///
    /// # Errors
    /// The read failed: the host must close the connection, for the literal's length is promised already.
    async fn read_blob(&self, blob: BlobId, offset: u64, max: usize) -> Result<Chunk>;

    /// The same at once, if that waits for nothing. `None`: [`Serve::read_blob`] tells, and whether there is an error.
    fn read_blob_now(&self, _blob: BlobId, _offset: u64, _max: usize) -> Option<Chunk> {
        None
    }

    /// Closes a blob, if it is open.
    fn close_blob(&self, blob: BlobId);

    /// Begins a watch; `wake` is called at once if the scope is already past `seen`.
    fn watch(&self, watch: WatchId, scope: Scope, seen: ModSeq, wake: Wake);

    /// Ends a watch.
    fn unwatch(&self, watch: WatchId);

    /// Under which name the call is counted.
    fn operation(&self, _call: &Self::Call) -> Operation {
        Operation::Other
    }

    /// The session has noted something: some of it counts for limits. Never blocks. Nothing unless it is told otherwise.
    fn note(&self, _now: Now, _note: &Note) {}
}
