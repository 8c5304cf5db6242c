//! The rows of a mailbox by shard, as this process has them under the naming lock. A change costs the shards that it
//! touches, however many there are.

use core::ops::Deref;
use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::mailbox::{ModSeq, Row, Rows, Uid};

use super::snapshot::Stamp;
use super::sums::Sums;

/// What a change gives: none for a UID that goes.
pub(super) type Edits = BTreeMap<Uid, Option<Row>>;

/// One shard directory as last read.
#[derive(Clone)]
pub(super) struct Shard {
    /// Rows with the MODSEQs of the names: no floor is applied.
    pub(super) own: Arc<[Row]>,
    /// Over its messages.
    pub(super) sums: Sums,
    /// The highest MODSEQ of its names, or one that was higher before.
    pub(super) highest: ModSeq,
    /// The directory's inode and ctime before it was read. `None`: it may have changed unnoticed, read it again.
    pub(super) stamp: Option<Stamp>,
}

impl Shard {
    pub(super) fn new(own: Arc<[Row]>, stamp: Option<Stamp>) -> Self {
        let sums = own.iter().collect();
        let highest = own.iter().map(|row| row.modseq).max().unwrap_or_default();
        Self::with_sums(own, sums, highest, stamp)
    }

    /// The same where the sums are known.
    pub(super) fn with_sums(own: Arc<[Row]>, sums: Sums, highest: ModSeq, stamp: Option<Stamp>) -> Self {
        Self {
            own,
            sums,
            highest,
            stamp,
        }
    }

    /// The row of a UID.
    pub(super) fn find(&self, uid: Uid) -> Option<&Row> {
        let at = self.own.binary_search_by_key(&uid, |row| row.uid).ok()?;
        self.own.get(at)
    }

    /// The rows with UIDs in this range.
    pub(super) fn range(&self, first: Uid, last: Uid) -> &[Row] {
        let from = self.own.partition_point(|row| row.uid < first);
        let to = self.own.partition_point(|row| row.uid <= last);
        self.own.get(from..to).unwrap_or_default()
    }

    /// The shard after a change. It may have been changed by others too: it has no stamp.
    fn changed(&self, edits: &Edits) -> Self {
        let mut sums = self.sums;
        sums += edits.values().flatten().collect();
        sums -= edits.keys().filter_map(|uid| self.find(*uid)).collect();
        let highest = edits.values().flatten().map(|row| row.modseq).max();
        Self {
            own: self.edited(edits),
            sums,
            highest: self.highest.max(highest.unwrap_or_default()),
            stamp: None,
        }
    }

    /// Most changes only replace rows, or only add some behind the others: then the rows are copied once.
    fn edited(&self, edits: &Edits) -> Arc<[Row]> {
        let last = self.own.last().map(|row| row.uid);
        if edits.first_key_value().map(|(uid, _)| *uid) > last && edits.values().all(Option::is_some) {
            let new: Vec<Row> = edits.values().flatten().copied().collect();
            // Of two slices, so that the length is known and the rows go to their place at once.
            return self.own.iter().chain(&new).copied().collect();
        }
        let replaces = |(uid, row): (&Uid, &Option<Row>)| row.is_some() && self.find(*uid).is_some();
        if edits.iter().all(replaces) {
            let mut rows: Arc<[Row]> = Arc::from(&*self.own);
            if let Some(rows) = Arc::get_mut(&mut rows) {
                for new in edits.values().flatten() {
                    let at = rows.binary_search_by_key(&new.uid, |row| row.uid);
                    if let Some(row) = at.ok().and_then(|at| rows.get_mut(at)) {
                        *row = *new;
                    }
                }
            }
            return rows;
        }
        let kept = self.own.iter().filter(|row| !edits.contains_key(&row.uid));
        let mut rows: Vec<Row> = kept.chain(edits.values().flatten()).copied().collect();
        rows.sort_unstable_by_key(|row| row.uid);
        rows.into()
    }
}

