//! The calls of the disk in memory.

use core::future::Future;
use core::time::Duration;
use std::io;
use std::sync::MutexGuard;

use crate::disk::{Changes, DirEntry, Disk, Free, Listing, Mode, Stat};

use super::exec::Yield;
use super::fault::Call;
use super::world::{
    Content, EEXIST, EINVAL, EISDIR, ENOTEMPTY, EPERM, EROFS, Holder, Names, Node, World, errno,
};
use super::{MemDir, MemDisk, MemFile, MemLock, MemWatch, open_handle};

/// How long a waiter for a lock counts one poll.
const POLL: Duration = Duration::from_millis(1);

impl MemDisk {
    /// Yields, then counts the call and perhaps fails it.
    async fn enter(&self, call: Call, on: impl FnOnce() -> String) -> io::Result<MutexGuard<'_, World>> {
        let yields = self.shared.world().yields;
        if yields {
            Yield::default().await;
        }
        let mut world = self.shared.world();
        world.enter(self.process, call, on)?;
        Ok(world)
    }

    /// The lock, if no other open file holds it.
    fn take(&self, world: &mut World, file: &MemFile) -> Option<MemLock> {
        let inode = file.0.inode;
        let holder = world.locks.get(&inode);
        if holder.is_some_and(|holder| holder.description != file.0.description) {
            return None;
        }
        world.next_id += 1;
        let token = world.next_id;
        world.locks.insert(
            inode,
            Holder {
                description: file.0.description,
                process: self.process,
                token,
            },
        );
        Some(MemLock {
            file: file.clone(),
            token,
        })
    }

    /// What is to be written of a write that a fault cuts short, and the error.
    fn shortened<'b>(&self, world: &mut World, bytes: &'b [u8]) -> (&'b [u8], io::Result<()>) {
        let plan = world.processes.entry(self.process).or_default();
        match plan.short.take() {
            None => (bytes, Ok(())),
            Some(number) => (
                bytes.get(..bytes.len() / 2).unwrap_or_default(),
                Err(errno(number)),
            ),
        }
    }
}

fn write(world: &mut World, inode: u64, bytes: &[u8], offset: Option<u64>) -> io::Result<()> {
    let stamp = world.stamp();
    let content = world.file(inode)?;
    let offset = match offset {
        Some(offset) => usize::try_from(offset).map_err(|_| errno(EINVAL))?,
        None => content.volatile.len(),
    };
    content.write(offset, bytes);
    world.tell(inode);
    if let Some(inode) = world.inodes.get_mut(&inode) {
        inode.mtime = stamp;
        inode.ctime = stamp;
    }
    Ok(())
}

impl Disk for MemDisk {
    type Dir = MemDir;
    type File = MemFile;
    type Lock = MemLock;
    type Watch = MemWatch;

    fn root(&self) -> &MemDir {
        &self.root
    }

    async fn open_dir(&self, at: &MemDir, name: &str) -> io::Result<MemDir> {
        let mut world = self.enter(Call::OpenDir, || name.to_owned()).await?;
        let inode = world.look_up(at.0.inode, name)?;
        world.dir(inode)?;
        drop(world);
        Ok(MemDir(open_handle(&self.shared, inode)))
    }

    async fn make_dir(&self, at: &MemDir, name: &str) -> io::Result<()> {
        let mut world = self.enter(Call::MakeDir, || name.to_owned()).await?;
        world.must_be_free(at.0.inode, name)?;
        let inode = world.add_inode(Node::Dir(Names::default()));
        let number = world.next_number();
        world.change(at.0.inode, number, vec![(name.to_owned(), Some(inode))], None);
        Ok(())
    }

    async fn remove_dir(&self, at: &MemDir, name: &str) -> io::Result<()> {
        let mut world = self.enter(Call::RemoveDir, || name.to_owned()).await?;
        let inode = world.look_up(at.0.inode, name)?;
        if !world.dir(inode)?.volatile.is_empty() {
            return Err(errno(ENOTEMPTY));
        }
        let number = world.next_number();
        world.change(at.0.inode, number, vec![(name.to_owned(), None)], None);
        Ok(())
    }

    async fn list(&self, dir: &MemDir) -> io::Result<Listing> {
        let (mut entries, exact) = {
            let mut world = self.enter(Call::List, || format!("{:?}", dir.0)).await?;
            let exact = world.exact;
            let half = world.dir(dir.0.inode)?.volatile.len().div_ceil(2);
            let most = if exact { usize::MAX } else { half };
            (world.entries(dir.0.inode, None, most)?, exact)
        };
        if !exact {
            Yield::default().await;
            let last = entries.last().map(|entry: &DirEntry| entry.name.clone());
            let mut world = self.shared.world();
            let rest = world.entries(dir.0.inode, last.as_deref(), usize::MAX)?;
            entries.extend(rest);
        }
        Ok(Listing { entries, exact })
    }

