//! A disk in memory with a crash model, for tests, simulation and transcripts.
//!
//! Octets and names have a durable and a volatile state each. A [`MemDisk`] is the handle of one process; several
//! share the storage ([`MemDisk::process`]). Every call yields once before it acts, so that an executor
//! ([`exec::Exec`]) can let others go on between any two calls. [`MemDisk::power_cut`] keeps of what is not synced what
//! its model says; [`MemDisk::kill`] keeps all of it. The clock is the caller's ([`MemDisk::set_clock`]), and files are
//! stamped with its multiples of 10 ms.

mod crash;
mod disk;
pub mod exec;
mod fault;
mod watch;
mod world;

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmail_core::random::Random;

pub use crash::{End, Model, Outcome};
pub use fault::{Call, Fault, Record};
pub use watch::MemWatch;

use crate::disk::Free;
use world::{Inode, Names, Node, OWNER, World};

/// The inode of the mail_root.
const ROOT: u64 = 1;

/// A disk as one process sees it. Cloning gives a further handle of the same process.
#[derive(Clone)]
pub struct MemDisk {
    shared: Arc<Shared>,
    process: u64,
    root: MemDir,
    boot: u128,
}

struct Shared {
    world: Mutex<World>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open directory.
#[derive(Clone, Debug)]
pub struct MemDir(Arc<Handle>);

/// An open file.
#[derive(Clone, Debug)]
pub struct MemFile(Arc<Handle>);

/// A held lock. It keeps the file open: closing the last descriptor would unlock.
pub struct MemLock {
    file: MemFile,
    token: u64,
}

/// An open file description.
struct Handle {
    shared: Arc<Shared>,
    inode: u64,
    description: u64,
    boot: u128,
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemDisk {
    /// An empty disk, and the handle of its first process.
    #[must_use]
    pub fn new() -> Self {
        let root = Inode {
            ctime: 0,
            mtime: 0,
            links: 1,
            refs: 1,
            mode: 0o700,
            owner: OWNER,
            node: Node::Dir(Names::default()),
        };
        let world = World {
            inodes: BTreeMap::from([(ROOT, root)]),
            next_inode: ROOT,
            next_id: 0,
            journal: 0,
            journal_forced: 0,
            boot: 1,
            clock: 0,
            tick: 0,
            locks: BTreeMap::new(),
            processes: BTreeMap::new(),
            free: Free {
                bytes: 1 << 40,
                inodes: u64::MAX,
            },
            full: false,
            read_only: false,
            exact: true,
            yields: true,
            records: None,
            ears: watch::Ears::default(),
        };
        Self::attach(Arc::new(Shared {
            world: Mutex::new(world),
        }))
    }

    /// The handle of a new process on the same storage.
    #[must_use]
    pub fn process(&self) -> Self {
        Self::attach(Arc::clone(&self.shared))
    }

    /// A copy of the storage as it is, volatile state included, and the handle of the first process on it. The processes
    /// of the original do not exist there.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut world = self.shared.world().clone();
        world.locks.clear();
        world.processes.clear();
        world.ears = watch::Ears::default();
        Self::attach(Arc::new(Shared {
            world: Mutex::new(world),
        }))
    }

    fn attach(shared: Arc<Shared>) -> Self {
        let mut world = shared.world();
        world.next_id += 1;
        let process = world.next_id;
        world.processes.entry(process).or_default();
        let boot = world.boot;
        drop(world);
        let root = MemDir(open_handle(&shared, ROOT));
        Self {
            shared,
            process,
            root,
            boot,
        }
    }

    /// The process's number, as in [`Record::process`].
    #[must_use]
    pub fn number(&self) -> u64 {
        self.process
    }

    /// The process dies: all its calls fail from now on, and its locks are free. What it wrote stays.
    pub fn kill(&self) {
        let mut world = self.shared.world();
        world.processes.entry(self.process).or_default().dead = true;
        world.locks.retain(|_, holder| holder.process != self.process);
        world.ears.forget(self.process);
    }

    /// Whether the process is dead.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let mut world = self.shared.world();
        world.processes.entry(self.process).or_default().dead
    }

    /// The power fails: all processes die, and of what was not synced that survives which model and outcome say. What
    /// a file named `state` holds is arbitrary unless it was synced. Go on with a new [`MemDisk::process`].
    pub fn power_cut(&self, model: Model, outcome: Outcome, random: &mut Random) {
        self.shared.world().power_cut(model, outcome, random);
    }

