//! What is kept of a message answers as the message itself does, octet for octet, or says that it does not know.

use proptest::prelude::*;

use rmail_core::chunk::Chunk;
use rmail_core::mailbox::{KeywordSet, ModSeq, SystemFlags, Uid};
use rmail_core::mailbox::{Keywords, Row};
use rmail_core::mime::decode::TransferEncoding;
use rmail_core::mime::digest::{Digest, FRONT, of_header};
use rmail_core::mime::envelope::envelope;
use rmail_core::mime::field_filter::FieldFilter;
use rmail_core::mime::locate::{filter_fields, locate};
use rmail_core::mime::parsed::{EmailId, Parsed};
use rmail_core::mime::part::Places as _;
use rmail_core::mime::scanner::scan;
use rmail_core::mime::section::{Spec, Text};
use rmail_core::mime::structure::body_structure;
use rmail_core::search::{Key, Program};

fn digested(message: &[u8], size: usize) -> Parsed {
    let mut digest = Digest::new(usize::MAX);
    message.chunks(size.max(1)).for_each(|piece| digest.push(piece));
    digest.finish(message).parsed
}

/// Pieces of messages; lengths at which something changes are made by `fill`.
fn material() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/html; charset=\xff\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"content-type : text/plain\r\n",
        b"Subject: one\r\n",
        b"SUBJECT: two\r\n\tfolded\r\n",
        b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n",
        b"X-Other: =?utf-8?q?=C3?=\r\n",
        b"Received: x\r\n",
        b"From: a@b\r\n",
        b"To: \xe4\n",
        b"no field\r\n",
        b" folded\r\n",
        b": none\r\n",
        b"References:",
        b"--b\r\n",
        b"--b--\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"word ",
        b"<p>",
    ];
    let piece = prop_oneof![
        20 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => (1_usize..30_000, any::<u8>()).prop_map(|(len, octet)| vec![octet; len]),
        1 => (1_usize..300).prop_map(|count| {
            (0..count).flat_map(|n| format!("X-{n}: {n}\r\n").into_bytes()).collect()
        }),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

const NAMES: [&str; 8] = [
    "subject",
    "Date",
    "X-OTHER",
    "to",
    "references",
    "received",
    "missing",
    "",
];

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len())
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn row(size: usize) -> Row {
    Row {
        date: 0,
        modseq: ModSeq(1),
        keywords: KeywordSet(0),
        uid: Uid(1),
        size: u32::try_from(size).expect("small"),
        save_date: 0,
        zone: 0,
        flags: SystemFlags::default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn answers_are_those_of_the_message(message in material(), names in names(), size in 1_usize..5_000) {
        let parsed = digested(&message, size);
        prop_assert_eq!(&digested(&message, message.len()), &parsed, "the pieces do not matter");
        let again = Parsed::decode(parsed.octets().clone());
        prop_assert_eq!(again.as_ref(), Some(&parsed));
        prop_assert!(parsed.octets().len() <= Parsed::MAX && parsed.is_complete());

        let structure = scan(&message);
        let header_end = structure.header().end;
        prop_assert_eq!((parsed.size(), parsed.header_end()), (message.len() as u64, Some(header_end)));
        let known = |known: Option<Chunk>, want: Vec<u8>| known.is_none_or(|known| known.as_slice() == want);
        let root = structure.root().and_then(|root| root.envelope.clone()).expect("an envelope");
        prop_assert!(known(parsed.envelope(), root));
        for extended in [false, true] {
            prop_assert!(known(parsed.body_structure(extended), body_structure(&structure, extended)));
        }
        let header = &message[..usize::try_from(header_end).expect("small")];
        if let Some(fields) = parsed.header_fields(&names) {
            prop_assert_eq!(fields, filter_fields(header, &names, false));
        }
        for name in &names {
            if let Some(field) = parsed.field(name.as_bytes()) {
                let want = rmail_core::mime::header::find(header, name.as_bytes());
                prop_assert_eq!(field.map(|field| field.raw), want.map(|field| field.raw));
            }
        }
        if let Some(parts) = parsed.parts() {
            prop_assert_eq!(parts.len(), structure.parts.len());
            for (at, part) in structure.parts.iter().enumerate() {
                prop_assert_eq!(parts.place(at), structure.place(at));
                prop_assert_eq!(parts.encoding(at), Some(TransferEncoding::of(&part.mime)));
            }
            for part in [&[][..], &[1], &[1, 1], &[2], &[1, 2], &[3, 1, 1]] {
                for text in [Text::Whole, Text::Header, Text::Text, Text::Mime] {
                    let spec = Spec { part: part.to_vec(), text };
                    prop_assert_eq!(locate(&parts, &spec), locate(&structure, &spec));
                }
            }
        }
    }

    #[test]
    fn a_header_alone_tells_the_same(message in material(), names in names()) {
        let header_end = scan(&message).header().end;
        let header = &message[..usize::try_from(header_end).expect("small")];
        let made = envelope(header);
        let parsed = of_header(Some(&made), header_end, Some(header), message.len() as u64);
        let whole = digested(&message, message.len());
        prop_assert!(!parsed.is_complete());
        prop_assert_eq!(parsed.header_fields(&names), whole.header_fields(&names));
        prop_assert_eq!((parsed.size(), parsed.header_end()), (whole.size(), whole.header_end()));
        prop_assert_eq!(parsed.email_id(), None);
        prop_assert_eq!(Parsed::decode(parsed.octets().clone()), Some(parsed));
    }

    #[test]
    fn fields_in_pieces(message in material(), names in names(), not in any::<bool>(), size in 1_usize..100) {
        let mut filter = FieldFilter::new(&names, not, usize::MAX);
        let _done = message.chunks(size).any(|piece| filter.push(piece));
        let (got, want) = (filter.finish(), filter_fields(&message, &names, not));
        prop_assert_eq!(got.escape_ascii().to_string(), want.escape_ascii().to_string());
    }

    #[test]
    fn searches_decide_by_the_fields_they_look_at(message in material(), text in prop::sample::select(vec!["one", "two", "", "zz"])) {
        let parsed = digested(&message, 100);
        let header = |name: &str| Key::Header(name.to_owned(), text.to_owned());
        let keys = [
            header("Subject"),
            Key::Or(Box::new((header("to"), Key::SentSince(19_000)))),
            Key::And(vec![header("subject"), Key::Not(Box::new(header("x-other")))]),
            Key::And(vec![header("subject"), Key::Body("word".to_owned())]),
            Key::EmailId(EmailId::of(&message).to_string()),
        ];
        for key in keys {
            let program = Program::new(&key);
            let row = row(message.len());
            let keywords = Keywords::default();
            let decided = program.eval_parsed(&row, &keywords, &parsed);
            let known = ["subject", "to", "date", "x-other"].iter().all(|name| parsed.knows(name.as_bytes()));
            let needs_body = matches!(&key, Key::And(keys) if keys.iter().any(|key| matches!(key, Key::Body(_))));
            prop_assert!(decided.is_some() || needs_body || !known);
            if let Some(decided) = decided {
                prop_assert_eq!(decided, program.matches(&row, &keywords, || &message));
            }
        }
    }

    #[test]
    fn whatever_octets_are_taken_for_one(message in material(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let mut octets = digested(&message, 100).octets().as_slice().to_vec();
        let at = at.index(octets.len());
        octets[at] ^= octet;
        if let Some(parsed) = Parsed::decode(Chunk::from(octets.clone())) {
            let names = ["subject".to_owned()];
            let _nothing_panics = (parsed.envelope(), parsed.preview(), parsed.sent(), parsed.header_fields(&names));
            if let Some(parts) = parsed.parts() {
                let spec = Spec { part: vec![1, 1], text: Text::Whole };
                let _ends = locate(&parts, &spec);
            }
        }
        octets.truncate(at);
        prop_assert_eq!(Parsed::decode(Chunk::from(octets)), None);
    }
}

#[test]
fn common_questions_are_known() {
    let message = b"Received: by x\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: a@b\r\nSubject: s\r\n\r\n<b> hello \r\n";
    let parsed = digested(message, 7);
    assert!(parsed.envelope().is_some() && parsed.body_structure(true).is_some() && parsed.parts().is_some());
    for name in ["date", "CC", "x-priority", "x-anything"] {
        assert!(parsed.knows(name.as_bytes()), "{name}");
    }
    assert!(!parsed.knows(b"received"));
    assert_eq!(parsed.sent().flatten().expect("a date").unix, 1_704_067_200);
    assert_eq!(parsed.preview(), Some("<b> hello"));
    assert_eq!(
        parsed.email_id().expect("of a whole message").to_string(),
        "Mada7cbada391657f31556b88dbd03768b02d436b"
    );
    assert!(parsed.octets().len() < 600, "{}", parsed.octets().len());
}

#[test]
fn too_much_is_not_known_and_the_rest_is() {
    // A field that is too long, beside those that are not.
    let long = format!(
        "Subject: s\r\nReferences: {}\r\nTo: a@b\r\n\r\nx",
        "<a@b> ".repeat(3_000)
    );
    let parsed = digested(long.as_bytes(), 1_000);
    assert!(parsed.knows(b"subject") && parsed.knows(b"to") && !parsed.knows(b"references"));
    // A header behind the front.
    let far = format!("X: {}\r\nSubject: s\r\n\r\nx", "x".repeat(FRONT));
    let parsed = digested(far.as_bytes(), 1_000);
    assert!(!parsed.knows(b"subject") && !parsed.knows(b"cc") && parsed.envelope().is_some());
    // Parts without end.
    let many = format!(
        "Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        "--b\r\n\r\nx\r\n".repeat(100_000)
    );
    let parsed = digested(many.as_bytes(), 10_000);
    assert!(parsed.is_complete() && parsed.parts().is_none() && parsed.body_structure(true).is_none());
    assert!(parsed.knows(b"subject") && parsed.email_id().is_some() && parsed.envelope().is_some());
    assert!(parsed.octets().len() < 2_000);
    // The same in bounded memory.
    let mut digest = Digest::new(100_000);
    many.as_bytes()
        .chunks(10_000)
        .for_each(|piece| digest.push(piece));
    let bounded = digest.finish(many.as_bytes());
    assert!(bounded.structure.is_none() && !bounded.parsed.is_complete());
    assert_eq!(bounded.parsed.email_id(), parsed.email_id());
    assert_eq!(bounded.parsed.envelope(), parsed.envelope());
    assert_eq!(bounded.parsed.header(), parsed.header());
}
