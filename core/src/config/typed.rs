//! The configuration as types.

use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU16;
use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::network::Network;
use crate::acme::ChallengeKind;
use crate::addr::Domain;
use crate::greylist;
use crate::limiter::Rates;
use crate::relay::tls::policy::{Mode, Policy, pattern};
use crate::smtp::data::BareLf;
use crate::smtp::server::CheckPolicy;

/// A whole configuration. The meaning of each field is in [`super::keys::KEYS`] under the same name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Config {
    #[serde(deserialize_with = "hostname")]
    pub hostname: String,
    pub mail_root: String,
    #[serde(deserialize_with = "domains")]
    pub domains: Vec<Domain>,
    pub log_level: LogLevel,
    pub log: Log,
    pub pid_file: Option<String>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub postmaster: Option<String>,
    pub shutdown_grace: u64,
    pub smtp: Smtp,
    pub imap: Imap,
    pub exchange_api: Api,
    pub delivery: Delivery,
    pub relay: Relay,
    pub mta_sts: MtaSts,
    pub tls: Tls,
    pub acme: Acme,
    pub auth: Auth,
    pub limits: LimitsConfig,
    pub checks: ChecksConfig,
    pub greylist: GreylistConfig,
    pub lmtp: Lmtp,
    pub store: Store,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl LogLevel {
    /// Reads a name, whatever its case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Debug,
            Self::Info,
            Self::Warning,
            Self::Error,
            Self::Critical,
        ];
        all.into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(text))
    }

    /// `DEBUG`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// Whether a text can be the target of log lines: the path of a module, without `rmail_` before it.
#[must_use]
pub fn is_log_target(text: &str) -> bool {
    const MAX: usize = 64;
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
    text.len() <= MAX
        && text
            .split("::")
            .all(|part| !part.is_empty() && part.bytes().all(plain))
}

/// `log`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Log {
    pub format: LogFormat,
    pub file: Option<String>,
    pub journal: LogJournal,
    pub targets: BTreeMap<String, LogLevel>,
}

/// How lines of the log read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// When lines to standard error begin with a priority for the journal (sd-daemon(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogJournal {
    /// If JOURNAL_STREAM says that it is the journal.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// `smtp`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Smtp {
    #[serde(deserialize_with = "hosts")]
    pub host: Vec<IpAddr>,
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
    #[serde(deserialize_with = "port")]
    pub submission_port: Option<u16>,
    #[serde(deserialize_with = "port")]
    pub smtps_port: Option<u16>,
    pub max_recipients: usize,
    pub max_connections: usize,
    pub max_messages_per_connection: usize,
    pub max_message_size: u64,
    pub max_text_line: usize,
    pub bare_lf: BareLf,
    pub max_errors: usize,
    pub max_commands: usize,
    pub command_timeout: u64,
    pub data_timeout: u64,
    pub max_hold: u64,
    pub auth_on_25: bool,
}

/// `imap`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Imap {
    #[serde(deserialize_with = "hosts")]
    pub host: Vec<IpAddr>,
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
    #[serde(deserialize_with = "port")]
    pub imaps_port: Option<u16>,
    pub max_connections: usize,
    pub autologout: u64,
    pub login_timeout: u64,
    pub idle_keepalive: u64,
}

/// `exchange_api`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Api {
    #[serde(deserialize_with = "hosts")]
    pub host: Vec<IpAddr>,
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
    #[serde(deserialize_with = "port")]
    pub secure_port: Option<u16>,
    #[serde(deserialize_with = "port")]
    pub public_port: Option<u16>,
    #[serde(deserialize_with = "port")]
    pub public_secure_port: Option<u16>,
    pub max_connections: usize,
    pub token_secret: Option<SecretSource>,
    pub cors_origins: Vec<String>,
}

/// `delivery`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Delivery {
    pub workers: usize,
    pub max_queue_size: usize,
    pub history_days: u64,
}

/// `mta_sts`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct MtaSts {
    pub mode: Option<Mode>,
    pub mx: Vec<String>,
    pub max_age: u64,
}

