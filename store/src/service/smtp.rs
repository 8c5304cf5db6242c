//! The service as one SMTP session sees it.

use core::future::Future;
use std::sync::Arc;

use rmail_core::chunk::Chunk;
use rmail_core::directory::Access;
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::note::Note;
use rmail_core::peer::Peer;
use rmail_core::smtp::server::{Call, Reply};
use rmail_core::time::Now;

use super::limits::Tries;
use super::present::Session;
use super::session::Desk;
use super::{Answer, Pool, Serve, Service, Settings, Waiting};
use crate::disk::Disk;
use crate::error::Result;
use crate::file::io::once;
use crate::hub::Wake;
use crate::mailstore::MailStore;
use crate::metrics::Operation;

/// Answers the calls of one SMTP session.
pub struct SmtpService<S: MailStore, D: Disk> {
    service: Arc<Service<S, D>>,
    settings: Arc<Settings>,
    /// Where the session comes from.
    peer: Peer,
    tries: Tries,
    desk: Desk<S>,
    _present: Session,
}

impl<S: MailStore, D: Disk> SmtpService<S, D> {
    pub(super) fn new(service: Arc<Service<S, D>>, peer: Peer) -> Self {
        Self {
            _present: service.present.smtp.enter(),
            peer,
            tries: Tries::new(peer, "smtp"),
            settings: service.settings(),
            desk: Desk::new(Arc::clone(&service.store)),
            service,
        }
    }

    /// What is known of the peer.
    fn check(&self) -> impl Future<Output = Reply> + Send + 'static {
        let (service, settings, address) = (
            Arc::clone(&self.service),
            Arc::clone(&self.settings),
            self.peer.address,
        );
        async move { Reply::Checked(service.check(&settings.checks, address).await) }
    }
}

impl<S: MailStore, D: Disk> Serve for SmtpService<S, D> {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, now: Now, call: Call) -> Answer<Call, Reply> {
        let pool = match &call {
            Call::Authenticate { login, .. }
                if self.service.holds_back(&self.settings, now, &self.tries, login) =>
            {
                Pool::Read
            }
            Call::Authenticate { login, password } => {
                let pool = self
                    .service
                    .login_pool(&self.settings, now, &self.desk, login, password);
                match pool {
                    Ok(pool) => pool,
                    Err(refusal) => return Answer::Now(Reply::Authenticated(Err(refusal))),
                }
            }
            Call::Discard { spool } => {
                self.desk.discard(*spool);
                return Answer::Now(Reply::Discarded);
            }
            Call::Check => return Answer::Wait(Waiting::new(self.check())),
            Call::Sender { account, path, .. } => {
                let (service, settings) = (&self.service, &self.settings);
                match service.sender_now(settings, now, self.peer, account.as_ref(), path) {
                    Some(result) => return Answer::Now(Reply::Sender(result)),
                    None => Pool::Read,
                }
            }
            Call::Open { spool } if self.service.room.is_plenty(now.mono) => {
                match once(self.desk.open_spool(*spool, 0)) {
                    Some(result) => return Answer::Now(Reply::Opened(result)),
                    None => Pool::Read,
                }
            }
            // Greylisting syncs what is new.
            Call::Recipient { account: None, .. } if self.settings.greylist.is_some() => Pool::Sync,
            Call::Recipient {
                account, path, size, ..
            } => {
                self.service.accounts.tick(now);
                let (service, settings) = (&self.service, &self.settings);
                match service.recipient_now(settings, account.as_ref(), path, *size) {
                    Some(result) => return Answer::Now(Reply::Recipient(result)),
                    None => Pool::Read,
                }
            }
            Call::Priority { .. }
            | Call::Open { .. }
            | Call::Recheck { .. }
            | Call::ScramStart { .. }
            | Call::ScramDone { .. } => Pool::Read,
            Call::Commit { .. } | Call::CommitEach { .. } => Pool::Sync,
        };
        Answer::Later(pool, call)
    }

    async fn run(&self, now: Now, call: Call) -> Reply {
        self.service.accounts.tick(now);
        let (service, settings) = (&*self.service, &*self.settings);
        match call {
            Call::Authenticate { login, password } => {
                let _place = self.desk.take_place();
                let checked = service.authenticate(settings, now, Access::Smtp, &login, &password);
                let tried = (login.as_str(), &password);
                let within = service.login_within(settings, now, &self.tries, tried, checked);
                Reply::Authenticated(within.await)
            }
            Call::Sender {
                account,
                path,
                trusted,
            } => {
                let checked = service.sender(settings, now.mono, account.as_ref(), &path, trusted);
                Reply::Sender(service.message_within(settings, now, self.peer, checked).await)
            }
            Call::Priority { account, wanted } => Reply::Priority(service.priority(&account, wanted).await),
            Call::Check => self.check().await,
            Call::Recipient {
                account,
                path,
                size,
                sender,
            } => {
                let account = account.as_ref();
                let checked = service.recipient(settings, account, &path, size);
                let within = service.recipient_within(settings, now, self.peer, account, checked);
                let mut result = within.await;
                if result.is_ok() && account.is_none() {
                    let greylisted = service.greylisted(settings, now.unix, self.peer, &sender, &path);
                    result = greylisted.await.and(result);
                }
                Reply::Recipient(result)
            }
            Call::Open { spool } => {
                Reply::Opened(match service.check_free(settings, Some(now.mono), 0).await {
                    Ok(()) => self.desk.open_spool(spool, 0).await,
                    refused => refused,
                })
            }
            Call::Commit { spool, envelope } => Reply::Committed(match self.desk.take_spool(spool) {
                Ok(body) => service.submit(settings, now, body, &envelope).await,
                Err(refusal) => Err(refusal),
            }),
            Call::CommitEach { spool, envelope } => Reply::CommittedEach(match self.desk.take_spool(spool) {
                Ok(body) => service.submit_each(settings, now, body, &envelope).await,
                Err(refusal) => vec![Err(refusal); envelope.recipients.len()],
            }),
            Call::Discard { spool } => {
                self.desk.discard(spool);
                Reply::Discarded
            }
            Call::ScramStart { login } => {
                let started = service.scram_start(settings, now, Access::Smtp, &login);
                let within = service.scram_within(settings, now, &self.tries, &login, started);
                Reply::Scram(within.await)
            }
            Call::ScramDone { account, epoch } => {
                let checked = service.scram_done(now, Access::Smtp, account, epoch);
                let within = service.scram_done_within(settings, now, &self.tries, checked);
                Reply::Authenticated(within.await)
            }
            Call::Recheck { account, epoch } => {
                Reply::Recheck(service.recheck(now, Access::Smtp, &account, epoch).await)
            }
        }
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

    fn operation(&self, call: &Call) -> Operation {
        match call {
            Call::Authenticate { .. } | Call::ScramStart { .. } | Call::ScramDone { .. } => Operation::Login,
            Call::Sender { .. } => Operation::Sender,
            Call::Recipient { .. } => Operation::Recipient,
            Call::Commit { .. } | Call::CommitEach { .. } => Operation::Deliver,
            _ => Operation::Other,
        }
    }

    fn note(&self, now: Now, note: &Note) {
        self.service.noted(&self.settings, now, &self.tries, note);
    }
}

impl<S: MailStore, D: Disk> core::fmt::Debug for SmtpService<S, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SmtpService")
            .field("peer", &self.peer)
            .field("desk", &self.desk)
            .finish_non_exhaustive()
    }
}
