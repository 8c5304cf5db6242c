//! What one session hears and says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmail_conformance::record::{Event, Take};
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

/// Octets on all tapes.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// A session being recorded.
#[derive(Debug)]
pub struct Tape {
    began: Instant,
    /// The other side.
    pub(super) peer: IpAddr,
    inner: Mutex<Inner>,
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
                },
                kept: 0,
                off: false,
                only: None,
            }),
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

    /// What the machine wants known: who logged in.
    pub(crate) fn note(&self, note: &Note) {
        if let Note::LoggedIn { account, .. } = note {
            let account = account.to_string();
            let mut inner = self.lock();
            if inner.only.as_ref().is_some_and(|only| !only.contains(&account)) {
                inner.stop();
            }
            inner.take.account = Some(account);
        }
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

    /// What was kept so far; `cut`: the session goes on.
    pub(super) fn take(&self, cut: bool) -> Take {
        let mut inner = self.lock();
        inner.take.cut |= cut;
        inner.take.lasted = self.began.elapsed();
        inner.take.clone()
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

    fn stop(&mut self) {
        self.off = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.take.events = Vec::new();
        ALL.fetch_sub(self.kept, Ordering::Relaxed);
        self.kept = 0;
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
        let events: Vec<Event> = tape
            .take(false)
            .events
            .into_iter()
            .map(|(_, event)| event)
            .collect();
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
        assert!(!tape.take(false).cut);
        tape.sent(&vec![b'x'; MAX_SESSION / 2]);
        tape.closed();
        let take = tape.take(false);
        assert!(take.cut && take.events.len() == 1, "{}", take.events.len());
        tape.stop();
        assert_eq!(tape.lock().kept, 0);
        tape.said(b"more");
        assert!(tape.take(false).events.is_empty());
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
        assert!(stranger.take(false).events.is_empty());
        let (one, other) = (only(), only());
        for tape in [&one, &other] {
            tape.said(b"x");
        }
        one.note(&login("a@x.test"));
        other.note(&login("b@x.test"));
        one.said(&vec![b'x'; MAX_UNKNOWN]);
        assert_eq!(one.take(false).events.len(), 1);
        assert!(other.take(false).events.is_empty());
    }
}
