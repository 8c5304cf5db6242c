//! Worker processes on one mail_root, which a test starts, hears, kills and starts again.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::program::beside_us;

/// All lines that the workers have said, in the order in which they were heard.
type Told = Arc<Mutex<Vec<String>>>;

/// Some workers.
#[derive(Debug)]
pub struct Crew {
    arguments: Vec<String>,
    workers: Vec<Option<Running>>,
    told: Told,
}

#[derive(Debug)]
struct Running {
    child: Child,
    reader: JoinHandle<()>,
    role: &'static str,
}

impl Crew {
    /// Nobody yet. The arguments are those that all workers get.
    #[must_use]
    pub fn new(root: &Path, shard: u32, arguments: &[&str]) -> Self {
        let mut all = vec![
            "--root".to_owned(),
            root.display().to_string(),
            "--shard".to_owned(),
            shard.to_string(),
        ];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Self {
            arguments: all,
            workers: Vec::new(),
            told: Told::default(),
        }
    }

    /// Starts one more.
    pub fn add(&mut self, role: &'static str) {
        let running = self.start(role, self.workers.len());
        self.workers.push(Some(running));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    fn start(&self, role: &'static str, number: usize) -> Running {
        let mut child = Command::new(beside_us("rmail-worker"))
            .arg(role)
            .args(&self.arguments)
            .args(["--number", &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker is built beside the tests");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let told = Arc::clone(&self.told);
        let reader = std::thread::spawn(move || {
            for line in out.lines() {
                told.lock().expect("no panic").push(line.expect("text"));
            }
        });
        Running { child, reader, role }
    }

    /// Kills one with SIGKILL, and starts another in its place.
    ///
    /// # Panics
    /// If it had ended by itself: it has found something wrong.
    pub fn replace(&mut self, number: usize) {
        let mut old = self.workers[number].take().expect("it runs");
        let ended = old.child.try_wait().expect("its state");
        assert!(ended.is_none(), "worker {number} has ended: {ended:?}");
        old.child.kill().expect("killed");
        old.child.wait().expect("ended");
        // All that it has said is heard: it may say no more.
        old.reader.join().expect("its words");
        self.workers[number] = Some(self.start(old.role, number));
    }

    /// Lets all of them end by themselves, and returns what they have said.
    ///
    /// # Panics
    /// If one has found something wrong.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        for running in self.workers.iter_mut().flatten() {
            drop(running.child.stdin.take());
        }
        self.wait()
    }

    /// Waits until all have done what they were to do.
    ///
    /// # Panics
    /// If one has found something wrong.
    #[must_use]
    pub fn wait(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, worker) in self.workers.iter_mut().enumerate() {
            if let Some(mut running) = worker.take() {
                let stdin = running.child.stdin.take();
                let status = running.child.wait().expect("its end");
                drop(stdin);
                running.reader.join().expect("its words");
                if !status.success() {
                    wrong.push(number);
                }
            }
        }
        assert!(wrong.is_empty(), "workers {wrong:?} have found something wrong");
        std::mem::take(&mut self.told.lock().expect("no panic"))
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for running in self.workers.iter_mut().flatten() {
            drop(running.child.kill());
            drop(running.child.wait());
        }
    }
}

/// How long a test that tries its luck does so: `RMAIL_SOAK_SECONDS`, or 20 in CI, whose time is bounded, or 10.
#[must_use]
pub fn seconds() -> u64 {
    let given = std::env::var("RMAIL_SOAK_SECONDS").ok();
    let given = given.and_then(|text| text.parse().ok());
    given.unwrap_or(if std::env::var_os("CI").is_some() { 20 } else { 10 })
}

/// A file system in memory; `None`, visibly, where there is none.
#[must_use]
pub fn memory() -> Option<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        return Some(memory);
    }
    eprintln!("SKIPPED: there is no /dev/shm");
    None
}
