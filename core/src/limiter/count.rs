//! Events of a sliding window.

use core::time::Duration;
use std::collections::VecDeque;

use crate::time::Mono;

/// So many events are known by their own moment; of more, those that are close together are one entry.
const EXACT: usize = 64;

/// Counts events. Which window is meant is said with every question, for a reload may change a limit, and never a span.
///
/// Never too low: an event counts for the whole of its window. Beyond [`EXACT`] entries it may count longer, by a 64th of
/// the window. So the memory is bounded, whatever the limit is: 2 × [`EXACT`] entries of 24 octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Oldest first.
    entries: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    first: Mono,
    /// Milliseconds from the first to the last of them.
    length: u32,
    events: u32,
}

impl Entry {
    /// When none of them is in the window any more.
    fn over(&self, span: Duration) -> Mono {
        self.first + Duration::from_millis(u64::from(self.length)) + span
    }
}

impl Count {
    /// Events in the window that ends now.
    pub(super) fn total(&self, now: Mono, span: Duration) -> u64 {
        let inside = |entry: &&Entry| entry.over(span) > now;
        self.entries
            .iter()
            .rev()
            .take_while(inside)
            .map(|entry| u64::from(entry.events))
            .sum()
    }

    /// Until there are fewer than `limit`; `None`: there are now.
    pub(super) fn wait(&self, now: Mono, span: Duration, limit: u64) -> Option<Duration> {
        let mut total = self.total(now, span);
        if total < limit {
            return None;
        }
        for entry in self.entries.iter().filter(|entry| entry.over(span) > now) {
            total -= u64::from(entry.events).min(total);
            if total < limit {
                return Some(entry.over(span) - now);
            }
        }
        // A limit of nothing is never kept.
        Some(span)
    }

    /// Counts an event.
    pub(super) fn add(&mut self, now: Mono, span: Duration) {
        while self.entries.front().is_some_and(|entry| entry.over(span) <= now) {
            self.entries.pop_front();
        }
        let full = self.entries.len() >= EXACT;
        let near = span / u32::try_from(EXACT).unwrap_or(u32::MAX);
        match self.entries.back_mut() {
            Some(last) if full && now - last.first < near && last.events < u32::MAX => {
                // Rounded up: never too low.
                let length = (now - last.first).as_millis() + 1;
                last.length = u32::try_from(length).unwrap_or(u32::MAX);
                last.events += 1;
            }
            _ => self.entries.push_back(Entry {
                first: now,
                length: 0,
                events: 1,
            }),
        }
    }

    /// Nothing is left in the window.
    pub(super) fn is_over(&self, now: Mono, span: Duration) -> bool {
        self.entries.back().is_none_or(|last| last.over(span) <= now)
    }

    /// How much memory it takes, as a number of entries.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn events_leave_when_their_window_is_over() {
        let mut count = Count::default();
        for secs in [0, 10, 10, 50] {
            count.add(at(secs), MINUTE);
        }
        let total = |secs| count.total(at(secs), MINUTE);
        assert_eq!(
            [total(50), total(59), total(60), total(69), total(70)],
            [4, 4, 3, 3, 1]
        );
        assert_eq!((total(110), count.is_over(at(110), MINUTE)), (0, true));
        assert!(!count.is_over(at(109), MINUTE));
        assert_eq!(count.wait(at(50), MINUTE, 5), None);
        assert_eq!(count.wait(at(50), MINUTE, 4), Some(Duration::from_secs(10)));
        assert_eq!(count.wait(at(50), MINUTE, 3), Some(Duration::from_secs(20)));
        assert_eq!(count.wait(at(50), MINUTE, 1), Some(MINUTE));
    }

    #[test]
    fn a_flood_takes_no_more_memory_than_a_few() {
        let mut count = Count::default();
        for millis in 0..200_000 {
            count.add(Mono(Duration::from_millis(millis)), MINUTE);
            assert!(count.entries() <= 2 * EXACT + 1);
        }
        let now = Mono(Duration::from_millis(199_999));
        let total = count.total(now, MINUTE);
        assert!((60_000..=61_000).contains(&total), "{total}");
    }

    proptest! {
        /// Against the list of all moments: never fewer, and exactly as many while there are few.
        #[test]
        fn it_never_counts_too_few(steps in prop::collection::vec((0_u64..4_000, 1_usize..40), 1..120)) {
            let (mut count, mut all, mut now) = (Count::default(), Vec::new(), Mono::default());
            for (step, events) in steps {
                now = now + Duration::from_millis(step);
                for _ in 0..events {
                    count.add(now, MINUTE);
                    all.push(now);
                }
                let inside = |span: Duration| all.iter().filter(|at| **at + span > now).count() as u64;
                let (exact, counted) = (inside(MINUTE), count.total(now, MINUTE));
                prop_assert!(counted >= exact);
                prop_assert!(counted <= inside(MINUTE + MINUTE / 64 + Duration::from_millis(2)));
                if exact <= EXACT as u64 && all.len() <= EXACT {
                    prop_assert_eq!(counted, exact);
                }
                prop_assert!(count.entries() <= 2 * EXACT + 1);
            }
        }
    }
}
