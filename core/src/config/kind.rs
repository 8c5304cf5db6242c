//! What a value may be.

use core::net::IpAddr;

use serde_json::Value;

use super::{HIDDEN, Network, Problem, suggest};
use crate::addr::{Address, Domain};
use crate::relay::tls::policy::pattern;

/// The type and range of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text that is not empty.
    Text,
    /// A text, perhaps empty.
    AnyText,
    /// A text, or null.
    OptionalText,
    /// true or false.
    Bool,
    /// A whole number in this range.
    Integer(u64, u64),
    /// A port, or 0 or null for "off".
    Port,
    /// A domain name.
    Hostname,
    /// A host name or an IP address.
    Host,
    /// A host name, an IP address, or an empty text.
    OptionalHost,
    /// A whole address, a local part alone, or null.
    OptionalAddress,
    /// A list of domain names, not empty.
    Domains,
    /// A list of at most 16 domain names, perhaps empty.
    Names,
    /// A list of at most 16 MX patterns (RFC 8461 §3.2), perhaps empty.
    MxPatterns,
    /// A list of origins of pages (RFC 6454 §6.2), or `*`; perhaps empty.
    Origins,
    /// A port of a loopback address, the path of a socket, or null.
    LocalListener,
    /// An IP address, or a list of them.
    Hosts,
    /// A list of networks.
    Networks,
    /// A list of resolvers: address or `address:port`.
    Resolvers,
    /// A list of seconds, each 1 to 30 days.
    Delays,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or null.
    OptionalWord(&'static [&'static str]),
    /// Text, `{"file": PATH}`, `{"env": NAME}`, or null.
    Secret,
    /// Domain (or `*`) → route.
    Routes,
    /// Domain → TLS policy towards its MX hosts.
    TlsDomains,
    /// Log target → level, at most `MAX_LOG_TARGETS`.
    LogTargets,
    /// A list of at most 1000 `{"cert_file": PATH, "key_file": PATH}`, perhaps empty.
    Certificates,
}

