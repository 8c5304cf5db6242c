//! No stream makes the parser fail, and no way of cutting it changes what comes of it.

use super::{AUTHENTICATED, REFUSING, STRANGER, events_of};
use proptest::prelude::*;
use rmail_core::imap::parse::Event;

/// Pieces that make up commands, right and wrong.
const WORDS: &[&str] = &[
    "NOOP",
    "LOGIN",
    "SELECT",
    "UID ",
    "FETCH",
    "SEARCH",
    "STORE",
    "APPEND",
    "REPLACE",
    "CATENATE (",
    "URL /a",
    "UTF8 (",
    "LIST",
    "ID",
    "CREATE",
    "STATUS",
    "1:*",
    "2,4",
    "INBOX",
    "\"a b\"",
    "\"\\\"\"",
    "(",
    ")",
    "BODY[",
    "]",
    "<0.9>",
    "HEADER.FIELDS ",
    "FLAGS",
    "+FLAGS.SILENT",
    "\\Seen",
    "\\Foo",
    "kw",
    "NOT",
    "OR",
    "ALL",
    "TEXT",
    "CHARSET UTF-8",
    "SINCE 1-Feb-1994",
    "NIL",
    "USE ",
    "&AOQ-",
    "&",
    "{3}\r\nabc",
    "{0}\r\n",
    "{3+}\r\na\nb",
    "{9+}\r\nz NOOP\r\n ",
    "{5}\r\n",
    "{70000}\r\n",
    "{70000+}\r\n",
    "~{1}\r\nx",
    "{99999999999999999999+}\r\n",
    "\"17-Jul-1996 02:44:25 -0700\"",
    "\0",
    "\r",
    "\n",
    "ä",
    "+",
    "*",
    "",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(WORDS);
    let command =
        proptest::collection::vec(word, 0..8).prop_map(|words| format!("t {}\r\n", words.join(" ")));
    let plausible = proptest::sample::select(vec![
        "a NOOP\r\n",
        "b LOGIN {1}\r\nx y\r\n",
        "c APPEND INBOX (\\Seen) {7}\r\nmessage\r\n",
        "c APPEND INBOX {1}\r\nx () ~{2+}\r\n\0y CATENATE (URL /a TEXT {1}\r\nz)\r\n",
        "c UID REPLACE 3 INBOX UTF8 (~{1}\r\nx)\r\n",
        "d APPEND INBOX {9+}\r\nx LOGOUT\n\r\n",
        "e SEARCH OR FROM {2+}\r\nme (UNSEEN 1:*)\r\n",
        "f FETCH 1:* (UID BODY.PEEK[1.HEADER.FIELDS (\"To\" Cc)]<0.10>)\r\n",
    ])
    .prop_map(str::to_owned);
    let garbage = proptest::collection::vec(any::<u8>(), 0..40);
    let part = prop_oneof![
        3 => command.prop_map(String::into_bytes),
        3 => plausible.prop_map(String::into_bytes),
        1 => garbage,
    ];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_split_gives_the_same_events(
        stream in stream(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        run in proptest::sample::select(vec![0_usize, 1, 2]),
    ) {
        let run = [AUTHENTICATED, REFUSING, STRANGER][run];
        let whole = events_of(run, &[&stream]);
        let octets: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&events_of(run, &octets), &whole);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&events_of(run, &pieces), &whole);
    }

    #[test]
    fn what_is_said_is_a_line_of_text(stream in stream()) {
        for event in events_of(AUTHENTICATED, &[&stream]) {
            if let Event::Bad { tag, text } = event {
                prop_assert!(!text.is_empty() && text.len() < 200);
                prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
                prop_assert!(tag.is_none_or(|tag| tag.bytes().all(|b| (0x21..0x7f).contains(&b))));
            }
        }
    }
}
