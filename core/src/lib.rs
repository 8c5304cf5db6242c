//! Pure state machines of a mail server.
//!
//! A [`machine::Machine`] has three methods: something happened (`handle_input`), what must be done
//! (`poll_action`), when to wake me (`poll_timeout`). Inputs and actions are owned plain data.
//!
//! # Architecture invariants
//!
//! * Nothing here reads a clock, opens a socket, touches a file, starts a thread or draws entropy: time comes
//!   with each input ([`time::Now`]), chance from a seed ([`random::Random`]).
//! * `handle_input` never fails, blocks or panics. A peer's error is output; ours is [`note::Note::Internal`].
//! * A session has at most one call outstanding, and consumes no input while it waits for the reply.
//! * A session never holds a message: bodies pass through as slices of the buffer they were read into.
//! * Sequence numbers exist in the IMAP session's view and nowhere else.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod acme;
pub mod addr;
pub mod api;
pub mod auth;
pub mod chunk;
pub mod config;
pub mod deflate;
pub mod diagnose;
pub mod directory;
pub mod dns;
pub mod dns_records;
pub mod greylist;
pub mod http;
pub mod imap;
pub mod limiter;
pub mod limits;
pub mod line;
pub mod machine;
pub mod mailbox;
pub mod mime;
pub mod note;
pub(crate) mod pace;
pub mod peer;
pub mod random;
pub mod refusal;
pub mod relay;
pub mod sasl;
pub mod search;
pub mod secret;
pub mod smtp;
pub mod text;
pub mod time;
