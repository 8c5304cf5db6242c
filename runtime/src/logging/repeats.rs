//! The same line again and again: some are written, the rest is counted, and told as `left_out`.
//!
//! Lines about a connection are bounded for each address instead ([`crate::flood`]), and DEBUG is whatever was asked for.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::Level;

use crate::flood::{LINES, WINDOW};

/// Different lines that are counted; above that lines are written uncounted.
const MAX_LINES: usize = 256;

pub(super) static REPEATS: LazyLock<Repeats> = LazyLock::new(Repeats::default);

/// Counts lines by what they say.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<u64, Count>>);

#[derive(Debug)]
struct Count {
    since: Instant,
    written: u32,
    /// Once a line was left out.
    repeated: Option<Repeated>,
}

/// A line that was left out so often.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) text: String,
    pub(super) left_out: u64,
}

/// Whether lines like this are counted.
pub(super) fn can_repeat(level: Level, text: &str) -> bool {
    level <= Level::Info && !text.starts_with("conn=")
}

impl Repeats {
    /// Whether a line may be written now; it is counted in either case. If its window is over: what was left out in it.
    pub(super) fn admits(
        &self,
        now: Instant,
        level: Level,
        target: &str,
        text: &str,
    ) -> (bool, Option<Repeated>) {
        let mut hasher = DefaultHasher::new();
        (level, target, text).hash(&mut hasher);
        let key = hasher.finish();
        let mut counts = self.lock();
        if counts.len() >= MAX_LINES && !counts.contains_key(&key) {
            counts.retain(|_, count| !count.is_over(now) || count.repeated.is_some());
            if counts.len() >= MAX_LINES {
                return (true, None);
            }
        }
        let count = counts.entry(key).or_insert_with(|| Count::new(now));
        let mut told = None;
        if count.is_over(now) {
            told = count.repeated.take();
            *count = Count::new(now);
        }
        if count.written < LINES {
            count.written += 1;
            return (true, told);
        }
        let repeated = count.repeated.get_or_insert_with(|| Repeated {
            level,
            target: target.to_owned(),
            text: text.to_owned(),
            left_out: 0,
        });
        repeated.left_out += 1;
        (false, told)
    }

    /// What was left out in windows that are over; it is forgotten.
    pub(super) fn over(&self, now: Instant) -> Vec<Repeated> {
        let mut told = Vec::new();
        self.lock().retain(|_, count| {
            let over = count.is_over(now);
            if over {
                told.extend(count.repeated.take());
            }
            !over
        });
        told
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            written: 0,
            repeated: None,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_comes_again_and_again_is_counted_and_hides_no_other() {
        let repeats = Repeats::default();
        let begin = Instant::now();
        let admits = |now, text| repeats.admits(now, Level::Warn, "store", text);
        let written = (0..1_000).filter(|_| admits(begin, "disk full").0).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(admits(begin, "another"), (true, None));
        assert_eq!(repeats.over(begin), []);
        let (admitted, told) = admits(begin + WINDOW, "disk full");
        let told = told.expect("the window is over");
        assert!(admitted);
        assert_eq!(
            (told.text.as_str(), told.left_out),
            ("disk full", 1_000 - u64::from(LINES))
        );
        assert_eq!(repeats.over(begin + WINDOW * 3), [], "told once");
        assert!(repeats.lock().is_empty());
    }

    #[test]
    fn what_nobody_repeats_is_told_by_the_clock() {
        let repeats = Repeats::default();
        let begin = Instant::now();
        for _ in 0..=LINES {
            repeats.admits(begin, Level::Error, "store", "x");
        }
        let told = repeats.over(begin + WINDOW);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].left_out, 1);
    }

    #[test]
    fn any_number_of_lines_takes_so_much_memory_and_none_is_lost() {
        let repeats = Repeats::default();
        let now = Instant::now();
        let admitted = (0..MAX_LINES * 4)
            .filter(|n| repeats.admits(now, Level::Info, "x", &n.to_string()).0)
            .count();
        assert_eq!(admitted, MAX_LINES * 4);
        assert_eq!(repeats.lock().len(), MAX_LINES);
        assert!(repeats.admits(now + WINDOW, Level::Info, "x", "new").0);
        assert_eq!(repeats.lock().len(), 1, "those that are over make room");
    }

    #[test]
    fn connections_and_debug_are_not_counted_here() {
        assert!(can_repeat(Level::Info, "event=x") && can_repeat(Level::Error, "text"));
        assert!(!can_repeat(Level::Debug, "event=x") && !can_repeat(Level::Warn, "conn=1 peer=::1 event=x"));
    }
}