    /// Ends the process, which was cut at this call, as `end` says. Go on with a new [`MemDisk::process`].
    pub fn end(&self, end: End, at: u64) {
        self.kill();
        if let End::Power(model, outcome, seed) = end {
            let [low, ..] = at.to_le_bytes();
            self.power_cut(model, outcome, &mut Random::from_seed([seed ^ low; 32]));
        }
    }

    /// Calls that this process has made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let mut world = self.shared.world();
        world.processes.entry(self.process).or_default().calls
    }

    /// Does this to the process's call with this number (the next is [`MemDisk::calls`] + 1).
    pub fn fault(&self, number: u64, fault: Fault) {
        let mut world = self.shared.world();
        let plan = world.processes.entry(self.process).or_default();
        plan.faults.insert(number, fault);
    }

    /// Forgets the faults that have not happened.
    pub fn clear_faults(&self) {
        let mut world = self.shared.world();
        let plan = world.processes.entry(self.process).or_default();
        plan.faults.clear();
    }

    /// While full, every call that needs room fails with ENOSPC.
    pub fn set_full(&self, full: bool) {
        self.shared.world().full = full;
    }

    /// While the disk can only be read, every call that changes something fails with EROFS.
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.world().read_only = read_only;
    }

    /// What [`crate::disk::Disk::free`] says.
    pub fn set_free(&self, free: Free) {
        self.shared.world().free = free;
    }

    /// Sets the clock (time since 1970).
    pub fn set_clock(&self, now: Duration) {
        self.shared.world().clock = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    }

    /// How far every call moves the clock; at first not at all.
    pub fn set_tick(&self, tick: Duration) {
        self.shared.world().tick = i128::try_from(tick.as_nanos()).unwrap_or(0);
    }

    /// Whether directories are listed at one point in time. Otherwise a listing takes two calls, and misses or doubles
    /// what is renamed between them.
    pub fn set_exact(&self, exact: bool) {
        self.shared.world().exact = exact;
    }

    /// Whether every call yields before it acts. Without it futures are ready at once, as those of a real disk.
    pub fn set_yields(&self, yields: bool) {
        self.shared.world().yields = yields;
    }

    /// Puts a symbolic link that leads nowhere into a directory, as a stranger may.
    ///
    /// # Errors
    /// The name is taken.
    pub fn plant_link(&self, dir: &MemDir, name: &str) -> std::io::Result<()> {
        let mut world = self.shared.world();
        world.must_be_free(dir.0.inode, name)?;
        let inode = world.add_inode(Node::Link);
        let number = world.next_number();
        world.change(dir.0.inode, number, vec![(name.to_owned(), Some(inode))], None);
        Ok(())
    }

    /// Gives a name to another user.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_owner(&self, dir: &MemDir, name: &str, owner: u32) -> std::io::Result<()> {
        let mut world = self.shared.world();
        let inode = world.look_up(dir.0.inode, name)?;
        if let Some(inode) = world.inodes.get_mut(&inode) {
            inode.owner = owner;
        }
        Ok(())
    }

    /// Begins to record the calls of all processes.
    pub fn record(&self) {
        self.shared.world().records = Some(Vec::new());
    }

    /// Ends the recording. Empty if there was none.
    #[must_use]
    pub fn take_records(&self) -> Vec<Record> {
        self.shared.world().records.take().unwrap_or_default()
    }
}

fn open_handle(shared: &Arc<Shared>, inode: u64) -> Arc<Handle> {
    let mut world = shared.world();
    world.next_id += 1;
    let description = world.next_id;
    let boot = world.boot;
    if let Some(inode) = world.inodes.get_mut(&inode) {
        inode.refs += 1;
    }
    Arc::new(Handle {
        shared: Arc::clone(shared),
        inode,
        description,
        boot,
    })
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut world = self.shared.world();
        if world.boot == self.boot {
            world
                .locks
                .retain(|_, holder| holder.description != self.description);
            world.release(self.inode);
        }
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        let inode = self.file.0.inode;
        let mut world = self.file.0.shared.world();
        let ours = world
            .locks
            .get(&inode)
            .is_some_and(|holder| holder.token == self.token);
        if ours {
            world.locks.remove(&inode);
        }
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemDisk")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.inode)
    }
}

impl fmt::Debug for MemLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemLock({:?})", self.file)
    }
}

#[cfg(test)]
mod tests;
