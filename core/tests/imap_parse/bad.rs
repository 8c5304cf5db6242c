//! Malformed commands: what the client is told.

use super::{AUTHENTICATED, bad, events};
use rmail_core::imap::parse::Event;
use rmail_core::imap::sequence::SequenceSet;

fn text(line: &str) -> String {
    let (tag, text) = bad(AUTHENTICATED, format!("a {line}\r\n").as_bytes());
    assert_eq!(tag.as_deref(), Some("a"), "{line}");
    text
}

#[test]
fn the_words_teach() {
    for (line, want) in [
        ("FROBNICATE x", "unknown command FROBNICATE (column 3)"),
        ("UID NOOP", "unknown UID command NOOP (column 7)"),
        ("NOOP x", "expected the end of the line (column 7)"),
        (
            "SELECT",
            "the line ends where there should be a space and a mailbox name (column 9)",
        ),
        (
            "SELECT ",
            "the line ends where there should be a mailbox name (column 10)",
        ),
        ("SELECT (", "expected a mailbox name (column 10)"),
        (
            "SELECT \"a",
            "the line ends where there should be the closing quote of a string (column 12)",
        ),
        (
            "SELECT \"a\\n\"",
            "only \\\" and \\\\ may be escaped in a quoted string (column 13)",
        ),
        ("FETCH 0 UID", "expected a number from 1 to 4294967295 (column 9)"),
        (
            "FETCH 4294967296 UID",
            "expected a number from 1 to 4294967295 (column 9)",
        ),
        ("FETCH 1 (UID FOO)", "unknown item to fetch FOO (column 16)"),
        (
            "STORE 1 FLAGS (\\Recent)",
            "\\Recent cannot be changed (column 25)",
        ),
        ("STORE 1 FLAGS \\Foo", "unknown system flag Foo (column 18)"),
        ("LOGIN x {3+}\r\nabc d", "expected the end of the line (column 1)"),
    ] {
        assert_eq!(text(line), want, "{line}");
    }
}

#[test]
fn what_is_no_command() {
    for line in [
        "",
        " NOOP",
        "NOOP ",
        "LOGIN x",
        "LOGIN x  y",
        "LOGIN x y z",
        "LOGIN \"\u{0}\" y",
        "LOGIN (x) y",
        "AUTHENTICATE",
        "AUTHENTICATE PLAIN ",
        "AUTHENTICATE PLAIN A",
        "AUTHENTICATE PLAIN A===",
        "AUTHENTICATE PLAIN AA==BB==",
        "ID",
        "ID x",
        "ID \"x\"",
        "ID (\"a\")",
        "ID (\"a\" \"b\" \"c\")",
        "ID (a \"b\")",
        "ENABLE",
        "ENABLE ",
        "RENAME a",
        "CREATE a (",
        "CREATE a (USE)",
        "SELECT a ",
        "SELECT a ()",
        "SELECT a (X)",
        "SELECT a (QRESYNC)",
        "SELECT a (QRESYNC (1))",
        "SELECT a (QRESYNC (0 1))",
        "SELECT a (QRESYNC (1 1 1:*))",
        "SELECT a (QRESYNC (1 1 (1)))",
        "SELECT a (QRESYNC (1 1 (1:2 5)))",
        "SELECT a (QRESYNC (1 1 (2,1 5,6)))",
        "SELECT a (QRESYNC (1 1 (1,2 5,*)))",
        "SELECT a (QRESYNC (1 1) QRESYNC (1 1))",
        "FETCH 1 FLAGS (CHANGEDSINCE)",
        "FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)",
        "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        "UID FETCH 1 FLAGS (VANISHED)",
        "STORE 1 () FLAGS a",
        "STORE 1 (UNCHANGEDSINCE) FLAGS a",
        "STORE 1 (UNCHANGEDSINCE -1) FLAGS a",
        "STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 2) FLAGS a",
        "CREATE a (USE (Sent))",
        "CREATE a (FOO (\\Sent))",
        "LIST \"\"",
        "LIST * \"\"",
        "LIST \"\" ()",
        "LIST (FOO) \"\" *",
        "LIST \"\" * RETURN (FOO)",
        "LIST \"\" * FOO",
        "LIST \"\" (a b) RETURN",
        "STATUS INBOX",
        "STATUS INBOX ()",
        "STATUS INBOX (FOO)",
        "STATUS INBOX (MESSAGES",
        "COPY INBOX",
        "COPY 1 ",
        "MOVE 1,, x",
        "MOVE 1: x",
        "MOVE $x x",
        "MOVE +1 x",
        "UID EXPUNGE",
        "UID",
        "STORE 1",
        "STORE 1 FLAGS",
        "STORE 1 FLAGS ",
        "STORE 1 FLAGS (",
        "STORE 1 FLAGS (\\)",
        "STORE 1 FLAGS (\\Seen  \\Draft)",
        "STORE 1 *FLAGS (\\Seen)",
        "STORE 1 FLAGS.LOUD (\\Seen)",
        "STORE 1 FLAGS (\\*)",
        "FETCH 1",
        "FETCH 1 ()",
        "FETCH 1 (ALL)",
        "FETCH 1 BODY[",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[1.]",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[FOO]",
        "FETCH 1 BODY[HEADER.FIELDS]",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
        "FETCH 1 BODY[]<0>",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 BODY[]<-1.5>",
        "FETCH 1 BODY.PEEK",
        "FETCH 1 BODY.PEEK[]<1.9223372036854775808>",
        "SEARCH",
        "SEARCH FOO",
        "SEARCH NOT",
        "SEARCH OR ALL",
        "SEARCH (ALL",
        "SEARCH ()",
        "SEARCH SINCE 1-Feb-94",
        "SEARCH SINCE 30-Feb-1994",
        "SEARCH LARGER x",
        "SEARCH LARGER -1",
        "SEARCH KEYWORD \\Seen",
        "SEARCH CHARSET UTF-8",
        "SEARCH UID",
        "SEARCH 1x",
        "SEARCH OLDER 0",
        "SEARCH YOUNGER",
        "SEARCH MODSEQ",
        "SEARCH MODSEQ \"/flags/\\\\Seen\" some 1",
        "SEARCH $,1",
        "SEARCH RETURN",
        "SEARCH RETURN ()",
        "SEARCH RETURN (MIN MAX",
        "SEARCH RETURN (FOO) ALL",
        "SEARCH RETURN (ALL PARTIAL 1:2) ALL",
        "SEARCH RETURN (ALL ALL) ALL",
        "SEARCH RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL",
        "SEARCH RETURN (PARTIAL 1) ALL",
        "SEARCH RETURN (PARTIAL 0:1) ALL",
        "SEARCH RETURN (PARTIAL 1:*) ALL",
        "SEARCH RETURN (PARTIAL -1:2) ALL",
        "SEARCH RETURN (PARTIAL 1:-2) ALL",
        "SORT (DATE) ALL",
        "SORT () UTF-8 ALL",
        "SORT (REVERSE) UTF-8 ALL",
        "SORT (REVERSE REVERSE DATE) UTF-8 ALL",
        "SORT DATE UTF-8 ALL",
        "SORT (DATE) UTF-8",
        "THREAD FOO UTF-8 ALL",
        "THREAD REFERENCES ALL",
        "ESEARCH IN () ALL",
        "ESEARCH IN (selected-delayed) ALL",
        "ESEARCH IN (mailboxes) ALL",
        "ESEARCH IN (mailboxes ()) ALL",
        "UID ESEARCH ALL",
        "CANCELUPDATE",
        "CANCELUPDATE B01",
    ] {
        text(line);
    }
    for line in [
        &b"a LOGIN \"\xff\" x\r\n"[..],
        b"a SEARCH TEXT {1+}\r\n\xff\r\n",
        b"a LIST \"\" \"\xff\"\r\n",
        b"a SELECT \xc3\xa4\r\n",
    ] {
        bad(AUTHENTICATED, line);
    }
}

