//! A host of one session machine without a socket: it feeds inputs, performs actions at once, and keeps what was sent.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_lite::future::block_on;
use rmail_core::chunk::Chunk;
use rmail_core::deflate::{Compressor, Decompressor};
use rmail_core::machine::{Action, Input, Session, SpoolId, TlsInfo, WatchId};
use rmail_core::refusal::Refusal;
use rmail_core::time::{Mono, Now};
use rmail_store::service::{Answer, Serve};

use crate::template::{Bindings, Template};

/// Actions of one input: who wants more turns in a circle.
const MAX_ACTIONS: usize = 1_000_000;

/// Octets of one read of a body.
const READ: usize = 64 * 1024;

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer sent octets.
    Bytes(&'a [u8]),
    /// The peer will send no more.
    Eof,
    /// A deadline may have passed.
    Tick,
    /// TLS is on.
    Tls,
    /// TLS 1.2 is on.
    OldTls,
    /// The server goes down.
    Shutdown,
    /// Somebody else did something: look for news.
    Nothing,
}

/// A connection whose server side is a machine.
pub trait Connection {
    /// Tells the machine what happened, and performs what it wants.
    ///
    /// # Errors
    /// The machine or the service broke the contract, in words.
    fn happen(&mut self, now: Now, event: Event<'_>) -> Result<(), String>;

    /// When to feed [`Event::Tick`].
    fn deadline(&self) -> Option<Mono>;

    /// What has come of it.
    fn state(&mut self) -> &mut State;

    /// Waits for what the other side has yet to send, and adds it to the state. False: nothing came. A machine has said
    /// all that it has to say when [`Connection::happen`] returns.
    ///
    /// # Errors
    /// The connection failed, in words.
    fn more(&mut self, wait: Wait) -> Result<bool, String> {
        let _ = wait;
        Ok(false)
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// An answer that must come.
    Answer,
    /// Something that perhaps does not.
    Quiet,
}

/// What the peer and the transcript see of a connection.
#[derive(Debug, Default)]
pub struct State {
    /// Octets sent that were not looked at.
    pub unseen: Vec<u8>,
    /// All octets sent.
    pub sent: Vec<u8>,
    /// The machine wants TLS to begin.
    pub tls_wanted: bool,
    /// The machine has closed the connection.
    pub closed: bool,
    /// All other actions, in their `Debug` form.
    pub actions: Vec<String>,
    /// The last of the actions, if it is a spool: neighbours are joined, because how a body is cut means nothing.
    spooled: Option<(SpoolId, Vec<u8>)>,
    /// What wildcards stand for that were learned when the connection was opened.
    pub told: Bindings,
    /// Calls that are not for the service: the next that matches is refused.
    pub refusals: Vec<(Template, Refusal)>,
}

impl State {
    /// Forgets what was sent and wanted so far.
    pub fn forget(&mut self) {
        self.unseen.clear();
        self.sent.clear();
        self.actions.clear();
    }
}

/// Both ends of a compressed connection.
#[derive(Default)]
struct Deflate {
    /// The client's.
    client: Compressor,
    heard: Decompressor,
    /// Ours.
    outgoing: Compressor,
    incoming: Decompressor,
}

impl Deflate {
    /// What the client sends for these octets.
    fn say(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.client.write(octets, &mut out);
        self.client.flush(&mut out);
        out
    }

    /// Whether the client reads what we say.
    fn check_sent(&mut self, octets: &[u8]) -> Result<(), String> {
        let mut out = Vec::new();
        self.outgoing.write(octets, &mut out);
        self.outgoing.flush(&mut out);
        self.heard.push(Chunk::from(out));
        let mut heard = Vec::new();
        while let Some(piece) = self.heard.piece().map_err(|error| error.to_string())? {
            heard.extend_from_slice(&piece);
        }
        if heard == octets {
            Ok(())
        } else {
            Err("what was compressed is not what was sent".to_owned())
        }
    }

    /// What the client had sent compressed nevertheless.
    fn stop(mut self) -> Result<Chunk, String> {
        let mut rest = Vec::new();
        while let Some(piece) = self.incoming.piece().map_err(|error| error.to_string())? {
            rest.extend_from_slice(&piece);
        }
        Ok(Chunk::from(rest))
    }
}

/// The reply that refuses a call; `None` if that call cannot be refused.
pub type Refuse<M> = fn(&<M as Session>::Call, Refusal) -> Option<<M as Session>::Reply>;

/// Runs a machine with a service.
pub struct Host<M: Session, V> {
    machine: M,
    serve: V,
    refuse: Refuse<M>,
    state: State,
    /// In the socket.
    unread: VecDeque<Chunk>,
    /// COMPRESS is on: what a transcript says plainly goes through both codecs.
    deflate: Option<Box<Deflate>>,
    woken: Arc<Mutex<Vec<WatchId>>>,
}

impl<M, V> Host<M, V>
where
    M: Session,
    M::Call: fmt::Debug,
    V: Serve<Call = M::Call, Reply = M::Reply>,
{
    /// A host of a machine.
    pub fn new(machine: M, serve: V, refuse: Refuse<M>) -> Self {
        Self {
            machine,
            serve,
            refuse,
            state: State::default(),
            unread: VecDeque::new(),
            deflate: None,
            woken: Arc::default(),
        }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Performs actions and feeds what waits, until there is nothing to do.
    fn settle(&mut self, now: Now) -> Result<(), String> {
        for _ in 0..MAX_ACTIONS {
            if let Some(action) = self.machine.poll_action() {
                self.perform(now, action)?;
                continue;
            }
            if self.state.closed {
                return Ok(());
            }
            let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(watch) = woken {
                self.machine.handle_input(now, Input::Dirty(watch));
                continue;
            }
            let next = if self.machine.wants_bytes() {
                self.read()?
            } else {
                None
            };
            match next {
                Some(chunk) => self.machine.handle_input(now, Input::Bytes(chunk)),
                None => return Ok(()),
            }
        }
        Err("the machine wants something without end".to_owned())
    }

    /// The next octets, decompressed if they have to be.
    fn read(&mut self) -> Result<Option<Chunk>, String> {
        let Some(deflate) = &mut self.deflate else {
            return Ok(self.unread.pop_front());
        };
        loop {
            match deflate.incoming.piece().map_err(|error| error.to_string())? {
                Some(piece) => return Ok(Some(piece)),
                None => match self.unread.pop_front() {
                    Some(chunk) => deflate.incoming.push(chunk),
                    None => return Ok(None),
                },
            }
        }
    }

    fn perform(&mut self, now: Now, action: Action<M::Call>) -> Result<(), String> {
        if self.state.closed {
            return Err("an action after Close".to_owned());
        }
        match action {
            Action::Send(octets) => self.send(octets.as_ref())?,
            Action::SendBlob(blob, range) => {
                self.note(format!("SendBlob {range:?}"));
                let mut at = range.start;
                while at < range.end {
                    let left = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(READ);
                    let chunk =
                        block_on(self.serve.read_blob(blob, at, left)).map_err(|error| error.to_string())?;
                    if chunk.is_empty() {
                        return Err("a body is shorter than was promised".to_owned());
                    }
                    at += chunk.len() as u64;
                    self.send(&chunk)?;
                }
                self.serve.close_blob(blob);
            }
            Action::Spool(spool, chunk) => {
                self.note_spool(spool, &chunk);
                if let Err(chunk) = self.serve.spool_now(spool, chunk) {
                    block_on(self.serve.spool(spool, chunk));
                }
            }
            Action::Call(id, call) => {
                let shown = format!("Call {call:?}");
                let reply = match self.refusal(&shown) {
                    Some(word) => {
                        (self.refuse)(&call, word).ok_or_else(|| format!("cannot be refused: {shown}"))?
                    }
                    None => match self.serve.answer(now, call) {
                        Answer::Now(reply) => reply,
                        Answer::Later(_, call) => block_on(self.serve.run(now, call)),
                        Answer::Wait(waiting) => block_on(waiting),
                    },
                };
                self.note(shown);
                self.machine.handle_input(now, Input::Reply(id, reply));
            }
            Action::Watch(watch, scope, seen) => {
                self.note(format!("Watch {scope:?}"));
                let woken = Arc::clone(&self.woken);
                let wake = move || {
                    let mut woken = woken.lock().unwrap_or_else(PoisonError::into_inner);
                    if !woken.contains(&watch) {
                        woken.push(watch);
                    }
                };
                self.serve.watch(watch, scope, seen, Arc::new(wake));
            }
            Action::Unwatch(watch) => {
                self.note("Unwatch".to_owned());
                self.serve.unwatch(watch);
                let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
                woken.retain(|other| *other != watch);
            }
            Action::StartTls => {
                self.note("StartTls".to_owned());
                // Read in clear text, and not fed: dropped.
                self.unread.clear();
                self.state.tls_wanted = true;
            }
            Action::StartDeflate => {
                self.note("StartDeflate".to_owned());
                self.deflate = Some(Box::default());
            }
            Action::StopDeflate => {
                self.note("StopDeflate".to_owned());
                if let Some(deflate) = self.deflate.take() {
                    let rest = deflate.stop()?;
                    self.unread.push_front(rest);
                }
            }
            Action::Note(note) => {
                self.serve.note(now, &note);
                self.note(format!("Note {note:?}"));
            }
            Action::Close => {
                self.note("Close".to_owned());
                self.state.closed = true;
            }
        }
        Ok(())
    }

    fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        if let Some(deflate) = &mut self.deflate {
            deflate.check_sent(octets)?;
        }
        self.state.unseen.extend_from_slice(octets);
        self.state.sent.extend_from_slice(octets);
        Ok(())
    }

    fn note(&mut self, action: String) {
        self.state.spooled = None;
        self.state.actions.push(action);
    }

    fn note_spool(&mut self, spool: SpoolId, chunk: &Chunk) {
        let mut octets = match self.state.spooled.take() {
            Some((last, octets)) if last == spool => {
                self.state.actions.pop();
                octets
            }
            _ => Vec::new(),
        };
        octets.extend_from_slice(chunk);
        let shown = octets.escape_ascii();
        self.state.actions.push(format!("Spool {} \"{shown}\"", spool.0));
        self.state.spooled = Some((spool, octets));
    }

    fn refusal(&mut self, call: &str) -> Option<Refusal> {
        let none = Bindings::new();
        let at = self
            .state
            .refusals
            .iter()
            .position(|(template, _)| template.matches(call.as_bytes(), &none).is_some())?;
        Some(self.state.refusals.remove(at).1)
    }
}

impl<M, V> Connection for Host<M, V>
where
    M: Session,
    M::Call: fmt::Debug,
    V: Serve<Call = M::Call, Reply = M::Reply>,
{
    fn happen(&mut self, now: Now, event: Event<'_>) -> Result<(), String> {
        if self.state.closed {
            return Ok(());
        }
        match event {
            // What comes between StartTls and the handshake is no TLS record: a real host would end the connection.
            Event::Bytes(_) if self.state.tls_wanted => {}
            Event::Bytes(octets) => {
                let octets = match &mut self.deflate {
                    Some(deflate) => deflate.say(octets),
                    None => octets.to_vec(),
                };
                self.unread.push_back(Chunk::from(octets));
            }
            Event::Eof => self.machine.handle_input(now, Input::Eof),
            Event::Tick => self.machine.handle_input(now, Input::Tick),
            Event::Tls | Event::OldTls => {
                self.state.tls_wanted = false;
                let info = tls_info(event == Event::Tls);
                self.machine.handle_input(now, Input::TlsStarted(info));
            }
            Event::Shutdown => self.machine.handle_input(now, Input::Shutdown),
            Event::Nothing => {}
        }
        self.settle(now)
    }

    fn deadline(&self) -> Option<Mono> {
        if self.state.closed {
            None
        } else {
            self.machine.poll_timeout()
        }
    }

    fn state(&mut self) -> &mut State {
        &mut self.state
    }
}

impl<M: Session, V> fmt::Debug for Host<M, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A handshake that is done. What a client of a transcript binds to is 32 octets `E`, or 32 octets `C`.
fn tls_info(new: bool) -> TlsInfo {
    let (version, cipher) = match new {
        true => (0x0304, "TLS_AES_256_GCM_SHA384"),
        false => (0x0303, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    };
    TlsInfo {
        version,
        cipher: cipher.to_owned(),
        exporter: new.then(|| vec![b'E'; 32]),
        end_point: Some(vec![b'C'; 32]),
        ..TlsInfo::default()
    }
}
