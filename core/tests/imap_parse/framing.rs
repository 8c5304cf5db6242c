//! Where commands end: lines, literals, APPEND's message, and what is taken away with a refused command.

use super::{AUTHENTICATED, MAX_MESSAGE, REFUSING, Run, STRANGER, events};
use rmail_core::chunk::Chunk;
use rmail_core::imap::command::{Append, Command, Literal, Message, Replaces, Tagged};
use rmail_core::imap::parse::{Event, Parser};
use rmail_core::line::Inbox;
use rmail_core::mailbox::{Flags, Keyword, MailboxName, SystemFlags};
use rmail_core::text::date;

/// Events by kind, shortly.
fn kinds(run: Run, input: &str) -> Vec<String> {
    let short = |event: &Event| match event {
        Event::NeedBytes => "need".to_owned(),
        Event::Continue => "+".to_owned(),
        Event::Command(tagged) => format!("command {}", tagged.tag),
        Event::Append(append) => match append.replaces {
            Some(Replaces { number, .. }) => format!("replace {} {number:?}", append.tag),
            None => format!("append {}", append.tag),
        },
        Event::Message(message) if message.catenate => "parts".to_owned(),
        Event::Message(_) => "message".to_owned(),
        Event::Url(url) => format!("url {}", url.escape_ascii()),
        Event::Offer(literal) => {
            let mark = |is: bool, mark| if is { mark } else { "" };
            format!(
                "offer {}{}{}",
                mark(literal.utf8, "utf8 "),
                mark(literal.binary, "~"),
                literal.size
            )
        }
        Event::Literal(octets) => format!("octets {}", octets.escape_ascii()),
        Event::AppendEnd => "end".to_owned(),
        Event::ValueTooLong { tag } => format!("too long {tag}"),
        Event::Bad { tag, .. } => format!("bad {}", tag.as_deref().unwrap_or("*")),
        Event::TooBig => "too big".to_owned(),
    };
    events(run, input.as_bytes()).iter().map(short).collect()
}

#[test]
fn commands_follow_each_other() {
    assert_eq!(
        kinds(
            AUTHENTICATED,
            "a NOOP\r\nb NOOP\nc LOGIN {1}\r\nx y\r\nd SELECT {1+}\r\ny\r\ne NO"
        ),
        ["command a", "command b", "+", "command c", "command d"]
    );
}

#[test]
fn append_hands_its_message_on() {
    let line = "A003 APPEND saved-messages (\\Seen k) \"17-Jul-1996 02:44:25 -0700\" ";
    let begin = |size, synchronising| {
        [
            Event::Append(Append {
                tag: "A003".into(),
                mailbox: Ok(MailboxName::new("saved-messages").expect("good")),
                denormal: None,
                replaces: None,
            }),
            Event::Message(Message {
                flags: Flags {
                    system: SystemFlags::SEEN,
                    keywords: vec![Keyword::new("k").expect("keyword")],
                },
                date: date::parse_imap_date_time(b"17-Jul-1996 02:44:25 -0700"),
                catenate: false,
            }),
            Event::Offer(Literal {
                size,
                synchronising,
                binary: false,
                utf8: false,
            }),
        ]
    };
    let input = format!("{line}{{5}}\r\na\r\nb\n\r\nA4 NOOP\r\n");
    let mut want = begin(5, true).to_vec();
    want.extend([
        Event::Literal(Chunk::copy_from(b"a\r\nb\n")),
        Event::AppendEnd,
        Event::Command(Tagged {
            tag: "A4".into(),
            command: Command::Noop,
        }),
    ]);
    assert_eq!(events(AUTHENTICATED, input.as_bytes()), want);
    let mut want = begin(0, false).to_vec();
    want.push(Event::AppendEnd);
    assert_eq!(
        events(AUTHENTICATED, format!("{line}{{0+}}\r\n\r\n").as_bytes()),
        want
    );
}

/// What comes of an input, its words joined by commas.
fn told(input: &str) -> String {
    kinds(AUTHENTICATED, input).join(", ")
}

