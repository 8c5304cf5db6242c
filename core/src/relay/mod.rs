//! Outbound mail: queue machine, schedule, routes, bounces.
//!
//! [`queue::Queue`] says when which recipients of which entry are tried; [`attempt::Attempt`] finds the hosts and
//! decides what each connection's end means; [`tls`] says which TLS a host needs; [`hosts::Hosts`] keeps connections for the next message and leaves dead
//! hosts alone; [`crate::smtp::client::Session`] speaks on the connection;
//! [`bounce::build`] writes the notice when all was in vain.

pub mod attempt;
pub mod bounce;
pub mod entry;
pub mod history;
pub mod hosts;
mod outcome;
pub mod queue;
pub mod route;
pub mod tls;
pub mod view;

pub use outcome::{Enhanced, Outcome, Report};
pub use route::{Credentials, Route, Settings, Target, TlsPolicy};
