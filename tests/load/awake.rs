//! Processors that are kept from sleeping while something is measured.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

/// The kernel's place for how long waking up may take (`Documentation/power/pm_qos_interface`).
const PLACE: &str = "/dev/cpu_dma_latency";

/// Nothing sleeps until this is dropped: the kernel forgets the wish when the file is closed.
pub(super) struct Awake(#[expect(dead_code, reason = "held open")] File);

/// Keeps processors awake: they wait in a loop instead of halting. A guest that halts is out of the hypervisor's sight, and
/// waking it takes longer than most of what is measured here.
pub(super) fn keep() -> Awake {
    let mut file = OpenOptions::new()
        .write(true)
        .open(PLACE)
        .unwrap_or_else(|error| panic!("--awake needs {PLACE}, which root may write to: {error}"));
    file.write_all(&0_i32.to_ne_bytes())
        .expect("it takes a number of microseconds");
    Awake(file)
}
