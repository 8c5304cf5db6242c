//! Every case whole, octet by octet, and in every split in two.

use super::*;

const HOST: &str = "mail.demo.test";
const DATE: &str = "Thu, 1 Jan 1970 00:00:00 +0000";

fn defaults() -> Defaults {
    Defaults {
        from: Address::parse("me@x.y"),
        date: "DATE".into(),
        message_id: "<id@x.y>".into(),
        resent_message_id: "<re@x.y>".into(),
        utf8: false,
    }
}

fn run(defaults: Option<&Defaults>, parts: &[&[u8]]) -> (Vec<u8>, Summary) {
    let mut pass = Pass::new(HOST, defaults.cloned());
    let mut stored = Vec::new();
    for part in parts {
        pass.push(Chunk::copy_from(part), |chunk| stored.extend_from_slice(&chunk));
    }
    let summary = pass.finish(|chunk| stored.extend_from_slice(&chunk));
    (stored, summary)
}

/// The same whole, octet by octet, and in every split in two.
fn all_splits(defaults: Option<&Defaults>, message: &str) -> (String, Summary) {
    let input = message.as_bytes();
    let whole = run(defaults, &[input]);
    let octets: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(defaults, &octets), whole);
    for at in 0..input.len() {
        assert_eq!(run(defaults, &[&input[..at], &input[at..]]), whole, "at {at}");
    }
    (String::from_utf8(whole.0).expect("text"), whole.1)
}

fn submitted(message: &str) -> (String, Summary) {
    all_splits(Some(&defaults()), message)
}

fn authors(message: &str) -> Option<Vec<String>> {
    let (_, summary) = submitted(message);
    match summary.fault {
        None => Some(summary.authors.iter().map(ToString::to_string).collect()),
        Some(fault) => {
            assert_eq!(fault, Fault::BadAuthor);
            None
        }
    }
}

#[test]
fn relayed_mail_loses_its_return_path_only() {
    let message = "Return-Path: <a@b.c>\r\nBcc: x\r\nFrom: broken <\r\nRETURN-path :\r\n folded\r\nX: y\r\n\r\n\
                   Return-Path: body\r\n";
    let (stored, summary) = all_splits(None, message);
    assert_eq!(
        stored,
        "Bcc: x\r\nFrom: broken <\r\nX: y\r\n\r\nReturn-Path: body\r\n"
    );
    assert_eq!((summary.authors, summary.fault), (vec![], None));
    for odd in [
        "",
        "\r\n",
        "no header\r\n",
        " folded\r\n",
        ": x\r\n",
        "A: b\r\n",
        "A b: c\r\n",
    ] {
        assert_eq!(all_splits(None, odd).0, odd);
    }
}

#[test]
fn submitted_mail_gets_what_is_missing() {
    let added = "From: me@x.y\r\nDate: DATE\r\nMessage-ID: <id@x.y>\r\n";
    assert_eq!(submitted("").0, added);
    assert_eq!(submitted("\r\nbody\r\n").0, format!("{added}\r\nbody\r\n"));
    assert_eq!(submitted("A: b\r\n").0, format!("A: b\r\n{added}"));
    assert_eq!(submitted("hello\r\n").0, format!("{added}\r\nhello\r\n"));
    assert_eq!(
        submitted("Subject: x\r\nFrom b\r\n").0,
        format!("Subject: x\r\n{added}\r\nFrom b\r\n")
    );
    assert_eq!(authors("\r\nbody\r\n"), Some(vec!["me@x.y".into()]));
    let whole = &format!("from: a@b.c\r\nDATE: {DATE}\r\nmessage-Id:\r\n <a@b>\r\n\r\nbody\r\n");
    assert_eq!(submitted(whole).0, *whole);
}

#[test]
fn submitted_mail_loses_bcc() {
    let head = format!("From: a@b.c\r\nDate: {DATE}\r\nMessage-ID: <a@b>\r\n");
    let message = format!("{head}Bcc: p@q.r,\r\n s@t.u\r\nTo: v@w.x\r\nResent-Bcc:z\r\n\r\nBcc: body\r\n");
    assert_eq!(
        submitted(&message).0,
        format!("{head}To: v@w.x\r\n\r\nBcc: body\r\n")
    );
}

