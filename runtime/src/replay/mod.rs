//! Sockets for transcripts that are played against a server.

mod dial;

pub use dial::{Dial, Security, Target};
