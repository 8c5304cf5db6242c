//! Seeds from the system.

use rmail_core::random::Random;
use rustix::rand::{GetRandomFlags, getrandom};

/// 32 octets that nobody can guess (getrandom(2)).
///
/// # Panics
/// If the kernel has no getrandom(2): without it no key or nonce would be safe.
#[must_use]
pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        match getrandom(&mut seed[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("getrandom failed: {error}"),
        }
    }
    seed
}

/// A generator for one machine.
#[must_use]
pub fn random() -> Random {
    Random::from_seed(seed())
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_differ() {
        assert_ne!(super::seed(), super::seed());
    }
}
