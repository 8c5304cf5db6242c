//! The outbound queue: entries and messages belong together, and somebody owns them.

use core::time::Duration;
use std::collections::BTreeSet;
use std::io;

use crate::disk::Disk;
use crate::file::io::{found, read_file};
use crate::file::journal::{self, Unreadable};

use super::super::lock::lock;
use super::account::confirmed;
use super::repair::{Draft, Fix};
use super::{Code, NANOS, Run, join};

/// A message whose entry a living owner has not linked after so long (nanoseconds) has none.
const LATE: i128 = 600 * NANOS;

impl<D: Disk> Run<'_, D> {
    /// All queue directories.
    pub(super) async fn queue(&mut self) {
        if let Err(error) = self.try_queue().await {
            self.settle(vec![Draft::unreadable("queue", &error)]).await;
        }
    }

    async fn try_queue(&mut self) -> io::Result<()> {
        let disk = self.store.disk();
        let Some(root) = found(disk.open_dir(disk.root(), "queue").await)? else {
            return Ok(());
        };
        let mut dirs = Vec::new();
        for entry in disk.list(&root).await?.entries {
            if entry.is_dir
                && let Some(dir) = found(disk.open_dir(&root, &entry.name).await)?
            {
                let alive = is_owned(disk, &dir).await?;
                dirs.push((entry.name, dir, alive));
            }
        }
        dirs.sort_by(|a, b| a.0.cmp(&b.0));
        let any_alive = dirs.iter().any(|(_, _, alive)| *alive);
        for (name, dir, alive) in &dirs {
            let path = join("queue", name);
            let drafts = self.queue_dir(dir, name, *alive).await?;
            let again = if drafts.is_empty() {
                Vec::new()
            } else {
                self.queue_dir(dir, name, *alive).await?
            };
            let mut drafts = confirmed(drafts, again);
            let entries = self.entries(dir).await?;
            if entries > 0 && !alive && any_alive && !is_owned(disk, dir).await? {
                let detail = format!("{entries} entries");
                drafts.push(Draft::new(Code::QueueOrphaned, path.clone(), detail, Fix::None));
            }
            self.temporary(dir, &path, &mut drafts).await;
            self.access_at(&root, name, &path, &mut drafts).await;
            self.settle(drafts).await;
        }
        Ok(())
    }

    async fn entries(&self, dir: &D::Dir) -> io::Result<usize> {
        let listing = self.disk().list(dir).await?;
        let entries = listing
            .entries
            .iter()
            .filter(|entry| entry.name.ends_with(".json"));
        Ok(entries.count())
    }

    async fn queue_dir(&self, dir: &D::Dir, number: &str, alive: bool) -> io::Result<Vec<Draft<D>>> {
        let disk = self.disk();
        let listing = disk.list(dir).await?;
        let names: BTreeSet<String> = listing.entries.into_iter().map(|entry| entry.name).collect();
        let mut drafts = Vec::new();
        let mut push = |code, name: &str, detail: String, names: Vec<String>| {
            let fix = Fix::Queue {
                dir: dir.clone(),
                number: number.to_owned(),
                names,
            };
            let path = format!("queue/{number}/{name}");
            drafts.push(Draft::new(code, path, detail, fix));
        };
        for name in &names {
            if let Some(id) = name.strip_suffix(".json") {
                let message = format!("{id}.eml");
                let Some(octets) = read_file(disk, dir, name).await? else {
                    continue;
                };
                let wrong = match journal::read(&octets) {
                    Ok(read) if read.entry.id != id => Some(format!("it says that it is {}", read.entry.id)),
                    Ok(_) => None,
                    Err(Unreadable::Corrupt(why) | Unreadable::Newer(why)) => Some(why),
                };
                if let Some(wrong) = wrong {
                    push(Code::QueueEntry, name, wrong, vec![name.clone(), message]);
                } else if !names.contains(&message) {
                    let detail = format!("{message} is missing");
                    push(Code::QueueNoMessage, name, detail, vec![name.clone()]);
                }
            } else if let Some(id) = name.strip_suffix(".json.bad") {
                let detail = "it was set aside because it is damaged".to_owned();
                push(
                    Code::QueueEntry,
                    name,
                    detail,
                    vec![name.clone(), format!("{id}.eml.bad")],
                );
            } else if let Some(id) = name.strip_suffix(".eml")
                && !names.contains(&format!("{id}.json"))
            {
                let Some(stat) = found(disk.stat_link(dir, name).await)? else {
                    continue;
                };
                let late = stat.ctime < i128::from(self.options.now.secs()) * NANOS - LATE;
                if late || !alive {
                    let detail = format!("{} octets", stat.size);
                    push(Code::QueueNoEntry, name, detail, vec![name.clone()]);
                }
            }
        }
        Ok(drafts)
    }
}

/// Whether a process that lives owns the directory.
async fn is_owned<D: Disk>(disk: &D, dir: &D::Dir) -> io::Result<bool> {
    match lock(disk, dir, "lock", Duration::ZERO).await {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        held => held.map(|_| false),
    }
}
