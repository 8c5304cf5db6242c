//! The service of a protocol that asks nothing.

use rmail_core::chunk::Chunk;
use rmail_core::http::client::{Call, Reply};
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::time::Now;
use rmail_store::error::Result;
use rmail_store::hub::Wake;
use rmail_store::service::{Answer, Serve};

/// Answers nothing, keeps nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoService;

impl Serve for NoService {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, _: Now, call: Call) -> Answer<Call, Reply> {
        match call {}
    }

    async fn run(&self, _: Now, call: Call) -> Reply {
        match call {}
    }

    fn spool_now(&self, _: SpoolId, _: Chunk) -> core::result::Result<(), Chunk> {
        Ok(())
    }

    async fn spool(&self, _: SpoolId, _: Chunk) {}

    async fn read_blob(&self, _: BlobId, _: u64, _: usize) -> Result<Chunk> {
        Ok(Chunk::default())
    }

    fn close_blob(&self, _: BlobId) {}

    fn watch(&self, _: WatchId, _: Scope, _: ModSeq, _: Wake) {}

    fn unwatch(&self, _: WatchId) {}
}
