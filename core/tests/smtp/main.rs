//! SMTP sessions, ours as server and as client, and the queue and resolver that send.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "test code"
)]

mod any_split;
mod auth;
mod checks;
mod client_extensions;
mod client_keep;
mod client_session;
mod dns_resolver;
mod host;
mod relay_attempt;
mod relay_hosts;
mod relay_queue;
mod session;
mod tls_attempt;
mod tls_policies;
