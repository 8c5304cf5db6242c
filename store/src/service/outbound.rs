//! The outbound queue as the rest of the service and the relay see it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmail_core::addr::{AccountName, Address, ForwardPath};
use rmail_core::chunk::Chunk;
use rmail_core::directory::Target;
use rmail_core::mailbox::{Quota, Usage};
use rmail_core::refusal::Refusal;
use rmail_core::relay::bounce::Notice;
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::relay::{Enhanced, Outcome, Report, bounce};
use rmail_core::smtp::envelope::{DsnRequest, Notify};
use rmail_core::time::{Mono, Now, Unix};

use super::{Service, Settings, lock, refused};
use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::MailStore;

/// Notifications to one address elsewhere within [`TOLD_WINDOW`].
const MAX_TOLD: usize = 60;

/// Octets of a message that are copied at once.
const PIECE: usize = 64 * 1024;

/// The window, and how many addresses are counted in it.
const TOLD_WINDOW: Duration = Duration::from_secs(3600);
const MAX_TOLD_ADDRESSES: usize = 10_000;

/// RFC 3461 §6.1: what a notification itself may ask for.
const NEVER: DsnRequest = DsnRequest {
    notify: Some(Notify {
        success: false,
        failure: false,
        delay: false,
    }),
    original: None,
};

type Listener = Arc<dyn Fn(Entry) + Send + Sync>;

/// Which entries there are, and who wants to hear of new ones.
#[derive(Default)]
pub(super) struct Outbound {
    ids: Mutex<BTreeSet<String>>,
    listener: Mutex<Option<Listener>>,
    /// When each address elsewhere was sent a notification lately.
    told: Mutex<BTreeMap<Address, VecDeque<Mono>>>,
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

