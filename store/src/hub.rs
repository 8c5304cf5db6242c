//! Who wants to hear of changes: sessions watch a mailbox or an account, operations announce.
//!
//! News is one bit ("look again"): a session that hears it pulls the difference when its protocol lets it speak.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rmail_core::machine::Scope;
use rmail_core::mailbox::ModSeq;

/// Called at most once per announcement, on the announcing thread: it must only set a flag and wake somebody.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The watches of one process.
#[derive(Default)]
pub struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    scopes: HashMap<Scope, Watched>,
}

#[derive(Default)]
struct Watched {
    latest: ModSeq,
    wakes: BTreeMap<u64, Wake>,
}

/// A watch; dropping it ends it.
pub struct Watch {
    hub: Arc<Hub>,
    scope: Scope,
    id: u64,
}

impl Hub {
    /// Watches a scope. `wake` is called at once if an announcement past `seen` came already.
    #[must_use]
    pub fn watch(self: &Arc<Self>, scope: Scope, seen: ModSeq, wake: Wake) -> Watch {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.next += 1;
        let id = inner.next;
        let watched = inner.scopes.entry(scope.clone()).or_default();
        let late = watched.latest > seen;
        watched.wakes.insert(id, Arc::clone(&wake));
        drop(inner);
        if late {
            wake();
        }
        Watch {
            hub: Arc::clone(self),
            scope,
            id,
        }
    }

    /// Tells the watchers of a scope that it changed up to `modseq`.
    pub fn announce(&self, scope: &Scope, modseq: ModSeq) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = inner.scopes.get_mut(scope) else {
            return;
        };
        watched.latest = watched.latest.max(modseq);
        let wakes: Vec<Wake> = watched.wakes.values().cloned().collect();
        drop(inner);
        wakes.iter().for_each(|wake| wake());
    }

    /// The scopes that somebody watches, with the latest MODSEQ announced: for the poll that finds the changes of
    /// other processes.
    #[must_use]
    pub fn watched(&self) -> Vec<(Scope, ModSeq)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .scopes
            .iter()
            .map(|(scope, watched)| (scope.clone(), watched.latest))
            .collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.hub.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = inner.scopes.get_mut(&self.scope) {
            watched.wakes.remove(&self.id);
            if watched.wakes.is_empty() {
                inner.scopes.remove(&self.scope);
            }
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("watched", &self.watched()).finish()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({:?})", self.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::addr::Address;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_watch_hears_what_comes_and_what_came() {
        let hub = Arc::new(Hub::default());
        let scope = Scope::Account(Address::parse("a@x.y").expect("address").canonical());
        let heard = Arc::new(AtomicUsize::new(0));
        let wake = || {
            let heard = Arc::clone(&heard);
            Arc::new(move || {
                heard.fetch_add(1, Ordering::Relaxed);
            }) as Wake
        };
        hub.announce(&scope, ModSeq(9));
        let first = hub.watch(scope.clone(), ModSeq(1), wake());
        assert_eq!(
            heard.load(Ordering::Relaxed),
            0,
            "nobody watched: the session's own look comes after this"
        );
        hub.announce(&scope, ModSeq(3));
        assert_eq!(heard.load(Ordering::Relaxed), 1);
        let second = hub.watch(scope.clone(), ModSeq(2), wake());
        assert_eq!(
            heard.load(Ordering::Relaxed),
            2,
            "late for MODSEQ 3: told at once"
        );
        drop((first, second));
        hub.announce(&scope, ModSeq(4));
        assert_eq!((heard.load(Ordering::Relaxed), hub.watched().len()), (2, 0));
    }
}
