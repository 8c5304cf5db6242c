//! FETCH and SEARCH answer the same whether the parsed cache knows everything, a part, or nothing of a message; and what it
//! knows is answered without opening one.

use std::sync::Arc;

use crate::common::{Store, account, accounts, ask, mailbox_name, now, settings};
use futures_lite::future::block_on;
use proptest::prelude::*;
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{Body, Call, Reply};
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Flags, MailboxRef, Uid, UidSet};
use rmail_core::mime::section::{Section, Spec, Text};
use rmail_core::search::Key;
use rmail_store::MailStore as _;
use rmail_store::file::parsed::DIR;
use rmail_store::file::{FileStore, Options};
use rmail_store::mem::{Call as DiskCall, MemDisk};
use rmail_store::service::{ImapService, Serve as _, Service};

const BOB: &str = "bob@example.com";

/// One process, with or without the cache.
struct Process {
    disk: MemDisk,
    store: Arc<Store>,
    session: ImapService<Store, MemDisk>,
}

impl Process {
    fn new(disk: &MemDisk, parsed_cache: bool) -> Self {
        let disk = disk.process();
        let options = Options {
            parsed_cache,
            ..Options::default()
        };
        let store = FileStore::open(Arc::new(disk.clone()), Limits::default(), options);
        let store = Arc::new(block_on(store).expect("store"));
        block_on(store.create_account(&account(BOB), now().unix)).expect("bob");
        let service = Service::new(Arc::clone(&store), accounts(&disk, 1), settings());
        Self {
            disk,
            store,
            session: service.imap_session_of(&account(BOB)),
        }
    }

    fn append(&self, message: &[u8], pieces: usize) -> u32 {
        let append = async {
            let mut spool = self.store.new_spool().await?;
            for piece in message.chunks(pieces) {
                self.store
                    .write_spool(&mut spool, Chunk::copy_from(piece))
                    .await?;
            }
            let messages = vec![(spool, Flags::default(), None)];
            let (bob, inbox) = (account(BOB), mailbox_name("INBOX"));
            self.store
                .append(
                    &bob,
                    &inbox,
                    messages,
                    &rmail_core::mailbox::Quota::UNLIMITED,
                    now().unix,
                )
                .await
        };
        block_on(append).expect("append").uids[0].0
    }

    fn mailbox(&self) -> MailboxRef {
        let (bob, inbox) = (account(BOB), mailbox_name("INBOX"));
        block_on(self.store.select(&bob, &inbox, true))
            .expect("select")
            .mailbox
    }

    /// Bodies as text, the large ones read as a host reads them; what is not answered at once is asked again.
    fn bodies(&self, parts: &[(u32, Section)]) -> Vec<String> {
        let mailbox = self.mailbox();
        let mut all = Vec::new();
        while all.len() < parts.len() {
            let rest = &parts[all.len()..];
            let call = Call::Bodies {
                mailbox: mailbox.clone(),
                parts: rest
                    .iter()
                    .take(64)
                    .map(|(uid, section)| (Uid(*uid), section.clone()))
                    .collect(),
            };
            let Reply::Bodies(Ok(bodies)) = ask(&self.session, call) else {
                panic!("no bodies");
            };
            assert!(!bodies.is_empty());
            all.extend(bodies.iter().map(|body| self.text(body)));
        }
        all
    }

    fn text(&self, body: &Body) -> String {
        match body {
            Body::Small(chunk) => chunk.escape_ascii().to_string(),
            Body::Large(blob, len) | Body::Binary(blob, len) => {
                let mut all = Vec::new();
                while (all.len() as u64) < *len {
                    let piece =
                        block_on(self.session.read_blob(*blob, all.len() as u64, 1 << 20)).expect("read");
                    all.extend_from_slice(&piece);
                }
                self.session.close_blob(*blob);
                all.escape_ascii().to_string()
            }
            Body::Nil => "NIL".to_owned(),
            Body::Gone => "gone".to_owned(),
            Body::UnknownEncoding => "unknown".to_owned(),
        }
    }