#[test]
fn authors_are_those_of_every_from_and_sender() {
    let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(
        authors("From: a@b.c,\r\n d@e.f\r\nSender : g@h.i\r\nFrom: j@k.l\r\n\r\nFrom: no@no.no\r\n"),
        list(&["a@b.c", "d@e.f", "g@h.i", "j@k.l"])
    );
    assert_eq!(authors("From: broken\r\n\r\n"), None);
    assert_eq!(authors("From: a@b.c\r\nSender: (me)\r\n\r\n"), None);
    let long = format!("From: a@b.c, {}\r\n\r\n", "(x)".repeat(MAX_FIELD / 3));
    let (_, summary) = run(Some(&defaults()), &[long.as_bytes()]);
    assert_eq!(summary.fault, Some(Fault::BadAuthor));
    let many = "From: a@b.c\r\n".repeat(MAX_AUTHORS + 1);
    let (_, summary) = run(Some(&defaults()), &[many.as_bytes()]);
    assert_eq!(summary.fault, Some(Fault::BadAuthor));
}

#[test]
fn the_newest_resent_block_stands_for_the_authors() {
    let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let old = "Received: x\r\nResent-From: old@x.y\r\nResent-Sender: older@x.y\r\nFrom: a@b.c\r\n\r\n";
    let new = "Resent-Date: x\r\nResent-From: new@x.y\r\nResent-Sender: s@x.y\r\n";
    assert_eq!(authors(&format!("{new}{old}")), list(&["new@x.y", "s@x.y"]));
    // Two blocks without anything between.
    assert_eq!(
        authors("Resent-From: n@x.y\r\nResent-Date: 1\r\nResent-Date: 0\r\nResent-Sender: o@x.y\r\n\r\n"),
        list(&["n@x.y"])
    );
    // What is removed separates nothing.
    assert_eq!(
        authors(
            "Resent-Bcc: a\r\nResent-Bcc: b\r\nResent-From: n@x.y\r\nReturn-Path: x\r\nResent-Sender: o@x.y\r\n\r\n"
        ),
        list(&["n@x.y", "o@x.y"])
    );
    // Without Resent-From the block does not count.
    assert_eq!(
        authors("Resent-To: n@x.y\r\nFrom: a@b.c\r\n\r\n"),
        list(&["a@b.c"])
    );
    assert_eq!(authors("Resent-From: ?\r\nFrom: a@b.c\r\n\r\n"), None);
}

#[test]
fn loops_are_counted() {
    let hops = |n: usize| format!("{}\r\n", "Received: x\r\n".repeat(n));
    assert_eq!(run(None, &[hops(99).as_bytes()]).1.fault, None);
    assert_eq!(run(None, &[hops(100).as_bytes()]).1.fault, Some(Fault::Loop));
    let here = "Received: from a.b (c)\r\n by Mail.Demo.Test (rmail) with ESMTP id x;\r\n date\r\n";
    let elsewhere = "Received: from mail.demo.test by mail.else.test\r\n".repeat(60);
    let both = |n: usize| format!("{}{elsewhere}\r\n", here.repeat(n));
    assert_eq!(all_splits(None, &format!("{here}\r\n")).1.fault, None);
    assert_eq!(run(None, &[both(29).as_bytes()]).1.fault, None);
    assert_eq!(run(None, &[both(30).as_bytes()]).1.fault, Some(Fault::Loop));
    assert_eq!(
        run(Some(&defaults()), &[both(30).as_bytes()]).1.fault,
        Some(Fault::Loop)
    );
    let in_body = format!("\r\n{}", hops(200));
    assert_eq!(run(None, &[in_body.as_bytes()]).1.fault, None);
}

#[test]
fn an_endless_name_is_no_field() {
    let line = "x".repeat(5 * MAX_NAME);
    assert_eq!(run(None, &[line.as_bytes()]).0, line.as_bytes());
    let field = format!("{}: y\r\n", "x".repeat(MAX_NAME));
    assert_eq!(run(None, &[field.as_bytes()]).0, field.as_bytes());
}

