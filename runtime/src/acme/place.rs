//! What is kept: `{mail_root}/tls/acme`, for its owner alone.
//!
//! | file | what |
//! |---|---|
//! | `certificate.pem` | the key, then the chain |
//! | `state.json` | [`State`] |
//! | `accounts.json` | keys and URLs of accounts, by the authority's directory |
//! | `order.json` | an order that is not over, and the key that its certificate will have |
//! | `proofs/` | what authorities are shown: `TOKEN`, and `NAME.alpn` for tls-alpn-01 |
//! | `lock` | locked (flock) by whoever orders |
//!
//! Each file appears whole, synced, or not at all.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown, fchown};
use std::path::{Path, PathBuf};

use rmail_core::acme::{ChallengeKind, Ordered, Proof, State, is_token};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

/// No file here is longer.
const MAX: u64 = 1 << 20;

/// The directory. What root writes there belongs to whom the mail_root belongs to, who runs the server.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

/// Held by whoever orders; the end of the process ends it too.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// An account: its key, and its URL once the authority has given one.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) key: String,
    pub(super) url: Option<String>,
}

/// An order that is not over.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) wanted: Ordered,
    pub(super) url: String,
    pub(super) key: String,
}

impl Place {
    /// Of a mail_root.
    pub(crate) fn of(mail_root: &Path) -> Self {
        Self(mail_root.join("tls").join("acme"))
    }

