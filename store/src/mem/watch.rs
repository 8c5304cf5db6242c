//! Telling processes of changes, as inotify does: what a process watches is told to it once until it asks.

use core::fmt;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::disk::Changes;

use super::world::{ENOSPC, Node, World, errno};
use super::{MemDisk, Shared};

/// Who hears of what.
#[derive(Clone, Debug)]
pub(super) struct Ears {
    next: u64,
    watches: BTreeMap<u64, Watched>,
    heard: BTreeMap<u64, Heard>,
    /// How many watches there may be in all.
    most: usize,
}

#[derive(Clone, Debug)]
struct Watched {
    process: u64,
    inode: u64,
    tag: u64,
}

/// What a process has not asked for yet.
#[derive(Clone, Debug, Default)]
struct Heard {
    overflow: bool,
    tags: BTreeSet<u64>,
    wakers: Vec<Waker>,
}

/// A watched file or directory.
pub struct MemWatch {
    shared: Arc<Shared>,
    number: u64,
}

impl Default for Ears {
    fn default() -> Self {
        Self {
            next: 0,
            watches: BTreeMap::new(),
            heard: BTreeMap::new(),
            most: usize::MAX,
        }
    }
}

impl Ears {
    /// The process is dead.
    pub(super) fn forget(&mut self, process: u64) {
        self.watches.retain(|_, watch| watch.process != process);
        self.heard.remove(&process);
    }

    /// All processes are dead.
    pub(super) fn forget_all(&mut self) {
        self.watches.clear();
        self.heard.clear();
    }
}

impl Heard {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl World {
    /// The content of this file, or the names of this directory, have changed.
    pub(super) fn tell(&mut self, inode: u64) {
        if self.ears.watches.is_empty() {
            return;
        }
        let inodes = &self.inodes;
        // Who watches a directory hears of writes to the files in it.
        let holds = |dir: u64| match inodes.get(&dir).map(|dir| &dir.node) {
            Some(Node::Dir(names)) => names.volatile.values().any(|entry| *entry == inode),
            _ => false,
        };
        for watch in self.ears.watches.values() {
            if watch.inode == inode || holds(watch.inode) {
                let heard = self.ears.heard.entry(watch.process).or_default();
                heard.tags.insert(watch.tag);
                heard.wake();
            }
        }
    }
}

impl MemDisk {
    /// So many watches there may be in all; further ones fail with ENOSPC. With 0 nothing can be heard.
    pub fn set_watches(&self, most: usize) {
        self.shared.world().ears.most = most;
    }

    /// Every process that watches something has had more changes than it could be told of.
    pub fn overflow(&self) {
        let mut world = self.shared.world();
        let ears = &mut world.ears;
        for watch in ears.watches.values() {
            let heard = ears.heard.entry(watch.process).or_default();
            heard.overflow = true;
            heard.tags.clear();
            heard.wake();
        }
    }

    /// How many files and directories all processes watch.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.shared.world().ears.watches.len()
    }

    pub(super) fn listen(&self, inode: u64, tag: u64) -> io::Result<MemWatch> {
        let mut world = self.shared.world();
        if world.processes.entry(self.process).or_default().dead {
            return Err(io::Error::other("the process is dead"));
        }
        let ears = &mut world.ears;
        if ears.watches.len() >= ears.most {
            return Err(errno(ENOSPC));
        }
        ears.next += 1;
        let number = ears.next;
        let watched = Watched {
            process: self.process,
            inode,
            tag,
        };
        ears.watches.insert(number, watched);
        drop(world);
        Ok(MemWatch {
            shared: Arc::clone(&self.shared),
            number,
        })
    }

    /// Waits without polling: whoever changes something wakes it.
    pub(super) fn heard(&self) -> impl Future<Output = Changes> + Send {
        poll_fn(|context| self.take_heard(context))
    }

    fn take_heard(&self, context: &Context<'_>) -> Poll<Changes> {
        let mut world = self.shared.world();
        let heard = world.ears.heard.entry(self.process).or_default();
        if core::mem::take(&mut heard.overflow) {
            heard.tags.clear();
            return Poll::Ready(Changes::All);
        }
        let tags = core::mem::take(&mut heard.tags);
        if tags.is_empty() {
            if !heard.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                heard.wakers.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        Poll::Ready(Changes::Of(tags))
    }
}

impl Drop for MemWatch {
    fn drop(&mut self) {
        self.shared.world().ears.watches.remove(&self.number);
    }
}

impl fmt::Debug for MemWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemWatch({})", self.number)
    }
}
