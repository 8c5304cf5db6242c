//! What happens by the clock: looking for what other processes changed, syncing flags, new certificates. What the system
//! tells of other processes' changes is heard at once.
//!
//! One timer serves all: a server with sessions wakes once a [`TICK`] and looks at memory only. One without sessions
//! and without anything to sync wakes only to look at the certificate's files.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::Task;
use crate::engine::Timer;
use futures_lite::FutureExt as _;
use rmail_core::machine::Scope;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::metrics::Family;
use rmail_store::service::Pool;

use super::host::Host;
use crate::clock;
use crate::flood::Flood;
use crate::pools::Panicked;
use crate::tls::{self, Memory, PairFiles, Stamp};

/// Between two looks at what there is to do.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two looks at what operators lift while nobody is held back.
const LIMITS: u32 = 5;
/// Ticks that a server at rest sleeps: whoever arrives wakes it, and a new certificate is in time after twenty seconds.
const RESTING: u32 = 20;
/// Ticks between two looks at watched accounts: a user who is disabled is out within 5 s.
const ACCOUNTS: u32 = 2;
/// So many times more rarely what is heard of is looked at: a change is told, unless its writer died half way.
const HEARD: u32 = 10;
/// Between hearing of changes twice: a mailbox that another process changes all the time is looked at so often.
const REST: Duration = Duration::from_millis(5);
/// Ticks between two looks at the certificate's files, while somebody is there.
const CERTIFICATE: u32 = 5;
/// How long lines of the history wait for others.
const HISTORY: Duration = Duration::from_millis(100);
/// Between two searches for what dead processes have left.
const TIDY: Duration = Duration::from_secs(24 * 3_600);

/// Starts them; dropping one ends it.
pub(super) fn start<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>) -> Vec<Task<()>> {
    let (flag_sync, poll) = (host.config().store.flag_sync, host.config().store.poll);
    let mut tasks = vec![
        host.executor.spawn(tick(Arc::clone(host), flag_sync, poll)),
        host.executor.spawn(hear(Arc::clone(host))),
        host.executor.spawn(tidy(Arc::clone(host))),
        host.executor.spawn(history(Arc::clone(host))),
    ];
    if !host.config().store.sweep.is_zero() {
        let every = host.config().store.sweep;
        tasks.push(host.executor.spawn(sweep(Arc::clone(host), every)));
    }
    if poll < TICK {
        tasks.push(host.executor.spawn(poll_often(Arc::clone(host), poll)));
    }
    if !flag_sync.is_zero() && flag_sync < TICK {
        tasks.push(host.executor.spawn(flush_often(Arc::clone(host), flag_sync)));
    }
    tasks
}

/// Work of the clock; a run that is not over when the next is due is not joined by another.
#[derive(Default)]
struct Work(Option<Task<()>>);

impl Work {
    fn begin<S: MailStore, D: Disk>(
        &mut self,
        host: &Host<S, D>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        if self.0.as_ref().is_none_or(Task::is_finished) {
            self.0 = Some(host.executor.spawn(work));
        }
    }
}

