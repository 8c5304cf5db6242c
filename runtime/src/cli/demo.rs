//! `rmail demo`: a server to play with, on loopback and high ports, in a directory of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anstream::println;
use rmail_core::addr::Address;
use rmail_core::config::{Config, LogLevel};
use rmail_core::random::Random;
use rmail_core::secret::Secret;
use serde_json::{Value, json};

use super::load::Loaded;
use super::{Failure, open, serve};
use crate::listen::Service;
use crate::server::Server;
use crate::{entropy, logging};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Keep everything in this directory, and use what is there; otherwise a new one is made and removed at the end.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Take any free ports.
    #[arg(long)]
    any_port: bool,
    /// Print one line of JSON instead of the commands to try.
    #[arg(long)]
    json: bool,
    /// Show the log.
    #[arg(long)]
    verbose: bool,
}

const USERS: [&str; 2] = ["alice@demo.test", "bob@demo.test"];

/// Rounds of the demo's password hashes: the passwords are random and live for an hour.
const ROUNDS: u32 = 10_000;

/// The configuration that other commands can use.
const SETTINGS: &str = "demo.json";

/// A user of the demo, with the password in clear: it is made to be printed.
struct DemoUser {
    address: &'static str,
    password: String,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let directory = Directory::new(options.dir.as_deref())?;
    let loaded = configuration(&directory.path, options.any_port)?;
    let level = match options.verbose {
        true => LogLevel::Info,
        false => LogLevel::Warning,
    };
    logging::start(&logging::Settings::plain(level)).map_err(Failure::new)?;
    let users = make_users(&loaded)?;
    let config = Arc::new(serve::server_config(&loaded)?);
    let server = Server::start(config).map_err(|error| {
        Failure(format!(
            "{error}\nif another program has the port: `rmail demo --any-port` takes free ones"
        ))
    })?;
    let ports = Ports::of(&server);
    write_settings(&directory.path, &ports)?;
    if options.json {
        println!("{}", description(&directory.path, &ports, &users));
    } else {
        explain(&directory, &ports, &users);
    }
    server.run_in_terminal().map_err(Failure::new)
}

/// A directory that is removed at the end unless it was named.
struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    fn new(named: Option<&Path>) -> Result<Self, Failure> {
        let path = named.map_or_else(
            || std::env::temp_dir().join(format!("rmail-demo-{}", random_text(&mut random()))),
            Path::to_path_buf,
        );
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure(format!("cannot make the directory {}: {error}", path.display())))?;
        Ok(Self {
            path,
            keep: named.is_some(),
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            anstream::eprintln!("rmail: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// What a demo is configured with, on these ports: SMTP, submission without and with TLS, IMAP, API.
fn settings([smtp, submission, smtps, imap, imaps, api, api_secure]: [u16; 7]) -> Value {
    json!({
        "hostname": "mail.demo.test",
        "mail_root": "mailstore",
        "domains": ["demo.test"],
        "smtp": {"host": "127.0.0.1", "port": smtp, "submission_port": submission, "smtps_port": smtps},
        "imap": {"host": "127.0.0.1", "port": imap, "imaps_port": imaps},
        "exchange_api": {"host": "127.0.0.1", "port": api, "secure_port": api_secure},
        "auth": {"pbkdf2_rounds": ROUNDS},
    })
}

/// Writes down what the demo runs with, for other commands: `rmail --config DIR/demo.json diagnose`.
fn write_settings(directory: &Path, ports: &Ports) -> Result<(), Failure> {
    let ports = [
        "smtp",
        "submission",
        "smtps",
        "imap",
        "imaps",
        "api",
        "api_secure",
    ]
    .map(|name| ports.get(name));
    let path = directory.join(SETTINGS);
    std::fs::write(&path, format!("{:#}\n", settings(ports)))
        .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))
}

fn configuration(base: &Path, any_port: bool) -> Result<Loaded, Failure> {
    let text = settings([2525, 2587, 2465, 2143, 2993, 9002, 9003]);
    let parsed = Config::read(&text.to_string()).map_err(|problems| {
        Failure(
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    })?;
    let mut loaded = Loaded::new(parsed, base);
    if any_port {
        let (smtp, imap, api) = (
            &mut loaded.config.smtp,
            &mut loaded.config.imap,
            &mut loaded.config.exchange_api,
        );
        // Port 0 means "off" in a file; to the system it means "any".
        for port in [
            &mut smtp.port,
            &mut smtp.submission_port,
            &mut smtp.smtps_port,
            &mut imap.port,
            &mut imap.imaps_port,
            &mut api.port,
            &mut api.secure_port,
        ] {
            *port = Some(0);
        }
    }
    Ok(loaded)
}

/// Users with new passwords.
fn make_users(loaded: &Loaded) -> Result<Vec<DemoUser>, Failure> {
    let root = loaded.path(&loaded.config.mail_root);
    let opened = open::open_root(&root, serve::hosting(&loaded.config)?, ROUNDS)?;
    let mut random = random();
    let mut users = Vec::new();
    for (index, address) in USERS.into_iter().enumerate() {
        let account = Address::parse(address)
            .ok_or_else(|| Failure::new(address))?
            .canonical();
        let password = random_text(&mut random);
        let secret = Secret::new(password.as_bytes());
        if opened.user(&account)?.is_some() {
            opened.set_password(&account, &secret)?;
        } else {
            opened.create(
                &account,
                secret,
                index == 0,
                rmail_core::directory::User::DEFAULT_QUOTA_MB,
            )?;
        }
        users.push(DemoUser { address, password });
    }
    Ok(users)
}

fn random() -> Random {
    Random::from_seed(entropy::seed())
}

/// Twelve letters and digits without those that look alike: 59 bits.
fn random_text(random: &mut Random) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..12)
        .map(|_| char::from(LETTERS[usize::from(random.next_u64() as u8) % LETTERS.len()]))
        .collect()
}

