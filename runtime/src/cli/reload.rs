//! Reloading: what has changed since the server took its configuration, and a look at the files whether it has.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rmail_core::config::Effective;
use sha2::{Digest as _, Sha256};

use super::Failure;
use super::load::{LoadError, Loaded, load, load_or_fail};
use crate::server::Reloader;

/// Between two looks at the files. They are looked at by name, since editors and secret stores replace them: what is
/// watched through a descriptor would be the old file. A change counts when two looks have found the same: it is taken after
/// two to four seconds, and at rest this is a quarter of a process's wake-ups.
const PERIOD: Duration = Duration::from_secs(2);

/// Octets of a secret's file that are looked at.
const LONGEST_SECRET: u64 = 1 << 20;

/// The configuration that a server runs with, and where it comes from.
#[derive(Debug)]
pub(super) struct Reloading {
    path: PathBuf,
    /// As the server has it: of keys that need a restart, what was there when it started.
    running: Effective,
    /// What is in the files of secrets, by key.
    secrets: BTreeMap<String, [u8; 32]>,
    files: Arc<Mutex<Files>>,
}

/// The files that the running configuration was read from, as they were then.
type Files = Vec<(PathBuf, Option<Stamp>)>;

/// What changes when a file is replaced or written to: device, inode, size, time of the last change.
type Stamp = (u64, u64, u64, i64, i64);

impl Reloading {
    /// Reads the configuration for a server that is to start with it.
    pub(super) fn begin(path: &Path) -> Result<(Self, Loaded), Failure> {
        // Before anything is read: what changes from now on is seen by the next look.
        let before = with_stamps(vec![path.to_path_buf()]);
        let loaded = load_or_fail(path)?;
        Ok((Self::new(path, &loaded, before), loaded))
    }

    fn new(path: &Path, loaded: &Loaded, before: Files) -> Self {
        let secrets = with_stamps(files(path, loaded).split_off(1));
        Self {
            path: path.to_path_buf(),
            running: loaded.effective.clone(),
            secrets: hashes(loaded),
            files: Arc::new(Mutex::new(before.into_iter().chain(secrets).collect())),
        }
    }

    /// Reads the configuration again.
    pub(super) fn load(&self) -> Result<Loaded, LoadError> {
        let before = with_stamps(vec![self.path.clone()]);
        let loaded = load(&self.path);
        let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest: Vec<PathBuf> = match &loaded {
            Ok(loaded) => files(&self.path, loaded),
            Err(_) => known.iter().map(|(path, _)| path.clone()).collect(),
        };
        *known = before.into_iter().chain(with_stamps(rest.split_off(1))).collect();
        loaded
    }

    /// Tells, key by key, what a reload changes, and what it cannot.
    pub(super) fn tell(&mut self, loaded: &Loaded) {
        let secrets = hashes(loaded);
        let new = &loaded.effective;
        let (running, mut changed) = (self.running.clone(), false);
        for key in running.changes(new) {
            let path = key.path;
            let (from, to) = (running.brief(path), new.brief(path));
            changed = true;
            if key.needs_restart() {
                log::warn!(target: "config", "event=restart_needed key={path} running={from:?} file={to:?}");
            } else {
                log::info!(target: "config", "event=config_changed key={path} from={from:?} to={to:?}");
                self.running.take(key, new);
            }
        }
        let different = secrets.iter().filter(|(key, hash)| {
            let before = self.secrets.get(*key);
            before.is_some_and(|before| before != *hash)
        });
        for (key, _) in different {
            changed = true;
            log::info!(target: "config", "event=secret_changed key={key}");
        }
        self.secrets = secrets;
        if !changed {
            log::info!(target: "config", "event=config_unchanged");
        }
    }

    /// Makes the server reload when one of the files has changed and has stayed so for a moment: not while it is being
    /// written. Dropping the result ends it.
    pub(super) fn watch(&self, reloader: Reloader) -> Option<Watching> {
        let files = Arc::clone(&self.files);
        let (end, ended) = mpsc::channel();
        let look = move || {
            let mut last = None;
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let known = files.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let now = with_stamps(known.iter().map(|(path, _)| path.clone()).collect());
                if now == known {
                    last = None;
                } else if last.as_ref() == Some(&now) {
                    log::info!(target: "config", "event=files_changed files={:?}", differing(&known, &now));
                    reloader.reload();
                    last = None;
                } else {
                    last = Some(now);
                }
            }
        };
        let started = thread::Builder::new().name("rmail-config".to_owned()).spawn(look);
        match started {
            Ok(_) => Some(Watching(end)),
            Err(error) => {
                log::warn!(target: "config", "event=not_watched why=\"no thread: {error}\"");
                None
            }
        }
    }
}

