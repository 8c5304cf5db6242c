//! The stage of transcripts: users and mailboxes on a disk in memory, the service over them, and sessions of the machines.

mod connect;
mod dns;
mod given;
mod http;
mod outgoing;
mod outside;
mod relay;

use core::fmt;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address, Domain};
use rmail_core::chunk::Chunk;
use rmail_core::directory::Hosting;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Flags, Keyword, MailboxName, Quota, SystemFlags, UidSet};
use rmail_core::random::Random;
use rmail_core::secret::Secret;
use rmail_core::smtp::server::CheckPolicy;
use rmail_core::time::{DateTime, Mono, Now};
use rmail_store::accounts::{Accounts, NewUser};
use rmail_store::file::{FileStore, Options};
use rmail_store::mailstore::MailStore as _;
use rmail_store::mem::MemDisk;
use rmail_store::service::{Service, Settings};

use crate::host::Connection;
use crate::replay::Stage;
use crate::template::Bindings;
use crate::transcript::{Opening, Transcript};

/// Every user's password, unless another is given.
pub const PASSWORD: &str = "sesame";

/// Our name.
pub const HOSTNAME: &str = "mail.example.com";

/// The domain of users that are named without one.
const DOMAIN: &str = "example.com";

/// The user of a transcript that names none.
const USER: &str = "mrc";

/// The stage of transcripts. What may happen outside (`!:`), beside `shutdown` and `eof [CONNECTION]`:
///
/// * `deliver MAILBOX FILE [flags=(…)] [user=…]`: a message comes
/// * `flag MAILBOX UIDS FLAGS|+FLAGS|-FLAGS (…) [user=…]`: another session changes flags
/// * `expunge MAILBOX UIDS [user=…]`: another session removes messages
/// * `delete MAILBOX [user=…]`, `rename FROM TO [user=…]`
/// * `disk full`, `disk read-only`, `disk ok`
/// * `unreachable [HOST]`: the connection that the relay wants (to this MX host) does not come about
/// * `idle`: the relay wants no connection
/// * `dns NAME KIND VALUE`, `dns NAME gone`, `policy DOMAIN TEXT`: as `@given` has them, from now on
/// * `unban TARGET`: an operator lifts limits (an address, a login name, or `*`)
/// * `disable USER`, `enable USER`, `password USER NEW`
///
/// Files are below the fixtures directory; their LF line ends are taken as CRLF.
pub struct World {
    disk: MemDisk,
    store: Arc<Store>,
    service: Arc<Service<Store, MemDisk>>,
    fixtures: PathBuf,
    /// Whose mailboxes are meant when nobody is named.
    user: AccountName,
    sessions: u8,
    /// What `user`, `password` and so on stand for.
    told: Bindings,
    hostname: String,
    /// What comes of strangers who greet badly.
    helo: CheckPolicy,
    relay: relay::Relay,
}

type Store = FileStore<MemDisk>;

/// The service of a stage.
type Running = Service<Store, MemDisk>;

impl World {
    /// The world that a transcript wants.
    ///
    /// # Errors
    /// What is given cannot be, in words.
    pub fn open(transcript: &Transcript, fixtures: &Path, now: Now) -> Result<Self, String> {
        let disk = MemDisk::new();
        disk.set_yields(false);
        disk.set_clock(now.unix.0);
        let store = block_on(FileStore::open(
            Arc::new(disk.clone()),
            Limits::default(),
            Options::default(),
        ))
        .map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        let accounts = Accounts::new(Arc::new(disk.clone()), Random::from_seed([1; 32]));
        let hostname = hostname(transcript);
        let mut settings = Settings {
            hostname: hostname.clone(),
            hosting: Hosting {
                domains: domains(transcript)?,
                postmaster: None,
            },
            pbkdf2_rounds: 1,
            ..Settings::default()
        };
        let helo = dns::checks(transcript, &mut settings)?;
        let service = Service::new(Arc::clone(&store), accounts, settings);
        let zone = Arc::new(dns::zone(transcript)?);
        let relay = relay::Relay::new(transcript, &hostname, Arc::clone(&zone), &service)?;
        service.set_lookup(zone);
        let mut world = Self {
            disk,
            store,
            service,
            fixtures: fixtures.to_owned(),
            user: account(users(transcript).into_iter().next().unwrap_or(USER))?,
            sessions: 0,
            told: told(transcript),
            hostname,
            helo,
            relay,
        };
        world.populate(transcript, now)?;
        Ok(world)
    }

