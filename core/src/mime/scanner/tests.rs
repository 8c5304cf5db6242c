use proptest::prelude::*;

use super::super::header::HeaderEnd;
use super::*;

/// Kind, header and body of each part.
fn parts(message: &str) -> Vec<(Kind, String, String)> {
    let slice = |range: &core::ops::Range<u64>| message[range.start as usize..range.end as usize].to_owned();
    scan(message.as_bytes())
        .parts
        .iter()
        .map(|part| (part.kind, slice(&part.header), slice(&part.body)))
        .collect()
}

/// Bodies of all parts but the message itself.
fn bodies(message: &str) -> Vec<String> {
    parts(message)
        .into_iter()
        .skip(1)
        .map(|(_, _, body)| body)
        .collect()
}

fn in_pieces(message: &[u8], sizes: &[usize]) -> Structure {
    let mut scanner = Scanner::new();
    let mut rest = message;
    for size in sizes.iter().cycle() {
        let (piece, more) = rest.split_at((*size).min(rest.len()));
        scanner.push(piece);
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    scanner.finish()
}

const B: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";

#[test]
fn example_of_rfc_2046() {
    let message = "From: Nathaniel Borenstein <nsb@bellcore.com>\r\n\
        MIME-Version: 1.0\r\n\
        Content-type: multipart/mixed; boundary=\"simple boundary\"\r\n\r\n\
        This is the preamble.  It is to be ignored.\r\n\
        --simple boundary\r\n\r\n\
        This is implicitly typed plain US-ASCII text.\r\n\
        It does NOT end with a linebreak.\r\n\
        --simple boundary\r\n\
        Content-type: text/plain; charset=us-ascii\r\n\r\n\
        This is explicitly typed plain US-ASCII text.\r\n\
        It DOES end with a linebreak.\r\n\r\n\
        --simple boundary--\r\n\r\n\
        This is the epilogue.  It is also to be ignored.\r\n";
    assert_eq!(
        bodies(message),
        [
            "This is implicitly typed plain US-ASCII text.\r\nIt does NOT end with a linebreak.",
            "This is explicitly typed plain US-ASCII text.\r\nIt DOES end with a linebreak.\r\n",
        ]
    );
    let lines: Vec<u64> = scan(message.as_bytes())
        .parts
        .iter()
        .map(|part| part.lines)
        .collect();
    assert_eq!(lines, [14, 1, 2]);
}

#[test]
fn delimiters() {
    for (text, want) in [
        (
            "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
            &["one", "two"][..],
        ),
        (
            "--b  \r\n\r\none\r\n--b\t\r\n\r\ntwo\r\n--b--  \r\nepilogue\r\n--b\r\n\r\nthree",
            &["one", "two"],
        ),
        ("--b\n\none\n--b\n\ntwo\n--b--\n", &["one", "two"]),
        ("--b\r\n\r\nnever closed\r\n", &["never closed\r\n"]),
        ("--b\r\n\r\none\r\n--b--", &["one"]),
        ("--b\r\n\r\none\r\n--b", &["one", ""]),
        ("--b\r\n\r\n--b\r\n\r\n\r\n--b--\r\n", &["", ""]),
        ("--b\r\n--b\r\n--b--\r\n", &["", ""]),
        ("--b--\r\n--b\r\n", &[]),
        ("preamble\r\n --b\r\n-b\r\n--c\r\n", &[]),
        ("--b\r\n\r\nx--b\r\n--\r\n-\r\n--b--\r\n", &["x--b\r\n--\r\n-"]),
        ("--b\r\nContent-Type: text/plain\r\n--b--\r\n", &[""]),
    ] {
        assert_eq!(bodies(&format!("{B}{text}")), want, "{text:?}");
    }
}

#[test]
fn boundaries_that_begin_alike() {
    let nested = |outer: &str, inner: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=\"{outer}\"\r\n\r\n--{outer}\r\n\
             Content-Type: multipart/mixed; boundary=\"{inner}\"\r\n\r\n--{inner}\r\n\r\none\r\n--{inner}--\r\n\
             --{inner}\r\n\r\nnot one\r\n--{outer}\r\n\r\ntwo\r\n--{outer}--\r\n"
        )
    };
    for (outer, inner) in [("b", "bc"), ("bc", "b"), ("b", "b--"), ("x", "y")] {
        let bodies = bodies(&nested(outer, inner));
        assert_eq!(&bodies[1..], ["one", "two"], "{outer} {inner}");
    }
    // The same one twice: the inner multipart is closed by the first close-delimiter.
    let same = bodies(&nested("b", "b"));
    assert_eq!(&same[1..], ["one", "not one", "two"]);
}

