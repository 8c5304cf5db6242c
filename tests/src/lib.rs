//! What the end-to-end tests share: a running server, and real clients where they are installed.

mod demo;
mod program;

pub use demo::Demo;
pub use program::{find, run, run_with_input};
