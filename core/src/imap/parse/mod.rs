//! From octets to commands, incrementally at literal boundaries.
//!
//! Framing is apart from parsing. [`Parser`] takes lines and literals off the inbox; what stands in them is read by one
//! file per group of commands. When a line ends in a literal's head, the command so far is read first: a command that is
//! wrong already is refused before its literal is asked for, and APPEND hands its message on instead of gathering it.

mod append;
mod auth;
mod fetch;
mod frame;
mod list;
mod literal;
mod mailbox;
mod notify;
mod search;
mod select;
mod simple;
mod store;
mod token;

use crate::chunk::Chunk;
use crate::imap::command::{Append, Command, Tagged};

pub use frame::Parser;
use token::{Cursor, Parse};

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

/// What the octets of a command, as far as they have come, are.
enum Parsed {
    /// All of it.
    Command(Tagged),
    /// APPEND up to its message.
    Append(Append),
}

/// Reads a command: `octets` are its lines and literals, and end with a line. A last line that ends in a literal's head
/// gives [`Parsed::Append`], or [`token::Stop::Literal`] where a literal may stand. `utf8`: mailbox names come in UTF-8.
fn parse(octets: &[u8], authenticated: bool, utf8: bool) -> Parse<Parsed> {
    let mut c = Cursor::new(octets, authenticated).with_utf8(utf8);
    let tag = c.tag()?;
    c.space("a space and a command name after the tag")?;
    let name = c.command_name()?;
    let command = match &*name {
        "APPEND" => return append::append(&mut c, tag).map(Parsed::Append),
        "UID" => {
            c.space("a space and COPY, EXPUNGE, FETCH, MOVE, SEARCH or STORE after UID")?;
            match &*c.command_name()? {
                "COPY" => mailbox::copy(&mut c, true)?,
                "EXPUNGE" => simple::uid_expunge(&mut c)?,
                "FETCH" => fetch::fetch(&mut c, true)?,
                "MOVE" => mailbox::r#move(&mut c, true)?,
                "SEARCH" => search::search(&mut c, true)?,
                "STORE" => store::store(&mut c, true)?,
                other => return Err(c.unknown("UID command", other)),
            }
        }
        "AUTHENTICATE" => auth::authenticate(&mut c)?,
        "COPY" => mailbox::copy(&mut c, false)?,
        "CREATE" => mailbox::create(&mut c)?,
        "DELETE" => mailbox::one(&mut c, |mailbox| Command::Delete { mailbox })?,
        "ENABLE" => auth::enable(&mut c)?,
        "EXAMINE" => select::select(&mut c, |mailbox, params| Command::Examine { mailbox, params })?,
        "FETCH" => fetch::fetch(&mut c, false)?,
        "ID" => auth::id(&mut c)?,
        "LIST" => list::list(&mut c)?,
        "LOGIN" => auth::login(&mut c)?,
        "LSUB" => list::lsub(&mut c)?,
        "MOVE" => mailbox::r#move(&mut c, false)?,
        "NOTIFY" => notify::notify(&mut c)?,
        "RENAME" => mailbox::rename(&mut c)?,
        "SEARCH" => search::search(&mut c, false)?,
        "SELECT" => select::select(&mut c, |mailbox, params| Command::Select { mailbox, params })?,
        "STATUS" => mailbox::status(&mut c)?,
        "STORE" => store::store(&mut c, false)?,
        "SUBSCRIBE" => mailbox::one(&mut c, |mailbox| Command::Subscribe { mailbox })?,
        "UNSUBSCRIBE" => mailbox::one(&mut c, |mailbox| Command::Unsubscribe { mailbox })?,
        other => simple::simple(&c, other)?,
    };
    c.end()?;
    Ok(Parsed::Command(Tagged { tag, command }))
}