    /// The file with certificate and key.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    /// To whom files must be given; `None`: they are ours to keep.
    fn owner(&self) -> io::Result<Option<(u32, u32)>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let mail_root = self.0.ancestors().nth(2).unwrap_or(&self.0);
        let found = fs::metadata(mail_root)?;
        Ok(Some((found.uid(), found.gid())))
    }

    fn proofs(&self) -> PathBuf {
        self.0.join("proofs")
    }

    /// Makes it, and locks it against others who order. `None`: somebody does.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.proofs())?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.join("lock"))?;
        if let Some((user, group)) = self.owner()? {
            for dir in [self.0.parent().unwrap_or(&self.0), &self.0, &self.proofs()] {
                chown(dir, Some(user), Some(group))?;
            }
            fchown(&file, Some(user), Some(group))?;
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is remembered. Of what cannot be read nothing: a certificate more is better than one less.
    pub(crate) fn state(&self) -> State {
        let read = self.read_json("state.json");
        let state = read.and_then(|value| serde_json::from_value(value).ok());
        state.unwrap_or_default()
    }

    pub(super) fn save_state(&self, state: &State) -> io::Result<()> {
        self.save_json("state.json", &json!(state))
    }

    pub(super) fn account(&self, directory: &str) -> Option<Account> {
        let accounts = self.read_json("accounts.json")?;
        let account = accounts.get(directory)?;
        Some(Account {
            key: account.get("key")?.as_str()?.to_owned(),
            url: account.get("url").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// Keeps an account beside those with other authorities.
    pub(super) fn save_account(&self, directory: &str, account: &Account) -> io::Result<()> {
        let before = self.read_json("accounts.json").unwrap_or_default();
        let mut accounts: BTreeMap<String, Value> = serde_json::from_value(before).unwrap_or_default();
        let entry = json!({"key": account.key, "url": account.url});
        accounts.insert(directory.to_owned(), entry);
        self.save_json("accounts.json", &json!(accounts))
    }

    /// The order that is not over, if it is one for this.
    pub(super) fn order(&self, wanted: &Ordered) -> Option<Begun> {
        let begun = self.read_json("order.json")?;
        let of = serde_json::from_value(begun.get("wanted")?.clone()).ok()?;
        let text = |name| Some(begun.get(name)?.as_str()?.to_owned());
        let begun = Begun {
            wanted: of,
            url: text("url")?,
            key: text("key")?,
        };
        (begun.wanted == *wanted).then_some(begun)
    }

    pub(super) fn save_order(&self, order: Option<&Begun>) -> io::Result<()> {
        match order {
            Some(order) => {
                let order = json!({"wanted": order.wanted, "url": order.url, "key": order.key});
                self.save_json("order.json", &order)
            }
            None => self.remove(&self.0.join("order.json")),
        }
    }

    /// Shows a proof to whoever asks any process on this mail_root.
    pub(super) fn show(&self, proof: &Proof) -> io::Result<()> {
        self.write(&self.proof(proof), proof.key_authorization.as_bytes())
    }

    pub(super) fn hide(&self, proof: &Proof) -> io::Result<()> {
        self.remove(&self.proof(proof))
    }

    /// Removes what an order that was killed has left.
    pub(super) fn hide_all(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.proofs())? {
            self.remove(&entry?.path())?;
        }
        Ok(())
    }

    fn proof(&self, proof: &Proof) -> PathBuf {
        match proof.kind {
            ChallengeKind::Http01 => self.proofs().join(&proof.token),
            ChallengeKind::TlsAlpn01 => self.proofs().join(format!("{}.alpn", proof.name)),
        }
    }

    /// What is shown for a token.
    pub(super) fn by_token(&self, token: &str) -> Option<String> {
        is_token(token)
            .then(|| self.read_text(&self.proofs().join(token)))
            .flatten()
    }

    /// What is shown for a name by tls-alpn-01.
    pub(super) fn by_name(&self, name: &str) -> Option<String> {
        let good = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
        let safe = (1..=253).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('.');
        let file = format!("{}.alpn", name.to_ascii_lowercase());
        safe.then(|| self.read_text(&self.proofs().join(file))).flatten()
    }

    /// Keeps a certificate and its key, if `check` has nothing against the file.
    pub(super) fn save_certificate<E>(
        &self,
        key: &str,
        chain: &str,
        check: impl FnOnce(&Path) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let new = self.0.join("certificate.pem.new");
        let text = format!("{}\n{chain}", key.trim_end());
        self.write_in_place(&new, text.as_bytes())?;
        if let Err(error) = check(&new) {
            self.remove(&new)?;
            return Ok(Err(error));
        }
        fs::rename(&new, self.certificate())?;
        sync_dir(&self.0)?;
        Ok(Ok(()))
    }

    fn read_json(&self, name: &str) -> Option<Value> {
        let text = self.read_text(&self.0.join(name))?;
        let read = serde_json::from_str(&text);
        read.map_err(|error| {
            log::error!(target: "acme", "event=broken_file path={:?} error={:?}", self.0.join(name), error.to_string());
        })
        .ok()
    }

    /// A text; `None` if it is not there or cannot be read.
    fn read_text(&self, path: &Path) -> Option<String> {
        let opened = File::open(path);
        if let Err(error) = &opened
            && error.kind() != io::ErrorKind::NotFound
        {
            log::error!(target: "acme", "event=unreadable path={path:?} error={:?}", error.to_string());
        }
        let mut text = String::new();
        opened.ok()?.take(MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn save_json(&self, name: &str, value: &Value) -> io::Result<()> {
        self.write(&self.0.join(name), format!("{value:#}\n").as_bytes())
    }

    /// Writes a file so that it appears whole, synced, or not at all.
    fn write(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        self.write_in_place(&new, octets)?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), sync_dir)
    }

    /// Writes a file that nobody reads yet.
    fn write_in_place(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        if let Some((user, group)) = self.owner()? {
            fchown(&file, Some(user), Some(group))?;
        }
        file.write_all(octets)?;
        file.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().expect("directory");
        let place = Place::of(dir.path());
        drop(place.lock().expect("made").expect("free"));
        (dir, place)
    }

    fn proof(kind: ChallengeKind) -> Proof {
        Proof {
            kind,
            name: "mail.here.test".into(),
            token: "tok-1".into(),
            key_authorization: "tok-1.abc".into(),
        }
    }

    #[test]
    fn one_orders_at_a_time() {
        let (_dir, place) = place();
        let lock = place.lock().expect("readable").expect("free");
        assert!(place.lock().expect("readable").is_none());
        drop(lock);
        assert!(place.lock().expect("readable").is_some());
    }

    #[test]
    fn what_is_kept_is_for_its_owner_alone() {
        let (dir, place) = place();
        place.save_state(&State::default()).expect("saved");
        let good = |_: &Path| Ok::<_, ()>(());
        place
            .save_certificate("KEY\n", "CHAIN\n", good)
            .expect("saved")
            .expect("good");
        assert_eq!(
            fs::read_to_string(place.certificate()).expect("there"),
            "KEY\nCHAIN\n"
        );
        let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let acme = dir.path().join("tls/acme");
        assert_eq!(mode(acme.clone()), 0o700);
        assert_eq!(
            (mode(acme.join("certificate.pem")), mode(acme.join("state.json"))),
            (0o600, 0o600)
        );
    }

    #[test]
    fn a_certificate_that_cannot_be_used_replaces_nothing() {
        let (_dir, place) = place();
        let good = |_: &Path| Ok::<_, &str>(());
        place
            .save_certificate("A", "A", good)
            .expect("saved")
            .expect("good");
        let bad = place.save_certificate("B", "B", |_| Err("bad")).expect("saved");
        assert_eq!(bad, Err("bad"));
        assert_eq!(fs::read_to_string(place.certificate()).expect("there"), "A\nA");
    }

    #[test]
    fn proofs_are_found_by_what_is_asked_and_by_nothing_else() {
        let (_dir, place) = place();
        let [web, tls] = [ChallengeKind::Http01, ChallengeKind::TlsAlpn01].map(proof);
        place.show(&web).expect("shown");
        assert_eq!(place.by_token("tok-1").as_deref(), Some("tok-1.abc"));
        assert_eq!(place.by_name("mail.here.test"), None);
        place.show(&tls).expect("shown");
        assert_eq!(place.by_name("MAIL.here.test").as_deref(), Some("tok-1.abc"));
        for token in ["tok-2", "../state.json", "mail.here.test.alpn", "", "."] {
            assert_eq!(place.by_token(token), None, "{token:?}");
        }
        for name in ["", "../../x", "/etc/passwd", "other.test", ".."] {
            assert_eq!(place.by_name(name), None, "{name:?}");
        }
        place.hide(&web).expect("hidden");
        assert_eq!(place.by_token("tok-1"), None);
        place.hide_all().expect("hidden");
        assert_eq!(place.by_name("mail.here.test"), None);
    }

    #[test]
    fn accounts_of_several_authorities_stand_beside_each_other() {
        let (_dir, place) = place();
        let account = |key: &str, url: Option<&str>| Account {
            key: key.into(),
            url: url.map(str::to_owned),
        };
        place
            .save_account("https://a.test/", &account("one", None))
            .expect("saved");
        place
            .save_account("https://b.test/", &account("two", Some("https://b.test/2")))
            .expect("saved");
        place
            .save_account("https://a.test/", &account("one", Some("https://a.test/1")))
            .expect("saved");
        let found = place.account("https://a.test/").expect("there");
        assert_eq!(
            (found.key.as_str(), found.url.as_deref()),
            ("one", Some("https://a.test/1"))
        );
        assert_eq!(place.account("https://b.test/").expect("there").key, "two");
        assert!(place.account("https://c.test/").is_none());
    }

    #[test]
    fn an_order_goes_on_only_for_what_it_was_for() {
        let (_dir, place) = place();
        let wanted = |name: &str| Ordered {
            directory: "https://a.test/".into(),
            names: vec![name.into()],
        };
        let begun = Begun {
            wanted: wanted("a"),
            url: "https://a.test/1".into(),
            key: "KEY".into(),
        };
        place.save_order(Some(&begun)).expect("saved");
        assert_eq!(place.order(&wanted("a")).expect("there").url, "https://a.test/1");
        assert!(place.order(&wanted("b")).is_none());
        place.save_order(None).expect("removed");
        place.save_order(None).expect("removed already");
        assert!(place.order(&wanted("a")).is_none());
    }

    #[test]
    fn a_broken_state_is_none() {
        let (dir, place) = place();
        fs::write(dir.path().join("tls/acme/state.json"), "{").expect("written");
        assert_eq!(place.state(), State::default());
    }
}
