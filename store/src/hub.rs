//! Who wants to hear of changes: sessions watch a mailbox or an account, operations announce.
//!
//! News is one bit ("look again"): a session that hears it pulls the difference when its protocol lets it speak.
//!
//! What other processes do is announced by whoever finds it. A store that can be told of it keeps an ear on each watched
//! scope: it is kept here with the watches, and dropped with the last of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmail_core::machine::Scope;
use rmail_core::mailbox::ModSeq;

use crate::disk::Changes;

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
    tags: BTreeMap<u64, Scope>,
}

#[derive(Default)]
struct Watched {
    /// Names the scope as long as it is watched.
    tag: u64,
    latest: ModSeq,
    wakes: BTreeMap<u64, Wake>,
    ear: Option<Ear>,
}

/// What hears of a scope's changes by other processes as long as it is not dropped.
pub struct Ear {
    /// What it listens at, such as the inode number of a file: another may have come into its place.
    pub mark: u64,
    /// Dropped with the last watch.
    pub guard: Box<dyn Send + Sync>,
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
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        let watched = inner.scopes.entry(scope.clone()).or_default();
        let new = watched.tag == 0;
        if new {
            watched.tag = id;
        }
        let late = watched.latest > seen;
        watched.wakes.insert(id, Arc::clone(&wake));
        if new {
            inner.tags.insert(id, scope.clone());
        }
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
        let mut inner = self.lock();
        let Some(watched) = inner.scopes.get_mut(scope) else {
            return;
        };
        watched.latest = watched.latest.max(modseq);
        let wakes: Vec<Wake> = watched.wakes.values().cloned().collect();
        drop(inner);
        wakes.iter().for_each(|wake| wake());
    }

    /// Tells the watchers of a scope that has no MODSEQ, or whose MODSEQ is not known, that it changed.
    pub fn announce_change(&self, scope: &Scope) {
        let latest = self.lock().scopes.get(scope).map(|watched| watched.latest);
        if let Some(latest) = latest {
            self.announce(scope, ModSeq(latest.0.saturating_add(1)));
        }
    }

    /// Tells the watchers of all lists: of something that belongs to no account.
    pub fn announce_lists(&self) {
        for (scope, _) in self.watched() {
            if matches!(scope, Scope::List(_)) {
                self.announce_change(&scope);
            }
        }
    }

    /// The scopes that somebody watches, with the latest MODSEQ announced: for the poll that finds the changes of
    /// other processes.
    #[must_use]
    pub fn watched(&self) -> Vec<(Scope, ModSeq)> {
        let inner = self.lock();
        inner
            .scopes
            .iter()
            .map(|(scope, watched)| (scope.clone(), watched.latest))
            .collect()
    }

    /// Those of the watched scopes that may have changed, with the latest MODSEQ announced.
    #[must_use]
    pub fn changed(&self, changes: &Changes) -> Vec<(Scope, ModSeq)> {
        let Changes::Of(tags) = changes else {
            return self.watched();
        };
        let inner = self.lock();
        let scopes = tags.iter().filter_map(|tag| inner.tags.get(tag));
        let latest = |scope: &Scope| Some((scope.clone(), inner.scopes.get(scope)?.latest));
        scopes.filter_map(latest).collect()
    }

    /// Whether somebody watches such a scope.
    #[must_use]
    pub fn is_watched(&self, what: impl Fn(&Scope) -> bool) -> bool {
        self.lock().scopes.keys().any(what)
    }

    /// Whether somebody watches this scope.
    #[must_use]
    pub fn watches(&self, scope: &Scope) -> bool {
        self.lock().scopes.contains_key(scope)
    }

    /// Whether there is an ear on every watched scope of this kind.
    #[must_use]
    pub fn hears(&self, what: impl Fn(&Scope) -> bool) -> bool {
        let inner = self.lock();
        let mut scopes = inner.scopes.iter().filter(|(scope, _)| what(scope));
        scopes.all(|(_, watched)| watched.ear.is_some())
    }

    /// The tag under which changes of a scope are told, and the mark of the ear that it has. `None`: nobody watches it.
    #[must_use]
    pub fn ear(&self, scope: &Scope) -> Option<(u64, Option<u64>)> {
        let inner = self.lock();
        let watched = inner.scopes.get(scope)?;
        Some((watched.tag, watched.ear.as_ref().map(|ear| ear.mark)))
    }

    /// Keeps an ear on the scope with this tag, in the place of the one before, until nobody watches it.
    pub fn keep(&self, tag: u64, ear: Ear) {
        let mut inner = self.lock();
        let scope = inner.tags.get(&tag).cloned();
        let watched = scope.and_then(|scope| inner.scopes.get_mut(&scope));
        let old = match watched {
            Some(watched) => watched.ear.replace(ear),
            None => Some(ear),
        };
        drop(inner);
        drop(old);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        let mut last = None;
        if let Some(watched) = inner.scopes.get_mut(&self.scope) {
            watched.wakes.remove(&self.id);
            if watched.wakes.is_empty() {
                last = inner.scopes.remove(&self.scope);
            }
        }
        if let Some(watched) = &last {
            inner.tags.remove(&watched.tag);
        }
        drop(inner);
        drop(last);
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ear({})", self.mark)
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

    #[test]
    fn an_ear_is_kept_as_long_as_somebody_watches() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let hub = Arc::new(Hub::default());
        let scope = |name| Scope::Account(Address::parse(name).expect("address").canonical());
        let (one, two) = (scope("a@x.y"), scope("b@x.y"));
        let dropped = Arc::new(AtomicUsize::new(0));
        let ear = |mark| Ear {
            mark,
            guard: Box::new(Counted(Arc::clone(&dropped))),
        };
        let count = || dropped.load(Ordering::Relaxed);
        assert_eq!(hub.ear(&one), None);
        let quiet = || Arc::new(|| {}) as Wake;
        let first = hub.watch(one.clone(), ModSeq(1), quiet());
        let second = hub.watch(one.clone(), ModSeq(1), quiet());
        let (tag, none) = hub.ear(&one).expect("watched");
        assert_eq!((none, hub.hears(|_| true)), (None, false));
        hub.keep(tag, ear(7));
        hub.keep(tag, ear(8));
        assert_eq!((hub.ear(&one), count()), (Some((tag, Some(8))), 1));
        let other = hub.watch(two.clone(), ModSeq(1), quiet());
        assert!(hub.hears(|scope| *scope == one) && !hub.hears(|_| true));
        let names = |changes| -> Vec<Scope> {
            hub.changed(&changes)
                .into_iter()
                .map(|(scope, _)| scope)
                .collect()
        };
        assert!(names(Changes::Of([tag, 999].into())).iter().eq([&one]));
        assert_eq!(names(Changes::All).len(), 2);
        drop(first);
        assert_eq!(count(), 1, "somebody still watches");
        drop(second);
        assert_eq!((count(), hub.ear(&one)), (2, None));
        hub.keep(tag, ear(9));
        assert_eq!(count(), 3, "too late: nobody wants it");
        assert_eq!(names(Changes::Of([tag].into())), [], "the tag is of nobody");
        assert!(hub.is_watched(|scope| *scope == two) && !hub.is_watched(|scope| *scope == one));
        drop(other);
    }
}