    fn search(&self, key: &Key) -> UidSet {
        let call = Call::Search {
            mailbox: self.mailbox(),
            uids: UidSet::from_ranges([(1, u32::MAX)]),
            program: Arc::new(key.clone()),
        };
        match ask(&self.session, call) {
            Reply::Found(Ok(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    /// What is called of the disk meanwhile.
    fn calls<T>(&self, work: impl FnOnce(&Self) -> T) -> (T, Vec<DiskCall>) {
        self.disk.record();
        let done = work(self);
        let calls = self
            .disk
            .take_records()
            .iter()
            .map(|record| record.call)
            .collect();
        (done, calls)
    }

    fn delete_cache(&self) {
        let path = format!("domains/example.com/users/bob/mailboxes/INBOX/{DIR}");
        block_on(async {
            use rmail_store::disk::Disk as _;
            let mut dir = self.disk.root().clone();
            for level in path.split('/') {
                match self.disk.open_dir(&dir, level).await {
                    Ok(next) => dir = next,
                    Err(_) => return,
                }
            }
            for entry in self.disk.list(&dir).await.expect("list").entries {
                self.disk.unlink(&dir, &entry.name).await.expect("unlink");
            }
        });
    }
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Subject: one\r\n",
        b"subject : two\r\n\tfolded\r\n",
        b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n",
        b"X-Other: =?utf-8?q?=C3?=\r\n",
        b"Received: x\r\n",
        b"From: a@b\r\n",
        b"To: \xe4\n",
        b"no field\r\n",
        b" folded\r\n",
        b"References:",
        b"--b\r\n",
        b"--b--\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"word ",
    ];
    let piece = prop_oneof![
        30 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => (1_usize..40_000, any::<u8>()).prop_map(|(len, octet)| vec![octet; len]),
        1 => (1_usize..400).prop_map(|count| {
            (0..count).flat_map(|n| format!("X-{n}: {n}\r\n").into_bytes()).collect()
        }),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn sections() -> Vec<Section> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut texts = vec![
        Text::HeaderFields(names(&["Subject", "date", "To", "X-Priority"])),
        Text::HeaderFields(names(&["references"])),
        Text::HeaderFields(names(&["RECEIVED", "subject"])),
        Text::HeaderFields(names(&["x-other"])),
        Text::HeaderFieldsNot(names(&["subject", "X-1"])),
    ];
    texts.extend([Text::Whole, Text::Header, Text::Text, Text::Mime]);
    let parts: [&[u32]; 6] = [&[], &[1], &[2], &[1, 1], &[1, 2], &[3]];
    let mut sections = vec![Section::Envelope, Section::Body, Section::BodyStructure];
    for part in parts {
        for text in &texts {
            for partial in [None, Some((3, 40)), Some((30_000, 1 << 40))] {
                let spec = Spec {
                    part: part.to_vec(),
                    text: text.clone(),
                };
                sections.push(Section::Octets { spec, partial });
            }
        }
    }
    sections
}

fn keys() -> Vec<Key> {
    let header = |name: &str, text: &str| Key::Header(name.to_owned(), text.to_owned());
    vec![
        header("subject", "one"),
        header("Subject", ""),
        header("references", ""),
        header("X-Other", ""),
        header("x-none", ""),
        Key::SentSince(19_000),
        Key::Not(Box::new(Key::Or(Box::new((
            header("from", "a@"),
            header("received", "x"),
        ))))),
        Key::And(vec![header("subject", "two"), Key::Body("word".to_owned())]),
        Key::Or(Box::new((header("subject", "two"), Key::Text("word".to_owned())))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_cache_changes_no_answer(
        messages in prop::collection::vec(message(), 1..6),
        pieces in 1_usize..60_000,
        order in any::<u64>(),
    ) {
        let disk = MemDisk::new();
        let with = Process::new(&disk, true);
        let uids: Vec<u32> = messages.iter().map(|message| with.append(message, pieces)).collect();
        let mut parts: Vec<(u32, Section)> = Vec::new();
        for uid in &uids {
            parts.extend(sections().into_iter().map(|section| (*uid, section)));
        }
        let without = Process::new(&disk, false);
        let want = without.bodies(&parts);
        let found: Vec<UidSet> = keys().iter().map(|key| without.search(key)).collect();
        // Known from the delivery.
        prop_assert_eq!(&with.bodies(&parts), &want);
        for (key, found) in keys().iter().zip(&found) {
            prop_assert_eq!(&with.search(key), found, "{:?}", key);
        }
        // Found out anew, beginning anywhere: with a header, with a structure, with a search.
        with.delete_cache();
        let with = Process::new(&disk, true);
        let first = usize::try_from(order).unwrap_or(usize::MAX) % parts.len();
        for round in 0..2 {
            let alone = with.bodies(&parts[first..=first]);
            prop_assert_eq!(&alone[0], &want[first], "{:?}, round {}", parts[first], round);
            let which = first % keys().len();
            prop_assert_eq!(&with.search(&keys()[which]), &found[which]);
        }
        prop_assert_eq!(&with.bodies(&parts), &want);
        prop_assert_eq!(&Process::new(&disk, true).bodies(&parts), &want, "as others find it");
    }
}

fn fields(names: &[&str]) -> Section {
    Section::Octets {
        spec: Spec {
            part: Vec::new(),
            text: Text::HeaderFields(names.iter().map(|name| (*name).to_owned()).collect()),
        },
        partial: None,
    }
}

/// What clients ask to fill their lists.
fn list() -> Vec<Section> {
    vec![
        Section::Envelope,
        Section::BodyStructure,
        fields(&[
            "Date",
            "From",
            "To",
            "Cc",
            "Subject",
            "References",
            "X-Priority",
            "Newsgroups",
        ]),
    ]
}

#[test]
fn lists_of_messages_open_none() {
    let disk = MemDisk::new();
    let process = Process::new(&disk, true);
    let uids: Vec<u32> = (0..200)
        .map(|n| process.append(format!("Subject: {n}\r\nReceived: x\r\n\r\nbody").as_bytes(), 100))
        .collect();
    let parts: Vec<(u32, Section)> = uids
        .iter()
        .flat_map(|uid| list().into_iter().map(|section| (*uid, section)))
        .collect();
    let fresh = Process::new(&disk, true);
    fresh.mailbox();
    let (texts, calls) = fresh.calls(|process| process.bodies(&parts));
    assert!(texts[3 * 77].contains("\\\"77\\\""));
    let opened = calls.iter().filter(|call| **call == DiskCall::Open).count();
    assert_eq!(opened, 1, "{calls:?}");
    // 63 parts a call, and each looks at `state` when it is selected.
    assert!(calls.len() < 10 * 8, "{}: {calls:?}", calls.len());
    let subject = Key::Header("subject".to_owned(), "77".to_owned());
    let (found, calls) = fresh.calls(|process| process.search(&subject));
    assert_eq!(found, UidSet::from_ranges([(78, 78), (178, 178)]));
    assert!(!calls.contains(&DiskCall::Open) && calls.len() < 12, "{calls:?}");
}

#[test]
fn what_was_found_out_once_is_known_to_all() {
    let disk = MemDisk::new();
    let old = Process::new(&disk, false);
    for n in 0..20 {
        old.append(format!("Subject: {n}\r\n\r\nbody").as_bytes(), 100);
    }
    let parts =
        |section: &Section| -> Vec<(u32, Section)> { (1..=20).map(|uid| (uid, section.clone())).collect() };
    let opened = |calls: Vec<DiskCall>| calls.iter().filter(|call| **call == DiskCall::Open).count();
    let first = Process::new(&disk, true);
    first.mailbox();
    // The header first, then all.
    for (section, opens) in [
        (Section::Envelope, 21),
        (Section::Envelope, 0),
        (fields(&["To", "Subject"]), 0),
        (Section::BodyStructure, 20),
        (Section::Body, 0),
        (Section::Envelope, 0),
    ] {
        let (_, calls) = first.calls(|process| process.bodies(&parts(&section)));
        assert_eq!(opened(calls), opens, "{section:?}");
    }
    let second = Process::new(&disk, true);
    second.mailbox();
    let (_, calls) = second.calls(|process| process.bodies(&parts(&Section::BodyStructure)));
    assert_eq!(opened(calls), 1);
}

#[test]
fn what_is_too_much_to_keep_is_read_each_time_and_kept_once() {
    let disk = MemDisk::new();
    let process = Process::new(&disk, true);
    let many = format!(
        "Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        "--b\r\n\r\nx\r\n".repeat(9_000)
    );
    let uid = process.append(many.as_bytes(), 10_000);
    let parts = [(uid, Section::BodyStructure)];
    let (first, calls) = process.calls(|process| process.bodies(&parts));
    assert!(calls.contains(&DiskCall::WriteAt), "that it is too much");
    let (second, calls) = process.calls(|process| process.bodies(&parts));
    assert!(
        calls.contains(&DiskCall::Open) && !calls.contains(&DiskCall::WriteAt),
        "{calls:?}"
    );
    assert_eq!(first, second);
    let (_, calls) = process.calls(|process| process.bodies(&[(uid, Section::Envelope)]));
    assert!(!calls.contains(&DiskCall::Open), "{calls:?}");
}

#[test]
fn fields_behind_a_long_header_are_seen() {
    let disk = MemDisk::new();
    for cache in [false, true] {
        let process = Process::new(&disk, cache);
        let long = format!("X: {}\r\n", "x".repeat(70)).repeat(40_000);
        let uid = process.append(
            format!("{long}Subject: far\r\nTo: a@b\r\n\r\nbody").as_bytes(),
            60_000,
        );
        let got = process.bodies(&[(uid, fields(&["Subject", "Cc"])), (uid, Section::Envelope)]);
        assert_eq!(got[0], "Subject: far\\r\\n\\r\\n");
        assert!(
            got[1].contains("far") && got[1].contains("\\\"a\\\" \\\"b\\\""),
            "{}",
            got[1]
        );
        let found = process.search(&Key::Header("subject".to_owned(), "far".to_owned()));
        assert!(found.contains(Uid(uid)));
        // What is answered of one is bounded.
        let all = process.bodies(&[(uid, fields(&["x"]))]);
        // Line ends are escaped in this text.
        assert_eq!(all[0].len(), (1 << 20) + 2 * ((1 << 20) / 75));
    }
}

#[test]
fn expunged_messages_are_gone() {
    let disk = MemDisk::new();
    let process = Process::new(&disk, true);
    let uid = process.append(b"Subject: s\r\n\r\n", 10);
    let mailbox = process.mailbox();
    let deleted = rmail_core::mailbox::FlagChange {
        op: rmail_core::mailbox::FlagOp::Add,
        flags: Flags {
            system: rmail_core::mailbox::SystemFlags::DELETED,
            keywords: Vec::new(),
        },
    };
    let one = UidSet::from_ranges([(uid, uid)]);
    block_on(process.store.store(&mailbox, &one, &deleted, None)).expect("store");
    block_on(process.store.expunge(&mailbox, None)).expect("expunge");
    for section in list() {
        assert_eq!(process.bodies(&[(uid, section)]), ["gone"]);
    }
}
