//! The suite for backends, on the file store over a disk in memory: restarts are kills, and power cuts.
#![allow(clippy::expect_used, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::random::Random;
use rmail_store::file::{FileStore, Options};
use rmail_store::mem::{MemDisk, Model, Outcome};
use rmail_store::suite::{Backend, Job, interleaved};

type Store = FileStore<MemDisk>;

fn open(disk: MemDisk, limits: Limits) -> Arc<Store> {
    let opened = FileStore::open(Arc::new(disk), limits, Options::default());
    Arc::new(block_on(opened).expect("open the store"))
}

fn new_disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.set_clock(Duration::from_secs(1_700_000_000));
    disk
}

/// A process that is killed.
struct Killed;

impl Backend for Killed {
    type Store = Store;

    fn open(&self, limits: Limits) -> Arc<Store> {
        open(new_disk(), limits)
    }

    fn restart(&self, store: Arc<Store>, limits: Limits) -> Option<Arc<Store>> {
        store.disk().kill();
        Some(open(store.disk().process(), limits))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    fn seeds(&self) -> u64 {
        // For long runs.
        let wanted = std::env::var("RMAIL_SUITE_SEEDS").ok();
        wanted.and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
    }

    fn together(&self, seed: u64, jobs: Vec<Job<'_>>) {
        interleaved(seed, jobs);
    }
}

rmail_store::backend_suite!(Killed);

/// A machine whose power fails, and of what was not synced everything is lost.
mod power {
    use super::*;

    pub(super) struct Cut;

    impl Backend for Cut {
        type Store = Store;

        fn open(&self, limits: Limits) -> Arc<Store> {
            super::open(new_disk(), limits)
        }

        fn restart(&self, store: Arc<Store>, limits: Limits) -> Option<Arc<Store>> {
            let mut random = Random::from_seed([1; 32]);
            let disk = store.disk();
            disk.power_cut(Model::Adversary, Outcome::Lost, &mut random);
            Some(super::open(disk.process(), limits))
        }

        fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
            block_on(future)
        }

        fn together(&self, seed: u64, jobs: Vec<Job<'_>>) {
            interleaved(seed, jobs);
        }
    }

    mod restarting {
        use rmail_store::suite::restarting;

        use super::Cut;

        #[test]
        fn what_was_answered_survives_a_power_cut() {
            restarting::what_was_answered_survives_a_kill(&Cut);
        }

        #[test]
        fn numbers_go_on_after_a_power_cut() {
            restarting::numbers_go_on_after_a_kill(&Cut);
        }

        #[test]
        fn the_queue_survives_a_power_cut() {
            restarting::the_queue_survives_a_kill(&Cut);
        }
    }
}
