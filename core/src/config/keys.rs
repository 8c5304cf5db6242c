//! The one list of configuration keys: name, type, default, meaning.

use serde_json::{Map, Value, json};

use super::kind::{CHECK_POLICIES, Kind, LOG_LEVELS, MX_TLS_POLICIES, TLS_POLICIES};
use super::schema::SCHEMA_KEY;

/// A configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `smtp.port`
    pub path: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Its default.
    pub default: fn() -> Value,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
}

const MAX_CONNECTIONS: Kind = Kind::Integer(1, 1_000_000);
const ANY_COUNT: Kind = Kind::Integer(1, 1_000_000_000);

macro_rules! keys {
    ($($path:literal, $kind:expr, $default:tt, $doc:literal;)*) => {
        /// Every key there is.
        pub const KEYS: &[Key] = &[$(Key { path: $path, kind: $kind, default: || json!($default), doc: $doc },)*];
    };
}

keys! {
    "hostname", Kind::Hostname, "mail.example.com", "FQDN in banner, EHLO, DSN";
    "mail_root", Kind::Text, "./mailstore", "Everything rmail stores; relative to the file's directory";
    "domains", Kind::Domains, ["example.com"], "Domains hosted here";
    "log_level", Kind::Word(LOG_LEVELS), "INFO", "How much is logged";
    "log.format", Kind::Word(&["text", "json"]), "text", "Lines for people, or a JSON object a line";
    "log.file", Kind::OptionalText, null, "Where the log goes; SIGHUP opens it anew; null: standard error";
    "log.journal", Kind::Word(&["auto", "always", "never"]), "auto", "Priorities such as <3> before lines to standard error; auto: if it is the journal (JOURNAL_STREAM)";
    "log.targets", Kind::LogTargets, {}, "Target such as smtp, relay or store::file → its own log_level; `rmail log-level` changes them at run time";
    "pid_file", Kind::OptionalText, null, "Where the process id is written; null: /run/rmail.pid if that is writable";
    "user", Kind::OptionalText, null, "Whom a server that is started as root becomes once its ports are bound: a name or number; null: whom the mail_root belongs to";
    "group", Kind::OptionalText, null, "With which group; null: the user's";
    "postmaster", Kind::OptionalAddress, null, "Where postmaster@ and abuse@ go; null: the first enabled admin";
    "shutdown_grace", Kind::Integer(0, 600), 30, "Seconds that sessions get to finish a message at the end";
    "smtp.host", Kind::Hosts, "0.0.0.0", "Address or list of addresses; \"::\" is dual stack";
    "smtp.port", Kind::Port, 25, "SMTP from other servers";
    "smtp.submission_port", Kind::Port, 587, "Submission with STARTTLS";
    "smtp.smtps_port", Kind::Port, 465, "Submission with implicit TLS";
    "smtp.max_recipients", Kind::Integer(1, 100_000), 100, "Recipients of one message; more get 452 4.5.3";
    "smtp.max_connections", MAX_CONNECTIONS, 100, "Connections over all SMTP ports; port 25 may use 80 % of them";
    "smtp.max_messages_per_connection", ANY_COUNT, 50, "Then 421 and close";
    "smtp.max_message_size", Kind::Integer(1_024, 4_294_967_295), 52_428_800, "Octets of a message";
    "smtp.max_text_line", Kind::Integer(998, 1_073_741_824), 1_048_576, "Octets of one line of a message";
    "smtp.bare_lf", Kind::Word(&["refuse", "normalise"]), "refuse", "A message with LF that has no CR: 554 at its end, or made CRLF";
    "smtp.max_errors", Kind::Integer(1, 10_000), 20, "Refused commands before 421 and close";
    "smtp.max_commands", Kind::Integer(10, 1_000_000), 200, "Commands that bring no message before 421 and close";
    "smtp.command_timeout", Kind::Integer(10, 86_400), 300, "Seconds without a command before 421";
    "smtp.data_timeout", Kind::Integer(10, 86_400), 300, "Seconds without an octet of a message before 421; twice that below 100 octets a second";
    "smtp.max_hold", Kind::Integer(0, 999_999_999), 2_592_000, "Seconds that a submitted message may be held (FUTURERELEASE); 0: not offered";
    "smtp.auth_on_25", Kind::Bool, true, "AUTH on port 25 after STARTTLS";
    "imap.host", Kind::Hosts, "0.0.0.0", "Address or list of addresses; \"::\" is dual stack";
    "imap.port", Kind::Port, 143, "IMAP with STARTTLS";
    "imap.imaps_port", Kind::Port, 993, "IMAP with implicit TLS";
    "imap.max_connections", MAX_CONNECTIONS, 100, "More get * BYE [UNAVAILABLE]";
    "imap.autologout", Kind::Integer(1_800, 604_800), 1_800, "Seconds without a command, outside IDLE, before BYE";
    "imap.login_timeout", Kind::Integer(5, 3_600), 60, "Seconds that a client may take to log in";
    "imap.idle_keepalive", Kind::Integer(30, 86_400), 1_740, "Seconds after which an idling client hears a line";
    "exchange_api.host", Kind::Hosts, "0.0.0.0", "Address or list of addresses; \"::\" is dual stack";
    "exchange_api.port", Kind::Port, 9002, "HTTP API";
    "exchange_api.secure_port", Kind::Port, 9003, "HTTPS API";
    "exchange_api.public_port", Kind::Port, null, "80: /.well-known, autoconfig and ACME answer there";
    "exchange_api.public_secure_port", Kind::Port, null, "443: the same with TLS";
    "exchange_api.token_secret", Kind::Secret, null, "Hex key of the API's tokens, 32 octets or more; null: made once, kept in mail_root";
    "exchange_api.max_connections", MAX_CONNECTIONS, 256, "Connections over both ports of the API; more get 503";
    "exchange_api.cors_origins", Kind::Origins, ["*"], "Pages that browsers may show the API's answers to, such as \"https://app.example.com\"; \"*\": all (a token is needed in any case)";
    "delivery.workers", Kind::Integer(1, 1_024), 4, "Without effect: as many deliveries as there are wait for the disk at the same time (64 at most)";
    "delivery.max_queue_size", Kind::Integer(1, 10_000_000), 10_000, "Outbound queue entries; full answers 452 4.3.1";
    "delivery.history_days", Kind::Integer(0, 3_650), 14, "Days for which it is kept what became of each message (`rmail trace`): people ask within two weeks, and longer is a record of who wrote whom; 0: nothing is kept";
    "relay.enabled", Kind::Bool, true, "false: external recipients get 550 even after AUTH";
    "relay.smarthost", Kind::OptionalHost, "", "Host that takes all outbound mail; empty: the recipient's MX";
    "relay.smarthost_port", Kind::Integer(1, 65_535), 587, "Its port";
    "relay.smarthost_username", Kind::AnyText, "", "Login there";
    "relay.smarthost_password", Kind::Secret, "", "Password there";
    "relay.smarthost_tls", Kind::OptionalWord(TLS_POLICIES), null, "null: verify with a username, else opportunistic";
    "relay.routes", Kind::Routes, {}, "Domain (or *) → {host, port, username, password, tls}, before smarthost and MX";
    "relay.sender_routes", Kind::Routes, {}, "Sender's domain → the same; behind the recipient's own route, before * and smarthost";
    "relay.dns_servers", Kind::Resolvers, [], "Empty: those of /etc/resolv.conf";
    "relay.dns_trusted", Kind::Bool, false, "true: the name servers validate DNSSEC and nobody can forge their answers on the way: their AD bit counts, as that of a server on loopback or with resolv.conf's trust-ad does";
    "relay.tls", Kind::Word(MX_TLS_POLICIES), "opportunistic", "TLS towards MX hosts: none, opportunistic, require (no mail without it), verify (the certificate too)";
    "relay.tls_domains", Kind::TlsDomains, {}, "Domain → the same for its MX hosts";
    "relay.dane", Kind::Bool, true, "TLSA records of MX hosts hold, where DNSSEC confirms them (RFC 7672)";
    "relay.mta_sts", Kind::Bool, true, "MTA-STS policies of domains hold (RFC 8461)";
    "relay.tls_report", Kind::Bool, false, "true: daily reports about TLS go to the domains that ask for them by https: (RFC 8460)";
    "relay.port", Kind::Integer(1, 65_535), 25, "Port of MX hosts";
    "relay.retry_delays", Kind::Delays, [60, 300, 900, 1800, 3600, 14400, 28800, 86400], "Seconds before each retry";
    "relay.max_connections_per_host", Kind::Integer(1, 1000), 20, "Connections at the same time to one address, whose domains share them";
    "relay.max_attempts", Kind::Integer(1, 10_000), 20, "Messages that are sent at the same time, each over a connection of its own";
    "relay.max_attempts_per_destination", Kind::Integer(1, 10_000), 5, "Of these, those for one domain or by one route";
    "mta_sts.mode", Kind::OptionalWord(&["enforce", "testing", "none"]), null, "What /.well-known/mta-sts.txt asks of other servers (RFC 8461): enforce, testing, none (there is no policy any more); null: nothing is there";
    "mta_sts.mx", Kind::MxPatterns, [], "MX hosts of the hosted domains in that policy, *.example.net for any below; empty: the hostname";
    "mta_sts.max_age", Kind::Integer(0, 31_557_600), 604_800, "Seconds for which others keep the policy";
    "tls.enabled", Kind::Bool, true, "false: no TLS anywhere, and AUTH is offered in clear text";
    "tls.cert_file", Kind::OptionalText, null, "PEM chain; null: self-signed {mail_root}/tls/cert.pem";
    "tls.key_file", Kind::OptionalText, null, "PEM key; null: {mail_root}/tls/key.pem";
    "tls.certificates", Kind::Certificates, [], "Further pairs [{cert_file, key_file}]: a client that asks for a name (SNI) gets the one that is good for it, else the one above";
    "acme.enabled", Kind::Bool, false, "true: the certificate comes from an authority that speaks ACME (RFC 8555), and is renewed; until it is there the self-signed one serves";
    "acme.directory", Kind::Text, "https://acme-v02.api.letsencrypt.org/directory", "Where the authority says what it offers (https:); for trials: https://acme-staging-v02.api.letsencrypt.org/directory";
    "acme.email", Kind::OptionalText, null, "Where the authority may write to; null: nowhere";
    "acme.names", Kind::Names, [], "Names of the certificate, each of which must lead to this server; empty: the hostname";
    "acme.terms_agreed", Kind::Bool, false, "true: you agree to the authority's terms of service; it gives nothing before";
    "acme.challenge", Kind::Word(&["http-01", "tls-alpn-01"]), "http-01", "How it is shown that the names are ours: http-01 (the authority reads a document at port 80: exchange_api.public_port, or a proxy that forwards /.well-known/acme-challenge/ to exchange_api.port), tls-alpn-01 (a handshake at port 443: exchange_api.public_secure_port)";
    "acme.ca_file", Kind::OptionalText, null, "PEM certificates that the authority's own server is verified by; null: the system's";
    "acme.eab_key_id", Kind::OptionalText, null, "Identifier of the account that you have with the authority's web site, where it wants one (ZeroSSL, Google: external account binding); null: it wants none";
    "acme.eab_hmac_key", Kind::Secret, null, "The HMAC key that belongs to it, base64url as the authority gives it; used once, to make the account";
    "acme.renew_days", Kind::Integer(0, 365), 0, "Days before its end at which the certificate is renewed; 0: when a third of its life is left";
    "auth.cleartext_networks", Kind::Networks, [], "Clients that may authenticate without TLS";
    "auth.pbkdf2_rounds", Kind::Integer(1, 10_000_000), 300_000, "For new password hashes";
    "limits.trusted_networks", Kind::Networks, [], "Clients to which rate and per-address limits do not apply";
    "limits.connections_per_address.smtp", MAX_CONNECTIONS, 20, "SMTP connections of one address (IPv6: /64)";
    "limits.connections_per_address.imap", MAX_CONNECTIONS, 50, "IMAP connections of one address (IPv6: /64)";
    "limits.connections_per_address.api", MAX_CONNECTIONS, 50, "Connections of one address to the API (IPv6: /64)";
    "limits.messages_per_minute", ANY_COUNT, 60, "Messages of one address (IPv6: /64) in a minute; more get 450, and 421 when connecting";
    "limits.auth_failures_per_10_minutes", ANY_COUNT, 10, "Failed logins of one account from one address, each wrong password once; then no login from there; ten times as many over all accounts";
    "limits.recipients_per_hour", ANY_COUNT, 500, "Recipients of one account that sends, in an hour; more get 450";
    "limits.recipients_per_day", ANY_COUNT, 2000, "The same in a day";
    "checks.dnsbl", Kind::Names, [], "Lists (RFC 5782) that are asked for the address of strangers on port 25";
    "checks.dnsbl_action", Kind::Word(CHECK_POLICIES), "refuse", "What comes of an address on a list: off, log or refuse (550)";
    "checks.reverse_dns", Kind::Word(CHECK_POLICIES), "off", "The same for an address without a name that has the address";
    "checks.helo", Kind::Word(CHECK_POLICIES), "off", "The same for EHLO without a qualified domain name or address literal";
    "greylist.enabled", Kind::Bool, false, "true: strangers on port 25 have to come back once, by network, sender and recipient";
    "greylist.delay", Kind::Integer(1, 86_400), 300, "Seconds after which they are let through; before that 451 4.7.1";
    "greylist.window", Kind::Integer(60, 2_592_000), 172_800, "Seconds in which they have to come back";
    "greylist.memory", Kind::Integer(3_600, 31_536_000), 3_024_000, "Seconds for which they stay known after their last message";
    "lmtp.listen", Kind::LocalListener, null, "LMTP (RFC 2033) for programs of this host: a port of loopback (\"127.0.0.1:24\") or the path of a socket; null: off";
    "store.flag_sync_ms", Kind::Integer(0, 60_000), 1_000, "How long an answered flag change may be unsynced";
    "store.poll_ms", Kind::Integer(50, 60_000), 1_000, "How often changes by other processes are looked for where the system does not tell of them";
    "store.sweep", Kind::Integer(0, 3_600), 10, "Seconds between looks for changes by programs that take no lock; 0: only when opened";
    "store.shared_by_hosts", Kind::Bool, false, "true: several hosts write to mail_root over a network file system";
}

