//! From octets to commands, incrementally at literal boundaries.

use crate::chunk::Chunk;
use crate::imap::command::{Append, Tagged};

/// What the parser found in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// More octets are needed.
    NeedBytes,
    /// A small synchronising literal is wanted: send `+`, then go on polling.
    Continue,
    /// A whole command.
    Command(Tagged),
    /// APPEND came to its message literal. The server says `accept_literal` (after sending `+` if the literal is
    /// synchronising) or `refuse_literal`, then goes on polling.
    Append(Append),
    /// Octets of the accepted message literal.
    Literal(Chunk),
    /// The accepted literal and the line after it are whole.
    AppendEnd,
    /// The command is malformed or too long; input is in step again. Answer tagged BAD (untagged without a tag).
    Bad {
        /// The tag, if there was one.
        tag: Option<String>,
        /// What is wrong, in words, with the column where that helps.
        text: String,
    },
    /// A non-synchronising literal of a size that is not swallowed: `* BYE [TOOBIG]` and close (RFC 7888 §4).
    TooBig,
}
