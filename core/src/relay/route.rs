//! Where mail for a domain goes: a route of its own, the smarthost, or its MX hosts.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::tls::Protect;
use crate::addr::{Address, Domain};
use crate::config::{self, RouteConfig, SecretSource, TlsPolicyName};
use crate::secret::Secret;
use crate::smtp::envelope::Wishes;

/// How TLS is used towards a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// Never.
    None,
    /// STARTTLS when offered, any certificate; in clear text when it fails.
    Opportunistic,
    /// STARTTLS or no delivery; any certificate.
    Require,
    /// STARTTLS with a certificate that verifies for the server's name.
    Verify,
    /// TLS from the first octet, with a certificate that verifies.
    Implicit,
}

impl TlsPolicy {
    /// Whether the host must refuse a certificate that does not verify for the server's name.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, Self::Verify | Self::Implicit)
    }

    /// Whether mail may go without TLS.
    #[must_use]
    pub fn allows_clear_text(self) -> bool {
        matches!(self, Self::None | Self::Opportunistic)
    }

    /// What holds when nothing is said: credentials need a verified server.
    #[must_use]
    pub fn default_for(with_credentials: bool) -> Self {
        if with_credentials {
            Self::Verify
        } else {
            Self::Opportunistic
        }
    }
}

impl From<TlsPolicyName> for TlsPolicy {
    fn from(name: TlsPolicyName) -> Self {
        match name {
            TlsPolicyName::None => Self::None,
            TlsPolicyName::Opportunistic => Self::Opportunistic,
            TlsPolicyName::Require => Self::Require,
            TlsPolicyName::Verify => Self::Verify,
            TlsPolicyName::Implicit => Self::Implicit,
        }
    }
}

/// For AUTH at the next server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// A server that was named: no MX look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name, IP address, or address literal.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For AUTH. Not sent without TLS, nor over unverified TLS unless the policy is [`TlsPolicy::Require`].
    pub credentials: Option<Credentials>,
    /// TLS.
    pub tls: TlsPolicy,
}

/// Where mail of one domain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To a named server.
    Target(Target),
    /// To the MX hosts of the domain.
    Mx {
        /// The domain.
        domain: Domain,
        /// Port of the MX hosts.
        port: u16,
        /// TLS.
        tls: TlsPolicy,
    },
}

impl Route {
    /// The same way for a message that has its own wishes about TLS. REQUIRETLS wants a certificate that verifies (RFC 8689
    /// §4.2.1), not for a notification (`has_sender` is false), which is better sent than lost (§5). `TLS-Required: No`
    /// lets the policy of a recipient's domain go (§3), not that of a server which was named here.
    #[must_use]
    pub fn for_message(mut self, wishes: &Wishes, has_sender: bool) -> Self {
        let (tls, theirs) = match &mut self {
            Self::Target(target) => (&mut target.tls, false),
            Self::Mx { tls, .. } => (tls, true),
        };
        if wishes.require_tls && has_sender {
            if !tls.verifies() {
                *tls = TlsPolicy::Verify;
            }
        } else if wishes.tls_not_required && theirs && *tls != TlsPolicy::None {
            *tls = TlsPolicy::Opportunistic;
        }
        self
    }

    /// What mail with the same next hop has in common: the unit of the bound on connections per destination, and of
    /// the recipients that share a transaction.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Target(target) => {
                let user = target
                    .credentials
                    .as_ref()
                    .map_or("", |credentials| &credentials.username);
                let host = target.host.to_ascii_lowercase();
                format!("{host}:{} {:?} {user}", target.port, target.tls)
            }
            Self::Mx { domain, .. } => domain.to_string(),
        }
    }
}

/// `relay.*`, and what the relay needs beside it. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// False: external recipients are refused at RCPT. What is in the queue already is still sent.
    pub enabled: bool,
    /// Our FQDN: in EHLO and DSN, and to know ourselves in a list of MX hosts.
    pub hostname: String,
    /// By canonical domain, or `*` for all others.
    pub routes: BTreeMap<String, Target>,
    /// By the canonical domain of the envelope sender.
    pub sender_routes: BTreeMap<String, Target>,
    /// For all without a route.
    pub smarthost: Option<Target>,
    /// Port of MX hosts.
    pub port: u16,
    /// TLS towards MX hosts.
    pub tls: TlsPolicy,
    /// The same for the MX hosts of a domain, by canonical domain.
    pub tls_domains: BTreeMap<String, TlsPolicy>,
    /// What may ask for more TLS than that.
    pub protect: Protect,
    /// TLS reports are sent (RFC 8460).
    pub tls_report: bool,
    /// The name servers' word on DNSSEC counts, see [`crate::dns::resolver::Settings::trusted`].
    pub dns_trusted: bool,
    /// Seconds before the second, third, … attempt.
    pub retry_delays: Vec<u64>,
    /// Name servers; empty: those of the host's resolv.conf.
    pub dns_servers: Vec<SocketAddr>,
    /// Attempts at the same time.
    pub max_attempts: usize,
    /// Attempts at the same time towards one [`Route::key`].
    pub max_attempts_per_destination: usize,
    /// Connections at the same time to one address, which may serve many domains.
    pub max_connections_per_host: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            hostname: "mail.example.com".into(),
            routes: BTreeMap::new(),
            sender_routes: BTreeMap::new(),
            smarthost: None,
            port: 25,
            tls: TlsPolicy::Opportunistic,
            tls_domains: BTreeMap::new(),
            protect: Protect::default(),
            tls_report: false,
            dns_trusted: false,
            retry_delays: vec![60, 300, 900, 1800, 3600, 14400, 28800, 86400],
            dns_servers: Vec::new(),
            max_attempts: 20,
            max_attempts_per_destination: 5,
            max_connections_per_host: 20,
        }
    }
}

