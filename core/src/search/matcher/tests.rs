use super::super::{Key, Program, eval_row, matches};
use crate::mailbox::{Keyword, KeywordSet, Keywords, ModSeq, Row, SystemFlags, Uid, UidSet};
use crate::text::date::days_from_civil;

fn row() -> Row {
    Row {
        // 1994-02-01T23:30 -0800, 2 February in UTC.
        date: days_from_civil(1994, 2, 2) * 86_400 + 7 * 3_600 + 1_800,
        modseq: ModSeq(1),
        keywords: KeywordSet(0),
        uid: Uid(7),
        size: 100,
        save_date: 0,
        zone: -480,
        flags: SystemFlags::SEEN,
    }
}

fn found(key: &Key, message: &[u8]) -> bool {
    matches(key, &row(), &Keywords::default(), message)
}

fn text(text: &str) -> Key {
    Key::Text(text.to_owned())
}

fn body(text: &str) -> Key {
    Key::Body(text.to_owned())
}

fn header(name: &str, text: &str) -> Key {
    Key::Header(name.to_owned(), text.to_owned())
}

fn not(key: Key) -> Key {
    Key::Not(Box::new(key))
}

const MESSAGE: &[u8] = b"Date: Mon, 31 Jan 1994 23:59:00 -0800 (PST)\r\n\
    From: =?iso-8859-1?q?J=F6rg?= <joerg@example.org>\r\n\
    Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n =?utf-8?q?_aus_K=C3=B6ln?=\r\n\
    X-Empty:\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n\
    preamble\r\n--b\r\n\
    Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    Die Stra=DFe ist gesp=\r\nerrt.\r\n\
    --b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    PGI+R3LDvG48L2I+\r\n\
    --b\r\nContent-Type: image/png\r\n\r\npixels\r\n\
    --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?inn=65n?=\r\n\r\nembedded text\r\n\
    --b--\r\nepilogue\r\n";

#[test]
fn rows_suffice_where_they_can() {
    let keywords = {
        let mut keywords = Keywords::default();
        keywords.push(Keyword::new("$Forwarded").expect("atom"));
        keywords
    };
    let mut row = row();
    row.keywords = KeywordSet(1);
    let value = |key: &Key| eval_row(key, &row, &keywords);
    let yes = || Key::Flag(SystemFlags::SEEN);
    let no = || Key::Flag(SystemFlags::DRAFT);
    for (key, want) in [
        (Key::All, true),
        (yes(), true),
        (no(), false),
        (Key::Keyword(Keyword::new("$forwarded").expect("atom")), true),
        (Key::Keyword(Keyword::new("other").expect("atom")), false),
        (Key::Uids(UidSet::from_ranges([(5, 7)])), true),
        (Key::Uids(UidSet::from_ranges([(8, 9)])), false),
        (Key::Larger(99), true),
        (Key::Larger(100), false),
        (Key::Smaller(101), true),
        (Key::Smaller(100), false),
        (Key::On(days_from_civil(1994, 2, 1)), true),
        (Key::On(days_from_civil(1994, 2, 2)), false),
        (Key::Before(days_from_civil(1994, 2, 1)), false),
        (Key::Before(days_from_civil(1994, 2, 2)), true),
        (Key::Since(days_from_civil(1994, 2, 1)), true),
        (Key::Since(days_from_civil(1994, 2, 2)), false),
        (Key::Recent, false),
        (Key::And(vec![]), true),
        (Key::And(vec![yes(), no()]), false),
        (Key::And(vec![text("x"), no()]), false),
        (Key::Or(Box::new((text("x"), yes()))), true),
        (Key::Or(Box::new((no(), no()))), false),
        (not(no()), true),
    ] {
        assert_eq!(value(&key), Some(want), "{key:?}");
    }
    assert_eq!(value(&Key::And(vec![text("x"), yes()])), None);
    assert_eq!(value(&Key::Or(Box::new((text("x"), no())))), None);
    assert_eq!(value(&not(text("x"))), None);
}

#[test]
fn headers_are_decoded() {
    for (name, text, want) in [
        ("from", "jörg", true),
        ("FROM", "JÖRG <joerg@", true),
        ("From", "j=f6rg", false),
        ("to", "jörg", false),
        ("subject", "grüße aus köln", true),
        ("subject", "utf-8", false),
        ("x-empty", "", true),
        ("x-absent", "", false),
        ("x-empty", "x", false),
    ] {
        assert_eq!(found(&header(name, text), MESSAGE), want, "{name} {text}");
    }
}

