//! A service over a file store on a disk in memory, with `alice` (an administrator) and `bob` at `example.com`, and
//! `carol` at `example.org`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address, Domain, ForwardPath, ReversePath};
use rmail_core::chunk::Chunk;
use rmail_core::directory::{Access, Hosting};
use rmail_core::imap::server as imap;
use rmail_core::limits::Limits;
use rmail_core::machine::SpoolId;
use rmail_core::mailbox::{Flags, MailboxName, MailboxRef, Quota, Snapshot};
use rmail_core::peer::Peer;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::secret::Secret;
use rmail_core::smtp::envelope::{Envelope, Recipient, Wishes};
use rmail_core::smtp::server as smtp;
use rmail_core::time::{Mono, Now, Unix};
use rmail_store::MailStore as _;
use rmail_store::accounts::{Accounts, NewAppPassword, NewUser};
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::file::{FileStore, Options};
use rmail_store::mem::{MemDir, MemDisk};
use rmail_store::service::{Answer, ImapService, Serve, Service, Settings, SmtpService};

pub type Store = FileStore<MemDisk>;
pub type Smtp = SmtpService<Store, MemDisk>;
pub type Imap = ImapService<Store, MemDisk>;

pub struct World {
    pub disk: Arc<MemDisk>,
    pub store: Arc<Store>,
    pub service: Arc<Service<Store, MemDisk>>,
    pub told: Arc<Mutex<Vec<Entry>>>,
}

pub const PASSWORD: &str = "correct horse";

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other settings.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let disk = Arc::new(MemDisk::new());
        disk.set_clock(Duration::from_secs(1_700_000_000));
        let store = Arc::new(open_store(&disk));
        let accounts = accounts(&disk, 1);
        for (name, admin) in [
            ("alice@example.com", true),
            ("bob@example.com", false),
            ("carol@example.org", false),
        ] {
            block_on(accounts.create(&*store, &account(name), &new_user(admin), now().unix)).expect("user");
        }
        let mut settings = settings();
        change(&mut settings);
        let service = Service::new(Arc::clone(&store), accounts, settings);
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        service.set_outbound_listener(Arc::new(move |entry| heard.lock().unwrap().push(entry)));
        Self {
            disk,
            store,
            service,
            told,
        }
    }

    pub fn inbox(&self, name: &str) -> Snapshot {
        self.snapshot(name, "INBOX")
    }

    pub fn snapshot(&self, name: &str, mailbox: &str) -> Snapshot {
        self.select(name, mailbox).snapshot
    }

    pub fn mailbox(&self, name: &str, mailbox: &str) -> MailboxRef {
        self.select(name, mailbox).mailbox
    }

    fn select(&self, name: &str, mailbox: &str) -> imap::Selected {
        let (account, mailbox) = (account(name), mailbox_name(mailbox));
        block_on(self.store.select(&account, &mailbox, true)).expect("mailbox")
    }

    /// The octets of the newest message.
    pub fn newest(&self, name: &str) -> Vec<u8> {
        let mailbox = self.mailbox(name, "INBOX");
        let uid = self.inbox(name).rows.last_uid().expect("a message");
        let blob = block_on(self.store.open(&mailbox, uid))
            .expect("open")
            .expect("there");
        let mut octets = vec![0; 1 << 20];
        let read = block_on(self.store.read(&blob, &mut octets, 0)).expect("read");
        octets.truncate(read);
        octets
    }

    /// Puts a message into a mailbox.
    pub fn append(&self, name: &str, mailbox: &str, message: &[u8]) -> u32 {
        let append = async {
            let mut spool = self.store.new_spool().await?;
            self.store
                .write_spool(&mut spool, Chunk::copy_from(message))
                .await?;
            let messages = vec![(spool, Flags::default(), None)];
            self.store
                .append(
                    &account(name),
                    &mailbox_name(mailbox),
                    messages,
                    &Quota::UNLIMITED,
                    now().unix,
                )
                .await
        };
        block_on(append).expect("append").uids[0].0
    }

    pub fn dir(&self, path: &str) -> MemDir {
        block_on(async {
            let mut dir = self.disk.root().clone();
            for level in path.split('/').filter(|level| !level.is_empty()) {
                dir = self.disk.open_dir(&dir, level).await.expect(path);
            }
            dir
        })
    }

    /// Writes a file as an editor does: a new file in the old one's place.
    pub fn edit(&self, path: &str, text: &str) {
        let (dir, name) = path.rsplit_once('/').expect("a path");
        let dir = self.dir(dir);
        block_on(async {
            self.disk.unlink(&dir, name).await.ok();
            let file = self.disk.open(&dir, name, Mode::CreateNew).await.expect("create");
            self.disk
                .write_at(&file, text.as_bytes(), 0)
                .await
                .expect("write");
        });
    }

    pub fn read_file(&self, path: &str) -> String {
        let (dir, name) = path.rsplit_once('/').expect("a path");
        let dir = self.dir(dir);
        block_on(async {
            let file = self.disk.open(&dir, name, Mode::Read).await.expect(path);
            let mut octets = vec![0; 65_536];
            let read = self.disk.read_at(&file, &mut octets, 0).await.expect("read");
            String::from_utf8_lossy(&octets[..read]).into_owned()
        })
    }

    pub fn set_password(&self, name: &str, password: &str) {
        let (account, password) = (account(name), Secret::new(password));
        block_on(self.service.accounts().set_password(&account, &password, 1)).expect("set");
    }

    pub fn smtp(&self) -> Smtp {
        self.service.smtp_session(Peer::LOCAL)
    }

    /// A session of an account that is logged in.
    pub fn imap_of(&self, name: &str) -> Imap {
        self.service.imap_session_of(&account(name))
    }

    pub fn imap(&self) -> Imap {
        self.service.imap_session(Peer::LOCAL)
    }
}

