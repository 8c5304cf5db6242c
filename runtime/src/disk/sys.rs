//! System calls with the care that each needs.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rmail_store::disk::{DirEntry, Listing, Stat};
use rustix::fs::{Advice, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use super::Dir;

/// How directories are opened.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// One listing call must hold a whole shard: 1,000 names of up to 160 octets.
const LISTING: usize = 512 * 1024;

/// openat(2); a file that it makes has mode 0600.
pub(super) fn open_at(dir: &Dir, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    retry_on_intr(|| rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR))
}

/// renameat2(2) with RENAME_NOREPLACE.
pub(super) fn rename_noreplace(from: &Dir, name: &str, to: &Dir, new: &str) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)
}

/// A rename that replaces nothing where the file system has none: link and unlink. Directories cannot be linked: they
/// are renamed if the new name is free (rename(2) replaces at most an empty directory).
pub(super) fn rename_by_link(from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
    let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return match rustix::fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(Errno::NOENT) => Ok(rustix::fs::renameat(from, name, to, new)?),
            Err(error) => Err(error.into()),
        };
    }
    rustix::fs::linkat(from, name, to, new, AtFlags::empty())?;
    if let Err(error) = rustix::fs::unlinkat(from, name, AtFlags::empty()) {
        // Somebody else renamed or removed the old name first: theirs counts, ours must not stay as a second one.
        let _ = rustix::fs::unlinkat(to, new, AtFlags::empty());
        return Err(error.into());
    }
    Ok(())
}

/// Gives an O_TMPFILE its name. (AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.)
pub(super) fn link_fd(fd: &OwnedFd, dir: &Dir, name: &str) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::linkat(CWD, path.as_str(), dir, name, AtFlags::SYMLINK_FOLLOW)
}

/// Pages of a file that are begun to be written at most: each takes a call.
const PAGES: usize = 16;

/// Starts to write a file's first pages back, as sync_file_range(2) does, which takes unsafe code to call. POSIX_FADV_DONTNEED
/// does the same to the pages of a range, and then drops those from memory that lie in it whole: one octet of each page is
/// asked for, so that none does.
pub(super) fn begin_to_write(fd: BorrowedFd<'_>, len: u64) {
    for page_at in (0..len).step_by(rustix::param::page_size()).take(PAGES) {
        if rustix::fs::fadvise(fd, page_at, NonZeroU64::new(1), Advice::DontNeed).is_err() {
            return;
        }
    }
}

const EMPTY: Listing = Listing {
    entries: Vec::new(),
    exact: true,
};

/// Lists a directory through a descriptor of its own: the offset belongs to the open file, and two threads that share
/// one would each see a part. One call that holds all is exact; the second call then says "no more". A directory that was
/// removed since it was opened is empty, and Linux refuses to list it.
pub(super) fn list(dir: &Dir) -> io::Result<Listing> {
    thread_local! {
        static BUFFER: RefCell<Vec<MaybeUninit<u8>>> = const { RefCell::new(Vec::new()) };
    }
    let own = match retry_on_intr(|| rustix::fs::openat(dir, ".", DIRECTORY, Mode::empty())) {
        Err(Errno::NOENT) => return Ok(EMPTY),
        own => own?,
    };
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(LISTING, MaybeUninit::uninit());
        let mut raw = RawDir::new(&own, buffer);
        let (mut entries, mut filled) = (Vec::new(), 0);
        loop {
            let refill = raw.is_buffer_empty();
            let Some(entry) = raw.next() else { break };
            filled += usize::from(refill);
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                Err(Errno::NOENT) => return Ok(EMPTY),
                Err(error) => return Err(error.into()),
            };
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            let is_dir = match entry.file_type() {
                FileType::Directory => true,
                // A link may lead to one, and some file systems do not say.
                FileType::Symlink | FileType::Unknown => is_dir(dir, name),
                _ => false,
            };
            entries.push(DirEntry {
                name: name.to_owned(),
                is_dir,
            });
        }
        Ok(Listing {
            entries,
            exact: filled <= 1,
        })
    })
}

fn is_dir(dir: &Dir, name: &str) -> bool {
    rustix::fs::statat(dir, name, AtFlags::empty())
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

/// preadv2(2) of what is in memory (RWF_NOWAIT). No error is told: who reads in earnest meets it again.
pub(super) fn read_now(file: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Option<usize> {
    rustix::io::preadv2(file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT).ok()
}

/// pwrite(2) until all is written.
pub(super) fn write_all_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}

/// Writes at the end as of each write: RWF_APPEND, since a descriptor opened with O_APPEND ignores pwrite's offset.
pub(super) fn append_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match retry_on_intr(|| {
            rustix::io::pwritev2(file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND)
        }) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => append_reopened(file, bytes)?,
            written => written?,
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// The same where the kernel has no RWF_APPEND: by a second descriptor.
fn append_reopened(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let again = retry_on_intr(|| rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty()))?;
    retry_on_intr(|| rustix::io::write(&again, bytes))
}

/// flock(2), tried again with growing pauses: it has no time-out of its own, and a blocked call cannot be ended. Who
/// holds a lock again and again leaves gaps of 100 µs: the pauses must stay short to meet one soon.
pub(super) fn lock(file: BorrowedFd<'_>, wait: Duration) -> io::Result<()> {
    const FIRST: Duration = Duration::from_micros(50);
    const LONGEST: Duration = Duration::from_millis(1);
    let begun = Instant::now();
    let mut pause = FIRST;
    loop {
        match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) => {}
            done => return Ok(done?),
        }
        let left = wait.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Errno::WOULDBLOCK.into());
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST);
    }
}

/// The fields that the store knows.
pub(super) fn stat_of(found: &rustix::fs::Stat) -> Stat {
    let time = |secs: i64, nanos: u64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields' types differ between architectures"
    )]
    Stat {
        inode: found.st_ino as u64,
        device: found.st_dev as u64,
        size: u64::try_from(found.st_size).unwrap_or_default(),
        links: found.st_nlink as u64,
        ctime: time(found.st_ctime as i64, found.st_ctime_nsec as u64),
        mtime: time(found.st_mtime as i64, found.st_mtime_nsec as u64),
        is_dir: FileType::from_raw_mode(found.st_mode) == FileType::Directory,
        is_file: FileType::from_raw_mode(found.st_mode) == FileType::RegularFile,
        mode: found.st_mode as u32 & 0o7777,
        owner: found.st_uid,
    }
}

/// The kernel's id of this boot. Where there is none, a new number at each start of the process: every volatile file is
/// then taken for one of another boot, which is slow and safe.
pub(super) fn boot_id() -> u128 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&hex, 16).unwrap_or_else(|_| {
        let seed = crate::entropy::seed();
        seed.iter()
            .take(16)
            .fold(0, |id, octet| (id << 8) | u128::from(*octet))
    })
}
