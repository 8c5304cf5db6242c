//! A message as a program describes it.

use crate::addr::Address;
use crate::api::mail::MessageId;
use crate::time::DateTime;

/// A message that is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// From; none: the account's own address.
    pub from: Vec<Mailbox>,
    /// Sender.
    pub sender: Option<Mailbox>,
    /// To.
    pub to: Vec<Mailbox>,
    /// Cc.
    pub cc: Vec<Mailbox>,
    /// Who gets it and is not named.
    pub bcc: Vec<Mailbox>,
    /// Reply-To.
    pub reply_to: Vec<Mailbox>,
    /// Subject.
    pub subject: Option<String>,
    /// The body as plain text.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// Further fields, of names that are permitted.
    pub headers: Vec<(String, String)>,
    /// In-Reply-To: identifications with angle brackets.
    pub in_reply_to: Vec<String>,
    /// References.
    pub references: Vec<String>,
    /// Date; none: now.
    pub date: Option<DateTime>,
    /// What readers are told of its importance.
    pub priority: Priority,
    /// The message that it answers, by its id here.
    pub reply_to_message: Option<MessageId>,
    /// The message that it hands on.
    pub forward_message: Option<MessageId>,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The name beside the address; may be empty.
    pub name: String,
    /// The address.
    pub address: Address,
}

/// A file that goes with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name; may be empty.
    pub filename: String,
    /// Media type, perhaps with parameters.
    pub content_type: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// The HTML shows it by this (`cid:`), without angle brackets.
    pub content_id: Option<String>,
    /// To be shown within the text, if that is possible.
    pub inline: bool,
}

/// How important a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// More than others.
    High,
    /// As others: nothing is said of it.
    #[default]
    Normal,
    /// Less than others.
    Low,
}

/// How a message goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The envelope's sender, if it is another than the author.
    pub envelope_from: Option<Address>,
    /// The envelope's recipients, if they are others than those in the message.
    pub envelope_to: Vec<Address>,
    /// The sender gets a copy.
    pub save_to_sent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            envelope_from: None,
            envelope_to: Vec::new(),
            save_to_sent: true,
        }
    }
}
