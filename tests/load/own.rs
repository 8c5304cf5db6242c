//! A server of our own, for figures that need to start it, to fill it, or to look at its process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rmail_tests::run_with_input;
use serde_json::json;

use crate::imap::Login;

/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether a port answers: well below what is measured.
const LOOK: Duration = Duration::from_micros(200);
/// Password of its users.
const PASSWORD: &str = "load";

/// The server; ended when dropped, its directory removed.
#[derive(Debug)]
pub(crate) struct Own {
    program: PathBuf,
    dir: PathBuf,
    child: Option<Child>,
    pub(crate) smtp: u16,
    pub(crate) submission: u16,
    pub(crate) imap: u16,
    imaps: u16,
}

impl Own {
    /// Configures one below a new directory of `parent`, with the user `u1@load.test`, and starts it.
    pub(crate) fn start(program: &Path, parent: &Path) -> Self {
        let dir = parent.join(format!("rmail-load-own-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory of our own");
        let ports: Vec<TcpListener> = (0..4)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"))
            .collect();
        let port = |n: usize| ports[n].local_addr().expect("it is bound").port();
        let own = Self {
            program: program.to_path_buf(),
            child: None,
            smtp: port(0),
            submission: port(1),
            imap: port(2),
            imaps: port(3),
            dir,
        };
        drop(ports);
        let config = json!({
            "hostname": "mail.load.test", "mail_root": own.dir.join("mail"), "domains": ["load.test"],
            "log_level": "WARNING",
            "smtp": {"host": "127.0.0.1", "port": own.smtp, "submission_port": own.submission, "smtps_port": null,
                     "max_connections": 20_000, "max_recipients": 1_000},
            "imap": {"host": "127.0.0.1", "port": own.imap, "imaps_port": own.imaps, "max_connections": 20_000},
            "exchange_api": {"port": null, "secure_port": null},
            "auth": {"cleartext_networks": ["127.0.0.0/8"], "pbkdf2_rounds": 1000},
            "limits": {"trusted_networks": ["127.0.0.0/8"], "recipients_per_hour": 1_000_000,
                       "recipients_per_day": 1_000_000},
        });
        fs::write(own.dir.join("config.json"), config.to_string()).expect("config.json");
        let mut own = own;
        own.rmail(&["user", "add", "u1@load.test", "--password-stdin"], PASSWORD);
        own.launch();
        own
    }

    /// Runs `rmail` with arguments on it.
    pub(crate) fn rmail(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(self.dir.join("config.json"))
            .args(arguments);
        run_with_input(&mut command, input.as_bytes())
    }

    /// Starts it: milliseconds from exec to the greeting of the last port.
    pub(crate) fn launch(&mut self) -> f64 {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("a log");
        let begun = Instant::now();
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(self.dir.join("config.json"))
            .arg("serve")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the program runs"));
        for port in [self.smtp, self.submission, self.imap] {
            while greeting(port).is_none() {
                assert!(begun.elapsed() < PATIENCE, "it does not start");
                std::thread::sleep(LOOK);
            }
        }
        begun.elapsed().as_secs_f64() * 1000.0
    }

    /// Ends it and waits.
    pub(crate) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let told = Command::new("kill").arg(child.id().to_string()).status();
            assert!(told.is_ok_and(|status| status.success()), "it can be told");
            child.wait().expect("it ends");
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn imaps(&self) -> u16 {
        self.imaps
    }

    /// How `u1@load.test` logs in.
    pub(crate) fn login(&self) -> Login {
        Login {
            port: self.imap,
            user: "u1@load.test".to_owned(),
            password_env: String::new(),
            password: Some(PASSWORD.to_owned()),
            mailbox: "INBOX".to_owned(),
        }
    }

    /// The same for SMTP: name and password.
    pub(crate) fn user(&self) -> (&'static str, &'static str) {
        ("u1@load.test", PASSWORD)
    }

    /// Makes the users `g0@load.test` to `g{count - 1}@load.test`, where they are missing: with the password of u1, and
    /// nothing in their mailboxes. While it is down.
    pub(crate) fn make_users(&self, count: u32) {
        let users = self.dir.join("mail/domains/load.test/users");
        let like = fs::read(users.join("u1/user.json")).expect("u1 has one");
        for n in 0..count {
            let user = users.join(format!("g{n}"));
            if fs::create_dir(&user).is_ok() {
                fs::write(user.join("user.json"), &like).expect("room");
            }
        }
    }

    /// MiB of its resident memory that is its own (`Private_Dirty`).
    pub(crate) fn memory(&self) -> f64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("it runs");
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"));
        kilobytes(line.expect("Linux tells it")) / 1024.0
    }

    /// MiB of its resident memory, of which the program's own pages may be shared.
    pub(crate) fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        kilobytes(line.expect("Linux tells it")) / 1024.0
    }

    /// Voluntary and other switches of all its threads so far: each wake-up is one.
    pub(crate) fn switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let of = |dir: fs::DirEntry| {
            let status = fs::read_to_string(dir.path().join("status")).unwrap_or_default();
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum::<u64>()
        };
        tasks.flatten().map(of).sum()
    }
}

fn kilobytes(field: &str) -> f64 {
    let digits = field.trim().trim_end_matches("kB").trim();
    digits.parse().expect("a number")
}

/// What a port says first; none: nobody listens.
fn greeting(port: u16) -> Option<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    (!line.is_empty()).then_some(line)
}

impl Drop for Own {
    fn drop(&mut self) {
        self.end();
        drop(fs::remove_dir_all(&self.dir));
    }
}
