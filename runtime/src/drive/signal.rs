//! What others tell a session: one set of bits and one waker.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Context;

use atomic_waker::AtomicWaker;

/// Bits that any thread may set and the session's task takes.
#[derive(Debug, Default)]
pub struct Signal {
    bits: AtomicU8,
    waker: AtomicWaker,
}

impl Signal {
    /// A watch of the session heard news.
    pub const DIRTY: u8 = 1;
    /// The server is going down.
    pub const SHUTDOWN: u8 = 2;

    /// Sets bits and wakes the session, unless they were set and not taken yet.
    pub fn set(&self, bits: u8) {
        if self.bits.fetch_or(bits, Ordering::AcqRel) & bits != bits {
            self.waker.wake();
        }
    }

    /// From now on [`Signal::set`] wakes this task.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Takes all bits.
    pub(super) fn take(&self) -> u8 {
        if self.bits.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.bits.swap(0, Ordering::AcqRel)
    }
}
