use super::*;
use crate::mailbox::{KeywordSet, ModSeq, Row, SystemFlags, UidValidity};

fn snapshot(modseq: u64, chunks: &[&[u32]]) -> Snapshot {
    let row = |uid: &u32| Row {
        date: 0,
        modseq: ModSeq(1),
        keywords: KeywordSet(0),
        uid: Uid(*uid),
        size: 10,
        save_date: 0,
        zone: 0,
        flags: SystemFlags::default(),
    };
    Snapshot {
        uid_validity: UidValidity(1),
        uid_next: Uid(1_000),
        modseq: ModSeq(modseq),
        rows: Rows::from_chunks(chunks.iter().map(|uids| uids.iter().map(row).collect())),
        keywords: Arc::default(),
    }
}

fn set(text: &str) -> SequenceSet {
    let number = |text: &str| match text {
        "*" => SeqNumber::Star,
        digits => SeqNumber::Number(digits.parse().expect("a number")),
    };
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        (number(first), number(last))
    };
    SequenceSet(text.split(',').map(range).collect())
}

#[test]
fn numbers_and_uids_become_positions() {
    let view = View::new(snapshot(1, &[&[2, 3, 7], &[20, 21]]), Recent::unclaimed(Uid(20)));
    for (uid, text, want) in [
        (false, "1", Ok("[0..1]")),
        (false, "2:4,1", Ok("[0..4]")),
        (false, "*", Ok("[4..5]")),
        (false, "5:3", Ok("[2..5]")),
        (false, "4:9", Ok("[3..5]")),
        (false, "6:*", Ok("[4..5]")),
        (false, "6", Err(BeyondLast)),
        (false, "1,7:8", Err(BeyondLast)),
        (true, "1", Ok("[]")),
        (true, "3:20", Ok("[1..4]")),
        (true, "8:*", Ok("[3..5]")),
        (true, "99:*", Ok("[4..5]")),
        (true, "4:6,8:9", Ok("[]")),
        (true, "1:4294967295", Ok("[0..5]")),
    ] {
        let got = view.ranks(uid, &set(text)).map(|ranks| format!("{ranks:?}"));
        assert_eq!(got.as_deref(), want.as_ref().copied(), "{uid} {text}");
    }
    let ranks = view.ranks(false, &set("1,3:4")).expect("messages");
    assert_eq!(view.uids(&ranks).to_string(), "2,7:20");
    assert_eq!(view.recent_count(), 2);
}

#[test]
fn an_empty_mailbox_has_no_numbers() {
    let view = View::new(snapshot(1, &[]), Recent::unclaimed(Uid(1)));
    assert_eq!(view.ranks(false, &set("1:*")), Err(BeyondLast));
    assert_eq!(view.ranks(true, &set("1:*")), Ok(vec![]));
    assert!(view.number_ranks(&set("1:*")).is_empty());
}

#[test]
fn two_sessions_number_by_what_they_were_told() {
    let first = snapshot(1, &[&[1, 2, 3], &[4]]);
    let mut told = View::new(first.clone(), Recent::unclaimed(Uid(1)));
    let mut waiting = View::new(first, Recent::unclaimed(Uid(1)));
    let second = snapshot(2, &[&[1, 3], &[4, 5]]);
    told.renew(second.clone());
    assert!(told.has_news(false));
    told.settle(true, true, false);
    // The other one may not hear of the expunge yet, but of the new message.
    waiting.renew(second.clone());
    waiting.settle(false, true, false);
    assert!(!waiting.has_news(false) && waiting.has_news(true));
    let third_of = |view: &View| {
        view.uids(&view.ranks(false, &set("3")).expect("three"))
            .to_string()
    };
    assert_eq!((third_of(&told), told.told().len()), ("4".into(), 4));
    assert_eq!((third_of(&waiting), waiting.told().len()), ("3".into(), 5));
    assert!(told.told().same(&second.rows), "idle sessions share their rows");
    waiting.settle(true, true, false);
    assert!(waiting.told().same(&second.rows) && !waiting.has_news(true));
}

#[test]
fn adopted_rows_are_known_and_shared() {
    let mut view = View::new(snapshot(1, &[&[1, 2], &[3, 4]]), Recent::unclaimed(Uid(9)));
    let mut changed = snapshot(2, &[&[1, 2], &[3, 4]]);
    let seen = |row: &Row| Row {
        flags: SystemFlags::SEEN,
        ..*row
    };
    let chunks: Vec<Arc<[Row]>> = changed
        .rows
        .chunks()
        .map(|chunk| chunk.iter().map(seen).collect())
        .collect();
    changed.rows = Rows::from_chunks(chunks);
    view.renew(changed.clone());
    view.adopt(&[Uid(1), Uid(2), Uid(3)]);
    let flags: Vec<u8> = view.told().iter().map(|row| row.flags.0).collect();
    assert_eq!(flags, [8, 8, 8, 0]);
    let shared = |at| {
        Arc::ptr_eq(
            view.told().chunks().nth(at).expect("chunk"),
            changed.rows.chunks().nth(at).expect("chunk"),
        )
    };
    assert!(shared(0) && !shared(1));
    view.adopt(&[Uid(77)]);
    assert_eq!(view.told().len(), 4);
}

#[test]
fn a_cursor_stops_and_goes_on() {
    let mut cursor = Cursor::new(vec![0..3, 5..6, 8..10]);
    assert_eq!(cursor.take(2), [0, 1]);
    assert_eq!(cursor.run(), Some(2..3));
    assert_eq!(cursor.take(3), [2, 5, 8]);
    cursor.advance_to(9);
    assert!(!cursor.is_done());
    assert_eq!((cursor.take(9), cursor.is_done()), (vec![9], true));
    assert_eq!(cursor.take(1), [] as [usize; 0]);
}