    /// The relay.
    fn relay(&mut self) -> &mut relay::Relay {
        &mut self.relay
    }

    fn owner(&self, user: Option<String>) -> Result<AccountName, String> {
        user.map_or_else(|| Ok(self.user.clone()), |user| account(&user))
    }

    /// A file of the fixtures, with CRLF line ends.
    fn fixture(&self, file: &str) -> Result<Vec<u8>, String> {
        let path = self.fixtures.join(file);
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(with_crlf(&text))
    }

    /// Puts messages into a mailbox.
    fn append(
        &self,
        owner: &AccountName,
        mailbox: &MailboxName,
        messages: &[(Vec<u8>, Flags, Option<DateTime>)],
        now: Now,
    ) -> Result<(), String> {
        let append = async {
            let mut spools = Vec::new();
            for (message, flags, date) in messages {
                let mut spool = self.store.new_spool().await?;
                self.store
                    .write_spool(&mut spool, Chunk::copy_from(message))
                    .await?;
                spools.push((spool, flags.clone(), *date));
            }
            self.store
                .append(owner, mailbox, spools, &Quota::UNLIMITED, now.unix)
                .await
        };
        block_on(append).map(drop).map_err(|error| error.to_string())
    }

    /// Removes messages by UID.
    fn expunge(&self, owner: &AccountName, mailbox: &MailboxName, uids: &UidSet) -> Result<(), String> {
        use rmail_core::mailbox::{FlagChange, FlagOp};
        let expunge = async {
            let selected = self.store.select(owner, mailbox, true).await?;
            let change = FlagChange {
                op: FlagOp::Add,
                flags: Flags {
                    system: SystemFlags::DELETED,
                    keywords: Vec::new(),
                },
            };
            self.store.store(&selected.mailbox, uids, &change, None).await?;
            self.store.expunge(&selected.mailbox, Some(uids)).await?;
            self.store.unselect(&selected.mailbox).await;
            rmail_store::error::Result::Ok(())
        };
        block_on(expunge).map_err(|error| error.to_string())
    }

    /// What other processes and the clock would make known.
    fn poll(&self) {
        block_on(async {
            self.service.poll_accounts().await;
            self.store.poll_watched().await;
        });
    }
}

impl Stage for World {
    fn connect(&mut self, opening: &Opening, now: Now) -> Result<Box<dyn Connection>, String> {
        self.sessions = self.sessions.wrapping_add(1);
        if opening.kind == "relay" {
            return relay::connect(self, opening, now);
        }
        if opening.is_client() {
            return outgoing::connect(self, opening, now);
        }
        connect::connect(self, opening, now)
    }

    fn outside(&mut self, event: &str, now: Now) -> Result<(), String> {
        self.happen(event, now)?;
        self.poll();
        Ok(())
    }

    fn passed(&mut self, now: Now) {
        self.disk.set_clock(now.unix.0);
        self.poll();
    }

    fn settle(&mut self, now: Now) -> Result<(), String> {
        self.relay.run(&self.service, now)
    }

    fn deadline(&self) -> Option<Mono> {
        self.relay.deadline()
    }

