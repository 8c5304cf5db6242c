//! The suite for backends, on the store in memory.

use std::sync::Arc;

use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_store::MemoryStore;
use rmail_store::suite::{Backend, Job, interleaved};

struct Memory;

impl Backend for Memory {
    type Store = MemoryStore;

    fn open(&self, limits: Limits) -> Arc<MemoryStore> {
        Arc::new(MemoryStore::new(limits))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    fn together(&self, seed: u64, jobs: Vec<Job<'_>>) {
        interleaved(seed, jobs);
    }
}

rmail_store::backend_suite!(Memory);