#[test]
fn tags() {
    let tag_of = |input: &str| bad(AUTHENTICATED, input.as_bytes()).0;
    assert_eq!(tag_of("a.1]-x X\r\n").as_deref(), Some("a.1]-x"));
    for none in [
        "a+ NOOP\r\n",
        "\"a\" NOOP\r\n",
        "(a NOOP\r\n",
        "a\\ NOOP\r\n",
        "ä NOOP\r\n",
        "a% NOOP\r\n",
        "a\0 NOOP\r\n",
    ] {
        assert_eq!(tag_of(none), None, "{none:?}");
    }
    let tag = "t".repeat(64);
    assert!(matches!(
        events(AUTHENTICATED, format!("{tag} NOOP\r\n").as_bytes())[..],
        [Event::Command(_)]
    ));
    assert_eq!(tag_of(&format!("{tag}t NOOP\r\n")), None);
}

#[test]
fn numbers_of_things_have_bounds() {
    text(&format!("SEARCH {}ALL", "NOT ".repeat(33)));
    text(&format!("SEARCH {}ALL", "(".repeat(30_000)));
    text(&format!("SEARCH {}", "OR ".repeat(20_000)));
    text(&format!("SEARCH {}", vec!["1"; 1_001].join(" ")));
    text(&format!("FETCH 1 BODY[{}]", vec!["1"; 65].join(".")));
    text(&format!("FETCH 1 ({})", vec!["a"; 40_000].join(" ")));
    text(&format!(
        "FETCH 1 BODY[HEADER.FIELDS ({})]",
        vec!["a"; 257].join(" ")
    ));
    text(&format!("STORE 1 FLAGS ({})", vec!["a"; 262].join(" ")));
    text(&format!("STORE 1 FLAGS {}", vec!["a"; 262].join(" ")));
    text(&format!("STORE 1 FLAGS {}", "a".repeat(256)));
    text(&format!("LIST \"\" ({})", vec!["a"; 33].join(" ")));
    text(&format!("ENABLE {}", vec!["a"; 65].join(" ")));
    text(&format!("ID ({})", vec!["\"a\" NIL"; 31].join(" ")));
    text(&format!("ID (\"{}\" NIL)", "a".repeat(31)));
    text(&format!("ID (\"a\" \"{}\")", "a".repeat(1_025)));
    text(&format!(
        "FETCH {} UID",
        vec!["1"; SequenceSet::MAX_RANGES + 1].join(",")
    ));
}

#[test]
fn nothing_secret_is_said() {
    let (_, text) = bad(AUTHENTICATED, b"a LOGIN alice sesame extra\r\n");
    assert!(!text.contains("sesame") && !text.contains("extra"), "{text}");
}

#[test]
fn saved_results_and_mailboxes_are_counted() {
    let often = |n: usize| format!("SEARCH{}", " $".repeat(n));
    assert!(text(&often(9)).starts_with("$ stands there too often"));
    super::command(&often(8));
    let names = |n: usize| (0..n).map(|at| format!("m{at}")).collect::<Vec<_>>().join(" ");
    let notify = |n: usize| {
        let group = format!("(MAILBOXES ({}) (MessageNew MessageExpunge))", names(n));
        format!("NOTIFY SET {group} {group}")
    };
    assert!(text(&notify(1_025)).starts_with("too many mailboxes"));
    super::command(&notify(1_024));
}
