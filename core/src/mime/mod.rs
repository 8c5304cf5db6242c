//! MIME messages as IMAP sees them (RFC 2045, 2046, 5322): structure by offsets into the raw octets, envelopes,
//! decoding for search, building of messages of our own.
//!
//! # Invariants
//!
//! * Raw octets are the truth: a part is a range of the stored message.
//! * Nothing recurses on input; nesting and part counts are bounded.

pub mod address;
pub mod attachment;
pub mod build;
pub mod content;
pub mod decode;
pub mod decoder;
pub mod digest;
pub mod encode;
pub mod envelope;
pub mod field_filter;
pub mod header;
mod imap_string;
pub mod locate;
pub mod parameter;
pub mod parsed;
pub mod part;
pub mod preview;
pub mod scanner;
pub mod section;
pub mod structure;
pub mod thread_id;
pub mod token;
pub mod unbinary;
