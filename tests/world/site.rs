//! A mail_root and the processes on it: how they start, serve, and end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::addr::{Address, Domain};
use rmail_core::directory::Hosting;
use rmail_core::imap::server as imap;
use rmail_core::limits::Limits;
use rmail_core::machine::Machine as _;
use rmail_core::mailbox::MailboxName;
use rmail_core::peer::Peer;
use rmail_core::random::Random;
use rmail_core::relay::queue::Input;
use rmail_core::secret::Secret;
use rmail_core::smtp::server::{Role, Session, Settings as SessionSettings};
use rmail_core::time::Unix;
use rmail_store::MailStore as _;
use rmail_store::accounts::{Accounts, NewUser};
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::file::{FileStore, Options};
use rmail_store::mem::MemDisk;
use rmail_store::service::{Service, Settings};

use crate::channel::Channel;
use crate::clock::{BEGIN, Clock};
use crate::drive::drive;
use crate::known::names;
use crate::names::Dns;
use crate::plan::{HERE, THERE};
use crate::planted::disk::WorldDisk;
use crate::planted::imap::Imap;
use crate::planted::smtp::Smtp;
use crate::planted::{Bug, wires};
use crate::reader::MAILBOXES;
use crate::relay;
use crate::scene::{Owner, Scene};

pub type Store = FileStore<WorldDisk>;
/// The service of a process.
pub type Host = Service<Store, WorldDisk>;

/// What one site is called and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its number in the record.
    pub number: usize,
    pub domain: &'static str,
    pub hostname: &'static str,
    pub address: std::net::IpAddr,
    pub users: [&'static str; 2],
    pub aliases: &'static str,
}

/// The relay, and the other rmail.
pub const PLACES: [Place; 2] = [
    Place {
        number: 0,
        domain: "here.test",
        hostname: "mail.here.test",
        address: HERE,
        users: ["alice@here.test", "bob@here.test"],
        aliases: r#"{"aliases": [{"name": "team", "targets": ["bob", "x@sink.test"]}]}"#,
    },
    Place {
        number: 1,
        domain: "there.test",
        hostname: "mail.there.test",
        address: THERE,
        users: ["carol@there.test", "dave@there.test"],
        aliases: r#"{"aliases": [{"name": "back", "targets": ["bob@here.test"]},
                     {"name": "out", "targets": ["dave", "w@sink.test"]}]}"#,
    },
];

/// One run of the program.
pub struct Process {
    pub scene: Rc<Scene>,
    pub place: Place,
    pub owner: Owner,
    pub clock: Clock,
    pub disk: MemDisk,
    /// For the queue.
    pub inputs: Channel<Input>,
    /// The queue has nothing to do, and holds so many entries.
    pub idle: Cell<bool>,
    pub entries: Cell<usize>,
    pub service: RefCell<Option<Arc<Host>>>,
}

/// A disk with the accounts of a place.
pub fn furnish(place: Place) -> MemDisk {
    let disk = MemDisk::new();
    disk.set_yields(false);
    disk.set_clock(Duration::from_secs(BEGIN));
    block_on(async {
        let store = open(&disk, None).await.expect("a store");
        let whole = WorldDisk::new(disk.clone(), None);
        let accounts = Accounts::new(Arc::new(whole), Random::from_seed([1; 32]));
        for (at, user) in place.users.iter().enumerate() {
            let account = Address::parse(user).expect("an address").canonical();
            let new = NewUser {
                password: Some(Secret::new("secret")),
                rounds: 1,
                admin: at == 0,
                quota_mb: 0,
            };
            let created = accounts.create(&store, &account, &new, Unix::from_secs(BEGIN));
            created.await.expect("an account");
        }
        let mut dir = disk.root().clone();
        for level in ["domains", place.domain] {
            dir = disk.open_dir(&dir, level).await.expect("it is there");
        }
        let file = disk
            .open(&dir, "aliases.json", Mode::CreateNew)
            .await
            .expect("new");
        let written = disk.write_at(&file, place.aliases.as_bytes(), 0).await;
        written.expect("written");
        disk.sync(&file).await.expect("synced");
        disk.sync_dir(&dir).await.expect("synced");
        disk.sync_fs(&dir).await.expect("synced");
    });
    disk
}