    /// Counts a notification to an address elsewhere, unless it had too many lately.
    fn may_tell(&self, address: &Address, now: Now) -> bool {
        let old = |at: &Mono| now.mono - *at >= TOLD_WINDOW;
        let mut told = lock(&self.told);
        if told.len() >= MAX_TOLD_ADDRESSES {
            told.retain(|_, times| times.back().is_some_and(|last| !old(last)));
            if told.len() >= MAX_TOLD_ADDRESSES && !told.contains_key(address) {
                return false;
            }
        }
        let times = told.entry(address.clone()).or_default();
        while times.front().is_some_and(old) {
            times.pop_front();
        }
        let room = times.len() < MAX_TOLD;
        if room {
            times.push_back(now.mono);
        }
        room
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

    /// Puts the message of an entry into the INBOX of accounts, which were waiting for it in the queue: the outcomes, in
    /// their order. An account that is gone meanwhile, or disabled, does not get it; one that is full is tried again.
    pub async fn deliver_queued(&self, id: &str, accounts: &[Address], now: Now) -> Vec<Outcome> {
        let message = match self.open_outbound(id).await {
            Ok(message) => message,
            Err(error) => {
                let failed = refusal_outcome(refused(&format!("open message {id}"), error));
                return vec![failed; accounts.len()];
            }
        };
        let size = Usage::message(message.len());
        let mut outcomes = Vec::with_capacity(accounts.len());
        let mut here = Vec::new();
        for address in accounts {
            let account = address.canonical();
            let checked = match self.check_enabled(&account).await {
                Ok(()) => self.check_room(&account, size).await,
                Err(refusal) => Err(match (refusal, self.find(&account).await) {
                    (Refusal::AccountDisabled, Ok(None)) => Refusal::NoSuchUser,
                    (refusal, _) => refusal,
                }),
            };
            match checked {
                Ok(()) => {
                    outcomes.push(None);
                    here.push((account, Quota::UNLIMITED));
                }
                Err(refusal) => outcomes.push(Some(refusal_outcome(refusal))),
            }
        }
        let rest = match self.copy_to(&message, &here, now).await {
            Ok(()) => Outcome::Delivered(Report::ours(Enhanced(2, 1, 5), "delivered")),
            Err(error) => refusal_outcome(refused(&format!("deliver message {id}"), error)),
        };
        let known = |outcome: Option<Outcome>| outcome.unwrap_or_else(|| rest.clone());
        outcomes.into_iter().map(known).collect()
    }

    async fn copy_to(
        &self,
        message: &OutboundMessage<S>,
        accounts: &[(AccountName, Quota)],
        now: Now,
    ) -> Result<()> {
        if accounts.is_empty() {
            return Ok(());
        }
        let mut body = self.store.new_spool().await?;
        let mut at = 0;
        while at < message.len() {
            let chunk = message.read(at, PIECE).await?;
            if chunk.is_empty() {
                return Err(Refusal::Storage.into());
            }
            at += chunk.len() as u64;
            self.store.write_spool(&mut body, chunk).await?;
        }
        self.store.deliver(body, accounts, None, now.unix).await
    }

    /// Tells the sender of a message what became of it: into the INBOX of a local sender, whatever its quota, or
    /// through the queue with a null return path. `message` is what [`bounce::build`] made of the notice. `id` is its own
    /// id (letters and digits). Nothing is done for an empty sender, one that is no address, and a local one that does
    /// not exist (any more). An address elsewhere that gets very many has to wait for some of them, and is told no more
    /// of success for a while: a stranger may have given it as its own.
    ///
    /// # Errors
    /// It was not written, and has to be tried again.
    pub async fn deliver_bounce(
        &self,
        id: &str,
        notice: &Notice,
        message: &bounce::Message,
        now: Now,
    ) -> Result<()> {
        let (sender, offset) = (&notice.sender, message.offset);
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
        if !external.is_empty() && !self.outbound.may_tell(&address, now) {
            if !matches!(notice.kind, bounce::Kind::Failed | bounce::Kind::Delayed) {
                log::warn!("notification {id} for {address} is dropped: it got too many within the hour");
                return Ok(());
            }
            return Err(Refusal::TooManyAttempts.into());
        }
        let mut body = self.store.new_spool().await?;
        self.store
            .write_spool(&mut body, Chunk::copy_from(&message.bytes))
            .await?;
        let entry = (!external.is_empty()).then(|| Entry {
            id: id.to_owned(),
            sender: String::new(),
            account: None,
            arrived: now.unix.secs(),
            offset,
            size: message.bytes.len() as u64,
            eight_bit: message.eight_bit,
            hold_until: 0,
            wishes: notice.own_wishes(),
            recipients: external
                .iter()
                .map(|address| first_attempt(address, NEVER, now.unix))
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

/// What a refusal means for a recipient in the queue.
fn refusal_outcome(refusal: Refusal) -> Outcome {
    let (enhanced, text) = match refusal {
        Refusal::NoSuchUser => (Enhanced(5, 1, 1), "no such user"),
        Refusal::AccountDisabled => (Enhanced(5, 2, 1), "the mailbox is disabled"),
        Refusal::OverQuota | Refusal::MailboxFull => (Enhanced(4, 2, 2), "the mailbox is full"),
        Refusal::DiskFull => (Enhanced(4, 3, 1), "the disk is full"),
        _ => (Enhanced(4, 3, 0), "the mailbox cannot be written now"),
    };
    let report = Report::ours(enhanced, text);
    if enhanced.0 == 5 {
        Outcome::Permanent(report)
    } else {
        Outcome::Temporary(report)
    }
}

/// A recipient that was not tried yet.
pub(super) fn first_attempt(address: &Address, request: DsnRequest, due: Unix) -> Recipient {
    Recipient {
        address: address.to_string(),
        attempts: 0,
        next: due.secs(),
        last: None,
        delay_told: false,
        dsn: request,
        local: false,
        done: None,
        expanded: false,
    }
}

impl<S: MailStore> core::fmt::Debug for OutboundMessage<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "OutboundMessage({} octets)", self.len())
    }
}
