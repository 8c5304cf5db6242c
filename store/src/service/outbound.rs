//! The outbound queue as the rest of the service and the relay see it.

use std::collections::{BTreeMap, VecDeque};
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

use super::places::Places;
use super::submit::address_of;
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
    places: Mutex<Places>,
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
        lock(&self.places).is_full(settings)
    }

    /// Takes a place before the entry is written.
    pub(super) fn reserve(
        &self,
        settings: &Settings,
        entry: &Entry,
        now: Unix,
    ) -> core::result::Result<Place<'_>, Refusal> {
        let mut places = lock(&self.places);
        let full = match &entry.account {
            _ if entry.is_notice() => places.is_full_of_notices(settings),
            Some(account) if entry.hold_until > now.secs() => {
                places.is_full(settings) || places.is_full_of_held(settings, account)
            }
            _ => places.is_full(settings),
        };
        if full {
            return Err(Refusal::QueueFull);
        }
        places.insert(entry);
        Ok(Place {
            outbound: self,
            id: Some(entry.id.clone()),
        })
    }

    /// Whether an address elsewhere may get a notification: it had not too many lately. It is counted if it is sent.
    fn may_tell(&self, address: &Address, now: Now, sent: bool) -> bool {
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
        if room && sent {
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
            lock(&self.outbound.places).remove(id);
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
        let mut entries = self.store.load_outbound().await?;
        self.hold_as_asked(&self.asked().await, &mut entries).await;
        let mut places = lock(&self.outbound.places);
        entries.iter().for_each(|entry| places.insert(entry));
        Ok(entries)
    }

    /// The same, a part after the other as it is read, so that a long queue is not in memory twice.
    ///
    /// # Errors
    /// The queue could not be read. The parts that were given count for nothing then.
    pub async fn load_outbound_in_parts(&self, part: &mut dyn FnMut(Vec<Entry>)) -> Result<()> {
        let wanted = self.asked().await;
        let mut asked = Vec::new();
        let mut take = |entries: Vec<Entry>| {
            let mut places = lock(&self.outbound.places);
            entries.iter().for_each(|entry| places.insert(entry));
            drop(places);
            part(entries);
        };
        let mut sort = |mut entries: Vec<Entry>| {
            asked.extend(entries.extract_if(.., |entry| wanted.contains_key(&entry.id)));
            take(entries);
        };
        self.store.load_outbound_in_parts(&mut sort).await?;
        // These may have to be saved, which is possible only now.
        self.hold_as_asked(&wanted, &mut asked).await;
        take(asked);
        Ok(())
    }

    /// The entries of processes that have died since: they are ours from now on. The listener is not told of them.
    ///
    /// # Errors
    /// The queue could not be read; what is left is found by the next call.
    pub async fn adopt_outbound(&self) -> Result<Vec<Entry>> {
        let mut entries = self.store.adopt_outbound().await?;
        self.hold_as_asked(&self.asked().await, &mut entries).await;
        let mut places = lock(&self.outbound.places);
        entries.iter().for_each(|entry| places.insert(entry));
        Ok(entries)
    }

    /// Replaces an entry, durably.
    ///
    /// # Errors
    /// It was not written, or not surely: either the old one holds or already this.
    pub async fn save_outbound(&self, entry: &Entry) -> Result<()> {
        self.store.save_outbound(entry).await
    }

    /// Removes an entry and its message.
    ///
    /// # Errors
    /// It is there still.
    pub async fn remove_outbound(&self, id: &str) -> Result<()> {
        self.store.remove_outbound(id).await?;
        lock(&self.outbound.places).remove(id);
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

    /// Whether [`Service::check_release`] has something to look at. From memory.
    pub fn is_held(&self, id: &str) -> bool {
        lock(&self.outbound.places).held_by(id).is_some()
    }

    /// Whether a message that was held may go: its account may send still. Else the outcome for all its recipients. To be
    /// asked before an attempt; once it may go (or after another start of the program, once more) it is asked no more.
    pub async fn check_release(&self, id: &str) -> Option<Outcome> {
        let account = {
            let places = lock(&self.outbound.places);
            places.held_by(id)?
        };
        let checked = match address_of(&account) {
            Ok(address) => self.check_enabled(&address.canonical()).await,
            Err(_) => Err(Refusal::AccountDisabled),
        };
        match checked {
            Ok(()) => {
                lock(&self.outbound.places).release(id);
                None
            }
            Err(refusal) if refusal.is_temporary() => {
                let why = "the account that sent it cannot be read now";
                Some(Outcome::Temporary(Report::ours(Enhanced(4, 3, 0), why)))
            }
            Err(_) => {
                log::warn!("held message {id} is not released: account {account} is disabled or gone");
                let why = "the account that sent it is disabled or gone";
                Some(Outcome::Permanent(Report::ours(Enhanced(5, 7, 1), why)))
            }
        }
    }

    /// Puts the message of an entry into the INBOX of accounts, which were waiting for it in the queue: the outcomes, in
    /// their order. An account that is gone meanwhile, or disabled, does not get it; one that is full is tried again.
    pub async fn deliver_queued(&self, id: &str, accounts: &[Address], now: Now) -> Vec<Outcome> {
        if let Some(outcome) = self.check_release(id).await {
            return vec![outcome; accounts.len()];
        }
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
        let mut rest = self.deliver_to(id, &message, &here, now).await.into_iter();
        let mut known = |outcome: Option<Outcome>| {
            let one = outcome.or_else(|| rest.next());
            one.unwrap_or_else(|| refusal_outcome(Refusal::Storage))
        };
        outcomes.into_iter().map(&mut known).collect()
    }

    /// To all at once; if that fails, to each alone: what keeps one from it is not the outcome of the others.
    async fn deliver_to(
        &self,
        id: &str,
        message: &OutboundMessage<S>,
        accounts: &[(AccountName, Quota)],
        now: Now,
    ) -> Vec<Outcome> {
        let outcome = |result: Result<()>| match result {
            Ok(()) => Outcome::Delivered(Report::ours(Enhanced(2, 1, 5), "delivered")),
            Err(error) => refusal_outcome(refused(&format!("deliver message {id}"), error)),
        };
        let all = self.copy_to(message, accounts, now).await;
        if all.is_ok() || accounts.len() < 2 {
            return vec![outcome(all); accounts.len()];
        }
        let mut outcomes = Vec::with_capacity(accounts.len());
        for account in accounts {
            let one = self.copy_to(message, core::slice::from_ref(account), now).await;
            outcomes.push(outcome(one));
        }
        outcomes
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
    /// not exist (any more). An address elsewhere that gets very many has to wait for some of them, as all have while the
    /// queue has many notifications; a stranger, whose address may be made up, is not told of success then.
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
        let Some(Addressees { accounts, external }) = self.addressees(id, notice).await? else {
            return Ok(());
        };
        let entry = (!external.is_empty()).then(|| Entry {
            id: id.to_owned(),
            sender: String::new(),
            account: None,
            arrived: now.unix.secs(),
            offset: message.offset,
            size: message.bytes.len() as u64,
            eight_bit: message.eight_bit,
            hold_until: 0,
            held: false,
            wishes: notice.own_wishes(),
            recipients: external
                .iter()
                .map(|address| first_attempt(address, NEVER, now.unix))
                .collect(),
        });
        let place = match &entry {
            None => None,
            Some(entry) => match self.place_of_notice(entry, notice, now) {
                Ok(place) => Some(place),
                Err(refusal) => return waits(id, notice, refusal),
            },
        };
        let mut body = self.store.new_spool().await?;
        self.store
            .write_spool(&mut body, Chunk::copy_from(&message.bytes))
            .await?;
        self.store
            .deliver(body, &accounts, entry.as_ref(), now.unix)
            .await?;
        log::info!(target: "delivery", "event=notice id={} notice={id} kind={:?} to={:?}",
            notice.entry, notice.kind, notice.sender);
        let here = accounts.iter().map(|(account, _)| account.as_str());
        self.note_accepted(
            now.unix,
            id,
            ("", None),
            message.bytes.len() as u64,
            here,
            entry.as_ref(),
        );
        if let (Some(place), Some(entry)) = (place, entry) {
            place.keep();
            self.outbound.tell(entry);
        }
        Ok(())
    }

    /// Whether there is somebody to tell, before the notification is built: see [`Service::deliver_bounce`].
    ///
    /// # Errors
    /// It has to wait.
    pub async fn may_deliver_bounce(&self, id: &str, notice: &Notice, now: Now) -> Result<bool> {
        let Some(addressees) = self.addressees(id, notice).await? else {
            return Ok(false);
        };
        if addressees.external.is_empty() {
            return Ok(true);
        }
        let full = lock(&self.outbound.places).is_full_of_notices(&self.settings());
        let told = Address::parse(&notice.sender)
            .is_some_and(|address| !self.outbound.may_tell(&address, now, false));
        match (full, told) {
            (true, _) => waits(id, notice, Refusal::QueueFull).map(|()| false),
            (false, true) => waits(id, notice, Refusal::TooManyAttempts).map(|()| false),
            (false, false) => Ok(true),
        }
    }

    /// A place for a notification to addresses elsewhere, which counts as sent.
    fn place_of_notice(
        &self,
        entry: &Entry,
        notice: &Notice,
        now: Now,
    ) -> core::result::Result<Place<'_>, Refusal> {
        let place = self.outbound.reserve(&self.settings(), entry, now.unix)?;
        let address = Address::parse(&notice.sender);
        if address.is_some_and(|address| !self.outbound.may_tell(&address, now, true)) {
            return Err(Refusal::TooManyAttempts);
        }
        Ok(place)
    }

    /// Where the sender of a message reads its mail; none: nobody is told.
    async fn addressees(&self, id: &str, notice: &Notice) -> Result<Option<Addressees>> {
        let Some(address) = Address::parse(&notice.sender) else {
            return Ok(None);
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
                return Ok(None);
            }
        };
        let (mut accounts, mut external) = (Vec::new(), Vec::new());
        for target in resolved.targets {
            match target {
                Target::Account(account) => accounts.push((account, Quota::UNLIMITED)),
                Target::External(address) => external.push(address),
            }
        }
        Ok(Some(Addressees { accounts, external }))
    }
}

/// Who reads a notification.
struct Addressees {
    accounts: Vec<(AccountName, Quota)>,
    external: Vec<Address>,
}

/// A notification for which there is no room now waits, but for news of success to a stranger, who may have made up the
/// address: those are dropped.
fn waits(id: &str, notice: &Notice, refusal: Refusal) -> Result<()> {
    let success = !matches!(notice.kind, bounce::Kind::Failed | bounce::Kind::Delayed);
    if success && !notice.authenticated {
        log::warn!(
            "notification {id} for {:?} is dropped: {refusal:?}",
            notice.sender
        );
        return Ok(());
    }
    Err(refusal.into())
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
        failed: false,
        expanded: false,
    }
}

impl<S: MailStore> core::fmt::Debug for OutboundMessage<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "OutboundMessage({} octets)", self.len())
    }
}
