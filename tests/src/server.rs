//! A running `rmail serve` with a configuration of its own, made the way an operator makes it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{rmail, run_with_input};

/// How long anything may take before a test gives up: far more than it needs, so that a slow machine does not fail it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    /// Directory with `config.json` and `mailstore`.
    pub dir: PathBuf,
    /// The configuration.
    pub config: Value,
    /// File descriptors that the program gets at its next start; `None`: as many as the tests have.
    pub descriptors: Option<u32>,
}

impl Server {
    /// Writes a configuration (free ports, the domain `here.test`, clear-text logins from loopback) with `extra` merged
    /// over it, adds the users `alice` (admin) and `bob` with the password `secret`, and starts the server.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn start(dir: &Path, extra: Value) -> Self {
        Self::start_with_users(dir, extra, &[("alice@here.test", true), ("bob@here.test", false)])
    }

    /// The same with other users: their addresses, and whether they are administrators.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn start_with_users(dir: &Path, extra: Value, users: &[(&str, bool)]) -> Self {
        let mut config = json!({
            "hostname": "mail.here.test", "mail_root": "mailstore", "domains": ["here.test"], "log_level": "DEBUG",
            "smtp": {"host": "127.0.0.1", "port": free_port(), "submission_port": free_port(), "smtps_port": free_port()},
            "imap": {"host": "127.0.0.1", "port": free_port(), "imaps_port": free_port()},
            "exchange_api": {"port": null, "secure_port": null},
            "auth": {"cleartext_networks": ["127.0.0.0/8"], "pbkdf2_rounds": 1000},
            "limits": {"trusted_networks": ["127.0.0.0/8"]},
        });
        merge(&mut config, extra);
        let mut server = Self {
            child: None,
            dir: dir.to_path_buf(),
            config,
            descriptors: None,
        };
        server.write_config();
        for &(user, admin) in users {
            let mut arguments = vec!["user", "add", user, "--password-stdin"];
            arguments.extend(admin.then_some("--admin"));
            server.rmail(&arguments, "secret\n");
        }
        server.launch();
        server
    }

    /// Starts another server, on other ports, on the same mail_root.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_beside(&self, dir: &Path) -> Self {
        let mut server = self.beside(dir);
        server.launch();
        server
    }

    /// Another server, on other ports, on the same mail_root; it is not started.
    ///
    /// # Panics
    /// If its configuration cannot be written.
    #[must_use]
    pub fn beside(&self, dir: &Path) -> Self {
        let mut config = self.config.clone();
        config["mail_root"] = json!(self.mail_root());
        for (group, keys) in [
            ("smtp", &["port", "submission_port", "smtps_port"][..]),
            ("imap", &["port", "imaps_port"]),
        ] {
            for key in keys {
                config[group][key] = json!(free_port());
            }
        }
        let server = Self {
            child: None,
            dir: dir.to_path_buf(),
            config,
            descriptors: None,
        };
        server.write_config();
        server
    }

    /// Where it stores.
    ///
    /// # Panics
    /// If the configuration names none.
    #[must_use]
    pub fn mail_root(&self) -> PathBuf {
        self.dir
            .join(self.config["mail_root"].as_str().expect("mail_root"))
    }

    /// `rmail serve`, not started yet.
    ///
    /// # Panics
    /// If its log cannot be opened.
    #[must_use]
    pub fn command(&self) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("a log");
        let mut command = match self.descriptors {
            None => Command::new(rmail()),
            Some(count) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", "ulimit -n $0 && exec \"$@\"", &count.to_string()])
                    .arg(rmail());
                shell
            }
        };
        command
            .arg("--config")
            .arg(self.dir.join("config.json"))
            .arg("serve")
            .stdin(Stdio::null())
            .stderr(log);
        command
    }

    /// Starts the program, and waits until it answers.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    pub fn launch(&mut self) {
        let child = self.command().spawn();
        self.child = Some(child.expect("rmail is built beside its tests"));
        let ports = ["/smtp/port", "/imap/port"].map(|key| self.port(key));
        wait_for("the server to answer", || {
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|state| state.is_some()));
            assert!(!ended, "the server ended: {}", self.log());
            ports
                .iter()
                .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        self.wait_for_control();
    }

    /// The socket that commands speak to is there a moment after the ports; not on every file system, so that a test that
    /// needs it says so itself.
    fn wait_for_control(&self) {
        const MOMENT: Duration = Duration::from_secs(2);
        let (begun, own) = (Instant::now(), self.process().to_string());
        let is_there = || {
            let entries = std::fs::read_dir(self.mail_root().join("control"));
            let mut names = entries
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name());
            names.any(|name| name.to_string_lossy().starts_with(&own))
        };
        while !is_there() && begun.elapsed() < MOMENT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes the configuration as it is now.
    ///
    /// # Panics
    /// If that fails.
    pub fn write_config(&self) {
        std::fs::write(self.dir.join("config.json"), self.config.to_string()).expect("config.json");
    }

    /// Runs `rmail --config … ARGUMENTS` with standard input.
    ///
    /// # Panics
    /// If it fails.
    pub fn rmail(&self, arguments: &[&str], input: &str) -> String {
        let config = self.dir.join("config.json");
        run_with_input(
            Command::new(rmail()).arg("--config").arg(config).args(arguments),
            input.as_bytes(),
        )
    }

    /// The port at a pointer such as `/smtp/port`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn port(&self, pointer: &str) -> u16 {
        self.config
            .pointer(pointer)
            .and_then(Value::as_u64)
            .and_then(|port| port.try_into().ok())
            .expect("a port")
    }

    /// What was logged, up to some MiB: a test may have put a device in its place. Nothing if it cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        const MAX: u64 = 16 << 20;
        let mut octets = Vec::new();
        // Called while a test fails: it must not fail too.
        if let Ok(log) = std::fs::File::open(self.dir.join("log")) {
            drop(log.take(MAX).read_to_end(&mut octets));
        }
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Kills it without warning.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// Sends a signal by its name, such as `HUP`.
    ///
    /// # Panics
    /// If that fails.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end; true if it ended well.
    ///
    /// # Panics
    /// If it does not end within [`PATIENCE`].
    #[must_use]
    pub fn wait(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        let mut status = None;
        wait_for("the server to end", || {
            status = child.try_wait().expect("its state");
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", self.log());
        }
    }
}

