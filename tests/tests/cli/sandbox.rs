//! A directory of its own for `rmail`, without a home, a terminal, or an environment.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rmail_tests::rmail;
use serde_json::json;
use snapbox::cmd::Command;
use tempfile::TempDir;

/// How long a command may take: far more than any needs.
const LONGEST: Duration = Duration::from_secs(60);

/// A directory with a configuration, in which commands run.
pub struct Sandbox {
    dir: TempDir,
    server: Option<Child>,
}

/// What a command did.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    /// With a configuration that listens nowhere and hashes passwords quickly.
    pub fn new() -> Self {
        let sandbox = Self::empty();
        let off = json!({"port": null, "submission_port": null, "smtps_port": null});
        let config = json!({
            "hostname": "mail.here.test", "domains": ["here.test"], "pid_file": "rmail.pid",
            "auth": {"pbkdf2_rounds": 100},
            "smtp": off, "imap": {"port": null, "imaps_port": null},
            "exchange_api": {"port": null, "secure_port": null},
        });
        sandbox.write("config.json", &format!("{config:#}\n"));
        sandbox
    }

    pub fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().expect("directory"),
            server: None,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("in the directory")).expect("directories");
        std::fs::write(path, text).expect("written");
    }

    /// Runs `rmail` to its end.
    pub fn run(&self, arguments: &[&str], input: &str) -> Said {
        let output = Command::new(rmail())
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("TMPDIR", self.path())
            .current_dir(self.path())
            .stdin(input)
            .timeout(LONGEST)
            .output()
            .expect("rmail is built beside its tests");
        let text = |octets: Vec<u8>| String::from_utf8(octets).expect("UTF-8");
        Said {
            code: output
                .status
                .code()
                .unwrap_or_else(|| panic!("{arguments:?} ended by {}", output.status)),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Starts `rmail serve`; it ends with the sandbox. Returns when it answers.
    pub fn serve(&mut self) {
        let log = std::fs::File::create(self.path().join("log")).expect("log");
        let child = std::process::Command::new(rmail())
            .arg("serve")
            .env_clear()
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("rmail is built beside its tests");
        self.server = Some(child);
        let late = Instant::now() + LONGEST;
        while self.run(&["status", "--json"], "").code != 0 {
            let log = std::fs::read_to_string(self.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < late, "the server does not answer:\n{log}");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
