//! What the queue is told and what it asks for.

use crate::addr::Address;
use crate::relay::attempt::Order;
use crate::relay::bounce::{Kind, Notice};
use crate::relay::entry::Entry;
use crate::relay::outcome::{Outcome, Report};
use crate::relay::route::Settings;
use crate::time::Unix;

/// Names an attempt. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// Names a notice. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BounceId(pub u64);

/// What can happen to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Some of the entries found on disk, at the start or of a queue whose process has died. More come, and what operators
    /// have asked of them: no attempt begins before [`Input::Loaded`], so that the most urgent goes first and what is held
    /// does not go at all.
    Loading(Vec<Entry>),
    /// The last of them.
    Loaded(Vec<Entry>),
    /// A new entry, durable already.
    Added(Entry),
    /// An attempt is over: the outcomes in the order of its recipients.
    Finished {
        /// Which.
        attempt: AttemptId,
        /// One for each recipient; a recipient without one is tried again.
        outcomes: Vec<Outcome>,
    },
    /// A notice is stored, or could not be.
    Bounced {
        /// Which.
        bounce: BounceId,
        /// It is durable.
        stored: bool,
    },
    /// A [`Action::Save`] or [`Action::Remove`] is durable, or has failed.
    Saved {
        /// The entry's id.
        entry: String,
        /// It is durable.
        ok: bool,
    },
    /// An operator wants something of an entry. Of one that is not here nothing is done.
    Command {
        /// The entry's id.
        entry: String,
        /// What.
        command: Command,
    },
    /// The configuration was read again.
    Settings(Box<Settings>),
    /// Begin no further attempts. What runs may finish, see [`super::Queue::is_idle`].
    Shutdown,
    /// The deadline of `poll_timeout` has passed.
    Tick,
}

/// What an operator may want of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Try all recipients that wait, now; but not while the entry is held, by an operator or by its sender (RFC 4865).
    Retry,
    /// Begin no attempt until [`Command::Release`]; what runs may finish.
    Hold,
    /// It is held no longer, neither by an operator nor by its sender: all recipients that wait are tried now.
    Release,
    /// Every recipient that is open fails with 5.0.0; the sender is told as of any failure. One whose attempt runs fails
    /// when that has not delivered the message.
    Fail,
}

/// What the queue wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Try to deliver.
    Attempt {
        /// Comes back with the outcomes.
        attempt: AttemptId,
        /// The entry, whose message is to be sent.
        entry: String,
        /// How, what, to whom.
        order: Box<Order>,
    },
    /// Put the message into the mailboxes of accounts of ours. The answer is [`Input::Finished`].
    Deliver {
        /// Comes back with the outcomes.
        attempt: AttemptId,
        /// The entry, whose message is delivered.
        entry: String,
        /// The accounts' addresses.
        accounts: Vec<Address>,
    },
    /// Replace the entry on disk.
    Save(Box<Entry>),
    /// Remove the entry and its message.
    Remove(String),
    /// Tell the sender.
    Bounce {
        /// Comes back with the result.
        bounce: BounceId,
        /// The entry, whose header is quoted.
        entry: String,
        /// What to tell.
        notice: Box<Notice>,
    },
    /// Something for the log.
    Event(Event),
}

/// Something for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A recipient has it.
    Delivered {
        /// The entry's id.
        entry: String,
        /// Address.
        recipient: String,
        /// The reply.
        report: Report,
    },
    /// A recipient is tried again later. [`Report::severe`] asks for ERROR.
    Deferred {
        /// The entry's id.
        entry: String,
        /// Address.
        recipient: String,
        /// Why.
        report: Report,
        /// Attempts so far.
        attempts: u32,
        /// When again.
        next: Unix,
    },
    /// A recipient will not get it.
    Failed {
        /// The entry's id.
        entry: String,
        /// Address.
        recipient: String,
        /// Why.
        report: Report,
        /// The last of all attempts has failed.
        expired: bool,
        /// The sender is told; otherwise there is none to tell.
        told: bool,
    },
    /// The sender is not told: the notice could not be stored for as long as a message is tried. Asks for ERROR.
    Unnoticed {
        /// The entry's id.
        entry: String,
        /// Who should have been told.
        sender: String,
        /// Of what.
        kind: Kind,
    },
    /// All recipients of an entry have come to their end.
    Done(String),
}
