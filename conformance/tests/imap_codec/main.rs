//! The crate imap-codec as a second opinion: it reads what we send, and we read what it writes. It is a dependency of
//! these tests alone. Where its grammar ends, a table says so with the reason; what is in no table is a fault of ours.

mod commands;
#[path = "../../../core/tests/mime/reader.rs"]
mod list;
mod responses;
