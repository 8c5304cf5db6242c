//! IMAP (RFC 3501, RFC 9051): tokens and commands, and the server session.

pub mod capability;
pub mod command;
pub mod list_match;
pub mod mailbox_name;
pub mod notify;
pub mod parse;
pub mod response;
pub mod sequence;
pub mod server;
pub mod url;
