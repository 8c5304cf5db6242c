//! Small helpers over the disk: whole files, directories that must exist, errors with context.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;

use crate::disk::{Disk, Mode, STAND_IN};
use crate::error::{Error, Result};

/// The largest of our own small files that is read: anything beyond is not ours.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Says what was being done when a system call failed.
pub(crate) trait During<T> {
    /// Turns the error into ours.
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::io(what(), error))
    }
}

/// `None` for `NotFound`.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fine if the name was there already.
pub(crate) fn or_exists(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// All octets of a file.
pub(crate) async fn read_all<D: Disk>(disk: &D, file: &D::File) -> io::Result<Vec<u8>> {
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
pub(crate) async fn read_file<D: Disk>(disk: &D, dir: &D::Dir, name: &str) -> io::Result<Option<Vec<u8>>> {
    match found(disk.open(dir, name, Mode::Read).await)? {
        Some(file) => read_all(disk, &file).await.map(Some),
        None => Ok(None),
    }
}

/// Puts a whole file in the place of what is there, durably. The caller holds a lock that keeps others from doing the
/// same.
pub(crate) async fn replace_file<D: Disk>(
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

/// Gives a file without a name this name, in the place of what is there, unsynced: for caches. Several processes may do so
/// at the same time; it is then the file of one of them, and whole.
pub(super) async fn put_cache<D: Disk>(disk: &D, dir: &D::Dir, file: &D::File, name: &str) -> io::Result<()> {
    // If somebody dies here, it is removed as other files that stand in for those without a name.
    let temporary = format!("{STAND_IN}{name}");
    match disk.link_unnamed(file, dir, &temporary).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            found(disk.unlink(dir, &temporary).await)?;
            disk.link_unnamed(file, dir, &temporary).await?;
        }
        other => other?,
    }
    let replaced = found(disk.replace(dir, &temporary, name).await);
    if replaced.is_err() {
        let _ = disk.unlink(dir, &temporary).await;
    }
    replaced.map(drop)
}

/// Opens a directory, which is made if it is not there.
pub(crate) async fn open_or_make_dir<D: Disk>(disk: &D, at: &D::Dir, name: &str) -> io::Result<D::Dir> {
    if let Some(dir) = found(disk.open_dir(at, name).await)? {
        return Ok(dir);
    }
    or_exists(disk.make_dir(at, name).await)?;
    disk.open_dir(at, name).await
}

/// The same, durably: the parent is synced also if somebody else has just made the directory.
pub(crate) async fn settle_dir<D: Disk>(disk: &D, at: &D::Dir, name: &str) -> io::Result<D::Dir> {
    let dir = open_or_make_dir(disk, at, name).await?;
    disk.sync_dir(at).await?;
    Ok(dir)
}

/// Removes a directory with all that is in it.
pub(crate) async fn remove_tree<D: Disk>(disk: &D, at: &D::Dir, name: &str) -> io::Result<()> {
    let Some(top) = found(disk.open_dir(at, name).await)? else {
        return Ok(());
    };
    // What is open, from the top down, each with the directories in it that are still there: the depth costs no stack,
    // and each directory is listed once.
    let inside = remove_files(disk, &top).await?;
    let mut path = vec![(at.clone(), name.to_owned(), top, inside)];
    while let Some((parent, name, dir, inside)) = path.last_mut() {
        match inside.pop() {
            Some(child) => {
                if let Some(opened) = found(disk.open_dir(dir, &child).await)? {
                    let inside = remove_files(disk, &opened).await?;
                    let dir = dir.clone();
                    path.push((dir, child, opened, inside));
                }
            }
            None => {
                found(disk.remove_dir(parent, name).await)?;
                path.pop();
            }
        }
    }
    Ok(())
}

/// Removes what is no directory, and returns the names of what is one.
async fn remove_files<D: Disk>(disk: &D, dir: &D::Dir) -> io::Result<Vec<String>> {
    let mut inside = Vec::new();
    for entry in disk.list(dir).await?.entries {
        if entry.is_dir {
            inside.push(entry.name);
        } else {
            found(disk.unlink(dir, &entry.name).await)?;
        }
    }
    Ok(inside)
}

/// What the future gives, or nothing if that takes longer.
pub(crate) async fn within<D: Disk, T>(
    disk: &D,
    wait: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut late = pin!(disk.pause(wait));
    poll_fn(|task| match future.as_mut().poll(task) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => late.as_mut().poll(task).map(|()| None),
    })
    .await
}

/// What a future gives when it is asked once. The real disk's futures are ready at once; one that is not is too slow for
/// whoever asks so.
pub(crate) fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
