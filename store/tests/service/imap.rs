//! What IMAP sessions are told: messages in and out, parts of messages, quota, watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::imap::server::{Appended, Body, Call, NewMessage, Reply};
use rmail_core::machine::{Scope, SpoolId, WatchId};
use rmail_core::mailbox::{Flags, Uid, UidSet};
use rmail_core::mime::section::{Section, Spec, Text};
use rmail_core::refusal::Refusal;
use rmail_core::search::Key;
use rmail_store::hub::Wake;
use rmail_store::service::{Answer, Serve as _};

const BOB: &str = "bob@example.com";

fn append(session: &Imap, mailbox: &str, messages: &[&[u8]]) -> Result<Appended, Refusal> {
    let mut news = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let spool = SpoolId(at as u32);
        let open = Call::Open {
            spool,
            account: account(BOB),
            mailbox: mailbox_name(mailbox),
            size: message.len() as u64,
            instead: None,
        };
        match ask(session, open) {
            Reply::Opened(Ok(())) => feed(session, spool, message),
            Reply::Opened(Err(refusal)) => {
                let spools = news.iter().map(|new: &NewMessage| new.spool).collect();
                assert_eq!(ask(session, Call::Discard { spools }), Reply::Discarded);
                return Err(refusal);
            }
            other => panic!("{other:?}"),
        }
        news.push(NewMessage {
            spool,
            flags: Flags::default(),
            date: None,
        });
    }
    let commit = Call::Commit {
        account: account(BOB),
        mailbox: mailbox_name(mailbox),
        messages: news,
    };
    match ask(session, commit) {
        Reply::Committed(result) => result,
        other => panic!("{other:?}"),
    }
}

fn bodies(world: &World, session: &Imap, parts: Vec<(u32, Section)>) -> Result<Vec<Body>, Refusal> {
    let call = Call::Bodies {
        mailbox: world.mailbox(BOB, "INBOX"),
        parts: parts
            .into_iter()
            .map(|(uid, section)| (Uid(uid), section))
            .collect(),
    };
    match ask(session, call) {
        Reply::Bodies(result) => result,
        other => panic!("{other:?}"),
    }
}

fn octets(part: &[u32], text: Text) -> Section {
    Section::Octets {
        spec: Spec {
            part: part.to_vec(),
            text,
        },
        partial: None,
    }
}

/// A body as text, the large ones read as a host reads them.
fn text(session: &Imap, body: &Body) -> String {
    match body {
        Body::Small(chunk) => String::from_utf8_lossy(chunk).into_owned(),
        Body::Large(blob, len) | Body::Binary(blob, len) => {
            let mut all = Vec::new();
            while (all.len() as u64) < *len {
                let piece = block_on(session.read_blob(*blob, all.len() as u64, 1000)).expect("read");
                assert!(!piece.is_empty(), "as long as it was said to be");
                all.extend_from_slice(&piece);
            }
            assert!(
                block_on(session.read_blob(*blob, *len, 1000))
                    .expect("read")
                    .is_empty()
            );
            session.close_blob(*blob);
            assert!(block_on(session.read_blob(*blob, 0, 1)).is_err(), "closed");
            String::from_utf8_lossy(&all).into_owned()
        }
        Body::Nil => "NIL".to_owned(),
        Body::Gone => "gone".to_owned(),
        Body::UnknownEncoding => "unknown".to_owned(),
    }
}

const MESSAGE: &str = "From: a@x.y\r\nSubject: two\r\n\tlines\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
    --b\r\nContent-Type: text/plain\r\n\r\nfirst\r\n\
    --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninside\r\n--b--\r\n";

