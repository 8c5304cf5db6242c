//! The service of a sending session: it reads the message, and stands between the session and the keeper of connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Sender;
use rmail_core::auth::password::salted;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::relay::hosts::{ConnectionId, Input};
use rmail_core::sasl::client::NONCE;
use rmail_core::smtp::client::{Call, Job, Outcome, Reply};
use rmail_core::time::Now;
use rmail_store::disk::Disk;
use rmail_store::error::Result;
use rmail_store::hub::Wake;
use rmail_store::mailstore::MailStore;
use rmail_store::service::{Answer, OutboundMessage, Pool, Serve, Service, Waiting};

use super::hosts::Event;
use crate::entropy;

/// The messages of one connection, one after the other.
#[derive(Debug)]
pub(super) struct Reader<S: MailStore, D: Disk> {
    connection: ConnectionId,
    service: Arc<Service<S, D>>,
    current: Mutex<Current<S>>,
    events: Sender<Event>,
}

/// The message that is being sent. It is opened when its octets are asked for: an attempt that does not come so far, as
/// those at a host that does not answer, touches no file.
#[derive(Debug)]
struct Current<S: MailStore> {
    entry: Arc<str>,
    /// None between two messages: the file may be gone.
    open: Option<Arc<OutboundMessage<S>>>,
}

impl<S: MailStore, D: Disk> Reader<S, D> {
    /// Begins with the message of this entry.
    pub(super) fn new(
        connection: ConnectionId,
        service: Arc<Service<S, D>>,
        entry: Arc<str>,
        events: Sender<Event>,
    ) -> Self {
        Self {
            connection,
            service,
            current: Mutex::new(Current { entry, open: None }),
            events,
        }
    }

    /// From now on the session reads this one.
    pub(super) fn set(&self, entry: Arc<str>) {
        *self.current() = Current { entry, open: None };
    }

    fn current(&self) -> MutexGuard<'_, Current<S>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, offset: u64, max: usize) -> Result<Chunk> {
        let (entry, open) = {
            let current = self.current();
            (Arc::clone(&current.entry), current.open.clone())
        };
        let message = match open {
            Some(message) => message,
            None => {
                let message = Arc::new(self.service.open_outbound(&entry).await?);
                self.current().open = Some(Arc::clone(&message));
                message
            }
        };
        message.read(offset, max).await
    }

    /// Waits for the next message; none when nobody is there who could give one.
    fn next(&self, outcome: Box<Outcome>) -> Waiting<Reply> {
        self.current().open = None;
        let (job, next) = async_channel::bounded::<Option<Box<Job>>>(1);
        let idle = Event::Idle {
            connection: self.connection,
            outcome,
            job,
        };
        let told = self.events.try_send(idle);
        Waiting::new(async move {
            if told.is_err() {
                return Reply::Next(None);
            }
            Reply::Next(next.recv().await.ok().flatten())
        })
    }
}

impl<S: MailStore, D: Disk> Serve for Reader<S, D> {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, _: Now, call: Call) -> Answer<Call, Reply> {
        match call {
            Call::Read { .. } => Answer::Later(Pool::Read, call),
            Call::Nonce => Answer::Now(Reply::Nonce(nonce())),
            Call::Salt { .. } => Answer::Later(Pool::Password, call),
            Call::Greeted => {
                // Nobody hears it: the session ends by itself.
                let greeted = Event::Told(Input::Greeted(self.connection));
                let _ = self.events.try_send(greeted);
                Answer::Now(Reply::Noted)
            }
            Call::Next { outcome } => Answer::Wait(self.next(outcome)),
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
            Call::Greeted | Call::Next { .. } => return Reply::Noted,
        };
        Reply::Read(self.read(offset, max).await.map_err(|error| {
            let entry = Arc::clone(&self.current().entry);
            log::error!(target: "relay", "event=read_failed id={entry} error={:?}", error.to_string());
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
