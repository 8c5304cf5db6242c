//! Gives and takes the worker's own keyword. Others do the same with theirs on the same messages, so each change renames
//! a file that somebody else has just renamed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::mailbox::{FlagOp, SystemFlags, Uid, UidSet};
use rmail_store::MailStore as _;
use rmail_tests::with_keyword;

use crate::{Worker, say};

/// Between two flushes, as the server does.
const FLUSH: Duration = Duration::from_secs(1);

pub(crate) fn run(mut worker: Worker) {
    let word = format!("w{}", worker.options.number);
    let (mailbox, snapshot) = worker.mail.select("INBOX").expect("select");
    let mut mine: BTreeSet<u32> = with_keyword(&snapshot, &word).into_iter().collect();
    let (begun, mut flushed, mut count) = (Instant::now(), Instant::now(), 0);
    while count < worker.options.count && worker.goes_on() {
        let below = u64::from(worker.options.messages);
        let uid = 1 + u32::try_from(worker.random.below(below)).expect("small");
        let op = if mine.remove(&uid) {
            FlagOp::Remove
        } else {
            mine.insert(uid);
            FlagOp::Add
        };
        let one: UidSet = [Uid(uid)].into_iter().collect();
        let now = worker
            .mail
            .flag(&mailbox, &one, op, SystemFlags::default(), &word)
            .expect("store");
        // What was answered shows this change and no other of our own keyword.
        let has = now.rows.find(Uid(uid)).is_some_and(|(_, row)| {
            let mut words = now.keywords.of(row.keywords);
            words.any(|keyword| keyword.as_str() == word)
        });
        assert_eq!(has, mine.contains(&uid), "UID {uid} after the change");
        count += 1;
        if flushed.elapsed() > FLUSH {
            block_on(worker.mail.store.flush()).expect("flush");
            flushed = Instant::now();
        }
    }
    let micros = begun.elapsed().as_micros();
    block_on(worker.mail.store.flush()).expect("flush");
    let uids: Vec<String> = mine.iter().map(u32::to_string).collect();
    say(&format!("mine {}", uids.join(" ")));
    say(&format!("done {count} {micros}"));
}
