//! `rmail diagnose`: it finds nothing wrong with a good server, and what is wrong with a broken one, by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "test code"
)]

mod broken;
mod ended;
mod fakes;
mod good;
mod proxy;

use std::path::Path;
use std::process::{Command, Output};

use rmail_tests::rmail;
use serde_json::Value;

/// What a diagnosis has found.
pub struct Diagnosis {
    pub json: Value,
    pub code: Option<i32>,
}

impl Diagnosis {
    /// Of a server of this host.
    pub fn of(config: &Path, arguments: &[&str]) -> Self {
        Self::with(
            Command::new(rmail())
                .arg("--config")
                .arg(config)
                .args(["diagnose", "--json"])
                .args(arguments),
        )
    }

    pub fn with(command: &mut Command) -> Self {
        let Output {
            stdout,
            stderr,
            status,
        } = command.output().expect("rmail is built beside its tests");
        let json = serde_json::from_slice(&stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {}{}",
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            )
        });
        Self {
            json,
            code: status.code(),
        }
    }

    pub fn finding(&self, id: &str) -> &Value {
        let findings = self.json["findings"].as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["id"] == id);
        found.unwrap_or_else(|| panic!("{id} was not looked at: {:#}", self.json))
    }

    pub fn ids(&self, status: &str) -> Vec<&str> {
        let findings = self.json["findings"].as_array().expect("findings");
        let of = findings.iter().filter(|finding| finding["status"] == status);
        of.filter_map(|finding| finding["id"].as_str()).collect()
    }

    /// Findings that somebody has to see to.
    pub fn bad(&self) -> Vec<&Value> {
        let findings = self.json["findings"].as_array().expect("findings");
        let bad = |status: &Value| status == "failure" || status == "warning";
        findings
            .iter()
            .filter(|finding| bad(&finding["status"]))
            .collect()
    }
}
