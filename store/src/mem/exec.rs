//! A seeded executor: at every step it picks one of the tasks that can go on, so that a seed is an interleaving.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use rmail_core::random::Random;

/// Runs futures on this thread, one poll at a time, in an order drawn from a seed.
///
/// Over a [`super::MemDisk`], which yields at every call, two operations are interleaved between any two of their disk
/// calls; the same seed gives the same run.
pub struct Exec<'a> {
    random: Random,
    next: u64,
    tasks: Vec<Task<'a>>,
}

/// Names a task of an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

/// Tasks wait, and nothing can wake them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// How many.
    pub waiting: usize,
}

struct Task<'a> {
    id: TaskId,
    ready: Arc<Ready>,
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
}

struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl<'a> Exec<'a> {
    /// An executor without tasks.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self {
            random,
            next: 0,
            tasks: Vec::new(),
        }
    }

    /// Adds a task; it does not run before the next step.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'a) -> TaskId {
        self.next += 1;
        let id = TaskId(self.next);
        self.tasks.push(Task {
            id,
            ready: Arc::new(Ready(AtomicBool::new(true))),
            future: Box::pin(future),
        });
        id
    }

    /// Drops a task where it stands, as a kill does.
    pub fn cancel(&mut self, id: TaskId) {
        self.tasks.retain(|task| task.id != id);
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether all tasks have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Polls one task that can go on. False: there is none.
    pub fn step(&mut self) -> bool {
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|at| {
                self.tasks
                    .get(*at)
                    .is_some_and(|task| task.ready.0.load(Ordering::Acquire))
            })
            .collect();
        let draw = usize::try_from(self.random.below(ready.len() as u64)).unwrap_or(0);
        let Some(at) = ready.get(draw).copied() else {
            return false;
        };
        let Some(task) = self.tasks.get_mut(at) else {
            return false;
        };
        task.ready.0.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.ready));
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
            self.tasks.remove(at);
        }
        true
    }

    /// Runs until every task has ended.
    ///
    /// # Errors
    /// No task can go on, but some have not ended: they wait for each other.
    pub fn run(&mut self) -> Result<(), Stalled> {
        while self.step() {}
        if self.tasks.is_empty() {
            Ok(())
        } else {
            Err(Stalled {
                waiting: self.tasks.len(),
            })
        }
    }
}

impl fmt::Debug for Exec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

/// Pending once, and woken at once: a point where another task may go on.
#[derive(Debug, Default)]
pub struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn trace(seed: u8) -> Vec<u8> {
        let seen = RefCell::new(Vec::new());
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        for name in 0..3 {
            let seen = &seen;
            exec.spawn(async move {
                for _ in 0..4 {
                    seen.borrow_mut().push(name);
                    Yield::default().await;
                }
            });
        }
        assert_eq!(exec.run(), Ok(()));
        drop(exec);
        seen.into_inner()
    }

    #[test]
    fn a_seed_is_an_interleaving() {
        assert_eq!(trace(1), trace(1));
        assert_eq!(trace(1).len(), 12);
        assert_ne!(trace(1), trace(2));
    }

    #[test]
    fn a_task_that_nothing_wakes_is_a_stall() {
        let mut exec = Exec::new(Random::from_seed([0; 32]));
        let id = exec.spawn(std::future::pending());
        assert_eq!(exec.run(), Err(Stalled { waiting: 1 }));
        exec.cancel(id);
        assert_eq!(exec.run(), Ok(()));
    }
}
