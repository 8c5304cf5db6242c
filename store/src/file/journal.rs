//! An entry of the outbound queue as octets: the first line is the entry as it was accepted, each further one what has
//! changed since.
//!
//! A line is a JSON value, a space, the CRC-32 of the value in eight hexadecimal digits, and LF. A last line that is not
//! whole was never acknowledged and counts as not written; nothing is appended behind it, the file is replaced. Files of
//! earlier versions are one JSON value and nothing else; they are replaced at the first change.

use rmail_core::relay::entry::{Entry, Recipient};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Octets from which on a file is written anew, if it is also [`GROWTH`] times what the entry takes.
const LONG: usize = 16 * 1024;
const GROWTH: usize = 4;

/// Digits of a checksum, with the space before them.
const SUM: usize = 9;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    /// Changes may be appended.
    whole: bool,
}

/// Why a file is no entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is damaged.
    Corrupt(String),
    /// It is whole, but says what this version does not understand: it waits for the one that wrote it.
    Newer(String),
}

/// What is different from the line before. Places are those in the list of recipients before the change.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_until: Option<u64>,
    /// These recipients are as told here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    set: Vec<(usize, Recipient)>,
    /// These are done with; ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<usize>,
}

/// The file of an entry without a past.
pub(super) fn whole(entry: &Entry) -> serde_json::Result<Vec<u8>> {
    line(entry)
}

/// Reads a file.
pub(crate) fn read(bytes: &[u8]) -> Result<Found, Unreadable> {
    let mut lines = bytes.split_inclusive(|octet| *octet == b'\n');
    let Some(first) = lines.next().and_then(checked) else {
        return read_old(bytes);
    };
    let mut found = Found {
        entry: understood(first)?,
        whole: true,
    };
    for line in lines {
        match checked(line) {
            Some(_) if !found.whole => {
                return Err(Unreadable::Corrupt(
                    "a line amid the others is damaged".to_owned(),
                ));
            }
            Some(value) => understood::<Change>(value)?.apply(&mut found.entry)?,
            None => found.whole = false,
        }
    }
    Ok(found)
}

/// What is to be appended to a file so that it says this. `None`: the file has to be replaced.
pub(super) fn next(bytes: &[u8], entry: &Entry) -> Option<Vec<u8>> {
    let found = read(bytes).ok().filter(|found| found.whole)?;
    let change = Change::between(&found.entry, entry)?;
    let line = line(&change).ok()?;
    let long = bytes.len() + line.len();
    if long > LONG && long / GROWTH > whole(entry).ok()?.len() {
        return None;
    }
    Some(line)
}

/// A file of an earlier version.
fn read_old(bytes: &[u8]) -> Result<Found, Unreadable> {
    match serde_json::from_slice(bytes) {
        Ok(entry) => Ok(Found { entry, whole: false }),
        Err(error) => Err(Unreadable::Corrupt(error.to_string())),
    }
}

fn line<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    let sum = crc32fast::hash(&line);
    line.extend_from_slice(format!(" {sum:08x}\n").as_bytes());
    Ok(line)
}

/// The value of a line that is whole.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (value, sum) = line.split_at_checked(line.len().checked_sub(SUM)?)?;
    let sum = core::str::from_utf8(sum.strip_prefix(b" ")?).ok()?;
    let plain = sum.bytes().all(|octet| octet.is_ascii_hexdigit());
    let good = plain && u32::from_str_radix(sum, 16) == Ok(crc32fast::hash(value));
    good.then_some(value)
}

fn understood<T: DeserializeOwned>(value: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(value).map_err(|error| Unreadable::Newer(error.to_string()))
}

impl Change {
    /// `None`: it cannot be said so.
    fn between(old: &Entry, new: &Entry) -> Option<Self> {
        // All fields are named: a new one must not be forgotten here.
        let Entry {
            id,
            sender,
            account,
            arrived,
            offset,
            size,
            eight_bit,
            hold_until,
            held,
            wishes,
            recipients,
        } = new;
        let fixed = (&old.id, &old.sender, &old.account, &old.wishes) == (id, sender, account, wishes)
            && (old.arrived, old.offset, old.size, old.eight_bit) == (*arrived, *offset, *size, *eight_bit);
        if !fixed {
            return None;
        }
        let mut change = Self {
            held: (*held != old.held).then_some(*held),
            hold_until: (*hold_until != old.hold_until).then_some(*hold_until),
            ..Self::default()
        };
        let mut new = recipients.iter().peekable();
        for (place, before) in old.recipients.iter().enumerate() {
            match new.next_if(|now| is_same(before, now)) {
                Some(now) if now != before => change.set.push((place, now.clone())),
                Some(_) => {}
                None => change.gone.push(place),
            }
        }
        new.peek().is_none().then_some(change)
    }

    fn apply(self, entry: &mut Entry) -> Result<(), Unreadable> {
        entry.held = self.held.unwrap_or(entry.held);
        entry.hold_until = self.hold_until.unwrap_or(entry.hold_until);
        for (place, recipient) in self.set {
            let Some(slot) = entry.recipients.get_mut(place) else {
                return Err(Unreadable::Corrupt(format!("there is no recipient {place}")));
            };
            *slot = recipient;
        }
        let mut gone = self.gone.into_iter().peekable();
        let mut place = 0;
        entry.recipients.retain(|_| {
            let stays = gone.next_if_eq(&place).is_none();
            place += 1;
            stays
        });
        match gone.next() {
            None => Ok(()),
            Some(place) => Err(Unreadable::Corrupt(format!("recipient {place} cannot go"))),
        }
    }
}

