//! Outbound mail: queue machine, schedule, routes, bounces.

pub mod entry;
mod outcome;
pub mod route;

pub use outcome::{Enhanced, Outcome, Report};
pub use route::{Credentials, Route, Settings, Target, TlsPolicy};
