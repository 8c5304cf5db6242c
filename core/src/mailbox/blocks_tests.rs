use super::*;
use crate::mailbox::{KeywordSet, ModSeq, SystemFlags, UidSet};
use proptest::prelude::*;

fn row(uid: u32, flags: u8) -> Row {
    Row {
        date: 0,
        modseq: ModSeq(1),
        keywords: KeywordSet(0),
        uid: Uid(uid),
        size: 10,
        save_date: 0,
        zone: 0,
        flags: SystemFlags(flags),
    }
}

fn model_put(model: &mut Vec<Row>, first: u32, last: u32, rows: &[Row]) {
    model.retain(|row| !(first..=last).contains(&row.uid.0));
    model.extend(rows);
    model.sort_by_key(|row| row.uid);
}

fn check(rows: &Rows, model: &[Row]) {
    assert_eq!(rows.len(), model.len());
    assert_eq!(rows.is_empty(), model.is_empty());
    assert!(rows.iter().eq(model.iter()), "same rows");
    assert!(rows.iter().rev().eq(model.iter().rev()), "same rows backwards");
    assert_eq!(rows.last_uid(), model.last().map(|row| row.uid));
    let top = model.last().map_or(3, |row| row.uid.0 + 3);
    for uid in 0..top {
        let rank = model.partition_point(|row| row.uid.0 < uid);
        assert_eq!(rows.rank(Uid(uid)), rank);
        let there = model.get(rank).filter(|row| row.uid.0 == uid);
        assert_eq!(rows.find(Uid(uid)), there.map(|row| (rank, row)));
        let chunk = rows.chunk_of(Uid(uid));
        assert_eq!(chunk.is_some(), rank < model.len());
        if there.is_some() {
            assert!(chunk.is_some_and(|chunk| chunk.iter().any(|row| row.uid.0 == uid)));
        }
    }
    for index in 0..model.len() + 2 {
        assert_eq!(rows.get(index), model.get(index));
        let ten = rows.iter_from(index).take(10);
        assert!(ten.eq(model.iter().skip(index).take(10)), "from {index}");
    }
    for at in 0.. {
        let Some(block) = rows.block(at) else { break };
        assert!(!block.is_empty() && block.pieces.len() <= MOST);
        assert!(block.chunks().all(|chunk| !chunk.is_empty()));
    }
}