#[test]
fn append_in_its_forms() {
    let one = "append a, message, offer 1, octets x, end";
    for (line, want) in [
        ("a APPEND INBOX {1}\r\nx\r\n", one),
        ("a APPEND INBOX () {1}\r\nx\r\n", one),
        ("a APPEND INBOX \" 7-Jul-1996 02:44:25 -0700\" {1+}\r\nx\r\n", one),
        (
            "a APPEND {5}\r\nINBOX {1}\r\nx\r\n",
            "+, append a, message, offer 1, octets x, end",
        ),
        ("a APPEND \"{5}\" {1}\r\nx\n", one),
        (
            "a APPEND INBOX {4294967295}\r\n",
            "append a, message, offer 4294967295",
        ),
        (
            "a APPEND INBOX ~{1}\r\nx\r\n",
            "append a, message, offer ~1, octets x, end",
        ),
        (
            "a APPEND INBOX ~{1+}\r\n\0\r\n",
            "append a, message, offer ~1, octets \\x00, end",
        ),
        (
            "a APPEND INBOX utf8 (~{1}\r\nx)\r\n",
            "append a, message, offer utf8 ~1, octets x, end",
        ),
        (
            "a APPEND INBOX {1}\r\nx y\r\nb NOOP\r\n",
            "append a, message, offer 1, octets x, bad a, command b",
        ),
        (
            "a APPEND INBOX {1}\r\nx \r\nb NOOP\r\n",
            "append a, message, offer 1, octets x, bad a, command b",
        ),
        (
            "a APPEND INBOX {1}\r\nx()\r\nb NOOP\r\n",
            "append a, message, offer 1, octets x, bad a, command b",
        ),
        (
            "a APPEND INBOX {1+}\r\nx y {9+}\r\nz LOGOUT\r\r\nb NOOP\r\n",
            "append a, message, offer 1, octets x, bad a, command b",
        ),
        ("a APPEND INBOX\r\nb NOOP\r\n", "bad a, command b"),
        ("a APPEND INBOX x\r\n", "bad a"),
        ("a APPEND INBOX \"message\"\r\n", "bad a"),
        ("a APPEND INBOX (\\Recent) {1}\r\nb NOOP\r\n", "bad a, command b"),
        (
            "a APPEND INBOX {99999999999999999999}\r\nb NOOP\r\n",
            "bad a, command b",
        ),
        ("a APPEND INBOX {99999999999999999999+}\r\nb NOOP\r\n", "too big"),
        ("a APPEND INBOX UTF8 ({1}\r\nb NOOP\r\n", "bad a, command b"),
        ("a APPEND INBOX UTF8 ~{1}\r\nb NOOP\r\n", "bad a, command b"),
        (
            "a APPEND INBOX UTF8 (~{1}\r\nx\r\nb NOOP\r\n",
            "append a, message, offer utf8 ~1, octets x, bad a, command b",
        ),
    ] {
        assert_eq!(told(line), want, "{line:?}");
    }
    let long_tail = format!("a APPEND INBOX {{1}}\r\nx{}\r\nb NOOP\r\n", "y".repeat(70_000));
    assert_eq!(
        told(&long_tail),
        "append a, message, offer 1, octets x, bad a, command b"
    );
}

#[test]
fn several_messages() {
    assert_eq!(
        told("a APPEND INBOX (\\Seen) {1}\r\nx () {2+}\r\nyy {0}\r\n ~{1}\r\nz\r\nb NOOP\r\n"),
        "append a, message, offer 1, octets x, message, offer 2, octets yy, message, offer 0, message, offer ~1, \
         octets z, end, command b"
    );
    assert_eq!(
        told("a APPEND INBOX {1+}\r\nx {99999999999999999999}\r\nb NOOP\r\n"),
        "append a, message, offer 1, octets x, bad a, command b"
    );
}

