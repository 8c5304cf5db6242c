//! A time to wait for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Inner;

/// Ready from a time on.
#[derive(Default)]
pub struct Timer {
    at: Option<Instant>,
    waiting: Option<Waiting>,
}

struct Waiting {
    engine: Arc<Inner>,
    number: u64,
    waker: Waker,
}

impl Timer {
    /// Never ready.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// Ready at that time.
    #[must_use]
    pub fn at(at: Instant) -> Self {
        Self {
            at: Some(at),
            waiting: None,
        }
    }

    /// Ready after so long.
    #[must_use]
    pub fn after(wait: Duration) -> Self {
        Instant::now()
            .checked_add(wait)
            .map_or_else(Self::never, Self::at)
    }

    /// Another time; to be polled again.
    pub fn set_at(&mut self, at: Instant) {
        self.forget();
        self.at = Some(at);
    }

    fn forget(&mut self) {
        if let (Some(at), Some(waiting)) = (self.at, self.waiting.take()) {
            waiting.engine.poller.forget(at, waiting.number);
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        if Instant::now() >= at {
            self.forget();
            return Poll::Ready(());
        }
        let waker = task.waker();
        match &mut self.waiting {
            Some(waiting) if waiting.waker.will_wake(waker) => {}
            Some(waiting) => {
                waiting.engine.poller.remind_instead(at, waiting.number, waker);
                waiting.waker.clone_from(waker);
            }
            None => match Inner::here() {
                Ok(engine) => {
                    let number = engine.poller.remind(at, waker.clone());
                    let waker = waker.clone();
                    self.waiting = Some(Waiting {
                        engine,
                        number,
                        waker,
                    });
                }
                // Without an engine nobody would ever wake it: what is waited for comes at once.
                Err(_) => return Poll::Ready(()),
            },
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.forget();
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Timer").field(&self.at).finish()
    }
}
