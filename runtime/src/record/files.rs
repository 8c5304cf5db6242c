//! A directory of transcripts, written on a thread of its own.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rmail_conformance::record::played;

use super::recorder::Wanted;
use super::{Kept, Recorded};

/// Files of a recording…
const MAX_FILES: usize = 10_000;
/// …and their octets.
const MAX_OCTETS: u64 = 1 << 30;

/// A directory into which sessions go, until it is dropped.
#[derive(Debug)]
pub(crate) struct Files {
    thread: Option<JoinHandle<()>>,
    wanted: Option<async_channel::Sender<()>>,
}

impl Files {
    /// Makes the directory if it is not there; only its owner may look into it.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub(crate) fn start(dir: &Path, wanted: Wanted) -> io::Result<Self> {
        make(dir)?;
        let mut shelf = Shelf::new(dir.to_path_buf());
        let (end, ended) = async_channel::bounded::<()>(1);
        let thread = thread::Builder::new()
            .name("rmail-record".to_owned())
            .spawn(move || {
                loop {
                    let next = async {
                        let group = wanted.from.recv().await;
                        group.ok()
                    };
                    let over = async {
                        let _ = ended.recv().await;
                        None
                    };
                    match futures_lite::future::block_on(futures_lite::future::or(next, over)) {
                        Some(group) => shelf.keep(&group),
                        None => break,
                    }
                }
                wanted.end().iter().for_each(|group| shelf.keep(group));
            })?;
        Ok(Self {
            thread: Some(thread),
            wanted: Some(end),
        })
    }
}

impl Drop for Files {
    /// What was recorded is written.
    fn drop(&mut self) {
        drop(self.wanted.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was told by itself.
            drop(thread.join());
        }
    }
}

/// Makes a directory that only its owner may look into.
pub(crate) fn make(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Transcripts in a directory.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    files: usize,
    octets: u64,
    full: bool,
}

impl Shelf {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            files: 0,
            octets: 0,
            full: false,
        }
    }

    fn keep(&mut self, group: &Recorded) {
        let Some(first) = group.first().map(Kept::take) else {
            return;
        };
        let stem = format!("{}-{}", first.began.0.as_secs(), first.kind);
        // A fault in making one must not end those that follow.
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| played(group)));
        let text = made.map_err(|_| io::Error::other("a fault while it was made"));
        match text.and_then(|text| self.write(&stem, &text)) {
            Ok(Some(path)) => log::info!(target: "record", "event=recorded path={path:?}"),
            Ok(None) if !self.full => {
                self.full = true;
                log::warn!(target: "record", "event=full files={} octets={}", self.files, self.octets);
            }
            Ok(None) => {}
            Err(error) => {
                log::error!(target: "record", "event=not_written dir={:?} error={:?}", self.dir, error.to_string());
            }
        }
    }

    /// Writes a transcript under a name of its own; `None`: there were enough.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&mut self, stem: &str, text: &str) -> io::Result<Option<PathBuf>> {
        if self.files >= MAX_FILES || self.octets + text.len() as u64 > MAX_OCTETS {
            return Ok(None);
        }
        for number in 1..=MAX_FILES {
            let path = self.dir.join(format!("{stem}-{number}.txt"));
            let file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            match file {
                Ok(mut file) => {
                    file.write_all(text.as_bytes())?;
                    self.files += 1;
                    self.octets += text.len() as u64;
                    return Ok(Some(path));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