#[test]
fn the_body_passes_as_slices() {
    let mut pass = Pass::new(HOST, None);
    let mut pieces = Vec::new();
    pass.push(Chunk::copy_from(b"A: b\r\n\r\nbody\r\n"), |chunk| {
        pieces.push(chunk)
    });
    assert_eq!(
        pieces,
        [Chunk::copy_from(b"A: b\r\n"), Chunk::copy_from(b"\r\nbody\r\n")]
    );
}

#[test]
fn what_is_blank_or_not_readable_is_made_anew() {
    let added = "From: me@x.y\r\nDate: DATE\r\nMessage-ID: <id@x.y>\r\n";
    let blank = "From:\r\nTo: v@w.x\r\nSender: \r\n \r\nDate: \t\r\nMessage-ID:\r\n\r\nbody\r\n";
    assert_eq!(submitted(blank).0, format!("To: v@w.x\r\n{added}\r\nbody\r\n"));
    let broken = "From: a@b.c\r\nDate: tomorrow\r\nMessage-ID: 7\r\n\r\n";
    assert_eq!(
        submitted(broken).0,
        "From: a@b.c\r\nDate: DATE\r\nMessage-ID: <id@x.y>\r\n\r\n"
    );
    // Nobody changes the mail of others.
    assert_eq!(all_splits(None, blank).0, blank);
    // What is too long to be held back stays, and is not doubled.
    let long = format!(
        "Date:{}\r\nMessage-ID: <{}@b>\r\n",
        " ".repeat(MAX_HELD),
        "x".repeat(MAX_HELD)
    );
    let message = format!("From: a@b.c\r\n{long}\r\n");
    let octets: Vec<&[u8]> = message.as_bytes().chunks(1).collect();
    for parts in [&[message.as_bytes()][..], &octets] {
        let (stored, summary) = run(Some(&defaults()), parts);
        assert_eq!(String::from_utf8(stored).expect("text"), message);
        assert_eq!(summary.fault, None);
    }
}

/// RFC 5322 §3.6.2
#[test]
fn several_authors_need_a_sender() {
    let rest = format!("Date: {DATE}\r\nMessage-ID: <a@b>\r\n");
    let two = format!("From: a@b.c, d@e.f\r\n{rest}");
    let (stored, summary) = submitted(&format!("{two}\r\nbody\r\n"));
    assert_eq!(stored, format!("{two}Sender: me@x.y\r\n\r\nbody\r\n"));
    assert_eq!(summary.authors.len(), 3);
    for whole in [
        format!("From: a@b.c, d@e.f\r\nSender: d@e.f\r\n{rest}\r\n"),
        format!("Sender: d@e.f\r\nFrom: a@b.c\r\nFrom: d@e.f\r\n{rest}\r\n"),
        format!("From: a@b.c\r\n{rest}\r\n"),
    ] {
        assert_eq!(submitted(&whole).0, whole);
    }
}

/// RFC 5322 §3.6.6
#[test]
fn the_newest_resent_block_gets_what_it_has_to_have() {
    let old = format!(
        "Received: x\r\nResent-From: old@x.y\r\nFrom: a@b.c\r\nDate: {DATE}\r\nMessage-ID: <a@b>\r\n\r\n"
    );
    let added = "Resent-Date: DATE\r\nResent-Message-ID: <re@x.y>\r\n";
    let new = "Resent-From: new@x.y\r\nResent-To: v@w.x\r\n";
    assert_eq!(submitted(&format!("{new}{old}")).0, format!("{new}{added}{old}"));
    // The next block follows at once; the block is the last of the header.
    let next = "Resent-From: older@x.y\r\n";
    assert_eq!(
        submitted(&format!("{new}{next}{old}")).0,
        format!("{new}{added}{next}{old}")
    );
    let (stored, _) = submitted(new);
    assert!(stored.starts_with(&format!("{new}{added}From: ")), "{stored}");
    // Two resenders, and one of them has to be the sender.
    let two = "Resent-From: new@x.y, two@x.y\r\n";
    let (stored, summary) = submitted(&format!("{two}{old}"));
    assert_eq!(stored, format!("{two}Resent-Sender: me@x.y\r\n{added}{old}"));
    assert_eq!(summary.authors.len(), 3);
    let whole = format!("Resent-Date: {DATE}\r\nResent-Message-ID: <c@d>\r\n{new}{old}");
    assert_eq!(submitted(&whole).0, whole);
    let no_from = format!("Resent-To: v@w.x\r\nFrom: a@b.c\r\nDate: {DATE}\r\nMessage-ID: <a@b>\r\n\r\n");
    assert_eq!(submitted(&no_from).0, no_from);
}

