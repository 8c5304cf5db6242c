//! Greylisting: who has not been seen before is asked to come back later, which most senders of junk do not do.
//!
//! What is remembered lies in a table of buckets ([`Bucket`]), found by the hash of a triple of network, sender and
//! recipient ([`Key`]). The table never grows, whatever strangers try: in a bucket that is full, those who did not come
//! back make room first. [`judge`] says what comes of a look at a bucket; reading and writing is the store's.

use core::net::IpAddr;
use core::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::addr::{ForwardPath, ReversePath};
use crate::time::Unix;

/// Octets of one entry: key, first seen, passed last (seconds since 1970), reserved, check.
pub const ENTRY: usize = 32;

/// Entries of a bucket.
pub const ENTRIES: usize = 16;

/// Octets of a bucket.
pub const BUCKET: usize = ENTRY * ENTRIES;

/// Buckets of the table: 8 MiB at most, for 262,144 triples.
pub const BUCKETS: u64 = 1 << 14;

/// How often it is written down that a known triple was seen again.
const REFRESH: u64 = 24 * 3_600;

/// How long is waited and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A triple is let through this long after it was first seen.
    pub delay: Duration,
    /// Who does not come back for so long begins anew.
    pub window: Duration,
    /// A triple that was let through stays known for so long after its last message.
    pub memory: Duration,
}

impl Default for Settings {
    /// The defaults of the configuration: five minutes, two days, 35 days.
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(300),
            window: Duration::from_secs(172_800),
            memory: Duration::from_secs(3_024_000),
        }
    }
}

/// The octets of a bucket; zeros where the table has not been written yet.
pub type Bucket = [u8; BUCKET];

/// Stands for a triple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// The triple of a peer's network (IPv4: /24, IPv6: /64), a sender and a recipient. Digits and tags of the sender do
    /// not count: lists and many services put a number of the message there.
    #[must_use]
    pub fn of(peer: IpAddr, sender: &ReversePath, recipient: &ForwardPath) -> Self {
        let mut hash = Sha256::new();
        match peer.to_canonical() {
            IpAddr::V4(four) => hash.update(four.octets().first_chunk::<3>().unwrap_or(&[0; 3])),
            IpAddr::V6(six) => hash.update(six.octets().first_chunk::<8>().unwrap_or(&[0; 8])),
        }
        hash.update([0]);
        if let Some(address) = sender.address() {
            let canonical = address.canonical();
            let (local, domain) = canonical.parts();
            hash.update(steady(local));
            hash.update([b'@']);
            hash.update(domain);
        }
        hash.update([0]);
        if let ForwardPath::Address(address) = recipient {
            hash.update(address.canonical().as_str());
        }
        let digest = hash.finalize();
        Self(*digest.first_chunk().unwrap_or(&[0; 16]))
    }

    /// Where in the table its bucket begins, in octets.
    #[must_use]
    pub fn offset(&self) -> u64 {
        let [a, b, ..] = self.0;
        let bucket = u64::from(u16::from_be_bytes([a, b])) % BUCKETS;
        bucket * BUCKET as u64
    }
}

/// A local part without its tag, its runs of digits as one sign.
fn steady(local: &str) -> String {
    let mut out = String::with_capacity(local.len());
    for c in local.split('+').next().unwrap_or_default().chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

/// What is known of a triple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key: Key,
    /// Seconds since 1970.
    first: u32,
    /// The same; zero: it has not come back yet.
    passed: u32,
}

impl Entry {
    fn encode(self) -> [u8; ENTRY] {
        let mut octets = [0; ENTRY];
        let fields = (self.key.0.into_iter())
            .chain(self.first.to_be_bytes())
            .chain(self.passed.to_be_bytes())
            .chain([0; 4]);
        for (to, from) in octets.iter_mut().zip(fields) {
            *to = from;
        }
        let check = check(octets.first_chunk().unwrap_or(&[0; 28]));
        if let Some(end) = octets.last_chunk_mut() {
            *end = check;
        }
        octets
    }