#[test]
fn an_outer_boundary_ends_what_is_inside() {
    let message = format!(
        "{B}--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\
         Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    );
    let found = parts(&message);
    let kinds: Vec<Kind> = found.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Multipart,
            Kind::Message,
            Kind::Multipart,
            Kind::Leaf,
            Kind::Leaf
        ]
    );
    assert_eq!(found[3].2, "one");
    assert!(found[1].2.starts_with("Subject: x\r\n") && found[1].2.ends_with("\r\none"));
    assert_eq!(found[4].2, "two");
}

#[test]
fn headers_without_end() {
    assert_eq!(
        parts("Subject: x"),
        [(Kind::Leaf, "Subject: x".to_owned(), String::new())]
    );
    assert_eq!(parts(""), [(Kind::Leaf, String::new(), String::new())]);
    assert_eq!(parts("\r\n"), [(Kind::Leaf, "\r\n".to_owned(), String::new())]);
    let embedded = parts("Content-Type: message/rfc822\r\n");
    assert_eq!(embedded.len(), 2);
    let cut = format!("{B}--b\r\nContent-Type: message/rfc822\r\n--b--\r\n");
    let kinds: Vec<Kind> = parts(&cut).iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [Kind::Multipart, Kind::Message, Kind::Leaf]);
}

#[test]
fn digests() {
    let message = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: one\r\n\r\ntext\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b--\r\n";
    let structure = scan(message.as_bytes());
    let kinds: Vec<Kind> = structure.parts.iter().map(|part| part.kind).collect();
    assert_eq!(kinds, [Kind::Multipart, Kind::Message, Kind::Leaf, Kind::Leaf]);
    let envelope = structure.parts[2].envelope.as_deref().expect("a message");
    assert!(envelope.starts_with(b"(NIL \"one\" "));
    assert!(structure.parts[1].envelope.is_none() && structure.parts[3].envelope.is_none());
}

#[test]
fn marks() {
    let marks = |message: &[u8]| {
        let structure = scan(message);
        (structure.parts[0].header_marks, structure.parts[0].body_marks)
    };
    let none = Marks::default();
    assert_eq!(marks(b"A: b\r\n\r\nc\r\n"), (none, none));
    let all = Marks {
        eight_bit: true,
        nul: true,
        bare_cr: true,
        bare_lf: true,
    };
    assert_eq!(marks(b"A: b\r\n\r\n\xff\0\rx\n"), (none, all));
    assert_eq!(marks(b"A: \xff\0\rb\n\r\nc\r\n"), (all, none));
    assert_eq!(
        marks(b"A: b\r\n\r\n\r\r\n").1,
        Marks {
            bare_cr: true,
            ..none
        }
    );
    let parts = scan(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b\r\n\r\nx\r\n--b--\r\n",
    )
    .parts;
    let eight_bit: Vec<bool> = parts.iter().map(|part| part.body_marks.eight_bit).collect();
    assert_eq!(eight_bit, [true, true, false]);
}

#[test]
fn depth_is_bounded() {
    let mut message = String::new();
    for level in 0..200 {
        message += &format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n");
    }
    message += "\r\ntext\r\n";
    let structure = scan(message.as_bytes());
    assert_eq!(structure.parts.len(), Structure::MAX_DEPTH);
    assert_eq!(structure.parts[Structure::MAX_DEPTH - 1].kind, Kind::Opaque);
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(200);
    let structure = scan(messages.as_bytes());
    assert_eq!(structure.parts.len(), Structure::MAX_DEPTH);
    assert_eq!(structure.parts[Structure::MAX_DEPTH - 1].kind, Kind::Opaque);
}

