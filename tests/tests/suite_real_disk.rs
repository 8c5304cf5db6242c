//! The suite for backends, on the file store over the real disk: jobs at the same time are threads, a restart is another
//! opening of the directory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_runtime::disk::RealDisk;
use rmail_store::file::{FileStore, Options};
use rmail_store::suite::{Backend, Job};
use tempfile::TempDir;

type Store = FileStore<RealDisk>;

/// Stores in directories of their own, which live as long as this does.
#[derive(Default)]
struct Real {
    /// By the address of the store.
    dirs: Mutex<HashMap<usize, TempDir>>,
}

fn open(dir: &Path, limits: Limits) -> Arc<Store> {
    let disk = Arc::new(RealDisk::open(dir).expect("open the directory"));
    Arc::new(block_on(FileStore::open(disk, limits, Options::default())).expect("open the store"))
}

impl Real {
    fn keep(&self, store: Arc<Store>, dir: TempDir) -> Arc<Store> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        dirs.insert(Arc::as_ptr(&store).addr(), dir);
        store
    }
}

impl Backend for Real {
    type Store = Store;

    fn open(&self, limits: Limits) -> Arc<Store> {
        let dir = TempDir::new().expect("a directory");
        self.keep(open(dir.path(), limits), dir)
    }

    fn restart(&self, store: Arc<Store>, limits: Limits) -> Option<Arc<Store>> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = dirs.remove(&Arc::as_ptr(&store).addr())?;
        drop(dirs);
        // Its locks, that of the queue among them, go with it.
        drop(store);
        Some(self.keep(open(dir.path(), limits), dir))
    }

    fn seeds(&self) -> u64 {
        2
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    fn together(&self, _seed: u64, jobs: Vec<Job<'_>>) {
        std::thread::scope(|scope| {
            for job in jobs {
                scope.spawn(move || block_on(job()));
            }
        });
    }
}

rmail_store::backend_suite!(Real::default());
