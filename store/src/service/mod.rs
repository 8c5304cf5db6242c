//! Answers every call of the protocol machines: the same for the daemon, the simulator and the transcripts.
//!
//! A [`Service`] is one per process; [`SmtpService`] and [`ImapService`] are what one session sees of it: they keep the
//! session's spools, open messages and watches, and drop them with themselves.

mod api;
mod at_once;
mod binary;
mod bodies;
mod catenate;
mod check;
mod gists;
mod greylist;
mod hashing;
mod imap;
mod limits;
mod lmtp;
mod login;
mod lookalikes;
mod message;
mod operator;
mod outbound;
mod passwords;
mod places;
mod present;
mod recipients;
mod rights;
mod search;
mod sections;
mod serve;
mod session;
mod settings;
mod sharing;
mod smtp;
mod sort;
mod submit;
mod tls_files;
mod told;

pub use api::{ApiService, Listener, Probe, Seen};
pub use check::{Asking, CheckSettings, Lookup};
pub use imap::ImapService;
pub use outbound::OutboundMessage;
pub use serve::{Answer, Pool, Serve, Waiting};
pub use settings::Settings;
pub use smtp::SmtpService;
pub use tls_files::Sending;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rmail_core::addr::AccountName;
use rmail_core::dns::Name;
use rmail_core::mailbox::MailboxRef;
use rmail_core::peer::Peer;
use rmail_core::refusal::Refusal;
use rmail_core::time::Mono;

use crate::accounts::Accounts;
use crate::disk::Disk;
use crate::error::Error;
use crate::history::History;
use crate::hub::Hub;
use crate::mailstore::MailStore;
use crate::metrics::Metrics;
use gists::GistCache;
use greylist::Greylist;
use hashing::Hashing;
use limits::Limits;
use operator::Operator;
use outbound::Outbound;
use passwords::Passwords;

/// What answers the calls of all sessions of a process.
pub struct Service<S: MailStore, D: Disk> {
    store: Arc<S>,
    accounts: Accounts<D>,
    settings: Mutex<Arc<Settings>>,
    passwords: Passwords,
    hashing: Hashing,
    limits: Limits<D>,
    /// The secret of false salts, once it was needed.
    salts: OnceLock<[u8; 32]>,
    lookalikes: lookalikes::Known,
    room: at_once::Room,
    told: told::Told,
    outbound: Outbound,
    gists: GistCache,
    folders: api::FolderCache,
    /// Epochs of watched accounts when they were last looked at.
    epochs: Mutex<BTreeMap<AccountName, u64>>,
    /// The administrator who was found to get the postmaster's mail.
    admin: Mutex<Option<AccountName>>,
    /// Mailboxes that sessions had selected when they were cut off.
    abandoned: Mutex<Vec<MailboxRef>>,
    /// Who is asked for the DNS.
    lookup: OnceLock<Arc<dyn Lookup>>,
    /// Lists whose faults were told.
    told_lists: Mutex<BTreeSet<Name>>,
    greylist: Greylist<D>,
    operator: Operator<D>,
    history: History<D>,
    present: present::Present,
    /// Held while somebody may cease to be an administrator.
    admins: async_lock::Mutex<()>,
    metrics: Arc<Metrics>,
    /// Who knows the host.
    probe: OnceLock<Arc<dyn Probe>>,
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// A service over a store of mail and the accounts beside it.
    #[must_use]
    pub fn new(store: Arc<S>, accounts: Accounts<D>, settings: Settings) -> Arc<Self> {
        let seed = accounts.seed();
        let passwords = Passwords::new(seed);
        let limits = Limits::new(&seed, Arc::clone(accounts.disk()));
        let greylist = Greylist::new(Arc::clone(accounts.disk()));
        let history = History::new(Arc::clone(accounts.disk()));
        let metrics = Arc::<Metrics>::default();
        Arc::new(Self {
            store,
            accounts,
            settings: Mutex::new(Arc::new(settings)),
            passwords,
            hashing: Hashing::default(),
            limits,
            salts: OnceLock::new(),
            lookalikes: lookalikes::Known::default(),
            room: at_once::Room::default(),
            told: told::Told::default(),
            outbound: Outbound::default(),
            folders: api::FolderCache::default(),
            gists: GistCache::new(Arc::clone(&metrics)),
            epochs: Mutex::default(),
            admin: Mutex::default(),
            abandoned: Mutex::default(),
            lookup: OnceLock::new(),
            told_lists: Mutex::default(),
            greylist,
            operator: Operator::default(),
            history,
            present: present::Present::default(),
            admins: async_lock::Mutex::default(),
            metrics,
            probe: OnceLock::new(),
        })
    }