/// Tries until it holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that was free a moment ago, below those that the system gives to outgoing connections, so that no client takes
/// it before the server does.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (0..PORTS.len())
        .map(|_| {
            (std::process::id().wrapping_mul(101) + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u32
        })
        .filter_map(|offset| u16::try_from(offset).ok())
        .map(|offset| PORTS.start + offset)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a port")
}

/// Where tests listen.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Puts `extra`'s fields over `base`'s.
fn merge(base: &mut Value, extra: Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra,
    }
}

/// A line-based client connection.
#[derive(Debug)]
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects, and reads the greeting.
    ///
    /// # Panics
    /// If nobody answers.
    #[must_use]
    pub fn connect(port: u16) -> (Self, String) {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        let mut wire = Self(BufReader::new(stream));
        let greeting = wire.line();
        (wire, greeting)
    }

    /// Sends octets.
    ///
    /// # Panics
    /// If the server closed the connection.
    pub fn send(&mut self, text: &str) {
        self.0
            .get_mut()
            .write_all(text.as_bytes())
            .expect("the server reads");
    }

    /// Reads a line; empty at the end of the stream.
    ///
    /// # Panics
    /// If none comes within [`PATIENCE`].
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer in time");
        line
    }

    /// Sends a line, and reads the last line of the SMTP reply.
    pub fn smtp(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n"));
        loop {
            let line = self.line();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    /// Sends an IMAP command, and reads up to its tagged answer.
    ///
    /// # Panics
    /// If the connection ends before.
    pub fn imap(&mut self, command: &str) -> String {
        self.send(&format!("t {command}\r\n"));
        let mut all = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "closed after {all}");
            all.push_str(&line);
            if line.starts_with("t ") {
                return all;
            }
        }
    }

    /// Reads to the end of the stream.
    ///
    /// # Panics
    /// If it does not end within [`PATIENCE`].
    pub fn rest(&mut self) -> String {
        let mut all = String::new();
        self.0.read_to_string(&mut all).expect("the end in time");
        all
    }
}
