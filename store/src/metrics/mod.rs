//! Figures about the server, for Prometheus: how often, how many, how long.
//!
//! [`Metrics`] is one array of atomic numbers; [`TABLE`] says which there are. To count is one relaxed addition without a
//! lock, so that it may be done wherever something happens: machines by their notes ([`Metrics::note`]), the service, hosts.
//! Figures that nobody counts, such as memory, are set when they are asked for.

mod notes;
mod operation;
mod render;
mod table;

pub(crate) use notes::Cache;
pub use operation::Operation;
pub use table::{Description, Family, Kind, Label, SERVICES, TABLE};

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use operation::OPERATIONS;
use table::{AGES, BUCKETS};

/// Numbers of one series of a histogram: its buckets, what is longer, and the sum in nanoseconds.
const CELLS: usize = BUCKETS.len() + 2;

/// All figures of a process.
pub struct Metrics {
    /// Where each family begins.
    starts: Vec<usize>,
    cells: Vec<AtomicU64>,
    /// Series whose labels no table can know: as many as the configuration has certificates.
    certificates: Mutex<Vec<CertificateDays>>,
}

/// How long a certificate is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDays {
    /// The first name that it has.
    pub name: String,
    /// Where it lies.
    pub file: String,
    /// Whole days until it expires; -1: it has.
    pub days: i64,
}

impl Metrics {
    /// Adds to a counter or gauge. Labels are numbered as their values are; one that is not there is counted nowhere.
    pub fn add(&self, family: Family, labels: &[usize], count: u64) {
        if let Some(cell) = self.cell(family, labels) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Takes one from a gauge.
    pub fn leave(&self, family: Family, labels: &[usize]) {
        if let Some(cell) = self.cell(family, labels) {
            cell.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sets a figure that is counted elsewhere.
    pub fn set(&self, family: Family, labels: &[usize], value: i64) {
        if let Some(cell) = self.cell(family, labels) {
            cell.store(value.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Adds to a counter by the value of its one label.
    pub fn count(&self, family: Family, value: &str) {
        self.add(family, &[place(family, 0, value)], 1);
    }

    /// Something took so long.
    pub fn observe(&self, family: Family, labels: &[usize], took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|(end, _)| *end < nanos);
        let Some(series) = self.series(family, labels) else {
            return;
        };
        if let Some(cell) = series.get(bucket) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(sum) = series.last() {
            sum.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// The queue as it is now: when its entries arrived, in seconds since 1970, and whether each is held.
    pub fn set_queue(&self, now: u64, entries: impl Iterator<Item = (u64, bool)>) {
        let mut counts = [0_i64; AGES.len()];
        let (mut held, mut oldest) = (0, 0);
        for (arrived, is_held) in entries {
            let age = now.saturating_sub(arrived);
            let bucket = AGES.partition_point(|(end, _)| *end < age);
            if let Some(count) = counts.get_mut(bucket) {
                *count += 1;
            }
            held += i64::from(is_held);
            oldest = oldest.max(age);
        }
        for (index, count) in counts.into_iter().enumerate() {
            self.set(Family::Queue, &[index], count);
        }
        self.set(Family::QueueHeld, &[], held);
        self.set(
            Family::QueueOldest,
            &[],
            i64::try_from(oldest).unwrap_or(i64::MAX),
        );
    }

    /// The certificates as they are now.
    pub fn set_certificates(&self, certificates: Vec<CertificateDays>) {
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// A counter's or gauge's value.
    #[must_use]
    pub fn value(&self, family: Family, labels: &[usize]) -> u64 {
        self.cell(family, labels)
            .map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn cell(&self, family: Family, labels: &[usize]) -> Option<&AtomicU64> {
        self.series(family, labels)?.first()
    }

    /// The numbers of one series.
    fn series(&self, family: Family, labels: &[usize]) -> Option<&[AtomicU64]> {
        let description = TABLE.get(family as usize)?;
        let mut index = 0;
        for (label, value) in description.labels.iter().zip(labels) {
            if *value >= label.values.len() {
                return None;
            }
            index = index * label.values.len() + value;
        }
        let width = description.width();
        let start = self.starts.get(family as usize)? + index * width;
        self.cells.get(start..start + width)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut starts = Vec::with_capacity(TABLE.len());
        let mut end = 0;
        for description in TABLE {
            starts.push(end);
            end += description.series() * description.width();
        }
        let metrics = Self {
            starts,
            cells: (0..end).map(|_| AtomicU64::new(0)).collect(),
            certificates: Mutex::default(),
        };
        metrics.set(Family::BuildInfo, &[0], 1);
        metrics
    }
}

impl Description {
    /// How many series there are.
    fn series(&self) -> usize {
        self.labels.iter().map(|label| label.values.len()).product()
    }

    /// Numbers of one series.
    fn width(&self) -> usize {
        match self.kind {
            Kind::Histogram => CELLS,
            Kind::Counter(_) | Kind::Gauge => 1,
        }
    }
}

/// The number of a label's value; of one that is not known that of the last, which is `other` wherever that can be.
fn place(family: Family, label: usize, value: &str) -> usize {
    let description = TABLE.get(family as usize);
    let values = description.and_then(|description| description.labels.get(label));
    let values = values.map_or(&[][..], |label| label.values);
    let found = values.iter().position(|known| known.eq_ignore_ascii_case(value));
    found.unwrap_or(values.len().saturating_sub(1))
}

impl core::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Metrics({} figures)", self.cells.len())
    }
}

#[cfg(test)]
mod tests;
