//! The two clocks of the system, as the machines are told them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rmail_core::time::{Mono, Now, Unix};

/// Reads the clocks. `Mono` counts from the moment this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            mono: Mono(self.start.elapsed()),
            unix: unix(),
        }
    }

    /// The system's instant of a machine's deadline. One too far away for the system's clock is a year away.
    #[must_use]
    pub fn instant(&self, mono: Mono) -> Instant {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);
        self.start
            .checked_add(mono.0)
            .unwrap_or_else(|| Instant::now() + FAR)
    }
}

/// The wall clock.
#[must_use]
pub fn unix() -> Unix {
    Unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}
