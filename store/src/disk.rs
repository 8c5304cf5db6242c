//! The system calls that a store needs, as a trait: handle-based, so that no path string exists below a mailbox.
//!
//! Futures of the real disk are always ready, except a long [`Disk::pause`] and [`Disk::changes`]: a whole operation runs
//! in one hop to a pool thread, with `block_on`. The disk in memory yields at every call, and the simulator picks who goes on. Futures need
//! not be `Send`: an operation is created and finished on one thread.

use core::future::Future;
use core::time::Duration;
use std::collections::BTreeSet;
use std::io;

/// Where a file system has no files without a name, another file stands in for each, whose name begins with this. No
/// other file's name does. It goes when it gets its real name or is closed; if the process dies, it stays.
pub const STAND_IN: &str = ".tmp-";

/// A file system as the store sees it. All errors are `io::Error` with their `raw_os_error` where there is one, so that
/// ENOSPC, EDQUOT, EMFILE, EROFS, EXDEV, EMLINK are told apart.
#[expect(
    async_fn_in_trait,
    reason = "operations run on one thread: futures need not be Send"
)]
pub trait Disk: Send + Sync + 'static {
    /// An open directory. Cloning shares the descriptor.
    type Dir: Clone + Send + Sync + 'static;
    /// An open file. Cloning shares the descriptor.
    type File: Clone + Send + Sync + 'static;
    /// A held lock; dropping it unlocks.
    type Lock: Send + 'static;
    /// A file or directory that is watched; dropping it ends that.
    type Watch: Send + Sync + 'static;

    /// The mail_root.
    fn root(&self) -> &Self::Dir;

    /// Opens a directory. `NotFound` if it is not there, `NotADirectory` if it is none; symbolic links are followed.
    async fn open_dir(&self, at: &Self::Dir, name: &str) -> io::Result<Self::Dir>;

    /// Makes a directory (mode 0700). `AlreadyExists` if the name is taken.
    async fn make_dir(&self, at: &Self::Dir, name: &str) -> io::Result<()>;

    /// Removes an empty directory.
    async fn remove_dir(&self, at: &Self::Dir, name: &str) -> io::Result<()>;

    /// Lists a directory. With [`Listing::exact`] it is one point in time; otherwise entries renamed meanwhile may be
    /// missing or doubled. `.` and `..` are left out, as are names that are not UTF-8. A directory that was removed since it
    /// was opened is empty.
    async fn list(&self, dir: &Self::Dir) -> io::Result<Listing>;

    /// A new file without a name, open for reading and writing (mode 0600), on the file system of `dir`.
    async fn create_unnamed(&self, dir: &Self::Dir) -> io::Result<Self::File>;

    /// Gives a file of [`Disk::create_unnamed`] its first name. `AlreadyExists` if the name is taken.
    async fn link_unnamed(&self, file: &Self::File, dir: &Self::Dir, name: &str) -> io::Result<()>;

    /// A further name for a named file (link(2)). `AlreadyExists` if the name is taken.
    async fn link(&self, from: &Self::Dir, name: &str, to: &Self::Dir, new: &str) -> io::Result<()>;

    /// Renames a file or directory; `AlreadyExists` if the new name is taken (RENAME_NOREPLACE).
    async fn rename(&self, from: &Self::Dir, name: &str, to: &Self::Dir, new: &str) -> io::Result<()>;

    /// Renames over what is there. For status and cache files only, never for message names.
    async fn replace(&self, dir: &Self::Dir, name: &str, new: &str) -> io::Result<()>;

    /// Removes a file's name.
    async fn unlink(&self, dir: &Self::Dir, name: &str) -> io::Result<()>;

    /// Opens a file. `NotFound` if it is not there and the mode does not create it.
    async fn open(&self, dir: &Self::Dir, name: &str, mode: Mode) -> io::Result<Self::File>;

    /// Reads up to `buf.len()` octets at an offset; 0 at the end of the file.
    async fn read_at(&self, file: &Self::File, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The same at once, if that waits for no device: what the system has in memory. `None`: it has to be read, or the
    /// system does not tell. Fewer octets than there are may come.
    fn read_now(&self, _file: &Self::File, _buf: &mut [u8], _offset: u64) -> Option<usize> {
        None
    }

    /// Writes all octets at an offset.
    async fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all octets at the end, wherever that is by then (O_APPEND), with one write where possible.
    async fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;

    /// What is known of an open file.
    async fn stat(&self, file: &Self::File) -> io::Result<Stat>;

    /// What is known of an open directory.
    async fn stat_dir(&self, dir: &Self::Dir) -> io::Result<Stat>;

    /// What is known of a name, links followed. `NotFound` if it is not there.
    async fn stat_at(&self, dir: &Self::Dir, name: &str) -> io::Result<Stat>;

    /// What is known of a name itself: a symbolic link is not followed. `NotFound` if it is not there.
    async fn stat_link(&self, dir: &Self::Dir, name: &str) -> io::Result<Stat>;

    /// Sets the permission bits of a file or directory.
    async fn set_mode(&self, dir: &Self::Dir, name: &str, mode: u32) -> io::Result<()>;

    /// Begins to write a file's first `len` octets to disk, and waits for nothing: files that are all begun, and then
    /// synced one after the other, take about the time of one. A hint: it promises nothing, and a disk need not do it.
    fn begin_sync(&self, _file: &Self::File, _len: u64) {}

    /// Octets and size of the file to disk (fdatasync).
    async fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Names of the directory to disk (fsync).
    async fn sync_dir(&self, dir: &Self::Dir) -> io::Result<()>;

    /// Everything of the file system to disk (syncfs).
    async fn sync_fs(&self, dir: &Self::Dir) -> io::Result<()>;

    /// An exclusive lock on the open file (flock), waiting at most `wait`. `WouldBlock` if it was not to be had. It
    /// belongs to the open file description: hold an in-process mutex around it. It dies with the process.
    async fn lock(&self, file: &Self::File, wait: Duration) -> io::Result<Self::Lock>;

    /// Ends after about so long, not before. Between two holds of a lock it lets others have it, also other processes,
    /// which can only try again and again; and it is raced against what must not be waited for without end.
    async fn pause(&self, wait: Duration);

    /// Octets that are free for us, and inodes.
    async fn free(&self, dir: &Self::Dir) -> io::Result<Free>;

    /// Changes at every start of the machine, and only then.
    fn boot_id(&self) -> u128;

    /// From now on [`Disk::changes`] tells this tag when somebody writes to the file, whichever process of this machine
    /// it is, ours too. One file may be watched several times, and a tag may be of several watches. Neither waits nor
    /// reads.
    ///
    /// # Errors
    /// Changes cannot be heard: `Unsupported` on a network file system, ENOSPC or EMFILE where the system's bounds are
    /// reached. Then only looking again and again helps.
    fn watch(&self, file: &Self::File, tag: u64) -> io::Result<Self::Watch>;

    /// The same for a directory: it tells when a name in it is given or removed, and when a file in it is written to.
    ///
    /// # Errors
    /// As [`Disk::watch`].
    fn watch_dir(&self, dir: &Self::Dir, tag: u64) -> io::Result<Self::Watch>;

    /// Waits until something that is watched has changed since the last call. A change that is told came before; one that
    /// comes later is told by the next call. Dropping the future loses nothing.
    fn changes(&self) -> impl Future<Output = Changes> + Send;
}

