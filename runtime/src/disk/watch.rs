//! inotify: one instance for all that is watched, for a system gives few of them (128 for each user).
//!
//! A watch belongs to an inode: adding one for the same file again gives the same descriptor, and removing it would end
//! both. So each descriptor has a list of who wants to hear of it, and lives as long as the list is not empty.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::{Io, Timer};
use rmail_store::disk::Changes;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Until the next attempt to get an instance, where there was none.
const AGAIN: Duration = Duration::from_secs(30);

/// About so many events are taken at a time: more than a queue holds (16,384), so that its overflow is met with them.
const EVENTS: usize = 32_768;

/// Descriptors that are kept although nobody wants to hear of them.
const UNWANTED: usize = 16;

/// File systems (statfs(2), `f_type`) that other hosts write to without our kernel knowing: NFS, SMB in three kinds, 9p,
/// FUSE, Ceph, AFS, Lustre, GFS2, OCFS2.
const REMOTE: [u64; 11] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x6573_5546,
    0x00c3_6400,
    0x5346_414f,
    0x0bd0_0bd0,
    0x0116_1970,
    0x7461_636f,
];

/// The instance of a disk, made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Ears {
    instance: Mutex<Option<Arc<Instance>>>,
    /// Nothing is to be heard.
    deaf: AtomicBool,
}

struct Instance {
    fd: Io<OwnedFd>,
    wanted: Mutex<Wanted>,
}

/// Who wants to hear of what.
#[derive(Default)]
struct Wanted {
    next: u64,
    /// By watch descriptor: number of the watch and its tag. The kernel gives no descriptor twice.
    watches: HashMap<i32, Vec<(u64, u64)>>,
    /// Those with an empty list, the oldest first.
    unwanted: VecDeque<i32>,
}

/// A file or directory that is watched; dropping it ends that.
pub struct Watch {
    instance: Arc<Instance>,
    descriptor: i32,
    number: u64,
}

impl Ears {
    /// Nothing is heard from now on.
    pub(super) fn close(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    fn instance(&self, root: BorrowedFd<'_>) -> io::Result<Arc<Instance>> {
        let mut kept = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = &*kept {
            return Ok(Arc::clone(instance));
        }
        let shared = || {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "other hosts may write to this file system",
            )
        };
        if self.deaf.load(Ordering::Relaxed) {
            return Err(shared());
        }
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_sign_loss,
            reason = "the field's type differs between architectures"
        )]
        let kind = rustix::fs::fstatfs(root)?.f_type as u64 & 0xffff_ffff;
        if REMOTE.contains(&kind) {
            return Err(shared());
        }
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let instance = Arc::new(Instance {
            fd: Io::new(fd)?,
            wanted: Mutex::default(),
        });
        *kept = Some(Arc::clone(&instance));
        Ok(instance)
    }

    /// Watches an open file.
    pub(super) fn file(&self, root: BorrowedFd<'_>, file: BorrowedFd<'_>, tag: u64) -> io::Result<Watch> {
        self.instance(root)?.add(file, WatchFlags::MODIFY, tag)
    }

    /// Watches the names in an open directory, and writes to the files there.
    pub(super) fn dir(&self, root: BorrowedFd<'_>, dir: BorrowedFd<'_>, tag: u64) -> io::Result<Watch> {
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::MODIFY;
        self.instance(root)?.add(dir, names, tag)
    }

    /// Waits for events. Where nothing can be heard it never ends.
    pub(super) async fn changes(&self, root: BorrowedFd<'_>) -> Changes {
        loop {
            let instance = match self.instance(root) {
                Ok(instance) => instance,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => std::future::pending().await,
                Err(_) => {
                    Timer::after(AGAIN).await;
                    continue;
                }
            };
            let read = |_: &OwnedFd| instance.read().ok_or_else(|| io::ErrorKind::WouldBlock.into());
            match instance.fd.read_with(read).await {
                Ok(changes) => return changes,
                Err(_) => Timer::after(AGAIN).await,
            }
        }
    }
}

impl Instance {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: Arc<Self>, what: BorrowedFd<'_>, flags: WatchFlags, tag: u64) -> io::Result<Watch> {
        // Held over the call: nobody may remove the descriptor between it and the entry.
        let mut wanted = self.wanted();
        let path = format!("/proc/self/fd/{}", what.as_raw_fd());
        let descriptor = inotify::add_watch(self.fd.get_ref(), path.as_str(), flags)?;
        wanted.next += 1;
        let number = wanted.next;
        wanted.unwanted.retain(|unwanted| *unwanted != descriptor);
        wanted.watches.entry(descriptor).or_default().push((number, tag));
        drop(wanted);
        Ok(Watch {
            instance: self,
            descriptor,
            number,
        })
    }

    /// What has happened so far, if anything that somebody wants to hear of. Does not wait.
    fn read(&self) -> Option<Changes> {
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
        let (mut all, mut tags) = (false, BTreeSet::new());
        let mut count = 0;
        // What has been taken from the kernel must be told.
        while count < EVENTS || !reader.is_buffer_empty() {
            count += 1;
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    all = true;
                    break;
                }
            };
            let mut wanted = self.wanted();
            all |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            if let Some(watches) = wanted.watches.get(&event.wd()) {
                tags.extend(watches.iter().map(|(_, tag)| *tag));
            }
            if event.events().contains(ReadFlags::IGNORED) {
                // The file is gone, or was on a file system that is: the kernel has removed the watch.
                wanted.watches.remove(&event.wd());
                wanted.unwanted.retain(|unwanted| *unwanted != event.wd());
            }
        }
        match all {
            true => Some(Changes::All),
            false => (!tags.is_empty()).then_some(Changes::Of(tags)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut wanted = self.instance.wanted();
        let Some(watches) = wanted.watches.get_mut(&self.descriptor) else {
            return;
        };
        watches.retain(|(number, _)| *number != self.number);
        if !watches.is_empty() {
            return;
        }
        wanted.unwanted.push_back(self.descriptor);
        if wanted.unwanted.len() > UNWANTED
            && let Some(oldest) = wanted.unwanted.pop_front()
        {
            wanted.watches.remove(&oldest);
            // Fails only if the kernel has just removed it.
            let _ = inotify::remove_watch(self.instance.fd.get_ref(), oldest);
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({} watches)", self.wanted().watches.len())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", self.descriptor)
    }
}
