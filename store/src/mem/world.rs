//! What the disk in memory holds: inodes with a durable and a volatile state each.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use crate::disk::{DirEntry, Free, Stat};

use super::fault::{Call, Plan, Record};
use super::watch::Ears;

pub(super) const EPERM: i32 = 1;
pub(super) const ENOENT: i32 = 2;
pub(super) const EEXIST: i32 = 17;
pub(super) const ENOTDIR: i32 = 20;
pub(super) const EISDIR: i32 = 21;
pub(super) const EINVAL: i32 = 22;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;
pub(super) const ENOTEMPTY: i32 = 39;

/// Nanoseconds of one step of the file system's clock.
const GRANULE: i128 = 10_000_000;

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// Everything that outlives a process.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    pub(super) next_id: u64,
    /// Number of the latest change of a directory, over all directories.
    pub(super) journal: u64,
    /// Changes up to here were in the journal when it was last forced out.
    pub(super) journal_forced: u64,
    pub(super) boot: u128,
    /// Nanoseconds since 1970.
    pub(super) clock: i128,
    /// How far each call moves the clock.
    pub(super) tick: i128,
    pub(super) locks: BTreeMap<u64, Holder>,
    pub(super) processes: BTreeMap<u64, Plan>,
    pub(super) free: Free,
    pub(super) full: bool,
    pub(super) read_only: bool,
    pub(super) exact: bool,
    pub(super) yields: bool,
    pub(super) records: Option<Vec<Record>>,
    pub(super) ears: Ears,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) description: u64,
    pub(super) process: u64,
    pub(super) token: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) ctime: i128,
    pub(super) mtime: i128,
    /// Names it has at present.
    pub(super) links: u64,
    /// Names at present and on disk, names in changes that are not synced, and open handles.
    pub(super) refs: u64,
    /// Permission bits; at once durable.
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) node: Node,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Content),
    Dir(Names),
    /// A symbolic link that leads nowhere.
    Link,
}

/// The user that all processes run as.
pub(super) const OWNER: u32 = 1_000;

/// A file's octets.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) volatile: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Writes since the last sync: offset and octets.
    pub(super) writes: Vec<(usize, Vec<u8>)>,
    /// A sync has failed: what was to be written is taken for written, but is not on disk.
    pub(super) lost: bool,
}

/// A directory's entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) volatile: BTreeMap<String, u64>,
    pub(super) durable: BTreeMap<String, u64>,
    /// Changes since the last sync, in order.
    pub(super) pending: Vec<Change>,
}

/// A change of a directory that reaches the disk whole or not at all.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Its number in the journal. Both halves of a rename between directories have the same.
    pub(super) number: u64,
    /// New meaning of names.
    pub(super) edits: Vec<(String, Option<u64>)>,
    /// It is the removing half of a rename into this directory.
    pub(super) moved_to: Option<u64>,
}

impl Content {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        apply_write(&mut self.volatile, offset, bytes);
        self.writes.push((offset, bytes.to_vec()));
    }

    pub(super) fn sync(&mut self) {
        if self.lost {
            for (offset, bytes) in self.writes.drain(..) {
                apply_write(&mut self.durable, offset, &bytes);
            }
        } else if !self.writes.is_empty() {
            self.durable.clone_from(&self.volatile);
            self.writes.clear();
        }
    }

    /// A sync that fails: as on Linux the pages count as clean, and a later sync that works does not write them.
    pub(super) fn sync_fails(&mut self) {
        if !self.writes.is_empty() {
            self.writes.clear();
            self.lost = true;
        }
    }
}

