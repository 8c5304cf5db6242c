//! The outbound queue on disk: a directory per process, owned by whoever holds the flock of its `lock`.
//!
//! An entry exists when its `{id}.json` does, see [`super::journal`]; `{id}.eml` is linked before it, and unlinked once it is known to be gone.
//! Directories whose owner is dead are taken over as they are, at the start and while we run; an empty one is left for the
//! next process, so that there are never many more of them than processes.
//!
//! An entry that is damaged, or has no message, is set aside as `{id}.json.bad` and `{id}.eml.bad`, for a person to look at.
//! One that a newer version wrote waits for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;

use crate::disk::{Disk, Mode, STAND_IN};
use crate::error::{Error, Result};

use super::FileStore;
use super::io::{During as _, found, or_exists, read_all, read_file, replace_file, settle_dir, within};
use super::journal::{self, Unreadable};
use super::mailbox::guard;
use super::spool::{Blob, Body, needs_copy};

/// Longest id.
const MAX_ID: usize = 64;

/// Entries that are given at once while the queue is read.
const PART: usize = 500;

/// What the files that are set aside end with.
pub(super) const BAD: &str = ".bad";

/// The queue directories of this process.
pub(super) struct Queue<D: Disk> {
    /// Held while directories are taken over.
    busy: async_lock::Mutex<()>,
    owned: Mutex<Owned<D>>,
}

struct Owned<D: Disk> {
    /// Directories by name; the first is where new entries go.
    homes: BTreeMap<Arc<str>, Home<D>>,
    /// The number of the next.
    next: u32,
    entries: HashMap<Box<str>, Known>,
}

/// A directory that is ours.
struct Home<D: Disk> {
    /// What entries know it by: there may be a hundred thousand of them.
    number: u32,
    dir: D::Dir,
    /// As long as this process lives, or the directory is of use to it.
    _lock: D::Lock,
    /// How many entries lie in it, or are about to.
    entries: usize,
}

/// What is known of an entry.
struct Known {
    home: u32,
    /// The last write has failed, and nobody knows what of it is there: the next writes all.
    shaky: bool,
}

impl<D: Disk> Default for Queue<D> {
    fn default() -> Self {
        Self {
            busy: async_lock::Mutex::new(()),
            owned: Mutex::new(Owned {
                homes: BTreeMap::new(),
                next: 0,
                entries: HashMap::new(),
            }),
        }
    }
}

impl<D: Disk> Owned<D> {
    /// A directory is ours from now on.
    fn take(&mut self, name: Arc<str>, mut home: Home<D>) {
        home.number = self.next;
        self.next += 1;
        self.homes.insert(name, home);
    }

    /// An entry lies in a directory of ours, or will.
    fn insert(&mut self, id: Box<str>, name: &str) {
        if self.entries.contains_key(&id) {
            return;
        }
        if let Some(home) = self.homes.get_mut(name) {
            home.entries += 1;
            let known = Known {
                home: home.number,
                shaky: false,
            };
            self.entries.insert(id, known);
        }
    }

    /// A place for a new entry, if there is a directory.
    fn claim(&mut self, id: &str) -> Result<Option<D::Dir>> {
        if self.entries.contains_key(id) {
            return Err(storage(format!("queue entry {id} is there already")));
        }
        let Some((name, home)) = self.homes.iter().next() else {
            return Ok(None);
        };
        let (name, dir) = (Arc::clone(name), home.dir.clone());
        self.insert(id.into(), &name);
        Ok(Some(dir))
    }

    /// An entry is gone. The directory of a dead process that was emptied has served its time.
    fn remove(&mut self, id: &str) {
        let Some(known) = self.entries.remove(id) else {
            return;
        };
        let several = self.homes.len() > 1;
        let mut homes = self.homes.iter_mut();
        if let Some((name, home)) = homes.find(|(_, home)| home.number == known.home) {
            home.entries = home.entries.saturating_sub(1);
            if several && home.entries == 0 {
                let name = Arc::clone(name);
                self.homes.remove(&name);
            }
        }
    }

    /// Where an entry lies, and whether it is shaky.
    fn find(&self, id: &str) -> Option<(D::Dir, bool)> {
        let known = self.entries.get(id)?;
        let home = self.homes.values().find(|home| home.number == known.home)?;
        Some((home.dir.clone(), known.shaky))
    }
}

fn storage(context: String) -> Error {
    Error {
        refusal: Refusal::Storage,
        context,
        source: None,
    }
}

fn check_id(id: &str) -> Result<()> {
    let good = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(storage(format!("{id:?} is no id of a queue entry")))
}

