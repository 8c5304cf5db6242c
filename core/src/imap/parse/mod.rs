//! From octets to commands, incrementally at literal boundaries.
//!
//! Framing is apart from parsing. [`Parser`] takes lines and literals off the inbox; what stands in them is read by one
//! file per group of commands. When a line ends in a literal's head, the command so far is read first: a command that is
//! wrong already is refused before its literal is asked for, and APPEND hands its messages on instead of gathering them.

mod acl;
mod append;
mod auth;
mod discard;
mod fetch;
mod filter;
mod frame;
mod list;
mod literal;
mod mailbox;
mod metadata;
mod notify;
mod search;
mod search_key;
mod select;
mod simple;
mod store;
mod token;

use crate::chunk::Chunk;
use crate::imap::command::{Append, Command, Literal, Message, Tagged};
use crate::mime::section::Spec;
use append::Appending;

pub use filter::{Unfilled, check as check_filter, fill, is_name as is_filter_name};
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
    /// APPEND or REPLACE has come as far as its first message. What it says further comes as the events below, up to
    /// [`Event::AppendEnd`]; an [`Event::Bad`] among them ends it. The server may say `refuse_append` after any of them.
    Append(Append),
    /// A message of APPEND begins.
    Message(Message),
    /// Part of the message: what this URL names (RFC 4469).
    Url(Vec<u8>),
    /// The message, or part of it, is a literal. The server says `accept_literal` (after sending `+` if the literal is
    /// synchronising) or `refuse_append`, then goes on polling.
    Offer(Literal),
    /// Octets of the accepted message literal.
    Literal(Chunk),
    /// APPEND is whole.
    AppendEnd,
    /// The command is malformed or too long; input is in step again. Answer tagged BAD (untagged without a tag).
    Bad {
        /// The tag, if there was one.
        tag: Option<String>,
        /// What is wrong, in words, with the column where that helps.
        text: String,
    },
    /// A value that SETMETADATA cannot have for its size: answer NO with METADATA MAXSIZE (RFC 5464 §4.3); input is in step
    /// again.
    ValueTooLong {
        /// The tag.
        tag: String,
    },
    /// A non-synchronising literal of a size that is not swallowed: `* BYE [TOOBIG]` and close (RFC 7888 §4).
    TooBig,
}

/// What a client has enabled of UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8 {
    /// Mailbox names are UTF-8 in which `&` stands for itself, and quoted strings must be UTF-8 (RFC 6855 §3, RFC 9051
    /// §5.1).
    pub names: bool,
    /// All of its strings are: SEARCH names no charset any more (RFC 6855 §3).
    pub accept: bool,
}

/// A `section-spec` that stands by itself, as in a URL.
pub(super) fn section(octets: &[u8]) -> Option<Spec> {
    let mut c = Cursor::new(octets, false);
    let spec = fetch::section_spec(&mut c).ok()?;
    c.is_done().then_some(spec)
}

/// What the octets of a command, as far as they have come, are.
enum Parsed {
    /// All of it.
    Command(Tagged),
    /// APPEND up to its first message literal.
    Append(Append, Box<Appending>),
    /// APPEND from one message literal to the next.
    Further(Box<Appending>),
}

/// Reads a command: `octets` are its lines and literals, and end with a line. A last line that ends in a literal's head
/// gives [`Parsed::Append`], or [`token::Stop::Literal`] where a literal may stand.
fn parse(octets: &[u8], authenticated: bool, utf8: Utf8) -> Parse<Parsed> {
    let mut c = Cursor::new(octets, authenticated).with_utf8(utf8);
    let tag = c.tag()?;
    c.space("a space and a command name after the tag")?;
    let name = c.command_name()?;
    let command = match &*name {
        "APPEND" => return append::append(&mut c, tag),
        "UID" => {
            c.space(
                "a space and COPY, EXPUNGE, FETCH, MOVE, REPLACE, SEARCH, SORT, STORE or THREAD after UID",
            )?;
            match &*c.command_name()? {
                "COPY" => mailbox::copy(&mut c, true)?,
                "EXPUNGE" => simple::uid_expunge(&mut c)?,
                "FETCH" => fetch::fetch(&mut c, true)?,
                "MOVE" => mailbox::r#move(&mut c, true)?,
                "REPLACE" => return append::replace(&mut c, tag, true),
                "SEARCH" => search::search(&mut c, true)?,
                "SORT" => search::sort(&mut c, true)?,
                "STORE" => store::store(&mut c, true)?,
                "THREAD" => search::thread(&mut c, true)?,
                other => return Err(c.unknown("UID command", other)),
            }
        }
        "AUTHENTICATE" => auth::authenticate(&mut c)?,
        "COMPRESS" => auth::compress(&mut c)?,
        "CANCELUPDATE" => search::cancel_update(&mut c)?,
        "COPY" => mailbox::copy(&mut c, false)?,
        "CREATE" => mailbox::create(&mut c)?,
        "DELETEACL" => acl::delete(&mut c)?,
        "DELETE" => mailbox::delete(&mut c)?,
        "ENABLE" => auth::enable(&mut c)?,
        "EXAMINE" => select::select(&mut c, |mailbox, params| Command::Examine { mailbox, params })?,
        "ESEARCH" => search::esearch(&mut c)?,
        "FETCH" => fetch::fetch(&mut c, false)?,
        "GETACL" => mailbox::one(&mut c, |mailbox| Command::GetAcl { mailbox })?,
        "GETMETADATA" => metadata::get(&mut c)?,
        "GETQUOTA" => acl::get_quota(&mut c)?,
        "GETQUOTAROOT" => mailbox::one(&mut c, |mailbox| Command::GetQuotaRoot { mailbox })?,
        "ID" => auth::id(&mut c)?,
        "LIST" => list::list(&mut c)?,
        "LISTRIGHTS" => acl::list_rights(&mut c)?,
        "LOGIN" => auth::login(&mut c)?,
        "LSUB" => list::lsub(&mut c)?,
        "MOVE" => mailbox::r#move(&mut c, false)?,
        "MYRIGHTS" => mailbox::one(&mut c, |mailbox| Command::MyRights { mailbox })?,
        "NOTIFY" => notify::notify(&mut c)?,
        "RENAME" => mailbox::rename(&mut c)?,
        "REPLACE" => return append::replace(&mut c, tag, false),
        "SEARCH" => search::search(&mut c, false)?,
        "SELECT" => select::select(&mut c, |mailbox, params| Command::Select { mailbox, params })?,
        "SETACL" => acl::set(&mut c)?,
        "SETMETADATA" => metadata::set(&mut c)?,
        "SETQUOTA" => acl::set_quota(&mut c)?,
        "SORT" => search::sort(&mut c, false)?,
        "STATUS" => mailbox::status(&mut c)?,
        "STORE" => store::store(&mut c, false)?,
        "SUBSCRIBE" => mailbox::one(&mut c, |mailbox| Command::Subscribe { mailbox })?,
        "THREAD" => search::thread(&mut c, false)?,
        "UIDBATCHES" => simple::uid_batches(&mut c)?,
        "UNSUBSCRIBE" => mailbox::one(&mut c, |mailbox| Command::Unsubscribe { mailbox })?,
        other => simple::simple(&c, other)?,
    };
    c.end()?;
    Ok(Parsed::Command(Tagged { tag, command }))
}