/// All shards that have messages, by number.
#[derive(Default)]
pub(super) struct Shards {
    by_number: BTreeMap<u32, Shard>,
    sums: Sums,
}

impl Shards {
    /// Over all messages.
    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    /// A shard with these rows was seen under this stamp, or may have changed unnoticed.
    pub(super) fn set_stamp(&mut self, number: u32, stamp: Option<Stamp>) {
        if let Some(shard) = self.by_number.get_mut(&number) {
            shard.stamp = stamp;
        }
    }

    /// The rows of all shards.
    pub(super) fn rows(&self) -> Rows {
        Rows::from_chunks(self.by_number.values().map(|shard| Arc::clone(&shard.own)))
    }

    /// Enters a change of one shard, and returns the rows that it has now.
    pub(super) fn change(&mut self, number: u32, edits: &Edits) -> Arc<[Row]> {
        let empty = Shard::new(Arc::default(), None);
        let old = self.by_number.get(&number).unwrap_or(&empty);
        let new = old.changed(edits);
        self.sums += new.sums;
        self.sums -= old.sums;
        let rows = Arc::clone(&new.own);
        if rows.is_empty() {
            self.by_number.remove(&number);
        } else {
            self.by_number.insert(number, new);
        }
        rows
    }
}

impl From<BTreeMap<u32, Shard>> for Shards {
    fn from(by_number: BTreeMap<u32, Shard>) -> Self {
        let sums = by_number.values().map(|shard| shard.sums).sum();
        Self { by_number, sums }
    }
}

impl Deref for Shards {
    type Target = BTreeMap<u32, Shard>;

    fn deref(&self) -> &Self::Target {
        &self.by_number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rmail_core::mailbox::{KeywordSet, SystemFlags};

    fn row(uid: u32, modseq: u64, size: u32) -> Row {
        Row {
            date: 0,
            modseq: ModSeq(modseq),
            keywords: KeywordSet(0),
            uid: Uid(uid),
            size,
            save_date: 0,
            zone: 0,
            flags: SystemFlags::default(),
        }
    }

    fn edits() -> impl Strategy<Value = Vec<(u32, Option<u32>)>> {
        prop::collection::vec((1_u32..40, prop::option::weighted(0.7, 0_u32..1_000)), 1..8)
    }

    proptest! {
        #[test]
        fn changes_of_shards_are_what_they_are_to_a_plain_map(changes in prop::collection::vec(edits(), 1..20)) {
            const SIZE: u32 = 8;
            let mut model: BTreeMap<u32, Row> = BTreeMap::new();
            let mut shards = Shards::default();
            for (modseq, change) in (1_u64..).zip(changes) {
                let mut by_shard: BTreeMap<u32, Edits> = BTreeMap::new();
                for (uid, size) in change {
                    let new = size.map(|size| row(uid, modseq, size));
                    by_shard.entry(uid / SIZE).or_default().insert(Uid(uid), new);
                }
                for (number, edits) in by_shard {
                    for (uid, row) in &edits {
                        match row {
                            Some(row) => drop(model.insert(uid.0, *row)),
                            None => drop(model.remove(&uid.0)),
                        }
                    }
                    let rows = shards.change(number, &edits);
                    let expected = model.range(number * SIZE..(number + 1) * SIZE).map(|(_, row)| row);
                    prop_assert!(rows.iter().eq(expected));
                }
                prop_assert!(shards.rows().iter().eq(model.values()));
                let sums: Sums = model.values().collect();
                prop_assert_eq!(shards.sums(), sums);
                let fresh = Shards::from(shards.by_number.clone());
                prop_assert_eq!(fresh.sums(), sums);
                for (number, shard) in shards.iter() {
                    let highest = shard.own.iter().map(|row| row.modseq).max();
                    prop_assert!(!shard.own.is_empty() && Some(shard.highest) >= highest);
                    prop_assert_eq!(shard.range(Uid(number * SIZE + 2), Uid(number * SIZE + 4)).len(),
                        model.range(number * SIZE + 2..=number * SIZE + 4).count());
                }
            }
        }
    }
}
