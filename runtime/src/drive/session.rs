//! The state of one session and its turns.

mod reading;
mod writing;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use crate::engine::Timer;
use rmail_core::deflate::Decompressor;
use rmail_core::machine::{Action, Bytes, CallId, Input, Scope, Session, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::time::Mono;
use rmail_store::hub::Wake;
use rmail_store::metrics::{Family, Operation};
use rmail_store::service::{Answer, Serve};

use super::outbox::Outbox;
use super::signal::Signal;
use super::work::{Asked, BlobOut, BlobStep, Work};
use super::{Context, End};
use crate::io::Stream;
use crate::note_log;
use crate::tls::TlsParty;

/// The machine is not polled while so much is unwritten…
const HIGH: usize = 256 * 1024;
/// …and polled again below this.
const LOW: usize = 64 * 1024;
/// Others get their turn after so many octets…
const BUDGET: usize = 256 * 1024;
/// …or so long.
const TURN: Duration = Duration::from_millis(1);
/// Octets fed while a body goes out and the machine is not polled.
const BLIND: usize = 64 * 1024;
/// Octets read and dropped after our side is closed.
const LINGER_MAX: usize = 1024 * 1024;

/// How a call was answered, as figures number it.
const BY_MEMORY: usize = 0;
const BY_THREAD: usize = 1;
const BY_WAITING: usize = 2;

pub(super) struct Driver<M: Session, V> {
    machine: M,
    /// Away during a handshake.
    stream: Option<Stream>,
    serve: Arc<V>,
    context: Context,
    out: Outbox,
    /// The peer compresses.
    incoming: Option<Decompressor>,
    /// The machine was polled until it wanted nothing, and has heard nothing since.
    drained: bool,
    work: Work,
    call: Option<(CallId, Asked<M::Reply>)>,
    /// When the outstanding call was asked, and what it is.
    asked: Option<(Operation, Instant)>,
    watches: Vec<(WatchId, Arc<AtomicBool>)>,
    timer: Timer,
    armed: Option<Instant>,
    /// When writing last got on, or began to wait.
    write_moved: Instant,
    /// Written, but perhaps still in the TLS layer.
    unflushed: bool,
    /// Too much is unwritten.
    choked: bool,
    /// Nothing was there to be read in this turn; when there is, the session is woken.
    read_waits: bool,
    /// The machine knows that nothing more comes.
    eof: bool,
    /// Nothing can be written any more, for this reason: the rest is dropped.
    broken: Option<End>,
    /// Octets made after that.
    dropped: usize,
    blind: usize,
    moved: usize,
    /// When this turn began.
    begun: Instant,
    /// We serve, and the server is going down.
    stopping: bool,
}

/// Whether anything happened, or the session is over.
type Step = Result<bool, End>;

impl<M, V> Driver<M, V>
where
    M: Session<Call = V::Call, Reply = V::Reply> + Send,
    V: Serve,
{
    pub(super) fn new(machine: M, stream: Stream, serve: Arc<V>, context: Context) -> Self {
        let work = if context.implicit_tls {
            Work::FlushForTls
        } else {
            Work::Idle
        };
        Self {
            machine,
            stream: Some(stream),
            serve,
            out: Outbox::with_tape(context.tape.clone()),
            context,
            incoming: None,
            drained: false,
            work,
            call: None,
            asked: None,
            watches: Vec::new(),
            timer: Timer::never(),
            armed: None,
            write_moved: Instant::now(),
            unflushed: false,
            choked: false,
            read_waits: false,
            eof: false,
            broken: None,
            dropped: 0,
            blind: 0,
            moved: 0,
            begun: Instant::now(),
            stopping: false,
        }
    }

    pub(super) fn into_machine(self) -> M {
        self.machine
    }

    pub(super) fn poll(&mut self, cx: &mut Task<'_>) -> Poll<End> {
        self.context.signal.register(cx);
        self.begun = Instant::now();
        self.moved = 0;
        self.read_waits = false;
        loop {
            match self.turn(cx) {
                Err(end) => return Poll::Ready(end),
                Ok(true) => {}
                Ok(false) if self.wait(cx) => {}
                Ok(false) => return Poll::Pending,
            }
            if self.is_turn_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Whether it is time to let others go on.
    fn is_turn_over(&self) -> bool {
        self.moved >= BUDGET || self.begun.elapsed() >= TURN
    }

    /// One round of everything that can be done without waiting.
    fn turn(&mut self, cx: &mut Task<'_>) -> Step {
        let mut moved = self.take_signals();
        moved |= self.take_reply(cx)?;
        moved |= self.take_deadlines()?;
        moved |= self.go_on(cx)?;
        moved |= self.perform()?;
        if self.drained || self.call.is_some() || matches!(self.work, Work::Closing) {
            self.out.settle();
        }
        moved |= self.write(cx)?;
        moved |= self.read(cx);
        if !moved {
            moved = self.check_left_alone()?;
        }
        Ok(moved)
    }

    fn feed(&mut self, input: Input<M::Reply>) {
        if let Some(tape) = &self.context.tape {
            match &input {
                Input::Bytes(octets) => tape.said(octets),
                Input::Eof => tape.eof(),
                Input::Shutdown => tape.shutdown(),
                Input::Tick | Input::Reply(..) | Input::TlsStarted(_) | Input::Dirty(_) => {}
            }
        }
        self.drained = false;
        self.machine.handle_input(self.context.clock.now(), input);
    }

    fn take_signals(&mut self) -> bool {
        let bits = self.context.signal.take();
        if bits & Signal::SHUTDOWN != 0 {
            self.stopping = matches!(
                self.context.tls,
                Some(TlsParty::Server(_) | TlsParty::WebServer(_))
            );
            self.feed(Input::Shutdown);
        }
        if bits & Signal::DIRTY != 0 {
            let dirty: Vec<WatchId> = self
                .watches
                .iter()
                .filter(|(_, flag)| flag.swap(false, Ordering::AcqRel))
                .map(|(id, _)| *id)
                .collect();
            for id in dirty {
                self.feed(Input::Dirty(id));
            }
        }
        bits != 0
    }

    fn take_reply(&mut self, cx: &mut Task<'_>) -> Step {
        let Some((id, asked)) = &mut self.call else {
            return Ok(false);
        };
        let id = *id;
        let Poll::Ready(reply) = asked.poll(cx) else {
            return Ok(false);
        };
        self.call = None;
        self.count_answer();
        match reply {
            Ok(reply) => self.feed(Input::Reply(id, reply)),
            Err(panicked) => return Err(End::Panicked(panicked.0)),
        }
        Ok(true)
    }

    /// Acts on deadlines that have passed.
    fn take_deadlines(&mut self) -> Step {
        let now = self.context.clock.now();
        let instant = Instant::now();
        self.out.rest(instant);
        if self.waits_for_peer() && instant >= self.stall_deadline() {
            self.break_off(End::Stalled)?;
            self.stream = None;
            return Ok(true);
        }
        match self.work {
            Work::Handshake(_, deadline) if instant >= deadline => {
                return Ok(self.handshake_failed(io::ErrorKind::TimedOut.into()));
            }
            Work::Linger(deadline, _) if instant >= deadline => return Err(End::Closed),
            Work::Closing | Work::Linger(..) => return Ok(false),
            _ => {}
        }
        if self
            .machine_deadline()
            .is_some_and(|deadline| deadline <= now.mono)
        {
            self.drained = false;
            self.machine.handle_input(now, Input::Tick);
            return Ok(true);
        }
        Ok(false)
    }

    /// Goes on with the work that keeps the machine from being polled.
    fn go_on(&mut self, cx: &mut Task<'_>) -> Step {
        if self.stopping && matches!(self.work, Work::FlushForTls | Work::Handshake(..)) {
            // There is nothing yet that could be cut in half.
            return Ok(self.handshake_failed(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut self.work {
            Work::Idle => Ok(false),
            Work::Spool(pending) => match Pin::new(pending).poll(cx) {
                Poll::Pending => Ok(false),
                Poll::Ready(Ok(())) => self.become_idle(),
                Poll::Ready(Err(panicked)) => Err(End::Panicked(panicked.0)),
            },
            Work::Blob(blob) => {
                let (serve, pools) = (&self.serve, &self.context.pools);
                match blob
                    .step(cx, &mut self.out, HIGH / 2, serve, pools)
                    .map_err(End::Fault)?
                {
                    BlobStep::Done => self.become_idle(),
                    BlobStep::Moved => Ok(true),
                    BlobStep::Waits => Ok(false),
                }
            }
            Work::FlushForTls => self.begin_tls(),
            Work::Handshake(handshake, _) => match handshake.as_mut().poll(cx) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Ok(self.handshake_failed(error)),
                Poll::Ready(Ok((stream, info))) => {
                    self.stream = Some(stream);
                    self.read_waits = false;
                    self.work = Work::Idle;
                    if let Some(metrics) = &self.context.metrics {
                        metrics.add(Family::Tls, &[usize::from(info.version >= 0x0304)], 1);
                    }
                    self.feed(Input::TlsStarted(info));
                    Ok(true)
                }
            },
            Work::Closing => self.close(cx),
            Work::Linger(..) => self.linger(cx),
        }
    }

    fn become_idle(&mut self) -> Step {
        self.work = Work::Idle;
        self.blind = 0;
        Ok(true)
    }

    fn begin_tls(&mut self) -> Step {
        if self.broken.is_some() {
            // Nothing more is read in clear text.
            self.stream = None;
            self.work = Work::Idle;
            return Ok(self.end_of_input());
        }
        if self.waits_to_write() {
            return Ok(false);
        }
        let Some(party) = &self.context.tls else {
            return Err(End::Fault("TLS was asked for where there is none".to_owned()));
        };
        let Some(stream) = self.stream.take() else {
            return Err(End::Fault("TLS was asked for twice".to_owned()));
        };
        let deadline = Instant::now() + self.context.limits.handshake;
        self.work = Work::Handshake(stream.start_tls(party), deadline);
        Ok(true)
    }

    /// The machine is told that the peer is gone: there is no stream that could go on in clear text.
    fn handshake_failed(&mut self, error: io::Error) -> bool {
        self.stream = None;
        self.out.clear();
        self.unflushed = false;
        self.work = Work::Idle;
        self.broken = Some(End::Handshake(error));
        self.end_of_input()
    }

    fn close(&mut self, cx: &mut Task<'_>) -> Step {
        if let Some(end) = self.broken.take() {
            return Err(end);
        }
        if self.waits_to_write() {
            return Ok(false);
        }
        let Some(stream) = &mut self.stream else {
            return Err(End::Closed);
        };
        match stream.poll_close(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) if !self.eof => {
                self.work = Work::Linger(Instant::now() + self.context.limits.linger, 0);
                Ok(true)
            }
            Poll::Ready(_) => Err(End::Closed),
        }
    }

    fn linger(&mut self, cx: &mut Task<'_>) -> Step {
        let (Some(stream), Work::Linger(_, dropped)) = (&mut self.stream, &mut self.work) else {
            return Err(End::Closed);
        };
        match stream.poll_read(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(Some(chunk))) if *dropped < LINGER_MAX => {
                *dropped += chunk.len();
                self.moved += chunk.len();
                Ok(true)
            }
            Poll::Ready(_) => Err(End::Closed),
        }
    }

    /// Performs what the machine wants, until it wants nothing, must wait, or the turn is over.
    fn perform(&mut self) -> Step {
        let mut moved = false;
        while matches!(self.work, Work::Idle) && !self.choked {
            let Some(action) = self.machine.poll_action() else {
                self.drained = true;
                break;
            };
            self.drained = false;
            moved = true;
            // A step of long work ends with a `Send`, be it empty: the place to look at the clock.
            let step = matches!(action, Action::Send(_));
            self.act(action)?;
            self.choked |= self.out.len() >= HIGH;
            if step && self.is_turn_over() {
                break;
            }
        }
        Ok(moved)
    }

    fn act(&mut self, action: Action<M::Call>) -> Result<(), End> {
        match action {
            Action::Send(bytes) => self.send(bytes)?,
            Action::SendBlob(..) if self.broken.is_some() => return Err(self.take_end()),
            Action::SendBlob(blob, range) => {
                self.blind = 0;
                self.work = Work::Blob(BlobOut::new(blob, range));
            }
            Action::Spool(spool, chunk) => {
                if let Err(chunk) = self.serve.spool_now(spool, chunk) {
                    let serve = Arc::clone(&self.serve);
                    let job = move || futures_lite::future::block_on(serve.spool(spool, chunk));
                    let pool = rmail_store::service::Pool::Sync;
                    self.work = Work::Spool(self.context.pools.run(pool, job));
                }
            }
            Action::Call(id, call) => self.call(id, call)?,
            Action::Watch(id, scope, seen) => self.watch(id, scope, seen),
            Action::Unwatch(id) => {
                self.watches.retain(|(watch, _)| *watch != id);
                self.serve.unwatch(id);
            }
            Action::StartTls => self.work = Work::FlushForTls,
            Action::StartDeflate => {
                self.out.start_deflate();
                self.incoming = Some(Decompressor::new());
            }
            Action::StopDeflate => {
                self.out.stop_deflate();
                if let Some(incoming) = &mut self.incoming {
                    incoming.stop();
                }
            }
            Action::Note(note) => {
                if let Some(look) = self.context.tape.as_ref().and_then(|tape| tape.note(&note)) {
                    let pool = rmail_store::service::Pool::Read;
                    self.work = Work::Spool(self.context.pools.run(pool, look));
                }
                if let Some(metrics) = &self.context.metrics {
                    metrics.note(self.context.label.protocol, &note);
                }
                note_log::write(&self.context.label, self.context.lines.as_deref(), &note);
                self.serve.note(self.context.clock.now(), &note);
            }
            Action::Close => {
                if let Some(tape) = &self.context.tape {
                    tape.closed();
                }
                if !self.waits_to_write() {
                    self.write_moved = Instant::now();
                }
                self.work = Work::Closing;
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), End> {
        if self.broken.is_some() {
            self.dropped += bytes.as_ref().len();
            return match self.broken.take_if(|_| self.dropped >= HIGH) {
                Some(end) => Err(end),
                None => Ok(()),
            };
        }
        if !self.waits_to_write() {
            self.write_moved = Instant::now();
        }
        self.out.push(bytes);
        Ok(())
    }

    fn call(&mut self, id: CallId, call: M::Call) -> Result<(), End> {
        if self.call.is_some() {
            return Err(End::Fault(
                "a second call before the first was answered".to_owned(),
            ));
        }
        let now = self.context.clock.now();
        if self.context.metrics.is_some() {
            self.asked = Some((self.serve.operation(&call), Instant::now()));
        }
        match self.serve.answer(now, call) {
            Answer::Now(reply) => {
                self.count_by(BY_MEMORY);
                self.count_answer();
                self.feed(Input::Reply(id, reply));
            }
            Answer::Later(pool, call) => {
                self.count_by(BY_THREAD);
                let serve = Arc::clone(&self.serve);
                let job = move || futures_lite::future::block_on(serve.run(now, call));
                self.call = Some((id, Asked::Job(self.context.pools.run(pool, job))));
            }
            Answer::Wait(waiting) => {
                self.count_by(BY_WAITING);
                self.call = Some((id, Asked::Waiting(waiting)));
            }
        }
        Ok(())
    }

    fn count_by(&self, by: usize) {
        if let Some(metrics) = &self.context.metrics {
            metrics.add(Family::Answers, &[by], 1);
        }
    }

    /// The outstanding call was answered.
    fn count_answer(&mut self) {
        if let (Some(metrics), Some((operation, asked))) = (&self.context.metrics, self.asked.take()) {
            metrics.observe(Family::Operations, &[operation as usize], asked.elapsed());
        }
    }

    fn watch(&mut self, id: WatchId, scope: Scope, seen: ModSeq) {
        let flag = Arc::new(AtomicBool::new(false));
        self.watches.push((id, Arc::clone(&flag)));
        let signal = Arc::clone(&self.context.signal);
        let wake: Wake = Arc::new(move || {
            flag.store(true, Ordering::Release);
            signal.set(Signal::DIRTY);
        });
        self.serve.watch(id, scope, seen, wake);
    }

    /// A session whose peer is gone, and whose machine has nothing left to do, is over.
    fn check_left_alone(&mut self) -> Step {
        if !matches!(self.work, Work::Idle) || self.call.is_some() || self.waits_to_write() {
            return Ok(false);
        }
        if self.eof {
            return Err(self.take_end());
        }
        // After a failed write it wants no octets, so it was not told yet.
        Ok(self.broken.is_some() && self.end_of_input())
    }

    fn take_end(&mut self) -> End {
        self.broken.take().unwrap_or(End::PeerGone(None))
    }

    /// The machine's deadline, while it can do something about it: what a tick makes comes out by a poll. What keeps it
    /// from being polled has a deadline of its own.
    fn machine_deadline(&self) -> Option<Mono> {
        let polled = matches!(self.work, Work::Idle) && !self.choked;
        polled.then(|| self.machine.poll_timeout()).flatten()
    }

    fn stall_deadline(&self) -> Instant {
        self.write_moved + self.context.limits.write_stall
    }

    /// Arms the timer for the next deadline, if it is earlier than what the timer runs for. True: it has fired already.
    fn wait(&mut self, cx: &mut Task<'_>) -> bool {
        let work = match self.work {
            Work::Handshake(_, deadline) | Work::Linger(deadline, _) => Some(deadline),
            _ => None,
        };
        let stall = self.waits_for_peer().then(|| self.stall_deadline());
        let machine = self
            .machine_deadline()
            .map(|mono| self.context.clock.instant(mono));
        let next = [machine, work, stall, self.out.rest_at()]
            .into_iter()
            .flatten()
            .min();
        if let Some(next) = next
            && self.armed.is_none_or(|armed| next < armed)
        {
            self.timer.set_at(next);
            self.armed = Some(next);
        }
        if self.armed.is_none() {
            return false;
        }
        let fired = Pin::new(&mut self.timer).poll(cx).is_ready();
        if fired {
            self.armed = None;
        }
        fired
    }
}

fn lost(error: io::Error) -> End {
    End::PeerGone(Some(error))
}
