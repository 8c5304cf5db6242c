//! What to look for, and whether a message matches: for IMAP SEARCH and the HTTP API.

mod key;

pub use key::Key;
