//! The MIME scanner: cases, lists and properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "test code"
)]

mod cases;
mod grammar;
mod list;
mod parsed;
mod properties;
mod reader;
