//! The configuration: typed, from a string, with every problem and its path at once.
//!
//! [`keys::KEYS`] is the one list of keys: what is unknown, of the wrong type or out of range is found by it, `rmail
//! init` prints it, and defaults come from it. [`Config`] is the same as types; [`Config::parse`] turns text into it.
//!
//! # Invariants
//!
//! * Nothing is read here but the text: secrets in files or the environment stay [`SecretSource`]s, relative paths stay
//!   relative.
//! * A key that is missing takes its default; a key that is wrong never does.

mod acme;
mod check;
mod effective;
mod json;
pub mod keys;
mod kind;
mod network;
pub mod schema;
mod suggest;
mod typed;

pub use effective::{Effective, find, nested};
pub use kind::Kind;
pub use network::Network;
pub use typed::{
    Acme, Api, Auth, CertificateFiles, ChecksConfig, Config, ConnectionsPerAddress, Delivery, GreylistConfig,
    Imap, LimitsConfig, Lmtp, LocalListener, Log, LogFormat, LogJournal, LogLevel, MtaSts, Relay,
    RouteConfig, SecretSource, Smtp, Store, Tls, TlsPolicyName, is_log_target,
};

use core::fmt;

/// Something wrong with a configuration, or something to think about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `smtp.max_recipients`, `domains[2]`; empty for the text as a whole.
    pub path: String,
    /// The value as it stands there, shortened; empty where there is none.
    pub value: String,
    /// What would be right.
    pub expected: String,
    /// The server starts in spite of it.
    pub warning: bool,
}

impl Problem {
    fn error(path: impl Into<String>, value: &serde_json::Value, expected: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            value: shorten(value),
            expected: expected.into(),
            warning: false,
        }
    }

    /// An error in a value that nobody is to see.
    fn hidden(path: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            value: HIDDEN.into(),
            ..Self::about(path, expected)
        }
    }

    /// An error that is not in the value.
    fn about(path: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            value: String::new(),
            expected: expected.into(),
            warning: false,
        }
    }

    fn warning(path: impl Into<String>, value: &serde_json::Value, expected: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::error(path, value, expected)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() {
            "config.json"
        } else {
            &self.path
        };
        if self.value.is_empty() {
            write!(f, "{place}: {}", self.expected)
        } else if self.warning {
            write!(f, "{place} = {}: {}", self.value, self.expected)
        } else {
            write!(f, "{place}: {} is not right: {}", self.value, self.expected)
        }
    }
}

/// Stands for the value of a secret.
const HIDDEN: &str = "***";

/// A value in at most this many characters: messages must stay lines.
const SHOWN: usize = 60;

fn shorten(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// As types.
    pub config: Config,
    /// What is worth a warning.
    pub warnings: Vec<Problem>,
    /// As values by key.
    pub effective: Effective,
}

impl Config {
    /// Reads a configuration. The second part holds what is worth a warning.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        Self::read(text).map(|parsed| (parsed.config, parsed.warnings))
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// All that is wrong, in the order of the file's keys.
    pub fn read(text: &str) -> Result<Parsed, Vec<Problem>> {
        let (given, twice) = json::read(text).map_err(|error| {
            let place = format!("this is no JSON: {error}");
            vec![Problem::about("", place)]
        })?;
        let mut problems = check::problems(&given);
        problems.extend(twice);
        if !problems.is_empty() {
            return Err(problems);
        }
        let effective = Effective::of(&given);
        let config: Self = serde_path_to_error::deserialize(effective.json()).map_err(|error| {
            let path = error.path().to_string();
            vec![Problem::about(path, error.inner().to_string())]
        })?;
        problems.extend(check::across(&config, &given));
        if problems.iter().any(|problem| !problem.warning) {
            return Err(problems);
        }
        Ok(Parsed {
            config,
            warnings: problems,
            effective,
        })
    }

