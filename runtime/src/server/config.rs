//! What a server is told at its start and at a reload.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rmail_core::api::setup::{Ports, Setup};
use rmail_core::api::{self, Origins};
use rmail_core::auth::token;
use rmail_core::config::Network;
use rmail_core::limits::Limits;
use rmail_core::relay::tls::policy::Policy;
use rmail_core::smtp::data::BareLf;
use rmail_core::{imap, relay, smtp};
use rmail_store::service;

use crate::drive::DriveLimits;
use crate::listen::{GateLimits, Group, Service};
use crate::tls::{self, CertificateSource, PairFiles};

/// Connections to the public ports at the same time, and of one address: a document is read with one request.
const PUBLIC: (usize, usize) = (256, 16);

/// Connections of LMTP at the same time; all may be of one address.
const LMTP: (usize, usize) = (256, 256);

/// Everything that a server needs to know. A reload takes all but `listen`, `mail_root`, `store` and whether TLS is on;
/// those hold until the next start ([`ServerConfig::after`]).
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// FQDN.
    pub hostname: String,
    /// Where everything is stored; made if it is not there. With [`super::Server::start_with`]: where a self-signed
    /// certificate is kept, if `tls` asks for one.
    pub mail_root: PathBuf,
    /// Where all sessions are recorded, from the start of the server to its end.
    pub record: Option<PathBuf>,
    /// Addresses of each service; none: it is off. Port 0 takes any that is free ([`super::Server::addresses`] tells).
    pub listen: Listen,
    /// `None`: no TLS anywhere, and AUTH in clear text.
    pub tls: Option<CertificateSource>,
    /// `tls.certificates`: for clients that ask for other names.
    pub certificates: Vec<PairFiles>,
    /// `acme.*`; none: the certificate comes from elsewhere.
    #[cfg(feature = "acme")]
    pub acme: Option<crate::acme::AcmeConfig>,
    /// `smtp.*`.
    pub smtp: SmtpConfig,
    /// `imap.*`.
    pub imap: ImapConfig,
    /// `exchange_api.*`.
    pub api: ApiConfig,
    /// `auth.cleartext_networks`.
    pub cleartext_networks: Vec<Network>,
    /// `limits.trusted_networks`.
    pub trusted_networks: Vec<Network>,
    /// `exchange_api.token_secret`; none: the secret of the mail_root signs tokens.
    pub token_key: Option<token::Key>,
    /// `exchange_api.cors_origins`.
    pub cors_origins: Origins,
    /// The MTA-STS policy that other servers read of us.
    pub mta_sts: Option<Policy>,
    /// For the service.
    pub service: service::Settings,
    /// For the relay.
    pub relay: relay::Settings,
    /// For the store.
    pub store: StoreConfig,
    /// Bounds of every connection.
    pub drive: DriveLimits,
    /// How long sessions may take to end when the server does.
    pub grace: Duration,
}

/// Addresses by service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of `listen::Service`")]
pub struct Listen {
    pub smtp: Vec<SocketAddr>,
    pub submission: Vec<SocketAddr>,
    pub smtps: Vec<SocketAddr>,
    pub imap: Vec<SocketAddr>,
    pub imaps: Vec<SocketAddr>,
    pub api: Vec<SocketAddr>,
    pub api_tls: Vec<SocketAddr>,
    pub public: Vec<SocketAddr>,
    pub public_tls: Vec<SocketAddr>,
    /// LMTP on loopback: whoever connects is trusted.
    pub lmtp: Vec<SocketAddr>,
    /// LMTP on a socket of the file system.
    pub lmtp_socket: Option<PathBuf>,
}

/// What SMTP sessions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpConfig {
    /// Connections over all SMTP ports; port 25 gets at most 80 % of them.
    pub max_connections: usize,
    /// Connections of one address (IPv6: one /64).
    pub per_address: usize,
    /// AUTH is offered on port 25.
    pub auth_on_mx: bool,
    /// Octets of a message.
    pub max_message_size: u64,
    /// RCPT of one transaction.
    pub max_recipients: usize,
    /// Transactions of one connection.
    pub max_messages: usize,
    /// Octets of a text line.
    pub max_text_line: usize,
    /// What becomes of a message with LF that has no CR.
    pub bare_lf: BareLf,
    /// Errors before 421.
    pub max_errors: usize,
    /// What comes of strangers who greet badly.
    pub helo: smtp::server::CheckPolicy,
    /// Commands that bring no message before 421.
    pub max_commands: usize,
    /// For the next command.
    pub command_timeout: Duration,
    /// For the next octets of a message.
    pub data_timeout: Duration,
    /// Seconds that a submitted message may be held; 0: never.
    pub max_hold: u64,
}

