//! Who wants which sessions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use rmail_conformance::record::Event;

use super::{Kept, Tape};

/// Recordings at the same time.
const MAX_RECORDINGS: usize = 16;
/// Sessions of a recording that wait to be written; more are left out.
const WAITING: usize = 256;
/// Sessions that overlap and are one transcript.
const MAX_TOGETHER: usize = 8;

/// Which sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All.
    All,
    /// Those that log in as this account.
    User(String),
    /// Those from this address.
    Address(IpAddr),
}

/// Sessions that belong together.
pub type Recorded = Vec<Kept>;

/// All that is recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    recordings: BTreeMap<u64, Recording>,
    /// Sessions that are there, by connection.
    open: BTreeMap<u64, Arc<Tape>>,
}

#[derive(Debug)]
struct Recording {
    filter: Filter,
    to: Sender<Recorded>,
    /// Sessions that are over, of users with others that are not.
    held: BTreeMap<String, Recorded>,
}

/// A recording; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Wanted {
    id: u64,
    recorder: Arc<Recorder>,
    /// What was recorded.
    pub(crate) from: Receiver<Recorded>,
}

/// A session that is recorded, in the hands of its host; its end is the tape's.
#[derive(Debug)]
pub(crate) struct Reel {
    connection: u64,
    recorder: Arc<Recorder>,
    tape: Arc<Tape>,
}

