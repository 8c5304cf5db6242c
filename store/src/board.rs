//! What the processes on a mail_root tell operators about limits, and what operators tell them:
//!
//! ```text
//! limits/unban         lines `{seconds since 1970} {target}`: whose counts are to be forgotten; only appended to
//! limits/{id}.json     whom one running process holds back; replaced whole when that changes
//! limits/{id}.lock     locked by that process as long as it lives
//! ```
//!
//! Nothing here has to survive: counts live in memory, and nothing is synced. The directory is made by the first process
//! that reaches a limit, and the file of requests with it, so that they belong to the server's user whoever asks. Files of a process that is dead are removed by whoever finds them. All of it may be deleted at any time.

use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use rmail_core::limiter::Target;
use rmail_core::time::Unix;
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, Mode};

const DIR: &str = "limits";
const REQUESTS: &str = "unban";
/// Octets of [`REQUESTS`] above which the next request begins a new file.
const LONG: u64 = 64 * 1024;
/// Octets of a file that are read.
const MAX: u64 = 4 << 20;
/// How long a process waits for the lock that only somebody who looks can hold for a moment.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Somebody who is held back, as a process tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listed {
    /// By what: [`rmail_core::limiter::Limit::name`].
    pub limit: String,
    /// Which account or login name, if that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Which address, if that is counted; of IPv6 the first of the /64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Until when at least, seconds since 1970.
    pub until: u64,
}

impl Listed {
    /// Whether lifting what is meant by `target` lets it go.
    #[must_use]
    pub fn is_of(&self, target: &Target) -> bool {
        match target {
            Target::All => true,
            Target::Address(address) => self.address == Some(*address),
            Target::Account(name) => self.account.as_ref() == Some(name),
        }
    }
}

/// What one process tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How far it has read the requests.
    pub read: Mark,
    /// Whom it holds back.
    pub held: Vec<Listed>,
}

/// A place in the file of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    inode: u64,
    octets: u64,
}

impl Mark {
    /// Whether whoever has read so far has read that too.
    #[must_use]
    pub fn is_past(self, other: Self) -> bool {
        self.inode == other.inode && self.octets >= other.octets
    }
}

/// The side of a running process.
pub(crate) struct Board<D: Disk> {
    disk: Arc<D>,
    id: String,
    inner: async_lock::Mutex<Inner<D>>,
}

struct Inner<D: Disk> {
    dir: Option<D::Dir>,
    read: Mark,
    /// The lock belongs to the open file.
    alive: Option<(D::Lock, D::File)>,
    /// The number of the state that was told last.
    told: Option<(u64, Mark)>,
    /// The last attempt to tell failed: that is logged once.
    failed: bool,
}

impl<D: Disk> Board<D> {
    /// `id`: something that no other process has.
    pub(crate) fn new(disk: Arc<D>, id: u64) -> Self {
        let inner = Inner {
            dir: None,
            read: Mark::default(),
            alive: None,
            told: None,
            failed: false,
        };
        Self {
            disk,
            id: format!("{id:016x}"),
            inner: async_lock::Mutex::new(inner),
        }
    }

    /// What operators have asked for since the last call. One system call while there is nothing.
    pub(crate) async fn requests(&self) -> Vec<Target> {
        let mut inner = self.inner.lock().await;
        match self.read_requests(&mut inner).await {
            Ok(targets) => targets,
            Err(error) => {
                inner.dir = None;
                if error.kind() != io::ErrorKind::NotFound {
                    log::debug!("{DIR}/{REQUESTS}: {error}");
                }
                Vec::new()
            }
        }
    }

    async fn read_requests(&self, inner: &mut Inner<D>) -> io::Result<Vec<Target>> {
        let dir = match &inner.dir {
            Some(dir) => dir.clone(),
            None => self.disk.open_dir(self.disk.root(), DIR).await?,
        };
        let stat = self.disk.stat_at(&dir, REQUESTS).await?;
        inner.dir = Some(dir.clone());
        let end = Mark {
            inode: stat.inode,
            octets: stat.size,
        };
        if end == inner.read {
            return Ok(Vec::new());
        }
        let from = if inner.read.is_past(Mark { octets: 0, ..end }) && inner.read.octets < end.octets {
            inner.read.octets
        } else {
            0
        };
        let text = read_from(&*self.disk, &dir, REQUESTS, from).await?;
        // A line that is not whole yet is read when it is.
        let whole = text
            .iter()
            .rposition(|octet| *octet == b'\n')
            .map_or(0, |at| at + 1);
        inner.read = Mark {
            inode: end.inode,
            octets: from + whole as u64,
        };
        let text = String::from_utf8_lossy(text.get(..whole).unwrap_or_default()).into_owned();
        let parse = |line: &str| Target::parse(line.split_once(' ')?.1);
        Ok(text.lines().filter_map(parse).collect())
    }

    /// Whether [`Board::tell`] would write.
    pub(crate) fn has_news(&self, state: u64) -> bool {
        let told = self.inner.try_lock().map(|inner| (inner.told, inner.read));
        match told {
            Some((Some(told), read)) => told != (state, read),
            Some((None, _)) => state > 0,
            None => true,
        }
    }

