//! Which messages have gone from a mailbox (RFC 7162 §3.2.10).

use super::numbers::UidSet;
use super::rows::Snapshot;

/// What has gone since a MODSEQ, as far as the store remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vanished {
    /// These and no others. None of them exists.
    These(UidSet),
    /// The store does not remember so far back: any UID that does not exist may be one that the client knows.
    Forgotten,
}

impl Vanished {
    /// The UIDs for `VANISHED (EARLIER)` among those that the client knows, or says that it might: a message that it
    /// knows and that is not in the snapshot is among them. Where the store has forgotten, UIDs that no message ever had
    /// may be among them too; clients take no notice of those (RFC 7162 §3.2.6, the note on `minmodseq`).
    #[must_use]
    pub fn among(&self, known: &UidSet, snapshot: &Snapshot) -> UidSet {
        match self {
            Self::These(uids) => uids.and(known),
            Self::Forgotten => {
                let last = snapshot.uid_next.0.saturating_sub(1);
                let used = UidSet::from_ranges((last > 0).then_some((1, last)));
                let present: UidSet = snapshot.rows.iter().map(|row| row.uid).collect();
                known.and(&used).without(&present)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{ModSeq, Row, Rows, Uid, UidValidity};
    use std::sync::Arc;

    #[test]
    fn what_is_forgotten_is_all_that_is_not_there() {
        let rows: Vec<Row> = [2, 3, 7]
            .into_iter()
            .map(|uid| Row {
                date: 0,
                modseq: ModSeq(1),
                keywords: super::super::KeywordSet(0),
                uid: Uid(uid),
                size: 1,
                save_date: 0,
                zone: 0,
                flags: super::super::SystemFlags(0),
            })
            .collect();
        let snapshot = Snapshot {
            uid_validity: UidValidity(1),
            uid_next: Uid(10),
            modseq: ModSeq(9),
            rows: Rows::from_chunks([Arc::from(rows)]),
            keywords: Arc::default(),
        };
        let set = |ranges: &[(u32, u32)]| UidSet::from_ranges(ranges.iter().copied());
        let all = set(&[(1, u32::MAX)]);
        assert_eq!(
            Vanished::Forgotten.among(&all, &snapshot),
            set(&[(1, 1), (4, 6), (8, 9)])
        );
        assert_eq!(
            Vanished::Forgotten.among(&set(&[(3, 5)]), &snapshot),
            set(&[(4, 5)])
        );
        let these = Vanished::These(set(&[(4, 5), (8, 8)]));
        assert_eq!(these.among(&set(&[(1, 4)]), &snapshot), set(&[(4, 4)]));
        let empty = Snapshot {
            uid_next: Uid(1),
            rows: Rows::default(),
            ..snapshot
        };
        assert!(Vanished::Forgotten.among(&all, &empty).is_empty());
    }
}
