//! The IMAP server session.

mod call;

pub use call::{
    Appended, Body, Call, CopyUid, MailboxEntry, MailboxStatus, NewMessage, Reply, Selected, Settings, Stored,
};
