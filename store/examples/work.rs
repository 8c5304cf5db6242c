//! Fixed pieces of work, for counting the instructions that each takes: `work NAME` does one, `work` lists them.
//!
//! The same input each time, no clock, no thread, no file: what `tests/load/instructions.sh` counts with callgrind does not
//! depend on how busy the machine is. `work nothing` is what the program costs by itself.
#![allow(missing_docs, clippy::expect_used, reason = "a program that measures")]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address};
use rmail_core::chunk::Chunk;
use rmail_core::imap::parse::{Event, Parser};
use rmail_core::limits::Limits;
use rmail_core::line::Inbox;
use rmail_core::mailbox::{Flags, KeywordSet, Keywords, MailboxName, ModSeq, Quota, Row, SystemFlags, Uid};
use rmail_core::mime::digest::Digest;
use rmail_core::mime::envelope::envelope;
use rmail_core::mime::scanner::scan;
use rmail_core::mime::structure::body_structure;
use rmail_core::search::{Algorithm, Criterion, Gists, Key, Message, Program, SortKey, sort, thread};
use rmail_core::smtp::command;
use rmail_core::time::Unix;
use rmail_store::MailStore;
use rmail_store::file::{FileStore, Options, names};
use rmail_store::mem::MemDisk;

const NOW: Unix = Unix::from_secs(1_700_000_000);

/// A piece of work: its name, and what it does.
type Work = (&'static str, fn());

const WORKS: &[Work] = &[
    ("nothing", || {}),
    ("imap-commands", imap_commands),
    ("smtp-commands", smtp_commands),
    ("mime-scan", mime_scan),
    ("mime-digest", mime_digest),
    ("envelope", envelopes),
    ("body-structure", body_structures),
    ("name-codec", name_codec),
    ("search-subject", search_subject),
    ("search-body", search_body),
    ("sort-subject", sort_subject),
    ("thread-references", thread_references),
    ("append", append),
    ("snapshot", snapshot),
];

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for (name, _) in WORKS {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, work)) = WORKS.iter().find(|(known, _)| *known == name) else {
        eprintln!("no work is called {name}; without an argument all are listed");
        return ExitCode::from(2);
    };
    work();
    ExitCode::SUCCESS
}

fn imap_commands() {
    const COMMANDS: &[u8] = b"a1 NOOP\r\na2 SELECT \"Lists/rust\" (CONDSTORE)\r\na3 UID FETCH 1:4294967295 (UID FLAGS)\r\n\
        a4 FETCH 1,3:5,9:* (UID FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (From To Subject Date)])\r\n\
        a5 STORE 17 +FLAGS.SILENT (\\Seen $Important)\r\n\
        a6 UID SEARCH CHARSET UTF-8 OR (FROM \"joe\" SINCE 1-Feb-2024) NOT (DELETED LARGER 4096)\r\n\
        a7 LIST (SUBSCRIBED) \"\" (\"INBOX\" \"a/%\") RETURN (CHILDREN STATUS (MESSAGES UNSEEN))\r\n";
    let chunk = Chunk::copy_from(COMMANDS);
    for _ in 0..500 {
        let (mut parser, mut inbox) = (Parser::new(1 << 20), Inbox::default());
        inbox.push(chunk.clone());
        while black_box(parser.poll(&mut inbox, true)) != Event::NeedBytes {}
    }
}

fn smtp_commands() {
    const COMMANDS: [&[u8]; 6] = [
        b"EHLO mail.example.org\r\n",
        b"MAIL FROM:<joe.doe@example.org> SIZE=12345 BODY=8BITMIME RET=HDRS ENVID=QQ314159\r\n",
        b"RCPT TO:<\"quoted part\"@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.com\r\n",
        b"RCPT TO:<alice+tag@example.com>\r\n",
        b"BDAT 86421 LAST\r\n",
        b"DATA\r\n",
    ];
    for _ in 0..2_000 {
        for line in COMMANDS {
            black_box(command::parse(black_box(line)).is_ok());
        }
    }
}

/// A text, and an attachment of about so many octets.
fn message(octets: usize) -> Vec<u8> {
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
    format!(
        "{}Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{}--=_b\r\n\
         Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--=_b--\r\n",
        header(3).trim_end_matches("\r\n\r\n").to_owned() + "\r\n",
        "A line of text as people write them.\r\n".repeat(40),
        line.repeat(octets / line.len()),
    )
    .into_bytes()
}

fn mime_scan() {
    let message = message(64 * 1024);
    for _ in 0..20 {
        black_box(scan(black_box(&message)));
    }
}

fn mime_digest() {
    let message = message(64 * 1024);
    let mut digest = Digest::new(usize::MAX);
    digest.push(black_box(&message));
    black_box(digest.finish(&message).parsed);
}

fn envelopes() {
    let header = header(3);
    for _ in 0..500 {
        black_box(envelope(black_box(header.as_bytes())));
    }
}

fn body_structures() {
    let structure = scan(&message(4 * 1024));
    for _ in 0..500 {
        black_box(body_structure(black_box(&structure), true));
    }
}

