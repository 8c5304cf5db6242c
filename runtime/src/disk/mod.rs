//! The real disk: every call of [`rmail_store::disk::Disk`] as the system call of that name.
//!
//! All calls block, so their futures are ready at once: run whole operations on a pool thread. (Not those of
//! [`Disk::changes`] and of a long [`Disk::pause`], which wait.) All work is relative to
//! directory handles, so a tree that is renamed meanwhile stays what it was.

mod names;
mod sys;
mod watch;

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmail_store::disk::{Changes, Disk, Free, Listing, Mode, Stat};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::{Errno, retry_on_intr};

pub use watch::Watch;

/// Pauses from here on do not hold the thread: they are raced against something that may be ready sooner. Shorter ones
/// are over before another thread could have been asked to wake this one.
const LONG_PAUSE: Duration = Duration::from_millis(1);

/// A mail_root on a file system of this machine. Cloning shares it.
#[derive(Clone, Debug)]
pub struct RealDisk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Dir,
    boot_id: u128,
    /// The file system or the kernel has no O_TMPFILE, or there is no /proc to link it by.
    no_tmpfile: AtomicBool,
    /// The file system has no RENAME_NOREPLACE.
    no_noreplace: AtomicBool,
    ears: watch::Ears,
}

/// An open directory.
#[derive(Clone)]
pub struct Dir(Arc<OwnedFd>);

/// An open file.
#[derive(Clone)]
pub struct File(Arc<Open>);

struct Open {
    fd: OwnedFd,
    /// The name that stands in for "no name" where O_TMPFILE is missing.
    stand_in: Mutex<Option<(Dir, String)>>,
}

/// A held flock.
#[derive(Debug)]
pub struct Lock(File);

/// Makes a mail_root where there is none, for its owner alone. Directories above it that are missing too are open to
/// all, as far as the umask lets them be: what is in them may belong to another user than they do.
///
/// # Errors
/// One of them cannot be made.
pub(crate) fn make_root(root: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let make = |path: &Path, mode| {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(mode).create(path)
    };
    match root.parent().filter(|above| !above.as_os_str().is_empty()) {
        Some(above) => make(above, 0o755).and_then(|()| make(root, 0o700)),
        None => make(root, 0o700),
    }
}

impl RealDisk {
    /// Opens a mail_root; makes the directory (mode 0700) if it is not there.
    ///
    /// # Errors
    /// It can neither be opened nor made.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_root(root)?;
        let fd = rustix::fs::open(root, sys::DIRECTORY, rustix::fs::Mode::empty())?;
        Ok(Self {
            inner: Arc::new(Inner {
                root: Dir(Arc::new(fd)),
                boot_id: sys::boot_id(),
                no_tmpfile: AtomicBool::new(!Path::new("/proc/self/fd").exists()),
                no_noreplace: AtomicBool::new(false),
                ears: watch::Ears::default(),
            }),
        })
    }

    /// The same, as on a file system that has neither O_TMPFILE nor RENAME_NOREPLACE.
    ///
    /// # Errors
    /// As [`RealDisk::open`].
    pub fn open_plain(root: &Path) -> io::Result<Self> {
        let disk = Self::open(root)?;
        disk.inner.no_tmpfile.store(true, Ordering::Relaxed);
        disk.inner.no_noreplace.store(true, Ordering::Relaxed);
        Ok(disk)
    }

    /// Other hosts write to the mail_root too, which this one's system does not hear of: nothing can be watched from now
    /// on ([`Disk::watch`] says `Unsupported`), so that everybody looks often enough.
    pub fn share_with_hosts(&self) {
        self.inner.ears.close();
    }

    fn rename_noreplace(&self, from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
        if !self.inner.no_noreplace.load(Ordering::Relaxed) {
            match sys::rename_noreplace(from, name, to, new) {
                // EINVAL also says "into itself", which the fallback finds out again.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
                done => return done.map_err(io::Error::from),
            }
        }
        sys::rename_by_link(from, name, to, new)
    }
}

impl Disk for RealDisk {
    type Dir = Dir;
    type File = File;
    type Lock = Lock;
    type Watch = Watch;

    fn root(&self) -> &Dir {
        &self.inner.root
    }

    async fn open_dir(&self, at: &Dir, name: &str) -> io::Result<Dir> {
        let name = names::checked(name)?;
        let fd = retry_on_intr(|| rustix::fs::openat(at, name, sys::DIRECTORY, rustix::fs::Mode::empty()))?;
        Ok(Dir(Arc::new(fd)))
    }

