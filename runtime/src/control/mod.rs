//! What commands say to running servers: a socket in `{mail_root}/control` for each of them.
//!
//! ```text
//! control/               mode 0700: only the user that the server runs as, and root, reach what is in it
//! control/{pid}.sock     a running server; `{pid}-2.sock` if the name is taken (containers that share a mail_root)
//! control/{host}/        the same for each host where several share the mail_root (`store.shared_by_hosts`)
//! ```
//!
//! A client sends one line of JSON, a [`Request`]; the server answers with lines of JSON, each a [`Reply`], and closes.
//! [`ask_all`] is the client. Who connects is looked at once more (SO_PEERCRED), in case the directory was opened to
//! others. A name that a dead process has left is removed by the next server that starts.
//!
//! To add a request: a variant in `message.rs`, and what it does in `answer.rs`.

mod answer;
mod client;
mod message;
mod place;
mod serve;

pub use client::{Answered, Running, ask_all, servers};
pub use message::{ListenerStatus, Reply, Request, Status};

pub(crate) use answer::answer;
pub(crate) use place::Place;
pub(crate) use serve::{Answers, serve};

use std::time::Duration;

/// Octets of a request, and of one line of an answer, at most.
const MAX_LINE: usize = 64 * 1024;
/// How long the other side may take for a line.
const PATIENCE: Duration = Duration::from_secs(10);
