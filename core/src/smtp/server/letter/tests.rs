use super::*;

fn posting() -> Posting {
    Posting {
        hostname: "mail.demo.test".to_owned(),
        account: Address::parse("ann@demo.test").expect("address").canonical(),
        peer: IpAddr::from([192, 0, 2, 7]),
        secure: true,
        sender: None,
        recipients: Vec::new(),
        max_recipients: 3,
        max_size: 4_000_000,
        max_line: 1 << 20,
        now: Unix::from_secs(0),
    }
}

/// The front, the text, and what was learned: the same in any split.
fn post(posting: &Posting, message: &[u8]) -> (String, String, Result<Posted, BadLetter>) {
    let (front, _, text, posted) = post_all(posting, message);
    (front, text, posted)
}

type All = (String, String, String, Result<Posted, BadLetter>);

fn post_all(posting: &Posting, message: &[u8]) -> All {
    let run = |size: usize| {
        let mut letter = Letter::new(posting.clone(), &mut Random::from_seed([3; 32]));
        let (mut front, mut own, mut text) = (Vec::new(), Vec::new(), Vec::new());
        let mut out = |written| match written {
            Written::Front(chunk) => front.extend_from_slice(&chunk),
            Written::Own(chunk) => own.extend_from_slice(&chunk),
            Written::Text(chunk) => text.extend_from_slice(&chunk),
        };
        for piece in message.chunks(size.max(1)) {
            letter.push(&Chunk::copy_from(piece), &mut out);
        }
        let posted = letter.finish(&mut out);
        let string = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (string(&front), string(&own), string(&text), posted)
    };
    let whole = run(message.len());
    for size in [1, 7, 100] {
        if message.len() < 100_000 || size > 10 {
            assert_eq!(run(size), whole, "in pieces of {size}");
        }
    }
    whole
}

fn names(list: &[Recipient]) -> Vec<String> {
    list.iter().map(|one| one.path.to_string()).collect()
}

#[test]
fn sender_and_recipients_are_those_of_the_header() {
    let message = b"From: Ann <ann+x@demo.test>\r\nTo: Bob <bob@demo.test>, \"C, D\" <c@a.test>\r\n\
        Bcc: dan@demo.test, BOB@demo.test\r\nSubject: x\r\n\r\nText\r\n";
    let (front, own, text, posted) = post_all(&posting(), message);
    let posted = posted.expect("good");
    assert_eq!(own, "Bcc: dan@demo.test, BOB@demo.test\r\n");
    assert!(
        front.starts_with(
            "Return-Path: <ann+x@demo.test>\r\nReceived: from [192.0.2.7] ([192.0.2.7])\r\n by mail.demo.test \
             (rmail) with HTTPS\r\n id "
        ),
        "{front}"
    );
    assert_eq!(posted.envelope.relay_offset, 32);
    assert!(
        !text.contains("Bcc") && text.ends_with("\r\n\r\nText\r\n"),
        "{text}"
    );
    assert!(text.contains("Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"));
    assert_eq!(
        posted.message_id,
        format!("<{}@mail.demo.test>", posted.envelope.id)
    );
    assert!(text.contains(&format!("Message-ID: {}\r\n", posted.message_id)));
    assert_eq!(
        names(&posted.envelope.recipients),
        ["<bob@demo.test>", "<c@a.test>", "<dan@demo.test>"]
    );
    assert_eq!(posted.envelope.authors.len(), 1);
    assert!(!posted.envelope.wishes.utf8 && !posted.envelope.eight_bit);
}

#[test]
fn what_is_told_counts_more_than_the_header() {
    let told = Posting {
        sender: Address::parse("team@demo.test"),
        recipients: vec![Address::parse("x@a.test").expect("address")],
        secure: false,
        ..posting()
    };
    let (front, text, posted) = post(&told, b"To: bob@demo.test\nMessage-ID: <1@x>\n\nText");
    let posted = posted.expect("good");
    assert!(
        front.contains("with HTTP\r\n") && front.contains(" for <x@a.test>;"),
        "{front}"
    );
    assert!(
        text.contains("From: ann@demo.test\r\n") && text.ends_with("\r\n\r\nText\r\n"),
        "{text}"
    );
    assert_eq!(posted.message_id, "<1@x>");
    assert_eq!(names(&posted.envelope.recipients), ["<x@a.test>"]);
    assert_eq!(posted.envelope.reverse_path.to_string(), "<team@demo.test>");
}

#[test]
fn what_no_message_may_hold_is_refused() {
    let bad = |message: &[u8]| post(&posting(), message).2.err();
    assert_eq!(bad(b"To: b@x.y\r\n\r\na\rb\r\n"), Some(BadLetter::BareCr));
    assert_eq!(bad(b"To: b@x.y\r\n\r\na\0b\r\n"), Some(BadLetter::Nul));
    assert_eq!(
        bad(b"To: b@x.y, nobody\r\n\r\n"),
        Some(BadLetter::Recipient("To", "nobody@".to_owned()))
    );
    assert_eq!(
        bad(b"To: a@x.y, b@x.y, c@x.y, d@x.y\r\n\r\n"),
        Some(BadLetter::TooManyRecipients)
    );
    assert_eq!(bad(b"From: <a@x.y> <b@x.y>\r\n\r\n"), Some(BadLetter::Author));
    let long = [&b"To: b@x.y\r\n\r\n"[..], &vec![b'x'; (1 << 20) + 5], b"\r\n"].concat();
    assert_eq!(bad(&long), Some(BadLetter::LongLine));
    let header = b"X: y\r\n".repeat(MAX_HEADER / 6 + 5);
    assert_eq!(bad(&header), Some(BadLetter::HeaderTooLong));
    let large = b"To: b@x.y\r\n\r\n".repeat(400_000);
    assert_eq!(bad(&large), Some(BadLetter::TooLarge));
    let looped = [b"Received: x\r\n".repeat(101), b"To: b@x.y\r\n\r\n".to_vec()].concat();
    assert_eq!(bad(&looped), Some(BadLetter::Loop));
}

#[test]
fn a_message_without_a_body_or_without_anything_is_one() {
    let (_, text, posted) = post(&posting(), b"Subject: x\r\n");
    assert!(
        text.starts_with("Subject: x\r\nFrom: ann@demo.test\r\n"),
        "{text}"
    );
    assert!(posted.is_ok_and(|posted| posted.message_id.starts_with('<')));
    let (_, text, posted) = post(&posting(), b"");
    assert!(text.starts_with("From: ann@demo.test\r\n"));
    assert!(posted.is_ok_and(|posted| posted.envelope.recipients.is_empty()));
}

#[test]
fn text_beyond_ascii_goes_everywhere_if_that_can_be() {
    let (_, text, posted) = post(&posting(), "Subject: Grüße\r\n\r\nTräume\r\n".as_bytes());
    let posted = posted.expect("good");
    assert!(text.contains("Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n"), "{text}");
    assert!(posted.envelope.eight_bit && !posted.envelope.wishes.utf8);
    let (_, _, posted) = post(&posting(), "To: ümit@a.test\r\n\r\n".as_bytes());
    let posted = posted.expect("good");
    assert!(posted.envelope.wishes.utf8);
    assert_eq!(names(&posted.envelope.recipients), ["<ümit@a.test>"]);
}