/// Keys that are taken for the sake of earlier configurations and change nothing, with the reason. Using one is a warning.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[(
    "delivery.workers",
    "this key has no effect: deliveries wait for the disk, not for workers, and up to 64 do so at the same time",
)];

/// Keys, and sections, whose new values count from the next start; a reload names those that have changed.
pub const RESTART: &[&str] = &[
    "mail_root",
    "pid_file",
    "user",
    "group",
    "smtp.host",
    "smtp.port",
    "smtp.submission_port",
    "smtp.smtps_port",
    "imap.host",
    "imap.port",
    "imap.imaps_port",
    "exchange_api.host",
    "exchange_api.port",
    "exchange_api.secure_port",
    "exchange_api.public_port",
    "exchange_api.public_secure_port",
    "tls.enabled",
    "lmtp.listen",
    "store",
];

impl Key {
    /// Whether a new value counts from the next start only.
    #[must_use]
    pub fn needs_restart(&self) -> bool {
        RESTART.iter().any(|path| {
            let rest = self.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// The given object with the default of every key that is missing, and without [`SCHEMA_KEY`].
#[must_use]
pub fn with_defaults(given: &Value) -> Value {
    let mut whole = given.clone();
    if let Some(object) = whole.as_object_mut() {
        object.remove(SCHEMA_KEY);
    }
    for key in KEYS {
        insert(&mut whole, key.path, (key.default)());
    }
    whole
}

/// Puts a value at a dotted path unless something is there.
pub(super) fn insert(root: &mut Value, path: &str, value: Value) {
    let mut at = root;
    let (parents, last) = path
        .rsplit_once('.')
        .map_or((None, path), |(parents, last)| (Some(parents), last));
    for name in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let Some(object) = at.as_object_mut() else { return };
        at = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Some(object) = at.as_object_mut() {
        object.entry(last).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_name_keys_that_there_are() {
        for path in RESTART {
            assert!(crate::config::find(path).is_ok(), "{path}");
        }
        for (path, _) in WITHOUT_EFFECT {
            assert!(KEYS.iter().any(|key| key.path == *path), "{path}");
        }
        let twice: Vec<_> = KEYS
            .iter()
            .enumerate()
            .filter(|(index, key)| KEYS.iter().take(*index).any(|other| other.path == key.path))
            .map(|(_, key)| key.path)
            .collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