/// What connections of the API share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Connections over both ports.
    pub max_connections: usize,
    /// Connections of one address (IPv6: one /64).
    pub per_address: usize,
}

/// What IMAP sessions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImapConfig {
    /// Connections over both ports.
    pub max_connections: usize,
    /// Connections of one address (IPv6: one /64).
    pub per_address: usize,
    /// Octets of a message.
    pub max_message_size: u64,
    /// Without a command.
    pub autologout: Duration,
    /// Until the login.
    pub login_timeout: Duration,
    /// Between lines of ours in IDLE.
    pub idle_keepalive: Duration,
}

/// What the store is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// How long a flag change may be unsynced; zero: synced before the answer.
    pub flag_sync: Duration,
    /// Between two looks for changes by other processes, where they are not heard.
    pub poll: Duration,
    /// Between looks for changes by programs that take no lock; zero: none but at the first opening.
    pub sweep: Duration,
    /// Several hosts write to mail_root.
    pub shared_by_hosts: bool,
    /// Sizes of its structures.
    pub limits: Limits,
}

impl Listen {
    /// Addresses of a service.
    #[must_use]
    pub fn of(&self, service: Service) -> &[SocketAddr] {
        match service {
            Service::Smtp => &self.smtp,
            Service::Submission => &self.submission,
            Service::Smtps => &self.smtps,
            Service::Imap => &self.imap,
            Service::Imaps => &self.imaps,
            Service::Api => &self.api,
            Service::ApiTls => &self.api_tls,
            Service::Public => &self.public,
            Service::PublicTls => &self.public_tls,
            Service::Lmtp => &self.lmtp,
        }
    }
}

impl ServerConfig {
    /// What holds after a reload that brings this configuration: what needs a restart stays as it was.
    #[must_use]
    pub fn after(&self, old: &Self) -> Self {
        let tls = match (&self.tls, &old.tls) {
            (Some(CertificateSource::Files { .. }), Some(_)) => &self.tls,
            (Some(_), Some(_)) if self.mail_root == old.mail_root => &self.tls,
            _ => &old.tls,
        };
        Self {
            listen: old.listen.clone(),
            mail_root: old.mail_root.clone(),
            store: old.store,
            tls: tls.clone(),
            ..self.clone()
        }
    }

    /// Names that a certificate has to be good for.
    #[must_use]
    pub fn certified_names(&self) -> Vec<String> {
        let web = !self.listen.public_tls.is_empty();
        tls::wanted(
            &self.hostname,
            &self.service.hosting.domains,
            web,
            self.mta_sts.is_some(),
        )
    }

