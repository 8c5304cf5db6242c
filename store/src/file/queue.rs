//! The outbound queue on disk: a directory per process, owned by whoever holds the flock of its `lock`.
//!
//! An entry exists when its `{id}.json` does; `{id}.eml` is linked before it and unlinked after it. Directories whose
//! owner is dead are taken over as they are, at the start and while we run; an empty one is left for the next process, so
//! that there are never many more of them than processes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;

use crate::disk::{Disk, Mode, STAND_IN};
use crate::error::{Error, Result};

use super::FileStore;
use super::io::{During as _, found, or_exists, read_file, replace_file, settle_dir, within};
use super::mailbox::guard;
use super::spool::{Blob, Body, needs_copy};

/// Longest id.
const MAX_ID: usize = 64;

/// The queue directories of this process.
pub(super) struct Queue<D: Disk> {
    /// Held while directories are taken over, and while an entry is replaced.
    busy: async_lock::Mutex<()>,
    owned: Mutex<Owned<D>>,
}

struct Owned<D: Disk> {
    /// Directories by name; the first is where new entries go.
    dirs: BTreeMap<String, Home<D>>,
    /// In which of them an entry lies.
    entries: HashMap<String, String>,
}

/// A directory that is ours.
struct Home<D: Disk> {
    dir: D::Dir,
    /// As long as this process lives, or the directory is of use to it.
    _lock: D::Lock,
}

impl<D: Disk> Default for Queue<D> {
    fn default() -> Self {
        Self {
            busy: async_lock::Mutex::new(()),
            owned: Mutex::new(Owned {
                dirs: BTreeMap::new(),
                entries: HashMap::new(),
            }),
        }
    }
}

