//! How many passwords may wait to be hashed: each costs some 60 ms of a core, and whoever waits much longer than a client
//! does waits in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Passwords that wait or are hashed at the same time: as many as two cores hash within half a minute. Who comes when
/// there are more is told to come again.
pub(super) const MAX_WAITING: usize = 512;

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    waiting: Arc<AtomicUsize>,
}

/// A place among them. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Arc<AtomicUsize>,
}

impl Hashing {
    /// A place, unless all are taken.
    pub(super) fn place(&self) -> Option<Place> {
        let place = Place {
            waiting: Arc::clone(&self.waiting),
        };
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        // Given back by the drop if it was one too many.
        (before < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let hashing = Hashing::default();
        let mut places: Vec<Place> = (0..MAX_WAITING).filter_map(|_| hashing.place()).collect();
        assert_eq!(places.len(), MAX_WAITING);
        assert!(hashing.place().is_none() && hashing.place().is_none());
        places.pop();
        assert!(hashing.place().is_some());
        drop(places);
        assert_eq!(hashing.waiting.load(Ordering::Acquire), 0);
    }
}