impl MtaSts {
    /// The policy that other servers read of us.
    #[must_use]
    pub fn policy(&self, hostname: &str) -> Option<Policy> {
        let mx = match self.mx.as_slice() {
            [] => vec![hostname.to_ascii_lowercase()],
            given => given.iter().filter_map(|mx| pattern(mx)).collect(),
        };
        let max_age = self.max_age;
        self.mode.map(|mode| Policy { mode, max_age, mx })
    }
}

/// `relay`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Relay {
    pub enabled: bool,
    pub smarthost: String,
    pub smarthost_port: u16,
    pub smarthost_username: String,
    pub smarthost_password: Option<SecretSource>,
    pub smarthost_tls: Option<TlsPolicyName>,
    pub routes: BTreeMap<String, RouteConfig>,
    pub sender_routes: BTreeMap<String, RouteConfig>,
    #[serde(deserialize_with = "resolvers")]
    pub dns_servers: Vec<SocketAddr>,
    pub dns_trusted: bool,
    pub tls: TlsPolicyName,
    pub tls_domains: BTreeMap<String, TlsPolicyName>,
    pub dane: bool,
    pub mta_sts: bool,
    pub tls_report: bool,
    pub port: u16,
    pub retry_delays: Vec<u64>,
    pub max_attempts: usize,
    pub max_attempts_per_destination: usize,
    pub max_connections_per_host: usize,
}

/// One of `relay.routes`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as the `relay.smarthost…` keys")]
pub struct RouteConfig {
    pub host: String,
    pub port: Option<u16>,
    pub username: Option<String>,
    pub password: Option<SecretSource>,
    pub tls: Option<TlsPolicyName>,
}

/// How TLS is used towards another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicyName {
    /// Never.
    None,
    /// STARTTLS when offered.
    Opportunistic,
    /// STARTTLS or no delivery; any certificate.
    Require,
    /// STARTTLS with a verified certificate.
    Verify,
    /// TLS from the first octet, verified.
    Implicit,
}

/// `tls`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Tls {
    pub enabled: bool,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub certificates: Vec<CertificateFiles>,
}

/// One of `tls.certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "as the keys `tls.cert_file` and `tls.key_file`")]
pub struct CertificateFiles {
    pub cert_file: String,
    pub key_file: String,
}

/// `acme`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Acme {
    pub enabled: bool,
    pub directory: String,
    pub email: Option<String>,
    #[serde(deserialize_with = "domains")]
    pub names: Vec<Domain>,
    pub terms_agreed: bool,
    pub challenge: ChallengeKind,
    pub ca_file: Option<String>,
    pub eab_key_id: Option<String>,
    pub eab_hmac_key: Option<SecretSource>,
    pub renew_days: u64,
}

impl Acme {
    /// The names of the certificate, in lower case, as A-labels.
    #[must_use]
    pub fn names(&self, hostname: &str) -> Vec<String> {
        match self.names.as_slice() {
            [] => vec![hostname.to_ascii_lowercase()],
            given => given
                .iter()
                .map(|name| name.to_string().to_ascii_lowercase())
                .collect(),
        }
    }
}

/// `auth`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Auth {
    pub cleartext_networks: Vec<Network>,
    pub pbkdf2_rounds: u32,
}

/// `limits`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct LimitsConfig {
    pub trusted_networks: Vec<Network>,
    pub connections_per_address: ConnectionsPerAddress,
    pub messages_per_minute: u64,
    pub auth_failures_per_10_minutes: u64,
    pub recipients_per_hour: u64,
    pub recipients_per_day: u64,
}

impl LimitsConfig {
    /// For the limiter.
    #[must_use]
    pub const fn rates(&self) -> Rates {
        Rates {
            messages_per_minute: self.messages_per_minute,
            auth_failures_per_10_minutes: self.auth_failures_per_10_minutes,
            recipients_per_hour: self.recipients_per_hour,
            recipients_per_day: self.recipients_per_day,
        }
    }
}

/// `limits.connections_per_address`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct ConnectionsPerAddress {
    pub smtp: usize,
    pub imap: usize,
    pub api: usize,
}