    async fn create_unnamed(&self, dir: &MemDir) -> io::Result<MemFile> {
        let mut world = self.enter(Call::CreateUnnamed, || format!("{:?}", dir.0)).await?;
        world.dir(dir.0.inode)?;
        let inode = world.add_inode(Node::File(Content::default()));
        drop(world);
        Ok(MemFile(open_handle(&self.shared, inode)))
    }

    async fn link_unnamed(&self, file: &MemFile, dir: &MemDir, name: &str) -> io::Result<()> {
        let mut world = self.enter(Call::LinkUnnamed, || name.to_owned()).await?;
        world.must_be_free(dir.0.inode, name)?;
        if world.stat(file.0.inode)?.links > 0 {
            return Err(errno(EINVAL));
        }
        let number = world.next_number();
        world.change(
            dir.0.inode,
            number,
            vec![(name.to_owned(), Some(file.0.inode))],
            None,
        );
        Ok(())
    }

    async fn link(&self, from: &MemDir, name: &str, to: &MemDir, new: &str) -> io::Result<()> {
        let mut world = self.enter(Call::Link, || format!("{name} {new}")).await?;
        let inode = world.look_up(from.0.inode, name)?;
        world.must_be_free(to.0.inode, new)?;
        if world.is_dir(inode) {
            return Err(errno(EPERM));
        }
        let number = world.next_number();
        world.change(to.0.inode, number, vec![(new.to_owned(), Some(inode))], None);
        Ok(())
    }

    async fn rename(&self, from: &MemDir, name: &str, to: &MemDir, new: &str) -> io::Result<()> {
        let mut world = self.enter(Call::Rename, || format!("{name} {new}")).await?;
        let inode = world.look_up(from.0.inode, name)?;
        world.must_be_free(to.0.inode, new)?;
        let number = world.next_number();
        let added = (new.to_owned(), Some(inode));
        let removed = (name.to_owned(), None);
        if from.0.inode == to.0.inode {
            world.change(to.0.inode, number, vec![added, removed], None);
        } else {
            world.change(to.0.inode, number, vec![added], None);
            world.change(from.0.inode, number, vec![removed], Some(to.0.inode));
        }
        Ok(())
    }

    async fn replace(&self, dir: &MemDir, name: &str, new: &str) -> io::Result<()> {
        let mut world = self.enter(Call::Replace, || format!("{name} {new}")).await?;
        let inode = world.look_up(dir.0.inode, name)?;
        if let Ok(old) = world.look_up(dir.0.inode, new) {
            if world.is_dir(old) {
                return Err(errno(EISDIR));
            }
            if old == inode {
                // rename(2) between two links of one inode does nothing and says success.
                return Ok(());
            }
        }
        let number = world.next_number();
        let edits = vec![(new.to_owned(), Some(inode)), (name.to_owned(), None)];
        world.change(dir.0.inode, number, edits, None);
        Ok(())
    }

    async fn unlink(&self, dir: &MemDir, name: &str) -> io::Result<()> {
        let mut world = self.enter(Call::Unlink, || name.to_owned()).await?;
        let inode = world.look_up(dir.0.inode, name)?;
        if world.is_dir(inode) {
            return Err(errno(EISDIR));
        }
        let number = world.next_number();
        world.change(dir.0.inode, number, vec![(name.to_owned(), None)], None);
        Ok(())
    }