impl Recorder {
    /// Begins to record; `None` if that is done too often already.
    pub(crate) fn begin(self: &Arc<Self>, filter: Filter) -> Option<Wanted> {
        let (to, from) = async_channel::bounded(WAITING);
        let mut inner = self.lock();
        if inner.recordings.len() >= MAX_RECORDINGS {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let held = BTreeMap::new();
        inner.recordings.insert(id, Recording { filter, to, held });
        Some(Wanted {
            id,
            recorder: Arc::clone(self),
            from,
        })
    }

    /// A session begins: it has a tape if somebody may want it.
    pub(crate) fn session(
        self: &Arc<Self>,
        connection: u64,
        peer: IpAddr,
        tape: impl FnOnce() -> Tape,
    ) -> Option<Reel> {
        let mut inner = self.lock();
        let mut only = Some(Vec::new());
        for recording in inner.recordings.values() {
            match (&recording.filter, &mut only) {
                (Filter::User(user), Some(only)) => only.push(user.clone()),
                (Filter::All, _) => only = None,
                (Filter::Address(address), _) if *address == peer => only = None,
                _ => {}
            }
        }
        if only.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let tape = Arc::new(tape().only(only));
        inner.open.insert(connection, Arc::clone(&tape));
        Some(Reel {
            connection,
            recorder: Arc::clone(self),
            tape,
        })
    }

    fn over(&self, connection: u64, tape: &Tape) {
        let kept = tape.finish(false);
        let account = kept.take().account.clone();
        let mut inner = self.lock();
        inner.open.remove(&connection);
        let others = account.is_some() && inner.open.values().any(|other| other.account() == account);
        for recording in inner.recordings.values_mut() {
            if recording.filter.wants(account.as_deref(), tape.peer) {
                recording.over(kept.clone(), account.as_deref(), others);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filter {
    fn wants(&self, account: Option<&str>, peer: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::User(user) => account.is_some_and(|account| account.eq_ignore_ascii_case(user)),
            Self::Address(address) => *address == peer,
        }
    }
}

impl Recording {
    /// A session is over; with the others of its user that overlap it is one transcript.
    fn over(&mut self, take: Kept, account: Option<&str>, others: bool) {
        let Some(account) = account else {
            return self.send(vec![take]);
        };
        let held = self.held.entry(account.to_owned()).or_default();
        held.push(take);
        if !others || held.len() >= MAX_TOGETHER {
            let all = core::mem::take(held);
            self.held.remove(account);
            together(all).into_iter().for_each(|group| self.send(group));
        }
    }

    fn send(&self, group: Recorded) {
        let told = |event: &Event| matches!(event, Event::Said(_) | Event::Sent(_));
        let mut events = group.iter().flat_map(|kept| &kept.take().events);
        if !events.any(|(_, event)| told(event)) {
            return;
        }
        if let Err(error) = self.to.try_send(group)
            && error.is_full()
        {
            log::warn!(target: "record", "event=left_out why=\"nobody writes\"");
        }
    }
}

/// Sessions in the order in which they began, those that overlap in one group.
fn together(mut takes: Recorded) -> Vec<Recorded> {
    takes.sort_by_key(|kept| kept.take().began);
    let mut groups: Vec<Recorded> = Vec::new();
    for kept in takes {
        let overlaps = |other: &Kept| other.take().ended() >= kept.take().began;
        match groups.last_mut() {
            Some(group) if group.iter().any(overlaps) => group.push(kept),
            _ => groups.push(vec![kept]),
        }
    }
    groups
}

impl Wanted {
    /// Ends the recording: what was not written yet, and sessions that go on, as far as they are.
    pub(crate) fn end(&self) -> Vec<Recorded> {
        let mut all = Vec::new();
        while let Ok(group) = self.from.try_recv() {
            all.push(group);
        }
        let mut inner = self.recorder.lock();
        let Some(recording) = inner.recordings.remove(&self.id) else {
            return all;
        };
        let mut rest: BTreeMap<Option<String>, Recorded> = BTreeMap::new();
        for (account, held) in recording.held {
            rest.insert(Some(account), held);
        }
        let last = inner.recordings.is_empty();
        for tape in inner.open.values() {
            let account = tape.account();
            if recording.filter.wants(account.as_deref(), tape.peer) {
                let kept = if last { tape.finish(true) } else { tape.copy() };
                rest.entry(account).or_default().push(kept);
            }
        }
        if last {
            inner.open.values().for_each(|tape| tape.stop());
        }
        for (account, takes) in rest {
            match account {
                Some(_) => all.extend(together(takes)),
                None => all.extend(takes.into_iter().map(|take| vec![take])),
            }
        }
        all
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl Reel {
    /// For the driver.
    pub(crate) fn tape(&self) -> Arc<Tape> {
        Arc::clone(&self.tape)
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        self.recorder.over(self.connection, &self.tape);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::addr::Address;
    use rmail_core::note::Note;

    fn session(recorder: &Arc<Recorder>, connection: u64, user: Option<&str>) -> Option<Reel> {
        let peer = IpAddr::from([192, 0, 2, 1]);
        let tape = || Tape::new("imap", BTreeMap::new(), "mail.test".to_owned(), Vec::new(), peer);
        let reel = recorder.session(connection, peer, tape)?;
        reel.tape().sent(b"* OK\r\n");
        if let Some(user) = user {
            let account = Address::parse(user).expect("an address").canonical();
            let mechanism = "PLAIN";
            assert!(reel.tape().note(&Note::LoggedIn { account, mechanism }).is_none());
        }
        Some(reel)
    }

    #[test]
    fn nothing_is_recorded_unless_it_is_wanted() {
        let recorder = Arc::new(Recorder::default());
        assert!(session(&recorder, 1, None).is_none());
        let address = recorder.begin(Filter::Address(IpAddr::from([192, 0, 2, 9])));
        assert!(session(&recorder, 2, None).is_none());
        drop(address);
        let user = recorder.begin(Filter::User("a@x.test".to_owned())).expect("room");
        drop(session(&recorder, 3, Some("b@x.test")));
        drop(session(&recorder, 4, None));
        assert!(user.from.is_empty());
        drop(session(&recorder, 5, Some("a@x.test")));
        assert_eq!(user.from.len(), 1);
        drop(user);
        assert!(session(&recorder, 6, Some("a@x.test")).is_none());
    }

    #[test]
    fn sessions_of_a_user_that_overlap_are_together() {
        let recorder = Arc::new(Recorder::default());
        let all = recorder.begin(Filter::All).expect("room");
        let one = session(&recorder, 1, Some("a@x.test"));
        let two = session(&recorder, 2, Some("a@x.test"));
        let other = session(&recorder, 3, Some("b@x.test"));
        drop(two);
        assert!(all.from.is_empty());
        drop(one);
        assert_eq!(all.from.try_recv().map(|group| group.len()).ok(), Some(2));
        let rest = all.end();
        assert!(rest.len() == 1 && rest[0].len() == 1 && rest[0][0].take().cut);
        drop(other);
        assert!(all.end().is_empty());
    }

    #[test]
    fn recordings_are_bounded() {
        let recorder = Arc::new(Recorder::default());
        let many: Vec<_> = (0..=MAX_RECORDINGS)
            .map(|_| recorder.begin(Filter::All))
            .collect();
        assert_eq!(many.iter().flatten().count(), MAX_RECORDINGS);
    }
}
