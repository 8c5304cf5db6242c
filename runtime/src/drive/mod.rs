//! The one driver: runs any [`Session`] machine over a byte stream, and asks a [`Serve`] what the machine asks.
//!
//! A session is one future, polled by hand: every turn takes what has happened (signals, the reply of a call, a passed
//! deadline, octets read), performs what the machine wants, and writes what is waiting. Writes go on while a call is
//! outstanding; the machine is not polled while 256 KiB are unwritten, so a slow reader slows its own session.

mod outbox;
mod session;
mod signal;
mod work;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt as _;
use log::Level;
use rmail_core::machine::Session;
use rmail_store::metrics::Metrics;
use rmail_store::service::Serve;

use crate::clock::Clock;
use crate::flood::Floods;
use crate::io::Stream;
use crate::note_log::{self, Label};
use crate::pools::{Pools, panic_text};
use crate::record::Tape;
use crate::tls::TlsParty;

pub use signal::Signal;

/// What a session needs of its host.
#[derive(Clone, Debug)]
pub struct Context {
    /// The clocks.
    pub clock: Clock,
    /// Where calls run.
    pub pools: Arc<Pools>,
    /// What others tell the session.
    pub signal: Arc<Signal>,
    /// How TLS is begun, if it can be.
    pub tls: Option<TlsParty>,
    /// TLS comes first (ports 465, 993, 9003).
    pub implicit_tls: bool,
    /// Bounds.
    pub limits: DriveLimits,
    /// For log lines.
    pub label: Label,
    /// Where lines about the other side are counted; `None`: there may be any number.
    pub lines: Option<Arc<Floods>>,
    /// Where it is counted what the session does; `None`: it is no client's.
    pub metrics: Option<Arc<Metrics>>,
    /// Where it is put what the session hears and says, if it is recorded.
    pub tape: Option<Arc<Tape>>,
}

/// Times after which a peer that does not do its part is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveLimits {
    /// Without any progress in writing.
    pub write_stall: Duration,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// After our side is closed: for the peer to read what we sent last and close.
    pub linger: Duration,
}

impl Default for DriveLimits {
    /// Two minutes of stall, 30 s for a handshake, 2 s to linger.
    fn default() -> Self {
        Self {
            write_stall: Duration::from_secs(120),
            handshake: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

/// A session that is over.
#[derive(Debug)]
pub struct Ended<M> {
    /// The machine, for what it knows; `None` after a panic.
    pub machine: Option<M>,
    /// Why.
    pub end: End,
}

/// Why a session is over.
#[derive(Debug)]
pub enum End {
    /// The machine closed it, and all was flushed.
    Closed,
    /// The peer went away, and the machine had nothing left to do.
    PeerGone(Option<io::Error>),
    /// The peer did not read.
    Stalled,
    /// TLS could not be begun.
    Handshake(io::Error),
    /// We could not keep what was promised: a body was cut, a machine or service broke the contract.
    Fault(String),
    /// The machine or the service panicked.
    Panicked(String),
}

/// Runs a session to its end. Panics inside are caught: they end it alone.
///
/// No async function: that would keep its arguments, the machine among them, beside the driver that is made of them, and
/// so would each future around it. A session at rest has kilobytes to lose.
pub fn drive<M, V>(
    machine: M,
    stream: Stream,
    serve: Arc<V>,
    context: Context,
) -> impl Future<Output = Ended<M>> + Send
where
    M: Session<Call = V::Call, Reply = V::Reply> + Send,
    V: Serve,
{
    let (label, lines) = (context.label, context.lines.clone());
    let mut driver = Box::new(session::Driver::new(machine, stream, serve, context));
    async move {
        let run = AssertUnwindSafe(poll_fn(|cx| driver.poll(cx))).catch_unwind();
        let (machine, end) = match run.await {
            Ok(end) => (Some(driver.into_machine()), end),
            Err(payload) => (None, End::Panicked(panic_text(payload.as_ref()))),
        };
        log_end(&label, lines.as_deref(), &end);
        Ended { machine, end }
    }
}

fn log_end(label: &Label, lines: Option<&Floods>, end: &End) {
    let level = match end {
        End::Closed | End::PeerGone(None) => Level::Debug,
        End::PeerGone(Some(_)) | End::Stalled | End::Handshake(_) => Level::Info,
        End::Fault(_) | End::Panicked(_) => Level::Error,
    };
    if level == Level::Info && !note_log::admits(label, lines) {
        return;
    }
    note_log::line_of(
        label,
        level,
        format_args!("event=closed why={:?}", end.to_string()),
    );
}

impl End {
    /// The word under which it is counted.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::PeerGone(_) => "peer_gone",
            Self::Stalled => "stalled",
            Self::Handshake(_) => "handshake",
            Self::Fault(_) => "fault",
            Self::Panicked(_) => "panic",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::PeerGone(None) => f.write_str("peer closed"),
            Self::PeerGone(Some(error)) => write!(f, "peer gone: {error}"),
            Self::Stalled => f.write_str("peer does not read"),
            Self::Handshake(error) => write!(f, "TLS handshake failed: {error}"),
            Self::Fault(what) => write!(f, "fault: {what}"),
            Self::Panicked(what) => write!(f, "panic: {what}"),
        }
    }
}