/// `checks`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct ChecksConfig {
    #[serde(deserialize_with = "domains")]
    pub dnsbl: Vec<Domain>,
    pub dnsbl_action: CheckPolicy,
    pub reverse_dns: CheckPolicy,
    pub helo: CheckPolicy,
}

/// `greylist`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct GreylistConfig {
    pub enabled: bool,
    pub delay: u64,
    pub window: u64,
    pub memory: u64,
}

impl GreylistConfig {
    /// For the service; none: it is off.
    #[must_use]
    pub fn settings(&self) -> Option<greylist::Settings> {
        self.enabled.then_some(greylist::Settings {
            delay: Duration::from_secs(self.delay),
            window: Duration::from_secs(self.window),
            memory: Duration::from_secs(self.memory),
        })
    }
}

/// `lmtp`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Lmtp {
    #[serde(deserialize_with = "local_listener")]
    pub listen: Option<LocalListener>,
}

/// Where programs of this host connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalListener {
    /// A port of loopback.
    Tcp(SocketAddr),
    /// Path of a Unix-domain socket, perhaps relative to the configuration's directory.
    Unix(String),
}

/// `store`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "`KEYS` documents each key, under the same name")]
pub struct Store {
    pub flag_sync_ms: u64,
    pub poll_ms: u64,
    pub sweep: u64,
    pub shared_by_hosts: bool,
}

/// Where a secret stands.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", untagged)]
pub enum SecretSource {
    /// In the configuration itself.
    Text(String),
    /// In a file; a line end at its end does not count.
    File {
        /// Path, relative to the configuration's directory.
        file: String,
    },
    /// In the environment.
    EnvVar {
        /// Name of the variable.
        env: String,
    },
}

impl SecretSource {
    /// Whether it is an empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl core::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("***"),
            Self::File { file } => write!(f, "file {file}"),
            Self::EnvVar { env } => write!(f, "env {env}"),
        }
    }
}

/// A name that goes into greetings, EHLO and certificates: as A-label.
fn hostname<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let parsed = Domain::parse(&name).ok_or_else(|| D::Error::custom("a domain name"))?;
    Ok(if name.is_ascii() { name } else { parsed.to_string() })
}

fn domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Domain>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let parse = |name: &String| Domain::parse(name).ok_or_else(|| D::Error::custom("a domain name"));
    names.iter().map(parse).collect()
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(IpAddr),
        Many(Vec<IpAddr>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(address) => vec![address],
        OneOrMany::Many(addresses) => addresses,
    })
}

/// 0 and null are off.
fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    Ok(Option::<u16>::deserialize(deserializer)?
        .and_then(NonZeroU16::new)
        .map(NonZeroU16::get))
}

fn resolvers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| parse_resolver(text).ok_or_else(|| D::Error::custom("a resolver's address"));
    texts.iter().map(parse).collect()
}

fn local_listener<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LocalListener>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parse = |text: String| {
        parse_local_listener(&text).ok_or_else(|| D::Error::custom("a loopback address or a path"))
    };
    text.map(parse).transpose()
}

/// `127.0.0.1:24`, `[::1]:24`, `/run/rmail/lmtp`, `./lmtp`. Port 25 is SMTP's (RFC 2033 §5).
pub(super) fn parse_local_listener(text: &str) -> Option<LocalListener> {
    match text.parse::<SocketAddr>() {
        Ok(address) => (address.ip().is_loopback() && !matches!(address.port(), 0 | 25))
            .then_some(LocalListener::Tcp(address)),
        Err(_) if text.contains('/') && !text.ends_with('/') && !text.contains('\0') => {
            Some(LocalListener::Unix(text.to_owned()))
        }
        Err(_) => None,
    }
}

/// Port of DNS servers.
const DNS_PORT: u16 = 53;

/// `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53`, `[2001:db8::53]:5353`.
pub(super) fn parse_resolver(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| {
        text.parse()
            .ok()
            .map(|address: IpAddr| SocketAddr::new(address, DNS_PORT))
    })
}
