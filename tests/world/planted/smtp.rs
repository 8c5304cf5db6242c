//! The service as an SMTP session sees it, as it is or with a bug in it.

use std::sync::Arc;

use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::note::Note;
use rmail_core::smtp::server::{Call, Reply};
use rmail_core::time::Now;
use rmail_store::error::Result as StoreResult;
use rmail_store::hub::Wake;
use rmail_store::service::{Answer, Serve, SmtpService};

use super::Bug;
use super::disk::WorldDisk;
use crate::channel::Channel;
use crate::site::Store;

/// The service of one session.
#[derive(Clone)]
pub struct Smtp(Arc<Inner>);

struct Inner {
    service: SmtpService<Store, WorldDisk>,
    bug: Option<Bug>,
    /// What was answered and is still to be done.
    late: Channel<(Now, Call)>,
}

impl Smtp {
    pub fn new(service: SmtpService<Store, WorldDisk>, bug: Option<Bug>) -> Self {
        Self(Arc::new(Inner {
            service,
            bug,
            late: Channel::default(),
        }))
    }

    /// Does what was answered before it was done.
    pub async fn follow(self) {
        loop {
            let (now, call) = self.0.late.next().await;
            let _ = self.0.service.run(now, call).await;
        }
    }
}

impl Serve for Smtp {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, now: Now, mut call: Call) -> Answer<Call, Reply> {
        if let Call::Commit { envelope, .. } = &mut call {
            match self.0.bug {
                Some(Bug::EarlyReply) => {
                    self.0.late.push((now, call));
                    return Answer::Now(Reply::Committed(Ok(())));
                }
                Some(Bug::RecipientForgotten) if envelope.recipients.len() > 1 => {
                    envelope.recipients.pop();
                }
                _ => {}
            }
        }
        self.0.service.answer(now, call)
    }

    async fn run(&self, now: Now, call: Call) -> Reply {
        match self.0.service.run(now, call).await {
            Reply::Committed(Err(_)) if self.0.bug == Some(Bug::RefusalIgnored) => Reply::Committed(Ok(())),
            reply => reply,
        }
    }

    fn spool_now(&self, spool: SpoolId, chunk: Chunk) -> Result<(), Chunk> {
        self.0.service.spool_now(spool, chunk)
    }

    async fn spool(&self, spool: SpoolId, chunk: Chunk) {
        self.0.service.spool(spool, chunk).await;
    }

    async fn read_blob(&self, blob: BlobId, offset: u64, max: usize) -> StoreResult<Chunk> {
        self.0.service.read_blob(blob, offset, max).await
    }

    fn close_blob(&self, blob: BlobId) {
        self.0.service.close_blob(blob);
    }

    fn watch(&self, watch: WatchId, scope: Scope, seen: ModSeq, wake: Wake) {
        self.0.service.watch(watch, scope, seen, wake);
    }

    fn unwatch(&self, watch: WatchId) {
        self.0.service.unwatch(watch);
    }

    fn note(&self, now: Now, note: &Note) {
        self.0.service.note(now, note);
    }
}
