//! The contract between a state machine and its host.
//!
//! A host does, in any order and as often as it likes: feed inputs, perform actions, and feed
//! [`Input::Tick`] once the deadline of [`Machine::poll_timeout`] has passed. Any order is right: inputs may
//! come in any number before a poll. The run loop of a socket host is:
//!
//! 1. perform every action that `poll_action` returns, in order;
//! 2. when there is none: wait for bytes (only if [`Session::wants_bytes`]), a reply, a notification, shutdown, or
//!    the deadline, whichever is first; feed it; go on at 1.
//!
//! A host whose stream fails (a write, a handshake, a body that cannot be read) may drop the session at any point, and
//! with it what the session has open: spools, blobs, watches. A session needs no farewell.
//!
//! A machine that needs an answer emits [`Action::Call`] and consumes no bytes until the matching
//! [`Input::Reply`]: pipelined commands wait unread, and replies cannot be reordered.

use core::ops::Range;

use crate::chunk::Chunk;
use crate::mailbox::ModSeq;
use crate::note::Note;
use crate::time::{Mono, Now};

/// A pure, deterministic state machine.
pub trait Machine {
    /// What can happen to it.
    type Input;
    /// What it wants done.
    type Action;

    /// Tells the machine what happened at `now`. Never fails, blocks or panics.
    fn handle_input(&mut self, now: Now, input: Self::Input);

    /// The next thing to do, oldest first; `None` when there is nothing until the next input.
    #[must_use]
    fn poll_action(&mut self) -> Option<Self::Action>;

    /// When to feed a tick, if nothing else happens before. `None`: no timer runs.
    #[must_use]
    fn poll_timeout(&self) -> Option<Mono>;
}

/// A machine that speaks a protocol over one byte stream.
pub trait Session: Machine<Input = Input<Self::Reply>, Action = Action<Self::Call>> {
    /// What it asks of the host's services.
    type Call;
    /// What they answer.
    type Reply;

    /// False: leave further bytes in the socket, the session would only keep them. A host that ignores this loses
    /// the memory bound, not correctness.
    #[must_use]
    fn wants_bytes(&self) -> bool;
}

/// Joins a call and its reply. Unique within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names a watch of a session. Chosen by the session, unique within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u32);

/// Names a body on its way in. Chosen by the session, unique within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolId(pub u32);

/// Names a body on its way out, opened by a call. Chosen by the service, unique within the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub u64);

/// What can happen to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<R> {
    /// The peer sent octets (after decryption).
    Bytes(Chunk),
    /// The peer will send no more.
    Eof,
    /// The deadline of `poll_timeout` has passed. Harmless at any other time.
    Tick,
    /// The answer to the outstanding call.
    Reply(CallId, R),
    /// The handshake asked for by [`Action::StartTls`], or of an implicit-TLS port, is done. For an implicit-TLS port
    /// it is the first input.
    TlsStarted(TlsInfo),
    /// What a watch covers may have changed: look again.
    Dirty(WatchId),
    /// The server is going down: say so and close as soon as no transaction is cut in half.
    Shutdown,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<C> {
    /// Write these octets. None at all only marks the end of a step of long work: a host that counts its time has a
    /// place to let others have their turn.
    Send(Bytes),
    /// Write this range of a body that a call has opened. Closes the blob when the range's end is its end.
    SendBlob(BlobId, Range<u64>),
    /// Append octets to a spool. Not answered; a failed write answers the commit.
    Spool(SpoolId, Chunk),
    /// Ask the service; exactly one [`Input::Reply`] with this id must follow.
    Call(CallId, C),
    /// From now on feed [`Input::Dirty`] once whenever the scope changes; at once if it is already past this MODSEQ.
    Watch(WatchId, Scope, ModSeq),
    /// End a watch.
    Unwatch(WatchId),
    /// Once all sent so far is flushed, begin TLS; then feed [`Input::TlsStarted`]. Octets read before that and not
    /// yet fed must be dropped (the session drops what it was fed).
    StartTls,
    /// Behind what was sent so far both directions are compressed (RFC 4978): see [`crate::deflate`]. Octets that were
    /// read and not fed yet are compressed already. Only where the host said that it can.
    StartDeflate,
    /// Behind what was sent so far our direction is plain again (RFC 8437 §4.1). The peer's is since the end of the command
    /// that this answers.
    StopDeflate,
    /// Something worth a log line, a metric or a rate limit.
    Note(Note),
    /// Flush, then close the stream. Nothing follows.
    Close,
}

/// Octets to send, without a copy where they are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Made for this answer.
    Owned(Vec<u8>),
    /// A slice of something that lives elsewhere too.
    Shared(Chunk),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(chunk) => chunk.as_ref(),
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Self {
        Self::Shared(chunk)
    }
}

/// In [`Action::Watch`], in the place of what was seen: the session looks only after it watches, so that nothing can have
/// come in between, and it is not to be woken for what was there before.
pub const LOOKS_LATER: ModSeq = ModSeq(u64::MAX);

/// What a watch covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Messages of one mailbox.
    Mailbox(crate::mailbox::MailboxRef),
    /// The account itself: disabled, deleted, other password. The MODSEQ is the account's epoch as told at login.
    Account(crate::addr::AccountName),
    /// What [`Call::List`](crate::imap::server::Call::List) tells of the account, and more about its mailboxes than their
    /// messages: which there are and how they are called, subscriptions, annotations, rights. It has no MODSEQ: a session
    /// watches ([`LOOKS_LATER`]), and looks then.
    List(crate::addr::AccountName),
}

/// What is known of a TLS session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// 0x0303 for TLS 1.2, 0x0304 for TLS 1.3.
    pub version: u16,
    /// The cipher suite's IANA name, for Received and logs.
    pub cipher: String,
    /// The name that the client asked for.
    pub sni: Option<String>,
    /// `tls-exporter` channel binding (RFC 9266); TLS 1.3 only.
    pub exporter: Option<Vec<u8>>,
    /// `tls-server-end-point` channel binding (RFC 5929): hash of our certificate.
    pub end_point: Option<Vec<u8>>,
    /// Of a server's certificate that was taken as it is: what is wrong with it, where somebody wants to know
    /// ([`crate::relay::tls::Trust::Watched`]).
    pub fault: Option<crate::relay::tls::Fault>,
}
