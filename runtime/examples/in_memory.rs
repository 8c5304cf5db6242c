//! A whole mail server (SMTP, IMAP, HTTP, relay) that keeps nothing on disk: what another backend for the mail, or another
//! place for the users, looks like from outside.
//!
//! ```text
//! cargo run -p rmail-runtime --example in_memory
//! ```
//!
//! Replace [`MemoryStore`] by your own [`MailStore`](rmail_store::MailStore), and all servers speak to that one.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_lite::future::block_on;
use rmail_core::addr::{Address, Domain};
use rmail_core::directory::{Hosting, User};
use rmail_core::limits::Limits;
use rmail_core::secret::Secret;
use rmail_runtime::server::{Listen, Server, ServerConfig};
use rmail_runtime::{clock, entropy};
use rmail_store::MemoryStore;
use rmail_store::accounts::{Accounts, NewUser};
use rmail_store::mem::MemDisk;
use rmail_store::service;

/// Octets of mail that the server takes.
const ROOM: u64 = 1 << 30;

/// Who has an account.
const USERS: [&str; 2] = ["alice@memory.test", "bob@memory.test"];

/// Everybody's password: nobody but this machine can connect.
const PASSWORD: &str = "secret";

fn main() -> Result<(), Box<dyn Error>> {
    let local = |port| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let server = start(Listen {
        smtp: local(2525),
        submission: local(2587),
        imap: local(2143),
        api: local(9002),
        ..Listen::default()
    })?;
    for (service, address) in server.addresses() {
        println!("{service}\t{address}");
    }
    println!("users\t{} (password: {PASSWORD})", USERS.join(", "));
    println!("Ctrl-C ends it, and everything is gone.");
    server.run_in_terminal()?;
    Ok(())
}

/// Starts the server. A test does so too.
pub(crate) fn start(listen: Listen) -> Result<Server<MemoryStore, MemDisk>, Box<dyn Error>> {
    // The mail: this is the line to change.
    let store = Arc::new(MemoryStore::with_room(Limits::default(), ROOM));

    // The users. `RealDisk::open(directory)` in place of this disk keeps them in files.
    let disk = MemDisk::new();
    disk.set_yields(false);
    let accounts = Accounts::new(Arc::new(disk), entropy::random());
    for user in USERS {
        let account = Address::parse(user).ok_or("no address")?.canonical();
        let new = NewUser {
            password: Some(Secret::new(PASSWORD.as_bytes())),
            rounds: 10_000,
            admin: user == USERS[0],
            quota_mb: User::DEFAULT_QUOTA_MB,
        };
        block_on(accounts.create(&*store, &account, &new, clock::unix()))?;
    }

    let hostname = "mail.memory.test".to_owned();
    let config = ServerConfig {
        hostname: hostname.clone(),
        listen,
        // A certificate would be a file.
        tls: None,
        service: service::Settings {
            hostname,
            hosting: Hosting {
                domains: vec![Domain::parse("memory.test").ok_or("no domain")?],
                postmaster: None,
            },
            // Mail to the rest of the world is refused.
            relay_enabled: false,
            ..service::Settings::default()
        },
        ..ServerConfig::default()
    };
    Ok(Server::start_with(Arc::new(config), store, accounts)?)
}