#[test]
fn a_hundred_thousand_parts_are_bounded() {
    let message = format!("{B}{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(100_000));
    let mut scanner = Scanner::new();
    scanner.push(message.as_bytes());
    assert!(scanner.comparisons() <= 100_001);
    let structure = scanner.finish();
    assert!(structure.truncated);
    assert_eq!(structure.parts.len(), Structure::MAX_PARTS);
    let last = structure.parts.last().expect("parts");
    assert_eq!(last.body_len(), 1);
    assert_eq!(structure.parts[0].body.end, message.len() as u64);
}

#[test]
fn lines_are_compared_with_open_boundaries_only() {
    // 60 open boundaries, 10,000 lines that begin with hyphens and 10,000 that do not.
    let mut message = String::new();
    for level in 0..60 {
        message += &format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n");
    }
    message += "\r\n";
    message += &"--b\r\nb\r\n".repeat(10_000);
    let mut scanner = Scanner::new();
    scanner.push(message.as_bytes());
    assert!(
        scanner.comparisons() <= 60 * (10_000 + 60),
        "{}",
        scanner.comparisons()
    );
}

#[test]
fn headers_are_bounded() {
    let huge = format!(
        "X-Huge: {}\r\nSubject: kept\r\nTo: {}\r\nCc: lost@example.org\r\n\r\nbody",
        "x".repeat(3 * MAX_HEADER),
        "a@b.test,\r\n ".repeat(MAX_HEADER / 10),
    );
    let mut scanner = Scanner::new();
    for piece in huge.as_bytes().chunks(4096) {
        scanner.push(piece);
        assert!(scanner.header.octets.len() <= MAX_HEADER + MAX_MIME_FIELDS);
    }
    let structure = scanner.finish();
    let envelope = structure.parts[0].envelope.as_deref().expect("envelope");
    assert!(envelope.starts_with(b"(NIL \"kept\" "));
    assert!(memchr::memmem::find(envelope, b"lost").is_none());
    assert_eq!(structure.parts[0].body_len(), 4);
    // All headers together.
    let part = format!(
        "--b\r\nContent-Description: {}\r\n\r\nx\r\n",
        "d".repeat(MAX_HEADER - 100)
    );
    let message = format!("{B}{}--b--\r\n", part.repeat(100));
    let structure = scan(message.as_bytes());
    let kept: usize = structure
        .parts
        .iter()
        .filter_map(|part| part.mime.description.as_ref())
        .map(Vec::len)
        .sum();
    assert_eq!(structure.parts.len(), 101);
    assert!(kept <= MAX_HEADERS && kept > MAX_HEADERS / 2, "{kept}");
}

/// Pieces of messages that make structure when put together in any order.
#[test]
fn mime_fields_are_found_behind_any_number_of_recipients() {
    let folded = "a@b.test,\r\n ".repeat(MAX_HEADER / 8) + "c@d.test\r\n";
    let one_line = "a@b.test,".repeat(MAX_HEADER / 4) + "\r\n";
    let fields = format!("To: x@x.test\r\nCc: {}", "y@y.test, ".repeat(MAX_HEADER / 8));
    for to in [folded, one_line, fields + "\r\n"] {
        let message = format!(
            "To: {to}Subject: too late\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n"
        );
        let structure = scan(message.as_bytes());
        assert_eq!(structure.parts.len(), 2);
        assert_eq!(in_pieces(message.as_bytes(), &[7, 4_096, 1]), structure);
        let envelope = structure.parts[0].envelope.clone().expect("an envelope");
        let shown = String::from_utf8(envelope).expect("ASCII");
        assert!(!shown.contains("boundary"), "the next field is one of its own");
    }
}

fn material() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: multipart/digest;\r\n boundary=\"bb\"\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/html; charset=utf-8\n",
        b"Subject: x\r\n y\r\n",
        b"To: a@b, c\r\n",
        b"--b\r\n",
        b"--bb\r\n",
        b"--b--\r\n",
        b"--bb--\r\n",
        b"--b",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"-",
        b"text \xe4\0\r\n",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same(message in material(), sizes in prop::collection::vec(1_usize..9, 1..6)) {
        let whole = scan(&message);
        prop_assert_eq!(&in_pieces(&message, &sizes), &whole);
        prop_assert_eq!(&in_pieces(&message, &[1]), &whole);
        let header_end = HeaderEnd::default().push(&message);
        prop_assert_eq!(whole.header(), 0..header_end.unwrap_or(whole.size));
    }

    #[test]
    fn the_parts_alone_are_those_of_the_whole(message in material()) {
        let mut whole = scan(&message);
        for part in &mut whole.parts {
            part.envelope.as_mut().into_iter().for_each(Vec::clear);
            (part.lines, part.header_marks, part.body_marks) = <_>::default();
        }
        prop_assert_eq!(scan_parts(&message), whole);
    }

    #[test]
    fn parts_lie_inside_each_other(message in material()) {
        let structure = scan(&message);
        prop_assert_eq!(structure.size, message.len() as u64);
        for (index, part) in structure.parts.iter().enumerate() {
            prop_assert!(part.header.start <= part.header.end);
            prop_assert_eq!(part.header.end, part.body.start);
            prop_assert!(part.body.start <= part.body.end && part.body.end <= structure.size);
            prop_assert!(part.subtree_end > index && part.subtree_end <= structure.parts.len());
            let body = &message[part.body.start as usize..part.body.end as usize];
            prop_assert_eq!(part.lines, body.iter().filter(|octet| **octet == b'\n').count() as u64);
            if let Some(parent) = part.parent {
                let around = &structure.parts[parent];
                prop_assert!(parent < index && index < around.subtree_end);
                prop_assert!(around.body.start <= part.header.start && part.body.end <= around.body.end);
            }
            let mut end = part.body.start;
            for child in structure.children(index) {
                prop_assert_eq!(structure.parts[child].parent, Some(index));
                prop_assert!(end <= structure.parts[child].header.start);
                end = structure.parts[child].body.end;
            }
        }
    }
}
