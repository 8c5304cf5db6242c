//! What is asked and answered; each is one line of JSON.

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
