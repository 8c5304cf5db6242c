//! `rmail backup verify`: whether a backup is what was written.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, Mode};
use crate::file::io::found;

use super::super::places::open_path;
use super::manifest::{self, Line, Reader};
use super::{PARTIAL, is_name, read};

/// What is wrong with a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Its kind.
    pub kind: FlawKind,
    /// Where, from the backup's directory.
    pub path: String,
    /// What exactly.
    pub detail: String,
}

/// Kinds of flaws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlawKind {
    /// The manifest itself: nothing else can be told.
    Manifest,
    /// A file is not there.
    Missing,
    /// A file has another size or hash.
    Changed,
    /// The disk does not give a file.
    Unreadable,
    /// A file is there that the manifest does not have.
    Extra,
    /// Something could not be backed up when it was made.
    Incomplete,
}

impl FlawKind {
    /// A stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Unreadable => "unreadable",
            Self::Extra => "extra",
            Self::Incomplete => "incomplete",
        }
    }
}

/// What was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files of the manifest.
    pub files: u64,
    /// Octets that were read.
    pub octets: u64,
    /// Flaws.
    pub flaws: u64,
}

/// The backups below a directory, or in it: names with whether they are complete by name, oldest first. The name is
/// empty if the directory itself is one.
///
/// # Errors
/// It cannot be listed.
pub async fn sets<D: Disk>(disk: &D, dir: &D::Dir) -> io::Result<Vec<(String, bool)>> {
    let mut sets = Vec::new();
    for entry in disk.list(dir).await?.entries {
        if entry.name == manifest::NAME {
            return Ok(vec![(String::new(), true)]);
        }
        if entry.is_dir && is_name(&entry.name) {
            sets.push((entry.name, true));
        } else if entry.name.strip_suffix(PARTIAL).is_some_and(is_name) {
            sets.push((entry.name, false));
        }
    }
    sets.sort_unstable();
    Ok(sets)
}

/// Reads all files of a backup, and tells what is not as the manifest has it. `progress` gets the octets of each file.
///
/// # Errors
/// Directories of it cannot be listed.
pub async fn verify<D: Disk>(
    disk: &D,
    set: &D::Dir,
    flaw: &mut dyn FnMut(Flaw),
    progress: &mut dyn FnMut(u64),
) -> io::Result<Verified> {
    let mut verified = Verified::default();
    let mut tell = |verified: &mut Verified, kind, path: &str, detail: String| {
        verified.flaws += 1;
        let path = path.to_owned();
        flaw(Flaw { kind, path, detail });
    };
    let mut reader: Reader<D> = match Reader::open(disk, set).await {
        Ok(reader) => reader,
        Err(broken) => {
            tell(
                &mut verified,
                FlawKind::Manifest,
                manifest::NAME,
                broken.to_string(),
            );
            return Ok(verified);
        }
    };
    let mut known = vec![mark(manifest::NAME)];
    let mut mailbox = String::new();
    let mut buffer = Vec::new();
    let mut last: Option<(String, D::Dir)> = None;
    loop {
        let line = match reader.next(disk).await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(broken) => {
                tell(
                    &mut verified,
                    FlawKind::Manifest,
                    manifest::NAME,
                    broken.to_string(),
                );
                return Ok(verified);
            }
        };
        let (path, size, sha256) = match line {
            Line::File { path, size, sha256 } => (path, size, sha256),
            Line::Message(line) => (format!("{mailbox}/{}", line.path), line.size, line.sha256),
            Line::Mailbox(line) => {
                mailbox = line.path;
                continue;
            }
            Line::Problem { path, error } => {
                let detail = format!("it could not be backed up: {error}");
                tell(&mut verified, FlawKind::Incomplete, &path, detail);
                continue;
            }
            _ => continue,
        };
        known.push(mark(&path));
        verified.files += 1;
        verified.octets += size;
        match check(disk, set, &mut last, &path, &mut buffer).await {
            Ok(None) => tell(
                &mut verified,
                FlawKind::Missing,
                &path,
                "it is not there".to_owned(),
            ),
            Ok(Some((now, _))) if now != size => {
                let detail = format!("it has {now} octets, not {size}");
                tell(&mut verified, FlawKind::Changed, &path, detail);
            }
            Ok(Some((_, hash))) if hash != sha256 => {
                let detail = "its hash is another".to_owned();
                tell(&mut verified, FlawKind::Changed, &path, detail);
            }
            Ok(Some(_)) => {}
            Err(error) => tell(&mut verified, FlawKind::Unreadable, &path, error.to_string()),
        }
        progress(size);
    }
    known.sort_unstable();
    for extra in extras(disk, set, &known).await? {
        let detail = "the manifest does not have it".to_owned();
        tell(&mut verified, FlawKind::Extra, &extra, detail);
    }
    Ok(verified)
}

/// What a path is known by: with ten million of them the paths themselves would be too many.
fn mark(path: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(path.as_bytes()).into();
    digest
        .first_chunk()
        .map_or(0, |front| u128::from_le_bytes(*front))
}

/// Size and hash of a file; `None`: it is not there. The last directory is kept open.
async fn check<D: Disk>(
    disk: &D,
    set: &D::Dir,
    last: &mut Option<(String, D::Dir)>,
    path: &str,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(u64, String)>> {
    let (above, entry) = path.rsplit_once('/').unwrap_or(("", path));
    if last.as_ref().is_none_or(|(open, _)| open != above) {
        *last = open_path(disk, set, above)
            .await?
            .map(|dir| (above.to_owned(), dir));
    }
    let Some((_, dir)) = last.as_ref() else {
        return Ok(None);
    };
    match found(disk.open(dir, entry, Mode::Read).await)? {
        Some(file) => read::digest(disk, &file, buffer).await.map(Some),
        None => Ok(None),
    }
}

/// Files that are not known.
async fn extras<D: Disk>(disk: &D, set: &D::Dir, known: &[u128]) -> io::Result<Vec<String>> {
    let mut extras = Vec::new();
    let mut work = vec![String::new()];
    while let Some(above) = work.pop() {
        let Some(dir) = open_path(disk, set, &above).await? else {
            continue;
        };
        for entry in disk.list(&dir).await?.entries {
            let path = if above.is_empty() {
                entry.name
            } else {
                format!("{above}/{}", entry.name)
            };
            if entry.is_dir {
                work.push(path);
            } else if known.binary_search(&mark(&path)).is_err() {
                extras.push(path);
            }
        }
    }
    extras.sort_unstable();
    Ok(extras)
}