    /// The configuration of an empty file.
    #[must_use]
    pub fn defaults_json() -> serde_json::Value {
        keys::with_defaults(&serde_json::Value::Object(serde_json::Map::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        Config::parse(text)
            .expect_err("wrong")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_empty_object_gives_the_defaults() {
        let (config, warnings) = Config::parse("{}").expect("defaults are valid");
        assert_eq!(warnings, []);
        assert_eq!(
            (
                config.smtp.port,
                config.smtp.submission_port,
                config.imap.imaps_port
            ),
            (Some(25), Some(587), Some(993))
        );
        assert_eq!(config.smtp.max_message_size, 52_428_800);
        assert_eq!(
            config.relay.retry_delays,
            [60, 300, 900, 1800, 3600, 14400, 28800, 86400]
        );
        assert_eq!(config.limits.connections_per_address.imap, 50);
        assert_eq!(
            config.smtp.host,
            ["0.0.0.0".parse::<core::net::IpAddr>().expect("address")]
        );
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let found = problems(
            r#"{"hostnam": "x", "smtp": {"port": 70000, "max_recipients": "many", "host": ["::", "nowhere"]},
                "domains": ["good.example", "bad..example"], "tls": 3, "relay": {"retry_delays": [1, -2]}}"#,
        );
        let text = found.join("\n");
        for part in [
            "hostnam:",
            "did you mean `hostname`",
            "smtp.port: 70000",
            "smtp.max_recipients: \"many\"",
            "smtp.host[1]",
            "domains[1]",
            "tls: 3",
            "relay.retry_delays[1]: -2",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert_eq!(found.len(), 7, "{text}");
    }

    #[test]
    fn what_was_probably_meant_is_told_with_what_is_wrong_there() {
        for (text, expected) in [
            (
                r#"{"smpt": {"prot": 25, "port": "x"}}"#,
                &[
                    "smpt: {…} is not right: unknown key; did you mean `smtp`?",
                    "smpt.port: \"x\" is not right: expected a port",
                    "smpt.prot: 25 is not right: unknown key; did you mean `smtp.port`?",
                ][..],
            ),
            (
                r#"{"imap": {"cert_file": "a.pem"}}"#,
                &["imap.cert_file: \"a.pem\" is not right: unknown key; did you mean `tls.cert_file`?"],
            ),
            (
                r#"{"max_connections": 3}"#,
                &[
                    "unknown key; did you mean one of `exchange_api.max_connections`, `imap.max_connections`, `smtp.max_connections`?",
                ],
            ),
            (
                r#"{"colour": "red"}"#,
                &["unknown key; `rmail config show` lists all keys"],
            ),
            (r#"{"log_level": "info"}"#, &["CRITICAL; did you mean `INFO`?"]),
            (r#"{"smtp": {"port": "25"}}"#, &["leave out the quotes"]),
            (r#"{"smtp": {"auth_on_25": "true"}}"#, &["leave out the quotes"]),
            (
                r#"{"relay": {"routes": {"a.example": {"host": "b", "prot": 25}}}}"#,
                &[
                    "relay.routes.a.example.prot: *** is not right: unknown key; did you mean `port`? (a route has host,",
                ],
            ),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{text}: {found}");
            }
        }
    }

    #[test]
    fn misspelt_secrets_are_not_shown() {
        for text in [
            r#"{"relay": {"smarthost_pasword": "geheim"}}"#,
            r#"{"relay": {"password": "geheim"}}"#,
            r#"{"relay.smarthost_password": "geheim"}"#,
            r#"{"token": "geheim"}"#,
            r#"{"relay": {"rout": {"a.example": {"host": "b", "password": "geheim"}}}}"#,
            r#"{"relay": {"routes": {"a.example": {"host": "b", "pasword": "geheim"}}}}"#,
        ] {
            let found = problems(text).join("\n");
            assert!(!found.contains("geheim"), "{found}");
        }
    }

    #[test]
    fn mistakes_that_look_right_are_told() {
        for (text, expected) in [
            (
                r#"{"tls.enabled": false}"#,
                "tls.enabled: false is not right: unknown key",
            ),
            (
                r#"{"limits": {"connections_per_address.smtp": 3}}"#,
                "unknown key",
            ),
            (
                r#"{"smtp": {"port": 25}, "smtp": {"port": 26}}"#,
                "smtp: this key stands here twice",
            ),
            (
                r#"{"relay": {"routes": {"a.example": {"host": "b", "host": "c"}}}}"#,
                "relay.routes.a.example.host: this key",
            ),
            (r#"{"smtp": {"host": []}}"#, "smtp.host: [] is not right"),
            (
                r#"{"smtp": {"host": ["::", "x"]}}"#,
                "smtp.host[1]: \"x\" is not right: expected an IP address",
            ),
            (
                r#"{"domains": ["a.example", "A.example"]}"#,
                "domains[1]: \"A.example\" is not right: the same domain as domains[0]",
            ),
            (r#"{"postmaster": "a@@b"}"#, "postmaster"),
            (r#"{"relay": {"smarthost": "two words"}}"#, "relay.smarthost"),
            (
                r#"{"relay": {"routes": {"a.example": {"host": "two words"}}}}"#,
                "relay.routes.a.example.host",
            ),
            (
                r#"{"relay": {"routes": {"a.example": {"host": "b", "username": "u"}}}}"#,
                "relay.routes.a.example.password",
            ),
            (
                r#"{"tls": {"certificates": {"cert_file": "a", "key_file": "b"}}}"#,
                "tls.certificates: {\"cert_file\":\"a\",\"key_file\":\"b\"} is not right: expected a list",
            ),
            (
                r#"{"tls": {"certificates": [{"cert_file": "a"}]}}"#,
                "tls.certificates[0].key_file: null is not right: expected a text",
            ),
            (
                r#"{"tls": {"certificates": [{"cert_file": "a", "key_file": "b", "name": "c"}]}}"#,
                "tls.certificates[0].name: \"c\" is not right: unknown key",
            ),
            (
                r#"{"tls": {"certificates": [{"cert_file": "a", "key_file": "b"}, {"cert_file": "a", "key_file": "c"}]}}"#,
                "tls.certificates[1].cert_file: \"a\" is not right: the same file as in [0]",
            ),
            (
                r#"{"smtp": {"port": 587}}"#,
                "smtp.submission_port: 587 is not right: smtp.port has this port too",
            ),
            (
                r#"{"smtp": {"host": ["192.0.2.1"]}, "imap": {"port": 25, "host": "0.0.0.0"}}"#,
                "imap.port: 25 is not right: smtp.port",
            ),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(expected), "{text}: {found:?}");
        }
        for text in [
            r#"{"smtp": {"host": "192.0.2.1"}, "imap": {"host": "192.0.2.2", "port": 25}}"#,
            r#"{"smtp": {"host": ["::", "0.0.0.0"], "port": 0, "smtps_port": null, "submission_port": 0}}"#,
            r#"{"postmaster": "it"}"#,
            r#"{"postmaster": "it@else.example"}"#,
            r#"{"relay": {"smarthost": "192.0.2.1"}}"#,
        ] {
            assert_eq!(Config::parse(text).expect(text).1, [], "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let found = problems(r#"{"relay": {"smarthost_password": 4711}}"#).join("\n");
        assert!(found.contains("***") && !found.contains("4711"), "{found}");
        let short = "4711".repeat(8);
        let text = format!(r#"{{"exchange_api": {{"token_secret": "{short}"}}}}"#);
        let (_, warnings) = Config::parse(&text).expect("valid");
        assert_eq!(warnings[0].value, "***");
    }

    #[test]
    fn a_token_secret_is_hexadecimal_and_long() {
        let said = |secret: &str| problems(&format!(r#"{{"exchange_api": {{"token_secret": "{secret}"}}}}"#));
        for bad in [
            "4711",
            "no digits, but long enough to be a key of sixteen octets",
            &"a".repeat(63),
        ] {
            let found = said(bad).join("\n");
            assert!(
                found.starts_with("exchange_api.token_secret: ") && !found.contains(bad),
                "{found}"
            );
        }
        let good = format!(r#"{{"exchange_api": {{"token_secret": "{}"}}}}"#, "0a".repeat(32));
        assert_eq!(Config::parse(&good).expect("valid").1.len(), 0);
        let origins =
            r#"{"exchange_api": {"cors_origins": ["*", "https://a.example", "http://[::1]:8080"]}}"#;
        assert!(Config::parse(origins).is_ok());
        for bad in ["https://a.example/", "a.example", "https://", "https://a b"] {
            let found = problems(&format!(r#"{{"exchange_api": {{"cors_origins": ["{bad}"]}}}}"#));
            assert!(
                found[0].starts_with("exchange_api.cors_origins[0]: "),
                "{found:?}"
            );
        }
    }

    #[test]
    fn clear_text_and_a_port_of_the_other_kind_are_worth_a_warning() {
        for (text, path) in [
            (r#"{"tls": {"enabled": false}}"#, "tls.enabled"),
            (
                r#"{"relay": {"smarthost": "a.example", "smarthost_tls": "implicit"}}"#,
                "relay.smarthost_port",
            ),
        ] {
            let (_, warnings) = Config::parse(text).expect("valid");
            let paths: Vec<&str> = warnings.iter().map(|warning| warning.path.as_str()).collect();
            assert_eq!(paths, [path], "{text}");
        }
        let behind_a_proxy = r#"{"tls": {"enabled": false}, "smtp": {"host": "127.0.0.1"}, "imap": {"host": "::1"},
            "exchange_api": {"host": ["127.0.0.1"]}}"#;
        assert_eq!(Config::parse(behind_a_proxy).expect("valid").1, []);
    }

    #[test]
    fn the_hostname_is_an_a_label() {
        let (config, _) = Config::parse(r#"{"hostname": "mail.münchen.example"}"#).expect("valid");
        assert_eq!(config.hostname, "mail.xn--mnchen-3ya.example");
    }

    #[test]
    fn broken_json_names_line_and_column() {
        assert!(problems("{\n \"a\": }").join("").contains("line 2 column"));
    }

    #[test]
    fn targets_of_the_log_have_levels() {
        let text = r#"{"log": {"format": "json", "file": "rmail.log", "targets": {"smtp": "DEBUG", "store::file": "ERROR"}}}"#;
        let (config, warnings) = Config::parse(text).expect("valid");
        assert_eq!(warnings, []);
        assert_eq!(
            (config.log.format, config.log.journal),
            (LogFormat::Json, LogJournal::Auto)
        );
        assert_eq!(config.log.targets["smtp"], LogLevel::Debug);
        for (bad, path) in [
            (
                r#"{"log": {"targets": {"smtp": "LOUD"}}}"#,
                "log.targets.smtp: \"LOUD\"",
            ),
            (r#"{"log": {"targets": {"a b": "INFO"}}}"#, "log.targets.a b: "),
            (
                r#"{"log": {"targets": {"store::": "INFO"}}}"#,
                "log.targets.store::: ",
            ),
            (r#"{"log": {"targets": ["smtp"]}}"#, "log.targets: "),
        ] {
            let found = problems(bad);
            assert!(found.len() == 1 && found[0].starts_with(path), "{found:?}");
        }
        for level in ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] {
            assert_eq!(
                LogLevel::parse(&level.to_lowercase()).map(LogLevel::name),
                Some(level)
            );
        }
    }

    #[test]
    fn null_and_zero_turn_listeners_off() {
        let (config, _) = Config::parse(r#"{"smtp": {"port": 0}, "imap": {"port": null}}"#).expect("valid");
        assert_eq!((config.smtp.port, config.imap.port), (None, None));
    }

    #[test]
    fn routes_and_secrets_are_typed() {
        let text = r#"{"relay": {"routes": {"*": {"host": "127.0.0.1", "port": 2626, "tls": "none"}},
            "smarthost": "mx.example.net", "smarthost_username": "u", "smarthost_password": {"env": "PW"},
            "smarthost_tls": "require"}}"#;
        let (config, warnings) = Config::parse(text).expect("valid");
        assert_eq!(config.relay.routes["*"].port, Some(2626));
        assert_eq!(
            config.relay.smarthost_password,
            Some(SecretSource::EnvVar { env: "PW".into() })
        );
        assert!(
            warnings
                .iter()
                .any(|warning| warning.path == "relay.smarthost_tls"),
            "{warnings:?}"
        );
        let found = problems(r#"{"relay": {"routes": {"a.example": {"prot": 1}}}}"#).join("\n");
        assert!(found.contains("relay.routes.a.example.prot"), "{found}");
        assert!(found.contains("relay.routes.a.example.host"), "{found}");
    }

    #[test]
    fn a_half_given_certificate_is_refused() {
        assert!(
            problems(r#"{"tls": {"cert_file": "a.pem"}}"#)
                .join("")
                .contains("tls.key_file")
        );
    }
}
