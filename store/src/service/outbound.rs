//! The outbound queue as the rest of the service and the relay see it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rmail_core::addr::{Address, ForwardPath};
use rmail_core::chunk::Chunk;
use rmail_core::directory::Target;
use rmail_core::mailbox::Quota;
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::smtp::envelope::{DsnRequest, Wishes};
use rmail_core::time::Now;

use super::{Service, Settings, lock};
use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::MailStore;

type Listener = Arc<dyn Fn(Entry) + Send + Sync>;

/// Which entries there are, and who wants to hear of new ones.
#[derive(Default)]
pub(super) struct Outbound {
    ids: Mutex<BTreeSet<String>>,
    listener: Mutex<Option<Listener>>,
}

/// A place in the queue; dropping it gives it back.
pub(super) struct Place<'a> {
    outbound: &'a Outbound,
    id: Option<String>,
}

impl Outbound {
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        lock(&self.ids).len() >= settings.max_queue_size
    }

    /// Takes a place before the entry is written.
    pub(super) fn reserve(&self, settings: &Settings, id: &str) -> core::result::Result<Place<'_>, Refusal> {
        let mut ids = lock(&self.ids);
        if ids.len() >= settings.max_queue_size {
            return Err(Refusal::QueueFull);
        }
        ids.insert(id.to_owned());
        Ok(Place {
            outbound: self,
            id: Some(id.to_owned()),
        })
    }

    /// Tells the relay of a new entry.
    pub(super) fn tell(&self, entry: Entry) {
        let listener = lock(&self.listener).clone();
        if let Some(listener) = listener {
            listener(entry);
        }
    }
}

impl Place<'_> {
    /// The entry is on disk.
    pub(super) fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            lock(&self.outbound.ids).remove(id);
        }
    }
}

/// The message of an entry, open for reading.
pub struct OutboundMessage<S: MailStore> {
    store: Arc<S>,
    blob: S::Blob,
}

impl<S: MailStore> OutboundMessage<S> {
    /// Octets of the stored file, what is not sent ([`Entry::offset`]) included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.store.blob_len(&self.blob)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads up to `max` octets of the stored file; empty at its end.
    ///
    /// # Errors
    /// The read failed.
    pub async fn read(&self, offset: u64, max: usize) -> Result<Chunk> {
        let mut buf = vec![0; max];
        let read = self.store.read(&self.blob, &mut buf, offset).await?;
        buf.truncate(read);
        Ok(Chunk::from(buf))
    }
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Who is told of every new entry, once it is on disk: the relay. The listener must not block.
    pub fn set_outbound_listener(&self, listener: Arc<dyn Fn(Entry) + Send + Sync>) {
        *lock(&self.outbound.listener) = Some(listener);
    }

    /// All entries of the queue, at the start. The listener is not told of them.
    ///
    /// # Errors
    /// The queue could not be read.
    pub async fn load_outbound(&self) -> Result<Vec<Entry>> {
        let entries = self.store.load_outbound().await?;
        lock(&self.outbound.ids).extend(entries.iter().map(|entry| entry.id.clone()));
        Ok(entries)
    }

    /// The entries of processes that have died since: they are ours from now on. The listener is not told of them.
    ///
    /// # Errors
    /// The queue could not be read; what is left is found by the next call.
    pub async fn adopt_outbound(&self) -> Result<Vec<Entry>> {
        let entries = self.store.adopt_outbound().await?;
        lock(&self.outbound.ids).extend(entries.iter().map(|entry| entry.id.clone()));
        Ok(entries)
    }

    /// Replaces an entry, durably.
    ///
    /// # Errors
    /// It was not written; the old one holds.
    pub async fn save_outbound(&self, entry: &Entry) -> Result<()> {
        self.store.save_outbound(entry).await
    }

    /// Removes an entry and its message.
    ///
    /// # Errors
    /// It is there still.
    pub async fn remove_outbound(&self, id: &str) -> Result<()> {
        self.store.remove_outbound(id).await?;
        lock(&self.outbound.ids).remove(id);
        Ok(())
    }

    /// Opens the message of an entry.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_outbound(&self, id: &str) -> Result<OutboundMessage<S>> {
        Ok(OutboundMessage {
            blob: self.store.open_outbound(id).await?,
            store: Arc::clone(&self.store),
        })
    }

    /// Tells the sender of a message what became of it: into the INBOX of a local sender, whatever its quota, or
    /// through the queue with a null return path. `message` is the whole notification; its first `offset` octets
    /// (Return-Path) are not sent to other servers. `id` is its own id (letters and digits). Nothing is done for an
    /// empty sender, one that is no address, and a local one that does not exist (any more).
    ///
    /// # Errors
    /// It was not written, and has to be tried again.
    pub async fn deliver_bounce(
        &self,
        id: &str,
        sender: &str,
        message: &[u8],
        offset: u64,
        now: Now,
    ) -> Result<()> {
        let Some(address) = Address::parse(sender) else {
            return Ok(());
        };
        let settings = self.settings();
        let resolved = match self
            .resolve(&settings, &ForwardPath::Address(address.clone()))
            .await
        {
            Ok(resolved) => resolved,
            Err(refusal) if refusal.is_temporary() => return Err(refusal.into()),
            Err(refusal) => {
                log::warn!("notification {id} for {address} is dropped: {refusal:?}");
                return Ok(());
            }
        };
        let (mut accounts, mut external) = (Vec::new(), Vec::new());
        for target in resolved.targets {
            match target {
                Target::Account(account) => accounts.push((account, Quota::UNLIMITED)),
                Target::External(address) => external.push(address),
            }
        }
        let mut body = self.store.new_spool().await?;
        self.store
            .write_spool(&mut body, Chunk::copy_from(message))
            .await?;
        let entry = (!external.is_empty()).then(|| Entry {
            id: id.to_owned(),
            sender: String::new(),
            account: None,
            arrived: now.unix.secs(),
            offset,
            size: message.len() as u64,
            eight_bit: !message.is_ascii(),
            wishes: Wishes::default(),
            recipients: external
                .iter()
                .map(|address| first_attempt(address, DsnRequest::default(), now))
                .collect(),
        });
        self.store
            .deliver(body, &accounts, entry.as_ref(), now.unix)
            .await?;
        if let Some(entry) = entry {
            // Notifications are not refused for a full queue: they take a place beyond it.
            lock(&self.outbound.ids).insert(entry.id.clone());
            self.outbound.tell(entry);
        }
        Ok(())
    }
}

/// A recipient that is due now.
pub(super) fn first_attempt(address: &Address, request: DsnRequest, now: Now) -> Recipient {
    Recipient {
        address: address.to_string(),
        attempts: 0,
        next: now.unix.secs(),
        last: None,
        delay_told: false,
        dsn: request,
    }
}

impl<S: MailStore> core::fmt::Debug for OutboundMessage<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "OutboundMessage({} octets)", self.len())
    }
}
