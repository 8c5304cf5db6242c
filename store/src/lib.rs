//! What the files of a rmail mail store mean, over an abstract [`disk::Disk`], and the [`service`] that answers what
//! the protocol machines ask.
//!
//! # Architecture invariants
//!
//! * The tree is the truth: names, not file contents, change, and a stored file is never modified in place.
//! * Every creation, rename and removal of a message name happens under the mailbox's naming lock.
//! * An answer of success means synced: bytes and every directory entry.
//! * Caches may be deleted at any time.
//! * This crate makes no system call: only `runtime` (and, for tests, [`mem`]) implements [`disk::Disk`].
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod accounts;
pub mod board;
pub mod care;
pub mod disk;
pub mod error;
pub mod escape;
pub mod file;
pub mod history;
pub mod hub;
pub mod mailstore;
pub mod mem;
pub mod memory;
pub mod metrics;
pub mod orders;
pub mod queue_view;
mod recent_map;
mod replace;
pub mod service;
pub mod suite;
mod terms;
pub mod transfer;

pub use error::Error;
pub use mailstore::{MailStore, Numbering};
pub use memory::MemoryStore;
