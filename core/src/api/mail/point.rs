//! How far a listener of `/events` has heard: what it is told as `id:`, and says as `Last-Event-ID` when it comes back.
//!
//! It holds a mod-sequence and UIDNEXT of each folder, and nothing that this process alone would know: so the stream goes on
//! after a restart, and in another process. In base64url: a version, a hash of the folders' ids and names, and for each
//! folder its id, mod-sequence and UIDNEXT, all as LEB128.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::FolderId;
use crate::mailbox::{MailboxId, ModSeq, Snapshot, Uid};

/// Folders that one listener hears of at most.
pub(super) const MAX_FOLDERS: usize = 256;
/// Octets of a `Last-Event-ID`.
const MAX_TEXT: usize = 8 * 1024;
const VERSION: u64 = 1;

/// How far a listener has heard of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// HIGHESTMODSEQ.
    pub modseq: ModSeq,
    /// UIDNEXT.
    pub uid_next: Uid,
}

/// What is asked of the folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Which folders there are, and how they are called.
    pub list: bool,
    /// These as they are now, and what has happened since, where that is not known here.
    pub folders: Vec<(FolderId, Option<Point>)>,
}

/// How they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// All folders, if that was asked.
    pub list: Option<Vec<(FolderId, Arc<str>)>>,
    /// Each that was asked for.
    pub folders: Vec<Seen>,
}

/// A folder as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub folder: FolderId,
    /// What it holds; none: there is no such folder.
    pub snapshot: Option<Snapshot>,
    /// What has happened, if that was asked.
    pub missed: Option<Missed>,
}

/// What has happened since a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// These messages came or changed, and these went.
    These {
        /// Ascending; all of them are there.
        here: Vec<Uid>,
        /// Ascending; none of them is.
        gone: Vec<Uid>,
    },
    /// More than is told one by one, or nobody knows.
    Much,
}

impl Missed {
    /// Messages that are told one by one.
    pub const MAX: usize = 1_000;
}

impl Point {
    /// Of a folder as it is.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            modseq: snapshot.modseq,
            uid_next: snapshot.uid_next,
        }
    }
}

/// How far a listener has heard of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) list: u64,
    pub(super) folders: Vec<(FolderId, Point)>,
}

impl Heard {
    pub(super) fn encode(&self) -> String {
        let mut octets = Vec::with_capacity(16 + self.folders.len() * 14);
        put(&mut octets, VERSION);
        put(&mut octets, self.list);
        for (FolderId(MailboxId(id)), point) in &self.folders {
            put(&mut octets, u64::from(*id));
            put(&mut octets, point.modseq.0);
            put(&mut octets, point.uid_next.0.into());
        }
        BASE64.encode(octets)
    }

    /// `None`: we never wrote this.
    pub(super) fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let octets = BASE64.decode(text).ok()?;
        let mut rest = octets.as_slice();
        if take(&mut rest)? != VERSION {
            return None;
        }
        let mut heard = Self {
            list: take(&mut rest)?,
            folders: Vec::new(),
        };
        while !rest.is_empty() {
            let id = u32::try_from(take(&mut rest)?).ok()?;
            let modseq = ModSeq(take(&mut rest)?);
            let uid_next = Uid(u32::try_from(take(&mut rest)?).ok()?);
            heard
                .folders
                .push((FolderId(MailboxId(id)), Point { modseq, uid_next }));
            if heard.folders.len() > MAX_FOLDERS {
                return None;
            }
        }
        Some(heard)
    }

    pub(super) fn of(&self, folder: FolderId) -> Option<Point> {
        let found = self.folders.iter().find(|(other, _)| *other == folder);
        found.map(|(_, point)| *point)
    }
}

/// FNV-1a over ids and names.
pub(super) fn hash_of<'a>(list: impl Iterator<Item = (FolderId, &'a str)>) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (FolderId(MailboxId(id)), name) in list {
        let octets = id.to_le_bytes().into_iter().chain(name.bytes()).chain([0]);
        for octet in octets {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

fn put(octets: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            octets.push(low & 0x7f);
            return;
        }
        octets.push(low | 0x80);
    }
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, others) = rest.split_first()?;
        *rest = others;
        let bits = u64::from(first & 0x7f);
        let shifted = bits << shift;
        if shifted >> shift != bits {
            return None;
        }
        number |= shifted;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_we_did_not_write_is_nothing() {
        for bad in [
            "",
            "A",
            "!!!!",
            "Ag",
            "AQ",
            "AQAB",
            "AQH____________fw",
            &"A".repeat(MAX_TEXT + 1),
        ] {
            assert_eq!(Heard::decode(bad), None, "{bad:?}");
        }
        let names = [(FolderId(MailboxId(1)), "a"), (FolderId(MailboxId(2)), "b")];
        let other = [(FolderId(MailboxId(1)), "b"), (FolderId(MailboxId(2)), "a")];
        assert_ne!(hash_of(names.into_iter()), hash_of(other.into_iter()));
    }

    proptest! {
        #[test]
        fn a_point_comes_back(
            list: u64,
            folders in prop::collection::vec((1..=u32::MAX, any::<u64>(), any::<u32>()), 0..MAX_FOLDERS),
            text in "[A-Za-z0-9_-]{0,60}",
        ) {
            let folders = folders.into_iter().map(|(id, modseq, uid)| {
                (FolderId(MailboxId(id)), Point { modseq: ModSeq(modseq), uid_next: Uid(uid) })
            });
            let heard = Heard { list, folders: folders.collect() };
            let text_of_it = heard.encode();
            prop_assert!(text_of_it.len() <= MAX_TEXT);
            prop_assert_eq!(Heard::decode(&text_of_it), Some(heard));
            let _ = Heard::decode(&text);
        }
    }
}