async fn tick<S: MailStore, D: Disk>(host: Arc<Host<S, D>>, flag_sync: Duration, poll: Duration) {
    let [
        mut mailboxes,
        mut accounts,
        mut certificate,
        mut flushing,
        mut limits,
        mut requests,
    ] = std::array::from_fn(|_| Work::default());
    let watch = Arc::new(async_lock::Mutex::new(Watched::default()));
    certificate.begin(&host, watch_certificates(Arc::clone(&host), Arc::clone(&watch)));
    #[cfg(feature = "acme")]
    let (mut acme, acme_memory) = {
        let (mut work, memory) = (Work::default(), Arc::default());
        work.begin(&host, crate::acme::tend(Arc::clone(&host), Arc::clone(&memory)));
        (work, memory)
    };
    let failures = Arc::new(Flood::default());
    // Shorter than a tick: somebody else's work. Zero: changes are synced before the answer, but mailboxes without changes
    // for a while still have to be marked clean.
    let flush_every = match flag_sync {
        Duration::ZERO => 1,
        every => u32::try_from(every.as_secs()).unwrap_or(u32::MAX),
    };
    let poll_every = u32::try_from(poll.as_secs()).unwrap_or(u32::MAX).max(1);
    let hub = host.service.hub();
    let mut count = 0_u64;
    loop {
        let before = count;
        let slept = sleep(&host).await;
        count += slept;
        let due = |every: u32| before / u64::from(every) != count / u64::from(every);
        // As often as this while there is somebody who hears of nothing; more rarely while all is heard.
        let look = |kind: fn(&Scope) -> bool, every: u32| {
            due(every) && hub.is_watched(kind) && (due(every.saturating_mul(HEARD)) || !hub.hears(kind))
        };
        host.tell_left_out();
        // With nobody held back there is nothing to lift: no thread is woken for it each second, and at rest none at all.
        // What was lifted meanwhile is heard when the first session arrives, before it can be refused.
        let (arrived, resting) = (slept == 0, slept == u64::from(RESTING));
        if arrived || due(LIMITS) && !resting || host.service.has_limits_to_tell(host.clock.now()) {
            limits.begin(&host, tend_limits(Arc::clone(&host)));
        }
        if due(LIMITS) && !host.service.hears_requests() {
            requests.begin(&host, hear_requests(Arc::clone(&host)));
        }
        if look(is_mailbox, poll_every) {
            mailboxes.begin(&host, poll_mailboxes(Arc::clone(&host)));
        }
        if look(is_account, ACCOUNTS) {
            accounts.begin(&host, poll_accounts(Arc::clone(&host)));
        }
        if due(CERTIFICATE) && host.tls().is_some() {
            certificate.begin(&host, watch_certificates(Arc::clone(&host), Arc::clone(&watch)));
        }
        #[cfg(feature = "acme")]
        if due(CERTIFICATE) && host.config().acme.is_some() {
            acme.begin(
                &host,
                crate::acme::tend(Arc::clone(&host), Arc::clone(&acme_memory)),
            );
        }
        if flush_every > 0 && due(flush_every) && host.service.store().is_dirty() {
            flushing.begin(&host, flush(Arc::clone(&host), Arc::clone(&failures)));
        }
    }
}

/// Sleeps for a tick; while nobody is there and nothing to be done, for several. How many.
async fn sleep<S: MailStore, D: Disk>(host: &Host<S, D>) -> u64 {
    host.sessions.forget_arrivals();
    if host.sessions.count() > 0
        || host.service.store().is_dirty()
        || host.service.has_limits_to_tell(host.clock.now())
    {
        after(host, TICK).await;
        return 1;
    }
    let arrival = async {
        host.sessions.arrival().await;
        0
    };
    // Operators wait for every process that has told whom it holds back, and for whom the system tells of nothing.
    let ticks = if host.service.has_held_back() || !host.service.hears_requests() {
        LIMITS
    } else {
        RESTING
    };
    let rest = async {
        after(host, TICK * ticks).await;
        u64::from(ticks)
    };
    arrival.or(rest).await
}

/// Sleeps so long, and counts how much later it was.
async fn after<S: MailStore, D: Disk>(host: &Host<S, D>, pause: Duration) {
    let due = Instant::now() + pause;
    Timer::at(due).await;
    let metrics = host.service.metrics();
    metrics.observe(Family::LoopDelay, &[], due.elapsed());
}

fn is_mailbox(scope: &Scope) -> bool {
    matches!(scope, Scope::Mailbox(_) | Scope::List(_))
}

fn is_account(scope: &Scope) -> bool {
    matches!(scope, Scope::Account(_))
}