#[test]
fn text_becomes_encoded_words_without_smtputf8() {
    let rest = format!("Date: {DATE}\r\nMessage-ID: <a@b>\r\n\r\nKöln\r\n");
    let message = format!("Subject: Köln\r\nFrom: Jürgen <a@b.c>\r\n{rest}");
    let (stored, summary) = submitted(&message);
    assert_eq!(
        stored,
        format!("Subject: =?UTF-8?Q?K=C3=B6ln?=\r\nFrom: =?UTF-8?Q?J=C3=BCrgen?= <a@b.c>\r\n{rest}")
    );
    assert_eq!(summary.authors, [Address::parse("a@b.c").expect("good")]);
    let utf8 = Defaults {
        utf8: true,
        ..defaults()
    };
    assert_eq!(all_splits(Some(&utf8), &message).0, message);
    assert_eq!(all_splits(None, &message).0, message, "from another server");
}

/// Pieces of headers, good and bad.
const PIECES: [&str; 34] = [
    "From: a@b.c\r\n",
    "From: a@b.c, d@e.f\r\n",
    "From:\r\n",
    "From: Jürgen (Köln) <a@b.c>\r\n",
    "From: ü@b.c\r\n",
    "From: \"ü\r\n",
    "Sender: a@b.c\r\n",
    "SENDER :\r\n \r\n",
    "Date: tomorrow\r\n",
    "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n",
    "Message-ID:\r\n",
    "Message-ID: <a@b>\r\n",
    "Subject: Köln",
    "Subject: viele Grüße aus Köln und von überall sonst, wo es auch noch schöner ist als hier, am Rhein\r\n",
    "Subject:\r\n\tfolded\r\n",
    "Bcc: x@y.z\r\n",
    "Resent-Bcc: x@y.z\r\n",
    "Resent-From: r@y.z\r\n",
    "Resent-From: r@y.z, s@y.z\r\n",
    "Resent-Date: x\r\n",
    "Resent-To: Köln <x@y.z>\r\n",
    "Resent-Sender: s@y.z\r\n",
    "Resent-Message-ID: <x@y>\r\n",
    "Return-Path: <x@y.z>\r\n",
    "Received: from x by mail.demo.test\r\n",
    "X-Ü: ü\r\n",
    "X-A: ü \r\n \u{1f600}\r\n",
    " folded ü\r\n",
    "\tfolded\r\n",
    ": x\r\n",
    "no field\r\n",
    "\r\n",
    "\r\n",
    "body ü\r\n.",
];

proptest::proptest! {
    #[test]
    fn a_header_is_made_the_same_in_any_split_and_once(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..14),
        sizes in proptest::collection::vec(1_usize..40, 1..20),
        utf8 in proptest::bool::ANY,
    ) {
        let defaults = Defaults { utf8, date: DATE.into(), ..defaults() };
        let message = pieces.concat().into_bytes();
        let whole = run(Some(&defaults), &[&message]);
        let (mut rest, mut parts, mut sizes) = (&message[..], Vec::new(), sizes.iter().cycle());
        while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
            let (part, tail) = rest.split_at((*size).min(rest.len()));
            parts.push(part);
            rest = tail;
        }
        proptest::prop_assert_eq!(&run(Some(&defaults), &parts), &whole);
        let again = run(Some(&defaults), &[&whole.0]);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        proptest::prop_assert_eq!(text(&again.0), text(&whole.0), "what was made is not made again");
    }
}