    /// `None`: nothing was ever written here, or it is torn.
    fn decode(octets: &[u8; ENTRY]) -> Option<Self> {
        let (fields, end) = octets.split_last_chunk::<4>()?;
        let fields: &[u8; 28] = fields.first_chunk()?;
        if check(fields) != *end {
            return None;
        }
        let (key, rest) = fields.split_first_chunk::<16>()?;
        let (first, rest) = rest.split_first_chunk()?;
        let passed = rest.first_chunk()?;
        Some(Self {
            key: Key(*key),
            first: u32::from_be_bytes(*first),
            passed: u32::from_be_bytes(*passed),
        })
    }

    /// What is given up first when there is no room: who did not come back, then who has been away for longest.
    const fn worth(self) -> (bool, u32) {
        (
            self.passed != 0,
            if self.passed == 0 { self.first } else { self.passed },
        )
    }
}

fn check(fields: &[u8; 28]) -> [u8; 4] {
    let digest = Sha256::digest(fields);
    *digest.first_chunk().unwrap_or(&[0; 4])
}

/// What comes of a look at a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The message may come.
    pub passes: bool,
    /// An entry to write, and where in the bucket, in octets.
    pub write: Option<(usize, [u8; ENTRY])>,
    /// What is written must outlive a power cut; else only that a known triple was seen again would be forgotten.
    pub sync: bool,
}

/// Whether a triple passes now, by what its bucket has.
#[must_use]
pub fn judge(bucket: &Bucket, key: Key, now: Unix, settings: &Settings) -> Judgement {
    let seconds = u32::try_from(now.secs()).unwrap_or(u32::MAX);
    let entries: Vec<Option<Entry>> = bucket.as_chunks::<ENTRY>().0.iter().map(Entry::decode).collect();
    let found = entries
        .iter()
        .enumerate()
        .find_map(|(at, entry)| entry.filter(|entry| entry.key == key).map(|entry| (at, entry)));
    let writes = |at: usize, entry: Entry, passes: bool, sync: bool| Judgement {
        passes,
        write: Some((at * ENTRY, entry.encode())),
        sync,
    };
    // Of the future: the clock was wrong then or is now, so nothing is known.
    let since = |then: u32| seconds.checked_sub(then).map(u64::from);
    match found {
        Some((at, entry)) if entry.passed != 0 => match since(entry.passed) {
            Some(age) if age <= settings.memory.as_secs() => {
                let seen = Entry {
                    passed: seconds,
                    ..entry
                };
                if age < REFRESH {
                    return settled(true);
                }
                return writes(at, seen, true, false);
            }
            _ => {}
        },
        Some((at, entry)) => match since(entry.first) {
            Some(age) if age < settings.delay.as_secs() => return settled(false),
            Some(age) if age <= settings.window.as_secs().max(settings.delay.as_secs()) => {
                let passed = Entry {
                    passed: seconds,
                    ..entry
                };
                return writes(at, passed, true, true);
            }
            _ => {}
        },
        None => {}
    }
    let free = entries.iter().position(Option::is_none);
    let cheapest = || {
        let known = entries.iter().enumerate();
        known
            .filter_map(|(at, entry)| entry.map(|entry| (entry.worth(), at)))
            .min()
            .map(|(_, at)| at)
    };
    let at = found
        .map(|(at, _)| at)
        .or(free)
        .or_else(cheapest)
        .unwrap_or_default();
    let fresh = Entry {
        key,
        first: seconds,
        passed: 0,
    };
    writes(at, fresh, false, true)
}

