//! The store's locks, taken by one who only looks: files are opened to read, and none is made.

use core::time::Duration;
use std::io;

use crate::disk::{Disk, Mode};
use crate::file::io::found;

/// How often a lock file that is replaced again and again is opened anew.
const TRIES: usize = 4;

/// A held lock; dropping it unlocks.
pub(super) struct Held<D: Disk> {
    // Fields drop in this order.
    _lock: D::Lock,
    _file: D::File,
}

/// Takes the lock of a file, waiting at most so long. `None`: there is no such file, so nobody has the lock.
pub(super) async fn lock<D: Disk>(
    disk: &D,
    dir: &D::Dir,
    name: &str,
    wait: Duration,
) -> io::Result<Option<Held<D>>> {
    for _ in 0..TRIES {
        let Some(file) = found(disk.open(dir, name, Mode::Read).await)? else {
            return Ok(None);
        };
        let lock = disk.lock(&file, wait).await?;
        let inode = disk.stat(&file).await?.inode;
        // Whoever deletes an account or a mailbox removes the file.
        if found(disk.stat_at(dir, name).await)?.is_some_and(|named| named.inode == inode) {
            return Ok(Some(Held {
                _lock: lock,
                _file: file,
            }));
        }
    }
    Ok(None)
}