/// Levels of the log.
pub(super) const LOG_LEVELS: &[&str] = &["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// Entries of a [`Kind::LogTargets`].
pub(super) const MAX_LOG_TARGETS: usize = 64;

/// TLS policies towards other servers.
pub(super) const TLS_POLICIES: &[&str] = &["none", "opportunistic", "require", "verify", "implicit"];

/// The same towards MX hosts, which do not speak TLS from the first octet.
pub(super) const MX_TLS_POLICIES: &[&str] = &["none", "opportunistic", "require", "verify"];

/// What can come of a check.
pub(super) const CHECK_POLICIES: &[&str] = &["off", "log", "refuse"];

/// Pairs of a [`Kind::Certificates`].
pub(super) const MAX_CERTIFICATES: usize = 1_000;

/// The keys of a route.
pub(super) const ROUTE: &[(&str, Kind)] = &[
    ("host", Kind::Host),
    ("port", Kind::Integer(1, 65_535)),
    ("username", Kind::OptionalText),
    ("password", Kind::Secret),
    ("tls", Kind::OptionalWord(TLS_POLICIES)),
];

/// Names of a [`Kind::Names`].
pub(super) const MAX_NAMES: usize = 16;

/// Seconds of 30 days: a longer retry delay helps nobody.
pub(super) const MAX_DELAY: u64 = 30 * 86_400;

impl Kind {
    /// What is expected, in words.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Text => "expected a text that is not empty".into(),
            Self::AnyText => "expected a text".into(),
            Self::OptionalText => "expected a text or null".into(),
            Self::Bool => "expected true or false".into(),
            Self::Integer(min, max) => format!("expected a whole number from {min} to {max}"),
            Self::Port => "expected a port from 1 to 65535, or 0 or null to turn the listener off".into(),
            Self::Hostname => "expected a domain name such as \"mail.example.com\"".into(),
            Self::Host => "expected a host name such as \"mx.example.net\" or an IP address".into(),
            Self::OptionalHost => {
                "expected a host name such as \"mx.example.net\", an IP address, or an empty text".into()
            }
            Self::OptionalAddress => {
                "expected an address such as \"it@example.com\", a local part alone, or null".into()
            }
            Self::Domains => "expected a list of domain names such as [\"example.com\"]".into(),
            Self::Names => {
                format!("expected a list of at most {MAX_NAMES} domain names such as [\"bl.example.org\"]")
            }
            Self::MxPatterns => format!(
                "expected a list of at most {MAX_NAMES} MX hosts such as [\"mail.example.com\", \"*.example.net\"]"
            ),
            Self::Origins => {
                "expected a list of origins such as [\"https://app.example.com\"], or [\"*\"]".into()
            }
            Self::LocalListener => "expected a loopback address with a port other than 25 such as \
                                    \"127.0.0.1:24\", the path of a socket such as \"/run/rmail/lmtp\", or null"
                .into(),
            Self::Hosts => "expected an IP address such as \"0.0.0.0\" or \"::\", or a list of them".into(),
            Self::Networks => "expected a list of networks such as [\"192.0.2.0/24\"]".into(),
            Self::Resolvers => {
                "expected a list of resolvers such as [\"192.0.2.53\", \"127.0.0.1:5353\"]".into()
            }
            Self::Delays => format!("expected a list of seconds, each from 1 to {MAX_DELAY}"),
            Self::Word(words) => format!("expected one of {}", words.join(", ")),
            Self::OptionalWord(words) => format!("expected null or one of {}", words.join(", ")),
            Self::Secret => "expected a text, {\"file\": \"PATH\"}, {\"env\": \"NAME\"} or null".into(),
            Self::TlsDomains => format!(
                "expected an object from domain to one of {}",
                MX_TLS_POLICIES.join(", ")
            ),
            Self::Certificates => format!(
                "expected a list of at most {MAX_CERTIFICATES} {{\"cert_file\": \"PATH\", \"key_file\": \"PATH\"}}"
            ),
            Self::LogTargets => format!(
                "expected an object of at most {MAX_LOG_TARGETS} targets such as {{\"smtp\": \"DEBUG\"}}, each with one of {}",
                LOG_LEVELS.join(", ")
            ),
            Self::Routes => "expected an object from domain (or \"*\") to {\"host\", \"port\", …}".into(),
        }
    }

    /// Adds what is wrong with a value.
    pub(super) fn check(self, path: &str, value: &Value, out: &mut Vec<Problem>) {
        let text = value.as_str();
        let good = match self {
            Self::Text => text.is_some_and(|text| !text.is_empty()),
            Self::AnyText => text.is_some(),
            Self::OptionalText => value.is_null() || text.is_some(),
            Self::Bool => value.is_boolean(),
            Self::Integer(min, max) => value.as_u64().is_some_and(|number| (min..=max).contains(&number)),
            Self::Port => value.is_null() || value.as_u64().is_some_and(|port| port <= 65_535),
            Self::Hostname => text
                .and_then(Domain::parse)
                .is_some_and(|domain| !domain.is_literal()),
            Self::Word(words) => text.is_some_and(|text| words.contains(&text)),
            Self::Host => text.is_some_and(is_host),
            Self::OptionalHost => text.is_some_and(|text| text.is_empty() || is_host(text)),
            Self::OptionalAddress => value.is_null() || text.is_some_and(is_address_or_local_part),
            Self::OptionalWord(words) => value.is_null() || text.is_some_and(|text| words.contains(&text)),
            Self::Secret => is_secret(value),
            Self::LocalListener => {
                value.is_null() || text.and_then(super::typed::parse_local_listener).is_some()
            }
            Self::Names | Self::MxPatterns
                if value.as_array().is_some_and(|names| names.len() > MAX_NAMES) =>
            {
                false
            }
            Self::Hosts if text.is_some() => text.is_some_and(is_ip),
            Self::Hosts | Self::Domains if value.as_array().is_some_and(Vec::is_empty) => false,
            Self::Hosts => {
                return self.check_list(path, value, |item| item.as_str().is_some_and(is_ip), out);
            }
            Self::Domains | Self::Names => {
                let good = |item: &Value| {
                    item.as_str()
                        .and_then(Domain::parse)
                        .is_some_and(|d| !d.is_literal())
                };
                return self.check_list(path, value, good, out);
            }
            Self::MxPatterns => {
                let good = |item: &Value| item.as_str().and_then(pattern).is_some();
                return self.check_list(path, value, good, out);
            }
            Self::Origins => {
                return self.check_list(path, value, |item| item.as_str().is_some_and(is_origin), out);
            }
            Self::Networks => {
                let good = |item: &Value| item.as_str().and_then(Network::parse).is_some();
                return self.check_list(path, value, good, out);
            }
            Self::Resolvers => {
                let good = |item: &Value| item.as_str().and_then(super::typed::parse_resolver).is_some();
                return self.check_list(path, value, good, out);
            }
            Self::Delays => {
                let good = |item: &Value| {
                    item.as_u64()
                        .is_some_and(|seconds| (1..=MAX_DELAY).contains(&seconds))
                };
                return self.check_list(path, value, good, out);
            }
            Self::Routes => return check_routes(path, value, out),
            Self::TlsDomains => return check_tls_domains(path, value, out),
            Self::LogTargets => return check_log_targets(path, value, out),
            Self::Certificates => return check_certificates(path, value, out),
        };
        if !good {
            out.push(match self {
                Self::Secret => Problem::hidden(path, self.expected()),
                _ => Problem::error(path, value, format!("{}{}", self.expected(), self.hint(value))),
            });
        }
    }

    /// What was probably meant by a value of this kind.
    fn hint(self, value: &Value) -> String {
        let Some(text) = value.as_str() else {
            return String::new();
        };
        match self {
            Self::Word(words) | Self::OptionalWord(words) => {
                let meant: Vec<&str> = suggest::word(text, words).into_iter().collect();
                suggest::question(&meant)
            }
            Self::Bool if matches!(text, "true" | "false") => "; leave out the quotes".into(),
            Self::Integer(..) | Self::Port
                if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) =>
            {
                "; leave out the quotes".into()
            }
            _ => String::new(),
        }
    }

    /// Puts `***` in the place of secrets that are written in a value.
    pub(super) fn hide(self, value: &mut Value) {
        match self {
            Self::Secret if value.as_str().is_some_and(|text| !text.is_empty()) => {
                *value = Value::String(HIDDEN.into());
            }
            Self::Routes => {
                for route in value.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
                    for (name, kind) in ROUTE {
                        if let Some(value) = route.get_mut(name) {
                            kind.hide(value);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Adds the files that a value names as holding secrets.
    pub(super) fn secret_files<'a>(self, path: &str, value: &'a Value, out: &mut Vec<(String, &'a str)>) {
        match self {
            Self::Secret => {
                let file = value.get("file").and_then(Value::as_str);
                out.extend(file.map(|file| (path.to_owned(), file)));
            }
            Self::Routes => {
                for (domain, route) in value.as_object().into_iter().flatten() {
                    for (name, kind) in ROUTE {
                        if let Some(value) = route.get(name) {
                            kind.secret_files(&format!("{path}.{domain}.{name}"), value, out);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// What is expected of an item, where the kind is a list.
    fn expected_item(self) -> String {
        match self {
            Self::Domains | Self::Names => "expected a domain name such as \"example.com\"".into(),
            Self::MxPatterns => {
                "expected an MX host such as \"mail.example.com\" or \"*.example.net\"".into()
            }
            Self::Origins => "expected \"*\" or an origin such as \"https://app.example.com:8443\"".into(),
            Self::Hosts => "expected an IP address such as \"0.0.0.0\" or \"::\"".into(),
            Self::Networks => "expected a network such as \"192.0.2.0/24\"".into(),
            Self::Resolvers => {
                "expected an IP address, perhaps with a port, such as \"192.0.2.53\" or \"127.0.0.1:5353\""
                    .into()
            }
            Self::Delays => format!("expected seconds from 1 to {MAX_DELAY}"),
            _ => self.expected(),
        }
    }

    fn check_list(self, path: &str, value: &Value, good: impl Fn(&Value) -> bool, out: &mut Vec<Problem>) {
        let Some(items) = value.as_array() else {
            out.push(Problem::error(path, value, self.expected()));
            return;
        };
        for (index, item) in items.iter().enumerate() {
            if !good(item) {
                out.push(Problem::error(
                    format!("{path}[{index}]"),
                    item,
                    self.expected_item(),
                ));
            }
        }
    }
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// `*`, or scheme and host as browsers write them in the field Origin: no path, no slash at the end.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return text == "*";
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    scheme
        .bytes()
        .all(|octet| octet.is_ascii_lowercase() || octet == b'-')
        && !scheme.is_empty()
        && !host.is_empty()
        && host.chars().all(good)
}

/// As the relay reads it: a name, an address, or an address literal.
fn is_host(text: &str) -> bool {
    is_ip(text) || Domain::parse(text).is_some()
}

fn is_address_or_local_part(text: &str) -> bool {
    Address::parse(text).is_some() || Address::parse(&format!("{text}@example.com")).is_some()
}

fn is_secret(value: &Value) -> bool {
    let source = |object: &serde_json::Map<String, Value>| {
        object.len() == 1
            && object
                .iter()
                .all(|(key, value)| matches!(key.as_str(), "file" | "env") && value.is_string())
    };
    value.is_null() || value.is_string() || value.as_object().is_some_and(source)
}

fn check_certificates(path: &str, value: &Value, out: &mut Vec<Problem>) {
    const FILES: [&str; 2] = ["cert_file", "key_file"];
    let Some(pairs) = value.as_array().filter(|pairs| pairs.len() <= MAX_CERTIFICATES) else {
        out.push(Problem::error(path, value, Kind::Certificates.expected()));
        return;
    };
    for (index, pair) in pairs.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(fields) = pair.as_object() else {
            let expected = "expected an object with \"cert_file\" and \"key_file\"";
            out.push(Problem::error(&path, pair, expected));
            continue;
        };
        for (key, value) in fields.iter().filter(|(key, _)| !FILES.contains(&key.as_str())) {
            let known = "unknown key; a pair has cert_file and key_file";
            out.push(Problem::error(format!("{path}.{key}"), value, known));
        }
        for file in FILES {
            Kind::Text.check(
                &format!("{path}.{file}"),
                fields.get(file).unwrap_or(&Value::Null),
                out,
            );
        }
        let cert = fields.get(FILES[0]);
        let before = pairs
            .iter()
            .take(index)
            .position(|other| other.get(FILES[0]) == cert);
        if let (Some(cert), Some(first)) = (cert, before) {
            let same = format!("the same file as in [{first}]");
            out.push(Problem::error(format!("{path}.cert_file"), cert, same));
        }
    }
}

fn check_log_targets(path: &str, value: &Value, out: &mut Vec<Problem>) {
    let few = |targets: &&serde_json::Map<String, Value>| targets.len() <= MAX_LOG_TARGETS;
    let Some(targets) = value.as_object().filter(few) else {
        out.push(Problem::error(path, value, Kind::LogTargets.expected()));
        return;
    };
    for (target, level) in targets {
        let path = format!("{path}.{target}");
        if !super::typed::is_log_target(target) {
            let expected = "expected a target such as \"smtp\" or \"store::file\" as the key";
            out.push(Problem::error(&path, &Value::String(target.clone()), expected));
        }
        Kind::Word(LOG_LEVELS).check(&path, level, out);
    }
}

fn check_tls_domains(path: &str, value: &Value, out: &mut Vec<Problem>) {
    let Some(domains) = value.as_object() else {
        out.push(Problem::error(path, value, Kind::TlsDomains.expected()));
        return;
    };
    for (domain, policy) in domains {
        let path = format!("{path}.{domain}");
        if Domain::parse(domain).is_none_or(|domain| domain.is_literal()) {
            let name = Value::String(domain.clone());
            out.push(Problem::error(&path, &name, "expected a domain name as the key"));
        }
        Kind::Word(MX_TLS_POLICIES).check(&path, policy, out);
    }
}

fn check_routes(path: &str, value: &Value, out: &mut Vec<Problem>) {
    let Some(routes) = value.as_object() else {
        out.push(Problem {
            value: HIDDEN.into(),
            ..Problem::about(path, Kind::Routes.expected())
        });
        return;
    };
    for (domain, route) in routes {
        let path = format!("{path}.{domain}");
        if domain != "*" && Domain::parse(domain).is_none() {
            let name = Value::String(domain.clone());
            out.push(Problem::error(
                &path,
                &name,
                "expected a domain name or \"*\" as the route's key",
            ));
        }
        let Some(fields) = route.as_object() else {
            out.push(Problem {
                value: HIDDEN.into(),
                ..Problem::about(
                    &path,
                    "expected an object with \"host\" and, if need be, \"port\" …",
                )
            });
            continue;
        };
        for (key, value) in fields {
            match ROUTE.iter().find(|(name, _)| name == key) {
                Some((_, kind)) => kind.check(&format!("{path}.{key}"), value, out),
                None => {
                    let names: Vec<&str> = ROUTE.iter().map(|(name, _)| *name).collect();
                    let meant: Vec<&str> = suggest::word(key, &names).into_iter().collect();
                    let known = format!("unknown key{}", suggest::question(&meant));
                    let all = format!("{known} (a route has {})", names.join(", "));
                    // It may be a misspelt password.
                    out.push(Problem::hidden(format!("{path}.{key}"), all));
                }
            }
        }
        if !fields.contains_key("host") {
            out.push(Problem::error(
                format!("{path}.host"),
                &Value::Null,
                Kind::Host.expected(),
            ));
        }
    }
}