/// What [`Disk::changes`] has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// More than could be told apart: anything that is watched may have changed.
    All,
    /// What is watched under these tags.
    Of(BTreeSet<u64>),
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read.
    Read,
    /// To read and write; it must exist.
    Write,
    /// To read and write; made empty (mode 0600) if it is not there.
    Create,
    /// To read and write; made empty (mode 0600); `AlreadyExists` if it is there.
    CreateNew,
}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries in no order.
    pub entries: Vec<DirEntry>,
    /// The listing came by one system call: no entry was missed or doubled by a rename.
    pub exact: bool,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name.
    pub name: String,
    /// It is a directory.
    pub is_dir: bool,
}

/// What is known of a file or directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Octets.
    pub size: u64,
    /// Names.
    pub links: u64,
    /// Last change of names or attributes, nanoseconds since 1970.
    pub ctime: i128,
    /// Last change of content, nanoseconds since 1970.
    pub mtime: i128,
    /// It is a directory.
    pub is_dir: bool,
    /// It is a regular file. What is neither is a symbolic link, a device, a socket or a FIFO.
    pub is_file: bool,
    /// Permission bits.
    pub mode: u32,
    /// Number of the user that it belongs to.
    pub owner: u32,
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Octets for unprivileged users.
    pub bytes: u64,
    /// Inodes; `u64::MAX` where the file system has no such bound.
    pub inodes: u64,
}
