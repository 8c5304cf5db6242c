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

mod check;
pub mod keys;
mod kind;
mod network;
mod typed;

pub use kind::Kind;
pub use network::Network;
pub use typed::{
    Api, Auth, Config, ConnectionsPerAddress, Delivery, Imap, LimitsConfig, LogLevel, Relay, RouteConfig,
    SecretSource, Smtp, Store, Tls, TlsPolicyName,
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

/// A value in at most this many characters: messages must stay lines.
const SHOWN: usize = 60;

fn shorten(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}

impl Config {
    /// Reads a configuration. The second part holds what is worth a warning.
    ///
    /// # Errors
    /// All that is wrong, in the order of the file's keys.
    pub fn parse(text: &str) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let given: serde_json::Value = serde_json::from_str(text).map_err(|error| {
            let place = format!("this is no JSON: {error}");
            vec![Problem {
                path: String::new(),
                value: String::new(),
                expected: place,
                warning: false,
            }]
        })?;
        let mut problems = check::problems(&given);
        if !problems.is_empty() {
            return Err(problems);
        }
        let whole = keys::with_defaults(&given);
        let config: Self = serde_path_to_error::deserialize(&whole).map_err(|error| {
            let path = error.path().to_string();
            vec![Problem {
                path,
                value: String::new(),
                expected: error.inner().to_string(),
                warning: false,
            }]
        })?;
        problems.extend(check::across(&config, &given));
        if problems.iter().any(|problem| !problem.warning) {
            Err(problems)
        } else {
            Ok((config, problems))
        }
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
    fn broken_json_names_line_and_column() {
        assert!(problems("{\n \"a\": }").join("").contains("line 2 column"));
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