/// Nothing changes.
const fn settled(passes: bool) -> Judgement {
    Judgement {
        passes,
        write: None,
        sync: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;

    const SETTINGS: Settings = Settings {
        delay: Duration::from_secs(300),
        window: Duration::from_secs(3_600),
        memory: Duration::from_secs(1_000_000),
    };

    fn key(peer: &str, sender: &str, recipient: &str) -> Key {
        let sender = match sender {
            "" => ReversePath::Null,
            text => ReversePath::Address(Address::parse(text).expect("good")),
        };
        let recipient = ForwardPath::Address(Address::parse(recipient).expect("good"));
        Key::of(peer.parse().expect("an address"), &sender, &recipient)
    }

    struct Table(Bucket);

    impl Table {
        fn ask(&mut self, key: Key, now: u64) -> bool {
            let judgement = judge(&self.0, key, Unix::from_secs(now), &SETTINGS);
            if let Some((at, entry)) = judgement.write {
                self.0[at..at + ENTRY].copy_from_slice(&entry);
            }
            judgement.passes
        }
    }

    #[test]
    fn a_triple_is_of_networks_and_of_addresses_without_what_changes() {
        let one = key("192.0.2.1", "list-17@a.example", "bob@b.example");
        assert_eq!(one, key("192.0.2.200", "LIST-9@a.example", "Bob@b.example"));
        assert_eq!(
            one,
            key("::ffff:192.0.2.3", "list-1+x=y@a.example", "bob@b.example")
        );
        for other in [
            key("192.0.3.1", "list-17@a.example", "bob@b.example"),
            key("192.0.2.1", "list@a.example", "bob@b.example"),
            key("192.0.2.1", "list-17@b.example", "bob@b.example"),
            key("192.0.2.1", "list-17@a.example", "eve@b.example"),
            key("192.0.2.1", "", "bob@b.example"),
        ] {
            assert_ne!(one, other);
        }
        let six = key("2001:db8::1", "a@a.example", "bob@b.example");
        assert_eq!(six, key("2001:db8::ffff:2", "a@a.example", "bob@b.example"));
        assert_ne!(six, key("2001:db8:0:1::1", "a@a.example", "bob@b.example"));
        assert!(six.offset() < BUCKETS * BUCKET as u64 && six.offset().is_multiple_of(BUCKET as u64));
    }

    #[test]
    fn who_comes_back_in_time_passes_and_is_remembered() {
        let mut table = Table([0; BUCKET]);
        let triple = key("192.0.2.1", "a@a.example", "bob@b.example");
        let t = 1_000_000;
        assert!(!table.ask(triple, t));
        assert!(!table.ask(triple, t + 299), "too early");
        assert!(table.ask(triple, t + 300));
        assert!(table.ask(triple, t + 301));
        let seen = t + 300 + 900_000;
        assert!(table.ask(triple, seen), "remembered, and seen again");
        assert!(table.ask(triple, seen + 1_000_000));
        assert!(!table.ask(triple, seen + 2_000_001), "forgotten");
        assert!(table.ask(triple, seen + 2_000_301));
    }

    #[test]
    fn who_comes_back_too_late_begins_anew_and_so_does_all_when_the_clock_was_wrong() {
        let mut table = Table([0; BUCKET]);
        let triple = key("192.0.2.1", "a@a.example", "bob@b.example");
        assert!(!table.ask(triple, 10_000));
        assert!(!table.ask(triple, 10_000 + 3_601));
        assert!(table.ask(triple, 10_000 + 3_901));
        assert!(!table.ask(triple, 5_000), "passed in the future");
        assert!(!table.ask(triple, 4_000), "first seen in the future");
        assert!(table.ask(triple, 4_300));
    }

    #[test]
    fn a_full_bucket_forgets_strangers_before_friends() {
        let mut table = Table([0; BUCKET]);
        let triple = |n: usize| Key([n as u8; 16]);
        assert!(!table.ask(triple(0), 1_000));
        assert!(table.ask(triple(0), 1_300));
        for n in 1..200 {
            assert!(!table.ask(triple(n), 1_300 + n as u64));
        }
        assert!(table.ask(triple(0), 1_600), "the friend is still known");
        assert!(table.ask(triple(199), 1_300 + 199 + 300), "and the last stranger");
        assert!(!table.ask(triple(1), 1_700), "the first was forgotten");
    }

    #[test]
    fn torn_entries_are_no_entries() {
        let entry = Entry {
            key: Key([7; 16]),
            first: 1,
            passed: 2,
        };
        let octets = entry.encode();
        assert_eq!(Entry::decode(&octets), Some(entry));
        for at in 0..ENTRY {
            let mut torn = octets;
            torn[at] ^= 1;
            assert_eq!(Entry::decode(&torn), None, "octet {at}");
        }
        assert_eq!(Entry::decode(&[0; ENTRY]), None);
    }
}
