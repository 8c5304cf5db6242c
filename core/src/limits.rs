//! Bounds that belong to no single protocol. Each has its reason; what operators may change is in `config`.

use core::time::Duration;

/// Sizes of the store's structures: small in simulations, so that edges are common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one shard directory. 1,000 names fit one 512 KiB listing.
    pub shard_size: u32,
    /// UIDs promised by one write of `status.json`.
    pub uid_block: u32,
    /// MODSEQs promised by one write of `status.json`.
    pub modseq_block: u64,
    /// Records of the expunge log before its older half is dropped.
    pub expunge_log: usize,
    /// Names changed under one hold of the naming lock, so that a waiter is not starved.
    pub names_per_hold: usize,
    /// Body octets kept in memory before a spool becomes a file.
    pub spool_memory: usize,
    /// Body octets that all spools together keep in memory; beyond it spools become files at once.
    pub spool_budget: usize,
    /// Keywords of one mailbox: the bitmap in the file name has this many bits.
    pub keywords: usize,
    /// How long an operation waits for a naming lock before it is refused as busy.
    pub lock_wait: Duration,
    /// Messages whose parts one `Bodies` call may ask for.
    pub bodies_per_call: usize,
    /// Part octets that one `Bodies` call returns in memory; the rest is opened and streamed.
    pub bodies_in_memory: usize,
    /// A part of more octets than this is opened and streamed.
    pub small_body: usize,
    /// UIDs handed out at most: beyond it the mailbox is full (UIDs are 32 bits).
    pub last_uid: u32,
    /// Directories synced one by one before one `syncfs` is cheaper.
    pub dirs_before_syncfs: usize,
    /// What writing a snapshot file costs besides its rows, counted in rows.
    pub snapshot_base: u64,
    /// A snapshot file is not written again sooner.
    pub snapshot_rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shard_size: 1_000,
            uid_block: 1_000,
            modseq_block: 1 << 20,
            expunge_log: 65_536,
            names_per_hold: 64,
            spool_memory: 128 * 1024,
            spool_budget: 64 * 1024 * 1024,
            keywords: 256,
            lock_wait: Duration::from_secs(5),
            bodies_per_call: 256,
            bodies_in_memory: 256 * 1024,
            small_body: 64 * 1024,
            last_uid: u32::MAX - 1,
            dirs_before_syncfs: 8,
            snapshot_base: 5_000,
            snapshot_rest: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Small worlds for simulation: every edge is a few steps away.
    #[must_use]
    pub fn small() -> Self {
        Self {
            shard_size: 4,
            uid_block: 4,
            modseq_block: 4,
            expunge_log: 8,
            names_per_hold: 2,
            snapshot_base: 0,
            snapshot_rest: Duration::ZERO,
            ..Self::default()
        }
    }
}