/// Looks at what other processes have changed as soon as the system tells of it.
async fn hear<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    loop {
        let changes = host.service.changes().await;
        let service = Arc::clone(&host.service);
        let asked = service.are_requests_among(&changes);
        let look = host.pools.run(Pool::Read, move || {
            futures_lite::future::block_on(service.look_at(&changes));
        });
        report("look_at_changes", look.await);
        if asked {
            hear_requests(Arc::clone(&host)).await;
        }
        Timer::after(REST).await;
    }
}

/// Hands to the relay what operators ask of the queue.
async fn hear_requests<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    let (service, now) = (Arc::clone(&host.service), host.clock.now());
    let hear = host.pools.run(Pool::Sync, move || {
        futures_lite::future::block_on(service.hear_requests(now.unix));
    });
    report("hear_requests", hear.await);
}

/// Writes down what became of messages, some moments after it has happened: many lines with one write.
async fn history<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    let (wake, woken) = async_channel::bounded(1);
    host.service.set_history_wake(Arc::new(move || {
        // Full: it is awake.
        let _ = wake.try_send(());
    }));
    while woken.recv().await.is_ok() {
        Timer::after(HISTORY).await;
        let service = Arc::clone(&host.service);
        let flush = host.pools.run(Pool::Read, move || {
            futures_lite::future::block_on(service.flush_history());
        });
        report("flush_history", flush.await);
    }
}

/// Looks at mailboxes more often than the clock ticks, while changes are not heard.
async fn poll_often<S: MailStore, D: Disk>(host: Arc<Host<S, D>>, every: Duration) {
    loop {
        if host.service.hub().hears(is_mailbox) {
            Timer::after(TICK).await;
        } else {
            Timer::after(every).await;
            poll_mailboxes(Arc::clone(&host)).await;
        }
    }
}

async fn poll_mailboxes<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    let store = Arc::clone(host.service.store());
    let poll = host.pools.run(Pool::Read, move || {
        futures_lite::future::block_on(store.poll_watched())
    });
    report("poll_mailboxes", poll.await);
}

/// Looks for changes by programs that take no lock.
async fn sweep<S: MailStore, D: Disk>(host: Arc<Host<S, D>>, every: Duration) {
    loop {
        Timer::after(every).await;
        if host.service.hub().is_watched(is_mailbox) {
            let store = Arc::clone(host.service.store());
            let swept = host.pools.run(Pool::Read, move || {
                futures_lite::future::block_on(store.sweep_watched())
            });
            report("sweep_watched", swept.await);
        }
    }
}

async fn poll_accounts<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    let service = Arc::clone(&host.service);
    service.accounts().tick(host.clock.now());
    let poll = host.pools.run(Pool::Read, move || {
        futures_lite::future::block_on(service.poll_accounts())
    });
    report("poll_accounts", poll.await);
}

/// Hears which limits operators lift, and tells whom this process holds back.
async fn tend_limits<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    let (service, now) = (Arc::clone(&host.service), host.clock.now());
    let tend = host.pools.run(Pool::Read, move || {
        futures_lite::future::block_on(service.tend_limits(now));
    });
    report("tend_limits", tend.await);
}

async fn flush_often<S: MailStore, D: Disk>(host: Arc<Host<S, D>>, every: Duration) {
    let failures = Arc::new(Flood::default());
    loop {
        Timer::after(every).await;
        if host.service.store().is_dirty() {
            flush(Arc::clone(&host), Arc::clone(&failures)).await;
        }
    }
}

async fn tidy<S: MailStore, D: Disk>(host: Arc<Host<S, D>>) {
    loop {
        let store = Arc::clone(host.service.store());
        let tidied = host
            .pools
            .run(Pool::Read, move || futures_lite::future::block_on(store.tidy()));
        if let Some(Err(error)) = report("tidy", tidied.await) {
            log::warn!(target: "store", "event=tidy_failed error={:?}", error.to_string());
        }
        let (service, now) = (Arc::clone(&host.service), host.clock.now());
        let tidied = host.pools.run(Pool::Read, move || {
            futures_lite::future::block_on(async {
                service.tidy_history(now.unix).await;
                service.tidy_requests(now.unix).await;
            });
        });
        report("tidy_history", tidied.await);
        Timer::after(TIDY).await;
    }
}

