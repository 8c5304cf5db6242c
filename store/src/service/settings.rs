//! What operators may change of the service.

use rmail_core::directory::Hosting;
use rmail_core::limiter::Rates;
use rmail_core::limits::Limits;

use super::check::CheckSettings;

/// Settings of the service; a reload replaces them for new sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our FQDN.
    pub hostname: String,
    /// `domains` and `postmaster`.
    pub hosting: Hosting,
    /// `relay.enabled`: our users may send to other domains.
    pub relay_enabled: bool,
    /// `smtp.max_message_size`, octets.
    pub max_message_size: u64,
    /// `delivery.max_queue_size`: entries of the outbound queue.
    pub max_queue_size: usize,
    /// `relay.retry_delays`: seconds between the attempts of a recipient.
    pub retry_delays: Vec<u64>,
    /// `delivery.history_days`: for so long it is known what became of messages; 0: nothing is written down.
    pub history_days: u64,
    /// `auth.pbkdf2_rounds`, for new hashes.
    pub pbkdf2_rounds: u32,
    /// `limits.*`: how much one address and one account may do.
    pub rates: Rates,
    /// Octets that stay free on the disk: with less, nothing is accepted.
    pub min_free: u64,
    /// Bounds of the store.
    pub limits: Limits,
    /// What is looked at of strangers.
    pub checks: CheckSettings,
    /// `greylist.*`; none: it is off.
    pub greylist: Option<rmail_core::greylist::Settings>,
}

impl Settings {
    /// Inodes that stay free on the disk.
    pub(super) const MIN_INODES: u64 = 16;
}

impl Default for Settings {
    /// The defaults of the configuration, with no domain hosted.
    fn default() -> Self {
        Self {
            hostname: "mail.example.com".to_owned(),
            hosting: Hosting::default(),
            relay_enabled: true,
            max_message_size: 52_428_800,
            max_queue_size: 10_000,
            retry_delays: vec![60, 300, 900, 1800, 3600, 14_400, 28_800, 86_400],
            history_days: 14,
            pbkdf2_rounds: 300_000,
            rates: Rates::default(),
            min_free: 1 << 20,
            limits: Limits::default(),
            checks: CheckSettings::default(),
            greylist: None,
        }
    }
}