#[test]
fn bodies_are_decoded() {
    for (needle, in_body, in_text) in [
        ("straße ist gesperrt", true, true),
        ("STRASSE", false, false),
        ("grün", true, true),
        ("<B>", true, true),
        ("pixels", false, false),
        ("embedded", true, true),
        ("innen", true, true),
        ("subject: innen", true, true),
        ("Jörg", false, true),
        ("from: jörg", false, true),
        ("preamble", false, false),
        ("epilogue", false, false),
        ("köln\r\n", false, false),
        ("", true, true),
    ] {
        assert_eq!(found(&body(needle), MESSAGE), in_body, "body {needle}");
        assert_eq!(found(&text(needle), MESSAGE), in_text, "text {needle}");
    }
}

#[test]
fn sent_dates_are_those_of_the_field() {
    let day = days_from_civil(1994, 1, 31);
    for (key, want) in [
        (Key::SentOn(day), true),
        (Key::SentOn(day + 1), false),
        (Key::SentBefore(day), false),
        (Key::SentBefore(day + 1), true),
        (Key::SentSince(day), true),
        (Key::SentSince(day + 1), false),
    ] {
        assert_eq!(found(&key, MESSAGE), want, "{key:?}");
        assert!(!found(&key, b"Subject: no date\r\n\r\n"), "{key:?}");
        assert!(
            !found(&key, b"Date: never\r\nDate: 31 Jan 1994 10:00 +0000\r\n\r\n"),
            "{key:?}"
        );
    }
}

#[test]
fn combinations_over_row_header_and_body() {
    let seen = || Key::Flag(SystemFlags::SEEN);
    let draft = || Key::Flag(SystemFlags::DRAFT);
    for (key, want) in [
        (Key::And(vec![seen(), header("from", "jörg"), body("grün")]), true),
        (
            Key::And(vec![seen(), header("from", "absent"), body("grün")]),
            false,
        ),
        (Key::Or(Box::new((draft(), not(body("absent"))))), true),
        (not(Key::Or(Box::new((body("absent"), header("to", ""))))), true),
        (Key::And(vec![not(text("gesperrt")), seen()]), false),
    ] {
        assert_eq!(found(&key, MESSAGE), want, "{key:?}");
    }
}

#[test]
fn the_message_is_read_only_if_needed() {
    let program = Program::new(&Key::Or(Box::new((Key::Flag(SystemFlags::SEEN), text("x")))));
    assert!(program.needs_content() && program.needs_body());
    let read = core::cell::Cell::new(false);
    let message = || {
        read.set(true);
        MESSAGE
    };
    assert!(program.matches(&row(), &Keywords::default(), message));
    assert!(!read.get());
    assert!(!Program::new(&Key::All).needs_content());
    let header_only = Program::new(&Key::And(vec![header("from", "jörg"), Key::SentSince(0)]));
    assert!(header_only.needs_content() && !header_only.needs_body());
    let end = memchr::memmem::find(MESSAGE, b"\r\n\r\n").expect("header") + 4;
    assert!(header_only.matches(&row(), &Keywords::default(), || &MESSAGE[..end]));
}

#[test]
fn needles_across_windows() {
    // The needle lies at every offset around the edge of the first window.
    let needle = "needle".repeat(700);
    for shift in (0..needle.len()).step_by(97) {
        let mut message = b"\r\n".to_vec();
        message.resize(super::WINDOW - shift, b'n');
        message.extend_from_slice(needle.to_uppercase().as_bytes());
        message.extend_from_slice(b"\r\n");
        assert!(found(&body(&needle), &message), "{shift}");
        assert!(!found(&body(&(needle.clone() + "x")), &message), "{shift}");
    }
}

#[test]
fn an_undeclared_charset_is_read_both_ways() {
    assert!(found(&body("grün"), b"\r\ngr\xfcn\r\n"));
    assert!(found(&body("grün"), "\r\ngrün\r\n".as_bytes()));
    // Nothing is found across the two readings.
    assert!(!found(&body("n\r\ng"), b"\r\ngr\xfcn\r\n"));
}

#[test]
fn deep_programs_are_no_recursion() {
    let mut key = body("grün");
    for _ in 0..10_000 {
        key = not(key);
    }
    let program = Program::new(&key);
    assert!(program.matches(&row(), &Keywords::default(), || MESSAGE));
    // Dropping a tree that deep is the parser's business to prevent: take it apart by hand.
    while let Key::Not(inner) = key {
        key = *inner;
    }
}

#[test]
fn attachments_are_found_in_the_message_and_by_what_is_kept_of_it() {
    let with = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n\
        --b\r\nContent-Type: application/pdf\r\n\r\nx\r\n--b--\r\n";
    let program = Program::new(&Key::HasAttachment);
    for (message, has) in [(&with[..], true), (b"Subject: x\r\n\r\nx", false)] {
        assert_eq!(found(&Key::HasAttachment, message), has);
        let mut digest = crate::mime::digest::Digest::new(usize::MAX);
        digest.push(message);
        let parsed = digest.finish(message).parsed;
        let known = program.eval_parsed(&row(), &Keywords::default(), &parsed);
        assert_eq!(known, Some(has));
    }
}