#[test]
fn parts_of_messages() {
    let world = World::new();
    let session = world.imap_of(BOB);
    let uid = world.append(BOB, "INBOX", MESSAGE.as_bytes());
    let other = world.append(BOB, "INBOX", b"no header end");
    let body_at = MESSAGE.find("--b\r\n").expect("body");
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let subject = "Subject: two\r\n\tlines\r\n\r\n";
    let expected = [
        (uid, octets(&[], Text::Whole), MESSAGE),
        (uid, octets(&[], Text::Header), &MESSAGE[..body_at]),
        (uid, octets(&[], Text::Text), &MESSAGE[body_at..]),
        (uid, octets(&[], Text::HeaderFields(names(&["subject"]))), subject),
        (
            uid,
            octets(&[], Text::HeaderFieldsNot(names(&["From", "content-TYPE"]))),
            subject,
        ),
        (uid, octets(&[1], Text::Whole), "first"),
        (uid, octets(&[1], Text::Mime), "Content-Type: text/plain\r\n\r\n"),
        (uid, octets(&[2], Text::Header), "Subject: inner\r\n\r\n"),
        (uid, octets(&[2], Text::HeaderFields(names(&["Date"]))), "\r\n"),
        (uid, octets(&[2, 1], Text::Whole), "inside"),
        (uid, octets(&[3], Text::Whole), "NIL"),
        (
            uid,
            Section::Envelope,
            "(NIL \"two\tlines\" ((NIL NIL \"a\" \"x.y\")) ((NIL NIL \"a\" \"x.y\")) ((NIL NIL \"a\" \"x.y\")) NIL NIL NIL NIL NIL)",
        ),
        (other, octets(&[], Text::Header), "no header end"),
        (other, octets(&[], Text::Text), ""),
        (99, octets(&[], Text::Whole), "gone"),
    ];
    let parts: Vec<(u32, Section)> = expected
        .iter()
        .map(|(uid, section, _)| (*uid, section.clone()))
        .collect();
    let all = bodies(&world, &session, parts.clone()).expect("all");
    for ((uid, section, text_expected), body) in expected.iter().zip(&all) {
        assert_eq!(text(&session, body), *text_expected, "{uid} {section:?}");
    }
    for (part, body) in parts.into_iter().zip(&all) {
        let alone = bodies(&world, &session, vec![part]).expect("one");
        assert_eq!(&alone[0], body, "asked for alone");
    }
    let structure = bodies(
        &world,
        &session,
        vec![(uid, Section::Body), (uid, Section::BodyStructure)],
    )
    .expect("both");
    let (body, extended) = (text(&session, &structure[0]), text(&session, &structure[1]));
    assert!(
        body.starts_with("((\"TEXT\" \"PLAIN\"") && body.ends_with("\"MIXED\")"),
        "{body}"
    );
    assert!(extended.contains("(\"BOUNDARY\" \"b\")"), "{extended}");
}

