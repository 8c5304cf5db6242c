//! Sees to it that the server has a certificate.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_channel::Receiver;
use async_lock::Mutex;
use rmail_core::acme::State;
use rmail_core::text::rfc3339;
use rmail_core::time::Unix;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;

use super::{AcmeConfig, Done, Place, Trouble, order};
use crate::clock;
use crate::pools::guarded;
use crate::server::Host;

/// What is remembered is looked at again after so many seconds: another process may have changed it.
const LOOK: u64 = 3_600;
/// Another process orders: it takes about so many seconds.
const OTHER: u64 = 60;

/// What a process knows: there is nothing to do before then, unless something else is configured.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    config: Option<AcmeConfig>,
    look_at: Unix,
}

/// Orders a certificate, if it is time. Called every few seconds, and cheap when it is not.
pub(crate) async fn tend<S: MailStore, D: Disk>(host: Arc<Host<S, D>>, memory: Arc<Mutex<Memory>>) {
    let config = host.config();
    let Some(acme) = config.acme.clone() else { return };
    let mut memory = memory.lock().await;
    let now = clock::unix();
    if memory.config.as_ref() == Some(&acme) && now < memory.look_at {
        return;
    }
    memory.config = Some(acme.clone());
    memory.look_at = Unix::from_secs(now.secs() + OTHER);
    let place = Place::of(&config.mail_root);
    let look = host.pools.run(Pool::Read, move || place.state());
    let Ok(state) = look.await else { return };
    let mut due = state.due(&acme.wanted(), acme.renew_days);
    if due <= now {
        let mut working = match Working::begin(acme, config.mail_root.clone()) {
            Ok(working) => working,
            Err(error) => {
                log::error!(target: "acme", "event=no_thread error={:?}", error.to_string());
                return;
            }
        };
        let Some(next) = working.end().await else { return };
        due = next;
    }
    let now = clock::unix().secs();
    memory.look_at = Unix::from_secs(due.secs().clamp(now + 1, now + LOOK));
}

/// An order on a thread of its own, not on a pool: it may take minutes. Dropping it, as the end of the server does, stops
/// the order and waits until that has ended, so that nothing is left half done and the next server can order at once.
struct Working {
    /// Closed by its drop, by which the thread hears of the end. Then when the next order is due.
    answered: Receiver<Option<Unix>>,
    thread: Option<JoinHandle<()>>,
}

impl Working {
    fn begin(acme: AcmeConfig, mail_root: PathBuf) -> io::Result<Self> {
        let (answer, answered) = async_channel::bounded(1);
        let thread = std::thread::Builder::new().name("rmail-acme".to_owned());
        let thread = thread.spawn(move || {
            let due = guarded(|| ordered(&acme, &mail_root, answer.closed()));
            if let Err(panicked) = &due {
                log::error!(target: "acme", "event=panic error={:?}", panicked.0);
            }
            // Nobody listens any more at the end of the server.
            let _ = answer.try_send(due.ok());
        })?;
        Ok(Self {
            answered,
            thread: Some(thread),
        })
    }

    /// When the next order is due; `None`: this one came to no end of its own.
    async fn end(&mut self) -> Option<Unix> {
        self.answered.recv().await.ok().flatten()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.answered.close();
        if let Some(thread) = self.thread.take() {
            // What panicked was logged.
            let _ = thread.join();
        }
    }
}

/// Orders, and says so in the log; when the next order is due.
fn ordered(acme: &AcmeConfig, mail_root: &Path, stop: impl Future<Output = ()>) -> Unix {
    let wanted = acme.wanted();
    log::info!(target: "acme", "event=ordering names={:?} directory={:?}", acme.names, acme.directory);
    let due = |state: &State| state.due(&wanted, acme.renew_days) <= clock::unix();
    let mut tell = |step: &str| log::debug!(target: "acme", "event=step what={step:?}");
    let later = |seconds: u64| Unix::from_secs(clock::unix().secs() + seconds);
    match order(acme, mail_root, false, due, &mut tell, stop) {
        Ok(Done::Given(state)) => {
            let next = state.due(&wanted, acme.renew_days);
            log::info!(target: "acme", "event=certificate names={:?} expires={} next={}",
                acme.names, rfc3339::print(Unix::from_secs(state.expires)), rfc3339::print(next));
            next
        }
        Ok(Done::WouldBeGiven) | Err(Trouble::Busy) => {
            log::info!(target: "acme", "event=busy what=\"another process orders\"");
            later(OTHER)
        }
        Err(Trouble::Stopped) => {
            log::info!(target: "acme", "event=stopped what=\"the order goes on with the next start\"");
            later(OTHER)
        }
        Err(trouble) => {
            let state = Place::of(mail_root).state();
            let (error, advice) = match trouble {
                Trouble::There(failure) => (failure.text, failure.advice),
                Trouble::Here(text) => (text, format!("look at {}", mail_root.join("tls/acme").display())),
                Trouble::Busy | Trouble::Stopped => return later(OTHER),
            };
            // What could not be saved must not be asked again at once.
            let next = state.due(&wanted, acme.renew_days).max(later(OTHER));
            log::error!(target: "acme", "event=no_certificate names={:?} error={error:?} advice={advice:?} next={}",
                acme.names, rfc3339::print(next));
            next
        }
    }
}
