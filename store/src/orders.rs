//! What operators ask of the outbound queue of running servers, and of those that start later:
//!
//! ```text
//! orders/{queue}.{time}-{number}.json    what is to be done with entries of one queue directory; removed by whoever has done it
//! ```
//!
//! A file appears whole and is never changed. The process that owns the queue directory carries it out, at once if there is
//! one, else the next that takes the directory over; it does so before it tries anything. The order of the names is that of the
//! requests. What nobody has carried out after `MAX_AGE` is removed.

use std::io;

use rmail_core::relay::queue::Command;
use rmail_core::time::Unix;
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::file::io::{found, open_or_make_dir, read_file};

const DIR: &str = "orders";
/// Entries of one file.
const MAX_IDS: usize = 10_000;
/// Seconds after which a request is forgotten: whoever has made it has seen long ago that nobody carries it out.
const MAX_AGE: u64 = 30 * 86_400;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What.
    pub command: Word,
    /// Of which entries.
    pub ids: Vec<String>,
}

/// A [`Command`] as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "`Command` tells")]
pub enum Word {
    Retry,
    Hold,
    Release,
    Fail,
}

impl Word {
    /// What the queue is told.
    #[must_use]
    pub const fn command(self) -> Command {
        match self {
            Self::Retry => Command::Retry,
            Self::Hold => Command::Hold,
            Self::Release => Command::Release,
            Self::Fail => Command::Fail,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Fail => "fail",
        }
    }
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Of the file.
    pub name: String,
    /// Of the queue directory.
    pub queue: String,
    /// What it asks for.
    pub request: Request,
}

/// Makes requests for entries of one queue directory, durably; the names of their files. `number`: something random.
///
/// # Errors
/// They were not all written.
pub async fn place<D: Disk>(
    disk: &D,
    queue: &str,
    word: Word,
    ids: &[String],
    now: Unix,
    number: u64,
) -> io::Result<Vec<String>> {
    let dir = open_or_make_dir(disk, disk.root(), DIR).await?;
    disk.sync_dir(disk.root()).await?;
    let mut names = Vec::new();
    for (part, ids) in ids.chunks(MAX_IDS).enumerate() {
        let request = Request {
            command: word,
            ids: ids.to_vec(),
        };
        let name = format!("{queue}.{:020}-{part:04}{number:016x}.json", now.0.as_nanos());
        let file = disk.create_unnamed(&dir).await?;
        disk.write_at(&file, &serde_json::to_vec(&request)?, 0).await?;
        disk.sync(&file).await?;
        disk.link_unnamed(&file, &dir, &name).await?;
        names.push(name);
    }
    disk.sync_dir(&dir).await?;
    Ok(names)
}

/// Whether one of these waits still.
///
/// # Errors
/// The directory cannot be read.
pub async fn any_waits<D: Disk>(disk: &D, names: &[String]) -> io::Result<bool> {
    let Some(dir) = found(disk.open_dir(disk.root(), DIR).await)? else {
        return Ok(false);
    };
    for name in names {
        if found(disk.stat_at(&dir, name).await)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What waits, in the order in which it was asked for. A file that cannot be read is left out.
///
/// # Errors
/// The directory or a file in it cannot be read.
pub async fn waiting<D: Disk>(disk: &D) -> io::Result<Vec<Waiting>> {
    let Some(dir) = found(disk.open_dir(disk.root(), DIR).await)? else {
        return Ok(Vec::new());
    };
    let mut names: Vec<String> = disk
        .list(&dir)
        .await?
        .entries
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.retain(|name| time_of(name).is_some());
    names.sort_unstable_by_key(|name| (time_of(name), name.clone()));
    let mut all = Vec::new();
    for name in names {
        let Some((queue, _)) = name.split_once('.') else {
            continue;
        };
        let Some(octets) = read_file(disk, &dir, &name).await? else {
            continue;
        };
        match serde_json::from_slice(&octets) {
            Ok(request) => all.push(Waiting {
                queue: queue.to_owned(),
                name,
                request,
            }),
            Err(error) => log::error!("{DIR}/{name} cannot be read and is left out: {error}"),
        }
    }
    Ok(all)
}

/// It is carried out, or nobody wants it any more.
///
/// # Errors
/// The file cannot be removed.
pub async fn remove<D: Disk>(disk: &D, name: &str) -> io::Result<()> {
    match found(disk.open_dir(disk.root(), DIR).await)? {
        Some(dir) => found(disk.unlink(&dir, name).await).map(drop),
        None => Ok(()),
    }
}

/// Removes what nobody has carried out for too long.
///
/// # Errors
/// The directory cannot be read, or a file in it cannot be removed.
pub async fn remove_old<D: Disk>(disk: &D, now: Unix) -> io::Result<()> {
    let Some(dir) = found(disk.open_dir(disk.root(), DIR).await)? else {
        return Ok(());
    };
    for entry in disk.list(&dir).await?.entries {
        let age = time_of(&entry.name).map(|time| now.secs().saturating_sub(time));
        if age.is_some_and(|age| age > MAX_AGE) {
            found(disk.unlink(&dir, &entry.name).await)?;
        }
    }
    Ok(())
}

/// A watch on the directory, which is made if it is not there.
///
/// # Errors
/// Changes cannot be heard.
pub(crate) async fn watch<D: Disk>(disk: &D, tag: u64) -> io::Result<D::Watch> {
    let dir = open_or_make_dir(disk, disk.root(), DIR).await?;
    disk.watch_dir(&dir, tag)
}

/// When a request was made, seconds since 1970; `None`: it is no request's name.
fn time_of(name: &str) -> Option<u64> {
    let (_, rest) = name.strip_suffix(".json")?.split_once('.')?;
    let (time, _) = rest.split_once('-')?;
    let nanos: u128 = time.parse().ok()?;
    u64::try_from(nanos / 1_000_000_000).ok()
}