#[test]
fn partial_and_large_parts() {
    let world = World::new();
    let session = world.imap_of(BOB);
    let line = "0123456789".repeat(7) + "\r\n";
    let message = format!("Subject: {}\r\n\r\n{}", "s".repeat(20_000), line.repeat(3_000));
    let header_end = message.find("\r\n\r\n").expect("end") + 4;
    let uid = world.append(BOB, "INBOX", message.as_bytes());
    let partial = |text, partial| Section::Octets {
        spec: Spec {
            part: Vec::new(),
            text,
        },
        partial: Some(partial),
    };
    let parts = vec![
        (uid, octets(&[], Text::Whole)),
        (uid, octets(&[], Text::Text)),
        (uid, octets(&[], Text::Header)),
        (uid, partial(Text::Whole, (100_000, 70_000))),
        (uid, partial(Text::Whole, (100_000, 10))),
        (uid, partial(Text::Text, (1 << 40, 10))),
        (uid, partial(Text::Header, (20_000, 1 << 40))),
        (
            uid,
            partial(Text::HeaderFields(vec!["Subject".to_owned()]), (5, 7)),
        ),
    ];
    let all = bodies(&world, &session, parts).expect("all");
    for (at, (large, expected)) in [
        (true, &message[..]),
        (true, &message[header_end..]),
        (false, &message[..header_end]),
        (true, &message[100_000..170_000]),
        (false, &message[100_000..100_010]),
        (false, ""),
        (false, &message[20_000..header_end]),
        (false, "ct: sss"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(matches!(all[at], Body::Large(..)), large, "{at}");
        assert!(text(&session, &all[at]) == expected, "{at}");
    }
}

#[test]
fn memory_of_one_call_is_bounded() {
    let world = World::new();
    let session = world.imap_of(BOB);
    let uids: Vec<u32> = (0..6)
        .map(|_| world.append(BOB, "INBOX", &[b'x'; 60_000]))
        .collect();
    let whole = |uid: &u32| (*uid, octets(&[], Text::Whole));
    let ask = |uids: &[u32]| {
        let all = bodies(&world, &session, uids.iter().map(whole).collect()).expect("some");
        assert!(all.iter().all(|body| matches!(body, Body::Small(_))));
        assert!(all.iter().all(|body| text(&session, body).len() == 60_000));
        all.len()
    };
    // The session asks again for those that do not fit into 256 KiB.
    assert_eq!(ask(&uids), 4);
    assert_eq!(ask(&uids[4..]), 2);
    let twice: Vec<_> = uids.iter().flat_map(|uid| vec![whole(uid); 5]).collect();
    let large = bodies(&world, &session, twice).expect("some");
    assert_eq!(large.len(), 5, "one message is answered whole");
    assert!(matches!(large[4], Body::Large(..)));
    let many = vec![whole(&uids[0]); 257];
    assert_eq!(bodies(&world, &session, many), Err(Refusal::NotPossible));
}

#[test]
fn encodings_are_undone_in_parts_of_any_size() {
    let world = World::new();
    let session = world.imap_of(BOB);
    let data: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let part = |encoding: &str, body: &str| {
        format!("--b\r\nContent-Type: x/y\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n")
    };
    let coded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &data);
    let lines: Vec<&str> = coded
        .as_bytes()
        .chunks(76)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let quoted = "=C3=A9t=\r\n ".repeat(500_000);
    let message = [
        head,
        &part("base64", &lines.join("\r\n")),
        &part("quoted-printable", &quoted),
        &part("x-own", "x"),
        "--b--\r\n",
    ]
    .concat();
    let uid = world.append(BOB, "INBOX", message.as_bytes());
    let ask = |section: Section| {
        bodies(&world, &session, vec![(uid, section)])
            .expect("answered")
            .remove(0)
    };
    let read = |body: &Body| match body {
        Body::Small(octets) => octets.to_vec(),
        Body::Large(blob, len) | Body::Binary(blob, len) => {
            let mut all = Vec::new();
            while (all.len() as u64) < *len {
                let piece = block_on(session.read_blob(*blob, all.len() as u64, 50_000)).expect("read");
                assert!(!piece.is_empty(), "as long as it was said to be");
                all.extend_from_slice(&piece);
            }
            // From the beginning once more.
            let front = block_on(session.read_blob(*blob, 1, 10)).expect("read");
            assert!(all[1..].starts_with(&front));
            session.close_blob(*blob);
            all
        }
        other => panic!("{other:?}"),
    };
    let binary = |part: u32, partial| Section::Binary {
        part: vec![part],
        partial,
    };
    let whole = ask(binary(1, None));
    assert!(
        matches!(whole, Body::Binary(_, 3_000_000)),
        "there is a NUL in it"
    );
    assert!(read(&whole) == data);
    let inner = ask(binary(1, Some((1_000, 2_000_000))));
    assert!(read(&inner) == data[1_000..2_001_000]);
    assert_eq!(read(&ask(binary(1, Some((2_999_990, 50))))), &data[2_999_990..]);
    assert_eq!(read(&ask(binary(1, Some((3_000_000, 1))))), b"");
    let text = ask(binary(2, None));
    assert!(matches!(text, Body::Large(..)));
    assert!(read(&text) == "\u{e9}t ".repeat(500_000).trim_end().as_bytes());
    assert_eq!(ask(binary(3, None)), Body::UnknownEncoding);
    assert_eq!(ask(binary(4, None)), Body::Nil);
    let size = |part| read(&ask(Section::BinarySize { part: vec![part] }));
    assert_eq!((size(1), size(4)), (b"3000000".to_vec(), b"0".to_vec()));
    assert_eq!(size(2), (500_000 * 4 - 1).to_string().into_bytes());
}

#[test]
fn few_bodies_are_open_at_a_time() {
    let world = World::new();
    let session = world.imap_of(BOB);
    let uids: Vec<u32> = (0..10)
        .map(|_| world.append(BOB, "INBOX", &[b'x'; 70_000]))
        .collect();
    let ask = |uids: &[u32]| {
        let parts = uids
            .iter()
            .flat_map(|uid| [(*uid, octets(&[], Text::Whole)), (*uid, octets(&[], Text::Text))]);
        bodies(&world, &session, parts.collect()).expect("some").len()
    };
    // Texts are empty here, so that each message has one body that is open.
    assert_eq!(ask(&uids), 4 * 2);
    assert_eq!(ask(&uids[4..]), 4 * 2);
    assert_eq!(ask(&uids[8..]), 2 * 2);
}

