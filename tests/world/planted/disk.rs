//! The disk of a world, as it is or with a bug in it.

use core::future::Future;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use rmail_store::disk::{Changes, Disk, Free, Listing, Mode, Stat};
use rmail_store::mem::{MemDir, MemDisk, MemFile, MemLock, MemWatch};

use super::Bug;

/// "No space left on device".
const ENOSPC: i32 = 28;

/// A disk in memory, and what is wrong with its use.
#[derive(Clone)]
pub struct WorldDisk {
    inner: MemDisk,
    root: Dir,
    bug: Option<Bug>,
}

/// A directory and how it is called.
#[derive(Clone)]
pub struct Dir {
    inner: MemDir,
    name: Arc<str>,
}

/// A file and how it was called when it was opened; empty: it had no name.
#[derive(Clone)]
pub struct File {
    inner: MemFile,
    name: Arc<str>,
}

impl WorldDisk {
    pub fn new(inner: MemDisk, bug: Option<Bug>) -> Self {
        let root = Dir {
            inner: inner.root().clone(),
            name: "".into(),
        };
        Self { inner, root, bug }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// A write that finds no room and says that it did.
    fn noticed(&self, written: io::Result<()>) -> io::Result<()> {
        match written {
            Err(error) if self.has(Bug::FullDiskUnnoticed) && error.raw_os_error() == Some(ENOSPC) => Ok(()),
            other => other,
        }
    }

    /// Whether the names of a directory are left to chance.
    fn skips(&self, dir: &Dir) -> bool {
        let digits = dir.name.bytes().all(|octet| octet.is_ascii_digit());
        match self.bug {
            // `shards/{NNNNNN}` and `queue/{NNNN}`.
            Some(Bug::MailboxNamesUnsynced) => digits && dir.name.len() == 6,
            Some(Bug::QueueNamesUnsynced) => digits && dir.name.len() == 4,
            _ => false,
        }
    }
}

/// No UIDNEXT was ever promised, says the status of a mailbox.
fn forget_ceiling(json: &mut [u8]) {
    let key = b"\"uid_ceiling\":";
    let at = json.windows(key.len()).position(|window| window == key);
    let rest = at
        .and_then(|at| json.get_mut(at + key.len()..))
        .unwrap_or_default();
    let digits = rest.iter_mut().take_while(|octet| octet.is_ascii_digit());
    for (place, digit) in digits.enumerate() {
        *digit = if place == 0 { b'1' } else { b' ' };
    }
}

impl Disk for WorldDisk {
    type Dir = Dir;
    type File = File;
    type Lock = Option<MemLock>;
    type Watch = MemWatch;

    fn root(&self) -> &Dir {
        &self.root
    }

    async fn open_dir(&self, at: &Dir, name: &str) -> io::Result<Dir> {
        let inner = self.inner.open_dir(&at.inner, name).await?;
        let name = name.into();
        Ok(Dir { inner, name })
    }

    async fn make_dir(&self, at: &Dir, name: &str) -> io::Result<()> {
        self.inner.make_dir(&at.inner, name).await
    }

    async fn remove_dir(&self, at: &Dir, name: &str) -> io::Result<()> {
        self.inner.remove_dir(&at.inner, name).await
    }

    async fn list(&self, dir: &Dir) -> io::Result<Listing> {
        self.inner.list(&dir.inner).await
    }

    async fn create_unnamed(&self, dir: &Dir) -> io::Result<File> {
        let inner = self.inner.create_unnamed(&dir.inner).await?;
        let name = "".into();
        Ok(File { inner, name })
    }

    async fn link_unnamed(&self, file: &File, dir: &Dir, name: &str) -> io::Result<()> {
        self.inner.link_unnamed(&file.inner, &dir.inner, name).await
    }

    async fn link(&self, from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
        self.inner.link(&from.inner, name, &to.inner, new).await
    }

    async fn rename(&self, from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
        self.inner.rename(&from.inner, name, &to.inner, new).await
    }

    async fn replace(&self, dir: &Dir, name: &str, new: &str) -> io::Result<()> {
        self.inner.replace(&dir.inner, name, new).await
    }

    async fn unlink(&self, dir: &Dir, name: &str) -> io::Result<()> {
        self.inner.unlink(&dir.inner, name).await
    }

    async fn open(&self, dir: &Dir, name: &str, mode: Mode) -> io::Result<File> {
        let inner = self.inner.open(&dir.inner, name, mode).await?;
        let name = name.into();
        Ok(File { inner, name })
    }

    async fn read_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.inner.read_at(&file.inner, buf, offset).await?;
        if self.has(Bug::UidReused) && &*file.name == "status.json" {
            forget_ceiling(&mut buf[..read]);
        }
        Ok(read)
    }

    async fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.noticed(self.inner.write_at(&file.inner, bytes, offset).await)
    }

    async fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        self.noticed(self.inner.append(&file.inner, bytes).await)
    }

    async fn stat(&self, file: &File) -> io::Result<Stat> {
        self.inner.stat(&file.inner).await
    }

    async fn stat_dir(&self, dir: &Dir) -> io::Result<Stat> {
        self.inner.stat_dir(&dir.inner).await
    }

    async fn stat_at(&self, dir: &Dir, name: &str) -> io::Result<Stat> {
        self.inner.stat_at(&dir.inner, name).await
    }

    async fn stat_link(&self, dir: &Dir, name: &str) -> io::Result<Stat> {
        self.inner.stat_link(&dir.inner, name).await
    }

    async fn set_mode(&self, dir: &Dir, name: &str, mode: u32) -> io::Result<()> {
        self.inner.set_mode(&dir.inner, name, mode).await
    }

    async fn sync(&self, file: &File) -> io::Result<()> {
        if self.has(Bug::MessageUnsynced) && file.name.is_empty() {
            return Ok(());
        }
        self.inner.sync(&file.inner).await
    }

    async fn sync_dir(&self, dir: &Dir) -> io::Result<()> {
        if self.skips(dir) {
            return Ok(());
        }
        self.inner.sync_dir(&dir.inner).await
    }

    async fn sync_fs(&self, dir: &Dir) -> io::Result<()> {
        self.inner.sync_fs(&dir.inner).await
    }

    async fn lock(&self, file: &File, wait: Duration) -> io::Result<Option<MemLock>> {
        if self.has(Bug::LocksIgnored) {
            return Ok(None);
        }
        self.inner.lock(&file.inner, wait).await.map(Some)
    }

    async fn pause(&self, wait: Duration) {
        self.inner.pause(wait).await;
    }

    async fn free(&self, dir: &Dir) -> io::Result<Free> {
        self.inner.free(&dir.inner).await
    }

    fn boot_id(&self) -> u128 {
        self.inner.boot_id()
    }

    fn watch(&self, file: &File, tag: u64) -> io::Result<MemWatch> {
        self.inner.watch(&file.inner, tag)
    }

    fn watch_dir(&self, dir: &Dir, tag: u64) -> io::Result<MemWatch> {
        self.inner.watch_dir(&dir.inner, tag)
    }

    fn changes(&self) -> impl Future<Output = Changes> + Send {
        self.inner.changes()
    }
}