    async fn open(&self, dir: &MemDir, name: &str, mode: Mode) -> io::Result<MemFile> {
        let mut world = self.enter(Call::Open, || name.to_owned()).await?;
        let inode = match world.follow(dir.0.inode, name) {
            Ok(_) if mode == Mode::CreateNew => return Err(errno(EEXIST)),
            Ok(inode) if world.is_dir(inode) => return Err(errno(EISDIR)),
            Ok(_) if world.read_only && mode != Mode::Read => return Err(errno(EROFS)),
            Ok(inode) => inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if matches!(mode, Mode::Read | Mode::Write) {
                    return Err(error);
                }
                if world.read_only {
                    return Err(errno(EROFS));
                }
                world.must_be_free(dir.0.inode, name)?;
                let inode = world.add_inode(Node::File(Content::default()));
                let number = world.next_number();
                world.change(dir.0.inode, number, vec![(name.to_owned(), Some(inode))], None);
                inode
            }
            Err(error) => return Err(error),
        };
        drop(world);
        Ok(MemFile(open_handle(&self.shared, inode)))
    }

    async fn read_at(&self, file: &MemFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.enter(Call::ReadAt, || format!("{:?}", file.0)).await?;
        let content = world.file(file.0.inode)?;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(content.volatile.len());
        let rest = content.volatile.get(from..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    async fn write_at(&self, file: &MemFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.enter(Call::WriteAt, || format!("{:?}", file.0)).await?;
        let (bytes, result) = self.shortened(&mut world, bytes);
        write(&mut world, file.0.inode, bytes, Some(offset))?;
        result
    }

    async fn append(&self, file: &MemFile, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.enter(Call::Append, || format!("{:?}", file.0)).await?;
        let (bytes, result) = self.shortened(&mut world, bytes);
        write(&mut world, file.0.inode, bytes, None)?;
        result
    }

    async fn stat(&self, file: &MemFile) -> io::Result<Stat> {
        let world = self.enter(Call::Stat, || format!("{:?}", file.0)).await?;
        world.stat(file.0.inode)
    }

    async fn stat_dir(&self, dir: &MemDir) -> io::Result<Stat> {
        let world = self.enter(Call::StatDir, || format!("{:?}", dir.0)).await?;
        world.stat(dir.0.inode)
    }

    async fn stat_at(&self, dir: &MemDir, name: &str) -> io::Result<Stat> {
        let mut world = self.enter(Call::StatAt, || name.to_owned()).await?;
        let inode = world.follow(dir.0.inode, name)?;
        world.stat(inode)
    }

    async fn stat_link(&self, dir: &MemDir, name: &str) -> io::Result<Stat> {
        let mut world = self.enter(Call::StatLink, || name.to_owned()).await?;
        let inode = world.look_up(dir.0.inode, name)?;
        world.stat(inode)
    }

    async fn set_mode(&self, dir: &MemDir, name: &str, mode: u32) -> io::Result<()> {
        let mut world = self.enter(Call::SetMode, || name.to_owned()).await?;
        let inode = world.follow(dir.0.inode, name)?;
        let stamp = world.stamp();
        if let Some(inode) = world.inodes.get_mut(&inode) {
            inode.mode = mode & 0o7777;
            inode.ctime = stamp;
        }
        Ok(())
    }

    async fn sync(&self, file: &MemFile) -> io::Result<()> {
        match self.enter(Call::Sync, || format!("{:?}", file.0)).await {
            Ok(mut world) => {
                world.file(file.0.inode)?.sync();
                Ok(())
            }
            Err(error) => {
                if error.raw_os_error().is_some() {
                    self.shared.world().file(file.0.inode)?.sync_fails();
                }
                Err(error)
            }
        }
    }

    async fn sync_dir(&self, dir: &MemDir) -> io::Result<()> {
        let mut world = self.enter(Call::SyncDir, || format!("{:?}", dir.0)).await?;
        world.dir(dir.0.inode)?;
        world.persist(dir.0.inode, usize::MAX);
        world.journal_forced = world.journal;
        Ok(())
    }

    async fn sync_fs(&self, dir: &MemDir) -> io::Result<()> {
        let mut world = self.enter(Call::SyncFs, || format!("{:?}", dir.0)).await?;
        let numbers: Vec<u64> = world.inodes.keys().copied().collect();
        for number in numbers {
            match world.inodes.get_mut(&number).map(|inode| &mut inode.node) {
                Some(Node::File(content)) => content.sync(),
                Some(Node::Dir(_)) => world.persist(number, usize::MAX),
                Some(Node::Link) | None => {}
            }
        }
        world.journal_forced = world.journal;
        Ok(())
    }

    /// Waits by polling; each poll counts as a millisecond of `wait`, so that a wait ends although no clock runs.
    async fn lock(&self, file: &MemFile, wait: Duration) -> io::Result<MemLock> {
        let first = {
            let mut world = self.enter(Call::Lock, || format!("{:?}", file.0)).await?;
            self.take(&mut world, file)
        };
        if let Some(lock) = first {
            return Ok(lock);
        }
        let mut waited = Duration::ZERO;
        while waited < wait {
            waited += POLL;
            Yield::default().await;
            let mut world = self.shared.world();
            if world.processes.entry(self.process).or_default().dead {
                return Err(io::Error::other("the process is dead"));
            }
            if let Some(lock) = self.take(&mut world, file) {
                return Ok(lock);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Yields once for each millisecond, so that a wait ends although no clock runs.
    async fn pause(&self, wait: Duration) {
        // A dead process finds out at its next call.
        drop(self.enter(Call::Pause, || format!("{wait:?}")).await);
        let mut waited = POLL;
        while waited < wait {
            waited += POLL;
            Yield::default().await;
        }
    }

    async fn free(&self, dir: &MemDir) -> io::Result<Free> {
        let world = self.enter(Call::Free, || format!("{:?}", dir.0)).await?;
        Ok(world.free)
    }

    fn boot_id(&self) -> u128 {
        self.boot
    }

    fn watch(&self, file: &MemFile, tag: u64) -> io::Result<MemWatch> {
        self.listen(file.0.inode, tag)
    }

    fn watch_dir(&self, dir: &MemDir, tag: u64) -> io::Result<MemWatch> {
        self.listen(dir.0.inode, tag)
    }

    fn changes(&self) -> impl Future<Output = Changes> + Send {
        self.heard()
    }
}
