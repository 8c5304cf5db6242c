use proptest::prelude::*;
use rmail_core::mailbox::{Keyword, Uid, UidValidity};

use super::*;

type Found = Vec<(Vec<u8>, Result<Info, BadMessage>)>;

fn read(octets: &[u8], pieces: usize) -> Found {
    let mut reader = Reader::default();
    let mut found: Found = Vec::new();
    let mut data = Vec::new();
    let mut open = false;
    let mut tell = |event: Event<'_>| {
        match event {
            Event::Begin => {
                assert!(!open && data.is_empty());
                open = true;
            }
            Event::Exact => assert!(open && data.is_empty()),
            Event::Data(octets) => data.extend_from_slice(octets),
            Event::End(info) => {
                assert!(open);
                open = false;
                found.push((core::mem::take(&mut data), info));
            }
        }
        Ok::<(), ()>(())
    };
    for piece in octets.chunks(pieces.max(1)) {
        reader.push(piece, &mut tell).expect("told");
    }
    reader.finish(&mut tell).expect("told");
    assert!(!open);
    found
}

fn write(messages: &[(Vec<u8>, Info)], pieces: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (octets, info) in messages {
        out.extend(begin(info, octets.len() as u64));
        let mut quoter = Quoter::default();
        for piece in octets.chunks(pieces.max(1)) {
            quoter.push(piece, &mut out);
        }
        quoter.finish(&mut out);
    }
    out
}

fn texts(mbox: &str) -> Vec<(String, SystemFlags, Vec<String>)> {
    let first = read(mbox.as_bytes(), usize::MAX);
    for pieces in 1..20 {
        assert_eq!(read(mbox.as_bytes(), pieces), first, "in pieces of {pieces}");
    }
    first
        .into_iter()
        .map(|(octets, info)| {
            let flags = info.expect("whole").meta.flags;
            let words = flags.keywords.iter().map(|keyword| keyword.as_str().to_owned());
            (
                String::from_utf8(octets).expect("text"),
                flags.system,
                words.collect(),
            )
        })
        .collect()
}

#[test]
fn an_mbox_of_another_program() {
    let found = texts(
        "From a@b Wed Jul 17 09:44:25 1996\nSubject: one\nStatus: RO\nX-Status: AF\nX-Keywords: work, $Junk\n\nbody\n\
         >From here\n>>From there\nFrom me to you\n\nFrom now on\n\nFrom c@d Wed Jul 17 09:44:26 1996\nStatus: open\n\nx\n",
    );
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0],
        (
            "Subject: one\n\nbody\nFrom here\n>From there\nFrom me to you\n\nFrom now on\n".to_owned(),
            SystemFlags::SEEN
                .with(SystemFlags::ANSWERED)
                .with(SystemFlags::FLAGGED),
            vec!["work".to_owned(), "$Junk".to_owned()]
        )
    );
    assert_eq!(found[1].0, "Status: open\n\nx\n");
    let all = read(
        b"From a@b Wed Jul 17 02:44:25 1996 -0700\r\nA: b\r\n\r\nc\r\n\r\n",
        3,
    );
    assert_eq!(all[0].0, b"A: b\r\n\r\nc\r\n");
    let date = all[0].1.as_ref().expect("whole").meta.date;
    assert_eq!(
        date,
        Some(DateTime {
            unix: 837_596_665,
            zone: -420
        })
    );
    assert_eq!(read(b"", 1), []);
}

#[test]
fn what_is_no_mbox_is_said() {
    let found = read(
        b"Subject: x\n\nbody\n\nFrom a@b Wed Jul 17 09:44:25 1996\n\n\n",
        5,
    );
    assert_eq!(found[0].1, Err(BadMessage::NoFromLine));
    assert!(found[1].1.is_ok() && found.len() == 2);
}

#[test]
fn an_export_that_was_cut_is_noticed() {
    let message = (b"A: b\r\n\r\nFrom c\r\nd".to_vec(), Info::default());
    let mbox = write(&[message.clone(), message], 4);
    assert!(mbox.windows(8).any(|part| part == b"\n>From c"));
    let found = read(&mbox[..mbox.len() - 4], 9);
    assert!(found[0].1.is_ok());
    assert_eq!(found[1].1, Err(BadMessage::Size(15, 17)));
    let mut more = mbox.clone();
    more.extend_from_slice(b"more\n");
    assert!(matches!(read(&more, 9)[1].1, Err(BadMessage::Size(..))));
}

