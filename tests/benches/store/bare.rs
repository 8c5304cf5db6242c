//! The system calls that an operation cannot do without, in a bare loop.

use std::path::Path;
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_runtime::disk::{Dir, File, RealDisk};
use rmail_store::disk::{Disk as _, Mode};

use crate::place::message;

const WAIT: Duration = Duration::from_secs(5);

/// A directory to do it in.
pub struct Bare {
    disk: RealDisk,
    dir: Dir,
    state: File,
    next: u64,
}

impl Bare {
    pub fn new(root: &Path, name: &str) -> Self {
        let disk = RealDisk::open(root).expect("a directory");
        block_on(async {
            drop(disk.make_dir(disk.root(), name).await);
            let dir = disk.open_dir(disk.root(), name).await.expect("a directory");
            let state = disk.open(&dir, "state", Mode::Create).await.expect("a file");
            disk.write_at(&state, &[0; 64], 0).await.expect("written");
            Self {
                disk,
                dir,
                state,
                next: 0,
            }
        })
    }

    /// A name as long as those of messages.
    fn name(number: u64, modseq: u64) -> String {
        format!("{number:010}.1700000000+0000.1024.1700000000.{modseq}.-.0.eml")
    }

    /// A durable delivery: an unnamed file, written and synced, gets a name under a lock, the directory is synced.
    pub fn deliver(&mut self, tag: u64) {
        let name = Self::name(tag * 1_000_000_000 + self.next, 1);
        self.next += 1;
        let octets = message();
        block_on(async {
            let file = self.disk.create_unnamed(&self.dir).await.expect("a file");
            self.disk.write_at(&file, &octets, 0).await.expect("written");
            self.disk.sync(&file).await.expect("synced");
            self.disk
                .link_unnamed(&file, &self.dir, &name)
                .await
                .expect("linked");
            self.disk.sync_dir(&self.dir).await.expect("synced");
        });
    }

    /// One file that gets so many names in as many directories, with one syncfs.
    pub fn deliver_to(&mut self, dirs: &[Self]) {
        let name = Self::name(self.next, 1);
        self.next += 1;
        let octets = message();
        block_on(async {
            let file = self.disk.create_unnamed(&self.dir).await.expect("a file");
            self.disk.write_at(&file, &octets, 0).await.expect("written");
            self.disk.sync(&file).await.expect("synced");
            self.disk
                .link_unnamed(&file, &self.dir, &name)
                .await
                .expect("linked");
            for other in dirs {
                let linked = self.disk.link(&self.dir, &name, &other.dir, &name).await;
                linked.expect("linked");
            }
            self.disk.sync_fs(&self.dir).await.expect("synced");
        });
    }

    /// Makes files to rename and remove; not timed.
    pub fn fill(&mut self, count: u64) {
        block_on(async {
            for number in 0..count {
                let name = Self::name(number, 1);
                let file = self.disk.open(&self.dir, &name, Mode::CreateNew).await;
                drop(file.expect("a file"));
            }
            self.disk.sync_fs(&self.dir).await.expect("synced");
        });
        self.next = count;
    }

    /// A flag change: a rename under a lock, between two writes of a small file.
    pub fn rename(&self, number: u64, from: u64, to: u64, sync: bool) {
        block_on(async {
            let lock = self.disk.lock(&self.state, WAIT).await.expect("locked");
            self.disk
                .write_at(&self.state, &[1; 64], 0)
                .await
                .expect("written");
            let (old, new) = (Self::name(number, from), Self::name(number, to));
            let renamed = self.disk.rename(&self.dir, &old, &self.dir, &new).await;
            renamed.expect("renamed");
            self.disk
                .write_at(&self.state, &[2; 64], 0)
                .await
                .expect("written");
            drop(lock);
            if sync {
                self.disk.sync_dir(&self.dir).await.expect("synced");
            }
        });
    }

    /// Links of all files in another directory, and a sync of it.
    pub fn link_all(&self, target: &Self) {
        block_on(async {
            for number in 0..self.next {
                let name = Self::name(number, 1);
                let linked = self.disk.link(&self.dir, &name, &target.dir, &name).await;
                linked.expect("linked");
            }
            self.disk.sync_dir(&target.dir).await.expect("synced");
        });
    }

    /// Removes all files, and syncs.
    pub fn unlink_all(&self) {
        block_on(async {
            for number in 0..self.next {
                let name = Self::name(number, 1);
                self.disk.unlink(&self.dir, &name).await.expect("removed");
            }
            self.disk.sync_dir(&self.dir).await.expect("synced");
        });
    }
}
