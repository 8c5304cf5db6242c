//! What to look for, whether a message matches, and in what order or threads messages stand: for IMAP SEARCH, SORT and
//! THREAD, and the HTTP API.
//!
//! # Invariants
//!
//! * A program is compiled once per search and evaluated without recursion.
//! * Looking for text takes time linear in the message, however long the text is.

mod fold;
mod gist;
mod key;
mod matcher;
mod msgid;
mod program;
mod sort;
mod subject;
mod thread;
mod value;

pub use gist::{GIST_FIELDS, Gist, Gists};
pub use key::Key;
pub use program::Program;
pub use sort::{Criterion, Message, SortKey, needs_gists, sort};
pub use subject::{BaseSubject, base_subject};
pub use thread::{Algorithm, ThreadNode, thread};

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
