//! DNS (RFC 1034, 1035): messages, the resolver machine, MX look-up, names of addresses.
//!
//! [`resolver::Resolver`] asks configured servers and caches; [`mx::Lookup`] turns its answers into the hosts that take
//! mail for a domain. Neither opens a socket: see the actions of each.

mod cache;
pub mod message;
pub mod mx;
mod name;
pub mod peer;
pub mod resolver;
mod tlsa;

pub use message::{Answer, Data, DnsError, Kind, Question};
pub use name::Name;
pub use tlsa::Tlsa;
