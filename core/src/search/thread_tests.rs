use proptest::prelude::*;

use super::*;
use crate::mailbox::{KeywordSet, ModSeq, Row, SystemFlags};
use crate::search::gist::Gists;

/// As a THREAD response shows it: depth by parentheses, `-` for what is not there.
fn shown(nodes: &[ThreadNode]) -> String {
    let mut out = String::new();
    let mut open: Vec<u32> = Vec::new();
    for node in nodes {
        let name = node.uid.map_or("-".to_owned(), |uid| uid.0.to_string());
        out.push_str(&format!("({name}"));
        open.push(node.children);
        while open.last() == Some(&0) {
            out.push(')');
            open.pop();
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
        }
    }
    out
}

fn threads(headers: &[String], algorithm: Algorithm) -> String {
    let mut gists = Gists::default();
    let rows: Vec<Row> = (1..)
        .zip(headers)
        .map(|(uid, header)| {
            gists.add(Uid(uid), header.as_bytes());
            Row {
                date: uid.into(),
                modseq: ModSeq(1),
                keywords: KeywordSet(0),
                uid: Uid(uid),
                size: 1,
                save_date: 0,
                zone: 0,
                flags: SystemFlags::default(),
            }
        })
        .collect();
    let messages: Vec<Message<'_>> = rows
        .iter()
        .map(|row| Message {
            row,
            gist: gists.get(row.uid),
        })
        .collect();
    shown(&thread(&messages, algorithm))
}

fn by(algorithm: Algorithm, messages: &[(&str, &str, &str)]) -> String {
    let headers: Vec<String> = messages
        .iter()
        .map(|(subject, id, references)| {
            format!("Subject: {subject}\r\nMessage-ID: {id}\r\nReferences: {references}\r\n\r\n")
        })
        .collect();
    threads(&headers, algorithm)
}

fn references(messages: &[(&str, &str, &str)]) -> String {
    by(Algorithm::References, messages)
}

#[test]
fn ordered_subject_makes_threads_of_two_levels() {
    let messages = [
        ("b", "", ""),
        ("a", "", ""),
        ("Re: b", "", ""),
        ("B (fwd)", "", ""),
        ("c", "", ""),
    ];
    assert_eq!(by(Algorithm::OrderedSubject, &messages), "(1(3)(4))(2)(5)");
    assert_eq!(by(Algorithm::OrderedSubject, &[]), "");
}

#[test]
fn references_make_trees() {
    assert_eq!(
        references(&[
            ("a", "<1@x>", ""),
            ("Re: a", "<2@x>", "<1@x>"),
            ("Re: a", "<3@x>", "<1@x> <2@x>"),
            ("Re: a", "<4@x>", "<1@x>"),
            ("b", "<5@x>", ""),
        ]),
        "(1(2(3))(4))(5)"
    );
    // The parent comes later, and is quoted otherwise.
    assert_eq!(
        references(&[("Re: a", "<2@x>", "<\"1\"@x>"), ("a", "<1@x>", "")]),
        "(2(1))"
    );
}

#[test]
fn what_is_missing_joins_its_children() {
    // With several children it stands at the top without a message; with one it goes.
    let two = [("x", "<1@x>", "<0@x>"), ("y", "<2@x>", "<0@x>")];
    assert_eq!(references(&two), "(-(1)(2))");
    assert_eq!(references(&two[..1]), "(1)");
    // Between messages it always goes.
    assert_eq!(
        references(&[
            ("x", "<1@x>", ""),
            ("Re: x", "<2@x>", "<1@x> <gone@x>"),
            ("Re: x", "<3@x>", "<1@x> <gone@x> <gone2@x>"),
        ]),
        "(1(2)(3))"
    );
}

#[test]
fn links_that_would_make_loops_are_not_made() {
    assert_eq!(
        references(&[("x", "<1@x>", "<2@x>"), ("y", "<2@x>", "<1@x>")]),
        "(2(1))"
    );
    assert_eq!(references(&[("x", "<1@x>", "<1@x>")]), "(1)");
    assert_eq!(
        references(&[
            ("a", "<1@x>", ""),
            ("c", "<3@x>", "<1@x> <2@x>"),
            ("d", "<4@x>", "<2@x> <1@x>")
        ]),
        "(1(2)(3))"
    );
    // What a message says of its own parent corrects what others said.
    assert_eq!(
        references(&[
            ("a", "<1@x>", ""),
            ("c", "<3@x>", "<1@x> <2@x>"),
            ("b", "<2@x>", "")
        ]),
        "(1)(3(2))"
    );
}

