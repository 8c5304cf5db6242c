//! What is known of the server without asking anybody.

use core::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::Service;
use crate::config::Config;
use crate::dns::{Name, Tlsa};
use crate::relay::tls::policy::Policy;

/// The server as others should find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub hostname: Name,
    /// Its addresses.
    pub addresses: Addresses,
    /// Where it listens.
    pub ports: Ports,
    /// The policy that it serves.
    pub mta_sts: Option<Policy>,
    /// Host that takes its outgoing mail.
    pub smarthost: Option<String>,
    /// The certificate that it shows under its name.
    pub certificate: Option<Certificate>,
}

/// Addresses under which others reach the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The addresses; none: nobody knows.
    pub list: Vec<IpAddr>,
    /// They were found on this host, and not told: there may be others.
    pub guessed: bool,
}

/// Ports, as far as the DNS speaks of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// SMTP from other servers.
    pub smtp: Option<u16>,
    /// Submission with STARTTLS.
    pub submission: Option<u16>,
    /// Submission with TLS.
    pub submissions: Option<u16>,
    /// IMAP with STARTTLS.
    pub imap: Option<u16>,
    /// IMAP with TLS.
    pub imaps: Option<u16>,
    /// Documents for clients, in clear text.
    pub web: Option<u16>,
    /// The same with TLS.
    pub secure_web: Option<u16>,
    /// Some SMTP listener takes IPv6.
    pub six: bool,
}

/// The certificate, as TLSA records speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// DER of the server's own.
    pub der: Vec<u8>,
    /// DER of its SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Those that are sent with it: the same of each.
    pub others: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Certificate {
    /// `3 1 1`: the SHA-256 of the server's own key (RFC 7672 §3.1.1).
    #[must_use]
    pub fn tlsa(&self) -> Tlsa {
        Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: Sha256::digest(&self.spki).to_vec(),
        }
    }
}

impl Site {
    /// As the configuration has it. `None`: the hostname is none that the DNS can have.
    #[must_use]
    pub fn from_config(
        config: &Config,
        addresses: Addresses,
        certificate: Option<Certificate>,
    ) -> Option<Self> {
        let relay = &config.relay;
        let general = relay.routes.get("*").map(|route| route.host.clone());
        let smarthost = Some(relay.smarthost.clone()).filter(|host| !host.is_empty());
        Some(Self {
            hostname: Name::parse(&config.hostname)?,
            addresses,
            ports: Ports {
                smtp: config.smtp.port,
                submission: config.smtp.submission_port,
                submissions: config.smtp.smtps_port.filter(|_| config.tls.enabled),
                imap: config.imap.port,
                imaps: config.imap.imaps_port.filter(|_| config.tls.enabled),
                web: config.exchange_api.public_port,
                secure_web: config
                    .exchange_api
                    .public_secure_port
                    .filter(|_| config.tls.enabled),
                six: config.smtp.host.iter().any(IpAddr::is_ipv6),
            },
            mta_sts: config.mta_sts.policy(&config.hostname),
            smarthost: general.or(smarthost),
            certificate,
        })
    }

    pub(super) fn port(&self, service: Service) -> Option<u16> {
        match service {
            Service::Submissions => self.ports.submissions,
            Service::Submission => self.ports.submission,
            Service::Imaps => self.ports.imaps,
            Service::Imap => self.ports.imap,
        }
    }

    /// What tells others that the policy has changed (RFC 8461 §3.1): a digest of it, so that it changes by itself.
    pub(super) fn policy_id(policy: &Policy) -> String {
        let digest = Sha256::digest(policy.strings().join("\n"));
        digest
            .iter()
            .take(8)
            .map(|octet| format!("{octet:02x}"))
            .collect()
    }
}

/// Whether others can reach such an address over the Internet, as far as its number tells.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            // 100.64.0.0/10 is shared behind the provider's translation (RFC 6598).
            let shared = matches!(four.octets(), [100, 64..=127, _, _]);
            !(four.is_loopback()
                || four.is_private()
                || four.is_link_local()
                || four.is_unspecified()
                || four.is_broadcast()
                || four.is_multicast()
                || shared)
        }
        IpAddr::V6(six) => {
            !(six.is_loopback()
                || six.is_unspecified()
                || six.is_multicast()
                || six.is_unique_local()
                || six.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_reaches_are_known() {
        let public = |text: &str| is_public(text.parse().expect("an address"));
        for good in ["192.0.2.1", "100.63.0.1", "100.128.0.1", "2001:db8::1"] {
            assert!(public(good), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!public(bad), "{bad}");
        }
    }
}
