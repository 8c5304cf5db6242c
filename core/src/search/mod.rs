//! What to look for, and whether a message matches: for IMAP SEARCH and the HTTP API.
//!
//! # Invariants
//!
//! * A program is compiled once per search and evaluated without recursion.
//! * Looking for text takes time linear in the message, however long the text is.

mod fold;
mod key;
mod matcher;
mod program;

pub use key::Key;
pub use program::Program;

use crate::mailbox::{Keywords, Row};

/// Whether a message matches as far as its row tells; `None`: its content is needed. For many messages compile a
/// [`Program`] once.
#[must_use]
pub fn eval_row(key: &Key, row: &Row, keywords: &Keywords) -> Option<bool> {
    Program::new(key).eval_row(row, keywords)
}

/// Whether a message matches; `message` is all of it. For many messages compile a [`Program`] once.
#[must_use]
pub fn matches(key: &Key, row: &Row, keywords: &Keywords, message: &[u8]) -> bool {
    Program::new(key).matches(row, keywords, || message)
}