    fn told(&self) -> Bindings {
        self.told.clone()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What the server calls itself.
fn hostname(transcript: &Transcript) -> String {
    let given = transcript
        .givens
        .iter()
        .find_map(|given| match given.words.as_slice() {
            [word, name] if word == "hostname" => Some(name.clone()),
            _ => None,
        });
    given.unwrap_or_else(|| HOSTNAME.to_owned())
}

/// Names of the users, and their passwords.
fn told(transcript: &Transcript) -> Bindings {
    let passwords = |name: &str| {
        let given = transcript.givens.iter().find(
            |given| matches!(given.words.as_slice(), [word, user, ..] if word == "user" && user == name),
        );
        let own = given.and_then(|given| given.options.get("password"));
        own.map_or(PASSWORD, String::as_str).to_owned()
    };
    let mut names: Vec<&str> = Vec::new();
    for name in users(transcript) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        names.push(USER);
    }
    let logins: Vec<(String, String)> = names
        .into_iter()
        .map(|name| (address(name), passwords(name)))
        .collect();
    bindings(
        logins
            .iter()
            .map(|(name, password)| (name.as_str(), password.as_bytes())),
    )
}

/// `user`, `password`, `domain`; `user2`, `password2`, ….
pub(crate) fn bindings<'a>(logins: impl Iterator<Item = (&'a str, &'a [u8])>) -> Bindings {
    let mut all = Bindings::new();
    for (number, (name, password)) in logins.enumerate() {
        let number = match number {
            0 => String::new(),
            more => (more + 1).to_string(),
        };
        if let Some((_, domain)) = name.rsplit_once('@').filter(|_| number.is_empty()) {
            all.insert("domain".to_owned(), domain.as_bytes().to_vec());
        }
        all.insert(format!("user{number}"), name.as_bytes().to_vec());
        all.insert(format!("password{number}"), password.to_vec());
        let plain = [b"\0", name.as_bytes(), b"\0", password].concat();
        all.insert(format!("plain{number}"), STANDARD.encode(plain).into_bytes());
    }
    all
}

/// Users that a transcript names, in order: those of its sessions, then those given.
pub(crate) fn users(transcript: &Transcript) -> Vec<&str> {
    let sessions = transcript
        .sessions
        .values()
        .filter_map(|opening| opening.options.get("user"));
    let given = transcript
        .givens
        .iter()
        .filter_map(|given| match given.words.as_slice() {
            [word, name, ..] if word == "user" => Some(name),
            _ => given.options.get("user"),
        });
    sessions.chain(given).map(String::as_str).collect()
}

fn domains(transcript: &Transcript) -> Result<Vec<Domain>, String> {
    let mut names = BTreeSet::from([DOMAIN]);
    names.extend(
        users(transcript)
            .into_iter()
            .filter_map(|user| Some(user.rsplit_once('@')?.1)),
    );
    names.extend(
        transcript
            .givens
            .iter()
            .filter_map(|given| match given.words.as_slice() {
                [word, name] if word == "domain" => Some(name.as_str()),
                _ => None,
            }),
    );
    names
        .into_iter()
        .map(|name| Domain::parse(name).ok_or_else(|| format!("no domain: {name}")))
        .collect()
}

/// A message with CRLF line ends.
pub(crate) fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(text.len() + 64);
    for octet in text {
        if *octet == b'\n' && message.last() != Some(&b'\r') {
            message.push(b'\r');
        }
        message.push(*octet);
    }
    message
}

/// `mrc` is `mrc@example.com`.
fn address(name: &str) -> String {
    if name.contains('@') {
        name.to_owned()
    } else {
        format!("{name}@{DOMAIN}")
    }
}

fn account(name: &str) -> Result<AccountName, String> {
    Address::parse(&address(name))
        .map(|address| address.canonical())
        .ok_or_else(|| format!("no address: {name}"))
}

fn mailbox_name(name: &str) -> Result<MailboxName, String> {
    MailboxName::new(name).map_err(|error| format!("{name}: {error}"))
}

fn new_user(password: &str) -> NewUser {
    NewUser {
        password: Some(Secret::new(password)),
        rounds: 1,
        admin: false,
        quota_mb: 0,
    }
}

/// `(\Seen $Forwarded)`
fn flags(text: Option<&str>) -> Result<Flags, String> {
    let mut flags = Flags::default();
    let text = text.unwrap_or("()");
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    for word in inner.ok_or("flags stand in parentheses")?.split_whitespace() {
        match SystemFlags::from_name(word) {
            Some(flag) => flags.system = flags.system.with(flag),
            None => flags
                .keywords
                .push(Keyword::new(word).ok_or_else(|| format!("no flag: {word}"))?),
        }
    }
    Ok(flags)
}

/// `1:3,7`
fn uid_set(text: &str) -> Result<UidSet, String> {
    let wrong = || format!("no set of UIDs: {text}");
    let ranges: Option<Vec<(u32, u32)>> = text
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect();
    ranges.map(UidSet::from_ranges).ok_or_else(wrong)
}
