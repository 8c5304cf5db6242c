//! Folders and messages.
//!
//! | file | what |
//! |---|---|
//! | `id.rs` | names of folders and messages |
//! | `folders.rs` | `/folders` |
//! | `list.rs`, `query.rs`, `summary.rs` | `GET /folders/{id}/messages`: pages, `q=`, what is told of each message |
//! | `read.rs`, `content.rs`, `download.rs` | one message: parsed, raw, its parts |
//! | `change.rs`, `bulk.rs` | flags, moves, copies, deletions, of one message and of many |
//! | `append.rs` | a message that is put into a folder |
//! | `events.rs`, `point.rs`, `listener.rs` | `GET /events` |
//! | `describe.rs` | what the description of the API says of all this |
//!
//! Everybody has here what is theirs: mailboxes that others share are not told.

mod append;
mod bulk;
mod change;
pub mod content;
mod describe;
mod download;
mod events;
mod folders;
mod id;
mod list;
mod listener;
mod point;
pub mod query;
mod read;
pub mod summary;

pub use append::{NewMessage, Source};
pub use change::{Change, Changed, Deed, Outcome};
pub use content::Message;
pub use download::{Download, type_of};
pub use folders::Folder;
pub use id::{FOLDER_ID, FolderId, MESSAGE_ID, MessageId};
pub use list::{Listing, Page, SoFar};
pub use listener::Listener;
pub use point::{Look, Looked, Missed, Point, Seen};

use super::{Failure, Request, Route};
use crate::http::Response;
use crate::machine::SpoolId;
use crate::mailbox::{MailboxName, SpecialUse};

/// What is asked. All of it is about the mailboxes of who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// All folders.
    Folders,
    /// One of them.
    Folder(FolderId),
    /// A new folder.
    CreateFolder {
        /// Its name, with those of the folders above it.
        name: MailboxName,
        /// Its use.
        role: Option<SpecialUse>,
        /// Programs that show only what is subscribed show it.
        subscribed: bool,
    },
    /// Another name, or another subscription.
    ChangeFolder {
        /// Which.
        folder: FolderId,
        /// The new name.
        name: Option<MailboxName>,
        /// Subscribed or not.
        subscribed: Option<bool>,
    },
    /// A folder goes, with its messages.
    DeleteFolder(FolderId),
    /// A page of summaries.
    List(Listing),
    /// A message with its text.
    Message(MessageId),
    /// The octets of a message.
    Raw(MessageId),
    /// The octets of one of its parts, decoded.
    Part(MessageId, Vec<u32>),
    /// Something is done with messages.
    Do {
        /// Which.
        ids: Vec<MessageId>,
        /// What.
        deed: Deed,
    },
    /// A message is about to be uploaded: the folder exists, the quota has room?
    Open {
        /// Where its octets will be.
        spool: SpoolId,
        /// Where it will go.
        folder: FolderId,
        /// Octets announced.
        size: u64,
    },
    /// A new message.
    Append(NewMessage),
    /// How the folders are: for [`Listener`].
    Look(Look),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// All folders, in the order of their names.
    Folders(std::sync::Arc<[Folder]>),
    /// The folder as it is now.
    Folder(Folder),
    /// It is done.
    Done,
    /// A page of summaries.
    Page(Page),
    /// A long search is not done: this goes on with it.
    GoOn(Box<Ask>),
    /// A message.
    Message(Box<Message>),
    /// Octets that are open.
    Download(Download),
    /// What became of each message, in the order in which they were named.
    Outcomes(Vec<Outcome>),
    /// The new message's id.
    Appended(MessageId),
    /// How the folders are.
    Looked(Looked),
}

/// The calls.
pub(super) const ROUTES: &[Route] = &[
    folders::LIST,
    folders::CREATE,
    folders::SHOW,
    folders::CHANGE,
    folders::DELETE,
    list::LIST,
    append::APPEND,
    read::SHOW,
    read::RAW,
    read::PART,
    change::CHANGE,
    change::DELETE,
    change::COPY,
    bulk::FLAGS,
    bulk::MOVE,
    bulk::COPY,
    bulk::DELETE,
    events::EVENTS,
];

/// Wraps a question.
fn ask(ask: Ask) -> super::Next {
    super::Next::Ask(super::Ask::Mail(ask))
}

/// Takes an answer of this part out of its wrapping.
fn answer(answer: super::Answer) -> Option<Answer> {
    match answer {
        super::Answer::Mail(answer) => Some(answer),
        _ => None,
    }
}

/// The same of a reply.
pub(super) fn answer_of(reply: super::Reply) -> Result<Answer, Failure> {
    let unexpected = || Failure::new(500, "The server has answered something else");
    answer(reply?).ok_or_else(unexpected)
}

/// An answer that belongs to another question.
fn unexpected() -> Response {
    Failure::new(500, "The server has answered something else").response()
}

/// The folder that the path names.
fn folder_of(request: &Request<'_>) -> Result<FolderId, Failure> {
    FolderId::parse(request.parameter(0)).ok_or_else(no_such_folder)
}

/// The message that the path names.
fn message_of(request: &Request<'_>) -> Result<MessageId, Failure> {
    MessageId::parse(request.parameter(0)).ok_or_else(no_such_message)
}

/// 404.
#[must_use]
pub fn no_such_folder() -> Failure {
    Failure::new(404, "No such folder")
}

/// 404.
#[must_use]
pub fn no_such_message() -> Failure {
    Failure::new(404, "No such message")
}
