//! Two states of a mailbox, walked in step: what went, what came, what stayed. What both share is passed over as a whole,
//! so that a change in a large mailbox costs little more than one in a small one.

use core::ops::Range;
use std::sync::Arc;

use super::view::Telling;
use crate::mailbox::{Block, Gather, Row, Rows, Uid, UidSet};

/// Walks an older and a newer state of one mailbox by ascending UID. Blocks and chunks that both share are met as a whole.
#[derive(Debug)]
pub(crate) struct Walk {
    old: Side,
    new: Side,
}

/// A state and how far it is walked.
#[derive(Debug)]
struct Side {
    rows: Rows,
    block: usize,
    chunk: usize,
    row: usize,
}

/// What a walk meets.
#[derive(Debug)]
pub(crate) enum Met {
    /// A block that nothing changed in.
    SameBlock(Arc<Block>),
    /// A chunk that nothing changed in.
    Same(Arc<[Row]>),
    /// Messages of a chunk that changed, which did not.
    Alike(Arc<[Row]>, Range<usize>),
    /// A message of both states: as it was, as it is.
    Both(Row, Row),
    /// A message that only the older state has.
    Gone(Row),
    /// A message that only the newer state has.
    Fresh(Row),
}

impl Walk {
    /// A walk from the lowest UID.
    pub(crate) fn new(old: Rows, new: Rows) -> Self {
        Self {
            old: Side::new(old),
            new: Side::new(new),
        }
    }

    /// The next meeting; `None` at the end. Shared blocks and chunks with a UID of `closely` are met row by row, and so are
    /// its messages in any case.
    pub(crate) fn next(&mut self, closely: Option<&UidSet>) -> Option<Met> {
        if let Some(shared) = self.shared_block(closely) {
            self.old.skip_block();
            self.new.skip_block();
            return Some(Met::SameBlock(shared));
        }
        if let Some(shared) = self.shared(closely) {
            self.old.skip_chunk();
            self.new.skip_chunk();
            return Some(Met::Same(shared));
        }
        if let Some((rows, range)) = self.alike(closely) {
            self.old.advance_by(range.len());
            self.new.advance_by(range.len());
            return Some(Met::Alike(rows, range));
        }
        match (self.old.peek(), self.new.peek()) {
            (None, None) => None,
            (Some(old), Some(new)) if old.uid == new.uid => {
                self.old.advance();
                self.new.advance();
                Some(Met::Both(old, new))
            }
            (Some(old), new) if new.is_none_or(|new| old.uid < new.uid) => {
                self.old.advance();
                Some(Met::Gone(old))
            }
            (_, Some(new)) => {
                self.new.advance();
                Some(Met::Fresh(new))
            }
            (Some(old), None) => {
                self.old.advance();
                Some(Met::Gone(old))
            }
        }
    }

    /// Whether the newer state stands at the beginning of a chunk, or at its end.
    pub(super) fn at_boundary(&self) -> bool {
        self.new.row == 0
    }

    fn shared_block(&self, closely: Option<&UidSet>) -> Option<Arc<Block>> {
        if !self.old.at_block() || !self.new.at_block() {
            return None;
        }
        let (old, new) = (self.old.block()?, self.new.block()?);
        if !Arc::ptr_eq(old, new) {
            return None;
        }
        let (first, last) = old.bounds()?;
        let wanted = closely.is_some_and(|uids| uids.meets(first, last));
        (!wanted).then(|| Arc::clone(old))
    }

    /// From where both states stand: messages that are the same, as far as both chunks go.
    fn alike(&self, closely: Option<&UidSet>) -> Option<(Arc<[Row]>, Range<usize>)> {
        let (old, new) = (self.old.chunk()?, self.new.chunk()?);
        let pairs = old.get(self.old.row..)?.iter().zip(new.get(self.new.row..)?);
        let same =
            pairs.take_while(|(old, new)| old == new && closely.is_none_or(|uids| !uids.contains(new.uid)));
        let count = same.count();
        (count > 0).then(|| (Arc::clone(new), self.new.row..self.new.row + count))
    }

    fn shared(&self, closely: Option<&UidSet>) -> Option<Arc<[Row]>> {
        if self.old.row != 0 || self.new.row != 0 {
            return None;
        }
        let (old, new) = (self.old.chunk()?, self.new.chunk()?);
        if !Arc::ptr_eq(old, new) {
            return None;
        }
        let (first, last) = (old.first()?.uid, old.last()?.uid);
        let wanted = closely.is_some_and(|uids| uids.meets(first, last));
        (!wanted).then(|| Arc::clone(old))
    }
}

