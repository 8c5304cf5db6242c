//! Small helpers over the disk: whole files, directories that must exist, errors with context.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context as Task, Poll};
use std::io;

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};

/// The largest of our own small files that is read: anything beyond is not ours.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Says what was being done when a system call failed.
pub(super) trait During<T> {
    /// Turns the error into ours.
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::io(what(), error))
    }
}

/// `None` for `NotFound`.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fine if the name was there already.
pub(super) fn or_exists(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// All octets of a file.
pub(super) async fn read_all<D: Disk>(disk: &D, file: &D::File) -> io::Result<Vec<u8>> {
    let size = disk.stat(file).await?.size;
    if size > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is far too large",
        ));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let count = disk.read_at(file, rest, at as u64).await?;
        if count == 0 {
            break;
        }
        at += count;
    }
    bytes.truncate(at);
    Ok(bytes)
}

/// All octets of a named file; `None` if it is not there.
pub(super) async fn read_file<D: Disk>(disk: &D, dir: &D::Dir, name: &str) -> io::Result<Option<Vec<u8>>> {
    match found(disk.open(dir, name, Mode::Read).await)? {
        Some(file) => read_all(disk, &file).await.map(Some),
        None => Ok(None),
    }
}

/// Puts a whole file in the place of what is there, durably. The caller holds a lock that keeps others from doing the
/// same.
pub(super) async fn replace_file<D: Disk>(
    disk: &D,
    dir: &D::Dir,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let file = disk.create_unnamed(dir).await?;
    disk.write_at(&file, bytes, 0).await?;
    disk.sync(&file).await?;
    let temporary = format!("{name}.tmp");
    match disk.link_unnamed(&file, dir, &temporary).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left by somebody who died here.
            disk.unlink(dir, &temporary).await?;
            disk.link_unnamed(&file, dir, &temporary).await?;
        }
        other => other?,
    }
    disk.replace(dir, &temporary, name).await?;
    disk.sync_dir(dir).await
}

/// Opens a directory, which is made if it is not there.
pub(super) async fn open_or_make_dir<D: Disk>(disk: &D, at: &D::Dir, name: &str) -> io::Result<D::Dir> {
    if let Some(dir) = found(disk.open_dir(at, name).await)? {
        return Ok(dir);
    }
    or_exists(disk.make_dir(at, name).await)?;
    disk.open_dir(at, name).await
}

/// The same, durably: the parent is synced also if somebody else has just made the directory.
pub(super) async fn settle_dir<D: Disk>(disk: &D, at: &D::Dir, name: &str) -> io::Result<D::Dir> {
    let dir = open_or_make_dir(disk, at, name).await?;
    disk.sync_dir(at).await?;
    Ok(dir)
}

/// Removes a directory with all that is in it.
pub(super) async fn remove_tree<D: Disk>(disk: &D, at: &D::Dir, name: &str) -> io::Result<()> {
    // Each step opens what is next and removes what is empty, so that the depth costs no stack.
    let Some(top) = found(disk.open_dir(at, name).await)? else {
        return Ok(());
    };
    let mut path = vec![(at.clone(), name.to_owned(), top)];
    while let Some((parent, name, dir)) = path.last().cloned() {
        let mut child = None;
        for entry in disk.list(&dir).await?.entries {
            if entry.is_dir {
                child = Some(entry.name);
            } else {
                found(disk.unlink(&dir, &entry.name).await)?;
            }
        }
        match child {
            Some(child) => {
                let opened = disk.open_dir(&dir, &child).await?;
                path.push((dir, child, opened));
            }
            None => {
                found(disk.remove_dir(&parent, &name).await)?;
                path.pop();
            }
        }
    }
    Ok(())
}

/// Lets others go on between two holds of a lock.
#[derive(Default)]
pub(super) struct Gap(bool);

impl Future for Gap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Task<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