/// Writes into a buffer; a hole before the offset is filled with zeros.
pub(super) fn apply_write(buffer: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset.saturating_add(bytes.len());
    if buffer.len() < end {
        buffer.resize(end, 0);
    }
    if let Some(place) = buffer.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

impl World {
    /// The time as the file system stamps it.
    pub(super) fn stamp(&self) -> i128 {
        self.clock.div_euclid(GRANULE) * GRANULE
    }

    pub(super) fn add_inode(&mut self, node: Node) -> u64 {
        self.next_inode += 1;
        let stamp = self.stamp();
        let mode = if matches!(node, Node::File(_)) {
            0o600
        } else {
            0o700
        };
        self.inodes.insert(
            self.next_inode,
            Inode {
                ctime: stamp,
                mtime: stamp,
                links: 0,
                refs: 0,
                mode,
                owner: OWNER,
                node,
            },
        );
        self.next_inode
    }

    pub(super) fn file(&mut self, inode: u64) -> io::Result<&mut Content> {
        match self.inodes.get_mut(&inode).map(|inode| &mut inode.node) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(errno(EISDIR)),
            Some(Node::Link) | None => Err(errno(ENOENT)),
        }
    }

    pub(super) fn dir(&mut self, inode: u64) -> io::Result<&mut Names> {
        match self.inodes.get_mut(&inode).map(|inode| &mut inode.node) {
            Some(Node::Dir(names)) => Ok(names),
            Some(Node::File(_)) => Err(errno(ENOTDIR)),
            Some(Node::Link) | None => Err(errno(ENOENT)),
        }
    }

    pub(super) fn look_up(&mut self, dir: u64, name: &str) -> io::Result<u64> {
        self.dir(dir)?
            .volatile
            .get(name)
            .copied()
            .ok_or_else(|| errno(ENOENT))
    }

    /// What a name leads to. `NotFound` for a link: it leads nowhere.
    pub(super) fn follow(&mut self, dir: u64, name: &str) -> io::Result<u64> {
        let inode = self.look_up(dir, name)?;
        match self.inodes.get(&inode).map(|inode| &inode.node) {
            Some(Node::Link) => Err(errno(ENOENT)),
            _ => Ok(inode),
        }
    }

    pub(super) fn is_dir(&self, inode: u64) -> bool {
        matches!(
            self.inodes.get(&inode).map(|inode| &inode.node),
            Some(Node::Dir(_))
        )
    }

    /// `AlreadyExists` if the name is taken; `NotFound` if the directory itself has been removed.
    pub(super) fn must_be_free(&mut self, dir: u64, name: &str) -> io::Result<()> {
        if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0']) || name.len() > 255 {
            return Err(errno(EINVAL));
        }
        if self.inodes.get(&dir).is_none_or(|inode| inode.links == 0) {
            return Err(errno(ENOENT));
        }
        if self.dir(dir)?.volatile.contains_key(name) {
            return Err(errno(EEXIST));
        }
        Ok(())
    }

    /// Changes names of a directory, and counts what refers to the inodes.
    pub(super) fn change(
        &mut self,
        dir: u64,
        number: u64,
        edits: Vec<(String, Option<u64>)>,
        moved_to: Option<u64>,
    ) {
        self.tell(dir);
        let stamp = self.stamp();
        let mut lost = Vec::new();
        if let Some(inode) = self.inodes.get_mut(&dir) {
            inode.ctime = stamp;
            inode.mtime = stamp;
            if let Node::Dir(names) = &mut inode.node {
                for (name, to) in &edits {
                    let before = match to {
                        Some(to) => names.volatile.insert(name.clone(), *to),
                        None => names.volatile.remove(name),
                    };
                    lost.extend(before);
                }
                names.pending.push(Change {
                    number,
                    edits: edits.clone(),
                    moved_to,
                });
            }
        }
        for (_, to) in &edits {
            if let Some(inode) = to.and_then(|to| self.inodes.get_mut(&to)) {
                inode.links += 1;
                // As a name at present, and as part of a change that is not synced.
                inode.refs += 2;
                inode.ctime = stamp;
            }
        }
        for gone in lost {
            if let Some(inode) = self.inodes.get_mut(&gone) {
                inode.links -= 1;
                inode.ctime = stamp;
            }
            self.release(gone);
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.journal += 1;
        self.journal
    }

    /// One reference less; what nothing refers to is forgotten.
    pub(super) fn release(&mut self, inode: u64) {
        let mut work = vec![inode];
        while let Some(inode) = work.pop() {
            let Some(found) = self.inodes.get_mut(&inode) else {
                continue;
            };
            found.refs = found.refs.saturating_sub(1);
            if found.refs > 0 {
                continue;
            }
            if let Some(Inode {
                node: Node::Dir(names),
                ..
            }) = self.inodes.remove(&inode)
            {
                work.extend(names.volatile.into_values());
                work.extend(names.durable.into_values());
                let pending = names.pending.into_iter().flat_map(|change| change.edits);
                work.extend(pending.filter_map(|(_, to)| to));
            }
        }
    }

    /// The directory's first `count` unsynced changes reach the disk.
    pub(super) fn persist(&mut self, dir: u64, count: usize) {
        let Ok(names) = self.dir(dir) else {
            return;
        };
        let count = count.min(names.pending.len());
        let mut lost = Vec::new();
        for change in names.pending.drain(..count) {
            for (name, to) in change.edits {
                // The reference of the change becomes that of the durable entry.
                lost.extend(match to {
                    Some(to) => names.durable.insert(name, to),
                    None => names.durable.remove(&name),
                });
            }
        }
        for inode in lost {
            self.release(inode);
        }
    }

    pub(super) fn stat(&self, inode: u64) -> io::Result<Stat> {
        let found = self.inodes.get(&inode).ok_or_else(|| errno(ENOENT))?;
        let (size, is_dir) = match &found.node {
            Node::File(content) => (content.volatile.len() as u64, false),
            Node::Dir(_) => (0, true),
            Node::Link => (1, false),
        };
        Ok(Stat {
            inode,
            device: 1,
            size,
            links: found.links,
            ctime: found.ctime,
            mtime: found.mtime,
            is_dir,
            is_file: matches!(found.node, Node::File(_)),
            mode: found.mode,
            owner: found.owner,
        })
    }

    /// The entries that come after `after` in the order of the directory, at most `most`. The order is that of a hash, as
    /// in real directories: a name that changes a little moves anywhere.
    pub(super) fn entries(
        &mut self,
        dir: u64,
        after: Option<&str>,
        most: usize,
    ) -> io::Result<Vec<DirEntry>> {
        let place = |name: &str| {
            // Its keys are fixed.
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            (hasher.finish(), name.to_owned())
        };
        let after = after.map(place);
        let mut names: Vec<((u64, String), u64)> = self
            .dir(dir)?
            .volatile
            .iter()
            .map(|(name, inode)| (place(name), *inode))
            .filter(|(place, _)| after.as_ref().is_none_or(|after| place > after))
            .collect();
        names.sort_unstable();
        names.truncate(most);
        Ok(names
            .into_iter()
            .map(|((_, name), inode)| DirEntry {
                name,
                is_dir: self.is_dir(inode),
            })
            .collect())
    }

    /// Counts, records and perhaps fails a call of a process.
    pub(super) fn enter(&mut self, process: u64, call: Call, on: impl FnOnce() -> String) -> io::Result<()> {
        self.clock += self.tick;
        let full = self.full && call.needs_room();
        let plan = self.processes.entry(process).or_default();
        let number = plan.enter()?;
        if let Some(records) = &mut self.records {
            records.push(Record {
                process,
                number,
                call,
                on: on(),
            });
        }
        let plan = self.processes.entry(process).or_default();
        let verdict = plan.verdict(number);
        if plan.dead {
            self.locks.retain(|_, holder| holder.process != process);
            self.ears.forget(process);
        }
        verdict?;
        if self.read_only && call.writes() {
            return Err(errno(EROFS));
        }
        if full { Err(errno(ENOSPC)) } else { Ok(()) }
    }
}