#[test]
fn messages_of_parts() {
    for (line, want) in [
        (
            "a APPEND INBOX CATENATE (URL /a TEXT {1}\r\nx URL \"b\" text ~{1+}\r\ny)\r\n",
            "append a, parts, url /a, offer 1, octets x, url b, offer ~1, octets y, end",
        ),
        (
            "a APPEND INBOX (\\Seen) CATENATE (URL {2}\r\n/a) {1}\r\nz\r\n",
            "+, append a, parts, url /a, message, offer 1, octets z, end",
        ),
        (
            "a APPEND INBOX CATENATE (TEXT {1}\r\nx URL {2+}\r\n/a)\r\n",
            "append a, parts, offer 1, octets x, url /a, end",
        ),
        (
            "a APPEND INBOX CATENATE (UTF8 (~{1}\r\nx) URL /a) CATENATE (URL /b)\r\n",
            "append a, parts, offer utf8 ~1, octets x, url /a, parts, url /b, end",
        ),
        ("a APPEND INBOX CATENATE ()\r\nb NOOP\r\n", "bad a, command b"),
        ("a APPEND INBOX CATENATE (TEXT x)\r\n", "bad a"),
        (
            "a APPEND INBOX CATENATE (URL /a\r\nb NOOP\r\n",
            "bad a, command b",
        ),
        ("a APPEND INBOX CATENATE (FOO /a)\r\n", "bad a"),
        (
            "a APPEND INBOX CATENATE {1+}\r\nx\r\nb NOOP\r\n",
            "bad a, command b",
        ),
        (
            "a APPEND INBOX CATENATE (TEXT {1+}\r\nx FOO {3+}\r\nyyy)\r\nb NOOP\r\n",
            "append a, parts, offer 1, octets x, bad a, command b",
        ),
    ] {
        assert_eq!(told(line), want, "{line:?}");
    }
}

#[test]
fn replace_has_one_message() {
    for (line, want) in [
        (
            "a REPLACE 4 INBOX (\\Seen) {1}\r\nx\r\n",
            "replace a Number(4), message, offer 1, octets x, end",
        ),
        (
            "a UID REPLACE * INBOX CATENATE (URL /a)\r\n",
            "replace a Star, parts, url /a, end",
        ),
        (
            "a REPLACE 4 INBOX {1}\r\nx {1+}\r\ny\r\nb NOOP\r\n",
            "replace a Number(4), message, offer 1, octets x, bad a, command b",
        ),
        ("a REPLACE 1:2 INBOX {1+}\r\nx\r\nb NOOP\r\n", "bad a, command b"),
        ("a REPLACE 0 INBOX {1}\r\n", "bad a"),
        ("a REPLACE INBOX {1}\r\n", "bad a"),
    ] {
        assert_eq!(told(line), want, "{line:?}");
    }
}

#[test]
fn refused_messages_are_no_commands() {
    for (input, want) in [
        // The client waits for `+`, and sends its next command after the NO.
        (
            "a APPEND INBOX {9}\r\nb NOOP\r\n",
            vec!["append a", "message", "offer 9", "command b"],
        ),
        (
            "a APPEND INBOX {9+}\r\nx LOGOUT\n\r\nb NOOP\r\n",
            vec!["append a", "message", "offer 9", "command b"],
        ),
        (
            "a APPEND INBOX {9+}\r\nx LOGOUT\n {1+}\r\n\n\r\nb NOOP\r\n",
            vec!["append a", "message", "offer 9", "command b"],
        ),
        (
            "a APPEND INBOX {0+}\r\n\r\nb NOOP\r\n",
            vec!["append a", "message", "offer 0", "command b"],
        ),
        (
            "a APPEND INBOX {4294967295+}\r\nb NOOP\r\n",
            vec!["append a", "message", "offer 4294967295", "too big"],
        ),
    ] {
        assert_eq!(kinds(REFUSING, input), want, "{input:?}");
    }
}

#[test]
fn swallowing_has_a_bound() {
    let bound = MAX_MESSAGE + 1024 * 1024;
    let body = "x".repeat(usize::try_from(bound).expect("small"));
    let mut parser = Parser::new(MAX_MESSAGE);
    let mut feed = |size: u64| {
        let mut inbox = Inbox::default();
        inbox.push(Chunk::copy_from(
            format!("a APPEND INBOX {{{size}+}}\r\n").as_bytes(),
        ));
        assert!(matches!(parser.poll(&mut inbox, true), Event::Append(_)));
        parser.refuse_append();
        inbox.push(Chunk::copy_from(body.as_bytes()));
        inbox.push(Chunk::copy_from(b"\r\nb NOOP\r\n"));
        parser.poll(&mut inbox, true)
    };
    assert!(matches!(feed(bound), Event::Command(_)));
    assert_eq!(feed(bound + 1), Event::TooBig);
}

