//! The outbound queues of all processes, as they stand on disk, for whoever only looks.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::disk::{Disk, Mode};
use crate::error::Result;
use crate::terms::{OutboundHome, Owner, ReadEntry};

use super::FileStore;
use super::io::{During as _, found, read_file};
use super::journal::{self, Unreadable};
use super::queue::BAD;

fn label() -> String {
    "look at the outbound queue".to_owned()
}

impl<D: Disk> FileStore<D> {
    pub(super) async fn queue_homes(&self) -> Result<Vec<OutboundHome>> {
        let disk = self.disk();
        let Some(root) = found(disk.open_dir(disk.root(), "queue").await).during(label)? else {
            return Ok(Vec::new());
        };
        let mut homes = Vec::new();
        for listed in disk.list(&root).await.during(label)?.entries {
            if !listed.is_dir {
                continue;
            }
            let Some(dir) = found(disk.open_dir(&root, &listed.name).await).during(label)? else {
                continue;
            };
            let (mut ids, mut damaged) = (BTreeSet::new(), BTreeSet::new());
            for entry in disk.list(&dir).await.during(label)?.entries {
                let name = entry.name.as_str();
                if let Some(id) = name.strip_suffix(".json") {
                    ids.insert(id.to_owned());
                } else if let Some(id) = name.strip_suffix(BAD).and_then(|name| name.strip_suffix(".json")) {
                    damaged.insert(id.to_owned());
                }
            }
            let owner = match self.owns_queue(&listed.name) {
                true => Owner::Us,
                false if self.is_locked(&dir).await? => Owner::Another,
                false => Owner::Nobody,
            };
            homes.push(OutboundHome {
                name: listed.name,
                owner,
                ids: ids.into_iter().collect(),
                damaged: damaged.into_iter().collect(),
            });
        }
        homes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(homes)
    }

    /// Whether a process that lives holds the lock of a queue directory.
    async fn is_locked(&self, dir: &D::Dir) -> Result<bool> {
        let disk = self.disk();
        let Some(file) = found(disk.open(dir, "lock", Mode::Write).await).during(label)? else {
            return Ok(false);
        };
        match disk.lock(&file, Duration::ZERO).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error).during(label),
        }
    }

    pub(super) async fn read_entries(&self, home: &str, ids: &[String]) -> Result<Vec<ReadEntry>> {
        let disk = self.disk();
        let Some(root) = found(disk.open_dir(disk.root(), "queue").await).during(label)? else {
            return Ok(Vec::new());
        };
        let Some(dir) = found(disk.open_dir(&root, home).await).during(label)? else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(octets) = read_file(disk, &dir, &format!("{id}.json")).await.during(label)? else {
                continue;
            };
            let entry = match journal::read(&octets) {
                Ok(read) if read.entry.id == *id => Ok(read.entry),
                Ok(read) => Err(format!("it says that it is {}", read.entry.id)),
                Err(Unreadable::Newer(why)) => Err(format!("a newer version has written it: {why}")),
                Err(Unreadable::Corrupt(why)) => Err(why),
            };
            entries.push(ReadEntry {
                id: id.clone(),
                entry,
            });
        }
        Ok(entries)
    }
}
