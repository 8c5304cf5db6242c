//! What a mailbox holds, as plain data: numbers, flags, rows, names.

mod blocks;
mod flags;
mod name;
mod numbers;
mod quota;
mod rows;
mod vanished;

pub use blocks::{Block, Gather};
pub use flags::{FlagChange, FlagOp, Flags, Keyword, Keywords, SystemFlags};
pub use name::{BadName, MailboxName, SpecialUse};
pub use numbers::{MailboxId, MailboxRef, ModSeq, Uid, UidSet, UidValidity};
pub use quota::{Quota, Usage};
pub use rows::{KeywordSet, Row, Rows, RowsBuilder, Snapshot};
pub use vanished::Vanished;
