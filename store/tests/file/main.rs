//! The file store over a disk in memory: its operations, kills and power cuts, and the care of what it keeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "test code"
)]

mod arrivals;
mod calls;
mod care_backup;
mod care_fsck;
mod claims;
mod clock;
mod common;
mod crash_and_go_on;
mod crash_common;
mod crash_every_call;
mod crash_quota;
mod errors;
mod house;
mod identity;
mod interleaved;
mod list_watch;
mod listing;
mod locks;
mod migrate;
mod numbered;
mod operations;
mod parsed;
mod queue;
mod quota;
mod recent;
mod recovery;
mod snapshot;
mod start;
mod vanished;
mod watch;
