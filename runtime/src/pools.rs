//! Threads for work that would hold up the executor: waits for the disk, reads, computation. Each kind has its own
//! bound, so that slow syncs cannot keep a password check waiting.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use rmail_store::service::Pool as Kind;

use crate::engine::heritage;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);
/// Syncs in flight: they wait for the device, which merges them.
const SYNC_THREADS: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The pools of a process. Dropping them lets every job that was submitted finish.
#[derive(Debug)]
pub struct Pools {
    sync: Workers,
    read: Workers,
    cpu: Workers,
    password: Workers,
}

/// A job panicked; what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked(pub String);

impl Pools {
    /// Pools for a machine with so many cores: Sync up to 64 threads, Read two a core, Cpu and Password one less than
    /// cores each (at least one). Threads start when there is work and end after 10 s without.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            sync: Workers::new("rmail-sync", SYNC_THREADS),
            read: Workers::new("rmail-read", (2 * cores).max(2)),
            cpu: Workers::new("rmail-cpu", cores.saturating_sub(1).max(1)),
            password: Workers::new("rmail-password", cores.saturating_sub(1).max(1)),
        }
    }

    /// Waits until no job waits or runs, at most until `deadline`; whether it came to that. Blocks.
    #[must_use]
    pub fn rest(&self, deadline: Instant) -> bool {
        [&self.sync, &self.read, &self.cpu, &self.password]
            .iter()
            .all(|workers| workers.shared.rest(deadline))
    }

    /// Runs a job on a pool, after those submitted before. Its panics are caught and logged.
    pub fn submit(&self, kind: Kind, job: impl FnOnce() + Send + 'static) {
        match kind {
            Kind::Sync => &self.sync,
            Kind::Read => &self.read,
            Kind::Cpu => &self.cpu,
            Kind::Password => &self.password,
        }
        .submit(Box::new(job));
    }

    /// Runs a job on a pool; the future gives its result. Dropping the future does not stop the job.
    pub fn run<T: Send + 'static>(&self, kind: Kind, job: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let slot = Arc::new(Slot::default());
        let theirs = Arc::clone(&slot);
        self.submit(kind, move || {
            theirs.put(guarded(job));
        });
        Pending { slot }
    }

    /// [`Pools::run`] for an operation of the store, whose future stays on one thread.
    pub fn run_async<F: Future<Output = T>, T: Send + 'static>(
        &self,
        kind: Kind,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Pending<T> {
        self.run(kind, move || futures_lite::future::block_on(make()))
    }
}

/// Runs a closure; a panic becomes an error.
///
/// # Errors
/// It panicked.
pub fn guarded<T>(job: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|payload| Panicked(panic_text(payload.as_ref())))
}

/// What a panic said.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a job panicked: {}", self.0)
    }
}

impl std::error::Error for Panicked {}

/// The result of a job, once it is there.
#[must_use = "the result is lost"]
pub struct Pending<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.slot.waker.register(cx.waker());
        self.slot.value().take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

struct Slot<T> {
    value: Mutex<Option<Result<T, Panicked>>>,
    waker: AtomicWaker,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            value: Mutex::new(None),
            waker: AtomicWaker::new(),
        }
    }
}

impl<T> Slot<T> {
    fn value(&self) -> MutexGuard<'_, Option<Result<T, Panicked>>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, value: Result<T, Panicked>) {
        *self.value() = Some(value);
        self.waker.wake();
    }
}

/// One pool.
struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    max: usize,
    state: Mutex<State>,
    work: Condvar,
    /// Told when a thread has nothing to do.
    resting: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Workers {
    fn new(name: &'static str, max: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                name,
                max,
                state: Mutex::default(),
                work: Condvar::new(),
                resting: Condvar::new(),
            }),
        }
    }

    fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        state.queue.push_back(job);
        if state.queue.len() > state.idle && state.threads < self.shared.max {
            state.threads += 1;
            drop(state);
            self.spawn();
        } else {
            drop(state);
            self.shared.work.notify_one();
        }
    }

    /// Starts a thread; when the system has none to give and none runs, the caller does the work: late is better than
    /// never.
    fn spawn(&self) {
        let shared = Arc::clone(&self.shared);
        let belong = heritage();
        let started = thread::Builder::new()
            .name(shared.name.to_owned())
            .spawn(move || {
                let _here = belong();
                shared.work();
            });
        if let Err(error) = started {
            log::error!(target: "pools", "event=no_thread pool={} error={error:?}", self.shared.name);
            let mut state = self.shared.lock();
            state.threads -= 1;
            let job = if state.threads == 0 {
                state.queue.pop_front()
            } else {
                None
            };
            drop(state);
            if let Some(job) = job {
                run_logged(job);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                run_logged(job);
                state = self.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            self.resting.notify_all();
            let (woken, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.resting.notify_all();
    }

    fn rest(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while !state.queue.is_empty() || state.threads > state.idle {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.resting.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

fn run_logged(job: Job) {
    if let Err(panicked) = guarded(job) {
        log::error!(target: "pools", "event=panic error={:?}", panicked.0);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct(self.shared.name)
            .field("threads", &state.threads)
            .field("waiting", &state.queue.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_and_panics_come_back() {
        let pools = Pools::new(2);
        assert_eq!(block_on(pools.run(Kind::Read, || 6 * 7)), Ok(42));
        let broken = block_on(pools.run(Kind::Cpu, || -> u8 { panic!("told you") }));
        assert_eq!(broken, Err(Panicked("told you".to_owned())));
        assert_eq!(
            block_on(pools.run_async(Kind::Cpu, || async { 1 })),
            Ok(1),
            "the pool's only thread lives on"
        );
    }

    #[test]
    fn a_pool_grows_to_its_bound_and_no_further() {
        let pools = Pools::new(2); // Read: 4 threads
        let together = Arc::new(Barrier::new(4));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs: Vec<_> = (0..16)
            .map(|_| {
                let (together, running, most) =
                    (Arc::clone(&together), Arc::clone(&running), Arc::clone(&most));
                pools.run(Kind::Read, move || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    together.wait(); // passes only when four run at once
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for job in jobs {
            assert_eq!(block_on(job), Ok(()));
        }
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn a_password_does_not_wait_for_searches() {
        let pools = Pools::new(2); // one thread for each of the two
        let (finish, wait) = std::sync::mpsc::channel::<()>();
        let search = pools.run(Kind::Cpu, move || wait.recv());
        assert_eq!(block_on(pools.run(Kind::Password, || 1)), Ok(1));
        drop(finish);
        assert!(block_on(search).is_ok());
    }

    #[test]
    fn rest_is_when_all_is_done() {
        let pools = Pools::new(1);
        let (finish, wait) = std::sync::mpsc::channel::<()>();
        let job = pools.run(Kind::Read, move || wait.recv());
        assert!(!pools.rest(Instant::now()), "one runs");
        drop(finish);
        assert!(pools.rest(Instant::now() + Duration::from_secs(60)));
        assert!(block_on(job).is_ok());
    }

    #[test]
    fn jobs_submitted_before_the_end_are_done() {
        let pools = Pools::new(1);
        let jobs: Vec<_> = (0..100).map(|n| pools.run(Kind::Cpu, move || n)).collect();
        drop(pools);
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(block_on(job), Ok(n));
        }
    }
}
