//! The receiving session: port 25, submission, LMTP.
//!
//! [`Session`] works through its input as it comes, one command at a time, and asks the service one [`Call`] at a
//! time; what arrives meanwhile waits unread. A message goes through the [`super::data::Decoder`] and the header pass
//! into a spool, as slices of what was read; 250 is said when the service has answered [`Call::Commit`].

mod auth;
mod authors;
mod body;
mod call;
mod check;
mod chunks;
mod commands;
mod facts;
mod header;
mod letter;
mod lmtp;
mod outbox;
mod printable;
mod session;
mod trace;
mod transaction;
mod wishes;

pub use call::{Call, RecipientKind, Reply, Role, Settings};
pub use check::{CheckKind, CheckPolicy, Checked, Checks, Finding, is_exempt};
pub use letter::{BadLetter, Letter, Posted, Posting, Written};
pub use session::Session;
