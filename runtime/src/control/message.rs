//! What is asked and answered; each is one line of JSON.

use std::net::IpAddr;

use rmail_core::config::LogLevel;
use serde::{Deserialize, Serialize};

use crate::logging::levels::TargetLevel;

/// What a command asks of a running server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// How it is: [`Reply::Status`].
    Status,
    /// Which levels hold, after a change: [`Reply::LogLevels`].
    LogLevel {
        /// Whose level; none: every one that was set.
        target: Option<String>,
        /// The new one.
        level: Option<LogLevel>,
        /// Back to the configuration's.
        reset: bool,
    },
    /// Record sessions that begin from now on: [`Reply::Recording`] now and every few seconds, [`Reply::Recorded`] for each
    /// that is over, and at the end of the time for those that are not. A client that goes away ends it.
    Record {
        /// Those of this account…
        user: Option<String>,
        /// …or else those from this address.
        address: Option<IpAddr>,
        /// For so long.
        seconds: u64,
    },
    /// To start a process that goes on in its place, without refusing anybody: [`Reply::Restarted`], once it serves.
    Restart,
    /// To end, as upon SIGTERM: [`Reply::Told`].
    Stop,
    /// To read its configuration again, as upon SIGHUP: [`Reply::Told`].
    Reload,
}

/// A line of the answer. The last one closes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::LogLevel`].
    LogLevels {
        /// Of the target that was asked for, or all.
        levels: Vec<TargetLevel>,
    },
    /// To [`Request::Record`]: it goes on.
    Recording,
    /// To [`Request::Record`]: a piece of a transcript.
    Recorded {
        /// How its file may be called, without a number and an ending.
        stem: String,
        /// Text, behind the pieces before.
        piece: String,
        /// No more pieces follow.
        last: bool,
    },
    /// To [`Request::Restart`].
    Restarted {
        /// Process id of the one that serves now; the one that was asked ends when its sessions have.
        pid: u32,
    },
    /// To [`Request::Stop`] and [`Request::Reload`]: it does so now.
    Told,
    /// It was not done.
    Failed {
        /// In words.
        why: String,
    },
}

/// How a server is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Seconds that it has run.
    pub uptime: u64,
    /// Sessions that are open.
    pub sessions: usize,
    /// Nobody new is taken: it ends.
    pub ending: bool,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `smtp`, `imaps`, …
    pub service: String,
    /// Address and port, or a path.
    pub address: String,
    /// It accepts connections.
    pub up: bool,
}
