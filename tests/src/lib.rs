//! What the end-to-end tests share: a running server, and real clients where they are installed.

pub mod acme;
mod crew;
mod demo;
mod mail;
mod program;
mod server;
pub mod sink;
mod zone;

pub use crew::{Crew, memory, seconds};
pub use demo::Demo;
pub use mail::{MAILBOXES, Mail, name, now, with_keyword};
pub use program::{find, find_optional, node_with, python_with, rmail, run, run_with_input, try_run};
pub use server::{PATIENCE, Server, Wire, free_port, wait_for};
pub use sink::{Dns, Sink};
pub use zone::ZoneServer;