impl Settings {
    /// From the configuration. `resolve` reads secrets that are kept in files or the environment; it is told which key
    /// of the configuration it reads for. A password without a username is not looked at.
    ///
    /// # Errors
    /// Those of `resolve`.
    pub fn from_config<E>(
        config: &config::Config,
        mut resolve: impl FnMut(&str, &SecretSource) -> Result<Secret, E>,
    ) -> Result<Self, E> {
        let relay = &config.relay;
        let mut target = |key: &str, route: &RouteConfig| {
            let username = route.username.clone().filter(|name| !name.is_empty());
            let credentials = match username {
                None => None,
                Some(username) => {
                    let password = route.password.as_ref().map(|source| resolve(key, source));
                    let password = password.transpose()?.unwrap_or_default();
                    Some(Credentials { username, password })
                }
            };
            let tls = route
                .tls
                .map_or_else(|| TlsPolicy::default_for(credentials.is_some()), TlsPolicy::from);
            Ok(Target {
                host: route.host.clone(),
                port: route.port.unwrap_or_else(|| default_port(tls, relay.port)),
                tls,
                credentials,
            })
        };
        let mut targets = |key: &str, given: &BTreeMap<String, RouteConfig>| {
            let mut routes = BTreeMap::new();
            for (domain, route) in given {
                let canonical =
                    Domain::parse(domain).map_or_else(|| domain.clone(), |domain| domain.to_string());
                let key = format!("relay.{key}.{domain}.password");
                routes.insert(canonical, target(&key, route)?);
            }
            Ok(routes)
        };
        let routes = targets("routes", &relay.routes)?;
        let sender_routes = targets("sender_routes", &relay.sender_routes)?;
        let smarthost = RouteConfig {
            host: relay.smarthost.clone(),
            port: Some(relay.smarthost_port),
            username: Some(relay.smarthost_username.clone()),
            password: relay.smarthost_password.clone(),
            tls: relay.smarthost_tls,
        };
        let named = !smarthost.host.is_empty();
        let smarthost = named
            .then(|| target("relay.smarthost_password", &smarthost))
            .transpose()?;
        Ok(Self {
            enabled: relay.enabled,
            hostname: config.hostname.clone(),
            routes,
            sender_routes,
            smarthost,
            port: relay.port,
            tls: relay.tls.into(),
            tls_domains: relay
                .tls_domains
                .iter()
                .map(|(domain, tls)| {
                    let canonical =
                        Domain::parse(domain).map_or_else(|| domain.clone(), |domain| domain.to_string());
                    (canonical, TlsPolicy::from(*tls))
                })
                .collect(),
            protect: Protect {
                dane: relay.dane,
                sts: relay.mta_sts,
            },
            tls_report: relay.tls_report,
            dns_trusted: relay.dns_trusted,
            retry_delays: relay.retry_delays.clone(),
            max_attempts: relay.max_attempts,
            max_attempts_per_destination: relay.max_attempts_per_destination,
            dns_servers: relay.dns_servers.clone(),
            max_connections_per_host: relay.max_connections_per_host,
        })
    }

    /// The way of mail from nobody to a domain: as [`Settings::route_from`].
    #[must_use]
    pub fn route(&self, domain: &Domain) -> Route {
        self.route_from(None, domain)
    }

    /// The way of mail of a sender to a domain: the domain's own route, else that of the sender's domain, else `*`, else
    /// the smarthost, else MX. `sender`: of the envelope; mail without one (notices) goes as if its sender had no route.
    #[must_use]
    pub fn route_from(&self, sender: Option<&Address>, domain: &Domain) -> Route {
        let of_sender = || self.sender_routes.get(sender?.domain.as_str());
        let named = self.routes.get(domain.as_str()).or_else(of_sender);
        match named.or_else(|| self.routes.get("*")).or(self.smarthost.as_ref()) {
            Some(target) => Route::Target(target.clone()),
            None => Route::Mx {
                domain: domain.clone(),
                port: self.port,
                tls: self.tls_domains.get(domain.as_str()).copied().unwrap_or(self.tls),
            },
        }
    }
}