fn check_id(id: &str) -> Result<()> {
    let good = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(Error {
        refusal: Refusal::Storage,
        context: format!("{id:?} is no id of a queue entry"),
        source: None,
    })
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

    /// Where new entries go: a directory that is ours; the first that nobody owns, if there is none yet.
    async fn home(&self) -> Result<(String, D::Dir)> {
        let first = {
            let owned = guard(&self.queue.owned);
            owned
                .dirs
                .iter()
                .next()
                .map(|(name, home)| (name.clone(), home.dir.clone()))
        };
        if let Some(home) = first {
            return Ok(home);
        }
        let root = self.queue_root().await?;
        let disk = self.disk();
        for number in 1_u32.. {
            let name = format!("{number:04}");
            or_exists(disk.make_dir(&root, &name).await).during(label)?;
            disk.sync_dir(&root).await.during(label)?;
            if let Some(home) = self.take_over(&root, &name).await? {
                // Entries of a process that died since the last look are met by the next.
                if self.names_in(&home.dir).await?.iter().any(|name| is_entry(name)) {
                    continue;
                }
                let dir = home.dir.clone();
                guard(&self.queue.owned).dirs.insert(name.clone(), home);
                return Ok((name, dir));
            }
        }
        Err(Refusal::Storage.into())
    }

    async fn names_in(&self, dir: &D::Dir) -> Result<Vec<String>> {
        let listing = self.disk().list(dir).await.during(label)?;
        Ok(listing.entries.into_iter().map(|entry| entry.name).collect())
    }

    /// Takes a directory if nobody owns it, and clears what was left half done in it.
    async fn take_over(&self, root: &D::Dir, name: &str) -> Result<Option<Home<D>>> {
        let disk = self.disk();
        let dir = disk.open_dir(root, name).await.during(label)?;
        let file = disk.open(&dir, "lock", Mode::Create).await.during(label)?;
        let lock = match disk.lock(&file, core::time::Duration::ZERO).await {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).during(label),
        };
        let names = self.names_in(&dir).await?;
        for orphan in &names {
            let message = orphan.strip_suffix(".eml");
            let half = message.is_some_and(|id| !names.contains(&format!("{id}.json")));
            if half || orphan.ends_with(".tmp") || orphan.starts_with(STAND_IN) {
                disk.unlink(&dir, orphan).await.during(label)?;
            }
        }
        Ok(Some(Home { dir, _lock: lock }))
    }

    /// Takes over what nobody owns and is not empty. The entries in it, of which those that cannot be read stay on disk
    /// for a person to look at.
    async fn take_all(&self) -> Result<Vec<Entry>> {
        let root = self.queue_root().await?;
        let mut entries = Vec::new();
        for listed in self.disk().list(&root).await.during(label)?.entries {
            let name = listed.name;
            if !listed.is_dir || guard(&self.queue.owned).dirs.contains_key(&name) {
                continue;
            }
            let Some(home) = self.take_over(&root, &name).await? else {
                continue;
            };
            if !self.names_in(&home.dir).await?.iter().any(|name| is_entry(name)) {
                continue;
            }
            // Ours once all of it is read: after an error the next attempt begins anew.
            let found = self.load_dir(&home.dir).await?;
            let mut owned = guard(&self.queue.owned);
            for entry in &found {
                owned.entries.insert(entry.id.clone(), name.clone());
            }
            owned.dirs.insert(name, home);
            entries.extend(found);
        }
        Ok(entries)
    }

    /// All entries.
    pub(super) async fn load_queue(&self) -> Result<Vec<Entry>> {
        let _busy = self.busy().await?;
        let ours: Vec<(String, D::Dir)> = {
            let owned = guard(&self.queue.owned);
            let dirs = owned.dirs.iter();
            dirs.map(|(name, home)| (name.clone(), home.dir.clone()))
                .collect()
        };
        let mut entries = Vec::new();
        for (name, dir) in ours {
            let found = self.load_dir(&dir).await?;
            let mut owned = guard(&self.queue.owned);
            for entry in &found {
                owned.entries.insert(entry.id.clone(), name.clone());
            }
            entries.extend(found);
        }
        entries.extend(self.take_all().await?);
        Ok(entries)
    }

    /// The entries of processes that have died since.
    pub(super) async fn adopt_queues(&self) -> Result<Vec<Entry>> {
        let _busy = self.busy().await?;
        self.take_all().await
    }

    async fn load_dir(&self, dir: &D::Dir) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for name in self.names_in(dir).await? {
            if let Some(id) = name.strip_suffix(".json") {
                entries.extend(self.load_entry(dir, id).await?);
            }
        }
        Ok(entries)
    }

    /// Reads an entry; one that cannot be read stays on disk for a person to look at.
    async fn load_entry(&self, dir: &D::Dir, id: &str) -> Result<Option<Entry>> {
        let bytes = read_file(self.disk(), dir, &format!("{id}.json")).await;
        let Some(bytes) = bytes.during(label)? else {
            return Ok(None);
        };
        let entry = match serde_json::from_slice::<Entry>(&bytes) {
            Ok(entry) if entry.id == id => entry,
            Ok(entry) => {
                log::error!("queue entry {id} says that it is {}", entry.id);
                return Ok(None);
            }
            Err(error) => {
                log::error!("queue entry {id} cannot be read: {error}");
                return Ok(None);
            }
        };
        let message = self.disk().stat_at(dir, &format!("{id}.eml")).await;
        if found(message).during(label)?.is_none() {
            log::error!("queue entry {id} has no message");
            return Ok(None);
        }
        Ok(Some(entry))
    }

    /// Links a message and its entry into the queue. The directory that is returned has to be synced.
    pub(super) async fn enqueue(&self, entry: &Entry, body: &mut Body<D>) -> Result<Option<D::Dir>> {
        check_id(&entry.id)?;
        let _busy = self.busy().await?;
        let (name, home) = self.home().await?;
        let disk = self.disk();
        let bytes = entry_octets(entry)?;
        let json = disk.create_unnamed(&home).await.during(label)?;
        disk.write_at(&json, &bytes, 0).await.during(label)?;
        disk.sync(&json).await.during(label)?;
        let message = format!("{}.eml", entry.id);
        match self.place(body, &home, &message).await {
            Err(error) if needs_copy(body, &error) => {
                let mut copy = self.duplicate(&body.file, body.size, &home).await?;
                self.place(&mut copy, &home, &message).await.during(label)?;
            }
            other => other.during(label)?,
        }
        if let Err(error) = disk
            .link_unnamed(&json, &home, &format!("{}.json", entry.id))
            .await
        {
            if let Err(second) = disk.unlink(&home, &message).await {
                log::error!("queue entry {} could not be taken back: {second}", entry.id);
            }
            return Err(error).during(label);
        }
        guard(&self.queue.owned).entries.insert(entry.id.clone(), name);
        Ok(Some(home))
    }

    /// Takes back an entry that was not acknowledged.
    pub(super) async fn dequeue(&self, id: &str) {
        if let Err(error) = self.remove_entry(id).await {
            log::error!("queue entry {id} could not be taken back: {error}");
        }
    }

    fn entry_dir(&self, id: &str) -> Result<D::Dir> {
        check_id(id)?;
        let owned = guard(&self.queue.owned);
        let home = owned.entries.get(id).and_then(|name| owned.dirs.get(name));
        home.map(|home| home.dir.clone()).ok_or_else(|| Error {
            refusal: Refusal::Storage,
            context: format!("queue entry {id} is not ours"),
            source: None,
        })
    }

    pub(super) async fn save_entry(&self, entry: &Entry) -> Result<()> {
        let dir = self.entry_dir(&entry.id)?;
        let _busy = self.busy().await?;
        let name = format!("{}.json", entry.id);
        replace_file(self.disk(), &dir, &name, &entry_octets(entry)?)
            .await
            .during(label)
    }

    pub(super) async fn remove_entry(&self, id: &str) -> Result<()> {
        let dir = self.entry_dir(id)?;
        let _busy = self.busy().await?;
        for name in [format!("{id}.json"), format!("{id}.eml")] {
            found(self.disk().unlink(&dir, &name).await).during(label)?;
        }
        self.disk().sync_dir(&dir).await.during(label)?;
        let mut owned = guard(&self.queue.owned);
        if let Some(name) = owned.entries.remove(id)
            && owned.dirs.len() > 1
            && !owned.entries.values().any(|other| *other == name)
        {
            // It was adopted, and has served its time.
            owned.dirs.remove(&name);
        }
        Ok(())
    }

    pub(super) async fn open_entry(&self, id: &str) -> Result<Blob<D>> {
        let dir = self.entry_dir(id)?;
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
    serde_json::to_vec(entry).map_err(|error| Error {
        refusal: Refusal::Storage,
        context: format!("{}: {error}", label()),
        source: None,
    })
}
