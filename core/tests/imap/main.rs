//! IMAP sessions against a mail store in memory.
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

mod again;
mod any_split;
mod bounds;
mod common;
mod gone;
mod known;
mod login;
mod mailboxes;
mod model;
mod notify;
mod picture;
mod selected;
