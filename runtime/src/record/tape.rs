//! What one session hears and says.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmail_conformance::record::{Before, Event, Take, token_account};
use rmail_core::addr::AccountName;
use rmail_core::note::Note;

use crate::clock;

/// Octets of one session that are kept…
const MAX_SESSION: usize = 2 << 20;
/// …before a login, where only sessions of some accounts are wanted…
const MAX_UNKNOWN: usize = 64 << 10;
/// …in so many events…
const MAX_EVENTS: usize = 100_000;
/// …and of all sessions.
const MAX_ALL: usize = 64 << 20;
/// What an event costs beside its octets.
const COST: usize = 64;

/// Octets on all tapes, and of what was taken from them and is not written yet.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// Looks what an account holds.
pub(crate) type Look = Box<dyn Fn(&AccountName) -> Before + Send + Sync>;

/// What was kept of a session. It counts as what is on a tape until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Kept(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    take: Take,
    octets: usize,
}

impl Kept {
    fn new(mut take: Take, octets: usize) -> Self {
        if take.account.is_none() {
            take.account = token_account(&take);
        }
        Self(Arc::new(Counted { take, octets }))
    }

    pub(crate) fn take(&self) -> &Take {
        &self.0.take
    }
}

impl Borrow<Take> for Kept {
    fn borrow(&self) -> &Take {
        self.take()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALL.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// A session being recorded.
pub struct Tape {
    began: Instant,
    /// The other side.
    pub(super) peer: IpAddr,
    inner: Mutex<Inner>,
    look: Option<Look>,
}

#[derive(Debug)]
struct Inner {
    take: Take,
    kept: usize,
    /// Nobody wants it any more.
    off: bool,
    /// Only sessions of these accounts are wanted.
    only: Option<Vec<String>>,
}

impl Tape {
    /// A tape of a session that begins. `options` are those of its `@session` line.
    pub(crate) fn new(
        kind: &'static str,
        options: BTreeMap<String, String>,
        hostname: String,
        domains: Vec<String>,
        peer: IpAddr,
    ) -> Self {
        Self {
            began: Instant::now(),
            peer,
            inner: Mutex::new(Inner {
                take: Take {
                    kind,
                    options,
                    hostname,
                    domains,
                    began: clock::unix(),
                    account: None,
                    events: Vec::new(),
                    lasted: Duration::ZERO,
                    cut: false,
                    before: None,
                },
                kept: 0,
                off: false,
                only: None,
            }),
            look: None,
        }
    }

    /// What the account holds is looked at when it logs in.
    pub(crate) fn looking(self, look: Look) -> Self {
        Self {
            look: Some(look),
            ..self
        }
    }

    /// The client sent octets.
    pub(crate) fn said(&self, octets: &[u8]) {
        self.put(octets, true);
    }

    /// The server sends octets.
    pub(crate) fn sent(&self, octets: &[u8]) {
        self.put(octets, false);
    }

    /// The client sends no more.
    pub(crate) fn eof(&self) {
        self.mark(Event::Eof);
    }

    /// The server was told to go down.
    pub(crate) fn shutdown(&self) {
        self.mark(Event::Shutdown);
    }

    /// The server closes the connection.
    pub(crate) fn closed(&self) {
        self.mark(Event::Closed);
    }

    /// What the machine wants known: who logged in. What is given back looks what the account holds: it may read, and is to be
    /// run before the session goes on.
    pub(crate) fn note(self: &Arc<Self>, note: &Note) -> Option<impl FnOnce() + Send + use<>> {
        let Note::LoggedIn { account, .. } = note else {
            return None;
        };
        let mut inner = self.lock();
        let name = account.to_string();
        if inner.only.as_ref().is_some_and(|only| !only.contains(&name)) {
            inner.stop();
        }
        inner.take.account = Some(name);
        let wanted = self.look.is_some() && !inner.off && inner.take.before.is_none();
        drop(inner);
        let (tape, account) = (Arc::clone(self), account.clone());
        wanted.then_some(move || tape.look(&account))
    }

    fn look(&self, account: &AccountName) {
        let Some(look) = &self.look else { return };
        let at = self.began.elapsed();
        // A fault in it is none of the session's.
        let Ok(before) = std::panic::catch_unwind(AssertUnwindSafe(|| look(account))) else {
            return;
        };
        let octets = before.given.iter().map(|line| line.len() + COST).sum();
        let mut inner = self.lock();
        let before = match inner.make_room(octets) {
            true => Before { at, ..before },
            false => Before {
                left_out: Some("there was no room for what the account held before".to_owned()),
                ..Before::default()
            },
        };
        inner.take.before = Some(before);
    }

    /// Who logged in.
    pub(super) fn account(&self) -> Option<String> {
        self.lock().take.account.clone()
    }

    /// Only sessions of these accounts are wanted: of one without a login little is kept.
    pub(super) fn only(self, accounts: Option<Vec<String>>) -> Self {
        self.lock().only = accounts;
        self
    }

    /// Nothing more is kept, and what was is forgotten.
    pub(super) fn stop(&self) {
        self.lock().stop();
    }

    /// All that was kept: the session is over, or nobody wants the rest. `cut`: it goes on.
    pub(super) fn finish(&self, cut: bool) -> Kept {
        let mut inner = self.lock();
        inner.take.cut |= cut;
        inner.take.lasted = self.began.elapsed();
        inner.off = true;
        let octets = std::mem::take(&mut inner.kept);
        let take = Take {
            events: std::mem::take(&mut inner.take.events),
            before: inner.take.before.take(),
            ..inner.bare()
        };
        drop(inner);
        Kept::new(take, octets)
    }

    /// What was kept so far of a session that goes on, and that others want more of. It counts twice then: without room for
    /// it there is nothing.
    pub(super) fn copy(&self) -> Kept {
        let inner = self.lock();
        let fits = ALL.fetch_add(inner.kept, Ordering::Relaxed) + inner.kept <= MAX_ALL;
        let (mut take, octets) = match fits {
            true => (inner.take.clone(), inner.kept),
            false => {
                ALL.fetch_sub(inner.kept, Ordering::Relaxed);
                (inner.bare(), 0)
            }
        };
        take.cut = true;
        take.lasted = self.began.elapsed();
        drop(inner);
        Kept::new(take, octets)
    }

    fn put(&self, octets: &[u8], client: bool) {
        if octets.is_empty() {
            return;
        }
        let at = self.began.elapsed();
        let mut inner = self.lock();
        // Neighbours are joined: a session that is slow to be read has many.
        let joined = match inner.take.events.last() {
            Some((last, Event::Said(_))) => client && at.saturating_sub(*last) < Duration::from_millis(100),
            Some((_, Event::Sent(_))) => !client,
            _ => false,
        };
        if !inner.make_room(octets.len() + if joined { 0 } else { COST }) {
            return;
        }
        match inner.take.events.last_mut() {
            Some((_, Event::Said(before) | Event::Sent(before))) if joined => {
                before.extend_from_slice(octets)
            }
            _ => {
                let event = if client { Event::Said } else { Event::Sent };
                inner.take.events.push((at, event(octets.to_vec())));
            }
        }
    }

    fn mark(&self, event: Event) {
        let at = self.began.elapsed();
        let mut inner = self.lock();
        if inner.make_room(COST) {
            inner.take.events.push((at, event));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether so many octets more can be kept; if not, nothing is from now on.
    fn make_room(&mut self, octets: usize) -> bool {
        if self.off || self.take.cut {
            return false;
        }
        if self.only.is_some() && self.take.account.is_none() && self.kept + octets > MAX_UNKNOWN {
            self.stop();
            return false;
        }
        let fits = self.kept + octets <= MAX_SESSION && self.take.events.len() < MAX_EVENTS;
        if fits && ALL.fetch_add(octets, Ordering::Relaxed) + octets <= MAX_ALL {
            self.kept += octets;
            return true;
        }
        if fits {
            ALL.fetch_sub(octets, Ordering::Relaxed);
        }
        self.take.cut = true;
        false
    }

    /// The take without what is kept.
    fn bare(&self) -> Take {
        let own = &self.take;
        Take {
            kind: own.kind,
            options: own.options.clone(),
            hostname: own.hostname.clone(),
            domains: own.domains.clone(),
            began: own.began,
            account: own.account.clone(),
            events: Vec::new(),
            lasted: own.lasted,
            cut: own.cut,
            before: None,
        }
    }

    fn stop(&mut self) {
        self.off = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.take.events = Vec::new();
        self.take.before = None;
        ALL.fetch_sub(self.kept, Ordering::Relaxed);
        self.kept = 0;
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape")
            .field("peer", &self.peer)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use rmail_core::addr::Address;

    use super::*;

    fn taken(tape: &Tape) -> Take {
        tape.lock().take.clone()
    }

    fn tape() -> Tape {
        let peer = IpAddr::from([192, 0, 2, 1]);
        Tape::new("imap", BTreeMap::new(), "mail.test".to_owned(), Vec::new(), peer)
    }

    #[test]
    fn neighbours_are_joined() {
        let tape = tape();
        tape.sent(b"a");
        tape.sent(b"");
        tape.sent(b"b");
        tape.said(b"c");
        tape.closed();
        let events: Vec<Event> = taken(&tape).events.into_iter().map(|(_, event)| event).collect();
        assert_eq!(
            events,
            [
                Event::Sent(b"ab".to_vec()),
                Event::Said(b"c".to_vec()),
                Event::Closed
            ]
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_given_back() {
        let tape = tape();
        tape.said(&vec![b'x'; MAX_SESSION / 2]);
        assert!(!taken(&tape).cut);
        tape.sent(&vec![b'x'; MAX_SESSION / 2]);
        tape.closed();
        let take = taken(&tape);
        assert!(take.cut && take.events.len() == 1, "{}", take.events.len());
        tape.stop();
        assert_eq!(tape.lock().kept, 0);
        tape.said(b"more");
        assert!(taken(&tape).events.is_empty());
    }

    #[test]
    fn little_is_kept_of_those_who_are_perhaps_not_wanted() {
        let only = || tape().only(Some(vec!["a@x.test".to_owned()]));
        let login = |user: &str| Note::LoggedIn {
            account: Address::parse(user).expect("an address").canonical(),
            mechanism: "PLAIN",
        };
        let stranger = only();
        stranger.said(&vec![b'x'; MAX_UNKNOWN]);
        assert!(taken(&stranger).events.is_empty());
        let (one, other) = (only(), only());
        let (one, other) = (Arc::new(one), Arc::new(other));
        for tape in [&one, &other] {
            tape.said(b"x");
        }
        assert!(one.note(&login("a@x.test")).is_none());
        assert!(other.note(&login("b@x.test")).is_none());
        one.said(&vec![b'x'; MAX_UNKNOWN]);
        assert_eq!(taken(&one).events.len(), 1);
        assert!(taken(&other).events.is_empty());
    }

    #[test]
    fn what_waits_to_be_written_counts_until_it_is_gone() {
        // Others record at the same time: only differences far beyond theirs are looked at.
        const MUCH: usize = MAX_SESSION - COST;
        let tapes: Vec<Tape> = (0..8).map(|_| tape()).collect();
        let before = ALL.load(Ordering::Relaxed);
        tapes.iter().for_each(|tape| tape.said(&vec![b'x'; MUCH]));
        let kept: Vec<Kept> = tapes.iter().map(|tape| tape.finish(false)).collect();
        drop(tapes);
        let copies = kept.clone();
        drop(kept);
        assert!(ALL.load(Ordering::Relaxed) >= before + 7 * MUCH);
        drop(copies);
        assert!(ALL.load(Ordering::Relaxed) <= before + MUCH);
    }

    #[test]
    fn what_the_account_holds_is_looked_at_once() {
        let look = |account: &AccountName| Before {
            given: vec![format!("of {account}")],
            ..Before::default()
        };
        let tape = Arc::new(tape().looking(Box::new(look)));
        let account = Address::parse("a@x.test").expect("an address").canonical();
        let login = Note::LoggedIn {
            account,
            mechanism: "PLAIN",
        };
        let job = tape.note(&login).expect("something to look at");
        job();
        assert!(tape.note(&login).is_none());
        let kept = tape.finish(false);
        assert_eq!(
            kept.take().before.as_ref().map(|before| before.given.clone()),
            Some(vec!["of a@x.test".to_owned()])
        );
    }
}
