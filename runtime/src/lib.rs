//! The host of the mail server's machines: sockets, timers, TLS, threads and the real disk.
//!
//! # Architecture invariants
//!
//! * Thin: this crate decides nothing that a test would want to see; decisions live in the machines and the service.
//! * One generic driver ([`drive`]) serves every protocol; a session is one task, and nothing in it blocks the
//!   executor ([`engine`]): what waits for a disk or computes long runs on a pool ([`pools`]).
//! * A panic ends one session or one job, never the server.
//! * A session that waits owns no read buffer.
//! * Only this crate touches the system: clocks ([`clock`]), entropy ([`entropy`]), files ([`disk`]), sockets.

#[cfg(feature = "acme")]
pub mod acme;
mod activation;
pub mod cli;
pub mod clock;
pub mod control;
mod diagnose;
pub mod disk;
pub mod dns;
pub(crate) mod dns_check;
pub mod drive;
pub mod engine;
pub mod entropy;
pub mod flood;
mod handover;
pub mod io;
pub mod listen;
pub mod logging;
pub mod note_log;
pub mod pools;
mod privileges;
pub mod record;
mod relay;
pub mod replay;
pub mod server;
mod service;
pub mod tls;
