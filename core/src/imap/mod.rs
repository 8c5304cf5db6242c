//! IMAP (RFC 3501, RFC 9051): tokens and commands, and the server session.

pub mod command;
pub mod parse;
pub mod sequence;
pub mod server;
