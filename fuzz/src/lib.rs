//! The bodies of the fuzz targets: plain functions that panic when something does not hold.

#[path = "bodies.rs"]
mod bodies;
#[path = "../../core/tests/smtp/host.rs"]
mod host;

pub use bodies::{TARGETS, Target, data, line, path, sasl, session, xtext};