/// Files are looked at as long as it is there.
#[derive(Debug)]
pub(super) struct Watching(#[expect(dead_code, reason = "its end is what the thread waits for")] Sender<()>);

/// The configuration's file, and those of its secrets.
fn files(path: &Path, loaded: &Loaded) -> Vec<PathBuf> {
    let secrets = loaded.effective.secret_files();
    let secrets = secrets.into_iter().map(|(_, file)| loaded.path(file));
    [path.to_path_buf()].into_iter().chain(secrets).collect()
}

fn with_stamps(paths: Vec<PathBuf>) -> Files {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((
            found.dev(),
            found.ino(),
            found.len(),
            found.ctime(),
            found.ctime_nsec(),
        ))
    };
    paths
        .into_iter()
        .map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        })
        .collect()
}

fn differing(known: &Files, now: &Files) -> String {
    let pairs = known.iter().zip(now).filter(|(known, now)| known != now);
    let names: Vec<String> = pairs.map(|((path, _), _)| path.display().to_string()).collect();
    names.join(", ")
}

/// What the files of secrets hold. One that cannot be read is told where it is needed.
fn hashes(loaded: &Loaded) -> BTreeMap<String, [u8; 32]> {
    use std::io::Read as _;
    let read = |file: &str| {
        let mut octets = Vec::new();
        let opened = std::fs::File::open(loaded.path(file)).ok()?;
        opened.take(LONGEST_SECRET).read_to_end(&mut octets).ok()?;
        Some(Sha256::digest(&octets).into())
    };
    let files = loaded.effective.secret_files();
    files
        .into_iter()
        .filter_map(|(key, file)| Some((key, read(file)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::serve::server_config;
    use rmail_core::config::keys::{KEYS, Key};
    use rmail_core::config::{Config, Kind, nested};
    use serde_json::{Value, json};

    /// Keys that a reload applies outside of what a server is told.
    const ELSEWHERE: &[&str] = &[
        "log_level",
        "log.format",
        "log.file",
        "log.journal",
        "log.targets",
        // True or there is no authority to speak to: it is never seen to change.
        "acme.terms_agreed",
    ];

    /// A valid value that is not the default, with what else it needs.
    fn another(key: &Key) -> Value {
        let default = (key.default)();
        let value = match key.path {
            "smtp.max_recipients" => json!(200),
            "relay.smarthost_tls" => json!("require"),
            "acme.directory" => json!("https://acme.example/directory"),
            "acme.email" => json!("someone@another.example"),
            "greylist.window" => json!(86_400),
            "greylist.memory" | "imap.autologout" => json!(7_200),
            _ => match key.kind {
                Kind::Text | Kind::AnyText | Kind::OptionalText => json!("another"),
                Kind::Bool => json!(default != json!(true)),
                Kind::Integer(min, max) => json!(if default == json!(max) { min } else { max }),
                Kind::Port => json!(4_444),
                Kind::Hostname | Kind::Host | Kind::OptionalHost => json!("mx.another.example"),
                Kind::OptionalAddress => json!("someone"),
                Kind::Domains | Kind::Names | Kind::MxPatterns => json!(["another.example"]),
                Kind::Origins => json!(["https://another.example"]),
                Kind::LocalListener => json!("127.0.0.1:2424"),
                Kind::Hosts => json!("127.0.0.9"),
                Kind::Networks => json!(["192.0.2.0/24"]),
                Kind::Resolvers => json!(["192.0.2.53"]),
                Kind::Delays => json!([7]),
                Kind::Word(words) | Kind::OptionalWord(words) => {
                    let other = words.iter().find(|word| json!(word) != default);
                    json!(other.expect("two words"))
                }
                Kind::Secret => json!("0a".repeat(32)),
                Kind::Routes => json!({"another.example": {"host": "b.example"}}),
                Kind::LogTargets => json!({"smtp": "DEBUG"}),
                Kind::TlsDomains => json!({"another.example": "none"}),
                Kind::Certificates => json!([{"cert_file": "a.pem", "key_file": "b.pem"}]),
            },
        };
        assert_ne!(value, default, "{}", key.path);
        value
    }

    fn loaded(values: Vec<(&'static str, Value)>) -> Loaded {
        let text = nested(values).to_string();
        Loaded::new(Config::read(&text).expect(&text), Path::new("/nowhere"))
    }

    #[test]
    fn every_key_is_applied_by_a_reload_or_named_as_needing_a_restart() {
        let without_effect = rmail_core::config::keys::WITHOUT_EFFECT
            .iter()
            .map(|(path, _)| *path);
        let exempt: Vec<&str> = without_effect.chain(ELSEWHERE.iter().copied()).collect();
        let mut wrong = Vec::new();
        for key in KEYS.iter().filter(|key| !exempt.contains(&key.path)) {
            // What some keys need to be seen at all.
            let around = |path: &str| -> Vec<(&'static str, Value)> {
                let all = [
                    ("relay.smarthost", json!("smart.example")),
                    ("relay.smarthost_username", json!("u")),
                    ("relay.smarthost_password", json!("p")),
                    ("relay.smarthost_tls", json!("verify")),
                    ("greylist.enabled", json!(true)),
                    ("mta_sts.mode", json!("testing")),
                    ("checks.dnsbl", json!(["bl.example"])),
                    ("tls.cert_file", json!("c.pem")),
                    ("tls.key_file", json!("k.pem")),
                ];
                let authority = [
                    ("acme.enabled", json!(true)),
                    ("acme.terms_agreed", json!(true)),
                    ("acme.eab_key_id", json!("kid-1")),
                    ("acme.eab_hmac_key", json!("0b".repeat(32))),
                ];
                let is_authority = path.starts_with("acme.");
                // One certificate: from an authority or from files.
                let all = all
                    .into_iter()
                    .filter(|(other, _)| !(is_authority && other.starts_with("tls.")));
                let authority = authority.into_iter().filter(|_| is_authority);
                let user = [("user", json!("somebody"))]
                    .into_iter()
                    .filter(|_| path == "group");
                all.chain(authority)
                    .chain(user)
                    .filter(|(other, _)| *other != path)
                    .collect()
            };
            let before = match (key.default)() {
                Value::Null if key.path.starts_with("tls.") => json!("old.pem"),
                _ if key.path == "relay.smarthost_password" => json!("old"),
                _ if key.path == "acme.eab_key_id" => json!("kid-1"),
                _ if key.path == "acme.eab_hmac_key" => json!("0b".repeat(32)),
                _ if key.path == "relay.smarthost_username" => json!("old"),
                default => default,
            };
            let with = |value: Value| {
                let mut values = around(key.path);
                values.push((key.path, value));
                server_config(&loaded(values)).expect("usable")
            };
            let (old, new) = (with(before), with(another(key)));
            let text = |config: &crate::server::ServerConfig| format!("{config:?}");
            let after = new.after(&old);
            // Passwords differ in no text.
            let mut applied = text(&after) != text(&old) || after.relay != old.relay;
            #[cfg(feature = "acme")]
            {
                applied |= after.acme != old.acme;
            }
            if applied == key.needs_restart() {
                wrong.push(format!("{} (applied: {applied})", key.path));
            }
        }
        assert!(
            wrong.is_empty(),
            "either `after` takes a key, or `RESTART` names it, or a reload applies it elsewhere and this test says so: {wrong:#?}"
        );
    }

    #[test]
    fn what_needs_a_restart_is_told_until_it_comes() {
        let first = loaded(vec![("log_level", json!("INFO"))]);
        let mut reloading = Reloading::new(Path::new("/nowhere/config.json"), &first, Vec::new());
        let changed = || vec![("imap.port", json!(1_143)), ("shutdown_grace", json!(5))];
        reloading.tell(&loaded(changed()));
        let left = reloading.running.changes(&loaded(changed()).effective);
        let left: Vec<_> = left.iter().map(|key| key.path).collect();
        assert_eq!(left, ["imap.port"], "the grace is applied, the port is not");
        let back = vec![("shutdown_grace", json!(5))];
        assert!(reloading.running.changes(&loaded(back).effective).is_empty());
    }

    #[test]
    fn a_look_sees_files_that_are_replaced_written_to_made_or_removed() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("config.json");
        let secret = dir.path().join("secret");
        let text = r#"{"relay": {"smarthost": "a.example", "smarthost_username": "u", "smarthost_password": {"file": "secret"}}}"#;
        std::fs::write(&path, text).expect("written");
        let (reloading, _) = Reloading::begin(&path).expect("valid");
        let has_changed = || {
            let known = reloading.files.lock().expect("free").clone();
            let now = with_stamps(known.iter().map(|(path, _)| path.clone()).collect());
            let changed = now != known;
            drop(reloading.load());
            changed
        };
        assert!(!has_changed());
        std::fs::write(&secret, "geheim").expect("written");
        assert!(has_changed(), "a secret that was missing");
        assert!(!has_changed(), "after it was read");
        let other = dir.path().join("other");
        std::fs::write(&other, "geheim").expect("written");
        std::fs::rename(&other, &secret).expect("renamed");
        assert!(has_changed(), "the same text in a file that took its place");
        std::fs::write(&path, "{").expect("written");
        assert!(has_changed(), "broken");
        assert!(!has_changed(), "broken, and known to be");
        std::fs::remove_file(&secret).expect("removed");
        assert!(
            has_changed(),
            "the secret is watched while the configuration is broken"
        );
    }
}