    /// Whether limits do not apply to an address.
    #[must_use]
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_networks
            .iter()
            .any(|network| network.contains(address))
    }

    /// Whether an address may authenticate without TLS.
    #[must_use]
    pub fn allows_cleartext_auth(&self, address: IpAddr) -> bool {
        self.tls.is_none() || self.is_cleartext_network(address)
    }

    /// Whether an address is in one of the networks whose clients may authenticate without TLS.
    fn is_cleartext_network(&self, address: IpAddr) -> bool {
        let mut networks = self.cleartext_networks.iter();
        networks.any(|network| network.contains(address))
    }

    /// Bounds of connections of a service, for an address.
    #[must_use]
    pub fn gate_limits(&self, service: Service, address: IpAddr) -> GateLimits {
        let (total, per_address) = match service.group() {
            Group::Smtp => (self.smtp.max_connections, self.smtp.per_address),
            Group::Imap => (self.imap.max_connections, self.imap.per_address),
            Group::Api => (self.api.max_connections, self.api.per_address),
            Group::Public => PUBLIC,
            Group::Lmtp => LMTP,
        };
        GateLimits {
            total,
            per_address: (!self.is_trusted(address)).then_some(per_address),
        }
    }

    /// What clients that set themselves up are told, with the ports that are on.
    #[must_use]
    pub fn setup(&self, ports: Ports) -> Setup {
        Setup {
            hostname: self.hostname.clone(),
            domains: self.service.hosting.domains.clone(),
            tls: self.tls.is_some(),
            ports,
            mta_sts: self.mta_sts.clone(),
        }
    }

    /// What a connection of the API is told. Tokens are signed with this key, unless the configuration has another.
    #[must_use]
    pub fn api_session(&self, service: Service, peer: IpAddr, own_key: Option<&token::Key>) -> api::Settings {
        api::Settings {
            max_message_size: self.smtp.max_message_size,
            max_recipients: self.smtp.max_recipients,
            tokens: self.token_key.as_ref().or(own_key).cloned(),
            // Also without TLS: who asks from elsewhere comes through a proxy on this host, or not at all.
            cleartext_auth: self.is_cleartext_network(peer),
            origins: self.cors_origins.clone(),
            public: service.group() == Group::Public,
            ..api::Settings::default()
        }
    }

    /// What an SMTP session is told.
    #[must_use]
    pub fn smtp_session(&self, service: Service, peer: IpAddr) -> smtp::server::Settings {
        let role = match service {
            Service::Smtp => smtp::server::Role::Mx,
            Service::Lmtp => smtp::server::Role::Lmtp,
            _ => smtp::server::Role::Submission,
        };
        let lmtp = service == Service::Lmtp;
        smtp::server::Settings {
            starttls: self.tls.is_some() && !service.is_implicit_tls() && !lmtp,
            cleartext_auth: self.allows_cleartext_auth(peer),
            auth_on_mx: self.smtp.auth_on_mx,
            trusted: lmtp || self.is_trusted(peer),
            max_message_size: self.smtp.max_message_size,
            max_recipients: self.smtp.max_recipients,
            max_messages: if lmtp { usize::MAX } else { self.smtp.max_messages },
            max_text_line: self.smtp.max_text_line,
            bare_lf: self.smtp.bare_lf,
            command_timeout: self.smtp.command_timeout,
            data_timeout: self.smtp.data_timeout,
            max_hold: self.smtp.max_hold,
            max_errors: self.smtp.max_errors,
            max_commands: self.smtp.max_commands,
            checks: smtp::server::Checks {
                ask: self.service.checks.ask(),
                helo: self.smtp.helo,
            },
            ..smtp::server::Settings::new(&self.hostname, role, peer)
        }
    }

    /// What an IMAP session is told.
    #[must_use]
    pub fn imap_session(&self, service: Service, peer: IpAddr) -> imap::server::Settings {
        imap::server::Settings {
            hostname: self.hostname.clone(),
            peer,
            starttls: self.tls.is_some() && !service.is_implicit_tls(),
            cleartext_auth: self.allows_cleartext_auth(peer),
            max_message_size: self.imap.max_message_size,
            autologout: self.imap.autologout,
            login_timeout: self.imap.login_timeout,
            idle_keepalive: self.imap.idle_keepalive,
            compress: true,
            limits: self.store.limits,
        }
    }
}

impl Default for ServerConfig {
    /// The defaults of the configuration, but it listens nowhere and has no certificate. It hosts no domain yet; the
    /// host's name is in `service` and `relay` too.
    fn default() -> Self {
        let service = service::Settings::default();
        Self {
            hostname: service.hostname.clone(),
            mail_root: PathBuf::from("mailstore"),
            record: None,
            listen: Listen::default(),
            tls: None,
            certificates: Vec::new(),
            #[cfg(feature = "acme")]
            acme: None,
            smtp: SmtpConfig::default(),
            imap: ImapConfig::default(),
            api: ApiConfig::default(),
            cleartext_networks: Vec::new(),
            trusted_networks: Vec::new(),
            token_key: None,
            cors_origins: Origins::Any,
            mta_sts: None,
            service,
            relay: relay::Settings::default(),
            store: StoreConfig::default(),
            drive: DriveLimits::default(),
            grace: Duration::from_secs(30),
        }
    }
}

impl Default for SmtpConfig {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            max_connections: 100,
            per_address: 20,
            auth_on_mx: true,
            max_message_size: 52_428_800,
            max_recipients: 100,
            max_messages: 50,
            max_text_line: 1 << 20,
            bare_lf: BareLf::Refuse,
            max_errors: 20,
            helo: smtp::server::CheckPolicy::Off,
            max_commands: 200,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(300),
            max_hold: 2_592_000,
        }
    }
}

impl Default for ApiConfig {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            max_connections: 256,
            per_address: 50,
        }
    }
}

impl Default for ImapConfig {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            max_connections: 100,
            per_address: 50,
            max_message_size: 52_428_800,
            autologout: Duration::from_secs(1_800),
            login_timeout: Duration::from_secs(60),
            idle_keepalive: Duration::from_secs(1_740),
        }
    }
}

impl Default for StoreConfig {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            flag_sync: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            sweep: Duration::from_secs(10),
            shared_by_hosts: false,
            limits: Limits::default(),
        }
    }
}