fn label() -> String {
    "use the outbound queue".to_owned()
}

impl<D: Disk> FileStore<D> {
    async fn busy(&self) -> Result<async_lock::MutexGuard<'_, ()>> {
        let busy = within(self.disk(), self.limits().lock_wait, self.queue.busy.lock()).await;
        busy.ok_or_else(|| Refusal::Busy.into())
    }

    async fn queue_root(&self) -> Result<D::Dir> {
        settle_dir(self.disk(), self.disk().root(), "queue")
            .await
            .during(label)
    }

    /// Where this new entry goes: a directory that is ours; the first that nobody owns, if there is none yet.
    async fn place_for(&self, id: &str) -> Result<D::Dir> {
        let claim = || guard(&self.queue.owned).claim(id);
        if let Some(dir) = claim()? {
            return Ok(dir);
        }
        let _busy = self.busy().await?;
        if guard(&self.queue.owned).homes.is_empty() {
            self.make_home().await?;
        }
        claim()?.ok_or_else(|| Refusal::Storage.into())
    }

    /// Takes the first directory that nobody owns and that is empty.
    async fn make_home(&self) -> Result<()> {
        let root = self.queue_root().await?;
        let disk = self.disk();
        for number in 1_u32.. {
            let name = format!("{number:04}");
            or_exists(disk.make_dir(&root, &name).await).during(label)?;
            disk.sync_dir(&root).await.during(label)?;
            // Entries of a process that died since the last look are met by the next.
            if let Some((home, names)) = self.take_over(&root, &name).await?
                && !names.iter().any(|name| is_entry(name))
            {
                guard(&self.queue.owned).take(name.into(), home);
                return Ok(());
            }
        }
        Err(Refusal::Storage.into())
    }

    async fn names_in(&self, dir: &D::Dir) -> Result<BTreeSet<String>> {
        let listing = self.disk().list(dir).await.during(label)?;
        Ok(listing.entries.into_iter().map(|entry| entry.name).collect())
    }

    /// Takes a directory if nobody owns it, and clears what was left half done in it. With what is in it.
    async fn take_over(&self, root: &D::Dir, name: &str) -> Result<Option<(Home<D>, BTreeSet<String>)>> {
        let disk = self.disk();
        let dir = disk.open_dir(root, name).await.during(label)?;
        let file = disk.open(&dir, "lock", Mode::Create).await.during(label)?;
        let lock = match disk.lock(&file, core::time::Duration::ZERO).await {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).during(label),
        };
        let mut names = self.names_in(&dir).await?;
        let is_orphan = |name: &&String| {
            let message = name.strip_suffix(".eml");
            let half = message.is_some_and(|id| !names.contains(&format!("{id}.json")));
            half || name.ends_with(".tmp") || name.starts_with(STAND_IN)
        };
        let orphans: Vec<String> = names.iter().filter(is_orphan).cloned().collect();
        for orphan in orphans {
            disk.unlink(&dir, &orphan).await.during(label)?;
            names.remove(&orphan);
        }
        let home = Home {
            number: 0,
            dir,
            _lock: lock,
            entries: 0,
        };
        Ok(Some((home, names)))
    }

    /// The directories that are not ours.
    async fn others(&self, root: &D::Dir) -> Result<Vec<Arc<str>>> {
        let listing = self.disk().list(root).await.during(label)?;
        let owned = guard(&self.queue.owned);
        let dirs = listing.entries.into_iter().filter(|listed| listed.is_dir);
        let names = dirs.map(|listed| Arc::from(listed.name));
        Ok(names.filter(|name| !owned.homes.contains_key(name)).collect())
    }

    /// Takes over a directory that nobody owns and that is not empty: the entries in it. It is ours once all of it is read;
    /// after an error the next attempt begins anew.
    async fn take(&self, root: &D::Dir, name: &Arc<str>, part: &mut dyn FnMut(Vec<Entry>)) -> Result<()> {
        let Some((home, names)) = self.take_over(root, name).await? else {
            return Ok(());
        };
        if !names.iter().any(|name| is_entry(name)) {
            return Ok(());
        }
        let ids = self.load_dir(&home.dir, names, part).await?;
        let mut owned = guard(&self.queue.owned);
        owned.take(Arc::clone(name), home);
        ids.into_iter().for_each(|id| owned.insert(id, name));
        Ok(())
    }

    /// All entries, a part after the other.
    pub(super) async fn load_queue(&self, part: &mut dyn FnMut(Vec<Entry>)) -> Result<()> {
        let _busy = self.busy().await?;
        let ours: Vec<(Arc<str>, D::Dir)> = {
            let owned = guard(&self.queue.owned);
            let homes = owned.homes.iter();
            homes
                .map(|(name, home)| (Arc::clone(name), home.dir.clone()))
                .collect()
        };
        for (name, dir) in ours {
            let names = self.names_in(&dir).await?;
            let ids = self.load_dir(&dir, names, part).await?;
            let mut owned = guard(&self.queue.owned);
            ids.into_iter().for_each(|id| owned.insert(id, &name));
        }
        let root = self.queue_root().await?;
        for name in self.others(&root).await? {
            self.take(&root, &name, part).await?;
        }
        Ok(())
    }

    /// The entries of processes that have died since. One directory that cannot be read keeps nothing from the others, and
    /// what became ours is told in any case: nobody would look at it again.
    pub(super) async fn adopt_queues(&self) -> Result<Vec<Entry>> {
        let _busy = self.busy().await?;
        let root = self.queue_root().await?;
        let mut adopted = Vec::new();
        let mut failed = None;
        for name in self.others(&root).await? {
            let mut entries = Vec::new();
            match self.take(&root, &name, &mut |part| entries.extend(part)).await {
                Ok(()) => adopted.append(&mut entries),
                Err(error) => failed = failed.or(Some((name, error))),
            }
        }
        match failed {
            Some((_, error)) if adopted.is_empty() => Err(error),
            Some((name, error)) => {
                log::error!("take over the queue {name}: {error}");
                Ok(adopted)
            }
            None => Ok(adopted),
        }
    }

    /// Reads what is in a directory; the ids of the entries. Each name goes as soon as it was looked at: in a long queue the
    /// entries take the room of the names.
    async fn load_dir(
        &self,
        dir: &D::Dir,
        names: BTreeSet<String>,
        part: &mut dyn FnMut(Vec<Entry>),
    ) -> Result<Vec<Box<str>>> {
        let mut ids = Vec::with_capacity(names.len() / 2);
        let mut entries = Vec::new();
        let mut message = String::new();
        for name in names {
            let Some(id) = name.strip_suffix(".json") else {
                // In their order a message comes before its entry, and nothing else that ends so between them.
                if name.ends_with(".eml") {
                    message = name;
                }
                continue;
            };
            let message = message.strip_suffix(".eml") == Some(id);
            if let Some(entry) = self.load_entry(dir, id, message).await? {
                ids.push(id.into());
                entries.push(entry);
            }
            if entries.len() >= PART {
                part(core::mem::take(&mut entries));
            }
        }
        if !entries.is_empty() {
            part(entries);
        }
        Ok(ids)
    }

    /// Reads an entry. `message`: its message was seen.
    async fn load_entry(&self, dir: &D::Dir, id: &str, message: bool) -> Result<Option<Entry>> {
        let bytes = read_file(self.disk(), dir, &format!("{id}.json")).await;
        let Some(bytes) = bytes.during(label)? else {
            return Ok(None);
        };
        let why = match journal::read(&bytes) {
            Ok(read) if read.entry.id != id => format!("it says that it is {:?}", read.entry.id),
            Ok(mut read) if message || self.has_message(dir, id).await? => {
                // A list that was read has room for four, which is most of what a hundred thousand entries take.
                read.entry.recipients.shrink_to_fit();
                return Ok(Some(read.entry));
            }
            Ok(_) => "it has no message".to_owned(),
            Err(Unreadable::Newer(why)) => {
                log::error!("queue entry {id} was written by a newer version, and waits for it: {why}");
                return Ok(None);
            }
            Err(Unreadable::Corrupt(why)) => why,
        };
        self.set_aside(dir, id, &why).await;
        Ok(None)
    }

    async fn has_message(&self, dir: &D::Dir, id: &str) -> Result<bool> {
        let message = self.disk().stat_at(dir, &format!("{id}.eml")).await;
        Ok(found(message).during(label)?.is_some())
    }

    /// Renames an entry that is damaged. The message goes first: one that has no entry is cleared away.
    async fn set_aside(&self, dir: &D::Dir, id: &str, why: &str) {
        for name in [format!("{id}.eml"), format!("{id}.json")] {
            let aside = format!("{name}{BAD}");
            if let Err(error) = found(self.disk().rename(dir, &name, dir, &aside).await) {
                log::error!("queue entry {id} is damaged ({why}) and cannot be set aside: {error}");
                return;
            }
        }
        log::error!(
            "queue entry {id} is damaged ({why}): it is set aside as {id}.json{BAD} and {id}.eml{BAD}"
        );
    }

    /// Links a message and its entry into the queue. The directory that is returned has to be synced.
    pub(super) async fn enqueue(&self, entry: &Entry, body: &mut Body<D>) -> Result<Option<D::Dir>> {
        check_id(&entry.id)?;
        let dir = self.place_for(&entry.id).await?;
        let linked = self.link_entry(entry, body, &dir).await;
        if linked.is_err() {
            guard(&self.queue.owned).remove(&entry.id);
        }
        linked.map(|()| Some(dir))
    }

    async fn link_entry(&self, entry: &Entry, body: &mut Body<D>, home: &D::Dir) -> Result<()> {
        let disk = self.disk();
        let bytes = entry_octets(entry)?;
        let json = disk.create_unnamed(home).await.during(label)?;
        disk.write_at(&json, &bytes, 0).await.during(label)?;
        disk.sync(&json).await.during(label)?;
        let message = format!("{}.eml", entry.id);
        match self.place(body, home, &message).await {
            Err(error) if needs_copy(body, &error) => {
                let mut copy = self.duplicate(&body.file, body.size, home).await?;
                self.place(&mut copy, home, &message).await.during(label)?;
            }
            other => other.during(label)?,
        }
        let linked = disk
            .link_unnamed(&json, home, &format!("{}.json", entry.id))
            .await;
        if linked.is_err()
            && let Err(second) = disk.unlink(home, &message).await
        {
            log::error!("queue entry {} could not be taken back: {second}", entry.id);
        }
        linked.during(label)
    }

    /// Takes back an entry that was not acknowledged.
    pub(super) async fn dequeue(&self, id: &str) {
        if let Err(error) = self.remove_entry(id).await {
            log::error!("queue entry {id} could not be taken back: {error}");
        }
    }

    /// Whether a queue directory is ours.
    pub(super) fn owns_queue(&self, name: &str) -> bool {
        guard(&self.queue.owned).homes.contains_key(name)
    }

    /// Where an entry lies, and whether it is shaky.
    fn entry_dir(&self, id: &str) -> Result<(D::Dir, bool)> {
        check_id(id)?;
        let found = guard(&self.queue.owned).find(id);
        found.ok_or_else(|| storage(format!("queue entry {id} is not ours")))
    }

    pub(super) async fn save_entry(&self, entry: &Entry) -> Result<()> {
        let (dir, shaky) = self.entry_dir(&entry.id)?;
        let saved = self.write_entry(&dir, entry, shaky).await;
        if let Some(known) = guard(&self.queue.owned).entries.get_mut(entry.id.as_str()) {
            known.shaky = saved.is_err();
        }
        saved
    }

    /// Appends what has changed, or replaces the file.
    async fn write_entry(&self, dir: &D::Dir, entry: &Entry, anew: bool) -> Result<()> {
        let disk = self.disk();
        let name = format!("{}.json", entry.id);
        let file = disk.open(dir, &name, Mode::Write).await.during(label)?;
        if !anew {
            let bytes = read_all(disk, &file).await.during(label)?;
            if let Some(line) = journal::next(&bytes, entry) {
                disk.append(&file, &line).await.during(label)?;
                return disk.sync(&file).await.during(label);
            }
        }
        replace_file(disk, dir, &name, &entry_octets(entry)?)
            .await
            .during(label)
    }

    /// Only once it is known that the entry does not come back goes its message.
    pub(super) async fn remove_entry(&self, id: &str) -> Result<()> {
        let (dir, _) = self.entry_dir(id)?;
        let disk = self.disk();
        found(disk.unlink(&dir, &format!("{id}.json")).await).during(label)?;
        disk.sync_dir(&dir).await.during(label)?;
        if let Err(error) = found(disk.unlink(&dir, &format!("{id}.eml")).await) {
            log::warn!("the message of queue entry {id} stays until the next start: {error}");
        }
        guard(&self.queue.owned).remove(id);
        Ok(())
    }

    pub(super) async fn open_entry(&self, id: &str) -> Result<Blob<D>> {
        let (dir, _) = self.entry_dir(id)?;
        let file = self
            .disk()
            .open(&dir, &format!("{id}.eml"), Mode::Read)
            .await
            .during(label)?;
        let len = self.disk().stat(&file).await.during(label)?.size;
        Ok(Blob { file, len })
    }
}

fn is_entry(name: &str) -> bool {
    name.ends_with(".json")
}

fn entry_octets(entry: &Entry) -> Result<Vec<u8>> {
    journal::whole(entry).map_err(|error| storage(format!("{}: {error}", label())))
}