pub fn open_store(disk: &MemDisk) -> Store {
    let opened = FileStore::open(Arc::new(disk.clone()), Limits::default(), Options::default());
    block_on(opened).expect("store")
}

pub fn accounts(disk: &MemDisk, seed: u8) -> Accounts<MemDisk> {
    Accounts::new(Arc::new(disk.clone()), Random::from_seed([seed; 32]))
}

pub fn settings() -> Settings {
    Settings {
        hosting: Hosting {
            domains: vec![domain("example.com"), domain("example.org")],
            postmaster: None,
        },
        pbkdf2_rounds: 1,
        ..Settings::default()
    }
}

pub fn new_user(admin: bool) -> NewUser {
    NewUser {
        password: Some(Secret::new(PASSWORD)),
        rounds: 1,
        admin,
        quota_mb: 1,
    }
}

pub fn now() -> Now {
    Now {
        mono: Mono(Duration::from_secs(1_000)),
        unix: Unix::from_secs(1_700_000_000),
    }
}

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("domain")
}

pub fn address(text: &str) -> Address {
    Address::parse(text).expect("address")
}

pub fn account(text: &str) -> AccountName {
    address(text).canonical()
}

pub fn mailbox_name(text: &str) -> MailboxName {
    MailboxName::new(text).expect("name")
}

/// Gives a user an application password.
pub fn add_app(
    world: &World,
    user: &str,
    name: &str,
    password: &str,
    scope: &[Access],
    expires: Option<Unix>,
) {
    let new = NewAppPassword {
        name: name.to_owned(),
        password: Secret::new(password),
        scope: scope.to_vec(),
        expires,
        rounds: 1,
    };
    let accounts = world.service.accounts();
    block_on(accounts.add_app_password(&account(user), &new, now().unix)).expect("added");
}

pub fn user_file(name: &str) -> String {
    let (local, domain) = name.split_once('@').expect("address");
    format!("domains/{domain}/users/{local}/user.json")
}

