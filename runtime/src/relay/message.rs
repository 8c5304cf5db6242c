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
use rmail_store::error::Result;
use rmail_store::hub::Wake;
use rmail_store::mailstore::MailStore;
use rmail_store::service::{Answer, OutboundMessage, Pool, Serve, Waiting};

use super::hosts::Event;
use crate::entropy;

/// The messages of one connection, one after the other.
#[derive(Debug)]
pub(super) struct Reader<S: MailStore> {
    connection: ConnectionId,
    /// None between two messages: its file may be gone.
    current: Mutex<Option<Arc<OutboundMessage<S>>>>,
    events: Sender<Event<S>>,
}

impl<S: MailStore> Reader<S> {
    /// Begins with the first message.
    pub(super) fn new(
        connection: ConnectionId,
        message: Arc<OutboundMessage<S>>,
        events: Sender<Event<S>>,
    ) -> Self {
        Self {
            connection,
            current: Mutex::new(Some(message)),
            events,
        }
    }

    /// From now on the session reads this one.
    pub(super) fn set(&self, message: Arc<OutboundMessage<S>>) {
        *self.current() = Some(message);
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<OutboundMessage<S>>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next message; none when nobody is there who could give one.
    fn next(&self, outcome: Box<Outcome>) -> Waiting<Reply> {
        *self.current() = None;
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

impl<S: MailStore> Serve for Reader<S> {
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
        let message = self.current().clone();
        let Some(message) = message else {
            return Reply::Read(Ok(Chunk::default()));
        };
        Reply::Read(message.read(offset, max).await.map_err(|error| {
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