/// The port of a route that names none: that of submission with implicit TLS (RFC 8314 §7.3), or that of MX hosts.
fn default_port(tls: TlsPolicy, mx: u16) -> u16 {
    if tls == TlsPolicy::Implicit { 465 } else { mx }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str) -> Target {
        Target {
            host: host.into(),
            port: 2525,
            credentials: None,
            tls: TlsPolicy::Opportunistic,
        }
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect("domain")
    }

    #[test]
    fn the_nearest_route_wins() {
        let mut settings = Settings {
            port: 2500,
            ..Settings::default()
        };
        assert_eq!(
            settings.route(&domain("a.example")),
            Route::Mx {
                domain: domain("a.example"),
                port: 2500,
                tls: TlsPolicy::Opportunistic
            }
        );
        settings.smarthost = Some(target("smart"));
        assert_eq!(
            settings.route(&domain("a.example")).key(),
            "smart:2525 Opportunistic "
        );
        settings.routes.insert("*".into(), target("Star"));
        assert_eq!(
            settings.route(&domain("a.example")).key(),
            "star:2525 Opportunistic "
        );
        settings.routes.insert("a.example".into(), target("own"));
        assert_eq!(
            settings.route(&domain("A.Example")).key(),
            "own:2525 Opportunistic "
        );
        assert_eq!(
            settings.route(&domain("b.example")).key(),
            "star:2525 Opportunistic "
        );
    }

    #[test]
    fn senders_have_routes_behind_those_of_recipients() {
        let settings = Settings {
            routes: BTreeMap::from([
                ("*".into(), target("star")),
                ("partner.example".into(), target("partner")),
            ]),
            sender_routes: BTreeMap::from([("b.example".into(), target("of-b"))]),
            ..Settings::default()
        };
        let host = |sender: Option<&str>, to: &str| {
            let sender = sender.map(|sender| Address::parse(sender).expect("address"));
            match settings.route_from(sender.as_ref(), &domain(to)) {
                Route::Target(target) => target.host,
                Route::Mx { .. } => "MX".into(),
            }
        };
        assert_eq!(host(Some("u@B.Example"), "else.example"), "of-b");
        assert_eq!(host(Some("u@b.example"), "partner.example"), "partner");
        assert_eq!(host(Some("u@sub.b.example"), "else.example"), "star");
        assert_eq!(host(None, "else.example"), "star");
        let (a, b) = ("u@a.example", "u@b.example");
        let key = |sender| {
            let sender = Address::parse(sender).expect("address");
            settings.route_from(Some(&sender), &domain("else.example")).key()
        };
        assert_ne!(key(a), key(b), "they do not share a connection");
    }

    #[test]
    fn the_configuration_gives_routes_and_policies() {
        let text = r#"{"hostname": "mx.example.org", "relay": {"smarthost": "smart.example", "smarthost_username": "u",
            "smarthost_password": "p", "routes": {"Example.COM": {"host": "127.0.0.1", "port": 2525},
            "t.example": {"host": "t", "tls": "implicit"},
            "mx.example": {"host": "m", "password": {"file": "unread"}}}, "port": 2626, "retry_delays": [1, 2],
            "max_attempts": 7, "max_attempts_per_destination": 2, "max_connections_per_host": 3,
            "sender_routes": {"Sender.EXAMPLE": {"host": "s", "username": "n", "password": "p2"}}}}"#;
        let (config, _) = config::Config::parse(text).expect("a configuration");
        let settings = Settings::from_config(&config, |key, source| match source {
            SecretSource::Text(secret) if key == "relay.smarthost_password" => {
                Ok(Secret::new(secret.clone()))
            }
            SecretSource::Text(secret) if key == "relay.sender_routes.Sender.EXAMPLE.password" => {
                Ok(Secret::new(secret.clone()))
            }
            other => Err(format!("{key}: {other:?}")),
        })
        .expect("settings");
        let smarthost = settings.smarthost.clone().expect("smarthost");
        assert_eq!((smarthost.port, smarthost.tls), (587, TlsPolicy::Verify));
        assert_eq!(smarthost.credentials.map(|c| c.password), Some(Secret::new("p")));
        assert_eq!(settings.retry_delays, [1, 2]);
        assert_eq!(settings.max_connections_per_host, 3);
        let of_sender = &settings.sender_routes["sender.example"];
        assert_eq!((of_sender.port, of_sender.tls), (2626, TlsPolicy::Verify));
        let credentials = of_sender.credentials.clone().expect("credentials");
        assert_eq!(credentials.password, Secret::new("p2"));
        assert_eq!(
            (settings.max_attempts, settings.max_attempts_per_destination),
            (7, 2)
        );
        let Route::Target(own) = settings.route(&domain("example.com")) else {
            panic!("a target");
        };
        assert_eq!(
            (own.host.as_str(), own.port, own.tls),
            ("127.0.0.1", 2525, TlsPolicy::Opportunistic)
        );
        let Route::Target(implicit) = settings.route(&domain("t.example")) else {
            panic!("a target");
        };
        assert_eq!((implicit.port, implicit.tls), (465, TlsPolicy::Implicit));
        let Route::Target(plain) = settings.route(&domain("mx.example")) else {
            panic!("a target");
        };
        assert_eq!((plain.port, plain.credentials), (2626, None));
    }
}