/// Asks as a host does: at once if possible, else on a pool.
pub fn ask<T: Serve>(session: &T, call: T::Call) -> T::Reply {
    match session.answer(now(), call) {
        Answer::Now(reply) => reply,
        Answer::Later(_, call) => block_on(session.run(now(), call)),
        Answer::Wait(waiting) => block_on(waiting),
    }
}

pub fn login<T: LoginCall>(session: &T, login: &str, password: &str) -> Result<(AccountName, u64), Refusal> {
    session.login(login, password)
}

/// Both protocols log in alike.
pub trait LoginCall {
    fn login(&self, login: &str, password: &str) -> Result<(AccountName, u64), Refusal>;
}

impl LoginCall for Smtp {
    fn login(&self, login: &str, password: &str) -> Result<(AccountName, u64), Refusal> {
        let call = smtp::Call::Authenticate {
            login: login.to_owned(),
            password: Secret::new(password),
        };
        match ask(self, call) {
            smtp::Reply::Authenticated(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

impl LoginCall for Imap {
    fn login(&self, login: &str, password: &str) -> Result<(AccountName, u64), Refusal> {
        let call = imap::Call::Authenticate {
            login: login.to_owned(),
            password: Secret::new(password),
        };
        match ask(self, call) {
            imap::Reply::Authenticated(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

pub fn sender(session: &Smtp, by: Option<&str>, from: &str, trusted: bool) -> Result<(), Refusal> {
    let call = smtp::Call::Sender {
        account: by.map(account),
        path: reverse_path(from),
        trusted,
    };
    match ask(session, call) {
        smtp::Reply::Sender(result) => result,
        other => panic!("{other:?}"),
    }
}

pub fn recipient(
    session: &Smtp,
    by: Option<&str>,
    to: &str,
    size: Option<u64>,
) -> Result<smtp::RecipientKind, Refusal> {
    let call = smtp::Call::Recipient {
        sender: ReversePath::Null,
        account: by.map(account),
        path: forward_path(to),
        size,
    };
    match ask(session, call) {
        smtp::Reply::Recipient(result) => result,
        other => panic!("{other:?}"),
    }
}

pub fn reverse_path(text: &str) -> ReversePath {
    if text.is_empty() {
        ReversePath::Null
    } else {
        ReversePath::Address(address(text))
    }
}

pub fn forward_path(text: &str) -> ForwardPath {
    if text == "postmaster" {
        ForwardPath::Postmaster
    } else {
        ForwardPath::Address(address(text))
    }
}

pub fn envelope(by: Option<&str>, from: &str, to: &[&str]) -> Envelope {
    Envelope {
        id: "m1".to_owned(),
        reverse_path: reverse_path(from),
        recipients: to.iter().map(|text| Recipient::new(forward_path(text))).collect(),
        account: by.map(account),
        authors: Vec::new(),
        relay_offset: 0,
        eight_bit: false,
        wishes: Wishes::default(),
        hold_until: None,
    }
}

/// Sends a message: Open, the octets, Commit.
pub fn send(session: &Smtp, message: &[u8], envelope: Envelope) -> Result<(), Refusal> {
    let spool = SpoolId(7);
    match ask(session, smtp::Call::Open { spool }) {
        smtp::Reply::Opened(Ok(())) => {}
        smtp::Reply::Opened(refused) => return refused,
        other => panic!("{other:?}"),
    }
    feed(session, spool, message);
    match ask(session, smtp::Call::Commit { spool, envelope }) {
        smtp::Reply::Committed(result) => result,
        other => panic!("{other:?}"),
    }
}

/// Spools octets as a host does.
pub fn feed<T: Serve>(session: &T, spool: SpoolId, message: &[u8]) {
    for piece in message.chunks(10_000) {
        if let Err(back) = session.spool_now(spool, Chunk::copy_from(piece)) {
            block_on(session.spool(spool, back));
        }
    }
}
