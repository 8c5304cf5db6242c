//! Time that passes only while nobody can go on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rmail_core::time::{Mono, Now, Unix};

/// The date on which every world begins.
pub const BEGIN: u64 = 1_700_000_000;

/// A clock of one process: all show the same date, and each counts its own time since its start.
#[derive(Clone)]
pub struct Clock {
    shared: Rc<Shared>,
    started: Duration,
}

#[derive(Default)]
struct Shared {
    now: Cell<Duration>,
    /// How far the date is ahead of what it was set to at first, in seconds.
    ahead: Cell<i64>,
    next: Cell<u64>,
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
}

impl Clock {
    pub fn new() -> Self {
        Self {
            shared: Rc::default(),
            started: Duration::ZERO,
        }
    }

    /// The clock of a process that starts now.
    pub fn restarted(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            started: self.elapsed(),
        }
    }

    /// Since the world began.
    pub fn elapsed(&self) -> Duration {
        self.shared.now.get()
    }

    pub fn now(&self) -> Now {
        let elapsed = self.elapsed();
        Now {
            mono: Mono(elapsed - self.started),
            unix: Unix(self.date()),
        }
    }

    /// Since 1970, as everybody's calendar has it now.
    pub fn date(&self) -> Duration {
        let begin = BEGIN.saturating_add_signed(self.shared.ahead.get());
        Duration::from_secs(begin) + self.elapsed()
    }

    /// Somebody sets the date; no time passes by that.
    pub fn jump(&self, seconds: i64) {
        self.shared.ahead.set(self.shared.ahead.get() + seconds);
    }

    /// Until a deadline of one of this process's machines; for ever without one.
    pub async fn deadline(&self, at: Option<Mono>) {
        match at {
            Some(at) => self.until(self.started.saturating_add(at.0)).await,
            None => std::future::pending().await,
        }
    }

    pub async fn sleep(&self, wait: Duration) {
        self.until(self.elapsed() + wait).await;
    }

    /// Until the world is so old.
    pub fn until(&self, at: Duration) -> Sleep {
        Sleep {
            shared: Rc::clone(&self.shared),
            at,
            key: None,
        }
    }

    /// When the next sleeper wakes.
    pub fn next(&self) -> Option<Duration> {
        let timers = self.shared.timers.borrow();
        timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Goes on to this age of the world, and wakes who waits for it.
    pub fn advance(&self, to: Duration) {
        self.shared.now.set(to.max(self.elapsed()));
        let mut due = Vec::new();
        {
            let mut timers = self.shared.timers.borrow_mut();
            while let Some(first) = timers.first_entry().filter(|first| first.key().0 <= to) {
                due.push(first.remove());
            }
        }
        due.into_iter().for_each(Waker::wake);
    }
}

pub struct Sleep {
    shared: Rc<Shared>,
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.shared.now.get() >= self.at {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            let number = self.shared.next.get();
            self.shared.next.set(number + 1);
            (self.at, number)
        });
        self.key = Some(key);
        let waker = context.waker().clone();
        self.shared.timers.borrow_mut().insert(key, waker);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.timers.borrow_mut().remove(&key);
        }
    }
}
