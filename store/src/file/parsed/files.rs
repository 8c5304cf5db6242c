//! The open files of the cache: found, made, replaced.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use rmail_core::mailbox::UidValidity;

use crate::disk::{Disk, Mode};

use super::super::FileStore;
use super::super::cache::shard_name;
use super::super::io::{found, open_or_make_dir};
use super::super::mailbox::{Mailbox, guard};
use super::{Birth, DIR, Identity, Owner, Slot, decode_slots, start};

/// Files kept open: two descriptors each, and 8 octets for each UID of the shard.
const OPEN: usize = 64;

/// The files of this process that are open.
pub(in super::super) struct Files<D: Disk> {
    inner: Mutex<Inner<D>>,
}

struct Inner<D: Disk> {
    clock: u64,
    by_owner: HashMap<Owner, (u64, Arc<ShardFile<D>>)>,
}

impl<D: Disk> Default for Files<D> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                clock: 0,
                by_owner: HashMap::new(),
            }),
        }
    }
}

/// One open file.
pub(super) struct ShardFile<D: Disk> {
    pub(super) owner: Owner,
    pub(super) dir: D::Dir,
    pub(super) file: D::File,
    pub(super) inode: u64,
    pub(super) identity: Identity,
    /// Held around the flock, which belongs to the descriptor.
    pub(super) writing: async_lock::Mutex<()>,
    /// As last seen. A record never moves, so what is here is right as long as the file is open.
    slots: Mutex<Vec<Slot>>,
}

impl<D: Disk> ShardFile<D> {
    pub(super) fn name(&self) -> String {
        shard_name(self.owner.shard)
    }

    pub(super) fn slot(&self, index: usize) -> Slot {
        guard(&self.slots).get(index).copied().unwrap_or_default()
    }

    pub(super) fn set_slot(&self, index: usize, slot: Slot) {
        if let Some(old) = guard(&self.slots).get_mut(index) {
            *old = slot;
        }
    }

    /// Reads the slots again.
    pub(super) async fn reload(&self, disk: &D, slots: u32) -> io::Result<()> {
        let mut octets = vec![0; usize::try_from(start(slots)).unwrap_or(0)];
        let count = disk.read_at(&self.file, &mut octets, 0).await?;
        octets.truncate(count);
        *guard(&self.slots) = slots_in(&octets, slots);
        Ok(())
    }
}

/// The slots in the beginning of a file.
fn slots_in(octets: &[u8], slots: u32) -> Vec<Slot> {
    decode_slots(octets.get(super::HEAD..).unwrap_or_default(), slots)
}

impl<D: Disk> Files<D> {
    fn get(&self, owner: &Owner) -> Option<Arc<ShardFile<D>>> {
        let mut inner = guard(&self.inner);
        inner.clock += 1;
        let clock = inner.clock;
        let (used, file) = inner.by_owner.get_mut(owner)?;
        *used = clock;
        Some(Arc::clone(file))
    }

    /// Keeps a file open; the one that was not used for longest is closed if there are too many.
    fn put(&self, file: ShardFile<D>) -> Arc<ShardFile<D>> {
        let file = Arc::new(file);
        let mut inner = guard(&self.inner);
        inner.clock += 1;
        let entry = (inner.clock, Arc::clone(&file));
        if inner.by_owner.len() >= OPEN && !inner.by_owner.contains_key(&file.owner) {
            let oldest = inner.by_owner.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(owner, _)| owner.clone()) {
                inner.by_owner.remove(&oldest);
            }
        }
        inner.by_owner.insert(file.owner.clone(), entry);
        file
    }

    /// Closes a file: it has lost its name, or something is wrong with it.
    pub(super) fn forget(&self, file: &ShardFile<D>) {
        let mut inner = guard(&self.inner);
        let same = |(_, other): &(u64, Arc<ShardFile<D>>)| core::ptr::eq(Arc::as_ptr(other), file);
        if inner.by_owner.get(&file.owner).is_some_and(same) {
            inner.by_owner.remove(&file.owner);
        }
    }
}

impl<D: Disk> FileStore<D> {
    /// UIDs of a shard.
    pub(super) fn slots(&self) -> u32 {
        self.limits().shard_size.max(1)
    }

