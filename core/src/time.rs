//! Time as the host tells it. Own newtypes, so that tests and transcripts start at zero.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A point on a clock that never goes back: time since the host's own start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub Duration);

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub for Mono {
    type Output = Duration;
    /// Zero if `rhs` is later.
    fn sub(self, rhs: Self) -> Duration {
        self.0.saturating_sub(rhs.0)
    }
}

/// Wall-clock time: since 1970-01-01T00:00:00Z. It may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unix(pub Duration);

impl Unix {
    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Whole seconds.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0.as_secs()
    }
}

/// Both clocks at the moment of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For durations and deadlines.
    pub mono: Mono,
    /// For dates that people see.
    pub unix: Unix,
}

/// A date with the zone it was given in, as INTERNALDATE and Date header fields have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    /// Seconds since 1970-01-01T00:00:00Z; may be negative.
    pub unix: i64,
    /// Offset from UTC, minutes east, within ±1439.
    pub zone: i16,
}

impl From<Unix> for DateTime {
    fn from(unix: Unix) -> Self {
        Self {
            unix: i64::try_from(unix.secs()).unwrap_or(i64::MAX),
            zone: 0,
        }
    }
}
