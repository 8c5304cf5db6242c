//! A whole server on loopback, and clients that speak line by line.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::addr::{Address, Domain};
use rmail_core::directory::Hosting;
use rmail_core::limits::Limits;
use rmail_core::secret::Secret;
use rmail_core::{random::Random, relay};
use rmail_runtime::disk::RealDisk;
use rmail_runtime::listen::Service;
use rmail_runtime::server::{Listen, RunError, Server, ServerConfig, Stopper};
use rmail_runtime::tls::{CertificateSource, ClientTls};
use rmail_runtime::{clock, entropy};
use rmail_store::accounts::{Accounts, NewUser};
use rmail_store::file::{FileStore, Options};
use rmail_store::service::Settings;
use rustls::pki_types::ServerName;
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse";

/// A server that runs in a thread of this process.
pub(crate) struct Running {
    root: TempDir,
    domain: Domain,
    addresses: Vec<(Service, SocketAddr)>,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

fn any() -> Vec<SocketAddr> {
    vec![(Ipv4Addr::LOCALHOST, 0).into()]
}

fn config(root: &TempDir, domain: &str) -> ServerConfig {
    let hostname = format!("mail.{domain}");
    let hosting = Hosting {
        domains: vec![Domain::parse(domain).unwrap()],
        postmaster: None,
    };
    ServerConfig {
        hostname: hostname.clone(),
        mail_root: root.path().to_owned(),
        listen: Listen {
            smtp: any(),
            submission: any(),
            smtps: any(),
            imap: any(),
            imaps: any(),
            api: any(),
            api_tls: any(),
            lmtp: any(),
            ..Listen::default()
        },
        tls: Some(CertificateSource::SelfSigned {
            mail_root: root.path().to_owned(),
            names: vec![hostname.clone()],
        }),
        service: Settings {
            hostname: hostname.clone(),
            hosting,
            pbkdf2_rounds: 1_000,
            ..Settings::default()
        },
        relay: relay::Settings {
            hostname,
            ..relay::Settings::default()
        },
        grace: Duration::from_secs(20),
        ..ServerConfig::default()
    }
}

impl Running {
    /// A server with these users (`name@domain`, all of one domain), after `change` to its configuration.
    pub(crate) fn start(users: &[&str], change: impl FnOnce(&mut ServerConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let addresses: Vec<Address> = users.iter().map(|user| Address::parse(user).unwrap()).collect();
        create(&root, &addresses);
        Self::serve(root, addresses[0].domain.clone(), change)
    }

    /// Ends it and starts another on the same mail_root.
    pub(crate) fn restart(mut self, change: impl FnOnce(&mut ServerConfig)) -> Self {
        self.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
        let root = std::mem::replace(&mut self.root, tempfile::tempdir().unwrap());
        Self::serve(root, self.domain.clone(), change)
    }

    fn serve(root: TempDir, domain: Domain, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = config(&root, domain.as_str());
        change(&mut config);
        let server = Server::start(Arc::new(config)).unwrap();
        Self {
            root,
            domain,
            addresses: server.addresses().to_vec(),
            stopper: server.stopper(),
            thread: Some(std::thread::spawn(move || server.run(|| None))),
        }
    }

    pub(crate) fn address(&self, service: Service) -> SocketAddr {
        let found = self.addresses.iter().find(|(found, _)| *found == service);
        found.unwrap().1
    }

    pub(crate) fn plain(&self, service: Service) -> Wire {
        Wire::new(TcpStream::connect(self.address(service)).unwrap())
    }

    pub(crate) fn tls(&self, service: Service) -> Wire {
        self.plain(service).start_tls()
    }

    /// Tells the server to end.
    pub(crate) fn stop(&self) {
        self.stopper.stop();
    }

    /// Until it has ended, well.
    pub(crate) fn wait(mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn create(root: &TempDir, users: &[Address]) {
    let disk = Arc::new(RealDisk::open(root.path()).unwrap());
    block_on(async {
        let store = FileStore::open(Arc::clone(&disk), Limits::default(), Options::default())
            .await
            .unwrap();
        let accounts = Accounts::new(disk, Random::from_seed(entropy::seed()));
        for user in users {
            let new = NewUser {
                password: Some(Secret::new(PASSWORD)),
                rounds: 1_000,
                admin: false,
                quota_mb: 0,
            };
            accounts
                .create(&store, &user.canonical(), &new, clock::unix())
                .await
                .unwrap();
        }
    });
}

trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

/// A client's connection.
pub(crate) struct Wire {
    stream: Box<dyn Both>,
    plain: Option<TcpStream>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self {
            plain: Some(stream.try_clone().unwrap()),
            stream: Box::new(stream),
        }
    }

    /// A handshake that trusts anybody.
    pub(crate) fn start_tls(self) -> Self {
        let name = ServerName::try_from("mail.example.com").unwrap();
        let config = ClientTls::default().opportunistic();
        let connection = rustls::ClientConnection::new(config, name).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, self.plain.unwrap());
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).unwrap();
        }
        Self {
            stream: Box::new(tls),
            plain: None,
        }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut octet = [0];
        while !line.ends_with(b"\r\n") {
            assert_eq!(
                self.stream.read(&mut octet).unwrap(),
                1,
                "closed after {:?}",
                String::from_utf8_lossy(&line)
            );
            line.push(octet[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).unwrap()
    }

    /// Lines up to the one that begins so, that included.
    pub(crate) fn until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let last = line.starts_with(start);
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// Sends a line, expects a (last) reply line that begins so, and gives all reply lines.
    pub(crate) fn ask(&mut self, line: &str, reply: &str) -> Vec<String> {
        self.send(&format!("{line}\r\n"));
        // An SMTP reply ends with the first line that has a space behind its code.
        let tag = reply.split(' ').next().unwrap().to_owned() + " ";
        let lines = self.until(&tag);
        assert!(lines.last().unwrap().starts_with(reply), "{line}: {lines:?}");
        lines
    }

    /// All that still comes.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).unwrap();
        text
    }
}
