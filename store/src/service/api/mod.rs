//! The service as one connection of the HTTP API sees it. Each part of [`rmail_core::api`] is answered in the file of its name.

use std::sync::Arc;

use rmail_core::api::{Access, Ask, Call, Failure, Reply};
use rmail_core::chunk::Chunk;
use rmail_core::directory;
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::note::Note;
use rmail_core::peer::Peer;
use rmail_core::time::Now;

use super::limits::Tries;
use super::session::Desk;
use super::{Answer, Pool, Serve, Service, Settings};
use crate::disk::Disk;
use crate::error::Result;
use crate::hub::Wake;
use crate::mailstore::MailStore;

/// Answers the calls of one connection of the API.
pub struct ApiService<S: MailStore, D: Disk> {
    service: Arc<Service<S, D>>,
    settings: Arc<Settings>,
    /// Where the connection comes from.
    peer: Peer,
    tries: Tries,
    desk: Desk<S>,
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    pub(super) fn new(service: Arc<Service<S, D>>, peer: Peer) -> Self {
        Self {
            peer,
            tries: Tries::new(peer, "api"),
            settings: service.settings(),
            desk: Desk::new(Arc::clone(&service.store)),
            service,
        }
    }

    /// Whether the caller may ask this.
    async fn permitted(&self, now: Now, call: &Call) -> core::result::Result<(), Failure> {
        let unauthorized = || Failure::new(401, "The token is missing, or does not hold any more");
        if call.access == Access::Anybody {
            return Ok(());
        }
        let caller = call.caller.as_ref().ok_or_else(unauthorized)?;
        let holds = self
            .service
            .recheck(now, directory::Access::Api, &caller.account, caller.epoch);
        if !holds.await {
            return Err(unauthorized());
        }
        Ok(())
    }

    /// Answers a call that is permitted.
    async fn perform(&self, _now: Now, call: Call) -> Reply {
        match call.ask {
            Ask::Session(ask) => match ask {},
            Ask::Mail(ask) => match ask {},
            Ask::Send(ask) => match ask {},
            Ask::Admin(ask) => match ask {},
            Ask::State(ask) => match ask {},
        }
    }
}

impl<S: MailStore, D: Disk> Serve for ApiService<S, D> {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, _now: Now, call: Call) -> Answer<Call, Reply> {
        Answer::Later(Pool::Read, call)
    }

    async fn run(&self, now: Now, call: Call) -> Reply {
        self.service.accounts.tick(now);
        self.permitted(now, &call).await?;
        self.perform(now, call).await
    }

    fn spool_now(&self, spool: SpoolId, chunk: Chunk) -> core::result::Result<(), Chunk> {
        self.desk.spool_now(spool, chunk)
    }

    async fn spool(&self, spool: SpoolId, chunk: Chunk) {
        self.desk.spool(spool, chunk).await;
    }

    async fn read_blob(&self, blob: BlobId, offset: u64, max: usize) -> Result<Chunk> {
        self.desk.read_blob(blob, offset, max).await
    }

    fn close_blob(&self, blob: BlobId) {
        self.desk.close_blob(blob);
    }

    fn watch(&self, watch: WatchId, scope: Scope, seen: ModSeq, wake: Wake) {
        self.desk.watch(&self.service, watch, scope, seen, wake);
    }

    fn unwatch(&self, watch: WatchId) {
        self.desk.unwatch(watch);
    }

    fn note(&self, now: Now, note: &Note) {
        self.service.noted(&self.settings, now, &self.tries, note);
    }
}

impl<S: MailStore, D: Disk> core::fmt::Debug for ApiService<S, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ApiService")
            .field("peer", &self.peer)
            .field("desk", &self.desk)
            .finish_non_exhaustive()
    }
}
