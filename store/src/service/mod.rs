//! Answers every call of the protocol machines: the same for the daemon, the simulator and the transcripts.

mod serve;

pub use serve::{Answer, Pool, Serve};
