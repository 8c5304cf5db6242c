//! Finds everything that is wrong with a configuration.

use core::net::IpAddr;

use serde_json::Value;

use super::keys::{KEYS, Key, WITHOUT_EFFECT};
use super::kind::Kind;
use super::schema::SCHEMA_KEY;
use super::suggest;
use super::typed::{Config, LocalListener, RouteConfig, TlsPolicyName};
use super::{HIDDEN, Problem};
use crate::auth::token;

/// Unknown keys, wrong types, values out of range.
pub(super) fn problems(given: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    if given.is_object() {
        walk("", "", given, &mut out);
    } else {
        out.push(Problem::error("", given, "expected an object"));
    }
    out
}

/// Looks at an object. `shown` is its path, `meant` the section that it is, or is taken for.
fn walk(shown: &str, meant: &str, value: &Value, out: &mut Vec<Problem>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let (path, meant) = (join(shown, name), join(meant, name));
        if path == SCHEMA_KEY {
            Kind::Text.check(&path, value, out);
        } else if name.contains('.') {
            // `{"tls.enabled": …}` looks like a key, and would have no effect.
            let nested = "unknown key; sections are objects: {\"tls\": {\"enabled\": …}}";
            out.push(with_value(shown_value(&meant, value), &path, nested));
        } else if let Some(key) = KEYS.iter().find(|key| key.path == meant) {
            key.kind.check(&path, value, out);
        } else if suggest::is_section(&meant) {
            if value.is_object() {
                // Sections nest as deep as the list of keys, not as deep as the input.
                walk(&path, &meant, value, out);
            } else {
                let section = "expected an object with the keys of this section";
                out.push(with_value(shown_value(&meant, value), &path, section));
            }
        } else {
            out.push(unknown(&path, &meant, value));
            if let Some(section) = suggest::section(&meant).filter(|_| value.is_object()) {
                // What is wrong in it is told at once too.
                walk(&path, section, value, out);
            }
        }
    }
}

fn join(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        section => format!("{section}.{name}"),
    }
}

fn unknown(path: &str, meant: &str, value: &Value) -> Problem {
    let keys = suggest::keys(meant);
    let expected = match keys.as_slice() {
        [] => "unknown key; `rmail config show` lists all keys".to_owned(),
        found => format!("unknown key{}", suggest::question(found)),
    };
    with_value(shown_value(meant, value), path, expected)
}

fn with_value(value: String, path: &str, expected: impl Into<String>) -> Problem {
    Problem {
        value,
        ..Problem::about(path, expected)
    }
}

/// A value as it may be shown: what stands under a key that may be a misspelt secret does not appear in messages.
fn shown_value(path: &str, value: &Value) -> String {
    let secret = |key: &&Key| matches!(key.kind, Kind::Secret | Kind::Routes);
    let meant = suggest::keys(path);
    let name = path.to_lowercase();
    let telling = ["pass", "pw", "secret", "token", "key", "cred"]
        .iter()
        .any(|word| name.contains(word));
    let near = KEYS.iter().filter(secret).any(|key| meant.contains(&key.path));
    match value {
        Value::Object(object) if !object.is_empty() => "{…}".into(),
        Value::Array(array) if !array.is_empty() => "[…]".into(),
        _ if telling || near => HIDDEN.into(),
        _ => super::shorten(value),
    }
}

/// Smallest number of recipients that a server must take (RFC 5321 §4.5.3.1.8).
const RFC_RECIPIENTS: usize = 100;

/// What no key shows alone.
pub(super) fn across(config: &Config, given: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let at = |pointer: &str| given.pointer(pointer).cloned().unwrap_or(Value::Null);
    if config.smtp.max_recipients < RFC_RECIPIENTS {
        let value = at("/smtp/max_recipients");
        out.push(Problem::warning(
            "smtp.max_recipients",
            &value,
            "RFC 5321 §4.5.3.1.8 asks for at least 100",
        ));
    }
    out.extend(token_secret(config));
    if config.user.is_none() && config.group.is_some() {
        let value = at("/group");
        out.push(Problem::error(
            "group",
            &value,
            "expected null, as `user` names nobody",
        ));
    }
    for (path, why) in WITHOUT_EFFECT {
        if let Some(key) = KEYS.iter().find(|key| key.path == *path) {
            let value = at(&format!("/{}", path.replace('.', "/")));
            if !value.is_null() && value != (key.default)() {
                out.push(Problem::warning(*path, &value, *why));
            }
        }
    }
    match (&config.tls.cert_file, &config.tls.key_file) {
        (Some(_), None) => out.push(Problem::error(
            "tls.key_file",
            &Value::Null,
            "tls.cert_file needs its key",
        )),
        (None, Some(_)) => out.push(Problem::error(
            "tls.cert_file",
            &Value::Null,
            "tls.key_file needs its certificate",
        )),
        _ => {}
    }
    super::acme::check(config, &mut out);
    same_domains(config, given, &mut out);
    same_ports(config, &mut out);
    if config.greylist.enabled && config.greylist.window <= config.greylist.delay {
        out.push(Problem::error(
            "greylist.window",
            &config.greylist.window.into(),
            "expected more seconds than greylist.delay: nobody would come back in time",
        ));
    }
    if !config.tls.enabled && !on_loopback(config) {
        out.push(Problem::warning(
            "tls.enabled",
            &Value::Bool(false),
            "passwords and mail go in clear text; behind a TLS proxy listen on 127.0.0.1",
        ));
    }
    let relay = &config.relay;
    if relay.smarthost_tls == Some(TlsPolicyName::Implicit) && matches!(relay.smarthost_port, 25 | 587) {
        let port = relay.smarthost_port.into();
        let usual = "implicit TLS is spoken on 465; here servers wait for STARTTLS";
        out.push(Problem::warning("relay.smarthost_port", &port, usual));
    }
    if !relay.smarthost_username.is_empty() {
        let value = at("/relay/smarthost_tls");
        out.extend(credentials("relay.smarthost_tls", &value, relay.smarthost_tls));
        if relay
            .smarthost_password
            .as_ref()
            .is_none_or(super::SecretSource::is_empty)
        {
            out.push(Problem::error(
                "relay.smarthost_password",
                &Value::Null,
                "relay.smarthost_username needs one",
            ));
        }
    }
    for (key, routes) in [("routes", &relay.routes), ("sender_routes", &relay.sender_routes)] {
        let given = at(&format!("/relay/{key}"));
        for (domain, route) in routes {
            out.extend(check_route(
                &format!("relay.{key}.{domain}"),
                given.get(domain),
                route,
            ));
        }
    }
    if relay.sender_routes.contains_key("*") {
        let usual = "expected a domain: a way for all senders is * in relay.routes";
        out.push(Problem::error(
            "relay.sender_routes",
            &Value::String("*".into()),
            usual,
        ));
    }
    out
}

