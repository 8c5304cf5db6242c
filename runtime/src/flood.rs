//! Log lines that strangers can cause as often as they like: some are written, the rest is counted.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmail_core::limiter::{Shown, counted_as};

/// Lines of one kind that are written in one [`WINDOW`].
pub const LINES: u32 = 10;
/// Lines that one address causes and that are written in one [`WINDOW`].
pub const LINES_OF_ADDRESS: u32 = 50;
/// Addresses that are counted for themselves.
pub const MAX_ADDRESSES: usize = 4_096;
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

impl State {
    fn is_over(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW)
    }

    fn admits(&mut self, now: Instant, lines: u32) -> bool {
        if self.is_over(now) {
            self.since = Some(now);
            self.written = 0;
        }
        if self.written < lines {
            self.written += 1;
            return true;
        }
        self.left_out += 1;
        false
    }
}

impl Flood {
    /// Whether a line may be written now; it is counted in either case.
    pub fn admits(&self, now: Instant) -> bool {
        self.lock().admits(now, LINES)
    }

    /// Once the window is over: how many lines were left out and not told yet, if any.
    pub fn left_out(&self, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        (state.is_over(now) && state.left_out > 0).then(|| std::mem::take(&mut state.left_out))
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

/// Counts lines by the address (IPv6: the /64) that caused them, so that nobody's flood hides the lines of others.
#[derive(Default)]
pub struct Floods {
    addresses: Mutex<Addresses>,
}

#[derive(Default)]
struct Addresses {
    states: HashMap<IpAddr, State>,
    /// Of all addresses that there was no place for.
    others: State,
}

impl Floods {
    /// Whether a line about the address may be written now; it is counted in either case.
    pub fn admits(&self, now: Instant, address: IpAddr) -> bool {
        let address = counted_as(address);
        let mut addresses = self.lock();
        let Addresses { states, others } = &mut *addresses;
        if states.len() >= MAX_ADDRESSES && !states.contains_key(&address) {
            return others.admits(now, LINES_OF_ADDRESS);
        }
        states.entry(address).or_default().admits(now, LINES_OF_ADDRESS)
    }

    /// Forgets those whose window is over. Writes how many lines of theirs were left out.
    pub fn tell(&self, now: Instant) {
        let mut told = Vec::new();
        let mut addresses = self.lock();
        addresses.states.retain(|address, state| {
            let over = state.is_over(now);
            if over && state.left_out > 0 {
                told.push((Shown(*address).to_string(), state.left_out));
            }
            !over
        });
        if addresses.others.is_over(now) && addresses.others.left_out > 0 {
            told.push(("others".to_owned(), addresses.others.left_out));
            addresses.others.left_out = 0;
        }
        drop(addresses);
        for (peer, count) in told {
            log::warn!(target: "server", "event=lines_left_out peer={peer} count={count}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Floods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Floods({})", self.lock().states.len())
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

    #[test]
    fn a_flood_of_one_address_hides_nobody_else() {
        let floods = Floods::default();
        let (begin, later) = (Instant::now(), Instant::now() + WINDOW * 2);
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let admitted = (0..1_000).filter(|_| floods.admits(begin, address(1))).count();
        assert_eq!(admitted, LINES_OF_ADDRESS as usize);
        assert!(floods.admits(begin, address(2)));
        assert_eq!(floods.lock().states[&address(1)].left_out, 950);
        floods.tell(begin);
        assert_eq!(floods.lock().states.len(), 2, "the window is open");
        floods.tell(later);
        assert!(floods.lock().states.is_empty());
        assert!(floods.admits(later, address(1)));
    }

    #[test]
    fn any_number_of_addresses_takes_so_much_memory() {
        let floods = Floods::default();
        let now = Instant::now();
        let admitted = (0..20_000_u32)
            .filter(|n| floods.admits(now, IpAddr::from(n.to_be_bytes())))
            .count();
        assert_eq!(admitted, MAX_ADDRESSES + LINES_OF_ADDRESS as usize);
        assert_eq!(floods.lock().states.len(), MAX_ADDRESSES);
        floods.tell(now + WINDOW);
        assert_eq!(floods.lock().others.left_out, 0);
    }
}
