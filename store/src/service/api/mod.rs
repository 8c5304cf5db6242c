//! The service as one connection of the HTTP API sees it. Each part of [`rmail_core::api`] is answered in the file of its name.

mod admin;
mod mail;
mod send;
mod session;
mod state;

pub use state::{Listener, Probe, Seen};

pub(super) use mail::FolderCache;

use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::api::{self, Access, Ask, Call, Caller, Failure, Reply};
use rmail_core::chunk::Chunk;
use rmail_core::directory::{self, User};
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::note::Note;
use rmail_core::peer::Peer;
use rmail_core::time::Now;

use super::limits::Tries;
use super::present::Session;
use super::session::Desk;
use super::{Answer, Pool, Serve, Service, Settings, refused};
use crate::disk::Disk;
use crate::error::Result;
use crate::file::io::once;
use crate::hub::Wake;
use crate::mailstore::MailStore;
use crate::metrics::Operation;

/// Answers the calls of one connection of the API.
pub struct ApiService<S: MailStore, D: Disk> {
    service: Arc<Service<S, D>>,
    settings: Arc<Settings>,
    /// Where the connection comes from.
    peer: Peer,
    tries: Tries,
    desk: Desk<S>,
    /// Messages that are sent, on their way in.
    letters: send::Letters,
    _present: Session,
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    pub(super) fn new(service: Arc<Service<S, D>>, peer: Peer) -> Self {
        Self {
            peer,
            tries: Tries::new(peer, "api"),
            settings: service.settings(),
            desk: Desk::new(Arc::clone(&service.store)),
            letters: send::Letters::default(),
            _present: service.present.api.enter(),
            service,
        }
    }

    /// Whether the caller may ask this, and who it is. Where nobody need be somebody, a token that does not hold is as good
    /// as none.
    async fn permitted(&self, now: Now, call: &Call) -> core::result::Result<Who, Failure> {
        let found = self.find_caller(now, call.caller.as_ref()).await;
        match call.access {
            Access::Anybody => Ok(found.unwrap_or_default()),
            Access::User => found,
            Access::Admin | Access::Monitor => match found? {
                who if who.is_admin() => Ok(who),
                _ => Err(Failure::new(403, "Only administrators may do this")),
            },
        }
    }

    async fn find_caller(&self, now: Now, caller: Option<&Caller>) -> core::result::Result<Who, Failure> {
        let caller = caller.ok_or_else(|| Failure::new(401, "A token is needed"))?;
        let user = self.service.accounts.find_steadily(&caller.account).await;
        let user = user.map_err(|error| Failure::from(refused("look at a token", error)))?;
        let user = user.filter(|user| holds(user, caller, now));
        let user = user.ok_or_else(|| Failure::new(401, "The token does not hold any more"))?;
        Ok(Who {
            caller: Some(caller.clone()),
            user: Some(user),
        })
    }

    /// What is answered from memory and by one cheap system call, which looks whether the account's file is the same.
    /// Only where [`ApiService::may_be_now`] says so.
    fn at_once(&self, now: Now, call: &Call) -> Option<Reply> {
        let account = &call.caller.as_ref()?.account;
        if !self.service.accounts.is_kept(account) {
            return None;
        }
        let who = match once(self.permitted(now, call))? {
            Ok(who) => who,
            Err(failure) => return Some(Err(failure)),
        };
        self.now(now, &who, &call.ask)
    }

    /// Answers a call of a part that may have the answer at hand. None: it has not.
    fn now(&self, _now: Now, who: &Who, ask: &Ask) -> Option<Reply> {
        match ask {
            Ask::Mail(ask) => self.mail_now(who.account().ok()?, ask),
            Ask::Session(_) | Ask::Send(_) | Ask::Admin(_) | Ask::State(_) => None,
        }
    }

