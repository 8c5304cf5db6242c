//! Counts and a hash over many messages that does not depend on their order, so that what went out can be compared with
//! what came in.

use core::fmt;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of one message's octets, as they come.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes octets.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The hash.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The sum, modulo 2²⁵⁶, of the SHA-256 of each message's octets (big-endian). Messages in another order give the same; one
/// that is missing, doubled or different gives another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum([u8; 32]);

impl Sum {
    /// Adds a message by its hash, or another sum.
    pub fn add(&mut self, hash: &[u8; 32]) {
        let mut carry = 0_u16;
        for (to, from) in self.0.iter_mut().zip(hash).rev() {
            let [high, low] = (u16::from(*to) + u16::from(*from) + carry).to_be_bytes();
            *to = low;
            carry = u16::from(high);
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Messages, their octets and their hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Octets.
    pub octets: u64,
    /// Hash over all.
    pub sha256: Sum,
}

impl Tally {
    /// Counts a message.
    pub fn add(&mut self, octets: u64, hash: &[u8; 32]) {
        self.messages += 1;
        self.octets = self.octets.saturating_add(octets);
        self.sha256.add(hash);
    }

    /// Counts those of another.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.octets = self.octets.saturating_add(other.octets);
        self.sha256.add(&other.sha256.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> [u8; 32] {
        let mut hasher = Hasher::default();
        hasher.update(text.as_bytes());
        hasher.finish()
    }

    fn sum(texts: &[&str]) -> Sum {
        let mut sum = Sum::default();
        texts.iter().for_each(|text| sum.add(&hash(text)));
        sum
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        assert_eq!(
            sum(&["abc"]).to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(sum(&["a", "b", "c"]), sum(&["c", "a", "b"]));
        for other in [
            &["a", "b"][..],
            &["a", "b", "c", "c"],
            &["a", "b", "d"],
            &["a", "a", "c"],
        ] {
            assert_ne!(sum(&["a", "b", "c"]), sum(other));
        }
        let mut full = Sum([0xff; 32]);
        let mut one = [0; 32];
        one[31] = 1;
        full.add(&one);
        assert_eq!(full, Sum::default());
    }
}
