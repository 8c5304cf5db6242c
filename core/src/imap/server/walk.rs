//! Two states of a mailbox, walked in step: what went, what came, what stayed.

use std::sync::Arc;

use crate::mailbox::{Row, Rows, Uid, UidSet};

/// Walks an older and a newer state of one mailbox by ascending UID. Chunks that both share are met as a whole.
#[derive(Debug)]
pub(super) struct Walk {
    old: Side,
    new: Side,
}

/// A state and how far it is walked.
#[derive(Debug)]
struct Side {
    rows: Rows,
    chunk: usize,
    row: usize,
}

/// What a walk meets.
#[derive(Debug)]
pub(super) enum Met {
    /// A chunk that nothing changed in.
    Same(Arc<[Row]>),
    /// A message of both states: as it was, as it is.
    Both(Row, Row),
    /// A message that only the older state has.
    Gone(Row),
    /// A message that only the newer state has.
    Fresh(Row),
}

impl Walk {
    /// A walk from the lowest UID.
    pub(super) fn new(old: Rows, new: Rows) -> Self {
        Self {
            old: Side::new(old),
            new: Side::new(new),
        }
    }

    /// The next meeting; `None` at the end. Shared chunks with a UID of `closely` are met row by row.
    pub(super) fn next(&mut self, closely: Option<&UidSet>) -> Option<Met> {
        if let Some(shared) = self.shared(closely) {
            self.old.skip_chunk();
            self.new.skip_chunk();
            return Some(Met::Same(shared));
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
            chunk: 0,
            row: 0,
        }
    }

    fn chunk(&self) -> Option<&Arc<[Row]>> {
        self.rows.chunk(self.chunk)
    }

    fn peek(&self) -> Option<Row> {
        self.chunk()?.get(self.row).copied()
    }

    fn advance(&mut self) {
        self.row += 1;
        if self.chunk().is_none_or(|chunk| chunk.len() <= self.row) {
            self.skip_chunk();
        }
    }

    fn skip_chunk(&mut self) {
        self.chunk += 1;
        self.row = 0;
    }
}

/// The rows that a client knows after it was told of everything but the expunges: `old` with the present flags and
/// the messages that came after its last one; without the messages that are gone, if `drop_gone`. Messages that turn
/// up before the last one (which a store must not do) are left out, for no response can tell of them.
pub(super) fn merge(old: &Rows, new: &Rows, drop_gone: bool) -> Rows {
    let last = old.last_uid().unwrap_or(Uid(0));
    let mut walk = Walk::new(old.clone(), new.clone());
    let mut chunks: Vec<Arc<[Row]>> = Vec::new();
    let mut open: Vec<Row> = Vec::new();
    while let Some(met) = walk.next(None) {
        match met {
            Met::Same(chunk) => {
                if !open.is_empty() {
                    chunks.push(core::mem::take(&mut open).into());
                }
                chunks.push(chunk);
            }
            Met::Both(_, row) => open.push(row),
            Met::Gone(row) if !drop_gone => open.push(row),
            Met::Fresh(row) if row.uid > last => open.push(row),
            Met::Gone(_) | Met::Fresh(_) => {}
        }
        // Chunks end where the newer state's end, so that the next walk finds shared ones again.
        if walk.at_boundary() && !open.is_empty() {
            chunks.push(core::mem::take(&mut open).into());
        }
    }
    chunks.push(open.into());
    Rows::from_chunks(chunks)
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
            .map(|met| match met {
                Met::Same(rows) => format!("={}", rows.len()),
                Met::Both(old, new) if old == new => format!("{}", new.uid.0),
                Met::Both(_, new) => format!("~{}", new.uid.0),
                Met::Gone(old) => format!("-{}", old.uid.0),
                Met::Fresh(new) => format!("+{}", new.uid.0),
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
        assert!(dropped.chunk(0).is_some_and(|rows| Arc::ptr_eq(rows, &shared)));
    }
}
