//! How long a client may take over a message or a body: it may be silent for a while, and it may be slow, but not for ever.

use core::time::Duration;

use crate::time::{Mono, Now};

/// What one octet is worth: whoever sends fewer than 100 octets a second for long is not delivering mail.
const OCTET: Duration = Duration::from_millis(10);

/// The time that a client has left for a message. Octets earn time, at a rate that any line of today exceeds a
/// hundredfold, up to twice the patience; silence ends after the patience itself (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    patience: Duration,
    until: Mono,
}

impl Pace {
    /// The message begins.
    pub(crate) fn new(now: Now, patience: Duration) -> Self {
        Self {
            patience,
            until: now.mono + patience.saturating_mul(2),
        }
    }

    /// Octets came.
    pub(crate) fn earn(&mut self, now: Now, octets: usize) {
        let earned = OCTET.saturating_mul(u32::try_from(octets).unwrap_or(u32::MAX));
        self.until = (self.until + earned).min(now.mono + self.patience.saturating_mul(2));
    }

    /// When the client has been silent, or slow, for too long.
    pub(crate) fn deadline(&self, now: Now) -> Mono {
        self.until.min(now.mono + self.patience)
    }

    /// When it has been slow for too long.
    pub(crate) fn until(&self) -> Mono {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(300);

    fn at(secs: u64) -> Now {
        Now {
            mono: Mono(Duration::from_secs(secs)),
            ..Now::default()
        }
    }

    /// Seconds until a client is given up that sends so many octets every so many seconds.
    fn lasts(octets: usize, every: u64) -> u64 {
        let mut pace = Pace::new(at(0), PATIENCE);
        for step in 1..10_000 {
            let now = at(step * every);
            if pace.deadline(at((step - 1) * every)) < now.mono {
                return (step - 1) * every;
            }
            pace.earn(now, octets);
        }
        u64::MAX
    }

    #[test]
    fn a_trickle_ends_and_a_slow_line_does_not() {
        assert!((600..620).contains(&lasts(1, 1)), "{}", lasts(1, 1));
        assert!((600..1_300).contains(&lasts(50, 1)), "{}", lasts(50, 1));
        assert_eq!(lasts(100, 1), u64::MAX);
        assert_eq!(lasts(30_000, 299), u64::MAX);
        assert_eq!(lasts(30_000, 301), 0);
    }

    #[test]
    fn what_came_fast_earns_no_more_than_the_bound() {
        let mut pace = Pace::new(at(0), PATIENCE);
        pace.earn(at(1), 50_000_000);
        assert_eq!(pace.until(), at(601).mono);
    }

    #[test]
    fn pieces_earn_what_the_whole_does() {
        let mut whole = Pace::new(at(0), PATIENCE);
        let mut pieces = whole;
        whole.earn(at(299), 20_000);
        (0..20).for_each(|_| pieces.earn(at(299), 1_000));
        assert_eq!(pieces.until(), whole.until());
    }
}
