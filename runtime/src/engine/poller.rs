//! What the system has to tell: sockets that are ready, times that have come, other threads that call.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Instant;

use atomic_waker::AtomicWaker;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::guard;

/// Events that one call takes at most.
const EVENTS: usize = 64;
/// Numbers in events that are no socket's.
const CALL: u64 = 0;
const TIME: u64 = 1;
const FIRST: u64 = 2;

/// A socket of an engine: what it is ready for, as far as is known, and who waits for that.
pub(super) struct Source {
    number: u64,
    ready: AtomicU8,
    readers: AtomicWaker,
    writers: AtomicWaker,
    /// It is told when there is room to write.
    tells_of_room: AtomicBool,
}

/// Something is there to be read, or to be accepted.
pub(super) const READ: u8 = 1;
/// There is room to write.
pub(super) const WRITE: u8 = 2;
/// Nothing more comes, or all is over: reading never waits again.
const ENDED: u8 = 4;

impl Source {
    /// Takes it that it is ready for reading or writing; if it is not, the task is woken when it is.
    pub(super) fn take(&self, what: u8, task: &Context<'_>) -> bool {
        if self.has(what) {
            return true;
        }
        match what {
            WRITE => self.writers.register(task.waker()),
            _ => self.readers.register(task.waker()),
        }
        self.has(what)
    }

    fn has(&self, what: u8) -> bool {
        let before = self.ready.fetch_and(!what, Ordering::AcqRel);
        let enough = if what == READ { READ | ENDED } else { what };
        before & enough != 0
    }

    /// It may be ready still.
    pub(super) fn put(&self, what: u8) {
        self.ready.fetch_or(what, Ordering::AcqRel);
    }

    /// There was nothing to read, not even the end.
    pub(super) fn goes_on(&self) {
        self.ready.fetch_and(!ENDED, Ordering::AcqRel);
    }
}

/// An epoll instance, with a descriptor for calls of other threads and one for the time.
pub(super) struct Poller {
    epoll: OwnedFd,
    call: OwnedFd,
    clock: OwnedFd,
    sources: Mutex<HashMap<u64, Arc<Source>>>,
    numbers: AtomicU64,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    waiting: BTreeMap<(Instant, u64), Waker>,
    /// When the clock calls.
    armed: Option<Instant>,
}

/// What one look at the system brought; kept from one to the next for its memory.
pub(super) struct Heard {
    events: Vec<Event>,
    wakers: Vec<Waker>,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            events: Vec::with_capacity(EVENTS),
            wakers: Vec::new(),
        }
    }
}

