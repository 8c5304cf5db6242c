//! A restart that refuses nobody: the running process starts its successor and hands it the sockets on which it listens.
//!
//! The two speak over a pair of sockets that is the successor's standard input ([`link`]):
//!
//! ```text
//! running                             successor
//!    ├── Socket (with the socket) ──▶    │  once for each
//!    ├── End ───────────────────────▶    │  starts, and accepts from then on
//!    │   ◀───────────────────── Ready ───┤  or Failed: the running one goes on as if nothing had been
//!    ├── Go ────────────────────────▶    │  it is the server now; the other takes nobody any more, and drains
//!    └── (its end)                       │  takes the queue of the other over
//! ```
//!
//! A socket that listens is one and the same in both, with the connections that wait in it: at no time is there nobody who
//! accepts. A successor that does not hear `Go` ends: whoever stops the running server stops both.

mod link;
mod predecessor;
mod successor;

pub(crate) use predecessor::{Leaving, Predecessor};
pub(crate) use successor::{Handed, HandoverError, Program, Successor};

/// In the environment of a successor: its standard input is the link.
const VARIABLE: &str = "RMAIL_HANDOVER";