/// Where the demo listens.
struct Ports(Vec<(&'static str, u16)>);

impl Ports {
    fn of(server: &Server) -> Self {
        let name = |service| match service {
            Service::Smtp => "smtp",
            Service::Lmtp => "lmtp",
            Service::Submission => "submission",
            Service::Smtps => "smtps",
            Service::Imap => "imap",
            Service::Imaps => "imaps",
            Service::Api => "api",
            Service::ApiTls => "api_secure",
            Service::Public => "public",
            Service::PublicTls => "public_secure",
        };
        Self(
            server
                .addresses()
                .iter()
                .map(|(service, address)| (name(*service), address.port()))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> u16 {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, port)| *port)
    }
}

fn description(directory: &Path, ports: &Ports, users: &[DemoUser]) -> Value {
    let ports: serde_json::Map<_, _> = ports
        .0
        .iter()
        .map(|(name, port)| ((*name).to_owned(), json!(port)))
        .collect();
    let users: Vec<_> = users
        .iter()
        .map(|user| json!({"address": user.address, "password": user.password}))
        .collect();
    json!({ "directory": directory, "ports": ports, "users": users })
}

fn explain(directory: &Directory, ports: &Ports, users: &[DemoUser]) {
    let [alice, bob] = users else { return };
    let fate = if directory.keep {
        "kept"
    } else {
        "removed at the end"
    };
    println!(
        "rmail demo: a mail server for demo.test on 127.0.0.1, in {} ({fate})\n",
        directory.path.display()
    );
    println!(
        "  SMTP {}   submission {} (STARTTLS) and {} (TLS)",
        ports.get("smtp"),
        ports.get("submission"),
        ports.get("smtps")
    );
    println!(
        "  IMAP {} (STARTTLS) and {} (TLS)   API {} and {} (TLS)\n",
        ports.get("imap"),
        ports.get("imaps"),
        ports.get("api"),
        ports.get("api_secure")
    );
    for user in users {
        println!("  {:<16} password {}", user.address, user.password);
    }
    println!("\nTry it (in another terminal; the certificate is self-signed, hence -k):\n");
    println!(
        "  # alice writes to bob\n  printf 'From: {a}\\r\\nTo: {b}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' | \\\n    \
         curl -k --ssl-reqd --url smtp://127.0.0.1:{port} --user {a}:{password} --mail-from {a} --mail-rcpt {b} -T -\n",
        a = alice.address,
        b = bob.address,
        port = ports.get("submission"),
        password = alice.password
    );
    let (imaps, password) = (ports.get("imaps"), &bob.password);
    println!(
        "  # bob reads it\n  curl -k --url 'imaps://127.0.0.1:{imaps}/INBOX;UID=1' --user {}:{password}\n",
        bob.address
    );
    println!(
        "  # the same in Python\n  python3 -c \"import imaplib,ssl; c=ssl._create_unverified_context(); \
         m=imaplib.IMAP4_SSL('127.0.0.1',{imaps},ssl_context=c); m.login('{}','{password}'); \
         print(m.select(), m.fetch('1:*','(FLAGS ENVELOPE)'))\"\n",
        bob.address
    );
    println!(
        "  # is all well?\n  rmail --config {} diagnose\n",
        directory.path.join(SETTINGS).display()
    );
    println!("Ctrl-C ends it.");
}