impl Heard {
    /// Wakes all whom it is about.
    pub(super) fn tell(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let clock = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // By the edge: neither is ever read, each write and each alarm is news.
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &call, EventData::new_u64(CALL), edge)?;
        epoll::add(&epoll, &clock, EventData::new_u64(TIME), edge)?;
        Ok(Self {
            epoll,
            call,
            clock,
            sources: Mutex::default(),
            numbers: AtomicU64::new(FIRST),
            times: Mutex::default(),
        })
    }

    /// Wakes one thread that waits.
    pub(super) fn rouse(&self) {
        // It fails only after 2^64 calls that nobody has heard.
        let _ = rustix::io::write(&self.call, &1_u64.to_ne_bytes());
    }

    /// Looks what is new; waits for it if `sleep`.
    pub(super) fn wait(&self, heard: &mut Heard, sleep: bool) {
        let at_once = Timespec::default();
        let timeout = (!sleep).then_some(&at_once);
        heard.events.clear();
        let waited = epoll::wait(&self.epoll, spare_capacity(&mut heard.events), timeout);
        if waited.is_err() || heard.events.is_empty() {
            // Interrupted by a signal, which others see to.
            return;
        }
        let mut alarm = false;
        {
            let sources = guard(&self.sources);
            for event in &heard.events {
                match event.data.u64() {
                    CALL => {}
                    TIME => alarm = true,
                    number => {
                        if let Some(source) = sources.get(&number) {
                            source.hear(event.flags, &mut heard.wakers);
                        }
                    }
                }
            }
        }
        if alarm {
            self.ring(&mut heard.wakers);
        }
    }

    /// Takes a socket in, which does not block.
    pub(super) fn add(&self, socket: BorrowedFd<'_>) -> io::Result<Arc<Source>> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let source = Arc::new(Source {
            number,
            // Whoever tries finds out; the system tells what comes later.
            ready: AtomicU8::new(READ | WRITE),
            readers: AtomicWaker::new(),
            writers: AtomicWaker::new(),
            tells_of_room: AtomicBool::new(false),
        });
        guard(&self.sources).insert(number, Arc::clone(&source));
        let added = epoll::add(&self.epoll, socket, EventData::new_u64(number), Self::reading());
        if let Err(error) = added {
            guard(&self.sources).remove(&number);
            return Err(error.into());
        }
        Ok(source)
    }

    fn reading() -> EventFlags {
        EventFlags::IN | EventFlags::RDHUP | EventFlags::ET
    }

    /// From now on it is told too when there is room to write. Told at once if there is. Few sockets ever fill up, and each
    /// that is told of wakes a thread when it is new.
    pub(super) fn tell_of_room(&self, socket: BorrowedFd<'_>, source: &Source) -> io::Result<()> {
        if source.tells_of_room.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let flags = Self::reading() | EventFlags::OUT;
        epoll::modify(&self.epoll, socket, EventData::new_u64(source.number), flags)?;
        Ok(())
    }

    pub(super) fn remove(&self, socket: BorrowedFd<'_>, source: &Source) {
        let _ = epoll::delete(&self.epoll, socket);
        let source = guard(&self.sources).remove(&source.number);
        drop(source);
    }

    /// The waker is woken at that time. What is to be removed with [`Poller::forget`].
    pub(super) fn remind(&self, at: Instant, waker: Waker) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut times = guard(&self.times);
        times.waiting.insert((at, number), waker);
        // Most are later than one that waits, and forgotten before it comes.
        if times.armed.is_none_or(|armed| at < armed) {
            times.armed = Some(at);
            self.arm(at);
        }
        number
    }

    /// Another waker for the same time.
    pub(super) fn remind_instead(&self, at: Instant, number: u64, waker: &Waker) {
        if let Some(present) = guard(&self.times).waiting.get_mut(&(at, number)) {
            present.clone_from(waker);
        }
    }

    pub(super) fn forget(&self, at: Instant, number: u64) {
        let forgotten = guard(&self.times).waiting.remove(&(at, number));
        drop(forgotten);
    }

    /// Times that somebody waits for.
    #[cfg(test)]
    pub(super) fn times(&self) -> usize {
        guard(&self.times).waiting.len()
    }

    /// A time has come.
    fn ring(&self, wakers: &mut Vec<Waker>) {
        let now = Instant::now();
        let mut times = guard(&self.times);
        while let Some(first) = times.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            wakers.push(first.remove());
        }
        times.armed = times.waiting.keys().next().map(|(at, _)| *at);
        if let Some(at) = times.armed {
            self.arm(at);
        }
    }

    fn arm(&self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        let alarm = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                // Zero would be never.
                tv_nsec: i64::from(left.subsec_nanos()).max(1),
            },
        };
        // The descriptor is one, and the time is none that could be refused.
        let _ = timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &alarm);
    }
}

impl Source {
    fn hear(&self, flags: EventFlags, wakers: &mut Vec<Waker>) {
        let over = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let mut ready = 0;
        if over || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            ready |= READ;
        }
        if over || flags.contains(EventFlags::OUT) {
            ready |= WRITE;
        }
        if over || flags.contains(EventFlags::RDHUP) {
            ready |= ENDED;
        }
        self.put(ready);
        if ready & READ != 0 {
            wakers.extend(self.readers.take());
        }
        if ready & WRITE != 0 {
            wakers.extend(self.writers.take());
        }
    }
}