fn row(uid: u32) -> Row {
    Row {
        date: 1_700_000_000 + i64::from(uid),
        modseq: ModSeq(u64::from(uid) + 1),
        keywords: KeywordSet(0),
        uid: Uid(uid),
        size: 4_096,
        save_date: 1_700_000_001,
        zone: 120,
        flags: SystemFlags::SEEN,
    }
}

fn name_codec() {
    for uid in 1..10_000 {
        let name = names::encode(black_box(&row(uid)), [5, 0, 0, 0]);
        black_box(names::decode(&name));
    }
}

/// As in a mailbox of lists: a third are no replies, subjects repeat.
fn header(n: u32) -> String {
    let references = if n.is_multiple_of(3) {
        String::new()
    } else {
        format!("References: <{}@x.test> <{}@x.test>\r\n", n - n % 50, n - 1)
    };
    format!(
        "From: Person {} <p{}@example.org>\r\nTo: list@example.com\r\nSubject: Re: [list] subject number {}\r\n\
         Date: Mon, {} Feb 1994 21:{:02}:25 -0800\r\nMessage-ID: <{n}@x.test>\r\n{references}\r\n",
        n % 977,
        n % 977,
        n.wrapping_mul(2_654_435_761) % 4_000,
        n % 28 + 1,
        n % 60
    )
}

const LISTED: u32 = 10_000;

/// What the parsed cache knows of a mailbox, in chunks as they are kept.
fn gists() -> (Vec<Row>, Vec<Gists>) {
    let mut chunks = vec![Gists::default()];
    for uid in 1..=LISTED {
        if uid.is_multiple_of(256) {
            chunks.push(Gists::default());
        }
        let chunk = chunks.last_mut().expect("one at least");
        chunk.add(Uid(uid), header(uid).as_bytes());
    }
    ((1..=LISTED).map(row).collect(), chunks)
}

fn listed<'a>(rows: &'a [Row], gists: &'a [Gists]) -> Vec<Message<'a>> {
    let gist = |row: &Row| gists.get((row.uid.0 >> 8) as usize)?.get(row.uid);
    rows.iter().map(|row| Message { row, gist: gist(row) }).collect()
}

fn search_subject() {
    let (rows, gists) = gists();
    let keywords = Keywords::default();
    let program = Program::new(&Key::Header("SUBJECT".to_owned(), "number 77".to_owned()));
    let listed = listed(&rows, &gists);
    let found = listed.iter().filter(|message| {
        let gist = message
            .gist
            .and_then(|gist| program.eval_gist(message.row, &keywords, gist));
        gist == Some(true)
    });
    black_box(found.count());
}

fn search_body() {
    let text = "Some words of a letter that goes on and on, as letters do.\r\n".repeat(64);
    let message = format!("{}{text}", header(3));
    let (row, keywords) = (row(1), Keywords::default());
    let program = Program::new(&Key::Body("not in there".to_owned()));
    for _ in 0..500 {
        black_box(program.matches(&row, &keywords, || message.as_bytes()));
    }
}

fn sort_subject() {
    let (rows, gists) = gists();
    let criteria = [Criterion {
        key: SortKey::Subject,
        reverse: false,
    }];
    black_box(sort(&listed(&rows, &gists), &criteria));
}

fn thread_references() {
    let (rows, gists) = gists();
    black_box(thread(&listed(&rows, &gists), Algorithm::References));
}

/// A mailbox of so many messages on a disk in memory, and whose it is.
fn filled(messages: u32) -> (MemDisk, AccountName) {
    let disk = MemDisk::new();
    disk.set_yields(false);
    disk.set_tick(core::time::Duration::from_millis(1));
    let alice = Address::parse("alice@here.test").expect("an address").canonical();
    block_on(async {
        let store = open(&disk).await;
        store.create_account(&alice, NOW).await.expect("an account");
        let mut batch = Vec::new();
        for number in 0..messages {
            let mut spool = store.new_spool().await.expect("a spool");
            let chunk = Chunk::copy_from(header(number + 1).as_bytes());
            store.write_spool(&mut spool, chunk).await.expect("written");
            batch.push((spool, Flags::default(), None));
        }
        let inbox = MailboxName::inbox();
        let appended = store.append(&alice, &inbox, batch, &Quota::UNLIMITED, NOW);
        appended.await.expect("appended");
    });
    (disk, alice)
}

async fn open(disk: &MemDisk) -> FileStore<MemDisk> {
    let store = FileStore::open(Arc::new(disk.clone()), Limits::default(), Options::default());
    store.await.expect("a store")
}

fn append() {
    black_box(filled(1_000));
}

/// Adding a thousand, and opening them in another process; less `append` it is the opening.
fn snapshot() {
    let (disk, alice) = filled(1_000);
    block_on(async {
        let store = open(&disk.process()).await;
        let selected = store.select(&alice, &MailboxName::inbox(), true).await;
        black_box(selected.expect("select"));
    });
}