async fn open(disk: &MemDisk, bug: Option<Bug>) -> rmail_store::error::Result<Store> {
    let options = Options {
        parsed_cache: false,
        ..Options::default()
    };
    let disk = WorldDisk::new(disk.clone(), bug);
    FileStore::open(Arc::new(disk), Limits::small(), options).await
}

impl Process {
    /// Starts the program.
    pub fn start(scene: &Rc<Scene>, place: Place, owner: Owner, disk: MemDisk) -> Rc<Self> {
        disk.set_yields(true);
        let process = Rc::new(Self {
            scene: Rc::clone(scene),
            place,
            owner,
            clock: scene.clock.restarted(),
            disk,
            inputs: Channel::default(),
            idle: Cell::new(false),
            entries: Cell::new(0),
            service: RefCell::default(),
        });
        scene.trace(|| format!("{} starts as process {owner}", place.domain));
        scene.spawn(owner, boot(Rc::clone(&process)));
        process
    }

    /// A task that ends with the process.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.scene.spawn(self.owner, task);
    }

    /// The service, once there is one.
    pub fn service(&self) -> Arc<Host> {
        let service = self.service.borrow();
        Arc::clone(service.as_ref().expect("it has started"))
    }
}

/// From the start of the program to the first connection. Who cannot start is started again by the system.
async fn boot(process: Rc<Process>) {
    let place = process.place;
    let (service, entries) = loop {
        match prepare(&process).await {
            Ok(ready) => break ready,
            Err(error) => {
                process
                    .scene
                    .trace(|| format!("{} does not start: {error}", place.domain));
                process.clock.sleep(Duration::from_secs(5)).await;
            }
        }
    };
    let inputs = process.inputs.clone();
    let bug = process.scene.plan.bug;
    service.set_outbound_listener(Arc::new(move |entry| {
        inputs.push(Input::Added(wires::added(bug, entry)));
    }));
    process.scene.serves(place.number, process.owner, &service);
    *process.service.borrow_mut() = Some(service);
    if process.scene.plan.readers > 0 && place.number == 0 {
        offer_mail(&process);
    }
    let dns = Dns::start(&process.scene, &process.clock, process.owner);
    process.spawn(relay::run(Rc::clone(&process), dns, entries));
    for (port, role) in [(25, Role::Mx), (587, Role::Submission)] {
        let address = SocketAddr::new(place.address, port);
        let accepted = process.scene.listen(process.owner, address);
        let process = Rc::clone(&process);
        process.scene.clone().spawn(process.owner, async move {
            loop {
                let stream = accepted.next().await;
                process.spawn(serve(Rc::clone(&process), stream, role));
            }
        });
    }
}

/// Listens for readers, and does for them what the daemon does beside its sessions.
fn offer_mail(process: &Rc<Process>) {
    let accepted = process
        .scene
        .listen(process.owner, SocketAddr::new(process.place.address, 143));
    let (dirty, task) = (Channel::default(), Rc::clone(process));
    let told = dirty.clone();
    process.spawn(async move {
        loop {
            let stream = accepted.next().await;
            task.spawn(serve_mail(Rc::clone(&task), stream, told.clone()));
        }
    });
    let task = Rc::clone(process);
    process.spawn(async move {
        let service = task.service();
        loop {
            dirty.next().await;
            loop {
                // The change itself may be still to come.
                task.clock.sleep(FLAG_SYNC).await;
                if !service.store().is_dirty() {
                    break;
                }
                if service.store().flush().await.is_err() {
                    task.scene.trace(|| "flags are not synced".to_owned());
                }
            }
        }
    });
    let service = process.service();
    process.spawn(async move {
        loop {
            let changes = service.store().changes().await;
            service.store().look_at(&changes).await;
        }
    });
}

/// `store.flag_sync_ms`
const FLAG_SYNC: Duration = Duration::from_secs(1);

/// One connection of a reader.
async fn serve_mail(process: Rc<Process>, stream: crate::link::Stream, dirty: Channel<()>) {
    let settings = imap::Settings {
        hostname: process.place.hostname.to_owned(),
        peer: Peer::LOCAL.address,
        starttls: false,
        cleartext_auth: true,
        max_message_size: 1 << 20,
        autologout: Duration::from_secs(30 * 60),
        login_timeout: Duration::from_secs(60),
        idle_keepalive: Duration::from_secs(28 * 60),
        compress: false,
        limits: Limits::small(),
    };
    let random = Random::from_seed(process.scene.seed());
    let session = imap::Session::new(settings, random, process.clock.now());
    let (host, bug) = (process.service(), process.scene.plan.bug);
    let service = Imap::new(host.imap_session(Peer::LOCAL), Arc::clone(&host), bug, dirty);
    drive(&process.clock, session, stream, &service, false).await;
}