    /// Whether [`ApiService::now`] is worth asking.
    fn may_be_now(ask: &Ask) -> bool {
        match ask {
            Ask::Mail(ask) => mail::may_be_now(ask),
            Ask::Session(_) | Ask::Send(_) | Ask::Admin(_) | Ask::State(_) => false,
        }
    }

    /// Where a call is to run.
    fn pool(&self, now: Now, ask: &Ask) -> core::result::Result<Pool, Failure> {
        match ask {
            Ask::Session(ask) => self.session_pool(now, ask),
            Ask::Mail(ask) => Ok(mail::pool(ask)),
            Ask::Send(_) => Ok(Pool::Sync),
            Ask::Admin(ask) => Ok(admin::pool(ask)),
            // The store and the host are looked at.
            Ask::State(_) => Ok(Pool::Read),
        }
    }

    /// Answers a call that is permitted.
    async fn perform(&self, now: Now, who: Who, call: Call) -> Reply {
        match call.ask {
            Ask::Session(ask) => self.session(now, &who, ask).await,
            Ask::Mail(ask) => self.mail(now, who.account()?, ask).await,
            Ask::Send(ask) => self.send(now, who.account()?, ask).await.map(api::Answer::Send),
            Ask::Admin(ask) => self.admin(now, ask).await.map(api::Answer::Admin),
            Ask::State(ask) => {
                let answer = self.service.state(&self.settings, ask, who.is_admin()).await;
                Ok(api::Answer::State(answer))
            }
        }
    }
}

/// Who asks, as the account's file has it at this moment. Nobody where nobody need be somebody.
#[derive(Clone, Debug, Default)]
struct Who {
    caller: Option<Caller>,
    user: Option<Arc<User>>,
}

impl Who {
    /// Whether it is an administrator.
    fn is_admin(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.admin)
    }

    /// The account.
    ///
    /// # Errors
    /// 401: it is nobody.
    fn account(&self) -> core::result::Result<&AccountName, Failure> {
        let caller = self.caller.as_ref();
        caller
            .map(|caller| &caller.account)
            .ok_or_else(|| Failure::new(401, "A token is needed"))
    }
}

/// Whether a token that is good as far as it says itself still holds.
fn holds(user: &User, caller: &Caller, now: Now) -> bool {
    let secret = user.secret_of(caller.epoch, directory::Access::Api, now.unix);
    user.enabled && user.token_epoch == caller.tokens && secret.is_some()
}

impl<S: MailStore, D: Disk> Serve for ApiService<S, D> {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, now: Now, call: Call) -> Answer<Call, Reply> {
        self.service.accounts.tick(now);
        if Self::may_be_now(&call.ask)
            && let Some(reply) = self.at_once(now, &call)
        {
            return Answer::Now(reply);
        }
        match self.pool(now, &call.ask) {
            Ok(pool) => Answer::Later(pool, call),
            Err(failure) => Answer::Now(Err(failure)),
        }
    }

    async fn run(&self, now: Now, call: Call) -> Reply {
        self.service.accounts.tick(now);
        let who = self.permitted(now, &call).await?;
        self.perform(now, who, call).await
    }

    fn spool_now(&self, spool: SpoolId, chunk: Chunk) -> core::result::Result<(), Chunk> {
        match self.letters.has(spool) {
            true => Err(chunk),
            false => self.desk.spool_now(spool, chunk),
        }
    }

    async fn spool(&self, spool: SpoolId, chunk: Chunk) {
        match self.letters.has(spool) {
            true => self.spool_letter(spool, chunk).await,
            false => self.desk.spool(spool, chunk).await,
        }
    }

    async fn read_blob(&self, blob: BlobId, offset: u64, max: usize) -> Result<Chunk> {
        self.desk.read_blob(blob, offset, max).await
    }

    fn read_blob_now(&self, blob: BlobId, offset: u64, max: usize) -> Option<Chunk> {
        self.desk.read_blob_now(blob, offset, max)
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

    fn operation(&self, _call: &Call) -> Operation {
        Operation::Api
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