    async fn make_dir(&self, at: &Dir, name: &str) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(
            at,
            names::checked(name)?,
            rustix::fs::Mode::RWXU,
        )?)
    }

    async fn remove_dir(&self, at: &Dir, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            at,
            names::checked(name)?,
            AtFlags::REMOVEDIR,
        )?)
    }

    async fn list(&self, dir: &Dir) -> io::Result<Listing> {
        sys::list(dir)
    }

    async fn create_unnamed(&self, dir: &Dir) -> io::Result<File> {
        if !self.inner.no_tmpfile.load(Ordering::Relaxed) {
            match sys::open_at(dir, ".", OFlags::TMPFILE | OFlags::RDWR) {
                Ok(fd) => return Ok(File::new(fd, None)),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                    self.inner.no_tmpfile.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let name = names::stand_in();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let fd = sys::open_at(dir, &name, flags)?;
        Ok(File::new(fd, Some((dir.clone(), name))))
    }

    async fn link_unnamed(&self, file: &File, dir: &Dir, name: &str) -> io::Result<()> {
        let name = names::checked(name)?;
        let mut stand_in = file.0.stand_in.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, old)) = stand_in.as_ref() else {
            return Ok(sys::link_fd(&file.0.fd, dir, name)?);
        };
        self.rename_noreplace(at, old, dir, name)?;
        *stand_in = None;
        Ok(())
    }

    async fn link(&self, from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
        let (name, new) = (names::checked(name)?, names::checked(new)?);
        Ok(rustix::fs::linkat(from, name, to, new, AtFlags::empty())?)
    }

    async fn rename(&self, from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
        self.rename_noreplace(from, names::checked(name)?, to, names::checked(new)?)
    }

    async fn replace(&self, dir: &Dir, name: &str, new: &str) -> io::Result<()> {
        let (name, new) = (names::checked(name)?, names::checked(new)?);
        Ok(rustix::fs::renameat(dir, name, dir, new)?)
    }

    async fn unlink(&self, dir: &Dir, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            dir,
            names::checked(name)?,
            AtFlags::empty(),
        )?)
    }

    async fn open(&self, dir: &Dir, name: &str, mode: Mode) -> io::Result<File> {
        // NONBLOCK: a FIFO that somebody put into the tree must not hold the thread for ever.
        let flags = OFlags::NONBLOCK
            | match mode {
                Mode::Read => OFlags::RDONLY,
                Mode::Write => OFlags::RDWR,
                Mode::Create => OFlags::RDWR | OFlags::CREATE,
                Mode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            };
        Ok(File::new(sys::open_at(dir, names::checked(name)?, flags)?, None))
    }

    async fn read_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::pread(file, &mut *buf, offset))?)
    }

    fn read_now(&self, file: &File, buf: &mut [u8], offset: u64) -> Option<usize> {
        sys::read_now(file.as_fd(), buf, offset)
    }

    async fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        sys::write_all_at(file.as_fd(), bytes, offset)
    }

    async fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        sys::append_all(file.as_fd(), bytes)
    }

    async fn stat(&self, file: &File) -> io::Result<Stat> {
        Ok(sys::stat_of(&rustix::fs::fstat(file)?))
    }

    async fn stat_dir(&self, dir: &Dir) -> io::Result<Stat> {
        Ok(sys::stat_of(&rustix::fs::fstat(dir)?))
    }

    async fn stat_at(&self, dir: &Dir, name: &str) -> io::Result<Stat> {
        let found = rustix::fs::statat(dir, names::checked(name)?, AtFlags::empty())?;
        Ok(sys::stat_of(&found))
    }

    async fn stat_link(&self, dir: &Dir, name: &str) -> io::Result<Stat> {
        let found = rustix::fs::statat(dir, names::checked(name)?, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(sys::stat_of(&found))
    }

    async fn set_mode(&self, dir: &Dir, name: &str, mode: u32) -> io::Result<()> {
        let mode = rustix::fs::Mode::from_bits_truncate(mode);
        Ok(rustix::fs::chmodat(
            dir,
            names::checked(name)?,
            mode,
            AtFlags::empty(),
        )?)
    }

    fn begin_sync(&self, file: &File, len: u64) {
        sys::begin_to_write(file.as_fd(), len);
    }

    async fn sync(&self, file: &File) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fdatasync(file))?)
    }

    async fn sync_dir(&self, dir: &Dir) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fsync(dir))?)
    }

    async fn sync_fs(&self, dir: &Dir) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::syncfs(dir))?)
    }

    async fn lock(&self, file: &File, wait: Duration) -> io::Result<Lock> {
        sys::lock(file.as_fd(), wait)?;
        Ok(Lock(file.clone()))
    }

    async fn pause(&self, wait: Duration) {
        if wait < LONG_PAUSE {
            std::thread::sleep(wait);
        } else {
            crate::engine::Timer::after(wait).await;
        }
    }

    async fn free(&self, dir: &Dir) -> io::Result<Free> {
        let found = rustix::fs::fstatvfs(dir)?;
        Ok(Free {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            // Some file systems count no inodes and say 0 of 0.
            inodes: if found.f_files == 0 {
                u64::MAX
            } else {
                found.f_favail
            },
        })
    }

    fn boot_id(&self) -> u128 {
        self.inner.boot_id
    }

    fn watch(&self, file: &File, tag: u64) -> io::Result<Watch> {
        let root = self.inner.root.as_fd();
        self.inner.ears.file(root, file.as_fd(), tag)
    }

    fn watch_dir(&self, dir: &Dir, tag: u64) -> io::Result<Watch> {
        let root = self.inner.root.as_fd();
        self.inner.ears.dir(root, dir.as_fd(), tag)
    }

    fn changes(&self) -> impl Future<Output = Changes> + Send {
        self.inner.ears.changes(self.inner.root.as_fd())
    }
}

impl File {
    fn new(fd: OwnedFd, stand_in: Option<(Dir, String)>) -> Self {
        Self(Arc::new(Open {
            fd,
            stand_in: Mutex::new(stand_in),
        }))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let stand_in = self.stand_in.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((dir, name)) = stand_in.take() {
            // It never got its name: gone, as an unnamed file would be. A failure leaves a file that nobody reads.
            let _ = rustix::fs::unlinkat(&dir, &name, AtFlags::empty());
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Cannot fail on an open descriptor; if it did, closing it would unlock too.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dir({:?})", self.0)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?})", self.0.fd)
    }
}