/// Whether two records may be of one recipient, at different times.
fn is_same(before: &Recipient, now: &Recipient) -> bool {
    before.address == now.address && before.local == now.local && before.expanded == now.expanded
}

#[cfg(test)]
mod tests {
    use rmail_core::random::Random;
    use rmail_core::smtp::envelope::{DsnRequest, Wishes};

    use super::*;

    fn recipient(address: &str) -> Recipient {
        Recipient {
            address: address.to_owned(),
            attempts: 0,
            next: 5,
            last: None,
            delay_told: false,
            dsn: DsnRequest::default(),
            local: false,
            done: None,
            failed: false,
            expanded: false,
        }
    }

    fn entry() -> Entry {
        Entry {
            id: "m".to_owned(),
            sender: "a@b".to_owned(),
            account: None,
            arrived: 5,
            offset: 0,
            size: 3,
            eight_bit: false,
            hold_until: 0,
            held: false,
            wishes: Wishes::default(),
            recipients: ["a@x", "b@x", "c@x", "a@x"].map(recipient).to_vec(),
        }
    }

    /// Something that may happen to an entry.
    fn change(entry: &mut Entry, random: &mut Random) {
        for recipient in &mut entry.recipients {
            if random.below(3) == 0 {
                recipient.attempts += 1;
                recipient.last = Some(format!("450 4.2.0 \n\u{e4} {}", random.below(100)));
            }
        }
        entry.recipients.retain(|_| random.below(6) != 0);
        entry.held ^= random.below(4) == 0;
        entry.hold_until = u64::from(random.below(2) == 0);
    }

    #[test]
    fn a_file_says_what_was_saved_last() {
        let mut random = Random::from_seed([1; 32]);
        let mut appended = 0;
        for _ in 0..200 {
            let mut entry = entry();
            let mut file = whole(&entry).unwrap();
            for _ in 0..8 {
                change(&mut entry, &mut random);
                file.extend(next(&file, &entry).expect("a change"));
                assert_eq!(read(&file).unwrap().entry, entry);
                appended += 1;
            }
        }
        assert_eq!(appended, 1600);
    }

    #[test]
    fn what_was_torn_off_counts_as_not_written() {
        let old = entry();
        let mut new = entry();
        new.recipients.remove(1);
        new.recipients[1].attempts = 7;
        let first = whole(&old).unwrap();
        let second = next(&first, &new).unwrap();
        for cut in 0..second.len() {
            let mut file = first.clone();
            file.extend_from_slice(&second[..cut]);
            let found = read(&file).unwrap();
            assert_eq!((&found.entry, found.whole), (&old, cut == 0), "{cut}");
            assert_eq!(
                next(&file, &new).is_none(),
                cut != 0,
                "nothing comes behind a torn line"
            );
            // Room that was given, and octets that never came.
            file.resize(first.len() + second.len(), 0);
            assert_eq!(read(&file).unwrap().entry, old, "{cut}");
        }
    }

    #[test]
    fn damage_is_told_from_what_is_newer() {
        let old = entry();
        let mut new = entry();
        new.held = true;
        let mut file = whole(&old).unwrap();
        let first = file.len();
        file.extend(next(&file, &new).unwrap());
        let second = file.len();
        new.held = false;
        file.extend(next(&file, &new).unwrap());
        for at in (0..second).filter(|at| file[*at] != b'\n') {
            let mut bad = file.clone();
            bad[at] ^= 1;
            let read = read(&bad);
            assert!(
                matches!(read, Err(Unreadable::Corrupt(_))),
                "{at} of {first}: {read:?}"
            );
        }
        let mut newer = file.clone();
        newer.extend(line(&serde_json::json!({"colour": "red"})).unwrap());
        assert!(matches!(read(&newer), Err(Unreadable::Newer(_))));
        for bad in [&b""[..], b"{", b"{}", b"\n"] {
            assert!(matches!(read(bad), Err(Unreadable::Corrupt(_))));
        }
        let mut bad = whole(&entry()).unwrap();
        bad.extend(line(&serde_json::json!({"gone": [4]})).unwrap());
        assert!(matches!(read(&bad), Err(Unreadable::Corrupt(_))));
    }

    #[test]
    fn files_of_earlier_versions_are_read_and_replaced() {
        let old = serde_json::to_vec(&entry()).unwrap();
        assert_eq!(read(&old).unwrap().entry, entry());
        assert_eq!(next(&old, &entry()), None);
        let pretty = serde_json::to_vec_pretty(&entry()).unwrap();
        assert_eq!(read(&pretty).unwrap().entry, entry());
    }

    #[test]
    fn what_no_change_can_say_and_what_has_grown_is_written_anew() {
        let file = whole(&entry()).unwrap();
        let mut other = entry();
        other.recipients.push(recipient("d@x"));
        assert_eq!(next(&file, &other), None);
        let mut other = entry();
        other.size = 4;
        assert_eq!(next(&file, &other), None);
        let (mut file, mut entry) = (file, entry());
        let mut lines = 0;
        loop {
            entry.recipients[0].attempts += 1;
            let Some(line) = next(&file, &entry) else { break };
            file.extend(line);
            lines += 1;
            assert!(lines < 1000);
        }
        assert!(lines > 20 && file.len() <= LONG + 1024);
    }
}