#[test]
fn an_expunged_message_stays_readable_while_it_is_sent() {
    let world = World::new();
    let session = world.imap_of(BOB);
    let message = "x".repeat(100_000);
    let uid = world.append(BOB, "INBOX", message.as_bytes());
    let all = bodies(&world, &session, vec![(uid, octets(&[], Text::Whole))]).expect("open");
    let moved = Call::Move {
        mailbox: world.mailbox(BOB, "INBOX"),
        uids: UidSet::from_ranges([(uid, uid)]),
        account: account(BOB),
        to: mailbox_name("Trash"),
    };
    assert!(matches!(ask(&session, moved), Reply::Copied(Ok(_))));
    assert_eq!(text(&session, &all[0]), message);
    let again = bodies(&world, &session, vec![(uid, octets(&[], Text::Whole))]).expect("open");
    assert_eq!(again, [Body::Gone]);
}

#[test]
fn append_is_all_or_nothing_and_bounded() {
    let world = World::with(|settings| settings.max_message_size = 700_000);
    let session = world.imap_of(BOB);
    let count = || world.snapshot(BOB, "Sent").rows.len();
    let two = append(&session, "Sent", &[b"one", b"two"]).expect("both");
    assert_eq!((two.uids.len(), count()), (2, 2));
    assert_eq!(
        append(&session, "Nowhere", &[b"one"]),
        Err(Refusal::NoSuchMailbox)
    );
    assert_eq!(
        append(&session, "Sent", &[&vec![b'x'; 700_001]]),
        Err(Refusal::TooLarge)
    );
    let half = vec![b'x'; 600_000];
    assert_eq!(
        append(&session, "Sent", &[&half, &half]),
        Err(Refusal::OverQuota),
        "together"
    );
    assert_eq!(count(), 2);
    assert!(append(&session, "Sent", &[&half]).is_ok());
    assert_eq!(append(&session, "Sent", &[&half]), Err(Refusal::OverQuota));
    let commit = Call::Commit {
        account: account(BOB),
        mailbox: mailbox_name("Sent"),
        messages: vec![NewMessage {
            spool: SpoolId(5),
            flags: Flags::default(),
            date: None,
        }],
    };
    assert_eq!(
        ask(&session, commit),
        Reply::Committed(Err(Refusal::Storage)),
        "never opened"
    );
    assert_eq!(count(), 3);
}

#[test]
fn copies_need_room_and_moves_do_not() {
    let world = World::new();
    let session = world.imap_of(BOB);
    world.append(BOB, "INBOX", &vec![b'x'; 600_000]);
    let uids = UidSet::from_ranges([(1, u32::MAX)]);
    let to = mailbox_name("Archive");
    let mailbox = world.mailbox(BOB, "INBOX");
    let copy = Call::Copy {
        mailbox: mailbox.clone(),
        uids: uids.clone(),
        account: account(BOB),
        to: to.clone(),
    };
    assert_eq!(ask(&session, copy), Reply::Copied(Err(Refusal::OverQuota)));
    assert_eq!(world.snapshot(BOB, "Archive").rows.len(), 0);
    let r#move = Call::Move {
        mailbox,
        uids,
        account: account(BOB),
        to,
    };
    let Reply::Copied(Ok((moved, source))) = ask(&session, r#move) else {
        panic!("moves need no room");
    };
    assert_eq!((moved.target.len(), source.rows.len()), (1, 0));
    world.append(BOB, "INBOX", b"small");
    let copy = Call::Copy {
        mailbox: world.mailbox(BOB, "INBOX"),
        uids: UidSet::from_ranges([(1, u32::MAX)]),
        account: account(BOB),
        to: mailbox_name("Archive"),
    };
    assert!(matches!(ask(&session, copy), Reply::Copied(Ok((copied, _))) if copied.target.len() == 1));
}

