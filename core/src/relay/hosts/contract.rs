//! What the machine of the hosts is told and what it asks for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::relay::attempt::{self, Connect};
use crate::relay::route::Settings;
use crate::smtp::client::{self, Job};
use crate::time::Unix;

/// Names a connection that an attempt asked for. The host program chooses it, and never uses it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a connection that was opened. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An attempt wants a message sent: its [`attempt::Action::Connect`].
    Connect {
        /// Comes back with the result.
        request: RequestId,
        /// Where to and what.
        connect: Box<Connect>,
    },
    /// [`Action::Open`] came to nothing, for this reason.
    NoConnection {
        /// Which.
        connection: ConnectionId,
        /// In words.
        why: String,
    },
    /// The session asks [`client::Call::Greeted`].
    Greeted(ConnectionId),
    /// The session asks [`client::Call::Next`]: its message is answered for.
    Idle {
        /// Which.
        connection: ConnectionId,
        /// What became of the message.
        outcome: Box<client::Outcome>,
    },
    /// The session is over.
    Ended {
        /// Which.
        connection: ConnectionId,
        /// With what.
        ending: Ending,
    },
    /// An operator wants to see it tried: hosts that are left alone are tried again when somebody next asks for them.
    Impatient,
    /// The configuration was read again.
    Settings(Box<Settings>),
    /// No connection is kept from now on.
    Shutdown,
    /// The deadline of `poll_timeout` has passed.
    Tick,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With [`client::Session::outcome`].
    Outcome(client::Outcome),
    /// [`client::Session::is_idle`]: without a message under way. One that was given to it meanwhile it has not seen.
    Idle,
    /// In neither way: the session was broken off by us, for this reason. What was sent is not known.
    Broken(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect within [`Connect::timeout`], then run a session, [`client::Session::keep_open`] for so many messages.
    /// Its calls are [`Input::Greeted`] (answer at once) and [`Input::Idle`]; it ends with [`Input::Ended`], or with
    /// [`Input::NoConnection`] if it never began.
    Open {
        /// Names it from now on.
        connection: ConnectionId,
        /// Whose message it is.
        request: RequestId,
        /// Where to and what.
        connect: Box<Connect>,
        /// Messages that the session may take.
        messages: u32,
    },
    /// Answer the session's [`client::Call::Next`] with this message.
    Reuse {
        /// Which session.
        connection: ConnectionId,
        /// Whose message it is.
        request: RequestId,
        /// The message.
        job: Box<Job>,
    },
    /// Answer the session's [`client::Call::Next`] with none.
    Quit(ConnectionId),
    /// The result for the attempt: one for each [`Input::Connect`].
    Done {
        /// Which.
        request: RequestId,
        /// What the attempt is told.
        result: attempt::Input,
    },
    /// Something for the log.
    Event(Event),
}

/// Something for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A host takes no connections.
    Down {
        /// Its address.
        address: SocketAddr,
        /// Its name.
        server: String,
        /// Since when.
        since: Unix,
        /// Tries since then.
        tries: u32,
        /// It is left alone for so long.
        pause: Duration,
        /// What the last try gave.
        last: String,
    },
    /// It takes them again.
    Up {
        /// Its address.
        address: SocketAddr,
        /// Its name.
        server: String,
        /// How long it was away.
        away: Duration,
    },
    /// A host has enough of our connections.
    Crowded {
        /// Its address.
        address: SocketAddr,
        /// Its name.
        server: String,
        /// It gets so many at the same time, for a while.
        most: usize,
        /// What it said.
        last: String,
    },
}