type Ready = (Arc<Host>, Vec<rmail_core::relay::entry::Entry>);

async fn prepare(process: &Process) -> rmail_store::error::Result<Ready> {
    let bug = process.scene.plan.bug;
    let store = Arc::new(open(&process.disk, bug).await?);
    let random = Random::from_seed(process.scene.seed());
    let disk = WorldDisk::new(process.disk.clone(), bug);
    let accounts = Accounts::new(Arc::new(disk), random);
    let settings = Settings {
        hostname: process.place.hostname.to_owned(),
        hosting: Hosting {
            domains: Domain::parse(process.place.domain).into_iter().collect(),
            postmaster: None,
        },
        pbkdf2_rounds: 1,
        ..Settings::default()
    };
    let service = Service::new(store, accounts, settings);
    let entries = wires::loaded(bug, service.load_outbound().await?);
    Ok((service, entries))
}

/// One connection of a client.
async fn serve(process: Rc<Process>, stream: crate::link::Stream, role: Role) {
    let settings = SessionSettings {
        starttls: role == Role::Mx,
        cleartext_auth: true,
        trusted: true,
        ..SessionSettings::new(process.place.hostname, role, Peer::LOCAL.address)
    };
    let random = Random::from_seed(process.scene.seed());
    let session = Session::new(settings, random, process.clock.now());
    let bug = process.scene.plan.bug;
    let service = Smtp::new(process.service().smtp_session(Peer::LOCAL), bug);
    if bug == Some(Bug::EarlyReply) {
        process.spawn(service.clone().follow());
    }
    let ended = drive(&process.clock, session, stream, &service, false).await;
    debug_assert!(ended.poll_timeout().is_none() || !process.scene.is_rough());
}

/// A message that a user has.
pub struct Held {
    pub user: &'static str,
    pub mailbox: &'static str,
    pub uid: u32,
    pub flags: BTreeSet<String>,
    pub text: String,
}

/// All that lies in a mailbox of a user.
async fn contents(store: &Store, user: &'static str, mailbox: &'static str) -> Vec<Held> {
    let account = Address::parse(user).expect("an address").canonical();
    let name = MailboxName::new(mailbox).expect("a name");
    let selected = store.select(&account, &name, true).await.expect("a mailbox");
    let (snapshot, mut held) = (&selected.snapshot, Vec::new());
    for row in snapshot.rows.iter() {
        let blob = store.open(&selected.mailbox, row.uid).await.expect("opened");
        let blob = blob.expect("it is there");
        let mut octets = vec![0; usize::try_from(store.blob_len(&blob)).expect("small")];
        let mut at = 0;
        while at < octets.len() {
            let read = store
                .read(&blob, &mut octets[at..], at as u64)
                .await
                .expect("read");
            assert_ne!(read, 0, "a message is shorter than its file");
            at += read;
        }
        let mut flags = names(row.flags.0);
        let keywords = snapshot.keywords.of(row.keywords);
        flags.extend(keywords.map(|keyword| keyword.as_str().to_owned()));
        held.push(Held {
            user,
            mailbox,
            uid: row.uid.0,
            flags,
            text: String::from_utf8(octets).expect("text"),
        });
    }
    held
}

/// What a site holds once nothing happens any more: the mail of each user, and the ids of entries in its queue.
pub fn inspect(disk: &MemDisk, place: Place) -> (Vec<Held>, Vec<String>) {
    let disk = disk.process();
    disk.set_yields(false);
    block_on(async {
        let store = open(&disk, None).await.expect("it opens");
        let mut mails = Vec::new();
        for user in place.users {
            for mailbox in MAILBOXES {
                mails.extend(contents(&store, user, mailbox).await);
            }
        }
        let left = store.load_outbound().await.expect("the queue");
        (mails, left.into_iter().map(|entry| entry.id).collect())
    })
}
