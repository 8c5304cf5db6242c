//! What the service manager is told (`sd_notify(3)`): nothing, unless it asked for it with `NOTIFY_SOCKET`.

use std::time::Duration;

use sd_notify::NotifyState;

/// We serve; `status` is shown by `systemctl status`.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload, or the start of a successor, begins: the next is [`ready`].
pub(crate) fn reloading(status: &str) {
    let states = [NotifyState::Reloading, NotifyState::Status(status)];
    match NotifyState::monotonic_usec_now() {
        Ok(now) => {
            let [reloading, status] = states;
            tell(&[reloading, now, status]);
        }
        Err(_) => tell(&states),
    }
}

/// We serve no more.
pub(crate) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// How we are.
pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Another process is the service from now on, and serves.
pub(crate) fn main_process(process: u32, status: &str) {
    tell(&[
        NotifyState::MainPid(process),
        NotifyState::Ready,
        NotifyState::Status(status),
    ]);
}

/// We are alive.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Whether anybody listens.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How long we may be silent before we are taken for dead; `None`: for ever.
pub(crate) fn watchdog() -> Option<Duration> {
    // A successor has the variable without the process that it was made for: it was that of its predecessor.
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!(target: "server", "event=notify_failed error={:?}", error.to_string());
    }
}
