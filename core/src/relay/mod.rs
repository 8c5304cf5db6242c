//! Outbound mail: queue machine, schedule, routes, bounces.

pub mod entry;
