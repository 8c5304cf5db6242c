//! What searching, sorting and threading cost once the messages are at hand.
//!
//! `cargo bench -p rmail-core --bench search`
#![allow(missing_docs, reason = "a benchmark")]

use divan::Bencher;
use rmail_core::mailbox::{KeywordSet, Keywords, ModSeq, Row, SystemFlags, Uid};
use rmail_core::search::{Algorithm, Criterion, Gists, Key, Message, Program, SortKey, sort, thread};

fn main() {
    divan::main();
}

fn row(uid: u32) -> Row {
    Row {
        date: i64::from(uid),
        modseq: ModSeq(1),
        keywords: KeywordSet(0),
        uid: Uid(uid),
        size: 4_096,
        save_date: 0,
        zone: 0,
        flags: SystemFlags::default(),
    }
}

/// As in a mailbox of lists: a third are replies, subjects repeat.
fn header(n: u32) -> String {
    let subject = n.wrapping_mul(2_654_435_761) % 40_000;
    let (re, references) = if n.is_multiple_of(3) {
        ("", String::new())
    } else {
        let parent = n - 1 - n.wrapping_mul(40_503) % n.min(50);
        (
            "Re: ",
            format!("References: <{}@x.test> <{parent}@x.test>\r\n", n - n % 50),
        )
    };
    format!(
        "From: Person {} <p{}@example.org>\r\nTo: list@example.com\r\nSubject: {re}[list] subject number {subject}\r\n\
         Date: Mon, {} Feb 1994 21:{:02}:25 -0800\r\nMessage-ID: <{n}@x.test>\r\n{references}\r\n",
        n % 977,
        n % 977,
        n % 28 + 1,
        n % 60
    )
}

/// In chunks, as they are kept.
fn gists(count: u32) -> Vec<Gists> {
    let mut chunks = Vec::new();
    for uid in 1..=count {
        if uid == 1 || uid % 256 == 0 {
            chunks.push(Gists::default());
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.add(Uid(uid), header(uid).as_bytes());
        }
    }
    chunks
}

fn messages<'a>(rows: &'a [Row], gists: &'a [Gists]) -> Vec<Message<'a>> {
    rows.iter()
        .map(|row| Message {
            row,
            gist: gists[(row.uid.0 >> 8) as usize].get(row.uid),
        })
        .collect()
}

#[divan::bench]
fn subject_in_10_000_gists(bencher: Bencher<'_, '_>) {
    let gists = gists(10_000);
    let rows: Vec<Row> = (1..=10_000).map(row).collect();
    let keywords = Keywords::default();
    bencher.bench(|| {
        let program = Program::new(&Key::Header("SUBJECT".to_owned(), "number 77".to_owned()));
        let holds = |row: &&Row| {
            let gist = gists[(row.uid.0 >> 8) as usize].get(row.uid);
            program.eval_row(row, &keywords).is_none()
                && gist.and_then(|gist| program.eval_gist(row, &keywords, gist)) == Some(true)
        };
        rows.iter().filter(holds).count()
    });
}

#[divan::bench]
fn body_of_10_000_messages_of_4_kib(bencher: Bencher<'_, '_>) {
    let text = "Some words of a letter that goes on and on, as letters do.\r\n".repeat(64);
    let message = format!("{}{text}", header(3));
    let keywords = Keywords::default();
    let row = row(1);
    bencher.bench(|| {
        let program = Program::new(&Key::Body("not in there".to_owned()));
        (0..10_000)
            .filter(|_| program.matches(&row, &keywords, || message.as_bytes()))
            .count()
    });
}

#[divan::bench(args = [SortKey::Subject, SortKey::Date, SortKey::From])]
fn sort_100_000(bencher: Bencher<'_, '_>, key: SortKey) {
    let gists = gists(100_000);
    let rows: Vec<Row> = (1..=100_000).map(row).collect();
    let criteria = [Criterion { key, reverse: false }];
    bencher.bench(|| sort(&messages(&rows, &gists), &criteria));
}

#[divan::bench(args = [Algorithm::References, Algorithm::OrderedSubject])]
fn thread_100_000(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let gists = gists(100_000);
    let rows: Vec<Row> = (1..=100_000).map(row).collect();
    bencher.bench(|| thread(&messages(&rows, &gists), algorithm));
}