impl Side {
    fn new(rows: Rows) -> Self {
        Self {
            rows,
            block: 0,
            chunk: 0,
            row: 0,
        }
    }

    fn block(&self) -> Option<&Arc<Block>> {
        self.rows.block(self.block)
    }

    fn at_block(&self) -> bool {
        self.chunk == 0 && self.row == 0
    }

    fn chunk(&self) -> Option<&Arc<[Row]>> {
        self.block()?.chunk(self.chunk)
    }

    fn peek(&self) -> Option<Row> {
        self.chunk()?.get(self.row).copied()
    }

    fn advance(&mut self) {
        self.advance_by(1);
    }

    /// Past so many rows of the chunk, which has them.
    fn advance_by(&mut self, rows: usize) {
        self.row += rows;
        if self.chunk().is_none_or(|chunk| chunk.len() <= self.row) {
            self.skip_chunk();
        }
    }

    fn skip_chunk(&mut self) {
        self.chunk += 1;
        self.row = 0;
        if self.chunk().is_none() {
            self.skip_block();
        }
    }

    fn skip_block(&mut self) {
        self.block += 1;
        self.chunk = 0;
        self.row = 0;
    }
}

/// The rows that a client knows after it was told of what may be told: of all but the expunges, `old` with the present
/// flags and the messages that came after its last one. Messages that turn up before the last one (which a store must not
/// do) are left out, for no response can tell of them.
pub(super) fn merge(old: &Rows, new: &Rows, telling: impl Into<Telling>) -> Rows {
    let telling = telling.into();
    let last = old.last_uid().unwrap_or(Uid(0));
    let mut walk = Walk::new(old.clone(), new.clone());
    let mut merged = Gather::default();
    let mut open: Vec<Row> = Vec::new();
    while let Some(met) = walk.next(None) {
        match met {
            Met::SameBlock(block) => {
                merged.chunk(core::mem::take(&mut open).into());
                merged.block(block);
            }
            Met::Same(chunk) => {
                merged.chunk(core::mem::take(&mut open).into());
                merged.chunk(chunk);
            }
            Met::Alike(rows, range) => open.extend_from_slice(rows.get(range).unwrap_or_default()),
            Met::Both(old, new) => open.push(if telling.flags { new } else { old }),
            Met::Gone(row) if !telling.gone => open.push(row),
            Met::Fresh(row) if row.uid > last && telling.fresh => open.push(row),
            Met::Gone(_) | Met::Fresh(_) => {}
        }
        // Chunks end where the newer state's end, so that the next walk finds shared ones again.
        if walk.at_boundary() {
            merged.chunk(core::mem::take(&mut open).into());
        }
    }
    merged.chunk(open.into());
    merged.finish().with_floor(new.floor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{KeywordSet, ModSeq, SystemFlags};

    fn chunk(uids: &[u32], flags: u8) -> Arc<[Row]> {
        uids.iter()
            .map(|uid| Row {
                date: 0,
                modseq: ModSeq(1),
                keywords: KeywordSet(0),
                uid: Uid(*uid),
                size: 1,
                save_date: 0,
                zone: 0,
                flags: SystemFlags(flags),
            })
            .collect()
    }

    fn walked(old: &Rows, new: &Rows, closely: Option<&UidSet>) -> Vec<String> {
        let mut walk = Walk::new(old.clone(), new.clone());
        core::iter::from_fn(|| walk.next(closely))
            .flat_map(|met| match met {
                Met::SameBlock(block) => vec![format!("=={}", block.len())],
                Met::Same(rows) => vec![format!("={}", rows.len())],
                Met::Alike(rows, range) => rows[range].iter().map(|row| format!("{}", row.uid.0)).collect(),
                Met::Both(old, new) if old == new => vec![format!("{}", new.uid.0)],
                Met::Both(_, new) => vec![format!("~{}", new.uid.0)],
                Met::Gone(old) => vec![format!("-{}", old.uid.0)],
                Met::Fresh(new) => vec![format!("+{}", new.uid.0)],
            })
            .collect()
    }

    #[test]
    fn a_walk_skips_shared_chunks_and_meets_the_rest() {
        let shared = chunk(&[1, 2], 0);
        let old = Rows::from_chunks([Arc::clone(&shared), chunk(&[11, 12, 13], 0), chunk(&[21], 0)]);
        let new = Rows::from_chunks([
            Arc::clone(&shared),
            chunk(&[11, 13], 1),
            chunk(&[21], 0),
            chunk(&[31], 0),
        ]);
        assert_eq!(walked(&old, &new, None), ["=2", "~11", "-12", "~13", "21", "+31"]);
        let two = UidSet::from_ranges([(2, 2)]);
        assert_eq!(walked(&old, &new, Some(&two))[..3], ["1", "2", "~11"]);
        assert_eq!(walked(&old, &Rows::default(), None).len(), 6);
        assert_eq!(walked(&Rows::default(), &old, None)[0], "+1");
    }

    #[test]
    fn of_a_chunk_that_changed_the_rest_is_met_together() {
        let (all, seven) = (chunk(&[1, 2, 3, 4, 5, 6], 0), chunk(&[7], 0));
        let mut changed = all.to_vec();
        changed[2].flags = SystemFlags(8);
        let old = Rows::from_chunks([all, Arc::clone(&seven)]);
        let new = Rows::from_chunks([changed.into(), seven]);
        let mut walk = Walk::new(old.clone(), new.clone());
        let met: Vec<Met> = core::iter::from_fn(|| walk.next(None)).collect();
        assert!(
            matches!(
                &met[..],
                [Met::Alike(_, before), Met::Both(..), Met::Alike(_, behind), Met::Same(_)]
                    if *before == (0..2) && *behind == (3..6)
            ),
            "{met:?}"
        );
        // Chunks that are cut otherwise.
        let cut = Rows::from_chunks([chunk(&[1, 2], 0), chunk(&[3, 4, 5], 0), chunk(&[6, 7], 0)]);
        let all = ["1", "2", "3", "4", "5", "6", "7"];
        assert_eq!(walked(&old, &cut, None), all);
        assert_eq!(merge(&old, &cut, true).len(), 7);
        let four = UidSet::from_ranges([(4, 4)]);
        assert_eq!(
            walked(&old, &new, Some(&four)),
            ["1", "2", "~3", "4", "5", "6", "=1"]
        );
    }

    #[test]
    fn merging_keeps_what_may_not_be_told() {
        let shared = chunk(&[1, 2], 0);
        let old = Rows::from_chunks([Arc::clone(&shared), chunk(&[11, 13], 0)]);
        let new = Rows::from_chunks([Arc::clone(&shared), chunk(&[12, 13], 1), chunk(&[21], 0)]);
        let uids = |rows: &Rows| {
            rows.iter()
                .map(|row| (row.uid.0, row.flags.0))
                .collect::<Vec<_>>()
        };
        let kept = merge(&old, &new, false);
        assert_eq!(uids(&kept), [(1, 0), (2, 0), (11, 0), (13, 1), (21, 0)]);
        let dropped = merge(&old, &new, true);
        assert_eq!(uids(&dropped), [(1, 0), (2, 0), (13, 1), (21, 0)]);
        assert!(
            dropped
                .chunks()
                .next()
                .is_some_and(|rows| Arc::ptr_eq(rows, &shared))
        );
    }

    #[test]
    fn shared_blocks_are_met_at_once_and_stay_shared() {
        let old = Rows::from_chunks((0..300).map(|number| chunk(&[number * 2 + 1], 0)));
        let mut new = old.clone();
        new.put(Uid(301), Uid(301), chunk(&[301], 8));
        new.put(Uid(601), Uid(601), chunk(&[601], 0));
        let met = walked(&old, &new, None);
        let expected: Vec<&str> = ["==100"]
            .into_iter()
            .chain([""; 50].map(|_| "=1"))
            .chain(["~301"])
            .chain([""; 49].map(|_| "=1"))
            .chain(["==100", "+601"])
            .collect();
        assert_eq!(met, expected);
        let wanted = UidSet::from_ranges([(599, 599)]);
        assert_eq!(
            walked(&old, &new, Some(&wanted)).last_chunk(),
            Some(&["599".to_owned(), "+601".to_owned()])
        );
        new.put(Uid(301), Uid(301), Arc::default());
        let merged = merge(&old, &new, false);
        assert_eq!(merged.len(), 301);
        for at in [0, 2] {
            let pair = merged.block(at).zip(new.block(at));
            assert!(pair.is_some_and(|(a, b)| Arc::ptr_eq(a, b)), "block {at}");
        }
    }
}