#[test]
fn nothing_falls_between_select_and_watch() {
    let world = World::new();
    world.disk.set_yields(false);
    let session = world.imap_of(BOB);
    let selected = ask(
        &session,
        Call::Select {
            account: account(BOB),
            mailbox: mailbox_name("INBOX"),
            read_only: false,
        },
    );
    let Reply::Selected(Ok(selected)) = selected else {
        panic!("{selected:?}");
    };
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let wake: Wake = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    world.append(BOB, "INBOX", b"between");
    let scope = Scope::Mailbox(selected.mailbox.clone());
    session.watch(
        WatchId(1),
        scope.clone(),
        selected.snapshot.modseq,
        Arc::clone(&wake),
    );
    assert!(heard.swap(0, Ordering::Relaxed) > 0, "told at once");
    let changes = Call::Changes {
        mailbox: selected.mailbox.clone(),
    };
    let Answer::Now(Reply::Changes(Ok(snapshot))) = session.answer(now(), changes) else {
        panic!("changes come from memory");
    };
    assert_eq!(snapshot.rows.len(), 1);
    session.watch(WatchId(1), scope, snapshot.modseq, wake);
    assert_eq!(heard.load(Ordering::Relaxed), 0, "nothing new");
    world.append(BOB, "INBOX", b"after");
    assert_eq!(
        heard.swap(0, Ordering::Relaxed),
        1,
        "the watch before was replaced"
    );
    session.unwatch(WatchId(1));
    world.append(BOB, "INBOX", b"unheard");
    assert_eq!(
        (heard.load(Ordering::Relaxed), world.service.hub().watched().len()),
        (0, 0)
    );
    let mailbox = world.mailbox(BOB, "INBOX");
    assert_eq!(ask(&session, Call::Unselect { mailbox }), Reply::Discarded);
}

#[test]
fn search_reads_what_the_rows_do_not_tell() {
    let world = World::new();
    let session = world.imap_of(BOB);
    let messages: [&[u8]; 4] = [
        b"Subject: apples\r\nFrom: dan@elsewhere.net\r\n\r\nabout pears\r\n",
        b"Subject: pears\r\n\r\nabout APPLES\r\n",
        b"Subject: none\r\n\r\nnothing\r\n",
        b"Subject: apples\r\n\r\nexpunged\r\n",
    ];
    let uids: Vec<u32> = messages
        .iter()
        .map(|message| world.append(BOB, "INBOX", message))
        .collect();
    let mailbox = world.mailbox(BOB, "INBOX");
    let gone = Call::Move {
        mailbox: mailbox.clone(),
        uids: UidSet::from_ranges([(uids[3], uids[3])]),
        account: account(BOB),
        to: mailbox_name("Trash"),
    };
    assert!(matches!(ask(&session, gone), Reply::Copied(Ok(_))));
    let search = |within: (u32, u32), program: Key| {
        let call = Call::Search {
            mailbox: mailbox.clone(),
            uids: UidSet::from_ranges([within]),
            program: Arc::new(program),
        };
        match ask(&session, call) {
            Reply::Found(Ok(found)) => found.iter().map(|uid| uid.0).collect::<Vec<u32>>(),
            other => panic!("{other:?}"),
        }
    };
    let all = (1, u32::MAX);
    let header = |name: &str, text: &str| Key::Header(name.to_owned(), text.to_owned());
    assert_eq!(search(all, Key::All), uids[..3]);
    assert_eq!(search(all, header("Subject", "apples")), uids[..1]);
    assert_eq!(search(all, header("From", "")), uids[..1]);
    assert_eq!(search(all, Key::Body("apples".to_owned())), uids[1..2]);
    assert_eq!(search(all, Key::Text("apples".to_owned())), uids[..2]);
    assert_eq!(
        search((uids[1], uids[2]), Key::Text("apples".to_owned())),
        uids[1..2]
    );
    assert_eq!(
        search(all, Key::Not(Box::new(Key::Text("apples".to_owned())))),
        uids[2..3]
    );
    assert_eq!(
        search(
            all,
            Key::And(vec![Key::Larger(40), Key::Body("pears".to_owned())])
        ),
        uids[..1]
    );
    assert_eq!(
        search(all, Key::Uids(UidSet::from_ranges([(uids[0], uids[0])]))),
        uids[..1]
    );
    assert!(search((uids[3], uids[3]), Key::Text("apples".to_owned())).is_empty());
}
