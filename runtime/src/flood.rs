//! Log lines that strangers can cause as often as they like: some are written, the rest is counted.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind that are written in one [`WINDOW`].
pub const LINES: u32 = 10;
/// How long lines are counted together.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Counts the lines of one kind.
#[derive(Default)]
pub struct Flood {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the window began.
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Flood {
    /// Whether a line may be written now; it is counted in either case.
    pub fn admits(&self, now: Instant) -> bool {
        let mut state = self.lock();
        if state
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW)
        {
            state.since = Some(now);
            state.written = 0;
        }
        if state.written < LINES {
            state.written += 1;
            return true;
        }
        state.left_out += 1;
        false
    }

    /// Once the window is over: how many lines were left out and not told yet, if any.
    pub fn left_out(&self, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        let over = state
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW);
        (over && state.left_out > 0).then(|| std::mem::take(&mut state.left_out))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flood({} left out)", self.lock().left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_written_and_the_rest_is_told_as_a_number() {
        let flood = Flood::default();
        let begin = Instant::now();
        let admitted = (0..100).filter(|_| flood.admits(begin)).count();
        assert_eq!(admitted, LINES as usize);
        assert_eq!(flood.left_out(begin), None, "the window is open");
        let later = begin + WINDOW;
        assert_eq!(flood.left_out(later), Some(100 - u64::from(LINES)));
        assert_eq!(flood.left_out(later), None, "told once");
        assert!(flood.admits(later), "a new window");
        assert_eq!(flood.left_out(later + WINDOW), None);
    }
}