#[test]
fn ids_that_are_missing_or_double_are_unique() {
    assert_eq!(
        references(&[
            ("x", "<1@x>", ""),
            ("y", "<1@x>", ""),
            ("z", "", "<1@x>"),
            ("u", "none", "")
        ]),
        "(1(3))(2)(4)"
    );
}

#[test]
fn threads_with_one_subject_become_one() {
    // A reply goes below the original, whichever came first.
    assert_eq!(
        references(&[("a", "<1@x>", ""), ("Re: a", "<2@x>", "")]),
        "(1(2))"
    );
    assert_eq!(
        references(&[("Re: a", "<1@x>", ""), ("a", "<2@x>", "")]),
        "(2(1))"
    );
    // Two that are alike become siblings, and so do all that follow.
    assert_eq!(
        references(&[("a", "<1@x>", ""), ("a", "<2@x>", ""), ("Re: a", "<3@x>", "")]),
        "(-(1)(2)(3))"
    );
    // With a thread whose top is missing.
    assert_eq!(
        references(&[
            ("a", "<1@x>", "<0@x>"),
            ("b", "<2@x>", "<0@x>"),
            ("A", "<3@x>", ""),
            ("a", "<4@x>", "<00@x>"),
            ("c", "<5@x>", "<00@x>"),
        ]),
        "(-(1)(2)(3)(4)(5))"
    );
    assert_eq!(references(&[("", "<1@x>", ""), ("", "<2@x>", "")]), "(1)(2)");
}

#[test]
fn long_chains_in_any_order_take_no_stack_and_little_time() {
    let count = 20_000;
    let chain = |n: usize| format!("Message-ID: <{n}@x>\r\nReferences: <{}@x>\r\n\r\n", n + 1);
    let forth: Vec<String> = (0..count).map(chain).collect();
    let back: Vec<String> = (0..count).rev().map(chain).collect();
    for headers in [forth, back] {
        let threads = threads(&headers, Algorithm::References);
        assert!(threads.starts_with("(") && threads.ends_with(&")".repeat(count)));
    }
    // Each joins the end of a long chain with a tree of its own, or tries to.
    let mut hard: Vec<String> = (0..count).rev().map(chain).collect();
    hard.extend((0..count).map(|n| {
        format!(
            "Message-ID: <h{n}@x>\r\nReferences: <0@x> <{count}@x> <{}@x> <{count}@x>\r\n\r\n",
            n / 2
        )
    }));
    assert!(threads(&hard, Algorithm::References).len() > count);
}

proptest! {
    /// Every message once, and in trees.
    #[test]
    fn a_forest_holds_every_message_once(
        messages in prop::collection::vec((0..4_u8, 0..12_u8, prop::collection::vec(0..12_u8, 0..4)), 0..12),
        ordered in any::<bool>(),
    ) {
        let headers: Vec<String> = messages.iter().map(|(subject, id, references)| {
            let references: String = references.iter().map(|id| format!("<{id}@x> ")).collect();
            let reply = if subject % 2 == 0 { "" } else { "Re: " };
            format!("Subject: {reply}{}\r\nMessage-ID: <{id}@x>\r\nReferences: {references}\r\n\r\n", subject / 2)
        }).collect();
        let algorithm = if ordered { Algorithm::OrderedSubject } else { Algorithm::References };
        let shown = threads(&headers, algorithm);
        let mut found: Vec<u32> = shown
            .split(['(', ')'])
            .filter_map(|word| word.parse().ok())
            .collect();
        found.sort_unstable();
        prop_assert_eq!(found, (1..=u32::try_from(messages.len()).expect("few")).collect::<Vec<_>>());
        prop_assert_eq!(shown.matches('(').count(), shown.matches(')').count());
        // What is not there has several children, and stands at the top.
        prop_assert!(!shown.contains("(-)") && !shown.contains("((-"));
    }
}