fn any_message() -> impl Strategy<Value = (Vec<u8>, Info)> {
    let line = "(>{0,3}From |From|>|X-Rmail: 1 lines=9|Status: R|Subject: x|[a-z>]{0,9}){0,2}(\r\n|\n|\r)?";
    let text = proptest::collection::vec(line, 0..8);
    let date = proptest::option::of((any::<i64>(), -1_439_i16..1_440));
    let numbers = proptest::option::of((1_u32.., 1_u32.., 1_u32..));
    (
        text,
        date,
        numbers,
        0_u8..32,
        proptest::collection::vec("[a-z,/]{1,5}", 0..3),
    )
        .prop_map(|(lines, date, numbers, system, words)| {
            let mut flags = Flags {
                system: SystemFlags(system),
                keywords: Vec::new(),
            };
            for word in words {
                let keyword = Keyword::new(&word).expect("atom");
                if !flags.keywords.contains(&keyword) {
                    flags.keywords.push(keyword);
                }
            }
            let info = Info {
                meta: Meta {
                    uid: numbers.map(|(uid, ..)| Uid(uid)),
                    flags,
                    date: date.map(|(unix, zone)| DateTime { unix, zone }),
                },
                numbering: Numbering {
                    uid_validity: numbers.map(|(_, validity, _)| UidValidity(validity)),
                    uid_next: numbers.map(|(.., next)| Uid(next)),
                },
                exact: true,
            };
            (lines.concat().into_bytes(), info)
        })
}

/// Lines longer than what is held of one: with quotes alone, and of the header.
#[test]
fn long_lines_are_the_same_in_any_pieces() {
    for quotes in [1_020, 1_023, 1_024, 1_025, 3_000] {
        for rest in ["From x\n", "Fro", "From ", "Frog\n", "\n", ""] {
            let octets = format!("Subject: x\n\n{}{rest}", ">".repeat(quotes)).into_bytes();
            let message = (
                octets.clone(),
                Info {
                    exact: true,
                    ..Info::default()
                },
            );
            let mbox = write(&[message], 7);
            for pieces in [1, 5, 1_000, 1_025, usize::MAX] {
                let found = read(&mbox, pieces);
                assert_eq!(found[0].0, octets, "{quotes} {rest:?} in pieces of {pieces}");
            }
        }
    }
    for long in [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1] {
        let name = "X-Keywords: ";
        let text = format!(
            "From a Wed Jul 17 09:44:25 1996\nA: b\n{name}{}\nStatus: R\n\nb\n",
            "x".repeat(long - name.len() - 1)
        );
        let whole = read(text.as_bytes(), usize::MAX);
        assert_eq!(
            whole[0].0.len() > MAX_LINE,
            long > MAX_LINE,
            "a line that is too long is not looked at"
        );
        for pieces in [1_000, 65_536] {
            assert!(
                read(text.as_bytes(), pieces) == whole,
                "{long} in pieces of {pieces}"
            );
        }
    }
}

proptest! {
    #[test]
    fn an_export_is_undone_exactly(
        messages in proptest::collection::vec(any_message(), 0..4), out in 1_usize..40, back in 1_usize..40,
    ) {
        let mbox = write(&messages, out);
        prop_assert_eq!(&mbox, &write(&messages, usize::MAX));
        let expected: Found = messages.into_iter().map(|(octets, info)| (octets, Ok(info))).collect();
        prop_assert_eq!(read(&mbox, back), expected);
    }

    #[test]
    fn pieces_do_not_matter(mbox in "((From a Wed Jul 17 09:44:25 1996|>From |Status: R|X-Rmail: 1 size=3 lines=1|[a-z:]{0,3})?(\r\n|\n)){0,12}[a-zF]{0,3}", pieces in 1_usize..9) {
        prop_assert_eq!(read(mbox.as_bytes(), pieces), read(mbox.as_bytes(), usize::MAX));
    }
}
