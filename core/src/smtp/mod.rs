//! SMTP (RFC 5321): the receiving session and, for the relay, the sending one.

pub mod bdat;
pub mod client;
pub mod command;
pub mod data;
pub mod envelope;
mod parameters;
pub mod reply;
pub mod server;
pub mod xtext;
