//! A configuration as it counts: what the file says, and the defaults of what it does not say.

use core::fmt;

use serde_json::{Map, Value};

use super::keys::{self, KEYS, Key};
use super::suggest;

/// Every key with its value, as JSON. Only [`Effective::shown`] and its `Debug` leave out secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Effective(Value);

impl Effective {
    /// Of what a file says.
    pub(super) fn of(given: &Value) -> Self {
        Self(keys::with_defaults(given))
    }

    pub(super) const fn json(&self) -> &Value {
        &self.0
    }

    /// The value of a key or of a section.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, name| value.get(name))
    }

    /// The same for people and logs: `***` stands for each secret that is written here.
    #[must_use]
    pub fn shown(&self, path: &str) -> Option<Value> {
        self.without_secrets().get(path).cloned()
    }

    /// The same in at most 60 characters.
    #[must_use]
    pub fn brief(&self, path: &str) -> String {
        self.shown(path).as_ref().map(super::shorten).unwrap_or_default()
    }

    /// The whole, with `***` for each secret that is written here.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut whole = self.clone();
        for key in KEYS {
            if let Some(value) = whole.get_mut(key.path) {
                key.kind.hide(value);
            }
        }
        whole
    }

    /// As JSON.
    #[must_use]
    pub fn into_json(self) -> Value {
        self.0
    }

    /// Keys whose values differ, in the order of [`KEYS`].
    #[must_use]
    pub fn changes(&self, other: &Self) -> Vec<&'static Key> {
        KEYS.iter()
            .filter(|key| self.get(key.path) != other.get(key.path))
            .collect()
    }

    /// Puts the value of one key, as another configuration has it.
    pub fn take(&mut self, key: &Key, from: &Self) {
        if let (Some(mine), Some(theirs)) = (self.get_mut(key.path), from.get(key.path)) {
            *mine = theirs.clone();
        }
    }

    /// Files that hold secrets: the key, and the path as it is written.
    #[must_use]
    pub fn secret_files(&self) -> Vec<(String, &str)> {
        let mut found = Vec::new();
        for key in KEYS {
            if let Some(value) = self.get(key.path) {
                key.kind.secret_files(key.path, value, &mut found);
            }
        }
        found
    }

    fn get_mut(&mut self, path: &str) -> Option<&mut Value> {
        path.split('.')
            .try_fold(&mut self.0, |value, name| value.get_mut(name))
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.without_secrets().0, f)
    }
}

/// Keys at a path: the key of this name, or all of the section.
///
/// # Errors
/// There is none; the text says so, and what was probably meant.
pub fn find(path: &str) -> Result<Vec<&'static Key>, String> {
    let found: Vec<_> = KEYS
        .iter()
        .filter(|key| {
            let rest = key.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .collect();
    if found.is_empty() {
        let meant = suggest::question(&suggest::keys(path));
        return Err(format!("there is no key {path:?}{meant}"));
    }
    Ok(found)
}

/// Values by key as nested objects.
#[must_use]
pub fn nested(values: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut whole = Value::Object(Map::new());
    for (path, value) in values {
        keys::insert(&mut whole, path, value);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn effective(text: &str) -> Effective {
        Config::read(text).expect(text).effective
    }

    const SECRETS: &str = r#"{"relay": {
        "smarthost": "a.example", "smarthost_username": "u", "smarthost_password": "hidden-one",
        "routes": {"b.example": {"host": "c.example", "username": "u", "password": "hidden-two"},
                   "d.example": {"host": "c.example", "username": "u", "password": {"file": "route.pw"}}}},
        "exchange_api": {"token_secret": {"file": "token"}}}"#;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let effective = effective(SECRETS);
        let whole = format!("{effective:?}");
        assert!(!whole.contains("hidden") && whole.contains("***"), "{whole}");
        assert_eq!(effective.shown("relay.smarthost_password"), Some("***".into()));
        let routes = effective.shown("relay.routes").expect("there").to_string();
        assert!(
            routes.contains(r#""password":"***""#)
                && routes.contains("route.pw")
                && !routes.contains("hidden"),
            "{routes}"
        );
        assert_eq!(
            effective.get("relay.smarthost_password"),
            Some(&"hidden-one".into())
        );
    }

    #[test]
    fn files_of_secrets_are_found() {
        let files = effective(SECRETS);
        assert_eq!(
            files.secret_files(),
            [
                ("exchange_api.token_secret".to_owned(), "token"),
                ("relay.routes.d.example.password".to_owned(), "route.pw"),
            ]
        );
    }

    #[test]
    fn changes_are_told_by_key_and_defaults_are_values() {
        let paths = |a: &str, b: &str| -> Vec<&str> {
            let changes = effective(a).changes(&effective(b));
            changes.iter().map(|key| key.path).collect()
        };
        assert_eq!(paths("{}", r#"{"smtp": {"port": 25}}"#), Vec::<&str>::new());
        assert_eq!(
            paths(
                r#"{"log_level": "DEBUG", "smtp": {"port": 26}}"#,
                r#"{"smtp": {"port": 27}, "domains": ["b.example"]}"#
            ),
            ["domains", "log_level", "smtp.port"]
        );
    }

    #[test]
    fn sections_and_keys_are_found() {
        let paths =
            |path: &str| -> Vec<&str> { find(path).expect(path).iter().map(|key| key.path).collect() };
        assert_eq!(paths("imap.port"), ["imap.port"]);
        assert_eq!(
            paths("mta_sts"),
            ["mta_sts.mode", "mta_sts.mx", "mta_sts.max_age"]
        );
        let error = find("imap.prot").expect_err("no such key");
        assert_eq!(error, "there is no key \"imap.prot\"; did you mean `imap.port`?");
        assert_eq!(find("").expect_err("no key"), "there is no key \"\"");
    }
}