    /// What one SMTP session sees. It keeps the settings of now.
    #[must_use]
    pub fn smtp_session(self: &Arc<Self>, peer: Peer) -> SmtpService<S, D> {
        SmtpService::new(Arc::clone(self), peer)
    }

    /// What one IMAP session sees. It keeps the settings of now.
    #[must_use]
    pub fn imap_session(self: &Arc<Self>, peer: Peer) -> ImapService<S, D> {
        ImapService::new(Arc::clone(self), peer)
    }

    /// What one connection of the HTTP API sees. It keeps the settings of now.
    #[must_use]
    pub fn api_session(self: &Arc<Self>, peer: Peer) -> ApiService<S, D> {
        ApiService::new(Arc::clone(self), peer)
    }

    /// The same as [`Service::imap_session`] for an account that has proved otherwise who it is.
    #[must_use]
    pub fn imap_session_of(self: &Arc<Self>, account: &AccountName) -> ImapService<S, D> {
        let session = self.imap_session(Peer::LOCAL);
        *lock(&session.who) = Some(account.clone());
        session
    }

    /// Sessions that had these selected were cut off.
    fn abandon(&self, mailboxes: Vec<MailboxRef>) {
        lock(&self.abandoned).extend(mailboxes);
    }

    /// Leaves what sessions that were cut off had selected, at the next call of any session: to leave a mailbox may write
    /// its cache, which is nothing for the thread on which a session is dropped.
    async fn leave_abandoned(&self) {
        let mailboxes = core::mem::take(&mut *lock(&self.abandoned));
        for mailbox in &mailboxes {
            self.store.unselect(mailbox).await;
        }
    }

    /// The settings for new sessions.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.settings))
    }

    /// After a reload: new sessions get these; running ones keep theirs.
    pub fn set_settings(&self, settings: Settings) {
        *lock(&self.settings) = Arc::new(settings);
    }

    /// The store of mail.
    #[must_use]
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// The figures of this process.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Who is asked how the host is; the first counts.
    pub fn set_probe(&self, probe: Arc<dyn Probe>) {
        let _ = self.probe.set(probe);
    }

    /// The accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts<D> {
        &self.accounts
    }

    /// Where changes are announced.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        self.store.hub()
    }

    /// [`Refusal::DiskFull`] when there is less room than the settings want. Given the time, plenty is remembered.
    async fn check_free(&self, settings: &Settings, now: Option<Mono>, size: u64) -> Result<(), Refusal> {
        let free = self.store.free().await;
        if let (Ok(Some(free)), Some(now)) = (&free, now) {
            self.room.saw(now, settings, *free);
        }
        match free {
            Ok(Some(free))
                if free.bytes < settings.min_free.saturating_add(size)
                    || free.inodes < Settings::MIN_INODES =>
            {
                log::error!(
                    "disk full: {} octets and {} inodes are free",
                    free.bytes,
                    free.inodes
                );
                Err(Refusal::DiskFull)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(refused("look for free space", error)),
        }
    }
}

impl<S: MailStore, D: Disk> core::fmt::Debug for Service<S, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Service")
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

/// The policy word of an error, after it was logged. Plain refusals are no faults and are not logged.
fn refused(what: &str, error: Error) -> Refusal {
    let plain = error.context.is_empty() && error.source.is_none();
    match error.refusal {
        _ if plain => {}
        Refusal::Busy | Refusal::Unavailable => log::warn!("{what}: {error}"),
        _ => log::error!("{what}: {error}"),
    }
    error.refusal
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