    /// The file of a shard; it is made if it is not there and `make` says so. `None`: there is none that is ours.
    pub(super) async fn shard_file(
        &self,
        mailbox: &Mailbox<D>,
        uid_validity: UidValidity,
        shard: u32,
        make: bool,
    ) -> io::Result<Option<Arc<ShardFile<D>>>> {
        let owner = Owner {
            account: mailbox.reference.account.clone(),
            id: mailbox.reference.id,
            uid_validity,
            shard,
        };
        if let Some(file) = self.parsed.get(&owner) {
            return Ok(Some(file));
        }
        let disk = self.disk();
        let dir = match found(disk.open_dir(&mailbox.dir, DIR).await)? {
            Some(dir) => dir,
            None if !make || self.is_gone(mailbox).await => return Ok(None),
            None => open_or_make_dir(disk, &mailbox.dir, DIR).await?,
        };
        let opened = found(disk.open(&dir, &shard_name(shard), Mode::Write).await)?;
        let is_there = opened.is_some();
        if let Some(file) = opened
            && let Some(file) = self.recognise(&owner, &dir, file).await?
        {
            return Ok(Some(self.parsed.put(file)));
        }
        if !make || self.is_gone(mailbox).await {
            return Ok(None);
        }
        let made = self.make_shard_file(owner, dir).await?;
        if let Err(error) = self.name_shard_file(&made, is_there).await {
            // Somebody else was first: that one is found the next time.
            return if error.kind() == io::ErrorKind::AlreadyExists {
                Ok(None)
            } else {
                Err(error)
            };
        }
        Ok(Some(self.parsed.put(made)))
    }

    /// Nothing is made any more in a mailbox that is being taken apart.
    async fn is_gone(&self, mailbox: &Mailbox<D>) -> bool {
        let state = self.read_state(mailbox).await;
        state.is_ok_and(|state| state.is_none_or(|state| state.gone))
    }

    /// An open file, if it is what its name says.
    async fn recognise(
        &self,
        owner: &Owner,
        dir: &D::Dir,
        file: D::File,
    ) -> io::Result<Option<ShardFile<D>>> {
        let (disk, slots) = (self.disk(), self.slots());
        let inode = disk.stat(&file).await?.inode;
        let mut octets = vec![0; usize::try_from(start(slots)).unwrap_or(0)];
        let count = disk.read_at(&file, &mut octets, 0).await?;
        octets.truncate(count);
        let identity = owner.recognise(slots, inode, &octets);
        Ok(identity.map(|identity| ShardFile {
            owner: owner.clone(),
            dir: dir.clone(),
            file,
            inode,
            identity,
            writing: async_lock::Mutex::new(()),
            slots: Mutex::new(slots_in(&octets, slots)),
        }))
    }

    /// A new file without records and without a name.
    pub(super) async fn make_shard_file(&self, owner: Owner, dir: D::Dir) -> io::Result<ShardFile<D>> {
        let (disk, slots) = (self.disk(), self.slots());
        let file = disk.create_unnamed(&dir).await?;
        let stat = disk.stat(&file).await?;
        let birth = Birth {
            // Of so many nanoseconds the low bits tell apart.
            ctime: u64::try_from(stat.ctime & i128::from(u64::MAX)).unwrap_or(0),
            inode: stat.inode,
        };
        let (head, identity) = owner.head(slots, birth);
        disk.write_at(&file, &head, 0).await?;
        Ok(ShardFile {
            owner,
            dir,
            file,
            inode: stat.inode,
            identity,
            writing: async_lock::Mutex::new(()),
            slots: Mutex::new(vec![Slot::default(); usize::try_from(slots).unwrap_or(0)]),
        })
    }

    /// Gives a new file its name, in the place of another if `replace` says so.
    pub(super) async fn name_shard_file(&self, made: &ShardFile<D>, replace: bool) -> io::Result<()> {
        let (disk, name) = (self.disk(), made.name());
        if !replace {
            return disk.link_unnamed(&made.file, &made.dir, &name).await;
        }
        let temporary = format!("{name}.new");
        match disk.link_unnamed(&made.file, &made.dir, &temporary).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by somebody who died here, or of somebody who does the same: one of them wins.
                found(disk.unlink(&made.dir, &temporary).await)?;
                disk.link_unnamed(&made.file, &made.dir, &temporary).await?;
            }
            linked => linked?,
        }
        disk.replace(&made.dir, &temporary, &name).await
    }
}
