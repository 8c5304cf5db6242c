//! The service of a sending session: it reads the message.

use rmail_core::auth::password::salted;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::sasl::client::NONCE;
use rmail_core::smtp::client::{Call, Reply};
use rmail_core::time::Now;
use rmail_store::error::Result;
use rmail_store::hub::Wake;
use rmail_store::mailstore::MailStore;
use rmail_store::service::{Answer, OutboundMessage, Pool, Serve};

use crate::entropy;

/// An open message of the queue.
#[derive(Debug)]
pub(super) struct Reader<S: MailStore>(pub(super) OutboundMessage<S>);

impl<S: MailStore> Serve for Reader<S> {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, _: Now, call: Call) -> Answer<Call, Reply> {
        match call {
            Call::Nonce => Answer::Now(Reply::Nonce(nonce())),
            Call::Read { .. } => Answer::Later(Pool::Read, call),
            Call::Salt { .. } => Answer::Later(Pool::Password, call),
        }
    }

    async fn run(&self, _: Now, call: Call) -> Reply {
        let (offset, max) = match call {
            Call::Read { offset, max } => (offset, max),
            Call::Salt {
                password,
                salt,
                rounds,
            } => return Reply::Salted(salted(&password, &salt, rounds)),
            Call::Nonce => return Reply::Nonce(nonce()),
        };
        let read = self.0.read(offset, max).await;
        Reply::Read(read.map_err(|error| {
            log::error!(target: "relay", "event=read_failed error={:?}", error.to_string());
            error.refusal
        }))
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

fn nonce() -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    entropy::random().fill(&mut nonce);
    nonce
}
