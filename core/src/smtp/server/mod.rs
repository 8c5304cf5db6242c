//! The receiving session: port 25, submission.

mod call;

pub use call::{Call, Envelope, RecipientKind, Reply, Role, Settings};
