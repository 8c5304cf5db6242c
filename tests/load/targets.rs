//! What rmail has set itself, and what bounds it: the rows of the table in README.md.

use crate::limits::{DURABLE, DURABLE_ALONE, DURABLE_CPU, READ, READ_ALL, ROUND_TRIP, STREAMED};

/// One row.
#[derive(Debug)]
pub(crate) struct Target {
    /// Name of the figure.
    pub(crate) figure: &'static str,
    pub(crate) value: f64,
    /// Whether less is better (a time), or more (a rate).
    pub(crate) less: bool,
    /// Figure of the machine that no server can be better than.
    pub(crate) limit: Option<&'static str>,
}

const fn at_most(figure: &'static str, value: f64, limit: Option<&'static str>) -> Target {
    Target {
        figure,
        value,
        less: true,
        limit,
    }
}

const fn at_least(figure: &'static str, value: f64, limit: Option<&'static str>) -> Target {
    Target {
        figure,
        value,
        less: false,
        limit,
    }
}

/// All, in the order of the table. A figure that is not here has no target.
pub(crate) const TARGETS: &[Target] = &[
    at_most("SELECT warm of 100000 p50", 0.15, Some(ROUND_TRIP)),
    at_least("FETCH 1:* (UID FLAGS)", 5e6, None),
    at_least("FETCH 1:* ENVELOPE", 500_000.0, None),
    at_most("STORE of one p50", 0.05, Some(ROUND_TRIP)),
    at_most("NOOP p50", f64::INFINITY, Some(ROUND_TRIP)),
    at_most("SORT (SUBJECT) UTF-8 ALL p50", 200.0, None),
    at_most("SORT (REVERSE DATE) UTF-8 ALL p50", 200.0, None),
    at_most("THREAD REFERENCES UTF-8 ALL p50", 200.0, None),
    at_most("SEARCH SUBJECT p50", 5.0, None),
    at_most("SEARCH BODY p50", 100.0, Some(READ_ALL)),
    at_least("BODY.PEEK[] of 4 KiB", 500.0, Some(READ)),
    at_least("BODY.PEEK[] of 1 MiB", 1000.0, Some(STREAMED)),
    at_most("APPEND of 1 KiB p50", f64::INFINITY, Some(DURABLE_ALONE)),
    at_most("COPY of 1000 p50", f64::INFINITY, None),
    at_least("1 KiB: delivered", 3000.0, Some(DURABLE)),
    at_most("1 KiB: final dot to 250 p99", 50.0, None),
    at_most("1 KiB: CPU of the server a message", 0.35, Some(DURABLE_CPU)),
    at_least("1 MiB: delivered (MB/s)", 250.0, Some(STREAMED)),
    at_most("final dot to EXISTS p50", 1.5, Some(DURABLE_ALONE)),
];

/// The row of a figure.
pub(crate) fn of(figure: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.figure == figure)
}

/// Whether less of a figure is better: what its unit says.
pub(crate) fn less_is_better(unit: &str) -> bool {
    !unit.ends_with("/s")
}
