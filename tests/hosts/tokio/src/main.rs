//! The SMTP and IMAP machines on tokio, over a store in memory: `cargo run -- [SMTP_PORT [IMAP_PORT]]`, then send mail
//! to `demo@demo.test` and read it with the password `demo`. Clear text, loopback only; all is gone at the end.

mod host;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use host::{Clock, host};
use rmail_core::addr::{Address, Domain};
use rmail_core::directory::Hosting;
use rmail_core::limits::Limits;
use rmail_core::peer::Peer;
use rmail_core::random::Random;
use rmail_core::secret::Secret;
use rmail_core::{imap, smtp};
use rmail_store::accounts::{Accounts, NewUser};
use rmail_store::file::{FileStore, Options};
use rmail_store::mem::MemDisk;
use rmail_store::service::{Service, Settings};
use tokio::net::TcpListener;

type Memory = Service<FileStore<MemDisk>, MemDisk>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = |n, default| std::env::args().nth(n).map_or(Ok(default), |text| text.parse::<u16>());
    let clock = Clock::start();
    let service = service(clock)?;
    let smtp = TcpListener::bind((Ipv4Addr::LOCALHOST, port(1, 2525)?)).await?;
    let imap = TcpListener::bind((Ipv4Addr::LOCALHOST, port(2, 2143)?)).await?;
    println!("SMTP {} IMAP {}", smtp.local_addr()?, imap.local_addr()?);
    loop {
        let service = Arc::clone(&service);
        tokio::select! {
            accepted = smtp.accept() => {
                let (stream, peer) = accepted?;
                let machine = smtp::server::Session::new(smtp_settings(peer.ip()), random()?, clock.now());
                tokio::spawn(host(machine, stream, Arc::new(service.smtp_session(of(peer.ip()))), clock));
            }
            accepted = imap.accept() => {
                let (stream, peer) = accepted?;
                let machine = imap::server::Session::new(imap_settings(peer.ip()), random()?, clock.now());
                tokio::spawn(host(machine, stream, Arc::new(service.imap_session(of(peer.ip()))), clock));
            }
        }
    }
}

/// A store in memory with one user.
fn service(clock: Clock) -> Result<Arc<Memory>, Box<dyn std::error::Error>> {
    let disk = Arc::new(MemDisk::new());
    disk.set_clock(clock.now().unix.0);
    let store = Arc::new(block_on(FileStore::open(Arc::clone(&disk), Limits::default(), Options::default()))?);
    let accounts = Accounts::new(disk, random()?);
    let address = Address::parse("demo@demo.test").ok_or("an address")?;
    let user = NewUser { password: Some(Secret::new(&b"demo"[..])), rounds: 10_000, admin: true, quota_mb: 100 };
    block_on(accounts.create(&*store, &address.canonical(), &user, clock.now().unix))?;
    let hosting = Hosting { domains: Domain::parse("demo.test").into_iter().collect(), postmaster: None };
    Ok(Service::new(store, accounts, Settings { hosting, ..Settings::default() }))
}

fn random() -> std::io::Result<Random> {
    use std::io::Read as _;
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(Random::from_seed(seed))
}

fn of(address: std::net::IpAddr) -> Peer {
    Peer { address, trusted: true }
}

fn smtp_settings(peer: std::net::IpAddr) -> smtp::server::Settings {
    smtp::server::Settings {
        cleartext_auth: true,
        trusted: true,
        ..smtp::server::Settings::new("mail.demo.test", smtp::server::Role::Mx, peer)
    }
}

fn imap_settings(peer: std::net::IpAddr) -> imap::server::Settings {
    imap::server::Settings {
        hostname: "mail.demo.test".into(),
        peer,
        starttls: false,
        cleartext_auth: true,
        max_message_size: 50 << 20,
        autologout: Duration::from_secs(1_800),
        login_timeout: Duration::from_secs(60),
        idle_keepalive: Duration::from_secs(1_740),
        compress: false,
        limits: Limits::default(),
    }
}
