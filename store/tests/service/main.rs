//! The service over a store on a disk in memory: accounts, logins, envelopes, limits.
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

mod accounts;
mod aliases;
mod api_admin;
mod api_client;
mod api_mail;
mod api_send;
mod api_session;
mod app_passwords;
mod checks;
mod common;
mod crash_send;
mod crash_smtp;
mod envelope;
mod imap;
mod limits;
mod login;
mod operator;
mod parsed;
mod partial;
mod scram;
mod sharing;
mod smtp;
mod tls_files;
