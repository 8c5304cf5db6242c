//! What happens by the clock: looking for what other processes changed, syncing flags, new certificates.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_executor::Task;
use async_io::Timer;
use rmail_core::machine::Scope;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;

use super::host::Host;
use crate::pools::Panicked;

/// Between two looks at watched mailboxes: only for changes by other processes, ours are announced at once.
const MAILBOXES: Duration = Duration::from_secs(1);
/// Between two looks at watched accounts: a user who is disabled is out within 5 s.
const ACCOUNTS: Duration = Duration::from_secs(2);
/// Between two searches for what dead processes have left.
const TIDY: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks at the certificate's files.
const CERTIFICATE: Duration = Duration::from_secs(10);

/// Starts them; dropping one ends it.
pub(super) fn start<S: MailStore>(host: &Arc<Host<S>>) -> Vec<Task<()>> {
    let mut tasks = vec![
        spawn(host, poll_mailboxes(Arc::clone(host))),
        spawn(host, poll_accounts(Arc::clone(host))),
        spawn(host, watch_certificate(Arc::clone(host))),
        spawn(host, tidy(Arc::clone(host))),
    ];
    let flag_sync = host.config().store.flag_sync;
    if !flag_sync.is_zero() {
        tasks.push(spawn(host, flush_flags(Arc::clone(host), flag_sync)));
    }
    tasks
}

fn spawn<S: MailStore>(host: &Arc<Host<S>>, task: impl Future<Output = ()> + Send + 'static) -> Task<()> {
    host.executor.spawn(task)
}

fn watches<S: MailStore>(host: &Host<S>, what: impl Fn(&Scope) -> bool) -> bool {
    host.service.hub().watched().iter().any(|(scope, _)| what(scope))
}

async fn poll_mailboxes<S: MailStore>(host: Arc<Host<S>>) {
    loop {
        Timer::after(MAILBOXES).await;
        if watches(&host, |scope| matches!(scope, Scope::Mailbox(_))) {
            let store = Arc::clone(host.service.store());
            let poll = host.pools.run(Pool::Read, move || {
                futures_lite::future::block_on(store.poll_watched())
            });
            report("poll_mailboxes", poll.await);
        }
    }
}

async fn poll_accounts<S: MailStore>(host: Arc<Host<S>>) {
    loop {
        Timer::after(ACCOUNTS).await;
        if watches(&host, |scope| matches!(scope, Scope::Account(_))) {
            let service = Arc::clone(&host.service);
            let poll = host.pools.run(Pool::Read, move || {
                futures_lite::future::block_on(service.poll_accounts())
            });
            report("poll_accounts", poll.await);
        }
    }
}

async fn flush_flags<S: MailStore>(host: Arc<Host<S>>, every: Duration) {
    loop {
        Timer::after(every).await;
        flush(&host).await;
    }
}

async fn tidy<S: MailStore>(host: Arc<Host<S>>) {
    loop {
        let store = Arc::clone(host.service.store());
        let tidied = host
            .pools
            .run(Pool::Read, move || futures_lite::future::block_on(store.tidy()));
        if let Some(Err(error)) = report("tidy", tidied.await) {
            log::warn!(target: "store", "event=tidy_failed error={:?}", error.to_string());
        }
        Timer::after(TIDY).await;
    }
}

/// Syncs what was answered and not synced yet.
pub(super) async fn flush<S: MailStore>(host: &Host<S>) {
    let store = Arc::clone(host.service.store());
    let flush = host
        .pools
        .run(Pool::Sync, move || futures_lite::future::block_on(store.flush()));
    if let Some(Err(error)) = report("flush", flush.await) {
        log::error!(target: "store", "event=flush_failed error={:?}", error.to_string());
    }
}

/// Files that were replaced are taken without a signal; a broken pair is told once, not every time.
async fn watch_certificate<S: MailStore>(host: Arc<Host<S>>) {
    let mut told = None;
    loop {
        Timer::after(CERTIFICATE).await;
        told = reload_certificate(&host, told).await;
    }
}

/// Reloads the certificate. Returns what was wrong with it; the same as `told` is not logged again.
pub(super) async fn reload_certificate<S: MailStore>(host: &Host<S>, told: Option<String>) -> Option<String> {
    let config = host.config();
    let (tls, source) = (host.tls().cloned()?, config.tls.clone()?);
    let reload = host.pools.run(Pool::Read, move || tls.reload(&source));
    match report("reload_certificate", reload.await)? {
        Ok(false) => None,
        Ok(true) => {
            log::info!(target: "tls", "event=certificate_reloaded");
            None
        }
        Err(error) => {
            let text = error.to_string();
            if told.as_ref() != Some(&text) {
                log::error!(target: "tls", "event=certificate_kept error={text:?}");
            }
            Some(text)
        }
    }
}

/// The result, unless the job panicked.
fn report<T>(what: &str, result: Result<T, Panicked>) -> Option<T> {
    result
        .map_err(|panicked| log::error!(target: "server", "event=panic task={what} error={:?}", panicked.0))
        .ok()
}