    /// Tells operators whom this process holds back, if `state` or what was read is another than at the last call.
    pub(crate) async fn tell(&self, state: u64, held: impl FnOnce() -> Vec<Listed>) {
        if !self.has_news(state) {
            return;
        }
        let mut inner = self.inner.lock().await;
        let told = Told {
            read: inner.read,
            held: held(),
        };
        match self.write(&mut inner, &told).await {
            Ok(()) => {
                inner.told = Some((state, told.read));
                inner.failed = false;
            }
            Err(error) => {
                if !inner.failed {
                    log::warn!(
                        "{DIR}: {error}; `rmail unban --list` does not show whom this process holds back"
                    );
                }
                inner.failed = true;
                (inner.dir, inner.alive) = (None, None);
            }
        }
    }

    async fn write(&self, inner: &mut Inner<D>, told: &Told) -> io::Result<()> {
        let dir = match &inner.dir {
            Some(dir) => dir.clone(),
            None => make_dir(&*self.disk).await?,
        };
        inner.dir = Some(dir.clone());
        if inner.alive.is_none() {
            let file = self
                .disk
                .open(&dir, &format!("{}.lock", self.id), Mode::Create)
                .await?;
            inner.alive = Some((self.disk.lock(&file, LOCK_WAIT).await?, file));
        }
        self.disk.open(&dir, REQUESTS, Mode::Create).await?;
        let (name, new) = (format!("{}.json", self.id), format!(".{}.new", self.id));
        unlink(&*self.disk, &dir, &new).await?;
        let file = self.disk.open(&dir, &new, Mode::CreateNew).await?;
        let mut json = serde_json::to_vec(told)?;
        json.push(b'\n');
        self.disk.write_at(&file, &json, 0).await?;
        self.disk.replace(&dir, &new, &name).await
    }
}

impl<D: Disk> core::fmt::Debug for Board<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Board({})", self.id)
    }
}

/// What each running process tells, by an id of the process. Files of dead ones are removed.
///
/// # Errors
/// The directory or a file in it cannot be read.
pub async fn told<D: Disk>(disk: &D) -> io::Result<Vec<(String, Told)>> {
    let dir = match disk.open_dir(disk.root(), DIR).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut all = Vec::new();
    for entry in disk.list(&dir).await?.entries {
        let Some(id) = entry.name.strip_suffix(".json") else {
            continue;
        };
        let lock = format!("{id}.lock");
        if is_dead(disk, &dir, &lock).await? {
            for name in [&entry.name, &lock, &format!(".{id}.new")] {
                unlink(disk, &dir, name).await?;
            }
            continue;
        }
        match read_from(disk, &dir, &entry.name, 0).await {
            Ok(text) => {
                let told = serde_json::from_slice(&text);
                all.extend(told.map(|told| (id.to_owned(), told)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Nobody holds its lock.
async fn is_dead<D: Disk>(disk: &D, dir: &D::Dir, lock: &str) -> io::Result<bool> {
    let file = match disk.open(dir, lock, Mode::Write).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    match disk.lock(&file, Duration::ZERO).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks every running process on the mail_root to forget what it has counted. They hear it within seconds, and before
/// they refuse anybody: [`Told::read`] says who has. `None`: no process has held anybody back yet, and there is nobody to
/// ask.
///
/// # Errors
/// The request cannot be written.
pub async fn ask<D: Disk>(disk: &D, target: &Target, now: Unix) -> io::Result<Option<Mark>> {
    let dir = match disk.open_dir(disk.root(), DIR).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match disk.stat_at(&dir, REQUESTS).await {
        Ok(stat) if stat.size > LONG => unlink(disk, &dir, REQUESTS).await?,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&dir, REQUESTS, Mode::Create).await?;
    let line = format!("{} {target}\n", now.secs());
    disk.append(&file, line.as_bytes()).await?;
    let stat = disk.stat(&file).await?;
    Ok(Some(Mark {
        inode: stat.inode,
        octets: stat.size,
    }))
}

async fn make_dir<D: Disk>(disk: &D) -> io::Result<D::Dir> {
    match disk.open_dir(disk.root(), DIR).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match disk.make_dir(disk.root(), DIR).await {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => disk.open_dir(disk.root(), DIR).await,
    }
}

/// What a file holds behind an offset, [`MAX`] octets at most.
async fn read_from<D: Disk>(disk: &D, dir: &D::Dir, name: &str, from: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(dir, name, Mode::Read).await?;
    let length = disk.stat(&file).await?.size.saturating_sub(from).min(MAX);
    let mut octets = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut at = 0;
    while let Some(rest) = octets.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match disk.read_at(&file, rest, from + at as u64).await? {
            0 => break,
            n => at += n,
        }
    }
    octets.truncate(at);
    Ok(octets)
}

async fn unlink<D: Disk>(disk: &D, dir: &D::Dir, name: &str) -> io::Result<()> {
    match disk.unlink(dir, name).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
