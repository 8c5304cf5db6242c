//! The suite for backends, on the file store over a disk in memory. A restart is a kill or a power cut.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::random::Random;
use rmail_store::file::{FileStore, Options};
use rmail_store::mem::{MemDisk, Model, Outcome};
use rmail_store::suite::{Backend, Job, interleaved};

type Store = FileStore<MemDisk>;

/// A way to run the store.
#[derive(Clone, Copy)]
struct Files {
    /// Directories are listed by one call.
    exact: bool,
    /// Several hosts share the disk, and flags are synced at once.
    shared: bool,
    /// A restart is a power cut, after which nothing is there that was not synced.
    cut: bool,
    seeds: u64,
}

const PLAIN: Files = Files {
    exact: true,
    shared: false,
    cut: false,
    seeds: 12,
};

impl Files {
    fn open_on(self, disk: MemDisk, limits: Limits) -> Arc<Store> {
        let mut options = Options::default();
        if self.shared {
            options.flag_sync_ms = 0;
            options.shared_by_hosts = true;
        }
        let opened = FileStore::open(Arc::new(disk), limits, options);
        Arc::new(block_on(opened).expect("open the store"))
    }
}

impl Backend for Files {
    type Store = Store;

    fn open(&self, limits: Limits) -> Arc<Store> {
        let disk = MemDisk::new();
        disk.set_clock(Duration::from_secs(1_700_000_000));
        disk.set_exact(self.exact);
        self.open_on(disk, limits)
    }

    fn restart(&self, store: Arc<Store>, limits: Limits) -> Option<Arc<Store>> {
        if self.cut {
            let mut random = Random::from_seed([1; 32]);
            store
                .disk()
                .power_cut(Model::Adversary, Outcome::Lost, &mut random);
        } else {
            store.disk().kill();
        }
        Some(self.open_on(store.disk().process(), limits))
    }

    fn seeds(&self) -> u64 {
        // For long runs.
        let wanted = std::env::var("RMAIL_SUITE_SEEDS").ok();
        wanted.and_then(|seeds| seeds.parse().ok()).unwrap_or(self.seeds)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    fn together(&self, seed: u64, jobs: Vec<Job<'_>>) {
        interleaved(seed, jobs);
    }
}

rmail_store::backend_suite!(PLAIN);

/// Where the power fails, on a disk that several hosts share.
mod shared_by_hosts {
    use super::*;

    const SHARED: Files = Files {
        shared: true,
        cut: true,
        seeds: 4,
        ..PLAIN
    };

    rmail_store::backend_suite!(SHARED);
}

/// Where listings of directories take several calls, and miss what is renamed meanwhile.
mod inexact {
    use super::*;

    const INEXACT: Files = Files {
        exact: false,
        cut: true,
        seeds: 6,
        ..PLAIN
    };

    rmail_store::backend_suite!(INEXACT);
}
