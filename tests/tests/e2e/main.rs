//! The built program: `rmail` is started, spoken to by real clients, killed and started again.
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

mod acme;
mod adversity;
mod aliases;
mod api_connections;
mod api_contract;
mod api_examples;
mod api_send;
mod api_state;
mod api_tokens;
mod beside;
mod care;
mod clients;
mod dns_advice;
mod imap_clients;
mod imaptest;
mod in_memory;
mod limits;
mod logs;
mod operations;
mod operations_load;
mod operations_panic;
mod operations_tls;
mod packaging;
mod queue;
mod relay;
mod relay_dns;
mod relay_kill;
mod relay_login;
mod relay_peers;
mod relay_reuse;
mod relay_tls;
mod root;
mod service;
mod smtp_clients;
mod systemd;
mod transcripts;
mod transfer;
mod two_processes;
