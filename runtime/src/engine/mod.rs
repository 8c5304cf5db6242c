//! The executor and what wakes it: threads that share one queue of tasks and one epoll instance.
//!
//! Whoever hears of a socket runs the session behind it: a thread that waits in epoll_wait(2) is a thread of the executor, and
//! the system wakes one for each event. Between a command and its answer no thread wakes another. (With a reactor that any
//! thread drives for all, each command went through two threads and woke a third: 7 switches a delivered message, and
//! on a virtual machine a switch costs as much as a system call that writes.)
//!
//! What is made on a thread of an engine belongs to it: sockets ([`Io`]) and timers ([`Timer`]). Anywhere else they belong
//! to an engine of the process, which has one thread.

mod io;
mod poller;
mod signals;
mod timer;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};

use async_task::Runnable;
use pin_project_lite::pin_project;

use crate::pools::guarded;

pub use async_task::Task;
pub use io::Io;
pub use signals::{Signal, Signals};
pub use timer::Timer;

use poller::{Heard, Poller};

/// Tasks that a thread runs before it asks the system for news: those who have just something to say are heard in between.
const ROUND: NonZeroUsize = NonZeroUsize::new(32).unwrap();

thread_local! {
    static HERE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Where a thread belongs.
#[derive(Clone)]
struct Place {
    inner: Arc<Inner>,
    /// It runs tasks of the engine.
    runs: bool,
}

/// The engine of whoever is on no engine's thread.
static OF_THE_PROCESS: LazyLock<std::io::Result<(Arc<Engine>, Threads)>> = LazyLock::new(|| {
    let engine = Arc::new(Engine::new()?);
    let threads = Threads::start(NonZeroUsize::MIN, "rmail-io", &engine)?;
    Ok((engine, threads))
});

/// An executor. Dropping it drops its tasks.
pub struct Engine(Arc<Inner>);

/// What the threads of an engine share.
struct Inner {
    poller: Poller,
    ready: Mutex<VecDeque<Runnable>>,
    /// Threads that wait for the system's word.
    asleep: AtomicUsize,
    /// One of them was woken for the queue, and has not looked yet.
    roused: AtomicBool,
    /// Tasks that are not over, so that they can be dropped.
    tasks: Mutex<HashMap<u64, Waker>>,
    numbers: AtomicU64,
}

impl Engine {
    /// An engine without threads and tasks.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            poller: Poller::new()?,
            ready: Mutex::default(),
            asleep: AtomicUsize::new(0),
            roused: AtomicBool::new(false),
            tasks: Mutex::default(),
            numbers: AtomicU64::new(0),
        })))
    }

    /// Begins a task. It ends when the handle is dropped, unless it was detached.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let entry = Entry(Arc::clone(&self.0), number);
        let future = Tracked { future, entry };
        let inner = Arc::clone(&self.0);
        let (runnable, task) = async_task::spawn(future, move |runnable| inner.push(runnable));
        guard(&self.0.tasks).insert(number, runnable.waker());
        runnable.schedule();
        task
    }

    /// What this thread makes is this engine's, until the guard is dropped.
    pub fn enter(&self) -> Here {
        Here::enter(&self.0, false)
    }

    /// Runs one task, if one is ready.
    pub fn try_tick(&self) -> bool {
        let next = guard(&self.0.ready).pop_front();
        next.is_some_and(|runnable| {
            runnable.run();
            true
        })
    }

    /// Runs tasks on this thread until the future is ready. Only for an engine that has no threads of its own.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let _here = Here::enter(&self.0, true);
        let main = Arc::new(Main {
            inner: Arc::clone(&self.0),
            woken: AtomicBool::new(true),
        });
        let waker = Waker::from(Arc::clone(&main));
        let mut future = pin!(future);
        let mut heard = Heard::default();
        loop {
            if main.woken.swap(false, Ordering::SeqCst)
                && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return value;
            }
            self.0.turn(&mut heard, || main.woken.load(Ordering::SeqCst));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let tasks: Vec<Waker> = guard(&self.0.tasks).drain().map(|(_, waker)| waker).collect();
        tasks.into_iter().for_each(Waker::wake);
        loop {
            // Dropping one may drop or wake others.
            let next = guard(&self.0.ready).pop_front();
            if next.is_none() {
                return;
            }
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, ready) = (guard(&self.0.tasks).len(), guard(&self.0.ready).len());
        write!(f, "Engine({tasks} tasks, {ready} ready)")
    }
}

/// The future that [`Engine::block_on`] waits for.
struct Main {
    inner: Arc<Inner>,
    woken: AtomicBool,
}

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.inner.rouse();
    }
}

