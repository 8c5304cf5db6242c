//! A running `rmail demo` on free ports.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::program::rmail;

/// A running server with two users; ended when dropped.
#[derive(Debug)]
pub struct Demo {
    child: Child,
    /// What `rmail demo --json` printed: ports, users, mail_root.
    pub json: String,
    /// Its own directory.
    pub dir: PathBuf,
}

impl Demo {
    /// Starts one in a directory, with a configuration file merged over its own if one is named.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(dir: PathBuf, arguments: &[&str]) -> Self {
        let mut child = Command::new(rmail())
            .args(["demo", "--json", "--any-port", "--dir"])
            .arg(&dir)
            .args(arguments)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("rmail is built beside its tests");
        let mut json = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut json).expect("a line");
        if json.is_empty() {
            panic!("rmail demo did not start: {:?}", child.wait());
        }
        Self { child, json, dir }
    }

    /// A port of the server: `smtp`, `submission`, `smtps`, `imap`, `imaps`, `api`, `api_secure`.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        let value: serde_json::Value = serde_json::from_str(&self.json).expect("JSON");
        value["ports"][name]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .expect("a port")
    }

    /// Address and password of a user.
    ///
    /// # Panics
    /// If there is no such user.
    #[must_use]
    pub fn user(&self, index: usize) -> (String, String) {
        let value: serde_json::Value = serde_json::from_str(&self.json).expect("JSON");
        let field = |name| value["users"][index][name].as_str().expect("a text").to_owned();
        (field("address"), field("password"))
    }

    /// Sends a signal by its name, such as `HUP`.
    ///
    /// # Panics
    /// If that fails.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end; true if it ended well.
    ///
    /// # Panics
    /// If waiting fails.
    #[must_use]
    pub fn wait(&mut self) -> bool {
        self.child.wait().expect("it ends").success()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