/// A change: a range of UIDs, in units of one chunk or as it comes, and which of them get rows.
fn changes() -> impl Strategy<Value = Vec<(u32, u32, u64, u8)>> {
    let aligned = (0_u32..450).prop_map(|chunk| (chunk * 3, chunk * 3 + 2));
    let ragged = (0_u32..1_350, 0_u32..40).prop_map(|(first, more)| (first, first + more));
    let range = prop_oneof![6 => aligned, 1 => ragged];
    let change = (range, any::<u64>(), 0_u8..32).prop_map(|((a, b), which, flags)| (a, b, which, flags));
    prop::collection::vec(change, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rows_are_what_a_plain_list_is(
        from in 0_u32..420,
        upto in 0_u32..420,
        changes in changes(),
        keep in any::<bool>(),
    ) {
        let mut model = Vec::new();
        let mut rows = Rows::default();
        // One chunk after the other, as messages come.
        for chunk in from..upto {
            let new: Vec<Row> = (chunk * 3..chunk * 3 + 3).map(|uid| row(uid, 0)).collect();
            model_put(&mut model, chunk * 3, chunk * 3 + 2, &new);
            rows.put(Uid(chunk * 3), Uid(chunk * 3 + 2), new.into());
        }
        check(&rows, &model);
        prop_assert_eq!(&Rows::from_chunks(rows.chunks().cloned()), &rows);
        for (first, last, which, flags) in changes {
            let new: Vec<Row> = (first..=last)
                .filter(|uid| which >> (uid % 64) & 1 == 1)
                .map(|uid| row(uid, flags))
                .collect();
            let before = rows.clone();
            let told = model.clone();
            model_put(&mut model, first, last, &new);
            if keep {
                rows.put(Uid(first), Uid(last), new.into());
                // Who has the older state sees no change.
                prop_assert!(before.iter().eq(told.iter()));
                let outside =
                    |chunk: &&Arc<[Row]>| chunk[chunk.len() - 1].uid.0 < first || chunk[0].uid.0 > last;
                for chunk in before.chunks().filter(outside) {
                    let now = rows.chunk_of(chunk[0].uid).expect("it is still there");
                    prop_assert!(Arc::ptr_eq(chunk, now));
                }
            } else {
                drop(before);
                rows.put(Uid(first), Uid(last), new.into());
            }
        }
        check(&rows, &model);
    }
}

#[test]
fn a_change_copies_one_block_and_shares_the_others() {
    let chunk = |number: u32| (number * 2..number * 2 + 2).map(|uid| row(uid, 0)).collect();
    let old = Rows::from_chunks((0..1_000).map(chunk));
    let mut new = old.clone();
    new.put(Uid(400), Uid(401), [row(400, 8), row(401, 0)].into());
    assert!(!new.same(&old));
    let same = |at: usize| match (old.block(at), new.block(at)) {
        (Some(old), Some(new)) => Some(Arc::ptr_eq(old, new)),
        _ => None,
    };
    let shared: Vec<bool> = (0..).map_while(same).collect();
    assert_eq!(
        (shared.len(), shared.iter().filter(|same| !**same).count()),
        (10, 1)
    );
    assert_eq!((new.len(), old.len()), (2_000, 2_000));
}

#[test]
fn what_is_removed_piece_by_piece_leaves_few_blocks() {
    let chunk = |number: u32| [row(number, 0)].into();
    let mut rows = Rows::from_chunks((0..2_000).map(chunk));
    for uid in (0..2_000).filter(|uid| uid % 100 != 0) {
        rows.put(Uid(uid), Uid(uid), [].into());
    }
    let model: Vec<Row> = (0..20).map(|number| row(number * 100, 0)).collect();
    check(&rows, &model);
    assert!(rows.block(2).is_none(), "{:?}", rows.block(2));
}

#[test]
fn rows_that_nobody_shares_change_in_place() {
    let chunk = |number: u32| [row(number, 0)].into();
    let mut rows = Rows::from_chunks((0..300).map(chunk));
    let address = |rows: &Rows| rows.block(1).map(Arc::as_ptr);
    let before = address(&rows);
    rows.put(Uid(150), Uid(150), [row(150, 1)].into());
    assert_eq!(address(&rows), before);
}

#[test]
fn whole_blocks_are_gathered_as_they_are() {
    let chunk = |number: u32| [row(number, 0)].into();
    let rows = Rows::from_chunks((1..300).map(chunk));
    let mut gather = Gather::default();
    gather.chunk([row(0, 0)].into());
    for at in 0..3 {
        gather.block(Arc::clone(rows.block(at).expect("a block")));
    }
    gather.chunk(Arc::default());
    gather.chunk([row(400, 0)].into());
    let all = gather.finish();
    assert!(all.iter().map(|row| row.uid.0).eq((0..300).chain([400])));
    let same = (0..3).all(|at| {
        let pair = rows.block(at).zip(all.block(at + 1));
        pair.is_some_and(|(old, new)| Arc::ptr_eq(old, new))
    });
    assert!(same);
}

#[test]
fn a_floor_raises_what_clients_are_told_and_changes_no_row() {
    let low = Row {
        modseq: ModSeq(3),
        ..row(1, 0)
    };
    let high = Row {
        modseq: ModSeq(30),
        ..row(2, 0)
    };
    let rows = Rows::from_chunks([[low, high].into()]);
    assert_eq!((rows.floor(), rows.modseq(&low)), (ModSeq(0), ModSeq(3)));
    let mut raised = rows.clone().with_floor(ModSeq(10));
    assert!(raised != rows && !raised.same(&rows));
    let told = |rows: &Rows| rows.iter().map(|row| rows.modseq(row).0).collect::<Vec<_>>();
    assert_eq!((told(&rows), told(&raised)), (vec![3, 30], vec![10, 30]));
    assert_eq!(raised.get(0), Some(&low));
    raised.put(
        Uid(2),
        Uid(5),
        [
            Row {
                modseq: ModSeq(31),
                ..high
            },
            row(5, 0),
        ]
        .into(),
    );
    raised.put(Uid(1), Uid(1), [low].into());
    assert_eq!(told(&raised), [10, 31, 10]);
}

#[test]
fn rows_of_a_set_are_found_without_a_walk() {
    let rows = Rows::from_chunks((0..50).map(|number| [row(number * 10, 0), row(number * 10 + 5, 0)].into()));
    let set = UidSet::from_ranges([(1, 4), (5, 11), (95, 105), (490, u32::MAX)]);
    let found: Vec<u32> = rows.of(&set).map(|row| row.uid.0).collect();
    assert_eq!(found, [5, 10, 95, 100, 105, 490, 495]);
}
