//! What a mailbox holds, as plain data: numbers, flags, rows, names.

mod acl;
mod annotations;
mod blocks;
mod flags;
mod name;
mod numbers;
pub mod others;
mod quota;
mod rights;
mod rows;
mod vanished;

pub use acl::{Acl, Identifier, RightsChange, Who};
pub use annotations::{Annotated, AnnotationChange, Annotations, Entry};
pub use blocks::{Block, Gather};
pub use flags::{FlagChange, FlagOp, Flags, Keyword, Keywords, SystemFlags};
pub use name::{BadName, MailboxName, SpecialUse};
pub use numbers::{MailboxId, MailboxRef, ModSeq, Uid, UidSet, UidValidity};
pub use quota::{Quota, Usage};
pub use rights::Rights;
pub use rows::{KeywordSet, Row, Rows, RowsBuilder, Snapshot};
pub use vanished::Vanished;