/// A route's credentials.
fn check_route(path: &str, given: Option<&Value>, route: &RouteConfig) -> Vec<Problem> {
    let mut out = Vec::new();
    if route.username.as_ref().is_some_and(|name| !name.is_empty()) {
        let value = given.and_then(|route| route.get("tls"));
        let tls = format!("{path}.tls");
        out.extend(credentials(&tls, value.unwrap_or(&Value::Null), route.tls));
        if route.password.as_ref().is_none_or(super::SecretSource::is_empty) {
            let path = format!("{path}.password");
            out.push(Problem::error(path, &Value::Null, "the username needs one"));
        }
    }
    out
}

fn same_domains(config: &Config, given: &Value, out: &mut Vec<Problem>) {
    for (index, domain) in config.domains.iter().enumerate() {
        if let Some(first) = config
            .domains
            .iter()
            .take(index)
            .position(|other| other == domain)
        {
            let value = given.pointer(&format!("/domains/{index}"));
            let same = format!("the same domain as domains[{first}]");
            out.push(Problem::error(
                format!("domains[{index}]"),
                value.unwrap_or(&Value::Null),
                same,
            ));
        }
    }
}

/// A key that is written here has to be one, and long enough.
fn token_secret(config: &Config) -> Option<Problem> {
    let path = "exchange_api.token_secret";
    let Some(super::SecretSource::Text(text)) = &config.exchange_api.token_secret else {
        return None;
    };
    match token::Key::from_hex(text.as_bytes()) {
        _ if text.is_empty() => None,
        None => Some(Problem::hidden(path, token::KEY_EXPECTED)),
        Some(key) if key.len() < token::GOOD_KEY => Some(Problem {
            warning: true,
            ..Problem::hidden(
                path,
                "RFC 7518 §3.2 asks for 32 octets at least (`openssl rand -hex 32`)",
            )
        }),
        Some(_) => None,
    }
}

/// One port of one address cannot have two services.
fn same_ports(config: &Config, out: &mut Vec<Problem>) {
    let (smtp, imap, api) = (&config.smtp, &config.imap, &config.exchange_api);
    let (lmtp_host, lmtp_port) = match config.lmtp.listen {
        Some(LocalListener::Tcp(address)) => (vec![address.ip()], Some(address.port())),
        _ => (Vec::new(), None),
    };
    let listeners = [
        ("smtp.port", &smtp.host, smtp.port),
        ("smtp.submission_port", &smtp.host, smtp.submission_port),
        ("smtp.smtps_port", &smtp.host, smtp.smtps_port),
        ("imap.port", &imap.host, imap.port),
        ("imap.imaps_port", &imap.host, imap.imaps_port),
        ("exchange_api.port", &api.host, api.port),
        ("exchange_api.secure_port", &api.host, api.secure_port),
        ("exchange_api.public_port", &api.host, api.public_port),
        (
            "exchange_api.public_secure_port",
            &api.host,
            api.public_secure_port,
        ),
        ("lmtp.listen", &lmtp_host, lmtp_port),
    ];
    for (index, (path, hosts, port)) in listeners.iter().enumerate() {
        let Some(port) = *port else { continue };
        let other = listeners.iter().take(index).find(|(_, others, other)| {
            *other == Some(port) && others.iter().any(|a| hosts.iter().any(|b| overlap(*a, *b)))
        });
        if let Some((other, ..)) = other {
            out.push(Problem::error(
                *path,
                &port.into(),
                format!("{other} has this port too"),
            ));
        }
    }
}

/// Whether both cannot have the same port. "::" is IPv4 too.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let all = |a: IpAddr, b: IpAddr| a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a == b || all(a, b) || all(b, a)
}

fn on_loopback(config: &Config) -> bool {
    [&config.smtp.host, &config.imap.host, &config.exchange_api.host]
        .into_iter()
        .flatten()
        .all(IpAddr::is_loopback)
}

/// Credentials never go over unverified TLS unless `require` is named.
fn credentials(path: &str, value: &Value, policy: Option<TlsPolicyName>) -> Option<Problem> {
    match policy {
        None | Some(TlsPolicyName::Verify | TlsPolicyName::Implicit) => None,
        Some(TlsPolicyName::Require) => Some(Problem::warning(
            path,
            value,
            "the password goes to whoever answers, for the certificate is not verified; verify is safe",
        )),
        Some(TlsPolicyName::None | TlsPolicyName::Opportunistic) => Some(Problem::error(
            path,
            value,
            "a password needs verify, implicit, or (without verification) require",
        )),
    }
}