/// Syncs what was answered and not synced yet.
async fn flush<S: MailStore, D: Disk>(host: Arc<Host<S, D>>, failures: Arc<Flood>) {
    let store = Arc::clone(host.service.store());
    let flush = host
        .pools
        .run(Pool::Sync, move || futures_lite::future::block_on(store.flush()));
    let result = report("flush", flush.await);
    if let Some(Err(error)) = &result
        && failures.admits(Instant::now())
    {
        log::error!(target: "store", "event=flush_failed error={:?}", error.to_string());
    }
    host.sync_failed
        .store(!matches!(result, Some(Ok(()))), Ordering::Relaxed);
}

/// What is known of the certificates.
#[derive(Default)]
struct Watched {
    /// Their files as they were when they were read last.
    stamps: Vec<(PairFiles, Option<Stamp>)>,
    /// What was wrong with them: it is told once.
    told: Vec<String>,
    /// What was remarked of them.
    remarked: Memory,
}

/// Files that were replaced are taken without a signal. They are read only if they are not what they were. Then looks how
/// long the certificates are good.
async fn watch_certificates<S: MailStore, D: Disk>(
    host: Arc<Host<S, D>>,
    watched: Arc<async_lock::Mutex<Watched>>,
) {
    let config = host.config();
    let (Some(main), Some(tls)) = (&config.tls, host.tls()) else {
        return;
    };
    let files: Vec<_> = [main.files()]
        .into_iter()
        .chain(config.certificates.iter().cloned())
        .collect();
    let look = host.pools.run(Pool::Read, move || {
        let stamped = files.into_iter().map(|files| (Stamp::of(&files), files));
        stamped.map(|(stamp, files)| (files, stamp)).collect::<Vec<_>>()
    });
    let Some(stamps) = report("watch_certificates", look.await) else {
        return;
    };
    let mut watched = watched.lock().await;
    if stamps.iter().any(|(_, stamp)| stamp.is_none()) || stamps != watched.stamps {
        watched.stamps = stamps;
        watched.told = reload_certificates(&host, &watched.told).await;
    }
    let remarks = tls::remarks(
        &tls.current(),
        &config.certified_names(),
        clock::unix().0.as_secs(),
    );
    for remark in watched.remarked.news(remarks) {
        let level = match remark.urgent {
            true => log::Level::Error,
            false => log::Level::Warn,
        };
        log::log!(target: "tls", level, "event={} key={} what={:?}", remark.event, remark.path, remark.text);
    }
}

/// Reloads the certificates. Returns what was wrong with them; what is in `told` is not logged again.
pub(super) async fn reload_certificates<S: MailStore, D: Disk>(
    host: &Host<S, D>,
    told: &[String],
) -> Vec<String> {
    let config = host.config();
    let (Some(tls), Some(main)) = (host.tls().cloned(), config.tls.clone()) else {
        return Vec::new();
    };
    let reload = host
        .pools
        .run(Pool::Read, move || tls.reload(&main, &config.certificates));
    let Some(reloaded) = report("reload_certificates", reload.await) else {
        return Vec::new();
    };
    if reloaded.changed > 0 {
        log::info!(target: "tls", "event=certificate_reloaded changed={}", reloaded.changed);
    }
    let wrong: Vec<_> = reloaded.kept.iter().map(ToString::to_string).collect();
    for text in wrong.iter().filter(|text| !told.contains(text)) {
        log::error!(target: "tls", "event=certificate_kept error={text:?}");
    }
    wrong
}

/// The result, unless the job panicked.
fn report<T>(what: &str, result: Result<T, Panicked>) -> Option<T> {
    result
        .map_err(|panicked| log::error!(target: "server", "event=panic task={what} error={:?}", panicked.0))
        .ok()
}
