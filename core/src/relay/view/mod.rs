//! The queue as operators see it: what each recipient waits for, which entries are meant, what may be done with them, and how
//! much there is. The command line and the HTTP API tell the same.

mod filter;
mod meaning;
mod plan;
mod sum;

pub use filter::{BadFilter, Filter};
pub use meaning::{is_alarm, meaning};
pub use plan::{Choice, Plan, is_done};
pub use sum::{Destination, Sum};

use serde::Serialize;

use super::entry::{Entry, Recipient};

/// An entry, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The queue's directory.
    pub home: String,
    /// A process that is alive sends it.
    pub served: bool,
    /// The entry.
    pub entry: Entry,
    /// What an operator has asked for and nobody has carried out yet.
    pub asked: Option<&'static str>,
}

/// An entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The queue's directory.
    #[serde(rename = "queue")]
    pub home: String,
    /// The entry.
    pub id: String,
    /// Why.
    #[serde(rename = "error")]
    pub why: String,
}

/// What a recipient is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "&'static str")]
pub enum State {
    /// An operator holds the message.
    Held,
    /// The sender holds it, until then.
    Asleep,
    /// Its time has come, or an attempt runs.
    Due,
    /// The next attempt has its time.
    Waiting,
    /// It failed; the sender is being told.
    Failed,
    /// It was delivered; the sender is being told.
    Done,
}

impl State {
    /// All of them, as programs know them ([`State::key`]).
    pub const KEYS: [&'static str; 6] = ["held", "held_by_sender", "due", "waiting", "failed", "delivered"];

    /// Of a recipient, with these `relay.retry_delays`, now (seconds since 1970).
    #[must_use]
    pub fn of(entry: &Entry, recipient: &Recipient, delays: &[u64], now: u64) -> Self {
        let used_up = usize::try_from(recipient.attempts).is_ok_and(|attempts| attempts > delays.len());
        if recipient.done.is_some() {
            Self::Done
        } else if recipient.failed || used_up {
            Self::Failed
        } else if entry.held {
            Self::Held
        } else if entry.hold_until > now {
            Self::Asleep
        } else if recipient.next <= now {
            Self::Due
        } else {
            Self::Waiting
        }
    }

    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Asleep => "held by its sender",
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Done => "delivered",
        }
    }

    /// For programs.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Asleep => "held_by_sender",
            other => other.word(),
        }
    }

    /// Whether the recipient has not come to its end.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Failed | Self::Done)
    }
}

impl From<State> for &'static str {
    fn from(state: State) -> Self {
        state.key()
    }
}

/// An entry for programs. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    id: String,
    queue: String,
    served: bool,
    sender: String,
    account: Option<String>,
    arrived: u64,
    size: u64,
    held: bool,
    hold_until: Option<u64>,
    asked: Option<&'static str>,
    recipients: Vec<ShownRecipient>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ShownRecipient {
    address: String,
    state: State,
    attempts: u32,
    next: u64,
    last: Option<String>,
    here: bool,
    delay_told: bool,
}

impl Shown {
    /// Of what was found.
    #[must_use]
    pub fn of(one: &Found, delays: &[u64], now: u64) -> Self {
        let entry = &one.entry;
        let recipient = |recipient: &Recipient| ShownRecipient {
            address: recipient.address.clone(),
            state: State::of(entry, recipient, delays, now),
            attempts: recipient.attempts,
            next: recipient.next,
            last: recipient.last.clone(),
            here: recipient.local,
            delay_told: recipient.delay_told,
        };
        Self {
            id: entry.id.clone(),
            queue: one.home.clone(),
            served: one.served,
            sender: entry.sender.clone(),
            account: entry.account.clone(),
            arrived: entry.arrived,
            size: entry.size,
            held: entry.held,
            hold_until: (entry.hold_until > 0).then_some(entry.hold_until),
            asked: one.asked,
            recipients: entry.recipients.iter().map(recipient).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
