//! `{mail_root}/domains/{domain}/domain.json`.

use serde::{Deserialize, Serialize};

/// What is settled per domain. A missing file means the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct DomainFile {
    /// An unauthenticated MAIL FROM in this domain is refused on port 25.
    #[serde(default = "yes")]
    pub reject_own_sender: bool,
    /// Fields of other programs and versions.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl DomainFile {
    /// What is in the file and has no effect, in words, each with its place.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.other.keys().map(|name| super::user::unknown(name)).collect()
    }
}

impl Default for DomainFile {
    fn default() -> Self {
        Self {
            reject_own_sender: true,
            other: serde_json::Map::new(),
        }
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_foreign_fields() {
        let read = |text| serde_json::from_str::<DomainFile>(text);
        assert_eq!(read("{}").expect("empty"), DomainFile::default());
        let file = read(r#"{"reject_own_sender": false, "dkim": {"selector": "a"}}"#).expect("good");
        assert!(!file.reject_own_sender && file.other.contains_key("dkim"));
        assert_eq!(
            file.complaints(),
            ["\"dkim\": unknown field; it is kept, and has no effect"]
        );
        assert!(read(r#"{"reject_own_sender": "no"}"#).is_err());
    }
}