pin_project! {
    /// A task with its entry; no async block, which would have the future twice.
    struct Tracked<F> {
        #[pin]
        future: F,
        entry: Entry,
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(task)
    }
}

/// A task is over when this is dropped.
struct Entry(Arc<Inner>, u64);

impl Drop for Entry {
    fn drop(&mut self) {
        let task = guard(&self.0.tasks).remove(&self.1);
        drop(task);
    }
}

impl Inner {
    /// The engine of this thread, or that of the process.
    fn here() -> std::io::Result<Arc<Self>> {
        if let Some(place) = HERE.with_borrow(Clone::clone) {
            return Ok(place.inner);
        }
        match &*OF_THE_PROCESS {
            Ok((engine, _)) => Ok(Arc::clone(&engine.0)),
            Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// Whether this thread runs its tasks.
    fn is_run_here(self: &Arc<Self>) -> bool {
        let runs = |place: &Place| place.runs && Arc::ptr_eq(&place.inner, self);
        HERE.with_borrow(|here| here.as_ref().is_some_and(runs))
    }

    /// A task is ready.
    fn push(self: &Arc<Self>, runnable: Runnable) {
        let waiting = {
            let mut ready = guard(&self.ready);
            ready.push_back(runnable);
            ready.len()
        };
        // A thread of the engine goes on with the first itself, as soon as its present turn is over.
        if waiting > 1 || !self.is_run_here() {
            self.rouse();
        }
    }

    /// Wakes a thread that sleeps, if one does.
    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) > 0 && !self.roused.swap(true, Ordering::SeqCst) {
            self.poller.rouse();
        }
    }

    /// Runs what is ready, or waits for the system's word if nothing is. `woken`: it must not wait.
    fn turn(&self, heard: &mut Heard, woken: impl Fn() -> bool) {
        for _ in 0..ROUND.get() {
            let (next, more) = {
                let mut ready = guard(&self.ready);
                (ready.pop_front(), !ready.is_empty())
            };
            let Some(runnable) = next else {
                return self.wait(heard, woken);
            };
            if more {
                self.rouse();
            }
            runnable.run();
        }
        self.poller.wait(heard, false);
        self.heed(heard);
    }

    fn wait(&self, heard: &mut Heard, woken: impl Fn() -> bool) {
        self.asleep.fetch_add(1, Ordering::SeqCst);
        // Whoever makes something ready from here on sees that one sleeps.
        let sleep = guard(&self.ready).is_empty() && !woken();
        self.poller.wait(heard, sleep);
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        self.heed(heard);
    }

    /// Whoever looks at what the system tells may take a call that was meant for another thread: the next one is made anew
    /// then, and what this one was made for is in the queue, which this thread sees to.
    fn heed(&self, heard: &mut Heard) {
        self.roused.store(false, Ordering::SeqCst);
        heard.tell();
    }
}

/// This thread belongs to an engine, until this is dropped.
#[must_use = "it is left at once"]
pub struct Here(Option<Place>);

impl Here {
    fn enter(inner: &Arc<Inner>, runs: bool) -> Self {
        let inner = Arc::clone(inner);
        Self(HERE.replace(Some(Place { inner, runs })))
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Here")
    }
}

/// What a thread does that is started here: to belong to the engine that this one belongs to.
pub(crate) fn heritage() -> impl FnOnce() -> Option<Here> + Send {
    let place = HERE.with_borrow(Clone::clone);
    move || place.map(|place| Here::enter(&place.inner, false))
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(self.0.take());
    }
}

/// Threads that run an engine's tasks.
pub struct Threads {
    inner: Arc<Inner>,
    stop: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts so many, called `name-0` and so on.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(count: NonZeroUsize, name: &str, engine: &Engine) -> std::io::Result<Self> {
        let mut threads = Self {
            inner: Arc::clone(&engine.0),
            stop: Arc::default(),
            handles: Vec::new(),
        };
        for n in 0..count.get() {
            let (inner, stop) = (Arc::clone(&engine.0), Arc::clone(&threads.stop));
            let run = move || {
                let _here = Here::enter(&inner, true);
                let mut heard = Heard::default();
                while !stop.load(Ordering::SeqCst) {
                    // A panic of a task comes up here: it ended that task, and the thread goes on.
                    let turn = || inner.turn(&mut heard, || stop.load(Ordering::SeqCst));
                    if let Err(panicked) = guarded(turn) {
                        log::error!(target: "server", "event=panic error={:?}", panicked.0);
                    }
                }
                // The next one.
                inner.rouse();
            };
            let handle = thread::Builder::new().name(format!("{name}-{n}")).spawn(run)?;
            threads.handles.push(handle);
        }
        Ok(threads)
    }

    /// Ends them, each after what it is at.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.inner.rouse();
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.handles.len())
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
