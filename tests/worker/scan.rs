//! Looks at a mailbox from which nothing is ever removed: every look must show every message.

use futures_lite::future::block_on;
use rmail_core::mailbox::{ModSeq, Snapshot};
use rmail_store::MailStore as _;
use rmail_tests::Mail;

use crate::{Worker, say};

pub(crate) fn run(worker: Worker) {
    let (mailbox, first) = worker.mail.select("INBOX").expect("select");
    let mut last = first.modseq;
    check(&worker, &first, &mut ModSeq(0));
    let (mut warm, mut cold) = (0, 0);
    while worker.goes_on() {
        for _ in 0..20 {
            let snapshot = block_on(worker.mail.store.snapshot(&mailbox)).expect("look");
            check(&worker, &snapshot, &mut last);
            warm += 1;
        }
        // A process that knows nothing yet.
        let mail = Mail::open(&worker.options.root, worker.options.shard);
        let (_, snapshot) = mail.select("INBOX").expect("select");
        check(&worker, &snapshot, &mut last);
        cold += 1;
    }
    say(&format!("scans {warm} {cold}"));
}

/// All messages are there, and time does not go back.
fn check(worker: &Worker, snapshot: &Snapshot, last: &mut ModSeq) {
    let expected = 1..=worker.options.messages;
    if !snapshot.rows.iter().map(|row| row.uid.0).eq(expected.clone()) {
        let there: Vec<u32> = snapshot.rows.iter().map(|row| row.uid.0).collect();
        let missing: Vec<u32> = expected.filter(|uid| there.binary_search(uid).is_err()).collect();
        say(&format!("missing {missing:?} of {}", there.len()));
        panic!("a message that nobody has expunged is missing: {missing:?}");
    }
    assert!(snapshot.modseq >= *last, "{:?} after {last:?}", snapshot.modseq);
    *last = snapshot.modseq;
}