#[test]
fn malformed_commands_are_taken_away_whole() {
    for (input, want) in [
        ("a FOO {3}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        (
            "a FOO {10+}\r\nx LOGOUT\r\n\r\nb NOOP\r\n",
            vec!["bad a", "command b"],
        ),
        (
            "a NOOP {10+}\r\nx LOGOUT\r\n y\r\nb NOOP\r\n",
            vec!["bad a", "command b"],
        ),
        (
            "a LOGIN {1+}\r\nx {2+}\r\ny \"{10+}\r\nx LOGOUT\r\n\r\nb NOOP\r\n",
            vec!["bad a", "command b"],
        ),
        ("a SELECT \"x{3}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT {3} \r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT {-3}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT ~{3}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT ~{3+}\r\nfoo\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        (
            "a SELECT {99999999999999999999}\r\nb NOOP\r\n",
            vec!["bad a", "command b"],
        ),
        ("a SELECT {99999999999999999999+}\r\n", vec!["too big"]),
        ("a SELECT {4294967295}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT {4294967295+}\r\nb NOOP\r\n", vec!["too big"]),
        (
            "a SELECT {1}\r\n\0\r\nb NOOP\r\n",
            vec!["+", "bad a", "command b"],
        ),
        ("a SELECT x\0\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT x\ry\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("\r\nb NOOP\r\n", vec!["bad *", "command b"]),
        (" a NOOP\r\nb NOOP\r\n", vec!["bad *", "command b"]),
        ("+ NOOP\r\nb NOOP\r\n", vec!["bad *", "command b"]),
        ("a\r\nb NOOP\r\n", vec!["bad a", "command b"]),
    ] {
        assert_eq!(kinds(AUTHENTICATED, input), want, "{input:?}");
    }
}

#[test]
fn literals_that_are_kept_have_a_bound() {
    let select =
        |size: usize, plus: &str| format!("a SELECT {{{size}{plus}}}\r\n{}\r\nb NOOP\r\n", "x".repeat(size));
    assert_eq!(
        kinds(AUTHENTICATED, &select(65_536, "")),
        ["+", "command a", "command b"]
    );
    assert_eq!(kinds(AUTHENTICATED, &select(65_537, "+")), ["bad a", "command b"]);
    assert_eq!(
        kinds(AUTHENTICATED, "a SELECT {65537}\r\nb NOOP\r\n"),
        ["bad a", "command b"]
    );
    let many = |count: usize| format!("a SEARCH{}\r\nb NOOP\r\n", " TEXT {1+}\r\nx".repeat(count));
    assert_eq!(kinds(AUTHENTICATED, &many(64)), ["command a", "command b"]);
    assert_eq!(kinds(AUTHENTICATED, &many(65)), ["bad a", "command b"]);
    let long = format!(
        "a LOGIN {{60000+}}\r\n{} {{60000+}}\r\n{} {}\r\nb NOOP\r\n",
        "x".repeat(60_000),
        "y".repeat(60_000),
        "z".repeat(60_000)
    );
    assert_eq!(kinds(AUTHENTICATED, &long), ["bad a", "command b"]);
}

#[test]
fn before_login_little_is_kept() {
    for (input, want) in [
        ("a LOGIN {1}\r\nx {1}\r\ny\r\n", vec!["+", "+", "command a"]),
        ("a ID (\"name\" {1}\r\nx)\r\n", vec!["+", "command a"]),
        ("a SELECT {1}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT {1+}\r\nx\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a SELECT {8193+}\r\n", vec!["too big"]),
        ("a APPEND INBOX {1}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a APPEND INBOX {8193+}\r\n", vec!["too big"]),
        ("a LOGIN {8193}\r\nb NOOP\r\n", vec!["bad a", "command b"]),
        ("a LOGIN {8193+}\r\n", vec!["too big"]),
        ("a LOGIN {4294967295+}\r\n", vec!["too big"]),
    ] {
        assert_eq!(kinds(STRANGER, input), want, "{input:?}");
    }
    let two = |first: usize, second: usize| {
        format!(
            "a LOGIN {{{first}+}}\r\n{} {{{second}}}\r\nb NOOP\r\n",
            "x".repeat(first)
        )
    };
    assert_eq!(kinds(STRANGER, &two(8_000, 193)), ["bad a", "command b"]);
    let fits = format!(
        "a LOGIN {{8000+}}\r\n{} {{192}}\r\n{}\r\n",
        "x".repeat(8_000),
        "y".repeat(192)
    );
    assert_eq!(kinds(STRANGER, &fits), ["+", "command a"]);
    // What was taken before counts with what would be swallowed.
    let unasked = |command: &str, second: usize| {
        let (first, second) = ("x".repeat(8_000), "y".repeat(second));
        let size = second.len();
        format!("a {command} {{8000+}}\r\n{first} {{{size}+}}\r\n{second}\r\nb NOOP\r\n")
    };
    assert_eq!(
        kinds(STRANGER, &unasked("LOGIN", 192)),
        ["command a", "command b"]
    );
    assert_eq!(kinds(STRANGER, &unasked("LOGIN", 193)), ["too big"]);
    assert_eq!(kinds(STRANGER, &unasked("SELECT", 192)), ["bad a", "command b"]);
    assert_eq!(kinds(STRANGER, &unasked("SELECT", 193)), ["too big"]);
}

#[test]
fn long_lines_are_refused_and_skipped() {
    let line = |len: usize| format!("a LOGIN x {}\r\nb NOOP\r\n", "y".repeat(len - 12));
    assert_eq!(kinds(STRANGER, &line(65_536)), ["command a", "command b"]);
    assert_eq!(kinds(STRANGER, &line(65_537)), ["bad a", "command b"]);
    assert_eq!(kinds(AUTHENTICATED, &line(200_000)), ["bad a", "command b"]);
    let literal = format!("a X {} {{10+}}\r\nx LOGOUT\r\n\r\nb NOOP\r\n", "y".repeat(70_000));
    assert_eq!(kinds(AUTHENTICATED, &literal), ["bad a", "command b"]);
    let no_tag = format!("{}\r\nb NOOP\r\n", "y".repeat(70_000));
    assert_eq!(kinds(AUTHENTICATED, &no_tag), ["bad *", "command b"]);
}

#[test]
fn a_line_without_end_is_given_up() {
    let mut parser = Parser::new(MAX_MESSAGE);
    let mut inbox = Inbox::default();
    let piece = Chunk::copy_from(&[b'y'; 65_536]);
    let mut fed = 0_u64;
    while parser.poll(&mut inbox, false) == Event::NeedBytes {
        inbox.push(piece.clone());
        fed += piece.len() as u64;
        assert!(fed < 2 * 1024 * 1024 && inbox.len() <= piece.len());
    }
    assert_eq!(parser.poll(&mut inbox, false), Event::TooBig);
}

#[test]
fn the_parser_knows_when_it_is_between_commands() {
    let mut parser = Parser::new(MAX_MESSAGE);
    let mut inbox = Inbox::default();
    let mut feed = |parser: &mut Parser, octets: &[u8]| {
        inbox.push(Chunk::copy_from(octets));
        parser.poll(&mut inbox, true)
    };
    assert!(parser.is_idle());
    assert_eq!(feed(&mut parser, b"a SELECT {5}\r\n"), Event::Continue);
    assert!(!parser.is_idle());
    assert!(matches!(feed(&mut parser, b"INBOX\r\n"), Event::Command(_)));
    assert!(parser.is_idle());
    assert!(matches!(
        feed(&mut parser, b"a APPEND INBOX {5}\r\n"),
        Event::Append(_)
    ));
    assert!(!parser.is_idle());
    assert!(matches!(feed(&mut parser, b""), Event::Message(_)));
    assert!(matches!(feed(&mut parser, b""), Event::Offer(_)));
    assert_eq!(feed(&mut parser, b""), Event::NeedBytes);
    parser.refuse_append();
    assert!(parser.is_idle());
    parser.accept_literal();
    assert!(parser.is_idle(), "nothing was offered");
}
